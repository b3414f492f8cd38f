"""Replayed road users are where they are told to be, and traffic reacts to them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sim_worlds import Recorded, digest, drive, record, scenario_on

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Behaviour
from sim.population import RoadUser, agents_from, pose_on, replayed, user_on
from sim.scenarios import build_scenario
from sim.simulator import Simulator
from sim.state import HIT

DT = 0.1
CAR = (4.5, 1.8, 1.5)
ADULT = (0.6, 0.5, 1.8)
ONCOMING, INNER, OUTER = 2, 3, 4
"""lanes of the road: the others' inner one, two along +x"""


@pytest.fixture(scope="module")
def road() -> RoadMap:
    return generate_map("straight", length=400.0, lanes=2, variation=0.0)


def along(road: RoadMap, lane: int, s: np.ndarray, lateral: np.ndarray | float = 0.0) -> np.ndarray:
    """(steps, 4) motion of a centre at ``s``, ``lateral`` m left of a straight lane."""
    x0, y0, _, h = pose_on(road, lane, 0.0)
    lateral = np.broadcast_to(lateral, s.shape)
    x = x0 + s * np.cos(h) - lateral * np.sin(h)
    y = y0 + s * np.sin(h) + lateral * np.cos(h)
    dx, dy = np.gradient(x, DT), np.gradient(y, DT)
    heading = np.where(np.hypot(dx, dy) > 0.1, np.arctan2(dy, dx), h)
    return np.stack([x, y, heading, np.hypot(dx, dy)], axis=-1)


def car(motion: np.ndarray) -> RoadUser:
    return replayed(AgentKind.CAR, motion, *CAR)


def weaving(road: RoadMap, steps: int = 80) -> np.ndarray:
    t = np.arange(steps) * DT
    return along(road, INNER, 60.0 + 9.0 * t, 1.5 * np.sin(0.8 * t))


def poses(driven: Recorded, agent: int = 1, world: int = 0) -> np.ndarray:
    a = driven.agents[:, world, agent]
    return np.stack([a[name].astype(float) for name in ("x", "y", "heading", "speed")], axis=-1)


# --- the motion ---------------------------------------------------------------------------------


def test_is_exactly_where_it_is_told_to_be(road: RoadMap) -> None:
    motion = weaving(road)
    driven = drive(road, [car(motion)], len(motion) - 1)
    found = poses(driven)
    assert np.array_equal(found[:, :2], motion[:, :2])  # float64, to the bit
    assert found[:, 2:] == pytest.approx(motion[:, 2:], abs=2e-6)
    agent = driven.agents[:, 0, 1]
    assert agent["cos"] == pytest.approx(np.cos(motion[:, 2]), abs=1e-6)
    assert agent["yaw_rate"][1:] == pytest.approx(np.diff(motion[:, 2]) / DT, abs=1e-3)
    assert agent["acceleration"][1:] == pytest.approx(np.diff(motion[:, 3]) / DT, abs=1e-3)


def test_heading_may_be_given_unwrapped(road: RoadMap) -> None:
    motion = weaving(road, 10)
    motion[:, 2] += 2.0 * np.pi
    heading = poses(drive(road, [car(motion)], 9))[:, 2]
    assert heading == pytest.approx(motion[:, 2] - 2.0 * np.pi, abs=2e-6)


def test_stands_at_its_last_pose_afterwards(road: RoadMap) -> None:
    motion = weaving(road, 20)
    found = poses(drive(road, [car(motion)], 40))
    assert (found[20:, :2] == motion[-1, :2]).all() and (found[20:, 3] == 0.0).all()
    assert found[19, 3] == pytest.approx(motion[-1, 3])


def test_comes_and_goes(road: RoadMap) -> None:
    motion = weaving(road, 60)
    motion[:15] = motion[30:40] = motion[50:] = np.nan
    driven = drive(road, [car(motion)], 70)
    valid = driven.agents["valid"][:, 0, 1] == 1
    expected = np.zeros(71, bool)
    expected[15:30] = expected[40:50] = True
    assert np.array_equal(valid, expected)
    there = np.flatnonzero(valid)
    assert np.array_equal(poses(driven)[there, :2], motion[there, :2])
    assert (driven.agents["lane"][there, 0, 1] == INNER).all()
    assert (driven.agents["lane"][~valid, 0, 1] == -1).all()
    # Nothing is made up of the jump into existence.
    assert (np.abs(driven.agents["acceleration"][:, 0, 1]) < 20.0).all()
    seen = len(Simulator().observe(driven.last).tracks.states.id)
    assert seen == 0


def test_motions_of_different_length_share_a_world(road: RoadMap) -> None:
    short, long = weaving(road, 10), along(road, OUTER, 100.0 + 5.0 * DT * np.arange(50))
    agents = agents_from([car(short), user_on(road, ONCOMING, 50.0), car(long)])
    assert agents.replay.shape == (3, 50, 4)
    assert np.isnan(agents.replay[1]).all()
    assert (agents.replay[0, 10:, 3] == 0.0).all()
    assert agents.behaviour.tolist() == [Behaviour.REPLAY, Behaviour.TRAFFIC, Behaviour.REPLAY]


def test_nobody_is_replayed_by_default(road: RoadMap) -> None:
    assert agents_from([user_on(road, INNER, 50.0)]).replay.shape == (1, 0, 4)
    assert agents_from([]).replay.shape == (0, 0, 4)


def test_hits_are_noticed(road: RoadMap) -> None:
    t = np.arange(40) * DT
    driven = drive(road, [car(along(road, INNER, 50.0 + 10.0 * t))], 39, ego=(INNER, 70.0))
    touch = np.flatnonzero(driven.events[:, 0, 0] & HIT)
    # 20 m from centre to centre, half of each length: 15.4 m at 10 m/s
    assert touch[0] == pytest.approx((20.0 - 0.5 * (4.7 + 4.5)) / 10.0 / DT, abs=1.0)


def test_stays_on_its_level(road: RoadMap) -> None:
    hill = generate_map("curve", hill=8.0, variation=0.0)
    lane = int(np.argmax(hill.lane_length))
    s = np.linspace(5.0, hill.lane_length[lane] - 5.0, 60)
    rows = np.array([pose_on(hill, lane, float(q)) for q in s])
    motion = np.stack([rows[:, 0], rows[:, 1], rows[:, 3], np.full(60, 8.0)], axis=-1)
    sideways = motion + np.array(
        [0.0, 0.0, np.pi / 2, 0.0]
    )  # keeps to no lane, still stands on the road
    user = dataclasses.replace(car(motion), z=float(rows[0, 2]))
    other = dataclasses.replace(car(sideways), z=float(rows[0, 2]))
    driven = drive(hill, [user, other], 59)
    assert driven.agents["z"][:, 0, 1] == pytest.approx(rows[:, 2], abs=0.02)
    assert driven.agents["z"][:, 0, 2] == pytest.approx(rows[:, 2], abs=0.02)
    assert (driven.agents["lane"][:, 0, 2] == -1).all()


# --- the others ---------------------------------------------------------------------------------


def closest(driven: Recorded, one: int, other: int) -> float:
    a, b = driven.agents[:, 0, one], driven.agents[:, 0, other]
    return float(np.hypot(a["x"] - b["x"], a["y"] - b["y"]).min())


def test_traffic_brakes_for_a_replayed_leader(road: RoadMap) -> None:
    t = np.arange(150) * DT
    s = 60.0 + np.where(t < 2.0, 10.0 * t, 20.0 + 10.0 * (t - 2.0) - 1.5 * (t - 2.0) ** 2)
    s = np.maximum.accumulate(np.minimum(s, s.max()))  # brakes at 3 m/s^2 and stands
    follower = user_on(road, INNER, 35.0, speed=10.0, max_speed=12.0, politeness=-1.0)
    driven = drive(road, [car(along(road, INNER, s)), follower], 149)
    assert driven.agents["speed"][-1, 0, 2] < 0.3
    assert not (driven.events[:, 0] & HIT).any()
    assert 4.5 < closest(driven, 1, 2) < 9.0
    assert (driven.agents["leader"][-20:, 0, 2] == 1).all()


def test_traffic_brakes_for_a_replayed_pedestrian(road: RoadMap) -> None:
    t = np.arange(120) * DT
    motion = along(road, INNER, np.full(120, 60.0), np.minimum(-5.0 + 1.4 * t, 0.0))
    walker = replayed(AgentKind.PEDESTRIAN, motion, *ADULT)
    driver = user_on(road, INNER, 15.0, speed=10.0, max_speed=10.0, politeness=-1.0)
    driven = drive(road, [walker, driver], 119)
    assert driven.agents["speed"][-1, 0, 2] < 0.3
    assert not (driven.events[:, 0] & HIT).any()


def test_traffic_goes_on_when_the_leader_vanishes(road: RoadMap) -> None:
    motion = along(road, INNER, np.full(200, 60.0))
    motion[100:] = np.nan
    follower = user_on(road, INNER, 30.0, speed=8.0, politeness=-1.0)
    speed = drive(road, [car(motion), follower], 199).agents["speed"][:, 0, 2]
    assert speed[100] < 0.3 and speed[-1] > 8.0


def test_traffic_waits_for_a_replayed_car_inside_a_junction() -> None:
    m = generate_map("four_way", control="none", variation=0.0)
    inside = [
        int(q)
        for q in np.flatnonzero(m.is_travel & (m.lane_junction >= 0))
        if abs(np.ptp(np.unwrap(m.point_heading[m.points_of(int(q))]))) < 0.05
    ]
    across = inside[0]
    heading = m.point_heading[m.point_start[inside]]
    turn = heading - m.point_heading[m.point_start[across]]
    mine = inside[int(np.flatnonzero(np.abs(np.abs(np.sin(turn)) - 1.0) < 0.05)[0])]
    before = int(m.predecessors_of(mine)[0])
    s = 0.5 * float(m.lane_length[across])
    blocker = car(along(m, across, np.full(300, s)))
    s0 = float(m.lane_length[before]) - 40.0
    user = user_on(m, before, s0, speed=8.0, route=(before, mine), politeness=-1.0)
    driven = drive(m, [blocker, user], 150)
    assert not (driven.events[:, 0] & HIT).any()
    assert driven.agents["speed"][-1, 0, 2] < 0.3
    alone = drive(m, [user], 150)
    assert alone.agents["lane"][-1, 0, 1] != before


# --- batches ------------------------------------------------------------------------------------


def test_worlds_with_and_without_replay_do_not_disturb_each_other(road: RoadMap) -> None:
    crowd = [user_on(road, 1 + k % 4, 30.0 + 25.0 * k, speed=8.0) for k in range(8)]
    plain = scenario_on(road, crowd, seed=1)
    mixed = scenario_on(road, [*crowd[:3], car(weaving(road))], seed=2)
    other = scenario_on(
        road, [car(along(road, OUTER, 5.0 * DT * np.arange(30))), *crowd[:2]], seed=3
    )
    order = [plain, mixed, other, mixed]
    simulator = Simulator(threads=2)
    together = record(simulator, simulator.reset(order), 60).last
    for world, scenario in enumerate(order):
        alone = record(Simulator(), Simulator().reset([scenario]), 60).last
        agents = 1 + len(scenario.agents.lane)
        assert digest(alone, 0, agents) == digest(together, world, agents)


def test_worlds_of_one_scenario_share_its_motion(road: RoadMap) -> None:
    scenario = scenario_on(road, [car(weaving(road, 80))])
    assert Simulator().reset([scenario]).fixed.replay.shape == (81,)
    assert Simulator().reset([scenario] * 5).fixed.replay.shape == (81,)
    assert Simulator().reset([build_scenario("cut_in")]).fixed.replay.shape == (1,)


def test_a_step_does_not_copy_the_motions(road: RoadMap) -> None:
    simulator = Simulator()
    state = simulator.reset([scenario_on(road, [car(weaving(road))])])
    assert simulator.step(state, np.zeros((1, 2))).fixed is state.fixed


# --- mistakes -----------------------------------------------------------------------------------


def half_a_pose(m: np.ndarray) -> np.ndarray:
    m[3, 2] = np.nan
    return m


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (half_a_pose, r"the motion of a car is \[.*nan.*\] at step 3: give four finite numbers"),
        (lambda m: np.full_like(m, np.nan), "holds no pose"),
        (lambda m: m[:, :3], r"has shape \(20, 3\), must be \(steps, 4\)"),
        (lambda m: m[:0], r"has shape \(0, 4\)"),
        (lambda m: np.where(m == m[5, 0], np.inf, m), "at step 5"),
    ],
)
def test_a_motion_that_is_none_is_refused(road: RoadMap, spoil, message: str) -> None:
    with pytest.raises(RoadloopError, match=message):
        car(spoil(weaving(road, 20)))


def test_an_agent_to_replay_without_a_motion_is_refused(road: RoadMap) -> None:
    scenario = scenario_on(road, [user_on(road, INNER, 50.0, behaviour=Behaviour.REPLAY)])
    with pytest.raises(RoadloopError, match="scenario by-hand: the replay of agent 0"):
        Simulator().reset([scenario])
