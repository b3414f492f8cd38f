"""What the cameras of a rig saw in a drive, for its video and its report.

The pictures of a step lie together on a wall (``roadloop.viz.camera_wall``) and are kept as JPEG: a
minute takes 30 to 80 MB of memory.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage
from roadloop.rig import SensorRig
from roadloop.viz.camera_wall import camera_wall, wall_aspect

Array = np.ndarray

WIDE = 1280
"""px, of a wall that lies above the bird's-eye view"""
TALL = 540
"""px, of a wall that stands beside it"""
ABOVE = 2.2
"""width to height from which a wall lies above"""
QUALITY = 90
"""of the JPEG pictures in memory"""


class Film:
    """One wall of camera pictures per step.

    Raises RoadloopError for a rig without cameras.
    """

    def __init__(self, rig: SensorRig) -> None:
        if not rig.cameras:
            raise RoadloopError(f"the rig {rig.name} has no cameras to show")
        self.rig = rig
        self.steps: list[int] = []
        self._pictures: list[bytes] = []

    @cached_property
    def above(self) -> bool:
        """Whether it is shown above the bird's-eye view, not beside it."""
        return wall_aspect(self.rig) >= ABOVE

    @cached_property
    def size(self) -> tuple[int, int]:
        """px, width and height, both even."""
        aspect = wall_aspect(self.rig)
        wide, tall = (WIDE, WIDE / aspect) if self.above else (TALL * aspect, TALL)
        return round(wide / 2) * 2, round(tall / 2) * 2

    def add(self, step: int, images: dict[str, CameraImage]) -> None:
        """The pictures that the driver's vehicle has at a step; steps come in order."""
        self.add_wall(step, camera_wall(self.rig, images, *self.size))

    def add_wall(self, step: int, wall: Array) -> None:
        """A wall of ``size`` that is drawn already; steps come in order."""
        self.steps.append(step)
        self._pictures.append(_encoded(wall, QUALITY))

    def picture(self, step: int) -> Array:
        """(height, width, 3) uint8 RGB, the newest at or before the step."""
        return _decoded(self._pictures[max(bisect.bisect_right(self.steps, step) - 1, 0)])

    def strip(self, frames: int, most: int, width: int) -> Strip:
        """At most ``frames`` pictures, evenly chosen, of ``most`` bytes together."""
        count = min(frames, len(self.steps))
        kept: list[bytes] = []
        at = np.zeros(0, int)
        wide = min(width, self.size[0])
        tall = round(wide * self.size[1] / self.size[0])
        while count > 0:
            at = np.unique(np.linspace(0, len(self.steps) - 1, count).round().astype(int))
            kept = [_encoded(_smaller(_decoded(self._pictures[k]), wide, tall), 70) for k in at]
            size = sum(map(len, kept))
            if size <= most:
                break
            count = min(count - 1, int(count * most / size))
        return Strip([self.steps[k] for k in at], kept if count else [], wide, tall)


@dataclass(frozen=True)
class Strip:
    """Some pictures of a film."""

    steps: list[int]
    pictures: list[bytes]
    """JPEG"""
    width: int
    """px"""
    height: int


def _encoded(picture: Array, quality: int) -> bytes:
    import cv2

    fine, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not fine:
        raise RoadloopError(f"a picture of {picture.shape} cannot be written as JPEG")
    return data.tobytes()


def _decoded(data: bytes) -> Array:
    import cv2

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[..., ::-1])


def _smaller(picture: Array, width: int, height: int) -> Array:
    import cv2

    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
