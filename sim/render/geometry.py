"""Triangles as the kernels read them: records, tiles of the static world, models of the actors."""

from __future__ import annotations

import warp as wp

CHUNK = 64
"""triangles at most in one piece of work"""

SEMANTIC_SHIFT = wp.constant(8)
SLOT_SHIFT = wp.constant(16)
DETAIL_SHIFT = wp.constant(24)


@wp.struct
class Triangle:
    """Corners in the frame of its tile (origin: the tile's) or model, float32 m."""

    a: wp.vec3
    b: wp.vec3
    c: wp.vec3
    colour: wp.vec3  # linear RGB
    instance: wp.int32  # -(1 + signal), 0
    tag: wp.int32  # surface | semantic << 8 | (slot + 1) << 16 | detail << 24


@wp.struct
class Chunk:
    """Up to CHUNK triangles of one tile or actor, as one view is to draw them."""

    view: wp.int32
    first: wp.int32  # row of the triangle array
    count: wp.int32
    linear: wp.mat33  # view_from_chunk: v = linear * p + offset (an actor's scale included)
    offset: wp.vec3
    turn: wp.mat33  # world_from_chunk rotation, for normals (without scale)
    scale: wp.vec3
    actor: wp.int32  # world * actors + actor, -1: static
    middle: wp.vec3  # bounding sphere in the view's frame
    radius: wp.float32
