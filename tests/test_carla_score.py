"""CARLA's criteria and driving score on drives where the answer is known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from carla_drives import CAR, DT, LINE, START, agent, drive, seconds, street, whole_route
from hand_map import HandLane, HandMap, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import SignalKind
from roadloop.scoring.carla import InfractionKind
from roadloop.scoring.carla_criteria import TWO_WAY, route_record
from roadloop.scoring.carla_score import carla_score
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score
from roadloop.types import AgentKind, LightState, Route


def value(driven: Driven, term: str, version: str = "2.1") -> float | None:
    return carla_score(driven, version).term(term).value


def time_of(score: Score, term: str) -> float:
    lost = score.term(term).lost_at
    assert lost is not None
    return lost


def test_unknown_versions_and_missing_light_states_are_said() -> None:
    with pytest.raises(RoadloopError, match=r"no leaderboard version '1\.0'; there are 2\.0, 2\.1"):
        carla_score(drive(whole_route()), "1.0")
    road = street(SignalKind.TRAFFIC_LIGHT)
    dark = dataclasses.replace(drive(whole_route(), road=road).rollout, lights=np.zeros((205, 0)))
    with pytest.raises(RoadloopError, match=r"rollout\.lights has 0 signals, map by hand has 1"):
        carla_score(Driven(dark, road))


# --- how far, and what ends a run -----------------------------------------------------------------


def test_the_whole_route_without_fault_is_perfect() -> None:
    for version in ("2.0", "2.1"):
        score = carla_score(drive(whole_route()), version)
        assert score.value == 100.0 and score.unit == "%" and score.name == f"carla-{version}"
        assert score.term("route_completion").detail == "Perfect"
        assert score.term("red_light").value is None  # no lights on this street
        assert score.term("scenario_timeouts").value is None
        assert not [term.name for term in score.terms if term.passed is False]


def test_standing_still_drives_nothing_and_blocks_after_a_while() -> None:
    assert value(drive(np.full(100, START)), "route_completion") == 0.0
    minute = drive(np.full(800, START))
    assert route_record(minute, "2.1").infractions == ()
    (blocked,) = route_record(minute, "bench2drive").infractions
    assert blocked.kind is InfractionKind.VEHICLE_BLOCKED
    assert blocked.time == pytest.approx(60.05)
    assert value(drive(np.full(1900, START)), "vehicle_blocked") == 1.0


@settings(max_examples=8, derandomize=True, deadline=None)
@given(st.floats(5.0, 190.0))
def test_completion_is_the_share_of_the_route_passed(metres: float) -> None:
    x = np.minimum(START + 8.0 * seconds(30.0), START + metres)
    assert value(drive(x), "route_completion") == pytest.approx(metres / 2.0, abs=0.6)


def test_a_drive_that_comes_to_rest_just_before_its_goal_has_driven_its_route() -> None:
    rest = START + 203.0 - 3.0 + CAR.centre_offset  # of the centre; the rear axle 3 m before
    assert value(drive(np.minimum(whole_route(), rest)), "route_completion") == 100.0


def test_leaving_the_route_ends_the_run() -> None:
    t = seconds(25.0)
    turned = np.where(t < 5.0, 0.0, -np.pi / 2)
    x, y = START + 10.0 * np.minimum(t, 5.0), -10.0 * np.maximum(t - 5.0, 0.0)
    hit = agent(AgentKind.CAR, START + 50.0, -150.0)
    score = carla_score(drive(x, y, heading=turned, agents=(hit,)))
    assert score.term("route_dev").value == 1.0 and time_of(score, "route_dev") == pytest.approx(
        8.0, abs=0.1
    )
    assert score.term("collisions_vehicle").value == 0.0  # later than the end
    assert score.term("route_completion").detail == "Failed - Agent deviated from the route"


def test_a_third_of_the_route_astray_ends_the_run() -> None:
    x = whole_route()
    for share, ends in ((0.25, 0.0), (0.4, 1.0)):
        y = np.where(x < START + 200.0 * share, -20.0, 0.0)
        assert value(drive(x, y), "route_dev") == ends
    assert value(drive(x, -14.0), "route_dev") == 0.0


def test_passing_the_goal_far_away_does_not_end_the_run() -> None:
    x = START + 10.0 * seconds(24.0)
    for y, hits in ((0.0, 0.0), (-12.0, 1.0)):
        beyond = agent(AgentKind.STATIC, START + 225.0, y)
        assert value(drive(x, y, agents=(beyond,)), "collisions_layout") == hits


def test_a_creeping_drive_runs_out_of_time() -> None:
    t = seconds(400.0, 1.0)
    score = carla_score(drive(START + 0.2 * t, dt=1.0))
    # 300 s and 1 / (0.1 * 15 m/s) s for every metre
    assert time_of(score, "route_timeout") == pytest.approx(300.0 / (1.0 - 0.2 / 1.5), abs=1.0)
    assert score.term("route_completion").detail == "Failed - Agent timed out"


# --- collisions -----------------------------------------------------------------------------------


def test_hitting_a_walker_halves_the_score() -> None:
    driven = drive(whole_route(), agents=(agent(AgentKind.PEDESTRIAN, START + 80.0),))
    for version in ("2.0", "2.1"):
        score = carla_score(driven, version)
        assert score.value == 50.0 and score.term("collisions_pedestrian").value == 1.0
        gap = 80.0 - CAR.length / 2 - 0.3
        assert time_of(score, "collisions_pedestrian") == pytest.approx(gap / 10.0, abs=DT)
        assert score.term("collisions_pedestrian").detail == "pedestrian 17 at 10.0 m/s"
        assert score.term("route_completion").detail == "Completed"


def test_classes_of_what_is_hit() -> None:
    for kind, term, left in (
        (AgentKind.CYCLIST, "collisions_vehicle", 60.0),
        (AgentKind.TRUCK, "collisions_vehicle", 60.0),
        (AgentKind.STATIC, "collisions_layout", 65.0),
    ):
        parked = drive(whole_route(), agents=(agent(kind, START + 80.0),))
        score = carla_score(parked, "2.0")
        assert score.term(term).value == 1.0 and score.value == left


def test_who_stands_is_not_to_blame() -> None:
    rammed = drive(np.full(60, START), agents=(agent(AgentKind.CAR, START - 25.0, speed=10.0),))
    assert value(rammed, "collisions_vehicle") == 0.0


def test_one_crash_counts_once_and_the_next_again() -> None:
    def crashes(*boxes: tuple[float, float]) -> float | None:
        things = tuple(agent(AgentKind.STATIC, START + x, y) for x, y in boxes)
        return value(drive(whole_route(), agents=things), "collisions_layout")

    assert crashes((80.0, 0.0)) == 1.0  # 9.2 m and 0.9 s long
    assert crashes((80.0, 1.0), (80.0 - 4.5, 0.0)) == 1.0 + 1.0  # another one beyond 5 m
    assert crashes((80.0, 0.0), (100.0, 0.0)) == 2.0


def test_pushing_one_car_along_counts_again_after_five_seconds() -> None:
    pushed = agent(AgentKind.CAR, START + 6.0, speed=5.0)

    def behind(t: np.ndarray) -> np.ndarray:
        return START + 5.0 * t + np.minimum(t, 2.0)  # catches up by 2 m, then stays in contact

    score = carla_score(drive(behind(seconds(9.0)), agents=(pushed,)))
    assert score.term("collisions_vehicle").value == 2.0  # at 1.4 s and 5 s later
    assert time_of(score, "collisions_vehicle") == pytest.approx(1.4, abs=DT)


# --- lights and signs -----------------------------------------------------------------------------


def test_running_a_red_light_costs_what_the_tables_say() -> None:
    road = street(SignalKind.TRAFFIC_LIGHT)
    driven = drive(whole_route(), road=road, light=LightState.RED)
    assert carla_score(driven, "2.0").value == 70.0
    score = carla_score(driven, "2.1")
    assert score.value == round(100.0 / 1.4, 6) and score.term("red_light").detail == "light 0"
    tail = LINE - START + 0.8 * CAR.length / 2
    assert time_of(score, "red_light") == pytest.approx(tail / 10.0, abs=DT)
    green = drive(whole_route(), road=road, light=LightState.GREEN)
    assert carla_score(green).value == 100.0


def test_the_tail_decides_about_a_red_light() -> None:
    road = street(SignalKind.TRAFFIC_LIGHT)
    front = (LINE - START - CAR.length / 2) / 10.0
    last = (LINE - START + CAR.length / 2 + 1.0) / 10.0  # the segment has left the line

    def turns_red(at: float):
        return lambda t: np.where(t < at, LightState.GREEN, LightState.RED)

    for at, count in ((front + 0.1, 1.0), (last - 0.1, 1.0), (last + 0.1, 0.0)):
        driven = drive(whole_route(), road=road, light=turns_red(at))
        assert value(driven, "red_light") == count

    def turns_green(t: np.ndarray) -> np.ndarray:  # over the line with the bumper only, waiting
        return np.where(t < 20.0, LightState.RED, LightState.GREEN)

    t = seconds(40.0)
    waiting = np.minimum(START + 10.0 * t, LINE)
    x = np.where(t < 20.0, waiting, LINE + 10.0 * (t - 20.0))
    assert value(drive(x, road=road, light=turns_green), "red_light") == 0.0


def test_fast_cars_do_not_leap_over_the_line() -> None:
    road = street(SignalKind.TRAFFIC_LIGHT)
    for shift in np.linspace(0.0, 3.0, 7):
        x = START + shift + 30.0 * seconds(6.5)
        assert value(drive(x, road=road, light=LightState.RED), "red_light") == 1.0


def test_a_stop_sign_wants_a_stop_before_its_line() -> None:
    road = street(SignalKind.STOP)
    rolled = carla_score(drive(whole_route(), road=road))
    assert rolled.term("stop_infraction").value == 1.0 and rolled.value == 80.0
    t = seconds(30.0)
    for before, count in ((1.0, 0.0), (15.0, 1.0)):
        rest = LINE - CAR.length / 2 - before
        arrive = (rest - START) / 10.0
        x = np.where(t < arrive + 2.0, np.minimum(START + 10.0 * t, rest), 0.0)
        x = np.where(t >= arrive + 2.0, rest + 10.0 * (t - arrive - 2.0), x)
        assert value(drive(x, road=road), "stop_infraction") == count


# --- lanes ----------------------------------------------------------------------------------------


def test_half_the_route_beside_the_road() -> None:
    x = whole_route()
    driven = drive(x, np.where(x < START + 100.0, -3.0, 0.0))
    score = carla_score(driven)
    assert score.term("outside_route_lanes").value == pytest.approx(50.0, abs=1.0)
    assert score.term("outside_route_lanes").unit == "%"
    assert score.value == pytest.approx(50.0, abs=1.0)
    (outside,) = route_record(driven, "2.1").infractions
    assert outside.distance == pytest.approx(100.0, abs=2.5)


@pytest.mark.parametrize(("y", "out"), [(-2.2, False), (-2.3, True), (5.7, False), (5.8, True)])
def test_half_a_metre_beyond_the_lane_is_allowed(y: float, out: bool) -> None:
    driven = drive(whole_route(), y, family="parked_obstruction")
    assert (value(driven, "outside_route_lanes") == 0.0) is not out


def test_a_parking_lane_is_no_outside() -> None:
    assert value(drive(whole_route(), -2.9, road=street(parking=True)), "outside_route_lanes") == 0
    assert value(drive(whole_route(), -4.3, road=street(parking=True)), "outside_route_lanes")


def test_the_oncoming_lane_is_wrong_unless_the_way_leads_over_it() -> None:
    x = whole_route()
    y = np.where((x > START + 50.0) & (x < START + 90.0), 3.5, 0.0)
    assert value(drive(x, y), "outside_route_lanes") == pytest.approx(20.0, abs=1.0)
    assert value(drive(x, y, family="parked_obstruction"), "outside_route_lanes") == 0.0


def test_leaving_a_junction_on_the_wrong_side() -> None:
    lanes = [
        HandLane(straight((0.0, 0.0), (100.0, 0.0)), successors=(1,)),
        HandLane(straight((100.0, 0.0), (120.0, 0.0)), junction=0, successors=(2,), road="1"),
        HandLane(straight((120.0, 0.0), (300.0, 0.0)), road="2"),
        HandLane(straight((300.0, 3.5), (120.0, 3.5)), road="2", number=1),
    ]
    road = HandMap(lanes, junctions=1).build()
    x = whole_route()
    for there, wrong in ((0.0, 0.0), (3.5, 50.0)):
        y = np.clip((x - 115.0) / 5.0, 0.0, 1.0) * there
        rollout = drive(x, y, road=road).rollout
        rollout = dataclasses.replace(rollout, route=Route(np.array([0, 1, 2]), START, 103.0))
        driven = Driven(rollout, road)
        assert value(driven, "outside_route_lanes") == pytest.approx(wrong, abs=2.0)


# --- speed ----------------------------------------------------------------------------------------


def test_half_the_speed_of_the_traffic() -> None:
    around = agent(AgentKind.CAR, START + 30.0, 3.5, speed=10.0)
    driven = drive(whole_route(5.0), agents=(around,))
    # the parts end after 51, 102, 153 m; the traffic is out of reach from 130 m on
    record = route_record(driven, "2.1")
    assert [i.percentage for i in record.infractions] == [50.0, 50.0]
    assert value(driven, "min_speed_infractions") == 2.0
    assert value(driven, "infraction_penalty") == pytest.approx(1.0 / 1.4)
    assert value(driven, "infraction_penalty", "2.0") == pytest.approx(0.85**2)


def test_the_last_part_counts_though_it_is_not_driven_to_its_end() -> None:
    def along(t: np.ndarray) -> tuple:
        return START + 5.0 * t, 3.5, 0.0, 10.0

    record = route_record(drive(whole_route(5.0), agents=((AgentKind.VAN, along),)), "2.1")
    assert [i.percentage for i in record.infractions] == [50.0] * 4
    most = whole_route(5.0)[:-60]  # 85 %
    record = route_record(drive(most, agents=((AgentKind.VAN, along),)), "2.1")
    assert len(record.infractions) == 3


def test_faster_than_the_traffic_is_no_infraction() -> None:
    around = agent(AgentKind.CAR, START + 30.0, 3.5, speed=5.0)
    assert value(drive(whole_route(), agents=(around,)), "min_speed_infractions") == 0.0


def test_walkers_cyclists_and_parked_cars_are_no_traffic() -> None:
    kinds = (AgentKind.PEDESTRIAN, AgentKind.CYCLIST, AgentKind.STATIC)
    others = tuple(agent(kind, START + 30.0, 8.0, speed=12.0) for kind in kinds)
    assert value(drive(whole_route(), agents=others), "min_speed_infractions") is None


# --- invariances ----------------------------------------------------------------------------------

EVENTFUL = (
    agent(AgentKind.PEDESTRIAN, START + 60.0),
    agent(AgentKind.STATIC, START + 120.0),
    agent(AgentKind.CAR, START + 10.0, 3.5, speed=11.0),
)


def eventful(**more) -> Driven:
    """A drive with one infraction of most kinds."""
    dt = more.get("dt", DT)
    x = whole_route(dt=dt)
    y = np.where(x > START + 150.0, -3.0, 0.0)
    road = street(SignalKind.TRAFFIC_LIGHT, turn=more.get("turn", 0.0), away=more.get("away", 0.0))
    others = more.pop("agents", EVENTFUL)
    return drive(x, y, agents=others, road=road, light=LightState.RED, **more)


def values(driven: Driven) -> dict[str, float | None]:
    return {term.name: term.value for term in carla_score(driven).terms}


def test_a_far_agent_changes_nothing() -> None:
    far = agent(AgentKind.CAR, START + 90.0, 500.0, speed=3.0)
    assert values(eventful(agents=(*EVENTFUL, far))) == values(eventful())


def test_the_order_of_agents_changes_nothing() -> None:
    scores = [carla_score(eventful(agents=mix)).value for mix in itertools.permutations(EVENTFUL)]
    assert len(set(scores)) == 1


@pytest.mark.parametrize(("turn", "away"), [(0.7, 0.0), (-2.5, 300.0), (np.pi / 2, -50.0)])
def test_turning_and_moving_the_scene_changes_nothing(turn: float, away: float) -> None:
    here, there = values(eventful()), values(eventful(turn=turn, away=away))
    for name, mine in here.items():
        assert there[name] == (None if mine is None else pytest.approx(mine, abs=0.6)), name


def test_a_finer_step_changes_nothing_but_rounding() -> None:
    coarse, fine = values(eventful()), values(eventful(dt=0.05))
    for name, mine in coarse.items():
        assert fine[name] == (None if mine is None else pytest.approx(mine, abs=1.0)), name


def test_families_that_lead_over_the_oncoming_lane_exist() -> None:
    from sim.scenarios import FAMILIES

    assert set(FAMILIES) >= TWO_WAY
