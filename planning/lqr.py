"""Following a planned trajectory by the linear quadratic regulator of nuPlan's simulator.

The lateral half of the regulator that nuPlan and NAVSIM judge plans with
(`roadloop.scoring.pdm_tracker`): the one constant steering rate that, over the next second, leaves
the least squared lateral and heading error. A plan tracked by it drives here as it is scored there.
It does not know the limits of the actuators. The speed is followed as by the other controllers.
"""

from __future__ import annotations

import math

import numpy as np

from planning.following import PlanPath, SpeedGains, steered
from planning.sent_commands import Motion, SentCommands
from roadloop.scoring.pdm_tracker import (
    HORIZON,
    State,
    curvature_profile,
    regulator_commands,
    speed_profile,
)
from roadloop.types import Control, Observation, Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays

STEP = 0.1
"""s, of the regulator"""
TIMES = np.arange(HORIZON + 2) * STEP


class Lqr:
    """A `Controller` for trajectories whose first pose is now; the plan may start beside the ego.

    ``delays`` are those of the actuators: the regulator begins where the car will be when its
    command takes hold.
    """

    def __init__(
        self, speed: SpeedGains | None = None, delays: ActuatorDelays | None = None
    ) -> None:
        self.speed = speed or SpeedGains()
        self._sent = SentCommands(delays or ActuatorDelays())

    def reset(self) -> None:
        """Forget the previous commands."""
        self._sent.reset()

    def control(self, observation: Observation, trajectory: Trajectory) -> Control:
        """Acceleration (m/s^2) and steering (rad) for this step, scalars.

        Raises RoadloopError for a trajectory that cannot be followed (`check_plan`), an ego that is
        not finite, or time that went back.
        """
        return steered(self._wanted, self._sent, self.speed, observation, trajectory)

    def _wanted(
        self, path: PlanPath, wheels: Motion, before: float, vehicle: VehicleParameters
    ) -> float:
        """So far off that the wheels, lagging behind it, turn at the regulator's rate."""
        limit, lag = vehicle.max_steering_rate, vehicle.steering_lag
        rate = min(max(self._steering_rate(path, wheels, vehicle), -limit), limit)
        answer = 1.0 - math.exp(-STEP / lag) if lag else 1.0
        return wheels.steering + rate * STEP / answer

    def _steering_rate(self, path: PlanPath, motion: Motion, vehicle: VehicleParameters) -> float:
        """rad/s that the regulator asks for, from the car's foot point on."""
        times = TIMES + self._sent.delays.steering
        travelled = path.travelled(times)
        s = path.errors(motion).s + travelled - travelled[0]
        x, y = path.points(s)
        proposal = np.stack([x, y, path.headings(s)], axis=-1)[None]
        speed = speed_profile(proposal, STEP, true_differences=True)
        curvature = curvature_profile(proposal, speed, STEP)
        state = np.zeros((1, len(State)))
        columns = [State.X, State.Y, State.HEADING, State.SPEED, State.STEERING]
        state[0, columns] = motion.x, motion.y, motion.heading, motion.speed, motion.steering
        _, rate = regulator_commands(
            state,
            proposal[:, 0],
            speed[:, HORIZON],
            curvature[:, :HORIZON],
            vehicle.wheelbase,
            STEP,
        )
        return float(rate[0])
