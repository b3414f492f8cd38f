"""UN R157 conflicts: the others start, move over and brake as their parameters say."""

from __future__ import annotations

import numpy as np
import pytest
from sim_worlds import Recorded, record

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.types import Scenario
from sim.alks import ACTION, ALKS, GAP_SPREAD, LENGTH, WIDTH
from sim.scenarios import build_scenario
from sim.scene import kmh
from sim.simulator import Simulator
from sim.state import HIT

BUMPERS = 0.5 * (LENGTH + 4.7)


def coast(scenario: Scenario, seconds: float) -> Recorded:
    """The ego keeps its speed and its lane."""
    simulator = Simulator()
    return record(simulator, simulator.reset([scenario]), round(seconds / scenario.dt))


def in_ego_frame(driven: Recorded, agent: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(steps,) m ahead and to the left of the ego's box centre where the agent's box centre is."""
    ego, other = driven.agents[:, 0, 0], driven.agents[:, 0, agent]
    dx, dy = other["x"] - ego["x"], other["y"] - ego["y"]
    return dx * ego["cos"] + dy * ego["sin"], dy * ego["cos"] - dx * ego["sin"]


@pytest.mark.parametrize(("gap", "aside", "target"), [(10.0, 1.5, 30.0), (40.0, 0.5, 50.0)])
def test_cut_in(gap: float, aside: float, target: float) -> None:
    parameters = {"front_gap": gap, "lateral_speed": aside, "target_speed": kmh(target)}
    scenario = build_scenario("alks_cut_in", dt=0.05, parameters=parameters)
    driven = coast(scenario, 8.0)
    forward, left = in_ego_frame(driven)
    assert forward[0] - BUMPERS == pytest.approx(gap, abs=1e-4)
    assert abs(left[0]) - WIDTH == pytest.approx(1.6, abs=1e-4)  # 1.6 m from side to side
    # Sideways at constant speed until it is in the middle of the ego's lane, then straight on.
    there = round(3.5 / aside / 0.05)
    rate = np.diff(np.abs(left)) / 0.05
    assert rate[: there - 1] == pytest.approx(-aside, abs=1e-3)
    assert np.abs(left[there + 1 :]).max() < 1e-4
    along = np.diff(forward) / 0.05 + kmh(60)
    assert along == pytest.approx(kmh(target), abs=2e-3)
    agent = driven.agents[:, 0, 1]
    assert agent["speed"][5] == pytest.approx(np.hypot(kmh(target), aside), abs=1e-4)
    drift = agent["speed"] * np.sin(agent["heading"] - driven.agents[0, 0, 0]["heading"])
    assert np.abs(drift[:there]) == pytest.approx(aside, abs=1e-3)


def test_cut_out_uncovers_a_standing_car_and_clears_it() -> None:
    for rate, room in ((1.0, 45.0), (2.0, 20.5)):
        parameters = {"lateral_speed": rate, "obstacle_gap": room, "front_gap": 25.0}
        driven = coast(build_scenario("alks_cut_out", parameters=parameters), 12.0)
        ahead, left = in_ego_frame(driven)
        stands, middle = in_ego_frame(driven, 2)
        assert ahead[0] - BUMPERS == pytest.approx(25.0, abs=1e-4)
        k = round(ACTION / 0.1)
        assert np.abs(left[: k + 1]).max() < 1e-4 < abs(left[k + 1])
        assert stands[k] - ahead[k] - LENGTH == pytest.approx(room, abs=1e-3)
        assert abs(left[-1]) == pytest.approx(3.5, abs=1e-3) and np.abs(middle).max() < 1e-4
        assert not (driven.events[:, 0, 1] & HIT).any()
        assert (driven.events[:, 0, 2] & HIT).any()  # the ego that coasts on hits it
        assert driven.agents["speed"][:, 0, 2].max() == 0.0


def test_cut_out_that_would_end_in_a_crash_is_refused() -> None:
    with pytest.raises(RoadloopError, match=r"needs \d+\.\d m to get past .* obstacle_gap is 30 m"):
        build_scenario("alks_cut_out", parameters={"obstacle_gap": 30.0, "lateral_speed": 0.8})


def test_deceleration_to_a_standstill() -> None:
    parameters = {"ego_speed": kmh(100), "deceleration": 5.0, "front_gap": 44.0}
    driven = coast(build_scenario("alks_deceleration", parameters=parameters), 10.0)
    forward, left = in_ego_frame(driven)
    speed = driven.agents["speed"][:, 0, 1].astype(float)
    t = np.arange(len(speed)) * 0.1
    assert forward[0] - BUMPERS == pytest.approx(44.0, abs=1e-3) and np.abs(left).max() < 1e-3
    assert speed == pytest.approx(np.clip(kmh(100) - 5.0 * (t - ACTION), 0.0, kmh(100)), abs=1e-4)
    way = np.diff(driven.agents["x"][:, 0, 1])
    assert np.abs(way) == pytest.approx(0.05 * (speed[1:] + speed[:-1]), abs=0.01)


@pytest.mark.parametrize("name", ALKS)
def test_other_seeds_move_the_gap_a_little(name: str) -> None:
    gaps = []
    for seed in range(5):
        forward, _ = in_ego_frame(coast(build_scenario(name, seed=seed), 0.0))
        gaps.append(float(forward[0]) - BUMPERS)
    default = ALKS[name].parameters["front_gap"].default
    assert gaps[0] == pytest.approx(default, abs=1e-4)
    assert 0.05 < np.abs(np.array(gaps) - default).max() <= GAP_SPREAD


def test_runs_on_any_motorway() -> None:
    m = generate_map("merge", approach=400.0)
    for name in ALKS:
        scenario = build_scenario(name, road_map=m)
        assert len(coast(scenario, 2.0).agents)
    with pytest.raises(RoadloopError, match=r"lacks a straight lane of \d+ m beside another one"):
        build_scenario("alks_cut_in", road_map=generate_map("straight", length=400.0))
