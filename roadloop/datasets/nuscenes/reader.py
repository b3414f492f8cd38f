"""nuScenes and Lyft Level 5 perception: reads the scenes of a folder in nuScenes' schema.

Frames. nuScenes' ego frame is ours: x forward, y left, z up, origin the middle of the rear axle
projected onto the ground (nutonomy/nuscenes-devkit, issues 699 and 997); its LiDAR is 1.84 m up.
Lyft's Ford carries its front LiDARs at (3.48, +-0.94, 0.54) m, on the front corners at the height
of the bumper, so that its origin is the same point. World frames are those of the data sets' maps:
x east, y north; nuScenes' poses are flat (z = 0).

Steps are the sweeps of the LiDAR on the roof from the first to the last keyframe; road users are
labelled at keyframes and interpolated between (``roadloop.datasets.nuscenes.labels``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.nuscenes.labels import labels
from roadloop.datasets.nuscenes.map import expansion_file, load_expansion
from roadloop.datasets.nuscenes.sensors import HDL_32E, frames_of, rig_of
from roadloop.datasets.nuscenes.tables import (
    Channel,
    Record,
    Tables,
    channels,
    table_folders,
    tables_in,
)
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.types import VehicleParameters

Array = np.ndarray

ZOE = VehicleParameters(
    length=4.084, width=1.730, height=1.562, wheelbase=2.588, rear_overhang=0.657
)
"""Renault Zoe of nuScenes (Caesar et al., CVPR 2020, section 3); Renault's dimensions, which put
the middle of the car 1.385 m before the rear axle"""

FUSION = VehicleParameters(
    length=4.872, width=1.852, height=1.478, wheelbase=2.85, rear_overhang=1.1
)
"""Ford Fusion of Lyft Level 5; Ford's dimensions (191.8, 72.9, 58.2 and 112.2 inches), which do not
tell the overhangs: 1.1 m at the rear is an estimate"""

LICENCE = "CC BY-NC-SA 4.0"

OURS = "roadloop"
"""key of a log record with what nuScenes' schema has no place for; written by our export"""


def drives(root: Path) -> list[str]:
    """Names of the scenes in the tables under ``root``, sorted; [] where there are none.

    ``root`` holds folders of tables as nuScenes has them (``v1.0-mini/``, ``v1.0-trainval/``,
    ``v1.01-train/``, ``train_data/``), or is such a folder.
    """
    names: set[str] = set()
    for folder in table_folders(Path(root)):
        tables = Tables(folder)  # the scenes only: no reason to keep it
        names.update(tables.value("scene", scene, "name") for scene in tables.rows("scene"))
    return sorted(names)


def open_drive(root: Path, name: str) -> Recording:
    """A scene by its name; where several tables have it, those of the first folder by name.

    Raises:
        RoadloopError: a table that is missing or truncated, a dangling token or an impossible
            value, each with the file and the record.
    """
    tables, scene = _scene(Path(root), name)
    samples = tables.samples(scene)
    log = tables.get("log", tables.value("scene", scene, "log_token"), "scene", scene)
    ours = log.get(OURS, {})
    sensors = channels(tables, samples)
    if not sensors:
        raise tables.fault("scene", scene, "no record of sample_data.json belongs to it")
    offset = _offset(tables, log)
    for channel in sensors.values():
        channel.world_from_ego[:, :2, 3] -= offset
    notes: list[str] = []
    clock = _clock(sensors)
    steps, keyframe = _steps(tables, samples, clock, notes)
    start = int(clock.time_us[steps[0]])
    time_us = clock.time_us[steps] - start
    world_from_ego = clock.world_from_ego[steps]
    beams = {} if OURS in log or _is_lyft(log) else {"LIDAR_TOP": HDL_32E}
    rig = rig_of(tables, name, sensors, beams, notes)
    frames = frames_of(tables, sensors, start, time_us, notes)
    users = None
    if tables.rows("sample_annotation"):
        users = labels(tables, samples, clock.time_us[steps], keyframe, offset)
        if users.velocity_unknown:
            notes.append(
                f"{users.velocity_unknown} of the boxes have no second keyframe within 1.5 s to "
                "tell their velocity: they stand still"
            )
        notes.append("attributes and visibility of boxes have no place in a recording")
    location = tables.value("log", log, "location")
    expansion = expansion_file(tables.root, location)
    if expansion is None:
        notes.append(f"there is no maps/expansion/{location}.json: without a lane map")
    wanted = scene.get("nbr_samples", len(samples))
    if wanted != len(samples):
        notes.append(f"the scene has {wanted} keyframes, {len(samples)} of them are in the tables")
    about = {
        "start_us": start,
        "licence": ours.get("licence", "") if OURS in log else LICENCE,
        "place": location,
        "version": tables.folder.name,
        "description": scene.get("description", ""),
        "car": log.get("vehicle", ""),
        "date": log.get("date_captured", ""),
    }
    return Recording(
        name=name,
        dataset="nuscenes",
        dt=_dt(time_us),
        timestamp_us=time_us,
        ego=ego_of_poses(world_from_ego, time_us, _vehicle(tables, log)),
        world_from_ego=world_from_ego,
        rig=rig,
        agents=None if users is None else users.agents,
        world_from_agent=None if users is None else users.world_from_agent,
        category=np.zeros(0, "U1") if users is None else users.category,
        source_id=np.zeros(0, "U1") if users is None else users.source_id,
        labelled=None if users is None else keyframe >= 0,
        lidar_points=None if users is None else users.lidar_points,
        load_map=None if expansion is None else partial(load_expansion, expansion),
        frames=frames,
        about={key: value for key, value in about.items() if value != ""},
        notes=tuple(notes),
    )


def _scene(root: Path, name: str) -> tuple[Tables, Record]:
    """The tables that have the scene, and its record."""
    known: list[str] = []
    for folder in table_folders(root):
        tables = tables_in(folder)
        for scene in tables.rows("scene"):
            known.append(tables.value("scene", scene, "name"))
            if known[-1] == name:
                return tables, scene
    raise RoadloopError(f"{root}: {unknown('scene', name, known)}")


def _clock(sensors: Mapping[str, Channel]) -> Channel:
    """The sensor whose measurements are the steps: the LiDAR on the roof, else another one."""
    if "LIDAR_TOP" in sensors:
        return sensors["LIDAR_TOP"]
    rank = ("lidar", "camera", "radar")
    return min(sensors.values(), key=lambda channel: rank.index(channel.modality))


def _steps(
    tables: Tables, samples: list[Record], clock: Channel, notes: list[str]
) -> tuple[Array, Array]:
    """Rows of ``clock`` that are steps, and of each the sample it is the keyframe of, else -1."""
    index = {sample["token"]: k for k, sample in enumerate(samples)}
    keyframe = np.array(
        [
            index[row["sample_token"]] if tables.value("sample_data", row, "is_key_frame") else -1
            for row in clock.data
        ]
    )
    keys = np.flatnonzero(keyframe >= 0)
    if not len(keys):
        raise tables.fault("sample_data", clock.data[0], f"{clock.name} has no keyframe")
    steps = np.arange(keys[0], keys[-1] + 1)
    if beyond := len(keyframe) - len(steps):
        notes.append(f"{beyond} {clock.name} sweeps before or after all keyframes are left out")
    same = np.flatnonzero(np.diff(clock.time_us[steps]) <= 0)
    if len(same):
        row = clock.data[steps[same[0] + 1]]
        raise tables.fault("sample_data", row, f"a second {clock.name} sweep at the same time")
    return steps, keyframe[steps]


def _dt(time_us: Array) -> float:
    """s between steps, to the millisecond; that of a nuScenes LiDAR (20 Hz) for a single step."""
    return (
        max(round(float(np.median(np.diff(time_us))) * 1e-6, 3), 1e-3) if len(time_us) > 1 else 0.05
    )


def _offset(tables: Tables, log: Record) -> Array:
    """(2,) m that our export added to x and y."""
    offset = np.asarray(log.get(OURS, {}).get("world_offset", (0.0, 0.0)), np.float64)
    if offset.shape != (2,) or not np.isfinite(offset).all():
        raise tables.fault("log", log, f"world_offset {offset.tolist()}: expected x and y in m")
    return offset


def _vehicle(tables: Tables, log: Record) -> VehicleParameters:
    """The car of the data set; logs that we exported say what drove."""
    if size := log.get(OURS, {}).get("vehicle"):
        try:
            return VehicleParameters(**size)
        except TypeError as error:
            raise tables.fault("log", log, f"vehicle: {error}") from error
    return FUSION if _is_lyft(log) else ZOE


def _is_lyft(log: Record) -> bool:
    """Lyft's cars are called a101 and so on, nuScenes' n008 and n015."""
    return re.fullmatch(r"a\d+", str(log.get("vehicle", ""))) is not None
