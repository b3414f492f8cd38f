"""RSS: the distances' physics, and what a whole drive's margins say on drives drawn by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.scoring.driven import Driven
from roadloop.scoring.rss import (
    EGO,
    OTHERS,
    RssParameters,
    safe_distance_lateral,
    safe_distance_opposite,
    safe_distance_same,
)
from roadloop.scoring.rss_margins import rss_margins, rss_score
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    Rollout,
    Route,
    VehicleParameters,
)

DT = 0.1
SPEED = st.floats(0.0, 40.0)
CAR = VehicleParameters()
FEW = settings(max_examples=40, derandomize=True, deadline=None)


def road(lanes_left: int = 0) -> RoadMap:
    """Lane 0 eastwards on y = 0; more of its direction to the left; then one that comes back."""
    lanes = [
        HandLane(
            straight((0.0, 3.5 * k), (500.0, 3.5 * k)),
            number=-1 - k,
            left=k + 1 if k < lanes_left else -1,
            right=k - 1,
        )
        for k in range(lanes_left + 1)
    ]
    y = 3.5 * (lanes_left + 1)
    return HandMap([*lanes, HandLane(straight((500.0, y), (0.0, y)), number=1)]).build()


def drive(
    ego: tuple[np.ndarray, np.ndarray, np.ndarray],
    others: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    road_map: RoadMap | None = None,
    kinds: list[AgentKind] | None = None,
) -> Driven:
    """Box centres: the ego's x, y, speed and each other's x, y, vx, vy, all ``(time,)``."""
    road_map = road() if road_map is None else road_map
    x, y, speed = (np.asarray(v, float) for v in ego)
    steps, count = len(x), len(others)
    zero = np.zeros(steps)
    heading = np.arctan2(np.gradient(y, DT), np.maximum(speed, 0.1)) * (speed > 0.1)
    table = np.array([[np.asarray(v, float) for v in other] for other in others])
    ax, ay, vx, vy = table.transpose(1, 2, 0) if count else np.zeros((4, steps, 0))
    facing = np.where(np.hypot(vx, vy) > 0.0, np.arctan2(vy, vx), 0.0)
    full = np.ones((steps, count))
    kind = np.array([AgentKind.CAR] * count if kinds is None else kinds, np.uint8)
    agents = AgentStates(
        id=(np.arange(count) + 1) * full.astype(np.int64),
        kind=kind * full.astype(np.uint8),
        x=ax, y=ay, z=0.0 * full, heading=facing, vx=vx, vy=vy,
        length=4.7 * full, width=1.9 * full, height=1.5 * full, valid=full.astype(bool),
    )  # fmt: skip
    d = CAR.centre_offset
    state = EgoState(
        x - d * np.cos(heading), y - d * np.sin(heading), zero, heading, speed, zero, zero, zero
    )
    rollout = Rollout(
        "by hand", "by hand", 0, "nobody", road_map.name, road_map.content_hash, DT,
        np.arange(steps) * DT, state, Control(zero, zero), agents,
        np.zeros((steps, 0), np.uint8), np.full((steps, 1, 3), np.nan),
        Route(np.array([0], np.int32), 0.0, 490.0), True,
    )  # fmt: skip
    return Driven(rollout, road_map)


def going(start: float, speed: float, y: float = 0.0, seconds: float = 5.0, vy: float = 0.0):
    t = np.arange(round(seconds / DT) + 1) * DT
    return start + speed * t, y + vy * t, np.full(len(t), speed), np.full(len(t), vy)


def ego_going(start: float, speed: float, y: float = 0.0, seconds: float = 5.0, vy: float = 0.0):
    return going(start, speed, y, seconds, vy)[:3]


# --- the distances ------------------------------------------------------------------------------


@FEW
@given(SPEED, SPEED, st.floats(0.01, 5.0))
def test_a_faster_follower_needs_more_room_and_a_faster_leader_less(follow, lead, more):
    here = safe_distance_same(follow, lead, EGO, OTHERS)
    assert safe_distance_same(follow + more, lead, EGO, OTHERS) >= here
    assert safe_distance_same(follow, lead + more, EGO, OTHERS) <= here
    assert safe_distance_opposite(follow, lead + more, EGO, OTHERS) > safe_distance_opposite(
        follow, lead, EGO, OTHERS
    )


@FEW
@given(SPEED, SPEED)
def test_at_the_safe_distance_the_worst_case_just_touches(follow, lead):
    """Both do their worst: the leader brakes fully, the follower accelerates, waits, brakes."""
    distance = float(safe_distance_same(follow, lead, EGO, OTHERS))
    t = np.linspace(0.0, 60.0, 60001)
    v_f = follow + 3.5 * np.minimum(t, 1.0)
    v_f = np.where(t > 1.0, np.maximum(v_f - 4.0 * (t - 1.0), 0.0), v_f)
    v_l = np.maximum(lead - 8.0 * t, 0.0)
    gap = distance + np.cumsum(v_l - v_f) * 0.001
    end = gap[-1]
    assert end >= -0.05
    if distance > 0.0:
        assert end == pytest.approx(0.0, abs=0.05)


@FEW
@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_the_lateral_distance_is_the_same_in_the_mirror(left, right):
    one = dataclasses.replace(EGO, lateral_brake_min=1.1)
    here = safe_distance_lateral(left, right, one, OTHERS)
    assert safe_distance_lateral(-right, -left, OTHERS, one) == pytest.approx(float(here))
    assert safe_distance_lateral(left + 0.5, right, one, OTHERS) >= here


def test_nobody_accelerates_beyond_the_speed_cap():
    capped = RssParameters(max_speed=20.0)
    assert safe_distance_same(20.0, 0.0, capped, OTHERS) == pytest.approx(20.0 + 400.0 / 8.0)
    assert safe_distance_same(25.0, 0.0, capped, OTHERS) == pytest.approx(25.0 + 625.0 / 8.0)
    # from 18 m/s the cap is reached after 0.571 s
    gaining = 2.0 / 3.5
    way = 18.0 + 0.5 * 3.5 * gaining**2 + 2.0 * (1.0 - gaining)
    assert safe_distance_same(18.0, 0.0, capped, OTHERS) == pytest.approx(way + 400.0 / 8.0)


def test_a_batch_is_the_same_as_its_cases():
    follow, lead = np.array([3.0, 20.0, 31.0]), np.array([8.0, 0.0, 29.0])
    wait = np.array([0.5, 1.0, 2.0])
    batch = safe_distance_same(follow, lead, RssParameters(response_time=wait), OTHERS)
    single = [
        safe_distance_same(f, v, RssParameters(response_time=w), OTHERS)
        for f, v, w in zip(follow, lead, wait)
    ]
    assert np.array_equal(batch, np.array(single))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: RssParameters(brake_min=0.0), "RssParameters.brake_min is 0.0: expected finite"),
        (lambda: RssParameters(response_time=float("nan")), "RssParameters.response_time is nan"),
        (lambda: safe_distance_same(-1.0, 3.0, EGO, OTHERS), "v_follow must be finite and 0"),
        (lambda: safe_distance_opposite(1.0, np.nan, EGO, OTHERS), "v_opposite must be finite"),
        (lambda: safe_distance_lateral(np.inf, 0.0, EGO, OTHERS), "a speed is not finite"),
    ],
)
def test_bad_numbers_are_said_in_one_line(broken, message):
    with pytest.raises(RoadloopError, match=message) as error:
        broken()
    assert "\n" not in str(error.value)


# --- a drive ------------------------------------------------------------------------------------


def follower(share: float, speed: float = 15.0, **more) -> Driven:
    """At ``share`` of the RSS distance behind a leader of the same speed."""
    gap = share * float(safe_distance_same(speed, speed, EGO, OTHERS))
    return drive(ego_going(20.0, speed), [going(20.0 + 4.7 + gap, speed)], **more)


def test_a_follower_keeps_or_violates_its_distance():
    kept, broken = rss_score(follower(1.05)), rss_score(follower(0.5))
    needed = float(safe_distance_same(15.0, 15.0, EGO, OTHERS))
    assert kept.value == 1.0
    assert kept.term("violation_time").passed is True
    assert kept.term("longitudinal_margin").value == pytest.approx(0.05 * needed, abs=1e-6)
    assert broken.value == 0.0
    assert broken.term("violation_time").value == pytest.approx(5.1)
    assert broken.term("violations").value == 1.0
    assert broken.term("first_violation").value == 0.0
    assert broken.term("longitudinal_margin").value == pytest.approx(-0.5 * needed, abs=1e-6)
    assert "car 1" in broken.term("violation_time").detail
    json.dumps(broken.to_json(), allow_nan=False)


def test_the_violation_begins_where_the_gap_falls_below_the_distance():
    """Closing up at 5 m/s from 80 m."""
    driven = drive(ego_going(20.0, 15.0), [going(20.0 + 4.7 + 60.0, 10.0)])
    needed = float(safe_distance_same(15.0, 10.0, EGO, OTHERS))
    late = (60.0 - needed) / 5.0
    score = rss_score(driven)
    assert score.term("first_violation").value == pytest.approx(np.ceil(late / DT) * DT, abs=1e-6)
    series = score.series["rss_longitudinal_margin"]
    assert np.diff(series) == pytest.approx(-0.5, abs=1e-6)


def test_beside_each_other_in_two_lanes_is_safe_until_one_drifts():
    wide = road(1)
    steady = rss_score(drive(ego_going(50.0, 12.0), [going(48.0, 12.0, 3.5)], wide))
    assert steady.value == 1.0
    needed = float(safe_distance_lateral(0.0, 0.0, OTHERS, EGO))
    assert steady.term("lateral_margin").value == pytest.approx(3.5 - 1.9 - needed)
    assert steady.term("longitudinal_margin").value is None
    # the ego drifts over in front of the other one: its violation, though it is ahead
    drifts = rss_score(drive(ego_going(54.0, 12.0, vy=0.25), [going(48.0, 12.0, 3.5)], wide))
    assert drifts.term("violation_time").passed is False
    # the other comes over behind the ego: not the ego's
    others = rss_score(drive(ego_going(54.0, 12.0), [going(48.0, 12.0, 3.5, vy=-0.25)], wide))
    assert others.value == 1.0


def test_mirrored_scenes_have_mirrored_margins():
    def scene(side: float) -> Driven:
        return drive(
            ego_going(50.0, 12.0, vy=0.1 * side), [going(48.0, 12.0, 3.0 * side, vy=-0.2 * side)]
        )

    left, right = rss_margins(scene(1.0)), rss_margins(scene(-1.0))
    assert left.lateral == pytest.approx(right.lateral, abs=1e-9)
    assert left.frame.left == pytest.approx(-right.frame.left, abs=1e-9)
    assert np.array_equal(left.violation, right.violation)


def test_a_tailgater_is_not_the_egos_violation():
    driven = drive(ego_going(50.0, 12.0), [going(50.0 - 4.7 - 3.0, 12.0)])
    found = rss_margins(driven)
    assert found.dangerous.all()
    assert rss_score(driven).value == 1.0


def test_a_standing_queue_is_no_violation_and_a_creeping_one_is():
    """2 m behind a standing car where the formula asks for 3.3 m; an ego that stands may."""
    standing = drive(ego_going(50.0, 0.0), [going(50.0 + 4.7 + 2.0, 0.0)])
    assert rss_margins(standing).dangerous.all()
    assert rss_score(standing).value == 1.0
    assert rss_score(drive(ego_going(50.0, 1.0), [going(56.7, 1.0)])).value == 0.0


def test_somebody_coming_in_the_egos_lane_is_a_danger_until_passed():
    lane = drive(ego_going(50.0, 10.0), [going(150.0, -10.0, 3.5)])
    assert rss_score(lane).value == 1.0  # in its own lane
    frontal = drive(ego_going(50.0, 10.0), [going(250.0, -10.0, 1.0, seconds=5.0)])
    score = rss_score(frontal)
    needed = float(safe_distance_opposite(10.0, 10.0, EGO, OTHERS))
    late = (200.0 - 4.7 - needed) / 20.0
    assert score.term("first_violation").value == pytest.approx(np.ceil(late / DT) * DT, abs=1e-6)
    # the one out of its lane is granted less braking: the same scene from the other's side
    wrong = drive(ego_going(50.0, 10.0, 2.6), [going(250.0, -10.0, 2.6)])
    needed = float(safe_distance_opposite(10.0, 10.0, OTHERS, EGO))
    assert rss_margins(wrong).longitudinal[0, 0] == pytest.approx(200.0 - 4.7 - needed)


def test_parked_cars_do_not_move_and_crossing_traffic_is_reported():
    kinds = [AgentKind.STATIC, AgentKind.CAR, AgentKind.PEDESTRIAN]
    t = np.arange(51) * DT
    crossing = (np.full(51, 120.0), -20.0 + 8.0 * t, np.zeros(51), np.full(51, 8.0))
    walker = (np.full(51, 140.0), -3.0 + 1.4 * t, np.zeros(51), np.full(51, 1.4))
    parked = going(80.0, 0.0, -2.3)  # 0.4 m beside the ego: a car would need 0.7 m
    score = rss_score(drive(ego_going(50.0, 10.0), [parked, crossing, walker], kinds=kinds))
    assert score.value == 1.0
    assert score.term("not_judged").value == 2.0
    as_cars = rss_score(drive(ego_going(50.0, 10.0), [parked]))
    assert as_cars.value < 1.0


def test_parameters_are_part_of_the_version():
    driven = follower(1.05)
    strict = rss_score(driven, dataclasses.replace(EGO, response_time=2.0))
    assert strict.value == 0.0
    assert strict.version == rss_score(driven).version + ", ego response_time 2"


def test_nobody_there_and_bad_drives():
    alone = rss_score(drive(ego_going(50.0, 10.0), []))
    assert alone.value == 1.0
    assert alone.term("longitudinal_margin").value is None
    with pytest.raises(RoadloopError, match="one number per parameter"):
        rss_score(follower(1.0), RssParameters(response_time=np.array([1.0, 2.0])))


def test_what_differs_by_less_than_a_millimetre_is_equal_as_in_the_reference():
    # ad-rss-lib 5.0.0 keeps -0.000485 m, which it takes for 0
    left = RssParameters(0.1, lateral_acceleration=1.922, lateral_brake_min=1.74, lateral_margin=0)
    right = RssParameters(
        0.5, lateral_acceleration=1.927, lateral_brake_min=1.001, lateral_margin=0.5
    )
    distance = safe_distance_lateral(-0.1922, 0.9635, left, right)
    assert distance == pytest.approx(-0.000485, abs=1e-12)
    assert safe_distance_lateral(-0.1922, 0.9635, left, right, exact=True) == 0.0
    # and a speed 0.5 mm/s below the cap is the cap
    capped = RssParameters(acceleration=2.0, max_speed=12.0)
    speed = 12.0 - 2.0 - 0.0005
    gained = 1.00025  # s to the cap
    waited = speed + gained**2 + 2.0005 * (1.0 - gained)
    braked = 12.0**2 / 8.0 - 5.0**2 / 16.0
    assert safe_distance_same(speed, 5.0, capped, EGO) == pytest.approx(waited + braked, abs=1e-12)
    exact = safe_distance_same(speed, 5.0, capped, EGO, exact=True)
    expected = speed + 1.0 + (speed + 2.0) ** 2 / 8.0 - 5.0**2 / 16.0
    assert exact == pytest.approx(expected, abs=1e-12)
