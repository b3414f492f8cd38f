"""Vector environments as one batch of packed observations, whatever their kind and reset mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from planning.policy import MASK, SET, Layout, pack
from roadloop.config import unknown
from roadloop.errors import RoadloopError

Array = np.ndarray


@dataclass(frozen=True)
class Moved:
    """What a step of all worlds gave; fields ``(worlds,)`` but the observations."""

    observation: Array
    """(worlds, size) to act on next; after an episode's end the first one of the next episode"""
    reward: Array
    terminated: Array
    truncated: Array
    counts: Array
    """bool, False where the step was only the reset of an episode that had ended before"""
    final: dict[int, Array]
    """world -> (size,) last observation of an episode that ended in this step, where it is not
    ``observation`` itself"""
    success: Array
    """float, of the episodes that ended; NaN where the environment does not say"""


class Worlds:
    """Several vector environments side by side, stepped as one.

    Args:
        environments: with equal observation and action spaces.
        names: what results of each are called by; empty where there is only one.

    Raises:
        RoadloopError: spaces that differ, or that a policy here has no network for.
    """

    def __init__(self, environments: Sequence[VectorEnv], names: Sequence[str] = ()) -> None:
        self.environments, self.names = list(environments), tuple(names)
        first = self.environments[0]
        self.space, self.action_space = first.single_observation_space, first.single_action_space
        for other in self.environments[1:]:
            if (other.single_observation_space, other.single_action_space) != (
                self.space,
                self.action_space,
            ):
                raise RoadloopError("the environments have different spaces: train them apart")
        self.layout = layout_of(self.space)
        self.outputs = _outputs(self.action_space)
        self.discrete = isinstance(self.action_space, gym.spaces.Discrete)
        ends = np.cumsum([env.num_envs for env in self.environments])
        self.slices = [slice(int(e) - env.num_envs, int(e)) for e, env in zip(ends, environments)]
        self.count = int(ends[-1])

    def reset(self, seeds: Sequence[int]) -> Array:
        """``(worlds, size)``: every environment started anew with its seed."""
        parts = [
            pack(env.reset(seed=seed)[0], env.num_envs)
            for env, seed in zip(self.environments, seeds)
        ]
        self._ended = np.zeros(self.count, bool)
        return np.concatenate(parts)

    def step(self, action: Array) -> Moved:
        """One step; ``action`` is ``(worlds, outputs)`` in [-1, 1] or ``(worlds,)`` numbers."""
        parts = [self._step(env, s, action[s]) for env, s in zip(self.environments, self.slices)]
        observation, reward, terminated, truncated, counts, success = (
            np.concatenate([part[k] for part in parts]) for k in range(6)
        )
        final = {s.start + i: row for part, s in zip(parts, self.slices) for i, row in part[6]}
        return Moved(observation, reward, terminated, truncated, counts, final, success)

    def _step(self, env: VectorEnv, where: slice, action: Array) -> tuple:
        if isinstance(self.action_space, gym.spaces.Box):
            low, high = self.action_space.low, self.action_space.high
            shape = (env.num_envs, *low.shape)
            action = low + 0.5 * (np.clip(action, -1.0, 1.0).reshape(shape) + 1.0) * (high - low)
            action = action.astype(self.action_space.dtype)
        observation, reward, terminated, truncated, infos = env.step(action)
        packed = pack(observation, env.num_envs)
        ended = np.asarray(terminated) | np.asarray(truncated)
        counts, final = np.ones(env.num_envs, bool), []
        if env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
            if ended.any():
                final = [(int(i), _final(infos, int(i))) for i in np.flatnonzero(ended)]
        else:  # NEXT_STEP: the step after an episode's end only resets
            counts = ~self._ended[where]
            self._ended[where] = ended
        success = _success(infos, ended)
        return packed, np.asarray(reward), terminated, truncated, counts, success, final

    def close(self) -> None:
        """Close every environment."""
        for env in self.environments:
            env.close()


def _final(infos: Mapping[str, Any], world: int) -> Array:
    last = infos["final_obs"]
    if isinstance(last, Mapping):  # one batched observation, rows of worlds that go on unused
        last = {key: np.asarray(value)[world] for key, value in last.items()}
    else:
        last = last[world]
    return pack(last, 1)[0]


def _success(infos: Mapping[str, Any], ended: Array) -> Array:
    said = infos.get("final_info", infos)
    values = said.get("is_success") if isinstance(said, Mapping) else None
    if values is None:
        return np.full(len(ended), np.nan)
    return np.where(ended, np.asarray(values, float), np.nan)


def make_worlds(
    name: str, scenarios: Sequence[str], count: int, options: Mapping[str, Any]
) -> Worlds:
    """``count`` worlds of a registered environment, divided among the scenarios.

    Raises RoadloopError for an unknown environment, an option that it does not take, or fewer
    worlds than scenarios.
    """
    import sim.envs  # noqa: F401  (registers ours)

    if name not in gym.registry:
        ours = [known for known in gym.registry if known.startswith("roadloop/")]
        raise RoadloopError(unknown("environment", name, ours) + " (or any that Gymnasium knows)")
    if count < max(len(scenarios), 1):
        raise RoadloopError(
            f"{count} worlds for {len(scenarios)} scenarios: need at least one each"
        )
    batched = gym.registry[name].vector_entry_point is not None
    mode = "vector_entry_point" if batched else "sync"
    parts: Sequence[str | None] = scenarios or [None]
    environments = []
    for k, scenario in enumerate(parts):
        share = count * (k + 1) // len(parts) - count * k // len(parts)
        asked = {**options, **({} if scenario is None else {"scenario": scenario})}
        try:
            environments.append(
                gym.make_vec(name, num_envs=share, vectorization_mode=mode, **asked)
            )
        except RoadloopError:
            raise
        except (TypeError, gym.error.Error) as error:
            raise RoadloopError(
                f"environment {name} with {asked or 'no options'}: {error}"
            ) from error
    return Worlds(environments, scenarios)


def layout_of(space: gym.Space) -> Layout:
    """How observations of a space are packed; raises RoadloopError for images and the like."""
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return Layout(space.shape[0])
    if isinstance(space, gym.spaces.Dict):
        shapes: dict[str, Any] = {key: part.shape or () for key, part in space.spaces.items()}
        if all(1 <= len(shape) <= 2 for shape in shapes.values()):
            rows, columns = shapes.get(SET, (0, 0))
            if rows and shapes.get(MASK) != (rows,):
                raise RoadloopError(
                    f'the observation has "{SET}" but no "{MASK}" of its {rows} rows'
                )
            state = sum(int(np.prod(s)) for k, s in shapes.items() if k not in (SET, MASK))
            return Layout(state, rows, columns)
    raise RoadloopError(
        f"no network here for the observation {space}: ask for a vector (option observation=vector)"
    )


def _outputs(space: gym.Space) -> int:
    if isinstance(space, gym.spaces.Box):
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise RoadloopError(f"the action {space} has no bounds: PPO here needs some")
        return int(np.prod(space.shape))
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    raise RoadloopError(f"no policy here for the action {space}: use Box or Discrete")
