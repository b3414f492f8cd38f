"""What a tracker is judged on: boxes with identity, classes and thresholds of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from perception.detection_benchmark import DetectionClass
from roadloop.errors import RoadloopError

Array = np.ndarray


@dataclass(frozen=True)
class TrackingBenchmark:
    """Classes and thresholds of a tracking benchmark."""

    name: str
    classes: tuple[DetectionClass, ...]
    distance: float = 2.0
    """m on the ground, below which prediction and ground truth match"""
    min_recall: float = 0.1
    recalls: int = 40
    """number of recalls, from the least to 1"""
    period: float = 0.5
    """s between two frames"""
    fill_gaps: bool = True
    """boxes missing within a track are put in between, in ground truth and predictions"""
    worst_time: float = 20.0
    """s, tid and lgd where nothing is found"""
    worst_alarms: float = 500.0
    """faf likewise"""

    def __post_init__(self) -> None:
        if not self.classes or len({c.name for c in self.classes}) != len(self.classes):
            raise RoadloopError(
                f"benchmark {self.name}: expected at least one class, no name twice"
            )
        if not (self.distance > 0.0 and 0.0 < self.min_recall < 1.0 and self.recalls > 1):
            raise RoadloopError(
                f"benchmark {self.name}: expected a distance above 0, min_recall in (0, 1) and at "
                "least 2 recalls"
            )


NUSCENES_TRACKING = TrackingBenchmark(
    name="nuScenes tracking",
    classes=(
        DetectionClass("bicycle", max_range=40.0),
        DetectionClass("bus"),
        DetectionClass("car"),
        DetectionClass("motorcycle", max_range=40.0),
        DetectionClass("pedestrian", max_range=40.0),
        DetectionClass("trailer"),
        DetectionClass("truck"),
    ),
)
"""``tracking_nips_2019``"""


@dataclass(frozen=True)
class Frames:
    """The moments of a data set; fields ``(frames,)``, in order of scene, then time."""

    scene: Array
    """int"""
    timestamp_us: Array
    """int64"""


@dataclass(frozen=True)
class TrackTable:
    """Boxes of tracks; every field ``(boxes,)``. The order matters where distances are equal."""

    frame: Array
    """int, index into `Frames`"""
    label: Array
    """int, index into the benchmark's classes"""
    id: Array
    """int, of the road user or the track, within its scene"""
    x: Array
    """m, box centre"""
    y: Array
    score: Array
    """in [0, 1]; of no meaning in ground truth"""


def in_range(
    boxes: TrackTable,
    ego_x: Array,
    ego_y: Array,
    benchmark: TrackingBenchmark = NUSCENES_TRACKING,
) -> Array:
    """Which boxes are nearer to the ego than their class is judged: ``(boxes,)`` bool.

    ``ego_x``, ``ego_y`` ``(frames,)`` are the ego's position, in the boxes' frame.
    """
    ranges = np.array([c.max_range for c in benchmark.classes])
    dx, dy = boxes.x - np.asarray(ego_x)[boxes.frame], boxes.y - np.asarray(ego_y)[boxes.frame]
    return np.hypot(dx, dy) < ranges[boxes.label]


def filled(frames: Frames, boxes: TrackTable) -> TrackTable:
    """The table with boxes in the frames that tracks skip, after the other boxes.

    As in the reference, a box put between two others lies on the line between them, but at the time
    mirrored in the gap: just after the earlier box it is near the later one.
    """
    scene = frames.scene[boxes.frame]
    order = np.lexsort((boxes.frame, boxes.id, scene))
    left, right = order[:-1], order[1:]
    same = (scene[left] == scene[right]) & (boxes.id[left] == boxes.id[right])
    gap = np.where(same, boxes.frame[right] - boxes.frame[left] - 1, 0)
    left, right = np.repeat(left, gap), np.repeat(right, gap)
    nth = np.arange(len(left)) - np.repeat(np.cumsum(gap) - gap, gap)
    frame = boxes.frame[left] + 1 + nth
    time = frames.timestamp_us
    # in the order in which the tracks first appeared, moment by moment
    by_time = np.lexsort((np.arange(len(boxes.frame)), boxes.frame))
    place = np.empty(len(by_time), np.int64)
    place[by_time] = np.arange(len(by_time))
    track = numbered(scene, boxes.id)
    first = np.full(track.max(initial=-1) + 1, len(by_time))
    np.minimum.at(first, track, place)
    sorting = np.lexsort((first[track[left]], frame))
    left, right, frame = left[sorting], right[sorting], frame[sorting]
    whole = time[boxes.frame[right]] - time[boxes.frame[left]]
    share = (time[boxes.frame[right]] - time[frame]) / whole
    new = {"frame": frame, "label": boxes.label[right], "id": boxes.id[right]}
    for name in ("x", "y", "score"):
        value = getattr(boxes, name)
        new[name] = (1.0 - share) * value[left] + share * value[right]
    return TrackTable(**{k: np.concatenate([getattr(boxes, k), v]) for k, v in new.items()})


def numbered(scene: Array, number: Array) -> Array:
    """0, 1 ... for every (scene, number), ``(boxes,)``."""
    if not len(scene):
        return np.zeros(0, np.int64)
    pairs = np.stack([scene, number], axis=-1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)


def check_frames(frames: Frames) -> None:
    step, later = np.diff(frames.scene), np.diff(frames.timestamp_us)
    if ((step < 0) | ((step == 0) & (later <= 0))).any():
        raise RoadloopError("frames are not in order: sort them by scene, then by time")


def check_boxes(boxes: TrackTable, name: str, frames: Frames, benchmark: TrackingBenchmark) -> None:
    """Raise RoadloopError naming the first box that cannot be judged."""
    shapes = {np.shape(getattr(boxes, f.name)) for f in fields(boxes)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise RoadloopError(f"{name} columns have shapes {sorted(shapes)}: expected one (boxes,)")

    def refuse(bad: Array, what: str) -> None:
        if bad.any():
            raise RoadloopError(f"{name} {int(np.flatnonzero(bad)[0])} {what}")

    for column in ("x", "y", "score"):
        refuse(~np.isfinite(getattr(boxes, column)), f"has a {column} that is not a finite number")
    refuse((boxes.frame < 0) | (boxes.frame >= len(frames.scene)), "is of no frame that there is")
    refuse((boxes.label < 0) | (boxes.label >= len(benchmark.classes)), "has an unknown label")
    pairs = np.stack([boxes.frame, boxes.id], axis=-1)
    first = np.zeros(len(pairs), bool)
    first[np.unique(pairs, axis=0, return_index=True)[1]] = True
    refuse(~first, "has the id of another box in its frame")
