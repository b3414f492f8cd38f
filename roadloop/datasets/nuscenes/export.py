"""Recordings of any data set in nuScenes' schema, as the original devkit opens it.

All thirteen tables, ``samples/`` and ``sweeps/``, a mask of the drivable ground, and ``all`` scenes
as a split for the devkit's evaluation. Keyframes are labelled steps at 2 Hz; what the sensors
measured at other times are sweeps. Coordinates stay, but where the drive lies outside the first
5 km of x and y of its map: then whole metres are added, which ``log.json`` has under ``roadloop``
and our reader takes off. What recordings do not know: ``roadloop.datasets.nuscenes.classes``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadloop.datasets.nuscenes.classes import ATTRIBUTES, CATEGORIES, VISIBILITIES
from roadloop.datasets.nuscenes.mask import mask_png
from roadloop.datasets.nuscenes.scene import SceneRecords, token
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording

Record = dict[str, Any]

TABLES = (
    *("category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor"),
    *("ego_pose", "log", "scene", "sample", "sample_data", "sample_annotation", "map"),
)

SPLIT = "all"
"""name of the split of all scenes in ``splits.json``"""


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    folder: Path
    records: Mapping[str, int]
    """by table"""
    bytes: int


def export_nuscenes(
    recordings: Iterable[Recording],
    out: str | Path,
    *,
    version: str = "v1.0-roadloop",
    on_scene: Callable[[Recording], None] | None = None,
) -> Exported:
    """Writes recordings as a data set of nuScenes' schema, whole or not at all.

    The same recordings give the same bytes: tokens are hashes of names and times. Pictures that
    came as JPEG are copied, others are encoded; pictures of lenses that bend are rectified.

    Args:
        out: a folder that does not exist yet, or is empty.
        version: name of the folder with the tables.
        on_scene: called when a recording has been written.

    Raises:
        RoadloopError: ``out`` in use or not writable, two recordings of one name, one without
            pictures or sweeps, no recording at all, a sensor file that cannot be read.
    """
    out = Path(out)
    if Path(version).name != version or version in ("", ".", ".."):
        raise RoadloopError(f"version {version!r}: expected the name of a folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RoadloopError(f"{out} is there already; give another folder, or remove it")
    hidden = out.absolute().with_name(f".{out.absolute().name}.tmp")
    try:
        shutil.rmtree(hidden, ignore_errors=True)  # left behind by a kill
        hidden.mkdir(parents=True)
        counts = _write(recordings, hidden, version, on_scene)
        total = sum(path.stat().st_size for path in hidden.rglob("*") if path.is_file())
        if out.exists():
            out.rmdir()
        os.replace(hidden, out)
    except OSError as error:
        raise RoadloopError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(hidden)
    return Exported(out, counts, total)


def _write(
    recordings: Iterable[Recording],
    folder: Path,
    version: str,
    on_scene: Callable[[Recording], None] | None,
) -> dict[str, int]:
    """Tables and files into ``folder``; the number of records by table."""
    tables: defaultdict[str, dict[str, Record]] = defaultdict(dict)

    def add(table: str, record: Record) -> None:
        tables[table][record["token"]] = record

    for name in CATEGORIES:
        add("category", {"token": token("category", name), "name": name, "description": ""})
    for name in ATTRIBUTES:
        add("attribute", {"token": token("attribute", name), "name": name, "description": ""})
    for key, level in VISIBILITIES.items():
        add("visibility", {"token": key, "level": level, "description": ""})
    scenes: list[str] = []
    for recording in recordings:
        if recording.name in scenes:
            raise RoadloopError(f"two recordings are called {recording.name}: rename one")
        scenes.append(recording.name)
        SceneRecords(recording, folder, add).write()
        log = token(recording.name, "log")
        mask = token(recording.name, "map")
        filename = f"maps/{mask}.png"
        (folder / "maps").mkdir(exist_ok=True)
        (folder / filename).write_bytes(mask_png(recording))
        record = {"token": mask, "log_tokens": [log], "category": "semantic_prior"}
        add("map", record | {"filename": filename})
        if on_scene is not None:
            on_scene(recording)
    if not scenes:
        raise RoadloopError("there is no recording to export")
    (folder / version).mkdir()
    for name in TABLES:
        _json(folder / version / f"{name}.json", list(tables[name].values()))
    _json(folder / version / "splits.json", {SPLIT: scenes})
    return {name: len(tables[name]) for name in TABLES}


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=0, allow_nan=False) + "\n", encoding="utf-8")
