"""Pickles of other people's data sets, opened without running what they may hold.

A pickle is a program: loading one calls any function it names. This reader knows the handful of
types that plain data needs and refuses every other name before anything of it is called.
"""

from __future__ import annotations

import importlib
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError

_NUMPY_CORE = ("_core", "core")
"""where NumPy keeps the functions below: 2.x and 1.x; files of either are read by either"""

ALLOWED: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"}
        | {"range", "set", "slice", "str", "tuple"}
    ),
    "collections": frozenset({"OrderedDict", "defaultdict"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy.CORE.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy.CORE.numeric": frozenset({"_frombuffer"}),
}
"""the names a pickle may use; CORE is ``core`` or ``_core``"""

_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)
"""what the standard library raises for bytes that are no whole pickle"""


def read_pickle(path: Path) -> Any:
    """The content of a pickle of built-in types and NumPy arrays.

    Raises:
        RoadloopError: a file that is missing or truncated, or one that names any other class or
            function; the message names it. Nothing of such a file has been called then.
    """
    content = io.BytesIO(read_bytes(path))
    try:
        return _Restricted(content, path).load()
    except RoadloopError:
        raise
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RoadloopError(
            f"{path} is truncated or no pickle ({reason}); copy it again"
        ) from error


def strings_at_head(path: Path, size: int = 4096) -> list[str]:
    """The texts among the first ``size`` bytes of a pickle, in order; [] where it is none.

    Nothing is loaded: the opcodes are only listed.
    """
    head = _head(path, size)
    if head[:1] != b"\x80":
        return []
    found: list[str] = []
    try:
        for _, value, _ in pickletools.genops(head):
            if isinstance(value, str):
                found.append(value)
    except (ValueError, IndexError):  # the head ends in the middle of an opcode
        pass
    return found


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error


class _Restricted(pickle.Unpickler):
    """Resolves the names in ``ALLOWED`` only."""

    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        generic = module
        for core in _NUMPY_CORE:
            if module.startswith(f"numpy.{core}."):
                generic = "numpy.CORE." + module.removeprefix(f"numpy.{core}.")
        if name not in ALLOWED.get(generic, ()):
            raise RoadloopError(
                f"{self._path} wants to load {module}.{name}, which plain data does not need; "
                "it is not opened: get the file from a source you trust, or convert it yourself"
            )
        if "CORE" not in generic:
            return getattr(importlib.import_module(module), name)
        for core in _NUMPY_CORE:
            try:
                return getattr(importlib.import_module(generic.replace("CORE", core)), name)
            except ImportError:
                continue
        raise RoadloopError(f"{self._path}: this NumPy has no {name}")
