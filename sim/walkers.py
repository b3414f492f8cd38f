"""Pedestrians: they walk between two points and wait at the kerb for a gap.

A walker steps out when no vehicle will reach its line within the time it needs to cross, or when
its script tells it to. On the way it stops for a body right in front of it, and turns back if that
stays there.
"""

from __future__ import annotations

import warp as wp

from roadloop.types import Action, AgentKind
from sim.lane_graph import LEVEL, wrap
from sim.state import Agent, Traits

MARGIN = wp.constant(1.5)
"""s a walker wants to spare when it steps out"""
BLOCKED = wp.constant(4.0)
"""s it stands before a body on its way until it turns back"""


@wp.func
def gap_is_free(
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    to_x: wp.float64,
    to_y: wp.float64,
    crossing_time: wp.float32,
):
    """Whether no vehicle reaches the line from the walker to its goal while it crosses."""
    lx = wp.float32(to_x - a.x)
    ly = wp.float32(to_y - a.y)
    length = wp.max(wp.sqrt(lx * lx + ly * ly), 0.1)
    for j in range(agents.shape[1]):
        if j != i and agents[w, j].valid == 1 and traits[w, j].kind != AgentKind.PEDESTRIAN:
            dx = wp.float32(agents[w, j].x - a.x)
            dy = wp.float32(agents[w, j].y - a.y)
            if dx * dx + dy * dy < 6400.0 and wp.abs(agents[w, j].z - a.z) < LEVEL:
                o = agents[w, j]
                half = 0.5 * traits[w, j].length
                # Where the vehicle's course cuts the walker's line: solve o + d * dir = a + u * l.
                det = o.cos * ly - o.sin * lx
                if wp.abs(det) < 0.2 * length:
                    continue
                ahead = (lx * dy - ly * dx) / det
                u = (o.cos * dy - o.sin * dx) / det
                if u < -1.0 / length or u > 1.0 + 1.0 / length:
                    continue
                if wp.abs(ahead) < half + 1.0:
                    return False  # it stands across the line
                if ahead > 0.0 and o.speed > 0.5:
                    if (ahead - half) / o.speed < crossing_time + MARGIN:
                        return False
    return True


@wp.func
def body_in_front(
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
):
    """Whether a body covers the ground right in front; close past a standing one is enough."""
    for j in range(agents.shape[1]):
        if j != i and agents[w, j].valid == 1 and traits[w, j].kind != AgentKind.PEDESTRIAN:
            reach = float(0.9)
            spare = float(0.4)
            if agents[w, j].speed < 0.2:
                reach = 0.5
                spare = 0.1
            dx = wp.float32(a.x - agents[w, j].x) + reach * a.cos
            dy = wp.float32(a.y - agents[w, j].y) + reach * a.sin
            c = agents[w, j].cos
            s = agents[w, j].sin
            inside = wp.abs(dx * c + dy * s) < 0.5 * traits[w, j].length + spare
            if inside and wp.abs(dy * c - dx * s) < 0.5 * traits[w, j].width + spare:
                return True
    return False


@wp.func
def walk(
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    dt: wp.float32,
):
    """The walker one step later."""
    to_x = t.walk_x1
    to_y = t.walk_y1
    if a.walking >= 2:
        to_x = t.walk_x0
        to_y = t.walk_y0
    dx = wp.float32(to_x - a.x)
    dy = wp.float32(to_y - a.y)
    distance = wp.sqrt(dx * dx + dy * dy)
    speed = float(0.0)
    if a.walking == 0 or a.walking == 2:
        a.walk_wait = a.walk_wait - dt
        scripted = t.action == Action.WALK
        go = scripted and a.script >= 0.0
        if not scripted and a.walk_wait <= 0.0 and distance > 0.5:
            go = gap_is_free(agents, traits, w, i, a, to_x, to_y, distance / t.max_speed)
        if scripted and a.walking == 2:
            go = False  # a scripted walker crosses once
        if go:
            a.walking = a.walking + 1
            a.walk_wait = 0.0
            a.heading = wp.atan2(dy, dx)
            a.cos = wp.cos(a.heading)
            a.sin = wp.sin(a.heading)
    if a.walking == 1 or a.walking == 3:
        scripted_now = t.action == Action.WALK and a.script >= 0.0
        speed = wp.min(t.max_speed, distance / dt)
        if not scripted_now and body_in_front(agents, traits, w, i, a):
            speed = 0.0
            a.walk_wait = a.walk_wait + dt
        if a.walk_wait > BLOCKED:  # a car stands there and may wait for the walker: turn back
            a.walking = 4 - a.walking
            a.walk_wait = 0.0
            speed = 0.0
            a.heading = wrap(a.heading + wp.PI)
            a.cos = -a.cos
            a.sin = -a.sin
        a.x = a.x + wp.float64(speed * dt * a.cos)
        a.y = a.y + wp.float64(speed * dt * a.sin)
        if distance <= t.max_speed * dt and speed > 0.0:
            a.walking = (a.walking + 1) % 4
            dice = wp.rand_init(t.seed, a.draws)
            a.draws = a.draws + 1
            a.walk_wait = 5.0 + 20.0 * wp.randf(dice)
    a.acceleration = (speed - a.speed) / dt
    a.speed = speed
    return a
