"""How vehicles move: a kinematic bicycle with actuator lags and a friction limit, and its inverse.

The pose is the rear axle's. Over a step of ``dt`` the actuators follow their commands as
first-order lags, ``value += (command - value) * (1 - exp(-dt / lag))``, limited in rate and range.
With the mean speed ``v`` and mean steering ``delta`` of the step, curvature is
``kappa = tan(delta) / wheelbase`` and the axle moves along a circle::

    heading' = heading + kappa v dt
    x' = x + v dt cos(heading + kappa v dt / 2)
    y' = y + v dt sin(heading + kappa v dt / 2)

(the chord of the arc, exact to third order in the turn). The friction circle bounds the curvature
at speed: ``v^2 |kappa| <= sqrt(grip^2 - a^2)``; beyond it the car understeers.
Source: R. Rajamani, Vehicle Dynamics and Control, 2nd ed., sections 2.2 and 5.
"""

from __future__ import annotations

import numpy as np
import warp as wp

from roadloop.geometry import wrap_angle
from sim.state import Agent, Traits


@wp.func
def drive(
    a: Agent,
    t: Traits,
    command_acceleration: wp.float32,
    command_steering: wp.float32,
    dt: wp.float32,
):
    """The agent one step later as a vehicle: pose, speed and actuators."""
    target = wp.clamp(command_acceleration, -t.max_deceleration, t.max_acceleration)
    target = wp.clamp(target, -t.grip, t.grip)
    acceleration = a.acceleration + (target - a.acceleration) * t.acceleration_blend
    speed = a.speed + acceleration * dt
    if speed < 0.0:  # brakes hold a standing vehicle; a Control has no reverse gear
        speed = 0.0
        acceleration = wp.max(acceleration, 0.0)
    wish = wp.clamp(command_steering, -t.max_steering, t.max_steering)
    turn = wp.clamp(
        (wish - a.steering) * t.steering_blend, -t.max_steering_rate * dt, t.max_steering_rate * dt
    )
    steering = a.steering + turn

    v = 0.5 * (a.speed + speed)
    curvature = wp.tan(0.5 * (a.steering + steering)) / t.wheelbase
    grip = wp.sqrt(wp.max(t.grip * t.grip - acceleration * acceleration, 1.0))
    most = grip / wp.max(v * v, 0.01)
    curvature = wp.clamp(curvature, -most, most)
    yaw = curvature * v * dt
    heading = a.heading + yaw
    turns = wp.ceil((heading - wp.PI) / (2.0 * wp.PI))
    heading = heading - turns * 2.0 * wp.PI
    c = wp.cos(heading)
    s = wp.sin(heading)
    # The state holds the box centre: back to the axle, along the arc, forward again.
    # The sum of two unit vectors points half way between them: the direction of the chord.
    cx = a.cos + c
    cy = a.sin + s
    chord = v * dt / wp.sqrt(cx * cx + cy * cy)
    dx = chord * cx + t.centre_offset * (c - a.cos)
    dy = chord * cy + t.centre_offset * (s - a.sin)
    a.x = a.x + wp.float64(dx)
    a.y = a.y + wp.float64(dy)
    a.heading = heading
    a.cos = c
    a.sin = s
    a.yaw_rate = curvature * v
    a.speed = speed
    a.acceleration = acceleration
    a.steering = steering
    return a


def controls_from_motion(
    x: np.ndarray,
    y: np.ndarray,
    heading: np.ndarray,
    speed: np.ndarray,
    wheelbase: float,
    dt: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse model: mean acceleration and steering that lead from each pose to the next.

    Args:
        x, y, heading, speed: ``(..., time)`` rear-axle poses ``dt`` s apart.

    Returns:
        acceleration, steering: ``(..., time - 1)`` m/s^2 and rad, actuator lags not undone. Where
        the vehicle hardly moves (under 1 cm a step) steering is 0.
    """
    acceleration = np.diff(speed, axis=-1) / dt
    turn = wrap_angle(np.diff(heading, axis=-1))
    middle = heading[..., :-1] + 0.5 * turn
    travel = np.diff(x, axis=-1) * np.cos(middle) + np.diff(y, axis=-1) * np.sin(middle)
    moving = np.abs(travel) > 0.01
    curvature = np.where(moving, turn / np.where(moving, travel, 1.0), 0.0)
    return acceleration, np.arctan(curvature * wheelbase)
