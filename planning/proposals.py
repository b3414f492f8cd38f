"""Ways to go on from here: sideways offsets x speeds x places to stop, rolled out all at once.

P proposals are rows of arrays; the loop over time is the only one. The longitudinal motion is that
of `planning.longitudinal.roll_out` for every row; rows that *anticipate* also expect who brakes to
go on braking to a standstill, and so brake earlier and less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planning.corridor import PathWindow
from planning.lateral_offset import LateralOffset
from planning.longitudinal import HARD_BRAKING, PREVIEW, DrivingStyle, following_acceleration
from roadloop.idm import IdmParameters

Array = np.ndarray

BRAKES = -0.5
"""m/s^2, a leader that slows down more than this is expected to go on doing so"""
ROOM_BEHIND = 1.5
"""m left behind a leader where an anticipating row will have stopped"""
EAGER_JERK = 3.5
"""m/s^3 with which anticipating rows begin to brake, inside nuPlan's bound of 4.13"""


@dataclass(frozen=True)
class Options:
    """What distinguishes the proposals; fields ``(P,)`` where nothing else is said."""

    names: tuple[str, ...]
    line: Array
    """which of the sideways offsets"""
    pace: Array
    """share of the allowed speed that is driven"""
    stop_at: Array
    """m along the path at which the rear axle stops, inf: nowhere"""
    braking: Array
    """m/s^2 of braking that is kept up whatever happens, 0: none"""
    anticipates: Array
    """bool"""
    led: Array
    """(P, leaders) bool, whom each follows"""


@dataclass(frozen=True)
class FollowedAgents:
    """Everybody some proposal follows; fields ``(leaders,)``."""

    s: Array
    """m along the path of the end nearest to the ego, now"""
    speed: Array
    """m/s along the path"""
    acceleration: Array
    """m/s^2, likewise"""

    def predicted(self, t: Array) -> tuple[Array, Array]:
        """Place and speed at constant speed or, of those that brake, at constant braking.

        ``t`` ``(times,)`` s; each ``(times, leaders)``.
        """
        a = np.where((self.acceleration < BRAKES) & (self.speed > 0.0), self.acceleration, 0.0)
        until = np.where(a < 0.0, self.speed / np.maximum(-a, 1e-6), np.inf)
        moving = np.minimum(t[:, None], until)
        return self.s + self.speed * moving + 0.5 * a * moving**2, self.speed + a * moving


@dataclass(frozen=True)
class Proposals:
    """Rolled-out options; fields ``(P, times)``, the first moment is now, rear axle."""

    t: Array
    """(times,) s"""
    s: Array
    """m along the path"""
    v: Array
    a: Array
    d: Array
    """m left of the path"""
    bend: Array
    """1/m, curvature of what is driven"""
    turned: Array
    """rad, of the ego against the path"""
    x: Array
    y: Array
    heading: Array


def stopping_accelerations(v: Array, distance: Array, style: DrivingStyle) -> Array:
    """`planning.longitudinal.stopping_acceleration` of many: ``(P,)``."""
    room = np.maximum(distance, 1e-9)
    needed = v * v / (2.0 * room)
    allowed = np.sqrt(style.deceleration * room)
    rising = np.where(allowed < v + 1.0, (allowed - v) / PREVIEW, np.inf)
    wanted = np.where(needed >= 0.5 * style.deceleration, 0.0, rising)
    firm = -np.minimum(1.02 * needed, style.max_deceleration)
    wanted = np.where(needed >= 0.8 * style.deceleration, firm, wanted)
    wanted = np.where((v < 0.1) & (distance < 1.0), -v / PREVIEW, wanted)
    there = np.where(v > 0.05, -style.max_deceleration, 0.0)
    return np.where(distance <= 0.05, there, wanted)


def roll_out_all(
    options: Options,
    s: float,
    v: float,
    a: float,
    start: float,
    spacing: float,
    profiles: Array,
    leaders: FollowedAgents,
    front: float,
    style: DrivingStyle,
    idm: IdmParameters,
    steps: int,
    dt: float,
) -> tuple[Array, Array, Array, Array]:
    """Times ``(steps + 1,)`` and ``s``, ``v``, ``a`` ``(P, steps + 1)`` of all options.

    ``profiles`` ``(lines, samples)`` m/s allowed every ``spacing`` m from ``start``; ``front`` m
    from the rear axle to the front bumper.
    """
    count, last = len(options.line), profiles.shape[1] - 1
    flat, row = np.ravel(profiles), options.line * profiles.shape[1]
    t = np.arange(steps + 1) * dt
    # (steps + 1, P, leaders): rows that anticipate see leaders brake, the others do not
    who = options.anticipates[:, None]
    steady = leaders.s + leaders.speed * t[:, None]
    braked_s, braked_v = leaders.predicted(t)
    place = np.where(who, braked_s[:, None], steady[:, None]) - front
    pace = np.where(who, braked_v[:, None], leaders.speed)
    rests = braked_s[-1] - front - ROOM_BEHIND
    brakes = (leaders.acceleration < BRAKES) & (leaders.speed > 0.0)
    unseen = np.where(options.led, 0.0, np.inf)
    follows = bool(options.led.any())
    braking = np.where(options.braking > 0.0, -options.braking, np.inf)
    down = np.where(options.anticipates, EAGER_JERK, style.jerk) * dt
    jerk = style.jerk * dt
    # what is asked for is done at once: no jerk bound holds back an emergency
    at_once = options.braking > HARD_BRAKING

    row, pace_of = np.concatenate([row, row]), np.concatenate([options.pace, options.pace])
    # where the fastest could be braking for a stop by the end; most of the time nobody is
    reach = (v + style.acceleration * t[-1]) * (t[-1] + 4.0) + v * v / style.deceleration
    may_stop = bool((options.stop_at < s + reach).any())

    def caps(at: Array, soon: Array) -> tuple[Array, Array]:
        k = (np.concatenate([at, soon]) - start) / spacing
        k = np.minimum(np.maximum(k, 0.0), last)
        i = np.minimum(k.astype(np.int64), last - 1)
        low = flat[row + i]
        both = pace_of * (low + (k - i) * (flat[row + i + 1] - low))
        return both[:count], both[count:]

    at, fast, pull = np.full(count, s), np.full(count, v), np.full(count, a)
    out_s, out_v, out_a = [at], [fast], [pull]
    for k in range(steps):
        here, soon = caps(at, at + fast * PREVIEW)
        share = fast / np.maximum(here, 0.5)
        share *= share
        free = style.acceleration * (1.0 - share * share)
        want = np.maximum(np.minimum(free, (soon - fast) / PREVIEW), -3.0)
        if may_stop:
            want = np.minimum(want, stopping_accelerations(fast, options.stop_at - at, style))
        if follows:
            speed, gap = fast[:, None], place[k] - at[:, None]
            following = following_acceleration(speed, free[:, None], gap, pace[k], idm)
            closing = np.maximum(speed - pace[k], 0.0)
            needed = closing * closing / (2.0 * np.maximum(gap - ROOM_BEHIND, 0.1))
            to_rest = speed * speed / (2.0 * np.maximum(rests - at[:, None], 0.1))
            needed = np.where(brakes, to_rest, needed)
            soft = np.maximum(following, -np.maximum(2.8, 1.15 * needed))
            soft = np.where(needed > 1.0, np.minimum(soft, -1.05 * needed), soft)
            following = np.where(who, soft, following) + unseen
            want = np.minimum(want, following.min(axis=1))
        want = np.maximum(np.minimum(want, braking), -style.max_deceleration)
        bounded = np.where(want < -1.0, pull - down, pull - jerk)
        bounded = np.minimum(np.maximum(want, bounded), pull + jerk)
        gentle = (want > -HARD_BRAKING) & (pull > -HARD_BRAKING) & ~at_once
        pull = np.where(gentle, bounded, want)
        then = fast + pull * dt
        stops = then <= 0.0
        rest = np.where(pull < 0.0, fast * fast / np.maximum(-2.0 * pull, 1e-9), 0.0)
        at = at + np.where(stops, rest, 0.5 * (fast + then) * dt)
        fast, pull = np.where(stops, 0.0, then), np.where(stops, 0.0, pull)
        out_s.append(at)
        out_v.append(fast)
        out_a.append(pull)
    return t, np.stack(out_s, axis=1), np.stack(out_v, axis=1), np.stack(out_a, axis=1)


def lay_out(
    window: PathWindow,
    offsets: Sequence[LateralOffset],
    line: Array,
    t: Array,
    s: Array,
    v: Array,
    a: Array,
) -> Proposals:
    """Motions along the path as poses, ``line`` ``(P,)`` says which of the ``offsets`` applies."""
    d, slope, second = np.zeros_like(s), np.zeros_like(s), np.zeros_like(s)
    for i, offset in enumerate(offsets):
        mine = line == i
        if offset.steps and mine.any():
            d[mine], slope[mine], second[mine] = offset.at(s[mine])
    heading = np.interp(s, window.s, window.heading)
    curvature = np.interp(s, window.s, window.curvature)
    x = np.interp(s, window.s, window.x) - d * np.sin(heading)
    y = np.interp(s, window.s, window.y) + d * np.cos(heading)
    turned = np.arctan2(slope, np.maximum(1.0 - d * curvature, 0.1))
    return Proposals(t, s, v, a, d, curvature + second, turned, x, y, heading + turned)
