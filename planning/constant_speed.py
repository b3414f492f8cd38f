"""The baseline that must fail: along the route at one speed, blind to everybody."""

from __future__ import annotations

import numpy as np

from planning.route_line import RouteLine, build_route_line
from roadloop.errors import RoadloopError
from roadloop.types import Forecasts, Observation, Scenario, Tracks, Trajectory

HORIZON = 5.0
"""s planned"""
PLAN_STEP = 0.1
"""s between the plan's points"""


class ConstantSpeed:
    """A `Planner` that keeps ``speed`` m/s on the route's path and looks at nothing else."""

    def __init__(self, speed: float = 8.0) -> None:
        if not speed > 0.0:
            raise RoadloopError(f"ConstantSpeed speed is {speed}: expected m/s above 0")
        self.speed = speed
        self.reason = "constant speed"
        self._line: RouteLine | None = None
        self._s = 0.0

    def reset(self, scenario: Scenario) -> None:
        """Take the scenario's route."""
        _, self._line = build_route_line(scenario.road_map, scenario.route)
        self._s = float(self._line.s[0])

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """5 s along the route, ``(51,)`` points; the first is the ego's foot on the path."""
        line, ego = self._line, observation.ego
        if line is None:
            raise RoadloopError("ConstantSpeed has no route yet: call reset(scenario) first")
        _, window = line.window(self._s - 5.0, self._s + self.speed * observation.dt + 20.0)
        _, s, _ = window.project(np.array([float(ego.x)]), np.array([float(ego.y)]))
        self._s = float(s[0])
        t = np.arange(round(HORIZON / PLAN_STEP) + 1) * PLAN_STEP
        s = np.minimum(self._s + self.speed * t, line.s[-1])
        heading = np.interp(s, line.s, line.heading)
        return Trajectory(
            np.interp(s, line.s, line.x),
            np.interp(s, line.s, line.y),
            np.pi - np.mod(np.pi - heading, 2.0 * np.pi),
            np.full(len(t), self.speed),
            PLAN_STEP,
        )
