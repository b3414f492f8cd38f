"""Driving as a decision problem, for a batch of worlds: what learners see, do, earn and end on.

The Gymnasium and PettingZoo environments are thin shells around a ``DriveCore``. All worlds share
one map and one simulator; worlds begin again one by one. Learner ``i`` of a world is its agent
``i``, the ego first. Buffers are allocated once and overwritten by every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import warp as wp

from roadloop import features as definition
from sim.envs.actions import continuous
from sim.envs.config import ENDINGS, TERMS, DriveConfig
from sim.envs.features import OnRoute, observe
from sim.envs.pool import Pool, Start
from sim.envs.rewards import ENDING_TERMS, judge
from sim.envs.routes import Course
from sim.simulator import Simulator
from sim.state import SimState

Array = np.ndarray


class DriveCore:
    """``worlds`` worlds with ``learners`` learners each.

    After ``begin`` and every ``step`` these hold the present moment:

    Attributes:
        observation: of the kind ``vector``: float32 arrays ``(worlds, learners, ...)`` by name.
        terms: ``(worlds, learners, TERMS)`` float32, reward terms of the step.
        rewards: ``(worlds, learners)`` float32.
        ended: ``(worlds, learners)`` bool: an ending of ``config.end_on`` came true.
        out_of_time: ``(worlds,)`` bool.
        starts: per world the scenario it drives.
        elapsed: ``(worlds,)`` steps of the episode.
    """

    def __init__(self, config: DriveConfig, worlds: int, learners: int = 1) -> None:
        self.config = config
        self.worlds, self.learners = worlds, learners
        self.simulator = Simulator(config.device, config.threads)
        self.pool = Pool(config, self.simulator)
        self.state: SimState | None = None
        self.starts: list[Start] = []
        self.elapsed = np.zeros(worlds, np.int64)
        self._last = np.zeros(worlds, np.int64)
        shape = worlds, learners
        self._rows = self._empty((worlds,), wp.int32)
        self._all = wp.array(np.arange(worlds), dtype=wp.int32, device=config.device)
        self._courses = self._empty(shape, Course)
        self._on_route = self._empty(shape, OnRoute)
        self._action = self._empty((*shape, 2), wp.float32)
        self._control = self._empty((worlds, 0), wp.vec2)
        self._seen = {
            "ego": self._empty((*shape, len(definition.EGO_COLUMNS)), wp.float32),
            "route": self._empty(
                (*shape, len(definition.ROUTE_AHEAD), len(definition.ROUTE_COLUMNS)), wp.float32
            ),
            "agents": self._empty(
                (*shape, definition.AGENTS, len(definition.AGENT_COLUMNS)), wp.float32
            ),
            "valid": self._empty((*shape, definition.AGENTS), wp.float32),
        }
        self._terms = self._empty((*shape, len(TERMS)), wp.float32)
        self._rewards = self._empty(shape, wp.float32)
        weights = [getattr(config.weights, name) for name in TERMS]
        self._weights = wp.array(weights, dtype=wp.float32, device=config.device)
        ends = [term for name, term in zip(ENDINGS, ENDING_TERMS) if name in config.end_on]
        self._ends = np.array(ends, np.int64)
        self._read()

    def begin(self, worlds: Sequence[int], starts: Sequence[Start]) -> None:
        """Starts a scenario in each of these worlds (all of them the first time), and looks."""
        if len(worlds) == 0:
            return
        if self.state is None:
            if list(worlds) != list(range(self.worlds)):
                raise ValueError("the first time all worlds begin together")
            self.starts = list(starts)
            self.state = self.simulator.reset([s.scenario for s in starts])
        else:
            self.state = self.simulator.restart(self.state, worlds, [s.state for s in starts])
        if self._control.shape != self.state.agents.shape:
            self._control = self._zeros(self.state.agents.shape, wp.vec2)
        courses, on_route = self._courses.numpy(), self._on_route.numpy()
        for w, start in zip(worlds, starts):
            self.starts[w] = start
            courses[w] = start.courses
            self._last[w] = start.steps
        rows = np.asarray(worlds)
        on_route[rows] = np.zeros((), OnRoute.numpy_dtype())
        on_route["stopped_line"][rows] = on_route["line"][rows] = -1
        self.elapsed[rows] = 0
        if not self._courses.device.is_cpu:
            self._courses.assign(courses)
            self._on_route.assign(on_route)
        self._look(rows)
        self._read()

    def step(self, actions: Array) -> None:
        """One step of every world; ``actions`` is ``(worlds, learners, ...)``."""
        before = self._running()
        self._action.assign(np.ascontiguousarray(actions, np.float32))
        shape = self.worlds, self.learners
        traits = before.fixed.traits
        self._launch(continuous, shape, self._action, before.agents, traits, self._control)
        after = self.state = self.simulator.step(before, self._control)
        self.elapsed += 1
        self._look(None)
        self._launch(
            judge, shape, before.agents, after.agents, traits, after.events, self._courses,
            self._weights, self.config.dt, self._on_route, self._terms, self._rewards,
        )  # fmt: skip
        self._read()

    @property
    def ended(self) -> Array:
        """(worlds, learners) bool."""
        return (self.terms[:, :, self._ends] > 0.0).any(axis=-1)

    @property
    def out_of_time(self) -> Array:
        """(worlds,) bool."""
        return self.elapsed >= self._last

    def _running(self) -> SimState:
        if self.state is None:
            raise ValueError("begin() comes before the first step")
        return self.state

    def _look(self, rows: Array | None) -> None:
        """Observes the given worlds, or all."""
        state = self._running()
        worlds = self._all
        if rows is not None:
            worlds = wp.array(rows, dtype=wp.int32, device=self.config.device)
        seen = self._seen
        self._launch(
            observe, (worlds.shape[0], self.learners), worlds, state.agents, state.fixed.traits,
            state.lights, self._courses, self.pool.routes.point, self.pool.routes.line,
            self._on_route, seen["ego"], seen["route"], seen["agents"], seen["valid"],
        )  # fmt: skip

    def _read(self) -> None:
        """What the kernels wrote as NumPy: views on the CPU, copies from elsewhere."""
        self.observation = {name: array.numpy() for name, array in self._seen.items()}
        self.terms, self.rewards = self._terms.numpy(), self._rewards.numpy()

    def _launch(self, kernel: wp.Kernel, dim: tuple[int, ...], *inputs: object) -> None:
        wp.launch(kernel, dim=dim, inputs=list(inputs), device=self.config.device)

    def _empty(self, shape: tuple[int, ...], dtype: object) -> wp.array:
        return wp.zeros(shape, dtype=dtype, device=self.config.device)

    _zeros = _empty
