"""What traffic does: following, lights, signs, right of way, scripted actions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sim_worlds import (
    NO_FAULTS,
    Recorded,
    all_lights,
    drive,
    faults,
    lanes_outside_junctions,
    record,
    scenario_on,
)

from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import (
    Action,
    LightProgramme,
    LightState,
    Trigger,
    VehicleParameters,
)
from sim.lights import light_programme
from sim.population import RoadUser, traffic, user_on
from sim.simulator import Simulator

LONG_ROAD = generate_map("straight", length=1500.0, variation=0.0)


def busy(m: RoadMap, count: int, worlds: int, steps: int) -> Recorded:
    """Random traffic in several worlds, the lights running."""
    scenarios = []
    for seed in range(worlds):
        users = traffic(m, np.random.default_rng(seed), count)
        scenarios.append(scenario_on(m, users, lights=light_programme(m, seed), seed=seed))
    simulator = Simulator()
    return record(simulator, simulator.reset(scenarios), steps)


# --- following ----------------------------------------------------------------------------------


def test_traits_are_those_of_the_scenario() -> None:
    rng = np.random.default_rng(3)
    users = [user_on(LONG_ROAD, 1, 50.0 + 40.0 * k, rng=rng, max_speed=20.0 + k) for k in range(4)]
    state = Simulator().reset([scenario_on(LONG_ROAD, users)])
    traits = state.fixed.traits.numpy()[0, 1:]
    for ours, theirs in (("a", "acceleration"), ("b", "deceleration"), ("headway", "headway"),
                         ("min_gap", "min_gap"), ("speed_factor", "speed_factor"),
                         ("max_speed", "max_speed"), ("politeness", "politeness"),
                         ("length", "length"), ("width", "width")):  # fmt: skip
        np.testing.assert_allclose(traits[ours], [getattr(u, theirs) for u in users], rtol=1e-6)


def test_gap_behind_a_slower_leader_is_the_models_equilibrium() -> None:
    lane, v, wanted = (
        int(lanes_outside_junctions(LONG_ROAD)[0]),
        8.0,
        float(LONG_ROAD.lane_speed_limit[1]),
    )
    leader = user_on(LONG_ROAD, lane, 120.0, speed=v, max_speed=v)
    users = [leader] + [
        user_on(LONG_ROAD, lane, 85.0 - 35.0 * k, speed=v, headway=1.0 + 0.4 * k) for k in range(3)
    ]
    driven = drive(LONG_ROAD, users, 1000)
    last = driven.agents[-1, 0, 1:]
    np.testing.assert_allclose(last["speed"], v, atol=0.02)
    gaps = -np.diff(last["s"]) - leader.length
    for gap, user in zip(gaps, users[1:], strict=True):
        expected = (user.min_gap + v * user.headway) / np.sqrt(1.0 - (v / wanted) ** 4)
        assert gap == pytest.approx(expected, abs=0.15)
    assert (driven.agents["leader"][-1, 0, 2:] == [1, 2, 3]).all()


def test_free_car_settles_at_its_wanted_speed() -> None:
    lane = int(lanes_outside_junctions(LONG_ROAD)[0])
    for factor, cap in ((1.0, 60.0), (0.8, 60.0), (1.2, 60.0), (1.0, 5.0)):
        user = user_on(LONG_ROAD, lane, 10.0, speed_factor=factor, max_speed=cap)
        speed = drive(LONG_ROAD, [user], 500).agents["speed"][:, 0, 1]
        expected = min(factor * float(LONG_ROAD.lane_speed_limit[lane]), cap)
        assert speed[-1] == pytest.approx(expected, rel=5e-3)
        assert speed.max() <= expected * 1.001


def test_bends_are_taken_at_two_metres_per_square_second_to_the_side() -> None:
    m = generate_map("curve", radius=50.0, variation=0.0)
    lane = int(lanes_outside_junctions(m)[0])
    driven = drive(m, [user_on(m, lane, 10.0, speed=15.0)], 300).agents[:, 0, 1]
    driven = driven[driven["valid"] == 1]
    sideways = np.abs(driven["yaw_rate"] * driven["speed"])
    assert np.median(sideways[sideways > 1.0]) == pytest.approx(2.0, abs=0.15)
    assert sideways.max() < 2.8
    assert np.abs(driven["lateral"]).max() < 0.2
    assert driven["speed"].max() > 14.0 and driven["acceleration"].min() > -3.0


def test_follower_stops_behind_a_standing_car() -> None:
    lane = int(lanes_outside_junctions(LONG_ROAD)[0])
    parked = user_on(LONG_ROAD, lane, 200.0, max_speed=0.01)
    coming = user_on(LONG_ROAD, lane, 20.0, speed=13.0)
    driven = drive(LONG_ROAD, [parked, coming], 600)
    gap = np.diff(driven.agents["s"][-1, 0, [2, 1]])[0] - parked.length
    assert 1.0 < gap < 3.0 + 0.01 * 60
    assert faults(driven) == NO_FAULTS
    assert driven.agents["acceleration"].min() > -4.0


def test_traffic_drives_round_nothing_and_waits_for_the_ego() -> None:
    lane = int(lanes_outside_junctions(LONG_ROAD)[0])
    driven = drive(
        LONG_ROAD, [user_on(LONG_ROAD, lane, 20.0, speed=13.0)], 400, ego=(lane, 150.0), lateral=0.8
    )
    a = driven.agents[-1, 0, 1]
    assert a["speed"] < 0.1 and a["leader"] == 0
    assert 0.5 < 150.0 - a["s"] - 0.5 * (4.5 + VehicleParameters().length) < 5.0


# --- lights and signs ---------------------------------------------------------------------------

JUNCTION = generate_map("four_way", seed=1)


def approaching(m: RoadMap, lanes: np.ndarray, distance: float = 60.0) -> list[RoadUser]:
    """One car on each lane, ``distance`` m before its end."""
    speed = 10.0
    return [user_on(m, int(q), float(m.lane_length[q]) - distance, speed=speed) for q in lanes]


def entries(m: RoadMap) -> np.ndarray:
    """Lanes that lead into a junction."""
    return np.array([q for q in lanes_outside_junctions(m) if len(m.successors_of(int(q)))])


def front_to_line(m: RoadMap, a: np.ndarray, users: list[RoadUser]) -> np.ndarray:
    """m from each front bumper to the end of the lane the user started on, while it is on it."""
    lane = np.array([u.lane for u in users])
    length = np.array([u.length for u in users])
    return np.where(a["lane"] == lane, m.lane_length[lane] - a["s"] - 0.5 * length, -1.0)


def test_all_stop_before_a_red_light_and_stay() -> None:
    users = approaching(JUNCTION, entries(JUNCTION)) + approaching(
        JUNCTION, entries(JUNCTION), 75.0
    )
    driven = drive(JUNCTION, users, 400, lights=all_lights(JUNCTION, LightState.RED))
    assert faults(driven) == NO_FAULTS
    last = driven.agents[-1, 0, 1:]
    np.testing.assert_allclose(last["speed"], 0.0, atol=0.05)
    assert (JUNCTION.lane_junction[last["lane"]] < 0).all()
    first = front_to_line(JUNCTION, last, users)[:4]
    assert ((first > 0.0) & (first < 2.0)).all()
    assert driven.agents["acceleration"].min() > -4.0


def test_they_go_when_it_turns_green() -> None:
    n = len(JUNCTION.signal_id)
    north_south = JUNCTION.signal_controller == 0
    ones = np.ones(n)
    programme = LightProgramme(
        cycle=np.where(north_south, 1000.0, 0.0), offset=0.0 * ones, green=20.0 * ones,
        yellow=60.0 * ones, red=64.0 * ones, fixed=np.full(n, LightState.RED, np.uint8),
    )  # fmt: skip
    users = approaching(JUNCTION, entries(JUNCTION))
    driven = drive(JUNCTION, users, 400, lights=programme)
    inside = JUNCTION.lane_junction[driven.agents["lane"][:, 0, 1:]] >= 0
    entered = inside.any(0)
    assert entered.sum() == 2
    assert not inside[:200].any()
    first = np.argmax(inside, axis=0)[entered]
    assert (first < 200 + 60).all()  # off the line within 6 s
    assert faults(driven) == NO_FAULTS


@pytest.mark.parametrize("distance", [8.0, 15.0, 22.0, 30.0, 45.0])
def test_yellow_is_passed_or_stopped_for_but_never_becomes_red_light(distance: float) -> None:
    n = len(JUNCTION.signal_id)
    ones = np.ones(n)
    programme = LightProgramme(
        100.0 * ones, 0.0 * ones, 0.0 * ones, 1.0 * ones, 4.0 * ones,
        fixed=np.zeros(n, np.uint8),
    )  # fmt: skip
    lane = entries(JUNCTION)[:1]
    users = [dataclasses.replace(u, speed=12.0) for u in approaching(JUNCTION, lane, distance)]
    driven = drive(JUNCTION, users, 150, lights=programme)
    assert faults(driven) == NO_FAULTS
    assert driven.agents["acceleration"][:, 0, 1].min() > -6.0


def test_stop_sign_is_stopped_for_and_left_again() -> None:
    m = generate_map("t_junction", seed=2)
    signed = m.stop_lane[m.signal_kind[m.stop_signal] == SignalKind.STOP]
    lane = int(m.predecessors_of(int(signed[0]))[0]) if m.lane_junction[signed[0]] >= 0 else (
        int(signed[0])
    )  # fmt: skip
    users = approaching(m, np.array([lane]))
    driven = drive(m, users, 300)
    a = driven.agents[:, 0, 1:]
    distance = np.stack([front_to_line(m, now, users) for now in a])[:, 0]
    stood = (a["speed"][:, 0] < 0.1) & (distance > 0.0)
    assert stood.any()
    assert (distance[stood] < 2.5).all()
    assert m.lane_junction[a["lane"][:, 0]].max() >= 0  # it went on
    assert stood.sum() < 40
    assert faults(driven) == NO_FAULTS


# --- right of way -------------------------------------------------------------------------------

BUSY = {
    "t_junction": (generate_map("t_junction", seed=1, arm_length=250.0), 12),
    "four_way": (generate_map("four_way", seed=1, arm_length=250.0), 16),
    "four_way without control": (
        generate_map("four_way", seed=1, control="none", arm_length=250.0),
        16,
    ),
    "four_way stop": (generate_map("four_way", seed=2, control="stop", arm_length=250.0), 16),
    "roundabout": (generate_map("roundabout", seed=1, arm_length=150.0), 12),
    "town": (generate_map("town", seed=1), 40),
}


@pytest.mark.parametrize("name", BUSY)
def test_two_minutes_of_traffic_without_fault(name: str) -> None:
    """Six worlds each; nobody collides, runs a red light or leaves the road."""
    m, count = BUSY[name]
    driven = busy(m, count, worlds=6, steps=1200)
    assert faults(driven) == NO_FAULTS
    a = driven.agents[:, :, 1:]
    junction = m.lane_junction[a["lane"]]
    entered = (junction >= 0).any(0)
    assert entered.mean() > 0.4
    # Within junctions nobody changes lane, nor begins to just before.
    begins = (a["from_lane"][1:] >= 0) & (a["from_lane"][:-1] < 0)
    assert not (begins & (junction[1:] >= 0)).any()
    assert not (begins & (m.lane_junction[a["from_lane"][1:]] >= 0)).any()


@pytest.mark.parametrize("name", ["t_junction", "four_way", "four_way without control"])
def test_traffic_leaves_a_small_map_at_its_ends(name: str) -> None:
    m, count = BUSY[name]
    driven = busy(m, count, worlds=3, steps=1500)
    valid = driven.agents["valid"][:, :, 1:]
    assert (driven.agents["waited"][:, :, 1:] * valid).max() < 60.0
    assert valid[0].all() and not valid[-1].any()
    assert (np.diff(valid, axis=0) <= 0).all()  # who has left stays away


def test_turning_car_waits_for_oncoming_traffic() -> None:
    """Across a junction without control: the car that turns left lets those ahead of it pass."""
    m = generate_map("four_way", seed=3, control="none", variation=0.0, arm_length=200.0)
    rows = np.flatnonzero((m.conflict_kind == 0) & (m.conflict_yield == 1))
    owner = np.repeat(np.arange(m.lanes), np.diff(m.conflict_start))
    for row in rows:
        turn, straight_on = int(owner[row]), int(m.conflict_lane[row])
        start = m.point_heading[m.point_start[[turn, straight_on]]]
        if np.cos(start[0] - start[1]) < -0.9:  # it comes from the opposite side
            break
    else:
        pytest.fail("the junction has no left turn across oncoming traffic")
    mine, theirs = (int(m.predecessors_of(q)[0]) for q in (turn, straight_on))
    turning = user_on(m, mine, float(m.lane_length[mine]) - 15.0, speed=6.0, route=(mine, turn))
    stream = [
        user_on(
            m,
            theirs,
            float(m.lane_length[theirs]) - 15.0 - 14.0 * k,
            speed=8.0,
            route=(theirs, straight_on),
        )
        for k in range(3)
    ]
    driven = drive(m, [turning, *stream], 400)
    lane = driven.agents["lane"][:, 0, 1:]
    entered = np.argmax(lane == [turn] + 3 * [straight_on], axis=0)
    assert (entered > 0).all()
    assert entered[0] > entered[1:].max()
    assert faults(driven) == NO_FAULTS


# --- scripts ------------------------------------------------------------------------------------


def scripted(lane: int, s: float, trigger: Trigger, value: float, action: Action) -> RoadUser:
    user = user_on(
        LONG_ROAD, lane, s, speed=10.0, max_speed=10.0, politeness=-1.0, trigger=trigger,
        trigger_value=value, action=action, action_rate=4.0, action_hold=5.0,
    )  # fmt: skip
    return user


def test_scripted_brake_begins_and_ends_when_told() -> None:
    lane = int(lanes_outside_junctions(LONG_ROAD)[0])
    a = drive(LONG_ROAD, [scripted(lane, 50.0, Trigger.TIME, 3.0, Action.BRAKE)], 200).agents
    acceleration, speed = a["acceleration"][:, 0, 1], a["speed"][:, 0, 1]
    assert np.abs(acceleration[:31]).max() < 0.1
    assert acceleration[31] < -1.0  # the first step after 3 s, through the brake's lag
    assert acceleration[31:50].min() == pytest.approx(-4.0, abs=0.05)
    assert speed[60:80].max() == 0.0
    assert speed[81:].max() > 5.0  # 5 s later it drives on
    assert np.argmax(a["script"][:, 0, 1] >= 0.0) == 31


@pytest.mark.parametrize(
    ("trigger", "value"), [(Trigger.EGO_DISTANCE, 30.0), (Trigger.EGO_ARRIVAL, 4.0)]
)
def test_scripts_wait_for_the_ego(trigger: Trigger, value: float) -> None:
    """A parked car ahead of an ego that drives 10 m/s towards it from 100 m."""
    lane = int(lanes_outside_junctions(LONG_ROAD)[0])
    user = scripted(lane, 150.0, trigger, value, Action.BRAKE)
    user.speed, user.max_speed = 0.0, 0.01
    driven = drive(LONG_ROAD, [user], 100, ego=(lane, 50.0), speed=10.0)
    begun = int(np.argmax(driven.agents["script"][:, 0, 1] >= 0.0))
    metres = 30.0 if trigger == Trigger.EGO_DISTANCE else 40.0
    assert begun * 0.1 == pytest.approx((100.0 - metres) / 10.0, abs=0.25)
