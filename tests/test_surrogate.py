"""Surrogate safety measures on drives drawn by hand, where each is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_rss import DT, drive, ego_going, going

from roadloop.scoring.surrogate import post_encroachment, surrogate_score
from roadloop.types import AgentKind

SECONDS = 8.0
T = np.arange(round(SECONDS / DT) + 1) * DT


def crossing(x: float, at: float, speed: float = 8.0):
    """Goes north at ``x`` and has its centre on the ego's way (y = 0) at the time ``at``."""
    return np.full(len(T), x), speed * (T - at), np.zeros(len(T)), np.full(len(T), speed)


def test_following_gives_headway_and_deceleration_to_avoid_a_crash():
    driven = drive(ego_going(20.0, 15.0), [going(20.0 + 4.7 + 60.0, 10.0)])
    score = surrogate_score(driven)
    gap = 60.0 - 5.0 * np.arange(51) * DT
    assert score.series["headway"] == pytest.approx(gap / 15.0)
    assert score.series["drac"] == pytest.approx(25.0 / (2.0 * gap))
    assert score.term("least_headway").value == pytest.approx(gap[-1] / 15.0)
    assert score.term("least_headway").passed is None
    assert score.term("largest_drac").value == pytest.approx(25.0 / (2.0 * gap[-1]))
    assert score.term("largest_drac").passed is True
    assert score.term("least_pet").value is None  # only follows
    json.dumps(score.to_json(), allow_nan=False)


def test_a_late_approach_is_critical_from_when_the_bound_is_reached():
    driven = drive(ego_going(20.0, 15.0, seconds=4.0), [going(20.0 + 4.7 + 62.0, 0.0, seconds=4.0)])
    score = surrogate_score(driven)
    drac = score.term("largest_drac")
    assert drac.passed is False
    late = (62.0 - 225.0 / (2.0 * 3.4)) / 15.0
    assert drac.lost_at == pytest.approx(np.ceil(late / DT) * DT, abs=1e-6)
    ttc = score.term("least_ttc")
    assert ttc.value == pytest.approx(2.0 / 15.0, abs=0.11)
    assert ttc.passed is False
    assert ttc.lost_at == pytest.approx((62.0 - 1.5 * 15.0) / 15.0, abs=0.11)


def test_who_is_beside_behind_or_coming_is_not_followed():
    for other in (going(40.0, 5.0, 3.5), going(5.0, 5.0), going(90.0, -8.0, 3.0)):
        score = surrogate_score(drive(ego_going(20.0, 6.0), [other]))
        assert score.term("least_headway").value is None
        assert score.term("largest_drac").value is None


@pytest.mark.parametrize("first", [True, False])
def test_post_encroachment_time_of_two_that_cross(first):
    """Boxes of 4.7 m by 1.9 m: the front enters 0.95 + 2.35 m before the centres are one."""
    ego_speed, speed, x = 10.0, 8.0, 60.0
    reaches = (x - 20.0) / ego_speed
    if first:  # the other is first: it leaves y = 0.95 with its rear, the ego enters x - 0.95
        at = reaches - 2.0
        expected = (reaches - (0.95 + 2.35) / ego_speed) - (at + (0.95 + 2.35) / speed)
    else:
        at = reaches + 2.0
        expected = (at - (0.95 + 2.35) / speed) - (reaches + (0.95 + 2.35) / ego_speed)
    driven = drive(ego_going(20.0, ego_speed, seconds=SECONDS), [crossing(x, at, speed)])
    pet, when = post_encroachment(driven)
    assert pet[0] == pytest.approx(expected, abs=0.025)
    entered = reaches - 0.33 if first else at - (0.95 + 2.35) / speed
    assert when[0] == pytest.approx(entered, abs=0.02)
    assert surrogate_score(driven).term("least_pet").passed is True


def test_a_narrow_crossing_fails_and_a_collision_is_zero():
    narrow = drive(ego_going(20.0, 10.0, seconds=SECONDS), [crossing(60.0, 4.0 - 1.3)])
    term = surrogate_score(narrow).term("least_pet")
    assert 0.3 < term.value < 1.0
    assert term.passed is False
    assert term.lost_at == pytest.approx(3.67, abs=0.05)
    hit = drive(ego_going(20.0, 10.0, seconds=SECONDS), [crossing(60.0, 4.0)])
    assert post_encroachment(hit)[0][0] == 0.0


def test_nobody_meets_who_comes_much_later_or_never():
    late = drive(ego_going(20.0, 10.0, seconds=SECONDS), [crossing(30.0, 7.9)])
    assert np.isinf(post_encroachment(late)[0]).all()
    never = drive(ego_going(20.0, 10.0, seconds=SECONDS), [crossing(150.0, 4.0)])
    assert surrogate_score(never).term("least_pet").value is None


def test_following_through_a_bend_is_no_crossing():
    """Both drive a quarter circle of 12 m radius, 1.5 s after one another."""

    def bend(t):
        turned = np.clip(6.0 * t / 12.0, 0.0, np.pi / 2.0)
        past = np.maximum(6.0 * t - 12.0 * np.pi / 2.0, 0.0)
        x = 30.0 + np.where(t < 0.0, 6.0 * t, 12.0 * np.sin(turned))
        return x, 12.0 * (1.0 - np.cos(turned)) + past, turned

    x, y, heading = bend(T - 2.0)
    ax, ay, angle = bend(T - 0.5)
    speed = np.full(len(T), 6.0)
    other = (ax, ay, 6.0 * np.cos(angle), 6.0 * np.sin(angle))
    driven = drive((x, y, speed), [other])
    ego = driven.rollout.ego
    ego.heading[:] = heading
    d = ego.vehicle.centre_offset
    ego.x[:], ego.y[:] = x - d * np.cos(heading), y - d * np.sin(heading)
    assert np.isinf(post_encroachment(driven)[0]).all()


def test_walkers_cross_and_parked_cars_do_not():
    t = T
    walker = (np.full(len(t), 60.0), -4.0 + 1.5 * t, np.zeros(len(t)), np.full(len(t), 1.5))
    parked = (np.full(len(t), 100.0), np.full(len(t), -2.5), np.zeros(len(t)), np.zeros(len(t)))
    kinds = [AgentKind.PEDESTRIAN, AgentKind.STATIC]
    driven = drive(ego_going(0.0, 10.0, seconds=SECONDS), [walker, parked], kinds=kinds)
    pet, _ = post_encroachment(driven)
    assert np.isfinite(pet[0])
    assert np.isinf(pet[1])


def test_an_empty_road_measures_nothing():
    score = surrogate_score(drive(ego_going(20.0, 10.0), []))
    assert [term.value for term in score.terms] == [None] * 4
    assert [term.passed for term in score.terms] == [None] * 4
    assert score.value is None
