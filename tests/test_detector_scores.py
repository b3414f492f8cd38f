"""Detections of known worth: perfect, shifted, missed, doubled, hidden, in the wrong place."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from perception import detector_scores as scores
from perception.detection_benchmark import DetectionBenchmark, DetectionClass
from perception.detection_metrics import average_precision as reference_precision
from perception.detection_metrics import detection_curve
from perception.detector_config import BevGrid, ObjectClass
from perception.object_tables import (
    DISTANCES,
    IGNORED,
    MomentTruth,
    Pool,
    drive_objects,
    pooled,
)
from perception.objects import Objects
from roadloop.errors import RoadloopError

GRID = BevGrid()
VEHICLE, PEDESTRIAN = ObjectClass.VEHICLE, ObjectClass.PEDESTRIAN
CAR = (4.5, 1.9, 1.5)


def truth(
    xy: Any, label=VEHICLE, visible: Any = True, yaw=0.0, velocity: Any = (5.0, 0.0)
) -> MomentTruth:
    xy = np.reshape(np.asarray(xy, float), (-1, 2))
    n = len(xy)
    boxes = np.column_stack(
        [xy, np.full(n, 0.75), np.tile(CAR, (n, 1)), np.full(n, yaw), np.tile(velocity, (n, 1))]
    )
    return MomentTruth(boxes, np.full(n, label), np.broadcast_to(visible, n).copy())


def found(xy: Any, score: Any = 0.9, label=VEHICLE, std: Any = 1.0, **columns: Any) -> Objects:
    xy = np.reshape(np.asarray(xy, float), (-1, 2))
    n = len(xy)
    values = dict(zip(("length", "width", "height"), CAR)) | {"z": 0.75, "yaw": 0.0}
    values |= {"vx": 5.0, "vy": 0.0, "score": score, "object_class": label}
    values |= {"position_std": std, "velocity_std": std} | columns
    full = {k: np.broadcast_to(np.asarray(v), n).copy() for k, v in values.items()}
    return Objects(x=xy[:, 0], y=xy[:, 1], **full)


def pool_of(*moments: tuple[MomentTruth, Objects]) -> Pool:
    return pooled([drive_objects([t for t, _ in moments], [f for _, f in moments], GRID)])


def ap(pool: Pool, distance: float = 2.0, label: ObjectClass = VEHICLE, **more) -> float:
    return scores.average_precision(scores.outcomes(pool, label, distance, **more))


ROW = [(5.0, 0.0), (15.0, 3.0), (25.0, -4.0), (40.0, 8.0)]


def test_what_is_found_perfectly_scores_one_at_all_distances() -> None:
    pool = pool_of((truth(ROW), found(ROW)))
    assert [ap(pool, d) for d in DISTANCES] == [1.0] * 4
    errors = scores.box_errors(pool, VEHICLE, 0.0)
    assert errors["matches"] == 4
    for name in ("centre", "velocity", "heading", "reversed", "size"):
        assert errors[name] == pytest.approx(0.0, abs=1e-9)
    point = scores.operating_point(scores.outcomes(pool, VEHICLE))
    assert (point.score, point.precision, point.recall) == (0.9, 1.0, 1.0)


def test_shifted_detections_match_from_the_distance_they_are_shifted_by() -> None:
    moved = np.add(ROW, (0.0, 1.5))
    pool = pool_of((truth(ROW), found(moved)))
    assert [ap(pool, d) for d in DISTANCES] == [0.0, 0.0, 1.0, 1.0]
    assert scores.box_errors(pool, VEHICLE, 0.0)["centre"] == pytest.approx(1.5)


def test_half_missed_is_half_and_nothing_is_none() -> None:
    assert ap(pool_of((truth(ROW), found(ROW[:2])))) == pytest.approx(0.5)
    assert ap(pool_of((truth(ROW), found([])))) == 0.0
    assert math.isnan(ap(pool_of((truth([]), found(ROW)))))


def test_doubles_cost_precision() -> None:
    doubles = pool_of((truth(ROW), found(ROW + ROW, score=[0.9] * 4 + [0.5] * 4)))
    assert ap(doubles) == 1.0  # behind all that are right
    first = pool_of((truth(ROW), found([ROW[0], *ROW], score=[0.95, 0.9, 0.8, 0.7, 0.6])))
    # precisions at the four hits: 1, 2/3, 3/4, 4/5, and straight lines between them
    assert 0.7 < ap(first) < 0.85
    point = scores.operating_point(scores.outcomes(doubles, VEHICLE))
    assert point.precision == 1.0 and point.score == 0.9


def test_what_matches_only_a_hidden_object_counts_neither_way() -> None:
    seen, hidden = truth(ROW[:2]), truth(ROW[2:], visible=False)
    both = MomentTruth(*(np.concatenate(p) for p in zip(*map(_parts, (seen, hidden)))))
    pool = pool_of((both, found(ROW)))
    assert ap(pool) == 1.0
    assert (pool.partner[:, 2:] == IGNORED).all()
    assert ap(pool_of((both, found(ROW[:2])))) == 1.0  # and nobody has to find them
    beside = pool_of((both, found([*ROW, (25.0, 5.0)], score=0.95)))
    assert ap(beside) < 1.0


def _parts(moment: MomentTruth):
    return [getattr(moment, f.name) for f in dataclasses.fields(moment)]


def test_visible_objects_are_offered_before_hidden_ones() -> None:
    both = MomentTruth(
        *(np.concatenate(p) for p in zip(
            _parts(truth([(10.0, 0.0)])), _parts(truth([(10.0, 1.0)], visible=False))
        ))
    )  # fmt: skip
    assert ap(pool_of((both, found([(10.0, 0.9)])))) == 1.0


def test_beyond_the_grid_is_not_judged() -> None:
    beyond = (GRID.x_max + 0.3, 0.0)
    pool = pool_of((truth([ROW[0], beyond]), found([ROW[0], (GRID.x_max - 0.2, 0.0)])))
    assert ap(pool) == 1.0


def test_classes_and_moments_do_not_mix() -> None:
    other = pool_of((truth(ROW), found(ROW, label=PEDESTRIAN)))
    assert ap(other) == 0.0 and math.isnan(ap(other, label=PEDESTRIAN))
    crossed = pool_of((truth(ROW), found([])), (truth([]), found(ROW)))
    assert ap(crossed) == 0.0


def test_bands_and_sectors_hold_their_own_alone() -> None:
    pool = pool_of((truth(ROW), found([*ROW[:2], (30.0, -20.0)])))
    in_bands = [ap(pool, region=band) for band in scores.BANDS]
    assert in_bands[0] == 1.0 and in_bands[1:] == [0.0, 0.0]
    sides = [(5.0, 20.0), (20.0, 1.0), (5.0, -20.0)]
    pool = pool_of((truth(sides), found(sides[1:])))
    assert [ap(pool, region=sector) for sector in scores.SECTORS] == [0.0, 1.0, 1.0]
    # over the border of two bands: right, and false in neither
    edge = pool_of((truth([(15.9, 0.0)]), found([(16.2, 0.0)])))
    assert ap(edge, region=scores.BANDS[0]) == 1.0
    assert not len(scores.outcomes(edge, VEHICLE, region=scores.BANDS[1]).hit)


def test_average_precision_is_that_of_the_reference_without_its_cuts() -> None:
    rng = np.random.default_rng(3)
    moments = []
    for _ in range(19):  # 209 objects: no recall of a whole percent but 0 and 1
        places = rng.uniform((-3.0, -25.0), (47.0, 25.0), (11, 2))
        kept = places[rng.random(11) < 0.8] + rng.normal(0.0, 0.6, 2)
        false = rng.uniform((-3.0, -25.0), (47.0, 25.0), (5, 2))
        seen = np.concatenate([kept, false])
        moments.append((truth(places), found(seen, score=rng.random(len(seen)))))
    pool = pool_of(*moments)
    plain = DetectionBenchmark(
        "plain", (DetectionClass("vehicle"),), min_recall=0.0, min_precision=0.0
    )
    for k, distance in enumerate(DISTANCES):
        curve = detection_curve(pool.truth, pool.found, pool.partner[k])
        assert ap(pool, distance) == pytest.approx(reference_precision(curve, plain), abs=1e-6)
    assert ap(pool, 0.5) < ap(pool, 1.0) < ap(pool, 4.0)


def test_errors_are_those_that_were_put_in() -> None:
    places = [(8.0, 0.0), (20.0, 5.0), (40.0, 0.0)]
    off = np.add(places, (0.3, 0.4))
    wrong = found(off, yaw=[0.1, np.pi - 0.1, 0.1], vx=[6.0, 4.0, 50.0], length=[9.0, 4.5, 4.5])
    errors = scores.box_errors(pool_of((truth(places), wrong)), VEHICLE, 0.0)
    assert errors["centre"] == pytest.approx(0.5)
    assert errors["velocity"] == errors["velocity_moving"] == pytest.approx(1.0)  # within 32 m
    assert errors["heading"] == pytest.approx((0.2 + np.pi - 0.1) / 3.0)
    assert errors["reversed"] == pytest.approx(1.0 / 3.0)
    assert errors["size"] == pytest.approx(0.5 / 3.0)
    standing = truth(places, velocity=(0.0, 0.0))
    errors = scores.box_errors(pool_of((standing, found(places, vx=0.4))), VEHICLE, 0.0)
    assert errors["velocity"] == pytest.approx(0.4) and math.isnan(errors["velocity_moving"])


def test_believed_spreads_of_the_right_size_hold_68_and_95_percent() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform((0.0, -20.0), (30.0, 20.0), (1500, 1, 2))
    moments = [(truth(p), found(p + rng.normal(0.0, 0.3, (1, 2)), std=0.3)) for p in places]
    errors = scores.box_errors(pool_of(*moments), VEHICLE, 0.0)
    assert errors["position_within_1_std"] == pytest.approx(0.683, abs=0.03)
    assert errors["position_within_2_std"] == pytest.approx(0.954, abs=0.015)
    assert errors["velocity_within_1_std"] == 1.0  # nothing was wrong


def test_weights_count_drives_as_if_they_were_there_more_often() -> None:
    good = drive_objects([truth(ROW)], [found(ROW)], GRID)
    bad = drive_objects([truth(ROW)], [found(ROW[:1], score=0.5)], GRID)
    outcomes = scores.outcomes(pooled([good, bad]), VEHICLE)
    twice = scores.outcomes(pooled([good, bad, bad]), VEHICLE)
    weighted = scores.average_precision(outcomes, np.array([1.0, 2.0]))
    assert weighted == pytest.approx(scores.average_precision(twice))
    only = np.array([False, True])
    assert ap(pooled([good, bad]), drives=only) == pytest.approx(0.25)


def test_intervals_hold_the_mean_and_are_not_made_of_few_drives() -> None:
    rng = np.random.default_rng(1)
    drives = []
    for _ in range(12):
        kept = [p for p in ROW * 2 if rng.random() < 0.7]
        moments = [truth(ROW), truth(ROW)]
        drives.append(drive_objects(moments, [found(kept[:4]), found(kept[4:])], GRID))
    outcomes = scores.outcomes(pooled(drives), VEHICLE)
    low, high = scores.precision_interval(outcomes, scores.draws(12, 200))
    assert low < scores.average_precision(outcomes) < high < low + 0.5
    few = scores.outcomes(pooled(drives[:3]), VEHICLE)
    assert math.isnan(scores.precision_interval(few, scores.draws(3, 200))[0])


def test_nuscenes_rules_on_our_classes() -> None:
    both = MomentTruth(
        *(np.concatenate(p) for p in zip(
            _parts(truth(ROW)), _parts(truth([(12.0, -5.0)], visible=False))
        ))
    )  # fmt: skip
    metrics = scores.nuscenes_metrics(pool_of((both, found([*ROW, (12.0, -5.0)]))))
    assert metrics is not None
    assert metrics.mean_ap == pytest.approx(1.0) and metrics.nds == pytest.approx(1.0)
    assert math.isnan(metrics.mean_dist_aps["pedestrian"])  # none there: left out
    assert scores.nuscenes_metrics(pool_of((truth([]), found(ROW)))) is None


def test_labels_and_detections_must_be_of_the_same_moments() -> None:
    with pytest.raises(RoadloopError, match="1 moments of labels, 2 of detections"):
        drive_objects([truth(ROW)], [found(ROW), found(ROW)], GRID)
