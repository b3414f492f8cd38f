"""What trainings by examples share: a gradient step, how far a run is, its checkpoints, its lines.

What is learnt, from what, and how it is judged stands in the script of each (train_detector.py,
train_forecaster.py).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from perception.checkpoint import FORMAT
from roadloop.config import dump_config, find_config, load_config
from roadloop.errors import RoadloopError
from training.checkpoint import (
    OPTIMISER,
    load_checkpoint,
    load_optimiser,
    optimiser_tensors,
    save_checkpoint,
)
from training.optim import Average, learning_rate
from training.team import Team

CONFIG, VALIDATION = "config.yaml", "validation.csv"
RAW = "weights.safetensors"
"""the weights as they are, not averaged: a run goes on from these"""
KEPT = 2
"""newest checkpoints that are kept"""
FREE = ("workers", "threads", "tensorboard")
"""what may differ when a run is resumed: it changes no number"""

Config = TypeVar("Config")


class Learning(Protocol):
    """The numbers of a gradient step, of a run's configuration."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def warmup(self) -> float: ...

    @property
    def clip(self) -> float: ...


def run_config(
    kind: type[Config], out: Path, name: str, overrides: Sequence[str], *, resume: bool
) -> Config:
    """The whole configuration; when resuming that of the run, which only `FREE` keys change.

    Raises RoadloopError for mistakes in it, and where there is nothing to resume.
    """
    if not resume:
        return load_config(kind, find_config(name) if name else None, overrides)
    if not (out / CONFIG).is_file():
        raise RoadloopError(f"{out} holds no run to resume: start without --resume")
    had = load_config(kind, out / CONFIG)
    asked = load_config(kind, find_config(name) if name else out / CONFIG, overrides)
    for field in dataclasses.fields(had):  # type: ignore[arg-type]
        if field.name not in FREE and getattr(had, field.name) != getattr(asked, field.name):
            raise RoadloopError(
                f"the run in {out} was made with another {field.name}: leave --config and "
                "--set out to resume it, or start another run with init"
            )
    return asked


def device_of(asked: str) -> str:
    """``auto`` is cuda where there is one; RoadloopError where cuda is asked for and missing."""
    device = asked
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RoadloopError(f'no device "{device}" here: use cpu or auto')
    return device


def gradient_step(
    terms: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    config: Learning,
    step: int,
    steps: int,
    team: Team,
    seen: Callable[[], str],
) -> dict[str, float]:
    """Down the gradient of ``terms["total"]``; the terms over all processes, the gradient's norm,
    the learning rate.

    ``seen`` says in words what the terms are of. Raises RoadloopError, in every process, where a
    term or the gradient is not finite.
    """
    rate = learning_rate(step, steps, config.learning_rate, config.warmup)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    terms["total"].backward()
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    gradient = nn.utils.clip_grad_norm_(learning, config.clip)
    mine = {**{k: float(v.detach()) for k, v in terms.items()}, "gradient": float(gradient)}
    mean = team.sum(np.array(list(mine.values()))) / team.size
    if not np.isfinite(mean).all():
        bad = [name for name, value in mine.items() if not math.isfinite(value)]
        own = f"{', '.join(bad)} of {seen()}" if bad else ""
        said = "; ".join(text for text in team.texts(own) if text)
        raise RoadloopError(
            f"step {step + 1}: not a finite number: {said}; the weights were not changed, the "
            "last checkpoint is kept: look at these drives, or lower learning_rate"
        )
    optimiser.step()
    return {**dict(zip(mine, mean.tolist())), "learning_rate": rate}


@dataclass
class Progress:
    """Where a run is, beside its tensors."""

    step: int = 0
    best: float | None = None
    """what `judge` was given at the best validation"""
    best_step: int = 0
    waited: int = 0
    """validations since"""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """of the last validation"""

    def judge(self, value: float) -> bool:
        """Whether the last validation, worth ``value``, larger is better, is the best so far."""
        if math.isnan(value):
            return False  # nothing to judge by, which is neither better nor worse
        if self.best is None or value > self.best:
            self.best, self.best_step, self.waited = value, self.step, 0
            return True
        self.waited += 1
        return False


def save(
    folder: Path,
    weights: str,
    kind: str,
    config: Any,
    at: Progress,
    network: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    fed: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``at``; its folder.

    Args:
        weights, kind: file of the averaged weights, and what they are of (`perception.checkpoint`).
        fed: where its data is, for `restore`.
        about: more for the header.
    """
    import yaml

    training = yaml.safe_load(dump_config(config))
    metrics = {k: v if math.isfinite(v) else None for k, v in at.metrics.items()}
    metadata = {"format": FORMAT, "kind": kind, "config": training.pop("model"), "step": at.step,
                "training": training, "metrics": metrics, "seed": config.seed, **about}  # fmt: skip
    tensors = {
        weights: average.network.state_dict(),
        RAW: network.state_dict(),
        OPTIMISER: optimiser_tensors(optimiser, network),
    }
    state = {"progress": dataclasses.asdict(at), "loader": fed}
    return save_checkpoint(folder, at.step, tensors, state, metadata)


def restore(
    folder: Path,
    weights: str,
    network: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
) -> tuple[Progress, Any]:
    """Take a checkpoint; where the run was, and what `save` was given as ``fed``."""
    tensors, state = load_checkpoint(folder, (weights, RAW, OPTIMISER), network.state_dict())
    network.load_state_dict(tensors[RAW])
    average.network.load_state_dict(tensors[weights])
    load_optimiser(optimiser, network, tensors[OPTIMISER])
    return Progress(**state["progress"]), state["loader"]


def line_writer(folder: Path | None) -> Callable[[str], None]:
    """Prints a line above the progress bar; nothing where this process is not the first."""
    from tqdm import tqdm

    return lambda line: tqdm.write(line, file=sys.stderr) if folder else None


def metrics_line(metrics: Mapping[str, float]) -> str:
    """``loss 2.31, vehicle iou 0.412`` ..., in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())
