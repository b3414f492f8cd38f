"""A scenario while it is put together, and the kind it is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, LightProgramme, Route
from sim.population import RoadUser, user_on


@dataclass
class Scene:
    """A scenario while it is put together."""

    road_map: RoadMap
    rng: np.random.Generator
    seed: int
    background: int
    """vehicles to spread over the map"""
    route: Route = field(default_factory=lambda: Route(np.zeros(0, np.int32), 0.0, 0.0))
    speed: float | None = None
    """m/s, the ego's start speed; None: 0.8 of the limit"""
    users: list[RoadUser] = field(default_factory=list)
    lights: LightProgramme | None = None
    clear: float = 20.0
    """m around ego and scripted agents without background traffic"""

    def add(self, lane: int, s: float, kind: AgentKind = AgentKind.CAR, **changes: Any) -> None:
        """Puts a road user on a lane; manners are drawn."""
        self.users.append(user_on(self.road_map, lane, s, kind, rng=self.rng, **changes))

    def limit(self, lane: int) -> float:
        """m/s, speed limit of a lane."""
        return float(self.road_map.lane_speed_limit[lane])

    @property
    def start(self) -> tuple[int, float]:
        """Lane and s the ego starts at."""
        return int(self.route.lanes[0]), self.route.start_s


@dataclass(frozen=True)
class Family:
    """A kind of scenario."""

    description: str
    road_map: Callable[[int], RoadMap]
    """the map it runs on by itself, by seed"""
    arrange: Callable[[Scene], None]
    duration: float = 30.0
    """s"""
    agents: int = 0
    """vehicles of background traffic"""
