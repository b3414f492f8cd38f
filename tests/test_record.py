"""Recording drives: the labels are true, a recording can be gone on with, mistakes cost nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadloop.cli import main
from roadloop.cli.record import seeds_of
from roadloop.datasets.convert import Task, convert_drive
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs.own import open_drive
from roadloop.logs.sensor_boxes import box_poses
from roadloop.logs.sensor_reader import SensorLogReader
from roadloop.logs.store import read_rollout
from roadloop.rig import (
    CameraSensor,
    GnssSensor,
    ImuSensor,
    LidarSensor,
    Mount,
    OdometrySensor,
    RadarSensor,
    SensorRig,
)
from roadloop.types import Control, Observation, Scenario
from roadloop.weather import Weather, named_weather, weather_of
from sim.record import record_drive
from sim.scenarios import build_scenario
from sim.sensors.fitting import fitted
from sim.simulator import SimWorld

FRONT = Mount(1.5, 0.0, 1.5)
RIG = SensorRig(
    "small",
    cameras=(
        CameraSensor(
            "front", FRONT, 96, 48, 60.0, 60.0, 47.5, 23.5,
            products=("rgb", "depth", "semantic", "instance", "boxes", "flow"),
        ),
        CameraSensor("late", FRONT, 32, 16, 20.0, 20.0, 15.5, 7.5, rate=5.0, latency=0.15),
    ),
    lidars=(
        LidarSensor("top", Mount(1.0, 0.0, 1.9), tuple(range(-20, 5, 2)), columns=360, labels=True),
    ),
    radars=(RadarSensor("radar", Mount(3.5, 0.0, 0.5)),),
    imus=(ImuSensor("imu", FRONT),),
    gnss=(GnssSensor("gnss", FRONT, dropout=0.3, dropout_time=0.3),),
    odometry=(OdometrySensor("odometry"),),
)  # fmt: skip

Capture = pytest.CaptureFixture[str]


class Coast:
    """A driver that holds what it has."""

    name = "coast"
    sensors = ()
    plan = None

    def reset(self, scenario: Scenario) -> None: ...

    def act(self, observation: Observation) -> Control:
        return Control(np.float64(0.2), np.float64(0.01))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return build_scenario("cut_in", seed=1, duration=0.8, weather=named_weather("cloudy"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> Path:
    folder = tmp_path_factory.mktemp("small") / "drive"
    recorded = record_drive(scenario, Coast(), RIG, folder, lossless=True)
    assert recorded.steps == 9 and recorded.seconds == pytest.approx(0.8)
    return folder


def same(a: Any, b: Any) -> None:
    for f in dataclasses.fields(b):
        left, right = getattr(a, f.name), getattr(b, f.name)
        if dataclasses.is_dataclass(right):
            same(left, right)
        else:
            np.testing.assert_equal(left, right, err_msg=f.name)


def test_the_log_is_what_the_sensors_gave(small: Path, scenario: Scenario) -> None:
    """A second set of the same sensors on the same drive sees the same."""
    world, driver = SimWorld(), Coast()
    observation = world.reset(scenario, ())
    suite = fitted(RIG, scenario)
    readings = suite.reset(world.state)
    read = SensorLogReader(small)
    read.verify()
    for k, got in enumerate(read):
        if k:
            observation = world.step(driver.act(observation))
            readings = suite.observe(world.state)
        for f in dataclasses.fields(observation.ego):
            if f.name != "vehicle":
                expected = getattr(observation.ego, f.name)
                np.testing.assert_allclose(getattr(got.ego, f.name), expected, atol=1e-9)
        np.testing.assert_array_equal(got.lights, observation.lights)
        for kind, expected in readings.items():
            found = getattr(got, kind)
            assert set(found) == set(expected), kind
            for name, reading in expected.items():
                if name == "late":
                    np.testing.assert_array_equal(found[name].rgb, reading.rgb)
                    assert found[name].timestamp_us == reading.timestamp_us
                else:
                    same(found[name], reading)


@pytest.mark.parametrize(
    ("every", "lossless", "blind"), [(1, True, False), (3, False, False), (2, False, True)]
)
def test_a_converted_recording_keeps_every_reading(
    tmp_path: Path, scenario: Scenario, every: int, lossless: bool, blind: bool
) -> None:
    """Late ones too, exact pictures as exact ones; twice, as steps are numbered anew."""
    rig = dataclasses.replace(
        RIG,
        cameras=() if blind else RIG.cameras,
        lidars=(dataclasses.replace(RIG.lidars[0], latency=0.12),),
    )
    first = tmp_path / "recorded" / "drive"
    record_drive(scenario, Coast(), rig, first, every=every, lossless=lossless)
    for folder in (tmp_path / "once", tmp_path / "twice"):
        assert convert_drive(Task(first.parent, "roadloop", "drive", folder / "drive")).why == ""
        one, two = open_drive(first.parent, "drive"), open_drive(folder, "drive")
        assert two.dt == one.dt == pytest.approx(0.1 * every)
        assert two.rig == rig and two.lossless == lossless and len(two.frames) > 2 * (9 // every)
        np.testing.assert_array_equal(two.timestamp_us, one.timestamp_us)
        np.testing.assert_array_equal(two.lidar_points, one.lidar_points)
        assert one.road_map is not None and two.road_map is not None
        assert two.road_map.content_hash == one.road_map.content_hash
        assert one.world_from_agent is not None and two.world_from_agent is not None
        np.testing.assert_allclose(two.world_from_agent, one.world_from_agent, atol=1e-9)
        for a, b in zip(one.frames, two.frames, strict=True):
            assert (a.sensor, a.timestamp_us, a.step) == (b.sensor, b.timestamp_us, b.step)
            np.testing.assert_allclose(a.world_from_ego, b.world_from_ego, atol=1e-9)
            reading, copy = a.read(), b.read()
            for name in ("rgb", "depth", "semantic", "instance", "flow", "boxes", "points"):
                np.testing.assert_equal(
                    seen(copy, name), seen(reading, name), err_msg=f"{a.sensor} {name}"
                )
        a, b = SensorLogReader(first), SensorLogReader(folder / "drive")
        for table in ("ego", "lights", "boxes_3d", "boxes_2d", "radar", "imu", "gnss", "odometry"):
            rows, copies = a.rows(table), b.rows(table)
            assert len(rows["step"]) or table == "lights" or (table == "boxes_2d" and blind)
            for key in set(rows) - {"step"}:
                if rows[key].dtype.kind == "f":
                    np.testing.assert_allclose(copies[key], rows[key], atol=1e-9, err_msg=key)
                else:
                    np.testing.assert_array_equal(copies[key], rows[key], err_msg=key)
        first = folder / "drive"


def seen(reading: Any, name: str) -> Any:
    found = getattr(reading, name, None)
    return dataclasses.asdict(found) if dataclasses.is_dataclass(found) else found


def test_what_a_pixel_shows_lies_in_its_3d_box(small: Path) -> None:
    """Depth, instance, calibration and 3D boxes fit together: four labels, one truth."""
    read, seen = SensorLogReader(small), 0
    for k, got in enumerate(read):
        image, boxes = got.cameras["front"], read.boxes_3d(k)
        v, u = np.nonzero(image.instance > 0)
        rays = image.camera.unproject(np.stack([u, v], axis=-1).astype(float))[0]
        depth = image.depth[v, u].astype(float)
        points = transform_points(image.ego_from_camera, rays / rays[:, 2:] * depth[:, None])
        half = np.stack([boxes[key] for key in ("length", "width", "height")], axis=-1) / 2.0
        for row, number in enumerate(boxes["id"]):
            mine = points[image.instance[v, u] == number]
            assert len(mine) == boxes["pixels"][row]
            local = transform_points(inverse(box_poses(boxes)[row]), mine)
            # mirrors stand out by less than 0.15 m; a far surface is known to about half a pixel
            assert (np.abs(local) < half[row] + 0.15 + 0.01 * np.abs(boxes["x"][row])).all()
            seen += len(mine)
    assert seen > 250


def test_points_of_an_agent_are_counted(small: Path) -> None:
    read = SensorLogReader(small)
    counted, labelled = [], []
    for k, got in enumerate(read):
        sweep, boxes = got.lidars["top"], read.boxes_3d(k)
        ids, counts = np.unique(sweep.instance[sweep.instance > 0], return_counts=True)
        by_id = dict(zip(ids.tolist(), counts.tolist()))
        counted += boxes["lidar_points"].tolist()
        labelled += [by_id.get(number, 0) for number in boxes["id"].tolist()]
    assert sum(labelled) > 60
    assert np.abs(np.array(counted) - labelled).sum() < 0.05 * sum(labelled)


def test_the_rollout_beside_it_is_of_the_same_drive(small: Path) -> None:
    rollout, read = read_rollout(small / "rollout"), SensorLogReader(small)
    assert len(rollout.time) == len(read) and read.meta["about"]["weather"]["clouds"] > 0.9
    for k, got in enumerate(read):
        assert got.ego.x == pytest.approx(rollout.ego.x[k], abs=1e-6)
        there = rollout.agents.valid[k]
        order = np.argsort(rollout.agents.id[k][there])
        states = got.tracks.states
        np.testing.assert_array_equal(states.id, rollout.agents.id[k][there][order])
        for key in ("x", "y", "vx", "vy", "heading", "length"):
            expected = getattr(rollout.agents, key)[k][there][order]
            np.testing.assert_allclose(getattr(states, key), expected, atol=1e-6)


def test_every_nth_step(tmp_path: Path, scenario: Scenario) -> None:
    rig = dataclasses.replace(RIG, cameras=(), lidars=(), radars=())
    record_drive(scenario, Coast(), rig, tmp_path, every=3)
    read = SensorLogReader(tmp_path)
    assert read.steps.tolist() == [0, 3, 6] and len(read_rollout(tmp_path / "rollout").time) == 9
    samples = [t for got in read for t in got.imus["imu"].timestamp_us.tolist()]
    assert samples == list(range(0, 600_001, 10_000))
    with pytest.raises(RoadloopError, match="every is 0"):
        record_drive(scenario, Coast(), rig, tmp_path, every=0)


# --- the command --------------------------------------------------------------------------------

OPTIONS = ["--seconds", "1", "--weather", "random"]


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "data"
    assert main(["record", "cut_in", "--seeds", "0:2", *OPTIONS, "--out", str(folder)]) == 0
    return folder


def test_a_folder_per_seed_with_all_products(recording: Path) -> None:
    weathers = []
    for seed in (0, 1):
        read = SensorLogReader(recording / f"cut_in-seed{seed}")
        assert len(read) == 11 and read.finished and read.rig.name == "compact-3cam"
        image = read[10].cameras["front-left"]
        assert image.rgb.shape == (128, 256, 3) and image.flow is None
        for product in ("depth", "semantic", "instance", "boxes"):
            assert getattr(image, product) is not None
        assert read[10].imus["imu"].timestamp_us[-1] == 1_000_000
        weathers.append(read.meta["about"]["weather"])
        assert weathers[-1] == dataclasses.asdict(weather_of("random", seed))
    assert weathers[0] != weathers[1]


def test_resuming_keeps_what_is_finished_and_records_the_rest_again(
    recording: Path, capsys: Capture
) -> None:
    """... with the same bytes as before, every file of it."""
    first, second = recording / "cut_in-seed0", recording / "cut_in-seed1"
    before, written = files(second), (first / "sensors" / "meta.json").stat().st_mtime_ns
    meta = json.loads((second / "rollout" / "meta.json").read_text())
    (second / "rollout" / "meta.json").write_text(json.dumps(meta | {"finished": False}))
    (second / "sensors" / "SHA256SUMS").unlink()
    words = ["record", "cut_in", *OPTIONS, "--out", str(recording), "--resume"]
    assert main([*words, "--seeds", "0,1", "--json"]) == 0
    logs = json.loads(capsys.readouterr().out)["logs"]
    assert [log["kept"] for log in logs] == [True, False] and logs[1]["pictures"] == 33
    assert (first / "sensors" / "meta.json").stat().st_mtime_ns == written
    assert files(second) == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--rig", "compact-3cm"], ['unknown rig "compact-3cm"', '"compact-3cam"']),
        (["--rig", "gone.yaml"], ["gone.yaml"]),
        (["--products", "rgb,dept"], ['unknown product "dept"', '"depth"']),
        (["--products", ""], ["unknown product"]),
        (["--detail", "fine"], ['unknown detail "fine"']),
        (["--weather", "rain-nigth"], ['unknown weather "rain-nigth"', '"rain-night"']),
        (["--seeds", "4:4"], ['seeds is "4:4"']),
        (["--seeds", "a"], ['seeds is "a"']),
        (["--every", "0"], ["every is 0"]),
        (["--seconds", "0"], ["seconds is 0"]),
        (["--agents", "-1"], ["agents is -1"]),
        (["--driver", "idn"], ['unknown driver "idn"']),
        (["--parameter", "x"], ["NAME=NUMBER"]),
        (["--map", "gone.xodr"], ["gone.xodr"]),
        (["--resume", "--overwrite"], ["--resume", "--overwrite"]),
        (["dense_twon"], ['unknown scenario "dense_twon"', '"dense_town"']),
    ],
)
def test_mistakes_are_said_in_one_line_before_anything_is_written(
    words: list[str], parts: list[str], tmp_path: Path, capsys: Capture
) -> None:
    assert main(["record", *words, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    for part in parts:
        assert part in shown.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken(recording: Path, capsys: Capture) -> None:
    words = ["record", "cut_in", "--out", str(recording)]
    assert main([*words, *OPTIONS]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--seconds", "2", "--weather", "random", "--resume"]) == 2
    assert "another seconds" in capsys.readouterr().err
    assert main([*words, *OPTIONS, "--products", "rgb", "--resume"]) == 2
    assert "another products" in capsys.readouterr().err


def test_seeds() -> None:
    assert seeds_of("3") == (3,)
    assert seeds_of("0:3") == (0, 1, 2)
    assert seeds_of("5, 1:3,1") == (5, 1, 2)


# --- weather ------------------------------------------------------------------------------------


def test_weather_by_name_and_by_seed(scenario: Scenario) -> None:
    assert weather_of("fog", 3) == named_weather("fog-noon")
    assert weather_of("random", 3) == weather_of("random", 3) != weather_of("random", 4)
    with pytest.raises(RoadloopError, match='unknown weather "fgo-night"; did you mean "fog-night'):
        weather_of("fgo-night", 0)
    assert scenario.weather == named_weather("cloudy")
    assert build_scenario("cut_in", seed=1, duration=0.8).weather == Weather()
