"""What training and the car do alike to make a detector's inputs (``perception.frame``)."""

from __future__ import annotations

import numpy as np

from perception.detector_config import DetectorConfig
from perception.frame import Frame
from perception.point_grid import lidar_planes, radar_planes
from roadloop.geometry import inverse

Array = np.ndarray


def pixel_from_ego(intrinsics: Array, ego_from_camera: Array) -> Array:
    """(..., 3, 4) float32: u, v, 1 times depth from x, y, z, 1 of the ego frame.

    Args:
        intrinsics: (..., 3, 3) of a pinhole, ``roadloop.camera.Pinhole.matrix``.
        ego_from_camera: (..., 4, 4), where the camera was when it exposed.
    """
    return (intrinsics @ inverse(ego_from_camera)[..., :3, :]).astype(np.float32)


def motion_between(world_from_before: Array, world_from_now: Array) -> Array:
    """(3,) float32 ``motion``: x, y, yaw of the ego now in its frame of the moment before.

    Args:
        world_from_before, world_from_now: (4, 4) world_from_ego of both.
    """
    before_from_now = inverse(world_from_before) @ world_from_now
    x, y = before_from_now[:2, 3]
    return np.array([x, y, np.arctan2(before_from_now[1, 0], before_from_now[0, 0])], np.float32)


def range_inputs(config: DetectorConfig, points: Array, targets: Array) -> Frame:
    """``lidar``, ``lidar_valid``, ``radar``, ``radar_valid``, those the detector has.

    Args:
        points: (P, 4 or more) LiDAR points.
        targets: (R, 6) radar targets.

    Both as `perception.point_grid` has them, in the ego frame of the moment. A sensor that gave
    none counts as one that gave nothing: nobody can tell a dead one from an empty world.
    """
    frame: Frame = {}
    if config.lidar:
        frame["lidar"] = lidar_planes(points, config.grid)
        frame["lidar_valid"] = np.array(len(points) > 0)
    if config.radar:
        frame["radar"] = radar_planes(targets, config.grid)
        frame["radar_valid"] = np.array(len(targets) > 0)
    return frame
