"""Tracks judged by ground truth, step by step: who was followed, and how well what was told of him.

score = TrackingScore()
for drive in drives:
    score.next_drive()
    for moment in drive:
        score.add(moment.time, truth, tracks, tracker.score, judged=visible)
report = score.report()
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from perception.detection_benchmark import DetectionClass
from perception.detector_config import ObjectClass, object_classes
from perception.tracking_benchmark import Frames, TrackingBenchmark, TrackTable
from perception.tracking_metrics import ClassMatcher, TrackingMetrics, evaluate_tracks
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentStates, Tracks, at

Array = np.ndarray

BENCHMARK = TrackingBenchmark(
    name="roadloop tracking",
    classes=tuple(DetectionClass(label.name.lower()) for label in ObjectClass),
    period=0.1,
    fill_gaps=False,
)
"""nuScenes' rules on our classes at 10 Hz; gaps are not filled: tracks are judged as they came"""
STANDING = 0.2
"""m/s, below which the planner takes a road user to stand"""
_WALKS = 0.5
"""m/s, above which a truth is surely moving"""


@dataclass(frozen=True)
class TrackingErrors:
    """What is wrong with tracks that match; root mean squares, NaN where there is nothing."""

    matches: int
    position: float
    """m"""
    velocity: float
    """m/s, length of the difference"""
    velocity_moving: float
    velocity_standing: float
    """of truths below `STANDING`"""
    heading: float
    """rad, pedestrians left out"""
    turned: float
    """share that look backwards, pedestrians left out"""
    standing_told: float
    """share of standing truths that are told to stand"""
    moving_told: float
    """share of truths that move, faster than 0.5 m/s, that are told to move"""
    flicker: float
    """changes between standing and moving per minute of a truth that does nothing of the kind"""
    spread: float
    """mean squared position error along an axis over ``position_std`` squared: 1 where it is
    told right"""


@dataclass(frozen=True)
class TrackingReport:
    """Everything that `TrackingScore` found."""

    metrics: TrackingMetrics
    """over thresholds of the score"""
    as_driven: dict[str, dict[str, float]]
    """class -> the same counts of all tracks handed on, whatever their score"""
    errors: TrackingErrors

    def total(self, metric: str) -> float:
        """A metric of ``as_driven`` over all classes together.

        For gt, tp, fp, fn, ids, frag, mt, ml, recall, mota and motp.
        """
        by = list(self.as_driven.values())

        def summed(name: str) -> float:
            return float(sum(one[name] for one in by))

        gt, found = summed("gt"), summed("tp") + summed("ids")
        if metric == "mota":
            return 1.0 - (summed("fn") + summed("fp") + summed("ids")) / gt if gt else np.nan
        if metric == "recall":
            return found / gt if gt else np.nan
        if metric == "motp":
            away = sum(one["motp"] * (one["tp"] + one["ids"]) for one in by if one["recall"] > 0)
            return away / found if found else np.nan
        return summed(metric)


class TrackingScore:
    """Collects ground truth and tracks of one drive after another."""

    def __init__(self, benchmark: TrackingBenchmark = BENCHMARK) -> None:
        self.benchmark = benchmark
        self._scene = 0
        self._frames: list[tuple[int, int]] = []
        self._truth: list[AgentStates] = []
        self._found: list[tuple[AgentStates, Array, Array]] = []

    def next_drive(self) -> None:
        """What is added from now on is another drive."""
        self._scene += 1

    def add(
        self,
        time: float,
        truth: AgentStates,
        tracks: Tracks,
        score: Array,
        judged: Array | None = None,
    ) -> None:
        """One moment.

        Args:
            time: s, later than that of the last moment of this drive.
            truth: ``(agents,)`` in the frame of the tracks.
            tracks: ``(tracks,)``, with ``score`` (tracks,) in [0, 1].
            judged: ``(agents,)`` bool, who should be tracked, e.g. who is visible. Others are
                neither missed, nor is a track of them a false alarm. Default: all.
        """
        stamp = round(time * 1e6)
        last = self._frames[-1] if self._frames else (-1, 0)
        if last[0] == self._scene and stamp <= last[1]:
            raise RoadloopError(
                f"time {time} s is not after {last[1] / 1e6} s: call next_drive() before another "
                "drive"
            )
        wanted = truth.valid if judged is None else truth.valid & judged
        others = at(truth, np.flatnonzero(truth.valid & ~wanted))
        wanted = at(truth, np.flatnonzero(wanted))
        shown = np.flatnonzero(tracks.states.valid)
        states = at(tracks.states, shown)
        shown = shown[_not_of_others(states, wanted, others, self.benchmark.distance)]
        self._frames.append((self._scene, stamp))
        self._truth.append(wanted)
        states = at(tracks.states, shown)
        self._found.append((states, np.asarray(score)[shown], tracks.position_std[shown]))

    def report(self) -> TrackingReport:
        """The score of everything added so far. Raises RoadloopError where that is nothing."""
        frames, truth, found = self._tables()
        as_driven = {}
        for label, kind in enumerate(self.benchmark.classes):
            if (truth.label == label).any():
                matcher = self._matcher(label, frames, truth, found)
                as_driven[kind.name] = matcher.metrics(-np.inf)
        metrics = evaluate_tracks(frames, truth, found, self.benchmark)
        return TrackingReport(metrics, as_driven, self.errors())

    def errors(self) -> TrackingErrors:
        """Of those that match, whatever their score. Raises RoadloopError as `report`."""
        frames, truth, found = self._tables()
        partner = np.full(len(truth.x), -1)
        for label in np.unique(truth.label):
            rows = np.flatnonzero(truth.label == label)
            columns = np.flatnonzero(found.label == label)
            hit = self._matcher(label, frames, truth, found).match(-np.inf)[0]
            partner[rows[hit >= 0]] = columns[hit[hit >= 0]]
        rows = np.flatnonzero(partner >= 0)
        took = partner[rows]
        std = np.concatenate([f[2] for f in self._found])[took]
        scene, when = frames.scene[truth.frame[rows]], frames.timestamp_us[truth.frame[rows]]
        wanted = at(_joined(self._truth), rows)
        return _errors(wanted, at(_joined([f[0] for f in self._found]), took), std, scene, when)

    def _tables(self) -> tuple[Frames, TrackTable, TrackTable]:
        if not self._frames:
            raise RoadloopError("nothing was added: there is nothing to judge")
        truth = _table(self._truth, [np.zeros(len(s.x)) for s in self._truth])
        found = _table([f[0] for f in self._found], [f[1] for f in self._found])
        return Frames(*np.array(self._frames, np.int64).T), truth, found

    def _matcher(
        self, label: int, frames: Frames, truth: TrackTable, found: TrackTable
    ) -> ClassMatcher:
        one = at(truth, np.flatnonzero(truth.label == label))
        return ClassMatcher(
            frames, one, at(found, np.flatnonzero(found.label == label)), self.benchmark
        )


def _not_of_others(
    states: AgentStates, wanted: AgentStates, others: AgentStates, distance: float
) -> Array:
    """Rows of the tracks but those that follow ``others``, who are not judged."""
    rows = np.arange(len(states.x))
    if not len(others.x) or not len(rows):
        return rows
    x, y = np.concatenate([wanted.x, others.x]), np.concatenate([wanted.y, others.y])
    away = np.hypot(states.x[:, None] - x, states.y[:, None] - y)
    near = away < distance
    # those who are judged choose first
    cost = np.where(near, away, 1e6)
    cost[:, len(wanted.x) :] += np.where(near[:, len(wanted.x) :], 1e3, 0.0)
    i, j = linear_sum_assignment(cost)
    theirs = near[i, j] & (j >= len(wanted.x))
    return np.setdiff1d(rows, i[theirs])


def _joined(moments: list[AgentStates]) -> AgentStates:
    """Road users of all moments as one column."""
    names = AgentStates.__dataclass_fields__
    return AgentStates(**{f: np.concatenate([getattr(m, f) for m in moments]) for f in names})


def _table(moments: list[AgentStates], score: list[Array]) -> TrackTable:
    """The same as the metrics want them."""
    users = _joined(moments)
    frame = np.repeat(np.arange(len(moments)), [len(m.x) for m in moments])
    label = object_classes(users.kind, users.length).astype(np.int64)
    columns = users.x.astype(np.float64), users.y.astype(np.float64)
    return TrackTable(frame, label, users.id.astype(np.int64), *columns, np.concatenate(score))


def _errors(
    truth: AgentStates, found: AgentStates, std: Array, scene: Array, when: Array
) -> TrackingErrors:
    """Errors of matched pairs, ``(matches,)`` each; ``when`` us."""

    def rms(values: Array) -> float:
        return float(np.sqrt(np.mean(values**2))) if len(values) else np.nan

    def share(values: Array) -> float:
        return float(values.mean()) if len(values) else np.nan

    position = np.hypot(found.x - truth.x, found.y - truth.y)
    velocity = np.hypot(found.vx - truth.vx, found.vy - truth.vy)
    turn = np.abs(wrap_angle(found.heading - truth.heading))
    turn = turn[object_classes(truth.kind, truth.length) != ObjectClass.PEDESTRIAN]
    stands, moves = truth.speed < STANDING, truth.speed > _WALKS
    told = found.speed < STANDING
    order = np.lexsort((when, truth.id, scene))
    first, second = order[:-1], order[1:]
    same = (truth.id[first] == truth.id[second]) & (scene[first] == scene[second])
    # a truth that goes on as it was, from one moment to the next
    same &= (stands[first] & stands[second]) | (moves[first] & moves[second])
    minutes = (when[second] - when[first])[same].sum() / 60e6
    changes = (told[first] != told[second])[same].sum()
    return TrackingErrors(
        matches=len(position),
        position=rms(position),
        velocity=rms(velocity),
        velocity_moving=rms(velocity[~stands]),
        velocity_standing=rms(velocity[stands]),
        heading=rms(turn),
        turned=share(turn > np.pi / 2.0),
        standing_told=share(told[stands]),
        moving_told=share(~told[moves]),
        flicker=float(changes / minutes) if minutes > 0.0 else np.nan,
        spread=float(np.mean(position**2 / (2.0 * np.maximum(std, 1e-3) ** 2)))
        if len(position)
        else np.nan,
    )


def detections_as_tracks(boxes: AgentStates, position_std: Array, first_id: int) -> Tracks:
    """Detections as tracks that live for a moment: ids count from ``first_id``.

    What a tracker is to be better than: `TrackingScore.errors` of these are the detector's own.
    """
    ids = first_id + np.arange(len(boxes.x))
    return Tracks(replace(boxes, id=ids), position_std, np.zeros(len(ids), np.int64))
