"""Slowing down along a path: braking profiles, and the path to stop on where there is no plan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planning.plan_line import PlanLine, summed
from planning.reachable import MOMENTS, RESPONSE, Motions
from planning.rss_check import RoadFrame
from roadloop.types import EgoState, Trajectory, VehicleParameters

Array = np.ndarray

HOLD, COMFORTABLE, FIRM, HARD = 0.0, 2.5, 4.0, 6.0
"""m/s^2. `COMFORTABLE` as in planning.safe_stop, `FIRM` at nuPlan's comfort bound (4.05), `HARD`
what UN R157 asks of an emergency manoeuvre at least (5) and of a cut-in (6)"""
JERK, JERK_SHARE = 5.0, 5.0
"""m/s^3 with which braking builds up, and 1/s of the deceleration where that is more: emergency
braking is there after 0.2 s, the lag of brakes"""
BEYOND = 200.0
"""m a path goes straight on past its end, for what cannot stop before"""
SETTLES = 2.0
"""s in which the ego is back on a path that begins beside it"""
OFF_LANE, OFF_HEADING = 2.5, 0.6
"""m and rad off the route from which on stopping in lane is no longer possible"""
STEP, HORIZON = 0.1, 6.0
"""s, of plans made here"""


@dataclass(frozen=True)
class Course:
    """A path by the way along it, ``(points,)``, and the ego beside its beginning."""

    s: Array
    x: Array
    y: Array
    heading: Array
    """unwrapped"""
    start: float
    """m along it where the ego is"""
    off: tuple[float, float]
    """m, world x and y, from there to the ego"""

    def motions(self, way: Array, speed: Array) -> Motions:
        """The ego ``way`` m on with ``speed``, both ``(candidates, moments)``."""
        at = self.start + way
        left = np.maximum(1.0 - MOMENTS[: way.shape[1]] / SETTLES, 0.0)
        return Motions(
            np.interp(at, self.s, self.x) + self.off[0] * left,
            np.interp(at, self.s, self.y) + self.off[1] * left,
            np.interp(at, self.s, self.heading),
            speed,
        )


def course_of(line: PlanLine, ego: EgoState) -> Course:
    """The plan's path, straight on beyond its end."""
    plan, keep, heading = line.plan, line.moving, line.heading
    x, y = plan.x[keep], plan.y[keep]
    s = summed(np.hypot(x[1:] - x[:-1], y[1:] - y[:-1]))
    cos, sin = math.cos(heading[0]), math.sin(heading[0])
    dx, dy = float(ego.x) - x[0], float(ego.y) - y[0]
    start = min(max(cos * dx + sin * dy, 0.0), float(s[-1]))
    foot = np.interp(start, s, x), np.interp(start, s, y)
    end = heading[-1]
    return Course(
        np.append(s, s[-1] + BEYOND),
        np.append(x, x[-1] + BEYOND * math.cos(end)),
        np.append(y, y[-1] + BEYOND * math.sin(end)),
        np.append(heading, end),
        float(start),
        (float(ego.x) - float(foot[0]), float(ego.y) - float(foot[1])),
    )


def braking(t: Array, speed: float, acceleration: float, levels: Array) -> tuple[Array, Array]:
    """Way (m) and speed (m/s) at ``t`` (T,) when braking with each of ``levels`` (L,): ``(L, T)``.

    It builds up from the deceleration there is. Level 0 keeps the speed.
    """
    steps = t[1:] - t[:-1]
    middle = t[:-1] + 0.5 * steps
    jerk = np.maximum(JERK, JERK_SHARE * levels)[:, None]
    rate = np.maximum(min(acceleration, 0.0) - jerk * middle, -levels[:, None])
    pace, way = np.empty((len(levels), len(t))), np.zeros((len(levels), len(t)))
    pace[:, 0] = speed
    np.cumsum(rate * steps, axis=1, out=pace[:, 1:])
    np.maximum(speed + pace[:, 1:], 0.0, out=pace[:, 1:])
    np.cumsum(0.5 * (pace[:, 1:] + pace[:, :-1]) * steps, axis=1, out=way[:, 1:])
    return way, pace


def planned(line: PlanLine, course: Course, ego: EgoState) -> tuple[Array, Array]:
    """Way and speed of the plan itself at `MOMENTS`, ``(moments,)``, as the ego can follow it.

    No faster than full throttle, no slower than full braking allows; beyond its end it brakes hard.
    """
    plan = line.plan
    t = np.arange(len(plan.x)) * plan.dt
    s = line.travelled - course.start
    within = np.minimum(MOMENTS, t[-1])
    way, pace = np.interp(within, t, s), np.interp(within, t, plan.speed)
    rest = MOMENTS - within
    end = pace[-1]
    braked = np.minimum(rest, end / HARD)
    way = way + end * braked - 0.5 * HARD * braked**2
    pace = np.where(rest > 0.0, np.maximum(end - HARD * rest, 0.0), pace)
    speed, vehicle = max(float(ego.speed), 0.0), ego.vehicle
    fast = speed + vehicle.max_acceleration * MOMENTS
    far = speed * MOMENTS + 0.5 * vehicle.max_acceleration * MOMENTS**2
    levels = np.array([full_braking(vehicle)])
    least, slow = braking(MOMENTS, speed, float(ego.acceleration), levels)
    way = np.minimum(np.maximum(way, least[0]), far)
    return way, np.minimum(np.maximum(pace, slow[0]), fast)


def delayed(way: Array, pace: Array, level: float) -> tuple[Array, Array]:
    """A motion ``(moments,)`` that is given up after `RESPONSE` and braked with ``level``."""
    k = int(np.searchsorted(MOMENTS, RESPONSE - 1e-9))
    after, slower = braking(MOMENTS[k:], float(pace[k]), 0.0, np.array([level]))
    late = np.concatenate([way[:k], way[k] + after[0]])
    slow = np.concatenate([pace[:k], slower[0]])
    return np.minimum(way, late), np.minimum(pace, slow)


def full_braking(vehicle: VehicleParameters) -> float:
    """m/s^2 the brakes and the road give."""
    return min(vehicle.max_deceleration, vehicle.friction * 9.81)


def slowed(line: PlanLine, course: Course, ego: EgoState, level: float) -> Trajectory:
    """The plan's path driven no faster than braking with ``level`` allows; the plan's points."""
    plan, s = line.plan, line.travelled
    t = np.arange(len(plan.x)) * plan.dt
    levels = np.array([level])
    speed = max(float(ego.speed), 0.0)
    way, pace = braking(t, speed, float(ego.acceleration), levels)
    at = np.minimum(np.maximum(s, course.start), course.start + way[0])
    heading = np.interp(at, course.s, course.heading)
    return Trajectory(
        np.interp(at, course.s, course.x),
        np.interp(at, course.s, course.y),
        np.pi - np.mod(np.pi - heading, 2.0 * np.pi),
        np.minimum(plan.speed, pace[0]),
        plan.dt,
    )


def lane_plan(frame: RoadFrame, ego: EgoState) -> Trajectory:
    """Straight on at the present speed: along the route, as far beside it as the ego is now.

    Where the ego is off the route, or turned away from it, on the circle it is steered on.
    """
    s, left, turned = frame.find(ego)
    t = np.arange(round(HORIZON / STEP) + 1) * STEP
    way = max(float(ego.speed), 0.0) * t
    pace = np.full(len(t), max(float(ego.speed), 0.0))
    if abs(left) > OFF_LANE or abs(turned) > OFF_HEADING or not 0.0 <= s <= frame.path.length:
        bend = math.tan(float(ego.steering)) / ego.vehicle.wheelbase
        heading = float(ego.heading) + bend * way
        middle = float(ego.heading) + 0.5 * bend * way
        chord = way * np.sinc(0.5 * bend * way / np.pi)
        x, y = float(ego.x) + chord * np.cos(middle), float(ego.y) + chord * np.sin(middle)
    else:
        at = frame.path.at(s + way)
        # past its end the route goes straight on
        over = np.maximum(s + way - frame.path.length, 0.0)
        heading = np.unwrap(at.heading)
        x = at.x - left * np.sin(heading) + over * np.cos(heading)
        y = at.y + left * np.cos(heading) + over * np.sin(heading)
    return Trajectory(x, y, np.pi - np.mod(np.pi - heading, 2.0 * np.pi), pace, STEP)
