"""Waymo's motion measures: hand-made scenes, joint predictions, gaps, ties, overlap, bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors.waymo_motion import _benchmark

from perception.motion_benchmark import WAYMO, MotionPredictions, from_forecasts
from perception.motion_metrics import (
    average_precision,
    measure,
    motion_metrics,
    pool,
    summarise,
    travel_headings,
)
from perception.motion_shapes import PathShape, path_shapes
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, Forecasts, at

replace = dataclasses.replace
TIME = np.arange(91) * 0.1 - 1.0
AHEAD = 15 + 5 * np.arange(16)
MEASURES = ("min_ade", "min_fde", "miss_rate", "overlap_rate", "mean_average_precision")


def world(*paths, kind=AgentKind.CAR, valid=True, size=(4.0, 2.0)) -> AgentStates:
    """One scenario of agents with constant velocity: each path is x, y, vx, vy now."""
    x, y, vx, vy = np.array(paths, np.float64).T
    shape = (1, len(TIME), len(paths))

    def everywhere(value) -> np.ndarray:
        return np.broadcast_to(np.asarray(value), shape).copy()

    return AgentStates(
        id=everywhere(np.arange(len(paths))),
        kind=everywhere(np.asarray(kind, np.uint8)),
        x=everywhere(x + TIME[:, None] * vx),
        y=everywhere(y + TIME[:, None] * vy),
        z=everywhere(0.0),
        heading=everywhere(np.arctan2(vy, vx)),
        vx=everywhere(vx),
        vy=everywhere(vy),
        length=everywhere(size[0]),
        width=everywhere(size[1]),
        height=everywhere(1.5),
        valid=everywhere(valid),
    )


def predict(truth: AgentStates, agents, offsets, score) -> MotionPredictions:
    """One prediction: its modes are the truth shifted by ``offsets`` (modes, [members,] 2)."""
    agents, offsets = np.atleast_1d(agents), np.asarray(offsets, np.float64)
    offsets = np.broadcast_to(
        offsets if offsets.ndim == 3 else offsets[:, None], (len(offsets), len(agents), 2)
    )
    future = np.stack([truth.x[0, AHEAD], truth.y[0, AHEAD]], axis=-1)[:, agents]
    modes = np.moveaxis(future, 0, 1)[None] + offsets[:, :, None]
    return MotionPredictions(
        scenario=np.zeros(1, int),
        agent=agents[None],
        present=np.ones((1, len(agents)), bool),
        x=modes[None, ..., 0],
        y=modes[None, ..., 1],
        score=np.asarray(score, np.float64)[None],
    )


def together(*parts: MotionPredictions) -> MotionPredictions:
    names = [f.name for f in dataclasses.fields(MotionPredictions)]
    return MotionPredictions(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def random_set(seed: int) -> tuple[MotionPredictions, AgentStates]:
    """Turning agents with gaps, and noisy predictions of pairs, two of three with both members."""
    rng = np.random.default_rng(seed)
    scenarios, agents, modes = 3, 5, 6
    shape = (scenarios, len(TIME), agents)
    per_agent = (scenarios, 1, agents)
    speed, turn = rng.uniform(0, 12, per_agent), rng.normal(0, 0.2, per_agent)
    heading = rng.uniform(-3, 3, per_agent) + turn * TIME[:, None]
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    still = np.zeros(shape)
    truth = AgentStates(
        id=still.astype(int),
        kind=np.broadcast_to(rng.choice([0, 5, 6], per_agent), shape).astype(np.uint8),
        x=rng.uniform(-20, 20, per_agent) + vx.cumsum(1) * 0.1,
        y=rng.uniform(-20, 20, per_agent) + vy.cumsum(1) * 0.1,
        z=still,
        heading=heading,
        vx=vx,
        vy=vy,
        length=still + 4.0,
        width=still + 2.0,
        height=still + 1.5,
        valid=(rng.random(shape) < 0.9) | (np.arange(len(TIME)) == 10)[:, None],
    )
    scenario = np.repeat(np.arange(scenarios), 3)
    agent = np.stack([rng.permutation(agents)[:2] for _ in scenario])
    future = np.stack([truth.x, truth.y], -1)[scenario[:, None], :, agent][:, :, AHEAD]
    modal = future[:, None] + rng.normal(0, 1.0, (len(scenario), modes, 2, 16, 2)).cumsum(-2) * 0.4
    present = np.ones((len(scenario), 2), bool)
    present[::3, 1] = False
    score = rng.random((len(scenario), modes))
    return MotionPredictions(scenario, agent, present, modal[..., 0], modal[..., 1], score), truth


def test_a_perfect_prediction() -> None:
    truth = world((0, 0, 10, 0), (0, 50, 1.2, 0), kind=[AgentKind.TRUCK, AgentKind.PEDESTRIAN])
    both = together(*(predict(truth, i, [[0, 0]], [1.0]) for i in range(2)))
    metrics = motion_metrics(both, truth)
    for name in ("min_ade", "min_fde", "miss_rate", "overlap_rate"):
        np.testing.assert_allclose(getattr(metrics, name)[:2], 0.0, atol=1e-12)
    np.testing.assert_array_equal(metrics.mean_average_precision[:2], 1.0)
    np.testing.assert_array_equal(metrics.predictions, [1, 1, 0])
    for name in MEASURES:
        assert np.isnan(getattr(metrics, name)[2]).all()


def test_errors_and_limits_by_hand() -> None:
    # 20 m/s: full limits of 1/2, 1.8/3.6 and 3/6 m; the best of both modes is 1.5 m to the side
    truth = world((0, 0, 0, 20))
    prediction = predict(truth, 0, [[-1.5, 0.0], [0.0, 6.1]], [0.4, 0.6])
    metrics = motion_metrics(prediction, truth)
    np.testing.assert_allclose(metrics.min_ade[0], 1.5)
    np.testing.assert_allclose(metrics.min_fde[0], 1.5)
    np.testing.assert_array_equal(metrics.miss_rate[0], [1, 0, 0])
    np.testing.assert_array_equal(metrics.mean_average_precision[0], [0, 0.5, 0.5])
    along = motion_metrics(predict(truth, 0, [[0, 3.5]], [1]), truth)
    np.testing.assert_array_equal(along.miss_rate[0], [1, 0, 0])


@pytest.mark.parametrize(("speed", "limit"), [(1.0, 0.5), (6.2, 0.75), (11.0, 1.0), (20.0, 1.0)])
def test_limits_grow_with_the_speed_now(speed: float, limit: float) -> None:
    truth = world((0, 0, speed, 0))
    near = predict(truth, 0, [[0, limit - 1e-6]], [1])
    far = predict(truth, 0, [[0, limit + 1e-6]], [1])
    assert motion_metrics(near, truth).miss_rate[0, 0] == 0
    assert motion_metrics(far, truth).miss_rate[0, 0] == 1


def test_a_joint_mode_is_as_good_as_all_its_members() -> None:
    truth = world((0, 0, 15, 0), (0, 30, 15, 0), kind=[AgentKind.CAR, AgentKind.CYCLIST])
    # each mode is right about one of the two
    one_each = predict(truth, [0, 1], [[[0, 0], [0, 9]], [[0, 9], [0, 0]]], [0.5, 0.5])
    metrics = motion_metrics(one_each, truth)
    np.testing.assert_array_equal(metrics.predictions, [0, 0, 1])  # cyclist before vehicle
    np.testing.assert_allclose(metrics.min_fde[2], 4.5)
    np.testing.assert_array_equal(metrics.miss_rate[2], 1.0)
    # an absent member does not count
    alone = replace(one_each, present=np.array([[True, False]]))
    np.testing.assert_allclose(motion_metrics(alone, truth).min_fde[0], 0.0)


def test_steps_without_ground_truth_are_left_out() -> None:
    valid = np.ones((1, 91, 1), bool)
    valid[:, 15 + 5 * 9] = False  # the second horizon
    truth = world((0, 0, 15, 0), valid=valid)
    measured = measure(predict(truth, 0, [[1.5, 0], [0, 2]], [0.3, 0.7]), truth)
    np.testing.assert_allclose(measured.min_ade[0], 1.5)
    np.testing.assert_allclose(measured.min_fde[0], [1.5, np.nan, 1.5])
    np.testing.assert_array_equal(measured.missed[0], [0, np.nan, 0])
    # measured nowhere: 0 as in the reference, or not a number
    assert summarise(measured).min_fde[0, 1] == 0.0
    assert summarise(measured).mean_average_precision[0, 1] == 0.0
    strict = summarise(measured, replace(WAYMO, unmeasured_is_zero=False))
    assert np.isnan(strict.min_fde[0, 1])
    assert np.isnan(strict.mean_average_precision[0, 1])
    assert strict.min_fde[0, 0] == 1.5


def test_a_second_right_mode_is_wrong_or_nothing() -> None:
    # two cars, straight; of the first both modes are right, of the second the first only
    truth = world((0, 0, 15, 0), (0, 50, 15, 0))
    both = together(
        predict(truth, 0, [[0, 0], [0.1, 0]], [0.9, 0.8]),
        predict(truth, 1, [[0, 0], [0, 90]], [0.7, 0.1]),
    )
    metrics = motion_metrics(both, truth)
    np.testing.assert_allclose(metrics.mean_average_precision[0], 0.5 * 1 + 0.5 * 2 / 3)
    np.testing.assert_allclose(metrics.soft_mean_average_precision[0], 1.0)


def test_modes_beyond_the_sixth_do_not_count() -> None:
    truth = world((0, 0, 15, 0))
    metrics = motion_metrics(predict(truth, 0, [[0, 50]] * 6 + [[0, 0]], [0.1] * 6 + [0.9]), truth)
    np.testing.assert_array_equal(metrics.miss_rate[0], 1.0)
    np.testing.assert_allclose(metrics.min_fde[0], 50.0)


def test_average_precision_puts_the_wrong_of_equals_first() -> None:
    score, right = np.array([0.5, 0.5, 0.5, 0.5]), np.array([True, False, False, False])
    assert average_precision(score, right, 1) == pytest.approx(0.25)
    assert average_precision(score + 0.1 * right, right, 1) == 1.0
    # the envelope: 1/2 then 2/3 is 2/3 all along; one of four is never found
    found = np.array([False, True, True])
    assert average_precision(np.array([3.0, 2.0, 1.0]), found, 4) == pytest.approx(2 / 4 * 2 / 3)


def test_shapes_that_occur_weigh_the_same() -> None:
    # three straight cars found, one standing car not
    truth = world((0, 0, 15, 0), (0, 30, 15, 0), (0, 60, 15, 0), (0, 90, 0, 0))
    offsets = [[0, 0]], [[0, 0]], [[0, 0]], [[20, 0]]
    parts = [predict(truth, i, offset, [1.0]) for i, offset in enumerate(offsets)]
    metrics = motion_metrics(together(*parts), truth)
    np.testing.assert_array_equal(metrics.mean_average_precision[0], 0.5)


def arc(turn: float, speed: float = 10.0) -> tuple:
    """A path of 8 s that turns by ``turn`` rad, after a second straight ahead along +x."""
    heading = np.where(TIME > 0, TIME / 8.0 * turn, 0.0)
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    return vx.cumsum() * 0.1, vy.cumsum() * 0.1, heading, vx, vy, np.ones(91, bool)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (arc(0.0), PathShape.STRAIGHT),
        (arc(0.0, speed=0.3), PathShape.STANDING),
        (arc(0.0, speed=1.9), PathShape.STRAIGHT),
        (arc(0.4), PathShape.STRAIGHT_LEFT),
        (arc(-0.4), PathShape.STRAIGHT_RIGHT),
        (arc(1.5), PathShape.LEFT_TURN),
        (arc(-1.5), PathShape.RIGHT_TURN),
        (arc(4.0), PathShape.LEFT_U_TURN),
        (arc(-4.0), PathShape.RIGHT_U_TURN),
    ],
)
def test_shapes_of_paths(path: tuple, shape: PathShape) -> None:
    found, known = path_shapes(*path, start=10)
    assert (PathShape(int(found)), bool(known)) == (shape, True)


def test_a_path_needs_a_start_and_a_later_step() -> None:
    x, y, heading, vx, vy, valid = arc(1.5)
    early = valid & (np.arange(91) <= 10)
    assert not path_shapes(x, y, heading, vx, vy, early, 10)[1]
    assert not path_shapes(x, y, heading, vx, vy, valid & ~(np.arange(91) == 10), 10)[1]
    # the last valid step is the end: after 1 s hardly turned
    assert path_shapes(x, y, heading, vx, vy, np.arange(91) <= 20, 10)[0] == PathShape.STRAIGHT


def test_overlap_of_the_best_scored_mode() -> None:
    # the other car drives 3 m beside; shifted by 1.5 m the boxes (2 m wide) overlap
    truth = world((0, 0, 10, 0), (0, 3, 10, 0))
    hit = predict(truth, 0, [[0, 0], [0, 1.5]], [0.3, 0.7])
    np.testing.assert_array_equal(motion_metrics(hit, truth).overlap_rate[0], 1.0)
    other_best = replace(hit, score=hit.score[:, ::-1])
    np.testing.assert_array_equal(motion_metrics(other_best, truth).overlap_rate[0], 0.0)
    # of equal scores the first
    equal = replace(hit, score=np.full((1, 2), 0.5))
    np.testing.assert_array_equal(motion_metrics(equal, truth).overlap_rate[0], 0.0)
    touching = motion_metrics(predict(truth, 0, [[0, 1.0]], [1]), truth)
    np.testing.assert_array_equal(touching.overlap_rate[0], 0.0)
    # an agent that was not there now does not count
    unseen = truth.valid.copy()
    unseen[:, 10, 1] = False
    later = motion_metrics(hit, replace(truth, valid=unseen))
    np.testing.assert_array_equal(later.overlap_rate[0], 0.0)


def test_overlap_counts_from_the_step_it_happens() -> None:
    # 10 m/s towards a standing car 45 m ahead: reached after 4 s, between first and second horizon
    truth = world((0, 0, 10, 0), (45, 0, 0, 0))
    metrics = motion_metrics(predict(truth, 0, [[0, 0]], [1]), truth)
    np.testing.assert_array_equal(metrics.overlap_rate[0], [0, 1, 1])


def test_headings_from_positions() -> None:
    x, y = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(travel_headings(x, y), [0.0, np.pi / 4, np.pi / 4, 0.0])


@settings(max_examples=8, derandomize=True, deadline=None)
@given(seed=st.integers(0, 1000), angle=st.floats(-3.0, 3.0), shift=st.floats(-500.0, 500.0))
def test_moving_everything_together_changes_nothing(seed: int, angle: float, shift: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)

    def moved(states, x: str, y: str, by: float):
        a, b = getattr(states, x), getattr(states, y)
        return replace(states, **{x: cos * a - sin * b + by, y: sin * a + cos * b + by})

    predictions, truth = random_set(seed)
    turned = moved(moved(truth, "x", "y", shift), "vx", "vy", 0.0)
    turned = replace(turned, heading=turned.heading + angle)
    before = motion_metrics(predictions, truth)
    after = motion_metrics(moved(predictions, "x", "y", shift), turned)
    for name in MEASURES:
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_batches_and_pooling(seed: int) -> None:
    predictions, truth = random_set(seed)
    measured = measure(predictions, truth)
    alone = [measure(at(predictions, [i]), truth) for i in range(len(predictions.score))]
    for name in ("min_ade", "min_fde", "missed", "overlapped", "matched"):
        joined = np.concatenate([getattr(one, name) for one in alone])
        np.testing.assert_allclose(getattr(measured, name), joined, atol=1e-12)
    pooled = pool([measured, measured])
    assert set(pooled.scenario) == set(range(6))
    once, twice = summarise(measured), summarise(pooled)
    for name in MEASURES[:4]:
        np.testing.assert_allclose(getattr(once, name), getattr(twice, name))
    # more modes cannot be farther off; soft precision is never below hard
    best = summarise(measure(predictions, truth, replace(WAYMO, max_modes=1)))
    for name in ("min_ade", "min_fde", "miss_rate"):
        few, many = getattr(best, name), getattr(once, name)
        assert (many <= few + 1e-12)[~np.isnan(few)].all()
    gain = once.soft_mean_average_precision - once.mean_average_precision
    assert (gain[~np.isnan(gain)] >= -1e-12).all()


def test_forecasts_of_single_agents() -> None:
    truth = world((0, 0, 10, 0), (0, 30, 10, 0), (0, 60, 10, 0))
    x = np.stack([truth.x[0, AHEAD, i] for i in (0, 2)])[None, :, None]
    y = np.stack([truth.y[0, AHEAD, i] for i in (0, 2)])[None, :, None] + 0.5
    forecasts = Forecasts(x=x, y=y, heading=0 * x, probability=np.ones((1, 2, 1)), dt=0.5)
    wanted = np.array([[True, True]])
    predictions = from_forecasts(forecasts, np.array([[0, 2]]), wanted)
    metrics = motion_metrics(predictions, truth)
    assert metrics.predictions[0] == 2
    np.testing.assert_allclose(metrics.min_ade[0], 0.5)


def test_no_predictions_have_no_averages() -> None:
    truth = world((0, 0, 10, 0))
    nothing = at(predict(truth, 0, [[0, 0]], [1]), np.zeros(0, int))
    metrics = motion_metrics(nothing, truth)
    assert all(np.isnan(getattr(metrics, name)).all() for name in MEASURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": np.array([[5]])}, r"prediction \(0, 0\) is of a scenario or agent"),
        ({"scenario": np.array([1])}, "is of a scenario or agent"),
        ({"present": np.array([[False]])}, r"prediction \(0,\) has no member"),
        ({"score": np.array([[-0.5]])}, r"prediction, mode \(0, 0\) needs a score >= 0"),
        ({"score": np.array([[np.nan]])}, "needs a score >= 0"),
        ({"score": np.array([[0.5, 0.5]])}, r"predictions.score has shape \(1, 2\)"),
        ({"x": np.zeros((1, 1, 16))}, r"predictions.x has shape \(1, 1, 16\)"),
        ({"x": np.full((1, 1, 1, 16), np.nan)}, r"member, step \(0, 0, 0, 0\) has a x"),
        ({"x": np.zeros((1, 1, 1, 9)), "y": np.zeros((1, 1, 1, 9))}, "the horizons need more"),
    ],
)
def test_bad_predictions_are_named(change: dict, message: str) -> None:
    truth = world((0, 0, 10, 0))
    prediction = replace(predict(truth, 0, [[0, 0]], [1]), **change)
    with pytest.raises(RoadloopError, match=message):
        motion_metrics(prediction, truth)


def test_bad_truth_and_benchmarks_are_named() -> None:
    truth = world((0, 0, 10, 0))
    prediction = predict(truth, 0, [[0, 0]], [1])
    truth.heading[0, 30, 0] = np.nan
    with pytest.raises(RoadloopError, match=r"step, agent \(0, 30, 0\) has a heading"):
        motion_metrics(prediction, truth)
    with pytest.raises(RoadloopError, match=r"expected \(scenarios, time, agents\)"):
        motion_metrics(prediction, at(truth, 0))
    with pytest.raises(RoadloopError, match="one pair of limits for each horizon"):
        replace(WAYMO, horizons=(5, 9))
    with pytest.raises(RoadloopError, match="no measurements to pool"):
        pool([])


def test_a_reference_config_in_text_is_taken_as_it_says():
    config = """
    track_steps_per_second: 10
    prediction_steps_per_second: 5
    speed_lower_bound: 2.0
    step_configurations {
      measurement_step: 7
      lateral_miss_threshold: 0.9
      longitudinal_miss_threshold: 3.5e0
    }
    max_predictions: 3
    """
    own = replace(
        WAYMO, stride=2, speeds=(2.0, 11.0), max_modes=3, horizons=(7,), lateral_limits=(0.9,),
        longitudinal_limits=(3.5,),
    )  # fmt: skip
    assert _benchmark(config) == own
    assert _benchmark("") == WAYMO
