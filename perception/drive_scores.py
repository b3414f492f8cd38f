"""What one drive of a recording says about a detector: enough to put any drives together later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from perception.detection_benchmark import BoxTable
from perception.object_tables import DriveObjects
from roadloop.errors import RoadloopError

Array = np.ndarray

DIGITS = 4
"""decimals of metres, radians and scores in files: below what anybody measures"""
_TABLE = tuple(f.name for f in fields(BoxTable) if f.name != "attribute")
_WHOLE = ("sample", "label")


@dataclass(frozen=True)
class DriveScores:
    """What one drive comes to."""

    name: str
    about: dict[str, Any]
    """of the recording: family, seed, weather, ..."""
    objects: DriveObjects
    raster: Array
    """``RasterScore.counts``"""
    lane: dict[str, tuple[float, float, float]]
    """by band: sum of direction errors (rad), of centreline errors (m), judged cells"""
    lights: dict[str, Any]
    """``LightScore.state``"""
    remembered: int
    """moments that had a state of before"""

    @property
    def moments(self) -> int:
        """How many were judged."""
        return self.objects.moments

    def as_json(self) -> dict[str, Any]:
        """Plain values; `drive_from_json` gives the drive back, rounded to `DIGITS`."""
        objects = self.objects
        return {
            "name": self.name,
            "about": self.about,
            "moments": objects.moments,
            "remembered": self.remembered,
            "truth": _columns(objects.truth),
            "judged": objects.judged.astype(int).tolist(),
            "found": _columns(objects.found),
            "position_std": _rounded(objects.position_std),
            "velocity_std": _rounded(objects.velocity_std),
            "raster": self.raster.tolist(),
            "lane": {name: list(sums) for name, sums in self.lane.items()},
            "lights": self.lights,
        }


def drive_from_json(values: Mapping[str, Any]) -> DriveScores:
    """The drive of its plain values; RoadloopError where they are not of a drive."""
    try:
        objects = DriveObjects(
            truth=_table(values["truth"]),
            judged=np.array(values["judged"], bool),
            found=_table(values["found"]),
            position_std=np.array(values["position_std"], np.float64),
            velocity_std=np.array(values["velocity_std"], np.float64),
            moments=int(values["moments"]),
        )
        return DriveScores(
            name=str(values["name"]),
            about=dict(values["about"]),
            objects=objects,
            raster=np.array(values["raster"], np.int64),
            lane={str(k): (v[0], v[1], v[2]) for k, v in values["lane"].items()},
            lights=dict(values["lights"]),
            remembered=int(values["remembered"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RoadloopError(f"a drive's scores are damaged ({error}): judge it again") from error


def _columns(table: BoxTable) -> dict[str, list[float]]:
    return {
        name: getattr(table, name).tolist() if name in _WHOLE else _rounded(getattr(table, name))
        for name in _TABLE
    }


def _rounded(values: Array) -> list[float]:
    return np.round(np.asarray(values, np.float64), DIGITS).tolist()


def _table(columns: Mapping[str, Sequence[float]]) -> BoxTable:
    made = {
        name: np.array(columns[name], np.int64 if name in _WHOLE else np.float64) for name in _TABLE
    }
    for name in ("length", "width", "height"):
        made[name] = np.maximum(made[name], 10.0**-DIGITS)
    return BoxTable(**made, attribute=np.full(len(made["x"]), ""))
