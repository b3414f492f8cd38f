"""The full observation: what a Driver is given, as arrays of fixed size for a batch of worlds."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from roadloop.types import AgentKind
from sim.envs.config import OptionError
from sim.state import SimState

Array = np.ndarray

EGO = ("x", "y", "z", "heading", "speed", "acceleration", "steering", "yaw_rate")
"""columns of ``ego``, as in EgoState: rear axle, world frame, SI"""
TRACKS = ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
"""columns of ``tracks``, as in AgentStates: box centre, world frame, SI"""


def full_space(max_tracks: int, signals: int) -> spaces.Dict:
    """float64, because maps may have coordinates of hundreds of kilometres."""

    def box(*shape: int) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, shape, np.float64)

    return spaces.Dict(
        {
            "time": box(1),
            "ego": box(len(EGO)),
            "tracks": box(max_tracks, len(TRACKS)),
            "kind": spaces.Box(0, len(AgentKind) - 1, (max_tracks,), np.uint8),
            "valid": spaces.Box(0, 1, (max_tracks,), np.uint8),
            "lights": spaces.Box(0, 4, (max(signals, 1),), np.uint8),
        }
    )


def full_view(state: SimState, elapsed: Array, learners: int, max_tracks: int) -> dict[str, Array]:
    """Arrays ``(worlds, learners, ...)``; rows of ``tracks`` are the other agents, in their order.

    Args:
        elapsed: (worlds,) steps since each world began.

    Raises:
        OptionError: more road users than rows.
    """
    agents: Any = state.agents.numpy()
    traits: Any = state.fixed.traits.numpy()
    worlds, width = agents.shape
    if width - 1 > max_tracks:
        raise OptionError(
            f"the scenario has {width - 1} road users, max_tracks is {max_tracks}: raise it"
        )
    heading = agents["heading"].astype(np.float64)
    columns = [agents[name] for name in ("x", "y", "z")] + [heading]
    columns += [agents["speed"] * agents[name] for name in ("cos", "sin")]
    columns += [traits[name] for name in ("length", "width", "height")]
    table = np.stack([np.asarray(c, np.float64) for c in columns], axis=-1)
    there = agents["valid"] == 1
    out = {
        "time": np.repeat(elapsed * state.fixed.dt, learners).reshape(worlds, learners, 1),
        "ego": np.zeros((worlds, learners, len(EGO))),
        "tracks": np.zeros((worlds, learners, max_tracks, len(TRACKS))),
        "kind": np.zeros((worlds, learners, max_tracks), np.uint8),
        "valid": np.zeros((worlds, learners, max_tracks), np.uint8),
        "lights": np.repeat(state.lights.numpy()[:, None].astype(np.uint8), learners, axis=1),
    }
    for i in range(learners):
        back = traits["centre_offset"][:, i].astype(np.float64)
        turn = heading[:, i]
        out["ego"][:, i, 0] = agents["x"][:, i] - back * np.cos(turn)
        out["ego"][:, i, 1] = agents["y"][:, i] - back * np.sin(turn)
        for k, name in enumerate(EGO[2:], start=2):
            out["ego"][:, i, k] = agents[name][:, i]
        others = np.delete(np.arange(width), i)
        seen = there[:, others]
        out["tracks"][:, i, : width - 1] = np.where(seen[..., None], table[:, others], 0.0)
        out["kind"][:, i, : width - 1] = np.where(seen, traits["kind"][:, others], 0)
        out["valid"][:, i, : width - 1] = seen
    return out
