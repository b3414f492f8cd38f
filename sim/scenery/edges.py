"""The two edges of every lane strip: where they lie open, how far down the land is, their faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.scenery.mesh import quads
from sim.scenery.paving import SAME_LEVEL, Paving
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
    """first rows of the pieces whose edge is, at least in part, not another strip's as well"""

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
        return rows[_bare(paving, self.edge, self.out, rows, reach).all(0)]

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
        bare = _bare(paving, edge, out, paving.piece, BESIDE).any(0)
        return Side(edge, out, is_left, paving.piece[bare])

    return side(left, out, True), side(right, -out, False)


def _bare(paving: Paving, edge: Array, out: Array, rows: Array, reach: float) -> Array:
    """(3, n) bool: nothing is paved ``reach`` m beyond an edge, at about its height.

    Asked at three points of the piece from each of ``rows`` to the next.
    """
    near, far = (edge[i] + reach * out[i] for i in (rows, rows + 1))
    points = near + np.array([0.1, 0.5, 0.9])[:, None, None] * (far - near)
    top = paving.tops.top(points.reshape(-1, 3), SAME_LEVEL, SAME_LEVEL)
    return (top == -np.inf).reshape(3, -1)


def wall(a: Array, b: Array, depth: Array) -> Array:
    """Upright faces below the lines a to b (n, 3), ``depth`` (n,) m high, seen with a on the left.

    (2 n, 3, 3) triangles.
    """
    down = np.zeros_like(a)
    down[:, 2] = depth
    return quads(np.stack([a, a - down, b - down, b], axis=1))
