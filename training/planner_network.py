"""The network of the learned planner: tokens of the scene and of proposals, looked at together.

What a proposal has to do with everybody around is shown to it as seen from the driver's seat: where
each box will be, ahead and aside, at each moment, if the ego drives so; and how far each stop line,
crosswalk and junction will be. Of these, what matters most is kept by a maximum (PointNet, Qi et
al., CVPR 2017). Then the ego, the route, what lies across it, everybody around and all proposals
attend to one another as in any transformer, and each proposal gets a score (Hydra-MDP, Li et al.,
2024, scores a fixed vocabulary likewise). Shapes are fixed and operations plain, for export.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from planning.learned_config import (
    AGENT,
    EGO,
    GROUP,
    MARK,
    MOMENTS,
    POINTS,
    PROPOSAL,
    ROUTE,
    TERMS,
    PlannerConfig,
)

HIDDEN = -1e4
"""what attention gives a token that is not there; its weight is 0 exactly"""
NEAR, ASIDE, CLOSE = 10.0, 3.0, 1.0
"""m between boxes that are 1 for the network: ahead, aside, and where they nearly touch"""
MARGIN, FAST = 8.0, 10.0
"""m before a mark, and m/s, that are 1 for the network"""
MOST = 3.0
"""such numbers are kept below it"""


class PlannerNetwork(nn.Module):
    """`PlannerConfig.inputs` with a leading batch axis -> `PlannerConfig.outputs` likewise."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.config = config
        d, k, t = config.width, config.pair, len(MOMENTS)
        self.ego = _mlp(EGO, d, d)
        self.route = _mlp(GROUP * ROUTE, d, d)
        self.marks = _mlp(MARK, d, d)
        self.agents = _mlp(AGENT, d, d)
        self.proposals = _mlp(PROPOSAL + 5 * t, 2 * d, d)
        self.meeting, self.who = nn.Linear(4 * t, k), nn.Linear(d, k)
        self.met = nn.Linear(k, k)
        self.crossing, self.what = nn.Linear(3 * t, k), nn.Linear(d, k)
        self.crossed = nn.Linear(k, k)
        self.judge = nn.Linear(2 * k, d)
        self.layers = nn.ModuleList(_Layer(d, config.heads) for _ in range(config.layers))
        self.last = nn.LayerNorm(d)
        self.logit, self.terms = nn.Linear(d, 1), nn.Linear(d, len(TERMS))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        poses, there = inputs["poses"], inputs["proposal_valid"]
        batch = poses.shape[0]
        agents, marks = self.agents(inputs["agents"]), self.marks(inputs["marks"])
        scale = poses.new_tensor([20.0, 5.0, 1.0, 20.0, FAST])
        shown = torch.cat([inputs["proposals"], (poses / scale).flatten(2)], dim=-1)
        proposals = self.proposals(shown)

        seen = self.meeting(meetings(poses, inputs["futures"], inputs["body"]))
        seen = torch.relu(seen + self.who(agents)[:, None])
        met = torch.relu(self.met(seen)) * inputs["agent_valid"][:, None, :, None]
        ahead = self.crossing(crossings(poses, inputs["mark_at"], inputs["body"]))
        ahead = torch.relu(ahead + self.what(marks)[:, None])
        crossed = torch.relu(self.crossed(ahead)) * inputs["mark_valid"][:, None, :, None]
        proposals = proposals + self.judge(torch.cat([met.amax(2), crossed.amax(2)], dim=-1))

        route = self.route(inputs["route"].reshape(batch, POINTS // GROUP, GROUP * ROUTE))
        ego = self.ego(inputs["ego"])[:, None]
        tokens = torch.cat([ego, route, marks, agents, proposals], dim=1)
        always = torch.ones_like(route[..., 0])
        valid = torch.cat(
            [always[:, :1], always, inputs["mark_valid"], inputs["agent_valid"], there], dim=1
        )
        hidden = (1.0 - valid) * HIDDEN
        for layer in self.layers:
            tokens = layer(tokens, hidden)
        found = self.last(tokens[:, -proposals.shape[1] :])
        return {"logit": self.logit(found)[..., 0], "terms": self.terms(found)}


def meetings(poses: Tensor, futures: Tensor, body: Tensor) -> Tensor:
    """(B, P, A, 4 T): every future box as seen from every proposal, at every moment.

    Room ahead (below 0 behind) and aside (likewise to the right), how near the boxes are, and the
    other's direction.
    """
    own, other = poses[:, :, None], futures[:, None]
    cos, sin = torch.cos(own[..., 2]), torch.sin(own[..., 2])
    dx, dy = other[..., 0] - own[..., 0], other[..., 1] - own[..., 1]
    middle, half, wide = (body[:, None, None, None, k] for k in range(3))
    ahead, aside = cos * dx + sin * dy - middle, cos * dy - sin * dx
    turn = other[..., 2] - own[..., 2]
    c, s = torch.cos(turn).abs(), torch.sin(turn).abs()
    reach = half + 0.5 * (other[..., 3] * c + other[..., 4] * s)
    girth = wide + 0.5 * (other[..., 3] * s + other[..., 4] * c)
    room, gap = ahead.abs() - reach, aside.abs() - girth
    apart = torch.maximum(room, gap)
    features = (
        torch.sign(ahead) * room.clamp(min=0.0) / NEAR,
        torch.sign(aside) * gap.clamp(min=0.0) / ASIDE,
        torch.exp(-apart.clamp(min=-1.0) / CLOSE),
        torch.cos(turn),
    )
    return torch.cat(features, dim=-1).clamp(-MOST, MOST)


def crossings(poses: Tensor, mark_at: Tensor, body: Tensor) -> Tensor:
    """(B, P, M, 3 T): m of the front before each mark's beginning, of the rear beyond its end, and
    m/s, at every moment, of every proposal."""
    along, speed = poses[:, :, None, :, 3], poses[:, :, None, :, 4]
    middle, half = body[:, None, None, None, 0], body[:, None, None, None, 1]
    before = mark_at[:, None, :, None, 0] - along - middle - half
    beyond = along + middle - half - mark_at[:, None, :, None, 1]
    features = (before / MARGIN, beyond / MARGIN, (speed / FAST).expand_as(before))
    return torch.cat(features, dim=-1).clamp(-MOST, MOST)


class _Layer(nn.Module):
    """Self-attention and a small network of each token's own; both add to what it was."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.answer = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        asked = self.ask(self.before(tokens)).view(batch, count, 3, self.heads, -1)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        logits = query @ key.transpose(-1, -2) * (1.0 / math.sqrt(width / self.heads))
        weight = torch.softmax(logits + hidden[:, None, None], dim=-1)
        found = (weight @ value).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.answer(found)
        return tokens + self.think(self.after(tokens))


def _mlp(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
