"""What motion prediction is judged on: predictions in one table, and a benchmark's thresholds.

A *prediction* is up to six possible joint futures (modes) of one agent or of several predicted
together (members), each mode with a score. Ground truth is `AgentStates` of ``(scenarios, time,
agents)``. The benchmark is Waymo's unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, Forecasts

Array = np.ndarray

CLASSES = ("vehicle", "pedestrian", "cyclist")
"""in rising priority: a group has the class of its highest member"""
CLASS_OF_KIND = np.full(max(AgentKind) + 1, -1)
CLASS_OF_KIND[
    [AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.MOTORCYCLE]
] = 0
CLASS_OF_KIND[AgentKind.PEDESTRIAN] = 1
CLASS_OF_KIND[AgentKind.CYCLIST] = 2
"""index into CLASSES by AgentKind, -1 for kinds that are not judged"""


@dataclass(frozen=True)
class MotionBenchmark:
    """Sampling and thresholds; the defaults are those of Waymo's challenges."""

    history: int = 10
    """steps of ground truth before the present one"""
    stride: int = 5
    """steps of ground truth (0.1 s) in one step of a prediction (0.5 s)"""
    horizons: tuple[int, ...] = (5, 9, 15)
    """judged steps of a prediction: 3, 5 and 8 s"""
    lateral_limits: tuple[float, ...] = (1.0, 1.8, 3.0)
    """m at each horizon, in the frame of the true box; beyond it a mode misses"""
    longitudinal_limits: tuple[float, ...] = (2.0, 3.6, 6.0)
    """m"""
    speeds: tuple[float, float] = (1.4, 11.0)
    """m/s now, between which the share of the limits that counts rises"""
    speed_scales: tuple[float, float] = (0.5, 1.0)
    """... from this share to that"""
    max_modes: int = 6
    """modes that count; later ones are ignored, whatever their score"""
    size_now: bool = False
    """overlap: the predicted box has the agent's size now; False: its true size at each step"""
    unmeasured_is_zero: bool = True
    """what was nowhere measured is 0, as in the reference; False: NaN, as a class that is absent"""

    def __post_init__(self) -> None:
        if not len(self.horizons) == len(self.lateral_limits) == len(self.longitudinal_limits):
            raise RoadloopError("motion benchmark: expected one pair of limits for each horizon")
        if not self.horizons or min(self.horizons) < 0 or self.stride < 1 or self.max_modes < 1:
            raise RoadloopError("motion benchmark: expected a horizon, a stride and a mode or more")
        if not self.speeds[0] < self.speeds[1]:
            raise RoadloopError(f"motion benchmark: speeds {self.speeds} do not rise")


WAYMO = MotionBenchmark()
"""motion and interaction prediction challenges 2021 to 2024"""


@dataclass(frozen=True)
class MotionPredictions:
    """Predicted futures, a row for each agent or group that is predicted together."""

    scenario: Array
    """(predictions,) int, row of the ground truth"""
    agent: Array
    """(predictions, members) int, column of the ground truth"""
    present: Array
    """(predictions, members) bool, False fills up smaller groups"""
    x: Array
    """(predictions, modes, members, steps) m"""
    y: Array
    score: Array
    """(predictions, modes), at least 0; need not sum to 1"""


def from_forecasts(forecasts: Forecasts, agent: Array, wanted: Array) -> MotionPredictions:
    """Predictions of single agents: forecasts of ``(scenarios, tracks, modes, time)``.

    ``agent`` ``(scenarios, tracks)`` is each track's column in the ground truth; only tracks that
    are ``wanted`` ``(scenarios, tracks)`` are judged. The forecasts' step must be the benchmark's.
    """
    scenario, track = np.nonzero(wanted)
    return MotionPredictions(
        scenario=scenario,
        agent=agent[scenario, track][:, None],
        present=np.ones((len(scenario), 1), dtype=bool),
        x=forecasts.x[scenario, track][:, :, None],
        y=forecasts.y[scenario, track][:, :, None],
        score=forecasts.probability[scenario, track],
    )


def checked(
    predictions: MotionPredictions, truth: AgentStates, benchmark: MotionBenchmark
) -> MotionPredictions:
    """The predictions in float64 with the modes that count; RoadloopError where they do not fit."""
    p = predictions
    if np.ndim(p.x) != 4 or 0 in np.shape(p.x)[1:]:
        raise RoadloopError(
            f"predictions.x has shape {np.shape(p.x)}: expected (predictions, modes, members, "
            "steps), at least one of each of the last three"
        )
    n, modes, members, steps = np.shape(p.x)
    expected = {
        "scenario": (n,),
        "agent": (n, members),
        "present": (n, members),
        "y": (n, modes, members, steps),
        "score": (n, modes),
    }
    for name, shape in expected.items():
        if np.shape(getattr(p, name)) != shape:
            raise RoadloopError(
                f"predictions.{name} has shape {np.shape(getattr(p, name))}: expected {shape}"
            )
    if np.ndim(truth.x) != 3:
        raise RoadloopError(
            f"ground truth of shape {np.shape(truth.x)}: expected (scenarios, time, agents)"
        )
    scenarios, time, agents = truth.x.shape
    needed = benchmark.history + benchmark.stride * steps + 1
    if steps <= max(benchmark.horizons) or steps < 2 or time < needed:
        raise RoadloopError(
            f"{steps} predicted steps and {time} of ground truth: the horizons need more than "
            f"{max(benchmark.horizons)} and {needed}"
        )
    outside = (p.agent < 0) | (p.agent >= agents)
    outside |= ((p.scenario < 0) | (p.scenario >= scenarios))[:, None]
    _refuse(outside & p.present, "prediction", "is of a scenario or agent that is not in the truth")
    _refuse(~p.present.any(-1), "prediction", "has no member: leave it out")
    for name in ("x", "y"):
        bad = ~np.isfinite(getattr(p, name)) & p.present[:, None, :, None]
        _refuse(bad, "prediction, mode, member, step", f"has a {name} that is not a finite number")
    _refuse(~(np.isfinite(p.score) & (p.score >= 0.0)), "prediction, mode", "needs a score >= 0")
    names = ("x", "y", "heading", "vx", "vy", "length", "width")
    for name in names:
        bad = ~np.isfinite(getattr(truth, name))
        what = f"has a {name} that is not finite: fill what is not valid with zeros"
        _refuse(bad, "ground truth scenario, step, agent", what)
    keep = slice(benchmark.max_modes)
    return MotionPredictions(
        scenario=np.asarray(p.scenario),
        agent=np.where(p.present, p.agent, 0),
        present=np.asarray(p.present),
        x=np.where(p.present[:, None, :, None], p.x, 0.0)[:, keep].astype(np.float64),
        y=np.where(p.present[:, None, :, None], p.y, 0.0)[:, keep].astype(np.float64),
        score=p.score[:, keep].astype(np.float64),
    )


def _refuse(bad: Array | np.bool, where: str, what: str) -> None:
    if bad.any():
        raise RoadloopError(f"{where} {tuple(np.argwhere(bad)[0].tolist())} {what}")
