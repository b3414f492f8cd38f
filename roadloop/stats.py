"""Means with intervals over the cases of a suite, and the paired difference of two runs.

**Means** get a bootstrap interval. Cases are drawn again within their family (the families of a
suite are chosen, the seeds within them are chance), one draw fewer than the family has cases, so
that the spread of the drawn means is that of the mean itself and not (n - 1)/n of it (Rao and Wu
1988, "Resampling inference with complex survey data"). The interval is BCa (Efron 1987, "Better
bootstrap confidence intervals"): scores are skewed, most cases near 1 and few near 0, and the plain
percentiles then miss the mean on one side (of 400 drawn suites they held 92 % of differences of
which 4 % are not zero, BCa 95 %). Measured at a level of 95 % over 1000 drawn suites: 14 families
of 12 cases 96 %, 14 families of 3 cases 94 %, such differences 94 %, a single family of 12 cases
91 %: read the intervals of small families as too narrow.

**Shares**, and whatever else lies only on the two ends of its range, get the exact binomial
interval (Clopper and Pearson 1934): the bootstrap of 0 failures in 120 cases is [0, 0], which
claims what nobody measured. Of the usual intervals it is the one that never covers less than its
level, and rare failures are where the others do. Where every value lies on the same end the bound
also holds for values that could have lain between the ends.

**Differences** are significant where their interval leaves zero out and a sign-flip test rejects
too (Fisher 1935, "The Design of Experiments", section 21): a bootstrap alone calls four lost
verdicts and none gained a difference, which chance does in one of eight tries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

LEVEL = 0.95
"""probability that an interval holds the truth"""
RESAMPLES = 10_000
MIN_PAIRS = 5
"""below this no difference is called significant: five differences of one sign are 1 in 16"""
MAX_ENUMERATED = 12
"""differences whose 2^n signs are all tried; above, RESAMPLES of them are drawn"""

Method = Literal["bootstrap", "exact", "equal", "none"]
METHODS: dict[Method, str] = {
    "bootstrap": "BCa bootstrap over the cases, within their families",
    "exact": "exact binomial (Clopper-Pearson)",
    "equal": "all values are equal",
    "none": "fewer than two values",
}


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval that holds the true one with probability ``level``."""

    mean: float
    """NaN where there is no value"""
    low: float
    high: float
    """both NaN where ``method`` is "none" """
    level: float
    count: int
    """values it stands on"""
    absent: int
    """values left out because they do not apply (NaN)"""
    method: Method
    """where the interval comes from; METHODS says it in words"""


@dataclass(frozen=True)
class Difference:
    """How much b is above a, over the pairs in which both have a value."""

    mean_a: float
    mean_b: float
    """of the pairs; NaN where there is none"""
    mean: float
    """mean of b - a"""
    low: float
    high: float
    level: float
    pairs: int
    absent: int
    """pairs left out because one or both do not apply (NaN)"""
    unequal: int
    """pairs whose values differ"""
    p_value: float
    """of the sign-flip test: how often chance alone gives as much; 1 where nothing differs"""
    significant: bool
    """at ``level``, for this one question; see ``holm`` where many are asked"""
    note: str
    """why there is no verdict, else empty"""


def mean_with_interval(
    values: Array,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    strata: Array | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Estimate:
    """Mean of the values that apply, with its interval.

    Args:
        values: (cases,) NaN where it does not apply: left out and counted.
        level: in (0, 1).
        strata: (cases,) what the cases are drawn within, e.g. their families; None: all together.
            Those with a single value are joined into one.
        bounds: the ends of the range of the values; where all of them lie on the ends the interval
            is exact. None: the values have no such range.

    Raises RoadloopError for infinite values, shapes that disagree or a level outside (0, 1).
    """
    values, groups = _checked(values, strata, level, resamples)
    kept = np.isfinite(values)
    absent = int((~kept).sum())
    values, groups = values[kept], groups[kept]
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    method: Method = "bootstrap"
    if count and bounds is not None and np.isin(values, bounds).all():
        method = "exact"
        first, span = bounds[0], bounds[1] - bounds[0]
        least, most = _binomial(int((values == bounds[1]).sum()), count, level)
        low, high = first + span * least, first + span * most
    elif count < 2:
        method = "none"
        low = high = math.nan
    elif (values == values[0]).all():
        method = "equal"
        mean = low = high = float(values[0])
    else:
        low, high = _bootstrap(values, groups, level, resamples, seed)
    return Estimate(mean, low, high, level, count, absent, method)


def paired_difference(
    a: Array,
    b: Array,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    strata: Array | None = None,
) -> Difference:
    """Mean of b - a over the pairs in which both apply, its interval, and whether it is chance.

    Args:
        a: (cases,) of the one run.
        b: (cases,) of the other, same cases in the same order; NaN in either: the pair is left out
            and counted.
        strata: as for ``mean_with_interval``.

    Differences that are all zero give the interval [0, 0] and no significance; fewer than
    MIN_PAIRS pairs give no significance and a note. Raises RoadloopError as
    ``mean_with_interval`` does.
    """
    a, groups = _checked(a, strata, level, resamples)
    b, _ = _checked(b, strata, level, resamples)
    if len(a) != len(b):
        raise RoadloopError(f"{len(a)} values against {len(b)}: pairs need one of each per case")
    kept = np.isfinite(a) & np.isfinite(b)
    absent = int((~kept).sum())
    a, b, groups = a[kept], b[kept], groups[kept]
    delta = b - a
    count, unequal = len(delta), int((delta != 0.0).sum())
    if not count:
        note, none = "no pair has a value on both sides", math.nan
        return Difference(none, none, none, none, none, level, 0, absent, 0, 1.0, False, note)
    if count < 2:
        low = high = math.nan
    elif (delta == delta[0]).all():
        low = high = float(delta[0])
    else:
        low, high = _bootstrap(delta, groups, level, resamples, seed)
    chance = _sign_flip(delta, resamples, seed)
    few = count < MIN_PAIRS
    note = f"only {count} pair{'s' if count > 1 else ''}: too few for a verdict" if few else ""
    apart = (low > 0.0 or high < 0.0) and chance <= 1.0 - level
    return Difference(
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        mean=float(delta.mean()),
        low=low,
        high=high,
        level=level,
        pairs=count,
        absent=absent,
        unequal=unequal,
        p_value=chance,
        significant=bool(apart and not few),
        note=note,
    )


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which of many tests reject when all of them together may err with probability 1 - level.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the smallest p against
    alpha/m, the next against alpha/(m - 1), until one is not below. NaN rejects nothing.
    """
    ordered = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    rejected = [False] * len(p_values)
    for rank, (p, index) in enumerate(ordered):
        if p > (1.0 - level) / (len(ordered) - rank):
            break
        rejected[index] = True
    return rejected


def _checked(
    values: Array, strata: Array | None, level: float, resamples: int
) -> tuple[Array, Array]:
    """The values as (cases,) floats and their strata as (cases,) whole numbers."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise RoadloopError(f"values have the shape {values.shape}; give one value per case")
    if np.isinf(values).any():
        at = int(np.flatnonzero(np.isinf(values))[0])
        raise RoadloopError(f"value {at} is infinite and has no mean; give NaN where none applies")
    if not 0.0 < level < 1.0:
        raise RoadloopError(f"level is {level:g}; it must be between 0 and 1, e.g. 0.95")
    if resamples < 100:
        raise RoadloopError(f"resamples is {resamples}; an interval needs 100 or more")
    if strata is None:
        return values, np.zeros(len(values), dtype=np.intp)
    strata = np.asarray(strata)
    if strata.shape != values.shape:
        raise RoadloopError(f"{len(values)} values in {len(strata)} strata; give one per value")
    return values, np.unique(strata, return_inverse=True)[1]


def _binomial(hits: int, count: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share, by quantiles of the beta distribution."""
    from scipy.special import betaincinv

    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, tail))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 1.0 - tail))
    return low, high


def _bootstrap(
    values: Array, groups: Array, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """BCa interval of the mean of (cases,) values that are not all equal."""
    from scipy.special import ndtr, ndtri

    parts = _parts(values, groups)
    if all((part == part[0]).all() for part in parts):  # a spread between the strata only
        parts = [values]
    sums = np.zeros(resamples)
    cubes = squares = 0.0
    for index, part in enumerate(parts):
        size = len(part)
        drawn = _draws(size, index, resamples, seed) @ part
        sums += drawn * (size / (size - 1))
        # the jackknife's change of the mean without each case, up to a common factor
        change = (part - part.mean()) * (size / (size - 1))
        cubes += float((change**3).sum())
        squares += float((change**2).sum())
    means = sums / len(values)
    mean = values.mean()
    near = 1e-9 * max(float(np.ptp(values)), abs(mean))
    below = np.mean(means < mean - near) + 0.5 * np.mean(np.abs(means - mean) <= near)
    bias = ndtri(np.clip(below, 0.5 / resamples, 1.0 - 0.5 / resamples))
    skew = cubes / (6.0 * squares**1.5)
    tails = bias + ndtri(np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0]))
    shares = ndtr(bias + tails / np.maximum(1.0 - skew * tails, 1e-3))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def _parts(values: Array, groups: Array) -> list[Array]:
    """The values of each stratum; a value alone in its own joins the others that are."""
    sizes = np.bincount(groups)
    alone = values[sizes[groups] == 1]
    parts = [values[groups == group] for group in np.flatnonzero(sizes > 1)]
    if len(alone) == 1 and parts:
        smallest = min(range(len(parts)), key=lambda index: len(parts[index]))
        parts[smallest] = np.append(parts[smallest], alone)
    elif len(alone):
        parts.append(alone)
    return parts


@lru_cache(maxsize=48)
def _draws(size: int, stratum: int, resamples: int, seed: int) -> Array:
    """(resamples, size) how often each case is drawn, size - 1 draws of each resample."""
    rng = np.random.default_rng([seed, stratum, size])
    drawn = rng.integers(0, size, (resamples, size - 1))
    flat = drawn + size * np.arange(resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)


def _sign_flip(delta: Array, resamples: int, seed: int) -> float:
    """Two-sided p: how often differences of random sign sum up to as much as these do."""
    delta = delta[delta != 0.0]
    if not len(delta):
        return 1.0
    sums = np.abs(_signs(len(delta), resamples, seed) @ delta)
    reached = sums >= abs(delta.sum()) * (1.0 - 1e-9)
    if len(delta) <= MAX_ENUMERATED:
        return float(reached.mean())
    # the signs as they are belong to the draws (Phipson and Smyth 2010)
    return float((1 + reached.sum()) / (1 + resamples))


@lru_cache(maxsize=32)
def _signs(count: int, resamples: int, seed: int) -> Array:
    """(rows, count) of -1 and 1: all combinations where they are few, else random ones."""
    if count <= MAX_ENUMERATED:
        rows = np.arange(2**count)[:, None] >> np.arange(count)
    else:
        rows = np.random.default_rng([seed, count]).integers(0, 2, (resamples, count))
    return 2.0 * (rows & 1) - 1.0
