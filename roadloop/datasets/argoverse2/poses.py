"""Poses in the tables of Argoverse 2, moved into our ego frame; the car that recorded them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.datasets.source import read_table
from roadloop.errors import RoadloopError
from roadloop.geometry import se3
from roadloop.types import VehicleParameters

Array = np.ndarray

AXLE_HEIGHT = 0.33
"""m, the data set's ego origin above the ground (its authors in argoverse-api issue 286). Over the
ground height rasters of four logs it is 0.30 to 0.32 m on average."""

VEHICLE = VehicleParameters(
    length=4.872, width=1.852, height=1.473, wheelbase=2.85, rear_overhang=1.097
)
"""Ford Fusion Hybrid 2017 to 2020 by its maker's data sheet: 191.8 x 72.9 x 58.0 in, wheelbase
112.2 in. The rear overhang puts the box's middle 1.339 m before the rear axle, as the 123D project
estimated it from the LiDAR."""

POSES = "city_SE3_egovehicle.feather"
QUATERNION = ("qw", "qx", "qy", "qz")
PLACE = ("tx_m", "ty_m", "tz_m")


def transforms(path: Path, table: dict[str, Array]) -> Array:
    """(rows, 4, 4) of a table's quaternions and translations."""
    from scipy.spatial.transform import Rotation

    turn = np.stack([table[name] for name in QUATERNION], axis=-1).astype(float)
    place = np.stack([table[name] for name in PLACE], axis=-1).astype(float)
    wrong = ~(np.abs(np.linalg.norm(turn, axis=-1) - 1.0) < 1e-3) | ~np.isfinite(place).all(-1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RoadloopError(
            f"{path}: row {row}: quaternion {turn[row].tolist()} and translation "
            f"{place[row].tolist()} are no pose: expected a unit quaternion and finite numbers"
        )
    return se3(Rotation.from_quat(turn[:, [1, 2, 3, 0]]).as_matrix(), place)


def grounded(ego_from_any: Array) -> Array:
    """Poses (..., 4, 4) of the data set's ego frame in ours."""
    moved = ego_from_any.copy()
    moved[..., 2, 3] += AXLE_HEIGHT
    return moved


def read_poses(path: Path) -> tuple[Array, Array]:
    """Timestamps (n,) in ns, increasing, and world_from_ego (n, 4, 4)."""
    table = read_table(path, ("timestamp_ns", *QUATERNION, *PLACE))
    stamps = table["timestamp_ns"].astype(np.int64)
    if not len(stamps):
        raise RoadloopError(f"{path} has no rows: expected the ego's poses")
    order = np.argsort(stamps, kind="stable")
    if (np.diff(stamps[order]) == 0).any():
        row = int(order[1:][np.argmax(np.diff(stamps[order]) == 0)])
        raise RoadloopError(f"{path}: row {row}: a second pose at {stamps[row]} ns")
    poses = transforms(path, table)[order]
    ground = np.eye(4)
    ground[2, 3] = -AXLE_HEIGHT
    return stamps[order], poses @ ground


def poses_of(poses: Array, stamps: Array, wanted: Array, source: Path) -> Array:
    """The poses at the steps, each of which the table has."""
    row = np.minimum(np.searchsorted(stamps, wanted), len(stamps) - 1)
    if (stamps[row] != wanted).any():
        k = int(np.argmax(stamps[row] != wanted))
        raise RoadloopError(f"{source}: {POSES} has no pose at {wanted[k]} ns; download it again")
    return poses[row]


def microseconds(nanoseconds: Array | np.int64) -> Array:
    """To the nearest microsecond; the published stamps are whole ones."""
    return (np.asarray(nanoseconds, np.int64) + 500) // 1000
