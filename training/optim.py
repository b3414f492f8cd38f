"""What an optimiser needs beside itself: groups, a learning rate over time, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

LEAST = 0.01
"""share of the learning rate that is left at the end"""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the parameters that learn: with weight decay, and without.

    Biases and the scales of normalisations (all vectors) are not decayed: shrinking them does not
    make the network simpler, only slower (Loshchilov & Hutter decay all; Bag of Tricks, He et al.,
    CVPR 2019, section 3.1: only weights).
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]


def adamw(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, ICLR 2019) over `parameter_groups`."""
    groups = parameter_groups(module, weight_decay)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def learning_rate(step: int, steps: int, highest: float, warmup: float) -> float:
    """At ``step`` (from 0) of ``steps``: a straight rise, then half a cosine down to `LEAST`.

    Args:
        highest: after the rise.
        warmup: share of the steps that the rise takes.
    """
    rise = warmup * steps
    if step < rise:
        return highest * (step + 1) / (rise + 1)
    way = (step - rise) / max(steps - rise, 1.0)
    return highest * (LEAST + (1.0 - LEAST) * 0.5 * (1.0 + math.cos(math.pi * way)))


class Average(Generic[Network]):
    """A network whose weights are the moving average of another one's.

    Averaged weights are better than the last ones while the learning rate is high (Polyak &
    Juditsky, 1992), and these are the ones that are judged and handed on. The statistics of
    normalisations are averaged alike.

    Attributes:
        network: the averaged one; it does not learn.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Take in the weights after ``steps`` steps; the first ones count more than later on."""
        decay = min(self.decay, (1.0 + steps) / (10.0 + steps))
        mine, theirs = _tensors(self.network), _tensors(network)
        for value, other in zip(mine, theirs):
            if value.is_floating_point():
                value.lerp_(other, 1.0 - decay)
            else:
                value.copy_(other)


def _tensors(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())
