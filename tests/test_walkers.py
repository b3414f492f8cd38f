"""Pedestrians: they wait for a gap, and traffic lets them live."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sim_worlds import NO_FAULTS, drive, faults, record, scenario_on

from roadloop.maps.generate import generate_map
from roadloop.types import Action, AgentKind, Behaviour, Trigger, VehicleParameters
from sim.population import RoadUser, pedestrians, traffic, user_on
from sim.simulator import Simulator


def test_pedestrians_cross_unharmed() -> None:
    m = generate_map("straight", seed=1, length=300.0, crossings=2)
    scenarios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        users = traffic(m, rng, 8) + pedestrians(m, rng, 2)
        scenarios.append(scenario_on(m, users, seed=seed))
    simulator = Simulator()
    driven = record(simulator, simulator.reset(scenarios), 500)
    assert faults(driven) == NO_FAULTS
    walkers = driven.agents[:, :, 9:]
    assert walkers["speed"].max() < 2.0
    crossed = (np.diff(walkers["walking"].astype(int), axis=0) != 0).sum(0)
    assert (crossed >= 2).mean() > 0.9  # they set out and arrived


@pytest.mark.parametrize("before", [25.0, 35.0, 50.0])
def test_car_brakes_for_a_pedestrian_who_steps_out(before: float) -> None:
    m = generate_map("straight", length=300.0, crossings=1, variation=0.0)
    walker = dataclasses.replace(
        pedestrians(m, np.random.default_rng(0), 1)[0],
        trigger=Trigger.TIME,
        trigger_value=0.5,
        action=Action.WALK,
        max_speed=1.0,
    )
    starts = m.point_xyz[m.point_start[m.crossing_lane], 1]
    near = int(np.argmin(np.abs(starts - walker.y)))  # the lane at its kerb
    lane, at = int(m.crossing_lane[near]), float(m.crossing_from[near])
    driven = drive(m, [user_on(m, lane, at - before, speed=13.0), walker], 250)
    assert faults(driven) == NO_FAULTS
    speed = driven.agents["speed"][:, 0, 1]
    assert speed.min() < 5.0 and speed[-1] > 10.0
    assert driven.agents["walking"][-1, 0, 2] == 2  # the walker is over


def test_pedestrian_waits_for_a_gap() -> None:
    """Before an ego that does not brake; on an empty street it walks at once."""
    m = generate_map("straight", length=300.0, crossings=1, variation=0.0)
    walker = pedestrians(m, np.random.default_rng(0), 1)[0]
    lane, at = int(m.crossing_lane[0]), float(m.crossing_from[0])
    driven = drive(m, [walker], 150, ego=(lane, at - 40.0), speed=13.0)
    sets_out = int(np.argmax(driven.agents["walking"][:, 0, 1] == 1))
    assert sets_out > 0
    assert driven.agents["s"][sets_out, 0, 0] - 0.5 * VehicleParameters().length > at
    assert faults(driven) == NO_FAULTS
    alone = drive(m, [walker], 5)
    assert (alone.agents["walking"][1:, 0, 1] == 1).all()


def test_scripted_walker_sets_out_when_told() -> None:
    m = generate_map("straight", length=100.0)
    walker = RoadUser(
        AgentKind.PEDESTRIAN, 50.0, -8.0, 0.0, 0.5, 0.5, 1.7, behaviour=Behaviour.WALK,
        walk_to=(50.0, 8.0), max_speed=1.6, trigger=Trigger.TIME, trigger_value=2.0,
        action=Action.WALK,
    )  # fmt: skip
    a = drive(m, [walker], 250).agents[:, 0, 1]
    assert np.ptp(a["y"][:21]) == 0.0
    assert a["y"][31] - a["y"][21] == pytest.approx(1.6, abs=0.01)
    assert a["y"][-1] == pytest.approx(8.0, abs=1e-3)
    assert a["heading"][-1] == pytest.approx(np.pi / 2, abs=1e-5)
    np.testing.assert_allclose(a["x"], 50.0, atol=1e-4)
