"""The vector observation in NumPy: what its columns mean, on roads one can check by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from roadloop.features import (
    AGENT_COLUMNS,
    EGO_COLUMNS,
    GROUP,
    LINE_REACH,
    ROUTE_AHEAD,
    RouteMemory,
    control_from_action,
    foot_on_route,
    route_points,
    sample_route,
    vector_observation,
)
from roadloop.types import AgentKind, LightState, Observation, Scenario, VehicleParameters
from sim.scenarios import build_scenario
from sim.simulator import SimWorld

EGO = {name: k for k, name in enumerate(EGO_COLUMNS)}
AGENT = {name: k for k, name in enumerate(AGENT_COLUMNS)}


def begun(family: str, seed: int = 0) -> tuple[Scenario, Observation]:
    scenario = build_scenario(family, seed=seed)
    return scenario, SimWorld().reset(scenario, ("tracks", "lights"))


def moved(observation: Observation, along: float, left: float, turn: float = 0.0) -> Observation:
    """The ego ``along`` m ahead and ``left`` m aside of where it is, turned by ``turn`` rad."""
    ego = observation.ego
    c, s = math.cos(ego.heading), math.sin(ego.heading)
    place = {"x": ego.x + along * c - left * s, "y": ego.y + along * s + left * c}
    ego = dataclasses.replace(ego, **place, heading=ego.heading + turn)
    return dataclasses.replace(observation, ego=ego)


def test_lateral_and_heading_are_those_of_the_ego_to_its_route() -> None:
    scenario, observation = begun("lead_vehicle_brake")
    points = route_points(scenario.road_map, scenario.route)
    seen, memory = vector_observation(moved(observation, 4.0, 0.7, 0.2), points, RouteMemory())
    ego = dict(zip(EGO_COLUMNS, seen["ego"]))
    assert ego["lateral"] == pytest.approx(0.7, abs=1e-5)
    assert math.atan2(ego["heading_sin"], ego["heading_cos"]) == pytest.approx(0.2, abs=1e-6)
    assert memory.s == pytest.approx(4.0, abs=1e-6)
    assert ego["speed_limit"] == pytest.approx(50.0 / 3.6)
    assert ego["stop_distance"] == LINE_REACH and not seen["ego"][EGO["red"] :].any()
    # a straight road 0.7 m to the right of a car that looks 0.2 rad to the left
    x = np.array(ROUTE_AHEAD) * math.cos(0.2) - 0.7 * math.sin(0.2)
    y = -np.array(ROUTE_AHEAD) * math.sin(0.2) - 0.7 * math.cos(0.2)
    np.testing.assert_allclose(seen["route"][:, :2], np.column_stack([x, y]), atol=1e-4)


def test_agents_are_seen_from_the_ego() -> None:
    scenario, observation = begun("lead_vehicle_brake")
    points = route_points(scenario.road_map, scenario.route)
    seen, _ = vector_observation(observation, points, RouteMemory())
    assert observation.tracks is not None
    lead, row = observation.tracks.states, seen["agents"][0]
    gap = math.hypot(lead.x[0] - observation.ego.x, lead.y[0] - observation.ego.y)
    assert row[AGENT["x"]] == pytest.approx(gap, abs=1e-3)
    assert row[AGENT["vx"]] == pytest.approx(lead.speed[0] - observation.ego.speed, abs=1e-5)
    assert row[AGENT["length"]] == pytest.approx(lead.length[0])
    assert row[AGENT["vehicle"]] == 1.0 and row[AGENT["vehicle"] + 1 :].sum() == 0.0
    assert seen["valid"].tolist() == [1.0] + [0.0] * 11
    alone = vector_observation(dataclasses.replace(observation, tracks=None), points, RouteMemory())
    assert not alone[0]["agents"].any() and not alone[0]["valid"].any()
    far = vector_observation(moved(observation, -70.0, 0.0), points, RouteMemory())
    assert not far[0]["valid"].any()


def test_nearest_come_first_and_every_kind_has_its_column() -> None:
    scenario, observation = begun("dense_town", seed=1)
    seen, _ = vector_observation(
        observation, route_points(scenario.road_map, scenario.route), RouteMemory()
    )
    count = int(seen["valid"].sum())
    gaps = np.hypot(*seen["agents"][:count, :2].T)
    assert count > 2 and (np.diff(gaps) >= 0.0).all() and gaps.max() <= 60.0
    assert (seen["agents"][:count, AGENT["vehicle"] :].sum(axis=1) == 1.0).all()
    assert not seen["agents"][count:].any()
    assert len(GROUP) == len(AgentKind)


def test_a_light_is_seen_with_its_distance_and_state() -> None:
    scenario, observation = begun("red_light")
    points = route_points(scenario.road_map, scenario.route)
    front = observation.ego.vehicle.length - observation.ego.vehicle.rear_overhang
    for state, column in (
        (LightState.RED, "red"),
        (LightState.RED_YELLOW, "red"),
        (LightState.YELLOW, "yellow"),
        (LightState.GREEN, "green"),
        (LightState.OFF, "green"),
    ):
        assert observation.lights is not None
        lights = np.full_like(observation.lights, state)
        now = dataclasses.replace(observation, lights=lights)
        ego = vector_observation(now, points, RouteMemory())[0]["ego"]
        assert ego[EGO["stop_distance"]] == pytest.approx(points.line_s[0] - front, abs=1e-3)
        assert ego[EGO[column]] == 1.0 and ego[EGO["red"] :].sum() == 1.0


def test_a_stop_sign_is_remembered_once_stopped_for() -> None:
    scenario, observation = begun("stop_sign")
    points = route_points(scenario.road_map, scenario.route)
    front = observation.ego.vehicle.length - observation.ego.vehicle.rear_overhang
    near = moved(observation, float(points.line_s[0]) - front - 3.0, 0.0)
    memory = RouteMemory(s=float(points.line_s[0]) - front - 3.0)
    seen, after = vector_observation(near, points, memory)
    assert seen["ego"][EGO["stop_sign"]] == 1.0 and after.stopped_line == -1
    stood = dataclasses.replace(near, ego=dataclasses.replace(near.ego, speed=np.float64(0.0)))
    seen, after = vector_observation(stood, points, memory)
    assert seen["ego"][EGO["give_way"]] == 1.0 and after.stopped_line == 0
    assert vector_observation(near, points, after)[0]["ego"][EGO["give_way"]] == 1.0


def test_the_foot_follows_the_route_and_finds_its_own_samples() -> None:
    scenario, _ = begun("lane_following")
    points = route_points(scenario.road_map, scenario.route)
    s = 0.0
    for aim in np.arange(0.0, points.length, 3.7):
        x, y, heading, _ = (float(v[0]) for v in sample_route(points, np.array([aim])))
        s, lateral = foot_on_route(
            points, x - 1.5 * math.sin(heading), y + 1.5 * math.cos(heading), s
        )
        assert s == pytest.approx(aim, abs=0.02) and lateral == pytest.approx(1.5, abs=1e-3)
    x, _, heading, curvature = sample_route(points, np.array([points.length, points.length + 10.0]))
    assert x[1] - x[0] == pytest.approx(10.0 * math.cos(heading[0]))
    assert curvature[1] == 0.0


def test_actions_mean_the_same_sideways_acceleration_at_any_speed() -> None:
    car = VehicleParameters()
    speed = np.array([10.0, 20.0, 30.0])
    control = control_from_action(np.array([[-1.0, 1.0], [0.5, -1.0], [2.0, 0.0]]), speed, car)
    np.testing.assert_allclose(control.acceleration, [-6.0, 1.5, 3.0])
    lateral = speed**2 * np.tan(control.steering) / car.wheelbase
    np.testing.assert_allclose(lateral, [5.0, -5.0, 0.0], atol=1e-9)
    assert control_from_action(np.array([0.0, 1.0]), np.float64(0.0), car).steering == 0.5
