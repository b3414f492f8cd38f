"""The scenarios an environment draws from: one family on one map, built when first drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.features import route_points
from roadloop.maps import load_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import Route, Scenario
from sim.envs.config import DriveConfig
from sim.envs.learners import hand_over
from sim.envs.routes import RouteTable
from sim.scenarios import FAMILIES, build_scenario
from sim.simulator import Simulator
from sim.state import SimState


@dataclass(frozen=True)
class Start:
    """A scenario ready to be driven."""

    scenario: Scenario
    state: SimState
    """one world, at its first step"""
    courses: np.ndarray
    """(learners,) Course records"""
    steps: int
    """until the time is up"""


class Pool:
    """Scenarios by seed. A scenario is built once, whoever draws it."""

    def __init__(self, config: DriveConfig, simulator: Simulator, learners: int) -> None:
        self.config = config
        self.seeds = config.seeds
        self.road_map = _road_map(config)
        self.routes = RouteTable(config.device)
        self._simulator, self._learners = simulator, learners
        self._starts: dict[int, Start] = {}

    def draw(self, rng: np.random.Generator) -> Start:
        """The next scenario of a world whose random numbers are these."""
        return self.start(self.seeds[int(rng.integers(len(self.seeds)))])

    def start(self, seed: int) -> Start:
        """The scenario of a seed."""
        if seed not in self._starts:
            self._starts[seed] = self._build(seed)
        return self._starts[seed]

    def _build(self, seed: int) -> Start:
        c = self.config
        scenario = build_scenario(
            c.scenario, seed=seed, road_map=self.road_map, agents=c.agents, dt=c.dt,
            duration=c.max_seconds, parameters=c.parameters,
        )  # fmt: skip
        routes: tuple[Route, ...] = (scenario.route,)
        if self._learners > 1:
            scenario, routes = hand_over(scenario, self._learners)
        state = self._simulator.reset([scenario])
        traits: Any = state.fixed.traits.numpy()
        traits["controlled"][0, 1 : self._learners] = 1
        state.fixed.traits.assign(traits)
        return Start(
            scenario=scenario,
            state=state,
            courses=np.stack([self._course(route) for route in routes]),
            steps=max(round(scenario.duration / scenario.dt), 1),
        )

    def _course(self, route: Route) -> np.ndarray:
        return self.routes.add(route_points(self.road_map, route))


def _road_map(config: DriveConfig) -> RoadMap:
    if isinstance(config.map, RoadMap):
        return config.map
    if config.map is not None:
        return load_map(config.map)
    family = FAMILIES[config.scenario]
    values = family.values(config.scenario, dict(config.parameters))
    return family.road_map(config.map_seed, values)
