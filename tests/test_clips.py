"""Clips for the detector: moments and motion, targets of what is labelled, mirrors, weights."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_drive import DT, RIG, pose, record

from perception.detector_config import BevGrid, DetectorConfig
from perception.frame import INPUTS, NOT_JUDGED, TARGETS
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs.recording import Recording
from roadloop.types import AgentKind
from training.augment import flip
from training.clip_augment import Augmentation, ClipAugment, mirrored, mirrored_slots
from training.clip_weights import Weighted, class_weights
from training.clips import ClipSource
from training.data import make_loader
from training.detector_frames import DetectorFrames, detector_spec, in_pictures
from training.sources import LogSource

CONFIG = DetectorConfig(
    grid=BevGrid(-3.2, -12.8, 32, 32, 0.8), lidar=True, radar=True, size=(256, 96)
)
PLAIN = dataclasses.replace(CONFIG, lidar=False, radar=False)
SPEC = detector_spec(CONFIG, products=("depth", "semantic"))
NOTHING = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "monday"
    record(folder, steps=12)
    return folder


@pytest.fixture(scope="module")
def source(log: Path) -> LogSource:
    return LogSource([log], SPEC)


@pytest.fixture(scope="module")
def clips(source: LogSource) -> ClipSource:
    return ClipSource(source, DetectorFrames(CONFIG), moments=3, gap=0.3, keep_labels=True)


def opened(log: Path) -> Recording:
    found, names = list_drives(log, "auto")
    return open_recording(log, names[0], found)


def with_instance(sample: dict[str, Any], seed: int = 3) -> dict[str, Any]:
    """A sample with heads of traffic lights drawn into its pictures, of the lights it has."""
    rng = np.random.default_rng(seed)
    count, height, width = sample["depth"].shape
    instance = np.zeros((count, height, width), np.int32)
    signals = len(sample["lights"])
    for camera in range(count):
        for signal in range(signals):
            # odd sizes at odd places: a centre is never just between two cells
            x, y = rng.integers(5, width - 20) // 8 * 8 + 1, rng.integers(5, height - 30)
            instance[camera, y : y + 9, x : x + 5] = -1 - signal
    relevant = np.arange(signals) % 2 == 0
    new = {"light_relevant": relevant, "light_unjudged": ~relevant, "instance": instance}
    return {**sample, **new}


# --- frames -------------------------------------------------------------------------------------


def test_a_frame_has_the_arrays_of_the_contract(source: LogSource) -> None:
    frame = DetectorFrames(CONFIG)(source.sample(4))
    assert set(frame) | {"motion", "motion_valid"} == {*INPUTS, *TARGETS}
    assert frame["images"].shape == (4, 3, 96, 256) and frame["images"].dtype == np.uint8
    for key in ("heat_weight", "box_weight", "raster", "raster_weight", "depth", "semantic"):
        assert frame[key].dtype == np.uint8, key
    for key in ("heat", "box", "lane", "lidar", "radar", "pixel_from_ego", "light_box"):
        assert frame[key].dtype == np.float32 and np.isfinite(frame[key]).all(), key
    assert frame["camera_valid"].tolist() == [True, True, False, True]  # nothing looks right
    assert frame["depth"].shape == frame["semantic"].shape == (4, 12, 32)
    assert (frame["depth"][2] == NOT_JUDGED).all() and (frame["depth"][0] != NOT_JUDGED).any()
    assert not frame["light_valid"].any()  # nobody recorded instances


def test_pixels_of_a_frame_show_where_boxes_are(source: LogSource) -> None:
    """The recorded camera and the virtual one see a point along the same ray."""
    sample = source.sample(4)
    pixels = DetectorFrames(CONFIG)(sample)["pixel_from_ego"]
    place = np.array([14.0, 1.0, 1.0, 1.0])
    u, v, depth = pixels[0] @ place
    ray = np.array([(u / depth - 127.5) / 128.0, (v / depth - 31.5) / 128.0, 1.0])
    mount = sample["ego_from_camera"][0]
    there = transform_points(inverse(mount), place[None, :3])[0]
    np.testing.assert_allclose(ray, there / there[2], atol=1e-4)
    np.testing.assert_allclose(mount[:3, 3], RIG.cameras[0].ego_from_camera[:3, 3])


def test_what_is_not_labelled_has_no_weight(source: LogSource) -> None:
    sample = source.sample(6)
    frames = DetectorFrames(CONFIG)
    full = frames(sample)
    assert full["heat_weight"].any() and full["raster_weight"].any() and full["lane_weight"].any()
    none = frames({**sample, "has_boxes": np.array(False), "has_map": np.array(False)})
    for key in ("heat_weight", "box_weight", "velocity_weight", "raster_weight", "lane_weight"):
        assert not none[key].any(), key
    missing = ("depth", "semantic", "points")  # of which depth could be made
    bare = {key: value for key, value in sample.items() if key not in missing}
    unseen = DetectorFrames(PLAIN)(bare)
    assert (unseen["depth"] == NOT_JUDGED).all() and (unseen["semantic"] == NOT_JUDGED).all()
    still = frames(sample, velocity_known=False)
    assert still["box_weight"].any() and not still["velocity_weight"].any()


def test_points_are_as_old_as_the_car_would_have_them(source: LogSource) -> None:
    sample = dict(source.sample(6))
    frames = DetectorFrames(CONFIG)
    fresh = frames(sample)
    assert fresh["lidar_valid"] and fresh["lidar"].any()
    stale = sample["points"].copy()
    stale[:, :2] += 1.0
    stale[:, 4] -= 1.0
    both = frames({**sample, "points": np.concatenate([sample["points"], stale])})
    np.testing.assert_array_equal(both["lidar"], fresh["lidar"])
    none = frames({**sample, "points": stale})
    assert not none["lidar_valid"] and not none["lidar"].any()


def test_visible_is_what_is_shown_or_touched(source: LogSource) -> None:
    sample = dict(source.sample(6))
    count = len(sample["boxes"])
    sample["boxes"] = np.tile(np.array([15, 0, 0.8, 4, 2, 1.5, 0, 0, 0], "f4"), (count, 1))
    frames = DetectorFrames(CONFIG)
    cases = (
        (9, 5, False), (10, 0, True), (-1, 0, False), (-1, 1, True), (-1, -1, True), (0, 9, False),
    )  # fmt: skip
    for pixels, points, visible in cases:
        sample["box_pixels"] = np.full(count, pixels, np.int32)
        sample["box_lidar_points"] = np.full(count, points, np.int32)
        assert frames.objects(sample).visible.tolist() == [visible] * count, (pixels, points)
    sample["boxes"][:, 1] = -40.0  # no camera looks right: without LiDAR it cannot be found
    sample["box_pixels"][:] = 50
    assert frames.objects(sample).visible.all()
    del sample["points"]
    assert not frames.objects(sample).visible.any()


def test_boxes_at_the_edge_of_a_picture_are_in_it() -> None:
    ahead = np.array([[10.0, 0.0, 1.0, 4.0, 2.0, 1.5, 0.3, 0, 0]])
    boxes = np.repeat(ahead, 3, axis=0)
    boxes[1, 0] = -10.0
    boxes[2, :2] = 10.0, 11.0  # its centre is outside of 90 degrees
    pixels = np.array([[[127.5, -128, 0, 0], [47.5, 0, -128, 128], [1, 0, 0, 0]]], np.float32)
    assert in_pictures(boxes, pixels, (256, 96)).tolist() == [True, False, True]
    assert in_pictures(boxes, pixels[:0], (256, 96)).tolist() == [False] * 3


# --- clips --------------------------------------------------------------------------------------


def test_moments_are_a_gap_apart_and_motion_leads_back(clips: ClipSource) -> None:
    assert len(clips) == 5  # samples 1 to 11, the first six have no moment 0.6 s before
    clip = clips.sample(2)
    assert clip["step"].tolist() == [3, 6, 9] and clip["moment_valid"].all()
    assert clip["motion_valid"].tolist() == [False, True, True]
    for t in (1, 2):
        before, now = (pose(DT * step) for step in clip["step"][t - 1 : t + 1])
        x, y, yaw = clip["motion"][t]
        c, s = np.cos(yaw), np.sin(yaw)
        there = transform_points(inverse(before) @ now, np.array([[5.0, 2.0, 0.0]]))[0]
        np.testing.assert_allclose([c * 5 - s * 2 + x, s * 5 + c * 2 + y], there[:2], atol=1e-4)
    assert not clip["motion"][0].any()
    np.testing.assert_allclose(clip["world_from_ego"][2], pose(DT * 9), atol=1e-6)


def test_every_moment_is_the_frame_of_its_sample(clips: ClipSource, source: LogSource) -> None:
    clip = clips.sample(1)
    _, rows = clips.where(1)
    for t, row in enumerate(rows.tolist()):
        sample = source.sample(row)
        frame = clips.frames(sample)
        for key, value in frame.items():
            np.testing.assert_array_equal(clip[key][t], value, err_msg=key)
        np.testing.assert_array_equal(clip["boxes"][t], sample["boxes"])
        assert len(clip["object_class"][t]) == len(clip["visible"][t]) == len(sample["boxes"])


def test_only_clips_in_full_and_single_pictures_filled_up(log: Path) -> None:
    recording = opened(log)
    gap = np.delete(np.arange(12), 4)  # a step is missing
    holed = dataclasses.replace(recording, labelled=np.isin(np.arange(12), gap))
    frames = DetectorFrames(CONFIG)
    found = ClipSource(LogSource([holed], SPEC), frames, gap=0.2)
    steps = [found.sample(k)["step"].tolist() for k in range(len(found))]
    assert steps == [[1, 3, 5], [3, 5, 7], [5, 7, 9], [6, 8, 10], [7, 9, 11]]
    single = dataclasses.replace(recording, continuous=False, name="single")
    mixed = ClipSource([LogSource([holed], SPEC), LogSource([single], SPEC)], frames, gap=0.2)
    assert len(mixed) == 5 + 11
    clip, whole = mixed.sample(7), mixed.sample(0)
    assert clip["moment_valid"].tolist() == [False, False, True]
    assert clip["step"].tolist() == [-1, -1, 3] and not clip["motion_valid"].any()
    assert {k: (v.shape, v.dtype) for k, v in clip.items() if k in INPUTS + TARGETS} == {
        k: (v.shape, v.dtype) for k, v in whole.items() if k in INPUTS + TARGETS
    }
    assert not clip["images"][:2].any() and (clip["depth"][:2] == NOT_JUDGED).all()
    assert not clip["heat_weight"][:2].any() and not clip["velocity_weight"].any()
    assert clip["box_weight"][2].any() == whole["box_weight"].any()


def test_mistakes_in_clips(source: LogSource) -> None:
    frames = DetectorFrames(CONFIG)
    words = r"3 moments 5 s apart \(of 1, e.g. monday\): record longer"
    with pytest.raises(RoadloopError, match=words):
        ClipSource(source, frames, gap=5.0)
    with pytest.raises(RoadloopError, match="expected numbers above 0"):
        ClipSource(source, frames, moments=0)
    with pytest.raises(RoadloopError, match='rig compact has no camera "rear"'):
        DetectorFrames(dataclasses.replace(CONFIG, light_cameras=("rear",)))


# --- augmentation -------------------------------------------------------------------------------


def stacked(frames: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}


def test_a_mirrored_clip_is_the_clip_of_a_mirrored_world(source: LogSource) -> None:
    """Targets made of a mirrored sample are the mirrored targets, of every kind."""
    frames = DetectorFrames(CONFIG)
    swap = mirrored_slots(CONFIG)
    assert swap == [0, 2, 1, 3]
    samples = [with_instance(source.sample(k), k) for k in (4, 9)]
    worlds = []
    for sample in samples:
        # both side cameras are there, so that exchanging them shows
        for key in ("images", "depth", "semantic", "instance"):
            sample[key] = sample[key].copy(order="K")
            sample[key][2] = sample[key][0]
        sample["image_valid"] = np.array([True, True, True, True])
        sample["box_pixels"] = np.full_like(sample["box_pixels"], 50)
        world = flip(sample, np.random.default_rng(0), share=1.0, reorder=False)
        for key in ("images", "depth", "semantic", "instance", "intrinsics", "ego_from_camera"):
            world[key] = world[key][swap]
        worlds.append(world)
    expected = stacked([frames(world) for world in worlds])
    made = mirrored(stacked([frames(sample) for sample in samples]), swap, [0, 1])
    assert made.keys() == expected.keys()
    assert (expected["light_weight"] == 1).any() and expected["heat"].any()
    for key, value in expected.items():
        if value.dtype == np.uint8 or value.dtype == bool:
            differ = (made[key] != value).mean()  # borders of cells fall to one side
            assert differ <= (0.02 if key == "semantic" else 0.003), (key, differ)
        else:
            close = np.isclose(made[key], value, rtol=1e-3, atol=2e-3)
            assert close.mean() > 0.997, (key, close.mean())


def test_two_mirrors_are_none(clips: ClipSource) -> None:
    clip = clips.sample(0)
    swap = mirrored_slots(CONFIG)
    once = mirrored(clip, swap, [0, 1])
    assert not np.array_equal(once["images"], clip["images"])
    twice = mirrored(once, swap, [0, 1])
    for key, value in clip.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(twice[key], value, rtol=1e-5, atol=1e-4, err_msg=key)
    for t in range(3):
        np.testing.assert_array_equal(twice["boxes"][t], clip["boxes"][t])


def test_nothing_changes_where_all_is_off(clips: ClipSource) -> None:
    clip = clips.sample(0)
    made = ClipAugment(CONFIG, NOTHING)(clip, np.random.default_rng(1))
    for key, value in clip.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(made[key], value, err_msg=key)


def test_each_augmentation_does_its_own_and_leaves_the_clip(clips: ClipSource) -> None:
    clip = clips.sample(0)
    kept = pickle.dumps(clip)
    changes = {
        "brightness": {"images"},
        "noise": {"images"},
        "blur": {"images"},
        "rotation": {"pixel_from_ego"},
        "position": {"pixel_from_ego"},
        "blackout": {"images", "camera_valid", "depth", "semantic"},
        "lidar_dropout": {"lidar", "lidar_valid"},
        "radar_dropout": {"radar", "radar_valid"},
    }
    for name, keys in changes.items():
        settings = dataclasses.replace(
            NOTHING, noise_share=float(name == "noise"), blur_share=float(name == "blur"),
            **{name: 0.9},
        )  # fmt: skip
        made = ClipAugment(CONFIG, settings)(clip, np.random.default_rng(5))
        differ = {k for k in clip if isinstance(clip[k], np.ndarray) and (made[k] != clip[k]).any()}
        assert differ <= keys and differ - {"radar"} == keys - {"radar"}, name
    assert pickle.dumps(clip) == kept


def test_a_failed_camera_is_black_and_its_labels_are_not_judged(clips: ClipSource) -> None:
    clip = clips.sample(0)
    settings = dataclasses.replace(NOTHING, blackout=1.0)
    seen = set()
    for seed in range(6):
        made = ClipAugment(CONFIG, settings)(clip, np.random.default_rng(seed))
        valid = made["camera_valid"][:, [0, 1, 3]]
        assert not valid[-1].any()  # a camera that has failed stays so
        assert (np.diff(valid.astype(int), axis=0) <= 0).all()
        seen |= {int(valid[:, k].sum()) for k in range(3)}
        for t, camera in np.argwhere(~made["camera_valid"]).tolist():
            assert not made["images"][t, camera].any()
            assert (made["depth"][t, camera] == NOT_JUDGED).all()
    assert seen == {0, 1, 2}


def test_calibration_errors_are_of_the_size_that_was_asked_for(clips: ClipSource) -> None:
    clip = clips.sample(0)
    augment = ClipAugment(CONFIG, dataclasses.replace(NOTHING, rotation=0.009))
    place = np.array([20.0, 0.5, 1.4, 1.0])
    off = []
    for seed in range(300):
        made = augment(clip, np.random.default_rng(seed))["pixel_from_ego"]
        u, _, depth = made[0, 0] @ place
        u0, _, depth0 = clip["pixel_from_ego"][0, 0] @ place
        off.append((u / depth - u0 / depth0) / 128.0)
    assert np.std(off) == pytest.approx(0.009, rel=0.15)
    # a clip's moments share the error
    u = [m[0] @ place for m in made]
    u0 = [m[0] @ place for m in clip["pixel_from_ego"]]
    shift = [a[0] / a[2] - b[0] / b[2] for a, b in zip(u, u0)]
    np.testing.assert_allclose(shift, shift[0], atol=0.1)


def test_a_rig_or_grid_that_has_no_mirror_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match="even on both sides"):
        ClipAugment(dataclasses.replace(CONFIG, grid=BevGrid(-3.2, -10.0, 32, 32, 0.8)))
    rig = tmp_path / "one.yaml"
    rig.write_text(
        "name: one\ncameras: [{name: left, mount: {x: 1, y: 0.4, z: 1}, width: 64, height: 32, "
        "fx: 30, fy: 30, cx: 31.5, cy: 15.5}]\n"
    )
    lonely = dataclasses.replace(CONFIG, rig=str(rig), light_cameras=(), size=(64, 32))
    with pytest.raises(RoadloopError, match='no mirror image of camera "left"'):
        ClipAugment(lonely)
    ClipAugment(lonely, NOTHING)
    with pytest.raises(RoadloopError, match="light camera"):
        ClipAugment(dataclasses.replace(CONFIG, light_cameras=("front-left",)))
    with pytest.raises(RoadloopError, match="mirror is 2"):
        Augmentation(mirror=2.0)


# --- which clips come ---------------------------------------------------------------------------


class Numbers:
    """A source that knows nothing but its numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> dict[str, Any]:
        return {"number": np.int64(index)}


def test_weighted_draws_by_weight_anew_each_epoch() -> None:
    weights = np.array([1.0, 1.0, 4.0, 0.0, 2.5])
    source = Weighted(Numbers(5), weights, seed=3)
    counts = np.zeros(5)
    for epoch in range(200):
        drawn = source.in_epoch(epoch)
        count = np.bincount([drawn.sample(k)["number"] for k in range(5)], minlength=5)
        wanted = 5 * weights / weights.sum()
        assert (np.abs(count - wanted) < 1.0).all()
        counts += count / 200
        again = Weighted(Numbers(5), weights, seed=3, epoch=epoch)
        np.testing.assert_array_equal(drawn.index, again.index)
    np.testing.assert_allclose(counts, 5 * weights / weights.sum(), atol=0.1)
    for bad in (np.ones(4), np.zeros(5), -np.ones(5), np.full(5, np.nan)):
        with pytest.raises(RoadloopError, match="expected a finite number from 0"):
            Weighted(Numbers(5), bad)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_draws_each_epoch_anew_and_goes_on_exactly(workers: int) -> None:
    source = Weighted(Numbers(12), np.arange(12) + 1.0, seed=1)
    loader = make_loader(source, 2, workers=workers)
    batches = [[b["number"].tolist() for b in loader] for _ in range(3)]
    flat = [sorted(k for batch in epoch for k in batch) for epoch in batches]
    assert flat == [sorted(source.in_epoch(epoch).index.tolist()) for epoch in range(3)]
    assert flat[0] != flat[1] or flat[1] != flat[2]
    second = make_loader(source, 2, workers=0)
    second.load_state_dict({**loader.state_dict(), "epoch": 1, "done": 2})
    assert [b["number"].tolist() for b in second] == batches[1][2:]


def test_rare_classes_weigh_more(log: Path) -> None:
    recording = opened(log)
    assert recording.agents is not None
    kind = recording.agents.kind.copy()
    kind[9:] = AgentKind.PEDESTRIAN  # the newest moments of three clips of five
    agents = dataclasses.replace(recording.agents, kind=kind)
    walked = dataclasses.replace(recording, agents=agents, lights=None)
    clips = ClipSource(LogSource([walked], SPEC), DetectorFrames(CONFIG), gap=0.3)
    rare, common = np.sqrt(0.9 / 0.4), np.sqrt(0.9 / 0.6)
    np.testing.assert_allclose(class_weights(clips, 0.9), [rare, rare, common, common, common])
    np.testing.assert_allclose(class_weights(clips, 0.3), 1.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_clips_are_the_same_with_workers_and_after_a_stop(
    workers: int, clips: ClipSource
) -> None:
    source = Weighted(ClipSource(clips.sources, clips.frames, gap=0.3), np.arange(5) + 1.0)
    transform = ClipAugment(CONFIG)

    def loader(count: int) -> Any:
        return make_loader(source, 2, seed=4, workers=count, transform=transform)

    expected = list(loader(0))
    assert expected[0]["images"].shape == (2, 3, 4, 3, 96, 256)
    assert expected[0]["heat"].shape[:2] == (2, 3)
    going = loader(workers)
    first = next(iter(going))
    again = loader(workers)
    again.load_state_dict(going.state_dict())
    found = [first, *again]
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected):
        for key, value in other.items():
            same = one[key] == value if isinstance(value, list) else bool((one[key] == value).all())
            assert same, key
