"""What an agent has decided so far, and the stretch of its path it looks at."""

from __future__ import annotations

import warp as wp

from sim.state import AHEAD

offsets = wp.types.vector(length=AHEAD + 1, dtype=wp.float32)
"""m along the path from the start of ahead[0] to the start of ahead[k]; one more for the end"""


@wp.struct
class Decision:
    """The demands on an agent, the strictest of each kind."""

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
