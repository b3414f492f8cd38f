"""A comparison of two runs as text for the terminal and as a JSON object."""

from __future__ import annotations

import math
from typing import Any

from roadloop.suites.comparison import Change, Comparison, Row, replay_page
from roadloop.suites.results import CaseResult, SuiteResults

SHOWN = 5
"""cases that changed most, and failed cases, that are printed"""


def comparison_text(comparison: Comparison) -> str:
    """What differs between two runs; scores always, terms where any case differs."""
    parts = [_head(comparison), _table(comparison), _changed(comparison)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def explanation(comparison: Comparison) -> str:
    """How to read the verdicts, in a few words."""
    return (
        f"better/worse: the {comparison.level:.0%} interval leaves 0 out and a sign-flip test "
        "agrees, each row on its own; "
        f"* also holds when all {len(comparison.rows)} rows are tested together (Holm)"
    )


def _head(comparison: Comparison) -> list[str]:
    lines = [
        f"suite {comparison.a.run.get('suite')}: {len(comparison.pairs)} cases finished in both "
        "and count",
        *_side("A", comparison.a, comparison.failed_a),
        *_side("B", comparison.b, comparison.failed_b),
    ]
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"finished in {letter} only: {', '.join(names[:SHOWN])}{more}")
    if comparison.scores_left_out:
        lines.append(f"in one run only, left out: {', '.join(comparison.scores_left_out)}")
    return lines


def _side(letter: str, run: SuiteResults, failed: tuple[CaseResult, ...]) -> list[str]:
    driver = f"{run.folder}, driver {run.run.get('driver')}, perception {run.run.get('perception')}"
    ended, asked = len(run.cases), len(run.run.get("cases", run.cases))
    counts = f"{len(run.finished)} of {asked} cases finished, {len(failed)} failed"
    if asked > ended:
        counts += f", {asked - ended} not driven yet"
    lines = [f"{letter}  {driver}: {counts}"]
    lines += [f"     {case.case}: {case.failed}" for case in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"     and {len(failed) - SHOWN} more failed")
    return lines


def _table(comparison: Comparison) -> list[str]:
    shown = [row for row in comparison.rows if not row.measure.term or row.difference.unequal]
    if not shown:
        return ["no score in both runs"]
    titles = [f"{'  ' * bool(row.measure.term)}{row.measure.name}" for row in shown]
    cells = [_cells(row) for row in shown]
    heads = ["A", "B", "B - A", f"{comparison.level:.0%} interval", "pairs"]
    widths = [max(map(len, column)) for column in zip(heads, *cells)]
    first = max(map(len, titles))
    lines = [" ".join([" " * first, *(h.rjust(w) for h, w in zip(heads, widths))])]
    for row, title, entries in zip(shown, titles, cells):
        numbers = " ".join(entry.rjust(width) for entry, width in zip(entries, widths))
        lines.append(f"{title:{first}} {numbers}  {_verdict(row)}".rstrip())
    same = len(comparison.rows) - len(shown)
    if same:
        lines.append(f"{same} more terms are the same in every case")
    return [*lines, explanation(comparison)]


def _cells(row: Row) -> list[str]:
    measure, found = row.measure, row.difference
    unit, more = (f" {u}" if u else "" for u in (measure.printed_unit, measure.difference_unit))
    low, high = measure.text(found.low, True), measure.text(found.high, True)
    return [
        measure.text(found.mean_a) + unit,
        measure.text(found.mean_b) + unit,
        measure.text(found.mean, True) + more,
        f"[{low}, {high}]",
        str(found.pairs),
    ]


def _verdict(row: Row) -> str:
    if row.difference.note:
        return row.difference.note
    return "" if row.verdict == "none" else row.verdict + (" *" if row.survives else "")


def _changed(comparison: Comparison) -> list[str]:
    if not comparison.changes:
        return []
    lines = [f"changed most ({len(comparison.changes)} of {len(comparison.pairs)} cases changed)"]
    for change in comparison.changes[:SHOWN]:
        lines.append(f"  {change.a.case}: {change_text(comparison, change)}")
        for letter, run, case in (("A", comparison.a, change.a), ("B", comparison.b, change.b)):
            page = replay_page(run, case)
            lines.append(f"    {letter}  {page if page is not None else case.replay}")
    return lines


def change_text(comparison: Comparison, change: Change) -> str:
    """One line: the headline score before and after, and the verdicts that turned."""
    said = []
    headline = comparison.headline
    if headline is not None and change.before != change.after:
        before, after = headline.text(change.before), headline.text(change.after)
        said.append(f"{headline.name} {before} to {after}")
    if change.lost:
        said.append("lost " + ", ".join(measure.name for measure in change.lost))
    if change.gained:
        said.append("gained " + ", ".join(measure.name for measure in change.gained))
    return "; ".join(said)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison as plain values; what is not a number is null."""

    def side(run: SuiteResults, failed: tuple[CaseResult, ...]) -> dict[str, Any]:
        return {
            "folder": str(run.folder),
            "driver": run.run.get("driver"),
            "perception": run.run.get("perception"),
            "cases": len(run.cases),
            "failed": {case.case: case.failed for case in failed},
        }

    return {
        "suite": comparison.a.run.get("suite"),
        "suite_hash": comparison.a.run["suite_hash"],
        "a": side(comparison.a, comparison.failed_a),
        "b": side(comparison.b, comparison.failed_b),
        "level": comparison.level,
        "pairs": len(comparison.pairs),
        "only_in_a": list(comparison.only_a),
        "only_in_b": list(comparison.only_b),
        "scores_left_out": list(comparison.scores_left_out),
        "differences": [_row_json(row) for row in comparison.rows],
        "families": [{"family": row.family, **_row_json(row)} for row in comparison.family_rows],
        "changes": [_change_json(comparison, change) for change in comparison.changes],
    }


def _row_json(row: Row) -> dict[str, Any]:
    found = row.difference
    return {
        "name": row.measure.name,
        "kind": row.measure.kind,
        "unit": row.measure.unit,
        "higher_is_better": row.measure.higher_is_better,
        "a": _finite(found.mean_a),
        "b": _finite(found.mean_b),
        "difference": _finite(found.mean),
        "low": _finite(found.low),
        "high": _finite(found.high),
        "pairs": found.pairs,
        "not_applicable": found.absent,
        "p": found.p_value,
        "verdict": row.verdict,
        "survives_holm": row.survives,
        "note": found.note,
    }


def _change_json(comparison: Comparison, change: Change) -> dict[str, Any]:
    pages = replay_page(comparison.a, change.a), replay_page(comparison.b, change.b)
    return {
        "case": change.a.case,
        "family": change.a.family,
        "seed": change.a.seed,
        "headline": None if comparison.headline is None else comparison.headline.name,
        "a": _finite(change.before),
        "b": _finite(change.after),
        "lost": [measure.name for measure in change.lost],
        "gained": [measure.name for measure in change.gained],
        "replay_a": change.a.replay if pages[0] is None else str(pages[0]),
        "replay_b": change.b.replay if pages[1] is None else str(pages[1]),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
