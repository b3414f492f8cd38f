"""Intervals hold the truth as often as they say, and differences are called what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from roadloop.errors import RoadloopError
from roadloop.stats import holm, mean_with_interval, paired_difference

FAMILIES = np.repeat(np.arange(14), 12)


def suite(rng, families=FAMILIES):
    """Scores as suites give them: most cases perfect, the share of them by family."""
    perfect = np.linspace(0.6, 1.0, families.max() + 1)[families]
    return np.where(rng.random(len(families)) < perfect, 1.0, 0.9 * rng.random(len(families)))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = np.mean([p + (1.0 - p) * 0.45 for p in np.linspace(0.6, 1.0, 14)])
    rng = np.random.default_rng(0)
    held = [
        found.low <= truth <= found.high
        for found in (
            mean_with_interval(suite(rng), resamples=1000, strata=FAMILIES) for _ in range(200)
        )
    ]
    assert 0.9 <= np.mean(held) <= 0.99


def test_without_strata_it_is_the_bca_interval_of_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=150)
    found = mean_with_interval(values)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.method == "bootstrap" and found.mean == pytest.approx(values.mean())
    # both draw at random: the ends scatter by about 2 % of the width
    assert found.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_same_seed_same_interval_and_another_seed_another():
    values = suite(np.random.default_rng(3))
    first = mean_with_interval(values, strata=FAMILIES)
    assert first == mean_with_interval(values, strata=FAMILIES)
    assert first != mean_with_interval(values, strata=FAMILIES, seed=1)


def test_what_lies_between_families_widens_nothing():
    between = FAMILIES / 13.0 + np.random.default_rng(4).normal(0.0, 0.01, len(FAMILIES))
    within = mean_with_interval(between, strata=FAMILIES)
    pooled = mean_with_interval(between)
    assert within.high - within.low < 0.1 * (pooled.high - pooled.low)


@pytest.mark.parametrize(("hits", "count"), [(0, 120), (120, 120), (7, 120), (1, 1), (0, 3)])
def test_shares_have_the_exact_interval(hits, count):
    found = mean_with_interval(np.arange(count) < hits)
    exact = binomtest(hits, count).proportion_ci(0.95, method="exact")
    assert found.method == "exact" and found.mean == hits / count
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_no_failure_in_many_is_not_certainty():
    assert mean_with_interval(np.zeros(120)).high == pytest.approx(0.0303, abs=1e-4)
    percent = mean_with_interval(np.full(12, 100.0), bounds=(0.0, 100.0))
    assert percent.low == pytest.approx(73.5, abs=0.1) and percent.high == 100.0


def test_values_without_a_range_are_no_shares():
    found = mean_with_interval(np.array([0.0, 1.0, 1.0, 0.0, 1.0]), bounds=None)
    assert found.method == "bootstrap"
    assert mean_with_interval(np.full(9, 0.3)).method == "equal"


def test_what_does_not_apply_is_left_out_and_counted():
    values = suite(np.random.default_rng(5))
    holed = values.copy()
    holed[::3] = np.nan
    found = mean_with_interval(holed, strata=FAMILIES)
    assert (found.count, found.absent) == (112, 56)
    assert found.mean == pytest.approx(np.nanmean(holed))
    nothing = mean_with_interval(np.full(4, np.nan))
    assert (nothing.count, nothing.absent, nothing.method) == (0, 4, "none")
    assert math.isnan(nothing.mean) and math.isnan(nothing.low)
    assert mean_with_interval(np.array([0.4])).method == "none"


def test_families_of_one_case_and_constant_families_have_a_spread():
    alone = mean_with_interval(np.array([0.1, 0.5, 0.2, 0.9]), strata=np.arange(4))
    assert alone.low < alone.mean < alone.high
    values = np.array([0.2] * 4 + [0.8] * 4)
    constant = mean_with_interval(values, strata=np.repeat([0, 1], 4))
    assert constant.low < 0.5 < constant.high
    mixed = mean_with_interval(np.array([0.5, 0.5, 0.5, 0.9]), strata=np.array([0, 0, 0, 1]))
    assert mixed.low < mixed.mean < mixed.high


def test_a_difference_that_is_there_is_found_and_one_that_is_not_is_not():
    rng = np.random.default_rng(6)
    a = suite(rng)
    found = paired_difference(a, a - 0.05 + rng.normal(0.0, 0.1, len(a)), strata=FAMILIES)
    assert found.significant and found.low < -0.05 < found.high < 0.0
    called = [
        paired_difference(a, a + rng.normal(0.0, 0.1, len(a)), resamples=1000).significant
        for _ in range(100)
    ]
    assert np.mean(called) <= 0.1


def test_pairing_removes_what_both_runs_share():
    rng = np.random.default_rng(7)
    a = 50.0 * rng.random(100)
    b = a + 0.1 + rng.normal(0.0, 0.1, 100)
    assert paired_difference(a, b).significant
    assert not paired_difference(a, rng.permutation(b)).significant


def test_few_flipped_verdicts_are_chance_and_six_are_not():
    kept = np.ones(168)
    for lost, called in [(4, False), (5, False), (6, True)]:
        b = np.where(np.arange(168) < lost, 0.0, 1.0)
        found = paired_difference(kept, b)
        assert found.significant is called
        # the sign-flip test of verdicts is McNemar's exact test
        assert found.p_value == pytest.approx(binomtest(lost, lost).pvalue)
    many = np.random.default_rng(8).random(200) < 0.5
    drawn = paired_difference(many, np.zeros(200))
    assert drawn.p_value == pytest.approx(1e-4, rel=0.01) and drawn.significant


def test_no_difference_at_all_is_zero_and_no_verdict():
    a = suite(np.random.default_rng(9))
    found = paired_difference(a, a)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.significant and found.p_value == 1.0 and found.unequal == 0


def test_few_pairs_say_so():
    found = paired_difference(np.zeros(4), np.ones(4))
    assert not found.significant and found.note == "only 4 pairs: too few for a verdict"
    one = paired_difference(np.array([1.0, np.nan]), np.array([0.5, 1.0]))
    assert (one.pairs, one.absent) == (1, 1) and math.isnan(one.low)
    none = paired_difference(np.array([np.nan]), np.array([1.0]))
    assert none.pairs == 0 and math.isnan(none.mean) and none.note


def test_what_applies_on_one_side_only_is_no_pair():
    a, b = np.arange(10.0), np.arange(10.0) + 1.0
    a[2], b[7] = np.nan, np.nan
    found = paired_difference(a, b)
    assert (found.pairs, found.absent, found.mean) == (8, 2, 1.0)


def test_holm_by_hand():
    # alpha / 4, / 3, / 2, / 1 = 0.0125, 0.0167, 0.025, 0.05
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04, math.nan]) == [True, False]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_with_interval(np.array([1.0, np.inf])), "value 1 is infinite"),
        (lambda: mean_with_interval(np.zeros((2, 2))), "one value per case"),
        (lambda: mean_with_interval(np.zeros(3), level=95.0), "between 0 and 1"),
        (lambda: mean_with_interval(np.zeros(3), resamples=10), "100 or more"),
        (lambda: mean_with_interval(np.zeros(3), strata=np.zeros(2)), "3 values in 2 strata"),
        (lambda: paired_difference(np.zeros(3), np.zeros(2)), "3 values against 2"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(RoadloopError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
