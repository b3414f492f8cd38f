"""One drive: a driver in a world, step by step, until the time is up or the route is driven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver, World
from roadloop.maps.path import route_path
from roadloop.types import Control, Observation, Scenario, Trajectory

GOAL_REACHED = 3.0
"""m from the goal along the route within which the drive is over, once the car stands or passes"""


class Writer(Protocol):
    """Where a drive is recorded, e.g. ``roadloop.logs.store.RolloutWriter``."""

    def append(
        self, observation: Observation, control: Control, plan: Trajectory | None
    ) -> None: ...


def drive_scenario(
    scenario: Scenario,
    driver: Driver,
    world: World,
    *,
    writer: Writer | None = None,
    on_step: Callable[[Observation], None] | None = None,
) -> Observation:
    """Runs one scenario and returns the last observation.

    Every step is recorded with the control the driver gave on it, the last one included. A driver
    with an attribute ``replays_expert`` that is True is the recorded ego: the world moves it.

    Raises:
        RoadloopError: the driver returned a control that is not a finite number.
    """
    if getattr(driver, "replays_expert", False):
        scenario = dataclasses.replace(scenario, replay_ego=True)
    path = route_path(scenario.road_map, scenario.route)
    goal = float(path.s[-1])
    observation = world.reset(scenario, driver.sensors)
    driver.reset(scenario)
    steps = round(scenario.duration / scenario.dt)
    while True:
        control = driver.act(observation)
        if not np.isfinite([control.acceleration, control.steering]).all():
            raise RoadloopError(
                f"driver {driver.name} returned acceleration {control.acceleration}, steering "
                f"{control.steering} at {observation.time:.1f} s: both must be finite numbers"
            )
        if writer is not None:
            writer.append(observation, control, driver.plan)
        if on_step is not None:
            on_step(observation)
        if observation.step >= steps or _arrived(path, goal, observation):
            return observation
        observation = world.step(control)


def _arrived(path, goal: float, observation: Observation) -> bool:
    ego = observation.ego
    if np.hypot(ego.x - path.xyz[-1, 0], ego.y - path.xyz[-1, 1]) > GOAL_REACHED + 2.0:
        return False
    s = float(np.asarray(path.project(ego.x, ego.y)[0]))
    left = goal - s
    return left <= 0.3 or (left <= GOAL_REACHED and float(ego.speed) < 0.3)
