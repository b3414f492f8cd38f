"""The nuScenes detection score (NDS) and what it is made of: mAP and five true-positive errors.

A prediction is right where it takes the nearest ground truth of its class and sample that no
better-scored one took, nearer than a distance threshold on the ground. Definitions: Caesar et al.,
"nuScenes", CVPR 2020, section 3.1, and ``nuscenes.eval.detection`` of nuscenes-devkit 1.2.0 with
``detection_cvpr_2019``, whose numbers these functions give, with its rules for ties: of equal
scores the later prediction comes first, of equal distances the earlier ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.detection_benchmark import (
    ERRORS,
    NUSCENES,
    BoxTable,
    DetectionBenchmark,
    sorted_and_checked,
)
from roadloop.errors import RoadloopError
from roadloop.types import at

Array = np.ndarray

POINTS = 101
"""samples of a curve: recall 0, 0.01 ... 1"""


# --- true-positive errors -------------------------------------------------------------------------


def heading_difference(to: Array, start: Array, period: Array | float = 2.0 * np.pi) -> Array:
    """Smallest turn (rad) from heading ``start`` to heading ``to``, in [-period/2, period/2).

    A turn above pi, which a period of more than 2 pi leaves, is counted the other way round, as the
    reference does it.
    """
    half = np.asarray(period) / 2.0
    turn = np.mod(np.asarray(to) - np.asarray(start) + half, period) - half
    return np.where(turn > np.pi, turn - 2.0 * np.pi, turn)[()]


def aligned_iou(size: Array, other: Array) -> Array:
    """Intersection over union of boxes laid upon each other: sizes ``(..., 3)`` in m, in (0, 1]."""
    size, other = np.asarray(size, np.float64), np.asarray(other, np.float64)
    if not ((size > 0.0).all() and (other > 0.0).all()):
        raise RoadloopError("a box has a size that is not above 0 m: it has no volume to compare")
    shared = np.minimum(size, other).prod(-1)
    return shared / (size.prod(-1) + other.prod(-1) - shared)


def match_errors(truth: BoxTable, predicted: BoxTable, period: float) -> dict[str, Array]:
    """The five errors of matched boxes, row by row: ``(matches,)`` each; NaN where not defined.

    The attribute error is 0 or 1 and undefined where the ground truth has no attribute; the
    velocity error is undefined where one of the velocities is not known.
    """
    size = np.stack([truth.length, truth.width, truth.height], axis=-1)
    other = np.stack([predicted.length, predicted.width, predicted.height], axis=-1)
    wrong = (truth.attribute != predicted.attribute).astype(np.float64)
    return {
        "trans_err": _ground_distance(truth, predicted),
        "scale_err": 1.0 - aligned_iou(size, other),
        "orient_err": np.abs(heading_difference(truth.heading, predicted.heading, period)),
        "vel_err": np.hypot(predicted.vx - truth.vx, predicted.vy - truth.vy),
        "attr_err": np.where(truth.attribute == "", np.nan, wrong),
    }


def _ground_distance(truth: BoxTable, predicted: BoxTable) -> Array:
    dx, dy = predicted.x - truth.x, predicted.y - truth.y
    return np.sqrt(dx * dx + dy * dy)


# --- matching -------------------------------------------------------------------------------------


def best_first(score: Array) -> Array:
    """Order of predictions by falling score; of equal scores the later one comes first."""
    return np.argsort(score, kind="stable")[::-1]


def match(truth: BoxTable, predicted: BoxTable, distances: Sequence[float]) -> Array:
    """Ground truth that each prediction takes, ``(distances, predictions)`` int; -1 takes none.

    Both tables hold one class. The best-scored prediction chooses first: the nearest ground truth
    of its sample (ties: the earlier) that is not taken and nearer than the distance (m).
    """
    pairs = _near_pairs(truth, predicted, max(distances))
    rank = np.empty(len(predicted.score), np.int64)
    rank[best_first(predicted.score)] = np.arange(len(rank))
    away = _ground_distance(at(truth, pairs[1]), at(predicted, pairs[0]))
    order = np.lexsort((pairs[1], away, rank[pairs[0]]))
    wanting, wanted, away = pairs[0][order], pairs[1][order], away[order]
    taken_by = np.full((len(distances), len(rank)), -1)
    for i, distance in enumerate(distances):
        near = away < distance
        free = [True] * len(truth.x)
        partner = [-1] * len(rank)
        # A pair at a time: who comes first decides what is left for the others.
        for p, t in zip(wanting[near].tolist(), wanted[near].tolist()):
            if free[t] and partner[p] < 0:
                free[t] = False
                partner[p] = t
        taken_by[i] = partner
    return taken_by


def _near_pairs(truth: BoxTable, predicted: BoxTable, radius: float) -> tuple[Array, Array]:
    """Indices (prediction, ground truth) of the same sample that may be nearer than ``radius``."""
    if not len(truth.x) or not len(predicted.x):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    from scipy.spatial import KDTree

    # Samples lie on floors too far apart to see each other.
    trees = [
        KDTree(np.stack([t.x, t.y, t.sample * (4.0 * radius)], axis=-1)) for t in (predicted, truth)
    ]
    reach = radius * (1.0 + 1e-9)
    near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
    return near["i"], near["j"]


# --- curves ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DetectionCurve:
    """One class at one distance over recall 0, 0.01 ... 1; every array ``(101,)``."""

    precision: Array
    """0 beyond the recall that was reached"""
    confidence: Array
    """score of the prediction that reaches the recall; 0 beyond"""
    errors: dict[str, Array]
    """mean of each error over the matches down to that confidence; 1 where there is no match"""

    @property
    def last(self) -> int:
        """Index of the highest recall reached."""
        reached = np.flatnonzero(self.confidence)
        return int(reached[-1]) if len(reached) else 0


def _running_mean(error: Array) -> Array:
    """Mean of the defined values so far: 0 before the first, 1 everywhere where there is none."""
    known = ~np.isnan(error)
    if not known.any():
        return np.ones(len(error))
    count = known.cumsum()
    return np.where(known, error, 0.0).cumsum() / np.maximum(count, 1)


def detection_curve(
    truth: BoxTable, predicted: BoxTable, partner: Array, period: float = 2.0 * np.pi
) -> DetectionCurve:
    """The curve of one class from the ground truth that each prediction took (`match`)."""
    order = best_first(predicted.score)
    hit = partner[order] >= 0
    if not hit.any():
        zeros = np.zeros(POINTS)
        return DetectionCurve(zeros, zeros, {name: np.ones(POINTS) for name in ERRORS})
    right = np.cumsum(hit, dtype=np.float64)
    score = predicted.score[order].astype(np.float64)
    recall = np.linspace(0.0, 1.0, POINTS)
    reached = right / len(truth.x)
    precision = np.interp(recall, reached, right / np.arange(1, len(hit) + 1), right=0.0)
    confidence = np.interp(recall, reached, score, right=0.0)
    chosen = order[hit]
    errors = match_errors(at(truth, partner[chosen]), at(predicted, chosen), period)
    # np.interp wants rising abscissas, confidence falls.
    falling = score[hit][::-1]
    return DetectionCurve(
        precision,
        confidence,
        {
            name: np.interp(confidence[::-1], falling, _running_mean(error)[::-1])[::-1]
            for name, error in errors.items()
        },
    )


def average_precision(curve: DetectionCurve, benchmark: DetectionBenchmark = NUSCENES) -> float:
    """AP in [0, 1]: mean of (precision - p) / (1 - p), at least 0, over the recalls above r.

    p and r are the benchmark's least precision and recall, both 0.1 in nuScenes.
    """
    start = round((POINTS - 1) * benchmark.min_recall) + 1
    above = np.maximum(curve.precision[start:] - benchmark.min_precision, 0.0)
    return float(above.mean() / (1.0 - benchmark.min_precision))


def true_positive_error(
    curve: DetectionCurve, error: str, benchmark: DetectionBenchmark = NUSCENES
) -> float:
    """Mean of an error's curve from above the least recall to the highest recall reached.

    1.0 where the least recall is not reached.
    """
    start = round((POINTS - 1) * benchmark.min_recall) + 1
    if curve.last < start:
        return 1.0
    return float(curve.errors[error][start : curve.last + 1].mean())


# --- the score ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DetectionMetrics:
    """What a detector's output on a data set is worth; names as in the benchmark's own report."""

    benchmark: DetectionBenchmark
    label_aps: dict[str, dict[float, float]]
    """class -> distance (m) -> AP in [0, 1]"""
    mean_dist_aps: dict[str, float]
    """class -> mean AP over the distances"""
    mean_ap: float
    """mAP, mean over the classes"""
    label_tp_errors: dict[str, dict[str, float]]
    """class -> error -> value; NaN where the error means nothing for the class"""
    tp_errors: dict[str, float]
    """error -> mean over the classes that have it"""
    tp_scores: dict[str, float]
    """error -> max(0, 1 - error)"""
    nds: float
    """nuScenes detection score in [0, 1]: (5 mAP + sum of the five error scores) / 10"""
    curves: dict[tuple[str, float], DetectionCurve]
    """(class, distance) -> curve"""


def evaluate_detections(
    truth: BoxTable, predicted: BoxTable, benchmark: DetectionBenchmark = NUSCENES
) -> DetectionMetrics:
    """Judge the predicted boxes of a data set; nothing is left out by range (see `in_range`).

    Raises RoadloopError for a number that is not finite, a size that is not above 0, a score
    outside [0, 1], a label the benchmark does not have, or too many boxes in a sample. Without any
    ground truth all APs are 0 and all errors 1, unless ``absent_classes_count`` is off: then there
    is nothing to judge.
    """
    truth = sorted_and_checked(truth, "ground truth", benchmark)
    predicted = sorted_and_checked(predicted, "prediction", benchmark)
    curves: dict[tuple[str, float], DetectionCurve] = {}
    aps: dict[str, dict[float, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for label, kind in enumerate(benchmark.classes):
        wanted = at(truth, np.flatnonzero(truth.label == label))
        found = at(predicted, np.flatnonzero(predicted.label == label))
        absent = not len(wanted.x) and not benchmark.absent_classes_count
        partners = match(wanted, found, benchmark.distances)
        for distance, partner in zip(benchmark.distances, partners):
            curve = detection_curve(wanted, found, partner, kind.heading_period)
            curves[kind.name, distance] = curve
            ap = np.nan if absent else average_precision(curve, benchmark)
            aps.setdefault(kind.name, {})[distance] = ap
        at_distance = curves[kind.name, benchmark.error_distance]
        errors[kind.name] = {
            name: np.nan
            if absent or name in kind.undefined_errors
            else true_positive_error(at_distance, name, benchmark)
            for name in benchmark.errors
        }
    mean_dist_aps = {name: float(np.mean(list(by.values()))) for name, by in aps.items()}
    mean_ap = _mean_of_known(list(mean_dist_aps.values()), "average precision")
    tp_errors = {
        name: _mean_of_known([by[name] for by in errors.values()], name)
        for name in benchmark.errors
    }
    tp_scores = {name: max(0.0, 1.0 - error) for name, error in tp_errors.items()}
    weight = benchmark.mean_ap_weight
    nds = (weight * mean_ap + sum(tp_scores.values())) / (weight + len(tp_scores))
    return DetectionMetrics(
        benchmark, aps, mean_dist_aps, mean_ap, errors, tp_errors, tp_scores, nds, curves
    )


def _mean_of_known(values: Sequence[float], name: str) -> float:
    known = [v for v in values if not np.isnan(v)]
    if not known:
        raise RoadloopError(
            f"no class with ground truth has a {name}: there is nothing to judge; give ground truth"
        )
    return float(np.mean(known))
