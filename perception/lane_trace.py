"""One lane traced through the lane field, metre by metre, from what its cells say.

Every cell says where its lane's centreline runs: through the foot ``c - d n``, in its direction. An
arc ``e(a) = e + p a + k a^2 / 2`` is fitted to the feet and directions near by (least squares, with
the arc so far as the prior, so that it carries on straight where the field says nothing, as in
junctions). All in the ego frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.detector_config import BevGrid, RasterLayer
from perception.percept import Percept
from roadloop.geometry import wrap_angle

Array = np.ndarray

ROAD = 0.5
"""probability from which a cell is drivable"""
SEEN_FROM = 2.0
"""m ahead of the rear axle: what lies nearer no camera looks at, and the field is not trusted"""
START = 5.0
"""m ahead, where tracing begins"""
STEP = 1.0
"""m"""
REACH = 2.2
"""m, cells so far around have a say; with `ASIDE` about the width of a lane"""
ASIDE = 1.6
"""m, feet farther from the line traced so far are another lane's"""
ALIKE = np.radians(40.0)
"""rad, cells whose direction differs by more are of another lane"""
COAST = 14.0
"""m that are carried on without support: about a junction"""
SUPPORT = 3.0
"""cells that must agree for a place to count as seen"""
SHORTEST = 8.0
"""m, shorter lanes are noise"""

# standard deviations of a cell's foot (m) and direction (rad), many neighbours err alike
_FOOT, _DIRECTION = 0.8, 0.25
# and of the arc carried on: m, rad, 1/m, per step
_DRIFT = (0.25, 0.06, 0.02)


@dataclass(frozen=True)
class Votes:
    """What cells say: n of them, in the ego frame."""

    foot: Array
    """(n, 2) m, on the centreline their lane has"""
    angle: Array
    """(n,) rad"""
    weight: Array
    """(n,) in [0, 1]: drivable, and sure of the direction"""
    cell: Array
    """(n, 2) m, their centres"""


def votes_of(percept: Percept, grid: BevGrid) -> Votes:
    """Of the drivable cells that cameras look at."""
    cos, sin, left = percept.lane.astype(np.float64)
    length = np.hypot(cos, sin)
    centres = grid.centres()
    drivable = percept.raster[RasterLayer.DRIVABLE]
    on = (drivable >= ROAD) & (length > 0.2) & (centres[..., 0] > SEEN_FROM)
    cos, sin, left, length = cos[on] / length[on], sin[on] / length[on], left[on], length[on]
    foot = centres[on] - left[:, None] * np.column_stack([-sin, cos])
    weight = drivable[on] * np.minimum(length, 1.0)
    return Votes(foot, np.arctan2(sin, cos), weight, centres[on])


def trace(
    votes: Votes, drivable: Array, grid: BevGrid, place: Array, heading: float, *, sure: bool
) -> tuple[Array | None, bool]:
    """(n, 2) m along the lane from near ``place`` on, and whether it leaves the grid.

    ``sure``: the place is on a known lane; else it may be up to half a lane off.
    """
    curvature, last, points = 0.0, 0, [place]
    prior = np.array(_DRIFT) if sure else np.array([1.0, 0.3, 0.02])
    open_end = False
    for k in range(int(2.0 * (grid.x_max - grid.x_min) / STEP)):
        along = np.array([np.cos(heading), np.sin(heading)])
        shift, turn, bend, support = _arc(votes, place, heading, curvature, prior)
        if support >= SUPPORT:
            place = place + shift * np.array([-along[1], along[0]])
            heading, curvature = heading + turn, curvature + bend
            last, prior = k, np.array(_DRIFT)
        else:
            curvature *= 0.9  # roads do not go on turning where nothing says so
            prior = np.minimum(prior + 0.25 * np.array(_DRIFT), 4.0 * np.array(_DRIFT))
        points[-1] = place
        if not _inside(place, grid):
            open_end = support >= SUPPORT or k - last <= 2
            break
        if (k - last) * STEP > COAST or (k > 0 and not _on_road(drivable, place, grid)):
            break
        middle = heading + curvature * STEP / 2.0
        place = place + STEP * np.array([np.cos(middle), np.sin(middle)])
        heading += curvature * STEP
        points.append(place)
    if not open_end:
        points = points[: last + 1]
    if (len(points) - 1) * STEP < SHORTEST:
        return None, False
    return np.array(points), open_end


def _arc(
    votes: Votes, place: Array, heading: float, curvature: float, prior: Array
) -> tuple[float, float, float, float]:
    """How much to change the line's place aside, heading and curvature there, and the support."""
    near = np.abs(votes.cell - place).max(1) < REACH + ASIDE
    gap = votes.foot[near] - place
    c, s = np.cos(heading), np.sin(heading)
    along, aside = gap[:, 0] * c + gap[:, 1] * s, gap[:, 1] * c - gap[:, 0] * s
    aside = aside - curvature * along**2 / 2.0
    angle = wrap_angle(votes.angle[near] - heading - curvature * along)
    fits = (np.abs(along) < REACH) & (np.abs(aside) < ASIDE) & (np.abs(angle) < ALIKE)
    along, aside, angle = along[fits], aside[fits], angle[fits]
    weight = votes.weight[near][fits]
    one, none = np.ones(len(along)), np.zeros(len(along))
    rows = np.concatenate(
        [
            np.column_stack([one, along, along**2 / 2.0]) / _FOOT,
            np.column_stack([none, one, along]) / _DIRECTION,
        ]
    )
    goal = np.concatenate([aside / _FOOT, angle / _DIRECTION])
    heavy = np.concatenate([weight, weight])
    normal = rows.T @ (rows * heavy[:, None]) + np.diag(prior**-2.0)
    shift, turn, bend = np.linalg.solve(normal, rows.T @ (heavy * goal))
    return float(shift), float(turn), float(bend), float(weight.sum())


def _inside(place: Array, grid: BevGrid) -> bool:
    """Whether a place is not in the outermost cells."""
    i, j = grid.cells_of(place)
    return bool(0.5 <= i <= grid.nx - 1.5 and 0.5 <= j <= grid.ny - 1.5)


def _on_road(drivable: Array, place: Array, grid: BevGrid) -> bool:
    i, j = np.floor(grid.cells_of(place) + 0.5).astype(int)
    return float(drivable[i - 1 : i + 2, j - 1 : j + 2].mean()) >= ROAD
