"""highway-env as a ``World``: their traffic and vehicle model, our observations and controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, Observation, Scenario, Tracks
from sim.highway.scenario import task_of
from sim.highway.state import Pushes, agent_states, ego_state, pushes, road_users
from sim.highway.tasks import DT, VEHICLE, make_env


class HighwayWorld:
    """A ``World`` that steps a highway-env task; it offers ``"tracks"`` and ``"lights"`` (none).

    After ``reset``, ``crashed`` says whether their car has crashed, ``terminated`` and
    ``truncated`` whether they would have ended the episode, and ``rewards`` holds what they paid at
    every step. The world goes on all the same: when a drive ends, its scenario decides.
    """

    def __init__(self) -> None:
        self.env: Any = None
        self.crashed = self.terminated = self.truncated = False
        self.rewards: list[float] = []
        self._step = 0
        self._steering = 0.0
        self._yaw_rate = self._acceleration = 0.0
        self._ids: dict[int, tuple[int, int, Any]] = {}

    def reset(self, scenario: Scenario, sensors: tuple[str, ...]) -> Observation:
        """Starts the task of a scenario that `highway_scenario` made.

        Raises:
            RoadloopError: a scenario of another family, a sensor that this world does not have.
        """
        missing = sorted(set(sensors) - {"tracks", "lights"})
        if missing:
            raise RoadloopError(
                f"highway-env has no sensor {missing[0]!r}: it offers tracks and lights"
            )
        self.env = make_env(task_of(scenario))
        self.env.reset(seed=scenario.seed)
        self.crashed = self.terminated = self.truncated = False
        self.rewards = []
        self._step, self._steering, self._yaw_rate, self._acceleration = 0, 0.0, 0.0, 0.0
        self._ids = {}
        return self._observe({})

    def step(self, control: Control) -> Observation:
        """Applies the ego's control for one step; what it may not exceed it does not exceed."""
        if self.env is None:
            raise RoadloopError("this world was not started: call reset(scenario, sensors) first")
        car, v = self.env.vehicle, VEHICLE
        before, heading = float(car.speed), float(car.heading)
        steering = float(np.clip(control.steering, -v.max_steering, v.max_steering))
        wanted = float(np.clip(control.acceleration, -v.max_deceleration, v.max_acceleration))
        if wanted < 0.0:  # theirs would drive backwards; brakes hold
            wanted = max(wanted, -max(before, 0.0) / DT)
        low, high = -v.max_deceleration, v.max_acceleration
        action = np.array(
            [2.0 * (wanted - low) / (high - low) - 1.0, -steering / v.max_steering], np.float64
        )
        push = pushes(self.env)
        _, reward, terminated, truncated, _ = self.env.step(action)
        self.rewards.append(float(reward))
        self.crashed |= bool(car.crashed)
        self.terminated |= bool(terminated)
        self.truncated |= bool(truncated)
        self._step += 1
        self._steering = steering
        self._yaw_rate = -float(car.heading - heading) / DT
        self._acceleration = float(car.speed - before) / DT
        return self._observe(push)

    def _observe(self, push: Pushes) -> Observation:
        return Observation(
            step=self._step,
            time=self._step * DT,
            dt=DT,
            ego=ego_state(
                self.env.vehicle,
                push,
                steering=self._steering,
                yaw_rate=self._yaw_rate,
                acceleration=self._acceleration,
            ),
            tracks=self._tracks(push),
            lights=np.zeros(0, np.uint8),
        )

    def _tracks(self, push: Pushes) -> Tracks:
        others = road_users(self.env)
        for other in others:
            # the object is kept, so that its id() is not given to another one
            self._ids.setdefault(id(other), (len(self._ids) + 1, self._step, other))
        known = [self._ids[id(other)] for other in others]
        return Tracks(
            states=agent_states(others, np.array([k[0] for k in known], np.int64), push),
            position_std=np.zeros(len(others)),
            age=np.array([self._step - k[1] for k in known], np.int64),
        )
