"""Training data in batches: shuffled by seed, shared among processes, resumable to the sample.

::

    from training.data import DataTimer, LogSource, SampleSpec, make_loader

    source = LogSource(["runs/data"], SampleSpec(size=(704, 256), lidars=("all",)))
    loader = make_loader(source, batch_size=8, workers=4)
    for epoch in range(10):
        for batch in DataTimer(loader, every=100):
            train_on(batch)
        save(loader.state_dict())

The arrays of a batch: ``training.sample_spec`` and ``training.batches``. Shards in place of logs:
``open_shards(url)``. The order of samples depends on the seed, the epoch and how many processes
train, and for shards on the number of streams; never on how many workers there are or how fast.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from roadloop.errors import RoadloopError
from training.batches import Batch, collate
from training.loader_jobs import Job, check_team, picked_jobs, stream_jobs
from training.loader_worker import Batches, Failure, Transform, alone
from training.sample_spec import BOX, Sample, SampleSpec
from training.shard_streams import ShardSource, open_shards
from training.shared_batches import Ring
from training.sources import LogSource, Source

__all__ = [
    "BOX",
    "Batch",
    "DataTimer",
    "LogSource",
    "Sample",
    "SampleSpec",
    "ShardSource",
    "Source",
    "collate",
    "make_loader",
    "open_shards",
]

STATE = 1
"""version of ``Loader.state_dict``"""


def make_loader(
    source: Source | ShardSource,
    batch_size: int,
    *,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool | None = None,
    workers: int = 0,
    streams: int = 0,
    transform: Transform | None = None,
    pad_to: Mapping[str, int] | None = None,
    skip_damaged: bool = False,
    pin_memory: bool = False,
    prefetch: int = 2,
    rank: int | None = None,
    world_size: int | None = None,
) -> Loader:
    """Batches of a source, epoch after epoch.

    Args:
        batch_size: samples per batch and process.
        drop_last: only whole batches, and the same number in every process, as training together
            needs; by default where ``shuffle``. False: every sample exactly once.
        workers: processes that read and decode; 0: this one does. They live as long as the loader.
        streams: of shards, how many are read at once by this process, a multiple of ``workers``;
            by default as many as workers. The order of samples depends on it.
        transform: an augmentation; its numbers are drawn by (seed, epoch, sample).
        pad_to: fixed lengths, see ``training.batches.collate``.
        skip_damaged: in the place of a sample that cannot be read stands a neighbour that can;
            ``Loader.damaged`` tells. By default it is an error.
        pin_memory: batches lie where a GPU copies from by itself.
        prefetch: batches each worker makes ahead.
        rank, world_size: of this process; by default what torchrun says.
    """
    return Loader(
        source,
        batch_size,
        seed=seed,
        shuffle=shuffle,
        drop_last=shuffle if drop_last is None else drop_last,
        workers=workers,
        streams=streams or max(workers, 1),
        transform=transform,
        pad_to=dict(pad_to or {}),
        skip_damaged=skip_damaged,
        pin_memory=pin_memory,
        prefetch=prefetch,
        rank=int(os.environ.get("RANK", "0")) if rank is None else rank,
        world_size=int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else world_size,
    )


class Loader:
    """Iterating gives the batches of the current epoch, or what is left of it; then the next.

    Attributes:
        epoch: from 0.
        damaged: one line per sample that could not be read and was passed over.
    """

    def __init__(
        self,
        source: Source | ShardSource,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        workers: int,
        streams: int,
        transform: Transform | None,
        pad_to: dict[str, int],
        skip_damaged: bool,
        pin_memory: bool,
        prefetch: int,
        rank: int,
        world_size: int,
    ) -> None:
        check_team(rank, world_size)
        if batch_size < 1 or workers < 0 or prefetch < 1 or streams % max(workers, 1):
            raise RoadloopError(
                f"batch_size {batch_size}, workers {workers}, prefetch {prefetch}, streams "
                f"{streams}: expected batch_size and prefetch from 1, workers from 0, and a "
                "number of streams that the workers can share evenly"
            )
        self.source, self.batch_size = source, batch_size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.streams, self.rank, self.world_size = streams, rank, world_size
        self.epoch = 0
        self.damaged: list[str] = []
        self._done = 0  # jobs of this epoch whose batches were given out
        self._jobs: tuple[int, list[Job]] | None = None
        # those that wait, one being filled, and those the trainer has at hand
        self._ring = Ring(workers, prefetch + 2) if workers else None
        batches = Batches(
            source,
            (seed, shuffle, streams, rank, world_size),
            transform=transform,
            pad_to=pad_to,
            skip_damaged=skip_damaged,
            ring=self._ring,
        )
        self._left = _Left()
        self._loader = DataLoader(
            batches,
            batch_size=None,
            sampler=self._left,
            num_workers=workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_as_it_is,
            worker_init_fn=alone,
        )
        if not any(job.is_real for job in self._planned()):
            raise RoadloopError(
                f"{len(source)} samples give process {rank} of {world_size} no batch of "
                f"{batch_size}: use more data (of shards: more of them), a smaller batch, fewer "
                "processes or streams"
            )

    def __len__(self) -> int:
        """Batches in the current epoch, for this process."""
        return sum(job.is_real for job in self._planned())

    def __iter__(self) -> Iterator[Batch]:
        jobs = self._planned()
        self._left.jobs = jobs[self._done :]
        for made in self._loader:
            self._done += 1
            if isinstance(made, Failure):
                raise RoadloopError(made.message)
            if made is not None:
                packed, damaged = made
                self.damaged += damaged
                yield packed.batch()
        self.epoch, self._done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader is: every batch that was given out counts as done. Plain numbers."""
        return {"version": STATE, "epoch": self.epoch, "done": self._done, **self._identity()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from there: with precisely the samples not given out yet, in the same order.

        Raises RoadloopError where the order would be another one: other data, seed, batch size,
        number of processes or streams. The number of workers may differ.
        """
        if state.get("version") != STATE:
            raise RoadloopError(
                f"this is no state of a loader of roadloop (version {state.get('version')})"
            )
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise RoadloopError(
                    f"the state is of a loader with {key} {state.get(key)}, this one has {value}: "
                    "the rest of the epoch would be another one; use the same, or begin anew"
                )
        self.epoch, self._done = int(state["epoch"]), int(state["done"])

    def _identity(self) -> dict[str, int]:
        """What the order of samples depends on."""
        shards = isinstance(self.source, ShardSource)
        return {
            "samples": len(self.source),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
            "world_size": self.world_size,
            "streams": self.streams if shards else 0,
            "buffer": self.source.buffer if isinstance(self.source, ShardSource) else 0,
        }

    def _planned(self) -> list[Job]:
        """The jobs of the current epoch."""
        if self._jobs is None or self._jobs[0] != self.epoch:
            if isinstance(self.source, ShardSource):
                shards = self.source
                order = (self.seed, self.shuffle, self.streams)
                lengths = [
                    shards.lengths(self.epoch, (*order, rank, self.world_size))
                    for rank in range(self.world_size)
                ]
                jobs = stream_jobs(
                    lengths,
                    self.epoch,
                    batch_size=self.batch_size,
                    drop_last=self.drop_last,
                    rank=self.rank,
                )
            else:
                jobs = picked_jobs(
                    len(self.source),
                    self.epoch,
                    seed=self.seed,
                    shuffle=self.shuffle,
                    batch_size=self.batch_size,
                    drop_last=self.drop_last,
                    rank=self.rank,
                    world_size=self.world_size,
                )
            self._jobs = self.epoch, jobs
        return self._jobs[1]


class DataTimer:
    """Batches of a loader, and how long one waits for them beside how long one works on them.

    Prints a line per ``every`` batches: where waiting is a large part, more workers or smaller
    pictures help; where it is none, the data is not what limits.

    Attributes:
        data, compute: s, waited and worked since the last line.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        every: int = 100,
        write: Callable[[str], object] = print,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.batches, self.every = batches, every
        self._write, self._clock = write, clock
        self.steps = 0
        self.data = self.compute = 0.0
        self._samples = 0

    def __iter__(self) -> Iterator[Batch]:
        last = self._clock()
        for batch in self.batches:
            now = self._clock()
            self.data += now - last
            yield batch
            last = self._clock()
            self.compute += last - now
            self.steps += 1
            self._samples += len(next(iter(batch.values())))
            if self.steps % self.every == 0:
                self._write(self._line())
                self.data = self.compute = 0.0
                self._samples = 0

    def _line(self) -> str:
        total = max(self.data + self.compute, 1e-9)
        return (
            f"step {self.steps}: data {1e3 * self.data / self.every:.1f} ms, compute "
            f"{1e3 * self.compute / self.every:.1f} ms a step ({self.data / total:.0%} waiting), "
            f"{self._samples / total:.1f} samples/s"
        )


class _Left:
    """The sampler: the jobs that are left of an epoch."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


def _as_it_is(made: Any) -> Any:
    return made
