"""What an agent looks at, and what it has decided so far."""

from __future__ import annotations

import warp as wp

from sim.state import AHEAD

offsets = wp.types.vector(length=AHEAD + 1, dtype=wp.float32)


@wp.struct
class View:
    """The stretch of its path an agent looks at, and what follows from its own state."""

    world: wp.int32
    index: wp.int32  # of the agent in its world
    lanes: wp.int32  # how many of Agent.ahead are in view
    start: offsets  # m along the path to the start of ahead[k]; one more for the end
    aim: wp.float32  # m left of the driving line it steers for
    free: wp.float32  # m/s^2, what it would do alone on the road
    look: wp.float32  # m ahead it looks for leaders
    horizon: wp.float32  # m before its front within which right of way matters
    shared: wp.int32  # how many conflicts the lanes within the horizon have
    inside: wp.int32  # last lane of the chain that belongs to the junction it is in


@wp.struct
class Decision:
    """The demands on an agent, the strictest of each kind."""

    acceleration: wp.float32
    leader: wp.int32
    room: wp.float32  # m from the box centre to the rear of the leader on the path
    room_speed: wp.float32
    wait_at: wp.int32  # first lane of the chain it may not enter yet, AHEAD: none


@wp.func
def look_ahead(speed: wp.float32):
    """m an agent looks along the road at a speed: 3 s and a comfortable stop (3 m/s^2) at least."""
    return wp.clamp(20.0 + 3.0 * speed + speed * speed / 6.0, 30.0, 150.0)


@wp.func
def least(d: Decision, acceleration: wp.float32, cause: wp.int32):
    """The decision with one more demand on the acceleration."""
    if acceleration < d.acceleration:
        d.acceleration = acceleration
        d.leader = cause
    return d
