"""Car following (IDM) and lane changing (MOBIL) as vectorised functions with the papers' names.

IDM: M. Treiber, A. Hennecke, D. Helbing, "Congested traffic states in empirical observations and
microscopic simulations", Physical Review E 62 (2000) 1805. MOBIL: A. Kesting, M. Treiber,
D. Helbing, "General lane-changing model MOBIL for car-following models", Transportation Research
Record 1999 (2007) 86. Quantities are ``(...)`` arrays that broadcast, SI units.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

LEAST_GAP = 0.1
"""m; gaps below it count as this much, so that touching bumpers brake hard but finitely"""


@dataclass(frozen=True)
class IdmParameters:
    """How a driver follows; every field a number or an array ``(...)``. Defaults: the paper's."""

    desired_speed: Array | float = 120.0 / 3.6
    """v0, m/s on a free road"""
    time_headway: Array | float = 1.6
    """T, s behind the leader"""
    minimum_gap: Array | float = 2.0
    """s0, m bumper to bumper at a standstill"""
    acceleration: Array | float = 0.73
    """a, m/s^2 from a standstill on a free road"""
    deceleration: Array | float = 1.67
    """b, m/s^2 of comfortable braking"""
    exponent: float = 4.0
    """delta, how late the acceleration fades as v nears v0"""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            above_zero = np.all(np.asarray(value) > 0.0)
            zero_is_fine = f.name in ("time_headway", "minimum_gap")
            if not above_zero and not (zero_is_fine and np.all(np.asarray(value) >= 0.0)):
                bound = "at least 0" if zero_is_fine else "above 0"
                raise RoadloopError(f"IDM {f.name} is {value}: expected a number {bound}")


@dataclass(frozen=True)
class MobilParameters:
    """When a driver changes lane. Defaults: the paper's simulations (section 4)."""

    politeness: Array | float = 0.5
    """p, 0 selfish ... 1 counts others' acceleration as much as the own"""
    threshold: float = 0.1
    """Delta a_th, m/s^2 that a change must gain"""
    safe_deceleration: float = 4.0
    """b_safe, m/s^2 the new follower may at most be made to brake"""
    keep_right_bias: float = 0.0
    """Delta a_bias, m/s^2 in favour of the right lane (0: symmetric; the paper uses 0.3)"""


def desired_gap(
    speed: Array | float, approach_rate: Array | float, parameters: IdmParameters
) -> Array:
    """s*(v, dv) = s0 + max(0, v T + v dv / (2 sqrt(a b))), m; ``(...)``.

    ``approach_rate`` dv is the own speed minus the leader's, m/s. The bracket is kept from going
    negative as in Treiber and Kesting, Traffic Flow Dynamics (2013), section 11.3: a leader that
    pulls away fast must not shrink s* below the standstill gap.
    """
    p = parameters
    braking = speed * approach_rate / (2.0 * np.sqrt(np.multiply(p.acceleration, p.deceleration)))
    return p.minimum_gap + np.maximum(speed * p.time_headway + braking, 0.0)


def free_road_acceleration(speed: Array | float, parameters: IdmParameters) -> Array:
    """a (1 - (v / v0)^delta), m/s^2; ``(...)``. Speeds below 0 count as 0."""
    p = parameters
    return p.acceleration * (1.0 - (np.maximum(speed, 0.0) / p.desired_speed) ** p.exponent)


def gap_term(
    speed: Array | float,
    gap: Array | float,
    approach_rate: Array | float,
    parameters: IdmParameters,
) -> Array:
    """a (s* / s)^2, m/s^2: what the leader takes off the free-road acceleration; ``(...)``.

    ``gap`` s is m from the own front to the leader's rear bumper; ``np.inf`` means no leader.
    """
    s_star = desired_gap(speed, approach_rate, parameters)
    return parameters.acceleration * (s_star / np.maximum(gap, LEAST_GAP)) ** 2


def idm_acceleration(
    speed: Array | float,
    gap: Array | float,
    approach_rate: Array | float,
    parameters: IdmParameters,
) -> Array:
    """dv/dt = a (1 - (v / v0)^delta - (s* / s)^2), m/s^2; ``(...)``.

    ``gap`` is ``np.inf`` and ``approach_rate`` 0 where there is no leader. The value is not
    limited: a caller caps it at what the vehicle can brake.
    """
    return free_road_acceleration(speed, parameters) - gap_term(
        speed, gap, approach_rate, parameters
    )


def equilibrium_gap(speed: Array | float, parameters: IdmParameters) -> Array:
    """s_e(v) = (s0 + v T) / sqrt(1 - (v / v0)^delta), m; ``(...)``.

    The gap at which dv/dt = 0 behind a leader of the same speed; infinite at and above
    the desired speed.
    """
    p = parameters
    room = 1.0 - (np.asarray(speed, dtype=np.float64) / p.desired_speed) ** p.exponent
    gap = desired_gap(speed, np.zeros_like(room), p)
    return np.where(room > 0.0, gap / np.sqrt(np.where(room > 0.0, room, 1.0)), np.inf)


def mobil_safe(new_follower_after: Array | float, parameters: MobilParameters) -> Array:
    """a~_n >= -b_safe: the follower in the target lane need not brake too hard; ``(...)`` bool."""
    return np.asarray(new_follower_after) >= -parameters.safe_deceleration


def mobil_incentive(
    own_before: Array | float,
    own_after: Array | float,
    new_follower_before: Array | float,
    new_follower_after: Array | float,
    old_follower_before: Array | float,
    old_follower_after: Array | float,
    parameters: MobilParameters,
) -> Array:
    """(a~_c - a_c) + p ((a~_n - a_n) + (a~_o - a_o)), m/s^2; ``(...)``.

    IDM accelerations before and after (~) the change of the changer c, the new follower n (in the
    target lane) and the old follower o; a follower that is not there has 0 before and after.
    """
    own = np.subtract(own_after, own_before)
    new_follower = np.subtract(new_follower_after, new_follower_before)
    old_follower = np.subtract(old_follower_after, old_follower_before)
    return own + parameters.politeness * (new_follower + old_follower)


def mobil_accepts(
    incentive: Array | float,
    new_follower_after: Array | float,
    to_left: Array | bool,
    parameters: MobilParameters,
) -> Array:
    """Whether to change: safe, and incentive > Delta a_th +- Delta a_bias; ``(...)`` bool.

    The bias is added for a change to the left (``to_left``) and taken off for one to the right.
    """
    bias = np.where(to_left, parameters.keep_right_bias, -parameters.keep_right_bias)
    return (incentive > parameters.threshold + bias) & mobil_safe(new_follower_after, parameters)
