"""Augmentation: pictures, calibration, boxes and map stay one scene, to the pixel and exactly."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.rig import CAMERA_AXES
from training import augment as aug
from training import augment_pixels as pix
from training.sample_spec import Sample, identity
from training.samples import lens_arrays

HEIGHT, WIDTH = 180, 320
MODELS = (Pinhole, BrownConrady, Fisheye)


def mount(yaw: float, x: float, y: float, pitch: float = 0.04) -> np.ndarray:
    pose = se3(rotation_from_euler(0.01, pitch, yaw), np.array([x, y, 1.6]))
    pose[:3, :3] = pose[:3, :3] @ CAMERA_AXES
    return pose


LENSES = [
    Pinhole(WIDTH, HEIGHT, 200.0, 205.0, 158.0, 88.0),
    BrownConrady(WIDTH, HEIGHT, 210.0, 208.0, 161.0, 91.0, -0.08, 0.01, 0.002, -0.004, 0.001),
    Fisheye(WIDTH, HEIGHT, 120.0, 121.0, 160.0, 90.0, 0.02, -0.003, 0.001, 0.0),
]
MOUNTS = np.array([mount(0.02, 1.7, 0.0), mount(0.9, 1.5, 0.5), mount(-0.95, 1.5, -0.48)])


def scene(rng: np.random.Generator, boxes: int = 12) -> Sample:
    """Boxes ahead of three cameras of three lenses, and everything else a sample may hold."""
    angle = rng.uniform(-1.6, 1.6, boxes)
    reach = rng.uniform(8.0, 25.0, boxes)
    columns = [
        reach * np.cos(angle), reach * np.sin(angle), rng.uniform(0.6, 1.2, boxes),
        rng.uniform(3.5, 5.0, boxes), rng.uniform(1.6, 2.1, boxes), rng.uniform(1.3, 2.0, boxes),
        rng.uniform(-3.0, 3.0, boxes), rng.normal(0, 5, boxes), rng.normal(0, 5, boxes),
    ]  # fmt: skip
    kinds, distortion = lens_arrays(LENSES)
    count = len(LENSES)
    past = se3(rotation_from_euler(0.0, 0.0, -0.1), np.array([-4.0, 0.3, 0.0]))
    return {
        "drive": "synthetic",
        "step": np.int64(3),
        "world_from_ego": se3(rotation_from_euler(0.01, 0.02, 0.7), np.array([100.0, 50.0, 2.0])),
        "motion": np.array([8.0, 0.5, 0.05, 0.12], np.float32),
        "images": blank(count),
        "image_valid": np.ones(count, bool),
        "image_timestamp_us": np.arange(count),
        "intrinsics": np.array([lens.matrix for lens in LENSES]),
        "lens": kinds,
        "distortion": distortion,
        "ego_from_camera": MOUNTS.copy(),
        "depth": rng.uniform(2.0, 50.0, (count, HEIGHT, WIDTH)).astype(np.float32),
        "semantic": rng.integers(0, 20, (count, HEIGHT, WIDTH)).astype(np.uint8),
        "instance": rng.integers(-9, 20, (count, HEIGHT, WIDTH)).astype(np.int32),
        "boxes": np.column_stack(columns),
        "box_kind": np.zeros(boxes, np.uint8),
        "agents_future": rng.normal(0, 3, (boxes, 4, 5)),
        "agents_future_valid": rng.random((boxes, 4)) < 0.8,
        "ego_future": rng.normal(0, 3, (4, 4)),
        "ego_future_valid": np.array([True, True, True, False]),
        "points": rng.normal(0, 10, (200, 5)),
        "radar": rng.normal(0, 10, (20, 6)),
        "map_lines": rng.normal(0, 20, (9, 5, 3)),
        "map_line_width": np.full(9, 3.5, np.float32),
        "lights": np.zeros(3, np.uint8),
        "light_poses": rng.normal(0, 2, (3, 4)),
        "light_distance": np.array([0.0, 30.0, 0.0], np.float32),
        "history_images": np.zeros((1, *blank(count).shape), np.uint8),
        "history_image_valid": np.ones((1, count), bool),
        "history_ego_from_camera": MOUNTS[None].copy(),
        "history_now_from_past": past[None],
        "history_valid": np.ones(1, bool),
    }


def blank(count: int) -> np.ndarray:
    return np.moveaxis(np.zeros((count, HEIGHT, WIDTH, 3), np.uint8), -1, -3)


def corners(sample: Sample) -> np.ndarray:
    """(M, 8, 3) corners of the boxes in the ego frame."""
    boxes = np.asarray(sample["boxes"], float)
    unit = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2.0
    local = unit * boxes[:, None, 3:6]
    c, s = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    x, y = c * local[..., 0] - s * local[..., 1], s * local[..., 0] + c * local[..., 1]
    return np.stack([x, y, local[..., 2]], axis=-1) + boxes[:, None, :3]


def project(sample: Sample, camera: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 2) of ego points with the sample's own arrays, and which are in front."""
    local = transform_points(inverse(sample["ego_from_camera"][camera]), points)
    bent, front = MODELS[sample["lens"][camera]](
        100, 100, 1.0, 1.0, 0.0, 0.0, *sample["distortion"][camera][: COEFFICIENTS[camera]]
    )._distort(local)
    k = sample["intrinsics"][camera]
    return bent @ k[:2, :2].T + k[:2, 2], front & (local[:, 2] > 0.5)


COEFFICIENTS = [0, 8, 4]


def dotted(sample: Sample) -> list[list[np.ndarray]]:
    """Draws a dot at every fifth projected corner that lies apart; their pixels per camera."""
    drawn = []
    for camera in range(3):
        uv, front = project(sample, camera, corners(sample).reshape(-1, 3))
        inside = front & (uv > 20).all(-1) & (uv < (WIDTH - 20, HEIGHT - 20)).all(-1)
        kept: list[np.ndarray] = []
        for place in uv[inside]:
            if all(np.abs(place - other).max() > 24 for other in kept):
                kept.append(place)
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        for place in kept:
            dot = 250.0 * np.exp(-((u - place[0]) ** 2 + (v - place[1]) ** 2) / (2 * 2.0**2))
            image = sample["images"][camera]
            image[...] = np.maximum(image, np.rint(dot).astype(np.uint8))
        drawn.append(kept)
    return drawn


def found(image: np.ndarray, near: np.ndarray) -> np.ndarray | None:
    """The centroid of the dot around a pixel."""
    grey = image.mean(0)
    u, v = np.rint(near).astype(int)
    if not (10 <= u < grey.shape[1] - 10 and 10 <= v < grey.shape[0] - 10):
        return None
    part = grey[v - 9 : v + 10, u - 9 : u + 10]
    rows, columns = np.mgrid[v - 9 : v + 10, u - 9 : u + 10]
    return np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum()


PICTURE_STEPS: list[tuple[str, Callable[..., Sample]]] = [
    ("resize", partial(aug.resize, size=(400, 200))),
    ("resize smaller", partial(aug.resize, size=(200, 120))),
    ("crop", partial(aug.crop, left=30, top=20, size=(250, 140))),
    ("roll", partial(aug.roll, angle=0.2)),
    ("flip pictures", partial(aug.flip_pictures, share=0.7)),
    ("view", partial(aug.view, size=(256, 128), scale=(1.0, 1.3), roll=0.1, shift=1.0)),
    ("turn", partial(aug.turn, angle=0.5, scale=(0.9, 1.1))),
    ("flip", partial(aug.flip, share=1.0, reorder=False)),
    (
        "all",
        aug.chain(
            partial(aug.view, size=(300, 170), scale=(1.0, 1.2), roll=0.1),
            partial(aug.flip, share=1.0, reorder=False),
            partial(aug.turn, angle=0.4, scale=(0.95, 1.05)),
        ),
    ),
]


@pytest.mark.parametrize(("name", "step"), PICTURE_STEPS, ids=[n for n, _ in PICTURE_STEPS])
def test_dots_drawn_at_box_corners_are_where_the_new_calibration_projects_them(
    name: str, step: Callable[..., Sample]
) -> None:
    seen, worst = 0, 0.0
    for seed in range(2):
        rng = np.random.default_rng(seed)
        sample = scene(rng)
        drawn = dotted(sample)
        before = corners(sample).reshape(-1, 3)
        after = step(sample, rng)
        moved = corners(after).reshape(-1, 3)
        for camera in range(3):
            uv, _ = project(sample, camera, before)
            new = project(after, camera, _matched(moved, name in ("flip", "all")))[0]
            for place in drawn[camera]:
                k = int(np.argmin(np.abs(uv - place).max(-1)))
                dot = found(after["images"][camera], new[k])
                if dot is not None:
                    seen += 1
                    worst = max(worst, float(np.abs(dot - new[k]).max()))
    assert seen > 20 and worst < 0.5, f"{name}: {seen} dots, {worst:.3f} px"


def _matched(points: np.ndarray, mirrored: bool) -> np.ndarray:
    """Corners in the order they had before: of a mirrored box left and right are exchanged."""
    if not mirrored:
        return points
    return points.reshape(-1, 2, 2, 2, 3)[:, :, ::-1].reshape(-1, 3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_scene_moves_as_one_piece(mirrored: bool) -> None:
    rng = np.random.default_rng(3)
    sample = scene(rng)
    step = partial(aug.flip, share=1.0, reorder=False) if mirrored else partial(
        aug.turn, angle=1.0, scale=(1.2, 1.2)
    )  # fmt: skip
    after = step(sample, rng)
    scale = 1.0 if mirrored else 1.2
    # the move of the frame, from what became of the points alone
    new_from_old = np.linalg.lstsq(sample["points"][:, :3], after["points"][:, :3], rcond=None)[0].T
    np.testing.assert_allclose(new_from_old @ new_from_old.T, scale**2 * np.eye(3), atol=1e-6)
    assert np.linalg.det(new_from_old) == pytest.approx((-1 if mirrored else 1) * scale**3)
    np.testing.assert_allclose(after["points"][:, 3:], sample["points"][:, 3:])
    # everything else went the same way
    for key in ("map_lines", "light_poses", "radar"):
        np.testing.assert_allclose(
            after[key][..., :3], sample[key][..., :3] @ new_from_old.T, atol=1e-5
        )
    np.testing.assert_allclose(
        _matched(corners(after).reshape(-1, 3), mirrored),
        corners(sample).reshape(-1, 3) @ new_from_old.T,
        atol=1e-5,
    )
    flat = new_from_old[:2, :2]
    np.testing.assert_allclose(after["boxes"][:, 7:9], sample["boxes"][:, 7:9] @ flat.T, atol=1e-6)
    valid = sample["agents_future_valid"]
    for columns in (slice(0, 2), slice(3, 5)):
        old = sample["agents_future"][..., columns] @ flat.T
        new = after["agents_future"][..., columns]
        np.testing.assert_allclose(new[valid], old[valid], atol=1e-5)
    assert not after["agents_future"][~valid].any()
    yaw, turned = sample["ego_future"][:3, 2], after["ego_future"][:3, 2]
    heading = np.stack([np.cos(yaw), np.sin(yaw)], -1) @ flat.T / scale
    np.testing.assert_allclose(np.stack([np.cos(turned), np.sin(turned)], -1), heading, atol=1e-6)
    np.testing.assert_allclose(after["ego_future"][:3, 3], scale * sample["ego_future"][:3, 3])
    # a point of the past, brought to now, is where the same point went
    point = np.array([5.0, 2.0, 1.0])
    now = transform_points(sample["history_now_from_past"][0], point[None])[0]
    again = transform_points(after["history_now_from_past"][0], (new_from_old @ point)[None])[0]
    np.testing.assert_allclose(again, new_from_old @ now, atol=1e-9)
    poses = after["ego_from_camera"]
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1.0, atol=1e-9)
    np.testing.assert_allclose(
        poses[:, :3, 3], sample["ego_from_camera"][:, :3, 3] @ new_from_old.T, atol=1e-9
    )
    # the world: what was at a place is at that place of the (mirrored, scaled) world
    world = transform_points(sample["world_from_ego"], point[None])[0]
    there = transform_points(after["world_from_ego"], (new_from_old @ point)[None])[0]
    side = np.diag([1.0, -1.0, 1.0]) if mirrored else np.eye(3)
    np.testing.assert_allclose(there, scale * side @ world, atol=1e-9)
    assert after["motion"][0] == pytest.approx(8.0 * scale)
    assert after["motion"][3] == pytest.approx(-0.12 if mirrored else 0.12)


def test_two_flips_are_none_and_four_quarter_turns_too() -> None:
    rng = np.random.default_rng(0)
    sample = scene(rng)
    dotted(sample)
    twice = aug.flip(aug.flip(sample, rng, share=1.0), rng, share=1.0)
    turned = sample
    for _ in range(4):
        turned = aug._scene_moved(
            turned, se3(rotation_from_euler(0, 0, np.pi / 2), np.zeros(3)), 1.0
        )
    for after in (twice, turned):
        for key, value in sample.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and key != "boxes":
                valid = sample.get(f"{key}_valid")
                a, b = (after[key], value) if valid is None else (after[key][valid], value[valid])
                if key in ("light_poses", "ego_future", "agents_future"):
                    a, b = np.exp(1j * a[..., 2:4]), np.exp(1j * b[..., 2:4])
                np.testing.assert_allclose(a, b, atol=1e-5, err_msg=key)
        np.testing.assert_allclose(corners(after), corners(sample), atol=1e-5)


def test_a_flip_gives_left_pictures_to_the_right_camera() -> None:
    sample = scene(np.random.default_rng(0))
    for camera in range(3):
        sample["images"][camera] = 50 * camera
    after = aug.flip(sample, np.random.default_rng(0), share=1.0)
    assert [int(image[0, 0, 0]) for image in after["images"]] == [0, 100, 50]
    assert after["lens"].tolist() == [0, 2, 1]
    np.testing.assert_allclose(after["ego_from_camera"][1, 1, 3], 0.48)  # on the left, as before
    assert after["ego_from_camera"][1, 1, 2] > 0.5


def test_depth_and_classes_move_with_the_picture_and_are_not_mixed() -> None:
    rng = np.random.default_rng(0)
    sample = scene(rng)
    sample["semantic"][:] = 7
    sample["semantic"][:, 60:120, 100:200] = 19
    after = aug.view(sample, rng, size=(256, 128), scale=(1.1, 1.1), roll=0.2)
    assert set(np.unique(after["semantic"])) <= {0, 7, 19}
    assert np.isin(after["depth"], np.append(sample["depth"], 0.0)).all()
    larger = aug.turn(sample, rng, scale=(2.0, 2.0))
    np.testing.assert_allclose(larger["depth"], 2.0 * sample["depth"])


def test_shaken_mounts_are_off_by_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    sample = {"ego_from_camera": identity(500)}
    after = aug.shake(sample, rng, rotation=0.009, position=0.01)["ego_from_camera"]
    assert after[:, :3, 3].std() == pytest.approx(0.01, rel=0.1)
    assert after[:, 1, 0].std() == pytest.approx(0.009, rel=0.1)
    np.testing.assert_allclose(np.linalg.det(after[:, :3, :3]), 1.0)


PIXEL_STEPS: list[Callable[..., Sample]] = [
    pix.colour,
    partial(pix.noise, share=1.0),
    partial(pix.blur, share=1.0),
    partial(pix.jpeg, share=1.0),
    partial(pix.fog, share=1.0),
    partial(pix.drop_cameras, share=0.9, told=True),
    partial(pix.freeze_cameras, share=0.9),
    pix.drop_ranges,
    pix.thin_points,
]


@pytest.mark.parametrize("step", PIXEL_STEPS, ids=lambda s: getattr(s, "func", s).__name__)
def test_pixel_changes_repeat_by_seed_leave_the_input_and_the_geometry(
    step: Callable[..., Sample],
) -> None:
    rng = np.random.default_rng(1)
    sample = scene(rng)
    sample["images"][:] = rng.integers(0, 255, sample["images"].shape)
    sample["history_images"][:] = rng.integers(0, 255, sample["history_images"].shape)
    before: dict[str, Any] = pickle.loads(pickle.dumps(sample))
    once, again = (step(sample, np.random.default_rng(5)) for _ in range(2))
    changed = []
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value, err_msg=f"{key} of the input")
        np.testing.assert_array_equal(once[key], again[key], err_msg=key)
        if not np.array_equal(once[key], value):
            changed.append(key)
    assert changed or getattr(step, "__name__", "") == "drop_ranges"
    free = {"images", "history_images", "image_valid", "history_image_valid", "points", "radar"}
    assert set(changed) <= free
    assert once["images"].dtype == np.uint8 and once["images"].shape == before["images"].shape


def test_fog_hides_what_is_far() -> None:
    sample = scene(np.random.default_rng(0))
    sample["images"][:] = 10
    sample["depth"][:] = 5.0
    sample["depth"][:, :, WIDTH // 2 :] = 100.0
    after = pix.fog(
        sample, np.random.default_rng(0), sight=(100.0, 100.0), grey=(200, 201), share=1
    )
    near, far = after["images"][0, 0, 0, 0], after["images"][0, 0, 0, -1]
    assert near == pytest.approx(10 + 190 * (1 - np.exp(-0.15)), abs=1)
    assert far == pytest.approx(10 + 190 * 0.95, abs=1)  # 5 % of its contrast at the sight


def test_colours_of_no_strength_change_nothing_and_grey_stays_grey() -> None:
    sample = scene(np.random.default_rng(0))
    sample["images"][:] = np.random.default_rng(0).integers(0, 255, sample["images"].shape)
    rng = np.random.default_rng(1)
    same = pix.colour(sample, rng, brightness=0, contrast=0, saturation=0, hue=0)
    assert np.abs(same["images"].astype(int) - sample["images"]).max() <= 1
    sample["images"][:] = 90
    grey = pix.colour(sample, rng, brightness=0.3, contrast=0, saturation=0.8, hue=0.1)["images"]
    assert np.ptp(grey.astype(int), axis=1).max() <= 1
    assert len(np.unique(grey)) >= 3  # another one per camera


def test_mistakes_are_said_in_one_line() -> None:
    rng = np.random.default_rng(0)
    sample = scene(rng)
    with pytest.raises(RoadloopError, match=r"crop of 300 x 300 px at 30, 0 leaves pictures"):
        aug.crop(sample, left=30, top=0, size=(300, 300))
    with pytest.raises(RoadloopError, match="no pictures to move"):
        aug.roll({"intrinsics": np.eye(3)[None]}, rng, angle=0.1)
    del sample["history_images"]
    with pytest.raises(RoadloopError, match="give history"):
        pix.freeze_cameras(sample, rng)


def test_a_chain_can_be_sent_to_a_worker() -> None:
    steps = aug.chain(partial(aug.roll, angle=0.1), pix.colour)
    sample = scene(np.random.default_rng(0))
    once = steps(sample, np.random.default_rng(2))
    again = pickle.loads(pickle.dumps(steps))(sample, np.random.default_rng(2))
    np.testing.assert_array_equal(once["images"], again["images"])
