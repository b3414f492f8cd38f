"""Map matching: which lanes a recorded drive followed, as a route of the lane graph.

A hidden Markov model over places along the drive, as in Newson and Krumm, Hidden Markov map
matching through noise and sparseness, ACM GIS 2009: every place has the lanes it may be on, dearer
the further off and the more askew; from place to place one may follow successors, and change to a
neighbour for a price. The cheapest sequence is the route.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.locate import from_frenet, pose_at, to_frenet
from roadloop.maps.road_map import RoadMap
from roadloop.types import Route

Array = np.ndarray

STRIDE = 3.0
"""m driven between two places looked at"""
REACH = 4.0
"""m from a lane's centreline within which a place may be on it"""
ASKEW = 1.2
"""rad, a drive that crosses lanes more askew than this is not on them"""
LEVEL = 3.0
"""m of height between two roads that are on different levels"""
CHANGE = 4.0
"""price of a lane change, in m^2 aside"""
GAP = 25.0
"""m of drive that may be on no lane (a map's hole, a swerve) within one route"""


@dataclass(frozen=True)
class Matched:
    """A drive on the lane graph."""

    route: Route
    first: int
    """row of the drive at which the route begins"""
    last: int
    """row at which it ends"""


def match_drive(
    road_map: RoadMap, x: Array, y: Array, heading: Array, z: Array | None = None
) -> Matched:
    """The longest stretch of a drive (n,) that the lane graph can follow.

    Args:
        x, y: m, on the vehicle's middle line, in driving order.
        heading: rad, of the vehicle.
        z: m, ground height; tells the levels of a bridge apart.

    Raises:
        RoadloopError: the drive is on no lane of the map at all.
    """
    rows = _places(x, y)
    options = _options(road_map, x[rows], y[rows], heading[rows], None if z is None else z[rows])
    runs = list(_runs(road_map, np.stack([x[rows], y[rows]], axis=-1), options))
    if not runs:
        raise RoadloopError(
            f"the drive from ({x[0]:.1f}, {y[0]:.1f}) is on no lane of map {road_map.name}: none "
            f"passes within {REACH:g} m of it{' and of its height' if z is not None else ''}, "
            "in its direction"
        )
    places, lanes = max(runs, key=lambda run: (len(run[0]), -run[0][0]))
    route = _route(road_map, places, lanes, options)
    return Matched(route, int(rows[places[0]]), int(rows[places[-1]]))


def extended(road_map: RoadMap, route: Route, by: float) -> Route:
    """The route ``by`` m longer, straight on, as far as the map goes."""
    lanes, goal = [int(lane) for lane in route.lanes], float(route.goal_s)
    while by > 0.0:
        room = float(road_map.lane_length[lanes[-1]]) - goal
        if room >= by:
            return Route(np.array(lanes, np.int32), route.start_s, goal + by)
        by, goal = by - room, float(road_map.lane_length[lanes[-1]])
        onward = [n for n in road_map.successors_of(lanes[-1]) if n not in lanes]
        onward = [int(n) for n in onward if road_map.is_travel[n]]
        if not onward:
            break
        end = road_map.point_heading[road_map.point_start[lanes[-1] + 1] - 1]
        ends = road_map.point_heading[road_map.point_start[np.array(onward) + 1] - 1]
        lanes.append(onward[int(np.argmin(np.abs(wrap_angle(ends - end))))])
        goal = 0.0
    return Route(np.array(lanes, np.int32), route.start_s, goal)


def _places(x: Array, y: Array) -> Array:
    """Rows about ``STRIDE`` m of drive apart, the first and last one among them."""
    kept, anchor = [0], 0
    for k in range(1, len(x)):
        if np.hypot(x[k] - x[anchor], y[k] - y[anchor]) >= STRIDE:
            kept.append(k)
            anchor = k
    if kept[-1] != len(x) - 1 and np.hypot(x[-1] - x[anchor], y[-1] - y[anchor]) > 0.5:
        kept.append(len(x) - 1)
    return np.array(kept)


def _options(
    road_map: RoadMap, x: Array, y: Array, heading: Array, z: Array | None
) -> list[dict[int, tuple[float, float]]]:
    """Per place the lanes it may be on: price and s."""
    from scipy.spatial import KDTree

    travel = np.flatnonzero(np.repeat(road_map.is_travel, np.diff(road_map.point_start)))
    lane_of = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))[travel]
    tree = KDTree(road_map.point_xyz[travel, :2])
    found = []
    for k, near in enumerate(tree.query_ball_point(np.stack([x, y], axis=-1), REACH + 0.3)):
        lanes = np.unique(lane_of[near])
        if not len(lanes):
            found.append({})
            continue
        s, _ = to_frenet(road_map, lanes, x[k], y[k])
        cx, cy, course = from_frenet(road_map, lanes, s, 0.0)
        apart = np.hypot(cx - x[k], cy - y[k])
        askew = np.abs(wrap_angle(course - heading[k]))
        fits = (apart <= REACH) & (askew <= ASKEW)
        if z is not None:
            height = pose_at(road_map, lanes, s)[2]
            fits &= np.abs(height - z[k]) < LEVEL
        price = apart**2 + (2.0 * askew) ** 2
        found.append({int(lanes[i]): (float(price[i]), float(s[i])) for i in np.flatnonzero(fits)})
    return found


def _runs(
    road_map: RoadMap, xy: Array, options: list[dict[int, tuple[float, float]]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Stretches of places that one route can follow, with the cheapest lane of each."""
    places: list[int] = []
    best: list[dict[int, tuple[float, int]]] = []  # per place: lane -> price so far, lane before
    for k, here in enumerate(options):
        if not here:
            continue
        step: dict[int, tuple[float, int]] = {}
        if places:
            driven = float(np.linalg.norm(np.diff(xy[places[-1] : k + 1], axis=0), axis=1).sum())
            if driven <= GAP:
                step = _follow(road_map, best[-1], options[places[-1]], here, driven)
        if not step:
            if places:
                yield places, _back(best)
            places, best = [], []
            step = {lane: (price, -1) for lane, (price, _) in here.items()}
        places.append(k)
        best.append(step)
    if places:
        yield places, _back(best)


def _follow(
    road_map: RoadMap,
    before: dict[int, tuple[float, int]],
    was: dict[int, tuple[float, float]],
    here: dict[int, tuple[float, float]],
    driven: float,
) -> dict[int, tuple[float, int]]:
    """Lane -> price and lane before, of those that can be reached in about ``driven`` m."""
    step: dict[int, tuple[float, int]] = {}
    for lane, (spent, _) in before.items():
        s = was[lane][1]
        for there, (length, price) in _reach(road_map, lane, s, driven + 15.0).items():
            if there not in here:
                continue
            own, place = here[there]
            astray = abs(length + place - driven)  # m by which the lanes are longer or shorter
            if astray > 10.0:
                continue
            total = spent + own + price + 0.1 * astray
            if there not in step or total < step[there][0]:
                step[there] = (total, lane)
    return step


def _reach(road_map: RoadMap, lane: int, s: float, within: float) -> dict[int, tuple[float, float]]:
    """Lanes one may get to: m from here to their start (negative: it lies behind), and the price.

    One lane change between two places, to a neighbour of any lane on the way.
    """
    found = {lane: (-s, 0.0)}
    queue = [(lane, -s, 0.0)]
    while queue:
        at, start, price = queue.pop()
        onward = [
            (int(n), start + float(road_map.lane_length[at]), price)
            for n in road_map.successors_of(at)
        ]
        if price == 0.0:
            share = start / float(road_map.lane_length[at])
            beside = (int(road_map.lane_left[at]), int(road_map.lane_right[at]))
            onward += [
                (n, share * float(road_map.lane_length[n]), CHANGE) for n in beside if n >= 0
            ]
        for there, begin, cost in onward:
            dearer = there in found and cost >= found[there][1]
            if begin <= within and road_map.is_travel[there] and not dearer:
                found[there] = (begin, cost)
                queue.append((there, begin, cost))
    return found


def _back(best: list[dict[int, tuple[float, int]]]) -> list[int]:
    """The cheapest lanes, last to first and turned round."""
    lane = min(best[-1], key=lambda q: (best[-1][q][0], q))
    lanes = [lane]
    for step in reversed(best[1:]):
        lane = step[lane][1]
        lanes.append(lane)
    return lanes[::-1]


def _route(
    road_map: RoadMap,
    places: list[int],
    lanes: list[int],
    options: list[dict[int, tuple[float, float]]],
) -> Route:
    """Lanes in driving order with those that were passed between two places."""
    full = [lanes[0]]
    for lane, following in pairwise(lanes):
        if following != lane:
            full += _between(road_map, lane, following)
    start = options[places[0]][lanes[0]][1]
    goal = options[places[-1]][lanes[-1]][1]
    if len(full) == 1:
        goal = max(goal, min(start + 0.5, float(road_map.lane_length[full[0]])))
        start = min(start, goal - 0.5)
    return Route(np.array(full, np.int32), max(start, 0.0), goal)


def _between(road_map: RoadMap, lane: int, goal: int) -> list[int]:
    """Lanes after ``lane`` up to ``goal``: by the fewest lanes, successors before neighbours."""
    came = {lane: -1}
    queue = [lane]
    for at in queue:
        if at == goal:
            break
        beside = (int(road_map.lane_left[at]), int(road_map.lane_right[at]))
        for there in (*map(int, road_map.successors_of(at)), *(n for n in beside if n >= 0)):
            if there not in came and road_map.is_travel[there]:
                came[there] = at
                queue.append(there)
    path = []
    at = goal
    while at != lane:
        path.append(at)
        at = came[at]
    return path[::-1]
