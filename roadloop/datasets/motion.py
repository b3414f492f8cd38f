"""Speeds, accelerations and turns of recorded positions, for data sets that keep only poses."""

from __future__ import annotations

import numpy as np

from roadloop.geometry import inverse
from roadloop.types import EgoState, VehicleParameters

Array = np.ndarray

STANDING = 0.5
"""m/s, below which the steering angle cannot be told from the path"""


def ego_of_poses(
    world_from_ego: Array,
    timestamp_us: Array,
    vehicle: VehicleParameters,
    speed: Array | None = None,
) -> EgoState:
    """The ego (T,) of its poses (T, 4, 4): what is missing by central differences in time.

    Args:
        timestamp_us: (T,) increasing.
        speed: (T,) m/s along the heading, where the data set has measured it.

    A single pose stands still. The steering angle is that of a kinematic bicycle on the path,
    0 below ``STANDING``.
    """
    t = np.asarray(timestamp_us, float) * 1e-6
    place = world_from_ego[:, :3, 3]
    heading = np.arctan2(world_from_ego[:, 1, 0], world_from_ego[:, 0, 0])
    x, y, z = (axis.copy() for axis in place.T)
    if len(t) < 2:
        rest = np.zeros((4, len(t)))
        if speed is not None:
            rest[0] = speed
        return EgoState(x, y, z, heading, *rest, vehicle=vehicle)
    if speed is None:
        velocity = np.gradient(place, t, axis=0)
        speed = (velocity * world_from_ego[:, :3, 0]).sum(-1)
    speed = np.asarray(speed, float)
    yaw_rate = np.gradient(np.unwrap(heading), t)
    moving = np.abs(speed) > STANDING
    bend = yaw_rate / np.where(moving, speed, 1.0)
    steering = np.where(moving, np.arctan(vehicle.wheelbase * bend), 0.0)
    limit = vehicle.max_steering
    return EgoState(
        x=x,
        y=y,
        z=z,
        heading=heading,
        speed=speed,
        acceleration=np.gradient(speed, t),
        steering=np.clip(steering, -limit, limit),
        yaw_rate=yaw_rate,
        vehicle=vehicle,
    )


def velocities(x: Array, y: Array, valid: Array, timestamp_us: Array) -> tuple[Array, Array]:
    """vx, vy (T, A) of positions (T, A) by central differences over the steps each one is there.

    At the first and last step, and beside gaps, the difference is one-sided; a road user that is
    there for a single step stands still.
    """
    t = np.broadcast_to(np.asarray(timestamp_us, float)[:, None] * 1e-6, x.shape)
    before, after = _neighbours(valid)
    columns = np.arange(x.shape[1])
    span = t[after, columns] - t[before, columns]
    span = np.where(span > 0.0, span, np.inf)
    here = np.asarray(valid, float)
    return (
        (x[after, columns] - x[before, columns]) / span * here,
        (y[after, columns] - y[before, columns]) / span * here,
    )


def poses_at(world_from_ego: Array, timestamp_us: Array, stamps: Array) -> Array:
    """(n, 4, 4) poses at the times ``stamps`` (n,): position and turn go on evenly between steps.

    Before the first and after the last step the motion of the nearest two steps goes on for at most
    0.1 s, then it stops.
    """
    from scipy.spatial.transform import Rotation, Slerp

    from roadloop.geometry import se3

    t, when = np.asarray(timestamp_us, float), np.asarray(stamps, float)
    if len(t) == 1:
        return np.repeat(world_from_ego, len(when), axis=0)
    inside = np.clip(when, t[0], t[-1])
    turned = Slerp(t, Rotation.from_matrix(world_from_ego[:, :3, :3]))(inside).as_matrix()
    place = np.stack([np.interp(inside, t, world_from_ego[:, k, 3]) for k in range(3)], axis=-1)
    poses = se3(turned, place)
    for ends, outside in (((0, 1), when < t[0]), ((-1, -2), when > t[-1])):
        if outside.any():
            near, far = ends
            beyond = np.clip((when[outside] - t[near]) * 1e-6, -0.1, 0.1)
            step = world_from_ego[far] @ inverse(world_from_ego[near])
            turn = Rotation.from_matrix(step[:3, :3]).as_rotvec()
            share = beyond / ((t[far] - t[near]) * 1e-6)
            rotation = Rotation.from_rotvec(share[:, None] * turn).as_matrix()
            moved = world_from_ego[far, :3, 3] - world_from_ego[near, :3, 3]
            poses[outside] = se3(
                rotation @ world_from_ego[near, :3, :3],
                world_from_ego[near, :3, 3] + share[:, None] * moved,
            )
    return poses


def _neighbours(valid: Array) -> tuple[Array, Array]:
    """(T, A) rows of the step before and after at which each is there, without a gap between."""
    rows = np.arange(len(valid))[:, None]
    up = np.zeros_like(valid)
    up[1:] = valid[1:] & valid[:-1]
    down = np.zeros_like(valid)
    down[:-1] = valid[1:] & valid[:-1]
    return rows - up, rows + down
