"""Tables for the terminal and for a page of one file: the same rows, the same printed numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadloop.viz.html_page import facts, text, typeset, write_page


@dataclass(frozen=True)
class Cell:
    """A number, or what is there in its place."""

    value: float = math.nan
    """NaN: it does not apply"""
    digits: int = 3
    low: float = math.nan
    high: float = math.nan
    """of its interval; NaN: there is none"""
    shade: float = math.nan
    """share in [0, 1] that is lost, for its colour on the page; NaN: none"""
    words: str = ""
    """printed instead of the number"""

    def printed(self) -> str:
        """As text, a dash where it does not apply."""
        if self.words or math.isnan(self.value):
            return self.words or "-"
        return f"{self.value:.{self.digits}f}"

    def interval(self) -> str:
        """As text, empty where there is none."""
        if math.isnan(self.low) or math.isnan(self.high):
            return ""
        return f"{self.low:.{self.digits}f} to {self.high:.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """Rows of cells below their heads."""

    title: str
    note: str
    """what the numbers are, in a sentence or two"""
    heads: tuple[str, ...]
    """of the columns behind the rows' names; a unit stands behind a comma"""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def share_cell(value: float, low: float = math.nan, high: float = math.nan) -> Cell:
    """A share in [0, 1] of which more is better."""
    return Cell(value, 3, low, high, shade=1.0 - value)


def table_text(table: Table) -> str:
    """For a terminal: title, columns set flush right, intervals in brackets."""
    names = [name for name, _ in table.rows]
    body = [[_plain(cell) for cell in cells] for _, cells in table.rows]
    widths = [max(map(len, column)) for column in zip(table.heads, *body, strict=True)]
    first = max(map(len, (*names, "")))
    lines = [table.title, _line("", table.heads, first, widths)]
    lines += [_line(name, cells, first, widths) for name, cells in zip(names, body)]
    return "\n".join(lines)


def _plain(cell: Cell) -> str:
    between = cell.interval()
    return f"{cell.printed()} [{between}]" if between else cell.printed()


def _line(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    said = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths))
    return f"  {name:{first}}  {said}".rstrip()


def write_table_page(
    path: str | Path,
    *,
    title: str,
    verdict: str,
    about: Sequence[tuple[str, object]],
    cards: Sequence[tuple[str, Cell, str]],
    tables: Sequence[Table],
) -> Path:
    """Write one HTML file and return its path; the same content gives the same bytes.

    Args:
        verdict: a few words beside the title.
        about: (label, value) pairs for the head.
        cards: (title, number, what it stands on) above the tables.

    Raises RoadloopError where the file cannot be written.
    """
    body = [_cards(cards), *(_section(table) for table in tables)]
    return write_page(
        path, title=title, verdict=verdict, mood="", facts=facts(about), body="\n".join(body)
    )


def _cards(cards: Sequence[tuple[str, Cell, str]]) -> str:
    made = []
    for title, cell, base in cards:
        between = f"<p>95%: {text(cell.interval())}</p>" if cell.interval() else ""
        made.append(
            f'<div class="card"><h3>{text(title)}</h3><p class="big">{text(cell.printed())}</p>'
            f'{between}<p class="base">{text(base)}</p></div>'
        )
    return f'<section class="bare cards" aria-label="Scores">{"".join(made)}</section>'


def _section(table: Table) -> str:
    heads = "".join(f'<th scope="col">{typeset(head)}</th>' for head in table.heads)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>{"".join(map(_cell, cells))}</tr>'
        for name, cells in table.rows
    )
    return (
        f'<section aria-label="{text(table.title)}"><div class="section-head">'
        f'<h2>{text(table.title)}</h2><p class="note">{text(table.note)}</p></div>'
        f'<div class="scroll"><table class="heat"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _cell(cell: Cell) -> str:
    kind, style = "plain", ""
    if not cell.words and math.isnan(cell.value):
        kind = "none"
    elif not math.isnan(cell.shade):
        # small losses are drawn out of the rest, as on the pages of suites
        kind = "shaded"
        style = f' style="--loss:{min(max(cell.shade, 0.0), 1.0) ** 0.6:.3f}"'
    between = cell.interval()
    small = f"<br><small>{text(between)}</small>" if between else ""
    return f'<td class="{kind}"{style}>{text(cell.printed())}{small}</td>'
