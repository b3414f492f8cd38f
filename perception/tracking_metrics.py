"""nuScenes' tracking metrics: AMOTA, AMOTP and the CLEAR MOT counts they are made of.

A prediction keeps the road user that it had; those left over are paired so that as many as possible
are nearer than 2 m and their distances sum to the least (Bernardin and Stiefelhagen, EURASIP
Journal on Image and Video Processing 2008). This is done at 40 thresholds of the score, one for
each recall from 0.1 to 1; AMOTA and AMOTP are means over them (Weng et al., IROS 2020), all else is
told at the threshold of the best MOTA. Definitions: ``nuscenes.eval.tracking`` of nuscenes-devkit
1.2.0 with ``tracking_nips_2019``, whose numbers these functions give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception.tracking_benchmark import (
    NUSCENES_TRACKING,
    Frames,
    TrackingBenchmark,
    TrackTable,
    check_boxes,
    check_frames,
    filled,
    numbered,
)
from roadloop.types import at

Array = np.ndarray
_Pair = tuple[int, int, float]
# row of ground truth, row of prediction, m between them

SUMMED = ("mt", "ml", "tp", "fp", "fn", "ids", "frag")
"""metrics whose value over all classes is a sum; that of the others is a mean"""
METRICS = (
    "amota",
    "amotp",
    "recall",
    "motar",
    "gt",
    "mota",
    "motp",
    "mt",
    "ml",
    "faf",
    "tp",
    "fp",
    "fn",
    "ids",
    "frag",
    "tid",
    "lgd",
)
"""amota, amotp (m): averages over recalls. Counts: gt boxes; tp, fp, fn; ids switches of identity;
frag losses that were made good; mt, ml road users tracked for at least 80 % and for less than 20 %
of their time. recall, mota, motar (MOTA over what the recall allows) in [0, 1]; motp m; faf false
alarms per 100 frames; tid, lgd s until the first detection and of the longest gap"""


@dataclass(frozen=True)
class TrackingCurve:
    """One class at every recall, from 1 down to the least: arrays ``(recalls,)``."""

    confidence: Array
    """score that reaches the recall; NaN where none does"""
    recall: Array
    """asked for"""
    metrics: dict[str, Array]
    """all of `METRICS` but amota and amotp; NaN where the recall is not reached"""


@dataclass(frozen=True)
class TrackingMetrics:
    """What the tracks of a data set are worth."""

    benchmark: TrackingBenchmark
    label_metrics: dict[str, dict[str, float]]
    """metric -> class -> value; NaN where the class has no ground truth"""
    curves: dict[str, TrackingCurve]
    """class -> curve; classes with ground truth only"""

    def value(self, metric: str) -> float:
        """A metric over all classes with ground truth: a sum for `SUMMED`, else the mean."""
        known = [v for v in self.label_metrics[metric].values() if not np.isnan(v)]
        if metric in SUMMED:
            return float(np.sum(known))
        return float(np.mean(known)) if known else float("nan")


def evaluate_tracks(
    frames: Frames,
    truth: TrackTable,
    predicted: TrackTable,
    benchmark: TrackingBenchmark = NUSCENES_TRACKING,
) -> TrackingMetrics:
    """Judge the tracks of a data set; nothing is left out by range (see `in_range`).

    The score of a track is the mean over its boxes. Raises RoadloopError for numbers that are not
    finite, frames or labels that do not exist, or an id twice in a frame.
    """
    check_frames(frames)
    check_boxes(truth, "ground truth", frames, benchmark)
    check_boxes(predicted, "prediction", frames, benchmark)
    predicted = replace(predicted, score=_mean_scores(frames, predicted))
    if benchmark.fill_gaps:
        truth, predicted = filled(frames, truth), filled(frames, predicted)
    label_metrics = {name: {c.name: np.nan for c in benchmark.classes} for name in METRICS}
    curves = {}
    for label, kind in enumerate(benchmark.classes):
        wanted = at(truth, np.flatnonzero(truth.label == label))
        if not len(wanted.x):
            continue
        found = at(predicted, np.flatnonzero(predicted.label == label))
        curve = tracking_curve(ClassMatcher(frames, wanted, found, benchmark))
        curves[kind.name] = curve
        best = int(np.nanargmax(curve.metrics["mota"]))
        for name, values in curve.metrics.items():
            label_metrics[name][kind.name] = float(values[best])
        worst = {"amota": ("motar", 0.0), "amotp": ("motp", benchmark.distance)}
        for name, (of, value) in worst.items():
            over = curve.metrics[of]
            label_metrics[name][kind.name] = float(np.where(np.isnan(over), value, over).mean())
    return TrackingMetrics(benchmark, label_metrics, curves)


def tracking_curve(matcher: ClassMatcher) -> TrackingCurve:
    """All metrics of a class with ground truth at every recall."""
    benchmark = matcher.benchmark
    recall = np.linspace(benchmark.min_recall, 1.0, benchmark.recalls).round(12)
    scores = np.sort(matcher.matched_scores())[::-1]
    if len(scores):
        reached = np.arange(1, len(scores) + 1) / matcher.boxes
        confidence = np.interp(recall, reached, scores, right=0.0)
        confidence[recall > reached[-1]] = np.nan
    else:
        confidence = np.full(len(recall), np.nan)
    confidence, recall = confidence[::-1], recall[::-1]
    names = [name for name in METRICS if name not in ("amota", "amotp")]
    metrics = {name: np.full(len(recall), np.nan) for name in names}
    if np.isnan(confidence).all():
        for name, value in matcher.nothing_found().items():
            metrics[name][:] = value
        return TrackingCurve(confidence, recall, metrics)
    for threshold in np.unique(confidence[~np.isnan(confidence)]):
        here = confidence == threshold
        for name, value in matcher.metrics(float(threshold)).items():
            metrics[name][here] = value
    return TrackingCurve(confidence, recall, metrics)


class ClassMatcher:
    """Ground truth and predictions of one class, to be matched at any threshold of the score."""

    def __init__(
        self, frames: Frames, truth: TrackTable, predicted: TrackTable, benchmark: TrackingBenchmark
    ) -> None:
        self.benchmark = benchmark
        self.boxes = len(truth.x)
        self._scene = frames.scene
        self._truth_frame, self._found_frame = truth.frame, predicted.frame
        self._score = predicted.score
        # road users of different scenes are different ones
        self._user = numbered(frames.scene[truth.frame], truth.id)
        self._track = numbered(frames.scene[predicted.frame], predicted.id)
        self._steps = self._near_pairs(truth, predicted)

    def _near_pairs(self, truth: TrackTable, predicted: TrackTable) -> list[list[_Pair]]:
        """Frame by frame, the pairs that may match, in order of ground truth."""
        order = np.argsort(predicted.frame, kind="stable")
        frames, starts = np.unique(truth.frame[np.argsort(truth.frame)], return_index=True)
        rows_of = np.split(np.argsort(truth.frame, kind="stable"), starts[1:])
        low = np.searchsorted(predicted.frame[order], frames)
        high = np.searchsorted(predicted.frame[order], frames, side="right")
        steps = []
        for rows, a, b in zip(rows_of, low.tolist(), high.tolist(), strict=False):
            columns = order[a:b]
            dx = truth.x[rows][:, None] - predicted.x[columns]
            dy = truth.y[rows][:, None] - predicted.y[columns]
            metres = np.hypot(dx, dy)
            i, j = np.nonzero(metres < self.benchmark.distance)
            if len(i):
                pairs = zip(rows[i].tolist(), columns[j].tolist(), metres[i, j].tolist())
                steps.append(list(pairs))
        return steps

    def match(self, threshold: float) -> tuple[Array, Array, Array]:
        """What each box of ground truth gets from the predictions of at least this score.

        Returns ``(boxes,)`` row of the prediction, -1: missed; its distance (m); and whether the
        road user had another track before.
        """
        partner = np.full(self.boxes, -1)
        away = np.zeros(self.boxes)
        switched = np.zeros(self.boxes, bool)
        held: dict[int, int] = {}  # road user -> the track that it had last
        users, tracks, score = self._user.tolist(), self._track.tolist(), self._score.tolist()
        for step in self._steps:
            pairs = [pair for pair in step if score[pair[1]] >= threshold]
            chosen: list[_Pair] = []
            taken: set[int] = set()
            for pair in pairs:  # who was together stays together
                row, column, _ = pair
                if held.get(users[row]) == tracks[column] and column not in taken:
                    chosen.append(pair)
                    taken.add(column)
            done = {row for row, _, _ in chosen}
            left = [p for p in pairs if p[0] not in done and p[1] not in taken]
            chosen += _shortest(left)
            for row, column, metres in chosen:
                user, track = users[row], tracks[column]
                partner[row], away[row] = column, metres
                switched[row] = held.get(user, track) != track
                held[user] = track
        return partner, away, switched

    def matched_scores(self) -> Array:
        """Scores of the predictions that match when all count, switches of identity left out."""
        partner, _, switched = self.match(-np.inf)
        return self._score[partner[(partner >= 0) & ~switched]]

    def metrics(self, threshold: float) -> dict[str, float]:
        """All of `METRICS` but the averages, of the predictions of at least this score."""
        partner, away, switched = self.match(threshold)
        hit = partner >= 0
        gt, found = float(self.boxes), float(hit.sum())
        ids = float(switched.sum())
        tp, fn = found - ids, gt - found
        counted = self._score >= threshold
        fp = float(counted.sum()) - found
        present = np.unique(np.concatenate([self._truth_frame, self._found_frame[counted]]))
        recall = tp / gt
        excess = (fn + ids + fp) - (1.0 - recall) * gt
        return {
            "recall": found / gt,
            "motar": max(0.0, 1.0 - excess / (recall * gt)) if tp else np.nan,
            "gt": gt,
            "mota": max(0.0, 1.0 - (fn + ids + fp) / gt),
            "motp": float(away[hit].sum()) / found if found else np.nan,
            "faf": fp / len(present) * 100.0,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "ids": ids,
            **self._by_user(hit, present),
        }

    def _by_user(self, hit: Array, present: Array) -> dict[str, float]:
        """What is counted road user by road user."""
        order = np.lexsort((self._truth_frame, self._user))
        user, hit = self._user[order], hit[order]
        # frames are counted within a scene, those without any box left out
        moment = np.searchsorted(present, self._truth_frame[order])
        share = np.bincount(user, hit) / np.bincount(user)
        mt, ml = float((share >= 0.8).sum()), float((share < 0.2).sum())
        frag = tid = lgd = 0.0
        followed = np.flatnonzero(share > 0.0)
        starts = np.searchsorted(user, np.arange(len(share) + 1))
        for u in followed.tolist():
            part = slice(starts[u], starts[u + 1])
            seen, when = hit[part], moment[part]
            hits = when[seen]
            frag += int((~seen[:-1] & seen[1:]).sum()) - int(not seen[0])
            tid += float(hits[0] - when[0])
            inner = int(np.diff(hits).max(initial=1)) - 1
            lgd += float(max(hits[0] - when[0], inner, when[-1] - hits[-1]))
        count = len(followed) / self.benchmark.period
        return {
            "mt": mt,
            "ml": ml,
            "frag": frag,
            "tid": tid / count if count else np.nan,
            "lgd": lgd / count if count else np.nan,
        }

    def nothing_found(self) -> dict[str, float]:
        """The metrics of a class of which not even the least recall is reached."""
        gt = float(self.boxes)
        worst = self.benchmark.worst_time
        values = dict.fromkeys(("recall", "motar", "mota", "mt", "tp"), 0.0)
        values |= {"gt": gt, "fn": gt, "ml": float(len(np.unique(self._user)))}
        values |= {"motp": self.benchmark.distance, "tid": worst, "lgd": worst}
        values |= dict.fromkeys(("fp", "ids", "frag"), np.nan)
        return values | {"faf": self.benchmark.worst_alarms}


def _shortest(pairs: list[_Pair]) -> list[_Pair]:
    """The largest assignment among ``pairs``, and of those the one with the least distances."""
    rows = sorted({row for row, _, _ in pairs})
    columns = sorted({column for _, column, _ in pairs})
    if len(rows) == len(columns) == len(pairs):  # nobody has a choice
        return pairs
    from scipy.optimize import linear_sum_assignment

    number_of = {(row, column): k for k, (row, column, _) in enumerate(pairs)}
    # one pair more is worth more than all distances together
    longest = max(metres for _, _, metres in pairs)
    cost = np.full((len(rows), len(columns)), 2.0 * len(pairs) * (longest + 1.0) + 1.0)
    for row, column, metres in pairs:
        cost[rows.index(row), columns.index(column)] = metres
    i, j = linear_sum_assignment(cost)
    taken = [(rows[a], columns[b]) for a, b in zip(i.tolist(), j.tolist(), strict=True)]
    return [pairs[number_of[pair]] for pair in taken if pair in number_of]


def _mean_scores(frames: Frames, boxes: TrackTable) -> Array:
    """Every box's score replaced by the mean of its track's."""
    track = numbered(frames.scene[boxes.frame], boxes.id)
    order = np.lexsort((boxes.frame, track))
    score = np.asarray(boxes.score, np.float64)
    out = np.empty(len(score))
    ends = np.flatnonzero(np.diff(track[order])) + 1
    for part in np.split(order, ends) if len(order) else []:
        out[part] = np.mean(score[part])
    return out
