"""The simulator: many worlds at once, ``reset -> state``, ``step(state, control) -> state``.

A state is data and a step is a pure function of state and control: the old state stays valid, any
number of simulations live side by side in one process, and forked processes may each go on. All
worlds of a batch share one map and one ``dt``. Randomness is a counter per agent, seeded by its
scenario: a world gives the same bytes alone or in a batch, on one thread or several.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.interfaces import Forecaster
from roadloop.types import AgentStates, Control, EgoState, Observation, Scenario, Tracks
from sim.batch import make_batch, settle
from sim.forecast_traffic import ForecastTraffic
from sim.move import advance, conclude
from sim.restart import restarted
from sim.state import Agent, SimState

if TYPE_CHECKING:
    from sim.sensors.suite import SensorSuite


class Simulator:
    """Steps batches of worlds on one device.

    Args:
        device: "cpu" or a Warp CUDA device such as "cuda:0".
        threads: CPU threads the worlds are divided among. Results do not depend on it.
    """

    def __init__(self, device: str = "cpu", threads: int = 1):
        if threads < 1:
            raise RoadloopError(f"threads is {threads}, must be at least 1")
        if device not in {d.alias for d in wp.get_devices()} | {"cuda"}:
            known = ", ".join(d.alias for d in wp.get_devices())
            raise RoadloopError(f"no device {device!r} here: choose one of {known}")
        self.device = device
        self.threads = threads if device == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._pool_owner = -1

    def reset(self, scenarios: Sequence[Scenario]) -> SimState:
        """The first state of one world per scenario."""
        fixed, agents = make_batch(scenarios, self.device)
        shape = agents.shape
        lights = wp.empty(fixed.timing.shape, dtype=wp.int32, device=self.device)
        events = wp.zeros(shape, dtype=wp.int32, device=self.device)
        hit = wp.empty(shape, dtype=wp.int32, device=self.device)

        def worlds(first: int, count: int) -> None:
            dim = (count, shape[1])
            self._launch(settle, dim, fixed.graph, fixed.traits, fixed.route, first, agents)
            self._launch(
                conclude,
                dim,
                agents,
                fixed.traits,
                fixed.timing,
                fixed.light_record,
                0,
                fixed.begun,
                fixed.dt,
                first,
                lights,
                events,
                hit,
            )

        self._split(worlds, shape[0])
        return SimState(fixed=fixed, step=0, agents=agents, lights=lights, events=events, hit=hit)

    def step(self, state: SimState, control: Control | np.ndarray | wp.array) -> SimState:
        """The state one ``dt`` later.

        Args:
            control: of the egos: a ``Control`` with fields ``(worlds,)`` or an array
                ``(worlds, 2)`` of acceleration (m/s^2) and steering (rad); or a Warp array
                ``(worlds, agents)`` of vec2 on the device, used as it is.
        """
        fixed = state.fixed
        shape = state.agents.shape
        control_array = self._control(control, shape)
        agents = wp.empty(shape, dtype=Agent, device=self.device)
        lights = wp.empty(state.lights.shape, dtype=wp.int32, device=self.device)
        events = wp.empty(shape, dtype=wp.int32, device=self.device)
        hit = wp.empty(shape, dtype=wp.int32, device=self.device)
        g, traits, begun, dt = fixed.graph, fixed.traits, fixed.begun, fixed.dt

        def worlds(first: int, count: int) -> None:
            dim = (count, shape[1])
            self._launch(
                advance,
                dim,
                g,
                state.agents,
                traits,
                fixed.route,
                fixed.replay,
                state.lights,
                control_array,
                state.step,
                begun,
                dt,
                first,
                agents,
                events,
            )
            self._launch(
                conclude,
                dim,
                agents,
                traits,
                fixed.timing,
                fixed.light_record,
                state.step + 1,
                begun,
                dt,
                first,
                lights,
                events,
                hit,
            )

        self._split(worlds, shape[0])
        return SimState(
            fixed=fixed, step=state.step + 1, agents=agents, lights=lights, events=events, hit=hit
        )

    def restart(
        self, state: SimState, worlds: Sequence[int], scenarios: Sequence[Scenario | SimState]
    ) -> SimState:
        """The state with some worlds at the start of other scenarios; the others are as they were.

        Args:
            worlds: which ones, each once.
            scenarios: one each, or its first state from ``reset([scenario])``, which spares the
                work where a scenario is started often.

        Raises:
            RoadloopError: see ``sim.restart.restarted``.
        """
        starts = [s if isinstance(s, SimState) else self.reset([s]) for s in scenarios]
        return restarted(state, worlds, starts)

    def observe(self, state: SimState, world: int = 0) -> Observation:
        """What the ego of one world may know: its own state, all other agents, the lights."""
        scenario = state.fixed.scenarios[world]
        now = state.agents.numpy()[world]
        traits = state.fixed.traits.numpy()[world]
        step = state.step - int(state.fixed.begun.numpy()[world])
        return Observation(
            step=step,
            time=step * state.fixed.dt,
            dt=state.fixed.dt,
            ego=ego_state(scenario, now[0]),
            tracks=_tracks(now, traits, state.fixed.ids[world], step),
            lights=state.lights.numpy()[world][: len(scenario.road_map.signal_id)].astype(np.uint8),
        )

    def _control(
        self, control: Control | np.ndarray | wp.array, shape: tuple[int, ...]
    ) -> wp.array:
        if isinstance(control, wp.array):
            return control
        if isinstance(control, Control):
            control = np.stack(
                np.broadcast_arrays(control.acceleration, control.steering), axis=-1
            ).reshape(-1, 2)
        egos = np.asarray(control, np.float32)
        if egos.shape != (shape[0], 2):
            raise RoadloopError(
                f"control has shape {egos.shape}, must be ({shape[0]}, 2): acceleration and "
                "steering of each world's ego"
            )
        if not np.isfinite(egos).all():
            world = int(np.flatnonzero(~np.isfinite(egos).all(axis=1))[0])
            raise RoadloopError(
                f"control of world {world} is {egos[world].tolist()}: the driver returned a value "
                "that is not a finite number"
            )
        full = np.zeros((*shape, 2), np.float32)
        full[:, 0] = egos
        return wp.array(full, dtype=wp.vec2, device=self.device)

    def _launch(self, kernel: wp.Kernel, dim: tuple[int, int], *inputs: object) -> None:
        wp.launch(kernel, dim=dim, inputs=list(inputs), device=self.device)

    def _split(self, work, worlds: int) -> None:
        """Runs ``work(first, count)`` over all worlds, divided among the threads."""
        parts = min(self.threads, worlds)
        if parts == 1:
            work(0, worlds)
            return
        if self._pool is None or self._pool_owner != os.getpid():  # threads do not survive a fork
            self._pool = ThreadPoolExecutor(self.threads - 1, "roadloop-sim")
            self._pool_owner = os.getpid()
        edges = [worlds * k // parts for k in range(parts + 1)]
        jobs = [self._pool.submit(work, a, b - a) for a, b in pairwise(edges[:-1])]
        work(edges[-2], edges[-1] - edges[-2])  # the caller's thread takes the last part
        for job in jobs:
            job.result()


def ego_state(scenario: Scenario, agent: np.ndarray) -> EgoState:
    """The ego's record as an EgoState (rear axle)."""
    back = scenario.ego.vehicle.centre_offset
    heading = np.float64(agent["heading"])
    return EgoState(
        x=agent["x"] - back * np.cos(heading),
        y=agent["y"] - back * np.sin(heading),
        z=np.float64(agent["z"]),
        heading=heading,
        speed=np.float64(agent["speed"]),
        acceleration=np.float64(agent["acceleration"]),
        steering=np.float64(agent["steering"]),
        yaw_rate=np.float64(agent["yaw_rate"]),
        vehicle=scenario.ego.vehicle,
    )


def _tracks(now: np.ndarray, traits: np.ndarray, ids: np.ndarray, step: int) -> Tracks:
    there = np.flatnonzero(now["valid"][1:] == 1) + 1
    a, t = now[there], traits[there]
    n = len(there)
    start = [s.astype(np.float64) for s in (t["length"], t["width"], t["height"])]
    return Tracks(
        states=AgentStates(
            id=ids[there],
            kind=t["kind"].astype(np.uint8),
            x=a["x"].copy(),
            y=a["y"].copy(),
            z=a["z"].astype(np.float64),
            heading=a["heading"].astype(np.float64),
            vx=(a["speed"] * a["cos"]).astype(np.float64),
            vy=(a["speed"] * a["sin"]).astype(np.float64),
            length=start[0],
            width=start[1],
            height=start[2],
            valid=np.ones(n, bool),
        ),
        position_std=np.zeros(n),
        age=np.full(n, step),
    )


class SimWorld:
    """One world of the simulator as a ``World``: what a ``Driver`` is run in.

    It offers ``"tracks"`` and ``"lights"``, and the sensors of any rig as ``"rig:NAME"`` (a rig
    that comes with roadloop, or the path of a rig file; see ``roadloop.rig``).

    Args:
        device: of the simulator.
        traffic: who drives the background traffic (`sim.forecast_traffic`); None: built-in rules.
    """

    def __init__(self, device: str = "cpu", traffic: Forecaster | None = None):
        self._simulator = Simulator(device)
        self.state: SimState | None = None
        self._suite: SensorSuite | None = None
        self._traffic = None if traffic is None else ForecastTraffic(traffic)
        self._seen: Observation | None = None

    def reset(self, scenario: Scenario, sensors: tuple[str, ...]) -> Observation:
        """Starts the scenario.

        Raises:
            RoadloopError: a sensor this world does not have, or a rig that cannot be read.
        """
        rigs = [name for name in sensors if name.startswith("rig:")]
        missing = sorted(set(sensors) - {"tracks", "lights", *rigs})
        if missing:
            raise RoadloopError(
                f"the simulator has no sensor {missing[0]!r}: it offers tracks, lights and rig:NAME"
            )
        if len(rigs) > 1:
            raise RoadloopError(f"{' and '.join(rigs)}: a vehicle carries one rig, put them in one")
        self.state = self._simulator.reset([scenario])
        if self._traffic is not None:
            self.state = self._traffic.reset(scenario, self.state)
        observation = self._seen = self._simulator.observe(self.state)
        self._suite = None
        if not rigs:
            return observation
        from roadloop.rig import load_rig
        from sim.sensors.fitting import fitted

        rig = load_rig(rigs[0].removeprefix("rig:"))
        self._suite = fitted(rig, scenario, device=self._simulator.device)
        return replace(observation, **self._suite.reset(self.state))

    def step(self, control: Control) -> Observation:
        """Applies the ego's control for one ``dt``."""
        if self.state is None or self._seen is None:
            raise RoadloopError("this world was not started: call reset(scenario, sensors) first")
        if self._traffic is None:
            self.state = self._simulator.step(self.state, control)
        else:
            led = self._traffic.controls(self.state, self._seen).astype(np.float32)
            led[0] = control.acceleration, control.steering
            moved = wp.array(led[None], dtype=wp.vec2, device=self._simulator.device)
            self.state = self._traffic.left(self._simulator.step(self.state, moved))
        observation = self._seen = self._simulator.observe(self.state)
        if self._suite is None:
            return observation
        return replace(observation, **self._suite.observe(self.state))
