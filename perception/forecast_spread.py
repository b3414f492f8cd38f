"""How far road users stray from their forecasts as time goes on: the growth of the spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.types import AgentKind, Tracks

Array = np.ndarray

WALKS, CYCLES, DRIVES = 0, 1, 2
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
        group = GROUP_OF_KIND[tracks.states.kind]
        moves = tracks.states.kind != AgentKind.STATIC
        t = np.arange(steps) * dt
        now = np.square(np.nan_to_num(tracks.position_std))[:, None]
        out = []
        for table in (self.along, self.across):
            grown = np.stack([(a * t**p) ** 2 for a, p in table])
            out.append(np.sqrt(now + np.where(moves[:, None], grown[group], 0.0)))
        return out[0], out[1]
