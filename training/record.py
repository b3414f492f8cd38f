"""What a training run leaves behind for the reader, and how it is asked to stop."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roadloop.terminal import progress_bar

PROGRESS = "progress.csv"


class StopSignal:
    """Ctrl-C asks for an end after the running update; a second one ends at once.

    Args:
        insisting: False: so does the second one, and all others.
    """

    def __init__(self, insisting: bool = True) -> None:
        self.asked, self._insisting = False, insisting

    def __enter__(self) -> StopSignal:
        self._before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
        for kind in self._before:
            signal.signal(kind, self._ask)
        return self

    def _ask(self, kind: int, frame: object) -> None:
        self.asked = True
        if self._insisting:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *error: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)


class Table:
    """A CSV file that a resumed run goes on with.

    Args:
        done: rows whose first column is larger are dropped: they were written after the checkpoint
            that the run goes on from.
    """

    def __init__(self, path: Path, done: int) -> None:
        kept: list[str] = []
        if done and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            rows = [line for line in lines if line.endswith("\n")]  # a kill may cut the last one
            # there may be no row yet, and no head
            kept = rows[:1] + [row for row in rows[1:] if int(row.partition(",")[0]) <= done]
        path.write_text("".join(kept), encoding="utf-8")
        self._empty = not kept
        self._file = path.open("a", encoding="utf-8")

    def add(self, counts: Mapping[str, int], values: Mapping[str, float]) -> None:
        """One row: whole numbers, the first of which grows, then reals; empty where not a number.

        The first row decides about the columns.
        """
        if self._empty:
            self._file.write(",".join([*counts, *values]) + "\n")
            self._empty = False
        numbers = ["" if math.isnan(v) else repr(float(v)) for v in values.values()]
        self._file.write(",".join([*map(str, counts.values()), *numbers]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing follows."""
        self._file.close()


class Record:
    """``progress.csv``, TensorBoard and the progress bar. No clock is in the first.

    Args:
        folder: of the run; None: nothing is written or shown.
        updates: of the whole run, of which ``done`` are behind it.
        steps: of experience per update.
        tensorboard: write its scalars, too.
        unit, count, group: what an update is called, what its ``steps`` are, and the group of the
            scalars.
        headline: the value that the bar shows, and how it is formatted.
    """

    def __init__(
        self,
        folder: Path | None,
        updates: int,
        done: int,
        steps: int,
        tensorboard: bool,
        *,
        unit: str = "update",
        count: str = "steps",
        group: str = "ppo",
        headline: tuple[str, str] = ("success", "4.0%"),
    ) -> None:
        self.folder, self.updates, self.done, self.steps = folder, updates, done, steps
        self.tensorboard, self.unit, self.count = tensorboard, unit, count
        self.group, self.headline = group, headline

    def __enter__(self) -> Record:
        self._bar = progress_bar("training", self.unit, self.updates, quiet=self.folder is None)
        self._bar.update(self.done)
        self._table = self._board = None
        if self.folder is not None:
            self._table = Table(self.folder / PROGRESS, self.done)
            if self.tensorboard:
                from torch.utils.tensorboard.writer import SummaryWriter

                folder, next_step = str(self.folder / "tensorboard"), (self.done + 1) * self.steps
                self._board = SummaryWriter(folder, purge_step=next_step)
        return self

    def add(
        self, update: int, values: Mapping[str, float], shown: Mapping[str, float] | None = None
    ) -> None:
        """One row: what ``update`` saw; ``shown`` goes to TensorBoard alone."""
        self._bar.update(1)
        name, form = self.headline
        if math.isfinite(values[name]):
            self._bar.set_description(f"training, {name} {values[name]:{form}}")
        if self._table is not None:
            self._table.add({self.unit: update, self.count: update * self.steps}, values)
        self.scalars(self.group, update, {**values, **(shown or {})})

    def scalars(self, group: str, update: int, values: Mapping[str, float]) -> None:
        """Numbers for TensorBoard alone."""
        if self._board is not None:
            for name, value in values.items():
                if math.isfinite(value):
                    self._board.add_scalar(f"{group}/{name}", value, update * self.steps)

    def picture(self, name: str, update: int, picture: np.ndarray) -> None:
        """An RGB picture (height, width, 3) uint8 for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, picture, update * self.steps, dataformats="HWC")

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._table is not None:
            self._table.close()
        if self._board is not None:
            self._board.close()
