"""The detector at run time: an `Observation` with pictures in, a `Percept` out.

::

    detector = CameraDetector.load("runs/detector/best")
    detector.reset()
    percept = detector.perceive(observation)

The network itself is behind an ``Engine``, a function of arrays, so that what drives does not
depend on what runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from perception.camera_watch import WatchLimits
from perception.checkpoint import WEIGHTS, load_detector, weights_file
from perception.detector_config import DetectorConfig, ObjectClass, light_rows
from perception.frame_reader import FrameReader, Moment
from perception.inputs import motion_between
from perception.lights import decode_lights
from perception.memory_queue import Kept, MemoryQueue
from perception.objects import Objects, decode_objects
from perception.percept import LightHeads, Percept
from roadloop.geometry import transform_points, wrap_angle
from roadloop.stage_times import StageTimes
from roadloop.types import AgentKind, AgentStates, Detections, Observation

Array = np.ndarray

Engine = Callable[[Mapping[str, Array]], dict[str, Array]]
"""The inputs of `perception.frame` without a batch and, for detectors with a memory, ``state``
(D, X, Y) and ``state_valid`` () bool -> the network's outputs likewise. ``state`` is always given
and of zeros where there is none."""

FAST_CYCLIST = 10.0
"""m/s from which whoever rides a two-wheeler has a motor"""


class CameraDetector:
    """Sees one vehicle's surroundings.

    Args:
        config: of the network.
        engine: the network.
        rig: the vehicle's sensors, a rig by name or file; by default that of the detector.
        label: name and beginning of the SHA-256 of the weights.
        limits: from when on a camera is not trusted.

    Attributes:
        sensors: what to ask a world for.
        times: how long ``rectify``, ``network`` and ``decode`` take.
        faults: one line per sensor that is not trusted now.
        blind: whether no camera that looks to the front is trusted.
    """

    def __init__(
        self,
        config: DetectorConfig,
        engine: Engine,
        *,
        rig: str = "",
        label: str = "detector",
        limits: WatchLimits | None = None,
    ) -> None:
        self.config = config
        self.label = label
        self.times = StageTimes()
        self.sensors = (f"rig:{rig or config.rig}",)
        self._engine = engine
        self._reader = FrameReader(config, rig, limits)
        self._light_rows = light_rows(config)
        self._memory = MemoryQueue(config.state_age) if config.temporal else None
        self._no_state = np.zeros((config.bev_channels, *config.grid.shape), np.float32)
        self.reset()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        rig: str = "",
        name: str = "",
        threads: int = 1,
        device: str = "cpu",
        bf16: bool = False,
    ) -> CameraDetector:
        """The detector of a checkpoint, or of the folder of a run, run by PyTorch; that of an
        ``.onnx`` by ONNX Runtime.

        Args:
            rig: as above.
            name: for the label; by default that of the file or of its folder.
            threads, device, bf16: see `perception.torch_engine`; an ONNX file runs on the CPU.

        Raises:
            RoadloopError: a checkpoint that cannot be used, a rig that does not fit, a device that
                is not there.
        """
        file = weights_file(path)
        if file.suffix == ".onnx":
            from perception.onnx_engine import onnx_engine

            engine, config, weights = onnx_engine(file, threads=threads)
            return cls(config, engine, rig=rig, label=f"{weights}.onnx")
        from perception.torch_engine import torch_engine

        network, _ = load_detector(file)
        engine = torch_engine(network, threads=threads, device=device, bf16=bf16)
        return cls(network.config, engine, rig=rig, label=checkpoint_label(file, name))

    def reset(self) -> None:
        """Start a drive: no state, all sensors trusted."""
        self._reader.reset()
        if self._memory is not None:
            self._memory.reset()
        self._last: Percept | None = None
        self.blind = False

    @property
    def faults(self) -> tuple[str, ...]:
        return self._reader.faults

    def perceive(self, observation: Observation) -> Percept | None:
        """What is seen by now; that of before where no picture is newer, None before the first one.

        Raises RoadloopError for cameras that are not those of the rig, see `FrameReader.read`.
        """
        with self.times.stage("rectify"):
            moment = self._reader.read(observation)
        self.blind = self._reader.blind(moment)
        last = self._last
        seen = bool(moment.frame["camera_valid"].any())
        if not seen or (last is not None and moment.time <= last.time):
            if last is not None and last.faults != self.faults:
                self._last = replace(last, faults=self.faults)
            return self._last
        inputs = self._with_memory(moment)
        with self.times.stage("network"):
            outputs = self._engine(inputs)
        if self._memory is not None:
            self._memory.put(Kept(moment.time, moment.world_from_ego, outputs["state"]))
        with self.times.stage("decode"):
            looking = moment.frame["camera_valid"][self._light_rows]
            self._last = percept_of(outputs, self.config, moment, self.faults, looking)
        return self._last

    def _with_memory(self, moment: Moment) -> dict[str, Array]:
        """The engine's inputs: the frame, and the state to go on from."""
        kept = self._memory.before(moment.time) if self._memory is not None else None
        motion = np.zeros(3, np.float32)
        if kept is not None:
            motion = motion_between(kept.world_from_ego, moment.world_from_ego)
        known = np.bool_(kept is not None)
        inputs = {**moment.frame, "motion": motion, "motion_valid": known}
        if self._memory is not None:
            state = self._no_state if kept is None else kept.state
            inputs |= {"state": state, "state_valid": known}
        return inputs


def checkpoint_label(file: Path, name: str = "") -> str:
    """``compact@1f2e3d4c``: name and the first 8 digits of the SHA-256 of a checkpoint."""
    file = Path(file).resolve()
    name = name or (file.parent.name if file.name == WEIGHTS else file.stem)
    return f"{name}@{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"


# --- decoding -----------------------------------------------------------------------------------


def percept_of(
    outputs: Mapping[str, Array],
    config: DetectorConfig,
    moment: Moment,
    faults: tuple[str, ...],
    looking: Array,
) -> Percept:
    """The outputs of the network for one moment, decoded.

    ``looking`` (L,) bool: the light cameras to be trusted.
    """
    objects = decode_objects(outputs["heat"], outputs["box"], outputs["box_log_var"], config.grid)
    lights = no_lights()
    if config.light_cameras:
        maps = (outputs[key] for key in ("light_heat", "light_box", "light_state"))
        lights = decode_lights(*maps, seen=looking)
    return Percept(
        detections=Detections(world_boxes(objects, moment.world_from_ego), objects.score),
        position_std=objects.position_std,
        velocity_std=objects.velocity_std,
        raster=1.0 / (1.0 + np.exp(-np.clip(outputs["raster"], -30.0, 30.0))),
        lane=outputs["lane"],
        lights=lights,
        world_from_ego=moment.world_from_ego,
        time=moment.time,
        faults=faults,
    )


def no_lights() -> LightHeads:
    """No head of a traffic light."""
    none = np.zeros(0)
    return LightHeads(np.zeros(0, np.int64), none, none, none, none, none, np.zeros((0, 4)))


def world_boxes(objects: Objects, world_from_ego: Array) -> AgentStates:
    """Objects in the ego frame as boxes (n,) in the world frame; all ids are 0."""
    heading = np.arctan2(world_from_ego[1, 0], world_from_ego[0, 0])
    c, s = np.cos(heading), np.sin(heading)
    centre = np.stack([objects.x, objects.y, objects.z], axis=-1).reshape(-1, 3)
    x, y, z = transform_points(world_from_ego, centre).T
    return AgentStates(
        id=np.zeros(len(objects.x), np.int64),
        kind=kinds_of(objects),
        x=x,
        y=y,
        z=z - 0.5 * objects.height,  # of the ground under the box, as agents have it
        heading=wrap_angle(objects.yaw + heading),
        vx=c * objects.vx - s * objects.vy,
        vy=s * objects.vx + c * objects.vy,
        length=objects.length,
        width=objects.width,
        height=objects.height,
        valid=np.ones(len(objects.x), bool),
    )


def kinds_of(objects: Objects) -> Array:
    """(n,) `AgentKind` as uint8, from class, size and speed.

    Vehicles from 7 m on are lorries, and buses where they are longer than 9 m and low for it; from
    1.9 m height on vans. (Cars of the simulator are 1.5 m high and vans 2.2 m, lorries 8 m long and
    buses 9.5 m: the limits lie halfway.)
    """
    what = objects.object_class
    kind = np.full(len(what), AgentKind.CAR, np.uint8)
    kind[objects.height > 1.85] = AgentKind.VAN
    kind[objects.length > 6.7] = AgentKind.TRUCK
    kind[objects.length > 8.8] = AgentKind.BUS
    rides = np.hypot(objects.vx, objects.vy) > FAST_CYCLIST
    cyclist = np.where(rides, np.uint8(AgentKind.MOTORCYCLE), np.uint8(AgentKind.CYCLIST))
    kind = np.where(what == ObjectClass.CYCLIST, cyclist, kind)
    kind[what == ObjectClass.PEDESTRIAN] = AgentKind.PEDESTRIAN
    kind[what == ObjectClass.OBSTACLE] = AgentKind.STATIC
    return kind
