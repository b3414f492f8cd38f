"""Which lanes circulate: rings of lanes that turn once around a free centre.

A ring is a closed walk over successors, through lanes without an oncoming neighbour, that turns by
2 pi in the circulating direction (left in right-hand traffic), nowhere bends back noticeably, is as
round as a circle within reason, and has no travel lane near its centre. That tells roundabouts from
city blocks one can drive around with four turns. A ring may run through one junction, several, or
through plain roads between them. Not found: roundabouts drawn as one junction whose connecting
roads each run from entry to exit, because no lane of those closes a ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roadloop.geometry import wrap_angle

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

LONGEST_RING = 400.0
"""m around: a radius of 64 m; larger rings are roads"""
BEND_BACK = 0.15
"""rad a ring lane may turn against the ring (noise of drawn roads)"""
TURN_TOLERANCE = 0.4
"""rad the turning may miss 2 pi by, for kinks where lanes meet"""
ROUNDNESS = 0.85
"""least 4 pi area / length^2: 1 for a circle, 0.79 for a square, 0.84 for an ellipse of 2 to 1"""
FREE_CENTRE = 0.4
"""share of the ring's radius around its centre that holds no travel lane"""


def lane_turns(road_map: RoadMap) -> Array:
    """(L,) rad each lane turns in all, left positive, not wrapped."""
    turns = np.zeros(road_map.lanes)
    if road_map.lanes:
        step = wrap_angle(np.diff(road_map.point_heading, append=0.0))
        step[road_map.point_start[1:] - 1] = 0.0  # from one lane to the next
        turns = np.add.reduceat(step, road_map.point_start[:-1])
    return turns


def roundabout_lanes(road_map: RoadMap) -> Array:
    """(L,) bool: lanes that circulate on a roundabout."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, dijkstra

    on_ring = np.zeros(road_map.lanes, bool)
    sense = -1.0 if road_map.left_hand else 1.0
    turns = sense * lane_turns(road_map)
    candidate = road_map.is_travel & (road_map.lane_opposite < 0) & (turns > -BEND_BACK)
    candidate &= road_map.lane_length < LONGEST_RING
    begin = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    keep = candidate[begin] & candidate[road_map.successor]
    begin, end = begin[keep], road_map.successor[keep]
    if not len(begin):
        return on_ring
    size = (road_map.lanes, road_map.lanes)
    graph = csr_array((road_map.lane_length[begin], (begin, end)), shape=size)
    _, component = connected_components(graph, directed=True, connection="strong")
    inside = component[begin] == component[end]
    begin, end = begin[inside], end[inside]
    lanes = np.unique(begin)
    if not len(lanes):
        return on_ring
    begin, end = np.searchsorted(lanes, begin), np.searchsorted(lanes, end)
    graph = csr_array(
        (road_map.lane_length[lanes[begin]], (begin, end)), shape=(len(lanes), len(lanes))
    )
    travel = np.repeat(road_map.is_travel, np.diff(road_map.point_start))
    travel_xy = road_map.point_xyz[travel, :2]
    for k in range(len(lanes)):
        if on_ring[lanes[k]]:
            continue
        reach, before = dijkstra(graph, indices=k, limit=LONGEST_RING, return_predecessors=True)
        home = begin[end == k]  # the ring closes over one of the lanes that lead back here
        last = home[np.argmin(reach[home] + road_map.lane_length[lanes[home]])]
        if not np.isfinite(reach[last]):
            continue
        ring = [int(last)]
        while ring[-1] != k:
            ring.append(int(before[ring[-1]]))
        ring_lanes = lanes[ring[::-1]]
        if abs(turns[ring_lanes].sum() - 2.0 * np.pi) > TURN_TOLERANCE:
            continue
        if _is_round(road_map, ring_lanes, travel_xy):
            on_ring[ring_lanes] = True
    return on_ring


def _is_round(road_map: RoadMap, ring: Array, travel_xy: Array) -> bool:
    """Whether the closed walk over lanes ``ring`` is a circle about ground free of travel lanes."""
    xy = np.concatenate([road_map.point_xyz[road_map.points_of(lane), :2] for lane in ring])
    follow = np.roll(xy, -1, axis=0)
    length = np.linalg.norm(follow - xy, axis=1).sum()
    area = abs(xy[:, 0] @ follow[:, 1] - xy[:, 1] @ follow[:, 0]) / 2.0
    if length > LONGEST_RING or 4.0 * np.pi * area < ROUNDNESS * length**2:
        return False
    free = FREE_CENTRE * np.sqrt(area / np.pi)
    return bool((np.linalg.norm(travel_xy - xy.mean(axis=0), axis=1) > free).all())
