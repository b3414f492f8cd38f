"""Argoverse 2 sensor logs and scenario-mining logs as recordings.

A log is a folder as the data set's own tool lays it out::

    city_SE3_egovehicle.feather                    poses, also between sweeps
    annotations.feather                            boxes (annotations_with_ego.feather: mining)
    calibration/intrinsics.feather                 cameras
    calibration/egovehicle_SE3_sensor.feather      where cameras and LiDARs sit
    sensors/cameras/<camera>/<timestamp_ns>.jpg
    sensors/lidar/<timestamp_ns>.feather
    map/log_map_archive_*.json

Steps are the annotated sweeps (10 Hz), or the sweeps themselves where nothing is annotated.

Frames. World: the city's (``roadloop.maps.argoverse2``). The data set's ego frame has its origin in
the *middle* of the rear axle, ours on the ground ``AXLE_HEIGHT`` below; poses, calibration, boxes
and points are moved there. Boxes stand upright in the ego frame, so they tilt with the ego. Of the
sensors see ``roadloop.datasets.argoverse2.sensors``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.argoverse2.poses import (
    PLACE,
    POSES,
    QUATERNION,
    VEHICLE,
    grounded,
    microseconds,
    poses_of,
    read_poses,
    transforms,
)
from roadloop.datasets.argoverse2.sensors import SWEEPS, find_frames, read_rig, stamped
from roadloop.datasets.motion import ego_of_poses, velocities
from roadloop.datasets.source import read_table
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.maps.argoverse2 import CITIES, city_code, load_map, map_file
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

LICENCE = "CC BY-NC-SA 4.0"

ANNOTATIONS = ("annotations.feather", "annotations_with_ego.feather")
EGO = "EGO_VEHICLE"
"""category of the ego, which scenario mining adds to the annotations"""

KINDS = {
    "REGULAR_VEHICLE": AgentKind.CAR,
    "LARGE_VEHICLE": AgentKind.TRUCK,
    "BOX_TRUCK": AgentKind.TRUCK,
    "TRUCK": AgentKind.TRUCK,
    "TRUCK_CAB": AgentKind.TRUCK,
    "VEHICULAR_TRAILER": AgentKind.TRUCK,
    "MESSAGE_BOARD_TRAILER": AgentKind.TRUCK,
    "TRAFFIC_LIGHT_TRAILER": AgentKind.TRUCK,
    "BUS": AgentKind.BUS,
    "SCHOOL_BUS": AgentKind.BUS,
    "ARTICULATED_BUS": AgentKind.BUS,
    "RAILED_VEHICLE": AgentKind.BUS,
    "MOTORCYCLE": AgentKind.MOTORCYCLE,
    "MOTORCYCLIST": AgentKind.MOTORCYCLE,
    "BICYCLE": AgentKind.CYCLIST,
    "BICYCLIST": AgentKind.CYCLIST,
    "WHEELED_DEVICE": AgentKind.CYCLIST,
    "WHEELED_RIDER": AgentKind.CYCLIST,
    "PEDESTRIAN": AgentKind.PEDESTRIAN,
    "OFFICIAL_SIGNALER": AgentKind.PEDESTRIAN,
    "STROLLER": AgentKind.PEDESTRIAN,
    "WHEELCHAIR": AgentKind.PEDESTRIAN,
    "ANIMAL": AgentKind.PEDESTRIAN,
    "DOG": AgentKind.PEDESTRIAN,
    "BOLLARD": AgentKind.STATIC,
    "CONSTRUCTION_BARREL": AgentKind.STATIC,
    "CONSTRUCTION_CONE": AgentKind.STATIC,
    "MOBILE_PEDESTRIAN_CROSSING_SIGN": AgentKind.STATIC,
    "SIGN": AgentKind.STATIC,
    "STOP_SIGN": AgentKind.STATIC,
}
"""category -> kind: the 30 of ``av2.datasets.sensor.constants.AnnotationCategories``. Two-wheelers
have boxes of their own beside those of their riders. Trailers can be towed, so they are no statics.
"""


def drives(root: Path) -> list[str]:
    """Ids of the logs in a folder, its splits (``val``), and theirs (``sensor/val``)."""
    return sorted(find_logs(root))


def open_drive(root: Path, name: str) -> Recording:
    """One log.

    Raises:
        RoadloopError: no such log; a missing, truncated or wrong table, with file and row.
    """
    logs = find_logs(root)
    if name not in logs:
        raise RoadloopError(f"{root}: {unknown('log of Argoverse 2', name, logs)}")
    folder = logs[name]
    stamps, poses = read_poses(folder / POSES)
    notes: list[str] = []
    annotations = next((f for name in ANNOTATIONS if (f := folder / name).is_file()), None)
    steps = _steps(folder, annotations)
    start = int(steps[0])
    timestamp_us = microseconds(steps - start)
    world_from_ego = poses_of(poses, stamps, steps, annotations or folder / SWEEPS)
    if annotations is None:
        labels = {}
        notes.append(f"without {ANNOTATIONS[0]}: no road users, steps are the LiDAR sweeps")
    else:
        labels = _labels(annotations, steps, world_from_ego, timestamp_us)
    rig = read_rig(folder, notes)
    frames = find_frames(folder, rig, steps, stamps, poses, notes)
    if (folder / "flow_labels.feather").is_file():
        notes.append("flow_labels.feather (scene flow) is not read")
    map_path = map_file(folder / "map")
    if map_path is None:
        notes.append(f"{folder / 'map'} holds no map")
    city = city_code(map_path.name) if map_path else ""
    return Recording(
        name=name,
        dataset="argoverse2",
        dt=0.1,
        timestamp_us=timestamp_us,
        ego=ego_of_poses(world_from_ego, timestamp_us, VEHICLE),
        world_from_ego=world_from_ego,
        rig=rig,
        load_map=None if map_path is None else partial(load_map, map_path),
        frames=frames,
        about={
            "start_us": int(microseconds(np.int64(start))),
            "clock": "the data set's own: no Unix time",
            "licence": LICENCE,
            "city": CITIES[city][0] if city else "",
            "vehicle": "Ford Fusion Hybrid",
        },
        notes=tuple(notes),
        **labels,
    )


def find_logs(root: Path) -> dict[str, Path]:
    """Folder of each log by name, which is its id unless two of them have it."""
    found = [
        path.parent for up in ("", "*/", "*/*/", "*/*/*/") for path in root.glob(f"{up}{POSES}")
    ]
    ids = [folder.resolve().name for folder in found]
    return {
        name if ids.count(name) == 1 else "_".join(folder.relative_to(root).parts): folder
        for name, folder in zip(ids, found)
    }


def _steps(folder: Path, annotations: Path | None) -> Array:
    """(T,) ns of the steps."""
    if annotations is None:
        steps = np.array([stamp for stamp, _ in stamped(folder / SWEEPS, ".feather")])
        wanted = f"{ANNOTATIONS[0]} and {SWEEPS}"
    else:
        steps = np.unique(read_table(annotations, ("timestamp_ns",))["timestamp_ns"])
        wanted = f"rows in {annotations.name}"
    if not len(steps):
        raise RoadloopError(f"{folder} is without {wanted}: nothing says when its steps are")
    return steps.astype(np.int64)


# --- road users ---------------------------------------------------------------------------------


def _labels(path: Path, steps: Array, world_from_ego: Array, timestamp_us: Array) -> dict[str, Any]:
    """Fields of a Recording that describe the road users, a column per track by its uuid."""
    sizes = ("length_m", "width_m", "height_m")
    names = ("timestamp_ns", "track_uuid", "category", "num_interior_pts")
    table = read_table(path, (*names, *sizes, *QUATERNION, *PLACE), ("track_uuid", "category"))
    category = table["category"].astype(str)
    size = np.stack([table[name] for name in sizes], axis=-1).astype(float)
    for row in np.flatnonzero(~((size > 0.0) & np.isfinite(size)).all(-1))[:1]:
        raise RoadloopError(f"{path}: row {row}: a box of {size[row].tolist()} m: expected above 0")
    ego_from_box = grounded(transforms(path, table))
    ego_from_box[:, :3, 3] -= ego_from_box[:, :3, 2] * size[:, 2:] / 2.0  # to the box's bottom

    others = np.flatnonzero(category != EGO)
    ids, column = np.unique(table["track_uuid"].astype(str)[others], return_inverse=True)
    step = np.searchsorted(steps, table["timestamp_ns"][others])
    cell = step * len(ids) + column
    _, first = np.unique(cell, return_index=True)
    if len(first) < len(cell):
        row = others[np.setdiff1d(np.arange(len(cell)), first)[0]]
        track = table["track_uuid"][row]
        raise RoadloopError(f"{path}: row {row}: a second box of track {track} at that time")
    shape = (len(steps), len(ids))
    classes = category[others][np.unique(column, return_index=True)[1]]
    for name in np.unique(category[others]):
        if name not in KINDS:
            raise RoadloopError(f"{path}: {unknown('category', name, KINDS)}")
    changed = np.flatnonzero(category[others] != classes[column])
    if changed.size:
        row = others[changed[0]]
        raise RoadloopError(
            f"{path}: row {row}: category {category[row]} of a track that was "
            f"{classes[column[changed[0]]]}"
        )

    def grid(values: Array, absent: float) -> Array:
        full = np.full(shape, absent, values.dtype)
        full[step, column] = values
        return full

    world_from_box = np.broadcast_to(np.eye(4), (*shape, 4, 4)).copy()
    world_from_box[step, column] = world_from_ego[step] @ ego_from_box[others]
    valid = grid(np.ones(len(others), bool), False)
    x, y, z = (world_from_box[..., k, 3] * valid for k in range(3))
    vx, vy = velocities(x, y, valid, timestamp_us)
    kinds = np.array([KINDS[name] for name in classes], np.uint8)
    agents = AgentStates(
        id=np.broadcast_to(np.arange(1, len(ids) + 1), shape).copy(),
        kind=np.broadcast_to(kinds, shape).copy(),
        x=x,
        y=y,
        z=z,
        heading=np.arctan2(world_from_box[..., 1, 0], world_from_box[..., 0, 0]),
        vx=vx,
        vy=vy,
        length=grid(size[others, 0], 0.0),
        width=grid(size[others, 1], 0.0),
        height=grid(size[others, 2], 0.0),
        valid=valid,
    )
    return {
        "agents": agents,
        "world_from_agent": world_from_box,
        "category": classes,
        "source_id": ids,
        "lidar_points": grid(table["num_interior_pts"][others].astype(np.int32), -1),
    }
