"""The two edges of every lane strip: where they lie open, how far down the land is, their faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.scenery.mesh import quads
from sim.scenery.paving import SAME_LEVEL, STEP, Paving
from sim.scenery.terrain import Terrain

Array = np.ndarray

BESIDE = 0.1
"""m beyond an edge, where the next strip begins if there is one"""


@dataclass(frozen=True)
class Side:
    """All edges on one side of the strips, one row per cross-section of the paving."""

    edge: Array
    """(R, 3) m"""
    out: Array
    """(R, 3) horizontal unit vectors away from the strip"""
    is_left: bool
    open: Array
    """first rows of the pieces with, at least in part, nothing paved beyond their edge"""
    kerbed: Array
    """first rows of the pieces with, at least in part, something a kerb's height lower there"""

    def moved(self, out: float, up: float | Array = 0.0) -> Array:
        """(R, 3) m: the edge moved outwards and up, by one number or (R,)."""
        moved = self.edge + out * self.out
        moved[:, 2] += up
        return moved

    def drop(self, terrain: Terrain) -> Array:
        """(R,) m from the edge down to the land, at it or a metre beyond, whichever is lower."""
        near, far = (terrain.height(line[:, :2]) for line in (self.edge, self.moved(1.0)))
        return self.edge[:, 2] - np.minimum(near, far)

    def clear(self, paving: Paving, rows: Array, reach: float) -> Array:
        """Those of the pieces from ``rows`` with nothing paved ``reach`` m beyond all of them."""
        return rows[(_beyond(paving, self.edge, self.out, rows, reach) == -np.inf).all(0)]

    def faces(self, rows: Array, beyond: Array, edge: Array | None = None) -> Array:
        """(2 n, 3, 3) from the edge (or ``edge``) to ``beyond``, from ``rows`` to the next.

        They face up or, where they are upright and ``beyond`` is below, away from the strip.
        """
        near = self.edge if edge is None else edge
        ring = [near[rows], near[rows + 1], beyond[rows + 1], beyond[rows]]
        return quads(np.stack(ring if self.is_left else ring[::-1], axis=1))


def outer_edges(paving: Paving) -> tuple[Side, Side]:
    """Left and right edges of all strips as they are drawn."""
    left, right = paving.lapped
    out = np.column_stack([paving.normal, np.zeros(len(paving.normal))])

    def side(edge: Array, out: Array, is_left: bool) -> Side:
        step = _beyond(paving, edge, out, paving.piece, BESIDE)
        bare = step == -np.inf
        lower = ~bare & (step < -STEP / 2.0)
        piece = paving.piece
        return Side(edge, out, is_left, piece[bare.any(0)], piece[lower.any(0)])

    return side(left, out, True), side(right, -out, False)


def _beyond(paving: Paving, edge: Array, out: Array, rows: Array, reach: float) -> Array:
    """(3, n) m: how far what is paved ``reach`` m beyond an edge lies above it; -inf: nothing.

    Only what is at about its height counts. Asked at three points of the piece from each of
    ``rows`` to the next.
    """
    near, far = (edge[i] + reach * out[i] for i in (rows, rows + 1))
    points = (near + np.array([0.1, 0.5, 0.9])[:, None, None] * (far - near)).reshape(-1, 3)
    top = paving.tops.top(points, SAME_LEVEL, SAME_LEVEL)
    return (top - points[:, 2]).reshape(3, -1)


@dataclass(frozen=True)
class End:
    """The ends of all strips on one side: where traffic enters or where it leaves."""

    right: Array
    """(N, 3) m, corner on the right of who looks at the end from beyond"""
    left: Array
    beyond: Array
    """(N,) m, how far what is paved beyond lies above the strip; -inf: nothing near its height"""


def strip_ends(paving: Paving) -> tuple[End, End]:
    """The first and the last cross-section of every strip."""

    def end(row: Array, ahead: float) -> End:
        left, right = (edge[row] for edge in paving.lapped)
        points = (left + right) / 2.0
        points[:, 0] += ahead * BESIDE * paving.normal[row, 1]
        points[:, 1] -= ahead * BESIDE * paving.normal[row, 0]
        step = paving.tops.top(points, SAME_LEVEL, SAME_LEVEL) - points[:, 2]
        # who looks back along the strip sees its left edge on the right
        return End(left, right, step) if ahead > 0.0 else End(right, left, step)

    return end(paving.start[:-1], -1.0), end(paving.start[1:] - 1, 1.0)


def wall(a: Array, b: Array, depth: Array) -> Array:
    """Upright faces below the lines a to b (n, 3), ``depth`` (n,) m high, seen with a on the left.

    (2 n, 3, 3) triangles.
    """
    down = np.zeros_like(a)
    down[:, 2] = depth
    return quads(np.stack([a, a - down, b - down, b], axis=1))
