"""The route as an evenly sampled line with what lies around it, for one planner."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from planning.corridor import PathWindow
from roadloop.errors import RoadloopError
from roadloop.maps.path import Path, route_path
from roadloop.maps.road_map import RoadMap
from roadloop.maps.routing import route_sections
from roadloop.types import Route

Array = np.ndarray

SPACING = 0.5
"""m between samples"""
DRIVABLE = 0.22
"""1/m: tightest curvature a mid-size car drives with some steering left (full lock: 0.25)"""
CORNER_REACH = 10.0
"""m before and behind a tight corner over which it may be widened"""
BEYOND_GOAL = 60.0
"""m of road kept beyond the goal, so that the plan does not end there"""


@dataclass(frozen=True)
class RouteLine:
    """Samples every `SPACING` m along the path; fields ``(points,)``."""

    s: Array
    x: Array
    y: Array
    z: Array
    heading: Array
    """unwrapped, rad"""
    curvature: Array
    """1/m, averaged over about 2 m: map geometry jumps where lanes meet"""
    speed_limit: Array
    lane: Array
    width: Array
    """m, of the lane"""
    goal_s: float
    """m along the path at which the route ends"""

    def window(self, low: float, high: float) -> tuple[slice, PathWindow]:
        """The samples between ``low`` and ``high`` m along the path, two at least."""
        first = max(int((low - self.s[0]) / SPACING), 0)
        last = min(max(int((high - self.s[0]) / SPACING), 0) + 2, len(self.s))
        rows = slice(min(first, last - 2), last)
        return rows, PathWindow(
            self.s[rows],
            self.x[rows],
            self.y[rows],
            self.z[rows],
            self.heading[rows],
            self.curvature[rows],
        )


def beyond_goal(road_map: RoadMap, route: Route) -> Route:
    """The route driven on straight ahead until `BEYOND_GOAL` m past its goal, where roads allow.

    A route that ends with a lane change stays as it is: more road would move the change past the
    goal.
    """
    if len(route_sections(road_map, route)[-1]) > 1:
        return route
    lanes = [int(lane) for lane in route.lanes]
    left = BEYOND_GOAL - (road_map.lane_length[lanes[-1]] - route.goal_s)
    while left > 0.0:
        onward = road_map.successors_of(lanes[-1])
        if len(onward) == 0:
            break
        turns = [
            abs(np.trapezoid(road_map.point_curvature[p], road_map.point_s[p]))
            for p in (road_map.points_of(int(lane)) for lane in onward)
        ]
        lanes.append(int(onward[int(np.argmin(turns))]))
        left -= road_map.lane_length[lanes[-1]]
    return dataclasses.replace(
        route,
        lanes=np.array(lanes, dtype=np.int32),
        goal_s=float(road_map.lane_length[lanes[-1]])
        if len(lanes) > len(route.lanes)
        else min(route.goal_s + BEYOND_GOAL, float(road_map.lane_length[lanes[-1]])),
    )


def build_route_line(road_map: RoadMap, route: Route) -> tuple[Path, RouteLine]:
    """The path of the route, continued beyond its goal, and its even samples.

    Raises RoadloopError for a route without lanes.
    """
    if len(route.lanes) == 0:
        raise RoadloopError("route has no lanes: a planner needs at least the lane the ego is on")
    path = route_path(road_map, beyond_goal(road_map, route))
    s = np.arange(path.s[0], path.s[-1] + SPACING / 2.0, SPACING)
    sample = np.clip(np.searchsorted(path.s, s, side="right") - 1, 0, len(path.s) - 1)
    x, y = np.interp(s, path.s, path.xyz[:, 0]), np.interp(s, path.s, path.xyz[:, 1])
    heading = np.interp(s, path.s, np.unwrap(path.heading))
    curvature = np.interp(s, path.s, path.curvature)
    curvature = _averaged(curvature, 2)
    for _ in range(3):  # the shift is first order
        x, y, heading, curvature = _widen_corners(x, y, heading, curvature)
    on_last = np.flatnonzero(path.lane == route.lanes[-1])
    goal = on_last[np.argmin(np.abs(path.lane_s[on_last] - route.goal_s))]
    lane = path.lane[sample].astype(np.int64)
    share = np.clip(path.lane_s[sample] / road_map.lane_length[lane], 0.0, 1.0)
    points = np.diff(road_map.point_start)[lane] - 1
    width = road_map.point_width[road_map.point_start[lane] + (share * points).astype(np.int64)]
    return path, RouteLine(
        s=s,
        x=x,
        y=y,
        z=np.interp(s, path.s, path.xyz[:, 2]),
        heading=heading,
        curvature=curvature,
        speed_limit=path.speed_limit[sample],
        lane=lane,
        width=width,
        goal_s=float(path.s[goal]),
    )


def _averaged(values: Array, reach: int) -> Array:
    """Moving average over ``reach`` samples to each side, ends repeated."""
    kernel = np.full(2 * reach + 1, 1.0 / (2 * reach + 1))
    return np.convolve(np.pad(values, reach, mode="edge"), kernel, mode="valid")


def _widen_corners(
    x: Array, y: Array, heading: Array, curvature: Array
) -> tuple[Array, Array, Array, Array]:
    """Corners tighter than `DRIVABLE` made wider by the least shift; all ``(points,)``.

    Some maps turn their inner lanes on a radius no car can drive. A shift ``d(s)`` to the left
    changes the curvature to ``k + d'' + k^2 d`` (to first order); the smallest ``sum d^2`` that
    brings it inside the bound is found by penalising the samples still outside, over a few rounds.
    Samples keep their ``s``.
    """
    tight = np.flatnonzero(np.abs(curvature) > DRIVABLE)
    if len(tight) == 0:
        return x, y, heading, curvature
    reach = int(CORNER_REACH / SPACING)
    shift = np.zeros(len(x))
    groups = np.split(tight, np.flatnonzero(np.diff(tight) > 2 * reach) + 1)
    for group in groups:
        rows = slice(max(group[0] - reach, 0), min(group[-1] + reach + 1, len(x)))
        shift[rows] += _least_shift(curvature[rows])
    slope = np.gradient(shift, SPACING)
    along = np.maximum(1.0 - curvature * shift, 0.1)
    turned = heading + np.arctan2(slope, along)
    x, y = x - shift * np.sin(heading), y + shift * np.cos(heading)
    moved = np.abs(shift) > 1e-3
    bend = np.gradient(turned) / np.maximum(np.hypot(np.gradient(x), np.gradient(y)), 0.1)
    return x, y, turned, np.where(moved, _averaged(bend, 1), curvature)


def _least_shift(curvature: Array) -> Array:
    """(points,) m to the left that brings ``curvature`` ``(points,)`` to `DRIVABLE` or below."""
    n = len(curvature)
    second = (np.eye(n, k=1) - 2.0 * np.eye(n) + np.eye(n, k=-1)) / SPACING**2
    change = second + np.diag(curvature**2)
    # both ends stay where they are, with their direction: rows of a one-sided difference are zero
    held = np.zeros(n)
    held[[0, 1, -2, -1]] = 1e6
    goal = np.clip(curvature, -0.97 * DRIVABLE, 0.97 * DRIVABLE)
    shift, outside = np.zeros(n), np.abs(curvature) > DRIVABLE
    for _ in range(12):
        weight = np.where(outside, 1e4, 0.0)
        matrix = np.diag(1.0 + held) + 1e-1 * second.T @ second + (change.T * weight) @ change
        shift = np.linalg.solve(matrix, (change.T * weight) @ (goal - curvature))
        bent = curvature + change @ shift
        worse = outside | (np.abs(bent) > DRIVABLE)
        goal = np.where(worse & ~outside, np.sign(bent) * 0.97 * DRIVABLE, goal)
        if (worse == outside).all():
            break
        outside = worse
    return shift
