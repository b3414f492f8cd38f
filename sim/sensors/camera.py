"""Cameras: pictures with labels of a rig's cameras, for one world or a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from sim.render.frame import Frame
from sim.render.renderer import Images, Renderer, tangents
from sim.render.scene import Scene, Views

Array = np.ndarray


@dataclass(frozen=True)
class Shot:
    """What one camera of one world recorded; arrays ``(height, width, ...)``."""

    rgb: Array
    """uint8"""
    depth: Array
    """float32, m along the camera's z axis; inf: sky"""
    semantic: Array
    """uint8 SemanticClass; NONE where the lens sees nothing"""
    instance: Array
    """int32"""


class Cameras:
    """Takes pictures of one scene with the same cameras again and again."""

    def __init__(self, scene: Scene, cameras: Sequence[Pinhole]) -> None:
        if not cameras:
            raise RoadloopError("no camera to render: give at least one")
        self.cameras = tuple(cameras)
        self._straight = [k for k, camera in enumerate(cameras) if type(camera) is Pinhole]
        self._bent = [k for k, camera in enumerate(cameras) if type(camera) is not Pinhole]
        self._renderer = Renderer(scene)

    def shoot(
        self, frame: Frame, world: Array, world_from_camera: Array, *, hide: int = 0
    ) -> list[list[Shot]]:
        """Pictures of every camera in every given world: ``shots[i][k]`` of world ``world[i]``.

        Args:
            world: (n,) rows of the frame.
            world_from_camera: (n, cameras, 4, 4) float64.
            hide: row of an actor that is not drawn, -1: none.
        """
        n = len(world)
        shots: list[list[Shot]] = [[] for _ in range(n)]
        found: dict[tuple[int, int], Shot] = {}
        for group in (self._straight, self._bent):
            if not group:
                continue
            cameras = [self.cameras[k] for _ in range(n) for k in group]
            views = Views(
                world=np.repeat(np.asarray(world), len(group)),
                world_from_view=world_from_camera[:, group].reshape(-1, 4, 4),
                tangents=None
                if group is self._bent
                else np.stack([tangents(camera) for camera in cameras]),
                hide=hide,
            )
            images = self._renderer.render(frame, views, cameras)
            for row, camera in enumerate(cameras):
                i, k = divmod(row, len(group))
                found[i, group[k]] = _shot(images, row, camera)
        for i in range(n):
            shots[i] = [found[i, k] for k in range(len(self.cameras))]
        return shots


def _shot(images: Images, row: int, camera: Pinhole) -> Shot:
    """A copy of one view's picture."""
    pixels = slice(images.start[row], images.start[row + 1])
    shape = (camera.height, camera.width)
    rgbs = images.rgbs[pixels].reshape(*shape, 4)
    return Shot(
        rgb=cv2.cvtColor(rgbs, cv2.COLOR_RGBA2RGB),
        depth=images.depth[pixels].reshape(shape).copy(),
        semantic=cv2.extractChannel(rgbs, 3),
        instance=images.instance[pixels].reshape(shape).copy(),
    )
