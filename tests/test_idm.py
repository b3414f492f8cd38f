"""Car-following and lane-change truths."""

from __future__ import annotations

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.idm import (
    IdmParameters,
    MobilParameters,
    desired_gap,
    equilibrium_gap,
    free_road_acceleration,
    gap_term,
    idm_acceleration,
    mobil_accepts,
    mobil_incentive,
    mobil_safe,
)

CAR = IdmParameters()


def test_equilibrium_gap_is_where_the_acceleration_vanishes():
    speed = np.linspace(0.0, 0.95, 20) * CAR.desired_speed
    gap = equilibrium_gap(speed, CAR)
    np.testing.assert_allclose(idm_acceleration(speed, gap, np.zeros(20), CAR), 0.0, atol=1e-12)
    assert gap[0] == CAR.minimum_gap
    assert (np.diff(gap) > 0.0).all()
    assert np.isinf(equilibrium_gap(np.array(CAR.desired_speed), CAR))


def test_free_road_acceleration_ends():
    v0 = CAR.desired_speed
    speed = np.array([0.0, v0, 1.2 * v0, -1.0])
    acceleration = free_road_acceleration(speed, CAR)
    np.testing.assert_allclose(acceleration[[0, 1, 3]], [0.73, 0.0, 0.73], atol=1e-12)
    assert acceleration[2] < 0.0
    no_leader = idm_acceleration(speed, np.full(4, np.inf), np.zeros(4), CAR)
    np.testing.assert_array_equal(no_leader, acceleration)


def test_braking_limit_of_a_gentle_approach_is_the_comfortable_deceleration():
    # paper, section II: for v0 -> inf, T = s0 = 0 and a standing leader at s = v^2 / (2 b),
    # the braking term is exactly b
    p = IdmParameters(desired_speed=1e6, time_headway=0.0, minimum_gap=0.0)
    speed = np.array([5.0, 15.0, 30.0])
    gap = speed**2 / (2.0 * p.deceleration)
    np.testing.assert_allclose(gap_term(speed, gap, speed, p), p.deceleration, rtol=1e-12)


def test_a_leader_that_pulls_away_does_not_shrink_the_standstill_gap():
    assert desired_gap(np.array(20.0), np.array(-50.0), CAR) == CAR.minimum_gap


def test_parameters_may_be_arrays_per_driver():
    p = IdmParameters(desired_speed=np.array([10.0, 20.0]), time_headway=np.array([1.0, 2.0]))
    both = idm_acceleration(np.array(8.0), np.array(15.0), np.array(1.0), p)
    for i in range(2):
        one = IdmParameters(desired_speed=10.0 * (i + 1), time_headway=1.0 + i)
        assert both[i] == idm_acceleration(np.array(8.0), np.array(15.0), np.array(1.0), one)


@pytest.mark.parametrize("speed", [5.0, 15.0, 33.0])
def test_stops_behind_a_standing_leader_without_touching_it(speed):
    gap, dt, least = np.array(150.0), 0.05, np.inf
    v = np.array(speed)
    for _ in range(4000):
        acceleration = np.maximum(idm_acceleration(v, gap, v, CAR), -8.0)
        v_next = np.maximum(v + acceleration * dt, 0.0)
        gap = gap - 0.5 * (v + v_next) * dt
        v = v_next
        least = min(least, float(gap))
    assert least > 0.5 * CAR.minimum_gap
    assert v < 0.05
    assert gap == pytest.approx(CAR.minimum_gap, abs=0.3)


def test_a_platoon_settles_at_the_equilibrium_gap():
    leader_speed, length, dt = 15.0, 5.0, 0.1
    x = -np.arange(6) * 40.0
    v = np.full(6, 20.0)
    for _ in range(6000):
        gap = np.concatenate([[np.inf], x[:-1] - x[1:] - length])
        rate = np.concatenate([[0.0], v[1:] - v[:-1]])
        a = idm_acceleration(v, gap, rate, CAR)
        v = np.maximum(v + a * dt, 0.0)
        v[0] = leader_speed
        x = x + v * dt
        assert (gap > 0.0).all()
    np.testing.assert_allclose(v, leader_speed, atol=0.01)
    np.testing.assert_allclose(gap[1:], equilibrium_gap(np.array(15.0), CAR), rtol=0.01)


def test_mobil_change_and_change_back_have_opposite_incentives():
    rng = np.random.default_rng(3)
    own, new, old = rng.normal(size=(3, 2, 50))
    p = MobilParameters(politeness=0.3)
    there = mobil_incentive(own[0], own[1], new[0], new[1], old[0], old[1], p)
    # changing back, the follower left behind is the one that was new, and the other way round
    back = mobil_incentive(own[1], own[0], old[1], old[0], new[1], new[0], p)
    np.testing.assert_allclose(there, -back, atol=1e-12)
    accepts = mobil_accepts(there, new[1], True, p), mobil_accepts(back, old[0], False, p)
    assert not (accepts[0] & accepts[1]).any(), "no ping-pong"


def test_mobil_politeness_threshold_and_bias():
    selfish, polite = MobilParameters(politeness=0.0), MobilParameters(politeness=1.0)
    args = (0.0, 0.5, 0.0, -1.0, 0.0, 0.2)
    assert mobil_incentive(*args, selfish) == pytest.approx(0.5)
    assert mobil_incentive(*args, polite) == pytest.approx(-0.3)
    assert not mobil_accepts(np.array(0.1), np.array(0.0), False, selfish)
    assert mobil_accepts(np.array(0.11), np.array(0.0), False, selfish)
    biased = MobilParameters(keep_right_bias=0.3)
    assert mobil_accepts(np.array(0.0), np.array(0.0), False, biased)
    assert not mobil_accepts(np.array(0.3), np.array(0.0), True, biased)


def test_mobil_safety_beats_any_incentive():
    p = MobilParameters()
    np.testing.assert_array_equal(mobil_safe(np.array([-4.0, -4.1]), p), [True, False])
    assert not mobil_accepts(np.array(100.0), np.array(-4.1), True, p)


def test_bad_parameters_say_what_is_wrong():
    with pytest.raises(RoadloopError, match="IDM acceleration is 0"):
        IdmParameters(acceleration=0.0)
    with pytest.raises(RoadloopError, match="minimum_gap"):
        IdmParameters(minimum_gap=np.array([1.0, -1.0]))
    with pytest.raises(RoadloopError, match="desired_speed"):
        IdmParameters(desired_speed=np.nan)
