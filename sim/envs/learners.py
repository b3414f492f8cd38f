"""Several learners in one scenario: traffic that is handed over, each with a route of its own."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Agents, Behaviour, Route, Scenario, at
from sim.envs.config import OptionError

ROUTE_LENGTH = 300.0
"""m a learner that came from traffic is to drive; less where its road ends before"""
SHORTEST = 60.0
"""m, who has less road ahead is not handed over"""


def hand_over(scenario: Scenario, learners: int) -> tuple[Scenario, tuple[Route, ...]]:
    """The scenario with cars and vans of its traffic as agents 1 to ``learners - 1``.

    Which ones, and where they go, follows from the scenario's seed. Returns the routes of all
    learners too, the ego's first.

    Raises:
        OptionError: the scenario has not so many vehicles that could be handed over.
    """
    agents, rng = scenario.agents, np.random.default_rng([scenario.seed, 0x1EA2])
    fit = (agents.behaviour == Behaviour.TRAFFIC) & (agents.states.kind <= AgentKind.VAN)
    chosen: list[int] = []
    routes = [scenario.route]
    for row in rng.permutation(np.flatnonzero(fit & agents.states.valid & (agents.lane >= 0))):
        if len(routes) == learners:
            break
        route = _onward(scenario.road_map, int(agents.lane[row]), float(agents.s[row]), rng)
        if route is not None:
            chosen.append(int(row))
            routes.append(route)
    if len(routes) < learners:
        raise OptionError(
            f"scenario {scenario.name} has {len(routes) - 1} vehicles to hand over, "
            f"{learners} learners need {learners - 1}: ask for more agents or fewer learners"
        )
    rest = np.setdiff1d(np.arange(len(agents.lane)), chosen)
    order = np.concatenate([np.array(chosen, np.int64), rest])
    return dataclasses.replace(scenario, agents=_rerouted(agents, order, routes[1:])), tuple(routes)


def _rerouted(agents: Agents, order: np.ndarray, routes: list[Route]) -> Agents:
    """The agents in another order, the first of them on these routes."""
    ordered = dataclasses.replace(at(agents, order), states=at(agents.states, order))
    hops = max([ordered.route.shape[1], *(len(r.lanes) for r in routes)])
    table = np.full((len(order), hops), -1, np.int32)
    table[:, : ordered.route.shape[1]] = ordered.route
    for row, route in enumerate(routes):
        table[row] = -1
        table[row, : len(route.lanes)] = route.lanes
    return dataclasses.replace(ordered, route=table)


def _onward(m: RoadMap, lane: int, s: float, rng: np.random.Generator) -> Route | None:
    """From ``s`` m along a lane wherever its successors lead, no lane twice."""
    lanes, ahead = [lane], float(m.lane_length[lane]) - s
    while ahead < ROUTE_LENGTH:
        options = [int(q) for q in m.successors_of(lanes[-1]) if q not in lanes and m.is_travel[q]]
        if not options:
            break
        lanes.append(int(rng.choice(options)))
        ahead += float(m.lane_length[lanes[-1]])
    last = float(m.lane_length[lanes[-1]])
    goal = last - min(max(ahead - ROUTE_LENGTH, 3.0), last)
    if ahead - (last - goal) < SHORTEST:
        return None
    return Route(np.array(lanes, np.int32), max(s - 2.0, 0.0), goal)
