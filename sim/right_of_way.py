"""Who goes first where lanes share ground.

An agent may enter a junction lane only when it has *granted* itself the lane. It does so shortly
before the entry, if nobody with a better claim needs shared ground at the same time. Claims are
ordered (being inside or granted, the map's right of way, arrival, index), so of two agents that
decide in the same step at most one takes the ground; times at the shared ground decide whether
there is a conflict at all. Two agents that hold crossing grants anyway are ordered by who reaches
the shared ground first.
"""

from __future__ import annotations

import warp as wp

from sim.car_following import time_to
from sim.lane_graph import Conflict, LaneGraph
from sim.state import Agent

CROSS = wp.constant(0)  # ConflictKind
MERGE = wp.constant(1)
PATIENCE = wp.constant(8.0)
"""s at a standstill after which rank gives way to whoever has waited longest"""
LAST_RESORT = wp.constant(20.0)
"""s after which an agent goes although someone who does not move has the better claim"""


@wp.struct
class Claim:
    """How agent and rival meet at shared ground, in m along each one's path from its front."""

    entered: wp.int32  # inside the lane or granted
    entry: wp.float32  # m to the lane's entry
    reach: wp.float32  # m from the front to the shared ground
    clear: wp.float32  # m until the rear has left it
    end: wp.float32  # m from the box centre to the end of the shared ground


@wp.func
def find_conflict(g: LaneGraph, lane: wp.int32, other: wp.int32):
    """Row of the conflict between two lanes, -1 where there is none."""
    row = g.lane[lane]
    for k in range(row.conflict, row.conflict + row.conflicts):
        if g.conflict[k].lane == other:
            return k
    return -1


@wp.func
def held_by_light(
    g: LaneGraph,
    a: Agent,
    half: wp.float32,
    hops: wp.int32,
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
):
    """Whether a red light (or a yellow it can stop for) stands before the agent's lane ``hops`` on."""
    start = float(0.0)
    for k in range(hops + 1):
        lane = a.ahead[k]
        row = g.lane[lane]
        for q in range(row.stop, row.stop + row.stops):
            line = g.stop[q]
            if line.kind == 0:
                distance = start + line.s - a.s - half
                state = lights[w, line.signal]
                if distance > -0.5:
                    if state == 1 or state == 2:
                        return True
                    if state == 3 and a.speed * a.speed < 2.0 * 3.5 * distance:
                        return True
        start = start + row.length
    return False


@wp.func
def must_wait(
    c: Conflict, mine: Claim, a: Agent, i: wp.int32, theirs: Claim, o: Agent, j: wp.int32
):
    """Whether agent i must leave the shared ground to agent j."""
    my_in = time_to(mine.reach, a.speed, 1.5)
    my_out = time_to(mine.clear, a.speed, 1.2)
    their_in = time_to(theirs.reach, o.speed, 1.5)
    their_out = time_to(theirs.clear, o.speed, 1.2)
    if mine.entered == 1 and theirs.entered == 1:
        if mine.reach <= 0.0:
            # Both on the ground can only be a merge's tail; the one further on leads.
            return theirs.reach <= 0.0 and (
                theirs.clear < mine.clear or (theirs.clear == mine.clear and j < i)
            )
        if theirs.reach <= 0.0:
            return True
        return their_in < my_in or (their_in == my_in and j < i)
    if mine.entered == 1:
        return False
    if theirs.entered == 1:
        if o.speed > 2.0 and their_out + 1.0 < my_in:
            return False
        return their_in < my_out + 1.5
    # Nobody is in: only those who want the ground at about the same time matter.
    margin = 1.0
    if c.give_way > 0:
        margin = 2.0
    if their_in > my_out + margin:
        return False
    if o.speed > 2.0 and their_out + 1.0 < my_in:
        return False
    if a.waited > PATIENCE and o.waited > 0.4 * PATIENCE:
        if a.waited > LAST_RESORT:
            return False
        return o.waited > a.waited or (o.waited == a.waited and j < i)
    if c.give_way != 0:
        return c.give_way > 0
    my_turn = time_to(mine.entry, a.speed, 1.5) - a.waited
    their_turn = time_to(theirs.entry, o.speed, 1.5) - o.waited
    return their_turn < my_turn or (their_turn == my_turn and j < i)
