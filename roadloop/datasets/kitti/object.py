"""KITTI object detection: single frames of different places, each one a drive of one step.

Layout: ``training`` (and ``testing``) with ``calib``, ``image_2``, ``image_3``, ``velodyne`` or
``velodyne_reduced`` (only what cam2 sees), ``label_2``, all files called by the frame's number.
Each frame has a calibration of its own. The world is the ego's frame: poses are not published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.datasets.kitti.files import (
    FRAME_PERIOD,
    LICENCE,
    PASSAT,
    PLACE,
    UNCORRECTED,
    frames_of,
    read_calibration,
    rig_of,
)
from roadloop.datasets.kitti.labels import read_labels
from roadloop.datasets.labelled_boxes import road_users
from roadloop.datasets.motion import ego_of_poses
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording

CAMERAS = {2: "image_2", 3: "image_3"}
"""camera number -> folder"""
SWEEPS = ("velodyne", "velodyne_reduced")


def drives(root: Path) -> list[str]:
    """Frames as ``training_000008``; see ``roadloop.datasets.formats``."""
    frame = "[0-9]" * 6 + ".txt"  # calibrations of KITTI tracking have four digits
    return [f"{s.name}_{c.stem}" for s in _splits(root) for c in sorted((s / "calib").glob(frame))]


def open_drive(root: Path, name: str) -> Recording:
    """One frame; see ``roadloop.datasets.formats``."""
    folder, frame = _find(root, name)
    calibration = read_calibration(folder / "calib" / f"{frame}.txt")
    notes = []
    pictures = {
        number: {0: file}
        for number, sub in CAMERAS.items()
        if (file := _picture(folder / sub, frame)) is not None
    }
    notes += [f"no {CAMERAS[k]}: cam{k} is left out" for k in CAMERAS if k not in pictures]
    sweeps = [f for sub in SWEEPS if (f := folder / sub / f"{frame}.bin").is_file()][:1]
    if not sweeps:
        notes.append("no sweep")
    elif sweeps[0].parent.name == "velodyne_reduced":
        notes.append("the sweep is cut to what cam2 sees (velodyne_reduced)")
    rig = rig_of("kitti-object", calibration, pictures, bool(sweeps))
    if not rig.sensors:
        raise RoadloopError(f"{folder} has no picture and no sweep of frame {frame}")
    stamps = np.zeros(1, np.int64)
    poses = np.eye(4)[None]
    labels = folder / "label_2" / f"{frame}.txt"
    users = {}
    if labels.is_file():
        boxes, more = read_labels(labels, calibration, lambda _: poses[0], tracking=False)
        users = road_users(boxes, stamps)
        notes += [*more, "road users outside cam2's picture are not labelled; all stand still here"]
    notes.append(UNCORRECTED)
    return Recording(
        name=name,
        dataset="kitti-object",
        dt=FRAME_PERIOD,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, PASSAT),
        world_from_ego=poses,
        rig=rig,
        frames=frames_of(rig, pictures, dict(enumerate(sweeps)), stamps, poses),
        continuous=False,
        about={"licence": LICENCE, "place": PLACE, "world": "the ego's frame"},
        notes=tuple(notes),
        **users,
    )


def _splits(root: Path) -> list[Path]:
    """The folders that hold frames: ``root`` or those in it."""
    found = [p for p in (root, *(root / s for s in ("testing", "training"))) if _is_split(p)]
    return [p.resolve() for p in found]


def _is_split(folder: Path) -> bool:
    parts = (*CAMERAS.values(), *SWEEPS, "label_2")
    return (folder / "calib").is_dir() and any((folder / part).is_dir() for part in parts)


def _find(root: Path, name: str) -> tuple[Path, str]:
    split, _, frame = name.rpartition("_")
    for folder in _splits(root):
        if folder.name == split and (folder / "calib" / f"{frame}.txt").is_file():
            return folder, frame
    raise RoadloopError(f"{root} has no KITTI object frame {name}")


def _picture(folder: Path, frame: str) -> Path | None:
    files = [folder / f"{frame}{suffix}" for suffix in (".png", ".jpg")]
    return next((f for f in files if f.is_file()), None)
