"""How good detections are: average precision on what can be seen, errors, believed spreads.

A detection takes an object once and for all (`perception.object_tables`); what lies in a band of
distance, a sector or a drive is counted afterwards:

* to be found: the judged objects in it;
* right: detections that took one of them;
* false: detections in it that took nothing.

Average precision is the mean of the precision at recalls of 0.01, 0.02 ... 1: 1 for a detector that
finds all objects and nothing else, and nothing is cut off as in the nuScenes score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.detection_benchmark import DetectionBenchmark, DetectionClass, in_range
from perception.detection_metrics import (
    DetectionMetrics,
    best_first,
    evaluate_detections,
    match_errors,
)
from perception.detector_config import ObjectClass
from perception.object_tables import DISTANCES, FALSE, IGNORED, Pool
from roadloop.types import at

Array = np.ndarray

ERROR_DISTANCE = 2.0
"""m, of the matches whose errors are looked at"""
VELOCITY_RANGE = 32.0
"""m from the ego up to which errors of velocity are looked at"""
MOVING = 1.0
"""m/s from which an object counts as moving"""
SECTOR_EDGE = np.deg2rad(30.0)
"""rad, between the sectors front and left, front and right"""
SECTOR_ORIGIN = 1.6
"""m ahead of the rear axle, where the sectors are seen from: about where cameras are"""
RECALLS = np.arange(1, 101) / 100.0
POINT_EPSILON = 1e-9
"""recalls are ratios of whole numbers: 0.29 must be reached by 29 of 100"""

NUSCENES_CLASSES = DetectionBenchmark(
    name="nuScenes rules on four classes",
    classes=(
        DetectionClass("vehicle", 50.0),
        DetectionClass("cyclist", 40.0),
        DetectionClass("pedestrian", 40.0),
        DetectionClass(
            "obstacle", 30.0, heading_period=np.pi, undefined_errors=("orient_err", "vel_err")
        ),
    ),
    errors=("trans_err", "scale_err", "orient_err", "vel_err"),
    absent_classes_count=False,
)
"""nuScenes' rules on `ObjectClass`: car, truck, bus, trailer and construction vehicle are one class
(vehicle), so are bicycle and motorcycle (cyclist), barrier and traffic cone (obstacle). There are
no attributes: NDS is (5 mAP + the four other scores) / 9, which no public table compares with.
"""


# --- places ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """A part of the ego's surroundings."""

    name: str
    ahead: tuple[float, float] = (-np.inf, np.inf)
    """m, x in the ego frame: from, and below"""
    bearing: tuple[float, float] = (-np.inf, np.inf)
    """rad to the left of straight ahead, seen from `SECTOR_ORIGIN`: from, and below"""

    def holds(self, x: Array, y: Array) -> Array:
        """(n,) bool."""
        angle = np.arctan2(y, x - SECTOR_ORIGIN)
        within = (x >= self.ahead[0]) & (x < self.ahead[1])
        return within & (angle >= self.bearing[0]) & (angle < self.bearing[1])


EVERYWHERE = Region("all")
BANDS = (
    Region("0-16 m", (0.0, 16.0)),
    Region("16-32 m", (16.0, 32.0)),
    Region("32-48 m", (32.0, 48.0)),
)
SECTORS = (
    Region("left", bearing=(SECTOR_EDGE, np.inf)),
    Region("front", bearing=(-SECTOR_EDGE, SECTOR_EDGE)),
    Region("right", bearing=(-np.inf, -SECTOR_EDGE)),
)


# --- average precision ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcomes:
    """The detections of one class that count at one distance, best first, and what was to find."""

    hit: Array
    """(n,) bool: right, else false"""
    score: Array
    row: Array
    """(n,) row in the pool's detections"""
    drive: Array
    wanted: Array
    """(drives,) objects to be found"""


def outcomes(
    pool: Pool,
    label: ObjectClass,
    distance: float = ERROR_DISTANCE,
    region: Region = EVERYWHERE,
    drives: Array | None = None,
) -> Outcomes:
    """What counts in a region and in some drives ((drives,) bool, None: in all)."""
    chosen = np.ones(pool.drives, bool) if drives is None else drives
    here = pool.judged & (pool.truth.label == label) & region.holds(pool.truth.x, pool.truth.y)
    wanted = np.bincount(pool.truth_drive[here], minlength=pool.drives) * chosen
    partner = pool.partner[DISTANCES.index(distance)]
    mine = (pool.found.label == label) & chosen[pool.found_drive]
    hit = mine & (partner >= 0)
    hit[hit] = here[partner[hit]]
    wrong = mine & (partner == FALSE) & region.holds(pool.found.x, pool.found.y)
    rows = np.flatnonzero(hit | wrong)
    rows = rows[best_first(pool.found.score[rows])]
    return Outcomes(hit[rows], pool.found.score[rows], rows, pool.found_drive[rows], wanted)


def average_precision(found: Outcomes, weights: Array | None = None) -> float:
    """AP in [0, 1]; NaN where there is nothing to find.

    ``weights`` (drives,): how often each drive counts, for resampling.
    """
    weight = np.ones(len(found.wanted)) if weights is None else weights
    total = float(found.wanted @ weight)
    if total <= 0.0:
        return float("nan")
    counted = weight[found.drive]
    right = np.cumsum(counted * found.hit)
    if not len(right) or right[-1] <= 0.0:
        return 0.0
    precision = right / np.maximum(np.cumsum(counted), POINT_EPSILON)
    reached = right / total
    return float(np.interp(RECALLS - POINT_EPSILON, reached, precision, right=0.0).mean())


def draws(drives: int, resamples: int = 400, seed: int = 0) -> Array:
    """(resamples, drives) how often each drive is drawn: n - 1 draws of n, as `roadloop.stats`."""
    rng = np.random.default_rng([seed, drives])
    return rng.multinomial(max(drives - 1, 1), np.full(drives, 1.0 / drives), resamples)


def precision_interval(found: Outcomes, weights: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the AP over drives; NaN with fewer than five of them."""
    if (found.wanted > 0).sum() < 5:
        return float("nan"), float("nan")
    values = np.array([average_precision(found, w.astype(float)) for w in weights])
    tail = 50.0 * (1.0 - level)
    low, high = np.nanpercentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class OperatingPoint:
    """The score from which on precision and recall are best together (F1)."""

    score: float
    precision: float
    recall: float


def operating_point(found: Outcomes) -> OperatingPoint:
    """NaN where there is nothing to find or nothing found."""
    wanted = float(found.wanted.sum())
    right = np.cumsum(found.hit)
    if not wanted or not len(right) or not right[-1]:
        nothing = float("nan")
        return OperatingPoint(nothing, nothing, 0.0 if wanted else nothing)
    precision, recall = right / np.arange(1, len(right) + 1), right / wanted
    # of equal scores all or none
    last = np.append(found.score[1:] < found.score[:-1], True)
    f1 = np.where(last, 2.0 * precision * recall / np.maximum(precision + recall, 1e-12), -1.0)
    k = int(np.argmax(f1))
    return OperatingPoint(float(found.score[k]), float(precision[k]), float(recall[k]))


# --- errors ---------------------------------------------------------------------------------------


def box_errors(
    pool: Pool, label: ObjectClass, least: float, drives: Array | None = None
) -> dict[str, float]:
    """Mean errors of right detections of a score of ``least`` and above, matched within 2 m.

    ``centre`` m; ``velocity`` m/s, ``velocity_moving`` that of moving objects, both up to 32 m;
    ``heading`` rad, ``reversed`` the share that is off by more than 90 degrees; ``size`` 1 - IoU of
    the boxes laid upon each other. Shares of errors along x and y (position, velocity) within 1 and
    2 of the believed standard deviations: a Gaussian has 0.68 and 0.95. NaN where nothing matched.
    """
    found = outcomes(pool, label, drives=drives)
    rows = found.row[found.hit & (found.score >= least)]
    partner = pool.partner[DISTANCES.index(ERROR_DISTANCE), rows]
    truth, boxes = at(pool.truth, partner), at(pool.found, rows)
    errors = match_errors(truth, boxes, 2.0 * np.pi)
    near = np.hypot(truth.x, truth.y) < VELOCITY_RANGE
    near &= np.isfinite(errors["vel_err"])
    moving = near & (np.hypot(truth.vx, truth.vy) >= MOVING)
    place = np.abs(np.stack([boxes.x - truth.x, boxes.y - truth.y]))
    speed = np.abs(np.stack([boxes.vx - truth.vx, boxes.vy - truth.vy]))[:, near]
    place_std, speed_std = pool.position_std[rows], pool.velocity_std[rows][near]
    return {
        "matches": float(len(rows)),
        "centre": _mean(errors["trans_err"]),
        "velocity": _mean(errors["vel_err"][near]),
        "velocity_moving": _mean(errors["vel_err"][moving]),
        "heading": _mean(errors["orient_err"]),
        "reversed": _mean(errors["orient_err"] > np.pi / 2.0),
        "size": _mean(errors["scale_err"]),
        "position_within_1_std": _mean(place <= place_std),
        "position_within_2_std": _mean(place <= 2.0 * place_std),
        "velocity_within_1_std": _mean(speed <= speed_std),
        "velocity_within_2_std": _mean(speed <= 2.0 * speed_std),
    }


def _mean(values: Array) -> float:
    return float(np.mean(values)) if np.size(values) else float("nan")


# --- the nuScenes score ---------------------------------------------------------------------------


def nuscenes_metrics(pool: Pool) -> DetectionMetrics | None:
    """mAP and NDS by `NUSCENES_CLASSES`; None where no object is to be found.

    Detections that match only objects that are not judged at 2 m are left out, as are boxes beyond
    the range of their class.
    """
    origin = np.zeros(int(pool.moments.sum()))
    near, close = (in_range(t, origin, origin, NUSCENES_CLASSES) for t in (pool.truth, pool.found))
    counts = pool.partner[DISTANCES.index(ERROR_DISTANCE)] != IGNORED
    truth = at(pool.truth, np.flatnonzero(pool.judged & near))
    if not len(truth.x):
        return None
    return evaluate_detections(
        truth, at(pool.found, np.flatnonzero(counts & close)), NUSCENES_CLASSES
    )
