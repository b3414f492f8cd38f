"""Detection score: perfect and empty detectors, matching by hand, ties, invariances, bad input."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.detection_benchmark import (
    ERRORS,
    NUSCENES,
    BoxTable,
    DetectionBenchmark,
    DetectionClass,
    box_table,
    in_range,
)
from perception.detection_metrics import (
    aligned_iou,
    evaluate_detections,
    heading_difference,
    match,
)
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, Detections, at

CAR, CONE, BARRIER = 0, 8, 9
ONE_CLASS = DetectionBenchmark("one class", (DetectionClass("car"),))
replace = dataclasses.replace


def table(x, y=0.0, score=0.5, label=CAR, sample=0, **other) -> BoxTable:
    """Boxes at given places; everything else as asked for or the same for all."""
    x = np.asarray(x, np.float64)
    values = {"heading": 0.0, "length": 4.0, "width": 2.0, "height": 1.5, "vx": 1.0, "vy": 0.0}
    values |= {"attribute": "", "sample": sample, "label": label, "y": y, "score": score} | other
    columns = {name: np.broadcast_to(np.asarray(v), x.shape).copy() for name, v in values.items()}
    return BoxTable(x=x, **columns)


def scene(seed: int, count: int = 300, samples: int = 5) -> tuple[BoxTable, BoxTable]:
    """Ground truth of all classes and noisy predictions of it, with false ones among them."""
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> BoxTable:
        return BoxTable(
            sample=np.sort(rng.integers(0, samples, n)),
            label=rng.integers(0, 10, n),
            x=rng.uniform(-30, 30, n),
            y=rng.uniform(-30, 30, n),
            heading=rng.uniform(-np.pi, np.pi, n),
            length=rng.uniform(1, 5, n),
            width=rng.uniform(0.5, 2, n),
            height=rng.uniform(0.5, 3, n),
            vx=rng.normal(size=n),
            vy=rng.normal(size=n),
            attribute=np.array(["", "moving", "parked"])[rng.integers(0, 3, n)],
            score=rng.permutation(n) / n,
        )

    truth, predicted = boxes(count), boxes(count)
    right = rng.random(count) < 0.7
    predicted = BoxTable(
        *(
            np.where(right, getattr(truth, f.name), getattr(predicted, f.name))
            for f in dataclasses.fields(BoxTable)
        )
    )
    predicted = replace(
        predicted,
        x=predicted.x + rng.normal(0, 0.6, count),
        y=predicted.y + rng.normal(0, 0.6, count),
        heading=predicted.heading + rng.normal(0, 0.2, count),
        score=rng.permutation(count) / count * 0.9 + 0.05,
    )
    return truth, predicted


def test_perfect_detector_has_the_full_score() -> None:
    truth, _ = scene(1)
    metrics = evaluate_detections(truth, replace(truth, score=np.full(len(truth.x), 0.9)))
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.nds == pytest.approx(1.0)
    assert max(metrics.tp_errors.values()) == pytest.approx(0.0, abs=1e-12)
    assert (metrics.curves["car", 0.5].precision == 1.0).all()


def test_no_predictions_is_worth_nothing() -> None:
    truth, predicted = scene(2)
    metrics = evaluate_detections(truth, at(predicted, np.zeros(0, int)))
    assert metrics.nds == 0.0
    assert set(metrics.tp_errors.values()) == {1.0}


def test_no_ground_truth_counts_as_the_reference_does_or_cannot_be_judged() -> None:
    truth, predicted = scene(2)
    nothing = at(truth, np.zeros(0, int))
    assert evaluate_detections(nothing, predicted).nds == 0.0
    lenient = replace(NUSCENES, absent_classes_count=False)
    with pytest.raises(RoadloopError, match="give ground truth"):
        evaluate_detections(nothing, predicted, lenient)


def test_absent_class_counts_as_zero_unless_switched_off() -> None:
    truth, _ = scene(1)
    truth = at(truth, np.flatnonzero(truth.label != CAR))
    counted = evaluate_detections(truth, truth)
    assert counted.label_aps["car"] == dict.fromkeys(NUSCENES.distances, 0.0)
    assert counted.label_tp_errors["car"]["trans_err"] == 1.0
    assert counted.mean_ap == pytest.approx(0.9)
    left_out = evaluate_detections(truth, truth, replace(NUSCENES, absent_classes_count=False))
    assert np.isnan(left_out.mean_dist_aps["car"])
    assert left_out.nds == pytest.approx(1.0)


def test_average_precision_by_hand() -> None:
    # Right, wrong, right of two: precision 1 up to recall 0.5, then from 1/2 to 2/3 at recall 1.
    truth = table([0.0, 10.0])
    predicted = table([0.1, 30.0, 10.1], score=[0.9, 0.8, 0.7])
    metrics = evaluate_detections(truth, predicted, ONE_CLASS)
    recall = np.linspace(0.0, 1.0, 101)
    # at recall 0.5 two points lie, the later is taken
    expected = np.where(recall < 0.5, 1.0, 0.5 + (recall - 0.5) / 0.5 * (2 / 3 - 1 / 2))
    np.testing.assert_allclose(metrics.curves["car", 2.0].precision, expected)
    assert metrics.mean_ap == pytest.approx((expected[11:] - 0.1).mean() / 0.9)


def test_best_scored_prediction_chooses_first_and_takes_the_nearest_free() -> None:
    truth = table([0.0, 1.5])
    predicted = table([0.9, 0.8], score=[0.2, 0.9])
    np.testing.assert_array_equal(match(truth, predicted, (2.0,)), [[0, 1]])
    # the other way about the second choice is left, if it is near enough
    swapped = replace(predicted, score=np.array([0.9, 0.2]))
    np.testing.assert_array_equal(
        match(truth, swapped, (0.5, 0.65, 2.0)), [[-1, -1], [1, -1], [1, 0]]
    )


def test_a_match_is_strictly_nearer_than_the_distance() -> None:
    np.testing.assert_array_equal(match(table([0.0]), table([2.0]), (2.0, 4.0)), [[-1], [0]])


def test_other_samples_and_classes_do_not_match() -> None:
    truth = table([0.0, 5.0], sample=[0, 1], label=[CAR, 1])
    predicted = table([0.0, 5.0], sample=[1, 0], label=[CAR, 1])
    assert evaluate_detections(truth, predicted).mean_ap == 0.0
    crossed = table([0.0, 5.0], sample=[0, 1], label=[1, CAR])
    assert evaluate_detections(truth, crossed).mean_ap == 0.0


def test_of_equal_scores_the_later_prediction_comes_first() -> None:
    truth = table([0.0])
    hit_last = evaluate_detections(truth, table([50.0, 0.0]), ONE_CLASS)
    hit_first = evaluate_detections(truth, table([0.0, 50.0]), ONE_CLASS)
    # the right one first: precision 1 up to its recall; the wrong one first: rising from 0 to 1/2
    assert hit_last.curves["car", 2.0].precision[50] == 1.0
    assert hit_first.curves["car", 2.0].precision[50] == 0.25


def test_samples_are_taken_by_number_whatever_their_order() -> None:
    truth, predicted = scene(3)
    mixed = np.random.default_rng(0).permutation(len(predicted.x))
    expected = evaluate_detections(truth, predicted)
    assert evaluate_detections(truth, at(predicted, mixed)).nds == pytest.approx(
        expected.nds, abs=1e-12
    )


@settings(max_examples=5, derandomize=True, deadline=None)
@given(angle=st.floats(-3.0, 3.0), dx=st.floats(-500.0, 500.0), dy=st.floats(-500.0, 500.0))
def test_moving_all_boxes_together_changes_nothing(angle: float, dx: float, dy: float) -> None:
    def moved(boxes: BoxTable) -> BoxTable:
        cos, sin = np.cos(angle), np.sin(angle)
        return replace(
            boxes,
            x=cos * boxes.x - sin * boxes.y + dx,
            y=sin * boxes.x + cos * boxes.y + dy,
            heading=boxes.heading + angle,
            vx=cos * boxes.vx - sin * boxes.vy,
            vy=sin * boxes.vx + cos * boxes.vy,
        )

    truth, predicted = scene(4)
    before = evaluate_detections(truth, predicted)
    after = evaluate_detections(moved(truth), moved(predicted))
    assert after.mean_ap == pytest.approx(before.mean_ap, abs=1e-12)
    for error in ERRORS:
        assert after.tp_errors[error] == pytest.approx(before.tp_errors[error], abs=1e-9)


def test_precision_depends_on_the_order_of_scores_only() -> None:
    truth, predicted = scene(5)
    squeezed = replace(predicted, score=predicted.score**3 * 0.5)
    before, after = evaluate_detections(truth, predicted), evaluate_detections(truth, squeezed)
    assert after.label_aps == before.label_aps


@settings(max_examples=10, derandomize=True, deadline=None)
@given(seed=st.integers(0, 1000), score=st.floats(0.0, 1.0))
def test_a_false_positive_never_raises_the_precision(seed: int, score: float) -> None:
    truth, predicted = scene(seed, count=60)
    extra = table(np.full(10, 900.0), label=np.arange(10), score=score)
    more = BoxTable(
        *(
            np.concatenate([getattr(predicted, f.name), getattr(extra, f.name)])
            for f in dataclasses.fields(BoxTable)
        )
    )
    before, after = evaluate_detections(truth, predicted), evaluate_detections(truth, more)
    for name, by_distance in after.label_aps.items():
        for distance, ap in by_distance.items():
            assert ap <= before.label_aps[name][distance] + 1e-12


def test_errors_by_hand() -> None:
    truth = table([0.0], heading=3.0, attribute="moving", vx=1.0)
    found = table([0.6], y=0.8, heading=-3.0, length=2.0, attribute="parked", vx=4.0, vy=4.0)
    errors = evaluate_detections(truth, found, ONE_CLASS).tp_errors
    assert errors["trans_err"] == pytest.approx(1.0)
    assert errors["scale_err"] == pytest.approx(0.5)
    assert errors["orient_err"] == pytest.approx(2 * np.pi - 6.0)
    assert errors["vel_err"] == pytest.approx(5.0)
    assert errors["attr_err"] == 1.0


def test_barriers_look_the_same_from_behind_and_cones_have_no_heading() -> None:
    truth = table([0.0, 10.0, 20.0], label=[CAR, CONE, BARRIER])
    found = replace(truth, heading=np.full(3, np.pi))
    errors = evaluate_detections(truth, found).label_tp_errors
    assert errors["car"]["orient_err"] == pytest.approx(np.pi)
    assert errors["barrier"]["orient_err"] == pytest.approx(0.0, abs=1e-12)
    undefined = [e for e in ERRORS if np.isnan(errors["traffic_cone"][e])]
    assert undefined == ["orient_err", "vel_err", "attr_err"]
    assert [e for e in ERRORS if np.isnan(errors["barrier"][e])] == ["vel_err", "attr_err"]


def test_what_is_not_labelled_is_left_out_of_the_errors() -> None:
    truth = table([0.0, 10.0], attribute=["", "moving"], vx=[np.nan, 1.0])
    found = replace(truth, vx=np.array([9.0, 1.0]), score=np.array([0.4, 0.5]))
    errors = evaluate_detections(truth, found, ONE_CLASS).tp_errors
    assert errors["attr_err"] == 0.0
    assert errors["vel_err"] == 0.0


def test_a_detector_that_does_not_know_velocities_is_not_refused() -> None:
    truth = table([0.0, 10.0], vx=[3.0, 1.0])
    partly = replace(truth, vx=np.array([np.nan, 2.0]), score=np.array([0.4, 0.5]))
    assert evaluate_detections(truth, partly, ONE_CLASS).tp_errors["vel_err"] == pytest.approx(1.0)
    never = replace(partly, vx=np.full(2, np.nan), vy=np.full(2, np.nan))
    assert evaluate_detections(truth, never, ONE_CLASS).tp_errors["vel_err"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [np.nan, 0.0]}, "prediction 0 .* has a x that is not a finite"),
        ({"vy": [0.0, np.inf]}, r"prediction 1 \(sample 0\) has an infinite vy"),
        ({"score": [0.5, 1.5]}, "prediction 1 .* score outside"),
        ({"score": [np.nan, 0.5]}, "prediction 0 .* score"),
        ({"width": [0.0, 1.0]}, "width that is not above 0"),
        ({"label": [0, 10]}, "label that is none of the 10 classes"),
        ({"x": [0.0]}, "columns have shapes"),
    ],
)
def test_bad_predictions_are_named(change: dict, message: str) -> None:
    bad = replace(table([0.0, 1.0]), **{name: np.array(v) for name, v in change.items()})
    with pytest.raises(RoadloopError, match=message):
        evaluate_detections(table([0.0]), bad)


def test_too_many_boxes_in_a_sample_are_refused() -> None:
    with pytest.raises(RoadloopError, match="sample 3 has 501 predictions: nuScenes allows 500"):
        evaluate_detections(table([0.0]), table(np.arange(501.0), sample=3))


def test_benchmark_refuses_contradictions() -> None:
    car = DetectionClass("car", undefined_errors=("attr_err",))
    with pytest.raises(RoadloopError, match="defined for no class"):
        DetectionBenchmark("mine", (car,))
    with pytest.raises(RoadloopError, match="not among the distances"):
        DetectionBenchmark("mine", (DetectionClass("car"),), error_distance=3.0)
    with pytest.raises(RoadloopError, match="no name twice"):
        DetectionBenchmark("mine", (car, car))


def test_fewer_errors_leave_more_weight_to_the_precision() -> None:
    mine = replace(ONE_CLASS, errors=("trans_err",))
    metrics = evaluate_detections(table([0.0]), table([0.6]), mine)
    assert metrics.nds == pytest.approx((5 * metrics.mean_ap + 0.4) / 6)
    assert metrics.mean_ap == pytest.approx(0.75)


def test_range_of_each_class() -> None:
    boxes = table([39.0, 41.0, 49.9, 50.0], label=[5, 5, CAR, CAR])
    np.testing.assert_array_equal(in_range(boxes, [0.0], [0.0]), [True, False, True, False])
    np.testing.assert_array_equal(in_range(boxes, [-1.0], [0.0]), [False, False, False, False])


def test_table_of_our_own_detections() -> None:
    n = 3
    kind = np.array([AgentKind.CAR, AgentKind.STATIC, AgentKind.PEDESTRIAN], np.uint8)
    states = AgentStates(
        id=np.arange(n),
        kind=kind,
        **{k: np.ones(n) for k in ("x", "y", "z", "heading", "vx", "vy", "length", "width")},
        height=np.ones(n),
        valid=np.array([True, True, False]),
    )
    frames = [Detections(states, np.full(n, 0.5))] * 2
    boxes = box_table(frames, {AgentKind.CAR: 0, AgentKind.PEDESTRIAN: 5})
    np.testing.assert_array_equal(boxes.sample, [0, 1])
    np.testing.assert_array_equal(boxes.label, [0, 0])
    assert evaluate_detections(boxes, boxes).label_aps["car"][0.5] == pytest.approx(1.0)
    assert len(box_table([], {}).x) == 0


def test_primitives() -> None:
    assert heading_difference(3.0, -3.0) == pytest.approx(6.0 - 2 * np.pi)
    assert heading_difference(1.0, 0.0, np.pi) == pytest.approx(1.0)
    assert heading_difference(2.0, 0.0, np.pi) == pytest.approx(2.0 - np.pi)
    assert heading_difference(4.0, 0.0, 4 * np.pi) == pytest.approx(4.0 - 2 * np.pi)
    assert heading_difference(-4.0, 0.0, 4 * np.pi) == pytest.approx(-4.0)
    assert aligned_iou([2.0, 4.0, 1.0], [2.0, 2.0, 1.0]) == pytest.approx(0.5)
    with pytest.raises(RoadloopError, match="no volume"):
        aligned_iou([2.0, 4.0, 0.0], [2.0, 2.0, 1.0])


def test_a_hundred_thousand_predictions_take_seconds() -> None:
    truth, predicted = scene(6, count=100_000, samples=400)
    start = time.process_time()
    evaluate_detections(truth, predicted)
    assert time.process_time() - start < 8.0
