"""Waymo Open Perception v2: a folder per component, in it a Parquet file per segment.

Only the vehicle's poses have to be there; what other components hold is read where they are:
calibrations, boxes and statistics when a drive is opened, pictures and range images by row group
when they are looked at. Columns are those of ``waymo_open_dataset/v2/perception``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.parquet_rows import Place, cell, columns_of, places_of, rows_by_key, said
from roadloop.datasets.waymo.lidar import LaserGeometry, geometry, shaped, sweep
from roadloop.datasets.waymo.segment import (
    CAMERAS,
    LASERS,
    TOP,
    Label,
    Picture,
    Segment,
    camera_sensor,
    classes,
    pixels,
    recording,
    rigid,
)
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Recording
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor

Array = np.ndarray

_STAMP = "key.frame_timestamp_micros"
_POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
_CAMERA = "key.camera_name"
_LASER = "key.laser_name"
_IMAGE = "[CameraImageComponent]"
_CALIBRATION = "[CameraCalibrationComponent]"
_LASER_CALIBRATION = "[LiDARCalibrationComponent]"
_BOX = "[LiDARBoxComponent]"
_RETURNS = "[LiDARComponent].range_image_return"
_CELL_POSE = "[LiDARPoseComponent].range_image_return1"
_POINT_LABELS = "[LiDARSegmentationLabelComponent].range_image_return"
_PANOPTIC = "[CameraSegmentationLabelComponent]"
_STATS = "[StatsComponent]"


def segments(root: Path) -> dict[str, Path]:
    """Names of segments, and the folder of components each is in.

    ``root`` holds components, or splits of them (training, ...), or is the file of one's poses.
    """
    if root.is_file():
        if root.suffix == ".parquet" and root.parent.name == "vehicle_pose":
            return {root.stem: root.parent.parent}
        return {}
    if not root.is_dir():
        return {}
    inside = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found: dict[str, Path] = {}
    for folder in (root, *inside):
        for path in sorted((folder / "vehicle_pose").glob("*.parquet")):
            found.setdefault(path.stem, folder)
    return found


def open_segment(folder: Path, name: str) -> Recording:
    """The drive of one segment; RoadloopError naming file and row where it is damaged."""

    def at(component: str) -> Path:
        return folder / component / f"{name}.parquet"

    path = at("vehicle_pose")
    poses = columns_of(path, (_STAMP, _POSE))
    order = np.argsort(poses[_STAMP], kind="stable")
    segment = Segment(name, str(path))
    for row in order.tolist():
        segment.stamps.append(int(poses[_STAMP][row]))
        segment.poses.append(rigid(poses[_POSE][row], f"{path} row {row}: the vehicle"))
    frame = {stamp: k for k, stamp in enumerate(segment.stamps)}
    segment.labels = [[] for _ in segment.stamps]
    if at("camera_calibration").exists():
        _read_cameras(segment, at("camera_calibration"))
    if at("lidar_calibration").exists():
        _read_lasers(segment, at("lidar_calibration"))
    if at("lidar_box").exists():
        _read_boxes(segment, at("lidar_box"), frame)
    if at("stats").exists():
        _read_stats(segment, at("stats"))
    pictures = _pictures(segment, at("camera_image"), at("camera_segmentation"), frame)
    sweeps = _sweeps(segment, folder, name, frame)
    if not (folder / "camera_image").exists() and not (folder / "lidar").exists():
        segment.notes.append("no camera_image and no lidar component: poses and labels only")
    return recording(segment, pictures, sweeps, _reader_of_picture, _reader_of_sweep, None)


def _read_cameras(segment: Segment, path: Path) -> None:
    names = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    inner = [f"{_CALIBRATION}.intrinsic.{name}" for name in names]
    outer = [f"{_CALIBRATION}.{n}" for n in ("extrinsic.transform", "width", "height")]
    found = columns_of(path, (_CAMERA, *inner, *outer))
    for row, number in enumerate(found[_CAMERA].tolist()):
        size = (int(found[outer[1]][row]), int(found[outer[2]][row]))
        intrinsic = [float(found[column][row]) for column in inner]
        segment.cameras[number] = camera_sensor(
            number, intrinsic, found[outer[0]][row], size, f"{path} row {row}"
        )


def _read_lasers(segment: Segment, path: Path) -> None:
    names = ("extrinsic.transform", *(f"beam_inclination.{n}" for n in ("min", "max", "values")))
    columns = [f"{_LASER_CALIBRATION}.{name}" for name in names]
    found = columns_of(path, (_LASER, *columns))
    for row, number in enumerate(found[_LASER].tolist()):
        what = f"{path} row {row}: LiDAR {LASERS.get(number, number)}"
        if number not in LASERS:
            raise RoadloopError(f"{what} is unknown; known: {', '.join(map(str, LASERS))}")
        pose, low, high, beams = (found[column][row] for column in columns)
        segment.lasers[number] = geometry(
            rigid(pose, what),
            np.zeros(0) if beams is None else beams,
            float(low),
            float(high),
            what,
        )


def _read_boxes(segment: Segment, path: Path, frame: dict[int, int]) -> None:
    edges = [f"{_BOX}.box.{n}.{axis}" for n in ("center", "size") for axis in ("x", "y", "z")]
    box = [*edges, f"{_BOX}.box.heading"]
    speed = [f"{_BOX}.speed.{axis}" for axis in ("x", "y")]
    kind, points = f"{_BOX}.type", f"{_BOX}.num_lidar_points_in_box"
    found = columns_of(path, (_STAMP, "key.laser_object_id", *box, kind, points), tuple(speed))
    speeds = [found.get(column) for column in speed]
    for row, stamp in enumerate(found[_STAMP].tolist()):
        if stamp not in frame:
            raise RoadloopError(f"{path} row {row} is of a frame {stamp} without a vehicle_pose")
        segment.labels[frame[stamp]].append(
            Label(
                id=str(found["key.laser_object_id"][row]),
                type=int(found[kind][row]),
                box=tuple(float(found[column][row]) for column in box),
                speed=(_number(speeds[0], row), _number(speeds[1], row)),
                points=int(_number(found[points], row, -1.0)),
            )
        )


def _number(values: Array | None, row: int, default: float = np.nan) -> float:
    """A value that may be null."""
    if values is None or values[row] is None or values[row] != values[row]:
        return default
    return float(values[row])


def _read_stats(segment: Segment, path: Path) -> None:
    names = {"place": "location", "weather": "weather", "time_of_day": "time_of_day"}
    found = columns_of(path, (), tuple(f"{_STATS}.{name}" for name in names.values()))
    for ours, name in names.items():
        values = found.get(f"{_STATS}.{name}", ())
        if len(values) and values[0]:
            segment.stats[ours] = str(values[0])


def _pictures(
    segment: Segment, path: Path, labels: Path, frame: dict[int, int]
) -> list[tuple[int, Picture]]:
    if not path.exists():
        return []
    pose, stamp = f"{_IMAGE}.pose.transform", f"{_IMAGE}.pose_timestamp"
    found = columns_of(path, (_STAMP, _CAMERA, pose, stamp))
    panoptic = rows_by_key(labels, (_STAMP, _CAMERA)) if labels.exists() else {}
    places = places_of(path)
    pictures, without = [], set()
    for row, key in enumerate(zip(found[_STAMP].tolist(), found[_CAMERA].tolist(), strict=True)):
        if key[0] not in frame:
            raise RoadloopError(f"{path} row {row} is of a frame {key[0]} without a vehicle_pose")
        if key[1] not in segment.cameras:
            without.add(CAMERAS.get(key[1], f"camera {key[1]}"))
            continue
        at = rigid(found[pose][row], f"{path} row {row}: the vehicle")
        source = (places[row], panoptic.get(key))
        when = round(float(found[stamp][row]) * 1e6)
        pictures.append((frame[key[0]], Picture(key[1], at, when, source)))
    if without:
        segment.notes.append(f"no calibration of {', '.join(sorted(without))}: left out")
    return pictures


def _sweeps(
    segment: Segment, folder: Path, name: str, frame: dict[int, int]
) -> list[tuple[int, int, Any]]:
    path = folder / "lidar" / f"{name}.parquet"
    if not path.exists():
        return []
    keys = columns_of(path, (_STAMP, _LASER))
    others = {}
    for component in ("lidar_pose", "lidar_segmentation"):
        other = folder / component / f"{name}.parquet"
        others[component] = rows_by_key(other, (_STAMP, _LASER)) if other.exists() else {}
    if not others["lidar_pose"]:
        segment.notes.append("no lidar_pose component: the top LiDAR's points are not moved")
    places = places_of(path)
    sweeps, without = [], set()
    for row, key in enumerate(zip(keys[_STAMP].tolist(), keys[_LASER].tolist(), strict=True)):
        if key[0] not in frame:
            raise RoadloopError(f"{path} row {row} is of a frame {key[0]} without a vehicle_pose")
        if key[1] not in segment.lasers:
            without.add(LASERS.get(key[1], f"lidar {key[1]}"))
            continue
        source = (places[row], *(found.get(key) for found in others.values()), key[1])
        sweeps.append((frame[key[0]], key[1], source))
    if without:
        segment.notes.append(f"no calibration of {', '.join(sorted(without))}: left out")
    return sweeps


def _reader_of_picture(source: tuple[Place, Place | None], sensor: CameraSensor, stamp: int) -> Any:
    return partial(_picture, *source, sensor, stamp)


def _picture(place: Place, label: Place | None, sensor: CameraSensor, stamp: int) -> LoggedImage:
    products = {"rgb": partial(_rgb, place, sensor)}
    if label is not None:
        products["semantic"] = partial(_semantic, label, sensor)
    return LoggedImage.of(
        products,
        encoded=partial(_jpeg, place),
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=stamp,
        boxes=None,
    )


def _jpeg(place: Place) -> bytes:
    return cell(place, f"{_IMAGE}.image") or b""


def _rgb(place: Place, sensor: CameraSensor) -> Array:
    return pixels(_jpeg(place), sensor, f"{said(place)} {sensor.name}")


def _semantic(place: Place, sensor: CameraSensor) -> Array:
    return classes(
        cell(place, f"{_PANOPTIC}.panoptic_label") or b"",
        int(cell(place, f"{_PANOPTIC}.panoptic_label_divisor") or 0),
        sensor,
        f"{said(place)} {sensor.name}",
    )


def _reader_of_sweep(source: Any, laser: LaserGeometry, pose: Array, stamp: int) -> Any:
    return partial(_sweep, *source, laser, pose, stamp)


def _sweep(
    place: Place,
    pose_at: Place | None,
    labels_at: Place | None,
    number: int,
    laser: LaserGeometry,
    pose: Array,
    stamp: int,
) -> LidarSweep:
    where = f"{said(place)} {LASERS[number]}"
    images = [_range_image(place, f"{_RETURNS}{k}") for k in (1, 2)]
    found = [image for image in images if image is not None]
    labels = (
        []
        if labels_at is None
        else [_range_image(labels_at, f"{_POINT_LABELS}{k}") for k in (1, 2)][: len(found)]
    )
    return sweep(
        found,
        laser,
        inverse(pose),
        _range_image(pose_at, _CELL_POSE) if pose_at is not None and number == TOP else None,
        [label for label in labels if label is not None],
        stamp,
        where,
    )


def _range_image(place: Place, name: str) -> Array | None:
    """An array of values and its shape in two columns; None where it is null."""
    values, shape = cell(place, f"{name}.values"), cell(place, f"{name}.shape")
    return (
        None
        if values is None
        else shaped(values, np.zeros(0, int) if shape is None else shape, said(place))
    )
