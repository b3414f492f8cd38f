"""A MapDraft, lanes as data sets draw them, to the lane graph ``RoadMap``.

What a draft leaves open is found from its geometry: centrelines (``draft_shapes``), junctions and
roads (``draft_junctions``), conflicts and right of way (``conflicts``). Lanes keep the draft's
order, lanes too short to have a direction left out; ``RoadMap.lane_id`` holds the draft's ids.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.conflicts import with_conflicts
from roadloop.maps.draft import LaneDraft, MapDraft
from roadloop.maps.draft_junctions import (
    with_junctions,
    with_legs_joined,
    with_opposites,
    with_roads,
)
from roadloop.maps.draft_shapes import (
    GAP,
    SHORTEST,
    checked_points,
    contexts,
    lane_line,
    lane_points,
)
from roadloop.maps.lane_geometry import LanePoints, curvature_along
from roadloop.maps.lane_links import rows_by_first
from roadloop.maps.road_map import ConflictKind, LaneKind, RoadMap
from roadloop.maps.signal_codes import GOVERNING

Array = np.ndarray

COMPILER_VERSION = "1"
"""Part of every content hash: raise it whenever the same draft compiles to another RoadMap."""
TOWN_SPEED = 50 / 3.6
"""m/s where neither a lane nor, in a junction, those before and after it have a limit"""
ALONGSIDE = 0.5
"""share of the shorter of two neighbours that must lie beside the longer one"""
YIELD_REACH = 50.0
"""m of lanes after one that gives way on which it still does"""


def compile_map(draft: MapDraft) -> RoadMap:
    """The lane graph of a draft.

    Raises RoadloopError, one line with the map's name, for ids used twice, lines that are not
    finite or of another shape, and maps without a lane to drive on. What else cannot be used is
    named in ``RoadMap.unsupported``.
    """
    notes = list(draft.unsupported)
    lanes, points = _shaped(draft, notes)
    rows = {lane.id: row for row, lane in enumerate(lanes)}
    kind = np.array([lane.kind for lane in lanes], np.uint8)
    if not (kind <= LaneKind.BIDIRECTIONAL).any():
        raise RoadloopError(f"map {draft.name} has no lane to drive on; give it lanes of that kind")
    first, second = _edges(draft, lanes, points, rows, notes)
    successor_start, successor = rows_by_first(first, second, len(lanes))
    predecessor_start, predecessor = rows_by_first(second, first, len(lanes))
    point_start = _starts([len(p.s) for p in points])
    point_s = np.concatenate([p.s for p in points])
    point_heading = np.concatenate([p.heading for p in points])
    crosswalks = [_crosswalk(draft, k, c) for k, c in enumerate(draft.crosswalks)]
    marks = [
        checked_points(m.xyz, f"map {draft.name}: mark {k}") for k, m in enumerate(draft.marks)
    ]
    areas = [
        checked_points(a, f"map {draft.name}: drivable area {k}", 2, 3)
        for k, a in enumerate(draft.drivable)
    ]
    nothing = np.zeros(0)
    road_map = RoadMap(
        name=draft.name,
        content_hash=content_hash(draft.source_hash),
        georeference=draft.georeference,
        left_hand=draft.left_hand,
        unsupported=(),
        lane_road=np.array([lane.id for lane in lanes], dtype=str),
        lane_section=np.zeros(len(lanes), np.int32),
        lane_number=np.full(len(lanes), -1, np.int32),
        lane_kind=kind,
        lane_junction=np.full(len(lanes), -1, np.int32),
        lane_length=point_s[point_start[1:] - 1],
        lane_speed_limit=_stated_limits(draft, lanes),
        **_neighbours(lanes, points, rows, notes),
        successor_start=successor_start,
        successor=successor,
        predecessor_start=predecessor_start,
        predecessor=predecessor,
        point_start=point_start,
        point_s=point_s,
        point_xyz=np.concatenate([p.xyz for p in points]),
        point_heading=point_heading,
        point_curvature=curvature_along(point_start, point_s, point_heading),
        point_width=np.concatenate([p.width for p in points]),
        point_bank=np.concatenate([p.bank for p in points]),
        **_signals(draft, lanes, points, rows, notes),
        junction_id=np.zeros(0, dtype=str),
        junction_is_roundabout=np.zeros(0, bool),
        priority_high=np.zeros(0, dtype=str),
        priority_low=np.zeros(0, dtype=str),
        priority_junction=np.zeros(0, np.int32),
        conflict_start=np.zeros(len(lanes) + 1, np.int32),
        conflict_lane=nothing.astype(np.int32),
        conflict_kind=nothing.astype(np.uint8),
        conflict_from=nothing,
        conflict_to=nothing,
        conflict_other_from=nothing,
        conflict_other_to=nothing,
        conflict_yield=nothing.astype(np.int8),
        crosswalk_start=_starts([len(c) for c in crosswalks]),
        crosswalk_xyz=np.concatenate([np.zeros((0, 3)), *crosswalks]),
        crossing_lane=nothing.astype(np.int32),
        crossing_from=nothing,
        crossing_to=nothing,
        crossing_crosswalk=nothing.astype(np.int32),
        mark_start=_starts([len(m) for m in marks]),
        mark_xyz=np.concatenate([np.zeros((0, 3)), *marks]),
        mark_kind=np.array([m.kind for m in draft.marks], np.uint8),
        mark_colour=np.array([m.colour for m in draft.marks], np.uint8),
        mark_width=np.array([m.width for m in draft.marks], float),
        area_start=_starts([len(a) for a in areas]),
        area_xy=np.concatenate([np.zeros((0, 2)), *areas]),
        lane_id=np.array([lane.id for lane in lanes], dtype=str),
    )
    inside = np.array([lane.in_junction or bool(lane.junction) for lane in lanes])
    named = np.array([lane.junction for lane in lanes], dtype=str)
    road_map = with_opposites(with_junctions(road_map, inside, named))
    road_map = with_roads(with_legs_joined(road_map, named))
    road_map = dataclasses.replace(road_map, lane_speed_limit=_speed_limits(road_map))
    road_map = with_conflicts(road_map)
    return dataclasses.replace(
        road_map,
        conflict_yield=_yields(draft, road_map, rows, notes),
        signal_junction=_signal_junctions(road_map),
        unsupported=tuple(notes),
    )


def content_hash(source_hash: str) -> str:
    """``RoadMap.content_hash`` of drafts with that ``source_hash``."""
    return hashlib.sha256(f"{source_hash}\0roadloop draft {COMPILER_VERSION}".encode()).hexdigest()


def _starts(lengths: Sequence[int]) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _note(notes: list[str], what: str, ids: Sequence[str]) -> None:
    """One message for all lanes with the same fault."""
    if ids:
        some = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        notes.append(f"{what}: {some}")


def _shaped(draft: MapDraft, notes: list[str]) -> tuple[list[LaneDraft], list[LanePoints]]:
    """The lanes long enough to drive on and their points; links lead past the others."""
    seen: set[str] = set()
    for lane in draft.lanes:
        if lane.id in seen:
            raise RoadloopError(f"map {draft.name}: lane id {lane.id} is used twice; rename one")
        seen.add(lane.id)
    drawn = {lane.id: lane_line(lane, draft.name) for lane in draft.lanes}
    short = [lane for lane in draft.lanes if drawn[lane.id] is None]
    flipped = [i for i, line in drawn.items() if line is not None and line.flipped]
    _note(notes, "right edge drawn against the left one, reversed", flipped)
    _note(notes, f"lanes shorter than {SHORTEST} m, left out", [lane.id for lane in short])
    lanes = {lane.id: lane for lane in draft.lanes}
    for gone in short:
        gone = lanes.pop(gone.id)
        ahead = {*gone.successors, *(i for i, q in lanes.items() if gone.id in q.predecessors)}
        behind = {*gone.predecessors, *(i for i, q in lanes.items() if gone.id in q.successors)}
        for i in sorted(behind & lanes.keys()):
            others = [q for q in lanes[i].successors if q != gone.id]
            followers = tuple(dict.fromkeys([*others, *sorted(ahead)]))
            lanes[i] = dataclasses.replace(lanes[i], successors=followers)
        for i in sorted(ahead & lanes.keys()):
            others = tuple(q for q in lanes[i].predecessors if q != gone.id)
            lanes[i] = dataclasses.replace(lanes[i], predecessors=others)
    lines = {i: line for i in lanes if (line := drawn[i]) is not None}
    before, after = contexts(lanes, {i: line.line for i, line in lines.items()})
    points = [
        lane_points(lane, lines[i], draft.name, before[i], after[i]) for i, lane in lanes.items()
    ]
    return list(lanes.values()), points


def _edges(
    draft: MapDraft, lanes: list[LaneDraft], points: list[LanePoints], rows: dict[str, int],
    notes: list[str],
) -> tuple[Array, Array]:  # fmt: skip
    """Lanes (n,) and their successors (n,), sorted; travel lanes lead only to travel lanes."""
    known = {lane.id for lane in draft.lanes}
    pairs: set[tuple[int, int]] = set()
    astray: list[str] = []
    for row, lane in enumerate(lanes):
        named = {*lane.successors, *lane.predecessors}
        astray += [lane.id] if not named <= known else []
        pairs |= {(row, rows[i]) for i in lane.successors if i in rows}
        pairs |= {(rows[i], row) for i in lane.predecessors if i in rows}
    _note(notes, "links to lanes the map does not have, from lanes", astray)
    kept, apart = [], []
    for a, b in sorted(pairs):
        travel = [lanes[q].kind <= LaneKind.BIDIRECTIONAL for q in (a, b)]
        if a == b or travel[0] != travel[1]:
            continue
        jump = np.hypot(*(points[a].xyz[-1] - points[b].xyz[0])[:2])
        if jump > GAP + (points[a].width[-1] + points[b].width[0]) / 4.0:
            apart.append(f"{lanes[a].id} to {lanes[b].id} ({jump:.1f} m)")
        else:
            kept.append((a, b))
    _note(notes, "links between lanes that do not meet, left out", apart)
    ordered = np.array(kept, np.int32).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def _neighbours(
    lanes: list[LaneDraft], points: list[LanePoints], rows: dict[str, int], notes: list[str]
) -> dict[str, Array]:
    """The arrays ``lane_left`` to ``lane_change_right``.

    A neighbour named by one of two lanes is that of both, unless the other names a third. What is
    called a neighbour but runs the other way is the opposite lane.
    """
    travel = [lane.kind <= LaneKind.BIDIRECTIONAL for lane in lanes]
    named = {"left": {}, "right": {}, "opposite": {}}
    not_beside: list[str] = []
    for row, lane in enumerate(lanes):
        for side, other_id in (
            ("left", lane.left_neighbour),
            ("right", lane.right_neighbour),
            ("opposite", lane.opposite),
        ):
            other = rows.get(other_id, -1)
            if other < 0 or other == row or not (travel[row] and travel[other]):
                continue
            same_way, beside = _alongside(points[row], points[other])
            if beside < ALONGSIDE:
                not_beside.append(f"{lane.id} and {other_id}")
            elif (side == "opposite") == same_way:
                if side != "opposite":
                    named["opposite"].setdefault(row, other)
            else:
                named[side][row] = other
    _note(notes, "neighbours that do not lie side by side, left out", not_beside)
    for side, back in (("left", "right"), ("right", "left"), ("opposite", "opposite")):
        for row, other in list(named[side].items()):
            named[back].setdefault(other, row)
    count = len(lanes)
    left, right, opposite = np.full((3, count), -1, np.int32)
    for array, side in ((left, "left"), (right, "right"), (opposite, "opposite")):
        array[list(named[side].keys())] = list(named[side].values())

    def change(neighbour: Array, allowed: list[bool | None]) -> Array:
        return (neighbour >= 0) & np.array([a is None or a for a in allowed])

    return {
        "lane_left": left,
        "lane_right": right,
        "lane_opposite": opposite,
        "lane_change_left": change(left, [lane.change_left for lane in lanes]),
        "lane_change_right": change(right, [lane.change_right for lane in lanes]),
    }


def _alongside(one: LanePoints, other: LanePoints) -> tuple[bool, float]:
    """Whether they run the same way, and the share of the shorter lane that is beside the other."""
    from scipy.spatial import KDTree

    short, long = (one, other) if one.s[-1] <= other.s[-1] else (other, one)
    reach = (short.width.max() + long.width.max()) * 0.75 + GAP
    away, at = KDTree(long.xyz[:, :2]).query(short.xyz[:, :2])
    same = np.cos(short.heading - long.heading[at])
    return bool(same.mean() > 0.0), float(((away < reach) & (np.abs(same) > 0.7)).mean())


def _stated_limits(draft: MapDraft, lanes: list[LaneDraft]) -> Array:
    """Limits (L,) m/s, NaN where there is none."""
    for lane in lanes:
        if lane.speed_limit is not None and not 0.0 < lane.speed_limit < np.inf:
            raise RoadloopError(
                f"map {draft.name}: lane {lane.id} has the speed limit {lane.speed_limit} m/s; "
                "give a positive one or None"
            )
    return np.array([np.nan if q.speed_limit is None else q.speed_limit for q in lanes], float)


def _speed_limits(road_map: RoadMap) -> Array:
    """Limits (L,) m/s for all: lanes in junctions take the lowest of those before and after."""
    speed = np.where(
        (road_map.lane_junction < 0) & np.isnan(road_map.lane_speed_limit),
        TOWN_SPEED,
        road_map.lane_speed_limit,
    )
    first = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    for _ in range(len(speed)):
        lower = np.full(len(speed), np.inf)
        for a, b in ((first, road_map.successor), (road_map.successor, first)):
            known = np.isnan(speed[a]) & ~np.isnan(speed[b])
            np.minimum.at(lower, a[known], speed[b[known]])
        found = np.isfinite(lower)
        if not found.any():
            break
        speed[found] = lower[found]
    return np.where(np.isnan(speed), TOWN_SPEED, speed)


def _signals(
    draft: MapDraft, lanes: list[LaneDraft], points: list[LanePoints], rows: dict[str, int],
    notes: list[str],
) -> dict[str, Array]:  # fmt: skip
    """The ``signal_*`` and ``stop_*`` arrays, junctions not yet known."""
    stops: set[tuple[int, float, int]] = set()
    astray: list[str] = []
    for index, signal in enumerate(draft.signals):
        if signal.kind not in GOVERNING:
            continue
        here = []
        for lane, s in signal.stops:
            if lane in rows:
                end = float(points[rows[lane]].s[-1])
                at = end if s is None else float(np.clip(s, 0.0, end))
                here.append((rows[lane], at, index))
        stops.update(here)
        astray += [signal.id] if not here else []
    _note(notes, "signals that govern no lane", astray)
    groups = sorted({s.group for s in draft.signals if s.group})
    controller = {group: k for k, group in enumerate(groups)}
    ordered = sorted(stops)
    signals = draft.signals
    return {
        "signal_id": np.array([s.id for s in signals], dtype=str),
        "signal_kind": np.array([s.kind for s in signals], np.uint8),
        "signal_xyz": np.array([s.xyz for s in signals], float).reshape(-1, 3),
        "signal_heading": np.array([s.heading for s in signals], float),
        "signal_value": np.array([s.value for s in signals], float),
        "signal_controller": np.array([controller.get(s.group, -1) for s in signals], np.int32),
        "signal_junction": np.full(len(signals), -1, np.int32),
        "stop_lane": np.array([r[0] for r in ordered], np.int32),
        "stop_s": np.array([r[1] for r in ordered], float),
        "stop_signal": np.array([r[2] for r in ordered], np.int32),
    }


def _signal_junctions(road_map: RoadMap) -> Array:
    """(S,) int32 the first junction at or after the stop lines of each signal, -1 where none."""
    junction = road_map.signal_junction.copy()
    for lane, signal in zip(road_map.stop_lane, road_map.stop_signal, strict=True):
        if junction[signal] < 0:
            reached = np.array([lane, *road_map.successors_of(lane)])
            inside = road_map.lane_junction[reached]
            junction[signal] = next((j for j in inside.tolist() if j >= 0), -1)
    return junction


def _yields(draft: MapDraft, road_map: RoadMap, rows: dict[str, int], notes: list[str]) -> Array:
    """``conflict_yield`` with the draft's own rules before those of the road."""
    result = road_map.conflict_yield.copy()
    if not draft.yields:
        return result
    rules = {(y.lane, y.to) for y in draft.yields}
    unknown = [f"{a} to {b}" for a, b in sorted(rules) if a not in rows or b not in rows]
    _note(notes, "right of way between lanes the map does not have", unknown)
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.conflict_start))
    sure: dict[tuple[int, int], int] = {}
    for a, b in sorted(rules):
        if a in rows and b in rows:
            for one in _ahead(road_map, rows[a]):
                for other in _ahead(road_map, rows[b]):
                    sure[one, other] = sure.get((one, other), 0) | 1
                    sure[other, one] = sure.get((other, one), 0) | 2
    for k in np.flatnonzero(road_map.conflict_kind != ConflictKind.DIVERGE).tolist():
        said = sure.get((int(lane[k]), int(road_map.conflict_lane[k])), 0)
        if said in (1, 2):
            result[k] = 1 if said == 1 else -1
    return result


def _ahead(road_map: RoadMap, lane: int) -> list[int]:
    """The lane and those of junctions that follow it within YIELD_REACH."""
    found, edge = [lane], [(lane, 0.0)]
    while edge:
        at, gone = edge.pop()
        for following in road_map.successors_of(at).tolist():
            if following not in found and road_map.lane_junction[following] >= 0:
                found.append(following)
                further = gone + float(road_map.lane_length[following])
                if further < YIELD_REACH:
                    edge.append((following, further))
    return found


def _crosswalk(draft: MapDraft, index: int, corners: Array) -> Array:
    """Its corners counter-clockwise, seen from above."""
    corners = checked_points(corners, f"map {draft.name}: crosswalk {index}", 3, 3)
    if np.array_equal(corners[0], corners[-1]):
        corners = corners[:-1]
    x, y = (corners[:, :2] - corners[0, :2]).T
    return corners if x @ np.roll(y, -1) >= y @ np.roll(x, -1) else corners[::-1]
