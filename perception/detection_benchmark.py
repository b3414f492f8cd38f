"""What a detector is judged on: boxes of many samples, classes and thresholds of a benchmark.

Boxes lie in one table, a row each. nuScenes' rules are the default benchmark; others are made of
the same parts::

    mine = DetectionBenchmark("mine", classes=(DetectionClass("car", max_range=60.0),),
                              errors=("trans_err", "scale_err", "orient_err", "vel_err"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, Detections, at

Array = np.ndarray

ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
"""True-positive errors: centre distance on the ground (m), 1 - IoU of the aligned boxes, heading
difference (rad), velocity difference (m/s), share of wrong attributes"""


@dataclass(frozen=True)
class DetectionClass:
    """How one class is judged."""

    name: str
    max_range: float = 50.0
    """m from the ego, boxes from there on are left out by `in_range`"""
    heading_period: float = 2.0 * np.pi
    """rad after which a box looks the same: pi for barriers"""
    undefined_errors: tuple[str, ...] = ()
    """true-positive errors that mean nothing for this class"""


@dataclass(frozen=True)
class DetectionBenchmark:
    """Classes and thresholds of a detection benchmark."""

    name: str
    classes: tuple[DetectionClass, ...]
    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """m on the ground, below which prediction and ground truth match"""
    error_distance: float = 2.0
    """m, the threshold whose matches give the true-positive errors"""
    min_recall: float = 0.1
    """recall up to here does not count"""
    min_precision: float = 0.1
    """precision up to here counts as none"""
    max_boxes: int = 500
    """predictions allowed in one sample"""
    mean_ap_weight: float = 5.0
    """weight of mAP in the score, each error score having 1"""
    errors: tuple[str, ...] = ERRORS
    absent_classes_count: bool = True
    """a class without ground truth has AP 0 and errors 1, as in the reference; False: left out"""

    def __post_init__(self) -> None:
        if not self.classes or len({c.name for c in self.classes}) != len(self.classes):
            raise RoadloopError(
                f"benchmark {self.name}: expected at least one class, no name twice"
            )
        if self.error_distance not in self.distances:
            raise RoadloopError(
                f"benchmark {self.name}: error_distance {self.error_distance} is not among the "
                f"distances {self.distances}"
            )
        if not (0.0 <= self.min_recall <= 0.99 and 0.0 <= self.min_precision < 1.0):
            raise RoadloopError(
                f"benchmark {self.name}: min_recall must lie in [0, 0.99], min_precision in [0, 1)"
            )
        for error in self.errors:
            if error not in ERRORS or all(error in c.undefined_errors for c in self.classes):
                raise RoadloopError(
                    f"benchmark {self.name}: error {error!r} is unknown or defined for no class; "
                    f"there are {', '.join(ERRORS)}"
                )


NUSCENES = DetectionBenchmark(
    name="nuScenes",
    classes=(
        DetectionClass("car"),
        DetectionClass("truck"),
        DetectionClass("bus"),
        DetectionClass("trailer"),
        DetectionClass("construction_vehicle"),
        DetectionClass("pedestrian", max_range=40.0),
        DetectionClass("motorcycle", max_range=40.0),
        DetectionClass("bicycle", max_range=40.0),
        DetectionClass(
            "traffic_cone", 30.0, undefined_errors=("orient_err", "vel_err", "attr_err")
        ),
        DetectionClass(
            "barrier", 30.0, heading_period=np.pi, undefined_errors=("vel_err", "attr_err")
        ),
    ),
)
"""``detection_cvpr_2019``"""


@dataclass(frozen=True)
class BoxTable:
    """Boxes of many samples; every field ``(boxes,)``, all in one frame for each sample.

    The order matters where scores or distances are equal: samples by number, boxes as they lie.
    """

    sample: Array
    """int, number of the sample"""
    label: Array
    """int, index into the benchmark's classes"""
    x: Array
    """m, box centre"""
    y: Array
    heading: Array
    """rad"""
    length: Array
    """m"""
    width: Array
    height: Array
    vx: Array
    """m/s; NaN where the velocity is not known: such a match has no velocity error"""
    vy: Array
    attribute: Array
    """str, "" where there is none"""
    score: Array
    """in [0, 1]; of no meaning in ground truth"""


def box_table(frames: Sequence[Detections], label_of_kind: Mapping[AgentKind, int]) -> BoxTable:
    """Table of the valid boxes of some frames, each ``(detections,)``; sample = place in the list.

    ``label_of_kind`` says which class of the benchmark a kind is; boxes of other kinds are left
    out. Ground truth is given as detections too, with any score.
    """
    lookup = np.full(max(AgentKind) + 1, -1)
    for kind, label in label_of_kind.items():
        lookup[kind] = label
    parts: list[dict[str, Array]] = []
    for sample, frame in enumerate(frames):
        keep = np.flatnonzero(frame.boxes.valid & (lookup[frame.boxes.kind] >= 0))
        boxes = at(frame.boxes, keep)
        names = ("x", "y", "heading", "length", "width", "height", "vx", "vy")
        parts.append(
            {
                "sample": np.full(len(keep), sample),
                "label": lookup[boxes.kind],
                **{name: getattr(boxes, name) for name in names},
                "attribute": np.full(len(keep), ""),
                "score": frame.score[keep],
            }
        )
    empty = {f.name: np.zeros(0, _COLUMN[f.name]) for f in fields(BoxTable)}
    return BoxTable(**{k: np.concatenate([empty[k], *(p[k] for p in parts)]) for k in empty})


_COLUMN = dict.fromkeys((f.name for f in fields(BoxTable)), np.float64) | {
    "sample": np.int64,
    "label": np.int64,
    "attribute": np.str_,
}


def in_range(
    boxes: BoxTable, ego_x: Array, ego_y: Array, benchmark: DetectionBenchmark = NUSCENES
) -> Array:
    """Which boxes lie nearer to the ego than their class is judged: ``(boxes,)`` bool.

    ``ego_x``, ``ego_y`` ``(samples,)`` are the ego's position in each sample, in the boxes' frame.
    ``at(boxes, in_range(...))`` is the table of them. The benchmark also leaves out ground truth
    without a LiDAR or radar point and cycles in racks, which only the data set knows.
    """
    ranges = np.array([c.max_range for c in benchmark.classes])
    dx, dy = boxes.x - np.asarray(ego_x)[boxes.sample], boxes.y - np.asarray(ego_y)[boxes.sample]
    return np.hypot(dx, dy) < ranges[boxes.label]


def sorted_and_checked(boxes: BoxTable, name: str, benchmark: DetectionBenchmark) -> BoxTable:
    """The table with samples in order; RoadloopError names the first box that cannot be judged."""
    shapes = {np.shape(getattr(boxes, f.name)) for f in fields(boxes)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise RoadloopError(f"{name} columns have shapes {sorted(shapes)}: expected one (boxes,)")
    boxes = BoxTable(*(np.asarray(getattr(boxes, f.name)) for f in fields(boxes)))

    def refuse(bad: Array, what: str) -> None:
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise RoadloopError(f"{name} {i} (sample {boxes.sample[i]}) {what}")

    predicted = name == "prediction"
    numbers = ["x", "y", "heading", "length", "width", "height"]
    for column in numbers + ["score"] * predicted:
        value = getattr(boxes, column)
        refuse(~np.isfinite(value), f"has a {column} that is not a finite number")
    for column in ("vx", "vy"):
        refuse(np.isinf(getattr(boxes, column)), f"has an infinite {column}")
    for column in ("length", "width", "height"):
        refuse(getattr(boxes, column) <= 0.0, f"has a {column} that is not above 0 m")
    known = (boxes.label >= 0) & (boxes.label < len(benchmark.classes))
    refuse(~known, f"has a label that is none of the {len(benchmark.classes)} classes")
    refuse(boxes.sample < 0, "has a negative sample number")
    if predicted:
        outside = (boxes.score < 0.0) | (boxes.score > 1.0)
        refuse(outside, "has a score outside [0, 1]")
        if len(boxes.sample) and (most := np.bincount(boxes.sample).max()) > benchmark.max_boxes:
            raise RoadloopError(
                f"sample {np.bincount(boxes.sample).argmax()} has {most} predictions: "
                f"{benchmark.name} allows {benchmark.max_boxes}; keep the best"
            )
    return at(boxes, np.argsort(boxes.sample, kind="stable"))
