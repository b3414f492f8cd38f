"""What is in an agent's way: leaders on its path, and bodies that reach into it."""

from __future__ import annotations

import warp as wp

from roadloop.types import AgentKind
from sim.car_following import following, stopping
from sim.decision import Decision, View, least
from sim.lane_graph import LaneGraph, project, wrap
from sim.right_of_way import PATIENCE
from sim.state import Agent, Traits

LONG = wp.constant(6.5)
"""m, length from which a vehicle's ends swing out of its lane in corners"""
CLEARANCE = wp.constant(0.3)
"""m to the side within which a body blocks the path"""


@wp.func
def on_path(g: LaneGraph, v: View, a: Agent, x: wp.float32, y: wp.float32, guess: wp.float32):
    """A point seen from the agent's path; ``s`` counts from the start of ahead[0]."""
    k = int(0)
    while k + 1 < v.lanes and guess > v.start[k + 1]:
        k = k + 1
    at = project(g, a.ahead[k], x, y, guess - v.start[k])
    if at.s > v.start[k + 1] - v.start[k] and k + 1 < v.lanes:
        k = k + 1
        at = project(g, a.ahead[k], x, y, at.s - (v.start[k] - v.start[k - 1]))
    elif at.s < 0.0 and k > 0:
        k = k - 1
        at = project(g, a.ahead[k], x, y, at.s + v.start[k + 1] - v.start[k])
    at.s = at.s + v.start[k]
    return at


@wp.func
def position_on_path(v: View, a: Agent, agents: wp.array2d(dtype=Agent), j: wp.int32):
    """s of agent j on this one's path (from the start of ahead[0]), -1 if not ahead on it."""
    lane = agents[v.world, j].lane
    if lane < 0:
        return -1.0
    leaving = agents[v.world, j].from_lane
    for k in range(v.lanes):
        if lane == a.ahead[k]:
            s = v.start[k] + agents[v.world, j].s
            if s >= a.s:
                return s
        if leaving == a.ahead[k] and agents[v.world, j].change < 0.6:
            s = v.start[k] + agents[v.world, j].from_s
            if s >= a.s:
                return s
    return -1.0


@wp.func
def keep_off_body(
    g: LaneGraph,
    v: View,
    a: Agent,
    t: Traits,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    x: wp.float32,
    y: wp.float32,
    length: wp.float32,
    ahead: wp.float32,
    d: Decision,
):
    """Reacts to an agent that is not on the path by where its body is and will be.

    The body is a box of ``length`` around (x, y), ``ahead`` m ahead; a long one is given in two
    halves, because its ends swing out of its lane in bends.
    """
    if a.s + ahead > v.start[v.lanes] + 10.0:
        return d
    at = on_path(g, v, a, x, y, a.s + ahead)
    turn = wrap(o.heading - at.heading)
    along = wp.abs(wp.cos(turn))
    across = wp.abs(wp.sin(turn))
    reach = 0.5 * (length * along + ot.width * across)
    beside = wp.abs(at.lateral - v.aim)
    side = beside - 0.5 * (length * across + ot.width * along) - 0.5 * t.width
    gap = at.s - a.s - reach - 0.5 * t.length
    if gap < -reach - 0.5 * t.length:  # its middle is behind mine
        return d
    margin = CLEARANCE
    if a.waited > PATIENCE and o.speed < 0.1 and ot.controlled == 0:
        margin = 0.05  # two cars that wait for each other squeeze past where there is any room
    forward = wp.max(o.speed * wp.cos(turn), 0.0)
    if side < margin:
        return least(d, following(a.speed, v.free, gap, forward, t), j)
    if ot.kind == AgentKind.PEDESTRIAN or ot.kind == AgentKind.CYCLIST:
        drift = o.speed * wp.sin(turn)
        if (at.lateral > v.aim and drift < -0.3) or (at.lateral < v.aim and drift > 0.3):
            there = (side - margin) / wp.abs(drift)
            mine = wp.max(gap, 0.0) / wp.max(a.speed, 1.0)
            if there < mine + 1.5 and there < 5.0:
                return least(d, stopping(a.speed, v.free, gap - 1.5, t), j)
    return d


@wp.func
def leave_room_to_swing(
    g: LaneGraph,
    v: View,
    a: Agent,
    t: Traits,
    o: Agent,
    j: wp.int32,
    x: wp.float32,
    y: wp.float32,
    ahead: wp.float32,
    d: Decision,
):
    """A long vehicle lets oncoming traffic out of a corner that is too tight for both.

    It does not wait for those who stand there themselves, at a light say: that would be for ever.
    """
    if a.waited > 4.0:
        return d
    for k in range(1, v.lanes):
        entry = v.start[k] - a.s - 0.5 * t.length
        if entry > 25.0:
            break
        if entry > -1.0 and g.lane[a.ahead[k]].tightest > t.turning:
            at = on_path(g, v, a, x, y, a.s + ahead)
            oncoming = wp.cos(o.heading - at.heading) < 0.3 and wp.abs(at.lateral) < 6.0
            until = v.start[k + 1] + wp.max(2.0 * o.speed, 6.0)
            if oncoming and at.s > v.start[k] - 4.0 and at.s < until:
                d = least(d, stopping(a.speed, v.free, wp.max(entry - 0.5, 0.1), t), j)
            break
    return d


@wp.func
def keep_off(
    g: LaneGraph,
    v: View,
    a: Agent,
    t: Traits,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    ahead: wp.float32,
    d: Decision,
):
    """Reacts to the body of an agent ``ahead`` m ahead that is not on the path."""
    x = wp.float32(o.x - g.origin_x)
    y = wp.float32(o.y - g.origin_y)
    if ot.length > LONG:
        q = 0.25 * ot.length
        for half in range(2):
            end = q * wp.float32(1 - 2 * half)
            ex = end * o.cos
            ey = end * o.sin
            further = ahead + ex * a.cos + ey * a.sin
            d = keep_off_body(g, v, a, t, o, ot, j, x + ex, y + ey, 2.0 * q, further, d)
    else:
        d = keep_off_body(g, v, a, t, o, ot, j, x, y, ot.length, ahead, d)
    if t.length > LONG:
        d = leave_room_to_swing(g, v, a, t, o, j, x, y, ahead, d)
    return d
