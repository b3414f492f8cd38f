"""What the four KITTI benchmarks share: the car, its frames, calibrations, sweeps, OXTS fixes.

KITTI's frames: ``cam0`` rectified (x right, y down, z forward), ``velodyne`` and ``imu`` (both x
forward, y left, z up). Our ego frame lies on the ground under the rear axle, level, and points
where the velodyne does. Calibration texts come with and without a colon after the name, and with no
names at all.

A. Geiger, P. Lenz, C. Stiller, R. Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR 2013;
its figure 3 is the drawing of the car quoted below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from roadloop.datasets.source import picture, read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.recording import Frame, step_of
from roadloop.readings import LidarSweep
from roadloop.rig import CAMERA_AXES, CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.types import VehicleParameters

Array = np.ndarray

LICENCE = "CC BY-NC-SA 3.0"
PLACE = "Karlsruhe, Germany"

UNCORRECTED = "sweeps are as published: the devkit says of no correction for the ego's motion"
"""note of every benchmark but odometry, whose devkit says that its sweeps are corrected"""

PASSAT = VehicleParameters(
    length=4.775, width=1.820, height=1.516, wheelbase=2.709, rear_overhang=1.05
)
"""The VW Passat B6 Variant of 2006. Sizes from Volkswagen's data of the model; the centre 1.337 m
ahead of the rear axle, from which the overhang follows, as 123D has it for the same car."""

VELODYNE_AHEAD = 0.76
"""m from the rear axle forward to the velodyne: it is 0.81 m ahead of the IMU, which is 0.05 m
behind the rear axle (drawing). The drawing's 1.68 m from the cameras, 0.27 m ahead of the velodyne,
to the front axle agree: 2.71 - 1.68 - 0.27 = 0.76"""
VELODYNE_HEIGHT = 1.73
"""m above the ground (drawing); a plane fitted to the road of six sweeps gives 1.70 to 1.75"""
CAMERA_AHEAD = VELODYNE_AHEAD + 0.27
CAMERA_HEIGHT = 1.65
"""m, cam0 where a calibration does not say (drawing)"""

VELODYNE_PITCH = 0.010
"""rad by which the velodyne looks down. Measured: in its frame the bottoms of the 2961 boxes of
tracking sequence 0001 rise by 0.0098 m per m ahead, roads fitted to six sweeps by 0.005 to 0.017.
With it the cameras are level, which the paper says they are (their pitch to it is -0.0105)"""

EGO_FROM_VELODYNE = se3(
    rotation_from_euler(0.0, VELODYNE_PITCH, 0.0),
    np.array([VELODYNE_AHEAD, 0.0, VELODYNE_HEIGHT]),
)

FRAME_PERIOD = 0.1036
"""s between frames, one turn of the velodyne. Where a benchmark gives no times this is taken: in
the odometry's times.txt it is 0.1037, and the tracking's OXTS positions and speeds agree on 0.1036
(nominally KITTI has 10 Hz)"""

EARTH_RADIUS = 6378137.0
"""m, of the devkit's Mercator projection"""

FARTHEST = 1000.0
"""m, beyond which no LiDAR sees: other bytes read as numbers"""

OXTS_FIELDS = 30
_IMAGES = (".png", ".jpg")
_ORTHONORMAL = 1e-3
_WORDS = ("calib_time",)


@dataclass(frozen=True)
class Calibration:
    """One calibration of the whole car."""

    projection: Mapping[int, Array]
    """camera number -> (3, 4), pixels from the rectified frame of cam0"""
    ego_from_cam0: Array
    """(4, 4), cam0 rectified"""
    velodyne_from_imu: Array | None = None

    @property
    def ego_from_imu(self) -> Array | None:
        """(4, 4), None where the calibration does not say."""
        return (
            None if self.velodyne_from_imu is None else EGO_FROM_VELODYNE @ self.velodyne_from_imu
        )

    def camera(self, number: int, width: int, height: int) -> CameraSensor:
        """A rectified camera: ``P = K [I | t]``, so it sits at ``-t`` from cam0, unturned."""
        p = self.projection[number]
        k = p[:, :3]
        cam0_from_camera = se3(np.eye(3), -np.linalg.solve(k, p[:, 3]))
        return CameraSensor(
            name=f"cam{number}",
            mount=Mount.of_camera(self.ego_from_cam0 @ cam0_from_camera),
            width=width,
            height=height,
            fx=float(k[0, 0]),
            fy=float(k[1, 1]),
            cx=float(k[0, 2]),
            cy=float(k[1, 2]),
        )


def read_rows(path: Path) -> dict[str, Array]:
    """The lines of a calibration text by name.

    Lines may lack the colon after the name; lines that are numbers only are named P0, P1, ...

    Raises:
        RoadloopError: a missing file, a line whose numbers are damaged, no number at all.
    """
    rows: dict[str, Array] = {}
    for number, line in enumerate(_lines(path), 1):
        name, *rest = line.replace(":", " ", 1).split() or [""]
        if not rest:
            continue
        try:
            if _is_number(name):
                rows[f"P{len(rows)}"] = np.array([name, *rest], float)
            elif name not in _WORDS:
                rows[name] = np.array(rest, float)
        except ValueError:
            raise RoadloopError(f"{path}, line {number}: {name} is not numbers") from None
    if not rows:
        raise RoadloopError(f"{path} holds no calibration")
    return rows


def read_calibration(path: Path) -> Calibration:
    """The calibration of an object frame, a tracking or odometry sequence (one text each).

    Without a velodyne row cam0 is where the car's drawing has it, looking straight ahead.
    """
    rows = read_rows(path)
    rect = matrix(
        path, rows, ("R0_rect", "R_rect"), (3, 3), np.eye(3) if _is_odometry(rows) else None
    )
    to_cam = matrix(path, rows, ("Tr_velo_to_cam", "Tr_velo_cam", "Tr"), (3, 4), None)
    to_velo = matrix(path, rows, ("Tr_imu_to_velo", "Tr_imu_velo"), (3, 4), None)
    if rect is None:
        raise RoadloopError(f"{path} has no R0_rect; is it truncated?")
    if to_cam is None:
        place = np.array([CAMERA_AHEAD, 0.0, CAMERA_HEIGHT])
        ego_from_cam0 = se3(CAMERA_AXES, place)
    else:
        ego_from_cam0 = EGO_FROM_VELODYNE @ inverse(rigid(path, rect @ to_cam))
    return Calibration(
        projection=projections(path, rows, "P"),
        ego_from_cam0=ego_from_cam0,
        velodyne_from_imu=None if to_velo is None else rigid(path, to_velo),
    )


def matrix(
    path: Path,
    rows: Mapping[str, Array],
    names: Sequence[str],
    shape: tuple[int, int],
    otherwise: Array | None,
) -> Array | None:
    """The row called by one of ``names`` as a matrix; ``otherwise`` where there is none."""
    for name in names:
        if name in rows:
            if rows[name].size != shape[0] * shape[1] or not np.isfinite(rows[name]).all():
                raise RoadloopError(
                    f"{path}: {name} has {rows[name].size} numbers, expected "
                    f"{shape[0] * shape[1]} finite ones"
                )
            return rows[name].reshape(shape)
    return otherwise


def rigid(path: Path | str, pose: Array) -> Array:
    """(4, 4) of a (3, 4) pose in a text, its rotation made orthonormal (texts have 7 digits)."""
    u, scale, v = np.linalg.svd(pose[:, :3])
    if np.abs(scale - 1.0).max() > _ORTHONORMAL or np.linalg.det(u @ v) < 0.0:
        raise RoadloopError(f"{path}: a rotation is none (its axes have lengths {scale.round(4)})")
    return se3(u @ v, pose[:, 3])


def projections(path: Path, rows: Mapping[str, Array], prefix: str) -> dict[int, Array]:
    """Camera number -> (3, 4) of the rows ``prefix`` + number; RoadloopError for a singular one."""
    found = {}
    for name in rows:
        if match := re.fullmatch(re.escape(prefix) + r"0?([0-3])", name):
            p = matrix(path, rows, (name,), (3, 4), None)
            assert p is not None
            plain = p[0, 1] == p[1, 0] == p[2, 0] == p[2, 1] == 0.0 and p[2, 2] == 1.0
            if not plain or not (p[0, 0] > 0.0 and p[1, 1] > 0.0):
                raise RoadloopError(f"{path}: {name} is no projection of a rectified camera")
            found[int(match[1])] = p
    return found


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in px from the head of a picture; RoadloopError where it is damaged."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing") from None
    except (UnidentifiedImageError, OSError):
        raise RoadloopError(f"{path} is truncated or not a picture; download it again") from None


def numbered(folder: Path, suffixes: Sequence[str] = _IMAGES) -> dict[int, Path]:
    """The files of a folder that are called by a number, by that number."""
    if not folder.is_dir():
        return {}
    files = sorted(folder.iterdir())
    return {int(f.stem): f for f in files if f.suffix in suffixes and f.stem.isdigit()}


def rig_of(
    name: str, calibration: Calibration, pictures: Mapping[int, Mapping[int, Path]], sweeps: bool
) -> SensorRig:
    """The sensors there are files of; ``pictures`` of each camera number."""
    cameras = []
    for number, files in sorted(pictures.items()):
        if files:
            first = next(iter(files.values()))
            if number not in calibration.projection:
                raise RoadloopError(
                    f"{first}: the calibration has no P{number} for it; is it truncated?"
                )
            cameras.append(calibration.camera(number, *picture_size(first)))
    lidar = LidarSensor(
        name="velodyne",
        mount=Mount.of(EGO_FROM_VELODYNE),
        beams=(),
        max_range=120.0,
        clockwise=False,
        rate=round(1.0 / FRAME_PERIOD, 2),
    )
    return SensorRig(
        name=name,
        description="KITTI's car: rectified cameras, Velodyne HDL-64E",
        cameras=tuple(cameras),
        lidars=(lidar,) if sweeps else (),
    )


def frames_of(
    rig: SensorRig,
    pictures: Mapping[int, Mapping[int, Path]],
    sweeps: Mapping[int, Path],
    timestamp_us: Array,
    world_from_ego: Array,
    own_times: Mapping[str, tuple[Array, Array]] | None = None,
) -> tuple[Frame, ...]:
    """The frames of files called by the number of their step; those beyond the steps are left out.

    Args:
        timestamp_us: (T,) of the steps.
        world_from_ego: (T, 4, 4) at the steps.
        own_times: sensor -> its times (T,) and the ego's poses then, where it has its own.
    """
    files = {camera.name: pictures[int(camera.name[3:])] for camera in rig.cameras}
    if rig.lidars:
        files["velodyne"] = sweeps
    cameras = {camera.name: camera for camera in rig.cameras}
    frames = []
    for name, paths in files.items():
        stamps, poses = (own_times or {}).get(name, (timestamp_us, world_from_ego))
        for k, path in paths.items():
            if k >= len(timestamp_us):
                continue
            stamp = int(stamps[k])
            camera = cameras.get(name)
            read = (
                partial(picture, camera, path, stamp)
                if camera
                else partial(read_sweep, path, stamp)
            )
            kind = "camera" if camera else "lidar"
            step = step_of(timestamp_us, stamp)
            frames.append(Frame(name, kind, stamp, step, poses[k], read))
    return tuple(sorted(frames, key=lambda f: (f.timestamp_us, f.sensor)))


def absent(folders: Mapping[str, Mapping[int, Path]], steps: int) -> list[str]:
    """A note for each folder that does not hold all frames."""
    notes = []
    for name, files in folders.items():
        if not files:
            notes.append(f"{name} is not there")
        elif missing := steps - sum(k < steps for k in files):
            notes.append(f"{name}: {missing} of {steps} frames are not there")
    return notes


def read_sweep(path: Path, timestamp_us: int) -> LidarSweep:
    """A velodyne .bin: rows of float32 x, y, z, reflectance (0 ... 1).

    Raises RoadloopError for a file that is missing or ends within a row.
    """
    content = read_bytes(path)
    if len(content) % 16 or not content:
        raise RoadloopError(
            f"{path} is truncated: {len(content)} bytes are no rows of 4 float32 numbers; record "
            f"{len(content) // 16} is incomplete"
        )
    points = np.frombuffer(content, "<f4").reshape(-1, 4)
    sound = (np.abs(points[:, :3]) < FARTHEST).all(axis=1) & np.isfinite(points[:, 3])
    if not sound.all():
        row = int(np.argmin(sound))
        raise RoadloopError(f"{path}: record {row}, {points[row].tolist()}, is no point of a sweep")
    xyz = transform_points(EGO_FROM_VELODYNE, points[:, :3].astype(float))
    points = np.concatenate([xyz, np.clip(points[:, 3:], 0.0, 1.0)], axis=1).astype(np.float32)
    return LidarSweep(points, timestamp_us)


def table(path: Path, columns: int, what: str) -> Array:
    """(rows, columns) numbers of a text; RoadloopError naming file and line of a damaged one."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise RoadloopError(f"{path}, line {number}: {what} is not numbers") from None
        if len(words) != columns or not np.isfinite(rows[-1]).all():
            raise RoadloopError(
                f"{path}, line {number}: {what} has {len(words)} numbers, expected {columns} "
                "finite ones; is it truncated?"
            )
    if not rows:
        raise RoadloopError(f"{path} is empty")
    return np.array(rows)


def mercator_poses(oxts: Array) -> tuple[Array, dict[str, float]]:
    """``world_from_imu`` (T, 4, 4) of OXTS packets (T, 30), and where the origin lies.

    The devkit's Mercator projection with the scale of the first latitude: x east, y north; the
    origin is the IMU at the first packet, z = 0 its altitude. Yaw is 0 in the east,
    counter-clockwise, roll left side up, pitch front *down* positive (devkit, dataformat.txt).
    """
    latitude, longitude, altitude = oxts[:, 0], oxts[:, 1], oxts[:, 2]
    scale = np.cos(np.radians(latitude[0]))
    x = scale * EARTH_RADIUS * np.radians(longitude)
    y = scale * EARTH_RADIUS * np.log(np.tan(np.pi / 4.0 + np.radians(latitude) / 2.0))
    place = np.stack([x, y, altitude], axis=-1)
    turn = rotation_from_euler(oxts[:, 3], oxts[:, 4], oxts[:, 5])
    origin = {
        "origin_latitude": float(latitude[0]),
        "origin_longitude": float(longitude[0]),
        "origin_altitude": float(altitude[0]),
    }
    return se3(turn, place - place[0]), origin


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise RoadloopError(f"{path} is no text") from None


def _is_odometry(rows: Mapping[str, Array]) -> bool:
    """Whether the only turn is ``Tr``, from the velodyne to cam0 rectified, or there is none."""
    return all(name == "Tr" or re.fullmatch("P[0-3]", name) for name in rows)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
