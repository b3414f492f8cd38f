"""Depth and classes of what the pictures show: heads that are only there to train the features.

The simulator knows both for every pixel at no cost, and features that tell how far away things are
lift better (Jaeger et al., TransFuser++, ICCV 2023, train the same two). The car does not run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from perception.detector_config import STRIDE, DetectorConfig
from perception.frame import NOT_JUDGED
from roadloop.semantics import SemanticClass

Array = np.ndarray

NEAREST, FARTHEST = 2.0, 60.0
"""m; bins are even in the logarithm between them, the outer ones hold what is beyond"""
SMALL = (
    SemanticClass.POLE, SemanticClass.TRAFFIC_LIGHT, SemanticClass.TRAFFIC_SIGN,
    SemanticClass.PEDESTRIAN, SemanticClass.RIDER, SemanticClass.MOTORCYCLE, SemanticClass.BICYCLE,
    SemanticClass.ROAD_LINE, SemanticClass.DYNAMIC, SemanticClass.STATIC,
)  # fmt: skip
"""classes of few pixels that matter: they count ..."""
SMALL_WEIGHT = 3.0
"""... so many times in the loss"""

_SPOTS = (2, 5)
"""px from a cell's edge, rows and columns that are looked at"""


class ImageLabelHead(nn.Module):
    """(n, C, h, w) -> logits ``depth`` (n, bins, h, w) and ``semantic`` (n, classes, h, w).

    Each as far as the configuration wants it.
    """

    def __init__(self, channels: int, config: DetectorConfig) -> None:
        super().__init__()
        sizes = {"depth": config.depth_bins, "semantic": len(SemanticClass) * config.semantics}
        self.sizes = {key: size for key, size in sizes.items() if size}
        total = sum(self.sizes.values())
        self.out = nn.Conv2d(channels, total, 1) if total else None

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """See the class."""
        if self.out is None:
            return {}
        parts = self.out(features).split(list(self.sizes.values()), 1)
        return dict(zip(self.sizes, parts))


def bin_edges(bins: int) -> Array:
    """(bins + 1,) m, even in the logarithm."""
    return np.geomspace(NEAREST, FARTHEST, bins + 1)


def image_targets(
    depth: Array | None, semantic: Array | None, config: DetectorConfig
) -> dict[str, Array]:
    """``depth`` and ``semantic`` of `perception.frame`, (N, h, w) uint8, as far as they are wanted.

    Args:
        depth: (N, H, W) m, 0 where there is no surface; None: not known.
        semantic: (N, H, W) ``SemanticClass``, NONE where nothing is known; None: not known.

    Of a cell the nearest of four pixels counts, so that what is thin and in front is not passed
    over; without depth the pixel in the middle. What is not known is not judged; where neither is
    known there are no targets.
    """
    width, height = config.size
    given = depth if depth is not None else semantic
    if given is None:
        return {}
    wanted = {"depth": config.depth_bins > 0, "semantic": config.semantics}
    shape = (len(given), height // STRIDE, width // STRIDE)
    made = {key: np.full(shape, NOT_JUDGED, np.uint8) for key, on in wanted.items() if on}
    nearest = None
    if depth is not None:
        spots = _spots(depth)
        spots = np.where((spots > 0.0) & np.isfinite(spots), spots, np.inf)
        nearest, least = spots.argmin(axis=0), spots.min(axis=0)
        if "depth" in made:
            there = np.isfinite(least)
            inner = bin_edges(config.depth_bins)[1:-1]
            made["depth"][there] = np.searchsorted(inner, least[there], side="right")
    if semantic is not None and "semantic" in made:
        if nearest is None:
            shown = semantic[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        else:
            shown = np.take_along_axis(_spots(semantic), nearest[None], axis=0)[0]
        known = shown != SemanticClass.NONE
        made["semantic"][known] = shown[known]
    return made


def point_depth(
    points: Array, pixel_from_ego: Array, shown: Array, config: DetectorConfig
) -> Array:
    """``depth`` of `perception.frame`, (N, h, w) uint8, from LiDAR points: the nearest in a cell.

    Args:
        points: (P, 3) m in the ego frame of the moment.
        pixel_from_ego: (N, 3, 4) of the pictures.
        shown: (N, H, W) bool, pixels that show something; elsewhere nothing is judged.

    A LiDAR above the camera sees over things: in the cells that these fill in the picture the
    nearest point is theirs nevertheless, as they are hit as well.
    """
    width, height = config.size
    shape = (len(pixel_from_ego), height // STRIDE, width // STRIDE)
    least = np.full(shape, np.inf, np.float32)
    flat = np.ones((len(points), 4), np.float32)
    flat[:, :3] = points
    for n, camera in enumerate(pixel_from_ego):
        u, v, depth = camera @ flat.T
        ahead = depth > 0.1
        u, v, depth = u[ahead] / depth[ahead] + 0.5, v[ahead] / depth[ahead] + 0.5, depth[ahead]
        inside = (u >= 0.0) & (u < width) & (v >= 0.0) & (v < height)
        row, column, depth = v[inside].astype(int), u[inside].astype(int), depth[inside]
        lit = shown[n, row, column]
        cell = row[lit] // STRIDE, column[lit] // STRIDE
        np.minimum.at(least[n], cell, depth[lit])
    made = np.full(shape, NOT_JUDGED, np.uint8)
    there = np.isfinite(least)
    inner = bin_edges(config.depth_bins)[1:-1]
    made[there] = np.searchsorted(inner, least[there], side="right")
    return made


def _spots(pictures: Array) -> Array:
    """(4, N, h, w) pixels of every cell of pictures (N, H, W)."""
    return np.stack([pictures[:, i::STRIDE, j::STRIDE] for i in _SPOTS for j in _SPOTS])


def image_label_loss(
    outputs: Mapping[str, Tensor], frame: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Cross-entropies ``depth`` and ``semantic`` where both outputs and targets are there.

    Any leading axes before (N, ...). Zero where nothing is judged.
    """
    losses = {}
    for key, weights in (("depth", None), ("semantic", class_weights())):
        if key not in outputs or key not in frame:
            continue
        logits = outputs[key].float().flatten(0, -4)
        truth = frame[key].flatten(0, -3).long()
        weight = None if weights is None else torch.tensor(weights, device=logits.device)
        total = cross_entropy(logits, truth, weight, ignore_index=NOT_JUDGED, reduction="sum")
        judged = truth != NOT_JUDGED
        counts = judged.to(logits.dtype)
        if weight is not None:
            counts = counts * weight[torch.where(judged, truth, 0)]
        losses[key] = total / counts.sum().clamp(min=1.0)
    return losses


@lru_cache
def class_weights() -> tuple[float, ...]:
    """(classes,) of the loss."""
    return tuple(SMALL_WEIGHT if kind in SMALL else 1.0 for kind in SemanticClass)
