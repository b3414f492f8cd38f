"""``roadloop shard``: samples of recorded drives in tar files for training."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop.cli.drivers import Settings
from roadloop.command_line import INTERRUPTED, Count, File, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import Laps, progress_bar

if TYPE_CHECKING:
    from training.sample_spec import SampleSpec
    from training.shard_index import ShardIndex

UNITS = {"": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}


@dataclass(frozen=True)
class Shard:
    """Write samples of recorded drives into shards: tar files that training reads in sequence.

    LOGS are folders of data sets or of single drives, of any format docs/data.md lists; every
    drive in them is used. URL is a folder here (runs/shards) or on any file system that fsspec
    knows (s3://bucket/folder with s3fs installed). It gets shard-000000.tar and so on, as
    WebDataset has them, and index.json when all are there (docs/training-data.md). The same drives
    and options give the same bytes. After Ctrl-C or a kill --resume goes on with the shard that was
    not finished.

    Example: roadloop shard runs/data --out runs/shards --set future=8 --set map=true

    Smaller pictures: roadloop shard runs/data --out s3://bucket/shards --resize 704x256

    Are they whole: roadloop shard --check runs/shards
    """

    logs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="LOGS ...")] = ()
    """folders of recorded drives"""
    out: Annotated[str, tyro.conf.arg(metavar="URL")] = "runs/shards"
    """where to write"""
    spec: File = None
    """YAML of a SampleSpec: which cameras, products, LiDARs, labels; docs/training-data.md"""
    set: Settings = ()
    """a field of the spec, e.g. cameras=[front,rear] or future=8"""
    resize: Annotated[str, tyro.conf.arg(metavar="WxH"), default_text("as recorded")] = ""
    """px, encode pictures anew in this size; otherwise their bytes are copied"""
    size: Annotated[str, tyro.conf.arg(metavar="BYTES")] = "200MB"
    """of a shard"""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """of LOGS; auto finds it"""
    drives: Annotated[str, tyro.conf.arg(metavar="LIST"), default_text("all")] = ""
    """names with commas between them, * and ? as in a shell"""
    seed: int = 0
    """of the order of samples"""
    mix: int = 32
    """drives whose samples are mixed with each other; 0: in the order they were recorded"""
    workers: Annotated[Count, default_text("one per core")] = None
    """processes; the bytes do not depend on it"""
    skip_damaged: bool = False
    """leave out samples that cannot be read, and list them; otherwise the first one is an error"""
    resume: bool = False
    """go on with what URL holds"""
    overwrite: bool = False
    """replace the shards URL holds"""
    check: Annotated[str, tyro.conf.arg(metavar="URL"), default_text("off")] = ""
    """compare the shards there with their checksums, and do nothing else"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        bytes_of(self.size)
        if self.workers is not None and self.workers < 1:
            raise RoadloopError(f"workers is {self.workers}; it must be 1 or more")
        if self.resume and self.overwrite:
            raise RoadloopError("--resume keeps what --overwrite replaces; give one of them")
        if not self.logs and not self.check:
            raise RoadloopError(
                "give the folders of recorded drives, e.g. roadloop shard runs/data"
            )
        if self.resize:
            pixels(self.resize)

    def run(self) -> int:
        if self.check:
            return self._check()
        from sim.workers import choose_workers
        from training.shards import ShardOptions, write_shards
        from training.sources import LogSource

        options = ShardOptions(bytes_of(self.size), self.seed, self.mix)
        source = LogSource(self.logs, self._spec(), self.format, self.drives, max(self.mix, 1))
        workers = choose_workers(self.workers)
        laps = Laps()
        try:
            with progress_bar("shard", "samples", len(source), quiet=self.json) as bar:
                index = write_shards(
                    source,
                    self.out,
                    options,
                    workers=0 if workers == 1 else workers,
                    skip_damaged=self.skip_damaged,
                    resume=self.resume,
                    overwrite=self.overwrite,
                    on_sample=lambda done: bar.update(done - bar.n),
                )
        except KeyboardInterrupt:
            print("roadloop: interrupted; go on with --resume", file=sys.stderr)
            return INTERRUPTED
        laps.lap("shard")
        self._say(index, len(source.drives), laps.seconds["shard"])
        return 0

    def _spec(self) -> SampleSpec:
        from roadloop.config import load_config
        from training.sample_spec import SampleSpec

        changes = list(self.set)
        if self.resize:
            changes.append(f"size={list(pixels(self.resize))}")
        return load_config(SampleSpec, self.spec, changes)

    def _check(self) -> int:
        from training.shard_index import verify_shards

        count = verify_shards(self.check)
        if self.json:
            print(json.dumps({"folder": self.check, "shards": count}))
        else:
            print(f"{self.check}: {count} shards are as they were written")
        return 0

    def _say(self, index: ShardIndex, drives: int, seconds: float) -> None:
        size = sum(shard.bytes for shard in index.shards)
        if self.json:
            facts: dict[str, Any] = {
                "folder": self.out,
                "drives": drives,
                "samples": index.samples,
                "shards": len(index.shards),
                "bytes": size,
                "left_out": list(index.left_out),
                "wall_s": seconds,
            }
            print(json.dumps(facts, indent=2))
            return
        for line in index.left_out:
            print(f"left out: {line}", file=sys.stderr)
        lost = f", {len(index.left_out)} left out" if index.left_out else ""
        print(
            f"{index.samples} samples of {drives} drives in {len(index.shards)} shards"
            f"{lost}: {size / 1e6:.1f} MB, took {seconds:.1f} s"
        )
        print(self.out)


def bytes_of(text: str) -> float:
    """How many bytes ``200MB``, ``1.5 GB`` or ``5000`` are."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?[bB]?)\s*", text)
    unit = (match[2].lower() if match else "") or ""
    unit = unit if unit in UNITS else f"{unit}b"
    value = float(match[1]) * UNITS.get(unit, 1.0) if match else 0.0
    if value < 1:
        raise RoadloopError(f'size is "{text}": expected bytes such as 200MB or 1GB')
    return value


def pixels(text: str) -> tuple[int, int]:
    """Width and height of ``704x256``."""
    match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise RoadloopError(f'resize is "{text}": expected width and height such as 704x256')
    return int(match[1]), int(match[2])
