"""Recorded road users that react: they drive along their recorded path, but into nobody.

While it is undisturbed a reactive agent is where its record says, to the last digit. Whoever is not
where the record had him (the ego, and those he holds up) may be in its way: then it follows him by
the intelligent driver model, along its recorded path and never ahead of its record, as nuPlan's
reactive agents do (Karnchanachari et al., Towards learning-based planning: the nuPlan benchmark,
2024, section IV). Where the record ends, a vehicle that drives on a lane goes on as traffic, and
everybody else is gone. Pedestrians are replayed as they were.
"""

from __future__ import annotations

import warp as wp

from roadloop.maps.road_map import SignalKind
from roadloop.types import AgentKind, LightState
from sim.car_following import HARDEST, following, free_road, stopping
from sim.collision import boxes_overlap
from sim.lane_graph import LEVEL, LaneGraph, wrap
from sim.path import refill
from sim.replay import settle_replayed
from sim.state import Agent, Pose, Traits

ASTRAY = wp.constant(0.5)
"""m from where the record has it, from which somebody counts as being elsewhere"""
BESIDE = wp.constant(0.1)
"""m to the side within which a body blocks the path"""
STANDING = wp.constant(0.5)
"""m/s, slower than this nobody drives out of its record onto the lanes, nor counts as reversing"""
CATCH_UP = wp.constant(1.0)
"""m/s by which who is less than ASTRAY behind is faster than its record"""
ROOM = wp.constant(1.0)
"""m to the next body that is not where its record has it, for somebody to enter the scene"""


@wp.func
def horizon_of(speed: wp.float32):
    """m of path that concern somebody that fast."""
    return speed * speed / 4.0 + 2.0 * wp.abs(speed) + 12.0


@wp.func
def astray(replay: wp.array(dtype=Pose), o: Agent, ot: Traits, step: wp.int32):
    """Whether an agent is elsewhere than its record has it at ``step``, or has none."""
    if ot.replay_steps == 0:
        return ot.controlled == 1 or o.speed > 0.0
    p = replay[ot.replay + wp.min(step, ot.replay_steps - 1)]
    if not wp.isfinite(p.x):
        return True
    dx = wp.float32(o.x - p.x)
    dy = wp.float32(o.y - p.y)
    return dx * dx + dy * dy > ASTRAY * ASTRAY


@wp.func
def direction(p: Pose):
    """1, or -1 where the record drives backwards."""
    if p.speed < -STANDING:
        return -1.0
    return 1.0


@wp.func
def gap_on_path(
    replay: wp.array(dtype=Pose), a: Agent, t: Traits, o: Agent, ot: Traits, horizon: wp.float32
):
    """m of free path up to an agent's body and its speed along it; a gap of 1e9: not in the way."""
    best = float(1.0e9)
    at = int(-1)
    row = int(a.row)
    while row < t.replay_steps:
        p = replay[t.replay + row]
        if p.along > a.along + horizon:
            break
        if wp.isfinite(p.x):
            dx = wp.float32(o.x - p.x)
            dy = wp.float32(o.y - p.y)
            apart = dx * dx + dy * dy
            if apart < best:
                best = apart
                at = row
        row = row + 1
    if at < 0:
        return 1.0e9, 0.0
    p = replay[t.replay + at]
    dx = wp.float32(o.x - p.x)
    dy = wp.float32(o.y - p.y)
    way = direction(p)
    c = way * wp.cos(p.heading)
    s = way * wp.sin(p.heading)
    ahead = p.along - a.along + dx * c + dy * s
    turn = wrap(o.heading - p.heading)
    along = wp.abs(wp.cos(turn))
    across = wp.abs(wp.sin(turn))
    side = wp.abs(dy * c - dx * s) - 0.5 * (ot.length * across + ot.width * along) - 0.5 * t.width
    if side > BESIDE or ahead <= 0.0:
        return 1.0e9, 0.0
    reach = 0.5 * (ot.length * along + ot.width * across)
    return ahead - reach - 0.5 * t.length, wp.max(way * o.speed * wp.cos(turn), 0.0)


@wp.func
def red_light(g: LaneGraph, lights: wp.array2d(dtype=wp.int32), w: wp.int32, lane: wp.int32):
    """m along a lane of the first line where a light is red, 1e9 without one."""
    at = float(1.0e9)
    row = g.lane[lane]
    for q in range(row.stop, row.stop + row.stops):
        line = g.stop[q]
        if line.kind == SignalKind.TRAFFIC_LIGHT:
            if lights[w, line.signal] == LightState.RED:
                at = wp.min(at, line.s)
    return at


@wp.func
def distance_to_red(
    g: LaneGraph, a: Agent, t: Traits, lights: wp.array2d(dtype=wp.int32), w: wp.int32
):
    """m from the front bumper to a red light on the lane it is on or on all that follow it."""
    if a.lane < 0:
        return 1.0e9
    row = g.lane[a.lane]
    front = a.s + 0.5 * t.length
    here = red_light(g, lights, w, a.lane) - front
    if here > -0.3:
        if here < 1.0e8:
            return here
    entry = float(-1.0)
    for k in range(row.successor, row.successor + row.successors):
        entry = wp.max(entry, red_light(g, lights, w, g.successor[k]))
    if row.successors == 0 or entry > 1.0e8:
        return 1.0e9
    ahead = row.length + entry - front
    if ahead < -0.3:
        return 1.0e9
    return ahead


@wp.func
def enter(
    replay: wp.array(dtype=Pose),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    step: wp.int32,
):
    """The agent as its record begins, once there is room: a queue may reach that far.

    It comes no faster than lets it stop behind who is in its way: it has seen him from afar.
    """
    row = int(step)
    if step >= t.replay_steps or not wp.isfinite(replay[t.replay + row].x):
        return a
    going = bool(True)
    while going and row > 0:
        if wp.isfinite(replay[t.replay + row - 1].x):
            row = row - 1
        else:
            going = False
    b = place(replay, a, t, row)
    b.valid = 1
    around = t
    around.length = t.length + 2.0 * ROOM
    around.width = t.width + 2.0 * BESIDE
    horizon = horizon_of(b.speed)
    slower = wp.abs(b.speed)
    for j in range(agents.shape[1]):
        o = agents[w, j]
        ot = traits[w, j]
        dx = wp.float32(o.x - b.x)
        dy = wp.float32(o.y - b.y)
        reach = horizon + ot.length
        near = o.valid == 1 and j != i and dx * dx + dy * dy < reach * reach
        if near and wp.abs(o.z - b.z) < LEVEL:
            if astray(replay, o, ot, step - 1):
                if boxes_overlap(b, around, o, ot):
                    return a
                gap, speed = gap_on_path(replay, b, t, o, ot, horizon)
                stops = speed * speed + 2.0 * t.b * wp.max(gap - t.min_gap, 0.0)
                slower = wp.min(slower, wp.sqrt(stops))
    b.speed = wp.clamp(b.speed, -slower, slower)
    return b


@wp.func
def place(replay: wp.array(dtype=Pose), a: Agent, t: Traits, row: wp.int32):
    """The agent exactly as its record has it at a step."""
    p = replay[t.replay + row]
    a.x = p.x
    a.y = p.y
    a.heading = p.heading
    a.cos = wp.cos(p.heading)
    a.sin = wp.sin(p.heading)
    a.speed = p.speed
    a.along = p.along
    a.row = row
    return a


@wp.func
def place_along(replay: wp.array(dtype=Pose), a: Agent, t: Traits, along: wp.float32):
    """The agent on its recorded path, ``along`` m from its start."""
    row = int(a.row)
    going = bool(True)
    while going and row + 1 < t.replay_steps:
        n = replay[t.replay + row + 1]
        if wp.isfinite(n.x) and n.along <= along:
            row = row + 1
        else:
            going = False
    p = replay[t.replay + row]
    a.x = p.x
    a.y = p.y
    a.heading = p.heading
    if row + 1 < t.replay_steps:
        n = replay[t.replay + row + 1]
        if wp.isfinite(n.x) and n.along > p.along:
            share = wp.clamp((along - p.along) / (n.along - p.along), 0.0, 1.0)
            a.x = p.x + wp.float64(share) * (n.x - p.x)
            a.y = p.y + wp.float64(share) * (n.y - p.y)
            a.heading = wrap(p.heading + share * wrap(n.heading - p.heading))
    a.cos = wp.cos(a.heading)
    a.sin = wp.sin(a.heading)
    a.along = along
    a.row = row
    return a


@wp.func
def goes_on(replay: wp.array(dtype=Pose), a: Agent, t: Traits):
    """Whether the record holds on after the agent's place: it may have been hidden, or be over."""
    if a.row + 1 >= t.replay_steps:
        return False
    return wp.isfinite(replay[t.replay + a.row + 1].x)


@wp.func
def react(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    replay: wp.array(dtype=Pose),
    route: wp.array3d(dtype=wp.int32),
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    step: wp.int32,
    dt: wp.float32,
):
    """The agent at ``step + 1``; ``agents`` and ``a`` are as they were at ``step``."""
    was_speed = a.speed
    was_heading = a.heading
    a.leader = -1
    if a.valid == 0:
        a = enter(replay, agents, traits, w, i, a, t, step + 1)
        if a.valid == 1:
            a = settle_replayed(g, a, route, w, i)
        return a
    late = astray(replay, a, t, step)
    now = replay[t.replay + wp.min(step, t.replay_steps - 1)]
    next_row = wp.min(step + 1, t.replay_steps - 1)
    record = replay[t.replay + next_row]
    ends = step + 1 >= t.replay_steps or not wp.isfinite(record.x)
    here = replay[t.replay + a.row]
    way = direction(here)
    v = way * a.speed  # along its path
    wanted = float(HARDEST)
    if t.kind != AgentKind.PEDESTRIAN:
        wished = wp.min(wp.max(1.3 * wp.abs(here.speed), 4.0), t.max_speed)
        free = free_road(v, wished, t)
        wanted = free
        horizon = horizon_of(v)
        for j in range(agents.shape[1]):
            if j != i and agents[w, j].valid == 1:
                dx = wp.float32(agents[w, j].x - a.x)
                dy = wp.float32(agents[w, j].y - a.y)
                reach = horizon + traits[w, j].length
                near = dx * dx + dy * dy < reach * reach
                near = near and wp.abs(agents[w, j].z - a.z) < LEVEL
                if near:
                    if late or astray(replay, agents[w, j], traits[w, j], step):
                        gap, speed = gap_on_path(replay, a, t, agents[w, j], traits[w, j], horizon)
                        if gap < 1.0e8:
                            pull = following(v, free, gap, speed, t)
                            if pull < wanted:
                                wanted = pull
                                a.leader = j
        if late:
            line = distance_to_red(g, a, t, lights, w)
            if line < horizon:
                wanted = wp.min(wanted, stopping(v, free, wp.max(line - 0.5, 0.05), t))
    needed = (way * record.speed - v) / dt
    if not late and not ends and (wanted >= needed or a.leader < 0):
        along = a.along + record.along - now.along + CATCH_UP * dt
        if a.along < now.along and along < record.along:
            a = place_along(replay, a, t, along)
            a.speed = record.speed
        else:
            a = place(replay, a, t, next_row)
    elif not late and ends and a.leader < 0:
        a = leave_record(g, route, w, i, a, t, dt)
        return a
    else:
        pull = wp.clamp(wanted, -HARDEST, t.a)
        speed = wp.max(v + pull * dt, 0.0)
        along = a.along + 0.5 * (wp.max(v, 0.0) + speed) * dt
        if not ends and along >= record.along and record.along >= a.along:
            a = place(replay, a, t, next_row)
        else:
            b = place_along(replay, a, t, along)
            if not goes_on(replay, b, t):
                a = leave_record(g, route, w, i, a, t, dt)
                return a
            a = b
            a.speed = way * speed
    a.acceleration = (a.speed - was_speed) / dt
    a.yaw_rate = wrap(a.heading - was_heading) / dt
    a = settle_replayed(g, a, route, w, i)
    return a


@wp.func
def leave_record(
    g: LaneGraph,
    route: wp.array3d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    dt: wp.float32,
):
    """What becomes of an agent whose record is over: traffic on its lane, or nothing."""
    if a.lane >= 0 and a.speed > STANDING and t.kind < AgentKind.CYCLIST:
        a.x = a.x + wp.float64(a.speed * a.cos * dt)
        a.y = a.y + wp.float64(a.speed * a.sin * dt)
        a.acceleration = 0.0
        a = settle_replayed(g, a, route, w, i)
        if a.lane >= 0:
            a.along = -1.0
            return refill(g, a, t, route, w, i)
    a.valid = 0
    a.speed = 0.0
    a.lane = -1
    a.row = t.replay_steps
    return a
