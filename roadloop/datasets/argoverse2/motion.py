"""Argoverse 2 motion forecasting: one scenario of 11 s at 10 Hz as a recording without sensors.

A scenario is a folder with ``scenario_<id>.parquet`` and ``log_map_archive_<id>.json``.

What the table leaves open:

* The recording car is the track ``AV``, the ego here. Its position is that of the rear axle, like
  the poses of the sensor data set: it slips sideways by -0.3 m times the yaw rate where the box's
  middle would by 1.3 m (in the sensor logs' poses that factor is -0.1 to -0.7 m). All other
  positions are middles of boxes.
* There are no sizes: road users have ``SIZES``.
* There are no heights: the ground is that between the map's lane edges, and 0 without a map.
* Positions are smoothed, and squeezed together at the ends: over the first five and last ten steps
  their differences say up to 5 m/s less than ``velocity_x`` and ``velocity_y``, which stay smooth.
  So speeds are those columns, for the ego too.
* ``background``, ``static``, ``construction`` and ``riderless_bicycle`` are the static types.
  Tracks of type ``unknown`` have neither a kind nor a size and are left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.argoverse2.poses import VEHICLE
from roadloop.datasets.argoverse2.reader import LICENCE
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import read_table
from roadloop.errors import RoadloopError
from roadloop.geometry import polyline_arc_length, rotation_from_euler, se3, wrap_angle
from roadloop.logs.recording import Recording
from roadloop.maps.argoverse2 import CITIES, city_code, load_map, map_file, read_draft
from roadloop.rig import SensorRig
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

EGO = "AV"
UNKNOWN = "unknown"

KINDS = {
    "vehicle": AgentKind.CAR,
    "bus": AgentKind.BUS,
    "motorcyclist": AgentKind.MOTORCYCLE,
    "cyclist": AgentKind.CYCLIST,
    "pedestrian": AgentKind.PEDESTRIAN,
    "riderless_bicycle": AgentKind.STATIC,
    "static": AgentKind.STATIC,
    "background": AgentKind.STATIC,
    "construction": AgentKind.STATIC,
}
"""object_type -> kind, as ``av2.datasets.motion_forecasting.data_schema.ObjectType`` groups them"""

SIZES = {
    "vehicle": (4.2, 1.9, 1.7),
    "bus": (11.6, 2.9, 3.0),
    "motorcyclist": (2.0, 0.7, 1.7),
    "cyclist": (2.0, 0.7, 1.7),
    "pedestrian": (0.7, 0.7, 1.8),
    "riderless_bicycle": (1.6, 0.6, 1.2),
    "static": (0.4, 0.3, 1.0),
    "background": (0.4, 0.3, 1.0),
    "construction": (0.3, 0.4, 0.8),
}
"""m, length, width, height: medians over the tracks of four annotated logs of the sensor data set
(300 cars, 3 buses, 69 pedestrians, 15 bicycles, 55 bollards for what is static, 13 cones); two-
wheelers with riders as ``av2`` draws them, as high as a rider"""

CATEGORIES = ("fragment", "unscored", "scored", "focal")
"""object_category -> what a track is good for"""

_NUMBERS = ("position_x", "position_y", "heading", "velocity_x", "velocity_y")
_SCENARIO = ("start_timestamp", "end_timestamp", "num_timestamps", "focal_track_id", "city")
_WORDS = ("track_id", "object_type", "focal_track_id", "city")
_TRACK = ("track_id", "object_type", "object_category", "timestep", "observed")


def drives(root: Path) -> list[str]:
    """Ids of the scenarios in a folder, its splits, and theirs; of the one file that it is."""
    return sorted(find_scenarios(root))


def open_drive(root: Path, name: str) -> Recording:
    """One scenario.

    Raises:
        RoadloopError: no such scenario; a missing, truncated or wrong table, with file and row.
    """
    scenarios = find_scenarios(root)
    if name not in scenarios:
        raise RoadloopError(f"{root}: {unknown('scenario of Argoverse 2', name, scenarios)}")
    path = scenarios[name]
    table = read_table(path, (*_TRACK, *_NUMBERS, *_SCENARIO), _WORDS)
    _check(path, table)
    is_ego = table["track_id"] == EGO
    ego_rows = np.flatnonzero(is_ego)[np.argsort(table["timestep"][is_ego])]
    steps = len(ego_rows)
    if not steps or (table["timestep"][ego_rows] != np.arange(steps)).any():
        raise RoadloopError(f"{path}: the track {EGO}, the ego, is not there at every step")
    timestamp_us = _stamps(path, table)[:steps]
    city = city_code(str(table["city"][0]))
    notes = ["sizes are those usual for the type of a road user: the data set has none"]
    map_path = map_file(path.parent)
    if map_path is None:
        notes.append(f"{path.parent} holds no map; the ground is at z = 0")
    x, y = table["position_x"], table["position_y"]
    z = np.zeros(len(x)) if map_path is None else _ground(map_path, x, y)

    heading = table["heading"][ego_rows]
    level = np.zeros(steps)
    place = np.stack([values[ego_rows] for values in (x, y, z)], axis=-1)
    world_from_ego = se3(rotation_from_euler(level, level, heading), place)
    speed = table["velocity_x"] * np.cos(table["heading"])
    speed += table["velocity_y"] * np.sin(table["heading"])
    kept = ~is_ego & (table["object_type"] != UNKNOWN)
    left_out = np.unique(table["track_id"][table["object_type"] == UNKNOWN])
    if left_out.size:
        notes.append(f"{left_out.size} tracks of unknown type are left out")
    tracks = {
        CATEGORIES[number]: np.unique(table["track_id"][table["object_category"] == number])
        for number in (2, 3)
    }
    return Recording(
        name=name,
        dataset="argoverse2-motion",
        dt=0.1,
        timestamp_us=timestamp_us,
        ego=ego_of_poses(world_from_ego, timestamp_us, VEHICLE, speed[ego_rows]),
        world_from_ego=world_from_ego,
        rig=SensorRig("argoverse2"),
        load_map=None if map_path is None else partial(load_map, map_path, city),
        about={
            "start_us": round(float(table["start_timestamp"][0]) / 1000.0),
            "clock": "the data set's own: no Unix time",
            "licence": LICENCE,
            "city": CITIES[city][0] if city else str(table["city"][0]),
            "vehicle": "Ford Fusion Hybrid",
            "observed_steps": int(table["observed"][ego_rows].sum()),
            "focal_track": str(table["focal_track_id"][0]),
            **{f"{key}_tracks": [str(t) for t in found] for key, found in tracks.items()},
        },
        notes=tuple(notes),
        **_agents(table, np.flatnonzero(kept), steps, z),
    )


def find_scenarios(root: Path) -> dict[str, Path]:
    """Table of each scenario by id."""
    if root.is_file():
        found = [root] if root.match("scenario_*.parquet") else []
    else:
        levels = ("", "*/", "*/*/", "*/*/*/")
        found = [path for up in levels for path in root.glob(f"{up}scenario_*.parquet")]
    return {path.stem.removeprefix("scenario_"): path for path in found}


def _check(path: Path, table: dict[str, Array]) -> None:
    """Types known, numbers finite, at most one row per track and step."""
    if not len(table["timestep"]):
        raise RoadloopError(f"{path} has no rows")
    for name in np.unique(table["object_type"].astype(str)):
        if name not in KINDS and name != UNKNOWN:
            raise RoadloopError(f"{path}: {unknown('object_type', name, (*KINDS, UNKNOWN))}")
    numbers = np.stack([table[name] for name in _NUMBERS], axis=-1)
    for row in np.flatnonzero(~np.isfinite(numbers).all(-1))[:1]:
        values = dict(zip(_NUMBERS, numbers[row].tolist()))
        raise RoadloopError(f"{path}: row {row}: {values}: expected finite numbers")
    _, track = np.unique(table["track_id"].astype(str), return_inverse=True)
    step = table["timestep"]
    last = int(table["num_timestamps"][0]) - 1
    for row in np.flatnonzero((step < 0) | (step > last))[:1]:
        raise RoadloopError(f"{path}: row {row}: timestep {step[row]}: expected 0 to {last}")
    _, first = np.unique(track * (last + 1) + step, return_index=True)
    for row in np.setdiff1d(np.arange(len(step)), first)[:1]:
        raise RoadloopError(
            f"{path}: row {row}: track {table['track_id'][row]} is twice at timestep {step[row]}"
        )


def _stamps(path: Path, table: dict[str, Array]) -> Array:
    """(T,) us of all steps; the table has the first and last one in ns, and how many."""
    first, last = (float(table[f"{end}_timestamp"][0]) for end in ("start", "end"))
    count = int(table["num_timestamps"][0])
    if not (last > first or count == 1):
        raise RoadloopError(f"{path}: {count} steps end at {last:.0f} ns, begin at {first:.0f} ns")
    return np.round(np.linspace(0.0, (last - first) / 1000.0, count)).astype(np.int64)


def _ground(path: Path, x: Array, y: Array) -> Array:
    """z of the ground at places (n,): linear between the map's lane edges, else the nearest one."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    edges = [edge for lane in read_draft(path).lanes for edge in (lane.left, lane.right)]
    points = np.concatenate([_resampled(edge) for edge in edges if edge is not None])
    places = np.stack([x, y], axis=-1)
    between = LinearNDInterpolator(points[:, :2], points[:, 2])(places)
    nearest = NearestNDInterpolator(points[:, :2], points[:, 2])(places)
    return np.where(np.isfinite(between), between, nearest)


def _resampled(line: Array) -> Array:
    """A polyline (n, 3) with a point every 2 m at most."""
    s = polyline_arc_length(line[:, :2])
    at = np.linspace(0.0, s[-1], max(int(np.ceil(s[-1] / 2.0)) + 1, 2))
    return np.stack([np.interp(at, s, line[:, k]) for k in range(3)], axis=-1)


def _agents(table: dict[str, Array], rows: Array, steps: int, z: Array) -> dict[str, Any]:
    """Fields of a Recording that describe the road users, a column per track by its id."""
    rows = rows[table["timestep"][rows] < steps]
    ids, first, column = np.unique(
        table["track_id"][rows].astype(str), return_index=True, return_inverse=True
    )
    shape = (steps, len(ids))
    cell = (table["timestep"][rows], column)
    category = table["object_type"][rows][first].astype(str)
    size = np.array([SIZES[name] for name in category]).reshape(-1, 3)

    def grid(values: Array) -> Array:
        full = np.zeros(shape, values.dtype)
        full[cell] = values[rows]
        return full

    def per_track(values: Array) -> Array:
        return np.broadcast_to(values, shape).copy()

    agents = AgentStates(
        id=per_track(np.arange(1, len(ids) + 1)),
        kind=per_track(np.array([KINDS[name] for name in category], np.uint8)),
        x=grid(table["position_x"]),
        y=grid(table["position_y"]),
        z=grid(z),
        heading=grid(wrap_angle(table["heading"])),
        vx=grid(table["velocity_x"]),
        vy=grid(table["velocity_y"]),
        length=per_track(size[:, 0]),
        width=per_track(size[:, 1]),
        height=per_track(size[:, 2]),
        valid=grid(np.ones(len(z), bool)),
    )
    return {"agents": agents, "category": category, "source_id": ids}
