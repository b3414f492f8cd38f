"""Ways to go on from here: sideways offsets x speeds x places to stop, rolled out all at once.

P proposals are rows of arrays; the loop over time is the only one. The longitudinal motion is much
like that of `planning.longitudinal.roll_out`, but *anticipates*: who brakes is expected to go on
braking to a standstill, so that braking begins earlier and is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planning.corridor import PathWindow
from planning.lateral_offset import LateralOffset
from planning.longitudinal import HARD_BRAKING, PREVIEW, DrivingStyle
from roadloop.idm import LEAST_GAP, IdmParameters

Array = np.ndarray

BRAKES = -0.5
"""m/s^2, a leader that slows down more than this is expected to go on doing so"""
ROOM_BEHIND = 1.5
"""m left behind a leader where a row will have stopped"""
EAGER_JERK = 3.5
"""m/s^3 with which rows begin to brake, inside nuPlan's bound of 4.13"""


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

    @property
    def brakes(self) -> Array:
        """bool, is expected to go on braking"""
        return (self.acceleration < BRAKES) & (self.speed > 0.0)

    def only(self, which: Array) -> FollowedAgents:
        """Some of them, by mask or index."""
        return FollowedAgents(self.s[which], self.speed[which], self.acceleration[which])

    def predicted(self, t: Array) -> tuple[Array, Array]:
        """Place and speed at constant speed or, of those that brake, at constant braking.

        ``t`` ``(times,)`` s; each ``(times, leaders)``.
        """
        a = np.where(self.brakes, self.acceleration, 0.0)
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
    count, (lines, samples) = len(options.line), profiles.shape
    t = np.arange(steps + 1) * dt
    # the profiles of all lines one behind the other, so that one look-up serves all rows
    length = samples * spacing
    grid = (np.arange(samples) * spacing + length * np.arange(lines)[:, None]).ravel()
    allowed, end = profiles.ravel(), (samples - 1) * spacing
    line = np.concatenate([options.line, options.line])
    behind, shares = line * length, np.concatenate([options.pace, options.pace])

    unseen = np.where(options.led, 0.0, np.inf)
    counts = unseen.min(axis=0, initial=np.inf) == 0.0
    unseen, leaders = unseen[:, counts], leaders.only(counts)
    follows = bool(counts.any())
    place, pace = leaders.predicted(t)
    place = place - front
    rests = place[-1] - ROOM_BEHIND
    brakes = leaders.brakes
    any_brakes = bool(brakes.any())
    pull_idm, headway = float(np.asarray(idm.acceleration)), float(np.asarray(idm.time_headway))
    standstill = float(np.asarray(idm.minimum_gap))
    dynamic = 0.5 / np.sqrt(pull_idm * float(np.asarray(idm.deceleration)))

    least = np.where(options.braking > 0.0, -options.braking, np.inf)
    down, up = EAGER_JERK * dt, style.jerk * dt
    # what is asked for is done at once: no jerk bound holds back an emergency
    at_once = options.braking > HARD_BRAKING
    # where the fastest could be braking for a stop by the end; most of the time nobody is
    reach = (v + style.acceleration * t[-1]) * (t[-1] + 4.0) + v * v / style.deceleration
    may_stop = bool((options.stop_at < s + reach).any())

    at, fast, pull = np.full(count, s), np.full(count, v), np.full(count, a)
    out = np.empty((3, steps + 1, count))
    out[:, 0] = at, fast, pull
    for k in range(steps):
        ahead = np.concatenate([at, at + fast * PREVIEW]) - start
        caps = np.interp(np.minimum(np.maximum(ahead, 0.0), end) + behind, grid, allowed) * shares
        share = fast / np.maximum(caps[:count], 0.5)
        share *= share
        free = style.acceleration * (1.0 - share * share)
        want = np.maximum(np.minimum(free, (caps[count:] - fast) / PREVIEW), -3.0)
        if may_stop:
            want = np.minimum(want, stopping_accelerations(fast, options.stop_at - at, style))
        if follows:
            speed, gap = fast[:, None], place[k] - at[:, None]
            closing = speed - pace[k]
            wish = np.maximum(speed * (headway + dynamic * closing), 0.0) + standstill
            wish /= np.maximum(gap, LEAST_GAP)
            wanted = free[:, None] - pull_idm * wish * wish
            closing = np.maximum(closing, 0.0)
            needed = closing * closing / np.maximum(2.0 * gap - 2.0 * ROOM_BEHIND, 0.2)
            if any_brakes:
                to_rest = speed * speed / np.maximum(2.0 * rests - 2.0 * at[:, None], 0.2)
                needed = np.where(brakes, to_rest, needed)
            soft = np.maximum(wanted, -np.maximum(2.8, 1.15 * needed))
            soft = np.where(needed > 1.0, np.minimum(soft, -1.05 * needed), soft)
            want = np.minimum(want, (soft + unseen).min(axis=1))
        want = np.maximum(np.minimum(want, least), -style.max_deceleration)
        bounded = np.maximum(want, pull - np.where(want < -1.0, down, up))
        gentle = (np.minimum(want, pull) > -HARD_BRAKING) & ~at_once
        pull = np.where(gentle, np.minimum(bounded, pull + up), want)
        then = np.maximum(fast + pull * dt, 0.0)
        at = at + (0.5 * dt) * (fast + then)
        fast = then
        pull = np.where(then > 0.0, pull, 0.0)
        out[:, k + 1] = at, fast, pull
    place_of, speed_of, pull_of = out.transpose(0, 2, 1)
    return t, place_of.copy(), speed_of.copy(), pull_of.copy()


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
