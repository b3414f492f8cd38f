"""Stop lines: what they belong to, which were gone over, when, and how slowly before.

Definitions follow the CARLA leaderboard (scenario_runner, ``atomic_criteria.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.locate import pose_at, to_frenet
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring.area_map import LEVEL
from roadloop.scoring.driven import Driven
from roadloop.types import LightState

Array = np.ndarray

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

RED = (LightState.RED, LightState.RED_YELLOW)
"""Lights at which one stops"""


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


def stop_kinds(road_map: RoadMap) -> Array:
    """(stop lines,) SignalKind of the signal each stop line belongs to."""
    return road_map.signal_kind[road_map.stop_signal]


def check_lights(driven: Driven) -> None:
    """RoadloopError where the rollout lacks the states of the map's lights, or has other ones."""
    road_map, lit = driven.road_map, driven.rollout.lights.shape[1]
    signals = len(road_map.signal_kind)
    if lit != signals and (lit or (stop_kinds(road_map) == SignalKind.TRAFFIC_LIGHT).any()):
        raise RoadloopError(
            f"red lights: rollout.lights has {lit} signals, map {road_map.name} has {signals}; "
            "record the light states of every step"
        )


def crossings(driven: Driven, kind: SignalKind) -> tuple[Crossing, ...]:
    """Every stop line of that kind of signal the ego went over, in order of time.

    Where lanes fork behind one line only the lines of the lane that was then taken count: the lane
    nearest to the path over the next ``FOLLOW`` metres, the route's where several are as near.
    """
    road_map, ego = driven.road_map, driven.rollout.ego
    lines = np.flatnonzero(stop_kinds(road_map) == kind)
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
