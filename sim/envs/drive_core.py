"""Driving as a decision problem, for a batch of worlds: what learners see, do, earn and end on.

The Gymnasium and PettingZoo environments are thin shells around a ``DriveCore``. All worlds share
one map and one simulator; worlds begin again one by one. Learner ``i`` of a world is its agent
``i``, the ego first. Buffers are allocated once and overwritten by every step.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import warp as wp

from roadloop import features as definition
from roadloop.errors import RoadloopError
from roadloop.types import Observation
from sim.envs.actions import CHOICES, WAYPOINTS, commanded, continuous, discrete, trajectory
from sim.envs.camera_view import CameraView
from sim.envs.config import ENDINGS, TERMS, DriveConfig
from sim.envs.features import OnRoute, observe
from sim.envs.full_view import full_view
from sim.envs.pool import Pool, Start
from sim.envs.raster_bev import CHANNELS, map_ground, paint_ground, paint_things
from sim.envs.rewards import ENDING_TERMS, judge
from sim.envs.routes import Course
from sim.restart import joined
from sim.simulator import Simulator
from sim.state import SimState

Array = np.ndarray

if wp.config.log_level == logging.INFO:  # what a training script prints is its own affair
    wp.config.log_level = logging.ERROR


class DriveCore:
    """``worlds`` worlds with ``learners`` learners each.

    After ``begin`` and every ``step`` these hold the present moment:

    Attributes:
        seen: the observation of the configured kind: an array ``(worlds, learners, ...)``, or a
            dict of such.
        terms: ``(worlds, learners, TERMS)`` float32, reward terms of the step.
        rewards: ``(worlds, learners)`` float32.
        starts: per world the scenario it drives.
        elapsed: ``(worlds,)`` steps of the episode.
    """

    def __init__(self, config: DriveConfig, worlds: int, learners: int = 1) -> None:
        self.config, self.device = config, config.device
        self.worlds, self.learners = worlds, learners
        self.simulator = Simulator(config.device, config.threads)
        self.pool = Pool(config, self.simulator, learners)
        self.state: SimState | None = None
        self.starts: list[Start] = []
        self.elapsed, self._last = np.zeros((2, worlds), np.int64)
        self._all = wp.array(np.arange(worlds), dtype=wp.int32, device=self.device)
        shape = worlds, learners
        self._courses = self._zeros(shape, Course)
        self._on_route = self._zeros(shape, OnRoute)
        self._control = self._zeros((worlds, 0), wp.vec2)
        self._terms = self._zeros((*shape, len(TERMS)), wp.float32)
        self._rewards = self._zeros(shape, wp.float32)
        weights = [getattr(config.weights, name) for name in TERMS]
        self._weights = wp.array(weights, dtype=wp.float32, device=self.device)
        ends = [term for name, term in zip(ENDINGS, ENDING_TERMS) if name in config.end_on]
        self._ends = np.array(ends, np.int64)
        agent_shape = definition.AGENTS, len(definition.AGENT_COLUMNS)
        route_shape = len(definition.ROUTE_AHEAD), len(definition.ROUTE_COLUMNS)
        self._vector = {
            "ego": self._zeros((*shape, len(definition.EGO_COLUMNS)), wp.float32),
            "route": self._zeros((*shape, *route_shape), wp.float32),
            "agents": self._zeros((*shape, *agent_shape), wp.float32),
            "valid": self._zeros((*shape, definition.AGENTS), wp.float32),
        }
        if config.action == "discrete":
            self._action = self._zeros(shape, wp.int32)
        elif config.action == "trajectory":
            self._action = self._zeros((*shape, WAYPOINTS, 2), wp.float32)
        else:
            self._action = self._zeros((*shape, 2), wp.float32)
        if config.observation == "bev":
            bev = config.bird_view
            self._ground = map_ground(self.pool.road_map, bev.resolution, self.device)
            size = len(CHANNELS), bev.height, bev.width
            self._picture = self._zeros((worlds * learners, *size), wp.uint8)

        if config.observation == "cameras":
            road_map = self.pool.road_map
            self._cameras = CameraView(config.rig, road_map, worlds, learners, self.device)

    def begin(self, worlds: Sequence[int], starts: Sequence[Start]) -> None:
        """Starts a scenario in each of these worlds, all of them the first time, and looks."""
        if self.state is None:
            self.starts = list(starts)
            self.state = joined([s.state for s in starts])
        else:
            self.state = self.simulator.restart(self.state, worlds, [s.state for s in starts])
        if self._control.shape != self.state.agents.shape:
            self._control = self._zeros(self.state.agents.shape, wp.vec2)
        rows = np.asarray(worlds, np.int64)
        courses, on_route = self._courses.numpy(), self._on_route.numpy()
        for w, start in zip(worlds, starts):
            self.starts[w] = start
            courses[w] = start.courses
            self._last[w] = start.steps
        on_route[rows] = np.zeros((), OnRoute.numpy_dtype())
        for name in ("stopped_line", "line"):
            on_route[name][rows] = -1
        self.elapsed[rows] = 0
        if not self._courses.device.is_cpu:  # on the CPU these are views
            self._courses.assign(courses)
            self._on_route.assign(on_route)
        self._look(wp.array(rows, dtype=wp.int32, device=self.device))

    def step(self, actions: Array) -> None:
        """One step of every world.

        Args:
            actions: ``(worlds, learners, ...)`` of the action space.

        Raises:
            RoadloopError: actions of another shape, or not finite.
        """
        before, shape = self._running(), (self.worlds, self.learners)
        self._take(actions)
        traits, routes = before.fixed.traits, self.pool.routes
        state = self._action, before.agents, traits
        if self.config.action == "discrete":
            way = self._courses, routes.point, self._on_route
            self._launch(discrete, shape, *state, *way, self._control)
        elif self.config.action == "trajectory":
            self._launch(trajectory, shape, *state, self._control)
        else:
            kernel = continuous if self.config.action == "continuous" else commanded
            self._launch(kernel, shape, *state, self._control)
        after = self.state = self.simulator.step(before, self._control)
        self.elapsed += 1
        self._look(self._all)
        self._launch(
            judge, shape, before.agents, after.agents, traits, after.events, self._courses,
            self._weights, self.config.dt, self._on_route, self._terms, self._rewards,
        )  # fmt: skip
        self.terms, self.rewards = self._terms.numpy(), self._rewards.numpy()

    def remove(self, world: int, learner: int) -> None:
        """Takes a learner off the road."""
        agents = self._running().agents
        records = agents.numpy()  # a view on the CPU, a copy elsewhere
        records["valid"][world, learner] = 0
        agents.assign(records)

    @property
    def ended(self) -> Array:
        """(worlds, learners) bool: one of ``config.end_on`` came true."""
        return (self.terms[:, :, self._ends] > 0.0).any(axis=-1)

    @property
    def out_of_time(self) -> Array:
        """(worlds,) bool."""
        return self.elapsed >= self._last

    def observation(self, world: int) -> Observation:
        """What a Driver of the world's ego would be given."""
        return self.simulator.observe(self._running(), world)

    def _take(self, actions: Array) -> None:
        """The actions to the device."""
        integral = self.config.action == "discrete"
        given = np.ascontiguousarray(actions, np.int32 if integral else np.float32)
        if given.shape != self._action.shape:
            raise RoadloopError(
                f"actions have shape {given.shape}, expected {self._action.shape}: worlds, "
                "learners and the shape of one action"
            )
        wrong = ~np.isfinite(given)
        if integral:
            wrong = (given < 0) | (given >= CHOICES)
        if wrong.any():
            world = int(np.argwhere(wrong)[0, 0])
            raise RoadloopError(
                f"the action of world {world} is {given[world].ravel().tolist()}: outside the "
                "action space"
            )
        self._action.assign(given)

    def _running(self) -> SimState:
        if self.state is None:
            raise RoadloopError("no world has begun: call reset() before the first step()")
        return self.state

    def _look(self, worlds: wp.array) -> None:
        """Observes the given worlds."""
        state, vector, routes = self._running(), self._vector, self.pool.routes
        dim, traits = (worlds.shape[0], self.learners), state.fixed.traits
        self._launch(
            observe, dim, worlds, state.agents, traits, state.lights, self._courses, routes.point,
            routes.line, self._on_route, vector["ego"], vector["route"], vector["agents"],
            vector["valid"],
        )  # fmt: skip
        if self.config.observation == "bev":
            bev = self.config.bird_view
            for rows in self._pictures_of(worlds):
                self._picture[rows].zero_()
            view = bev.resolution, bev.behind, self.learners, self._picture
            eyes = worlds, self._ground, state.agents, traits
            self._launch(paint_ground, (*dim, bev.height), *eyes, *view)
            way = self._courses, routes.point, self._on_route
            self._launch(paint_things, dim, *eyes, state.lights, *way, *view)
        if self.config.observation == "cameras":
            self._cameras.look(state, worlds.numpy())

    def _pictures_of(self, worlds: wp.array) -> list[slice]:
        """Where the pictures of these worlds are; one slice where it is all of them."""
        if worlds is self._all:
            return [slice(0, self.worlds * self.learners)]
        return [slice(w * self.learners, (w + 1) * self.learners) for w in worlds.numpy().tolist()]

    @property
    def seen(self) -> Array | dict[str, Array]:
        """The present observation; views that the next step overwrites."""
        if self.config.observation == "bev":
            picture = self._picture.numpy()
            return picture.reshape(self.worlds, self.learners, *picture.shape[1:])
        if self.config.observation == "full":
            state = self._running()
            return full_view(state, self.elapsed, self.learners, self.config.max_tracks)
        vector = {name: array.numpy() for name, array in self._vector.items()}
        if self.config.observation == "cameras":
            return {**self._cameras.pictures, "ego": vector["ego"], "route": vector["route"]}
        return vector

    def _launch(self, kernel: wp.Kernel, dim: tuple[int, ...], *inputs: object) -> None:
        wp.launch(kernel, dim=dim, inputs=list(inputs), device=self.device)

    def _zeros(self, shape: tuple[int, ...], dtype: object) -> wp.array:
        return wp.zeros(shape, dtype=dtype, device=self.device)
