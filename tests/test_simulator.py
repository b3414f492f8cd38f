"""The simulator as a function: same input, same bytes; and what it says to impossible input."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sim_worlds import digest, record, scenario_on

from roadloop.errors import RoadloopError
from roadloop.logs.store import RolloutWriter, read_rollout, rollout_hash
from roadloop.maps.generate import generate_map
from roadloop.maps.path import route_path
from roadloop.types import Control, Observation, Scenario
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import Simulator, SimWorld
from sim.state import SimState

WORLDS = 64
STEPS = 120


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    """Dense traffic in one town, 64 seeds."""
    town = generate_map("town", seed=0)
    return [build_scenario("dense_town", seed=s, road_map=town) for s in range(WORLDS)]


def controls(worlds: int, step: int) -> np.ndarray:
    """(worlds, 2) of egos that start, weave and brake; the same whoever asks."""
    w = np.arange(worlds)
    return np.stack([1.5 * np.cos(0.05 * step + w), 0.03 * np.sin(0.2 * step + w)], axis=-1)


def run(simulator: Simulator, state: SimState, steps: int) -> SimState:
    for _ in range(steps):
        state = simulator.step(state, controls(state.agents.shape[0], state.step))
    return state


@pytest.fixture(scope="module")
def batch(scenarios: list[Scenario]) -> SimState:
    """The 64 worlds after 120 steps on one thread."""
    simulator = Simulator()
    return run(simulator, simulator.reset(scenarios), STEPS)


# --- the same bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_again_and_on_any_number_of_threads(
    scenarios: list[Scenario], batch: SimState, threads: int
) -> None:
    simulator = Simulator(threads=threads)
    assert digest(run(simulator, simulator.reset(scenarios), STEPS)) == digest(batch)


def test_much_happens_in_these_worlds(batch: SimState) -> None:
    """What the tests of determinism rest on: traffic that moves, changes lane, waits and walks."""
    agents = batch.agents.numpy()
    assert (agents["speed"][:, 1:] > 3.0).mean() > 0.2
    assert (agents["draws"] > 0).mean() > 0.5
    assert (agents["walking"] > 0).any() and (agents["change_wait"] > 0.0).any()
    assert len({digest(batch, world=w) for w in range(WORLDS)}) == WORLDS


@pytest.mark.parametrize("world", [0, 31, 63])
def test_alone_as_in_the_batch(scenarios: list[Scenario], batch: SimState, world: int) -> None:
    simulator = Simulator()
    state = simulator.reset([scenarios[world]])
    for k in range(STEPS):
        state = simulator.step(state, controls(WORLDS, k)[world : world + 1])
    agents = 1 + len(scenarios[world].agents.lane)
    assert digest(state, 0, agents) == digest(batch, world, agents)


def test_in_the_middle_of_another_batch(scenarios: list[Scenario], batch: SimState) -> None:
    simulator = Simulator()
    order = np.array([5, 40, 5, 11])
    state = simulator.reset([scenarios[w] for w in order])
    for k in range(STEPS):
        state = simulator.step(state, controls(WORLDS, k)[order])
    for place, world in enumerate(order):
        agents = 1 + len(scenarios[world].agents.lane)
        assert digest(state, place, agents) == digest(batch, int(world), agents)


def test_a_step_is_pure(batch: SimState) -> None:
    before = digest(batch)
    traits = batch.fixed.traits.numpy().tobytes()
    simulator = Simulator(threads=2)
    one = simulator.step(batch, controls(WORLDS, 7))
    other = simulator.step(batch, controls(WORLDS, 8))
    again = simulator.step(batch, controls(WORLDS, 7))
    assert digest(one) == digest(again) != digest(other)
    assert digest(batch) == before
    assert batch.fixed.traits.numpy().tobytes() == traits
    assert one.step == batch.step + 1 and one.fixed is batch.fixed


def test_two_simulations_side_by_side(scenarios: list[Scenario], batch: SimState) -> None:
    ours, theirs = Simulator(), Simulator(threads=2)
    mine, other = ours.reset(scenarios), theirs.reset(scenarios[:3])
    for _ in range(STEPS):
        mine = ours.step(mine, controls(WORLDS, mine.step))
        other = theirs.step(other, np.ones((3, 2)))
    assert digest(mine) == digest(batch)


def test_control_may_be_a_dataclass(scenarios: list[Scenario]) -> None:
    simulator = Simulator()
    state = simulator.reset(scenarios[:3])
    control = controls(3, 0)
    same = simulator.step(state, Control(acceleration=control[:, 0], steering=control[:, 1]))
    assert digest(same) == digest(simulator.step(state, control))


def _go_on(simulator: Simulator, state: SimState, pipe) -> None:
    pipe.send(digest(run(simulator, state, 30)))
    pipe.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_goes_on_alike(batch: SimState, threads: int) -> None:
    """Also where the parent's threads, which do not survive the fork, have been at work before."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    simulator = Simulator(threads=threads)
    run(simulator, batch, 2)
    context = multiprocessing.get_context("fork")
    children = []
    for _ in range(2):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_go_on, args=(simulator, batch, there))
        child.start()
        children.append((child, here))
    expected = digest(run(simulator, batch, 30))
    for child, pipe in children:
        assert pipe.poll(60), "the child gave no answer within 60 s"
        assert pipe.recv() == expected
        child.join(10)
        assert child.exitcode == 0


FRESH = """
import sys
sys.path.insert(0, "tests")
from test_simulator import Simulator, build_scenario, digest, generate_map, run
town = generate_map("town", seed=0)
simulator = Simulator(threads=3)
state = simulator.reset([build_scenario("dense_town", seed=s, road_map=town) for s in range(64)])
print(digest(run(simulator, state, 120)))
"""


def test_a_fresh_process_gives_the_same_bytes(
    batch: SimState, request: pytest.FixtureRequest
) -> None:
    """The kernels are first loaded by several threads at once, hashes are salted differently."""
    out = subprocess.run(
        [sys.executable, "-c", FRESH],
        cwd=request.config.rootpath, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert out.stdout.split()[-1] == digest(batch)


# --- golden rollouts ----------------------------------------------------------------------------

# SHA-256 of positions, headings and speeds after so many steps, which changes with every change of
# behaviour. Where the change is meant, copy the new value from the failing test's message.
# The mathematics library may differ between CPU types in the last digits of float32, so values are
# rounded to 1 cm, 0.01 rad and 0.01 m/s before they are hashed.
GOLDEN = {
    ("lead_vehicle_brake", 1, 60): (
        "3802ce8e2baf3107dd87ea077e94cd71478f01bfd7c44b14e79727f3364c11ee"
    ),
    ("roundabout", 0, 60): "a3e5e6709057b5a456c5dff4fe8afeec92646369058b7b81bb8afd3184abdb01",
    ("dense_town", 3, 60): "45ba5776d0def03fc33b1fb39a16ffff1e9d2040cfcf08336c57d69dbb641f60",
}


@pytest.mark.parametrize(("name", "seed", "steps"), GOLDEN)
def test_golden_rollout(name: str, seed: int, steps: int) -> None:
    simulator = Simulator()
    state = simulator.reset([build_scenario(name, seed=seed)])
    agents = record(simulator, state, steps, np.array([[0.2, 0.0]])).agents[-1, 0]
    rounded = [np.round(agents[f].astype(float) * 100.0) for f in ("x", "y", "heading", "speed")]
    found = hashlib.sha256(np.stack(rounded).astype("<i8").tobytes()).hexdigest()
    assert found == GOLDEN[name, seed, steps], f"now {found}"


class LaneKeeper:
    """A simple driver: steers for a point ahead on the route, keeps 8 m/s, stops behind others."""

    name = "lane keeper"
    sensors = ("tracks", "lights")
    plan = None

    def reset(self, scenario: Scenario) -> None:
        self.path = route_path(scenario.road_map, scenario.route)

    def act(self, observation: Observation) -> Control:
        ego = observation.ego
        s = float(np.asarray(self.path.project(ego.x, ego.y)[0]))
        k = min(int(np.searchsorted(self.path.s, s + 8.0)), len(self.path.s) - 1)
        dx, dy = self.path.xyz[k, 0] - ego.x, self.path.xyz[k, 1] - ego.y
        turn = np.arctan2(dy, dx) - ego.heading
        curvature = 2.0 * np.sin(turn) / max(float(np.hypot(dx, dy)), 1.0)
        there = observation.tracks.states
        ahead = (there.x - ego.x) * np.cos(ego.heading) + (there.y - ego.y) * np.sin(ego.heading)
        aside = (there.y - ego.y) * np.cos(ego.heading) - (there.x - ego.x) * np.sin(ego.heading)
        blocked = ((ahead > 0.0) & (ahead < 15.0) & (np.abs(aside) < 2.0)).any()
        wish = 0.0 if blocked else 8.0
        return Control(
            acceleration=np.clip(wish - ego.speed, -4.0, 2.0),
            steering=np.arctan(curvature * ego.vehicle.wheelbase),
        )


def test_a_driven_rollout_is_equal_twice(tmp_path) -> None:
    scenario = build_scenario("dense_town", seed=5, duration=15.0)
    hashes = []
    for k in range(2):
        with RolloutWriter(tmp_path / str(k), scenario, "lane keeper") as writer:
            last = drive_scenario(scenario, LaneKeeper(), SimWorld(), writer=writer)
        hashes.append(rollout_hash(read_rollout(tmp_path / str(k))))
        assert last.step == 150 and last.ego.speed > 0.0
    assert hashes[0] == hashes[1]


# --- what the ego sees --------------------------------------------------------------------------


def test_observation_is_the_state(batch: SimState, scenarios: list[Scenario]) -> None:
    simulator = Simulator()
    for world in (0, 17):
        seen = simulator.observe(batch, world)
        now = batch.agents.numpy()[world]
        assert (seen.step, seen.dt) == (STEPS, 0.1) and seen.time == pytest.approx(12.0)
        there = now["valid"] == 1
        there[0] = False
        states = seen.tracks.states
        assert states.id.tolist() == batch.fixed.ids[world][there].tolist()
        np.testing.assert_array_equal(states.x, now["x"][there])
        np.testing.assert_allclose(states.speed, now["speed"][there], atol=1e-5)
        np.testing.assert_allclose(
            np.arctan2(states.vy, states.vx)[states.speed > 1.0],
            states.heading[states.speed > 1.0], atol=1e-5,
        )  # fmt: skip
        x, y = seen.ego.box_centre()
        assert (float(x), float(y)) == pytest.approx((now[0]["x"], now[0]["y"]), abs=1e-9)
        assert seen.lights.shape == (len(scenarios[0].road_map.signal_id),)
        assert states.valid.all() and not seen.tracks.position_std.any()


def test_an_observation_does_not_change_the_state(batch: SimState) -> None:
    before = digest(batch)
    seen = Simulator().observe(batch, 1)
    seen.tracks.states.x[:] = 0.0
    seen.lights[:] = 0
    assert digest(batch) == before


def test_sim_world_is_a_world_like_the_simulator(scenarios: list[Scenario]) -> None:
    world, simulator = SimWorld(), Simulator()
    first = world.reset(scenarios[0], ("tracks",))
    state = simulator.reset(scenarios[:1])
    assert first.step == 0 and first.ego.x == simulator.observe(state).ego.x
    for _ in range(5):
        seen = world.step(Control(np.float64(1.0), np.float64(0.02)))
        state = simulator.step(state, np.array([[1.0, 0.02]]))
    assert world.state is not None and digest(world.state) == digest(state)
    assert seen.step == 5
    again = world.reset(scenarios[0], ())
    assert again.step == 0 and again.ego.x == first.ego.x


def test_the_ego_starts_as_the_scenario_says() -> None:
    scenario = build_scenario("cut_in", seed=3)
    ego = SimWorld().reset(scenario, ()).ego
    for name in ("x", "y", "z", "heading", "speed", "steering"):
        assert float(getattr(ego, name)) == pytest.approx(
            float(getattr(scenario.ego, name)), abs=2e-5
        ), name


def test_driver_that_coasts_to_the_goal_is_done_early() -> None:
    class Coast:
        name, sensors, plan = "coast", (), None

        def reset(self, scenario: Scenario) -> None: ...

        def act(self, observation: Observation) -> Control:
            return Control(np.float64(0.0), np.float64(0.0))

    scenario = build_scenario("lane_following", seed=0, road_map=generate_map("straight"))
    steps: list[int] = []
    last = drive_scenario(
        scenario, Coast(), SimWorld(), on_step=lambda seen: steps.append(seen.step)
    )
    assert steps == list(range(last.step + 1))
    assert last.step < 600


# --- mistakes -----------------------------------------------------------------------------------


def small() -> Scenario:
    return scenario_on(generate_map("straight"), ego=(1, 50.0))


def reset_with_unknown_sensor() -> None:
    SimWorld().reset(small(), ("tracks", "front camera"))


def step_before_reset() -> None:
    SimWorld().step(Control(np.float64(0.0), np.float64(0.0)))


def control_that_is_nan() -> None:
    simulator = Simulator()
    state = simulator.reset([small(), small()])
    simulator.step(state, np.array([[0.0, 0.0], [np.nan, 0.0]]))


def control_that_is_infinite() -> None:
    simulator = Simulator()
    simulator.step(simulator.reset([small()]), Control(np.float64(np.inf), np.float64(0.0)))


def control_of_wrong_shape() -> None:
    simulator = Simulator()
    simulator.step(simulator.reset([small()]), np.zeros((2, 2)))


def no_scenarios() -> None:
    Simulator().reset([])


def scenarios_on_different_maps() -> None:
    other = dataclasses.replace(small(), name="elsewhere", road_map=generate_map("curve"))
    Simulator().reset([small(), other])


def scenarios_of_different_dt() -> None:
    Simulator().reset([small(), dataclasses.replace(small(), name="finer", dt=0.05)])


def unknown_device() -> None:
    Simulator("tpu:0")


def unknown_world_device() -> None:
    SimWorld("gpu")


def no_threads() -> None:
    Simulator(threads=0)


def driver_that_returns_nan() -> None:
    driver = LaneKeeper()
    driver.act = lambda _: Control(np.float64(0.0), np.float64(np.nan))  # type: ignore[method-assign]
    drive_scenario(build_scenario("cut_in"), driver, SimWorld())


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            reset_with_unknown_sensor,
            "no sensor 'front camera': it offers tracks, lights and rig:NAME",
        ),
        (step_before_reset, r"not started: call reset\(scenario, sensors\) first"),
        (control_that_is_nan, r"control of world 1 is \[nan, 0.0\].*not a finite number"),
        (control_that_is_infinite, "control of world 0 .*not a finite number"),
        (control_of_wrong_shape, r"control has shape \(2, 2\), must be \(1, 2\)"),
        (no_scenarios, "no scenario to simulate: give at least one"),
        (scenarios_on_different_maps, "by-hand and elsewhere differ in map or dt"),
        (scenarios_of_different_dt, "by-hand and finer differ in map or dt"),
        (unknown_device, "no device 'tpu:0' here: choose one of cpu"),
        (unknown_world_device, "no device 'gpu' here"),
        (no_threads, "threads is 0, must be at least 1"),
        (driver_that_returns_nan, "driver lane keeper returned .*steering nan at 0.0 s"),
    ],
)
def test_mistakes_are_told_in_one_line(mistake: Callable[[], None], message: str) -> None:
    with pytest.raises(RoadloopError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)


def test_the_example_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(example, "docs/simulator.md", "exec"), names)
    assert names["agents"].shape[0] == 8 and names["state"].step == 50
