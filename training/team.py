"""The processes that train together: sums and mean gradients over all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Team:
    """The processes that train together; one is a team too."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of what every process holds."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def generator(self, seed: int, step: int) -> torch.Generator:
        """The random numbers of this process in one step of a run."""
        word = np.random.SeedSequence([seed, self.rank, step]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(word[0] >> np.uint64(1)))

    def texts(self, text: str) -> list[str]:
        """What every process says."""
        if self.size == 1:
            return [text]
        said: list[Any] = [""] * self.size
        dist.all_gather_object(said, text)
        return said

    def average_gradients(self, module: nn.Module) -> None:
        """Every gradient becomes the mean over the processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g) / self.size)


def team_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_threads(threads: int = 0) -> None:
    """PyTorch's threads on the CPU for this process: so many, or its share of the cores."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    torch.set_num_threads(threads or max(cores // team_size(), 1))


@contextlib.contextmanager
def join_team(device: str) -> Iterator[Team]:
    """The processes torchrun started, or this one alone."""
    if team_size() == 1:
        yield Team()
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), "cuda" if cuda else "cpu")
    finally:
        dist.destroy_process_group()
