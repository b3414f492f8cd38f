"""How long a driver computes: `Latency`, a number, a distribution, or a file of measurements."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from roadloop.errors import RoadloopError

LONGEST = 60.0
"""s: beyond it, somebody wrote milliseconds"""
COLUMN = "latency_s"
"""name of the column or key that holds seconds"""
FORMS = 'seconds ("0.2"), "normal:MEAN,STD", "lognormal:MEAN,STD", or a .json, .csv or .txt file'


@dataclass(frozen=True)
class Latency:
    """Seconds a driver needs per answer. Raises RoadloopError for what cannot be a latency."""

    kind: Literal["constant", "measured", "normal", "lognormal"] = "constant"
    mean: float = 0.0
    """s; of the latency itself, not of its logarithm"""
    std: float = 0.0
    """s; for normal (cut off at 0) and lognormal"""
    samples: tuple[float, ...] = ()
    """s, for measured"""
    shuffle: bool = False
    """measured ones are drawn at random; otherwise in order, and from the start when they end"""
    seed: int = 0
    """another draw in the same scenario"""

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "measured", "normal", "lognormal"):
            raise RoadloopError(
                f'latency kind is "{self.kind}": expected constant, measured, normal or lognormal'
            )
        if self.kind == "measured" and not self.samples:
            raise RoadloopError("latency is measured but holds no samples: measure at least one")
        if self.kind != "measured" and self.samples:
            raise RoadloopError(f"latency is {self.kind} and holds samples: its kind is measured")
        if self.kind == "lognormal" and self.std > 0.0 and not self.mean > 0.0:
            raise RoadloopError(f"lognormal latency has mean {self.mean} s: expected above 0")
        if self.seed < 0:
            raise RoadloopError(f"latency seed is {self.seed}: expected 0 or more")
        for name, value in (("mean", self.mean), ("std", self.std)):
            _check(value, name)
        for i, value in enumerate(self.samples):
            _check(value, f"sample {i + 1}")

    @property
    def zero(self) -> bool:
        """True where every answer is there at once."""
        if self.kind == "measured":
            return not any(self.samples)
        return self.mean == 0.0 and (self.kind == "constant" or self.std == 0.0)

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"{self.mean:g}s"
        if self.kind == "measured":
            return f"measured:{np.mean(self.samples):.3g}s"
        return f"{self.kind}:{self.mean:g},{self.std:g}s"

    def draws(self, seed: int) -> Iterator[float]:
        """Latencies (s) without end; the same for the same seed."""
        if self.kind == "constant" or (self.kind != "measured" and self.std == 0.0):
            return itertools.repeat(self.mean)
        if self.kind == "measured" and not self.shuffle:
            return itertools.cycle(self.samples)
        return self._random(np.random.default_rng([seed, self.seed]))

    def _random(self, rng: np.random.Generator) -> Iterator[float]:
        if self.kind == "measured":
            while True:
                yield self.samples[rng.integers(len(self.samples))]
        if self.kind == "normal":
            while True:
                yield max(float(rng.normal(self.mean, self.std)), 0.0)
        # mean and std of the latency -> those of its logarithm
        variance = math.log1p((self.std / self.mean) ** 2)
        middle = math.log(self.mean) - variance / 2.0
        while True:
            yield float(rng.lognormal(middle, math.sqrt(variance)))


def read_latency(source: str | Path) -> Latency:
    """A latency as people write it.

    ``"0.2"``: constant, s. ``"normal:0.1,0.02"`` or ``"lognormal:0.1,0.02"``: mean and standard
    deviation, s. A file: JSON (a list of seconds, or an object with the list as ``latency_s``), CSV
    (its column ``latency_s``, or its only one) or text (one number a line, # starts a comment).

    Raises RoadloopError, naming the file and line.
    """
    text = str(source).strip()
    path = Path(text)
    if path.suffix.lower() in (".json", ".csv", ".txt"):
        return Latency("measured", samples=_read(path))
    kind, colon, numbers = text.partition(":")
    if colon and kind in ("normal", "lognormal"):
        parts = numbers.split(",")
        if len(parts) != 2:
            raise RoadloopError(f'latency "{text}": expected {kind}:MEAN,STD in s')
        mean, std = (_number(part, f'latency "{text}"') for part in parts)
        return Latency("normal" if kind == "normal" else "lognormal", mean, std)
    try:
        seconds = float(text)
    except ValueError:
        raise RoadloopError(f'latency "{text}": expected {FORMS}') from None
    return Latency("constant", seconds)


def write_latency(path: str | Path, latency: Latency) -> Path:
    """Write measured seconds as JSON for `read_latency`. Raises RoadloopError for other kinds."""
    if latency.kind != "measured":
        raise RoadloopError(f"latency is {latency.kind}: only measured ones are written to a file")
    path = Path(path)
    try:
        path.write_text(json.dumps({COLUMN: list(latency.samples)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise RoadloopError(f"{path}: {error.strerror}") from error
    return path


def _check(value: float, where: str) -> None:
    if not (math.isfinite(value) and value >= 0.0):
        raise RoadloopError(f"latency {where} is {value}: expected s, finite and 0 or more")
    if value > LONGEST:
        raise RoadloopError(f"latency {where} is {value:g} s: is it milliseconds? Write seconds")


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RoadloopError(f"{where}: {text!r} is no number of seconds") from None


def _read(path: Path) -> tuple[float, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RoadloopError(f"{path}: {reason}") from error
    read = {".json": _from_json, ".csv": _from_csv, ".txt": _from_text}[path.suffix.lower()]
    samples = tuple(read(path, text))
    if not samples:
        raise RoadloopError(f"{path}: holds no latency: expected at least one number of seconds")
    for where, value in samples:
        if not (math.isfinite(value) and 0.0 <= value <= LONGEST):
            raise RoadloopError(
                f"{where}: latency is {value:g}: expected seconds from 0 to {LONGEST:g}"
            )
    return tuple(value for _, value in samples)


def _from_json(path: Path, text: str) -> Iterator[tuple[str, float]]:
    try:
        content: Any = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise RoadloopError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if isinstance(content, dict):
        if COLUMN not in content:
            raise RoadloopError(f'{path}: no key "{COLUMN}" with a list of seconds')
        content = content[COLUMN]
    if not isinstance(content, list):
        raise RoadloopError(f"{path}: expected a list of seconds")
    for i, value in enumerate(content):
        where = f"{path}: number {i + 1}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RoadloopError(f"{where}: {json.dumps(value)} is no number of seconds")
        yield where, float(value)


def _from_csv(path: Path, text: str) -> Iterator[tuple[str, float]]:
    rows = [(i + 1, row) for i, row in enumerate(csv.reader(io.StringIO(text))) if any(row)]
    if not rows:
        return
    head = [cell.strip() for cell in rows[0][1]]
    if COLUMN in head:
        column, rows = head.index(COLUMN), rows[1:]
    elif len(head) == 1:
        column = 0
    else:
        raise RoadloopError(f'{path}:{rows[0][0]}: no column "{COLUMN}"; has {", ".join(head)}')
    for line, row in rows:
        where = f"{path}:{line}"
        if len(row) <= column:
            raise RoadloopError(f"{where}: no value in column {column + 1}")
        yield where, _number(row[column].strip(), where)


def _from_text(path: Path, text: str) -> Iterator[tuple[str, float]]:
    for i, line in enumerate(text.splitlines()):
        number = line.partition("#")[0].strip()
        if number:
            yield f"{path}:{i + 1}", _number(number, f"{path}:{i + 1}")
