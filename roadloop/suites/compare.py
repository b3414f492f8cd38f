"""Two runs of one suite, paired case by case: what differs, and whether by more than chance.

Only cases that finished in both runs count, and every figure says how many they are. Each row is
tested on its own at the comparison's level; of many rows some look different by chance, so that
those which also survive Holm's correction over all rows are marked.
"""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.stats import LEVEL, Difference, holm, paired_difference
from roadloop.suites.comparison import Change, Comparison, Row, Verdict
from roadloop.suites.comparison_text import comparison_json, comparison_text
from roadloop.suites.measures import Measure, measures_of, score_versions, values_of
from roadloop.suites.results import CaseResult, SuiteResults

__all__ = ["Comparison", "compare_runs", "comparison_json", "comparison_text", "gate"]

Array = np.ndarray


def compare_runs(
    a: SuiteResults, b: SuiteResults, level: float = LEVEL, *, headline: str | None = None
) -> Comparison:
    """Compare run B with run A of the same suite.

    Args:
        level: of the intervals and verdicts, in (0, 1).
        headline: name of the measure that changes of cases are measured by; by default the first
            score that has a value.

    Raises RoadloopError where the suites or the versions of a score differ, or the headline is
    unknown.
    """
    _same_suite(a, b)
    left_out = _same_versions(a, b)
    ended_b = {case.case: case for case in b.cases}
    pairs = tuple(
        (case, other)
        for case in a.finished
        if (other := ended_b.get(case.case)) is not None and not other.failed
    )
    _same_cases(pairs)
    in_both = {case.case for case, _ in pairs}
    measures = [m for m in measures_of(a, b) if m.score not in left_out]
    values_a = values_of((case for case, _ in pairs), measures)
    values_b = values_of((case for _, case in pairs), measures)
    families = np.array([case.family for case, _ in pairs], dtype=str)
    suite, by_family = [], []
    for measure in measures:
        one, other = values_a[measure.name], values_b[measure.name]
        suite.append((measure, "", paired_difference(one, other, level, strata=families)))
        for family in dict.fromkeys(families.tolist()):
            mine = families == family
            found = paired_difference(one[mine], other[mine], level)
            by_family.append((measure, family, found))
    best = _headline(measures, values_a, values_b, headline)
    return Comparison(
        a=a,
        b=b,
        level=level,
        pairs=pairs,
        failed_a=tuple(case for case in a.cases if case.failed),
        failed_b=tuple(case for case in b.cases if case.failed),
        only_a=tuple(case.case for case in a.finished if case.case not in in_both),
        only_b=tuple(case.case for case in b.finished if case.case not in in_both),
        scores_left_out=left_out,
        rows=_judged(suite, level),
        family_rows=_judged(by_family, level),
        headline=best,
        changes=_changes(pairs, measures, values_a, values_b, best),
    )


def gate(comparison: Comparison, name: str) -> bool:
    """Whether B is significantly worse than A on a measure: SCORE, SCORE.TERM or
    SCORE.TERM.value.

    One question asked beforehand: its interval is not corrected for the other rows. Raises
    RoadloopError for an unknown name, a measure of which neither way is good, and where too few
    cases finished in both runs to tell.
    """
    row = comparison.row(name)
    if row.measure.higher_is_better is None:
        raise RoadloopError(f"gate {name}: neither way is good, so that nothing can be worse")
    if row.difference.note:
        raise RoadloopError(
            f"gate {name}: {row.difference.note}; {len(comparison.failed_a)} cases failed in "
            f"{comparison.a.folder}, {len(comparison.failed_b)} in {comparison.b.folder}"
        )
    return row.verdict == "worse"


def _same_suite(a: SuiteResults, b: SuiteResults) -> None:
    hashes = []
    for run in (a, b):
        if not run.run.get("suite_hash"):
            raise RoadloopError(f"{run.folder}/run.json has no suite_hash; run the suite again")
        hashes.append(str(run.run["suite_hash"]))
    if hashes[0] != hashes[1]:
        raise RoadloopError(
            f"{a.folder} is of suite {a.run.get('suite')} ({hashes[0][:12]}), {b.folder} of "
            f"{b.run.get('suite')} ({hashes[1][:12]}): only runs of the same cases compare; run "
            "both on one suite"
        )


def _same_versions(a: SuiteResults, b: SuiteResults) -> tuple[str, ...]:
    """Names of the scores that only one of the runs has."""
    one, other = score_versions(a), score_versions(b)
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            raise RoadloopError(
                f"{name} has version {one[name]!r} in {a.folder} and {other[name]!r} in "
                f"{b.folder}; score both runs with one version"
            )
    if not one or not other:  # nothing finished there: every figure says that no pair counts
        return ()
    return tuple(name for name in {**one, **other} if name not in one or name not in other)


def _same_cases(pairs: tuple[tuple[CaseResult, CaseResult], ...]) -> None:
    for one, other in pairs:
        if (one.scenario, one.seed) != (other.scenario, other.seed):
            raise RoadloopError(
                f"case {one.case} is {one.scenario} seed {one.seed} in the one run and "
                f"{other.scenario} seed {other.seed} in the other; run both on one suite"
            )


def _judged(found: list[tuple[Measure, str, Difference]], level: float) -> tuple[Row, ...]:
    # a row that too few cases stand on is no test, and must not make the others stricter
    tested = [row for row, (_, _, difference) in enumerate(found) if not difference.note]
    survivors = np.zeros(len(found), dtype=bool)
    survivors[tested] = holm([found[row][2].p_value for row in tested], level)
    rows = []
    for (measure, family, difference), survives in zip(found, survivors):
        verdict: Verdict = "none"
        if difference.significant:
            good = measure.higher_is_better
            risen = difference.mean > 0.0
            verdict = "differs" if good is None else "better" if good == risen else "worse"
        rows.append(Row(measure, family, difference, verdict, bool(survives) and verdict != "none"))
    return tuple(rows)


def _headline(
    measures: list[Measure],
    values_a: dict[str, Array],
    values_b: dict[str, Array],
    name: str | None,
) -> Measure | None:
    if name is not None:
        for measure in measures:
            if measure.name == name:
                return measure
        known = ", ".join(measure.name for measure in measures)
        raise RoadloopError(f"no score or term {name!r} in both runs; there are {known or 'none'}")
    for measure in measures:
        both = np.isfinite(values_a[measure.name]) & np.isfinite(values_b[measure.name])
        if measure.kind == "score" and both.any():
            return measure
    return None


def _changes(
    pairs: tuple[tuple[CaseResult, CaseResult], ...],
    measures: list[Measure],
    values_a: dict[str, Array],
    values_b: dict[str, Array],
    headline: Measure | None,
) -> tuple[Change, ...]:
    verdicts = [measure for measure in measures if measure.kind == "verdict"]
    low, high = (headline.bounds if headline else None) or (0.0, 1.0)
    changes = []
    for index, (one, other) in enumerate(pairs):
        before = after = np.nan
        if headline is not None:
            before, after = values_a[headline.name][index], values_b[headline.name][index]
        moves = {m.name: values_b[m.name][index] - values_a[m.name][index] for m in verdicts}
        lost = tuple(m for m in verdicts if moves[m.name] < 0.0)
        gained = tuple(m for m in verdicts if moves[m.name] > 0.0)
        moved = abs(after - before) / (high - low)
        size = (moved if np.isfinite(moved) else 0.0) + len(lost) + len(gained)
        if size > 0.0:
            change = Change(one, other, float(before), float(after), lost, gained, float(size))
            changes.append(change)
    changes.sort(key=lambda change: (-change.size, change.a.case))
    return tuple(changes)
