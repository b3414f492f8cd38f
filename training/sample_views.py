"""How a stored picture becomes one in the size, lens and direction a sample wants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from roadloop.camera import Pinhole, Warp, warp_between
from roadloop.errors import RoadloopError
from roadloop.geometry import se3
from roadloop.rig import CameraSensor, load_rig
from training.sample_spec import SampleSpec

Array = np.ndarray

ALIKE = float(np.cos(np.radians(45.0)))
"""a virtual camera is filled from one whose axis is at most so far from its own"""
COARSER = 1.5
"""a picture is made smaller first where a warp would skip over more of its pixels than this"""

_STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class View:
    """From the lens a picture was stored with to that of the sample."""

    source: Pinhole
    target: Pinhole
    scaled: tuple[int, int]
    """px, width and height the source is resized to first"""
    corner: tuple[int, int] = (0, 0)
    """px, left and top of the part of it that is kept, where nothing is warped"""
    turned: tuple[float, ...] = ()
    """source_from_target row by row, where the picture is warped"""

    @cached_property
    def is_same(self) -> bool:
        """Whether the picture is taken as it is."""
        return not self.turned and self.source == self.target

    def __call__(self, image: Array, exact: bool = False) -> Array:
        """The picture (height, width[, channels]) as the target sees it, black where it does not.

        Args:
            exact: pixels cannot be mixed, as those of labels: the nearest one is taken.
        """
        import cv2

        if self.is_same:
            return image
        if self.scaled != (self.source.width, self.source.height):
            smaller = self.scaled[0] * self.scaled[1] < self.source.width * self.source.height
            how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            how = cv2.INTER_NEAREST_EXACT if exact else how
            image = cv2.resize(image, self.scaled, interpolation=how)
        if not self.turned:
            left, top = self.corner
            return image[top : top + self.target.height, left : left + self.target.width]
        how = cv2.INTER_NEAREST if exact else cv2.INTER_LINEAR
        flat = _homography(self)
        if flat is not None:
            size = (self.target.width, self.target.height)
            return cv2.warpPerspective(image, flat, size, flags=how | cv2.WARP_INVERSE_MAP)
        warp = _warp(self)
        return cv2.remap(image, warp.u, warp.v, how, borderMode=cv2.BORDER_CONSTANT)

    def depth(self, image: Array) -> Array:
        """A depth image (height, width) as the target sees it: m along *its* z axis."""
        seen = self(image, exact=True)
        return seen * _depth_gain(self) if self.turned and self.turned != _STRAIGHT else seen


@dataclass(frozen=True)
class Slot:
    """A camera of the sample."""

    name: str
    source: int
    """index of the recording's camera, -1: it has none that looks there"""
    view: View
    source_from_target: Array
    """(4, 4) turns the camera's axes where the picture is warped"""
    mount: Array
    """(4, 4) ego_from_camera by the calibration"""


def slots_of(
    spec: SampleSpec, names: list[str], lenses: list[Pinhole], mounts: Array, where: str
) -> list[Slot]:
    """The cameras of a sample, from those of the recording (``mounts``: (N, 4, 4)).

    Raises RoadloopError, beginning with ``where``, for pictures of several sizes.
    """
    if spec.virtual:
        rig = _rig(spec.virtual)
        made = [_virtual(spec, camera, names, lenses, mounts) for camera in rig]
    else:
        made = [
            Slot(name, k, view_of(spec, lens), np.eye(4), mounts[k])
            for k, (name, lens) in enumerate(zip(names, lenses))
        ]
    sizes = {(slot.view.target.width, slot.view.target.height) for slot in made}
    if len(sizes) > 1:
        found = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
        raise RoadloopError(
            f"{where}: pictures of several sizes ({found}); give size, the one they shall have"
        )
    return made


@lru_cache(maxsize=4096)
def view_of(spec: SampleSpec, lens: Pinhole) -> View:
    """The view of a picture whose camera is not turned."""
    scaled, corner, target = _fitted(spec, lens)
    if spec.rectify and type(lens) is not Pinhole:
        return _warped(lens, _pinhole(target), _STRAIGHT)
    return View(lens, target, scaled, corner)


def _virtual(
    spec: SampleSpec,
    camera: CameraSensor,
    names: list[str],
    lenses: list[Pinhole],
    mounts: Array,
) -> Slot:
    """A camera of the virtual rig, filled from the recording's of its name or the most alike."""
    target, mount = _fitted(spec, camera.camera)[2], camera.ego_from_camera
    if camera.name in names:
        k = names.index(camera.name)
    else:
        alike = mounts[:, :3, 2] @ mount[:3, 2]
        k = int(np.argmax(alike)) if len(names) and alike.max() >= ALIKE else -1
    if k < 0:
        none = View(target, target, (target.width, target.height))
        return Slot(camera.name, -1, none, np.eye(4), mount)
    turned = mounts[k, :3, :3].T @ mount[:3, :3]
    view = _warped(lenses[k], target, tuple(turned.ravel().tolist()))
    placed = mounts[k].copy()
    placed[:3, :3] = mount[:3, :3]
    return Slot(camera.name, k, view, se3(turned, np.zeros(3)), placed)


def _fitted(spec: SampleSpec, lens: Pinhole) -> tuple[tuple[int, int], tuple[int, int], Pinhole]:
    """Size to scale to, corner to cut at, and the lens of the outcome."""
    width, height = spec.size if spec.size[0] else (lens.width, lens.height)
    if spec.fit == "stretch":
        return (width, height), (0, 0), lens.scaled(width, height)
    factor = max(width / lens.width, height / lens.height)
    scaled = (
        max(round(lens.width * factor), width),
        max(round(lens.height * factor), height),
    )
    left = (scaled[0] - width) // 2
    spare = scaled[1] - height
    top = {"top": 0, "middle": spare // 2, "bottom": spare}[spec.keep]
    bigger = lens if scaled == (lens.width, lens.height) else lens.scaled(*scaled)
    same = scaled == (width, height)
    return scaled, (left, top), bigger if same else bigger.cropped(left, top, width, height)


def _warped(source: Pinhole, target: Pinhole, turned: tuple[float, ...]) -> View:
    """A view through a warp, made smaller first where the target is much coarser."""
    ratio = max(source.fx / target.fx, source.fy / target.fy)
    scale = 1.0 / ratio if ratio > COARSER else 1.0
    size = (max(round(source.width * scale), 1), max(round(source.height * scale), 1))
    return View(source, target, size, turned=turned)


def _pinhole(lens: Pinhole) -> Pinhole:
    return Pinhole(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy)


@lru_cache(maxsize=16)
def _rig(name: str) -> tuple[CameraSensor, ...]:
    return load_rig(name).cameras


@lru_cache(maxsize=1024)
def _homography(view: View) -> Array | None:
    """(3, 3) pixels of the scaled source from those of the target, None where a lens bends light.

    None, too, where the target also looks behind the source, which a homography folds forward.
    """
    if type(view.source) is not Pinhole or type(view.target) is not Pinhole:
        return None
    target, turned = view.target, np.array(view.turned).reshape(3, 3)
    right, bottom = target.width - 0.5, target.height - 0.5
    corners = np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
    rays = target.unproject(corners)[0] @ turned.T
    if rays[:, 2].min() < 0.05:
        return None
    return view.source.scaled(*view.scaled).matrix @ turned @ np.linalg.inv(target.matrix)


@lru_cache(maxsize=64)
def _warp(view: View) -> Warp:
    turned = np.array(view.turned).reshape(3, 3)
    return warp_between(view.source.scaled(*view.scaled), view.target, turned)


@lru_cache(maxsize=64)
def _depth_gain(view: View) -> Array:
    """(height, width) float32: depth along the target's axis per m along the source's."""
    v, u = np.indices((view.target.height, view.target.width), dtype=np.float64)
    rays, _ = view.target.unproject(np.stack([u, v], axis=-1))
    along = rays @ np.array(view.turned).reshape(3, 3).T[:, 2]
    gain = np.where(along > 1e-3, rays[..., 2] / np.where(along > 1e-3, along, 1.0), 0.0)
    return np.maximum(gain, 0.0).astype(np.float32)
