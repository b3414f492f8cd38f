"""Writes samples of recorded drives into tar files a cluster can stream: shards.

The same drives and options give the same bytes. A shard appears under its name when it is whole,
``index.json`` when all are; until then ``index.part.json`` says how far it came, and writing again
with ``resume`` goes on from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from training.sample_files import Members, members_of
from training.sample_spec import SampleSpec
from training.shard_index import (
    INDEX,
    PART,
    Shard,
    ShardIndex,
    joined,
    plain_spec,
    read_index,
    removed,
    written,
)
from training.sources import LogSource

Array = np.ndarray

SIZE = 200e6
"""bytes of a shard: some seconds of a disk, large enough for an object store to stream at full
speed, small enough that every reader gets some"""
MIX = 32
"""drives whose samples are mixed"""

_AHEAD = 4
"""samples each worker may be ahead of the writing"""


@dataclass(frozen=True)
class ShardOptions:
    """How samples are laid out."""

    size: float = SIZE
    """bytes after which a shard is full"""
    seed: int = 0
    """of the order of samples"""
    mix: int = MIX
    """drives whose samples are mixed with each other; 0: as they were recorded"""

    def __post_init__(self) -> None:
        if self.size < 1 or self.mix < 0:
            raise RoadloopError(f"size {self.size:g} and mix {self.mix}: expected 1 and 0 or more")


def write_shards(
    source: LogSource,
    url: str,
    options: ShardOptions | None = None,
    *,
    workers: int = 0,
    skip_damaged: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    on_sample: Callable[[int], object] | None = None,
) -> ShardIndex:
    """Write all samples of a source below a URL or path; what is there then.

    Args:
        url: a folder, of any file system that fsspec knows (``s3://`` with s3fs installed, ...).
        workers: processes that read and encode; the bytes do not depend on it.
        skip_damaged: leave out samples that cannot be read, and list them in the index.
        resume: go on with what an interrupted run has left; finished shards are kept.
        overwrite: replace shards that are there.
        on_sample: called with how many samples are done, resumed ones included.

    Raises:
        RoadloopError: the folder holds shards already, or others than are to be resumed; a sample
            that is damaged; a folder that cannot be written.
    """
    options = options or ShardOptions()
    order = writing_order([len(drive.steps) for drive in source.drives], options)
    index = _begin(source, url, options, skip_damaged, resume, overwrite)
    if index.next == len(order):
        return index
    samples = _encoded(source, order[index.next :].tolist(), workers)
    while index.next < len(order):
        index = _write_shard(index, url, options, samples, skip_damaged, on_sample, len(order))
        _save(index, url, INDEX if index.next == len(order) else PART)
    removed(url, PART)
    return index


def writing_order(counts: Sequence[int], options: ShardOptions) -> Array:
    """(samples,) in which order the samples of drives with ``counts`` samples are written.

    Drives are shuffled; the samples of each ``mix`` of them are shuffled together. So a reader that
    goes through a shard from one end to the other meets many drives, while whoever writes needs
    only so many of them open.
    """
    starts = np.cumsum([0, *counts]).tolist()
    if not options.mix:
        return np.arange(starts[-1])
    rng = np.random.default_rng([options.seed, 0x5A])
    drives = rng.permutation(len(counts))
    parts = []
    for first in range(0, len(drives), options.mix):
        group = [np.arange(starts[d], starts[d + 1]) for d in drives[first : first + options.mix]]
        parts.append(rng.permutation(np.concatenate(group)))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def tar_bytes(key: str, members: Members) -> bytes:
    """The part of a tar file that holds one sample: headers and contents, without a clock."""
    made = io.BytesIO()
    for name, content in members.items():
        header = tarfile.TarInfo(f"{key}.{name}")
        header.size = len(content)
        header.mode = 0o644
        made.write(header.tobuf(tarfile.USTAR_FORMAT))
        made.write(content)
        made.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return made.getvalue()


def _begin(
    source: LogSource,
    url: str,
    options: ShardOptions,
    skip_damaged: bool,
    resume: bool,
    overwrite: bool,
) -> ShardIndex:
    """What is there already of these shards."""
    drives = [[drive.format, drive.name, len(drive.steps)] for drive in source.drives]
    plan = {
        "spec": plain_spec(_as_read(source)),
        "pictures": plain_spec(source.spec),
        "seed": options.seed,
        "mix": options.mix,
        "size": int(options.size),
        "skip_damaged": skip_damaged,
        "drives": drives,
    }
    plan = json.loads(json.dumps(plan))
    held = read_index(url, INDEX) or read_index(url, PART)
    if held is not None and resume:
        other = [key for key, value in plan.items() if held.plan.get(key) != value]
        if other:
            raise RoadloopError(
                f"{url} holds shards with another {other[0].replace('_', ' ')}; give another "
                "folder, or overwrite them"
            )
        return held
    if held is not None and not overwrite:
        raise RoadloopError(
            f"{url} holds shards already; resume them, overwrite them, or give another folder"
        )
    for name in (INDEX, PART, "shard-*.tar"):  # what says that they are whole goes first
        removed(url, name)
    return ShardIndex(plan, facts=_facts(source))


def _as_read(source: LogSource) -> SampleSpec:
    """The spec with which the shards are read: what was done to the pictures is done."""
    spec = source.spec
    cameras = ("all",) if spec.virtual and spec.cameras else spec.cameras  # other names now
    return replace(spec, cameras=cameras, virtual="", rectify=False, fit="cover", keep="bottom")


def _facts(source: LogSource) -> dict[str, Any]:
    """What a person wants to know of the data: where it is from and what it may be used for."""
    licences: dict[str, dict[str, int]] = {}
    for drive in source.drives:
        licence = str(drive.about.get("licence", "not stated"))
        counts = licences.setdefault(drive.format, {})
        counts[licence] = counts.get(licence, 0) + len(drive.steps)
    return {"licences": licences}


def _encoded(
    source: LogSource, indices: list[int], workers: int
) -> Iterator[Members | RoadloopError]:
    """The files of the samples, in order; the error of one that cannot be read in its place."""
    if not workers:
        for index in indices:
            yield _members(source, index)
        return
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(source,)) as pool:
        waiting: deque[Future[Members | RoadloopError]] = deque()
        for index in indices:
            waiting.append(pool.submit(_made, index))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _members(source: LogSource, index: int) -> Members | RoadloopError:
    try:
        return members_of(source.raw(index), source.spec)
    except RoadloopError as error:
        return error


_worker: list[LogSource] = []


def _start(source: LogSource) -> None:
    import cv2

    cv2.setNumThreads(0)
    _worker[:] = [source]


def _made(index: int) -> Members | RoadloopError:
    return _members(_worker[0], index)


def _write_shard(
    index: ShardIndex,
    url: str,
    options: ShardOptions,
    samples: Iterator[Members | RoadloopError],
    skip_damaged: bool,
    on_sample: Callable[[int], object] | None,
    total: int,
) -> ShardIndex:
    """One more shard."""
    name = f"shard-{len(index.shards):06d}.tar"
    count, size, done, left_out = 0, 0, index.next, list(index.left_out)
    digest = hashlib.sha256()
    with written(joined(url, name)) as path, open(path, "wb") as file:
        while size < options.size and done < total:
            members = next(samples)
            done += 1
            if isinstance(members, RoadloopError):
                if not skip_damaged:
                    raise members
                left_out.append(str(members))
                continue
            content = tar_bytes(f"{index.samples + count:09d}", members)
            file.write(content)
            digest.update(content)
            count, size = count + 1, size + len(content)
            if on_sample is not None:
                on_sample(done)
        end = bytes(2 * tarfile.BLOCKSIZE)
        file.write(end)
        digest.update(end)
    shard = Shard(name, count, size + len(end), digest.hexdigest())
    return replace(index, shards=(*index.shards, shard), left_out=tuple(left_out), next=done)


def _save(index: ShardIndex, url: str, name: str) -> None:
    with written(joined(url, name)) as path:
        path.write_bytes(index.dump())
