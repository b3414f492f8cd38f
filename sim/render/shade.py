"""What a triangle looks like in the plain picture: one display colour, paid once per triangle.

Static triangles are worked out once per weather, those of actors and lit lamps for every picture.
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


@wp.func
def packed(colour: wp.vec3, semantic: wp.int32) -> wp.int32:
    """Display colour in [0, 255] and class in one word."""
    r = int(wp.clamp(colour[0] + 0.5, 0.0, 255.0))
    g = int(wp.clamp(colour[1] + 0.5, 0.0, 255.0))
    b = int(wp.clamp(colour[2] + 0.5, 0.0, 255.0))
    return r | (g << 8) | (b << 16) | (semantic << 24)


@wp.func
def brightness(tag: wp.int32, light: wp.int32, lamps: wp.int32, dark: wp.int32) -> wp.int32:
    """How bright a lamp is: 0 not lit (or no lamp), 1 dim, 2 full.

    ``tag`` of the triangle, ``light`` the LightState of its signal, ``lamps`` the Lamp bits of its
    actor.
    """
    surface = tag & 255
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
        # somebody is in: said by the slot, which static triangles have no other use for
        if ((tag >> 16) & 255) != 0:
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
    lit = brightness(t.tag, 0, 0, airs[air].dark)
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
    looks: wp.array(dtype=wp.int64),
):
    """Colour and class (lower word) and instance (upper word) of the slots that were drawn."""
    i, lane = wp.tid()
    c = chunks[i]
    v = views[c.view]
    k = int(lane)
    while k < c.count:
        slot = i * CHUNK + k
        row = c.first + k
        if drawn[slot] != wp.uint8(0):
            number = triangles[row].instance
            word = int(0)
            if c.actor < 0:
                word = static_colour[v.air, row]
                surface = triangles[row].tag & 255
                if surface >= Surface.LAMP_RED and surface <= Surface.LAMP_GREEN:
                    light = lights[v.world, -number - 1]
                    lit = brightness(triangles[row].tag, light, 0, 0)
                    if lit > 0:
                        radiance = lit_surface(
                            triangles[row].colour, wp.vec3(0.0, 0.0, 1.0), surface, lit, airs[v.air]
                        )
                        semantic = (triangles[row].tag >> 8) & 255
                        word = packed(developed(radiance, airs[v.air]), semantic)
            else:
                number = actor_id[c.actor]
                word = actor_colour(triangles[row], c, airs[v.air], actor_lamps, actor_palette)
            looks[slot] = (wp.int64(number) << wp.int64(32)) | wp.int64(word)
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
    lit = brightness(t.tag, 0, actor_lamps[c.actor], air.dark)
    radiance = lit_surface(base, normal, surface, lit, air)
    return packed(developed(radiance, air), (t.tag >> 8) & 255)
