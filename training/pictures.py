"""Pictures of a training: the learning curve, and a raster map beside the truth."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from perception.detector_config import RasterLayer
from roadloop.files import replaced
from training.record import PROGRESS

Array = np.ndarray
Points = list[tuple[float, float]]

CURVE, VALIDATION = "curve.png", "validation.csv"
WIDTH, PANEL, MARGIN = 900, 260, 56
"""px"""
GROUND, AXIS, TEXT = (21, 25, 29), (74, 82, 90), (200, 206, 210)
LINES = ((61, 139, 255), (255, 209, 102), (120, 200, 140), (235, 110, 105), (190, 150, 240),
         (150, 160, 170))  # fmt: skip
SMOOTH = 0.02
"""share of the curve that a point of the training loss is a mean of"""


def draw_curve(run: Path) -> None:
    """Write a run's ``curve.png``: the training loss, and below it what validation said."""
    from PIL import Image, ImageDraw

    loss = {"training": _smoothed(_column(run / PROGRESS, "total"))}
    judged = {"validation": _column(run / VALIDATION, "loss")}
    ious = {
        layer.name.lower(): _column(run / VALIDATION, f"{layer.name.lower()}_iou")
        for layer in RasterLayer
    }
    panels = [("loss", loss | judged)]
    if any(ious.values()):
        panels.append(("intersection over union, validation", ious))
    picture = Image.new("RGB", (WIDTH, PANEL * len(panels)), GROUND)
    pen = ImageDraw.Draw(picture)
    for k, (title, curves) in enumerate(panels):
        _panel(pen, k * PANEL, title, {name: c for name, c in curves.items() if c})
    with replaced(run / CURVE) as path:
        picture.save(path, format="png")


def moment_picture(front: Array, found: Array, truth: Array, judged: Array) -> Array:
    """A camera's picture, the raster map that was found, and the true one, side by side.

    Args:
        front: (H, W, 3) uint8.
        found, truth: (R, X, Y) probabilities.
        judged: (X, Y) bool; the rest is darkened.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    import cv2

    from roadloop.viz.raster_picture import raster_picture

    scale = max(round(256 / found.shape[1]), 1)
    maps = [
        raster_picture(
            {layer.name.lower(): layers[layer] for layer in RasterLayer},
            scale=scale, judged=judged,
        )
        for layers in (found, truth)
    ]  # fmt: skip
    height = maps[0].shape[0]
    width = round(front.shape[1] * height / front.shape[0])
    return np.concatenate([cv2.resize(front, (width, height)), *maps], axis=1)


def _column(path: Path, name: str) -> Points:
    """Samples and values of a table's column; nothing where there is no such table."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [(float(row["samples"]), float(row[name])) for row in rows]


def _smoothed(points: Points) -> Points:
    """Means over a window that moves along."""
    size = max(round(SMOOTH * len(points)), 1)
    if len(points) < size:
        return points
    values = np.convolve([y for _, y in points], np.full(size, 1.0 / size), "valid")
    return list(zip([x for x, _ in points[size - 1 :]], values.tolist()))


def _panel(pen, top: int, title: str, curves: dict[str, Points]) -> None:
    """Axes and lines of one diagram."""
    left, right = MARGIN, WIDTH - 150
    upper, lower = top + 34, top + PANEL - 34
    pen.text((left, top + 10), title, fill=TEXT)
    every = [point for curve in curves.values() for point in curve]
    last = max((x for x, _ in every), default=1.0)
    low, high = min((y for _, y in every), default=0.0), max((y for _, y in every), default=1.0)
    low, high = (0.0, 1.0) if title.startswith("intersection") else _round_range(low, high)
    for k in range(5):
        share = k / 4
        y = lower - share * (lower - upper)
        pen.line([(left, y), (right, y)], fill=AXIS)
        pen.text((8, y - 6), f"{low + share * (high - low):.3g}", fill=TEXT)
        x = left + share * (right - left)
        pen.text((x - 10, lower + 8), f"{share * last:,.0f}", fill=TEXT)
    pen.text((right + 12, lower + 8), "samples", fill=TEXT)
    for k, (name, curve) in enumerate(curves.items()):
        colour = LINES[k % len(LINES)]
        places = [
            (left + x / last * (right - left),
             lower - min(max((y - low) / (high - low), 0.0), 1.0) * (lower - upper))
            for x, y in curve
        ]  # fmt: skip
        if len(places) > 1:
            pen.line(places, fill=colour, width=2)
        else:
            pen.ellipse([(v - 3 if i < 2 else v + 3) for i, v in enumerate(places[0] * 2)], colour)
        pen.text((right + 12, upper + 16 * k), f"{name} {curve[-1][1]:.3f}", fill=colour)


def _round_range(low: float, high: float) -> tuple[float, float]:
    """A little more, to a whole number of the leading digit."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-6)))
    return math.floor(low / step) * step, math.ceil(high / step) * step + 1e-9
