"""The forecaster's training in one file: python -m training.train_forecaster --help.

Moments of drives go through the network, all their road users together. Everything random is drawn
from (seed, rank, step), moments and what is wrong with them from (seed, epoch): a run that was
stopped and taken up again writes the same bytes as one that never was, on a CPU with the same
number of processes and threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from perception.checkpoint import FORMAT, check_weights
from perception.forecast_checkpoint import KIND, WEIGHTS, load_forecaster_weights
from perception.forecast_loss import ForecastLoss
from perception.forecast_network import ForecastNetwork
from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import dump_config, find_config, load_config
from roadloop.doctor import TOP_LEVEL
from roadloop.errors import RoadloopError
from training.checkpoint import (
    OPTIMISER,
    drop_checkpoints,
    load_checkpoint,
    load_optimiser,
    newest_checkpoint,
    optimiser_tensors,
    prepare_run,
    publish,
    save_checkpoint,
)
from training.data import DataTimer, Loader
from training.forecast_loaders import endless, find_motions, make_motions, open_loaders, placed
from training.forecast_score import ForecastScore
from training.forecast_training import ForecasterTraining
from training.optim import Average, adamw, learning_rate
from training.pictures import draw_curve
from training.record import Record, StopSignal, Table
from training.team import Team, join_team, share_threads

PROG = "python -m training.train_forecaster"
CONFIG, VALIDATION = "config.yaml", "validation.csv"
RAW = "weights.safetensors"
"""the weights as they are, not averaged: a run goes on from these"""
KEPT = 2
"""newest checkpoints that are kept"""
LINE = 100
"""steps between two lines about time"""
FREE = ("workers", "threads", "tensorboard")
"""what may differ when a run is resumed: it changes no number"""


@dataclass(frozen=True)
class TrainForecaster:
    """Train a forecaster of road users, on simulated traffic or recorded drives.

    DIR then holds forecaster.safetensors (the best weights by validation, averaged), progress.csv,
    validation.csv, curve.png, TensorBoard's scalars, checkpoints, and the motions that were
    simulated. Ctrl-C ends after the running step and saves; --resume goes on, with the same outcome
    as without the break.

    Example: python -m training.train_forecaster --config forecaster_compact --out runs/forecaster

    Own drives: python -m training.forecast_samples --log data/av2 --out runs/motions, then
    python -m training.train_forecaster --config forecaster_compact --out runs/mine
    --set data.simulated=null --set data.folders=[runs/motions]

    Two processes: torchrun --nproc-per-node 2 -m training.train_forecaster
    --config forecaster_compact --out runs/forecaster
    """

    out: Path
    """folder of the run"""
    config: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """a run file by name (forecaster_compact, forecaster_full) or path"""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """a value of it, e.g. batch=16 or model.width=64; may be repeated"""
    resume: bool = False
    """go on with the run DIR holds, from its last checkpoint"""
    overwrite: bool = False
    """replace the run DIR holds"""

    def run(self) -> int:
        """Train; the exit status."""
        return train(self.training(), self.out, resume=self.resume, overwrite=self.overwrite)

    def training(self) -> ForecasterTraining:
        """The whole configuration; when resuming that of the run, which only `FREE` keys change."""
        if not self.resume:
            path = find_config(self.config) if self.config else None
            return load_config(ForecasterTraining, path, self.set)
        if not (self.out / CONFIG).is_file():
            raise RoadloopError(f"{self.out} holds no run to resume: start without --resume")
        had = load_config(ForecasterTraining, self.out / CONFIG)
        base = find_config(self.config) if self.config else self.out / CONFIG
        asked = load_config(ForecasterTraining, base, self.set)
        for field in dataclasses.fields(had):
            if field.name not in FREE and getattr(had, field.name) != getattr(asked, field.name):
                raise RoadloopError(
                    f"the run in {self.out} was made with another {field.name}: leave --config and "
                    "--set out to resume it, or start another run with init"
                )
        return asked


# --- learning -----------------------------------------------------------------------------------


class Judged(nn.Module):
    """The network and its loss in one module, as DistributedDataParallel wants it."""

    def __init__(self, network: ForecastNetwork, loss: ForecastLoss, bf16: bool) -> None:
        super().__init__()
        self.network, self.loss, self.bf16 = network, loss, bf16

    def forward(
        self, batch: Mapping[str, Tensor], progress: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Terms of the loss, and the outputs."""
        cast = torch.autocast(batch["history"].device.type, torch.bfloat16, enabled=self.bf16)
        with cast:
            outputs = self.network(batch)
        return self.loss.terms(outputs, batch, progress), outputs


def learn(
    judged: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Mapping[str, Any],
    config: ForecasterTraining,
    step: int,
    steps: int,
    team: Team,
) -> dict[str, float]:
    """One gradient step; the terms over all processes, the gradient's norm, the learning rate.

    Raises RoadloopError, in every process, where a term or the gradient is not finite.
    """
    rate = learning_rate(step, steps, config.learning_rate, config.warmup)
    for group in optimiser.param_groups:
        group["lr"] = rate
    terms, _ = judged(batch, step / steps)
    optimiser.zero_grad(set_to_none=True)
    terms["total"].backward()
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    gradient = nn.utils.clip_grad_norm_(learning, config.clip)
    mine = {**{k: float(v.detach()) for k, v in terms.items()}, "gradient": float(gradient)}
    mean = team.sum(np.array(list(mine.values()))) / team.size
    if not np.isfinite(mean).all():
        bad = [name for name, value in mine.items() if not math.isfinite(value)]
        own = f"{', '.join(bad)} of {', '.join(sorted(set(batch['drive'])))}" if bad else ""
        said = "; ".join(text for text in team.texts(own) if text)
        raise RoadloopError(
            f"step {step + 1}: not a finite number: {said}; the weights were not changed, the "
            "last checkpoint is kept: look at these drives, or lower learning_rate"
        )
    optimiser.step()
    return {**dict(zip(mine, mean.tolist())), "learning_rate": rate}


@torch.no_grad()
def validate(
    judged: Judged, loader: Loader, config: ForecasterTraining, team: Team
) -> dict[str, float]:
    """``loss`` and the measures of `ForecastScore`."""
    score = ForecastScore(config.model.step)
    for batch in loader:
        batch = placed(batch, team.device)
        terms, outputs = judged(batch, 1.0)
        score.add(outputs, batch, float(terms["total"]))
    return score.result(team)


# --- the run ------------------------------------------------------------------------------------


@dataclass
class Progress:
    """Where a run is, beside its tensors."""

    step: int = 0
    best: float | None = None
    """the value of ``config.best``, smaller is better"""
    best_step: int = 0
    waited: int = 0
    """validations since"""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """of the last validation"""

    def judge(self, config: ForecasterTraining) -> bool:
        """Whether the last validation is the best so far."""
        value = self.metrics[config.best]
        if value < (math.inf if self.best is None else self.best):  # never, where it is NaN
            self.best, self.best_step, self.waited = value, self.step, 0
            return True
        self.waited += 1
        return False


def train(
    config: ForecasterTraining, out: Path, *, resume: bool = False, overwrite: bool = False
) -> int:
    """Train as asked for; 0, or 130 where it was interrupted.

    Args:
        out: folder of the run.

    Raises:
        RoadloopError: a mistake in what was asked for, data that does not fit, a loss that is not
            finite.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RoadloopError(f'no device "{device}" here: use cpu or auto')
    share_threads(config.threads)
    with join_team(device) as team:
        return _train(config, out, resume, overwrite, dataclasses.replace(team, device=device))


def _train(config: ForecasterTraining, out: Path, resume: bool, overwrite: bool, team: Team) -> int:
    network = make_network(config).to(team.device)
    motions = find_motions(config, out)
    # a run may have been stopped while it simulated
    begun = resume and (any(out.glob("checkpoints/[0-9]*")) or not (out / CONFIG).is_file())
    last = newest_checkpoint(out) if begun else None
    if not resume and team.rank == 0:
        prepare_run(out, CONFIG, dump_config(config), overwrite=overwrite)
    team.texts("")  # the folder is there
    make_motions(motions, config, team)
    loader, judges, about = open_loaders(config, motions, team)
    moments = config.batch * team.size
    steps = max(round(config.epochs * (config.data.moments // moments)), 1)
    optimiser = adamw(network, config.learning_rate, config.weight_decay)
    average, at = Average(network, config.ema), Progress()
    if last is not None:
        at, fed = restore(last, network, average, optimiser)
        loader.load_state_dict(fed)
    bf16 = config.precision == "bf16"
    judging = Judged(average.network, config.loss, bf16)
    judged: nn.Module = Judged(network, config.loss, bf16)
    if team.size > 1:
        judged = DistributedDataParallel(judged)
    folder = out if team.rank == 0 else None
    say = line_writer(folder)
    timer = DataTimer(endless(loader), LINE, write=say)
    record = Record(folder, steps, at.step, moments, config.tensorboard, unit="step",
                    count="samples", group="train", headline=("total", ".2f"))  # fmt: skip
    ended = at.step >= steps
    with contextlib.ExitStack() as stack:
        # torchrun passes Ctrl-C on to processes that have it from the terminal already
        stop = stack.enter_context(StopSignal(insisting=team.size == 1))
        stack.enter_context(record)
        table = None
        if folder and judges:
            table = Table(folder / VALIDATION, at.step)
            stack.callback(table.close)
        batches = iter(timer)
        while not ended and not stop.asked:
            batch = placed(next(batches), team.device)
            values = learn(judged, optimiser, batch, config, at.step, steps, team)
            at.step += 1
            average.update(network, at.step)
            record.add(at.step, values)
            is_best = False
            if judges and (at.step % config.validate_every == 0 or at.step == steps):
                at.metrics = validate(judging, judges, config, team)
                is_best = at.judge(config)
                if table is not None:
                    table.add({"step": at.step, "samples": at.step * moments}, at.metrics)
                    record.scalars("validation", at.step, at.metrics)
                    say(f"step {at.step}: {metrics_line(at.metrics)}{', the best' * is_best}")
            stop.asked = bool(team.sum(np.array([float(stop.asked)]))[0])
            ended = at.step == steps or 0 < config.patience <= at.waited
            due = is_best or ended or stop.asked or at.step % config.checkpoint_every == 0
            if due and folder:
                made = save(folder, config, at, network, average, optimiser, loader, about)
                if is_best or at.best is None:
                    publish(made, WEIGHTS, folder)
                drop_checkpoints(folder, KEPT)
                draw_curve(folder)
    if folder and ended:
        print(folder / WEIGHTS)
    elif folder:
        print(f"stopped after step {at.step} of {steps}: --resume goes on", file=sys.stderr)
    return 0 if ended else INTERRUPTED


def make_network(config: ForecasterTraining) -> ForecastNetwork:
    """The network with its first weights, by ``seed`` or ``init``; RoadloopError where the latter
    do not fit."""
    torch.manual_seed(config.seed)
    network = ForecastNetwork(config.model)
    if config.init:
        _, weights, _ = load_forecaster_weights(config.init)
        check_weights(config.init, weights, network.state_dict())
        network.load_state_dict(weights)
    return network


def line_writer(folder: Path | None) -> Callable[[str], None]:
    """Prints a line above the progress bar; nothing where this process is not the first."""
    from tqdm import tqdm

    return lambda line: tqdm.write(line, file=sys.stderr) if folder else None


def metrics_line(metrics: Mapping[str, float]) -> str:
    """``loss 2.31, min ade 0.412`` ..., in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())


def save(
    folder: Path,
    config: ForecasterTraining,
    at: Progress,
    network: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    loader: Loader,
    about: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``at``; its folder."""
    import yaml

    training = yaml.safe_load(dump_config(config))
    metrics = {k: v if math.isfinite(v) else None for k, v in at.metrics.items()}
    metadata = {
        "format": FORMAT, "kind": KIND, "config": training.pop("model"), "step": at.step,
        "samples": at.step * loader.batch_size * loader.world_size, "training": training,
        "metrics": metrics, "seed": config.seed, "data": about,
    }  # fmt: skip
    tensors = {
        WEIGHTS: average.network.state_dict(),
        RAW: network.state_dict(),
        OPTIMISER: optimiser_tensors(optimiser, network),
    }
    state = {"progress": dataclasses.asdict(at), "loader": loader.state_dict()}
    return save_checkpoint(folder, at.step, tensors, state, metadata)


def restore(
    folder: Path,
    network: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, int]]:
    """Take a checkpoint; where the run was, and its loader."""
    tensors, state = load_checkpoint(folder, (WEIGHTS, RAW, OPTIMISER), network.state_dict())
    network.load_state_dict(tensors[RAW])
    average.network.load_state_dict(tensors[WEIGHTS])
    load_optimiser(optimiser, network, tensors[OPTIMISER])
    return Progress(**state["progress"]), state["loader"]


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    try:
        words = sys.argv[1:] if words is None else words
        return parse(TrainForecaster, "train_forecaster", words, prog=PROG).run()
    except RoadloopError as error:
        if os.environ.get("ROADLOOP_DEBUG") == "1":
            raise
        print(f"train_forecaster: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in TOP_LEVEL:
            raise  # a fault of ours, not of the installation
        print(f"train_forecaster: {error}: pip install 'roadloop[train]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train_forecaster: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as leaving:  # after --help
        return leaving.code if isinstance(leaving.code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
