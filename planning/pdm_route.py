"""The route as nuPlan's rule planners see it: lines to follow, red lights on them, areas around.

Compiled once per drive. `Lines` are the centreline and lines beside it, each with metres of its
own; `RedLights` are the stretches that a light closes; `RouteAreas` are lanes, drivable ground and
junctions as polygons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planning.route_line import SPACING, RouteLine, beyond_goal, build_route_line
from planning.route_rules import HOLD_SEARCH, RouteRules, compile_route
from roadloop.errors import RoadloopError
from roadloop.maps.path import Path
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring.area_map import area_map_of, lanes_near
from roadloop.scoring.rules import RED
from roadloop.types import Observation, Route

Array = np.ndarray

EXTENSIONS = 3
"""times road is added beyond the goal: to these planners the line's end is an obstacle, and in
nuPlan it is some thirty road sections away"""
LINE_DEPTH = 1.0
"""m of road behind a light's line that is closed where no junction follows"""
AREA_REACH = 60.0
"""m around the route within which lanes are known: the published 50 m around the ego, and a little
for the ego being beside the line"""
BEND_REACH = 8.0
"""m of line that a box beside it may reach along it"""
START_REACH = 30.0
"""m of line on which the ego is looked for at first"""


@dataclass(frozen=True, eq=False)
class Lines:
    """L lines beside each other, sampled twice.

    ``x``, ``y``, ``s`` ``(L, samples)`` are points side by side, as those of the route's line, and
    their metres along each line; ``poses`` ``(3, L, points)`` are x, y and unwrapped heading evenly
    along each line, ``step`` ``(L,)`` m apart.
    """

    offset: Array
    """(L,) m to the left of the first line"""
    x: Array
    y: Array
    s: Array
    cos: Array
    """(samples,) of the heading, which all lines share"""
    sin: Array
    z: Array
    """(samples,) m"""
    speed_limit: Array
    """(samples,) m/s"""
    sharpest: Array
    """(samples,) 1/m, the largest curvature within `BEND_REACH` m"""
    poses: Array
    step: Array

    @property
    def length(self) -> Array:
        """(L,) m"""
        return self.s[:, -1]

    def pose(self, line: Array, s: Array) -> Array:
        """(3, ...) x, y and unwrapped heading at ``s`` m along lines ``line``, kept to the ends."""
        points = self.poses.shape[2]
        place = np.minimum(np.maximum(s / self.step[line], 0.0), points - 1.0)
        row = np.minimum(place.astype(np.int64), points - 2)
        table = self.poses.reshape(3, -1)
        at = line * points + row
        begin = table[:, at]
        return begin + (place - row) * (table[:, at + 1] - begin)

    def rows(self, low: float, high: float) -> slice:
        """Samples whose metres along the first line lie between ``low`` and ``high``, 2 or more."""
        first, last = np.searchsorted(self.s[0], [low, high]).tolist()
        last = min(max(last + 1, 2), self.s.shape[1])
        return slice(min(max(first - 1, 0), last - 2), last)

    def project(self, x: float, y: float, rows: slice) -> Array:
        """(L,) m along each line of its point nearest to ``x``, ``y`` among the segments there."""
        begin_x, begin_y = self.x[:, rows], self.y[:, rows]
        edge_x, edge_y = np.diff(begin_x), np.diff(begin_y)
        dx, dy = x - begin_x[:, :-1], y - begin_y[:, :-1]
        square = np.maximum(edge_x**2 + edge_y**2, 1e-12)
        share = np.clip((dx * edge_x + dy * edge_y) / square, 0.0, 1.0)
        away = (dx - share * edge_x) ** 2 + (dy - share * edge_y) ** 2
        line, best = np.arange(len(away)), away.argmin(axis=1)
        s = self.s[:, rows]
        return s[line, best] + share[line, best] * (s[line, best + 1] - s[line, best])

    def follow(self, x: float, y: float, before: float | None, travelled: float) -> Array:
        """(L,) m along each line of a car at ``x``, ``y``, ``before`` m along the first one before.

        Kept from jumping to another pass of the route: at most ``travelled`` m and a little on.
        None: the car is where the lines begin.
        """
        if before is None:
            return self.project(x, y, self.rows(0.0, START_REACH))
        return self.project(x, y, self.rows(before - 5.0, before + travelled + 10.0))


def lines_beside(line: RouteLine, offsets: Sequence[float]) -> Lines:
    """Lines ``offsets`` m to the left of the route's; the first one should be 0."""
    cos, sin = np.cos(line.heading), np.sin(line.heading)
    offset = np.asarray(offsets, np.float64)
    x, y = line.x - offset[:, None] * sin, line.y + offset[:, None] * cos
    s = np.zeros_like(x)
    np.cumsum(np.hypot(np.diff(x), np.diff(y)), axis=1, out=s[:, 1:])
    count = s.shape[1]
    even = np.linspace(0.0, s[:, -1], count, axis=1)
    # lines beside a tight bend may turn back for a moment: their metres still grow
    poses = [
        [np.interp(at, own, column) for at, own, column in zip(even, s, columns, strict=True)]
        for columns in (x, y, np.broadcast_to(line.heading, x.shape))
    ]
    step = s[:, -1] / (count - 1)
    around = round(BEND_REACH / SPACING)
    bend = np.pad(np.abs(line.curvature), around, mode="edge")
    sharpest = np.lib.stride_tricks.sliding_window_view(bend, 2 * around + 1).max(-1)
    return Lines(
        offset, x, y, s, cos, sin, line.z, line.speed_limit, sharpest, np.array(poses), step
    )


@dataclass(frozen=True, eq=False)
class RedLights:
    """Stretches of the route that a light closes while it is red; R lights."""

    begin: Array
    """(L, R) m along each line, of the stop line"""
    end: Array
    """(L, R) m, of the junction behind it"""
    signal: Array
    """(R,)"""

    def red(self, observation: Observation) -> Array:
        """(R,) bool. Raises RoadloopError where there are lights and the observation has none."""
        if not len(self.signal):
            return np.zeros(0, dtype=bool)
        if observation.lights is None:
            raise RoadloopError(
                'observation holds no lights: declare the sensor "lights" in the driver\'s sensors'
            )
        state = observation.lights[self.signal]
        return np.asarray(np.isin(state, RED))


def red_lights(rules: RouteRules, lines: Lines, path_s: Array) -> RedLights:
    """The lights along a route whose samples are at ``path_s`` m of the path the rules are on."""
    lit = rules.line_kind == SignalKind.TRAFFIC_LIGHT
    begin, signal = rules.line_s[lit], rules.line_signal[lit]
    end = begin + LINE_DEPTH
    for row, s in enumerate(begin.tolist()):
        guarded = (rules.visit_from <= s + HOLD_SEARCH) & (rules.visit_to > s)
        if guarded.any():
            end[row] = rules.visit_to[guarded].min()
    own = [np.stack([np.interp(m, path_s, s) for s in lines.s]) for m in (begin, end)]
    return RedLights(own[0], own[1], signal)


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons with their bounding boxes, to take those near a place."""

    polygon: Array
    """(n,) object, shapely's, prepared"""
    bounds: Array
    """(n, 4) low x, low y, high x, high y, m"""

    def near(self, low: Array, high: Array) -> Array:
        """(n,) bool: the bounding box touches that from ``low`` to ``high`` ``(2,)``."""
        touches = (self.bounds[:, :2] <= high) & (self.bounds[:, 2:] >= low)
        return touches[:, 0] & touches[:, 1]


def prepared(polygon: Array) -> Polygons:
    """Polygons ``(n,)``, ready to be asked many points."""
    import shapely

    shapely.prepare(polygon)
    return Polygons(polygon, np.asarray(shapely.bounds(polygon)).reshape(-1, 4))


@dataclass(frozen=True, eq=False)
class PdmRoute:
    """A drive's route, driven on beyond its goal."""

    route: Route
    path: Path
    lines: Lines
    lights: RedLights


def compile_route_lines(road_map: RoadMap, route: Route, offsets: Sequence[float]) -> PdmRoute:
    """The route with lines ``offsets`` m to its left. Raises RoadloopError for an empty route."""
    if len(route.lanes) == 0:
        raise RoadloopError("route has no lanes: a planner needs at least the lane the ego is on")
    for _ in range(EXTENSIONS):
        route = beyond_goal(road_map, route)
    path, line = build_route_line(road_map, route)
    lines = lines_beside(line, offsets)
    return PdmRoute(route, path, lines, red_lights(compile_route(road_map, path), lines, line.s))


@dataclass(frozen=True, eq=False)
class RouteAreas:
    """What lies around a route, as the scores ask for it."""

    lanes: Polygons
    on_route: Array
    """(lanes,) bool: of the route, or beside one of it in the same direction"""
    drivable: Polygons
    intersections: Polygons


def route_areas(road_map: RoadMap, compiled: PdmRoute) -> RouteAreas:
    """Lanes within `AREA_REACH` of the route, on its level."""
    areas: Any = area_map_of(road_map, lanes_near(road_map, compiled.path.xyz, AREA_REACH))
    own = np.isin(areas.lane_id.astype(np.int64), compiled.route.lanes)
    return RouteAreas(
        lanes=prepared(areas.lane_polygon),
        on_route=np.isin(areas.lane_roadblock, areas.lane_roadblock[own]),
        drivable=prepared(areas.drivable),
        intersections=prepared(areas.intersections),
    )
