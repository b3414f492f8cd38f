"""What a detector's training is fed with, step after step: single moments first, then clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.batches import Batch
from training.data import Loader
from training.sources import Source

DENSER = 2
"""single moments in the place of a clip: a step of them takes about as long"""


@dataclass(frozen=True)
class ClipSources:
    """What a run learns from and is judged by."""

    clips: Source
    judge: Source | None = None
    """clips of other drives; none: nothing judges"""
    singles: Source | None = None
    """clips of one moment, for the first share of the run; none: there is no such share"""


class Feed:
    """Batches without end: of ``sources.singles`` up to step ``turn``, of ``clips`` from there on.

    Epochs are counted through: the first of clips simulates other worlds than those of single
    moments did.

    How the world looks is learnt from pictures that differ, and those of a clip hardly do; the
    memory, for which clips are there, is learnt quickly once there is something to remember.

    Args:
        batch: clips per step and process.
        loaded: a loader of a source with so many samples per step and process.

    Raises:
        RoadloopError: clips or single moments that do not fill a batch.
    """

    def __init__(
        self, sources: ClipSources, batch: int, turn: int, loaded: Callable[[Source, int], Loader]
    ) -> None:
        self._sources, self._batch, self._loaded = sources, batch, loaded
        self.turn = turn if sources.singles is not None else 0
        self._step = self._first = 0
        if self.turn:
            loaded(sources.clips, batch)  # too few of them are said now, not at the turn
        self._loader = self._opened()
        self._first = -(-self.turn // len(self._loader))  # epoch of the clips

    def resume(self, step: int, state: Mapping[str, int] | None) -> None:
        """Go on from a step with its `state`, as if there had been no break.

        Raises RoadloopError where what follows would be something else.
        """
        self._step, self._loader = step, self._opened(step)
        if state is not None:
            self._loader.load_state_dict(state)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            for batch in self._loader:
                yield batch
                self._step += 1
                if self._step == self.turn:
                    self._loader = self._opened(self._step)
                    break

    def state(self) -> dict[str, Any] | None:
        """For `resume`, after the step whose batch was given last; None: a new loader follows."""
        return None if self._step + 1 == self.turn else self._loader.state_dict()

    def _opened(self, step: int = 0) -> Loader:
        if self._sources.singles is not None and step < self.turn:
            return self._loaded(self._sources.singles, DENSER * self._batch)
        loader = self._loaded(self._sources.clips, self._batch)
        loader.epoch = self._first
        return loader
