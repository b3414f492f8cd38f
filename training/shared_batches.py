"""Batches on their way from a worker to the trainer, in shared memory that is used again and again.

PyTorch sends every tensor as new shared memory, thirty in a batch. Making and first touching it
costs more than decoding the pictures does. Here each worker has a few blocks (``Ring``); a batch
lies in one of them, its pictures decoded there straight away, and only a note goes to the trainer.
A block is free again when the last tensor that looks into it is gone, whoever holds that; a trainer
that keeps all its batches gets new blocks.
"""

from __future__ import annotations

import itertools
import math
import os
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from roadloop.errors import RoadloopError
from training.batches import Batch

Array = np.ndarray
Layout = dict[str, tuple[int, int, tuple[int, ...], str, tuple[int, ...]]]
"""of each array: number of its block, first byte, shape, type, axes in the order of memory"""

ALIGN = 64
"""bytes, where an array may begin"""
SPARE = 1.25
"""a block is larger by this than the batch it is made for, as the next one may be"""

_numbers = itertools.count()
_rings: weakref.WeakValueDictionary[tuple[int, int], Ring] = weakref.WeakValueDictionary()
"""those of this process, for batches that arrive"""


class Ring:
    """The blocks of all workers of a loader.

    Args:
        slots: blocks of each worker: those that wait, one being filled, one in use.
    """

    def __init__(self, workers: int, slots: int) -> None:
        self.key = (os.getpid(), next(_numbers))
        self._busy = torch.zeros((workers, slots), dtype=torch.int32).share_memory_()
        self._memory: dict[tuple[int, int], torch.Tensor] = {}
        _rings[self.key] = self

    def take(self, count: int) -> Slot:
        """A free block of at least ``count`` bytes, for the worker that asks."""
        info = get_worker_info()
        worker = info.id if info else 0
        free = torch.nonzero(self._busy[worker] == 0).flatten().tolist()
        if not free:
            return Slot(_shared(count))  # for once: the trainer keeps many batches
        fits = [k for k in free if self._size(worker, k) >= count]
        number = fits[0] if fits else free[0]
        self._busy[worker, number] = 1
        known = bool(fits)
        if not known:
            self._memory.pop((worker, number), None)
            self._memory[worker, number] = _shared(int(SPARE * count))
        return Slot(self._memory[worker, number], self.key, worker, number, known)

    def receive(self, worker: int, number: int, memory: torch.Tensor | None) -> Array:
        """In the trainer: a block as bytes, which is free again when they are forgotten."""
        if memory is not None:
            self._memory[worker, number] = memory
        bytes_of = self._memory[worker, number].numpy()[:]
        weakref.finalize(bytes_of, self.release, worker, number).atexit = False
        return bytes_of

    def __getstate__(self) -> dict[str, Any]:
        return {"key": self.key, "_busy": self._busy, "_memory": {}}  # on the way to a worker

    def release(self, worker: int, number: int) -> None:
        """A block is free again."""
        self._busy[worker, number] = 0

    def _size(self, worker: int, number: int) -> int:
        memory = self._memory.get((worker, number))
        return 0 if memory is None else len(memory)


@dataclass
class Slot:
    """A block of memory, in a ring or not."""

    memory: torch.Tensor
    ring: tuple[int, int] | None = None
    worker: int = 0
    number: int = 0
    known: bool = False
    """the trainer has it already"""
    used: int = 0
    """bytes"""

    def room(self, count: int) -> Array | None:
        """(count,) bytes of it, None where there is not so much left."""
        start = -(-self.used // ALIGN) * ALIGN
        if start + count > len(self.memory):
            return None
        self.used = start + count
        return self.memory.numpy()[start : self.used]

    def sent(self) -> Any:
        """What goes to the trainer: ``arrived`` of it gives the bytes."""
        if self.ring is None:
            return self.memory
        return self.ring, self.worker, self.number, None if self.known else self.memory


def arrived(sent: Any) -> Array:
    """The bytes of a block that was ``sent``."""
    if isinstance(sent, torch.Tensor):
        return sent.numpy()
    key, worker, number, memory = sent
    ring = _rings.get(key)
    if ring is None:
        raise RuntimeError("a batch of a loader that is gone")
    return ring.receive(worker, number, memory)


class Block:
    """The memory of one batch while it is made; arrays may be made in it from the start.

    Args:
        size: samples.
        ring: None: the batch stays in this process.
        expected: bytes such a batch has needed before, beside those of its first array.
    """

    def __init__(self, size: int, ring: Ring | None, expected: int = 0) -> None:
        self.size = size
        self._ring, self._expected = ring, expected
        self._slots: list[Slot] = []
        self._rows: dict[str, tuple[int, int, Array]] = {}

    def row(self, number: int) -> Any:
        """An ``Allocate`` for the sample that becomes this row of the batch."""

        def allocate(key: str, shape: tuple[int, ...], dtype: Any) -> Array:
            if key not in self._rows:
                flat, slot, start = self._new(
                    self.size * math.prod(shape) * np.dtype(dtype).itemsize
                )
                self._rows[key] = slot, start, flat.view(dtype).reshape(self.size, *shape)
            rows = self._rows[key][2]
            if rows.shape[1:] != shape or rows.dtype != dtype:
                return np.empty(shape, dtype)  # said when the batch is put together
            return rows[number]

        return allocate

    def ready(self) -> dict[str, Array]:
        """The arrays that samples were made in, as samples hold them."""
        return {
            key: np.moveaxis(rows, -1, -3) if key.endswith("images") else rows
            for key, (_, _, rows) in self._rows.items()
        }

    def packed(self, batch: Batch) -> Packed:
        """The batch in this block; arrays that lie elsewhere are copied into it."""
        layout: Layout = {}
        arrays = {key: value for key, value in batch.items() if not isinstance(value, list)}
        for key, value in arrays.items():
            order = _order(value)
            home = self._rows.get(key)
            if home is not None and np.may_share_memory(home[2], value):
                layout[key] = (home[0], home[1], value.shape, value.dtype.str, order)
                continue
            flat, slot, start = self._new(value.nbytes)
            rows = flat.view(value.dtype).reshape([value.shape[k] for k in order])
            rows[...] = value.transpose(order)
            layout[key] = (slot, start, value.shape, value.dtype.str, order)
        texts = {key: value for key, value in batch.items() if isinstance(value, list)}
        return Packed(self._slots, layout, texts, list(batch))

    def drop(self) -> None:
        """Nothing comes of this batch."""
        for slot in self._slots:
            if self._ring is not None and slot.ring is not None:
                self._ring.release(slot.worker, slot.number)

    @property
    def used(self) -> int:
        """Bytes."""
        return sum(slot.used for slot in self._slots)

    def _new(self, count: int) -> tuple[Array, int, int]:
        """(count,) bytes, the number of their block, and where in it they begin."""
        for number, slot in enumerate(self._slots):
            flat = slot.room(count)
            if flat is not None:
                return flat, number, slot.used - count
        wanted = max(count, self._expected - self.used) + ALIGN
        if self._ring is None:
            self._slots.append(Slot(torch.empty(wanted, dtype=torch.uint8)))
        elif self._slots:
            self._slots.append(Slot(_shared(wanted)))  # more than expected; next time it fits
        else:
            self._slots.append(self._ring.take(wanted))
        flat = self._slots[-1].room(count)
        if flat is None:
            raise RuntimeError("a new block is too small")
        return flat, len(self._slots) - 1, self._slots[-1].used - count


@dataclass
class Packed:
    """A batch in blocks of memory: what goes from a worker to the trainer."""

    slots: list[Slot]
    layout: Layout
    texts: dict[str, list]
    keys: list[str]
    arrived: list[torch.Tensor] = field(default_factory=list)
    """the blocks' bytes, in the trainer"""

    def __getstate__(self) -> tuple[Any, ...]:
        return [slot.sent() for slot in self.slots], self.layout, self.texts, self.keys

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        sent, self.layout, self.texts, self.keys = state
        self.slots = []
        self.arrived = [torch.from_numpy(arrived(one)) for one in sent]

    def pin_memory(self) -> Packed:
        """In memory a GPU copies from by itself; PyTorch's loader calls this."""
        blocks = [block.pin_memory() for block in self._blocks()]
        return Packed([], self.layout, self.texts, self.keys, blocks)

    def batch(self) -> Batch:
        """The tensors."""
        blocks = self._blocks()
        found: Batch = {}
        for key in self.keys:
            if key in self.texts:
                found[key] = self.texts[key]
                continue
            number, start, shape, kind, order = self.layout[key]
            dtype = torch.from_numpy(np.zeros(0, kind)).dtype
            count = math.prod(shape) * dtype.itemsize
            flat = blocks[number][start : start + count].view(dtype)
            tensor = flat.view([shape[k] for k in order])
            found[key] = tensor.permute([order.index(k) for k in range(len(order))])
        return found

    def _blocks(self) -> list[torch.Tensor]:
        return self.arrived or [slot.memory for slot in self.slots]


def _order(value: Array) -> tuple[int, ...]:
    """Axes from the one with the longest stride to the shortest: how the array lies in memory."""
    return tuple(sorted(range(value.ndim), key=lambda k: (-value.strides[k], k)))


def _shared(count: int) -> torch.Tensor:
    """(count,) uint8 that other processes can see."""
    try:
        free = os.statvfs("/dev/shm")
        left = free.f_bavail * free.f_frsize
    except OSError:
        left = count  # no such folder: memory is shared in another way here
    if left < count:
        raise RoadloopError(
            f"/dev/shm has {left / 1e6:.0f} MB left, a batch needs {count / 1e6:.0f} MB: give it "
            "more (docker run --shm-size 8g), or use fewer workers or a smaller batch"
        )
    storage = torch.UntypedStorage._new_shared(count)  # as PyTorch's own default_collate does
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
