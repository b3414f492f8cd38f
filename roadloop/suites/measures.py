"""What a suite run is judged by: every score, verdict and measured value as one number per case.

A score with a value is one measure, and a score without one is the share of cases that lost none
of its terms. A term with verdicts is the share of cases that passed it, and its value is a measure
beside that where it says more than the verdict does. Terms without verdicts are their value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.result import typeset
from roadloop.stats import LEVEL, Estimate, mean_with_interval
from roadloop.suites.results import CaseResult, SuiteResults

Array = np.ndarray

Kind = Literal["score", "all kept", "verdict", "value"]


@dataclass(frozen=True)
class Measure:
    """One column of a run: what it is and which way is good."""

    name: str
    """SCORE, SCORE.TERM, or SCORE.TERM.value where the term has a verdict besides"""
    score: str
    """name of the score it belongs to"""
    term: str
    """name of its term; empty for the score itself"""
    kind: Kind
    """the score's value | 1 where no term was lost | 1 where the term passed | the term's value"""
    title: str
    unit: str
    """of the values; "" for shares and counts """
    higher_is_better: bool | None
    """None: neither way is"""

    @property
    def share(self) -> bool:
        """Whether it is 0 or 1 in each case: its mean is a share of cases."""
        return self.kind in ("all kept", "verdict")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The ends of the values' range; None where they have none."""
        if self.unit == "":  # shares are better the higher they are, counts are not
            return (0.0, 1.0) if self.higher_is_better else None
        return (0.0, 100.0) if self.unit == "%" else None

    def text(self, value: float, signed: bool = False) -> str:
        """A mean of this measure (or a difference of two) as it is printed, without its unit."""
        if not np.isfinite(value):
            return "–"
        if self.share:
            value *= 100.0
        digits = 1 if self.share or self.unit == "%" else 3
        if digits == 3 and abs(value) >= 100.0:
            digits = 1
        rounded = f"{value:{'+' if signed else ''}.{digits}f}"
        zero = not float(rounded)
        return rounded.lstrip("+-") if zero else rounded.replace("-", "−")

    @property
    def printed_unit(self) -> str:
        """What stands behind the printed number."""
        return "%" if self.share else typeset(self.unit)

    @property
    def difference_unit(self) -> str:
        """What stands behind a printed difference: of shares it is percentage points."""
        return "pp" if self.printed_unit == "%" else self.printed_unit


def measures_of(*runs: SuiteResults) -> tuple[Measure, ...]:
    """The measures of one or more runs together, score by score as their cases list them.

    Raises RoadloopError where the cases of one run were scored by different versions.
    """
    cases = [case for run in runs for case in run.finished]
    for run in runs:
        score_versions(run)
    found: list[Measure] = []
    for name, judged in _by_name(score for case in cases for score in case.scores).items():
        head = judged[0]
        terms = _by_name(term for score in judged for term in score["terms"])
        verdicts = any(_verdicts(entries) for entries in terms.values())
        if any(score["value"] is not None for score in judged):
            found.append(Measure(name, name, "", "score", head["title"], head["unit"], True))
        elif verdicts:
            title = f"{head['title']}: none lost"
            found.append(Measure(name, name, "", "all kept", title, "", True))
        for term, entries in terms.items():
            found += _term_measures(name, term, entries)
    return tuple(found)


def _term_measures(score: str, term: str, entries: list[dict[str, Any]]) -> list[Measure]:
    name, title = f"{score}.{term}", entries[0]["title"]
    unit, better = entries[0]["unit"], entries[0]["higher_is_better"]
    valued = any(entry["value"] is not None for entry in entries)
    value = Measure(name, score, term, "value", title, unit, better)
    if not _verdicts(entries):
        return [value] if valued else []
    verdict = Measure(name, score, term, "verdict", title, "", True)
    if not valued or _says_the_same(entries):
        return [verdict]
    beside = Measure(f"{name}.value", score, term, "value", f"{title}: value", unit, better)
    return [verdict, beside]


def _verdicts(entries: list[dict[str, Any]]) -> bool:
    return any(entry["passed"] is not None for entry in entries)


def _says_the_same(entries: list[dict[str, Any]]) -> bool:
    """Whether the values are 1 for passed and 0 for lost, or the other way round."""
    pairs = {(entry["value"], entry["passed"]) for entry in entries}
    return pairs <= {(1, True), (0, False), (None, None)} or pairs <= {
        (0, True),
        (1, False),
        (None, None),
    }


def _by_name(entries: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Entries of the same name together, in the order the names first come up."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["name"], []).append(entry)
    return found


def values_of(cases: Iterable[CaseResult], measures: Iterable[Measure]) -> dict[str, Array]:
    """(cases,) values of each measure by its name; NaN where it does not apply."""
    cases, measures = list(cases), list(measures)
    values = {measure.name: np.full(len(cases), np.nan) for measure in measures}
    for row, case in enumerate(cases):
        scores = {score["name"]: score for score in case.scores}
        terms = {(s, t["name"]): t for s, score in scores.items() for t in score["terms"]}
        for measure in measures:
            value = _value(measure, scores.get(measure.score), terms)
            if value is not None:
                values[measure.name][row] = float(value)
    return values


def _value(
    measure: Measure,
    score: dict[str, Any] | None,
    terms: dict[tuple[str, str], dict[str, Any]],
) -> float | None:
    if score is None:
        return None
    if measure.kind == "score":
        return score["value"]
    if measure.kind == "all kept":
        verdicts = [t["passed"] for t in score["terms"] if t["passed"] is not None]
        return all(verdicts) if verdicts else None
    term = terms.get((measure.score, measure.term))
    if term is None:
        return None
    return term["passed"] if measure.kind == "verdict" else term["value"]


def score_versions(run: SuiteResults) -> dict[str, str]:
    """Version of each score of a run by the score's name.

    Raises RoadloopError where cases were scored by different versions.
    """
    versions: dict[str, str] = {}
    for case in run.finished:
        for score in case.scores:
            first = versions.setdefault(score["name"], score["version"])
            if first != score["version"]:
                raise RoadloopError(
                    f"{run.folder}: case {case.case} has {score['name']} {score['version']}, cases "
                    f"before it {first}; score the run again with one version"
                )
    return versions


def estimate(
    measure: Measure, values: Array, families: Array | None = None, level: float = LEVEL
) -> Estimate:
    """Mean of a measure with its interval; ``families`` (cases,) where they are of several."""
    return mean_with_interval(values, level, strata=families, bounds=measure.bounds)
