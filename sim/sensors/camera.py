"""Cameras: pictures with labels, for one world or a batch, and those of a rig in a sensor suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage
from roadloop.rig import CameraEffects, CameraSensor, SensorRig
from sim.render.frame import Frame
from sim.render.lens import add_effects, lens_of
from sim.render.renderer import PLAIN, Images, Look, Renderer, tangents
from sim.render.scene import Scene, Views
from sim.sensors.labels import image_boxes, optical_flow
from sim.sensors.suite import Moment

Array = np.ndarray


@dataclass(frozen=True)
class Shot:
    """What one camera of one world recorded; arrays ``(height, width, ...)``."""

    rgb: Array
    """uint8"""
    depth: Array
    """float32, m along the camera's z axis; inf: sky"""
    semantic: Array
    """uint8 SemanticClass; NONE where the lens sees nothing"""
    instance: Array
    """int32"""


class Cameras:
    """Takes pictures of one scene with the same cameras again and again."""

    def __init__(self, scene: Scene, cameras: Sequence[Pinhole]) -> None:
        if not cameras:
            raise RoadloopError("no camera to render: give at least one")
        self.cameras = tuple(cameras)
        self._straight = [k for k, camera in enumerate(cameras) if type(camera) is Pinhole]
        self._bent = [k for k, camera in enumerate(cameras) if type(camera) is not Pinhole]
        self._renderer = Renderer(scene)

    def shoot(
        self,
        frame: Frame,
        world: Array,
        world_from_camera: Array,
        *,
        hide: int = 0,
        look: Look = PLAIN,
    ) -> list[list[Shot]]:
        """Pictures of every camera in every given world: ``shots[i][k]`` of world ``world[i]``.

        Args:
            world: (n,) rows of the frame.
            world_from_camera: (n, cameras, 4, 4) float64.
            hide: row of an actor that is not drawn, -1: none.
            look: how much of light and matter the colours show.
        """
        n = len(world)
        shots: list[list[Shot]] = [[] for _ in range(n)]
        found: dict[tuple[int, int], Shot] = {}
        for group in (self._straight, self._bent):
            if not group:
                continue
            cameras = [self.cameras[k] for _ in range(n) for k in group]
            views = Views(
                world=np.repeat(np.asarray(world), len(group)),
                world_from_view=world_from_camera[:, group].reshape(-1, 4, 4),
                tangents=None
                if group is self._bent
                else np.stack([tangents(camera) for camera in cameras]),
                hide=hide,
            )
            images = self._renderer.render(frame, views, cameras, look)
            for row, camera in enumerate(cameras):
                i, k = divmod(row, len(group))
                found[i, group[k]] = _shot(images, row, camera)
        for i in range(n):
            shots[i] = [found[i, k] for k in range(len(self.cameras))]
        return shots


def _shot(images: Images, row: int, camera: Pinhole) -> Shot:
    """One view's picture."""
    shape = (camera.height, camera.width)
    pixels = slice(images.start[row], images.start[row] + camera.width * camera.height)
    return Shot(
        rgb=images.rgb[pixels].reshape(*shape, 3),
        depth=images.depth[pixels].reshape(shape),
        semantic=images.semantic[pixels].reshape(shape),
        instance=images.instance[pixels].reshape(shape),
    )


class CameraCapture:
    """The cameras of a rig as a ``Capture`` of ``sim.sensors.suite``.

    Args:
        rig: as the calibration has it; what a CameraImage says of its camera.
        true_rig: where the cameras really are and what their lenses really do.
        seed: of the scenario, for what is fixed for a lens's life.
        shared: renderers by lenses, where several captures of one scene use the same.
    """

    def __init__(
        self,
        scene: Scene,
        rig: SensorRig,
        true_rig: SensorRig,
        seed: int,
        *,
        shared: dict[tuple[Pinhole, ...], Cameras] | None = None,
    ) -> None:
        self._scene = scene
        self._told = {sensor.name: sensor for sensor in rig.cameras}
        self._true = {sensor.name: sensor for sensor in true_rig.cameras}
        self._lens = {
            sensor.name: lens_of(
                sensor.effects,
                sensor.width,
                sensor.height,
                np.random.default_rng([seed, *sensor.name.encode()]),
            )
            for sensor in true_rig.cameras
        }
        self._sets = {} if shared is None else shared

    def __call__(self, moment: Moment, names: tuple[str, ...]) -> dict[str, CameraImage]:
        """Pictures of the named cameras."""
        sensors = [self._true[name] for name in names]
        poses = np.stack([moment.world_from_ego @ s.ego_from_camera for s in sensors])
        shots = self._shoot(moment, [s.camera for s in sensors], poses, PLAIN)
        rgb = {s.name: shot.rgb for s, shot in zip(sensors, shots)}
        full = [k for k, s in enumerate(sensors) if s.detail == "full" or s.antialias > 1]
        # those of one look and one factor together
        for look, factor in dict.fromkeys(_finer(sensors[k]) for k in full):
            group = [k for k in full if _finer(sensors[k]) == (look, factor)]
            cameras = [
                sensors[k].camera.scaled(sensors[k].width * factor, sensors[k].height * factor)
                for k in group
            ]
            for k, fine in zip(group, self._shoot(moment, cameras, poses[group], look)):
                size = (sensors[k].width, sensors[k].height)
                rgb[sensors[k].name] = (
                    cv2.resize(fine.rgb, size, interpolation=cv2.INTER_AREA)
                    if factor > 1
                    else fine.rgb
                )
        return {
            s.name: self._image(moment, s, rgb[s.name], shot) for s, shot in zip(sensors, shots)
        }

    def _shoot(
        self, moment: Moment, cameras: list[Pinhole], poses: Array, look: Look
    ) -> list[Shot]:
        key = tuple(cameras)
        if key not in self._sets:
            self._sets[key] = Cameras(self._scene, key)
        world = np.array([moment.world])
        return self._sets[key].shoot(moment.frame, world, poses[None], look=look)[0]

    def _image(self, moment: Moment, sensor: CameraSensor, rgb: Array, shot: Shot) -> CameraImage:
        told = self._told[sensor.name]
        frame, world = moment.frame, moment.world
        pose = moment.world_from_ego @ sensor.ego_from_camera
        wanted = sensor.products
        blurs = sensor.effects.motion_blur > 0.0 and moment.elapsed > 0.0
        flow = boxes = None
        if "flow" in wanted or blurs:
            before = moment.previous_world_from_ego @ sensor.ego_from_camera
            flow = optical_flow(
                sensor.camera, pose, before, frame.actors, world, shot.depth, shot.instance
            )
        if "boxes" in wanted:
            boxes = image_boxes(
                sensor.camera,
                pose,
                frame.actors,
                world,
                moment.state.fixed.traits.numpy()[world]["kind"],
                self._half(frame, world),
                shot.instance,
            )
        if sensor.effects != CameraEffects() or sensor.detail == "full":
            rgb = add_effects(
                rgb,
                self._lens[sensor.name],
                frame.weather[world],
                moment.rng(sensor.name),
                flow=flow if blurs else None,
                dt=max(moment.elapsed, 1e-3),
                time=moment.time,
            )
        return CameraImage(
            rgb=rgb,
            camera=told.camera,
            ego_from_camera=told.ego_from_camera,
            timestamp_us=moment.timestamp_us,
            depth=shot.depth if "depth" in wanted else None,
            semantic=shot.semantic if "semantic" in wanted else None,
            instance=shot.instance if "instance" in wanted else None,
            flow=flow if "flow" in wanted else None,
            boxes=boxes,
        )

    def _half(self, frame: Frame, world: int) -> Array:
        """(actors, 3) m, half of length, width, height."""
        actors = frame.actors
        return self._scene.model_half[np.maximum(actors.model[world], 0)] * actors.scale[world]


def _finer(sensor: CameraSensor) -> tuple[Look, int]:
    """How a camera's colours are rendered beyond the plain picture."""
    full = sensor.detail == "full"
    return Look(detailed=full, shadows=full and sensor.shadows), sensor.antialias
