"""Our detection measures beside the nuScenes devkit's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from vectors.table import Row, compare

from perception.detection_benchmark import (
    NUSCENES,
    BoxTable,
    DetectionBenchmark,
    DetectionClass,
)
from perception.detection_metrics import aligned_iou, evaluate_detections, heading_difference

SCORE = "nuScenes detection"
TOLERANCE = 1e-9  # relative
CURVE_TOLERANCE = 1e-8  # the reference's curves are kept with eight decimals


def _benchmark(cfg: dict) -> DetectionBenchmark:
    own = {c.name: c for c in NUSCENES.classes}
    classes = tuple(
        DetectionClass(name, max_range, own[name].heading_period, own[name].undefined_errors)
        for name, max_range in cfg["class_range"].items()
    )
    return DetectionBenchmark(
        name="nuScenes",
        classes=classes,
        distances=tuple(cfg["dist_ths"]),
        error_distance=cfg["dist_th_tp"],
        min_recall=cfg["min_recall"],
        min_precision=cfg["min_precision"],
        max_boxes=cfg["max_boxes_per_sample"],
        mean_ap_weight=cfg["mean_ap_weight"],
    )


def _table(boxes: list[dict], names: list[str], samples: dict[str, int]) -> BoxTable:
    def numbers(key: str, width: int) -> np.ndarray:
        return np.array([box[key] for box in boxes], np.float64).reshape(len(boxes), width).T

    (x, y, _), (width, length, height) = numbers("translation", 3), numbers("size", 3)
    vx, vy = numbers("velocity", 2)
    return BoxTable(
        sample=np.array([samples[box["sample_token"]] for box in boxes], np.int64),
        label=np.array([names.index(box["detection_name"]) for box in boxes], np.int64),
        x=x,
        y=y,
        heading=np.array([box["yaw"] for box in boxes], np.float64),
        length=length,
        width=width,
        height=height,
        vx=vx,
        vy=vy,
        attribute=np.array([box["attribute_name"] or "" for box in boxes], np.str_),
        score=np.array([box.get("detection_score", 0.0) for box in boxes], np.float64),
    )


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    return [np.nan if value is None else float(value)]  # type: ignore[arg-type]


def check(folder: Path) -> list[Row]:
    """One row per part of the score, over all cases; and one for each primitive."""
    values: dict[str, tuple[list, list]] = {}

    def note(term: str, mine: object, theirs: object) -> None:
        ours, reference = values.setdefault(term, ([], []))
        ours.extend(_numbers(mine))
        reference.extend(_numbers(theirs))

    for path in sorted(folder.glob("case_*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        expected = case["expected"]
        benchmark = _benchmark(expected["cfg"])
        names = [c.name for c in benchmark.classes]
        # Samples in the order in which the predictions name them, as the devkit keeps them.
        tokens = [box["sample_token"] for box in case["pred"] + case["gt"]]
        samples = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        truth, predicted = (_table(case[key], names, samples) for key in ("gt", "pred"))
        metrics = evaluate_detections(truth, predicted, benchmark)
        for name in expected["label_aps"]:
            for distance, ap in expected["label_aps"][name].items():
                note("AP", metrics.label_aps[name][float(distance)], ap)
            note("AP per class", metrics.mean_dist_aps[name], expected["mean_dist_aps"][name])
            for error, value in expected["label_tp_errors"][name].items():
                note(f"{error} per class", metrics.label_tp_errors[name][error], value)
        note("mAP", metrics.mean_ap, expected["mean_ap"])
        for error in expected["tp_errors"]:
            note("errors", metrics.tp_errors[error], expected["tp_errors"][error])
            note("error scores", metrics.tp_scores[error], expected["tp_scores"][error])
        note("NDS", metrics.nds, expected["nd_score"])
        for key, curve in case.get("curves", {}).items():
            name, distance = key.split("@")
            own = metrics.curves[name, float(distance)]
            parts = {"precision": own.precision, "confidence": own.confidence, **own.errors}
            for part in [part for part in parts if part in curve]:
                note("curves", dict(enumerate(parts[part])), dict(enumerate(curve[part])))
    for path in sorted(folder.glob("primitives*.json")):
        primitives = json.loads(path.read_text(encoding="utf-8"))
        for to, start, period, result in primitives.get("angle_diff", []):
            note("heading difference", heading_difference(to, start, period), result)
        for size, other, result in primitives.get("scale_iou", []):
            note("aligned IoU", aligned_iou(size, other), result)
    return [
        compare(
            SCORE,
            term,
            mine,
            theirs,
            CURVE_TOLERANCE if term == "curves" else TOLERANCE,
            relative=True,
        )
        for term, (mine, theirs) in values.items()
        if theirs
    ]
