"""Following a planned trajectory by pure pursuit: steer for a point of the path ahead.

The circle through the rear axle, tangent to the car, that meets a point at distance ``d`` and
``left`` metres to the left has the curvature ``2 left / d^2``. Source: R. C. Coulter 1992,
"Implementation of the Pure Pursuit Path Tracking Algorithm", CMU-RI-TR-92-01. The point lies
further ahead the faster the car drives; in bends the car cuts the corner by about
``look_ahead^2 / (8 radius)``. It knows neither the limits of the actuators nor what comes after the
point: the simplest thing that drives, and a reference for those that do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from planning.following import PlanPath, SpeedGains, steered
from planning.sent_commands import Motion, SentCommands, advanced
from roadloop.types import Control, Observation, Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays


@dataclass(frozen=True)
class PursuitGains:
    """How far ahead the point lies, and how the speed is followed."""

    look_ahead_time: float = 0.5
    """s of driving at the present speed ..."""
    least_look_ahead: float = 3.0
    """m, ... but no nearer than this, or the car swings at low speed"""
    most_look_ahead: float = 25.0
    """m, nor farther than this"""
    speed: SpeedGains = field(default_factory=SpeedGains)


class PurePursuit:
    """A `Controller` for trajectories whose first pose is now; the plan may start beside the ego.

    ``delays`` are those of the actuators: the circle begins where the car will be when the wheels
    have answered.
    """

    def __init__(
        self, gains: PursuitGains | None = None, delays: ActuatorDelays | None = None
    ) -> None:
        self.gains = gains or PursuitGains()
        self._sent = SentCommands(delays or ActuatorDelays())

    def reset(self) -> None:
        """Forget the previous commands."""
        self._sent.reset()

    def control(self, observation: Observation, trajectory: Trajectory) -> Control:
        """Acceleration (m/s^2) and steering (rad) for this step, scalars.

        Raises RoadloopError for a trajectory that cannot be followed (`check_plan`), an ego that is
        not finite, or time that went back.
        """
        return steered(self._wanted, self._sent, self.gains.speed, observation, trajectory)

    def _wanted(
        self, path: PlanPath, wheels: Motion, before: float, vehicle: VehicleParameters
    ) -> float:
        """Of the circle through the point ahead, from where the wheels have answered."""
        gains, lag = self.gains, vehicle.steering_lag
        car = advanced(wheels, wheels.acceleration, before, vehicle, lag)
        ahead = gains.look_ahead_time * car.speed
        ahead = min(max(ahead, gains.least_look_ahead), gains.most_look_ahead)
        x, y = path.points(np.array([path.errors(car).s + ahead]))
        dx, dy = float(x[0]) - car.x, float(y[0]) - car.y
        left = math.cos(car.heading) * dy - math.sin(car.heading) * dx
        curvature = 2.0 * left / max(dx * dx + dy * dy, 1.0)
        return math.atan(vehicle.wheelbase * curvature)
