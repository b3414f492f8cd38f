"""Whom proposals follow: who really comes into the ego's way, and how close they follow."""

from __future__ import annotations

import numpy as np

from planning.longitudinal import Leaders
from planning.proposals import FollowedAgents, Proposals
from planning.situation import Situation
from roadloop.types import AgentKind, Forecasts, Tracks

Array = np.ndarray

CORRIDOR = 0.3
"""m beside the ego's box that count as its way"""
BELIEVED = 0.1
"""probability of coming into the ego's way from which a forecast one is braked for"""
FORESEEN = 3.0
"""s within which it must come"""
SAFE_HEADWAY = 0.8
"""s of headway that cost nothing"""
FIRM_BRAKING = -1.0
"""m/s^2 of a leader from which it is expected to go on braking"""


def believed_leaders(now: Situation, tracks: Tracks, forecasts: Forecasts | None) -> Array:
    """``(agents,)`` bool: leaders who really come into the ego's way.

    The route follower takes sideways motion for what will go on. Somebody who comes the other way
    and turns moves sideways, too: those are asked of the forecasts.
    """
    agents, believed = now.agents, now.leading.copy()
    if forecasts is None or not believed.any():
        return believed
    half = now.vehicle.width / 2.0 + CORRIDOR
    doubtful = believed & (agents.kind <= AgentKind.MOTORCYCLE) & (agents.speed > 1.0)
    doubtful &= (agents.speed_along < 0.5) & (agents.row < len(forecasts.probability))
    steps = np.arange(0, min(FORESEEN / forecasts.dt + 1, forecasts.x.shape[-1]), 2).astype(int)
    t = steps * forecasts.dt
    reached = now.front + (now.speed + 0.5 * t) * t + 3.0  # by an ego that speeds up
    for i in np.flatnonzero(doubtful).tolist():
        row = agents.row[i]
        x, y = forecasts.x[row][:, steps], forecasts.y[row][:, steps]
        _, s, d = now.window.project(x, y)
        size = tracks.states.width[row] / 2.0, tracks.states.length[row] / 2.0
        comes = (np.abs(d) < half + size[0]) & (s > now.front - 2.0) & (s - size[1] < reached)
        believed[i] = forecasts.probability[row][comes.any(axis=-1)].sum() >= BELIEVED
    return believed


def headway_term(judged: Proposals, followed: FollowedAgents, led: Array, front: float) -> Array:
    """(P,) in [0, 1], 1 where everybody led is `SAFE_HEADWAY` s away all the time.

    ``led`` is (P, leaders), ``front`` m from the rear axle to the front bumper.
    """
    if len(followed.s) == 0:
        return np.ones(len(judged.s))
    leaders = Leaders(followed.s, followed.speed)
    place = leaders.s + leaders.speed * judged.t[:, None]  # (T, leaders)
    gap = place - (judged.s + front)[..., None]
    headway = np.maximum(gap, 0.0) / np.maximum(judged.v, 1.0)[..., None]
    least = np.where(led[:, None], headway, np.inf).min(axis=(1, 2), initial=np.inf)
    return np.minimum(least / SAFE_HEADWAY, 1.0)
