"""How fast training data comes: samples per second from logs and from shards, against decoding.

    python benchmarks/data_throughput.py [--log DIR] [--seconds 12] [--samples 600] [--memory 10000]

A sample is six JPEG pictures of 704 x 256 and the boxes around the ego. The log is recorded first
(`roadloop record dense_town --rig nuscenes-704x256 --products rgb,boxes`), or that of `--log`.
"Bare" is cv2.imdecode of the same pictures, read before, in as many processes as the loader has
workers: what cannot be saved. The three take turns, and of each the best turn counts. Processor
time is that of all processes together, and is what other programs on the machine disturb little.

With `--memory N`: N samples go by, and the resident memory of all processes is printed ten times.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORKERS = 2
BATCH = 8
TURNS = 3


def record(folder: Path, seconds: float) -> None:
    """A log of six cameras."""
    from roadloop.cli import main

    words = ["record", "dense_town", "--rig", "nuscenes-704x256", "--products", "rgb,boxes"]
    if main([*words, "--seconds", str(seconds), "--out", str(folder)]):
        raise SystemExit("recording failed")


def cpu_seconds() -> float:
    """Processor time of this process and of those it started, living or not."""
    import psutil

    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        spent = process.cpu_times()
        total += spent.user + spent.system
    ended = me.cpu_times()
    return total + ended.children_user + ended.children_system


def resident_mb() -> float:
    """Private memory of this process and those it started, and what they share once."""
    import psutil

    me = psutil.Process()
    return sum(p.memory_full_info().pss for p in [me, *me.children(recursive=True)]) / 1e6


def decode(contents: list[bytes], samples: int, done: multiprocessing.Queue) -> None:
    """What each process of the bare case does."""
    import cv2

    cv2.setNumThreads(0)
    arrays = [np.frombuffer(content, np.uint8) for content in contents]
    done.put(None)
    for k in range(samples * 6):
        cv2.imdecode(arrays[k % len(arrays)], cv2.IMREAD_COLOR)
    done.put(None)


def bare(contents: list[bytes], samples: int) -> tuple[float, float]:
    """Wall and processor seconds for decoding the pictures of that many samples."""
    done: multiprocessing.Queue = multiprocessing.Queue()
    share = samples // WORKERS
    team = [
        multiprocessing.Process(target=decode, args=(contents, share, done)) for _ in range(WORKERS)
    ]
    for process in team:
        process.start()
    for _ in team:
        done.get()
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in team:
        done.get()
    spent = time.perf_counter() - wall, cpu_seconds() - cpu
    for process in team:
        process.join()
    return spent


def batches(loader, samples: int) -> tuple[float, float]:
    """Wall and processor seconds for that many samples of a loader that is running."""
    stream = endless(loader)
    for _ in range(2 * WORKERS):
        next(stream)
    wall, cpu = time.perf_counter(), cpu_seconds()
    seen = 0
    while seen < samples:
        seen += len(next(stream)["step"])
    return time.perf_counter() - wall, cpu_seconds() - cpu


def endless(loader):
    """Epoch after epoch."""
    while True:
        yield from loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--memory", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = options.log
        if log is None:
            log = Path(folder) / "log"
            record(log, options.seconds)
        measure(log, Path(folder), options.samples, options.memory)


def measure(log: Path, folder: Path, samples: int, memory: int) -> None:
    from training.data import LogSource, SampleSpec, make_loader, open_shards
    from training.shards import ShardOptions, write_shards

    source = LogSource([log], SampleSpec())
    pictures = [
        stored.content
        for index in range(0, len(source), max(len(source) // 30, 1))
        for stored in source.raw(index).pictures.values()
    ]
    contents = [content for content in pictures if content]
    size = np.mean([len(content) for content in contents])
    print(f"{len(source)} samples, pictures of {size / 1e3:.0f} kB; {WORKERS} workers", flush=True)
    url = str(folder / "shards")
    begun = time.process_time()
    index = write_shards(source, url, ShardOptions(size=20e6))
    spent = time.process_time() - begun
    total = sum(shard.bytes for shard in index.shards)
    print(f"shards written: {total / 1e6 / spent:.0f} MB per second of processor time")
    loaders = {
        "logs": make_loader(source, BATCH, workers=WORKERS),
        "shards": make_loader(open_shards(url), BATCH, workers=WORKERS),
    }
    cases: dict[str, Callable[[], tuple[float, float]]] = {
        "bare": lambda: bare(contents, samples),
        **{
            name: lambda loader=loader: batches(loader, samples) for name, loader in loaders.items()
        },
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(TURNS):
        for name, case in cases.items():
            found[name].append(case())
    best = {name: np.min(turns, axis=0) / samples for name, turns in found.items()}
    for name, (wall, cpu) in best.items():
        against = best["bare"] / best[name]
        print(
            f"{name:7} {1 / wall:6.0f} samples/s, {1e3 * cpu:5.2f} ms of processor time a sample; "
            f"against bare decoding: {against[0]:.2f} of its rate, {against[1]:.2f} by processor "
            "time",
            flush=True,
        )
    if memory:
        watch(loaders["shards"], memory)


def watch(loader, samples: int) -> None:
    """Prints the memory ten times while samples go by."""
    seen, shown = 0, 0
    for batch in endless(loader):
        seen += len(batch["step"])
        if seen >= shown * samples // 10:
            print(f"{seen:6} samples: {resident_mb():.0f} MB in {os.getpid()} and its workers")
            shown += 1
        if seen >= samples:
            return


if __name__ == "__main__":
    main()
