"""How far a drive got: along its lanes, against them, and along a route of roadblocks.

After nuplan-devkit 1.2.2, ``metrics/evaluation_metrics/common``: ``driving_direction_compliance``,
``ego_progress_along_expert_route`` and the route functions of ``metrics/utils/route_extractor``.
Lane sets are those of ``roadloop.scoring.nuplan_lanes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.area_map import AreaMap
from roadloop.scoring.nuplan_lanes import LaneSet

Array = np.ndarray

WINDOW = 1.0
"""s, over which movement along the lane adds up; both ends count, eleven samples at 0.1 s"""
AGAINST_PARTLY, AGAINST_FULLY = 2.0, 6.0
"""m within the window against the lane from which driving direction scores 0.5 and 0"""
LEAST_PROGRESS = 2.0
"""m, progress below this counts as this much (nuPlan's configuration; its pages say 0.1)"""


def progress_along_lane(area_map: AreaMap, points: Array, route: list[LaneSet]) -> Array:
    """(time,) m moved along the lane of each sample since the sample before; ``points`` (time, 2).

    0 in the first sample on a lane and in the next, which is the first with one to compare with;
    0 off the lanes, where the lane and the place on it are remembered.
    """
    along = np.zeros(len(points))
    lane = route[0][0] if route and route[0] else -1
    before: float | None = None
    place = _places(area_map, points, route)
    for k, lanes in enumerate(route):
        if not lanes:
            continue
        if lanes[0] != lane:
            lane, before = lanes[0], None
            continue
        if before is not None and place[k] > 0.0:
            along[k] = place[k] - before
        before = float(place[k])
    return along


def _places(area_map: AreaMap, points: Array, route: list[LaneSet]) -> Array:
    """(time,) m along the centreline of each sample's lane, NaN off the lanes."""
    import shapely

    first = np.array([lanes[0] if lanes else -1 for lanes in route], dtype=np.int64)
    place = np.full(len(points), np.nan)
    for lane in np.unique(first[first >= 0]).tolist():
        rows = first == lane
        line = shapely.LineString(area_map.baseline_of(lane))
        place[rows] = shapely.line_locate_point(line, shapely.points(points[rows]))
    return place


def progress_within_window(along: Array, dt: float) -> Array:
    """(time,) m along the lane within the last second, of ``progress_along_lane`` (time,)."""
    samples = int(WINDOW / dt + 1e-9) + 1
    padded = np.concatenate([np.zeros(samples - 1), along])
    return np.lib.stride_tricks.sliding_window_view(padded, samples).sum(axis=1)


def metres_against_lane(along: Array, dt: float, make_up: bool = True) -> Array:
    """(time,) m moved against the lane within the last second, at least 0.

    ``make_up``: metres driven the right way in the same second make up for it, as in nuPlan.
    """
    counted = along if make_up else np.minimum(along, 0.0)
    return np.maximum(-progress_within_window(counted, dt), 0.0)


def driving_direction_score(against: Array) -> float:
    """1, 0.5 or 0 by the worst of ``metres_against_lane`` (time,)."""
    worst = float(against.max(initial=0.0))
    return 1.0 if worst < AGAINST_PARTLY else 0.5 if worst < AGAINST_FULLY else 0.0


@dataclass(frozen=True)
class RouteChain:
    """A route as roadblocks in driving order, each with one centreline to measure along."""

    roadblock: tuple[Any, ...]
    """shapely polygons"""
    baseline: tuple[Any, ...]
    """shapely lines"""


def simplified_route(route: list[LaneSet]) -> list[LaneSet]:
    """The lane sets that have no lane in common with the last one kept, empty ones left out."""
    kept: list[LaneSet] = []
    for lanes in route:
        if lanes and not (kept and set(lanes) & set(kept[-1])):
            kept.append(lanes)
    return kept


def route_chain(area_map: AreaMap, route: list[LaneSet]) -> RouteChain:
    """The roadblocks of a driven route, each with the centreline of the lane first driven on it."""
    import shapely

    roadblocks: list[int] = []
    lanes: list[int] = []
    for lane in (found[0] for found in simplified_route(route)):
        block = int(area_map.lane_roadblock[lane])
        if not roadblocks or roadblocks[-1] != block:
            roadblocks.append(block)
            lanes.append(lane)
    return RouteChain(
        tuple(area_map.roadblock_polygon(block) for block in roadblocks),
        tuple(shapely.LineString(area_map.baseline_of(lane)) for lane in lanes),
    )


def progress_along_chain(chain: RouteChain, points: Array) -> Array:
    """(time,) m along the chain gained at each sample of ``points`` (time, 2), 0 at the first.

    Within a roadblock it is the change of arc length. Entering a later one adds what was left of
    the old, the way into the new from where the old one ends, and the length of those between;
    places on no roadblock from the present one on add nothing. Where the drive begins it is taken
    to be on the first roadblock.
    """
    import shapely

    if not chain.baseline:
        raise RoadloopError("progress: the route has no roadblock to measure along")
    gained = np.zeros(len(points))
    if not len(points):
        return gained
    block = np.array(chain.roadblock, dtype=object)
    shapely.prepare(block)
    inside = np.stack([shapely.contains_xy(polygon, *points.T) for polygon in block])
    inside[0, 0] = True
    lines = chain.baseline
    first = [shapely.get_point(line, 0) for line in lines]
    last = [shapely.get_point(line, -1) for line in lines]
    at = np.zeros(inside.shape)  # m along each line, where the point is in its roadblock
    for line, places, rows in zip(lines, at, inside):
        places[rows] = shapely.line_locate_point(line, shapely.points(points[rows]))

    def locate(line: int, point: Any) -> float:
        return float(shapely.line_locate_point(lines[line], point))

    now, before = 0, float(at[0, 0])
    for k in range(1, len(points)):
        if inside[now, k]:
            gained[k] = at[now, k] - before
            before = float(at[now, k])
            continue
        later = np.flatnonzero(inside[now + 1 :, k])
        if not len(later):
            continue
        reached = now + 1 + int(later[0])
        skipped = 0.0
        for between in range(now + 1, reached):
            skipped += locate(between, first[between + 1]) - locate(between, last[between - 1])
        rest = lines[now].length - before
        gained[k] = rest + at[reached, k] - locate(reached, last[now]) + skipped
        now, before = reached, float(at[reached, k])
    return gained


def progress_ratio(ego: float, expert: float) -> float:
    """Share in [0, 1] of the expert's m the ego gained, 0 where it went clearly backwards."""
    if ego < -LEAST_PROGRESS:
        return 0.0
    return min(1.0, max(ego, LEAST_PROGRESS) / max(expert, LEAST_PROGRESS))
