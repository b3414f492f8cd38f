"""Plots of the suite pages as inline SVG: x in percent of the width, so that text never shrinks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from roadloop.stats import METHODS, Difference, Estimate
from roadloop.suites.measures import Measure
from roadloop.viz.html_page import text

Array = np.ndarray

BINS = 20
"""of a histogram"""
HISTOGRAM_HEIGHT, STRIP_HEIGHT = 56, 24
"""px"""
STACK = 4.5
"""px between dots that lie on each other, unless they are too many for the strip"""


def scale_of(measure: Measure, values: Array) -> tuple[float, float]:
    """Least and most of the axis that values are drawn on: the measure's range, or their own."""
    finite = values[np.isfinite(values)]
    least, most = measure.bounds or (math.inf, -math.inf)
    if len(finite):
        least, most = min(least, float(finite.min())), max(most, float(finite.max()))
    return (least, most) if least < most else (least - 0.5, most + 0.5)


def with_unit(measure: Measure, value: float) -> str:
    """A mean with its unit, as plain text."""
    unit = measure.printed_unit if math.isfinite(value) else ""
    return f"{measure.text(value)} {unit}".strip()


def interval_text(measure: Measure, found: Estimate) -> str:
    """``0.72 to 0.81``, or why there is none, as plain text."""
    if not math.isfinite(found.low):
        return METHODS[found.method]
    if found.method == "equal":
        return "all equal"
    return f"{measure.text(found.low)} to {measure.text(found.high)}"


def estimate_tip(head: str, measure: Measure, found: Estimate) -> str:
    """What a mean stands on, line by line, as plain text."""
    if not found.count:
        return f"{head}\ndoes not apply to any of {found.absent} cases"
    lines = [head, f"{with_unit(measure, found.mean)} over {found.count} cases"]
    if found.absent:
        lines[-1] += f" ({found.absent} do not apply)"
    lines.append(f"{found.level:.0%} interval: {interval_text(measure, found)}")
    if found.method in ("bootstrap", "exact"):
        lines.append(METHODS[found.method])
    return "\n".join(lines)


def interval_bar(found: Estimate, scale: tuple[float, float]) -> str:
    """The mean as a tick and its interval as a bar on a scale."""
    if not math.isfinite(found.mean):
        return ""
    return (
        '<svg class="scale range" height="14" aria-hidden="true">'
        '<line class="track" x1="0%" x2="100%" y1="7" y2="7"/>'
        f"{_mean(found, scale, 1, 13)}</svg>"
    )


def histogram(measure: Measure, values: Array, scale: tuple[float, float]) -> str:
    """How many cases lie where on the scale."""
    least, most = scale
    counts, edges = np.histogram(values[np.isfinite(values)], bins=BINS, range=scale)
    tallest = max(int(counts.max()), 1)
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist()):
        if not count:
            continue
        height = max(HISTOGRAM_HEIGHT * count / tallest, 1.5)
        at, width = 100.0 * (low - least) / (most - least), 100.0 / BINS
        tip = f"{count} cases from {measure.text(low)} to {with_unit(measure, high)}"
        bars.append(
            f'<rect class="bar" x="{at + 0.25:.2f}%" width="{width - 0.5:.2f}%" '
            f'y="{HISTOGRAM_HEIGHT - height:.1f}" height="{height:.1f}" data-tip="{text(tip)}"/>'
        )
    return (
        f'<svg class="scale" height="{HISTOGRAM_HEIGHT + 1}" role="img" '
        f'aria-label="Histogram of {text(measure.title)}">{"".join(bars)}'
        f'<line class="track" x1="0%" x2="100%" y1="{HISTOGRAM_HEIGHT}" y2="{HISTOGRAM_HEIGHT}"/>'
        "</svg>"
    )


def strip(
    measure: Measure,
    values: Array,
    cases: Sequence[tuple[str, bool]],
    found: Estimate,
    scale: tuple[float, float],
) -> str:
    """One dot per case, the mean and its interval; a dot leads to its case in the table.

    Args:
        values: (cases,) NaN: no dot.
        cases: name of each and whether it lost a verdict.
    """
    bins: dict[int, list[int]] = {}
    for index in np.flatnonzero(np.isfinite(values)).tolist():
        bins.setdefault(round(2 * BINS * _share(float(values[index]), scale)), []).append(index)
    dots = []
    for members in bins.values():
        step = min(STACK, (STRIP_HEIGHT - 8) / max(len(members) - 1, 1))
        for place, index in enumerate(members):
            name, lost = cases[index]
            y = STRIP_HEIGHT / 2 + step * (place - (len(members) - 1) / 2)
            tip = f"{name}: {with_unit(measure, float(values[index]))}"
            dots.append(
                f'<a href="#case-{quote(name)}" tabindex="-1"><circle '
                f'class="dot{" has-lost" if lost else ""}" cx="{_at(float(values[index]), scale)}" '
                f'cy="{y:.1f}" r="3.2" data-tip="{text(tip)}"/></a>'
            )
    middle = STRIP_HEIGHT / 2
    return (
        f'<svg class="scale" height="{STRIP_HEIGHT}" role="img" aria-label="'
        f'{text(estimate_tip(measure.title, measure, found))}">'
        f'<line class="faint" x1="0%" x2="100%" y1="{middle}" y2="{middle}"/>'
        f"{_mean(found, scale, 3, STRIP_HEIGHT - 3)}{''.join(dots)}</svg>"
    )


def difference_bar(found: Difference, reach: float, *, turned: bool) -> str:
    """A difference and its interval about zero in the middle; ``reach`` is the axis' end.

    ``turned`` puts negative differences on the right, for measures of which less is better.
    """
    if not math.isfinite(found.mean):
        return ""
    sign = -1.0 if turned else 1.0
    scale = (-reach, reach)
    ends = sorted(sign * value for value in (found.low, found.high) if math.isfinite(value))
    bar = ""
    if ends:
        x1, x2 = (_at(min(max(end, -reach), reach), scale) for end in ends)
        bar = f'<line class="whisker" x1="{x1}" x2="{x2}" y1="9" y2="9"/>'
    at = _at(sign * found.mean, scale)
    return (
        '<svg class="scale" height="18" aria-hidden="true">'
        '<line class="faint" x1="0%" x2="100%" y1="9" y2="9"/>'
        f'<line class="track" x1="50%" x2="50%" y1="0" y2="18"/>{bar}'
        f'<line class="mean" x1="{at}" x2="{at}" y1="3" y2="15"/></svg>'
    )


def _mean(found: Estimate, scale: tuple[float, float], top: float, bottom: float) -> str:
    if not math.isfinite(found.mean):
        return ""
    middle = (top + bottom) / 2
    bar = ""
    if math.isfinite(found.low):
        low, high = _at(found.low, scale), _at(found.high, scale)
        bar = f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    at = _at(found.mean, scale)
    return f'{bar}<line class="mean" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>'


def _share(value: float, scale: tuple[float, float]) -> float:
    return (value - scale[0]) / (scale[1] - scale[0])


def _at(value: float, scale: tuple[float, float]) -> str:
    return f"{100.0 * _share(value, scale):.2f}%"
