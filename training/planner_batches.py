"""Moments as batches for the learned planner, what is left out of them, and the loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from planning.learned import CAUTION
from planning.learned_config import ACCELERATIONS, MOTION, PROPOSALS, STOPS, TERMS
from training.planner_labels import FAR_APART
from training.planner_training import PlannerLoss

Array = np.ndarray

IRRELEVANT = 9.0
"""m between the ego, on every proposal, and the middle of a box that may be left out"""
ALIKE = 2.0
"""by which the chosen proposal may be less like the teacher's plan than the likest one"""


def order(moments: int, seed: int, round_number: int, turn: int) -> Array:
    """(moments,) the moments of one pass, shuffled."""
    return np.random.default_rng([seed, round_number, turn]).permutation(moments)


def batch_of(
    data: Mapping[str, Array],
    rows: Array,
    device: str,
    loss: PlannerLoss | None = None,
    rng: np.random.Generator | None = None,
) -> dict[str, Tensor]:
    """Moments as float32 tensors; with ``loss`` and ``rng`` something may be left out of them."""
    batch = {name: values[rows].astype(np.float32) for name, values in data.items()}
    if loss is not None and rng is not None:
        dropped = rng.random(len(rows)) < loss.drop_ego
        batch["ego"][dropped, :MOTION] = 0.0
        away = irrelevant(batch) & (rng.random(batch["agent_valid"].shape) < loss.drop_agents)
        for name in ("agents", "futures", "agent_valid"):
            batch[name][away] = 0.0
    return {name: torch.from_numpy(values).to(device) for name, values in batch.items()}


def irrelevant(batch: Mapping[str, Array]) -> Array:
    """(B, A) bool: who is far from the ego on every proposal, at every moment."""
    poses, futures = batch["poses"], batch["futures"]
    there = batch["proposal_valid"] > 0.0
    nearest = np.full(batch["agent_valid"].shape, np.inf, np.float32)
    for t in range(poses.shape[2]):
        dx = futures[:, None, :, t, 0] - poses[:, :, None, t, 0]
        dy = futures[:, None, :, t, 1] - poses[:, :, None, t, 1]
        gap = np.where(there[:, :, None], dx * dx + dy * dy, np.inf).min(axis=1)
        nearest = np.minimum(nearest, gap)
    return nearest > IRRELEVANT**2


def loss_terms(
    outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], loss: PlannerLoss
) -> dict[str, Tensor]:
    """``total`` and what it is made of, means over the batch."""
    there = batch["proposal_valid"] > 0.0
    hidden = torch.where(there, 0.0, -1e9)
    target = torch.softmax(hidden - batch["apart"] / loss.temperature, dim=-1)
    log_share = torch.log_softmax(outputs["logit"] + hidden, dim=-1)
    teacher = -(target * torch.where(there, log_share, 0.0)).sum(-1)
    aside = target[:, len(ACCELERATIONS) : PROPOSALS - STOPS].sum(-1) > 0.5
    weight = 1.0 + (loss.manoeuvres - 1.0) * aside
    imitation = (weight * teacher).sum() / weight.sum()
    each = F.binary_cross_entropy_with_logits(
        outputs["terms"], batch["terms"], reduction="none"
    ).mean(-1)
    expected = (each * there).sum() / there.sum().clamp(min=1)
    return {
        "total": imitation + loss.terms * expected,
        "imitation": imitation,
        "expected": expected,
    }


@torch.no_grad()
def measures(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(B,) of each moment: ``agrees``, 1 where the choice is nearly as like the teacher's plan as
    the likest proposal; ``apart``, how far it is from it (root of likeness, at most 10)."""
    there = batch["proposal_valid"] > 0.0
    score = torch.log_softmax(torch.where(there, outputs["logit"], -1e9), dim=-1)
    for name, weight in CAUTION.items():
        score = score + weight * F.logsigmoid(outputs["terms"][..., TERMS.index(name)])
    chosen = torch.where(there, score, -1e9).argmax(-1, keepdim=True)
    apart = torch.where(there, batch["apart"], FAR_APART)
    mine = apart.gather(1, chosen)[:, 0]
    return {
        "agrees": (mine <= apart.min(1).values + ALIKE).float(),
        "apart": mine.sqrt().clamp(max=10.0),
    }
