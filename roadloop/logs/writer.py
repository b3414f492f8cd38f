"""A recording of any data set written as a log of ours: whole under its name, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.recording import Frame, Recording
from roadloop.logs.sensor_folder import META, RIG
from roadloop.logs.sensor_log import SensorLogWriter
from roadloop.readings import CameraImage
from roadloop.types import at

Array = np.ndarray

Edit = Callable[[str, CameraImage], CameraImage]
"""camera and picture -> the picture that is written in its place"""


@dataclass(frozen=True)
class Written:
    """What a log came to."""

    steps: int
    agents: int
    images: int
    sweeps: int
    scans: int
    lanes: int
    bytes: int


def write_recording(
    recording: Recording,
    folder: str | Path,
    *,
    overwrite: bool = False,
    edit: Edit | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Written:
    """Writes every step, label, picture, sweep, scan and the map of a recording.

    Written beside ``folder`` under a hidden name first: a killed process leaves nothing under the
    final one, and two processes do not write the same. Pictures that came in a JPEG or PNG file are
    that file, to the byte, but where ``edit`` changes them. Of measurements that arrive between two
    steps the last one is kept, none of those after the last step.

    Args:
        overwrite: replace a log that is there; a folder of anything else is never touched.
        on_step: called with the number of every step written.

    Raises:
        RoadloopError: a file of the recording that is damaged; a folder that holds something, or
            that another process is writing.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _part(folder) as part:
            _check_free(folder, overwrite)
            written = _write(recording, part, edit, on_step)
            old = _beside(folder, "old")
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():  # taken away whole: half of it must not pass for a log
                folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RoadloopError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def clear_part(folder: Path) -> None:
    """Take away what a killed process left of ``folder``, but nothing that one is writing."""
    part = _beside(folder, "part")
    if part.is_dir():
        with contextlib.suppress(RoadloopError, OSError), _part(folder):
            pass
    shutil.rmtree(_beside(folder, "old"), ignore_errors=True)


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(f".{folder.name}.{end}")


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """An empty hidden folder beside ``folder``, which no other process has; gone at the end."""
    import fcntl

    part = _beside(folder, "part")
    part.mkdir(exist_ok=True)
    lock, locked = os.open(part, os.O_RDONLY), False

    def is_ours() -> bool:  # not another's, after this one was renamed
        return part.exists() and os.path.samestat(os.stat(part), os.fstat(lock))

    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = is_ours()
        if not locked:
            raise RoadloopError(f"{folder} is being written by another process; wait for that one")
        try:
            for path in part.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield part
        finally:
            if is_ours():
                shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(lock)


def _check_free(folder: Path, overwrite: bool) -> None:
    """RoadloopError where ``folder`` holds anything but a log that may be overwritten."""
    if not folder.exists():
        return
    if not overwrite:
        raise RoadloopError(f"{folder} exists; use --overwrite to replace it")
    if not all((folder / name).is_file() for name in (RIG, META)):
        raise RoadloopError(
            f"{folder} is no log of roadloop, which alone are overwritten; give another folder"
        )


def _write(
    recording: Recording,
    folder: Path,
    edit: Edit | None,
    on_step: Callable[[int], None] | None,
) -> Written:
    frames = _frames_by_step(recording)
    late = [recording.timestamp_us[k] - f.timestamp_us for k in frames for f in frames[k].values()]
    about: dict[str, Any] = dict(recording.about)
    about.setdefault("dataset", recording.dataset)  # a copy of a log is still of that data set
    about["drive"] = recording.name
    about |= {"continuous": recording.continuous, "notes": list(recording.notes)}
    counts = {"camera": 0, "lidar": 0, "radar": 0}
    with SensorLogWriter(
        folder,
        recording.rig,
        lossless=recording.lossless,
        about=about,
        road_map=recording.road_map,
        late=max(late, default=0) * 1e-6,
    ) as log:
        known: set[int] = set()
        for k in range(len(recording)):
            observation = recording.observation(k, sensors=())
            readings: dict[str, dict[str, Any]] = {"camera": {}, "lidar": {}, "radar": {}}
            for name, frame in frames.get(k, {}).items():
                reading = frame.read()
                if edit is not None and frame.kind == "camera":
                    reading = edit(name, reading)
                readings[frame.kind][name] = reading
                counts[frame.kind] += 1
            there: Any = slice(None)
            if recording.agents is not None:
                there = np.flatnonzero(recording.agents.valid[k])
                _add_objects(log, recording, k, there, known)
            tilted, points = recording.world_from_agent, recording.lidar_points
            log.append(
                replace(
                    observation,
                    cameras=readings["camera"],
                    lidars=readings["lidar"],
                    radars=readings["radar"],
                ),
                world_from_ego=recording.world_from_ego[k],
                world_from_agent=None if tilted is None else tilted[k, there],
                lidar_points=None if points is None else points[k, there],
                measured_from={n: f.world_from_ego for n, f in frames.get(k, {}).items()},
                labelled=bool(recording.is_labelled[k]),
            )
            if on_step is not None:
                on_step(k)
    return Written(
        steps=len(recording),
        agents=0 if recording.agents is None else recording.agents.valid.shape[1],
        images=counts["camera"],
        sweeps=counts["lidar"],
        scans=counts["radar"],
        lanes=0 if recording.road_map is None else recording.road_map.lanes,
        bytes=log.bytes,
    )


def _frames_by_step(recording: Recording) -> Mapping[int, dict[str, Frame]]:
    """Per step the newest new measurement of each sensor."""
    found: dict[int, dict[str, Frame]] = {}
    for frame in sorted(recording.frames, key=lambda f: f.timestamp_us):
        if frame.step < len(recording):
            found.setdefault(frame.step, {})[frame.sensor] = frame
    return found


def _add_objects(
    log: SensorLogWriter, recording: Recording, k: int, there: Array, known: set[int]
) -> None:
    assert recording.agents is not None
    ids = at(recording.agents, (k, there)).id
    new = np.array([c for c, i in zip(there.tolist(), ids.tolist()) if i not in known], np.int64)
    known.update(ids.tolist())
    if len(new):
        numbers = recording.agents.id[k, new]
        log.add_objects(k, numbers, recording.category[new], recording.source_id[new])
