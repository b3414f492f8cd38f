"""What comes back to a LiDAR: strength, losses, noise, and echoes of rain, snow and fog.

The power that returns from a surface of reflectivity rho that fills the beam is, up to a constant
of the sensor, rho cos(incidence) exp(-2 alpha R) / R^2 with the extinction alpha of the air (e.g.
R. H. Rasshofer, M. Spies, H. Spies, "Influences of weather phenomena on automotive laser radar
systems", Advances in Radio Science 9, 2011). The constant follows from ``max_range``: there, a
surface of 10 % reflectivity hit squarely in clear air is just seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.rig import LidarSensor
from roadloop.weather import Weather
from sim.scenery.mesh import Surface

Array = np.ndarray

REFERENCE = 0.1
"""reflectivity for which ``LidarSensor.max_range`` holds"""
WINDOW = 1.5
"""times ``max_range``: echoes that come later are not waited for"""
SPECKLE = 0.15
"""relative standard deviation of the received power from pulse to pulse"""

REFLECTIVITY = np.full(256, 0.3, np.float32)
"""by Surface: share of near infrared light (905 nm) sent back by a diffuse sheet hit squarely.

Typical values: asphalt 10 to 20 %, concrete 30 to 40 %, plants 40 to 60 %, tyres a few per cent.
Above 1: a retroreflector, brighter than a white sheet.
"""
for _surface, _value in {
    Surface.ASPHALT: 0.15,
    Surface.MARK: 0.7,  # paint with glass beads
    Surface.PAVEMENT: 0.3,
    Surface.KERB: 0.32,
    Surface.GRASS: 0.45,
    Surface.SOIL: 0.25,
    Surface.CONCRETE: 0.35,
    Surface.WALL: 0.4,
    Surface.WINDOW: 0.1,
    Surface.ROOF: 0.25,
    Surface.METAL: 0.35,
    Surface.WOOD: 0.35,
    Surface.FOLIAGE: 0.5,
    Surface.SIGN_FACE: 20.0,
    Surface.LAMP_RED: 0.3,
    Surface.LAMP_YELLOW: 0.3,
    Surface.LAMP_GREEN: 0.3,
    Surface.STREET_LAMP: 0.3,
    Surface.PAINT: 0.4,
    Surface.GLASS: 0.1,
    Surface.TYRE: 0.05,
    Surface.PLASTIC: 0.15,
    Surface.HEADLIGHT: 0.8,
    Surface.TAIL_LIGHT: 5.0,  # with a reflex reflector
    Surface.INDICATOR_LEFT: 0.6,
    Surface.INDICATOR_RIGHT: 0.6,
    Surface.CLOTH: 0.4,
    Surface.SKIN: 0.5,
}.items():
    REFLECTIVITY[_surface] = _value

_RETRO = np.zeros(256, bool)
_RETRO[[Surface.SIGN_FACE, Surface.TAIL_LIGHT, Surface.MARK]] = True
"""send light back to where it came from, however they are turned"""

_SMOOTH = (
    Surface.PAINT, Surface.METAL, Surface.PLASTIC, Surface.GLASS, Surface.WINDOW,
    Surface.HEADLIGHT, Surface.INDICATOR_LEFT, Surface.INDICATOR_RIGHT,
)  # fmt: skip
"""without the roughness that sends light back even where a surface is hit at a slant"""
ROUGHNESS = 0.15
"""rad, slope of the facets of all others; roads then answer up to about 50 m (M. Oren, S. Nayar,
"Generalization of Lambert's reflectance model", SIGGRAPH 1994, light from where one looks)"""

_PASS = np.zeros(256, np.float32)
_PASS[[Surface.GLASS, Surface.WINDOW]] = 0.85, 0.6
"""share of beams that go through or are mirrored away, and never come back"""

_GROUND = np.zeros(256, bool)
_GROUND[[Surface.ASPHALT, Surface.MARK, Surface.PAVEMENT, Surface.KERB]] = True
_UNDER_SNOW = _GROUND.copy()
_UNDER_SNOW[[Surface.GRASS, Surface.SOIL, Surface.ROOF]] = True

SNOW_REFLECTIVITY = 0.8
"""of fresh snow at 905 nm"""
WET_LOSS = 0.7
"""share of the diffuse echo of level ground that a film of water takes away (it mirrors)"""

# Echoes of the air: 1/m, how many drops or flakes per m of beam are strong enough to be taken for
# a target within AIR_RANGE, thinning out beyond. Own choice, in the order of what is reported:
# below 1 % of the points in moderate rain, around a tenth in dense fog.
FOG_ECHOES = 0.4
"""times the extinction (1/m) beyond that of 1 km visibility"""
RAIN_ECHOES = 8e-5
"""times mm/h"""
FLAKE_ECHOES = 4.0
"""times the extinction where it snows (snow lies and visibility is below FLAKE_VISIBILITY)"""
FLAKE_VISIBILITY = 5_000.0
AIR_RANGE = 6.0
"""m, scale of the exponential fall-off of echoes of the air"""
AIR_REFLECTIVITY = 0.02


@dataclass(frozen=True)
class Echoes:
    """What the receiver makes of each beam; same shape as the beams."""

    distance: Array
    """float32 m, with noise"""
    intensity: Array
    """float32 in [0, 1]: reflectivity as a calibrated sensor reports it, 1 from a white sheet up"""
    valid: Array
    """bool: there is an echo"""
    air: Array
    """bool: of rain, snow or fog, not of a surface"""


def echoes(
    distance: Array,
    surface: Array,
    cosine: Array,
    sensor: LidarSensor,
    weather: Weather,
    rng: np.random.Generator,
) -> Echoes:
    """The echoes of beams.

    Args:
        distance: float32 m to the first surface, inf: none.
        surface: uint8 Surface.
        cosine: float32, of the incidence.
        rng: draws as many numbers whatever the beams meet.
    """
    shape = distance.shape
    chance = rng.random((3, *shape), np.float32)
    normal = rng.standard_normal((2, *shape), np.float32)

    strength = _reflectivity(surface, cosine, weather)
    met = np.isfinite(distance)
    r = np.where(met, distance, np.float32(1.0))
    strength *= np.exp(np.float32(-2.0 * weather.extinction) * r)
    seen = strength * (1.0 + np.float32(SPECKLE) * normal[0])
    limit = np.float32(REFERENCE / sensor.max_range**2)
    valid = met & (seen > limit * r * r)
    valid &= chance[0] >= np.float32(sensor.dropout)
    valid &= chance[1] >= _PASS[surface]

    away, air = _of_air(chance[2], weather, sensor)
    air &= away < np.where(met, distance, np.float32(np.inf))
    r = np.where(air, away, r)
    strength = np.where(air, np.float32(AIR_REFLECTIVITY) * (1.0 + 0.5 * normal[0]), seen)
    valid |= air
    r = r + np.float32(sensor.range_noise) * normal[1]
    valid &= (r >= sensor.min_range) & (r <= WINDOW * sensor.max_range)
    return Echoes(distance=r, intensity=np.clip(strength, 0.0, 1.0), valid=valid, air=air & valid)


def farthest(sensor: LidarSensor) -> float:
    """m, from where nothing can be measured."""
    return WINDOW * sensor.max_range


def _reflectivity(surface: Array, cosine: Array, weather: Weather) -> Array:
    """Share of the light that comes back, float32: the surface, how it lies, what lies on it."""
    table = REFLECTIVITY.copy()
    table[_GROUND] *= 1.0 - WET_LOSS * weather.wetness
    retro = _RETRO.copy()
    if weather.snow > 0.0:
        table[_UNDER_SNOW] += weather.snow * (SNOW_REFLECTIVITY - table[_UNDER_SNOW])
        retro[_GROUND] &= weather.snow < 0.5
    if weather.wetness > 0.5:
        retro[Surface.MARK] = False  # glass beads under water
    slope = np.full(len(table), ROUGHNESS**2, np.float32)
    slope[list(_SMOOTH)] = 0.0
    straight = table * (1.0 - 0.5 * slope / (slope + 0.33))
    slanted = table * (0.45 * slope / (slope + 0.09))
    diffuse = straight[surface] * cosine + slanted[surface] * (1.0 - cosine * cosine)
    mirror = retro[surface]
    if mirror.any():
        diffuse[mirror] = table[surface[mirror]] * np.sqrt(cosine[mirror])
    return diffuse


def _of_air(chance: Array, weather: Weather, sensor: LidarSensor) -> tuple[Array, Array]:
    """Distance of each beam's nearest echo of the air, and whether there is one."""
    rate = FOG_ECHOES * max(weather.extinction - 0.003, 0.0) + RAIN_ECHOES * weather.rain
    if weather.snow > 0.0 and weather.visibility < FLAKE_VISIBILITY:
        rate += FLAKE_ECHOES * weather.extinction
    if rate == 0.0:
        return np.ones_like(chance), np.zeros(chance.shape, bool)
    # a Poisson process of the density rate * exp(-r / AIR_RANGE) from min_range on: the nearest
    # echo is nearer than r with the chance 1 - exp(-rate AIR_RANGE (1 - exp(-r / AIR_RANGE)))
    most = rate * AIR_RANGE
    air = chance < np.float32(-np.expm1(-most))
    share = np.where(air, -np.log1p(-np.minimum(chance, np.float32(0.9999999))) / most, 0.0)
    away = -AIR_RANGE * np.log1p(-np.minimum(share, np.float32(0.999999)))
    return (sensor.min_range + away).astype(np.float32), air
