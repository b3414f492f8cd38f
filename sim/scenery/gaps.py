"""The ground between the lanes of a junction that is road as well, though no lane covers it."""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.maps.area import united
from roadloop.maps.road_map import LaneKind, RoadMap
from sim.scenery.ribbons import LONGEST, TOLERANCE, thinned

Array = np.ndarray

CLOSE = 2.0
"""m, gaps up to twice this wide are paved"""
ISLAND, SPLITTER, CORNER = 60.0, 20.0, 150.0
"""m^2, holes up to this size are paved: any, those at a roundabout, where larger ones are islands,
and those by a pavement"""
BESIDE = 2.5
"""m, a hole this close to a pavement is what the lanes leave open at the corner of two streets"""
SEAM, UNDER = 0.03, 0.1
"""m: the lanes' strips cover seams up to twice SEAM wide; other gaps reach UNDER the strips"""
LEVEL = 3.0
"""m in height that lanes of a junction differ at most from those around it"""


def junction_gaps(road_map: RoadMap, left: Array, right: Array) -> tuple[Array, Array]:
    """Triangles (G, 3, 3) that pave what lanes leave open in junctions, and (G,) their junctions.

    ``left`` and ``right`` (P, 3) are the edges of all lanes; heights are theirs nearby.
    """
    import shapely
    from scipy.spatial import KDTree

    sparse = thinned(np.stack([left, right], 1), road_map.point_start, 0.05, 1e9)
    rings, owner = [], []
    for lane in range(road_map.lanes):
        rows = np.arange(*road_map.point_start[lane : lane + 2].tolist())
        rows = rows[sparse[rows]]
        rings.append(np.concatenate([right[rows, :2], left[rows[::-1], :2]]))
        owner.append(np.full(len(rings[-1]), lane))
    lines = shapely.linearrings(np.concatenate(rings), indices=np.concatenate(owner))
    strips = np.asarray(shapely.make_valid(shapely.polygons(lines), method="structure"))
    bottom = np.minimum.reduceat(road_map.point_xyz[:, 2], road_map.point_start[:-1])
    top = np.maximum.reduceat(road_map.point_xyz[:, 2], road_map.point_start[:-1])
    walk = road_map.lane_kind == LaneKind.SIDEWALK
    tree = shapely.STRtree(strips)

    triangles, junctions = [np.zeros((0, 3, 3))], [np.zeros(0, int)]
    for junction in range(len(road_map.junction_id)):
        own = np.flatnonzero(road_map.lane_junction == junction)
        if not len(own):
            continue
        hull = shapely.convex_hull(shapely.geometrycollections(strips[own].tolist()))
        near = np.sort(tree.query(shapely.buffer(hull, 1.0), predicate="intersects"))
        low, high = bottom[own].min() - LEVEL, top[own].max() + LEVEL
        near = near[(bottom[near] < high) & (top[near] > low)]
        around = shapely.box(*shapely.buffer(hull, 2.0 * CLOSE).bounds)
        local = np.asarray(shapely.intersection(strips[near], around))
        paved = united(local.tolist(), 0.02)
        pavements = shapely.geometrycollections(local[walk[near]].tolist())
        filled = united([paved], 2.0 * CLOSE)
        island = SPLITTER if road_map.junction_is_roundabout[junction] else ISLAND
        parts = shapely.get_parts(filled)
        filled = [_without_small_holes(part, island, pavements) for part in parts]
        gap = shapely.intersection(shapely.union_all(filled), hull).difference(paved)
        # the strips overlap seams; what is wider reaches under them
        gap = shapely.buffer(shapely.buffer(gap, -SEAM, quad_segs=1), UNDER, quad_segs=1)
        pieces = [p for p in shapely.get_parts(gap) if p.area > 0.0]
        if not pieces:
            continue
        cut = shapely.constrained_delaunay_triangles(shapely.simplify(pieces, TOLERANCE))
        flat = shapely.get_coordinates(shapely.get_parts(shapely.get_parts(cut)))
        flat = flat.reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
        rows = np.concatenate([np.arange(*road_map.point_start[k : k + 2].tolist()) for k in near])
        edges = np.concatenate([left[rows], right[rows]])
        edges = edges[(edges[:, 2] > low) & (edges[:, 2] < high)]
        distance, nearest = KDTree(edges[:, :2]).query(flat, k=4)
        weight = 1.0 / (distance + 0.05) ** 2
        z = np.sum(weight * edges[nearest, 2], axis=1) / weight.sum(1)
        found = _counter_clockwise(np.column_stack([flat, z]).reshape(-1, 3, 3))
        found = _short(found)
        triangles.append(found)
        junctions.append(np.full(len(found), junction))
    return np.concatenate(triangles), np.concatenate(junctions)


def _without_small_holes(part: Any, island: float, pavements: Any) -> Any:
    """A shapely polygon without the holes that are to be paved: small ones and corners."""
    import shapely

    kept = []
    for ring in part.interiors:
        hole = shapely.Polygon(ring)
        beside = hole.area <= CORNER and shapely.distance(hole, pavements) < BESIDE
        if hole.area > island and not beside:
            kept.append(ring)
    return shapely.Polygon(part.exterior, kept)


def _counter_clockwise(triangles: Array) -> Array:
    """The triangles facing up."""
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    down = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    return np.where(down[:, None, None], triangles[:, [0, 2, 1]], triangles)


def _short(triangles: Array) -> Array:
    """The triangles, those with an edge longer than LONGEST halved until none has."""
    done = []
    while len(triangles):
        edge = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
        longest = edge.argmax(1)
        fine = edge.max(1) <= LONGEST
        done.append(triangles[fine])
        rest, k = triangles[~fine], longest[~fine, None]
        order = (k + np.arange(3)) % 3
        a, b, c = np.moveaxis(np.take_along_axis(rest, order[..., None], axis=1), 1, 0)
        m = (a + b) / 2.0
        triangles = np.concatenate([np.stack([a, m, c], 1), np.stack([m, b, c], 1)])
    return np.concatenate(done) if done else triangles
