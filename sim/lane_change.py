"""Lane changes of traffic by MOBIL, and the lateral path they take.

Source: Kesting, Treiber, Helbing, General lane-changing model MOBIL for car-following models,
Transportation Research Record 1999 (2007). A change is made when it is safe (nobody would have to
brake harder than SAFE) and its advantage, own gain minus politeness times the new follower's loss,
exceeds the threshold. A lane that leads to a dead end is left as soon as that is safe.
"""

from __future__ import annotations

import warp as wp

from roadloop.types import Action
from sim.car_following import following
from sim.decision import look_ahead
from sim.lane_graph import LaneGraph, project
from sim.state import AHEAD, Agent, Traits, lane_chain

SAFE = wp.constant(3.0)
"""m/s^2, the hardest braking a change may impose"""
THRESHOLD = wp.constant(0.3)
"""m/s^2, least advantage"""
DURATION = wp.constant(4.5)
"""s a change takes"""
REST = wp.constant(12.0)
"""s between two changes of an agent"""
EVERY = wp.constant(10)
"""steps between two looks at the mirror; agents take turns"""


@wp.func
def lateral_target(a: Agent, t: Traits):
    """m left of the centreline the agent steers for; a minimum-jerk blend during a change."""
    if a.change >= 1.0:
        return t.lateral_offset
    p = a.change
    done = p * p * p * (10.0 - 15.0 * p + 6.0 * p * p)
    return a.change_lateral + (t.lateral_offset - a.change_lateral) * done


@wp.func
def pace(a: Agent):
    """Share of a lane change done per DURATION: slow cars take longer, standing ones wait."""
    return wp.min(0.3 * a.speed, 1.0)


@wp.func
def lateral_slope(a: Agent, t: Traits):
    """m to the left per m driven that ``lateral_target`` moves."""
    if a.change >= 1.0:
        return 0.0
    p = a.change
    rate = 30.0 * p * p * (1.0 - 2.0 * p + p * p) * pace(a) / DURATION
    return (t.lateral_offset - a.change_lateral) * rate / wp.max(a.speed, 1.0)


@wp.struct
class Neighbour:
    """The nearest agents ahead and behind in another lane."""

    gap: wp.float32
    leader_speed: wp.float32
    follower: wp.int32
    follower_gap: wp.float32


@wp.func
def position_beside(g: LaneGraph, lane: wp.int32, o: Agent):
    """s of an agent along ``lane``, also from its successors and predecessors; else -1e9."""
    if o.lane == lane:
        return o.s
    if o.from_lane == lane:
        return o.from_s
    row = g.lane[lane]
    for k in range(row.successors):
        if g.successor[row.successor + k] == o.lane:
            return row.length + o.s
    for k in range(row.predecessors):
        before = g.predecessor[row.predecessor + k]
        if before == o.lane:
            return o.s - g.lane[before].length
    return -1.0e9


@wp.func
def look_beside(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    lane: wp.int32,
    s: wp.float32,
    look: wp.float32,
):
    """Leader and follower in ``lane`` as seen from arc length ``s`` on it."""
    out = Neighbour()
    out.gap = 1.0e9
    out.follower = -1
    out.follower_gap = 1.0e9
    for j in range(agents.shape[1]):
        if j != i and agents[w, j].valid == 1 and agents[w, j].lane >= 0:
            dx = wp.float32(agents[w, j].x - a.x)
            dy = wp.float32(agents[w, j].y - a.y)
            if dx * dx + dy * dy < look * look:
                o = agents[w, j]
                at = position_beside(g, lane, o)
                if at > -1.0e8:
                    room = 0.5 * (t.length + traits[w, j].length)
                    if at >= s:
                        if at - s - room < out.gap:
                            out.gap = at - s - room
                            out.leader_speed = o.speed
                    elif s - at - room < out.follower_gap:
                        out.follower_gap = s - at - room
                        out.follower = j
    return out


@wp.func
def change_lane(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    x: wp.float32,
    y: wp.float32,
    step: wp.int32,
    dt: wp.float32,
):
    """Advances a running lane change or decides on a new one; a new one renews ``a.ahead``."""
    if a.change < 1.0:
        a.change = wp.min(a.change + dt / DURATION * pace(a), 1.0)
        if a.change >= 1.0:
            a.from_lane = -1
        return a
    a.change_wait = a.change_wait - dt
    row = g.lane[a.lane]
    starts = a.script >= 0.0 and a.script < 1.5 * dt
    scripted = starts and (t.action == Action.CHANGE_LEFT or t.action == Action.CHANGE_RIGHT)
    ends = row.successors == 0
    if not scripted:
        if t.politeness < 0.0 or (step + i) % EVERY != 0 or row.junction >= 0:
            return a
        if a.change_wait > 0.0 and not ends:
            return a
        if row.left < 0 and row.right < 0:
            return a
        # Room to finish before the next junction, and fast enough to steer across.
        if a.speed < 3.0 and not ends:
            return a
        if row.length - a.s < 1.3 * a.speed * DURATION + 8.0 and not ends:
            return a
    look = look_ahead(a.speed)
    here = look_beside(g, agents, traits, w, i, a, t, a.lane, a.s, look)
    wanted = wp.min(row.limit * t.speed_factor, t.max_speed)
    ratio = a.speed / wp.max(wanted, 0.1)
    free = t.a * (1.0 - ratio * ratio * ratio * ratio)
    now = following(a.speed, free, here.gap, here.leader_speed, t)
    best = THRESHOLD
    chosen = int(-1)
    chosen_s = float(0.0)
    chosen_lateral = float(0.0)
    for side in range(2):
        lane = row.left
        if side == 1:
            lane = row.right
        asked = not scripted or t.action == Action.CHANGE_LEFT + side
        if lane >= 0 and asked and g.lane[lane].junction < 0:
            at = project(g, lane, x, y, a.s)
            seen = look_beside(g, agents, traits, w, i, a, t, lane, at.s, look)
            mine = following(a.speed, free, seen.gap, seen.leader_speed, t)
            loss = float(0.0)
            safe = seen.gap > t.min_gap and mine > -SAFE and seen.follower_gap > t.min_gap
            if seen.follower >= 0:
                f = agents[w, seen.follower]
                ft = traits[w, seen.follower]
                then = following(f.speed, 0.0, seen.follower_gap, a.speed, ft)
                before = following(
                    f.speed, 0.0, seen.follower_gap + t.length + seen.gap, seen.leader_speed, ft
                )
                safe = safe and then > -SAFE
                loss = before - then
            gain = mine - now - t.politeness * loss
            if ends and g.lane[lane].successors > 0:
                gain = 100.0
            elif g.lane[lane].onward < row.onward or (not ends and g.lane[lane].successors == 0):
                gain = -100.0
            if scripted:
                safe = True
                gain = 100.0
            if safe and gain > best:
                best = gain
                chosen = lane
                chosen_s = at.s
                chosen_lateral = at.lateral
    if chosen >= 0:
        a.from_lane = a.lane
        a.from_s = a.s
        a.lane = chosen
        a.s = chosen_s
        a.lateral = chosen_lateral
        a.change = 0.0
        a.change_lateral = chosen_lateral
        a.change_wait = REST
        chain = lane_chain()
        for k in range(AHEAD):
            chain[k] = -1
        chain[0] = chosen
        a.ahead = chain
        a.hop = 1000000  # a fixed route is left behind
    return a
