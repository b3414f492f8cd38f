"""Sensor logs: what is written comes back, others can read it, and damage is said in one line."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.sensor_boxes import box_poses
from roadloop.logs.sensor_log import SensorLogWriter
from roadloop.logs.sensor_poses import poses_of
from roadloop.logs.sensor_reader import SensorLogReader
from roadloop.logs.sensor_tables import SWEEP, TABLES
from roadloop.readings import (
    CameraImage,
    GnssFix,
    ImageBoxes,
    ImuSamples,
    LidarSweep,
    RadarScan,
    WheelOdometry,
)
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
from roadloop.types import AgentStates, EgoState, Observation, Tracks, VehicleParameters

DOCS = Path(__file__).resolve().parents[1] / "docs" / "logs.md"
MOUNT = Mount(1.0, 0.2, 1.5, yaw=0.3, pitch=0.05)
ALL = ("rgb", "depth", "semantic", "instance", "flow", "boxes")
SIZE = (48, 64)  # height, width


def camera(name: str = "front", **fields: Any) -> CameraSensor:
    return CameraSensor(name, MOUNT, SIZE[1], SIZE[0], 50.0, 51.0, 31.5, 23.5, **fields)


RIG = SensorRig(
    "test",
    cameras=(camera(products=ALL), camera("rear", products=("rgb",), rate=5.0, latency=0.1)),
    lidars=(LidarSensor("top", MOUNT, (0.0, 1.0), latency=0.2),),
    radars=(RadarSensor("radar", MOUNT), RadarSensor("bare", MOUNT)),
    imus=(ImuSensor("imu", MOUNT),),
    gnss=(GnssSensor("gnss", MOUNT),),
    odometry=(OdometrySensor("odometry"),),
)
FRONT = RIG.cameras[0]


def picture(
    rng: np.random.Generator, sensor: CameraSensor, stamp: int, ids: np.ndarray
) -> CameraImage:
    """Everything a camera may give; the values mean nothing."""
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), (0, 0), 4.0)
    depth = rng.uniform(0.5, 300.0, SIZE).astype(np.float32)
    depth[:9] = np.inf
    count = len(ids)
    edges = {f.name: rng.uniform(0, 40, count) for f in dataclasses.fields(ImageBoxes)}
    whole = {
        "id": ids,
        "kind": np.zeros(count, np.uint8),
        "pixels": np.arange(count, dtype=np.int32),
    }
    return CameraImage(
        rgb=smooth,
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=stamp,
        depth=depth,
        semantic=rng.integers(0, 29, SIZE).astype(np.uint8),
        instance=rng.integers(-40, 900, SIZE).astype(np.int32),
        flow=rng.normal(0.0, 30.0, (*SIZE, 2)).astype(np.float32),
        boxes=ImageBoxes(**{**edges, **whole}),
    )


def sweep(rng: np.random.Generator, stamp: int, points: int = 200) -> LidarSweep:
    return LidarSweep(
        points=rng.normal(0, 20, (points, 4)).astype(np.float32),
        timestamp_us=stamp,
        ring=rng.integers(0, 2, points).astype(np.uint16),
        time_offset=-rng.random(points).astype(np.float32),
        semantic=rng.integers(0, 29, points).astype(np.uint8),
        instance=rng.integers(-3, 9, points).astype(np.int32),
    )


def scan(rng: np.random.Generator, stamp: int, targets: int, bare: bool = False) -> RadarScan:
    keys = ("x", "y", "z", "radial_speed", "rcs")
    more = ("range", "azimuth", "elevation", "range_rate")
    values: dict[str, Any] = {key: rng.normal(0, 9, targets) for key in keys}
    if not bare:
        values |= {key: rng.normal(0, 9, targets) for key in more}
        values["instance"] = rng.integers(-2, 5, targets).astype(np.int32)
    return RadarScan(timestamp_us=stamp, **values)


def agents(rng: np.random.Generator, count: int = 4) -> AgentStates:
    names = ("x", "y", "z", "heading", "vx", "vy")
    return AgentStates(
        id=np.array([7, 3, 12, 5])[:count],
        kind=np.array([0, 6, 2, 5], np.uint8)[:count],
        **{key: rng.normal(0.0, 1.0, count) for key in names},
        length=np.full(count, 4.0),
        width=np.full(count, 1.8),
        height=np.full(count, 1.6),
        valid=np.ones(count, bool),
    )


def ego(step: int) -> EgoState:
    values = (3.0 + step, 1.0, 0.2, 0.4 + 0.01 * step, 8.0, 0.1, 0.02, 0.03)
    return EgoState(*(np.float64(v) for v in values), vehicle=VehicleParameters(length=4.4))


def drive(steps: int = 6, seed: int = 0) -> list[Observation]:
    """A drive as a suite gives it: late and repeated readings, a lost fix, empty scans."""
    rng = np.random.default_rng(seed)
    observations, rear, top = [], None, None
    for step in range(steps):
        now = step * 100_000
        states = agents(rng)
        if step % 2 == 1:  # 5 Hz, a step late
            rear = picture(rng, RIG.cameras[1], now - 100_000, states.id)
        if step >= 2:
            top = sweep(rng, now - 200_000)
        stamps = np.array([now - 5000, now])
        cameras = {"front": picture(rng, FRONT, now, states.id)} | ({"rear": rear} if rear else {})
        fix = GnssFix(*rng.normal(0, 50, 3), np.nan, np.nan, 8.0, 0.1, 0.7, now)
        observations.append(
            Observation(
                step=step,
                time=step * 0.1,
                dt=0.1,
                ego=ego(step),
                tracks=Tracks(states, np.zeros(4), np.full(4, step)),
                lights=rng.integers(0, 5, 3).astype(np.uint8),
                cameras=cameras,
                lidars={"top": top} if top else {},
                radars={"radar": scan(rng, now, step), "bare": scan(rng, now, 2, bare=True)},
                imus={
                    "imu": ImuSamples(stamps, rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (2, 3)))
                },
                gnss={} if step == 3 else {"gnss": fix},
                odometry={"odometry": WheelOdometry(8.0, 0.01 * step, 0.1, now)},
            )
        )
    return observations


def write(folder: Path, observations: list[Observation], rig: SensorRig = RIG, **options: Any):
    with SensorLogWriter(folder, rig, **options) as log:
        for observation in observations:
            log.append(observation)
    return SensorLogReader(folder)


def same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Equal fields, types of arrays included."""
    for f in dataclasses.fields(type(b) if dataclasses.is_dataclass(b) else b):
        left, right = getattr(a, f.name), getattr(b, f.name)
        if dataclasses.is_dataclass(right) and f.name != "camera":
            same(left, right, tolerance)
        elif isinstance(right, np.ndarray) and right.dtype.kind == "f" and tolerance:
            np.testing.assert_allclose(left, right, atol=tolerance, err_msg=f.name)
        elif isinstance(right, np.ndarray):
            assert left.dtype == right.dtype, f.name
            np.testing.assert_array_equal(left, right, err_msg=f.name)
        else:
            np.testing.assert_equal(left, right)


@pytest.fixture(scope="module")
def observations() -> list[Observation]:
    return drive()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, observations: list[Observation]) -> Path:
    folder = tmp_path_factory.mktemp("log") / "log"
    write(folder, observations, about={"seed": 3})
    return folder


# --- round trips --------------------------------------------------------------------------------


def test_a_lossless_log_gives_every_reading_back_to_the_bit(
    tmp_path: Path, observations: list[Observation]
) -> None:
    read = write(tmp_path, observations, lossless=True, flush_every=2)
    assert len(read) == len(observations) and read.finished and read.rig == RIG
    read.verify()
    for given, got in zip(observations, read):
        assert (got.step, got.time, got.dt) == (given.step, given.time, given.dt)
        same(got.ego, given.ego)
        np.testing.assert_array_equal(got.lights, given.lights)
        for kind in ("cameras", "lidars", "radars", "imus", "gnss", "odometry"):
            a, b = getattr(got, kind), getattr(given, kind)
            assert set(a) == set(b), kind
            for name in b:
                if name != "rear":
                    same(a[name], b[name])
        if "rear" in given.cameras:  # its products are only rgb
            rear = got.cameras["rear"]
            np.testing.assert_array_equal(rear.rgb, given.cameras["rear"].rgb)
            assert rear.depth is rear.semantic is rear.instance is rear.flow is rear.boxes is None
            assert rear.timestamp_us == given.cameras["rear"].timestamp_us


def test_the_usual_log_is_exact_in_labels_and_close_in_colour_depth_and_flow(
    log: Path, observations: list[Observation]
) -> None:
    for given, got in zip(observations, SensorLogReader(log)):
        a, b = got.cameras["front"], given.cameras["front"]
        np.testing.assert_array_equal(a.semantic, b.semantic)
        np.testing.assert_array_equal(a.instance, b.instance)
        same(a.boxes, b.boxes)
        assert np.abs(a.rgb.astype(int) - b.rgb.astype(int)).mean() < 2.0
        assert a.depth is not None and b.depth is not None
        np.testing.assert_array_equal(np.isinf(a.depth), np.isinf(b.depth))
        solid = np.isfinite(b.depth)
        assert np.abs(a.depth[solid] - b.depth[solid]).max() <= 0.005 + 1e-4
        assert np.abs(a.flow - b.flow).max() <= 0.5 / 64 + 1e-6


def test_tracks_come_back_from_the_boxes(log: Path, observations: list[Observation]) -> None:
    for given, got in zip(observations, SensorLogReader(log)):
        states = given.tracks.states
        order = np.argsort(states.id)
        by_id = dataclasses.replace(
            states, **{f.name: getattr(states, f.name)[order] for f in dataclasses.fields(states)}
        )
        same(got.tracks.states, by_id, tolerance=1e-9)
        np.testing.assert_array_equal(got.tracks.age, given.tracks.age)


def test_what_a_16_bit_depth_cannot_hold(tmp_path: Path, observations: list[Observation]) -> None:
    first = observations[0]
    depth = np.full(SIZE, 20.0, np.float32)
    depth[0, :5] = [0.001, 655.34, 655.36, 5000.0, -3.0]
    front = dataclasses.replace(first.cameras["front"], depth=depth)
    changed = dataclasses.replace(first, cameras={"front": front})
    got = write(tmp_path, [changed])[0].cameras["front"].depth
    np.testing.assert_allclose(got[0, :5], [0.01, 655.34, 655.35, 655.35, np.inf], atol=1e-4)


def test_boxes_are_in_the_ego_frame_and_say_what_was_seen(tmp_path: Path) -> None:
    """A car 10 m ahead and 2 m left of an ego that climbs, on the same slope."""
    rng = np.random.default_rng(1)
    world_from_ego = se3(rotation_from_euler(0.02, -0.1, 0.7), np.array([50.0, -20.0, 3.0]))
    states = dataclasses.replace(agents(rng, 1), vx=np.array([0.0]), vy=np.array([2.0]))
    ego_from_agent = se3(rotation_from_euler(0.0, 0.03, 0.5), np.array([10.0, 2.0, 0.0]))
    inside = rng.uniform(-0.49, 0.49, (30, 3)) * [4.0, 1.8, 1.4] + [0.0, 0.0, 0.8]
    outside = inside + np.array([0.0, 2.5, 0.0])
    points = np.zeros((60, 4), np.float32)
    points[:, :3] = transform_points(ego_from_agent, np.concatenate([inside, outside]))
    rig = SensorRig("one", cameras=(camera(products=("instance",)),), lidars=RIG.lidars)
    image = picture(rng, FRONT, 0, states.id)
    instance = np.zeros(SIZE, np.int32)
    instance[3:5, 6:10] = 7
    first = dataclasses.replace(
        drive(1)[0],
        ego=dataclasses.replace(ego(0), x=50.0, y=-20.0, z=3.0, heading=0.7),
        tracks=Tracks(states, np.zeros(1), np.zeros(1)),
        cameras={"front": dataclasses.replace(image, instance=instance)},
        lidars={"top": LidarSweep(points, 0)},
        radars={}, imus={}, gnss={}, odometry={},
    )  # fmt: skip
    with SensorLogWriter(tmp_path, rig) as log:
        log.append(
            first,
            world_from_ego=world_from_ego,
            world_from_agent=(world_from_ego @ ego_from_agent)[None],
        )
    boxes = SensorLogReader(tmp_path).boxes_3d(0)
    assert boxes["pixels"].tolist() == [8] and boxes["lidar_points"].tolist() == [30]
    centre = transform_points(ego_from_agent, np.array([[0.0, 0.0, 0.8]]))[0]
    np.testing.assert_allclose([boxes[key][0] for key in "xyz"], centre, atol=1e-12)
    np.testing.assert_allclose(box_poses(boxes)[0, :3, :3], ego_from_agent[:3, :3], atol=1e-12)
    velocity = inverse(world_from_ego)[:3, :3] @ [0.0, 2.0, 0.0]
    np.testing.assert_allclose([boxes[f"v{key}"][0] for key in "xyz"], velocity, atol=1e-12)
    np.testing.assert_allclose(SensorLogReader(tmp_path).world_from_ego[0], world_from_ego)


def test_late_measurements_belong_to_the_step_they_were_taken_at(log: Path) -> None:
    frames = pytest.importorskip("pandas").read_parquet(log / "frames.parquet")
    top = frames[frames.sensor == "top"]
    assert (top.step - top.label_step == 2).all() and (
        top.timestamp_us == top.label_step * 1e5
    ).all()
    np.testing.assert_allclose(top.x, 3.0 + top.label_step)
    counted = SensorLogReader(log)
    assert (counted.boxes_3d(3)["lidar_points"] >= 0).all()
    assert (counted.boxes_3d(5)["lidar_points"] == -1).all()  # its sweep had not arrived yet


def test_poses_between_steps_lie_between_them(tmp_path: Path) -> None:
    first, second = drive(2)
    late = sweep(np.random.default_rng(5), 40_000)
    second = dataclasses.replace(second, lidars={"top": late})
    write(tmp_path, [first, second])
    frames = pytest.importorskip("pandas").read_parquet(tmp_path / "frames.parquet")
    row = frames[frames.sensor == "top"]
    pose = poses_of({key: row[key].to_numpy() for key in row.columns})[0]
    np.testing.assert_allclose(pose[:2, 3], [3.4, 1.0])
    assert np.arctan2(pose[1, 0], pose[0, 0]) == pytest.approx(0.404)


def test_only_the_sensors_asked_for_are_read(
    tmp_path: Path, observations: list[Observation]
) -> None:
    write(tmp_path, observations)
    for path in [*tmp_path.glob("rgb/*/*"), *tmp_path.glob("lidar/*/*")]:
        path.unlink()
    read = SensorLogReader(tmp_path, sensors=("front", "gnss"))
    got = read[4]
    assert set(got.cameras) == {"front"} and set(got.gnss) == {"gnss"}
    assert not (got.lidars or got.radars or got.imus or got.odometry)
    assert got.cameras["front"].depth is not None  # colours are gone, but nobody looked at them
    with pytest.raises(RoadloopError, match=r"rgb/front/000004.jpg is missing"):
        _ = got.cameras["front"].rgb
    with pytest.raises(RoadloopError, match='did you mean "front"'):
        SensorLogReader(tmp_path, sensors=("fornt",))


def test_readers_and_observations_travel_to_other_processes(log: Path) -> None:
    read = pickle.loads(pickle.dumps(SensorLogReader(log)))
    image = pickle.loads(pickle.dumps(read[-1])).cameras["front"]
    assert image.rgb.shape == (*SIZE, 3)
    darker = dataclasses.replace(image, rgb=image.rgb // 2)
    assert (darker.rgb == image.rgb // 2).all() and darker.depth is not None


def test_the_same_observations_give_the_same_bytes(
    tmp_path: Path, log: Path, observations: list[Observation]
) -> None:
    write(tmp_path, observations, about={"seed": 3})
    files = sorted(p.relative_to(log) for p in log.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for file in files:
        assert (log / file).read_bytes() == (tmp_path / file).read_bytes(), file


# --- without roadloop ---------------------------------------------------------------------------


def test_others_can_read_it(log: Path, observations: list[Observation]) -> None:
    pandas = pytest.importorskip("pandas")
    given = observations[2].cameras["front"]
    frames = pandas.read_parquet(log / "frames.parquet")
    row = frames[(frames.step == 2) & (frames.sensor == "front")].set_index("kind")
    depth = cv2.imread(str(log / row.file["depth"]), cv2.IMREAD_UNCHANGED) / 100.0
    assert depth[20, 20] == pytest.approx(given.depth[20, 20], abs=0.006)
    instance = cv2.imread(str(log / row.file["instance"]), cv2.IMREAD_UNCHANGED).astype(int)
    plain = np.where(instance > 32767, instance - 65536, instance)
    np.testing.assert_array_equal(plain, given.instance)
    flow = cv2.imread(str(log / row.file["flow"]), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(float)
    assert (flow[..., 2] == 1).all()
    np.testing.assert_allclose((flow[..., :2] - 2**15) / 64, given.flow, atol=0.01)
    points = pandas.read_parquet(log / "lidar" / "top" / "000002.parquet")
    assert list(points.columns) == [column.name for column in SWEEP]
    calibration = json.loads((log / "calibration.json").read_text())["cameras"]["front"]
    np.testing.assert_array_equal(calibration["ego_from_camera"], FRONT.ego_from_camera)
    check = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=log, capture_output=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_the_page_describes_every_column(log: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    page = text[text.index("# Sensor logs") :]
    for name, columns in {**TABLES, "lidar": SWEEP}.items():
        section = re.search(
            rf"^### `sensors/{name}`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL
        )
        assert section, name
        described = re.findall(r"^\| (`.*?) \| (\S+) \| (.*?) \|", section[1], re.MULTILINE)
        cells = [
            (word, dtype, unit)
            for words, dtype, unit in described
            for word in re.findall(r"`(\w+)`", words)
        ]
        assert cells == [(c.name, c.dtype, c.unit) for c in columns], name
    meta = json.loads((log / "meta.json").read_text())
    for key in meta:
        assert f"`{key}`" in page, key


# --- filled by hand -----------------------------------------------------------------------------


def test_a_log_of_ones_own_camera(tmp_path: Path) -> None:
    """Colours and where the car was; no labels, no other sensors."""
    rig = SensorRig("mine", cameras=(camera(),))
    rgb = np.full((*SIZE, 3), 90, np.uint8)
    with SensorLogWriter(tmp_path, rig) as log:
        for step in (0, 5, 6):
            image = CameraImage(rgb, FRONT.camera, FRONT.ego_from_camera, step * 100_000)
            log.append(Observation(step, step * 0.1, 0.1, ego(step), cameras={"front": image}))
    read = SensorLogReader(tmp_path)
    assert read.steps.tolist() == [0, 5, 6]
    got = read[1]
    assert np.abs(got.cameras["front"].rgb.astype(int) - 90).max() <= 2
    assert got.tracks is got.lights is got.cameras["front"].depth is None
    same(got.ego, ego(5))


def changed(observation: Observation, **fields: Any) -> Observation:
    """With other fields of the front camera's picture."""
    image = dataclasses.replace(observation.cameras["front"], **fields)
    return dataclasses.replace(observation, cameras={"front": image})


def with_nan(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flat[3] = np.nan
    return values


BAD_IMAGES = {
    "rgb has shape \\(48, 60, 3\\), must be \\(48, 64, 3\\)": lambda i: {"rgb": i.rgb[:, :60]},
    "rgb is float64, must be uint8": lambda i: {"rgb": i.rgb / 255.0},
    "depth holds NaN": lambda i: {"depth": with_nan(i.depth)},
    "depth is float64": lambda i: {"depth": i.depth.astype(float)},
    "gives no semantic": lambda i: {"semantic": None},
    "semantic is int64": lambda i: {"semantic": i.semantic.astype(int)},
    "instance 40000 does not fit": lambda i: {"instance": np.full(SIZE, 40000, np.int32)},
    "flow has shape \\(48, 64\\)": lambda i: {"flow": i.flow[..., 0]},
    "flow holds NaN": lambda i: {"flow": with_nan(i.flow)},
    "boxes: left holds NaN": lambda i: {
        "boxes": dataclasses.replace(i.boxes, left=with_nan(i.boxes.left))
    },
    "calibration is not that of the rig": lambda i: {"ego_from_camera": np.eye(4)},
    "measured at 9000000 us, but the step is at 0.0": lambda i: {"timestamp_us": 9_000_000},
}


@pytest.mark.parametrize("said", BAD_IMAGES)
def test_wrong_pictures_are_refused(
    said: str, tmp_path: Path, observations: list[Observation]
) -> None:
    first = observations[0]
    bad = changed(first, **BAD_IMAGES[said](first.cameras["front"]))
    with pytest.raises(RoadloopError, match=said) as error, SensorLogWriter(tmp_path, RIG) as log:
        log.append(bad)
    assert "\n" not in str(error.value) and "step 0" in str(error.value)


BAD_STEPS = {
    "ego.speed is nan": lambda o: {"ego": dataclasses.replace(o.ego, speed=np.float64(np.nan))},
    "ego.x has shape": lambda o: {"ego": dataclasses.replace(o.ego, x=np.zeros(2))},
    'unknown sensor among the cameras of rig test "front-left"': lambda o: {
        "cameras": {"front-left": o.cameras["front"]}
    },
    "points has shape": lambda o: {"lidars": {"top": LidarSweep(np.zeros((5, 3), np.float32), 0)}},
    "1 points are not finite": lambda o: {
        "lidars": {"top": LidarSweep(with_nan(np.zeros((5, 4), np.float32)), 0)}
    },
    "ring has shape": lambda o: {
        "lidars": {"top": LidarSweep(np.zeros((5, 4), np.float32), 0, ring=np.zeros(4, np.uint16))}
    },
    "radar radar: x holds NaN": lambda o: {
        "radars": {"radar": RadarScan(*(np.full(1, np.nan),) * 5, timestamp_us=0)}
    },
    "occurs twice": lambda o: {
        "tracks": dataclasses.replace(
            o.tracks, states=dataclasses.replace(o.tracks.states, id=np.ones(4, int))
        )
    },
    "agent 3: its box has a length": lambda o: {
        "tracks": dataclasses.replace(
            o.tracks,
            states=dataclasses.replace(o.tracks.states, length=np.array([1.0, np.inf, 1.0, 1.0])),
        )
    },
    "lights has shape": lambda o: {"lights": np.array([[9]])},
}


@pytest.mark.parametrize("said", BAD_STEPS)
def test_wrong_steps_are_refused(
    said: str, tmp_path: Path, observations: list[Observation]
) -> None:
    bad = dataclasses.replace(observations[0], **BAD_STEPS[said](observations[0]))
    with pytest.raises(RoadloopError, match=said) as error, SensorLogWriter(tmp_path, RIG) as log:
        log.append(bad)
    assert "\n" not in str(error.value)


def test_order_and_time_are_checked(tmp_path: Path, observations: list[Observation]) -> None:
    first, second = observations[:2]
    with SensorLogWriter(tmp_path, RIG) as log:
        log.append(first)
        with pytest.raises(RoadloopError, match="step 0 after step 0"):
            log.append(first)
        with pytest.raises(RoadloopError, match="another measurement of 0 us"):
            log.append(changed(second, timestamp_us=0))
        with pytest.raises(RoadloopError, match="has no tracks unlike"):
            log.append(dataclasses.replace(second, tracks=None))
        with pytest.raises(RoadloopError, match="no rigid transform"):
            log.append(second, world_from_ego=2.0 * np.eye(4))
        with pytest.raises(RoadloopError, match="m from the ego's x, y, z"):
            log.append(second, world_from_ego=np.eye(4))
    with pytest.raises(RoadloopError, match="closed"):
        log.append(second)


def test_a_rig_is_needed(tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match="needs a SensorRig, got NoneType"):
        SensorLogWriter(tmp_path, None)  # type: ignore[arg-type]


# --- killed, interrupted, damaged ---------------------------------------------------------------


def test_a_killed_process_leaves_a_readable_log(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_sensor_log import RIG, SensorLogWriter, drive
        log = SensorLogWriter({str(tmp_path)!r}, RIG, flush_every=3)
        for observation in drive(12):
            log.append(observation)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert run.returncode == -signal.SIGKILL
    read = SensorLogReader(tmp_path)
    assert not read.finished and 6 <= len(read) < 12
    for given, got in zip(drive(12), read):
        np.testing.assert_array_equal(
            got.cameras["front"].instance, given.cameras["front"].instance
        )
        assert len(got.tracks.states.id) == 4
        assert (read.boxes_3d(got.step)["lidar_points"] >= 0).all()
    with pytest.raises(RoadloopError, match="was not closed"):
        read.verify()


def test_an_interrupted_drive_is_closed_as_such(
    tmp_path: Path, observations: list[Observation]
) -> None:
    with pytest.raises(KeyboardInterrupt), SensorLogWriter(tmp_path, RIG) as log:
        log.append(observations[0])
        raise KeyboardInterrupt
    read = SensorLogReader(tmp_path)
    assert not read.finished and len(read) == 1
    read.verify()


@pytest.mark.parametrize("when", [3, 9, 17, 21])
def test_an_interrupt_at_any_time_loses_no_step_before_it(
    when: int, tmp_path: Path, observations: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the so manyth file is written, be it a picture or a part of a table."""
    from roadloop.logs import sensor_log

    real, calls = sensor_log.write_file, iter(range(1000))

    def stopped(folder: Path, name: str, content: bytes) -> str:
        if next(calls) == when:
            raise KeyboardInterrupt
        return real(folder, name, content)

    done = 0
    with (
        pytest.raises(KeyboardInterrupt),
        SensorLogWriter(tmp_path, RIG, flush_every=1) as log,
    ):
        monkeypatch.setattr(sensor_log, "write_file", stopped)
        for done, observation in enumerate(observations):  # noqa: B007
            log.append(observation)
    if done == 0:
        assert not (tmp_path / "SHA256SUMS").exists()
        return
    read = SensorLogReader(tmp_path)
    read.verify()
    assert len(read) in (done, done + 1)  # the step itself may be complete, and only its part not
    for given, got in zip(observations, read):
        assert len(got.tracks.states.id) == 4 and set(got.radars) == set(given.radars)
        np.testing.assert_array_equal(got.radars["radar"].x, given.radars["radar"].x)
        np.testing.assert_array_equal(
            got.cameras["front"].instance, given.cameras["front"].instance
        )


def test_a_log_is_replaced_only_when_asked(tmp_path: Path, observations: list[Observation]) -> None:
    write(tmp_path, observations)
    (tmp_path / "rgb" / "notes.txt").write_text("mine")
    with pytest.raises(RoadloopError, match="already holds a sensor log"):
        SensorLogWriter(tmp_path, RIG)
    read = write(tmp_path, observations[:2], overwrite=True, lossless=True)
    read.verify()
    assert len(read) == 2 and (tmp_path / "rgb" / "notes.txt").exists()
    assert not list(tmp_path.glob("rgb/*/*.jpg")) and not (tmp_path / "lidar").exists()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize(
    "file",
    ["rgb/front/000001.jpg", "depth/front/000001.png", "lidar/top/000003.parquet",
     "ego.parquet/part-00000.parquet", "boxes_2d.parquet/part-00000.parquet", "meta.json"],
)  # fmt: skip
def test_damage_and_loss_are_said_in_one_line(
    file: str, closed: bool, tmp_path: Path, observations: list[Observation]
) -> None:
    write(tmp_path, observations)
    if not closed:
        (tmp_path / "SHA256SUMS").unlink()

    def look() -> None:
        for observation in SensorLogReader(tmp_path):
            for image in observation.cameras.values():
                _ = image.rgb, image.depth

    damage(tmp_path / file)
    expected = "differs from its checksum" if closed else "truncated|damaged"
    with pytest.raises(RoadloopError, match=expected) as error:
        look()
    assert file in str(error.value) and "\n" not in str(error.value)
    (tmp_path / file).unlink()
    if closed or file.split("/")[0] not in ("boxes_2d.parquet",):
        with pytest.raises(RoadloopError, match=r"is missing|has no meta|no step"):
            look()


def test_a_lossless_picture_that_was_cut_is_refused(
    tmp_path: Path, observations: list[Observation]
) -> None:
    write(tmp_path, observations[:1], lossless=True)
    (tmp_path / "SHA256SUMS").unlink()
    for file in ("depth/front/000000.npz", "rgb/front/000000.png"):
        damage(tmp_path / file)
    image = SensorLogReader(tmp_path)[0].cameras["front"]
    for kind in ("depth", "rgb"):
        with pytest.raises(RoadloopError, match="truncated") as error:
            getattr(image, kind)
        assert "\n" not in str(error.value)


def test_a_newer_schema_and_other_folders_are_refused(
    tmp_path: Path, observations: list[Observation]
) -> None:
    with pytest.raises(RoadloopError, match="is not a sensor log"):
        SensorLogReader(tmp_path)
    write(tmp_path, observations[:1])
    (tmp_path / "SHA256SUMS").unlink()
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"schema_version": 99}))
    with pytest.raises(RoadloopError, match="schema 99"):
        SensorLogReader(tmp_path)
