"""Leaving the path sideways and coming back: smooth offsets and when one gets past an obstacle.

An offset is ``d(s)``, m left of the path, made of quintic steps ``q(u) = 10 u^3 - 15 u^4 + 6 u^5``
(zero slope and curvature at both ends; largest curvature ``5.77 D / length^2`` for a step of D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from planning.corridor import AgentsOnPath

Array = np.ndarray

STEP_CURVATURE = 10.0 / math.sqrt(3.0)
"""max |q''(u)|"""
SIDE_GAP = 0.6
"""m kept beside an obstacle that is passed"""
PASSING_SPEED = 6.0
"""m/s at which obstacles are passed"""


@dataclass(frozen=True)
class OffsetStep:
    """One smooth step of ``by`` m to the left between ``start`` and ``end`` (m along the path)."""

    start: float
    end: float
    by: float


@dataclass
class LateralOffset:
    """The sum of steps; grows as manoeuvres are added."""

    steps: list[OffsetStep] = field(default_factory=list)

    def at(self, s: Array) -> tuple[Array, Array, Array]:
        """``d``, ``dd/ds`` and ``d2d/ds2`` at ``s`` ``(...)``; each ``(...)``."""
        s = np.asarray(s, dtype=np.float64)
        d, slope, bend = np.zeros_like(s), np.zeros_like(s), np.zeros_like(s)
        for step in self.steps:
            length = step.end - step.start
            u = np.clip((s - step.start) / length, 0.0, 1.0)
            d += step.by * u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
            slope += step.by / length * 30.0 * (u * (1.0 - u)) ** 2
            bend += step.by / length**2 * 60.0 * u * (1.0 - u) * (1.0 - 2.0 * u)
        return d, slope, bend

    def forget_before(self, s: float) -> None:
        """Drop manoeuvres that are over: all steps when they lie behind ``s`` and sum to zero."""
        over = [step for step in self.steps if step.end < s]
        if over and abs(sum(step.by for step in over)) < 1e-9:
            self.steps = [step for step in self.steps if step.end >= s]

    def active_until(self) -> float:
        """m along the path at which the last step ends; -inf where there is none."""
        return max((step.end for step in self.steps), default=-math.inf)


def step_length(by: float, speed: float, max_curvature: float) -> float:
    """m a step of ``by`` m takes: 3.1 s of driving (2.1 m/s^2 sideways for 3.5 m), or what the
    steering can do."""
    return max(math.sqrt(STEP_CURVATURE * abs(by) / max_curvature), 3.1 * speed, 4.0)


def shift_past(
    low: float, high: float, half_width: float, side: int, side_gap: float = SIDE_GAP
) -> float:
    """d of the ego's centre that clears an obstacle over ``[low, high]`` on ``side`` (+1 left) by
    ``side_gap`` m."""
    need = half_width + side_gap
    return high + need if side > 0 else low - need


def band_is_free(
    agents: AgentsOnPath,
    skip: Array,
    band: tuple[float, float],
    rear: float,
    front: float,
    end: float,
    speed: float,
    duration: float,
) -> bool:
    """Whether the lateral ``band`` (m, low and high d) can be used from ``rear`` to ``end``.

    It must hold nobody beside the ego, nobody slow up to ``end``, nobody who catches up from behind
    and nobody oncoming who arrives within ``duration`` s. Positions are m along the path: ``rear``
    and ``front`` of the ego's bumpers, ``end`` of the rear axle when the stretch is over; ``speed``
    is the ego's in m/s; ``skip`` masks agents that do not count (the obstacle).
    """
    in_band = (agents.d_high > band[0]) & (agents.d_low < band[1]) & ~skip
    along = agents.speed_along
    beside = (agents.s_high > rear - 3.0) & (agents.s_low < front + 4.0)
    standing_in_it = (along < 1.0) & (agents.s_high > rear) & (agents.s_low < end)
    behind = agents.s_high <= rear - 3.0
    closing = np.maximum(along - speed, 0.0)
    catches = behind & (rear - agents.s_high < 3.0 + 1.0 * along + closing * 3.0)
    catches &= along > 0.5
    oncoming = (along < -0.5) & (agents.s_high > rear)
    meets = oncoming & (agents.s_low + along * max(duration, 0.0) < end + 5.0)
    ahead = (agents.s_low >= front + 4.0) & (along < speed)
    tight = ahead & (agents.s_low - front < 4.0 + (speed - along) * 2.0) & (agents.s_low < end)
    return not bool((in_band & (beside | standing_in_it | catches | meets | tight)).any())
