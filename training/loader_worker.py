"""What a worker does: jobs to batches, with the reading of shards kept open between them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from roadloop.errors import RoadloopError
from training.batches import collate_arrays
from training.loader_jobs import Job
from training.sample_spec import Sample
from training.shard_streams import Make, Order, ShardSource
from training.shared_batches import Block, Packed, Ring
from training.sources import LogSource, Source

Transform = Callable[[Sample, np.random.Generator], Sample]


class Failure:
    """What a worker sends in place of a batch that cannot be made: an error's one line."""

    def __init__(self, message: str) -> None:
        self.message = message


class Batches(Dataset):
    """A batch per job, and a line per damaged sample that was passed over.

    Args:
        order: what the order of shards depends on.
        ring: memory for batches that go to another process.
    """

    def __init__(
        self,
        source: Source | ShardSource,
        order: Order,
        *,
        transform: Transform | None,
        pad_to: dict[str, int],
        skip_damaged: bool,
        ring: Ring | None,
    ) -> None:
        self._source, self._order, self._transform = source, order, transform
        self._pad_to, self._skip, self._ring = pad_to, skip_damaged, ring
        self._expected = 0
        self._streams: dict[int, _Stream] = {}

    def __getitem__(self, job: Job) -> tuple[Packed, list[str]] | Failure | None:
        if not job.is_real:
            return None
        damaged: list[str] = []
        block = Block(len(job.indices) or job.count, self._ring, self._expected)
        try:
            read = self._picked if job.indices else self._streamed
            samples = []
            for number, sample in read(job, block, damaged):
                if self._transform is not None:
                    rng = np.random.default_rng([self._order[0], job.epoch, number])
                    sample = self._transform(sample, rng)
                samples.append(sample)
            packed = block.packed(collate_arrays(samples, self._pad_to, block.ready()))
            self._expected = max(block.used, self._expected)
            return packed, damaged
        except RoadloopError as error:
            block.drop()
            return Failure(str(error))

    def _picked(self, job: Job, block: Block, damaged: list[str]) -> Iterator[tuple[int, Sample]]:
        """The samples of a job by number; in the place of a damaged one stands the next."""
        source: Any = self._source
        if hasattr(source, "in_epoch"):
            source = source.in_epoch(job.epoch)
        for row, index in enumerate(job.indices):
            place = (block.row(row),) if isinstance(source, LogSource) else ()
            for other in range(len(source)):
                try:
                    sample = source.sample((index + other) % len(source), *place)
                    break
                except RoadloopError as error:
                    if not self._skip:
                        raise
                    damaged.append(str(error))
            else:
                raise RoadloopError(f"no sample of {len(source)} can be read: {damaged[-1]}")
            yield index, sample

    def _streamed(self, job: Job, block: Block, damaged: list[str]) -> Iterator[tuple[int, Sample]]:
        """The next samples of a stream; in the place of a damaged one stands the one before."""
        stream = self._stream(job)
        made: list[tuple[int, Sample | None]] = []
        for row, (number, make) in enumerate(stream.take(job.count)):
            try:
                made.append((number, make(block.row(row))))
                stream.good = make
            except RoadloopError as error:
                if not self._skip:
                    raise
                damaged.append(str(error))
                made.append((number, stream.good(block.row(row)) if stream.good else None))
        for row, (number, sample) in enumerate(made):
            if sample is None:  # nothing was good before: take what came first after it
                if stream.good is None:
                    raise RoadloopError(f"no sample of a whole batch can be read: {damaged[-1]}")
                sample = stream.good(block.row(row))
            yield number, sample

    def _stream(self, job: Job) -> _Stream:
        """The open stream of a job, at the job's first sample."""
        held = self._streams.get(job.stream)
        if held is None or (held.epoch, held.next) != (job.epoch, job.first):
            shards: Any = self._source
            held = _Stream(
                job.epoch, job.first, shards.read(job.epoch, self._order, job.stream, job.first)
            )
            self._streams[job.stream] = held
        return held


class _Stream:
    """A stream of shards being read."""

    def __init__(self, epoch: int, first: int, items: Iterator[tuple[int, Make]]) -> None:
        self.epoch, self.next, self._items = epoch, first, items
        self.good: Make | None = None
        """the last sample that was not damaged"""

    def take(self, count: int) -> Iterator[tuple[int, Make]]:
        """The next ``count``."""
        for _ in range(count):
            self.next += 1
            yield next(self._items)


def alone(worker: int) -> None:
    """Keeps a worker to one thread, as there is one worker per core, and its collector to itself.

    What the worker has from its parent lives as long as it does: Python need not look through
    these objects again and again for some that nobody needs (and need not copy their pages).

    It leaves its parent's process group: Ctrl-C, or the end that a batch system asks for, is for
    the parent to follow, which may finish its step first. A worker ends when its parent does.
    """
    import cv2

    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()
    gc.freeze()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
