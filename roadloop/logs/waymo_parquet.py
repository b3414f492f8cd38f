"""Waymo Open Perception v2: a folder per component, in it a Parquet file per segment.

Only the vehicle's poses have to be there; what other components hold is read where they are:
calibrations, boxes and statistics when a drive is opened, pictures and range images by row group
when they are looked at. Columns are those of ``waymo_open_dataset/v2/perception``.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Recording
from roadloop.logs.waymo_lidar import LaserGeometry, geometry, shaped, sweep
from roadloop.logs.waymo_segment import (
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
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor

Array = np.ndarray
Place = tuple[Path, int, int]
"""a row: file, row group, row in it"""

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
    poses = _columns(path, (_STAMP, _POSE))
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
    found = _columns(path, (_CAMERA, *inner, *outer))
    for row, number in enumerate(found[_CAMERA].tolist()):
        size = (int(found[outer[1]][row]), int(found[outer[2]][row]))
        intrinsic = [float(found[column][row]) for column in inner]
        segment.cameras[number] = camera_sensor(
            number, intrinsic, found[outer[0]][row], size, f"{path} row {row}"
        )


def _read_lasers(segment: Segment, path: Path) -> None:
    names = ("extrinsic.transform", *(f"beam_inclination.{n}" for n in ("min", "max", "values")))
    columns = [f"{_LASER_CALIBRATION}.{name}" for name in names]
    found = _columns(path, (_LASER, *columns))
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
    found = _columns(path, (_STAMP, "key.laser_object_id", *box, kind, points), tuple(speed))
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
    found = _columns(path, (), tuple(f"{_STATS}.{name}" for name in names.values()))
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
    found = _columns(path, (_STAMP, _CAMERA, pose, stamp))
    panoptic = _rows(labels, (_STAMP, _CAMERA)) if labels.exists() else {}
    places = _places(path)
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
    keys = _columns(path, (_STAMP, _LASER))
    others = {}
    for component in ("lidar_pose", "lidar_segmentation"):
        other = folder / component / f"{name}.parquet"
        others[component] = _rows(other, (_STAMP, _LASER)) if other.exists() else {}
    if not others["lidar_pose"]:
        segment.notes.append("no lidar_pose component: the top LiDAR's points are not moved")
    places = _places(path)
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
    return _cell(place, f"{_IMAGE}.image") or b""


def _rgb(place: Place, sensor: CameraSensor) -> Array:
    return pixels(_jpeg(place), sensor, f"{_said(place)} {sensor.name}")


def _semantic(place: Place, sensor: CameraSensor) -> Array:
    return classes(
        _cell(place, f"{_PANOPTIC}.panoptic_label") or b"",
        int(_cell(place, f"{_PANOPTIC}.panoptic_label_divisor") or 0),
        sensor,
        f"{_said(place)} {sensor.name}",
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
    where = f"{_said(place)} {LASERS[number]}"
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
    values, shape = _cell(place, f"{name}.values"), _cell(place, f"{name}.shape")
    return (
        None
        if values is None
        else shaped(values, np.zeros(0, int) if shape is None else shape, _said(place))
    )


def _said(place: Place) -> str:
    path, group, row = place
    return f"{path} row group {group} row {row}"


def _rows(path: Path, keys: tuple[str, str]) -> dict[tuple[int, int], Place]:
    """The place of each row by its keys."""
    found = _columns(path, keys)
    named = zip(*(found[key].tolist() for key in keys), strict=True)
    return dict(zip(named, _places(path), strict=True))


def _places(path: Path) -> list[Place]:
    """Row group and row in it of each row of a file."""
    groups = _file(path).metadata
    return [
        (path, group, row)
        for group in range(groups.num_row_groups)
        for row in range(groups.row_group(group).num_rows)
    ]


def _cell(place: Place, column: str) -> Any:
    """One value; numbers in a list as an array."""
    path, group, row = place
    try:
        state = path.stat()
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error
    table = _row_group(path, state.st_mtime_ns, group, column)
    if row >= len(table):
        raise RoadloopError(f"{_said(place)} is gone; open the drive again")
    value = table[row]
    return (
        value.values.to_numpy(zero_copy_only=False)
        if hasattr(value, "values") and (value.is_valid)
        else value.as_py()
    )


@lru_cache(maxsize=12)
def _row_group(path: Path, changed_ns: int, group: int, column: str) -> Any:
    """One column of one row group: drivers read one row after the other."""
    import pyarrow as pa

    file = _file(path)
    if column not in file.schema_arrow.names:
        raise RoadloopError(f"{path}: column {column} is missing; is it of another data set?")
    try:
        return file.read_row_group(group, columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} row group {group} is damaged: {reason}") from error


def _columns(path: Path, needed: tuple[str, ...], wanted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Columns of a file as arrays; those ``wanted`` only where the file has them."""
    import pyarrow as pa

    file = _file(path)
    names = file.schema_arrow.names
    for column in needed:
        if column not in names:
            raise RoadloopError(f"{path}: column {column} is missing; is it of another data set?")
    picked = [*needed, *(column for column in wanted if column in names)]
    try:
        table = file.read(columns=picked)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or damaged: {reason}") from error
    found = {
        column: table[column].combine_chunks().to_numpy(zero_copy_only=False) for column in picked
    }
    for column in needed:
        missing = table[column].is_null().to_numpy()
        if missing.any() and column.startswith("key."):
            raise RoadloopError(f"{path} row {int(np.argmax(missing))}: {column} is empty")
    return found


def _file(path: Path) -> Any:
    """The opened Parquet file; RoadloopError where it is none."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or no Parquet file: {reason}") from error
