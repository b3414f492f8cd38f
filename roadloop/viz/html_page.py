"""Pages that are opened from disk: a template with everything put in place, one file each."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.scoring import result
from roadloop.suites.comparison import replay_page
from roadloop.suites.measures import Measure
from roadloop.suites.results import CaseResult, SuiteResults
from roadloop.viz.template import asset, fill, style


def text(value: object) -> str:
    """Anything as HTML text, also within an attribute in double quotes."""
    return html.escape(str(value)).replace("\n", "&#10;")


def typeset(unit_or_detail: str) -> str:
    """``m/s^2`` as it is printed, as HTML text."""
    return text(result.typeset(unit_or_detail))


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """(label, value) pairs for the head of the page."""
    said = "".join(
        f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for label, value in rows
    )
    return f'<dl class="facts">{said}</dl>'


def copied(command: str, label: str = "Copy") -> str:
    """A button that copies a command."""
    return (
        f'<button type="button" class="copy" data-copy="{text(command)}" '
        f'title="{text(command)}">{text(label)}</button>'
    )


def command(words: str) -> str:
    """A command with its copy button."""
    return f'<div class="command"><code>{text(words)}</code>{copied(words)}</div>'


def measured_too(measures: Iterable[Measure]) -> str:
    """The switch that shows values of terms which have a verdict besides; nothing without such."""
    if not any(beside_verdict(measure) for measure in measures):
        return ""
    return (
        '<label><input type="checkbox" id="measured" autocomplete="off"> measured values too'
        "</label>"
    )


def beside_verdict(measure: Measure) -> bool:
    """Whether it is the value of a term whose verdict is a measure of its own."""
    return measure.name.endswith(".value")


def replay_address(run: SuiteResults, case: CaseResult, page: Path) -> str | None:
    """Where a page at ``page`` finds the replay of a case, relative and quoted; None: not kept."""
    found = replay_page(run, case)
    if found is None:
        return None
    return quote(Path(os.path.relpath(found.resolve(), page.resolve().parent)).as_posix())


def replay_link(run: SuiteResults, case: CaseResult, page: Path, whose: str = "") -> str:
    """A link to the replay, or where the run kept none a button that copies its command.

    ``whose`` stands behind the words of either.
    """
    address = replay_address(run, case, page)
    if address is None:
        return copied(case.replay, f"Copy command{whose}")
    return f'<a href="{text(address)}">Replay{text(whose)}</a>'


def write_page(
    path: str | Path, *, title: str, verdict: str, mood: str, facts: str, body: str
) -> Path:
    """Write a page and return its path; ``facts`` and ``body`` are HTML, the others plain text.

    Raises RoadloopError where the file cannot be written.
    """
    pieces = {
        "title": text(title),
        "style": style("suite_page/page.css"),
        "verdict": text(verdict),
        "mood": mood,
        "facts": facts,
        "body": body,
        "script": asset("suite_page/page.js"),
    }
    page = fill(asset("suite_page/page.html"), pieces)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            hidden.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RoadloopError(f"cannot write the page {path}: {error.strerror}") from error
    return path
