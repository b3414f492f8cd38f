"""An agent's path over the lane graph: finding its lane, moving along, choosing the way on."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LEVEL, LaneGraph, cell_of, project, wrap
from sim.state import AHEAD, Agent, Traits, lane_chain

OFF_LANE_ANGLE = wp.constant(1.3)
"""rad: heading further off than this is not following the lane"""


@wp.func
def next_lane(
    g: LaneGraph,
    lane: wp.int32,
    turning: wp.float32,
    route: wp.array3d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
    u: wp.float32,
):
    """The lane after ``lane`` for an agent that wanders, by the uniform random number ``u``.

    A successor named in the agent's route goes first. Dead ends and corners tighter than
    ``turning`` (1/m, what the vehicle can drive) are taken only where there is no other way.
    """
    row = g.lane[lane]
    wide = int(0)
    open_ways = int(0)
    for k in range(row.successors):
        s = g.successor[row.successor + k]
        for h in range(route.shape[2]):
            if route[w, i, h] < 0:
                break
            if route[w, i, h] == s:
                return s
        if g.lane[s].onward == 1:
            open_ways = open_ways + 1
            if g.lane[s].tightest <= turning:
                wide = wide + 1
    pool = wide
    if pool == 0:
        pool = open_ways
    if pool == 0:
        pool = row.successors
    pick = wp.min(wp.int32(u * wp.float32(pool)), pool - 1)
    for k in range(row.successors):
        s = g.successor[row.successor + k]
        onward = g.lane[s].onward == 1
        fits = onward and g.lane[s].tightest <= turning
        if open_ways == 0 or (wide == 0 and onward) or fits:
            if pick == 0:
                return s
            pick = pick - 1
    return -1


@wp.func
def refill(
    g: LaneGraph, a: Agent, t: Traits, route: wp.array3d(dtype=wp.int32), w: wp.int32, i: wp.int32
):
    """Completes ``a.ahead`` up to AHEAD lanes: its fixed route first, then wandering."""
    chain = a.ahead
    for k in range(1, AHEAD):
        if chain[k] < 0 and chain[k - 1] >= 0:
            following = int(-1)
            if t.controlled == 0 and a.hop < route.shape[2]:
                following = route[w, i, a.hop]
                if following >= 0:
                    a.hop = a.hop + 1
            if following < 0:
                dice = wp.rand_init(t.seed, a.draws)
                a.draws = a.draws + 1
                following = next_lane(g, chain[k - 1], t.turning, route, w, i, wp.randf(dice))
            chain[k] = following
    a.ahead = chain
    return a


@wp.func
def shift(a: Agent):
    """The agent has left ahead[0]: everything moves up by one."""
    chain = a.ahead
    for k in range(AHEAD - 1):
        chain[k] = chain[k + 1]
    chain[AHEAD - 1] = -1
    a.ahead = chain
    a.lane = chain[0]
    return a


@wp.func
def follow_on(g: LaneGraph, a: Agent, x: wp.float32, y: wp.float32, moved: wp.float32):
    """The agent on its path after ``moved`` m, with the lane's heading and width there.

    Its lane is -1 where the path ends.
    """
    at = project(g, a.lane, x, y, a.s + moved)
    for _hop in range(4):
        length = g.lane[a.lane].length
        if at.s <= length:
            break
        over = at.s - length
        a = shift(a)
        if a.lane < 0:
            break
        at = project(g, a.lane, x, y, over)
    a.s = at.s
    a.lateral = at.lateral
    a.z = at.z
    if a.from_lane >= 0:
        a.from_s = a.from_s + moved
        if a.from_s > g.lane[a.from_lane].length:
            a.from_lane = -1
    return a, at.heading, at.width


@wp.func
def locate(
    g: LaneGraph,
    a: Agent,
    x: wp.float32,
    y: wp.float32,
    route: wp.array3d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
):
    """Finds the lane of an agent that steers by itself: the best one under its box centre.

    Lanes of its route are preferred; lane becomes -1 where none is followed. Returns the lane's
    heading and width too.
    """
    best = float(1.0e9)
    lane = int(-1)
    s = float(0.0)
    lateral = float(0.0)
    z = a.z
    heading = float(0.0)
    width = float(0.0)
    cell = cell_of(g, x, y)
    if cell >= 0:
        for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
            q = g.cell_lane[k]
            row = g.lane[q]
            if row.travel == 1:
                at = project(g, q, x, y, wp.float32(g.cell_point[k]) * row.spacing)
                turn = wp.abs(wrap(a.heading - at.heading))
                inside = wp.abs(at.lateral) <= 0.5 * at.width + 0.3 and wp.abs(at.z - a.z) < LEVEL
                if inside and at.s >= -0.5 and at.s <= row.length + 0.5 and turn < OFF_LANE_ANGLE:
                    cost = wp.abs(at.lateral) + 2.0 * turn
                    for h in range(route.shape[2]):
                        if route[w, i, h] < 0:
                            break
                        if route[w, i, h] == q:
                            cost = cost - 1.0
                    if cost < best:
                        best = cost
                        lane = q
                        s = at.s
                        lateral = at.lateral
                        z = at.z
                        heading = at.heading
                        width = at.width
    a.lane = lane
    a.z = z
    a.s = s
    a.lateral = lateral
    chain = lane_chain()
    for k in range(AHEAD):
        chain[k] = -1
    chain[0] = lane
    a.ahead = chain
    return a, heading, width
