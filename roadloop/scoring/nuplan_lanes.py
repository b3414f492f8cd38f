"""Which lanes a drive was on, as nuPlan assigns them: one by one, with a memory of the ones before.

After nuplan-devkit 1.2.2, ``metrics/utils/route_extractor.py``. A *lane set* is a tuple of indices
into an AreaMap, in its order; the first of it is "the" lane where one is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.scoring.area_map import AreaMap
from roadloop.scoring.collision import ego_corners
from roadloop.types import EgoState

Array = np.ndarray
LaneSet = tuple[int, ...]

STICKY = 5.0
"""m, connectors nearer than this are kept while connectors are all that is found (nuPlan)"""
HOPS = 3
"""Lanes after the first that a car may stand on at once where lanes are shorter than it."""


@dataclass(frozen=True, eq=False)
class OnLanes:
    """A drive (time,) on an area map: the questions nuPlan's terms ask, each answered once."""

    ego: EgoState
    area_map: AreaMap

    @cached_property
    def centre(self) -> Array:
        """(time, 2) box centre."""
        return np.stack(self.ego.box_centre(), axis=-1)

    @cached_property
    def corners(self) -> Array:
        """(time, 4, 2) front left, rear left, rear right, front right."""
        return ego_corners(self.ego)

    @cached_property
    def route(self) -> list[LaneSet]:
        """(time,) lane set of the centre, see ``driven_route``."""
        return driven_route(self.area_map, self.centre)

    @cached_property
    def corner_lanes(self) -> list[tuple[LaneSet, ...]]:
        """(time,) lane sets of the corners, see ``corner_lanes``."""
        return corner_lanes(self.area_map, self.corners)

    @cached_property
    def in_intersection(self) -> Array:
        """(time,) bool, the rear axle is in an intersection."""
        rear_axle = np.stack([self.ego.x, self.ego.y], axis=-1)
        return self.area_map.intersection_areas.contain(rear_axle)

    def in_lane(self, hops: int = 1) -> Array:
        """(time,) bool, see ``fully_in_one_lane``."""
        return fully_in_one_lane(self.area_map, self.corner_lanes, hops)

    @cached_property
    def corners_outside(self) -> Array:
        """(time, 4) m each corner is outside its road, 0 on lanes and drivable ground.

        Where a corner is outside, the nearest of the lanes the centre is on and of the drivable
        areas counts, as in nuPlan's drivable-area compliance.
        """
        import shapely

        points = self.corners.reshape(-1, 2)
        on_lane = np.array([bool(lanes) for sets in self.corner_lanes for lanes in sets])
        outside = ~on_lane
        outside[outside] = ~self.area_map.drivable_areas.contain(points[outside])
        away = np.zeros(len(points))
        away[outside] = self.area_map.drivable_areas.distance(points[outside])
        for corner in np.flatnonzero(outside):
            lanes = self.area_map.lane_polygon[list(self.route[corner // 4])]
            to_lanes = shapely.distance(lanes, shapely.points(points[corner]))
            away[corner] = min(away[corner], to_lanes.min(initial=np.inf))
        # strictly outside and yet at no distance: on the very edge
        away[outside] = np.maximum(away[outside], np.finfo(np.float64).tiny)
        return away.reshape(-1, 4)


def lanes_holding(area_map: AreaMap, points: Array) -> list[LaneSet]:
    """Per point of ``(n, 2)`` every lane and connector it is strictly inside of."""
    point, lane = area_map.lane_areas.containing(points)
    start = np.searchsorted(point, np.arange(len(points) + 1)).tolist()
    lanes = lane.tolist()
    return [tuple(lanes[start[k] : start[k + 1]]) for k in range(len(points))]


def driven_route(area_map: AreaMap, points: Array) -> list[LaneSet]:
    """Lane set of every sample of a path ``(time, 2)``.

    What was found for a sample serves the next as long as it holds the point, then (where it was
    one lane only) what follows it; only then the point is looked up afresh, lanes before
    connectors. Connectors within ``STICKY`` m are not given up for others. At last the path is
    walked backwards and forks are settled by where it went.
    """
    import shapely

    held = lanes_holding(area_map, points)
    in_intersection = area_map.intersection_areas.contain(points)
    route: list[LaneSet] = []
    current: LaneSet = ()
    for k, holding in enumerate(held):
        current = _of_candidates(area_map, current, holding)
        if not current:
            current = _afresh(area_map, holding)
            before = route[-1] if k > 1 else ()
            on_connectors = bool(before) and area_map.lane_is_connector[before[0]]
            found = area_map.lane_is_connector[current[0]] if current else in_intersection[k]
            if on_connectors and found:
                here = shapely.points(points[k])
                away = shapely.distance(area_map.lane_polygon[list(before)], here)
                near = tuple(lane for lane, d in zip(before, away) if d < STICKY)
                current = near or current
        route.append(current)
    return _settled(area_map, route)


def _of_candidates(area_map: AreaMap, candidates: Sequence[int], holding: LaneSet) -> LaneSet:
    kept = tuple(lane for lane in candidates if lane in holding)
    if not kept and len(candidates) == 1:
        following = area_map.outgoing_of(candidates[0]).tolist()
        kept = tuple(lane for lane in following if lane in holding)
    return kept


def _afresh(area_map: AreaMap, holding: LaneSet) -> LaneSet:
    lanes = tuple(lane for lane in holding if not area_map.lane_is_connector[lane])
    return lanes or holding


def _settled(area_map: AreaMap, route: list[LaneSet]) -> list[LaneSet]:
    """The backward pass: a set is narrowed to the one after it, or to what leads there."""
    settled = list(route)
    for k in range(len(route) - 2, -1, -1):
        lanes, following = route[k], settled[k + 1]
        if len(lanes) <= 1:
            continue
        if set(following) < set(lanes):
            settled[k] = following
        if following and not area_map.lane_is_connector[following[0]]:
            incoming = area_map.incoming_of(following[0])
            leading = tuple(lane for lane in lanes if lane in incoming)
            settled[k] = leading or settled[k]
    return settled


def corner_lanes(area_map: AreaMap, corners: Array) -> list[tuple[LaneSet, ...]]:
    """Per sample the lane sets of the box's corners ``(time, 4, 2)``: FL, RL, RR, FR.

    Candidates are what the four corners had the sample before; in the second sample also what its
    own corners found so far.
    """
    held = lanes_holding(area_map, corners.reshape(-1, 2))
    found: list[tuple[LaneSet, ...]] = []
    pool: list[int] = []
    for k in range(len(corners)):
        sets: list[LaneSet] = []
        for holding in held[4 * k : 4 * k + 4]:
            lanes = _of_candidates(area_map, pool, holding)
            if not lanes:
                lanes = _afresh(area_map, holding)
                if k == 1:
                    pool = _union([pool, lanes])
            sets.append(lanes)
        found.append(tuple(sets))
        pool = _union(sets)
    return found


def _union(sets: Iterable[Iterable[int]]) -> list[int]:
    return list(dict.fromkeys(lane for lanes in sets for lane in lanes))


def fully_in_one_lane(
    area_map: AreaMap, corners: list[tuple[LaneSet, ...]], hops: int = 1
) -> Array:
    """(time,) bool: all corners are on one lane, or on lanes that continue one another.

    ``corners`` as of ``corner_lanes``. ``hops`` is how many lanes may follow the one of the rear
    corners: 1 is nuPlan's rule, whose lanes are longer than a car; more are for maps whose lane
    sections are not (up to ``HOPS``).
    """
    known: dict[tuple[LaneSet, ...], bool] = {}
    for sets in corners:
        if sets not in known:
            known[sets] = _in_one_lane(area_map, sets) or (
                hops > 1 and _in_lanes_in_a_row(area_map, sets, hops)
            )
    return np.array([known[sets] for sets in corners], dtype=bool)


def _in_one_lane(area_map: AreaMap, sets: tuple[LaneSet, ...]) -> bool:
    if not all(sets):
        return False
    front_left, rear_left, rear_right, front_right = (set(lanes) for lanes in sets)
    if front_left & rear_left & rear_right & front_right:
        return True

    def before(lanes: set[int]) -> set[int]:
        return lanes.union(*(area_map.incoming_of(lane).tolist() for lane in lanes))

    def after(lanes: set[int]) -> set[int]:
        return lanes.union(*(area_map.outgoing_of(lane).tolist() for lane in lanes))

    if not (rear_left & after(rear_right) or rear_right & after(rear_left)):
        return False
    left = before(front_left) & after(rear_right)
    return bool(left & before(front_right) & after(rear_left))


def _in_lanes_in_a_row(area_map: AreaMap, sets: tuple[LaneSet, ...], hops: int) -> bool:
    """Whether some lane of a corner and lanes that follow it one by one hold all corners."""
    corners_on: dict[int, int] = {}  # one bit per corner on the lane
    for corner, lanes in enumerate(sets):
        for lane in lanes:
            corners_on[lane] = corners_on.get(lane, 0) | 1 << corner
    rows = list(corners_on.items())
    for _ in range(hops):
        rows = [
            (following, corners | corners_on.get(following, 0))
            for lane, corners in rows
            for following in area_map.outgoing_of(lane).tolist()
        ]
        if any(corners == 0b1111 for _, corners in rows):
            return True
    return False
