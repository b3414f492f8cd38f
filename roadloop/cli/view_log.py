"""``roadloop view LOG``: a moment, a video or a page of a recorded drive of any data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from roadloop.logs.recording import Recording
    from roadloop.viz.recording_moment import Moment
    from roadloop.viz.recording_sheet import Sheet

LISTED = 60
"""names of drives that are printed at most"""
PICTURES = (".jpg", ".jpeg", ".png")


def is_log(word: str) -> bool:
    """Whether the argument of ``roadloop view`` is a log rather than a rig.

    Raises:
        RoadloopError: a path that does not exist.
    """
    from roadloop.rig import rig_names

    path = Path(word)
    if path.suffix in (".yaml", ".yml") or word in rig_names():
        return False
    if not path.exists() and len(path.parts) > 1:
        raise RoadloopError(
            f"{word} does not exist: give a log's folder, a rig's name or the path of its .yaml"
        )
    return path.exists()


def view_log(
    root: Path, drive: str, format: str, at: float | None, out: Path | None, *, points: bool
) -> int:
    """Writes a picture of one moment, a video or a page of a drive; the exit status.

    Without a name and with several drives it prints their names.

    Raises:
        RoadloopError: as ``open_recording``; a moment after the end; a name of another kind.
    """
    from roadloop.datasets.formats import list_drives, open_recording

    kind = None if out is None else _kind(out)
    if kind in (".mp4", ".html") and at is not None:
        raise RoadloopError(f"--at is one moment, {out} holds the whole drive: leave one of them")
    if not drive:
        found, names = list_drives(root, format)
        if len(names) > 1:
            if out is not None:
                raise RoadloopError(
                    f"{root} holds {len(names)} drives: choose one with --drive, e.g. {names[0]}"
                )
            print(drives_text(root, found, names))
            return 0
    recording = open_recording(root, drive, format)
    from roadloop.viz.recording_sheet import Sheet

    out = out or Path("runs") / f"{recording.dataset}-{recording.name}.jpg"
    sheet = Sheet(recording, points=points)
    moment = None if kind in (".mp4", ".html") else _moment(recording, at or 0.0)
    print(_summary(recording))
    print(_write(sheet, moment, out))
    return 0


def drives_text(root: Path, format: str, names: list[str], *, choose: bool = True) -> str:
    """The drives of a data set, and how one is chosen."""
    from roadloop.datasets.formats import FORMATS

    more = [f"... and {len(names) - LISTED} more"] if len(names) > LISTED else []
    count = "1 drive" if len(names) == 1 else f"{len(names)} drives"
    head = f"{root}: {count} of {FORMATS[format].title} (--format {format})"
    lines = [head, *(f"  {name}" for name in names[:LISTED]), *more]
    if choose:
        lines.append(f"Choose one: roadloop view {root} --drive '{names[0]}'")
    return "\n".join(lines)


def _kind(out: Path) -> str:
    kind = out.suffix.lower()
    if kind not in (*PICTURES, ".mp4", ".html"):
        raise RoadloopError(f"{out}: give a name that ends in .jpg, .png, .mp4 or .html")
    return kind


def _moment(recording: Recording, seconds: float) -> Moment:
    from roadloop.viz.recording_moment import moment_at

    last = float(recording.timestamp_us[-1]) * 1e-6
    if seconds > last + recording.dt:
        raise RoadloopError(
            f"drive {recording.name} lasts {last:.1f} s: there is no moment at {seconds:g} s"
        )
    return moment_at(recording, seconds)


def _write(sheet: Sheet, moment: Moment | None, out: Path) -> Path:
    from roadloop.viz.contact_sheet import write_jpeg
    from roadloop.viz.recording_film import write_recording_video
    from roadloop.viz.recording_page import write_recording_page
    from roadloop.viz.report import FILM_FRAMES

    if moment is not None:
        return write_jpeg(out, sheet.picture(moment), quality=90)
    steps = len(sheet.recording)
    if out.suffix.lower() == ".mp4":
        with progress_bar(out.name, "frames", steps, quiet=False) as bar:

            def show(done: int, frames: int) -> None:
                bar.total = frames
                bar.update(done - bar.n)

            return write_recording_video(out, sheet, progress=show)
    with progress_bar(out.name, "pictures", min(FILM_FRAMES, steps), quiet=False) as bar:
        return write_recording_page(out, sheet, progress=bar.update)


def _summary(recording: Recording) -> str:
    """What was read, before the path of what was written."""
    from roadloop.viz.recording_facts import (
        counts_text,
        length_text,
        licence_text,
        place_text,
        start_text,
        title_of,
    )

    where = [place_text(recording), start_text(recording), length_text(recording)]
    lines = [title_of(recording), " · ".join(filter(None, where)), counts_text(recording)]
    lines += [licence_text(recording), *(f"note: {note}" for note in recording.notes)]
    return "\n".join(lines)
