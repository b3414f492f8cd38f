"""Who gives way where two lanes share ground, traffic lights aside.

The first rule that tells the two apart decides: priority records of the map file; stop and yield
signs; circulating traffic of a roundabout; turning across oncoming traffic; the minor leg of a
T-junction; the less straight of two lanes of one direction (ramps), then the slower. Where none
does, first come, first served. Lanes that part (DIVERGE) owe each other nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.connections import connections
from roadloop.maps.road_map import ConflictKind, SignalKind
from roadloop.maps.roundabout import lane_turns

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

TURNING = np.radians(30.0)
"""total heading change from which a connection is a turn"""
SIGN_REACH = 30.0
"""m before a lane's end within which a sign governs what follows"""
BEND_LENGTH = 60.0
"""m before a merge over which straightness is compared"""
BEND_DIFFERENCE = np.radians(3.0)
"""less than this does not make one lane the straighter"""
SPEED_DIFFERENCE = 1.0
"""m/s by which the faster road must be faster"""


class _Approach:
    """What the rules ask about lanes: (L,) arrays, junction lanes seen as whole connections."""

    def __init__(self, road_map: RoadMap) -> None:
        first, last = connections(road_map)
        self.turn = np.bincount(first, lane_turns(road_map), road_map.lanes)[first]
        if road_map.left_hand:
            self.turn = -self.turn  # mirrored: "left" now means across the oncoming traffic
        start = road_map.point_start[first]
        self.heading = road_map.point_heading[start]
        own_sign = _signed(road_map)
        self.signed = np.bincount(first, own_sign, road_map.lanes)[first] > 0
        self.legs = [frozenset[tuple[str, bool]]()] * road_map.lanes
        roads: dict[int, set[str]] = {}  # that meet at each junction
        for lane in np.flatnonzero(road_map.is_travel & (road_map.lane_junction >= 0)):
            incoming = road_map.predecessors_of(first[lane])
            self.signed[lane] |= own_sign[incoming].any()
            self.legs[lane] = frozenset(
                (str(road_map.lane_road[i]), bool(road_map.lane_number[i] > 0)) for i in incoming
            )
            ends = np.concatenate([incoming, road_map.successors_of(last[lane])])
            meeting = roads.setdefault(int(road_map.lane_junction[lane]), set())
            meeting.update(map(str, road_map.lane_road[ends]))
        self.minor = self._minor(road_map, {j for j, legs in roads.items() if len(legs) == 3})

    def _minor(self, road_map: RoadMap, tees: set[int]) -> Array:
        """(L,) int8: 1 on lanes from a T's leg that does not go straight on, -1 on its others."""
        minor = np.zeros(road_map.lanes, np.int8)
        inside = np.flatnonzero(np.isin(road_map.lane_junction, sorted(tees)))
        inside = inside[road_map.is_travel[inside]]
        through = {
            (int(road_map.lane_junction[lane]), leg)
            for lane in inside
            if abs(self.turn[lane]) < TURNING
            for leg in self.legs[lane]
        }
        for lane in inside:
            if self.legs[lane]:
                junction = int(road_map.lane_junction[lane])
                goes_on = any((junction, leg) in through for leg in self.legs[lane])
                minor[lane] = -1 if goes_on else 1
        return minor


def gives_way(road_map: RoadMap, lane: Array, other: Array, kind: Array, on_ring: Array) -> Array:
    """(pairs,) int8: 1 where ``lane`` gives way to ``other``, -1 the reverse, 0 first come.

    ``kind`` is the pairs' ConflictKind, ``on_ring`` (L,) bool the lanes circulating on roundabouts.
    Swapping ``lane`` and ``other`` flips the sign.
    """
    about = _Approach(road_map)
    verdict = _by_record(road_map, about, lane, other)
    same_way = np.cos(about.heading[lane] - about.heading[other])
    turn, across = about.turn, np.abs(about.turn)
    oncoming = same_way < -0.5
    left, not_left = turn > TURNING, turn < TURNING
    bend = _bends(road_map, np.unique(np.concatenate([lane, other])))
    speed = road_map.lane_speed_limit
    one_way = same_way > 0.5
    same_junction = (road_map.lane_junction[lane] == road_map.lane_junction[other]).astype(int)
    rules = (
        about.signed[lane].astype(int) - about.signed[other],
        on_ring[other].astype(int) - on_ring[lane],
        oncoming * ((left[lane] & not_left[other]) * 1 - (left[other] & not_left[lane])),
        same_junction * ((about.minor[lane] > 0) & (about.minor[other] < 0))
        - same_junction * ((about.minor[other] > 0) & (about.minor[lane] < 0)),
        one_way * ((across[lane] > TURNING) * 1 - (across[other] > TURNING)),
        one_way
        * (
            (bend[lane] - bend[other] > BEND_DIFFERENCE) * 1
            - (bend[other] - bend[lane] > BEND_DIFFERENCE)
        ),
        one_way
        * (
            (speed[other] - speed[lane] > SPEED_DIFFERENCE) * 1
            - (speed[lane] - speed[other] > SPEED_DIFFERENCE)
        ),
    )
    for rule in rules:
        verdict = np.where(verdict == 0, rule, verdict)
    return np.where(kind == ConflictKind.DIVERGE, 0, verdict).astype(np.int8)


def _by_record(road_map: RoadMap, about: _Approach, lane: Array, other: Array) -> Array:
    """Verdict of the file's priority records, matched by connecting road, else by incoming road."""
    verdict = np.zeros(len(lane), np.int64)
    records = {
        (int(j), str(high), str(low))
        for j, high, low in zip(
            road_map.priority_junction, road_map.priority_high, road_map.priority_low, strict=True
        )
    }
    if not records:
        return verdict
    junction = road_map.lane_junction
    for k in np.flatnonzero((junction[lane] == junction[other]) & (junction[lane] >= 0)):
        j, a, b = int(junction[lane[k]]), int(lane[k]), int(other[k])
        roads_a, roads_b = {str(road_map.lane_road[a])}, {str(road_map.lane_road[b])}
        for _ in range(2):
            yields = any((j, high, low) in records for high in roads_b for low in roads_a)
            goes = any((j, high, low) in records for high in roads_a for low in roads_b)
            if yields != goes:
                verdict[k] = 1 if yields else -1
                break
            roads_a, roads_b = {r for r, _ in about.legs[a]}, {r for r, _ in about.legs[b]}
    return verdict


def _signed(road_map: RoadMap) -> Array:
    """(L,) bool: a stop or yield sign governs the end of the lane, or all of a junction lane."""
    signed = np.zeros(road_map.lanes, bool)
    kind = road_map.signal_kind[road_map.stop_signal]
    rows = (kind == SignalKind.STOP) | (kind == SignalKind.YIELD)
    lane = road_map.stop_lane[rows]
    near_end = road_map.stop_s[rows] >= road_map.lane_length[lane] - SIGN_REACH
    signed[lane[near_end | (road_map.lane_junction[lane] >= 0)]] = True
    return signed


def _bends(road_map: RoadMap, lanes: Array) -> Array:
    """(L,) rad: how far each lane strays from its final heading over the last BEND_LENGTH m."""
    bend = np.zeros(road_map.lanes)
    for lane in lanes:
        rows = road_map.points_of(lane)
        late = road_map.point_s[rows] >= road_map.lane_length[lane] - BEND_LENGTH
        heading = road_map.point_heading[rows][late]
        bend[lane] = np.abs(wrap_angle(heading - heading[-1])).max()
    return bend
