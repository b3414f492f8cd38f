"""From an `Observation` to the arrays a detector eats, at run time.

The vehicle's pictures are checked, warped into the detector's cameras and put where the camera was
when it exposed, in the ego's frame of the newest picture. Nothing here needs torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from perception.camera_watch import CameraWatch, WatchLimits
from perception.detector_config import DetectorConfig
from perception.frame import Frame
from perception.inputs import pixel_from_ego, range_inputs
from perception.sweep_memory import SweepMemory
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, wrap_angle
from roadloop.readings import CameraImage
from roadloop.rig import load_rig
from roadloop.types import EgoState, Observation
from roadloop.virtual_camera import Slot, VirtualCameras

Array = np.ndarray

FORWARD = float(np.cos(np.radians(30.0)))
"""a camera whose axis is at most so far from straight ahead looks to the front"""
POSES_KEPT = 1.0
"""s of the ego's past that pictures may come from"""
_EPS = 1e-6  # s: time stamps are whole microseconds


@dataclass(frozen=True)
class Moment:
    """What was seen at one time."""

    frame: Frame
    """the inputs of `perception.frame` without a batch, but for ``motion``"""
    world_from_ego: Array
    """(4, 4)"""
    time: float
    """s, of the newest picture to be trusted; of the observation where there is none"""


class FrameReader:
    """Reads moments of one vehicle.

    Args:
        config: of the detector.
        rig: the vehicle's own cameras, a rig by name or file; by default those of the detector.
        limits: from when on a camera is not trusted.

    Raises:
        RoadloopError: the rig has no camera for one of the detector's.
    """

    def __init__(
        self, config: DetectorConfig, rig: str = "", limits: WatchLimits | None = None
    ) -> None:
        self.config = config
        self.rig = rig or config.rig
        self.watch = CameraWatch(limits)
        self._virtual = VirtualCameras(config.rig, config.size)
        vehicle = load_rig(self.rig)
        self._nominal: dict[str, tuple[Pinhole, Array]] = {
            camera.name: (camera.camera, camera.ego_from_camera) for camera in vehicle.cameras
        }
        self._calibrated(self._nominal)
        unfilled = [slot.name for slot in self._slots if slot.source < 0]
        if unfilled:
            raise RoadloopError(
                f"rig {self.rig} has no camera for {', '.join(unfilled)} of the detector's rig "
                f"{config.rig}: it has {', '.join(self._nominal) or 'none'}; add one that looks "
                "there, or take a detector for this rig"
            )
        for kind in ("lidar", "radar"):
            if getattr(config, kind) and not getattr(vehicle, f"{kind}s"):
                raise RoadloopError(
                    f"rig {self.rig} has no {kind}, which the detector of rig {config.rig} looks "
                    "at: add one, or take a detector without"
                )
        self._lidars = SweepMemory(tuple(s.name for s in vehicle.lidars) if config.lidar else ())
        self._radars = SweepMemory(tuple(s.name for s in vehicle.radars) if config.radar else ())
        self.reset()

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per sensor that is not trusted now."""
        return self.watch.faults + self._lidars.faults + self._radars.faults

    def reset(self) -> None:
        """Start a drive."""
        self.watch.reset()
        self._lidars.reset()
        self._radars.reset()
        self._calibrated(self._nominal)
        self._checked: set[str] = set()
        self._poses: deque[_Pose] = deque()

    def blind(self, moment: Moment) -> bool:
        """Whether none of the cameras that look to the front is trusted."""
        ahead = [slot.mount[0, 2] >= FORWARD for slot in self._slots]
        return not (moment.frame["camera_valid"] & ahead).any()

    def read(self, observation: Observation) -> Moment:
        """What the sensors have seen by now.

        Raises:
            RoadloopError: cameras of other names than the rig's, a first picture of another size
                than its calibration, NaN in a calibration.
        """
        self._check_names(observation)
        ego, now = observation.ego, observation.time
        self._remember(ego, now)
        calibration = dict(self._calibration)
        trusted: dict[str, CameraImage] = {}
        for name in self._needed:
            image = observation.cameras.get(name)
            if image is not None:
                self._check_first(name, image)
                calibration[name] = image.camera, image.ego_from_camera
            if self.watch.look(name, image, now, float(ego.speed)) and image is not None:
                trusted[name] = image
        self._calibrated(calibration)
        time = max((1e-6 * image.timestamp_us for image in trusted.values()), default=now)
        world_from_ego = self._pose(time)
        frame = self._frame(trusted, world_from_ego)
        self._lidars.take(observation.lidars, now)
        self._radars.take(observation.radars, now)
        points, targets = (m.points(time, self._pose) for m in (self._lidars, self._radars))
        frame |= range_inputs(self.config, points, targets)
        return Moment(frame, world_from_ego, time)

    def _frame(self, trusted: Mapping[str, CameraImage], world_from_ego: Array) -> Frame:
        """The arrays of one moment."""
        width, height = self.config.size
        pictures = np.zeros((len(self._slots), height, width, 3), np.uint8)
        valid = np.zeros(len(self._slots), bool)
        lenses, poses = np.zeros((len(valid), 3, 3)), np.zeros((len(valid), 4, 4))
        ego_from_world = inverse(world_from_ego)
        for k, slot in enumerate(self._slots):
            image = trusted.get(self._names[slot.source])
            moved = np.eye(4)
            if image is not None:
                pictures[k], valid[k] = slot.view(image.rgb), True
                moved = ego_from_world @ self._pose(1e-6 * image.timestamp_us)
            lenses[k], poses[k] = slot.view.target.matrix, moved @ slot.mount
        return {
            "images": pictures.transpose(0, 3, 1, 2),
            "camera_valid": valid,
            "pixel_from_ego": pixel_from_ego(lenses, poses),
        }

    def _check_names(self, observation: Observation) -> None:
        given = set(observation.cameras)
        if given and not given & set(self._needed):
            raise RoadloopError(
                f"the observation has cameras {', '.join(sorted(given))}, the detector was opened "
                f"for rig {self.rig} with {', '.join(sorted(self._needed))}: name the vehicle's rig"
            )

    def _check_first(self, name: str, image: CameraImage) -> None:
        """A camera that has never given what its calibration says is a mistake, no failure."""
        if name in self._checked:
            return
        lens, shape = image.camera, np.shape(image.rgb)
        if shape != (lens.height, lens.width, 3):
            raise RoadloopError(
                f'camera "{name}" gives pictures of shape {shape}, its calibration is of '
                f"{lens.width} x {lens.height} px: give it the calibration of these pictures"
            )
        self._checked.add(name)

    def _calibrated(self, calibration: dict[str, tuple[Pinhole, Array]]) -> None:
        """Fill the slots by a calibration; one that has not changed costs a comparison."""
        held = getattr(self, "_calibration", {})
        if held.keys() == calibration.keys() and all(
            held[name][0] == lens and np.array_equal(held[name][1], pose)
            for name, (lens, pose) in calibration.items()
        ):
            return
        self._names = list(calibration)
        self._slots: list[Slot] = self._virtual.slots(
            self._names,
            [lens for lens, _ in calibration.values()],
            np.array([pose for _, pose in calibration.values()]).reshape(-1, 4, 4),
        )
        self._calibration = calibration
        sources = sorted({slot.source for slot in self._slots if slot.source >= 0})
        self._needed = [self._names[source] for source in sources]  # as the vehicle's rig has them

    def _remember(self, ego: EgoState, now: float) -> None:
        poses = self._poses
        if poses and now < poses[-1].time:
            poses.clear()
        if poses and now == poses[-1].time:
            poses.pop()
        row = np.array([float(ego.x), float(ego.y), float(ego.z), float(ego.heading)])
        poses.append(_Pose(now, row, _level(row)))
        while poses[0].time < now - POSES_KEPT:
            poses.popleft()

    def _pose(self, time: float) -> Array:
        """world_from_ego (4, 4) at ``time``, between the steps that were observed."""
        after = None
        for pose in reversed(self._poses):
            if abs(pose.time - time) < _EPS:
                return pose.world_from_ego
            if pose.time < time:
                if after is None:
                    return pose.world_from_ego
                share = (time - pose.time) / (after.time - pose.time)
                step = after.row - pose.row
                step[3] = wrap_angle(step[3])
                return _level(pose.row + share * step)
            after = pose
        return self._poses[0].world_from_ego


class _Pose(NamedTuple):
    """Where the ego was."""

    time: float
    row: Array
    """x, y, z, heading"""
    world_from_ego: Array


def _level(row: Array) -> Array:
    """world_from_ego (4, 4) of an ego that neither pitches nor rolls."""
    return se3(rotation_from_euler(0.0, 0.0, row[3]), row[:3])
