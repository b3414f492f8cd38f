"""Why each plan was chosen as a strip below the frames of a video.

::

    +-----------------------------------------------------------+
    | keep lane, 20 %   limited by pedestrian 106 (it crosses)  |
    | ####### keep lane ####|## stop ##|### change left ####### |
    +-----------------------------------------------------------+
"""

from __future__ import annotations

import numpy as np

from roadloop.logs.plans import PlanLog
from roadloop.types import Rollout
from roadloop.viz.palette import rgb
from roadloop.viz.plans import GUARD, colours_of, group_of, steps_told
from roadloop.viz.readings import FAINT, FIELD, INK, PLATE, typeface, write

Array = np.ndarray

HIGH, TEXT, BAR, ACTS, MARGIN = 52, 16, 12, 4, 12
"""px: height of the strip, of its text, of the bar of manoeuvres and of the guard's; left margin"""


class PlanStrip:
    """Pictures of one width for every step of a drive."""

    def __init__(self, log: PlanLog, rollout: Rollout, width: int) -> None:
        self.size = (width, HIGH)
        """px, width and height, both even where ``width`` is"""
        self._steps = steps_told(log, rollout)
        self._bar = self._drawn_bar(log)
        self._kept: tuple[object, Array] | None = None

    def picture(self, step: int) -> Array:
        """(height, width, 3) uint8 RGB at a step of the drive."""
        told = self._steps[step]
        if self._kept is None or self._kept[0] != told:
            self._kept = told, self._drawn_text(step)
        strip = self._kept[1].copy()
        u = self._u(step)
        strip[HIGH - BAR - ACTS - 6 : HIGH - 2, u - 2 : u + 2] = PLATE
        strip[HIGH - BAR - ACTS - 6 : HIGH - 2, u - 1 : u + 1] = INK
        return strip

    def _u(self, step: int) -> int:
        """px from the left of a step in the bar."""
        last = max(1, len(self._steps) - 1)
        return MARGIN + round((self.size[0] - 2 * MARGIN) * min(step, last) / last)

    def _drawn_bar(self, log: PlanLog) -> Array:
        bar = np.full((HIGH, self.size[0], 3), PLATE, np.uint8)
        colours = {k: rgb(v) for k, v in colours_of(log).items()}
        top = HIGH - BAR - ACTS - 4
        before = ""
        for step, told in enumerate(self._steps):
            left, right = self._u(step), max(self._u(step) + 1, self._u(step + 1))
            colour = colours[group_of(told.chosen)] if told.chosen else FIELD
            bar[top : top + BAR, left:right] = colour
            if step and told.chosen != before:
                bar[top : top + BAR, left] = PLATE
            before = told.chosen
            if told.guard:
                bar[top + BAR + 1 : top + BAR + 1 + ACTS, left:right] = rgb(GUARD)
        return bar

    def _drawn_text(self, step: int) -> Array:
        told = self._steps[step]
        strip = self._bar.copy()
        x = float(MARGIN)
        parts = [(told.chosen, INK), (f"limited by {told.limit}" if told.limit else "", FAINT)]
        if told.guard:
            parts.insert(0, (f"GUARD {told.guard}", rgb(GUARD)))
        for text, colour in parts:
            if text:
                write(strip, text, x, 6, TEXT, colour)
                x += typeface(TEXT).getlength(text) + 18
        return strip
