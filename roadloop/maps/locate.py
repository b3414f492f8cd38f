"""Where a point lies on the lane graph: nearest lane, Frenet coordinates and back.

Frenet coordinates here are those of a *smooth* frame on the sampled centreline: within a segment
position c and tangent t are interpolated linearly between its two points, and ``(s, d)`` of a point
``p`` solves ``(p - c(s)) . t(s) = 0``, a quadratic per segment. Unlike the perpendicular foot on a
polyline, s does not jump where segments meet, and ``from_frenet`` inverts ``to_frenet`` exactly
inside the radius of curvature.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle

if TYPE_CHECKING:
    from scipy.spatial import KDTree

    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

HEADING_WEIGHT = 2.0
"""m per rad of heading error: the lane driven the wrong way loses to one 6 m further away"""
LANE_STRIDE = 1e6
"""m between two lanes along the third axis of the per-lane tree; more than any map is wide"""

STRIDE = 4
"""every how many points of a lane are enough to find the lanes near a place"""
NARROW = 5.0
"""m, lanes up to this width are searched apart from the few wide ones"""


@dataclass(frozen=True)
class LaneLocation:
    """Places on lanes, fields of the shape asked for."""

    lane: Array
    """int32, -1 where no lane is near enough"""
    s: Array
    """m along the lane"""
    lateral: Array
    """m, left of the centreline positive"""
    distance: Array
    """m to the centreline; more than ``|lateral|`` only beyond the lane's ends; inf for lane -1"""
    heading_error: Array
    """rad, heading asked for minus the lane's, in (-pi, pi]; 0 where no heading was given"""


@dataclass(frozen=True)
class LanesAt:
    """All lanes over each of N points, CSR: the lanes of point i are ``start[i]:start[i + 1]``."""

    start: Array
    """(N + 1,) int32"""
    lane: Array
    """int32, ascending within a point"""
    s: Array
    lateral: Array


@dataclass
class _Index:
    """What searching needs, built once per map; holds no reference to the map itself."""

    xy: Array
    tangent: Array
    lane_of_point: Array
    begin: Array  # (P,) first point row of the lane each point belongs to
    spacing: float
    trees: dict[str, tuple[KDTree, Array]] = field(default_factory=dict)


_indexes: weakref.WeakKeyDictionary[RoadMap, _Index] = weakref.WeakKeyDictionary()


def nearest_lane(
    road_map: RoadMap,
    x: Array | float,
    y: Array | float,
    heading: Array | float | None = None,
    *,
    z: Array | float | None = None,
    travel_only: bool = True,
    max_distance: float = 20.0,
) -> LaneLocation:
    """The lane nearest to each point of ``x``, ``y`` (any one shape), exactly.

    Near is the distance to the centreline; with ``heading`` (rad) plus ``HEADING_WEIGHT`` times the
    heading error, with ``z`` (m, ground height) plus the height difference, so that lanes of the
    other direction and of other levels lose. Equals go to the lane of the lower index.
    ``travel_only`` asks for DRIVING and BIDIRECTIONAL lanes; lanes whose centreline is further than
    ``max_distance`` do not count. Raises RoadloopError for coordinates that are not finite.
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    shape, points = x.shape, np.column_stack([x.ravel(), y.ravel()])
    facing = None if heading is None else np.broadcast_to(np.asarray(heading, float), shape).ravel()
    level = None if z is None else np.broadcast_to(np.asarray(z, float), shape).ravel()
    for name, values in (("position", points), ("heading", facing), ("z", level)):
        if values is not None and not np.isfinite(values).all():
            raise RoadloopError(f"nearest_lane: {name} is not finite; drop masked rows first")
    index = _index(road_map)
    tree, vertex_of = _tree(road_map, index, "travel" if travel_only else "all")
    lane = np.full(len(points), -1, np.int32)
    if len(vertex_of) == 0:
        return _located(road_map, index, lane, points, facing, shape)
    half_step = index.spacing / 2.0
    todo, k = np.arange(len(points)), 8
    while len(todo):
        k = min(k, len(vertex_of))
        reach, row = tree.query(points[todo], k=k, distance_upper_bound=max_distance + half_step)
        reach, row = np.reshape(reach, (-1, k)), np.reshape(row, (-1, k))
        found = np.isfinite(reach)
        vertex = vertex_of[np.where(found, row, 0)]
        best_cost, best_lane = np.full(len(todo), np.inf), np.full(len(todo), -1, np.int64)
        before = np.where(vertex > index.begin[vertex], vertex - 1, vertex)
        for first in (before, vertex):  # the segments that end and begin at each vertex
            cost = _segment_cost(road_map, index, first, points[todo], facing, level, todo)
            cost[0][~found | (cost[1] > max_distance)] = np.inf
            cheap = np.round(cost[0], 6)  # um: twins of one piece of ground count as equal
            low = cheap.min(axis=1)
            owner = np.where(cheap == low[:, None], index.lane_of_point[first], road_map.lanes).min(
                axis=1
            )
            better = (low < best_cost) | ((low == best_cost) & (owner < best_lane))
            best_cost = np.where(better, low, best_cost)
            best_lane = np.where(better & np.isfinite(low), owner, best_lane)
        # A segment nearer than the best has a vertex within sqrt(best^2 + (step/2)^2): all of those
        # must have been among the k looked at.
        seen = reach[:, -1]
        done = (seen > np.hypot(np.minimum(best_cost, max_distance), half_step)) | (
            k == len(vertex_of)
        )
        lane[todo[done]] = best_lane[done]
        todo, k = todo[~done], 4 * k
    return _located(road_map, index, lane, points, facing, shape)


def lanes_at(
    road_map: RoadMap, x: Array | float, y: Array | float, *, travel_only: bool = False
) -> LanesAt:
    """All lanes whose strip (centreline plus half the width each side) contains each point (N,).

    Seen from above: lanes over and under a bridge are both returned. Raises RoadloopError for
    coordinates that are not finite.
    """
    x, y = np.broadcast_arrays(np.atleast_1d(np.asarray(x, float)), np.asarray(y, float))
    x, y = x.ravel(), y.ravel()
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise RoadloopError("lanes_at: position is not finite; drop masked rows first")
    index = _index(road_map)
    pairs = [np.zeros(0, np.int64)]
    for strips in ("narrow", "wide"):
        tree, vertex_of = _tree(road_map, index, strips)
        if len(vertex_of) == 0:
            continue
        # from a point of the strip to its foot, and from there along to the next vertex kept
        radius = road_map.point_width[vertex_of].max() / 2.0 + STRIDE / 2.0 * index.spacing
        rows = tree.query_ball_point(np.column_stack([x, y]), radius + 1e-6)
        counts = np.array([len(r) for r in rows], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(rows), np.int64, counts.sum())
        lane = index.lane_of_point[vertex_of[flat]].astype(np.int64)
        pairs.append(np.unique(np.repeat(np.arange(len(x)), counts) * road_map.lanes + lane))
    pair = np.sort(np.concatenate(pairs))
    if travel_only:
        pair = pair[road_map.is_travel[pair % max(road_map.lanes, 1)]]
    point, lane = pair // max(road_map.lanes, 1), pair % max(road_map.lanes, 1)
    s, d, distance = _project(road_map, index, lane, x[point], y[point])
    low, t = _rows_at(road_map, lane, s)
    width = (1.0 - t) * road_map.point_width[low] + t * road_map.point_width[low + 1]
    # beyond the ends the distance exceeds |d|; 1 um lets the end points themselves count
    inside = (np.abs(d) <= width / 2.0) & (distance <= np.abs(d) + 1e-6)
    starts = np.searchsorted(point[inside], np.arange(len(x) + 1)).astype(np.int32)
    return LanesAt(starts, lane[inside].astype(np.int32), s[inside], d[inside])


def to_frenet(
    road_map: RoadMap, lane: Array | int, x: Array | float, y: Array | float
) -> tuple[Array, Array]:
    """``(s, d)`` of points on given lanes: m along (kept to the lane), m left of the centreline."""
    lane, x, y = np.broadcast_arrays(
        _checked(road_map, lane), np.asarray(x, float), np.asarray(y, float)
    )
    s, d, _ = _project(road_map, _index(road_map), lane.ravel(), x.ravel(), y.ravel())
    return s.reshape(lane.shape), d.reshape(lane.shape)


def from_frenet(
    road_map: RoadMap, lane: Array | int, s: Array | float, d: Array | float
) -> tuple[Array, Array, Array]:
    """World ``(x, y, heading)`` at ``s`` (kept to the lane) and ``d`` m left of the centreline."""
    lane, s, d = np.broadcast_arrays(
        _checked(road_map, lane), np.asarray(s, float), np.asarray(d, float)
    )
    low, t = _rows_at(road_map, lane, s)
    index, t = _index(road_map), t[..., None]
    centre = (1.0 - t) * index.xy[low] + t * index.xy[low + 1]
    tangent = (1.0 - t) * index.tangent[low] + t * index.tangent[low + 1]
    tangent = tangent / np.linalg.norm(tangent, axis=-1, keepdims=True)
    x = centre[..., 0] - d * tangent[..., 1]
    y = centre[..., 1] + d * tangent[..., 0]
    return x, y, np.arctan2(tangent[..., 1], tangent[..., 0])


def pose_at(
    road_map: RoadMap, lane: Array | int, s: Array | float
) -> tuple[Array, Array, Array, Array]:
    """Centreline ``(x, y, z, heading)`` at ``s`` (kept to the lane)."""
    lane, s = np.broadcast_arrays(_checked(road_map, lane), np.asarray(s, float))
    x, y, heading = from_frenet(road_map, lane, s, 0.0)
    low, t = _rows_at(road_map, lane, s)
    height = road_map.point_xyz[:, 2]
    return x, y, (1.0 - t) * height[low] + t * height[low + 1], heading


def _checked(road_map: RoadMap, lane: Array | int) -> Array:
    lane = np.asarray(lane, np.int64)
    if lane.size and (lane.min() < 0 or lane.max() >= road_map.lanes):
        wrong = int(lane.min() if lane.min() < 0 else lane.max())
        raise RoadloopError(
            f"lane {wrong} is not on map {road_map.name}, which has lanes 0 to "
            f"{road_map.lanes - 1}; mask places without a lane first"
        )
    return lane


def _index(road_map: RoadMap) -> _Index:
    index = _indexes.get(road_map)
    if index is None:
        xy = np.ascontiguousarray(road_map.point_xyz[:, :2])
        heading = road_map.point_heading
        lane_of_point = np.repeat(
            np.arange(road_map.lanes, dtype=np.int32), np.diff(road_map.point_start)
        )
        steps = np.linalg.norm(np.diff(xy, axis=0), axis=1)
        spacing = float(steps[np.diff(lane_of_point) == 0].max(initial=0.0))
        tangent = np.column_stack([np.cos(heading), np.sin(heading)])
        index = _indexes[road_map] = _Index(
            xy, tangent, lane_of_point, road_map.point_start[lane_of_point], spacing
        )
    return index


def _tree(road_map: RoadMap, index: _Index, which: str) -> tuple[KDTree, Array]:
    """A tree and the point row of each of its entries.

    "all" and "travel" (lanes) hold every point, "lane" every point with its lane as a third
    coordinate, "narrow" and "wide" (lanes) every STRIDE-th point and the last.
    """
    if which not in index.trees:
        from scipy.spatial import KDTree

        rows = np.arange(len(index.xy))
        if which == "travel":
            rows = np.flatnonzero(road_map.is_travel[index.lane_of_point])
        elif which in ("narrow", "wide") and len(rows):
            widest = np.maximum.reduceat(road_map.point_width, road_map.point_start[:-1])
            last = rows == road_map.point_start[index.lane_of_point + 1] - 1
            kept = last | ((rows - index.begin) % STRIDE == 0)
            rows = rows[kept & ((widest > NARROW)[index.lane_of_point] == (which == "wide"))]
        points = index.xy[rows]
        if which == "lane":  # the lane as a third coordinate makes "nearest on this lane" one query
            points = np.column_stack([points, LANE_STRIDE * index.lane_of_point[rows]])
        # sliding-midpoint splits build five times faster than medians and search as well here
        index.trees[which] = KDTree(points, balanced_tree=False, compact_nodes=False), rows
    return index.trees[which]


def _rows_at(road_map: RoadMap, lane: Array, s: Array) -> tuple[Array, Array]:
    """First row of the segment at ``s`` and the fraction along it (spacing is uniform per lane)."""
    first = road_map.point_start[lane].astype(np.int64)
    segments = road_map.point_start[lane + 1] - first - 1
    place = np.clip(s / road_map.lane_length[lane], 0.0, 1.0) * segments
    step = np.minimum(place.astype(np.int64), segments - 1)
    return first + step, place - step


def _segment_cost(
    road_map: RoadMap,
    index: _Index,
    first: Array,
    points: Array,
    facing: Array | None,
    level: Array | None,
    rows: Array,
) -> tuple[Array, Array]:
    """Cost and distance (n, k) of the segments that begin at rows ``first`` (n, k)."""
    second = np.minimum(first + 1, len(index.xy) - 1)
    second = np.where(index.lane_of_point[second] == index.lane_of_point[first], second, first)
    begin = index.xy[first]
    along = index.xy[second] - begin
    offset = points[:, None, :] - begin
    length2 = np.maximum((along**2).sum(-1), 1e-12)
    t = np.clip((along * offset).sum(-1) / length2, 0.0, 1.0)
    distance = np.sqrt(((offset - t[..., None] * along) ** 2).sum(-1))
    cost = distance.copy()
    if facing is not None:
        error = wrap_angle(facing[rows][:, None] - road_map.point_heading[first])
        cost += HEADING_WEIGHT * np.abs(error)
    if level is not None:
        height = road_map.point_xyz[:, 2]
        ground = (1.0 - t) * height[first] + t * height[second]
        cost += np.abs(level[rows][:, None] - ground)
    return cost, distance


def _project(
    road_map: RoadMap, index: _Index, lane: Array, x: Array, y: Array
) -> tuple[Array, Array, Array]:
    """``(s, d, distance)`` of flat points on given lanes, see the module's head."""
    points = np.column_stack([x, y])
    if not np.isfinite(points).all():
        raise RoadloopError("to_frenet: position is not finite; drop masked rows first")
    tree, rows = _tree(road_map, index, "lane")
    _, row = tree.query(np.column_stack([points, LANE_STRIDE * np.asarray(lane, float)]))
    begin = road_map.point_start[lane].astype(np.int64)
    end = road_map.point_start[lane + 1].astype(np.int64) - 1
    return project_polyline(
        index.xy, index.tangent, road_map.point_s, points, rows[row], begin, end
    )


def project_polyline(
    xy: Array, tangent: Array, arc: Array, points: Array, nearest: Array, begin: Array, end: Array
) -> tuple[Array, Array, Array]:
    """``(s, d, distance)``, each (n,), of ``points`` (n, 2) on polylines with vertex tangents.

    ``xy`` and ``tangent`` are (P, 2), ``arc`` (P,) the arc length at each vertex; point i lies near
    vertex ``nearest[i]`` of the polyline of rows ``begin[i]`` to ``end[i]`` inclusive.
    """

    def ahead(row: Array) -> Array:  # positive where the point lies beyond the row's normal
        return ((points - xy[row]) * tangent[row]).sum(-1)

    low = np.clip(np.where(ahead(nearest) >= 0.0, nearest, nearest - 1), begin, end - 1)
    for _ in range(4):  # the nearest vertex is at most a few rows from the owning segment
        step = (ahead(low + 1) > 0.0).astype(np.int64) - (ahead(low) < 0.0)
        moved = np.clip(low + step, begin, end - 1)
        if (moved == low).all():
            break
        low = moved
    c0, edge = xy[low], xy[low + 1] - xy[low]
    t0, turn = tangent[low], tangent[low + 1] - tangent[low]
    offset = points - c0
    # (offset - t edge) . (t0 + t turn) = 0, the root that is continuous with straight segments
    a = -(edge * turn).sum(-1)
    b = (offset * turn).sum(-1) - (edge * t0).sum(-1)
    c = (offset * t0).sum(-1)
    root = -b + np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))
    t = np.clip(2.0 * c / np.where(np.abs(root) < 1e-12, 1e-12, root), 0.0, 1.0)[:, None]
    normal = t0 + t * turn
    normal = np.column_stack([-normal[:, 1], normal[:, 0]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    gap = offset - t * edge
    s = arc[low] + t[:, 0] * (arc[low + 1] - arc[low])
    return s, (gap * normal).sum(-1), np.linalg.norm(gap, axis=1)


def _located(
    road_map: RoadMap,
    index: _Index,
    lane: Array,
    points: Array,
    facing: Array | None,
    shape: tuple[int, ...],
) -> LaneLocation:
    s, d, error = (np.zeros(len(lane)) for _ in range(3))
    distance = np.full(len(lane), np.inf)
    on = np.flatnonzero(lane >= 0)
    if len(on):
        s[on], d[on], distance[on] = _project(
            road_map, index, lane[on], points[on, 0], points[on, 1]
        )
        if facing is not None:
            error[on] = wrap_angle(facing[on] - from_frenet(road_map, lane[on], s[on], 0.0)[2])
    return LaneLocation(*(v.reshape(shape) for v in (lane, s, d, distance, error)))
