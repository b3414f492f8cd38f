"""A scenario of Waymo's Motion data set made by hand, and the other forms it comes in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from waymo_messages import message

from roadloop.datasets.waymo.fields import VEHICLE

STEPS = 20
TURN = 0.3


def states(x0: float, speed: float, **fields: Any) -> list[dict[str, Any]]:
    """A thing that goes straight at heading ``TURN``."""
    size = {"length": 4.5, "width": 2.0, "height": 1.5} | fields
    return [
        {
            "center_x": x0 + 0.1 * k * speed * math.cos(TURN),
            "center_y": 5.0 + 0.1 * k * speed * math.sin(TURN),
            "center_z": 10.0 + size["height"] / 2.0,
            "heading": TURN,
            "velocity_x": speed * math.cos(TURN),
            "velocity_y": speed * math.sin(TURN),
            "valid": True,
            **size,
        }
        for k in range(STEPS)
    ]


def line(x0: float, y0: float, x1: float, y1: float) -> list[dict[str, float]]:
    n = int(math.hypot(x1 - x0, y1 - y0) / 0.5) + 1
    return [
        {"x": float(x), "y": float(y), "z": 10.0}
        for x, y in zip(np.linspace(x0, x1, n), np.linspace(y0, y1, n), strict=True)
    ]


def scenario(**changed: Any) -> dict[str, Any]:
    """Two lanes eastwards between edges at y = 0 and 10, a light where lane 1 goes on as lane 2."""
    own = {"length": VEHICLE.length, "width": VEHICLE.width, "height": VEHICLE.height}
    features = [
        {"id": 1, "lane": {"type": 2, "speed_limit_mph": 25.0, "polyline": line(0, 5, 40, 5),
                           "exit_lanes": [2], "left_neighbors": [{"feature_id": 4,
                           "self_end_index": 80, "neighbor_end_index": 80, "boundaries": [
                           {"lane_end_index": 80, "boundary_type": 1}]}]}},
        {"id": 2, "lane": {"type": 2, "polyline": line(40, 5, 90, 5), "entry_lanes": [1]}},
        {"id": 4, "lane": {"type": 2, "polyline": line(0, 8.4, 40, 8.4)}},
        {"id": 5, "road_line": {"type": 1, "polyline": line(0, 6.7, 40, 6.7)}},
        {"id": 6, "road_edge": {"type": 1, "polyline": line(-5, 0, 95, 0)}},
        {"id": 7, "road_edge": {"type": 1, "polyline": line(-5, 10, 95, 10)}},
        {"id": 8, "stop_sign": {"lane": [2], "position": {"x": 80.0, "y": 2.0, "z": 10.0}}},
        {"id": 9, "crosswalk": {"polygon": [*line(38, 0, 38, .4), *line(36, 9, 36, 9.4)]}},
        {"id": 10, "driveway": {"polygon": [*line(20, 0, 24, 0)[::8], {"x": 22., "y": -6.}]}},
        {"id": 11, "speed_bump": {"polygon": line(10, 4, 10, 6)}},
    ]  # fmt: skip
    lights = [
        {"lane_states": [
            {"lane": 2, "state": state, "stop_point": {"x": 40.0, "y": 5.0, "z": 10.0}}
        ]}
        for state in [0, 1, 2, 3, 4, 5, 6, 7, 8]
    ]  # fmt: skip
    tracks = [
        {"id": 0, "object_type": 1, "states": states(30.0, 5.0)},
        {"id": 7, "object_type": 2, "states": states(20.0, 1.0, length=0.8, width=0.8)},
        {"id": 8, "object_type": 1, "states": states(50.0, 0.0, length=12.0)},
        {"id": 9, "object_type": 3, "states": states(10.0, 4.0, length=1.8, width=0.7)},
        {"id": 300, "object_type": 1, "states": states(0.0, 8.0, **own)},
    ]
    return {
        "scenario_id": "0123456789abcdef",
        "timestamps_seconds": [0.1 * k for k in range(STEPS)],
        "current_time_index": 10,
        "tracks": tracks,
        "sdc_track_index": 4,
        "map_features": features,
        "dynamic_map_states": lights + [{"lane_states": []} for _ in range(STEPS - len(lights))],
        "objects_of_interest": [7],
        "tracks_to_predict": [{"track_index": 3, "difficulty": 1}],
    } | changed


def as_json(whole: dict[str, Any], dialect: str) -> dict[str, Any]:
    """The scenario as GPUDrive or Nocturne writes it."""
    plain = dialect == "nocturne"
    axes = ("x", "y") if plain else ("x", "y", "z")
    gone = dict.fromkeys(axes, -10000.0)
    names = ("unset", "vehicle", "pedestrian", "cyclist", "other")
    words = ("unknown", "arrow_stop", "arrow_caution", "arrow_go", "stop", "caution", "go",
             "flashing_stop", "flashing_caution")  # fmt: skip
    objects = []
    for track in whole["tracks"]:
        rows = track["states"]
        each = {
            "position": [{a: s[f"center_{a}"] for a in axes} if s["valid"] else gone for s in rows],
            "width": rows[0]["width"],
            "length": rows[0]["length"],
            "heading": [math.degrees(s["heading"]) if plain else s["heading"] for s in rows],
            "velocity": [{"x": s["velocity_x"], "y": s["velocity_y"]} for s in rows],
            "valid": [s["valid"] for s in rows],
            "goalPosition": gone,
            "type": names[track["object_type"]],
        }
        objects.append(each if plain else each | {"height": rows[0]["height"], "id": track["id"]})
    numbers = {"lane": 0, "road_line": 5, "road_edge": 14, "stop_sign": 17, "crosswalk": 18,
               "speed_bump": 19, "driveway": 20}  # fmt: skip
    roads = []
    for feature in whole["map_features"]:
        ((kind, value),) = [(k, v) for k, v in feature.items() if k != "id"]
        points = value.get("polyline") or value.get("polygon") or [value["position"]]
        road = {"geometry": [{a: p.get(a, 0.0) for a in axes} for p in points], "type": kind}
        element = numbers[kind] + value.get("type", 0)
        roads.append(road if plain else road | {"map_element_id": element, "id": feature["id"]})
    lights: dict[str, Any] = {}
    for step, dynamic in enumerate(whole["dynamic_map_states"]):
        for light in dynamic["lane_states"]:
            into = lights.setdefault(
                str(light["lane"]), {k: [] for k in ("state", "x", "y", "z", "time_index")}
            )
            into["state"].append(words[light["state"]])
            into["time_index"].append(step)
            for axis, value in light["stop_point"].items():
                into[axis].append(value)
    if plain:
        return {"name": "n_65.json", "objects": objects, "roads": roads, "tl_states": {}}
    return {
        "name": "g_4.json",
        "scenario_id": whole["scenario_id"],
        "objects": objects,
        "roads": roads,
        "tl_states": lights,
        "metadata": {
            "sdc_track_index": whole["sdc_track_index"],
            "objects_of_interest": whole["objects_of_interest"],
            "tracks_to_predict": whole["tracks_to_predict"],
        },
    }


def as_example(whole: dict[str, Any]) -> bytes:
    """The scenario as a tf.Example with 2 past steps."""
    entries: dict[str, Any] = {}
    rows = 8
    parts = {"past": slice(0, 2), "current": slice(2, 3), "future": slice(3, STEPS)}
    names = {"x": "center_x", "y": "center_y", "z": "center_z", "bbox_yaw": "heading"}
    for part, steps in parts.items():
        for name in ("x", "y", "z", "bbox_yaw", "length", "width", "height", "velocity_x",
                     "velocity_y", "valid"):  # fmt: skip
            values = [
                [float(s[names.get(name, name)]) for s in t["states"][steps]]
                for t in whole["tracks"]
            ]
            values += [[-1.0] * len(values[0])] * (rows - len(values))
            flat = [v for row in values for v in row]
            entries[f"state/{part}/{name}"] = (
                [max(int(v), 0) for v in flat] if name == "valid" else flat
            )
        stamps = list(range(STEPS))[steps]
        entries[f"state/{part}/timestamp_micros"] = [100_000 * k for k in stamps] * rows
        states = [whole["dynamic_map_states"][k]["lane_states"] for k in stamps]
        for name in ("id", "state", "x", "y", "z", "valid"):
            entries[f"traffic_light_state/{part}/{name}"] = [
                {"id": s[0]["lane"], "state": s[0]["state"], "valid": 1, **s[0]["stop_point"]}[name]
                if s
                else -1
                for s in states
            ]
            if name in "xyz":
                entries[f"traffic_light_state/{part}/{name}"] = [
                    float(v) for v in entries[f"traffic_light_state/{part}/{name}"]
                ]
    pad = [-1] * (rows - len(whole["tracks"]))
    entries["state/id"] = [t["id"] for t in whole["tracks"]] + pad
    entries["state/type"] = [t["object_type"] for t in whole["tracks"]] + pad
    entries["state/is_sdc"] = [0, 0, 0, 0, 1, *pad]
    entries["state/tracks_to_predict"] = [0, 0, 0, 1, 0, *pad]
    entries["state/objects_of_interest"] = [0, 1, 0, 0, 0, *pad]
    points: list[tuple[int, int, dict[str, float]]] = []
    for road in as_json(whole, "gpudrive")["roads"]:
        points += [(road["id"], road["map_element_id"], p) for p in road["geometry"]]
    entries["roadgraph_samples/id"] = [p[0] for p in points] + [-1]
    entries["roadgraph_samples/type"] = [p[1] for p in points] + [-1]
    entries["roadgraph_samples/valid"] = [1] * len(points) + [0]
    entries["roadgraph_samples/xyz"] = [p[2][a] for p in points for a in "xyz"] + [-1.0] * 3
    entries["scenario/id"] = [whole["scenario_id"].encode()]
    made = message("Example")
    for key, values in entries.items():
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
        made.features.feature.add(key=key, value={kind: {"value": values}})
    return made.SerializeToString()
