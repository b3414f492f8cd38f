"""Clips: a few moments of a drive, evenly apart, as stacked frames.

::

    frames = DetectorFrames(config)
    clips = ClipSource(LogSource(["runs/town"], detector_spec(config)), frames)
    loader = make_loader(Weighted(clips, class_weights(clips)), 4, transform=ClipAugment(config))

A clip holds all arrays of ``perception.frame`` with a leading axis T, oldest moment first, and

================== ============== ================================================================
moment_valid       (T,) bool      False: the clip is of a single picture, this is only filled up
drive, dataset     text           where from
step, timestamp_us (T,) int64     of each moment; -1 where it is not valid
world_from_ego     (T, 4, 4)      float64
boxes              T x (M, 9)     with ``keep_labels`` also the road users of each moment, as a
object_class       T x (M,)       list: ``training.detector_frames.Objects``
visible            T x (M,)
================== ============== ================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from perception.frame import NOT_JUDGED, Frame
from perception.inputs import motion_between
from roadloop.errors import RoadloopError
from training.detector_frames import DetectorFrames
from training.sample_spec import Sample
from training.sources import Drive, LogSource

Array = np.ndarray

TOLERANCE = 0.6
"""steps by which a moment may be off the time that is wanted, as ``sample_labels.steps_at``"""


class ClipSource:
    """Every clip of recorded drives, by its newest moment.

    Of a drive only clips that are there in full, with all their moments at their times. Single
    pictures (a drive that is not ``continuous``, or of one step) are clips of one moment, filled up
    in front. Sources may differ in all that is labelled.

    Args:
        source: where samples come from, read by ``detector_frames.detector_spec``.
        moments: T.
        gap: s between them.
        every: every nth clip of a drive.
        keep_labels: also give the road users of each moment.

    Raises:
        RoadloopError: a source of which no clip fits.
    """

    def __init__(
        self,
        source: LogSource | Sequence[LogSource],
        frames: DetectorFrames,
        moments: int = 3,
        gap: float = 0.5,
        *,
        every: int = 1,
        keep_labels: bool = False,
    ) -> None:
        if moments < 1 or not gap > 0.0 or every < 1:
            raise RoadloopError(
                f"clips of {moments} moments {gap} s apart, every {every}: expected numbers above 0"
            )
        self.sources = [source] if isinstance(source, LogSource) else list(source)
        self.frames, self.moments, self.gap = frames, moments, gap
        self.keep_labels = keep_labels
        rows = []
        for number, each in enumerate(self.sources):
            first, before = 0, sum(map(len, rows))
            for drive in each.drives:
                found = clips_of(drive, moments, gap)[::every]
                found = np.where(found < 0, found, found + first)
                rows.append(np.column_stack([np.full(len(found), number), found]))
                first += len(drive.steps)
            if sum(map(len, rows)) == before:
                # said, as nobody would miss it among others
                names = [drive.name for drive in each.drives]
                raise RoadloopError(
                    f"no drive holds {moments} moments {gap:g} s apart (of {len(names)}, e.g. "
                    f"{names[0]}): record longer ones or more often, ask for fewer moments, or "
                    "leave them out"
                )
        self._clips = np.concatenate(rows) if rows else np.zeros((0, moments + 1), np.int64)

    def __len__(self) -> int:
        return len(self._clips)

    def where(self, index: int) -> tuple[LogSource, Array]:
        """The source of a clip, and in it the samples (T,) that are its moments, -1: none."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} clips, no number {index}")
        return self.sources[self._clips[index, 0]], self._clips[index, 1:]

    def sample(self, index: int) -> Sample:
        """The arrays of a clip.

        Raises RoadloopError for a moment that cannot be read.
        """
        source, rows = self.where(index)
        pictures: list[Array] = []
        samples: list[Sample] = []
        made: list[Frame] = []
        count, valid = self.moments, rows >= 0
        for t in np.flatnonzero(valid).tolist():
            sample = source.sample(int(rows[t]), partial(_room, pictures, count, t))
            drive = source.drives[source.where(int(rows[t]))[0]]
            samples.append(sample)
            made.append(self.frames(sample, velocity_known=not is_single(drive)))
        clip = _stacked(made, valid, pictures)
        clip |= _motion(samples, valid)
        clip["moment_valid"] = valid
        newest = samples[-1]
        clip |= {"drive": newest["drive"], "dataset": newest["dataset"]}
        for key, none in (("step", -1), ("timestamp_us", -1)):
            values = np.full(count, none, np.int64)
            values[valid] = [sample[key] for sample in samples]
            clip[key] = values
        poses = np.broadcast_to(np.eye(4), (count, 4, 4)).copy()
        poses[valid] = [sample["world_from_ego"] for sample in samples]
        clip["world_from_ego"] = poses
        if self.keep_labels:
            clip |= self._labels(samples, valid)
        return clip

    def _labels(self, samples: list[Sample], valid: Array) -> dict[str, list[Array]]:
        empty = [np.zeros((0, 9), np.float32), np.zeros(0, np.uint8), np.zeros(0, bool)]
        found = [self.frames.objects(sample) for sample in samples]
        kept = [[o.boxes, o.object_class, o.visible] for o in found]
        kept = [empty] * int((~valid).sum()) + kept
        return {
            key: [row[k] for row in kept]
            for k, key in enumerate(("boxes", "object_class", "visible"))
        }


def is_single(drive: Drive) -> bool:
    """Whether a drive is of single pictures: nothing says how things move."""
    return not drive.continuous or len(drive.steps) == 1


def clips_of(drive: Drive, moments: int, gap: float) -> Array:
    """(n, moments) samples of a drive, oldest first, that are clips; -1: filled up."""
    count = len(drive.steps)
    if is_single(drive):
        alone = np.full((count, moments), -1)
        alone[:, -1] = np.arange(count)
        return alone
    if not count:
        return np.zeros((0, moments), np.int64)
    stamps = drive.timestamp_us
    wanted = stamps[:, None] - 1e6 * gap * np.arange(moments - 1, -1, -1)
    after = np.clip(np.searchsorted(stamps, wanted), 0, count - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(stamps[before] - wanted) < np.abs(stamps[after] - wanted)
    found = np.where(nearer, before, after)
    there = (np.abs(stamps[found] - wanted) <= TOLERANCE * 1e6 * drive.dt).all(1)
    return found[there & (np.diff(found, axis=1) > 0).all(1)]


def _room(
    pictures: list[Array], moments: int, t: int, key: str, shape: tuple[int, ...], dtype: Any
) -> Array:
    """Memory for a picture array of moment ``t``: colours lie side by side in the clip's."""
    if key != "images":
        return np.empty(shape, dtype)
    if not pictures:
        pictures.append(np.zeros((moments, *shape), dtype))
    return pictures[0][t]


def _stacked(frames: list[Frame], valid: Array, pictures: list[Array]) -> Frame:
    """The frames of the valid moments along a new axis, zeros (nothing judged) at the others."""
    clip: Frame = {}
    for key, first in frames[0].items():
        if key == "images" and len(pictures) == 1:
            clip[key] = np.moveaxis(pictures[0], -1, -3)
            continue
        values = np.zeros((len(valid), *np.shape(first)), np.asarray(first).dtype)
        for t, frame in zip(np.flatnonzero(valid).tolist(), frames):
            values[t] = frame[key]
        if key in ("depth", "semantic"):
            values[~valid] = NOT_JUDGED
        clip[key] = values
    return clip


def _motion(samples: list[Sample], valid: Array) -> Frame:
    """``motion`` (T, 3) and ``motion_valid`` (T,) of the moments."""
    motion, known = np.zeros((len(valid), 3), np.float32), np.zeros(len(valid), bool)
    first = len(valid) - len(samples)
    for t in range(1, len(samples)):
        poses = samples[t - 1]["world_from_ego"], samples[t]["world_from_ego"]
        motion[first + t], known[first + t] = motion_between(*poses), True
    return {"motion": motion, "motion_valid": known}
