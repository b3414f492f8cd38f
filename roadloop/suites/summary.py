"""The figures of a suite run: every measure with its interval, as JSON and as text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.stats import METHODS, Estimate
from roadloop.suites.measures import Measure, estimate, measures_of, score_versions, values_of
from roadloop.suites.results import SuiteResults
from roadloop.suites.speed_table import speed_table, speed_text


def summarise(results: SuiteResults) -> dict[str, Any]:
    """Plain values: how many cases the figures stand on, the failures, and every measure's mean.

    What does not apply to a case counts in no mean of that measure; a failed case in none at all.
    """
    cases, run = results.finished, results.run
    measures = measures_of(results)
    values = values_of(cases, measures)
    families = np.array([case.family for case in cases])
    return {
        **{key: run.get(key) for key in ("suite", "suite_hash", "driver", "perception")},
        "cases": len(run["cases"]),
        "finished": len(cases),
        "failed": [
            {"case": case.case, "why": case.failed, "replay": case.replay}
            for case in results.cases
            if case.failed
        ],
        "versions": score_versions(results),
        "measures": {
            measure.name: {
                "title": measure.title,
                "kind": measure.kind,
                "unit": measure.unit,
                **_plain(estimate(measure, values[measure.name], families)),
                "families": {
                    str(family): _plain(estimate(measure, values[measure.name][families == family]))
                    for family in dict.fromkeys(families.tolist())
                },
            }
            for measure in measures
        },
    }


def write_summary(results: SuiteResults) -> dict[str, Any]:
    """Write ``summary.json`` into the folder of the run and return what is in it."""
    path = results.folder / "summary.json"
    summary = summarise(results)
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    try:
        with replaced(path) as hidden:
            hidden.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RoadloopError(f"{path} cannot be written: {error.strerror}") from error
    return summary


def summary_text(results: SuiteResults) -> str:
    """A table for the terminal: what it stands on, what failed, every score, the safety verdicts;
    of test protocols also what was avoided at which speed.

    The other terms are on the suite page and in ``summary.json``.
    """
    cases, run = results.finished, results.run
    measures = measures_of(results)
    values = values_of(cases, measures)
    families = np.array([case.family for case in cases])
    failed = [case for case in results.cases if case.failed]
    lines = [
        f"{run['driver']} on {run['suite']} {run['suite_hash'][:12]}: {len(cases)} of "
        f"{len(run['cases'])} scenarios driven and scored, {len(failed)} failed"
    ]
    for case in failed:
        lines += [f"  failed {case.case}: {case.failed}", f"    again with: {case.replay}"]
    width = max((len(measure.title) for measure in measures), default=0)
    for measure in measures:
        headline = measure.kind in ("score", "all kept")
        if not headline and (measure.score, measure.kind) != ("safety", "verdict"):
            continue
        indent = "  " if headline else "    "
        title = f"{indent}{measure.title:{width + 4 - len(indent)}}"
        means = _text(measure, estimate(measure, values[measure.name], families))
        lines.append(f"{title}  {means}")
    table = speed_table(results)
    if table is not None:
        lines.append(speed_text(table))
    return "\n".join(lines)


def _text(measure: Measure, mean: Estimate) -> str:
    if not mean.count:
        return "does not apply"
    text = f"{measure.text(mean.mean)} {measure.printed_unit}".strip()
    if math.isfinite(mean.low):
        text += f" [{measure.text(mean.low)}, {measure.text(mean.high)}]"
    return f"{text:28} {mean.count:>4} scenarios"


def _plain(mean: Estimate) -> dict[str, Any]:
    """JSON has no NaN: null."""
    plain = {**asdict(mean), "method": METHODS[mean.method]}
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in plain.items()
    }
