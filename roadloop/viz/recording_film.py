"""A recorded drive as moving pictures: cameras with what is known drawn in, and all from above."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.rig import SensorRig
from roadloop.viz.camera_wall import as_they_look, wall_aspect
from roadloop.viz.film import Film
from roadloop.viz.palette import DARK, rgb
from roadloop.viz.readings import FAINT, FIELD, INK, write
from roadloop.viz.recording_facts import licence_text, title_of
from roadloop.viz.recording_moment import Moment
from roadloop.viz.recording_sheet import Sheet
from roadloop.viz.video import encode_video, frame_steps

Array = np.ndarray

WIDTH, ABOVE, HEAD = 1280, 540, 32
"""px: of a frame, height of the view from above, and of the line over it"""
TALLEST = 660
"""px, of the cameras above it"""
METRES = 76.0
"""m from the lower to the upper edge of the view from above"""
BESIDE = 1.7
"""width to height of all cameras below which they stand beside the view from above"""
SLIDES = 2
"""per second, of recordings whose steps are single moments"""


def write_recording_video(
    path: str | Path,
    sheet: Sheet,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the whole recording in real time as MP4 (H.264) and return the path.

    ``progress(done, frames)`` is called after every frame. Steps are shown evenly, as ``dt`` says;
    the clock in the picture is that of the recording.

    Raises:
        RoadloopError: a sensor's file that is missing or damaged, a path that cannot be written.
    """
    recording = sheet.recording
    rate, steps = Fraction(SLIDES), np.arange(len(recording))
    if recording.continuous:
        rate, rows = frame_steps(*_clock(recording), None)
        steps = steps_at(recording)[rows]
    rig = seen_rig(recording)

    def frames() -> Iterator[Array]:
        for done, step in enumerate(steps.tolist()):
            yield frame(sheet, Moment(recording, step), rig)
            if progress is not None:
                progress(done + 1, len(steps))

    return encode_video(path, frames(), rate, frame_size(rig))


def steps_at(recording: Recording) -> Array:
    """The step nearest to each even moment, ``dt`` apart, from the first step to the last."""
    count, dt = _clock(recording)
    even = np.rint(np.arange(count) * dt * 1e6)
    later = np.searchsorted(recording.timestamp_us, even).clip(1, max(len(recording) - 1, 1))
    later = np.minimum(later, len(recording) - 1)
    before = np.maximum(later - 1, 0)
    stamps = recording.timestamp_us
    return np.where(even - stamps[before] < stamps[later] - even, before, later)


def _clock(recording: Recording) -> tuple[int, float]:
    """How many even moments the recording lasts, and s between them."""
    last = float(recording.timestamp_us[-1]) * 1e-6
    return int(np.floor(last / recording.dt + 0.5)) + 1, recording.dt


def seen_rig(recording: Recording) -> SensorRig:
    """The rig with only those cameras that have taken a picture."""
    cameras = tuple(c for c in recording.rig.cameras if recording.frames_of(c.name))
    return replace(recording.rig, cameras=cameras)


def frame_size(rig: SensorRig) -> tuple[int, int]:
    """px, width and height of a frame."""
    if not rig.cameras:
        return WIDTH, HEAD + 720
    wide, tall = _wall_size(rig)
    return (WIDTH, HEAD + tall + ABOVE) if wide == WIDTH else (WIDTH, HEAD + tall)


def _wall_size(rig: SensorRig) -> tuple[int, int]:
    """px, of all cameras together; narrower than a frame: the view from above is beside them."""
    aspect = wall_aspect(rig)
    if aspect >= BESIDE:
        return WIDTH, min(round(WIDTH / aspect / 2) * 2, TALLEST)
    wide = round(min(TALLEST * aspect, 0.6 * WIDTH) / 2) * 2
    return wide, round(wide / aspect / 2) * 2


def frame(sheet: Sheet, moment: Moment, rig: SensorRig) -> Array:
    """(height, width, 3) uint8 RGB of one step; ``rig`` has the cameras to show."""
    width, height = frame_size(rig)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = rgb(DARK["ground"])
    _head(picture[:HEAD], moment)
    body = picture[HEAD:]
    if not rig.cameras:
        body[:] = sheet.above.picture(moment, width, height - HEAD, METRES)
        return picture
    wide, tall = _wall_size(rig)
    body[:tall, :wide] = wall(sheet, moment, rig, wide, tall)
    left, top = (0, tall) if wide == width else (wide, 0)
    body[top:, left:] = sheet.above.picture(moment, width - left, height - HEAD - top, METRES)
    return picture


def wall(sheet: Sheet, moment: Moment, rig: SensorRig, width: int, height: int) -> Array:
    """(height, width, 3): the rig's cameras laid out as they look; one without a picture is empty.

    As ``camera_wall``, with what is known drawn in.
    """
    rows = as_they_look(rig.cameras)
    canvas = np.full((height, width, 3), FIELD, np.uint8)
    edges = [round(height * k / len(rows)) for k in range(len(rows) + 1)]
    scale = min(height / len(rows), width / max(sum(c.width / c.height for c in r) for r in rows))
    for row, top, bottom in zip(rows, edges, edges[1:]):
        left = (width - scale * sum(c.width / c.height for c in row)) / 2.0
        for camera in row:
            right = left + scale * camera.width / camera.height
            u, v = max(round(left), 0), min(round(right), width) - (camera is not row[-1]) * 2
            if camera.name in moment.images:
                canvas[top:bottom, u:v] = sheet.camera(moment, camera.name, v - u, bottom - top)
            left = right
    return canvas


def _head(picture: Array, moment: Moment) -> None:
    recording = moment.recording
    write(picture, title_of(recording), 12, 6, 16, INK)
    said = f"{moment.seconds:.1f} s" if recording.continuous else f"{moment.step + 1}"
    if recording.continuous:
        said += f" · {float(recording.ego.speed[moment.step]) * 3.6:.0f} km/h"
    write(picture, said, picture.shape[1] - 12, 6, 16, INK, "ra")
    write(picture, licence_text(recording), picture.shape[1] // 2, 8, 13, FAINT, "ma")


def film_of(sheet: Sheet, most: int, progress: Callable[[int], None] | None = None) -> Film | None:
    """Walls of at most ``most`` steps, evenly chosen, for the page; None without pictures.

    Steps of the film are those of ``steps_at``, or of the recording where it is no drive.
    """
    recording = sheet.recording
    rig = seen_rig(recording)
    if not rig.cameras:
        return None
    rows = steps_at(recording) if recording.continuous else np.arange(len(recording))
    film = Film(rig)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    for k in chosen.tolist():
        film.add_wall(k, wall(sheet, Moment(recording, int(rows[k])), rig, *film.size))
        if progress is not None:
            progress(1)
    return film
