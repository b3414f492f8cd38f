"""Reads shards in sequence: from any file system, shuffled by seed, shared out, resumable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from roadloop.errors import RoadloopError
from training.loader_jobs import buffered_order
from training.sample_files import Members, narrowed, raw_of
from training.sample_spec import Sample, SampleSpec
from training.samples import Allocate, finish
from training.shard_index import INDEX, Shard, joined, opened, read_index

Array = np.ndarray

Order = tuple[int, bool, int, int, int]
"""seed, whether to shuffle, streams of a process, rank, number of processes"""

Make = Callable[["Allocate | None"], Sample]
"""finishes a sample, its pictures in arrays from ``Allocate``"""

BLOCK = 512
"""bytes, what headers and contents of a tar file are padded to"""
BUFFER = 128
"""samples, undecoded, among which each stream shuffles"""

_PICTURE_FIELDS = ("cameras", "products", "size", "fit", "keep", "rectify", "virtual")
_FEWER = ("history", "past", "future")
_OFF = {"boxes": False, "lights": False, "map": False, "lidars": (), "radars": ()}


def open_shards(url: str | Sequence[str], *, buffer: int = BUFFER, **changes: Any) -> ShardSource:
    """Shards as a source for ``make_loader``.

    Args:
        url: the folder, or several, whose samples are mixed.
        buffer: samples, not yet decoded, among which each stream shuffles.
        changes: fields of the ``SampleSpec`` they were written with: other ``size``, fewer
            ``cameras``, ``products`` or moments, or ``boxes=False`` and the like.

    Raises:
        RoadloopError: no shards there, or they do not hold what is asked for.
    """
    return ShardSource([url] if isinstance(url, str) else list(url), changes, buffer)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A shard among all."""

    url: str
    shard: Shard
    first: int
    """number of its first sample"""
    spec: int


class ShardSource:
    """See ``open_shards``. Samples are numbered over all shards, in the order they were written."""

    def __init__(self, urls: list[str], changes: dict[str, Any], buffer: int = BUFFER) -> None:
        self.buffer = buffer
        self.specs: list[SampleSpec] = []
        self._whole: list[bool] = []
        self._parts: list[_Part] = []
        total = 0
        for url in urls:
            index = read_index(url)
            if index is None:
                raise RoadloopError(
                    f"{url} holds no {INDEX}: no shards are there, or their writing was "
                    "interrupted: go on with roadloop shard --resume"
                )
            self.specs.append(_changed(url, index.spec, changes))
            self._whole.append(self.specs[-1] == index.spec)
            for shard in index.shards:
                self._parts.append(_Part(url, shard, total, len(self.specs) - 1))
                total += shard.samples
        self._total = total

    def __len__(self) -> int:
        return self._total

    def lengths(self, epoch: int, order: Order) -> list[int]:
        """Samples in each stream of a process in an epoch."""
        return [
            sum(part.shard.samples for part in self._dealt(epoch, order, stream))
            for stream in range(order[2])
        ]

    def read(
        self, epoch: int, order: Order, stream: int, first: int = 0
    ) -> Iterator[tuple[int, Make]]:
        """Number of the samples of a stream, from its ``first`` on, and what makes each.

        Shards of which all samples come before ``first`` are not opened, and nothing is decoded.
        A damaged sample, or one that cannot be read, is a RoadloopError when it is made.
        """
        parts = self._dealt(epoch, order, stream)
        samples = sum(part.shard.samples for part in parts)
        turn = np.arange(samples)
        if order[1]:
            rng = np.random.default_rng([order[0], epoch, order[3], stream, 0x5B])
            turn = buffered_order(samples, self.buffer, rng)
        gone = np.zeros(samples, bool)
        gone[turn[:first]] = True
        reading = self._sequence(parts, gone)
        held: dict[int, tuple[int, Make]] = {}
        for place in turn[first:].tolist():
            while place not in held:
                at, item = next(reading)
                held[at] = item
            yield held.pop(place)

    def _dealt(self, epoch: int, order: Order, stream: int) -> list[_Part]:
        """The shards of a stream: all of them, shuffled, are dealt out to all streams in turn."""
        seed, shuffle, streams, rank, world_size = order
        numbers = np.arange(len(self._parts))
        if shuffle:
            numbers = np.random.default_rng([seed, epoch, 0x5C]).permutation(len(self._parts))
        mine = numbers[stream * world_size + rank :: streams * world_size]
        return [self._parts[k] for k in mine.tolist()]

    def _sequence(self, parts: list[_Part], gone: Array) -> Iterator[tuple[int, tuple[int, Make]]]:
        """Place in the stream, number, and what makes them, of all samples not ``gone``."""
        start = 0
        for part in parts:
            count, path = part.shard.samples, joined(part.url, part.shard.name)
            wanted = np.flatnonzero(~gone[start : start + count]).tolist()
            done = -1
            try:
                if wanted:
                    with opened(path) as file:
                        for k, key, members in _samples(file, path, count, set(wanted)):
                            where = f"{path}: {key}"
                            spec, whole = self.specs[part.spec], self._whole[part.spec]
                            make = partial(_made, members, where, spec, whole)
                            yield start + k, (part.first + k, make)
                            done = k
            except RoadloopError as error:
                for k in wanted:
                    if k > done:
                        yield start + k, (part.first + k, partial(_raised, str(error)))
            start += count


def _made(
    members: Members, where: str, spec: SampleSpec, whole: bool, allocate: Allocate | None
) -> Sample:
    raw = raw_of(members, where)
    return finish(raw if whole else narrowed(raw, spec), spec, allocate)


def _raised(message: str, allocate: Allocate | None) -> Sample:
    raise RoadloopError(message)


def _samples(
    file: BinaryIO, path: str, count: int, wanted: set[int]
) -> Iterator[tuple[int, str, Members]]:
    """Number, key and files of the samples of a tar file that are ``wanted``."""
    number, key, members = -1, "", {}
    header = file.read(BLOCK)
    while True:
        if len(header) < BLOCK:
            raise RoadloopError(f"{path} is truncated after {number + 1} samples; copy it again")
        if not header[0]:
            break  # blocks of zeros end the file
        name, size = _header(header, f"{path} after sample {number}")
        at, _, name = name.partition(".")
        if at != key:
            if number in wanted:
                yield number, key, members
            number, key, members = number + 1, at, {}
        padded = size + -size % BLOCK
        content = file.read(padded + BLOCK)  # and the next header
        if len(content) < padded:
            raise RoadloopError(f"{path} is truncated in {at}.{name}; copy it again")
        if number in wanted:
            members[name] = content[:size]
        header = content[padded:]
    if number in wanted:
        yield number, key, members
    if number + 1 != count:
        raise RoadloopError(
            f"{path} holds {number + 1} samples, {INDEX} says {count}; write the shards again"
        )


def _header(header: bytes, where: str) -> tuple[str, int]:
    """Name and size of a file in a tar (POSIX 1003.1, ustar); ``tarfile`` takes five times as long.

    Raises RoadloopError, beginning with ``where``, for a damaged header or one that is no file's.
    """
    try:
        total = int(header[148:156].rstrip(b"\0 "), 8)
        size = int(header[124:136].rstrip(b"\0 "), 8)
        name = header[:100].rstrip(b"\0").decode()
    except ValueError as error:
        raise RoadloopError(f"{where} is damaged: {error}; copy it again") from None
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != total:
        raise RoadloopError(f"{where} is damaged: a wrong header; copy it again")
    if header[156:157] not in (b"0", b"\0"):
        raise RoadloopError(f"{where}: {name} is no file; write the shards again")
    return name, size


def _changed(url: str, written: SampleSpec, changes: dict[str, Any]) -> SampleSpec:
    """The spec with changes that only take away, or look at the pictures in another way."""
    for name, value in changes.items():
        known = [f.name for f in dataclasses.fields(SampleSpec)]
        if name not in known:
            raise RoadloopError(f'a spec has no "{name}"; it has {", ".join(known)}')
        held = getattr(written, name)
        fewer = name in _FEWER and value <= held
        off = name in _OFF and value == _OFF[name]
        some = name not in ("cameras", "products") or (
            (held == ("all",) and name == "cameras") or set(value) <= set(held)
        )
        if not (value == held or fewer or off or (name in _PICTURE_FIELDS and some)):
            raise RoadloopError(
                f"{url} was written with {name} {held}, which cannot become {value} any more: "
                "write shards with that"
            )
    return dataclasses.replace(written, **changes)
