"""One world as a Gymnasium environment: ``gymnasium.make("roadloop/Drive-v0", ...)``."""

from __future__ import annotations

from typing import Any, TypeAlias

import gymnasium
import numpy as np

from roadloop.types import Observation, Scenario
from sim.envs.config import TERMS, OptionError, drive_config
from sim.envs.drive_core import DriveCore
from sim.envs.picture import Pictures
from sim.envs.pool import Start
from sim.envs.spaces import action_space, observation_space

Array = np.ndarray
Seen: TypeAlias = Array | dict[str, Array]


class DriveEnv(gymnasium.Env):
    """Drive a route of a scenario family. Options are those of ``DriveConfig``.

    Each episode draws a scenario of the pool with ``np_random``; ``reset(options=
    {"scenario_seed": 7})`` takes a certain one. ``info["reward_terms"]`` holds the terms whose
    weighted sum the reward is, ``info["is_success"]`` whether the goal is reached.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise OptionError(f"render_mode is {render_mode!r}: choose rgb_array or None")
        self.config = drive_config(options)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": max(round(1.0 / self.config.dt), 1)}
        self.core = DriveCore(self.config, 1)
        self.observation_space = observation_space(self.config, self.core.pool.road_map)
        self.action_space = action_space(self.config)
        self._pictures = Pictures(self.core)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Seen, dict[str, Any]]:
        """Starts the next scenario."""
        super().reset(seed=seed)
        start = self._next(options or {})
        self.core.begin([0], [start])
        self._pictures.restart(0)
        return self._seen(), {"seed": start.scenario.seed}

    def step(self, action: Any) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        """One step of ``dt`` s."""
        core = self.core
        core.step(np.asarray(action)[None, None])
        terminated = bool(core.ended[0, 0])
        terms = dict(zip(TERMS, core.terms[0, 0].astype(np.float64).tolist()))
        info = {"reward_terms": terms, "is_success": terms["goal"] > 0.0}
        return (
            self._seen(),
            float(core.rewards[0, 0]),
            terminated,
            bool(core.out_of_time[0]) and not terminated,
            info,
        )

    def render(self) -> Array | None:
        """(height, width, 3) uint8 from above; None without ``render_mode="rgb_array"``."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                'render() draws nothing: make the environment with render_mode="rgb_array"'
            )
            return None
        return self._pictures.frame(0)

    @property
    def scenario(self) -> Scenario:
        """What is driven: what a ``Driver`` is reset with."""
        return self.core.starts[0].scenario

    @property
    def observation(self) -> Observation:
        """What a ``Driver`` is given now; its Control is an action of ``action="control"``."""
        return self.core.observation(0)

    def _next(self, options: dict[str, Any]) -> Start:
        for name in options:
            if name != "scenario_seed":
                raise OptionError(f'unknown reset option "{name}"; known: scenario_seed')
        if "scenario_seed" not in options:
            return self.core.pool.draw(self.np_random)
        seed = options["scenario_seed"]
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise OptionError(f"scenario_seed is {seed!r}: must be a whole number, 0 or more")
        return self.core.pool.start(int(seed))

    def _seen(self) -> Seen:
        seen = self.core.seen
        if isinstance(seen, dict):
            return {name: values[0, 0].copy() for name, values in seen.items()}
        return seen[0, 0].copy()
