"""The table of contents of a set of shards, and the files they lie in on any file system."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from roadloop.config import dump_config, load_config
from roadloop.errors import RoadloopError
from roadloop.files import replaced
from training.sample_spec import SampleSpec

INDEX = "index.json"
PART = "index.part.json"
"""in the place of ``INDEX`` as long as shards are being written"""
FORMAT = "roadloop shards"
SCHEMA_VERSION = 1

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One tar file."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """What a set of shards holds."""

    plan: dict[str, Any]
    """all that the bytes depend on: spec, seed, mix, size, drives with their steps"""
    shards: tuple[Shard, ...] = ()
    left_out: tuple[str, ...] = ()
    """one line per damaged sample"""
    next: int = 0
    """number, in the order of writing, of the first sample that is not in a shard yet"""
    facts: dict[str, Any] = field(default_factory=dict)
    """for the reader only: cameras, data sets with their licences"""

    @property
    def samples(self) -> int:
        """In all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def spec(self) -> SampleSpec:
        """What was written, as it is to be read."""
        return spec_of(self.plan["spec"])

    def dump(self) -> bytes:
        """As JSON."""
        content = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "samples": self.samples,
            "bytes": sum(shard.bytes for shard in self.shards),
            **self.facts,
            "plan": self.plan,
            "next": self.next,
            "left_out": list(self.left_out),
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
        }
        return (json.dumps(content, indent=1) + "\n").encode()


def plain_spec(spec: SampleSpec) -> dict[str, Any]:
    """A spec as JSON values."""
    import yaml

    return yaml.safe_load(dump_config(spec))


def spec_of(values: dict[str, Any]) -> SampleSpec:
    """The spec of ``plain_spec``; RoadloopError for one that is none."""
    return load_config(SampleSpec, None, [f"{k}={json.dumps(v)}" for k, v in values.items()])


def read_index(url: str, name: str = INDEX) -> ShardIndex | None:
    """The index at a URL or path, None where there is none; RoadloopError for a damaged one."""
    path = joined(url, name)
    try:
        with opened(path) as file:
            content = file.read()
    except RoadloopError:
        if exists(path):
            raise
        return None
    try:
        values = json.loads(content)
        if values.pop("format") != FORMAT:
            raise ValueError("it is of something else")
        version = int(values.pop("schema_version"))
        index = ShardIndex(
            plan=values.pop("plan"),
            shards=tuple(Shard(**shard) for shard in values.pop("shards")),
            left_out=tuple(values.pop("left_out")),
            next=int(values.pop("next")),
            facts={k: v for k, v in values.items() if k not in ("samples", "bytes")},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoadloopError(f"{path} is damaged: {error}; write the shards again") from None
    if version > SCHEMA_VERSION:
        raise RoadloopError(f"{path} has schema {version}, newer than this roadloop; upgrade it")
    return index


def joined(url: str, name: str) -> str:
    """A file's URL in a folder's."""
    return f"{url.rstrip('/')}/{name}"


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL or local path, and the path in it.

    RoadloopError where the package that speaks its protocol is missing.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise RoadloopError(f"{url} cannot be opened: {error}") from None


def exists(url: str) -> bool:
    """Whether there is such a file."""
    files, path = file_system(url)
    return bool(files.exists(path))


@contextlib.contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """A file to read from beginning to end; RoadloopError where that cannot be done."""
    files, path = file_system(url)
    try:
        if is_local(files):
            with open(path, "rb", buffering=_CHUNK) as file:
                yield file
        else:
            with files.open(path, "rb") as file:
                yield file
    except FileNotFoundError:
        raise RoadloopError(f"{url} is missing; copy it again, or write the shards again") from None
    except OSError as error:
        raise RoadloopError(f"{url} cannot be read: {error.strerror or error}") from None


@contextlib.contextmanager
def written(url: str) -> Iterator[Path]:
    """A local path to write to; its content gets the name ``url`` when the block is left.

    Where the block raises there is nothing new under that name. On other machines' file systems
    the file is sent whole, and what they show of it meanwhile is up to them: object stores nothing.
    """
    files, path = file_system(url)
    try:
        if is_local(files):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replaced(Path(path)) as hidden:
                yield hidden
            return
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "file"
            yield local
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.put_file(str(local), path)
    except OSError as error:
        raise RoadloopError(f"{url} cannot be written: {error.strerror or error}") from error


def removed(url: str, pattern: str) -> None:
    """Take away the files of a folder whose name is ``pattern``."""
    files, path = file_system(url)
    for name in files.glob(f"{path.rstrip('/')}/{pattern}"):
        files.rm_file(name)


def is_local(files: Any) -> bool:
    """Whether a file system is this machine's."""
    kinds = files.protocol if isinstance(files.protocol, (tuple, list)) else (files.protocol,)
    return "file" in kinds


def verify_shards(url: str) -> int:
    """Compare every shard with its checksum; how many there are.

    Raises RoadloopError for the first that is missing or differs.
    """
    index = read_index(url)
    if index is None:
        raise RoadloopError(f"{url} holds no {INDEX}: no shards, or their writing was interrupted")
    for shard in index.shards:
        path, digest = joined(url, shard.name), hashlib.sha256()
        with opened(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != shard.sha256:
            raise RoadloopError(f"{path} differs from its checksum in {INDEX}; copy it again")
    return len(index.shards)
