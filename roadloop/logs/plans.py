"""Why a driver's plans were chosen, on disk: proposals, their terms, what limited, interventions.

::

    plans/
      meta.json              names and weights of the terms, s between points, was there a guard
      moments.parquet        one row per moment that was kept: what was chosen, who limited it
      proposals.parquet      one row per moment and proposal, moment by moment
      terms.parquet          values, one row per proposal and term it has
      points.parquet         where each proposal leads, whole cm in the world frame
      interventions.parquet  what the guard changed of plans

What was chosen between two moments is what was chosen at the first of them: every change of the
choice is a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.logs.side_tables import (
    Table,
    damaged,
    empty_table,
    latest_row,
    read_tables,
    write_tables,
)
from roadloop.types import Rollout

Array = np.ndarray

FORMAT = 1
THOUSANDTHS = 1000
"""of 1: the unit of ``terms.value``"""
CENTIMETRES = 100
"""of 1 m: the unit of ``points``"""
_BOX = {
    **dict.fromkeys(("x", "y"), "float64"),  # m, world, centre; NaN where nobody knows
    **dict.fromkeys(("heading", "length", "width"), "float32"),
}
TABLES: dict[str, dict[str, str]] = {
    "moments": {
        "step": "int32",
        "time": "float64",
        "chosen": "int32",  # row of ``proposals``, -1 where none were weighed
        "limit": "text",
        "limit_id": "int64",  # as the driver calls the road user, -1: none
        **_BOX,  # of him, as the driver takes him to be
    },
    "proposals": {"moment": "int32", "name": "text", "score": "float32"},
    "terms": {"proposal": "int32", "term": "uint8", "value": "int32"},
    "points": {"proposal": "int32", "x": "int32", "y": "int32"},
    "interventions": {
        "step": "int32",
        "time": "float64",
        "until": "float64",  # s
        "kind": "text",
        "what": "text",
        "agent_id": "int64",
        **_BOX,
    },
}
"""columns of each table and their kinds, `side_tables`"""
NOBODY: Table = {
    **dict.fromkeys(("x", "y"), np.nan),
    **dict.fromkeys(("heading", "length", "width"), np.nan),
}
"""a box of whom nobody knows where he is"""


@dataclass(frozen=True)
class PlanLog:
    """Why plans were chosen in a drive; see the module for the tables."""

    terms: tuple[str, ...] = ()
    """names, in the order they are to be shown"""
    weights: tuple[float, ...] = ()
    """of the terms: share of the score that is lost where one of them alone falls from 1 to 0"""
    point_step: float = 0.5
    """s between the points of a proposal, the first is now"""
    guarded: bool = False
    """whether a guard watched the plans"""
    tables: dict[str, Table] = field(
        default_factory=lambda: {name: empty_table(columns) for name, columns in TABLES.items()}
    )

    @property
    def moments(self) -> int:
        """How many moments were kept."""
        return len(self.tables["moments"]["time"])

    @property
    def interventions(self) -> int:
        """How often the guard intervened."""
        return len(self.tables["interventions"]["time"])

    @property
    def manoeuvres(self) -> list[str]:
        """(moments,) name of what was chosen, empty where nothing was weighed."""
        names = self.tables["proposals"]["name"]
        return [names[row] if row >= 0 else "" for row in self.tables["moments"]["chosen"].tolist()]

    def of_step(self, rollout: Rollout) -> Array:
        """(time,) the latest moment known at each step of the drive, -1 before the first."""
        return latest_row(self.tables["moments"]["step"], rollout)

    def values(self) -> Array:
        """(proposals, terms) in [0, 1], NaN where a proposal was not judged by a term."""
        rows = self.tables["terms"]
        found = np.full((len(self.tables["proposals"]["name"]), len(self.terms)), np.nan)
        found[rows["proposal"], rows["term"]] = rows["value"] / THOUSANDTHS
        return found

    def paths(self) -> Array:
        """(proposals, K, 2) m, world; a shorter path stays where it ends."""
        points, n = self.tables["points"], len(self.tables["proposals"]["name"])
        start = np.searchsorted(points["proposal"], np.arange(n + 1))
        count = np.diff(start)
        if not count.any():
            return np.zeros((n, 0, 2))
        k = np.minimum(np.arange(count.max()), np.maximum(count - 1, 0)[:, None])
        xy = np.stack([points["x"], points["y"]], axis=-1) / CENTIMETRES
        found = np.asarray(xy[np.minimum(start[:-1, None] + k, len(xy) - 1)])
        found[count == 0] = np.nan
        return found


def write_plans(folder: str | Path, log: PlanLog) -> Path:
    """Write the log into a folder of its own and return it; an earlier one there is replaced.

    Raises RoadloopError where it cannot be written.
    """
    meta = {
        "format": FORMAT,
        "terms": list(log.terms),
        "weights": list(log.weights),
        "point_step": log.point_step,
        "guarded": log.guarded,
    }
    return write_tables(folder, TABLES, log.tables, meta)


def read_plans(folder: str | Path) -> PlanLog | None:
    """The log in a folder, None where it holds none.

    Raises RoadloopError for one that is damaged or of a newer format.
    """
    read = read_tables(folder, TABLES, FORMAT)
    if read is None:
        return None
    try:
        return _log(*read)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, error) from error


def _log(meta: Mapping[str, Any], tables: dict[str, Table]) -> PlanLog:
    return PlanLog(
        terms=tuple(str(name) for name in meta["terms"]),
        weights=tuple(float(weight) for weight in meta["weights"]),
        point_step=float(meta["point_step"]),
        guarded=bool(meta["guarded"]),
        tables=tables,
    )
