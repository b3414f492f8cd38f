"""The network that forecasts road users: several possible futures of each, with their spread.

Every agent is described in its own frame by its history, by the pieces of the map around it and by
the other agents as it sees them (HiVT, Zhou et al., CVPR 2022; relative poses as in QCNet, Zhou et
al., CVPR 2023). Histories are encoded once, whoever looks at them. The agent attends to all of it,
layer after layer (encoder); then learned queries, one per future, do the same and become
trajectories (Wayformer, Nayakanti et al., ICRA 2023). Attention here has no projection of its keys
and values: both are the tokens themselves, and what other designs project on their side is
projected on the side of the queries, of which there are ten times fewer. Shapes are fixed and
operations plain, so that the network can be exported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perception.forecast_config import (
    HISTORY_FEATURES,
    PAIR_FEATURES,
    PIECE_FEATURES,
    TRAIT_FEATURES,
    ForecastConfig,
)
from perception.forecast_inputs import FAST

HIDDEN = -1e4
"""what attention gives a token that is not there; its weight is 0 exactly"""
LEAST, GREATEST = 0.03, 50.0
"""m, of the Laplace scale"""
SPREAD = 0.4
"""m/s by which the scale grows before anything is learnt"""
AXIS = 0.1
"""m added along the present heading to each step of a forecast whose direction is asked for: who
stands, looks ahead"""


class ForecastNetwork(nn.Module):
    """`ForecastConfig.inputs` with a leading batch axis -> `ForecastConfig.outputs` likewise.

    ``position`` (B, N, K, T, 2): m in the frame of each agent, at ``step``, 2 ``step``, ...
    ``scale`` (B, N, K, T, 2): m, Laplace scale of the position along and across the direction of
    each future, `directions`; the standard deviation is sqrt(2) times that.
    ``logit`` (B, N, K): softmax over K gives the probabilities.

    What is not valid changes no number of what is.
    """

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.history = _mlp(config.history * HISTORY_FEATURES + TRAIT_FEATURES, 2 * d, d)
        self.pieces = _mlp(2 * config.points + PIECE_FEATURES, d, d)
        self.pairs = _mlp(PAIR_FEATURES, d, d)
        self.other = nn.Linear(d, d)
        self.token = nn.LayerNorm(d)
        self.encoder = nn.ModuleList(_Block(d, config.heads) for _ in range(config.layers))
        self.modes = nn.Parameter(0.5 * torch.randn(config.modes, d))
        self.decoder = nn.ModuleList(_Block(d, config.heads) for _ in range(config.decoder_layers))
        self.last = nn.LayerNorm(d)
        self.future = _mlp(d, 2 * d, 4 * config.steps, norm=False)
        self.logit = nn.Linear(d, 1)
        time = config.step * torch.arange(1, config.steps + 1)
        self.register_buffer("log_spread", torch.log(0.1 + SPREAD * time)[:, None], False)
        out = self.future[-1]
        assert isinstance(out, nn.Linear)
        with torch.no_grad():  # at first everybody goes on as it does, a little apart
            out.weight.mul_(0.3)
            out.bias.zero_()
            self.logit.weight.mul_(0.1)
            self.logit.bias.zero_()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        config = self.config
        agents, steps = config.agents, config.steps
        history = inputs["history"]
        batch = history.shape[0]
        own = self.history(torch.cat([history.flatten(2), inputs["traits"]], dim=-1))
        pieces = self.token(self.pieces(inputs["map"]))
        pairs = self.pairs(inputs["pairs"])
        there = inputs["agent_valid"][:, None, :].expand(-1, agents, -1)
        hidden = (1.0 - torch.cat([inputs["map_valid"], there], dim=-1)) * HIDDEN

        for block in self.encoder:
            around = torch.cat([pieces, self._others(pairs, own)], dim=2)
            own = block(own[:, :, None], around, hidden)[:, :, 0]
        around = torch.cat([pieces, self._others(pairs, own)], dim=2)
        queries = own[:, :, None] + self.modes
        for block in self.decoder:
            queries = block(queries, around, hidden)
        queries = self.last(queries)

        future = self.future(queries).view(batch, agents, config.modes, steps, 4)
        # metres in each step beyond going on at the present velocity, added up
        now = history[:, :, -1, 4:6] * (FAST * config.step)
        step = future[..., :2] + now[:, :, None, None]
        scale = torch.exp(future[..., 2:] + self.log_spread)
        return {
            "position": step.cumsum(dim=-2),
            "scale": scale.clamp(LEAST, GREATEST),
            "logit": self.logit(queries)[..., 0],
        }

    def _others(self, pairs: Tensor, own: Tensor) -> Tensor:
        """(B, N, N, D) token of every agent j for every agent i."""
        return self.token(pairs + self.other(own)[:, None])


class _Block(nn.Module):
    """Queries attend to their tokens, then each thinks for itself; both add to what it was."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.ask = nn.Linear(width, heads * width)
        self.answer = nn.Linear(heads * width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, queries: Tensor, tokens: Tensor, hidden: Tensor) -> Tensor:
        """(B, N, Q, D) queries of (B, N, S, D) tokens; ``hidden`` (B, N, S) is added to logits."""
        batch, agents, count, width = queries.shape
        asked = self.ask(self.before(queries)).view(batch, agents, count * self.heads, width)
        logits = asked @ tokens.transpose(-1, -2) * (1.0 / math.sqrt(width))
        weight = torch.softmax(logits + hidden[:, :, None], dim=-1)
        found = (weight @ tokens).view(batch, agents, count, self.heads * width)
        queries = queries + self.answer(found)
        return queries + self.think(queries)


def directions(position: Tensor) -> Tensor:
    """(..., T, 2) unit vectors along each future (..., T, 2) in its agent's frame."""
    before = torch.cat([torch.zeros_like(position[..., :1, :]), position[..., :-1, :]], dim=-2)
    step = position - before + position.new_tensor([AXIS, 0.0])
    return step / step.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _mlp(size: int, hidden: int, out: int, norm: bool = True) -> nn.Sequential:
    layers = [nn.Linear(size, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out)]
    return nn.Sequential(
        *(layer for layer in layers if norm or not isinstance(layer, nn.LayerNorm))
    )
