"""The simulator on a CUDA device: it agrees with the CPU and repeats itself."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp
from sim_worlds import digest, record, scenario_on

from roadloop.maps.generate import generate_map
from sim.population import user_on
from sim.scenarios import build_scenario
from sim.simulator import Simulator, SimWorld

DEVICE = "cuda:0"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not wp.is_cuda_available(), reason="no CUDA device on this machine"),
]


def test_agrees_with_the_cpu_on_a_simple_road() -> None:
    """60 steps of two columns on a bending road: 1 cm, the rest is float32 in another order."""
    m = generate_map("curve")
    rng = np.random.default_rng(1)
    users = [
        user_on(m, int(lane), 10.0 + 25.0 * k, rng=rng, speed=10.0, politeness=-1.0)
        for lane in np.flatnonzero(m.is_travel)
        for k in range(6)
    ]
    scenario = scenario_on(m, users)
    driven = []
    for device in ("cpu", DEVICE):
        simulator = Simulator(device)
        driven.append(record(simulator, simulator.reset([scenario]), 60).agents)
    cpu, gpu = driven
    away = np.hypot(cpu["x"] - gpu["x"], cpu["y"] - gpu["y"])
    assert away.max() < 1e-2
    assert np.abs(cpu["speed"] - gpu["speed"]).max() < 1e-2
    np.testing.assert_array_equal(cpu["lane"], gpu["lane"])
    moved = np.hypot(cpu["x"][-1] - cpu["x"][0], cpu["y"][-1] - cpu["y"][0])
    assert moved[0, 1:].min() > 20.0


def test_a_town_batch_runs_and_repeats() -> None:
    """64 worlds of 25 cars, 6 walkers and the ego: as fast as on the CPU, the same bytes twice."""
    town = generate_map("town", seed=0)
    scenarios = [build_scenario("dense_town", seed=s, road_map=town, agents=25) for s in range(64)]
    hashes = []
    for _ in range(2):
        simulator = Simulator(DEVICE)
        state = simulator.reset(scenarios)
        assert state.agents.shape == (64, 32)
        for _ in range(100):
            state = simulator.step(state, np.full((64, 2), [0.5, 0.0]))
        hashes.append(digest(state))
    assert hashes[0] == hashes[1]
    agents = state.agents.numpy()
    assert np.isfinite(agents["x"]).all() and np.isfinite(agents["heading"]).all()
    on_cpu = Simulator()
    reference = on_cpu.reset(scenarios)
    for _ in range(100):
        reference = on_cpu.step(reference, np.full((64, 2), [0.5, 0.0]))
    mine, theirs = (a["speed"][:, 1:].mean() for a in (agents, reference.agents.numpy()))
    assert mine == pytest.approx(theirs, rel=0.1)


def test_a_control_on_the_device_is_used_as_it_is() -> None:
    m = generate_map("straight")
    simulator = Simulator(DEVICE)
    state = simulator.reset([scenario_on(m, ego=(1, 50.0))] * 3)
    egos = np.array([[1.0, 0.0], [2.0, 0.01], [-1.0, 0.0]], np.float32)
    full = np.zeros((*state.agents.shape, 2), np.float32)
    full[:, 0] = egos
    on_device = simulator.step(state, wp.array(full, dtype=wp.vec2, device=DEVICE))
    assert digest(on_device) == digest(simulator.step(state, egos))


def test_a_world_on_the_device_is_observed() -> None:
    scenario = build_scenario("cut_in", seed=0)
    seen, expected = (SimWorld(d).reset(scenario, ("tracks",)) for d in (DEVICE, "cpu"))
    assert seen.tracks is not None and expected.tracks is not None
    np.testing.assert_allclose(seen.tracks.states.x, expected.tracks.states.x, atol=1e-3)
    assert float(seen.ego.speed) == pytest.approx(float(expected.ego.speed), abs=1e-5)
