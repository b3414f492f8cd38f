"""Many worlds at once: the same as one by one, and what follows the end of an episode."""

from __future__ import annotations

import dataclasses
import time

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sim_worlds import digest

import sim.envs
from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import Behaviour, Scenario
from sim.envs.config import OptionError
from sim.envs.drive_env import DriveEnv
from sim.envs.vector_env import DriveVectorEnv
from sim.scenarios import build_scenario
from sim.simulator import Simulator
from sim.state import SimState

WORLDS = 5
SHORT = 3.0
"""s, so that episodes end by time too"""


@pytest.fixture(scope="module")
def junction() -> RoadMap:
    """A signalled junction of four roads."""
    return generate_map("four_way", seed=0)


def options(road_map: RoadMap, **more) -> dict:
    return {"map": road_map, "scenario": "red_light", "pool": 6, "max_seconds": SHORT} | more


def make(road_map: RoadMap, worlds: int = WORLDS, **more) -> DriveVectorEnv:
    return gymnasium.make_vec(
        sim.envs.DRIVE, num_envs=worlds, vectorization_mode="vector_entry_point",
        **options(road_map, **more),
    )  # fmt: skip


def swerving(worlds: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Actions of which some leave the road before the time is up."""
    rng = np.random.default_rng(seed)
    bias = rng.uniform(-0.6, 0.6, worlds)
    return [
        np.stack([rng.uniform(0.0, 1.0, worlds), bias + rng.normal(0, 0.1, worlds)], -1)
        for _ in range(steps)
    ]


# --- restarting some worlds of a batch ----------------------------------------------------------


@pytest.fixture(scope="module")
def town() -> list[Scenario]:
    """Scenarios of one town with different numbers of road users, so that rooms must grow."""
    road_map = generate_map("town", seed=0)
    return [
        build_scenario("dense_town", seed=s, road_map=road_map, agents=4 + 7 * (s % 3))
        for s in range(5)
    ]


def control(worlds: int) -> np.ndarray:
    return np.tile([0.5, 0.01], (worlds, 1))


def alone(scenario: Scenario, steps: int) -> str:
    """Digest of a scenario after so many steps by itself."""
    simulator = Simulator()
    state = simulator.reset([scenario])
    for _ in range(steps):
        state = simulator.step(state, control(1))
    return world_digest(state, 0, scenario)


def world_digest(state: SimState, world: int, scenario: Scenario) -> str:
    own_clock = int(state.fixed.begun.numpy()[world])
    state = dataclasses.replace(state, step=state.step - own_clock)
    return digest(state, world, 1 + len(scenario.agents.lane))


@pytest.mark.parametrize("ready", [False, True])
def test_a_restarted_world_is_as_if_it_had_been_alone(town: list[Scenario], ready: bool) -> None:
    simulator = Simulator()
    state = simulator.reset([town[0], town[3], town[0]])
    for _ in range(15):
        state = simulator.step(state, control(3))
    before = digest(state)
    new = [simulator.reset([s]) if ready else s for s in (town[2], town[1])]
    restarted = simulator.restart(state, [2, 0], new)
    assert digest(state) == before  # the old state stays valid
    for _ in range(25):
        restarted = simulator.step(restarted, control(3))
    assert world_digest(restarted, 2, town[2]) == alone(town[2], 25)
    assert world_digest(restarted, 0, town[1]) == alone(town[1], 25)
    assert world_digest(restarted, 1, town[3]) == alone(town[3], 40)
    seen = simulator.observe(restarted, 2)
    assert seen.step == 25 and seen.time == pytest.approx(2.5) and (seen.tracks.age == 25).all()
    assert simulator.observe(restarted, 1).step == 40
    assert [s.seed for s in restarted.fixed.scenarios] == [1, 3, 2]


def test_replayed_road_users_restart_too() -> None:
    """Their motions lie in one array of the batch, which a restart writes anew."""
    road_map = build_scenario("ccrs", seed=0).road_map
    scenarios = [build_scenario("ccrm", seed=s, road_map=road_map) for s in range(3)]
    assert all((s.agents.behaviour == Behaviour.REPLAY).any() for s in scenarios)
    simulator = Simulator()
    state = simulator.reset(scenarios[:2])
    for _ in range(10):
        state = simulator.step(state, control(2))
    state = simulator.restart(state, [1], [scenarios[2]])
    for _ in range(20):
        state = simulator.step(state, control(2))
    assert world_digest(state, 1, scenarios[2]) == alone(scenarios[2], 20)
    assert world_digest(state, 0, scenarios[0]) == alone(scenarios[0], 30)


def test_restarts_that_can_not_be(town: list[Scenario], junction: RoadMap) -> None:
    simulator = Simulator()
    state = simulator.reset(town[:2])
    elsewhere = build_scenario("red_light", road_map=junction)
    for worlds, scenarios, said in (
        ([2], town[:1], "the batch has worlds 0 to 1"),
        ([0, 0], town[:2], "each world once"),
        ([0], town[:2], "with 2 scenarios"),
        ([0], [elsewhere], "differ in map or dt"),
        ([0], [simulator.step(simulator.reset(town[:1]), control(1))], "at step 1"),
    ):
        with pytest.raises(RoadloopError, match=said):
            simulator.restart(state, worlds, scenarios)
    assert simulator.restart(state, [], []) is state


# --- the same as one by one ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("observation", ["vector", "bev", "full"])
def test_as_single_environments_side_by_side(
    junction: RoadMap, mode: AutoresetMode, observation: str
) -> None:
    """Everything Gymnasium's own vector environment gives of ``DriveEnv``, byte for byte."""
    given = options(junction, observation=observation, agents=6)
    singles = SyncVectorEnv(
        [lambda: gymnasium.make(sim.envs.DRIVE, **given)] * WORLDS, autoreset_mode=mode
    )
    batch = make(junction, observation=observation, agents=6, autoreset_mode=mode)
    assert batch.metadata["autoreset_mode"] is mode
    assert batch.single_observation_space == singles.single_observation_space
    assert batch.observation_space == singles.observation_space
    ours, theirs = batch.reset(seed=3), singles.reset(seed=3)
    assert data_equivalence(ours, theirs, exact=True)
    ends = 0
    for action in swerving(WORLDS, 70):
        ours, theirs = batch.step(action), singles.step(action)
        for name, a, b in zip(("seen", "reward", "terminated", "truncated"), ours, theirs):
            assert data_equivalence(a, b, exact=True), name
        _same_infos(ours[4], theirs[4])
        ends += int(ours[2].sum()) + int(ours[3].sum())
    assert ends >= 2 * WORLDS


def _same_infos(ours: dict, theirs: dict) -> None:
    """Equal where the masks say that there is something; and equal masks."""
    assert {k for k in theirs if np.any(theirs.get(f"_{k}", True))} <= set(ours)
    for key, value in theirs.items():
        if isinstance(value, dict):
            _same_infos(ours[key], value)
        elif key.startswith("_"):
            np.testing.assert_array_equal(ours[key], value, err_msg=key)
        else:
            mask = theirs[f"_{key}"]
            assert data_equivalence(list(ours[key][mask]), list(value[mask]), exact=True), key


def test_twice_the_same_and_on_threads(junction: RoadMap) -> None:
    def drive(env: DriveVectorEnv) -> list:
        seen: list = [env.reset(seed=1)]
        seen += [env.step(a)[:4] for a in swerving(WORLDS, 50)]
        return seen

    one = drive(make(junction, agents=6))
    assert data_equivalence(one, drive(make(junction, agents=6)), exact=True)
    assert data_equivalence(one, drive(make(junction, agents=6, threads=3)), exact=True)


def test_what_was_given_stays_as_it_was(junction: RoadMap) -> None:
    """Observations are the caller's own: no later step changes them."""
    env = make(junction, agents=2)
    first, _ = env.reset(seed=0)
    kept = {k: v.copy() for k, v in first.items()}
    for action in swerving(WORLDS, 5):
        env.step(action)
    assert data_equivalence(first, kept, exact=True)


# --- the end of an episode ----------------------------------------------------------------------


def test_next_step_resets_in_the_step_after_the_end(junction: RoadMap) -> None:
    env = make(junction, agents=0, end_on=())
    env.reset(seed=0)
    idle = np.zeros((WORLDS, 2))
    for step in range(1, 31):
        _, _, terminated, truncated, infos = env.step(idle)
        assert not terminated.any() and (truncated == (step == 30)).all()
    assert infos["_reward_terms"].all() and "seed" not in infos
    seen, rewards, terminated, truncated, infos = env.step(idle)
    assert (rewards == 0.0).all() and not truncated.any() and infos["_seed"].all()
    assert not infos["_reward_terms"].any() and (env.core.elapsed == 0).all()
    assert (seen["ego"][:, 9] > 60.0).all()  # m to the goal, all the way again


def test_same_step_keeps_the_last_observation(junction: RoadMap) -> None:
    env = make(junction, agents=0, end_on=(), autoreset_mode="SameStep")
    env.reset(seed=0)
    go = np.tile([0.5, 0.0], (WORLDS, 1))
    for _ in range(29):
        seen, *_ = env.step(go)
    before = seen["ego"][:, 9]
    seen, rewards, _, truncated, infos = env.step(go)
    assert truncated.all() and infos["_final_obs"].all() and (rewards != 0.0).all()
    last = np.array([final["ego"][9] for final in infos["final_obs"]])
    assert (last < before).all() and (last < seen["ego"][:, 9]).all()
    progress = infos["final_info"]["reward_terms"]["progress"]
    np.testing.assert_allclose(before - last, progress, atol=1e-3)


def test_disabled_waits_for_reset_mask(junction: RoadMap) -> None:
    env = make(junction, worlds=3, agents=0, end_on=(), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    idle = np.zeros((3, 2))
    for _ in range(30):
        *_, truncated, _ = env.step(idle)
    assert truncated.all()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"worlds \[0, 1, 2\] are over"):
        env.step(idle)
    _, infos = env.reset(options={"reset_mask": np.array([True, False, True])})
    assert infos["_seed"].tolist() == [True, False, True]
    assert env.core.elapsed.tolist() == [0, 30, 0]
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"\[1\]"):
        env.step(idle)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    env.step(idle)


def test_seeds_one_each(junction: RoadMap) -> None:
    env = make(junction, agents=0)
    ours, _ = env.reset(seed=[9, 3, 9, 4, 5])
    assert data_equivalence(
        {k: v[0] for k, v in ours.items()}, {k: v[2] for k, v in ours.items()}, exact=True
    )
    single = DriveEnv(**options(junction, agents=0))
    alone, _ = single.reset(seed=3)
    assert data_equivalence({k: v[1] for k, v in ours.items()}, alone, exact=True)


def test_pictures_of_all_worlds(junction: RoadMap) -> None:
    env = make(junction, worlds=2, agents=2, render_mode="rgb_array", frame_size=(160, 120))
    env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 2 and frames[0].shape == (120, 160, 3)
    assert (frames[0] != frames[1]).any()


# --- use ----------------------------------------------------------------------------------------


def test_wrappers_of_gymnasium_work(junction: RoadMap) -> None:
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(make(junction, agents=0))
    env.reset(seed=0)
    returns = [env.step(a)[4] for a in swerving(WORLDS, 60)]
    assert any("episode" in infos for infos in returns)


def test_many_worlds_are_ready_in_seconds() -> None:
    """Scenarios are built as they are drawn, not all at once."""
    started = time.process_time()
    env = gymnasium.make_vec(sim.envs.DRIVE, num_envs=16, pool=10_000, agents=10)
    env.reset(seed=0)
    assert time.process_time() - started < 10.0  # about 2 s on a free core
    env.step(np.zeros((16, 2)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"num_envs": 2, "autoreset_mode": "Sometimes"}, "one of NextStep, SameStep, Disabled"),
        ({"num_envs": 2, "render_mode": "human"}, "choose rgb_array or None"),
        ({"num_envs": 2, "wolrds": 3}, 'unknown option "wolrds"'),
    ],
)
def test_what_a_vector_environment_refuses(more: dict, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        gymnasium.make_vec(sim.envs.DRIVE, vectorization_mode="vector_entry_point", **more)


def test_bad_resets_and_actions(junction: RoadMap) -> None:
    env = make(junction, agents=0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((WORLDS, 2)))
    with pytest.raises(OptionError, match="3 seeds for 5 worlds"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(OptionError, match="reset_mask must be 5 booleans"):
        env.reset(options={"reset_mask": np.zeros(WORLDS)})
    env.reset(seed=0)
    with pytest.raises(RoadloopError, match="actions have shape"):
        env.step(np.zeros((3, 2)))
    bad = np.zeros((WORLDS, 2))
    bad[3, 1] = np.nan
    with pytest.raises(RoadloopError, match="the action of world 3"):
        env.step(bad)


# --- several learners in one world --------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd() -> dict:
    return {"map": generate_map("town", seed=0), "pool": 3, "agents": 16, "max_seconds": 6.0}


def test_pettingzoo_finds_nothing_wrong(crowd: dict) -> None:
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    from sim.envs.parallel import DriveParallelEnv

    parallel_api_test(DriveParallelEnv(3, **crowd), num_cycles=150)
    parallel_seed_test(lambda: DriveParallelEnv(3, **crowd), num_cycles=40)


def test_learners_have_routes_of_their_own_and_leave_when_they_are_done(crowd: dict) -> None:
    from sim.envs.parallel import DriveParallelEnv

    env = DriveParallelEnv(4, action="discrete", **crowd)
    seen, _ = env.reset(seed=0)
    places = {a: seen[a]["ego"][9] for a in env.agents}
    assert len(env.agents) == 4 and all(-1.0 < seen[a]["ego"][4] < 1.0 for a in seen)
    assert all(place > 50.0 for place in places.values())
    done: dict[str, int] = {}
    while env.agents:
        here = list(env.agents)
        # The second one accelerates for ever, the others keep to 5 m/s.
        act = {a: 4 if a == "car_1" else (3 if seen[a]["ego"][0] < 5.0 else 2) for a in here}
        seen, rewards, over, late, infos = env.step(act)
        assert set(rewards) == set(over) == set(late) == set(infos) == set(seen) == set(here)
        for a in here:
            if over[a]:
                done[a] = int(env.core.elapsed[0])
                row = int(a[-1])
                assert env.core.state.agents.numpy()["valid"][0, row] == 0
    assert set(done) <= {"car_0", "car_1", "car_2", "car_3"} and env.core.elapsed[0] <= 60
    with pytest.raises(RoadloopError, match="nobody is on the road"):
        env.step({})


def test_too_many_learners() -> None:
    from sim.envs.parallel import DriveParallelEnv

    env = DriveParallelEnv(3, scenario="lane_following")
    with pytest.raises(OptionError, match="0 vehicles to hand over, 3 learners need 2"):
        env.reset(seed=0)


# --- Stable-Baselines3 --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_stable_baselines_trains(junction: RoadMap, steps: int) -> None:
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    given = options(junction, agents=2)
    check_env(gymnasium.make(sim.envs.DRIVE, **given))
    env = gymnasium.make(sim.envs.DRIVE, **given)
    model = stable_baselines3.PPO("MultiInputPolicy", env, n_steps=500, batch_size=250, n_epochs=2)
    model.learn(steps)
    action, _ = model.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action)
