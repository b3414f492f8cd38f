"""What a forecaster learns from: the future that came nearest becomes more like what happened.

Winner takes all: of an agent's futures only the one with the least mean distance from the truth
learns its shape and spread, a Laplace likelihood along and across its own direction; a classifier
learns which one that will be (MultiPath, Chai et al., CoRL 2019; Laplace as in HiVT). Early in a
run a small share goes to all futures, so that none is left behind for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from perception.forecast_network import directions
from roadloop.errors import RoadloopError


@dataclass(frozen=True)
class ForecastLoss:
    """How much each term counts."""

    distance: float = 0.5
    """of the winner's mean distance, m, beside its likelihood"""
    mode: float = 0.5
    """of naming the winner"""
    everybody: float = 0.1
    """share of all futures alike, at the start; nothing from half of the run on"""

    def __post_init__(self) -> None:
        for name in ("distance", "mode"):
            if not 0.0 <= getattr(self, name) < 100.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        if not 0.0 <= self.everybody < 1.0:
            raise RoadloopError(f"everybody is {self.everybody}: it must be in [0, 1)")

    def terms(
        self, outputs: Mapping[str, Tensor], truth: Mapping[str, Tensor], progress: float
    ) -> dict[str, Tensor]:
        """Means over the agents by their weight: ``total`` and what it is made of.

        Args:
            outputs: of the network.
            truth: ``future`` (B, N, T, 2) m in each agent's frame, ``future_valid`` (B, N, T),
                ``weight`` (B, N), 0 for agents that do not count.
            progress: share of the run, from 0 to 1.
        """
        position, scale, logit = (outputs[key].float() for key in ("position", "scale", "logit"))
        future, valid, weight = (truth[k].float() for k in ("future", "future_valid", "weight"))
        count = valid.sum(-1)
        weight = weight * (count > 0)
        share = (valid / count.clamp(min=1.0)[..., None])[:, :, None]  # (B, N, 1, T)
        error = future[:, :, None] - position
        distance = (torch.sqrt(error.square().sum(-1) + 1e-6) * share).sum(-1)  # (B, N, K)
        winner = distance.argmin(-1)

        along = directions(position.detach())
        turned = torch.stack(
            [
                along[..., 0] * error[..., 0] + along[..., 1] * error[..., 1],
                along[..., 0] * error[..., 1] - along[..., 1] * error[..., 0],
            ],
            dim=-1,
        )
        likelihood = (torch.log(2.0 * scale) + turned.abs() / scale).sum(-1)
        shape = (likelihood * share).sum(-1) + self.distance * distance  # (B, N, K)
        best = shape.gather(-1, winner[..., None])[..., 0]
        all_alike = self.everybody * max(0.0, 1.0 - 2.0 * progress)
        mode = cross_entropy(logit.flatten(0, 1), winner.flatten(), reduction="none")
        total = weight.sum().clamp(min=1e-6)

        def mean(value: Tensor) -> Tensor:
            return (value * weight).sum() / total

        shape_mean = mean((1.0 - all_alike) * best + all_alike * shape.mean(-1))
        mode_mean = mean(mode.view_as(weight))
        nearest = mean(distance.gather(-1, winner[..., None])[..., 0])
        return {
            "total": shape_mean + self.mode * mode_mean,
            "likelihood": shape_mean,
            "mode": mode_mean,
            "distance": nearest,
        }
