"""Observation and action spaces of a configuration, those of one learner."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from roadloop import features as definition
from roadloop.maps.road_map import RoadMap
from sim.envs.actions import space as action_space_of
from sim.envs.camera_view import camera_space
from sim.envs.config import DriveConfig
from sim.envs.full_view import full_space
from sim.envs.raster_bev import CHANNELS


def observation_space(config: DriveConfig, road_map: RoadMap) -> spaces.Space:
    """What one learner sees on this map."""
    if config.observation == "bev":
        bev = config.bird_view
        return spaces.Box(0, 255, (len(CHANNELS), bev.height, bev.width), np.uint8)
    if config.observation == "full":
        return full_space(config.max_tracks, len(road_map.signal_id))
    if config.observation == "cameras":
        vector = vector_space()
        return spaces.Dict(
            {**camera_space(config.rig), "ego": vector["ego"], "route": vector["route"]}
        )
    return vector_space()


def vector_space() -> spaces.Dict:
    """``roadloop.features``: SI units, not normalised."""
    shapes = {
        "ego": (len(definition.EGO_COLUMNS),),
        "route": (len(definition.ROUTE_AHEAD), len(definition.ROUTE_COLUMNS)),
        "agents": (definition.AGENTS, len(definition.AGENT_COLUMNS)),
    }
    boxes = {k: spaces.Box(-np.inf, np.inf, shape, np.float32) for k, shape in shapes.items()}
    return spaces.Dict({**boxes, "valid": spaces.Box(0.0, 1.0, (definition.AGENTS,), np.float32)})


def action_space(config: DriveConfig) -> spaces.Space:
    """What one learner may do."""
    return action_space_of(config.action)
