"""Moments of drives as samples of the forecaster: `training.sources.Source`.

Each epoch draws other moments, and other agents to look around. What is read of a moment is made
into the network's arrays by a transform, which may first make it worse: as a tracker would see it.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.forecast_config import HISTORY_STEP, ForecastConfig
from perception.forecast_inputs import forecast_inputs, rows_for, seen_from
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, at
from training.forecast_augmentation import ForecastAugmentation, augmented
from training.forecast_motion import Motion, Scene, read_motion, scene_at
from training.sample_spec import Sample

Array = np.ndarray

KEPT = 256
"""drives that stay in memory in each process, the last ones used: about 5 MB each"""
MOVED = 1.0
"""m, who moves less in its past and future together is standing"""
STANDING = 0.2
"""weight of an agent that stands, of which there are many"""


class ForecastScenes:
    """Moments of drives.

    Args:
        files: of `training.forecast_motion`.
        count: of moments in an epoch.
        endless: each epoch draws anew; False: all are the same, as for judging.

    Raises:
        RoadloopError: no file, or no moment to draw; later, a file that cannot be read, or whose
            map was cut otherwise.
    """

    def __init__(
        self,
        files: Sequence[Path],
        config: ForecastConfig,
        count: int,
        *,
        seed: int = 0,
        endless: bool = True,
    ) -> None:
        if not files or count < 1:
            raise RoadloopError(
                f"{count} moments of {len(files)} drives: expected at least one of each"
            )
        self.files, self.config, self.count = list(files), config, count
        self.seed, self.endless, self.epoch = seed, endless, 0
        self._kept: OrderedDict[int, tuple[Motion, Array]] = OrderedDict()

    def __len__(self) -> int:
        return self.count

    def in_epoch(self, epoch: int) -> ForecastScenes:
        """The same source with the moments of an epoch."""
        if epoch == self.epoch or not self.endless:
            return self
        other = copy.copy(self)  # with the same drives in memory
        other.epoch = epoch
        return other

    def sample(self, index: int) -> Sample:
        """``drive``: name; ``scene``: a `Scene`."""
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} moments, no number {index}")
        motion, steps = self._motion(index % len(self.files))
        rng = np.random.default_rng([self.seed, self.epoch, index])
        step = int(rng.choice(steps))
        now = at(motion.states, step)
        there = np.flatnonzero(now.valid & (now.kind != AgentKind.STATIC))
        weight = 1.0 + np.minimum(now.speed[there], 5.0)
        centre = int(rng.choice(there, p=weight / weight.sum()))
        scene = scene_at(self.config, motion, step, float(now.x[centre]), float(now.y[centre]))
        return {"drive": motion.name, "scene": scene}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def _motion(self, number: int) -> tuple[Motion, Array]:
        """A drive, and its steps that are samples: somebody is there, the whole future is known."""
        if number not in self._kept:
            path, config = self.files[number], self.config
            motion = read_motion(path)
            cut = motion.pieces.points.shape[1], motion.spacing
            if cut != (config.points, config.spacing):
                raise RoadloopError(
                    f"{path}: its map is cut into pieces of {cut[0]} points, {cut[1]:g} m apart, "
                    f"the model wants {config.points} and {config.spacing:g}: make it again"
                )
            known = len(motion) - round(config.horizon / HISTORY_STEP)
            movers = motion.states.valid & (motion.states.kind != AgentKind.STATIC)
            steps = np.flatnonzero(movers[: max(known, 0)].any(1))
            if not len(steps):
                raise RoadloopError(
                    f"{path}: no moment of its {HISTORY_STEP * len(motion):g} s has a road user "
                    f"and {config.horizon:g} s to come: lower model.horizon, or leave it out"
                )
            self._kept[number] = motion, steps
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


@dataclass(frozen=True)
class ForecastArrays:
    """The transform of a loader: a `Scene` to the network's inputs and what is to be learnt.

    Beside `ForecastConfig.inputs`: ``future`` (N, T, 2) m in each agent's frame, ``future_valid``
    (N, T), ``weight`` (N,): 1, `STANDING`, 0 for what never moves or is not there.
    """

    config: ForecastConfig
    augmentation: ForecastAugmentation | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        scene: Scene = sample["scene"]
        past = scene.past
        if self.augmentation is not None:
            scene, past = augmented(scene, self.augmentation, rng)
        rows = rows_for(self.config, at(past, -1), scene.x, scene.y)
        arrays = forecast_inputs(self.config, past, rows, scene.pieces, scene.lights)
        return {"drive": sample["drive"], **arrays, **self._truth(scene, past, rows)}

    def _truth(self, scene: Scene, past: AgentStates, rows: Array) -> dict[str, Array]:
        agents, steps, n = self.config.agents, self.config.steps, len(rows)
        future = np.zeros((agents, steps, 2), np.float32)
        valid = np.zeros((agents, steps), np.float32)
        weight = np.zeros(agents, np.float32)
        x, y, heading = (getattr(past, key)[-1, rows][:, None] for key in ("x", "y", "heading"))
        seen = seen_from(x, y, heading, scene.future_x[:, rows].T, scene.future_y[:, rows].T)
        known = scene.future_valid[:, rows].T
        future[:n] = np.where(known[..., None], np.stack(seen, axis=-1), 0.0)
        valid[:n] = known
        true = scene.past  # as it was, not as it was seen
        x, y = true.x[:, rows], true.y[:, rows]
        moved = np.where(true.valid[:, rows], np.hypot(x - x[-1], y - y[-1]), 0.0).max(0)
        ahead = np.hypot(scene.future_x[:, rows] - x[-1], scene.future_y[:, rows] - y[-1])
        moved += np.where(scene.future_valid[:, rows], ahead, 0.0).max(0)
        weight[:n] = np.where(moved > MOVED, 1.0, STANDING)
        weight[:n] *= (past.kind[-1, rows] != AgentKind.STATIC) & known.any(1)
        return {"future": future, "future_valid": valid, "weight": weight}
