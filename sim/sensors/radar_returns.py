"""How strongly things answer a 77 GHz radar: cross-sections, reflection points, range equation.

The received power goes with sigma / R^4 (M. Skolnik, "Introduction to Radar Systems"); the sensor's
constant follows from ``RadarSensor.max_range``: there, a target of 10 dB m^2 in clear air is
detected every other time. Cross-sections are typical values as measurements at 77 GHz report them,
for cars about 10 dB m^2, trucks 20, pedestrians -8 to -2, with flashes of broad sides.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from roadloop.rig import RadarSensor
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from roadloop.weather import Weather
from sim.scenery.mesh import Surface

Array = np.ndarray

REFERENCE = 10.0
"""dB m^2 for which ``RadarSensor.max_range`` holds"""
WINDOW = 1.5
"""times ``max_range``: beyond, nothing is measured"""


def _by(kinds: type[IntEnum], rest: float, values: dict[IntEnum, float]) -> Array:
    table = np.full(max(kinds) + 1, rest)
    for key, value in values.items():
        table[key] = value
    return table


RCS = _by(
    AgentKind,
    -5.0,
    {
        AgentKind.CAR: 10.0,
        AgentKind.VAN: 13.0,
        AgentKind.TRUCK: 21.0,
        AgentKind.BUS: 20.0,
        AgentKind.MOTORCYCLE: 4.0,
        AgentKind.CYCLIST: 0.0,
        AgentKind.PEDESTRIAN: -5.0,
    },
)
"""dB m^2 by AgentKind, mean over all sides, the whole of it seen"""
POINTS = _by(
    AgentKind,
    1.0,
    {
        AgentKind.CAR: 5.0,
        AgentKind.VAN: 6.0,
        AgentKind.TRUCK: 10.0,
        AgentKind.BUS: 10.0,
        AgentKind.MOTORCYCLE: 2.0,
        AgentKind.CYCLIST: 2.0,
    },
)
"""reflection points by AgentKind that are told apart within POINTS_RANGE"""
POINTS_RANGE = 20.0
"""m; farther away points merge, in proportion"""
SPREAD = _by(
    AgentKind,
    0.05,
    {AgentKind.PEDESTRIAN: 0.45, AgentKind.CYCLIST: 0.5, AgentKind.MOTORCYCLE: 0.15},
)
"""share of an agent's speed, standard deviation between its points: swinging limbs, pedals"""
ASPECT = 5.0
"""dB from the corners of a vehicle to its broad sides"""

AREA_RCS = _by(
    SemanticClass,
    -8.0,
    {
        SemanticClass.VEGETATION: -10.0,
        SemanticClass.BUILDING: -2.0,
        SemanticClass.WALL: -4.0,
        SemanticClass.BRIDGE: -2.0,
        SemanticClass.FENCE: 0.0,
        SemanticClass.POLE: 6.0,
        SemanticClass.TRAFFIC_LIGHT: 8.0,
        SemanticClass.TRAFFIC_SIGN: 12.0,
        SemanticClass.GUARD_RAIL: 8.0,
        SemanticClass.STATIC: 0.0,
        SemanticClass.DYNAMIC: 0.0,
    },
)
"""dB m^2 per m^2 seen, by SemanticClass of what never moves"""
LEVEL = np.zeros(len(AREA_RCS), bool)
LEVEL[
    [
        SemanticClass.ROAD,
        SemanticClass.ROAD_LINE,
        SemanticClass.GROUND,
        SemanticClass.TERRAIN,
        SemanticClass.SIDEWALK,
        SemanticClass.WATER,
    ]
] = True
"""ground: its echo is what the detection threshold adapts to, so it is not reported; kerbs are"""
KERB_RCS = -12.0
"""the same of kerbs"""
MIRROR = 12.0
"""dB more where a flat wall is hit squarely"""


def agent_rcs(kind: Array, aspect: Array) -> Array:
    """dB m^2 of agents (n,) seen from the angle ``aspect`` (rad) off their heading."""
    vehicle = kind <= AgentKind.BUS
    flash = np.cos(2.0 * aspect) ** 2 - 0.5
    return RCS[kind] + np.where(vehicle, ASPECT * flash, 0.0)


def area_rcs(semantic: Array, surface: Array, cosine: Array) -> Array:
    """m^2 per m^2 seen of static surfaces (n,); ``cosine`` of the incidence."""
    value = AREA_RCS[semantic]
    value = np.where(surface == Surface.KERB, KERB_RCS, value)
    flat = (semantic == SemanticClass.BUILDING) | (semantic == SemanticClass.WALL)
    return 10.0 ** (0.1 * (value + np.where(flat, MIRROR * cosine**8, 0.0)))


def margin(rcs: Array, distance: Array, sensor: RadarSensor, weather: Weather) -> Array:
    """dB above the detection threshold of targets of ``rcs`` dB m^2 at ``distance`` m."""
    # rain takes about 1.1 rate^0.72 dB/km near 77 GHz (ITU-R P.838-3), on the way out and back
    rain = 2e-3 * 1.1 * weather.rain**0.72
    spread = 40.0 * np.log10(sensor.max_range / np.maximum(distance, 1e-3))
    return rcs - REFERENCE + spread - rain * distance


def fluctuation(n: int, rng: np.random.Generator) -> Array:
    """(n,) dB by which echoes differ from their mean: exponential power (Swerling 1), median 0."""
    return 10.0 * np.log10(np.maximum(rng.exponential(size=n), 1e-3) / np.log(2.0))
