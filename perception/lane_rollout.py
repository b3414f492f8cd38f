"""Speeds along lanes rolled out for many road users at once: the intelligent driver model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception.lane_paths import SPACING, LaneWays
from roadloop.idm import IdmParameters, gap_term

Array = np.ndarray

STEP = 0.75
"""s of a step, at most; speeds change evenly within it"""
IDM = IdmParameters(time_headway=1.0, minimum_gap=1.5, acceleration=1.2, deceleration=2.0)
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
    """m/s on a free straight road, or the speed that is kept"""
    manner: Array
    """GO, KEEP or BRAKE, in this order of rows"""
    gap: Array
    """m from the front bumper to what is ahead, inf for a free road"""
    ahead: Array
    """what that is: a row, or beyond them an index into ``others``"""
    stops: Array
    """bool, it is a stop sign: once one has stood there, it is served"""
    others: Array
    """(others,) m/s of road users that keep their speed, and of walls, 0"""


def first_push(drives: Drives, ways: LaneWays) -> Array:
    """m/s^2 that the driver model would have everybody do now: ``(rows,)``."""
    v = np.concatenate([drives.speed, drives.others])
    np.maximum(v, 0.0, out=v)
    own = v[: len(drives.s)]
    kept = np.where(drives.manner == GO, drives.wanted, own)
    goal = np.minimum(kept, ways.cap[_sample(drives, ways, drives.s)])
    push = _free(own, goal, int(np.searchsorted(drives.manner, KEEP)))
    push -= gap_term(own, drives.gap, own - v.take(drives.ahead), IDM)
    push = np.where(drives.manner == BRAKE, np.minimum(push, -BRAKING), push)
    return np.where((own < 0.1) & (push < 0.0), 0.0, push)  # who stands does not brake


def _sample(drives: Drives, ways: LaneWays, s: Array) -> Array:
    """Row of the sample before ``s`` m along everybody's way."""
    row = ways.begin[drives.way] + (np.maximum(s, 0.0) / SPACING).astype(np.int64)
    return np.minimum(row, ways.last[drives.way])


def _free(own: Array, goal: Array, going: int) -> Array:
    """m/s^2 on a free road with ``goal`` m/s wanted: the first ``going`` rows drive by IDM."""
    free = goal - own
    ratio = own[:going] / np.maximum(goal[:going], 0.1)
    ratio *= ratio
    ratio *= ratio
    free[:going] = IDM.acceleration * (1.0 - ratio)
    np.minimum(free, SOFTEST, out=free)
    return np.maximum(free, -SOFTEST, out=free)


def roll_out(drives: Drives, ways: LaneWays, steps: int, dt: float) -> Array:
    """m driven at ``t = k dt``: ``(rows, steps)``, beginning with 0."""
    count = len(drives.s)
    horizon = (steps - 1) * dt
    parts = max(int(np.ceil(horizon / STEP - 1e-9)), 1)
    h = horizon / parts
    v = np.concatenate([drives.speed, drives.others])
    np.maximum(v, 0.0, out=v)
    driven = np.zeros(len(v))
    own, mine = v[:count], driven[:count]  # views: what changes in them changes in the whole
    going, braking = np.searchsorted(drives.manner, [KEEP, BRAKE]).tolist()
    gap0 = drives.gap.copy()
    any_sign = bool(drives.stops.any())
    speeds, pushes, places = (np.zeros((parts, count)) for _ in range(3))
    for k in range(parts):
        goal = np.minimum(drives.wanted, ways.cap[_sample(drives, ways, drives.s + mine)])
        push = _free(own, goal, going)
        habit = PERSISTENT * math.exp(-k * h / PERSISTENCE)
        push[:going] += habit * (drives.acceleration[:going] - push[:going])
        gap = gap0 + driven.take(drives.ahead)
        gap -= mine
        if any_sign:
            served = drives.stops & (own < 0.3) & (gap < SERVED)
            gap0[served] = np.inf
            gap[served] = np.inf
        push -= gap_term(own, gap, own - v.take(drives.ahead), IDM)
        np.minimum(push[braking:], -BRAKING, out=push[braking:])
        np.maximum(push, -HARDEST, out=push)
        speeds[k], pushes[k], places[k] = own, push, mine
        after = own + push * h
        till = np.where(after < 0.0, own / np.maximum(-push, 1e-6), h)
        driven[count:] += v[count:] * h
        mine += (own + 0.5 * push * till) * till
        np.maximum(after, 0.0, out=own)
    t = np.arange(steps) * dt
    part = np.minimum((t / h + 1e-9).astype(np.int64), parts - 1)
    till_rest = np.where(pushes < -1e-6, speeds / np.maximum(-pushes, 1e-6), np.inf)
    within = np.minimum((t - part * h)[:, None], till_rest[part])
    return (places[part] + (speeds[part] + 0.5 * pushes[part] * within) * within).T
