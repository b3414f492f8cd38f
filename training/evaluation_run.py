"""Long evaluations of a detector: each drive on disk at once, several processes, to be resumed.

A run's file has a line of JSON per drive and subset of sensors, the first line says what it is a
run of. Whatever order drives end in, and however often a run was stopped, the report is the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.detector_report import (
    DetectorReport,
    make_report,
    plain,
    subset_measures,
)
from perception.drive_scores import DriveScores, drive_from_json
from roadloop.errors import RoadloopError
from training.evaluate_detector import DriveFile, Subset, judge_drive, moments_of

FORMAT = 1
Task = tuple[DriveFile, Subset]


@dataclass(frozen=True)
class Judge:
    """A checkpoint and how it is run; goes to the processes that judge."""

    checkpoint: Path
    every: int = 0
    most: int = 0
    """see `training.evaluate_detector.moments_of`"""
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on beside the drives: the weights' hash and the options."""
        from perception.checkpoint import weights_file

        file = weights_file(self.checkpoint)
        options = dataclasses.asdict(self)
        del options["checkpoint"]
        return {"weights": hashlib.sha256(file.read_bytes()).hexdigest(), **options}


class DriveLines:
    """The file of a run: what is done, and what comes to it.

    Raises RoadloopError where the file is of another run, damaged, or cannot be written.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.done: dict[tuple[str, str], DriveScores] = {}
        self._folders: dict[str, str] = {}
        self._head = {"format": FORMAT, "kind": "detector evaluation", **identity}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.exists():
                self._read()
            else:
                path.write_text(json.dumps(self._head) + "\n", encoding="utf-8")
        except OSError as error:
            raise RoadloopError(
                f"cannot write {path}: {error.strerror}; give another --out"
            ) from error

    def check(self, drives: Sequence[DriveFile]) -> None:
        """Raises RoadloopError where a drive of the same name, but of elsewhere, was judged."""
        for drive in drives:
            held = self._folders.get(drive.name, "")
            if held and held != str(drive.root.resolve()):
                raise RoadloopError(
                    f"{self.path} holds drive {drive.name} of {held}, not of {drive.root}: give "
                    "--overwrite, or another --out"
                )

    def add(self, subset: str, scores: DriveScores, folder: Path = Path()) -> None:
        """One drive of a folder of recordings, on disk when this returns."""
        where = str(folder.resolve())
        entry = {"subset": subset, "folder": where, "drive": plain(scores.as_json())}
        line = json.dumps(entry, allow_nan=False)
        self._folders[scores.name] = where
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[subset, scores.name] = scores

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        # a kill may have left half a line
        whole = text[: text.rfind("\n") + 1]
        lines = whole.splitlines()
        try:
            head = json.loads(lines[0]) if lines else {}
            entries = [json.loads(line) for line in lines[1:]]
            pairs = [(entry["subset"], drive_from_json(entry["drive"])) for entry in entries]
            folders = [str(entry.get("folder", "")) for entry in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise RoadloopError(f"{self.path} is damaged ({error}); give --overwrite") from error
        for key, value in self._head.items():
            if head.get(key) != value:
                raise RoadloopError(
                    f"{self.path} is of a run with another {key}: give --overwrite, or another "
                    "--out"
                )
        self.done = {(subset, scores.name): scores for subset, scores in pairs}
        self._folders = {scores.name: where for (_, scores), where in zip(pairs, folders)}
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")


def evaluate_logs(
    judge: Judge,
    drives: Sequence[DriveFile],
    subsets: Sequence[Subset],
    lines: DriveLines | None = None,
    *,
    workers: int = 1,
    facts: dict[str, Any] | None = None,
    on_drive: Callable[[DriveScores], None] | None = None,
) -> DetectorReport:
    """The report of the first subset, with the measures of all of them where there are several.

    Args:
        lines: where the drives are kept; None: nowhere.
        workers: processes; the report does not depend on it.
        on_drive: called after each drive, also after those that were done already.

    Raises:
        RoadloopError: a checkpoint or a drive that cannot be used; what was judged before is kept.
    """
    from perception.checkpoint import load_detector_weights

    config, _, _ = load_detector_weights(judge.checkpoint)
    if lines is not None:
        lines.check(drives)
    done = {} if lines is None else dict(lines.done)
    tasks = [(drive, subset) for subset in subsets for drive in drives]
    left = []
    for drive, subset in tasks:
        held = done.get((subset.name, drive.name))
        if held is None:
            left.append((drive, subset))
        elif on_drive is not None:
            on_drive(held)
    for (drive, subset), scores in _judged(judge, left, workers):
        if lines is not None:
            lines.add(subset.name, scores, drive.root)
        done[subset.name, scores.name] = scores
        if on_drive is not None:
            on_drive(scores)
    by_subset = [[done[subset.name, drive.name] for drive in drives] for subset in subsets]
    facts = {**(facts or {}), "sensors": subsets[0].name}
    report = make_report(by_subset[0], config.grid, facts)
    if len(subsets) > 1:
        measured = {
            subset.name: subset_measures(found, config.grid)
            for subset, found in zip(subsets, by_subset)
        }
        report = dataclasses.replace(report, subsets=measured)
    return report


# --- processes ------------------------------------------------------------------------------------


def _judged(
    judge: Judge, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, DriveScores]]:
    """Every task as it ends."""
    if workers <= 1 or len(tasks) <= 1:
        run = _Bench(judge)
        for task in tasks:
            yield task, run(task)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(judge,),
    )
    try:
        waiting = {pool.submit(_work, task): task for task in tasks}
        for future in concurrent.futures.as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool as error:
        raise RoadloopError(
            "a process that judged was killed, perhaps for want of memory: go on with --resume and "
            "fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Bench:
    """The network, loaded once in each process."""

    def __init__(self, judge: Judge) -> None:
        from perception.checkpoint import load_detector
        from perception.torch_engine import torch_engine

        network, _ = load_detector(judge.checkpoint)
        self._judge, self._config = judge, network.config
        self._engine = torch_engine(
            network, threads=judge.threads, device=judge.device, bf16=judge.bf16
        )

    def __call__(self, task: Task) -> DriveScores:
        drive, subset = task
        recording = drive.open()
        moments = moments_of(recording, self._config, self._judge.every, self._judge.most)
        about = dict(recording.about)
        return judge_drive(self._engine, self._config, moments, drive.name, about, subset)


_BENCH: list[_Bench] = []  # of this process


def _start(judge: Judge) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that was started
    _BENCH[:] = [_Bench(judge)]


def _work(task: Task) -> DriveScores:
    return _BENCH[0](task)
