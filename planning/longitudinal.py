"""How fast along the path: speed limits, curves, a place to stop, and leaders to follow (IDM).

Everything is one-dimensional. ``s`` is m along the path of the *rear axle*; the front bumper is
``front`` metres ahead of it. `speed_profile` says how fast one may be where, `roll_out` drives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roadloop.idm import LEAST_GAP, IdmParameters, gap_term

Array = np.ndarray

MAX_YAW_RATE = 0.9
"""rad/s, just inside nuPlan's comfort bound of 0.95"""
PREVIEW = 0.5
"""s ahead of the ego at which the speed profile is read: the time constant of following it"""
HARD_BRAKING = 3.5
"""m/s^2: demands above it are emergencies, for which the jerk bound is given up"""


@dataclass(frozen=True)
class DrivingStyle:
    """What the planner finds comfortable, inside nuPlan's comfort bounds (-4.05 < a < 2.40 m/s^2,
    |lateral| < 4.89 m/s^2, |longitudinal jerk| < 4.13 m/s^3)."""

    time_headway: float = 1.3
    """s behind a moving leader"""
    minimum_gap: float = 2.5
    """m bumper to bumper at a standstill"""
    acceleration: float = 1.8
    """m/s^2 on a free road"""
    deceleration: float = 2.0
    """m/s^2 for stops and curves seen in time"""
    max_deceleration: float = 8.0
    """m/s^2 in an emergency"""
    lateral_acceleration: float = 2.2
    """m/s^2 in curves"""
    jerk: float = 2.0
    """m/s^3"""
    speed_factor: float = 1.0
    """share of the speed limit to drive at"""


@dataclass(frozen=True)
class Leaders:
    """What is ahead in the corridor; fields ``(leaders,)``."""

    s: Array
    """m along the path of the end nearest to the ego, now"""
    speed: Array
    """m/s along the path, negative when coming towards the ego"""

    def __len__(self) -> int:
        return len(self.s)

    def decisive(self) -> list[tuple[float, float]]:
        """``s`` and ``speed`` of those without whom one would drive otherwise.

        Who is farther away than another one and not slower never is the one to brake for.
        """
        kept, slowest = [], math.inf
        for s, speed in sorted(zip(self.s.tolist(), self.speed.tolist(), strict=True)):
            if speed < slowest:
                kept.append((s, speed))
                slowest = speed
        return kept


@dataclass(frozen=True)
class Motion:
    """A longitudinal plan; fields ``(steps + 1,)``, the first one is now."""

    t: Array
    s: Array
    v: Array
    a: Array

    def time_at(self, s: Array | float) -> Array:
        """s until the rear axle is at ``s``, going on at the last speed; inf where it never is."""
        s = np.asarray(s, dtype=np.float64)
        v_end = max(float(self.v[-1]), 1e-6)
        beyond = self.t[-1] + (s - self.s[-1]) / v_end
        # s stands still while the ego does: interpolate on the strictly rising part only
        rising = np.concatenate([[True], np.diff(self.s) > 1e-9])
        inside = np.interp(s, self.s[rising], self.t[rising])
        time = np.where(s > self.s[-1], beyond, inside)
        return np.where(time > 60.0, np.inf, np.where(s <= self.s[0], 0.0, time))


def speed_profile(s: Array, speed_limit: Array, curvature: Array, style: DrivingStyle) -> Array:
    """Highest speed ``(points,)`` at which every later limit can be met with comfortable braking.

    ``v^2(s) = min over s' >= s of v_max^2(s') + 2 b (s' - s)`` where ``v_max`` keeps the limit,
    ``v^2 |curvature|`` below the lateral acceleration and the yaw rate inside its bound.
    """
    bend = np.maximum(np.abs(curvature), 1e-6)
    v_max = np.minimum(speed_limit * style.speed_factor, MAX_YAW_RATE / bend)
    reach = np.minimum(v_max**2, style.lateral_acceleration / bend) + 2.0 * style.deceleration * s
    reach = np.minimum.accumulate(reach[::-1])[::-1]
    return np.sqrt(np.maximum(reach - 2.0 * style.deceleration * s, 0.0))


def stopping_acceleration(v: float, distance: float, style: DrivingStyle) -> float:
    """m/s^2 demanded by a standstill ``distance`` m ahead; inf while braking can wait.

    ``a = -v^2 / (2 distance)`` held constant ends exactly there. Braking begins a little before it
    reaches the comfortable value, because jerk is bounded, and no speed is built up shortly before.
    """
    if distance <= 0.05:
        return -style.max_deceleration if v > 0.05 else 0.0
    if v < 0.1 and distance < 1.0:  # near enough: do not creep up
        return -v / PREVIEW
    needed = v * v / (2.0 * distance)
    if needed >= 0.8 * style.deceleration:
        return -min(1.02 * needed, style.max_deceleration)
    if needed >= 0.5 * style.deceleration:
        return 0.0
    # from a standstill: never faster than what comfortable braking can still take away
    allowed = math.sqrt(style.deceleration * distance)
    return (allowed - v) / PREVIEW if allowed < v + 1.0 else math.inf


def following_acceleration(
    v: float | Array, free: float | Array, gap: Array, speed: Array, idm: IdmParameters
) -> Array:
    """IDM behind each leader, m/s^2, softened where no collision threatens; ``(leaders,)``.

    ``free`` is the acceleration of a free road, ``gap`` m to and ``speed`` m/s of the leaders. IDM
    answers a leader that cuts in close but is not slower with full braking. As in Kesting, Treiber
    and Helbing, "Enhanced intelligent driver model" (2010), the answer is kept near what physics
    needs, ``dv^2 / (2 gap)``, until bumpers nearly touch.
    """
    closing = v - speed
    wanted = free - gap_term(np.float64(v), gap, closing, idm)
    room = np.maximum(gap - 1.0, 0.1)
    needed = np.maximum(closing, 0.0) ** 2 / (2.0 * room)
    touching = 2.2 * np.clip(1.5 - gap, 0.0, 1.0)
    return np.maximum(wanted, -np.maximum(2.8 + touching, 1.6 * needed))


def _following_one(idm: IdmParameters) -> Callable[[float, float, float, float], float]:
    """`following_acceleration` of ``v, free, gap, speed`` for one leader, in plain numbers.

    A roll-out asks it hundreds of times, of a few leaders each.
    """
    pull, headway = float(np.asarray(idm.acceleration)), float(np.asarray(idm.time_headway))
    standstill = float(np.asarray(idm.minimum_gap))
    braking = 1.0 / (2.0 * math.sqrt(pull * float(np.asarray(idm.deceleration))))

    def follow(v: float, free: float, gap: float, speed: float) -> float:
        closing = v - speed
        wish = standstill + max(v * headway + v * closing * braking, 0.0)
        wanted = free - pull * (wish / max(gap, LEAST_GAP)) ** 2
        needed = max(closing, 0.0) ** 2 / (2.0 * max(gap - 1.0, 0.1))
        touching = 2.2 * min(max(1.5 - gap, 0.0), 1.0)
        return max(wanted, -max(2.8 + touching, 1.6 * needed))

    return follow


def roll_out(
    s: float,
    v: float,
    a: float,
    profile_start: float,
    profile_step: float,
    profile: Array,
    stop_at: float,
    leaders: Leaders,
    front: float,
    style: DrivingStyle,
    idm: IdmParameters,
    steps: int,
    dt: float,
) -> Motion:
    """Drive ``steps`` of ``dt`` s from rear-axle state ``s, v, a``.

    ``profile`` is sampled every ``profile_step`` m from ``profile_start``; ``stop_at`` is the
    rear-axle ``s`` of the next stop (inf: none); leaders keep their speed.
    """
    caps = profile.tolist()
    last = len(caps) - 1

    def cap(place: float) -> float:
        k = (place - profile_start) / profile_step
        if k <= 0.0:
            return caps[0]
        i = int(k)
        return caps[last] if i >= last else caps[i] + (k - i) * (caps[i + 1] - caps[i])

    follow, ahead = _following_one(idm), leaders.decisive()
    out_s, out_v, out_a = [s], [v], [a]
    jerk, hardest = style.jerk * dt, style.max_deceleration
    for k in range(steps):
        here = cap(s)
        free = style.acceleration * (1.0 - (v / max(here, 0.5)) ** 4)
        want = min(free, (cap(s + v * PREVIEW) - v) / PREVIEW)
        want = max(want, -3.0)  # being over the limit is no emergency
        want = min(want, stopping_acceleration(v, stop_at - s, style))
        for place, speed in ahead:
            want = min(want, follow(v, free, place + speed * (k * dt) - (s + front), speed))
        want = max(want, -hardest)
        if want > -HARD_BRAKING:
            want = min(max(want, a - jerk), a + jerk) if a > -HARD_BRAKING else want
        a = want
        next_v = v + a * dt
        if next_v <= 0.0:
            s, v, a = s + (v * v / (-2.0 * a) if a < 0.0 else 0.0), 0.0, 0.0
        else:
            s, v = s + 0.5 * (v + next_v) * dt, next_v
        out_s.append(s)
        out_v.append(v)
        out_a.append(a)
    t = np.arange(steps + 1) * dt
    return Motion(t, np.array(out_s), np.array(out_v), np.array(out_a))
