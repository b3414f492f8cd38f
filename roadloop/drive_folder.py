"""The folder one drive is written into: what lies where, and room made before anything is run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roadloop.errors import RoadloopError


class DriveFolder:
    """Paths of one drive below ``path``.

    ::

        rollout/      the log (roadloop.logs.store)
        percepts/     what the driver saw, where it sees with a detector (roadloop.logs.percepts)
        plans/        why its plans were chosen, where it tells (roadloop.logs.plans)
        score.json    terms and per-step series
        report.html   replay, plots and score in one file
        video.mp4
        config.yaml   the run, for `roadloop drive --config`
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rollout = path / "rollout"
        self.percepts = path / "percepts"
        self.plans = path / "plans"
        self.score = path / "score.json"
        self.report = path / "report.html"
        self.video = path / "video.mp4"
        self.config = path / "config.yaml"

    def prepare(self, *, overwrite: bool) -> None:
        """Create the folder and make sure that a drive may be written into it.

        Raises RoadloopError where the folder cannot be written, or holds a drive and
        ``overwrite`` is False.
        """
        with self._said_in_one_line():
            if (present := self._present()) and not overwrite:
                raise RoadloopError(
                    f"{self.path} already holds a drive ({present[0].name}); "
                    f"give --overwrite, or another folder with --out"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass

    def clear(self) -> None:
        """Take away what an earlier drive wrote; other files are left alone."""
        with self._said_in_one_line():
            for part in self._present():
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink()

    def _present(self) -> list[Path]:
        logs = (self.rollout, self.percepts, self.plans)
        parts = (*logs, self.score, self.report, self.video, self.config)
        return [part for part in parts if part.exists()]

    @contextlib.contextmanager
    def _said_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RoadloopError(
                f"cannot write into {self.path}: {error.strerror}; give another folder with --out"
            ) from error


def rollout_folder(path: Path) -> Path:
    """The log's folder, whether ``path`` is that folder or the drive's folder around it."""
    for folder in (path, path / "rollout"):
        if (folder / "meta.json").is_file():
            return folder
    raise RoadloopError(f"{path} holds no rollout (no meta.json); `roadloop drive` writes one")
