"""Drives simulated on the fly: what is written of the same drive, in any order, from any seat."""

from __future__ import annotations

import dataclasses
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.drivers import make_driver
from perception.detector_config import DetectorConfig
from perception.frame import INPUTS, TARGETS
from roadloop.config import load_config
from roadloop.errors import RoadloopError
from roadloop.logs.own import open_drive
from roadloop.logs.recording import Recording
from roadloop.rig import (
    CameraEffects,
    CameraSensor,
    ImuSensor,
    LidarSensor,
    Mount,
    RadarSensor,
    SensorRig,
)
from roadloop.types import AgentKind
from roadloop.weather import named_weather
from sim.record import SENSORS, record_drive
from sim.scenarios import build_scenario
from training.clips import ClipSource
from training.detector_frames import DetectorFrames, detector_spec
from training.sample_spec import SampleSpec
from training.simulated import SimulatedSource, spread
from training.simulated_data import SceneShare, SimulatedData, StreetLife
from training.simulated_drives import SimulatedDrive, simulated_recordings
from training.simulated_scenarios import street_scenario
from training.simulated_worlds import SimulatedWorld
from training.sources import LogSource

FRONT = Mount(1.5, 0.0, 1.5)
RIG = SensorRig(
    "small",
    cameras=(
        CameraSensor(
            "front", FRONT, 96, 48, 60.0, 60.0, 47.5, 23.5,
            products=("rgb", "depth", "semantic", "instance", "boxes", "flow"),
            effects=CameraEffects(noise=0.02, motion_blur=0.02),
        ),
        CameraSensor("late", FRONT, 32, 16, 20.0, 20.0, 15.5, 7.5, rate=2.5, latency=0.15),
    ),
    lidars=(
        LidarSensor("top", Mount(1.0, 0.0, 1.9), tuple(range(-20, 5, 4)), columns=180, labels=True),
    ),
    radars=(RadarSensor("radar", Mount(3.5, 0.0, 0.5)),),
    imus=(ImuSensor("imu", FRONT),),
)  # fmt: skip
BUILD = partial(
    build_scenario, "red_light", seed=1003, agents=8, duration=1.6, weather=named_weather("rain")
)
SMALL = SimulatedData(
    worlds=2, seats=2, moments=3, seconds=3.0, maps=1, effects=1.0,
    scenes=(SceneShare("cut_in", agents=6), SceneShare("pedestrian_crossing", agents=4)),
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("written")
    record_drive(BUILD(), make_driver("route-follower"), RIG, folder, every=4, lossless=True)
    return open_drive(Path(folder) / SENSORS, SENSORS)


@pytest.fixture(scope="module")
def world() -> SimulatedWorld:
    return SimulatedWorld(BUILD, every=4)


def same(a: Any, b: Any) -> None:
    for f in dataclasses.fields(b):
        left, right = getattr(a, f.name), getattr(b, f.name)
        if dataclasses.is_dataclass(right):
            same(left, right)
        else:
            np.testing.assert_array_equal(left, right, err_msg=f.name)


def test_a_simulated_drive_is_the_one_that_is_written(written: Recording) -> None:
    made = SimulatedDrive(
        SimulatedWorld(BUILD, partial(make_driver, "route-follower"), every=4), RIG
    )
    drive = pickle.loads(pickle.dumps(made.recording))  # as a loader's worker gets it
    assert drive.dt == written.dt and drive.rig == written.rig
    np.testing.assert_array_equal(drive.timestamp_us, written.timestamp_us)
    np.testing.assert_array_equal(drive.lights, written.lights)
    np.testing.assert_allclose(drive.world_from_ego, written.world_from_ego, atol=1e-12)
    np.testing.assert_allclose(drive.world_from_agent, written.world_from_agent, atol=1e-9)
    np.testing.assert_array_equal(drive.category, written.category)
    np.testing.assert_array_equal(drive.source_id, written.source_id)
    for part in ("ego", "agents"):
        mine, theirs = getattr(drive, part), getattr(written, part)
        for f in dataclasses.fields(theirs):
            if f.name != "vehicle":
                values = getattr(mine, f.name), getattr(theirs, f.name)
                np.testing.assert_allclose(*values, atol=1e-9, err_msg=f.name)
    facts = [(f.sensor, f.kind, f.timestamp_us, f.step) for f in written.frames]
    assert [(f.sensor, f.kind, f.timestamp_us, f.step) for f in drive.frames] == facts
    for k in np.random.default_rng(0).permutation(len(facts)).tolist():
        same(drive.frames[k].read(), written.frames[k].read())
    for k in range(len(written)):
        same(drive.samples(k)["imus"]["imu"], written.samples(k)["imus"]["imu"])


def test_from_another_seat_the_same_world_is_seen(world: SimulatedWorld) -> None:
    seat = int(np.flatnonzero(world.stays)[-1])
    ego, other = (SimulatedDrive(world, RIG, seat=k).recording for k in (0, seat))
    assert ego.agents is not None and other.agents is not None
    me = seat - 1  # the column of the seat in the ego's drive is that of the ego in the seat's
    place = other.world_from_ego[:, :3, 3]
    assert (np.hypot(*(place - ego.world_from_agent[:, me, :3, 3]).T[:2]) < 2.5).all()
    length = ego.ego.vehicle.length
    np.testing.assert_allclose(other.agents.length[:, me], length, atol=1e-6)
    np.testing.assert_allclose(other.agents.speed[:, me], ego.ego.speed, atol=1e-6)
    rest = np.arange(len(ego.category)) != me
    np.testing.assert_array_equal(other.agents.x[:, rest], ego.agents.x[:, rest])


def test_no_vehicle_sees_itself_and_all_see_the_ego() -> None:
    """A car behind the ego has the ego in its picture, where the ego's box is."""
    build = partial(build_scenario, "lead_vehicle_brake", seed=1001, agents=12, duration=0.4)
    world = SimulatedWorld(build, every=4)
    camera = dataclasses.replace(RIG.cameras[0], effects=CameraEffects(), products=("instance",))
    rig = SensorRig("one", cameras=(camera,))
    seen = 0
    for seat in np.flatnonzero(world.stays)[1:].tolist():
        drive = SimulatedDrive(world, rig, seat=seat).recording
        agents, shown = drive.agents, drive.frames[0].read().instance
        assert agents is not None
        pose = np.linalg.inv(drive.world_from_ego[0]) @ drive.world_from_agent[0]
        uv, inside = camera.camera.project(
            (np.linalg.inv(camera.ego_from_camera) @ (pose @ [0.0, 0.0, 0.7, 1.0])[..., None])[
                :, :3, 0
            ]
        )
        near = inside & (pose[:, 0, 3] < 30.0)
        for column in np.flatnonzero(near).tolist():
            u, v = np.rint(uv[column]).astype(int)
            number = int(agents.id[0, column])
            hidden = not (shown == number).any()
            assert hidden or number in shown[max(v - 6, 0) : v + 7, max(u - 6, 0) : u + 7]
            seen += not hidden
    assert seen


def test_seats_are_for_cars(world: SimulatedWorld) -> None:
    kind = world.traits["kind"]
    assert np.isin(kind[world.stays > 0], (AgentKind.CAR, AgentKind.VAN)).all()
    drive = SimulatedDrive(world, RIG, seat=len(kind))
    with pytest.raises(RoadloopError, match=r"seat \d+ of red_light-1003: expected 0, or the row"):
        drive.recording  # noqa: B018


def test_the_ego_drives_like_the_traffic() -> None:
    """It stops behind the car that brakes, and hits nobody."""
    build = partial(build_scenario, "lead_vehicle_brake", seed=1000, duration=12.0)
    world = SimulatedWorld(build, every=1)
    speed = world.agents["speed"][:, 0]
    assert speed[0] > 8.0 and speed.min() < 2.0
    assert all(state.hit.numpy()[0, 0] < 0 for state in world.states)


def test_recordings_for_any_source() -> None:
    cameras = (dataclasses.replace(RIG.cameras[0], products=("rgb", "boxes")),)
    rig = SensorRig("one", cameras=cameras)
    drives = simulated_recordings([BUILD, partial(BUILD, seed=1004)], rig, every=4)
    source = LogSource(drives, SampleSpec(map=True, lights=True, history=2, spacing=0.4, past=2))
    assert len(source) == 10
    sample = source.sample(4)
    assert sample["images"].shape == (1, 3, 48, 96) and sample["history_valid"].all()
    assert (sample["box_pixels"] >= 0).any() and len(sample["map_lines"])


def test_street_life_is_beside_the_road() -> None:
    plain = street_scenario(SceneShare("red_light"), 2000, 1000, 2.0, StreetLife(0, 0, 0, 0))
    life = StreetLife(walkers=5.0, riders=0.5, parked=3.0, things=3.0)
    full = street_scenario(SceneShare("red_light"), 2000, 1000, 2.0, life)
    assert plain.road_map is full.road_map
    kinds = [s.agents.states.kind for s in (plain, full)]
    assert not np.isin(kinds[0], (AgentKind.PEDESTRIAN, AgentKind.STATIC)).any()
    for kind in (AgentKind.PEDESTRIAN, AgentKind.STATIC, AgentKind.CYCLIST):
        assert (kinds[1] == kind).sum() >= 2
    ids = full.agents.states.id
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    m, states = full.road_map, full.agents.states
    driven = m.point_xyz[np.repeat(m.is_travel, np.diff(m.point_start)), :2]
    for row in np.flatnonzero(states.kind == AgentKind.STATIC):
        gap = np.hypot(*(driven - (states.x[row], states.y[row])).T).min()
        assert gap - 0.5 * states.width[row] > 1.4  # 1.75 m is the edge of a lane


def arrays(sample: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in sample.items() if isinstance(v, np.ndarray)}


def test_a_sample_depends_on_epoch_and_number_only() -> None:
    spec = SampleSpec(products=("rgb", "depth"))
    one = SimulatedSource(SMALL, spec)
    assert len(one) == 12
    order = [5, 0, 11, 5]
    first = {k: arrays(one.sample(k)) for k in order}
    two = pickle.loads(pickle.dumps(one))
    for k in sorted(set(order)):
        again = arrays(two.sample(k))
        assert again.keys() == first[k].keys()
        for key, values in again.items():
            np.testing.assert_array_equal(values, first[k][key], err_msg=key)
    later = one.in_epoch(1)
    assert later.sample(0)["drive"] != first[0].get("drive") and len(later) == 12
    assert later.in_epoch(0).sample(0)["drive"] == one.sample(0)["drive"]
    names = {one.recording(k).name for k in range(4)}
    assert len(names) == 4
    with pytest.raises(IndexError):
        one.sample(12)


def test_clips_of_simulated_drives() -> None:
    config = DetectorConfig()
    arranged = partial(ClipSource, frames=DetectorFrames(config), moments=3, gap=0.5)
    data = dataclasses.replace(SMALL, worlds=1, seats=1, moments=2, effects=0.0)
    source = SimulatedSource(data, detector_spec(config), arranged)
    clip = source.sample(1)
    assert set(TARGETS) <= set(clip) and {"images", "motion"} <= set(clip) & set(INPUTS)
    assert clip["moment_valid"].all() and clip["motion_valid"].tolist() == [False, True, True]
    assert (np.diff(clip["timestamp_us"]) == 500_000).all()
    assert clip["heat"].shape[:2] == (3, 4) and clip["heat"].max() == 1.0


def test_moments_are_spread_and_standing_is_rare() -> None:
    rng = np.random.default_rng(0)
    rows = spread(np.full(40, 5.0), 10, rng)
    assert (np.diff(rows) >= 1).all() and (rows // 4 == np.arange(10)).all()
    half = np.where(np.arange(40) < 20, 0.0, 5.0)
    assert (spread(half, 60, rng) < 20).sum() == pytest.approx(10, abs=1)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match="seeds below 100 are held out"):
        SimulatedData(seed=3)
    with pytest.raises(RoadloopError, match="worlds is 0"):
        SimulatedData(worlds=0)
    file = tmp_path / "data.yaml"
    file.write_text("scenes:\n  - {family: roundabuot, share: 1.0}\nlife: {riders: 0.5}\n")
    data = load_config(SimulatedData, file)
    assert data.life.riders == 0.5
    with pytest.raises(RoadloopError, match="roundabuot"):
        SimulatedSource(data, SampleSpec()).sample(0)
