"""The tables of a sensor log: every column with type, unit and meaning; written and read.

One place declares what is on disk; ``docs/logs.md`` describes the same columns for people (a test
compares the two). A table is a folder of Parquet part files, each of which appears whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.schema import Column, Table

SCHEMA_VERSION = 2

_POSE = (
    Column("qw", "float64", "", "attitude of the ego, world from ego, as a unit quaternion"),
    Column("qx", "float64", "", "same"),
    Column("qy", "float64", "", "same"),
    Column("qz", "float64", "", "same"),
)
_STEP = Column("step", "int64", "", "step number, the key of every other table")
_SENSOR = Column("sensor", "string", "", "name in rig.yaml")
_STAMP = Column("timestamp_us", "int64", "us", "when it was measured, since the start")

TABLES: dict[str, tuple[Column, ...]] = {
    "ego": (
        _STEP,
        Column("time", "float64", "s", "time since the start"),
        Column("x", "float64", "m", "rear axle on the ground, world frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "same"),
        *_POSE,
        Column("heading", "float64", "rad", "counter-clockwise from +x"),
        Column("speed", "float64", "m/s", "along the heading, negative in reverse"),
        Column("acceleration", "float64", "m/s^2", "along the heading"),
        Column("steering", "float64", "rad", "at the front wheels, left positive"),
        Column("yaw_rate", "float64", "rad/s", "left positive"),
        Column("labelled", "bool", "", "boxes are labels; false: interpolated between steps"),
    ),
    "lights": (
        _STEP,
        Column("signal", "int32", "", "index of the signal in the compiled map"),
        Column("state", "string", "", "off, red, red_yellow, yellow, green"),
    ),
    "frames": (
        _STEP,
        Column("time", "float64", "s", "time of that step"),
        _STAMP,
        Column("label_step", "int64", "", "step whose boxes_3d show the moment of measurement"),
        _SENSOR,
        Column("kind", "string", "", "rgb, depth, semantic, instance, flow, lidar or radar"),
        Column("file", "string", "", "relative to the log; radar.parquet for radar scans"),
        Column("x", "float64", "m", "rear axle at the timestamp, world frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "same"),
        *_POSE,
    ),
    "boxes_3d": (
        _STEP,
        Column("id", "int64", "", "the same road user keeps its id; the value in instance images"),
        Column("kind", "string", "", "car, truck, pedestrian, ...: an AgentKind"),
        Column("x", "float64", "m", "box centre, ego frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "same"),
        Column("length", "float64", "m", "box size along its own x axis"),
        Column("width", "float64", "m", "box size along its own y axis"),
        Column("height", "float64", "m", "box size along its own z axis"),
        Column("yaw", "float64", "rad", "about the ego's z axis, left positive; turned first"),
        Column("pitch", "float64", "rad", "about the box's y axis, nose down positive"),
        Column("roll", "float64", "rad", "about the box's x axis, right side down positive"),
        Column("vx", "float64", "m/s", "velocity over ground, axes of the ego frame"),
        Column("vy", "float64", "m/s", "same"),
        Column("vz", "float64", "m/s", "same"),
        Column("pixels", "int32", "", "pixels that show it in all pictures; -1: unknown"),
        Column("lidar_points", "int32", "", "LiDAR points inside the box; -1: unknown"),
    ),
    "objects": (
        Column("step", "int64", "", "first step at which it is there"),
        Column("id", "int64", "", "as in boxes_3d"),
        Column("category", "string", "", "its class as the data set calls it"),
        Column("source_id", "string", "", "its id in the data set"),
    ),
    "boxes_2d": (
        _STEP,
        _STAMP,
        _SENSOR,
        Column("id", "int64", "", "as in boxes_3d"),
        Column("kind", "string", "", "as in boxes_3d"),
        Column("left", "float64", "px", "rectangle around the projected box, cut to the picture"),
        Column("top", "float64", "px", "same"),
        Column("right", "float64", "px", "same"),
        Column("bottom", "float64", "px", "same"),
        Column("pixels", "int32", "", "pixels that show it; 0: in the field of view but hidden"),
        Column("visible_left", "float64", "px", "rectangle around those pixels, 0 without any"),
        Column("visible_top", "float64", "px", "same"),
        Column("visible_right", "float64", "px", "same"),
        Column("visible_bottom", "float64", "px", "same"),
    ),
    "radar": (
        _STEP,
        _STAMP,
        _SENSOR,
        Column("x", "float64", "m", "ego frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "same"),
        Column("radial_speed", "float64", "m/s", "over ground, positive recedes"),
        Column("rcs", "float64", "dB m^2", "radar cross-section"),
        Column("range", "float64", "m", "as measured, from the sensor; may be empty"),
        Column("azimuth", "float64", "rad", "as measured, left positive; may be empty"),
        Column("elevation", "float64", "rad", "as measured, up positive; may be empty"),
        Column("range_rate", "float64", "m/s", "as measured, with the ego's motion; may be empty"),
        Column("instance", "int32", "", "id, 0 static, -1 clutter, -2 ghost; may be empty"),
    ),
    "imu": (
        _STEP,
        _STAMP,
        _SENSOR,
        Column("ax", "float64", "m/s^2", "specific force, sensor's axes; +9.81 upwards at rest"),
        Column("ay", "float64", "m/s^2", "same"),
        Column("az", "float64", "m/s^2", "same"),
        Column("wx", "float64", "rad/s", "angular velocity, sensor's axes"),
        Column("wy", "float64", "rad/s", "same"),
        Column("wz", "float64", "rad/s", "same"),
    ),
    "gnss": (
        _STEP,
        _STAMP,
        _SENSOR,
        Column("x", "float64", "m", "antenna, world frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "same"),
        Column("latitude", "float64", "deg", "WGS 84; NaN where the map has no georeference"),
        Column("longitude", "float64", "deg", "same"),
        Column("speed", "float64", "m/s", "over ground"),
        Column("course", "float64", "rad", "direction of travel, counter-clockwise from +x"),
        Column("std", "float64", "m", "of x and y, as the receiver believes"),
    ),
    "odometry": (
        _STEP,
        _STAMP,
        _SENSOR,
        Column("speed", "float64", "m/s", "from the wheel speeds"),
        Column("steering", "float64", "rad", "at the front wheels"),
        Column("yaw_rate", "float64", "rad/s", "from the wheel speeds of one axle"),
    ),
}

SWEEP = (
    Column("x", "float32", "m", "ego frame at the timestamp"),
    Column("y", "float32", "m", "same"),
    Column("z", "float32", "m", "same"),
    Column("intensity", "float32", "", "in [0, 1]"),
    Column("ring", "uint16", "", "number of the beam in rig.yaml"),
    Column("time_offset", "float32", "s", "of each point from the timestamp"),
    Column("semantic", "uint8", "", "class"),
    Column("instance", "int32", "", "as in instance images, but as a plain signed number"),
)
"""columns of a LiDAR sweep's own file; all after ``intensity`` are there only where given"""

SINCE_2 = {"labelled": True}
"""columns that logs of schema 1 lack, and what holds there"""

OPTIONAL = ("range", "azimuth", "elevation", "range_rate", "instance")
"""columns of the radar table that may be empty"""


def table_bytes(name: str, rows: Mapping[str, Any]) -> bytes:
    """A Parquet file of rows, one array per column; no rows at all where ``rows`` is empty.

    A column of ``OPTIONAL`` may be a masked array: what is masked is empty in the file.
    """
    import pyarrow as pa

    schema = pa.schema([(column.name, column.dtype) for column in TABLES[name]])
    arrays = []
    for column, field in zip(TABLES[name], schema):
        values = rows.get(column.name, ())
        mask = np.ma.getmaskarray(values) if column.name in OPTIONAL else None
        values = np.ma.getdata(values).astype(str if column.dtype == "string" else column.dtype)
        arrays.append(pa.array(values, field.type, mask=mask, from_pandas=False))
    return _parquet(pa.Table.from_arrays(arrays, schema=schema))


def sweep_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """A Parquet file of one LiDAR sweep; numbers that hardly repeat are split by byte."""
    import pyarrow as pa

    types = {column.name: column.dtype for column in SWEEP}
    arrays = {key: pa.array(value, types[key]) for key, value in columns.items()}
    split = ("x", "y", "z", "intensity")
    repeated = [key for key in columns if key not in split]
    return _parquet(
        pa.table(arrays),
        use_dictionary=repeated,
        column_encoding={key: "BYTE_STREAM_SPLIT" for key in split},
    )


def _parquet(table: Any, **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue().to_pybytes()


def sweep_columns(path: Path, content: bytes) -> Table:
    """What ``sweep_bytes`` wrote; RoadloopError where it is something else."""
    import pyarrow as pa

    read = _parsed(path, content)
    for column in SWEEP[:4]:
        if column.name not in read.column_names:
            raise RoadloopError(f"{path}: column {column.name} is missing; see docs/logs.md")
    types = [(c.name, c.dtype) for c in SWEEP if c.name in read.column_names]
    try:
        read = read.select([name for name, _ in types]).cast(pa.schema(types))
    except pa.ArrowException as error:
        raise RoadloopError(f"{path}: {str(error).splitlines()[0]}") from error
    return {name: read[name].to_numpy() for name, _ in types}


def table_rows(name: str, files: Mapping[Path, bytes]) -> Table:
    """Every column of a table, its part files joined; optional columns as masked arrays.

    Raises RoadloopError for a damaged part, a missing or mistyped column, an empty cell.
    """
    import pyarrow as pa

    schema = pa.schema([(column.name, column.dtype) for column in TABLES[name]])
    tables = []
    for path, content in files.items():
        read = _parsed(path, content)
        for column, value in SINCE_2.items():
            if column in schema.names and column not in read.column_names:
                read = read.append_column(column, pa.array([value] * read.num_rows))
        missing = [column for column in schema.names if column not in read.column_names]
        if missing:
            raise RoadloopError(f"{path}: column {missing[0]} is missing; see docs/logs.md")
        try:
            tables.append(read.select(schema.names).cast(schema))
        except pa.ArrowException as error:
            raise RoadloopError(f"{path}: {str(error).splitlines()[0]}") from error
        for column in schema.names:
            if read[column].null_count and not (name == "radar" and column in OPTIONAL):
                raise RoadloopError(f"{path}: column {column} has empty cells")
    joined = pa.concat_tables(tables) if tables else schema.empty_table()
    rows: Table = {}
    for column in TABLES[name]:
        values = joined[column.name].combine_chunks()
        if column.dtype == "string":
            rows[column.name] = np.array(values.to_pylist(), dtype=str)
        elif name == "radar" and column.name in OPTIONAL:
            filled = values.fill_null(0).to_numpy(zero_copy_only=False)
            mask = values.is_null().to_numpy(zero_copy_only=False)
            rows[column.name] = np.ma.MaskedArray(filled, mask)
        else:
            rows[column.name] = values.to_numpy(zero_copy_only=False)
    return rows


def _parsed(path: Path, content: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f"{path} is truncated or not a table of ours: {reason}") from error
