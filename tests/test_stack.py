"""The driver as a whole: made by name, checked at the door, driving a map from the registry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_controllers import LaggedBicycle
from test_planner import Actor, along, constant, tracks_of, two_way

from deploy.stack import DRIVERS, Stack, make_driver
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.types import Scenario


def started(name: str) -> Stack:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    driver = make_driver(name)
    driver.reset(Scenario(**(unused | {"road_map": two_way(), "route": along()})))
    assert isinstance(driver, Stack)
    return driver


def observe(actors=(), **changes):
    car = LaggedBicycle(x=10.0, speed=8.0)
    seen = dataclasses.replace(
        car.observe(3), tracks=tracks_of(list(actors), 0.0), lights=np.zeros(0, np.uint8)
    )
    return dataclasses.replace(seen, ego=dataclasses.replace(seen.ego, **changes))


@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_drives_a_step(name):
    driver = started(name)
    assert isinstance(driver, Driver)
    assert driver.name == name
    assert driver.plan is None
    control = driver.act(observe())
    assert np.isfinite([control.acceleration, control.steering]).all()
    assert driver.plan is not None
    assert driver.reason


def test_the_default_brakes_for_a_wall_and_the_baseline_does_not():
    wall = [Actor(constant(35.0, 0.0))]
    assert started("idm").act(observe(wall)).acceleration < 0.0
    assert started("constant-speed").act(observe(wall)).acceleration >= 0.0


def test_reset_forgets_the_plan():
    driver = started("idm")
    driver.act(observe())
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    driver.reset(Scenario(**(unused | {"road_map": two_way(), "route": along()})))
    assert driver.plan is None


def test_unknown_driver_names_the_nearest():
    with pytest.raises(RoadloopError, match="did you mean 'idm'"):
        make_driver("idmm")


@pytest.mark.parametrize("name", ["x", "speed", "steering"])
def test_nan_in_the_ego_is_named(name):
    with pytest.raises(RoadloopError, match=rf"observation\.ego\.{name} is nan at step 3"):
        started("idm").act(observe(**{name: np.float64(np.nan)}))


def test_nan_in_a_track_is_named_unless_masked():
    seen = observe([Actor(constant(35.0, 0.0)), Actor(constant(60.0, 3.5, np.nan))])
    with pytest.raises(RoadloopError, match=r"states\.\w+\[1\] is nan"):
        started("idm").act(seen)
    assert seen.tracks is not None
    states = dataclasses.replace(seen.tracks.states, valid=np.array([True, False]))
    masked = dataclasses.replace(seen, tracks=dataclasses.replace(seen.tracks, states=states))
    started("idm").act(masked)
