"""Junctions, roads and lane numbers of maps that only know lanes.

A junction is a set of lanes that share ground or a leg of the intersection: those a data set says
lie inside one, or, where it says so of none, those that cross others at an angle. Lanes side by
side in one direction, and those of the other direction beside them, are a road, as in OpenDRIVE; so
are, inside a junction, lanes that follow one another without a fork.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.conflicts import CLEARANCE, LanePairs, shared_ground
from roadloop.maps.road_map import ConflictKind

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

CROSSING = np.radians(20.0)
"""lanes that meet at less are drawn too close, or weave"""
TOUCHING = 0.5
"""m between the edges of lanes without a median"""
LEG = 30.0
"""m, the widest leg of an intersection"""


def with_junctions(road_map: RoadMap, inside: Array, named: Array) -> RoadMap:
    """The map with ``lane_junction`` and ``junction_id`` filled in.

    ``inside`` (L,) bool are the lanes inside intersections, none where the source does not know;
    ``named`` (L,) str names the intersection, empty where it has no name.
    """
    inside = inside & road_map.is_travel
    candidate = inside if inside.any() else road_map.is_travel
    everything = dataclasses.replace(
        road_map,
        lane_road=np.arange(road_map.lanes).astype(str),
        lane_junction=np.where(candidate, 0, -1).astype(np.int32),
        junction_id=np.array(["0"]),
    )
    pairs = shared_ground(everything)
    one, other = pairs.lane, pairs.other
    if not inside.any():
        crossing = _crossing(road_map, pairs)
        inside = np.zeros(road_map.lanes, bool)
        inside[np.concatenate([one[crossing], other[crossing]])] = True
        # what forks off or joins in is part of it, too
        beside = (pairs.kind != ConflictKind.CROSS) & (inside[one] | inside[other])
        inside[np.concatenate([one[beside], other[beside]])] = True
    kept = inside[one] & inside[other]
    follow = _edges(road_map)
    follow = follow[inside[follow].all(axis=1)]
    beside = np.column_stack([np.arange(road_map.lanes), road_map.lane_left])
    beside = beside[beside[:, 1] >= 0]
    beside = beside[inside[beside].all(axis=1)]
    links = np.concatenate([np.column_stack([one, other])[kept], follow, beside])
    # a named intersection is all lanes of its name, and no others
    names, group = np.unique(named, return_inverse=True)
    links = links[group[links[:, 0]] == group[links[:, 1]]]
    first = {}
    for lane in np.flatnonzero(inside & (named != "")).tolist():
        head = first.setdefault(int(group[lane]), lane)
        links = np.concatenate([links, [[head, lane]]])
    component = _components(links, road_map.lanes)
    junction = np.full(road_map.lanes, -1, np.int32)
    used: list[str] = []
    taken = set(names.tolist())
    for lane in np.flatnonzero(inside).tolist():
        if junction[lane] >= 0:
            continue
        junction[inside & (component == component[lane])] = len(used)
        name = str(named[lane]) or str(road_map.lane_id[lane])
        while not named[lane] and name in taken:
            name += "'"
        taken.add(name)
        used.append(name)
    return dataclasses.replace(
        road_map,
        lane_junction=junction,
        junction_id=np.array(used, dtype=str),
        junction_is_roundabout=np.zeros(len(used), bool),
    )


def with_opposites(road_map: RoadMap) -> RoadMap:
    """The map with ``lane_opposite`` also where it is only drawn, not stated.

    Two lanes outside junctions are opposite where for most of the shorter one their inner edges
    run within TOUCHING of each other and traffic runs in opposite directions.
    """
    from scipy.spatial import KDTree

    beside = road_map.lane_right if road_map.left_hand else road_map.lane_left
    open_side = road_map.is_travel & (road_map.lane_junction < 0)
    open_side &= (beside < 0) & (road_map.lane_opposite < 0)
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))
    rows = np.flatnonzero(open_side[lane])
    heading = road_map.point_heading[rows]
    half = road_map.point_width[rows] / (-2.0 if road_map.left_hand else 2.0)
    edge = road_map.point_xyz[rows, :2] + half[:, None] * np.column_stack(
        [-np.sin(heading), np.cos(heading)]
    )
    pairs = KDTree(edge).query_pairs(TOUCHING, output_type="ndarray")
    a, b = np.concatenate([pairs, pairs[:, ::-1]]).T
    against = np.cos(heading[a] - heading[b]) < -0.9
    level = np.abs(road_map.point_xyz[rows[a], 2] - road_map.point_xyz[rows[b], 2]) < CLEARANCE
    a, b = a[against & level], b[against & level]
    touched = np.unique(np.column_stack([lane[rows[a]], lane[rows[b]], a]), axis=0)
    both, count = np.unique(touched[:, :2], axis=0, return_counts=True)
    size = np.diff(road_map.point_start)
    share = {(i, k): n / size[i] for (i, k), n in zip(both.tolist(), count.tolist(), strict=True)}
    best = sorted(share, key=lambda pair: (-max(share[pair], share[pair[::-1]]), pair))
    opposite = road_map.lane_opposite.copy()
    for i, k in best:
        if max(share[i, k], share[k, i]) > 0.5 and opposite[i] < 0 and opposite[k] < 0:
            opposite[i], opposite[k] = k, i
    return dataclasses.replace(road_map, lane_opposite=opposite)


def with_legs_joined(road_map: RoadMap, named: Array) -> RoadMap:
    """The map with junctions made one that meet the same leg of an intersection.

    A turn that shares no ground with others leaves the road the others leave, beside them, or
    enters the road they come from. ``named`` (L,) as in ``with_junctions``: names are left alone.
    """
    junction = road_map.lane_junction
    rows = np.arange(road_map.lanes)
    sides = [road_map.lane_left, road_map.lane_right]
    beside = np.concatenate([np.column_stack([rows, side])[side >= 0] for side in sides])
    carriageway = _components(beside, road_map.lanes)
    across = np.flatnonzero(road_map.lane_opposite >= 0)
    oncoming = dict(
        zip(carriageway[across], carriageway[road_map.lane_opposite[across]], strict=True)
    )
    start, end = road_map.point_start[:-1], road_map.point_start[1:] - 1
    legs: dict[tuple[int, bool], list[tuple[int, Array]]] = {}
    for lane, following in _edges(road_map).tolist():
        if junction[lane] < 0 <= junction[following] and not named[following]:
            place = following, road_map.point_xyz[start[following]]
            legs.setdefault((int(carriageway[lane]), True), []).append(place)
        elif junction[following] < 0 <= junction[lane] and not named[lane]:
            # where a road leaves, the oncoming one arrives
            out = int(carriageway[following])
            key = (int(oncoming[out]), True) if out in oncoming else (out, False)
            legs.setdefault(key, []).append((lane, road_map.point_xyz[end[lane]]))
    links = [
        (junction[lane], junction[other])
        for leg in legs.values()
        for k, (lane, place) in enumerate(leg)
        for other, there in leg[:k]
        if np.linalg.norm(place - there) < LEG
    ]
    count = len(road_map.junction_id)
    head = _components(np.array(links, np.int64).reshape(-1, 2), count)
    kept, index = np.unique(head, return_inverse=True)
    return dataclasses.replace(
        road_map,
        lane_junction=np.where(junction >= 0, index[junction], -1).astype(np.int32)
        if count
        else junction,
        junction_id=road_map.junction_id[kept],
        junction_is_roundabout=np.zeros(len(kept), bool),
    )


def with_roads(road_map: RoadMap) -> RoadMap:
    """The map with ``lane_road``, ``lane_section`` and ``lane_number``.

    A road has the id of its first lane; numbers count from the middle of the road outwards as in
    OpenDRIVE, those of the first lane's direction negative (positive where traffic keeps left).
    """
    count = road_map.lanes
    rows = np.arange(count)
    sides = [road_map.lane_left, road_map.lane_right]
    beside = np.concatenate([np.column_stack([rows, side])[side >= 0] for side in sides])
    carriageway = _components(beside, count)
    across = np.column_stack([rows, road_map.lane_opposite])[road_map.lane_opposite >= 0]
    whole = _components(np.concatenate([beside, across]), count)
    section, road = _sections(road_map, whole)
    number = np.zeros(count, np.int32)
    inner = road_map.lane_right if road_map.left_hand else road_map.lane_left
    outer = road_map.lane_left if road_map.left_hand else road_map.lane_right
    for lane in rows.tolist():
        if number[lane]:
            continue
        members = np.flatnonzero(carriageway == carriageway[lane])
        with_first = carriageway[np.flatnonzero(whole == whole[lane])[0]] == carriageway[lane]
        sign = -1 if with_first != road_map.left_hand else 1
        order, at = [], int(next((m for m in members if inner[m] < 0), members[0]))
        while at >= 0 and at not in order:
            order.append(at)
            at = int(outer[at])
        order += [m for m in members.tolist() if m not in order]
        number[order] = sign * np.arange(1, len(order) + 1)
    return dataclasses.replace(
        road_map,
        lane_road=road_map.lane_id[road],
        lane_section=section,
        lane_number=number,
    )


def _sections(road_map: RoadMap, road: Array) -> tuple[Array, Array]:
    """Section (L,) int32 and road (L,), its first lane, once rows of lanes in junctions are one."""
    junction = road_map.lane_junction
    edges = _edges(road_map)
    edges = edges[(junction[edges[:, 0]] >= 0) & (junction[edges[:, 0]] == junction[edges[:, 1]])]
    edges = edges[road[edges[:, 0]] != road[edges[:, 1]]]
    leaving = np.bincount(edges[:, 0], minlength=road_map.lanes)
    entering = np.bincount(edges[:, 1], minlength=road_map.lanes)
    edges = edges[(leaving[edges[:, 0]] == 1) & (entering[edges[:, 1]] == 1)]
    after: dict[int, int] = {}
    before: dict[int, int] = {}
    for a, b in road[edges].tolist():
        if after.get(a, b) == b and before.get(b, a) == a:
            after[a], before[b] = b, a
    section, home = np.zeros(road_map.lanes, np.int32), road.copy()
    for head in sorted(set(after) - set(before)):  # a closed ring has none: it stays in parts
        at, k = head, 0
        while at in after:
            at, k = after[at], k + 1
            section[road == at], home[road == at] = k, head
    return section, home


def _crossing(road_map: RoadMap, pairs: LanePairs) -> Array:
    """(pairs,) bool: the two cross at an angle, and are not drawn over one another sideways."""
    crossing = pairs.kind == ConflictKind.CROSS
    for sides in (road_map.lane_left, road_map.lane_right, road_map.lane_opposite):
        crossing &= (sides[pairs.lane] != pairs.other) & (sides[pairs.other] != pairs.lane)
    for k in np.flatnonzero(crossing).tolist():
        ranges = []
        for lane, begin, end in (
            (pairs.lane[k], pairs.begin[k], pairs.end[k]),
            (pairs.other[k], pairs.other_begin[k], pairs.other_end[k]),
        ):
            rows = road_map.points_of(int(lane))
            s = road_map.point_s[rows]
            ranges.append(road_map.point_heading[rows][(s >= begin) & (s <= end)])
        turn = np.abs(wrap_angle(ranges[0][:, None] - ranges[1]))
        crossing[k] = bool(turn.size and np.minimum(turn, np.pi - turn).min() > CROSSING)
    return crossing


def _edges(road_map: RoadMap) -> Array:
    begin = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    return np.column_stack([begin, road_map.successor]).astype(np.int64)


def _components(links: Array, count: int) -> Array:
    """(count,) the smallest member of the component each item is part of."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]
