"""What a driver saw in a drive, on disk: detections, tracks, lights, faults, rasters and pictures.

::

    percepts/
      meta.json            the detector, its classes, grid and cameras; faults as they came
      moments.parquet      one row per moment that was looked at; the others name its row
      detections.parquet   boxes in the world frame, with scores
      tracks.parquet       what the planner was given
      lights.parquet       heads of traffic lights, px in the pictures
      told.parquet         states of the map's signals that the planner was told, those not OFF
      witnessed.parquet    how many pixels of the pictures show each agent, of the simulator
      rasters.parquet      probabilities of the raster map (layers, X, Y), 255 is 1
      pictures.parquet     JPEG
      times.parquet        ms per stage and step of the drive; none where nobody measured

All but ``witnessed`` is what the driver took to be true; the truth is in the drive's rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.logs import side_tables
from roadloop.logs.side_tables import Table

Array = np.ndarray

FORMAT = 1
_BOX = {
    "label": "uint8",  # index of the class
    "kind": "uint8",  # AgentKind
    **dict.fromkeys(("x", "y", "z"), "float64"),
    **dict.fromkeys(("heading", "vx", "vy", "length", "width", "height"), "float32"),
}
TABLES: dict[str, dict[str, str]] = {
    "moments": {"step": "int32", "time": "float64", "world_from_ego": "pose"},
    "detections": {
        "moment": "int32",
        **_BOX,
        **dict.fromkeys(("score", "position_std", "velocity_std"), "float32"),
    },
    "tracks": {"moment": "int32", "id": "int64", **_BOX, "position_std": "float32", "age": "int32"},
    "lights": {
        "moment": "int32",
        "camera": "uint8",
        **dict.fromkeys(
            ("u", "v", "width", "height", "score", "off", "red", "yellow", "green"), "float32"
        ),
    },
    "told": {"moment": "int32", "signal": "int32", "state": "uint8"},
    "witnessed": {"moment": "int32", "agent": "int64", "pixels": "int32"},
    "rasters": {"moment": "int32", "values": "bytes"},
    "pictures": {"moment": "int32", "camera": "uint8", "jpeg": "bytes"},
    "times": {"step": "int32", "stage": "uint8", "ms": "float32"},
}
"""columns of each table and their kinds, `side_tables`"""
_LENSES = {"pinhole": Pinhole, "brown-conrady": BrownConrady, "fisheye": Fisheye}


@dataclass(frozen=True)
class PictureCamera:
    """A camera whose pictures are kept, by its calibration."""

    name: str
    lens: Pinhole
    ego_from_camera: Array
    """(4, 4)"""


@dataclass(frozen=True)
class PerceptGrid:
    """Cells of the rasters in the ego frame: i along x, ahead, j along y, to the left."""

    x_min: float
    """m, rear edge"""
    y_min: float
    """m, right edge"""
    nx: int
    ny: int
    cell: float
    """m, side of a cell"""

    @property
    def x_max(self) -> float:
        """m, front edge."""
        return self.x_min + self.nx * self.cell

    @property
    def y_max(self) -> float:
        """m, left edge."""
        return self.y_min + self.ny * self.cell


@dataclass(frozen=True)
class PerceptLog:
    """What a driver saw; see the module for the tables."""

    detector: str
    """name and beginning of the hash of its weights"""
    rig: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    grid: PerceptGrid
    visible_pixels: int
    """an agent counts as visible from so many pixels on"""
    cameras: tuple[PictureCamera, ...]
    faults: tuple[tuple[float, tuple[str, ...]], ...]
    """(s, one line per fault) whenever they changed"""
    budget_ms: dict[str, float] = field(default_factory=dict)
    """stage -> ms it may take, in the order of ``times.stage``"""
    tables: dict[str, Table] = field(default_factory=dict)

    @property
    def moments(self) -> int:
        """How many moments were looked at."""
        return len(self.tables["moments"]["time"])

    def raster(self, row: int) -> Array:
        """(layers, X, Y) uint8 of a row of ``rasters``."""
        values = self.tables["rasters"]["values"][row]
        return np.frombuffer(values, np.uint8).reshape(-1, self.grid.nx, self.grid.ny)


def empty_table(name: str) -> Table:
    """A table without rows."""
    return side_tables.empty_table(TABLES[name])


def write_percepts(folder: str | Path, log: PerceptLog) -> Path:
    """Write the log into a folder of its own and return it; an earlier one there is replaced.

    Raises RoadloopError where it cannot be written.
    """
    return side_tables.write_tables(folder, TABLES, log.tables, _meta(log))


def read_percepts(folder: str | Path) -> PerceptLog | None:
    """The log in a folder, None where it holds none.

    Raises RoadloopError for one that is damaged or of a newer format.
    """
    read = side_tables.read_tables(folder, TABLES, FORMAT)
    if read is None:
        return None
    try:
        return _log(*read)
    except (ValueError, KeyError, TypeError) as error:
        raise side_tables.damaged(folder, error) from error


def _meta(log: PerceptLog) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "detector": log.detector,
        "rig": log.rig,
        "classes": list(log.classes),
        "layers": list(log.layers),
        "grid": asdict(log.grid),
        "visible_pixels": log.visible_pixels,
        "cameras": [
            {
                "name": camera.name,
                "model": next(k for k, v in _LENSES.items() if v is type(camera.lens)),
                "lens": {f.name: float(getattr(camera.lens, f.name)) for f in fields(camera.lens)},
                "ego_from_camera": np.asarray(camera.ego_from_camera, float).tolist(),
            }
            for camera in log.cameras
        ],
        "faults": [[time, list(lines)] for time, lines in log.faults],
        "budget_ms": log.budget_ms,
    }


def _log(meta: Mapping[str, Any], tables: dict[str, Table]) -> PerceptLog:
    cameras = []
    for entry in meta["cameras"]:
        numbers = {k: int(v) if k in ("width", "height") else v for k, v in entry["lens"].items()}
        lens = _LENSES[entry["model"]](**numbers)
        cameras.append(PictureCamera(entry["name"], lens, np.array(entry["ego_from_camera"])))
    return PerceptLog(
        detector=meta["detector"],
        rig=meta["rig"],
        classes=tuple(meta["classes"]),
        layers=tuple(meta["layers"]),
        grid=PerceptGrid(**meta["grid"]),
        visible_pixels=int(meta["visible_pixels"]),
        cameras=tuple(cameras),
        faults=tuple((float(time), tuple(lines)) for time, lines in meta["faults"]),
        budget_ms=dict(meta["budget_ms"]),
        tables=tables,
    )
