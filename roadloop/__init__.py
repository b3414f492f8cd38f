"""roadloop: the vocabulary of the stack - types, geometry, maps, logs, scoring, pictures.

The names below are the public API; each is loaded from its module when first used, so that
``import roadloop`` stays fast and needs nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roadloop.errors import RoadloopError as RoadloopError
    from roadloop.interfaces import Detector as Detector
    from roadloop.interfaces import Driver as Driver
    from roadloop.interfaces import Planner as Planner
    from roadloop.interfaces import World as World
    from roadloop.maps.road_map import RoadMap as RoadMap
    from roadloop.types import AgentStates as AgentStates
    from roadloop.types import Control as Control
    from roadloop.types import EgoState as EgoState
    from roadloop.types import Observation as Observation
    from roadloop.types import Rollout as Rollout
    from roadloop.types import Route as Route
    from roadloop.types import Scenario as Scenario
    from roadloop.types import Trajectory as Trajectory

__version__ = "0.1.0"

_HOME = {
    "RoadloopError": "errors",
    "Detector": "interfaces",
    "Driver": "interfaces",
    "Planner": "interfaces",
    "World": "interfaces",
    "RoadMap": "maps.road_map",
    "AgentStates": "types",
    "Control": "types",
    "EgoState": "types",
    "Observation": "types",
    "Rollout": "types",
    "Route": "types",
    "Scenario": "types",
    "Trajectory": "types",
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
