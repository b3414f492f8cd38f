"""What actions ask of the vehicles, as Warp kernels over all learners of a batch.

``continuous``: a pair in [-1, 1], see ``roadloop.features.control_from_action``.
"""

from __future__ import annotations

import warp as wp

from roadloop import features as definition
from sim.state import Agent, Traits

wp.set_module_options({"enable_backward": False})

BRAKING = wp.constant(definition.BRAKING)
ACCELERATION = wp.constant(definition.ACCELERATION)
LATERAL = wp.constant(definition.LATERAL)
STEERING = wp.constant(definition.STEERING)


@wp.func
def pedal(share: wp.float32):
    """m/s^2 of the first number of an action."""
    if share < 0.0:
        return BRAKING * share
    return ACCELERATION * share


@wp.kernel
def continuous(
    actions: wp.array3d(dtype=wp.float32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    control: wp.array2d(dtype=wp.vec2),
):
    """``actions`` (worlds, learners, 2) as acceleration (m/s^2) and steering (rad)."""
    w, i = wp.tid()
    v = wp.max(agents[w, i].speed, 1.0)
    most = wp.min(STEERING, wp.atan(traits[w, i].wheelbase * LATERAL / (v * v)))
    wheel = most * wp.clamp(actions[w, i, 1], -1.0, 1.0)
    control[w, i] = wp.vec2(pedal(wp.clamp(actions[w, i, 0], -1.0, 1.0)), wheel)
