"""Painted lines of OpenDRIVE roads: polylines with kind, colour, width, and who may cross them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roadloop.maps.lane_geometry import Grid
from roadloop.maps.opendrive_roads import Road, Section
from roadloop.maps.opendrive_xml import Element, Unsupported, number
from roadloop.maps.road_map import MarkColour, MarkKind

Array = np.ndarray

MARK_KINDS = {
    "none": MarkKind.NONE,
    "solid": MarkKind.SOLID,
    "broken": MarkKind.BROKEN,
    "solid solid": MarkKind.SOLID_SOLID,
    "solid broken": MarkKind.SOLID_BROKEN,
    "broken solid": MarkKind.BROKEN_SOLID,
    "broken broken": MarkKind.BROKEN_BROKEN,
    "curb": MarkKind.CURB,
    "botts dots": MarkKind.BOTTS_DOTS,
    "grass": MarkKind.GRASS,
    "edge": MarkKind.EDGE,
    "custom": MarkKind.OTHER,
}

MARK_COLOURS = {
    "standard": MarkColour.WHITE,
    "white": MarkColour.WHITE,
    "yellow": MarkColour.YELLOW,
    "blue": MarkColour.BLUE,
    "red": MarkColour.RED,
    "green": MarkColour.GREEN,
    "orange": MarkColour.ORANGE,
    "black": MarkColour.OTHER,
    "violet": MarkColour.OTHER,
}

_MIRRORED = {
    MarkKind.SOLID_BROKEN: MarkKind.BROKEN_SOLID,
    MarkKind.BROKEN_SOLID: MarkKind.SOLID_BROKEN,
}

STANDARD_WIDTH, BOLD_WIDTH = 0.12, 0.25
"""m, narrow and wide line of the German road marking rules (RMS-1), where the file gives none"""

# kinds nobody may drive across, and which of a pair's two lines is solid, seen left to right
_CLOSED = {MarkKind.SOLID, MarkKind.SOLID_SOLID, MarkKind.CURB, MarkKind.GRASS, MarkKind.EDGE}


class Mark(NamedTuple):
    """One ``<roadMark>`` along road s; two-line kinds read from left to right looking along s."""

    start: float
    end: float
    kind: MarkKind
    colour: MarkColour
    width: float
    change: str
    """laneChange: "both", "increase", "decrease", "none", or "" where the file leaves it open"""

    def may_cross(self, to_left: bool) -> bool:
        """Whether a lane change towards the left (looking along s) may cross it.

        The attribute decides; else the line nearer to the driver does. Lane ids grow leftwards.
        """
        if self.change:
            return self.change == "both" or self.change == ("increase" if to_left else "decrease")
        if self.kind in _CLOSED:
            return False
        if self.kind == MarkKind.SOLID_BROKEN:
            return to_left
        return not to_left if self.kind == MarkKind.BROKEN_SOLID else True


@dataclass(frozen=True)
class MarkLine:
    """One painted polyline, running along s."""

    xyz: Array
    mark: Mark


def read_marks(
    lane: Element | None, start: float, end: float, sign: int, road: str, unsupported: Unsupported
) -> list[Mark]:
    """The marks on the outer edge of ``lane`` (of the centre lane: ``sign`` 0) from start to end.

    The file names pairs of lines from inside to outside, on the centre lane from left to right
    (OpenDRIVE 1.7, 11.9), so that those of left lanes (sign +1) are turned round.
    """
    elements = [] if lane is None else lane.findall("roadMark")
    marks: list[Mark] = []
    stations = [start + number(e, "sOffset", 0.0) for e in elements]
    order = np.argsort(stations, kind="stable")
    for position, i in enumerate(order):
        element = elements[i]
        name = element.get("type", "none")
        kind = MARK_KINDS.get(name)
        if kind is None:
            unsupported.add(f"road mark type {name!r} (kept as other)", road, element)
            kind = MarkKind.OTHER
        elif name == "custom":
            unsupported.add("custom road mark (kept as other)", road, element)
        for detail in element:
            if detail.tag in ("explicit", "sway"):
                unsupported.add(f"road mark <{detail.tag}>", road, detail)
        last = position + 1 == len(order)
        until = end if last else min(stations[order[position + 1]], end)
        if until <= stations[i]:
            continue
        marks.append(
            Mark(
                start=stations[i],
                end=until,
                kind=_MIRRORED.get(kind, kind) if sign > 0 else kind,
                colour=_colour(element),
                width=_width(element),
                change=element.get("laneChange") or "",
            )
        )
    return marks


def _colour(element: Element) -> MarkColour:
    name = element.get("color")
    if name is None:
        painted = element.get("type") not in ("curb", "grass", "edge")
        return MarkColour.WHITE if painted else MarkColour.OTHER
    return MARK_COLOURS.get(name, MarkColour.OTHER)


def _width(element: Element) -> float:
    width = number(element, "width", 0.0)
    if width > 0:
        return width
    for line in element.iterfind("type/line"):
        width = number(line, "width", 0.0)
        if width > 0:
            return width
    return BOLD_WIDTH if element.get("weight") == "bold" else STANDARD_WIDTH


def crossable(marks: list[Mark], to_left: bool, length: float) -> bool:
    """Whether most of a boundary of ``length`` m may be crossed; unpainted stretches may."""
    closed = sum(m.end - m.start for m in marks if not m.may_cross(to_left))
    return closed < length / 2


def section_marks(road: Road, section: Section, unsupported: Unsupported) -> dict[int, list[Mark]]:
    """Marks of a section by the lane on whose outer edge they lie, 0 for the centre line."""
    centre_end = max(section.end_left, section.end_right)
    marks = {0: read_marks(section.centre, section.start, centre_end, 0, road.id, unsupported)}
    for sign in (1, -1):
        lanes, end = section.side(sign)
        for lane in lanes:
            marks[lane.number] = read_marks(
                lane.element, section.start, end, sign, road.id, unsupported
            )
    return marks


def mark_lines(grid: Grid, edge: int, marks: list[Mark]) -> list[MarkLine]:
    """Polylines of the marks on border ``edge`` of the grid; equal neighbours become one line."""
    lines: list[MarkLine] = []
    begin = None
    for i, mark in enumerate(marks):
        begin = mark.start if begin is None else begin
        if i + 1 < len(marks):
            after = marks[i + 1]
            same = (mark.kind, mark.colour, mark.width) == (after.kind, after.colour, after.width)
            if same and after.start - mark.end < 1e-6:
                continue
        if mark.kind != MarkKind.NONE:
            start, end = max(begin, grid.s[0]), min(mark.end, grid.s[-1])
            if end - start > 1e-3:
                inside = grid.s[(grid.s > start + 1e-3) & (grid.s < end - 1e-3)]
                s = np.concatenate([[start], inside[::2], [end]])
                xyz = np.stack([np.interp(s, grid.s, c) for c in grid.xyz[edge].T], axis=1)
                lines.append(MarkLine(xyz, mark))
        begin = None
    return lines
