"""Following a planned trajectory: steering and acceleration for this step.

Lateral: a small predictive controller. Lateral error ``e``, heading error ``psi`` and curvature
``k`` of the rear axle obey ``e' = v psi``, ``psi' = v k - psi_ref'``, ``k' = u``: linear in
the sequence of curvature rates ``u`` over the next seconds. The sequence that minimises
``sum e^2 + (q v psi)^2 + (r u)^2`` within the steering's range and rate is one least-squares
problem, and its first step is driven. It knows the bend ahead and how fast the wheels turn, so it
begins to steer before a bend that no steering could follow at once. (The tracker of nuPlan's
simulator is an LQR on the same model without the limits.)
Longitudinal: the constant acceleration that meets the plan's speed shortly after the actuator lag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, Observation, Trajectory, VehicleParameters

Array = np.ndarray

STEPS = 20
"""steps the steering is planned ahead"""
STEP = 0.1
"""s per step"""
SUM = np.tril(np.ones((STEPS, STEPS)))
"""sum over the steps up to and including each"""
MEAN = (np.eye(STEPS) + np.eye(STEPS, k=-1)) / 2.0
"""mean over each step of a quantity given at its end; 0 before the first"""


@dataclass(frozen=True)
class TrackingGains:
    """How stiff the tracking is and what counts as comfortable."""

    heading_weight: float = 0.6
    """s: q, weight of the sideways speed v psi against the lateral error in m"""
    rate_weight: float = 0.5
    """m^2 s: part of r, weight of the curvature rate at a standstill ..."""
    jerk_weight: float = 0.06
    """s^3: ... and of the lateral jerk v^2 u it means at speed"""
    meeting_time: float = 0.3
    """s after the lag in which the plan's speed is met"""
    comfort_jerk: float = 3.0
    """m/s^3, inside nuPlan's bound of 4.13"""
    comfort_acceleration: float = 2.3
    """m/s^2, inside nuPlan's bound of 2.40"""
    comfort_deceleration: float = 3.9
    """m/s^2, inside nuPlan's bound of 4.05; plans that brake harder are emergencies"""
    hold_deceleration: float = 0.5
    """m/s^2 asked for while standing"""


class TrackingController:
    """A `Controller` for trajectories whose first pose is now.

    The plan may start anywhere near the ego: errors are taken at the ego's foot point on it.
    """

    def __init__(self, gains: TrackingGains | None = None) -> None:
        self.gains = gains or TrackingGains()
        self._acceleration: float | None = None
        self._steering = 0.0

    def reset(self) -> None:
        """Forget the previous command."""
        self._acceleration = None
        self._steering = 0.0

    def control(self, observation: Observation, trajectory: Trajectory) -> Control:
        """Acceleration (m/s^2) and steering (rad) for this step, scalars.

        Raises RoadloopError for a trajectory of fewer than two points.
        """
        if len(trajectory.x) < 2:
            raise RoadloopError(
                f"trajectory has {len(trajectory.x)} point(s): plan at least 2 to be tracked"
            )
        ego = observation.ego
        if self._acceleration is None:
            self._acceleration, self._steering = float(ego.acceleration), float(ego.steering)
        self._steering = self._lateral(observation, trajectory)
        self._acceleration = self._longitudinal(observation, trajectory)
        return Control(np.asarray(self._acceleration), np.asarray(self._steering))

    def _lateral(self, observation: Observation, plan: Trajectory) -> float:
        ego, vehicle = observation.ego, observation.ego.vehicle
        speed = max(float(ego.speed), 0.0)
        step = np.hypot(np.diff(plan.x), np.diff(plan.y))
        moving = np.concatenate([[True], step > 1e-3])
        if moving.sum() < 2:  # a plan to stand has no direction
            return self._steering
        x, y = plan.x[moving], plan.y[moving]
        heading = np.unwrap(plan.heading[moving])
        s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])

        # the state when the wheels have answered the last command
        lag, bend = vehicle.steering_lag, math.tan(float(ego.steering)) / vehicle.wheelbase
        ego_x = float(ego.x) + speed * lag * math.cos(float(ego.heading) + 0.5 * speed * lag * bend)
        ego_y = float(ego.y) + speed * lag * math.sin(float(ego.heading) + 0.5 * speed * lag * bend)
        ego_heading = float(ego.heading) + speed * lag * bend
        foot = _foot(x, y, ego_x, ego_y)
        at_s = float(np.interp(foot, np.arange(len(s)), s))
        path_x, path_y, path_heading = (float(np.interp(at_s, s, v)) for v in (x, y, heading))
        dx, dy = ego_x - path_x, ego_y - path_y
        lateral = math.cos(path_heading) * dy - math.sin(path_heading) * dx
        angle = math.remainder(ego_heading - path_heading, 2.0 * math.pi)

        times = lag + np.arange(STEPS) * STEP
        pace = np.interp(times, np.arange(len(plan.speed)) * plan.dt, plan.speed)
        travel = pace * STEP
        turns = np.interp(at_s + np.cumsum(travel), s, heading) - path_heading
        limit = vehicle.max_steering_rate
        curvature = math.tan(self._steering) / vehicle.wheelbase
        curvature += STEP * self._curvature_rate(lateral, angle, curvature, pace, turns, vehicle)
        wanted = math.atan(vehicle.wheelbase * curvature)
        # the plan's first step is STEP long, this command lasts dt
        change = (wanted - self._steering) / STEP * observation.dt
        change = max(min(change, limit * observation.dt), -limit * observation.dt)
        return max(min(self._steering + change, vehicle.max_steering), -vehicle.max_steering)

    def _curvature_rate(
        self,
        lateral: float,
        angle: float,
        curvature: float,
        pace: Array,
        turns: Array,
        vehicle: VehicleParameters,
    ) -> float:
        """First of the best curvature rates, 1/(m s).

        ``pace`` is the speed during each step, ``turns`` the heading change of the plan up to the
        end of each, both ``(STEPS,)``.
        """
        gains, travel = self.gains, pace * STEP
        angle_from_rate = (SUM * travel) @ SUM * STEP
        angles = angle + np.cumsum(travel) * curvature - turns
        lateral_from_angle = SUM * travel @ MEAN
        laterals = lateral + lateral_from_angle @ angles + travel[0] * angle / 2.0
        lateral_from_rate = lateral_from_angle @ angle_from_rate
        sideways = gains.heading_weight * pace
        jerk = gains.rate_weight + gains.jerk_weight * pace**2
        matrix = lateral_from_rate.T @ lateral_from_rate
        matrix += (angle_from_rate.T * sideways**2) @ angle_from_rate + np.diag(jerk**2)
        target = -(lateral_from_rate.T @ laterals) - angle_from_rate.T @ (sideways**2 * angles)

        greatest = math.tan(vehicle.max_steering) / vehicle.wheelbase
        slope = (1.0 + (vehicle.wheelbase * curvature) ** 2) / vehicle.wheelbase
        fastest = 0.95 * vehicle.max_steering_rate * slope
        rates, free = np.zeros(STEPS), np.ones(STEPS, dtype=bool)
        for _ in range(4):  # rates found beyond the limits are held there, the rest solved again
            rest = target[free] - matrix[np.ix_(free, ~free)] @ rates[~free]
            rates[free] = np.linalg.solve(matrix[np.ix_(free, free)], rest)
            bends = np.clip(curvature + np.cumsum(rates) * STEP, -greatest, greatest)
            possible = np.diff(bends, prepend=curvature) / STEP
            possible = np.clip(possible, -fastest, fastest)
            beyond = free & (np.abs(rates - possible) > 1e-6)
            if not beyond.any():
                break
            rates[beyond], free = possible[beyond], free & ~beyond
            if not free.any():
                break
        return float(np.clip(rates[0], -fastest, fastest))

    def _longitudinal(self, observation: Observation, plan: Trajectory) -> float:
        ego, vehicle, gains, dt = observation.ego, observation.ego.vehicle, self.gains, plan.dt
        speed, before = float(ego.speed), float(self._acceleration or 0.0)
        horizon = np.arange(len(plan.speed)) * dt
        if speed < 0.1 and float(np.interp(0.6, horizon, plan.speed)) < 0.1:
            return -gains.hold_deceleration
        # what the vehicle will do anyway until this command takes hold, then meet the plan
        lag = vehicle.acceleration_lag
        coasting = max(speed + float(ego.acceleration) * lag, 0.0)
        meet = lag + gains.meeting_time
        wanted = (float(np.interp(meet, horizon, plan.speed)) - coasting) / gains.meeting_time
        emergency = wanted < -gains.comfort_deceleration
        if emergency:
            return max(wanted, -vehicle.max_deceleration)
        change = gains.comfort_jerk * observation.dt
        release = before < -gains.comfort_deceleration  # an emergency may end at once
        low, high = before - change, (gains.comfort_acceleration if release else before + change)
        wanted = max(min(wanted, gains.comfort_acceleration), -gains.comfort_deceleration)
        return max(min(wanted, high), low)


def _foot(x: Array, y: Array, ego_x: float, ego_y: float) -> float:
    """Fractional index of the plan's point nearest to the ego."""
    along_x, along_y = np.diff(x), np.diff(y)
    length2 = along_x**2 + along_y**2
    u = np.clip(((ego_x - x[:-1]) * along_x + (ego_y - y[:-1]) * along_y) / length2, 0.0, 1.0)
    away = (x[:-1] + u * along_x - ego_x) ** 2 + (y[:-1] + u * along_y - ego_y) ** 2
    k = int(away.argmin())
    return k + float(u[k])
