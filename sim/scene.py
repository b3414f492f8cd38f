"""A scenario while it is put together, and the kind it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError
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
    parameters: Mapping[str, float] = field(default_factory=dict)
    """value of every parameter of the family"""
    duration: float = 30.0
    """s"""
    dt: float = 0.1
    """s per step"""

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


ROUNDING = 1e-4
"""a value may be outside its range by this much: 130 km/h is 36.11111... m/s"""


@dataclass(frozen=True)
class Parameter:
    """A number of a family that can be set."""

    default: float
    low: float
    """least and greatest value it takes"""
    high: float
    unit: str
    """SI; "1" for shares"""
    doc: str
    short: str
    """what a scenario's name calls it"""
    scale: float = 1.0
    """what a scenario's name multiplies it by: 3.6 gives km/h, 100 percent"""


@dataclass(frozen=True)
class Family:
    """A kind of scenario."""

    description: str
    road_map: Callable[[int, Mapping[str, float]], RoadMap]
    """the map it runs on by itself, by seed and parameters"""
    arrange: Callable[[Scene], None]
    duration: float = 30.0
    """s"""
    agents: int = 0
    """vehicles of background traffic"""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def values(self, name: str, given: Mapping[str, float]) -> dict[str, float]:
        """Every parameter's value: the given ones, else the default.

        Raises:
            RoadloopError: a parameter the family does not have, or a value out of its range.
        """
        for key, value in given.items():
            if key not in self.parameters:
                raise RoadloopError(unknown(f"parameter of {name}", key, self.parameters))
            p = self.parameters[key]
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not number or not p.low - ROUNDING <= value <= p.high + ROUNDING:
                raise RoadloopError(
                    f"parameter {key} of {name} is {value!r}: expected {_amount(p.low, p)} to "
                    f"{_amount(p.high, p)}"
                )
        return {key: float(given.get(key, p.default)) for key, p in self.parameters.items()}

    def label(self, values: Mapping[str, float]) -> str:
        """The values that are not the default, for names: "-vut30-impact25", empty for none."""
        changed = ((p, values[key]) for key, p in self.parameters.items())
        return "".join(
            f"-{p.short}{value * p.scale:.5g}" for p, value in changed if value != p.default
        )


def kmh(speed: float) -> float:
    """m/s of a speed in km/h, to 0.1 mm/s."""
    return round(speed / 3.6, 4)


def _amount(value: float, parameter: Parameter) -> str:
    return f"{value:g}" if parameter.unit == "1" else f"{value:g} {parameter.unit}"
