"""How far road users stray from their forecasts as time goes on: the growth of the spread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from roadloop.types import AgentKind, Tracks

Array = np.ndarray

WALKS, CYCLES, DRIVES, STAYS = 0, 1, 2, 3
"""rows of the tables below"""
GROUP_OF_KIND = np.full(max(AgentKind) + 1, DRIVES)
GROUP_OF_KIND[AgentKind.PEDESTRIAN] = WALKS
GROUP_OF_KIND[AgentKind.CYCLIST] = CYCLES


@dataclass(frozen=True)
class Spread:
    """``std(t) = a t^p`` m at t s, along and across the predicted heading.

    Each field is (a, p) of pedestrians, cyclists and vehicles. What never moves has no spread.
    """

    along: tuple[tuple[float, float], ...]
    across: tuple[tuple[float, float], ...]

    def at(self, tracks: Tracks, steps: int, dt: float) -> tuple[Array, Array]:
        """``(tracks, steps)`` standard deviations along and across, that of now added."""
        group = np.where(
            tracks.states.kind == AgentKind.STATIC, STAYS, GROUP_OF_KIND[tracks.states.kind]
        )
        now = np.where(tracks.states.valid, tracks.position_std, 0.0)[:, None]
        tables = _grown(self, steps, dt)
        return np.hypot(now, tables[0][group]), np.hypot(now, tables[1][group])


@lru_cache(maxsize=32)
def _grown(spread: Spread, steps: int, dt: float) -> tuple[Array, Array]:
    """``(groups, steps)`` m along and across, the last group's 0."""
    t = np.arange(steps) * dt
    along, across = (
        np.stack([*(a * t**p for a, p in table), np.zeros(steps)])
        for table in (spread.along, spread.across)
    )
    return along, across
