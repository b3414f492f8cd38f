"""Which clips come more often: those with rare classes."""

from __future__ import annotations

import dataclasses

import numpy as np

from perception.detector_config import BevGrid, LampState, ObjectClass
from perception.lights import LAMP_OF
from roadloop.errors import RoadloopError
from training.clips import ClipSource
from training.detector_frames import road_users
from training.sample_spec import Sample, SampleSpec
from training.sources import LogSource, Source

Array = np.ndarray
Seen = dict[tuple[LogSource, int], Array]
"""what a moment of a source shows, see `class_weights`"""

PLENTY = 0.3
"""share of clips from which on a class is not rare"""


class Weighted:
    """Another source's samples, some more often: each epoch draws anew, by weight.

    An epoch is as long as the source. Sample i comes floor or ceil of ``len * weights[i] / sum``
    times (systematic resampling; Kitagawa, 1996), which of both by (seed, epoch). The loader asks
    for the epoch's draw by ``in_epoch``.

    Raises:
        RoadloopError: weights that are not one finite number from 0 per sample.
    """

    def __init__(self, source: Source, weights: Array, seed: int = 0, epoch: int = 0) -> None:
        self.source, self.seed, self.epoch = source, seed, epoch
        self.weights = np.asarray(weights, np.float64)
        fits = self.weights.shape == (len(source),) and np.isfinite(self.weights).all()
        if not fits or (self.weights < 0.0).any() or self.weights.sum() <= 0.0:
            raise RoadloopError(
                f"weights of shape {self.weights.shape} for {len(source)} samples: expected a "
                "finite number from 0 for each, not all of them 0"
            )
        self.index = self._drawn()
        self._other: Weighted | None = None  # of another epoch, the last that was asked for

    def __len__(self) -> int:
        return len(self.source)

    def in_epoch(self, epoch: int) -> Weighted:
        """The same source as it is drawn in an epoch."""
        if epoch == self.epoch:
            return self
        if self._other is None or self._other.epoch != epoch:
            self._other = Weighted(self.source, self.weights, self.seed, epoch)
        return self._other

    def sample(self, index: int) -> Sample:
        """The sample that was drawn for this place."""
        return self.source.sample(int(self.index[index]))

    def _drawn(self) -> Array:
        """(n,) the source's index at each place."""
        rng = np.random.default_rng([self.seed, self.epoch])
        share = np.cumsum(self.weights) / self.weights.sum()
        at = (rng.random() + np.arange(len(self))) / len(self)
        return np.minimum(np.searchsorted(share, at, side="right"), len(self) - 1)


def class_weights(clips: ClipSource, plenty: float = PLENTY, seen: Seen | None = None) -> Array:
    """(n,) how often each clip should come for rare classes to be seen: ``Weighted``.

    Classes: those of visible objects on the grid, and the lamps of the ego's traffic lights, at the
    newest moment. A clip weighs as its rarest class, ``max(1, sqrt(plenty / share of clips with
    it))`` (Gupta et al., LVIS, CVPR 2019). No picture is opened.

    Args:
        seen: what is known of moments already; those of these clips are added.
    """
    seen = {} if seen is None else seen
    # pixels are counted with any product of a camera; its file is opened when looked at
    labels = {"products": ("semantic",), "lidars": (), "radars": ()}
    specs = {source: dataclasses.replace(source.spec, **labels) for source in clips.sources}
    there = np.zeros((len(clips), len(ObjectClass) + len(LampState)), bool)
    for k in range(len(clips)):
        source, rows = clips.where(k)
        key = source, int(rows[-1])
        if key not in seen:
            seen[key] = _classes(*key, specs[source], clips.frames.config.grid)
        there[k] = seen[key]
    share = np.maximum(there.mean(0), 1.0 / len(clips))
    repeat = np.maximum(np.sqrt(plenty / share), 1.0)
    return np.where(there, repeat, 1.0).max(1)


def _classes(source: LogSource, row: int, spec: SampleSpec, grid: BevGrid) -> Array:
    """(classes,) bool: object classes and lamps that a moment shows."""
    arrays = source.raw(row, spec).arrays
    found = road_users(arrays)
    cells = np.rint(grid.cells_of(found.boxes[:, :2]))
    on = found.visible & (cells >= 0).all(1) & (cells < grid.shape).all(1)
    classes = np.zeros(len(ObjectClass) + len(LampState), bool)
    classes[found.object_class[on]] = True
    lamps = LAMP_OF[arrays["lights"][arrays["light_relevant"]]]
    classes[len(ObjectClass) + lamps] = True
    return classes
