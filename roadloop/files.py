"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A hidden path beside ``path`` to write to, which takes its place when the block is left.

    Where the block raises, ``path`` stays as it was and nothing is left behind; a kill leaves the
    hidden file, which the next writing replaces. Raises OSError like ``open``.
    """
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        yield hidden
        os.replace(hidden, path)
    finally:
        with contextlib.suppress(OSError):  # gone: in its place, or never begun
            hidden.unlink()
