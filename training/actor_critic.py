"""Actor and critic: a small network for a state and a set of road users.

`planning.policy.PolicyNetwork` is the actor in NumPy; both must agree.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from planning.policy import CLIP, Layout


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A layer with orthogonal weights; biases begin at 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Head(nn.Module):
    """State and set to ``outputs`` numbers."""

    def __init__(self, layout: Layout, hidden: int, outputs: int, gain: float) -> None:
        super().__init__()
        root2 = math.sqrt(2.0)
        pooled = hidden // 2 if layout.rows else 0
        if layout.rows:
            self.encoder = nn.Sequential(
                linear(layout.columns, pooled, root2), nn.ReLU(),
                linear(pooled, pooled, root2), nn.ReLU(),
            )  # fmt: skip
        self.trunk = nn.Sequential(
            linear(layout.state + pooled, hidden, root2), nn.Tanh(),
            linear(hidden, hidden, root2), nn.Tanh(), linear(hidden, outputs, gain),
        )  # fmt: skip

    def forward(
        self, state: torch.Tensor, rows: torch.Tensor | None, there: torch.Tensor | None
    ) -> torch.Tensor:
        if rows is not None and there is not None:
            features = self.encoder(rows).masked_fill(~there, 0.0)  # ReLU: 0 is the least
            state = torch.cat([state, features.amax(dim=1)], dim=1)
        return self.trunk(state)


class Agent(nn.Module):
    """Actor and critic on packed observations, with the normalisation beside the weights."""

    state_mean: torch.Tensor
    state_std: torch.Tensor
    row_mean: torch.Tensor
    row_std: torch.Tensor

    def __init__(
        self, layout: Layout, outputs: int, discrete: bool, *, hidden: int, first_std: float
    ) -> None:
        super().__init__()
        self.layout, self.discrete = layout, discrete
        self.actor = Head(layout, hidden, outputs, 0.01)
        self.critic = Head(layout, hidden, 1, 1.0)
        if not discrete:
            self.log_std = nn.Parameter(torch.full((outputs,), math.log(first_std)))
        for name, size in (("state", layout.state), ("row", layout.columns)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    @property
    def std(self) -> float:
        """Mean deviation of continuous actions; NaN for discrete ones."""
        return math.nan if self.discrete else float(self.log_std.detach().exp().mean())

    def split(self, x: torch.Tensor) -> tuple:
        """Packed observations ``(batch, size)`` to normalised state, rows, and who is there."""
        n = self.layout.rows
        state = normal(x[:, : self.layout.state], self.state_mean, self.state_std)
        if not n:
            return state, None, None
        rows = x[:, self.layout.state : -n].reshape(len(x), n, self.layout.columns)
        there = x[:, -n:, None] > 0.5
        used = torch.nonzero(there.any(dim=0)[:, 0])  # nobody of the batch has rows beyond these
        last = int(used[-1]) + 1 if len(used) else 1
        return state, normal(rows[:, :last], self.row_mean, self.row_std), there[:, :last]

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch,)`` expected return."""
        return self.critic(*self.split(x))[:, 0]

    def distribution(self, x: torch.Tensor) -> torch.distributions.Distribution:
        """Over the actions; log-probabilities are ``(batch,)``."""
        out = self.actor(*self.split(x))
        if self.discrete:
            return torch.distributions.Categorical(logits=out, validate_args=False)
        gauss = torch.distributions.Normal(out, self.log_std.exp(), validate_args=False)
        return torch.distributions.Independent(gauss, 1, validate_args=False)


def normal(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return ((x - mean) / std).clamp(-CLIP, CLIP)
