"""Augmentation of samples in which pictures, calibration, boxes and map stay one scene.

Each function takes a sample (``training.sample_spec``) and a NumPy generator and gives a new one;
arrays it changes are new, the others shared. ``chain`` makes a ``transform`` for ``make_loader``::

    transform = chain(
        partial(view, size=(704, 256), scale=(0.95, 1.2), roll=0.03),
        partial(flip, share=0.5),
        partial(turn, angle=0.4, scale=(0.95, 1.05)),
        partial(colour, brightness=0.2, contrast=0.2, saturation=0.3, hue=0.05),
    )

Two kinds change the geometry. A picture is moved by an affine map of its pixels, ``A``, and its
intrinsics become ``A K``: exact for every lens, as distortion acts before ``K``. The ego frame is
turned, mirrored or scaled, and everything in it moves along; pictures stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from training.sample_spec import LENSES, Sample

Array = np.ndarray
Transform = Callable[[Sample, np.random.Generator], Sample]

IMAGES = ("images", "history_images")
DEPTHS = ("depth", "history_depth")
LABELS = ("semantic", "instance", "history_semantic", "history_instance")
MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
"""left becomes right in the ego frame"""
ASIDE = np.diag([-1.0, 1.0, 1.0, 1.0])
"""and in a camera's"""


def chain(*steps: Transform) -> Transform:
    """One transform that does one after the other."""
    return _Chain(steps)


class _Chain:
    """A class, as workers get it by pickling."""

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for step in self.steps:
            sample = step(sample, rng)
        return sample


# --- pictures -----------------------------------------------------------------------------------


def move_pixels(sample: Sample, maps: Array, size: tuple[int, int]) -> Sample:
    """Every picture moved by an affine map of its pixels.

    Args:
        maps: (N, 3, 3), new pixels from old ones, of each camera.
        size: px, width and height of the new pictures; what lies outside the old ones is black.
    """
    import cv2

    changed: Sample = {"intrinsics": maps @ sample["intrinsics"]}
    for key in (*IMAGES, *DEPTHS, *LABELS):
        if key not in sample:
            continue
        old = sample[key]
        colours = key in IMAGES
        if colours:
            old = np.moveaxis(old, -3, -1)
        axis = 1 if key.startswith("history") else 0
        rows = old.shape[: axis + 1]
        new = np.empty((*rows, size[1], size[0], *old.shape[axis + 3 :]), old.dtype)
        for at in np.ndindex(*rows):
            new[at] = _moved(old[at], maps[at[-1]], size, cv2.INTER_LINEAR if colours else None)
        changed[key] = np.moveaxis(new, -1, -3) if colours else new
    return {**sample, **changed}


def resize(
    sample: Sample, rng: np.random.Generator | None = None, *, size: tuple[int, int]
) -> Sample:
    """All pictures stretched to a width and height, px."""
    height, width = _height_width(sample)
    sx, sy = size[0] / width, size[1] / height
    scaled = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
    return move_pixels(sample, _for_all(sample, scaled), size)


def crop(
    sample: Sample,
    rng: np.random.Generator | None = None,
    *,
    left: int,
    top: int,
    size: tuple[int, int],
) -> Sample:
    """The part of all pictures that begins at ``left, top`` px."""
    height, width = _height_width(sample)
    if left < 0 or top < 0 or left + size[0] > width or top + size[1] > height:
        raise RoadloopError(
            f"crop of {size[0]} x {size[1]} px at {left}, {top} leaves pictures of "
            f"{width} x {height} px"
        )
    shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    return move_pixels(sample, _for_all(sample, shift), size)


def roll(sample: Sample, rng: np.random.Generator, *, angle: float) -> Sample:
    """Each picture turned about its middle by up to ``angle`` rad, another one per camera."""
    height, width = _height_width(sample)
    angles = rng.uniform(-angle, angle, len(sample["intrinsics"]))
    maps = np.array([_about_middle(a, 1.0, (width, height), (width, height)) for a in angles])
    return move_pixels(sample, maps, (width, height))


def flip_pictures(sample: Sample, rng: np.random.Generator, *, share: float = 0.5) -> Sample:
    """Each picture mirrored left-right in ``share`` of all cases; the scene stays as it is.

    Its camera then counts pixels from the right: ``K`` has a negative focal length.
    """
    height, width = _height_width(sample)
    mirrored = rng.random(len(sample["intrinsics"])) < share
    maps = np.array([_mirror(width) if m else np.eye(3) for m in mirrored])
    return move_pixels(sample, maps, (width, height))


def view(
    sample: Sample,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    roll: float = 0.0,
    shift: float = 0.0,
    keep: float = 1.0,
    together: bool = False,
) -> Sample:
    """Resize, crop and roll at once, so that pixels are mixed only once.

    Args:
        size: px, width and height of the outcome.
        scale: from ... to, over what just covers ``size``.
        roll: rad, at most.
        shift: of the window, at most, as a share of what a larger picture leaves.
        keep: where the window lies vertically without shift: 0 at the top, 1 at the bottom.
        together: the same for all cameras.
    """
    height, width = _height_width(sample)
    count = len(sample["intrinsics"])
    cover = max(size[0] / width, size[1] / height)
    draws = rng.uniform(-1.0, 1.0, (1 if together else count, 4))
    low, high = scale
    maps = []
    for a, b, c, d in np.broadcast_to(draws, (count, 4)):
        factor = cover * (low + (high - low) * (a + 1.0) / 2.0)
        spare = np.array([width, height]) * factor - size
        corner = spare * (np.array([0.5, keep]) + 0.5 * shift * np.array([b, c]))
        corner = np.clip(corner, np.minimum(spare, 0.0), np.maximum(spare, 0.0))
        scaled = np.array(
            [
                [factor, 0.0, 0.5 * factor - 0.5 - corner[0]],
                [0.0, factor, 0.5 * factor - 0.5 - corner[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        maps.append(_about_middle(roll * d, 1.0, size, size) @ scaled)
    return move_pixels(sample, np.array(maps), size)


# --- the scene ----------------------------------------------------------------------------------


def flip(
    sample: Sample,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    reorder: bool = True,
) -> Sample:
    """The whole scene mirrored, left and right, in ``share`` of all cases.

    Pictures, lenses, mounts, boxes, points, map, past and future are those of a mirrored world, in
    which traffic keeps to the other side.

    Args:
        reorder: give each place in the arrays to the camera that now looks most like the one that
            was there before: mirrored, what the left camera saw is seen by the right one.
    """
    if rng.random() >= share:
        return sample
    changed = _scene_moved(sample, MIRROR, 1.0)
    if "intrinsics" not in sample:
        return changed
    width = _height_width(sample)[1]
    changed["intrinsics"] = _mirror(width) @ sample["intrinsics"] @ ASIDE[:3, :3]
    distortion = changed["distortion"].copy()
    bent = changed["lens"] == LENSES.index("brown-conrady")
    distortion[bent, 3] *= -1.0  # p2, the one that is odd in x
    changed["distortion"] = distortion
    for key in ("ego_from_camera", "history_ego_from_camera"):
        if key in changed:
            changed[key] = changed[key] @ ASIDE
    for key in (*IMAGES, *DEPTHS, *LABELS):
        if key in changed:
            changed[key] = _mirrored(changed[key], key in IMAGES)
    if reorder:
        order = _like_before(sample["ego_from_camera"], changed["ego_from_camera"])
        for key in PER_CAMERA:
            if key in changed:
                past = key.startswith("history")
                changed[key] = changed[key][:, order] if past else changed[key][order]
    return changed


def turn(
    sample: Sample,
    rng: np.random.Generator,
    *,
    angle: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Sample:
    """The ego frame turned about the vertical by up to ``angle`` rad, and lengths scaled.

    The pictures do not change: what they show is elsewhere in the new frame, and larger or smaller
    by the factor, speeds included. ``world_from_ego`` is scaled with it.
    """
    turned = rotation_from_euler(0.0, 0.0, rng.uniform(-angle, angle))
    return _scene_moved(sample, se3(turned, np.zeros(3)), float(rng.uniform(*scale)))


def shake(
    sample: Sample,
    rng: np.random.Generator,
    *,
    rotation: float = 0.009,
    position: float = 0.01,
) -> Sample:
    """Errors of the calibration: mounts that are not quite where ``ego_from_camera`` says.

    Args:
        rotation: rad, standard deviation about each axis of a camera (half a degree).
        position: m, along each.
    """
    count = len(sample["ego_from_camera"])
    angles, places = rng.normal(0.0, rotation, (3, count)), rng.normal(0.0, position, (count, 3))
    error = se3(rotation_from_euler(*angles), places)
    keys = [k for k in ("ego_from_camera", "history_ego_from_camera") if k in sample]
    return {**sample, **{key: sample[key] @ error for key in keys}}


PER_CAMERA = (
    "images", "depth", "semantic", "instance", "image_valid", "image_timestamp_us", "intrinsics",
    "lens", "distortion", "ego_from_camera", "history_images", "history_depth",
    "history_semantic", "history_instance", "history_image_valid", "history_ego_from_camera",
)  # fmt: skip


def _scene_moved(sample: Sample, turned: Array, scale: float) -> Sample:
    """The sample in an ego frame that is turned or mirrored (4, 4) and scaled."""
    rotation = turned[:3, :3]
    mirrored = np.linalg.det(rotation) < 0.0
    sign = -1.0 if mirrored else 1.0
    angle = 0.0 if mirrored else float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    flat = rotation[:2, :2].T
    new: Sample = dict(sample)

    def placed(poses: Array, back: Array) -> Array:
        moved = turned @ poses @ back
        moved[..., :3, 3] *= scale
        return moved

    def angles(values: Array) -> Array:
        return np.mod(sign * values + angle + np.pi, 2.0 * np.pi) - np.pi

    for key in ("ego_from_camera", "history_ego_from_camera"):
        if key in sample:
            new[key] = placed(sample[key], np.eye(4))
    if "history_now_from_past" in sample:
        new["history_now_from_past"] = placed(sample["history_now_from_past"], turned.T)
    world = turned if mirrored else np.eye(4)  # a mirrored ego drives in a mirrored world
    pose = world @ sample["world_from_ego"] @ turned.T
    pose[:3, 3] *= scale
    new["world_from_ego"] = pose
    if "boxes" in sample:
        boxes = sample["boxes"].copy()
        boxes[:, :6] *= scale
        boxes[:, :2] = boxes[:, :2] @ flat
        boxes[:, 6] = angles(boxes[:, 6])
        boxes[:, 7:9] = boxes[:, 7:9] @ flat * scale
        new["boxes"] = boxes
    for key, moving in (("agents_past", True), ("agents_future", True), ("ego_past", False),
                        ("ego_future", False)):  # fmt: skip
        if key in sample:
            rows = sample[key].copy()
            rows[..., :2] = rows[..., :2] @ flat * scale
            rows[..., 2] = angles(rows[..., 2])
            rows[..., 3:] = rows[..., 3:5] @ flat * scale if moving else rows[..., 3:] * scale
            new[key] = np.where(sample[f"{key}_valid"][..., None], rows, np.float32(0.0))
    for key in ("points", "radar", "map_lines", "light_poses"):
        if key in sample:
            rows = sample[key].copy()
            rows[..., :3] *= scale
            rows[..., :2] = rows[..., :2] @ flat
            new[key] = rows
    for key in DEPTHS if scale != 1.0 else ():
        if key in sample:
            new[key] = sample[key] * scale
    if "light_distance" in sample:
        new["light_distance"] = sample["light_distance"] * np.float32(scale)
    if "light_poses" in sample:
        new["light_poses"][:, 3] = angles(sample["light_poses"][:, 3])
    if "radar" in sample:
        new["radar"][:, 3] *= scale
    if "map_line_width" in sample:
        new["map_line_width"] = sample["map_line_width"] * scale
    new["motion"] = sample["motion"] * np.array([scale, scale, sign, sign], np.float32)
    return new


def _like_before(before: Array, after: Array) -> Array:
    """(N,) for every place the camera of ``after`` that is most like that of ``before``.

    Alike: direction of the axis first, then position. Poses are (N, 4, 4).
    """
    from scipy.optimize import linear_sum_assignment

    cost = 1.0 - before[:, :3, 2] @ after[:, :3, 2].T
    gap = before[:, None, :3, 3] - after[None, :, :3, 3]
    cost = cost + 0.05 * np.linalg.norm(gap, axis=-1)
    return linear_sum_assignment(cost)[1]


def _moved(image: Array, pixels: Array, size: tuple[int, int], smooth: int | None) -> Array:
    """A picture moved by an affine map; ``smooth``: how pixels are mixed, None: not at all."""
    import cv2

    if smooth is None:
        return cv2.warpAffine(image, pixels[:2], size, flags=cv2.INTER_NEAREST)
    shrink = float(np.sqrt(abs(np.linalg.det(pixels[:2, :2]))))
    if shrink < 0.75:  # mixed in two goes, or pixels between would be passed over
        height, width = image.shape[:2]
        small = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        sx, sy = width / small[0], height / small[1]
        back = [[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]]
        pixels = pixels @ np.array(back)
    return cv2.warpAffine(image, pixels[:2], size, flags=smooth)


def _mirrored(images: Array, colours: bool) -> Array:
    """(..., [3,] H, W) with left and right exchanged."""
    import cv2

    old = np.moveaxis(images, -3, -1) if colours else images
    new = np.empty(old.shape, old.dtype)
    for at in np.ndindex(*old.shape[: -3 if colours else -2]):
        new[at] = cv2.flip(old[at], 1)
    return np.moveaxis(new, -1, -3) if colours else new


def _about_middle(angle: float, scale: float, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """(3, 3) that turns a picture about its middle, by rad from right to down."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turned = np.array([[c, -s], [s, c]])
    middle = (np.array(old) - 1.0) / 2.0
    made = np.eye(3)
    made[:2, :2] = turned
    made[:2, 2] = (np.array(new) - 1.0) / 2.0 - turned @ middle
    return made


def _mirror(width: int) -> Array:
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _for_all(sample: Sample, pixels: Array) -> Array:
    return np.broadcast_to(pixels, (len(sample["intrinsics"]), 3, 3))


def _height_width(sample: Sample) -> tuple[int, int]:
    for key in ("images", "depth", "semantic", "instance"):
        if key in sample:
            return sample[key].shape[-2], sample[key].shape[-1]
    raise RoadloopError("the sample has no pictures to move: give cameras in the spec")
