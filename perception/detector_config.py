"""What a detector is made of: its cameras, grid, network and outputs; no torch is imported here.

Two configurations come with roadloop, ``configs/detector_compact.yaml`` and
``configs/detector_full.yaml``; both describe the one class `perception.network.DetectorNetwork`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.rig import load_rig
from roadloop.types import AgentKind

Array = np.ndarray


class ObjectClass(IntEnum):
    """What the object head tells apart; the number is the channel of its heatmap."""

    VEHICLE = 0
    CYCLIST = 1
    PEDESTRIAN = 2
    OBSTACLE = 3


class RasterLayer(IntEnum):
    """Channels of the raster map."""

    DRIVABLE = 0
    LANE_LINE = 1
    ROAD_EDGE = 2
    CROSSING = 3
    STOP_LINE = 4
    VEHICLE = 5


class LampState(IntEnum):
    """What the light head tells apart; RED counts red and yellow together as red."""

    OFF = 0
    RED = 1
    YELLOW = 2
    GREEN = 3


PARKED = 3.0
"""m, length from which an agent of kind STATIC is a parked vehicle, else an obstacle"""
STRIDE = 8
"""px of the network's pictures per cell of the feature maps that are lifted"""

_CLASS_OF_KIND = {
    AgentKind.CAR: ObjectClass.VEHICLE,
    AgentKind.VAN: ObjectClass.VEHICLE,
    AgentKind.TRUCK: ObjectClass.VEHICLE,
    AgentKind.BUS: ObjectClass.VEHICLE,
    AgentKind.MOTORCYCLE: ObjectClass.CYCLIST,
    AgentKind.CYCLIST: ObjectClass.CYCLIST,
    AgentKind.PEDESTRIAN: ObjectClass.PEDESTRIAN,
    AgentKind.STATIC: ObjectClass.OBSTACLE,
}


def object_classes(kind: Array, length: Array) -> Array:
    """(n,) uint8 `ObjectClass` of road users of ``AgentKind`` and ``length`` m."""
    table = np.array([_CLASS_OF_KIND[k] for k in AgentKind], np.uint8)
    found = table[kind]
    parked = (kind == AgentKind.STATIC) & (length >= PARKED)
    return np.where(parked, np.uint8(ObjectClass.VEHICLE), found)


@dataclass(frozen=True)
class BevGrid:
    """Cells of the bird's-eye view in the ego frame; cell (i, j) is x ahead, y to the left."""

    x_min: float = -3.2
    """m, rear edge of the cells i = 0"""
    y_min: float = -25.6
    """m, right edge of the cells j = 0"""
    nx: int = 64
    ny: int = 64
    cell: float = 0.8
    """m, side of a cell"""

    def __post_init__(self) -> None:
        if self.nx < 8 or self.ny < 8 or self.nx % 8 or self.ny % 8 or not self.cell > 0.0:
            raise RoadloopError(
                f"grid of {self.nx} x {self.ny} cells of {self.cell} m: expected multiples of 8 "
                "cells, of a size above 0"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """nx, ny."""
        return self.nx, self.ny

    @property
    def x_max(self) -> float:
        """m, front edge."""
        return self.x_min + self.nx * self.cell

    @property
    def y_max(self) -> float:
        """m, left edge."""
        return self.y_min + self.ny * self.cell

    def centres(self) -> Array:
        """(nx, ny, 2) x, y of the cells' centres."""
        x = self.x_min + (np.arange(self.nx) + 0.5) * self.cell
        y = self.y_min + (np.arange(self.ny) + 0.5) * self.cell
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)

    def cells_of(self, xy: Array) -> Array:
        """(..., 2) m -> (..., 2) i, j as reals: whole numbers at the cells' centres."""
        return (np.asarray(xy) - (self.x_min, self.y_min)) / self.cell - 0.5

    def metres_of(self, ij: Array) -> Array:
        """The inverse of `cells_of`."""
        return (np.asarray(ij) + 0.5) * self.cell + (self.x_min, self.y_min)


@dataclass(frozen=True)
class DetectorConfig:
    """A detector. Defaults: the compact one."""

    rig: str = "compact"
    """the virtual cameras: a rig by name or file; pictures of other rigs are warped into them"""
    size: tuple[int, int] = (256, 96)
    """px, width and height of every picture"""
    light_cameras: tuple[str, ...] = ("front-narrow", "front")
    """which of them look for traffic lights; none: []"""

    backbone: str = "regnetx_002"
    """any timm model that gives feature maps"""
    strides: tuple[int, ...] = (8, 16)
    """of the feature maps that are used"""
    neck: Literal["fpn", "bifpn"] = "fpn"
    neck_layers: int = 1
    channels: int = 48
    """of the feature maps that are lifted"""

    grid: BevGrid = field(default_factory=BevGrid)
    lift: Literal["sample", "gather4", "gather1"] = "sample"
    """sample: bilinear, the calibration is an input; gather4: the same from a fixed table;
    gather1: the nearest feature"""
    heights: tuple[float, ...] = (0.0, 0.6, 1.4)
    """m above the ground, of the points that are looked up"""

    lidar: bool = False
    radar: bool = False
    temporal: bool = True
    """keep a state from moment to moment"""
    state_age: float = 0.5
    """s between two moments of the state"""

    bev_channels: int = 48
    bev_down: tuple[int, ...] = (80,)
    """channels of the levels at half, a quarter ... of the resolution"""
    bev_blocks: int = 1
    """residual blocks per level"""
    attention_layers: int = 1
    attention_heads: int = 4
    attention_tokens: int = 16
    """tokens along each side of the coarse grid"""

    depth_bins: int = 24
    """of the training-only depth head, from 2 m to 60 m; 0: none"""
    semantics: bool = True
    """the training-only head of `roadloop.semantics`"""

    def __post_init__(self) -> None:
        width, height = self.size
        if width % 32 or height % 32 or width <= 0 or height <= 0:
            raise RoadloopError(f"size is {width} x {height}: expected multiples of 32 px")
        if not self.strides or any(s not in (4, 8, 16, 32) for s in self.strides):
            raise RoadloopError(f"strides are {self.strides}: expected some of 4, 8, 16, 32")
        for name in ("neck_layers", "channels", "bev_channels", "bev_blocks", "attention_tokens"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if not self.heights or not np.isfinite(self.heights).all():
            raise RoadloopError(f"heights are {self.heights}: expected metres above the ground")
        if not 0.0 < self.state_age < math.inf:
            raise RoadloopError(f"state_age is {self.state_age}: expected seconds above 0")


def light_rows(config: DetectorConfig) -> list[int]:
    """The light cameras by their places in the rig, in the order of ``config.light_cameras``.

    Raises RoadloopError where the rig has none of that name.
    """
    names = [camera.name for camera in load_rig(config.rig).cameras]
    for name in config.light_cameras:
        if name not in names:
            raise RoadloopError(
                f'light_cameras: rig {config.rig} has no camera "{name}"; it has {", ".join(names)}'
            )
    return [names.index(name) for name in config.light_cameras]
