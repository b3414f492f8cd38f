"""What PPO learns from: rollouts of all worlds, and how large observations and rewards are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.team import Team
from training.worlds import Worlds

if TYPE_CHECKING:
    from training.actor_critic import Agent
    from training.train_policy import TrainPolicy


class Moments:
    """Running mean and variance over everything seen, merged batch by batch (Chan et al., 1983)."""

    def __init__(self, size: int) -> None:
        self.count = 0.0
        self.mean, self.squares = np.zeros(size), np.zeros(size)

    def update(self, values: np.ndarray, team: Team) -> None:
        """Take in ``(n, size)`` values of every process."""
        sums = team.sum(np.append(values.sum(axis=0, dtype=np.float64), float(len(values))))
        count = sums[-1]
        if count == 0.0:
            return
        mean = sums[:-1] / count
        squares = team.sum(np.square(values - mean).sum(axis=0, dtype=np.float64))
        step = mean - self.mean
        total = self.count + count
        self.squares += squares + step**2 * self.count * count / total
        self.mean = self.mean + step * count / total
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """Deviations; 1 for what never changed."""
        std = np.sqrt(self.squares / max(self.count, 1.0))
        return np.where(std < 1e-5, 1.0, std)

    def state(self) -> list[Any]:
        """For JSON, exactly."""
        return [self.count, self.mean.tolist(), self.squares.tolist()]

    def load(self, state: Sequence[Any]) -> None:
        """Take what ``state`` gave."""
        self.count, self.mean, self.squares = state[0], np.array(state[1]), np.array(state[2])


@dataclass
class Rollout:
    """``num_steps`` steps of every world; tensors ``(steps, worlds, ...)``."""

    observation: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    """of the observation a step led to, an episode's last one included"""
    reward: torch.Tensor
    terminated: torch.Tensor
    ended: torch.Tensor
    counts: torch.Tensor


class Experience:
    """The worlds with what is remembered between steps; its methods are PPO's left half."""

    def __init__(self, worlds: Worlds, args: TrainPolicy, team: Team) -> None:
        self.worlds, self.args, self.team = worlds, args, team
        self.state = Moments(worlds.layout.state)
        self.row = Moments(worlds.layout.columns)
        self.returns = Moments(1)
        self.moments = {"state": self.state, "row": self.row, "returns": self.returns}

    def restart(self, update: int) -> None:
        """All worlds anew, with seeds of this update."""
        words = [self.args.seed, self.team.rank, update]
        parts = len(self.worlds.environments)
        seeds = np.random.SeedSequence(words).generate_state(parts) >> 1
        self.observation = self.worlds.reset([int(seed) for seed in seeds])
        self.discounted = np.zeros(self.worlds.count)
        self.total, self.length = np.zeros(self.worlds.count), np.zeros(self.worlds.count)

    def collect(self, agent: Agent, noise: torch.Generator) -> tuple[Rollout, dict[str, float]]:
        """Act for ``num_steps`` steps; also the sums over the episodes that ended."""
        args, device = self.args, self.args.device
        rows: dict[str, list] = {f.name: [] for f in dataclasses.fields(Rollout)}
        late: list[tuple[int, int, np.ndarray]] = []
        returns = []
        sums = Episodes(self.worlds)
        for t in range(args.num_steps + 1):
            seen = torch.from_numpy(self.observation).to(device)
            with torch.no_grad():
                rows["value"].append(agent.value(seen))
                if t == args.num_steps:
                    break
                policy = agent.distribution(seen)
                action = sample(policy, noise).to(device)
            moved = self.worlds.step(action.cpu().numpy())
            ended = moved.terminated | moved.truncated
            late += [(t, world, row) for world, row in moved.final.items()]
            # rewards are scaled by the deviation of the discounted return, as seen so far
            self.discounted = self.discounted * args.gamma + moved.reward
            returns.append(self.discounted[moved.counts])
            self.discounted = np.where(ended, 0.0, self.discounted)
            self.total += moved.reward
            self.length += moved.counts
            sums.add(ended, moved.success, self.total, self.length)
            self.total[ended], self.length[ended] = 0.0, 0.0
            rows["observation"].append(seen)
            rows["action"].append(action)
            rows["log_prob"].append(policy.log_prob(action))
            for name, values in (("reward", moved.reward), ("terminated", moved.terminated),
                                 ("ended", ended), ("counts", moved.counts)):  # fmt: skip
                rows[name].append(torch.as_tensor(values, dtype=torch.float32, device=device))
            self.observation = moved.observation
        value = torch.stack(rows.pop("value"))
        rows.pop("next_value")
        next_value = value[1:].clone()
        if late:
            last = torch.from_numpy(np.stack([row for _, _, row in late])).to(device)
            with torch.no_grad():
                at = [t for t, _, _ in late], [world for _, world, _ in late]
                next_value[at] = agent.value(last)
        stacked = {name: torch.stack(values) for name, values in rows.items()}
        stacked["reward"] /= float(self.returns.std[0])
        self._seen = np.concatenate(returns)[:, None]
        return Rollout(**stacked, value=value[:-1], next_value=next_value), sums.shared(self.team)

    def take_in(self, rollout: Rollout, agent: Agent) -> None:
        """Learn from a rollout how large observations and returns are."""
        layout = self.worlds.layout
        x = rollout.observation.flatten(0, 1).cpu().numpy()
        self.state.update(x[:, : layout.state], self.team)
        if layout.rows:
            there = x[:, -layout.rows :] > 0.5
            rows = x[:, layout.state : -layout.rows].reshape(len(x), layout.rows, layout.columns)
            self.row.update(rows[there], self.team)
        self.returns.update(self._seen, self.team)
        for name, moments in (("state", self.state), ("row", self.row)):
            getattr(agent, f"{name}_mean").copy_(torch.as_tensor(moments.mean))
            getattr(agent, f"{name}_std").copy_(torch.as_tensor(moments.std))


def sample(policy: torch.distributions.Distribution, noise: torch.Generator) -> torch.Tensor:
    """An action drawn with a generator of our own, on the CPU so that devices agree."""
    if isinstance(policy, torch.distributions.Categorical):
        return torch.multinomial(policy.probs.cpu(), 1, generator=noise)[:, 0]
    mean = policy.mean.cpu()
    return mean + policy.stddev.cpu() * torch.randn(mean.shape, generator=noise)


class Episodes:
    """Sums over the episodes that ended during a rollout, also for each environment."""

    def __init__(self, worlds: Worlds) -> None:
        self.slices, self.names = worlds.slices, worlds.names
        self.sums = np.zeros((len(worlds.slices), 5))

    def add(
        self, ended: np.ndarray, success: np.ndarray, total: np.ndarray, length: np.ndarray
    ) -> None:
        """The worlds where an episode ended in this step."""
        said = ended & np.isfinite(success)
        columns = [ended, said, np.where(said, success, 0.0), total * ended, length * ended]
        for k, part in enumerate(self.slices):
            self.sums[k] += [column[part].sum() for column in columns]

    def shared(self, team: Team) -> dict[str, float]:
        """Means over all processes; NaN where no episode ended."""
        sums = team.sum(self.sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            n, said, good, total, length = sums.sum(axis=0)
            each = sums[:, 2] / sums[:, 1]
            means = {
                "episodes": n,
                "success": good / said,
                "return": total / n,
                "length": length / n,
            }
        if len(self.names) > 1:
            means |= {f"success_{name}": value for name, value in zip(self.names, each)}
        return means
