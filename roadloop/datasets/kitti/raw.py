"""KITTI raw, synchronised and rectified: drives of a day with their day's calibration.

Layout: ``2011_09_26`` with ``calib_cam_to_cam.txt``, ``calib_velo_to_cam.txt``,
``calib_imu_to_velo.txt`` and ``2011_09_26_drive_0001_sync``; in that ``image_00`` to ``image_03``,
``velodyne_points`` and ``oxts``, each with ``data`` and ``timestamps.txt``, and
``tracklet_labels.xml``. Files of one number belong together: a step is when the last of them was
measured. A day's folder that holds the data itself, and a single calibration text as those of
object detection, are read too.

Sweeps are stamped when the laser looked forward, as the cameras are, and lie in the frame of then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.kitti.files import (
    EGO_FROM_VELODYNE,
    FRAME_PERIOD,
    LICENCE,
    OXTS_FIELDS,
    PASSAT,
    PLACE,
    UNCORRECTED,
    Calibration,
    absent,
    frames_of,
    matrix,
    mercator_poses,
    numbered,
    projections,
    read_calibration,
    read_rows,
    rig_of,
    rigid,
    table,
)
from roadloop.datasets.kitti.labels import read_tracklets
from roadloop.datasets.labelled_boxes import road_users
from roadloop.datasets.motion import ego_of_poses, poses_at
from roadloop.datasets.source import check_times, read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.logs.recording import Recording

Array = np.ndarray

CAMERAS = {k: f"image_0{k}" for k in range(4)}
"""camera number -> folder"""
SWEEPS = "velodyne_points"
SINGLE = ("calib.txt", "calib_object_format.txt")
"""calibrations in the object benchmark's form, in the drive's folder or the one above"""
FORWARD_SPEED = 8
"""column of an OXTS packet, m/s"""
_DAY = "[0-9][0-9][0-9][0-9]_[0-9][0-9]_[0-9][0-9]"


def drives(root: Path) -> list[str]:
    """Drives by the name of their folder; see ``roadloop.datasets.formats``."""
    return sorted(folder.name for folder in _folders(root))


def open_drive(root: Path, name: str) -> Recording:
    """One drive; see ``roadloop.datasets.formats``."""
    folder = next((f for f in _folders(root) if f.name == name), None)
    if folder is None:
        raise RoadloopError(f"{root} has no KITTI drive {name}")
    calibration = _calibration(folder)
    pictures = {k: numbered(folder / sub / "data") for k, sub in CAMERAS.items()}
    sweeps = numbered(folder / SWEEPS / "data", (".bin",))
    packets = numbered(folder / "oxts" / "data", (".txt",))
    steps = max(max(f, default=-1) for f in (*pictures.values(), sweeps, packets)) + 1
    about: dict[str, Any] = {"licence": LICENCE, "place": PLACE}
    notes = []

    parts = {f"cam{k}": CAMERAS[k] for k in CAMERAS if pictures[k]}
    parts |= {"velodyne": SWEEPS} if sweeps else {}
    parts |= {"oxts": "oxts"} if packets else {}
    times = {key: _times(folder / sub, steps) for key, sub in parts.items()}
    known = {key: t for key, t in times.items() if t is not None}
    if known:
        start = min(int(t[0]) for t in known.values())
        stamps = np.max([t - start for t in known.values()], axis=0)
        about["start_us"] = start + int(stamps[0])
        own = {key: t - about["start_us"] for key, t in known.items()}
        stamps = stamps - stamps[0]
        notes.append("start_us is the recording computer's clock; its time zone is not stated")
    else:
        own = {}
        stamps = np.round(np.arange(steps) * FRAME_PERIOD * 1e6).astype(np.int64)
        notes.append(f"timestamps.txt is missing: frames are taken to be {FRAME_PERIOD} s apart")

    speed = None
    if packets:
        oxts = _oxts(folder, packets, steps)
        if calibration.ego_from_imu is None:
            raise RoadloopError(f"{folder}: calib_imu_to_velo.txt is missing, so poses are unknown")
        world_from_imu, origin = mercator_poses(oxts)
        measured = world_from_imu @ inverse(calibration.ego_from_imu)
        when = own.get("oxts", stamps)
        poses = poses_at(measured, when, stamps)
        speed = np.interp(stamps, when, oxts[:, FORWARD_SPEED])
        places = {key: (t, poses_at(measured, when, t)) for key, t in own.items()}
        about |= {"world": "Mercator east-north-up from the IMU at the first packet", **origin}
    else:
        poses = np.repeat(np.eye(4)[None], steps, axis=0)
        places = {key: (t, poses) for key, t in own.items()}
        notes.append("no oxts: poses are unknown, each step stands alone")
        about["world"] = "the ego's frame at each step"

    users = {}
    labels = folder / "tracklet_labels.xml"
    if labels.is_file():
        at_sweep = places.get("velodyne", (stamps, poses))[1]

        def pose_at(step: int) -> Array:
            if not 0 <= step < steps:
                raise RoadloopError(f"{labels}: frame {step} is beyond the {steps} of {name}")
            return at_sweep[step]

        users = road_users(read_tracklets(labels, pose_at), stamps)
        notes.append("road users are labelled only while cam2 sees them")
    rig = rig_of("kitti-raw", calibration, pictures, bool(sweeps))
    notes += absent({CAMERAS[k]: pictures[k] for k in CAMERAS} | {SWEEPS: sweeps}, steps)
    notes.append(UNCORRECTED)
    return Recording(
        name=name,
        dataset="kitti-raw",
        dt=FRAME_PERIOD,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, PASSAT, speed=speed),
        world_from_ego=poses,
        rig=rig,
        frames=frames_of(rig, pictures, sweeps, stamps, poses, places),
        continuous=bool(packets),
        about=about,
        notes=tuple(notes),
        **users,
    )


def _folders(root: Path) -> list[Path]:
    """Folders of drives: ``root``, those of a day in it, those of a day's drives."""
    days = [root, *sorted(root.glob(_DAY)), *sorted(root.glob(f"{_DAY}_drive_*"))]
    days += [drive for day in days for drive in sorted(day.glob(f"{_DAY}_drive_*"))]
    found = {d.resolve(): None for d in days if _is_drive(d) and not d.name.endswith("_extract")}
    return list(found)


def _is_drive(folder: Path) -> bool:
    return any((folder / sub / "data").is_dir() for sub in (*CAMERAS.values(), SWEEPS))


def _calibration(folder: Path) -> Calibration:
    """That of the day, of three texts or of one in the object benchmark's form."""
    for place in (folder, folder.parent):
        if (texts := place / "calib_cam_to_cam.txt").is_file():
            rows = read_rows(texts)
            rect = matrix(texts, rows, ("R_rect_00",), (3, 3), None)
            if rect is None:
                raise RoadloopError(f"{texts} has no R_rect_00")
            to_cam = _rigid(place / "calib_velo_to_cam.txt")
            return Calibration(
                projection=projections(texts, rows, "P_rect_"),
                ego_from_cam0=EGO_FROM_VELODYNE @ inverse(rigid(texts, rect @ to_cam[:3])),
                velodyne_from_imu=_rigid(imu)
                if (imu := place / "calib_imu_to_velo.txt").is_file()
                else None,
            )
        for name in SINGLE:
            if (place / name).is_file():
                return read_calibration(place / name)
    raise RoadloopError(f"{folder} has no calib_cam_to_cam.txt; download the day's calibration")


def _rigid(path: Path) -> Array:
    """(4, 4) of a text with R and T."""
    rows = read_rows(path)
    turn = matrix(path, rows, ("R",), (3, 3), None)
    place = matrix(path, rows, ("T",), (3, 1), None)
    if turn is None or place is None:
        raise RoadloopError(f"{path} has no R and T")
    return rigid(path, np.concatenate([turn, place], axis=1))


def _times(folder: Path, steps: int) -> Array | None:
    """(steps,) int64 us of a sensor's ``timestamps.txt``, None where there is none."""
    path = folder / "timestamps.txt"
    if not path.is_file():
        return None
    lines = [line.strip() for line in read_bytes(path).decode("ascii", "replace").splitlines()]
    times = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                times.append(np.datetime64(line.replace(" ", "T"), "ns"))
        except ValueError:
            raise RoadloopError(f"{path}, line {number}: {line!r} is no time") from None
    if len(times) < steps:
        raise RoadloopError(f"{path} has {len(times)} times for {steps} frames; is it truncated?")
    stamps = np.array(times[:steps], "datetime64[ns]").astype(np.int64) // 1000
    check_times(stamps, str(path), "line", first=1)
    return stamps


def _oxts(folder: Path, packets: dict[int, Path], steps: int) -> Array:
    """(steps, 30) packets; RoadloopError where one is missing."""
    rows = []
    for k in range(steps):
        if k not in packets:
            raise RoadloopError(f"{folder / 'oxts' / 'data'} has no packet {k} of {steps}")
        rows.append(table(packets[k], OXTS_FIELDS, "the OXTS packet")[0])
    return np.array(rows)
