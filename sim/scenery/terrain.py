"""The land around the roads: a height grid that runs a little below every lane, and a distance map.

The height is found in three steps. (1) The lower envelope of all lane points under cones of
``SLOPE``: where roads cross on two levels it follows the lower one, and a road more than
``EMBANKED`` above it stands on a bridge. (2) A membrane over the grid, fitted ``DROP`` below the
lane points that lie on the ground: min |A h - (z - DROP)|^2 + STIFF |grad h|^2, so that the land
runs on level where there are no roads. (3) Nodes are lowered until every lane point, bridges
included, has ``GAP`` under it; as heights within a triangle are convex combinations of its
corners', one pass of "lower all three corners by what is missing" is enough.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.area import lane_borders
from roadloop.maps.road_map import RoadMap
from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, joined, mesh_of

Array = np.ndarray

CELL = 8.0
"""m, spacing of the height grid"""
MARGIN = 150.0
"""m of land beyond the roads"""
CELLS = 40_000
"""cells at most; larger maps get wider ones"""
DROP = 0.2
"""m, how far the land aims to lie below the roads"""
GAP = 0.13
"""m, what there is at least between land and a road"""
SLOPE = 0.35
"""steepest side of an embankment, rise over run; steeper than any road"""
EMBANKED = 1.5
"""m over the envelope; roads higher than this are bridges"""
FITTED = 4
"""the membrane is fitted to every so many of the points, which lie 1 m apart along the lanes"""
STIFF = 0.005
"""weight of the membrane over that of one lane point"""
ACROSS = np.linspace(-1.0, 1.0, 5)
"""where a lane's surface is sampled across, right edge to left edge"""
FINE, FINE_CELLS = 0.5, 12_000_000
"""m, cell of the distance map, and how many at most"""

GRASS_RGB = np.array([0.105, 0.165, 0.045])
"""linear reflectance of meadow grass"""
DRY = np.array([0.5, 0.1, 0.2])
"""by how much dry grass is brighter"""
SOIL_RGB = np.array([0.175, 0.13, 0.075])
SOIL_SHARE = 0.03
"""share of the land that is bare"""


@dataclass(frozen=True, eq=False)
class Terrain:
    """Heights on an upright grid of nodes, each cell cut into two triangles from its low corner."""

    origin: Array
    """(2,) m, x and y of the first node"""
    cell: float
    """m"""
    heights: Array
    """(rows, columns) m, rows along y"""
    fine_origin: Array
    """(2,) m, centre of the first cell of the distance map"""
    fine_cell: float
    distance: Array
    """(rows, columns) float32 m, signed distance to the nearest lane edge, negative on lanes"""

    @classmethod
    def of(cls, road_map: RoadMap) -> Terrain:
        """The land of a map, made once per map. RoadloopError without lanes."""
        if road_map not in _made:
            _made[road_map] = cls._formed(road_map)
        return _made[road_map]

    @classmethod
    def _formed(cls, road_map: RoadMap) -> Terrain:
        if road_map.lanes == 0:
            raise RoadloopError(f"map {road_map.name} has no lanes, so there is no land around it")
        borders = [lane_borders(road_map, lane) for lane in range(road_map.lanes)]
        left = np.concatenate([a for a, _ in borders])
        right = np.concatenate([b for _, b in borders])
        share = (ACROSS + 1.0) / 2.0
        points = (right + share[:, None, None] * (left - right))[:, ::2]  # (across, P / 2, 3)
        low = points[..., :2].min((0, 1)) - MARGIN
        size = points[..., :2].max((0, 1)) + MARGIN - low
        cell = max(CELL, float(np.sqrt(size[0] * size[1] / CELLS)))
        columns, rows = (np.ceil(size / cell).astype(int) + 1).tolist()
        heights = _heights(points, low, cell, (rows, columns))
        fine = max(FINE, float(np.sqrt(size[0] * size[1] / FINE_CELLS)))
        shape = tuple(np.ceil(size[::-1] / fine).astype(int).tolist())
        distance = _distance(borders, low, fine, shape)
        return cls(low, cell, heights, low + fine / 2.0, fine, distance)

    def height(self, xy: Array) -> Array:
        """(n, 2) -> (n,) m, height of the land; beyond the grid that of its edge."""
        node, weight = _corners(np.asarray(xy, float), self.origin, self.cell, self.heights.shape)
        return np.sum(self.heights.ravel()[node] * weight, axis=1)

    def clearance(self, xy: Array) -> Array:
        """(n, 2) -> (n,) m to the nearest edge of a lane of any kind, negative on lanes.

        Good to a cell of the distance map, mostly half of one (0.5 m; more on maps above 3 km^2).
        """
        at = (np.asarray(xy, float) - self.fine_origin) / self.fine_cell
        last = np.array(self.distance.shape[::-1]) - 1
        inside = np.clip(at, 0.0, last)
        low = np.minimum(inside.astype(int), last - 1)
        u, v = (inside - low).T
        x, y = low.T
        d = self.distance
        near = (1 - v) * ((1 - u) * d[y, x] + u * d[y, x + 1])
        near += v * ((1 - u) * d[y + 1, x] + u * d[y + 1, x + 1])
        return near + np.hypot(*(at - inside).T) * self.fine_cell

    def mesh(self, seed: int = 0) -> Mesh:
        """Grass with patches of bare soil, two triangles per cell, TERRAIN."""
        from scipy.ndimage import gaussian_filter

        rows, columns = self.heights.shape
        x = self.origin[0] + self.cell * np.arange(columns)
        y = self.origin[1] + self.cell * np.arange(rows)
        node = np.dstack([*np.meshgrid(x, y), self.heights])
        a, b = node[:-1, :-1], node[:-1, 1:]
        c, d = node[1:, 1:], node[1:, :-1]
        corners = np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)], 2)

        rng = np.random.default_rng(seed)
        spot = gaussian_filter(rng.standard_normal((rows - 1, columns - 1)), 1.0, mode="reflect")
        field = gaussian_filter(rng.standard_normal((rows - 1, columns - 1)), 4.0, mode="reflect")
        spot, field = spot / max(spot.std(), 1e-9), field / max(field.std(), 1e-9)
        light = 1.0 + 0.12 * field[..., None] + 0.05 * rng.standard_normal((*field.shape, 2))
        dry = np.clip(0.5 + 0.2 * field + 0.15 * spot, 0.0, 1.0)[..., None, None]
        tint = GRASS_RGB * (1.0 + dry * DRY)
        grass = np.clip(light[..., None] * tint, 0.0, 1.0)
        soil = np.clip(light[..., None] * SOIL_RGB, 0.0, 1.0)
        patch = spot[..., None] + 0.3 * rng.standard_normal(light.shape)
        bare = patch > np.quantile(patch, 1.0 - SOIL_SHARE)
        parts = [(grass, ~bare, Surface.GRASS), (soil, bare, Surface.SOIL)]
        return joined(
            [
                mesh_of(corners[mask], colour[mask], surface, SemanticClass.TERRAIN)
                for colour, mask, surface in parts
            ]
        )


_made: weakref.WeakKeyDictionary[RoadMap, Terrain] = weakref.WeakKeyDictionary()


def _corners(xy: Array, origin: Array, cell: float, shape: tuple[int, int]) -> tuple[Array, Array]:
    """(n, 2) -> the three grid nodes around each, (n, 3) flat indices, and their (n, 3) weights."""
    rows, columns = shape
    at = np.clip((xy - origin) / cell, 0.0, [columns - 1, rows - 1])
    low = np.minimum(at.astype(int), [columns - 2, rows - 2])
    u, v = (at - low).T
    first = low[:, 1] * columns + low[:, 0]
    lower = u >= v  # the triangle of (0, 0), (1, 0), (1, 1); else (0, 0), (1, 1), (0, 1)
    node = np.stack([first, first + np.where(lower, 1, columns), first + columns + 1], axis=1)
    weight = np.stack([1.0 - np.maximum(u, v), np.abs(u - v), np.minimum(u, v)], axis=1)
    return node, weight


def _heights(points: Array, origin: Array, cell: float, shape: tuple[int, int]) -> Array:
    """Node heights (rows, columns) below lane points (across, P, 3)."""
    from scipy.sparse import coo_matrix, diags, kron
    from scipy.sparse.linalg import spsolve

    rows, columns = shape
    nodes = rows * columns
    everywhere = points.reshape(-1, 3)
    node, weight = _corners(everywhere[:, :2], origin, cell, shape)

    # normal equations of the fit, and the grid's graph Laplacian
    grounded = everywhere[:, 2] < _envelope(everywhere, origin, cell, shape) + EMBANKED
    held = np.flatnonzero(grounded)[::FITTED]
    n, w, z = node[held], weight[held], everywhere[held, 2] - DROP
    pairs = (np.repeat(n, 3, axis=1).ravel(), np.tile(n, 3).ravel())
    products = (w[:, :, None] * w[:, None, :]).ravel()
    fit = coo_matrix((products, pairs), shape=(nodes, nodes)).tocsr()
    right = np.bincount(n.ravel(), (w * z[:, None]).ravel(), minlength=nodes)
    rise = [diags([-1.0, 1.0], [0, 1], shape=(k - 1, k)) for k in shape]  # type: ignore[list-item]
    along = [(step.T @ step) for step in rise]
    flat = kron(along[0], diags(np.ones(columns))) + kron(diags(np.ones(rows)), along[1])
    h = np.asarray(spsolve((fit + STIFF * flat).tocsc(), right))

    for share in (0.4, 0.6, 1.0):
        missing = share * (np.sum(h[node] * weight, axis=1) - everywhere[:, 2] + GAP)
        over = np.flatnonzero(missing > 0.0)
        lower = np.zeros(nodes)
        np.maximum.at(lower, node[over].ravel(), np.repeat(missing[over], 3))
        h = h - lower
    return h.reshape(shape)


def _envelope(points: Array, origin: Array, cell: float, shape: tuple[int, int]) -> Array:
    """(n,) m: the lowest lane height around each point, rising at SLOPE with the distance."""
    from scipy.ndimage import grey_erosion

    half = cell / 2.0
    size = (2 * shape[0], 2 * shape[1])
    x, y = ((points[:, :2] - origin) / half).astype(int).T
    top = points[:, 2].max()
    low = np.full(size, top)
    np.minimum.at(low, (y, x), points[:, 2])
    far = np.hypot(*np.mgrid[-1:2, -1:2]) * half * SLOPE
    while True:  # each round carries the cones one cell further, until they reach the top
        wider = grey_erosion(low, size=(3, 3), structure=-far, mode="nearest")
        if np.array_equal(wider, low):
            return low[y, x]
        low = wider


def _distance(
    borders: list[tuple[Array, Array]], origin: Array, cell: float, shape: tuple[int, ...]
) -> Array:
    """Signed distance (rows, columns) float32 from cell centres to the edge of the lanes."""
    import cv2

    shift = 4  # cv2 takes corners in 1/16 of a cell
    lanes = np.zeros(shape, np.uint8)
    for left, right in borders:
        ring = np.concatenate([left[:, :2], right[::-1, :2]])
        at = np.round(((ring - origin) / cell - 0.5) * 2**shift).astype(np.int32)
        cv2.fillPoly(lanes, [at], 1, shift=shift)
    outside = cv2.distanceTransform(1 - lanes, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(lanes, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # both count to the nearest cell centre beyond the edge; as cells that the edge cuts are filled,
    # the last filled centre lies a quarter of a cell outside on average, the next one three
    return (np.where(lanes > 0, 0.75 - inside, outside + 0.25) * cell).astype(np.float32)
