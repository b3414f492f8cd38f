"""The driver as a whole: made by name, checked at the door, driving a map from the registry."""

from __future__ import annotations

import dataclasses
import functools
import pickle

import numpy as np
import pytest
from test_controllers import LaggedBicycle
from test_planner import Actor, along, constant, tracks_of, two_way

from deploy.drivers import DRIVERS, make_driver
from deploy.stack import Stack
from perception.noisy import NoisyPerception
from planning.longitudinal import DrivingStyle
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.types import Scenario
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld


def on_two_way() -> Scenario:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    known = {"road_map": two_way(), "route": along(), "ego": observe().ego}
    return Scenario(**(unused | known))


def started(name: str) -> Stack:
    driver = make_driver(name)
    driver.reset(on_two_way())
    assert isinstance(driver, Stack)
    return driver


def observe(actors=(), **changes):
    car = LaggedBicycle(x=10.0, speed=8.0)
    seen = dataclasses.replace(
        car.observe(3), tracks=tracks_of(list(actors), 0.0), lights=np.zeros(0, np.uint8)
    )
    return dataclasses.replace(seen, ego=dataclasses.replace(seen.ego, **changes))


FOR_RECORDED = ("recorded", "stationary", "constant-velocity")
"""no stacks; tests/test_recorded.py drives them"""


SEES_LANES = "mapless"
"""nothing without a detector; tests/test_seeing.py drives it"""


@pytest.mark.parametrize(
    "name", [name for name in DRIVERS if name not in (*FOR_RECORDED, SEES_LANES)]
)
def test_every_driver_drives_a_step(name):
    driver = started(name)
    assert isinstance(driver, Driver)
    assert driver.name == name
    assert driver.plan is None
    control = driver.act(observe())
    assert np.isfinite([control.acceleration, control.steering]).all()
    assert driver.plan is not None
    assert driver.reason


def test_driving_without_a_map_asks_for_a_detector():
    with pytest.raises(RoadloopError, match="give --perception compact"):
        make_driver("mapless")


def test_the_default_brakes_for_a_wall_and_the_baseline_does_not():
    wall = [Actor(constant(35.0, 0.0))]
    assert started("route-follower").act(observe(wall)).acceleration < 0.0
    assert started("constant-speed").act(observe(wall)).acceleration >= 0.0


def test_reset_forgets_the_plan():
    driver = started("route-follower")
    driver.act(observe())
    driver.reset(on_two_way())
    assert driver.plan is None


def test_unknown_driver_names_the_nearest():
    with pytest.raises(RoadloopError, match='did you mean "idm"'):
        make_driver("idmm")


@pytest.mark.parametrize("name", ["x", "speed", "steering"])
def test_nan_in_the_ego_is_named(name):
    with pytest.raises(RoadloopError, match=rf"observation\.ego\.{name} is nan at step 3"):
        started("route-follower").act(observe(**{name: np.float64(np.nan)}))


def test_nan_in_a_track_is_named_unless_masked():
    seen = observe([Actor(constant(35.0, 0.0)), Actor(constant(60.0, 3.5, np.nan))])
    with pytest.raises(RoadloopError, match=r"states\.\w+\[1\] is nan"):
        started("route-follower").act(seen)
    assert seen.tracks is not None
    states = dataclasses.replace(seen.tracks.states, valid=np.array([True, False]))
    masked = dataclasses.replace(seen, tracks=dataclasses.replace(seen.tracks, states=states))
    started("route-follower").act(masked)


# --- perception and settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "route-follower"),
        ({"perception": "noisy"}, "route-follower+noisy:typical"),
        ({"perception": "noisy:poor"}, "route-follower+noisy:poor"),
        ({"settings": ["time_headway=0.65"]}, "route-follower[time_headway=0.65]"),
        ({"settings": {"time_headway": "0.65"}}, "route-follower[time_headway=0.65]"),
        (
            {"settings": ["time_headway=0.65", "jerk=3"], "perception": "noisy"},
            "route-follower[time_headway=0.65,jerk=3]+noisy:typical",
        ),
    ],
)
def test_the_name_says_what_the_driver_is_made_of(options, name):
    driver = make_driver("route-follower", **options)
    assert driver.name == name
    assert isinstance(driver, Stack) and isinstance(driver, Driver)
    assert isinstance(driver.tracker, NoisyPerception) == ("noisy" in name)


def test_settings_reach_the_planner():
    planner = make_driver("route-follower", settings=["time_headway=0.65"]).planner
    assert planner.style == dataclasses.replace(DrivingStyle(), time_headway=0.65)


def test_a_file_is_a_perception(tmp_path):
    file = tmp_path / "rain.yaml"
    file.write_text("latency: 0.3\n")
    for perception in (str(file), f"noisy:{file}"):
        driver = make_driver("constant-speed", perception=perception)
        assert driver.name == "constant-speed+noisy:rain"
        assert driver.tracker.config.latency == 0.3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("route-follower", {"settings": ["headway=1"]}, "unknown key .*headway"),
        ("route-follower", {"settings": ["time_headway=fast"]}, "time_headway.*number in s"),
        (
            "route-follower",
            {"settings": ["time_headway=-1"]},
            "time_headway=-1: expected a finite number",
        ),
        ("route-follower", {"settings": "time_headway"}, "expected key=value"),
        ("constant-speed", {"settings": ["speed=3"]}, '"constant-speed" has no settings'),
        ("learned:nowhere", {}, "no learned planner at nowhere"),
        ("learned:nowhere", {"settings": ["speed=3"]}, '"learned:nowhere" has no settings'),
        ("route-follower", {"perception": "perfect"}, 'unknown perception "perfect"'),
        ("route-follower", {"perception": "noisy:"}, "expected truth, noisy"),
        ("route-follower", {"perception": "noisy:rainy"}, 'unknown perception "rainy"'),
        ("route-follower", {"perception": "nowhere.yaml"}, "nowhere.yaml: No such file"),
    ],
)
def test_mistakes_in_options_are_one_line(name, options, message):
    with pytest.raises(RoadloopError, match=message) as error:
        make_driver(name, **options)
    assert "\n" not in str(error.value)


def test_a_factory_with_options_can_be_pickled():
    factory = functools.partial(
        make_driver, "route-follower", perception="noisy", settings=["jerk=3"]
    )
    assert pickle.loads(pickle.dumps(factory))().name == "route-follower[jerk=3]+noisy:typical"


# --- drivers of the user's own ------------------------------------------------------------------


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_own_drivers.py").write_text(
        "class Coast:\n"
        "    name, sensors, plan = 'coast', (), None\n"
        "    def reset(self, scenario): pass\n"
        "    def act(self, observation): return None\n"
        "def number(): return 3\n"
        "def a_class(): return Coast\n"
        "def picky(speed): return Coast()\n"
        "constant = 3\n"
    )
    (tmp_path / "my_broken_drivers.py").write_text("import a_module_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own_module")
def test_a_driver_of_the_users_own_is_imported():
    assert make_driver("my_own_drivers:Coast").name == "coast"


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_other_drivers:make", 'finds no module "my_other_drivers".*PYTHONPATH'),
        ("my_broken_drivers:make", 'finds no module "a_module_nobody_has"'),
        ("my_own_drivers:make", 'my_own_drivers has no "make"'),
        ("my_own_drivers:constant", 'my_own_drivers cannot call its "constant"'),
        ("my_own_drivers:picky", "callable without arguments: missing .* 'speed'"),
        ("my_own_drivers:number", "returned a int without name, sensors, plan, reset, act"),
        ("my_own_drivers:a_class", "a class, not an object"),
        ("my_own_drivers:", "expected module:callable"),
        ("..:make", "expected module:callable"),
    ],
)
def test_mistakes_in_the_users_own_are_one_line(name, message):
    with pytest.raises(RoadloopError, match=message) as error:
        make_driver(name)
    assert "\n" not in str(error.value)


def test_the_users_own_takes_no_options():
    with pytest.raises(RoadloopError, match="brings its own perception"):
        make_driver("my_own_drivers:Coast", perception="noisy")
    with pytest.raises(RoadloopError, match="has no settings"):
        make_driver("my_own_drivers:Coast", settings=["jerk=3"])


# --- in closed loop -----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["cut_in", "pedestrian_crossing"])
def test_typical_perception_still_drives(family, monkeypatch):
    scenario = build_scenario(family, seed=0, duration=8.0)
    driver, world, tracked = make_driver("route-follower", perception="noisy"), SimWorld(), []
    plan = driver.planner.plan

    def look(observation, tracks, forecasts):
        tracked.append(len(tracks.age))
        for name in ("x", "y", "heading", "vx", "vy", "length", "width"):
            assert np.isfinite(getattr(tracks.states, name)).all()
        return plan(observation, tracks, forecasts)

    monkeypatch.setattr(driver.planner, "plan", look)
    drive_scenario(scenario, driver, world)
    assert len(tracked) == 81 and tracked[0] == 0 and max(tracked) > 0
    assert world.state is not None and world.state.hit.numpy()[0, 0] < 0
