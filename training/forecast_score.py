"""How good a forecaster is on the moments that judge it, beside going on at constant velocity."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from perception.forecast_inputs import FAST
from perception.forecast_metrics import ade, fde, forecast_metrics
from perception.forecast_network import directions
from training.team import Team

SUMMED: tuple[str, ...] = (
    "agents", "loss", "min_ade", "min_fde", "miss_rate", "brier_min_fde", "cv_ade", "cv_fde",
    "within_std", "everybody", "everybody_min_ade", "everybody_cv_ade",
)  # fmt: skip


class ForecastScore:
    """Sums over batches.

    Only agents whose whole future is known are judged. All numbers but those of ``everybody`` are
    of agents that move (weight 1); ``cv`` is constant velocity. ``within_std``: share of the points
    of the winner that are within one standard deviation of the truth, along and across counted
    alike; a Laplace distribution has 1 - exp(-sqrt(2)) = 0.757.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self.sums: dict[str, float] = dict.fromkeys(SUMMED, 0.0)
        self.moments = 0.0

    def add(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], loss: float) -> None:
        """Take in the outputs of the network for a batch, and its loss."""
        moments = len(batch["weight"])
        self.moments += moments
        self.sums["loss"] += moments * loss
        judged = (batch["weight"] > 0) & (batch["future_valid"] > 0).all(-1)
        if not bool(judged.any()):
            return
        moving = (batch["weight"][judged] == 1.0).cpu().numpy()
        position, scale = outputs["position"].float()[judged], outputs["scale"].float()[judged]
        future = batch["future"][judged]
        probability = outputs["logit"].float()[judged].softmax(-1)
        time = self.step * torch.arange(1, future.shape[-2] + 1, device=future.device)
        velocity = FAST * batch["history"][judged][:, -1, 4:6]
        constant = velocity[:, None] * time[:, None]

        truth = future.double().cpu().numpy()
        forecast = position.double().cpu().numpy()
        metrics = forecast_metrics(forecast, truth, probability.double().cpu().numpy())
        baseline = constant[:, None].double().cpu().numpy()
        baseline_ade, baseline_fde = ade(baseline, truth)[:, 0], fde(baseline, truth)[:, 0]
        values = {
            "agents": np.ones(len(truth)), "min_ade": metrics.min_ade, "min_fde": metrics.min_fde,
            "miss_rate": metrics.missed, "brier_min_fde": metrics.brier_min_fde,
            "cv_ade": baseline_ade, "cv_fde": baseline_fde,
            "within_std": _within(position, scale, future),
        }  # fmt: skip
        for name, value in values.items():
            self.sums[name] += float(value[moving].sum())
        self.sums["everybody"] += len(truth)
        self.sums["everybody_min_ade"] += float(metrics.min_ade.sum())
        self.sums["everybody_cv_ade"] += float(baseline_ade.sum())

    def result(self, team: Team) -> dict[str, float]:
        """Means over what all processes took in; NaN where nobody was judged."""
        totals = team.sum(np.array([*self.sums.values(), self.moments])).tolist()
        sums: dict[str, float] = dict(zip(SUMMED, totals))
        counts = {"agents": sums.pop("agents"), "everybody": sums.pop("everybody"),
                  "loss": totals[-1]}  # fmt: skip
        found = {}
        for name, total in sums.items():
            count = counts.get(name.partition("_")[0], counts["agents"])
            found[name] = total / count if count else math.nan
        return found


def _within(position: Tensor, scale: Tensor, future: Tensor) -> np.ndarray:
    """(n,) share of (n, K, T, 2)'s best modes' points within a standard deviation."""
    error = future[:, None] - position
    winner = error.norm(dim=-1).mean(-1).argmin(-1)
    row = torch.arange(len(winner), device=winner.device)
    along, error, scale = directions(position)[row, winner], error[row, winner], scale[row, winner]
    ahead = (along * error).sum(-1)
    left = along[..., 0] * error[..., 1] - along[..., 1] * error[..., 0]
    inside = torch.stack([ahead, left], dim=-1).abs() < math.sqrt(2.0) * scale
    return inside.float().mean((-1, -2)).double().cpu().numpy()
