"""RSS for the next moments: who is too near in both directions, and whether a motion answers it.

The rules are those of `roadloop.scoring.rss` and its paper (arXiv 1708.06374) with one difference:
what the ego does within its response time is not guessed (accelerating as hard as it can) but known
from its plan. A plan that goes ``d`` m in the response time and then has speed ``v`` needs behind a
leader of ``v_lead``::

    d + v^2 / (2 brake_min) - v_lead^2 / (2 brake_max) + min_distance

Parameters: the response time is that of this loop, not of a human. Braking of 6 m/s^2 is what UN
R157 asks of an automated system (5.2.5.2) and what its comparison with RSS uses (``planning.r157``
has the sources); the 4 m/s^2 of ad-rss-lib with its response time of 1 s ask for a time gap of
2.8 s at 10 m/s, which nobody drives, so that a guard with them would never let go of the wheel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planning.reachable import RESPONSE, STILL
from planning.track_watch import RoadUsers
from roadloop.geometry import wrap_angle
from roadloop.maps.path import Path, route_path
from roadloop.scoring.rss import RssParameters, safe_distance_lateral
from roadloop.types import AgentKind, EgoState, Scenario

Array = np.ndarray

EGO = RssParameters(response_time=RESPONSE, brake_min=6.0, min_distance=0.5)
"""of the guarded ego; `RssParameters.acceleration` is the plan's own"""
OTHERS = RssParameters(response_time=0.75, acceleration=1.0, brake_max=8.0)
"""0.75 s: UN R157's careful and competent driver"""
ALIGNED = np.deg2rad(45.0)
"""rad off the route up to which somebody drives along it (as in scoring)"""
BEHIND, AHEAD = 30.0, 150.0
"""m of the route looked at behind and ahead of the ego"""
BESIDE = 15.0
"""m to the side of the route up to which road users are placed"""
SEARCH = 15.0
"""m along the route within which the ego is looked for around where it was"""
SIDEWAYS = np.linspace(0.0, 100.0, 201)
"""m/s sideways, of ego and other, for which `NEEDED` is worked out"""
NEEDED = np.maximum(
    safe_distance_lateral(SIDEWAYS, -SIDEWAYS, OTHERS, EGO),
    safe_distance_lateral(SIDEWAYS, -SIDEWAYS, EGO, OTHERS),
)
"""m that nobody needs more of; it is convex, so between the points the chord is above it"""
PUSHES = 0.2
"""m/s sideways from which the ego comes in on somebody beside it; within a lane one sways less"""


class RoadFrame:
    """The route's curve, and where the ego is on it."""

    def __init__(self, scenario: Scenario) -> None:
        path: Path = route_path(scenario.road_map, scenario.route, spacing=1.0)
        self.path = path
        self.in_junction = scenario.road_map.lane_junction[path.lane] >= 0
        self.s: float | None = None
        """m along the route; None before the first `find`"""

    def find(self, ego: EgoState) -> tuple[float, float, float]:
        """The ego's rear axle: m along and left of the route, rad off its direction.

        Near where it was last; where that is not near any more, anywhere.
        """
        x, y, path = float(ego.x), float(ego.y), self.path
        low = 0 if self.s is None else int(max(self.s - SEARCH, 0.0))
        high = len(path.s) if self.s is None else int(self.s + SEARCH) + 2
        s, left, heading = self._project(np.array([x]), np.array([y]), slice(low, high))
        if abs(float(left[0])) > BESIDE:
            s, left, heading = self._project(np.array([x]), np.array([y]), slice(None))
        self.s = float(np.clip(s[0], 0.0, path.length))
        return float(s[0]), float(left[0]), float(wrap_angle(float(ego.heading) - heading[0]))

    def around(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """m along, m left, direction of the route and whether it is in a junction there, ``(n,)``.

        On the part of the route around the ego; beyond its ends the route goes straight on.
        """
        here = self.s or 0.0
        rows = slice(max(int(here - BEHIND), 0), int(here + AHEAD))
        s, left, heading = self._project(x, y, rows)
        step = self.path.length / (len(self.path.s) - 1)
        at = np.clip(np.round(s / step), 0, len(self.path.s) - 1).astype(np.int64)
        return s, left, heading, self.in_junction[at]

    def _project(self, x: Array, y: Array, rows: slice) -> tuple[Array, Array, Array]:
        xy, heading = self.path.xyz[rows], self.path.heading[rows]
        gap = (xy[:, 0] - x[:, None]) ** 2 + (xy[:, 1] - y[:, None]) ** 2
        row = gap.argmin(1)
        dx, dy, direction = x - xy[row, 0], y - xy[row, 1], heading[row]
        cos, sin = np.cos(direction), np.sin(direction)
        return self.path.s[rows][row] + cos * dx + sin * dy, cos * dy - sin * dx, direction


@dataclass(frozen=True)
class Dangers:
    """Road users RSS has something to say on now; fields ``(n,)``."""

    user: Array
    """index into the road users"""
    gap: Array
    """m between the bumpers along the route"""
    relief: Array
    """m the other's motion adds to the gap: its braking distance, negative where it comes"""
    side: Array
    """0: it is ahead; 1, -1: it is left or right of the ego, which comes in on it from the side"""
    left: float = 0.0
    """rad, direction to the left of the route where the ego is"""


def no_dangers() -> Dangers:
    """Nobody."""
    none = np.zeros(0)
    return Dangers(np.zeros(0, np.int64), none, none, none)


def dangers(frame: RoadFrame, ego: EgoState, users: RoadUsers) -> Dangers:
    """Who of those on the ego's level is laterally unsafe.

    Whether longitudinally, too, is for `short_of` to say, motion by motion.

    As in `roadloop.scoring.rss_margins`: not judged are pedestrians, what crosses, what comes
    towards the ego within a junction, and who follows the ego unless the ego pushes in from the
    side. What stands is left to the collision check: there its future is certain, and RSS would see
    no difference between driving at it and around it.
    """
    s, _, turned = frame.find(ego)
    x, y = ego.box_centre()
    offset = ego.vehicle.centre_offset
    ego_s = s + offset * np.cos(turned)
    near = (np.abs(users.x - x) < AHEAD) & (np.abs(users.y - y) < AHEAD)
    near &= users.speed > STILL
    near &= (users.kind != AgentKind.PEDESTRIAN) & (users.kind != AgentKind.STATIC)
    row = np.flatnonzero(near)
    if len(row) == 0:
        return no_dangers()
    # the ego itself last
    placed = frame.around(np.append(users.x[row], x), np.append(users.y[row], y))
    at, left, direction, in_junction = (values[:-1] for values in placed)
    ego_left = float(placed[1][-1])
    mine = max(float(ego.speed), 0.0) * math.sin(turned)
    swaying = abs(mine)
    my_length, my_width = _half_extents(np.asarray(turned), ego.vehicle.length, ego.vehicle.width)
    angle = wrap_angle(users.heading[row] - direction)
    off = np.abs(angle)
    # nobody farther aside than any two need at such speeds sideways
    sideways = np.maximum(users.speed[row] * np.abs(np.sin(users.course[row] - direction)), swaying)
    most = np.interp(sideways, SIDEWAYS, NEEDED)
    most += 0.5 * np.hypot(users.length[row], users.width[row]) + 0.5 + my_width
    near = (np.abs(left) < BESIDE) & (np.abs(left - ego_left) < most)
    near &= (off < ALIGNED) | ((off > np.pi - ALIGNED) & ~in_junction)
    kept = np.flatnonzero(near)
    if len(kept) == 0:
        return no_dangers()
    row, at, left, direction, angle = (v[kept] for v in (row, at, left, direction, angle))
    with_route = np.abs(angle) < ALIGNED
    half_length, half_width = _half_extents(angle, users.length[row], users.width[row])
    ahead, aside = at - ego_s, left - ego_left
    gap = np.abs(ahead) - half_length - my_length
    course = users.course[row] - direction
    along, leftward = users.speed[row] * np.cos(course), users.speed[row] * np.sin(course)
    grown = np.minimum(users.std[row], 0.5)
    lateral_gap = np.abs(aside) - half_width - my_width - grown
    # RSS counts speeds to the right; of the two the left one is named first
    needed = np.where(
        aside >= 0.0,
        safe_distance_lateral(-leftward, -mine, OTHERS, EGO),
        safe_distance_lateral(-mine, -leftward, EGO, OTHERS),
    )
    unsafe = lateral_gap < needed
    faced = ahead >= 0.0
    side = np.sign(aside)
    pushed = mine * side > np.maximum(-leftward * side, PUSHES)
    near_behind = ~faced & (gap < _follower_needs(along, ego))
    beside = with_route & (near_behind | (gap < 0.0)) & (lateral_gap > 0.0) & pushed
    leads = with_route & faced & ~beside
    comes = ~with_route & faced
    brakes = np.maximum(along, 0.0) ** 2 / (2.0 * np.asarray(OTHERS.brake_max))
    relief = np.where(comes, -_comes_on(np.maximum(-along, 0.0)), brakes)
    picked = np.flatnonzero(unsafe & (leads | comes | beside))
    sides = np.where(beside, side, 0.0)
    to_left = float(ego.heading) - turned + 0.5 * np.pi
    return Dangers(row[picked], (gap - grown)[picked], relief[picked], sides[picked], to_left)


def short_of(
    found: Dangers, way: Array, speed: Array, braking: Array | float, pushing: Array
) -> Array:
    """(candidates, dangers) bool: that motion violates RSS with that road user.

    Args:
        way, speed: ``(candidates,)`` m gone in the response time and m/s then.
        braking: m/s^2 of what follows, ``(candidates,)`` or one.
        pushing: ``(candidates,)`` m/s to the left of the route after the response time.
    """
    stop = way + speed**2 / (2.0 * np.asarray(braking))
    needed = np.maximum(stop[:, None] - found.relief, 0.0) + np.asarray(EGO.min_distance)
    standing = (way < 0.02) & (speed < 0.05)
    ahead = found.side == 0.0
    short = (found.gap < needed) & ahead & ~standing[:, None]
    return short | (~ahead & (pushing[:, None] * found.side > PUSHES))


def _follower_needs(theirs: Array, ego: EgoState) -> Array:
    """m somebody behind needs to the ego."""
    wait = np.asarray(OTHERS.response_time)
    stop = theirs * wait + theirs**2 / (2.0 * np.asarray(OTHERS.brake_min))
    mine = max(float(ego.speed), 0.0) ** 2 / (2.0 * np.asarray(EGO.brake_max))
    return np.maximum(stop - mine, 0.0)


def _comes_on(speed: Array) -> Array:
    """m an oncoming one drives until it stands: accelerating for its response time, then braking
    (Definition 2 of the paper)."""
    wait, gain = np.asarray(OTHERS.response_time), np.asarray(OTHERS.acceleration)
    reached = speed + wait * gain
    return speed * wait + 0.5 * gain * wait**2 + reached**2 / (2.0 * np.asarray(OTHERS.brake_min))


def _half_extents(angle: Array, length: Array | float, width: Array | float) -> tuple[Array, Array]:
    """Half of what a box turned by ``angle`` covers along and across, m."""
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    return (length * cos + width * sin) / 2.0, (length * sin + width * cos) / 2.0
