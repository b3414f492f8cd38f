"""Head-up display of a frame: speed, its limit, acceleration, clock and the terms lost so far."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.types import Rollout
from roadloop.viz.palette import rgb

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray
Colour = tuple[int, int, int]

TEXT = rgb("#f2f5f7")
FAINT = rgb("#a5b0ba")
PANEL = rgb("#0b0e11")
LOST = rgb("#6e1f24")
ACCELERATE = rgb("#5cc8f2")
BRAKE = rgb("#ff5b57")
FULL_SCALE = 6.0
"""m/s^2 at either end of the acceleration bar"""
FRESH = 2.0
"""s a lost term stays bright"""
OPACITY = 0.8
"""of the plates"""
ROWS = 4
"""lost terms shown at most; the latest stay"""


class Hud:
    """Draws on frames of one size. Everything scales with the frame's height."""

    def __init__(self, rollout: Rollout, score: Score | None, width: int, height: int) -> None:
        self._rollout = rollout
        self._width = width
        self._height = height
        self._unit = max(0.5, height / 720)
        series = {} if score is None else score.series
        self._limit = series.get("speed_limit")
        terms = () if score is None else score.terms
        lost = [
            (term.lost_at, term.title)
            for term in terms
            if term.passed is False and term.lost_at is not None
        ]
        self._lost = sorted(lost)
        self._masks: dict[tuple[str, int], Array] = {}
        self._fonts: dict[int, Any] = {}
        self._plates: dict[tuple[int, int, Colour], tuple[Array, Array]] = {}
        self._inks: dict[tuple[str, int, Colour], tuple[Array, Array]] = {}

    def draw(self, image: Array, step: int) -> None:
        """Draw the state of ``step`` onto the ``(height, width, 3)`` RGB image."""
        self._speed(image, step)
        self._clock(image, step)
        self._losses(image, float(self._rollout.time[step]))

    def _px(self, size: float) -> int:
        return round(size * self._unit)

    def _speed(self, image: Array, step: int) -> None:
        import cv2

        px = self._px
        self._panel(image, px(16), px(16), px(240), px(92), PANEL)
        ego = self._rollout.ego
        speed = f"{abs(float(ego.speed[step])) * 3.6:.0f}"
        self._text(image, speed, px(88), px(26), 44, TEXT, align=1.0)
        self._text(image, "km/h", px(96), px(50), 17, FAINT)
        limit = None if self._limit is None else float(self._limit[step])
        if limit is not None and np.isfinite(limit):
            centre = (px(214), px(48))
            cv2.circle(image, centre, px(22), rgb("#d0282f"), -1, cv2.LINE_AA)
            cv2.circle(image, centre, px(17), (255, 255, 255), -1, cv2.LINE_AA)
            self._text(image, f"{limit * 3.6:.0f}", px(214), px(39), 17, PANEL, align=0.5)
        self._acceleration(image, float(ego.acceleration[step]))

    def _acceleration(self, image: Array, value: float) -> None:
        """A bar from the middle: right accelerates, left brakes."""
        px = self._px
        left, right, top, bottom = px(30), px(168), px(86), px(93)
        middle = (left + right) // 2
        image[top:bottom, left:right] = rgb("#343b42")
        end = middle + round(np.clip(value / FULL_SCALE, -1, 1) * (right - left) / 2)
        image[top:bottom, min(middle, end) : max(middle, end)] = ACCELERATE if value > 0 else BRAKE
        image[top - 2 : bottom + 2, middle : middle + 1] = TEXT
        shown = f"{value + 0.0:+.1f}" if abs(value) >= 0.05 else "0.0"
        self._text(image, shown, px(207), px(80), 14, FAINT, align=1.0)
        self._text(image, "m/s", px(213), px(80), 14, FAINT)
        self._text(image, "2", px(237), px(78), 10, FAINT)

    def _clock(self, image: Array, step: int) -> None:
        px, rollout = self._px, self._rollout
        name = f"{rollout.scenario} · {rollout.driver} · seed {rollout.seed}"
        wide = self._mask(name, 15).shape[1] + px(32)
        x = self._width - px(16) - wide
        self._panel(image, x, px(16), wide, px(62), PANEL)
        right = self._width - px(32)
        time = f"{float(rollout.time[step]):.1f} s"
        self._text(image, time, right, px(22), 24, TEXT, align=1.0)
        self._text(image, name, right, px(52), 15, FAINT, align=1.0)

    def _losses(self, image: Array, time: float) -> None:
        px = self._px
        shown = [(at, title) for at, title in self._lost if at <= time + 1e-9][-ROWS:]
        for row, (at, title) in enumerate(reversed(shown)):
            text = f"{title} lost at {at:.1f} s"
            fresh = time - at < FRESH
            top = self._height - px(16) - (row + 1) * px(38) + px(6)
            wide = self._mask(text, 16).shape[1] + px(40)
            self._panel(image, px(16), top, wide, px(32), LOST if fresh else PANEL)
            bar = slice(px(22), px(22) + max(2, px(4)))
            image[top + px(7) : top + px(25), bar] = BRAKE
            self._text(image, text, px(38), top + px(6), 16, TEXT if fresh else FAINT)

    def _panel(self, image: Array, x: int, y: int, wide: int, high: int, colour: Colour) -> None:
        """A dark plate with round corners."""
        key = (wide, high, colour)
        if key not in self._plates:
            self._plates[key] = _blend(_plate(wide, high, self._px(10)), colour)
        self._put(image, x, y, *self._plates[key])

    def _put(self, image: Array, x: int, y: int, keep: Array, ink: Array) -> None:
        """Blend onto the image what of it lies inside."""
        part = image[y : y + keep.shape[0], x : x + keep.shape[1]]
        high, wide = part.shape[:2]
        part[:] = (part * keep[:high, :wide] + ink[:high, :wide]) >> 8

    def _text(
        self, image: Array, text: str, x: int, y: int, size: float, colour: Colour, align: float = 0
    ) -> None:
        """Text with its top at y, from x on; ``align`` 0.5 centres it on x, 1 ends it there."""
        key = (text, self._px(size), colour)
        if key not in self._inks:
            if len(self._inks) > 2000:
                self._inks.clear()
            self._inks[key] = _blend(self._mask(text, size), colour)
        keep, ink = self._inks[key]
        self._put(image, max(0, x - round(align * keep.shape[1])), y, keep, ink)

    def _mask(self, text: str, size: float) -> Array:
        """(height, width) uint8 coverage of the text in Pillow's own typeface."""
        from PIL import Image, ImageDraw, ImageFont

        pixels = max(9, self._px(size))
        key = (text, pixels)
        if key not in self._masks:
            if pixels not in self._fonts:
                self._fonts[pixels] = ImageFont.load_default(pixels)
            font = self._fonts[pixels]
            plain = _plain(text)
            wide = int(np.ceil(font.getlength(plain))) + 2
            picture = Image.new("L", (max(1, wide), round(pixels * 1.3)))
            ImageDraw.Draw(picture).text((0, 0), plain, fill=255, font=font)
            if len(self._masks) > 2000:
                self._masks.clear()
            self._masks[key] = np.asarray(picture)
        return self._masks[key]


def _blend(cover: Array, colour: Colour) -> tuple[Array, Array]:
    """What stays of the image (of 256) and what is added, for ``(h, w)`` coverage of 255."""
    cover = cover[..., None].astype(np.uint16)
    cover += cover >> 7  # 255 becomes 256, so that a shift divides
    return 256 - cover, np.array(colour, np.uint16) * cover


def _plate(wide: int, high: int, radius: int) -> Array:
    """(high, wide) coverage of a rectangle with round corners, a little transparent."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (wide * 4, high * 4))
    box = (0, 0, wide * 4 - 1, high * 4 - 1)
    ImageDraw.Draw(picture).rounded_rectangle(box, radius * 4, fill=round(255 * OPACITY))
    return np.asarray(picture.resize((wide, high), Image.Resampling.BOX))


def _plain(text: str) -> str:
    """The text in the letters Pillow's typeface has: ASCII and the middle dot."""
    text = text.replace("−", "-").replace("–", "-").replace("²", "^2")
    split = unicodedata.normalize("NFKD", text)
    kept = (c for c in split if not unicodedata.combining(c))
    return "".join(c if c.isascii() or c == "·" else "?" for c in kept)
