"""What a real camera adds to a picture: blur of motion, rain, dirt, vignetting, exposure, noise.

Works on the finished 8-bit picture, with tables and OpenCV, because a picture must cost
milliseconds. Light is the ``GAMMA``-th power of a pixel value here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.special import ndtri

from roadloop.errors import RoadloopError
from roadloop.rig import CameraEffects
from roadloop.weather import Weather
from sim.render.light import air_of

Array = np.ndarray

GAMMA = 2.2
BAND = 24_000
"""px worked on at a time; whole pictures cost three times as much, in page faults"""
TAPS = 4
"""samples of a moving pixel during the exposure"""
SHOT = 24.0
"""variance of the shot noise at full scale over that of the read noise"""
BANDING = 0.18
"""standard deviation of a sensor row's common noise over that of a pixel's read noise"""
DROP_TIME = 6.0
"""s, mean time a drop stays on the lens"""
DROPS = 36
"""drops on the lens at once in heavy rain"""

# A byte to a standard normal number: the quantiles of 256 equally likely intervals, unit variance.
_NORMAL = ndtri((np.arange(256) + 0.5) / 256.0)
_NORMAL = (_NORMAL / _NORMAL.std()).astype(np.float32)


@dataclass(frozen=True)
class Lens:
    """One camera's effects with what is fixed for its life."""

    effects: CameraEffects
    width: int
    height: int
    shade: Array | None
    """(height, width, 3) uint8, pixel value left by vignetting and dirt, 255 is all"""
    haze: Array | None
    """(height, width, 3) uint8, light that dirt scatters, of an even grey"""
    seed: int
    """of the drops"""


def lens_of(effects: CameraEffects, width: int, height: int, rng: np.random.Generator) -> Lens:
    """A camera's lens; ``rng`` says where the dirt is."""
    seed = int(rng.integers(2**31))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = ((x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2) / (
        ((width - 1) / 2) ** 2 + ((height - 1) / 2) ** 2
    )
    light = 1.0 - effects.vignetting * radius
    haze = None
    if effects.dirt > 0.0:
        alpha = _dirt(effects.dirt, width, height, rng)
        light = light * (1.0 - 0.7 * alpha)
        haze = cv2.merge([np.round(255.0 * alpha).astype(np.uint8)] * 3)
    shade = None
    if effects.dirt > 0.0 or effects.vignetting > 0.0:
        value = np.round(255.0 * np.clip(light, 0.0, 1.0) ** (1.0 / GAMMA)).astype(np.uint8)
        shade = cv2.merge([value] * 3)
    return Lens(effects, width, height, shade, haze, seed)


def add_effects(
    rgb: Array,
    lens: Lens,
    weather: Weather,
    rng: np.random.Generator,
    *,
    flow: Array | None = None,
    dt: float = 0.1,
    time: float = 0.0,
) -> Array:
    """The picture as the camera delivers it.

    Args:
        rgb: (height, width, 3) uint8, is not changed.
        lens: from ``lens_of``.
        weather: rain and snow in the air are drawn, and a dark scene is noisier.
        rng: of noise, exposure and streaks; the same state gives the same bytes.
        flow: (height, width, 2) float32 px, finite, motion since ``dt`` s ago; without it there is
            no motion blur.
        dt: s.
        time: s, of the exposure; drops stay where they are while it goes on.

    Raises:
        RoadloopError: the picture is not the lens's.
    """
    shape = (lens.height, lens.width, 3)
    if rgb.shape != shape or rgb.dtype != np.uint8:
        raise RoadloopError(
            f"picture is {rgb.dtype} {rgb.shape}, the lens was made for uint8 {shape}: "
            "make one lens per camera"
        )
    effects = lens.effects
    out = rgb
    if effects.motion_blur > 0.0 and flow is not None:
        out = _blurred(out, flow, effects.motion_blur / dt)
    if weather.rain > 0.0:
        out = _with_streaks(out, weather, max(effects.motion_blur, 0.006), rng)
    elif weather.snow > 0.0 and weather.visibility < 3000.0:
        out = _with_flakes(out, weather, rng)
    if effects.raindrops and weather.rain > 0.0:
        out = _through_drops(out, lens.seed, weather.rain, time)
    gain = 1.0
    if effects.exposure_jitter > 0.0:
        gain = max(1.0 + effects.exposure_jitter * rng.standard_normal(), 0.1) ** (1.0 / GAMMA)
    if lens.shade is not None:
        out = cv2.multiply(out, lens.shade, scale=gain / 255.0)
    elif gain != 1.0:
        out = cv2.convertScaleAbs(out, alpha=gain)
    if lens.haze is not None:
        out = cv2.addWeighted(out, 1.0, lens.haze, 0.45 * float(out[::8, ::8].mean()) / 255.0, 0.0)
    if effects.noise > 0.0:
        out = _noisy(out, effects.noise, weather, rng)
    return out if out is not rgb else rgb.copy()


def _dirt(share: float, width: int, height: int, rng: np.random.Generator) -> Array:
    """(height, width) in [0, 1]: how opaque specks out of focus are that cover ``share``."""
    alpha = np.zeros((height, width), np.float32)
    size = 0.012 * width
    covered = 0.0
    while covered < share * width * height:
        radius = size * rng.lognormal(0.0, 0.5)
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        axes = (max(int(radius), 1), max(int(radius * rng.uniform(0.6, 1.0)), 1))
        speck = float(rng.uniform(0.25, 0.7))
        cv2.ellipse(alpha, centre, axes, float(rng.uniform(0, 180)), 0, 360, speck, -1)
        covered += np.pi * axes[0] * axes[1]
    return cv2.GaussianBlur(alpha, (0, 0), 0.45 * size)


@lru_cache(maxsize=16)
def _grid(height: int, width: int) -> Array:
    """(height, width, 2) float32 x, y of each pixel."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], axis=-1)


def _blurred(rgb: Array, flow: Array, share: float) -> Array:
    """Mean over the exposure, which is ``share`` of the time that ``flow`` spans."""
    low, high, _, _ = cv2.minMaxLoc(flow.reshape(flow.shape[0], -1))
    if share * max(-low, high) < 0.75:  # px
        return rgb
    out = np.empty_like(rgb)
    grid = _grid(*rgb.shape[:2])
    for rows in _bands(rgb):
        moves = np.ascontiguousarray(flow[rows], np.float32)
        total = np.zeros((*moves.shape[:2], 3), np.float32)
        for k in range(TAPS):
            # the nearest pixel, no blend of four: what hardly moves stays sharp, a third the cost
            where = cv2.scaleAdd(moves, share * ((k + 0.5) / TAPS - 0.5), grid[rows])
            moved = cv2.remap(
                rgb, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE  # type: ignore
            )  # fmt: skip
            cv2.accumulate(moved, total)
        out[rows] = cv2.convertScaleAbs(total, alpha=1.0 / TAPS)
    return out


def _with_streaks(rgb: Array, weather: Weather, exposure: float, rng: np.random.Generator) -> Array:
    """Rain in the air: drops between 0.7 and 8 m that fall past at 8 m/s during the exposure."""
    height, width = rgb.shape[:2]
    count = int(min(60.0 + 22.0 * weather.rain, 700.0) * min(1.0, width * height / 180e3) ** 0.5)
    # Drops are even in space: their number goes with the square of the distance.
    distance = np.cbrt(rng.uniform(0.7**3, 8.0**3, count))
    length = 8.0 * exposure * 0.6 * width / distance
    x = rng.uniform(0.0, width, count)
    y = rng.uniform(-20.0, height, count)
    slant = rng.normal(0.06, 0.02, count)
    ends = np.stack([x, y, x + slant * length, y + length], axis=1)
    strength = np.clip(110.0 / distance * rng.uniform(0.5, 1.0, count), 8.0, 110.0)
    mask = np.zeros((height, width), np.uint8)
    for (x0, y0, x1, y1), value in zip((ends * 16.0).astype(int).tolist(), strength.tolist()):
        cv2.line(mask, (x0, y0), (x1, y1), value, 1, cv2.LINE_AA, 4)
    return _brightened(rgb, mask)


def _with_flakes(rgb: Array, weather: Weather, rng: np.random.Generator) -> Array:
    """Falling snow, thicker where one sees less far."""
    height, width = rgb.shape[:2]
    count = int(min(8e5 / weather.visibility, 1500.0) * min(1.0, width * height / 180e3) ** 0.5)
    distance = np.cbrt(rng.uniform(0.8**3, 9.0**3, count))
    radius = np.maximum(0.005 * 0.6 * width / distance, 0.5)
    x = rng.uniform(0.0, width, count)
    y = rng.uniform(0.0, height, count)
    strength = 190.0 * np.minimum(radius, 1.2) / 1.2 * rng.uniform(0.4, 1.0, count)
    mask = np.zeros((height, width), np.uint8)
    flakes = (np.stack([x, y, radius], axis=1) * 16.0).astype(int).tolist()
    for (cx, cy, r), value in zip(flakes, strength.tolist()):
        cv2.circle(mask, (cx, cy), r, value, -1, cv2.LINE_AA, 4)
    return _brightened(rgb, cv2.blur(mask, (3, 3)))


def _brightened(rgb: Array, mask: Array) -> Array:
    """Adds what drops and flakes scatter of the light of the whole scene; little at night."""
    light = float(rgb[::8, ::8].max(axis=2).mean())
    return cv2.addWeighted(rgb, 1.0, cv2.merge([mask] * 3), min(1.2 * light / 160.0, 1.0), 0.0)


def _uniform(seed: int, slot: Array, cycle: Array, draw: int) -> Array:
    """Numbers in [0, 1) that belong to a slot's n-th drop: splitmix64's finaliser as a hash."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + slot.astype(np.uint64)
        z = z * np.uint64(0xD1342543DE82EF95) + cycle.astype(np.uint64) * np.uint64(8)
        z = (z + np.uint64(draw)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _through_drops(rgb: Array, seed: int, rain: float, time: float) -> Array:
    """Drops on the lens, each a small wide-angle lens that shows the scene upside down.

    A drop's place is a function of the seed and the time, so that pictures follow each other
    without state: each slot has one drop after the other.
    """
    height, width = rgb.shape[:2]
    slots = np.arange(int(np.ceil(DROPS * min(1.0, 0.25 + rain / 20.0))))
    zero = np.zeros(len(slots), int)
    life = DROP_TIME * (0.5 + _uniform(seed, slots, zero, 0))
    turn = time / life + _uniform(seed, slots, zero, 1)
    cycle = np.floor(turn).astype(int) + 1
    age = (turn - np.floor(turn)) * life
    radius = width * (0.006 + 0.018 * _uniform(seed, slots, cycle, 2) ** 2)
    x = width * _uniform(seed, slots, cycle, 3)
    # big drops run down
    y = height * _uniform(seed, slots, cycle, 4) + age * 0.25 * radius * (radius > 0.016 * width)
    discs = [_disc(max(round(r), 2)) for r in radius.tolist()]
    of = np.repeat(np.arange(len(slots)), [len(disc) for disc in discs])
    disc = np.concatenate(discs)
    column = np.round(x).astype(int)[of] + disc[:, 0].astype(int)
    line = np.round(y).astype(int)[of] + disc[:, 1].astype(int)
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    of, disc, column, line = of[inside], disc[inside], column[inside], line[inside]
    square = disc[:, 4]
    # 0.3 of the picture's height to every side, upside down, more towards the edge
    reach = -0.3 * height * (0.6 + 0.4 * square)
    # a quarter of the size, averaged: what a drop shows is out of focus
    small = cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    from_x = np.clip((x[of] + disc[:, 2] * reach) * 0.25, 0, small.shape[1] - 1).astype(int)
    from_y = np.clip((y[of] + disc[:, 3] * reach) * 0.25, 0, small.shape[0] - 1).astype(int)
    shown = small[from_y, from_x] * (1.06 - 0.25 * square)[:, None]
    below = rgb[line, column]
    alpha = np.minimum((1.0 - square) * 2.2, 0.92)[:, None]
    out = rgb.copy()
    out[line, column] = np.minimum(below + alpha * (shown - below), 255.0)
    return out


@lru_cache(maxsize=256)
def _disc(radius: int) -> Array:
    """(n, 5) float32 of the pixels of a disc: offset x, y in px; both and their square in radii."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    u, v = x / (radius + 0.5), y / (radius + 0.5)
    square = u * u + v * v
    return np.stack([x, y, u, v, square], axis=-1)[square < 1.0]


@lru_cache(maxsize=64)
def _deviation(read: float, gain: float) -> Array:
    """(256,) float32 standard deviation of a pixel by its value.

    Variance of the light is that of reading plus a share that grows with the light (Poisson), as
    in EMVA standard 1288; the slope of the tone curve brings it to pixel values.
    """
    light = ((np.arange(256) + 0.5) / 256.0) ** GAMMA
    spread = read * gain * np.sqrt(1.0 + SHOT * light)
    slope = 255.0 / GAMMA * np.maximum(light, 0.008) ** (1.0 / GAMMA - 1.0)
    return (spread * slope).astype(np.float32)


def _noisy(rgb: Array, read: float, weather: Weather, rng: np.random.Generator) -> Array:
    """Read and shot noise of each pixel, and of each row what its read-out adds to all of it."""
    # A dark scene is exposed longer and amplified; amplification is what makes it noisier.
    gain = max(air_of(weather).exposure / air_of(Weather()).exposure, 1.0) ** 0.25
    deviation = _deviation(read, round(gain, 3))
    out = np.empty_like(rgb)
    for rows in _bands(rgb):
        part = rgb[rows]
        raw = np.frombuffer(rng.bytes(part.size), np.uint8).reshape(part.shape)
        noise = cv2.LUT(raw, _NORMAL)
        noise += rng.normal(0.0, BANDING, (len(part), 1, 1)).astype(np.float32)
        noise = cv2.multiply(noise, cv2.LUT(part, deviation))
        out[rows] = cv2.add(part, noise, dtype=cv2.CV_8U)
    return out


def _bands(rgb: Array) -> list[slice]:
    """Rows in portions whose intermediate arrays stay in the cache."""
    height, width = rgb.shape[:2]
    step = max(BAND // width, 1)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]
