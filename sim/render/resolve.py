"""From the triangle of each pixel to pictures: colour, depth, class, instance.

What a triangle looks like is known (``sim.render.shade``), so a pixel is one look-up, and fog. Four
pixels are written at a time, as whole words: colours are three words of four, classes one.
"""

from __future__ import annotations

import warp as wp

from sim.render.raster import View
from sim.render.shade import SKY_STEPS

wp.set_module_options({"enable_backward": False})

FOG_STEPS = 512
"""entries of a fog table over the distance"""
ROW = 1024
"""pixels of one thread"""


@wp.func
def veiled(word: wp.int32, veil: wp.int32, clear: wp.int32) -> wp.int32:
    """A packed colour seen through fog; ``clear`` in 0..256 is the share that comes through."""
    other = 256 - clear
    red_blue = (((word & 0xFF00FF) * clear + (veil & 0xFF00FF) * other) >> 8) & 0xFF00FF
    green = (((word & 0x00FF00) * clear + (veil & 0x00FF00) * other) >> 8) & 0x00FF00
    return red_blue | green | (word & 0x7F000000)


@wp.func
def sky_at(pixel: wp.int32, v: View, sky: wp.array2d(dtype=wp.int32)) -> wp.int32:
    """Colour and class of the sky at a pixel of a pinhole."""
    y = pixel // v.width
    x = pixel - y * v.width
    ray = wp.vec3((float(x) - v.cx) / v.fx, (float(y) - v.cy) / v.fy, 1.0)
    height = wp.dot(ray, v.up) / wp.length(ray)
    return sky[v.air, int((height + 1.0) * 0.5 * float(SKY_STEPS - 1) + 0.5)]


@wp.func
def resolved(
    key: wp.int64,
    least: wp.int64,
    i: wp.int32,
    heaven: wp.int32,
    veil: wp.int32,
    haze: wp.float32,
    air: wp.int32,
    looks: wp.array(dtype=wp.int64),
    fog: wp.array2d(dtype=wp.int32),
    fog_scale: wp.float32,
    depth: wp.array(dtype=wp.float32),
    instance: wp.array(dtype=wp.int32),
) -> wp.int32:
    """Colour and class of a pixel; its depth and instance are written."""
    if key < least:
        depth[i] = wp.inf
        instance[i] = 0
        return heaven
    look = looks[int(key & wp.int64(0x7FFFFFFF))]
    z = 1.0 / wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)
    depth[i] = z
    instance[i] = wp.int32(look >> wp.int64(32))
    word = wp.int32(look & wp.int64(0x7FFFFFFF))
    if z < haze:
        return word
    return veiled(word, veil, fog[air, wp.min(int(z * fog_scale), FOG_STEPS - 1)])


@wp.func
def put_four(
    k: wp.int32,
    a: wp.int32,
    b: wp.int32,
    c: wp.int32,
    d: wp.int32,
    rgb: wp.array(dtype=wp.int32),
    semantic: wp.array(dtype=wp.int32),
):
    """Writes four pixels' words as the bytes of their colours and classes."""
    rgb[3 * k] = (a & 0xFFFFFF) | (b << 24)
    rgb[3 * k + 1] = ((b >> 8) & 0xFFFF) | (c << 16)
    rgb[3 * k + 2] = ((c >> 16) & 0xFF) | (d << 8)
    semantic[k] = (
        ((a >> 24) & 0xFF)
        | (((b >> 24) & 0xFF) << 8)
        | (((c >> 24) & 0xFF) << 16)
        | (((d >> 24) & 0xFF) << 24)
    )


@wp.kernel
def resolve(
    keys: wp.array(dtype=wp.int64),
    least: wp.int64,
    views: wp.array(dtype=View),
    looks: wp.array(dtype=wp.int64),
    sky: wp.array2d(dtype=wp.int32),
    fog: wp.array2d(dtype=wp.int32),
    fog_scale: wp.float32,
    depth: wp.array(dtype=wp.float32),
    instance: wp.array(dtype=wp.int32),
    rgb: wp.array(dtype=wp.int32),
    semantic: wp.array(dtype=wp.int32),
):
    """ROW pixels of one pinhole view, all four products.

    ``least``: smaller keys are sky. ``fog``: share in 0..256 that comes through, by distance,
    ``fog_scale`` entries per m.
    """
    nth, part = wp.tid()
    v = views[nth]
    veil = sky[v.air, SKY_STEPS]
    air = v.air
    haze = v.haze
    stop = wp.min((part + 1) * ROW, v.width * v.height)
    # the last four may reach into the padding behind a view, whose keys are 0
    p = int(part * ROW)
    while p < stop:
        i = v.pixels + p
        k0 = keys[i]
        k1 = keys[i + 1]
        k2 = keys[i + 2]
        k3 = keys[i + 3]
        heaven = int(0)
        if k0 < least or k1 < least or k2 < least or k3 < least:
            heaven = sky_at(p, v, sky)  # it changes slowly: one for four pixels
        a = resolved(k0, least, i, heaven, veil, haze, air, looks, fog, fog_scale, depth, instance)
        b = resolved(
            k1, least, i + 1, heaven, veil, haze, air, looks, fog, fog_scale, depth, instance
        )
        c = resolved(
            k2, least, i + 2, heaven, veil, haze, air, looks, fog, fog_scale, depth, instance
        )
        d = resolved(
            k3, least, i + 3, heaven, veil, haze, air, looks, fog, fog_scale, depth, instance
        )
        put_four(i // 4, a, b, c, d, rgb, semantic)
        p += 4


@wp.kernel
def pack(
    words: wp.array(dtype=wp.int32),
    fours: wp.int32,
    rgb: wp.array(dtype=wp.int32),
    semantic: wp.array(dtype=wp.int32),
):
    """Pixels that are words each to bytes of colours and classes."""
    part = wp.tid()
    k = int(part * (ROW // 4))
    stop = wp.min((part + 1) * (ROW // 4), fours)
    while k < stop:
        put_four(
            k, words[4 * k], words[4 * k + 1], words[4 * k + 2], words[4 * k + 3], rgb, semantic
        )
        k += 1
