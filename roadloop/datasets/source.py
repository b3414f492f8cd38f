"""Files of other people's data sets: opened whole, every fault said in one line with the file."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.pictures import decoded

if TYPE_CHECKING:
    from roadloop.rig import CameraSensor

Array = np.ndarray


def read_bytes(path: Path) -> bytes:
    """The content of a file; RoadloopError where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out") from None
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; RoadloopError where it is damaged."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise RoadloopError(f"{path} is truncated or no JSON: {error}") from error


def check_times(stamps: Array, where: str, row: str, first: int = 0) -> None:
    """RoadloopError where times (T,) do not increase.

    Args:
        where: the file they are from.
        row: what it calls the place of one: line, row, ...
        first: number of the first.
    """
    late = np.flatnonzero(np.diff(stamps) <= 0)
    if len(late):
        k = int(late[0]) + first
        raise RoadloopError(f"{where}, {row} {k + 1}: its time is not after that of {row} {k}")


def read_table(path: Path, columns: Sequence[str], words: Collection[str] = ()) -> dict[str, Array]:
    """Columns of a Parquet or Feather file as arrays.

    Args:
        words: those of ``columns`` that hold text; the others are numbers or truths.

    Raises:
        RoadloopError: a truncated file, a missing column, one of another type, an empty value.
    """
    import pyarrow as pa
    from pyarrow import feather, parquet

    content = pa.BufferReader(read_bytes(path))
    try:
        if path.suffix == ".feather":
            table = feather.read_table(content)
        else:
            table = parquet.read_table(content)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or no table: {reason}") from error
    for name in columns:
        if name not in table.column_names:
            raise RoadloopError(f"{path}: column {name} is missing; is it of another data set?")
        kind = table[name].type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if name not in words and not (is_number or pa.types.is_boolean(kind)):
            raise RoadloopError(f"{path}: column {name} holds {kind}: expected numbers")
        if table[name].null_count:
            row = int(np.argmax(table[name].is_null().to_numpy()))
            raise RoadloopError(f"{path}: row {row}: {name} is empty")
    return {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in columns}


def picture(sensor: CameraSensor, path: Path, timestamp_us: int) -> LoggedImage:
    """The picture in a JPEG or PNG file, decoded when it is looked at.

    Raises RoadloopError then for a missing or damaged file or one of another size than the rig's.
    """
    return LoggedImage.of(
        {"rgb": partial(_rgb, path, sensor.width, sensor.height)},
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=timestamp_us,
        boxes=None,
        encoded=partial(read_bytes, path),
    )


def _rgb(path: Path, width: int, height: int) -> Array:
    image = decoded(path, read_bytes(path))
    if image.shape != (height, width, 3):
        raise RoadloopError(
            f"{path} has {image.shape[1]} x {image.shape[0]} px, its calibration {width} x {height}"
        )
    return image
