"""KITTI tracking: sequences with tracks and GNSS/IMU poses.

Layout: ``training`` (and ``testing``) with ``calib/0001.txt``, ``label_02/0001.txt``,
``oxts/0001.txt``, and folders per sequence in ``image_02``, ``image_03`` and ``velodyne``. A step
is a frame. World: Mercator east and north as the devkit has them, from the IMU at the first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.kitti.files import (
    FRAME_PERIOD,
    LICENCE,
    OXTS_FIELDS,
    PASSAT,
    PLACE,
    UNCORRECTED,
    absent,
    frames_of,
    mercator_poses,
    numbered,
    read_calibration,
    rig_of,
    table,
)
from roadloop.datasets.kitti.labels import read_labels
from roadloop.datasets.labelled_boxes import road_users
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.logs.recording import Recording

Array = np.ndarray

CAMERAS = {2: "image_02", 3: "image_03"}
"""camera number -> folder"""
FORWARD_SPEED = 8
"""column of an OXTS packet, m/s"""


def drives(root: Path) -> list[str]:
    """Sequences as ``training_0001``; see ``roadloop.datasets.formats``."""
    return [
        f"{s.name}_{c.stem}" for s in _splits(root) for c in sorted((s / "calib").glob("*.txt"))
    ]


def open_drive(root: Path, name: str) -> Recording:
    """One sequence; see ``roadloop.datasets.formats``."""
    folder, sequence = _find(root, name)
    calibration = read_calibration(folder / "calib" / f"{sequence}.txt")
    pictures = {k: numbered(folder / sub / sequence) for k, sub in CAMERAS.items()}
    sweeps = numbered(folder / "velodyne" / sequence, (".bin",))
    oxts_file = folder / "oxts" / f"{sequence}.txt"
    labels = folder / "label_02" / f"{sequence}.txt"
    about: dict[str, Any] = {"licence": LICENCE, "place": PLACE}
    notes = [f"no times are published: frames are {FRAME_PERIOD} s apart, a turn of the velodyne"]
    speed = None
    if oxts_file.is_file():
        oxts = table(oxts_file, OXTS_FIELDS, "the OXTS packet")
        if calibration.ego_from_imu is None:
            raise RoadloopError(f"{folder / 'calib' / sequence}.txt has no Tr_imu_velo: no poses")
        world_from_imu, origin = mercator_poses(oxts)
        poses = world_from_imu @ inverse(calibration.ego_from_imu)
        speed = oxts[:, FORWARD_SPEED]
        about |= {"world": "Mercator east-north-up from the IMU at the first frame", **origin}
    else:
        last = [max(files, default=-1) for files in (*pictures.values(), sweeps)]
        poses = np.repeat(np.eye(4)[None], max(*last, _last_frame(labels)) + 1, axis=0)
        notes.append(
            f"{oxts_file.name} of oxts is missing: poses are unknown, each step stands alone"
        )
        about["world"] = "the ego's frame at each step"
    if not len(poses):
        raise RoadloopError(f"{folder} has nothing of sequence {sequence} but a calibration")
    stamps = np.round(np.arange(len(poses)) * FRAME_PERIOD * 1e6).astype(np.int64)
    users = {}
    if labels.is_file():

        def pose_at(step: int) -> Array:
            if not 0 <= step < len(poses):
                raise RoadloopError(f"{labels}: frame {step} is beyond the {len(poses)} of {name}")
            return poses[step]

        boxes, more = read_labels(labels, calibration, pose_at, tracking=True)
        users = road_users(boxes, stamps)
        notes += [*more, "road users are labelled only while cam2 sees them"]
    rig = rig_of("kitti-tracking", calibration, pictures, bool(sweeps))
    folders = {CAMERAS[k]: pictures[k] for k in CAMERAS} | {"velodyne": sweeps}
    notes += absent(folders, len(poses))
    notes.append(UNCORRECTED)
    return Recording(
        name=name,
        dataset="kitti-tracking",
        dt=FRAME_PERIOD,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, PASSAT, speed=speed),
        world_from_ego=poses,
        rig=rig,
        frames=frames_of(rig, pictures, sweeps, stamps, poses),
        continuous=oxts_file.is_file(),
        about=about,
        notes=tuple(notes),
        **users,
    )


def _splits(root: Path) -> list[Path]:
    """The folders that hold sequences: ``root`` or those in it."""
    found = [p for p in (root, *(root / s for s in ("testing", "training"))) if _is_split(p)]
    return [p.resolve() for p in found]


def _is_split(folder: Path) -> bool:
    parts = (*CAMERAS.values(), "label_02", "oxts")
    return (folder / "calib").is_dir() and any((folder / part).is_dir() for part in parts)


def _find(root: Path, name: str) -> tuple[Path, str]:
    split, _, sequence = name.rpartition("_")
    for folder in _splits(root):
        if folder.name == split and (folder / "calib" / f"{sequence}.txt").is_file():
            return folder, sequence
    raise RoadloopError(f"{root} has no KITTI tracking sequence {name}")


def _last_frame(labels: Path) -> int:
    """The last frame of a label text, -1 where there is none."""
    if not labels.is_file():
        return -1
    firsts = [
        line.split()[0]
        for line in read_bytes(labels).decode("ascii", "replace").splitlines()
        if line.strip()
    ]
    return max((int(word) for word in firsts if word.isdigit()), default=-1)
