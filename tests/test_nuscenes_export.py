"""Recordings in nuScenes' schema: read again they are what they were, and the devkit agrees."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from nuscenes_scene import SCENE, START, write_expansion, write_scene

from roadloop.camera import BrownConrady
from roadloop.datasets.nuscenes import reader as nuscenes
from roadloop.datasets.nuscenes.classes import CATEGORIES, attribute_of, category_of
from roadloop.datasets.nuscenes.export import TABLES, export_nuscenes
from roadloop.datasets.nuscenes.mask import MARGIN, mask_png, png, world_offset
from roadloop.datasets.nuscenes.scene import channel_names, keyframes
from roadloop.errors import RoadloopError
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Recording
from roadloop.readings import CameraImage
from roadloop.types import AgentKind

Array = np.ndarray

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    root = tmp_path_factory.mktemp("nuscenes")
    write_scene(root)
    return nuscenes.open_drive(root, SCENE)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((folder / "v1.0-roadloop" / f"{name}.json").read_text(encoding="utf-8"))


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- round trip -----------------------------------------------------------------------------------


def test_an_exported_drive_is_the_same_when_read_again(drive: Recording, tmp_path: Path) -> None:
    done = export_nuscenes([drive], tmp_path / "out")
    assert set(done.records) == set(TABLES)
    assert done.records["sample"] == 3
    assert done.records["sample_data"] == len(drive.frames) == 17
    again = nuscenes.open_drive(tmp_path / "out", SCENE)
    assert again.timestamp_us.tolist() == drive.timestamp_us.tolist()
    assert again.about["start_us"] == START
    assert again.category.tolist() == drive.category.tolist()
    assert again.is_labelled.tolist() == drive.is_labelled.tolist()
    assert np.allclose(again.world_from_ego, drive.world_from_ego, rtol=0.0, atol=1e-9)
    assert drive.agents is not None
    assert again.agents is not None
    for name in ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height", "valid"):
        mine, theirs = getattr(again.agents, name), getattr(drive.agents, name)
        assert np.allclose(mine, theirs, rtol=0.0, atol=1e-9), name
    assert np.array_equal(np.asarray(again.lidar_points), np.asarray(drive.lidar_points))
    assert again.ego.vehicle == drive.ego.vehicle
    for mine, theirs in zip(again.frames, drive.frames, strict=True):
        assert (mine.sensor, mine.timestamp_us) == (theirs.sensor, theirs.timestamp_us)
        a, b = mine.read(), theirs.read()
        if mine.kind == "camera":
            assert a.encoded() == b.encoded()  # not decoded and encoded once more
            assert np.allclose(a.ego_from_camera, b.ego_from_camera)
            assert np.allclose(a.camera.matrix, b.camera.matrix)
        elif mine.kind == "lidar":
            assert np.allclose(a.points, b.points, atol=1e-5)
            assert a.ring.tolist() == b.ring.tolist()
        else:
            assert np.allclose([a.x, a.y, a.radial_speed], [b.x, b.y, b.radial_speed], atol=1e-5)


def test_the_same_drive_gives_the_same_bytes(drive: Recording, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_nuscenes([drive], tmp_path / name)
    assert sums(tmp_path / "a") == sums(tmp_path / "b")


def test_several_drives_share_tables(drive: Recording, tmp_path: Path) -> None:
    export_nuscenes([drive, replace(drive, name="second")], tmp_path / "out")
    assert nuscenes.drives(tmp_path / "out") == [SCENE, "second"]
    assert len(table(tmp_path / "out", "sensor")) == 3
    assert len(table(tmp_path / "out", "sample")) == 6
    every = [row["token"] for name in TABLES for row in table(tmp_path / "out", name)]
    pose_tokens = {row["token"] for row in table(tmp_path / "out", "ego_pose")}
    assert len(every) - len(pose_tokens) == len(set(every))  # sample_data has those of its poses
    assert table(tmp_path / "out", "splits") == {"all": [SCENE, "second"]}  # type: ignore[comparison-overlap]


# --- rules ----------------------------------------------------------------------------------------


def test_labels_at_ten_hertz_become_keyframes_at_two(drive: Recording, tmp_path: Path) -> None:
    dense = replace(drive, labelled=None, lidar_points=None)
    assert keyframes(dense).tolist() == [0, 5, 10]
    uneven = replace(dense, timestamp_us=drive.timestamp_us + np.arange(11) % 2 * 7_000)
    assert keyframes(uneven).tolist() == [0, 5, 10]
    # without the first five sweeps the first keyframe is the sixth step
    late = tuple(f for f in dense.frames if f.kind != "lidar" or f.step >= 5)
    assert keyframes(replace(dense, frames=late)).tolist() == [5, 10]
    pictures = tuple(f for f in dense.frames if f.kind == "camera")
    assert keyframes(replace(dense, frames=pictures)).tolist() == [0, 5, 10]
    export_nuscenes([dense], tmp_path / "out")
    boxes = {row["token"]: row for row in table(tmp_path / "out", "sample_annotation")}
    instance = table(tmp_path / "out", "instance")[0]
    first = boxes[instance["first_annotation_token"]]
    assert first["prev"] == ""
    assert boxes[boxes[first["next"]]["next"]]["token"] == instance["last_annotation_token"]
    names = {row["token"]: row["name"] for row in table(tmp_path / "out", "attribute")}
    assert [names[token] for token in first["attribute_tokens"]] == ["vehicle.moving"]


def test_points_in_boxes_are_counted_where_the_data_set_does_not(
    drive: Recording, tmp_path: Path
) -> None:
    agents = drive.agents
    assert agents is not None
    # the car is moved onto the point 10 m ahead of the LiDAR, 1 m below it
    x, y = drive.ego.x[0], drive.ego.y[0] + 0.9 + 10.0
    moved = replace(agents, x=agents.x.copy(), y=agents.y.copy())
    moved.x[:, 0], moved.y[:, 0] = x, y
    export_nuscenes([replace(drive, agents=moved, lidar_points=None)], tmp_path / "out")
    rows = table(tmp_path / "out", "sample_annotation")
    assert [row["num_lidar_pts"] for row in rows[:3]] == [1, 0, 0]


def test_sensors_get_the_names_the_devkit_asks_for(drive: Recording) -> None:
    def renamed(old: str, new: str) -> Recording:
        rig = drive.rig
        sensors = {
            kind: tuple(replace(s, name=new) if s.name == old else s for s in getattr(rig, kind))
            for kind in ("cameras", "lidars", "radars")
        }
        frames = tuple(replace(f, sensor=new) if f.sensor == old else f for f in drive.frames)
        return replace(drive, rig=replace(rig, **sensors), frames=frames)

    assert channel_names(renamed("CAM_FRONT", "ring-front-center"))["ring-front-center"] == (
        "CAM_RING_FRONT_CENTER"
    )
    assert channel_names(renamed("LIDAR_TOP", "up"))["up"] == "LIDAR_TOP"
    assert channel_names(renamed("RADAR_FRONT", "radar-front"))["radar-front"] == "RADAR_FRONT"


def test_kinds_become_categories() -> None:
    assert category_of(AgentKind.VAN, "van", 5.0, 2.0, 2.2) == "vehicle.car"
    assert category_of(AgentKind.STATIC, "", 4.5, 1.8, 1.5) == "vehicle.car"
    assert category_of(AgentKind.STATIC, "", 0.4, 0.4, 0.8) == "movable_object.trafficcone"
    assert category_of(AgentKind.STATIC, "", 2.5, 0.5, 1.0) == "movable_object.barrier"
    assert category_of(AgentKind.PEDESTRIAN, "animal", 1.0, 0.4, 0.6) == "animal"
    for kind in AgentKind:
        assert category_of(kind, "unheard of", 4.0, 2.0, 1.5) in CATEGORIES
    assert attribute_of("vehicle.truck", 0.0, ever_moves=True) == "vehicle.stopped"
    assert attribute_of("vehicle.truck", 0.0, ever_moves=False) == "vehicle.parked"
    assert attribute_of("vehicle.bicycle", 3.0, ever_moves=True) == "cycle.with_rider"
    assert attribute_of("vehicle.bicycle", 0.0, ever_moves=True) == ""
    assert attribute_of("movable_object.barrier", 0.0, ever_moves=False) == ""


def _bent(image: CameraImage, lens: BrownConrady) -> LoggedImage:
    rgb = np.zeros((lens.height, lens.width, 3), np.uint8)
    rgb[24:, :] = 200
    return LoggedImage.of(
        {"rgb": partial(np.copy, rgb)},
        camera=lens,
        ego_from_camera=image.ego_from_camera,
        timestamp_us=image.timestamp_us,
        boxes=None,
    )


def _read_bent(read: Any, lens: BrownConrady) -> LoggedImage:
    return _bent(read(), lens)


def test_pictures_of_other_lenses_are_rectified(drive: Recording, tmp_path: Path) -> None:
    lens = BrownConrady(64, 48, 60.0, 60.0, 32.0, 24.0, -0.3, 0.1)
    frames = tuple(
        replace(f, read=partial(_read_bent, f.read, lens)) if f.kind == "camera" else f
        for f in drive.frames
    )
    export_nuscenes([replace(drive, frames=frames)], tmp_path / "out")
    image = nuscenes.open_drive(tmp_path / "out", SCENE).frames_of("CAM_FRONT")[0].read()
    assert type(image.camera).__name__ == "Pinhole"
    # barrel distortion: the corner of the plain picture lies inside the bent one, all is filled
    assert image.rgb[2:20].max() < 40
    assert image.rgb[28:46].min() > 160


# --- the mask -------------------------------------------------------------------------------------


def test_the_mask_is_a_png_with_the_origin_at_its_lower_left() -> None:
    window = np.zeros((3, 5), bool)
    window[0, 1] = window[2, 4] = True
    image = cv2.imdecode(np.frombuffer(png(window, 20, 9, 7, 2), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert image.shape == (9, 20)
    assert np.argwhere(image).tolist() == [[2, 8], [4, 11]]


def test_lanes_are_drivable_in_the_mask(tmp_path: Path) -> None:
    write_scene(tmp_path)
    write_expansion(tmp_path / "maps" / "expansion" / "singapore-test.json")
    drive = nuscenes.open_drive(tmp_path, SCENE)
    moved = drive.world_from_ego.copy()
    moved[:, :2, 3] = [30.0, 20.0]
    drive = replace(drive, world_from_ego=moved)
    image = cv2.imdecode(np.frombuffer(mask_png(drive), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (round((20.0 + MARGIN) * 10), round((30.0 + MARGIN) * 10))

    def at(x: float, y: float) -> int:
        return int(image[image.shape[0] - 1 - int(y * 10), int(x * 10)])

    assert [at(25, 0.5), at(25, 4), at(60, 30), at(25, 30), at(80, 30)] == [255, 255, 255, 0, 0]


def test_drives_beyond_the_mask_are_moved_and_read_back(tmp_path: Path) -> None:
    write_scene(tmp_path)
    write_expansion(tmp_path / "maps" / "expansion" / "singapore-test.json")
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert world_offset(drive) == (0.0, 0.0)
    far = drive.world_from_ego.copy()
    far[:, :2, 3] += [-500.0, 90_000.0]
    agents = drive.agents
    assert agents is not None
    moved = replace(agents, x=agents.x - 500.0, y=agents.y + 90_000.0)
    ego = replace(drive.ego, x=drive.ego.x - 500.0, y=drive.ego.y + 90_000.0)
    frames = []
    for frame in drive.frames:
        pose = frame.world_from_ego.copy()
        pose[:2, 3] += [-500.0, 90_000.0]
        frames.append(replace(frame, world_from_ego=pose))
    there = replace(drive, world_from_ego=far, agents=moved, ego=ego, frames=tuple(frames))
    assert world_offset(there) == (500.0, -90_100.0)
    assert world_offset(replace(there, load_map=None)) == (0.0, 0.0)
    export_nuscenes([there], tmp_path / "out")
    place = table(tmp_path / "out", "ego_pose")[0]["translation"]
    assert min(place[:2]) >= MARGIN - 1.0
    again = nuscenes.open_drive(tmp_path / "out", SCENE)
    assert np.allclose(again.world_from_ego, far, rtol=0.0, atol=1e-9)
    assert again.agents is not None
    assert np.allclose(again.agents.x[agents.valid], moved.x[agents.valid], rtol=0.0, atol=1e-9)


# --- what cannot be exported ----------------------------------------------------------------------


def test_bad_exports_say_why_and_leave_nothing(drive: Recording, tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").touch()
    with pytest.raises(RoadloopError, match="used is there already"):
        export_nuscenes([drive], used)
    out = tmp_path / "out"
    with pytest.raises(RoadloopError, match="there is no recording to export"):
        export_nuscenes([], out)
    with pytest.raises(RoadloopError, match=f"two recordings are called {SCENE}"):
        export_nuscenes([drive, drive], out)
    with pytest.raises(RoadloopError, match="has no pictures or sweeps"):
        export_nuscenes([replace(drive, frames=())], out)
    with pytest.raises(RoadloopError, match="holds single pictures"):
        export_nuscenes([replace(drive, continuous=False)], out)
    with pytest.raises(RoadloopError, match="expected the name of a folder"):
        export_nuscenes([drive], out, version="../v1")
    broken = replace(drive.frames[5], read=partial(_fail, "sweep.bin"))
    frames = (*drive.frames[:5], broken, *drive.frames[6:])
    with pytest.raises(RoadloopError, match=r"sweep\.bin is missing"):
        export_nuscenes([replace(drive, frames=frames)], out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["used"]
    export_nuscenes([drive], out / "deeper")
    assert nuscenes.drives(out / "deeper") == [SCENE]


@pytest.mark.parametrize("start", ["monday", None, -1, 10**20, 1.5])
def test_a_start_that_is_no_time_is_one_line(
    drive: Recording, tmp_path: Path, start: object
) -> None:
    wrong = replace(drive, about={**drive.about, "start_us": start})
    with pytest.raises(RoadloopError, match="expected Unix time"):
        export_nuscenes([wrong], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _fail(name: str) -> None:
    raise RoadloopError(f"{name} is missing")


# --- the devkit -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_devkit_reads_the_same_boxes_and_gives_the_same_scores(tmp_path: Path) -> None:
    pytest.importorskip("warp")
    spec = importlib.util.spec_from_file_location(
        "nuscenes_devkit", BENCHMARKS / "nuscenes_devkit.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nuscenes_devkit"] = module
    spec.loader.exec_module(module)
    try:
        module.devkit_python(module.DEFAULT_VENV)
    except RoadloopError as error:
        pytest.skip(str(error))
    parity = module.compare(module.DEFAULT_VENV, module.DEFAULT_DATA, 2.0, tmp_path)
    assert parity.passed, parity
    assert parity.boxes > 1000
    assert parity.truths > 10
