"""What the learned planner chooses from: ways to go on along the route, whoever is around.

Every sideways aim with every acceleration, and stops at the places where the route may ask for one.
Nothing here looks at lights, signs or right of way, nor at other road users but for the place
behind the one ahead: whether to stop, to yield or to go around is what is learnt. The shapes are
kinematics: bounded jerk, quintic steps to the side, no faster than limits and bends allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.corridor import PathWindow
from planning.lateral_offset import STEP_CURVATURE
from planning.learned_config import (
    ACCELERATIONS,
    CHANGE,
    MOMENTS,
    OFFSETS,
    PROPOSALS,
    SIDEWAYS,
    STOPS,
)
from planning.learned_route import RouteGuide

Array = np.ndarray
Sideways = Callable[[Array], tuple[Array, Array, Array]]
"""m along the line -> m left of it, how that changes per m, and that"""

STEP, HORIZON = 0.2, 5.0
"""s"""
TIMES = STEP * np.arange(round(HORIZON / STEP) + 1)
_MOMENTS = np.interp(MOMENTS, TIMES, np.arange(len(TIMES)))
JERK, FIRM_JERK, HARD = 1.8, 3.0, -4.5
"""m/s^3 of gentle and of firm changes; m/s^2 of braking from which nothing bounds it"""
COMFORTABLE = 2.0
"""m/s^2 of stops that are seen in time"""
PREVIEW = 0.5
"""s ahead at which the speed allowed is read"""
TIGHTEST = 0.17
"""1/m of curvature that steps to the side add at most"""
SIDE_TIME = 3.1
"""s that 3.5 m to the side take; less takes less"""
AHEAD_GAP, AHEAD_HALF = 3.0, 0.3
"""m behind somebody ahead to stop, and beside the ego's way up to which a body must reach"""


@dataclass(frozen=True)
class Proposals:
    """P proposals by K moments of `TIMES`; along the route's line and beside it."""

    names: tuple[str, ...]
    s: Array
    """(P, K) m along the line, rear axle"""
    v: Array
    a: Array
    d: Array
    """(P, K) m left of the line"""
    slope: Array
    """(P, K) dd/ds"""
    bend: Array
    """(P, K) 1/m that moving sideways adds to the line's curvature"""
    aim: Array
    """(P,) which sideways option"""
    pull: Array
    """(P,) m/s^2 asked for, 0 of stops"""
    stops: Array
    """(P,) bool"""
    valid: Array
    """(P,) bool"""
    steps: tuple[Sideways, ...]
    """of each sideways option"""

    def at_moments(self, values: Array) -> Array:
        """(P, T) of (P, K) at `MOMENTS`."""
        low = np.minimum(_MOMENTS.astype(np.int64), len(TIMES) - 2)
        share = _MOMENTS - low
        return values[:, low] * (1.0 - share) + values[:, low + 1] * share


@dataclass(frozen=True)
class Start:
    """Where proposals begin."""

    s: float
    """m along the line, of the rear axle"""
    front: float
    """likewise, of the front bumper"""
    speed: float
    acceleration: float
    d: float
    """m left of the line ..."""
    slope: float
    """... and how that changes per m, ..."""
    bend: float
    """... and that"""


def propose(
    guide: RouteGuide, window: PathWindow, start: Start, ahead: float, limits: Array
) -> Proposals:
    """All proposals from ``start``.

    Args:
        ahead: m along the line of the rear end of somebody in the way, inf where nobody is.
        limits: (points of ``window``,) m/s allowed along it.
    """
    length = start.front - start.s
    stop_at = np.full(STOPS, np.inf)
    places = guide.places_to_stop(start.front, STOPS - 1)
    stop_at[: len(places)] = places
    stop_at[-1] = ahead - AHEAD_GAP
    pulls = np.concatenate([ACCELERATIONS, np.zeros(STOPS)])
    until = np.concatenate([np.full(len(ACCELERATIONS), np.inf), stop_at]) - length
    s, v, a = _roll_out(window, limits, start, pulls, until)

    count = len(ACCELERATIONS)
    row = np.concatenate([np.tile(np.arange(count), SIDEWAYS), count + np.arange(STOPS)])
    aim = np.concatenate([np.repeat(np.arange(SIDEWAYS), count), np.zeros(STOPS, np.int64)])
    steps, possible = _sideways(guide, start)
    d, slope, bend = (np.zeros((PROPOSALS, len(TIMES))) for _ in range(3))
    for k, step in enumerate(steps):
        mine = aim == k
        d[mine], slope[mine], bend[mine] = step(s[row[mine]])
    stops = row >= count
    valid = possible[aim] & np.where(stops, np.isfinite(until[row]), True)
    # who stands does not step aside: one standstill is enough
    if start.speed < 0.2:
        valid &= (aim == 0) | (pulls[row] > 0.0)
    return Proposals(
        names=_names(guide.side, stop_at - start.front), s=s[row], v=v[row], a=a[row], d=d,
        slope=slope, bend=bend, aim=aim, pull=pulls[row], stops=stops, valid=valid, steps=steps,
    )  # fmt: skip


def _names(side: float, rooms: Array) -> tuple[str, ...]:
    ways = ["keep lane"]
    ways += [f"{abs(d):.1f} m {'left' if d * side > 0 else 'right'}" for d in OFFSETS[1:]]
    ways.append("change lane")
    speeds = [f"{a:+.1f} m/s²" if a else "hold speed" for a in ACCELERATIONS]
    names = [f"{way}, {speed}" for way in ways for speed in speeds]
    room = np.nan_to_num(np.maximum(rooms, 0.0), posinf=0.0)
    names += [f"stop in {m:.0f} m" for m in room[:-1]] + [f"stop behind, in {room[-1]:.0f} m"]
    return tuple(names)


def _roll_out(
    window: PathWindow, limits: Array, start: Start, pulls: Array, until: Array
) -> tuple[Array, Array, Array]:
    """s, v, a (rows, K): ``pulls`` m/s^2 asked for, standing at ``until`` m along the line."""
    spacing, last = float(window.s[1] - window.s[0]), len(limits) - 1
    stopping = np.isfinite(until)
    goes = np.where(stopping, 1.9, pulls)
    rise = np.where(pulls < HARD, 100.0, np.where(pulls < -1.0, FIRM_JERK, JERK)) * STEP
    s, v = np.full(len(pulls), start.s), np.full(len(pulls), start.speed)
    a = np.full(len(pulls), start.acceleration)
    out = [(s, v, a)]

    def allowed(at: Array) -> Array:
        k = np.clip((at - window.s[0]) / spacing, 0.0, last - 1e-6)
        low = k.astype(np.int64)
        return limits[low] + (k - low) * (limits[low + 1] - limits[low])

    for _ in range(len(TIMES) - 1):
        soon = s + v * PREVIEW
        cap = allowed(soon)
        room = np.maximum(until - soon, 0.0)
        cap = np.where(stopping, np.minimum(cap, np.sqrt(2.0 * COMFORTABLE * room)), cap)
        want = np.minimum(goes, np.maximum((cap - v) / PREVIEW, -COMFORTABLE))
        needed = v * v / (2.0 * np.maximum(until - s, 0.05))
        want = np.where(needed > 0.8 * COMFORTABLE, -np.minimum(needed, 8.0), want)
        free = np.where(want < HARD, 100.0, rise)
        a = np.maximum(np.minimum(want, a + np.maximum(rise, JERK * STEP)), a - free)
        then = v + a * STEP
        halts = then <= 0.0
        rest = np.where(a < 0.0, v * v / np.maximum(-2.0 * a, 1e-9), 0.0)
        s = s + np.where(halts, rest, 0.5 * (v + then) * STEP)
        v, a = np.where(halts, 0.0, then), np.where(halts, 0.0, a)
        out.append((s, v, a))
    both = np.array(out)  # (K, 3, rows)
    return both[:, 0].T, both[:, 1].T, both[:, 2].T


def _sideways(guide: RouteGuide, start: Start) -> tuple[tuple[Sideways, ...], Array]:
    """Of each sideways option d, slope and bend along the line, and (SIDEWAYS,) if there is one."""
    lane, changed = guide.lane_offset(), guide.change_due(start.s)
    possible = np.ones(SIDEWAYS, dtype=bool)
    possible[CHANGE] = changed is not None
    options = []
    for k in range(SIDEWAYS):
        base = changed if k == CHANGE and changed is not None else lane
        aim = 0.0 if k == CHANGE else guide.side * OFFSETS[k]
        here = base.at(np.array([start.s]))
        off = start.d - float(here[0][0])
        slope, bend = start.slope - float(here[1][0]), start.bend - float(here[2][0])
        away = abs(aim - off)
        seconds = SIDE_TIME * min(max(np.sqrt(away / 3.5), 0.35), 1.0)
        length = max(np.sqrt(STEP_CURVATURE * away / TIGHTEST), seconds * start.speed, 4.0)
        curve = _quintic(off, slope, bend, aim, length)
        options.append(_Step(base.at, start.s, length, aim, curve))
    return tuple(options), possible


@dataclass(frozen=True)
class _Step:
    """A quintic from ``start`` over ``length`` m, then ``aim``, all beside ``base``."""

    base: Sideways
    start: float
    length: float
    aim: float
    near: Array
    """coefficients 0 to 5 in m"""

    def __call__(self, s: Array) -> tuple[Array, Array, Array]:
        d, slope, bend = self.base(s)
        u = np.clip(s - self.start, 0.0, self.length)
        c, inside = self.near, (s - self.start) < self.length
        e = c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * c[5]))))
        first = c[1] + u * (2 * c[2] + u * (3 * c[3] + u * (4 * c[4] + u * 5 * c[5])))
        second = 2 * c[2] + u * (6 * c[3] + u * (12 * c[4] + u * 20 * c[5]))
        return (
            d + np.where(inside, e, self.aim),
            slope + np.where(inside, first, 0.0),
            bend + np.where(inside, second, 0.0),
        )


def _quintic(d: float, slope: float, bend: float, aim: float, length: float) -> Array:
    """Coefficients from a state to ``aim``, level and straight, ``length`` m on."""
    x = length
    gap = aim - (d + slope * x + 0.5 * bend * x * x)
    first, second = -(slope + bend * x), -bend
    c3 = (10.0 * gap - 4.0 * first * x + 0.5 * second * x * x) / x**3
    c4 = (-15.0 * gap + 7.0 * first * x - second * x * x) / x**4
    c5 = (6.0 * gap - 3.0 * first * x + 0.5 * second * x * x) / x**5
    return np.array([d, slope, 0.5 * bend, c3, c4, c5])
