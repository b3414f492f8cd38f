"""PPO: its arithmetic, its bookkeeping, resuming to the same bytes, and the policy as a driver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from deploy.drivers import make_driver
from planning.policy import WEIGHTS, Layout, Policy, PolicyNetwork, pack
from roadloop.errors import RoadloopError
from roadloop.features import control_from_action
from roadloop.interfaces import Driver
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld
from sim.suite import load_suite
from training.actor_critic import Agent
from training.experience import Experience, Moments, Rollout
from training.team import Team
from training.train_policy import TrainPolicy, advantages, main, options_of
from training.worlds import Worlds, make_worlds

TINY = ["--num-envs", "4", "--num-steps", "16", "--epochs", "2", "--minibatches", "2",
        "--hidden", "16", "--no-tensorboard", "--checkpoint-every", "2"]  # fmt: skip
POLE = ["--env", "CartPole-v1", *TINY, "--total-steps", "256"]


class Aim(gym.Env):
    """One number is shown, the action should equal it; over after 3 steps, by the clock."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left = 3
        return self._shown(), {}

    def step(self, action: np.ndarray) -> Any:
        miss = float(action[0] - self.target[0])
        self.left -= 1
        return self._shown(), -(miss**2), False, self.left == 0, {"is_success": abs(miss) < 0.3}

    def _shown(self) -> np.ndarray:
        self.target = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.target


class Crowd(Aim):
    """A set of rows beside the state."""

    observation_space = gym.spaces.Dict(
        ego=gym.spaces.Box(-9.0, 9.0, (2,), np.float32),
        agents=gym.spaces.Box(-9.0, 9.0, (5, 3), np.float32),
        valid=gym.spaces.Box(0.0, 1.0, (5,), np.float32),
    )

    def _shown(self) -> Any:
        self.target = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        count = int(self.np_random.integers(0, 6))
        rows = np.zeros((5, 3), np.float32)
        rows[:count] = self.np_random.normal(size=(count, 3))
        return {"ego": np.repeat(self.target, 2), "agents": rows,
                "valid": (np.arange(5) < count).astype(np.float32)}  # fmt: skip


gym.register("test/Aim-v0", entry_point=Aim)
gym.register("test/Crowd-v0", entry_point=Crowd)


def agent_for(worlds: Worlds) -> Agent:
    torch.manual_seed(0)
    return Agent(worlds.layout, worlds.outputs, worlds.discrete, hidden=16, first_std=0.5)


# --- arithmetic ---------------------------------------------------------------------------------


def rollout_of(reward: Any, value: Any, next_value: Any, terminated: Any, ended: Any) -> Rollout:
    column = [torch.tensor(v, dtype=torch.float32)[:, None] for v in
              (value, next_value, reward, terminated, ended)]  # fmt: skip
    nothing = torch.zeros(len(reward), 1)
    return Rollout(nothing, nothing, nothing, *column, torch.ones(len(reward), 1))


def test_with_lambda_1_the_advantage_is_the_discounted_return_less_the_value() -> None:
    reward, value = [1.0, 2.0, 3.0, 4.0], [0.5, 0.25, 0.125, 0.0]
    # the episode ends by the clock after the second step: its last observation is worth 10
    rollout = rollout_of(reward, value, [0.25, 10.0, 0.0, 7.0], [0, 0, 0, 0], [0, 1, 0, 0])
    got = advantages(rollout, 0.9, 1.0)[:, 0].tolist()
    returns = [1.0 + 0.9 * (2.0 + 0.9 * 10.0), 2.0 + 0.9 * 10.0]
    returns += [3.0 + 0.9 * (4.0 + 0.9 * 7.0), 4.0 + 0.9 * 7.0]
    assert got == pytest.approx([g - v for g, v in zip(returns, value)])


def test_nothing_follows_a_failure() -> None:
    rollout = rollout_of([1.0, 2.0], [0.0, 0.0], [5.0, 10.0], [0, 1], [0, 1])
    assert advantages(rollout, 0.9, 0.0)[:, 0].tolist() == pytest.approx([1.0 + 0.9 * 5.0, 2.0])


def test_moments_merge_to_those_of_everything() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, (500, 3))
    values[:, 2] = 4.0
    moments = Moments(3)
    for part in np.array_split(values, 7):
        moments.update(part, Team())
    np.testing.assert_allclose(moments.mean, values.mean(axis=0))
    np.testing.assert_allclose(moments.std, [*values[:, :2].std(axis=0), 1.0])  # constant: 1
    again = Moments(3)
    again.load(json.loads(json.dumps(moments.state())))
    assert (again.mean == moments.mean).all() and (again.std == moments.std).all()


# --- worlds -------------------------------------------------------------------------------------


def aims(mode: AutoresetMode, name: str = "test/Aim-v0") -> VectorEnv:
    return SyncVectorEnv([lambda: gym.make(name)] * 2, autoreset_mode=mode)


@pytest.mark.parametrize("name", ["test/Aim-v0", "test/Crowd-v0"])
def test_both_reset_modes_give_the_same_experience(name: str) -> None:
    """Step by step the same observations, rewards and bootstrap values, the mere resets apart."""
    found = []
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        worlds = Worlds([aims(mode, name)])
        args = TrainPolicy(out=Path(), num_envs=2, num_steps=24, total_steps=48)
        experience, agent = Experience(worlds, args, Team()), agent_for(worlds)
        agent.log_std.data.fill_(-20.0)  # the mean action: no random number decides
        experience.restart(0)
        rollout, means = experience.collect(agent, torch.Generator().manual_seed(0))
        rows = torch.stack([rollout.value, rollout.next_value, rollout.reward, rollout.ended], -1)
        found.append([rows[:, w][rollout.counts[:, w] > 0.0][:18] for w in range(2)])
        assert means["length"] == 3.0 and 0.0 <= means["success"] <= 1.0
    for same, following in zip(*found):
        torch.testing.assert_close(same, following)


def test_a_packed_set_lies_behind_the_state_with_its_mask() -> None:
    seen = Crowd().reset(seed=4)[0]
    flat = pack(seen, 1)[0]
    assert flat[:2].tolist() == seen["ego"].tolist()
    assert flat[2:17].tolist() == seen["agents"].ravel().tolist()
    assert flat[17:].tolist() == seen["valid"].tolist()


def test_worlds_of_two_scenarios_are_stepped_as_one() -> None:
    options = {"pool": 2}
    families = ("lane_following", "lead_vehicle_brake")
    worlds = make_worlds("roadloop/Drive-v0", families, 5, options)
    assert [part.stop - part.start for part in worlds.slices] == [2, 3]
    assert worlds.layout == Layout(46, 12, 12)
    first = worlds.reset([1, 2])
    assert (first == worlds.reset([1, 2])).all()
    # only behind a braking car somebody is there
    assert worlds.step(np.zeros((5, 2))).observation[:, -12].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


# --- the network --------------------------------------------------------------------------------


def test_the_order_of_the_others_and_rows_that_are_not_there_change_nothing() -> None:
    agent = Agent(Layout(2, 5, 3), 2, False, hidden=16, first_std=0.5)
    x = torch.randn(6, Layout(2, 5, 3).size)
    x[:, -5:] = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    other = x.clone()
    other[:, 2:17] = x[:, 2:17].reshape(6, 5, 3)[:, [2, 0, 1, 4, 3]].flatten(1)
    other[:, 11:17] = 1e3
    torch.testing.assert_close(agent.distribution(x).mean, agent.distribution(other).mean)
    x[:, -5:] = 0.0
    assert torch.isfinite(agent.value(x)).all()


# --- runs ---------------------------------------------------------------------------------------


def progress(folder: Path) -> list[str]:
    return (folder / "progress.csv").read_text().splitlines()


def test_a_resumed_run_writes_the_same_bytes(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["--out", str(whole), *POLE]) == 0
    assert len(progress(whole)) == 5
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "000004")  # killed after the third update
    (part / "progress.csv").write_text("\n".join(progress(whole)[:4]) + "\n")
    assert main(["--out", str(part), "--resume"]) == 0
    for name in ("progress.csv", "policy.safetensors", "checkpoints/000004/optimiser.safetensors",
                 "checkpoints/000004/state.json"):  # fmt: skip
        assert (part / name).read_bytes() == (whole / name).read_bytes(), name
    assert main(["--out", str(part), "--resume"]) == 0  # nothing is left to do
    assert progress(part) == progress(whole)


@pytest.mark.parametrize("name", ["test/Aim-v0", "test/Crowd-v0"])
def test_it_learns_and_the_driver_s_network_says_the_same(tmp_path: Path, name: str) -> None:
    words = ["--env", name, *TINY, "--num-steps", "64", "--total-steps", "3072", "--gamma", "0.0"]
    words += ["--epochs", "8", "--learning-rate", "3e-3", "--first-std", "0.15"]
    assert main(["--out", str(tmp_path), *words]) == 0
    at = progress(tmp_path)[0].split(",").index("return")
    first, last = (float(progress(tmp_path)[k].split(",")[at]) for k in (1, -1))
    assert last > 0.5 * first  # -0.09 a step is the noise that is asked for

    network = PolicyNetwork(tmp_path / "policy.safetensors")
    worlds = make_worlds(name, (), 4, {})
    agent = agent_for(worlds)
    agent.load_state_dict({k: torch.from_numpy(v) for k, v in network.weights.items()})
    x = worlds.reset([7])
    mean = agent.distribution(torch.from_numpy(x)).mean.detach().numpy()
    np.testing.assert_allclose(network(x), mean, atol=1e-5)


def test_ctrl_c_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    collect = Experience.collect

    def interrupted(self: Experience, agent: Agent, noise: torch.Generator) -> Any:
        signal.raise_signal(signal.SIGINT)
        return collect(self, agent, noise)

    started: list[int] = []
    restart = Experience.restart

    def count(self: Experience, update: int) -> None:
        started.append(update)
        if len(started) == 2:  # after the rollout that is thrown away
            monkeypatch.setattr(Experience, "collect", interrupted)
        restart(self, update)

    monkeypatch.setattr(Experience, "restart", count)
    assert main(["--out", str(tmp_path), *POLE]) == 130
    assert len(progress(tmp_path)) == 2 and (tmp_path / "checkpoints" / "000001").is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env", "roadloop/Driv-v0"], 'unknown environment "roadloop/Driv-v0"; did you mean'),
        (["--env", "CartPole-v1", "--option", "wheels=3"], "wheels"),
        (["--scenario", "lane_folowing"], 'did you mean "lane_following"?'),
        (["--option", "reward.progres=1"], 'did you mean "progress"?'),
        (["--option", "reward"], "expected NAME=VALUE"),
        (["--gamma", "1.5"], "gamma is 1.5; it must be in [0, 1]"),
        (["--device", "tpu"], 'no device "tpu"'),
        (["--total-steps", "100"], "less than one update"),
        (["--resume"], "holds no run to resume"),
        (["--num-envs", "1"], "1 worlds for 2 scenarios"),
        (["--num-envs", "x"], "--num-envs"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run" / "args.yaml").exists()


def test_a_run_is_not_overwritten_or_resumed_with_other_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), *POLE]) == 0
    assert main(["--out", str(tmp_path), *POLE]) == 2
    assert "use --resume or --overwrite" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--resume", "--seed", "5"]) == 2
    assert "has seed 1, asked for is 5" in capsys.readouterr().err
    folder = tmp_path / "checkpoints" / "000004"
    (tmp_path / "args.yaml").write_text(
        (tmp_path / "args.yaml").read_text().replace("hidden: 16", "hidden: 8")
    )
    assert main(["--out", str(tmp_path), "--resume"]) == 2
    assert "is of another network" in capsys.readouterr().err
    (folder / "optimiser.safetensors").write_bytes(b"nothing")
    assert main(["--out", str(tmp_path), "--resume"]) == 2
    assert "no readable checkpoint" in capsys.readouterr().err


def test_options_are_yaml_and_nest() -> None:
    words = ["reward.progress=0.5", "reward.goal=1", "end_on=[collision, goal]", "max_seconds=20"]
    assert options_of(words) == {
        "reward": {"progress": 0.5, "goal": 1},
        "end_on": ["collision", "goal"],
        "max_seconds": 20,
    }


@pytest.mark.slow
def test_two_processes_train_one_policy(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "training.train_policy"]  # fmt: skip
    run = subprocess.run(
        [*torchrun, "--out", str(tmp_path / "two"), *POLE],
        cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert len(progress(tmp_path / "two")) == 5
    names = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert names == ["000002", "000004"]


# --- driving ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that has seen two updates: enough to steer somehow."""
    folder = tmp_path_factory.mktemp("drive")
    words = ["--option", "pool=2", *TINY, "--total-steps", "128"]
    assert main(["--out", str(folder), *words]) == 0
    return folder


def test_the_driver_goes_the_way_the_environment_goes(trained: Path) -> None:
    """The policy as a Driver in a SimWorld and by hand in the environment: the same drive."""
    env = make_worlds("roadloop/Drive-v0", ["lead_vehicle_brake"], 1, {"pool": [3]})
    seen = env.reset([0])
    road_map = env.environments[0].unwrapped.core.pool.road_map
    scenario = build_scenario("lead_vehicle_brake", seed=3, road_map=road_map)
    driver, world = Policy(trained), SimWorld()
    observation = world.reset(scenario, driver.sensors)
    driver.reset(scenario)
    for _ in range(30):
        control = driver.act(observation)
        action = driver.network(seen)
        expected = control_from_action(action[0], observation.ego.speed, observation.ego.vehicle)
        assert control.acceleration == pytest.approx(expected.acceleration, abs=1e-3)
        assert control.steering == pytest.approx(expected.steering, abs=1e-4)
        observation = world.step(control)
        seen = env.step(action).observation


def test_a_policy_is_a_driver_by_name(trained: Path) -> None:
    driver = make_driver(f"policy:{trained}")
    assert isinstance(driver, Driver) and driver.name.startswith(f"policy:{trained.name}@")
    last = drive_scenario(build_scenario("lane_following", duration=1.0), driver, SimWorld())
    assert last.step == 10
    noisy = make_driver(f"policy:{trained / 'policy.safetensors'}", perception="noisy:poor")
    assert noisy.name == f"{driver.name}+noisy:poor"
    assert drive_scenario(build_scenario("cut_in", duration=1.0), noisy, SimWorld()).step == 10


def test_wrong_policies_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match="no policy at"):
        make_driver(f"policy:{tmp_path / 'none'}")
    with pytest.raises(RoadloopError, match="has no settings"):
        make_driver(f"policy:{trained}", settings=["a=1"])
    with pytest.raises(RoadloopError, match=r"decides every 0\.1 s"):
        make_driver(f"policy:{trained}").reset(build_scenario("lane_following", dt=0.2))
    (tmp_path / "policy.safetensors").write_bytes(b"nothing")
    with pytest.raises(RoadloopError, match="cannot read these weights"):
        make_driver(f"policy:{tmp_path}")
    pole = tmp_path / "pole"
    assert main(["--out", str(pole), *POLE]) == 0
    with pytest.raises(RoadloopError, match="its environment is CartPole-v1"):
        make_driver(f"policy:{pole}")
    shutil.copy(trained / "checkpoints" / "000002" / "optimiser.safetensors", pole / WEIGHTS)
    with pytest.raises(RoadloopError, match="is no roadloop policy"):
        make_driver(f"policy:{pole}")


@pytest.mark.parametrize("name", ["lane-follow", "lead-brake"])
def test_the_suites_use_seeds_that_training_does_not(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.cases) == 50
    assert min(case.seed for case in suite.cases) >= 256
