"""Stopping where one drives."""

from __future__ import annotations

import numpy as np
import pytest

from planning.safe_stop import DECELERATION, JERK, safe_stop
from roadloop.errors import RoadloopError
from roadloop.types import Trajectory


def arc(speed: np.ndarray, radius: float = 50.0) -> Trajectory:
    """A plan to the left around (0, radius), at ``speed`` m/s at each 0.1 s."""
    s = np.concatenate([[0.0], np.cumsum(0.05 * (speed[1:] + speed[:-1]))])
    turn = s / radius
    return Trajectory(radius * np.sin(turn), radius * (1 - np.cos(turn)), turn, speed, 0.1)


def test_it_stays_on_the_path_and_ends_at_a_standstill():
    stop = safe_stop(arc(np.full(51, 10.0)), 10.0)
    assert np.allclose(np.hypot(stop.x, stop.y - 50.0), 50.0, atol=0.01)
    assert np.allclose(stop.heading, np.arctan2(stop.x, 50.0 - stop.y), atol=0.01)
    # half a second until the braking is there, the first half of which is lost
    way = 10.0**2 / (2.0 * DECELERATION) + 0.5 * 10.0 * DECELERATION / JERK
    assert stop.speed[-1] == 0.0
    assert 50.0 * stop.heading[-1] == pytest.approx(way, abs=0.1)
    assert np.diff(stop.speed).min() >= -DECELERATION * 0.1 - 1e-9


def test_braking_goes_on_from_the_braking_there_is():
    gentle, firm = (safe_stop(arc(np.full(51, 10.0)), 10.0, a) for a in (1.0, -2.0))
    assert gentle.speed[1] > 9.9 and firm.speed[1] == pytest.approx(9.775)


def test_a_plan_that_stops_sooner_is_kept():
    plan = arc(np.maximum(10.0 - 6.0 * 0.1 * np.arange(51), 0.0))
    stop = safe_stop(plan, 10.0)
    assert np.allclose(stop.x, plan.x, atol=1e-9) and np.allclose(stop.speed, plan.speed)


def test_standing_stays_standing():
    plan = arc(np.linspace(0.0, 5.0, 51))
    stop = safe_stop(plan, 0.0)
    assert not stop.speed.any() and np.ptp(stop.x) == 0.0


def test_headings_are_not_mixed_across_the_jump_at_pi():
    plan = Trajectory(
        -np.arange(20.0), np.zeros(20), np.tile([np.pi, -np.pi + 1e-3], 10), np.full(20, 10.0), 0.1
    )
    assert (np.abs(safe_stop(plan, 10.0).heading) > 3.1).all()


def test_a_deceleration_is_above_zero():
    with pytest.raises(RoadloopError, match="deceleration is 0"):
        safe_stop(arc(np.full(5, 1.0)), 1.0, deceleration=0.0)
