"""The detailed picture: every pixel lit on its own, with textures, shadows and headlights.

Goes over a picture that is already resolved and replaces its colours; labels stay. It costs ten to
fifty times the plain picture, most of it for shadows, which are cast ray by ray.
"""

from __future__ import annotations

import warp as wp

from roadloop.semantics import SemanticClass
from sim.render.geometry import CHUNK, Chunk, Triangle
from sim.render.light import Air, developed, through_air
from sim.render.raster import View
from sim.render.raster_lens import Lens
from sim.render.shade import brightness, packed
from sim.render.surfaces import HeadLights, lit_pixel, sky_pixel
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

OFFSET = wp.constant(0.03)
"""m off its surface, where a shadow ray starts"""


@wp.struct
class Contact:
    """Where the sky's light does not reach the ground below road users, seen from above."""

    x: wp.float32  # lower left corner, m from the scene's origin
    y: wp.float32
    cell: wp.float32  # m
    z: wp.float32  # m, of the ground it holds for
    row: wp.int32  # of the shade


@wp.func
def contact_at(p: wp.vec3, contact: Contact, shade: wp.array3d(dtype=wp.float32)) -> wp.float32:
    """Share of the sky's light that reaches a point of the ground."""
    i = int((p[1] - contact.y) / contact.cell)
    j = int((p[0] - contact.x) / contact.cell)
    if i < 0 or j < 0 or i >= shade.shape[1] or j >= shade.shape[2]:
        return 1.0
    if wp.abs(p[2] - contact.z) > 2.5:
        return 1.0  # another level
    return shade[contact.row, i, j]


@wp.kernel
def detail(
    keys: wp.array(dtype=wp.int64),
    least: wp.int64,
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    views: wp.array(dtype=View),
    bent: wp.int32,
    lenses: wp.array(dtype=Lens),
    rays: wp.array(dtype=wp.vec3),
    airs: wp.array(dtype=Air),
    lights: wp.array2d(dtype=wp.int32),
    actor_lamps: wp.array(dtype=wp.int32),
    actor_palette: wp.array2d(dtype=wp.vec3),
    headlights: wp.array(dtype=HeadLights),
    scenery: wp.uint64,
    bodies: wp.array(dtype=wp.uint64),
    shadows: wp.int32,
    contacts: wp.array(dtype=Contact),
    shade: wp.array3d(dtype=wp.float32),
    words: wp.array(dtype=wp.int32),
):
    """One row of one view.

    ``least``: smaller keys are sky. ``bent``: the rays are in ``rays``, keys hold 1 / distance.
    ``bodies``: per world the mesh of its actors, 0 without. ``shade``: (worlds that are looked at,
    rows, columns), no rows where contact shadows are off.
    """
    nth, y = wp.tid()
    v = views[nth]
    if y >= v.height:
        return
    air = airs[v.air]
    lamps = headlights[v.world]
    for x in range(v.width):
        i = v.pixels + y * v.width + x
        ray = wp.vec3(0.0, 0.0, 1.0)
        if bent == 1:
            ray = rays[lenses[nth].rays + y * v.width + x]
        else:
            ray = wp.normalize(wp.vec3((float(x) - v.cx) / v.fx, (float(y) - v.cy) / v.fy, 1.0))
        direction = v.turn * ray
        key = keys[i]
        if key < least:
            if wp.dot(ray, ray) > 0.0:
                words[i] = packed(developed(sky_pixel(direction, air), air), SemanticClass.SKY)
        else:
            slot = int(key & wp.int64(0x7FFFFFFF))
            away = 1.0 / wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)
            if bent == 0:
                away = away / ray[2]
            c = chunks[slot // CHUNK]
            row = c.first + slot % CHUNK
            t = triangles[row]
            surface = t.tag & 255
            base = t.colour
            light = int(0)
            lamp_bits = int(0)
            if c.actor >= 0:
                number = (t.tag >> 16) & 255
                if number > 0:
                    base = wp.cw_mul(base, actor_palette[c.actor, number - 1])
                lamp_bits = actor_lamps[c.actor]
            elif t.instance < 0:
                light = lights[v.world, -t.instance - 1]
            flat = wp.cross(t.b - t.a, t.c - t.a)
            normal = wp.normalize(c.turn * wp.cw_div(flat, c.scale))
            if wp.dot(normal, direction) > 0.0:
                normal = -normal
            point = v.place + direction * away
            sunlit = float(1.0)
            if shadows == 1:
                if wp.dot(normal, air.sun_direction) <= 0.0:
                    sunlit = 0.0
                else:
                    start = point + normal * OFFSET
                    if wp.mesh_query_ray_anyhit(scenery, start, air.sun_direction, 200.0):
                        sunlit = 0.0
                    elif bodies[v.world] != wp.uint64(0):
                        if wp.mesh_query_ray_anyhit(
                            bodies[v.world], start, air.sun_direction, 50.0
                        ):
                            sunlit = 0.0
            open_sky = float(1.0)
            if shade.shape[1] > 0 and surface <= Surface.CONCRETE:
                open_sky = contact_at(point, contacts[v.world], shade)
            lit = brightness(t.tag, light, lamp_bits, air.dark)
            radiance = lit_pixel(
                base, normal, surface, lit, point, direction, away, 1.0 / v.fx, sunlit, open_sky,
                lamps, air,
            )  # fmt: skip
            seen = developed(through_air(radiance, away, air), air)
            words[i] = packed(seen, (t.tag >> 8) & 255)
