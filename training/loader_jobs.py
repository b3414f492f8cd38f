"""Which samples go into which batch: the order of an epoch, known before anything is read.

A batch is a ``Job``. The list of an epoch's jobs depends on the seed, the epoch, and how many
processes train; so a training that is taken up again goes on with the very next job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray


@dataclass(frozen=True)
class Job:
    """One batch to be made."""

    epoch: int
    indices: tuple[int, ...] = ()
    """samples of a source one can pick from"""
    stream: int = -1
    """of a source that is read in sequence: which stream ..."""
    first: int = 0
    """... from which of its samples on ..."""
    count: int = 0
    """... and how many; 0: none are left, nothing is to be done"""

    @property
    def is_real(self) -> bool:
        """Whether a batch comes of it."""
        return bool(self.indices) or self.count > 0


def picked_jobs(
    samples: int,
    epoch: int,
    *,
    seed: int,
    shuffle: bool,
    batch_size: int,
    drop_last: bool,
    rank: int,
    world_size: int,
) -> list[Job]:
    """This process's batches of an epoch over a source one can pick from.

    The order is one permutation of all samples by (seed, epoch), dealt out in turn to the
    processes, then cut into batches. With ``drop_last`` every process has the same number of whole
    batches; without, every sample is there exactly once, and a process may have a batch less.
    """
    order = np.arange(samples)
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(samples)
    mine = order[rank::world_size]
    if drop_last:
        mine = mine[: samples // world_size // batch_size * batch_size]
    return [
        Job(epoch, tuple(mine[start : start + batch_size].tolist()))
        for start in range(0, len(mine), batch_size)
    ]


def stream_jobs(
    lengths: Sequence[Sequence[int]],
    epoch: int,
    *,
    batch_size: int,
    drop_last: bool,
    rank: int,
) -> list[Job]:
    """This process's batches of an epoch over sources that are read in sequence.

    Args:
        lengths: of every process the samples in each of its streams.

    The streams take turns, one batch each, so that a worker keeps to its own; one that has ended
    leaves an empty job. With ``drop_last`` there are only whole batches, and every process has as
    many as the one that has the fewest.
    """

    def batches(samples: int) -> int:
        return samples // batch_size if drop_last else -(-samples // batch_size)

    counts = [[batches(samples) for samples in streams] for streams in lengths]
    most = sum(counts[rank])
    if drop_last:
        most = min(sum(streams) for streams in counts)
    jobs: list[Job] = []
    real = 0
    for turn in range(max(counts[rank], default=0)):
        for stream, samples in enumerate(lengths[rank]):
            if real == most:
                return jobs
            first = turn * batch_size
            count = min(batch_size, samples - first) if turn < counts[rank][stream] else 0
            jobs.append(Job(epoch, stream=stream, first=first, count=count))
            real += count > 0
    return jobs


def buffered_order(samples: int, buffer: int, rng: np.random.Generator) -> Array:
    """(samples,) numbers of a sequence as a shuffle buffer gives them out.

    The buffer holds ``buffer`` samples; each time one of them, drawn evenly, goes out and the next
    of the sequence takes its place. So nothing comes more than ``buffer`` places too early.
    """
    size = min(max(buffer, 1), samples)
    if size <= 1:
        return np.arange(samples)
    held = list(range(size))
    draws = rng.integers(0, size, samples - size).tolist()
    order = np.empty(samples, np.int64)
    for k, draw in enumerate(draws):
        order[k] = held[draw]
        held[draw] = size + k
    order[samples - size :] = rng.permutation(held)
    return order


def check_team(rank: int, world_size: int) -> None:
    """Raises RoadloopError for a rank that is not one of ``world_size``."""
    if not 0 <= rank < world_size:
        raise RoadloopError(f"rank {rank} of {world_size} processes: ranks count from 0")
