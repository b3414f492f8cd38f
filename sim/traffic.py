"""What traffic does: one kernel that turns a state into every agent's controls and intentions.

A vehicle follows its chain of lanes (``Agent.ahead``). Its acceleration is the smallest that any of
these asks for: its wanted speed and the bends ahead, the leader on its path, anything else that
reaches into its path, lights and stop signs, right of way at shared ground, a full exit. Steering
follows the centreline by feed-forward curvature and feedback on the lateral and heading error.
"""

from __future__ import annotations

import warp as wp

from sim.car_following import HARDEST, following, free_road, stopping
from sim.decision import Decision, least, offsets
from sim.lane_change import change_lane, lateral_slope, lateral_target
from sim.lane_graph import LEVEL, LaneGraph, point_at
from sim.obstacles import LONG, keep_off_bodies, leave_room_to_swing, position_on_path
from sim.right_of_way import yield_at_shared_ground
from sim.state import AHEAD, Agent, Traits
from sim.steering import steer

wp.set_module_options({"enable_backward": False})

REROUTE = wp.constant(15.0)
"""s before a full exit after which a wandering agent chooses another one"""


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


@wp.func
def mind(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    i: wp.int32,
    off: offsets,
    n: wp.int32,
    aim: wp.float32,
    free: wp.float32,
    look: wp.float32,
    horizon: wp.float32,
    shared: wp.int32,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    dx: wp.float32,
    dy: wp.float32,
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
    d: Decision,
):
    """One other agent, (dx, dy) m away: a leader, a body in the way, a rival for shared ground."""
    s = float(-1.0)
    if o.lane >= 0:
        s = position_on_path(a, n, off, o)
    if s >= 0.0 and (s > a.s or j < i):
        beside = float(0.0)
        if o.lane == a.lane:
            beside = wp.abs(o.lateral - a.lateral) - 0.5 * (t.width + ot.width)
        if beside < 0.5:
            rear = s - a.s - 0.5 * ot.length
            d = least(d, following(a.speed, free, rear - 0.5 * t.length, o.speed, t), j)
            if rear < d.room:
                d.room = rear
                d.room_speed = o.speed
        return d
    ahead = dx * a.cos + dy * a.sin
    near = ahead > 0.0 and dx * dx + dy * dy < look * look and wp.abs(o.z - a.z) < LEVEL
    # Somebody who keeps to a lane that shares no ground with any other is in nobody's way.
    orderly = o.lane >= 0 and ot.controlled == 0 and ot.length <= LONG and a.change >= 1.0
    orderly = orderly and o.change >= 1.0 and wp.abs(o.lateral) < 0.8
    if near and not (orderly and g.lane[wp.max(o.lane, 0)].conflicts == 0):
        x = wp.float32(o.x - g.origin_x)
        y = wp.float32(o.y - g.origin_y)
        if ot.length > LONG:
            q = 0.25 * ot.length
            for half in range(2):
                end = q * wp.float32(1 - 2 * half)
                ex = end * o.cos
                ey = end * o.sin
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
                    x + ex,
                    y + ey,
                    2.0 * q,
                    ahead + ex * a.cos + ey * a.sin,
                )
        else:
            d = keep_off_bodies(g, a, t, off, n, aim, free, o, ot, j, d, x, y, ot.length, ahead)
        if t.length > LONG:
            d = leave_room_to_swing(g, a, t, off, n, free, o, j, d, x, y, ahead)
    if shared > 0 and o.lane >= 0 and ot.behaviour == 0:
        d = yield_at_shared_ground(g, a, t, i, off, n, free, o, ot, j, horizon, lights, w, d)
    return d


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
    shared = int(0)  # lanes within the horizon that share ground with others
    for k in range(n):
        if off[k] - a.s - 0.5 * t.length < horizon:
            shared = shared + g.lane[a.ahead[k]].conflicts
    radius = wp.max(look, 70.0)
    for j in range(agents.shape[1]):
        dx = wp.float32(agents[w, j].x - a.x)
        dy = wp.float32(agents[w, j].y - a.y)
        if dx * dx + dy * dy < radius * radius and j != i and agents[w, j].valid == 1:
            d = mind(
                g,
                a,
                t,
                i,
                off,
                n,
                aim,
                free,
                look,
                horizon,
                shared,
                agents[w, j],
                traits[w, j],
                j,
                dx,
                dy,
                lights,
                w,
                d,
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
    command[w, i] = wp.vec2(wp.clamp(d.acceleration, -HARDEST, t.a), steer(g, a, t, aim, lateral_slope(a, t), dt))
