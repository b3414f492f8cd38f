"""The sensors of a nuScenes scene: the rig as calibrated, and what each measured when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from roadloop.datasets.nuscenes.files import read_lidar, read_radar
from roadloop.datasets.nuscenes.tables import Channel, Record, Tables
from roadloop.datasets.source import picture
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Frame, step_of
from roadloop.rig import CameraSensor, LidarSensor, Mount, RadarSensor, SensorRig

Array = np.ndarray

HDL_32E = tuple(round(-30.67 + 4.0 / 3.0 * k, 2) for k in range(32))
"""deg, elevations of LIDAR_TOP of nuScenes, a Velodyne HDL-32E: -30.67 to 10.67, rings upwards"""

RATES = {"camera": 12.0, "lidar": 20.0, "radar": 13.0}
"""Hz, of nuScenes' sensors (Caesar et al., CVPR 2020, table 2), for one that measured once"""

RADAR_RANGE = 250.0
"""m, of nuScenes' Continental ARS 408-21 (same table)"""


def rig_of(
    tables: Tables,
    name: str,
    sensors: Mapping[str, Channel],
    beams: Mapping[str, tuple[float, ...]],
    notes: list[str],
) -> SensorRig:
    """The sensors with the calibration of their first measurement; LiDARs with known ``beams``.

    Where a calibration changes within the scene a note says so, and each picture and sweep has its
    own.
    """
    made: dict[str, list[CameraSensor | LidarSensor | RadarSensor]] = {
        "camera": [],
        "lidar": [],
        "radar": [],
    }
    for channel in sensors.values():
        first = channel.calibrations[0]
        rate = RATES[channel.modality]
        if len(channel.data) > 1:
            rate = round(1e6 / float(np.median(np.diff(channel.time_us))), 2)
        sensor = _sensor(tables, channel, 0, rate)
        if isinstance(sensor, LidarSensor):
            sensor = replace(sensor, beams=beams.get(channel.name, ()))
        made[channel.modality].append(sensor)
        changed = [k for k, row in enumerate(channel.calibrations) if row is not first]
        if changed:
            notes.append(
                f"the calibration of {channel.name} changes with sample_data "
                f"{channel.data[changed[0]]['token']}: the rig has the first"
            )
    words = re.findall("[A-Za-z0-9]+", name)
    label = "-".join(words if words and words[0][0].isalpha() else ["scene", *words])
    return SensorRig(
        name=label,
        description=f"as calibrated for {name}",
        cameras=tuple(made["camera"]),  # type: ignore[arg-type]
        lidars=tuple(made["lidar"]),  # type: ignore[arg-type]
        radars=tuple(made["radar"]),  # type: ignore[arg-type]
    )


def frames_of(
    tables: Tables,
    sensors: Mapping[str, Channel],
    start: int,
    time_us: Array,
    notes: list[str],
) -> tuple[Frame, ...]:
    """What the sensors measured, by time; measurements without a file here are left out.

    Args:
        start: us, Unix time of step 0.
        time_us: (T,) of the steps, from 0.
    """
    frames: list[Frame] = []
    radar = False
    for channel in sensors.values():
        absent: list[str] = []
        outside = 0
        made: dict[tuple[int, object, object], CameraSensor | Array] = {}
        for k, row in enumerate(channel.data):
            stamp = int(channel.time_us[k]) - start
            step = step_of(time_us, stamp)
            if step == len(time_us) or (stamp < 0 and not row["is_key_frame"]):
                outside += 1
                continue
            path = _file(tables, row)
            if path is None:
                absent.append(row["filename"])
                continue
            calibration = channel.calibrations[k]
            kind = (id(calibration), row.get("width"), row.get("height"))
            if kind not in made:
                sensor = _sensor(tables, channel, k, RATES[channel.modality])
                made[kind] = (
                    sensor if isinstance(sensor, CameraSensor) else sensor.mount.ego_from_sensor
                )
            read = {"camera": _picture, "lidar": read_lidar, "radar": read_radar}
            frames.append(
                Frame(
                    sensor=channel.name,
                    kind=channel.modality,  # type: ignore[arg-type]
                    timestamp_us=stamp,
                    step=step,
                    world_from_ego=channel.world_from_ego[k],
                    read=partial(read[channel.modality], path, made[kind], stamp),
                )
            )
            radar |= channel.modality == "radar"
        if absent:
            notes.append(
                f"{channel.name}: {len(absent)} of {len(channel.data)} files are not here, "
                f"the first is {absent[0]}"
            )
        if outside:
            notes.append(f"{channel.name}: {outside} measured before or after all steps")
    if radar:
        notes.append("radar scans have the targets that the devkit's default filter leaves")
    return tuple(sorted(frames, key=lambda frame: frame.timestamp_us))


def _picture(path: Path, sensor: CameraSensor, timestamp_us: int):
    return picture(sensor, path, timestamp_us)


def _file(tables: Tables, row: Record) -> Path | None:
    """The sensor file of a record; Kaggle's copy of Lyft's set says train_images for images."""
    name = tables.value("sample_data", row, "filename")
    for path in (tables.root / name, tables.root / f"train_{name}"):
        if path.is_file():
            return path
    return None


def _sensor(
    tables: Tables, channel: Channel, k: int, rate: float
) -> CameraSensor | LidarSensor | RadarSensor:
    """The sensor as calibrated for measurement ``k``."""
    calibration, row = channel.calibrations[k], channel.data[k]
    pose = tables.poses("calibrated_sensor", [calibration])[0]
    try:
        if channel.modality == "lidar":
            return LidarSensor(channel.name, Mount.of(pose), beams=(), rate=rate)
        if channel.modality == "radar":
            return RadarSensor(channel.name, Mount.of(pose), rate=rate, max_range=RADAR_RANGE)
        lens = tables.numbers("calibrated_sensor", [calibration], "camera_intrinsic", 9)[0]
        lens = lens.reshape(3, 3)
        plain = np.array([[lens[0, 0], 0.0, lens[0, 2]], [0.0, lens[1, 1], lens[1, 2]], [0, 0, 1]])
        if not np.allclose(lens, plain, rtol=0.0, atol=1e-6):
            raise RoadloopError("camera_intrinsic has a skew: expected fx, fy, cx, cy alone")
        width, height = (int(tables.number("sample_data", row, k)) for k in ("width", "height"))
        return CameraSensor(
            channel.name,
            Mount.of_camera(pose),
            width,
            height,
            fx=float(lens[0, 0]),
            fy=float(lens[1, 1]),
            cx=float(lens[0, 2]),
            cy=float(lens[1, 2]),
            rate=rate,
        )
    except RoadloopError as error:
        if str(error).startswith(str(tables.folder)):
            raise
        raise tables.fault("calibrated_sensor", calibration, str(error)) from error
