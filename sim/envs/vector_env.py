"""Many worlds as one Gymnasium vector environment, all in one batch of the simulator."""

from __future__ import annotations

from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sim.envs.config import TERMS, OptionError, drive_config
from sim.envs.drive_core import DriveCore
from sim.envs.picture import Pictures
from sim.envs.spaces import action_space, observation_space

Array = np.ndarray
Observations: TypeAlias = Array | dict[str, Array]
TERM_INDEX = {name: k for k, name in enumerate(TERMS)}


class DriveVectorEnv(VectorEnv):
    """``gymnasium.make_vec("roadloop/Drive-v0", num_envs=64)``.

    World ``i`` of ``reset(seed=n)`` goes the same way as a ``DriveEnv`` reset with ``n + i``, byte
    for byte. Options are those of ``DriveConfig``.

    Args:
        autoreset_mode: what follows the end of an episode: NextStep (the following step resets),
            SameStep (the ending step itself does; the last observation is
            ``infos["final_obs"]``) or Disabled (``reset(options={"reset_mask": ...})``).
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own form)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise OptionError(f"num_envs is {num_envs!r}: must be at least 1")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise OptionError(f"render_mode is {render_mode!r}: choose rgb_array or None")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise OptionError(f"autoreset_mode is {autoreset_mode!r}: one of {known}") from None
        self.config = drive_config(options)
        self.num_envs = int(num_envs)
        self.render_mode = render_mode
        fps = max(round(1.0 / self.config.dt), 1)
        self.metadata = {
            **self.metadata, "autoreset_mode": self.autoreset_mode, "render_fps": fps,
        }  # fmt: skip
        self.core = DriveCore(self.config, self.num_envs)
        road_map = self.core.pool.road_map
        self.single_observation_space = observation_space(self.config, road_map)
        self.single_action_space = action_space(self.config)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._rngs: dict[int, np.random.Generator] = {}
        self._over = np.zeros(self.num_envs, bool)
        self._pictures = Pictures(self.core)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts all worlds, or those of ``options["reset_mask"]``, each with the next scenario of
        its own random numbers; a seed starts those anew."""
        mask = np.ones(self.num_envs, bool)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
                raise OptionError(
                    f"reset_mask must be {self.num_envs} booleans, at least one of them True"
                )
            if self.core.state is None and not mask.all():
                raise OptionError("reset_mask: the first reset starts all worlds")
        seeds = _seeds(seed, self.num_envs)
        for w in np.flatnonzero(mask).tolist():
            if seeds[w] is not None or w not in self._rngs:
                self._rngs[w] = seeding.np_random(seeds[w])[0]
        if isinstance(seed, (int, np.integer)):
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))
        infos: dict[str, Any] = {}
        self._begin(mask, infos)
        self._over[mask] = False
        return self._observations(), infos

    def step(self, actions: Array) -> tuple[Observations, Array, Array, Array, dict[str, Any]]:
        """One step of every world."""
        if self.core.state is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        core, over = self.core, self._over
        if self.autoreset_mode is AutoresetMode.DISABLED and over.any():
            raise gymnasium.error.ResetNeeded(
                f"worlds {np.flatnonzero(over).tolist()} are over: reset them with reset_mask"
            )
        core.step(np.asarray(actions)[:, None])
        rewards = core.rewards[:, 0].astype(np.float64)
        terminated = core.ended[:, 0]
        truncated = core.out_of_time & ~terminated
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and over.any():
            rewards[over] = 0.0
            terminated &= ~over
            truncated &= ~over
            self._step_infos(infos, ~over)
            self._begin(over, infos)
        else:
            self._step_infos(infos, np.ones(self.num_envs, bool))
        self._over = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._over.any():
            over = self._over
            final, last = self._observations(), infos
            infos = {"final_obs": np.full(self.num_envs, None, object), "_final_obs": over.copy()}
            for w in np.flatnonzero(over):
                infos["final_obs"][w] = (
                    {k: v[w] for k, v in final.items()} if isinstance(final, dict) else final[w]
                )
            infos["final_info"], infos["_final_info"] = _masked(last, over), over.copy()
            infos.update(_masked(last, ~over))
            self._begin(over, infos)
        return self._observations(), rewards, terminated, truncated, infos

    def render(self) -> tuple[Array, ...] | None:
        """(height, width, 3) uint8 of every world from above; None without rgb_array."""
        if self.render_mode is None:
            return None
        return tuple(self._pictures.frame(w) for w in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing outlives the environment."""

    def _begin(self, mask: Array, infos: dict[str, Any]) -> None:
        """The next scenario in these worlds."""
        worlds = np.flatnonzero(mask).tolist()
        starts = [self.core.pool.draw(self._rngs[w]) for w in worlds]
        self.core.begin(worlds, starts)
        for w in worlds:
            self._pictures.restart(w)
        seeds = np.zeros(self.num_envs, np.int64)
        seeds[worlds] = [s.scenario.seed for s in starts]
        infos["seed"], infos["_seed"] = seeds, mask.copy()

    def _step_infos(self, infos: dict[str, Any], mask: Array) -> None:
        terms: dict[str, Any] = {}
        values = np.where(mask[:, None], self.core.terms[:, 0], 0.0).astype(np.float64)
        for name, k in TERM_INDEX.items():
            terms[name], terms[f"_{name}"] = values[:, k], mask
        infos["reward_terms"], infos["_reward_terms"] = terms, mask
        infos["is_success"], infos["_is_success"] = values[:, TERM_INDEX["goal"]] > 0.0, mask

    def _observations(self) -> Observations:
        seen = self.core.seen
        if isinstance(seen, dict):
            return {name: values[:, 0].copy() for name, values in seen.items()}
        return seen[:, 0].copy()


def _masked(infos: dict[str, Any], mask: Array) -> dict[str, Any]:
    """Infos of these worlds only, zeros elsewhere."""
    picked: dict[str, Any] = {}
    for name, value in infos.items():
        if isinstance(value, dict):
            picked[name] = _masked(value, mask)
        elif name.startswith("_"):
            picked[name] = value & mask
        else:
            keep = mask.reshape(-1, *[1] * (value.ndim - 1))
            picked[name] = np.where(keep, value, np.zeros((), value.dtype))
    return picked


def _seeds(seed: int | list[int | None] | None, count: int) -> list[int | None]:
    if seed is None:
        return [None] * count
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(count)]
    if len(seed) != count:
        raise OptionError(f"{len(seed)} seeds for {count} worlds: give one each, or one number")
    return list(seed)
