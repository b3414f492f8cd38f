"""Waymo's motion prediction measures: minADE, minFDE, miss rate, overlap rate, mAP and soft mAP.

Several possible joint futures (modes) of one agent or of several predicted together (members) are
judged; a joint mode is as good as all its members together. Definitions: Ettinger et al., "Large
Scale Interactive Motion Forecasting", ICCV 2021, section 4, and ``metrics/motion_metrics.cc`` of
the Waymo open data set 1.6.7, whose numbers these functions give. Every measure is broken down by
road user class and horizon (3, 5 and 8 s).

`measure` judges predictions one by one, `pool` puts the judgements of many files together and
`summarise` averages them; `motion_metrics` is measure and summarise at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from perception.motion_benchmark import (
    CLASS_OF_KIND,
    CLASSES,
    WAYMO,
    MotionBenchmark,
    MotionPredictions,
    checked,
)
from perception.motion_shapes import PathShape, path_shapes
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners, boxes_overlap
from roadloop.types import AgentStates, at

Array = np.ndarray


@dataclass(frozen=True)
class MotionMeasurements:
    """What was measured of each prediction; NaN where ground truth was missing to measure it."""

    scenario: Array
    """(predictions,) int"""
    kind: Array
    """(predictions,) int index into CLASSES, -1 for others"""
    shape: Array
    """(predictions,) PathShape of the true path"""
    shaped: Array
    """(predictions,) bool, False where the true path is too short to have a shape"""
    score: Array
    """(predictions, modes)"""
    min_ade: Array
    """(predictions, horizons) m"""
    min_fde: Array
    """(predictions, horizons) m"""
    missed: Array
    """(predictions, horizons) 0 or 1"""
    overlapped: Array
    """(predictions, horizons) 0 or 1"""
    matched: Array
    """(predictions, modes, horizons) 0 or 1: the mode ends within the limits"""


@dataclass(frozen=True)
class MotionMetrics:
    """The averages; arrays ``(classes, horizons)``, NaN where no prediction is of that class."""

    classes: tuple[str, ...]
    horizons: tuple[int, ...]
    """steps of a prediction"""
    min_ade: Array
    """m"""
    min_fde: Array
    """m"""
    miss_rate: Array
    """in [0, 1]"""
    overlap_rate: Array
    """in [0, 1]"""
    mean_average_precision: Array
    """in [0, 1]: further right modes of a prediction count as wrong"""
    soft_mean_average_precision: Array
    """in [0, 1]: further right modes of a prediction count as nothing"""
    predictions: Array = field(repr=False)
    """predictions of the class"""


def motion_metrics(
    predictions: MotionPredictions, truth: AgentStates, benchmark: MotionBenchmark = WAYMO
) -> MotionMetrics:
    """All measures of predictions against ground truth ``(scenarios, time, agents)``."""
    return summarise(measure(predictions, truth, benchmark), benchmark)


# --- one prediction -------------------------------------------------------------------------------


def measure(
    predictions: MotionPredictions, truth: AgentStates, benchmark: MotionBenchmark = WAYMO
) -> MotionMeasurements:
    """Judge each prediction by itself.

    ``truth`` is ``(scenarios, time, agents)`` at 10 Hz with the present at ``benchmark.history``;
    scenarios with fewer agents are filled up with invalid ones. RoadloopError for shapes or indices
    that do not fit, for predictions, scores or valid states that are not finite, and for a score
    below 0.
    """
    own = checked(predictions, truth, benchmark)
    steps = benchmark.history + benchmark.stride * (1 + np.arange(own.x.shape[-1]))

    def of_members(value: Array) -> Array:  # (predictions, members, time)
        return value[own.scenario[:, None], :, own.agent]

    member = AgentStates(**{f.name: of_members(getattr(truth, f.name)) for f in fields(truth)})
    ahead = at(member, (..., steps))
    dx = own.x - ahead.x[:, None]  # (predictions, modes, members, steps)
    dy = own.y - ahead.y[:, None]
    away = np.hypot(dx, dy)
    seen = ahead.valid  # (predictions, members, steps)
    horizons = list(benchmark.horizons)

    # mean over the steps seen up to each horizon, then over the members, all of which must have one
    count = seen.cumsum(-1)[..., horizons]
    total = np.where(seen[:, None], away, 0.0).cumsum(-1)[..., horizons]
    average = total / np.maximum(count, 1)[:, None]
    min_ade = _best_mode(average, count > 0, own.present)
    min_fde = _best_mode(away[..., horizons], seen[..., horizons], own.present)

    end = at(ahead, (..., horizons))
    cos, sin = np.cos(end.heading)[:, None], np.sin(end.heading)[:, None]
    dx, dy = dx[..., horizons], dy[..., horizons]
    now = at(member, (..., benchmark.history))
    scale = np.interp(now.speed, benchmark.speeds, benchmark.speed_scales)[:, None, :, None]
    lateral = np.abs(cos * dy - sin * dx) / scale
    longitudinal = np.abs(cos * dx + sin * dy) / scale
    inside = (lateral <= benchmark.lateral_limits) & (longitudinal <= benchmark.longitudinal_limits)
    absent = ~own.present[..., None]
    measured = np.all(end.valid | absent, axis=-2)  # (predictions, horizons)
    matched = (inside | absent[:, None]).all(-2).astype(np.float64)
    matched = np.where(measured[:, None], matched, np.nan)

    shape, shaped = path_shapes(
        member.x, member.y, member.heading, member.vx, member.vy, member.valid, benchmark.history
    )
    shaped &= own.present
    kind = np.where(own.present, CLASS_OF_KIND[now.kind], -1)
    return MotionMeasurements(
        scenario=own.scenario,
        kind=kind.max(-1),
        shape=np.where(shaped, shape, PathShape.STANDING).max(-1),
        shaped=np.any(shaped, axis=-1),
        score=own.score,
        min_ade=min_ade,
        min_fde=min_fde,
        missed=np.where(measured, 1.0 - matched.max(1), np.nan),
        overlapped=_overlapped(own, truth, ahead, now, steps, benchmark),
        matched=matched,
    )


def _best_mode(error: Array, known: Array, present: Array) -> Array:
    """Least over the modes of the members' mean error; NaN where a member has none.

    ``error (predictions, modes, members, horizons)``, ``known (predictions, members, horizons)``,
    ``present (predictions, members)`` -> ``(predictions, horizons)``.
    """
    counts = present[..., None]
    mean = np.where(counts[:, None], error, 0.0).sum(-2) / counts.sum(-2)[:, None]
    return np.where((known | ~counts).all(-2), mean.min(1), np.nan)


def _overlapped(
    own: MotionPredictions,
    truth: AgentStates,
    ahead: AgentStates,
    now: AgentStates,
    steps: Array,
    benchmark: MotionBenchmark,
) -> Array:
    """Whether the best-scored mode has hit a true box by each horizon: ``(predictions, horizons)``.

    Other agents count where they are valid now and at the step.
    """
    rows, best = np.arange(len(own.scenario)), own.score.argmax(1)
    last = max(benchmark.horizons) + 1
    x, y = own.x[rows, best], own.y[rows, best]  # (predictions, members, steps)
    heading = travel_headings(x, y)
    size = at(now, (..., None)) if benchmark.size_now else ahead
    length, width = np.broadcast_to(size.length, x.shape), np.broadcast_to(size.width, x.shape)

    mine = [value[..., :last, None] for value in (x, y, heading, length, width)]

    def of_others(value: Array) -> Array:  # (predictions, 1, steps, agents)
        return value[own.scenario[:, None], steps[:last]][:, None]

    columns = (truth.x, truth.y, truth.heading, truth.length, truth.width)
    theirs = [of_others(value) for value in columns]
    near = of_others(truth.valid & truth.valid[:, benchmark.history : benchmark.history + 1])
    near = near & (np.arange(truth.x.shape[-1]) != own.agent[..., None, None])
    near &= own.present[..., None, None]
    reach = 0.5 * (np.hypot(mine[3], mine[4]) + np.hypot(theirs[3], theirs[4]))
    near &= np.hypot(theirs[0] - mine[0], theirs[1] - mine[1]) <= reach
    for box in (mine, theirs):  # a box without an area overlaps nothing
        near &= (box[3] > 0.0) & (box[4] > 0.0)
    found = np.nonzero(near)
    corners = [
        box_corners(*(np.broadcast_to(value, near.shape)[found] for value in box))
        for box in (mine, theirs)
    ]
    hit = np.zeros(near.shape, dtype=bool)
    hit[found] = boxes_overlap(corners[0], corners[1], tolerance=-1e-9)  # touching is no overlap
    by_step = np.maximum.accumulate(hit.any((1, 3)), axis=-1)
    return by_step[:, list(benchmark.horizons)].astype(np.float64)


def travel_headings(x: Array, y: Array) -> Array:
    """Heading (rad) at positions ``(..., steps)``: mean direction of the steps before and after.

    The ends have one step only; a step without movement points along +x, as in the reference.
    """
    step = np.arctan2(np.diff(y, axis=-1), np.diff(x, axis=-1))
    sin, cos = np.sin(step), np.cos(step)
    mean = np.arctan2(sin[..., 1:] + sin[..., :-1], cos[..., 1:] + cos[..., :-1])
    return np.concatenate([step[..., :1], mean, step[..., -1:]], axis=-1)


# --- all of them ----------------------------------------------------------------------------------


def pool(parts: Sequence[MotionMeasurements]) -> MotionMeasurements:
    """Measurements of several sets as one; scenarios are numbered on."""
    if not parts:
        raise RoadloopError("no measurements to pool: measure at least one set of predictions")
    starts = np.cumsum([0] + [int(p.scenario.max(initial=-1)) + 1 for p in parts[:-1]])
    moved = [replace(p, scenario=p.scenario + start) for p, start in zip(parts, starts)]
    if len({p.matched.shape[1:] for p in moved}) > 1:
        raise RoadloopError("measurements of different numbers of modes or horizons cannot pool")
    names = [f.name for f in fields(MotionMeasurements)]
    return MotionMeasurements(*(np.concatenate([getattr(p, n) for p in moved]) for n in names))


def summarise(
    measurements: MotionMeasurements, benchmark: MotionBenchmark = WAYMO
) -> MotionMetrics:
    """Averages over all predictions of each class and horizon.

    One scenario's averages are those of ``at(measurements, measurements.scenario == number)``.
    """
    means = {name: [] for name in ("min_ade", "min_fde", "missed", "overlapped", "hard", "soft")}
    counts = []
    for kind in range(len(CLASSES)):
        own = at(measurements, np.flatnonzero(measurements.kind == kind))
        counts.append(len(own.kind))
        for name in ("min_ade", "min_fde", "missed", "overlapped"):
            means[name].append(_mean(getattr(own, name), benchmark))
        for name in ("hard", "soft"):
            row = [
                mean_average_precision(own, horizon, soft=name == "soft")
                for horizon in range(len(benchmark.horizons))
            ]
            empty = 0.0 if benchmark.unmeasured_is_zero and len(own.kind) else np.nan
            means[name].append(np.array([empty if ap is None else ap for ap in row]))
    table = {name: np.stack(rows) for name, rows in means.items()}
    return MotionMetrics(
        classes=CLASSES,
        horizons=benchmark.horizons,
        min_ade=table["min_ade"],
        min_fde=table["min_fde"],
        miss_rate=table["missed"],
        overlap_rate=table["overlapped"],
        mean_average_precision=table["hard"],
        soft_mean_average_precision=table["soft"],
        predictions=np.array(counts),
    )


def _mean(values: Array, benchmark: MotionBenchmark) -> Array:
    """Mean of the known values ``(predictions, horizons)`` -> ``(horizons,)``."""
    known = ~np.isnan(values)
    count = known.sum(0)
    empty = 0.0 if benchmark.unmeasured_is_zero and len(values) else np.nan
    total = np.where(known, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), empty)


def mean_average_precision(
    measurements: MotionMeasurements, horizon: int, soft: bool = False
) -> float | None:
    """Mean over the path shapes that occur of the average precision of the modes; None: none does.

    ``horizon`` is the place in the benchmark's list. Of a prediction's matching modes the best
    scored is right, the others are wrong, or left out (``soft``). Right U-turns are right turns.
    """
    shape = np.where(
        measurements.shape == PathShape.RIGHT_U_TURN, PathShape.RIGHT_TURN, measurements.shape
    )
    matched = measurements.matched[..., horizon]
    usable = measurements.shaped & ~np.isnan(matched).any(-1)
    precisions = []
    for kind in PathShape:
        rows = np.flatnonzero(usable & (shape == kind))
        if not len(rows):
            continue
        score, match = measurements.score[rows], matched[rows] == 1.0
        ranked = np.where(match, score, -np.inf)
        right = match & (np.arange(score.shape[1]) == ranked.argmax(1)[:, None])
        counted = right | ~match if soft else np.ones_like(match)
        precisions.append(average_precision(score[counted], right[counted], len(rows)))
    return float(np.mean(precisions)) if precisions else None


def average_precision(score: Array, right: Array, positives: int) -> float:
    """Area under the precision over recall, each precision raised to the best at higher recall.

    ``score`` and ``right`` are ``(samples,)``; ``positives`` is how many could be right. Of equal
    scores the wrong ones come first. Everingham et al., "The PASCAL VOC Challenge", IJCV 2010.
    """
    order = np.lexsort((right, -score))
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * envelope).sum() / positives)
