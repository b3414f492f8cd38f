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

from roadloop.maps.road_map import ConflictKind, SignalKind
from roadloop.types import LightState
from sim.car_following import following, stopping, time_to
from sim.decision import Decision, View, least
from sim.lane_graph import Conflict, LaneGraph
from sim.state import Agent, Traits

PATIENCE = wp.constant(8.0)
"""s at a standstill after which rank gives way to whoever has waited longest"""
RIVAL_REACH = wp.constant(80.0)
"""m before a lane from which an agent may claim it"""
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
    """Whether a red light, or a yellow it can stop for, is before the agent's lane ``hops`` on."""
    start = float(0.0)
    for k in range(hops + 1):
        lane = a.ahead[k]
        row = g.lane[lane]
        for q in range(row.stop, row.stop + row.stops):
            line = g.stop[q]
            if line.kind == SignalKind.TRAFFIC_LIGHT:
                distance = start + line.s - a.s - half
                state = lights[w, line.signal]
                if distance > -0.5:
                    if state == LightState.RED or state == LightState.RED_YELLOW:
                        return True
                    if state == LightState.YELLOW and a.speed * a.speed < 2.0 * 3.5 * distance:
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


@wp.func
def is_rival(g: LaneGraph, agents: wp.array2d(dtype=Agent), w: wp.int32, j: wp.int32):
    """Whether the lanes an agent is on and comes to next share ground with others at all."""
    start = -agents[w, j].s
    for m in range(4):
        lane = agents[w, j].ahead[m]
        if lane < 0 or start > RIVAL_REACH:
            break
        if g.lane[lane].conflicts > 0:
            return True
        start = start + g.lane[lane].length
    return False


@wp.func
def meeting(g: LaneGraph, v: View, a: Agent, half: wp.float32, k: wp.int32, c: Conflict):
    """The agent's claim to the shared ground of conflict ``c`` on lane ``k`` of its path."""
    mine = Claim()
    mine.entry = v.start[k] - a.s - half
    mine.reach = v.start[k] + c.s_from - a.s - half
    mine.clear = v.start[k] + c.s_to - a.s + half
    mine.end = v.start[k] + c.s_to - a.s
    if g.lane[a.ahead[k]].junction < 0:  # two lanes that run together outside a junction
        if mine.reach <= 0.5:
            mine.entered = 1
    elif k <= v.inside or a.granted == a.ahead[k]:
        mine.entered = 1
    return mine


@wp.func
def rival_meeting(
    g: LaneGraph, o: Agent, half: wp.float32, start: wp.float32, m: wp.int32, c: Conflict
):
    """The same of the other agent, on lane ``m`` of its path, which starts at ``start`` m."""
    theirs = Claim()
    theirs.entry = start - o.s - half
    theirs.reach = start + c.other_from - o.s - half
    theirs.clear = start + c.other_to - o.s + half
    theirs.end = start + c.other_to - o.s
    junction = g.lane[o.ahead[m]].junction
    if junction < 0:
        if theirs.reach <= 0.5:
            theirs.entered = 1
    elif m == 0 or o.granted == o.ahead[m] or g.lane[o.lane].junction == junction:
        theirs.entered = 1
    return theirs


@wp.func
def yield_at_shared_ground(
    g: LaneGraph,
    v: View,
    a: Agent,
    t: Traits,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    lights: wp.array2d(dtype=wp.int32),
    d: Decision,
):
    """Right of way against one other vehicle, for the lanes within the horizon."""
    half = 0.5 * t.length
    other_half = 0.5 * ot.length
    for k in range(v.lanes):
        if v.start[k] - a.s - half > v.horizon:
            break
        lane = g.lane[a.ahead[k]]
        if lane.conflicts > 0:
            start = float(0.0)
            for m in range(4):
                other = o.ahead[m]
                if other < 0 or start - o.s > RIVAL_REACH:
                    break
                if other == a.lane and (m > 0 or o.s < a.s):
                    break  # it comes along behind this agent
                found = int(-1)
                if g.lane[other].junction == lane.junction:
                    found = find_conflict(g, a.ahead[k], other)
                if found >= 0:
                    c = g.conflict[found]
                    mine = meeting(g, v, a, half, k, c)
                    theirs = rival_meeting(g, o, other_half, start, m, c)
                    relevant = (
                        mine.clear > 0.0 and theirs.clear > 0.0 and c.kind != ConflictKind.DIVERGE
                    )
                    if relevant and c.kind == ConflictKind.MERGE and theirs.entered == 1:
                        leads = theirs.end < mine.end or (theirs.end == mine.end and j < v.index)
                        if leads:
                            gap = wp.max(mine.end - theirs.end - half - other_half, mine.reach)
                            d = least(d, following(a.speed, v.free, gap, o.speed, t), j)
                        relevant = not leads
                    if relevant and not held_by_light(g, o, other_half, m, lights, v.world):
                        if must_wait(c, mine, a, v.index, theirs, o, j):
                            line = mine.entry - 0.5
                            if mine.entered == 1 or lane.junction < 0:
                                line = mine.reach - 0.5
                            if line > -1.0:
                                d = least(d, stopping(a.speed, v.free, wp.max(line, 0.1), t), j)
                                d.wait_at = wp.min(d.wait_at, k)
                start = start + g.lane[other].length
    return d
