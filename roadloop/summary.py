"""The figures of a suite run: every score and term with its interval, as JSON and as text."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.stats import METHODS, Estimate, mean_with_interval
from roadloop.suite_results import SuiteResults

Array = np.ndarray

SUMMARY = "summary.json"


def summarise(results: SuiteResults) -> dict[str, Any]:
    """Plain values: how many cases the figures stand on, the failures, and a mean per score.

    A term with verdicts is given as the share of cases that passed it (``passed``); a score or term
    with values as their mean. What does not apply counts in neither; a failed case in nothing.
    """
    families = np.array([case.family for case in results.finished])
    scores = {}
    for name, entry in _definitions(results).items():
        terms = {}
        for term in entry["terms"]:
            terms[term["name"]] = {
                "title": term["title"],
                "unit": term["unit"],
                "value": _estimate(results.values(name, term["name"]), families, None),
                "passed": _estimate(results.passed(name, term["name"]), families, (0.0, 1.0)),
            }
        top = 100.0 if entry["unit"] == "%" else 1.0
        scores[name] = {
            "title": entry["title"],
            "version": entry["version"],
            "unit": entry["unit"],
            "value": _estimate(results.values(name), families, (0.0, top)),
            "terms": terms,
        }
    run = results.run
    return {
        **{key: run.get(key) for key in ("suite", "suite_hash", "driver", "perception")},
        "cases": len(run["cases"]),
        "driven": len(results.cases),
        "finished": len(results.finished),
        "failed": [
            {"case": case.case, "why": case.failed, "replay": case.replay}
            for case in results.cases
            if case.failed
        ],
        "scores": scores,
    }


def write_summary(results: SuiteResults) -> dict[str, Any]:
    """Write ``summary.json`` into the folder of the run and return it."""
    summary = summarise(results)
    path = results.folder / SUMMARY
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        hidden.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(hidden, path)
    except OSError as error:
        raise RoadloopError(f"{path} cannot be written: {error.strerror}") from error
    return summary


def summary_text(summary: dict[str, Any]) -> str:
    """A table for the terminal: what it stands on first, then scores, then what was lost."""
    finished, cases = summary["finished"], summary["cases"]
    lines = [
        f"{summary['driver']} on {summary['suite']} ({summary['suite_hash'][:12]}): "
        f"{finished} of {cases} scenarios driven and scored, {len(summary['failed'])} failed"
    ]
    for entry in summary["failed"]:
        lines.append(f"  failed {entry['case']}: {entry['why']}")
        lines.append(f"         {entry['replay']}")
    rows = [
        (entry["title"], entry["value"], entry["unit"], entry["version"])
        for entry in summary["scores"].values()
        if entry["value"]["mean"] is not None
    ]
    width = max((len(title) for title, *_ in rows), default=0)
    for title, value, unit, version in rows:
        lines.append(f"  {title:{width}}  {_interval(value, unit):32}  {version}")
    for entry in summary["scores"].values():
        kept = [t for t in entry["terms"].values() if t["passed"]["mean"] is not None]
        if kept:
            lines.append(f"{entry['title']}, share of scenarios that kept to it")
            width = max(len(term["title"]) for term in kept)
            for term in kept:
                lines.append(f"  {term['title']:{width}}  {_interval(term['passed'], '')}")
    return "\n".join(lines)


def _definitions(results: SuiteResults) -> dict[str, dict[str, Any]]:
    """Score name -> one case's entry of it, which names its terms."""
    found: dict[str, dict[str, Any]] = {}
    for case in results.finished:
        for entry in case.scores:
            first = found.setdefault(entry["name"], entry)
            if first["version"] != entry["version"]:
                raise RoadloopError(
                    f"{results.folder}: {case.case} has {entry['name']} by another definition "
                    f"({entry['version']}, not {first['version']}); run the suite again"
                )
    return found


def _estimate(values: Array, families: Array, bounds: tuple[float, float] | None) -> dict[str, Any]:
    """An `Estimate` as plain values; NaN is null."""
    if np.isnan(values).all():
        estimate = Estimate(math.nan, math.nan, math.nan, 0.95, 0, len(values), "none")
    else:
        estimate = mean_with_interval(values, strata=families, bounds=bounds)
    plain = asdict(estimate)
    plain["method"] = METHODS[estimate.method]
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in plain.items()
    }


def _interval(value: dict[str, Any], unit: str) -> str:
    digits = 1 if unit == "%" else 3
    mean = f"{value['mean']:.{digits}f}{unit}"
    if value["low"] is not None:
        mean += f"  [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return f"{mean}  of {value['count']}"
