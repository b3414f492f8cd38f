"""RSS distances against ad-rss-lib: tests/vectors/rss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vectors.table import Row, compare
from roadloop.scoring.rss import (
    RssParameters,
    safe_distance_lateral,
    safe_distance_opposite,
    safe_distance_same,
)

_NAMES = {
    "rho": "response_time",
    "a_accel_max": "acceleration",
    "a_brake_min": "brake_min",
    "a_brake_max": "brake_max",
    "a_brake_min_correct": "brake_min_correct",
    "a_lat_accel_max": "lateral_acceleration",
    "a_lat_brake_min": "lateral_brake_min",
    "mu": "lateral_margin",
    "d_min": "min_distance",
    "v_max_accel": "max_speed",
}
_KINDS = {
    "longitudinal_same": (safe_distance_same, "v_follow", "v_lead", "follow", "lead"),
    "longitudinal_opposite": (
        safe_distance_opposite,
        "v_correct",
        "v_opposite",
        "correct",
        "opposite",
    ),
    "lateral": (safe_distance_lateral, "v_lat_left", "v_lat_right", "left", "right"),
}


def check(folder: Path) -> list[Row]:
    """One row per kind of distance, 1e-9 relative; cases the reference refused are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        for kind, cases in json.loads(path.read_text(encoding="utf-8")).items():
            found.setdefault(kind, []).extend(case for case in cases if case.get("ok", True))
    rows = []
    for kind, cases in found.items():
        if not cases:
            continue
        if kind not in _KINDS:  # nothing of ours to hold against it: says so as a row not reached
            rows.append(Row("rss", kind, len(cases), 0, np.inf, 1e-9))
            continue
        distance, *speeds, one, other = _KINDS[kind]
        first, second = (np.array([case[name] for case in cases]) for name in speeds)
        ours = distance(first, second, _together(cases, one), _together(cases, other))
        theirs = [case["safe_distance"] for case in cases]
        rows.append(compare("rss", kind, ours, theirs, 1e-9, relative=True))
    return rows


def _together(cases: list[dict[str, Any]], who: str) -> RssParameters:
    """The parameters of all cases as one batch."""
    return RssParameters(
        **{ours: np.array([case[who][name] for case in cases]) for name, ours in _NAMES.items()}
    )
