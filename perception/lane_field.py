"""The lane field: per cell the direction of its lane and how far left of the centreline it lies.

A cell is covered by a lane where its centre lies within half the lane's width of the centreline;
of several, the one whose centreline is nearest is meant. Where lanes that cover a cell point more
than `AGREEMENT` apart, as in junctions, the field is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from perception.detector_config import BevGrid

Array = np.ndarray

AGREEMENT = np.radians(30.0)
"""rad, lanes that differ by less count as one direction"""
BORDER = 0.2
"""m inside its border a lane begins to have a say against another: widths are means over lanes"""
OVERSHOOT = 0.2
"""share of a segment's length the strip is drawn on beyond its ends, over the gaps of bends"""
BAND = 16.0
"""m ahead, length of the bands that scores are given for"""


@dataclass(frozen=True)
class Segments:
    """Straight pieces of lines in the ego frame; fields ``(n, ...)``."""

    start: Array
    """(n, 2) m"""
    along: Array
    """(n, 2) unit vector"""
    length: Array
    line: Array
    """which line it is of"""
    turn: Array
    """(n, 2, 2) unit tangents of the line at both ends"""


def segments_of(lines: Array, grid: BevGrid, reach: Array, level: float) -> Segments:
    """Those of ``lines`` (L, V, 3) within ``reach`` (L,) m of the grid and ``level`` m of height 0.

    Pieces without length are left out.
    """
    step = np.diff(lines[..., :2], axis=1)
    length = np.sqrt((step * step).sum(-1))
    unit = step / np.maximum(length, 1e-6)[..., None]
    # at inner points halfway between the segments' directions, at the ends turned on as far
    tangent = np.empty_like(lines[..., :2])
    tangent[:, 1:-1] = unit[:, 1:] + unit[:, :-1]
    tangent[:, 0], tangent[:, -1] = unit[:, 0], unit[:, -1]
    if lines.shape[1] > 2:
        tangent[:, 0] = 3.0 * unit[:, 0] - unit[:, 1]
        tangent[:, -1] = 3.0 * unit[:, -1] - unit[:, -2]
    tangent /= np.maximum(np.sqrt((tangent * tangent).sum(-1)), 1e-6)[..., None]
    a, b = lines[:, :-1], lines[:, 1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    margin = reach[:, None]
    there = (
        (high[..., 0] > grid.x_min - margin)
        & (low[..., 0] < grid.x_max + margin)
        & (high[..., 1] > grid.y_min - margin)
        & (low[..., 1] < grid.y_max + margin)
        & (low[..., 2] > -level)
        & (high[..., 2] < level)
        & (length > 1e-3)
    )
    line, k = np.nonzero(there)
    turn = np.stack([tangent[line, k], tangent[line, k + 1]], axis=1)
    return Segments(a[line, k, :2], unit[line, k], length[line, k], line, turn)


@lru_cache(maxsize=8)
def cell_centres(grid: BevGrid) -> Array:
    """(nx * ny, 2) float32 m, in the order of flat indices ``i * ny + j``; not to be written to."""
    centres = grid.centres().reshape(-1, 2).astype(np.float32)
    centres.flags.writeable = False
    return centres


def cells_around(low: Array, high: Array, grid: BevGrid) -> tuple[Array, Array]:
    """Cells with their centre in boxes ``low`` to ``high`` (n, 2) m: (pairs,) box, (pairs,) cell,
    the latter as flat indices."""
    first = np.maximum(np.ceil(grid.cells_of(low) - 1e-6), 0).astype(np.int64)
    last = np.minimum(np.floor(grid.cells_of(high) + 1e-6), np.array(grid.shape) - 1)
    size = np.maximum(last.astype(np.int64) - first + 1, 0)
    count = size[:, 0] * size[:, 1]
    box = np.repeat(np.arange(len(count)), count)
    k = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(k, size[box, 1])
    return box, (first[box, 0] + row) * grid.ny + first[box, 1] + column


def lane_targets(
    centrelines: Array, width: Array, grid: BevGrid, level: float
) -> tuple[Array, Array, Array]:
    """Covered (X, Y) bool, ``lane`` (3, X, Y) float32 and where lanes agree (X, Y) bool.

    Args:
        centrelines: (L, V, 3) m in the ego frame, in the direction of travel.
        width: (L,) m.
        level: m; what lies higher or lower is another road's level.
    """
    half = np.maximum(width, 0.0) / 2.0
    pieces = segments_of(centrelines, grid, half, level)
    half = half[pieces.line]
    slack = OVERSHOOT * pieces.length
    middle = pieces.start + pieces.along * (pieces.length / 2.0)[:, None]
    across = np.abs(pieces.along[:, ::-1]) * half[:, None]
    extent = np.abs(pieces.along) * (pieces.length / 2.0 + slack)[:, None] + across
    item, cell = cells_around(middle - extent, middle + extent, grid)
    gap = cell_centres(grid)[cell] - pieces.start[item]
    along = pieces.along[item]
    t = gap[:, 0] * along[:, 0] + gap[:, 1] * along[:, 1]
    left = gap[:, 1] * along[:, 0] - gap[:, 0] * along[:, 1]
    over = np.maximum(np.maximum(-t, t - pieces.length[item]), 0.0)
    on = (np.abs(left) <= half[item]) & (over <= slack[item])
    item, cell, t, left, over = item[on], cell[on], t[on], left[on], over[on]

    count = grid.nx * grid.ny
    covered = np.zeros(count, bool)
    covered[cell] = True
    away = np.hypot(left, over)
    nearest = np.full(count, np.inf, away.dtype)
    np.minimum.at(nearest, cell, away)
    share = np.clip(t / pieces.length[item], 0.0, 1.0)[:, None]
    direction = (1.0 - share) * pieces.turn[item, 0] + share * pieces.turn[item, 1]
    direction /= np.sqrt((direction * direction).sum(-1, keepdims=True))
    best = away == nearest[cell]
    lane = np.zeros((3, count), np.float32)
    lane[:2, cell[best]] = direction[best].T
    lane[2, cell[best]] = left[best]
    # the border row of a lane belongs to its neighbour as well
    inside = (over == 0.0) & (np.abs(left) <= half[item] - BORDER)
    alike = direction[:, 0] * lane[0, cell] + direction[:, 1] * lane[1, cell]
    agree = covered.copy()
    agree[cell[inside & (alike < np.cos(AGREEMENT))]] = False
    return covered.reshape(grid.shape), lane.reshape(3, *grid.shape), agree.reshape(grid.shape)


def bands(grid: BevGrid) -> dict[str, Array]:
    """(X,) bool, rows of the grid by distance ahead: ``all``, and every `BAND` m: ``0-16`` ..."""
    x = grid.centres()[:, 0, 0]
    found = {"all": np.ones(grid.nx, bool)}
    for k in range(int((grid.x_max + 1e-6) // BAND)):
        found[f"{BAND * k:g}-{BAND * (k + 1):g}"] = (x >= BAND * k) & (x < BAND * (k + 1))
    return found


@dataclass
class LaneScore:
    """Mean errors of the lane field where it is judged, by distance ahead."""

    grid: BevGrid
    sums: dict[str, Array] = field(default_factory=dict)
    """by band, (3,): sum of the angles in rad, sum of the distances in m, cells"""

    def add(self, lane: Array, target: Array, weight: Array) -> None:
        """Moments (..., 3, X, Y) with ``weight`` (..., X, Y); directions of any length."""
        cos, sin, left = np.moveaxis(lane, -3, 0)
        true_cos, true_sin, true_left = np.moveaxis(target, -3, 0)
        angle = np.arctan2(sin * true_cos - cos * true_sin, cos * true_cos + sin * true_sin)
        errors = np.stack([np.abs(angle), np.abs(left - true_left), np.ones(weight.shape)])
        errors *= weight > 0
        by_row = errors.reshape(3, -1, *self.grid.shape).sum((1, 3))
        for name, rows in bands(self.grid).items():
            self.sums[name] = self.sums.get(name, np.zeros(3)) + by_row[:, rows].sum(1)

    def result(self) -> dict[str, Any]:
        """``direction_error`` rad and ``centreline_error`` m by band, None where nothing was."""
        found: dict[str, Any] = {"direction_error": {}, "centreline_error": {}}
        for name, (angle, aside, count) in self.sums.items():
            found["direction_error"][name] = float(angle / count) if count else None
            found["centreline_error"][name] = float(aside / count) if count else None
        return found
