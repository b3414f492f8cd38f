"""Parquet files of a data set's sensors: some columns of all rows, and single values of one row."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from roadloop.errors import RoadloopError

Place = tuple[Path, int, int]
"""a row: file, row group, row in it"""
BATCH = 20
"""rows read at once: four frames of five sensors"""


def said(place: Place) -> str:
    """How messages call a row."""
    path, group, row = place
    return f"{path} row group {group} row {row}"


def rows_by_key(path: Path, keys: tuple[str, str]) -> dict[tuple[int, int], Place]:
    """The place of each row by its keys."""
    found = columns_of(path, keys)
    named = zip(*(found[key].tolist() for key in keys), strict=True)
    return dict(zip(named, places_of(path), strict=True))


def places_of(path: Path) -> list[Place]:
    """Row group and row in it of each row of a file."""
    groups = _file(path).metadata
    return [
        (path, group, row)
        for group in range(groups.num_row_groups)
        for row in range(groups.row_group(group).num_rows)
    ]


def cell(place: Place, column: str) -> Any:
    """One value; numbers in a list as an array."""
    path, group, row = place
    try:
        state = path.stat()
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error
    value = _column(path, state.st_mtime_ns, group, column).at(row)
    if value is None:
        raise RoadloopError(f"{said(place)} is gone; open the drive again")
    if hasattr(value, "values") and value.is_valid:
        return value.values.to_numpy(zero_copy_only=False)
    return value.as_py()


class _Column:
    """One column of one row group, a few rows at a time.

    A row group may hold all range images of a drive, a gigabyte; drivers read one row after the
    other. Going back begins anew.
    """

    def __init__(self, path: Path, group: int, column: str) -> None:
        self._file = _file(path)
        if column not in self._file.schema_arrow.names:
            raise RoadloopError(f"{path}: column {column} is missing; is it of another data set?")
        self._what, self._group, self._name = f"{path} row group {group}", group, column
        self._rewind()

    def _rewind(self) -> None:
        self._batches = self._file.iter_batches(BATCH, [self._group], [self._name])
        self._first, self._values = 0, ()

    def at(self, row: int) -> Any:
        """The value at a row of the group; None beyond its end."""
        import pyarrow as pa

        if row < self._first:
            self._rewind()
        while row >= self._first + len(self._values):
            try:
                batch = next(self._batches, None)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise RoadloopError(f"{self._what} is damaged: {reason}") from error
            if batch is None:
                return None
            self._first, self._values = self._first + len(self._values), batch.column(0)
        return self._values[row - self._first]


@lru_cache(maxsize=16)
def _column(path: Path, changed_ns: int, group: int, column: str) -> _Column:
    return _Column(path, group, column)


def columns_of(path: Path, needed: tuple[str, ...], wanted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Columns of a file as arrays; those ``wanted`` only where the file has them."""
    import pyarrow as pa

    file = _file(path)
    names = file.schema_arrow.names
    for column in needed:
        if column not in names:
            raise RoadloopError(f"{path}: column {column} is missing; is it of another data set?")
    picked = [*needed, *(column for column in wanted if column in names)]
    try:
        table = file.read(columns=picked)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or damaged: {reason}") from error
    found = {
        column: table[column].combine_chunks().to_numpy(zero_copy_only=False) for column in picked
    }
    for column in needed:
        missing = table[column].is_null().to_numpy()
        if missing.any() and column.startswith("key."):
            raise RoadloopError(f"{path} row {int(missing.argmax())}: {column} is empty")
    return found


def _file(path: Path) -> Any:
    """The opened Parquet file; RoadloopError where it is none."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, memory_map=True, pre_buffer=False)
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or no Parquet file: {reason}") from error
