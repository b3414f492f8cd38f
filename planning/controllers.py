"""Following a planned trajectory: steering and acceleration for this step.

Lateral: the curvature of the plan ahead, fed forward, plus feedback on the lateral and heading error
of the rear axle. With arc length as "time" the errors obey ``e' = psi``, ``psi' = k_fb``, so
``k_fb = -w^2 e - 2 w psi`` brings them to zero without overshoot (critically damped, w in 1/m).
Longitudinal: the constant acceleration that meets the plan's speed shortly after the actuator lag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, Observation, Trajectory

Array = np.ndarray

STEERING_PREVIEW = 1.0
"""s ahead in which bends are looked for"""


@dataclass(frozen=True)
class TrackingGains:
    """How stiff the tracking is and what counts as comfortable."""

    response_time: float = 0.6
    """s: 1 / (w v), how fast lateral errors fade at speed"""
    shortest_response: float = 2.5
    """m: 1 / w at low speed"""
    feedback_curvature: float = 0.07
    """1/m: most that the lateral error may ask for"""
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
        return Control(np.float64(self._acceleration), np.float64(self._steering))

    def _lateral(self, observation: Observation, plan: Trajectory) -> float:
        ego, vehicle, gains = observation.ego, observation.ego.vehicle, self.gains
        speed = max(float(ego.speed), 0.0)
        step = np.hypot(np.diff(plan.x), np.diff(plan.y))
        moving = np.concatenate([[True], step > 1e-3])
        if moving.sum() < 2:  # a plan to stand has no direction
            return self._steering
        x, y = plan.x[moving], plan.y[moving]
        heading = np.unwrap(plan.heading[moving])
        s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])

        foot = _foot(x, y, float(ego.x), float(ego.y))
        at_s = float(np.interp(foot, np.arange(len(s)), s))
        path_x, path_y, path_heading = (
            float(np.interp(at_s, s, v)) for v in (x, y, heading)
        )
        dx, dy = float(ego.x) - path_x, float(ego.y) - path_y
        lateral = math.cos(path_heading) * dy - math.sin(path_heading) * dx
        angle = math.remainder(float(ego.heading) - path_heading, 2.0 * math.pi)

        curvature = self._curvature_ahead(s, heading, at_s, speed, observation)
        w = 1.0 / max(gains.shortest_response, gains.response_time * speed)
        # far off the plan: approach it at a slant, or the steering rate limit makes it swing
        most = gains.feedback_curvature / (w * w)
        lateral = max(min(lateral, most), -most)
        curvature -= w * w * lateral + 2.0 * w * math.sin(angle)
        limit = vehicle.max_steering
        wanted = max(min(math.atan(vehicle.wheelbase * curvature), limit), -limit)
        change = vehicle.max_steering_rate * observation.dt
        return max(min(wanted, self._steering + change), self._steering - change)

    def _curvature_ahead(
        self, s: Array, heading: Array, at_s: float, speed: float, observation: Observation
    ) -> float:
        """Mean curvature of the plan over the stretch the next steering movement must fit.

        It begins where the vehicle will be when the actuator has answered and lasts as long as the
        steering needs, at its greatest rate, for the largest change coming up within a second: a
        bend that begins at once is entered half of that early, and left half of it late.
        """
        vehicle, dt = observation.ego.vehicle, observation.dt
        start = at_s + speed * (vehicle.steering_lag + dt / 2.0)
        # headings along the next second, in steps the plan resolves
        places = start + np.linspace(0.0, max(speed * STEERING_PREVIEW, 1.0), 9)
        ahead = np.interp(places, s, heading)
        inside = places <= s[-1]
        if inside.sum() < 2:  # the plan ends before: its last direction change must do
            return float((heading[-1] - heading[-2]) / (s[-1] - s[-2])) if len(s) > 1 else 0.0
        bends = np.diff(ahead[inside]) / np.diff(places[inside])
        wheel = np.arctan(vehicle.wheelbase * bends)
        swing = float(wheel.max() - wheel.min()) / (0.9 * vehicle.max_steering_rate)
        steps = max(round(min(swing / STEERING_PREVIEW, 1.0) * 8), 1)
        return float(bends[:steps].mean())

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
