"""What nuscenes-devkit makes of a data set: run by ``nuscenes_devkit.py`` with the devkit's Python.

    python nuscenes_devkit_side.py ROOT VERSION DETECTIONS.json OUT.json

Nothing of roadloop is imported. Every table is walked and every link followed; what the devkit
computes (boxes in each sensor's frame, points in the ego frame, velocities, the detection scores)
goes into one JSON file. An assertion that fails is a data set the devkit cannot use.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any


def walk(nusc: Any) -> dict[str, int]:
    """Every record by its token, every chain in both directions; the number of records."""
    for table in nusc.table_names:
        records = getattr(nusc, table)
        for record in records:
            assert nusc.get(table, record["token"]) is record, (table, record["token"])
            for key, value in record.items():
                target = key[: -len("_token")]
                if key.endswith("_token") and target in nusc.table_names:
                    assert value == "" or nusc.get(target, value), (table, key, value)
            for key in ("prev", "next"):
                if record.get(key):
                    other = nusc.get(table, record[key])
                    assert other["next" if key == "prev" else "prev"] == record["token"]
                    assert (
                        (other["timestamp"] < record["timestamp"]) == (key == "prev")
                        if ("timestamp" in record)
                        else True
                    )
    for scene in nusc.scene:
        token, seen = scene["first_sample_token"], 0
        while token:
            seen, last = seen + 1, token
            token = nusc.get("sample", token)["next"]
        assert seen == scene["nbr_samples"] and last == scene["last_sample_token"], scene["name"]
    for instance in nusc.instance:
        token, seen = instance["first_annotation_token"], 0
        while token:
            seen, last = seen + 1, token
            token = nusc.get("sample_annotation", token)["next"]
        assert seen == instance["nbr_annotations"] and last == instance["last_annotation_token"]
    return {table: len(getattr(nusc, table)) for table in nusc.table_names}


def readings(nusc: Any, out_points: str) -> list[dict[str, Any]]:
    """Each measurement: its boxes in the sensor's frame, the lens, the points in the ego frame."""
    import numpy as np
    from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
    from nuscenes.utils.geometry_utils import BoxVisibility, transform_matrix
    from PIL import Image
    from pyquaternion import Quaternion

    found, clouds = [], {}
    for data in nusc.sample_data:
        path, boxes, lens = nusc.get_sample_data(data["token"], box_vis_level=BoxVisibility.NONE)
        assert os.path.exists(path), path
        scene = nusc.get("scene", nusc.get("sample", data["sample_token"])["scene_token"])
        row = {
            "scene": scene["name"],
            "channel": data["channel"],
            "timestamp": data["timestamp"],
            "key": data["is_key_frame"],
            "lens": None if lens is None else np.asarray(lens).tolist(),
            "boxes": [
                {
                    "instance": nusc.get("sample_annotation", box.token)["instance_token"],
                    "centre": box.center.tolist(),
                    "rotation": box.rotation_matrix.tolist(),
                    "wlh": np.asarray(box.wlh).tolist(),
                }
                for box in boxes
            ],
        }
        if data["sensor_modality"] == "camera":
            with Image.open(path) as image:
                assert image.size == (data["width"], data["height"]), path
        else:
            kind = LidarPointCloud if data["sensor_modality"] == "lidar" else RadarPointCloud
            cloud = kind.from_file(path)
            calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            pose = transform_matrix(calibration["translation"], Quaternion(calibration["rotation"]))
            points = cloud.points.astype(np.float64)
            points[:3] = (pose @ np.vstack([points[:3], np.ones(points.shape[1])]))[:3]
            clouds[str(len(found))] = points
        found.append(row)
    np.savez(out_points, **clouds)
    return found


def velocities(nusc: Any) -> list[dict[str, Any]]:
    """``box_velocity`` of each annotation."""
    return [
        {
            "instance": record["instance_token"],
            "timestamp": nusc.get("sample", record["sample_token"])["timestamp"],
            "velocity": nusc.box_velocity(record["token"]).tolist(),
        }
        for record in nusc.sample_annotation
    ]


def on_mask(nusc: Any) -> dict[str, float]:
    """Share of each scene's ego poses that the mask calls drivable."""
    import numpy as np

    shares = {}
    for scene in nusc.scene:
        log = nusc.get("log", scene["log_token"])
        mask = nusc.get("map", log["map_token"])["mask"]
        tokens = {s["token"] for s in nusc.sample if s["scene_token"] == scene["token"]}
        place = np.array(
            [
                nusc.get("ego_pose", d["ego_pose_token"])["translation"]
                for d in nusc.sample_data
                if d["sample_token"] in tokens
            ]
        )
        shares[scene["name"]] = float(mask.is_on_mask(place[:, 0], place[:, 1]).mean())
    return shares


def detection(nusc: Any, detections: str) -> dict[str, Any]:
    """What ``DetectionEval`` says of the detections, on the split of all scenes."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    with tempfile.TemporaryDirectory() as folder:
        config = config_factory("detection_cvpr_2019")
        judge = DetectionEval(nusc, config, detections, "all", folder, verbose=False)
        metrics, _ = judge.evaluate()
    return {
        "mean_ap": metrics.mean_ap,
        "nds": metrics.nd_score,
        "label_aps": metrics.serialize()["label_aps"],
        "label_tp_errors": metrics.serialize()["label_tp_errors"],
        "tp_errors": metrics.tp_errors,
        "truths": len(judge.gt_boxes.all),
        "predictions": len(judge.pred_boxes.all),
    }


def main(root: str, version: str, detections: str, out: str) -> None:
    from nuscenes import NuScenes

    nusc = NuScenes(version=version, dataroot=root, verbose=False)
    result = {
        "records": walk(nusc),
        "readings": readings(nusc, out + ".npz"),
        "velocities": velocities(nusc),
        "on_mask": on_mask(nusc),
        "detection": detection(nusc, detections),
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
