"""The guard in the driver: blind perception, planners that raise, and the settings of a stack."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_controllers import LaggedBicycle
from test_planner import Actor, along, constant, tracks_of, two_way

from deploy.drivers import make_driver
from deploy.plan_log import PlanRecorder
from deploy.stack import Stack
from perception.ground_truth import GroundTruth
from planning.controllers import TrackingController
from planning.following import GRAVITY
from planning.guard import Guard
from planning.mpc import Mpc
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.scoring.diagnostics import guard_interventions
from roadloop.stage_times import StageTimes
from roadloop.types import Scenario
from roadloop.vehicles import load_vehicle

DT = 0.1


def scenario() -> Scenario:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    return Scenario(**(unused | {"road_map": two_way(), "route": along()}))


def seen_by(car: LaggedBicycle, step: int, actors=()):
    tracks = tracks_of(list(actors), step * DT)
    lights = np.zeros(0, np.uint8)
    return dataclasses.replace(car.observe(step), time=step * DT, tracks=tracks, lights=lights)


class Fails(RouteFollower):
    """Raises from step 5 to step 24."""

    def plan(self, observation, tracks, forecasts=None):
        if 5 <= observation.step < 25:
            raise KeyError("no such lane")
        return super().plan(observation, tracks, forecasts)


class Eyes(GroundTruth):
    """A `Sight` that goes blind at step 5, with tracks of nobody."""

    sensors = ("camera",)
    lights = np.zeros(0, np.uint8)
    percept = grid = None
    faults = ("camera 0: no picture",)

    def __init__(self) -> None:
        self.times, self.blind = StageTimes(), False

    def update(self, observation):
        self.blind = observation.step >= 5
        return tracks_of([], 0.0)


def drive(driver: Stack, steps: int) -> tuple[list[float], list[str]]:
    """Speeds, and what the driver says, on an empty road."""
    car, speeds, said = LaggedBicycle(30.0, 0.0, 0.0, 8.0), [], []
    driver.reset(scenario())
    for step in range(steps):
        control = driver.act(seen_by(car, step))
        speeds.append(car.speed)
        said.append(driver.reason)
        car.step(control, substeps=2)
    return speeds, said


def test_a_planner_that_raises_is_driven_on_for_and_logged():
    driver = Stack(
        "x", GroundTruth(), Fails(), TrackingController(), guard=Guard(), on_error="guard"
    )
    driver.reset(scenario())
    log, car, before = PlanRecorder(driver), LaggedBicycle(30.0, 0.0, 0.0, 8.0), 0.0
    for step in range(40):
        seen = seen_by(car, step)
        car.step(driver.act(seen), substeps=2)
        log.listen(seen)
        if step == 10:
            assert driver.reason == "the planner raised KeyError"
        if step == 14:
            before = car.speed
        if step == 24:
            assert driver.guard.state == "minimal-risk" and car.speed < before - 1.0
    assert driver.guard.state == "free"
    (found,) = driver.guard.interventions
    assert (found.kind, found.step) == ("planner", 5) and "no such lane" in found.what
    plans = log.log()
    assert plans is not None and plans.interventions == 1
    told = guard_interventions(plans)
    assert told.value == 1.0 and "planner KeyError" in told.detail


def test_by_default_a_planner_that_raises_ends_the_drive():
    driver = Stack("x", GroundTruth(), Fails(), TrackingController(), guard=Guard())
    with pytest.raises(KeyError):
        drive(driver, 10)


def test_nobody_drives_on_without_a_guard():
    with pytest.raises(RoadloopError, match="no guard that could drive on"):
        Stack("x", GroundTruth(), Fails(), TrackingController(), on_error="guard")
    with pytest.raises(RoadloopError, match='did you mean "guard"'):
        make_driver("rule", settings=["on_error=gard"])


def test_blind_eyes_are_the_guards_to_answer():
    driver = Stack("x", Eyes(), RouteFollower(), TrackingController(), guard=Guard())
    speeds, said = drive(driver, 70)
    (found,) = driver.guard.interventions
    assert found.kind == "perception" and "no tracks" in found.what and 9 <= found.step <= 10
    assert speeds[-1] < 0.1 and said[-1].startswith("sees nothing ahead")


def test_without_a_guard_blind_eyes_stop_the_car_too():
    speeds, _ = drive(Stack("x", Eyes(), RouteFollower(), TrackingController()), 60)
    assert speeds[-1] < 0.1


def test_controller_and_vehicle_are_settings():
    driver = make_driver("rule", settings=["controller=mpc", "vehicle=van", "on_error=guard"])
    assert isinstance(driver, Stack) and isinstance(driver.controller, Mpc)
    assert driver.name == "rule[controller=mpc,vehicle=van,on_error=guard]"
    van = load_vehicle("van").parameters
    assert driver.vehicle == van and driver.on_error == "guard"
    driver.reset(scenario())
    car = LaggedBicycle(30.0, 0.0, 0.0, 8.0)
    control = driver.act(seen_by(car, 0, [Actor(constant(70.0, 0.0, 8.0))]))
    assert np.isfinite([control.acceleration, control.steering]).all()
    assert abs(control.acceleration) <= van.friction * GRAVITY


def test_settings_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(RoadloopError, match='did you mean "mpc"'):
        make_driver("idm", settings=["controller=mcp"])
    with pytest.raises(RoadloopError, match="has no settings"):
        make_driver("stationary", settings=["controller=mpc"])
    late = tmp_path / "late.yaml"
    late.write_text("delays:\n  steering: 0.2\n")
    with pytest.raises(RoadloopError, match="take controller=mpc"):
        make_driver("route-follower", settings=[f"vehicle={late}"])
    made = make_driver("route-follower", settings=[f"vehicle={late}", "controller=mpc"])
    assert isinstance(made, Stack)
