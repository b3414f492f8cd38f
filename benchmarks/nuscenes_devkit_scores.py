"""Made-up noisy detections of an export in nuScenes' schema, and their scores beside the devkit's.

A part of ``nuscenes_devkit.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perception.detection_benchmark import NUSCENES, BoxTable, in_range
from perception.detection_metrics import evaluate_detections
from roadloop.datasets.nuscenes import reader as nuscenes
from roadloop.datasets.nuscenes.tables import Tables
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.types import at

Array = np.ndarray

DETECTION_CLASS = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
}
"""category -> class of the detection task (devkit, ``category_to_detection_name``)"""

GUESS = {
    "pedestrian": "pedestrian.moving",
    "bicycle": "cycle.with_rider",
    "motorcycle": "cycle.with_rider",
    "barrier": "",
    "traffic_cone": "",
}
"""attribute that a detection has, else vehicle.moving"""


def truth_table(tables: Tables) -> tuple[BoxTable, list[dict[str, Any]]]:
    """The annotations that the devkit judges by, and the samples by number with the ego's place."""
    names = [c.name for c in NUSCENES.classes]
    attribute = {row["token"]: row["name"] for row in tables.rows("attribute")}
    pose = {row["token"]: row["translation"] for row in tables.rows("ego_pose")}
    sensors = {row["token"]: row["channel"] for row in tables.rows("sensor")}
    channel = {
        row["token"]: sensors[row["sensor_token"]] for row in tables.rows("calibrated_sensor")
    }
    moment = {row["token"]: row["timestamp"] for row in tables.rows("sample")}
    samples: list[dict[str, Any]] = []
    number: dict[str, int] = {}
    for row in tables.rows("sample_data"):
        if row["is_key_frame"] and channel[row["calibrated_sensor_token"]] == "LIDAR_TOP":
            number[row["sample_token"]] = len(samples)
            place = pose[row["ego_pose_token"]]
            samples.append({"token": row["sample_token"], "x": place[0], "y": place[1]})
    columns: dict[str, list[Any]] = {f: [] for f in BoxTable.__dataclass_fields__}
    scenes = [scene["name"] for scene in tables.rows("scene")]
    for drive in (nuscenes.open_drive(tables.folder, name) for name in scenes):
        offset = drive_offset(tables, drive)
        column = {str(token): a for a, token in enumerate(drive.source_id)}
        for row in tables.rows("sample_annotation"):
            if row["instance_token"] not in column:
                continue
            a = column[row["instance_token"]]
            label = DETECTION_CLASS.get(str(drive.category[a]))
            if label is None or row["num_lidar_pts"] + row["num_radar_pts"] == 0:
                continue
            assert drive.agents is not None
            stamp = moment[row["sample_token"]] - drive.about["start_us"]
            k = int(np.searchsorted(drive.timestamp_us, stamp))
            value = {
                f: float(getattr(drive.agents, f)[k, a])
                for f in ("x", "y", "heading", "length", "width", "height", "vx", "vy")
            }
            if not row["prev"] and not row["next"]:
                value["vx"] = value["vy"] = np.nan
            value["x"], value["y"] = value["x"] + offset[0], value["y"] + offset[1]
            named = [attribute[token] for token in row["attribute_tokens"]]
            value |= {"sample": number[row["sample_token"]], "label": names.index(label)}
            value |= {"attribute": named[0] if named else "", "score": 0.0}
            for f in columns:
                columns[f].append(value[f])
    return BoxTable(**{f: np.array(values) for f, values in columns.items()}), samples


def drive_offset(tables: Tables, drive: Recording) -> tuple[float, float]:
    """m that the export added to a drive's coordinates."""
    log = next(row for row in tables.rows("log") if row["logfile"] == drive.name)
    x, y = log["roadloop"]["world_offset"]
    return x, y


def noisy(truth: BoxTable, rng: np.random.Generator) -> BoxTable:
    """Made-up detections: most boxes a little off, some of another class, some twice."""
    rows = np.flatnonzero(rng.random(len(truth.x)) < 0.85)
    rows = np.concatenate([rows, rng.choice(len(truth.x), len(truth.x) // 4)])
    found = at(truth, rows)
    count = len(rows)

    def normal(size: float) -> Array:
        return size * rng.standard_normal(count)

    label = np.where(rng.random(count) < 0.9, found.label, rng.integers(0, 10, count))
    classes = [NUSCENES.classes[n].name for n in label]
    guess = np.array([GUESS.get(name, "vehicle.moving") for name in classes])
    right = (label == found.label) & (found.attribute != "") & (rng.random(count) < 0.8)
    return replace(
        found,
        label=label,
        x=found.x + normal(0.6),
        y=found.y + normal(0.6),
        heading=found.heading + normal(0.3),
        length=found.length * np.exp(normal(0.1)),
        width=found.width * np.exp(normal(0.1)),
        height=found.height * np.exp(normal(0.1)),
        vx=np.nan_to_num(found.vx) + normal(0.5),
        vy=np.nan_to_num(found.vy) + normal(0.5),
        attribute=np.where(right, found.attribute, guess),
        score=rng.random(count),
    )


def submission(found: BoxTable, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The detections as nuScenes' evaluation takes them."""
    results: dict[str, list[dict[str, Any]]] = {sample["token"]: [] for sample in samples}
    for i in range(len(found.x)):
        token = samples[found.sample[i]]["token"]
        half = found.heading[i] / 2.0
        results[token].append(
            {
                "sample_token": token,
                "translation": [float(found.x[i]), float(found.y[i]), 0.0],
                "size": [float(found.width[i]), float(found.length[i]), float(found.height[i])],
                "rotation": [float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],
                "velocity": [float(found.vx[i]), float(found.vy[i])],
                "detection_name": NUSCENES.classes[found.label[i]].name,
                "detection_score": float(found.score[i]),
                "attribute_name": str(found.attribute[i]),
            }
        )
    return {"meta": {"use_lidar": True}, "results": results}


def compared_scores(
    theirs: dict[str, Any], truth: BoxTable, found: BoxTable, samples: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The devkit's scores and how far ours are off."""
    x, y = (np.array([sample[axis] for sample in samples]) for axis in ("x", "y"))
    truth, found = (at(boxes, in_range(boxes, x, y)) for boxes in (truth, found))
    if (len(truth.x), len(found.x)) != (theirs["truths"], theirs["predictions"]):
        raise RoadloopError(
            f"the devkit judges {theirs['predictions']} detections by {theirs['truths']} boxes, we "
            f"{len(found.x)} by {len(truth.x)}"
        )
    mine = evaluate_detections(truth, found)
    off = [
        abs(ap - theirs["label_aps"][name][str(distance)])
        for name, by in mine.label_aps.items()
        for distance, ap in by.items()
    ]
    for name, by in mine.label_tp_errors.items():
        for error, value in by.items():
            other = theirs["label_tp_errors"][name][error]
            if np.isnan(value) != np.isnan(other):
                raise RoadloopError(f"{error} of {name}: the devkit has {other}, we {value}")
            off.append(0.0 if np.isnan(value) else abs(value - other))
    return {
        "truths": len(truth.x),
        "predictions": len(found.x),
        "mean_ap": theirs["mean_ap"],
        "nds": theirs["nds"],
        "mean_ap_off": abs(mine.mean_ap - theirs["mean_ap"]),
        "nds_off": abs(mine.nds - theirs["nds"]),
        "terms_off": max(off),
    }
