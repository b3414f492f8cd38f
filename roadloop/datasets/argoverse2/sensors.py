"""Sensors of Argoverse 2 logs: the rig of a log's calibration, its pictures and sweeps.

Cameras are pinholes: the pictures were published undistorted, and the ``av2`` package projects with
fx, fy, cx, cy only; k1, k2, k3 in the calibration describe the lens before (av2-api issues 219 and
226).

LiDAR: one file holds the sweep of both VLP-32C, laser numbers 0 to 31 of ``up_lidar`` and 32 to 63
of ``down_lidar`` (measured: seen from there, each laser keeps its elevation within 0.02 degrees).
They are two sensors here. Points are in the ego frame at the sweep's timestamp, by which the data
set has compensated the ego's motion. That is the *beginning* of the sweep and the time of its
labels, so ``time_offset`` is from 0 to 0.11 s, and a step has the sweep that was labelled at it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from roadloop.datasets.argoverse2.poses import (
    AXLE_HEIGHT,
    PLACE,
    QUATERNION,
    grounded,
    microseconds,
    transforms,
)
from roadloop.datasets.motion import poses_at
from roadloop.datasets.source import picture, read_table
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Frame, step_of
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig

Array = np.ndarray

SWEEPS = "sensors/lidar"
PICTURES = "sensors/cameras"

LASERS = 32
"""of each LiDAR"""

BEAMS = (
    *(7.0, -1.667, 1.667, -0.667, 15.0, -0.333, 3.333, 0.667),
    *(1.333, 0.0, 1.0, 2.333, 0.333, -1.0, 4.667, 10.333),
    *(-6.148, -15.639, -3.0, -2.0, -4.0, -8.843, -4.667, -3.333),
    *(-2.667, -5.333, -1.333, -7.254, -3.667, -11.31, -2.333, -25.0),
)
"""degrees, elevations of a VLP-32C (its manual) in the order of the laser numbers, found by the
elevation that each laser keeps; that order is the same in both LiDARs"""

LIDAR_MOUNTS = {
    "up_lidar": Mount(1.35, 0.0, 1.64 + AXLE_HEIGHT),
    "down_lidar": Mount(1.35, 0.0, 1.53 + AXLE_HEIGHT, yaw=-2.94, roll=np.pi),
}
"""of log 7fab2350, to the centimetre, for logs without calibration"""


def read_rig(folder: Path, notes: list[str]) -> SensorRig:
    """Cameras as calibrated and both LiDARs."""
    calibration = folder / "calibration"
    mounts: dict[str, Array] = {}
    cameras: tuple[CameraSensor, ...] = ()
    if calibration.is_dir():
        path = calibration / "egovehicle_SE3_sensor.feather"
        table = read_table(path, ("sensor_name", *QUATERNION, *PLACE), ("sensor_name",))
        mounts = dict(zip(table["sensor_name"], grounded(transforms(path, table))))
        cameras = _cameras(calibration / "intrinsics.feather", mounts)
    there = [name for name in LIDAR_MOUNTS if name in mounts or (folder / SWEEPS).is_dir()]
    nominal = [name for name in there if name not in mounts]
    if nominal:
        notes.append(f"not calibrated, where another log has them: {', '.join(nominal)}")
    return SensorRig(
        "argoverse2",
        "Argoverse 2: seven ring cameras, a stereo pair, two LiDARs",
        cameras=cameras,
        lidars=tuple(
            LidarSensor(
                name,
                Mount.of(mounts[name]) if name in mounts else LIDAR_MOUNTS[name],
                BEAMS,
                columns=1800,
                # the lower one hangs upside down, and its own frame with it
                clockwise=name == "up_lidar",
                max_range=200.0,
            )
            for name in there
        ),
    )


def _cameras(path: Path, mounts: dict[str, Array]) -> tuple[CameraSensor, ...]:
    lens = ("fx_px", "fy_px", "cx_px", "cy_px")
    table = read_table(path, ("sensor_name", *lens, "width_px", "height_px"), ("sensor_name",))
    cameras = []
    for row, name in enumerate(table["sensor_name"]):
        if name not in mounts:
            raise RoadloopError(
                f"{path}: row {row}: {name} is not in egovehicle_SE3_sensor.feather"
            )
        fx, fy, cx, cy = (float(table[key][row]) for key in lens)
        size = (int(table["width_px"][row]), int(table["height_px"][row]))
        mount = Mount.of_camera(mounts[name])
        try:
            cameras.append(CameraSensor(name, mount, *size, fx, fy, cx, cy, rate=20.0))
        except RoadloopError as error:
            raise RoadloopError(f"{path}: row {row}: {error}") from None
    return tuple(cameras)


def find_frames(
    folder: Path, rig: SensorRig, steps: Array, stamps: Array, poses: Array, notes: list[str]
) -> tuple[Frame, ...]:
    """The measurements whose files are here, by time."""
    found = []
    for stamp, path in stamped(folder / SWEEPS, ".feather"):
        for k, name in enumerate(LIDAR_MOUNTS):
            found.append((stamp, name, "lidar", partial(read_sweep, path, LASERS * k)))
    pictures = folder / PICTURES
    known = {camera.name: camera for camera in rig.cameras}
    for camera in sorted(pictures.iterdir()) if pictures.is_dir() else ():
        if not camera.is_dir():
            continue
        if camera.name not in known:
            raise RoadloopError(f"{camera}: calibration/intrinsics.feather has no {camera.name}")
        for stamp, path in stamped(camera, ".jpg"):
            found.append((stamp, camera.name, "camera", partial(picture, known[camera.name], path)))
    kinds = [kind for _, _, kind, _ in found]
    sweeps = len({stamp for stamp, _, kind, _ in found if kind == "lidar"})
    if not found:
        notes.append("no sensor files in this copy")
        return ()
    if sweeps < len(steps):
        notes.append(f"{len(steps) - sweeps} of {len(steps)} LiDAR sweeps are not in this copy")
    if rig.cameras and "camera" not in kinds:
        notes.append("no camera images in this copy")
    found.sort(key=lambda one: one[:2])
    late = [one for one in found if one[0] > steps[-1]]
    if late:
        notes.append(f"{len(late)} measurements after the last step are left out")
    found = found[: len(found) - len(late)]
    start = int(steps[0])
    when = np.array([stamp for stamp, *_ in found])
    where = poses_at(poses, (stamps - start) / 1000.0, (when - start) / 1000.0)
    return tuple(
        Frame(
            sensor,
            kind,
            int(us := microseconds(stamp - start)),
            step_of(steps, stamp),
            where[k],
            partial(read, int(us)),
        )
        for k, (stamp, sensor, kind, read) in enumerate(found)
    )


def stamped(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Files that are named by their time in ns, by time."""
    found = []
    for path in folder.glob(f"*{suffix}"):
        if not path.stem.isdecimal():
            raise RoadloopError(f"{path}: expected a file named by its time in nanoseconds")
        found.append((int(path.stem), path))
    return sorted(found)


def read_sweep(path: Path, first_laser: int, timestamp_us: int) -> LidarSweep:
    """The points of one of the two LiDARs, those from laser ``first_laser`` on, by time.

    Raises RoadloopError where the file is missing or damaged.
    """
    columns = ("x", "y", "z", "intensity", "laser_number", "offset_ns")
    table = read_table(path, columns)
    laser = table["laser_number"].astype(np.int64)
    if laser.size and not (laser.min() >= 0 and laser.max() < 2 * LASERS):
        row = int(np.argmax((laser < 0) | (laser >= 2 * LASERS)))
        raise RoadloopError(f"{path}: row {row}: laser {laser[row]}: expected 0 to 63")
    mine = (laser >= first_laser) & (laser < first_laser + LASERS)
    points = np.stack([table[name][mine].astype(np.float32) for name in columns[:4]], axis=-1)
    points[:, 2] += np.float32(AXLE_HEIGHT)
    points[:, 3] /= np.float32(255.0)
    return LidarSweep(
        points=points,
        timestamp_us=timestamp_us,
        ring=(laser[mine] - first_laser).astype(np.uint16),
        time_offset=(table["offset_ns"][mine] * 1e-9).astype(np.float32),
    )
