"""Several drivers on one suite as Markdown: their means, each one against one of them, by group.

Differences are paired by case: the same scenario, seed and traffic, other drivers. Their intervals
and verdicts are those of `roadloop.stats.paired_difference`, as in ``roadloop compare``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.stats import mean_with_interval, paired_difference
from roadloop.suites.results import CaseResult, SuiteResults
from roadloop.suites.speed_table import ALL, protocol_score, speed_table, was_avoided

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class DriverRun:
    """One driver's run of a suite, with what was computed of its drives besides."""

    name: str
    results: SuiteResults
    extra: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """title -> case -> value in [0, 1], e.g. the PDM score of the drives"""

    def values(self, title: str) -> dict[str, float]:
        """case -> value of a column of the table; cases that did not finish are left out."""
        if title in self.extra:
            return {case: value for case, value in self.extra[title].items() if value == value}
        found = {case.case: COLUMNS[title](case) for case in self.results.finished}
        return {case: value for case, value in found.items() if value is not None}


def _score(case: CaseResult, name: str) -> float | None:
    return next((score["value"] for score in case.scores if score["name"] == name), None)


def _safety(case: CaseResult, name: str, key: str) -> float | None:
    for score in case.scores:
        for term in score["terms"] if score["name"] == "safety" else ():
            if term["name"] == name:
                return None if term[key] is None else float(term[key])
    return None


def _avoided(case: CaseResult) -> float | None:
    score = protocol_score(case)
    return None if score is None else float(was_avoided(score))


COLUMNS: dict[str, Callable[[CaseResult], float | None]] = {
    "avoided": _avoided,
    "points": lambda case: _score(case, "euro-ncap"),
    "nuPlan": lambda case: _score(case, "nuplan"),
    "no collision at fault": lambda case: _safety(case, "collision_at_fault", "passed"),
    "no other collision": lambda case: _safety(case, "collision_not_at_fault", "passed"),
    "route driven": lambda case: _safety(case, "route_progress", "value"),
}
"""title -> value of a case in [0, 1]"""
PROTOCOL = ("avoided", "points")
"""columns of test protocols, whose drives end long before the route does"""
SHARES = ("avoided", "no collision at fault", "no other collision", "route driven")
"""columns that are printed in percent"""


def driver_tables(runs: list[DriverRun], against: str) -> str:
    """Every table that applies, with headings.

    Args:
        runs: of one suite; ``results`` may be of unfinished runs, tables say how many cases count.
        against: name of the run that the others are compared with.

    Raises RoadloopError for runs of different suites and for an unknown ``against``.
    """
    hashes = {run.results.run.get("suite_hash") for run in runs}
    if len(hashes) != 1:
        folders = ", ".join(str(run.results.folder) for run in runs)
        raise RoadloopError(f"{folders} are runs of different suites; drive them anew on one")
    if against not in [run.name for run in runs]:
        names = ", ".join(run.name for run in runs)
        raise RoadloopError(f'nothing to compare with: "{against}" is none of {names}')
    parts = [means_table(runs), against_table(runs, against)]
    if any(speed_table(run.results) is not None for run in runs):
        parts += [_speed_tables(runs), _preventable(runs)]
    else:
        extra = dict.fromkeys(title for run in runs for title in run.extra)
        parts += [group_table(runs), *(group_table(runs, title) for title in extra)]
    return "\n\n".join(part for part in parts if part)


def means_table(runs: list[DriverRun]) -> str:
    """Mean of every column per driver with its 95 % interval."""
    titles = _titles(runs)
    rows = [["driver", "cases", *titles]]
    for run in runs:
        count, asked = len(run.results.finished), len(run.results.run["cases"])
        cells = [str(count) if count == asked else f"{count} of {asked}"]
        for title in titles:
            found = run.values(title)
            families = _families(run, list(found))
            mean = mean_with_interval(np.array(list(found.values())), strata=families)
            cells.append(_interval(title, mean.mean, mean.low, mean.high))
        rows.append([f"`{run.name}`", *cells])
    return markdown(rows)


def against_table(runs: list[DriverRun], against: str) -> str:
    """Every driver less the one called ``against``, paired by case; empty for a single driver.

    Bold: better or worse by more than chance at 95 %.
    """
    base = next(run for run in runs if run.name == against)
    titles = _titles(runs)
    rows = [[f"less `{against}`", "pairs", *titles]]
    for run in runs:
        if run is base:
            continue
        pairs, cells = 0, []
        for title in titles:
            mine, theirs = run.values(title), base.values(title)
            both = [case for case in theirs if case in mine]
            families = _families(run, both)
            a, b = (np.array([v[case] for case in both]) for v in (theirs, mine))
            found = paired_difference(a, b, strata=families)
            text = _interval(title, found.mean, found.low, found.high, signed=True)
            cells.append(f"**{text}**" if found.significant else text)
            pairs = max(pairs, found.pairs)
        rows.append([f"`{run.name}`", str(pairs), *cells])
    return markdown(rows) if len(rows) > 1 else ""


def group_table(runs: list[DriverRun], title: str = "nuPlan") -> str:
    """Mean of a score per group of cases and driver; in brackets how many were at fault."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        for case in run.results.cases:
            members = groups.setdefault(_group(run.results, case), [])
            members += [] if case.case in members else [case.case]
    rows = [[f"{title} (drives with a collision at fault)", *(f"`{run.name}`" for run in runs)]]
    for group, cases in groups.items():
        cells = []
        for run in runs:
            scores, clean = run.values(title), run.values("no collision at fault")
            mine = [scores[case] for case in cases if case in scores]
            lost = sum(1 for case in cases if clean.get(case) == 0.0)
            mean = f"{sum(mine) / len(mine):.3f}" if mine else "–"
            cells.append(mean + (f" ({lost})" if lost else ""))
        rows.append([group, *cells])
    return markdown(rows)


def _speed_tables(runs: list[DriverRun]) -> str:
    """Per scenario of a protocol and driver what was avoided at which test speed."""
    tables = {run.name: table for run in runs if (table := speed_table(run.results)) is not None}
    first = next(iter(tables.values()))
    rows = [["scenario", "driver", *(f"{s} km/h" if s != ALL else s for s in first.speeds)]]
    for scenario in first.cells:
        for name, table in tables.items():
            cells = table.cells.get(scenario, {})
            texts = [cells[speed].text if speed in cells else "" for speed in first.speeds]
            rows.append([f"`{scenario}`" if scenario != ALL else ALL, f"`{name}`", *texts])
    said = "Tests avoided, by test speed"
    if first.cells[ALL][ALL].points is not None:
        said += "; in brackets the mean points where not all were"
    return f"{said}:\n\n{markdown(rows)}"


def _preventable(runs: list[DriverRun]) -> str:
    """Of UN R157's conflicts those its careful and competent human avoids; empty without one."""
    human = next((run for run in runs if run.name == HUMAN), None)
    if human is None:
        return ""
    avoids = {
        case.case
        for case in human.results.finished
        if (score := protocol_score(case)) is not None and was_avoided(score)
    }
    lines = [f"Of the {len(avoids)} conflicts that `{HUMAN}` avoids, without a contact:"]
    for run in runs:
        found = [(c.case, protocol_score(c)) for c in run.results.finished if c.case in avoids]
        hit = [case for case, score in found if score is not None and not was_avoided(score)]
        named = f": not {', '.join(hit)}" if hit else ""
        lines.append(f"* `{run.name}` {len(found) - len(hit)} of {len(found)}{named}")
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


HUMAN = "r157-cc"
"""the driver whose collisions UN R157 excuses"""


def _titles(runs: list[DriverRun]) -> list[str]:
    """Columns that say something of this suite: those of the protocol, or else the others."""
    protocol = any(run.values("avoided") for run in runs)
    own = PROTOCOL if protocol else [title for title in COLUMNS if title not in PROTOCOL]
    extra = dict.fromkeys(title for run in runs for title in run.extra)
    titles = [*own[:1], *extra, *own[1:]]
    return [title for title in titles if any(run.values(title) for run in runs)]


def _families(run: DriverRun, cases: list[str]) -> Array:
    family = {case.case: case.family for case in run.results.cases}
    return np.array([family[case] for case in cases], dtype=str)


def _group(results: SuiteResults, case: CaseResult) -> str:
    """The family; in a suite of one family everything of the name but the seed."""
    families = {other.family for other in results.cases}
    return case.family if len(families) > 1 else case.case.rsplit("-", 1)[0]


def _interval(title: str, mean: float, low: float, high: float, *, signed: bool = False) -> str:
    if not math.isfinite(mean):
        return "–"
    text = _number(title, mean, signed)
    if title in SHARES:
        text += " pp" if signed else " %"
    if not math.isfinite(low):
        return text
    return f"{text} [{_number(title, low, signed)}, {_number(title, high, signed)}]"


def _number(title: str, value: float, signed: bool) -> str:
    sign = "+" if signed else ""
    if title in SHARES:
        return f"{100.0 * value:{sign}.1f}".replace("-", "−")
    return f"{value:{sign}.3f}".replace("-", "−")


def markdown(rows: list[list[str]]) -> str:
    """Rows of one length as a Markdown table; the first is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
