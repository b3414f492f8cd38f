"""The suite of a rig: who measures when, when a driver has it, and that nobody disturbs another."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from sim_worlds import scenario_on

from roadloop.errors import RoadloopError
from roadloop.geometry import transform_points
from roadloop.rig import (
    CalibrationError,
    CameraSensor,
    GnssSensor,
    ImuSensor,
    LidarSensor,
    Mount,
    OdometrySensor,
    SensorRig,
    load_rig,
)
from roadloop.types import Observation, Scenario
from sim.sensors.suite import Moment, SensorSuite
from sim.simulator import Simulator
from sim.state import SimState

MOUNT = Mount(1.0, 0.0, 1.5)
STEPS = 30


def camera(name: str, **fields: Any) -> CameraSensor:
    return CameraSensor(name, MOUNT, 64, 32, 50.0, 50.0, 31.5, 15.5, **fields)


RIG = SensorRig(
    "all-kinds",
    cameras=(
        camera("fast", rate=20.0),
        camera("five", rate=5.0, latency=0.25),
        camera("four", rate=4.0),
        camera("also-five", rate=5.0),
    ),
    lidars=(LidarSensor("lidar", MOUNT, (0.0,), latency=0.1),),
    imus=(ImuSensor("imu", MOUNT),),
    gnss=(
        GnssSensor("gnss", MOUNT, rate=10.0, dropout=0.4, dropout_time=0.5),
        GnssSensor("late", MOUNT, rate=1.0, latency=0.15),
        GnssSensor("odd", MOUNT, rate=4.0),
    ),
    odometry=(OdometrySensor("odometry"),),
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a stand-in for a camera or LiDAR gives."""

    time: float
    elapsed: float
    together: tuple[str, ...]
    noise: float
    timestamp_us: int


class Eyes:
    """A capture that remembers its moments."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, moment: Moment, names: tuple[str, ...]) -> Mapping[str, Any]:
        self.moments.append(moment)
        return {
            name: Seen(
                moment.time,
                moment.elapsed,
                names,
                float(moment.rng(name).standard_normal()),
                moment.timestamp_us,
            )
            for name in names
        }


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    road = HandMap([HandLane(straight((0.0, 0.0), (500.0, 0.0)))]).build()
    road = dataclasses.replace(road, georeference="+proj=tmerc +lat_0=48 +lon_0=11 +datum=WGS84")
    return scenario_on(road, ego=(0, 50.0), speed=10.0, seed=7)


@pytest.fixture(scope="module")
def states(scenario: Scenario) -> list[SimState]:
    simulator = Simulator()
    states = [simulator.reset([scenario])]
    for k in range(STEPS):
        control = np.array([[1.0, 0.03 * np.sin(0.5 * k)]])
        states.append(simulator.step(states[-1], control))
    return states


def suite_of(rig: SensorRig, scenario: Scenario, eyes: Eyes | None = None, **options: Any):
    eyes = eyes or Eyes()
    captures = {kind: eyes for kind in ("cameras", "lidars") if getattr(rig, kind)}
    return SensorSuite(rig, scenario, captures=captures, **options)


def readings_of(suite: SensorSuite, states: list[SimState]) -> list[dict[str, dict[str, Any]]]:
    return [suite.reset(states[0])] + [suite.observe(state) for state in states[1:]]


@pytest.fixture(scope="module")
def readings(scenario, states):
    return readings_of(suite_of(RIG, scenario), states)


def exposures(readings, name: str) -> list[float | None]:
    """When the picture was taken that a driver has at each step."""
    pictures = [r["cameras"].get(name) for r in readings]
    return [None if p is None else round(p.time, 6) for p in pictures]


# --- when sensors measure -----------------------------------------------------------------------


def test_a_camera_faster_than_the_simulator_gives_a_picture_every_step(readings):
    assert exposures(readings, "fast") == pytest.approx([0.1 * k for k in range(STEPS + 1)])


def test_five_hertz_is_every_second_step(readings):
    expected = [0.2 * (k // 2) for k in range(STEPS + 1)]
    assert exposures(readings, "also-five") == pytest.approx(expected)


def test_four_hertz_keeps_its_mean_rate(readings):
    times = sorted(set(exposures(readings, "four")))
    assert times[:6] == pytest.approx([0.0, 0.3, 0.5, 0.8, 1.0, 1.3])  # due 0, 0.25, 0.5, ...
    assert len(times) == 13  # 0 ... 3 s


def test_latency_is_rounded_up_to_whole_steps(readings):
    found = exposures(readings, "five")
    assert found[:3] == [None] * 3  # the picture of 0 s arrives 0.25 s later: at step 3
    assert found[3:] == pytest.approx([0.2 * ((k - 3) // 2) for k in range(3, STEPS + 1)])
    sweeps = [r["lidars"].get("lidar") for r in readings]
    assert sweeps[0] is None
    assert [s.time for s in sweeps[1:]] == pytest.approx([0.1 * k for k in range(STEPS)])


def test_cameras_that_are_due_together_are_drawn_together(scenario, states):
    eyes = Eyes()
    found = readings_of(suite_of(RIG, scenario, eyes), states)
    assert found[0]["cameras"]["fast"].together == ("fast", "five", "four", "also-five")
    assert found[2]["cameras"]["also-five"].together == ("five", "also-five")
    assert found[2]["cameras"]["also-five"].elapsed == pytest.approx(0.2)
    assert found[5]["cameras"]["four"].elapsed == pytest.approx(0.2)
    assert found[3]["cameras"]["four"].elapsed == pytest.approx(0.3)
    for moment in eyes.moments:
        assert moment.previous.step * 0.1 == pytest.approx(moment.time - moment.elapsed)


def test_a_moment_has_the_poses_of_now_and_of_the_measurement_before(scenario, states):
    eyes = Eyes()
    rig = SensorRig("one", cameras=(camera("five", rate=5.0),))
    readings_of(suite_of(rig, scenario, eyes), states)
    first, second = eyes.moments[:2]
    np.testing.assert_array_equal(first.world_from_ego, first.previous_world_from_ego)
    np.testing.assert_array_equal(first.world_from_ego, second.previous_world_from_ego)
    moved = second.world_from_ego[:3, 3] - first.world_from_ego[:3, 3]
    assert np.linalg.norm(moved) == pytest.approx(0.2 * 10.1, abs=0.1)
    ahead = transform_points(second.world_from_ego, np.array([[1.0, 0.0, 0.0]]))[0]
    heading = float(second.ego.heading)
    expected = [second.ego.x + np.cos(heading), second.ego.y + np.sin(heading), second.ego.z]
    np.testing.assert_allclose(ahead, expected)


def test_frames_are_drawn_once_and_only_when_asked_for(scenario, states):
    drawn: list[tuple[int, int]] = []

    def draw(state: SimState, previous: SimState) -> Any:
        drawn.append((previous.step, state.step))
        return "frame"

    def look(moment: Moment, names: tuple[str, ...]) -> Mapping[str, Any]:
        assert moment.frame == moment.frame == "frame"
        return dict.fromkeys(names, moment.time)

    rig = SensorRig("two", cameras=(camera("a", rate=5.0), camera("b", rate=5.0)))
    suite = SensorSuite(rig, scenario, captures={"cameras": look}, draw=draw)
    readings_of(suite, states[:6])
    assert drawn == [(0, 0), (0, 2), (2, 4)]
    undrawn = SensorSuite(rig, scenario, captures={"cameras": look})
    with pytest.raises(RoadloopError, match="pass draw="):
        undrawn.reset(states[0])


# --- inertial sensors ---------------------------------------------------------------------------


def test_the_imu_gives_every_sample_once(readings):
    stamps = np.concatenate([r["imus"]["imu"].timestamp_us for r in readings])
    np.testing.assert_array_equal(stamps, np.arange(STEPS * 10 + 1) * 10_000)


def test_without_a_fix_the_receiver_is_missing(readings):
    there = np.array(["gnss" in r["gnss"] for r in readings])
    assert 0 < there.sum() < len(there)
    for k in np.flatnonzero(there):
        assert readings[k]["gnss"]["gnss"].timestamp_us == 100_000 * k


def test_fixes_are_of_their_own_time_even_between_steps(readings, states):
    late = [r["gnss"].get("late") for r in readings]
    assert late[:2] == [None, None]
    assert [f.timestamp_us for f in late[2:13]] == [0] * 10 + [1_000_000]
    odd = [r["gnss"]["odd"].timestamp_us for r in readings[:6]]
    assert odd == [0, 0, 0, 250_000, 250_000, 500_000]


def test_fixes_and_odometry_follow_the_ego(readings, states):
    for k in (5, 20, 30):
        x = states[k].agents.numpy()[0, 0]["x"]
        fix = readings[k]["gnss"]["odd"]
        assert fix.x == pytest.approx(x, abs=9.0)
        assert fix.latitude == pytest.approx(48.0, abs=1e-3)
        assert 11.0 < fix.longitude < 11.01
        odometry = readings[k]["odometry"]["odometry"]
        assert odometry.timestamp_us == 100_000 * k
        assert odometry.speed == pytest.approx(states[k].agents.numpy()[0, 0]["speed"], rel=0.05)


def test_the_readings_are_the_sensor_fields_of_an_observation(readings, states):
    plain = Simulator().observe(states[-1])
    observation = dataclasses.replace(plain, **readings[-1])
    assert isinstance(observation, Observation)
    assert set(observation.cameras) == {"fast", "five", "four", "also-five"}
    assert set(observation.imus) == {"imu"} and observation.radars == {}


# --- randomness and calibration -----------------------------------------------------------------


def test_what_a_sensor_gives_does_not_depend_on_the_others(scenario, states, readings):
    names = ("five", "gnss", "imu", "odometry")
    alone = readings_of(suite_of(RIG, scenario, names=names), states)
    for all_of_them, few in zip(readings, alone):
        assert set(few["cameras"]) <= {"five"}
        if "five" in few["cameras"]:
            assert few["cameras"]["five"].noise == all_of_them["cameras"]["five"].noise
        for kind in ("gnss", "odometry"):
            for name, reading in few[kind].items():
                assert reading == all_of_them[kind][name]
        a, b = few["imus"]["imu"], all_of_them["imus"]["imu"]
        assert a.acceleration.tobytes() == b.acceleration.tobytes()


def test_runs_are_the_same_for_the_same_seed_only(scenario, states, readings):
    suite = suite_of(RIG, scenario)
    for _ in range(2):  # a reset begins again
        again = readings_of(suite, states)
        assert [r["cameras"] for r in again] == [r["cameras"] for r in readings]
        assert [r["gnss"] for r in again] == [r["gnss"] for r in readings]
    other = readings_of(suite_of(RIG, dataclasses.replace(scenario, seed=8)), states)
    assert other[-1]["cameras"]["fast"].noise != readings[-1]["cameras"]["fast"].noise
    assert other[-1]["odometry"] != readings[-1]["odometry"]
    noises = [r["cameras"]["fast"].noise for r in readings]
    assert len(set(noises)) == len(noises)


def test_sensors_measure_from_where_they_really_are(scenario, states):
    size = CalibrationError(position=0.2)
    rig = SensorRig("off", gnss=RIG.gnss[2:], calibration_error=size)
    suite = suite_of(rig, scenario)
    assert suite.rig == rig
    true, said = suite.true_rig.gnss[0].mount, rig.gnss[0].mount
    quiet = dataclasses.replace(rig.gnss[0], noise=0.0, drift=0.0)
    exact = suite_of(dataclasses.replace(rig, gnss=(quiet,)), scenario)
    fix = exact.reset(states[0])["gnss"]["odd"]
    assert true != said
    assert fix.z == pytest.approx(states[0].agents.numpy()[0, 0]["z"] + true.z, abs=1e-6)


def test_a_world_of_a_batch_and_a_start_in_the_middle(scenario, states):
    simulator = Simulator()
    other = dataclasses.replace(scenario, seed=8)
    batch = [simulator.reset([other, scenario])]
    for _ in range(3):
        batch.append(simulator.step(batch[-1], np.array([[0.0, 0.0], [1.0, 0.0]])))
    alone = [simulator.reset([scenario])]
    for _ in range(3):
        alone.append(simulator.step(alone[-1], np.array([[1.0, 0.0]])))
    second = readings_of(suite_of(RIG, scenario, world=1), batch)
    first = readings_of(suite_of(RIG, scenario), alone)
    assert [r["gnss"] for r in second] == [r["gnss"] for r in first]
    # clocks start with the reset, whatever the simulator's step
    later = readings_of(suite_of(RIG, scenario), states[7:])
    assert later[4]["cameras"]["also-five"].time == pytest.approx(0.4)


def test_a_pitching_ego_is_measured(scenario, states):
    def downhill(state: SimState, world: int) -> np.ndarray:
        pose = np.eye(4)
        c, s = np.cos(0.1), np.sin(0.1)
        pose[0, [0, 2]], pose[2, [0, 2]] = (c, s), (-s, c)  # the nose is down
        return pose

    rig = SensorRig("imu", imus=(ImuSensor("imu", Mount(0.0, 0.0, 0.0)),))
    flat = readings_of(suite_of(rig, scenario), states[:4])
    steep = readings_of(suite_of(rig, scenario, pose=downhill), states[:4])
    expected = 9.81 * np.array([-np.sin(0.1), 0.0, np.cos(0.1) - 1.0])
    for a, b in zip(flat, steep):
        tilt = (b["imus"]["imu"].acceleration - a["imus"]["imu"].acceleration).mean(0)
        np.testing.assert_allclose(tilt, expected, atol=5e-3)


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_told_in_one_line(scenario, states):
    def message(action) -> str:
        with pytest.raises(RoadloopError) as caught:
            action()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert 'did you mean "front"?' in message(
        lambda: SensorSuite(load_rig("compact-3cam"), scenario, names=("fron",))
    )
    assert "nothing here gives cameras" in message(
        lambda: SensorSuite(load_rig("compact-3cam"), scenario)
    )
    assert 'unknown kind of capture "camera"' in message(
        lambda: SensorSuite(RIG, scenario, captures={"camera": Eyes()})
    )
    suite = suite_of(RIG, scenario)
    assert "call reset(state) first" in message(lambda: suite.observe(states[1]))
    suite.reset(states[0])
    suite.observe(states[3])
    assert re.search("seen step 3 and got step 2", message(lambda: suite.observe(states[2])))
    no_eyes = SensorSuite(load_rig("compact-3cam"), scenario, names=("imu", "gnss"))
    assert set(no_eyes.reset(states[0])["imus"]) == {"imu"}
