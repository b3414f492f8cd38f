"""What traffic does: from a state to every agent's controls and intentions.

A vehicle follows its chain of lanes (``Agent.ahead``). Its acceleration is the smallest that any of
these asks for: its wanted speed and the bends ahead, the leader on its path, anything else that
reaches into its path, lights and stop signs, right of way at shared ground, a full exit. Steering
follows the driving line by feed-forward curvature and feedback on lateral and heading error.
"""

from __future__ import annotations

import warp as wp

from roadloop.maps.road_map import SignalKind
from roadloop.types import Action, AgentKind, Behaviour, LightState, Trigger
from sim.car_following import HARDEST, following, free_road, stopping
from sim.decision import Decision, View, least, look_ahead, offsets
from sim.lane_change import change_lane, lateral_slope, lateral_target
from sim.lane_graph import LEVEL, LaneGraph, point_at
from sim.obstacles import LONG, keep_off, position_on_path
from sim.right_of_way import is_rival, yield_at_shared_ground
from sim.state import AHEAD, Agent, Traits
from sim.steering import steer

REROUTE = wp.constant(15.0)
"""s before a full exit after which a wandering agent chooses another one"""


@wp.func
def view_of(g: LaneGraph, a: Agent, t: Traits, w: wp.int32, i: wp.int32):
    """What the agent looks at; ``free`` is filled by the caller."""
    v = View()
    v.world = w
    v.index = i
    v.look = look_ahead(a.speed)
    v.horizon = a.speed * a.speed / 4.0 + a.speed + 8.0
    v.aim = lateral_target(a, t)
    junction = g.lane[a.lane].junction
    start = offsets()
    n = int(0)
    within = bool(True)
    for k in range(AHEAD):
        if a.ahead[k] < 0 or start[k] - a.s > v.look:
            break
        lane = g.lane[a.ahead[k]]
        start[k + 1] = start[k] + lane.length
        if start[k] - a.s - 0.5 * t.length < v.horizon:
            v.shared = v.shared + lane.conflicts
        within = within and junction >= 0 and lane.junction == junction
        if within:
            v.inside = k
        n = n + 1
    v.start = start
    v.lanes = n
    return v


@wp.func
def wanted_speed(g: LaneGraph, v: View, a: Agent, t: Traits):
    """The speed an agent alone on the road would drive: limit and bends ahead."""
    here = point_at(g, a.lane, a.s + 0.3 * a.speed)
    speed = wp.min(g.lane[a.lane].limit * t.speed_factor, here.speed_cap)
    for k in range(1, v.lanes):
        lane = g.lane[a.ahead[k]]
        cap = wp.min(lane.limit * t.speed_factor, g.point[lane.point].speed_cap)
        if cap < speed:
            distance = wp.max(v.start[k] - a.s, 0.0)
            speed = wp.min(speed, wp.sqrt(cap * cap + 3.0 * distance))  # braking at 1.5 m/s^2
    return wp.min(speed, t.max_speed)


@wp.func
def obey_signals(
    g: LaneGraph, v: View, a: Agent, t: Traits, lights: wp.array2d(dtype=wp.int32), d: Decision
):
    """Lights and stop signs ahead. What it decides to stop for stays decided: returns ``a`` too."""
    front = a.s + 0.5 * t.length
    for k in range(v.lanes):
        if v.start[k] - front > 100.0:
            break
        row = g.lane[a.ahead[k]]
        for q in range(row.stop, row.stop + row.stops):
            line = g.stop[q]
            distance = v.start[k] + line.s - front
            if distance > -0.3:
                stop = bool(False)
                if line.kind == SignalKind.TRAFFIC_LIGHT:
                    state = lights[v.world, line.signal]
                    stop = state == LightState.RED or state == LightState.RED_YELLOW
                    if state == LightState.YELLOW:
                        stop = a.stopping == line.signal or a.speed * a.speed < 7.0 * distance
                    if stop:
                        a.stopping = line.signal
                elif line.kind == SignalKind.STOP and a.stopped_for != a.ahead[k]:
                    if distance < 2.5 and a.speed < 0.1:
                        a.stopped_for = a.ahead[k]
                    else:
                        stop = True
                if stop:
                    room = wp.max(distance - 0.5, 0.05)
                    d = least(d, stopping(a.speed, v.free, room, t), -1)
                    d.wait_at = wp.min(d.wait_at, k)
    return a, d


@wp.func
def run_script(a: Agent, t: Traits, ego: Agent, time: wp.float32, dt: wp.float32):
    """Starts and advances the agent's scripted action."""
    if t.trigger != Trigger.NEVER:
        if a.script >= 0.0:
            a.script = a.script + dt
        else:
            dx = wp.float32(a.x - ego.x)
            dy = wp.float32(a.y - ego.y)
            fire = bool(False)
            if t.trigger == Trigger.TIME:
                fire = time >= t.trigger_value - 0.5 * dt
            elif t.trigger == Trigger.EGO_DISTANCE:
                fire = wp.sqrt(dx * dx + dy * dy) <= t.trigger_value
            elif t.trigger == Trigger.EGO_ARRIVAL:
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
def dead_end(g: LaneGraph, v: View, a: Agent, t: Traits, d: Decision):
    """A lane that ends beside another one is to be left; where the map ends, one drives on out."""
    last = g.lane[a.ahead[v.lanes - 1]]
    goes_on = bool(False)
    if last.left >= 0:
        goes_on = g.lane[last.left].successors > 0
    if last.right >= 0:
        goes_on = goes_on or g.lane[last.right].successors > 0
    if last.successors == 0 and goes_on:
        distance = v.start[v.lanes] - a.s - 0.5 * t.length - 2.0
        d = least(d, stopping(a.speed, v.free, wp.max(distance, 0.1), t), -1)
    return d


@wp.func
def matters(
    g: LaneGraph,
    v: View,
    a: Agent,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    j: wp.int32,
    ahead: wp.float32,
    apart: wp.float32,
):
    """What an agent ``apart`` m away that is not on the path may be: 1 a body in the way, 2 a rival
    for shared ground, 3 both, 0 neither. A quick look that dismisses most.
    """
    lane = agents[v.world, j].lane
    kind = int(0)
    if ahead > 0.0 and apart < v.look and wp.abs(agents[v.world, j].z - a.z) < LEVEL:
        # Somebody who keeps to a lane that shares no ground with any other is in nobody's way.
        orderly = bool(False)
        if lane >= 0 and a.change >= 1.0 and traits[v.world, j].length <= LONG:
            orderly = g.lane[lane].conflicts == 0 and agents[v.world, j].change >= 1.0
            orderly = orderly and wp.abs(agents[v.world, j].lateral) < 0.8
            orderly = orderly and traits[v.world, j].controlled == 0
            orderly = orderly and traits[v.world, j].behaviour < Behaviour.REPLAY
        if not orderly:
            kind = 1
    if v.shared > 0 and lane >= 0:
        who = traits[v.world, j].behaviour
        replayed = who == Behaviour.REPLAY or who == Behaviour.REACT
        replayed = replayed and traits[v.world, j].kind <= AgentKind.CYCLIST
        if who == Behaviour.TRAFFIC or replayed:
            if is_rival(g, agents, v.world, j):
                kind = kind + 2
    return kind


@wp.func
def mind(
    g: LaneGraph,
    v: View,
    a: Agent,
    t: Traits,
    o: Agent,
    ot: Traits,
    j: wp.int32,
    kind: wp.int32,
    ahead: wp.float32,
    lights: wp.array2d(dtype=wp.int32),
    d: Decision,
):
    """Reacts to an agent by what it ``matters`` as."""
    if kind != 2:
        d = keep_off(g, v, a, t, o, ot, j, ahead, d)
    if kind >= 2:
        d = yield_at_shared_ground(g, v, a, t, o, ot, j, lights, d)
    return d


@wp.func
def claim_junction(g: LaneGraph, v: View, a: Agent, t: Traits, dt: wp.float32, d: Decision):
    """Clears the agent for the next junction lane, or takes the clearance back.

    Before a junction whose exit is full it waits; if that lasts, a wandering agent leaves by
    another one.
    """
    kept = int(-1)
    present = g.lane[a.lane].junction
    for k in range(1, v.lanes):
        junction = g.lane[a.ahead[k]].junction
        if junction >= 0 and junction != present:
            entry = v.start[k] - a.s - 0.5 * t.length
            full = bool(False)
            if k + 1 < AHEAD:  # nested: a kernel's `and` evaluates both sides
                if a.ahead[k + 1] >= 0:
                    beyond = d.room - (v.start[k + 1] - a.s)
                    full = g.lane[a.ahead[k + 1]].junction < 0 and d.room_speed < 2.0
                    full = full and beyond < t.length + 1.5 and d.room > v.start[k] - a.s
            if full and a.granted != a.ahead[k]:
                if entry > -0.3:
                    room = wp.max(entry - 0.5, 0.05)
                    d = least(d, stopping(a.speed, v.free, room, t), d.leader)
                d.wait_at = wp.min(d.wait_at, k)
                if a.waited > REROUTE and t.wanders == 1 and k == 1:
                    a = choose_another_way(a)
            if d.wait_at > k and entry < a.speed * a.speed / 4.0 + a.speed * dt + 3.0:
                kept = a.ahead[k]
            break
    a.granted = kept
    return a, d


@wp.func
def announce(g: LaneGraph, a: Agent, t: Traits):
    """A controlled agent counts as entering its next lane once it can hardly stop before it."""
    entry = g.lane[a.lane].length - a.s - 0.5 * t.length
    a.granted = -1
    if entry < a.speed * a.speed / 8.0 + 0.3 and a.speed > 0.5:
        a.granted = a.ahead[1]
    return a


@wp.func
def drive_in_traffic(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    step: wp.int32,
    dt: wp.float32,
):
    """A vehicle of the traffic: the agent, its intentions renewed; acceleration and steering."""
    x = wp.float32(a.x - g.origin_x)
    y = wp.float32(a.y - g.origin_y)
    a = change_lane(g, agents, traits, w, i, a, t, x, y, step, dt)
    v = view_of(g, a, t, w, i)
    v.free = free_road(a.speed, wanted_speed(g, v, a, t), t)
    d = Decision()
    d.acceleration = v.free
    d.leader = -1
    d.room = 1.0e9
    d.wait_at = AHEAD
    d = dead_end(g, v, a, t, d)
    a, d = obey_signals(g, v, a, t, lights, d)
    # Two cars that clear themselves for a junction must have seen each other before.
    radius = wp.max(v.look, wp.max(50.0 + 4.0 * a.speed, 70.0))
    for j in range(agents.shape[1]):
        dx = wp.float32(agents[w, j].x - a.x)
        dy = wp.float32(agents[w, j].y - a.y)
        if dx * dx + dy * dy < radius * radius and j != i and agents[w, j].valid == 1:
            s = position_on_path(v, a, agents, j)
            if s >= 0.0 and (s > a.s or j < i):
                beside = float(0.0)
                if agents[w, j].lane == a.lane:
                    beside = wp.abs(agents[w, j].lateral - a.lateral)
                    beside = beside - 0.5 * (t.width + traits[w, j].width)
                if beside < 0.5:
                    rear = s - a.s - 0.5 * traits[w, j].length
                    speed = agents[w, j].speed
                    d = least(d, following(a.speed, v.free, rear - 0.5 * t.length, speed, t), j)
                    if rear < d.room:
                        d.room = rear
                        d.room_speed = speed
            else:
                ahead = dx * a.cos + dy * a.sin
                kind = matters(g, v, a, agents, traits, j, ahead, wp.sqrt(dx * dx + dy * dy))
                if kind > 0:
                    d = mind(g, v, a, t, agents[w, j], traits[w, j], j, kind, ahead, lights, d)
    a, d = claim_junction(g, v, a, t, dt, d)
    if a.script >= 0.0 and t.action == Action.BRAKE and a.script < t.action_hold:
        d = least(d, -t.action_rate, -1)
    a.leader = d.leader
    steering = steer(g, a, t, v.aim, lateral_slope(a, t), dt)
    return a, wp.clamp(d.acceleration, -HARDEST, t.a), steering
