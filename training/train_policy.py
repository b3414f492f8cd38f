"""Proximal policy optimisation in one file: python -m training.train_policy --help.

PPO (Schulman et al., 2017, arXiv:1707.06347) with the details that make it work (Huang et al.,
"The 37 implementation details of PPO", ICLR blog track 2022): generalised advantage estimation
(Schulman et al., 2016), normalised observations and rewards, orthogonal initialisation, a falling
learning rate, clipped gradients. An episode cut off by the clock is no failure: its last step
counts on with the value of its last observation (Pardo et al., 2018, arXiv:1712.00378).

Everything random is drawn from (seed, rank, update), and at every checkpoint the worlds start anew:
a run taken up from a checkpoint writes the same bytes as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import nn

from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import dump_config, load_config
from roadloop.errors import RoadloopError
from roadloop.terminal import start_warp
from training.actor_critic import Agent
from training.checkpoint import (
    OPTIMISER,
    POLICY,
    load_checkpoint,
    load_optimiser,
    newest_checkpoint,
    optimiser_tensors,
    prepare_run,
    publish,
    save_checkpoint,
)
from training.experience import Experience, Rollout
from training.record import Record, StopSignal
from training.script import run_script
from training.team import Team, join_team, team_size
from training.worlds import Worlds, make_worlds

PROG = "python -m training.train_policy"
ARGS = "args.yaml"
FREE = ("out", "resume", "overwrite", "tensorboard")
"""options that may differ when a run is resumed: they change no number"""


@dataclass(frozen=True)
class TrainPolicy:
    """Train a driving policy with PPO, from nothing, on a laptop's CPU or a GPU.

    DIR then holds policy.safetensors (drives with `roadloop score SUITE --driver policy:DIR`),
    progress.csv, TensorBoard's scalars, and checkpoints. Ctrl-C saves; --resume goes on.

    Example: python -m training.train_policy --out runs/ppo

    One scenario, other reward: python -m training.train_policy --out runs/lane
    --scenario lane_following --option reward.progress=0.2

    Two processes: torchrun --nproc-per-node 2 -m training.train_policy --out runs/two

    Any Gymnasium task: python -m training.train_policy --out runs/pole --env CartPole-v1
    --total-steps 200000
    """

    out: Path
    """folder of the run"""
    env: str = "roadloop/Drive-v0"
    """registered Gymnasium environment"""
    scenario: tuple[str, ...] = ("lane_following", "lead_vehicle_brake")
    """families of roadloop/Drive-v0; the worlds are divided among them"""
    option: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")
    ] = ()
    """an option of the environment, e.g. max_seconds=30; may be repeated"""
    num_envs: int = 64
    """worlds, over all processes"""
    total_steps: int = 1_000_000
    """steps of experience, over all worlds"""
    num_steps: int = 128
    """steps of each world per update"""
    epochs: int = 5
    """passes over the experience of an update"""
    minibatches: int = 8
    """gradient steps per pass"""
    learning_rate: float = 5e-4
    """of Adam, at the beginning; falls linearly to 0"""
    gamma: float = 0.99
    """discount per step"""
    gae_lambda: float = 0.95
    """1: whole returns; 0: one step and the value"""
    clip: float = 0.2
    """bound on the change of an action's probability, as a share"""
    value_weight: float = 0.5
    """of the value loss"""
    entropy_weight: float = 0.0
    """of the entropy bonus"""
    max_grad_norm: float = 0.5
    """gradients are scaled down to this norm"""
    first_std: float = 0.6
    """of continuous actions at the beginning, in units of half their range"""
    hidden: int = 128
    """units per layer"""
    seed: int = 1
    """same seed, same device, same run"""
    device: str = "cpu"
    """of the network: cpu, cuda, cuda:1"""
    threads: int = 1
    """of PyTorch on the CPU"""
    checkpoint_every: int = 25
    """updates"""
    resume: bool = False
    """go on with the run DIR holds, from its last checkpoint"""
    overwrite: bool = False
    """replace the run DIR holds"""
    tensorboard: bool = True
    """write TensorBoard's scalars"""

    def __post_init__(self) -> None:
        for name in ("num_envs", "total_steps", "num_steps", "epochs", "minibatches", "hidden",
                     "threads", "checkpoint_every", "learning_rate", "clip", "first_std",
                     "max_grad_norm"):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}; it must be in [0, 1]")
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            kind = ""
        if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
            raise RoadloopError(
                f'no device "{self.device}" here: use cpu, or cuda where there is one'
            )
        if self.total_steps < self.num_envs * self.num_steps:
            raise RoadloopError(
                f"total_steps is {self.total_steps}, less than one update of {self.num_envs} "
                f"worlds x {self.num_steps} steps"
            )

    @property
    def updates(self) -> int:
        """How many there are in the whole run."""
        return self.total_steps // (self.num_envs * self.num_steps)

    def run(self) -> int:
        """Train; the exit status."""
        return train(self)


# --- learning -----------------------------------------------------------------------------------


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> torch.Tensor:
    """``(steps, worlds)`` generalised advantage estimates.

    ``A_t = d_t + gamma lambda (1 - ended_t) A_(t+1)`` with
    ``d_t = r_t + gamma (1 - terminated_t) V(o'_t) - V(o_t)``: nothing follows a failure or
    the goal, but what the clock cut off would have gone on.
    """
    delta = rollout.reward - rollout.value
    delta += gamma * (1.0 - rollout.terminated) * rollout.next_value
    result = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + gamma * gae_lambda * (1.0 - rollout.ended[t]) * following
        result[t] = following
    return result


def learn(
    agent: Agent,
    optimiser: torch.optim.Adam,
    rollout: Rollout,
    args: TrainPolicy,
    shuffle: torch.Generator,
    team: Team,
) -> dict[str, float]:
    """PPO's gradient steps on one rollout; means of what they saw."""
    advantage = advantages(rollout, args.gamma, args.gae_lambda)
    target = (advantage + rollout.value).flatten()
    advantage = advantage.flatten()
    flat = [v.flatten(0, 1) for v in (rollout.observation, rollout.action, rollout.log_prob)]
    observation, action, log_prob = flat
    use = torch.nonzero(rollout.counts.flatten() > 0.0)[:, 0].cpu()
    sums = np.zeros(5)
    for _ in range(args.epochs):
        order = use[torch.randperm(len(use), generator=shuffle)].to(args.device)
        for rows in order.tensor_split(args.minibatches):  # every process takes as many steps
            policy = agent.distribution(observation[rows])
            log_ratio = policy.log_prob(action[rows]) - log_prob[rows]
            ratio = log_ratio.exp()
            a = advantage[rows]
            a = (a - a.mean()) / (a.std() + 1e-8)
            bounded = ratio.clamp(1.0 - args.clip, 1.0 + args.clip)
            policy_loss = -torch.minimum(ratio * a, bounded * a).mean()
            value_loss = 0.5 * (agent.value(observation[rows]) - target[rows]).square().mean()
            entropy = policy.entropy().mean()
            loss = policy_loss + args.value_weight * value_loss - args.entropy_weight * entropy
            optimiser.zero_grad()
            loss.backward()
            team.average_gradients(agent)
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimiser.step()
            with torch.no_grad():
                kl = (ratio - 1.0 - log_ratio).mean()
                clipped = ((ratio - 1.0).abs() > args.clip).float().mean()
                sums += [float(v.detach()) for v in (policy_loss, value_loss, entropy, kl, clipped)]
    sums = team.sum(sums / (args.epochs * args.minibatches)) / team.size
    unexplained = (target - rollout.value.flatten())[use].var() / target[use].var().clamp(min=1e-8)
    names = ("policy_loss", "value_loss", "entropy", "kl", "clipped")
    means: dict[str, float] = dict(zip(names, sums.tolist()))
    means["explained"] = float(team.sum(np.array([1.0 - float(unexplained)]))[0] / team.size)
    if not math.isfinite(means["value_loss"]):
        raise RoadloopError(
            "training diverged (the value loss is not finite): lower --learning-rate or look at "
            "the rewards"
        )
    return means


# --- the run ------------------------------------------------------------------------------------


def train(args: TrainPolicy) -> int:
    """Train as asked for; 0, or 130 where it was interrupted. Raises RoadloopError."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    start_warp()
    if args.num_envs % team_size():
        raise RoadloopError(
            f"num_envs is {args.num_envs}: must be a multiple of the {team_size()} processes"
        )
    with join_team(args.device) as team:
        names = args.scenario if args.env.startswith("roadloop/") else ()
        worlds = make_worlds(args.env, names, args.num_envs // team.size, options_of(args.option))
        with contextlib.closing(worlds):
            return _train(args, team, worlds)


def _train(args: TrainPolicy, team: Team, worlds: Worlds) -> int:
    agent = Agent(
        worlds.layout,
        worlds.outputs,
        worlds.discrete,
        hidden=args.hidden,
        first_std=args.first_std,
    ).to(args.device)
    optimiser = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    experience = Experience(worlds, args, team)
    done = 0
    if args.resume:
        done = restore(newest_checkpoint(args.out), agent, optimiser, experience)
    elif team.rank == 0:
        prepare_run(args.out, ARGS, dump_config(args, leave_out=FREE), overwrite=args.overwrite)
    if done == 0:  # a rollout that is thrown away says how large observations and rewards are
        experience.restart(0)
        experience.take_in(experience.collect(agent, team.generator(args.seed, 0))[0], agent)
    experience.restart(done)
    folder = args.out if team.rank == 0 else None
    steps = args.num_envs * args.num_steps
    record = Record(folder, args.updates, done, steps, args.tensorboard)
    with StopSignal() as stop, record:
        update = done
        while update < args.updates and not stop.asked:
            update += 1
            rate = args.learning_rate * (1.0 - (update - 1) / args.updates)
            optimiser.param_groups[0]["lr"] = rate
            random = team.generator(args.seed, update)
            rollout, episodes = experience.collect(agent, random)
            losses = learn(agent, optimiser, rollout, args, random, team)
            experience.take_in(rollout, agent)
            record.add(update, {**episodes, **losses, "std": agent.std, "learning_rate": rate})
            stop.asked = bool(team.sum(np.array([float(stop.asked)]))[0])
            if stop.asked or update % args.checkpoint_every == 0 or update == args.updates:
                if team.rank == 0:
                    save(args, update, agent, optimiser, experience)
                experience.restart(update)
    if team.rank == 0 and update < args.updates:
        print(f"stopped after update {update} of {args.updates}: --resume goes on", file=sys.stderr)
    elif team.rank == 0:
        print(args.out / POLICY)
    return 0 if update == args.updates else INTERRUPTED


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words, values in YAML, ``reward.progress=0.2`` for a mapping's entry."""
    import yaml

    options: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip():
            raise RoadloopError(f'--option "{word}": expected NAME=VALUE')
        *path, last = name.strip().split(".")
        try:
            inner = options
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = yaml.safe_load(text)
        except (yaml.YAMLError, TypeError, AttributeError) as error:
            raise RoadloopError(f'--option "{word}": no value this can be set to') from error
    return options


def save(
    args: TrainPolicy,
    update: int,
    agent: Agent,
    optimiser: torch.optim.Adam,
    experience: Experience,
) -> None:
    """Write the checkpoint of ``update``."""
    options = options_of(args.option)
    metadata = {
        "layout": dataclasses.asdict(agent.layout),
        "environment": args.env,
        "scenarios": list(args.scenario),
        "observation": options.get("observation", "vector"),
        "action": options.get("action", "discrete" if agent.discrete else "continuous"),
        "dt": options.get("dt", 0.1),
        "steps": update * args.num_envs * args.num_steps,
        "seed": args.seed,
    }
    tensors = {POLICY: agent.state_dict(), OPTIMISER: optimiser_tensors(optimiser, agent)}
    state = {key: moments.state() for key, moments in experience.moments.items()}
    folder = save_checkpoint(args.out, update, tensors, {"moments": state}, metadata)
    publish(folder, POLICY, args.out)


def restore(folder: Path, agent: Agent, optimiser: torch.optim.Adam, experience: Experience) -> int:
    """Take a checkpoint; the number of updates it was made after."""
    tensors, state = load_checkpoint(folder, (POLICY, OPTIMISER), agent.state_dict())
    agent.load_state_dict(tensors[POLICY])
    load_optimiser(optimiser, agent, tensors[OPTIMISER])
    for key, moments in experience.moments.items():
        moments.load(state["moments"][key])
    return int(state["update"])


def read_args(words: Sequence[str]) -> TrainPolicy:
    """The command line; with --resume what is not on it comes from the run.

    Raises RoadloopError for a mistake, and where a resumed run is asked for other numbers.
    """
    args = parse(TrainPolicy, "train_policy", words, prog=PROG)
    if not args.resume:
        return args
    if not (args.out / ARGS).is_file():
        raise RoadloopError(f"{args.out} holds no run to resume: start without --resume")
    saved = load_config(TrainPolicy, args.out / ARGS, [f"out={json.dumps(str(args.out))}"])
    args = parse(TrainPolicy, "train_policy", words, saved, prog=PROG)
    for field in dataclasses.fields(args):
        asked, had = getattr(args, field.name), getattr(saved, field.name)
        if field.name not in FREE and asked != had:
            raise RoadloopError(
                f"the run in {args.out} has {field.name} {had}, asked for is {asked}: leave the "
                "option out to resume it, or start another run"
            )
    return args


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    given = sys.argv[1:] if words is None else words
    return run_script("train_policy", lambda: train(read_args(given)))


if __name__ == "__main__":
    sys.exit(main())
