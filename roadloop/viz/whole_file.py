"""A file that is written over a whole drive, and appears when it is complete."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from roadloop.errors import RoadloopError
from roadloop.files import replaced


class WholeFile:
    """A place to write to, ``hidden``, that becomes ``path`` when it is kept.

    Raises:
        RoadloopError: a path with another suffix, or where no file can be written.
    """

    def __init__(self, path: str | Path, suffix: str) -> None:
        self.path = Path(path)
        if self.path.suffix != suffix:
            raise RoadloopError(f"{path}: viewers know this file by its suffix, call it *{suffix}")
        if self.path.is_dir():
            raise RoadloopError(f"{path} is a folder; give another path")
        self._stack = ExitStack()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.hidden = self._stack.enter_context(replaced(self.path))
            self.hidden.touch()
        except OSError as error:
            raise RoadloopError(
                f"{path} cannot be written: {error.strerror or error}; give another path"
            ) from error

    def keep(self) -> None:
        """Put what was written in its place."""
        try:
            self._stack.close()
        except OSError as error:
            raise RoadloopError(f"{self.path} cannot be written: {error.strerror}") from error

    def drop(self, kind: type[BaseException], value: Any, trace: TracebackType | None) -> None:
        """Take away what was written because of an exception; ``path`` stays as it was."""
        self._stack.__exit__(kind, value, trace)


def viewer_package(module: str, package: str) -> Any:
    """The module, imported; RoadloopError says how to install it where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RoadloopError(
            f"{package} is not installed ({error}); pip install 'roadloop[viz]'"
        ) from error
