"""comma2k19: minutes of commuting with camera poses, CAN, radar tracks and, where kept, the video.

Layout: ``<dongle>|<start of the route>/<minute>`` with ``global_pose``, ``processed_log`` and
``video.hevc`` (``preview.png`` is its first picture). Arrays are ``.npy`` without the extension.
A step is a picture of the video (20 Hz).

Frames: the data set gives the camera in ECEF, quaternions of its axes forward, right, down
(``ecef_from_device`` as Hamilton's w, x, y, z). The world here is east-north-up at the first camera
position. How the camera was turned in the car is not in the data: the ego's x axis is the mean
direction of travel in the device, as openpilot's calibration has it; roll is taken to be none.

H. Schafer, E. Santana, A. Haden, R. Biasini, "A Commute in Data: The comma2k19 Dataset",
arXiv:1812.05752. Columns: README.md of commaai/comma2k19.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from roadloop.datasets.motion import ego_of_poses, poses_at
from roadloop.datasets.raw_video import video_frame
from roadloop.datasets.source import check_times, picture
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Frame, Recording, step_of
from roadloop.readings import RadarScan
from roadloop.rig import CAMERA_AXES, CameraSensor, Mount, RadarSensor, SensorRig
from roadloop.types import VehicleParameters

Array = np.ndarray


@dataclass(frozen=True)
class Car:
    """One of the two cars."""

    vehicle: VehicleParameters
    steer_ratio: float
    """turn of the steering wheel per turn of the front wheels"""


CARS: dict[str, Car] = {
    "b0c9d2329ad1606b": Car(
        VehicleParameters(
            length=4.605, width=1.845, height=1.705, wheelbase=2.66, rear_overhang=1.015
        ),
        steer_ratio=16.88,
    ),
    "99c94dc769b5d96e": Car(
        VehicleParameters(
            length=4.631, width=1.798, height=1.415, wheelbase=2.70, rear_overhang=1.03
        ),
        steer_ratio=15.38,
    ),
}
"""by dongle id: Toyota RAV4 (2016) and Honda Civic (2016), makers' data sheets; overhangs are not
stated there and shared out as on pictures. Steering ratios: openpilot's car interfaces, which fit
them to the motion (the RAV4's by its sheet is 14.5)"""

CAMERA_HEIGHT = 1.22
"""m, openpilot's ``model_height``"""
RADAR_TO_CAMERA = 1.52
"""m from the camera forward to the radar in the front bumper, openpilot's ``radard.py``"""
RADAR_HEIGHT = 0.5
"""m, behind the emblem"""

WIDTH, HEIGHT, FOCAL = 1164, 874, 910.0
"""px, the EON's camera; the principal point is the middle (openpilot's ``camera.py``)"""

RATE = 20.0
"""Hz, of pictures and radar scans"""
CALIBRATION_SPEED = 4.0
"""m/s, above which the direction of travel counts"""
SCAN_GAP = 0.01
"""s; rows of one radar scan follow each other closer than this"""
LEAP_SECONDS = 18
"""s of GPS ahead of UTC, since 2017"""
GPS_EPOCH = 315_964_800
"""s of Unix time"""

_ROUTE = re.compile(r"([0-9a-f]{16})[|_](\d{4}-\d\d-\d\d--\d\d-\d\d-\d\d)")


def drives(root: Path) -> list[str]:
    """Minutes as ``<dongle>_<route>_<minute>``; see ``roadloop.datasets.formats``."""
    return sorted(_segments(root))


def open_drive(root: Path, name: str) -> Recording:
    """One minute; see ``roadloop.datasets.formats``."""
    found = _segments(root)
    if name not in found:
        raise RoadloopError(f"{root} has no comma2k19 minute {name}")
    folder = found[name]
    car = CARS.get(name.partition("_")[0])
    if car is None:
        raise RoadloopError(
            f"{folder} is of no car of comma2k19: expected it in a folder called by dongle and "
            f"route, {' or '.join(f'{dongle}|...' for dongle in CARS)}"
        )
    poses = folder / "global_pose"
    times = _array(poses / "frame_times", ())
    steps = len(times)
    place, velocity = (
        _array(poses / f"frame_{k}", (3,), steps) for k in ("positions", "velocities")
    )
    turn = _array(poses / "frame_orientations", (4,), steps)
    gps = _array(poses / "frame_gps_times", (2,), steps)

    from scipy.spatial.transform import Rotation

    norm = np.linalg.norm(turn, axis=1)
    if (np.abs(norm - 1.0) > 1e-3).any():
        row = int(np.argmax(np.abs(norm - 1.0)))
        raise RoadloopError(f"{poses / 'frame_orientations'}, row {row} is no unit quaternion")
    ecef_from_device = Rotation.from_quat(turn[:, [1, 2, 3, 0]]).as_matrix()
    latitude, longitude, altitude = geodetic(place[0])
    enu = enu_from_ecef(latitude, longitude)
    flu = np.diag([1.0, -1.0, -1.0])
    world_from_device = se3(enu @ ecef_from_device @ flu, (place - place[0]) @ enu.T)
    velocity = velocity @ enu.T
    front = car.vehicle.length - car.vehicle.rear_overhang
    tilt, notes = _tilt(world_from_device[:, :3, :3], velocity)
    ego_from_device = se3(tilt, np.array([front - RADAR_TO_CAMERA, 0.0, CAMERA_HEIGHT]))
    world_from_ego = world_from_device @ inverse(ego_from_device)
    stamps = np.round((times - times[0]) * 1e6).astype(np.int64)
    check_times(stamps, str(poses / "frame_times"), "row")

    speed = (velocity * world_from_ego[:, :3, 0]).sum(-1)
    ego = ego_of_poses(world_from_ego, stamps, car.vehicle, speed=speed)
    wheel = _can(folder, "steering_angle", times)
    limit = car.vehicle.max_steering
    steering = np.clip(np.radians(wheel) / car.steer_ratio, -limit, limit)
    ego = replace(ego, steering=steering)

    camera = CameraSensor(
        name="camera",
        mount=Mount.of_camera(se3(ego_from_device[:3, :3] @ CAMERA_AXES, ego_from_device[:3, 3])),
        width=WIDTH,
        height=HEIGHT,
        fx=FOCAL,
        fy=FOCAL,
        cx=(WIDTH - 1) / 2.0,
        cy=(HEIGHT - 1) / 2.0,
        rate=RATE,
    )
    radar = RadarSensor(
        name="radar", mount=Mount(front, 0.0, RADAR_HEIGHT), rate=RATE, max_range=190.0
    )
    pictures, more = _pictures(folder, camera, stamps, world_from_ego)
    scans = _scans(folder, radar, times, stamps, world_from_ego)
    notes += [
        *more,
        "speed is that of the poses; CAN's (from the wheels) is about 1 % lower",
        "the radar's tracks have no cross-section: 0 dB m^2 stands for it; its height is a guess",
        "IMU, GNSS, magnetometer and raw CAN are left out",
    ]
    week, second = gps[0]
    return Recording(
        name=name,
        dataset="comma2k19",
        dt=1.0 / RATE,
        timestamp_us=stamps,
        ego=ego,
        world_from_ego=world_from_ego,
        rig=SensorRig(
            name="comma2k19",
            description="comma EON behind the windscreen, radar of the car",
            cameras=(camera,) if pictures else (),
            radars=(radar,) if scans else (),
        ),
        frames=tuple(sorted([*pictures, *scans], key=lambda f: (f.timestamp_us, f.sensor))),
        about={
            "start_us": round((GPS_EPOCH + week * 604_800 + second - LEAP_SECONDS) * 1e6),
            "licence": "MIT",
            "place": "California's highway 280, San Jose to San Francisco",
            "world": "east-north-up at the first camera position (WGS 84)",
            "origin_latitude": float(np.degrees(latitude)),
            "origin_longitude": float(np.degrees(longitude)),
            "origin_altitude": float(altitude),
        },
        notes=tuple(notes),
    )


# --- the earth ----------------------------------------------------------------------------------


def geodetic(ecef: Array) -> tuple[float, float, float]:
    """Latitude and longitude in rad and height in m above WGS 84 of ECEF (3,) m.

    Iterated from the spherical latitude, which converges to a nanometre near the ground.
    """
    semi_major, flattening = 6378137.0, 1.0 / 298.257223563
    e2 = flattening * (2.0 - flattening)
    x, y, z = (float(v) for v in ecef)
    p = np.hypot(x, y)
    latitude, height = np.arctan2(z, p * (1.0 - e2)), 0.0
    for _ in range(6):
        normal = semi_major / np.sqrt(1.0 - e2 * np.sin(latitude) ** 2)
        height = p / np.cos(latitude) - normal
        latitude = np.arctan2(z, p * (1.0 - e2 * normal / (normal + height)))
    return float(latitude), float(np.arctan2(y, x)), float(height)


def enu_from_ecef(latitude: float, longitude: float) -> Array:
    """Rotation (3, 3) of ECEF directions into east, north, up at a place (rad)."""
    sin_lat, cos_lat = np.sin(latitude), np.cos(latitude)
    sin_lon, cos_lon = np.sin(longitude), np.cos(longitude)
    return np.array(
        [
            [-sin_lon, cos_lon, 0.0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ]
    )


def _tilt(world_from_device: Array, velocity: Array) -> tuple[Array, list[str]]:
    """``ego_from_device`` (3, 3) of the mean direction of travel in the device, and a note."""
    travel = np.einsum("tji,tj->ti", world_from_device, velocity)
    moving = np.linalg.norm(travel, axis=1) > CALIBRATION_SPEED
    if moving.sum() < RATE:
        return np.eye(3), ["the car hardly moves: the camera is taken to look straight ahead"]
    # R = Rz(yaw) Ry(pitch) of the camera in the ego turns this direction onto the ego's x axis
    x, y, z = travel[moving].mean(0)
    yaw, pitch = -np.arctan2(y, np.hypot(x, z)), np.arctan2(z, x)
    note = (
        f"the camera's turn in the car is estimated from the direction of travel: yaw "
        f"{np.degrees(yaw):.2f} deg, pitch {np.degrees(pitch):.2f} deg; its roll is taken to be 0"
    )
    return rotation_from_euler(0.0, pitch, yaw), [note]


# --- files --------------------------------------------------------------------------------------


def _segments(root: Path) -> dict[str, Path]:
    """Name -> folder of the minutes in ``root``, a chunk, a route, or itself a minute."""
    if _is_segment(root):
        route = _ROUTE.fullmatch(root.resolve().parent.name)
        lead = f"{route[1]}_{route[2]}_" if route else ""
        return {f"{lead}{root.resolve().name}": root}
    if not root.is_dir():
        return {}
    routes = [root.resolve(), *root.iterdir(), *root.glob("Chunk_*/*"), *root.glob("Example_*/*")]
    found = {}
    for folder in routes:
        if (route := _ROUTE.fullmatch(folder.name)) and folder.is_dir():
            for minute in folder.iterdir():
                if _is_segment(minute):
                    found[f"{route[1]}_{route[2]}_{minute.name}"] = minute
    return found


def _is_segment(folder: Path) -> bool:
    return (folder / "global_pose" / "frame_positions").is_file()


def _array(
    path: Path, row: tuple[int, ...], length: int | None = None, mapped: bool = False
) -> Array:
    """A .npy without its extension: (length, *row) numbers; RoadloopError where it is none.

    Args:
        mapped: leave it in its file, of which only the rows that are looked at are read.
    """
    if not path.is_file():
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out")
    try:
        values = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or no .npy array: {reason}") from None
    if values.ndim != 1 + len(row) or values.shape[1:] != row or values.dtype.kind not in "fiu":
        raise RoadloopError(f"{path} has shape {values.shape}, expected {('rows', *row)}")
    if length is not None and len(values) != length:
        raise RoadloopError(f"{path} has {len(values)} rows, its times {length}")
    if not mapped and not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(1)))
        raise RoadloopError(f"{path}, row {bad} is not finite")
    return values


def _can(folder: Path, signal: str, times: Array, row: tuple[int, ...] = ()) -> Array:
    """(T,) a CAN signal at the times (T,); of signals that are rows their first number."""
    log = folder / "processed_log" / "CAN" / signal
    stamps = _array(log / "t", ())
    values = _array(log / "value", row, len(stamps))
    return np.interp(times, stamps, values.reshape(len(stamps), -1)[:, 0])


# --- pictures -----------------------------------------------------------------------------------


def _pictures(
    folder: Path, camera: CameraSensor, stamps: Array, world_from_ego: Array
) -> tuple[list[Frame], list[str]]:
    """The pictures there are, and a note where the video is not."""
    video, preview = folder / "video.hevc", folder / "preview.png"
    if video.is_file():
        return [
            Frame(
                camera.name,
                "camera",
                int(stamp),
                k,
                world_from_ego[k],
                partial(_picture, video, camera, k, int(stamp)),
            )
            for k, stamp in enumerate(stamps)
        ], []
    note = "video.hevc is not there"
    if not preview.is_file():
        return [], [note + ": no pictures"]
    read = partial(picture, camera, preview, 0)
    frame = Frame(camera.name, "camera", 0, 0, world_from_ego[0], read)
    return [frame], [note + ": preview.png is the only picture"]


def _picture(path: Path, camera: CameraSensor, index: int, timestamp_us: int) -> LoggedImage:
    """A picture of the video, decoded when it is looked at."""
    return LoggedImage.of(
        {"rgb": partial(video_frame, path, index, (camera.height, camera.width))},
        camera=camera.camera,
        ego_from_camera=camera.ego_from_camera,
        timestamp_us=timestamp_us,
        boxes=None,
    )


# --- radar --------------------------------------------------------------------------------------


def _scans(
    folder: Path,
    radar: RadarSensor,
    times: Array,
    stamps: Array,
    world_from_ego: Array,
) -> list[Frame]:
    """The radar's scans: rows of the log that follow each other closely."""
    log = folder / "processed_log" / "CAN" / "radar"
    if not log.is_dir():
        return []
    when = _array(log / "t", ())
    if not len(when):
        return []
    ends = np.append(np.flatnonzero(np.diff(when) > SCAN_GAP) + 1, len(when))
    starts = np.append(0, ends[:-1])
    measured = np.round((when[ends - 1] - times[0]) * 1e6).astype(np.int64)
    poses = poses_at(world_from_ego, stamps, measured)
    moving = _can(folder, "speed", when[ends - 1], (1,))
    frames = []
    for k, stamp in enumerate(measured.tolist()):
        if stamp < 0:
            continue
        rows = (int(starts[k]), int(ends[k]))
        read = partial(radar_scan, log / "value", rows, radar.mount, float(moving[k]), stamp)
        frames.append(Frame("radar", "radar", stamp, step_of(stamps, stamp), poses[k], read))
    return frames


def radar_scan(
    path: Path, rows: tuple[int, int], mount: Mount, speed: float, timestamp_us: int
) -> RadarScan:
    """The tracks in rows of the radar's log: forward, left, relative speed, ..., address, new.

    The relative speed is the range rate, not that along x: over standing things it differs from
    the ego's own by the cosine of the azimuth (0.05 m/s on average up to 0.3 rad; without it 0.43
    beyond 0.2 rad). ``speed`` is that of CAN, to which the radar agrees better than to the poses.
    """
    values = np.array(_array(path, (7,), mapped=True)[slice(*rows)])
    if len(values) != rows[1] - rows[0]:
        raise RoadloopError(f"{path} ends before row {rows[1]}, unlike its times")
    ahead, left, rate = values[:, 0], values[:, 1], values[:, 2]
    azimuth = np.arctan2(left, ahead)
    zero = np.zeros(len(values))
    return RadarScan(
        x=mount.x + ahead,
        y=mount.y + left,
        z=zero + mount.z,
        radial_speed=rate + speed * np.cos(azimuth),
        rcs=zero.copy(),
        timestamp_us=timestamp_us,
        range=np.hypot(ahead, left),
        azimuth=azimuth,
        elevation=zero.copy(),
        range_rate=rate,
    )
