"""From metres driven along a way to places in the world: how vehicles keep to their line."""

from __future__ import annotations

import numpy as np

from perception.lane_paths import SPACING, LaneWays
from perception.lane_places import OnWays, Users

Array = np.ndarray

SETTLING = 1.5
"""s over which a vehicle comes back onto the line it keeps to ..."""
SHORTEST_SETTLING = 8.0
"""m, ... but no shorter"""
KEPT_OFFSET = 0.7
"""share of a lateral offset that a vehicle keeps"""
MOST_KEPT = 0.8
"""m of it at most, unless it stands further out"""
STANDS = 0.5
"""m/s, below which a vehicle is taken to stand"""
ASIDE = 0.5
"""rad, bound of the direction in which a vehicle drifts"""


def positions(
    users: Users, on: OnWays, ways: LaneWays, driven: Array
) -> tuple[Array, Array, Array]:
    """World x, y, heading ``(rows, steps)`` after ``driven`` m, the first of which are 0.

    The lateral offset e returns to the line kept as ``e'' + 2 e' / l + e / l^2 = 0`` over the way
    driven, so that nobody moves sideways who does not move, and headings agree with the paths.
    Offsets of rows of weight ``-inf``, lane changes, are not kept.
    """
    speed = np.hypot(users.vx, users.vy)[on.user]
    begin, last = ways.begin[on.way][:, None], ways.last[on.way][:, None]
    s = on.s[:, None] + driven
    low = np.maximum((s / SPACING).astype(np.int64), 0) + begin
    np.minimum(low, last - 1, out=low)
    part = s / SPACING - (low - begin)
    inside = np.minimum(np.maximum(part, 0.0), 1.0)
    after = low + 1
    place, way, heading = ways.place.take(low), ways.way.take(low), ways.heading.take(low)
    place += part * (ways.place.take(after) - place)  # beyond its ends a way goes on straight
    way += inside * (ways.way.take(after) - way)
    heading += inside * (ways.heading.take(after) - heading)
    bound = np.maximum(MOST_KEPT, np.where(speed < STANDS, np.abs(on.lateral), 0.0))
    kept = np.minimum(np.maximum(KEPT_OFFSET * on.lateral, -bound), bound)
    kept = np.where(np.isneginf(on.weight), 0.0, kept)[:, None]
    scale = np.maximum(SETTLING * speed, SHORTEST_SETTLING)[:, None]
    slope = np.tan(np.minimum(np.maximum(on.slant, -ASIDE), ASIDE))[:, None]
    away = on.lateral[:, None] - kept
    rate = slope + away / scale
    gone = np.exp(driven / -scale)
    place += 1j * way * (kept + (away + rate * driven) * gone)
    heading += (slope - rate / scale * driven) * gone
    heading -= 2.0 * np.pi * np.floor((heading + np.pi) / (2.0 * np.pi))
    x, y = np.real(place).copy(), np.imag(place).copy()
    # now, they are where they are
    x[:, 0], y[:, 0], heading[:, 0] = users.x[on.user], users.y[on.user], users.heading[on.user]
    return x, y, heading
