"""The reference drivers of UN R157: what they see, how they brake, and that they can drive."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from hypothesis import given, settings
from hypothesis import strategies as st
from test_controllers import DT, LaggedBicycle
from test_planner import Actor, tracks_of

from planning.controllers import TrackingController
from planning.r157 import (
    MODELS,
    Encounter,
    attentive,
    critical_fuzzy,
    cut_in,
    following_distance,
    must_avoid_cut_in,
    proactive_fuzzy,
    react,
    unsafe,
)
from planning.r157_driver import R157Driver
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners, boxes_overlap
from roadloop.types import Route, Scenario

FEW = settings(max_examples=40, derandomize=True, deadline=None)
ALL = sorted(MODELS)


# --- the models ---------------------------------------------------------------------------------


def meeting(**changes) -> Encounter:
    """A car in the lane, 20 m ahead, at 10 m/s; the ego at 20 m/s: 2 s to the collision."""
    usual = dict(
        ahead=24.3, lengths=8.6, lateral_gap=-0.5, ego_speed=20.0, ego_acceleration=0.0,
        other_speed=10.0, towards=0.0,
    )  # fmt: skip
    return Encounter(**(usual | changes))


def test_the_careful_driver_needs_overlap_and_two_seconds():
    assert unsafe("CC", meeting(ahead=24.2))[0]
    assert not unsafe("CC", meeting(ahead=24.4))[0]
    assert not unsafe("CC", meeting(lateral_gap=0.01))[0]
    assert not unsafe("CC", meeting(ahead=-1.0))[0]


def test_the_requirement_sees_half_a_metre_aside():
    bound = 10.0 / 12.0 + 0.45
    near, far = 4.3 + 10.0 * (bound - 0.01), 4.3 + 10.0 * (bound + 0.01)
    assert unsafe("Reg157", meeting(ahead=near, lateral_gap=0.5))[0]
    assert not unsafe("Reg157", meeting(ahead=far, lateral_gap=0.5))[0]
    assert not unsafe("Reg157", meeting(ahead=near, lateral_gap=0.51))[0]


@pytest.mark.parametrize("model", ["CC", "Reg157"])
def test_the_reference_fears_who_drives_away_and_the_corrected_form_does_not(model):
    leaving = meeting(ahead=5.0, ego_speed=9.0, other_speed=10.0, lateral_gap=-1.0)
    assert unsafe("CC", leaving)[0]
    assert not unsafe(model, leaving, closing_only=True)[0]
    assert unsafe(model, meeting(ahead=10.0), closing_only=True)[0]


def test_rss_fears_who_comes_sideways_fast_earlier():
    aside = np.array([0.8, 1.0, 1.5, 2.8])
    still = unsafe("RSS", meeting(lateral_gap=aside))[0]
    coming = unsafe("RSS", meeting(lateral_gap=aside, towards=1.0))[0]
    assert still.tolist() == [True, False, False, False]
    assert coming.tolist() == [True, True, True, True]


def test_fsm_waits_for_who_comes_too_late_and_brakes_gently_first():
    assert not unsafe("FSM", meeting(lateral_gap=2.0, towards=0.1))[0]
    assert unsafe("FSM", meeting(lateral_gap=2.0, towards=1.0))[0]
    assert not unsafe("FSM", meeting(lateral_gap=2.0, towards=-1.0))[0]
    risk, demand = unsafe("FSM", meeting(ahead=4.3 + np.array([5.0, 25.0, 45.0, 80.0])))
    assert risk.tolist() == [True, True, True, False]
    assert demand[0] == 6.0
    assert (np.diff(demand) < 0.0).all()


@FEW
@given(st.floats(0.0, 120.0), st.floats(0.0, 36.0), st.floats(0.0, 36.0), st.floats(-6.0, 2.0))
def test_fuzzy_values_are_shares_that_fall_with_the_gap(gap, ego, other, acceleration):
    gaps = gap + np.array([0.0, 3.0])
    for value in (
        proactive_fuzzy(gaps, ego, other, 0.75),
        critical_fuzzy(gaps, ego, other, 0.75, acceleration),
    ):
        assert ((value >= 0.0) & (value <= 1.0)).all()
        assert value[1] <= value[0]


@pytest.mark.parametrize(("model", "steps", "release"), [
    ("CC", 8, 0.4), ("FSM", 8, 0.0), ("RSS", 8, 0.0), ("Reg157", 4, 0.0),
])  # fmt: skip
def test_reactions_take_their_time_and_then_build_up(model, steps, release):
    reaction, seen = attentive(model), []
    for _ in range(steps + 10):
        reaction, deceleration = react(model, reaction, np.inf)
        seen.append(float(deceleration))
    assert seen[:steps] == [release] * steps
    braking = np.array(seen[steps:])
    assert braking[-1] == MODELS[model].braking
    assert (np.diff([release, *braking]) <= MODELS[model].jerk * 0.1 + 1e-9).all()
    gentle, _ = react(model, reaction, 2.0)
    assert gentle.deceleration == 2.0


def test_the_comparison_in_one_batch_is_the_same_as_case_by_case():
    ego, other = np.array([16.0, 33.0]), np.array([5.0, 30.0])
    aside, gap = np.array([-1.2, -2.0]), np.array([25.0, 5.0])
    for model in ("CC", "FSM"):
        batch = cut_in(model, ego, other, aside, gap)
        for k in range(2):
            one = cut_in(model, ego[k], other[k], aside[k], gap[k])
            assert np.array_equal(one.speed[0], batch.speed[k])
            assert one.crash_type[0] == batch.crash_type[k]


@pytest.mark.parametrize("model", ALL)
def test_more_room_is_never_worse_in_the_comparison(model):
    """Once there is room enough not to crash, more of it does not make a crash of it."""
    gap = np.arange(2.0, 120.0, 2.0)
    crash = cut_in(model, 30.0, 15.0, -1.0, gap).crash
    assert crash.any() and not crash.all()
    assert not crash[np.flatnonzero(crash)[-1] + 1 :].any()
    assert crash[np.flatnonzero(crash)[0] : np.flatnonzero(crash)[-1] + 1].all()


def test_a_car_that_stays_beside_is_no_matter():
    for model in ALL:
        away = cut_in(model, 25.0, 15.0, 0.0, 30.0)
        assert not away.crash.any()
    assert (cut_in("CC", 25.0, 15.0, 0.0, 30.0).speed == 25.0).all()


def test_following_distance_and_what_must_be_avoided():
    kmh = np.array([0.0, 7.2, 10.0, 60.0, 120.0]) / 3.6
    wanted = [2.0, 2.0, 11.0 / 3.6, 96.0 / 3.6, 192.0 / 3.6]
    assert following_distance(kmh) == pytest.approx(wanted)
    assert must_avoid_cut_in(1.36, 12.0)
    assert not must_avoid_cut_in(1.34, 12.0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: attentive("human"), "no R157 driver model 'human'; there are CC, FSM"),
        (lambda: unsafe("cc", meeting()), "no R157 driver model 'cc'"),
        (lambda: cut_in("CC", -1.0, 5.0, -1.0, 20.0), "cut_in: speeds, lateral speed and front"),
        (lambda: cut_in("CC", 9.0, 5.0, np.nan, 20.0), "must be finite"),
        (lambda: R157Driver("CC", set_speed=0.0), "set_speed is 0.0: expected m/s above 0"),
        (lambda: R157Driver("IDM"), "no R157 driver model 'IDM'"),
        (lambda: R157Driver().plan(None, None), "call reset"),
    ],
)
def test_bad_input_is_said_in_one_line(broken, message):
    with pytest.raises(RoadloopError, match=message) as error:
        broken()
    assert "\n" not in str(error.value)


# --- the drivers --------------------------------------------------------------------------------

ROAD = HandMap(
    [
        HandLane(straight((0.0, 0.0), (1500.0, 0.0)), left=1, speed_limit=25.0),
        HandLane(straight((0.0, 3.5), (1500.0, 3.5)), number=-2, right=0, speed_limit=25.0),
    ]
).build()
START = 10.0


@dataclasses.dataclass
class Driven:
    speed: np.ndarray
    acceleration: np.ndarray
    hit: bool
    reasons: list[str]

    def brakes_at(self, deceleration: float = 1.0) -> float:
        """s from which it slows with at least that, inf for never."""
        hard = self.acceleration < -deceleration
        return float(np.argmax(hard) * DT) if hard.any() else np.inf


def drive(planner, actors: list[Actor], speed: float = 20.0, seconds: float = 8.0) -> Driven:
    """Closed loop of planner, controller and a bicycle with lags."""
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    car, controller = LaggedBicycle(START, 0.0, 0.0, speed), TrackingController()
    route = Route(np.array([0], np.int32), START, 1490.0)
    given = {"road_map": ROAD, "route": route, "ego": car.observe(0).ego}
    planner.reset(Scenario(**(unused | given)))
    log, reasons, hit = [], [], False
    for step in range(round(seconds / DT)):
        tracks = tracks_of(actors, step * DT)
        seen = dataclasses.replace(car.observe(step), tracks=tracks, lights=np.zeros(0, np.uint8))
        x, y = seen.ego.box_centre()
        a = tracks.states
        theirs = box_corners(a.x, a.y, a.heading, a.length, a.width)
        hit |= bool(boxes_overlap(box_corners(x, y, car.heading, 4.7, 1.9)[None], theirs).any())
        log.append((car.speed, car.acceleration))
        reasons.append(planner.reason)
        car.step(controller.control(seen, planner.plan(seen, tracks)), substeps=5)
    speeds, accelerations = np.array(log).T
    return Driven(speeds, accelerations, hit, reasons)


FRONT = START + 3.7 + 2.25
"""m: where the centre of a 4.5 m car is that touches the ego's front at the start"""


def cutter(gap: float, speed: float, start: float = 1.0, aside: float = 1.0) -> Actor:
    """From the left lane into the ego's."""

    def at(t):
        y = 3.5 - aside * np.clip(t - start, 0.0, 3.5 / aside)
        vy = -aside if start <= t < start + 3.5 / aside else 0.0
        return FRONT + gap + speed * t, y, 0.0, speed, vy

    return Actor(at)


def braking_leader(gap: float, speed: float, rate: float, start: float = 1.0) -> Actor:
    def at(t):
        braked = np.clip(t - start, 0.0, speed / rate)
        way = speed * (min(t, start) + braked) - 0.5 * rate * braked**2
        return FRONT + gap + way, 0.0, 0.0, speed - rate * braked, 0.0

    return Actor(at)


def cut_out(gap: float, speed: float, standing: float, start: float = 1.0) -> list[Actor]:
    """A leader that moves over to the left, and the standing car it was hiding."""

    def at(t):
        y = 1.5 * np.clip(t - start, 0.0, 3.5 / 1.5)
        vy = 1.5 if start <= t < start + 3.5 / 1.5 else 0.0
        return FRONT + gap + speed * t, y, 0.0, speed, vy

    return [Actor(at), Actor(lambda t: (FRONT + standing, 0.0, 0.0, 0.0, 0.0))]


@pytest.mark.parametrize("model", ["CC", "FSM"])
def test_a_free_road_is_driven_at_the_set_speed(model):
    free = drive(R157Driver(model), [], seconds=4.0)
    assert free.speed == pytest.approx(20.0, abs=0.1)
    faster = drive(R157Driver(model, set_speed=22.0), [], seconds=4.0)
    assert faster.speed[-1] == pytest.approx(22.0, abs=0.2)
    assert faster.acceleration.max() < 1.2
    from_rest = drive(R157Driver(model), [], speed=0.0, seconds=4.0)
    assert from_rest.speed[-1] > 2.0


def test_cars_that_touch_to_the_last_bit_do_so_as_in_the_reference():
    # 20 steps of 0.08 m bring the other from 1.6 m aside to where the sides meet; JRC-FSM sees it
    speed = cut_in("CC", 60 / 3.6, 55.67 / 3.6, -0.8, 0.0).speed[0]
    assert np.flatnonzero(np.diff(speed))[0] == 19
    assert speed[-1] == pytest.approx(16.62666666666667, abs=1e-12)


def test_a_released_pedal_does_not_end_at_a_standstill():
    speed = cut_in("CC", 1 / 3.6, 1 / 3.6, -0.5, 0.0).speed[0]
    assert speed[38:41] == pytest.approx([-0.0022222222222222, -0.0422222222222222, 0.0], abs=1e-12)


@pytest.mark.parametrize("model", ALL)
def test_a_cut_in_is_survived(model):
    there = drive(R157Driver(model), [cutter(40.0, 12.0)])
    assert not there.hit
    assert there.speed.min() < 13.0
    assert any("sees a risk in car 1" in reason for reason in there.reasons)


def test_the_careful_driver_brakes_later_and_harder_than_the_comfortable_one():
    cut = [cutter(40.0, 12.0)]
    careful, comfortable = drive(R157Driver("CC"), cut), drive(RouteFollower(), cut)
    assert not comfortable.hit
    assert careful.brakes_at() > comfortable.brakes_at() + 0.5
    assert careful.acceleration.min() < comfortable.acceleration.min() - 1.0


def test_fsm_brakes_first_and_gently():
    cut = [cutter(40.0, 12.0)]
    anticipating, careful = drive(R157Driver("FSM"), cut), drive(R157Driver("CC"), cut)
    assert anticipating.brakes_at() < careful.brakes_at()
    assert anticipating.acceleration.min() > careful.acceleration.min()


@pytest.mark.parametrize("model", ALL)
def test_a_leader_that_brakes_to_a_standstill_is_survived(model):
    there = drive(R157Driver(model), [braking_leader(34.0, 20.0, 5.0)], seconds=10.0)
    assert not there.hit
    assert there.speed.min() < 0.1


@pytest.mark.parametrize("model", ALL)
def test_a_car_revealed_by_a_cut_out_is_survived(model):
    there = drive(R157Driver(model), cut_out(34.0, 20.0, standing=110.0), seconds=10.0)
    assert not there.hit
    assert not any("car 2" in reason for reason in there.reasons[:12])  # hidden as yet
    assert there.speed.min() < 0.1


def test_nobody_survives_what_is_too_late():
    """A car that cuts in 2 m ahead at half the speed: 0.2 s."""
    assert drive(R157Driver("CC"), [cutter(8.0, 8.0, 0.0, 3.0)], seconds=5.0).hit


def test_after_an_encounter_the_driver_goes_back_to_its_speed():
    """The cutter is faster than the ego after two seconds and gone."""

    def at(t):
        y = 3.5 - np.clip(1.5 * t, 0.0, 3.5)
        way = 12.0 * t + 2.0 * np.maximum(t - 3.0, 0.0) ** 2
        return FRONT + 25.0 + way, y, 0.0, 12.0 + 4.0 * max(t - 3.0, 0.0), 0.0

    there = drive(R157Driver("RSS"), [Actor(at)], seconds=15.0)
    assert not there.hit
    assert there.speed.min() < 14.0
    assert there.speed[-1] > there.speed.min() + 3.0
    assert there.reasons[-1] == "free"


def test_a_slower_car_seen_from_afar_is_followed_gently():
    slow = Actor(lambda t: (FRONT + 150.0 + 12.0 * t, 0.0, 0.0, 12.0, 0.0))
    there = drive(R157Driver("CC"), [slow], seconds=25.0)
    assert not there.hit
    assert there.acceleration.min() > -1.5
    assert there.speed[-1] == pytest.approx(12.0, abs=1.0)
    assert not any("risk" in reason for reason in there.reasons)


def test_oncoming_traffic_and_neighbours_are_left_alone():
    others = [
        Actor(lambda t: (200.0 - 20.0 * t, 3.5, np.pi, -20.0, 0.0)),
        Actor(lambda t: (60.0 + 15.0 * t, 3.5, 0.0, 15.0, 0.0)),
    ]
    for model in ("FSM", "RSS"):
        there = drive(R157Driver(model), others, seconds=5.0)
        assert there.speed.min() > 19.8
