"""Euro NCAP's tests: an ego that does not react meets the target when and where it should."""

from __future__ import annotations

import numpy as np
import pytest
from sim_worlds import Recorded, record

from deploy.stack import Stack
from perception.ground_truth import GroundTruth
from planning.constant_speed import ConstantSpeed
from planning.controllers import TrackingController
from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.types import AgentKind, Behaviour, Observation, Scenario
from sim.euro_ncap import ADULT, ASIDE_SPREAD, CHILD, CYCLIST, EURO_NCAP, LEAD, LEAD_SPREAD
from sim.population import pose_on
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.scene import kmh
from sim.simulator import Simulator, SimWorld
from sim.state import HIT

ALONG = ("ccrs", "ccrm", "ccrb", "cpla", "cbla")
ACROSS = ("cpna", "cpfa", "cpnco", "cbna")
AHEAD = {"cpna": ADULT.ahead, "cpfa": ADULT.ahead, "cpnco": CHILD.ahead, "cbna": CYCLIST.ahead}
"""m from the middle of the box to the reference point, for those who cross"""


def coast(scenario: Scenario, seconds: float = 7.0) -> Recorded:
    """The ego keeps its speed and its lane."""
    simulator = Simulator()
    return record(simulator, simulator.reset([scenario]), round(seconds / scenario.dt))


def in_ego_frame(driven: Recorded, agent: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(steps,) m ahead and to the left of the ego's box centre where the agent's box centre is."""
    ego, other = driven.agents[:, 0, 0], driven.agents[:, 0, agent]
    dx, dy = other["x"] - ego["x"], other["y"] - ego["y"]
    return dx * ego["cos"] + dy * ego["sin"], dy * ego["cos"] - dx * ego["sin"]


def contact(scenario: Scenario, seconds: float = 7.0) -> tuple[float, float]:
    """When a coasting ego's front meets the target (s), and how far to its left (m, box centre).

    Between the step before the simulator notices and that one both move at constant speed.
    """
    driven = coast(scenario, seconds)
    hits = np.flatnonzero(driven.events[:, 0, 0] & HIT)
    assert len(hits) and driven.last.hit.numpy()[0, 0] in (-1, 1)
    k = int(hits[0])
    states = scenario.agents.states
    size = states.width[0] if scenario.family in ACROSS else states.length[0]
    forward, left = in_ego_frame(driven)
    gap = forward - 0.5 * (scenario.ego.vehicle.length + size)
    share = gap[k - 1] / (gap[k - 1] - gap[k])
    assert 0.0 <= share <= 1.0 + 1e-4
    return (k - 1 + share) * scenario.dt, float(left[k - 1] + share * (left[k] - left[k - 1]))


CASES = [(name, speed, impact) for name in ALONG for speed in (30, 60) for impact in (0.0, 0.75)]
CASES += [(name, speed, impact) for name in ACROSS for speed in (30, 60) for impact in (0.25, 0.75)]


@pytest.mark.parametrize(("name", "speed", "impact"), CASES)
def test_contact_is_when_and_where_it_should_be(name: str, speed: float, impact: float) -> None:
    scenario = build_scenario(name, parameters={"ego_speed": kmh(speed), "impact": impact})
    time, left = contact(scenario)
    assert time == pytest.approx(LEAD, abs=0.03 if name == "ccrb" else 0.002)
    # A share of the width from the near side (right); what crosses, from where it comes.
    origin = 1.0 if name == "cpfa" else -1.0
    reference = left - origin * AHEAD.get(name, 0.0)
    expected = origin * (0.5 - impact) * scenario.ego.vehicle.width
    assert reference == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("impact", [-0.25, 1.25])
def test_targets_may_overlap_beyond_a_corner(impact: float) -> None:
    time, left = contact(build_scenario("ccrs", parameters={"impact": impact}))
    assert 0.3 < 0.5 * (1.9 + 1.712) - abs(left) < 0.5
    assert time == pytest.approx(LEAD, abs=0.002)


def first_hit(scenario: Scenario, speed: float) -> tuple[float, np.ndarray]:
    """When the constant-speed driver hits somebody (s), and the (agents,) records then."""
    driver = Stack("constant speed", GroundTruth(), ConstantSpeed(speed), TrackingController())
    world, hits = SimWorld(), []

    def watch(observation: Observation) -> None:
        assert world.state is not None
        if world.state.events.numpy()[0, 0] & HIT:
            hits.append((observation.time, world.state.agents.numpy()[0].copy()))

    drive_scenario(scenario, driver, world, on_step=watch)
    return hits[0]


def test_the_constant_speed_driver_runs_into_it() -> None:
    """Through planner, controller and actuators, not coasting."""
    scenario = build_scenario("ccrs", duration=7.0, parameters={"impact": 0.25})
    assert first_hit(scenario, kmh(50))[0] == pytest.approx(LEAD, abs=0.11)


@pytest.mark.parametrize(("speed", "target", "seed"), [(10, 60, 0), (20, 30, 0), (15, 45, 3)])
def test_a_turn_across_the_path_meets_the_oncoming_car(speed: int, target: int, seed: int) -> None:
    parameters = {"ego_speed": kmh(speed), "target_speed": kmh(target)}
    scenario = build_scenario("ccftap", seed=seed, dt=0.02, duration=7.0, parameters=parameters)
    time, (ego, other) = first_hit(scenario, kmh(speed))
    assert time == pytest.approx(LEAD, abs=0.06 if seed == 0 else LEAD_SPREAD + 0.06)
    # The middle of the ego's front is at the oncoming car's front left corner.
    dx = ego["x"] + 2.35 * ego["cos"] - other["x"]
    dy = ego["y"] + 2.35 * ego["sin"] - other["y"]
    forward, left = dx * other["cos"] + dy * other["sin"], dy * other["cos"] - dx * other["sin"]
    assert forward == pytest.approx(0.5 * 4.023, abs=0.6)  # they close by 0.3 m to 0.4 m a step
    assert left == pytest.approx(0.5 * 1.712, abs=0.15)


def test_a_turn_needs_room() -> None:
    m = generate_map("four_way", control="none", arm_length=40.0)
    with pytest.raises(RoadloopError, match="map four_way_0 lacks a turn across oncoming traffic"):
        build_scenario("ccftap", road_map=m)
    wide = generate_map("four_way", control="none", arm_length=200.0, lanes=2, seed=2)
    assert len(build_scenario("ccftap", road_map=wide).route.lanes) == 3


@pytest.mark.parametrize(
    ("headway", "rate", "speed"),
    [(1.0, 4.0, 50), (0.864, 6.0, 50), (2.88, 2.0, 50), (1.0, 4.0, 80)],
)
def test_braking_target_keeps_its_gap_then_stops(headway: float, rate: float, speed: float) -> None:
    v = kmh(speed)
    scenario = build_scenario(
        "ccrb", parameters={"ego_speed": v, "headway": headway, "deceleration": rate}
    )
    driven = coast(scenario, 14.0)
    gap = in_ego_frame(driven)[0][0] - 0.5 * (4.7 + 4.023)
    assert gap == pytest.approx(headway * v, abs=1e-3)
    pace = driven.agents["speed"][:, 0, 1].astype(float)
    assert pace[0] == pytest.approx(v) and pace[-1] == pytest.approx(0.0, abs=1e-5)
    brakes = int(np.flatnonzero(pace < v - 1e-3)[0])
    assert brakes > 10  # a second at least at constant speed
    slowing = np.flatnonzero(pace > 0.0)[brakes:-1]
    assert (pace[slowing] - pace[slowing + 1]) / 0.1 == pytest.approx(rate, abs=1e-3)
    after = np.sqrt(2.0 * headway * v / rate)
    if after > v / rate:  # it stands by then
        after = headway + 0.5 * v / rate
    assert contact(scenario, 9.0)[0] == pytest.approx(max(LEAD, 1.0 + after), abs=0.02)


def test_crossing_targets_reach_their_speed_on_time() -> None:
    for name, run_up, far, top in (
        ("cpna", 1.0, 4.0, kmh(5)), ("cpfa", 1.5, 6.0, kmh(8)), ("cpnco", 1.0, 4.0, kmh(5)),
    ):  # fmt: skip
        driven = coast(build_scenario(name, dt=0.02))
        speed = driven.agents["speed"][:, 0, 1].astype(float)
        side = in_ego_frame(driven)[1]
        assert side[0] == pytest.approx(far if name == "cpfa" else -far, abs=1e-3)
        assert speed[0] == 0.0 and speed.max() == pytest.approx(top, abs=1e-5)
        reached = int(np.flatnonzero(speed > top - 1e-4)[0])
        assert far - abs(side[reached]) == pytest.approx(run_up, abs=0.05)


def test_crossing_targets_end_up_beyond_the_road() -> None:
    for name, end in (("cpna", 6.0), ("cpfa", -4.0), ("cbna", 12.0)):
        scenario = build_scenario(name)
        last = scenario.agents.replay[0, -1]
        lane = int(scenario.route.lanes[0])
        x, y, _, heading = pose_on(scenario.road_map, lane, 10.0)
        left = (last[1] - y) * np.cos(heading) - (last[0] - x) * np.sin(heading)
        assert left == pytest.approx(end, abs=1e-6) and last[3] == 0.0


def test_child_comes_from_behind_two_parked_cars() -> None:
    scenario = build_scenario("cpnco")
    states, vehicle = scenario.agents.states, scenario.ego.vehicle
    assert states.kind.tolist() == [AgentKind.PEDESTRIAN, AgentKind.STATIC, AgentKind.STATIC]
    assert scenario.agents.behaviour.tolist() == [Behaviour.REPLAY, *[Behaviour.STATIC] * 2]
    driven = coast(scenario, 0.0)
    child, small, large = (
        tuple(float(way[0]) for way in in_ego_frame(driven, k)) for k in (1, 2, 3)
    )
    # 1 m beside the car's side, 1 m before the child, 1 m between them
    for at, width in ((small, states.width[1]), (large, states.width[2])):
        assert -at[1] - 0.5 * width - 0.5 * vehicle.width == pytest.approx(1.0, abs=1e-5)
    assert child[0] - 0.5 * 0.298 - (small[0] + 0.5 * states.length[1]) == pytest.approx(
        1, abs=1e-5
    )
    between = small[0] - 0.5 * states.length[1] - (large[0] + 0.5 * states.length[2])
    assert between == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", EURO_NCAP)
def test_other_seeds_spread_a_little(name: str) -> None:
    times, sides = np.transpose([contact(build_scenario(name, seed=k)) for k in range(4)])
    assert times[0] == pytest.approx(LEAD, abs=0.03)
    assert np.ptp(times) > 0.1 and np.abs(times - LEAD).max() < LEAD_SPREAD + 0.05
    assert np.ptp(sides) > 0.005
    if name in ALONG:
        assert np.abs(sides).max() < ASIDE_SPREAD + 1e-3


def test_road_has_the_test_speed_as_its_limit_and_is_long_enough() -> None:
    scenario = build_scenario("ccrm", parameters={"ego_speed": kmh(130), "target_speed": kmh(70)})
    lane = int(scenario.route.lanes[0])
    assert scenario.road_map.lane_speed_limit[lane] == pytest.approx(kmh(130), abs=0.01)
    assert scenario.road_map.lane_length[lane] > kmh(130) * scenario.duration
    # Impacts and seeds share one map, so that a suite's worlds can share a batch.
    other = build_scenario(
        "ccrm", seed=3, parameters={"ego_speed": kmh(130), "target_speed": 5.0, "impact": 0.0}
    )
    assert other.road_map is scenario.road_map


def test_runs_on_any_straight_road() -> None:
    m = generate_map("straight", length=500.0, seed=5, lanes=2)
    for name in EURO_NCAP:
        assert contact(build_scenario(name, road_map=m))[0] == pytest.approx(LEAD, abs=0.03)
    with pytest.raises(RoadloopError, match="map curve_0 lacks a straight lane of 1"):
        build_scenario("ccrs", road_map=generate_map("curve", approach=50.0))


def test_a_target_that_is_not_slower_is_refused() -> None:
    with pytest.raises(
        RoadloopError, match=r"target_speed 14 m/s must be below ego_speed 13\.8889"
    ):
        build_scenario("ccrm", parameters={"target_speed": 14.0})
