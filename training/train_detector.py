"""The detector's training in one file: python -m training.train_detector --help.

Clips of a few moments go through the network one moment after the other; it hands its state on, as
when driving. Everything random is drawn from (seed, rank, step), the order of clips from (seed,
epoch): a run that was stopped and taken up again writes the same bytes as one that never was, on a
CPU with the same number of processes and threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from perception.checkpoint import KIND, WEIGHTS, check_weights, load_detector_weights
from perception.detector_config import ObjectClass, RasterLayer
from perception.network import DetectorNetwork, with_sensors
from perception.raster_map import RasterScore
from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import dump_config, unknown
from roadloop.errors import RoadloopError
from training.checkpoint import (
    drop_checkpoints,
    newest_checkpoint,
    prepare_run,
    publish,
)
from training.clip_augment import ClipAugment
from training.clip_loss import Clip, ClipLoss, drives_of, moment, placed
from training.data import DataTimer, make_loader
from training.detector_sources import Some, described, open_clips
from training.detector_training import DetectorTraining
from training.feed import ClipSources, Feed
from training.optim import Average, adamw
from training.pictures import draw_curve, moment_picture
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

PROG = "python -m training.train_detector"
LINE = 50
"""steps between two lines about time"""


@dataclass(frozen=True)
class TrainDetector:
    """Train a detector on recorded drives, on a laptop's CPU or on GPUs.

    DIR then holds detector.safetensors (the best weights by validation, averaged), progress.csv,
    validation.csv, curve.png, TensorBoard's scalars and pictures, and checkpoints. Ctrl-C ends
    after the running step and saves; --resume goes on, with the same outcome as without the break.

    Example: python -m training.train_detector --config detector_compact --out runs/compact

    Other data and numbers: python -m training.train_detector --config detector_compact
    --out runs/mine --set data.folders=[runs/data] --set learning_rate=1e-3

    Fine-tuning: python -m training.train_detector --config detector_compact --out runs/tuned
    --set init=runs/compact --set freeze=[pictures] --set epochs=2

    Two processes: torchrun --nproc-per-node 2 -m training.train_detector
    --config detector_compact --out runs/compact
    """

    out: Path
    """folder of the run"""
    config: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """a run file by name (detector_compact, detector_full) or path; docs/training-detector.md"""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """a value of it, e.g. batch=8 or model.channels=64; may be repeated"""
    resume: bool = False
    """go on with the run DIR holds, from its last checkpoint"""
    overwrite: bool = False
    """replace the run DIR holds"""

    def run(self) -> int:
        """Train; the exit status."""
        return train(self.training(), self.out, resume=self.resume, overwrite=self.overwrite)

    def training(self) -> DetectorTraining:
        """The whole configuration; see `training.supervised.run_config`."""
        return run_config(DetectorTraining, self.out, self.config, self.set, resume=self.resume)


# --- learning -----------------------------------------------------------------------------------


def learn(
    loss: nn.Module,
    optimiser: torch.optim.Optimizer,
    clip: Clip,
    config: DetectorTraining,
    step: int,
    steps: int,
    team: Team,
) -> dict[str, float]:
    """One gradient step; the terms over all processes, the gradient's norm, the learning rate.

    Raises RoadloopError, in every process, where a term or the gradient is not finite.
    """
    random = team.generator(config.seed, step)
    torch.manual_seed(random.initial_seed())  # for layers that draw numbers, like stochastic depth
    dropped = torch.rand(clip["moment_valid"].shape, generator=random) < config.drop_state
    terms, _ = loss(clip, uncertain_at(config, step / steps), dropped)
    return gradient_step(
        terms, optimiser, config, step, steps, team,
        lambda: f"clips from {', '.join(drives_of(clip))}",
    )  # fmt: skip


def uncertain_at(config: DetectorTraining, progress: float) -> float:
    """How much the boxes' likelihood counts at a share of the run."""
    begin, end = config.uncertain_between
    return config.uncertain * min(max((progress - begin) / (end - begin), 0.0), 1.0)


@torch.no_grad()
def validate(
    loss: ClipLoss, loader: Any, config: DetectorTraining, team: Team
) -> tuple[dict[str, float], np.ndarray | None]:
    """``loss`` (mean of the terms' sum over clips) and IoU by layer, and a picture.

    The picture (None where this process has no clip) shows the last moment of the first clip.
    """
    loss.eval()
    score, picture = RasterScore(config.model.grid), None
    total = np.zeros(2)
    for batch in loader:
        clip = placed(batch, team.device)
        terms, outputs = loss(clip, config.uncertain)
        rows = len(clip["moment_valid"])
        total += [rows * float(terms["total"]), rows]
        frame = moment(clip, -1)
        found = outputs["raster"].float().sigmoid().cpu().numpy()
        truth, weight = (frame[k].cpu().numpy() for k in ("raster", "raster_weight"))
        score.add(found, truth, weight)
        if picture is None:
            front = frame["images"][0, 0].permute(1, 2, 0).cpu().numpy()
            picture = moment_picture(front, found[0], truth[0], weight[0].any(0))
    total = team.sum(total)
    score.counts = team.sum(score.counts.astype(np.float64)).astype(np.int64)
    result = score.result()
    ious = {layer.name.lower(): result[layer.name.lower()]["iou"]["all"] for layer in RasterLayer}
    values = {f"{name}_iou": math.nan if iou is None else iou for name, iou in ious.items()}
    return {"loss": float(total[0] / total[1]), **values}, picture


# --- the run ------------------------------------------------------------------------------------


def train(
    config: DetectorTraining,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    sources: ClipSources | None = None,
) -> int:
    """Train as asked for; 0, or 130 where it was interrupted.

    Args:
        out: folder of the run.
        sources: of clips; by default what ``config.data`` says.

    Raises:
        RoadloopError: a mistake in what was asked for, data that does not fit, a loss that is not
            finite.
    """
    device = device_of(config.device)
    share_threads(config.threads)
    with join_team(device) as team:
        return _train(
            config, out, resume, overwrite, sources, dataclasses.replace(team, device=device)
        )


def _train(
    config: DetectorTraining,
    out: Path,
    resume: bool,
    overwrite: bool,
    sources: ClipSources | None,
    team: Team,
) -> int:
    network = make_network(config).to(team.device)
    if team.device != "cpu":  # where it costs a tenth
        network = network.to(memory_format=torch.channels_last)
    sources = sources or open_clips(config)
    load = partial(
        make_loader, seed=config.seed, workers=config.workers, pin_memory=team.device != "cpu",
        transform=ClipAugment(config.model, config.data.augmentation),
    )  # fmt: skip
    judges = sources.judge and make_loader(
        Some(sources.judge, config.validation_clips),
        config.batch,
        shuffle=False,
        workers=min(config.workers, 1),
        pin_memory=team.device != "cpu",
    )
    clips = config.batch * team.size
    passes = config.epochs * (len(sources.clips) // clips)
    steps = math.ceil(config.samples / clips) or max(round(passes), 1)
    feed = Feed(sources, config.batch, round(config.alone * steps), load)
    optimiser = adamw(network, config.learning_rate, config.weight_decay)
    average, at = Average(network, config.ema), Progress()
    if resume:
        at, fed = restore(newest_checkpoint(out), WEIGHTS, network, average, optimiser)
        feed.resume(at.step, fed)
    elif team.rank == 0:
        prepare_run(out, CONFIG, dump_config(config), overwrite=overwrite)
    judging = ClipLoss(average.network, config)
    loss: nn.Module = ClipLoss(network, config)
    if team.size > 1:
        loss = DistributedDataParallel(loss, find_unused_parameters=True)
    folder = out if team.rank == 0 else None
    say = line_writer(folder)
    timer = DataTimer(feed, LINE, write=say)
    record = Record(folder, steps, at.step, clips, config.tensorboard, unit="step",
                    count="samples", group="train", headline=("total", ".2f"))  # fmt: skip
    first, ended = True, at.step >= steps or 0 < config.patience <= at.waited
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
            shown = speed(timer, clips)
            if first:
                check_shapes(batch, network)
                first = False
            values = learn(loss, optimiser, batch, config, at.step, steps, team)
            at.step += 1
            average.update(network, at.step)
            record.add(at.step, values, shown)
            is_best = False
            if judges and (at.step % config.validate_every == 0 or at.step == steps):
                at.metrics, picture = validate(judging, judges, config, team)
                is_best = at.judge(
                    at.metrics[config.best] * (-1.0 if config.best == "loss" else 1.0)
                )
                if table is not None:
                    table.add({"step": at.step, "samples": at.step * clips}, at.metrics)
                    record.scalars("validation", at.step, at.metrics)
                    if picture is not None:
                        record.picture("validation/raster", at.step, picture)
                    say(f"step {at.step}: {metrics_line(at.metrics)}{', the best' * is_best}")
            stop.asked = bool(team.sum(np.array([float(stop.asked)]))[0])
            ended = at.step == steps or 0 < config.patience <= at.waited
            due = is_best or ended or stop.asked or at.step % config.checkpoint_every == 0
            if due and folder:
                about = {"samples": at.step * clips, "data": described(config, sources)}
                made = save(folder, WEIGHTS, KIND, config, at, network, average, optimiser,
                            feed.state(), about)  # fmt: skip
                if is_best or at.best is None:
                    publish(made, WEIGHTS, folder)
                drop_checkpoints(folder, KEPT)
                draw_curve(folder)
    if folder and ended:
        print(folder / WEIGHTS)
    elif folder:
        print(f"stopped after step {at.step} of {steps}: --resume goes on", file=sys.stderr)
    return 0 if ended else INTERRUPTED


def make_network(config: DetectorTraining) -> DetectorNetwork:
    """The network with its first weights, by ``seed``, ``pretrained`` or ``init``, and stages
    frozen. Raises RoadloopError for weights that do not fit and stages that do not exist."""
    torch.manual_seed(config.seed)
    network = DetectorNetwork(config.model)
    if config.pretrained:
        network.pictures.backbone.load_pretrained(config.pretrained)
    if config.init:
        had, weights, _ = load_detector_weights(config.init)
        weights = with_sensors(weights, had, config.model)
        check_weights(config.init, weights, network.state_dict())
        network.load_state_dict(weights)
    stages = {name: module for name, module in network.named_modules() if name}
    for name in config.freeze:
        if name not in stages:
            known = [stage for stage in stages if stage.count(".") < 2]
            raise RoadloopError(f"freeze: {unknown('stage', name, known)}")
        stages[name].requires_grad_(False)
        stages[name].eval()  # nor do the statistics of its normalisations change
    if not any(p.requires_grad for p in network.parameters()):
        raise RoadloopError(f"freeze: {', '.join(config.freeze)} is all there is; nothing learns")
    return network


def check_shapes(clip: Clip, network: DetectorNetwork) -> None:
    """Raises RoadloopError where a batch is not what the network was made for."""
    config = network.config
    width, height = config.size
    wanted = {
        "images": (len(network.cameras), 3, height, width),
        "heat": (len(ObjectClass), *config.grid.shape),
    }
    for key, shape in wanted.items():
        if tuple(clip[key].shape[2:]) != shape:
            raise RoadloopError(
                f"{key} of clips from {drives_of(clip)[0]} are {tuple(clip[key].shape[2:])}, the "
                f"network's {shape}: use model.size, model.rig and model.grid that the data has"
            )


def speed(timer: DataTimer, clips: int) -> dict[str, float]:
    """Share of the time spent waiting for data, and clips per second, since the last line."""
    steps, seconds = timer.steps % timer.every, timer.data + timer.compute
    if not steps or seconds <= 0.0:
        return {}
    return {"waiting": timer.data / seconds, "samples_per_s": clips * steps / seconds}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    given = sys.argv[1:] if words is None else words
    return run_script(
        "train_detector", lambda: parse(TrainDetector, "train_detector", given, prog=PROG).run()
    )


if __name__ == "__main__":
    sys.exit(main())
