"""How a detector is trained: the classes behind ``configs/detector_*.yaml``.

``docs/training-detector.md`` shows them at work; ``python -m training.train_detector --help`` and
``roadloop train --help`` say how a run is started.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perception.detector_config import DetectorConfig
from perception.detector_loss import LossWeights
from roadloop.errors import RoadloopError
from training.clip_augment import Augmentation
from training.simulated_data import SimulatedData


@dataclass(frozen=True)
class DetectorData:
    """Recorded drives, and what becomes of them on the way into the network."""

    folders: tuple[Path, ...] = ()
    """of data sets or single drives, any format that docs/data.md lists"""
    drives: str = ""
    """of all folders: names with commas between them, * and ? as in a shell; empty: all"""
    validation: tuple[Path, ...] = ()
    """folders of drives that only judge; none: nothing judges"""
    validation_drives: str = ""
    simulated: SimulatedData | None = None
    """drives that are simulated while it learns, beside those of the folders or alone"""
    format: str = "auto"
    moments: int = 3
    """of a clip, ``model.state_age`` apart"""
    keep: int = 0
    """clips of the folders that stay in memory in each process that reads, about 1 MB a moment: for
    a few large pictures that are seen often"""
    augmentation: Augmentation = field(default_factory=Augmentation)
    balance: Literal["none", "class"] = "none"
    """which recorded clips are seen more often: class: with rare classes"""

    def __post_init__(self) -> None:
        if self.moments < 1:
            raise RoadloopError(f"moments is {self.moments}: a clip has 1 or more")
        if self.keep < 0:
            raise RoadloopError(f"keep is {self.keep}: it must be 0 or more")
        if self.balance != "none" and not self.folders:
            raise RoadloopError(
                f"balance {self.balance} is of recorded drives: name folders, or leave it out"
            )


@dataclass(frozen=True)
class DetectorTraining:
    """A training run. Defaults: the compact detector on a CPU."""

    model: DetectorConfig = field(default_factory=DetectorConfig)
    data: DetectorData = field(default_factory=DetectorData)
    loss: LossWeights = field(default_factory=LossWeights)

    epochs: float = 10.0
    """passes over the data"""
    samples: int = 0
    """clips to learn from, over all processes; 0: ``epochs`` says"""
    batch: int = 4
    """clips per step and process"""
    alone: float = 0.7
    """share of the run, its first, that learns from single moments, two in the place of a clip"""
    learning_rate: float = 3e-3
    """of AdamW, at most"""
    weight_decay: float = 0.02
    warmup: float = 0.03
    """share of the run in which the learning rate rises"""
    ema: float = 0.998
    """how much of the averaged weights stays in each step; they are what is judged and kept"""
    clip: float = 5.0
    """gradients are scaled down to this norm"""
    drop_state: float = 0.2
    """probability that a moment is seen without the memory of the one before"""
    uncertain: float = 0.5
    """share that the Gaussian likelihood of boxes takes of their L1 loss in the end ..."""
    uncertain_between: tuple[float, float] = (0.3, 0.5)
    """... and shares of the run between which it grows from 0"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: half the memory; quicker on GPUs, and on CPUs with AMX or AVX-512 bf16"""

    init: str = ""
    """a detector to start from (fine-tuning): .safetensors, or the folder of a run; it may have
    fewer sensors or others (LiDAR, radar): those that are new are learnt"""
    pretrained: str = ""
    """weights of the backbone: a local .safetensors, or timm, which asks the hub"""
    freeze: tuple[str, ...] = ()
    """stages that do not learn: pictures, pictures.backbone, trunk, objects ..."""

    seed: int = 1
    """same seed, same machine, same run"""
    device: str = "auto"
    """auto: cuda where there is one, else cpu"""
    workers: int = 1
    """processes that read data, for each that trains; 0: itself"""
    threads: int = 0
    """of PyTorch on the CPU, in each process; 0: the cores shared evenly"""

    validate_every: int = 500
    """steps"""
    validation_clips: int = 64
    """how many judge while it trains, evenly over the validation drives"""
    best: Literal["vehicle_iou", "loss"] = "vehicle_iou"
    """what decides which weights are the best"""
    patience: int = 0
    """validations without a better one after which the run ends; 0: it does not"""
    checkpoint_every: int = 250
    """steps"""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "learning_rate", "clip", "validate_every", "validation_clips",
                     "checkpoint_every"):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("samples", "workers", "threads", "patience", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("alone", "warmup", "ema", "drop_state", "uncertain"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be in [0, 1)")
        if not 0.0 <= self.uncertain_between[0] < self.uncertain_between[1] <= 1.0:
            raise RoadloopError(
                f"uncertain_between is {self.uncertain_between}: expected two growing shares"
            )
        if not (self.samples or 0.0 < self.epochs < math.inf):
            raise RoadloopError(f"epochs is {self.epochs}: it must be above 0")
        if self.init and self.pretrained:
            raise RoadloopError("init holds a backbone already: give init or pretrained")
