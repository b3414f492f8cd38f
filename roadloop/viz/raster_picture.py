"""A raster map as a picture from above: ahead is up, left is left; for reports and trainings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import AgentKind
from roadloop.viz.ground import Paint
from roadloop.viz.palette import AGENT, DARK, mixed, rgb

Array = np.ndarray

COLOURS = {
    "drivable": mixed(DARK[Paint.ROAD.name], "#ffffff", 0.12),
    "crossing": rgb(DARK[Paint.CROSSWALK.name]),
    "road_edge": rgb(DARK[Paint.MARK_YELLOW.name]),
    "lane_line": rgb(DARK[Paint.MARK_WHITE.name]),
    "stop_line": rgb(DARK[Paint.MARK_RED.name]),
    "vehicle": rgb(AGENT[AgentKind.CYCLIST]),
}
"""of each layer, in the order they are painted"""
EGO = (4.7, 1.9, 1.0)
"""m, length, width and rear overhang of the ego's outline"""
ARROWS = 4
"""cells between two arrows of the lane field"""


def raster_picture(
    layers: Mapping[str, Array],
    *,
    scale: int = 6,
    judged: Array | None = None,
    lane: Array | None = None,
    lane_judged: Array | None = None,
    origin: tuple[float, float] | None = None,
    cell: float = 0.8,
) -> Array:
    """(X * scale, Y * scale, 3) uint8 RGB.

    Args:
        layers: (X, Y) probabilities or 0 and 1 by name, those of `COLOURS`; a probability is how
            much of its colour shows.
        scale: px per cell.
        judged: (X, Y) bool; the rest is darkened.
        lane: (3, X, Y) cos and sin of the lane's direction, m left of its centreline: drawn as
            arrows, of which every one stands on the centreline its cell means.
        lane_judged: (X, Y) bool, cells that get an arrow; None: those that are drivable.
        origin: x_min and y_min of the grid, m in the ego frame: the ego is outlined; None: it is
            not.
        cell: m, side of a cell.

    Raises:
        RoadloopError: a layer of an unknown name or of another shape than the first.
    """
    shapes = {np.shape(layer) for layer in layers.values()}
    unknown = [name for name in layers if name not in COLOURS]
    if unknown or len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise RoadloopError(
            f"raster_picture: layers {', '.join(layers) or 'none'} of shapes {sorted(shapes)}: "
            f"expected (X, Y) each, named as of {', '.join(COLOURS)}"
        )
    nx, ny = next(iter(shapes))
    picture = np.empty((nx, ny, 3), np.float32)
    picture[:] = rgb(DARK["ground"])
    for name, colour in COLOURS.items():
        if name in layers:
            share = np.clip(np.asarray(layers[name], np.float32), 0.0, 1.0)[..., None]
            picture += share * (np.array(colour, np.float32) - picture)
    if judged is not None:
        picture[~np.asarray(judged, bool)] *= 0.5
    # the first row of a picture is at the top: farthest ahead; its first column is left
    flipped = np.rint(picture[::-1, ::-1]).astype(np.uint8)
    large = np.ascontiguousarray(flipped.repeat(scale, axis=0).repeat(scale, axis=1))
    if lane is not None:
        on = lane_judged if lane_judged is not None else layers.get("drivable", np.ones((nx, ny)))
        _draw_arrows(large, lane, np.asarray(on) > 0.5, scale, cell)
    if origin is not None:
        length, width, overhang = EGO
        corners = np.array(
            [[-overhang, 1], [length - overhang, 1], [length - overhang, -1], [-overhang, -1]]
        ) * (1.0, width / 2.0)
        _draw(large, [(corners - origin) / cell - 0.5], scale, rgb(DARK["ego"]), closed=True)
    return large


def _draw_arrows(picture: Array, lane: Array, on: Array, scale: int, cell: float) -> None:
    i, j = np.meshgrid(*(np.arange(ARROWS // 2, n, ARROWS) for n in on.shape), indexing="ij")
    i, j = i[on[i, j]], j[on[i, j]]
    cos, sin, left = lane[:, i, j]
    foot = np.column_stack([i + left / cell * sin, j - left / cell * cos])
    along, aside = np.column_stack([cos, sin]), np.column_stack([-sin, cos])
    tip = foot + 1.2 * along
    shafts = list(np.stack([foot - 1.2 * along, tip], axis=1))
    heads = list(
        np.stack([tip - 0.7 * along + 0.5 * aside, tip, tip - 0.7 * along - 0.5 * aside], 1)
    )
    _draw(picture, shafts + heads, scale, rgb(DARK["select"]))


def _draw(
    picture: Array,
    lines: list[Array],
    scale: int,
    colour: tuple[int, int, int],
    closed: bool = False,
) -> None:
    """Polylines (n, 2) in cells as `BevGrid.cells_of` counts them."""
    import cv2

    size = np.array(picture.shape[:2]) / scale
    points = []
    for line in lines:
        row, column = ((size - 0.5 - line) * scale - 0.5).T
        points.append(np.rint(np.column_stack([column, row]) * 16).astype(np.int32))
    cv2.polylines(picture, points, closed, colour, 1, cv2.LINE_AA, 4)
