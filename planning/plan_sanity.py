"""Whether a plan can be driven at all: its form, where it begins, and what a car can follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from planning.plan_line import CHORD, PlanLine
from roadloop.types import EgoState, Trajectory

Array = np.ndarray

STEPS = (0.02, 0.5)
"""s, least and most between two points"""
HORIZON = 1.0
"""s a plan must reach at least: what is checked of it is one response and the braking after it"""
MOST_POINTS = 2000
MOST_SPEED = 90.0
"""m/s"""
ASIDE = 1.5
"""m to the side of the ego the plan may begin: less than half a lane; a planner that begins at the
ego's foot on its path is off by how badly the path is followed"""
ALONG, ALONG_TIME = 1.0, 0.3
"""m and s of driving the plan may begin before or behind the ego: it may be a few steps old"""
TURNED = 0.6
"""rad the plan's first heading may be off the ego's, and a step's direction off its heading"""
DISTANCE, DISTANCE_SHARE = 1.0, 0.25
"""m, and share of the way, by which positions and speeds may disagree: more is a wrong clock"""
BACKWARDS = 0.1
"""m a point may lie behind the one before"""
CURVATURE_SLACK = 1.15
"""of full lock: plans are smoothed by the controller that follows them"""
RATE_SLACK = 2.0
"""of the fastest steering; where lanes meet, a map's curvature jumps, which cars cut a little"""
LATERAL_HORIZON = 3.0
"""s of the plan looked at for bends and steering: what comes later is planned again first"""


def fault_of_plan(plan: Any, ego: EgoState) -> str:
    """Why ``plan`` cannot be what the ego is to drive now, in a few words; empty: it can be.

    ``plan`` may be anything at all: what is no `Trajectory` is a fault, not an error. Judged are
    the form (one axis, equal lengths, finite, time step), the start against the ego's pose, that it
    leads forward along its headings as fast as its speeds say, and that the ego's steering can turn
    that far and that fast. Speeds that the ego cannot reach or lose in time are none: nothing
    worse than the ego's own limits comes of them.
    """
    return fault_and_line(plan, ego)[0]


def fault_and_line(plan: Any, ego: EgoState) -> tuple[str, PlanLine | None]:
    """`fault_of_plan`, and the path of the plan where it has none."""
    if not isinstance(plan, Trajectory):
        return ("no plan" if plan is None else f"a {type(plan).__name__}, not a Trajectory"), None
    fault = _fault_of_form(plan) or _fault_of_start(plan, ego)
    if fault:
        return fault, None
    line = PlanLine(plan)
    fault = _fault_of_course(line, ego)
    return fault, None if fault else line


def _fault_of_form(plan: Trajectory) -> str:
    fields = (plan.x, plan.y, plan.heading, plan.speed)
    if not all(isinstance(f, np.ndarray) and f.dtype.kind in "fiu" and f.ndim == 1 for f in fields):
        return "fields are not arrays of numbers over time"
    if len({len(f) for f in fields}) > 1:
        return "fields of different lengths"
    if not (isinstance(plan.dt, float | int | np.floating) and STEPS[0] <= plan.dt <= STEPS[1]):
        return f"time step {plan.dt}"
    if (len(plan.x) - 1) * plan.dt < HORIZON - 1e-6 or len(plan.x) > MOST_POINTS:
        return f"{len(plan.x)} points {plan.dt:g} s apart"
    if not np.isfinite(np.stack(fields)).all():
        return "not finite"
    if plan.speed.min() < -0.1 or plan.speed.max() > MOST_SPEED:
        return f"speeds from {plan.speed.min():.1f} to {plan.speed.max():.1f} m/s"
    return ""


def _fault_of_start(plan: Trajectory, ego: EgoState) -> str:
    heading, speed = float(ego.heading), max(float(ego.speed), 0.0)
    dx, dy = float(plan.x[0]) - float(ego.x), float(plan.y[0]) - float(ego.y)
    along = math.cos(heading) * dx + math.sin(heading) * dy
    aside = math.cos(heading) * dy - math.sin(heading) * dx
    if abs(along) > ALONG + ALONG_TIME * speed or abs(aside) > ASIDE:
        return f"begins {math.hypot(dx, dy):.1f} m away from the ego"
    turned = math.remainder(float(plan.heading[0]) - heading, 2.0 * math.pi)
    if abs(turned) > TURNED:
        return f"begins {math.degrees(abs(turned)):.0f} degrees off the ego's heading"
    return ""


def _fault_of_course(line: PlanLine, ego: EgoState) -> str:
    plan, dx, dy, travelled = line.plan, line.dx, line.dy, line.travelled[1:]
    cos, sin = np.cos(plan.heading[:-1]), np.sin(plan.heading[:-1])
    forward, sideways = cos * dx + sin * dy, cos * dy - sin * dx
    if forward.min() < -BACKWARDS:
        return "leads backwards"
    said = np.cumsum(0.5 * (plan.speed[1:] + plan.speed[:-1])) * plan.dt
    soon = slice(0, max(int(LATERAL_HORIZON / plan.dt), 1))
    apart = np.abs(travelled - said)[soon]
    if (apart > DISTANCE + DISTANCE_SHARE * np.maximum(travelled, said)[soon]).any():
        return "positions and speeds disagree"
    if (np.abs(sideways) > math.tan(TURNED) * np.maximum(forward, 0.0) + BACKWARDS).any():
        return "leads aside of its own headings"
    s, curvature = line.curvature
    vehicle = ego.vehicle
    near = s <= max(travelled[soon][-1], CHORD)
    full_lock = math.tan(vehicle.max_steering) / vehicle.wheelbase
    sharpest = float(np.abs(curvature[near]).max(initial=0.0))
    if sharpest > CURVATURE_SLACK * full_lock:
        return f"turns on {1.0 / sharpest:.1f} m of radius"
    pace = np.interp(s, line.travelled, plan.speed)
    steering = np.arctan(curvature * vehicle.wheelbase)
    rate = np.abs(steering[1:] - steering[:-1]) * pace[1:] / CHORD
    fastest = rate[near[1:]].max(initial=0.0)
    if fastest > RATE_SLACK * vehicle.max_steering_rate:
        return f"steers by {fastest:.1f} rad/s"
    return ""


def from_now(plan: Trajectory, age: float) -> Trajectory | None:
    """What is left of a plan made ``age`` s ago, None where that is less than `HORIZON`."""
    left = (len(plan.x) - 1) * plan.dt - age
    if left < HORIZON:
        return None
    at = np.arange(int(left / plan.dt + 1e-9) + 1) * plan.dt + age
    t = np.arange(len(plan.x)) * plan.dt
    heading = np.interp(at, t, np.unwrap(plan.heading))
    return Trajectory(
        np.interp(at, t, plan.x),
        np.interp(at, t, plan.y),
        np.pi - np.mod(np.pi - heading, 2.0 * np.pi),
        np.interp(at, t, plan.speed),
        plan.dt,
    )
