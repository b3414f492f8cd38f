"""The files of a log: part files written whole or not at all, checksums, and what can be wrong.

A table is a folder of Parquet part files. Each is written under a hidden name, which readers
ignore, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop import __version__
from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.logs.schema import SCHEMA_VERSION, TABLES, Table, enum_names
from roadloop.types import AgentKind, LightState

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

META = "meta.json"
MAP = "map.npz"


def read_meta(folder: str | Path) -> dict[str, Any]:
    """The ``meta.json`` of a log, its schema version checked."""
    path = Path(folder) / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = int(meta["schema_version"])
        meta.setdefault("files", None)
    except FileNotFoundError:
        raise RoadloopError(f"{folder} is not a rollout: it has no {META}") from None
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoadloopError(f"{path} is damaged or lacks schema_version: {error}") from error
    if version > SCHEMA_VERSION:
        raise RoadloopError(
            f"{folder} has log schema {version}, roadloop {__version__} reads up to schema "
            f"{SCHEMA_VERSION}; upgrade roadloop"
        )
    return meta


def prepare(folder: Path, overwrite: bool) -> None:
    """Make the folder; with ``overwrite`` remove the files of an earlier run, and nothing else."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = [META, MAP, *(f"{name}.parquet" for name in TABLES)]
        present = [name for name in names if (folder / name).exists()]
        if not present:
            return
        if not overwrite:
            raise RoadloopError(f"{folder} already holds a run; use --overwrite to replace it")
        (folder / META).unlink(missing_ok=True)
        (folder / MAP).unlink(missing_ok=True)
        for name in TABLES:
            table = folder / f"{name}.parquet"
            if table.is_file():
                table.unlink()
            elif table.is_dir():
                for part in [*table.glob("part-*.parquet"), *table.glob(".part-*.tmp")]:
                    part.unlink()
                with contextlib.suppress(OSError):  # it also holds files of someone else
                    table.rmdir()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RoadloopError(f"{path} cannot be written: {error.strerror or error}") from error


def write_part(folder: Path, name: str, number: int, table: Table) -> None:
    """Write one part file under a hidden name, then rename; a table without columns is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, column.dtype) for column in TABLES[name]])
    arrays = [
        pa.array(table[field.name] if table else [], type=field.type, from_pandas=False)
        for field in schema
    ]
    path = folder / f"{name}.parquet" / f"part-{number:05d}.parquet"
    with _writing(path):
        path.parent.mkdir(exist_ok=True)
        with replaced(path) as hidden:
            pq.write_table(pa.Table.from_arrays(arrays, schema=schema), hidden, compression="zstd")


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write ``meta.json`` whole or not at all."""
    with _writing(folder / META), replaced(folder / META) as hidden:
        hidden.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def write_map(folder: Path, road_map: RoadMap) -> None:
    """Keep the compiled map beside the tables: that of a recording cannot be built once more."""
    from roadloop.maps.cache import map_bytes

    with _writing(folder / MAP), replaced(folder / MAP) as hidden:
        hidden.write_bytes(map_bytes(road_map))


def kept_map(folder: Path) -> RoadMap | None:
    """The map ``write_map`` kept, None without one; RoadloopError where it is damaged."""
    from roadloop.maps.cache import map_of

    path = folder / MAP
    return map_of(path, path.read_bytes()) if path.is_file() else None


def write_checksums(folder: Path, meta: dict[str, Any], steps: int, finished: bool) -> None:
    """Replace ``meta.json`` by that of a closed log."""
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in _part_files(folder)}
    write_meta(folder, meta | {"steps": steps, "finished": bool(finished), "files": files})


def _parts(folder: Path, name: str) -> list[Path]:
    """Files of one table in order; a log made by hand may hold a table as a single file."""
    table = folder / f"{name}.parquet"
    return [table] if table.is_file() else sorted(table.glob("*.parquet"))


def _part_files(folder: Path) -> list[Path]:
    return [path for name in sorted(TABLES) for path in _parts(folder, name)]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify(folder: Path, files: dict[str, str]) -> None:
    """Raise RoadloopError unless the part files are those of ``files``, with their checksums."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise RoadloopError(f"{path} is missing; the log is incomplete, record it again")
        if _sha256(path) != expected:
            raise RoadloopError(
                f"{path} differs from its checksum in {META}; it was changed or damaged since"
            )
    for path in _part_files(folder):
        if path.relative_to(folder).as_posix() not in files:
            raise RoadloopError(f"{path} is not listed in {META}; move it out of the log")


def read_table(folder: Path, name: str) -> Table:
    """Every column of a table as NumPy arrays, kinds and light states as numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = _parts(folder, name)
    if not parts and name == "expert":  # logs from before there were recorded drives
        return {column.name: np.zeros(0, column.dtype) for column in TABLES[name]}
    if not parts:
        raise RoadloopError(
            f"{folder}: table {name}.parquet is missing; the run may have been killed before its "
            "first steps were written"
        )
    schema = pa.schema([(column.name, column.dtype) for column in TABLES[name]])
    tables = []
    for path in parts:
        try:
            read = pq.ParquetFile(path).read()
            missing = [column for column in schema.names if column not in read.column_names]
            if missing:
                raise RoadloopError(f"{path}: column {missing[0]} is missing; see docs/logs.md")
            tables.append(read.select(schema.names).cast(schema))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise RoadloopError(f"{path} is truncated or not a table of ours: {reason}") from error
    joined = pa.concat_tables(tables)
    for column in schema.names:
        if joined[column].null_count:
            raise RoadloopError(f"{folder}: {name}.parquet column {column} has empty cells")
    table = {
        column.name: joined[column.name].combine_chunks().to_numpy(zero_copy_only=False).copy()
        for column in TABLES[name]
        if column.dtype != "string"
    }
    for column, enum in (("kind", AgentKind), ("state", LightState)):
        if column in schema.names:
            table[column] = _numbers(joined[column], enum_names(enum), f"{folder}: {name}.{column}")
    return table


def _numbers(column: Any, names: np.ndarray, where: str) -> np.ndarray:
    """uint8 enum values of a string column."""
    encoded = column.combine_chunks().dictionary_encode()
    number = {name: value for value, name in enumerate(names.tolist())}
    words = encoded.dictionary.to_pylist()
    unknown = [word for word in words if word not in number]
    if unknown:
        raise RoadloopError(f"{where} holds {unknown[0]!r}; known are {', '.join(names)}")
    index = encoded.indices.to_numpy(zero_copy_only=False)
    return np.array([number[word] for word in words], dtype=np.uint8)[index]
