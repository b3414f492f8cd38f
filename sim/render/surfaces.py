"""What a surface looks like close by: texture, water, snow, shadow, headlights, reflections.

Textures are value noise of the place (hashed lattice values, blended by a cubic), so that nothing
has to be stored or unwrapped and the same spot looks the same from everywhere. Each detail fades
out where a pixel covers more than its size. Reflections are those of sky and ground only.
"""

from __future__ import annotations

import warp as wp

from sim.render.light import (
    SNOW_COLOUR,
    Air,
    lamp_strength,
    lens_colour,
    mixed,
    sky_radiance,
    smooth,
    snow_share,
    wet_colour,
    window_light,
)
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

# of the hash of lattice points, large primes: Ericson, Real-Time Collision Detection (2005), 7.1
HASH_X = wp.constant(wp.uint32(0x8DA6B343))
HASH_Y = wp.constant(wp.uint32(0xD8163841))


@wp.struct
class HeadLights:
    """The ego's pair of low beams, taken as one lamp between them."""

    position: wp.vec3  # m, in the frame of the points that are lit
    direction: wp.vec3  # unit, level


@wp.func
def hashed(x: wp.int32, y: wp.int32) -> wp.float32:
    """A number in [0, 1) for a lattice point."""
    h = wp.uint32(x) * HASH_X + wp.uint32(y) * HASH_Y
    h = (h ^ (h >> wp.uint32(15))) * wp.uint32(0x2C1B3C6D)
    h = h ^ (h >> wp.uint32(13))
    return float(wp.int32(h & wp.uint32(0xFFFF))) * 1.52587890625e-5


@wp.func
def noise(x: wp.float32, y: wp.float32) -> wp.float32:
    """Value noise in [0, 1), mean 0.5, a lattice of size 1."""
    fx = wp.floor(x)
    fy = wp.floor(y)
    i = int(fx)
    j = int(fy)
    u = x - fx
    v = y - fy
    u = u * u * (3.0 - 2.0 * u)
    v = v * v * (3.0 - 2.0 * v)
    a = hashed(i, j)
    b = hashed(i, j + 1)
    low = a + (hashed(i + 1, j) - a) * u
    high = b + (hashed(i + 1, j + 1) - b) * u
    return low + (high - low) * v


@wp.func
def visible(size: wp.float32, footprint: wp.float32) -> wp.float32:
    """Weight in [0, 1] of detail of ``size`` m where a pixel covers ``footprint`` m."""
    return wp.clamp(1.5 - footprint / size, 0.0, 1.0)


@wp.func
def grain(x: wp.float32, y: wp.float32, size: wp.float32, footprint: wp.float32) -> wp.float32:
    """Value noise in [-0.5, 0.5) of ``size`` m, faded out by distance."""
    weight = visible(size, footprint)
    if weight <= 0.0:
        return 0.0
    return weight * (noise(x / size, y / size) - 0.5)


@wp.func
def near_joint(x: wp.float32, length: wp.float32, width: wp.float32) -> wp.bool:
    """Whether ``x`` is on a joint ``width`` wide that comes every ``length``."""
    return x - wp.floor(x / length) * length < width


@wp.func
def slabs(x: wp.float32, y: wp.float32, footprint: wp.float32) -> wp.float32:
    """Brightness of paving slabs of 0.5 m with joints."""
    shade = float(1.0)
    weight = visible(0.5, footprint)
    if weight > 0.0:
        shade += 0.16 * weight * (hashed(int(wp.floor(x * 2.0)), int(wp.floor(y * 2.0))) - 0.5)
        weight = visible(0.04, footprint)
        if weight > 0.0:
            if near_joint(x, 0.5, 0.014) or near_joint(y, 0.5, 0.014):
                shade -= 0.4 * weight
    return shade


@wp.func
def bricks(x: wp.float32, y: wp.float32, footprint: wp.float32) -> wp.float32:
    """Brightness of a brick wall, courses of 83 mm, bricks of 250 mm."""
    weight = visible(0.14, footprint)
    if weight <= 0.0:
        return 1.0
    course = wp.floor(y * 12.0)
    along = x + 0.125 * (course - 2.0 * wp.floor(course * 0.5))
    shade = 0.30 * (hashed(int(wp.floor(along * 4.0)), int(course)) - 0.5)
    if near_joint(y, 0.0833333, 0.012) or near_joint(along, 0.25, 0.012):
        shade = 0.30
    return 1.0 + weight * shade


@wp.func
def textured(
    colour: wp.vec3,
    surface: wp.int32,
    x: wp.float32,
    y: wp.float32,
    coarse: wp.float32,
    footprint: wp.float32,
) -> wp.vec3:
    """Reflectance with the texture of a surface at (x, y) m of its own plane.

    ``coarse`` is noise in [-0.5, 0.5) of some metres. Mean brightness stays that of ``colour``.
    """
    if surface == Surface.ASPHALT:
        patch = grain(x, y, 1.3, footprint)
        shade = 1.0 + 0.30 * coarse + 0.20 * patch + 0.55 * grain(x, y, 0.03, footprint)
        if wp.abs(patch) < 0.006 and coarse > 0.08:
            shade -= 0.30 * visible(0.10, footprint)  # cracks along level lines of the noise
        return colour * shade
    if surface == Surface.MARK:
        # worn through to the asphalt in spots
        worn = grain(x, y, 0.30, footprint) + 0.6 * grain(x, y, 0.05, footprint)
        return colour * (1.05 + 0.15 * coarse - 0.65 * smooth(0.22, 0.42, worn))
    if surface == Surface.PAVEMENT:
        shade = slabs(x, y, footprint) + 0.15 * coarse
        return colour * (shade + 0.25 * grain(x, y, 0.04, footprint))
    if surface == Surface.GRASS:
        blades = grain(x, y, 0.05, footprint)
        tuft = grain(x, y, 0.35, footprint)
        dry = wp.vec3(1.25, 1.02, 0.85)
        fresh = wp.vec3(0.80, 0.98, 1.05)
        tint = mixed(fresh, dry, wp.clamp(0.5 + coarse + 0.6 * tuft, 0.0, 1.0))
        return wp.cw_mul(colour, tint) * (1.0 + 0.6 * blades + 0.4 * tuft + 0.2 * coarse)
    if surface == Surface.WALL:
        if colour[0] > 1.8 * colour[2]:
            return colour * (bricks(x, y, footprint) + 0.15 * coarse)
        return colour * (1.0 + 0.10 * coarse + 0.12 * grain(x, y, 0.25, footprint))
    if surface == Surface.FOLIAGE:
        return colour * (
            1.0 + 1.1 * grain(x, y, 0.45, footprint) + 1.0 * grain(x, y, 0.11, footprint)
        )
    if surface == Surface.ROOF:
        shade = 1.0 + 0.25 * coarse
        weight = visible(0.3, footprint)
        if weight > 0.0:
            shade += 0.25 * weight * (hashed(int(wp.floor(x * 4.0)), int(wp.floor(y * 3.0))) - 0.5)
        return colour * shade
    if surface == Surface.WOOD:
        return colour * (1.0 + 0.5 * grain(x, y * 0.08, 0.03, footprint) + 0.2 * coarse)
    if surface <= Surface.CONCRETE:  # kerb, soil, concrete
        return colour * (1.0 + 0.3 * coarse + 0.45 * grain(x, y, 0.06, footprint))
    return colour


@wp.func
def beam(position: wp.vec3, normal: wp.vec3, surface: wp.int32, lamps: HeadLights) -> wp.float32:
    """Light of the low beams on a surface; 1: facing them, 10 m ahead, in the middle of the beam.

    A made pattern: 20 degrees wide to each side, cut off at the horizon but for a few percent of
    stray light, and weaker downwards, so that near and far road are lit alike.
    """
    way = position - lamps.position
    ahead = wp.dot(way, lamps.direction)
    if ahead < 0.3:
        return 0.0
    side = (way[1] * lamps.direction[0] - way[0] * lamps.direction[1]) / ahead
    down = -way[2] / ahead
    spread = side * side * 5.0
    near = wp.max(down, 0.0) * 30.0
    pattern = (0.03 + 0.97 * smooth(-0.012, 0.006, down)) / (1.0 + near * near)
    pattern = pattern / (1.0 + spread * spread)
    square = wp.dot(way, way)
    facing = wp.max(-wp.dot(normal, way), 0.0) / wp.sqrt(square)
    if surface <= Surface.CONCRETE:
        facing = 0.30 + 0.70 * facing  # rough ground throws light back at flat angles too
    if surface == Surface.MARK:
        facing = facing * 2.0  # glass beads
    if surface == Surface.SIGN_FACE:
        facing = facing * 12.0  # retroreflection
    return 100.0 * pattern * facing / (square + 4.0)


@wp.func
def mirrored(direction: wp.vec3, horizon: wp.vec3, zenith: wp.vec3, ground: wp.vec3) -> wp.vec3:
    """Radiance from around in a direction, the sun left out; below the horizon the ground's."""
    up = direction[2]
    if up < 0.0:
        return mixed(horizon, ground, wp.min(-8.0 * up, 1.0))
    return mixed(horizon, zenith, wp.sqrt(wp.min(up, 1.0)))


@wp.func
def glint(direction: wp.vec3, sun: wp.vec3) -> wp.float32:
    """How much of the sun a slightly rough mirror shows, leaving in ``direction``; at most 1."""
    c = wp.dot(direction, sun)
    if c < 0.9:
        return 0.0
    c = c * c
    c = c * c
    c = c * c
    c = c * c
    c = c * c
    c = c * c
    return c * c


@wp.func
def lit_pixel(
    colour: wp.vec3,
    normal: wp.vec3,
    surface: wp.int32,
    lit: wp.int32,
    position: wp.vec3,
    view: wp.vec3,
    distance: wp.float32,
    pixel: wp.float32,
    shadow: wp.float32,
    occlusion: wp.float32,
    lamps: HeadLights,
    air: Air,
) -> wp.vec3:
    """Radiance of a point of a surface, the air before it left out.

    Args:
        colour: linear RGB reflectance, or the colour of a lamp's light.
        normal: unit, world frame; turned towards the viewer here.
        surface: Surface.
        lit: brightness of a lamp or window: 0 not lit, 1 dim, 2 full.
        position: m, world axes, from an origin that is the same in all pictures.
        view: unit, from the camera to the point.
        distance: m, from the camera.
        pixel: rad that a pixel is wide, 1 / fx.
        shadow: share in [0, 1] of the sun that reaches the point.
        occlusion: share in [0, 1] of the sky's light that does.
        lamps: the ego's headlights, in the frame of ``position``; count where ``air.dark``.
        air: weather.
    """
    if lit > 0:
        if surface != Surface.WINDOW:
            return colour * lamp_strength(surface, lit, air.lamp)
    n = normal
    cosine = -wp.dot(view, n)
    if cosine < 0.0:
        n = -n
        cosine = -cosine
    up = n[2]
    footprint = distance * pixel / wp.max(cosine, 0.05)

    # coordinates in the plane of the surface: the map's on ground and roofs, along and up on walls
    x = position[0]
    y = position[1]
    if wp.abs(up) < 0.7:
        x = position[1] * n[0] - position[0] * n[1]
        y = position[2]
    coarse = float(0.0)
    if surface <= Surface.ROOF or surface == Surface.FOLIAGE:
        coarse = grain(x, y, 4.0, footprint)

    albedo = textured(lens_colour(colour, surface, lit), surface, x, y, coarse, footprint)
    albedo = wet_colour(albedo, surface, air.wetness)
    snow = snow_share(surface, up, air.snow)
    if snow > 0.0:
        fine = grain(x, y, 0.45, footprint)
        wide = float(0.35)
        if surface <= Surface.MARK:
            wide = 0.80
        snow = smooth(-wide, wide, 0.3 * coarse + fine + 1.3 * snow - 0.65)
        white = SNOW_COLOUR * (1.0 + 0.08 * fine)
        if surface <= Surface.MARK:
            white = white * (0.75 + 0.2 * coarse)  # slush
        albedo = mixed(albedo, white, snow)

    facing = wp.dot(n, air.sun_direction)
    if surface == Surface.FOLIAGE:
        facing = 0.22 + 0.45 * wp.max(facing, 0.0) + 0.18 * wp.max(-facing, 0.0)
    light = air.sun * (wp.max(facing, 0.0) * shadow)
    light += mixed(air.ground, air.sky, 0.5 + 0.5 * up) * occlusion
    headlight = float(0.0)
    if air.dark == 1:
        headlight = beam(position, n, surface, lamps) * air.headlight
    radiance = wp.cw_mul(albedo, light) + albedo * headlight
    if lit > 0:
        radiance += window_light(colour, lit, air.lamp)

    # what is smooth mirrors: Schlick's approximation of Fresnel's equations
    edge = 1.0 - cosine
    edge = edge * edge * edge * edge * edge
    if surface >= Surface.CLOTH or surface == Surface.TYRE or surface == Surface.FOLIAGE:
        return radiance
    if surface <= Surface.CONCRETE:
        if air.wetness <= 0.0 or up < 0.8 or surface == Surface.GRASS:
            return radiance
        bounce = view + n * (2.0 * cosine)
        around = mirrored(bounce, air.horizon, air.zenith, air.ground)
        water = air.wetness * (1.0 - snow)
        # puddles stand where the coarse noise is low; elsewhere a rough film of water, and what it
        # mirrors at flat angles is mostly things darker than the sky
        low = -coarse - 0.7 * grain(x, y, 1.1, footprint) - 0.25 * (1.0 - air.wetness)
        pool = smooth(0.26, 0.36, low)
        pool = pool * water * visible(4.0, 0.5 * footprint)
        share = water * (0.02 + 0.30 * edge) * (1.0 - pool) + pool * (0.03 + 0.65 * edge)
        radiance = mixed(radiance, around * occlusion, share)
        return radiance + air.sun * (
            glint(bounce, air.sun_direction) * shadow * (0.6 * water + 3.0 * pool) * edge
        )
    if surface == Surface.PAINT or surface == Surface.GLASS or surface == Surface.WINDOW:
        base = float(0.04)
        if surface != Surface.PAINT:
            base = 0.10  # two faces, tinted
        bounce = view + n * (2.0 * cosine)
        around = mirrored(bounce, air.horizon, air.zenith, air.ground)
        share = (base + (0.9 - base) * edge) * (1.0 - snow)
        radiance = mixed(radiance, around * (0.3 + 0.7 * occlusion), share)
        return radiance + air.sun * (glint(bounce, air.sun_direction) * shadow * 12.0 * share)
    if surface == Surface.METAL:
        bounce = view + n * (2.0 * cosine)
        around = mirrored(bounce, air.horizon, air.zenith, air.ground)
        shine = around * occlusion + air.sun * (glint(bounce, air.sun_direction) * shadow * 2.0)
        return radiance + wp.cw_mul(colour, shine) * (0.35 * (1.0 - snow))
    return radiance


@wp.func
def sky_pixel(direction: wp.vec3, air: Air) -> wp.vec3:
    """``sky_radiance`` with the shapes of clouds; the mean stays the same."""
    radiance = sky_radiance(direction, air)
    if air.clouds < 0.02 or air.veil > 0.98 or direction[2] < 0.02:
        return radiance
    # a layer seen in perspective, flattened towards the horizon
    scale = 2.2 / (direction[2] + 0.10)
    x = direction[0] * scale + 37.0
    y = direction[1] * scale + 11.0
    form = 0.55 * noise(x, y) + 0.28 * noise(2.1 * x, 2.1 * y) + 0.17 * noise(4.3 * x, 4.3 * y)
    fade = smooth(0.02, 0.25, direction[2]) * (1.0 - air.veil)
    edge = 0.5 + 0.45 * (0.5 - air.clouds)
    cover = smooth(edge - 0.08, edge + 0.14, form)
    gaps = 1.0 - smooth(0.75, 0.98, air.clouds)  # a closed layer shows no blue
    grey = 0.5 * air.clouds * (0.5 - form)
    radiance += air.cloud * ((cover - air.clouds) * fade * gaps)
    return radiance * (1.0 + grey * fade)
