"""Keeps what a driver saw while it drives, for reports: percepts, tracks, lights, pictures, faults.

::

    recorder = PerceptRecorder(*seeing_of(driver))  # None for drivers that see without a network
    recorder.listen(observation, pixels)            # after every act
    write_percepts(folder, recorder.log())
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy.seeing import Seeing
from deploy.stack import Stack
from perception.detector_config import (
    ObjectClass,
    RasterLayer,
    light_rows,
    object_classes,
)
from perception.objects import VISIBLE_PIXELS
from perception.percept import LightHeads
from roadloop.geometry import transform_points
from roadloop.interfaces import Driver, innermost
from roadloop.logs.percepts import TABLES, PerceptGrid, PerceptLog, PictureCamera
from roadloop.logs.side_tables import Table, joined_rows
from roadloop.readings import CameraImage
from roadloop.types import AgentStates, LightState, Observation
from roadloop.virtual_camera import Slot, VirtualCameras

Array = np.ndarray

RASTERS = 2.0
"""Hz, how often the raster map is kept"""
PICTURES = 5.0
"""Hz, how often the pictures are kept"""
QUALITY = 85
"""of the JPEG pictures"""
_EPS = 1e-6


def seeing_of(driver: Driver) -> tuple[Stack, Seeing] | None:
    """The stack, also one inside another driver (``.driver``), that sees with a detector."""
    inner = innermost(driver)
    if isinstance(inner, Stack) and isinstance(inner.sight, Seeing):
        return inner, inner.sight
    return None


class PerceptRecorder:
    """Listens to a stack that sees; nothing that is kept is ever handed back to it.

    Args:
        stack, seeing: of `seeing_of`.
        pictures: Hz, how often pictures are kept, 0: never.
        times: whether the times of stages are kept, which differ from drive to drive.
    """

    def __init__(
        self, stack: Stack, seeing: Seeing, *, pictures: float = PICTURES, times: bool = True
    ) -> None:
        self._stack, self._seeing = stack, seeing
        self._pictures, self._times = pictures, times
        self._rows: dict[str, list[Table]] = {name: [] for name in TABLES}
        self._faults: list[tuple[float, tuple[str, ...]]] = []
        self._cameras: tuple[PictureCamera, ...] = ()
        self._slots: dict[int, Slot] = {}
        self._stages: list[str] = []
        self._steps = seeing.times.steps
        self._last, self._raster_at, self._picture_at = -np.inf, -np.inf, -np.inf
        self._moments = 0

    def listen(self, observation: Observation, pixels: Mapping[float, Mapping[int, int]]) -> None:
        """To be called after each ``act``.

        Args:
            observation: that of the world, at the driver's step.
            pixels: time (s, 3 digits) -> agent -> how many pixels of the pictures of that time show
                him.
        """
        self._listen_to_faults(observation.time)
        times = self._seeing.times
        if self._times and times.steps > self._steps:
            self._steps = times.steps
            self._add_times(observation.step, times.latest())
        percept = self._seeing.percept
        if percept is None or percept.time <= self._last + _EPS:
            return
        self._last = percept.time
        m, self._moments = self._moments, self._moments + 1
        self._add("moments", 1, step=observation.step, time=percept.time)
        self._rows["moments"][-1]["world_from_ego"] = np.asarray(percept.world_from_ego)[None]
        found = percept.detections
        self._add(
            "detections",
            len(found.score),
            moment=m,
            **_boxes(found.boxes),
            score=found.score,
            position_std=percept.position_std,
            velocity_std=percept.velocity_std,
        )
        tracks = self._seeing.tracks
        self._add(
            "tracks",
            len(tracks.age),
            moment=m,
            id=tracks.states.id,
            **_boxes(tracks.states),
            position_std=tracks.position_std,
            age=tracks.age,
        )
        told = np.flatnonzero(self._seeing.lights != LightState.OFF)
        self._add("told", len(told), moment=m, signal=told, state=self._seeing.lights[told])
        shown = pixels.get(round(percept.time, 3), {})
        agents = np.fromiter(shown.keys(), np.int64, len(shown))
        counts = np.fromiter(shown.values(), np.int64, len(shown))
        self._add("witnessed", len(shown), moment=m, agent=agents, pixels=counts)
        if percept.time >= self._raster_at + 1.0 / RASTERS - _EPS:
            self._raster_at = percept.time
            values = np.rint(255.0 * np.clip(percept.raster, 0.0, 1.0)).astype(np.uint8)
            self._rows["rasters"].append({"moment": np.array([m]), "values": [values.tobytes()]})
        self._know_cameras(observation.cameras)
        self._add_lights(m, percept.lights)
        if self._pictures and percept.time >= self._picture_at + 1.0 / self._pictures - _EPS:
            self._picture_at = percept.time
            self._add_pictures(m, observation.cameras, percept.time)

    def log(self) -> PerceptLog:
        """All that was kept so far."""
        config = self._seeing.detector.config
        grid = config.grid
        budget = self._seeing.times.budget
        return PerceptLog(
            detector=self._seeing.label,
            rig=config.rig,
            classes=tuple(c.name.lower() for c in ObjectClass),
            layers=tuple(layer.name.lower() for layer in RasterLayer),
            grid=PerceptGrid(grid.x_min, grid.y_min, grid.nx, grid.ny, grid.cell),
            visible_pixels=VISIBLE_PIXELS,
            cameras=self._cameras,
            faults=tuple(self._faults),
            budget_ms={stage: budget.of(stage) for stage in self._stages},
            tables={name: joined_rows(TABLES[name], rows) for name, rows in self._rows.items()},
        )

    def _add(self, name: str, n: int, **columns: Any) -> None:
        if n:
            self._rows[name].append(
                {key: np.broadcast_to(np.asarray(value), (n,)) for key, value in columns.items()}
            )

    def _listen_to_faults(self, time: float) -> None:
        now = tuple(self._stack.faults)
        before = self._faults[-1][1] if self._faults else ()
        if now != before:
            self._faults.append((float(time), now))

    def _add_times(self, step: int, taken: Mapping[str, float]) -> None:
        self._stages += [stage for stage in taken if stage not in self._stages]
        rows = [self._stages.index(stage) for stage in taken]
        self._add("times", len(rows), step=step, stage=rows, ms=list(taken.values()))

    def _know_cameras(self, images: Mapping[str, CameraImage]) -> None:
        """Each camera by the calibration of its first picture, whenever that comes."""
        known = {camera.name for camera in self._cameras}
        new = [(name, image) for name, image in images.items() if name not in known]
        if not new:
            return
        self._cameras += tuple(
            PictureCamera(name, image.camera, np.asarray(image.ego_from_camera))
            for name, image in new
        )
        config = self._seeing.detector.config
        virtual = VirtualCameras(config.rig, config.size)
        slots = virtual.slots(
            [c.name for c in self._cameras],
            [c.lens for c in self._cameras],
            np.array([c.ego_from_camera for c in self._cameras]),
        )
        self._slots = {k: slots[row] for k, row in enumerate(light_rows(config))}

    def _add_lights(self, m: int, heads: LightHeads) -> None:
        """Heads from the pictures of the virtual cameras to those of the vehicle's."""
        for row in range(len(heads.score)):
            slot = self._slots.get(int(heads.camera[row]))
            if slot is None or slot.source < 0:
                continue
            half = np.array([heads.width[row], heads.height[row]]) / 2.0
            centre = np.array([heads.u[row], heads.v[row]])
            rays, _ = slot.view.target.unproject(np.stack([centre - half, centre + half]))
            lens = self._cameras[slot.source].lens
            uv, seen = lens.project(transform_points(slot.source_from_target, rays))
            if not seen.any():
                continue
            (u, v), (width, height) = uv.mean(0), np.abs(uv[1] - uv[0])
            self._add(
                "lights",
                1,
                moment=m,
                camera=slot.source,
                u=u,
                v=v,
                width=width,
                height=height,
                score=heads.score[row],
                **dict(zip(("off", "red", "yellow", "green"), heads.state[row])),
            )

    def _add_pictures(self, m: int, images: Mapping[str, CameraImage], time: float) -> None:
        import cv2

        for k, camera in enumerate(self._cameras):
            image = images.get(camera.name)
            if image is None or abs(image.timestamp_us * 1e-6 - time) > 0.05:
                continue  # not of this moment: boxes would not lie on what they mean
            quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            _, data = cv2.imencode(".jpg", np.ascontiguousarray(image.rgb[..., ::-1]), quality)
            self._rows["pictures"].append(
                {"moment": np.array([m]), "camera": np.array([k]), "jpeg": [data.tobytes()]}
            )


def _boxes(states: AgentStates) -> Table:
    fields = ("kind", "x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
    boxes = {name: getattr(states, name) for name in fields}
    return {"label": object_classes(states.kind, states.length), **boxes}
