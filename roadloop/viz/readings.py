"""Pictures of what a camera gives: colours, depth, classes, instances, flow and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage, ImageBoxes
from roadloop.rig_checks import PRODUCTS
from roadloop.semantics import COLOURS
from roadloop.types import AgentKind
from roadloop.viz.palette import rgb

Array = np.ndarray
Colour = tuple[int, int, int]

NEAR, FAR = 2.0, 100.0
"""m, ends of the colours of distances, which are logarithmic"""
INK = rgb("#f2f5f7")
FAINT = rgb("#a5b0ba")
PLATE = rgb("#0b0e11")
FIELD = rgb("#1b2025")
"""what is seen from above lies on this"""

_SKY = rgb("#2c3a48")  # in pictures of depth
_HUES = 0.61803398875  # of a turn from id to id: the golden ratio keeps hues of neighbours apart


def write(
    picture: Array, text: str, x: float, y: float, size: int, colour: Colour, anchor: str = "la"
) -> None:
    """Write onto the (height, width, 3) picture; ``anchor`` as Pillow has it.

    Pillow's own typeface has ASCII, the middle dot and the degree sign; others become "?".
    """
    from PIL import Image, ImageDraw

    plain = "".join(c if c.isascii() or c in "·°" else "?" for c in text)
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((x, y), plain, fill=colour, font=typeface(size), anchor=anchor)
    picture[:] = np.asarray(image)


@cache
def typeface(size: int) -> Any:
    """Pillow's own typeface, ``size`` px high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def camera_picture(image: CameraImage, product: str, width: int, height: int) -> Array:
    """One product of a camera as (height, width, 3) uint8 RGB, with its scale where it needs one.

    Raises:
        RoadloopError: a product the image does not have.
    """
    if product not in PRODUCTS:
        raise RoadloopError(unknown("camera product", product, PRODUCTS))
    values: Any = getattr(image, product)
    if values is None:
        raise RoadloopError(f"this image has no {product}: add it to the camera's products")
    size = (width, height)
    if product == "rgb":
        return _fine(values, size)
    if product == "boxes":
        return _boxed(image, values, size)
    if product == "semantic":
        return resized_labels(COLOURS[values], size)
    if product == "instance":
        return _instances(image.rgb, values, size)
    return (_depth if product == "depth" else _flow)(values, size)


def distance_colours(metres: Array) -> Array:
    """(..., 3) uint8 of distances (...), near is yellow and far is violet; not finite is the sky's.

    Viridis: even steps look even, also to colour-blind people and in greyscale.
    """
    with np.errstate(divide="ignore"):
        share = np.log(np.maximum(metres, 1e-6) / NEAR) / np.log(FAR / NEAR)
    colours = viridis(1.0 - share)
    colours[~np.isfinite(metres)] = _SKY
    return colours


def viridis(share: Array) -> Array:
    """(..., 3) uint8 of shares (...) in [0, 1], from dark violet to yellow."""
    import cv2

    level = np.round(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8)
    flat = cv2.applyColorMap(level.reshape(-1, 1), cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(flat[:, 0, ::-1]).reshape(*share.shape, 3)


def _fine(picture: Array, size: tuple[int, int]) -> Array:
    """Colours in another size."""
    import cv2

    smaller = size[0] < picture.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def resized_labels(values: Array, size: tuple[int, int]) -> Array:
    """Values in another size, never mixed."""
    import cv2

    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_NEAREST))


def _depth(depth: Array, size: tuple[int, int]) -> Array:
    picture = distance_colours(resized_labels(depth, size))
    marks = {f"{m:g}": np.log(m / NEAR) / np.log(FAR / NEAR) for m in (2, 5, 10, 20, 50, 100)}
    colour_bar(picture, distance_colours(np.geomspace(NEAR, FAR, 140)), marks, "m")
    return picture


def colour_bar(picture: Array, colours: Array, marks: Mapping[str, float], unit: str) -> None:
    """Draw a bar of colours in the lower left corner with numbers at shares of its length."""
    high, wide = picture.shape[:2]
    n = len(colours)
    if wide < n + 90 or high < 60:
        return
    x, y = 14, high - 34
    right = x + n + 22 + round(typeface(12).getlength(unit))
    corner = picture[y - 8 :, :right]
    corner[:] = (0.3 * corner + 0.7 * np.array(PLATE)).astype(np.uint8)
    picture[y : y + 8, x : x + n] = colours
    for text, share in marks.items():
        write(picture, text, x + share * (n - 1), y + 12, 12, INK, "ma")
    write(picture, unit, x + n + 16, y + 12, 12, FAINT)


def _flow(flow: Array, size: tuple[int, int]) -> Array:
    """Hue is the direction, brightness how far; a small wheel shows which is which."""
    high, wide = flow.shape[:2]
    shown = resized_labels(flow, size)
    length = np.hypot(shown[..., 0], shown[..., 1])
    most = max(1.0, float(np.percentile(length, 99.0)))
    picture = _directions(shown[..., 0], shown[..., 1], most)
    r = 26
    if size[0] > 8 * r and size[1] > 4 * r:
        v, u = np.mgrid[-r : r + 1, -r : r + 1].astype(np.float32)
        inside = np.hypot(u, v) <= r
        corner = picture[-2 * r - 9 : -8, 8 : 2 * r + 9]
        corner[inside] = _directions(u, v, float(r))[inside]
        text = f"{most:.0f} px of {wide} x {high}"
        write(picture, text, 2 * r + 18, size[1] - 12, 13, INK, "ls")
    return picture


def _directions(u: Array, v: Array, most: float) -> Array:
    import cv2

    hue = np.arctan2(v, u) / (2.0 * np.pi) % 1.0 * 179.0
    value = np.clip(np.hypot(u, v) / most, 0.0, 1.0) ** 0.5 * 255.0
    hsv = np.stack([hue, np.full_like(hue, 210.0), value], -1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _instances(colours: Array, instance: Array, size: tuple[int, int]) -> Array:
    """Every instance in a colour of its own over the grey picture."""
    import cv2

    grey = cv2.cvtColor(_fine(colours, size), cv2.COLOR_RGB2GRAY) // 2
    picture = np.repeat(np.asarray(grey, np.uint8)[..., None], 3, -1)
    shown = resized_labels(instance, size)
    for k in np.unique(shown[shown != 0]):
        picture[shown == k] = instance_colour(int(k))
    return picture


def instance_colour(instance: int) -> Colour:
    """A vivid colour that belongs to the id."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(instance * _HUES % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _label(picture: Array, text: str, x: int, y: int) -> None:
    """Text on a plate above the point, or below it at the upper edge."""
    wide = round(typeface(12).getlength(text)) + 6
    x = max(min(x, picture.shape[1] - wide), 0)
    y = y - 17 if y >= 17 else y
    plate = picture[y : y + 15, x : x + wide]
    plate[:] = (0.3 * plate + 0.7 * np.array(PLATE)).astype(np.uint8)
    write(picture, text, x + 3, y + 1, 12, INK)


def _boxed(image: CameraImage, boxes: ImageBoxes, size: tuple[int, int]) -> Array:
    """Boxes around what is to be seen, darker ones around all of it where a part is hidden."""
    import cv2

    picture = _fine(image.rgb, size)
    scale = np.array(size * 2) / np.array([image.camera.width, image.camera.height] * 2)

    def corners(*edges: Array) -> Array:
        return np.rint((np.stack(edges, -1) + 0.5) * scale - 0.5).astype(int)

    full = corners(boxes.left, boxes.top, boxes.right, boxes.bottom)
    seen = corners(boxes.visible_left, boxes.visible_top, boxes.visible_right, boxes.visible_bottom)
    nearest_last = np.argsort(boxes.pixels, kind="stable")
    for k in nearest_last[boxes.pixels[nearest_last] > 0]:
        colour = instance_colour(int(boxes.id[k]))
        a, b, c, d = (int(e) for e in seen[k])
        if np.abs(full[k] - seen[k]).max() > 2:
            ends = tuple(map(int, full[k, :2])), tuple(map(int, full[k, 2:]))
            cv2.rectangle(picture, *ends, tuple(round(0.6 * part) for part in colour), 1)
        cv2.rectangle(picture, (a - 1, b - 1), (c + 1, d + 1), colour, 1 if c - a < 40 else 2)
        if c - a >= 26:
            _label(picture, f"{AgentKind(int(boxes.kind[k])).name.lower()} {boxes.id[k]}", a, b)
    return picture
