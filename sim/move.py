"""One step of every agent: decide, drive or walk, find one's place on the lanes again."""

from __future__ import annotations

import warp as wp

from roadloop.maps.road_map import SignalKind
from roadloop.types import Behaviour, LightState
from sim.collision import overlap_partner
from sim.dynamics import drive
from sim.ground import ground_events
from sim.lane_graph import LaneGraph, wrap
from sim.lights import light_state
from sim.path import OFF_LANE_ANGLE, follow_on, locate, refill
from sim.reactive import react
from sim.replay import replay_motion
from sim.state import AHEAD, HIT, LEFT_MAP, RED_LIGHT, Agent, LightTiming, Pose, Traits
from sim.traffic import announce, drive_in_traffic, run_script
from sim.walkers import walk

wp.set_module_options({"enable_backward": False})


@wp.func
def crossed_red(
    g: LaneGraph,
    a: Agent,
    front: wp.float32,
    moved: wp.float32,
    lights: wp.array2d(dtype=wp.int32),
    w: wp.int32,
):
    """Whether the front bumper, from ``front`` m along ahead[0], passed a red light's line."""
    start = float(0.0)
    for k in range(AHEAD):
        if a.ahead[k] < 0 or start > front + moved:
            break
        row = g.lane[a.ahead[k]]
        for q in range(row.stop, row.stop + row.stops):
            line = g.stop[q]
            at = start + line.s
            if line.kind == SignalKind.TRAFFIC_LIGHT and at > front and at <= front + moved:
                if lights[w, line.signal] == LightState.RED:
                    return True
        start = start + row.length
    return False


@wp.kernel
def advance(
    g: LaneGraph,
    before: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    route: wp.array3d(dtype=wp.int32),
    replay: wp.array(dtype=Pose),
    lights: wp.array2d(dtype=wp.int32),
    control: wp.array2d(dtype=wp.vec2),
    batch_step: wp.int32,
    begun: wp.array(dtype=wp.int32),
    exact_dt: wp.float64,
    first_world: wp.int32,
    agents: wp.array2d(dtype=Agent),
    events: wp.array2d(dtype=wp.int32),
):
    """Every agent of ``before`` one step later in ``agents``; all event bits but collisions."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    step = batch_step - begun[w]
    time = wp.float32(wp.float64(step) * exact_dt)
    dt = wp.float32(exact_dt)
    a = before[w, i]
    t = traits[w, i]
    bits = int(0)
    recorded = t.behaviour == Behaviour.REPLAY
    if t.behaviour == Behaviour.REACT and a.along >= 0.0:
        recorded = True
    if recorded:
        if t.behaviour == Behaviour.REACT:
            a = react(g, before, traits, replay, route, lights, w, i, a, t, step, dt)
        else:
            a = replay_motion(g, replay, route, w, i, a, t, step + 1, dt)
    elif a.valid == 1 and (t.behaviour != Behaviour.STATIC or t.controlled == 1):
        a = run_script(a, t, before[w, 0], time, dt)
        if t.behaviour == Behaviour.WALK and t.controlled == 0:
            a = walk(before, traits, w, i, a, t, dt)
        else:
            acceleration = float(0.0)
            steering = float(0.0)
            if t.controlled == 1:
                acceleration = control[w, i][0]
                steering = control[w, i][1]
                if a.ahead[1] >= 0:
                    a = announce(g, a, t)
            elif a.lane >= 0:
                a, acceleration, steering = drive_in_traffic(
                    g, before, traits, lights, w, i, a, t, step, dt
                )
            if a.speed < 0.1:
                a.waited = a.waited + dt
            else:
                a.waited = 0.0
            front = a.s + 0.5 * t.length
            was = a.speed
            a = drive(a, t, acceleration, steering, dt)
            moved = 0.5 * (was + a.speed) * dt
            x = wp.float32(a.x - g.origin_x)
            y = wp.float32(a.y - g.origin_y)
            lane_heading = float(0.0)
            lane_width = float(0.0)
            if a.lane >= 0:
                if crossed_red(g, a, front, moved, lights, w):
                    bits = bits | RED_LIGHT
                a, lane_heading, lane_width = follow_on(g, a, x, y, moved)
                if a.lane < 0 and t.controlled == 0:
                    a.valid = 0
                    bits = bits | LEFT_MAP
            if t.controlled == 1:
                strays = a.lane < 0 or wp.abs(a.lateral) > 0.5 * lane_width + 0.2
                if strays or wp.abs(wrap(a.heading - lane_heading)) > OFF_LANE_ANGLE:
                    a, lane_heading, lane_width = locate(g, a, x, y, route, w, i)
            if a.valid == 1 and a.lane >= 0 and a.ahead[AHEAD - 1] < 0:
                a = refill(g, a, t, route, w, i)
            if a.valid == 1:
                bits = bits | ground_events(g, a, t, x, y, lane_heading, lane_width)
    agents[w, i] = a
    events[w, i] = bits


@wp.kernel
def conclude(
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    timing: wp.array2d(dtype=LightTiming),
    light_record: wp.array(dtype=wp.int32),
    batch_step: wp.int32,
    begun: wp.array(dtype=wp.int32),
    exact_dt: wp.float64,
    first_world: wp.int32,
    lights: wp.array2d(dtype=wp.int32),
    events: wp.array2d(dtype=wp.int32),
    hit: wp.array2d(dtype=wp.int32),
):
    """What follows from where everybody is at ``batch_step``: lights, collisions and with whom."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    step = batch_step - begun[w]
    time = wp.float32(wp.float64(step) * exact_dt)
    for k in range(i, timing.shape[1], agents.shape[1]):
        lights[w, k] = light_state(timing[w, k], light_record, step, time)
    partner = int(-1)
    if agents[w, i].valid == 1:
        partner = overlap_partner(agents, traits, w, i)
        if partner >= 0:
            events[w, i] = events[w, i] | HIT
    hit[w, i] = partner
