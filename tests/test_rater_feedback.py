"""Rater feedback score: inside, outside, floor, speed, direction, and plans of the ego."""

from __future__ import annotations

import numpy as np
import pytest

from planning.rater_feedback import directions, rater_feedback, speed_scale, waypoints
from roadloop.errors import RoadloopError
from roadloop.types import Trajectory


def straight(speed: float = 10.0, side: float = 0.0) -> np.ndarray:
    time = np.arange(1, 21) / 4.0
    return np.stack([speed * time, np.full(20, side)], axis=-1)


def score(plan: np.ndarray, rated=None, labels=(8.0,), speed: float = 11.0):
    return rater_feedback(plan[None], np.ones(1), rated or [straight()], np.array(labels), speed)


def test_a_rated_trajectory_earns_its_label() -> None:
    feedback = score(straight())
    assert feedback.score == 8.0
    assert feedback.trusted.tolist() == [True]


def test_the_label_holds_within_the_limits_and_decays_beyond() -> None:
    assert score(straight(side=1.0)).score == 8.0
    # 2 m aside: twice the limit of 1 m at 3 s, 2 / 1.8 of that at 5 s
    outside = score(straight(side=2.0), labels=(10.0,))
    assert outside.scores[0] == pytest.approx((10 * 0.1 + 10 * 0.1 ** (2 / 1.8 - 1)) / 2)
    assert not outside.trusted[0]


def test_outside_every_region_the_score_is_at_least_four() -> None:
    assert score(straight(side=50.0)).score == 4.0
    assert score(straight(), labels=(1.0,)).score == 1.0  # inside, the floor does not hold


def test_slow_scenes_have_half_the_limits() -> None:
    np.testing.assert_allclose(speed_scale([0.0, 1.4, 6.2, 11.0, 30.0]), [0.5, 0.5, 0.75, 1, 1])
    assert not score(straight(side=0.6), speed=0.0).trusted[0]
    assert score(straight(side=0.5), speed=0.0).trusted[0]


def test_only_three_ratings_count_and_a_missing_one_changes_nothing() -> None:
    rated = [straight(side=9.0), straight(side=-9.0), straight(side=18.0), straight()]
    assert score(straight(), rated, (1.0, 2.0, 3.0, 9.0)).score == 4.0
    assert score(straight(), [straight()], (7.0,)).score == 7.0


def test_the_best_rating_counts_at_each_time() -> None:
    rated = [straight(), straight(side=0.5)]
    assert score(straight(side=0.4), rated, (3.0, 9.0)).score == 9.0


def test_a_short_rating_stays_where_it_ends() -> None:
    short = straight()[:12]  # 3 s
    held = np.concatenate([short, np.repeat(short[-1:], 8, axis=0)])
    assert score(held, [short]).score == 8.0


def test_plans_are_weighed_by_probability() -> None:
    plans = np.stack([straight(), straight(side=50.0)])
    feedback = rater_feedback(plans, np.array([0.75, 0.25]), [straight()], np.array([8.0]), 11.0)
    assert feedback.score == pytest.approx(0.75 * 8 + 0.25 * 4)


def test_direction_without_movement_is_the_one_before() -> None:
    path = np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 2.0], [1.0, 2.0]])
    np.testing.assert_allclose(directions(path), [[1, 0], [0, 1], [0, 1], [1, 0]])
    # limits turn with the road: 3.9 m along +y is longitudinal where the rated path runs along it
    north = straight()[:, ::-1]
    assert score(north + np.array([0.0, 3.9]), [north]).trusted[0]
    assert not score(north + np.array([3.9, 0.0]), [north]).trusted[0]


def test_waypoints_are_in_the_frame_of_now() -> None:
    time = np.arange(0.0, 6.0, 0.1)
    heading = 0.7
    plan = Trajectory(
        x=100 + 5 * time * np.cos(heading),
        y=-50 + 5 * time * np.sin(heading),
        heading=np.full(len(time), heading),
        speed=np.full(len(time), 5.0),
        dt=0.1,
    )
    np.testing.assert_allclose(waypoints(plan), straight(speed=5.0), atol=1e-9)
    with pytest.raises(RoadloopError, match=r"ends after 2\.9 s"):
        waypoints(Trajectory(plan.x[:30], plan.y[:30], plan.heading[:30], plan.speed[:30], 0.1))


def test_bad_input_is_named() -> None:
    good = straight()
    with pytest.raises(RoadloopError, match=r"shape \(1, 19, 2\)"):
        score(good[1:])
    with pytest.raises(RoadloopError, match="at least one trajectory"):
        rater_feedback(good[None], np.ones(1), [], np.zeros(0), 5.0)
    with pytest.raises(RoadloopError, match="no trajectory to judge"):
        rater_feedback(good[None][:0], np.ones(0), [good], np.ones(1), 5.0)
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(RoadloopError, match=r"trajectories is not a finite number at index \(0, 3"):
        score(bad)
    with pytest.raises(RoadloopError, match="rated trajectory 0"):
        score(good, [bad])
    with pytest.raises(RoadloopError, match="initial_speed is nan"):
        score(good, speed=float("nan"))
