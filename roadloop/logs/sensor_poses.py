"""Poses of the ego over time: at the steps of a log, and at timestamps between them."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.schema import Table
from roadloop.types import EgoState

Array = np.ndarray

QUATERNION = ("qw", "qx", "qy", "qz")


def level_pose(ego: EgoState) -> Array:
    """world_from_ego (4, 4) of an ego that neither pitches nor rolls."""
    place = np.array([float(ego.x), float(ego.y), float(ego.z)])
    return se3(rotation_from_euler(0.0, 0.0, float(ego.heading)), place)


def pose_columns(world_from_ego: Array) -> dict[str, float]:
    """x, y, z and the unit quaternion of a pose; of the two the one with a positive real part."""
    from scipy.spatial.transform import Rotation

    place = dict(zip("xyz", world_from_ego[:3, 3].tolist()))
    x, y, z, w = Rotation.from_matrix(world_from_ego[:3, :3]).as_quat(canonical=True).tolist()
    return {**place, "qw": w, "qx": x, "qy": y, "qz": z}


def poses_of(rows: Table) -> Array:
    """(rows, 4, 4) world_from_ego of the columns that ``pose_columns`` gives."""
    from scipy.spatial.transform import Rotation

    if not len(rows["x"]):
        return np.zeros((0, 4, 4))
    quaternion = np.stack([rows[key] for key in ("qx", "qy", "qz", "qw")], axis=-1)
    place = np.stack([rows[key] for key in "xyz"], axis=-1)
    return se3(Rotation.from_quat(quaternion).as_matrix(), place)


class PoseHistory:
    """The ego's poses at the steps so far."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._times: list[int] = []
        self._poses: list[Array] = []

    def add(self, step: int, time_us: int, world_from_ego: Array) -> None:
        """The pose at a later step."""
        self._steps.append(step)
        self._times.append(time_us)
        self._poses.append(world_from_ego)

    def at(self, time_us: int) -> Array:
        """The pose at a time: between two steps position and turn go on evenly.

        Before the first and after the last step it is that of the step.
        """
        from scipy.spatial.transform import Rotation, Slerp

        k = bisect_right(self._times, time_us) - 1
        if k < 0 or k == len(self._times) - 1 or self._times[k] == time_us:
            return self._poses[max(k, 0)]
        before, after = self._times[k], self._times[k + 1]
        share = (time_us - before) / (after - before)
        ends = np.stack(self._poses[k : k + 2])
        turned = Slerp([0.0, 1.0], Rotation.from_matrix(ends[:, :3, :3]))(share).as_matrix()
        place = ends[0, :3, 3] * (1.0 - share) + ends[1, :3, 3] * share
        return se3(turned, place)

    def nearest(self, time_us: int) -> int:
        """The step whose time is nearest."""
        k = bisect_right(self._times, time_us) - 1
        if k < 0:
            return self._steps[0]
        if k + 1 < len(self._times) and self._times[k + 1] - time_us < time_us - self._times[k]:
            k += 1
        return self._steps[k]
