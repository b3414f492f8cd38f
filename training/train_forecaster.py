"""The forecaster's training in one file: python -m training.train_forecaster --help.

Moments of drives go through the network, all their road users together. Everything random is drawn
from (seed, rank, step), moments and what is wrong with them from (seed, epoch): a run that was
stopped and taken up again writes the same bytes as one that never was, on a CPU with the same
number of processes and threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from perception.checkpoint import check_weights
from perception.forecast_checkpoint import KIND, WEIGHTS, load_forecaster_weights
from perception.forecast_loss import ForecastLoss
from perception.forecast_network import ForecastNetwork
from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import dump_config
from training.checkpoint import (
    drop_checkpoints,
    newest_checkpoint,
    prepare_run,
    publish,
)
from training.data import DataTimer, Loader
from training.forecast_loaders import endless, find_motions, make_motions, open_loaders, placed
from training.forecast_score import ForecastScore
from training.forecast_training import ForecasterTraining
from training.optim import Average, adamw
from training.pictures import draw_curve
from training.record import Record, StopSignal, Table
from training.script import run_script
from training.supervised import (
    CONFIG,
    KEPT,
    VALIDATION,
    Progress,
    device_of,
    gradient_step,
    line_writer,
    metrics_line,
    restore,
    run_config,
    save,
)
from training.team import Team, join_team, share_threads

PROG = "python -m training.train_forecaster"
LINE = 100
"""steps between two lines about time"""


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
        """The whole configuration; see `training.supervised.run_config`."""
        return run_config(ForecasterTraining, self.out, self.config, self.set, resume=self.resume)


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
    terms, _ = judged(batch, step / steps)
    return gradient_step(
        terms, optimiser, config, step, steps, team,
        lambda: ", ".join(sorted(set(batch["drive"]))),
    )  # fmt: skip


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
    device = device_of(config.device)
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
        at, fed = restore(last, WEIGHTS, network, average, optimiser)
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
                is_best = at.judge(-at.metrics[config.best])
                if table is not None:
                    table.add({"step": at.step, "samples": at.step * moments}, at.metrics)
                    record.scalars("validation", at.step, at.metrics)
                    say(f"step {at.step}: {metrics_line(at.metrics)}{', the best' * is_best}")
            stop.asked = bool(team.sum(np.array([float(stop.asked)]))[0])
            ended = at.step == steps or 0 < config.patience <= at.waited
            due = is_best or ended or stop.asked or at.step % config.checkpoint_every == 0
            if due and folder:
                header = {"samples": at.step * moments, "data": about}
                made = save(folder, WEIGHTS, KIND, config, at, network, average, optimiser,
                            loader.state_dict(), header)  # fmt: skip
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


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    given = sys.argv[1:] if words is None else words
    return run_script(
        "train_forecaster",
        lambda: parse(TrainForecaster, "train_forecaster", given, prog=PROG).run(),
    )


if __name__ == "__main__":
    sys.exit(main())
