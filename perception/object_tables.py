"""Objects at the moments of recorded drives: what was there, what a detector found, who takes whom.

The rules of matching are those of `perception.detection_metrics`, with one more: a detection that
matches nothing but an object that is not judged (hidden, or beyond the grid) counts neither as
right nor as false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from perception.detection_benchmark import BoxTable
from perception.detection_metrics import match
from perception.detector_config import BevGrid, ObjectClass
from perception.objects import Objects
from roadloop.errors import RoadloopError
from roadloop.types import at

Array = np.ndarray

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""m between centres on the ground below which a detection matches"""
FALSE = -1
"""takes nothing"""
IGNORED = -2
"""takes an object that is not judged"""


# --- what was there and what was found ------------------------------------------------------------


@dataclass(frozen=True)
class DriveObjects:
    """Objects at the moments of one drive, in the ego frame of each moment.

    ``sample`` of the tables is the number of the moment, ``label`` the `ObjectClass`.
    """

    truth: BoxTable
    judged: Array
    """(truth,) bool: visible and inside the grid"""
    found: BoxTable
    position_std: Array
    """(found,) m, as the detector believes, along each axis"""
    velocity_std: Array
    """(found,) m/s, likewise"""
    moments: int


@dataclass(frozen=True)
class MomentTruth:
    """The labelled objects of one moment in the ego frame; fields ``(n,)``."""

    boxes: Array
    """(n, 9), ``training.sample_spec.BOX``; velocities may be NaN, not known"""
    object_class: Array
    """`ObjectClass`"""
    visible: Array
    """bool; nobody has to find the others"""


def drive_objects(
    truths: Sequence[MomentTruth], found: Sequence[Objects], grid: BevGrid
) -> DriveObjects:
    """The tables of a drive from its moments, in order."""
    if len(truths) != len(found):
        raise RoadloopError(f"{len(truths)} moments of labels, {len(found)} of detections")
    boxes = np.concatenate([np.zeros((0, 9)), *(t.boxes for t in truths)])
    label = _joined([t.object_class for t in truths], np.int64)
    visible = _joined([t.visible for t in truths], bool)
    x, y = boxes[:, 0], boxes[:, 1]
    inside = (x >= grid.x_min) & (x < grid.x_max) & (y >= grid.y_min) & (y < grid.y_max)
    truth = _table(
        sample=np.repeat(np.arange(len(truths)), [len(t.boxes) for t in truths]),
        label=label,
        columns=[x, y, boxes[:, 6], *boxes[:, 3:6].T, boxes[:, 7], boxes[:, 8]],
        score=np.ones(len(x)),
    )
    names = ("x", "y", "yaw", "length", "width", "height", "vx", "vy")
    detections = _table(
        sample=np.repeat(np.arange(len(found)), [len(f.x) for f in found]),
        label=_joined([f.object_class for f in found], np.int64),
        columns=[_joined([getattr(f, name) for f in found], np.float64) for name in names],
        score=_joined([f.score for f in found], np.float64),
    )
    return DriveObjects(
        truth=truth,
        judged=visible & inside,
        found=detections,
        position_std=_joined([f.position_std for f in found], np.float64),
        velocity_std=_joined([f.velocity_std for f in found], np.float64),
        moments=len(truths),
    )


def _table(sample: Array, label: Array, columns: list[Array], score: Array) -> BoxTable:
    return BoxTable(sample, label, *columns, attribute=np.full(len(sample), ""), score=score)


def _joined(parts: Sequence[Array], dtype: type) -> Array:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(p, dtype) for p in parts)])


# --- matching -------------------------------------------------------------------------------------


def taken(drive: DriveObjects, distances: Sequence[float] = DISTANCES) -> Array:
    """(distances, found) row of the truth each detection takes, else FALSE or IGNORED.

    Judged objects are offered first; what took none of them may take one that is not judged.
    """
    partner = np.full((len(distances), len(drive.found.x)), FALSE)
    for label in ObjectClass:
        mine = np.flatnonzero(drive.found.label == label)
        same = drive.truth.label == label
        judged, others = (np.flatnonzero(same & side) for side in (drive.judged, ~drive.judged))
        if not len(mine):
            continue
        right = match(at(drive.truth, judged), at(drive.found, mine), distances)
        for row, distance in enumerate(distances):
            hit = right[row] >= 0
            partner[row, mine[hit]] = judged[right[row][hit]]
            left = mine[~hit]
            hidden = match(at(drive.truth, others), at(drive.found, left), [distance])[0] >= 0
            partner[row, left[hidden]] = IGNORED
    return partner


@dataclass(frozen=True)
class Pool:
    """The objects of many drives in one table, matched."""

    truth: BoxTable
    judged: Array
    found: BoxTable
    position_std: Array
    velocity_std: Array
    partner: Array
    """(distances, found) row of the truth, FALSE or IGNORED"""
    truth_drive: Array
    """(truth,) number of the drive"""
    found_drive: Array
    drives: int
    moments: Array
    """(drives,) how many each has"""


def pooled(drives: Sequence[DriveObjects]) -> Pool:
    """All drives together; ``sample`` goes on from drive to drive."""
    partners, truths, found = [], [], []
    rows = samples = 0
    for drive in drives:
        partner = taken(drive)
        partners.append(np.where(partner >= 0, partner + rows, partner))
        truths.append(_shifted(drive.truth, samples))
        found.append(_shifted(drive.found, samples))
        rows, samples = rows + len(drive.truth.x), samples + drive.moments
    number = np.arange(len(drives))
    empty = np.zeros((len(DISTANCES), 0), np.int64)
    return Pool(
        truth=_tables(truths),
        judged=_joined([d.judged for d in drives], bool),
        found=_tables(found),
        position_std=_joined([d.position_std for d in drives], np.float64),
        velocity_std=_joined([d.velocity_std for d in drives], np.float64),
        partner=np.concatenate([empty, *partners], axis=1),
        truth_drive=np.repeat(number, [len(d.truth.x) for d in drives]),
        found_drive=np.repeat(number, [len(d.found.x) for d in drives]),
        drives=len(drives),
        moments=np.array([d.moments for d in drives], np.int64),
    )


def _shifted(table: BoxTable, samples: int) -> BoxTable:
    columns = {f.name: getattr(table, f.name) for f in fields(table)}
    return BoxTable(**{**columns, "sample": table.sample + samples})


def _tables(parts: Sequence[BoxTable]) -> BoxTable:
    none = _table(np.zeros(0, np.int64), np.zeros(0, np.int64), [np.zeros(0)] * 8, np.zeros(0))
    names = [f.name for f in fields(BoxTable)]
    return BoxTable(**{n: np.concatenate([getattr(t, n) for t in (none, *parts)]) for n in names})
