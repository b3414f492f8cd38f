"""Routes of many worlds as flat Warp arrays: what the observation and reward kernels look up."""

from __future__ import annotations

import numpy as np
import warp as wp

from roadloop.features import RoutePoints


@wp.struct
class RoutePoint:
    """One point of ``roadloop.features.RoutePoints``."""

    x: wp.float64
    y: wp.float64
    heading: wp.float64  # not wrapped
    curvature: wp.float32
    limit: wp.float32


@wp.struct
class RouteLine:
    """A stop line on a route."""

    s: wp.float64
    signal: wp.int32
    kind: wp.int32  # SignalKind


@wp.struct
class Course:
    """Which rows of the flat arrays are a learner's route."""

    point: wp.int32
    points: wp.int32
    line: wp.int32
    lines: wp.int32
    spacing: wp.float64
    length: wp.float64


class RouteTable:
    """All routes so far, one after the other. Grows by doubling; rows never move."""

    def __init__(self, device: str) -> None:
        self.point = wp.zeros(4096, dtype=RoutePoint, device=device)
        self.line = wp.zeros(256, dtype=RouteLine, device=device)
        self._points = self._lines = 0

    def add(self, route: RoutePoints) -> np.ndarray:
        """Appends a route; returns its Course as a record."""
        points = np.zeros(len(route.x), RoutePoint.numpy_dtype())
        for name in ("x", "y", "heading", "curvature"):
            points[name] = getattr(route, name)
        points["limit"] = route.speed_limit
        lines = np.zeros(len(route.line_s), RouteLine.numpy_dtype())
        lines["s"], lines["signal"] = route.line_s, route.line_signal
        lines["kind"] = route.line_kind
        course = np.zeros((), Course.numpy_dtype())
        course["point"], course["points"] = self._points, len(points)
        course["line"], course["lines"] = self._lines, len(lines)
        course["spacing"], course["length"] = route.spacing, route.length
        self.point = _appended(self.point, self._points, points)
        self.line = _appended(self.line, self._lines, lines)
        self._points += len(points)
        self._lines += len(lines)
        return course


def _appended(array: wp.array, used: int, rows: np.ndarray) -> wp.array:
    if used + len(rows) > array.shape[0]:
        size = max(2 * array.shape[0], used + len(rows))
        larger = wp.zeros(size, dtype=array.dtype, device=array.device)
        wp.copy(larger, array, count=used)
        array = larger
    if len(rows):
        there = wp.array(rows, dtype=array.dtype, device=array.device)
        wp.copy(array, there, dest_offset=used)
    return array
