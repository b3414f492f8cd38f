"""What a forecaster's training is fed with: motions are found or made, moments of them loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from roadloop.errors import RoadloopError
from training.batches import Batch
from training.data import Loader, make_loader
from training.forecast_samples import JUDGE, LEARN, Job, claim, simulated_jobs, write_all
from training.forecast_scenes import ForecastArrays, ForecastScenes
from training.forecast_training import ForecasterTraining
from training.team import Team

MADE = "motions"
"""simulated drives, in the folder of the run"""


@dataclass(frozen=True)
class Motions:
    """Files of motions, some of which may have to be simulated first."""

    learnt: list[Path]
    judging: list[Path]
    made: Path
    """where simulated ones lie"""
    jobs: list[Job]
    """who simulates them"""


def find_motions(config: ForecasterTraining, out: Path) -> Motions:
    """What ``config.data`` names, for a run in ``out``; nothing is written.

    Raises RoadloopError where there is nothing, or the same drive is in both.
    """
    data = config.data
    made = data.made or out / MADE
    jobs = [] if data.simulated is None else simulated_jobs(config.model, data.simulated, made)
    if not data.folders and not jobs:
        raise RoadloopError(
            "data.folders is empty: name folders of motions (python -m training.forecast_samples "
            "makes them), or simulate: --set data.simulated={}"
        )
    learnt, judging = _files(data.folders), _files(data.validation)
    if both := {p.resolve() for p in learnt} & {p.resolve() for p in judging}:
        raise RoadloopError(f"{min(both)} is to be learnt from and to judge: give other folders")
    # a folder that several runs share may hold more
    learnt += [path for path, _ in jobs if path.parent.name == LEARN]
    judging += [path for path, _ in jobs if path.parent.name == JUDGE]
    return Motions(learnt, judging, made, jobs)


def make_motions(motions: Motions, config: ForecasterTraining, team: Team) -> None:
    """Simulate what is not there yet, shared among the processes that train together.

    Raises RoadloopError where there is traffic of other settings, or none can be written.
    """
    if config.data.simulated is None:
        return
    if team.rank == 0:
        claim(motions.made, config.model, config.data.simulated)
    mine = motions.jobs[team.rank :: team.size]
    write_all(mine, max(config.workers, 1), quiet=team.rank > 0)
    team.texts("")  # all of them are there before anybody reads


def _files(folders: Sequence[Path]) -> list[Path]:
    found = []
    for folder in folders:
        files = sorted(folder.rglob("*.npz"))
        if not files:
            raise RoadloopError(
                f"{folder} holds no motions (.npz): python -m training.forecast_samples makes them"
            )
        found += files
    return found


def open_loaders(
    config: ForecasterTraining, motions: Motions, team: Team
) -> tuple[Loader, Loader | None, dict[str, Any]]:
    """Moments to learn from, those that judge, and what they are, for a checkpoint's header."""
    data, pinned = config.data, team.device != "cpu"
    learnt, judging = motions.learnt, motions.judging
    source = ForecastScenes(learnt, config.model, data.moments, seed=config.seed)
    loader = make_loader(
        source,
        config.batch,
        seed=config.seed,
        workers=config.workers,
        pin_memory=pinned,
        transform=ForecastArrays(config.model, data.augmentation),
    )
    judges = None
    if judging:
        moments = ForecastScenes(judging, config.model, data.judged, endless=False)
        judges = make_loader(
            moments,
            config.batch,
            shuffle=False,
            workers=min(config.workers, 1),
            pin_memory=pinned,
            transform=ForecastArrays(config.model),
        )
    about = {
        "drives": len(learnt),
        "validation_drives": len(judging),
        "folders": [str(folder) for folder in data.folders],
        "simulated": data.simulated and dataclasses.asdict(data.simulated),
    }
    return loader, judges, about


def endless(loader: Loader) -> Iterator[Batch]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


def placed(batch: Batch, device: str) -> dict[str, Any]:
    """A batch where the network is; text stays."""
    moved = {}
    for name, value in batch.items():
        is_tensor = isinstance(value, Tensor)
        moved[name] = value.to(device, non_blocking=True) if is_tensor else value
    return moved
