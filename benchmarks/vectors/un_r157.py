"""The reference drivers of UN R157 against JRC-FSM: tests/vectors/un_r157."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vectors.table import Row, compare
from planning import r157

_TOLERANCE = 1e-9
_MODELS = {"CC_human_driver": "CC", "FSM": "FSM", "RSS": "RSS", "Reg157": "Reg157"}
_CONSTANTS = {
    "dt": r157.STEP,
    "steps": r157.STEPS,
    "length": r157.LENGTH,
    "width": r157.WIDTH,
    "initial_lateral_gap": r157.INITIAL_LATERAL_GAP,
}


def check(folder: Path) -> list[Row]:
    """Crashes, final speeds and time series of every model, the fuzzy values, the constants.

    What a file does not hold (a model, fuzzy values) has no row.
    """
    rows: list[Row] = []
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        series_path = path.with_name(f"{path.stem}_timeseries.npz")
        series: dict[str, np.ndarray] = {}
        if series_path.exists():
            with np.load(series_path) as arrays:
                series = dict(arrays)
        for theirs in _MODELS:
            rows += _cut_ins(data.get("cases", []), theirs, series)
        rows += _fuzzy(data.get("fuzzy", []))
        constants = data.get("constants", {})
        mine = [_CONSTANTS.get(name, np.nan) for name in constants]
        rows.append(compare("un_r157", "constants", mine, list(constants.values())))
    return [row for row in rows if row.cases]


def _cut_ins(cases: list[dict[str, Any]], theirs: str, series: Any) -> list[Row]:
    """Rows of one model."""
    numbered = [(k, case) for k, case in enumerate(cases) if theirs in case["results"]]
    model = _MODELS[theirs]
    name = f"un_r157 {model}"
    if not numbered:
        return []
    found = r157.cut_in(
        model,
        np.array([case["ego_speed_kmh"] for _, case in numbered]) / 3.6,
        np.array([case["other_speed_kmh"] for _, case in numbered]) / 3.6,
        np.array([case["lateral_speed_mps"] for _, case in numbered]),
        np.array([case["front_gap_m"] for _, case in numbered]),
    )
    results = [case["results"][theirs] for _, case in numbered]
    rows = [
        compare(name, "crash", found.crash, [r["crash"] for r in results]),
        compare(name, "crash_type", found.crash_type, [r["crash_type"] for r in results]),
        compare(
            name,
            "final_speed",
            found.speed[:, -1],
            [r["final_ego_speed"] for r in results],
            _TOLERANCE,
            relative=True,
        ),
    ]
    for term, ours in (("speed", found.speed), ("pos", found.position)):
        keys = [(i, f"{k}_{theirs}_{term}") for i, (k, _) in enumerate(numbered)]
        kept = [(i, key) for i, key in keys if key in series]
        if kept:
            mine = np.concatenate([ours[i] for i, _ in kept])
            other = np.concatenate([series[key] for _, key in kept])
            rows.append(compare(name, f"{term}_series", mine, other, _TOLERANCE, relative=True))
    return rows


def _fuzzy(cases: list[dict[str, Any]]) -> list[Row]:
    names = ("dist", "v_ego", "v_other", "reaction", "a_ego", "PFS", "CFS")
    columns = [np.array([case[name] for case in cases], float) for name in names]
    gap, ego, other, reaction, acceleration, pfs, cfs = columns
    return [
        compare(
            "un_r157 FSM",
            "PFS",
            r157.proactive_fuzzy(gap, ego, other, reaction),
            pfs,
            _TOLERANCE,
            relative=True,
        ),
        compare(
            "un_r157 FSM",
            "CFS",
            r157.critical_fuzzy(gap, ego, other, reaction, acceleration),
            cfs,
            _TOLERANCE,
            relative=True,
        ),
    ]
