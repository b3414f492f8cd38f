"""What a log tells of the actuators: delays and lags that were put in are found again."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from planning.actuator_delay import Identified, fit_actuator, identify_actuators
from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.types import Control, Observation, Rollout, Scenario, VehicleParameters
from roadloop.vehicles import load_vehicle
from sim.latency import DelayedDriver, Latency
from sim.population import agents_from
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import Simulator, SimWorld
from tests.hand_drive import crossroads, rollout_of

DT = 0.1
CAR = VehicleParameters()


def excitation(steps: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A command that wanders: new targets every 1.5 s, reached in straight lines."""
    knots = np.arange(0, steps * DT + 1.5, 1.5)
    return np.interp(np.arange(steps) * DT, knots, rng.normal(0.0, size, len(knots)))


def answer(
    command: np.ndarray, delay: float, lag: float, gain: float = 1.0, offset: float = 0.0
) -> np.ndarray:
    """The lag written down as a differential equation, in steps of 2 ms."""
    step, now = 0.002, float(command[0])
    measured = np.empty(len(command))
    for k in range(len(command)):
        measured[k] = now
        for j in range(round(DT / step)):
            told = math.floor((k * DT + (j + 0.5) * step - delay) / DT)
            now += (gain * command[max(told, 0)] + offset - now) * step / lag
    return measured


@pytest.mark.parametrize(
    ("delay", "lag", "gain"),
    [(0.0, 0.1, 1.0), (0.2, 0.1, 0.9), (0.134, 0.3, 1.1), (0.37, 0.05, 1.0)],
)
def test_what_was_put_in_is_found(delay, lag, gain):
    command = excitation(250, 0.1, np.random.default_rng(1))
    fit = fit_actuator(command, answer(command, delay, lag, gain, 0.02), DT)
    assert fit.delay.value == pytest.approx(delay, abs=0.004)
    assert fit.lag.value == pytest.approx(lag, abs=0.005)
    assert fit.gain.value == pytest.approx(gain, abs=2e-3)
    assert fit.offset == pytest.approx(0.02, abs=1e-3)
    assert fit.residual < 1e-3


def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 %: of 60 values three may be missed; a thin chance of more than eight."""
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        command = excitation(200, 1.0, rng)
        noisy = answer(command, 0.23, 0.2, 0.95) + rng.normal(0.0, 0.05, 200)
        fit = fit_actuator(command, noisy, DT, longest_delay=0.6)
        for interval, truth in ((fit.delay, 0.23), (fit.lag, 0.2), (fit.gain, 0.95)):
            missed += not interval.low <= truth <= interval.high
            assert interval.low <= interval.value <= interval.high
    assert missed <= 8


def test_noise_does_not_shorten_the_lag():
    rng = np.random.default_rng(5)
    command = excitation(600, 1.0, rng)
    fit = fit_actuator(command, answer(command, 0.1, 0.4) + rng.normal(0.0, 0.1, 600), DT)
    assert fit.lag.value == pytest.approx(0.4, abs=0.05)


def test_more_samples_make_it_surer():
    widths = []
    for steps in (150, 600):
        rng = np.random.default_rng(7)
        command = excitation(steps, 1.0, rng)
        fit = fit_actuator(command, answer(command, 0.25, 0.2) + rng.normal(0.0, 0.05, steps), DT)
        widths.append(fit.delay.high - fit.delay.low)
    assert widths[1] < 0.8 * widths[0]


def test_steps_that_are_not_usable_do_not_count():
    rng = np.random.default_rng(2)
    command = excitation(300, 0.1, rng)
    measured = answer(command, 0.15, 0.1)
    stuck = (np.arange(299) // 40) % 3 == 1
    measured[1:][stuck] = 0.5
    free = ~stuck
    free[1:] &= ~stuck[:-1]
    fit = fit_actuator(command, measured, DT, free)
    assert fit.delay.value == pytest.approx(0.15, abs=0.005)
    with pytest.raises(RoadloopError, match="does not follow"):
        fit_actuator(command, rng.normal(0.0, 0.1, 300), DT)


@pytest.mark.parametrize(
    ("command", "measured", "message"),
    [
        (np.zeros(200), np.zeros(200), "hardly changes"),
        (np.zeros(20), np.zeros(20), "too few"),
        (np.zeros(200), np.zeros(199), "one of each"),
        (np.full(200, np.nan), np.zeros(200), "not finite"),
    ],
)
def test_what_tells_nothing_is_refused(command, measured, message):
    with pytest.raises(RoadloopError, match=message) as error:
        fit_actuator(command, measured, DT)
    assert "\n" not in str(error.value)


def drive(late: int, steps: int = 260, straight: bool = False) -> Rollout:
    """The simulator's car under wandering commands that it hears ``late`` steps later."""
    scenario = build_scenario("lane_following", seed=0, duration=1.0)
    ego = dataclasses.replace(scenario.ego, x=np.float64(3000.0), speed=np.float64(15.0))
    scenario = dataclasses.replace(scenario, ego=ego, agents=agents_from([]), dt=DT)
    rng = np.random.default_rng(3)
    acceleration = excitation(steps, 1.0, rng)
    steering = excitation(steps, 0.0 if straight else 0.02, rng)
    simulator = Simulator()
    state = simulator.reset([scenario])
    seen = []
    for k in range(steps):
        seen.append(simulator.observe(state).ego)
        told = k - late
        control = (acceleration[told], steering[told]) if told >= 0 else (0.0, 0.0)
        state = simulator.step(state, np.array([control], np.float32))
    base = rollout_of(crossroads(), np.zeros((steps, 3)))
    names = [f.name for f in dataclasses.fields(base.ego) if f.name != "vehicle"]
    columns = {name: np.array([float(getattr(e, name)) for e in seen]) for name in names}
    return dataclasses.replace(
        base,
        ego=dataclasses.replace(base.ego, **columns),
        control=dataclasses.replace(base.control, acceleration=acceleration, steering=steering),
    )


@pytest.fixture(scope="module")
def late_drive() -> Rollout:
    return drive(late=2)


def test_the_simulators_actuators_are_found(late_drive):
    found = identify_actuators(late_drive)
    for fit, lag in (
        (found.steering, CAR.steering_lag),
        (found.acceleration, CAR.acceleration_lag),
    ):
        assert fit is not None
        assert fit.delay.value == pytest.approx(0.2, abs=0.005)
        assert fit.lag.value == pytest.approx(lag, abs=0.005)
        assert fit.gain.value == pytest.approx(1.0, abs=0.01)
    assert not found.reasons


class Wandering:
    """A driver that wanders blindly, and remembers what it asked for at each step."""

    name, sensors, plan = "wandering", (), None

    def __init__(self, steps: int) -> None:
        rng = np.random.default_rng(4)
        self.script = np.stack([excitation(steps + 1, s, rng) for s in (1.0, 0.02)], axis=1)
        self.asked = np.full((steps + 1, 2), np.nan)

    def reset(self, scenario: Scenario) -> None:
        self.asked[:] = np.nan

    def act(self, observation: Observation) -> Control:
        self.asked[observation.step] = self.script[observation.step]
        return Control(*self.asked[observation.step])


@pytest.mark.parametrize("latency", [0.2, 0.3])
def test_the_latency_of_a_late_driver_is_found(latency):
    """What it asked for against what the car did; the log holds what came of it, too late."""
    steps = 220
    scenario = build_scenario("lane_following", seed=0, duration=steps * DT)
    ego = dataclasses.replace(scenario.ego, x=np.float64(3000.0), speed=np.float64(15.0))
    scenario = dataclasses.replace(scenario, ego=ego, agents=agents_from([]), dt=DT)
    driver, seen = Wandering(steps), []
    late = DelayedDriver(driver, Latency("constant", latency))
    drive_scenario(scenario, late, SimWorld(), on_step=lambda o: seen.append(o.ego))
    answered = np.flatnonzero(np.isfinite(driver.asked[:, 0]))
    held = driver.asked[answered[np.searchsorted(answered, np.arange(len(seen)), "right") - 1]]
    for column, name, lag in ((0, "acceleration", 0.2), (1, "steering", 0.1)):
        measured = np.array([float(getattr(ego, name)) for ego in seen])
        fit = fit_actuator(held[:, column], measured, DT, longest_delay=0.6)
        assert fit.delay.value == pytest.approx(latency, abs=0.005)
        assert fit.lag.value == pytest.approx(lag, abs=0.005)


def test_what_a_straight_drive_does_not_tell_is_said():
    found = identify_actuators(drive(late=1, straight=True))
    assert found.steering is None and found.acceleration is not None
    assert "hardly changes" in found.reasons["steering"]
    standing = drive(late=0, steps=60, straight=True)
    halted = dataclasses.replace(standing.ego, speed=np.zeros(60))
    with pytest.raises(RoadloopError, match="no actuator can be told"):
        identify_actuators(dataclasses.replace(standing, ego=halted))


def test_roadloop_identify_prints_and_writes_a_vehicle(late_drive, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("roadloop.logs.store.read_rollout", lambda folder: late_drive)
    monkeypatch.setattr("roadloop.drive_folder.rollout_folder", lambda path: path)
    out = tmp_path / "mine.yaml"
    assert main(["identify", str(tmp_path), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "steering" in text and "0.200 (" in text and str(out) in text
    vehicle = load_vehicle(out)
    assert vehicle.delays.steering == pytest.approx(0.2, abs=0.005)
    assert vehicle.parameters.acceleration_lag == pytest.approx(0.2, abs=0.005)
    assert vehicle.parameters.wheelbase == CAR.wheelbase
    assert main(["identify", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steering"]["delay"]["value"] > 0.19
    assert main(["identify", str(tmp_path), "--out", "car.txt"]) == 2
    assert isinstance(identify_actuators(late_drive), Identified)
