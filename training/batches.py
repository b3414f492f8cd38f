"""Samples to batches: padded with masks, and handed from worker to trainer in one block of memory.

A batch has a key per array of ``training.sample_spec`` with a leading axis B. Arrays of varying
length are padded with zeros; ``boxes_valid``, ``points_valid``, ``radar_valid``,
``map_lines_valid`` and ``lights_valid`` (B, longest) say what is real. Text is a list. Poses and
lenses become float32, but ``world_from_ego``, whose coordinates may be large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from roadloop.errors import RoadloopError
from training.sample_spec import RAGGED, Sample

Array = np.ndarray
Batch = dict[str, Any]

EXACT = ("world_from_ego",)
"""stays float64"""

_ALIGN = 64
_GROUP = {key: group for group, keys in RAGGED.items() for key in keys}


def collate(samples: Sequence[Sample], pad_to: Mapping[str, int] | None = None) -> Batch:
    """One batch of samples with the same keys.

    Args:
        pad_to: fixed lengths by group (boxes, points, radar, map_lines, lights); others are padded
            to the longest sample of the batch.

    Raises:
        RoadloopError: samples of several kinds or picture sizes, more boxes than ``pad_to`` says.
    """
    return {
        key: value if isinstance(value, list) else torch.from_numpy(value)
        for key, value in collate_arrays(samples, pad_to).items()
    }


def collate_arrays(
    samples: Sequence[Sample],
    pad_to: Mapping[str, int] | None = None,
    ready: Mapping[str, Array] | None = None,
) -> Batch:
    """As ``collate``, with NumPy arrays.

    Args:
        ready: arrays (B or more, ...) whose rows samples may hold already: those are not copied.
    """
    if not samples:
        raise RoadloopError("a batch needs at least one sample")
    keys = set(samples[0])
    for sample in samples[1:]:
        if strange := keys.symmetric_difference(sample):
            raise RoadloopError(
                f"samples of drives {samples[0].get('drive')} and {sample.get('drive')} differ: "
                f"only one has {min(strange)}; use one spec for all"
            )
    lengths = _lengths(samples, pad_to or {})
    batch: Batch = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if not isinstance(values[0], (np.ndarray, np.generic, int, float, bool)):
            batch[key] = values
            continue
        group = _GROUP.get(key)
        if group is not None:
            batch[key] = _padded(key, values, lengths[group])
        else:
            batch[key] = _stacked(key, values, (ready or {}).get(key))
    for group, length in lengths.items():
        valid = np.zeros((len(samples), length), bool)
        for row, sample in zip(valid, samples):
            row[: len(sample[group])] = True
        batch[f"{group}_valid"] = valid
    return batch


def _lengths(samples: Sequence[Sample], pad_to: Mapping[str, int]) -> dict[str, int]:
    """Of every ragged group there is, how long its arrays become."""
    lengths = {}
    for group in RAGGED:
        if group in samples[0]:
            longest = max(len(sample[group]) for sample in samples)
            lengths[group] = pad_to.get(group, longest)
            if longest > lengths[group]:
                raise RoadloopError(
                    f"a sample has {longest} {group}, pad_to says {pad_to[group]}: raise it"
                )
    return lengths


def _padded(key: str, values: Sequence[Array], length: int) -> Array:
    first = values[0]
    made = np.zeros((len(values), length, *first.shape[1:]), _type(key, first))
    for row, value in zip(made, values):
        row[: len(value)] = value
    return made


def _stacked(key: str, values: Sequence[Any], ready: Array | None) -> Array:
    first = np.asarray(values[0])
    for value in values:
        if np.shape(value) != first.shape:
            raise RoadloopError(
                f"{key} has the shapes {first.shape} and {np.shape(value)} in one batch; give "
                "size and cameras in the spec"
            )
    if ready is not None and all(_is_row(row, value) for row, value in zip(ready, values)):
        return ready[: len(values)]
    kind = _type(key, first)
    if first.ndim >= 3 and first.dtype == np.uint8 and first.shape[-3] == 3:
        rows = np.moveaxis(first, -3, -1).shape  # in memory by pixels, as they came
        made = np.moveaxis(np.empty((len(values), *rows), kind), -1, -3)
    else:
        made = np.empty((len(values), *first.shape), kind)
    for k, value in enumerate(values):
        made[k] = value
    return made


def _is_row(row: Array, value: Array) -> bool:
    """Whether a sample's array is this row of a batch's."""
    return (
        row.__array_interface__["data"] == value.__array_interface__["data"]
        and row.strides == value.strides
        and row.dtype == value.dtype
    )


def _type(key: str, value: Array) -> np.dtype:
    return np.dtype(np.float32) if value.dtype == np.float64 and key not in EXACT else value.dtype


class Block:
    """Memory that a worker shares with the trainer, in which a batch lies.

    PyTorch sends every tensor of a batch as a file of its own, some tenths of a millisecond each;
    a batch has thirty. So all arrays lie in two blocks: one made before the samples are, for
    pictures (``allocate``), one for the rest.
    """

    def __init__(self, size: int, shared: bool) -> None:
        self.size = size
        self._shared = shared
        self._rows: dict[str, tuple[torch.Tensor, Array]] = {}
        self._next = 0

    def row(self, number: int) -> Any:
        """An ``Allocate`` for the sample that becomes this row of the batch."""

        def allocate(key: str, shape: tuple[int, ...], dtype: Any) -> Array:
            if key not in self._rows:
                count = self.size * math.prod(shape) * np.dtype(dtype).itemsize
                memory = _bytes(count, self._shared)
                array = memory.numpy().view(dtype).reshape(self.size, *shape)
                self._rows[key] = memory, array
            rows = self._rows[key][1]
            if rows.shape[1:] != shape or rows.dtype != dtype:
                return np.empty(shape, dtype)  # said when the batch is put together
            return rows[number]

        return allocate

    def ready(self) -> dict[str, Array]:
        """The arrays that samples were made in, as samples hold them."""
        return {
            key: np.moveaxis(rows, -1, -3) if key.endswith("images") else rows
            for key, (_, rows) in self._rows.items()
        }

    def packed(self, batch: Batch) -> Packed:
        """The batch in this block; arrays that lie elsewhere are copied into a second one."""
        layout: dict[str, tuple[int, int, tuple[int, ...], str, tuple[int, ...]]] = {}
        memories: list[torch.Tensor] = []
        other, rest = 0, {}
        for key, value in batch.items():
            if isinstance(value, list):
                continue
            home = self._rows.get(key)
            if home is not None and np.may_share_memory(home[1], value):
                layout[key] = (len(memories), 0, value.shape, value.dtype.str, _order(value))
                memories.append(home[0])
            else:
                rest[key] = other
                other += -(-value.nbytes // _ALIGN) * _ALIGN
        if rest:
            memory = _bytes(max(other, 1), self._shared)
            flat = memory.numpy()
            for key, start in rest.items():
                value = batch[key]
                order = _order(value)
                rows = flat[start : start + value.nbytes].view(value.dtype)
                rows.reshape([value.shape[k] for k in order])[...] = value.transpose(order)
                layout[key] = (len(memories), start, value.shape, value.dtype.str, order)
            memories.append(memory)
        texts = {key: value for key, value in batch.items() if isinstance(value, list)}
        return Packed(memories, layout, texts, list(batch))


class Packed:
    """A batch in blocks of memory: what goes from a worker to the trainer."""

    def __init__(
        self,
        memories: list[torch.Tensor],
        layout: dict[str, tuple[int, int, tuple[int, ...], str, tuple[int, ...]]],
        texts: dict[str, list],
        keys: list[str],
    ) -> None:
        self.memories, self.layout, self.texts, self.keys = memories, layout, texts, keys

    def pin_memory(self) -> Packed:
        """In memory a GPU copies from by itself; PyTorch's loader calls this."""
        return Packed([m.pin_memory() for m in self.memories], self.layout, self.texts, self.keys)

    def batch(self) -> Batch:
        """The tensors."""
        found: Batch = {}
        for key in self.keys:
            if key in self.texts:
                found[key] = self.texts[key]
                continue
            number, start, shape, kind, order = self.layout[key]
            dtype = torch.from_numpy(np.zeros(0, kind)).dtype
            count = math.prod(shape) * dtype.itemsize
            flat = self.memories[number][start : start + count].view(dtype)
            tensor = flat.view([shape[k] for k in order])
            found[key] = tensor.permute([order.index(k) for k in range(len(order))])
        return found


def _order(value: Array) -> tuple[int, ...]:
    """Axes from the one with the longest stride to the shortest: how the array lies in memory."""
    axes = range(value.ndim)
    return tuple(sorted(axes, key=lambda k: (-value.strides[k], k)))


def _bytes(count: int, shared: bool) -> torch.Tensor:
    """(count,) uint8 with any content, in memory other processes can see if ``shared``."""
    if not shared:
        return torch.empty(count, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(count)  # as PyTorch's own default_collate
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
