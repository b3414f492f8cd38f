"""Light and air as kernels see them: sun, sky, fog, wet and snowy ground, headlights.

Radiance is linear RGB in arbitrary units in which a white sheet under the sky of a clear noon is
about 1; ``Air.exposure`` brings it to the camera's range. By day the units are proportional to
photometric ones (1 is about 100 klx of illuminance). At night they are not: what moon, clouds and
a city's glow leave is put at ``NIGHT``, a thousand times too bright, and so are lamps. A picture of
eight bits shows the same, and sums in float32 stay simple.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import warp as wp

from roadloop.weather import Weather
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

NIGHT = 0.009
"""light of a white sheet at night"""

# Optical depth of a clear vertical atmosphere at 650, 550 and 450 nm: Rayleigh scattering
# (0.008735 l^-4.08, l in um), ozone, and haze after Angstrom (0.06 l^-1.3).
_DEPTH = np.array([0.0507 + 0.02 + 0.105, 0.100 + 0.03 + 0.131, 0.227 + 0.003 + 0.169])

# Sky light of a sheet facing up over its value at noon, by elevation of the sun (rad): measured
# daylight without the sun (18 klx at 60 deg, 6 klx at 5 deg, 700 lx at 0); below the horizon it
# falls more slowly than daylight does (3 lx at -6 deg), so that twilight ends in ``NIGHT``.
_SKY_ELEVATION = np.array([-0.31, -0.21, -0.16, -0.105, -0.05, 0.0, 0.09, 0.26, 0.52, 0.80, 1.57])
_SKY_LIGHT = np.array([1e-4, 1e-3, 0.004, 0.012, 0.026, 0.05, 0.30, 0.55, 0.82, 1.0, 1.15])

# Clear sky at noon, white balanced to the sun: radiance overhead and at the horizon.
_ZENITH_NOON = np.array([0.090, 0.172, 0.370])
_HORIZON_NOON = np.array([0.36, 0.46, 0.60])
# ... and of night, times NIGHT: a city's glow, what street lamps scatter about, the moon.
_ZENITH_NIGHT = np.array([0.15, 0.20, 0.34])
_HORIZON_NIGHT = np.array([0.42, 0.43, 0.50])
_STREET = np.array([0.26, 0.21, 0.15])
_MOON = np.array([0.50, 0.58, 0.75])

# Mean reflectance of what lies around, that lights things from below.
_GROUND = np.array([0.16, 0.155, 0.14])
_SNOWY_GROUND = np.array([0.62, 0.64, 0.67])

_FOG_HEIGHT = 250.0
"""m, of the layer that rain, snow and fog fill, over which the sun is dimmed and the sky hidden"""

SNOW_COLOUR = wp.constant(wp.vec3(0.80, 0.83, 0.87))
WINDOW_LIGHT = wp.constant(wp.vec3(1.0, 0.66, 0.33))


@wp.struct
class Air:
    """Weather as the kernels read it; directions in the world frame."""

    sun_direction: wp.vec3  # unit, towards the sun; by night towards the moon
    sun: wp.vec3  # radiance a white sheet facing the sun gives back of it
    sky: wp.vec3  # the same of the sky above, for a sheet facing up
    ground: wp.vec3  # the same of light from below, for a sheet facing down
    zenith: wp.vec3  # radiance of the sky overhead ...
    horizon: wp.vec3  # ... and at the horizon, also that of fog
    cloud: wp.vec3  # what a cloud is brighter than the clear sky overhead
    glow: wp.vec3  # radiance added around the sun, 2 degrees from its middle
    dusk: wp.vec3  # radiance added at the horizon below a low sun
    disc: wp.vec3  # radiance of the sun's disc
    extinction: wp.float32  # 1/m
    clouds: wp.float32  # share of the sky
    veil: wp.float32  # share of the sky that fog, rain or snow hide
    wetness: wp.float32
    snow: wp.float32
    dark: wp.int32  # headlights, windows and street lamps are lit
    lamp: wp.float32  # radiance of a full lamp whose colour is 1
    headlight: wp.float32  # radiance of a white sheet that faces a pair of low beams 10 m ahead
    exposure: wp.float32


def sun_transmission(elevation: float) -> np.ndarray:
    """(3,) share of RGB sunlight that comes through a clear atmosphere; 0 below the horizon.

    Beer's law with the relative air mass of Kasten and Young (1989, Applied Optics 28, 4735).
    """
    if elevation <= -0.02:
        return np.zeros(3)
    degrees = math.degrees(max(elevation, 0.0))
    mass = 1.0 / (math.sin(max(elevation, 0.0)) + 0.50572 * (degrees + 6.07995) ** -1.6364)
    # the disc (0.5 deg) and refraction: the last light fades, it is not cut off
    risen = min(1.0, (elevation + 0.02) / 0.03)
    return np.exp(-_DEPTH * mass) * risen


@lru_cache(maxsize=256)
def air_of(weather: Weather) -> Air:
    """The weather for the kernels."""
    h = weather.sun_elevation
    noon = sun_transmission(0.80)
    through = sun_transmission(h) / noon
    # A camera's white balance takes out half of a warm sun's cast (in the logarithm).
    balance = (np.maximum(through, 1e-6) / max(float(through.mean()), 1e-6)) ** 0.4
    veil = 1.0 - math.exp(-weather.extinction * _FOG_HEIGHT)  # share of the sky that air hides
    high = max(math.sin(h), 0.06)
    straight = (1.0 - weather.clouds**3) ** 2 * math.exp(
        -min(weather.extinction * _FOG_HEIGHT * 0.5 / high, 60.0)
    )
    sun_clear = 1.05 * through / balance
    sun = sun_clear * straight

    # The clear sky: blue above, pale below, and warm where the sun is low.
    light = np.exp(np.interp(h, _SKY_ELEVATION, np.log(_SKY_LIGHT)))
    low = math.exp(-((max(h + 0.02, 0.0) / 0.18) ** 2))
    zenith = light * _ZENITH_NOON * (1 + low * np.array([0.60, 0.08, -0.20]))
    horizon = light * _HORIZON_NOON * (1 + low * np.array([0.55, 0.02, -0.28]))
    clear = zenith

    # Clouds give back a third of what falls on them, evenly and without its colour; scattered
    # ones are lit by the sun.
    above = float((sun_clear * max(math.sin(h), 0.0) + zenith * 0.8 + horizon * 0.2).mean())
    cover = weather.clouds
    grey = np.array([0.97, 1.0, 1.04]) * (1 + low * np.array([0.12, 0.0, -0.04])) * above
    overcast = (0.40 + 0.30 * (1 - cover)) / (1.0 + weather.rain / 25.0) * grey
    zenith = (1 - cover) * zenith + cover * overcast * 1.06
    horizon = (1 - cover) * horizon + cover * overcast * 0.92
    # What fog takes from the sun it gives to the sky; inside it is as bright everywhere.
    mist = 0.85 * (zenith * 0.8 + horizon * 0.2) + 0.25 * grey * (1 - straight) * (1 - cover)
    zenith = (1 - veil) * zenith + veil * mist * 1.05
    horizon = (1 - veil) * horizon + veil * mist

    # Night: clouds and fog throw back the city's light.
    night = NIGHT * (1.0 - 0.25 * cover)
    lit = np.array([0.46, 0.42, 0.42])
    shut = max(veil, 0.6 * cover)
    zenith = zenith + night * ((1 - shut) * _ZENITH_NIGHT + shut * lit * 0.9)
    horizon = horizon + night * ((1 - shut) * _HORIZON_NIGHT + shut * lit)
    moon_up = h < -0.02
    direction = (h, weather.sun_azimuth)
    if moon_up:  # it stands opposite the sun, well up, so that nights have shadows' shape
        direction = (0.7, weather.sun_azimuth + math.pi)
        sun = sun + NIGHT * _MOON * (1 - cover) * (1 - veil) * min(1.0, (-0.02 - h) / 0.1)

    street = NIGHT * _STREET * min(max((0.05 - h) / 0.1, 0.0), 1.0)
    sky = zenith * 0.8 + horizon * 0.2 + street
    level = sky + sun * max(math.sin(direction[0]), 0.0)
    below = _GROUND + weather.snow * (_SNOWY_GROUND - _GROUND)
    ground = below * level

    # Auto-exposure meters ground and lower sky; it trusts snow to be white, and in the dark it
    # runs out of gain and leaves the picture darker.
    metered = (_GROUND + 0.35 * (below - _GROUND)) * level * 0.6 + 0.4 * horizon
    exposure = 0.56 * (float(metered.mean()) + 0.0055) ** -0.85

    # Scattered forward by haze and thin clouds; gone where the sun cannot be seen.
    seen = straight * (0.0 if moon_up else 1.0)
    warm = through / max(float(through.max()), 1e-6) / balance
    glow = seen * warm * (0.25 * float(above) ** 0.5 + 0.15 * low)
    dusk = (1 - veil) * (1 - cover**2) * low * light * np.array([1.00, 0.42, 0.06]) * 0.75
    disc = 40.0 * seen * sun_clear + glow

    air = Air()
    e, a = direction
    air.sun_direction = wp.vec3(math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    air.sun, air.sky, air.ground = _vec(sun), _vec(sky), _vec(ground)
    air.zenith, air.horizon = _vec(zenith), _vec(horizon)
    air.cloud = _vec(overcast - clear)
    air.glow, air.dusk, air.disc = _vec(glow), _vec(dusk), _vec(disc)
    air.extinction = weather.extinction
    air.clouds, air.veil = weather.clouds, veil
    air.wetness, air.snow = weather.wetness, weather.snow
    air.dark = int(weather.is_dark)
    # A lamp is beyond white in the picture by day and by night, as the eye tells it.
    air.lamp = 3.2 * exposure**-0.85
    # Headlights fill the picture at night and are lost in a day's fog.
    air.headlight = 0.010 * exposure if weather.is_dark else 0.0
    air.exposure = exposure
    return air


def _vec(colour: np.ndarray) -> wp.vec3:
    return wp.vec3(*(float(c) for c in colour))


@wp.func
def mixed(a: wp.vec3, b: wp.vec3, share: wp.float32) -> wp.vec3:
    """``a`` with ``share`` of it replaced by ``b``."""
    return a + (b - a) * share


@wp.func
def smooth(low: wp.float32, high: wp.float32, x: wp.float32) -> wp.float32:
    """0 below ``low``, 1 above ``high``, a cubic between."""
    t = wp.clamp((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@wp.func
def lamp_strength(surface: wp.int32, lit: wp.int32, full: wp.float32) -> wp.float32:
    """What ``colour`` is multiplied by where a lamp is lit (1 dim, 2 ``full``), else 0."""
    if lit <= 0:
        return 0.0
    if surface == Surface.WINDOW:
        return 0.0
    if lit == 1:
        return 0.3 * full
    return full


@wp.func
def window_light(colour: wp.vec3, lit: wp.int32, full: wp.float32) -> wp.vec3:
    """Radiance of a window with light behind it, a little different for each colour of pane."""
    if lit <= 0:
        return wp.vec3(0.0, 0.0, 0.0)
    return WINDOW_LIGHT * (full * (0.09 + 0.12 * wp.min(wp.length(colour), 1.0)))


@wp.func
def snow_share(surface: wp.int32, up: wp.float32, snow: wp.float32) -> wp.float32:
    """Share under snow of a surface whose normal has the z component ``up``; ``Air.snow``."""
    if snow <= 0.0:
        return 0.0
    share = float(0.0)
    if surface <= Surface.MARK:
        share = 0.55  # traffic keeps roads half clear
    elif surface <= Surface.KERB:
        share = 0.80
    elif surface <= Surface.FOLIAGE:
        share = 1.0
    elif surface == Surface.PAINT or surface == Surface.GLASS:
        share = 0.35
    if surface == Surface.FOLIAGE:
        return snow * (0.25 + 0.55 * smooth(-0.2, 0.9, up))
    return share * snow * smooth(0.55, 0.9, up)


@wp.func
def wet_colour(colour: wp.vec3, surface: wp.int32, wetness: wp.float32) -> wp.vec3:
    """Reflectance with water on it: rough porous ground darkens, its colour a bit bluer."""
    if surface > Surface.CONCRETE:
        return colour
    if surface == Surface.ASPHALT:
        dark = wp.vec3(0.50, 0.52, 0.55)
        return wp.cw_mul(colour, mixed(wp.vec3(1.0, 1.0, 1.0), dark, wetness))
    return colour * (1.0 - 0.25 * wetness)


@wp.func
def lens_colour(colour: wp.vec3, surface: wp.int32, lit: wp.int32) -> wp.vec3:
    """Reflectance of what may be a lamp's lens: dark while the lamp behind it is off."""
    if lit == 0:
        if surface >= Surface.LAMP_RED and surface <= Surface.LAMP_GREEN:
            return colour * 0.10
        if surface == Surface.TAIL_LIGHT:
            return colour * 0.30
        if surface == Surface.INDICATOR_LEFT or surface == Surface.INDICATOR_RIGHT:
            return colour * 0.12  # amber enough in headlights
    return colour


@wp.func
def lit_surface(
    colour: wp.vec3, normal: wp.vec3, surface: wp.int32, lit: wp.int32, air: Air
) -> wp.vec3:
    """Radiance of a flat surface in sun and sky; ``lit`` > 0: a lamp, how bright (1 dim, 2 full).

    ``normal`` is a unit vector in the world frame, of the side that is lit: a sheet seen from
    behind looks the same unless who draws it turns the normal towards the viewer.
    """
    up = normal[2]
    albedo = wet_colour(lens_colour(colour, surface, lit), surface, air.wetness)
    share = snow_share(surface, up, air.snow)
    albedo = mixed(albedo, SNOW_COLOUR, share)
    cosine = wp.dot(normal, air.sun_direction)
    facing = wp.max(cosine, 0.0)
    if surface == Surface.FOLIAGE:
        # leaves stand every way, and light shines through them
        facing = 0.22 + 0.45 * facing + 0.18 * wp.max(-cosine, 0.0)
    light = air.sun * facing + mixed(air.ground, air.sky, 0.5 + 0.5 * up)
    radiance = wp.cw_mul(albedo, light)
    if surface == Surface.GLASS or surface == Surface.WINDOW:
        # about a quarter of what a pane shows is the sky
        radiance = mixed(radiance, mixed(air.horizon, air.zenith, 0.3), 0.28)
    elif surface == Surface.ASPHALT:
        # at the flat angles of a road a wet one mirrors the lower sky
        radiance = mixed(radiance, air.horizon * 0.75, 0.17 * air.wetness * (1.0 - share) * up * up)
    elif surface == Surface.MARK:
        radiance = mixed(radiance, air.horizon * 0.75, 0.10 * air.wetness * (1.0 - share) * up * up)
    elif surface == Surface.SIGN_FACE:
        if air.dark == 1:  # throws headlights back where they come from
            radiance += colour * (0.03 * air.headlight)
    if lit > 0:
        if surface == Surface.WINDOW:
            radiance += window_light(colour, lit, air.lamp)
        else:
            radiance += colour * lamp_strength(surface, lit, air.lamp)
    return radiance


@wp.func
def sky_radiance(direction: wp.vec3, air: Air) -> wp.vec3:
    """Radiance of the sky in a unit direction of the world frame, sun disc and glow included.

    From horizon to zenith it goes with the square root of the height, which makes a white sheet
    facing up 0.2 horizon + 0.8 zenith.
    """
    height = wp.clamp(direction[2], 0.0, 1.0)
    radiance = mixed(air.horizon, air.zenith, wp.sqrt(height))
    off = 1.0 - wp.dot(direction, air.sun_direction)
    if air.dusk[0] > 0.0:
        near = (1.0 - 0.5 * off) * (1.0 - height) * (1.0 - height)
        radiance += air.dusk * (near * near)
    if air.glow[0] > 0.0:
        if off < 1.2e-5:  # 0.28 deg
            return radiance + air.disc
        radiance += air.glow * (0.0012 / (off + 0.0006))
    return radiance


@wp.func
def through_air(radiance: wp.vec3, distance: wp.float32, air: Air) -> wp.vec3:
    """What is left of ``radiance`` after ``distance`` m, with what the air scatters in."""
    return mixed(air.horizon, radiance, wp.exp(-air.extinction * distance))


@wp.func
def tone(x: wp.float32) -> wp.float32:
    """Pixel value in [0, 255] of a channel that is exposed to ``x``.

    One rational function for a filmic curve (soft foot, middle grey 0.18 at 112, white 1 at 213,
    full at 5) and the gamma of sRGB together.
    """
    s = wp.sqrt(wp.clamp(x, 0.0, 6.0))
    return wp.min(255.0 * s * (0.7133 + 1.5175 * s) / (1.0 + s * (0.0672 + 1.597 * s)), 255.0)


@wp.func
def developed(radiance: wp.vec3, air: Air) -> wp.vec3:
    """Camera response: exposure, tone curve, sRGB; in [0, 255]."""
    return wp.vec3(
        tone(radiance[0] * air.exposure),
        tone(radiance[1] * air.exposure),
        tone(radiance[2] * air.exposure),
    )
