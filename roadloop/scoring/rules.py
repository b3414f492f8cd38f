"""Rules of the road, measured: road surface, direction of travel, lights, stop signs, speed.

Definitions follow nuPlan (nuplan-devkit, ``evaluation_metrics/common``) and, for lights and stop
signs, the CARLA leaderboard (scenario_runner, ``atomic_criteria.py``), as each function says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.area import lane_polygon
from roadloop.maps.locate import pose_at, to_frenet
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.scoring.driven import LEVEL, Driven

Array = np.ndarray

SURFACE = (
    LaneKind.DRIVING,
    LaneKind.BIDIRECTIONAL,
    LaneKind.SHOULDER,
    LaneKind.PARKING,
    LaneKind.BIKING,
)
"""Lanes a wheel may stand on."""
PAVED_GAP = 2.0
"""m, gaps between the lanes of a junction up to twice this wide are paved"""
ISLAND = 20.0
"""m^2, larger holes in a junction are islands"""
WINDOW = 1.0
"""s, over which movement against the lane adds up (nuPlan)"""
STOP_ZONE = 4.0
"""m before the line in which the front bumper must come to a stop (CARLA leaderboard)"""
STOP_SPEED = 0.1
"""m/s, below this is a stop (CARLA leaderboard)"""
LINE_REACH = 0.6
"""A stop line reaches this share of the lane width to each side (CARLA leaderboard)"""
LINE_NEAR = 20.0
"""m, a line never nearer than this to the bumper at any step was not crossed"""
FOLLOW = 10.0
"""m after a line over which the path tells which of the lanes that start there was taken"""


def distance_off_road(driven: Driven) -> Array:
    """(time,) m the worst corner of the ego's box is outside the drivable surface, 0 inside.

    The surface is the lanes of ``SURFACE``; inside junctions also the ground between them. nuPlan's
    drivable-area compliance allows 0.3 m of this.
    """
    corners = driven.corners.reshape(-1, 2)
    corner, lane, _ = driven.lanes_under(corners, travel_only=False)
    inside = np.zeros(len(corners), dtype=bool)
    inside[corner[np.isin(driven.road_map.lane_kind[lane], SURFACE)]] = True
    distance = np.zeros(len(corners))
    out = np.flatnonzero(~inside)
    if len(out):
        distance[out] = _distance_to_surface(driven.road_map, corners[out])
    return distance.reshape(-1, 4).max(-1)


def _distance_to_surface(road_map: RoadMap, points: Array) -> Array:
    """(n,) m from points (n, 2) to the surface near them, inf where there is none within 30 m."""
    import shapely
    from scipy.spatial import KDTree

    lane_of_point = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))
    rows = np.flatnonzero(np.isin(road_map.lane_kind, SURFACE)[lane_of_point])
    if not len(rows):
        return np.full(len(points), np.inf)
    reach, _ = KDTree(points).query(road_map.point_xyz[rows, :2], distance_upper_bound=30.0)
    near = np.unique(lane_of_point[rows[np.isfinite(reach)]])
    if not len(near):
        return np.full(len(points), np.inf)
    surface = [lane_polygon(road_map, int(lane)) for lane in near]
    for junction in np.unique(road_map.lane_junction[near]):
        if junction >= 0:
            members = np.flatnonzero(road_map.lane_junction == junction)
            members = members[np.isin(road_map.lane_kind[members], SURFACE)]
            surface += _paved([lane_polygon(road_map, int(lane)) for lane in members])
    return np.asarray(shapely.distance(shapely.union_all(surface), shapely.points(points)))


def _paved(strips: list) -> list:
    """The shapely polygons of a junction with narrow and small gaps between its lanes closed."""
    import shapely

    joined = shapely.buffer(shapely.union_all(strips), PAVED_GAP, join_style="mitre")
    closed = shapely.get_parts(shapely.buffer(joined, -PAVED_GAP, join_style="mitre"))
    return [
        shapely.Polygon(
            part.exterior, [hole for hole in part.interiors if shapely.Polygon(hole).area > ISLAND]
        )
        for part in closed
    ]


def metres_against_lane(driven: Driven) -> Array:
    """(time,) m moved against the lane's direction within the last second.

    After nuPlan's driving-direction compliance, where below 2 m nothing is lost and from 6 m
    everything; its window holds both ends of the second, eleven samples at 0.1 s. Unlike there,
    metres driven the right way shortly before do not make up for the others.
    """
    window = round(WINDOW / driven.rollout.dt) + 1
    total = np.cumsum(np.maximum(driven.against_lane, 0.0))
    before = np.concatenate([np.zeros(window), total[:-window]])[: len(total)]
    return total - before


@dataclass(frozen=True)
class Crossing:
    """The front bumper went over a stop line in the direction of travel."""

    step: int
    """the first step beyond the line"""
    line: int
    """index into the map's stop lines"""
    signal: int
    slowest: float
    """m/s, lowest speed while the bumper was in the STOP_ZONE before the line"""


def crossings(driven: Driven, kind: SignalKind) -> tuple[Crossing, ...]:
    """Every stop line of that kind of signal the ego went over, in order of time.

    Where lanes fork behind one line only the lines of the lane that was then taken count: the lane
    nearest to the path over the next ``FOLLOW`` metres, the route's where several are as near.
    """
    road_map, ego = driven.road_map, driven.rollout.ego
    lines = np.flatnonzero(road_map.signal_kind[road_map.stop_signal] == kind)
    poses = np.stack(pose_at(road_map, road_map.stop_lane[lines], road_map.stop_s[lines]), axis=-1)
    away = driven.bumper[:, None] - poses[None, :, :2]
    near = np.hypot(away[..., 0], away[..., 1]).min(axis=0) < LINE_NEAR
    rows = driven.lane_row(road_map.stop_lane[lines], road_map.stop_s[lines])
    found: list[Crossing] = []
    for line, (x, y, z, heading), row in zip(lines[near], poses[near], rows[near]):
        offset = driven.bumper - (x, y)
        along = offset[:, 0] * np.cos(heading) + offset[:, 1] * np.sin(heading)
        lateral = offset[:, 1] * np.cos(heading) - offset[:, 0] * np.sin(heading)
        width = float(road_map.point_width[row])
        over = (along[:-1] < 0.0) & (along[1:] >= 0.0)
        over &= np.abs(lateral[1:]) <= LINE_REACH * width
        over &= np.abs(wrap_angle(ego.heading[1:] - heading)) < np.pi / 3.0
        over &= np.abs(ego.z[1:] - z) < LEVEL
        zone = (along >= -STOP_ZONE) & (along < 0.0) & (np.abs(lateral) <= width)
        for step in (np.flatnonzero(over) + 1).tolist():
            entered = np.flatnonzero(~zone[:step])  # the last step outside the zone
            before = slice(int(entered[-1]) + 1 if len(entered) else 0, step)
            slowest = float(np.abs(ego.speed[before]).min(initial=np.inf))
            slowest = min(slowest, abs(float(ego.speed[step - 1])))
            found.append(Crossing(step, int(line), int(road_map.stop_signal[line]), slowest))
    taken = [crossing for crossing in found if _taken(driven, crossing, found)]
    once: dict[tuple[int, int], Crossing] = {}
    for crossing in sorted(taken, key=lambda c: (c.step, c.line)):
        once.setdefault((crossing.step, crossing.signal), crossing)
    return tuple(once.values())


def _taken(driven: Driven, crossing: Crossing, found: list[Crossing]) -> bool:
    """Whether the ego followed the lane of this line rather than one that forks off beside it."""
    lane_of = driven.road_map.stop_lane
    near = round(1.0 / driven.rollout.dt)
    junction = driven.road_map.lane_junction[lane_of[crossing.line]]
    if junction < 0:
        return True
    rivals = {
        int(lane_of[other.line])
        for other in found
        if abs(other.step - crossing.step) <= near
        and driven.road_map.lane_junction[lane_of[other.line]] == junction
    }
    away = {lane: _deviation(driven, lane, crossing.step) for lane in rivals}
    nearest = [lane for lane in rivals if away[lane] <= min(away.values()) + 0.5]
    on_route = [lane for lane in nearest if lane in driven.rollout.route.lanes]
    return int(lane_of[crossing.line]) in (on_route or nearest)


def _deviation(driven: Driven, lane: int, step: int) -> float:
    """Mean m between the lane's centreline and the bumper over the next FOLLOW metres."""
    path = driven.bumper[step:]
    gone = np.hypot(*(path - path[0]).T)
    path = path[: int(np.argmax(gone > FOLLOW)) or len(path)]
    s, _ = to_frenet(driven.road_map, lane, path[:, 0], path[:, 1])
    x, y, _, _ = pose_at(driven.road_map, lane, s)
    on_lane = s < driven.road_map.lane_length[lane] - 1e-6
    away = np.hypot(path[:, 0] - x, path[:, 1] - y)
    return float(away[on_lane].mean()) if on_lane.any() else float(away[0])


def speed_limit(driven: Driven) -> Array:
    """(time,) m/s, limit of the lane the ego follows, NaN off the lanes."""
    lane = driven.location.lane
    return np.where(lane >= 0, driven.road_map.lane_speed_limit[lane], np.nan)
