"""Weather: names, limits and random draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.weather import WEATHERS, Weather, named_weather, random_weather


def test_names():
    assert len(WEATHERS) == 15
    assert named_weather("fog") == WEATHERS["fog-noon"]
    assert named_weather("rain-night").sun_elevation < 0 < named_weather("rain").rain
    with pytest.raises(RoadloopError, match="clear-noon"):
        named_weather("clear-non")


@pytest.mark.parametrize(
    ("field", "value"),
    [("clouds", 1.1), ("visibility", 0.0), ("rain", -1.0), ("snow", math.nan), ("wetness", 2.0)],
)
def test_impossible_values_are_refused(field, value):
    with pytest.raises(RoadloopError, match=field):
        Weather(**{field: value})


def test_contrast_at_the_visibility_is_five_percent():
    weather = Weather(visibility=150.0)
    assert math.exp(-weather.extinction * 150.0) == pytest.approx(0.05)


def test_headlights_are_on_at_night_and_in_fog():
    dark = {name for name, weather in WEATHERS.items() if weather.is_dark}
    assert {"clear-night", "fog-noon", "rain-night"} <= dark
    assert not dark & {"clear-noon", "cloudy-noon", "clear-sunset"}


def test_random_weather_belongs_together():
    rng = np.random.default_rng(0)
    drawn = [random_weather(rng) for _ in range(2000)]
    assert drawn[:5] == [random_weather(r) for r in [np.random.default_rng(0)] for _ in range(5)]
    for weather in drawn:
        if weather.rain > 0.0:
            assert weather.wetness > 0.0 and weather.clouds > 0.5 and weather.snow == 0.0
    night = np.mean([weather.sun_elevation < 0.0 for weather in drawn])
    bad = np.mean([w.rain > 0.0 or w.snow > 0.0 or w.visibility < 1000.0 for w in drawn])
    assert 0.15 < night < 0.4
    assert 0.25 < bad < 0.42
