"""The shape of a path (standing, straight, turning), over which Waymo averages precision."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from roadloop.geometry import wrap_angle

Array = np.ndarray

STANDING_SPEED = 2.0
"""m/s at start and end, below which a path may be standing"""
STANDING_DISTANCE = 3.0
"""m from start to end, below which a path may be standing"""
STRAIGHT_ANGLE = np.pi / 6.0
"""rad between start and end heading, below which a path is no turn"""
STRAIGHT_OFFSET = 2.5
"""m to the side, below which a path that is no turn is straight"""


class PathShape(IntEnum):
    """Shapes in the order in which a group of agents takes the shape of its most turning member."""

    STANDING = 0
    STRAIGHT = 1
    STRAIGHT_RIGHT = 2
    STRAIGHT_LEFT = 3
    RIGHT_TURN = 4
    LEFT_TURN = 5
    LEFT_U_TURN = 6
    RIGHT_U_TURN = 7


def path_shapes(
    x: Array, y: Array, heading: Array, vx: Array, vy: Array, valid: Array, start: int
) -> tuple[Array, Array]:
    """Shape of each path from step ``start`` to its last valid step.

    All ``(..., time)``: m, rad, m/s. Returns PathShape ``(...)`` and whether there is one, bool
    ``(...)``: the start and a later step must be valid. Standing: start and end speed below 2 m/s
    and less than 3 m apart. Straight: end within 30 degrees of the start heading and less than
    2.5 m to the side, straight-left and -right beyond. Else a turn to the side where the path ends,
    a U-turn where that is behind the start. Source: Waymo open data set 1.6.7,
    ``metrics/motion_metrics_utils.cc``.
    """
    steps = valid.shape[-1]
    later = np.where(np.arange(steps) > start, valid, False)
    end = steps - 1 - np.argmax(later[..., ::-1], axis=-1)
    known = later.any(-1) & valid[..., start]

    def at_end(value: Array) -> Array:
        return np.take_along_axis(value, end[..., None], axis=-1)[..., 0]

    dx, dy = at_end(x) - x[..., start], at_end(y) - y[..., start]
    cos, sin = np.cos(heading[..., start]), np.sin(heading[..., start])
    ahead, left = cos * dx + sin * dy, cos * dy - sin * dx
    speed = np.maximum(np.hypot(vx, vy)[..., start], at_end(np.hypot(vx, vy)))
    turn = np.abs(wrap_angle(at_end(heading) - heading[..., start]))

    leftwards = left >= 0.0
    shape = np.where(
        ahead < 0.0,
        np.where(leftwards, PathShape.LEFT_U_TURN, PathShape.RIGHT_U_TURN),
        np.where(leftwards, PathShape.LEFT_TURN, PathShape.RIGHT_TURN),
    )
    sideways = np.where(leftwards, PathShape.STRAIGHT_LEFT, PathShape.STRAIGHT_RIGHT)
    sideways = np.where(np.abs(left) < STRAIGHT_OFFSET, PathShape.STRAIGHT, sideways)
    shape = np.where(turn < STRAIGHT_ANGLE, sideways, shape)
    standing = (speed < STANDING_SPEED) & (np.hypot(dx, dy) < STANDING_DISTANCE)
    return np.where(standing, PathShape.STANDING, shape), known
