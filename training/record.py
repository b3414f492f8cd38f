"""What a training run leaves behind for the reader, and how it is asked to stop."""

from __future__ import annotations

import math
import signal
from pathlib import Path

from roadloop.terminal import progress_bar

PROGRESS = "progress.csv"


class StopSignal:
    """Ctrl-C asks for an end after the running update; a second one ends at once."""

    asked = False

    def __enter__(self) -> StopSignal:
        self._before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
        for kind in self._before:
            signal.signal(kind, self._ask)
        return self

    def _ask(self, kind: int, frame: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *error: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)


class Record:
    """``progress.csv``, TensorBoard and the progress bar. No clock is in the first.

    Args:
        folder: of the run; None: nothing is written or shown.
        updates: of the whole run, of which ``done`` are behind it.
        steps: of experience per update.
        tensorboard: write its scalars, too.
    """

    def __init__(
        self, folder: Path | None, updates: int, done: int, steps: int, tensorboard: bool
    ) -> None:
        self.folder, self.updates, self.done, self.steps = folder, updates, done, steps
        self.tensorboard = tensorboard

    def __enter__(self) -> Record:
        self._bar = progress_bar("training", "update", self.updates, quiet=self.folder is None)
        self._bar.update(self.done)
        self._file = self._board = None
        if self.folder is not None:
            path = self.folder / PROGRESS
            kept = path.read_text().splitlines(keepends=True)[: self.done + 1] if self.done else []
            path.write_text("".join(kept))
            self._file = path.open("a", encoding="utf-8")
            if self.tensorboard:
                from torch.utils.tensorboard.writer import SummaryWriter

                folder, next_step = str(self.folder / "tensorboard"), (self.done + 1) * self.steps
                self._board = SummaryWriter(folder, purge_step=next_step)
        return self

    def add(self, update: int, values: dict[str, float]) -> None:
        """One row: what ``update`` saw."""
        self._bar.update(1)
        if math.isfinite(values["success"]):
            self._bar.set_description(f"training, success {values['success']:4.0%}")
        step = update * self.steps
        if self._file is not None:
            if update == 1:
                self._file.write(",".join(["update", "steps", *values]) + "\n")
            numbers = ["" if math.isnan(v) else repr(float(v)) for v in values.values()]
            self._file.write(",".join([str(update), str(step), *numbers]) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if math.isfinite(value):
                    self._board.add_scalar(f"ppo/{name}", value, step)

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()
