"""A two-way road, road users and an ego by hand, and what every planner has to do on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, straight

from planning.pdm_proposals import DT
from roadloop.errors import RoadloopError
from roadloop.interfaces import Planner
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import (
    AgentKind,
    AgentStates,
    EgoState,
    Observation,
    Route,
    Scenario,
    Tracks,
    VehicleParameters,
)

CAR = VehicleParameters()
LIMIT = 13.9  # m/s, of a hand-built lane


def two_way(**sign) -> RoadMap:
    """Lane 0 eastwards on y = 0, lane 1 westwards on y = 3.5, 600 m."""
    lanes = [
        HandLane(straight((0.0, 0.0), (600.0, 0.0)), opposite=1),
        HandLane(straight((600.0, 3.5), (0.0, 3.5)), number=1, opposite=0),
    ]
    return HandMap(lanes, signs=[HandSign(**sign)] if sign else []).build()


def along(lane: int = 0, start: float = 0.0, goal: float = 580.0) -> Route:
    return Route(np.array([lane], np.int32), start, goal)


def scenario(road_map: RoadMap, route: Route | None = None) -> Scenario:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    return Scenario(**(unused | {"road_map": road_map, "route": route or along()}))


def users(*rows: tuple, kind=AgentKind.CAR, length=4.5, width=1.8) -> AgentStates:
    """Rows of x, y, heading, speed along the heading."""
    x, y, heading, speed = np.array(rows, float).reshape(-1, 4).T
    n = len(x)
    return AgentStates(
        id=np.arange(n) + 1,
        kind=np.full(n, kind, np.uint8),
        x=x,
        y=y,
        z=np.zeros(n),
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=np.full(n, length),
        width=np.full(n, width),
        height=np.full(n, 1.5),
        valid=np.ones(n, bool),
    )


def both(a: AgentStates, b: AgentStates) -> AgentStates:
    joined = {
        f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)])
        for f in dataclasses.fields(AgentStates)
    }
    return AgentStates(**(joined | {"id": np.arange(len(joined["x"])) + 1}))


def observe(x=10.0, y=0.0, heading=0.0, speed=0.0, lights=None, step=0, **more) -> Observation:
    fields = dict.fromkeys(("z", "acceleration", "steering", "yaw_rate"), 0.0)
    fields |= {"x": x, "y": y, "heading": heading, "speed": speed, **more}
    ego = EgoState(**{name: np.float64(value) for name, value in fields.items()})
    return Observation(step=step, time=step * DT, dt=DT, ego=ego, lights=lights)


def tracks(states: AgentStates) -> Tracks:
    return Tracks(states, np.zeros(len(states.x)), np.zeros(len(states.x), int))


NOBODY_THERE = users()


def ready(made: Any, road_map: RoadMap, route: Route | None = None) -> Any:
    """The planner ``made``, reset to a road."""
    made.reset(scenario(road_map, route))
    return made


def refuses_what_cannot_be_driven(make: Any) -> None:
    """Whatever planner ``make()`` gives: each of its refusals is one line."""
    lights = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=80.0)
    for act, message in (
        (lambda: make().plan(observe(), tracks(NOBODY_THERE)), "call reset"),
        (lambda: ready(make(), lights).plan(observe(), tracks(NOBODY_THERE)), "holds no lights"),
        (lambda: ready(make(), two_way(), Route(np.zeros(0, np.int32), 0.0, 1.0)), "has no lanes"),
    ):
        with pytest.raises(RoadloopError, match=message) as error:
            act()
        assert "\n" not in str(error.value)


def driven(planner: Planner, family: str) -> Observation:
    """The end of 8 s of a scenario in the simulator, in which nobody was run into."""
    from deploy.stack import Stack
    from perception.ground_truth import GroundTruth
    from planning.controllers import TrackingController
    from sim.run import drive_scenario
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    world = SimWorld()
    stack = Stack("planner", GroundTruth(), planner, TrackingController())
    last = drive_scenario(build_scenario(family, seed=0, duration=8.0), stack, world)
    assert world.state is not None and world.state.hit.numpy()[0, 0] < 0
    return last
