"""How far forecasts are from what happened: the measures of Argoverse 2 motion forecasting.

Positions are metres in one common frame. ``forecast`` is ``(..., modes, time, 2)``: several
possible futures of one agent; ``truth`` is ``(..., time, 2)``: the future that came. A *world* is
one joint future of several agents: ``forecast`` ``(..., agents, modes, time, 2)``, where mode ``k``
of every agent together is world ``k``, and ``truth`` ``(..., agents, time, 2)``. Definitions:
Wilson et al., "Argoverse 2", NeurIPS 2021, and ``av2.datasets.motion_forecasting.eval.metrics`` of
av2 0.3.6, whose numbers these functions give. The benchmark takes 6 modes of 60 steps at 10 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Forecasts

Array = np.ndarray

MISS_DISTANCE = 2.0
"""m at the last step, above which a forecast missed (Argoverse 2)"""
COLLISION_DISTANCE = 1.0
"""m between two agents' centres, below which they collide (Argoverse 2)"""


def positions(forecasts: Forecasts) -> Array:
    """``(..., tracks, modes, time, 2)`` positions of forecasts, m."""
    return np.stack([forecasts.x, forecasts.y], axis=-1)


def _checked(forecast: Array, truth: Array) -> tuple[Array, Array]:
    """Both as float64; RoadloopError where shapes do not fit or a number is not finite."""
    forecast, truth = np.asarray(forecast, np.float64), np.asarray(truth, np.float64)
    fits = forecast.ndim >= 3 and forecast.shape[-1] == 2 and truth.ndim >= 2
    if not fits or truth.shape != (*forecast.shape[:-3], *forecast.shape[-2:]):
        raise RoadloopError(
            f"forecast of shape {forecast.shape} for a truth of shape {truth.shape}: expected "
            "(..., modes, time, 2) and (..., time, 2)"
        )
    if 0 in forecast.shape[-3:-1]:
        raise RoadloopError(
            f"forecast of shape {forecast.shape} has no mode or no step: nothing to judge"
        )
    for name, value in (("forecast", forecast), ("truth", truth)):
        if not np.isfinite(value).all():
            where = tuple(np.argwhere(~np.isfinite(value))[0].tolist())
            raise RoadloopError(
                f"{name} is not a finite number at index {where}: leave out what was not observed"
            )
    return forecast, truth


def displacement(forecast: Array, truth: Array) -> Array:
    """Distance (m) between forecast and truth at every step: ``(..., modes, time)``."""
    forecast, truth = _checked(forecast, truth)
    return np.linalg.norm(forecast - truth[..., None, :, :], axis=-1)


def ade(forecast: Array, truth: Array) -> Array:
    """Average displacement error, m: the mean distance over all steps, ``(..., modes)``."""
    return displacement(forecast, truth).mean(-1)


def fde(forecast: Array, truth: Array) -> Array:
    """Final displacement error, m: the distance at the last step, ``(..., modes)``."""
    return displacement(forecast, truth)[..., -1]


def missed(forecast: Array, truth: Array, distance: float = MISS_DISTANCE) -> Array:
    """Whether each mode ends more than ``distance`` m from the truth: ``(..., modes)`` bool."""
    return np.greater(fde(forecast, truth), distance)


def brier_penalty(probability: Array, normalise: bool = False) -> Array:
    """``(1 - p)^2`` of every mode, as if it were the right one; no unit.

    ``probability`` is ``(..., modes)`` in [0, 1]; it need not sum to 1 and is taken as it is, or
    first divided by its sum (``normalise``).
    """
    probability = np.asarray(probability, np.float64)
    outside = ~((probability >= 0.0) & (probability <= 1.0))
    if outside.any():
        where = tuple(np.argwhere(outside)[0].tolist())
        raise RoadloopError(
            f"probability at index {where} is {probability[where]}: expected a share in [0, 1]"
        )
    if normalise:
        total = probability.sum(-1, keepdims=True)
        if not (total > 0.0).all():
            raise RoadloopError("probabilities sum to 0: they cannot be normalised")
        probability = probability / total
    return np.square(1.0 - probability)


def brier_ade(forecast: Array, truth: Array, probability: Array, normalise: bool = False) -> Array:
    """ADE (m) plus the Brier penalty of the mode: ``(..., modes)``."""
    error = ade(forecast, truth)
    return error + _penalty_like(error, probability, normalise)


def brier_fde(forecast: Array, truth: Array, probability: Array, normalise: bool = False) -> Array:
    """FDE (m) plus the Brier penalty of the mode: ``(..., modes)``."""
    error = fde(forecast, truth)
    return error + _penalty_like(error, probability, normalise)


def _penalty_like(error: Array, probability: Array, normalise: bool) -> Array:
    penalty = brier_penalty(probability, normalise)
    if penalty.shape != error.shape:
        raise RoadloopError(
            f"probability of shape {penalty.shape} for modes of shape {error.shape}: "
            "expected one for each mode"
        )
    return penalty


def min_ade(forecast: Array, truth: Array, of_best_end: bool = False) -> Array:
    """minADE, m: the least ADE over the modes, ``(...)``.

    ``of_best_end``: the ADE of the mode whose last step is nearest to the truth, as Argoverse 1
    defined it, instead of the least ADE of all.
    """
    distance = displacement(forecast, truth)
    error = distance.mean(-1)
    if of_best_end:
        best = distance[..., -1].argmin(-1)
        return np.take_along_axis(error, best[..., None], axis=-1)[..., 0]
    return error.min(-1)


def min_fde(forecast: Array, truth: Array) -> Array:
    """minFDE, m: the least FDE over the modes, ``(...)``."""
    return fde(forecast, truth).min(-1)


def brier_min_fde(
    forecast: Array, truth: Array, probability: Array, normalise: bool = False
) -> Array:
    """brier-minFDE, m: FDE plus Brier penalty of the mode with the least FDE (ties: the first).

    Not the least brier-FDE: an improbable mode that ends well is paid for. Shape ``(...)``.
    """
    error = fde(forecast, truth)
    total = error + _penalty_like(error, probability, normalise)
    best = error.argmin(-1)
    return np.take_along_axis(total, best[..., None], axis=-1)[..., 0]


def missed_by_all(forecast: Array, truth: Array, distance: float = MISS_DISTANCE) -> Array:
    """Whether no mode ends within ``distance`` m: ``(...)`` bool; its mean is the miss rate."""
    return np.asarray(missed(forecast, truth, distance).all(-1))


def most_probable(forecast: Array, probability: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` most probable modes of each agent (all, where there are fewer).

    ``forecast (..., modes, time, 2)`` and ``probability (..., modes)``, most probable first (ties:
    in the given order). Leaderboards judge 1 and 6 modes.
    """
    forecast, probability = np.asarray(forecast), np.asarray(probability)
    if count < 1 or probability.shape != forecast.shape[:-2]:
        raise RoadloopError(
            f"{count} modes of a forecast of shape {forecast.shape} with probabilities of shape "
            f"{probability.shape}: expected at least 1 and one probability for each mode"
        )
    first = np.argsort(-probability, axis=-1, kind="stable")[..., :count]
    picked = np.take_along_axis(forecast, first[..., None, None], axis=-3)
    return picked, np.take_along_axis(probability, first, axis=-1)


# --- worlds: joint futures of several agents ------------------------------------------------------


def world_ade(forecast: Array, truth: Array) -> Array:
    """Mean over the agents of the ADE in each world, m: ``(..., modes)``."""
    return _over_agents(ade(forecast, truth))


def world_fde(forecast: Array, truth: Array) -> Array:
    """Mean over the agents of the FDE in each world, m: ``(..., modes)``."""
    return _over_agents(fde(forecast, truth))


def world_missed(forecast: Array, truth: Array, distance: float = MISS_DISTANCE) -> Array:
    """Whether each agent's forecast missed in each world: ``(..., agents, modes)`` bool."""
    return missed(forecast, truth, distance)


def world_brier_fde(
    forecast: Array, truth: Array, probability: Array, normalise: bool = False
) -> Array:
    """World FDE (m) plus the Brier penalty of the world: ``(..., modes)``.

    ``probability`` is ``(..., modes)``, one for each world.
    """
    error = world_fde(forecast, truth)
    return error + _penalty_like(error, probability, normalise)


def world_collisions(forecast: Array, distance: float = COLLISION_DISTANCE) -> Array:
    """Whether an agent comes nearer than ``distance`` m to another: ``(..., agents, modes)`` bool.

    Both positions are forecasts of the same world and step.
    """
    forecast = np.asarray(forecast, np.float64)
    if forecast.ndim < 4 or forecast.shape[-1] != 2:
        raise RoadloopError(
            f"forecast of shape {forecast.shape}: expected (..., agents, modes, time, 2)"
        )
    if not np.isfinite(forecast).all():
        where = tuple(np.argwhere(~np.isfinite(forecast))[0].tolist())
        raise RoadloopError(f"forecast is not a finite number at index {where}")
    collided = np.zeros(forecast.shape[:-2], dtype=bool)
    for a in range(forecast.shape[-4]):
        others = np.delete(forecast, a, axis=-4)
        away = np.linalg.norm(others - forecast[..., a : a + 1, :, :, :], axis=-1)
        collided[..., a, :] = (away < distance).any(-1).any(-2)
    return collided


def _over_agents(error: Array) -> Array:
    if error.ndim < 2 or not error.shape[-2]:
        raise RoadloopError(
            f"errors of shape {error.shape}: a world needs at least one agent, "
            "(..., agents, modes, time, 2)"
        )
    return error.mean(-2)


# --- all of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ForecastMetrics:
    """The measures of a set of agents; arrays ``(...)``, one for each agent."""

    min_ade: Array
    """m"""
    min_fde: Array
    """m"""
    brier_min_fde: Array
    """m, plus the penalty"""
    missed: Array
    """bool, by all modes"""

    def summary(self) -> dict[str, float | None]:
        """Means over the agents as leaderboards list them; None where there is no agent."""
        named = {
            "minADE": self.min_ade,
            "minFDE": self.min_fde,
            "brier-minFDE": self.brier_min_fde,
            "miss rate": self.missed,
        }
        return {name: float(v.mean()) if v.size else None for name, v in named.items()}


def forecast_metrics(forecast: Array, truth: Array, probability: Array) -> ForecastMetrics:
    """All single-agent measures of ``forecast (..., modes, time, 2)`` against what happened."""
    return ForecastMetrics(
        min_ade=min_ade(forecast, truth),
        min_fde=min_fde(forecast, truth),
        brier_min_fde=brier_min_fde(forecast, truth, probability),
        missed=missed_by_all(forecast, truth),
    )
