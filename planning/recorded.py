"""Drivers that recorded drives are compared with: the expert, a stationary car, straight on."""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, EgoState, Observation, Scenario, Trajectory

HORIZON = 4.0
"""s planned"""


class RecordedExpert:
    """The recorded ego as a driver: the world moves the car as it was, exactly.

    ``act`` gives what was recorded, ``plan`` what the recorded ego drove next.
    """

    replays_expert = True
    """the world is to move the ego as recorded, see ``Scenario.replay_ego``"""

    def __init__(self, name: str = "recorded") -> None:
        self.name = name
        self.reason = "as recorded"
        self.sensors: tuple[str, ...] = ()
        self.plan: Trajectory | None = None
        self._expert: EgoState | None = None
        self._dt = 0.1

    def reset(self, scenario: Scenario) -> None:
        """Take the scenario's expert. Raises RoadloopError where there is none."""
        if scenario.expert is None:
            raise RoadloopError(
                f"driver {self.name} needs a recorded drive; {scenario.name} has no recorded ego"
            )
        self._expert, self._dt = scenario.expert, scenario.dt

    def act(self, observation: Observation) -> Control:
        """The recorded acceleration and steering of this step."""
        expert = self._expert
        if expert is None:
            raise RoadloopError(f"driver {self.name} has no drive yet: call reset(scenario) first")
        k = min(observation.step, len(expert.x) - 1)
        rows = slice(k, k + round(HORIZON / self._dt) + 1)
        self.plan = Trajectory(
            expert.x[rows], expert.y[rows], expert.heading[rows], expert.speed[rows], self._dt
        )
        return Control(np.asarray(expert.acceleration[k]), np.asarray(expert.steering[k]))


class Stationary:
    """Brakes to a standstill and stays: what a score is worth has to be seen against it."""

    def __init__(self, name: str = "stationary") -> None:
        self.name = name
        self.reason = "stays"
        self.sensors: tuple[str, ...] = ()
        self.plan: Trajectory | None = None

    def reset(self, scenario: Scenario) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> Control:
        """A firm brake, the wheel straight."""
        self.plan = _straight_on(observation, 0.0)
        return Control(np.array(-4.0), np.array(0.0))


class ConstantVelocity:
    """Keeps speed and direction of the first moment, blind to road and traffic."""

    def __init__(self, name: str = "constant-velocity") -> None:
        self.name = name
        self.reason = "constant velocity"
        self.sensors: tuple[str, ...] = ()
        self.plan: Trajectory | None = None
        self._speed = 0.0

    def reset(self, scenario: Scenario) -> None:
        """Take the speed at the start."""
        self._speed = float(scenario.ego.speed)

    def act(self, observation: Observation) -> Control:
        """What little acceleration keeps the speed."""
        self.plan = _straight_on(observation, self._speed)
        behind = self._speed - float(observation.ego.speed)
        return Control(np.asarray(np.clip(behind, -1.0, 1.0)), np.array(0.0))


def _straight_on(observation: Observation, speed: float) -> Trajectory:
    """``HORIZON`` s at one speed along the present heading."""
    ego, dt = observation.ego, observation.dt
    t = np.arange(round(HORIZON / dt) + 1) * dt
    heading = float(ego.heading)
    return Trajectory(
        float(ego.x) + speed * t * np.cos(heading),
        float(ego.y) + speed * t * np.sin(heading),
        np.full(len(t), heading),
        np.full(len(t), speed),
        dt,
    )
