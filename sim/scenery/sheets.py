"""Heights of stacked surfaces: what lies over or under a point, on which triangle, how high."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

_EDGE = 1e-6
"""barycentric slack, so that no point falls between two triangles that share an edge"""


class Sheets:
    """Triangles seen from above; several may lie over one another (bridges, overlapping lanes)."""

    def __init__(self, triangles: Array) -> None:
        """``triangles`` (T, 3, 3) m; those without area from above are never met."""
        import shapely

        self.triangles = triangles
        low, high = triangles[..., :2].min(1), triangles[..., :2].max(1)
        self._tree = shapely.STRtree(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))

    def under(self, xy: Array) -> tuple[Array, Array, Array]:
        """All surfaces at points (n, 2): (k,) point, (k,) triangle and (k,) height in m."""
        import shapely

        point, triangle = self._tree.query(shapely.points(xy))
        a, b, c = np.moveaxis(self.triangles[triangle], 1, 0)
        u, v, p = b[:, :2] - a[:, :2], c[:, :2] - a[:, :2], xy[point] - a[:, :2]
        area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        safe = np.where(area == 0.0, 1.0, area)
        s = (p[:, 0] * v[:, 1] - p[:, 1] * v[:, 0]) / safe
        t = (u[:, 0] * p[:, 1] - u[:, 1] * p[:, 0]) / safe
        hit = (area != 0.0) & (s >= -_EDGE) & (t >= -_EDGE) & (s + t <= 1.0 + _EDGE)
        z = a[:, 2] + s * (b[:, 2] - a[:, 2]) + t * (c[:, 2] - a[:, 2])
        return point[hit], triangle[hit], z[hit]

    def top(self, xyz: Array, down: float, up: float) -> Array:
        """(n,) m: the highest surface from ``down`` below points (n, 3) to ``up`` above them.

        -inf where there is none.
        """
        point, _, z = self.under(xyz[:, :2])
        above = z - xyz[point, 2]
        near = (above >= -down) & (above <= up)
        highest = np.full(len(xyz), -np.inf)
        np.maximum.at(highest, point[near], z[near])
        return highest
