"""What the kernels need of lenses that bend lines: rays per pixel and the image radius by angle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import warp as wp

from roadloop.camera import Pinhole
from sim.render.raster_lens import LENS_STEPS, Lens

Array = np.ndarray

ARC = 0.1
"""rad, length of the arcs on which the bending of edges is measured"""


class LensTables:
    """The lenses of several views on a device, ``cameras[k]`` for view k.

    Attributes:
        lenses: (views,) Lens.
        radius: (cameras * LENS_STEPS,) image radius at focal length 1.
        rays: (pixels,) vec3, unit rays of all distinct cameras; zero where a lens sees nothing.
    """

    def __init__(self, cameras: Sequence[Pinhole], device: str) -> None:
        distinct = list(dict.fromkeys(cameras))
        records = np.zeros(len(distinct), Lens.numpy_dtype())
        tables, rays, first = [], [], 0
        for k, camera in enumerate(distinct):
            ray, radius, figures = _tabulated(camera)
            records[k] = (*figures, k * LENS_STEPS, first)
            rays.append(ray)
            tables.append(radius)
            first += len(ray)
        order = [distinct.index(camera) for camera in cameras]
        self.lenses = wp.array(records[order], dtype=Lens, device=device)
        self.radius = wp.array(np.concatenate(tables), dtype=wp.float32, device=device)
        self.rays = wp.array(np.concatenate(rays), dtype=wp.vec3, device=device)


@lru_cache(maxsize=16)
def pixel_rays(camera: Pinhole) -> Array:
    """(height * width, 3) float64 unit rays in the camera frame; zero where it sees nothing."""
    v, u = np.indices((camera.height, camera.width), dtype=np.float64)
    rays, seen = camera.unproject(np.stack([u, v], axis=-1))
    return np.where(seen[..., None], rays, 0.0).reshape(-1, 3)


@lru_cache(maxsize=16)
def _tabulated(camera: Pinhole) -> tuple[Array, Array, tuple[float, float, float, float]]:
    """Rays, radius table and (limit, gain, bend, margin) of a Lens."""
    rays = pixel_rays(camera)
    seen = (rays != 0.0).any(axis=1)
    aside = np.linalg.norm(rays[:, :2], axis=1)
    angle = np.arctan2(aside, rays[:, 2])
    limit = float(angle[seen].max()) + 1e-6
    angles = np.linspace(0.0, limit, LENS_STEPS)
    meridian = np.stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)], axis=1)
    radius = (camera.project(meridian)[0][:, 0] - camera.cx) / camera.fx
    growth = np.gradient(radius, angles)
    around = radius[1:] / np.sin(angles[1:])
    gain = max(camera.fx, camera.fy) * max(growth.max(), around.max()) * 1.05
    # what the symmetric table leaves out: tangential distortion and interpolation
    model = np.interp(angle, angles, radius)[:, None] * rays[:, :2]
    model /= np.maximum(aside, 1e-12)[:, None]
    v, u = np.indices((camera.height, camera.width))
    off = np.hypot(
        model[:, 0] * camera.fx + camera.cx - u.ravel(),
        model[:, 1] * camera.fy + camera.cy - v.ravel(),
    )
    bend = 1.5 * _bulge(camera, rays[seen]) / ARC**2
    return rays, radius, (limit, float(gain), bend, float(off[seen].max()) + 1.0)


def _bulge(camera: Pinhole, rays: Array) -> float:
    """px, how far the middles of arcs of ARC rad lie off their chords at most, over the picture."""
    rng = np.random.default_rng(0)
    start = rays[rng.integers(0, len(rays), 2000)]
    aside = np.cross(start, rng.normal(size=start.shape))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    arc = [np.cos(a) * start + np.sin(a) * aside for a in (0.0, ARC / 2.0, ARC)]
    low, middle, high = (camera.project(ray)[0] for ray in arc)
    inside = camera.project(arc[2])[1] & camera.project(arc[1])[1]
    chord = high - low
    cross = chord[:, 0] * (middle - low)[:, 1] - chord[:, 1] * (middle - low)[:, 0]
    off = np.abs(cross) / np.maximum(np.linalg.norm(chord, axis=1), 1e-9)
    return float(off[inside].max(initial=0.0))
