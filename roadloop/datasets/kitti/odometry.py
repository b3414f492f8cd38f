"""KITTI odometry: sequences with the poses of cam0.

Layout: ``sequences/00`` with ``calib.txt``, ``times.txt``, ``image_0`` to ``image_3`` and
``velodyne``, and ``poses/00.txt`` beside ``sequences``; poses without a sequence's folder are read
too, and a single folder with ``calib.txt``, ``poses.txt``, ``image_l`` and ``image_r``.

Poses are (3, 4) of cam0 rectified in its own first frame, of which neither east nor up is known:
the world is the *ego's* frame at the first step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.datasets.kitti.files import (
    CAMERA_AHEAD,
    CAMERA_HEIGHT,
    FRAME_PERIOD,
    LICENCE,
    PASSAT,
    PLACE,
    Calibration,
    absent,
    frames_of,
    numbered,
    read_calibration,
    rig_of,
    rigid,
    table,
)
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import check_times
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, se3
from roadloop.logs.recording import Recording
from roadloop.rig import CAMERA_AXES

Array = np.ndarray

CAMERAS: dict[int, tuple[str, ...]] = {
    0: ("image_0", "image_l"),
    1: ("image_1", "image_r"),
    2: ("image_2",),
    3: ("image_3",),
}
"""camera number -> its folder, by any of these names"""


def drives(root: Path) -> list[str]:
    """Sequences by number; a single folder by its name. See ``roadloop.datasets.formats``."""
    return sorted(_sequences(root))


def open_drive(root: Path, name: str) -> Recording:
    """One sequence; see ``roadloop.datasets.formats``."""
    found = _sequences(root)
    if name not in found:
        raise RoadloopError(f"{root} has no KITTI odometry sequence {name}")
    folder, poses_file = found[name]
    notes = []
    text = folder / "calib.txt"
    if text.is_file():
        calibration = read_calibration(text)
        if not _has_velodyne(text):
            notes.append("calib.txt has no Tr: cam0 is where the car's drawing has it, level")
    else:
        place = np.array([CAMERA_AHEAD, 0.0, CAMERA_HEIGHT])
        calibration = Calibration({}, se3(CAMERA_AXES, place))
        notes.append("no calib.txt: cam0 is where the car's drawing has it, level; no sensors")
    pictures = {
        k: next((files for sub in names if (files := numbered(folder / sub))), {})
        for k, names in CAMERAS.items()
    }
    sweeps = numbered(folder / "velodyne", (".bin",))
    times = _times(folder / "times.txt")
    about = {"licence": LICENCE, "place": PLACE}
    if poses_file is not None:
        matrices = table(poses_file, 12, "the pose").reshape(-1, 3, 4)
        cam0 = np.stack([rigid(f"{poses_file}, line {k}", m) for k, m in enumerate(matrices, 1)])
        poses = calibration.ego_from_cam0 @ cam0 @ inverse(calibration.ego_from_cam0)
        about["world"] = "the ego's frame at the first step: x is where the car points then"
    else:
        last = max(max(files, default=-1) for files in (*pictures.values(), sweeps)) + 1
        steps = last if times is None else len(times)
        poses = np.repeat(np.eye(4)[None], steps, axis=0)
        about["world"] = "the ego's frame at each step"
        notes.append("no poses: they are not published for this sequence, each step stands alone")
    if times is None:
        notes.append(f"no times.txt: frames are taken to be {FRAME_PERIOD} s apart")
        stamps = np.round(np.arange(len(poses)) * FRAME_PERIOD * 1e6).astype(np.int64)
    elif len(times) < len(poses):
        raise RoadloopError(
            f"{folder / 'times.txt'} has {len(times)} times for {len(poses)} poses; truncated?"
        )
    else:
        stamps = np.round((times[: len(poses)] - times[0]) * 1e6).astype(np.int64)
    check_times(stamps, str(folder / "times.txt"), "line", first=1)
    rig = rig_of("kitti-odometry", calibration, pictures, bool(sweeps) and text.is_file())
    notes += absent({CAMERAS[k][0]: pictures[k] for k in CAMERAS}, len(poses))
    notes += absent({"velodyne": sweeps}, len(poses))
    if sweeps:
        notes.append("sweeps are corrected for the ego's motion by their authors (devkit)")
    return Recording(
        name=name,
        dataset="kitti-odometry",
        dt=FRAME_PERIOD,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, PASSAT),
        world_from_ego=poses,
        rig=rig,
        frames=frames_of(rig, pictures, sweeps, stamps, poses),
        continuous=poses_file is not None,
        about=about,
        notes=tuple(notes),
    )


def _sequences(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Name -> folder of the sequence (which need not exist) and its poses."""
    if _is_single(root):
        return {root.resolve().name: (root, root / "poses.txt")}
    if (root / "calib.txt").is_file() and root.parent.name == "sequences":
        poses = root.parent.parent / "poses" / f"{root.name}.txt"
        return {root.name: (root, poses if poses.is_file() else None)}
    found: dict[str, tuple[Path, Path | None]] = {}
    for base in (root, root / "dataset"):
        for calib in sorted((base / "sequences").glob("[0-9][0-9]/calib.txt")):
            poses = base / "poses" / f"{calib.parent.name}.txt"
            found[calib.parent.name] = (calib.parent, poses if poses.is_file() else None)
        for poses in sorted((base / "poses").glob("[0-9][0-9].txt")):
            found.setdefault(poses.stem, (base / "sequences" / poses.stem, poses))
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if _is_single(folder):
            found[folder.name] = (folder, folder / "poses.txt")
    return found


def _is_single(folder: Path) -> bool:
    files = ("calib.txt", "poses.txt")
    return folder.is_dir() and all((folder / file).is_file() for file in files)


def _has_velodyne(calibration: Path) -> bool:
    return any(line.startswith("Tr") for line in calibration.read_text().splitlines())


def _times(path: Path) -> Array | None:
    """s of each frame, None where there is no such file."""
    return table(path, 1, "the time")[:, 0] if path.is_file() else None
