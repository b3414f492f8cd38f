"""The clips a detector learns from, and those that judge it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from training.clip_weights import Seen, Weighted, class_weights
from training.clips import ClipSource
from training.detector_frames import DetectorFrames, detector_spec
from training.detector_training import DetectorTraining
from training.feed import ClipSources
from training.sample_spec import Sample
from training.simulated_data import SimulatedData
from training.sources import LogSource, Source, drives_of


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


def described(config: DetectorTraining, sources: ClipSources) -> dict[str, Any]:
    """What was learnt from, in words and numbers, for a checkpoint's header."""
    data = config.data
    return {
        "folders": [str(folder) for folder in data.folders],
        "simulated": data.simulated and dataclasses.asdict(data.simulated),
        "clips": len(sources.clips),
        "moments": data.moments,
        "validation_folders": [str(folder) for folder in data.validation],
        "validation_clips": len(sources.judge) if sources.judge else 0,
    }


def open_clips(config: DetectorTraining) -> ClipSources:
    """What ``config.data`` names.

    Raises RoadloopError where nothing is there, what is there does not fit the model, or the same
    drive is in both.
    """
    data = config.data
    if not data.folders and data.simulated is None:
        raise RoadloopError(
            "data.folders is empty: name folders of recorded drives, e.g. --set "
            "data.folders=[runs/data], or simulate: --set data.simulated={}"
        )
    logs = _logs(config, data.folders, data.drives)
    kinds = [data.moments]
    if config.alone and data.moments > 1:
        kinds.append(1)
    clips, *singles = _learnt(config, logs, kinds)
    judge = None
    if data.validation:
        judge = _clips(config, _logs(config, data.validation, data.validation_drives), data.moments)
        if both := drives_in(logs) & drives_in(judge.sources):
            raise RoadloopError(
                f"drive {min(both)[1]} is to be learnt from and to judge: give validation drives "
                "of their own"
            )
    return ClipSources(clips, judge, singles[0] if singles else None)


def _learnt(
    config: DetectorTraining, logs: Sequence[LogSource], kinds: Sequence[int]
) -> list[Source]:
    """Clips to learn from, for each number of moments that is asked for."""
    data, found = config.data, []
    seen: Seen = {}
    for moments in kinds:
        sources: list[Source] = []
        if logs:
            clips = _clips(config, logs, moments)
            source: Source = Kept(clips, data.keep) if data.keep else clips
            if data.balance == "class":
                source = Weighted(source, class_weights(clips, seen=seen), config.seed)
            sources.append(source)
        if data.simulated is not None:
            sources.append(_simulated(config, data.simulated, moments))
        found.append(sources[0] if len(sources) == 1 else Joined(sources))
    return found


def drives_in(logs: Sequence[LogSource]) -> set[tuple[str, str]]:
    """Folder and name of every drive."""
    return {(str(d.root.resolve()), d.name) for source in logs for d in source.drives}


def _logs(config: DetectorTraining, folders: Sequence[Path], drives: str) -> list[LogSource]:
    """The drives of each folder; each is read for what its cameras recorded."""
    sources = []
    for folder, found, names in drives_of(folders, config.data.format, drives):
        if not names:
            continue
        rig = open_recording(folder, names[0], found).rig
        spec = detector_spec(config.model, rig)
        sources.append(LogSource([folder], spec, found, ",".join(names) if drives else ""))
    return sources


def _clips(config: DetectorTraining, logs: Sequence[LogSource], moments: int) -> ClipSource:
    """Clips of all drives."""
    return ClipSource(logs, DetectorFrames(config.model), moments, config.model.state_age)


def _simulated(config: DetectorTraining, data: SimulatedData, moments: int) -> Source:
    """Clips of drives that are simulated when they are asked for."""
    from training.simulated import SimulatedSource

    clips = partial(
        ClipSource,
        frames=DetectorFrames(config.model),
        moments=moments,
        gap=config.model.state_age,
    )
    return SimulatedSource(data, detector_spec(config.model), clips)
