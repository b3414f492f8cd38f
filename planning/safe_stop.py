"""A plan to stop where one drives: what is left to do for a driver that no longer sees."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Trajectory

DECELERATION = 2.5
"""m/s^2, braking that passengers still find comfortable (UN R157 asks a minimal risk manoeuvre to
stay below 4)"""
JERK = 5.0
"""m/s^3 with which the braking builds up"""


def safe_stop(
    plan: Trajectory, speed: float, acceleration: float = 0.0, deceleration: float = DECELERATION
) -> Trajectory:
    """``plan``'s path, driven no farther than braking to a standstill allows; fields ``(time,)``.

    Args:
        speed, acceleration: m/s and m/s^2 of the ego now; the braking builds up from there.
        deceleration: m/s^2 in the end.

    Where the plan itself is slower, it stays as slow. Raises RoadloopError for a deceleration that
    is not above 0.
    """
    if not (np.isfinite(deceleration) and deceleration > 0.0):
        raise RoadloopError(f"deceleration is {deceleration}: expected m/s^2 above 0")
    dt = plan.dt
    middle = (np.arange(len(plan.x) - 1) + 0.5) * dt
    braking = np.maximum(min(acceleration, 0.0) - JERK * middle, -deceleration)
    pace = np.maximum(np.cumsum(np.concatenate([[max(speed, 0.0)], braking * dt])), 0.0)
    travelled = np.concatenate([[0.0], np.cumsum((pace[1:] + pace[:-1]) / 2.0 * dt)])
    steps = np.hypot(np.diff(plan.x), np.diff(plan.y))
    s = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.minimum(s, travelled)
    # where the plan stands, several points share an s: the first of them will do
    s, rows = np.unique(s, return_index=True)
    heading = np.interp(at, s, np.unwrap(plan.heading)[rows])
    return dataclasses.replace(
        plan,
        x=np.interp(at, s, plan.x[rows]),
        y=np.interp(at, s, plan.y[rows]),
        heading=np.pi - np.mod(np.pi - heading, 2.0 * np.pi),
        speed=np.minimum(plan.speed, pace),
    )
