"""Finding the place a scenario needs on any map."""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.types import Route


def turn_of(m: RoadMap, lane: int) -> float:
    """rad a lane turns from its start to its end, left positive."""
    heading = np.unwrap(m.point_heading[m.points_of(lane)])
    return float(heading[-1] - heading[0])


def long_lane(m: RoadMap, rng: np.random.Generator, length: float) -> int:
    """A driving lane outside junctions of at least ``length`` m.

    Raises:
        RoadloopError: the map has none.
    """
    lanes = np.flatnonzero(
        (m.lane_kind == LaneKind.DRIVING) & (m.lane_junction < 0) & (m.lane_length >= length)
    )
    if len(lanes) == 0:
        raise _lacks(m, f"a lane of {length:.0f} m without a junction")
    return int(rng.choice(lanes))


def straight_lane(
    m: RoadMap, rng: np.random.Generator, length: float, *, neighbour: bool = False
) -> int:
    """A driving lane outside junctions whose first ``length`` m are straight to 5 cm.

    Args:
        neighbour: only lanes beside one that may be changed to.

    Raises:
        RoadloopError: the map has none.
    """
    free = (m.lane_kind == LaneKind.DRIVING) & (m.lane_junction < 0) & (m.lane_length >= length)
    if neighbour:
        free &= m.lane_change_left | m.lane_change_right
    found = [int(lane) for lane in np.flatnonzero(free) if _strays(m, int(lane), length) < 0.05]
    if not found:
        beside = " beside another one" if neighbour else ""
        raise _lacks(m, f"a straight lane of {length:.0f} m{beside}")
    return int(rng.choice(found))


def _strays(m: RoadMap, lane: int, length: float) -> float:
    """m that a lane's centreline strays from its start's tangent within ``length`` m."""
    rows = m.points_of(lane)
    xy = m.point_xyz[rows, :2][m.point_s[rows] <= length]
    heading = m.point_heading[rows][0]
    off = (xy - xy[0]) @ np.array([-np.sin(heading), np.cos(heading)])
    return float(np.abs(off).max())


def lane_with_neighbour(
    m: RoadMap, rng: np.random.Generator, length: float
) -> tuple[int, int, str]:
    """A lane of ``length`` m, a neighbour that may change into it, and on which side that is."""
    found = []
    for lane in np.flatnonzero(m.is_travel & (m.lane_junction < 0) & (m.lane_length >= length)):
        left, right = int(m.lane_left[lane]), int(m.lane_right[lane])
        if left >= 0 and m.lane_change_right[left]:
            found.append((int(lane), left, "left"))
        if right >= 0 and m.lane_change_left[right]:
            found.append((int(lane), right, "right"))
    if not found:
        raise _lacks(m, f"two lanes side by side of {length:.0f} m")
    return found[rng.integers(len(found))]


def route_through(
    m: RoadMap,
    rng: np.random.Generator,
    lanes: np.ndarray,
    before: float,
    after: float,
    what: str,
    *,
    at: np.ndarray | None = None,
) -> tuple[Route, int]:
    """A route that passes one of ``lanes``, and that lane.

    Args:
        before, after: m to drive before and after the start of the lane (or ``at`` m along it).
        what: how the error calls what the map lacks.
        at: (lanes,) m along each lane where the event is; its start where None.

    Raises:
        RoadloopError: none of the lanes can be reached from 25 m before.
    """
    for pick in rng.permutation(len(lanes)):
        via = int(lanes[pick])
        event = 0.0 if at is None else float(at[pick])
        chain, length = [via], event
        while length < before or m.lane_junction[chain[0]] >= 0:
            options = [p for p in m.predecessors_of(chain[0]) if p not in chain]
            if not options:
                break
            chain.insert(0, int(rng.choice(options)))
            length += float(m.lane_length[chain[0]])
        if length < 25.0 or m.lane_junction[chain[0]] >= 0:
            continue
        beyond = float(m.lane_length[via]) - event
        while beyond < after:
            options = [q for q in m.successors_of(chain[-1]) if q not in chain]
            if not options:
                break
            chain.append(int(rng.choice(options)))
            beyond += float(m.lane_length[chain[-1]])
        last = float(m.lane_length[chain[-1]])
        goal = float(
            np.clip(last - (beyond - after), min(5.0, 0.5 * last), max(last - 6.0, 0.5 * last))
        )
        start = float(np.clip(length - before, 3.0, m.lane_length[chain[0]] - 10.0))
        return Route(np.array(chain, np.int32), start, goal), via
    raise _lacks(m, what)


def _lacks(m: RoadMap, what: str) -> RoadloopError:
    return RoadloopError(
        f"map {m.name} lacks {what}, which this scenario needs: choose another map"
    )
