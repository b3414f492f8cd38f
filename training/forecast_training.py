"""How a forecaster is trained: the classes behind ``configs/forecaster_*.yaml``.

``docs/training-forecaster.md`` shows them at work; ``python -m training.train_forecaster --help``
and ``roadloop train --help`` say how a run is started.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perception.forecast_config import ForecastConfig
from perception.forecast_loss import ForecastLoss
from roadloop.errors import RoadloopError
from training.forecast_augmentation import ForecastAugmentation
from training.simulated_data import MIX, SceneShare, StreetLife

LEAST_SEED = 1000
"""seeds below are not learnt from: those below 100 are for evaluation, some more for judging"""


@dataclass(frozen=True)
class SimulatedTraffic:
    """Worlds that are simulated once, before it learns; everybody in them is a sample."""

    worlds: int = 96
    """scenarios to learn from"""
    judges: int = 12
    """scenarios, on other maps, that judge"""
    scenes: tuple[SceneShare, ...] = MIX
    """what they are drawn from"""
    life: StreetLife = field(default_factory=StreetLife)
    seconds: float = 24.0
    """s, of each"""
    seed: int = 1_000_000
    """of the first scenario; each has the next one"""
    judge_seed: int = 2_000_000
    """of the first one that judges"""
    maps: int = 8
    """generated maps of each family that take turns; 0: each scenario has its own"""

    def __post_init__(self) -> None:
        if self.worlds < 1 or self.judges < 0 or self.maps < 0:
            raise RoadloopError(
                f"worlds is {self.worlds}, judges {self.judges}, maps {self.maps}: expected 1 or "
                "more worlds, 0 or more judges and maps"
            )
        spans = [(self.seed, self.worlds), (self.judge_seed, self.judges)]
        if min(self.seed, self.judge_seed) < LEAST_SEED:
            raise RoadloopError(
                f"seed is {self.seed}, judge_seed {self.judge_seed}: below {LEAST_SEED} they are "
                "for evaluation"
            )
        (a, some), (b, others) = sorted(spans)
        if a + some > b and others:
            raise RoadloopError(
                f"seeds {a} to {a + some - 1} and {b} to {b + others - 1} overlap: what judges "
                "must not be learnt from"
            )
        if not 0.0 < self.seconds < math.inf:
            raise RoadloopError(f"seconds is {self.seconds}: it must be above 0")
        if not self.scenes:
            raise RoadloopError("scenes is empty: name what is to be simulated")


@dataclass(frozen=True)
class ForecastData:
    """Drives to learn from: motions in files, see ``python -m training.forecast_samples --help``.

    Either folders of them, or traffic that is simulated into ``made`` before it learns.
    """

    folders: tuple[Path, ...] = ()
    """of motions to learn from"""
    validation: tuple[Path, ...] = ()
    """of motions that judge; none: nothing judges"""
    simulated: SimulatedTraffic | None = None
    """worlds to simulate, beside the folders or alone"""
    made: Path | None = None
    """folder for their motions, which other runs may share; empty: in the run's own"""
    moments: int = 4000
    """of an epoch, each with up to ``model.agents`` road users"""
    judged: int = 400
    """moments that judge, the same ones every time"""
    augmentation: ForecastAugmentation = field(default_factory=ForecastAugmentation)

    def __post_init__(self) -> None:
        for name in ("moments", "judged"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")


@dataclass(frozen=True)
class ForecasterTraining:
    """A training run. Defaults: the compact forecaster on a CPU."""

    model: ForecastConfig = field(default_factory=ForecastConfig)
    data: ForecastData = field(default_factory=ForecastData)
    loss: ForecastLoss = field(default_factory=ForecastLoss)

    epochs: float = 6.0
    """passes over ``data.moments``"""
    batch: int = 8
    """moments per step and process"""
    learning_rate: float = 2e-3
    """of AdamW, at most"""
    weight_decay: float = 0.01
    warmup: float = 0.05
    """share of the run in which the learning rate rises"""
    ema: float = 0.998
    """how much of the averaged weights stays in each step; they are what is judged and kept"""
    clip: float = 5.0
    """gradients are scaled down to this norm"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: for GPUs"""

    init: str = ""
    """a forecaster to start from (fine-tuning): .safetensors, or the folder of a run"""
    seed: int = 1
    """same seed, same machine, same run"""
    device: str = "auto"
    """auto: cuda where there is one, else cpu"""
    workers: int = 1
    """processes that read data, and simulate it before, for each that trains; 0: itself"""
    threads: int = 0
    """of PyTorch on the CPU, in each process; 0: the cores shared evenly"""

    validate_every: int = 500
    """steps"""
    best: Literal["min_ade", "loss"] = "min_ade"
    """what decides which weights are the best"""
    patience: int = 0
    """validations without a better one after which the run ends; 0: it does not"""
    checkpoint_every: int = 250
    """steps"""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate", "clip", "validate_every",
                     "checkpoint_every"):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("workers", "threads", "patience", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("warmup", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be in [0, 1)")
