"""What changes about how agents look, by kernels: pose on the ground, stride, lamps.

Agents on a lane stand on its surface, pitched and rolled with its slope and bank; others stand
level.
"""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LaneGraph
from sim.render.frame import Lamp
from sim.state import AHEAD, Agent

wp.set_module_options({"enable_backward": False})

BRAKING = wp.constant(0.6)
"""m/s^2, deceleration from which brake lamps light up; less is rolling out"""
STANDING = wp.constant(0.05)
"""m/s"""
SIGNALLED = wp.constant(30.0)
"""m before a turn from where it is indicated"""
BLINKS = wp.constant(1.5)
"""Hz (UN R48: 60 to 120 flashes a minute)"""


@wp.struct
class Look:
    """What stays about an agent's looks."""

    model: wp.int32  # index into MODELS, the pose at rest
    frames: wp.int32  # poses that follow it
    cycle: wp.float32  # m travelled per stride or pedal turn
    phase: wp.float32  # share of a blink, stride or pedal turn that it is ahead of others
    driven: wp.int32  # 1: has lamps, and somebody at the wheel


@wp.func
def pose_of(g: LaneGraph, slope: wp.array(dtype=wp.vec2), a: Agent):
    """world_from_actor of an agent's box."""
    one = wp.float64(1.0)
    zero = wp.float64(0.0)
    c = wp.float64(a.cos)
    s = wp.float64(a.sin)
    unit = one / wp.sqrt(c * c + s * s)  # of float32 numbers
    c = c * unit
    s = s * unit
    z = wp.float64(a.z)
    ahead = wp.float64(0.0)  # slopes in the agent's own directions
    aside = wp.float64(0.0)
    if a.lane >= 0:
        row = g.lane[a.lane]
        u = wp.clamp(a.s / row.spacing, 0.0, wp.float32(row.points - 1))
        k = wp.min(wp.int32(u), row.points - 2)
        f = u - wp.float32(k)
        p = slope[row.point + k]
        q = slope[row.point + k + 1]
        along = p[0] + f * (q[0] - p[0])
        left = p[1] + f * (q[1] - p[1])
        if along != 0.0 or left != 0.0:
            h = g.point[row.point + k].heading
            turn = a.heading - (h + f * (g.point[row.point + k + 1].heading - h))
            ct = wp.cos(turn)
            st = wp.sin(turn)
            ahead = wp.float64(along * ct + left * st)
            aside = wp.float64(left * ct - along * st)
            z = z + wp.float64(a.lateral * left)
    # In the frame of the heading: forward (1, 0, ahead) / |.|, up (-ahead, -aside, 1) / |.|.
    fx = one / wp.sqrt(one + ahead * ahead)
    fz = ahead * fx
    uz = one / wp.sqrt(one + ahead * ahead + aside * aside)
    ux = -ahead * uz
    uy = -aside * uz
    lx = uy * fz  # left = up x forward
    ly = uz * fx - ux * fz
    lz = -uy * fx
    return wp.mat44d(
        c * fx, c * lx - s * ly, c * ux - s * uy, a.x,
        s * fx, s * lx + c * ly, s * ux + c * uy, a.y,
        fz, lz, uz, z,
        zero, zero, zero, one,
    )  # fmt: skip


@wp.func
def indicated(g: LaneGraph, side: wp.array(dtype=wp.int32), a: Agent):
    """The side a driver indicates: 1 left, -1 right, 0 neither.

    A change of lane first; then the turn it is in, or the first one within SIGNALLED m.
    """
    if a.lane < 0:
        return 0
    if a.change < 1.0:
        # The new lane counts from the start: an agent is on that side of it that it comes from.
        if a.change_lateral < 0.0:
            return 1
        return -1
    start = -a.s
    for k in range(AHEAD):
        lane = a.ahead[k]
        if lane < 0 or start > SIGNALLED:
            break
        if side[lane] != 0:
            return side[lane]
        start = start + g.lane[lane].length
    return 0


@wp.func
def lit(
    g: LaneGraph,
    side: wp.array(dtype=wp.int32),
    a: Agent,
    look: Look,
    dark: wp.int32,
    time: wp.float32,
):
    """Lamp bits of a vehicle with a driver."""
    lamps = int(0)
    if dark == 1:
        lamps = lamps | Lamp.HEADLIGHT
    if a.acceleration < -BRAKING or wp.abs(a.speed) < STANDING:
        lamps = lamps | Lamp.BRAKE
    flash = BLINKS * time + look.phase
    if flash - wp.floor(flash) < 0.5:
        to = indicated(g, side, a)
        if to > 0:
            lamps = lamps | Lamp.INDICATOR_LEFT
        elif to < 0:
            lamps = lamps | Lamp.INDICATOR_RIGHT
    return lamps


@wp.func
def pose_frame(a: Agent, look: Look):
    """Which pose of its figure: 0 at rest, from 1 on the moving ones.

    Distance is that along the heading from the map's origin: on a straight way it grows by what is
    travelled.
    """
    if look.frames == 0 or wp.abs(a.speed) < STANDING:
        return 0
    travelled = a.x * wp.float64(a.cos) + a.y * wp.float64(a.sin)
    phase = travelled / wp.float64(look.cycle) + wp.float64(look.phase)
    share = wp.float32(phase - wp.floor(phase))
    return 1 + wp.min(wp.int32(share * wp.float32(look.frames)), look.frames - 1)


@wp.kernel
def dress(
    g: LaneGraph,
    slope: wp.array(dtype=wp.vec2),
    side: wp.array(dtype=wp.int32),
    agents: wp.array2d(dtype=Agent),
    looks: wp.array2d(dtype=Look),
    dark: wp.array(dtype=wp.int32),
    begun: wp.array(dtype=wp.int32),
    step: wp.int32,
    dt: wp.float32,
    pose: wp.array2d(dtype=wp.mat44d),
    model: wp.array2d(dtype=wp.int32),
    velocity: wp.array2d(dtype=wp.vec3),
    lamps: wp.array2d(dtype=wp.uint8),
):
    """Everything of ``Actors`` that changes, but the previous poses."""
    w, i = wp.tid()
    a = agents[w, i]
    look = looks[w, i]
    m = pose_of(g, slope, a)
    pose[w, i] = m
    v = a.speed
    velocity[w, i] = wp.vec3(
        v * wp.float32(m[0, 0]), v * wp.float32(m[1, 0]), v * wp.float32(m[2, 0])
    )
    bits = int(0)
    if a.valid == 1:
        model[w, i] = look.model + pose_frame(a, look)
        if look.driven == 1:
            bits = lit(g, side, a, look, dark[w], wp.float32(step - begun[w]) * dt)
    else:
        model[w, i] = -1
    lamps[w, i] = wp.uint8(bits)


@wp.kernel
def place(
    g: LaneGraph,
    slope: wp.array(dtype=wp.vec2),
    before: wp.array2d(dtype=Agent),
    begun_before: wp.array(dtype=wp.int32),
    agents: wp.array2d(dtype=Agent),
    begun: wp.array(dtype=wp.int32),
    pose: wp.array2d(dtype=wp.mat44d),
    previous: wp.array2d(dtype=wp.mat44d),
):
    """Poses one step before; today's for agents that were not there, or in another scenario."""
    w, i = wp.tid()
    previous[w, i] = pose[w, i]
    if i < before.shape[1] and begun[w] == begun_before[w]:
        a = before[w, i]
        if a.valid == 1 and agents[w, i].valid == 1:
            previous[w, i] = pose_of(g, slope, a)
