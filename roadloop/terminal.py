"""What the command line shows: progress bars, tables, and the same facts as JSON objects."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roadloop.scoring.result import Score
    from roadloop.types import Rollout


class Laps:
    """Wall-clock seconds of named stages, for the reader only: no result depends on them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last call (or the start) was spent on ``name``."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._since, 3)
        self._since = now


def progress_bar(title: str, unit: str, total: float, *, quiet: bool) -> Any:
    """A tqdm bar on standard error; an invisible one when ``quiet`` or not at a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        disable=quiet or not sys.stderr.isatty(),
        leave=False,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{remaining}]",
    )


def start_warp() -> None:
    """Start Warp without its greeting, and without a warning where there is no GPU."""
    import warp

    warp.config.log_level = warp.LOG_WARNING
    with stderr_without("Could not find or load the NVIDIA CUDA driver"):
        warp.init()


@contextlib.contextmanager
def stderr_without(text: str) -> Iterator[None]:
    """Drop the lines with ``text`` that compiled libraries write to standard error inside."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        real = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            written.seek(0)
            for line in written.read().decode(errors="replace").splitlines():
                if text not in line:
                    print(line, file=sys.stderr)


def drive_text(rollout: Rollout) -> str:
    """One line: what was driven, by whom, and for how long."""
    end = "" if rollout.finished else ", interrupted"
    seconds = (len(rollout.time) - 1) * rollout.dt
    return (
        f"{rollout.scenario} seed {rollout.seed} on {rollout.map_name}, "
        f"driver {rollout.driver}: {seconds:.1f} s driven{end}"
    )


def drive_json(rollout: Rollout) -> dict[str, Any]:
    """What was driven, as plain values."""
    return {
        "scenario": rollout.scenario,
        "family": rollout.family,
        "seed": int(rollout.seed),
        "driver": rollout.driver,
        "map": rollout.map_name,
        "map_hash": rollout.map_hash,
        "steps": len(rollout.time),
        "dt": float(rollout.dt),
        "finished": bool(rollout.finished),
    }


def score_text(score: Score) -> str:
    """A table of the terms: verdict, title, value, and the sentence of what failed."""
    titles = [term.title for term in score.terms]
    width = max(map(len, titles), default=0)
    lines = []
    for term in score.terms:
        mark = {True: "pass", False: "FAIL", None: ""}[term.passed]
        value = "-" if _finite(term.value) is None else f"{term.value:.3g} {term.unit}".strip()
        detail = f"  {term.detail}" if term.passed is False else ""
        lines.append(f"  {mark:5}{term.title:{width}}  {value:12}{detail}".rstrip())
    return "\n".join(lines)


def scores_text(scores: Sequence[Score]) -> str:
    """The terms of the first score, and a line for every other one that has a value."""
    first, *others = scores
    valued = [score for score in others if score.value is not None]
    width = max((len(score.title) for score in valued), default=0)
    lines = [score_text(first)]
    for score in valued:
        value = f"{score.value:.3g} {score.unit}".strip()
        lines.append(f"  {score.title:{width}}  {value}")
    return "\n".join(lines)


def score_json(score: Score) -> dict[str, Any]:
    """The terms without their series over time, which are in score.json."""
    return {
        "version": score.version,
        "value": _finite(score.value),
        "unit": score.unit,
        "terms": {
            term.name: {
                "value": _finite(term.value),
                "unit": term.unit,
                "passed": None if term.passed is None else bool(term.passed),
                "lost_at": _finite(term.lost_at),
                "detail": term.detail,
            }
            for term in score.terms
        },
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: what is not finite is null there."""
    return float(value) if value is not None and math.isfinite(value) else None
