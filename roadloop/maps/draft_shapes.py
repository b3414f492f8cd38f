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
from roadloop.geometry import wrap_angle
from roadloop.maps.draft import LaneDraft
from roadloop.maps.lane_geometry import MAX_COORDINATE, SPACING, LanePoints
from roadloop.maps.plan_view import MAX_LENGTH

Array = np.ndarray

SHORTEST = 0.1
"""m; shorter lanes are points, which only join their neighbours"""
SMOOTHING = 1.5
"""m, bends shorter than this are noise"""
CONTEXT = 6.0
"""m of the lanes before and after that have a say in a lane's ends"""
GAP = 1.0
"""m between the end of a lane and the start of the next beyond which they are not joined, plus
half their width"""
STRAIGHT_ON = 0.8
"""rad; a lane that follows with a larger kink is not the same way going on"""
_LOOK = 9
"""points, about 2 m, over which a line's direction at its ends is taken"""
_STEP = 0.25
"""m between the points the lines are smoothed on"""
_ROUNDING = 0.1
"""m by which rounding a corner may leave the drawn line"""
_REPEATED = 0.01
"""m between points that count as one"""
_BEYOND = 5.0
"""m edges are drawn on beyond their ends, for normals at skewed ends"""
_SIMPLER = 0.002
"""m edges may move to have fewer points when feet on them are looked for"""
_THIRD = np.array([-1.0, 3.0, -3.0, 1.0])


@dataclass(frozen=True)
class LaneLine:
    """A lane as it is drawn, its corners rounded."""

    line: Array
    """(n, 3) along its middle"""
    left: Array | None
    """(., 3) edges in the direction of travel"""
    right: Array | None
    flipped: bool
    """its right edge was drawn against its left one"""


def lane_line(lane: LaneDraft, name: str) -> LaneLine | None:
    """The line of a lane of map ``name``; None where it is too short to have a direction.

    Raises RoadloopError for lanes without a line, of other shapes, or that are not finite.
    """
    place = f"map {name}: lane {lane.id}"
    left, right, line = (
        None if drawn is None else _clean(checked_points(drawn, f"{place}: {what}"))
        for drawn, what in ((lane.left, "left"), (lane.right, "right"), (lane.centreline, "centre"))
    )
    flipped = False
    if left is not None and right is not None:
        if _length(left) < SHORTEST and _length(right) < SHORTEST:
            return None
        flipped = runs_against(left, right)
        left, right = rounded(left), rounded(right[::-1] if flipped else right)
        line = middle_line(left, right) if line is None else rounded(line)
    elif line is None or lane.width is None:
        raise RoadloopError(f"{place} needs a left and a right edge, or a centreline and a width")
    else:
        line = rounded(line)
    if _length(line) < SHORTEST:
        return None
    if _length(line) > MAX_LENGTH:
        raise RoadloopError(f"{place} is longer than {MAX_LENGTH:g} m; cut it")
    return LaneLine(line, left, right, flipped)


def lane_points(
    lane: LaneDraft, drawn: LaneLine, name: str, before: Array, after: Array
) -> LanePoints:
    """The lane's points, smooth also where it follows ``before`` and leads on to ``after``.

    Those are the drawn lines (., 3) of the lanes it joins, CONTEXT m of them or less, empty where
    there is none; without what they share with the lane.
    """
    s, line, heading = _even(*smoothed(drawn.line, before, after))
    if lane.width is not None:
        width = _drawn_width(lane, f"map {name}: lane {lane.id}", s)
        return LanePoints(s, s, line, heading, width, np.zeros(len(s)))
    assert drawn.left is not None and drawn.right is not None
    return LanePoints(s, s, line, heading, *_across(line, drawn.left, drawn.right))


def contexts(
    lanes: dict[str, LaneDraft], lines: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What lies before and after each lane, straight on: ``before`` and ``after`` of lane_points.

    ``lines`` are the drawn lines of ``lanes``, by id.
    """
    ways = {(i, q) for i, lane in lanes.items() for q in lane.successors if q in lanes}
    ways |= {(q, i) for i, lane in lanes.items() for q in lane.predecessors if q in lanes}
    onward: dict[str, tuple[float, str]] = {}
    back: dict[str, tuple[float, str]] = {}
    for a, b in sorted(ways):
        if a == b or np.hypot(*(lines[a][-1] - lines[b][0])[:2]) > GAP:
            continue
        out = lines[a][-1] - lines[a][max(len(lines[a]) - _LOOK, 0)]
        into = lines[b][min(_LOOK, len(lines[b])) - 1] - lines[b][0]
        turn = abs(np.arctan2(out[0] * into[1] - out[1] * into[0], out[:2] @ into[:2]))
        if turn < STRAIGHT_ON:
            onward[a] = min(onward.get(a, (turn, b)), (turn, b))
            back[b] = min(back.get(b, (turn, a)), (turn, a))

    def walk(start: str, links: dict[str, tuple[float, str]], way: int) -> Array:
        """The lines along ``links``, each moved to where the one before it ended."""
        at, found, length = start, lines[start][::way][-1:], 0.0
        while at in links and length < CONTEXT:
            at = links[at][1]
            line = lines[at][::way]
            line = line + (found[-1] - line[0])
            gone = length + np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))
            found = np.concatenate([found, line[1:][gone < CONTEXT]])
            length = float(gone[-1])
        return found[1:]

    return {i: walk(i, back, -1)[::-1] for i in lanes}, {i: walk(i, onward, 1) for i in lanes}


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


def smoothed(line: Array, before: Array, after: Array) -> tuple[Array, int, int]:
    """The line (n, 3) with what lies before and after it, at even steps and without its noise.

    Returns (m, 3) points at steps of about 0.25 m and the rows of the line's own ends, which stay.
    """
    from scipy.linalg import solveh_banded

    line = _clean(line)
    length = _length(line)
    step = length / np.ceil(length / _STEP)
    own = _at(line, np.linspace(0.0, length, round(length / step) + 1))
    head = _stepped(np.concatenate([line[:1], before[::-1]]), step)[:0:-1]
    tail = _stepped(np.concatenate([line[-1:], after]), step)[1:]
    even = np.concatenate([head, own, tail])
    first, last, count = len(head), len(head) + len(own) - 1, len(even)
    if count < 4:
        return even, first, last
    stiffness = (SMOOTHING / step) ** 6
    # upper bands of identity + stiffness D'D, D the third differences
    bands = np.zeros((4, count))
    for a in range(4):
        for b in range(a, 4):
            bands[3 - (b - a), b : count - 3 + b] += stiffness * _THIRD[a] * _THIRD[b]
    fixed = [0, first, last, count - 1]
    weight = np.ones(count)
    weight[fixed] = 1e9
    bands[3] += weight
    origin = own[0]  # keeps the digits of large coordinates
    result = solveh_banded(bands, weight[:, None] * (even - origin)) + origin
    result[fixed] = even[fixed]
    return result, first, last


def _at(line: Array, s: Array) -> Array:
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])
    return np.column_stack([np.interp(s, arc, line[:, k]) for k in range(3)])


def _stepped(line: Array, step: float) -> Array:
    """From its first point on at steps of ``step`` m."""
    return _at(line, np.arange(0.0, _length(line) + 1e-9, step))


def middle_line(left: Array, right: Array) -> Array:
    """(n, 3) the line halfway between two edges ``rounded``, from start to end."""
    count = max(int(np.ceil(max(_length(left), _length(right)) / _STEP)) + 1, 2)
    share = np.linspace(0.0, 1.0, count)
    middle = (at_share(left, share) + at_share(right, share)) / 2.0
    # towards its ends, which may be cut askew, it is left as it is
    across = float(np.hypot(*(at_share(left, share) - at_share(right, share))[:, :2].T).mean())
    room = np.minimum(share, 1.0 - share) * _length(middle)
    weight = np.clip(room / max(across, SHORTEST) - 0.5, 0.0, 1.0)[:, None]
    if weight.any():
        feet = (_feet(middle, left) + _feet(middle, right)) / 2.0
        middle = middle + weight * (feet - middle)
    return middle


def at_share(line: Array, share: Array) -> Array:
    """(., 3) points at shares of a line's length."""
    return _at(line, share * _length(line))


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
    origin = edge[0]
    line = shapely.simplify(shapely.linestrings(edge - origin), _SIMPLER)
    along = shapely.line_locate_point(line, shapely.points(points[:, :2] - origin[:2]))
    return _at(shapely.get_coordinates(line, include_z=True), along) + origin


def _unit(vector: Array) -> Array:
    return np.array([*(vector[:2] / np.hypot(*vector[:2])), 0.0])


def _even(line: Array, first: int, last: int) -> tuple[Array, Array, Array]:
    """Arc length (n,), points (n, 3) and heading (n,) from row first to last, SPACING or less."""
    step = np.diff(line[:, :2], axis=0)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])
    arc -= arc[first]
    count = max(int(np.ceil(arc[last] / SPACING - 1e-9)) + 1, 2)
    s = np.linspace(0.0, arc[last], count)
    segment = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    middle = (arc[1:] + arc[:-1]) / 2.0
    heading = np.interp(s, middle, segment)
    if len(segment) > 1:  # goes on turning to its ends
        for row, (a, b) in ((0, (0, 1)), (-1, (-2, -1))):
            bend = (segment[b] - segment[a]) / (middle[b] - middle[a])
            if not middle[0] <= s[row] <= middle[-1]:
                heading[row] = segment[row] + bend * (s[row] - middle[row])
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
