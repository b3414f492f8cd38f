"""Weather and light of a scenario: what cameras and LiDARs have to see through."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError


@dataclass(frozen=True)
class Weather:
    """Sun, air and ground. The default is a clear afternoon."""

    sun_elevation: float = 0.80
    """rad above the horizon; below 0 it is night"""
    sun_azimuth: float = 0.90
    """rad counter-clockwise from +x of the map to where the sun stands"""
    clouds: float = 0.2
    """share of the sky in [0, 1]; 1 hides the sun"""
    visibility: float = 20_000.0
    """m, meteorological optical range: where contrast falls to 5 %; fog is below 1000"""
    rain: float = 0.0
    """mm/h; 2 is light, 10 moderate, 50 violent"""
    wetness: float = 0.0
    """share in [0, 1] of the ground that is wet"""
    snow: float = 0.0
    """share in [0, 1] of level ground that is covered"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("sun_elevation", -np.pi / 2, np.pi / 2),
            ("sun_azimuth", -2 * np.pi, 2 * np.pi),
            ("clouds", 0.0, 1.0),
            ("visibility", 5.0, 1e6),
            ("rain", 0.0, 200.0),
            ("wetness", 0.0, 1.0),
            ("snow", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:  # also refuses NaN
                raise RoadloopError(
                    f"weather: {name} is {value}, must be in [{low:.4g}, {high:.4g}]"
                )

    @property
    def extinction(self) -> float:
        """1/m, of light in the air (Koschmieder: contrast 5 % at the visibility)."""
        return float(-np.log(0.05) / self.visibility)

    @property
    def is_dark(self) -> bool:
        """Whether vehicles drive with their headlights on and windows and street lamps are lit."""
        return self.sun_elevation < 0.05 or self.visibility < 400.0 or self.rain > 10.0


_SKIES = {
    "clear": Weather(),
    "cloudy": Weather(clouds=0.95, visibility=15_000.0),
    "rain": Weather(clouds=1.0, visibility=2_500.0, rain=8.0, wetness=1.0),
    "fog": Weather(clouds=1.0, visibility=120.0, wetness=0.4),
    "snow": Weather(clouds=1.0, visibility=1_500.0, snow=0.9),
}
_HOURS = {"noon": 0.80, "sunset": 0.09, "night": -0.45}

WEATHERS: dict[str, Weather] = {
    f"{sky}-{hour}": dataclasses.replace(weather, sun_elevation=elevation)
    for sky, weather in _SKIES.items()
    for hour, elevation in _HOURS.items()
}
"""named weathers: clear-noon, rain-night, ..."""

RANDOM = "random"
"""asks for a weather of the scenario's own"""


def named_weather(name: str) -> Weather:
    """The weather called ``name``, e.g. "fog-night"; "fog" alone is "fog-noon"."""
    full = f"{name}-noon" if name in _SKIES else name
    if full not in WEATHERS:
        raise RoadloopError(unknown("weather", name, WEATHERS))
    return WEATHERS[full]


def weather_of(name: str, seed: int) -> Weather:
    """The weather called ``name`` (see ``named_weather``), or for "random" one drawn by ``seed``.

    The same seed gives the same weather, whatever the scenario. RoadloopError for an unknown name.
    """
    if name != RANDOM:
        if name not in _SKIES and name not in WEATHERS:
            raise RoadloopError(unknown("weather", name, [RANDOM, *WEATHERS]))
        return named_weather(name)
    return random_weather(np.random.default_rng([seed, *RANDOM.encode()]))


def random_weather(rng: np.random.Generator) -> Weather:
    """A weather for domain randomisation: any hour, mostly clear or cloudy, one in three worse.

    Stronger rain is harder to see through, and in one dry weather of six the ground is still wet.
    """
    sky = rng.choice(list(_SKIES), p=[0.4, 0.27, 0.15, 0.1, 0.08])
    base = _SKIES[str(sky)]
    strength = float(np.exp(rng.uniform(-1.4, 1.4)))  # rain of 2 to 32 mm/h
    visibility = base.visibility * float(np.exp(rng.uniform(-0.7, 0.9)))
    wetness = base.wetness * rng.uniform(0.5, 1.0)
    after_rain = rng.uniform(0.2, 1.0) if rng.random() < 1.0 / 6.0 else 0.0
    return Weather(
        sun_elevation=float(rng.uniform(-0.5, 1.2)),
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        clouds=float(np.clip(base.clouds + rng.normal(0.0, 0.1), 0.0, 1.0)),
        # light lost in rain grows with about the 0.6th power of its rate (Atlas 1953)
        visibility=visibility * strength**-0.6 if base.rain > 0.0 else visibility,
        rain=base.rain * strength,
        wetness=float(wetness if base.wetness > 0.0 or base.snow > 0.0 else after_rain),
        snow=float(base.snow * rng.uniform(0.4, 1.0)),
    )
