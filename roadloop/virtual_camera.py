"""Virtual cameras: what any vehicle's cameras saw, as the cameras of a fixed rig would see it.

A network learns with the lenses and directions of one rig. Pictures of another are warped into it,
each place of the rig (a slot) from the camera that fits it best, by a rotation alone: the camera
keeps its own position, which the pose of the outcome says. Training and the car do it here::

    slots = VirtualCameras("compact").slots(names, lenses, mounts)   # by the calibration, once
    front = slots[0].view(pictures[slots[0].source])                 # (height, width, 3) uint8
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from roadloop.camera import Pinhole, Warp, warp_between
from roadloop.errors import RoadloopError
from roadloop.geometry import se3
from roadloop.rig import CameraSensor, load_rig

Array = np.ndarray
Fit = Literal["cover", "stretch"]
Keep = Literal["top", "middle", "bottom"]

ALIKE = float(np.cos(np.radians(45.0)))
"""a virtual camera is filled from one whose axis is at most so far from its own"""
COVERED = 0.9
"""share of a virtual camera's picture from which on a source counts as covering it"""
COARSER = 1.5
"""a picture is made smaller first where a warp would skip over more of its pixels than this"""
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""no turn, row by row"""
SAME = 1e-6
"""rad and px up to which a camera counts as that of its slot"""

_RAYS = (16, 8)  # across and down, at which two cameras are compared


@dataclass(frozen=True)
class View:
    """From the lens a picture was stored with to the one it is wanted in."""

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

        Itself, not a copy, where nothing changes; where it is a part, a view of it.

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
        return seen * _depth_gain(self) if self.turned and self.turned != STRAIGHT else seen


@dataclass(frozen=True)
class Slot:
    """A camera that is wanted, and where its picture comes from."""

    name: str
    source: int
    """index of the vehicle's camera, -1: it has none that looks there"""
    view: View
    source_from_target: Array
    """(4, 4) turns the camera's axes where the picture is warped"""
    mount: Array
    """(4, 4) ego_from_camera by the calibration"""


@dataclass(frozen=True)
class VirtualCameras:
    """The cameras of a rig, to be filled from those of any vehicle.

    A slot is filled from the camera of its name, where that looks the same way (up to 45 degrees
    off), else from the one of those that do which shows ``COVERED`` of its picture in the finest
    detail, or, where none does, the most of it. One camera may fill several slots.
    """

    rig: str
    """name or file"""
    size: tuple[int, int] = (0, 0)
    """px, width and height of every picture; 0, 0: those of the rig"""
    fit: Fit = "cover"
    keep: Keep = "bottom"
    """where another shape is wanted than the rig's: see `fitted`"""

    @cached_property
    def sensors(self) -> tuple[CameraSensor, ...]:
        """The slots as the rig has them; RoadloopError for an unknown rig."""
        return load_rig(self.rig).cameras

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the slots, in the order of the rig."""
        return tuple(sensor.name for sensor in self.sensors)

    @cached_property
    def lenses(self) -> tuple[Pinhole, ...]:
        """Of the slots' pictures."""
        return tuple(fitted(s.camera, self.size, self.fit, self.keep)[2] for s in self.sensors)

    @cached_property
    def mounts(self) -> Array:
        """(N, 4, 4) nominal ego_from_camera."""
        return np.array([s.ego_from_camera for s in self.sensors]).reshape(-1, 4, 4)

    def slots(self, names: Sequence[str], lenses: Sequence[Pinhole], mounts: Array) -> list[Slot]:
        """Each slot filled from a vehicle's cameras, whose poses ``mounts`` (n, 4, 4) are.

        Raises RoadloopError that names a camera whose calibration is not finite or singular.
        """
        for name, lens, mount in zip(names, lenses, mounts):
            check_calibration(name, lens, mount)
        return [
            _slot(sensor.name, lens, sensor.ego_from_camera, list(names), list(lenses), mounts)
            for sensor, lens in zip(self.sensors, self.lenses)
        ]


def fitted(
    lens: Pinhole, size: tuple[int, int], fit: Fit, keep: Keep
) -> tuple[tuple[int, int], tuple[int, int], Pinhole]:
    """How a picture gets the width and height ``size`` without a warp.

    Args:
        size: px; 0, 0: that of the lens.
        fit: cover: the shape of things stays, what sticks out is cut off; stretch: nothing is.
        keep: which rows stay where rows are cut off.

    Returns:
        Size to scale to, left and top of the part that is kept, and the lens of the outcome.
    """
    width, height = size if size[0] else (lens.width, lens.height)
    if fit == "stretch":
        return (width, height), (0, 0), lens.scaled(width, height)
    factor = max(width / lens.width, height / lens.height)
    scaled = (
        max(round(lens.width * factor), width),
        max(round(lens.height * factor), height),
    )
    left = (scaled[0] - width) // 2
    spare = scaled[1] - height
    top = {"top": 0, "middle": spare // 2, "bottom": spare}[keep]
    bigger = lens if scaled == (lens.width, lens.height) else lens.scaled(*scaled)
    same = scaled == (width, height)
    return scaled, (left, top), bigger if same else bigger.cropped(left, top, width, height)


def warped(source: Pinhole, target: Pinhole, turned: tuple[float, ...] = STRAIGHT) -> View:
    """A view through a warp, made smaller first where the target is much coarser.

    ``turned`` is the rotation source_from_target, row by row.
    """
    ratio = max(source.fx / target.fx, source.fy / target.fy)
    scale = 1.0 / ratio if ratio > COARSER else 1.0
    size = (max(round(source.width * scale), 1), max(round(source.height * scale), 1))
    return View(source, target, size, turned=turned)


def straightened(lens: Pinhole) -> Pinhole:
    """The pinhole of the same size, focal lengths and centre."""
    return Pinhole(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy)


def check_calibration(name: str, lens: Pinhole, mount: Array) -> None:
    """Raises RoadloopError, naming the camera, for numbers that are no lens or no pose (4, 4)."""
    pose = np.asarray(mount, float)
    if not np.isfinite(_numbers(lens)).all():
        raise RoadloopError(f'camera "{name}": its lens holds NaN or infinity: calibrate it again')
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise RoadloopError(
            f'camera "{name}": ego_from_camera is not (4, 4) of finite numbers: calibrate it again'
        )
    turn = pose[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0.0:
        raise RoadloopError(
            f'camera "{name}": ego_from_camera holds no rotation (determinant '
            f"{np.linalg.det(turn):.3g}): calibrate it again"
        )


def _slot(
    name: str, target: Pinhole, mount: Array, names: list[str], lenses: list[Pinhole], mounts: Array
) -> Slot:
    """A slot filled from the camera that fits it best."""
    k = _best(name, target, mount, names, lenses, mounts)
    if k < 0:
        none = View(target, target, (target.width, target.height))
        return Slot(name, -1, none, np.eye(4), mount)
    turned = _turned(mounts[k], mount)
    placed = mounts[k].copy()
    placed[:3, :3] = mount[:3, :3]
    part = _part(lenses[k], target) if np.abs(turned - np.eye(3)).max() < SAME else None
    if part is not None:
        return Slot(name, k, part, np.eye(4), placed)
    view = warped(lenses[k], target, tuple(turned.ravel().tolist()))
    return Slot(name, k, view, se3(turned, np.zeros(3)), placed)


def _best(
    name: str, target: Pinhole, mount: Array, names: list[str], lenses: list[Pinhole], mounts: Array
) -> int:
    """Index of the camera a slot is filled from, -1: none looks there."""
    alike = mounts[:, :3, 2] @ mount[:3, 2] if len(names) else np.zeros(0)
    able = np.flatnonzero(alike >= ALIKE).tolist()
    if len(able) < 2:
        return able[0] if able else -1
    for k in able:
        if names[k] == name:
            return k
    ranks = []
    for k in able:
        turned = tuple(_turned(mounts[k], mount).ravel().tolist())
        covered, detail = _shown(lenses[k], target, turned)
        ranks.append((round(min(covered, COVERED), 3), round(detail, 3), alike[k], -k))
    return -max(ranks)[-1]


@lru_cache(maxsize=1024)
def _shown(source: Pinhole, target: Pinhole, turned: tuple[float, ...]) -> tuple[float, float]:
    """How much of a target's picture the source shows, and in how much of its detail (0 to 1)."""
    columns = (np.arange(_RAYS[0]) + 0.5) * target.width / _RAYS[0] - 0.5
    rows = (np.arange(_RAYS[1]) + 0.5) * target.height / _RAYS[1] - 0.5
    u, v = np.meshgrid(columns, rows)
    places = np.stack([u, v], axis=-1)
    beside = np.stack([places, np.stack([u + 1.0, v], -1), np.stack([u, v + 1.0], -1)])
    rays, has_ray = target.unproject(beside)
    uv, _ = source.project(rays @ np.array(turned).reshape(3, 3).T)
    _, seen = source.project(rays[0] @ np.array(turned).reshape(3, 3).T)
    seen &= has_ray.all(0)
    across, down = uv[1] - uv[0], uv[2] - uv[0]
    area = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    fine = np.where(seen, np.minimum(np.sqrt(area), 1.0), 0.0)
    return float(seen.mean()), float(fine.mean())


def _turned(mount: Array, wanted: Array) -> Array:
    """(3, 3) source_from_target of two poses."""
    return mount[:3, :3].T @ wanted[:3, :3]


def _part(source: Pinhole, target: Pinhole) -> View | None:
    """The view of a target that is the source's picture or a part of it, to the pixel; else None.

    Nothing needs to be warped then.
    """
    moved = np.array([source.cx - target.cx, source.cy - target.cy])
    left, top = np.rint(moved).astype(int).tolist()
    fits = 0 <= left <= source.width - target.width and 0 <= top <= source.height - target.height
    if type(source) is not type(target) or not fits:
        return None
    cut = source.cropped(left, top, target.width, target.height)
    if np.abs(_numbers(cut) - _numbers(target)).max() > SAME:
        return None
    return View(source, cut, (source.width, source.height), (left, top))


def _numbers(lens: Pinhole) -> Array:
    """All that a lens is made of."""
    return np.array([float(getattr(lens, field.name)) for field in fields(lens)])


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
