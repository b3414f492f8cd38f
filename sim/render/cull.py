"""What a view has to draw: pieces of the static world and actors that its frustum may hold.

In float64 and one thread per pair of view and thing, so that nothing depends on what else is in
the batch.
"""

from __future__ import annotations

import warp as wp

from sim.render.geometry import CHUNK, Chunk

wp.set_module_options({"enable_backward": False})

NEAR = wp.constant(0.1)
"""m, surfaces nearer than this along a view are not drawn"""


mat43 = wp.types.matrix(shape=(4, 3), dtype=wp.float32)


@wp.struct
class Eye:
    """A view's place and opening; axes x right, y down, z forward, any where it sees all round."""

    turn: wp.mat33d  # view_from_world
    place: wp.vec3d  # m from the scene's origin
    world: wp.int32
    around: wp.int32  # 1: sees all round, the planes do not count
    planes: mat43  # outward unit normals of the four sides


@wp.struct
class Piece:
    """Static triangles in one piece of work."""

    first: wp.int32
    count: wp.int32
    origin: wp.vec3d  # what the corners are relative to, m from the scene's origin
    centre: wp.vec3d  # bounding sphere
    radius: wp.float32
    reach: wp.float32  # m, farther away it is not drawn


@wp.struct
class Placed:
    """An actor as the renderer needs it."""

    model: wp.int32  # -1: not there
    turn: wp.mat33d  # world_from_actor
    place: wp.vec3d  # m from the scene's origin
    scale: wp.vec3d
    middle: wp.vec3d  # of the bounding sphere
    radius: wp.float32


@wp.func
def nearest(eye: Eye, centre: wp.vec3d, radius: wp.float32, reach: wp.float32) -> wp.float32:
    """m along the view (or away) of the nearest point of a sphere; inf where it is not seen."""
    at = eye.turn * (centre - eye.place)
    p = wp.vec3(wp.float32(at[0]), wp.float32(at[1]), wp.float32(at[2]))
    if eye.around == 1:
        away = wp.length(p)
        if away - radius > reach:
            return wp.inf
        return away - radius
    if p[2] + radius < NEAR or p[2] - radius > reach:
        return wp.inf
    for k in range(4):
        if p[0] * eye.planes[k, 0] + p[1] * eye.planes[k, 1] + p[2] * eye.planes[k, 2] > radius:
            return wp.inf
    return p[2] - radius


@wp.kernel
def look(
    eyes: wp.array(dtype=Eye),
    pieces: wp.array(dtype=Piece),
    actors: wp.array2d(dtype=Placed),
    hide: wp.int32,
    far: wp.float32,
    near: wp.array2d(dtype=wp.float32),
):
    """``near[view, thing]``: how near each piece, then each actor is, in m; inf: not seen."""
    v, i = wp.tid()
    eye = eyes[v]
    n = pieces.shape[0]
    if i < n:
        near[v, i] = nearest(eye, pieces[i].centre, pieces[i].radius, pieces[i].reach)
    else:
        k = i - n
        found = wp.float32(wp.inf)
        if k != hide:
            if actors[eye.world, k].model >= 0:
                found = nearest(eye, actors[eye.world, k].middle, actors[eye.world, k].radius, far)
        near[v, i] = found


@wp.kernel
def make_chunks(
    eyes: wp.array(dtype=Eye),
    pieces: wp.array(dtype=Piece),
    actors: wp.array2d(dtype=Placed),
    model_first: wp.array(dtype=wp.int32),
    model_count: wp.array(dtype=wp.int32),
    wanted: wp.array2d(dtype=wp.int32),
    chunks: wp.array(dtype=Chunk),
):
    """Chunks from rows of ``wanted``: view, thing (pieces first, then actors), which part of it."""
    i = wp.tid()
    v = wanted[i, 0]
    thing = wanted[i, 1]
    eye = eyes[v]
    n = pieces.shape[0]
    c = Chunk()
    c.view = v
    if thing < n:
        p = pieces[thing]
        at = eye.turn * (p.origin - eye.place)
        c.first = p.first
        c.count = p.count
        c.linear = wp.mat33(eye.turn)
        c.offset = wp.vec3(at)
        c.turn = wp.identity(3, dtype=wp.float32)
        c.scale = wp.vec3(1.0, 1.0, 1.0)
        c.actor = -1
        c.middle = wp.vec3(eye.turn * (p.centre - eye.place))
        c.radius = p.radius
    else:
        k = thing - n
        a = actors[eye.world, k]
        at = eye.turn * (a.place - eye.place)
        c.first = model_first[a.model] + wanted[i, 2] * CHUNK
        c.count = wp.min(model_count[a.model] - wanted[i, 2] * CHUNK, CHUNK)
        c.linear = wp.mat33(eye.turn * a.turn * wp.diag(a.scale))
        c.offset = wp.vec3(at)
        c.turn = wp.mat33(a.turn)
        c.scale = wp.vec3(a.scale)
        c.actor = eye.world * actors.shape[1] + k
        c.middle = wp.vec3(eye.turn * (a.middle - eye.place))
        c.radius = a.radius
    chunks[i] = c
