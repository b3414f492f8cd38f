"""Who crosses whom: shared ground between lanes, right of way, and crosswalks on lanes.

Two lanes conflict where vehicles centred on them would touch: the strips swept by a vehicle of
``VEHICLE_WIDTH`` plus ``MARGIN`` overlap, never counting ground further out than each lane's own
edge, so that lanes side by side (of either direction) do not conflict. Looked at are all pairs of
travel lanes of one junction, and any two travel lanes that end in the same lane.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from roadloop.maps.connections import connections
from roadloop.maps.right_of_way import gives_way
from roadloop.maps.road_map import ConflictKind
from roadloop.maps.roundabout import roundabout_lanes

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

VEHICLE_WIDTH = 2.1
"""m, a car with mirrors or a van"""
MARGIN = 0.3
"""m of air two passing vehicles keep"""
EDGE = 0.1
"""m each lane's strip keeps off its own edge, so that neighbours with noisy borders stay apart"""
IN_ROW = 5.0
"""m between two lanes one drives one after the other, below which they are one way, not two"""
CLEARANCE = 3.0
"""m of height difference beyond which ground is not shared: one lane bridges the other"""


@dataclass(frozen=True)
class LanePairs:
    """Pairs ``lane < other`` that share ground, sorted; fields (pairs,), m along each lane."""

    lane: Array
    other: Array
    kind: Array
    """uint8 ConflictKind"""
    begin: Array
    end: Array
    other_begin: Array
    other_end: Array


def with_conflicts(road_map: RoadMap) -> RoadMap:
    """The same map with conflicts, crossings and roundabouts filled in."""
    ring = roundabout_lanes(road_map)
    pairs = shared_ground(road_map)
    verdict = gives_way(road_map, pairs.lane, pairs.other, pairs.kind, ring)
    lane = np.concatenate([pairs.lane, pairs.other])
    other = np.concatenate([pairs.other, pairs.lane])
    order = np.lexsort((other, lane))

    def both(first: Array, second: Array) -> Array:
        return np.concatenate([first, second])[order]

    on_ring = np.zeros(len(road_map.junction_id), bool)
    at_junction = road_map.lane_junction[ring]
    on_ring[at_junction[at_junction >= 0]] = True
    start = np.searchsorted(lane[order], np.arange(road_map.lanes + 1)).astype(np.int32)
    return dataclasses.replace(
        road_map,
        junction_is_roundabout=on_ring,
        conflict_start=start,
        conflict_lane=other[order].astype(np.int32),
        conflict_kind=both(pairs.kind, pairs.kind),
        conflict_from=both(pairs.begin, pairs.other_begin),
        conflict_to=both(pairs.end, pairs.other_end),
        conflict_other_from=both(pairs.other_begin, pairs.begin),
        conflict_other_to=both(pairs.other_end, pairs.end),
        conflict_yield=both(verdict, -verdict).astype(np.int8),
        **_crossings(road_map),
    )


def shared_ground(road_map: RoadMap) -> LanePairs:
    """All pairs of travel lanes that share ground.

    MERGE ground runs to the end of both lanes, DIVERGE ground begins at their starts (where a
    connection is several lanes in a row: on the last or first of them); where two lanes touch more
    than once the interval spans all of it. Resolution: half a point spacing.
    """
    rows: list[tuple] = []
    travel = road_map.is_travel
    inside = np.flatnonzero(travel & (road_map.lane_junction >= 0))
    inside = inside[np.argsort(road_map.lane_junction[inside], kind="stable")]
    bounds = np.searchsorted(
        road_map.lane_junction[inside], np.arange(len(road_map.junction_id) + 1)
    )
    half, (entry, exit_) = _half_widths(road_map), connections(road_map)
    low = high = np.zeros((0, 3))
    if road_map.lanes:
        low = np.minimum.reduceat(road_map.point_xyz, road_map.point_start[:-1])
        high = np.maximum.reduceat(road_map.point_xyz, road_map.point_start[:-1])
    reach = 2.0 * float(half.max(initial=0.0))
    for begin, end in pairwise(bounds):
        lanes = inside[begin:end]
        for k, lane in enumerate(lanes[:-1]):
            others = lanes[k + 1 :]
            near = (low[others] <= high[lane] + reach) & (high[others] >= low[lane] - reach)
            # sections of one road touch where one ends and the next begins: nobody meets there
            in_row = road_map.lane_road[others] == road_map.lane_road[lane]
            in_row &= road_map.lane_section[others] != road_map.lane_section[lane]
            in_row |= np.isin(others, _in_row(road_map, int(lane)))
            others = others[near.all(axis=1) & ~in_row]
            if len(others):
                rows += _overlaps(road_map, int(lane), others, half, entry, exit_)
    for lane in np.flatnonzero(np.diff(road_map.predecessor_start) > 1).tolist():
        merging = np.sort(road_map.predecessors_of(lane))
        merging = merging[travel[merging]]
        for k, one in enumerate(merging[:-1]):
            junction = road_map.lane_junction[one]
            others = merging[k + 1 :]
            others = others[(junction < 0) | (road_map.lane_junction[others] != junction)]
            if len(others):
                rows += _overlaps(road_map, int(one), others, half, entry, exit_)
    rows = sorted(set(rows))  # lanes with two successors in common are found twice
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    lane, other, kind = (table[:, k].astype(np.int32) for k in range(3))
    return LanePairs(lane, other, kind.astype(np.uint8), *table[:, 3:].T)


def _in_row(road_map: RoadMap, lane: int) -> list[int]:
    """Lanes that follow or precede ``lane`` directly or with less than IN_ROW m between."""
    found: list[int] = []
    for neighbours in (road_map.successors_of, road_map.predecessors_of):
        edge = [(int(q), 0.0) for q in neighbours(lane)]
        while edge:
            other, gap = edge.pop()
            found.append(other)
            gap += float(road_map.lane_length[other])
            if gap < IN_ROW:
                edge += [(int(q), gap) for q in neighbours(other)]
    return found


def _half_widths(road_map: RoadMap) -> Array:
    """(P,) m of strip each side: the vehicle with half the margin, kept inside the lane."""
    inside_lane = road_map.point_width / 2.0 - EDGE
    return np.clip(np.minimum((VEHICLE_WIDTH + MARGIN) / 2.0, inside_lane), 0.0, None)


def _overlaps(
    road_map: RoadMap, lane: int, others: Array, half: Array, entry: Array, exit_: Array
) -> list[tuple]:
    """Rows (lane, other, kind, begin, end, other_begin, other_end) of one lane against others."""
    first = road_map.point_start[:-1]
    here = np.arange(first[lane], road_map.point_start[lane + 1])
    counts = road_map.point_start[others + 1] - first[others]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    there = np.repeat(first[others] - starts, counts) + np.arange(counts.sum())
    # |a - b|^2 < (ha + hb)^2 as one product of (a, ha, 1, |a|^2 - ha^2) with
    # (-2b, -2hb, |b|^2 - hb^2, 1); float32 about the lane's own start keeps 0.1 mm in a junction
    origin = road_map.point_xyz[here[0], :2]
    a, b = road_map.point_xyz[here, :2] - origin, road_map.point_xyz[there, :2] - origin
    ha, hb = half[here], half[there]
    left = np.column_stack([a, ha, np.ones(len(a)), (a**2).sum(1) - ha**2]).astype(np.float32)
    right = np.vstack([-2 * b.T, -2 * hb, (b**2).sum(1) - hb**2, np.ones(len(b))])
    touch = (left @ right.astype(np.float32) < 0.0) & (ha > 0.0)[:, None] & (hb > 0.0)
    per_other = np.logical_or.reduceat(touch, starts, axis=1)
    on_other = np.logical_or.reduce(touch, axis=0)
    rows = []
    for k in np.flatnonzero(per_other.any(axis=0)):
        other = int(others[k])
        own = np.flatnonzero(per_other[:, k])
        far = np.flatnonzero(on_other[starts[k] : starts[k] + counts[k]])
        heights = road_map.point_xyz[[here[own[0]], first[other] + far[0]], 2]
        heights_end = road_map.point_xyz[[here[own[-1]], first[other] + far[-1]], 2]
        if min(abs(np.diff(heights)[0]), abs(np.diff(heights_end)[0])) > CLEARANCE:
            continue
        begin, end = _interval(road_map, lane, own)
        other_begin, other_end = _interval(road_map, other, far)
        kind = ConflictKind.CROSS
        if _meet(road_map.successors_of, exit_[lane], exit_[other]):
            kind = ConflictKind.MERGE
            end = road_map.lane_length[lane] if exit_[lane] == lane else end
            other_end = road_map.lane_length[other] if exit_[other] == other else other_end
        elif _meet(road_map.predecessors_of, entry[lane], entry[other]):
            kind = ConflictKind.DIVERGE
            begin = 0.0 if entry[lane] == lane else begin
            other_begin = 0.0 if entry[other] == other else other_begin
        row = (float(begin), float(end)), (float(other_begin), float(other_end))
        if lane < other:
            rows.append((lane, other, int(kind), *row[0], *row[1]))
        else:
            rows.append((other, lane, int(kind), *row[1], *row[0]))
    return rows


def _meet(neighbours: Callable[[int], Array], lane: int, other: int) -> bool:
    return not set(neighbours(lane).tolist()).isdisjoint(neighbours(other).tolist())


def _interval(road_map: RoadMap, lane: int, touched: Array) -> tuple[float, float]:
    """m along ``lane`` from half a step before the first to half a step after the last point."""
    length = road_map.lane_length[lane]
    points = road_map.point_start[lane + 1] - road_map.point_start[lane]
    step = length / (points - 1)
    return max((touched[0] - 0.5) * step, 0.0), min((touched[-1] + 0.5) * step, length)


def _crossings(road_map: RoadMap) -> dict[str, Array]:
    """The crossing_* fields: where crosswalk polygons cover centrelines of travel lanes."""
    import shapely

    travel = np.flatnonzero(road_map.is_travel)
    points = np.diff(road_map.point_start)
    counts = np.diff(road_map.crosswalk_start)
    rows: list[tuple[int, float, float, int]] = []
    if len(counts) and len(travel):
        on_travel = np.repeat(road_map.is_travel, points)
        owner = np.repeat(np.arange(len(travel)), points[travel])
        lines = np.atleast_1d(
            np.asarray(shapely.linestrings(road_map.point_xyz[on_travel, :2], indices=owner))
        )
        tree = shapely.STRtree(lines)
        for crosswalk in np.flatnonzero(counts >= 3):
            corners = road_map.crosswalk_xyz[
                road_map.crosswalk_start[crosswalk] : road_map.crosswalk_start[crosswalk + 1]
            ]
            # files hold outlines that touch themselves; the hull of a crosswalk is the crosswalk
            polygon = shapely.convex_hull(shapely.multipoints(corners[:, :2]))
            for k in np.sort(tree.query(polygon, predicate="intersects")):
                lane, line = int(travel[k]), lines[k]
                covered = shapely.get_coordinates(shapely.intersection(line, polygon))
                along = shapely.line_locate_point(line, shapely.points(covered), normalized=True)
                begin, end = along.min(), along.max()
                row = road_map.point_start[lane] + int(begin * (points[lane] - 1))
                level = abs(road_map.point_xyz[row, 2] - corners[:, 2].mean()) < CLEARANCE
                length = road_map.lane_length[lane]
                if (end - begin) * length > EDGE and level:
                    rows.append((lane, begin * length, end * length, int(crosswalk)))
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)
    return {
        "crossing_lane": table[:, 0].astype(np.int32),
        "crossing_from": table[:, 1],
        "crossing_to": table[:, 2],
        "crossing_crosswalk": table[:, 3].astype(np.int32),
    }
