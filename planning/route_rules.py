"""What the law says along a route: stop lines, junctions, conflicts, crossings, lane changes.

Compiled once per route from the `RoadMap` into flat arrays ordered along the path, so that a
planning step only has to slice them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.maps.path import Path
from roadloop.maps.road_map import ConflictKind, RoadMap

Array = np.ndarray

HOLD_SEARCH = 15.0
"""m before a junction in which a stop line is taken to be that junction's"""
UPSTREAM_REACH = 90.0
"""m of lanes before a conflict from which traffic is considered"""


@dataclass(frozen=True)
class RouteRules:
    """Positions are m along the path (of whatever is there: for lines, of the front bumper)."""

    # stretches of one lane, (spans,)
    span_lane: Array
    span_from: Array
    span_to: Array

    # lane changes, (changes,): where the path leaves one lane for its neighbour
    change_s: Array
    change_side: Array
    """+1 to the left, -1 to the right"""

    # lines to obey, (lines,)
    line_s: Array
    line_signal: Array
    line_kind: Array
    """uint8 SignalKind"""

    # passages through junctions, (visits,)
    visit_from: Array
    visit_to: Array
    visit_hold: Array
    """where the front bumper waits: the stop line, or just before the junction"""

    # conflicts with other lanes, (conflicts,), grouped by visit
    conflict_visit: Array
    conflict_from: Array
    conflict_to: Array
    conflict_merge: Array
    """bool, both lanes end in the same lane"""
    conflict_yield: Array
    """1: the ego gives way, 0: first come, -1: the other gives way"""
    conflict_lane: Array
    """the other lane"""
    conflict_other_from: Array
    conflict_other_to: Array
    conflict_reach: Array
    """(conflicts, map lanes) float32: m from the start of a lane to the start of the other lane,
    inf for lanes from which it is not reached within `UPSTREAM_REACH`"""

    # crosswalks, (crossings,)
    crossing_from: Array
    crossing_to: Array


def compile_route(road_map: RoadMap, path: Path) -> RouteRules:
    """The rules along ``path`` on its own map."""
    first = np.flatnonzero(np.diff(path.lane, prepend=-1))
    span_lane = path.lane[first].astype(np.int64)
    span_from = path.s[first]
    span_to = np.append(span_from[1:], path.s[-1])
    base = span_from - path.lane_s[first]  # path s of the lane's own s = 0
    end_s = path.lane_s[np.append(first[1:], len(path.s)) - 1]

    def on_route(lane: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """(span, row) pairs: rows on the driven part of a span's lane."""
        span, row = np.nonzero(span_lane[:, None] == lane[None, :])
        driven = (high[row] >= path.lane_s[first][span] - 0.5) & (low[row] <= end_s[span] + 0.5)
        return span[driven], row[driven]

    a, b = span_lane[:-1], span_lane[1:]
    to_left, to_right = road_map.lane_left[a] == b, road_map.lane_right[a] == b
    changed = to_left | to_right
    span, row = on_route(road_map.stop_lane, road_map.stop_s, road_map.stop_s)
    line_s = base[span] + road_map.stop_s[row]
    order = np.argsort(line_s, kind="stable")
    line_s, line_signal = line_s[order], road_map.stop_signal[row][order].astype(np.int64)
    line_kind = road_map.signal_kind[line_signal]

    visits = _junction_visits(road_map, span_lane, span_from, span_to)
    hold = visits[:, 0] - 0.5
    for i, entry in enumerate(visits[:, 0]):
        at_entry = (line_s > entry - HOLD_SEARCH) & (line_s <= entry + 1.0)
        if at_entry.any():
            hold[i] = min(hold[i], line_s[at_entry].max())

    rows = [
        (span, row)
        for span, lane in enumerate(span_lane)
        for row in range(road_map.conflict_start[lane], road_map.conflict_start[lane + 1])
        if road_map.conflict_kind[row] != ConflictKind.DIVERGE
    ]
    span, row = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    middle = (span_from + span_to)[span] / 2.0
    visit = np.searchsorted(visits[:, 0], middle, side="right") - 1
    inside = (visit >= 0) & (middle <= visits[visit, 1]) if len(visits) else visit >= 0
    span, row, visit = span[inside], row[inside], visit[inside]
    other = road_map.conflict_lane[row].astype(np.int64)

    cross_span, cross_row = on_route(
        road_map.crossing_lane, road_map.crossing_from, road_map.crossing_to
    )
    return RouteRules(
        span_lane=span_lane,
        span_from=span_from,
        span_to=span_to,
        change_s=span_to[:-1][changed],
        change_side=np.where(to_left, 1, -1)[changed],
        line_s=line_s,
        line_signal=line_signal,
        line_kind=line_kind,
        visit_from=visits[:, 0],
        visit_to=visits[:, 1],
        visit_hold=hold,
        conflict_visit=visit,
        conflict_from=base[span] + road_map.conflict_from[row],
        conflict_to=base[span] + road_map.conflict_to[row],
        conflict_merge=road_map.conflict_kind[row] == ConflictKind.MERGE,
        conflict_yield=road_map.conflict_yield[row],
        conflict_lane=other,
        conflict_other_from=road_map.conflict_other_from[row],
        conflict_other_to=road_map.conflict_other_to[row],
        conflict_reach=_reach(road_map, other),
        crossing_from=base[cross_span] + road_map.crossing_from[cross_row],
        crossing_to=base[cross_span] + road_map.crossing_to[cross_row],
    )


def _junction_visits(
    road_map: RoadMap, span_lane: Array, span_from: Array, span_to: Array
) -> Array:
    """(visits, 2) from, to: neighbouring spans of one junction are one visit."""
    visits: list[list[float]] = []
    previous = -1
    for lane, low, high in zip(span_lane, span_from, span_to, strict=True):
        junction = int(road_map.lane_junction[lane])
        if junction >= 0 and junction == previous:
            visits[-1][1] = float(high)
        elif junction >= 0:
            visits.append([float(low), float(high)])
        previous = junction
    return np.array(visits, dtype=np.float64).reshape(-1, 2)


def _reach(road_map: RoadMap, targets: Array) -> Array:
    """(targets, map lanes): see `RouteRules.conflict_reach`."""
    rows: dict[int, Array] = {}
    for target in np.unique(targets).tolist():
        row = np.full(road_map.lanes, np.inf, dtype=np.float32)
        row[target] = 0.0
        todo = [target]
        while todo:
            lane = todo.pop()
            for before in road_map.predecessors_of(lane).tolist():
                distance = row[lane] + road_map.lane_length[before]
                if row[lane] < UPSTREAM_REACH and distance < row[before]:
                    row[before] = distance
                    todo.append(before)
        rows[target] = row
    if not rows:
        return np.full((0, road_map.lanes), np.inf, dtype=np.float32)
    return np.stack([rows[int(t)] for t in targets])
