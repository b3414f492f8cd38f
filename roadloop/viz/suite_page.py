"""A suite run as one HTML page: scores with intervals, families, distributions, worst cases.

Everything is in the file but the replays, which are pages of their own beside it. The same run
gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.stats import LEVEL, METHODS, Estimate
from roadloop.suites.measures import Measure, estimate, measures_of, score_versions, values_of
from roadloop.suites.results import CaseResult, SuiteResults
from roadloop.viz.case_table import Column, Line, case_section, lost_terms
from roadloop.viz.html_page import (
    beside_verdict,
    command,
    facts,
    measured_too,
    replay_address,
    text,
    typeset,
    write_page,
)
from roadloop.viz.suite_charts import (
    estimate_tip,
    histogram,
    interval_bar,
    interval_text,
    scale_of,
    strip,
)

Array = np.ndarray


def write_suite_page(path: str | Path, results: SuiteResults) -> Path:
    """Write the run as one HTML file and return its path.

    Replays are linked where ``results.folder`` has kept them (replays/CASE.html), as addresses
    relative to ``path``; of other cases the page gives the command that drives them again. Raises
    RoadloopError where the file cannot be written, or cases were scored by different versions.
    """
    page = _Page.of(results, Path(path))
    failed = [case for case in results.cases if case.failed]
    asked = len(results.run.get("cases", results.cases))
    count = len(results.finished)
    verdict = f"{count} of {asked} cases finished"
    if failed:
        verdict += f", {len(failed)} failed"
    body = [
        page.headline(),
        _failures(failed),
        page.heat_map(),
        page.distributions(),
        page.cases(),
        page.replay(),
        _settings(results),
        _definitions(results),
    ]
    run = results.run
    return write_page(
        path,
        title=f"{run.get('suite', 'suite')} · {run.get('driver', 'unknown driver')}",
        verdict=verdict,
        mood="is-lost" if failed else "is-even" if count < asked else "",
        facts=facts(_facts(results)),
        body="\n".join(part for part in body if part),
    )


def _facts(results: SuiteResults) -> list[tuple[str, str]]:
    run = results.run
    families = {case.family for case in results.cases}
    rows = [
        ("Suite", str(run.get("suite", ""))),
        ("Driver", str(run.get("driver", ""))),
        ("Perception", str(run.get("perception", ""))),
        ("Families", str(len(families))),
        ("Suite hash", str(run.get("suite_hash", ""))[:12]),
    ]
    if run.get("description"):
        rows.append(("About", str(run["description"])))
    return [(label, value) for label, value in rows if value]


@dataclass(frozen=True, eq=False)
class _Page:
    """What the sections share: the measures, their values, and where the page will lie."""

    path: Path
    results: SuiteResults
    measures: tuple[Measure, ...]
    values: dict[str, Array]
    families: tuple[str, ...]
    """in the suite's order"""
    family_of: Array
    """(finished,) family of each case"""
    estimates: dict[tuple[str, str], Estimate]
    """by measure and family; family "" is all of them"""
    ranked: tuple[int, ...]
    """indices of the finished cases, worst first"""

    @classmethod
    def of(cls, results: SuiteResults, path: Path) -> _Page:
        measures = measures_of(results)
        values = values_of(results.finished, measures)
        family_of = np.array([case.family for case in results.finished], dtype=str)
        families = tuple(dict.fromkeys(family_of.tolist()))
        estimates = {}
        for measure in measures:
            column = values[measure.name]
            estimates[measure.name, ""] = estimate(measure, column, family_of)
            for family in families:
                estimates[measure.name, family] = estimate(measure, column[family_of == family])
        ranked = _worst_first(results.finished, measures, values)
        return cls(path, results, measures, values, families, family_of, estimates, ranked)

    def headline(self) -> str:
        """A card per score."""
        versions = score_versions(self.results)
        cards = []
        for measure in self.measures:
            if measure.term:
                continue
            found = self.estimates[measure.name, ""]
            base = f"{found.count} scenarios"
            if found.absent:
                base += f", does not apply to {found.absent}"
            interval = interval_text(measure, found)
            if math.isfinite(found.low) and found.method != "equal":
                interval = f"{LEVEL:.0%}: {interval}"
            tip = estimate_tip(measure.title, measure, found)
            version = f"{measure.name}, version {versions[measure.score]}"
            unit = f"<small>{typeset(measure.printed_unit)}</small>" if measure.printed_unit else ""
            cards.append(
                f'<div class="card" data-measure="{text(measure.name)}">'
                f"<h3>{text(measure.title)}</h3>"
                f'<p class="big">{text(measure.text(found.mean))}{unit}</p>'
                f'<p data-tip="{text(tip)}">{text(interval)}</p>'
                f"{interval_bar(found, scale_of(measure, self.values[measure.name]))}"
                f'<p class="base">{text(base)}</p>'
                f'<p class="base version" title="{text(version)}">{text(version)}</p></div>'
            )
        if not cards:
            cards = ['<p class="empty">No case has been scored.</p>']
        return f'<section class="bare cards" aria-label="Scores">{"".join(cards)}</section>'

    def heat_map(self) -> str:
        """Families by measures."""
        if not self.measures:
            return ""
        heads = "".join(
            f'<th scope="col" class="family"><span>{text(name)}</span></th>'
            for name in self.families
        )
        rows, score = [], ""
        titles = {s["name"]: s["title"] for case in self.results.finished for s in case.scores}
        first = True
        for measure in self.measures:
            if measure.score != score:
                score = measure.score
                rows.append(
                    f'<tr class="group"><th scope="rowgroup" colspan="2">{text(titles[score])}'
                    f"<small>{text(score)}</small></th></tr>"
                )
            cells = [self._cell(measure, "", focus=first)]
            cells += [self._cell(measure, name) for name in self.families]
            first = False
            beside = ' class="measured"' if beside_verdict(measure) else ""
            title = "score" if measure.kind == "score" else measure.title.split(": ")[-1]
            if measure.kind == "all kept":
                title = "no term lost"
            unit = f" ({measure.printed_unit})" if measure.printed_unit else ""
            if measure.kind in ("verdict", "value"):
                title = measure.title
            rows.append(
                f'<tr{beside}><th scope="row">{text(title)}'
                f"<small>{typeset(unit)}</small></th>{''.join(cells)}</tr>"
            )
        return (
            '<section aria-label="Families"><div class="section-head"><h2>By family</h2>'
            '<p class="note">Means and shares of cases that passed. Hover, tap or use the arrow '
            "keys for what a number stands on.</p>"
            f'<div class="tools">{measured_too(self.measures)}'
            '<span class="key">kept <i></i> lost</span></div></div>'
            '<div class="scroll"><table class="heat"><thead><tr><td></td>'
            f'<th scope="col">All</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody>'
            "</table></div></section>"
        )

    def _cell(self, measure: Measure, family: str, *, focus: bool = False) -> str:
        found = self.estimates[measure.name, family]
        tip = estimate_tip(f"{measure.title} · {family or 'all families'}", measure, found)
        kind, style = "plain", ""
        if not found.count:
            kind = "none"
        elif measure.bounds is not None and measure.higher_is_better is not None:
            kind, style = "shaded", f' style="--loss:{_loss(measure, found.mean):.3f}"'
        whole = ""
        if not family:
            kind += " all"
            if math.isfinite(found.low) and found.method != "equal":
                low, high = measure.text(found.low), measure.text(found.high)
                whole = f"<small>{low} to {high}</small>"
        return (
            f'<td class="{kind}"{style} tabindex="{0 if focus else -1}" data-tip="{text(tip)}">'
            f"{text(measure.text(found.mean))}{whole}</td>"
        )

    def distributions(self) -> str:
        """A histogram and the cases of each family, score by score."""
        lost = [bool(lost_terms(case)) for case in self.results.finished]
        cases = list(zip((case.case for case in self.results.finished), lost))
        figures = [
            self._distribution(measure, cases)
            for measure in self.measures
            if measure.kind == "score" and np.isfinite(self.values[measure.name]).any()
        ]
        if not figures:
            return ""
        return (
            '<section aria-label="Distributions"><div class="section-head"><h2>Distributions</h2>'
            '<p class="note">One dot per case, red where a verdict was lost; the tick is the '
            f"family's mean, the bar its {LEVEL:.0%} interval. A dot leads to its case.</p></div>"
            f'<div class="figures">{"".join(figures)}</div></section>'
        )

    def _distribution(self, measure: Measure, cases: list[tuple[str, bool]]) -> str:
        values = self.values[measure.name]
        scale = scale_of(measure, values)
        rows = [f"<span></span>{histogram(measure, values, scale)}<span></span>"]
        for family in self.families:
            mine = self.family_of == family
            found = self.estimates[measure.name, family]
            chosen = [case for case, own in zip(cases, mine.tolist()) if own]
            rows.append(
                f'<span class="name">{text(family)}</span>'
                f"{strip(measure, values[mine], chosen, found, scale)}"
                f'<span class="number">{text(measure.text(found.mean))}</span>'
            )
        middle = (scale[0] + scale[1]) / 2
        ends = "".join(f"<span>{text(measure.text(end))}</span>" for end in (scale[0], middle))
        ends += f"<span>{text(measure.text(scale[1]))}</span>"
        unit = measure.printed_unit or "score"
        return (
            f"<figure><figcaption><strong>{text(measure.title)}</strong>"
            f"<span>{typeset(unit)}</span></figcaption>"
            f'<div class="strips">{"".join(rows)}<span></span><div class="axis">{ends}</div>'
            "<span>mean</span></div></figure>"
        )

    def cases(self) -> str:
        """The table of cases, worst first."""
        heads = [measure for measure in self.measures if measure.kind == "score"]
        columns = [Column(text(measure.title), "up") for measure in heads]
        lines = []
        for index in self.ranked:
            case = self.results.finished[index]
            values = [float(self.values[measure.name][index]) for measure in heads]
            numbers = [(value, measure.text(value)) for measure, value in zip(heads, values)]
            lines.append(Line.of(self.results, case, numbers, self.path))
        return case_section("Worst scenarios first", columns, lines)

    def replay(self) -> str:
        """The replay of the worst case that has one, and a choice of the others."""
        found = []
        for index in self.ranked:
            case = self.results.finished[index]
            address = replay_address(self.results, case, self.path)
            if address is not None:
                found.append((case.case, address))
        if not found:
            return ""
        options = "".join(
            f'<option data-first="{text(address)}">{text(name)}</option>' for name, address in found
        )
        return (
            '<section aria-label="Replay"><div class="section-head"><h2>Replay</h2>'
            '<div class="tools"><label>of <select id="which-replay" autocomplete="off">'
            f"{options}</select></label></div></div>"
            f'<iframe loading="lazy" title="Replay" src="{text(found[0][1])}"></iframe></section>'
        )


def _loss(measure: Measure, mean: float) -> float:
    """Share of the range that is lost, in [0, 1]; small losses are drawn out of the rest."""
    low, high = measure.bounds or (0.0, 1.0)
    good = (mean - low) / (high - low)
    lost = 1.0 - good if measure.higher_is_better else good
    return min(max(lost, 0.0), 1.0) ** 0.6


def _worst_first(
    cases: tuple[CaseResult, ...], measures: tuple[Measure, ...], values: dict[str, Array]
) -> tuple[int, ...]:
    """By the first score that has values, then by verdicts lost; without a score by these alone."""
    heads = [m for m in measures if m.kind == "score" and np.isfinite(values[m.name]).any()]
    head = values[heads[0].name] if heads else np.full(len(cases), np.nan)
    best = heads[0].bounds[1] if heads and heads[0].bounds else 1.0

    def rank(index: int) -> tuple[float, int, str]:
        lost = len(lost_terms(cases[index]))
        value = float(head[index])
        if math.isnan(value):
            value = best if not lost else 0.0
        return value, -lost, cases[index].case

    return tuple(sorted(range(len(cases)), key=rank))


def _failures(failed: list[CaseResult]) -> str:
    if not failed:
        return ""
    rows = "".join(
        f"<li><b>{text(case.case)}</b> · {text(case.failed)}{command(case.replay)}</li>"
        for case in failed
    )
    return (
        '<section class="failures" aria-label="Failures"><div class="section-head">'
        f"<h2>{len(failed)} failed and count in no figure</h2></div><ul>{rows}</ul></section>"
    )


def _settings(results: SuiteResults) -> str:
    said = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>'
        for name, value in _flat(results.run)
    )
    return (
        '<section aria-label="Configuration"><div class="section-head"><h2>Configuration</h2>'
        f'</div><table class="settings"><tbody>{said}</tbody></table></section>'
    )


def _flat(entry: dict[str, Any], head: str = "") -> Iterable[tuple[str, str]]:
    """run.json line by line, without the list of cases."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{head}{key}.")
        elif head or key != "cases":
            said = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{head}{key}", str(said)


def _definitions(results: SuiteResults) -> str:
    scores: dict[str, dict[str, Any]] = {}
    terms: dict[str, dict[str, dict[str, Any]]] = {}
    for case in results.finished:
        for score in case.scores:
            scores.setdefault(score["name"], score)
            for term in score["terms"]:
                terms.setdefault(score["name"], {}).setdefault(term["name"], term)
    if not scores:
        return ""
    ways = {True: "↑ better", False: "↓ better", None: ""}
    parts = []
    for name, score in scores.items():
        rows = "".join(
            f"<tr><td>{text(term['title'])}</td><td><code>{text(name)}.{text(term['name'])}</code>"
            f"</td><td>{typeset(term['unit'])}</td>"
            f"<td class='value'>{ways[term['higher_is_better']]}</td></tr>"
            for term in terms.get(name, {}).values()
        )
        unit = f", in {typeset(score['unit'])}" if score["unit"] else ""
        parts.append(
            f"<div><h3>{text(score['title'])}</h3><p class='note'><code>{text(name)}</code>, "
            f"version {text(score['version'])}{unit}</p><table><tbody>{rows}</tbody></table></div>"
        )
    said = (
        f"A verdict is shown as the share of cases that passed. Means have {LEVEL:.0%} intervals: "
        f"{METHODS['bootstrap']}; where every value is at an end of its range, "
        f"{METHODS['exact']}. Scores of different versions never compare."
    )
    return (
        '<section aria-label="Definitions"><div class="section-head"><h2>Definitions</h2>'
        f'<p class="note">{text(said)}</p></div><div class="definitions">{"".join(parts)}</div>'
        "</section>"
    )
