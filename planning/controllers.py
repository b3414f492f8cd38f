"""Following a planned trajectory: steering and acceleration for this step.

Lateral: a small predictive controller. Lateral error ``e``, heading error ``psi`` and curvature
``k`` of the rear axle obey ``e' = v psi``, ``psi' = v k - psi_ref'``, ``k' = u``: linear in
the sequence of curvature rates ``u`` over the next seconds. The sequence that minimises
``sum e^2 + (q v psi)^2 + (r u)^2`` within the steering's range and rate is one least-squares
problem, and its first step is driven. It knows the bend ahead and how fast the wheels turn, so it
begins to steer before a bend that no steering could follow at once. (The tracker of nuPlan's
simulator is an LQR on the same model without the limits.)
Longitudinal: as all controllers follow the plan's speed, see `planning.following`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from planning.following import PlanPath, SpeedGains, check_plan, followed_speed
from planning.sent_commands import motion_of
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
    speed: SpeedGains = field(default_factory=SpeedGains)


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

        Raises RoadloopError for a trajectory that cannot be followed, see `following.check_plan`.
        """
        check_plan(trajectory)
        ego, motion = observation.ego, motion_of(observation.ego)
        if self._acceleration is None:
            self._acceleration, self._steering = motion.acceleration, motion.steering
        self._steering = self._lateral(observation, trajectory)
        self._acceleration = followed_speed(
            self.gains.speed,
            ego.vehicle,
            motion,
            trajectory,
            before=self._acceleration,
            dt=observation.dt,
        )
        return Control(np.asarray(self._acceleration), np.asarray(self._steering))

    def _lateral(self, observation: Observation, plan: Trajectory) -> float:
        ego, vehicle = observation.ego, observation.ego.vehicle
        speed = max(float(ego.speed), 0.0)
        path = PlanPath(plan)
        if path.stands:  # it has no direction
            return self._steering
        x, y, heading, s = path.x, path.y, path.heading, path.s

        # the state when the wheels have answered the last command
        lag, bend = vehicle.steering_lag, math.tan(float(ego.steering)) / vehicle.wheelbase
        ego_x = float(ego.x) + speed * lag * math.cos(float(ego.heading) + 0.5 * speed * lag * bend)
        ego_y = float(ego.y) + speed * lag * math.sin(float(ego.heading) + 0.5 * speed * lag * bend)
        ego_heading = float(ego.heading) + speed * lag * bend
        foot = sum(path.foot(ego_x, ego_y))
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
