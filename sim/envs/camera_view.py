"""What the cameras of a rig show the learners of a batch of worlds.

The pictures are those the rig's calibration describes, of this very moment and in plain shading: no
latency, no calibration errors, no lens effects. For these run a ``sim.sensors`` suite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from roadloop.geometry import se3
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig, load_rig
from sim.actors.appearance import frame_of
from sim.envs.config import OptionError
from sim.render.scene import scene_of
from sim.sensors.camera import Cameras
from sim.state import SimState

Array = np.ndarray


def cameras_of(rig: SensorRig | str) -> SensorRig:
    """The rig; raises OptionError where it has no cameras or one is called like a vector part."""
    found = load_rig(rig) if isinstance(rig, str) else rig
    if not found.cameras:
        raise OptionError(f'rig "{found.name}" has no cameras: choose another one')
    taken = [c.name for c in found.cameras if c.name in ("ego", "route")]
    if taken:
        raise OptionError(f'rig "{found.name}": a camera called "{taken[0]}" hides that key')
    return found


def camera_space(rig: SensorRig | str) -> dict[str, spaces.Space]:
    """One uint8 Box (height, width, 3) per camera."""
    return {
        c.name: spaces.Box(0, 255, (c.height, c.width, 3), np.uint8)
        for c in cameras_of(rig).cameras
    }


class CameraView:
    """The cameras of all learners, and their latest pictures."""

    def __init__(
        self, rig: SensorRig | str, road_map: RoadMap, worlds: int, learners: int, device: str
    ) -> None:
        self._sensors = cameras_of(rig).cameras
        self._cameras = Cameras(scene_of(road_map, device), [s.camera for s in self._sensors])
        self._ego_from_camera = np.stack([s.ego_from_camera for s in self._sensors])
        self.pictures = {
            s.name: np.zeros((worlds, learners, s.height, s.width, 3), np.uint8)
            for s in self._sensors
        }

    def look(self, state: SimState, worlds: Array) -> None:
        """Takes the pictures of these worlds into ``pictures``."""
        frame = frame_of(state)
        traits: Any = state.fixed.traits.numpy()
        learners = next(iter(self.pictures.values())).shape[1]
        for i in range(learners):
            back = -traits["centre_offset"][worlds, i].astype(float)
            centre_from_ego = np.stack([se3(np.eye(3), np.array([b, 0.0, 0.0])) for b in back])
            world_from_ego = frame.actors.world_from_actor[worlds, i] @ centre_from_ego
            poses = world_from_ego[:, None] @ self._ego_from_camera
            shots = self._cameras.shoot(frame, worlds, poses, hide=i)
            for w, row in zip(worlds, shots):
                for sensor, shot in zip(self._sensors, row):
                    self.pictures[sensor.name][w, i] = shot.rgb
