"""Ego and road users along the ego's route: who is ahead, how far, how far to the side, how fast.

Frenet coordinates on the route's curve (``roadloop.maps.path``). What lies beyond the route's ends
is placed on the straight continuation of its end.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.path import HINT_REACH, Path
from roadloop.scoring.area_map import LEVEL
from roadloop.scoring.driven import Driven

Array = np.ndarray

ALIGNED = np.deg2rad(45.0)
"""A road user within this angle of the route drives along it, beyond 180 degrees less it against"""
BESIDE_ROUTE = 15.0
"""m to the side of the route up to which road users are placed: three lanes and a half"""
STRETCH = 20.0
"""m driven between two looks at where on the route the ego is, less than `HINT_REACH`"""
BEYOND_ENDS = 50.0
"""m before its start and past its goal up to which the route is continued straight on"""


@dataclass(frozen=True)
class RouteFrame:
    """Fields ``(time, agents)``, those of the ego ``(time,)``; numbers mean nothing where not
    ``placed``."""

    placed: Array
    """bool: the agent is there, on the route's level and near the route"""
    ahead: Array
    """m along the route from box centre to box centre, negative for who is behind the ego"""
    gap: Array
    """m between the bumpers along the route, below 0 where the boxes are side by side"""
    left: Array
    """m from the ego's box centre to the agent's, to the left of the route"""
    lateral_gap: Array
    """m between the sides across the route, below 0 where one is in the other's way"""
    speed_along: Array
    """m/s along the route"""
    speed_left: Array
    """m/s across the route"""
    direction: Array
    """int8, 1: heads along the route, -1: against it, 0: across"""
    in_junction: Array
    """bool: the route passes a junction beside the agent"""
    ego_speed_along: Array
    ego_speed_left: Array


def route_frame(driven: Driven) -> RouteFrame:
    """Everybody of a rollout in the frame of its route.

    The ego is followed along the route, so that one that meets itself is no trouble; who is nearer
    to it than `HINT_REACH` is looked for near it. Computed once per ``driven``.
    """
    if driven not in _frames:
        _frames[driven] = _placed(driven)
    return _frames[driven]


_frames: weakref.WeakKeyDictionary[Driven, RouteFrame] = weakref.WeakKeyDictionary()


def _placed(driven: Driven) -> RouteFrame:
    ego, agents = driven.rollout.ego, driven.rollout.agents
    path = driven.route_path
    x, y = driven.centre.T
    ego_s, ego_d = _follow(path, x, y)
    here = path.at(ego_s)
    turned = wrap_angle(ego.heading - here.heading)
    ego_half = _half_extents(turned, ego.vehicle.length, ego.vehicle.width)

    step, column = np.nonzero(agents.valid)
    reach = _near_route(path, agents.x[step, column], agents.y[step, column])
    step, column = step[reach], column[reach]
    ax, ay = agents.x[step, column], agents.y[step, column]
    near = np.hypot(ax - x[step], ay - y[step]) < HINT_REACH
    s, d = np.empty(len(step)), np.empty(len(step))
    s[near], d[near] = _project(path, ax[near], ay[near], ego_s[step[near]])
    s[~near], d[~near] = _project(path, ax[~near], ay[~near], None)
    there = path.at(s)
    angle = wrap_angle(agents.heading[step, column] - there.heading)
    half = _half_extents(angle, agents.length[step, column], agents.width[step, column])
    cos, sin = np.cos(there.heading), np.sin(there.heading)
    vx, vy = agents.vx[step, column], agents.vy[step, column]
    level = np.abs(agents.z[step, column] - there.z) < LEVEL
    inside = (s > -BEYOND_ENDS) & (s < path.length + BEYOND_ENDS) & (np.abs(d) < BESIDE_ROUTE)
    ahead, left = s - ego_s[step], d - ego_d[step]
    heading_along = np.abs(angle) < ALIGNED
    direction = heading_along.astype(np.int8) - (np.abs(angle) > np.pi - ALIGNED)

    def table(values: Array, empty: float) -> Array:
        full = np.full(agents.valid.shape, empty, dtype=values.dtype)
        full[step, column] = values
        return full

    return RouteFrame(
        placed=table(level & inside, False),
        ahead=table(ahead, 0.0),
        gap=table(np.abs(ahead) - half[0] - ego_half[0][step], 0.0),
        left=table(left, 0.0),
        lateral_gap=table(np.abs(left) - half[1] - ego_half[1][step], 0.0),
        speed_along=table(cos * vx + sin * vy, 0.0),
        speed_left=table(cos * vy - sin * vx, 0.0),
        direction=table(direction, 0),
        in_junction=table(driven.road_map.lane_junction[there.lane] >= 0, False),
        ego_speed_along=ego.speed * np.cos(turned),
        ego_speed_left=ego.speed * np.sin(turned),
    )


def _near_route(path: Path, x: Array, y: Array) -> Array:
    """(n,) bool, who may be in reach of the route: a coarse look that spares the many who are not.

    Nobody beside the route or beyond its ends is further than this from the nearest of every
    eighth point of it.
    """
    from scipy.spatial import KDTree

    reach = np.hypot(BEYOND_ENDS, BESIDE_ROUTE) + 8.0 * path.length / (len(path.s) - 1)
    tree = KDTree(path.xyz[::8, :2])
    return np.isfinite(tree.query(np.column_stack([x, y]), distance_upper_bound=reach)[0])


def _follow(path: Path, x: Array, y: Array) -> tuple[Array, Array]:
    """(time,) m along the path and left of it, each stretch looked for near the one before.

    Where the ego has left the route it is looked for all along it.
    """
    s, d = np.empty(len(x)), np.empty(len(x))
    gone = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
    stretches = np.flatnonzero(np.diff(gone // STRETCH)) + 1
    hint: float | None = None
    for steps in np.split(np.arange(len(x)), stretches):
        near = None if hint is None else np.full(len(steps), hint)
        s[steps], d[steps] = _project(path, x[steps], y[steps], near)
        away = np.abs(d[steps]) > BESIDE_ROUTE
        s[steps[away]], d[steps[away]] = _project(path, x[steps[away]], y[steps[away]], None)
        hint = float(np.clip(s[steps[-1]], 0.0, path.length))
    return s, d


def _project(path: Path, x: Array, y: Array, hint: Array | None) -> tuple[Array, Array]:
    """``Path.project`` with the ends continued straight on; each ``(n,)``."""
    if hint is not None:
        hint = np.clip(hint, 0.0, path.length)
    s, d = path.project(x, y, hint=hint)
    for end, sign in ((0, -1.0), (-1, 1.0)):
        c, k = np.cos(path.heading[end]), np.sin(path.heading[end])
        along = c * (x - path.xyz[end, 0]) + k * (y - path.xyz[end, 1])
        beyond = (np.abs(s - path.s[end]) < 1e-9) & (sign * along > 0.0)
        s = np.where(beyond, path.s[end] + along, s)
    return s, d


def _half_extents(angle: Array, length: Array | float, width: Array | float) -> tuple[Array, Array]:
    """Half of what a box turned by ``angle`` covers along and across, m."""
    c, k = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    return (length * c + width * k) / 2.0, (length * k + width * c) / 2.0
