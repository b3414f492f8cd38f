"""A driver that sees with the network alone: nothing of the truth, every failure told."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from tiny_detector import TINY, tiny_checkpoint

from deploy import detectors
from deploy.drivers import make_driver
from deploy.seeing import Seeing, carried_on
from deploy.stack import Stack
from perception.detector import CameraDetector, checkpoint_label
from perception.objects import BOX_CHANNELS, VARIANCE_CHANNELS
from planning.controllers import TrackingController
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.readings import CameraImage
from roadloop.types import AgentKind, Control, Observation, Scenario
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld

Array = np.ndarray
FRONT = ("front", "front-narrow")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Alone on a straight road, at speed from the start."""
    return build_scenario("lead_vehicle_brake", seed=1000, duration=3.0)


class Broken:
    """The simulator, with sensors that fail and without the truth where that is asked for."""

    def __init__(
        self,
        break_camera: Callable[[int, str, CameraImage], CameraImage | None] | None = None,
        truth: bool = True,
    ) -> None:
        self._world = SimWorld()
        self._break = break_camera
        self._truth = truth

    def reset(self, scenario: Scenario, sensors: tuple[str, ...]) -> Observation:
        assert not {"tracks", "lights"} & set(sensors)
        return self._shown(self._world.reset(scenario, sensors))

    def step(self, control: Control) -> Observation:
        return self._shown(self._world.step(control))

    def _shown(self, observation: Observation) -> Observation:
        if not self._truth:
            observation = dataclasses.replace(observation, tracks=None, lights=None)
        if self._break is None:
            return observation
        seen = {k: self._break(observation.step, k, v) for k, v in observation.cameras.items()}
        cameras = {name: image for name, image in seen.items() if image is not None}
        return dataclasses.replace(observation, cameras=cameras)


class Notes:
    """What was asked of the car, step by step."""

    def __init__(self, driver: Stack) -> None:
        self.driver = driver
        self.rows: list[tuple[float, ...]] = []
        self.faults: list[tuple[str, ...]] = []
        self.reasons: list[str] = []

    def append(self, observation: Observation, control: Control, plan: object) -> None:
        ego = observation.ego
        values = (ego.x, ego.y, ego.speed, control.acceleration, control.steering)
        self.rows.append(tuple(float(v) for v in values))
        self.faults.append(self.driver.faults)
        self.reasons.append(self.driver.reason)


def driven(driver: Driver, scenario: Scenario, world: Broken) -> Notes:
    assert isinstance(driver, Stack)
    notes = Notes(driver)
    drive_scenario(scenario, driver, world, writer=notes)
    return notes


def engine(
    cell: tuple[int, int] | None = None, velocity: float = 0.0
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Sees a car of 4.5 x 1.8 x 1.5 m in one cell, always; its state counts the moments."""

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        shape = TINY.grid.shape
        h, w = TINY.size[1] // 8, TINY.size[0] // 8
        heat = np.full((4, *shape), -8.0, np.float32)
        box = np.zeros((len(BOX_CHANNELS), *shape), np.float32)
        if cell is not None:
            heat[0, cell[0], cell[1]] = 3.0
        box[2] = 0.75
        box[3:6] = np.log([4.5, 1.8, 1.5])[:, None, None]
        box[6], box[8], box[9] = 1.0, 4.0, velocity
        return {
            "heat": heat,
            "box": box,
            "box_log_var": np.full((len(VARIANCE_CHANNELS), *shape), -2.0, np.float32),
            "raster": np.zeros((6, *shape), np.float32),
            "lane": np.zeros((3, *shape), np.float32),
            "light_heat": np.full((2, 1, h, w), -8.0, np.float32),
            "light_box": np.zeros((2, 4, h, w), np.float32),
            "light_state": np.zeros((2, 4, h, w), np.float32),
            "state": inputs["state"] + 1.0,
        }

    return run


def stack(run: Callable[[Mapping[str, Array]], dict[str, Array]]) -> Stack:
    seeing = Seeing(CameraDetector(TINY, run))
    return Stack("made up", seeing, RouteFollower(), TrackingController())


# --- driving ------------------------------------------------------------------------------------


def test_the_same_drive_gives_the_same_bytes_and_needs_no_truth(checkpoint, scenario):
    short = dataclasses.replace(scenario, duration=1.2)
    driver = make_driver("route-follower", perception=str(checkpoint))
    assert driver.sensors == ("rig:compact",)
    first = driven(driver, short, Broken())
    again = driven(driver, short, Broken(truth=False))
    other = driven(
        make_driver("route-follower", perception=str(checkpoint.parent)), short, Broken()
    )
    assert first.rows == again.rows == other.rows
    assert first.faults[-1] == ()


def test_without_a_map_it_drives_by_what_it_sees(checkpoint, scenario):
    short = dataclasses.replace(scenario, duration=1.0)
    driver = make_driver("mapless", perception=str(checkpoint))
    driven(driver, short, Broken())
    assert driver.plan is not None and driver.reason  # whatever an untrained network sees


def test_what_the_network_sees_is_what_the_planner_brakes_for(scenario):
    alone = dataclasses.replace(scenario, duration=1.0)
    free = driven(stack(engine()), alone, Broken()).rows
    ahead = driven(stack(engine((12, 8))), alone, Broken())
    assert free[-1][2] > free[0][2] - 0.5
    assert ahead.rows[-1][3] < -2.0 and "following car" in ahead.reasons[-1]


def test_a_car_ahead_is_a_track_in_the_world(scenario):
    driver = stack(engine((10, 9), velocity=float(scenario.ego.speed)))
    driver.reset(scenario)
    world = SimWorld()
    observation = world.reset(scenario, driver.sensors)
    for _ in range(6):
        observation = world.step(driver.act(observation))
    tracks = driver.tracker.update(observation)
    ego = observation.ego
    cell = TINY.grid.centres()[10, 9]
    c, s = np.cos(float(ego.heading)), np.sin(float(ego.heading))
    x = float(ego.x) + c * cell[0] - s * cell[1]
    y = float(ego.y) + s * cell[0] + c * cell[1]
    assert len(tracks.age) == 1
    states = tracks.states
    assert np.hypot(states.x[0] - x, states.y[0] - y) < 1.0
    assert states.kind[0] == AgentKind.CAR and abs(states.z[0] - float(ego.z)) < 0.3
    assert abs(states.heading[0] - float(ego.heading)) < 0.1


def test_each_step_goes_on_from_the_state_of_half_a_second_ago(scenario):
    used: list[tuple[float, bool, float]] = []
    plain = engine()

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        state, motion = inputs["state"], inputs["motion"]
        used.append((float(state.max()), bool(inputs["state_valid"]), float(motion[0])))
        return plain(inputs)

    driver = stack(run)
    rows = driven(driver, dataclasses.replace(scenario, duration=1.2), Broken()).rows
    assert [valid for _, valid, _ in used] == [False] * 5 + [True] * 8
    assert [count for count, _, _ in used] == [0.0] * 5 + [1.0] * 5 + [2.0] * 3
    moved = np.hypot(rows[8][0] - rows[3][0], rows[8][1] - rows[3][1])
    assert used[8][2] == pytest.approx(moved, rel=1e-3)


def test_every_stage_is_timed_and_times_change_nothing(scenario):
    driver = stack(engine())
    driven(driver, dataclasses.replace(scenario, duration=0.5), Broken())
    times = driver.timings()
    assert list(times)[-1] == "all"
    names = {"rectify", "network", "decode", "track", "lights", "plan", "control", "all"}
    assert set(times) == names
    assert times["all"].budget == 100.0
    parts = sum(t.median for name, t in times.items() if name != "all")
    assert 0.3 * times["all"].median < parts
    assert all(0.0 < t.median <= t.p95 for t in times.values())


# --- failing ------------------------------------------------------------------------------------


def black(image: CameraImage) -> CameraImage:
    return dataclasses.replace(image, rgb=np.zeros_like(image.rgb))


def test_cameras_lost_on_the_way_are_told_and_the_car_stops_in_its_lane(scenario):
    """The wide front camera goes black after 1 s, the narrow one is silent from 1.5 s on."""

    def fail(step: int, name: str, image: CameraImage) -> CameraImage | None:
        if name == "front" and step >= 10:
            return black(image)
        return None if name == "front-narrow" and step >= 15 else image

    longer = dataclasses.replace(scenario, duration=9.0)
    notes = driven(stack(engine()), longer, Broken(fail))
    assert notes.faults[9] == ()
    assert notes.faults[10] == ('camera "front" is black (since 1.0 s)',)
    assert "sees nothing" not in notes.reasons[14]
    assert 'front-narrow" gives no pictures (since 1.5 s)' in notes.faults[15][1]
    assert notes.reasons[15].startswith("sees nothing ahead: camera")
    rows = np.array(notes.rows)
    assert rows[14, 2] > 5.0 and rows[-1, 2] < 0.05
    braking = rows[15:, 3]
    assert -4.0 < braking.min() < -2.0
    assert np.ptp(rows[15:, 1]) < 0.1  # the road is straight along x


def test_a_frozen_camera_is_told_and_one_that_comes_back_is_used_again(scenario):
    kept: dict[str, Array] = {}

    def fail(step: int, name: str, image: CameraImage) -> CameraImage:
        if name != "front-left" or not 5 <= step < 12:
            return image
        return dataclasses.replace(image, rgb=kept.setdefault(name, image.rgb))

    notes = driven(stack(engine()), dataclasses.replace(scenario, duration=2.0), Broken(fail))
    told = [k for k, lines in enumerate(notes.faults) if lines]
    assert told == list(range(8, 16))
    assert "frozen" in notes.faults[8][0]


def test_a_camera_that_is_not_trusted_shows_no_lights(scenario):
    plain = engine()

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = plain(inputs)
        outputs["light_heat"][:, 0, 1, 1] = 3.0
        return outputs

    def fail(step: int, name: str, image: CameraImage) -> CameraImage:
        return black(image) if name == "front" and step >= 3 else image

    for broken, cameras in ((None, [0, 1]), (fail, [0])):
        driver = stack(run)
        driven(driver, dataclasses.replace(scenario, duration=0.5), Broken(broken))
        assert driver.sight is not None and driver.sight.percept is not None
        assert driver.sight.percept.lights.camera.tolist() == cameras


def test_without_any_picture_nothing_is_run_and_tracks_are_carried_on(scenario):
    def fail(step: int, name: str, image: CameraImage) -> CameraImage | None:
        return None if step >= 8 else image

    calls: list[int] = []
    plain = engine((10, 8), velocity=8.0)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        calls.append(1)
        return plain(inputs)

    driver = stack(run)
    driven(driver, dataclasses.replace(scenario, duration=1.5), Broken(fail))
    assert len(calls) == 8
    seeing = driver.tracker
    assert isinstance(seeing, Seeing) and seeing.blind and len(seeing.faults) == 4
    late = carried_on(seeing._tracks, 0.5)
    moved = late.states.x - seeing._tracks.states.x
    assert np.allclose(moved, 0.5 * late.states.vx) and len(moved) == 1


# --- names and mistakes -------------------------------------------------------------------------


def test_the_name_tells_the_checkpoint(checkpoint, tmp_path):
    driver = make_driver(
        "route-follower", perception=str(checkpoint), settings=["time_headway=1.5"]
    )
    name, _, digest = driver.name.rpartition("@")
    assert name == "route-follower[time_headway=1.5]+tiny" and len(digest) == 8
    other = tmp_path / "mine.safetensors"
    other.write_bytes(checkpoint.read_bytes() + b" ")
    label = checkpoint_label(other)
    assert label.startswith("mine@") and label != f"mine@{digest}"


def test_the_shipped_detector_is_used_by_name(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "WEIGHTS", tmp_path)
    with pytest.raises(RoadloopError, match="--config detector_compact"):
        make_driver("route-follower", perception="compact")
    (tmp_path / "compact.safetensors").write_bytes(checkpoint.read_bytes())
    assert make_driver("route-follower", perception="compact").name.startswith(
        "route-follower+compact@"
    )


def test_files_that_are_no_checkpoint_are_named_in_one_line(tmp_path, checkpoint):
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(checkpoint.read_bytes()[:5000])
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        str(pickled): "pickled",
        str(torn): "damaged",
        str(empty): "holds no detector.safetensors",
        str(tmp_path / "none.safetensors"): "no such file",
        "compakt": 'unknown perception "compakt": expected truth, noisy',
    }
    for name, message in cases.items():
        with pytest.raises(RoadloopError, match=message) as error:
            make_driver("route-follower", perception=name)
        assert "\n" not in str(error.value)


def test_a_policy_does_not_take_a_network(checkpoint):
    with pytest.raises(RoadloopError, match="sees tracks, not pictures"):
        make_driver("policy:runs/none", perception=str(checkpoint))


def test_without_the_extra_it_is_named(checkpoint, missing="torch"):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from deploy.drivers import make_driver\n"
        f"make_driver('rule', perception={str(checkpoint)!r})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert f'needs {missing}: pip install "roadloop[train]"' in run.stderr.splitlines()[-1]


def test_a_rig_without_the_needed_cameras_is_refused(checkpoint):
    with pytest.raises(RoadloopError, match="rig openpilot has no camera for front-left"):
        CameraDetector.load(checkpoint, rig="openpilot")
