"""Forecast measures: hand-made futures, bounds, invariance under motion, worlds, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception import forecast_metrics as fm
from roadloop.errors import RoadloopError
from roadloop.types import Forecasts


def futures(seed: int, *batch: int, modes: int = 6, steps: int = 30):
    """Truth ``(*batch, steps, 2)``, forecasts around it and probabilities that sum to 1."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.0, 1.0, (*batch, steps, 2)).cumsum(-2)
    noise = rng.normal(0.0, 0.3, (*batch, modes, steps, 2)).cumsum(-2)
    probability = rng.dirichlet(np.ones(modes), batch or None)
    return truth[..., None, :, :] + noise, truth, probability


def test_errors_by_hand() -> None:
    truth = np.zeros((2, 2))
    forecast = np.array([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 4.0]]])
    np.testing.assert_allclose(fm.ade(forecast, truth), [3.0, 2.0])
    np.testing.assert_allclose(fm.fde(forecast, truth), [1.0, 4.0])
    np.testing.assert_array_equal(fm.missed(forecast, truth), [False, True])
    assert fm.min_ade(forecast, truth) == 2.0
    assert fm.min_ade(forecast, truth, of_best_end=True) == 3.0
    assert fm.min_fde(forecast, truth) == 1.0
    probability = np.array([0.25, 0.75])
    np.testing.assert_allclose(fm.brier_fde(forecast, truth, probability), [1.5625, 4.0625])
    np.testing.assert_allclose(fm.brier_ade(forecast, truth, probability), [3.5625, 2.0625])
    # the mode that ends best counts, not the least sum
    assert fm.brier_min_fde(forecast, truth, probability) == 1.5625
    assert fm.brier_min_fde(forecast, truth, np.array([0.0, 1.0])) == 2.0


def test_a_miss_is_strictly_farther_than_two_metres() -> None:
    forecast = np.array([[[2.0, 0.0]], [[np.nextafter(2.0, 3.0), 0.0]]])
    np.testing.assert_array_equal(fm.missed(forecast, np.zeros((1, 2))), [False, True])
    assert not fm.missed_by_all(forecast, np.zeros((1, 2)))
    assert fm.missed_by_all(forecast[1:], np.zeros((1, 2)))


def test_a_perfect_certain_forecast_costs_nothing() -> None:
    _, truth, _ = futures(1, 4)
    metrics = fm.forecast_metrics(truth[:, None], truth, np.ones((4, 1)))
    assert metrics.summary() == {"minADE": 0, "minFDE": 0, "brier-minFDE": 0, "miss rate": 0}


def test_no_agent_has_no_average() -> None:
    metrics = fm.forecast_metrics(np.zeros((0, 6, 5, 2)), np.zeros((0, 5, 2)), np.zeros((0, 6)))
    assert set(metrics.summary().values()) == {None}


@settings(max_examples=20, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), angle=st.floats(-3.0, 3.0), shift=st.floats(-1e3, 1e3))
def test_bounds_and_invariance(seed: int, angle: float, shift: float) -> None:
    forecast, truth, probability = futures(seed, 3)
    assert (fm.min_ade(forecast, truth)[:, None] <= fm.ade(forecast, truth)).all()
    assert (fm.min_fde(forecast, truth)[:, None] <= fm.fde(forecast, truth)).all()
    brier = fm.brier_min_fde(forecast, truth, probability)
    assert (brier >= fm.min_fde(forecast, truth)).all()
    assert (brier <= fm.min_fde(forecast, truth) + 1.0).all()
    assert (fm.min_ade(forecast, truth) <= fm.min_ade(forecast, truth, of_best_end=True)).all()
    # fewer modes cannot do better
    first, _ = fm.most_probable(forecast, probability, 1)
    assert (fm.min_fde(first, truth) >= fm.min_fde(forecast, truth)).all()
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(
        fm.ade(forecast @ turn + shift, truth @ turn + shift), fm.ade(forecast, truth), atol=1e-9
    )


def test_batch_equals_one_by_one() -> None:
    forecast, truth, probability = futures(2, 2, 3)
    batch = fm.forecast_metrics(forecast, truth, probability)
    for i in np.ndindex(2, 3):
        one = fm.forecast_metrics(forecast[i], truth[i], probability[i])
        assert (one.min_ade, one.min_fde) == (batch.min_ade[i], batch.min_fde[i])
        assert (one.brier_min_fde, one.missed) == (batch.brier_min_fde[i], batch.missed[i])


def test_probabilities_are_taken_as_they_are_or_normalised() -> None:
    np.testing.assert_allclose(fm.brier_penalty(np.array([0.2, 0.2])), [0.64, 0.64])
    np.testing.assert_allclose(fm.brier_penalty(np.array([0.2, 0.2]), normalise=True), [0.25, 0.25])
    with pytest.raises(RoadloopError, match=r"index \(1,\) is 1.5"):
        fm.brier_penalty(np.array([0.5, 1.5]))
    with pytest.raises(RoadloopError, match="sum to 0"):
        fm.brier_penalty(np.zeros(2), normalise=True)


def test_most_probable_keeps_the_order_of_equals() -> None:
    forecast = np.arange(4.0)[:, None, None] * np.ones((4, 3, 2))
    picked, probability = fm.most_probable(forecast, np.array([0.1, 0.4, 0.1, 0.4]), 3)
    np.testing.assert_array_equal(picked[:, 0, 0], [1, 3, 0])
    np.testing.assert_array_equal(probability, [0.4, 0.4, 0.1])
    assert len(fm.most_probable(forecast, probability=np.ones(4), count=9)[0]) == 4


def test_worlds_are_means_over_their_agents() -> None:
    forecast, truth, _ = futures(3, 5)
    world = np.random.default_rng(0).dirichlet(np.ones(6))
    np.testing.assert_allclose(fm.world_ade(forecast, truth), fm.ade(forecast, truth).mean(0))
    np.testing.assert_allclose(
        fm.world_brier_fde(forecast, truth, world),
        fm.fde(forecast, truth).mean(0) + (1 - world) ** 2,
    )
    assert fm.world_missed(forecast, truth).shape == (5, 6)


def test_world_collisions_by_hand() -> None:
    # two agents side by side, a third passing the first in world 1 only, at another time in world 0
    a = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    b = a + np.array([0.0, 1.0])
    crossing = np.array([[9.0, 9.0], [1.0, 0.5], [9.0, 9.0]])
    late = np.array([[9.0, 9.0], [9.0, 9.0], [1.0, -0.5]])
    forecast = np.stack([np.stack([a, a]), np.stack([b, b]), np.stack([late, crossing])])
    expected = [[False, True], [False, True], [False, True]]
    np.testing.assert_array_equal(fm.world_collisions(forecast), expected)
    assert fm.world_collisions(forecast, distance=1.01)[:2].all()
    assert not fm.world_collisions(forecast[:1]).any()


def test_positions_of_forecasts() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    forecasts = Forecasts(x=x, y=-x, heading=0 * x, probability=np.full((2, 3), 1 / 3), dt=0.1)
    assert fm.positions(forecasts).shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(fm.positions(forecasts)[..., 1], -x)


def test_bad_input_is_named() -> None:
    forecast, truth, probability = futures(4)
    with pytest.raises(RoadloopError, match=r"\(6, 30, 2\) for a truth of shape \(29, 2\)"):
        fm.ade(forecast, truth[1:])
    with pytest.raises(RoadloopError, match="no mode or no step"):
        fm.ade(forecast[:0], truth)
    forecast[2, 7, 1] = np.nan
    with pytest.raises(
        RoadloopError, match=r"forecast is not a finite number at index \(2, 7, 1\)"
    ):
        fm.min_ade(forecast, truth)
    with pytest.raises(RoadloopError, match="not a finite"):
        fm.world_collisions(forecast[None])
    with pytest.raises(RoadloopError, match="one for each mode"):
        fm.brier_fde(np.zeros((6, 3, 2)), np.zeros((3, 2)), probability[:5])
    with pytest.raises(RoadloopError, match="at least one agent"):
        fm.world_ade(np.zeros((0, 6, 3, 2)), np.zeros((0, 3, 2)))
