"""The two edges of every lane strip: where they lie open, how far down the land is, their faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim.scenery.mesh import quads
from sim.scenery.paving import SAME_LEVEL, Paving
from sim.scenery.terrain import Terrain

Array = np.ndarray


@dataclass(frozen=True)
class Side:
    """All edges on one side of the strips, one row per cross-section of the paving."""

    edge: Array
    """(R, 3) m"""
    out: Array
    """(R, 3) horizontal unit vectors away from the strip"""
    is_left: bool

    def moved(self, out: float, up: float = 0.0) -> Array:
        """(R, 3) m: the edge moved outwards and up."""
        return self.edge + out * self.out + np.array([0.0, 0.0, up])

    def drop(self, terrain: Terrain) -> Array:
        """(R,) m from the edge down to the land, at it or a metre beyond, whichever is lower."""
        near, far = (terrain.height(line[:, :2]) for line in (self.edge, self.moved(1.0)))
        return self.edge[:, 2] - np.minimum(near, far)

    def free(
        self, paving: Paving, rows: Array, reach: float, decide: Callable[..., Array]
    ) -> Array:
        """Those of the pieces from ``rows`` beyond which, by ``reach`` m, nothing is paved.

        Asked at about the edge's height, at three points; ``decide`` is np.any or np.all of them.
        """
        near, far = (self.edge[i] + reach * self.out[i] for i in (rows, rows + 1))
        points = near + np.array([0.1, 0.5, 0.9])[:, None, None] * (far - near)
        top = paving.tops.top(points.reshape(-1, 3), SAME_LEVEL, SAME_LEVEL)
        return rows[decide((top == -np.inf).reshape(3, -1), axis=0)]

    def faces(self, rows: Array, beyond: Array, edge: Array | None = None) -> Array:
        """(2 n, 3, 3) from the edge (or ``edge``) to ``beyond``, from ``rows`` to the next.

        They face up or, where they are upright and ``beyond`` is below, away from the strip.
        """
        near = self.edge if edge is None else edge
        ring = [near[rows], near[rows + 1], beyond[rows + 1], beyond[rows]]
        return quads(np.stack(ring if self.is_left else ring[::-1], axis=1))


def outer_edges(paving: Paving) -> tuple[Side, Side]:
    """Left and right edges of all strips as they are drawn."""
    left, right = paving.lapped()
    out = np.column_stack([paving.normal, np.zeros(len(paving.normal))])
    return Side(left, out, True), Side(right, -out, False)


def wall(a: Array, b: Array, depth: Array) -> Array:
    """Upright faces below the lines a to b (n, 3), ``depth`` (n,) m high, seen with a on the left.

    (2 n, 3, 3) triangles.
    """
    down = np.zeros_like(a)
    down[:, 2] = depth
    return quads(np.stack([a, a - down, b - down, b], axis=1))
