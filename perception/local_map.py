"""The lanes around the ego, traced through the raster map: a road map where none is given.

Every cell of the lane field says where its centreline runs: through the foot ``c - d n``, in its
direction. The ego's lane is followed metre by metre by an arc ``e(a) = e + p a + k a^2 / 2`` fitted
to the feet and directions near by (least squares, with the arc so far as the prior, so that it
carries on straight where the field says nothing, as in junctions). The lanes beside it are the feet
that lie a lane's width to the left and right of it, in its direction or against it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from perception.detector_config import BevGrid, RasterLayer
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
ROAD = 0.5
"""probability from which a cell is drivable"""
SEEN_FROM = 2.0
"""m ahead of the rear axle: what lies nearer no camera looks at, and the field is not trusted"""
START = 5.0
"""m ahead, where tracing begins"""
STEP = 1.0
"""m"""
REACH = 2.2
"""m, cells so far around have a say; with `ASIDE` about the width of a lane"""
ASIDE = 1.6
"""m, feet farther from the line traced so far are another lane's"""
ALIKE = np.radians(40.0)
"""rad, cells whose direction differs by more are of another lane"""
COAST = 14.0
"""m that are carried on without support: about a junction"""
SUPPORT = 3.0
"""cells that must agree for a place to count as seen"""
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
SHORTEST = 8.0
"""m, shorter lanes are noise"""
WIDTH = 3.5
"""m, of a lane whose borders are not seen"""

# standard deviations of a cell's foot (m) and direction (rad), many neighbours err alike
_FOOT, _DIRECTION = 0.8, 0.25
# and of the arc carried on: m, rad, 1/m, per step
_DRIFT = (0.25, 0.06, 0.02)


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


@dataclass(frozen=True)
class Votes:
    """What cells say: n of them, in the ego frame."""

    foot: Array
    """(n, 2) m, on the centreline their lane has"""
    angle: Array
    """(n,) rad"""
    weight: Array
    """(n,) in [0, 1]: drivable, and sure of the direction"""
    cell: Array
    """(n, 2) m, their centres"""


def votes_of(percept: Percept, grid: BevGrid) -> Votes:
    """Of the drivable cells that cameras look at."""
    cos, sin, left = percept.lane.astype(np.float64)
    length = np.hypot(cos, sin)
    centres = grid.centres()
    drivable = percept.raster[RasterLayer.DRIVABLE]
    on = (drivable >= ROAD) & (length > 0.2) & (centres[..., 0] > SEEN_FROM)
    cos, sin, left, length = cos[on] / length[on], sin[on] / length[on], left[on], length[on]
    foot = centres[on] - left[:, None] * np.column_stack([-sin, cos])
    weight = drivable[on] * np.minimum(length, 1.0)
    return Votes(foot, np.arctan2(sin, cos), weight, centres[on])


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
    traced, open_end = _trace(votes, drivable, grid, place, heading, sure=past is not None)
    if traced is None and past is not None:  # the old lane is gone: look from where the ego is
        past = None
        traced, open_end = _trace(votes, drivable, grid, np.array([START, 0.0]), 0.0, sure=False)
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


def _trace(
    votes: Votes, drivable: Array, grid: BevGrid, place: Array, heading: float, *, sure: bool
) -> tuple[Array | None, bool]:
    """(n, 2) m along the lane from near ``place`` on, and whether it leaves the grid.

    ``sure``: the place is on a known lane; else it may be up to half a lane off.
    """
    curvature, last, points = 0.0, 0, [place]
    prior = np.array(_DRIFT) if sure else np.array([1.0, 0.3, 0.02])
    open_end = False
    for k in range(int(2.0 * (grid.x_max - grid.x_min) / STEP)):
        along = np.array([np.cos(heading), np.sin(heading)])
        shift, turn, bend, support = _arc(votes, place, heading, curvature, prior)
        if support >= SUPPORT:
            place = place + shift * np.array([-along[1], along[0]])
            heading, curvature = heading + turn, curvature + bend
            last, prior = k, np.array(_DRIFT)
        else:
            curvature *= 0.9  # roads do not go on turning where nothing says so
            prior = np.minimum(prior + 0.25 * np.array(_DRIFT), 4.0 * np.array(_DRIFT))
        points[-1] = place
        if not _inside(place, grid):
            open_end = support >= SUPPORT or k - last <= 2
            break
        if (k - last) * STEP > COAST or (k > 0 and not _on_road(drivable, place, grid)):
            break
        middle = heading + curvature * STEP / 2.0
        place = place + STEP * np.array([np.cos(middle), np.sin(middle)])
        heading += curvature * STEP
        points.append(place)
    if not open_end:
        points = points[: last + 1]
    if (len(points) - 1) * STEP < SHORTEST:
        return None, False
    return np.array(points), open_end


def _arc(
    votes: Votes, place: Array, heading: float, curvature: float, prior: Array
) -> tuple[float, float, float, float]:
    """How much to change the line's place aside, heading and curvature there, and the support."""
    near = np.abs(votes.cell - place).max(1) < REACH + ASIDE
    gap = votes.foot[near] - place
    c, s = np.cos(heading), np.sin(heading)
    along, aside = gap[:, 0] * c + gap[:, 1] * s, gap[:, 1] * c - gap[:, 0] * s
    aside = aside - curvature * along**2 / 2.0
    angle = wrap_angle(votes.angle[near] - heading - curvature * along)
    fits = (np.abs(along) < REACH) & (np.abs(aside) < ASIDE) & (np.abs(angle) < ALIKE)
    along, aside, angle = along[fits], aside[fits], angle[fits]
    weight = votes.weight[near][fits]
    one, none = np.ones(len(along)), np.zeros(len(along))
    rows = np.concatenate(
        [
            np.column_stack([one, along, along**2 / 2.0]) / _FOOT,
            np.column_stack([none, one, along]) / _DIRECTION,
        ]
    )
    goal = np.concatenate([aside / _FOOT, angle / _DIRECTION])
    heavy = np.concatenate([weight, weight])
    normal = rows.T @ (rows * heavy[:, None]) + np.diag(prior**-2.0)
    shift, turn, bend = np.linalg.solve(normal, rows.T @ (heavy * goal))
    return float(shift), float(turn), float(bend), float(weight.sum())


def _inside(place: Array, grid: BevGrid) -> bool:
    """Whether a place is not in the outermost cells."""
    i, j = grid.cells_of(place)
    return bool(0.5 <= i <= grid.nx - 1.5 and 0.5 <= j <= grid.ny - 1.5)


def _on_road(drivable: Array, place: Array, grid: BevGrid) -> bool:
    i, j = np.floor(grid.cells_of(place) + 0.5).astype(int)
    return float(drivable[i - 1 : i + 2, j - 1 : j + 2].mean()) >= ROAD


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
