"""The cameras of a rig laid out as they look, and their pictures together on one wall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from roadloop.readings import CameraImage
from roadloop.rig import CameraSensor, SensorRig
from roadloop.viz.readings import FIELD, camera_picture

Array = np.ndarray

BACK = 1.7
"""rad: cameras that look farther to the side stand in the back row"""


def as_they_look(cameras: Iterable[CameraSensor]) -> list[list[CameraSensor]]:
    """One or two rows: those that look ahead or aside, from left to right, and those that look
    back, the ones to the left first."""

    def yaw(camera: CameraSensor) -> float:
        return float((camera.mount.yaw + np.pi) % (2.0 * np.pi) - np.pi)

    ahead, back = [], []
    for camera in cameras:
        (ahead if abs(yaw(camera)) <= BACK else back).append(camera)
    ahead.sort(key=lambda c: (-round(yaw(c), 2), -c.mount.y))
    back.sort(key=lambda c: (-round(float(np.sin(yaw(c))), 2), -c.mount.y))
    return [row for row in (ahead, back) if row]


def wall_aspect(rig: SensorRig) -> float:
    """Width to height of the pictures of all cameras together, laid out as they look."""
    rows = as_they_look(rig.cameras)
    return max(sum(c.width / c.height for c in row) for row in rows) / len(rows)


def camera_wall(
    rig: SensorRig, images: Mapping[str, CameraImage], width: int, height: int
) -> Array:
    """(height, width, 3) uint8 RGB: the colours of all cameras, laid out as they look.

    Rows are equally high; a camera without a picture is left empty.
    """
    rows = as_they_look(rig.cameras)
    wall = np.full((height, width, 3), FIELD, np.uint8)
    edges = [round(height * k / len(rows)) for k in range(len(rows) + 1)]
    scale = min(height / len(rows), width / max(sum(c.width / c.height for c in r) for r in rows))
    for row, top, bottom in zip(rows, edges, edges[1:]):
        left = (width - scale * sum(c.width / c.height for c in row)) / 2.0
        for camera in row:
            right = left + scale * camera.width / camera.height
            seam = 0 if camera is row[-1] else 2
            u, v = max(round(left), 0), min(round(right), width) - seam
            if camera.name in images:
                wall[top:bottom, u:v] = camera_picture(
                    images[camera.name], "rgb", v - u, bottom - top
                )
            left = right
    return wall
