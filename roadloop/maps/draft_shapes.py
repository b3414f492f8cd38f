"""Lanes of a MapDraft as evenly spaced centrelines with heading, width and bank.

Drawn lanes come in any density: a point every 0.5 m with a centimetre of noise, or three points on
a bend. Each drawn line is first rounded by a cubic through its points, whose tangents are those of
Catmull and Rom (parallel to the chord of the neighbouring points), then smoothed by minimising

    sum |p - q|^2 + (SMOOTHING / step)^6 sum |third difference of p|^2,     ends fixed,

which leaves straights and circles of any radius alone, and the noise of densely drawn lines behind.
The centreline of a lane given by its edges is halfway between the feet of its own normals on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import polyline_arc_length, wrap_angle
from roadloop.maps.draft import LaneDraft
from roadloop.maps.lane_geometry import MAX_COORDINATE, SPACING, LanePoints
from roadloop.maps.plan_view import MAX_LENGTH

Array = np.ndarray

SHORTEST = 0.1
"""m; shorter lanes are points, which only join their neighbours"""
SMOOTHING = 1.5
"""m, bends shorter than this are noise"""
_STEP = 0.25
"""m between the points the lines are smoothed on"""
_ROUNDING = 0.1
"""m by which rounding a corner may leave the drawn line"""
_REPEATED = 0.01
"""m between points that count as one"""
_BEYOND = 5.0
"""m edges are drawn on beyond their ends, for normals at skewed ends"""
_REFINEMENTS = 2
_THIRD = np.array([-1.0, 3.0, -3.0, 1.0])


@dataclass(frozen=True)
class Shape:
    """A lane's points; ``flipped`` where its right edge was drawn against its left one."""

    points: LanePoints
    flipped: bool


def lane_shape(lane: LaneDraft, name: str) -> Shape | None:
    """The points of a lane of map ``name``; None where it is too short to have a direction.

    Raises RoadloopError for lanes without a line, of other shapes, or that are not finite.
    """
    place = f"map {name}: lane {lane.id}"
    left, right, centre = (
        None if line is None else _clean(checked_points(line, f"{place}: {what}"))
        for line, what in ((lane.left, "left"), (lane.right, "right"), (lane.centreline, "centre"))
    )
    edges = left is not None and right is not None
    if not edges and (centre is None or lane.width is None):
        raise RoadloopError(f"{place} needs a left and a right edge, or a centreline and a width")
    flipped = False
    if left is not None and right is not None:
        if _length(left) < SHORTEST and _length(right) < SHORTEST:
            return None
        flipped = runs_against(left, right)
        left, right = rounded(left), rounded(right[::-1] if flipped else right)
    if centre is None:
        assert left is not None and right is not None
        line = smoothed(middle_line(left, right))
    else:
        if _length(centre) < SHORTEST:
            return None
        line = smoothed(rounded(centre))
    if not SHORTEST <= _length(line) < MAX_LENGTH:
        if _length(line) < SHORTEST:
            return None
        raise RoadloopError(f"{place} is longer than {MAX_LENGTH:g} m; cut it")
    s, line, heading = _even(line)
    if lane.width is None:
        assert left is not None and right is not None
        width, bank = _across(line, left, right)
    else:
        width, bank = _drawn_width(lane, place, s), np.zeros(len(s))
    return Shape(LanePoints(s, s, line, heading, width, bank), flipped)


def checked_points(line: Array, place: str, dimensions: int = 3, least: int = 2) -> Array:
    """``line`` as (n, dimensions) float64; RoadloopError where it is not, or not finite."""
    points = np.asarray(line, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != dimensions or len(points) < least:
        raise RoadloopError(
            f"{place} line has shape {points.shape}, expected ({least} or more, {dimensions})"
        )
    if not (np.abs(points) < MAX_COORDINATE).all():
        raise RoadloopError(f"{place} line is not finite or beyond {MAX_COORDINATE:g} m")
    return points


def runs_against(left: Array, right: Array) -> bool:
    """Whether two edges of a strip are drawn in opposite directions.

    Their ring is then a bow tie; the ends tell where that decides nothing.
    """
    import shapely

    origin = left[0, :2]

    def simple(edge: Array) -> bool:
        ring = np.concatenate([left[:, :2], edge[::-1, :2]]) - origin
        return len(ring) > 3 and bool(shapely.is_valid(shapely.Polygon(ring)))

    as_drawn, turned = simple(right), simple(right[::-1])
    if as_drawn != turned:
        return turned
    straight = np.linalg.norm(left[[0, -1]] - right[[0, -1]], axis=1).sum()
    crossed = np.linalg.norm(left[[0, -1]] - right[[-1, 0]], axis=1).sum()
    return bool(crossed < straight)


def _clean(points: Array) -> Array:
    """Without points that repeat the one before; the last one stays."""
    if (np.hypot(*np.diff(points[:, :2], axis=0).T) > _REPEATED).all():
        return points
    kept = [0]
    for k in range(1, len(points)):
        if np.hypot(*(points[k] - points[kept[-1]])[:2]) > _REPEATED:
            kept.append(k)
    if len(kept) > 1:
        kept[-1] = len(points) - 1
    return points[kept]


def _length(points: Array) -> float:
    return float(np.hypot(*np.diff(points[:, :2], axis=0).T).sum())


def rounded(points: Array) -> Array:
    """(m, 3) a line through ``points`` (n, 3) without corners, at steps of 0.25 m or less."""
    if len(points) == 1:
        return np.repeat(points, 2, axis=0)
    step = np.diff(points, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    heading = np.arctan2(step[:, 1], step[:, 0])
    turn = np.zeros(len(points))  # from the segment before to the one after
    turn[1:-1] = wrap_angle(np.diff(heading))
    # angle between the tangent at each point and the segments before and after it
    after = np.zeros(len(points))
    before = np.zeros(len(points))
    chord = np.arctan2(*(points[2:] - points[:-2])[:, [1, 0]].T)
    before[1:-1] = np.abs(wrap_angle(chord - heading[:-1]))
    after[1:-1] = np.abs(turn[1:-1]) - before[1:-1]
    if len(points) > 2:  # a circle goes on as it came
        after[0], turn[0] = before[1], turn[1]
        before[-1], turn[-1] = after[-2], turn[-2]
    # a cubic leaves its chord by 4/27 of length times angle
    bound = 27.0 / 4.0 * _ROUNDING / length
    start_angle = -np.sign(turn[:-1]) * np.minimum(np.maximum(after[:-1], 0.0), bound)
    end_angle = np.sign(turn[1:]) * np.minimum(np.maximum(before[1:], 0.0), bound)
    count = np.maximum(np.ceil(length / _STEP).astype(int), 1)
    segment = np.repeat(np.arange(len(step)), count)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    u = (np.arange(len(segment)) - first[segment]) / count[segment]
    line = points[segment] + u[:, None] * step[segment]
    start_slope, end_slope = np.tan(start_angle)[segment], np.tan(end_angle)[segment]
    lift = length[segment] * u * (1 - u) * ((1 - u) * start_slope - u * end_slope)
    line[:, 0] -= lift * np.sin(heading[segment])
    line[:, 1] += lift * np.cos(heading[segment])
    return np.concatenate([line, points[-1:]])


def smoothed(line: Array) -> Array:
    """(m, 3) the line (n, 3) at even steps of about 0.25 m without its noise; same ends."""
    from scipy.linalg import solveh_banded

    line = _clean(line)
    length = _length(line)
    count = int(np.ceil(length / _STEP)) + 1
    if len(line) < 2 or count < 4:
        return line
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])
    at = np.linspace(0.0, length, count)
    even = np.column_stack([np.interp(at, arc, line[:, k]) for k in range(3)])
    stiffness = (SMOOTHING / (length / (count - 1))) ** 6
    # upper bands of identity + stiffness D'D, D the third differences
    bands = np.zeros((4, count))
    for a in range(4):
        for b in range(a, 4):
            bands[3 - (b - a), b : count - 3 + b] += stiffness * _THIRD[a] * _THIRD[b]
    bands[3] += 1.0
    bands[3, [0, -1]] += 1e9
    origin = even[0].copy()  # keeps the digits of large coordinates
    wanted = even - origin
    wanted[[0, -1]] *= 1.0 + 1e9
    result = solveh_banded(bands, wanted) + origin
    result[[0, -1]] = even[[0, -1]]
    return result


def middle_line(left: Array, right: Array) -> Array:
    """(n, 3) the line halfway between two edges ``rounded``, from start to end."""
    count = max(int(np.ceil(max(_length(left), _length(right)) / _STEP)) + 1, 2)
    share = np.linspace(0.0, 1.0, count)
    middle = (_at_share(left, share) + _at_share(right, share)) / 2.0
    # towards its ends, which may be cut askew, it is left as it is
    across = float(np.hypot(*(_at_share(left, share) - _at_share(right, share))[:, :2].T).mean())
    room = np.minimum(share, 1.0 - share) * _length(middle)
    weight = np.clip(room / max(across, SHORTEST) - 0.5, 0.0, 1.0)[:, None]
    for _ in range(_REFINEMENTS if weight.any() else 0):
        feet = (_feet(middle, left) + _feet(middle, right)) / 2.0
        middle = middle + weight * (feet - middle)
    return middle


def _at_share(line: Array, share: Array) -> Array:
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])
    return np.column_stack([np.interp(share * arc[-1], arc, line[:, k]) for k in range(3)])


def _feet(points: Array, edge: Array) -> Array:
    """(n, 3) the nearest points on an edge that is drawn on beyond its ends."""
    import shapely

    if not len(points) or _length(edge) < SHORTEST:
        return np.repeat(edge[:1], len(points), axis=0)
    edge = _clean(edge)
    ends = edge[[0, -1]] + _BEYOND * np.array(
        [_unit(edge[0] - edge[1]), _unit(edge[-1] - edge[-2])]
    )
    edge = np.concatenate([ends[:1], edge, ends[1:]])
    line = shapely.linestrings(edge[:, :2] - edge[0, :2])
    along = shapely.line_locate_point(line, shapely.points(points[:, :2] - edge[0, :2]))
    arc = polyline_arc_length(edge[:, :2])
    return np.column_stack([np.interp(along, arc, edge[:, k]) for k in range(3)])


def _unit(vector: Array) -> Array:
    return np.array([*(vector[:2] / np.hypot(*vector[:2])), 0.0])


def _even(line: Array) -> tuple[Array, Array, Array]:
    """Arc length (n,), points (n, 3) and heading (n,) at even steps of at most SPACING."""
    line = _clean(line)
    step = np.diff(line[:, :2], axis=0)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])
    count = max(int(np.ceil(arc[-1] / SPACING - 1e-9)) + 1, 2)
    s = np.linspace(0.0, arc[-1], count)
    segment = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    middle = (arc[1:] + arc[:-1]) / 2.0
    if len(segment) > 1:
        first = segment[0] - (segment[1] - segment[0]) * middle[0] / (middle[1] - middle[0])
        last = segment[-1] + (segment[-1] - segment[-2]) * (arc[-1] - middle[-1]) / (
            middle[-1] - middle[-2]
        )
        heading = np.interp(s, [0.0, *middle, arc[-1]], [first, *segment, last])
    else:
        heading = np.repeat(segment, count)
    points = np.column_stack([np.interp(s, arc, line[:, k]) for k in range(3)])
    return s, points, wrap_angle(heading)


def _across(line: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Width (n,) m and bank (n,) rad of a centreline between its edges."""
    side = _feet(line, left) - _feet(line, right)
    flat = np.hypot(side[:, 0], side[:, 1])
    # edges that cross leave no lane between them
    bank = np.arctan2(side[:, 2], np.maximum(flat, 1.0))
    return np.hypot(flat, side[:, 2]), np.where(flat > 0.0, bank, 0.0)


def _drawn_width(lane: LaneDraft, place: str, s: Array) -> Array:
    width = np.asarray(lane.width, dtype=np.float64)
    if not (np.isfinite(width).all() and (width >= 0.0).all()):
        raise RoadloopError(f"{place}: its width must be 0 or more and finite")
    if width.ndim == 0:
        return np.full(len(s), float(width))
    centre = np.asarray(lane.centreline, dtype=np.float64)
    if lane.centreline is None or width.shape != (len(centre),):
        raise RoadloopError(f"{place}: width of shape {width.shape} does not fit its centreline")
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(centre[:, :2], axis=0).T))])
    return np.interp(s / s[-1], arc / arc[-1], width)
