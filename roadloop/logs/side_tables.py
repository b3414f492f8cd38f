"""Tables that lie in a folder of their own beside a rollout: Parquet files and one ``meta.json``.

A log of this kind says which columns its tables have, ``{table: {column: kind}}``. A kind is a
NumPy type, or one of

* ``text`` and ``bytes``: lists of them,
* ``pose``: (n, 4, 4) float64.

The schema version stands in ``meta.json`` as ``format``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.types import Rollout

Array = np.ndarray
Table = dict[str, Any]
Columns = Mapping[str, str]

META = "meta.json"
_LISTS = ("bytes", "text")


def empty_table(columns: Columns) -> Table:
    """A table without rows."""
    return {
        column: [] if kind in _LISTS else np.zeros(_shape(kind), _dtype(kind))
        for column, kind in columns.items()
    }


def joined_rows(columns: Columns, rows: Sequence[Table]) -> Table:
    """One table of parts that hold some rows each, in their order."""
    table = empty_table(columns)
    if not rows:
        return table
    for column, kind in columns.items():
        if kind in _LISTS:
            table[column] = [value for row in rows for value in row[column]]
        else:
            parts = [np.asarray(row[column]) for row in rows]
            table[column] = np.concatenate(parts).astype(table[column].dtype)
    return table


def write_tables(
    folder: str | Path,
    schema: Mapping[str, Columns],
    tables: Mapping[str, Table],
    meta: Mapping[str, Any],
) -> Path:
    """Write tables and meta data into a folder and return it; earlier ones there are replaced.

    ``meta`` must hold ``format``. Tables that are not given are written without rows. Raises
    RoadloopError where the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / META).unlink(missing_ok=True)
        for name, columns in schema.items():
            table = tables.get(name) or empty_table(columns)
            arrays = {column: _to_arrow(table[column], kind) for column, kind in columns.items()}
            with replaced(folder / f"{name}.parquet") as hidden:
                pq.write_table(pa.table(arrays), hidden, compression="zstd")
        with replaced(folder / META) as hidden:
            hidden.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RoadloopError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def read_tables(
    folder: str | Path, schema: Mapping[str, Columns], newest: int
) -> tuple[dict[str, Any], dict[str, Table]] | None:
    """Meta data and tables of a folder, None where it holds none.

    Raises RoadloopError for tables that are damaged or of a format above ``newest``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    path = folder / META
    if not path.is_file():
        return None
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if int(meta["format"]) > newest:
            raise RoadloopError(f"{path} is of format {meta['format']}: upgrade roadloop")
        tables = {
            name: {
                column: _from_arrow(read[column], kind)
                for read in [pq.read_table(folder / f"{name}.parquet")]
                for column, kind in columns.items()
            }
            for name, columns in schema.items()
        }
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise damaged(folder, error) from error
    return meta, tables


def damaged(folder: str | Path, error: Exception) -> RoadloopError:
    """What is said of a folder that cannot be read because of ``error``."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RoadloopError(f"{folder} is damaged ({reason}); drive once more")


def first_step(rollout: Rollout) -> int:
    """The step, as its driver counted, at which a rollout begins."""
    return round(float(rollout.time[0]) / rollout.dt)


def latest_row(steps: Array, rollout: Rollout) -> Array:
    """(time,) the last of some rows known at each step of a drive, -1 before the first.

    ``steps`` (rows,) rises: the step at which each row came to be known.
    """
    now = np.rint((rollout.time - rollout.time[0]) / rollout.dt) + first_step(rollout)
    return np.searchsorted(steps, now, side="right") - 1


def _shape(kind: str) -> tuple[int, ...]:
    return (0, 4, 4) if kind == "pose" else (0,)


def _dtype(kind: str) -> str:
    return "float64" if kind == "pose" else kind


def _to_arrow(values: Any, kind: str) -> Any:
    import pyarrow as pa

    if kind == "bytes":
        return pa.array(values, pa.large_binary())
    if kind == "text":
        return pa.array(values, pa.string())
    if kind == "pose":
        flat = pa.array(np.asarray(values, np.float64).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, 16)
    return pa.array(np.asarray(values).astype(kind))


def _from_arrow(column: Any, kind: str) -> Any:
    joined = column.combine_chunks()
    if kind in _LISTS:
        return joined.to_pylist()
    if kind == "pose":
        return np.asarray(joined.flatten()).reshape(-1, 4, 4).copy()
    return np.asarray(joined).astype(kind)
