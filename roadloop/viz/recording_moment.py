"""One moment of a recording: what each sensor measured nearest to it, and where everybody was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.geometry import inverse
from roadloop.logs.boxes_between import boxes_at
from roadloop.logs.recording import Frame, Recording
from roadloop.logs.schema import Table
from roadloop.readings import CameraImage, LidarSweep
from roadloop.types import AgentStates, at
from roadloop.viz.projected import GroundLines, draw_boxes, draw_ground, draw_points

Array = np.ndarray

LATE = 0.3
"""s between a step and a measurement from which that one is not shown with it"""


@dataclass(frozen=True)
class Moment:
    """A step of a recording."""

    recording: Recording
    step: int

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return float(self.recording.timestamp_us[self.step]) * 1e-6

    @cached_property
    def frames(self) -> dict[str, Frame]:
        """Of each sensor the measurement nearest to the step, at most ``LATE`` away."""
        stamp = int(self.recording.timestamp_us[self.step])
        found: dict[str, Frame] = {}
        for sensor in self.recording.rig.sensors:
            frames = self.recording.frames_of(sensor.name)
            if not self.recording.continuous:
                frames = [f for f in frames if f.step == self.step]
            nearest = min(frames, key=lambda f: abs(f.timestamp_us - stamp), default=None)
            if nearest is not None and abs(nearest.timestamp_us - stamp) <= LATE * 1e6:
                found[sensor.name] = nearest
        return found

    @cached_property
    def images(self) -> dict[str, CameraImage]:
        """Pictures by camera; decoded when they are looked at."""
        return {n: f.read() for n, f in self.frames.items() if f.kind == "camera"}

    @cached_property
    def sweeps(self) -> dict[str, LidarSweep]:
        """Sweeps by LiDAR; RoadloopError for a file that is missing or damaged."""
        return {n: f.read() for n, f in self.frames.items() if f.kind == "lidar"}

    @cached_property
    def points(self) -> Array:
        """(n, 4) x, y, z in the world frame and intensity, of all sweeps."""
        found = [np.zeros((0, 4))]
        for name, sweep in self.sweeps.items():
            points = sweep.points[:, :4].astype(np.float64)
            pose = self.frames[name].world_from_ego
            points[:, :3] = points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
            found.append(points)
        return np.concatenate(found)

    def agents(self) -> AgentStates | None:
        """(agents,) the road users of the step, those that are there; None without labels."""
        agents = self.recording.agents
        if agents is None:
            return None
        there = np.flatnonzero(agents.valid[self.step])
        return at(agents, (self.step, there))

    def boxes(self, frame: Frame) -> Table | None:
        """Boxes in the ego frame of a measurement, moved to its time; None without labels."""
        return boxes_at(self.recording, frame.timestamp_us, frame.world_from_ego)

    def picture(
        self,
        camera: str,
        width: int,
        height: int,
        *,
        ground: GroundLines | None = None,
        points: bool = False,
    ) -> Array:
        """(height, width, 3) uint8 RGB of a camera with what is known of the world drawn into it.

        Args:
            ground: lines of the map.
            points: LiDAR points too.
        """
        import cv2

        image, frame = self.images[camera], self.frames[camera]
        smaller = width < image.camera.width
        way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        picture = np.ascontiguousarray(cv2.resize(image.rgb, (width, height), interpolation=way))
        lens = image.camera.scaled(width, height)
        if ground is not None:
            draw_ground(picture, lens, image.ego_from_camera, frame.world_from_ego, ground)
        if points:
            camera_from_world = inverse(frame.world_from_ego @ image.ego_from_camera)
            draw_points(picture, lens, camera_from_world, self.points)
        boxes = self.boxes(frame)
        if boxes is not None:
            draw_boxes(picture, lens, image.ego_from_camera, boxes)
        return picture


def moment_at(recording: Recording, seconds: float) -> Moment:
    """The step nearest to a time; the last one for all times after it."""
    stamp = round(seconds * 1e6)
    return Moment(recording, int(np.argmin(np.abs(recording.timestamp_us - stamp))))
