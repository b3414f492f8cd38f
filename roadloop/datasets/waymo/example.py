"""Waymo scenarios as tf.Example: tracks and lights whole, the map as points with a type.

Names and shapes of the features: https://waymo.com/open/data/motion/tfexample. At most 128 tracks,
20 000 map points and 16 lights; lanes do not say what they lead on to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.datasets.protobuf_wire import BYTES, Field, Message, WireError, decode, walk
from roadloop.datasets.waymo.motion_json import feature_of
from roadloop.errors import RoadloopError

Array = np.ndarray

_LISTS = Message(
    "Feature",
    {
        1: Field("bytes_list", Message("BytesList", {1: Field("value", "bytes", True)})),
        2: Field("float_list", Message("FloatList", {1: Field("value", "float", True)})),
        3: Field("int64_list", Message("Int64List", {1: Field("value", "int64", True)})),
    },
)
_ENTRY = Message("FeatureEntry", {1: Field("key", "string"), 2: Field("value", _LISTS)})
EXAMPLE = Message(
    "tf.Example", {1: Field("features", Message("Features", {1: Field("feature", _ENTRY, True)}))}
)

PARTS = ("past", "current", "future")
"""10, 1 and 80 steps; a test split has no future"""
STATES = {
    "center_x": "x",
    "center_y": "y",
    "center_z": "z",
    "length": "length",
    "width": "width",
    "height": "height",
    "heading": "bbox_yaw",
    "velocity_x": "velocity_x",
    "velocity_y": "velocity_y",
    "valid": "valid",
}
"""our name of a state's field: that of the feature state/PART/..."""
KINDS = (
    *(["lane"] * 4 + [""]),
    *(["road_line"] * 9),
    *(["road_edge"] * 3),
    *("stop_sign", "crosswalk", "speed_bump", "driveway"),
)
"""kind of a map point by the number of roadgraph_samples/type"""


def is_example(data: memoryview, length: int | None = None) -> bool:
    """Whether a message is a tf.Example: one field that holds all of it, a map of named lists.

    Args:
        length: of the message in bytes, where ``data`` may be cut off.
    """
    length = len(data) if length is None else length
    try:
        for number, wire, value in walk(data[:16]):
            return number == 1 and wire == BYTES and len(value) == length
    except WireError:
        pass  # its only field goes on beyond the first bytes
    head = bytes(data[:64])
    return head[:1] == b"\x0a" and b"/" in head and _spans_all(data, length)


def example_id(data: bytes, where: object) -> str:
    """The scenario's id."""
    found = _features(data, where).get("scenario/id", [b""])
    return bytes(found[0]).decode("utf-8", "replace") if len(found) else ""


def scenario_of_example(data: bytes, where: object) -> dict[str, Any]:
    """A scenario as ``waymo_fields.SCENARIO`` decodes it, with ``linked`` and ``notes``.

    Raises RoadloopError for a feature that is missing or of another size.
    """
    features = _features(data, where)
    for name in ("state/id", "state/is_sdc", "roadgraph_samples/xyz"):
        if name not in features:
            raise RoadloopError(f"{where}: the tf.Example has no feature {name}; is it Waymo's?")
    ids = np.asarray(features["state/id"])
    parts = [part for part in PARTS if f"state/{part}/x" in features]

    def over_time(name: str, rows: int) -> Array:
        pieces = []
        for part in parts:
            values = np.asarray(features.get(name.format(part), []))
            if len(values) % rows or not len(values):
                raise RoadloopError(f"{where}: {name.format(part)} has {len(values)} values")
            pieces.append(values.reshape(rows, -1))
        return np.concatenate(pieces, axis=1)

    states = {ours: over_time(f"state/{{}}/{name}", len(ids)) for ours, name in STATES.items()}
    states["valid"] = states["valid"] > 0
    stamps = over_time("state/{}/timestamp_micros", len(ids))
    used = np.flatnonzero(ids >= 0)
    tracks = [
        {
            "id": int(ids[row]),
            "object_type": int(features["state/type"][row]),
            "states": {field: value[row] for field, value in states.items()},
        }
        for row in used.tolist()
    ]
    ego = np.flatnonzero(np.asarray(features["state/is_sdc"])[used] == 1)
    if len(ego) != 1:
        raise RoadloopError(f"{where}: {len(ego)} tracks are the ego (state/is_sdc), not one")
    notes = [
        "from tf.Example: at most 128 tracks; links and neighbours of lanes are found from their "
        "shapes, speed limits are not told"
    ]
    if np.all(np.asarray(features["roadgraph_samples/valid"]) > 0):
        notes.append("the map is cut: a tf.Example holds 20000 points, and this one is full")
    predict = np.asarray(features.get("state/tracks_to_predict", []))
    interest = np.asarray(features.get("state/objects_of_interest", []))
    return {
        "scenario_id": example_id(data, where),
        "timestamps_seconds": stamps[used[ego[0]]] * 1e-6,
        "current_time_index": _current(features, len(ids)),
        "tracks": tracks,
        "sdc_track_index": int(ego[0]),
        "map_features": _map(features, where),
        "dynamic_map_states": _lights(features, parts, where),
        "tracks_to_predict": [
            {"track_index": k} for k, row in enumerate(used) if len(predict) and predict[row] == 1
        ],
        "objects_of_interest": ids[interest == 1].tolist() if len(interest) == len(ids) else [],
        "linked": False,
        "notes": notes,
    }


def _features(data: bytes, where: object) -> dict[str, Any]:
    """Values by the name of the feature."""
    found = decode(EXAMPLE, data, where).get("features", {}).get("feature", [])
    values: dict[str, Any] = {}
    for entry in found:
        for kind in entry.get("value", {}).values():
            values[entry.get("key", "")] = kind["value"]
    return values


def _spans_all(data: memoryview, whole: int) -> bool:
    """Whether the first field is as long as the message."""
    length = shift = at = 0
    for at in range(1, min(len(data), 11)):
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            break
    return at + 1 + length == whole


def _current(features: dict[str, Any], rows: int) -> int:
    """The step of now: as many as there are in the past."""
    return len(features.get("state/past/x", [])) // rows


def _map(features: dict[str, Any], where: object) -> list[dict[str, Any]]:
    ids = np.asarray(features["roadgraph_samples/id"])
    types = np.asarray(features["roadgraph_samples/type"])
    xyz = np.asarray(features["roadgraph_samples/xyz"], float).reshape(-1, 3)
    valid = np.asarray(features["roadgraph_samples/valid"]) > 0
    if not len(ids) == len(types) == len(xyz) == len(valid):
        raise RoadloopError(f"{where}: features roadgraph_samples/... are of different lengths")
    found = []
    for key in dict.fromkeys(ids[valid].tolist()):
        rows = np.flatnonzero(valid & (ids == key))
        number = int(types[rows[0]])
        kind = KINDS[number] if 0 <= number < len(KINDS) else ""
        if not kind:
            raise RoadloopError(f"{where}: map points of id {key} are of unknown type {number}")
        points = dict(zip("xyz", xyz[rows].T, strict=True))
        feature = feature_of(kind, number, points)
        if feature is not None:
            found.append({"id": key, **feature})
    return found


def _lights(features: dict[str, Any], parts: list[str], where: object) -> list[dict[str, Any]]:
    dynamic: list[dict[str, Any]] = []
    for part in parts:
        prefix = f"traffic_light_state/{part}"
        steps = len(features[f"state/{part}/x"]) // len(features["state/id"])
        if f"{prefix}/id" not in features:
            dynamic += [{"lane_states": []} for _ in range(steps)]
            continue
        lists = {
            name: np.asarray(features[f"{prefix}/{name}"]).reshape(steps, -1)
            for name in ("id", "state", "x", "y", "z", "valid")
        }
        for step in range(steps):
            dynamic.append(
                {
                    "lane_states": [
                        {
                            "lane": int(lists["id"][step, k]),
                            "state": int(lists["state"][step, k]),
                            "stop_point": {axis: float(lists[axis][step, k]) for axis in "xyz"},
                        }
                        for k in np.flatnonzero(lists["valid"][step] > 0).tolist()
                    ]
                }
            )
    return dynamic
