"""Driving without a map: the lanes are those the detector sees, rebuilt as the ego goes on.

`planning.route_follower.RouteFollower` follows a route on a map; `Mapless` gives it, every half a
second, the map that `perception.local_map` traces from what is seen, and the lane the ego is in as
the route. There is no navigation: it keeps its lane, straight on through junctions, and stops where
the lane ends or is not recognised any more. Signs and lights are not on such a map. The planner
begins anew with every map: a vehicle that stands in the lane is passed only where one map reaches
from before it to behind it, else the car waits there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from perception.detector_config import BevGrid
from perception.local_map import TOWN_SPEED, LocalMap, local_road_map
from perception.percept import Percept
from planning.longitudinal import DrivingStyle
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.geometry import polyline_project
from roadloop.types import Forecasts, Observation, Scenario, Tracks, Trajectory

PERIOD = 0.5
"""s between two maps: making one takes some 40 ms, and a lane does not change much faster"""
MOVED = 1.0
"""m the ego must have gone since: standing, it sees the same, and how long others stand is kept"""
SWUNG = 0.6
"""m that a plan leaves the centreline where the ego passes somebody; then the map stays ..."""
ENOUGH = 25.0
"""m ... while there is so much of it ahead, as a new one would make the planner begin anew"""
HALT = 3.0
"""m/s^2, braking where no lane was ever seen"""
HORIZON, PLAN_STEP = 5.0, 0.1
"""s"""


class Mapless:
    """A `Planner` that needs no map; of a scenario's map and route it looks at neither.

    Args:
        percept: gives the latest of what the detector sees, None before the first.
        grid: the detector's.
        style: of the route follower.
        speed_limit: m/s, as no sign is read.

    Attributes:
        local_map: the latest, None before the first.
        reason: what decides the speed now.
    """

    def __init__(
        self,
        percept: Callable[[], Percept | None],
        grid: BevGrid,
        style: DrivingStyle | None = None,
        speed_limit: float = TOWN_SPEED,
    ) -> None:
        if not 0.0 < speed_limit < np.inf:
            raise RoadloopError(f"speed_limit is {speed_limit} m/s: expected a number above 0")
        self.reason = "not started"
        self.local_map: LocalMap | None = None
        self._percept, self._grid, self._speed_limit = percept, grid, speed_limit
        self._follower = RouteFollower(style)
        self._scenario: Scenario | None = None

    def reset(self, scenario: Scenario) -> None:
        """Forget everything about the last scenario."""
        self._scenario = scenario
        self.local_map = None
        self._plan: Trajectory | None = None
        self._seen = -np.inf
        self._place = np.full(2, np.inf)
        self.reason = "sees no lane"

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """5 s along the ego's lane; straight on to a stop while no lane was ever seen.

        Raises RoadloopError before `reset`.
        """
        if self._scenario is None:
            raise RoadloopError("Mapless has no scenario yet: call reset(scenario) first")
        percept = self._percept()
        if percept is not None and self._is_due(percept, observation):
            self._look(percept, observation, self._scenario)
        if self.local_map is None:
            return _halt(observation)
        seen = dataclasses.replace(observation, lights=np.zeros(0, np.uint8))
        self._plan = self._follower.plan(seen, tracks)
        self.reason = self._follower.reason
        return self._plan

    def _is_due(self, percept: Percept, observation: Observation) -> bool:
        """Whether it is time for a new map."""
        if self.local_map is None or self._plan is None:
            return True
        place = np.array([float(observation.ego.x), float(observation.ego.y)])
        moved = float(np.hypot(*(place - self._place)))
        if percept.time - self._seen < PERIOD - 1e-6 or moved < MOVED:
            return False
        points = np.column_stack([self._plan.x, self._plan.y])
        aside = polyline_project(self.local_map.centreline[:, :2], points)[1]
        return bool(np.abs(aside).max() < SWUNG or self.local_map.ahead - moved < ENOUGH)

    def _look(self, percept: Percept, observation: Observation, scenario: Scenario) -> None:
        """Make the map anew; where no lane is seen the last one stays, which ends."""
        self._seen = percept.time
        made = local_road_map(percept, self._grid, self.local_map, self._speed_limit)
        if made is None:
            return
        self.local_map = made
        self._place = np.array([float(observation.ego.x), float(observation.ego.y)])
        self._follower.reset(
            dataclasses.replace(scenario, road_map=made.road_map, route=made.route)
        )


def _halt(observation: Observation) -> Trajectory:
    """Straight on to a stop."""
    ego = observation.ego
    t = np.arange(round(HORIZON / PLAN_STEP) + 1) * PLAN_STEP
    start, heading = max(float(ego.speed), 0.0), float(ego.heading)
    speed = np.maximum(start - HALT * t, 0.0)
    braking = np.minimum(t, start / HALT)
    gone = start * braking - HALT * braking**2 / 2.0
    return Trajectory(
        float(ego.x) + gone * np.cos(heading),
        float(ego.y) + gone * np.sin(heading),
        np.full(len(t), heading),
        speed,
        PLAN_STEP,
    )
