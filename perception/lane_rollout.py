"""Speeds along lanes rolled out for many road users at once: the intelligent driver model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.lane_paths import SPACING, LaneWays
from roadloop.idm import IdmParameters, gap_term

Array = np.ndarray

STEP = 0.5
"""s of a step, at most; speeds change evenly within it"""
IDM = IdmParameters(time_headway=1.2, minimum_gap=2.0, acceleration=1.2, deceleration=2.0)
"""of all drivers; the wanted speed is each driver's own"""
SOFTEST = 2.0
"""m/s^2 with which one slows down to the wanted speed"""
HARDEST = 8.0
"""m/s^2, bound of all braking"""
PERSISTENCE = 1.0
"""s, time constant with which a present acceleration gives way to the driver model's"""
PERSISTENT = 0.8
"""share of the present acceleration that is believed"""
BRAKING = 3.0
"""m/s^2 of the pessimistic mode"""
SERVED = 3.0
"""m before a stop sign within which standing counts as having stopped for it"""

GO, KEEP, BRAKE = 0, 1, 2
"""manners: drive on as wanted, keep the speed of now, brake to a stop"""


@dataclass(frozen=True)
class Drives:
    """Who drives where and how; fields ``(rows,)`` unless stated."""

    way: Array
    """row of LaneWays"""
    s: Array
    """m along it, of the box centre"""
    speed: Array
    """m/s along it"""
    acceleration: Array
    """m/s^2 now"""
    wanted: Array
    """m/s on a free straight road"""
    manner: Array
    """GO, KEEP or BRAKE"""
    gap: Array
    """m from the front bumper to what is ahead, inf for a free road"""
    ahead: Array
    """what that is: a row, or beyond them an index into ``others``"""
    stops: Array
    """bool, it is a stop sign: once one has stood there, it is served"""
    others: Array
    """(others,) m/s of road users that keep their speed, and of walls, 0"""


def roll_out(drives: Drives, ways: LaneWays, steps: int, dt: float) -> Array:
    """m driven at ``t = k dt``: ``(rows, steps)``, beginning with 0."""
    count = len(drives.s)
    horizon = (steps - 1) * dt
    parts = max(int(np.ceil(horizon / STEP - 1e-9)), 1)
    h = horizon / parts
    v = np.concatenate([np.maximum(drives.speed, 0.0), np.maximum(drives.others, 0.0)])
    driven = np.zeros(len(v))
    begin, last = ways.begin[drives.way], ways.last[drives.way]
    keeps, brakes = drives.manner == KEEP, drives.manner == BRAKE
    wanted = np.where(drives.manner == GO, drives.wanted, drives.speed)
    stops, gap0 = drives.stops, drives.gap.copy()
    any_sign = bool(stops.any())
    speeds, pushes, places = (np.zeros((parts, count)) for _ in range(3))
    for k in range(parts):
        own = v[:count]
        row = np.clip(begin + ((drives.s + driven[:count]) / SPACING).astype(np.int64), begin, last)
        goal = np.minimum(wanted, ways.cap[row])
        ratio = own / np.maximum(goal, 0.1)
        ratio *= ratio
        free = np.maximum(IDM.acceleration * (1.0 - ratio * ratio), -SOFTEST)
        habit = PERSISTENT * np.exp(-k * h / PERSISTENCE)
        free += habit * (drives.acceleration - free)
        free = np.where(keeps, np.clip(goal - own, -SOFTEST, SOFTEST), free)
        gap = gap0 + driven[drives.ahead] - driven[:count]
        if any_sign:
            served = stops & (own < 0.3) & (gap < SERVED)
            gap0[served] = np.inf
            gap = np.where(served, np.inf, gap)
        push = free - gap_term(own, gap, own - v[drives.ahead], IDM)
        push = np.where(brakes, np.minimum(push, -BRAKING), push)
        push = np.maximum(push, -HARDEST)
        speeds[k], pushes[k], places[k] = own, push, driven[:count]
        after = np.maximum(own + push * h, 0.0)
        stopping = own + push * h < 0.0
        moved = np.where(
            stopping, 0.5 * own * own / np.maximum(-push, 1e-6), 0.5 * (own + after) * h
        )
        driven[count:] += v[count:] * h
        driven[:count] += moved
        v[:count] = after
    t = np.arange(steps) * dt
    part = np.minimum((t / h + 1e-9).astype(np.int64), parts - 1)
    within = (t - part * h)[:, None]
    push, own = pushes[part], speeds[part]
    till_rest = np.where(push < -1e-6, own / np.maximum(-push, 1e-6), np.inf)
    within = np.minimum(within, till_rest)
    return (places[part] + own * within + 0.5 * push * within * within).T
