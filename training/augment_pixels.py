"""What a camera or the weather does to pictures, and sensors that fail: labels stay as they are.

Each function takes a sample and a NumPy generator and gives a new sample, like those of
``training.augment``. ``share`` is how likely each camera is struck; what is drawn for a camera
holds for its earlier pictures (``history_images``) too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from roadloop.errors import RoadloopError
from training.sample_spec import Sample

Array = np.ndarray

Change = Callable[[Array, tuple[int, ...]], Array]
"""a new picture (H, W, 3) from an old one and its place: (camera,) or (moment, camera)"""

IMAGES = ("images", "history_images")


def colour(
    sample: Sample,
    rng: np.random.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.02,
    share: float = 1.0,
    together: bool = False,
) -> Sample:
    """Other light and another white: factors of 1 plus or minus so much; hue in turns of 1.

    Args:
        together: the same for all cameras.
    """
    draws = rng.uniform(-1.0, 1.0, (len(sample["images"]), 4))
    if together:
        draws = np.repeat(draws[:1], len(draws), axis=0)
    maps = [
        _colour_map(d * (brightness, contrast, saturation, hue)).astype(np.float32) for d in draws
    ]

    def changed(image: Array, at: tuple[int, ...]) -> Array:
        import cv2

        gain, offset = maps[at[-1]][:, :3], maps[at[-1]][:, 3]
        middle = np.float32(image.mean())  # contrast is about the picture's own middle
        mixed = np.hstack([gain, (offset * middle)[:, None]])
        return cv2.transform(image, mixed)

    return _changed(sample, rng, share, changed)


def noise(
    sample: Sample, rng: np.random.Generator, *, deviation: float = 8.0, share: float = 0.3
) -> Sample:
    """Normal noise on every channel, with a deviation of up to so many grey values of 255."""
    seeds = rng.integers(0, 2**63, len(sample["images"]))

    def changed(image: Array, at: tuple[int, ...]) -> Array:
        own = np.random.default_rng([seeds[at[-1]], *at])
        strength = np.float32(own.uniform(0.0, deviation))
        steps = np.rint(strength * _normal_table()).astype(np.int16)
        grain = steps[own.integers(0, len(steps), image.shape, np.uint16)]
        return np.clip(image + grain, 0, 255).astype(np.uint8)

    return _changed(sample, rng, share, changed)


def blur(
    sample: Sample, rng: np.random.Generator, *, deviation: float = 2.0, share: float = 0.3
) -> Sample:
    """Out of focus: a Gaussian of up to so many px."""
    widths = rng.uniform(0.1, max(deviation, 0.1), len(sample["images"]))

    def changed(image: Array, at: tuple[int, ...]) -> Array:
        import cv2

        return cv2.GaussianBlur(image, (0, 0), widths[at[-1]])

    return _changed(sample, rng, share, changed)


def jpeg(
    sample: Sample,
    rng: np.random.Generator,
    *,
    quality: tuple[int, int] = (30, 90),
    share: float = 0.3,
) -> Sample:
    """What compression leaves behind, at a quality from ... to."""
    chosen = rng.integers(quality[0], quality[1] + 1, len(sample["images"]))

    def changed(image: Array, at: tuple[int, ...]) -> Array:
        import cv2

        options = [cv2.IMWRITE_JPEG_QUALITY, int(chosen[at[-1]])]
        content = cv2.imencode(".jpg", np.ascontiguousarray(image), options)[1]
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))

    return _changed(sample, rng, share, changed)


def fog(
    sample: Sample,
    rng: np.random.Generator,
    *,
    sight: tuple[float, float] = (40.0, 200.0),
    grey: tuple[int, int] = (150, 220),
    share: float = 0.3,
) -> Sample:
    """Fog over all cameras, in ``share`` of all cases: Koschmieder's law with the depth image.

    A surface at distance d keeps ``exp(-3 d / sight)`` of its contrast, so 5 % at ``sight`` m (the
    meteorological optical range). Without depth, the one a level road would have is taken, and
    above the horizon the sky's.
    """
    struck, distance = rng.random() < share, float(rng.uniform(*sight))
    air = float(rng.uniform(*grey))
    if not struck:
        return sample

    def changed(key: str, image: Array, at: tuple[int, ...]) -> Array:
        depths = sample.get(key.replace("images", "depth"))
        depth = _road_depth(sample, at[-1], image.shape[:2]) if depths is None else depths[at]
        far = np.where(depth > 0.0, depth, np.float32(1e4))
        kept = np.exp(np.float32(-3.0 / distance) * far)[..., None]
        return (kept * (image - np.float32(air)) + np.float32(air + 0.5)).astype(np.uint8)

    keys = [key for key in IMAGES if key in sample]
    return {**sample, **{key: _mapped(sample[key], partial(changed, key)) for key in keys}}


def drop_cameras(
    sample: Sample, rng: np.random.Generator, *, share: float = 0.1, told: bool = False
) -> Sample:
    """Black pictures.

    Args:
        told: ``image_valid`` says so; otherwise the network has to see it.
    """
    struck = rng.random(len(sample["images"])) < share
    new = _changed(sample, rng, 1.0, lambda image, at: image * np.uint8(not struck[at[-1]]))
    if told:
        new["image_valid"] = sample["image_valid"] & ~struck
        if "history_image_valid" in sample:
            new["history_image_valid"] = sample["history_image_valid"] & ~struck
    return new


def freeze_cameras(sample: Sample, rng: np.random.Generator, *, share: float = 0.05) -> Sample:
    """Pictures that stand still: the newest is that of the moment before, where there is one."""
    if "history_images" not in sample:
        raise RoadloopError("a frozen camera shows what it saw before: give history in the spec")
    struck = rng.random(len(sample["images"])) < share
    struck &= sample["history_image_valid"][0]
    images = sample["images"].copy(order="K")
    images[struck] = sample["history_images"][0, struck]
    return {**sample, "images": images}


def drop_ranges(
    sample: Sample, rng: np.random.Generator, *, lidar: float = 0.25, radar: float = 0.25
) -> Sample:
    """No LiDAR points, or no radar targets, each in that share of all cases."""
    new = dict(sample)
    for key, share in (("points", lidar), ("radar", radar)):
        lost = rng.random() < share
        if key in sample and lost:
            new[key] = sample[key][:0]
    return new


def thin_points(
    sample: Sample, rng: np.random.Generator, *, keep: tuple[float, float] = (0.3, 1.0)
) -> Sample:
    """A share of the LiDAR points, from ... to, as in rain or from a coarser sensor."""
    points = sample["points"]
    stays = rng.random(len(points)) < rng.uniform(*keep)
    return {**sample, "points": points[stays]}


def _changed(
    sample: Sample,
    rng: np.random.Generator,
    share: float,
    change: Change,
) -> Sample:
    """The sample with the pictures of the cameras that are struck changed."""
    struck = rng.random(len(sample["images"])) < share
    new = dict(sample)
    for key in IMAGES:
        if key in sample:
            new[key] = _mapped(
                sample[key],
                lambda image, at: change(image, at) if struck[at[-1]] else image,
            )
    return new


def _mapped(images: Array, change: Change) -> Array:
    """(..., 3, H, W) with every picture (H, W, 3) changed, in memory as they came."""
    old = np.moveaxis(images, -3, -1)
    new = np.empty(old.shape, old.dtype)
    for at in np.ndindex(*old.shape[:-3]):
        new[at] = change(np.ascontiguousarray(old[at]), at)
    return np.moveaxis(new, -1, -3)


def _colour_map(by: Array) -> Array:
    """(3, 4): new RGB from old RGB, and a share of the picture's middle that is added.

    Saturation and hue as rotations and stretches about grey, with the weights of ITU-R BT.601.
    """
    brightness, contrast, saturation, hue = by
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    vivid = (1.0 + saturation) * np.eye(3) - saturation * grey
    angle = 2.0 * np.pi * hue
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    turned = np.eye(3)
    turned[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    gain = (1.0 + brightness) * (1.0 + contrast) * vivid @ np.linalg.inv(yiq) @ turned @ yiq
    offset = np.full((3, 1), -(1.0 + brightness) * contrast)
    return np.hstack([gain, offset])


@lru_cache(maxsize=1)
def _normal_table() -> Array:
    """(65536,) float32, the normal distribution by its quantiles: a draw is a look-up."""
    from scipy.special import ndtri

    return ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)


def _road_depth(sample: Sample, camera: int, shape: tuple[int, ...]) -> Array:
    """(H, W) m along the camera's axis to a level road; 0 at and above the horizon.

    How far a ray of depth 1 leads down is linear in the pixel.
    """
    pose = sample["ego_from_camera"][camera]
    du, dv, rest = -pose[2, :3] @ np.linalg.inv(sample["intrinsics"][camera])
    down = (du * np.arange(shape[1]) + rest) + (dv * np.arange(shape[0]))[:, None]
    high = max(float(pose[2, 3]), 0.1)
    return np.where(down > 1e-3, high / np.maximum(down, 1e-3), 0.0).astype(np.float32)
