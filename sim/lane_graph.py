"""A RoadMap as Warp arrays: what the simulator's kernels read, on the CPU or a GPU.

Positions are float32 metres from ``origin`` (the middle of the map), so that a map in UTM
coordinates keeps millimetres. Centreline points are evenly spaced within a lane, which makes the
point at arc length ``s`` an index and projection onto a lane two Newton steps.

The grid lists, per cell, every lane whose strip touches the cell together with the nearest point on
it: locating a box or testing its corners for off-road looks at these few candidates only.
"""

from __future__ import annotations

import weakref

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind, RoadMap
from sim.driving_line import fill_driving_lines, unwrapped

CELL = 4.0
"""m, edge of a grid cell; doubled until a map fits MAX_CELLS"""
MAX_CELLS = 4_000_000

LEVEL = wp.constant(3.0)
"""m of height difference from which two things are on different levels of a bridge"""

# Lanes a wheel may stand on without being off the road, here and in the off-road score term.
SURFACE_KINDS = (
    LaneKind.DRIVING,
    LaneKind.BIDIRECTIONAL,
    LaneKind.SHOULDER,
    LaneKind.PARKING,
    LaneKind.BIKING,
)


@wp.struct
class Point:
    """One centreline point."""

    x: wp.float32
    y: wp.float32
    z: wp.float32
    heading: wp.float32  # not wrapped: continuous along the lane
    curvature: wp.float32
    width: wp.float32
    line: wp.float32  # m left of the centreline where traffic drives; not 0 in corners cut
    line_heading: wp.float32
    line_curvature: wp.float32
    speed_cap: wp.float32  # for the bend here and those after it on this lane


@wp.struct
class Lane:
    """One lane; the kernels read these fields together."""

    point: wp.int32  # first of its points
    points: wp.int32
    length: wp.float32
    spacing: wp.float32
    limit: wp.float32
    junction: wp.int32
    travel: wp.int32
    tightest: wp.float32  # 1/m, largest curvature of its driving line
    onward: wp.int32  # 1 where traffic drives on, 0 on the way to a dead end
    left: wp.int32  # neighbour one may change to, -1
    right: wp.int32
    successor: wp.int32  # rows of LaneGraph.successor
    successors: wp.int32
    predecessor: wp.int32
    predecessors: wp.int32
    stop: wp.int32  # rows of LaneGraph.stop
    stops: wp.int32
    conflict: wp.int32
    conflicts: wp.int32


@wp.struct
class StopLine:
    s: wp.float32
    signal: wp.int32
    kind: wp.int32  # SignalKind


@wp.struct
class Conflict:
    """Ground a lane shares with another one."""

    lane: wp.int32
    kind: wp.int32
    s_from: wp.float32
    s_to: wp.float32
    other_from: wp.float32
    other_to: wp.float32
    give_way: wp.int32


@wp.struct
class LaneGraph:
    """Everything of a map the kernels need."""

    lane: wp.array(dtype=Lane)
    point: wp.array(dtype=Point)
    successor: wp.array(dtype=wp.int32)
    predecessor: wp.array(dtype=wp.int32)
    stop: wp.array(dtype=StopLine)
    conflict: wp.array(dtype=Conflict)
    origin_x: wp.float64
    origin_y: wp.float64
    grid_x: wp.float32  # lower left corner, from the origin
    grid_y: wp.float32
    cell: wp.float32
    columns: wp.int32
    rows: wp.int32
    cell_start: wp.array(dtype=wp.int32)
    cell_lane: wp.array(dtype=wp.int32)
    cell_point: wp.array(dtype=wp.int32)  # nearest point on that lane, counted from its first


_cache: weakref.WeakKeyDictionary[RoadMap, dict[str, LaneGraph]] = weakref.WeakKeyDictionary()


def lane_graph(road_map: RoadMap, device: str = "cpu") -> LaneGraph:
    """The map on ``device``; built once per map and device.

    Raises:
        RoadloopError: the map has no lane to drive on.
    """
    per_device = _cache.setdefault(road_map, {})
    if device not in per_device:
        per_device[device] = _build(road_map, device)
    return per_device[device]


def _build(m: RoadMap, device: str) -> LaneGraph:
    if not m.is_travel.any():
        raise RoadloopError(
            f"map {m.name} has no driving lane: choose another map or check its lane types"
        )
    xy = m.point_xyz[:, :2]
    origin = np.round((xy.min(0) + xy.max(0)) / 2.0)
    points = np.zeros(len(xy), Point.numpy_dtype())
    points["x"], points["y"] = (xy - origin).T
    points["z"] = m.point_xyz[:, 2]
    points["heading"] = unwrapped(m, m.point_heading)
    points["curvature"] = m.point_curvature
    points["width"] = m.point_width
    tightest = fill_driving_lines(m, points)
    points["line_heading"] = unwrapped(m, points["line_heading"])

    stop_order = np.argsort(m.stop_lane, kind="stable")
    stops = np.zeros(len(stop_order), StopLine.numpy_dtype())
    stops["s"] = m.stop_s[stop_order]
    stops["signal"] = m.stop_signal[stop_order]
    stops["kind"] = m.signal_kind[m.stop_signal[stop_order]]
    stop_start = np.searchsorted(m.stop_lane[stop_order], np.arange(m.lanes + 1))

    conflicts = np.zeros(len(m.conflict_lane), Conflict.numpy_dtype())
    for name, source in (
        ("lane", m.conflict_lane),
        ("kind", m.conflict_kind),
        ("s_from", m.conflict_from),
        ("s_to", m.conflict_to),
        ("other_from", m.conflict_other_from),
        ("other_to", m.conflict_other_to),
        ("give_way", m.conflict_yield),
    ):
        conflicts[name] = source

    count = np.diff(m.point_start)
    lanes = np.zeros(m.lanes, Lane.numpy_dtype())
    lanes["point"], lanes["points"] = m.point_start[:-1], count
    lanes["length"] = m.lane_length
    lanes["spacing"] = m.lane_length / (count - 1)
    lanes["limit"] = m.lane_speed_limit
    lanes["junction"] = m.lane_junction
    lanes["travel"] = m.is_travel
    lanes["tightest"] = tightest
    lanes["onward"] = _onward(m)
    lanes["left"] = np.where(m.lane_change_left, m.lane_left, -1)
    lanes["right"] = np.where(m.lane_change_right, m.lane_right, -1)
    for one, many, start in (
        ("successor", "successors", m.successor_start),
        ("predecessor", "predecessors", m.predecessor_start),
        ("stop", "stops", stop_start),
        ("conflict", "conflicts", m.conflict_start),
    ):
        lanes[one], lanes[many] = start[:-1], np.diff(start)

    graph = LaneGraph()
    graph.lane = wp.array(lanes, dtype=Lane, device=device)
    graph.point = wp.array(points, dtype=Point, device=device)
    graph.successor = wp.array(m.successor, dtype=wp.int32, device=device)
    graph.predecessor = wp.array(m.predecessor, dtype=wp.int32, device=device)
    graph.stop = wp.array(stops, dtype=StopLine, device=device)
    graph.conflict = wp.array(conflicts, dtype=Conflict, device=device)
    graph.origin_x, graph.origin_y = origin
    _fill_grid(graph, m, points, device)
    return graph


def _onward(m: RoadMap) -> np.ndarray:
    """(L,) 1 where an endless drive is possible: lanes that can still reach a cycle.

    On a map that is mostly ways in and out (a single junction, a motorway) traffic is to leave it,
    not to circle in a roundabout for ever: there every lane counts.
    """
    source = np.repeat(np.arange(m.lanes), np.diff(m.successor_start))
    onward = _pruned(m.is_travel, source, m.successor)
    core = _pruned(onward, m.successor, source)  # not the ways in either
    share = m.lane_length[core].sum() / m.lane_length[m.is_travel].sum()
    return onward if share > 0.5 else m.is_travel


def _pruned(lanes: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(L,) the lanes without those whose edges (source -> target) lead nowhere in the end."""
    while True:
        live = lanes[source] & lanes[target]
        still = lanes & (np.bincount(source[live], minlength=len(lanes)) > 0)
        if (still == lanes).all():
            return still
        lanes = still


def _fill_grid(graph: LaneGraph, m: RoadMap, points: np.ndarray, device: str) -> None:
    margin = 0.8  # m beyond the strip, more than half a sampling step
    lane_of_point = np.repeat(np.arange(m.lanes), np.diff(m.point_start))
    use = np.isin(m.lane_kind, SURFACE_KINDS)[lane_of_point]
    x, y, heading = (points[k][use].astype(float) for k in ("x", "y", "heading"))
    half = points["width"][use] / 2.0 + margin
    lane = lane_of_point[use]
    index = (np.arange(len(points)) - m.point_start[:-1][lane_of_point])[use]
    low = np.array([x.min(), y.min()]) - half.max()
    size = np.array([x.max(), y.max()]) + half.max() - low
    cell = CELL
    while np.prod(np.ceil(size / cell)) > MAX_CELLS:
        cell *= 2.0
    columns, rows = (int(n) for n in np.ceil(size / cell))
    # Stamp every lane's strip into the cells, in lateral steps finer than a quarter cell.
    steps = int(np.ceil(2.0 * half.max() / min(1.0, cell / 4.0))) + 1
    keys, who = [], []
    for share in np.linspace(-1.0, 1.0, steps):
        cx = ((x - share * half * np.sin(heading) - low[0]) / cell).astype(np.int64)
        cy = ((y + share * half * np.cos(heading) - low[1]) / cell).astype(np.int64)
        key = (cy * columns + cx) * m.lanes + lane
        fresh = np.flatnonzero(np.append(True, key[1:] != key[:-1]))  # first of each run
        last = np.append(fresh[1:], len(key)) - 1
        keys.append(key[fresh])
        who.append((index[fresh] + index[last]) // 2)
    key, pick = np.concatenate(keys), np.concatenate(who)
    order = np.argsort(key, kind="stable")
    key, pick = key[order], pick[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    count = np.diff(np.append(first, len(key)))
    middle = pick[first + count // 2]
    cells = key[first] // m.lanes
    graph.grid_x, graph.grid_y = low
    graph.cell, graph.columns, graph.rows = cell, columns, rows
    start = np.searchsorted(cells, np.arange(columns * rows + 1))
    graph.cell_start = wp.array(start, dtype=wp.int32, device=device)
    graph.cell_lane = wp.array(key[first] % m.lanes, dtype=wp.int32, device=device)
    graph.cell_point = wp.array(middle, dtype=wp.int32, device=device)


@wp.struct
class Place:
    """A point seen from a lane."""

    s: wp.float32  # m along the lane; below 0 or above its length beyond its ends
    lateral: wp.float32  # m left of the centreline
    heading: wp.float32  # of the lane there, not wrapped
    width: wp.float32
    z: wp.float32


@wp.func
def wrap(angle: wp.float32):
    """Angle in (-pi, pi], for inputs within a few turns."""
    turns = wp.floor((angle + wp.PI) / (2.0 * wp.PI))
    return angle - turns * 2.0 * wp.PI


@wp.func
def point_at(g: LaneGraph, lane: wp.int32, s: wp.float32):
    """The centreline point at arc length ``s`` (clamped to the lane), linearly interpolated."""
    row = g.lane[lane]
    u = wp.clamp(s / row.spacing, 0.0, wp.float32(row.points - 1))
    k = wp.min(wp.int32(u), row.points - 2)
    f = u - wp.float32(k)
    a = g.point[row.point + k]
    b = g.point[row.point + k + 1]
    p = Point()
    p.x = a.x + f * (b.x - a.x)
    p.y = a.y + f * (b.y - a.y)
    p.z = a.z + f * (b.z - a.z)
    p.heading = a.heading + f * (b.heading - a.heading)
    p.curvature = a.curvature + f * (b.curvature - a.curvature)
    p.width = a.width + f * (b.width - a.width)
    p.line = a.line + f * (b.line - a.line)
    p.line_heading = a.line_heading + f * (b.line_heading - a.line_heading)
    p.line_curvature = a.line_curvature + f * (b.line_curvature - a.line_curvature)
    p.speed_cap = wp.min(a.speed_cap, b.speed_cap)
    return p


@wp.func
def project(g: LaneGraph, lane: wp.int32, x: wp.float32, y: wp.float32, guess: wp.float32):
    """Where a point lies on a lane, from a guess of its arc length.

    Walks from segment to segment of the centreline, as far as the foot of the perpendicular says;
    straight on beyond the lane's ends.
    """
    row = g.lane[lane]
    last = row.points - 2
    k = wp.clamp(wp.int32(guess / row.spacing), 0, last)
    f = float(0.0)
    ux = float(0.0)
    uy = float(0.0)
    dx = float(0.0)
    dy = float(0.0)
    came = int(-1)
    for walk in range(6):
        first = row.point + k
        ux = g.point[first + 1].x - g.point[first].x
        uy = g.point[first + 1].y - g.point[first].y
        dx = x - g.point[first].x
        dy = y - g.point[first].y
        f = (dx * ux + dy * uy) / (ux * ux + uy * uy)
        onto = wp.clamp(k + wp.int32(wp.floor(wp.clamp(f, -1.0e6, 1.0e6))), 0, last)
        # Outside a corner the feet say "next" and "previous" by turns: the corner it is.
        if onto == k or onto == came or walk == 5:
            break
        came = k
        k = onto
    a = g.point[row.point + k]
    b = g.point[row.point + k + 1]
    out = Place()
    # Outside the bend of two segments the nearest point is their common one.
    inside = wp.clamp(f, 0.0, 1.0)
    share = inside
    if (k == 0 and f < 0.0) or (k == last and f > 1.0):
        share = f
    out.s = (wp.float32(k) + share) * row.spacing
    out.lateral = (ux * dy - uy * dx) / wp.sqrt(ux * ux + uy * uy)
    out.heading = a.heading + inside * (b.heading - a.heading)
    out.width = a.width + inside * (b.width - a.width)
    out.z = a.z + inside * (b.z - a.z)
    return out


@wp.func
def cell_of(g: LaneGraph, x: wp.float32, y: wp.float32):
    """Grid cell of a point, -1 outside the grid."""
    i = wp.int32(wp.floor((x - g.grid_x) / g.cell))
    j = wp.int32(wp.floor((y - g.grid_y) / g.cell))
    if i < 0 or j < 0 or i >= g.columns or j >= g.rows:
        return -1
    return j * g.columns + i


@wp.func
def on_surface(g: LaneGraph, x: wp.float32, y: wp.float32, z: wp.float32, tolerance: wp.float32):
    """Whether a point lies on a lane a wheel may use, or within ``tolerance`` m of one."""
    cell = cell_of(g, x, y)
    if cell < 0:
        return False
    for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
        lane = g.cell_lane[k]
        at = project(g, lane, x, y, wp.float32(g.cell_point[k]) * g.lane[lane].spacing)
        inside = wp.abs(at.lateral) <= at.width * 0.5 + tolerance and wp.abs(at.z - z) < LEVEL
        if inside and at.s >= -tolerance - 0.05 and at.s <= g.lane[lane].length + tolerance + 0.05:
            return True
    return False
