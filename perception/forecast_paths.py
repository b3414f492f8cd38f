"""A forecast's points as a path through all times: places, headings, spread."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray

SLOW = 0.5
"""m/s, below which a path does not say where somebody looks"""


def along_points(position: Array, velocity: Array, times: Array, step: float) -> Array:
    """(n, K, T', 2) places at ``times`` on cubic curves through points ``step`` s apart.

    Each is a Hermite curve whose velocity at a point is the mean of those before and after it
    (Catmull & Rom, 1974). Beyond the last point all goes on at the last velocity.

    Args:
        position: (n, K, T, 2) m; the point at time 0 is the origin.
        velocity: (n, 2) m/s at time 0.
    """
    points = np.concatenate([np.zeros_like(position[:, :, :1]), position], axis=2)
    moved = np.diff(points, axis=2)
    first = np.broadcast_to(velocity[:, None, None] * step, moved[:, :, :1].shape)
    tangent = np.concatenate(
        [first, 0.5 * (moved[:, :, 1:] + moved[:, :, :-1]), moved[:, :, -1:]], 2
    )
    last = moved.shape[2]
    u = times / step
    k = np.minimum(u.astype(np.int64), last - 1)
    w = np.minimum(u - k, 1.0)[:, None]
    beyond = np.maximum(u - last, 0.0)[:, None]
    place = points[:, :, k] + (3.0 - 2.0 * w) * w * w * moved[:, :, k]
    place += w * (1.0 - w) ** 2 * tangent[:, :, k] - w * w * (1.0 - w) * tangent[:, :, k + 1]
    return place + beyond * moved[:, :, -1:]


@lru_cache(maxsize=16)
def path_weights(points: int, step: float, count: int, dt: float) -> tuple[Array, Array]:
    """`along_points` and `linear` as matrices, for ``count`` times from 0, ``dt`` s apart.

    The first is (points + 1, count): places are the points, and last the velocity, times its rows.
    The second is (points + 1, count), of values at 0 and at the points.
    """
    times = dt * np.arange(count)
    position, velocity = np.zeros((points + 1, 1, points, 2)), np.zeros((points + 1, 2))
    each = np.arange(points)
    position[each, 0, each, 0], velocity[points, 0] = 1.0, 1.0
    curve = along_points(position, velocity, times, step)[:, 0, :, 0]
    values = np.eye(points + 1)[:, None, :, None]
    return curve, linear(values, times / step)[:, 0, :, 0]


def headings_along(path: Array, times: Array, backwards: Array) -> Array:
    """(n, K, T') direction of (n, K, T', 2) paths in their agents' frames, rad, 0 at first.

    Who is slower than `SLOW` looks where it last looked.

    Args:
        backwards: (n,) bool, who reverses now and looks against its path.
    """
    if len(times) < 2:
        return np.zeros(path.shape[:-1])
    moved = np.diff(path, axis=2)
    fast = np.linalg.norm(moved, axis=-1) > SLOW * np.diff(times)
    angle = (
        np.arctan2(moved[..., 1], moved[..., 0]) + np.where(backwards, np.pi, 0.0)[:, None, None]
    )
    # each piece's own direction holds at its end; before the first one that moves it is 0
    index = np.where(fast, np.arange(1, len(times)), 0)
    latest = np.maximum.accumulate(index, axis=2)
    padded = np.concatenate([np.zeros_like(angle[:, :, :1]), angle], axis=2)
    turned = np.take_along_axis(padded, latest, axis=2)
    return np.concatenate([np.zeros_like(angle[:, :, :1]), turned], axis=2)


def linear(values: Array, u: Array) -> Array:
    """(n, K, T', 2) of (n, K, T, 2) at places ``u`` in steps, going on straight beyond the last."""
    k = np.minimum(u.astype(np.int64), values.shape[2] - 2)
    w = (u - k)[:, None]
    return (1.0 - w) * values[:, :, k] + w * values[:, :, k + 1]
