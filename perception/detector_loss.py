"""All losses of a detector and how they weigh against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from perception.image_labels import image_label_loss
from perception.lights import light_loss
from perception.objects import object_loss
from perception.raster_map import raster_loss


@dataclass(frozen=True)
class LossWeights:
    """What each term counts; 0 leaves it out."""

    heat: float = 1.0
    box: float = 1.0
    heading: float = 0.5
    velocity: float = 0.3
    raster: float = 2.0
    lane: float = 0.5
    light_heat: float = 0.5
    light_box: float = 0.2
    light_state: float = 0.5
    depth: float = 0.2
    semantic: float = 0.3


def detector_loss(
    outputs: Mapping[str, torch.Tensor],
    frame: Mapping[str, torch.Tensor],
    weights: LossWeights,
    uncertain: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Every term as a scalar, and their weighted sum ``total``.

    Args:
        outputs: of `perception.network.DetectorNetwork`, for moments (B, ...).
        frame: the targets of `perception.frame`, likewise.
        uncertain: see `perception.objects.object_loss`.

    Terms whose outputs or targets are not there are left out.
    """
    given, wanted = dict(outputs), dict(frame)
    terms = object_loss(given, wanted, uncertain) | raster_loss(given, wanted)
    if "light_heat" in given:
        terms |= light_loss(given, wanted)
    terms |= image_label_loss(given, wanted)
    total = sum(
        (getattr(weights, name) * value for name, value in terms.items()),
        start=torch.zeros((), device=given["heat"].device),
    )
    return {**terms, "total": total}
