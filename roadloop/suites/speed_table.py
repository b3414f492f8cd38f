"""Test protocols by test speed: how many tests of each scenario were avoided, and the points.

Every list of numbers of a test protocol has the speed of the car under test as its parameter
``ego_speed``; a cell of the table holds the tests of one scenario at one speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roadloop.scoring.protocols import PROTOCOL_SCORES
from roadloop.suites.results import CaseResult, SuiteResults

_KMH = 3.6
ALL = "all"
"""name of the last row and the last column"""


@dataclass(frozen=True)
class SpeedCell:
    """Tests of one scenario at one speed."""

    tests: int
    avoided: int
    points: float | None
    """mean in [0, 1]; None where the protocol gives none"""
    worst: float
    """m/s, the fastest impact; 0 without one"""

    @property
    def text(self) -> str:
        """``3/5`` avoided, with points where not all were."""
        text = f"{self.avoided}/{self.tests}"
        if self.points is not None and self.avoided < self.tests:
            text += f" ({self.points:.2f})"
        return text


@dataclass(frozen=True)
class SpeedTable:
    """Cells by scenario, and by test speed in km/h; both also have ``ALL``."""

    cells: dict[str, dict[str, SpeedCell]]

    @property
    def speeds(self) -> tuple[str, ...]:
        """Columns, slow ones first, ``ALL`` last."""
        return tuple(self.cells[ALL])

    def rows(self) -> list[list[str]]:
        """Head and one row per scenario as text; empty where there is no such test."""
        rows = [["avoided, by km/h", *self.speeds]]
        for scenario, cells in self.cells.items():
            texts = [cells[speed].text if speed in cells else "" for speed in self.speeds]
            rows.append([scenario, *texts])
        return rows


def speed_table(results: SuiteResults) -> SpeedTable | None:
    """The table of a run's finished cases; None where none of them is of a protocol."""
    found: list[tuple[str, float, dict[str, Any]]] = []
    for case in results.finished:
        score = protocol_score(case)
        if score is not None and "ego_speed" in case.parameters:
            found.append((case.scenario, round(case.parameters["ego_speed"] * _KMH), score))
    if not found:
        return None
    speeds = sorted({speed for _, speed, _ in found})
    cells: dict[str, dict[str, SpeedCell]] = {}
    for scenario in (*dict.fromkeys(name for name, _, _ in found), ALL):
        mine = [entry for entry in found if scenario in (entry[0], ALL)]
        cells[scenario] = {
            f"{speed:g}": _cell([score for _, at, score in mine if at == speed])
            for speed in speeds
            if any(at == speed for _, at, _ in mine)
        }
        cells[scenario][ALL] = _cell([score for _, _, score in mine])
    return SpeedTable(cells)


def protocol_score(case: CaseResult) -> dict[str, Any] | None:
    """The score of the protocol that a case is a test of, as JSON; None where it is of none."""
    return next((score for score in case.scores if score["name"] in PROTOCOL_SCORES), None)


def was_avoided(score: dict[str, Any]) -> bool:
    """Whether a test was driven without an impact."""
    return bool(_term(score, "avoided")["passed"])


def _cell(scores: list[dict[str, Any]]) -> SpeedCell:
    points = [score["value"] for score in scores if score["value"] is not None]
    return SpeedCell(
        tests=len(scores),
        avoided=sum(was_avoided(score) for score in scores),
        points=sum(points) / len(points) if points else None,
        worst=max(_term(score, "impact_speed")["value"] for score in scores),
    )


def _term(score: dict[str, Any], name: str) -> dict[str, Any]:
    return next(term for term in score["terms"] if term["name"] == name)


def speed_text(table: SpeedTable) -> str:
    """The table for the terminal."""
    rows = table.rows()
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]
        lines.append("  " + "  ".join(cells).rstrip())
    if table.cells[ALL][ALL].points is not None:
        lines.append("  (in brackets the points where not all were avoided: 1 avoided, 0 red)")
    return "\n".join(lines)
