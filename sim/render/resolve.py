"""From the triangle of each pixel to pictures: colour, depth, class, instance.

The plain picture has one colour per triangle, lit by sun and sky, and fog. What a colour or label
costs is paid once per triangle that was drawn, so that a pixel is two look-ups.
"""

from __future__ import annotations

import warp as wp

from roadloop.semantics import SemanticClass
from sim.render.frame import Lamp
from sim.render.geometry import CHUNK, Chunk, Triangle
from sim.render.light import Air, developed, lit_surface, sky_radiance
from sim.render.raster import View
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

SKY_STEPS = 256
"""rows of a sky table, from straight down to the zenith"""
FOG_STEPS = 512
"""entries of a fog table over the distance"""
ROW = 1024
"""pixels packed by one thread"""


@wp.func
def packed(colour: wp.vec3, semantic: wp.int32) -> wp.int32:
    """Display colour in [0, 255] and class in one word."""
    r = int(wp.clamp(colour[0] + 0.5, 0.0, 255.0))
    g = int(wp.clamp(colour[1] + 0.5, 0.0, 255.0))
    b = int(wp.clamp(colour[2] + 0.5, 0.0, 255.0))
    return r | (g << 8) | (b << 16) | (semantic << 24)


@wp.func
def brightness(
    surface: wp.int32, corner: wp.vec3, light: wp.int32, lamps: wp.int32, dark: wp.int32
) -> wp.int32:
    """How bright a lamp is: 0 not lit (or no lamp), 1 dim, 2 full.

    ``corner`` is the triangle's first one, which the two triangles of a window share, ``light`` the
    LightState of its signal, ``lamps`` the Lamp bits of its actor.
    """
    if surface == Surface.LAMP_RED:
        if light == 1 or light == 2:
            return 2
    elif surface == Surface.LAMP_YELLOW:
        if light == 2 or light == 3:
            return 2
    elif surface == Surface.LAMP_GREEN:
        if light == 4:
            return 2
    elif surface == Surface.STREET_LAMP:
        return 2 * dark
    elif surface == Surface.WINDOW:
        # a third of the windows, by place
        mixed = int(corner[0] * 16.0) * 73 + int(corner[1] * 16.0) * 179 + int(corner[2] * 16.0)
        if (((mixed * 1103515245) >> 16) & 0xFF) < 85:
            return dark
    elif surface == Surface.HEADLIGHT:
        if (lamps & Lamp.HEADLIGHT) != 0:
            return 2
    elif surface == Surface.TAIL_LIGHT:
        if (lamps & Lamp.BRAKE) != 0:
            return 2
        if (lamps & Lamp.HEADLIGHT) != 0:
            return 1
    elif surface == Surface.INDICATOR_LEFT:
        if (lamps & Lamp.INDICATOR_LEFT) != 0:
            return 2
    elif surface == Surface.INDICATOR_RIGHT:
        if (lamps & Lamp.INDICATOR_RIGHT) != 0:
            return 2
    return 0


@wp.kernel
def shade_static(
    triangles: wp.array(dtype=Triangle),
    airs: wp.array(dtype=Air),
    air: wp.int32,
    colours: wp.array2d(dtype=wp.int32),
):
    """Display colour and class of the static triangles in one weather, lamps off."""
    row = wp.tid()
    t = triangles[row]
    surface = t.tag & 255
    normal = wp.normalize(wp.cross(t.b - t.a, t.c - t.a))
    lit = brightness(surface, t.a, 0, 0, airs[air].dark)
    radiance = lit_surface(t.colour, normal, surface, lit, airs[air])
    colours[air, row] = packed(developed(radiance, airs[air]), (t.tag >> 8) & 255)


@wp.kernel
def tabulate_sky(airs: wp.array(dtype=Air), air: wp.int32, sky: wp.array2d(dtype=wp.int32)):
    """Display colours of the sky by the sine of the elevation; the last row is that of fog."""
    k = wp.tid()
    height = wp.min(2.0 * float(k) / float(SKY_STEPS - 1) - 1.0, 1.0)
    # away from the sun, whose disc a table of elevations cannot hold
    aside = wp.vec3(-airs[air].sun_direction[1], airs[air].sun_direction[0], 0.0)
    if wp.length(aside) < 1.0e-3:
        aside = wp.vec3(1.0, 0.0, 0.0)
    level = wp.normalize(aside) * wp.sqrt(wp.max(1.0 - height * height, 0.0))
    direction = wp.vec3(level[0], level[1], height)
    if k == SKY_STEPS:
        sky[air, k] = packed(developed(airs[air].horizon, airs[air]), SemanticClass.SKY)
    else:
        radiance = sky_radiance(direction, airs[air])
        sky[air, k] = packed(developed(radiance, airs[air]), SemanticClass.SKY)


@wp.kernel
def shade_slots(
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    views: wp.array(dtype=View),
    drawn: wp.array(dtype=wp.uint8),
    lanes: wp.int32,
    airs: wp.array(dtype=Air),
    static_colour: wp.array2d(dtype=wp.int32),
    lights: wp.array2d(dtype=wp.int32),
    actor_id: wp.array(dtype=wp.int32),
    actor_lamps: wp.array(dtype=wp.int32),
    actor_palette: wp.array2d(dtype=wp.vec3),
    colour: wp.array(dtype=wp.int32),
    instance: wp.array(dtype=wp.int32),
):
    """Colour, class and instance of the slots that were drawn."""
    i, lane = wp.tid()
    c = chunks[i]
    v = views[c.view]
    k = int(lane)
    while k < c.count:
        slot = i * CHUNK + k
        row = c.first + k
        if drawn[slot] != wp.uint8(0):
            if c.actor < 0:
                number = triangles[row].instance
                instance[slot] = number
                colour[slot] = static_colour[v.air, row]
                surface = triangles[row].tag & 255
                if surface >= Surface.LAMP_RED and surface <= Surface.LAMP_GREEN:
                    lit = brightness(surface, triangles[row].a, lights[v.world, -number - 1], 0, 0)
                    if lit > 0:
                        radiance = lit_surface(
                            triangles[row].colour, wp.vec3(0.0, 0.0, 1.0), surface, lit, airs[v.air]
                        )
                        semantic = (triangles[row].tag >> 8) & 255
                        colour[slot] = packed(developed(radiance, airs[v.air]), semantic)
            else:
                instance[slot] = actor_id[c.actor]
                colour[slot] = actor_colour(
                    triangles[row], c, airs[v.air], actor_lamps, actor_palette
                )
        k += lanes


@wp.func
def actor_colour(
    t: Triangle,
    c: Chunk,
    air: Air,
    actor_lamps: wp.array(dtype=wp.int32),
    actor_palette: wp.array2d(dtype=wp.vec3),
) -> wp.int32:
    """Display colour and class of a triangle of an actor."""
    surface = t.tag & 255
    slot = (t.tag >> 16) & 255
    base = t.colour
    if slot > 0:
        base = wp.cw_mul(base, actor_palette[c.actor, slot - 1])
    flat = wp.cross(t.b - t.a, t.c - t.a)
    # normals turn against the scale
    normal = wp.normalize(c.turn * wp.cw_div(flat, c.scale))
    lit = brightness(surface, t.a, 0, actor_lamps[c.actor], air.dark)
    radiance = lit_surface(base, normal, surface, lit, air)
    return packed(developed(radiance, air), (t.tag >> 8) & 255)


@wp.func
def veiled(word: wp.int32, veil: wp.int32, clear: wp.int32) -> wp.int32:
    """A packed colour seen through fog; ``clear`` in 0..256 is the share that comes through."""
    other = 256 - clear
    red_blue = (((word & 0xFF00FF) * clear + (veil & 0xFF00FF) * other) >> 8) & 0xFF00FF
    green = (((word & 0x00FF00) * clear + (veil & 0x00FF00) * other) >> 8) & 0x00FF00
    return red_blue | green | (word & 0x7F000000)


@wp.kernel
def resolve(
    keys: wp.array(dtype=wp.int64),
    views: wp.array(dtype=View),
    colour: wp.array(dtype=wp.int32),
    instance_of: wp.array(dtype=wp.int32),
    sky: wp.array2d(dtype=wp.int32),
    fog: wp.array2d(dtype=wp.int32),
    fog_scale: wp.float32,
    rgbs: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float32),
    instance: wp.array(dtype=wp.int32),
):
    """One row of one view; ``rgbs`` holds red, green, blue and class of a pixel in one word.

    ``fog``: share in 0..256 that comes through, by distance, ``fog_scale`` entries per m.
    """
    nth, y = wp.tid()
    v = views[nth]
    if y >= v.height:
        return
    veil = sky[v.air, SKY_STEPS]
    py = (float(y) - v.cy) / v.fy
    heaven = int(0)
    known = int(-8)
    start = v.pixels + y * v.width
    for x in range(v.width):
        i = start + x
        key = keys[i]
        if key == wp.int64(0):
            if x - known >= 4:
                # the sky changes slowly: looked up for every fourth pixel
                ray = wp.vec3((float(x) - v.cx) / v.fx, py, 1.0)
                height = wp.dot(ray, v.up) / wp.length(ray)
                heaven = sky[v.air, int((height + 1.0) * 0.5 * float(SKY_STEPS - 1) + 0.5)]
                known = x
            rgbs[i] = heaven
            depth[i] = wp.inf
            instance[i] = 0
        else:
            slot = int(key & wp.int64(0x7FFFFFFF))
            z = 1.0 / wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)
            clear = fog[v.air, wp.min(int(z * fog_scale), FOG_STEPS - 1)]
            rgbs[i] = veiled(colour[slot], veil, clear)
            depth[i] = z
            instance[i] = instance_of[slot]


@wp.kernel
def pack(
    rgbs: wp.array(dtype=wp.int32),
    fours: wp.int32,
    rgb: wp.array(dtype=wp.int32),
    semantic: wp.array(dtype=wp.int32),
):
    """Words of four pixels each to three words of colours and one of classes, as bytes in order."""
    nth, _ = wp.tid()
    for k in range(nth * (ROW // 4), wp.min((nth + 1) * (ROW // 4), fours)):
        a = rgbs[4 * k]
        b = rgbs[4 * k + 1]
        c = rgbs[4 * k + 2]
        d = rgbs[4 * k + 3]
        rgb[3 * k] = (a & 0xFFFFFF) | (b << 24)
        rgb[3 * k + 1] = ((b >> 8) & 0xFFFF) | (c << 16)
        rgb[3 * k + 2] = ((c >> 16) & 0xFF) | (d << 8)
        semantic[k] = (
            ((a >> 24) & 0xFF)
            | (((b >> 24) & 0xFF) << 8)
            | (((c >> 24) & 0xFF) << 16)
            | (((d >> 24) & 0xFF) << 24)
        )
