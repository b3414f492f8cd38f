"""What must hold of an Observation before a sensor log takes it; each mistake said in one line.

``where`` begins every message: the log's folder and the step.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.logs.schema import EGO_FIELDS
from roadloop.logs.sensor_files import IMAGES
from roadloop.readings import CameraImage, LidarSweep, RadarScan
from roadloop.rig import KINDS, CameraSensor, SensorRig
from roadloop.types import EgoState, Observation

Array = np.ndarray

_MATRIX = 1e-9  # what rounding may change in a pose
_SLOPE = 0.5  # m, by which a pitched pose may be off a level one


def check_names(where: str, rig: SensorRig, observation: Observation) -> None:
    """Every reading is of a sensor of the rig, and of its kind."""
    for kind in KINDS:
        known = [sensor.name for sensor in getattr(rig, kind)]
        for name in getattr(observation, kind):
            if name not in known:
                noun = f"sensor among the {kind} of rig {rig.name}"
                raise RoadloopError(f"{where}: {unknown(noun, name, known)}")


def check_ego(where: str, observation: Observation) -> None:
    """Finite numbers of one world."""
    for key in EGO_FIELDS:
        value = np.asarray(getattr(observation.ego, key))
        if value.size != 1:
            raise RoadloopError(
                f"{where}: ego.{key} has shape {value.shape}; a log is of one world"
            )
        if not np.isfinite(value).all():
            raise RoadloopError(f"{where}: ego.{key} is {value}; must be a finite number")
    if not (np.isfinite([observation.time, observation.dt]).all() and observation.dt > 0.0):
        raise RoadloopError(
            f"{where}: time is {observation.time} s and dt {observation.dt} s; must be finite, dt "
            "above 0"
        )


def check_pose(where: str, world_from_ego: Array, ego: EgoState) -> None:
    """A rigid transform, about where the ego is."""
    if world_from_ego.shape != (4, 4):
        raise RoadloopError(f"{where}: world_from_ego has shape {world_from_ego.shape}, not (4, 4)")
    r = world_from_ego[:3, :3]
    if not (np.isfinite(world_from_ego).all() and np.allclose(r @ r.T, np.eye(3), atol=1e-6)):
        raise RoadloopError(f"{where}: world_from_ego is no rigid transform")
    place = np.array([float(ego.x), float(ego.y), float(ego.z)])
    if (apart := np.linalg.norm(world_from_ego[:3, 3] - place)) > _SLOPE:
        raise RoadloopError(
            f"{where}: world_from_ego is {apart:.2f} m from the ego's x, y, z: they are one place"
        )


def check_image(
    where: str, sensor: CameraSensor, image: CameraImage, ego_from_camera: Array
) -> None:
    """The products of the camera, in its size, with its calibration."""
    where = f"{where}: camera {sensor.name}"
    for product in sensor.products:
        if getattr(image, product) is None:
            raise RoadloopError(f"{where} gives no {product}; its products in the rig say it does")
    size = (sensor.height, sensor.width)
    channels = {"rgb": (3,), "flow": (2,)}
    for kind in IMAGES:
        picture = getattr(image, kind)
        if kind in sensor.products and np.shape(picture) != (*size, *channels.get(kind, ())):
            raise RoadloopError(
                f"{where}: {kind} has shape {np.shape(picture)}, must be "
                f"{(*size, *channels.get(kind, ()))}: height, width of the rig"
            )
    apart = np.abs(image.ego_from_camera - ego_from_camera).max()
    if image.camera != sensor.camera or not apart < _MATRIX:
        raise RoadloopError(
            f"{where}: the picture's calibration is not that of the rig; take camera and "
            "ego_from_camera from the rig's CameraSensor"
        )
    if image.boxes is not None:
        _check_finite(f"{where}: boxes", image.boxes)


def check_sweep(where: str, name: str, sweep: LidarSweep) -> None:
    """(points, 4) finite, and one value per point of what else there is."""
    where = f"{where}: LiDAR {name}"
    if sweep.points.ndim != 2 or sweep.points.shape[1] != 4:
        raise RoadloopError(f"{where}: points has shape {sweep.points.shape}, must be (points, 4)")
    if sweep.points.dtype != np.float32:
        raise RoadloopError(f"{where}: points is {sweep.points.dtype}, must be float32")
    if not np.isfinite(sweep.points).all():
        raise RoadloopError(
            f"{where}: {_bad(sweep.points.T)} points are not finite: leave them out"
        )
    _check_finite(where, sweep, skip=("points",), length=len(sweep.points))


def check_scan(where: str, name: str, scan: RadarScan) -> None:
    """Finite arrays of one length."""
    _check_finite(f"{where}: radar {name}", scan, length=len(scan.x))


def _check_finite(
    where: str, value: Any, skip: tuple[str, ...] = (), length: int | None = None
) -> None:
    for f in dataclasses.fields(value):
        array = getattr(value, f.name)
        if array is None or f.name in (*skip, "timestamp_us"):
            continue
        if length is not None and np.shape(array) != (length,):
            raise RoadloopError(f"{where}: {f.name} has shape {np.shape(array)}, not ({length},)")
        if not np.isfinite(array).all():
            raise RoadloopError(f"{where}: {f.name} holds NaN or infinity")


def _bad(columns: Array) -> int:
    return int(np.count_nonzero(~np.isfinite(columns).all(axis=0)))
