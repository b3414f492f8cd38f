"""One moment of a recording on one picture: its cameras with what is known drawn into them, and
everything from above, below a head line with data set, drive, time, counts and licence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.rig import CameraSensor
from roadloop.types import AgentKind
from roadloop.viz.camera_wall import as_they_look
from roadloop.viz.palette import DARK, rgb
from roadloop.viz.projected import GroundLines, box_colour, ground_lines
from roadloop.viz.readings import FAINT, INK, typeface, write
from roadloop.viz.recording_above import FromAbove
from roadloop.viz.recording_facts import (
    counts_text,
    length_text,
    licence_text,
    place_text,
    start_text,
    title_of,
)
from roadloop.viz.recording_moment import Moment

Array = np.ndarray

WIDTH = 1920
"""px, of a sheet"""
GAP, HEAD, CAPTION = 14, 84, 24
"""px: between tiles, of the head, above every tile"""
TALLEST = 620
"""px, of a row of cameras at most"""
ENLARGED = 1.6
"""times a small camera picture is enlarged at most"""
LOWEST = 560
"""px, height of the view from above where cameras lie above it"""
PANEL = 420
"""px, width of the text beside it"""
METRES = 84.0
"""m from the upper to the lower edge of the view from above"""


class Sheet:
    """Draws moments of one recording: ``Sheet(recording).picture(moment)``.

    Args:
        points: LiDAR points in the pictures, too.

    Raises:
        RoadloopError: a map that cannot be read.
    """

    def __init__(self, recording: Recording, *, points: bool = False) -> None:
        self.recording = recording
        self.road_map: RoadMap | None = recording.road_map
        self.ground: GroundLines | None = None
        if self.road_map is not None:
            self.ground = ground_lines(self.road_map)
        self.above = FromAbove(recording, self.road_map)
        self.points = points

    def picture(self, moment: Moment, width: int = WIDTH) -> Array:
        """(height, width, 3) uint8 RGB.

        Raises:
            RoadloopError: a sensor's file that is missing or damaged.
        """
        rows = [
            [c for c in row if c.name in moment.images]
            for row in as_they_look(self.recording.rig.cameras)
        ]
        rows = [row for row in rows if row]
        heights = [_row_height(row, width) for row in rows]
        if len(set(heights)) > 1 and min(heights) >= 0.6 * max(heights):
            heights = [min(heights)] * len(heights)
        below = LOWEST if rows else 980
        full = HEAD + sum(h + CAPTION + GAP for h in heights) + below + GAP
        sheet = np.empty((full, width, 3), np.uint8)
        sheet[:] = rgb(DARK["ground"])
        self._head(sheet, moment)
        top = HEAD
        for row, height in zip(rows, heights, strict=True):
            wide = [round(height * c.width / c.height) for c in row]
            left = (width - sum(wide) - GAP * (len(row) - 1)) // 2
            for camera, w in zip(row, wide, strict=True):
                self._caption(sheet, moment, camera.name, left, top)
                under = top + CAPTION
                sheet[under : under + height, left : left + w] = self.camera(
                    moment, camera.name, w, height
                )
                left += w + GAP
            top += height + CAPTION + GAP
        beside = width - PANEL - 3 * GAP
        sheet[top : top + below, GAP : GAP + beside] = self.above.picture(
            moment, beside, below, METRES
        )
        self._panel(sheet[top : top + below, width - PANEL - GAP : width - GAP], moment)
        return sheet

    def camera(self, moment: Moment, name: str, width: int, height: int) -> Array:
        """(height, width, 3): one camera with boxes, map and, where wanted, points."""
        return moment.picture(name, width, height, ground=self.ground, points=self.points)

    def _head(self, sheet: Array, moment: Moment) -> None:
        recording = self.recording
        count = len(recording)
        when = f"step {moment.step} of {count} · {moment.seconds:.2f} s"
        if recording.continuous:
            when += f" · {float(recording.ego.speed[moment.step]) * 3.6:.0f} km/h"
        write(sheet, title_of(recording), GAP, 10, 24, INK)
        right = sheet.shape[1] - GAP
        write(sheet, when, right, 14, 18, INK, "ra")
        said = [place_text(recording), start_text(recording), length_text(recording)]
        write(sheet, " · ".join(filter(None, said)), GAP, 42, 15, FAINT)
        write(sheet, f"{counts_text(recording)} · {licence_text(recording)}", GAP, 62, 14, FAINT)

    def _caption(self, sheet: Array, moment: Moment, name: str, left: int, top: int) -> None:
        frame = moment.frames[name]
        late = (frame.timestamp_us - int(self.recording.timestamp_us[moment.step])) * 1e-3
        write(sheet, name, left, top + 3, 15, INK)
        x = left + round(typeface(15).getlength(name)) + 8
        write(sheet, f"{late:+.0f} ms", x, top + 5, 13, FAINT)

    def _panel(self, panel: Array, moment: Moment) -> None:
        """What is seen: road users of the step by kind, sensors, what the reader notes."""
        y, high = 2, panel.shape[0]
        states = moment.agents()
        if states is not None:
            real = bool(self.recording.is_labelled[moment.step])
            write(panel, "road users" if real else "road users, interpolated", 0, y, 15, INK)
            y += 24
            for kind in AgentKind:
                count = int((states.kind == kind).sum())
                if count:
                    panel[y + 3 : y + 13, 2:12] = box_colour(kind)
                    write(panel, kind.name.lower(), 22, y, 14, FAINT)
                    write(panel, str(count), 180, y, 14, INK, "ra")
                    y += 20
            y += 10
        for name, frame in moment.frames.items():
            if frame.kind == "camera" or y > high - 40:
                continue
            late = (frame.timestamp_us - int(self.recording.timestamp_us[moment.step])) * 1e-3
            write(panel, name, 0, y, 14, INK)
            if frame.kind == "lidar":
                text = f"{len(moment.sweeps[name].points)} points, {late:+.0f} ms"
            else:
                text = f"{late:+.0f} ms"
            write(panel, text, panel.shape[1], y, 14, FAINT, "ra")
            y += 20
        y += 10
        for note in self.recording.notes:
            for line in _wrapped(note, panel.shape[1]):
                if y > high - 18:
                    return
                write(panel, line, 0, y, 12, FAINT)
                y += 16
            y += 4


def _row_height(row: Sequence[CameraSensor], width: int) -> int:
    fits = (width - GAP * (len(row) + 1)) / sum(c.width / c.height for c in row)
    return int(min(fits, TALLEST, max(c.height for c in row) * ENLARGED))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` px in the smallest type."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and typeface(12).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
