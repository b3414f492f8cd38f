"""All sensors of a rig on one ego: which measure at a step, and what the driver has by then.

    suite = SensorSuite(load_rig("compact-3cam"), scenario, captures={"cameras": take_pictures})
    state = simulator.reset([scenario])
    readings = suite.reset(state)
    while driving:
        state = simulator.step(state, control)
        readings = suite.observe(state)     # {"cameras": {"front": CameraImage, ...}, ...}

``readings`` has the sensor fields of an ``Observation``, by kind and name.

When a sensor measures. Clocks start with the scenario; measurement n is due at n / rate.

* Cameras, LiDARs and radars measure at steps: at the first one at or after each due time, once per
  step at most. 5 Hz at steps of 0.1 s is every second step, 4 Hz in turn every second and every
  third one; 12 or 20 Hz is every step, 10 Hz.
* IMUs give all samples since the step before, each with its own time; odometry and GNSS the newest
  measurement due, with its own time, which may lie between two steps.

When a driver has it. ``latency`` later, rounded up to whole steps. Until then, and between two
measurements, the reading is the newest that has arrived, with its own timestamp; before the first
one the name is missing. While a GNSS receiver has no fix its name is missing, too.

What it shows. Sensors sit where ``with_calibration_error`` puts them for the scenario's seed, and
are told to the driver as the rig's file has them. Random numbers depend on the scenario's seed, the
sensor's name and the time: what one sensor gives does not depend on which others there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.maps.georeference import parse_georeference
from roadloop.rig import KINDS, SensorRig, select, with_calibration_error
from roadloop.types import EgoState, Scenario
from sim.render.frame import Frame
from sim.sensors.inertial import GnssModel, ImuModel, OdometryModel, between
from sim.sensors.timing import Delay, due, microseconds
from sim.simulator import ego_state
from sim.state import SimState

Array = np.ndarray

SEEING = ("cameras", "lidars", "radars")
"""kinds that look at the scene, through a ``Capture``"""

_SALT = 0x5CE

Draw: TypeAlias = Callable[[SimState, SimState], Frame]
"""what is to be seen, from a state and the one that counts as the one before"""

Pose: TypeAlias = Callable[[SimState, int], Array]
"""world_from_ego (4, 4) of the ego of one world"""


@dataclass(frozen=True)
class Moment:
    """When sensors measure, and all they need to know of the world."""

    state: SimState
    previous: SimState
    """at the last measurement of the same sensors; at their first one the same as ``state``"""
    world: int
    time: float
    """s since the world's start"""
    elapsed: float
    """s since ``previous``, 0 at the first measurement"""
    ego: EgoState
    world_from_ego: Array
    """(4, 4)"""
    previous_world_from_ego: Array
    seed: int
    """of the scenario"""
    draw: Draw

    @cached_property
    def frame(self) -> Frame:
        """Actors, lights and weather of all worlds of the batch; made when first asked for."""
        return self.draw(self.state, self.previous)

    @property
    def timestamp_us(self) -> int:
        """Of the measurement."""
        return microseconds(self.time)

    def rng(self, name: str) -> np.random.Generator:
        """The random numbers of the sensor called ``name`` for this measurement."""
        return np.random.default_rng([self.seed, *name.encode(), self.timestamp_us, _SALT])


Capture: TypeAlias = Callable[[Moment, tuple[str, ...]], Mapping[str, Any]]
"""measures with the sensors of one kind that are due: moment and names -> name to measurement"""


def level_pose(ego: EgoState) -> Array:
    """world_from_ego (4, 4) of an ego that neither pitches nor rolls."""
    c, s = math.cos(ego.heading), math.sin(ego.heading)
    rows = ((c, -s, 0.0, ego.x), (s, c, 0.0, ego.y), (0.0, 0.0, 1.0, ego.z), (0.0, 0.0, 0.0, 1.0))
    return np.array(rows, np.float64)


@dataclass(frozen=True)
class _Stop:
    """The ego at one step; looked up once, a Warp array is slow to become a NumPy one."""

    state: SimState
    ego: EgoState
    world_from_ego: Array


class SensorSuite:
    """Runs a rig through one scenario of one world.

    Attributes:
        rig: as the calibration has it, only the sensors that were asked for.
        true_rig: where they really are; what captures measure with.
    """

    def __init__(
        self,
        rig: SensorRig,
        scenario: Scenario,
        *,
        names: tuple[str, ...] | None = None,
        world: int = 0,
        captures: Mapping[str, Capture] | None = None,
        draw: Draw | None = None,
        pose: Pose | None = None,
    ):
        """
        Args:
            names: sensors to run, by default all.
            world: the ego's row in the simulator's batch.
            captures: how cameras, lidars and radars measure, by kind; those of the rig's kinds.
            draw: makes the frames captures ask for.
            pose: where the ego is, with its pitch and roll; by default it is level.

        Raises:
            RoadloopError: a name the rig does not have; a kind of sensor without a capture.
        """
        self.rig = rig if names is None else select(rig, names)
        self.true_rig = with_calibration_error(self.rig, scenario.seed)
        self.scenario = scenario
        self.world = world
        self._captures = dict(captures or {})
        self._draw = draw or _no_frames
        self._pose = pose
        for kind in self._captures:
            if kind not in SEEING:
                raise RoadloopError(unknown("kind of capture", kind, SEEING))
        for kind in SEEING:
            sensors = getattr(self.rig, kind)
            if sensors and kind not in self._captures:
                raise RoadloopError(
                    f'rig "{rig.name}": nothing here gives {kind}: name other sensors than '
                    f"{', '.join(s.name for s in sensors)}, or pass a capture for {kind}"
                )
        self._now: _Stop | None = None

    def reset(self, state: SimState) -> dict[str, dict[str, Any]]:
        """The readings of a scenario's first state: every sensor measures."""
        true, dt = self.true_rig, state.fixed.dt
        seed = self.scenario.seed
        earth = parse_georeference(self.scenario.road_map.georeference)
        self._first_step = state.step
        self._last: dict[str, _Stop] = {}
        self._delays: dict[str, Delay[Any]] = {
            s.name: Delay(getattr(s, "latency", 0.0), dt) for s in true.sensors
        }
        self._imus = [ImuModel(s, seed) for s in true.imus]
        self._gnss = [GnssModel(s, seed, earth) for s in true.gnss]
        self._odometry = [OdometryModel(s, seed) for s in true.odometry]
        now = self._stop(state)
        for kind in SEEING:
            self._measure(kind, [s.name for s in getattr(true, kind)], now)
        up = now.world_from_ego[2, :3]
        imus = {m.sensor.name: m.reset(now.ego, 0.0, up=up) for m in self._imus}
        for gnss in self._gnss:
            self._delays[gnss.sensor.name].put(0, gnss.measure(now.ego, 0.0))
        for odometry in self._odometry:
            self._put_sample(odometry.sensor.name, 0, odometry.reset(now.ego, 0.0))
        self._now = now
        return self._readings(0, imus)

    def observe(self, state: SimState) -> dict[str, dict[str, Any]]:
        """The readings at a later state, usually the next one.

        Raises:
            RoadloopError: before ``reset``; a state that is not later than the last one.
        """
        if self._now is None:
            raise RoadloopError("these sensors were not started: call reset(state) first")
        previous, seen = self._now, self._now.state.step
        if state.step <= seen:
            raise RoadloopError(
                f"sensors have seen step {seen} and got step {state.step}: give them states in "
                "order, and call reset for another run"
            )
        now = self._stop(state)
        step = state.step - self._first_step
        time, before = step * state.fixed.dt, (seen - self._first_step) * state.fixed.dt
        for kind in SEEING:
            sensors = getattr(self.true_rig, kind)
            self._measure(kind, [s.name for s in sensors if due(s.rate, before, time)], now)
        up = previous.world_from_ego[2, :3], now.world_from_ego[2, :3]
        imus = {
            m.sensor.name: m.step(previous.ego, now.ego, time, time - before, up=up)
            for m in self._imus
        }
        for gnss in self._gnss:
            numbers = due(gnss.sensor.rate, before, time)
            if numbers:
                at = numbers[-1] / gnss.sensor.rate
                then = between(previous.ego, now.ego, (at - before) / (time - before))
                self._delays[gnss.sensor.name].put(step, gnss.measure(then, at))
        for odometry in self._odometry:
            sample = odometry.step(previous.ego, now.ego, time, time - before)
            self._put_sample(odometry.sensor.name, step, sample)
        self._now = now
        return self._readings(step, imus)

    def _stop(self, state: SimState) -> _Stop:
        scenario = state.fixed.scenarios[self.world]
        ego = ego_state(scenario, state.agents.numpy()[self.world, 0])
        pose = level_pose(ego) if self._pose is None else self._pose(state, self.world)
        return _Stop(state, ego, pose)

    def _measure(self, kind: str, names: list[str], now: _Stop) -> None:
        """Has the named sensors measure, together those that measured last at the same step."""
        together: dict[int, list[str]] = {}
        for name in names:
            together.setdefault(self._last.get(name, now).state.step, []).append(name)
        step, dt = now.state.step - self._first_step, now.state.fixed.dt
        for group in together.values():
            last = self._last.get(group[0], now)
            moment = Moment(
                state=now.state,
                previous=last.state,
                world=self.world,
                time=step * dt,
                elapsed=(now.state.step - last.state.step) * dt,
                ego=now.ego,
                world_from_ego=now.world_from_ego,
                previous_world_from_ego=last.world_from_ego,
                seed=self.scenario.seed,
                draw=self._draw,
            )
            measured = self._captures[kind](moment, tuple(group))
            for name in group:
                self._delays[name].put(step, measured[name])
                self._last[name] = now

    def _put_sample(self, name: str, step: int, sample: Any) -> None:
        """A lost sample leaves the one before."""
        if sample is not None:
            self._delays[name].put(step, sample)

    def _readings(self, step: int, imus: dict[str, Any]) -> dict[str, dict[str, Any]]:
        readings: dict[str, dict[str, Any]] = {"imus": imus}
        for kind in KINDS:
            if kind != "imus":
                arrived = {s.name: self._delays[s.name].get(step) for s in getattr(self.rig, kind)}
                readings[kind] = {name: r for name, r in arrived.items() if r is not None}
        return readings


def _no_frames(state: SimState, previous: SimState) -> Frame:
    raise RoadloopError("these sensors were given nothing that draws frames: pass draw=")
