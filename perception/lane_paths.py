"""Ways along the lane graph from each lane on, sampled once, for forecasts of many at a time.

A *way* begins at the start of its first lane and follows one choice of successors for some hundred
metres. Its samples are ``SPACING`` apart, so that a place at ``s`` m is an index; beyond its ends
it goes on straight. The ways of a lane are made when the lane is first asked for and kept as long
as the map lives.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from roadloop.maps.road_map import RoadMap, SignalKind

Array = np.ndarray

SPACING = 1.0
"""m between samples: bends of 10 m radius are cut by 1 cm"""
MOST_WAYS = 6
"""from one lane"""
MOST_LANES = 10
"""of a way, in which somebody ahead is looked for"""
MOST_CHOICES = 4
"""branches of a way that its probability counts"""
MOST_LINES = 4
"""lights and stop signs of a way"""
REACH_TIME = 10.0
"""s at the speed limit that a way reaches beyond its first lane ..."""
REACH = (90.0, 330.0)
"""m, ... within these bounds"""
SIDEWAYS = 2.5
"""m/s^2 that drivers take in bends"""
SLOWING = 1.5
"""m/s^2 with which they slow down for one"""
SLOWEST = 3.0
"""m/s in the tightest bend"""
BEND_SPAN = 3
"""samples to each side over which a bend is measured"""
STRAIGHT = 0.4
"""rad that a lane may turn and still count as going straight on"""
TURN_WEIGHT = 0.4
"""how likely a turn is, beside 1 for straight on"""
U_TURN = 2.4
"""rad, from which a turn is a U-turn ..."""
U_TURN_WEIGHT = 0.05
"""... and how likely it is"""

_SAMPLES = {"place": np.complex128, "way": np.complex128, "heading": np.float64, "cap": np.float64}
_WAYS = {
    "begin": ((), np.int64, 0),
    "last": ((), np.int64, 0),
    "lane": ((), np.int64, -1),
    "next_lane": ((), np.int64, -1),
    "length": ((), np.float64, 0.0),
    "limit": ((), np.float64, 0.0),
    "hold": ((), np.float64, 0.0),
    "split": ((), np.float64, -np.inf),
    "choice_s": ((MOST_CHOICES,), np.float64, np.inf),
    "choice_weight": ((MOST_CHOICES,), np.float64, 0.0),
    "lanes": ((MOST_LANES,), np.int64, -1),
    "lane_s": ((MOST_LANES,), np.float64, np.inf),
    "line_s": ((MOST_LINES,), np.float64, np.inf),
    "line_signal": ((MOST_LINES,), np.int64, 0),
}

_ways: weakref.WeakKeyDictionary[RoadMap, LaneWays] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class _Course:
    """Lanes of a way while it is looked for."""

    lanes: tuple[int, ...]
    split: float
    """m at which it left the way found before it"""
    choices: tuple[tuple[float, float], ...]
    """m at which it branches, and log of the share that goes its way"""


class LaneWays:
    """All ways of a map found so far; a way is a row of its arrays, see `lane_ways`."""

    def __init__(self, road_map: RoadMap) -> None:
        self._map = weakref.ref(road_map)  # the cache lives as long as the map, not longer
        self.first = np.full(road_map.lanes, -1, np.int64)
        """(lanes,) first way from each lane, the straightest; -1 where not made yet"""
        self.count = np.zeros(road_map.lanes, np.int64)
        self.ways = 0
        self._points = 0
        for name, dtype in _SAMPLES.items():
            setattr(self, name, np.zeros(1024, dtype))
        for name, (shape, dtype, fill) in _WAYS.items():
            setattr(self, name, np.full((64, *shape), fill, dtype))

    # samples, (points,), rows of a way from `begin` to `last`
    place: Array
    """x + iy, m: with the plane as complex numbers, turning is multiplying"""
    way: Array
    """cos + i sin of the heading"""
    heading: Array
    """rad, continuous along a way"""
    cap: Array
    """m/s, so that one can slow down in time for the bends ahead"""

    # ways, (ways,)
    begin: Array
    last: Array
    lane: Array
    """its first lane"""
    next_lane: Array
    """its second, -1"""
    length: Array
    """m of the first lane"""
    limit: Array
    """m/s on the first lane"""
    hold: Array
    """m beyond the end of the first lane up to which the second still lies on its siblings"""
    split: Array
    """m at which it leaves the way before it, -inf for the first way of a lane"""
    choice_s: Array
    """(ways, MOST_CHOICES) m at which it branches, inf; log shares that go its way"""
    choice_weight: Array
    lanes: Array
    """(ways, MOST_LANES) its lanes, -1, and the m at which each begins, inf"""
    lane_s: Array
    line_s: Array
    """(ways, MOST_LINES) m of its lights and stop signs, inf, and their signals"""
    line_signal: Array

    def make(self, lanes: Array) -> None:
        """See to it that the ways from ``lanes`` (n,) are there."""
        for lane in np.unique(lanes[self.first[lanes] < 0]).tolist():
            road_map = self._map()
            assert road_map is not None  # the caller holds the map
            courses = _courses(road_map, lane)
            self.first[lane], self.count[lane] = self.ways, len(courses)
            for course in courses:
                self._add(road_map, course)

    def _add(self, road_map: RoadMap, course: _Course) -> None:
        lanes = np.array(course.lanes)
        length = road_map.lane_length[lanes]
        starts = np.concatenate([[0.0], np.cumsum(length)])
        end = min(starts[-1], length[0] + reach_of(road_map, course.lanes[0]))
        count = max(int(end / SPACING), 1) + 1
        samples = _sampled(road_map, lanes, starts, count)
        self._points = self._store(self._points, dict(zip(_SAMPLES, samples)))
        row = {name: np.full((1, *shape), fill, dtype) for name, (shape, dtype, fill) in
               _WAYS.items()}  # fmt: skip
        row["begin"][0], row["last"][0] = self._points - count, self._points - 1
        row["lane"][0], row["length"][0], row["split"][0] = lanes[0], length[0], course.split
        row["limit"][0] = road_map.lane_speed_limit[lanes[0]]
        if len(lanes) > 1:
            row["next_lane"][0] = lanes[1]
            if len(road_map.successors_of(int(lanes[0]))) > 1:
                row["hold"][0] = min(OVERLAP, 0.8 * length[1])
        for k, (s, weight) in enumerate(course.choices[:MOST_CHOICES]):
            row["choice_s"][0, k], row["choice_weight"][0, k] = s, weight
        near = lanes[:MOST_LANES]
        row["lanes"][0, : len(near)] = near
        row["lane_s"][0, : len(near)] = starts[: len(near)]
        lines = _lines(road_map, lanes, starts)[:MOST_LINES]
        for k, (s, signal) in enumerate(lines):
            row["line_s"][0, k], row["line_signal"][0, k] = s, signal
        self.ways = self._store(self.ways, row)

    def _store(self, count: int, values: dict[str, Array]) -> int:
        """Put rows after the first ``count`` ones; the new count."""
        total = count + len(next(iter(values.values())))
        for name, new in values.items():
            kept = getattr(self, name)
            if total > len(kept):
                grown = np.zeros((2 * total, *kept.shape[1:]), kept.dtype)
                grown[:count] = kept[:count]
                setattr(self, name, grown)
                kept = grown
            kept[count:total] = new
        return total


OVERLAP = 10.0
"""m behind a branch on which its lanes still overlap, so that nobody can be told to be on one"""


def lane_ways(road_map: RoadMap) -> LaneWays:
    """The ways of a map; one and the same object as long as the map lives."""
    if road_map not in _ways:
        _ways[road_map] = LaneWays(road_map)
    return _ways[road_map]


def reach_of(road_map: RoadMap, lane: int) -> float:
    """m that the ways from a lane reach beyond its end."""
    return float(np.clip(REACH_TIME * road_map.lane_speed_limit[lane], *REACH))


def _courses(road_map: RoadMap, lane: int) -> list[_Course]:
    """The ways from a lane: the straightest first, then those that branch off it, near ones first.

    Only the first ``MOST_WAYS`` are taken.
    """
    reach = float(road_map.lane_length[lane]) + reach_of(road_map, lane)
    waiting = [_Course((lane,), -np.inf, ())]
    found: list[_Course] = []
    while waiting and len(found) < MOST_WAYS:
        waiting.sort(key=lambda course: course.split)  # stable: of equals the straighter first
        course = waiting.pop(0)
        lanes, choices = list(course.lanes), list(course.choices)
        at = float(road_map.lane_length[lanes].sum())
        while at < reach and len(lanes) < 60:
            options = road_map.successors_of(lanes[-1])
            options = options[road_map.is_travel[options]]
            options = options[~np.isin(options, lanes)]
            if not len(options):
                break
            turn = np.array([_turn(road_map, int(option)) for option in options])
            weight = np.where(turn < STRAIGHT, 1.0, TURN_WEIGHT)
            weight = np.where(turn > U_TURN, U_TURN_WEIGHT, weight)
            share = np.log(weight / weight.sum())
            order = np.argsort(turn, kind="stable")
            for k in order[1:]:
                ways = tuple([*choices, (at, float(share[k]))])
                waiting.append(_Course((*lanes, int(options[k])), at, ways))
            best = order[0]
            if len(options) > 1:
                choices.append((at, float(share[best])))
            lanes.append(int(options[best]))
            at += float(road_map.lane_length[lanes[-1]])
        found.append(_Course(tuple(lanes), course.split, tuple(choices)))
    return found


def _turn(road_map: RoadMap, lane: int) -> float:
    """rad between the directions of a lane's start and end, all bends added up."""
    heading = np.unwrap(road_map.point_heading[road_map.points_of(lane)])
    return float(abs(heading[-1] - heading[0]))


def _sampled(
    road_map: RoadMap, lanes: Array, starts: Array, count: int
) -> tuple[Array, Array, Array, Array]:
    """Place, way, heading and speed cap of ``count`` samples from the start on."""
    end = (count - 1) * SPACING
    used = lanes[starts[:-1] <= end]
    rows = [road_map.points_of(int(lane)) for lane in used]
    s = np.concatenate([road_map.point_s[r] + at for r, at in zip(rows, starts)])
    xy = np.concatenate([road_map.point_xyz[r, :2] for r in rows])
    way = np.unwrap(np.concatenate([road_map.point_heading[r] for r in rows]))
    place = np.arange(count) * SPACING
    x, y, heading = (np.interp(place, s, value) for value in (xy[:, 0], xy[:, 1], way))
    low = np.maximum(np.arange(count) - BEND_SPAN, 0)
    high = np.minimum(np.arange(count) + BEND_SPAN, count - 1)
    bend = np.abs(heading[high] - heading[low]) / np.maximum((high - low) * SPACING, SPACING)
    squared = np.maximum(SIDEWAYS / np.maximum(bend, 1e-4), SLOWEST**2)
    slope = 2.0 * SLOWING * place
    squared = np.minimum.accumulate((squared + slope)[::-1])[::-1] - slope
    return x + 1j * y, np.exp(1j * heading), heading, np.sqrt(squared)


def _lines(road_map: RoadMap, lanes: Array, starts: Array) -> list[tuple[float, int]]:
    """m along and signal of the lights and stop signs of a way, in order."""
    found = []
    for lane, at in zip(lanes.tolist(), starts.tolist()):
        for k in np.flatnonzero(road_map.stop_lane == lane).tolist():
            signal = int(road_map.stop_signal[k])
            if road_map.signal_kind[signal] in (SignalKind.TRAFFIC_LIGHT, SignalKind.STOP):
                found.append((at + float(road_map.stop_s[k]), signal))
    return sorted(found)
