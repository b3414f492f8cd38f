"""Real data sets as the detector learns from them: what is seen, depth of sweeps, all mixed."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detector import TINY

from perception.detector_config import ObjectClass
from perception.frame import NOT_JUDGED
from perception.image_labels import bin_edges, point_depth
from roadloop.config import find_config, load_config
from roadloop.errors import RoadloopError
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from training.clips import ClipSource
from training.detector_frames import DetectorFrames, detector_spec, in_pictures, road_users
from training.detector_sources import Kept, open_clips
from training.detector_training import DetectorData, DetectorTraining
from training.sources import LogSource
from training.train_detector import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODEL = dataclasses.replace(TINY, size=(256, 96), depth_bins=24, semantics=True)
CALIBRATION = """P0: 200 0 150 0 0 200 45 0 0 0 1 0
P2: 200 0 150 0 0 200 45 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
Tr_imu_to_velo: 1 0 0 -0.81 0 1 0 0 0 0 1 0.8
"""
WALL = 12.0
"""m ahead of the velodyne"""


def kitti(root: Path) -> Path:
    """A frame of KITTI object: two cars in the picture, one far to the left, a wall of points."""
    base = root / "training"
    for folder in ("calib", "image_2", "label_2", "velodyne"):
        (base / folder).mkdir(parents=True)
    (base / "calib" / "000001.txt").write_text(CALIBRATION)
    image = np.random.default_rng(0).integers(30, 220, (90, 300, 3)).astype(np.uint8)
    cv2.imwrite(str(base / "image_2" / "000001.png"), image)
    rows = [(0.0, 10.0), (4.0, 9.0), (-8.0, 6.0)]
    (base / "label_2" / "000001.txt").write_text(
        "".join(f"Car 0 0 0 1 1 2 2 1.5 1.7 4.0 {x} 1.65 {z} -1.57\n" for x, z in rows)
    )
    y, z = np.meshgrid(np.linspace(-12, 12, 300), np.linspace(-1.5, 2.0, 60))
    points = np.column_stack([np.full(y.size, WALL), y.ravel(), z.ravel(), np.ones(y.size)])
    points.astype("<f4").tofile(base / "velodyne" / "000001.bin")
    return root


def camvid(root: Path) -> Path:
    """Two pictures of CamVid, sky above and road below."""
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    label = np.full((90, 120), 3, np.uint8)
    label[:40] = 0
    for k in range(2):
        cv2.imwrite(str(root / "train" / f"{k}.png"), np.full((90, 120, 3), 90 + k, np.uint8))
        cv2.imwrite(str(root / "trainannot" / f"{k}.png"), label)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("real")
    return kitti(root / "kitti"), camvid(root / "camvid")


def sources(folders: tuple[Path, ...], moments: int = 1) -> DetectorTraining:
    data = DetectorData(folders=folders, moments=moments)
    return DetectorTraining(model=MODEL, data=data, samples=4, batch=2, workers=0, threads=1,
                            device="cpu", tensorboard=False)  # fmt: skip


def source_of(folder: Path) -> LogSource:
    from roadloop.datasets.formats import list_drives, open_recording

    _, names = list_drives(folder)
    return LogSource([folder], detector_spec(MODEL, open_recording(folder, names[0]).rig))


def test_what_no_real_camera_shows_is_not_to_be_found(folders: tuple[Path, Path]) -> None:
    """The virtual camera is wider than KITTI's: the third car is in its black margin."""
    sample = source_of(folders[0]).sample(0)
    found = DetectorFrames(MODEL).objects(sample)
    assert found.object_class.tolist() == [ObjectClass.VEHICLE] * 3
    assert found.visible.tolist() == [True, True, False]
    bright = {**sample, "images": np.maximum(sample["images"], 1)}
    assert DetectorFrames(MODEL).objects(bright).visible.all()
    # what was counted in the pictures stays as it was counted
    counted = {**sample, "box_pixels": np.array([0, 40, 40], np.int32)}
    assert DetectorFrames(MODEL).objects(counted).visible.tolist() == [False, True, True]


def test_boards_of_signs_are_not_in_the_way() -> None:
    boxes = np.array([[20, 0, z, 0.1, 0.8, 0.8, 0, 0, 0] for z in (0.4, 2.5, 2.5)], np.float32)
    kinds = np.array([AgentKind.STATIC, AgentKind.STATIC, AgentKind.PEDESTRIAN], np.uint8)
    unknown = np.full(3, -1, np.int32)
    found = road_users({"boxes": boxes, "box_kind": kinds, "box_pixels": unknown,
                        "box_lidar_points": unknown})  # fmt: skip
    assert found.visible.tolist() == [True, False, True]


def test_a_box_whose_middle_alone_is_lit_is_seen() -> None:
    camera = np.array([[[127.5, -128.0, 0, 0], [31.5, 0, -128.0, 0], [1.0, 0, 0, 0]]], np.float32)
    box = np.array([[10.0, 0.0, 0.0, 4.0, 2.0, 1.6, 0.0, 0.0, 0.0]], np.float32)
    lit = np.zeros((1, 96, 256), bool)
    assert not in_pictures(box, camera, (256, 96), lit).any()
    lit[0, 30:34, 126:130] = True
    assert in_pictures(box, camera, (256, 96), lit).all()


def test_depth_comes_from_the_sweep(folders: tuple[Path, Path]) -> None:
    sample = source_of(folders[0]).sample(0)
    depth = DetectorFrames(MODEL)(sample)["depth"]
    assert (depth[1:3] == NOT_JUDGED).all()  # no camera looks there
    judged = depth[0][depth[0] != NOT_JUDGED]
    edges = bin_edges(MODEL.depth_bins)
    # the wall is square to the axis: 12 m from the velodyne, 0.27 m less from the camera behind it
    expected = np.searchsorted(edges[1:-1], WALL - 0.27, side="right")
    assert len(judged) > 60 and (np.abs(judged.astype(int) - expected) <= 1).all()
    assert (judged == expected).mean() > 0.8
    without = {key: value for key, value in sample.items() if key != "points"}
    assert (DetectorFrames(MODEL)(without)["depth"] == NOT_JUDGED).all()


def test_the_nearest_point_of_a_cell_counts_and_old_ones_do_not(
    folders: tuple[Path, Path],
) -> None:
    camera = np.array([[[127.5, -128.0, 0, 0], [31.5, 0, -128.0, 0], [1.0, 0, 0, 0]]], np.float32)
    points = np.array([[30.0, 0.0, 0.0], [7.0, 0.0, 0.0], [-9.0, 0.0, 0.0], [9.0, 30.0, 0.0]])
    lit = np.ones((1, 96, 256), bool)
    made = point_depth(points, camera, lit, MODEL)
    inner = bin_edges(MODEL.depth_bins)[1:-1]
    assert (made != NOT_JUDGED).sum() == 1
    assert made[0, 4, 16] == np.searchsorted(inner, 7.0, side="right")
    assert (point_depth(points, camera, ~lit, MODEL) == NOT_JUDGED).all()
    sample = source_of(folders[0]).sample(0)
    old = sample["points"].copy()
    old[:, -1] = -0.3
    assert (DetectorFrames(MODEL)({**sample, "points": old})["depth"] == NOT_JUDGED).all()


def test_each_teaches_what_it_has(folders: tuple[Path, Path]) -> None:
    clips = open_clips(sources(folders)).clips
    assert len(clips) == 3
    road, town = clips.sample(0), clips.sample(1)
    assert set(road) == set(town)
    for key, value in road.items():
        if isinstance(value, np.ndarray):
            assert value.shape == town[key].shape and value.dtype == town[key].dtype, key
    assert road["camera_valid"].tolist() == [[True, False, False, True]]
    assert road["heat_weight"].any() and road["box_weight"].any()
    assert not road["velocity_weight"].any()  # one picture says nothing of velocities
    assert (road["semantic"] == NOT_JUDGED).all() and not road["raster_weight"][:, :5].any()
    for key in ("heat_weight", "box_weight", "raster_weight", "lane_weight", "light_valid"):
        assert not town[key].any(), key
    classes = town["semantic"][0, 0]
    judged = classes != NOT_JUDGED
    assert set(classes[judged].tolist()) == {SemanticClass.SKY, SemanticClass.ROAD}
    assert judged[:8, 12:20].all()
    assert not judged[:, 0].any() and not judged[10:].any()  # 60 degrees wide, 36 high
    assert (town["depth"] == NOT_JUDGED).all()


def test_single_pictures_fill_up_clips_and_what_gives_none_is_said(
    folders: tuple[Path, Path],
) -> None:
    clips = open_clips(sources(folders, moments=3)).clips
    assert clips.sample(0)["moment_valid"].tolist() == [False, False, True]
    mixed = [source_of(folders[0]), source_of(folders[1])]
    drive = mixed[1].drives[0]
    mixed[1].drives[0] = dataclasses.replace(drive, continuous=True)  # 1 s apart
    with pytest.raises(RoadloopError, match=r"3 moments 0.5 s apart \(of 1, e.g. train\)"):
        ClipSource(mixed, DetectorFrames(MODEL), 3, 0.5)


def test_a_drive_of_one_step_is_a_single_picture(folders: tuple[Path, Path]) -> None:
    source = source_of(folders[0])
    source.drives[0] = dataclasses.replace(source.drives[0], continuous=True)
    clip = ClipSource(source, DetectorFrames(MODEL), 2, 0.5).sample(0)
    assert clip["moment_valid"].tolist() == [False, True]
    assert not clip["velocity_weight"].any()


def test_they_train_together(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert train(sources(folders), tmp_path / "run") == 0
    rows = (tmp_path / "run" / "progress.csv").read_text().splitlines()
    assert len(rows) == 3 and (tmp_path / "run" / "detector.safetensors").is_file()
    columns = dict(zip(rows[0].split(","), zip(*(row.split(",") for row in rows[1:]))))
    for term in ("heat", "depth", "semantic"):
        values = [float(value) for value in columns[term]]
        assert np.isfinite(values).all() and max(values) > 0.0, term


def test_the_run_file_is_for_single_moments() -> None:
    words = ["data.folders=[real]", "init=runs/detector_compact"]
    config = load_config(DetectorTraining, find_config("detector_real"), words)
    assert config.data.moments == 1 and config.model == DetectorTraining().model


def test_kept_clips_are_read_once(folders: tuple[Path, Path]) -> None:
    clips = ClipSource(source_of(folders[1]), DetectorFrames(MODEL), 1, 0.5)
    kept, fresh = Kept(clips, 1), clips.sample(0)
    first = kept.sample(0)
    first["drive"] = "changed"  # by whoever got it: the next one does not see that
    again = kept.sample(0)
    assert again["images"] is first["images"] and again["drive"] == "train"
    assert (again["images"] == fresh["images"]).all() and len(kept) == 2
    assert kept.sample(1)["images"] is not kept.sample(1)["images"]  # there is room for one
    assert pickle.loads(pickle.dumps(kept)).sample(0)["images"] is not first["images"]


REAL = {
    "kitti/object": (10, 10, {"VEHICLE": 15, "CYCLIST": 2, "PEDESTRIAN": 2}),
    "dgp_test_scene": (6, 6, {"VEHICLE": 51}),
    "nuscenes/one_sample": (1, 1, {"VEHICLE": 5, "PEDESTRIAN": 9, "OBSTACLE": 21}),
    "waymo_perception/pvps_data_one_frame.tfrecord": (
        1, 0, {"VEHICLE": 7, "PEDESTRIAN": 8, "OBSTACLE": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("folder", REAL)
def test_real_frames_hold_what_their_pictures_show(folder: str) -> None:
    """Frames, those with depth, and visible objects on the compact grid by class."""
    if not (DATA / folder).exists():
        pytest.skip(f"{DATA / folder} is not here")
    from perception.detector_config import DetectorConfig

    config = DetectorConfig()
    from roadloop.datasets.formats import list_drives, open_recording

    found, names = list_drives(DATA / folder)
    rig = open_recording(DATA / folder, names[0], found).rig
    source = LogSource([DATA / folder], detector_spec(config, rig), found)
    frames, counts, deep = DetectorFrames(config), np.zeros(len(ObjectClass), int), 0
    for k in range(len(source)):
        frame = frames(source.sample(k))
        counts += (frame["heat"] == 1.0).sum((1, 2))
        deep += bool((frame["depth"] != NOT_JUDGED).mean() > 0.1)
        assert frame["camera_valid"][0]
    wanted = REAL[folder]
    assert (len(source), deep) == wanted[:2]
    assert {k.name: int(counts[k]) for k in ObjectClass if counts[k]} == wanted[2]
