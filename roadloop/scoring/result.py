"""What a score is: named terms with a value, a verdict and a sentence each; kept as JSON.

Every definition of the field that judges a drive gives the same thing, a `Score`: its name and the
version of its definition, a value where it has one, and the terms that value is made of. A term
that does not apply has the value None and is left out as its definition says; a term that cannot
be computed is no term but a RoadloopError that names what is missing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced


def typeset(unit: str) -> str:
    """``m/s^2`` as it is printed; a sentence with such units as well."""
    return unit.replace("^2", "²").replace("^3", "³")


@dataclass(frozen=True)
class Term:
    """One part of a score."""

    name: str
    title: str
    value: float | None
    """None where there is nothing to measure"""
    unit: str
    """SI; "" for shares in [0, 1], of which more is better, and for counts, of which it is not"""
    passed: bool | None
    """None: does not apply, or the term is a measurement without a bound"""
    lost_at: float | None
    """s, when it was first broken"""
    detail: str
    """one sentence for people"""
    higher_is_better: bool | None = None
    """which way is good; None where it is neither"""


@dataclass(frozen=True)
class Score:
    """One definition's judgement of one rollout."""

    name: str
    """of the definition: safety, nuplan, carla-2.1 ..."""
    title: str
    version: str
    """of the definition and the switches it was computed with; different versions never compare"""
    value: float | None
    """the score itself, higher is better; None where the definition gives terms only"""
    unit: str
    """of the value: "" for shares in [0, 1], "%" """
    terms: tuple[Term, ...]
    series: dict[str, np.ndarray] = field(default_factory=dict)
    """signals behind the terms, each ``(time,)``"""

    def term(self, name: str) -> Term:
        """The term of that name; RoadloopError names the known ones."""
        for term in self.terms:
            if term.name == name:
                return term
        known = ", ".join(term.name for term in self.terms)
        raise RoadloopError(f"no term {name!r} in the score; there are {known}")

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; a sample that is not finite becomes null."""
        series = {
            name: [float(v) if np.isfinite(v) else None for v in values]
            for name, values in self.series.items()
        }
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "value": self.value,
            "unit": self.unit,
            "terms": [asdict(term) for term in self.terms],
            "series": series,
        }


def first_time(broken: np.ndarray, time: np.ndarray) -> float | None:
    """s of the first step at which ``broken`` is True, both ``(time,)``; None where it never is."""
    return float(time[int(np.argmax(broken))]) if broken.any() else None


def write_score(path: str | Path, score: Score) -> None:
    """Write a score as JSON, whole or not at all; an earlier score of the same path is replaced."""
    path = Path(path)
    text = json.dumps(score.to_json(), allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            hidden.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RoadloopError(f"{path} cannot be written: {error.strerror or error}") from error


def read_score(path: str | Path) -> Score:
    """Read what ``write_score`` wrote; null becomes inf in ``ttc`` and NaN elsewhere."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        terms = tuple(Term(**term) for term in data["terms"])
        series = {
            name: np.array([_absent(name) if v is None else v for v in values], dtype=np.float64)
            for name, values in data["series"].items()
        }
        head = {key: data[key] for key in ("name", "title", "version", "value", "unit")}
        return Score(**head, terms=terms, series=series)
    except OSError as error:
        raise RoadloopError(
            f"{path} cannot be read: {error.strerror}; score the run first"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoadloopError(f"{path} is not a score file: {error}; score the run again") from error


def _absent(name: str) -> float:
    return np.inf if name == "ttc" else np.nan
