"""What comparing two runs of one suite gives: rows of differences and the cases that changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roadloop.errors import RoadloopError
from roadloop.stats import Difference
from roadloop.suites.measures import Measure
from roadloop.suites.results import CaseResult, SuiteResults, replay_file

Verdict = Literal["better", "worse", "differs", "none"]
"""of B against A; "differs" where neither way is good, "none" where nothing is significant"""


@dataclass(frozen=True)
class Row:
    """One measure, over the whole suite or one family of it."""

    measure: Measure
    family: str
    """empty: the whole suite"""
    difference: Difference
    """B - A"""
    verdict: Verdict
    survives: bool
    """the verdict also survives Holm's correction over all rows of its kind (whole suite or
    families)"""


@dataclass(frozen=True)
class Change:
    """What became of one case."""

    a: CaseResult
    b: CaseResult
    before: float
    after: float
    """headline score in A and B; NaN where there is none"""
    lost: tuple[Measure, ...]
    """verdicts passed in A and failed in B"""
    gained: tuple[Measure, ...]
    """verdicts failed in A and passed in B"""
    size: float
    """share of the headline score's range it moved by, and 1 for every verdict that turned"""


@dataclass(frozen=True, eq=False)
class Comparison:
    """B against A."""

    a: SuiteResults
    b: SuiteResults
    level: float
    pairs: tuple[tuple[CaseResult, CaseResult], ...]
    """cases that finished in both"""
    failed_a: tuple[CaseResult, ...]
    failed_b: tuple[CaseResult, ...]
    only_a: tuple[str, ...]
    """cases that finished in A and not in B (failed there, or not driven yet)"""
    only_b: tuple[str, ...]
    scores_left_out: tuple[str, ...]
    """scores that one of the runs does not have"""
    rows: tuple[Row, ...]
    """the whole suite, measure by measure"""
    family_rows: tuple[Row, ...]
    headline: Measure | None
    """what changes of cases are measured by"""
    changes: tuple[Change, ...]
    """cases that changed, most first"""

    def row(self, name: str) -> Row:
        """The whole suite's row of a measure. Raises RoadloopError that names the known ones."""
        for row in self.rows:
            if row.measure.name == name:
                return row
        known = ", ".join(row.measure.name for row in self.rows)
        raise RoadloopError(f"no score or term {name!r} in both runs; there are {known or 'none'}")


def replay_page(run: SuiteResults, case: CaseResult) -> Path | None:
    """The replay of a case where the run has kept one."""
    page = replay_file(run.folder, case.case)
    return page if page.is_file() else None
