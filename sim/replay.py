"""Replayed road users: moved along a prescribed motion, one pose per step.

They mind nobody, and neither lights nor rules concern them; traffic sees them as it sees everybody
else, as leaders on their lane and as bodies. A vehicle inside a junction has its claim there;
before it, nobody knows where it is going, so traffic does not wait for it.
"""

from __future__ import annotations

import warp as wp

from sim.ground import ground_height
from sim.lane_graph import LaneGraph, wrap
from sim.path import locate
from sim.state import AHEAD, Agent, Pose, Traits, lane_chain


@wp.func
def settle_replayed(
    g: LaneGraph, a: Agent, route: wp.array3d(dtype=wp.int32), w: wp.int32, i: wp.int32
):
    """The agent with the lane it is on, if it keeps to one, and the height of its ground."""
    x = wp.float32(a.x - g.origin_x)
    y = wp.float32(a.y - g.origin_y)
    a, _heading, _width = locate(g, a, x, y, route, w, i)
    if a.lane < 0:
        a.z = ground_height(g, x, y, a.z)
    return a


@wp.func
def replay_motion(
    g: LaneGraph,
    replay: wp.array(dtype=Pose),
    route: wp.array3d(dtype=wp.int32),
    w: wp.int32,
    i: wp.int32,
    a: Agent,
    t: Traits,
    step: wp.int32,
    dt: wp.float32,
):
    """The agent as it is at ``step``: there or not, and where; after its last step it stands."""
    p = replay[t.replay + wp.min(step, t.replay_steps - 1)]
    speed = p.speed
    if step >= t.replay_steps:
        speed = 0.0
    was_there = a.valid == 1
    a.acceleration = 0.0
    a.yaw_rate = 0.0
    if wp.isfinite(p.x):
        if was_there and step < t.replay_steps:
            a.acceleration = (speed - a.speed) / dt
            a.yaw_rate = wrap(p.heading - a.heading) / dt
        a.valid = 1
        a.x = p.x
        a.y = p.y
        a.heading = p.heading
        a.cos = wp.cos(p.heading)
        a.sin = wp.sin(p.heading)
        a.speed = speed
        a = settle_replayed(g, a, route, w, i)
    else:
        a.valid = 0
        a.speed = 0.0
        a.lane = -1
        chain = lane_chain()
        for k in range(AHEAD):
            chain[k] = -1
        a.ahead = chain
    return a
