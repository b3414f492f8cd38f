"""``roadloop convert``: drives of any data set as logs of ours, or as nuScenes."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from roadloop.command_line import INTERRUPTED, Count, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from roadloop.datasets.convert import Outcome, Task

LISTED = 200
"""drives that the table at the end has at most"""
DAMAGED = 2
"""exit status where a drive could not be converted, as after any mistake in the input"""


@dataclass(frozen=True)
class Convert:
    """Convert drives of a data set to logs of roadloop, one folder each.

    SRC is the folder or file of a data set (docs/data.md lists the formats). DST gets a folder per
    drive with its pictures, sweeps, labels and map (docs/logs.md). Several processes convert drives
    at once. A drive is under its name when it is complete, or not at all: after Ctrl-C or a kill
    the same command converts what is missing. A damaged drive is named with what is wrong, the
    others go on; the exit status is 2 then.

    Example: roadloop convert data/nuscenes runs/nuscenes --drives 'scene-00*' --workers 4
    Example: roadloop convert data/nuscenes --list
    Example: roadloop convert data/nuscenes runs/anonymous --anonymize labels
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """folder or file of a data set"""
    folder: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="DST"), default_text("runs/FORMAT")
    ] = Path()
    """where to write"""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """of SRC; auto finds it, docs/data.md names them"""
    drives: Annotated[str, tyro.conf.arg(metavar="LIST"), default_text("all")] = ""
    """names with commas between them, * and ? as in a shell"""
    list: bool = False
    """print the format of SRC and the names of its drives, and convert nothing"""
    to: Literal["roadloop", "nuscenes"] = "roadloop"
    """write logs of roadloop, or one data set in the layout of nuScenes"""
    anonymize: Annotated[str, tyro.conf.arg(metavar="HOW"), default_text("off")] = ""
    """blur faces and licence plates: labels (by the 3D boxes), FILE.onnx (a YuNet face detector),
    MODULE:FUNCTION, or several with commas"""
    workers: Annotated[Count, default_text("one per core")] = None
    """processes"""
    overwrite: bool = False
    """convert again what DST holds"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RoadloopError(f"workers is {self.workers}; it must be 1 or more")

    def run(self) -> int:
        from roadloop.cli.view_log import drives_text
        from roadloop.datasets.convert import Task, chosen
        from roadloop.datasets.formats import list_drives

        format, names = list_drives(self.source, self.format)
        names = chosen(names, self.drives)
        if self.list:
            if self.json:
                print(json.dumps({"format": format, "drives": names}, indent=2))
            else:
                print(drives_text(self.source, format, names, choose=False))
            return 0
        if self.anonymize:
            from roadloop.logs.anonymize import check_finders

            check_finders(self.anonymize)
        folder = self.folder if self.folder != Path() else Path("runs") / format
        if folder.resolve() == self.source.resolve():
            raise RoadloopError(f"{folder} is what is read: give another folder to write to")
        if self.to == "nuscenes":
            return self._export(format, names, folder)
        tasks = [
            Task(self.source, format, name, folder / name, self.overwrite, self.anonymize)
            for name in names
        ]
        return self._convert(tasks, folder)

    def _convert(self, tasks: list[Task], folder: Path) -> int:
        from roadloop.datasets.convert import Outcome, clear_unfinished
        from sim.workers import choose_workers

        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RoadloopError(f"cannot write into {folder}: {error.strerror}") from error
        workers = min(choose_workers(self.workers), len(tasks))
        outcomes: dict[str, Outcome] = {}
        with progress_bar("convert", "drives", len(tasks), quiet=self.json) as bar:

            def end(task: Task, outcome: Outcome | str, seconds: float) -> None:
                if isinstance(outcome, str):
                    outcome = Outcome(why=outcome, seconds=round(seconds, 3))
                outcomes[task.drive] = outcome
                if outcome.why and not self.json:
                    bar.write(f"roadloop: {task.drive}: {outcome.why}", file=sys.stderr)

            try:
                _run(tasks, workers, end, bar)
            except KeyboardInterrupt:
                clear_unfinished(tasks)
                left = len(tasks) - len(outcomes)
                print(
                    f"roadloop: interrupted; {left} drives are left, the same command goes on",
                    file=sys.stderr,
                )
                return INTERRUPTED
        rows = [_row(task, outcomes[task.drive]) for task in tasks]
        failed = [row for row in rows if row["error"]]
        if self.json:
            print(json.dumps({"folder": str(folder), "drives": rows}, indent=2))
        else:
            print(_table(rows))
            print(_total(rows))
            print(folder)
        return DAMAGED if failed else 0

    def _export(self, format: str, names: list[str], folder: Path) -> int:
        from roadloop.datasets.formats import open_recording
        from roadloop.datasets.nuscenes.export import export_nuscenes

        if self.anonymize:
            raise RoadloopError(
                "--to nuscenes writes pictures as they are: convert with --anonymize first, then "
                "convert the result with --to nuscenes"
            )
        if self.overwrite:
            raise RoadloopError(f"--to nuscenes overwrites nothing: remove {folder} yourself")
        with progress_bar("convert", "drives", len(names), quiet=self.json) as bar:
            opened = (open_recording(self.source, name, format) for name in names)
            written = export_nuscenes(opened, folder, on_scene=lambda scene: bar.update(1))
        if self.json:
            told = {"drives": names, "records": dict(written.records), "bytes": written.bytes}
            print(json.dumps({"folder": str(folder), **told}, indent=2))
        else:
            figures = ", ".join(
                f"{written.records[table]} {table}"
                for table in ("scene", "sample", "sample_data", "sample_annotation")
            )
            print(f"{figures}; {written.bytes / 1e6:.1f} MB")
            print(folder)
        return 0


def _run(tasks: list[Task], workers: int, end: Callable[..., None], bar: Any) -> None:
    """All tasks in processes of their own; the bar follows the steps that are done."""
    import multiprocessing

    from sim.workers import LocalWorker, memory_limit, run_all

    done = multiprocessing.get_context("spawn").Value("d", 0.0)
    work = partial(_work, done)

    def tick() -> None:
        bar.n = min(done.value, bar.total)
        bar.refresh()

    limit = memory_limit(workers)
    watched = [_Watched(LocalWorker(work, limit), tick) for _ in range(workers)]
    run_all(tasks, watched, math.inf, end)


def _work(done: Any, task: Task) -> Outcome:
    from roadloop.datasets.convert import convert_drive

    told = 0.0

    def add(share: float) -> None:
        nonlocal told
        told += share
        with done.get_lock():
            done.value += share

    outcome = convert_drive(task, add)
    add(1.0 - told)
    return outcome


class _Watched:
    """A worker whose bar moves whenever somebody asks for its answer."""

    def __init__(self, worker: Any, tick: Callable[[], None]) -> None:
        self._worker = worker
        self._tick = tick

    def give(self, task: Task) -> None:
        self._worker.give(task)

    def answer(self) -> Outcome | None:
        self._tick()
        return self._worker.answer()

    def kill(self) -> None:
        self._worker.kill()


# --- what is said at the end --------------------------------------------------------------------


def _row(task: Task, outcome: Outcome) -> dict[str, Any]:
    """Plain values of one drive."""
    from roadloop.datasets.convert import size_of

    row: dict[str, Any] = {"drive": task.drive, "error": outcome.why, "seconds": outcome.seconds}
    row["kept"] = outcome.written is None and not outcome.why
    if outcome.written is not None:
        row |= dataclasses.asdict(outcome.written)
        row |= {"notes": [*outcome.notes]}
        if task.anonymize:
            row |= {"blurred": outcome.blurred, "pictures_changed": outcome.pictures}
    if not outcome.why:
        row["bytes"] = size_of(task.folder)
    return row


_COLUMNS = ("steps", "agents", "images", "sweeps", "lanes")


def _table(rows: list[dict[str, Any]]) -> str:
    wide = max(len("drive"), *(len(row["drive"]) for row in rows))
    head = "".join(f"{name:>8}" for name in _COLUMNS)
    lines = [f"{'drive':{wide}}{head}{'MB':>9}{'seconds':>9}"]
    told = [row for row in rows if row["error"]] if len(rows) > LISTED else rows
    for row in told:
        if row["error"]:
            lines.append(f"{row['drive']:{wide}}  skipped: {row['error']}")
        elif row["kept"]:
            lines.append(f"{row['drive']:{wide}}  was there, {row['bytes'] / 1e6:.1f} MB")
        else:
            figures = "".join(f"{row[name]:>8}" for name in _COLUMNS)
            size = f"{row['bytes'] / 1e6:>9.1f}{row['seconds']:>9.1f}"
            lines.append(f"{row['drive']:{wide}}{figures}{size}")
    if len(rows) > LISTED:
        lines.append(f"... only what was skipped of {len(rows)} drives; --json has all of them")
    return "\n".join(lines)


def _total(rows: list[dict[str, Any]]) -> str:
    kept = sum(row["kept"] for row in rows)
    failed = sum(bool(row["error"]) for row in rows)
    words = [f"{len(rows) - kept - failed} of {len(rows)} drives converted"]
    words += [f"{kept} were there"] if kept else []
    words += [f"{failed} skipped"] if failed else []
    blurred: dict[str, int] = {}
    for row in rows:
        for kind, count in row.get("blurred", {}).items():
            blurred[kind] = blurred.get(kind, 0) + count
    lines = ["; ".join(words)]
    if any("blurred" in row for row in rows):
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(blurred.items())) or "none"
        changed = sum(row.get("pictures_changed", 0) for row in rows)
        total = sum(blurred.values())
        lines.append(f"blurred: {total} regions in {changed} pictures ({counts})")
    return "\n".join(lines)
