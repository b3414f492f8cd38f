"""The raster map: the ground around as layers, and the lane field; head, targets, loss, score.

A line is one cell wide: a cell is on it where the line passes within half a cell of the cell's
centre. Seen across, that strip is one cell wide at any angle, so a thin line never breaks up (as
an arithmetic line of thickness sqrt(a^2 + b^2) >= max(|a|, |b|) is 8-connected; Reveilles, 1991).

======== ==========================================================================================
layer    1 where the cell's centre
======== ==========================================================================================
DRIVABLE lies within half the width of a lane's centreline, junctions included
LANE_LINE is on a line between two lanes
ROAD_EDGE is on a line where the lanes end at the side
CROSSING lies inside a crosswalk's outline
STOP_LINE is on one
VEHICLE  lies inside the box of a visible `ObjectClass.VEHICLE`
======== ==========================================================================================

The map's layers are judged wherever a camera looks, whatever stands in the way: the road behind a
car is to be guessed. Cells that no camera looks at are not judged, nor those of hidden vehicles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from perception.backbone import conv
from perception.detector_config import BevGrid, DetectorConfig, ObjectClass, RasterLayer
from perception.lane_field import bands, cell_centres, cells_around, lane_targets, segments_of
from roadloop.errors import RoadloopError

Array = np.ndarray

CENTRELINE, DIVIDER, EDGE, CROSSWALK, STOP_LINE = range(5)
"""kinds of map lines, the numbers of ``training.sample_spec.MapLine``"""
_LAYER = {
    DIVIDER: RasterLayer.LANE_LINE,
    EDGE: RasterLayer.ROAD_EDGE,
    STOP_LINE: RasterLayer.STOP_LINE,
}
LEVEL = 3.0
"""m above or below the ego's ground from which a road is another level (clearances are 4.5 m)"""
WITHIN = 0.5 + 1e-4
"""cells from the line to the centre; a little more, as a line may run halfway between two rows"""
COLUMN = (0.0, 0.6, 1.4)
"""m above the ground: a camera looks at a cell where it sees one of these points"""
POSITIVE_WEIGHT = 2.0
VEHICLE_COUNTS = 3.0
"""as much as so many layers: the smallest and most wanted one"""
FARTHEST = 3.0
"""m from the centreline from which distances are all alike"""
PRIOR = (0.25, 0.03, 0.04, 0.02, 0.005, 0.02)
"""share of cells of each layer, what the head says before it has learnt anything"""
BINS = 20
"""thresholds at which a score is taken"""


# --- the head -----------------------------------------------------------------------------------


class RasterHead(nn.Module):
    """(B, D, X, Y) -> ``raster`` (B, R, X, Y) logits and ``lane`` (B, 3, X, Y)."""

    def __init__(self, channels: int, config: DetectorConfig) -> None:
        super().__init__()
        del config  # heads are all made alike; this one has nothing to configure
        self.sizes = [len(RasterLayer), 3]
        self.shared = conv(channels, channels)
        self.out = nn.Conv2d(channels, sum(self.sizes), 1)
        with torch.no_grad():
            prior = torch.tensor(PRIOR)
            self.out.bias.zero_()  # type: ignore[union-attr]
            self.out.bias[: len(prior)] = torch.logit(prior)  # type: ignore[index]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        raster, lane = self.out(self.shared(x)).split(self.sizes, 1)
        return {"raster": raster, "lane": lane}


# --- what is learnt -----------------------------------------------------------------------------


def cells_in_view(
    pixel_from_ego: Array, camera_valid: Array, size: tuple[int, int], grid: BevGrid
) -> Array:
    """(X, Y) bool: cells above which a camera sees a point of the ground or up to 1.4 m above.

    Args:
        pixel_from_ego: (N, 3, 4), ``perception.frame``.
        camera_valid: (N,) bool; to judge also what a camera that failed would see: all True.
        size: px, width and height of the pictures.
    """
    cameras = pixel_from_ego[np.asarray(camera_valid, bool)].astype(np.float32)
    xy = cell_centres(grid)
    # u, v, 1 times depth is linear in x, y and z
    flat = cameras[:, :, :2] @ xy.T + cameras[:, :, 3:]
    seen = np.zeros(len(xy), bool)
    for z in COLUMN:
        u, v, depth = np.moveaxis(flat + z * cameras[:, :, 2:3], 1, 0)
        inside = (depth > 0.1) & (u >= -0.5 * depth) & (u < (size[0] - 0.5) * depth)
        inside &= (v >= -0.5 * depth) & (v < (size[1] - 0.5) * depth)
        seen |= inside.any(0)
    return seen.reshape(grid.shape)


def raster_targets(
    grid: BevGrid,
    *,
    map_lines: Array | None,
    map_line_kind: Array | None = None,
    map_line_width: Array | None = None,
    boxes: Array | None = None,
    object_class: Array | None = None,
    visible: Array | None = None,
    in_view: Array | None = None,
) -> dict[str, Array]:
    """``raster``, ``raster_weight``, ``lane``, ``lane_weight`` of `perception.frame`.

    Args:
        map_lines: (L, V, 3) m in the ego frame, ``training.sample_spec``; None: there is no map.
        map_line_kind, map_line_width: (L,) ``MapLine``, m.
        boxes: (n, 9) ``training.sample_spec.BOX``; None: nothing is labelled.
        object_class: (n,) `ObjectClass`.
        visible: (n,) bool; the cells of hidden vehicles are not judged.
        in_view: (X, Y) bool, the cells that cameras look at; None: all.

    Raises:
        RoadloopError: lines without kinds and widths, boxes without classes and visibility.
    """
    raster = np.zeros((len(RasterLayer), *grid.shape), np.uint8)
    weight = np.zeros_like(raster)
    lane = np.zeros((3, *grid.shape), np.float32)
    lane_weight = np.zeros(grid.shape, np.uint8)
    judged = np.ones(grid.shape, bool) if in_view is None else in_view
    if map_lines is not None:
        if map_line_kind is None or map_line_width is None:
            raise RoadloopError("raster_targets: map_lines without map_line_kind, map_line_width")
        lines = np.asarray(map_lines, np.float32)
        centre = map_line_kind == CENTRELINE
        covered, lane, agree = lane_targets(lines[centre], map_line_width[centre], grid, LEVEL)
        raster[RasterLayer.DRIVABLE] = covered
        lane_weight[:] = agree & judged
        _draw_lines(raster, lines[~centre], map_line_kind[~centre], grid)
        for ring in _rings(lines[map_line_kind == CROSSWALK]):
            _fill(raster[RasterLayer.CROSSING], ring, grid)
        weight[: RasterLayer.VEHICLE] = judged
    if boxes is not None:
        if object_class is None or visible is None:
            raise RoadloopError("raster_targets: boxes without object_class and visible")
        weight[RasterLayer.VEHICLE] = judged
        vehicles = object_class == ObjectClass.VEHICLE
        shown = vehicles & visible & (np.abs(boxes[:, 2] - boxes[:, 5] / 2.0) < LEVEL)
        hidden = _inside_boxes(boxes[vehicles & ~shown], grid)
        found = _inside_boxes(boxes[shown], grid)
        raster[RasterLayer.VEHICLE] = found
        weight[RasterLayer.VEHICLE][hidden & ~found] = 0
    return {"raster": raster, "raster_weight": weight, "lane": lane, "lane_weight": lane_weight}


def _draw_lines(raster: Array, lines: Array, kind: Array, grid: BevGrid) -> None:
    """Thin lines into their layers."""
    layer = np.full(max(_LAYER) + 1, -1)
    layer[list(_LAYER)] = list(_LAYER.values())
    known = kind <= max(_LAYER)
    layer = layer[np.where(known, kind, CROSSWALK)]
    lines, layer = lines[layer >= 0], layer[layer >= 0]
    reach = WITHIN * grid.cell
    pieces = segments_of(lines, grid, np.full(len(lines), reach), LEVEL)
    end = pieces.start + pieces.along * pieces.length[:, None]
    low, high = np.minimum(pieces.start, end) - reach, np.maximum(pieces.start, end) + reach
    item, cell = cells_around(low, high, grid)
    gap = cell_centres(grid)[cell] - pieces.start[item]
    along = pieces.along[item]
    t = gap[:, 0] * along[:, 0] + gap[:, 1] * along[:, 1]
    left = gap[:, 1] * along[:, 0] - gap[:, 0] * along[:, 1]
    over = np.maximum(np.maximum(-t, t - pieces.length[item]), 0.0)
    on = left * left + over * over <= reach * reach
    flat = raster.reshape(len(raster), -1)
    flat[layer[pieces.line[item[on]]], cell[on]] = 1


def _rings(lines: Array) -> list[Array]:
    """Outlines (n, 2) put together from their pieces (L, V, 3), which follow each other."""
    rings: list[list[Array]] = []
    closed = True
    for piece in lines:
        follows = not closed and np.abs(rings[-1][-1][-1] - piece[0]).max() < 1e-2
        if not follows:
            rings.append([])
        rings[-1].append(piece)
        closed = bool(np.abs(rings[-1][0][0] - piece[-1]).max() < 1e-2)
    found = [np.concatenate(ring) for ring in rings]
    return [ring[:, :2] for ring in found if np.abs(ring[:, 2]).max() < LEVEL]


def _fill(layer: Array, ring: Array, grid: BevGrid) -> None:
    """1 where a centre lies inside the ring (n, 2): an odd number of its sides is to the right."""
    low, high = ring.min(0), ring.max(0)
    if (high < (grid.x_min, grid.y_min)).any() or (low > (grid.x_max, grid.y_max)).any():
        return
    _, cell = cells_around(low[None], high[None], grid)
    if not len(cell):
        return
    x, y = cell_centres(grid)[cell].T[..., None]
    a, b = ring, np.roll(ring, -1, axis=0)
    crosses = (a[:, 0] > x) != (b[:, 0] > x)
    rise = np.where(a[:, 0] == b[:, 0], 1.0, b[:, 0] - a[:, 0])
    odd = (crosses & (y < a[:, 1] + (x - a[:, 0]) / rise * (b[:, 1] - a[:, 1]))).sum(1) % 2
    layer.reshape(-1)[cell[odd == 1]] = 1


def _inside_boxes(boxes: Array, grid: BevGrid) -> Array:
    """(X, Y) bool: cells whose centre lies in a box's outline from above."""
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    half = np.abs(np.column_stack([c, s])) * boxes[:, 3:4] / 2.0
    half += np.abs(np.column_stack([s, c])) * boxes[:, 4:5] / 2.0
    item, cell = cells_around(boxes[:, :2] - half, boxes[:, :2] + half, grid)
    gap = cell_centres(grid)[cell] - boxes[item, :2]
    along = gap[:, 0] * c[item] + gap[:, 1] * s[item]
    aside = gap[:, 1] * c[item] - gap[:, 0] * s[item]
    on = (np.abs(along) <= boxes[item, 3] / 2.0) & (np.abs(aside) <= boxes[item, 4] / 2.0)
    found = np.zeros(grid.nx * grid.ny, bool)
    found[cell[on]] = True
    return found.reshape(grid.shape)


def raster_loss(outputs: dict[str, Tensor], frame: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars: ``raster`` (twice the cross-entropy plus Dice, mean of the layers) and ``lane``.

    Positives count `POSITIVE_WEIGHT` times in the cross-entropy, vehicles as `VEHICLE_COUNTS`
    layers. Dice (Milletari et al., V-Net, 2016) is taken over the whole batch; a layer that is
    nowhere in it has none. ``lane``: L1 of cos and sin, and of the distance in m, up to `FARTHEST`.
    """
    logit, truth = outputs["raster"].float(), frame["raster"].float()
    weight = frame["raster_weight"].float()
    over = (0, 2, 3)
    count = weight.sum(over)
    judged = (count > 0.0).float()
    error = -(POSITIVE_WEIGHT * truth * logsigmoid(logit) + (1.0 - truth) * logsigmoid(-logit))
    entropy = (error * weight).sum(over) / count.clamp(min=1.0)
    share = logit.sigmoid() * weight
    positive = truth * weight
    there = (positive.sum(over) > 0.0).float()
    both = (share * positive).sum(over)
    dice = 1.0 - (2.0 * both + 1.0) / (share.sum(over) + positive.sum(over) + 1.0)
    counts = torch.ones_like(judged)
    counts[RasterLayer.VEHICLE] = VEHICLE_COUNTS
    judged, there = counts * judged, counts * there
    raster = (2.0 * entropy * judged).sum() / judged.sum().clamp(min=1.0)
    raster = raster + (dice * there).sum() / there.sum().clamp(min=1.0)

    lane, goal = outputs["lane"].float(), frame["lane"].float()
    on = frame["lane_weight"].float()[:, None]
    clipped = goal[:, 2:].clamp(-FARTHEST, FARTHEST)
    gap = torch.cat([lane[:, :2] - goal[:, :2], lane[:, 2:] - clipped], 1).abs()
    lane_error = (gap * on).sum() / (3.0 * on.sum()).clamp(min=1.0)
    return {"raster": raster, "lane": lane_error}


# --- how good it is -----------------------------------------------------------------------------


class RasterScore:
    """Intersection over union of every layer, by distance ahead, over many moments."""

    def __init__(self, grid: BevGrid) -> None:
        self.grid = grid
        self.bands = bands(grid)
        # judged cells by layer, row of the grid, truth and probability
        self.counts = np.zeros((len(RasterLayer), grid.nx, 2, BINS), np.int64)

    def add(self, probability: Array, raster: Array, weight: Array) -> None:
        """Moments (..., R, X, Y); ``weight`` 0 leaves a cell out."""
        shape = (-1, *self.counts.shape[:2], self.grid.ny)
        level = np.clip(probability * BINS, 0, BINS - 1).astype(np.int64).reshape(shape)
        truth = (raster > 0).reshape(shape)
        row = np.arange(shape[1] * shape[2]).reshape(*shape[1:3], 1)
        index = (row * 2 + truth) * BINS + level
        on = (weight > 0).reshape(shape)
        self.counts += np.bincount(index[on], minlength=self.counts.size).reshape(self.counts.shape)

    def result(self) -> dict[str, dict[str, Any]]:
        """By layer in lower case: ``iou`` at 0.5 by band (``all``, ``0-16`` ...); over all of them
        ``best_iou`` with its ``best_threshold``, and the layer's ``share`` of the judged cells.

        None where nothing was judged, or the layer neither was there nor was found.
        """
        found: dict[str, dict[str, Any]] = {}
        for layer in RasterLayer:
            counts = self.counts[layer]
            by_band = {name: _ious(counts[rows].sum(0)) for name, rows in self.bands.items()}
            every, total = by_band["all"], int(counts.sum())
            best = int(np.nanargmax(every)) if np.isfinite(every).any() else None
            found[layer.name.lower()] = {
                "iou": {name: _or_none(ious[BINS // 2]) for name, ious in by_band.items()},
                "best_iou": None if best is None else float(every[best]),
                "best_threshold": None if best is None else best / BINS,
                "share": float(counts[:, 1].sum() / total) if total else None,
            }
        return found


def _ious(counts: Array) -> Array:
    """(BINS,) at thresholds k / BINS, of counts (2, BINS); NaN where there is no union."""
    false, true = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1].astype(np.float64)
    union = counts[1].sum() + false
    return np.divide(true, union, out=np.full(BINS, np.nan), where=union > 0)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
