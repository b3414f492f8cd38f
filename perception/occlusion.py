"""Who hides whom: how much of each box a sensor sees past the others."""

from __future__ import annotations

import numpy as np

from roadloop.geometry import box_corners, wrap_angle
from roadloop.types import AgentStates

Array = np.ndarray

RAYS = 11
"""lines of sight per box, evenly over its angular width: shares come in steps of 1/11"""


def visible_share(states: AgentStates, x: float, y: float, z: float) -> Array:
    """Share of each box's angular width that no nearer box hides, ``(agents,)`` in [0, 1].

    Args:
        states: boxes ``(agents,)`` in the world frame, all of them valid.
        x, y, z: m, the sensor in the world frame.

    Each of `RAYS` lines runs from the sensor to half the box's height. It is cut by a box that it
    enters earlier, at a height between that box's ground and roof. Boxes around the sensor itself
    hide nothing. There are no buildings.
    """
    n = len(states.x)
    if n == 0:
        return np.zeros(0)
    corners = box_corners(states.x, states.y, states.heading, states.length, states.width)
    bearing = np.arctan2(states.y - y, states.x - x)
    angle = np.arctan2(corners[..., 1] - y, corners[..., 0] - x)
    aside = wrap_angle(angle - bearing[:, None])
    low, high = aside.min(axis=1), aside.max(axis=1)
    share = (np.arange(RAYS) + 0.5) / RAYS
    ray = bearing[:, None] + low[:, None] + (high - low)[:, None] * share  # (agents, rays)

    # where each ray enters each box: slab test in the box's own frame, (agents, rays, boxes)
    c, s = np.cos(states.heading), np.sin(states.heading)
    from_x, from_y = x - states.x, y - states.y
    local_x, local_y = c * from_x + s * from_y, c * from_y - s * from_x
    ray_x, ray_y = np.cos(ray)[..., None], np.sin(ray)[..., None]
    enter_x, leave_x = _slab(local_x, c * ray_x + s * ray_y, states.length / 2.0)
    enter_y, leave_y = _slab(local_y, c * ray_y - s * ray_x, states.width / 2.0)
    enter = np.maximum(enter_x, enter_y)
    hit = (enter > 0.0) & (enter <= np.minimum(leave_x, leave_y))

    own = np.arange(n)
    target = np.maximum(enter[own, :, own], 1e-6)  # (agents, rays) m to the box itself
    middle = states.z + states.height / 2.0
    along = enter / target[..., None]
    height = z + along * (middle[:, None, None] - z)
    cut = hit & (along < 1.0 - 1e-9) & (height >= states.z) & (height <= states.z + states.height)
    cut[own, :, own] = False
    return 1.0 - cut.any(axis=2).mean(axis=1)


def _slab(start: Array, direction: Array, half: Array) -> tuple[Array, Array]:
    """Distances at which lines enter and leave the slab ``|v| <= half``."""
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    a, b = (-half - start) / direction, (half - start) / direction
    return np.minimum(a, b), np.maximum(a, b)
