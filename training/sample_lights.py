"""Which traffic lights are the ego's: those of the next stop line on every way its lane leads."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.maps.locate import LaneLocation, nearest_lane
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import EgoState

Array = np.ndarray
Lines = dict[int, list[tuple[float, int]]]

REACH = 90.0
"""m along the road from the rear axle to the line of a relevant light, at most"""
FAR = 160.0
"""m ahead up to which lights further on the way can be seen, and are not judged"""
BEHIND = 40.0
"""m behind the ego up to which a line's second head, across the junction, is still before it"""
TOGETHER = 15.0
"""m between stop lines of one approach on different ways: lanes through a junction bend"""
OFF_LANE = 4.0
"""m from the ego to its lane's centreline, at most"""

_lines: weakref.WeakKeyDictionary[RoadMap, Lines] = weakref.WeakKeyDictionary()
_located: weakref.WeakKeyDictionary[RoadMap, tuple[Array, LaneLocation]] = (
    weakref.WeakKeyDictionary()
)


def light_relevance(recording: Recording, step: int) -> dict[str, Array]:
    """``light_relevant``, ``light_unjudged``, ``light_distance`` of a step, (S,) each.

    Relevant: the lights of the nearest stop line ahead on the ways (all branches) that the ego's
    lane leads, up to ``REACH`` m from the rear axle. Unjudged: lights of lines further on, of
    the line the ego has just crossed with its front axle, and of the lanes beside its own; nobody
    can tell those apart by their looks alone. Without a map or lights all are False.
    """
    count = 0 if recording.lights is None else recording.lights.shape[1]
    relevant, unjudged = np.zeros(count, bool), np.zeros(count, bool)
    distance = np.zeros(count, np.float32)
    found = {
        "light_relevant": relevant,
        "light_unjudged": unjudged,
        "light_distance": distance,
    }
    road_map = recording.road_map
    if road_map is None or count == 0 or len(road_map.signal_kind) != count:
        return found
    lines = _light_lines(road_map)
    if not lines:
        return found
    place = _places(road_map, recording.ego)
    lane, s = int(place.lane[step]), float(place.s[step])
    if lane < 0 or abs(float(place.heading_error[step])) > 1.5:
        return found
    front = recording.ego.vehicle.wheelbase
    first: dict[int, float] = {}
    for ahead, signal, nth in _ahead(road_map, lines, lane, s, front):
        if nth == 0:
            first[signal] = min(ahead, first.get(signal, np.inf))
        unjudged[signal] = True
    nearest = min(first.values(), default=np.inf)
    for signal, ahead in first.items():
        if ahead <= min(nearest + TOGETHER, REACH):
            relevant[signal], distance[signal] = True, ahead
    for beside in _beside(road_map, lane):
        for _, signal, _ in _ahead(road_map, lines, beside, s, front):
            unjudged[signal] = True
    for signal in _passed(road_map, lines, lane, s, front):
        unjudged[signal] = True
    unjudged &= ~relevant
    return found


def _places(road_map: RoadMap, ego: EgoState) -> LaneLocation:
    """Where a drive's ego is, (T,); the last drive on a map is kept, all its steps at once."""
    kept = _located.get(road_map)
    if kept is None or kept[0] is not ego.x:
        place = nearest_lane(road_map, ego.x, ego.y, ego.heading, z=ego.z, max_distance=OFF_LANE)
        kept = _located[road_map] = ego.x, place
    return kept[1]


def _light_lines(road_map: RoadMap) -> Lines:
    """Per lane its lines that lights govern: m along the lane, signal; by the former."""
    if road_map not in _lines:
        light = road_map.signal_kind[road_map.stop_signal] == SignalKind.TRAFFIC_LIGHT
        made: Lines = {}
        for row in np.flatnonzero(light).tolist():
            line = float(road_map.stop_s[row]), int(road_map.stop_signal[row])
            made.setdefault(int(road_map.stop_lane[row]), []).append(line)
        _lines[road_map] = {lane: sorted(rows) for lane, rows in made.items()}
    return _lines[road_map]


def _ahead(
    road_map: RoadMap, lines: Lines, lane: int, s: float, front: float
) -> Iterator[tuple[float, int, int]]:
    """m to a line from ``s`` on ``lane``, its signal, and how many lines come before it."""
    todo, seen = [(lane, -s, 0)], set()
    while todo:
        lane, start, before = todo.pop()
        last = None
        for along, signal in lines.get(lane, ()):
            ahead = start + along
            if not front <= ahead < FAR:
                continue
            if last is not None and ahead - last > 1.0:  # several signals may share a line
                before += 1
            last = ahead
            yield ahead, signal, before
        end = start + float(road_map.lane_length[lane])
        if end < FAR:
            for after in road_map.successors_of(lane).tolist():
                key = (after, before + (last is not None))
                if key not in seen:
                    seen.add(key)
                    todo.append((after, end, key[1]))


def _beside(road_map: RoadMap, lane: int) -> Iterator[int]:
    """The lanes beside ``lane`` in the same direction."""
    for neighbour in (road_map.lane_left, road_map.lane_right):
        beside, count = int(neighbour[lane]), 0
        while beside >= 0 and count < 8:  # a map may go round in circles
            yield beside
            beside, count = int(neighbour[beside]), count + 1


def _passed(road_map: RoadMap, lines: Lines, lane: int, s: float, front: float) -> Iterator[int]:
    """Signals of lines up to ``BEHIND`` m behind ``s`` on ``lane``, or under the front axle."""
    for after in (lane, *road_map.successors_of(lane).tolist()):
        start = -s if after == lane else float(road_map.lane_length[lane]) - s
        for along, signal in lines.get(after, ()):
            if -BEHIND < start + along < front:
                yield signal
    todo, seen = [(lane, -s)], {lane}
    while todo:
        lane, start = todo.pop()
        if start < -BEHIND:
            continue
        for before in road_map.predecessors_of(lane).tolist():
            begin = start - float(road_map.lane_length[before])
            for along, signal in lines.get(before, ()):
                if begin + along > -BEHIND:
                    yield signal
            if before not in seen:
                seen.add(before)
                todo.append((before, begin))
