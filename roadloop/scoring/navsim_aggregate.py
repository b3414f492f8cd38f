"""From NAVSIM's scores of frames to one figure: one stage, or two with follow-up scenes.

In the second stage of pseudo-simulation (Cao et al. 2025; NAVSIM 2.2 ``scene_aggregator.py``,
``run_pdm_score.py``) an agent is also scored in scenes that start near where it meant to end. The
columns C below are whatever is averaged alike: the score and every sub-score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

FOLLOW_UP_VARIANCE = 0.1
"""m^2, of the Gaussian that weighs follow-up scenes by how near they start"""
LEAST_WEIGHT = 1e-8
"""sum of weights up to which all follow-ups count as far away, about 1.9 m for one of them"""


def follow_up_weights(end_point: Array, starts: Array) -> Array:
    """(F,) weights, summing to 1, of follow-up scenes that start at ``starts`` (F, 2).

    exp(-d^2 / (2 * 0.1 m^2)) of the distance from ``end_point`` (2,), where the agent *planned* to
    be (not where the simulated car ended). Uniform where all are far away. Raises RoadloopError
    without follow-ups or for numbers that are not finite.
    """
    end_point, starts = np.asarray(end_point, np.float64), np.asarray(starts, np.float64)
    if starts.ndim != 2 or starts.shape[1:] != (2,) or end_point.shape != (2,) or not len(starts):
        raise RoadloopError(
            f"follow-up starts have shape {starts.shape}, the end point {end_point.shape}: give "
            "(F, 2) with at least one, and (2,)"
        )
    if not (np.isfinite(starts).all() and np.isfinite(end_point).all()):
        raise RoadloopError("a follow-up start or the end point is not finite: leave it out")
    weights = np.exp(-((starts - end_point) ** 2).sum(1) / (2.0 * FOLLOW_UP_VARIANCE))
    total = weights.sum()
    return np.full(len(starts), 1.0 / len(starts)) if total <= LEAST_WEIGHT else weights / total


@dataclass(frozen=True, eq=False)
class Stages:
    """A first-stage frame and its F follow-up scenes."""

    first: Array
    """(C,)"""
    follow_ups: Array
    """(F, C)"""
    weights: Array
    """(F,)"""

    @property
    def second(self) -> Array:
        """(C,) weighted mean of the follow-ups."""
        return self.weights @ self.follow_ups / self.weights.sum()

    @property
    def product(self) -> Array:
        """(C,) first stage times second, column by column."""
        return self.first * self.second


@dataclass(frozen=True, eq=False)
class TwoStageScores:
    """Means over frames, each ``(C,)``."""

    first: Array
    second: Array
    combined: Array
    """mean of the products, which is not the product of the means"""


def two_stage_scores(frames: Sequence[tuple[Stages, Stages]]) -> TwoStageScores:
    """One figure per column from frames, each with the one 0.5 s before it.

    The follow-ups of a frame start 4 s after it, those of the one before 3.5 s after the frame;
    both count half. Raises RoadloopError without frames, and for follow-ups without a weight.
    """
    if not frames:
        raise RoadloopError("no frames to aggregate: give at least one")
    for number, pair in enumerate(frames):
        for stages in pair:
            shape = (len(stages.weights), len(stages.first))
            if stages.follow_ups.shape != shape or not stages.weights.sum() > 0.0:
                raise RoadloopError(
                    f"frame {number}: follow-ups {stages.follow_ups.shape} for weights and columns "
                    f"{shape}, sum of weights {stages.weights.sum():g}; give every frame at least "
                    "one follow-up with a weight"
                )
    return TwoStageScores(
        first=np.mean([[s.first for s in pair] for pair in frames], axis=(0, 1)),
        second=np.mean([[s.second for s in pair] for pair in frames], axis=(0, 1)),
        combined=np.mean([[s.product for s in pair] for pair in frames], axis=(0, 1)),
    )
