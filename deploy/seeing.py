"""What a driver sees with the network alone: cameras -> detector -> road users and traffic lights.

Nothing here has access to the truth: of an observation only the ego's own state and the readings
of the sensors are looked at; map and route come with the scenario.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from deploy.detectors import SHIPPED, checkpoint_of
from perception.detector import CameraDetector
from perception.detector_config import BevGrid, DetectorConfig
from perception.light_states import LightStates
from perception.percept import Percept
from perception.tracker import MultiObjectTracker
from perception.tracker_config import TrackerConfig
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentStates, Observation, Scenario, Tracks
from roadloop.virtual_camera import VirtualCameras

Array = np.ndarray

SLIT = 0.02
"""rad between the pictures of two cameras in which nobody gets lost"""


class Seeing:
    """A `Tracker` of what a detector finds, which also tells the traffic lights.

    Attributes:
        sensors: what to ask a world for.
        times: how long its stages take.
        percept: the latest, None before the first picture.
        lights: (signals,) `LightState` as uint8, as far as they were seen.
    """

    def __init__(self, detector: CameraDetector) -> None:
        self.detector = detector
        self.sensors = detector.sensors
        self.times = detector.times
        config = detector.config
        self._tracker = MultiObjectTracker(TrackerConfig(view=view_of(config)), config.grid)
        self._lights = LightStates(config)
        self._ready = False
        self._forget(0)

    @property
    def label(self) -> str:
        """Of the detector: name and beginning of the hash of its weights."""
        return self.detector.label

    @property
    def grid(self) -> BevGrid:
        """Where it looks."""
        return self.detector.config.grid

    @property
    def tracks(self) -> Tracks:
        """The road users at the time of ``percept``, ``(tracks,)``."""
        return self._tracks

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per sensor that is not trusted now, and for lights that cannot be seen."""
        return self.detector.faults + self._light_faults

    @property
    def blind(self) -> bool:
        """Whether nothing looks to the front any more: time to stop."""
        return self.detector.blind

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario; of it map and route are used, to know the traffic lights."""
        self.detector.reset()
        self._tracker.reset()
        self._lights.reset(scenario)
        self._forget(len(scenario.road_map.signal_id))
        self._ready = True

    def update(self, observation: Observation) -> Tracks:
        """The road users at the observation's time, ``(tracks,)``.

        Raises RoadloopError before `reset`, and as `CameraDetector.perceive` does.
        """
        if not self._ready:
            raise RoadloopError("Seeing knows no route yet: call reset(scenario) first")
        before, percept = self.percept, self.detector.perceive(observation)
        self.percept = percept
        if percept is None:
            return self._tracks
        if before is None or percept.time > before.time:
            with self.times.stage("track"):
                self._tracks = self._tracker.update(percept, observation.ego)
            with self.times.stage("lights"):
                self.lights = self._lights.update(percept, observation.ego)
                # the line counts the seconds; one is enough
                lines = self._lights.faults
                self._light_faults = lines and (self._light_faults or lines)
        return carried_on(self._tracks, observation.time - percept.time)

    def _forget(self, signals: int) -> None:
        self.percept: Percept | None = None
        self.lights = np.zeros(signals, np.uint8)
        self._tracks = nobody()
        self._light_faults: tuple[str, ...] = ()


def open_seeing(perception_name: str) -> Seeing:
    """The senses that ``--perception`` names by a detector: a name, a checkpoint, a run's folder.

    Raises RoadloopError where it cannot be used.
    """
    name = perception_name if perception_name in SHIPPED else ""
    return Seeing(CameraDetector.load(checkpoint_of(perception_name), name=name))


def view_of(config: DetectorConfig) -> float:
    """rad, to both sides of straight ahead alike, that a detector's cameras show without a gap.

    At the height of their axes, to the milliradian; 0 where none looks ahead.
    """
    cameras = VirtualCameras(config.rig, config.size)
    spans = []
    for lens, mount in zip(cameras.lenses, cameras.mounts):
        u = np.arange(lens.width + 1) - 0.5
        rays, seen = lens.unproject(np.column_stack([u, np.full(len(u), lens.cy)]))
        x, y, _ = mount[:3, :3] @ rays[seen].T
        axis = np.arctan2(mount[1, 2], mount[0, 2])
        aside = np.asarray(wrap_angle(np.arctan2(y, x) - axis))
        spans.append((float(axis + aside.min()), float(axis + aside.max())))
    left = _seen_from_ahead(spans)
    right = _seen_from_ahead([(-high, -low) for low, high in spans])
    return round(2.0 * min(left, right), 3)


def _seen_from_ahead(spans: list[tuple[float, float]]) -> float:
    """rad from 0 to the left up to the first gap between ``spans``, at most pi."""
    turn, reach = 2.0 * np.pi, 0.0
    for low, high in sorted((a + k * turn, b + k * turn) for k in (-1, 0, 1) for a, b in spans):
        if low <= reach + SLIT:
            reach = max(reach, high)
    return min(reach, np.pi)


def nobody() -> Tracks:
    """No track."""
    none = np.zeros(0)
    states = AgentStates(
        np.zeros(0, np.int64), np.zeros(0, np.uint8), *[none] * 9, valid=np.zeros(0, bool)
    )
    return Tracks(states, none, np.zeros(0, np.int64))


def carried_on(tracks: Tracks, seconds: float) -> Tracks:
    """The tracks ``seconds`` later, at the velocities they have."""
    if abs(seconds) < 1e-6 or not len(tracks.age):
        return tracks
    states = tracks.states
    moved = dataclasses.replace(
        states, x=states.x + states.vx * seconds, y=states.y + states.vy * seconds
    )
    return dataclasses.replace(tracks, states=moved)
