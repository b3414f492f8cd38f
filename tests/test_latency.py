"""Late drivers: what takes effect when, what is dropped, and that no latency changes nothing."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from deploy.drivers import make_driver
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.logs.store import RolloutWriter, read_rollout, rollout_hash
from roadloop.types import Control, EgoState, Observation, Scenario, Trajectory
from sim.latency import (
    DelayedDriver,
    Latency,
    TimedDriver,
    measure_latency,
    read_latency,
    write_latency,
)
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld

DT = 0.1


class Echo:
    """Answers with the step it saw, and notes what it was shown."""

    name = "echo"
    sensors = ("tracks",)
    reason = ""

    def __init__(self) -> None:
        self.plan: Trajectory | None = None
        self.shown: list[Observation] = []

    def reset(self, scenario: Scenario) -> None:
        self.shown = []

    def act(self, observation: Observation) -> Control:
        self.shown.append(observation)
        step = np.float64(observation.step)
        self.plan = Trajectory(step[None], step[None], step[None], step[None], DT)
        self.reason = f"step {observation.step}"
        return Control(acceleration=step, steering=-step)


def scenario(seed: int = 0) -> Scenario:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    return Scenario(**(unused | {"seed": seed}))


def observe(step: int) -> Observation:
    zero = np.float64(0.0)
    ego = EgoState(zero, zero, zero, zero, zero, zero, np.float64(0.25), zero)
    return Observation(step=step, time=step * DT, dt=DT, ego=ego)


def drive(latency: Latency, steps: int, seed: int = 0) -> tuple[DelayedDriver, list[float]]:
    """The driver afterwards, and at each step the step whose answer was in force (-1: hold)."""
    driver = DelayedDriver(Echo(), latency)
    driver.reset(scenario(seed))
    force = []
    for step in range(steps):
        control = driver.act(observe(step))
        if driver.plan is None:
            assert (float(control.acceleration), float(control.steering)) == (0.0, 0.25)
            force.append(-1)
        else:
            assert control.steering == -control.acceleration
            assert driver.plan.x[0] == control.acceleration
            assert driver.reason == f"step {control.acceleration:.0f}"
            force.append(int(control.acceleration))
    return driver, force


# --- what takes effect when ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "force"),
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (0.04, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (0.1, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (0.25, [-1, -1, -1, 0, 0, 0, 3, 3, 3, 6]),
        (0.3, [-1, -1, -1, 0, 0, 0, 3, 3, 3, 6]),
        (5.0, [-1] * 10),
    ],
)
def test_an_answer_takes_effect_at_the_first_step_not_before_it_is_ready(seconds, force):
    assert drive(Latency(mean=seconds), 10)[1] == force


def test_frames_are_dropped_while_computing_and_the_driver_learns_the_time_between():
    driver, _ = drive(Latency(mean=0.3), 10)
    echo = driver.driver
    assert [o.step for o in echo.shown] == [0, 3, 6, 9]
    assert [o.dt for o in echo.shown] == pytest.approx([0.1, 0.3, 0.3, 0.3])
    stats = driver.statistics
    assert (stats.frames, stats.dropped, stats.held) == (10, 6, 3)
    assert stats.mean == stats.longest == 0.3
    assert stats.mean_age == pytest.approx(np.mean([0.3, 0.4, 0.5, 0.3, 0.4, 0.5, 0.3]))


def test_statistics_before_the_first_step_are_empty():
    driver = DelayedDriver(Echo(), Latency(mean=0.1))
    driver.reset(scenario())
    assert driver.statistics.frames == 0 and math.isnan(driver.statistics.mean)


def test_measured_latencies_are_replayed_in_order_and_again_from_the_start():
    _, force = drive(Latency("measured", samples=(0.1, 0.3)), 10)
    #   0 takes 0.1, 1 takes 0.3, 4 takes 0.1, 5 takes 0.3, 8 takes 0.1
    assert force == [-1, 0, 0, 0, 1, 4, 4, 4, 5, 8]


def test_reset_begins_again():
    driver, first = drive(Latency("lognormal", 0.2, 0.1), 30)
    driver.reset(scenario())
    assert driver.plan is None and driver.statistics.frames == 0
    again = [float(driver.act(observe(k)).acceleration) for k in range(30)]
    assert [max(k, 0) for k in first] == again


def test_it_is_a_driver_and_says_how_late():
    driver = DelayedDriver(Echo(), Latency(mean=0.2))
    assert isinstance(driver, Driver)
    assert (driver.name, driver.sensors) == ("echo@0.2s", ("tracks",))
    assert DelayedDriver(Echo(), Latency()).name == "echo"
    with pytest.raises(RoadloopError, match=r"call reset\(scenario\) first"):
        driver.act(observe(0))


# --- no latency, no difference ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut_in() -> Scenario:
    return build_scenario("cut_in", seed=0, duration=5.0)


def hash_of(driver: Driver, scenario: Scenario, folder: Path) -> str:
    with RolloutWriter(folder, scenario, driver.name) as writer:
        drive_scenario(scenario, driver, SimWorld(), writer=writer)
    return rollout_hash(read_rollout(folder))


def test_zero_latency_and_timing_change_nothing(cut_in: Scenario, tmp_path: Path):
    bare = hash_of(make_driver("route-follower"), cut_in, tmp_path / "bare")
    late = DelayedDriver(make_driver("route-follower"), Latency())
    assert hash_of(late, cut_in, tmp_path / "zero") == bare
    assert late.statistics.dropped == 0 and late.statistics.mean_age == 0.0
    ticks = itertools.count()
    timed = TimedDriver(make_driver("route-follower"), clock=lambda: float(next(ticks)))
    assert hash_of(timed, cut_in, tmp_path / "timed") == bare
    assert timed.seconds == [1.0] * 51


def test_latency_changes_the_drive_and_the_same_seed_repeats_it(cut_in: Scenario, tmp_path: Path):
    def late(seed: int) -> Driver:
        return DelayedDriver(
            make_driver("route-follower"), Latency("lognormal", 0.25, 0.1, seed=seed)
        )

    first = hash_of(late(0), cut_in, tmp_path / "a")
    assert hash_of(late(0), cut_in, tmp_path / "b") == first
    assert hash_of(late(1), cut_in, tmp_path / "c") != first
    assert hash_of(make_driver("route-follower"), cut_in, tmp_path / "d") != first


def test_what_was_measured_can_be_written_and_replayed(cut_in: Scenario, tmp_path: Path):
    short = dataclasses.replace(cut_in, duration=1.0)
    measured = measure_latency(make_driver("constant-speed"), short, SimWorld(), warm_up=2)
    assert measured.kind == "measured" and len(measured.samples) == 9
    assert all(0.0 < seconds < 5.0 for seconds in measured.samples)
    file = write_latency(tmp_path / "board.json", measured)
    assert read_latency(file) == measured
    with pytest.raises(RoadloopError, match="11 answers, 11 of them to warm up"):
        measure_latency(make_driver("constant-speed"), short, SimWorld(), warm_up=11)


# --- distributions ------------------------------------------------------------------------------


def drawn(latency: Latency, count: int = 4000, seed: int = 0) -> np.ndarray:
    return np.array(list(itertools.islice(latency.draws(seed), count)))


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_distributions_have_the_stated_mean_and_spread(kind):
    values = drawn(Latency(kind, 0.1, 0.02))
    assert values.mean() == pytest.approx(0.1, rel=0.02)
    assert values.std() == pytest.approx(0.02, rel=0.05)
    assert (drawn(Latency(kind, 0.1, 0.02)) == values).all()
    for other in (drawn(Latency(kind, 0.1, 0.02), seed=1), drawn(Latency(kind, 0.1, 0.02, seed=1))):
        assert (other != values).all()
    assert drawn(Latency(kind, 0.1), 3).tolist() == [0.1] * 3


def test_normal_latency_is_never_negative():
    assert drawn(Latency("normal", 0.01, 0.05)).min() == 0.0


def test_shuffled_samples_are_drawn_at_random_from_those_measured():
    latency = Latency("measured", samples=(0.1, 0.2, 0.4), shuffle=True)
    values = drawn(latency)
    assert set(values) == {0.1, 0.2, 0.4}
    assert np.mean(values == 0.4) == pytest.approx(1 / 3, abs=0.03)
    assert values[:6].tolist() != [0.1, 0.2, 0.4, 0.1, 0.2, 0.4]


# --- reading ------------------------------------------------------------------------------------


def test_numbers_and_distributions_are_read():
    assert read_latency("0.2") == Latency(mean=0.2)
    assert read_latency("normal:0.1,0.02") == Latency("normal", 0.1, 0.02)
    assert read_latency("lognormal:0.1, 0.02") == Latency("lognormal", 0.1, 0.02)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", "[0.1, 0.25]"),
        ("object.json", '{"latency_s": [0.1, 0.25], "machine": "board"}'),
        ("column.csv", "step,latency_s\n0,0.1\n1,0.25\n"),
        ("bare.csv", "0.1\n0.25\n"),
        ("head.csv", "latency_s\n0.1\n0.25\n"),
        ("lines.txt", "# seconds\n0.1\n\n0.25  # slow\n"),
    ],
)
def test_files_are_read(tmp_path: Path, name, text):
    file = tmp_path / name
    file.write_text(text)
    assert read_latency(file) == Latency("measured", samples=(0.1, 0.25))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "", r"a\.json: holds no latency"),
        ("a.json", "[]", r"a\.json: holds no latency"),
        ("a.json", "[0.1,", r"a\.json:1: not JSON"),
        ("a.json", '{"latency": [1]}', r'no key "latency_s"'),
        ("a.json", "3", "expected a list of seconds"),
        ("a.json", '[0.1, "x"]', r'a\.json: number 2: "x" is no number'),
        ("a.json", "[0.1, NaN]", r"a\.json: number 2: latency is nan"),
        ("a.csv", "step,time\n0,1\n", r'a\.csv:1: no column "latency_s"; has step, time'),
        ("a.csv", "step,latency_s\n0,0.1\n1\n", r"a\.csv:3: no value in column 2"),
        ("a.csv", "latency_s\n", r"a\.csv: holds no latency"),
        ("a.txt", "0.1\n-0.2\n", r"a\.txt:2: latency is -0\.2"),
        ("a.txt", "0.1\nfast\n", r"a\.txt:2: 'fast' is no number"),
        ("a.txt", "120\n", r"a\.txt:1: latency is 120: expected seconds from 0 to 60"),
    ],
)
def test_mistakes_in_files_are_named_in_one_line(tmp_path: Path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(RoadloopError, match=message) as error:
        read_latency(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("-0.1", "expected s, finite and 0 or more"),
        ("nan", "expected s, finite and 0 or more"),
        ("200", "is it milliseconds"),
        ("0.2s", 'latency "0.2s": expected seconds'),
        ("normal:0.1", "expected normal:MEAN,STD"),
        ("lognormal:0,0.1", "expected above 0"),
        ("missing.json", "missing.json: No such file"),
    ],
)
def test_mistakes_in_what_is_written_are_named(source, message):
    with pytest.raises(RoadloopError, match=message):
        read_latency(source)


def test_impossible_latencies_are_refused():
    with pytest.raises(RoadloopError, match="holds no samples"):
        Latency("measured")
    with pytest.raises(RoadloopError, match="its kind is measured"):
        Latency("constant", samples=(0.1,))
    with pytest.raises(RoadloopError, match='kind is "gamma"'):
        Latency("gamma")  # type: ignore[arg-type]
    with pytest.raises(RoadloopError, match="sample 2 is -1"):
        Latency("measured", samples=(0.1, -1.0))
    with pytest.raises(RoadloopError, match="only measured ones"):
        write_latency("x.json", Latency())
