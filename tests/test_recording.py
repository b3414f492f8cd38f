"""Recordings: our own logs opened as one, any recording written as a log of ours, and by hand."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import runpy
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas
import pytest
from hand_map import HandLane, HandMap, straight

from roadloop.datasets.formats import list_drives, open_recording
from roadloop.datasets.motion import ego_of_poses, poses_at, velocities
from roadloop.datasets.source import picture
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points, wrap_angle
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.own import open_drive
from roadloop.logs.recording import Frame, Recording
from roadloop.logs.writer import write_recording
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.types import AgentKind, AgentStates, VehicleParameters

DOCS = Path(__file__).resolve().parents[1] / "docs" / "logs.md"
STEPS = 12
CAMERA = CameraSensor("front", Mount(1.6, 0.1, 1.4, yaw=0.1), 64, 48, 50.0, 50.0, 31.5, 23.5)
RIG = SensorRig("car", cameras=(CAMERA,), lidars=(LidarSensor("top", Mount(1.0, 0.0, 1.8), ()),))


def poses() -> np.ndarray:
    """(T, 4, 4) of a car that turns left while it climbs."""
    yaw = np.linspace(0.0, 0.6, STEPS)
    place = np.stack([np.linspace(0.0, 11.0, STEPS), yaw * 3.0, yaw], axis=-1)
    level = np.zeros(STEPS)
    return se3(rotation_from_euler(level, level - 0.05, yaw), place)


def agents() -> AgentStates:
    """Two cars; the second one is there from step 4."""
    t = np.arange(STEPS)[:, None] * np.ones((1, 2))
    valid = np.array([[True, k >= 4] for k in range(STEPS)])
    x = np.array([[20.0, 40.0]]) + t * 0.5
    full = {"length": 4.5, "width": 1.8, "height": 1.5}
    return AgentStates(
        id=np.broadcast_to([5, 9], (STEPS, 2)).copy(),
        kind=np.full((STEPS, 2), AgentKind.CAR, np.uint8),
        x=x, y=np.full((STEPS, 2), 3.0), z=np.full((STEPS, 2), 0.2),
        heading=np.full((STEPS, 2), 0.3), vx=np.full((STEPS, 2), 5.0), vy=np.zeros((STEPS, 2)),
        **{key: np.full((STEPS, 2), value) for key, value in full.items()}, valid=valid,
    )  # fmt: skip


def road():
    return HandMap([HandLane(straight((0.0, 0.0), (90.0, 0.0)))]).build()


def sweep(k: int) -> LidarSweep:
    points = np.arange(40, dtype=np.float32).reshape(10, 4) + k
    points[:, 3] = 0.5
    return LidarSweep(points, timestamp_us=k * 100_000)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Pictures 40 ms before every second step, a sweep at every step."""
    folder = tmp_path_factory.mktemp("pictures")
    stamps = np.arange(STEPS) * 100_000
    frames = []
    where = poses()
    for k in range(STEPS):
        frames.append(Frame("top", "lidar", int(stamps[k]), k, where[k], partial(sweep, k)))
        if k % 2:
            path = folder / f"{k}.jpg"
            noise = np.random.default_rng(k).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(path), noise)
            stamp = int(stamps[k]) - 40_000
            moved = poses_at(where, stamps, np.array([stamp]))[0]
            read = partial(picture, CAMERA, path, stamp)
            frames.append(Frame("front", "camera", stamp, k, moved, read))
    frames.sort(key=lambda frame: (frame.timestamp_us, frame.sensor))
    there = agents()
    return Recording(
        name="drive-1", dataset="test", dt=0.1, timestamp_us=stamps,
        ego=ego_of_poses(where, stamps, VehicleParameters()), world_from_ego=where, rig=RIG,
        agents=there, category=np.array(["vehicle.car", "vehicle.van"]),
        source_id=np.array(["a-b-c", "d-e-f"]), labelled=np.arange(STEPS) % 3 == 0,
        lidar_points=np.where(there.valid, 17, -1).astype(np.int32),
        lights=np.zeros((STEPS, 0), np.uint8), load_map=road, frames=tuple(frames),
        about={"start_us": 1_500_000_000_000_000, "licence": "ours"}, notes=("nothing left out",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "drive-1"
    report = write_recording(recording, folder)
    assert (report.steps, report.agents, report.images, report.sweeps) == (STEPS, 2, 6, STEPS)
    assert report.lanes == 1
    return folder


def test_everything_of_a_recording_comes_back(recording: Recording, written: Path) -> None:
    back = open_recording(written)
    assert back.timestamp_us.tolist() == recording.timestamp_us.tolist()
    np.testing.assert_allclose(back.world_from_ego, recording.world_from_ego, atol=1e-9)
    for key in ("x", "speed", "acceleration", "steering", "yaw_rate", "heading"):
        np.testing.assert_allclose(getattr(back.ego, key), getattr(recording.ego, key), atol=1e-9)
    a, b = recording.agents, back.agents
    assert a is not None and b is not None
    assert (a.valid == b.valid).all()
    for key in ("id", "kind", "x", "y", "z", "heading", "vx", "vy", "length", "width", "height"):
        got, want = getattr(b, key)[b.valid], getattr(a, key)[a.valid]
        np.testing.assert_allclose(got, want, atol=1e-9, err_msg=key)
    assert back.category.tolist() == recording.category.tolist()
    assert back.source_id.tolist() == recording.source_id.tolist()
    assert back.is_labelled.tolist() == recording.is_labelled.tolist()
    assert back.lidar_points is not None and recording.lidar_points is not None
    assert (back.lidar_points == recording.lidar_points).all()
    assert back.road_map is not None and recording.road_map is not None
    np.testing.assert_array_equal(back.road_map.point_xyz, recording.road_map.point_xyz)
    assert back.notes == recording.notes and back.about["licence"] == "ours"
    assert [f.timestamp_us for f in back.frames] == [f.timestamp_us for f in recording.frames]
    for f, g in zip(back.frames, recording.frames):
        assert (f.sensor, f.kind, f.step) == (g.sensor, g.kind, g.step)
        np.testing.assert_allclose(f.world_from_ego, g.world_from_ego, atol=1e-9)
    for k in range(STEPS):
        ours, theirs = back[k], recording[k]
        np.testing.assert_array_equal(ours.lidars["top"].points, theirs.lidars["top"].points)
        assert ours.cameras.keys() == theirs.cameras.keys()
        for name in ours.cameras:
            np.testing.assert_array_equal(ours.cameras[name].rgb, theirs.cameras[name].rgb)


def test_pictures_are_copied_to_the_byte(recording: Recording, written: Path) -> None:
    image = recording[1].cameras["front"]
    assert isinstance(image, LoggedImage) and image.encoded is not None
    assert (written / "rgb/front/000001.jpg").read_bytes() == image.encoded()


def test_a_copy_of_a_log_has_the_same_files(written: Path, tmp_path: Path) -> None:
    """Poses and boxes are calculated anew, and may differ in the last digit."""
    write_recording(open_recording(written), tmp_path / "drive-1")
    names = {path.relative_to(written) for path in written.rglob("*")}
    assert names == {p.relative_to(tmp_path / "drive-1") for p in (tmp_path / "drive-1").rglob("*")}
    for name in names:
        if name.parts[0] in ("rgb", "lidar", "map.npz", "rig.yaml", "objects.parquet"):
            copy, path = tmp_path / "drive-1" / name, written / name
            assert path.is_dir() or copy.read_bytes() == path.read_bytes(), name


@pytest.mark.parametrize("end", [".jpg", ".png"])
def test_a_cut_picture_of_a_data_set_is_refused(tmp_path: Path, end: str) -> None:
    """OpenCV fills the rest with grey, of a PNG too, as KITTI has them."""
    smooth = cv2.resize(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, (64, 48))
    path = tmp_path / f"picture{end}"
    cv2.imwrite(str(path), np.dstack([smooth] * 3))
    content = path.read_bytes()
    assert picture(CAMERA, path, 0).rgb.shape == (48, 64, 3)
    path.write_bytes(content + bytes(20))  # padding
    assert picture(CAMERA, path, 0).rgb.shape == (48, 64, 3)
    damaged = [content[:kept] for kept in (0, 1, 8, 11, len(content) // 2, len(content) - 1)]
    if end == ".png":
        damaged += [content[:60] + bytes([content[60] ^ 1]) + content[61:]]  # of which a CRC tells
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(RoadloopError, match="truncated or not a picture"):
            _ = picture(CAMERA, path, 0).rgb


def test_an_edit_changes_only_its_pictures(recording: Recording, tmp_path: Path) -> None:
    def black(name: str, image):
        rgb = np.zeros_like(image.rgb)
        return LoggedImage.of(
            {"rgb": lambda: rgb}, camera=image.camera, ego_from_camera=image.ego_from_camera,
            timestamp_us=image.timestamp_us, boxes=None,
        )  # fmt: skip

    write_recording(recording, tmp_path / "black", edit=black)
    assert open_recording(tmp_path / "black")[3].cameras["front"].rgb.max() == 0


def test_frames_travel_to_other_processes(written: Path) -> None:
    back = open_recording(written)
    again = pickle.loads(pickle.dumps(back.frames[1]))
    assert again.sensor == back.frames[1].sensor
    assert again.read().timestamp_us == back.frames[1].read().timestamp_us


def test_nothing_half_written_is_left(recording: Recording, tmp_path: Path) -> None:
    def broken() -> None:
        raise RoadloopError("sweeps/7.bin is truncated")

    frames = list(recording.frames)
    frames[9] = dataclasses.replace(frames[9], read=broken)
    with pytest.raises(RoadloopError, match="truncated"):
        write_recording(dataclasses.replace(recording, frames=tuple(frames)), tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_not_replaced_unasked(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(RoadloopError, match="use --overwrite"):
        write_recording(recording, tmp_path / "log")


def test_a_folder_of_logs_lists_them(written: Path) -> None:
    assert list_drives(written.parent, "roadloop") == ("roadloop", ["drive-1"])
    with pytest.raises(RoadloopError, match='unknown drive "drive-2"'):
        open_recording(written.parent, "drive-2", "roadloop")
    with pytest.raises(RoadloopError, match="does not exist"):
        list_drives(written / "nowhere")
    with pytest.raises(RoadloopError, match="unknown format"):
        list_drives(written, "kity")


def test_shapes_and_times_are_checked(recording: Recording) -> None:
    with pytest.raises(RoadloopError, match="time does not increase from step 3 to step 4"):
        stamps = recording.timestamp_us.copy()
        stamps[4] = stamps[3]
        dataclasses.replace(recording, timestamp_us=stamps)
    with pytest.raises(RoadloopError, match="category has shape"):
        dataclasses.replace(recording, category=np.array(["one"]))
    with pytest.raises(RoadloopError, match="unknown sensor"):
        recording.observation(0, sensors=("rear",))


def test_the_script_of_the_page_fills_a_log(tmp_path: Path, monkeypatch) -> None:
    page = DOCS.read_text(encoding="utf-8")
    script = re.search(r"## A log by hand.*?```python\n(.*?)```", page, re.DOTALL)
    assert script is not None and len(script[1].splitlines()) <= 36
    assert "roadloop" not in script[1].replace('"roadloop sensor log"', "")
    (tmp_path / "fill.py").write_text(script[1])
    monkeypatch.chdir(tmp_path)
    runpy.run_path("fill.py")
    recording = open_drive(tmp_path / "logs/monday", "monday")
    assert len(recording) == 30 and recording[5].cameras["front"].rgb.shape == (360, 640, 3)
    assert recording.agents is not None
    np.testing.assert_allclose(recording.agents.x[5], [25.0])
    np.testing.assert_allclose(recording.agents.z[5], [0.0])
    write_recording(recording, tmp_path / "copy")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vehicle": {"wheels": 4}}, "unexpected keyword argument 'wheels'"),
        ({"vehicle": {"length": "long"}}, "vehicle.length is 'long'"),
        ({"dt": "0.1"}, "must be real number"),
        ({"dt": 0}, "dt is 0"),
        ({"about": ["mine"]}, "about is"),
        ({"about": {"every": 0}}, "about.every is 0"),
        ({"about": {"notes": "mine"}}, "about.notes is no list"),
    ],
)
def test_wrong_facts_of_a_log_by_hand_are_one_line(
    written: Path, tmp_path: Path, changed: dict, said: str
) -> None:
    meta = json.loads((written / "meta.json").read_text()) | changed
    (opened(written, tmp_path) / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(RoadloopError, match=re.escape(said)) as error:
        open_drive(tmp_path / "log", "log")
    assert "meta.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("ego", "step", 4, "ego has step 4 twice"),
        ("ego", "qw", 0.0, "ego at step 3 has qw, qx, qy, qz of length"),
        ("frames", "qw", 5.0, "must be a unit quaternion"),
        ("frames", "step", -7, "frames has rows of step -7, which ego does not have"),
        ("frames", "kind", "radar", "of kind radar for"),
        ("frames", "file", "../../private.jpg", "and a file in the log"),
        ("boxes_3d", "step", -1, "boxes_3d has rows of step -1"),
        ("boxes_3d", "id", 0, "ids begin at 1"),
        ("boxes_3d", "step", 2, "has id 5 at step 2 2 times"),
        ("lights", "signal", 2**30, "lights lacks a signal at some step"),
        ("lights", "signal", -1, "lights lacks a signal at some step"),
        ("lights", "state", "pink", "lights has the state 'pink'"),
    ],
)
def test_wrong_rows_of_a_log_by_hand_are_one_line(
    recording: Recording, tmp_path: Path, table: str, column: str, value, said: str
) -> None:
    """The fourth row has something else in one column."""
    lit = dataclasses.replace(recording, lights=np.ones((STEPS, 1), np.uint8))
    write_recording(lit, tmp_path / "written")
    part = opened(tmp_path / "written", tmp_path) / f"{table}.parquet" / "part-00000.parquet"
    rows = pandas.read_parquet(part)
    rows.loc[3, column] = value
    rows.to_parquet(part)
    with pytest.raises(RoadloopError, match=re.escape(said)) as error:
        open_drive(tmp_path / "log", "log")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def opened(written: Path, tmp_path: Path) -> Path:
    """A copy of a log without checksums, as one made by hand."""
    copy = shutil.copytree(written, tmp_path / "log")
    (copy / "SHA256SUMS").unlink()
    return copy


def test_motion_of_poses() -> None:
    """A circle of 20 m radius at 10 m/s: speed, yaw rate and the bicycle's steering angle."""
    t = np.arange(0.0, 3.0, 0.1)
    angle = t * 0.5
    place = np.stack([20.0 * np.sin(angle), 20.0 * (1.0 - np.cos(angle)), 0.0 * t], axis=-1)
    world_from_ego = se3(rotation_from_euler(0 * t, 0 * t, angle), place)
    ego = ego_of_poses(world_from_ego, np.round(t * 1e6), VehicleParameters(wheelbase=2.8))
    np.testing.assert_allclose(ego.speed[1:-1], 10.0, rtol=1e-3)
    np.testing.assert_allclose(ego.yaw_rate, 0.5, rtol=1e-6)
    np.testing.assert_allclose(ego.steering[1:-1], np.arctan(2.8 / 20.0), rtol=2e-3)
    stamps = np.array([-30_000, 150_000, 1_234_000, 2_930_000])
    for pose, stamp in zip(poses_at(world_from_ego, np.round(t * 1e6), stamps), stamps * 1e-6):
        heading = np.arctan2(pose[1, 0], pose[0, 0])
        assert abs(wrap_angle(heading - 0.5 * stamp)) < 1e-6
        assert abs(pose[0, 3] - 20.0 * np.sin(0.5 * stamp)) < 0.02


def test_velocities_do_not_bridge_gaps() -> None:
    t = np.arange(6) * 500_000
    x = np.array([[0.0], [1.0], [2.0], [50.0], [51.0], [52.0]])
    valid = np.array([[True], [True], [False], [True], [True], [True]])
    vx, vy = velocities(x, np.zeros_like(x), valid, t)
    np.testing.assert_allclose(vx[:, 0], [2.0, 2.0, 0.0, 2.0, 2.0, 2.0])
    assert not vy.any()


def test_a_mount_of_a_pose_is_that_pose() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        roll, pitch, yaw = rng.uniform(-1.5, 1.5, 3)
        pose = se3(rotation_from_euler(roll, pitch, yaw), np.array([1.0, -0.4, 1.7]))
        np.testing.assert_allclose(Mount.of(pose).ego_from_sensor, pose, atol=1e-12)
        camera = dataclasses.replace(CAMERA, mount=Mount.of(pose))
        again = Mount.of_camera(camera.ego_from_camera)
        np.testing.assert_allclose(again.ego_from_sensor, pose, atol=1e-12)
    point = transform_points(inverse(CAMERA.ego_from_camera), np.array([[20.0, 2.1, 1.4]]))
    assert point[0, 2] > 15.0  # in front of the camera
