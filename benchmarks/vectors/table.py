"""One row of the table that holds our scores against the references', and how a row is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """How one term of one score agrees with its reference."""

    score: str
    term: str
    cases: int
    """values compared"""
    equal: int
    """... that agree within the tolerance"""
    largest: float
    """largest difference (relative where the tolerance is)"""
    tolerance: float
    """0: must be equal"""

    @property
    def reached(self) -> bool:
        """Whether every value agrees; a row that compared nothing agrees with nothing."""
        return self.equal == self.cases > 0


def compare(
    score: str, term: str, ours: Any, theirs: Any, tolerance: float = 0.0, relative: bool = False
) -> Row:
    """A row of two arrays of the same shape; NaN equals NaN and inf equals inf, nothing else does.

    Values that are not numbers (ids, lists of ids) are compared as they are. ``relative``: the
    difference counts as a share of the reference, absolute where that is below 1.
    """
    flat = np.ravel(np.asarray(theirs, dtype=object))
    if not flat.size or isinstance(theirs[0], tuple) or isinstance(flat[0], (str, tuple)):
        same = [mine == other for mine, other in zip(ours, theirs)]
        if len(ours) != len(theirs):
            return Row(score, term, max(len(ours), len(theirs)), 0, np.inf, 0.0)
        return Row(score, term, len(theirs), sum(same), 0.0 if all(same) else np.inf, 0.0)
    mine, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if mine.shape != other.shape:
        return Row(score, term, other.size, 0, np.inf, tolerance)
    with np.errstate(invalid="ignore"):
        away = np.abs(mine - other)
        if relative:
            away = away / np.maximum(np.abs(other), 1.0)
    away = np.where((mine == other) | (np.isnan(mine) & np.isnan(other)), 0.0, away)
    away = np.where(np.isnan(away), np.inf, away)
    largest = float(away.max(initial=0.0))
    return Row(score, term, other.size, int((away <= tolerance).sum()), largest, tolerance)
