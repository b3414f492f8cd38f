"""Which lanes of a map turn off, so that drivers indicate it."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap
from sim.driving_line import unwrapped

TURN = np.radians(30.0)
"""rad of heading from which a way through a junction is a turn"""


def turning_side(m: RoadMap) -> np.ndarray:
    """(L,) int8: 1 where a lane belongs to a left turn through a junction, -1 to a right one, 0.

    A connecting road may be cut into several lane sections: what counts is the turn of the whole.
    On a roundabout only ways off the ring (and into it) are indicated, not going round.
    """
    heading = unwrapped(m, m.point_heading)
    turn = heading[m.point_start[1:] - 1] - heading[m.point_start[:-1]]
    inside = (m.lane_junction >= 0) & m.is_travel
    turn = np.where(inside, turn, 0.0)
    source = np.repeat(np.arange(m.lanes), np.diff(m.successor_start))
    target = m.successor
    same = inside[source] & inside[target] & (m.lane_road[source] == m.lane_road[target])
    after, before = np.full(m.lanes, -1), np.full(m.lanes, -1)
    after[source[same]], before[target[same]] = target[same], source[same]
    total = turn + _along(turn, after) + _along(turn, before)
    side = np.where(np.abs(total) > TURN, np.sign(total), 0.0).astype(np.int8)
    ring = np.zeros(m.lanes, bool)
    ring[inside] = m.junction_is_roundabout[m.lane_junction[inside]]
    side[ring & (side == (-1 if m.left_hand else 1))] = 0
    return side


def _along(turn: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(L,) the sum of ``turn`` over the lanes that follow each one; the chains have ends."""
    total = np.zeros(len(turn))
    at = after.copy()
    for _ in range(len(turn)):
        more = at >= 0
        if not more.any():
            break
        total[more] += turn[at[more]]
        at[more] = after[at[more]]
        at[at == np.arange(len(at))] = -1  # a loop of one road
    return total
