"""Observation and action spaces of a configuration, those of one learner."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from roadloop import features as definition
from sim.envs.config import DriveConfig


def observation_space(config: DriveConfig) -> spaces.Space:
    """What one learner sees."""
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
    return spaces.Box(-1.0, 1.0, (2,), np.float32)
