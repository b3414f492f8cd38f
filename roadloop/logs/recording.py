"""A recorded drive of any data set in our types and frames: what every reader gives.

World frame: a local east-north-up frame, that of the map where there is one. Ego frame: x forward,
y left, z up, origin on the ground under the rear axle; a reader whose data set has another one
moves it there. A step is an instant at which the ego's pose and the road users are known; sensors
measure when they like, between steps too, and are read when they are looked at.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig, select
from roadloop.types import AgentStates, EgoState, Observation, Tracks, at

Array = np.ndarray


@dataclass(frozen=True)
class Frame:
    """One measurement of one camera, LiDAR or radar; its file is opened by ``read``."""

    sensor: str
    """name in the rig"""
    kind: Literal["camera", "lidar", "radar"]
    timestamp_us: int
    """since the start of the recording: of the exposure, or of a sweep as the data set stamps it"""
    step: int
    """the first step whose time is not earlier: from then on a driver has it"""
    world_from_ego: Array
    """(4, 4) when it was measured"""
    read: Callable[[], Any]
    """gives the CameraImage, LidarSweep or RadarScan, or a RoadloopError that names the file; can
    be pickled (a ``partial`` of a module's function, no lambda)"""


@dataclass(frozen=True)
class Recording:
    """One recorded drive. T steps, A road users, S signals of the map."""

    name: str
    """unique in its data set, fit to be a folder's name"""
    dataset: str
    """the format it was read from, a key of ``roadloop.datasets.formats.FORMATS``"""
    dt: float
    """s between steps, as meant; ``timestamp_us`` says when they were"""
    timestamp_us: Array
    """(T,) int64, from 0, increasing"""
    ego: EgoState
    """(T,); x, y, z are the position of ``world_from_ego``"""
    world_from_ego: Array
    """(T, 4, 4), pitched and rolled where the data set knows"""
    rig: SensorRig
    """the sensors as calibrated; without any where the data set has none"""
    agents: AgentStates | None = None
    """(T, A) without the ego; each column is one road user, whose id is above 0. None: no labels"""
    world_from_agent: Array | None = None
    """(T, A, 4, 4) of boxes with the origin on the ground under the centre, where they may be
    tilted; None: upright at ``agents``"""
    category: Array = field(default_factory=lambda: np.zeros(0, "U1"))
    """(A,) str, the class by the data set's own name"""
    source_id: Array = field(default_factory=lambda: np.zeros(0, "U1"))
    """(A,) str, the data set's own id of each road user"""
    labelled: Array | None = None
    """(T,) bool, steps whose road users are the data set's own labels; between them they are
    interpolated. None: all"""
    lidar_points: Array | None = None
    """(T, A) int32, points in each box as the data set counts them, -1 where it does not"""
    lights: Array | None = None
    """(T, S) LightState as uint8; None: not recorded"""
    load_map: Callable[[], RoadMap] | None = None
    """compiles the map when it is first asked for; None: the data set has none"""
    frames: tuple[Frame, ...] = ()
    """by time"""
    samples: Callable[[int], dict[str, Any]] | None = None
    """what IMUs, GNSS and odometry gave at a step: those fields of Observation by name"""
    continuous: bool = True
    """False: steps are single pictures of different places; nothing can be replayed"""
    lossless: bool = False
    """True: a log of exact pictures, which a copy keeps to the bit"""
    about: dict[str, Any] = field(default_factory=dict)
    """facts for ``meta.json``, plain JSON values: start_us (Unix time), licence, place, ..."""
    notes: tuple[str, ...] = ()
    """what the reader left out or repaired, and why; one line each"""

    def __post_init__(self) -> None:
        steps = len(self.timestamp_us)
        where = f"{self.dataset} drive {self.name}"
        if not steps:
            raise RoadloopError(f"{where} has no steps")
        if (np.diff(self.timestamp_us) <= 0).any():
            k = int(np.argmax(np.diff(self.timestamp_us) <= 0))
            raise RoadloopError(f"{where}: time does not increase from step {k} to step {k + 1}")
        if not np.isfinite(self.world_from_ego).all():
            k = int(np.argmax(~np.isfinite(self.world_from_ego).all((1, 2))))
            raise RoadloopError(f"{where}: the ego's pose at step {k} is not finite")
        shapes = {
            "world_from_ego": (self.world_from_ego, (steps, 4, 4)),
            "ego": (self.ego.x, (steps,)),
        }
        if self.agents is not None:
            count = self.agents.valid.shape[1:]
            shapes |= {
                "agents": (self.agents.x, (steps, *count)),
                "category": (self.category, count),
                "source_id": (self.source_id, count),
                "world_from_agent": (self.world_from_agent, (steps, *count, 4, 4)),
                "lidar_points": (self.lidar_points, (steps, *count)),
            }
        for name, (value, shape) in shapes.items():
            if value is not None and np.shape(value) != shape:
                raise RoadloopError(f"{where}: {name} has shape {np.shape(value)}, not {shape}")

    def __len__(self) -> int:
        return len(self.timestamp_us)

    def __iter__(self) -> Iterator[Observation]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Observation:
        return self.observation(k)

    @cached_property
    def road_map(self) -> RoadMap | None:
        """The compiled map; RoadloopError where it cannot be read."""
        return None if self.load_map is None else self.load_map()

    @property
    def is_labelled(self) -> Array:
        """(T,) bool, see ``labelled``."""
        return np.ones(len(self), bool) if self.labelled is None else self.labelled

    def observation(self, k: int, sensors: Sequence[str] | None = None) -> Observation:
        """What a driver had at step k: of each sensor the newest measurement by then.

        Args:
            sensors: those to read, by default all; pictures are decoded when looked at.

        Raises:
            RoadloopError: a file that is missing or damaged, an unknown sensor.
        """
        if not -len(self) <= k < len(self):
            raise IndexError(f"{self.name} has {len(self)} steps, there is no {k}")
        k %= len(self)
        readings: dict[str, dict[str, Any]] = {"camera": {}, "lidar": {}, "radar": {}}
        if sensors is not None:
            select(self.rig, tuple(sensors))  # names the rig does not have are said so
        for name, (steps, frames) in self._by_sensor.items():
            newest = bisect_right(steps, k) - 1
            if newest >= 0 and (sensors is None or name in sensors):
                readings[frames[newest].kind][name] = frames[newest].read()
        return Observation(
            step=k,
            time=float(self.timestamp_us[k]) * 1e-6,
            dt=self.dt,
            ego=at(self.ego, k),
            tracks=self.tracks(k),
            lights=None if self.lights is None else self.lights[k],
            cameras=readings["camera"],
            lidars=readings["lidar"],
            radars=readings["radar"],
            **({} if self.samples is None else self.samples(k)),
        )

    def tracks(self, k: int) -> Tracks | None:
        """The road users at step k, those that are there; None without labels."""
        if self.agents is None:
            return None
        there = np.flatnonzero(self.agents.valid[k])
        states = dataclasses.replace(at(self.agents, (k, there)))
        return Tracks(states, position_std=np.zeros(len(there)), age=np.full(len(there), k))

    def frames_of(self, sensor: str) -> list[Frame]:
        """The measurements of one sensor, by time."""
        return self._by_sensor.get(sensor, ([], []))[1]

    @cached_property
    def _by_sensor(self) -> dict[str, tuple[list[int], list[Frame]]]:
        """Per sensor its frames by time, and the step of each."""
        found: dict[str, tuple[list[int], list[Frame]]] = {}
        for frame in sorted(self.frames, key=lambda f: f.timestamp_us):
            steps, frames = found.setdefault(frame.sensor, ([], []))
            steps.append(frame.step)
            frames.append(frame)
        return found


def step_of(timestamp_us: Array, stamp: int) -> int:
    """The first step of (T,) times that is not earlier than ``stamp``; T where there is none."""
    return int(np.searchsorted(timestamp_us, stamp, side="left"))
