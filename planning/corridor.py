"""Road users seen from the ego's path: where their boxes lie along it, when they are in the way.

Frenet coordinates on the path (``s`` m along, ``d`` m to the left). Agents are predicted with
constant velocity *in Frenet coordinates*: a car that follows the same bend keeps its ``d``, a
crossing one changes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

LEVEL_GAP = 3.0
"""m of height difference from which a road user is on another level (bridge, underpass)"""
VEHICLE_FORESIGHT = 1.6
"""s a vehicle's sideways motion is believed: a car braking comfortably for its stop line, 5 m or
more from the corridor, stays longer than this away from it"""
WALKER_FORESIGHT = 3.5
"""s a pedestrian's or cyclist's sideways motion is believed"""
CUT_IN_SPEED = 0.8
"""m/s: a vehicle that has begun to drift sideways will soon do so at least this fast: lane changes
begin slowly, and the ego would see them too late"""
SLOW_ACROSS = 0.15
"""m/s of sideways speed below which a road user counts as keeping its lateral place"""


@dataclass(frozen=True)
class PathWindow:
    """The stretch of path around the ego; fields ``(points,)``, evenly spaced along ``s``."""

    s: Array
    x: Array
    y: Array
    z: Array
    heading: Array
    """unwrapped, rad"""
    curvature: Array
    """1/m, left positive"""

    def project(
        self, x: Array, y: Array, near: Array | None = None, reach: float = 0.0
    ) -> tuple[Array, Array, Array]:
        """Nearest point index, ``s`` and ``d`` of points ``(...)``; each ``(...)``.

        With ``near`` ``(...)``, which may have fewer dimensions in front, only samples up to
        ``reach`` m along the path from those indices are looked at.

        The foot on the tangent at the nearest sample: exact on straights, within 1 mm in curves of
        10 m radius at half-metre spacing. Beyond the ends ``s`` goes on along the end tangents.
        """
        shape = np.shape(x)
        if near is None:
            x, y = np.ravel(x), np.ravel(y)
            away = (x[:, None] - self.x) ** 2
            away += (y[:, None] - self.y) ** 2
            i = away.argmin(axis=1)
        else:
            count = int(reach / (self.s[1] - self.s[0])) + 1
            rows = near[..., None] + np.arange(-count, count + 1)
            rows = np.minimum(np.maximum(rows, 0), len(self.s) - 1)
            away = (x[..., None] - self.x[rows]) ** 2
            away += (y[..., None] - self.y[rows]) ** 2
            i = np.maximum(near + away.argmin(axis=-1) - count, 0)
            i = np.minimum(i, len(self.s) - 1)
        c, k = np.cos(self.heading[i]), np.sin(self.heading[i])
        dx, dy = x - self.x[i], y - self.y[i]
        s, d = self.s[i] + c * dx + k * dy, c * dy - k * dx
        return i.reshape(shape), s.reshape(shape), d.reshape(shape)


@dataclass(frozen=True)
class AgentsOnPath:
    """Road users near the path window; fields ``(agents,)``."""

    row: Array
    """index into the tracks"""
    id: Array
    kind: Array
    s_low: Array
    """m along the path of the box's nearest end ..."""
    s_high: Array
    """... and of its farthest"""
    d_low: Array
    """m, rightmost edge of the box ..."""
    d_high: Array
    """... and leftmost"""
    speed_along: Array
    """m/s along the path"""
    speed_across: Array
    """m/s to the left"""
    speed: Array
    """m/s"""

    def __len__(self) -> int:
        return len(self.row)


def agents_on_path(window: PathWindow, states: AgentStates, reach: Array) -> AgentsOnPath:
    """Boxes of ``states`` ``(tracks,)`` in the Frenet frame of the window.

    Only rows named in ``reach`` (indices) whose centre projects inside the window, on its level.
    """
    i, s, d = window.project(states.x[reach], states.y[reach])
    inside = (s >= window.s[0]) & (s <= window.s[-1])
    inside &= np.abs(states.z[reach] - window.z[i]) < LEVEL_GAP
    row, i, s, d = reach[inside], i[inside], s[inside], d[inside]
    heading = states.heading[row]
    half_length, half_width = states.length[row] / 2.0, states.width[row] / 2.0
    c, k = np.cos(heading), np.sin(heading)
    # corners and side midpoints: in a bend the middle of a long box is nearer than its corners
    along = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 0.0, 1.0, -1.0])[:, None] * half_length
    across = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.0, 0.0])[:, None] * half_width
    # a point may be nearer to another pass of a winding path: keep it within the box's reach
    radius = np.hypot(half_length, half_width)
    _, point_s, point_d = window.project(
        states.x[row] + c * along - k * across,
        states.y[row] + k * along + c * across,
        i,
        float(radius.max(initial=0.0)),
    )
    point_s = np.clip(point_s, s - radius, s + radius)
    point_d = np.clip(point_d, d - radius, d + radius)
    tangent_c, tangent_k = np.cos(window.heading[i]), np.sin(window.heading[i])
    vx, vy = states.vx[row], states.vy[row]
    return AgentsOnPath(
        row=row,
        id=states.id[row],
        kind=states.kind[row],
        s_low=point_s.min(axis=0),
        s_high=point_s.max(axis=0),
        d_low=point_d.min(axis=0),
        d_high=point_d.max(axis=0),
        speed_along=tangent_c * vx + tangent_k * vy,
        speed_across=tangent_c * vy - tangent_k * vx,
        speed=np.hypot(vx, vy),
    )


def swing_out(window: PathWindow, s: Array, front_length: float) -> tuple[Array, Array]:
    """m the ego's front sweeps beyond its width, to the right and to the left, ``(agents,)`` each.

    With the rear axle on the path, the front, ``l`` m ahead on the tangent, is ``k l^2 / 2`` m
    outside a bend of curvature ``k``; the largest over the places from which it reaches ``s``.
    """
    ahead = s[:, None] - front_length * np.array([1.0, 0.7, 0.35, 0.0])
    bend = np.interp(ahead, window.s, window.curvature) * front_length**2 / 2.0
    return np.maximum(bend.max(axis=1), 0.0), np.maximum(-bend.min(axis=1), 0.0)


def time_in_corridor(
    agents: AgentsOnPath, right: Array, left: Array, across: Array
) -> tuple[Array, Array]:
    """When each agent enters and leaves the band between ``d = right`` and ``d = left``, s.

    ``across`` is its speed to the left relative to the band, m/s. All ``(agents,)``: entry is 0 for
    one that is inside now and inf for one that never comes; leaving is inf for one that stays.
    """
    low, high = agents.d_low, agents.d_high
    moving = np.abs(across) > SLOW_ACROSS
    rate = np.where(moving, np.abs(across), 1.0)
    drifting = (agents.kind <= AgentKind.MOTORCYCLE) & (agents.speed_along > 3.0)
    hurry = np.where(drifting, np.maximum(rate, CUT_IN_SPEED), rate)
    from_left = (low > left) & (across < 0.0) & moving
    from_right = (high < right) & (across > 0.0) & moving
    inside = (low <= left) & (high >= right)
    enter = np.where(from_left, (low - left) / hurry, np.inf)
    enter = np.where(from_right, (right - high) / hurry, enter)
    enter = np.where(inside, 0.0, enter)
    way_out = np.where(across > 0.0, left - low, high - right)
    leave = np.where(moving & np.isfinite(enter), np.maximum(way_out, 0.0) / rate, np.inf)
    return enter, leave


def in_the_way(
    agents: AgentsOnPath,
    right: Array,
    left: Array,
    slope: Array,
    front_s: float,
    rear_s: float,
    speed: float,
    room: Array | float = 0.3,
) -> Array:
    """``(agents,)`` bool: road users the ego must treat as leaders.

    ``right`` and ``left`` ``(agents,)`` bound what the ego's box covers, in d beside each agent,
    without margin, and ``slope`` is how much that place moves to the left per m; ``room`` m are
    left to who is neither on foot nor cycling. An agent counts when it is in the corridor or will
    be soon, unless it has left before the ego arrives or the ego has passed before it comes.
    """
    walker = (agents.kind == AgentKind.PEDESTRIAN) | (agents.kind == AgentKind.CYCLIST)
    margin = np.where(walker, 0.5, room)
    across = agents.speed_across - slope * agents.speed_along
    enter, leave = time_in_corridor(agents, right - margin, left + margin, across)
    soon = enter <= np.where(walker, WALKER_FORESIGHT, VEHICLE_FORESIGHT)
    ahead = agents.s_high > front_s
    # nobody runs the ego over from behind because it is a little ahead: noses decide
    gap = np.maximum(agents.s_low - front_s, 0.0)
    arrive = gap / (speed + 1.5)  # the ego may speed up
    gone = leave + 0.7 < arrive
    crossing = np.abs(agents.speed_across) > np.abs(agents.speed_along)
    passed = (agents.s_high - rear_s + 1.0) / max(speed, 0.5) + 0.5 < enter
    return ahead & soon & ~(gone & crossing) & ~passed
