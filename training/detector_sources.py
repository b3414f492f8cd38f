"""The clips a detector learns from, and those that judge it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.convert import chosen
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from training.clip_weights import Weighted, class_weights, hard_weights
from training.clips import ClipSource
from training.detector_frames import DetectorFrames, detector_spec
from training.detector_training import DetectorTraining
from training.sample_spec import Sample
from training.simulated_data import SimulatedData
from training.sources import LogSource, Source


class Some:
    """At most ``count`` samples of a source, evenly over it."""

    def __init__(self, source: Source, count: int) -> None:
        self.source = source
        self.picked = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round())

    def __len__(self) -> int:
        return len(self.picked)

    def sample(self, index: int) -> Sample:
        """One of them."""
        return self.source.sample(int(self.picked[index]))


class Kept:
    """A source that keeps the first ``count`` samples it is asked for in memory.

    For a few large pictures, which take as long to read as to learn from. Who asks must not change
    the arrays. In other processes it begins anew.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.source, self.count = source, count
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> Sample:
        """A sample of the source, with a dict of its own."""
        found = self._samples.get(index)
        if found is None:
            found = self.source.sample(index)
            if len(self._samples) < self.count:
                self._samples[index] = found
        return dict(found)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": {}}


class Joined:
    """Several sources one after the other; those that draw anew in each epoch still do."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def in_epoch(self, epoch: int) -> Joined:
        """The sources as they are drawn in an epoch."""
        drawn: list[Any] = self.sources
        return Joined([s.in_epoch(epoch) if hasattr(s, "in_epoch") else s for s in drawn])

    def sample(self, index: int) -> Sample:
        """A sample of one of them."""
        k = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[k].sample(index - (int(self._ends[k - 1]) if k else 0))


def described(config: DetectorTraining, source: Source, judge: Source | None) -> dict[str, Any]:
    """What was learnt from, in words and numbers, for a checkpoint's header."""
    data = config.data
    return {
        "folders": [str(folder) for folder in data.folders],
        "simulated": data.simulated and dataclasses.asdict(data.simulated),
        "clips": len(source),
        "moments": data.moments,
        "validation_folders": [str(folder) for folder in data.validation],
        "validation_clips": len(judge) if judge else 0,
    }


def open_clips(config: DetectorTraining) -> tuple[Source, Source | None]:
    """What ``config.data`` names: clips to learn from, and to judge by (None: nothing is named).

    Raises RoadloopError where nothing is there, what is there does not fit the model, or the same
    drive is in both.
    """
    data = config.data
    if not data.folders and data.simulated is None:
        raise RoadloopError(
            "data.folders is empty: name folders of recorded drives, e.g. --set "
            "data.folders=[runs/data], or simulate: --set data.simulated={}"
        )
    sources: list[Source] = []
    learnt: set[tuple[str, str]] = set()
    if data.folders:
        clips = _clips(config, data.folders, data.drives)
        learnt = drives_in(clips)
        source: Source = Kept(clips, data.keep) if data.keep else clips
        if data.balance == "class":
            source = Weighted(source, class_weights(clips), config.seed)
        elif data.balance == "hard":
            source = Weighted(source, hard_weights(data.losses, len(clips)), config.seed)
        sources.append(source)
    if data.simulated is not None:
        sources.append(_simulated(config, data.simulated))
    source = sources[0] if len(sources) == 1 else Joined(sources)
    if not data.validation:
        return source, None
    judge = _clips(config, data.validation, data.validation_drives)
    if both := learnt & drives_in(judge):
        raise RoadloopError(
            f"drive {min(both)[1]} is to be learnt from and to judge: give validation drives of "
            "their own"
        )
    return source, judge


def drives_in(clips: ClipSource) -> set[tuple[str, str]]:
    """Folder and name of every drive."""
    return {(str(d.root.resolve()), d.name) for source in clips.sources for d in source.drives}


def _clips(config: DetectorTraining, folders: Sequence[Path], drives: str) -> ClipSource:
    """The clips of all folders; each is read for what its cameras recorded."""
    sources = []
    for folder in folders:
        found, names = list_drives(folder, config.data.format)
        picked = chosen(names, drives)
        rig = open_recording(folder, picked[0], found).rig
        spec = detector_spec(config.model, rig)
        sources.append(LogSource([folder], spec, found, drives))
    frames = DetectorFrames(config.model)
    return ClipSource(sources, frames, config.data.moments, config.model.state_age)


def _simulated(config: DetectorTraining, data: SimulatedData) -> Source:
    """Clips of drives that are simulated when they are asked for."""
    from training.simulated import SimulatedSource

    clips = partial(
        ClipSource,
        frames=DetectorFrames(config.model),
        moments=config.data.moments,
        gap=config.model.state_age,
    )
    return SimulatedSource(data, detector_spec(config.model), clips)
