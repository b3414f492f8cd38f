"""LiDAR points and radar targets as planes over the grid of the bird's-eye view.

They are made outside the network, so that no scatter or sparse convolution enters it (as pillars
do without the learnt encoder; Lang et al., PointPillars, CVPR 2019). Cells without a point are 0.

============= =====================================================================================
LiDAR plane   per cell
============= =====================================================================================
slice_*       1 where a point lies in that slice of heights above the ground (`SLICES`)
highest       m, height of the highest point below 4 m, over 4
lowest        likewise of the lowest one above -1 m
intensity     mean, in [0, 1]
density       log(1 + points) / log(1 + 64), at most 1
============= =====================================================================================

============= =====================================================================================
radar plane   per cell
============= =====================================================================================
hits          log(1 + targets) / log(1 + 8), at most 1
vx, vy        mean radial velocity over ground along the ego's axes, in 10 m/s
rcs           mean radar cross-section, in 20 dB m^2
age           mean age, s
============= =====================================================================================
"""

from __future__ import annotations

import numpy as np

from perception.detector_config import BevGrid
from roadloop.errors import RoadloopError

Array = np.ndarray

SLICES = (-1.0, 0.2, 0.6, 1.0, 1.5, 2.2, 4.0)
"""m above the ground, borders of the slices: ground, kerbs and wheels, bumpers, bonnets, roofs of
cars and heads, vans and lorries"""
LIDAR_PLANES = (
    *(f"slice_{k}" for k in range(len(SLICES) - 1)), "highest", "lowest", "intensity", "density",
)  # fmt: skip
RADAR_PLANES = ("hits", "vx", "vy", "rcs", "age")

_MANY_POINTS, _MANY_TARGETS = 64, 8
_SPEED, _RCS = 10.0, 20.0  # what brings velocities and cross-sections near 1


def lidar_planes(points: Array, grid: BevGrid) -> Array:
    """(LIDAR_PLANES, X, Y) float32 of points (P, 4 or more): x, y, z in the ego frame, intensity.

    Raises RoadloopError for points that are not finite or of another shape.
    """
    points = _checked("LiDAR points", points, 4)
    planes = np.zeros((len(LIDAR_PLANES), grid.nx * grid.ny), np.float32)
    z = points[:, 2]
    cell, inside = _cells(points, grid)
    inside &= (z >= SLICES[0]) & (z < SLICES[-1])
    cell, z, intensity = cell[inside], z[inside], points[inside, 3]
    planes[np.searchsorted(SLICES, z, side="right") - 1, cell] = 1.0
    count = np.bincount(cell, minlength=planes.shape[1])
    hit = count > 0
    first = len(SLICES) - 1
    for row, pick, none in ((first, np.maximum, -np.inf), (first + 1, np.minimum, np.inf)):
        edge = np.full(planes.shape[1], none, np.float32)
        pick.at(edge, cell, z.astype(np.float32))
        planes[row, hit] = edge[hit] / SLICES[-1]
    planes[first + 2] = _mean(cell, intensity, count)
    planes[first + 3] = np.minimum(np.log1p(count) / np.log1p(_MANY_POINTS), 1.0)
    return planes.reshape(-1, *grid.shape)


def radar_planes(targets: Array, grid: BevGrid) -> Array:
    """(RADAR_PLANES, X, Y) float32 of targets (R, 6), ``training.sample_spec.TARGET``.

    Those are x, y, z in the ego frame, radial speed over ground, cross-section in dB m^2, and s
    since the moment (below 0). The radial speed is taken along the line from the ego's rear axle,
    as a scan does not say where its sensor is: near the bumper that is some degrees off.

    Raises RoadloopError for targets that are not finite or of another shape.
    """
    targets = _checked("radar targets", targets, 6)
    planes = np.zeros((len(RADAR_PLANES), grid.nx * grid.ny), np.float32)
    cell, inside = _cells(targets, grid)
    cell, targets = cell[inside], targets[inside]
    count = np.bincount(cell, minlength=planes.shape[1])
    away = targets[:, :2] / np.maximum(np.hypot(targets[:, 0], targets[:, 1]), 0.1)[:, None]
    velocity = away * targets[:, 3:4] / _SPEED
    values = (velocity[:, 0], velocity[:, 1], targets[:, 4] / _RCS, -targets[:, 5])
    planes[0] = np.minimum(np.log1p(count) / np.log1p(_MANY_TARGETS), 1.0)
    for row, value in enumerate(values, 1):
        planes[row] = _mean(cell, value, count)
    return planes.reshape(-1, *grid.shape)


def _cells(points: Array, grid: BevGrid) -> tuple[Array, Array]:
    """Flat index of the cell of each point, and whether it is on the grid."""
    low = (grid.x_min, grid.y_min)
    ij = np.floor((points[:, :2] - low) / grid.cell).astype(np.int64)
    inside = np.asarray(((ij >= 0) & (ij < grid.shape)).all(1))
    return ij[:, 0] * grid.ny + ij[:, 1], inside


def _mean(cell: Array, values: Array, count: Array) -> Array:
    """Per cell the mean of ``values``, 0 where there is none."""
    return np.bincount(cell, values, len(count)) / np.maximum(count, 1)


def _checked(what: str, rows: Array, columns: int) -> Array:
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] < columns:
        raise RoadloopError(f"{what} have shape {rows.shape}: expected (n, {columns}) or more")
    if not np.isfinite(rows[:, :columns]).all():
        bad = int(np.argmin(np.isfinite(rows[:, :columns]).all(1)))
        raise RoadloopError(f"{what}: row {bad} holds NaN or infinity: leave it out")
    return rows
