"""The table of cases of the suite pages: what each lost, in sentences, and where its replay is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadloop.suites.results import CaseResult, SuiteResults
from roadloop.viz.html_page import command, replay_link, text, typeset

SAID = 3
"""sentences of a case that are not folded away"""


@dataclass(frozen=True)
class Column:
    """A column of numbers."""

    title: str
    """HTML"""
    first: str
    """which order a first press gives: "up" or "down" """


@dataclass(frozen=True)
class Line:
    """One case of the table."""

    case: CaseResult
    numbers: tuple[tuple[float, str], ...]
    """value to sort by (NaN: none) and how it is printed, per column"""
    sentences: tuple[str, ...]
    """HTML, most important first"""
    turned: int
    """verdicts that were lost"""
    more: str
    """HTML of what is folded away"""
    links: str
    """HTML"""

    @classmethod
    def of(
        cls,
        run: SuiteResults,
        case: CaseResult,
        numbers: Sequence[tuple[float, str]],
        page: Path,
    ) -> Line:
        """A case of one run with the verdicts it lost."""
        lost = lost_terms(case)
        first = [(score, term) for score, term in lost if score is lost[0][0]]
        shown = [lost_sentence(*pair) for pair in first[:SAID]]
        folded = [lost_sentence(*pair) for pair in lost if pair not in first[:SAID]]
        if others := _by_score(lost[len(first) :]):
            shown.append(f"<span>and {others}</span>")
        more = _folded(folded) + how_driven(case)
        link = replay_link(run, case, page)
        return cls(case, tuple(numbers), tuple(shown), len(lost), more, link)


def lost_terms(case: CaseResult) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(score, term) of every verdict the case lost, in their order."""
    return [
        (score, term) for score in case.scores for term in score["terms"] if term["passed"] is False
    ]


def _by_score(lost: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """How many terms each score lost, as HTML."""
    counts: dict[str, int] = {}
    for score, _ in lost:
        counts[score["name"]] = counts.get(score["name"], 0) + 1
    return ", ".join(f"{count} of {text(name)}" for name, count in counts.items())


def _folded(sentences: Sequence[str]) -> str:
    said = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return f'<ul class="said">{said}</ul>' if said else ""


def lost_sentence(score: dict[str, Any], term: dict[str, Any]) -> str:
    """One lost verdict as HTML: the term, its sentence, when and by which score."""
    at = "" if term["lost_at"] is None else f"{term['lost_at']:.1f} s · "
    detail = f": {typeset(term['detail'])}" if term["detail"] else ""
    return f"<i>{text(term['title'])}</i>{detail} <span>{text(at + score['title'])}</span>"


def how_driven(case: CaseResult) -> str:
    """How long a case is, what it was made of, its hash and command, as HTML."""
    said = [f"{case.steps} steps of {case.dt:g} s"]
    said += [f"{text(name)} {value:g}" for name, value in case.parameters.items()]
    digest = f"<div>rollout <code>{text(case.rollout_hash)}</code></div>"
    return f"<div>{', '.join(said)}</div>{digest}{command(case.replay)}"


def case_section(title: str, columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """The section with its table, sorting and filters; cases stand in the order given."""
    if not lines:
        return ""
    families = sorted({line.case.family for line in lines})
    choices = "".join(f'<option value="{text(name)}">{text(name)}</option>' for name in families)
    names = ["Rank", "Case", *(column.title for column in columns), "Verdicts lost"]
    orders = "".join(f'<option value="{i}">{name}</option>' for i, name in enumerate(names))
    heads = [_head("Rank", "number", "up", "ascending"), _head("Case", "text", "up")]
    heads += [_head(column.title, "number", column.first) for column in columns]
    heads += [_head("Verdicts lost", "number", "down"), '<th scope="col">Replay</th>']
    rows = "".join(_row(rank, columns, line) for rank, line in enumerate(lines, 1))
    return (
        f'<section aria-label="Cases"><div class="section-head"><h2>{text(title)}</h2>'
        '<p class="note"><span id="shown"></span> cases</p><div class="tools">'
        '<label>Family <select id="family" autocomplete="off"><option value="">all</option>'
        f"{choices}</select></label>"
        f'<label>Order <select id="order" autocomplete="off">{orders}</select></label>'
        '<label><input type="checkbox" id="only-lost" autocomplete="off"> verdict lost</label>'
        '</div></div><table class="cases" id="cases"><thead><tr>'
        f"{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table>"
        '<button type="button" id="show-all" class="show-all" hidden>Show all</button></section>'
    )


def _head(title: str, kind: str, first: str, now: str = "none") -> str:
    side = ' class="value"' if kind == "number" else ""
    return (
        f'<th scope="col"{side} data-kind="{kind}" data-first="{first}" aria-sort="{now}">'
        f'<button type="button">{title}</button></th>'
    )


def _row(rank: int, columns: Sequence[Column], line: Line) -> str:
    case = line.case
    said = "".join(f"<li>{sentence}</li>" for sentence in line.sentences)
    cells = []
    for column, (value, printed) in zip(columns, line.numbers):
        known = math.isfinite(value)
        kind = "value" if known else "value no-value"
        if known and value <= 0.0 and column.first == "up":
            kind += " is-zero"
        order = f"{value:.9g}" if known else ""
        cells.append(
            f'<td class="{kind}" data-sort="{order}" data-label="{column.title}">'
            f"{text(printed)}</td>"
        )
    return (
        f'<tr id="case-{text(case.case)}" data-family="{text(case.family)}" '
        f'data-lost="{line.turned}"><td class="value rank" data-sort="{rank}">{rank}</td>'
        f'<th scope="row" data-sort="{text(case.case)}"><b>{text(case.case)}</b>'
        f"<small>{text(case.family)} · seed {case.seed}</small>"
        f'<ul class="said">{said}</ul>'
        f"<details><summary>details</summary><div>{line.more}</div></details></th>"
        f"{''.join(cells)}"
        f'<td class="value" data-sort="{line.turned}" data-label="verdicts lost">{line.turned}</td>'
        f'<td class="links">{line.links}</td></tr>'
    )
