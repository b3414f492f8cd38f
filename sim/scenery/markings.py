"""Paint on the road: lane lines, zebra crossings, stop and give-way lines, arrows, as triangles.

Everything is laid on the paving it belongs to: each corner ``LIFT`` above the highest flush surface
under it, then both ends of a piece raised by what is missing at points between them.
"""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import MarkColour, MarkKind, RoadMap, SignalKind
from roadloop.semantics import SemanticClass
from sim.scenery.arrows import turn_arrows
from sim.scenery.mesh import Mesh, Surface, mesh_of, quads
from sim.scenery.paving import SAME_LEVEL, Paving
from sim.scenery.ribbons import thinned

Array = np.ndarray

LIFT, LEAST = 0.025, 0.018
"""m over the road: of corners, and at least of points between them"""
TOLERANCE, LONGEST = 0.01, 8.0
"""m, how far a line may lie beside its polyline, and its longest piece"""
STEEP = 0.12
"""steepest surface across, rise over run"""

WHITE_RGB = (0.72, 0.72, 0.70)
COLOUR_RGB = {
    MarkColour.YELLOW: (0.66, 0.42, 0.03),
    MarkColour.BLUE: (0.03, 0.12, 0.45),
    MarkColour.RED: (0.50, 0.04, 0.03),
    MarkColour.GREEN: (0.05, 0.35, 0.10),
    MarkColour.ORANGE: (0.70, 0.24, 0.02),
}
"""linear reflectance; white paint has a luminance factor of 0.6 or more (EN 1436, class B5)"""

LINES = {
    MarkKind.SOLID: (False,),
    MarkKind.BROKEN: (True,),
    MarkKind.SOLID_SOLID: (False, False),
    MarkKind.SOLID_BROKEN: (False, True),
    MarkKind.BROKEN_SOLID: (True, False),
    MarkKind.BROKEN_BROKEN: (True, True),
    MarkKind.BOTTS_DOTS: (True,),
    MarkKind.OTHER: (False,),
}
"""the lines of a mark from left to right: True where broken. What is missing is not painted"""
NARROW = 0.12
"""m, width of lines of which the map gives none (RMS-1)"""
DASH = (3.0, 6.0)
"""m painted, m left out: lane lines in towns (RMS-1)"""
DOTS = (0.2, 1.0)
"""m, raised pavement markers"""
ZEBRA = 0.5
"""m, bars of a crossing and the gaps between them"""
STOP_DEPTH, SIDE_GAP = 0.4, 0.1
"""m, of a stop line along the lane, and what it leaves free at each edge of the lane"""
YIELD_DASH = (0.5, 0.25)
"""m of a give-way line painted and left out across the lane"""


def marking_meshes(road_map: RoadMap) -> Mesh:
    """All road marks of a map, facing up, ROAD_LINE. RoadloopError without lanes."""
    paving = Paving.of(road_map)
    arrows = turn_arrows(road_map)
    parts = [
        _lines(road_map),
        _crossings(road_map),
        _stop_lines(road_map),
        (arrows, np.broadcast_to(WHITE_RGB, (len(arrows), 3))),
    ]
    corners = np.concatenate([corners for corners, _ in parts])
    colour = np.concatenate([colour for _, colour in parts])
    pieces, keep = _laid(paving, corners)
    return mesh_of(
        quads(pieces[keep]),
        np.repeat(colour[keep], 2, axis=0),
        Surface.MARK,
        SemanticClass.ROAD_LINE,
        detail=True,
    )


def _laid(paving: Paving, corners: Array) -> tuple[Array, Array]:
    """Quadrilaterals (n, 4, 3) with their heights set to lie on the paving, and which of them do.

    Corners go round from right at the start over right and left at the end to left at the start.
    """
    at = corners.reshape(-1, 3)
    top = paving.flush.top(at, SAME_LEVEL, SAME_LEVEL).reshape(-1, 4)
    known = top > -np.inf
    keep = np.any(known, axis=1)
    # a corner beside the carriageway, for example under a kerb, takes the height of another
    spare = np.where(known, top, np.inf).min(1, keepdims=True)
    z = np.where(known, top, spare) + LIFT
    # where lanes do not meet in height, the mark lies across on the higher one
    for a, b in ((0, 3), (1, 2)):
        wide = np.linalg.norm(corners[:, a, :2] - corners[:, b, :2], axis=1)
        torn = keep.copy()
        torn[keep] = np.abs(z[keep, a] - z[keep, b]) > STEEP * wide[keep] + LIFT
        z[torn, a] = z[torn, b] = np.maximum(z[torn, a], z[torn, b])
    laid = corners.copy()
    laid[keep, :, 2] = z[keep]

    # between the corners: on the two triangles the piece is cut into (0 1 2, 0 2 3)
    share = np.array([0.25, 0.5, 0.75])[:, None, None]
    a, b, c, d = (laid[:, k] for k in range(4))
    probes = np.concatenate(
        [near + share * (far - near) for near, far in ((a, b), (d, c), (a, c), (a, d), (b, c))]
    ).reshape(15, len(laid), 3)  # five lines of three probes; a map may have no marks at all
    under = paving.flush.top(probes.reshape(-1, 3), SAME_LEVEL, SAME_LEVEL).reshape(
        probes.shape[:2]
    )
    missing = np.maximum((under + LEAST - probes[..., 2]).max(0), 0.0)
    laid[keep, :, 2] += missing[keep, None]
    return laid, keep


def _lines(road_map: RoadMap) -> tuple[Array, Array]:
    """Lane lines: (n, 4, 3) corners and (n, 3) colours; broken ones cut into dashes."""
    start = road_map.mark_start
    count = np.diff(start)
    drawn = np.isin(road_map.mark_kind, list(LINES)) & (count >= 2)
    row = np.flatnonzero(np.repeat(drawn, count))
    first = np.concatenate([[0], np.cumsum(count[drawn])])
    if not len(row):
        return np.zeros((0, 4, 3)), np.zeros((0, 3))
    xyz = road_map.mark_xyz[row]
    mark = np.repeat(np.flatnonzero(drawn), count[drawn])

    # arc length and direction to the left, per polyline
    step = np.diff(xyz, axis=0, append=xyz[-1:])
    step[first[1:] - 1] = 0.0
    size = np.hypot(step[:, 0], step[:, 1])
    s = np.concatenate([[0.0], np.cumsum(size)[:-1]])
    s -= np.repeat(s[first[:-1]], count[drawn])
    along = step[:, :2] / np.maximum(size, 1e-9)[:, None]
    before = np.roll(along, 1, axis=0)
    before[first[:-1]] = 0.0
    along = along + before
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    left = np.column_stack([-along[:, 1], along[:, 0], np.zeros(len(along))])

    keep = thinned(xyz[:, None], first, TOLERANCE, LONGEST)
    width = np.where(road_map.mark_width > 0.0, road_map.mark_width, NARROW)[mark]
    half = left * (width / 2.0)[:, None]
    corners, owner = [], []
    kinds = road_map.mark_kind[mark]
    for kind in np.unique(kinds).tolist():
        lines = LINES[MarkKind(kind)]
        mine = kinds == kind
        for i_line, broken in enumerate(lines):
            pattern = DOTS if kind == MarkKind.BOTTS_DOTS else DASH
            i, j, low, high = _pieces(s, mark, mine & keep, pattern if broken else None)
            # a pair of lines is one line width apart
            middle = xyz + left * (width * (len(lines) - 1 - 2 * i_line))[:, None]
            right_side, left_side = middle - half, middle + half
            ends = [
                side[i] + share[:, None] * (side[j] - side[i])
                for side, share in (
                    (right_side, low),
                    (right_side, high),
                    (left_side, high),
                    (left_side, low),
                )
            ]
            corners.append(np.stack(ends, axis=1))
            owner.append(mark[i])
    palette = np.array([COLOUR_RGB.get(colour, WHITE_RGB) for colour in MarkColour])
    return np.concatenate(corners), palette[road_map.mark_colour[np.concatenate(owner)]]


def _pieces(
    s: Array, line: Array, keep: Array, pattern: tuple[float, float] | None
) -> tuple[Array, Array, Array, Array]:
    """Painted pieces: rows i and j (n,) of the chord each lies on, and from which share to which.

    Chords run between kept rows of one line; with ``pattern`` (m painted, m left out) only what
    is painted of them counts, from the line's start on. ``s`` (P,) is arc length.
    """
    row = np.flatnonzero(keep)
    same = line[row[:-1]] == line[row[1:]]
    i, j = row[:-1][same], row[1:][same]
    low, high = s[i], s[j]
    if pattern is not None:
        painted, period = pattern[0], sum(pattern)
        first = np.floor(low / period).astype(int)
        dashes = np.floor(np.maximum(high - 1e-6, low) / period).astype(int) - first + 1
        which = np.repeat(np.arange(len(i)), dashes)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(dashes) - dashes, dashes) + first[which]
        i, j = i[which], j[which]
        low = np.maximum(low[which], nth * period)
        high = np.minimum(high[which], nth * period + painted)
    some = high - low > 0.01
    i, j, low, high = i[some], j[some], low[some], high[some]
    size = s[j] - s[i]
    return i, j, (low - s[i]) / size, (high - s[i]) / size


def _crossings(road_map: RoadMap) -> tuple[Array, Array]:
    """Zebra bars: across the crosswalk's short side, one after the other along its long side."""
    bars = [np.zeros((0, 4, 3))]
    start = road_map.crosswalk_start
    for first, end in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        ring = road_map.crosswalk_xyz[first:end]
        if len(ring) < 3:
            continue
        edges = np.roll(ring, -1, axis=0)[:, :2] - ring[:, :2]
        along = edges[np.argmax(np.hypot(*edges.T))]
        along = along / max(np.hypot(*along), 1e-9)
        across = np.array([-along[1], along[0]])
        u, v = ring[:, :2] @ along, ring[:, :2] @ across
        # as many bars as fit, with the same margin at both ends
        n = int((u.max() - u.min() + ZEBRA) // (2.0 * ZEBRA))
        edge = (u.max() + u.min() - (2 * n - 1) * ZEBRA) / 2.0 + ZEBRA * np.arange(2 * n)
        low, high = _chord(u, v, edge)
        line = np.stack([low, high], axis=1)[..., None] * across + (edge[:, None] * along)[:, None]
        flat = np.full((*line.shape[:2], 1), ring[:, 2].mean())
        points = np.concatenate([line, flat], axis=2)
        bar = np.stack([points[::2, 0], points[1::2, 0], points[1::2, 1], points[::2, 1]], axis=1)
        bars.append(bar[(high - low).reshape(-1, 2).min(1) > 0.1])
    found = np.concatenate(bars)
    return found, np.broadcast_to(WHITE_RGB, (len(found), 3))


def _chord(u: Array, v: Array, at: Array) -> tuple[Array, Array]:
    """Lowest and highest v (n,) of a polygon (u, v) on the lines u = ``at``; 0, 0 outside."""
    u1, v1 = np.roll(u, -1), np.roll(v, -1)
    span = u1 - u
    share = (at[:, None] - u) / np.where(span == 0.0, 1.0, span)
    met = (span != 0.0) & (share >= 0.0) & (share <= 1.0)
    height = v + share * (v1 - v)
    low = np.where(met, height, np.inf).min(1)
    high = np.where(met, height, -np.inf).max(1)
    inside = met.any(1)
    return np.where(inside, low, 0.0), np.where(inside, high, 0.0)


def _stop_lines(road_map: RoadMap) -> tuple[Array, Array]:
    """Lines before signals: whole for lights and stop signs, dashed for yield signs."""
    lane, s, kind = (
        road_map.stop_lane,
        road_map.stop_s,
        road_map.signal_kind[road_map.stop_signal],
    )
    count = np.diff(road_map.point_start)[lane]
    before = np.array([
        np.searchsorted(road_map.point_s[road_map.points_of(int(k))], at)
        for k, at in zip(lane, s, strict=True)
    ], int)  # fmt: skip
    row = road_map.point_start[lane] + np.clip(before, 0, count - 1)
    # the lanes that fan out of one entry share one line, and a whole one goes before a dashed one
    place = np.round(road_map.point_xyz[row] / 0.5).astype(int)
    order = np.argsort(kind == SignalKind.YIELD, kind="stable")
    _, chosen = np.unique(place[order], axis=0, return_index=True)
    chosen = np.sort(order[chosen])
    row, dashed = row[chosen], kind[chosen] == SignalKind.YIELD
    heading = road_map.point_heading[row]
    ahead = np.column_stack([np.cos(heading), np.sin(heading), np.zeros(len(row))])
    left = np.column_stack([-ahead[:, 1], ahead[:, 0], np.zeros(len(row))])
    half = np.maximum(road_map.point_width[row] / 2.0 - SIDE_GAP, 0.0)
    bars = [np.zeros((0, 4, 3))]
    for k in range(len(row)):
        cut = np.array([-half[k], half[k]])
        if dashed[k]:
            n = int((2.0 * half[k] + YIELD_DASH[1]) // sum(YIELD_DASH))
            begin = -(n * sum(YIELD_DASH) - YIELD_DASH[1]) / 2.0 + sum(YIELD_DASH) * np.arange(n)
            cut = np.stack([begin, begin + YIELD_DASH[0]], axis=1).ravel()
        front = road_map.point_xyz[row[k]] + cut[:, None] * left[k]
        back = front - STOP_DEPTH * ahead[k]
        bars.append(np.stack([back[::2], front[::2], front[1::2], back[1::2]], axis=1))
    found = np.concatenate(bars)
    return found, np.broadcast_to(WHITE_RGB, (len(found), 3))
