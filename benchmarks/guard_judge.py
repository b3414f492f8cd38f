"""Judges what a guard lets through, by means of its own: none of the guard's code is used here.

Time is stepped through in 0.05 s, and a motion is the plan's path at its own speed or at a constant
deceleration. It violates RSS where, driven for the response time and then braked with 6 m/s^2, it
would touch somebody ahead who brakes as hard as RSS expects, unless it brakes that hard itself from
the response time on. It hits where, driven for the response time and then braked fully, it meets
somebody who goes straight on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from guard_scenes import VEHICLE, Scene

from roadloop.geometry import box_corners, boxes_overlap
from roadloop.types import AgentKind, EgoState, Trajectory

Array = np.ndarray

RESPONSE, BRAKE_MIN, LEADER_BRAKES, FULL = 0.5, 6.0, 8.0, 8.0
"""s and m/s^2 that the guard promises (docs/guard.md)"""
TICK = 0.05
LOOK = 3.5
"""s, step and length of the judge's own simulation"""
STRAIGHT_ON = 2.0
"""s for which moving road users are believed to go straight on"""
FRONT, FROM_BEHIND = np.deg2rad(45.0), np.deg2rad(25.0)
"""rad off straight ahead of the ego's middle: in front of it, and where it runs into a tail"""
BESIDE = 1.0
"""s for which who drives the same way is believed to come in from the side"""
LAG = 0.15
"""s until the brakes answer, for the braking profiles that are tried"""


@dataclass
class Judgement:
    """Of one motion."""

    rss: bool
    hit: bool
    """in front"""
    touch: bool
    """anywhere but behind"""
    clearance: float
    """m between the bumpers at the worst moment of the RSS case, inf without somebody ahead"""


class Judge:
    """One scene at one moment, and any motion through it."""

    def __init__(self, scene: Scene, time: float, users: Array) -> None:
        self.scene, self.time, self.users = scene, time, users
        self.size, self.kind = scene.size, scene.kind
        if len(users) > len(self.size):  # those that are believed to be at two places
            again = np.arange(len(users)) % len(self.size)
            self.size, self.kind = self.size[again], self.kind[again]
        self.ego = scene.ego(time)

    def judge(self, plan: Trajectory, deceleration: float | None = None) -> Judgement:
        """The plan's path at its own speed, or at a constant deceleration from now."""
        s, x, y, heading = _path_of(plan)
        t = np.arange(round(LOOK / TICK) + 1) * TICK
        speed = float(self.ego.speed)
        if deceleration is None:
            said = np.interp(t, np.arange(len(plan.speed)) * plan.dt, plan.speed)
        else:
            said = np.maximum(speed - deceleration * np.maximum(t - LAG, 0.0), 0.0)
        # what a car can do of it: no jump of speed
        pace = np.empty(len(t))
        pace[0] = speed
        for k in range(1, len(t)):
            low, high = pace[k - 1] - FULL * TICK, pace[k - 1] + VEHICLE.max_acceleration * TICK
            pace[k] = min(max(said[k], low, 0.0), high)
        rss, clearance = self._rss(t, pace)
        braked = self._then(t, pace, FULL)
        return Judgement(rss, *self._contacts(t, braked, s, x, y, heading), clearance)

    def _then(self, t: Array, pace: Array, brake: float) -> Array:
        k = round(RESPONSE / TICK)
        later = np.maximum(pace[k] - brake * (t[k:] - t[k]), 0.0)
        return np.concatenate([pace[:k], np.minimum(later, pace[k:])])

    def _rss(self, t: Array, pace: Array) -> tuple[bool, float]:
        """Whether somebody ahead in the ego's way who brakes would be touched."""
        k = round(RESPONSE / TICK)
        answer = pace[k] - pace[min(k + 10, len(pace) - 1)]
        proper = answer >= 0.85 * BRAKE_MIN * 10 * TICK or pace[k + 10] < 0.05
        t_long = np.arange(400) * TICK
        ego = np.concatenate([pace[:k], np.maximum(pace[k] - BRAKE_MIN * (t_long - 0.0), 0.0)])
        gone = np.concatenate([[0.0], np.cumsum(0.5 * (ego[1:] + ego[:-1]) * TICK)])
        least = np.inf
        for gap, speed in self._leaders:
            lead = np.maximum(speed - LEADER_BRAKES * np.arange(len(ego)) * TICK, 0.0)
            theirs = np.concatenate([[0.0], np.cumsum(0.5 * (lead[1:] + lead[:-1]) * TICK)])
            least = min(least, float((gap + theirs - gone).min()))
        return least < 0.0 and not proper and pace[0] > 0.05, least

    @cached_property
    def _leaders(self) -> list[tuple[float, float]]:
        """m to each moving vehicle ahead in the ego's way, bumper to bumper, and its m/s."""
        path, found = self.scene.path, []
        s0, d0 = path.project(*self.ego.box_centre())
        s, d = path.project(self.users[:, 0], self.users[:, 1])
        along = self.users[:, 2] - path.at(s).heading
        for i in range(len(self.users)):
            same = np.cos(along[i]) > np.cos(np.deg2rad(20.0))
            in_way = abs(d[i] - d0) < 0.5 * (VEHICLE.width + self.size[i, 1])
            ahead = s[i] - s0 > 0.5 * (VEHICLE.length + self.size[i, 0])
            moves = self.users[i, 3] > 0.5 and self.kind[i] != AgentKind.PEDESTRIAN
            if same and in_way and ahead and moves:
                gap = s[i] - s0 - 0.5 * (VEHICLE.length + self.size[i, 0])
                found.append((gap, self.users[i, 3]))
        return found

    def _contacts(self, t, pace, s, x, y, heading) -> tuple[bool, bool]:
        """Whether the moving ego meets somebody who goes straight on: in front, beside or so."""
        way = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * TICK)])
        h = np.interp(way, s, heading)
        off = VEHICLE.centre_offset
        cx, cy = np.interp(way, s, x) + off * np.cos(h), np.interp(way, s, y) + off * np.sin(h)
        mine = box_corners(cx, cy, h, VEHICLE.length, VEHICLE.width)
        ux, uy, uh, uv = self.users.T
        fx = ux[:, None] + uv[:, None] * t * np.cos(uh)[:, None]
        fy = uy[:, None] + uv[:, None] * t * np.sin(uh)[:, None]
        size = self.size[:, :, None]
        theirs = box_corners(fx, fy, uh[:, None], size[:, 0], size[:, 1])
        touch = boxes_overlap(mine[None], theirs) & (pace > 0.1)
        touch &= (uv < 0.3)[:, None] | (t <= STRAIGHT_ON)
        bearing = np.arctan2(
            np.cos(h) * (fy - cy) - np.sin(h) * (fx - cx),
            np.cos(h) * (fx - cx) + np.sin(h) * (fy - cy),
        )
        # what comes from behind or from the side is not always for braking to avoid
        bearing, first = np.abs(bearing), np.argmax(touch, axis=1)
        rows = np.flatnonzero(touch.any(1))
        when, angle = first[rows], bearing[rows, first[rows]]
        # beside somebody on the same way, straight on is soon no more than the tangent of a bend
        same_way = np.cos(uh[rows] - h[when]) > np.cos(np.deg2rad(45.0))
        front = np.where(same_way & (t[when] > BESIDE), FROM_BEHIND, FRONT)
        return bool((angle < front).any()), bool((angle < np.deg2rad(135.0)).any())


def _path_of(plan: Trajectory) -> tuple[Array, ...]:
    step = np.hypot(np.diff(plan.x), np.diff(plan.y))
    keep = np.concatenate([[True], step > 1e-4])
    x, y, heading = plan.x[keep], plan.y[keep], np.unwrap(plan.heading[keep])
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    end = heading[-1]
    far = 100.0 * np.cos(end), 100.0 * np.sin(end)
    return (
        np.append(s, s[-1] + 100.0),
        np.append(x, x[-1] + far[0]),
        np.append(y, y[-1] + far[1]),
        np.append(heading, end),
    )


def form_fault(plan: object, ego: EgoState) -> str:
    """Why this could not be driven, by a look that is simpler than the guard's."""
    if not isinstance(plan, Trajectory):
        return "no trajectory"
    fields = plan.x, plan.y, plan.heading, plan.speed
    if any(np.ndim(f) != 1 or len(f) != len(plan.x) or len(f) < 2 for f in fields):
        return "shapes"
    if not np.isfinite(np.stack(fields)).all() or not plan.dt > 0.0:
        return "not finite"
    if np.hypot(plan.x[0] - ego.x, plan.y[0] - ego.y) > 2.0 + 0.4 * float(ego.speed):
        return "not at the ego"
    step = np.hypot(np.diff(plan.x), np.diff(plan.y)) / plan.dt
    if step.max(initial=0.0) > max(float(plan.speed.max()), float(ego.speed)) + 5.0:
        return "jumps"
    return ""
