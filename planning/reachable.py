"""Where other road users may be, and where a driven path would meet them.

Every road user has several futures: each mode of its forecast that is not too unlikely, and going
on at constant velocity, grown by all that it can do within the response time. Ego and road users
are boxes; boxes of uncertain tracks are larger. Everything is evaluated at the moments `MOMENTS`.
"""

from __future__ import annotations

import dataclasses
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
ROUND_ABOUT = 2.0
"""m around where somebody will be that is looked at: more than all growth above together"""
STILL = 0.3
"""m/s below which somebody stands"""
WITH = np.deg2rad(45.0)
"""rad between two headings up to which they drive the same way (as in scoring)"""
BESIDE = 1.0
"""s for which a contact side by side with somebody who drives the same way is believed: within a
lane everybody sways, and beside each other nobody stays for long"""


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
class Meetings:
    """First contacts that count, one per candidate and road user's future; fields ``(n,)``."""

    candidate: Array
    user: Array
    time: Array
    speed: Array
    """m/s, of one against the other"""
    aside: Array
    """bool, side by side with somebody who drives the same way"""


def futures_of(
    users: RoadUsers, forecasts: Forecasts | None, region: tuple[float, float, float, float]
) -> Futures:
    """Every future of everybody that touches the ``region`` (x from, to, y from, to).

    ``forecasts`` are those of the tracks that ``users`` were made of.
    """
    straight = _straight_on(users, region)
    if forecasts is None:
        return straight
    steps = forecasts.x.shape[-1]
    known = np.flatnonzero((users.row >= 0) & (users.row < len(forecasts.x)))
    rows = users.row[known]
    far_x, far_y = forecasts.x[rows], forecasts.y[rows]
    reach = 0.5 * np.hypot(users.length, users.width)[known, None] + 2.0 * LARGEST_GROWTH
    near = (far_x.min(2) - reach <= region[1]) & (far_x.max(2) + reach >= region[0])
    near &= (far_y.min(2) - reach <= region[3]) & (far_y.max(2) + reach >= region[2])
    user, mode = np.nonzero(near & (forecasts.probability[rows] > LEAST_PROBABILITY))
    user = known[user]
    picked = users.row[user], mode
    place = np.clip(MOMENTS / forecasts.dt, 0.0, steps - 1.0)
    k = np.minimum(place.astype(np.int64), max(steps - 2, 0))
    w, after = place - k, np.minimum(k + 1, steps - 1)

    def sampled(values: Array) -> Array:
        rows = values[picked]
        return rows[:, k] * (1.0 - w) + rows[:, after] * w

    heading = forecasts.heading[picked]
    turned = np.pi - np.mod(np.pi - (heading[:, after] - heading[:, k]), 2.0 * np.pi)
    grown = np.minimum(SIGMAS * users.std[user], LARGEST_GROWTH)[:, None]
    along = across = np.broadcast_to(grown, (len(user), len(MOMENTS)))
    if forecasts.along_std is not None:
        along = np.maximum(along, np.minimum(sampled(forecasts.along_std), LARGEST_GROWTH))
    if forecasts.across_std is not None:
        across = np.maximum(across, np.minimum(sampled(forecasts.across_std), LARGEST_GROWTH))
    ends = np.full(len(user), (steps - 1) * forecasts.dt)
    foretold = Futures(
        user,
        sampled(forecasts.x),
        sampled(forecasts.y),
        heading[:, k] + w * turned,
        users.length[user, None] / 2.0 + along,
        users.width[user, None] / 2.0 + across,
        ends,
    )
    return Futures(
        *(
            np.concatenate([getattr(straight, f.name), getattr(foretold, f.name)])
            for f in dataclasses.fields(Futures)
        )
    )


def _straight_on(everybody: RoadUsers, region: tuple[float, float, float, float]) -> Futures:
    """Constant speed and turn rate, and all that bounded acceleration reaches in `RESPONSE`.

    With ``a`` forwards and ``b`` braking a vehicle is anywhere from ``v t - b t^2 / 2`` (standing
    once it has stopped) to ``v t + a t^2 / 2`` along its heading; a pedestrian within
    ``a t^2 / 2`` around where it walks to.
    """
    walker = everybody.kind == AgentKind.PEDESTRIAN
    still = everybody.speed < STILL
    until = np.where(still, MOMENTS[-1], np.where(walker, WALKS_ON, STRAIGHT_ON))
    reach = everybody.speed * np.where(still, 0.0, until) + ROUND_ABOUT
    reach += 0.5 * np.hypot(everybody.length, everybody.width)
    near = (everybody.x - reach <= region[1]) & (everybody.x + reach >= region[0])
    near &= (everybody.y - reach <= region[3]) & (everybody.y + reach >= region[2])
    user = np.flatnonzero(near)
    users = everybody.pick(user)
    t = MOMENTS[None, :]
    speed = users.speed[:, None]
    walks = (users.kind == AgentKind.PEDESTRIAN)[:, None]
    static = (users.kind == AgentKind.STATIC)[:, None]
    turn = users.yaw_rate[:, None] * t
    # the chord of an arc: its direction is half-way, and it is shorter by sin(u) / u
    course = users.course[:, None] + 0.5 * turn
    far = speed * t * np.sinc(0.5 * turn / np.pi)
    soon = np.where(t <= RESPONSE, t, 0.0)
    ahead = np.where(static | walks, 0.0, 0.5 * ACCELERATION * soon**2)
    stops = np.minimum(soon, speed / BRAKING)
    behind = speed * soon - (speed * stops - 0.5 * BRAKING * stops**2)
    behind = np.where(static | walks, 0.0, behind)
    round_about = np.where(walks, 0.5 * WALKER_ACCELERATION * soon**2, 0.0)
    round_about = round_about + np.minimum(SIGMAS * users.std, LARGEST_GROWTH)[:, None]
    shift = 0.5 * (ahead - behind)
    heading = users.heading[:, None] + turn
    return Futures(
        user,
        users.x[:, None] + far * np.cos(course) + shift * np.cos(heading),
        users.y[:, None] + far * np.sin(course) + shift * np.sin(heading),
        heading,
        users.length[:, None] / 2.0 + 0.5 * (ahead + behind) + round_about,
        users.width[:, None] / 2.0 + round_about,
        until[user],
    )


def meetings(motions: Motions, vehicle: VehicleParameters, futures: Futures) -> Meetings:
    """First contacts of each candidate with each future that are the ego's to avoid.

    Left out is what braking, giving way or standing cannot be blamed for: who drives into the
    standing ego, who comes from behind, and whoever is side by side with it on the same way after
    more than `BESIDE` s.
    """
    offset = vehicle.centre_offset
    x = motions.x + offset * np.cos(motions.heading)
    y = motions.y + offset * np.sin(motions.heading)
    half = vehicle.length / 2.0, vehicle.width / 2.0
    c, row, k = _close_pairs(x, y, np.hypot(*half), futures)
    moving = motions.speed[c, k] > STOPPED
    moving &= MOMENTS[k] <= futures.until[row]
    c, row, k = c[moving], row[moving], k[moving]

    heading = motions.heading[c, k]
    dx, dy = futures.x[row, k] - x[c, k], futures.y[row, k] - y[c, k]
    turned = futures.heading[row, k] - heading
    cos, sin = np.cos(heading), np.sin(heading)
    ahead, left = cos * dx + sin * dy, cos * dy - sin * dx
    cos_t, sin_t = np.cos(turned), np.sin(turned)
    length, width = futures.half_length[row, k], futures.half_width[row, k]
    # separating axes of two boxes: the ego's two, then the other's two
    apart = np.abs(ahead) > half[0] + length * np.abs(cos_t) + width * np.abs(sin_t)
    apart |= np.abs(left) > half[1] + length * np.abs(sin_t) + width * np.abs(cos_t)
    along = cos_t * ahead + sin_t * left
    across = cos_t * left - sin_t * ahead
    apart |= np.abs(along) > length + half[0] * np.abs(cos_t) + half[1] * np.abs(sin_t)
    apart |= np.abs(across) > width + half[0] * np.abs(sin_t) + half[1] * np.abs(cos_t)
    hit = np.flatnonzero(~apart)
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
    from_behind |= same_way & (ahead < -0.5 * half[0])
    # more beside each other than one before the other
    aside = same_way & (ahead < 0.6 * (half[0] + futures.half_length[row, k]))
    counts = ~from_behind & ~(aside & (MOMENTS[k] > BESIDE))
    against = np.hypot(along - mine, across)
    row, k = row[counts], k[counts]
    return Meetings(c[counts], futures.user[row], MOMENTS[k], against[counts], aside[counts])


def _close_pairs(x: Array, y: Array, radius: float, futures: Futures) -> tuple[Array, Array, Array]:
    """Candidate, row and moment where the boxes' circles overlap, in this order."""
    until = slice(0, x.shape[1])
    dx = x[:, None, :] - futures.x[None, :, until]
    dy = y[:, None, :] - futures.y[None, :, until]
    reach = radius + np.hypot(futures.half_length.max(1), futures.half_width.max(1))
    c, row, k = np.nonzero(dx * dx + dy * dy <= (reach * reach)[None, :, None])
    return c, row, k


def _velocities(futures: Futures, row: Array, k: Array) -> tuple[Array, Array]:
    """m/s along world x and y of the boxes at these moments, from where they are before and after.

    Not their headings: pedestrians have none to speak of.
    """
    before, after = np.maximum(k - 1, 0), np.minimum(k + 1, len(MOMENTS) - 1)
    seconds = MOMENTS[after] - MOMENTS[before]
    dx = futures.x[row, after] - futures.x[row, before]
    dy = futures.y[row, after] - futures.y[row, before]
    return dx / seconds, dy / seconds
