"""The learned planner's training in one file: python -m training.train_planner --help.

Rounds of drives and lessons (DAgger): somebody drives, the rule planner labels what was met, and
the network learns from all of it; in the next round it drives more itself. Everything random is
drawn from (seed, round, pass), every drive from its own seed: a run that was stopped and taken up
again writes the same bytes as one that never was, on a CPU with the same number of threads.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from planning.learned_engine import NETWORK
from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import dump_config
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar
from training.checkpoint import drop_checkpoints, newest_checkpoint, prepare_run, publish
from training.optim import Average, adamw
from training.planner_batches import batch_of, loss_terms, measures, order
from training.planner_drives import jobs_of, make_drives, read_drives
from training.planner_export import export_planner
from training.planner_network import PlannerNetwork
from training.planner_score import network_engine, score_pupil
from training.planner_training import PlannerTraining
from training.record import Record, StopSignal, Table
from training.script import run_script
from training.supervised import (
    CONFIG,
    KEPT,
    Progress,
    device_of,
    gradient_step,
    line_writer,
    metrics_line,
    restore,
    run_config,
    save,
)
from training.team import Team, share_threads

Array = np.ndarray

PROG = "python -m training.train_planner"
WEIGHTS, KIND = "planner.safetensors", "planner"
ROUNDS, DRIVES = "rounds.csv", "drives"
JUDGED = 256
"""moments judged at once"""


@dataclass(frozen=True)
class TrainPlanner:
    """Train a planner that learns from the rule planner, in the simulator.

    DIR then holds planner.onnx (which drives: --driver learned:DIR), planner.safetensors,
    rounds.csv (what each round came to), progress.csv, TensorBoard's scalars, checkpoints, and the
    drives. Ctrl-C ends after the running step or drive and saves; --resume goes on, with the same
    outcome as without the break.

    Example: python -m training.train_planner --config planner_compact --out runs/planner
    """

    out: Path
    """folder of the run"""
    config: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """a run file by name (planner_compact) or path"""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """a value of it, e.g. batch=16 or model.width=32; may be repeated"""
    resume: bool = False
    """go on with the run DIR holds, from its last checkpoint"""
    overwrite: bool = False
    """replace the run DIR holds"""

    def run(self) -> int:
        """Train; the exit status."""
        config = run_config(PlannerTraining, self.out, self.config, self.set, resume=self.resume)
        return train(config, self.out, resume=self.resume, overwrite=self.overwrite)


def train(
    config: PlannerTraining, out: Path, *, resume: bool = False, overwrite: bool = False
) -> int:
    """Train as asked for; 0, or 130 where it was interrupted.

    Raises RoadloopError for a mistake in what was asked for, and a loss that is not finite.
    """
    from roadloop.terminal import start_warp

    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RoadloopError(f"a planner needs {missing[0]}: pip install 'roadloop[train,onnx]'")
    device = device_of(config.device)
    share_threads(config.threads)
    start_warp()
    if not resume:
        prepare_run(out, CONFIG, dump_config(config), overwrite=overwrite)
    school = School(config, out, device)
    if resume and any(out.glob("checkpoints/[0-9]*")):
        school.go_on()
    with StopSignal() as stop:
        finished = school.run(stop)
    if finished:
        print(out / NETWORK)
        return 0
    print(f"stopped in round {school.round + 1}: --resume goes on", file=sys.stderr)
    return INTERRUPTED


class School:
    """A run: the network, how far it is, and its rounds."""

    def __init__(self, config: PlannerTraining, out: Path, device: str) -> None:
        torch.manual_seed(config.seed)
        self.config, self.out, self.device = config, out, device
        self.network = PlannerNetwork(config.model).to(device)
        self.optimiser = adamw(self.network, config.learning_rate, config.weight_decay)
        self.average = Average(self.network, config.ema)
        self.at, self.round, self.step, self.moments = Progress(), 0, 0, 0
        self.drives = config.data.made or out / DRIVES
        self.say = line_writer(out)

    def go_on(self) -> None:
        """From the run's last checkpoint."""
        last = newest_checkpoint(self.out)
        self.at, fed = restore(last, WEIGHTS, self.network, self.average, self.optimiser)
        self.round, self.step = int(fed["round"]), int(fed["step"])

    def run(self, stop: StopSignal) -> bool:
        """All rounds that are left; False where it was asked to stop before."""
        rounds = len(self.config.rounds)
        if not self._drive(-1, stop):
            return False
        judges = self._read(range(-1, 0)) if self.config.data.judges else None
        while self.round < rounds:
            if not self._drive(self.round, stop):
                return False
            if not self._learn(self._read(range(self.round + 1)), stop):
                return False
            self._end_round(judges)
        return True

    def _drive(self, number: int, stop: StopSignal) -> bool:
        """Make the drives of a round that are not there yet."""
        c = self.config
        jobs = [j for j in jobs_of(self.drives, c.data, c.rounds, number) if not j.file.is_file()]
        title = "drives that judge" if number < 0 else f"drives of round {number + 1}"
        pupil = self.out / NETWORK if number > 0 else None  # as the last round left it
        with contextlib.closing(progress_bar(title, "drive", len(jobs), quiet=False)) as bar:

            def ended() -> bool:
                bar.update(1)
                return stop.asked

            if not jobs:
                return not stop.asked
            return make_drives(jobs, c.model, c.data, pupil, c.workers, ended)

    def _read(self, numbers: range) -> dict[str, Array]:
        c = self.config
        jobs = [job for k in numbers for job in jobs_of(self.drives, c.data, c.rounds, k)]
        return read_drives([job.file for job in jobs], c.model)

    def _learn(self, data: Mapping[str, Array], stop: StopSignal) -> bool:
        """The steps of a round that are left."""
        c, moments = self.config, len(data["apart"])
        turns = max(moments // c.batch, 1)
        steps = max(round(c.rounds[self.round].passes * turns), 1)
        base = self.at.step - self.step
        record = Record(self.out, base + steps, self.at.step, c.batch, c.tensorboard, unit="step",
                        count="samples", group="train", headline=("total", ".3f"))  # fmt: skip
        with record:
            while self.step < steps:
                turn, k = divmod(self.step, turns)
                rows = order(moments, c.seed, self.round, turn)[k * c.batch : (k + 1) * c.batch]
                rng = np.random.default_rng([c.seed, self.round, self.step])
                batch = batch_of(data, np.sort(rows), self.device, c.loss, rng)
                terms = loss_terms(self.network(batch), batch, c.loss)
                values = gradient_step(
                    terms, self.optimiser, c, self.step, steps, Team(device=self.device),
                    lambda: f"round {self.round + 1}",
                )  # fmt: skip
                self.step, self.at.step = self.step + 1, self.at.step + 1
                self.average.update(self.network, self.at.step)
                record.add(self.at.step, values)
                if stop.asked and self.step < steps:
                    self._save()
                    return False
                if self.step % c.checkpoint_every == 0 and self.step < steps:
                    self._save()
        self.moments = moments
        return True

    def _end_round(self, judges: Mapping[str, Array] | None) -> None:
        """Judge, write a row of `ROUNDS`, the checkpoint, and the network that drives."""
        c, done = self.config, self.round
        said = validate(self.average.network, judges, c, self.device) if judges else {}
        engine = network_engine(self.average.network)
        scores = score_pupil(engine, c.model, c.data, self.say) if c.data.scored else {}
        table = Table(self.out / ROUNDS, done)
        plan = c.rounds[done]
        table.add(
            {"round": done + 1, "moments": self.moments, "steps": self.at.step},
            {"teacher": plan.teacher, "chance": plan.chance, **said, **scores},
        )
        table.close()
        self.at.metrics = {**said, **scores}
        self.say(f"round {done + 1}, {self.moments} moments: {metrics_line(self.at.metrics)}")
        self.round, self.step = done + 1, 0
        # before the checkpoint: the next round's drives are this network's
        export_planner(self.average.network, self.out / NETWORK, f"{self.out.name}-{self.at.step}")
        publish(self._save(), WEIGHTS, self.out)

    def _save(self) -> Path:
        fed = {"round": self.round, "step": self.step}
        about = {"rounds": self.round}
        made = save(self.out, WEIGHTS, KIND, self.config, self.at, self.network, self.average,
                    self.optimiser, fed, about)  # fmt: skip
        drop_checkpoints(self.out, KEPT)
        return made


@torch.no_grad()
def validate(
    network: PlannerNetwork, data: Mapping[str, Array], config: PlannerTraining, device: str
) -> dict[str, float]:
    """Mean ``loss``, ``agrees`` and ``apart`` over moments of the teacher's drives."""
    sums: dict[str, float] = {}
    moments = len(data["apart"])
    for first in range(0, moments, JUDGED):
        rows = np.arange(first, min(first + JUDGED, moments))
        batch = batch_of(data, rows, device)
        outputs = network(batch)
        found = {name: float(v.sum()) for name, v in measures(outputs, batch).items()}
        terms = loss_terms(outputs, batch, config.loss)
        found["loss"] = float(terms["total"]) * len(rows)
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / moments for name, value in sorted(sums.items())}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    given = sys.argv[1:] if words is None else words
    return run_script(
        "train_planner",
        lambda: parse(TrainPlanner, "train_planner", given, prog=PROG).run(),
    )


if __name__ == "__main__":
    sys.exit(main())
