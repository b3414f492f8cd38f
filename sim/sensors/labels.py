"""Labels of a camera's picture that follow from depth and instances: 2D boxes and optical flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roadloop.camera import Pinhole
from roadloop.geometry import inverse, transform_points
from roadloop.readings import ImageBoxes
from sim.render.frame import Actors
from sim.render.lens_table import pixel_rays

Array = np.ndarray

EDGE_POINTS = 17
"""points along each edge of a box that are projected where a lens bends its edges"""
NEAREST = 0.1
"""m along the view from which edges count"""


def image_boxes(
    camera: Pinhole,
    world_from_camera: Array,
    actors: Actors,
    world: int,
    kind: Array,
    half: Array,
    instance: Array,
    hide: int = 0,
) -> ImageBoxes:
    """2D boxes of the actors a camera may see, in the order of their rows.

    Args:
        kind: (actors,) AgentKind.
        half: (actors, 3) m, half of length, width, height.
        instance: (height, width) int32, the instance image.
        hide: row of an actor that the picture leaves out, -1: none.
    """
    there = actors.model[world] >= 0
    if hide >= 0:
        there[hide] = False
    rows = np.flatnonzero(there)
    straight = type(camera) is Pinhole
    seen = _visible(actors.id[world, rows], instance)
    if straight:  # most are out of the picture, and need no corners
        poses = actors.world_from_actor[world, rows]
        near = _near_view(camera, world_from_camera, poses, half[rows]) | (seen[0] > 0)
        rows, seen = rows[near], tuple(values[near] for values in seen)
    count, seen_low, seen_high = seen
    poses = actors.world_from_actor[world, rows]
    points = 2 if straight else EDGE_POINTS
    edges = _edges(half[rows], points).reshape(len(rows), 12 * points, 3)
    in_world = np.einsum("nij,npj->npi", poses[:, :3, :3], edges) + poses[:, None, :3, 3]
    in_camera = transform_points(inverse(world_from_camera), in_world)
    if straight:
        in_camera = _before(in_camera.reshape(len(rows), 12, 2, 3))
    # a point outside the lens's field, e.g. behind, says nothing about where the outline is
    uv, valid = _projected(camera, in_camera)
    valid &= in_camera[..., 2] >= NEAREST if straight else True
    low = np.where(valid[..., None], uv, np.inf).min(1, initial=np.inf)
    high = np.where(valid[..., None], uv, -np.inf).max(1, initial=-np.inf)
    size = np.array([camera.width, camera.height])
    low, high = np.maximum(low, -0.5), np.minimum(high, size - 0.5)
    keep = ((low < high).all(1) & valid.any(1)) | (count > 0)
    low, high = np.where(keep[:, None], low, 0.0), np.where(keep[:, None], high, 0.0)
    rows, low, high = rows[keep], low[keep], high[keep]
    count, seen_low, seen_high = count[keep], seen_low[keep], seen_high[keep]
    return ImageBoxes(
        id=actors.id[world, rows].astype(np.int64),
        kind=kind[rows].astype(np.uint8),
        left=low[:, 0],
        top=low[:, 1],
        right=high[:, 0],
        bottom=high[:, 1],
        pixels=count,
        visible_left=seen_low[:, 0],
        visible_top=seen_low[:, 1],
        visible_right=seen_high[:, 0],
        visible_bottom=seen_high[:, 1],
    )


def optical_flow(
    camera: Pinhole,
    world_from_camera: Array,
    previous_world_from_camera: Array,
    actors: Actors,
    world: int,
    depth: Array,
    instance: Array,
) -> Array:
    """(height, width, 2) float32 px: from where each surface was in the previous picture to here.

    0 where there is only sky or the surface was outside the lens's field.
    """
    rays = pixel_rays(camera)
    z = depth.ravel().astype(np.float64)
    solid = np.isfinite(z)
    flow = np.zeros((len(z), 2), np.float32)
    along = rays[solid]
    along = along / np.where(np.abs(along[:, 2:]) > 1e-9, along[:, 2:], 1e-9)
    points = transform_points(world_from_camera, along * z[solid, None])
    number = instance.ravel()[solid]
    for row in np.flatnonzero(actors.model[world] >= 0):
        mine = number == actors.id[world, row]
        if mine.any() and actors.id[world, row] > 0:
            now = actors.world_from_actor[world, row]
            before = actors.previous_world_from_actor[world, row]
            points[mine] = transform_points(before @ inverse(now), points[mine])
    before = transform_points(inverse(previous_world_from_camera), points)
    uv, inside = _projected(camera, before)
    v, u = np.indices((camera.height, camera.width), dtype=np.float64)
    here = np.stack([u.ravel(), v.ravel()], axis=1)[solid]
    flow[solid] = np.where(inside[:, None], here - uv, 0.0)
    return flow.reshape(camera.height, camera.width, 2)


def _near_view(camera: Pinhole, world_from_camera: Array, poses: Array, half: Array) -> Array:
    """(n,) bool: the sphere around a box reaches into a pinhole's view."""
    centre = poses[:, :3, 3] + poses[:, :3, 2] * half[:, 2:]
    x, y, z = transform_points(inverse(world_from_camera), centre).T
    radius = np.linalg.norm(half, axis=-1) + 0.01
    near = z + radius > NEAREST
    for along, f, c, size in ((x, camera.fx, camera.cx, camera.width),
                              (y, camera.fy, camera.cy, camera.height)):  # fmt: skip
        for sign, edge in ((1.0, (-1.0 - c) / f), (-1.0, (size - c) / f)):
            # inwards of the plane along = edge * z, or less than the radius outside
            near &= sign * (along - edge * z) > -radius * np.hypot(1.0, edge)
    return near


def _projected(camera: Pinhole, points: Array) -> tuple[Array, Array]:
    """Pixels (..., 2) of points (..., 3) and where the lens model holds, outside the image too."""
    far = 1_000_000  # px of a like camera's endless image before the first pixel of ours
    wide = replace(camera, width=2 * far, height=2 * far, cx=camera.cx + far, cy=camera.cy + far)
    uv, holds = wide.project(points)
    return uv - far, holds


def _edges(half: Array, count: int) -> Array:
    """(n, 12, count, 3) points along the edges of boxes that stand on the ground."""
    corner = np.array(
        [(x, y, z) for z in (0.0, 2.0) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))], float
    )
    ends = [(k, (k + 1) % 4) for k in range(4)]
    ends += [(4 + a, 4 + b) for a, b in ends] + [(k, k + 4) for k in range(4)]
    a, b = (corner[[pair[k] for pair in ends]] for k in (0, 1))
    share = np.linspace(0.0, 1.0, count)[:, None]
    points = a[:, None] * (1.0 - share) + b[:, None] * share
    return points[None] * half[:, None, None]


def _before(edges: Array) -> Array:
    """(n, 24, 3) ends of edges (n, 12, 2, 3), cut at NEAREST where one end is behind it.

    A pinhole keeps lines straight, so that the ends say all.
    """
    a, b = edges[..., 0, :], edges[..., 1, :]
    rise = b[..., 2] - a[..., 2]
    cut = a + ((NEAREST - a[..., 2]) / np.where(rise == 0.0, 1.0, rise))[..., None] * (b - a)
    cut[..., 2] = NEAREST  # whatever rounding made of it
    crosses = (a[..., 2] < NEAREST) != (b[..., 2] < NEAREST)
    ends = [np.where((crosses & (p[..., 2] < NEAREST))[..., None], cut, p) for p in (a, b)]
    return np.concatenate(ends, axis=1)


def _visible(ids: Array, instance: Array) -> tuple[Array, Array, Array]:
    """Per id how many pixels show it, and the first and last column and row, (n, 2) each."""
    n = len(ids)
    v, u = np.nonzero(instance > 0)
    number = instance[v, u]
    order = np.argsort(ids, kind="stable")
    owner = np.searchsorted(ids[order], number)
    owner = order[np.minimum(owner, n - 1)] if n else owner
    match = ids[owner] == number if n else np.zeros(len(v), bool)
    v, u, owner = v[match], u[match], owner[match]
    count = np.bincount(owner, minlength=n).astype(np.int32)
    low, high = np.zeros((n, 2)), np.zeros((n, 2))
    seen = np.flatnonzero(count)
    if len(seen):
        turn = np.argsort(owner, kind="stable")
        first = np.cumsum(count[seen]) - count[seen]
        for axis, at in enumerate((u[turn], v[turn])):
            low[seen, axis] = np.minimum.reduceat(at, first)
            high[seen, axis] = np.maximum.reduceat(at, first)
    return count, low, high
