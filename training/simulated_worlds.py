"""A scenario driven to its end without a picture: its states, and when sensors measure in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import warp as wp

from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.rig import SensorRig
from roadloop.types import AgentKind, Behaviour, Scenario
from sim.actors.appearance import actors_of
from sim.run import drive_scenario
from sim.sensors.camera import Cameras
from sim.sensors.suite import SEEING, Capture, Moment, SensorSuite
from sim.simulator import Simulator, SimWorld
from sim.state import Agent, SimState, Traits

Array = np.ndarray

FITTING = (AgentKind.CAR, AgentKind.VAN)
"""kinds of vehicles that a rig for a car fits on"""


@dataclass(frozen=True)
class Due:
    """One measurement of the sensors of a kind that measure together."""

    kind: str
    names: tuple[str, ...]
    step: int
    """index of the state, and of the one before that motion is counted from"""
    previous: int
    time: float
    elapsed: float
    timestamp_us: int


class SimulatedWorld:
    """One scenario driven to its end, its states kept at every step that sensors measure at.

    Args:
        build: makes the scenario; can be pickled.
        driver: makes who drives the ego; can be pickled. None: the ego is one more vehicle of the
            traffic, which costs a tenth of a driver and goes on beyond its goal.
        every: sensors measure at every so manyth step of the simulation.
    """

    def __init__(
        self,
        build: Callable[[], Scenario],
        driver: Callable[[], Driver] | None = None,
        *,
        every: int = 5,
    ) -> None:
        if every < 1:
            raise RoadloopError(f"every is {every}; it must be 1 or more steps")
        self._build, self._driver, self.every = build, driver, every
        self._forget()

    def _forget(self) -> None:
        self._schedules: dict[tuple[Any, ...], list[tuple[int, str, Due]]] = {}
        self.renderers: dict[tuple[Pinhole, ...], Cameras] = {}
        """by lenses; all drives of a world use the same"""

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("_build", "_driver", "every")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario."""
        return self._build()

    @cached_property
    def states(self) -> tuple[SimState, ...]:
        """(T,) states of one world each; simulated when first asked for."""
        if self._driver is None:
            return self._in_traffic()
        world, kept = SimWorld(), []

        def keep(observation: Any) -> None:
            if observation.step % self.every == 0:
                kept.append(world.state)

        drive_scenario(self.scenario, self._driver(), world, on_step=keep)
        return tuple(kept)

    @cached_property
    def agents(self) -> Array:
        """(T, 1 + A) records of sim.state.Agent; row 0 is the ego."""
        return np.stack([state.agents.numpy()[0] for state in self.states])

    @cached_property
    def traits(self) -> Array:
        """(1 + A,) records of sim.state.Traits."""
        return self.states[0].fixed.traits.numpy()[0].copy()

    @cached_property
    def poses(self) -> Array:
        """(T, 1 + A, 4, 4) world_from_actor: boxes with the origin on the ground under the centre,
        pitched and rolled with their lanes."""
        return np.stack([actors_of(state).world_from_actor[0] for state in self.states])

    @cached_property
    def lights(self) -> Array:
        """(T, S) LightState."""
        signals = len(self.scenario.road_map.signal_id)
        return np.stack([s.lights.numpy()[0, :signals].astype(np.uint8) for s in self.states])

    @cached_property
    def stays(self) -> Array:
        """(1 + A,) steps from the first on that a vehicle can be looked from: until it leaves the
        map, and 0 where a rig for a car does not fit on it."""
        fits = np.isin(self.traits["kind"], FITTING)
        fits[1:] &= self.scenario.agents.behaviour == Behaviour.TRAFFIC
        there = np.logical_and.accumulate(self.agents["valid"] == 1, axis=0)
        return np.where(fits, there.sum(0), 0)

    def schedule(self, rig: SensorRig) -> list[tuple[int, str, Due]]:
        """When cameras, LiDARs and radars measure: the step a measurement arrives at, its sensor.

        A suite runs through the world with sensors that only note down when they measure.
        """
        seeing = [s for kind in SEEING for s in getattr(rig, kind)]
        key = tuple((s.name, s.rate, s.latency) for s in seeing)
        if key in self._schedules:
            return self._schedules[key]
        number = {state.step: k for k, state in enumerate(self.states)}

        def note(kind: str, moment: Moment, names: tuple[str, ...]) -> dict[str, Any]:
            steps = number[moment.state.step], number[moment.previous.step]
            times = moment.time, moment.elapsed, moment.timestamp_us
            return dict.fromkeys(names, Due(kind, names, *steps, *times))

        notes: dict[str, Capture] = {kind: partial(note, kind) for kind in SEEING}
        names = tuple(s.name for s in seeing)
        suite = SensorSuite(rig, self.scenario, names=names, captures=notes)
        found: list[tuple[int, str, Due]] = []
        last: dict[str, Due] = {}
        for k, state in enumerate(self.states):
            readings = suite.observe(state) if k else suite.reset(state)
            for name, due in ((n, d) for kind in SEEING for n, d in readings[kind].items()):
                if last.get(name) is not due:
                    last[name] = due
                    found.append((k, name, due))
        self._schedules[key] = found
        return found

    def _in_traffic(self) -> tuple[SimState, ...]:
        simulator = Simulator()
        state = with_ego_in_traffic(simulator.reset([self.scenario]))
        idle = wp.zeros(state.agents.shape, dtype=wp.vec2, device=state.agents.device)
        kept = [state]
        for step in range(1, round(self.scenario.duration / self.scenario.dt) + 1):
            state = simulator.step(state, idle)
            if step % self.every == 0:
                kept.append(state)
        return tuple(kept)


def with_ego_in_traffic(state: SimState) -> SimState:
    """The first state with every ego driven as traffic is: along its route, then it wanders."""
    traits, agents = state.fixed.traits.numpy().copy(), state.agents.numpy().copy()
    ego = traits[:, 0]
    ego["controlled"], ego["behaviour"], ego["wanders"] = 0, Behaviour.TRAFFIC, 1
    ego["politeness"] = 0.2
    # as for traffic: in a bend the front bumper swings out by less than 1.3 m
    front = 0.5 * ego["length"] + ego["centre_offset"]
    ego["turning"] = 2.6 / front**2
    agents["hop"][:, 0] = state.fixed.route.shape[2]  # the lanes ahead have been found already
    device = state.agents.device
    return dataclasses.replace(
        state,
        fixed=dataclasses.replace(
            state.fixed, traits=wp.array(traits, dtype=Traits, device=device)
        ),
        agents=wp.array(agents, dtype=Agent, device=device),
    )
