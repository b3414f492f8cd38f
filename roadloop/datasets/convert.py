"""Drives of any data set converted to logs of ours: one task per drive, each whole or not there."""

from __future__ import annotations

import dataclasses
import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roadloop.config import unknown
from roadloop.datasets.formats import reader_of
from roadloop.errors import RoadloopError
from roadloop.logs.anonymize import Anonymizer
from roadloop.logs.sensor_folder import SUMS, read_meta
from roadloop.logs.writer import Written, clear_part, write_recording

CONVERTED = "converted"
"""in a log's ``about``: what it was made of, and how"""


@dataclass(frozen=True)
class Task:
    """One drive to convert."""

    root: Path
    format: str
    drive: str
    folder: Path
    """of the log"""
    overwrite: bool = False
    anonymize: str = ""
    """finders as ``roadloop.logs.anonymize`` names them; none: pictures stay as they are"""


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    written: Written | None = None
    """None: the drive was there, or failed"""
    why: str = ""
    """one line of what is wrong; empty: nothing"""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """of the reader"""
    blurred: dict[str, int] = field(default_factory=dict)
    """regions by kind"""
    pictures: int = 0
    """in which something was blurred"""


def convert_drive(task: Task, on_share: Callable[[float], None] | None = None) -> Outcome:
    """Convert one drive, unless it is there already; never raises for what is wrong with it.

    Args:
        on_share: called with the share of the drive that was done since the last call.
    """
    began = time.perf_counter()

    def seconds() -> float:
        return round(time.perf_counter() - began, 3)

    try:
        root, folder = task.root.resolve(), task.folder.resolve()
        if folder == root or folder in root.parents:
            raise RoadloopError(f"{task.folder} is what is read: give another folder to write to")
        if not task.overwrite and is_there(task):
            return Outcome()
        # not by open_recording, which would list all the drives once more
        recording = reader_of(task.format).open_drive(task.root, task.drive)
        how: dict[str, Any] = {"format": task.format, "anonymize": task.anonymize}
        if CONVERTED in recording.about:
            how["from"] = recording.about[CONVERTED]
        recording = dataclasses.replace(recording, about={**recording.about, CONVERTED: how})
        edit = Anonymizer(recording, task.anonymize) if task.anonymize else None
        part = 1.0 / len(recording)
        written = write_recording(
            recording,
            task.folder,
            overwrite=task.overwrite,
            edit=edit,
            on_step=None if on_share is None else lambda step: on_share(part),
        )
    except RoadloopError as error:
        return Outcome(why=" ".join(str(error).split()), seconds=seconds())
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        # a fault of the reader, not of this drive alone: the others have their chance
        why = f"{type(error).__name__}: {error}"
        return Outcome(why=" ".join(why.split()), seconds=seconds())
    return Outcome(
        written,
        seconds=seconds(),
        notes=recording.notes,
        blurred={} if edit is None else dict(sorted(edit.regions.items())),
        pictures=0 if edit is None else edit.pictures,
    )


def is_there(task: Task) -> bool:
    """Whether the task's folder holds the same drive, finished, converted in the same way.

    Raises:
        RoadloopError: it holds anything else.
    """
    if not task.folder.exists():
        return False
    if not (task.folder / SUMS).is_file():
        raise RoadloopError(
            f"{task.folder} exists and is no finished log; give --overwrite, or another folder"
        )
    about = read_meta(task.folder)["about"]
    how = about.get(CONVERTED, {})
    if about.get("drive") != task.drive or how.get("format") != task.format:
        raise RoadloopError(
            f"{task.folder} holds another drive ({about.get('dataset')} {about.get('drive')}); "
            "give --overwrite, or another folder"
        )
    if how.get("anonymize") != task.anonymize:
        was = how.get("anonymize") or "nothing"
        raise RoadloopError(
            f"{task.folder} was anonymised by {was}, not by {task.anonymize or 'nothing'}; give "
            "--overwrite, or another folder"
        )
    return True


def clear_unfinished(tasks: Sequence[Task]) -> None:
    """Take away what interrupted workers have begun."""
    for task in tasks:
        clear_part(task.folder)


def chosen(names: Sequence[str], words: str) -> list[str]:
    """The names that any of the words with commas between them means; ``*`` and ``?`` as in shells.

    Raises:
        RoadloopError: a word that means none.
    """
    if not words:
        return list(names)
    found: dict[str, None] = {}
    for word in (w.strip() for w in words.split(",") if w.strip()):
        some = [n for n in names if n == word] or fnmatch.filter(names, word)
        if not some:
            raise RoadloopError(unknown("drive", word, names))
        found |= dict.fromkeys(some)
    if not found:
        raise RoadloopError(f'--drives "{words}" names none')
    return [n for n in names if n in found]


def size_of(folder: Path) -> int:
    """Bytes of all files of a log."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
