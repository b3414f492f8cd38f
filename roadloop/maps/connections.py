"""Connections: the chains of lanes that lead one road through one junction.

A connecting road of several lane sections is several lanes in a row; what makes a turn, shares an
entry or ends in a lane is the whole chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray


def connections(road_map: RoadMap) -> tuple[Array, Array]:
    """(L,) first and (L,) last lane of the connection each lane is part of.

    Outside junctions a lane stands for itself.
    """
    begin = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    end, junction = road_map.successor.astype(np.int64), road_map.lane_junction
    same = (junction[begin] >= 0) & (junction[begin] == junction[end]) & (begin != end)
    same &= road_map.lane_road[begin] == road_map.lane_road[end]
    begin, end = begin[same], end[same]
    # a fork within one road ends the chain
    alone = (np.bincount(begin, minlength=road_map.lanes)[begin] == 1) & (
        np.bincount(end, minlength=road_map.lanes)[end] == 1
    )
    begin, end = begin[alone], end[alone]
    first, last = np.arange(road_map.lanes), np.arange(road_map.lanes)
    before, after = first.copy(), last.copy()
    before[end], after[begin] = begin, end
    for _ in range(len(begin)):  # as often as the longest chain has links
        if (before[first] == first).all() and (after[last] == last).all():
            break
        first, last = before[first], after[last]
    return first, last
