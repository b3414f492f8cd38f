"""Scenarios of highway-env's tasks: their roads and first state, our route to their goal."""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.locate import nearest_lane
from roadloop.maps.road_map import RoadMap
from roadloop.maps.routing import shortest_route
from roadloop.types import AgentKind, Behaviour, EgoState, LightProgramme, Route, Scenario
from sim.highway.edges import pose
from sim.highway.road_network import HighwayMap, highway_map
from sim.highway.state import HEIGHT, ego_state, kind_of, pose_of, road_users
from sim.highway.tasks import DT, TASKS, VEHICLE, find_task, make_env
from sim.population import RoadUser, agents_from

FAMILY = "highway-env"
"""the family of these scenarios; their names are the task and the seed"""

GOAL_MARGIN = 10.0
"""m of road kept beyond the goal of a task that has none"""


def highway_scenario(task: str, *, seed: int = 0, duration: float | None = None) -> Scenario:
    """The scenario of a task: their roads as a map, their first state, our route to its goal.

    Run it in a `HighwayWorld`. The road users are also placed on lanes, so that the same first
    state can be run in our simulator with our traffic.

    Args:
        duration: s; ``None``: the task's. The drive ends earlier when the goal is reached.

    Raises:
        RoadloopError: an unknown task, a negative seed, highway-env is not installed.
    """
    about = find_task(task)
    if seed < 0:
        raise RoadloopError(f"seed is {seed}; it must be 0 or more")
    length = about.duration if duration is None else duration
    if not 0.0 < length < np.inf:
        raise RoadloopError(f"duration is {length:g} s; it must be above 0")
    env = make_env(task)
    env.reset(seed=seed)
    mapped = highway_map(env.road.network, task)
    ego = ego_state(env.vehicle)
    return Scenario(
        name=f"{task}_{seed}",
        family=FAMILY,
        seed=seed,
        road_map=mapped.road_map,
        duration=length,
        dt=DT,
        ego=ego,
        route=_route(mapped, task, env, ego, length),
        agents=agents_from([_user(mapped.road_map, thing) for thing in road_users(env)]),
        lights=_no_lights(),
        description=about.description,
    )


def _user(road_map: RoadMap, thing: Any) -> RoadUser:
    x, y, heading = pose_of(thing)
    at = nearest_lane(road_map, np.array([x]), np.array([y]), np.array([heading]))
    lane, kind = int(at.lane[0]), kind_of(thing)
    moves = kind == AgentKind.CAR and lane >= 0
    return RoadUser(
        kind, x, y, heading, float(thing.LENGTH), float(thing.WIDTH), HEIGHT,
        speed=float(thing.speed) if moves else 0.0,
        behaviour=Behaviour.TRAFFIC if moves else Behaviour.STATIC,
        lane=lane if moves else -1,
        s=float(at.s[0]) if moves else 0.0,
    )  # fmt: skip


def task_map(task: str) -> HighwayMap:
    """The map of a task, the same for every seed. Raises RoadloopError as `highway_scenario`."""
    return highway_map(make_env(task).road.network, task)


def task_of(scenario: Scenario) -> str:
    """The task of a scenario. Raises RoadloopError for scenarios that are none of ours."""
    name = scenario.name.rpartition("_")[0]
    if scenario.family != FAMILY or name not in TASKS:
        raise RoadloopError(
            f"scenario {scenario.name} of family {scenario.family} is no task of highway-env: "
            "make one with highway_scenario"
        )
    return name


def _route(mapped: HighwayMap, task: str, env: Any, ego: EgoState, duration: float) -> Route:
    m, about = mapped.road_map, TASKS[task]
    here = nearest_lane(m, ego.x[None], ego.y[None], ego.heading[None])
    lane, s = int(here.lane[0]), float(here.s[0])
    if lane < 0:
        raise RoadloopError(f"{task}: the car starts beside every lane; correct the road network")
    if about.goal is None:
        return _straight_on(m, lane, s, duration)
    x, y, heading = pose(env.road.network.get_lane(about.goal), about.goal_s)
    x, y = x - VEHICLE.centre_offset * np.cos(heading), y - VEHICLE.centre_offset * np.sin(heading)
    goal = nearest_lane(m, np.array([x]), np.array([y]), np.array([heading]))
    return shortest_route(m, lane, s, int(goal.lane[0]), float(goal.s[0]))


def _straight_on(m: RoadMap, lane: int, s: float, duration: float) -> Route:
    """Along the lane and what follows it, as far as the limit allows in ``duration`` s.

    It ends before the road does, and before a lap is full.
    """
    lanes, left, start = [lane], duration, s
    while True:
        limit, length = float(m.lane_speed_limit[lane]), float(m.lane_length[lane])
        reach = s + left * limit
        onward = [int(k) for k in m.successors_of(lane)]
        if reach < length or not onward or onward[0] in lanes:
            goal = max(min(reach, length - GOAL_MARGIN), s)
            return Route(np.array(lanes, np.int32), start, goal)
        left -= (length - s) / limit
        lane, s = onward[0], 0.0
        lanes.append(lane)


def _no_lights() -> LightProgramme:
    none = np.zeros(0)
    return LightProgramme(none, none, none, none, none, np.zeros(0, np.uint8))
