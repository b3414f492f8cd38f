"""The tracker on detections whose truth is known: who, where, how fast, and for how long."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from perception import kalman
from perception.association import overlapping
from perception.camera_errors import CameraErrors, MadeUpDetector
from perception.detector_config import RasterLayer
from perception.percept import LightHeads, Percept
from perception.tracker import MultiObjectTracker
from perception.tracker_config import TrackerConfig
from perception.tracking_score import TrackingScore, detections_as_tracks
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, Detections, EgoState, Tracks

Array = np.ndarray

CAR, WALKER = AgentKind.CAR, AgentKind.PEDESTRIAN
DT = 0.1
SIZES = {CAR: (4.5, 1.8, 1.5), WALKER: (0.6, 0.6, 1.7), AgentKind.CYCLIST: (1.8, 0.6, 1.7)}
SIZES |= {AgentKind.TRUCK: (10.0, 2.5, 3.5), AgentKind.STATIC: (0.4, 0.4, 0.8)}
_ZERO = np.zeros(())
EGO = EgoState(_ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)


def users(*rows: tuple[float, ...]) -> AgentStates:
    """Road users of rows (kind, x, y[, vx[, vy[, heading]]])."""
    full = [(*row, *(0.0,) * (6 - len(row))) for row in rows]
    kind = np.array([row[0] for row in full], np.uint8)
    x, y, vx, vy, heading = np.array([row[1:] for row in full], np.float64).reshape(-1, 5).T
    size = np.array([SIZES[AgentKind(k)] for k in kind]).reshape(-1, 3)
    return AgentStates(
        id=np.arange(len(full)),
        kind=kind,
        x=x,
        y=y,
        z=np.zeros(len(full)),
        heading=heading,
        vx=vx,
        vy=vy,
        length=size[:, 0],
        width=size[:, 1],
        height=size[:, 2],
        valid=np.ones(len(full), bool),
    )


def percept(
    boxes: AgentStates, step: float, score: Array | float = 0.8, std: float = 0.5
) -> Percept:
    """What a detector says at ``step * DT``; the ego stands at the origin."""
    n = len(boxes.x)
    none = np.zeros(0)
    lights = LightHeads(np.zeros(0, np.int64), none, none, none, none, none, np.zeros((0, 4)))
    return Percept(
        detections=Detections(boxes, np.broadcast_to(np.asarray(score, np.float64), n)),
        position_std=np.full(n, std),
        velocity_std=np.full(n, 1.0),
        raster=np.zeros((len(RasterLayer), 0, 0), np.float32),
        lane=np.zeros((3, 0, 0), np.float32),
        lights=lights,
        world_from_ego=np.eye(4),
        time=step * DT,
    )


def noisy(boxes: AgentStates, rng: np.random.Generator, std: float = 0.5) -> AgentStates:
    """The boxes with white errors: ``std`` m, 1 m/s, 0.1 rad."""
    n = len(boxes.x)
    return dataclasses.replace(
        boxes,
        x=boxes.x + std * rng.standard_normal(n),
        y=boxes.y + std * rng.standard_normal(n),
        vx=boxes.vx + rng.standard_normal(n),
        vy=boxes.vy + rng.standard_normal(n),
        heading=boxes.heading + 0.1 * rng.standard_normal(n),
    )


def followed(
    tracker: MultiObjectTracker, steps: int, seen: bool = True, start: int = 0
) -> list[Tracks]:
    """Tracks of a car driving at 8 m/s from x = 10 (at step 0), ``seen`` or not."""
    out = []
    for k in range(start, start + steps):
        boxes = users((CAR, 10.0 + 0.8 * k, 3.0, 8.0)) if seen else users()
        out.append(tracker.update(percept(boxes, k), EGO))
    return out


# --- who is there ---------------------------------------------------------------------------------


def test_a_track_is_born_survives_misses_and_ends() -> None:
    tracker = MultiObjectTracker()
    before = followed(tracker, 15)
    first = [len(t.states.x) for t in before].index(1)
    assert first == 0  # near and sure
    assert before[-1].states.id.tolist() == [1]
    assert before[-1].age.tolist() == [14]
    gone = followed(tracker, 12, seen=False, start=15)
    alive = [len(t.states.x) for t in gone]
    assert 5 <= sum(alive) <= 10
    assert alive == sorted(alive, reverse=True)
    held = [t for t in gone if len(t.states.x)]
    assert np.allclose([t.states.x[0] for t in held], 22.0 + 0.8 * np.arange(len(held)), atol=0.5)
    std = np.array([t.position_std[0] for t in held])
    assert (np.diff(std) > 0.0).all()
    again = followed(tracker, 3, start=27)
    assert again[-1].states.id.tolist() == [2]  # an id is never used twice


def test_a_short_track_outlives_two_misses_all_the_same() -> None:
    tracker = MultiObjectTracker()
    car = users((CAR, 30.0, 0.0))
    for k in range(4):
        tracks = tracker.update(percept(car, k, score=0.45), EGO)
    assert tracks.states.id.tolist() == [1]
    for k in (4, 5):
        assert tracker.update(percept(users(), k), EGO).states.id.tolist() == [1]
    assert tracker.update(percept(car, 6, score=0.45), EGO).states.id.tolist() == [1]


def test_false_alarms_do_not_become_tracks() -> None:
    rng = np.random.default_rng(0)
    tracker = MultiObjectTracker()
    for k in range(120):
        places = rng.uniform((3.0, -20.0), (40.0, 20.0), (2, 2))
        found = users(*((CAR, x, y) for x, y in places))
        tracks = tracker.update(
            percept(found, k, score=np.minimum(rng.beta(2.0, 8.0, 2), 0.6)), EGO
        )
        assert len(tracks.states.x) == 0
    # not even in one place, at scores that say nothing
    for k in range(120, 150):
        tracks = tracker.update(percept(users((CAR, 20.0, 0.0)), k, score=0.18), EGO)
    assert len(tracks.states.x) == 0


def test_weak_detections_hold_a_track_that_they_could_not_start() -> None:
    tracker = MultiObjectTracker(TrackerConfig(birth_score=0.3))
    car = users((CAR, 25.0, 0.0))
    for k in range(10):
        tracker.update(percept(car, k, score=0.9), EGO)
    for k in range(10, 40):
        tracks = tracker.update(percept(car, k, score=0.25), EGO)
    assert tracks.states.id.tolist() == [1]
    assert 0.2 < tracker.score[0] < 0.9
    assert tracker.existence[0] > 0.9


def test_far_ones_wait_for_a_third_detection() -> None:
    tracker = MultiObjectTracker()
    car = users((CAR, 40.0, 0.0))
    shown = [len(tracker.update(percept(car, k, score=0.8), EGO).states.x) for k in range(4)]
    assert shown == [0, 0, 1, 1]


def test_out_of_view_is_carried_on_for_a_second() -> None:
    tracker = MultiObjectTracker()
    # overtaken: it leaves the grid backwards
    for k in range(30):
        boxes = users((CAR, 12.0 - 0.5 * k, 4.0, -5.0))
        tracks = tracker.update(percept(boxes if 12.0 - 0.5 * k > 1.0 else users(), k), EGO)
    lost = 23  # the first step without a detection
    alive = {}
    for k in range(30, 40):
        alive[k] = len(tracker.update(percept(users(), k), EGO).states.x)
    assert len(tracks.states.x) == 1
    assert alive[lost + 8] == 1
    assert alive[lost + 11] == 0


def test_a_standing_car_behind_a_truck_is_remembered() -> None:
    tracker = MultiObjectTracker()
    rng = np.random.default_rng(1)
    parked = (CAR, 30.0, 6.0)
    for k in range(20):
        tracker.update(percept(noisy(users(parked), rng, 0.2), k), EGO)
    truck = (AgentKind.TRUCK, 16.0, 3.4)
    for k in range(20, 60):
        tracks = tracker.update(percept(noisy(users(truck), rng, 0.1), k), EGO)
    assert sorted(tracks.states.kind.tolist()) == [CAR, AgentKind.TRUCK]
    # the truck leaves, and nobody is there
    for k in range(60, 75):
        tracks = tracker.update(percept(users(), k), EGO)
    assert CAR not in tracks.states.kind.tolist()


def test_two_boxes_of_one_truck_are_one_track_and_two_people_are_two() -> None:
    tracker = MultiObjectTracker()
    for k in range(10):
        found = users(
            (AgentKind.TRUCK, 20.0, 5.0),
            (AgentKind.TRUCK, 22.0, 5.2),
            (WALKER, 15.0, -5.0),
            (WALKER, 15.0, -5.3),
        )
        tracks = tracker.update(
            percept(found, k, score=np.array([0.9, 0.5, 0.8, 0.7]), std=0.2), EGO
        )
    assert sorted(tracks.states.kind.tolist()) == [AgentKind.TRUCK, WALKER, WALKER]
    assert len(set(tracks.states.id.tolist())) == 3


def test_the_egos_own_bonnet_is_nobody() -> None:
    tracker = MultiObjectTracker()
    for k in range(5):
        tracks = tracker.update(percept(users((CAR, 1.5, 0.2)), k), EGO)
    assert len(tracks.states.x) == 0


# --- where, how fast, which way -------------------------------------------------------------------


def test_velocity_and_position_are_better_than_the_detections() -> None:
    rng = np.random.default_rng(0)
    tracker = MultiObjectTracker()
    off, ids = [], set()
    for k in range(60):
        truth = users((CAR, 10.0 + 0.5 * k, 3.0, 5.0), (WALKER, 20.0, -10.0 + 0.13 * k, 0.0, 1.3))
        tracks = tracker.update(percept(noisy(truth, rng), k), EGO)
        if k >= 15:
            s = tracks.states
            assert s.kind.tolist() == [CAR, WALKER]
            ids |= set(s.id.tolist())
            off.append((s.x - truth.x, s.y - truth.y, s.vx - truth.vx, s.vy - truth.vy))
    rms = np.sqrt((np.array(off) ** 2).mean(axis=0))  # (x y vx vy, user)
    assert len(ids) == 2
    assert (rms[:2] < 0.3).all()  # of 0.5 m
    assert (rms[2:] < 0.45).all()  # of 1 m/s


def test_who_stands_stands_still_and_is_seen_to_start() -> None:
    rng = np.random.default_rng(2)
    tracker = MultiObjectTracker()

    def told(k: int, x: float, vx: float) -> AgentStates:
        truth = users((CAR, x, 4.0, vx), (WALKER, 12.0, -6.0))
        states = tracker.update(percept(noisy(truth, rng), k), EGO).states
        assert k < 5 or sorted(states.kind.tolist()) == [CAR, WALKER]
        return states

    still = np.array([told(k, 20.0, 0.0).speed for k in range(120)][30:])
    assert (still == 0.0).mean() > 0.97
    # the car drives off at 2 m/s^2
    delay = None
    for k in range(120, 160):
        t = (k - 120) * DT
        states = told(k, 20.0 + t * t, 2.0 * t)
        car = states.kind.tolist().index(CAR)
        if delay is None and states.speed[car] > 0.2:
            delay = t
    assert delay is not None
    assert delay <= 1.3
    assert states.vx[car] == pytest.approx(7.8, abs=0.9)


def test_obstacles_never_move() -> None:
    rng = np.random.default_rng(3)
    tracker = MultiObjectTracker()
    for k in range(40):
        found = noisy(users((AgentKind.STATIC, 15.0, 0.0)), rng, 0.3)
        tracks = tracker.update(percept(found, k), EGO)
    assert tracks.states.speed.tolist() == [0.0]


def test_headings_do_not_flip() -> None:
    rng = np.random.default_rng(4)
    tracker = MultiObjectTracker()
    for k in range(60):
        found = noisy(users((CAR, 20.0, 4.0, 0.0, 0.0, 0.5)), rng, 0.2)
        flip = np.pi * (rng.random(1) < 0.25) * (k > 0)
        found = dataclasses.replace(found, heading=found.heading + flip)
        tracks = tracker.update(percept(found, k), EGO)
        if len(tracks.states.x):
            assert abs(tracks.states.heading[0] - 0.5) < 0.4
    assert tracks.states.heading[0] == pytest.approx(0.5, abs=0.1)


def test_the_direction_of_travel_turns_a_heading_round() -> None:
    tracker = MultiObjectTracker()
    for k in range(30):
        found = users((CAR, 10.0 + 0.8 * k, 3.0, 8.0, 0.0, np.pi))  # always backwards
        tracks = tracker.update(percept(found, k), EGO)
    assert tracks.states.heading[0] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_the_front_of_who_crosses_is_where_it_goes(turn: float) -> None:
    """Whatever the detector says, and however sure: across the ego's way it cannot tell."""
    tracker = MultiObjectTracker()
    c, s = np.cos(turn), np.sin(turn)
    pose = np.eye(4)
    pose[:2, :2] = [[c, -s], [s, c]]
    for k in range(4):
        x, y = 15.0, -6.0 + 0.6 * k
        row = (CAR, c * x - s * y, s * x + c * y, -6.0 * s, 6.0 * c, turn - np.pi / 2.0)
        seen = dataclasses.replace(percept(users(row), k, 0.9), world_from_ego=pose)
        tracks = tracker.update(seen, EGO)
    assert abs(np.angle(np.exp(1j * (tracks.states.heading[0] - turn - np.pi / 2.0)))) < 0.1


def test_a_turning_car_is_carried_on_round_the_bend() -> None:
    rng = np.random.default_rng(5)
    tracker = MultiObjectTracker()
    radius, speed = 12.0, 6.0

    def at_step(k: int) -> AgentStates:
        angle = speed / radius * k * DT
        x, y = 15.0 + radius * np.sin(angle), -5.0 + radius * (1.0 - np.cos(angle))
        return users((CAR, x, y, speed * np.cos(angle), speed * np.sin(angle), angle))

    for k in range(25):
        tracker.update(percept(noisy(at_step(k), rng, 0.2), k, std=0.2), EGO)
    for k in range(25, 31):
        tracks = tracker.update(percept(users(), k), EGO)
    truth = at_step(30)
    assert np.hypot(tracks.states.x - truth.x, tracks.states.y - truth.y)[0] < 0.9
    assert abs(tracks.states.heading[0] - truth.heading[0]) < 0.3


def test_oncoming_cars_do_not_swap() -> None:
    rng = np.random.default_rng(6)
    tracker = MultiObjectTracker()
    for k in range(50):
        truth = users((CAR, 5.0 + 0.8 * k, 0.0, 8.0), (CAR, 45.0 - 0.8 * k, 3.2, -8.0, 0.0, np.pi))
        tracks = tracker.update(percept(noisy(truth, rng, 0.4), k), EGO)
        if k == 10:
            ahead = dict(zip(tracks.states.id.tolist(), tracks.states.vx > 0.0, strict=True))
    assert dict(zip(tracks.states.id.tolist(), tracks.states.vx > 0.0, strict=True)) == ahead


def test_sizes_shrink_slowly_and_kinds_are_voted_for() -> None:
    tracker = MultiObjectTracker()
    for k in range(20):
        found = users((CAR, 20.0, 0.0), (AgentKind.CYCLIST if k % 4 else WALKER, 20.0, 8.0))
        found = dataclasses.replace(found, length=np.where([k > 10, False], 2.0, found.length))
        tracks = tracker.update(percept(found, k), EGO)
    assert tracks.states.kind.tolist() == [CAR, AgentKind.CYCLIST]
    assert 4.2 < tracks.states.length[0] < 4.5


def test_moments_need_not_be_even() -> None:
    tracker = MultiObjectTracker()
    when = np.cumsum([0.0, 1.0, 1.0, 3.0, 0.5, 2.0, 1.0, 5.0, 1.0, 1.0])
    for step in when:
        tracks = tracker.update(percept(users((CAR, 10.0 + 0.8 * step, 3.0, 8.0)), step), EGO)
    assert tracks.states.id.tolist() == [1]
    assert tracks.states.x[0] == pytest.approx(10.0 + 0.8 * when[-1], abs=0.1)


def test_overlapping_pairs_are_those_whose_boxes_share_enough() -> None:
    boxes = users(
        (CAR, 0.0, 0.0),
        (CAR, 2.0, 0.3),  # shares (2.5 * 1.5) / (4.5 * 1.8) = 46 % with the first
        (CAR, 0.0, 2.5),
        (CAR, 0.0, -1.9, 0.0, 0.0, np.pi / 2.0),
        (CAR, 50.0, 0.0),
    )
    assert np.stack(overlapping(boxes, 0.45), axis=1).tolist() == [[0, 1]]
    assert np.stack(overlapping(boxes, 0.47), axis=1).tolist() == []
    assert [0, 3] in np.stack(overlapping(boxes, 0.2), axis=1).tolist()


# --- the filter itself ----------------------------------------------------------------------------


def test_the_moving_model_stays_on_its_circle() -> None:
    z, noise = np.array([[10.0, 0.0, 0.0, 5.0]]), 0.01 * np.eye(4)[None]
    filters = kalman.born(z, noise)
    turn, one = np.array([0.5]), np.ones(1)
    motion = kalman.Motion(turn, np.zeros(1), one, one, np.zeros(1, bool))
    for _ in range(20):
        filters = kalman.predict(filters, motion, 0.1, 0.0, 0.0)
    x, y, vx, vy = filters.mean[0, kalman.MOVING]
    assert np.hypot(x, y) == pytest.approx(10.0)
    assert np.arctan2(y, x) == pytest.approx(1.0)
    assert (vx, vy) == pytest.approx((-5.0 * np.sin(1.0), 5.0 * np.cos(1.0)))


def test_covariances_stay_positive_and_chances_sum_to_one() -> None:
    rng = np.random.default_rng(7)
    n = 5
    noise = np.repeat(np.diag([0.3, 0.2, 1.0, 1.0])[None], n, axis=0)
    filters = kalman.born(rng.normal(0.0, 3.0, (n, 4)), noise)
    motion = kalman.Motion(np.zeros(n), np.zeros(n), np.ones(n), np.ones(n), np.zeros(n, bool))
    for _ in range(50):
        filters = kalman.predict(filters, motion, 0.1, 0.1, 0.1)
        filters = kalman.update(filters, rng.normal(0.0, 3.0, (n, 4)), noise)
        assert np.allclose(filters.chance.sum(axis=1), 1.0)
        assert (np.linalg.eigvalsh(filters.cov) > 0.0).all()
    _, cov = kalman.combined(filters)
    assert np.allclose(cov, np.swapaxes(cov, -1, -2))


# --- the whole on a made-up detector --------------------------------------------------------------


def test_a_made_up_detector_is_followed_and_bettered() -> None:
    detector, tracker = MadeUpDetector(seed=0), MultiObjectTracker()
    before, after, first = TrackingScore(), TrackingScore(), 1
    for k in range(100):
        truth = users(
            (CAR, 12.0 + 0.3 * k, 0.0, 3.0),
            (CAR, 45.0 - 0.4 * k, 3.5, -4.0, 0.0, np.pi),
            (CAR, 25.0, -6.0),
            (WALKER, 18.0, 12.0 - 0.13 * k, 0.0, -1.3, -np.pi / 2.0),
        )
        visible = detector.visible(truth, EGO)
        seen = detector.percept(truth, EGO, k * DT)
        boxes = seen.detections.boxes
        loose = detections_as_tracks(boxes, seen.position_std, first)
        first += len(boxes.x)
        before.add(k * DT, truth, loose, seen.detections.score, visible)
        tracks = tracker.update(seen, EGO)
        after.add(k * DT, truth, tracks, tracker.score, visible)
    report, raw = after.report(), before.errors()
    assert report.total("ids") <= 1
    assert report.total("mota") > 0.85
    assert report.metrics.value("amota") > 0.8
    assert report.errors.velocity < 0.6 * raw.velocity
    assert report.errors.position < 0.85 * raw.position
    assert report.errors.heading < 0.5 * raw.heading
    assert report.errors.turned == 0.0


def test_a_made_up_detector_misses_hidden_ones_and_scatters_as_told() -> None:
    errors = CameraErrors(false_alarms=0.0, miss=0.2, flip=0.0)
    detector = MadeUpDetector(errors, seed=0)
    truth = users(
        (AgentKind.TRUCK, 15.0, 0.0), (CAR, 30.0, 0.0), (CAR, 20.0, 10.0), (CAR, -9.0, 0.0)
    )
    assert detector.visible(truth, EGO).tolist() == [True, False, True, False]
    found = [detector.percept(truth, EGO, k * 10.0) for k in range(200)]
    assert sum(len(p.position_std) for p in found) / 400.0 == pytest.approx(0.8, abs=0.06)
    near = np.concatenate([p.detections.boxes.vx for p in found])
    assert near.std() == pytest.approx(1.0, abs=0.12)
    score = np.concatenate([p.detections.score for p in found])
    assert (np.diff(found[0].detections.score) <= 0.0).all()
    assert ((score > 0.0) & (score < 1.0)).all()


def test_the_same_percepts_give_the_same_bytes() -> None:
    def run(tracker: MultiObjectTracker) -> bytes:
        detector, out = MadeUpDetector(seed=1), b""
        for k in range(20):
            truth = users((CAR, 12.0 + 0.3 * k, 0.0, 3.0), (WALKER, 18.0, 5.0))
            tracks = tracker.update(detector.percept(truth, EGO, k * DT), EGO)
            for f in dataclasses.fields(tracks.states):
                out += getattr(tracks.states, f.name).tobytes()
            out += tracks.position_std.tobytes() + tracks.age.tobytes()
        return out

    tracker = MultiObjectTracker()
    first = run(tracker)
    tracker.reset()
    assert run(tracker) == first == run(MultiObjectTracker())


# --- bad input ------------------------------------------------------------------------------------


def test_bad_input_is_named() -> None:
    tracker = MultiObjectTracker()
    tracker.update(percept(users(), 1), EGO)
    with pytest.raises(RoadloopError, match=r"call reset\(\) before"):
        tracker.update(percept(users(), 1), EGO)
    broken = dataclasses.replace(users((CAR, 10.0, 0.0)), vx=np.array([np.nan]))
    with pytest.raises(RoadloopError, match=r"detection 0 .* not finite"):
        tracker.update(percept(broken, 2), EGO)
    with pytest.raises(RoadloopError, match="gate is nan"):
        TrackerConfig(gate=float("nan"))
    with pytest.raises(RoadloopError, match="share below 1"):
        TrackerConfig(strong_score=1.5)
    with pytest.raises(RoadloopError, match="rising order"):
        TrackerConfig(moving_chance=0.9)
