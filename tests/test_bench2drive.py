"""Bench2Drive: success, efficiency, comfort and abilities where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from carla_drives import CAR, START, agent, drive, seconds, street, whole_route
from vectors.carla import _stored_score

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import SignalKind
from roadloop.scoring.bench2drive import (
    ABILITIES,
    AbilityRoute,
    ability_results,
    bench2drive_results,
    bench2drive_score,
    carla_motion,
    comfort_share,
    efficiency,
    success,
)
from roadloop.scoring.carla import Infraction, InfractionKind, RouteRecord, RouteScore, route_score
from roadloop.types import AgentKind, LightState

SLOW = InfractionKind.MIN_SPEED_INFRACTION


def scored(completion: float = 100.0, *infractions: Infraction) -> RouteScore:
    return route_score(RouteRecord(150.0, completion, infractions), "bench2drive")


RAN_LIGHT = Infraction(InfractionKind.TRAFFIC_LIGHT_INFRACTION)
CRASHED = Infraction(InfractionKind.COLLISION_VEHICLE)

# --- success and efficiency -----------------------------------------------------------------------


def test_success_is_the_whole_route_and_nothing_but_slow() -> None:
    assert success(scored()) and success(scored(100.0, Infraction(SLOW, 40.0)))
    assert not success(scored(100.0, RAN_LIGHT)) and not success(scored(99.0))
    assert not success(scored(100.0, Infraction(InfractionKind.ROUTE_TIMEOUT)))


def test_efficiency_is_the_mean_of_the_parts_below_a_thousand() -> None:
    assert efficiency(scored()) is None
    assert efficiency(scored(100.0, Infraction(SLOW, 50.0), Infraction(SLOW, 250.0))) == 150.0
    assert efficiency(scored(100.0, Infraction(SLOW, 50.0), Infraction(SLOW, 1001.0))) == 50.0
    assert efficiency(scored(100.0, Infraction(SLOW, 1001.0))) is None


def test_routes_that_are_missing_have_failed() -> None:
    result = bench2drive_results([scored(), scored(50.0, RAN_LIGHT)], comfort=[1.0, 0.5], routes=4)
    assert result.success_rate == 0.25 and result.driving_score == (100.0 + 50.0 * 0.7) / 4
    assert result.efficiency is None and result.comfort == 0.75
    assert bench2drive_results([scored()] * 22).success_rate == 0.1
    nothing = bench2drive_results([])
    assert nothing.driving_score == 0.0 and nothing.comfort is None
    with pytest.raises(RoadloopError, match="3 routes were driven of 2"):
        bench2drive_results([scored()] * 3, routes=2)


def test_a_flawless_drive_is_a_success() -> None:
    around = agent(AgentKind.CAR, START + 5.0, 3.5, speed=8.0)
    score = bench2drive_score(drive(whole_route(), agents=(around,)))
    assert score.value == 1.0 and score.name == "bench2drive" and score.version == "0.0.4"
    assert score.term("driving_score").value == 100.0
    assert score.term("efficiency").value == pytest.approx(125.0)
    assert score.term("comfort").value == 1.0
    assert score.term("infraction_penalty").detail == "no infraction"


def test_a_slow_drive_is_one_too_but_a_red_light_is_none() -> None:
    around = agent(AgentKind.CAR, START + 5.0, 3.5, speed=8.0)
    slow = bench2drive_score(drive(whole_route(4.0), agents=(around,)))
    assert slow.value == 1.0 and slow.term("driving_score").value == 100.0
    # from 100 m on the traffic is out of sight, which counts as its speed
    assert 50.0 < (slow.term("efficiency").value or 0.0) < 100.0
    road = street(SignalKind.TRAFFIC_LIGHT)
    ran = bench2drive_score(drive(whole_route(), road=road, light=LightState.RED))
    assert ran.value == 0.0 and ran.term("driving_score").value == 70.0
    assert ran.term("success").detail == "red_light: light 0"
    assert ran.term("success").lost_at == ran.term("red_light").lost_at


def test_standing_around_fails() -> None:
    score = bench2drive_score(drive(np.full(700, START)))
    assert score.value == 0.0 and score.term("vehicle_blocked").value == 1.0
    assert score.term("efficiency").value is None
    assert score.term("success").detail == "vehicle_blocked: stood for 60 s; drove 0 % of the route"


def test_a_run_ends_after_four_thousand_ticks() -> None:
    t = seconds(250.0, 1.0)
    score = bench2drive_score(drive(START + 0.9 * t, dt=1.0))
    assert score.term("route_completion").value == pytest.approx(90.0, abs=1.0)
    assert score.term("success").value == 0.0


# --- comfort --------------------------------------------------------------------------------------


def motion(frames: int) -> list[np.ndarray]:
    """A straight drive at constant speed, as CARLA logs it."""
    still = np.zeros((frames, 3))
    forward, right = np.eye(3)[:2]
    return [still, still.copy(), still + forward, still + right]


def test_only_the_piece_that_is_rough_counts() -> None:
    acceleration, angular, forward, right = motion(70)
    assert comfort_share(acceleration, angular, forward, right) == 1.0
    rough = acceleration.copy()
    rough[25] = (0.0, 9.0, 0.0)
    assert comfort_share(rough, angular, forward, right) == pytest.approx(2.0 / 3.0)
    late = acceleration.copy()
    late[65] = (0.0, 9.0, 0.0)  # in the incomplete last piece
    assert comfort_share(late, angular, forward, right) == 1.0


@pytest.mark.parametrize(
    ("ahead", "aside", "comfortable"),
    [(2.3, 0.0, 1.0), (2.5, 0.0, 0.0), (-4.0, 0.0, 1.0), (-4.1, 0.0, 0.0), (0, 4.8, 1.0),
     (0, -4.9, 0.0)],
)  # fmt: skip
def test_bounds_of_steady_acceleration(ahead: float, aside: float, comfortable: float) -> None:
    _, angular, forward, right = motion(20)
    assert comfort_share(ahead * forward + aside * right, angular, forward, right) == comfortable


def test_signals_are_smoothed_over_seven_frames() -> None:
    """One frame of the other sign: parabolas over 7 frames overshoot by 4 / 21 beside it.

    Over 5 or 9 frames it would be less (6 / 35, 42 / 231), and 4.12 m/s^2 within the bound.
    """
    acceleration, angular, forward, right = motion(20)
    for aside, comfortable in ((4.10, 1.0), (4.12, 0.0)):
        acceleration[:, 1] = aside
        acceleration[10, 1] = -aside
        assert comfort_share(acceleration, angular, forward, right) == comfortable


def test_turning_is_judged_in_degrees_unless_corrected() -> None:
    for rate, as_published, in_radians in ((0.9, 1.0, 1.0), (1.0, 0.0, 1.0), (56.0, 0.0, 0.0)):
        acceleration, angular, forward, right = motion(40)
        angular[:, 2] = rate
        arrays = acceleration, angular, forward, right
        assert comfort_share(*arrays) == as_published
        assert comfort_share(*arrays, corrected=True) == in_radians


def test_the_published_form_unwraps_the_rate_like_an_angle() -> None:
    acceleration, angular, forward, right = motion(20)
    angular[10:, 2] = 2.0 * np.pi
    assert comfort_share(acceleration, angular, forward, right) == 1.0
    assert comfort_share(acceleration, angular, forward, right, corrected=True) == 1.0


def test_the_frame_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    acceleration = np.column_stack([rng.normal(0.0, 1.2, (200, 2)), np.zeros(200)])
    _, angular, forward, right = motion(200)
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    here = comfort_share(acceleration, angular, forward, right)
    there = comfort_share(acceleration @ turn.T, angular, forward @ turn.T, right @ turn.T)
    assert here == there and 0.0 < here < 1.0


def test_bad_motion_is_said_in_one_line() -> None:
    acceleration, angular, forward, right = motion(20)
    with pytest.raises(RoadloopError, match="angular velocity has shape"):
        comfort_share(acceleration, angular[:10], forward, right)
    with pytest.raises(RoadloopError, match="acceleration is not finite"):
        comfort_share(acceleration + np.nan, angular, forward, right)
    with pytest.raises(RoadloopError, match="takes 3 frames, the drive has 2"):
        comfort_share(*(values[:2] for values in motion(20)))


def test_motion_on_a_circle_is_what_carla_would_log() -> None:
    """Left at 8 m/s on a radius of 20 m: in CARLA's frame that is a turn to negative angles."""
    rate, radius = 0.4, 20.0
    rear = np.hypot(radius, CAR.centre_offset)  # of the box centre; the rear axle is on 20 m
    angle = rate * seconds(6.0)
    lead = np.arctan2(CAR.centre_offset, radius)
    driven = drive(rear * np.sin(angle + lead), 20.0 - rear * np.cos(angle + lead), heading=angle)
    driven.rollout.ego.speed[:] = rate * radius
    driven.rollout.ego.acceleration[:] = 0.0
    acceleration, angular, forward, right = carla_motion(driven.rollout)
    np.testing.assert_allclose(angular[:, 2], -np.rad2deg(rate))
    np.testing.assert_allclose(np.linalg.norm(acceleration, axis=-1), rate**2 * rear)
    np.testing.assert_allclose((forward * right).sum(-1), 0.0, atol=1e-12)
    assert ((acceleration * right).sum(-1) < 0.0).all()  # towards the left
    np.testing.assert_allclose(forward[0], [1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(right[0], [0.0, 1.0, 0.0], atol=1e-12)  # y is south
    # and the difference quotient of where the box centre was says the same
    x, y = driven.centre.T
    second = np.diff(np.column_stack([x, -y]), 2, axis=0) / 0.01
    np.testing.assert_allclose(acceleration[1:-1, :2], second, atol=0.01)


def test_a_finer_step_is_looked_at_ten_times_a_second() -> None:
    driven = drive(START + 10.0 * seconds(6.0, 0.02), dt=0.02)
    assert [len(values) for values in carla_motion(driven.rollout)] == [61] * 4
    assert bench2drive_score(driven).term("comfort").detail == "of 3 pieces of 2 s"
    short = bench2drive_score(drive(np.array([START, START + 1.0])))
    assert short.term("comfort").value is None


def test_the_corrected_comfort_says_so() -> None:
    angle = 0.1 * seconds(10.0)  # 5.7 degrees/s
    driven = drive(START + 50.0 * np.sin(angle), 50.0 - 50.0 * np.cos(angle), heading=angle)
    assert bench2drive_score(driven).term("comfort").value == 0.0
    corrected = bench2drive_score(driven, corrected=True)
    assert corrected.term("comfort").value == 1.0
    assert corrected.version != bench2drive_score(driven).version


# --- abilities ------------------------------------------------------------------------------------


def test_the_lists_of_scenario_types() -> None:
    sizes = {ability: len(types) for ability, types in ABILITIES.items()}
    expected = dict(overtaking=9, merging=16, emergency_brake=12, give_way=2, traffic_sign=19)
    assert sizes == expected and len(frozenset().union(*ABILITIES.values())) == 44


def test_a_route_counts_under_every_ability_of_its_type() -> None:
    routes = [
        AbilityRoute("EnterActorFlow", scored()),
        AbilityRoute("HighwayExit", scored(60.0)),
        AbilityRoute("InvadingTurn", scored()),
        AbilityRoute("a scenario of another make", scored()),
    ]
    result = ability_results(routes)
    assert result["merging"] == 0.5 and result["traffic_sign"] == 1.0 and result["give_way"] == 1.0
    assert result["overtaking"] is None and result["emergency_brake"] is None
    assert result["mean"] == pytest.approx(2.5 / 3.0)
    assert ability_results([])["mean"] is None


def test_getting_past_the_first_junction_is_enough_for_traffic_signs() -> None:
    def signs(score: RouteScore, past: bool | None) -> float | None:
        return ability_results([AbilityRoute("T_Junction", score, past)])["traffic_sign"]

    assert signs(scored(60.0, CRASHED), True) == 1.0
    assert signs(scored(60.0, CRASHED), False) == 0.0
    assert signs(scored(60.0, RAN_LIGHT), True) == signs(scored(60.0, RAN_LIGHT), None) == 0.0
    with pytest.raises(RoadloopError, match="T_Junction route failed; give past_first_junction"):
        signs(scored(60.0, CRASHED), None)


def test_a_share_in_a_collision_message_is_no_percentage() -> None:
    slow = "Average speed is 57.5% of the surrounding traffic's one"
    record = {
        "status": "Completed",
        "scores": {"score_route": 100.0, "score_penalty": 0.6, "score_composed": 60.0},
        "infractions": {"collisions_vehicle": ["hit 5% of it"], "min_speed_infractions": [slow]},
    }
    score = _stored_score(record)
    assert [i.percentage for i in score.infractions] == [None, 57.5]
    assert not success(score)
    assert efficiency(score) == 57.5
