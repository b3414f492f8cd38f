"""Drives that are simulated when they are looked at, as Recordings whose sensors measure when read.

A world is simulated once without a picture: its states are small. A drive is what one vehicle of
it sees, the ego or any other: of each picture, sweep and scan only when it is due is worked out at
first, the measurement itself is made by ``Frame.read``, at any step, in any order, and is the same
to the bit as what ``sim.record`` would have written. Worlds and drives are pickled as what they are
made from, and simulated again where they arrive.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.geometry import se3, wrap_angle
from roadloop.interfaces import Driver
from roadloop.logs.recording import Frame, Recording
from roadloop.logs.schema import EGO_FIELDS, enum_names
from roadloop.maps.road_map import RoadMap
from roadloop.readings import CameraImage, LidarSweep, RadarScan
from roadloop.rig import SensorRig, with_calibration_error
from roadloop.types import AgentKind, AgentStates, Behaviour, EgoState, Scenario, VehicleParameters
from roadloop.weather import Weather
from sim.render.scene import scene_of
from sim.sensors.camera import CameraCapture
from sim.sensors.fitting import Drawing, RangerCapture
from sim.sensors.lidar import Lidar
from sim.sensors.radar import Radar
from sim.sensors.suite import Capture, Moment, SensorSuite
from sim.simulator import ego_state
from sim.state import Agent, Fixed, SimState, Traits
from training.simulated_worlds import Due, SimulatedWorld

Array = np.ndarray

KEPT = 3
"""moments of which a drive keeps the measurements: the sensors of a moment are read one by one"""
_KIND = {"camera": "cameras", "lidar": "lidars", "radar": "radars"}


class SimulatedDrive:
    """What the sensors of one vehicle of a world see.

    Args:
        world: may be shared by several drives.
        rig: its sensors.
        seat: row of the vehicle, 0: the ego. As seen from another one, the ego is an agent with
            that one's id.
        seed: of noise, calibration errors, and models and colours of the road users; None: the
            scenario's.
        weather: None: the scenario's; it changes no motion.
        name: of the recording.

    Raises:
        RoadloopError: a LiDAR of unknown beams; later, a seat without a car or van that is there
            from the first step on.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        rig: SensorRig,
        *,
        seat: int = 0,
        seed: int | None = None,
        weather: Weather | None = None,
        name: str = "",
    ) -> None:
        self.world, self.rig, self.seat = world, rig, seat
        self._seed, self._weather, self._name = seed, weather, name
        for lidar in rig.lidars:
            if not lidar.beams:
                raise RoadloopError(
                    f'LiDAR "{lidar.name}" of rig {rig.name}: no beams: give the elevation of each'
                )
        self._forget()

    def _forget(self) -> None:
        self._states: OrderedDict[int, SimState] = OrderedDict()
        self._measured: OrderedDict[tuple[str, int, tuple[str, ...]], dict[str, Any]]
        self._measured = OrderedDict()
        self._drawing = Drawing()

    def __getstate__(self) -> dict[str, Any]:
        keys = ("world", "rig", "seat", "_seed", "_weather", "_name")
        return {key: self.__dict__[key] for key in keys}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @cached_property
    def scenario(self) -> Scenario:
        """The world's, with the seat's vehicle as the ego."""
        scenario = self.world.scenario
        scenario = dataclasses.replace(
            scenario,
            seed=scenario.seed if self._seed is None else self._seed,
            weather=self._weather or scenario.weather,
        )
        if self.seat == 0:
            return scenario
        row, t = self.seat - 1, self.world.traits[self.seat]
        v, states = scenario.ego.vehicle, scenario.agents.states
        back = float(t["centre_offset"])
        size = {key: float(t[key]) for key in ("length", "width", "height", "wheelbase")}
        vehicle = VehicleParameters(**size, rear_overhang=size["length"] / 2.0 - back)
        swapped = {"kind": int(AgentKind.CAR), "length": v.length, "width": v.width}
        swapped |= {"height": v.height, "valid": True}
        fields = {key: _with(getattr(states, key), row, value) for key, value in swapped.items()}
        behaviour = _with(scenario.agents.behaviour, row, Behaviour.TRAFFIC)
        return dataclasses.replace(
            scenario,
            ego=dataclasses.replace(scenario.ego, vehicle=vehicle),
            agents=dataclasses.replace(
                scenario.agents,
                states=dataclasses.replace(states, **fields),
                behaviour=behaviour,
            ),
        )

    @cached_property
    def recording(self) -> Recording:
        """The drive. Points of LiDARs in boxes are not counted (-1)."""
        world, seat, steps = self.world, self.seat, self._steps
        scenario = self.scenario
        stamps = np.round(np.arange(steps) * world.every * scenario.dt * 1e6).astype(np.int64)
        pose, agent = self._world_from_ego, world.agents[:steps, seat]
        values = {key: agent[key].astype(np.float64) for key in EGO_FIELDS if key not in "xyz"}
        place = dict(zip("xyz", np.moveaxis(pose[:, :3, 3], 1, 0).copy()))
        return Recording(
            name=self._name or f"{scenario.family}-seed{scenario.seed}-seat{seat}",
            dataset="roadloop",
            dt=scenario.dt * world.every,
            timestamp_us=stamps,
            ego=EgoState(**place, **values, vehicle=scenario.ego.vehicle),
            world_from_ego=pose,
            rig=self.rig,
            lights=world.lights[:steps],
            load_map=self._road_map,
            frames=self._frames(),
            samples=self._sample,
            lossless=True,
            about={
                "scenario": scenario.name,
                "family": scenario.family,
                "seed": scenario.seed,
                "seat": seat,
                "weather": dataclasses.asdict(scenario.weather),
            },
            **self._others(),
        )

    def reading(self, due: Due, sensor: str) -> CameraImage | LidarSweep | RadarScan:
        """Has the sensors of a measurement measure, and gives that of one."""
        key = (due.kind, due.step, due.names)
        if key not in self._measured:
            moment = self._moment(due)
            self._measured[key] = dict(self._captures[due.kind](moment, due.names))
            while len(self._measured) > KEPT:
                self._measured.popitem(last=False)
        return self._measured[key][sensor]

    @cached_property
    def _captures(self) -> dict[str, Capture]:
        rig, seed = self.rig, self.scenario.seed
        true = with_calibration_error(rig, seed)
        scene = scene_of(self.scenario.road_map)
        return {
            "cameras": CameraCapture(scene, rig, true, seed, shared=self.world.renderers),
            "lidars": RangerCapture(scene, Lidar, rig.lidars, true.lidars),
            "radars": RangerCapture(scene, Radar, rig.radars, true.radars),
        }

    @cached_property
    def _steps(self) -> int:
        """T."""
        stays = self.world.stays
        if not 0 <= self.seat < len(stays) or not stays[self.seat]:
            raise RoadloopError(
                f"seat {self.seat} of {self.world.scenario.name}: expected 0, or the row of a car "
                "or van that is there from the start"
            )
        return int(stays[self.seat])

    @cached_property
    def _world_from_ego(self) -> Array:
        """(T, 4, 4)."""
        back = self.scenario.ego.vehicle.centre_offset
        axle = se3(np.eye(3), np.array([-back, 0.0, 0.0]))
        return self.world.poses[: self._steps, self.seat] @ axle

    @cached_property
    def _fixed(self) -> Fixed:
        fixed = self.world.states[0].fixed
        traits = self._swapped(fixed.traits.numpy())
        return dataclasses.replace(
            fixed,
            scenarios=(self.scenario,),
            traits=wp.array(traits, dtype=Traits, device=fixed.traits.device),
        )

    def _swapped(self, rows: Array) -> Array:
        """(1, 1 + A) records with those of the ego and the seat in each other's place."""
        order = np.arange(rows.shape[1])
        order[[0, self.seat]] = self.seat, 0
        return rows[:, order]

    def _state(self, step: int) -> SimState:
        """A state as the seat's vehicle being the ego; the latest are kept, all sensors of a moment
        draw the same one."""
        if step not in self._states:
            state = self.world.states[step]
            agents = self._swapped(state.agents.numpy())
            self._states[step] = dataclasses.replace(
                state,
                fixed=self._fixed,
                agents=wp.array(agents, dtype=Agent, device=state.agents.device),
            )
            while len(self._states) > 2 * KEPT:
                self._states.popitem(last=False)
        return self._states[step]

    def _moment(self, due: Due) -> Moment:
        state = self._state(due.step)
        return Moment(
            state=state,
            previous=self._state(due.previous),
            world=0,
            time=due.time,
            elapsed=due.elapsed,
            ego=ego_state(self.scenario, self.world.agents[due.step, self.seat]),
            world_from_ego=self._world_from_ego[due.step],
            previous_world_from_ego=self._world_from_ego[due.previous],
            seed=self.scenario.seed,
            draw=self._drawing.frame,
        )

    def _frames(self) -> tuple[Frame, ...]:
        """Every measurement, by time."""
        pose = self._world_from_ego
        kinds: dict[str, Any] = {}
        for kind, sensors in _KIND.items():
            kinds |= {sensor.name: kind for sensor in getattr(self.rig, sensors)}
        frames = [
            Frame(name, kinds[name], due.timestamp_us, step, pose[due.step],
                  partial(_read, self, due, name))
            for step, name, due in self.world.schedule(self.rig)
            if step < self._steps
        ]  # fmt: skip
        return tuple(sorted(frames, key=lambda frame: (frame.timestamp_us, frame.sensor)))

    @cached_property
    def _samples(self) -> list[dict[str, Any]]:
        """What IMUs, GNSS and odometry gave at each step, by field of Observation."""
        rig = self.rig
        names = tuple(s.name for s in (*rig.imus, *rig.gnss, *rig.odometry))
        if not names:
            return [{"imus": {}, "gnss": {}, "odometry": {}} for _ in range(self._steps)]
        poses = dict(zip((s.step for s in self.world.states), self._world_from_ego))
        suite = SensorSuite(
            rig, self.scenario, names=names, pose=lambda state, _world: poses[state.step]
        )
        found = []
        for k in range(self._steps):
            readings = suite.observe(self._state(k)) if k else suite.reset(self._state(k))
            found.append({key: readings[key] for key in ("imus", "gnss", "odometry")})
        return found

    def _others(self) -> dict[str, Any]:
        """Fields of a Recording that describe the road users, by column the world's agents; in the
        column of the seat the ego."""
        world, states = self.world, self.scenario.agents.states
        count = len(states.id)
        rows = np.arange(1, count + 1)
        if self.seat:
            rows[self.seat - 1] = 0
        there = slice(self._steps)
        agents, poses = world.agents[there, rows], world.poses[there, rows]
        valid = agents["valid"] == 1
        shape = valid.shape

        def column(values: Array, dtype: Any = np.float64) -> Array:
            return np.where(valid, values, 0).astype(dtype)

        size = {key: column(world.traits[key][rows]) for key in ("length", "width", "height")}
        kind = world.traits["kind"][rows].astype(np.uint8)
        return {
            "agents": AgentStates(
                id=np.broadcast_to(states.id.astype(np.int64), shape).copy(),
                kind=column(kind, np.uint8),
                **{key: column(poses[..., k, 3]) for k, key in enumerate("xyz")},
                heading=column(wrap_angle(np.arctan2(poses[..., 1, 0], poses[..., 0, 0]))),
                vx=column(agents["speed"] * agents["cos"]),
                vy=column(agents["speed"] * agents["sin"]),
                **size,
                valid=valid,
            ),
            "world_from_agent": np.where(valid[..., None, None], poses, np.eye(4)),
            "category": enum_names(AgentKind)[kind],
            "source_id": states.id.astype(str),
        }

    def _sample(self, step: int) -> dict[str, Any]:
        return self._samples[step]

    def _road_map(self) -> RoadMap:
        return self.world.scenario.road_map


def simulated_recordings(
    scenarios: Sequence[Callable[[], Scenario]],
    rig: SensorRig,
    driver: Callable[[], Driver] | None = None,
    *,
    every: int = 5,
) -> list[Recording]:
    """The egos' drives of scenarios, for ``training.sources.LogSource``; all are simulated at once.

    Args:
        scenarios: make them, e.g. ``partial(build_scenario, "cut_in", seed=3)``.
        driver, every: as for ``SimulatedWorld``.
    """
    return [
        SimulatedDrive(SimulatedWorld(build, driver, every=every), rig).recording
        for build in scenarios
    ]


def _read(drive: SimulatedDrive, due: Due, sensor: str) -> CameraImage | LidarSweep | RadarScan:
    return drive.reading(due, sensor)


def _with(values: Array, row: int, value: Any) -> Array:
    changed = np.array(values)
    changed[row] = value
    return changed
