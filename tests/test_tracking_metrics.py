"""Tracking metrics on tracks whose worth is known, and against the devkit that defined them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perception.detection_benchmark import DetectionClass
from perception.tracking_benchmark import (
    NUSCENES_TRACKING,
    Frames,
    TrackingBenchmark,
    TrackTable,
    filled,
    in_range,
)
from perception.tracking_metrics import SUMMED, evaluate_tracks
from perception.tracking_score import TrackingScore, detections_as_tracks
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, Tracks

Array = np.ndarray

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
STEPS = 20
FRAMES = Frames(np.zeros(STEPS, np.int64), np.arange(STEPS) * 500_000)
ONE_CLASS = TrackingBenchmark("test", (DetectionClass("car"),), fill_gaps=False)


def table(*rows: tuple) -> TrackTable:
    """Rows (frame, id, x[, score]) of cars at y = 0."""
    full = [(*row, *(1.0,) * (4 - len(row))) for row in rows]
    frame, number, x, score = (np.array(column) for column in zip(*full, strict=True))
    x = x.astype(np.float64)
    label = np.zeros(len(x), np.int64)
    return TrackTable(frame, label, number, x, np.zeros(len(x)), score.astype(np.float64))


def straight(number: int, x: float, frames: range = range(STEPS), score: float = 1.0) -> list:
    """Rows of somebody who stands at ``x``."""
    return [(k, number, x, score) for k in frames]


def values(truth: list, predicted: list) -> dict[str, float]:
    metrics = evaluate_tracks(FRAMES, table(*truth), table(*predicted), ONE_CLASS)
    return {name: by["car"] for name, by in metrics.label_metrics.items()}


def test_perfect_tracks() -> None:
    truth = straight(1, 0.0) + straight(2, 10.0)
    got = values(truth, straight(7, 0.0) + straight(8, 10.0))
    assert (got["amota"], got["amotp"], got["mota"], got["motp"]) == (1.0, 0.0, 1.0, 0.0)
    counts = {name: got[name] for name in ("gt", "tp", "fp", "fn", "ids", "frag", "mt", "ml")}
    assert counts == {"gt": 40, "tp": 40, "fp": 0, "fn": 0, "ids": 0, "frag": 0, "mt": 2, "ml": 0}
    assert (got["recall"], got["faf"], got["tid"], got["lgd"]) == (1.0, 0.0, 0.0, 0.0)


def test_a_switch_a_gap_and_a_false_alarm_each_cost_once() -> None:
    truth = straight(1, 0.0)
    switched = straight(7, 0.5, range(10)) + straight(8, 0.5, range(10, STEPS))
    got = values(truth, switched)
    assert (got["ids"], got["tp"], got["frag"], got["mota"]) == (1, 19, 0, 0.95)
    assert got["motp"] == pytest.approx(0.5)
    broken = straight(7, 0.0, range(2, 8)) + straight(7, 0.0, range(11, STEPS))
    got = values(truth, broken)
    assert (got["ids"], got["frag"], got["fn"], got["mt"]) == (0, 1, 5, 0)
    assert (got["tid"], got["lgd"]) == (1.0, 1.5)  # two and three frames of 0.5 s
    got = values(truth, straight(7, 0.0) + straight(9, 30.0, range(4)))
    assert (got["fp"], got["faf"], got["mota"]) == (4, 20.0, 0.8)


def test_who_was_together_stays_together_though_another_is_nearer() -> None:
    truth = straight(1, 0.0)
    got = values(truth, straight(7, 1.5) + straight(8, 0.1, range(5, STEPS)))
    assert (got["ids"], got["fp"]) == (0, 15)
    assert got["motp"] == pytest.approx(1.5)


def test_low_scores_are_cut_off_where_that_is_best() -> None:
    truth = straight(1, 0.0) + straight(2, 10.0)
    alarms = [row for n in range(5) for row in straight(20 + n, 30.0 + 5.0 * n, score=0.2)]
    got = values(truth, straight(7, 0.0, score=0.9) + straight(8, 10.0, score=0.8) + alarms)
    assert (got["mota"], got["fp"], got["amota"]) == (1.0, 0, 1.0)


def test_a_class_found_too_badly_gets_the_worst() -> None:
    truth = straight(1, 0.0)
    got = values(truth, [(0, 7, 0.0, 0.5)])
    assert (got["amota"], got["amotp"], got["mota"], got["ml"]) == (0.0, 2.0, 0.0, 1)
    assert (got["tid"], got["lgd"], got["faf"]) == (20.0, 20.0, 500.0)
    assert np.isnan([got["fp"], got["ids"], got["frag"]]).all()


def test_classes_without_ground_truth_are_left_out_of_means() -> None:
    metrics = evaluate_tracks(FRAMES, table(*straight(1, 0.0)), table(*straight(7, 0.0)))
    assert np.isnan(metrics.label_metrics["amota"]["car"])
    assert metrics.value("amota") == 1.0  # label 0 is the bicycle
    assert metrics.value("gt") == 20.0
    assert set(metrics.curves) == {"bicycle"}
    assert metrics.curves["bicycle"].recall[[0, -1]].tolist() == [1.0, 0.1]
    assert all(name in metrics.label_metrics for name in SUMMED)


def test_gaps_are_filled_in_as_the_reference_does() -> None:
    boxes = filled(FRAMES, table((0, 1, 0.0), (4, 1, 8.0), (4, 2, 5.0), (5, 1, 10.0)))
    new = boxes.frame[4:].tolist(), boxes.x[4:].tolist()
    assert new == ([1, 2, 3], [6.0, 4.0, 2.0])  # at the time mirrored in the gap
    assert boxes.id[4:].tolist() == [1, 1, 1]


def test_boxes_are_judged_within_the_range_of_their_class() -> None:
    boxes = replace(table((0, 1, 45.0), (1, 2, 45.0)), label=np.array([2, 4]))
    ego = np.zeros(STEPS)
    assert in_range(boxes, ego, ego).tolist() == [True, False]


def test_bad_tables_are_named() -> None:
    good = table(*straight(1, 0.0))
    with pytest.raises(RoadloopError, match="prediction 3 has a x"):
        bad = replace(good, x=np.where(np.arange(STEPS) == 3, np.nan, 0.0))
        evaluate_tracks(FRAMES, good, bad)
    with pytest.raises(RoadloopError, match="ground truth 1 has the id"):
        evaluate_tracks(FRAMES, table((0, 1, 0.0), (0, 1, 5.0)), good)
    with pytest.raises(RoadloopError, match="prediction 0 is of no frame"):
        evaluate_tracks(FRAMES, good, table((99, 1, 0.0)))
    with pytest.raises(RoadloopError, match="frames are not in order"):
        evaluate_tracks(Frames(FRAMES.scene, -FRAMES.timestamp_us), good, good)
    with pytest.raises(RoadloopError, match="no name twice"):
        TrackingBenchmark("twice", (DetectionClass("car"), DetectionClass("car")))
    assert len(NUSCENES_TRACKING.classes) == 7


# --- step by step ---------------------------------------------------------------------------------


def cars(x: list[float], vx: float = 0.0, first: int = 0) -> AgentStates:
    n = len(x)
    return AgentStates(
        id=first + np.arange(n),
        kind=np.full(n, AgentKind.CAR, np.uint8),
        x=np.array(x, np.float64),
        y=np.zeros(n),
        z=np.zeros(n),
        heading=np.zeros(n),
        vx=np.full(n, vx),
        vy=np.zeros(n),
        length=np.full(n, 4.5),
        width=np.full(n, 1.8),
        height=np.full(n, 1.5),
        valid=np.ones(n, bool),
    )


def as_tracks(states: AgentStates, std: float = 1.0) -> Tracks:
    n = len(states.x)
    return Tracks(states, np.full(n, std), np.zeros(n, np.int64))


def test_hidden_ones_are_neither_missed_nor_false_alarms() -> None:
    score = TrackingScore()
    for k in range(10):
        judged = np.array([True, k < 5])
        tracks = as_tracks(cars([0.3, 20.3], first=1))
        score.add(0.1 * k, cars([0.0, 20.0]), tracks, np.full(2, 0.9), judged)
    report = score.report()
    assert report.total("gt") == 15
    assert (report.total("fp"), report.total("fn"), report.total("mota")) == (0, 0, 1.0)
    assert report.total("motp") == pytest.approx(0.3)
    assert report.metrics.value("amota") == 1.0
    assert report.errors.position == pytest.approx(0.3)
    assert report.errors.spread == pytest.approx(0.3**2 / 2.0)


def test_errors_of_standing_and_moving_ones() -> None:
    score = TrackingScore()
    for drive in range(2):
        score.next_drive()
        for k in range(100):
            truth = cars([float(k)], vx=10.0) if drive else cars([0.0])
            told = replace(truth, vx=truth.vx + (1.0 if k % 10 == 0 else 0.0), id=np.array([5]))
            told = replace(told, heading=told.heading + (np.pi if k == 0 else 0.0))
            score.add(0.1 * k, truth, as_tracks(told), np.ones(1))
    errors = score.report().errors
    assert errors.matches == 200
    assert errors.standing_told == pytest.approx(0.9)
    assert errors.moving_told == 1.0
    assert errors.velocity == pytest.approx(np.sqrt(0.1))
    assert errors.turned == pytest.approx(0.01)
    assert errors.flicker == pytest.approx(19 / (2 * 9.9 / 60.0))


def test_detections_are_tracks_of_a_moment() -> None:
    score = TrackingScore()
    for k in range(5):
        loose = detections_as_tracks(cars([0.1]), np.ones(1), first_id=k)
        score.add(0.1 * k, cars([0.0]), loose, np.ones(1))
    assert score.report().total("ids") == 4


def test_steps_out_of_order_are_named() -> None:
    score = TrackingScore()
    with pytest.raises(RoadloopError, match="nothing was added"):
        score.report()
    score.add(1.0, cars([0.0]), as_tracks(cars([])), np.zeros(0))
    with pytest.raises(RoadloopError, match="next_drive"):
        score.add(0.5, cars([0.0]), as_tracks(cars([])), np.zeros(0))
    assert score.report().total("fn") == 1


# --- the devkit -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_devkit_gives_the_same_numbers(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "tracking_parity", BENCHMARKS / "tracking_parity.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tracking_parity"] = module
    spec.loader.exec_module(module)
    lack = module.missing(module.DEVKIT)
    if lack:
        pytest.skip(f"nuScenes' tracking evaluation does not run in .venv-devkits: {lack}")
    worst = module.compare(module.DEVKIT, 3, tmp_path)
    assert max(worst.values()) <= module.TOLERANCE, worst
