"""The rasteriser for lenses that bend lines: fisheye and distorted cameras.

A pixel's ray comes from a table, and is tested against the planes through the eye and the edges of
a triangle, so that the picture is what ray casting gives, without resampling. Which pixels may lie
in a triangle follows from its size as an angle: big triangles are cut for that purpose until they
are small against the curvature of the lens.

Keys hold 1 / distance along the ray rather than 1 / z: a fisheye also sees what is beside it.
"""

from __future__ import annotations

import warp as wp

from sim.render.cull import NEAR
from sim.render.geometry import CHUNK, Chunk, Triangle
from sim.render.raster import View, grown, hidden, one_sided
from sim.render.resolve import FOG_STEPS, veiled
from sim.render.shade import SKY_STEPS

wp.set_module_options({"enable_backward": False})

LENS_STEPS = wp.constant(256)
"""entries of a lens's table of image radius over angle"""
ANGLE = wp.constant(0.2)
"""rad, size up to which a triangle is not cut"""
CUTS = wp.constant(16)
"""most parts of an edge"""


@wp.struct
class Lens:
    """A rotationally symmetric lens for bounds; what it leaves out is in ``margin``."""

    limit: wp.float32  # rad from the axis, beyond it nothing is seen
    gain: wp.float32  # px per rad at most
    bend: wp.float32  # px per rad^2 by which an edge bulges out of its chord at most
    margin: wp.float32  # px by which a point may lie beside where the table has it
    table: wp.int32  # first of its LENS_STEPS entries
    rays: wp.int32  # first of its pixels' rays


@wp.func
def angle_of(p: wp.vec3) -> wp.float32:
    """rad from the axis."""
    return wp.atan2(wp.sqrt(p[0] * p[0] + p[1] * p[1]), p[2])


@wp.func
def through(p: wp.vec3, v: View, lens: Lens, radius: wp.array(dtype=wp.float32)) -> wp.vec2:
    """Pixel of a point, or of the nearest direction the lens sees."""
    at = wp.min(angle_of(p), lens.limit) / lens.limit * float(LENS_STEPS - 1)
    k = wp.min(int(at), LENS_STEPS - 2)
    share = at - float(k)
    r = radius[lens.table + k] * (1.0 - share) + radius[lens.table + k + 1] * share
    aside = wp.max(wp.sqrt(p[0] * p[0] + p[1] * p[1]), 1.0e-9)
    return wp.vec2(v.fx * r * p[0] / aside + v.cx, v.fy * r * p[1] / aside + v.cy)


@wp.func
def bounds_around(
    p: wp.vec3, size: wp.float32, v: View, lens: Lens, radius: wp.array(dtype=wp.float32)
) -> wp.vec4:
    """Pixel bounds of a sphere, not cut to the image; left > right where it is not seen."""
    away = wp.length(p)
    if away <= 1.01 * size:
        return wp.vec4(-1.0, -1.0, float(v.width), float(v.height))
    half = wp.asin(wp.min(size / away, 1.0))
    angle = angle_of(p)
    if angle - half > lens.limit:
        return wp.vec4(1.0, 1.0, 0.0, 0.0)
    # a centre beyond the limit is moved to it, which the sphere's size has to make up for
    half += wp.max(angle - lens.limit, 0.0)
    at = through(p, v, lens, radius)
    reach = lens.gain * half + lens.margin
    return wp.vec4(at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach)


@wp.func
def bounds_lens(
    p: wp.vec3,
    q: wp.vec3,
    r: wp.vec3,
    middle: wp.vec3,
    size: wp.float32,
    v: View,
    lens: Lens,
    radius: wp.array(dtype=wp.float32),
) -> wp.vec4:
    """Pixel bounds of a small triangle within a sphere, cut to the image."""
    box = bounds_around(middle, size, v, lens, radius)
    farthest = wp.max(angle_of(p), wp.max(angle_of(q), angle_of(r)))
    away = wp.length(middle) - size
    if farthest < lens.limit and away > 2.0 * size:
        corners = wp.vec4(1.0e9, 1.0e9, -1.0e9, -1.0e9)
        corners = grown(corners, through(p, v, lens, radius))
        corners = grown(corners, through(q, v, lens, radius))
        corners = grown(corners, through(r, v, lens, radius))
        # edges are no longer than the sphere is wide
        wide = 2.0 * size / away
        out = lens.bend * wide * wide + lens.margin
        box = wp.vec4(
            wp.max(box[0], corners[0] - out),
            wp.max(box[1], corners[1] - out),
            wp.min(box[2], corners[2] + out),
            wp.min(box[3], corners[3] + out),
        )
    return wp.vec4(
        wp.max(wp.ceil(box[0]), 0.0),
        wp.max(wp.ceil(box[1]), 0.0),
        wp.min(wp.floor(box[2]), float(v.width - 1)),
        wp.min(wp.floor(box[3]), float(v.height - 1)),
    )


@wp.func
def fill_lens(
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    v: View,
    lens: Lens,
    radius: wp.array(dtype=wp.float32),
    rays: wp.array(dtype=wp.vec3),
    closed: bool,
    least: wp.float32,
    slot: wp.int64,
    tiles: wp.array(dtype=wp.float32),
    keys: wp.array(dtype=wp.int64),
) -> wp.int32:
    """Draws one triangle; returns 1 where it may cover a pixel."""
    normal = wp.cross(b - a, c - a)
    d = wp.dot(normal, a)
    area = wp.length(normal)
    if d == 0.0 or area == 0.0:
        return 0
    if closed and d > 0.0:
        return 0
    side = wp.sign(d)
    n0 = wp.cross(a, b) * side
    n1 = wp.cross(b, c) * side
    n2 = wp.cross(c, a) * side
    flat = normal * (1.0 / d)
    longest = wp.max(wp.length(b - a), wp.max(wp.length(c - b), wp.length(a - c)))
    corner = wp.min(wp.length(a), wp.min(wp.length(b), wp.length(c)))
    away = wp.max(wp.abs(d) / area, corner - longest)
    parts = int(wp.clamp(wp.ceil(longest / (ANGLE * wp.max(away, 1.0e-6))), 1.0, float(CUTS)))
    touched = int(0)
    step = 1.0 / float(parts)
    for i in range(parts):
        for j in range(2 * (parts - i) - 1):
            # the rows of small triangles along the edge from a to b, every second upside down
            k = j // 2
            s0 = float(i) * step
            t0 = float(k) * step
            p = a + s0 * (c - a) + t0 * (b - a)
            q = p + step * (b - a)
            r = p + step * (c - a)
            if j % 2 == 1:
                p = q + step * (c - a)
            middle = (p + q + r) / 3.0
            size = wp.max(
                wp.length(p - middle), wp.max(wp.length(q - middle), wp.length(r - middle))
            )
            box = bounds_lens(p, q, r, middle, size, v, lens, radius)
            left = int(box[0])
            top = int(box[1])
            right = int(box[2])
            bottom = int(box[3])
            if left <= right and top <= bottom:
                near = wp.max(wp.length(middle) - size, NEAR)
                if not hidden(1.0001 / near, left, right, top, bottom, v, tiles):
                    touched = 1
                    y = int(top)
                    while y <= bottom:
                        x = int(left)
                        while x <= right:
                            pixel = y * v.width + x
                            ray = rays[lens.rays + pixel]
                            if wp.dot(n0, ray) >= 0.0:
                                if wp.dot(n1, ray) >= 0.0:
                                    if wp.dot(n2, ray) >= 0.0:
                                        inverse = wp.dot(flat, ray)
                                        if inverse >= least and inverse <= 1.0 / NEAR:
                                            key = (
                                                wp.int64(wp.cast(inverse, wp.int32)) << wp.int64(32)
                                            ) | slot
                                            wp.atomic_max(keys, v.pixels + pixel, key)
                            x += 1
                        y += 1
    return touched


@wp.kernel
def rasterise_lens(
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    views: wp.array(dtype=View),
    lenses: wp.array(dtype=Lens),
    radius: wp.array(dtype=wp.float32),
    rays: wp.array(dtype=wp.vec3),
    first_chunk: wp.int32,
    lanes: wp.int32,
    far: wp.float32,
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
    lens = lenses[c.view]
    k = int(lane)
    box = bounds_around(c.middle, c.radius, v, lens, radius)
    left = int(wp.max(box[0], 0.0))
    top = int(wp.max(box[1], 0.0))
    right = int(wp.min(box[2], float(v.width - 1)))
    bottom = int(wp.min(box[3], float(v.height - 1)))
    if left > right or top > bottom:
        k = c.count
    else:
        near = wp.max(wp.length(c.middle) - c.radius, NEAR)
        if hidden(1.0001 / near, left, right, top, bottom, v, tiles):
            k = c.count
    while k < c.count:
        row = c.first + k
        slot = i * CHUNK + k
        a = c.linear * triangles[row].a + c.offset
        b = c.linear * triangles[row].b + c.offset
        d = c.linear * triangles[row].c + c.offset
        tag = triangles[row].tag
        least = 1.0 / far
        if (tag >> 24) == 1:
            least = 1.0 / detail_far
        closed = one_sided(tag & 255)
        drawn[slot] = wp.uint8(
            fill_lens(a, b, d, v, lens, radius, rays, closed, least, wp.int64(slot), tiles, keys)
        )
        k += lanes


@wp.kernel
def resolve_lens(
    keys: wp.array(dtype=wp.int64),
    views: wp.array(dtype=View),
    lenses: wp.array(dtype=Lens),
    rays: wp.array(dtype=wp.vec3),
    looks: wp.array(dtype=wp.int64),
    sky: wp.array2d(dtype=wp.int32),
    fog: wp.array2d(dtype=wp.int32),
    fog_scale: wp.float32,
    depth: wp.array(dtype=wp.float32),
    instance: wp.array(dtype=wp.int32),
    words: wp.array(dtype=wp.int32),
):
    """One row of one view, as ``sim.render.resolve.resolve``; depth is along the view all the same.

    Where the lens sees nothing the picture is black and of no class.
    """
    nth, y = wp.tid()
    v = views[nth]
    if y >= v.height:
        return
    lens = lenses[nth]
    veil = sky[v.air, SKY_STEPS]
    x = int(0)
    while x < v.width:
        pixel = y * v.width + x
        i = v.pixels + pixel
        key = keys[i]
        ray = rays[lens.rays + pixel]
        if key == wp.int64(0):
            word = int(0)
            if wp.dot(ray, ray) > 0.0:
                height = wp.dot(ray, v.up)
                word = sky[v.air, int((height + 1.0) * 0.5 * float(SKY_STEPS - 1) + 0.5)]
            words[i] = word
            depth[i] = wp.inf
            instance[i] = 0
        else:
            slot = int(key & wp.int64(0x7FFFFFFF))
            away = 1.0 / wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)
            clear = fog[v.air, wp.min(int(away * fog_scale), FOG_STEPS - 1)]
            words[i] = veiled(wp.int32(looks[slot] & wp.int64(0x7FFFFFFF)), veil, clear)
            depth[i] = away * ray[2]
            instance[i] = wp.int32(looks[slot] >> wp.int64(32))
        x += 1
