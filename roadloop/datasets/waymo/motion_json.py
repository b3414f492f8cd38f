"""Waymo scenarios as JSON: the dialects of GPUDrive and of Nocturne, its forerunner.

Both hold ``objects`` (91 steps of position, heading, velocity, valid), ``roads`` (points by type)
and ``tl_states``. GPUDrive's have ids, heights, types of lines and, in ``metadata``, which object
is the ego. Nocturne's have none of these and headings in degrees, as had GPUDrive's first ones
(data_utils/process_waymo_files.py in github.com/Emerge-Lab/gpudrive tells both).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.waymo.fields import VEHICLE
from roadloop.errors import RoadloopError

Array = np.ndarray

TYPES = {"unset": 0, "vehicle": 1, "pedestrian": 2, "cyclist": 3, "other": 4}
"""Track.ObjectType by name"""
HEIGHTS = {1: 1.6, 2: 1.75, 3: 1.75, 4: 1.0}
"""m, of boxes without a height, by type: usual ones of a car, an adult and a rider"""
STATES = (
    *("unknown", "arrow_stop", "arrow_caution", "arrow_go", "stop", "caution", "go"),
    *("flashing_stop", "flashing_caution"),
)
"""names of TrafficSignalLaneState.State, by number"""
DT = 0.1
_SAME = 0.05
"""m, sizes that differ by less are those of one car"""
_HEAD = re.compile(
    rb'\s*\{\s*"name"\s*:\s*"(?P<name>[^"]*)"\s*,\s*'
    rb'(?:"scenario_id"\s*:\s*"(?P<id>[^"]*)"\s*,\s*)?"objects"\s*:\s*\['
)


def json_names(path: Path) -> str:
    """The scenario's id or, without one, the name in the file; empty for other JSON files."""
    try:
        with path.open("rb") as file:
            head = _HEAD.match(file.read(1024))
    except OSError:
        return ""
    if head is None:
        return ""
    name = head["id"] or head["name"].removesuffix(b".json") or path.stem.encode()
    return name.decode("utf-8", "replace")


def scenario_of_json(content: bytes, path: Path) -> dict[str, Any]:
    """A scenario as ``waymo_fields.SCENARIO`` decodes it, with ``linked`` and ``notes``.

    Raises RoadloopError for truncated files, missing fields and, in Nocturne's dialect, where no
    object has the size of Waymo's car.
    """
    try:
        whole = json.loads(content)
    except ValueError as error:
        raise RoadloopError(f"{path} is truncated or no JSON: {error}") from error
    notes = ["from JSON: links and neighbours of lanes are found from their shapes"]
    try:
        objects = whole["objects"]
        steps = len(objects[0]["valid"]) if objects else 0
        tracks = [_track(k, each, steps, path, notes) for k, each in enumerate(objects)]
        metadata = whole.get("metadata", {})
        ego = metadata.get("sdc_track_index", -1)
        if ego < 0:
            ego = _ego_by_size(tracks, path)
            notes.append("the ego is not named: it is the one vehicle of its known size")
        _headings_in_radians(tracks, path, notes)
        features = [_feature(k, road, path) for k, road in enumerate(whole.get("roads", []))]
        return {
            "scenario_id": whole.get("scenario_id", ""),
            "timestamps_seconds": DT * np.arange(steps),
            "tracks": tracks,
            "sdc_track_index": ego,
            "map_features": [feature for feature in features if feature],
            "dynamic_map_states": _lights(whole.get("tl_states", {}), steps, path),
            "objects_of_interest": metadata.get("objects_of_interest", []),
            "tracks_to_predict": metadata.get("tracks_to_predict", []),
            "linked": False,
            "notes": list(dict.fromkeys(notes)),
        }
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        what = f"{type(error).__name__} {error}"
        raise RoadloopError(
            f"{path} is no scenario of GPUDrive or Nocturne ({what}); download it again"
        ) from error


def _track(row: int, thing: dict[str, Any], steps: int, path: Path, notes: list[str]) -> Any:
    """A track with its states in columns."""
    kind = TYPES.get(thing["type"], -1)
    if kind < 0:
        raise RoadloopError(f"{path}: object {row} is of type {thing['type']!r}, not {[*TYPES]}")
    for name in ("position", "heading", "velocity", "valid"):
        if len(thing[name]) != steps:
            raise RoadloopError(
                f"{path}: object {row} has {len(thing[name])} values of {name}, the first {steps}"
            )
    valid = np.array(thing["valid"], bool)
    height = thing.get("height")
    flat = "z" not in thing["position"][0]
    if height is None or flat:
        notes.append("no heights in this dialect: the ground is at 0, boxes are of usual height")
        height = HEIGHTS.get(kind, 1.0) if height is None else height

    def along(name: str, axis: str) -> Array:
        return np.array([float(point[axis]) for point in thing[name]]) * valid

    return {
        "id": int(thing.get("id", row)),
        "object_type": kind,
        "states": {
            "center_x": along("position", "x"),
            "center_y": along("position", "y"),
            "center_z": np.full(steps, height / 2.0) if flat else along("position", "z"),
            "length": np.full(steps, float(thing["length"])),
            "width": np.full(steps, float(thing["width"])),
            "height": np.full(steps, float(height)),
            "heading": np.array(thing["heading"], float) * valid,
            "velocity_x": along("velocity", "x"),
            "velocity_y": along("velocity", "y"),
            "valid": valid,
        },
    }


def _ego_by_size(tracks: list[Any], path: Path) -> int:
    """The last vehicle as long and wide as Waymo's own car, which the data set keeps exactly."""
    for row in reversed(range(len(tracks))):
        states = tracks[row]["states"]
        size = (states["length"][0], states["width"][0])
        if np.allclose(size, (VEHICLE.length, VEHICLE.width), atol=1e-3):
            return row
    raise RoadloopError(
        f"{path} does not say which object is the ego (metadata.sdc_track_index), and none is "
        f"{VEHICLE.length} x {VEHICLE.width} m as Waymo's car"
    )


def _headings_in_radians(tracks: list[Any], path: Path, notes: list[str]) -> None:
    """Change headings in degrees to radians, and check them against the directions of travel."""
    largest = max((np.abs(t["states"]["heading"]).max(initial=0.0) for t in tracks), default=0.0)
    degrees = largest > 2.0 * np.pi + 1e-3
    errors = []
    for track in tracks:
        states = track["states"]
        if degrees:
            states["heading"] = np.radians(states["heading"])
        moving = np.hypot(states["velocity_x"], states["velocity_y"]) > 2.0
        if track["object_type"] == 1 and moving.any():
            course = np.arctan2(states["velocity_y"][moving], states["velocity_x"][moving])
            errors.append(np.abs(np.angle(np.exp(1j * (course - states["heading"][moving])))))
    if degrees:
        notes.append("headings in degrees, changed to radians")
    if errors and np.median(np.concatenate(errors)) > 0.35:
        raise RoadloopError(
            f"{path}: headings do not point where vehicles go, neither in radians nor in degrees"
        )


def _feature(row: int, road: dict[str, Any], path: Path) -> dict[str, Any] | None:
    points = road["geometry"]
    columns = {
        axis: np.array([float(point.get(axis, 0.0)) for point in points])
        for axis in ("x", "y", "z")
    }
    number = road.get("map_element_id")
    feature = feature_of(road["type"], -1 if number is None else int(number), columns)
    if feature is None:
        raise RoadloopError(f"{path}: road {row} is of type {road['type']!r}, which is not known")
    return {"id": int(road.get("id", row)), **feature}


def feature_of(kind: str, number: int, points: dict[str, Array]) -> dict[str, Any] | None:
    """A map feature as ``waymo_fields.FEATURE`` decodes it, without any links.

    Args:
        kind: lane, road_line, road_edge, stop_sign, crosswalk, speed_bump or driveway.
        number: the type as tf.Example numbers them: lanes 0 to 3, lines from 5 (which is unknown),
            edges from 14; -1 where it is not said.
    """
    if kind == "lane":
        nothing = {f"{side}_neighbors": [] for side in ("left", "right")}
        links = {"entry_lanes": np.zeros(0, int), "exit_lanes": np.zeros(0, int)}
        return {"lane": {"type": max(number, 0), "polyline": points, **nothing, **links}}
    if kind in ("road_line", "road_edge"):
        first = 5 if kind == "road_line" else 14
        return {kind: {"type": max(number - first, 0), "polyline": points}}
    if kind == "stop_sign":
        place = {axis: float(values[0]) for axis, values in points.items()}
        return {kind: {"lane": np.zeros(0, int), "position": place}}
    if kind in ("crosswalk", "speed_bump", "driveway"):
        return {kind: {"polygon": points}}
    return None


def _lights(states: dict[str, Any], steps: int, path: Path) -> list[dict[str, Any]]:
    """Per step the states of the lights that were seen."""
    dynamic: list[dict[str, Any]] = [{"lane_states": []} for _ in range(steps)]
    for lane, light in states.items():
        for k, step in enumerate(light["time_index"]):
            word = light["state"][k]
            if word not in STATES and word not in range(len(STATES)):
                raise RoadloopError(f"{path}: the light of lane {lane} is {word!r} at step {step}")
            if not 0 <= step < steps:
                raise RoadloopError(f"{path}: the light of lane {lane} has a step {step}")
            point = {axis: float(light[axis][k]) for axis in ("x", "y", "z") if axis in light}
            dynamic[step]["lane_states"].append(
                {
                    "lane": int(lane),
                    "state": STATES.index(word) if isinstance(word, str) else word,
                    "stop_point": point,
                }
            )
    return dynamic
