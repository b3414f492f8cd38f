"""The tables of a nuScenes folder: found, read once, and joined by their tokens.

The schema: nuscenes-devkit, ``docs/schema_nuscenes.md``. Links between neighbours (``prev``,
``next``) are not followed; records are put in order by their time, so that a folder that holds a
part of a scene can be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.source import read_json
from roadloop.errors import RoadloopError
from roadloop.geometry import se3

Array = np.ndarray
Record = dict[str, Any]


class Tables:
    """The tables in ``folder``, each read when it is first asked for; sensor files lie in ``root``.

    Every fault is a RoadloopError that names the table's file and the record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder.parent
        self._rows: dict[str, list[Record]] = {}
        self._index: dict[str, dict[str, Record]] = {}

    def rows(self, table: str) -> list[Record]:
        """The records of a table."""
        if table not in self._rows:
            path = self.folder / f"{table}.json"
            rows = read_json(path)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise RoadloopError(f"{path} is no table: expected a list of records")
            self._rows[table] = rows
        return self._rows[table]

    def get(self, table: str, token: Any, by: str, record: Record) -> Record:
        """The record ``token`` of ``table``, which ``record`` of the table ``by`` points at."""
        found = self._by_token(table).get(token)
        if found is None:
            raise self.fault(by, record, f"{table}_token {token!r} is not in {table}.json")
        return found

    def fault(self, table: str, record: Record, what: str) -> RoadloopError:
        """The error that says ``what`` is wrong with a record."""
        token = record.get("token")
        if token is None:
            token = f"number {next(k for k, r in enumerate(self.rows(table)) if r is record)}"
        return RoadloopError(f"{self.folder / table}.json: record {token}: {what}")

    def value(self, table: str, record: Record, key: str) -> Any:
        """A field of a record."""
        if key not in record:
            raise self.fault(table, record, f"{key} is missing")
        return record[key]

    def number(self, table: str, record: Record, key: str) -> float:
        """A field that is a finite number."""
        value = self.value(table, record, key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise self.fault(table, record, f"{key} is {value!r}: expected a finite number")
        return value

    def time_us(self, table: str, record: Record) -> int:
        """Its ``timestamp``, whole microseconds (Lyft's tables have fractions)."""
        return round(self.number(table, record, "timestamp"))

    def numbers(self, table: str, records: Sequence[Record], key: str, count: int) -> Array:
        """(records, count) float64 of a field that is a list of finite numbers."""
        try:
            values = np.array([r[key] for r in records], np.float64).reshape(len(records), -1)
        except (KeyError, ValueError, TypeError, OverflowError):
            values = np.full((len(records), 0), np.nan)
        if not records:
            return np.zeros((0, count))
        if values.shape != (len(records), count) or not np.isfinite(values).all():
            raise self._not_numbers(table, records, key, count)
        return values

    def poses(self, table: str, records: Sequence[Record]) -> Array:
        """(records, 4, 4) of ``translation`` and ``rotation`` (a quaternion w, x, y, z)."""
        place = self.numbers(table, records, "translation", 3)
        turn = self.numbers(table, records, "rotation", 4)
        length = np.linalg.norm(turn, axis=-1)
        off = np.abs(length - 1.0) > 1e-3
        if off.any():
            bad = records[int(np.argmax(off))]
            raise self.fault(table, bad, f"rotation {bad['rotation']} is no unit quaternion")
        return se3(rotation_of(turn / length[:, None]), place)

    def _not_numbers(
        self, table: str, records: Sequence[Record], key: str, count: int
    ) -> RoadloopError:
        for record in records:
            value = self.value(table, record, key)
            try:
                numbers = np.ravel(np.asarray(value, np.float64))
            except (ValueError, TypeError, OverflowError):
                numbers = np.zeros(0)
            if len(numbers) != count or not np.isfinite(numbers).all():
                return self.fault(
                    table, record, f"{key} is {value!r}: expected {count} finite numbers"
                )
        return RoadloopError(f"{self.folder / table}.json: {key}: expected {count} numbers each")

    def _by_token(self, table: str) -> dict[str, Record]:
        if table not in self._index:
            rows = self.rows(table)
            self._index[table] = {self.value(table, row, "token"): row for row in rows}
        return self._index[table]

    # --- what belongs together -------------------------------------------------------------------

    def samples(self, scene: Record) -> list[Record]:
        """The keyframes of a scene by time; RoadloopError where there are none."""
        samples = self._samples.get(self.value("scene", scene, "token"), [])
        if not samples:
            raise self.fault("scene", scene, "no record of sample.json belongs to it")
        return sorted(samples, key=lambda sample: self.time_us("sample", sample))

    def data_of(self, samples: Sequence[Record]) -> list[Record]:
        """The measurements (sample_data) of some keyframes and up to them."""
        return [row for sample in samples for row in self._data.get(sample["token"], [])]

    def boxes_of(self, sample: Record) -> list[Record]:
        """The annotations of a keyframe."""
        return self._boxes.get(sample["token"], [])

    @cached_property
    def _samples(self) -> dict[str, list[Record]]:
        return self._grouped("sample", "scene")

    @cached_property
    def _data(self) -> dict[str, list[Record]]:
        return self._grouped("sample_data", "sample")

    @cached_property
    def _boxes(self) -> dict[str, list[Record]]:
        return self._grouped("sample_annotation", "sample")

    def _grouped(self, table: str, owner: str) -> dict[str, list[Record]]:
        """Records by the record of ``owner`` they point at."""
        groups: defaultdict[str, list[Record]] = defaultdict(list)
        for row in self.rows(table):
            token = self.value(table, row, f"{owner}_token")
            self.get(owner, token, table, row)
            groups[token].append(row)
        return groups


@dataclass(frozen=True)
class Channel:
    """One sensor of a scene: its measurements by time."""

    name: str
    modality: str
    """camera, lidar or radar"""
    data: tuple[Record, ...]
    """records of sample_data"""
    time_us: Array
    """(n,) int64"""
    world_from_ego: Array
    """(n, 4, 4) when it measured"""
    calibrations: tuple[Record, ...]
    """(n,) records of calibrated_sensor"""


def channels(tables: Tables, samples: Sequence[Record]) -> dict[str, Channel]:
    """The sensors of a scene by name, in the order of sensor.json."""
    found: dict[str, list[tuple[int, Record, Record, Record]]] = {}
    modality: dict[str, str] = {}
    for row in tables.data_of(samples):
        calibration = tables.get(
            "calibrated_sensor",
            tables.value("sample_data", row, "calibrated_sensor_token"),
            *("sample_data", row),
        )
        sensor = tables.get(
            "sensor",
            tables.value("calibrated_sensor", calibration, "sensor_token"),
            *("calibrated_sensor", calibration),
        )
        pose = tables.get(
            "ego_pose", tables.value("sample_data", row, "ego_pose_token"), "sample_data", row
        )
        name = tables.value("sensor", sensor, "channel")
        modality[name] = tables.value("sensor", sensor, "modality")
        if modality[name] not in ("camera", "lidar", "radar"):
            raise tables.fault("sensor", sensor, f"unknown modality {modality[name]!r}")
        entry = (tables.time_us("sample_data", row), row, pose, calibration)
        found.setdefault(name, []).append(entry)
    order = [tables.value("sensor", row, "channel") for row in tables.rows("sensor")]
    result = {}
    for name in sorted(found, key=order.index):
        entries = sorted(found[name], key=lambda entry: entry[0])
        times, rows, poses, calibrations = zip(*entries, strict=True)
        result[name] = Channel(
            name,
            modality[name],
            rows,
            np.array(times, np.int64),
            tables.poses("ego_pose", poses),
            calibrations,
        )
    return result


def table_folders(root: Path) -> list[Path]:
    """Folders with tables: ``root`` itself, or those directly in it, by name."""
    if not root.is_dir():
        return []
    candidates = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
    needed = ("scene.json", "sample.json", "sample_data.json", "calibrated_sensor.json")
    return [f for f in candidates if all((f / name).is_file() for name in needed)]


def tables_in(folder: Path) -> Tables:
    """The tables in a folder; those of the last folder are kept, as long as they are not changed.

    The tables of all 850 scenes hold 2.6 million measurements: a minute or two and some 6 GB, which
    whoever opens many scenes pays once.
    """
    changed = tuple((p.name, p.stat().st_mtime_ns) for p in sorted(folder.glob("*.json")))
    return _kept(folder.resolve(), folder, changed)


@lru_cache(maxsize=1)
def _kept(place: Path, folder: Path, changed: tuple[Any, ...]) -> Tables:
    return Tables(folder)


def rotation_of(quaternion: Array) -> Array:
    """Unit quaternions w, x, y, z ``(..., 4)`` as rotations ``(..., 3, 3)``."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    rows = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def slerp(start: Array, end: Array, share: Array) -> Array:
    """Unit quaternions ``(..., 4)`` on the shorter arc from ``start`` (share 0) to ``end`` (1)."""
    dot = (start * end).sum(-1, keepdims=True)
    end = np.where(dot < 0.0, -end, end)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    near = np.sin(angle) < 1e-9
    by = np.where(near, 1.0, np.sin(angle))
    share = np.asarray(share)[..., None]
    first = np.where(near, 1.0 - share, np.sin((1.0 - share) * angle) / by)
    second = np.where(near, share, np.sin(share * angle) / by)
    turned = first * start + second * end
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)
