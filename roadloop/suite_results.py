"""What a suite run leaves behind: a folder of tables that comparison and suite page read.

::

    run.json         what was run: suite and its hash, driver, perception, versions
    cases.jsonl      one line per finished case, appended the moment it ends
    rollouts/CASE/   the log of each case (roadloop.logs.store)
    cases.parquet    one row per case in the suite's order, written when all have ended
    scores.parquet   one row per case, score and term, likewise
    summary.json     means with intervals over the cases, likewise
    index.html       the suite page

All of it is the same bytes for the same run, however often it was interrupted and whoever computed
it. Wall-clock times are kept apart, in ``timings.jsonl``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class CaseResult:
    """One case of a suite as it ended."""

    case: str
    """unique name within the suite, e.g. "cut_in-3" or "ccrs-50-100-0" """
    scenario: str
    """name that `roadloop drive` knows"""
    family: str
    """what cases are grouped by"""
    seed: int
    parameters: dict[str, float]
    failed: str
    """empty where it was driven and scored to the end, else one line: why not"""
    replay: str
    """the command that drives this case again"""
    steps: int
    dt: float
    rollout_hash: str
    """roadloop.logs.store.rollout_hash, empty where it failed"""
    scores: tuple[dict[str, Any], ...]
    """``Score.to_json()`` without the series, one per definition; empty where it failed"""


@dataclass(frozen=True, eq=False)
class SuiteResults:
    """A finished (or so far finished) run of a suite."""

    folder: Path
    run: dict[str, Any]
    """run.json: "suite", "suite_hash", "driver", "perception", "settings", "versions", ..."""
    cases: tuple[CaseResult, ...]
    """in the suite's order"""

    @property
    def finished(self) -> tuple[CaseResult, ...]:
        """The cases that did not fail: what every figure stands on."""
        return tuple(case for case in self.cases if not case.failed)

    def values(self, score: str, term: str = "") -> Array:
        """(finished,) the score's own value, or its term's; NaN where it does not apply."""
        found = []
        for case in self.finished:
            judged = next((s for s in case.scores if s["name"] == score), None)
            entry = judged
            if judged is not None and term:
                entry = next((t for t in judged["terms"] if t["name"] == term), None)
            value = None if entry is None else entry["value"]
            found.append(np.nan if value is None else float(value))
        return np.array(found)
