"""Where other road users may be, and where a driven path would meet them.

Every road user has several futures: each mode of its forecast that is not too unlikely, and going
on at constant velocity, grown by all that it can do within the response time. Ego and road users
are boxes; boxes of uncertain tracks are larger. Everybody is looked at at the moments `MOMENTS`,
and contacts are sought between them, too.

Who cannot come near the ego is left out early, which changes no result: a motion on the path is
never ahead of the fastest one (`Reach`).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from planning.track_watch import RoadUsers
from roadloop.scoring.collision import BEHIND, STOPPED
from roadloop.types import AgentKind, Forecasts, VehicleParameters

Array = np.ndarray

MOMENTS = np.concatenate([np.arange(0.0, 2.0, 0.1), np.arange(2.0, 6.01, 0.2)])
"""s from now at which everybody is looked at: closer together where it matters more"""
LEAST_PROBABILITY = 0.05
"""of a mode that is looked at"""
STRAIGHT_ON = 2.0
"""s for which constant velocity is believed of moving vehicles: on a bend of 50 m radius one at
8 m/s leaves its lane after 1.7 s of it. What stands, stands for all `MOMENTS`"""
WALKS_ON = 3.0
"""s likewise of pedestrians, who know no lanes"""
RESPONSE = 0.5
"""s in which everybody may do what it can: a step of the loop, the actuators' lags and the way the
controller smooths a command. The response time of `planning.rss_check`, too"""
ACCELERATION, BRAKING = 3.5, 8.0
"""m/s^2 along the heading within the response time (ad-rss-lib)"""
WALKER_ACCELERATION = 2.0
"""m/s^2 to any side: from standing to walking pace (1.4 m/s) in 0.7 s"""
SIGMAS, LARGEST_GROWTH = 1.0, 0.5
"""standard deviations of a position by which its box grows to every side, and m of that at most:
more than that and no lane is free any more"""
MOST_BRAKED = 0.5 * BRAKING * RESPONSE**2
"""m by which a box grows along its heading within the response time, at most"""
STILL = 0.3
"""m/s below which somebody stands"""
WITH = np.deg2rad(45.0)
"""rad between two headings up to which they drive the same way (as in scoring)"""
BESIDE = 1.0
"""s for which a contact side by side with somebody who drives the same way is believed: within a
lane everybody sways, and beside each other nobody stays for long"""


AT_STRAIGHT_ON, AT_WALKS_ON = (
    int(np.searchsorted(MOMENTS, seconds, side="right")) - 1 for seconds in (STRAIGHT_ON, WALKS_ON)
)
"""last of the `MOMENTS` within"""
LAST = len(MOMENTS) - 1
SOON = np.where(MOMENTS <= RESPONSE, MOMENTS, 0.0)
"""s, the `MOMENTS` within the response time, 0 after it"""
LONGEST_STEP = float(np.diff(MOMENTS).max())
"""s between two of them"""


@dataclass(frozen=True)
class Futures:
    """Boxes of road users; one row per road user and future, ``(rows, moments)``."""

    user: Array
    """(rows,) index into the road users"""
    x: Array
    y: Array
    heading: Array
    half_length: Array
    half_width: Array
    until: Array
    """(rows,) s for which it is believed"""


@dataclass(frozen=True)
class Motions:
    """Ways the ego might move; rear-axle poses, fields ``(candidates, moments)``.

    They may end before `MOMENTS` do, with the ego at a standstill.
    """

    x: Array
    y: Array
    heading: Array
    speed: Array


@dataclass(frozen=True)
class Reach:
    """Where the ego may be until each of `MOMENTS`: a growing box, and room; ``(moments,)``, m."""

    left: Array
    right: Array
    bottom: Array
    top: Array

    @classmethod
    def of(cls, motions: Motions, room: float) -> Reach:
        """Of the first candidate and of all that are nowhere ahead of it on the same path.

        ``room`` (m) goes to every side; added is what is driven in half a step.
        """
        x, y = motions.x[0], motions.y[0]
        room += 0.5 * LONGEST_STEP * float(motions.speed.max())
        return cls(
            np.minimum.accumulate(x) - room,
            np.maximum.accumulate(x) + room,
            np.minimum.accumulate(y) - room,
            np.maximum.accumulate(y) + room,
        )

    def touches(
        self, low_x: Array, high_x: Array, low_y: Array, high_y: Array, k: Array | int | slice
    ) -> Array:
        """bool, of boxes that are there until moment ``k``."""
        touches = (low_x <= self.right[k]) & (high_x >= self.left[k])
        return touches & (low_y <= self.top[k]) & (high_y >= self.bottom[k])


@dataclass(frozen=True)
class Meetings:
    """First contacts that count, one per candidate and road user's future; fields ``(n,)``."""

    candidate: Array
    user: Array
    time: Array
    speed: Array
    """m/s, of one against the other"""
    aside: Array
    """bool, side by side with somebody who drives the same way"""


NO_MEETINGS = Meetings(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool)
)


def futures_of(users: RoadUsers, forecasts: Forecasts | None, reach: Reach) -> Futures:
    """Every future of everybody that touches where the ego may be by then.

    ``forecasts`` are those of the tracks that ``users`` were made of.
    """
    straight = _straight_on(users, reach)
    foretold = None if forecasts is None else _foretold(users, forecasts, reach)
    if foretold is None:
        return straight
    return Futures(
        *(
            np.concatenate([getattr(straight, f.name), getattr(foretold, f.name)])
            for f in dataclasses.fields(Futures)
        )
    )


def _foretold(users: RoadUsers, forecasts: Forecasts, reach: Reach) -> Futures | None:
    """The modes of the forecast that are not too unlikely; None where none touches."""
    steps = forecasts.x.shape[-1]
    known = np.flatnonzero((users.row >= 0) & (users.row < len(forecasts.x)))
    rows = users.row[known]
    size = (0.5 * np.hypot(users.length, users.width) + 2.0 * LARGEST_GROWTH)[known]
    far_x, far_y = forecasts.x, forecasts.y
    extent = (far_x.min(2)[rows], far_x.max(2)[rows], far_y.min(2)[rows], far_y.max(2)[rows])
    near = reach.touches(
        extent[0] - size[:, None], extent[1] + size[:, None],
        extent[2] - size[:, None], extent[3] + size[:, None], LAST,
    )  # fmt: skip
    user, mode = np.nonzero(near & (forecasts.probability[rows] > LEAST_PROBABILITY))
    if not len(user):
        return None
    place = np.minimum(MOMENTS / forecasts.dt, steps - 1.0)
    k = np.minimum(place.astype(np.int64), max(steps - 2, 0))
    after = np.minimum(k + 1, steps - 1)
    w = place - k

    def sampled(values: Array, row: Array, mode: Array) -> Array:
        of = values[row, mode]
        return of.take(k, axis=1) * (1.0 - w) + of.take(after, axis=1) * w

    x, y = sampled(far_x, rows[user], mode), sampled(far_y, rows[user], mode)
    room = size[user, None] + np.maximum(_longest_step(x), _longest_step(y))[:, None]
    kept = reach.touches(x - room, x + room, y - room, y + room, slice(None)).any(1)
    kept = np.flatnonzero(kept)
    user, mode, x, y = user[kept], mode[kept], x[kept], y[kept]
    picked, user_of = (rows[user], mode), known[user]
    of = forecasts.heading[picked]
    heading = of.take(k, axis=1)
    turned = np.pi - np.mod(np.pi - (of.take(after, axis=1) - heading), 2.0 * np.pi)
    along = across = np.minimum(SIGMAS * users.std[user_of], LARGEST_GROWTH)[:, None]
    if forecasts.along_std is not None:
        along = np.maximum(along, np.minimum(sampled(forecasts.along_std, *picked), LARGEST_GROWTH))
    if forecasts.across_std is not None:
        across = np.maximum(
            across, np.minimum(sampled(forecasts.across_std, *picked), LARGEST_GROWTH)
        )
    whole = np.broadcast_to(0.0, x.shape)
    return Futures(
        user_of,
        x,
        y,
        heading + w * turned,
        users.length[user_of, None] / 2.0 + along + whole,
        users.width[user_of, None] / 2.0 + across + whole,
        np.full(len(user_of), (steps - 1) * forecasts.dt),
    )


def _straight_on(everybody: RoadUsers, reach: Reach) -> Futures:
    """Constant speed and turn rate, and all that bounded acceleration reaches in `RESPONSE`.

    With ``a`` forwards and ``b`` braking a vehicle is anywhere from ``v t - b t^2 / 2`` (standing
    once it has stopped) to ``v t + a t^2 / 2`` along its heading; a pedestrian within
    ``a t^2 / 2`` around where it walks to.
    """
    walker = everybody.kind == AgentKind.PEDESTRIAN
    still = everybody.speed < STILL
    until = np.where(still, MOMENTS[-1], np.where(walker, WALKS_ON, STRAIGHT_ON))
    last = np.where(still, LAST, np.where(walker, AT_WALKS_ON, AT_STRAIGHT_ON))
    gone = everybody.speed * (until + 0.5 * LONGEST_STEP) + MOST_BRAKED
    gone += math.sqrt(2.0) * np.minimum(SIGMAS * everybody.std, LARGEST_GROWTH)
    gone += 0.5 * np.hypot(everybody.length, everybody.width)
    x, y = everybody.x, everybody.y
    user = np.flatnonzero(reach.touches(x - gone, x + gone, y - gone, y + gone, last))
    users = everybody.pick(user)
    t = MOMENTS[None, :]
    speed = users.speed[:, None]
    walks = (users.kind == AgentKind.PEDESTRIAN)[:, None]
    drives = ~walks & (users.kind != AgentKind.STATIC)[:, None]
    heading, course = users.heading[:, None], users.course[:, None]
    far = speed * t
    if users.yaw_rate.any():
        turn = users.yaw_rate[:, None] * t
        # the chord of an arc: its direction is half-way, and it is shorter by sin(u) / u
        course = course + 0.5 * turn
        far = far * np.sinc(0.5 * turn / np.pi)
        heading = heading + turn
    stops = np.minimum(SOON, speed / BRAKING)
    behind = drives * (speed * SOON - (speed * stops - 0.5 * BRAKING * stops**2))
    ahead = drives * (0.5 * ACCELERATION * SOON**2)
    round_about = walks * (0.5 * WALKER_ACCELERATION * SOON**2)
    round_about = round_about + np.minimum(SIGMAS * users.std, LARGEST_GROWTH)[:, None]
    shift = 0.5 * (ahead - behind)
    return Futures(
        user,
        users.x[:, None] + far * np.cos(course) + shift * np.cos(heading),
        users.y[:, None] + far * np.sin(course) + shift * np.sin(heading),
        heading + np.zeros_like(far),
        users.length[:, None] / 2.0 + 0.5 * (ahead + behind) + round_about,
        users.width[:, None] / 2.0 + round_about,
        until[user],
    )


def meetings(
    motions: Motions, vehicle: VehicleParameters, futures: Futures, room: float = 0.0
) -> Meetings:
    """First contacts of each candidate with each future that are the ego's to avoid.

    A contact is less than ``room`` m between the boxes at any time from half-way to the moment
    before to half-way to the moment after. Left out is what braking, giving way or standing cannot
    be blamed for: who drives into the standing ego, who comes from behind, and whoever is side by
    side with it on the same way after more than `BESIDE` s.
    """
    offset = vehicle.centre_offset
    cos, sin = np.cos(motions.heading), np.sin(motions.heading)
    x, y = motions.x + offset * cos, motions.y + offset * sin
    half = vehicle.length / 2.0 + room, vehicle.width / 2.0 + room
    c, row, k = _close_pairs(x, y, math.hypot(*half), futures)
    counts = (motions.speed[c, k] > STOPPED) & (MOMENTS[k] <= futures.until[row])
    kept = np.flatnonzero(counts)
    if not len(kept):
        return NO_MEETINGS
    c, row, k = c[kept], row[kept], k[kept]

    cos, sin = cos[c, k], sin[c, k]
    dx, dy = futures.x[row, k] - x[c, k], futures.y[row, k] - y[c, k]
    turned = futures.heading[row, k] - motions.heading[c, k]
    ahead, left = cos * dx + sin * dy, cos * dy - sin * dx
    cos_t, sin_t = np.cos(turned), np.sin(turned)
    length, width = futures.half_length[row, k], futures.half_width[row, k]
    # the other's way against the ego, half a step before and after
    way_x = _half_step(futures.x, row, k) - _half_step(x, c, k)
    way_y = _half_step(futures.y, row, k) - _half_step(y, c, k)
    way, way_left = cos * way_x + sin * way_y, cos * way_y - sin * way_x
    hit = np.flatnonzero(_touch(ahead, left, cos_t, sin_t, half, length, width, way, way_left))
    if not len(hit):
        return NO_MEETINGS
    # first contact of each pair: rows are in the order candidate, future, moment
    pair = c[hit] * len(futures.user) + row[hit]
    _, first = np.unique(pair, return_index=True)
    hit = hit[first]
    c, row, k = c[hit], row[hit], k[hit]

    ahead, left, cos, sin = ahead[hit], left[hit], cos[hit], sin[hit]
    vx, vy = _velocities(futures, row, k)
    along, across = cos * vx + sin * vy, cos * vy - sin * vx
    pace, mine = np.hypot(along, across), motions.speed[c, k]
    same_way = (along > np.cos(WITH) * pace) & (pace > STILL)
    from_behind = np.abs(np.arctan2(left, ahead + offset)) > BEHIND
    from_behind |= same_way & (ahead < -0.25 * vehicle.length)
    # more beside each other than one before the other
    between = 0.5 * vehicle.length + futures.half_length[row, k]
    aside = same_way & (ahead < 0.6 * between)
    counts = ~from_behind & ~(aside & (MOMENTS[k] > BESIDE))
    against = np.hypot(along - mine, across)
    row, k = row[counts], k[counts]
    return Meetings(c[counts], futures.user[row], MOMENTS[k], against[counts], aside[counts])


def _touch(
    ahead: Array,
    left: Array,
    cos: Array,
    sin: Array,
    half: tuple[float, float],
    length: Array,
    width: Array,
    way: Array,
    way_left: Array,
) -> Array:
    """(n,) bool: two boxes touch while one goes from ``-way`` to ``+way`` around where it is.

    In the frame of the first box, of half extents ``half``; the other one is at ``ahead``, ``left``
    and turned by ``cos``, ``sin``. Separating axes: the first's two, the other's two, and the one
    across the way.
    """
    a_cos, a_sin = np.abs(cos), np.abs(sin)
    apart = np.abs(ahead) > half[0] + length * a_cos + width * a_sin + np.abs(way)
    apart |= np.abs(left) > half[1] + length * a_sin + width * a_cos + np.abs(way_left)
    along, across = cos * ahead + sin * left, cos * left - sin * ahead
    way_along, way_across = cos * way + sin * way_left, cos * way_left - sin * way
    apart |= np.abs(along) > length + half[0] * a_cos + half[1] * a_sin + np.abs(way_along)
    apart |= np.abs(across) > width + half[0] * a_sin + half[1] * a_cos + np.abs(way_across)
    # across the way, everything times its length
    off = np.abs(way * left - way_left * ahead)
    mine = half[0] * np.abs(way_left) + half[1] * np.abs(way)
    theirs = length * np.abs(way_across) + width * np.abs(way_along)
    return ~(apart | (off > mine + theirs))


def _close_pairs(x: Array, y: Array, radius: float, futures: Futures) -> tuple[Array, Array, Array]:
    """Candidate, row and moment where the boxes' circles may touch, in this order."""
    until = slice(0, x.shape[1])
    dx = x[:, None, :] - futures.x[None, :, until]
    dy = y[:, None, :] - futures.y[None, :, until]
    reach = radius + np.hypot(futures.half_length.max(1), futures.half_width.max(1))
    # and what is gone in half a step
    reach += 0.5 * (_longest_step(futures.x) + _longest_step(futures.y))
    reach += 0.5 * (_longest_step(x).max(initial=0.0) + _longest_step(y).max(initial=0.0))
    candidate, row, moment = np.nonzero(dx * dx + dy * dy <= (reach * reach)[None, :, None])
    return candidate, row, moment


def _longest_step(values: Array) -> Array:
    """(rows,) from one moment to the next."""
    return np.abs(values[:, 1:] - values[:, :-1]).max(1, initial=0.0)


def _half_step(values: Array, rows: Array, k: Array) -> Array:
    """(n,) half of what the values change by from one moment to the next, around moments ``k``."""
    before, after = np.maximum(k - 1, 0), np.minimum(k + 1, values.shape[1] - 1)
    change = values[rows, after] - values[rows, before]
    return 0.5 * change / np.maximum(after - before, 1)


def _velocities(futures: Futures, row: Array, k: Array) -> tuple[Array, Array]:
    """m/s along world x and y of the boxes at these moments, from where they are before and after.

    Not their headings: pedestrians have none to speak of.
    """
    before, after = np.maximum(k - 1, 0), np.minimum(k + 1, LAST)
    seconds = MOMENTS[after] - MOMENTS[before]
    dx = futures.x[row, after] - futures.x[row, before]
    dy = futures.y[row, after] - futures.y[row, before]
    return dx / seconds, dy / seconds
