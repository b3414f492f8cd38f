"""What actions ask of the vehicles, as Warp kernels over all learners of a batch.

==============  ==================================================================================
``continuous``  Box (2,) in [-1, 1]: see ``roadloop.features.control_from_action``
``discrete``    Discrete (15): ``5 * line + pedal``; pedal is one of `PEDALS`, line says which of
                `LINES` (m left of the route) to steer for; the environment steers
``control``     Box (2,): acceleration (m/s^2) and steering (rad), as a Driver's ``Control``
``trajectory``  Box (8, 2): x forward, y left (m, ego frame) of where the rear axle is to be
                `WAYPOINT_TIME`, 2 `WAYPOINT_TIME` ... from now
==============  ==================================================================================

Steering is pure pursuit: the arc from the rear axle, tangent to the heading, through a point ahead;
its curvature is ``2 y / (x^2 + y^2)``. Source: R. C. Coulter, Implementation of the Pure Pursuit
Path Tracking Algorithm, CMU-RI-TR-92-01.
"""

from __future__ import annotations

import numpy as np
import warp as wp
from gymnasium import spaces

from roadloop import features as definition
from roadloop.types import VehicleParameters
from sim.envs.features import OnRoute, route_at
from sim.envs.routes import Course, RoutePoint
from sim.state import Agent, Traits

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

PEDALS = (-6.0, -2.0, 0.0, 1.0, 3.0)
"""m/s^2"""
LINES = (0.0, 3.5, -3.5)
"""m left of the route: on it, and a lane's width to either side"""
CHOICES = len(PEDALS) * len(LINES)
WAYPOINTS = 8
WAYPOINT_TIME = 0.5
"""s"""
WAYPOINT_LOW, WAYPOINT_HIGH = (-10.0, -100.0), (200.0, 100.0)
"""m, bounds of the space: 4 s at 50 m/s"""

NEAREST = wp.constant(3.0)
"""m, and ..."""
PREVIEW = wp.constant(0.8)
"""s to the point that is steered for on a trajectory, the further of the two"""
LINE_NEAREST = wp.constant(6.0)
LINE_PREVIEW = wp.constant(1.2)
"""likewise on a line, where it is to reach a line aside without a jerk"""
SPEED_HORIZON = wp.constant(1.0)
"""s from now at which the vehicle is to have driven as far as its trajectory has"""

BRAKING = wp.constant(definition.BRAKING)
ACCELERATION = wp.constant(definition.ACCELERATION)
LATERAL = wp.constant(definition.LATERAL)
STEERING = wp.constant(definition.STEERING)
pedal_table = wp.types.vector(length=len(PEDALS), dtype=wp.float32)
line_table = wp.types.vector(length=len(LINES), dtype=wp.float32)
PEDAL = pedal_table(*PEDALS)
LINE = line_table(*LINES)
PEDAL_COUNT = wp.constant(len(PEDALS))
WAYPOINT_COUNT = wp.constant(WAYPOINTS)
SPACING = wp.constant(WAYPOINT_TIME)


def space(action: str) -> spaces.Space:
    """The action space of one learner, for a kind of ``sim.envs.config.ACTIONS``."""
    if action == "discrete":
        return spaces.Discrete(CHOICES)
    if action == "trajectory":
        low, high = (
            np.tile(np.array(edge, np.float32), (WAYPOINTS, 1))
            for edge in (WAYPOINT_LOW, WAYPOINT_HIGH)
        )
        return spaces.Box(low, high, dtype=np.float32)
    if action == "control":
        limits = VehicleParameters()
        low = np.array([-limits.max_deceleration, -limits.max_steering], np.float32)
        high = np.array([limits.max_acceleration, limits.max_steering], np.float32)
        return spaces.Box(low, high, dtype=np.float32)
    return spaces.Box(-1.0, 1.0, (2,), np.float32)


@wp.func
def steering_towards(x: wp.float32, y: wp.float32, t: Traits):
    """rad at the front wheels for the arc through (x, y), ego frame."""
    return wp.atan(t.wheelbase * 2.0 * y / wp.max(x * x + y * y, 0.01))


@wp.kernel
def continuous(
    actions: wp.array3d(dtype=wp.float32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    control: wp.array2d(dtype=wp.vec2),
):
    """``actions`` (worlds, learners, 2) as acceleration (m/s^2) and steering (rad)."""
    w, i = wp.tid()
    pedal = wp.clamp(actions[w, i, 0], -1.0, 1.0)
    scale = ACCELERATION
    if pedal < 0.0:
        scale = BRAKING
    v = wp.max(agents[w, i].speed, 1.0)
    most = wp.min(STEERING, wp.atan(traits[w, i].wheelbase * LATERAL / (v * v)))
    control[w, i] = wp.vec2(scale * pedal, most * wp.clamp(actions[w, i, 1], -1.0, 1.0))


@wp.kernel
def commanded(
    actions: wp.array3d(dtype=wp.float32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    control: wp.array2d(dtype=wp.vec2),
):
    """``actions`` (worlds, learners, 2): acceleration (m/s^2) and steering (rad) as they are."""
    w, i = wp.tid()
    control[w, i] = wp.vec2(actions[w, i, 0], actions[w, i, 1])


@wp.kernel
def discrete(
    actions: wp.array2d(dtype=wp.int32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    courses: wp.array2d(dtype=Course),
    points: wp.array(dtype=RoutePoint),
    on_route: wp.array2d(dtype=OnRoute),
    control: wp.array2d(dtype=wp.vec2),
):
    """``actions`` (worlds, learners): a pedal and a line along the route."""
    w, i = wp.tid()
    a = agents[w, i]
    t = traits[w, i]
    preview = wp.max(LINE_NEAREST, LINE_PREVIEW * a.speed)
    p = route_at(points, courses[w, i], on_route[w, i].s + wp.float64(preview))
    left = wp.float64(LINE[actions[w, i] / PEDAL_COUNT])
    dx = wp.float32(p.x - left * wp.sin(p.heading) - a.x) + t.centre_offset * a.cos
    dy = wp.float32(p.y + left * wp.cos(p.heading) - a.y) + t.centre_offset * a.sin
    steering = steering_towards(a.cos * dx + a.sin * dy, a.cos * dy - a.sin * dx, t)
    v = wp.max(a.speed, 1.0)
    most = wp.min(STEERING, wp.atan(t.wheelbase * LATERAL / (v * v)))
    pedal = PEDAL[actions[w, i] % PEDAL_COUNT]
    control[w, i] = wp.vec2(pedal, wp.clamp(steering, -most, most))


@wp.func
def along(waypoints: wp.array4d(dtype=wp.float32), w: wp.int32, i: wp.int32, distance: wp.float32):
    """The point ``distance`` m along the waypoints, from the rear axle; straight on beyond."""
    at = wp.vec2(0.0, 0.0)
    direction = wp.vec2(1.0, 0.0)
    left = distance
    for k in range(WAYPOINT_COUNT):
        to = wp.vec2(waypoints[w, i, k, 0], waypoints[w, i, k, 1])
        length = wp.length(to - at)
        if length > 1.0e-3:
            direction = (to - at) / length
            if left <= length:
                return at + left * direction
            left = left - length
            at = to
    return at + left * direction


@wp.kernel
def trajectory(
    waypoints: wp.array4d(dtype=wp.float32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    control: wp.array2d(dtype=wp.vec2),
):
    """``waypoints`` (worlds, learners, WAYPOINTS, 2), followed.

    The acceleration is the constant one that covers, in SPEED_HORIZON, what the waypoints do.
    """
    w, i = wp.tid()
    v = agents[w, i].speed
    target = along(waypoints, w, i, wp.max(NEAREST, PREVIEW * v))
    distance = float(0.0)
    at = wp.vec2(0.0, 0.0)
    for k in range(WAYPOINT_COUNT):
        to = wp.vec2(waypoints[w, i, k, 0], waypoints[w, i, k, 1])
        share = wp.clamp(SPEED_HORIZON / SPACING - wp.float32(k), 0.0, 1.0)
        distance = distance + share * wp.length(to - at)
        at = to
    pull = 2.0 * (distance - v * SPEED_HORIZON) / (SPEED_HORIZON * SPEED_HORIZON)
    control[w, i] = wp.vec2(pull, steering_towards(target[0], target[1], traits[w, i]))
