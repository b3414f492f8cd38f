"""Waymo Open Perception drives: v2 (Parquet, ``waymo_parquet``) and v1 (TFRecords of ``Frame``).

A v1 file holds the frames of one drive of 20 s with cameras, LiDARs, boxes and, in its first frame,
a map; a file of a single bare ``Frame`` message is read, too. Records are checked and labels read
when a drive is opened; pictures and sweeps when they are looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.protobuf_wire import BYTES, VARINT, Field, Message, WireError, decode, walk
from roadloop.datasets.source import read_bytes
from roadloop.datasets.tfrecord import Record, is_tfrecord, records
from roadloop.datasets.waymo import parquet as waymo_parquet
from roadloop.datasets.waymo.fields import CONTEXT, FEATURE, FRAME, IMAGE, LABEL, LASER, TRANSFORM
from roadloop.datasets.waymo.lidar import LaserGeometry, geometry, matrix, sweep
from roadloop.datasets.waymo.map import map_draft
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
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.road_map import RoadMap
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor

Array = np.ndarray

_HEAD = Message(
    "Frame",
    {
        1: Field("context", CONTEXT),
        2: Field("timestamp_micros", "int64"),
        3: Field("pose", TRANSFORM),
        4: Field(
            "images",
            Message("CameraImage", {n: IMAGE.fields[n] for n in (1, 3, 5, 7, 8)}),
            many=True,
        ),
        5: Field(
            "lasers",
            Message("Laser", {1: Field("name", "int32"), 2: Field("ri_return1", "bytes")}),
            many=True,
        ),
        6: Field("laser_labels", LABEL, many=True),
        11: FRAME.fields[11],
    },
)
"""a frame without its sensors' data and its map"""
_IMAGES = Message("Frame", {4: Field("images", IMAGE, many=True)})
_LASERS = Message("Frame", {5: Field("lasers", LASER, many=True)})
_MAP = Message("Frame", {10: Field("map_features", FEATURE, many=True)})
_BARE = (".pb", ".bin", ".frame")
"""endings of files in a folder that are tried as a bare Frame"""


def drives(root: Path) -> list[str]:
    """Names of segments in v2's folders of components, or in v1's TFRecords and bare frames."""
    root = Path(root)
    return sorted({*waymo_parquet.segments(root), *_segments(root)})


def open_drive(root: Path, name: str) -> Recording:
    """One segment; RoadloopError naming file and record, or row, where it is damaged."""
    root = Path(root)
    folders = waymo_parquet.segments(root)
    if name in folders:
        return waymo_parquet.open_segment(folders[name], name)
    found = _segments(root)
    if name not in found:
        raise RoadloopError(f"{root}: {unknown('drive', name, [*folders, *found])}")
    return _opened(found[name], name)


def _segments(root: Path) -> dict[str, list[Record]]:
    """Records of each v1 segment under ``root``."""
    found: dict[str, list[Record]] = {}
    for path in _files(root):
        state = path.stat()
        for name, record in _in_file(path, state.st_mtime_ns, state.st_size):
            found.setdefault(name, []).append(record)
    return found


def _files(root: Path) -> Iterator[Path]:
    """The files to look into: one, or those of a folder and the folders right below it."""
    if root.is_file():
        if root.suffix != ".parquet":
            yield root
    elif root.is_dir():
        inside = sorted(p for p in root.iterdir() if not p.name.startswith("."))
        for folder in (root, *(p for p in inside if p.is_dir())):
            for path in sorted(folder.iterdir()):
                if (".tfrecord" in path.name or path.suffix in _BARE) and path.is_file():
                    yield path


@lru_cache(maxsize=4096)
def _in_file(path: Path, changed_ns: int, size: int) -> tuple[tuple[str, Record], ...]:
    """Segment and place of each frame of a file; kept while the file does not change."""
    import mmap

    if size < 16:
        return ()
    found: list[tuple[str, Record]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not is_tfrecord(path):
            name = _name(content, Record(path, 0, 0, size))
            return ((name, Record(path, 0, 0, size)),) if name else ()
        if not _name(content, Record.first(path)):
            return ()
        for record in records(path, with_damaged=True):
            found.append((_name(content, record), record))
    # a record whose name cannot be read is damaged: its neighbours' drive says so when opened
    return tuple((name or found[0][0], record) for name, record in found)


def _name(content: Any, record: Record) -> str:
    """The segment's name, empty where the record is no Frame.

    A Frame begins with its context, whose first field is the name, and a timestamp. ``content`` is
    the mapped file; no view of it may outlive this call.
    """
    with memoryview(content) as whole, whole[record.offset : record.offset + record.length] as data:
        name = ""
        try:
            for number, wire, value in walk(data):
                if number == 1 and wire == BYTES and not name:
                    first, kind, text = next(walk(value), (0, 0, b""))
                    if (first, kind) != (1, BYTES):
                        return ""
                    name = str(text, "utf-8", "replace")
                elif number == 2 and wire == VARINT:
                    return name if name.isprintable() and "/" not in name else ""
                else:
                    return ""
        except WireError:
            pass
    return ""


def _content(record: Record) -> bytes:
    """The bytes of one Frame, checked where the file has checksums."""
    return read_bytes(record.path) if record.offset == 0 else record.read()


@lru_cache(maxsize=2)
def _part(record: Record, changed_ns: int, part: str) -> list[dict[str, Any]]:
    """Images or lasers of a frame: a driver reads all of them one after the other."""
    return decode({"images": _IMAGES, "lasers": _LASERS}[part], _content(record), record)[part]


def _one(record: Record, part: str, number: int) -> dict[str, Any]:
    """The image or laser of that name."""
    try:
        changed_ns = record.path.stat().st_mtime_ns
    except OSError as error:
        raise RoadloopError(f"{record.path} cannot be read: {error.strerror}") from error
    for each in _part(record, changed_ns, part):
        if each.get("name", 0) == number:
            return each
    raise RoadloopError(f"{record} has no {part[:-1]} {number} any more; open the drive again")


def _opened(found: list[Record], name: str) -> Recording:
    segment = Segment(name, str(found[0].path))
    pictures: list[tuple[int, Picture]] = []
    sweeps: list[tuple[int, int, Any]] = []
    without: set[str] = set()
    map_at: Record | None = None
    heads = []
    for record in found:
        data = _content(record)
        heads.append((decode(_HEAD, data, record), record))
        if map_at is None and any(number == 10 for number, _, _ in walk(memoryview(data))):
            map_at = record
    heads.sort(key=lambda head: head[0].get("timestamp_micros", 0))
    for k, (head, record) in enumerate(heads):
        if k == 0:
            _calibrate(segment, head, record)
        segment.stamps.append(head.get("timestamp_micros", 0))
        pose = head.get("pose", {}).get("transform", ())
        segment.poses.append(rigid(pose, f"{record}: the vehicle"))
        segment.labels.append([_label(label) for label in head["laser_labels"]])
        for image in head["images"]:
            number = image.get("name", 0)
            if number not in segment.cameras:
                without.add(CAMERAS.get(number, f"camera {number}"))
                continue
            pose = rigid(image.get("pose", {}).get("transform", ()), f"{record}: camera {number}")
            stamp = round(image.get("pose_timestamp", 0.0) * 1e6)
            pictures.append((k, Picture(number, pose, stamp, (record, number))))
        for laser in head["lasers"]:
            number = laser.get("name", 0)
            if number in segment.lasers and len(laser.get("ri_return1", b"")):
                sweeps.append((k, number, (record, number)))
        if any(head.get("map_pose_offset", {}).values()) and k == 0:
            segment.notes.append(
                "the map is drawn beside the poses by the frames' map_pose_offset, not applied"
            )
    if without:
        segment.notes.append(f"no calibration of {', '.join(sorted(without))}: left out")
    if segment.lasers and not sweeps:
        segment.notes.append("no LiDAR returns in these frames: no sweeps")
    segment.notes.append("2D boxes of the pictures and panoptic instances are not read")
    load_map = None if map_at is None else partial(_road_map, map_at, name)
    return recording(segment, pictures, sweeps, _reader_of_picture, _reader_of_sweep, load_map)


def _calibrate(segment: Segment, head: dict[str, Any], record: Record) -> None:
    """Sensors and facts of a segment, which every frame repeats."""
    context = head.get("context", {})
    for each in context.get("camera_calibrations", []):
        number = each.get("name", 0)
        extrinsic = each.get("extrinsic", {}).get("transform", ())
        size = (each.get("width", 0), each.get("height", 0))
        segment.cameras[number] = camera_sensor(
            number, each["intrinsic"].tolist(), extrinsic, size, str(record)
        )
    for each in context.get("laser_calibrations", []):
        number = each.get("name", 0)
        what = f"{record}: LiDAR {LASERS.get(number, number)}"
        if number not in LASERS:
            raise RoadloopError(f"{what} is unknown; known: {', '.join(map(str, LASERS))}")
        segment.lasers[number] = geometry(
            rigid(each.get("extrinsic", {}).get("transform", ()), what),
            each["beam_inclinations"],
            each.get("beam_inclination_min", 0.0),
            each.get("beam_inclination_max", 0.0),
            what,
        )
    segment.stats.update({k: v for k, v in context.get("stats", {}).items() if v})
    if "location" in segment.stats:
        segment.stats["place"] = segment.stats.pop("location")


def _label(label: dict[str, Any]) -> Label:
    box, metadata = label.get("box", {}), label.get("metadata", {})
    names = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
    return Label(
        id=label.get("id", ""),
        type=label.get("type", 0),
        box=tuple(box.get(name, 0.0) for name in names),
        speed=(metadata.get("speed_x", np.nan), metadata.get("speed_y", np.nan)),
        points=label.get("num_lidar_points_in_box", -1),
    )


def _road_map(record: Record, name: str) -> RoadMap:
    data = _content(record)
    features = decode(_MAP, data, record)["map_features"]
    return compile_map(map_draft(features, [], name, hashlib.sha256(data).hexdigest(), record))


def _reader_of_picture(source: tuple[Record, int], sensor: CameraSensor, stamp: int) -> Any:
    return partial(_picture, *source, sensor, stamp)


def _picture(record: Record, number: int, sensor: CameraSensor, stamp: int) -> LoggedImage:
    image = _one(record, "images", number)
    products = {"rgb": partial(_rgb, record, number, sensor)}
    if "camera_segmentation_label" in image:
        products["semantic"] = partial(_semantic, record, number, sensor)
    return LoggedImage.of(
        products,
        encoded=partial(_jpeg, record, number),
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=stamp,
        boxes=None,
    )


def _jpeg(record: Record, number: int) -> bytes:
    return _one(record, "images", number).get("image", b"")


def _rgb(record: Record, number: int, sensor: CameraSensor) -> Array:
    return pixels(_jpeg(record, number), sensor, f"{record} {sensor.name}")


def _semantic(record: Record, number: int, sensor: CameraSensor) -> Array:
    label = _one(record, "images", number)["camera_segmentation_label"]
    return classes(
        label.get("panoptic_label", b""),
        label.get("panoptic_label_divisor", 0),
        sensor,
        f"{record} {sensor.name}",
    )


def _reader_of_sweep(
    source: tuple[Record, int], laser: LaserGeometry, pose: Array, stamp: int
) -> Any:
    return partial(_sweep, *source, laser, pose, stamp)


def _sweep(
    record: Record, number: int, laser: LaserGeometry, pose: Array, stamp: int
) -> LidarSweep:
    where = f"{record} {LASERS[number]}"
    found = _one(record, "lasers", number)
    images = [found[k] for k in ("ri_return1", "ri_return2") if k in found]
    images = [image for image in images if image.get("range_image_compressed")]
    poses = images[0].get("range_image_pose_compressed", b"") if images else b""
    labels = [image.get("segmentation_label_compressed", b"") for image in images]
    return sweep(
        [matrix(image["range_image_compressed"], False, where) for image in images],
        laser,
        inverse(pose),
        matrix(poses, False, where) if poses and number == TOP else None,
        [matrix(label, True, where) for label in labels] if all(labels) else [],
        stamp,
        where,
    )
