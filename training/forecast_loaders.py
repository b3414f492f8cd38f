"""What a forecaster's training is fed with: motions are found or made, moments of them loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from roadloop.errors import RoadloopError
from training.batches import Batch
from training.data import Loader, make_loader
from training.forecast_samples import JUDGE, LEARN, claim, simulated_jobs, write_all
from training.forecast_scenes import ForecastArrays, ForecastScenes
from training.forecast_training import ForecasterTraining
from training.team import Team

MADE = "motions"
"""simulated drives, in the folder of the run"""


def open_motions(config: ForecasterTraining, out: Path, team: Team) -> tuple[list[Path], ...]:
    """Files to learn from and files that judge; simulated traffic is made where it is not there.

    Raises RoadloopError where there are none, or the same drive is in both.
    """
    data = config.data
    folders, judges = list(data.folders), list(data.validation)
    if data.simulated is not None:
        made = data.made or out / MADE
        if team.rank == 0:
            claim(made, config.model, data.simulated)
        jobs = simulated_jobs(config.model, data.simulated, made)
        write_all(jobs[team.rank :: team.size], max(config.workers, 1), quiet=team.rank > 0)
        team.texts("")  # all of them are there before anybody reads
        simulated = [path for path, _ in jobs]  # a shared folder may hold more
    else:
        simulated = []
    if not folders and not simulated:
        raise RoadloopError(
            "data.folders is empty: name folders of motions (python -m training.forecast_samples "
            "makes them), or simulate: --set data.simulated={}"
        )
    learnt = _files(folders) + [path for path in simulated if path.parent.name == LEARN]
    judging = _files(judges) + [path for path in simulated if path.parent.name == JUDGE]
    if both := {p.resolve() for p in learnt} & {p.resolve() for p in judging}:
        raise RoadloopError(f"{min(both)} is to be learnt from and to judge: give other folders")
    return learnt, judging


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
    config: ForecasterTraining, out: Path, team: Team
) -> tuple[Loader, Loader | None, dict[str, Any]]:
    """Moments to learn from, those that judge, and what they are, for a checkpoint's header."""
    data, pinned = config.data, team.device != "cpu"
    learnt, judging = open_motions(config, out, team)
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
