"""One small mesh put down many times: turned, scaled, tinted."""

from __future__ import annotations

import numpy as np

from sim.scenery.mesh import Mesh

Array = np.ndarray


def stamped(
    mesh: Mesh,
    at: Array,
    heading: Array,
    scale: float | Array = 1.0,
    tint: Array | None = None,
    instance: Array | None = None,
) -> Mesh:
    """``mesh`` at n places, place after place.

    Args:
        at: (n, 3) m, where its origin goes.
        heading: (n,) rad, where its x axis goes.
        scale: one number, (n,), or (n, 3) along the mesh's own axes.
        tint: (n, 3), multiplies the colours; result cut to [0, 1].
        instance: (n,) int32, replaces the instance.
    """
    at, heading = np.asarray(at, float).reshape(-1, 3), np.asarray(heading, float)
    n, triangles = len(at), mesh.triangles
    scale = np.asarray(scale, float)
    if scale.ndim < 2:
        scale = np.broadcast_to(scale, n)[:, None] * np.ones(3)
    local = mesh.corners[None] * scale[:, None, None, :]
    c, s = np.cos(heading)[:, None, None], np.sin(heading)[:, None, None]
    x, y, z = np.moveaxis(local, -1, 0)
    corners = np.stack([c * x - s * y, s * x + c * y, z], axis=-1) + at[:, None, None, :]
    colour = np.broadcast_to(mesh.colour, (n, triangles, 3))
    if tint is not None:
        colour = np.clip(colour * np.asarray(tint, np.float32)[:, None], 0.0, 1.0)
    which = np.tile(mesh.instance, n)
    if instance is not None:
        which = np.repeat(np.asarray(instance, np.int32), triangles)
    return Mesh(
        corners=corners.reshape(-1, 3, 3),
        colour=colour.reshape(-1, 3).astype(np.float32),
        surface=np.tile(mesh.surface, n),
        semantic=np.tile(mesh.semantic, n),
        instance=which,
        detail=np.tile(mesh.detail, n),
        slot=np.tile(mesh.slot, n),
    )
