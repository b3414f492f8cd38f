"""Waymo Open: Motion in its four forms, Perception v1 and v2, on samples and on files made here."""

from __future__ import annotations

import json
import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from waymo_messages import message

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs import parquet_rows, waymo_motion, waymo_perception
from roadloop.logs.protobuf_wire import decode
from roadloop.logs.tfrecord import framed, records
from roadloop.logs.waymo_beside import ground_to_edges, lane_widths, look_beside
from roadloop.logs.waymo_fields import FRAME, SCENARIO, VEHICLE
from roadloop.logs.waymo_map import map_draft
from roadloop.maps.area import drivable_polygons
from roadloop.maps.road_map import LaneKind
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind, LightState

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MOTION, PERCEPTION = DATA / "waymo_motion", DATA / "waymo_perception"


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs the sample {path.name}")
    return path


# --- a scenario made by hand --------------------------------------------------------------------

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


def write(path: Path, *scenarios: dict[str, Any]) -> Path:
    made = [message("Scenario", **each).SerializeToString() for each in scenarios]
    path.write_bytes(b"".join(framed(data) for data in made))
    return path


def opened(path: Path):
    return waymo_motion.open_drive(path, waymo_motion.drives(path)[0])


# --- Motion: what it means ----------------------------------------------------------------------


def test_frames_and_kinds(tmp_path: Path):
    drive = opened(write(tmp_path / "a.tfrecord-00000-of-01000", scenario()))
    assert drive.name == "0123456789abcdef" and len(drive) == STEPS
    assert drive.timestamp_us[:3].tolist() == [0, 100_000, 200_000]
    # the box centre is the data set's, the pose the rear axle's, both on the ground
    x, y = drive.ego.box_centre()
    k = np.arange(STEPS)
    np.testing.assert_allclose(x, 0.8 * k * math.cos(TURN), atol=1e-6)
    np.testing.assert_allclose(y, 5.0 + 0.8 * k * math.sin(TURN), atol=1e-6)
    np.testing.assert_allclose(drive.ego.z, 10.0, atol=1e-6)
    np.testing.assert_allclose(drive.ego.speed, 8.0, atol=1e-6)
    np.testing.assert_allclose(drive.ego.heading, TURN, atol=1e-6)
    agents = drive.agents
    assert agents.id[0].tolist() == [1, 8, 9, 10] and drive.source_id.tolist() == [*"0789"]
    assert drive.category.tolist() == ["vehicle", "pedestrian", "vehicle", "cyclist"]
    kinds = [AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.TRUCK, AgentKind.CYCLIST]
    assert agents.kind[0].tolist() == kinds
    np.testing.assert_allclose(agents.z, 10.0, atol=1e-6)
    assert drive.about["tracks_to_predict"] == [9] and drive.about["objects_of_interest"] == [7]
    assert drive.about["current_step"] == 10
    pickle.loads(pickle.dumps(drive))


def test_map_and_lights(tmp_path: Path):
    drive = opened(write(tmp_path / "a.tfrecord", scenario()))
    road = drive.road_map
    ids = road.lane_id.tolist()
    one, two, four = (ids.index(name) for name in "124")
    assert road.successors_of(one).tolist() == [two]
    assert road.lane_left[one] == four and road.lane_right[four] == one
    assert road.lane_change_left[one]  # broken
    assert road.lane_speed_limit[one] == pytest.approx(25 * 0.44704)
    # lane 1 is bounded by the line 1.7 m to its left, lane 4 by the edge 1.6 m to its left
    assert np.median(road.point_width[road.points_of(one)]) == pytest.approx(3.4, abs=0.01)
    assert np.median(road.point_width[road.points_of(four)]) == pytest.approx(3.2, abs=0.01)
    assert road.signal_id.tolist() == ["2", "8"]
    assert drive.lights.shape == (STEPS, 2)
    off, red, yellow, green = LightState.OFF, LightState.RED, LightState.YELLOW, LightState.GREEN
    seen = [off, red, yellow, green, red, yellow, green, off, off]
    # where it is not reported it is off, and so is a sign
    assert drive.lights[:, 0].tolist() == seen + [off] * (STEPS - len(seen))
    assert not drive.lights[:, 1].any()
    stops = list(zip(road.stop_lane.tolist(), road.stop_s.tolist(), strict=True))
    assert stops == [(two, 0.0), (two, pytest.approx(40.0))]
    import shapely

    ground = drivable_polygons(road)
    inside = [(20.0, 1.0), (22.0, -3.0), (60.0, 5.0), (5.0, 9.0)]
    outside = [(22.0, 11.0), (10.0, -1.0), (22.0, -7.0)]
    assert [shapely.contains_xy(ground, *p) for p in inside] == [True] * 4
    assert [shapely.contains_xy(ground, *p) for p in outside] == [False] * 3
    assert any("speed bump" in note for note in road.unsupported)


def test_widths_of_lanes_beside_nothing_and_bike_lanes():
    def xy(*args: float):
        return np.array([[p["x"], p["y"], p["z"]] for p in line(*args)])

    # two lanes alongside without a line: halfway; a lane that follows takes the width over
    lanes = [xy(0, 0, 30, 0), xy(0, 4, 30, 4), xy(30, 0, 50, 0), xy(0, 100, 20, 100)]
    around = look_beside(lanes, [True] * 4, [], [])
    widths = lane_widths(lanes, around, [(0, 2)])
    assert [float(np.median(w)) for w in widths] == pytest.approx([4.0, 4.0, 4.0, 3.5])
    # the ground to the kerb goes past a bike lane, not past a lane for cars
    kerb = [xy(-5, -6, 60, -6)]
    bike = [xy(0, 0, 30, 0), xy(0, -3, 30, -3)]
    wide = ground_to_edges(look_beside(bike, [True, False], [], kerb)[:1])
    assert max(-ring[:, 1].min() for ring in wide) == pytest.approx(6.0, abs=0.1)
    assert ground_to_edges(look_beside(bike, [True, True], [], kerb)[:1]) == []


def test_what_is_left_out_and_why(tmp_path: Path):
    whole = scenario()
    whole["tracks"][0]["object_type"] = 4  # moves
    whole["tracks"][2]["object_type"] = 4  # stays
    whole["tracks"][1]["states"] = [{"valid": False}] * STEPS
    whole["tracks"][4]["states"][-2:] = [{"valid": False}] * 2
    drive = opened(write(tmp_path / "a.tfrecord", whole))
    assert len(drive) == STEPS - 2 and len(drive.lights) == STEPS - 2
    assert drive.category.tolist() == ["other", "cyclist"]
    assert drive.agents.kind[0].tolist() == [AgentKind.STATIC, AgentKind.CYCLIST]
    text = " ".join(drive.notes)
    assert "2 of 20 steps" in text and "1 tracks that are never seen" in text
    assert '1 tracks of type "other" that move' in text


def changed_track(**fields: Any) -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][1] |= fields
    return whole


def _gap() -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][4]["states"][5] = {"valid": False}
    return whole


def _nan() -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][1]["states"][3]["center_x"] = math.nan
    return whole


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        (changed_track(object_type=0), "track 7 is of type 0"),
        (changed_track(object_type=9), "track 7 is of type 9"),
        (changed_track(id=300), "track id 300 is negative or there twice"),
        (changed_track(states=[]), r"track 7 \(row 1\) has 0 states"),
        (scenario(sdc_track_index=17), "track 17 of 5 is to be the ego"),
        (_gap(), "the ego .* is not seen between steps 0 and 19"),
        (_nan(), "center_x of track 7 is not finite at step 3"),
    ],
)
def test_bad_scenarios(tmp_path: Path, whole: dict[str, Any], says: str):
    path = write(tmp_path / "bad.tfrecord", scenario(scenario_id="0"), whole | {"scenario_id": "1"})
    with pytest.raises(RoadloopError, match=r"bad\.tfrecord record 1.*" + says) as error:
        waymo_motion.open_drive(path, "1")
    assert "\n" not in str(error.value)


def test_unknown_line_and_light(tmp_path: Path):
    whole = scenario()
    whole["map_features"][3]["road_line"]["type"] = 77
    with pytest.raises(RoadloopError, match="map feature 5 is a road line of type 77"):
        _ = opened(write(tmp_path / "a.tfrecord", whole)).road_map
    whole = scenario()
    whole["dynamic_map_states"][2]["lane_states"][0]["state"] = 55
    with pytest.raises(RoadloopError, match="lane 2 has a light of state 55 at step 2"):
        opened(write(tmp_path / "b.tfrecord", whole))


def test_damaged_record_is_named(tmp_path: Path):
    path = write(tmp_path / "a.tfrecord", scenario(scenario_id="a"), scenario(scenario_id="b"))
    whole = bytearray(path.read_bytes())
    whole[-500] ^= 4
    path.write_bytes(whole)
    assert waymo_motion.drives(path) == ["a", "b"]
    assert len(waymo_motion.open_drive(path, "a")) == STEPS
    with pytest.raises(RoadloopError, match=r"a\.tfrecord record 1 is damaged"):
        waymo_motion.open_drive(path, "b")
    path.write_bytes(whole[:-3])
    with pytest.raises(RoadloopError, match="record 1 is truncated"):
        waymo_motion.drives(path)


# --- Motion: other forms ------------------------------------------------------------------------


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


@pytest.mark.parametrize("form", ["gpudrive", "nocturne", "example"])
def test_other_forms_tell_the_same(tmp_path: Path, form: str):
    whole = scenario()
    first = opened(write(tmp_path / "a.tfrecord", whole))
    if form == "example":
        path = tmp_path / "b.tfrecord"
        path.write_bytes(framed(as_example(whole)))
    else:
        path = tmp_path / "b.json"
        path.write_text(json.dumps(as_json(whole, form)))
    other = opened(path)
    assert other.name == ("n_65" if form == "nocturne" else first.name)
    assert (other.timestamp_us == first.timestamp_us).all()
    down = 10.0 if form == "nocturne" else 0.0  # it has no heights
    for name in ("x", "y", "z", "heading", "speed"):
        lower = down if name == "z" else 0.0
        mine, theirs = getattr(other.ego, name), getattr(first.ego, name) - lower
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    for name in ("x", "y", "z", "heading", "vx", "vy", "length", "kind", "valid"):
        lower = down if name == "z" else 0.0
        mine, theirs = getattr(other.agents, name), getattr(first.agents, name) - lower
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    if form != "nocturne":
        assert other.about["tracks_to_predict"] == first.about["tracks_to_predict"]
        assert other.about["objects_of_interest"] == first.about["objects_of_interest"]
        assert (other.agents.id == first.agents.id).all()
        assert (other.lights == first.lights).all()
        assert other.road_map.stop_s.tolist() == pytest.approx(first.road_map.stop_s.tolist())
    a, b = first.road_map, other.road_map
    assert a.lanes == b.lanes and (a.successor == b.successor).all()
    assert (a.lane_left == b.lane_left).all() and (a.lane_change_left == b.lane_change_left).all()
    np.testing.assert_allclose(a.point_width, b.point_width, atol=1e-4)


def test_bad_json(tmp_path: Path):
    whole = as_json(scenario(), "gpudrive")
    path = tmp_path / "x.json"

    def failing(changed: Any) -> str:
        path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
        with pytest.raises(RoadloopError, match=r"x\.json") as error:
            waymo_motion.open_drive(path, whole["scenario_id"])
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "truncated or no JSON" in failing(json.dumps(whole)[:-10])
    assert "no scenario of GPUDrive or Nocturne" in failing({**whole, "objects": [{}]})
    objects = [{**each, "heading": [h + 1.5 for h in each["heading"]]} for each in whole["objects"]]
    assert "headings do not point" in failing({**whole, "objects": objects})
    objects = [*whole["objects"][:-1], {**whole["objects"][-1], "length": 4.0}]
    unnamed = {k: v for k, v in whole.items() if k != "metadata"}
    assert "which object is the ego" in failing({**unnamed, "objects": objects})
    assert "object 0 is of type 'cow'" in failing(
        {**whole, "objects": [{**whole["objects"][0], "type": "cow"}]}
    )
    assert "is 'blue' at step 0" in failing(
        {**whole, "tl_states": {"2": {"state": ["blue"], "time_index": [0]}}}
    )
    (tmp_path / "other.json").write_text('{"name": "something else"}')
    assert waymo_motion.drives(tmp_path / "other.json") == []


# --- Motion: the samples ------------------------------------------------------------------------

SAMPLES = {
    "637f20cafde22ff8": (82, 12 + 8),
    "ee519cf571686d19": (256, 4),
    "bada21415c031740": (14, 6),
    "db4edc9bd0c9d18c": (80, 5),
    "ef3a8f65142f41ac": (61, 6),
    "tfrecord-00358-of-01000_65": (44, 6),
}
"""road users and signals"""
STANDING = "637f20cafde22ff8"
"""its ego waits at a light all the time"""


def test_samples_are_found():
    names = waymo_motion.drives(real(MOTION))
    assert names == sorted([*SAMPLES, "a3bb37c25ce56418"])
    assert waymo_motion.drives(real(PERCEPTION)) == []
    assert waymo_motion.drives(real(DATA / "nuscenes")) == []
    assert waymo_perception.drives(MOTION) == []
    assert waymo_perception.drives(MOTION / "tfrecord") == []


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != STANDING])
def test_recorded_ego_stays_on_the_road(name: str):
    """All four corners of the car in all steps, as its wheels were on pavement."""
    import shapely

    from roadloop.geometry import box_corners

    drive = waymo_motion.open_drive(real(MOTION), name)
    road = drive.road_map
    users, signals = SAMPLES[name]
    assert drive.agents.x.shape == (91, users) and len(road.signal_id) == signals
    assert drive.lights is None or drive.lights.shape == (91, signals)
    ego = drive.ego
    corners = box_corners(*ego.box_centre(), ego.heading, ego.vehicle.length, ego.vehicle.width)
    ground = drivable_polygons(road)
    assert shapely.contains_xy(ground, corners[..., 0], corners[..., 1]).mean() >= 0.99
    # a rear axle does not slip sideways, a box centre does
    t = drive.timestamp_us * 1e-6
    rate = np.gradient(np.unwrap(ego.heading), t)
    sliding = {}
    for where, (x, y) in {"axle": (ego.x, ego.y), "centre": ego.box_centre()}.items():
        across = np.cos(ego.heading) * np.gradient(y, t) - np.sin(ego.heading) * np.gradient(x, t)
        turning = (np.abs(rate) > 0.05) & (ego.speed > 1.0)
        sliding[where] = np.abs(across[turning]).mean() if turning.sum() > 10 else None
    if sliding["axle"] is not None:
        assert sliding["axle"] < 0.2 * sliding["centre"]


def test_lanes_found_by_shape_are_those_the_data_set_names():
    path = real(MOTION / "tfrecord" / "motion_data_one_scenario.tfrecord")
    whole = decode(SCENARIO, records(path)[0].read(), path)
    lights = [step["lane_states"] for step in whole["dynamic_map_states"]]
    drafts = [map_draft(whole["map_features"], lights, "m", "", path, k) for k in (True, False)]
    named, found = ({(a.id, b) for a in d.lanes for b in a.successors} for d in drafts)
    assert len(named) == 192 and named == found
    drive = waymo_motion.open_drive(path, STANDING)
    users, signals = SAMPLES[STANDING]
    assert drive.agents.x.shape == (91, users) and drive.ego.speed.max() < 0.1
    assert len(drafts[0].signals) == signals and drive.lights.shape == (91, signals)
    # it waits while the arrow of the lane it is to take is red
    assert np.bincount(drive.lights.ravel(), minlength=5)[LightState.RED] == 324 + 228
    sides = [
        {(a.id, side, getattr(a, side)) for a in d.lanes for side in ("left_neighbour",)
         if getattr(a, side)} for d in drafts
    ]  # fmt: skip
    assert len(sides[0] & sides[1]) > 0.8 * len(sides[1])
    assert sum(lane.kind == LaneKind.BIKING for lane in drafts[0].lanes) == 1
    width = np.concatenate([np.asarray(lane.width) for lane in drafts[0].lanes])
    assert width.min() >= 2.2 and width.max() <= 5.5 and 2.9 < np.median(width) < 3.6


# --- Perception made by hand --------------------------------------------------------------------

NAME = "1_000_020_000"
LASER_POSE = np.array(
    [[0.0, -1.0, 0.0, 1.4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.2], [0.0, 0.0, 0.0, 1.0]]
)
"""a top LiDAR turned by 90 degrees"""
BEAMS = [-0.2, -0.1, 0.0]
START = 1_550_000_000_000_000


def pose_at(k: int) -> np.ndarray:
    """The vehicle in the world: 2 m further every frame, turned by 90 degrees."""
    pose = np.eye(4)
    pose[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    pose[:3, 3] = (100.0, 200.0 + 2.0 * k, 5.0)
    return pose


def moved_by(k: int) -> np.ndarray:
    """What frame k adds to the poses of cells."""
    return np.array([0.0, 0.0, 0.0, 0.0, 2.0 * k, 0.0], np.float32)


def range_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two returns (3, 10, 4), the vehicle's pose at each cell, labels (3, 10, 2)."""
    first, second = np.zeros((2, 3, 10, 4), np.float32)
    first[..., 0] = -1.0
    first[0, 2] = (10.0, 0.5, 0.0, 0.0)  # level, a quarter of the turn from behind: to the left
    first[0, 7] = (20.0, 500.0, 0.0, 0.0)  # to the right
    first[2, 7] = (20.0, 0.0, 0.0, 0.0)  # lowest beam
    second[0, 2] = (12.0, 0.1, 0.0, 0.0)
    poses = np.zeros((3, 10, 6), np.float32)
    poses[..., 2] = math.pi / 2
    poses[..., 3:] = (100.0, 200.0, 5.0)
    poses[0, 7, 4] += 1.0  # the car had moved 1 m forward when it looked to the right
    labels = np.zeros((3, 10, 2), np.int32)
    labels[0, 2, 1], labels[0, 7, 1], labels[2, 7, 1] = 1, 14, 18
    return first, second, poses, labels


EXPECTED = np.array(
    [
        [1.4, 10.0, 2.2, math.tanh(0.5)],
        [2.4, -20.0, 2.2, 1.0],
        [1.4, -20.0 * math.cos(0.2), 2.2 - 20.0 * math.sin(0.2), 0.0],
        [1.4, 12.0, 2.2, math.tanh(0.1)],
    ]
)
"""points in the vehicle frame"""
JPEG = cv2.imencode(".jpg", np.full((40, 60, 3), (10, 20, 200), np.uint8))[1].tobytes()
PANOPTIC = cv2.imencode(".png", np.full((40, 60), 20 * 1000 + 3, np.uint16))[1].tobytes()
INTRINSIC = [50.0, 50.0, 30.0, 20.0, 0.01, 0.0, 0.0, 0.0, 0.0]
CAMERA_POSE = np.eye(4)
CAMERA_POSE[:3, 3] = (1.5, 0.0, 2.0)


def frame_fields(k: int) -> dict[str, Any]:
    def packed(kind: str, values: np.ndarray) -> bytes:
        made = message(kind, data=values.ravel().tolist(), shape={"dims": values.shape})
        return zlib.compress(made.SerializeToString())

    first, second, poses, labels = range_images()
    return_1 = {
        "range_image_compressed": packed("MatrixFloat", first),
        "range_image_pose_compressed": packed("MatrixFloat", poses + moved_by(k)),
        "segmentation_label_compressed": packed("MatrixInt32", labels),
    }
    return_2 = {
        "range_image_compressed": packed("MatrixFloat", second),
        "segmentation_label_compressed": packed("MatrixInt32", labels),
    }
    box = {"center_x": 10.0, "center_y": 1.0, "center_z": 0.8, "length": 4.0, "width": 1.8,
           "height": 1.6, "heading": 0.1}  # fmt: skip
    return {
        "context": {
            "name": NAME,
            "camera_calibrations": [
                {"name": 1, "intrinsic": INTRINSIC, "width": 60, "height": 40,
                 "extrinsic": {"transform": CAMERA_POSE.ravel().tolist()}}
            ],
            "laser_calibrations": [
                {"name": 1, "beam_inclinations": BEAMS,
                 "extrinsic": {"transform": LASER_POSE.ravel().tolist()}}
            ],
            "stats": {"location": "location_sf", "weather": "sunny"},
        },
        "timestamp_micros": START + 100_000 * k,
        "pose": {"transform": pose_at(k).ravel().tolist()},
        "images": [
            {"name": 1, "image": JPEG, "pose": {"transform": pose_at(k).ravel().tolist()},
             "pose_timestamp": (START + 100_000 * k + 50_000) * 1e-6,
             "camera_segmentation_label": {
                 "panoptic_label_divisor": 1000, "panoptic_label": PANOPTIC}}
        ],
        "lasers": [{"name": 1, "ri_return1": return_1, "ri_return2": return_2}],
        "laser_labels": [
            {"id": "car", "type": 1, "box": box, "num_lidar_points_in_box": 12,
             "metadata": {"speed_x": 1.0, "speed_y": 3.0}},
            {"id": f"walker {k}", "type": 2, "box": {**box, "center_y": -4.0}},
        ],
    }  # fmt: skip


def write_frames(path: Path, count: int = 3, **changed: Any) -> Path:
    made = [message("Frame", **frame_fields(k) | changed) for k in range(count)]
    path.write_bytes(b"".join(framed(each.SerializeToString()) for each in made))
    return path


def write_parquet(root: Path, count: int = 3) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def put(component: str, columns: dict[str, Any]) -> None:
        (root / component).mkdir(parents=True, exist_ok=True)
        rows = len(next(iter(columns.values())))
        table = pa.table({"key.segment_context_name": [NAME] * rows, **columns})
        pq.write_table(table, root / component / f"{NAME}.parquet", row_group_size=2)

    first, second, poses, labels = range_images()
    stamps = {"key.frame_timestamp_micros": [START + 100_000 * k for k in range(count)]}
    moved = [(poses + moved_by(k)).ravel().tolist() for k in range(count)]
    flat = [pose_at(k).ravel().tolist() for k in range(count)]
    put("vehicle_pose", {**stamps, "[VehiclePoseComponent].world_from_vehicle.transform": flat})
    name = "[CameraCalibrationComponent]"
    inner = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    put(
        "camera_calibration",
        {
            "key.camera_name": [1],
            **{f"{name}.intrinsic.{k}": [v] for k, v in zip(inner, INTRINSIC, strict=True)},
            f"{name}.extrinsic.transform": [CAMERA_POSE.ravel().tolist()],
            f"{name}.width": [60],
            f"{name}.height": [40],
        },
    )
    name = "[LiDARCalibrationComponent]"
    put(
        "lidar_calibration",
        {
            "key.laser_name": [1],
            f"{name}.extrinsic.transform": [LASER_POSE.ravel().tolist()],
            f"{name}.beam_inclination.min": [-0.2],
            f"{name}.beam_inclination.max": [0.0],
            f"{name}.beam_inclination.values": [BEAMS],
        },
    )
    camera = {**stamps, "key.camera_name": [1] * count}
    name = "[CameraImageComponent]"
    put(
        "camera_image",
        {
            **camera,
            f"{name}.image": [JPEG] * count,
            f"{name}.pose.transform": flat,
            f"{name}.pose_timestamp": [(START + 100_000 * k + 50_000) * 1e-6 for k in range(count)],
        },
    )
    name = "[CameraSegmentationLabelComponent]"
    put(
        "camera_segmentation",
        {
            **camera,
            f"{name}.panoptic_label_divisor": [1000] * count,
            f"{name}.panoptic_label": [PANOPTIC] * count,
        },
    )
    laser = {**stamps, "key.laser_name": [1] * count}
    for component, kind, pairs in (
        ("lidar", "LiDARComponent", ((1, first), (2, second))),
        ("lidar_segmentation", "LiDARSegmentationLabelComponent", ((1, labels), (2, labels))),
    ):
        columns = {}
        for k, image in pairs:
            columns[f"[{kind}].range_image_return{k}.values"] = [image.ravel().tolist()] * count
            columns[f"[{kind}].range_image_return{k}.shape"] = [list(image.shape)] * count
        put(component, {**laser, **columns})
    name = "[LiDARPoseComponent].range_image_return1"
    shape = [list(poses.shape)] * count
    put("lidar_pose", {**laser, f"{name}.values": moved, f"{name}.shape": shape})
    name = "[LiDARBoxComponent]"
    rows = [label for k in range(count) for label in frame_fields(k)["laser_labels"]]
    boxes = [label["box"] for label in rows]
    columns = {
        **{f"{name}.box.center.{a}": [b[f"center_{a}"] for b in boxes] for a in "xyz"},
        **{f"{name}.box.size.{a}": [b[n] for b in boxes]
           for a, n in zip("xyz", ("length", "width", "height"), strict=True)},
        f"{name}.box.heading": [b["heading"] for b in boxes],
        f"{name}.type": [label["type"] for label in rows],
        f"{name}.num_lidar_points_in_box": [r.get("num_lidar_points_in_box") for r in rows],
        **{f"{name}.speed.{a}": [r.get("metadata", {}).get(f"speed_{a}") for r in rows]
           for a in "xy"},
    }  # fmt: skip
    put(
        "lidar_box",
        {
            "key.frame_timestamp_micros": np.repeat(stamps["key.frame_timestamp_micros"], 2),
            "key.laser_object_id": [label["id"] for label in rows],
            **columns,
        },
    )
    name = "[StatsComponent]"
    put(
        "stats",
        {
            **stamps,
            f"{name}.location": ["location_sf"] * count,
            f"{name}.weather": ["sunny"] * count,
        },
    )
    return root


def made(tmp_path: Path, form: str):
    root = write_frames(tmp_path / "segment.tfrecord") if form == "v1" else write_parquet(tmp_path)
    assert waymo_perception.drives(root) == [NAME]
    return waymo_perception.open_drive(root, NAME)


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_perception_drive(tmp_path: Path, form: str):
    drive = made(tmp_path, form)
    assert drive.timestamp_us.tolist() == [0, 100_000, 200_000]
    assert drive.about["start_us"] == START + 100_000  # when the first frame is complete
    assert drive.about["first_frame_us"] == START
    assert drive.about["place"] == "location_sf"
    np.testing.assert_allclose(drive.ego.speed, 20.0, rtol=1e-4)
    agents = drive.agents
    assert drive.source_id.tolist() == ["car", "walker 0", "walker 1", "walker 2"]
    assert agents.valid.sum(0).tolist() == [3, 1, 1, 1]
    assert drive.lidar_points[0].tolist() == [12, -1, -1, -1]
    # 10 m ahead and 1 m to the left of a car that faces +y; its bottom is the ground
    np.testing.assert_allclose([agents.x[1, 0], agents.y[1, 0]], [99.0, 212.0], atol=1e-6)
    np.testing.assert_allclose(agents.z[1, 0], 5.0, atol=1e-6)
    np.testing.assert_allclose(agents.heading[1, 0], math.pi / 2 + 0.1)
    assert [agents.vx[1, 0], agents.vy[1, 0]] == [1.0, 3.0]
    np.testing.assert_allclose(drive.world_from_agent[1, 0, :3, 3], [99.0, 212.0, 5.0])
    camera = drive.rig.cameras[0]
    assert (camera.cx, camera.cy) == (29.5, 19.5)
    # 8.5 m ahead of the camera and on its axis: the middle of the picture
    uv, seen = camera.camera.project(
        transform_points(inverse(camera.ego_from_camera), np.array([[10.0, 0.0, 2.0]]))
    )
    assert seen[0] and uv[0] == pytest.approx([29.5, 19.5])
    picture, sweep = (
        pickle.loads(pickle.dumps(drive.frames_of(name)[1].read))()
        for name in ("camera_front", "lidar_top")
    )
    frame = drive.frames_of("camera_front")[1]
    assert (frame.timestamp_us, frame.step) == (50_000, 1)
    assert picture.encoded() == JPEG
    assert np.abs(picture.rgb[5, 5].astype(int) - (200, 20, 10)).max() < 6
    assert (picture.semantic == SemanticClass.ROAD).all()
    np.testing.assert_allclose(sweep.points, EXPECTED, atol=3e-4)
    assert sweep.ring.tolist() == [0, 0, 2, 0] and sweep.timestamp_us == 100_000
    kinds = [SemanticClass.CAR, SemanticClass.BUILDING, SemanticClass.ROAD, SemanticClass.CAR]
    assert sweep.semantic.tolist() == kinds
    seen_by_driver = drive.observation(1)
    assert seen_by_driver.cameras["camera_front"].timestamp_us == 50_000
    assert len(seen_by_driver.lidars["lidar_top"].points) == 4


def test_rows_of_a_column_in_any_order(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"v.w": list(range(70))}), path, row_group_size=50)
    column = parquet_rows._Column(path, 0, "v.w")
    for row in (0, 3, 49, 20, 19, 41, 0):
        assert column.at(row).as_py() == row
    assert column.at(50) is None
    assert parquet_rows._Column(path, 1, "v.w").at(7).as_py() == 57
    with pytest.raises(RoadloopError, match="column x is missing"):
        parquet_rows._Column(path, 0, "x")


def test_short_range_lidars_are_not_moved_and_have_even_beams(tmp_path: Path):
    fields = frame_fields(0)
    fields["context"]["laser_calibrations"] = [
        {"name": 2, "beam_inclination_min": -0.3, "beam_inclination_max": 0.3,
         "extrinsic": {"transform": np.eye(4).ravel().tolist()}}
    ]  # fmt: skip
    fields["lasers"][0]["name"] = 2
    path = tmp_path / "one.pb"
    path.write_bytes(message("Frame", **fields).SerializeToString())  # a bare frame
    drive = waymo_perception.open_drive(path, NAME)
    points = drive.frames_of("lidar_front")[0].read().points
    # rows of 0.2 rad, the middle of the top one at 0.2
    high = 10.0 * np.array([0.0, math.cos(0.2), math.sin(0.2)])
    np.testing.assert_allclose(points[0, :3], high, atol=1e-5)


def test_map_of_the_first_frame(tmp_path: Path):
    frames = [message("Frame", **frame_fields(k)) for k in range(2)]
    for feature in scenario()["map_features"]:
        frames[0].map_features.add().MergeFrom(message("MapFeature", **feature))
    path = tmp_path / "m.tfrecord"
    path.write_bytes(b"".join(framed(each.SerializeToString()) for each in frames))
    road = waymo_perception.open_drive(path, NAME).road_map
    assert road.lane_id.tolist() == ["1", "2", "4"] and road.signal_id.tolist() == ["8"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"pose": {"transform": [0.0] * 16}}, "the vehicle has a transform that is no rotation"),
        ({"laser_labels": [{"id": "a", "type": 0}]}, "label a is of type 0"),
        ({"laser_labels": [{"id": "a", "type": 1}] * 2}, "label a is there twice"),
        (
            {"context": {"name": NAME, "camera_calibrations": [{"name": 1, "intrinsic": [1.0]}]}},
            "camera camera_front has the intrinsics",
        ),
        (
            {"context": {"name": NAME, "laser_calibrations": [{"name": 1}]}},
            "LiDAR lidar_top has a transform",
        ),
    ],
)
def test_bad_frames(tmp_path: Path, changed: dict[str, Any], says: str):
    path = write_frames(tmp_path / "bad.tfrecord", **changed)
    with pytest.raises(RoadloopError, match=r"bad\.tfrecord.*" + says) as error:
        waymo_perception.open_drive(path, NAME)
    assert "\n" not in str(error.value)


def test_bad_sensors_are_said_when_read(tmp_path: Path):
    fields = frame_fields(0)
    fields["images"][0]["image"] = JPEG[:200]
    fields["lasers"][0]["ri_return1"]["range_image_compressed"] = b"no zlib"
    path = write_frames(tmp_path / "s.tfrecord", images=fields["images"], lasers=fields["lasers"])
    drive = waymo_perception.open_drive(path, NAME)
    with pytest.raises(RoadloopError, match=r"s\.tfrecord record 1 camera_front is truncated"):
        _ = drive.frames_of("camera_front")[1].read().rgb
    with pytest.raises(RoadloopError, match=r"record 0 lidar_top: a range image is damaged"):
        drive.frames_of("lidar_top")[0].read()
    whole = bytearray(path.read_bytes())
    whole[-40] ^= 1
    path.write_bytes(whole)
    with pytest.raises(RoadloopError, match=r"s\.tfrecord record 2 is damaged"):
        waymo_perception.open_drive(path, NAME)


def test_bad_parquet(tmp_path: Path):
    import pyarrow.parquet as pq

    root = write_parquet(tmp_path)
    path = root / "lidar_box" / f"{NAME}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(RoadloopError, match=r"lidar_box.*truncated or no Parquet"):
        waymo_perception.open_drive(root, NAME)
    path.write_bytes(whole)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["[LiDARBoxComponent].type"]), path)
    with pytest.raises(RoadloopError, match=r"\[LiDARBoxComponent\]\.type is missing"):
        waymo_perception.open_drive(root, NAME)
    path.unlink()
    drive = waymo_perception.open_drive(root, NAME)
    assert drive.agents is None
    image = root / "camera_image" / f"{NAME}.parquet"
    image.unlink()
    with pytest.raises(RoadloopError, match=r"camera_image.*cannot be read"):
        _ = drive.frames_of("camera_front")[0].read().rgb
    # without a component there are none of its frames
    assert waymo_perception.open_drive(root, NAME).frames_of("camera_front") == []


# --- Perception: the samples --------------------------------------------------------------------


def test_sample_of_poses():
    drive = waymo_perception.open_drive(
        real(PERCEPTION / "v2"), "10023947602400723454_1120_000_1140_000"
    )
    assert len(drive) == 199 and drive.agents is None and not drive.frames
    assert np.abs(np.diff(drive.timestamp_us) - 100_000).max() < 200
    assert 0.0 <= drive.ego.speed.max() < 3.0
    # the origin of the vehicle frame is the rear axle: it does not slip sideways
    t, ego = drive.timestamp_us * 1e-6, drive.ego
    across = np.cos(ego.heading) * np.gradient(ego.y, t) - np.sin(ego.heading) * np.gradient(
        ego.x, t
    )
    turning = (np.abs(ego.yaw_rate) > 0.02) & (ego.speed > 1.0)
    assert turning.sum() > 20
    assert np.abs(np.median(across[turning] / ego.yaw_rate[turning])) < 0.1


def test_sample_frame_boxes_are_where_the_data_set_projects_them():
    path = real(PERCEPTION / "pvps_data_one_frame.tfrecord")
    drive = waymo_perception.open_drive(path, waymo_perception.drives(path)[0])
    whole = decode(FRAME, records(path)[0].read(), path)
    corner = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
    agents, errors = drive.agents, []
    assert agents.valid.sum() == 75 and len(drive.frames) == 5
    for labels in whole["projected_lidar_labels"]:
        sensor = waymo_perception.CAMERAS[labels["name"]]
        (frame,) = drive.frames_of(sensor)
        camera = drive.rig.cameras[[c.name for c in drive.rig.cameras].index(sensor)]
        camera_from_world = inverse(frame.world_from_ego @ camera.ego_from_camera)
        for label in labels["labels"]:
            (column,) = np.flatnonzero([label["id"].startswith(i) for i in drive.source_id])
            if agents.speed[0, column] > 0.1:
                continue  # the box moved until its column of the rolling shutter was read
            size = [f[0, column] for f in (agents.length, agents.width, agents.height)]
            pose = camera_from_world @ drive.world_from_agent[0, column]
            uv, seen = camera.camera.project(transform_points(pose, corner * size))
            if seen.all():
                box = label["box"]
                middle = np.array([box["center_x"], box["center_y"]])
                half = np.array([box["length"], box["width"]]) / 2.0
                edges = [middle - half - 0.5, middle + half - 0.5]  # its pixel 0 begins at 0
                errors.append(np.abs([uv.min(0) - edges[0], uv.max(0) - edges[1]]).max())
    assert len(errors) > 30
    assert np.median(errors) < 0.1 and max(errors) < 0.5
    # speeds are in the world frame: those who move go where they face
    moving = np.flatnonzero(agents.speed[0] > 0.5)
    course = np.arctan2(agents.vy[0, moving], agents.vx[0, moving])
    off = np.angle(np.exp(1j * (course - agents.heading[0, moving])))
    assert len(moving) > 8 and np.median(np.abs(off)) < 0.1
    # road users stand on the ground the car stands on
    near = np.hypot(agents.x[0] - drive.ego.x[0], agents.y[0] - drive.ego.y[0]) < 25.0
    on_ground = near & (agents.kind[0] != AgentKind.STATIC)
    assert np.abs(np.median(agents.z[0, on_ground] - drive.ego.z[0])) < 0.25


def test_sample_frame_pictures():
    path = real(PERCEPTION / "pvps_data_one_frame.tfrecord")
    drive = waymo_perception.open_drive(path, waymo_perception.drives(path)[0])
    seen = drive.observation(0)
    assert {c.rgb.shape[:2] for c in seen.cameras.values()} == {(1280, 1920), (886, 1920)}
    front = seen.cameras["camera_front"]
    share = np.bincount(front.semantic.ravel(), minlength=29) / front.semantic.size
    assert 0.3 < share[SemanticClass.ROAD] < 0.5 and 0.1 < share[SemanticClass.SKY] < 0.3
    assert any("no LiDAR returns" in note for note in drive.notes)
    # sky is blue-grey and bright, road is dark
    assert front.rgb[front.semantic == SemanticClass.SKY].mean() > 180
    assert front.rgb[front.semantic == SemanticClass.ROAD].mean() < 140
