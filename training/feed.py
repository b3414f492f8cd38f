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

    How the world looks is learnt from pictures that differ, and those of a clip hardly do; the
    memory, for which clips are there, is learnt quickly once there is something to remember.

    Args:
        batch: clips per step and process.
        loaded: a loader of a source with so many samples per step and process.
    """

    def __init__(
        self, sources: ClipSources, batch: int, turn: int, loaded: Callable[[Source, int], Loader]
    ) -> None:
        self._sources, self._batch, self._loaded = sources, batch, loaded
        self.turn = turn if sources.singles is not None else 0
        self._loader: Loader | None = None

    def batches(self, step: int = 0, state: Mapping[str, int] | None = None) -> Iterator[Batch]:
        """From a step on, with ``state`` of it as if there had been no break."""
        while True:
            self._loader = None  # its workers end before others begin
            if self._sources.singles is not None and step < self.turn:
                self._loader = self._loaded(self._sources.singles, DENSER * self._batch)
            else:
                self._loader = self._loaded(self._sources.clips, self._batch)
            if state is not None:
                self._loader.load_state_dict(state)
                state = None
            for batch in _endless(self._loader):
                yield batch
                step += 1
                if step == self.turn:
                    break

    def state(self, step: int) -> dict[str, Any] | None:
        """Of the loader once ``step`` steps are done; None: a new one begins with the next."""
        return None if self._loader is None or step == self.turn else self._loader.state_dict()


def _endless(loader: Loader) -> Iterator[Batch]:
    """Epoch after epoch."""
    while True:
        yield from loader
