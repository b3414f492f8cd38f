"""What ``render`` shows: the present moment from above, in the look of the reports."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.features import route_points
from roadloop.types import AgentStates, Control, EgoState, Observation, Rollout, Scenario
from roadloop.viz.draw import FrameRenderer
from sim.envs.drive_core import DriveCore

Array = np.ndarray


class Pictures:
    """Frames of the egos of a core, whichever episodes they are in."""

    def __init__(self, core: DriveCore) -> None:
        self._core = core
        self._episodes: dict[int, EpisodePicture] = {}

    def restart(self, world: int) -> None:
        """The world has begun another episode."""
        self._episodes.pop(world, None)

    def frame(self, world: int) -> Array:
        """(height, width, 3) uint8 of the world now."""
        core, start = self._core, self._core.starts[world]
        if world not in self._episodes:
            road_users = start.state.agents.shape[1] - 1
            size = core.config.frame_size
            self._episodes[world] = EpisodePicture(start.scenario, start.steps, road_users, size)
        return self._episodes[world].frame(core.observation(world))


class EpisodePicture:
    """Frames of one episode. Its drive is written down as it goes, for the trail on the picture."""

    def __init__(self, scenario: Scenario, steps: int, road_users: int, size: tuple[int, int]):
        moments = steps + 1
        route = route_points(scenario.road_map, scenario.route)
        rows = np.linspace(0, len(route.x) - 1, moments).astype(int)
        # Until it is driven the drive is its route: the ground is painted around that.
        flat = np.zeros(moments)
        ego = EgoState(
            x=route.x[rows], y=route.y[rows], z=flat.copy(), heading=route.heading[rows],
            speed=route.speed_limit[rows], acceleration=flat.copy(), steering=flat.copy(),
            yaw_rate=flat.copy(), vehicle=scenario.ego.vehicle,
        )  # fmt: skip
        kinds = {"id": np.int64, "kind": np.uint8, "valid": bool}
        agents = {
            f.name: np.zeros((moments, road_users), kinds.get(f.name, np.float64))
            for f in dataclasses.fields(AgentStates)
        }
        self._rollout = Rollout(
            scenario=scenario.name, family=scenario.family, seed=scenario.seed,
            driver="learner", map_name=scenario.road_map.name,
            map_hash=scenario.road_map.content_hash, dt=scenario.dt,
            time=np.arange(moments) * scenario.dt, ego=ego, control=Control(flat, flat),
            agents=AgentStates(**agents),
            lights=np.zeros((moments, len(scenario.road_map.signal_id)), np.uint8),
            plan=np.full((moments, 1, 3), np.nan), route=scenario.route, finished=True,
        )  # fmt: skip
        width, height = size
        self._renderer = FrameRenderer(
            self._rollout, scenario.road_map, width=width, height=height, metres=width / 8.0
        )
        self._written = -1

    def frame(self, observation: Observation) -> Array:
        """(height, width, 3) uint8 of what is observed, and of the way since the last frame."""
        rollout, now = self._rollout, min(observation.step, len(self._rollout.time) - 1)
        rows = slice(self._written + 1, now + 1)
        for f in dataclasses.fields(EgoState):
            if f.name != "vehicle":
                getattr(rollout.ego, f.name)[rows] = getattr(observation.ego, f.name)
        if observation.tracks is not None:
            seen = observation.tracks.states
            rollout.agents.valid[rows] = False
            for f in dataclasses.fields(AgentStates):
                getattr(rollout.agents, f.name)[rows, : len(seen.id)] = getattr(seen, f.name)
        if observation.lights is not None:
            rollout.lights[rows] = observation.lights
        self._written = now
        return self._renderer.frame(now)
