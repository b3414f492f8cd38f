"""Camera effects: size and place of what they add, and that a seed decides every byte."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.rig import CameraEffects
from roadloop.weather import WEATHERS, Weather
from sim.render.lens import add_effects, lens_of

H, W = 96, 160
ALL = CameraEffects(
    noise=0.004, exposure_jitter=0.05, motion_blur=0.01, vignetting=0.3, dirt=0.03, raindrops=True
)


def grey(value: int = 128) -> np.ndarray:
    return np.full((H, W, 3), value, np.uint8)


def stripes() -> np.ndarray:
    """Black and white columns, 8 px wide."""
    row = np.where(np.arange(W) // 8 % 2 == 0, 30, 220).astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], H, axis=0), 3, axis=2)


def taken(rgb: np.ndarray, weather: Weather | None = None, seed: int = 0, **kwargs) -> np.ndarray:
    """The picture with the effects named in ``kwargs``; flow, dt and time go to add_effects."""
    call = {k: kwargs.pop(k) for k in ("flow", "dt", "time") if k in kwargs}
    lens = lens_of(CameraEffects(**kwargs), W, H, np.random.default_rng(7))
    rng = np.random.default_rng(seed)
    return add_effects(rgb, lens, weather or Weather(), rng, **call)


def test_no_effects_leave_the_picture_alone():
    rgb = stripes()
    out = taken(rgb)
    np.testing.assert_array_equal(out, rgb)
    assert out is not rgb


@pytest.mark.parametrize("name", WEATHERS)
def test_a_seed_decides_every_byte(name):
    rgb = stripes()
    flow = np.full((H, W, 2), 9.0, np.float32)
    lens = lens_of(ALL, W, H, np.random.default_rng(1))
    same = lens_of(ALL, W, H, np.random.default_rng(1))
    pictures = [
        add_effects(rgb, each, WEATHERS[name], np.random.default_rng(seed), flow=flow, time=2.0)
        for each, seed in ((lens, 3), (same, 3), (lens, 4))
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()
    assert pictures[0].dtype == np.uint8
    np.testing.assert_array_equal(rgb, stripes())  # the input is not written to


def test_vignetting_takes_its_share_of_light_in_the_corners():
    out = taken(grey(200), vignetting=0.4).astype(float)
    light = (out / 200.0) ** 2.2
    assert light[0, 0, 0] == pytest.approx(0.6, abs=0.02)
    assert light[H // 2, W // 2, 0] == pytest.approx(1.0, abs=0.01)


def test_noise_has_no_bias_and_grows_in_the_dark():
    def spread(value: int, weather: Weather, noise: float = 0.004) -> float:
        return float(taken(grey(value), weather, noise=noise).astype(float).std())

    day, night = WEATHERS["clear-noon"], WEATHERS["clear-night"]
    mean = taken(grey(128), day, noise=0.004).astype(float).mean()
    assert mean == pytest.approx(128.0, abs=0.3)
    assert spread(128, day, 0.008) == pytest.approx(2 * spread(128, day), rel=0.15)
    assert spread(128, night) > 1.5 * spread(128, day)
    # white: shot noise of 5 times the read noise, 255 / 2.2 levels for each part of light
    assert spread(235, day) == pytest.approx(0.004 * 4.6 * 255 / 2.2, rel=0.15)


def test_rows_share_noise():
    out = taken(grey(), noise=0.01).astype(float)
    rows = out.mean(axis=(1, 2)).std()
    columns = out.mean(axis=(0, 2)).std()
    assert rows > 2 * columns * np.sqrt(H / W)


def test_exposure_wanders_by_its_share():
    light = [(taken(grey(), seed=s, exposure_jitter=0.1).mean() / 128.0) ** 2.2 for s in range(200)]
    assert np.std(light) == pytest.approx(0.1, rel=0.2)
    assert np.mean(light) == pytest.approx(1.0, abs=0.03)


def test_motion_blurs_along_the_flow_only():
    rgb = stripes()
    across = np.zeros((H, W, 2), np.float32)
    across[..., 0] = 80.0  # px in 0.1 s: 8 px in an exposure of 10 ms
    along = across[..., ::-1].copy()
    still = np.zeros_like(across)

    def edge(flow: np.ndarray | None) -> float:
        out = taken(rgb, motion_blur=0.01, dt=0.1, flow=flow).astype(float)
        return float(np.abs(np.diff(out[:, 20:-20, 0], axis=1)).max())

    assert edge(None) == edge(still) == edge(along) == 190.0
    assert edge(across) < 60.0
    blurred = taken(rgb, motion_blur=0.01, dt=0.1, flow=across)
    assert blurred.mean() == pytest.approx(rgb.mean(), abs=3.0)  # light is moved, not lost


def test_dirt_stays_in_its_place():
    share = 0.05
    pictures = [taken(grey(200), seed=s, dirt=share).astype(int) for s in range(2)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    dirty = (np.abs(pictures[0] - 200) > 2).any(axis=2).mean()
    assert share < dirty < 3 * share  # soft edges included


def test_rain_is_drawn_and_its_drops_stay_a_while():
    rain = WEATHERS["rain-noon"]
    assert (taken(grey(), rain) != 128).any()
    dry = taken(stripes(), dataclasses.replace(rain, rain=0.0), raindrops=True)
    np.testing.assert_array_equal(dry, stripes())

    def drops(time: float) -> np.ndarray:
        # the streaks are the same (same seed), so that only the drops differ
        with_drops = taken(stripes(), rain, raindrops=True, time=time).astype(int)
        return np.abs(with_drops - taken(stripes(), rain)).max(axis=2) > 12

    first, soon, later = drops(5.0), drops(5.05), drops(60.0)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        return (a & b).sum() / max((a | b).sum(), 1)

    assert 0.005 < first.mean() < 0.3
    assert overlap(first, soon) > 0.8
    assert overlap(first, later) < 0.3


def test_snow_falls_in_a_snowstorm():
    snow = WEATHERS["snow-noon"]
    assert (taken(grey(), snow) > 140).any()
    fine = dataclasses.replace(snow, visibility=10_000.0)
    np.testing.assert_array_equal(taken(grey(), fine), grey())


def test_a_picture_of_another_size_is_refused():
    lens = lens_of(CameraEffects(), W, H, np.random.default_rng(0))
    for wrong in (grey()[:, :-1], grey().astype(np.float32)):
        with pytest.raises(RoadloopError, match="one lens per camera"):
            add_effects(wrong, lens, Weather(), np.random.default_rng(0))
