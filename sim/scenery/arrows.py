"""Arrows on lanes that part before a junction: where each may go, painted on the road."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap

Array = np.ndarray

BACK = (9.0, 34.0)
"""m from the end of the lane to the middle of its arrows"""
ROOM = 6.0
"""m of lane an arrow takes, with some to spare"""
TURN = 0.6
"""rad, a way through the junction that bends by more is a turn"""
SHAFT, HEAD = 0.09, 0.38
"""m, half the width of the shaft and of the head; the arrow is 5 m long"""


def turn_arrows(road_map: RoadMap) -> Array:
    """(n, 4, 3) m quadrilaterals, counter-clockwise, at the height of the lane's centreline.

    Where a carriageway of several lanes ends at a junction and not all go straight on.
    """
    ways: dict[int, frozenset[int]] = {}
    of_carriageway: dict[tuple[str, int, bool], set[int]] = {}
    alone = (road_map.lane_left < 0) & (road_map.lane_right < 0)
    for lane in np.flatnonzero(road_map.is_travel & (road_map.lane_junction < 0) & ~alone).tolist():
        ahead = road_map.successors_of(lane)
        ahead = ahead[road_map.lane_junction[ahead] >= 0]
        if len(ahead):
            ways[lane] = frozenset(_direction(road_map, int(way)) for way in ahead)
            of_carriageway.setdefault(_carriageway(road_map, lane), set()).update(ways[lane])
    arrows = [np.zeros((0, 4, 3))]
    for lane, directions in ways.items():
        if of_carriageway[_carriageway(road_map, lane)] == {0}:
            continue
        for back in BACK:
            if road_map.lane_length[lane] > back + ROOM / 2.0:
                shape = np.concatenate(_shape(directions))
                arrows.append(_on_lane(road_map, lane, shape, road_map.lane_length[lane] - back))
    return np.concatenate(arrows)


def _carriageway(road_map: RoadMap, lane: int) -> tuple[str, int, bool]:
    """What the lanes of one direction of a road have in common."""
    number = int(road_map.lane_number[lane])
    return str(road_map.lane_road[lane]), int(road_map.lane_section[lane]), number > 0


def _direction(road_map: RoadMap, lane: int) -> int:
    """1: the junction lane turns left, -1: right, 0: neither."""
    heading = np.unwrap(road_map.point_heading[road_map.points_of(lane)])
    bend = heading[-1] - heading[0]
    return int(np.sign(bend)) if abs(bend) > TURN else 0


def _shape(directions: frozenset[int]) -> list[Array]:
    """(n, 4, 2) quadrilaterals of an arrow, m, x ahead and y to the left of its middle."""
    parts = []
    if 0 in directions:
        parts += [_path([(-2.5, 0.0), (0.9, 0.0)]), _head((0.9, 0.0), (1.0, 0.0), 1.6)]
    # beside a straight arrow the turn leaves the shaft halfway
    begin, bend = (-0.9, -0.9) if 0 in directions else (-2.5, 0.3)
    for side in sorted(directions - {0}):
        points = [(begin, 0.0), (bend, 0.0), (bend + 0.45, 0.25 * side), (bend + 0.6, 0.65 * side)]
        parts += [_path(points[1:] if begin == bend else points)]
        parts += [_head(points[-1], (0.0, float(side)), 0.8)]
    return parts


def _path(points: list[tuple[float, float]]) -> Array:
    """(n - 1, 4, 2) a line of shaft width through the points."""
    p = np.array(points)
    along = np.gradient(p, axis=0)
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    left = SHAFT * np.stack([-along[:, 1], along[:, 0]], axis=1)
    right, left = p - left, p + left
    return np.stack([right[:-1], right[1:], left[1:], left[:-1]], axis=1)


def _head(base: tuple[float, float], ahead: tuple[float, float], length: float) -> Array:
    """(1, 4, 2) the tip of an arrow."""
    middle, forward = np.array(base), np.array(ahead)
    left = HEAD * np.array([-forward[1], forward[0]])
    return np.stack([middle, middle - left, middle + length * forward, middle + left])[None]


def _on_lane(road_map: RoadMap, lane: int, shape: Array, s: float) -> Array:
    """``shape`` (n, 4, 2) bent along a lane, its middle at arc length s: (n, 4, 3)."""
    rows = road_map.points_of(lane)
    at, along = s + shape[..., 0], road_map.point_s[rows]
    heading = np.interp(at, along, np.unwrap(road_map.point_heading[rows]))
    point = [np.interp(at, along, road_map.point_xyz[rows, k]) for k in range(3)]
    x = point[0] - np.sin(heading) * shape[..., 1]
    y = point[1] + np.cos(heading) * shape[..., 1]
    return np.stack([x, y, point[2]], axis=-1)
