"""The rasteriser: which triangle each pixel of a pinhole view shows, and how far away it is.

Coverage and depth come from the plane equations of the triangle and its edges in the view's frame
(M. Olano and T. Greer, "Triangle scan conversion using 2D homogeneous coordinates", Graphics
Hardware 1997): a pixel's ray is inside where it is on the same side of the three planes through
the eye and an edge. Nothing has to be clipped, and a ray cast at the triangle meets the same point.

A pixel keeps the largest key: the bits of 1 / z above the number of the triangle's slot. Which
triangle comes first does not matter, so views, threads and batches give the same picture. What is
near is drawn first; the farthest depth of each tile of pixels dismisses most of what is behind.
"""

from __future__ import annotations

import warp as wp

from sim.render.cull import NEAR
from sim.render.geometry import CHUNK, Chunk, Triangle
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

TILE = wp.constant(16)
"""px, edge of the tiles whose farthest depth is kept"""


@wp.struct
class View:
    """A pinhole view and where its pixels are; pixel centres are at whole numbers."""

    width: wp.int32
    height: wp.int32
    fx: wp.float32
    fy: wp.float32
    cx: wp.float32
    cy: wp.float32
    pixels: wp.int32  # first of its pixels in the flat images
    tiles: wp.int32  # first of its tiles
    world: wp.int32
    air: wp.int32  # row of its weather
    haze: wp.float32  # m, nearer than this the air is taken for clear
    up: wp.vec3  # world's up in the view's frame
    turn: wp.mat33  # world_from_view
    place: wp.vec3  # of the eye, m from the scene's origin


@wp.func
def on_screen(p: wp.vec3, v: View) -> wp.vec2:
    """Pixel coordinates of a point in front of the eye."""
    return wp.vec2(v.fx * p[0] / p[2] + v.cx, v.fy * p[1] / p[2] + v.cy)


@wp.func
def grown(bounds: wp.vec4, p: wp.vec2) -> wp.vec4:
    """Bounds (left, top, right, bottom) with a point taken in."""
    return wp.vec4(
        wp.min(bounds[0], p[0]),
        wp.min(bounds[1], p[1]),
        wp.max(bounds[2], p[0]),
        wp.max(bounds[3], p[1]),
    )


@wp.func
def with_edge(bounds: wp.vec4, a: wp.vec3, b: wp.vec3, v: View) -> wp.vec4:
    """Bounds with ``a`` where it is in front, and with where the edge to ``b`` meets NEAR."""
    if a[2] >= NEAR:
        bounds = grown(bounds, on_screen(a, v))
    if (a[2] >= NEAR) != (b[2] >= NEAR):
        share = (NEAR - a[2]) / (b[2] - a[2])
        cut = a + share * (b - a)
        bounds = grown(bounds, on_screen(wp.vec3(cut[0], cut[1], NEAR), v))
    return bounds


@wp.func
def bounds_of(a: wp.vec3, b: wp.vec3, c: wp.vec3, v: View) -> wp.vec4:
    """Pixel bounds of what of a triangle is in front of NEAR."""
    bounds = wp.vec4(1.0e9, 1.0e9, -1.0e9, -1.0e9)
    if wp.min(a[2], wp.min(b[2], c[2])) >= NEAR:
        bounds = grown(bounds, on_screen(a, v))
        bounds = grown(bounds, on_screen(b, v))
        return grown(bounds, on_screen(c, v))
    bounds = with_edge(bounds, a, b, v)
    bounds = with_edge(bounds, b, c, v)
    return with_edge(bounds, c, a, v)


@wp.func
def one_sided(surface: wp.int32) -> bool:
    """Whether a surface belongs to closed bodies, so that its inside is never seen."""
    return (surface >= Surface.WALL and surface <= Surface.ROOF) or surface >= Surface.PAINT


@wp.func
def hidden(
    nearest: wp.float32,
    left: wp.int32,
    right: wp.int32,
    top: wp.int32,
    bottom: wp.int32,
    v: View,
    tiles: wp.array(dtype=wp.float32),
) -> bool:
    """Whether every pixel of a rectangle shows something nearer than 1 / z = ``nearest``."""
    columns = (v.width + TILE - 1) // TILE
    ty = int(top // TILE)
    while ty <= bottom // TILE:
        tx = int(left // TILE)
        while tx <= right // TILE:
            if tiles[v.tiles + ty * columns + tx] <= nearest:
                return False
            tx += 1
        ty += 1
    return True


@wp.func
def covered(c: Chunk, v: View, tiles: wp.array(dtype=wp.float32)) -> bool:
    """Whether a chunk's bounding sphere is behind what is drawn already."""
    z0 = c.middle[2] - c.radius
    z1 = c.middle[2] + c.radius
    if z0 < 1.0:
        return False
    # the sphere's box on the screen: the nearer side where it grows outwards
    x0 = c.middle[0] - c.radius
    x1 = c.middle[0] + c.radius
    y0 = c.middle[1] - c.radius
    y1 = c.middle[1] + c.radius
    left = v.fx * x0 / wp.where(x0 < 0.0, z0, z1) + v.cx
    right = v.fx * x1 / wp.where(x1 > 0.0, z0, z1) + v.cx
    top = v.fy * y0 / wp.where(y0 < 0.0, z0, z1) + v.cy
    bottom = v.fy * y1 / wp.where(y1 > 0.0, z0, z1) + v.cy
    i0 = int(wp.max(left, 0.0))
    i1 = int(wp.min(right, float(v.width - 1)))
    j0 = int(wp.max(top, 0.0))
    j1 = int(wp.min(bottom, float(v.height - 1)))
    if i0 > i1 or j0 > j1:
        return True  # off the screen
    return hidden(1.0001 / z0, i0, i1, j0, j1, v, tiles)


@wp.func
def fill(
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    v: View,
    closed: bool,
    least: wp.float32,
    slot: wp.int64,
    tiles: wp.array(dtype=wp.float32),
    keys: wp.array(dtype=wp.int64),
) -> wp.int32:
    """Draws one triangle; returns 1 where it may cover a pixel.

    ``least`` is the smallest 1 / z that is drawn, 0 for all; ``closed`` leaves out the back.
    """
    if wp.max(a[2], wp.max(b[2], c[2])) < NEAR:
        return 0
    normal = wp.cross(b - a, c - a)
    d = wp.dot(normal, a)
    if d == 0.0:
        return 0  # seen edge-on
    if closed and d > 0.0:
        return 0
    bounds = bounds_of(a, b, c, v)
    left = wp.max(wp.ceil(bounds[0] - 0.001), 0.0)
    right = wp.min(wp.floor(bounds[2] + 0.001), float(v.width - 1))
    top = int(wp.max(wp.ceil(bounds[1] - 0.001), 0.0))
    bottom = int(wp.min(wp.floor(bounds[3] + 0.001), float(v.height - 1)))
    if left > right or top > bottom:
        return 0
    nearest = wp.min(a[2], wp.min(b[2], c[2]))
    if nearest > NEAR:
        # a hair nearer, so that rounding of the plane's 1 / z cannot tell otherwise
        if hidden(1.0001 / nearest, int(left), int(right), top, bottom, v, tiles):
            return 0
    side = wp.sign(d)
    ex = 1.0 / v.fx
    ey = 1.0 / v.fy
    n0 = wp.cross(a, b) * side
    n1 = wp.cross(b, c) * side
    n2 = wp.cross(c, a) * side
    a0 = n0[0] * ex
    a1 = n1[0] * ex
    a2 = n2[0] * ex
    b0 = n0[1] * ey
    b1 = n1[1] * ey
    b2 = n2[1] * ey
    c0 = n0[2] - a0 * v.cx - b0 * v.cy
    c1 = n1[2] - a1 * v.cx - b1 * v.cy
    c2 = n2[2] - a2 * v.cx - b2 * v.cy
    i0 = 1.0 / a0
    i1 = 1.0 / a1
    i2 = 1.0 / a2
    inverse = 1.0 / d
    px = normal[0] * ex * inverse
    py = normal[1] * ey * inverse
    pc = normal[2] * inverse - px * v.cx - py * v.cy
    # Warp's `while` is a third quicker on the CPU than its `for` over a range
    y = int(top)
    while y <= bottom:
        row = float(y)
        e0 = b0 * row + c0
        e1 = b1 * row + c1
        e2 = b2 * row + c2
        x0 = float(left)
        x1 = float(right)
        if a0 > 0.0:
            x0 = wp.max(x0, wp.ceil(-e0 * i0))
        elif a0 < 0.0:
            x1 = wp.min(x1, wp.floor(-e0 * i0))
        elif e0 < 0.0:
            x1 = -1.0
        if a1 > 0.0:
            x0 = wp.max(x0, wp.ceil(-e1 * i1))
        elif a1 < 0.0:
            x1 = wp.min(x1, wp.floor(-e1 * i1))
        elif e1 < 0.0:
            x1 = -1.0
        if a2 > 0.0:
            x0 = wp.max(x0, wp.ceil(-e2 * i2))
        elif a2 < 0.0:
            x1 = wp.min(x1, wp.floor(-e2 * i2))
        elif e2 < 0.0:
            x1 = -1.0
        if nearest < NEAR:
            # up to where 1 / z is 1 / NEAR, a fourth edge
            over = 1.0 / NEAR - (py * row + pc)
            if px > 0.0:
                x1 = wp.min(x1, wp.floor(over / px))
            elif px < 0.0:
                x0 = wp.max(x0, wp.ceil(over / px))
            elif over < 0.0:
                x1 = -1.0
        if x0 <= x1:
            x = int(x0)
            stop = int(x1)
            base = py * row + pc
            pixel = v.pixels + y * v.width
            if least == 0.0:
                while x <= stop:
                    near = base + px * float(x)
                    key = (wp.int64(wp.cast(near, wp.int32)) << wp.int64(32)) | slot
                    wp.atomic_max(keys, pixel + x, key)
                    x += 1
            else:
                while x <= stop:
                    near = base + px * float(x)
                    if near >= least:
                        key = (wp.int64(wp.cast(near, wp.int32)) << wp.int64(32)) | slot
                        wp.atomic_max(keys, pixel + x, key)
                    x += 1
        y += 1
    return 1


@wp.kernel
def rasterise(
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    views: wp.array(dtype=View),
    first_chunk: wp.int32,
    lanes: wp.int32,
    detail_far: wp.float32,
    tiles: wp.array(dtype=wp.float32),
    keys: wp.array(dtype=wp.int64),
    drawn: wp.array(dtype=wp.uint8),
):
    """Draws chunks; ``drawn`` marks the slots that may cover a pixel."""
    nth, lane = wp.tid()
    i = first_chunk + nth
    c = chunks[i]
    v = views[c.view]
    k = int(lane)
    if covered(c, v, tiles):
        k = c.count
    while k < c.count:
        row = c.first + k
        slot = i * CHUNK + k
        a = c.linear * triangles[row].a + c.offset
        b = c.linear * triangles[row].b + c.offset
        d = c.linear * triangles[row].c + c.offset
        tag = triangles[row].tag
        least = float(0.0)  # what is beyond FAR is taken for sky when the picture is resolved
        seen = bool(True)
        if (tag >> 24) == 1:
            if wp.max(a[2], wp.max(b[2], d[2])) > detail_far:
                least = 1.0 / detail_far
                seen = wp.min(a[2], wp.min(b[2], d[2])) <= detail_far
        closed = one_sided(tag & 255)
        if seen:
            drawn[slot] = wp.uint8(fill(a, b, d, v, closed, least, wp.int64(slot), tiles, keys))
        k += lanes


@wp.kernel
def farthest(
    keys: wp.array(dtype=wp.int64),
    views: wp.array(dtype=View),
    tiles: wp.array(dtype=wp.float32),
):
    """Smallest 1 / z of each tile so far, 0 where a pixel is still empty."""
    nth, ty = wp.tid()
    v = views[nth]
    columns = (v.width + TILE - 1) // TILE
    if ty * TILE >= v.height:
        return
    bottom = wp.min((ty + 1) * TILE, v.height)
    tx = int(0)
    while tx < columns:
        least = wp.int64(0x7FFFFFFFFFFFFFFF)
        right = wp.min((tx + 1) * TILE, v.width)
        y = int(ty * TILE)
        while y < bottom:
            x = int(tx * TILE)
            while x < right:
                least = wp.min(least, keys[v.pixels + y * v.width + x])
                x += 1
            y += 1
        tiles[v.tiles + ty * columns + tx] = wp.cast(wp.int32(least >> wp.int64(32)), wp.float32)
        tx += 1
