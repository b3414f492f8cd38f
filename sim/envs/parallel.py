"""Several learners in one world, as a PettingZoo parallel environment. Needs the extra ``rl``."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from pettingzoo import ParallelEnv

from roadloop.errors import RoadloopError
from sim.envs.config import TERMS, OptionError, drive_config
from sim.envs.drive_core import DriveCore
from sim.envs.picture import Pictures
from sim.envs.spaces import action_space, observation_space

Array = np.ndarray
Seen: TypeAlias = Array | dict[str, Array]


class DriveParallelEnv(ParallelEnv):
    """``learners`` cars in one world: the ego and cars of its traffic, each with its own route.

    A learner whose episode ends (collision, off the road, goal ...) is taken off the road; the
    others go on until the time is up. Options are those of ``DriveConfig``.

    Args:
        learners: 2 or more; the scenario needs that many cars or vans.
    """

    def __init__(
        self, learners: int = 4, *, render_mode: str | None = None, **options: Any
    ) -> None:
        if not isinstance(learners, (int, np.integer)) or learners < 1:
            raise OptionError(f"learners is {learners!r}: must be at least 1")
        if render_mode not in (None, "rgb_array"):
            raise OptionError(f"render_mode is {render_mode!r}: choose rgb_array or None")
        self.config = drive_config(options)
        self.render_mode = render_mode
        self.metadata = {
            "name": "roadloop_drive_v0",
            "render_modes": ["rgb_array"],
            "render_fps": max(round(1.0 / self.config.dt), 1),
            "is_parallelizable": True,
        }
        self.core = DriveCore(self.config, 1, int(learners))
        self.possible_agents = [f"car_{k}" for k in range(int(learners))]
        self.agents: list[str] = []
        seen = observation_space(self.config, self.core.pool.road_map)
        self.observation_spaces = {name: seen for name in self.possible_agents}
        self.action_spaces = {name: action_space(self.config) for name in self.possible_agents}
        self._row = {name: k for k, name in enumerate(self.possible_agents)}
        self._rng: np.random.Generator | None = None
        self._pictures = Pictures(self.core)

    def observation_space(self, agent: str) -> spaces.Space:
        """What ``agent`` sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """What ``agent`` may do."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Seen], dict[str, dict[str, Any]]]:
        """Starts the next scenario with all learners; a seed starts the random numbers anew.

        ``options`` say nothing here; PettingZoo's own tests pass some, so they are not refused.
        """
        if seed is not None or self._rng is None:
            self._rng = seeding.np_random(seed)[0]
        start = self.core.pool.draw(self._rng)
        self.core.begin([0], [start])
        self._pictures.restart(0)
        self.agents = list(self.possible_agents)
        return self._observations(), {a: {"seed": start.scenario.seed} for a in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Seen],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One step; ``actions`` of the learners that are still on the road."""
        missing = [a for a in self.agents if a not in actions]
        if missing or not self.agents:
            whose = ", ".join(missing) or "nobody is on the road"
            raise RoadloopError(f"step() lacks actions: {whose}; give one per env.agents")
        core = self.core
        some = np.asarray(actions[self.agents[0]])
        table = np.zeros((1, len(self.possible_agents), *some.shape), some.dtype)
        for agent in self.agents:
            table[0, self._row[agent]] = actions[agent]
        core.step(table)
        late = bool(core.out_of_time[0])
        over = {a: bool(core.ended[0, self._row[a]]) for a in self.agents}
        seen = self._observations()
        rewards = {a: float(core.rewards[0, self._row[a]]) for a in self.agents}
        truncated = {a: late and not over[a] for a in self.agents}
        infos = {a: self._info(self._row[a]) for a in self.agents}
        for agent in [a for a in self.agents if over[a]]:
            core.remove(0, self._row[agent])
        self.agents = [] if late else [a for a in self.agents if not over[a]]
        return seen, rewards, over, truncated, infos

    def render(self) -> Array | None:
        """(height, width, 3) uint8 around the first car; None without rgb_array."""
        if self.render_mode is None:
            return None
        return self._pictures.frame(0)

    def close(self) -> None:
        """Nothing outlives the environment."""

    def _info(self, row: int) -> dict[str, Any]:
        terms = dict(zip(TERMS, self.core.terms[0, row].astype(np.float64).tolist()))
        return {"reward_terms": terms, "is_success": terms["goal"] > 0.0}

    def _observations(self) -> dict[str, Seen]:
        seen = self.core.seen
        if isinstance(seen, dict):
            return {
                a: {name: values[0, self._row[a]].copy() for name, values in seen.items()}
                for a in self.agents
            }
        return {a: seen[0, self._row[a]].copy() for a in self.agents}
