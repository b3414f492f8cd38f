"""Light and air as kernels see them: sun, sky, fog, wet and snowy ground, headlights.

Radiance is linear RGB in arbitrary units in which a white sheet under the sky of a clear noon is
about 1; ``Air.exposure`` brings it to the camera's range.
"""

from __future__ import annotations

import warp as wp

from roadloop.weather import Weather


@wp.struct
class Air:
    """Weather as the kernels read it; directions in the world frame."""

    sun_direction: wp.vec3  # unit, towards the sun
    sun: wp.vec3  # radiance a white sheet facing the sun gives back of it
    sky: wp.vec3  # the same of the sky above, for a sheet facing up
    ground: wp.vec3  # the same of light from below, for a sheet facing down
    zenith: wp.vec3  # radiance of the sky overhead ...
    horizon: wp.vec3  # ... and at the horizon, also that of fog
    extinction: wp.float32  # 1/m
    wetness: wp.float32
    snow: wp.float32
    dark: wp.int32  # headlights, windows and street lamps are lit
    exposure: wp.float32


def air_of(weather: Weather) -> Air:
    """The weather for the kernels."""
    raise NotImplementedError


@wp.func
def lit_surface(
    colour: wp.vec3, normal: wp.vec3, surface: wp.int32, lit: wp.int32, air: Air
) -> wp.vec3:
    """Radiance of a flat surface in sun and sky; ``lit`` > 0: a lamp, how bright (1 dim, 2 full).

    ``normal`` is a unit vector in the world frame; the sheet is lit on both sides.
    """
    return colour


@wp.func
def sky_radiance(direction: wp.vec3, air: Air) -> wp.vec3:
    """Radiance of the sky in a unit direction of the world frame, sun disc and glow included."""
    return air.horizon


@wp.func
def through_air(radiance: wp.vec3, distance: wp.float32, air: Air) -> wp.vec3:
    """What is left of ``radiance`` after ``distance`` m, with what the air scatters in."""
    return radiance


@wp.func
def developed(radiance: wp.vec3, air: Air) -> wp.vec3:
    """Camera response: exposure, tone curve, sRGB; in [0, 255]."""
    return radiance
