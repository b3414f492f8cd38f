"""A rig fitted to the ego of a simulated world: its suite, with cameras and rangers behind it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import se3
from roadloop.readings import LidarSweep, RadarScan
from roadloop.rig import SensorRig, select, with_calibration_error
from roadloop.types import Scenario
from sim.actors.appearance import frame_of
from sim.render.frame import Frame
from sim.render.scene import Scene, scene_of
from sim.sensors.camera import CameraCapture
from sim.sensors.lidar import Lidar
from sim.sensors.radar import Radar
from sim.sensors.suite import Capture, Moment, SensorSuite
from sim.state import SimState

Array = np.ndarray


def fitted(
    rig: SensorRig,
    scenario: Scenario,
    *,
    names: tuple[str, ...] | None = None,
    world: int = 0,
    device: str = "cpu",
) -> SensorSuite:
    """A suite whose sensors look at the simulator's scene.

    Args:
        names: sensors to run, by default all of the rig.
        world: the scenario's row in the simulator's batch.

    Raises:
        RoadloopError: a name the rig does not have; a recorded LiDAR of unknown beams.
    """
    if names is not None:
        rig = select(rig, names)
    for lidar in rig.lidars:
        if not lidar.beams:
            raise RoadloopError(
                f'LiDAR "{lidar.name}" of rig {rig.name}: no beams: give the elevation of each'
            )
    true_rig = with_calibration_error(rig, scenario.seed)
    captures: dict[str, Capture] = {}
    if rig.cameras or rig.lidars or rig.radars:
        scene = scene_of(scenario.road_map, device)
        captures = {
            "cameras": CameraCapture(scene, rig, true_rig, scenario.seed),
            "lidars": RangerCapture(scene, Lidar, rig.lidars, true_rig.lidars),
            "radars": RangerCapture(scene, Radar, rig.radars, true_rig.radars),
        }
    drawing = Drawing()
    return SensorSuite(
        rig,
        scenario,
        world=world,
        captures=captures,
        draw=drawing.frame,
        pose=drawing.pose,
    )


class Drawing:
    """Frames and ego poses of states, the latest kept: all sensors of a step share them."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, int], tuple[weakref.ref, weakref.ref, Frame]] = {}

    def frame(self, state: SimState, previous: SimState) -> Frame:
        """What is to be seen; ``previous``: the state that motion is counted from."""
        key = (id(state), id(previous))
        found = self._frames.get(key)
        if found is None or found[0]() is not state or found[1]() is not previous:
            kept = list(self._frames.items())[-3:]
            found = (weakref.ref(state), weakref.ref(previous), frame_of(state, previous))
            self._frames = {**dict(kept), key: found}
        return found[2]

    def pose(self, state: SimState, world: int) -> Array:
        """world_from_ego (4, 4), pitched and rolled with the ground."""
        frame = self.frame(state, state)
        back = state.fixed.scenarios[world].ego.vehicle.centre_offset
        return frame.actors.world_from_actor[world, 0] @ se3(np.eye(3), np.array([-back, 0.0, 0.0]))


class RangerCapture:
    """The LiDARs, or the radars, of a rig as a ``Capture``."""

    def __init__(
        self,
        scene: Scene,
        make: type[Lidar] | type[Radar],
        told: Sequence[Any],
        true: Sequence[Any],
    ) -> None:
        self._scene = scene
        self._rangers = {
            sensor.name: make(sensor, ego_from_sensor=where.mount.ego_from_sensor)
            for sensor, where in zip(told, true)
        }

    def __call__(
        self, moment: Moment, names: tuple[str, ...]
    ) -> dict[str, LidarSweep] | dict[str, RadarScan]:
        """Sweeps or scans of the named sensors."""
        found: dict[str, Any] = {}
        for name in names:
            ranger = self._rangers[name]
            motion: dict[str, Any] = {}
            if isinstance(ranger, Radar):  # measures speeds: the ego's own is part of them
                motion["velocity"] = float(moment.ego.speed) * moment.world_from_ego[:3, 0]
                motion["yaw_rate"] = float(moment.ego.yaw_rate)
            found[name] = ranger.scan(
                self._scene,
                moment.frame,
                moment.world,
                moment.world_from_ego,
                moment.previous_world_from_ego,
                moment.rng(name),
                elapsed=moment.elapsed or None,
                timestamp_us=moment.timestamp_us,
                **motion,
            )
        return found
