"""Routes on the lane graph: shortest, random, how far to go.

Edges lead from a lane to its successors (cost: the lane's length) and to the neighbour a road mark
lets one change to (cost: ``LANE_CHANGE_COST``, more on short lanes). Nobody changes lane inside a
junction.
"""

from __future__ import annotations

import heapq
import weakref
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Route

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

LANE_CHANGE_COST = 30.0
"""m of detour worth avoiding one lane change"""
LANE_CHANGE_LENGTH = 60.0
"""m a relaxed change takes in town (4 s at 50 km/h); the shorter the lane, the higher the cost"""
LANE_CHANGE_ROOM = 10.0
"""m of one lane that must lie between start and goal for a change there to count as possible"""
RANDOM_STARTS = 50
"""start lanes random_route tries before it gives up"""
RANDOM_VISITS = 2000
"""lanes it looks at from one start"""


@dataclass(frozen=True)
class _Graph:
    costs: csr_array
    """(L, L) m, row: from, column: to"""
    follow: list[list[tuple[int, float]]]
    change: list[list[tuple[int, float]]]


_graphs: weakref.WeakKeyDictionary[RoadMap, _Graph] = weakref.WeakKeyDictionary()


def shortest_route(
    road_map: RoadMap, from_lane: int, from_s: float, to_lane: int, to_s: float
) -> Route:
    """The cheapest route from ``from_s`` m along one lane to ``to_s`` m along another.

    Raises RoadloopError where the goal cannot be reached, lies off its lane, or is no travel lane.
    """
    for lane, s in ((from_lane, from_s), (to_lane, to_s)):
        _check_place(road_map, lane, s)
    graph = _graph(road_map)
    share = from_s / road_map.lane_length[from_lane]
    room = road_map.lane_length[from_lane] - from_s
    # states are (lane, whether the first row of neighbours is behind us): a goal beside the start
    # counts only if it lies far enough ahead; else the way leads around
    cost = {(from_lane, False): 0.0}
    came: dict[tuple[int, bool], tuple[int, bool]] = {}
    queue = [(0.0, from_lane, False)]
    while queue:
        spent, lane, moved = heapq.heappop(queue)
        if spent > cost[lane, moved]:
            continue
        if lane == to_lane:
            ahead = (to_s / road_map.lane_length[lane] - share) * road_map.lane_length[lane]
            if moved or ahead >= (0.0 if lane == from_lane else LANE_CHANGE_ROOM):
                return Route(_trace(came, (lane, moved)), float(from_s), float(to_s))
        steps = [(there, price, True) for there, price in graph.follow[lane]]
        if moved or room >= LANE_CHANGE_ROOM:
            steps += [
                (there, price, moved)
                for there, price in graph.change[lane]
                if not (moved and there == to_lane and to_s < LANE_CHANGE_ROOM)
            ]
        for there, price, then in steps:
            if spent + price < cost.get((there, then), np.inf):
                cost[there, then] = spent + price
                came[there, then] = lane, moved
                heapq.heappush(queue, (spent + price, there, then))
    raise RoadloopError(
        f"no route on map {road_map.name} from {road_map.lane_name(from_lane)} (s={from_s:.1f} m) "
        f"to {road_map.lane_name(to_lane)} (s={to_s:.1f} m): choose lanes that `reachable` connects"
    )


def distance_to_lane(road_map: RoadMap, goal_lane: int) -> Array:
    """(L,) m from the start of every lane to the start of ``goal_lane``, inf where there is no way.

    Lane changes count with their cost, see the module's head.
    """
    from scipy.sparse.csgraph import dijkstra

    _check_place(road_map, goal_lane, 0.0)
    return dijkstra(_graph(road_map).costs.T.tocsr(), indices=goal_lane)


def reachable(road_map: RoadMap, lane: int) -> Array:
    """(L,) bool: lanes one can get to from ``lane``, itself included."""
    from scipy.sparse.csgraph import breadth_first_order

    _check_place(road_map, lane, 0.0)
    found = np.zeros(road_map.lanes, bool)
    found[breadth_first_order(_graph(road_map).costs, lane, return_predecessors=False)] = True
    return found


def random_route(
    road_map: RoadMap,
    rng: np.random.Generator,
    *,
    min_length: float,
    max_length: float | None = None,
    start_lane: int | None = None,
) -> Route:
    """A route of ``min_length`` to ``max_length`` m (just the former without the latter).

    It starts and ends outside junctions, starts at a place uniform over all road (or on
    ``start_lane``), visits no lane twice, and changes lane only where it would not get far enough
    otherwise. Raises RoadloopError where no such route is found.
    """
    longest = np.inf if max_length is None else max_length
    if not 0.0 < min_length <= longest:
        raise RoadloopError(
            f"random_route: min_length {min_length} and max_length {max_length} must satisfy "
            "0 < min_length <= max_length"
        )
    if start_lane is None:
        starts = np.flatnonzero(
            road_map.is_travel
            & (road_map.lane_junction < 0)
            & (road_map.lane_length >= 2.0 * LANE_CHANGE_ROOM)
        )
        if len(starts):
            share = road_map.lane_length[starts] / road_map.lane_length[starts].sum()
            tries = min(RANDOM_STARTS, len(starts))
            starts = rng.choice(starts, size=tries, replace=False, p=share)
    else:
        _check_place(road_map, start_lane, 0.0)
        starts = np.array([start_lane])
    target = min_length if max_length is None else rng.uniform(min_length, max_length)
    for change in (False, True):
        for lane in starts:
            edge = min(LANE_CHANGE_ROOM / 2.0, road_map.lane_length[lane] / 4.0)
            start_s = rng.uniform(edge, road_map.lane_length[lane] - edge)
            found = _random_walk(
                road_map, rng, int(lane), start_s, (min_length, target, longest), change
            )
            if found is not None:
                return found
    where = "any lane" if start_lane is None else road_map.lane_name(start_lane)
    raise RoadloopError(
        f"no route of {min_length:.0f} m found on map {road_map.name} from {where}: "
        "ask for a shorter one or start elsewhere"
    )


def route_length(road_map: RoadMap, route: Route) -> float:
    """m along the route; a row of neighbours counts once, with its last lane's length."""
    total = 0.0
    sections = route_sections(road_map, route)
    for k, lanes in enumerate(sections):
        begin = route.start_s / road_map.lane_length[lanes[0]] if k == 0 else 0.0
        length = road_map.lane_length[lanes[-1]]
        end = route.goal_s if k == len(sections) - 1 else length
        total += end - begin * length
    return float(total)


def route_sections(road_map: RoadMap, route: Route) -> list[list[int]]:
    """The route's lanes in rows of neighbours: lane changes happen within a row.

    Raises RoadloopError where two consecutive lanes are neither successors nor neighbours.
    """
    if len(route.lanes) == 0:
        raise RoadloopError("route without lanes: a route needs at least one")
    lanes = [int(lane) for lane in route.lanes]
    for lane, s in ((lanes[0], route.start_s), (lanes[-1], route.goal_s)):
        _check_place(road_map, lane, s)
    sections = [[lanes[0]]]
    for lane, following in pairwise(lanes):
        if following in road_map.successors_of(lane):
            sections.append([following])
        elif following >= 0 and following in (road_map.lane_left[lane], road_map.lane_right[lane]):
            sections[-1].append(following)
        else:
            _check_place(road_map, following, 0.0)
            raise RoadloopError(
                f"route on map {road_map.name}: {road_map.lane_name(following)} neither follows "
                f"nor lies beside {road_map.lane_name(lane)}; plan it with shortest_route"
            )
    return sections


def _random_walk(
    road_map: RoadMap,
    rng: np.random.Generator,
    start: int,
    start_s: float,
    lengths: tuple[float, float, float],
    change: bool,
) -> Route | None:
    """Depth first from ``start`` along random successors until a goal outside junctions fits."""
    graph, (shortest, target, longest) = _graph(road_map), lengths
    path: list[int] = []
    stack = [(0, start, -start_s)]  # depth, lane, m from the route's start to the lane's start
    for _ in range(RANDOM_VISITS):
        if not stack:
            return None
        depth, lane, before = stack.pop()
        del path[depth:]
        if lane in path:
            continue
        path.append(lane)
        length = road_map.lane_length[lane]
        if before > longest:
            continue
        if before + length >= target and road_map.lane_junction[lane] < 0:
            goal_s = float(np.clip(target - before, min(LANE_CHANGE_ROOM / 2.0, length), length))
            if shortest <= before + goal_s <= longest:
                route = Route(np.array(path, np.int32), float(start_s), goal_s)
                if _changes_fit(road_map, route):
                    return route
        options = [(depth + 1, there, before + length) for there, _ in graph.follow[lane]]
        if change and length >= LANE_CHANGE_LENGTH:
            options += [(depth + 1, there, before) for there, _ in graph.change[lane]]
        follows = len(graph.follow[lane])
        order = [*rng.permutation(follows), *range(follows, len(options))]
        stack += [options[k] for k in reversed(order)]  # successors first, neighbours last
    return None


def _changes_fit(road_map: RoadMap, route: Route) -> bool:
    """Whether there is room for the lane changes in the route's first and last row."""
    sections = route_sections(road_map, route)
    start = route.start_s if len(sections[0]) > 1 else 0.0
    first_room = road_map.lane_length[sections[0][-1]] - start
    last_room = route.goal_s - (start if len(sections) == 1 else 0.0)
    return first_room >= LANE_CHANGE_ROOM * (
        len(sections[0]) - 1
    ) and last_room >= LANE_CHANGE_ROOM * (len(sections[-1]) - 1)


def _check_place(road_map: RoadMap, lane: int, s: float) -> None:
    if not 0 <= lane < road_map.lanes:
        raise RoadloopError(
            f"lane {lane} is not on map {road_map.name}, which has lanes 0 to {road_map.lanes - 1}"
        )
    if not road_map.is_travel[lane]:
        raise RoadloopError(f"{road_map.lane_name(lane)} is no lane to drive on: choose another")
    if not -1e-6 <= s <= road_map.lane_length[lane] + 1e-6:
        raise RoadloopError(
            f"s={s:.2f} m is not on {road_map.lane_name(lane)}, which is "
            f"{road_map.lane_length[lane]:.2f} m long"
        )


def _trace(came: dict[tuple[int, bool], tuple[int, bool]], state: tuple[int, bool]) -> Array:
    lanes = [state[0]]
    while state in came:
        state = came[state]
        lanes.append(state[0])
    return np.array(lanes[::-1], np.int32)


def _graph(road_map: RoadMap) -> _Graph:
    graph = _graphs.get(road_map)
    if graph is not None:
        return graph
    from scipy.sparse import csr_array

    travel, count = road_map.is_travel, road_map.lanes
    begin = np.repeat(np.arange(count), np.diff(road_map.successor_start))
    keep = travel[begin] & travel[road_map.successor]
    begin, end = begin[keep], road_map.successor[keep].astype(np.int64)
    follow_cost = road_map.lane_length[begin]
    sides = (
        (road_map.lane_left, road_map.lane_change_left),
        (road_map.lane_right, road_map.lane_change_right),
    )
    lanes = [
        np.flatnonzero(travel & allowed & (side >= 0) & (road_map.lane_junction < 0))
        for side, allowed in sides
    ]
    change_begin = np.concatenate(lanes)
    change_end = np.concatenate([side[on] for (side, _), on in zip(sides, lanes, strict=True)])
    short = LANE_CHANGE_LENGTH / road_map.lane_length[change_begin]
    change_cost = LANE_CHANGE_COST * np.maximum(1.0, short)
    follow: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    change: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for edges, table in (
        ((begin, end, follow_cost), follow),
        ((change_begin, change_end, change_cost), change),
    ):
        for one, there, price in zip(*(column.tolist() for column in edges), strict=True):
            table[one].append((there, price))
    one = np.concatenate([begin, change_begin])
    there = np.concatenate([end, change_end])
    price = np.concatenate([follow_cost, change_cost])
    _, unique = np.unique(one * count + there, return_index=True)  # csr would add up duplicates
    costs = csr_array((price[unique], (one[unique], there[unique])), shape=(count, count))
    graph = _graphs[road_map] = _Graph(costs, follow, change)
    return graph
