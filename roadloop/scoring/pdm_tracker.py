"""LQR tracker and kinematic bicycle that turn proposed poses into driven states, for many at once.

NAVSIM and nuPlan judge no trajectory as proposed but what a simulated car makes of it: a linear
quadratic regulator (longitudinal and lateral decoupled) follows the poses, a kinematic bicycle with
lagging actuators moves. Definitions: nuplan-devkit 1.2.2 ``planning/simulation/controller``
(``tracker/lqr.py``, ``motion_model/kinematic_bicycle.py``) and their batched form in NAVSIM 2.2
``pdm_planner/simulation``. The two differ in one matrix, see ``speed_profile``.

All P proposals are advanced together; states are rows of the columns in ``State``.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import VehicleParameters

Array = np.ndarray


class State(IntEnum):
    """Columns of a state row; everything at the rear axle, world frame, SI units."""

    X = 0
    Y = 1
    HEADING = 2
    SPEED = 3
    LATERAL_SPEED = 4
    ACCELERATION = 5
    LATERAL_ACCELERATION = 6
    STEERING = 7
    STEERING_RATE = 8
    YAW_RATE = 9
    YAW_ACCELERATION = 10


REFERENCE_VEHICLE = VehicleParameters(
    length=5.176,
    width=2.297,
    height=1.777,
    wheelbase=3.089,
    rear_overhang=1.127,
    max_steering=float(np.pi / 3.0),
    steering_lag=0.05,
    acceleration_lag=0.2,
)
"""The car of the nuPlan recordings, with the actuators of the reference's motion model."""

HORIZON = 10
"""steps the regulator looks ahead"""
SPEED_WEIGHT = 10.0
ACCELERATION_WEIGHT = 1.0
LATERAL_WEIGHT = 1.0
HEADING_WEIGHT = 10.0
STEERING_RATE_WEIGHT = 1.0
ACCELERATION_PENALTY = 1e-4
"""of the least squares behind the speed profile"""
CURVATURE_RATE_PENALTY = 1e-2
CURVATURE_PENALTY = 1e-10
"""on the first curvature only: decides nothing but a car that stands all the time"""
STOPPING_SPEED = 0.2
"""m/s; when both the car and the profile ahead are this slow the regulator only brakes"""
STOPPING_GAIN = 0.5
"""1/s"""


def simulate_proposals(
    start: Array,
    proposals: Array,
    vehicle: VehicleParameters = REFERENCE_VEHICLE,
    *,
    dt: float = 0.1,
    true_differences: bool = False,
) -> Array:
    """What the simulated car makes of proposals: ``(P, T, 3)`` -> states ``(P, T, 11)``.

    ``proposals`` are rear-axle poses x, y, heading (world frame) every ``dt`` s of which the first
    is now; ``start`` is the state row ``(11,)`` (see ``State``) all of them begin with. From
    ``vehicle`` come wheelbase, steering limit and the two actuator lags. ``true_differences``: see
    ``speed_profile``; False is NAVSIM, True nuPlan. Raises RoadloopError for other shapes, fewer
    than three poses and numbers that are not finite.
    """
    start = np.asarray(start, np.float64)
    proposals = np.asarray(proposals, np.float64)
    if proposals.ndim != 3 or proposals.shape[1] < 3 or proposals.shape[2] != 3:
        raise RoadloopError(
            f"proposals have shape {proposals.shape}: give (proposals, poses, 3) with x, y, "
            "heading and at least 3 poses"
        )
    if start.shape != (len(State),):
        raise RoadloopError(f"start state has shape {start.shape}: give ({len(State)},)")
    if not np.isfinite(start).all():
        raise RoadloopError("start state is not finite: give a complete state row")
    bad = ~np.isfinite(proposals).all((1, 2))
    if bad.any():
        raise RoadloopError(
            f"proposal {int(bad.argmax())} has poses that are not finite: leave it out"
        )
    speed = speed_profile(proposals, dt, true_differences=true_differences)
    curvature = curvature_profile(proposals, speed, dt)

    count, poses = proposals.shape[:2]
    last = poses - 2
    # the curvature ahead of each step, held at the profile's end
    padded = np.concatenate([curvature, np.repeat(curvature[:, -1:], HORIZON, axis=1)], axis=1)
    states = np.empty((poses, count, len(State)))
    states[0] = start
    for k in range(poses - 1):
        acceleration, steering_rate = regulator_commands(
            states[k],
            proposals[:, k],
            speed[:, min(k + HORIZON, last)],
            padded[:, k : k + HORIZON],
            vehicle.wheelbase,
            dt,
        )
        states[k + 1] = _advance(states[k], acceleration, steering_rate, vehicle, dt)
    return np.ascontiguousarray(states.swapaxes(0, 1))


def speed_profile(proposals: Array, dt: float, *, true_differences: bool = False) -> Array:
    """Speeds ``(P, M)`` that fit the M position increments of poses ``(P, M + 1, 3)``, m/s.

    Least squares of v_k dt (cos h_k, sin h_k) to the increments, with v_k = v_0 + dt sum a_j, plus
    ``ACCELERATION_PENALTY`` |R a|^2. R takes differences of successive accelerations in nuPlan
    (``true_differences``); in NAVSIM it lost its +1 entries in all but the last row, so that the
    accelerations themselves are penalised.
    """
    heading = proposals[:, :-1, 2]
    step = np.diff(proposals[..., :2], axis=1)
    along = step[..., 0] * np.cos(heading) + step[..., 1] * np.sin(heading)
    # einsum, not BLAS: the same bits for any number of threads and proposals
    return np.einsum("pi,ki->pk", along, _speed_fit(along.shape[1], dt, true_differences))


@lru_cache(maxsize=16)
def _speed_fit(increments: int, dt: float, true_differences: bool) -> Array:
    """(M, M) speeds from the increments along the heading.

    The squared cosine and sine add up to 1, so the normal equations do not depend on the poses.
    """
    speeds = np.tril(np.full((increments, increments), dt), -1)
    speeds[:, 0] = 1.0
    speeds[:, 1:] = np.tril(np.full((increments, increments - 1), dt), -1)
    rows = np.arange(increments - 2)
    change = np.zeros((increments - 2, increments))  # columns: v_0, a_0, a_1 ...
    change[rows, rows + 1] = -1.0
    if true_differences:
        change[rows, rows + 2] = 1.0
    else:
        change[-1, -1] = 1.0
    fit = dt * speeds
    normal = fit.T @ fit + ACCELERATION_PENALTY * change.T @ change
    return speeds @ np.linalg.solve(normal, fit.T)


def curvature_profile(proposals: Array, speed: Array, dt: float) -> Array:
    """Curvatures ``(P, M)`` that fit the M heading increments at the profile's speeds, 1/m.

    Least squares of c_k v_k dt to the wrapped increments, plus ``CURVATURE_RATE_PENALTY`` times the
    squared rates and ``CURVATURE_PENALTY`` c_0^2. Written in the c_k the normal equations are
    tridiagonal; solved by elimination over k for all proposals at once. What a diagonal entry holds
    beyond the coupling is carried on its own, in sums of positive numbers: for a car that creeps it
    is 1e-10 of the coupling and would be lost in it.
    """
    turn = _wrapped(np.diff(proposals[..., 2], axis=1))
    travelled = speed * dt
    coupling = CURVATURE_RATE_PENALTY / dt**2
    excess = travelled.T**2
    excess[0] += CURVATURE_PENALTY
    right = (travelled * turn).T.copy()
    for k in range(1, len(right)):
        share = 1.0 / (coupling + excess[k - 1])
        excess[k] += coupling * excess[k - 1] * share
        right[k] += coupling * right[k - 1] * share
    right[-1] /= excess[-1]
    for k in range(len(right) - 2, -1, -1):
        right[k] = (right[k] + coupling * right[k + 1]) / (coupling + excess[k])
    return right.T


def principal_value(angle: Array) -> Array:
    """The same angle (rad) in [-pi, pi): where nuPlan has -pi other code may have pi."""
    return np.mod(angle + np.pi, 2.0 * np.pi) - np.pi


def _wrapped(angle: Array) -> Array:
    """The same angle (rad) in [-pi, pi]; half a turn keeps its sign, as in the reference."""
    return np.arctan2(np.sin(angle), np.cos(angle))


def regulator_commands(
    state: Array, pose: Array, speed_ahead: Array, curvature: Array, wheelbase: float, dt: float
) -> tuple[Array, Array]:
    """Acceleration (m/s^2) and steering rate (rad/s), each (P,), the regulator asks for.

    ``state`` (P, 11) is to be brought to ``pose`` (P, 3), ``speed_ahead`` (P,) is the profile's
    speed at the horizon, ``curvature`` (P, HORIZON) the profile's from this step on.
    """
    speed = state[:, State.SPEED]
    stopping = (speed_ahead <= STOPPING_SPEED) & (speed <= STOPPING_SPEED)
    time = HORIZON * dt
    gain = SPEED_WEIGHT * time / (SPEED_WEIGHT * time**2 + ACCELERATION_WEIGHT)
    acceleration = -np.where(stopping, STOPPING_GAIN, gain) * (speed - speed_ahead)

    # Lateral and heading error at the horizon are affine in the constant steering rate u: what they
    # become with u = 0, and what each unit of u adds.
    off_x, off_y = state[:, State.X] - pose[:, 0], state[:, State.Y] - pose[:, 1]
    lateral = off_y * np.cos(pose[:, 2]) - off_x * np.sin(pose[:, 2])
    heading = _wrapped(state[:, State.HEADING] - pose[:, 2])
    steps = np.arange(HORIZON)
    travelled = (speed[:, None] + acceleration[:, None] * (steps * dt)) * dt
    turned = travelled / wheelbase * state[:, State.STEERING, None] - curvature * travelled
    per_rate = travelled / wheelbase * (steps * dt)
    heading_free = heading + turned.sum(1)
    heading_rate = per_rate.sum(1)
    before = np.cumsum(turned, axis=1) - turned + heading[:, None]
    lateral_free = lateral + (travelled * before).sum(1)
    lateral_rate = (travelled * (np.cumsum(per_rate, axis=1) - per_rate)).sum(1)

    pull = LATERAL_WEIGHT * lateral_rate * lateral_free
    pull += HEADING_WEIGHT * heading_rate * _wrapped(heading_free)
    weight = LATERAL_WEIGHT * lateral_rate**2 + HEADING_WEIGHT * heading_rate**2
    steering_rate = -pull / (weight + STEERING_RATE_WEIGHT)
    return acceleration, np.where(stopping, 0.0, steering_rate)


def _advance(
    state: Array, acceleration: Array, steering_rate: Array, vehicle: VehicleParameters, dt: float
) -> Array:
    """(P, 11) states one explicit Euler step later; the commands pass first-order lags first."""
    speed, steering = state[:, State.SPEED], state[:, State.STEERING]
    heading, yaw_rate = state[:, State.HEADING], state[:, State.YAW_RATE]
    was = state[:, State.ACCELERATION]
    after = np.zeros_like(state)
    after[:, State.ACCELERATION] = was + dt / (dt + vehicle.acceleration_lag) * (acceleration - was)
    rate = dt / (dt + vehicle.steering_lag) * steering_rate
    after[:, State.STEERING_RATE] = rate
    limit = vehicle.max_steering
    after[:, State.STEERING] = np.clip(steering + rate * dt, -limit, limit)
    after[:, State.X] = state[:, State.X] + speed * np.cos(heading) * dt
    after[:, State.Y] = state[:, State.Y] + speed * np.sin(heading) * dt
    turned = speed * np.tan(steering) / vehicle.wheelbase * dt
    after[:, State.HEADING] = principal_value(heading + turned)
    after[:, State.SPEED] = speed + after[:, State.ACCELERATION] * dt
    after[:, State.YAW_RATE] = (
        after[:, State.SPEED] * np.tan(after[:, State.STEERING]) / vehicle.wheelbase
    )
    after[:, State.YAW_ACCELERATION] = (after[:, State.YAW_RATE] - yaw_rate) / dt
    return after
