"""The ground of a bird's-eye picture: a map cut to a box, as shapes in the order they are painted.

Both the video frames and the HTML report paint these shapes, so both show the same road. A shape
is a closed polygon to fill (``width`` 0) or a line to stroke (``width`` in metres). Lane ribbons
are the centreline moved sideways by half the lane's width; edges are thinned to 3 cm.

Bridges: surfaces are sorted by height into layers one metre apart, and marks are painted 3 m above
their surface, so that a mark stays visible on its own (sloping, banked) road and disappears under
a road that crosses above it (clearances are 4.5 m and more).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, RoadMap, SignalKind

Array = np.ndarray

THINNING = 0.03
"""m, Douglas-Peucker tolerance of drawn edges: a third of a pixel at 11 px/m"""
MARK_LIFT = 3
"""layers (1 m each) between a surface and its marks"""
CLOSE = 2.0
"""m, gaps between the lanes of a junction up to twice this are paved over"""
ISLAND = 20.0
"""m^2, smaller holes in a junction are gaps between lanes, larger ones are islands"""


class Paint(IntEnum):
    """What a shape is; within a layer, painted in this order."""

    SIDEWALK = 0
    MEDIAN = 1
    PARKING = 2
    SHOULDER = 3
    BIKING = 4
    JUNCTION = 5
    ROAD = 6
    CROSSWALK = 7
    MARK_WHITE = 8
    MARK_YELLOW = 9
    MARK_BLUE = 10
    MARK_RED = 11
    CURB = 12
    STOP_LINE = 13


_PAINT_OF_LANE = {
    LaneKind.DRIVING: Paint.ROAD,
    LaneKind.BIDIRECTIONAL: Paint.ROAD,
    LaneKind.SHOULDER: Paint.SHOULDER,
    LaneKind.PARKING: Paint.PARKING,
    LaneKind.BIKING: Paint.BIKING,
    LaneKind.SIDEWALK: Paint.SIDEWALK,
    LaneKind.BORDER: Paint.SHOULDER,
    LaneKind.MEDIAN: Paint.MEDIAN,
    LaneKind.RESTRICTED: Paint.MEDIAN,
}

_PAINT_OF_COLOUR = {
    MarkColour.YELLOW: Paint.MARK_YELLOW,
    MarkColour.ORANGE: Paint.MARK_YELLOW,
    MarkColour.BLUE: Paint.MARK_BLUE,
    MarkColour.RED: Paint.MARK_RED,
}

# The lines of a mark from left to right along its points: True where broken.
_LINES_OF_MARK = {
    MarkKind.SOLID: (False,),
    MarkKind.BROKEN: (True,),
    MarkKind.SOLID_SOLID: (False, False),
    MarkKind.SOLID_BROKEN: (False, True),
    MarkKind.BROKEN_SOLID: (True, False),
    MarkKind.BROKEN_BROKEN: (True, True),
    MarkKind.CURB: (False,),
    MarkKind.BOTTS_DOTS: (True,),
    MarkKind.OTHER: (False,),
}

_DASH = (3.0, 6.0)  # m painted, m left out: the usual lane line in towns
_DOTS = (0.2, 1.0)  # m, raised pavement markers
_STRIPE = 0.5  # m, bars of a crosswalk and the gaps between them


@dataclass(frozen=True)
class Ground:
    """Shapes of a map within a box, sorted by layer, then paint. N shapes, world frame."""

    box: tuple[float, float, float, float]
    """x min, y min, x max, y max, m"""
    start: Array
    """(N + 1,) int32, CSR over ``xy``"""
    xy: Array
    """(., 2) float64, m; polygons are counter-clockwise and not closed"""
    paint: Array
    """(N,) uint8 Paint"""
    layer: Array
    """(N,) int32, m of height"""
    width: Array
    """(N,) float64, m; 0: a polygon to fill"""
    bar: Array
    """(bars, 4) float64: x, y of the left and the right end of each stop line that obeys a light"""
    bar_signal: Array
    """(bars,) int32, index into the map's signals"""
    lamp: Array
    """(lamps, 2) float64: x, y of each traffic light"""
    lamp_signal: Array
    """(lamps,) int32"""

    def bounds(self) -> Array:
        """(N, 4) x min, y min, x max, y max of every shape, line width included."""
        if len(self.paint) == 0:
            return np.zeros((0, 4))
        first = self.start[:-1]
        low = np.minimum.reduceat(self.xy, first, axis=0)
        high = np.maximum.reduceat(self.xy, first, axis=0)
        half = self.width[:, None] / 2
        return np.concatenate([low - half, high + half], axis=1)


class _Shapes:
    """Shapes as they are collected."""

    def __init__(self) -> None:
        self.xy: list[Array] = []
        self.paint: list[int] = []
        self.height: list[float] = []
        self.width: list[float] = []

    def add(self, xy: Array, paint: Paint, height: float, width: float = 0.0) -> None:
        if len(xy) >= (2 if width else 3):
            self.xy.append(xy)
            self.paint.append(int(paint))
            self.height.append(height + (MARK_LIFT if paint >= Paint.CROSSWALK else 0))
            self.width.append(width)


def ground_of(road_map: RoadMap, box: tuple[float, float, float, float]) -> Ground:
    """The shapes of ``road_map`` that touch ``box`` (x min, y min, x max, y max in metres)."""
    shapes = _Shapes()
    _lanes(road_map, box, shapes)
    _marks(road_map, box, shapes)
    _crosswalks(road_map, box, shapes)
    bar, bar_signal = _stop_lines(road_map, box, shapes)
    lamp_signal = np.flatnonzero(
        (road_map.signal_kind == SignalKind.TRAFFIC_LIGHT)
        & _inside(road_map.signal_xyz[:, :2], box)
    )
    paint = np.array(shapes.paint, np.uint8)
    layer = np.floor(np.array(shapes.height, np.float64)).astype(np.int32)
    order = np.lexsort((paint, layer))
    xy = [shapes.xy[i] for i in order]
    return Ground(
        box=box,
        start=np.cumsum([0, *map(len, xy)]).astype(np.int32),
        xy=np.concatenate(xy) if xy else np.zeros((0, 2)),
        paint=paint[order],
        layer=layer[order],
        width=np.array(shapes.width, np.float64)[order],
        bar=bar,
        bar_signal=bar_signal,
        lamp=road_map.signal_xyz[lamp_signal, :2],
        lamp_signal=lamp_signal.astype(np.int32),
    )


def _inside(xy: Array, box: tuple[float, float, float, float]) -> Array:
    """(n,) bool: points in the box."""
    return (xy[:, 0] >= box[0]) & (xy[:, 0] <= box[2]) & (xy[:, 1] >= box[1]) & (xy[:, 1] <= box[3])


def _touching(xy: Array, start: Array, box: tuple[float, float, float, float]) -> Array:
    """Indices of the CSR polylines whose bounding box touches ``box``."""
    filled = np.flatnonzero(np.diff(start) > 0)
    if len(filled) == 0:
        return filled
    first = start[filled]
    low = np.minimum.reduceat(xy, first, axis=0)
    high = np.maximum.reduceat(xy, first, axis=0)
    keep = (
        (low[:, 0] <= box[2])
        & (high[:, 0] >= box[0])
        & (low[:, 1] <= box[3])
        & (high[:, 1] >= box[1])
    )
    return filled[keep]


def _thin(lines: list[Array]) -> list[Array]:
    """The polylines without the points that lie within THINNING of the line."""
    import shapely

    if not lines:
        return []
    index = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    made = shapely.simplify(shapely.linestrings(np.concatenate(lines), indices=index), THINNING)
    counts = shapely.get_num_coordinates(made)
    return np.split(shapely.get_coordinates(made), np.cumsum(counts)[:-1])


def _lanes(road_map: RoadMap, box: tuple[float, float, float, float], shapes: _Shapes) -> None:
    """Lane ribbons, and what is paved between the lanes of each junction."""
    xy = road_map.point_xyz[:, :2]
    normal = np.stack([-np.sin(road_map.point_heading), np.cos(road_map.point_heading)], axis=1)
    side = normal * (road_map.point_width / 2)[:, None]
    drawn = [
        int(lane)
        for lane in _touching(xy, road_map.point_start, box)
        if LaneKind(road_map.lane_kind[lane]) in _PAINT_OF_LANE
        and road_map.point_start[lane + 1] - road_map.point_start[lane] >= 2
    ]
    rows = [road_map.points_of(lane) for lane in drawn]
    left = _thin([xy[r] + side[r] for r in rows])
    right = _thin([xy[r] - side[r] for r in rows])
    in_junction: dict[int, list[Array]] = {}
    height_of: dict[int, float] = {}
    for lane, r, a, b in zip(drawn, rows, left, right, strict=True):
        ring = np.concatenate([b, a[::-1]])
        height = float(road_map.point_xyz[r, 2].mean())
        kind = LaneKind(road_map.lane_kind[lane])
        shapes.add(ring, _PAINT_OF_LANE[kind], height)
        junction = int(road_map.lane_junction[lane])
        if junction >= 0 and kind not in (LaneKind.SIDEWALK, LaneKind.MEDIAN):
            in_junction.setdefault(junction, []).append(ring)
            height_of[junction] = min(height, height_of.get(junction, np.inf))
    for junction, rings in in_junction.items():
        for gap in _gaps(rings):
            shapes.add(gap, Paint.JUNCTION, height_of[junction])


def _gaps(rings: list[Array]) -> list[Array]:
    """Polygons that pave what the ribbons of one junction leave open between them."""
    import shapely

    paved = shapely.union_all(shapely.buffer([shapely.Polygon(ring) for ring in rings], 0))
    closed = shapely.buffer(shapely.buffer(paved, CLOSE, quad_segs=4), -CLOSE, quad_segs=4)
    filled = [
        shapely.Polygon(
            part.exterior, [h for h in part.interiors if shapely.Polygon(h).area > ISLAND]
        )
        for part in shapely.get_parts(closed)
    ]
    # gaps under 0.2 m wide are curves drawn with corners; the rest reaches 0.1 m under the ribbons
    open_ground = shapely.buffer(shapely.union_all(filled).difference(paved), -0.1, quad_segs=1)
    open_ground = shapely.buffer(open_ground, 0.2, quad_segs=1)
    gaps = []
    for piece in _without_holes(list(shapely.get_parts(open_ground))):
        if piece.area > 0.2:
            ring = shapely.get_coordinates(shapely.simplify(piece, THINNING))
            gaps.append(_counter_clockwise(ring[:-1]))
    return gaps


def _without_holes(pieces: list) -> list:
    """The shapely polygons, each with holes cut in two through a hole until none has any."""
    import shapely

    done = []
    while pieces:
        piece = pieces.pop()
        if piece.geom_type != "Polygon" or not len(piece.interiors):
            done.append(piece)
            continue
        x = shapely.Polygon(piece.interiors[0]).centroid.x
        x0, y0, x1, y1 = piece.bounds
        for half in (shapely.box(x0, y0, x, y1), shapely.box(x, y0, x1, y1)):
            pieces += [
                part
                for part in shapely.get_parts(piece.intersection(half))
                if part.geom_type == "Polygon"
            ]
    return done


def _counter_clockwise(ring: Array) -> Array:
    """The ring ``(n, 2)`` with its interior to the left."""
    x, y = ring[:, 0], ring[:, 1]
    twice_area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    return ring if twice_area >= 0 else ring[::-1]


def _marks(road_map: RoadMap, box: tuple[float, float, float, float], shapes: _Shapes) -> None:
    """Road marks as single lines, broken ones already cut into dashes."""
    drawn = [
        int(mark)
        for mark in _touching(road_map.mark_xyz[:, :2], road_map.mark_start, box)
        if MarkKind(road_map.mark_kind[mark]) in _LINES_OF_MARK
        and road_map.mark_start[mark + 1] - road_map.mark_start[mark] >= 2
    ]
    rows = [slice(road_map.mark_start[mark], road_map.mark_start[mark + 1]) for mark in drawn]
    thinned = _thin([road_map.mark_xyz[r, :2] for r in rows])
    for mark, r, line in zip(drawn, rows, thinned, strict=True):
        kind = MarkKind(road_map.mark_kind[mark])
        colour = MarkColour(road_map.mark_colour[mark])
        width = float(road_map.mark_width[mark]) or 0.12
        paint = _PAINT_OF_COLOUR.get(colour, Paint.MARK_WHITE)
        if kind == MarkKind.CURB:
            paint = Paint.CURB
        height = float(road_map.mark_xyz[r, 2].mean())
        lines = _LINES_OF_MARK[kind]
        for i, broken in enumerate(lines):
            # a pair of lines is one line width apart
            moved = _moved(line, width * (len(lines) - 1 - 2 * i)) if len(lines) > 1 else line
            pattern = _DOTS if kind == MarkKind.BOTTS_DOTS else _DASH
            for piece in _dashes(moved, *pattern) if broken else [moved]:
                shapes.add(piece, paint, height, width)


def _moved(line: Array, left: float) -> Array:
    """The polyline ``(n, 2)`` moved ``left`` metres to its left."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return line + left * np.stack([-along[:, 1], along[:, 0]], axis=1)


def _dashes(line: Array, painted: float, left_out: float) -> list[Array]:
    """The polyline cut into dashes, corner points kept."""
    step = np.hypot(*np.diff(line, axis=0).T)
    s = np.concatenate([[0.0], np.cumsum(step)])
    pieces = []
    for begin in np.arange(0.0, s[-1], painted + left_out):
        end = min(begin + painted, s[-1])
        inner = s[(s > begin) & (s < end)]
        at = np.concatenate([[begin], inner, [end]])
        pieces.append(np.stack([np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])], 1))
    return pieces


def _crosswalks(road_map: RoadMap, box: tuple[float, float, float, float], shapes: _Shapes) -> None:
    """Zebra bars: across the crosswalk's short side, one after the other along its long side."""
    import shapely

    start = road_map.crosswalk_start
    for i in _touching(road_map.crosswalk_xyz[:, :2], start, box):
        corners = road_map.crosswalk_xyz[start[i] : start[i + 1]]
        if len(corners) < 3:
            continue
        outline = shapely.buffer(shapely.Polygon(corners[:, :2]), 0)
        frame = shapely.minimum_rotated_rectangle(outline)
        if outline.is_empty or frame.geom_type != "Polygon":
            continue
        a, b, c = shapely.get_coordinates(frame)[:3]
        long, short = (b - a, c - b) if np.hypot(*(b - a)) >= np.hypot(*(c - b)) else (c - b, a - b)
        corner = a if np.allclose(long, b - a) else b
        length = float(np.hypot(*long))
        unit = long / length
        height = float(corners[:, 2].mean())
        for along in np.arange(_STRIPE / 2, length - _STRIPE / 2, 2 * _STRIPE):
            p, q = corner + unit * along, corner + unit * (along + _STRIPE)
            bar = shapely.Polygon([p, q, q + short, p + short]).intersection(outline)
            for part in shapely.get_parts(bar):
                if part.geom_type == "Polygon" and part.area > 0.05:
                    ring = np.asarray(part.exterior.coords)[:-1, :2]
                    shapes.add(_counter_clockwise(ring), Paint.CROSSWALK, height)


def _stop_lines(
    road_map: RoadMap, box: tuple[float, float, float, float], shapes: _Shapes
) -> tuple[Array, Array]:
    """White bars where a sign must be obeyed; the ends of the bars that obey a light, and which."""
    bars: list[tuple[float, float, float, float]] = []
    signals: list[int] = []
    seen: set[tuple[int, int, int]] = set()
    for lane, s, signal in zip(
        road_map.stop_lane, road_map.stop_s, road_map.stop_signal, strict=True
    ):
        rows = road_map.points_of(int(lane))
        if rows.stop == rows.start:
            continue
        k = rows.start + int(
            np.clip(np.searchsorted(road_map.point_s[rows], s), 0, rows.stop - rows.start - 1)
        )
        x, y, z = road_map.point_xyz[k]
        # the lanes that fan out of one entry share one painted line
        place = (int(signal), round(x / 0.5), round(y / 0.5))
        if place in seen or not _inside(np.array([[x, y]]), box)[0]:
            continue
        seen.add(place)
        half = float(road_map.point_width[k]) / 2 - 0.1
        nx, ny = -np.sin(road_map.point_heading[k]), np.cos(road_map.point_heading[k])
        ends = (x + nx * half, y + ny * half, x - nx * half, y - ny * half)
        if road_map.signal_kind[signal] == SignalKind.TRAFFIC_LIGHT:
            bars.append(ends)
            signals.append(int(signal))
        else:
            shapes.add(np.array(ends).reshape(2, 2), Paint.STOP_LINE, float(z), 0.4)
    return np.array(bars, np.float64).reshape(-1, 4), np.array(signals, np.int32)
