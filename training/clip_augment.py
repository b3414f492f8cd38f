"""Augmentation of a detector's clips: pictures, calibration, targets and motion stay one scene.

What is drawn for a clip holds for all its moments: the same world, the same cameras. It is applied
to finished frames, as the loader's ``transform``, which gives it a generator by (seed, epoch,
clip); frames themselves have nothing random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.detector_config import DetectorConfig, light_rows
from perception.frame import NOT_JUDGED
from perception.objects import BOX_CHANNELS
from perception.point_grid import RADAR_PLANES
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler
from roadloop.virtual_camera import VirtualCameras
from training.augment import ASIDE, MIRROR
from training.augment_pixels import blur, colour, noise
from training.sample_spec import Sample

Array = np.ndarray

OVER_GRID = ("lidar", "radar", "heat", "heat_weight", "box", "box_weight", "velocity_weight",
             "raster", "raster_weight", "lane", "lane_weight")  # fmt: skip
"""arrays whose last axis is the grid's, from right to left"""
PER_CAMERA = ("images", "camera_valid", "pixel_from_ego", "depth", "semantic")
ALIKE = 1e-3
"""m, px and (of rotations) 1, up to which a rig counts as the mirror image of itself"""


@dataclass(frozen=True)
class Augmentation:
    """What is done to clips; each by itself is off at 0."""

    mirror: float = 0.5
    """share of clips in which left and right are exchanged"""
    brightness: float = 0.25
    """gains of pictures are up to so much more or less than 1, likewise contrast and saturation"""
    contrast: float = 0.2
    saturation: float = 0.3
    hue: float = 0.02
    """turns of 1"""
    noise: float = 6.0
    """of 255, standard deviation at most, in `noise_share` of the cameras"""
    noise_share: float = 0.2
    blur: float = 0.8
    """px, out of focus by at most, in `blur_share` of the cameras"""
    blur_share: float = 0.05
    rotation: float = 0.002
    """rad, standard deviation of calibration errors about each axis. Pitch is range: half a degree
    (0.009) costs a third of the vehicles' IoU after 1,200 moments (0.107 for 0.152 without)"""
    position: float = 0.01
    """m, likewise"""
    blackout: float = 0.03
    """share of cameras that fail, at one of the clip's moments"""
    lidar_dropout: float = 0.25
    """share of clips without LiDAR"""
    radar_dropout: float = 0.25

    def __post_init__(self) -> None:
        shares = ("mirror", "noise_share", "blur_share", "blackout", "lidar_dropout",
                  "radar_dropout")  # fmt: skip
        for name in vars(self):
            high = 1.0 if name in shares else np.inf
            if not 0.0 <= getattr(self, name) <= high or getattr(self, name) == np.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: expected 0 to {high:g}")


class ClipAugment:
    """A ``transform`` for ``make_loader`` over ``training.clips``.

    Raises:
        RoadloopError: a rig or grid that is not its own mirror image, where clips are mirrored.
    """

    def __init__(self, config: DetectorConfig, settings: Augmentation | None = None) -> None:
        self.settings = settings or Augmentation()
        cameras = VirtualCameras(config.rig, config.size)
        self.matrices = np.array([lens.matrix for lens in cameras.lenses])
        self.lights = light_rows(config)
        self.swap = list(range(len(cameras.names)))
        if self.settings.mirror > 0.0:
            self.swap = mirrored_slots(config)
        self.light_swap = [self.lights.index(self.swap[slot]) for slot in self.lights]

    def __call__(self, clip: Sample, rng: np.random.Generator) -> Sample:
        """A new clip; arrays that are changed are new ones."""
        s = self.settings
        clip = dict(clip)
        if rng.random() < s.mirror:
            clip = mirrored(clip, self.swap, self.light_swap)
        clip |= self._pictures(clip, rng)
        clip["pixel_from_ego"] = self._shaken(clip["pixel_from_ego"], rng)
        self._black(clip, rng)
        for key, share in (("lidar", s.lidar_dropout), ("radar", s.radar_dropout)):
            lost = rng.random() < share
            if key in clip and lost:
                clip[key] = np.zeros_like(clip[key])
                clip[f"{key}_valid"] = np.zeros_like(clip[f"{key}_valid"])
        return clip

    def _pictures(self, clip: Sample, rng: np.random.Generator) -> Sample:
        """``images`` of other light and with noise, each camera alike at all moments."""
        s = self.settings
        images = clip["images"]
        # those functions keep a camera's draw for its earlier pictures, their "history"
        part: Sample = {"images": images[-1]}
        if len(images) > 1:
            part["history_images"] = images[:-1]
        gains = {k: getattr(s, k) for k in ("brightness", "contrast", "saturation", "hue")}
        before = part
        if any(gains.values()):
            part = colour(part, rng, **gains)
        if s.blur > 0.0 and s.blur_share > 0.0:
            part = blur(part, rng, deviation=s.blur, share=s.blur_share)
        if s.noise > 0.0 and s.noise_share > 0.0:
            part = noise(part, rng, deviation=s.noise, share=s.noise_share)
        if part is before:
            return {}
        made = np.moveaxis(np.empty((*images.shape[:2], *images.shape[3:], 3), np.uint8), -1, -3)
        made[-1] = part["images"]
        if len(images) > 1:
            made[:-1] = part["history_images"]
        return {"images": made}

    def _shaken(self, pixels: Array, rng: np.random.Generator) -> Array:
        """(T, N, 3, 4) of cameras that are not quite where the calibration says."""
        s = self.settings
        if s.rotation <= 0.0 and s.position <= 0.0:
            return pixels
        count = len(self.matrices)
        angles, places = (
            rng.normal(0.0, s.rotation, (3, count)),
            rng.normal(0, s.position, (count, 3)),
        )
        turn = self.matrices @ rotation_from_euler(*angles) @ np.linalg.inv(self.matrices)
        moved = turn @ pixels.astype(np.float64)
        moved[..., 3] += (self.matrices @ places[..., None])[..., 0]
        # nothing moves where there is no camera
        return np.where(pixels.any((-2, -1), keepdims=True), moved, 0.0).astype(np.float32)

    def _black(self, clip: Sample, rng: np.random.Generator) -> None:
        """Cameras that fail: from one moment on black, and their pictures' labels not judged."""
        moments, count = clip["camera_valid"].shape
        struck = rng.random(count) < self.settings.blackout
        begins = rng.integers(0, moments, count)
        if not struck.any():
            return
        black = struck & (np.arange(moments)[:, None] >= begins)
        for key, none in (("images", 0), ("camera_valid", False), ("depth", NOT_JUDGED),
                          ("semantic", NOT_JUDGED)):  # fmt: skip
            if key in clip:
                clip[key] = clip[key].copy(order="K")
                clip[key][black] = none
        if "light_valid" in clip:
            clip["light_valid"] = clip["light_valid"] & ~black[:, self.lights]


def mirrored(clip: Sample, swap: list[int], light_swap: list[int]) -> Sample:
    """A clip with left and right exchanged, cameras too: geometry stays that of the rig.

    Args:
        swap: for each slot the one that is its mirror image; ``light_swap`` for light cameras.
    """
    new = dict(clip)
    for key in OVER_GRID:
        if key in clip:
            new[key] = clip[key][..., ::-1].copy()
    for key in ("images", "depth", "semantic"):
        if key in clip:
            new[key] = clip[key][:, swap][..., ::-1]
    for key in ("light_heat", "light_box", "light_state", "light_weight"):
        if key in clip:
            new[key] = clip[key][:, light_swap][..., ::-1].copy()
    if "light_valid" in clip:
        new["light_valid"] = clip["light_valid"][:, light_swap]
        new["light_box"][:, :, 0] *= -1.0
    new["camera_valid"] = clip["camera_valid"][:, swap]
    width = clip["images"].shape[-1]
    across = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    pixels = clip["pixel_from_ego"][:, swap].astype(np.float64)
    new["pixel_from_ego"] = (across @ pixels @ MIRROR).astype(np.float32)
    for key, names in (("box", BOX_CHANNELS), ("radar", RADAR_PLANES)):
        for name in ("dy", "sin2", "vy"):
            if key in new and name in names:
                new[key][:, names.index(name)] *= -1.0
    if "lane" in new:
        new["lane"][:, 1:] *= -1.0
    if "motion" in clip:
        new["motion"] = clip["motion"] * np.array([1.0, -1.0, -1.0], np.float32)
    if "boxes" in clip:
        sign = np.array([1, -1, 1, 1, 1, 1, -1, 1, -1], np.float32)
        new["boxes"] = [boxes * sign for boxes in clip["boxes"]]
    if "world_from_ego" in clip:
        new["world_from_ego"] = MIRROR @ clip["world_from_ego"] @ MIRROR
    return new


def mirrored_slots(config: DetectorConfig) -> list[int]:
    """For each slot of a detector's rig the one that is its mirror image.

    Raises RoadloopError where the rig, its light cameras or the grid have none.
    """
    grid, cameras = config.grid, VirtualCameras(config.rig, config.size)
    if abs(grid.y_min + grid.y_max) > ALIKE:
        raise RoadloopError(
            f"the grid reaches from {grid.y_min:g} to {grid.y_max:g} m: clips can be mirrored only "
            "where it is even on both sides; set mirror to 0"
        )
    found = []
    for name, lens, mount in zip(cameras.names, cameras.lenses, cameras.mounts):
        beside = MIRROR @ mount @ ASIDE
        width = lens.width - 1.0
        turned = Pinhole(lens.width, lens.height, lens.fx, lens.fy, width - lens.cx, lens.cy)
        same = [
            k
            for k, (other, pose) in enumerate(zip(cameras.lenses, cameras.mounts))
            if np.abs(pose - beside).max() < ALIKE
            and np.abs(other.matrix - turned.matrix).max() < ALIKE
            and type(other) is Pinhole
        ]
        if not same:
            raise RoadloopError(
                f'rig {config.rig} has no mirror image of camera "{name}": set mirror to 0'
            )
        found.append(same[0])
    lights = light_rows(config)
    if {found[slot] for slot in lights} != set(lights):
        raise RoadloopError(
            "the mirror image of a light camera is none: add it to light_cameras, or set mirror "
            "to 0"
        )
    return found
