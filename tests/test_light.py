"""Light: what sun, clouds, fog, water and snow do to radiance, through small kernels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import warp as wp

from roadloop.weather import WEATHERS, Weather
from sim.render.light import (
    Air,
    air_of,
    developed,
    lit_surface,
    sky_radiance,
    sun_transmission,
    through_air,
)
from sim.render.surfaces import HeadLights, lit_pixel, noise, sky_pixel
from sim.scenery.mesh import Surface

wp.set_module_options({"enable_backward": False})

UP = (0.0, 0.0, 1.0)
WHITE = (1.0, 1.0, 1.0)


@wp.kernel
def surface_kernel(
    colour: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    surface: wp.array(dtype=wp.int32),
    lit: wp.array(dtype=wp.int32),
    air: Air,
    out: wp.array(dtype=wp.vec3),
):
    i = wp.tid()
    out[i] = lit_surface(colour[i], normal[i], surface[i], lit[i], air)


@wp.kernel
def pixel_kernel(
    colour: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    surface: wp.array(dtype=wp.int32),
    lit: wp.array(dtype=wp.int32),
    place: wp.array(dtype=wp.vec3),
    eye: wp.array(dtype=wp.vec3),
    shadow: wp.float32,
    occlusion: wp.float32,
    air: Air,
    out: wp.array(dtype=wp.vec3),
):
    i = wp.tid()
    lamps = HeadLights()
    lamps.position = wp.vec3(0.0, 0.0, 0.65)
    lamps.direction = wp.vec3(1.0, 0.0, 0.0)
    way = place[i] - eye[i]
    distance = wp.length(way)
    out[i] = lit_pixel(
        colour[i], normal[i], surface[i], lit[i], place[i], way / distance, distance, 0.0025,
        shadow, occlusion, lamps, air,
    )  # fmt: skip


@wp.kernel
def sky_kernel(direction: wp.array(dtype=wp.vec3), air: Air, out: wp.array2d(dtype=wp.vec3)):
    i = wp.tid()
    out[0, i] = sky_radiance(direction[i], air)
    out[1, i] = sky_pixel(direction[i], air)


@wp.kernel
def picture_kernel(
    radiance: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
    air: Air,
    out: wp.array2d(dtype=wp.vec3),
):
    i = wp.tid()
    out[0, i] = through_air(radiance[i], distance[i], air)
    out[1, i] = developed(radiance[i], air)


@wp.kernel
def noise_kernel(place: wp.array(dtype=wp.vec2), out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    out[i] = noise(place[i][0], place[i][1])


def rows(n: int, *values) -> list[wp.array]:
    """Vectors or whole numbers, one or n of them, as arrays of n."""
    arrays = []
    for value in values:
        value = np.asarray(value)
        if value.dtype.kind == "i":
            arrays.append(wp.array(np.broadcast_to(value, n).astype(np.int32), device="cpu"))
        else:
            full = np.broadcast_to(value, (n, 3)).astype(np.float32)
            arrays.append(wp.array(full, dtype=wp.vec3, device="cpu"))
    return arrays


def surfaces(weather: Weather, colour=WHITE, normal=UP, surface=Surface.WALL, lit=0, n=1):
    out = wp.zeros(n, dtype=wp.vec3, device="cpu")
    inputs = rows(n, colour, normal, np.asarray(surface, int), np.asarray(lit, int))
    wp.launch(surface_kernel, n, [*inputs, air_of(weather), out], device="cpu")
    return out.numpy()


def pixels(
    weather: Weather, place, colour=WHITE, normal=UP, surface=Surface.ASPHALT, lit=0,
    shadow=1.0, occlusion=1.0, eye=(0.0, 0.0, 1.6),
):  # fmt: skip
    place = np.atleast_2d(np.asarray(place, float))
    n = len(place)
    out = wp.zeros(n, dtype=wp.vec3, device="cpu")
    inputs = rows(n, colour, normal, np.asarray(surface, int), np.asarray(lit, int), place, eye)
    wp.launch(pixel_kernel, n, [*inputs, shadow, occlusion, air_of(weather), out], device="cpu")
    return out.numpy()


def skies(weather: Weather, direction):
    direction = np.atleast_2d(np.asarray(direction, float))
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    out = wp.zeros((2, len(direction)), dtype=wp.vec3, device="cpu")
    wp.launch(
        sky_kernel, len(direction), [*rows(len(direction), direction), air_of(weather), out],
        device="cpu",
    )  # fmt: skip
    return out.numpy()


def pictures(weather: Weather, radiance, distance=0.0):
    radiance = np.atleast_2d(np.asarray(radiance, float))
    n = len(radiance)
    out = wp.zeros((2, n), dtype=wp.vec3, device="cpu")
    metres = np.broadcast_to(np.asarray(distance, np.float32), n).copy()
    wp.launch(
        picture_kernel, n,
        [*rows(n, radiance), wp.array(metres, device="cpu"), air_of(weather), out], device="cpu",
    )  # fmt: skip
    return out.numpy()


def level_ground(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.column_stack([rng.uniform(4, 30, n), rng.uniform(-8, 8, n), np.zeros(n)])


def test_white_sheet_at_clear_noon_is_about_one():
    assert surfaces(WEATHERS["clear-noon"]).mean() == pytest.approx(1.0, abs=0.15)


def test_sun_reddens_and_weakens_towards_the_horizon():
    light = np.array([sun_transmission(h) for h in (1.4, 0.8, 0.3, 0.09, 0.02)])
    assert (np.diff(light, axis=0) < 0).all()
    assert (np.diff(light[:, 0] / light[:, 2]) > 0).all()
    assert (sun_transmission(-0.05) == 0).all()
    # the direct beam through a clear zenith atmosphere: 70 to 80 % at 550 nm
    assert 0.7 < sun_transmission(np.pi / 2)[1] < 0.8


def test_daylight_falls_with_the_sun():
    heights = np.linspace(1.2, -0.5, 40)
    level = [surfaces(Weather(sun_elevation=h)).mean() for h in heights]
    assert (np.diff(level) < 1e-3).all()
    assert level[-1] < 0.02 * level[0]
    exposure = [air_of(Weather(sun_elevation=h)).exposure for h in heights]
    assert exposure[-1] > 8 * exposure[0]


def test_walls_towards_the_sun_are_brighter_and_clouds_level_them():
    weather = Weather(sun_elevation=0.5, sun_azimuth=0.0)
    sides = np.array([(1.0, 0, 0), (-1.0, 0, 0)])
    clear = surfaces(weather, normal=sides, n=2).mean(axis=1)
    grey = surfaces(dataclasses.replace(weather, clouds=1.0), normal=sides, n=2).mean(axis=1)
    assert clear[0] > 2 * clear[1]
    assert grey[0] == pytest.approx(grey[1], rel=0.02)


def test_sheet_facing_up_gets_what_the_sky_sends():
    # Monte Carlo over the sky with cosine weights must give air.sky; the glow is left out.
    rng = np.random.default_rng(5)
    z = np.sqrt(rng.uniform(size=20_000))
    around = rng.uniform(0, 2 * np.pi, z.size)
    r = np.sqrt(1 - z * z)
    weather = WEATHERS["cloudy-noon"]
    plain, shaped = skies(weather, np.column_stack([r * np.cos(around), r * np.sin(around), z]))
    expected = np.array(air_of(weather).sky)
    np.testing.assert_allclose(plain.mean(axis=0), expected, rtol=0.03)
    np.testing.assert_allclose(shaped.mean(axis=0), expected, rtol=0.06)


def test_clear_sky_is_blue_overhead_and_red_below_a_low_sun():
    noon = skies(Weather(clouds=0.0), [(0, 0, 1), (-1, 0, 0.02)])[0]
    assert noon[0, 2] > 1.7 * noon[0, 0]
    assert noon[1].sum() > noon[0].sum()
    low = Weather(sun_elevation=0.05, sun_azimuth=0.0, clouds=0.0)
    towards, away = skies(low, [(1, 0.3, 0.05), (-1, 0.3, 0.05)])[0]
    assert towards[0] / towards[2] > 1.3 * away[0] / away[2]


def test_sun_disc_is_where_the_sun_is_unless_clouds_hide_it():
    weather = Weather(sun_elevation=0.4, sun_azimuth=1.0, clouds=0.0)
    sun = np.array(air_of(weather).sun_direction)
    aside = sun + np.array([0.02, -0.02, 0.0])
    bright, beside = skies(weather, [sun, aside])[0]
    assert bright.min() > 10 * beside.max()
    grey = skies(dataclasses.replace(weather, clouds=1.0), [sun, aside])[0]
    np.testing.assert_allclose(grey[0], grey[1], rtol=0.05)


def test_contrast_at_the_visibility_is_five_percent():
    weather = Weather(visibility=200.0, clouds=1.0)
    horizon = np.array(air_of(weather).horizon)
    seen = pictures(weather, [(0, 0, 0)] * 3, [0.0, 200.0, 5000.0])[0]
    np.testing.assert_allclose(seen[0], 0.0, atol=1e-7)
    np.testing.assert_allclose(1 - seen[1] / horizon, 0.05, rtol=1e-3)
    np.testing.assert_allclose(seen[2], horizon, rtol=1e-5)


def test_development_rises_from_black_to_white():
    weather = Weather()
    x = np.concatenate([[0.0], np.geomspace(1e-5, 1e4, 200)])
    value = pictures(weather, np.repeat(x[:, None], 3, axis=1))[1][:, 0]
    assert value[0] == 0.0
    assert value[-1] == 255.0
    assert (np.diff(value) >= 0).all()
    middle = pictures(weather, np.full((1, 3), 0.18 / air_of(weather).exposure))[1]
    assert 100 < middle[0, 0] < 125


@pytest.mark.parametrize("name", WEATHERS)
def test_every_weather_is_exposed(name):
    """The road is neither black nor blown out, and a lamp that is lit beats its surroundings."""
    weather = WEATHERS[name]
    road = pictures(weather, surfaces(weather, (0.1, 0.1, 0.1), UP, Surface.ASPHALT))[1].mean()
    dark = weather.sun_elevation < 0
    assert (12 if dark else 40) < road < (75 if dark else 190)
    lamps = surfaces(
        weather, (1.0, 0.03, 0.02), (1.0, 0, 0), Surface.LAMP_RED, np.array([0, 1, 2]), 3
    )
    off, dim, full = pictures(weather, lamps)[1][:, 0]
    assert off < dim < full
    assert full > 235
    colour = pictures(weather, lamps[2])[1][0]
    assert colour[0] > 1.5 * colour[1]  # still red


def test_water_darkens_asphalt_and_snow_whitens_level_ground():
    grey = (0.12, 0.12, 0.12)
    slope = (np.sqrt(0.75), 0.0, 0.5)
    dry = Weather(clouds=1.0)
    wet = dataclasses.replace(dry, wetness=1.0)
    snowy = dataclasses.replace(dry, snow=0.9)
    kinds = np.array([Surface.ASPHALT, Surface.MARK, Surface.GRASS, Surface.CLOTH])
    plain = surfaces(dry, grey, UP, kinds, n=4).mean(axis=1)
    soaked = pixels(wet, [(3, 0, 0)], grey)[0].mean()
    assert soaked < 0.8 * pixels(dry, [(3, 0, 0)], grey)[0].mean()
    white = surfaces(snowy, grey, UP, kinds, n=4).mean(axis=1) / plain
    assert white[2] > 4.5 and 2.0 < white[0] < white[2]
    assert white[3] == pytest.approx(1.0, abs=1e-5)
    assert surfaces(snowy, grey, slope, Surface.WALL).mean() < 0.5 * white[2] * plain[2]


def test_shadow_takes_the_sun_and_occlusion_the_sky():
    weather = Weather(clouds=0.0)
    place = level_ground(400, np.random.default_rng(1))
    lit = pixels(weather, place, surface=Surface.CONCRETE).mean(axis=0)
    shaded = pixels(weather, place, surface=Surface.CONCRETE, shadow=0.0).mean(axis=0)
    hidden = pixels(weather, place, surface=Surface.CONCRETE, shadow=0.0, occlusion=0.0)
    air = air_of(weather)
    sun = np.array(air.sun) * air.sun_direction[2]
    np.testing.assert_allclose(lit - shaded, sun, rtol=0.03)
    assert shaded[2] > shaded[0]  # blue
    np.testing.assert_allclose(hidden, 0.0, atol=1e-6)


@pytest.mark.parametrize("kind", [s for s in Surface if s <= Surface.ROOF and s != Surface.WINDOW])
def test_texture_keeps_the_mean_colour(kind):
    """The plain and the full picture agree on average, so that they can be mixed in training."""
    weather = Weather(clouds=1.0)
    colour = (0.3, 0.28, 0.25)
    place = np.random.default_rng(2).uniform(-200, 200, (6000, 3))
    full = pixels(weather, place, colour, surface=kind, eye=place + np.array([0.3, 0.2, 1.0]))
    plain = surfaces(weather, colour, UP, kind)[0]
    np.testing.assert_allclose(full.mean(axis=0), plain, rtol=0.08)


def test_texture_fades_with_distance():
    near = level_ground(2000, np.random.default_rng(3)) * (0.2, 0.2, 1.0)
    far = near + np.array([400.0, 0.0, 0.0])
    weather = Weather(clouds=1.0)
    kinds = (Surface.ASPHALT, Surface.GRASS, Surface.PAVEMENT)
    for kind in kinds:
        spread = [pixels(weather, p, surface=kind).mean(axis=1).std() for p in (near, far)]
        assert spread[0] > 0.01 > 1e-5 > spread[1]


def test_noise_is_even_and_the_same_everywhere_twice():
    rng = np.random.default_rng(4)
    place = rng.uniform(-3000, 3000, (50_000, 2)).astype(np.float32)
    value = []
    for points in (place, place):
        out = wp.zeros(len(points), dtype=wp.float32, device="cpu")
        wp.launch(
            noise_kernel, len(points), [wp.array(points, dtype=wp.vec2, device="cpu"), out],
            device="cpu",
        )  # fmt: skip
        value.append(out.numpy())
    np.testing.assert_array_equal(*value)
    assert value[0].min() >= 0.0 and value[0].max() < 1.0
    assert value[0].mean() == pytest.approx(0.5, abs=0.01)


def test_headlights_light_the_road_ahead_in_the_dark_only():
    ahead, behind, aside, above = (12.0, 0, 0), (-12.0, 0, 0), (4.0, 12.0, 0), (12.0, 0, 3.0)
    night = WEATHERS["clear-night"]
    value = pixels(night, [ahead, behind, aside], (0.1, 0.1, 0.1)).mean(axis=1)
    assert value[0] > 4 * value[1] and value[0] > 4 * value[2]
    board = pixels(night, [(12.0, 0, 0.4), above], normal=(-1.0, 0, 0), surface=Surface.CONCRETE)
    assert board[0].mean() > 8 * board[1].mean()  # cut off above the horizon
    sign = pixels(night, [above], normal=(-1.0, 0, 0), surface=Surface.SIGN_FACE)
    assert sign.mean() > 3 * board[1].mean()  # thrown back
    day = pixels(WEATHERS["clear-noon"], [ahead, behind], surface=Surface.CLOTH).mean(axis=1)
    assert day[0] == pytest.approx(day[1], rel=1e-4)


def test_wet_road_mirrors_the_sky_at_flat_angles():
    wet = Weather(clouds=1.0, wetness=1.0)
    black = (0.0, 0.0, 0.0)
    near = pixels(wet, level_ground(500, np.random.default_rng(6)) * (0.1, 0.1, 1), black)
    far = pixels(wet, [(60.0, 0, 0)], black)
    assert far.mean() > 5 * near.mean() > 0.0
    assert far.mean() < np.array(air_of(wet).horizon).mean()


def test_everything_is_finite_and_not_negative():
    rng = np.random.default_rng(7)
    n = 500
    for weather in (*WEATHERS.values(), Weather(visibility=5.0), Weather(sun_elevation=1.57)):
        kind = rng.integers(0, len(Surface), n)
        normal = rng.normal(size=(n, 3))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal[:20] = 0.0  # triangles without area
        lit = rng.integers(0, 3, n)
        colour = rng.uniform(size=(n, 3))
        place = rng.normal(size=(n, 3)) * (300, 300, 20)
        for value in (
            surfaces(weather, colour, normal, kind, lit, n),
            pixels(weather, place, colour, normal, kind, lit, shadow=0.5),
            skies(weather, rng.normal(size=(n, 3))),
        ):
            assert np.isfinite(value).all()
            assert value.min() >= 0.0
