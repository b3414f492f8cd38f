"""The files of a sensor log: their names, written whole or not at all, meta data and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from roadloop import __version__
from roadloop.config import dump_config
from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.logs.sensor_files import IMAGES
from roadloop.logs.sensor_tables import SCHEMA_VERSION, TABLES
from roadloop.rig import SensorRig
from roadloop.types import VehicleParameters

META = "meta.json"
RIG = "rig.yaml"
CALIBRATION = "calibration.json"
MAP = "map.npz"
SUMS = "SHA256SUMS"

_MEASUREMENT = re.compile(r"\.?\d{6,}\.(jpg|png|npz|parquet)(\.tmp)?")
_PART = re.compile(r"\.?part-\d{5,}\.parquet(\.tmp)?")


def prepare(folder: Path, overwrite: bool) -> None:
    """Make the folder; with ``overwrite`` remove the files of an earlier log, and nothing else."""
    with _said_in_one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in (META, RIG, SUMS) if (folder / name).exists()]
        if not present:
            return
        if not overwrite:
            raise RoadloopError(
                f"{folder} already holds a sensor log ({present[0]}); overwrite it, or give "
                "another folder"
            )
        for name in (SUMS, META, CALIBRATION, MAP, RIG):  # what says that it is whole goes first
            (folder / name).unlink(missing_ok=True)
        for table in TABLES:
            _remove(folder / f"{table}.parquet", _PART)
        for kind in (*IMAGES, "lidar"):
            if (folder / kind).is_dir():
                for sensor in (folder / kind).iterdir():
                    _remove(sensor, _MEASUREMENT)
                _remove(folder / kind, _MEASUREMENT)


def write_file(folder: Path, name: str, content: bytes) -> str:
    """Write a file whole or not at all; its SHA-256 in hex."""
    path = folder / name
    with _said_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            hidden.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write the checksums, as ``sha256sum --check`` reads them; the log is closed then."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    write_file(folder, SUMS, "".join(lines).encode())


def read_sums(folder: Path) -> dict[str, str] | None:
    """Checksum of each file of a closed log by name; None for a log that is not closed."""
    path = folder / SUMS
    if not path.exists():
        return None
    sums = {}
    for line in _read(path).decode("utf-8", "replace").splitlines():
        digest, gap, name = line.partition("  ")
        if not gap or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise RoadloopError(f"{path} is damaged: {line[:40]!r} is no checksum with a name")
        sums[name] = digest
    return sums


def read_file(folder: Path, name: str, expected: str | None) -> bytes:
    """The content of a file, compared with its checksum unless that is None."""
    path = f"{folder}/{name}"  # a Path takes as long to make as a small file to read
    content = _read(path)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise RoadloopError(
            f"{path} differs from its checksum in {SUMS}; it was changed or damaged since"
        )
    return content


def listed(folder: Path, sums: dict[str, str] | None, name: str) -> str | None:
    """The checksum a file must have; None where the log is not closed."""
    if sums is None:
        return None
    if name not in sums:
        raise RoadloopError(f"{folder / name} is not listed in {SUMS}; move it out of the log")
    return sums[name]


def read_meta(folder: Path, expected: str | None = None) -> dict[str, Any]:
    """The ``meta.json`` of a sensor log, its schema version checked."""
    if not (folder / META).exists():
        raise RoadloopError(
            f"{folder} is not a sensor log, or was killed before its first step: it has no {META}"
        )
    content = read_file(folder, META, expected)
    try:
        meta = json.loads(content)
        version = int(meta["schema_version"])
        if meta["format"] != "roadloop sensor log":
            raise ValueError(f"format is {meta['format']!r}")
        missing = {"dt", "vehicle", "about", "tracks", "lights", "finished"} - set(meta)
        if missing:
            raise KeyError(min(missing))
        _check_facts(meta)
    except (ValueError, KeyError, TypeError) as error:
        raise RoadloopError(f"{folder / META} is damaged or of something else: {error}") from error
    if version > SCHEMA_VERSION:
        raise RoadloopError(
            f"{folder} has sensor log schema {version}, roadloop {__version__} reads up to schema "
            f"{SCHEMA_VERSION}; upgrade roadloop"
        )
    return meta


def _check_facts(meta: dict[str, Any]) -> None:
    """ValueError or TypeError for what a log made by hand may have wrong."""
    about = meta["about"]
    if not isinstance(about, dict):
        raise TypeError(f"about is {about!r}, not facts by name")
    if not (math.isfinite(meta["dt"]) and meta["dt"] > 0.0):
        raise ValueError(f"dt is {meta['dt']}; must be above 0 s")
    every, notes = about.get("every", 1), about.get("notes", [])
    if not (isinstance(every, int) and every >= 1):
        raise ValueError(f"about.every is {every!r}; must be a whole number from 1 on")
    if not (isinstance(notes, list) and all(isinstance(note, str) for note in notes)):
        raise TypeError("about.notes is no list of texts")
    vehicle = asdict(VehicleParameters(**meta["vehicle"]))
    for name, value in vehicle.items():
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"vehicle.{name} is {value!r}; must be a number")


def json_bytes(values: dict[str, Any]) -> bytes:
    """As the log's JSON files are written."""
    return (json.dumps(values, indent=2) + "\n").encode()


def rig_bytes(rig: SensorRig) -> bytes:
    """The rig as YAML; RoadloopError where it is no rig."""
    if not isinstance(rig, SensorRig):
        raise RoadloopError(f"a sensor log needs a SensorRig, got {type(rig).__name__}: load_rig()")
    return dump_config(rig).encode()


def calibration_bytes(rig: SensorRig) -> bytes:
    """Where the rig's sensors sit and how its lenses bend light, as matrices."""

    def rows(matrix: np.ndarray) -> list[list[float]]:
        return [[float(v) for v in row] for row in matrix]

    cameras = {
        s.name: {
            "model": s.model,
            "width": s.width,
            "height": s.height,
            "matrix": [[s.fx, 0.0, s.cx], [0.0, s.fy, s.cy], [0.0, 0.0, 1.0]],
            "distortion": list(s.distortion),
            "ego_from_camera": rows(s.ego_from_camera),
        }
        for s in rig.cameras
    }
    others = {
        s.name: {"ego_from_sensor": rows(s.mount.ego_from_sensor)}
        for s in (*rig.lidars, *rig.radars, *rig.imus, *rig.gnss)
    }
    return json_bytes({"cameras": cameras, "sensors": others})


def _remove(folder: Path, pattern: re.Pattern[str]) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):  # it also holds files of someone else
        folder.rmdir()


def _read(path: Path | str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing; the log is incomplete, record it again") from None
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _said_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RoadloopError(f"{path} cannot be written: {error.strerror or error}") from error
