"""Two runs of one suite as one HTML page: differences with intervals, families, changed cases."""

from __future__ import annotations

import math
from pathlib import Path

from roadloop.suites.comparison import Change, Comparison, Row
from roadloop.suites.comparison_text import explanation
from roadloop.suites.measures import Measure
from roadloop.suites.results import CaseResult, SuiteResults
from roadloop.viz.case_table import Column, Line, case_section, how_driven
from roadloop.viz.html_page import (
    beside_verdict,
    command,
    facts,
    measured_too,
    replay_address,
    replay_link,
    text,
    typeset,
    write_page,
)
from roadloop.viz.suite_charts import difference_bar, with_unit

NICE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""ends of the common axis, as shares of a measure's range"""
CHIPS = {"better": "kept", "worse": "lost", "differs": "even", "none": "even"}


def write_compare_page(path: str | Path, comparison: Comparison) -> Path:
    """Write the comparison as one HTML file and return its path.

    Replays are linked relative to ``path`` where the runs have kept them; of other cases the page
    gives the commands. Raises RoadloopError where the file cannot be written.
    """
    path = Path(path)
    verdict, mood = _verdict(comparison)
    run = comparison.a.run
    body = [
        _sides(comparison),
        _failures(comparison),
        _forest(comparison),
        _families(comparison),
        _cases(comparison, path),
        _replays(comparison, path),
    ]
    names = [str(side.run.get("driver", "")) for side in (comparison.a, comparison.b)]
    return write_page(
        path,
        title=f"{run.get('suite', 'suite')} · {names[1]} against {names[0]}",
        verdict=verdict,
        mood=mood,
        facts=facts(
            [
                ("Suite", run.get("suite", "")),
                ("Suite hash", str(run["suite_hash"])[:12]),
                ("Pairs", f"{len(comparison.pairs)} cases that finished in both"),
                ("Level", f"{comparison.level:.0%}"),
                ("Scores and terms", _counts(comparison)),
            ]
        ),
        body="\n".join(part for part in body if part),
    )


def _verdict(comparison: Comparison) -> tuple[str, str]:
    """What the headline score says, and its mood."""
    if comparison.headline is None:
        return f"{len(comparison.pairs)} pairs", "is-even"
    row = comparison.row(comparison.headline.name)
    if row.difference.note:
        return row.difference.note, "is-even"
    what = {
        "better": "B is better",
        "worse": "B is worse",
        "differs": "differs",
        "none": "no significant difference",
    }[row.verdict]
    mood = {"better": "", "worse": "is-lost"}.get(row.verdict, "is-even")
    return f"{row.measure.title}: {what}", mood


def _counts(comparison: Comparison) -> str:
    verdicts = [row.verdict for row in comparison.rows]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return f"{better} better, {worse} worse of {len(verdicts)}"


def _sides(comparison: Comparison) -> str:
    sides = []
    parts = (
        ("A", comparison.a, comparison.failed_a, comparison.only_a),
        ("B", comparison.b, comparison.failed_b, comparison.only_b),
    )
    for letter, run, failed, only in parts:
        asked = len(run.run.get("cases", run.cases))
        said = f"{len(run.finished)} of {asked} cases finished"
        if asked > len(run.cases):
            said += f", {asked - len(run.cases)} not driven yet"
        mood = "lost" if failed else "kept"
        chip = f'<span class="chip {mood}">{len(failed)} failed</span>'
        alone = f"<p>{len(only)} finished here only and count in no difference</p>" if only else ""
        versions = run.run.get("versions", {})
        release = f" · roadloop {versions['roadloop']}" if "roadloop" in versions else ""
        sides.append(
            f'<div class="card"><h2><span>{letter}</span>{text(run.run.get("driver", ""))}</h2>'
            f"<p>perception {text(run.run.get('perception', ''))}{text(release)}</p>"
            f"<p>{said} {chip}</p>{alone}"
            f'<p class="base">{text(run.folder.name)}</p></div>'
        )
    return f'<section class="bare sides" aria-label="Runs">{"".join(sides)}</section>'


def _failures(comparison: Comparison) -> str:
    rows = [
        f"<li><b>{text(case.case)}</b> failed in {letter}: {text(case.failed)}"
        f"{command(case.replay)}</li>"
        for letter, failed in (("A", comparison.failed_a), ("B", comparison.failed_b))
        for case in failed
    ]
    if not rows:
        return ""
    return (
        '<section class="failures" aria-label="Failures"><div class="section-head">'
        "<h2>Failed cases count in no difference</h2></div>"
        f"<ul>{''.join(rows)}</ul></section>"
    )


def _forest(comparison: Comparison) -> str:
    """Every measure's difference and interval."""
    if not comparison.rows:
        return '<section><p class="empty">No score is in both runs.</p></section>'
    reach = _reach(comparison)
    rows = "".join(_forest_row(row, reach) for row in comparison.rows)
    left = ""
    if comparison.scores_left_out:
        left = f" In one run only, left out: {text(', '.join(comparison.scores_left_out))}."
    end = f"{100 * reach:g} pp"
    return (
        '<section aria-label="Differences"><div class="section-head"><h2>Differences</h2>'
        f'<p class="note">{text(explanation(comparison))}. Shares and scores are drawn on one '
        f"axis, measured values each on its own; right is better for B.{left}</p>"
        f'<div class="tools">{measured_too(row.measure for row in comparison.rows)}</div></div>'
        '<table class="forest"><thead><tr><th scope="col">Score or term</th>'
        '<th scope="col" class="value">A</th><th scope="col" class="value">B</th>'
        f'<th scope="col"><div class="ends"><span>−{end}</span><span>0</span>'
        f"<span>+{end}</span></div></th>"
        '<th scope="col" class="value">B − A</th>'
        f'<th scope="col" class="value">{comparison.level:.0%} interval</th>'
        '<th scope="col" class="value">pairs</th><th scope="col">verdict</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _reach(comparison: Comparison) -> float:
    """End of the common axis: the least nice one that holds every interval."""
    most = 0.0
    for row in comparison.rows:
        if row.measure.bounds is not None:
            span = row.measure.bounds[1] - row.measure.bounds[0]
            for end in (row.difference.low, row.difference.high, row.difference.mean):
                most = max(most, abs(end) / span if math.isfinite(end) else 0.0)
    return next((nice for nice in NICE if nice >= most), NICE[-1])


def _forest_row(row: Row, reach: float) -> str:
    measure, found = row.measure, row.difference
    if measure.bounds is None:
        ends = [abs(end) for end in (found.low, found.high, found.mean) if math.isfinite(end)]
        own = 1.15 * max(ends, default=0.0) or 1.0
    else:
        own = reach * (measure.bounds[1] - measure.bounds[0])
    bar = difference_bar(found, own, turned=measure.higher_is_better is False)
    unit = f" {measure.difference_unit}" if measure.difference_unit else ""
    low, high = measure.text(found.low, True), measure.text(found.high, True)
    mark = " *" if row.survives else ""
    if found.note:
        verdict = f'<span class="chip even">{text(found.note)}</span>'
    elif row.verdict == "none":
        verdict = "" if found.unequal else '<span class="note">same in every case</span>'
    else:
        verdict = f'<span class="chip {CHIPS[row.verdict]}">{row.verdict}{mark}</span>'
    head = "" if measure.term else "head-row "
    if beside_verdict(measure):
        head = "measured "
    return (
        f'<tr class="{head}{row.verdict}" data-measure="{text(measure.name)}">'
        f'<th scope="row">{text(measure.title)}</th>'
        f'<td class="value" data-label="A">{typeset(with_unit(measure, found.mean_a))}</td>'
        f'<td class="value" data-label="B">{typeset(with_unit(measure, found.mean_b))}</td>'
        f'<td class="plot">{bar}</td>'
        f'<td class="value" data-label="B − A">{measure.text(found.mean, True)}{typeset(unit)}</td>'
        f'<td class="value">{low} to {high}</td>'
        f'<td class="value" data-label="pairs">{found.pairs}</td><td>{verdict}</td></tr>'
    )


def _families(comparison: Comparison) -> str:
    """Differences by family and measure."""
    if not comparison.family_rows:
        return ""
    families = list(dict.fromkeys(row.family for row in comparison.family_rows))
    cells = {(row.measure.name, row.family): row for row in comparison.family_rows}
    heads = "".join(
        f'<th scope="col" class="family"><span>{text(name)}</span></th>' for name in families
    )
    rows = []
    for number, whole in enumerate(comparison.rows):
        measure = whole.measure
        found = "".join(
            _family_cell(cells[measure.name, family], family, focus=not number and not place)
            for place, family in enumerate(families)
        )
        unit = f" ({measure.difference_unit})" if measure.difference_unit else ""
        kind = ' class="measured"' if beside_verdict(measure) else ""
        bold = f"<b>{text(measure.title)}</b>" if not measure.term else text(measure.title)
        rows.append(
            f'<tr{kind}><th scope="row">{bold}<small>{typeset(unit)}</small></th>{found}</tr>'
        )
    return (
        '<section aria-label="Families"><div class="section-head"><h2>By family, B − A</h2>'
        '<p class="note">Green where B is better, red where it is worse; framed where the '
        "difference is significant on its own. Hover, tap or use the arrow keys for both means, "
        "the interval and the pairs.</p></div>"
        f'<div class="scroll"><table class="heat"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _family_cell(row: Row, family: str, *, focus: bool) -> str:
    measure, found = row.measure, row.difference
    tip = _tip(row, family)
    order = f'tabindex="{0 if focus else -1}" data-tip="{text(tip)}"'
    if not found.pairs:
        return f'<td class="none" {order}>–</td>'
    if not found.unequal:
        return f'<td class="none" {order}>·</td>'
    kind, style = "plain", ""
    if measure.higher_is_better is not None and measure.bounds is not None:
        span = measure.bounds[1] - measure.bounds[0]
        kind = "better" if (found.mean > 0.0) == measure.higher_is_better else "worse"
        if found.mean == 0.0:
            kind = "plain"
        style = f' style="--loss:{min(abs(found.mean) / span, 1.0) ** 0.6:.3f}"'
    if row.verdict != "none":
        kind += " sure"
    return f'<td class="{kind}"{style} {order}>{measure.text(found.mean, True)}</td>'


def _tip(row: Row, family: str) -> str:
    measure, found = row.measure, row.difference
    head = f"{measure.title} · {family}"
    if not found.pairs:
        return f"{head}\n{found.note}"
    low, high = measure.text(found.low, True), measure.text(found.high, True)
    lines = [
        head,
        f"A {with_unit(measure, found.mean_a)}, B {with_unit(measure, found.mean_b)}",
        f"{found.level:.0%} interval of the difference: {low} to {high}",
        f"{found.pairs} pairs, {found.unequal} of them differ",
    ]
    if row.verdict != "none":
        lines.append(f"{row.verdict}, tested on its own")
    return "\n".join(lines)


def _cases(comparison: Comparison, page: Path) -> str:
    headline = comparison.headline
    columns = []
    if headline is not None:
        name = text(headline.name)
        columns = [Column(title, "up") for title in (f"A: {name}", f"B: {name}", "B − A")]
    lines = [_line(comparison, change, page) for change in comparison.changes]
    title = f"Changed most ({len(lines)} of {len(comparison.pairs)} cases changed)"
    return case_section(title, columns, lines)


def _line(comparison: Comparison, change: Change, page: Path) -> Line:
    headline = comparison.headline
    numbers: list[tuple[float, str]] = []
    if headline is not None:
        delta = change.after - change.before
        numbers = [
            (change.before, headline.text(change.before)),
            (change.after, headline.text(change.after)),
            (delta, headline.text(delta, True)),
        ]
    said = [_turned("B", change.b, measure) for measure in change.lost]
    said += [_turned("A", change.a, measure) for measure in change.gained]
    links = " · ".join(
        replay_link(run, case, page, f" {letter}")
        for letter, run, case in _both(comparison, change)
    )
    more = "".join(
        f"<div><b>{letter}</b>{how_driven(case)}</div>"
        for letter, _, case in _both(comparison, change)
    )
    return Line(change.b, tuple(numbers), tuple(said), len(change.lost), more, links)


def _both(comparison: Comparison, change: Change) -> list[tuple[str, SuiteResults, CaseResult]]:
    return [("A", comparison.a, change.a), ("B", comparison.b, change.b)]


def _turned(letter: str, case: CaseResult, measure: Measure) -> str:
    """A verdict that turned, with the sentence of the run that lost it, as HTML."""
    score = next(score for score in case.scores if score["name"] == measure.score)
    term = next(term for term in score["terms"] if term["name"] == measure.term)
    word, kind = ("lost", "") if letter == "B" else ("gained", ' class="gained"')
    detail = f", in {letter}: {typeset(term['detail'])}" if term["detail"] else ""
    return f"<i{kind}>{word} {text(term['title'])}</i>{detail} <span>{text(score['title'])}</span>"


def _replays(comparison: Comparison, page: Path) -> str:
    """Both replays of a case beside each other, of those that have both."""
    found = []
    for change in comparison.changes:
        addresses = [replay_address(run, case, page) for _, run, case in _both(comparison, change)]
        if addresses[0] is not None and addresses[1] is not None:
            found.append((change.a.case, addresses[0], addresses[1]))
    if not found:
        return ""
    options = "".join(
        f'<option data-first="{text(a)}" data-second="{text(b)}">{text(name)}</option>'
        for name, a, b in found
    )
    frames = "".join(
        f"<div><h3>{letter}</h3>"
        f'<iframe loading="lazy" title="Replay {letter}" src="{text(address)}"></iframe></div>'
        for letter, address in zip("AB", found[0][1:])
    )
    return (
        '<section aria-label="Replays"><div class="section-head"><h2>Both replays</h2>'
        '<div class="tools"><label>of <select id="which-replay" autocomplete="off">'
        f'{options}</select></label></div></div><div class="replays">{frames}</div></section>'
    )
