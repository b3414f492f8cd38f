"""What traffic does: one kernel that turns a state into every agent's controls and intentions.

A vehicle follows its chain of lanes (``Agent.ahead``). Its acceleration is the smallest that any of
these asks for: its wanted speed and the bends ahead, the leader on its path, anything else that
reaches into its path, lights and stop signs, right of way at shared ground, a full exit. Steering
follows the centreline by feed-forward curvature and feedback on the rear axle.
"""

from __future__ import annotations

import warp as wp

from sim.car_following import HARDEST, following, free_road, stopping
from sim.lane_change import change_lane, lateral_target
from sim.lane_graph import LEVEL, LaneGraph, point_at, project, wrap
from sim.right_of_way import MERGE, PATIENCE, Claim, find_conflict, held_by_light, must_wait
from sim.state import AHEAD, Agent, Traits

wp.set_module_options({"enable_backward": False})

PEDESTRIAN = wp.constant(6)  # AgentKind
CYCLIST = wp.constant(5)
LONG = wp.constant(6.5)
"""m, length from which a vehicle's ends swing out of its lane in corners"""
REROUTE = wp.constant(15.0)
"""s before a full exit after which a wandering agent chooses another one"""
CLEARANCE = wp.constant(0.3)
"""m to the side within which a body blocks the path"""

offsets = wp.types.vector(length=AHEAD + 1, dtype=wp.float32)
"""m along the path from the start of ahead[0] to the start of ahead[k]; one more for the end"""


@wp.struct
class Decision:
    """What the agent has decided so far."""

    acceleration: wp.float32
    leader: wp.int32
    room: wp.float32  # m from the box centre to the rear of the leader on the path
    room_speed: wp.float32
    wait_at: wp.int32  # first lane of the chain it may not enter yet, AHEAD: none


@wp.func
def least(d: Decision, acceleration: wp.float32, cause: wp.int32):
    """The decision with one more demand on the acceleration."""
    if acceleration < d.acceleration:
        d.acceleration = acceleration
        d.leader = cause
    return d


@wp.func
def on_path(
    g: LaneGraph,
    a: Agent,
    off: offsets,
    n: wp.int32,
    x: wp.float32,
    y: wp.float32,
    guess: wp.float32,
):
    """A point seen from the agent's path; ``s`` counts from the start of ahead[0]."""
    k = int(0)
    while k + 1 < n and guess > off[k + 1]:
        k = k + 1
    at = project(g, a.ahead[k], x, y, guess - off[k])
    if at.s > off[k + 1] - off[k] and k + 1 < n:
        k = k + 1
        at = project(g, a.ahead[k], x, y, at.s - (off[k] - off[k - 1]))
    elif at.s < 0.0 and k > 0:
        k = k - 1
        at = project(g, a.ahead[k], x, y, at.s + off[k + 1] - off[k])
    at.s = at.s + off[k]
    return at


@wp.func
def wanted_speed(g: LaneGraph, a: Agent, t: Traits, off: offsets, n: wp.int32):
    """The speed an agent alone on the road would drive: limit and bends ahead."""
    here = point_at(g, a.lane, a.s + 0.3 * a.speed)
    v = wp.min(g.lane[a.lane].limit * t.speed_factor, here.speed_cap)
    for k in range(1, n):
        distance = off[k] - a.s
        lane = g.lane[a.ahead[k]]
        cap = wp.min(lane.limit * t.speed_factor, g.point[lane.point].speed_cap)
        v = wp.min(v, wp.sqrt(cap * cap + 3.0 * wp.max(distance, 0.0)))  # 1.5 m/s^2
    return wp.min(v, t.max_speed)


@wp.func
def position_on_path(a: Agent, n: wp.int32, off: offsets, o: Agent):
    """s of another agent on this one's path (from the start of ahead[0]), -1 if not ahead on it."""
    for k in range(n):
        lane = a.ahead[k]
        if o.lane == lane:
            s = off[k] + o.s
            if s >= a.s:
                return s
        if o.from_lane == lane and o.change < 0.6:
            s = off[k] + o.from_s
            if s >= a.s:
                return s
    return -1.0


@wp.func
def keep_off_bodies(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    off: offsets,
    n: wp.int32,
    aim: wp.float32,
    free: wp.float32,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    d: Decision,
    ox: wp.float32,
    oy: wp.float32,
    length: wp.float32,
    ahead: wp.float32,
):
    """Reacts to an agent that is not on the path by where its body is and will be.

    The body is a box of ``length`` around (ox, oy); a long one is given in two halves, because its
    ends swing out of its lane in bends.
    """
    if a.s + ahead > off[n] + 10.0:
        return d
    at = on_path(g, a, off, n, ox, oy, a.s + ahead)
    turn = wrap(o.heading - at.heading)
    along = wp.abs(wp.cos(turn))
    across = wp.abs(wp.sin(turn))
    reach = 0.5 * (length * along + ot.width * across)
    side = wp.abs(at.lateral - aim) - 0.5 * (length * across + ot.width * along) - 0.5 * t.width
    gap = at.s - a.s - reach - 0.5 * t.length
    if gap < -reach - 0.5 * t.length:  # its middle is behind mine
        return d
    margin = CLEARANCE
    if a.waited > PATIENCE and o.speed < 0.1 and ot.controlled == 0:
        margin = 0.05  # two cars that wait for each other squeeze past where there is any room
    forward = wp.max(o.speed * wp.cos(turn), 0.0)
    if side < margin:
        return least(d, following(a.speed, free, gap, forward, t), j)
    if ot.kind == PEDESTRIAN or ot.kind == CYCLIST:
        drift = o.speed * wp.sin(turn)
        if (at.lateral > aim and drift < -0.3) or (at.lateral < aim and drift > 0.3):
            there = (side - margin) / wp.abs(drift)
            mine = wp.max(gap, 0.0) / wp.max(a.speed, 1.0)
            if there < mine + 1.5 and there < 5.0:
                return least(d, stopping(a.speed, free, gap - 1.5, t), j)
    return d


@wp.func
def leave_room_to_swing(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    off: offsets,
    n: wp.int32,
    free: wp.float32,
    o: Agent,
    j: wp.int32,
    d: Decision,
    ox: wp.float32,
    oy: wp.float32,
    ahead: wp.float32,
):
    """A long vehicle lets oncoming traffic out of a corner that is too tight for both.

    It does not wait for those who stand there themselves, at a light say: that would be for ever.
    """
    if a.waited > 4.0:
        return d
    for k in range(1, n):
        entry = off[k] - a.s - 0.5 * t.length
        if entry > 25.0:
            break
        if entry > -1.0 and g.lane[a.ahead[k]].tightest > t.turning:
            at = on_path(g, a, off, n, ox, oy, a.s + ahead)
            oncoming = wp.cos(o.heading - at.heading) < 0.3 and wp.abs(at.lateral) < 6.0
            if oncoming and at.s > off[k] - 4.0 and at.s < off[k + 1] + wp.max(2.0 * o.speed, 6.0):
                d = least(d, stopping(a.speed, free, wp.max(entry - 0.5, 0.1), t), j)
            break
    return d


@wp.func
def yield_at_shared_ground(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    i: wp.int32,
    off: offsets,
    n: wp.int32,
    free: wp.float32,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    horizon: wp.float32,
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
    d: Decision,
):
    """Right of way against one other vehicle, for the lanes within ``horizon`` m of the front."""
    half = 0.5 * t.length
    other_half = 0.5 * ot.length
    inside = int(0)  # how far along the path lanes are entered: on through the present junction
    junction = g.lane[a.lane].junction
    while junction >= 0 and inside + 1 < n and g.lane[a.ahead[inside + 1]].junction == junction:
        inside = inside + 1
    for k in range(n):
        entry = off[k] - a.s - half
        if entry > horizon:
            break
        if g.lane[a.ahead[k]].conflicts > 0:
            start = float(0.0)
            for m in range(4):
                other = o.ahead[m]
                if other < 0 or start - o.s > 80.0:
                    break
                if other == a.lane and (m > 0 or o.s < a.s):
                    break  # it comes along behind this agent
                found = find_conflict(g, a.ahead[k], other)
                if found >= 0:
                    c = g.conflict[found]
                    mine = Claim()
                    mine.entry = entry
                    mine.reach = off[k] + c.s_from - a.s - half
                    mine.clear = off[k] + c.s_to - a.s + half
                    mine.end = off[k] + c.s_to - a.s
                    theirs = Claim()
                    theirs.entry = start - o.s - other_half
                    theirs.reach = start + c.other_from - o.s - other_half
                    theirs.clear = start + c.other_to - o.s + other_half
                    theirs.end = start + c.other_to - o.s
                    if g.lane[a.ahead[k]].junction >= 0:
                        if k <= inside or a.granted == a.ahead[k]:
                            mine.entered = 1
                        if m == 0 or o.granted == other:
                            theirs.entered = 1
                        elif g.lane[o.lane].junction == g.lane[other].junction:
                            theirs.entered = 1
                    else:  # two lanes that run together outside a junction
                        if mine.reach <= 0.5:
                            mine.entered = 1
                        if theirs.reach <= 0.5:
                            theirs.entered = 1
                    relevant = mine.clear > 0.0 and theirs.clear > 0.0 and c.kind <= MERGE
                    if relevant and c.kind == MERGE and theirs.entered == 1:
                        leads = theirs.end < mine.end or (theirs.end == mine.end and j < i)
                        if leads:
                            gap = mine.end - theirs.end - half - other_half
                            gap = wp.max(gap, mine.reach)
                            d = least(d, following(a.speed, free, gap, o.speed, t), j)
                        relevant = not leads
                    if relevant and not held_by_light(g, o, other_half, m, lights, w):
                        if must_wait(c, mine, a, i, theirs, o, j):
                            line = entry - 0.5
                            if mine.entered == 1 or g.lane[a.ahead[k]].junction < 0:
                                line = mine.reach - 0.5
                            if line > -1.0:
                                d = least(d, stopping(a.speed, free, wp.max(line, 0.1), t), j)
                                d.wait_at = wp.min(d.wait_at, k)
                start = start + g.lane[other].length
    return d


@wp.func
def obey_signals(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    off: offsets,
    n: wp.int32,
    free: wp.float32,
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
    d: Decision,
):
    """Lights and stop signs ahead. What it decides to stop for stays decided: returns ``a`` too."""
    front = a.s + 0.5 * t.length
    for k in range(n):
        if off[k] - front > 100.0:
            break
        row = g.lane[a.ahead[k]]
        for q in range(row.stop, row.stop + row.stops):
            line = g.stop[q]
            distance = off[k] + line.s - front
            if distance > -0.3:
                stop = bool(False)
                if line.kind == 0:
                    state = lights[w, line.signal]
                    stop = state == 1 or state == 2
                    if state == 3:
                        stop = a.stopping == line.signal or a.speed * a.speed < 7.0 * distance
                    if stop:
                        a.stopping = line.signal
                elif line.kind == 1 and a.stopped_for != a.ahead[k]:
                    if distance < 2.5 and a.speed < 0.1:
                        a.stopped_for = a.ahead[k]
                    else:
                        stop = True
                if stop:
                    d = least(d, stopping(a.speed, free, wp.max(distance - 0.5, 0.05), t), -1)
                    d.wait_at = wp.min(d.wait_at, k)
    return a, d


@wp.func
def steer(
    g: LaneGraph, a: Agent, t: Traits, aim: wp.float32, x: wp.float32, y: wp.float32, dt: wp.float32
):
    """Steering angle that brings the box centre ``aim`` m left of the driving line.

    The centre, not the rear axle, is kept on the line, so that a long vehicle spreads its swept
    path to both sides. In a bend its heading then lags the line's by asin(offset * curvature). In
    arc length the lateral error e obeys e'' = kappa - kappa_line; the law below makes it critically
    damped with the length constant ``reach``.
    """
    at = project(g, a.lane, x, y, a.s)
    line = point_at(g, a.lane, at.s)
    s = at.s + a.speed * (t.steering_lag + 0.5 * dt)
    length = g.lane[a.lane].length
    bend = point_at(g, a.lane, s).line_curvature
    if s > length and a.ahead[1] >= 0:
        bend = point_at(g, a.ahead[1], s - length).line_curvature
    reach = 2.0 + 0.5 * wp.abs(a.speed)
    error = wp.clamp(at.lateral - line.line - aim, -reach, reach)
    lag = wp.asin(wp.clamp(t.centre_offset * line.line_curvature, -0.7, 0.7))
    turn = wp.clamp(wrap(a.heading - line.line_heading) + lag, -1.0, 1.0)
    bend = bend / wp.max(1.0 - bend * aim, 0.3)
    kappa = bend - error / (reach * reach) - 2.0 * wp.sin(turn) / reach
    return wp.clamp(wp.atan(kappa * t.wheelbase), -t.max_steering, t.max_steering)


@wp.func
def run_script(a: Agent, t: Traits, ego: Agent, time: wp.float32, dt: wp.float32):
    """Starts and advances the agent's scripted action."""
    if t.trigger != 0:
        if a.script >= 0.0:
            a.script = a.script + dt
        else:
            dx = wp.float32(a.x - ego.x)
            dy = wp.float32(a.y - ego.y)
            fire = bool(False)
            if t.trigger == 1:
                fire = time >= t.trigger_value - 0.5 * dt
            elif t.trigger == 2:
                fire = wp.sqrt(dx * dx + dy * dy) <= t.trigger_value
            elif t.trigger == 3:
                ahead = dx * ego.cos + dy * ego.sin
                fire = ahead > 0.0 and ahead <= t.trigger_value * wp.max(ego.speed, 0.1)
            if fire:
                a.script = 0.0
    return a


@wp.kernel
def decide(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    lights: wp.array2d(dtype=wp.int32),
    time: wp.float32,
    step: wp.int32,
    dt: wp.float32,
    first_world: wp.int32,
    out: wp.array2d(dtype=Agent),
    command: wp.array2d(dtype=wp.vec2),
):
    """Copies each agent to ``out`` with its intentions renewed; ``command`` is (acceleration, steering)."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    a = agents[w, i]
    t = traits[w, i]
    if a.valid == 0 or t.behaviour == 1:
        out[w, i] = a
        command[w, i] = wp.vec2(0.0, 0.0)
        return
    a = run_script(a, t, agents[w, 0], time, dt)
    if t.behaviour == 2 or t.controlled == 1 or a.lane < 0:
        # Walkers decide in sim.walkers; a controlled agent's controls come from outside.
        if t.controlled == 1 and a.ahead[1] >= 0:
            # Others must know when it is about to enter a junction lane: when it no longer stops.
            entry = g.lane[a.lane].length - a.s - 0.5 * t.length
            a.granted = -1
            if entry < a.speed * a.speed / 8.0 + 0.3 and a.speed > 0.5:
                a.granted = a.ahead[1]
        out[w, i] = a
        command[w, i] = wp.vec2(0.0, 0.0)
        return

    x = wp.float32(a.x - g.origin_x)
    y = wp.float32(a.y - g.origin_y)
    look = wp.clamp(20.0 + 3.0 * a.speed + a.speed * a.speed / 6.0, 30.0, 150.0)
    a = change_lane(g, agents, traits, w, i, a, t, x, y, look, step, dt)
    off = offsets()
    n = int(0)
    for k in range(AHEAD):
        if a.ahead[k] < 0 or off[k] - a.s > look:
            break
        off[k + 1] = off[k] + g.lane[a.ahead[k]].length
        n = n + 1

    aim = lateral_target(a, t)
    free = free_road(a.speed, wanted_speed(g, a, t, off, n), t)
    d = Decision()
    d.acceleration = free
    d.leader = -1
    d.room = 1.0e9
    d.wait_at = AHEAD
    if g.lane[a.ahead[n - 1]].successors == 0:
        d = dead_end(g, a, t, off, n, free, d)

    a, d = obey_signals(g, a, t, off, n, free, lights, w, d)
    horizon = a.speed * a.speed / 4.0 + a.speed + 8.0
    radius = wp.max(look, 70.0)
    for j in range(agents.shape[1]):
        if j != i and agents[w, j].valid == 1:
            dx = wp.float32(agents[w, j].x - a.x)
            dy = wp.float32(agents[w, j].y - a.y)
            if dx * dx + dy * dy < radius * radius:
                o = agents[w, j]
                ot = traits[w, j]
                s = float(-1.0)
                if o.lane >= 0:
                    s = position_on_path(a, n, off, o)
                if s >= 0.0 and (s > a.s or j < i):
                    beside = float(0.0)
                    if o.lane == a.lane:
                        beside = wp.abs(o.lateral - a.lateral) - 0.5 * (t.width + ot.width)
                    if beside < 0.5:
                        gap = s - a.s - 0.5 * (t.length + ot.length)
                        d = least(d, following(a.speed, free, gap, o.speed, t), j)
                        rear = s - a.s - 0.5 * ot.length
                        if rear < d.room:
                            d.room = rear
                            d.room_speed = o.speed
                else:
                    ahead = dx * a.cos + dy * a.sin
                    level = wp.abs(o.z - a.z) < LEVEL
                    if level and ahead > 0.0 and dx * dx + dy * dy < look * look:
                        ox = wp.float32(o.x - g.origin_x)
                        oy = wp.float32(o.y - g.origin_y)
                        if ot.length > LONG:
                            q = 0.25 * ot.length
                            for half in range(2):
                                end = q * wp.float32(1 - 2 * half)
                                d = keep_off_bodies(
                                    g,
                                    a,
                                    t,
                                    off,
                                    n,
                                    aim,
                                    free,
                                    o,
                                    ot,
                                    j,
                                    d,
                                    ox + end * o.cos,
                                    oy + end * o.sin,
                                    2.0 * q,
                                    ahead + end * (o.cos * a.cos + o.sin * a.sin),
                                )
                        else:
                            d = keep_off_bodies(
                                g, a, t, off, n, aim, free, o, ot, j, d, ox, oy, ot.length, ahead
                            )
                        if t.length > LONG:
                            d = leave_room_to_swing(g, a, t, off, n, free, o, j, d, ox, oy, ahead)
                    if o.lane >= 0 and ot.behaviour == 0:
                        d = yield_at_shared_ground(
                            g, a, t, i, off, n, free, o, ot, j, horizon, lights, w, d
                        )

    # Clear the next junction lane for itself, or give the clearance back.
    kept = int(-1)
    for k in range(1, n):
        present = g.lane[a.lane].junction
        if g.lane[a.ahead[k]].junction >= 0 and g.lane[a.ahead[k]].junction != present:
            entry = off[k] - a.s - 0.5 * t.length
            full = bool(False)
            if k + 1 < AHEAD and a.ahead[k + 1] >= 0 and g.lane[a.ahead[k + 1]].junction < 0:
                beyond = d.room - (off[k + 1] - a.s)
                full = d.room_speed < 2.0 and beyond < t.length + 1.5 and d.room > off[k] - a.s
            if full and a.granted != a.ahead[k]:
                if entry > -0.3:
                    d = least(d, stopping(a.speed, free, wp.max(entry - 0.5, 0.05), t), d.leader)
                d.wait_at = wp.min(d.wait_at, k)
                if a.waited > REROUTE and t.wanders == 1 and k == 1:
                    a = choose_another_way(a)
            if d.wait_at > k and entry < a.speed * a.speed / 4.0 + a.speed * dt + 3.0:
                kept = a.ahead[k]
            break
    a.granted = kept

    if a.script >= 0.0 and t.action == 1 and a.script < t.action_hold:
        d = least(d, -t.action_rate, -1)
        if a.speed < 0.05:
            d.acceleration = wp.min(d.acceleration, -0.5)
    a.leader = d.leader
    if a.speed < 0.1:
        a.waited = a.waited + dt
    else:
        a.waited = 0.0
    out[w, i] = a
    command[w, i] = wp.vec2(wp.clamp(d.acceleration, -HARDEST, t.a), steer(g, a, t, aim, x, y, dt))


@wp.func
def choose_another_way(a: Agent):
    """Forgets the lanes ahead, so that the exit is drawn anew: another one may be free."""
    chain = a.ahead
    for k in range(1, AHEAD):
        chain[k] = -1
    a.ahead = chain
    a.waited = 0.5 * a.waited
    return a


@wp.func
def dead_end(
    g: LaneGraph, a: Agent, t: Traits, off: offsets, n: wp.int32, free: wp.float32, d: Decision
):
    """A lane that ends beside another one is to be left; where the map ends, one drives on out."""
    last = g.lane[a.ahead[n - 1]]
    if last.left >= 0 or last.right >= 0:
        distance = off[n] - a.s - 0.5 * t.length - 2.0
        d = least(d, stopping(a.speed, free, wp.max(distance, 0.1), t), -1)
    return d
