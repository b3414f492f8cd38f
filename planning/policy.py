"""A trained policy as a `Driver`: the vector observation through a small network, in NumPy.

The weights are a safetensors file that training wrote; its header says for which observation and
action they are. PyTorch is not needed to drive.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.features import (
    AGENT_COLUMNS,
    AGENTS,
    EGO_COLUMNS,
    ROUTE_AHEAD,
    ROUTE_COLUMNS,
    RouteMemory,
    RoutePoints,
    control_from_action,
    route_points,
    vector_observation,
)
from roadloop.interfaces import Tracker
from roadloop.types import Control, Observation, Scenario, Trajectory

Array = np.ndarray

WEIGHTS = "policy.safetensors"
"""the file looked for in a folder"""
SET, MASK = "agents", "valid"
"""keys of an observation that hold a set of rows and say which of them are there"""
CLIP = 10.0
"""standard deviations a normalised input is kept to"""

DRIVES = {"environment": "roadloop/Drive-v0", "observation": "vector", "action": "continuous"}
"""what the header of a policy that drives says"""


@dataclass(frozen=True)
class Layout:
    """How an observation lies in one flat vector: the state, then the set's rows, then its mask."""

    state: int
    rows: int = 0
    columns: int = 0

    @property
    def size(self) -> int:
        """Numbers in a packed observation."""
        return self.state + self.rows * (self.columns + 1)


def pack(observation: Mapping[str, Array] | Array, batch: int) -> Array:
    """An observation as float32 ``(batch, size)``.

    A plain array is flattened. Of a mapping, everything but the set comes first, keys in
    alphabetical order, then the set row by row, then its mask.
    """
    if not isinstance(observation, Mapping):
        return np.asarray(observation, np.float32).reshape(batch, -1)
    names = sorted(set(observation) - {SET, MASK}) + [k for k in (SET, MASK) if k in observation]
    parts = [np.asarray(observation[name], np.float32).reshape(batch, -1) for name in names]
    return np.concatenate(parts, axis=1)


DRIVING = Layout(
    len(EGO_COLUMNS) + len(ROUTE_AHEAD) * len(ROUTE_COLUMNS), AGENTS, len(AGENT_COLUMNS)
)
"""of `roadloop.features.vector_observation`"""


class PolicyNetwork:
    """The actor of a policy file; ``__call__`` gives the mean action.

    Inputs are normalised with the mean and deviation kept beside the weights. Every row of the set
    goes through the same two layers (ReLU), the largest of each feature over the rows that are
    there joins the state, and two layers (tanh) and a linear one follow.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                header = (file.metadata() or {}).get("roadloop", "")
                self.weights: dict[str, Array] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            self.metadata: dict[str, Any] = json.loads(header)
            self.layout = Layout(**self.metadata["layout"])
            self(np.zeros((1, self.layout.size), np.float32))
        except (OSError, SafetensorError) as error:
            raise RoadloopError(f"{path}: cannot read these weights: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RoadloopError(
                f"{path} is no roadloop policy (its header and weights do not fit together): "
                f"take a {WEIGHTS} that training wrote"
            ) from error

    def __call__(self, packed: Array) -> Array:
        """``(batch, size)`` -> ``(batch, outputs)``: mean action, or a score per discrete one."""
        w, layout = self.weights, self.layout
        state = _normal(packed[:, : layout.state], w["state_mean"], w["state_std"])
        if layout.rows:
            rows = packed[:, layout.state : -layout.rows].reshape(-1, layout.rows, layout.columns)
            there = packed[:, -layout.rows :, None] > 0.5
            rows = _normal(rows, w["row_mean"], w["row_std"])
            rows = np.maximum(self._linear("actor.encoder.0", rows), 0.0)
            rows = np.maximum(self._linear("actor.encoder.2", rows), 0.0)
            state = np.concatenate([state, np.where(there, rows, 0.0).max(axis=1)], axis=1)
        state = np.tanh(self._linear("actor.trunk.0", state))
        state = np.tanh(self._linear("actor.trunk.2", state))
        return self._linear("actor.trunk.4", state)

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]


def _normal(x: Array, mean: Array, std: Array) -> Array:
    return np.clip((x - mean) / std, -CLIP, CLIP)


class Policy:
    """A `Driver` that does what the network says; ``plan`` is always None.

    Args:
        path: policy file, or a folder (of a run or of a checkpoint) that holds one.
        tracker: where the tracks come from; None takes them as observed.
        senses: of the tracker, for the name.

    Raises:
        RoadloopError: no such file, or a policy that is not for driving.
    """

    sensors: tuple[str, ...] = ("tracks", "lights")

    def __init__(self, path: str | Path, tracker: Tracker | None = None, senses: str = "") -> None:
        file = Path(path)
        file = file / WEIGHTS if file.is_dir() else file
        if not file.is_file():
            raise RoadloopError(
                f"no policy at {path}: give a {WEIGHTS} or the folder of a training run"
            )
        self.network = PolicyNetwork(file)
        for key, value in DRIVES.items():
            said = self.network.metadata.get(key, "not said")
            if said != value:
                raise RoadloopError(f"{file} cannot drive: its {key} is {said}, must be {value}")
        if self.network.layout != DRIVING:
            raise RoadloopError(
                f"{file} cannot drive: it was trained on {self.network.layout}, the vector "
                f"observation is now {DRIVING}; train it again"
            )
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        name = file.resolve().parent.name if file.name == WEIGHTS else file.stem
        self.name = f"policy:{name}@{digest}" + (f"+{senses}" if senses else "")
        self.plan: Trajectory | None = None
        self._tracker = tracker
        self._points: RoutePoints | None = None
        self._memory = RouteMemory()

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario at the beginning of its route.

        Raises RoadloopError where its steps are not those the policy was trained for.
        """
        if self._tracker is not None:
            self._tracker.reset(scenario)
        dt = self.network.metadata.get("dt")
        if dt != scenario.dt:
            raise RoadloopError(
                f"{self.name} decides every {dt} s, the scenario steps every {scenario.dt} s: "
                "train one with the environment's option dt"
            )
        self._points = route_points(scenario.road_map, scenario.route)
        self._memory = RouteMemory()

    def act(self, observation: Observation) -> Control:
        """The mean action's control; raises RoadloopError before ``reset``."""
        if self._points is None:
            raise RoadloopError("the policy has no route yet: call reset(scenario) first")
        if self._tracker is not None:
            tracks = self._tracker.update(observation)
            observation = dataclasses.replace(observation, tracks=tracks)
        seen, self._memory = vector_observation(observation, self._points, self._memory)
        action = self.network(pack(seen, 1))[0].astype(np.float64)
        return control_from_action(action, observation.ego.speed, observation.ego.vehicle)
