"""nuPlan's IDM planner: parameters, whom it follows, where it stops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from planner_scene import (
    CAR,
    LIMIT,
    NOBODY_THERE,
    driven,
    observe,
    ready,
    refuses_what_cannot_be_driven,
    tracks,
    two_way,
    users,
)

from planning.idm_planner import NUPLAN_IDM, STEP, STEPS, IdmPlanner
from roadloop.maps.road_map import SignalKind
from roadloop.types import AgentKind, LightState, Route

BUMPER = CAR.length / 2.0  # m from the box centre


def planner(road_map, route=None) -> IdmPlanner:
    return ready(IdmPlanner(), road_map, route)


def centre(plan) -> np.ndarray:
    return plan.x + CAR.centre_offset * np.cos(plan.heading)


def replanned(made: IdmPlanner, states, *, seconds: float, speed: float, lights=None):
    """(n, 2) x of the rear axle and speed of a car that does exactly as planned for 0.5 s each."""
    x, log = 10.0, []
    for step in range(round(seconds / STEP)):
        seen = observe(x=x, speed=speed, lights=lights, step=step)
        plan = made.plan(dataclasses.replace(seen, dt=STEP), tracks(states))
        x, speed = float(plan.x[5]), float(plan.speed[5])
        log.append((x, speed))
    return np.array(log)


def test_parameters_are_the_published_ones():
    assert dataclasses.astuple(NUPLAN_IDM) == (1.0, 1.5, 1.0, 3.0, 4.0)
    assert (STEP, STEPS) == (0.5, 16)


def test_free_road_by_hand():
    plan = planner(two_way()).plan(observe(speed=6.0), tracks(NOBODY_THERE))
    assert len(plan.x) == 81 and plan.dt == 0.1
    s, v, end = 10.0 + CAR.centre_offset, 6.0, 600.0 - BUMPER
    for k in range(STEPS):
        wanted = 1.0 + v * 1.5 + v * v / (2.0 * np.sqrt(3.0))
        a = 1.0 - (v / LIMIT) ** 4 - (wanted / (end - s)) ** 2
        s, v = s + v * STEP, v + a * STEP
        assert centre(plan)[5 * (k + 1)] == pytest.approx(s, abs=1e-6)
        assert plan.speed[5 * (k + 1)] == pytest.approx(v, abs=1e-6)
    np.testing.assert_allclose(plan.y, 0.0, atol=1e-9)


def test_drives_at_the_limit_and_not_beyond():
    log = replanned(planner(two_way()), NOBODY_THERE, seconds=18.0, speed=10.0)
    assert 0.93 * LIMIT < log[-1, 1] <= LIMIT
    assert log[:, 1].max() <= LIMIT


def test_stops_behind_a_standing_car():
    made = planner(two_way())
    log = replanned(made, users((70.0, 0.0, 0.0, 0.0)), seconds=20.0, speed=10.0)
    gap = 70.0 - 2.25 - (log[-1, 0] + CAR.centre_offset + BUMPER)
    assert log[-1, 1] < 0.3
    assert 0.2 < gap < 3.0
    assert made.reason == "following car 1"


def test_follows_the_nearest_box_that_reaches_into_its_corridor():
    made = planner(two_way())
    far, beside = (48.0, 0.0, 0.0, 5.0), (35.0, 1.8, 0.0, 3.0)  # 0.05 m of its side are inside
    made.plan(observe(speed=8.0), tracks(users(far, beside)))
    assert made.reason == "following car 2"
    made.plan(observe(speed=8.0), tracks(users(far, (35.0, 1.9, 0.0, 3.0))))
    assert made.reason == "following car 1"
    behind = users((5.0, 0.0, 0.0, 9.0))
    made.plan(observe(x=20.0, speed=8.0), tracks(behind))
    assert made.reason == "free"


def test_things_and_people_are_obstacles_too():
    made = planner(two_way())
    walker = users((40.0, 0.0, np.pi / 2, 1.4), kind=AgentKind.PEDESTRIAN, length=0.5, width=0.5)
    made.plan(observe(speed=8.0), tracks(walker))
    assert made.reason == "following pedestrian 1"


def test_red_light_stops_before_the_line_and_green_does_not():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=70.0)
    made = planner(road_map)
    red, green = (np.array([s], np.uint8) for s in (LightState.RED, LightState.GREEN))
    log = replanned(made, NOBODY_THERE, seconds=20.0, speed=10.0, lights=red)
    front = log[-1, 0] + CAR.centre_offset + BUMPER
    assert log[-1, 1] < 0.3
    assert 67.0 < front < 70.0
    assert made.reason == "red light"
    plan = planner(road_map).plan(observe(speed=10.0, lights=green), tracks(NOBODY_THERE))
    assert plan.speed.min() > 9.9


def test_the_limit_is_that_of_the_lane_the_ego_is_on():
    lanes = [
        HandLane(straight((0.0, 0.0), (100.0, 0.0)), successors=(1,)),
        HandLane(straight((100.0, 0.0), (500.0, 0.0)), speed_limit=8.0),
    ]
    made = planner(HandMap(lanes).build(), Route(np.array([0, 1], np.int32), 0.0, 380.0))
    assert made.plan(observe(speed=8.0), tracks(NOBODY_THERE)).speed[-1] > 10.0
    for x in range(20, 130, 10):
        plan = made.plan(observe(x=float(x), speed=8.0), tracks(NOBODY_THERE))
    assert plan.speed[-1] <= 8.0


def test_same_input_same_bytes():
    states = users((40.0, 0.3, 0.1, 3.0), (50.0, 3.5, np.pi, 8.0))
    plans = [planner(two_way()).plan(observe(speed=8.0), tracks(states)) for _ in range(2)]
    for name in ("x", "y", "heading", "speed"):
        assert getattr(plans[0], name).tobytes() == getattr(plans[1], name).tobytes()


def test_mistakes_are_one_line():
    refuses_what_cannot_be_driven(IdmPlanner)


@pytest.mark.parametrize("family", ["lane_following", "lead_vehicle_brake", "red_light"])
def test_drives_in_the_simulator(family):
    last = driven(IdmPlanner(), family)
    assert float(last.ego.speed) > 15.0 if family == "lane_following" else last.ego.speed < 5.0
