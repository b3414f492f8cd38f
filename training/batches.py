"""Samples to batches: stacked, padded with masks.

A batch has a key per array of ``training.sample_spec`` with a leading axis B. Arrays of varying
length are padded with zeros; ``boxes_valid``, ``points_valid``, ``radar_valid``,
``map_lines_valid`` and ``lights_valid`` (B, longest) say what is real. Text is a list. Poses and
lenses become float32, but ``world_from_ego``, whose coordinates may be large.
"""

from __future__ import annotations

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
                "size, and cameras that all drives have or a virtual rig, in the spec"
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
