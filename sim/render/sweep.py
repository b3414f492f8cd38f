"""The fast LiDAR: triangles rasterised straight onto the grid of beams, as exact as ray casting.

The grid's rows are beams (elevation e), its columns regular steps of azimuth. With the corners
v0, v1, v2 of a triangle in the sensor's frame and n_i = v_i x v_(i+1), the ray along d meets it
where all n_i . d have the sign of det = v0 . (v1 x v2), at the distance t = det / (N . d) with the
normal N. On the row e each edge test reads A cos(azimuth) + B sin(azimuth) + C >= 0, an arc of
azimuth, so a large triangle costs the beams it covers and not the grid. The nearest hit is kept by
an atomic maximum over (1 / t, id), which does not depend on the order of triangles.

A sweep of a moving sensor is divided into sectors in which it moves and turns evenly. Turning
about its axis only makes the columns denser or wider; a drift of u per column shifts the edge tests
by (u x edge) . d and det by u . N per column, so that each beam starts where it was fired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from sim.render.beam_grid import Ray, Row, Sector, rasterise, resolve
from sim.render.frame import Frame
from sim.render.geometry import CHUNK
from sim.render.scene import DETAIL_FAR, Scene, Views

Array = np.ndarray

SECTORS = 6
"""parts of a sweep of a moving sensor; in each, it moves and turns evenly"""


@dataclass(frozen=True)
class Beams:
    """Directions of a sweep in the sensor's frame (x forward, y left, z up).

    Beam ``r`` in column ``c`` looks to the azimuth ``start + c * step + offset[r]``.
    """

    elevation: Array
    """(rows,) rad, up positive, any order"""
    offset: Array
    """(rows,) rad"""
    start: float
    """rad, left positive"""
    step: float
    """rad, positive; ``columns * step`` at most a turn"""
    columns: int

    @cached_property
    def directions(self) -> Array:
        """(columns, rows, 3) float64 unit vectors."""
        azimuth = self.start + self.step * np.arange(self.columns)[:, None] + self.offset
        level = np.cos(self.elevation)
        up = np.broadcast_to(np.sin(self.elevation), azimuth.shape)
        return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), up], axis=-1)

    @cached_property
    def rows(self) -> Array:
        """(rows,) Row records, by rising elevation."""
        order = np.argsort(self.elevation, kind="stable")
        rows = np.zeros(len(order), Row.numpy_dtype())
        rows["beam"] = order
        elevation, offset = self.elevation[order], self.offset[order]
        rows["cos"], rows["sin"], rows["offset"] = np.cos(elevation), np.sin(elevation), offset
        rows["cos_offset"], rows["sin_offset"] = np.cos(offset), np.sin(offset)
        return rows

    @cached_property
    def _kept(self) -> dict[str, tuple[wp.array, wp.array]]:
        return {}

    def on(self, device: str) -> tuple[wp.array, wp.array]:
        """``rows`` and the tangents of their elevations on a device, copied once."""
        if device not in self._kept:
            rows = self.rows
            slope = np.clip(rows["sin"] / np.maximum(rows["cos"], 1e-7), -1e6, 1e6)
            self._kept[device] = (
                wp.array(rows, dtype=Row, device=device),
                wp.array(slope, dtype=wp.float32, device=device),
            )
        return self._kept[device]


@dataclass(frozen=True)
class Returns:
    """What each beam met first; fields ``(columns, rows)``, beams as ``Beams`` has them."""

    distance: Array
    """float32 m, inf where there is nothing"""
    surface: Array
    """uint8 Surface"""
    semantic: Array
    """uint8 SemanticClass, SKY where there is nothing"""
    instance: Array
    """int32, as in ``CameraImage.instance``"""
    cosine: Array
    """float32, of the angle between the beam and the surface's normal"""


def sweep(
    scene: Scene,
    frame: Frame,
    world: int,
    world_from_sensor: Array,
    beams: Beams,
    *,
    far: float,
    hide: int = 0,
) -> Returns:
    """What all beams of a sweep meet.

    Args:
        world: row of ``frame``.
        world_from_sensor: (4, 4), or (columns, 4, 4) where the sensor moves: the pose in which each
            column is measured, along an even path within each of ``SECTORS`` parts. Rolling and
            pitching within a part count for distances, not for which triangle a beam meets. Actors
            stand as the frame has them.
        far: m, nothing is seen beyond.
        hide: row of an actor the beams pass through (the ego), -1: none.

    Raises:
        RoadloopError: poses of a shape that fits neither.
    """
    poses = np.asarray(world_from_sensor, np.float64)
    if poses.shape not in ((4, 4), (beams.columns, 4, 4)):
        raise RoadloopError(
            f"world_from_sensor has shape {poses.shape}, must be (4, 4) or "
            f"({beams.columns}, 4, 4): one pose, or one per column"
        )
    middle = poses if poses.ndim == 2 else poses[beams.columns // 2]
    views = Views(np.array([world]), middle[None], tangents=None, hide=hide)
    chunks = scene.cull(frame, views).chunks
    return _swept(scene, frame, chunks, *_sectors(poses, beams), beams, far)


def _sectors(poses: Array, beams: Beams) -> tuple[Array, Array]:
    """Sector and Ray records of a sweep."""
    n = beams.columns
    azimuth = beams.start + beams.step * np.arange(n)
    rays = np.zeros(n, Ray.numpy_dtype())
    rays["turn"] = np.eye(3)
    parts = 1 if poses.ndim == 2 else min(SECTORS, n)
    edges = n * np.arange(parts + 1) // parts
    sectors = np.zeros(parts, Sector.numpy_dtype())
    sectors["first"], sectors["columns"] = edges[:-1], np.diff(edges)
    sectors["start"], sectors["step"] = azimuth[edges[:-1]], beams.step
    sectors["turn"] = np.eye(3)
    if poses.ndim == 2:
        rays["trig"] = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
        _bound(sectors, beams)
        return sectors, rays
    centre = poses[(edges[:-1] + edges[1:]) // 2]
    owner = np.repeat(np.arange(parts), np.diff(edges))
    relative = inverse(centre)[owner] @ poses  # sector_from_sensor of each column
    # the turn about the sensor's axis makes the columns of a sector denser or wider ...
    yaw = np.arctan2(relative[:, 1, 0], relative[:, 0, 0])
    first, last = edges[:-1], edges[1:] - 1
    spread = (yaw[last] - yaw[first]) / np.maximum(last - first, 1)
    sectors["start"] += yaw[first]
    sectors["step"] += spread
    azimuth = azimuth + yaw[first][owner] + spread[owner] * (np.arange(n) - first[owner])
    rays["trig"] = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    # ... and what is left of the rotation turns its beams
    yaw = azimuth - (beams.start + beams.step * np.arange(n))
    back = np.zeros((n, 3, 3))
    back[:, 0, 0] = back[:, 1, 1] = np.cos(yaw)
    back[:, 0, 1], back[:, 1, 0], back[:, 2, 2] = np.sin(yaw), -np.sin(yaw), 1.0
    rays["turn"] = relative[:, :3, :3] @ back
    rays["origin"] = relative[:, :3, 3]
    sectors["drift"] = (rays["origin"][last] - rays["origin"][first]) / np.maximum(last - first, 1)[
        :, None
    ]
    away = np.linalg.norm(rays["origin"], axis=1)
    sectors["reach"] = 1.01 * np.maximum.reduceat(away, first)
    rays["sector"] = owner
    sector_from_middle = inverse(centre) @ poses[n // 2]
    sectors["turn"], sectors["place"] = sector_from_middle[:, :3, :3], sector_from_middle[:, :3, 3]
    _bound(sectors, beams)
    return sectors, rays


def _bound(sectors: Array, beams: Beams) -> None:
    """Fills in the planes to the left and right of sectors of less than half a turn."""
    low = sectors["start"] + beams.offset.min() - beams.step
    high = sectors["start"] + sectors["step"] * sectors["columns"] + beams.offset.max() + beams.step
    narrow = (high - low < 3.1)[:, None]
    sectors["left"] = np.stack([np.sin(high), -np.cos(high)], axis=1) * narrow
    sectors["right"] = np.stack([-np.sin(low), np.cos(low)], axis=1) * narrow


def _swept(
    scene: Scene,
    frame: Frame,
    chunks: wp.array,
    sectors: Array,
    rays: Array,
    beams: Beams,
    far: float,
) -> Returns:
    device = scene.device
    rows, slope = beams.on(device)
    shape = (beams.columns, len(beams.elevation))
    # an empty beam holds the farthest distance and no triangle
    empty = int(np.float32(1.0 / far).view(np.int32)) << 32
    key = wp.full(shape[::-1], empty, dtype=wp.int64, device=device)
    ray_array = wp.array(rays, dtype=Ray, device=device)
    sector_array = wp.array(sectors, dtype=Sector, device=device)
    # the CPU runs threads one after the other: few long ones; a GPU wants many short ones
    cpu = wp.get_device(device).is_cpu
    lanes = 1 if cpu else CHUNK
    if len(chunks):
        wp.launch(
            rasterise,
            dim=(len(sectors), len(chunks), lanes),
            inputs=[
                scene.triangles,
                chunks,
                sector_array,
                rows,
                slope,
                wp.array(np.ascontiguousarray(rays["trig"]), dtype=wp.vec2, device=device),
                DETAIL_FAR,
                lanes,
                key,
            ],
            device=device,
        )
    distance = wp.empty(shape, dtype=wp.float32, device=device)
    cosine = wp.zeros(shape, dtype=wp.float32, device=device)
    surface = wp.zeros(shape, dtype=wp.uint8, device=device)
    semantic = wp.zeros(shape, dtype=wp.uint8, device=device)
    instance = wp.zeros(shape, dtype=wp.int32, device=device)
    lanes = 1 if cpu else beams.columns
    ids = np.ascontiguousarray(frame.actors.id, np.int32).ravel()
    wp.launch(
        resolve,
        dim=(shape[1], lanes),
        inputs=[
            scene.triangles,
            chunks,
            rows,
            sector_array,
            ray_array,
            wp.array(ids, dtype=wp.int32, device=device),
            key,
            lanes,
            distance,
            cosine,
            surface,
            semantic,
            instance,
        ],
        device=device,
    )
    return Returns(
        distance=distance.numpy(),
        surface=surface.numpy(),
        semantic=semantic.numpy(),
        instance=instance.numpy(),
        cosine=cosine.numpy(),
    )
