"""Lane borders and centrelines of OpenDRIVE roads, sampled at even steps of arc length.

Arc length is measured in the ground plane, as the reference line's s is (OpenDRIVE 1.7, 8.2).
With superelevation the t axis tilts about the reference line: a point at ``t`` lies
``t cos(bank)`` to the left of it and ``t sin(bank)`` above it (OpenDRIVE 1.7, 10.5.1); a lane with
``level="true"`` stays flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.opendrive_roads import Lane, Road, Section
from roadloop.maps.opendrive_xml import complaint
from roadloop.maps.plan_view import MAX_LENGTH

Array = np.ndarray

SPACING = 0.5
"""m, largest step between two points of a centreline"""

MAX_REACH = 1000.0
"""m from the reference line; lanes farther out are a mistake in a polynomial"""

MAX_COORDINATE = 1e8
"""m; coordinates of national grids stay below 1e7"""

_FINE = 0.25
"""m, step along the reference line of the grid that measures arc length and carries borders"""

# m, sampling stays this far inside a section so that a record that starts exactly at the border
# to the next section is not taken for this one's
_INSET = 1e-7


@dataclass(frozen=True)
class Borders:
    """Both edges of every lane of one side along ``s``; lateral is left of the reference line."""

    lateral: Array
    """(lanes + 1, n) m in the ground plane, from the centre outwards"""
    slope: Array
    """(lanes + 1, n) change of ``lateral`` per metre"""
    height: Array
    """(lanes + 1, n) m above the reference line"""
    width: Array
    """(lanes, n) m on the surface"""
    bank: Array
    """(n,) rad, positive where the left is higher"""


@dataclass(frozen=True)
class LanePoints:
    """The centreline of one lane in its direction of travel; arrays (n,)."""

    road_s: Array
    s: Array
    xyz: Array
    """(n, 3)"""
    heading: Array
    width: Array
    bank: Array


@dataclass(frozen=True)
class Grid:
    """The fine grid of one side of a section: border positions for marks and stop lines."""

    s: Array
    lateral: Array
    """(lanes + 1, n)"""
    xyz: Array
    """(lanes + 1, n, 3), the centre line first"""


def _extent(section: Section, end: float) -> tuple[float, float]:
    inset = min(_INSET, (end - section.start) / 4)
    return section.start + inset, end - inset


def lane_borders(road: Road, lanes: list[Lane], sign: int, s: Array) -> Borders:
    """Borders of the lanes of the left (+1) or right (-1) side at road coordinates ``s`` (n,)."""
    count = len(lanes) + 1
    lateral, slope, height = np.empty((3, count, len(s)))
    width = np.empty((len(lanes), len(s)))
    offset, offset_slope = road.offset.at(s)
    if road.superelevation.is_zero:
        bank = np.zeros_like(s)
        cos, sin, cos_slope = 1.0, 0.0, 0.0
    else:
        bank, bank_slope = road.superelevation.at(s)
        cos, sin = np.cos(bank), np.sin(bank)
        cos_slope = -sin * bank_slope
    lateral[0] = offset * cos
    slope[0] = offset_slope * cos + offset * cos_slope
    height[0] = offset * sin
    reach = np.zeros_like(s)
    reach_slope = np.zeros_like(s)
    for i, lane in enumerate(lanes):
        if lane.width is not None:
            w, w_slope = lane.width.at(s)
        else:
            assert lane.border is not None
            edge, edge_slope = lane.border.at(s)
            w, w_slope = np.abs(edge) - reach, np.sign(edge) * edge_slope - reach_slope
        w_slope = np.where(w > 0, w_slope, 0.0)
        w = np.maximum(w, 0.0)
        reach = reach + w
        reach_slope = reach_slope + w_slope
        width[i] = w
        if lane.level:
            lateral[i + 1] = lateral[i] + sign * w
            slope[i + 1] = slope[i] + sign * w_slope
            height[i + 1] = height[i]
        else:
            lateral[i + 1] = lateral[i] + sign * w * cos
            slope[i + 1] = slope[i] + sign * (w_slope * cos + w * cos_slope)
            height[i + 1] = height[i] + sign * w * sin
    return Borders(lateral, slope, height, width, bank)


def _place(road: Road, s: Array, line: tuple[Array, ...], lateral: Array, height: Array) -> Array:
    """World points (..., n, 3) at ``s`` (n,), where the reference line is ``line``."""
    x, y, heading = line[:3]
    z, _ = road.elevation.at(s)
    return np.stack(
        [x - lateral * np.sin(heading), y + lateral * np.cos(heading), z + height], axis=-1
    )


def road_point(road: Road, s: Array, t: Array, lift: Array) -> tuple[Array, Array]:
    """World points (n, 3) of road coordinates s, t and height ``lift``; and the road's heading."""
    bank, _ = road.superelevation.at(s)
    line = road.plan.evaluate(s)
    return _place(road, s, line, t * np.cos(bank), t * np.sin(bank) + lift), line[2]


def section_grid(road: Road, section: Section, sign: int) -> Grid:
    """The fine grid of one side of a section."""
    lanes, section_end = section.side(sign)
    start, end = _extent(section, section_end)
    s = np.linspace(start, end, max(int(np.ceil((end - start) / _FINE)) + 1, 3))
    borders = lane_borders(road, lanes, sign, s)
    if not np.all(np.abs(borders.lateral) < MAX_REACH):
        raise complaint(
            road.element,
            f"lanes of section {section.index} of road {road.id} reach beyond {MAX_REACH:g} m",
            "correct their widths or the lane offset",
        )
    xyz = _place(road, s, road.plan.evaluate(s), borders.lateral, borders.height)
    if not np.all(np.abs(xyz) < MAX_COORDINATE):
        raise complaint(
            road.element,
            f"road {road.id} lies beyond {MAX_COORDINATE:g} m",
            "correct its geometry or elevation",
        )
    return Grid(s, borders.lateral, xyz)


def section_lanes(road: Road, section: Section, sign: int, grid: Grid) -> list[LanePoints]:
    """Centrelines of all lanes of one side, from the centre outwards, sampled evenly."""
    lanes, _ = section.side(sign)
    if not lanes:
        return []
    middle = (grid.xyz[1:, :, :2] + grid.xyz[:-1, :, :2]) / 2
    step = np.hypot(*np.moveaxis(np.diff(middle, axis=1), -1, 0))
    arc = np.concatenate([np.zeros((len(lanes), 1)), np.cumsum(step, axis=1)], axis=1)
    if not np.all(arc[:, -1] < MAX_LENGTH):
        raise complaint(
            road.element,
            f"lanes of road {road.id} run for more than {MAX_LENGTH:g} m",
            "correct its geometries",
        )
    counts = np.maximum(np.ceil(arc[:, -1] / SPACING - 1e-9).astype(int) + 1, 2)
    targets = [np.linspace(0.0, a[-1], n) for a, n in zip(arc, counts, strict=True)]
    stations = [
        np.interp(t, a, grid.s) if a[-1] > 0 else np.linspace(grid.s[0], grid.s[-1], len(t))
        for t, a in zip(targets, arc, strict=True)
    ]
    s = np.concatenate(stations)
    owner = np.repeat(np.arange(len(lanes)), counts)
    column = np.arange(len(s))
    borders = lane_borders(road, lanes, sign, s)
    lateral = (borders.lateral[owner, column] + borders.lateral[owner + 1, column]) / 2
    slope = (borders.slope[owner, column] + borders.slope[owner + 1, column]) / 2
    height = (borders.height[owner, column] + borders.height[owner + 1, column]) / 2
    line = road.plan.evaluate(s)
    xyz = _place(road, s, line, lateral, height)
    heading = line[2] + np.arctan2(slope, 1.0 - line[3] * lateral)
    points = []
    begin = 0
    for i, lane in enumerate(lanes):
        rows = slice(begin, begin + counts[i])
        begin += counts[i]
        lane_xyz = xyz[rows]
        if len(lane.height):
            record = np.searchsorted(lane.height[:, 0], s[rows], side="right") - 1
            lane_xyz[:, 2] += np.where(record >= 0, lane.height[np.maximum(record, 0), 1], 0.0)
        bank = np.zeros(counts[i]) if lane.level else borders.bank[rows]
        if road.travels_forward(lane.number):
            direction, turned, bank_sign = slice(None), 0.0, 1.0
        else:
            direction, turned, bank_sign = slice(None, None, -1), np.pi, -1.0
        points.append(
            LanePoints(
                road_s=s[rows][direction],
                s=targets[i],
                xyz=lane_xyz[direction],
                heading=wrap_angle(heading[rows][direction] + turned),
                width=borders.width[i, rows][direction],
                bank=bank_sign * bank[direction],
            )
        )
    return points


def curvature_along(start: Array, s: Array, heading: Array) -> Array:
    """Curvature (P,) of polylines in CSR form: change of heading over the two adjacent steps.

    Differences, not the geometry's own curvature, so that kinks between straight pieces (digitised
    roads) count as the bends they are.
    """
    first = np.repeat(start[:-1], np.diff(start))
    last = np.repeat(start[1:] - 1, np.diff(start))
    row = np.arange(len(s))
    before, after = np.maximum(row - 1, first), np.minimum(row + 1, last)
    length = s[after] - s[before]
    turned = wrap_angle(heading[after] - heading[before])
    return np.divide(turned, length, out=np.zeros_like(s), where=length > 1e-3)
