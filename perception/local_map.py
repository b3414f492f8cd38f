"""The lanes around the ego, traced through the raster map: a road map where none is given.

The ego's lane is traced (`perception.lane_trace`), joined to what is known of it from before, and
smoothed. The lanes beside it are the feet that lie a lane's width to the left and right of it, in
its direction or against it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from perception.detector_config import BevGrid, RasterLayer
from perception.lane_trace import (
    ALIKE,
    COAST,
    ROAD,
    SEEN_FROM,
    SHORTEST,
    START,
    STEP,
    Votes,
    trace,
    votes_of,
)
from perception.percept import Percept
from roadloop.geometry import (
    inverse,
    polyline_arc_length,
    polyline_project,
    transform_points,
    wrap_angle,
)
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.draft import LaneDraft, MapDraft
from roadloop.maps.road_map import RoadMap
from roadloop.types import Route

Array = np.ndarray

TOWN_SPEED = 50 / 3.6
"""m/s, the speed limit where nobody says which"""
BEHIND = 15.0
"""m of lane behind the ego, so that who follows can be placed"""
ONWARD = 15.0
"""m a lane that leaves the grid is taken to go on: at 50 km/h the planner then comes to a stand on
what is seen with 3 m/s^2, harder than it likes to brake but no emergency"""
KEPT = 3.0
"""m ahead up to which the lane stays where the last map had it"""
PARTED = 1.0
"""m between an old and a new line from which they are different lanes"""
LANE = (2.2, 4.8)
"""m between the centrelines of neighbours"""
WIDTH = 3.5
"""m, of a lane whose borders are not seen"""


@dataclass(frozen=True)
class LocalMap:
    """What `local_road_map` makes of one moment, world frame."""

    road_map: RoadMap
    """lanes ``ego``, ``left``, ``left2``, ``right``, ``right2``, ``oncoming``, as far as seen"""
    route: Route
    """along the ego's lane, from behind the ego to the end of what is seen"""
    centreline: Array
    """(n, 3) m, of the ego's lane"""
    ahead: float
    """m of the ego's lane ahead of the rear axle, `ONWARD` beyond the grid included"""
    open_end: bool
    """the lane leaves the grid; False: the road ends, or is not recognised any more"""


def local_road_map(
    percept: Percept,
    grid: BevGrid,
    before: LocalMap | None = None,
    speed_limit: float = TOWN_SPEED,
) -> LocalMap | None:
    """The lanes around the ego as a map a planner can follow; None: no lane is seen ahead.

    Args:
        before: the map of a moment ago: which lane is the ego's, and where it runs under the ego.
        speed_limit: m/s, of all lanes.
    """
    votes = votes_of(percept, grid)
    if not len(votes.angle):
        return None
    drivable = percept.raster[RasterLayer.DRIVABLE].astype(np.float64)
    past = None if before is None else _past(before, percept.world_from_ego)
    place, heading = np.array([START, 0.0]), 0.0
    if past is not None:
        place, heading = _at(past, START)
    traced, open_end = trace(votes, drivable, grid, place, heading, sure=past is not None)
    if traced is None and past is not None:  # the old lane is gone: look from where the ego is
        past = None
        traced, open_end = trace(votes, drivable, grid, np.array([START, 0.0]), 0.0, sure=False)
    if traced is None:
        return None
    line = _joined(past, traced, ONWARD if open_end else 0.0)
    s = polyline_arc_length(line)
    feet = _Beside(votes, line, s)
    width = _width(percept, grid, line, s)
    lines, links, width = _lanes(feet, line, s, width)
    drafts = []
    for name, points in lines.items():
        level = np.column_stack([points, np.zeros(len(points))])
        beside = links[name]
        drafts.append(
            LaneDraft(
                name,
                centreline=transform_points(percept.world_from_ego, level),
                width=width,
                speed_limit=speed_limit,
                left_neighbour=beside.get("left", ""),
                right_neighbour=beside.get("right", ""),
                opposite=beside.get("opposite", ""),
            )
        )
    digest = hashlib.sha256(repr((drafts, percept.time)).encode()).hexdigest()
    road_map = compile_map(MapDraft("local", digest, tuple(drafts)))
    length = float(road_map.lane_length[0])
    # the first lane is the ego's; it begins behind the rear axle, at x = 0
    here = float(np.interp(0.0, line[:, 0], s)) if line[0, 0] < 0.0 else 0.0
    route = Route(np.zeros(1, np.int32), 0.0, length)
    rows = road_map.points_of(0)
    return LocalMap(road_map, route, road_map.point_xyz[rows], length - here, open_end)


# --- the ego's lane -----------------------------------------------------------------------------


def _past(before: LocalMap, world_from_ego: Array) -> Array | None:
    """(n, 2) the old ego's lane in the present ego's frame, None where it is not here any more."""
    line = transform_points(inverse(world_from_ego), before.centreline)[:, :2]
    near = int(np.argmin(np.hypot(*line.T)))
    ahead = np.diff(line[:, 0]) > 0.0
    # the stretch around the ego that leads ahead: before and after it the road may turn
    first, last = near, near
    while first > 0 and ahead[first - 1]:
        first -= 1
    while last < len(ahead) and ahead[last]:
        last += 1
    line = line[first : last + 1]
    return line if line[0, 0] < KEPT and line[-1, 0] > START else None


def _at(line: Array, x: float) -> tuple[Array, float]:
    """The point of a line that leads ahead at ``x``, and its heading there."""
    k = int(np.clip(np.searchsorted(line[:, 0], x), 1, len(line) - 1))
    step = line[k] - line[k - 1]
    return line[k], float(np.arctan2(step[1], step[0]))


def _joined(past: Array | None, traced: Array, onward: float) -> Array:
    """(n, 2) from behind the ego on: the old line up to `KEPT` m, then the new one, smoothed.

    Straight on for ``onward`` m at its end.
    """
    from scipy.interpolate import make_smoothing_spline

    head = traced[:1]
    if past is not None:
        old = past[past[:, 0] < KEPT][::2]
        gone = np.hypot(*(traced - _at(past, float(traced[0, 0]))[0])[0])
        if len(old) > 2 and gone < PARTED:
            s = polyline_arc_length(old)
            head = old[s >= s[-1] - BEHIND - KEPT]
            traced = np.concatenate([head, traced])
    s = polyline_arc_length(traced)
    smooth = [make_smoothing_spline(s, traced[:, k], lam=30.0) for k in range(2)]
    even = np.arange(0.0, s[-1], STEP)
    line = np.column_stack([f(even) for f in smooth])
    if head[0, 0] > -BEHIND / 2.0:  # not known behind: straight on backwards
        direction = line[0] - line[1]
        room = line[0, 0] + BEHIND
        back = np.arange(STEP, max(room, 2.0 * STEP), STEP)[::-1, None]
        line = np.concatenate([line[0] + back * direction / np.hypot(*direction), line])
    if onward > 0.0:
        direction = line[-1] - line[-4]
        on = np.arange(STEP, onward, STEP)[:, None]
        line = np.concatenate([line, line[-1] + on * direction / np.hypot(*direction)])
    return line


# --- what lies beside it ------------------------------------------------------------------------


class _Beside:
    """The votes as seen from the ego's lane: along it, left of it, and against its direction."""

    def __init__(self, votes: Votes, line: Array, s: Array) -> None:
        from scipy.spatial import KDTree

        tangent = np.gradient(line, axis=0)
        self.heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        gap, row = KDTree(line).query(votes.foot)
        beyond = (row == 0) | (row == len(line) - 1)
        c, sine = np.cos(self.heading[row]), np.sin(self.heading[row])
        away = votes.foot - line[row]
        self.left = away[:, 1] * c - away[:, 0] * sine
        self.s = s[row] + away[:, 0] * c + away[:, 1] * sine
        self.angle = np.asarray(wrap_angle(votes.angle - self.heading[row]))
        self.weight = np.where(beyond | (gap > 12.0), 0.0, votes.weight)

    def line_of(
        self, line: Array, s: Array, low: float, high: float, against: bool
    ) -> Array | None:
        """(n, 2) the lane whose feet lie ``low`` to ``high`` m left of ``line``, along ``line``."""
        turned = np.abs(self.angle) > np.pi - ALIKE if against else np.abs(self.angle) < ALIKE
        on = turned & (self.left > low) & (self.left < high) & (self.weight > 0.0)
        if not on.any():
            return None
        size = 2.0 * STEP
        bin_of = (self.s[on] / size).astype(int).clip(0)
        weight = np.bincount(bin_of, self.weight[on], minlength=int(s[-1] / size) + 2)
        total = np.bincount(bin_of, self.weight[on] * self.left[on], minlength=len(weight))
        there = np.flatnonzero(weight >= 1.0)
        # the longest stretch without a gap of more than a junction
        parts = np.split(there, np.flatnonzero(np.diff(there) * size > COAST) + 1)
        part = max(parts, key=len)
        if len(part) * size < SHORTEST:
            return None
        at = (part + 0.5) * size
        offset = np.interp(s, at, total[part] / weight[part])
        width = max(int(8.0 / STEP), 1)
        kernel = np.ones(width) / width
        offset = np.convolve(np.pad(offset, width, mode="edge"), kernel, mode="same")[width:-width]
        aside = np.column_stack([-np.sin(self.heading), np.cos(self.heading)])
        kept = (s >= at[0] - size) & (s <= at[-1] + size)
        if part[0] * size - SEEN_FROM < BEHIND + 2.0 * START:
            kept |= s < at[0]  # it is seen beside the ego: it was there before
        return (line + offset[:, None] * aside)[kept]


def _lanes(
    feet: _Beside, line: Array, s: Array, width: float
) -> tuple[dict[str, Array], dict[str, dict[str, str]], float]:
    """Line of each lane by name, the ego's first; what lies to its left, right, and against it;
    and the width they all have: ``width`` where the ego's is alone.
    """
    found = {"ego": line}
    links: dict[str, dict[str, str]] = {"ego": {}}
    spacing: list[float] = []
    outer: list[tuple[str, float, float]] = []
    for side, other, sign in (("left", "right", 1.0), ("right", "left", -1.0)):
        last, reached = "ego", 0.0
        for name in (side, f"{side}2"):
            low, high = sorted((reached + sign * LANE[0], reached + sign * LANE[1]))
            beside = feet.line_of(line, s, low, high, against=False)
            if beside is None:
                break
            aside = _offset(beside, line)
            spacing.append(abs(aside - reached))
            found[name], links[name] = beside, {other: last}
            links[last][side] = name
            last, reached = name, aside
        outer.append((last, reached, sign))
    for last, reached, sign in outer:
        low, high = sorted((reached + sign * LANE[0], reached + sign * LANE[1]))
        against = feet.line_of(line, s, low, high, against=True)
        if against is not None:
            spacing.append(abs(_offset(against, line) - reached))
            found["oncoming"], links["oncoming"] = against[::-1], {"opposite": last}
            links[last]["opposite"] = "oncoming"
            break
    return found, links, float(np.median(spacing)) if spacing else width


def _offset(beside: Array, line: Array) -> float:
    """m to the left of ``line`` that another runs, in the mean."""
    return float(np.median(polyline_project(line, beside)[1]))


def _width(percept: Percept, grid: BevGrid, line: Array, s: Array) -> float:
    """m, of the ego's lane: between the lines or edges of the road on its two sides.

    What the layers say at each distance aside is averaged over the lane; a border is where lines or
    edges are the likeliest, else where the ground stops being drivable.
    """
    from scipy.ndimage import map_coordinates

    tangent = np.gradient(line, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None]
    rows = np.flatnonzero((line[:, 0] > START) & (line[:, 0] < START + 25.0))
    if len(rows) < 5:
        return WIDTH
    aside = np.arange(1.0, 3.2, 0.1)
    normal = np.column_stack([-tangent[rows, 1], tangent[rows, 0]])
    found = 0.0
    for sign in (1.0, -1.0):
        places = line[rows, None] + sign * aside[None, :, None] * normal[:, None]
        cells = np.moveaxis(grid.cells_of(places), -1, 0)
        lines = np.maximum(
            percept.raster[RasterLayer.LANE_LINE], percept.raster[RasterLayer.ROAD_EDGE]
        )
        marked = map_coordinates(lines, cells, order=1, mode="nearest").mean(0)
        ground = map_coordinates(
            percept.raster[RasterLayer.DRIVABLE], cells, order=1, mode="nearest"
        ).mean(0)
        first = int(np.argmax(marked))
        if marked[first] > 0.2:
            around = slice(max(first - 5, 0), first + 6)
            found += float((aside[around] * marked[around]).sum() / marked[around].sum())
        elif (ground < ROAD).any():
            found += float(aside[int(np.argmax(ground < ROAD))])
        else:
            found += WIDTH / 2.0
    return float(np.clip(found, LANE[0], LANE[1]))
