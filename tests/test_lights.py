"""Light programmes: who is green when, and the kernel that switches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from sim_worlds import carla_town, scenario_on

from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.types import LightProgramme, LightState
from sim.lights import light_programme
from sim.simulator import Simulator

MAPS = {
    "four_way": lambda: generate_map("four_way", seed=1),
    "four_way, two lanes": lambda: generate_map("four_way", seed=2, lanes=2, minor_lanes=2),
    "t_junction": lambda: generate_map("t_junction", seed=1, control="lights"),
    "town": lambda: generate_map("town", seed=1),
    "Town03": lambda: carla_town("Town03"),
    "Town05": lambda: carla_town("Town05"),
    "Town10HD": lambda: carla_town("Town10HD"),
}


@lru_cache
def lit_map(name: str) -> RoadMap:
    return MAPS[name]()


def state_at(p: LightProgramme, time: np.ndarray) -> np.ndarray:
    """(times, signals) LightState by the formula in LightProgramme's docstring."""
    cycle = np.where(p.cycle > 0.0, p.cycle, 1.0)
    phase = (time[:, None] + p.offset) % cycle
    state = np.full(phase.shape, LightState.RED)
    state[(phase >= p.green) & (phase < p.yellow)] = LightState.GREEN
    state[(phase >= p.yellow) & (phase < p.red)] = LightState.YELLOW
    return np.where(p.cycle > 0.0, state, p.fixed)


def lights_of(m: RoadMap) -> np.ndarray:
    return np.flatnonzero(m.signal_kind == SignalKind.TRAFFIC_LIGHT)


def governing_light(m: RoadMap) -> np.ndarray:
    """(L,) the light whose stop line stands on a junction lane or on all ways into it, -1: none."""
    light = np.full(m.lanes, -1)
    lit = m.signal_kind[m.stop_signal] == SignalKind.TRAFFIC_LIGHT
    light[m.stop_lane[lit]] = m.stop_signal[lit]
    for lane in np.flatnonzero((m.lane_junction >= 0) & (light < 0)):
        before = m.predecessors_of(int(lane))
        if len(before) == 1:
            light[lane] = light[before[0]]
    return light


@pytest.mark.parametrize("name", MAPS)
def test_crossing_streams_are_never_green_together(name: str) -> None:
    """Of lanes that cross, only those that face each other (a turn gives way) share their green."""
    m = lit_map(name)
    p = light_programme(m, seed=3)
    time = np.arange(0.0, p.cycle.max(), 0.25)
    open_ = state_at(p, time) != LightState.RED  # green or yellow
    light = governing_light(m)
    lane = np.repeat(np.arange(m.lanes), np.diff(m.conflict_start))
    enter = m.point_heading[m.point_start[:-1]]
    aside = np.abs(np.sin(enter[lane] - enter[m.conflict_lane])) > np.sin(np.radians(50.0))
    crossing = (m.conflict_kind == ConflictKind.CROSS) & aside
    crossing &= (light[lane] >= 0) & (light[m.conflict_lane] >= 0)
    crossing &= m.lane_junction[lane] == m.lane_junction[m.conflict_lane]
    pairs = np.unique(np.stack([light[lane], light[m.conflict_lane]])[:, crossing], axis=1)
    assert pairs.shape[1] > 0
    together = (open_[:, pairs[0]] & open_[:, pairs[1]]).any(0)
    assert not together.any(), [m.signal_id[pairs[:, k]] for k in np.flatnonzero(together)]


@pytest.mark.parametrize("name", MAPS)
def test_every_light_runs_through_all_its_states(name: str) -> None:
    m = lit_map(name)
    p = light_programme(m, seed=3)
    lights = lights_of(m)
    assert len(lights) > 0
    green, yellow = (p.yellow - p.green)[lights], (p.red - p.yellow)[lights]
    red = p.cycle[lights] - green - yellow
    assert (green >= 8.0).all()
    assert ((yellow >= 3.0) & (yellow <= 6.0)).all()
    assert (red >= 2.0).all()
    assert (p.cycle[lights] <= 180.0).all()  # nobody waits for ever
    time = np.arange(0.0, p.cycle.max() + 1.0, 0.5)
    states = state_at(p, time)
    for state in (LightState.RED, LightState.YELLOW, LightState.GREEN):
        assert (states[:, lights] == state).any(0).all()
    others = np.setdiff1d(np.arange(len(m.signal_id)), lights)
    assert (states[:, others] == LightState.OFF).all()


def test_lights_of_one_controller_switch_together() -> None:
    m = lit_map("town")
    p = light_programme(m, seed=0)
    lights = lights_of(m)
    for controller in np.unique(m.signal_controller[lights]):
        members = lights[m.signal_controller[lights] == controller]
        for times in (p.cycle, p.offset, p.green, p.yellow, p.red):
            assert np.ptp(times[members]) == 0.0


def test_yellow_is_longer_on_faster_roads() -> None:
    yellows = []
    for speed in (5.0, 50.0 / 3.6, 25.0, 60.0):
        m = generate_map("four_way", speed_limit=speed)
        p = light_programme(m)
        yellows.append(float((p.red - p.yellow)[lights_of(m)].min()))
    assert yellows == sorted(yellows)
    assert yellows[0] == 3.0 and yellows[-1] == 6.0
    assert yellows[2] == pytest.approx(1.0 + 25.0 / 7.0)


def test_seed_shifts_whole_junctions() -> None:
    m = lit_map("town")
    one, same, other = (light_programme(m, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.offset, same.offset)
    lights = lights_of(m)
    assert (one.offset[lights] != other.offset[lights]).all()
    for timing in ("cycle", "green", "yellow", "red"):
        np.testing.assert_array_equal(getattr(one, timing), getattr(other, timing))


def test_kernel_agrees_with_the_formula() -> None:
    """64 worlds of random programmes, at many times."""
    m = lit_map("town")
    n = len(m.signal_id)
    rng = np.random.default_rng(0)
    scenarios = []
    for _ in range(64):
        cycle = rng.uniform(10.0, 90.0, n) * (rng.random(n) < 0.8)  # a fifth never switches
        green, yellow, red = np.sort(rng.uniform(0.0, 1.0, (3, n)), axis=0) * cycle
        programme = LightProgramme(
            cycle, rng.uniform(0.0, 200.0, n), green, yellow, red,
            fixed=rng.integers(0, 5, n).astype(np.uint8),
        )  # fmt: skip
        scenarios.append(scenario_on(m, lights=programme, dt=0.7))
    simulator = Simulator()
    state = simulator.reset(scenarios)
    wrong = 0
    for k in range(60):
        seen = state.lights.numpy()
        for w, scenario in enumerate(scenarios):
            wrong += np.count_nonzero(seen[w] != state_at(scenario.lights, np.array([k * 0.7]))[0])
        state = simulator.step(state, np.zeros((64, 2)))
    # float32 may put a switch one step later where a step falls on it to the last digit
    assert wrong <= 2
    lights = simulator.observe(state, 5).lights
    assert lights is not None and lights.dtype == np.uint8 and lights.shape == (n,)


def test_fixed_lights_stay() -> None:
    m = lit_map("four_way")
    n = len(m.signal_id)
    fixed = np.full(n, LightState.RED, np.uint8)
    programme = LightProgramme(*np.zeros((5, n)), fixed=fixed)
    simulator = Simulator()
    state = simulator.reset([scenario_on(m, lights=programme)])
    for _ in range(5):
        np.testing.assert_array_equal(simulator.observe(state).lights, LightState.RED)
        state = simulator.step(state, np.zeros((1, 2)))


def test_map_without_signals_has_no_lights() -> None:
    m = generate_map("straight")
    assert len(light_programme(m).cycle) == 0
    simulator = Simulator()
    observation = simulator.observe(simulator.reset([scenario_on(m)]))
    assert observation.lights is not None and observation.lights.shape == (0,)
