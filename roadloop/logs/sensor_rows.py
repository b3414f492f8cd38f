"""Rows of a sensor log's tables: what an Observation says of the ego, and what sensors measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.schema import EGO_FIELDS, Table, enum_names
from roadloop.logs.sensor_poses import pose_columns
from roadloop.logs.sensor_tables import OPTIONAL
from roadloop.readings import ImageBoxes, RadarScan
from roadloop.types import AgentKind, LightState, Observation

Array = np.ndarray


def ego_row(observation: Observation, world_from_ego: Array, labelled: bool) -> dict[str, Any]:
    """Position and attitude from the pose, everything else as the observation has it."""
    return {
        **{"step": observation.step, "time": float(observation.time)},
        **{key: float(getattr(observation.ego, key)) for key in EGO_FIELDS},
        **pose_columns(world_from_ego),
        "labelled": labelled,
    }


def light_rows(where: str, step: int, lights: Array) -> Table:
    """One row per signal; RoadloopError, which begins with ``where``, for an unknown state."""
    if lights.ndim != 1 or (
        lights.size and not 0 <= lights.min() <= lights.max() < len(LightState)
    ):
        raise RoadloopError(
            f"{where}: lights has shape {lights.shape} and values up to {lights.max(initial=0)}; "
            "must be (signals,) of LightState"
        )
    return {
        "step": np.full(len(lights), step),
        "signal": np.arange(len(lights), dtype=np.int32),
        "state": enum_names(LightState)[lights.astype(np.int64)],
    }


def box_rows(step: int, camera: str, boxes: ImageBoxes, timestamp_us: int) -> Table:
    """One row of ``boxes_2d`` per road user in the picture."""
    rows = {f.name: np.asarray(getattr(boxes, f.name)) for f in dataclasses.fields(boxes)}
    rows["kind"] = enum_names(AgentKind)[rows["kind"]]
    rows["timestamp_us"] = np.full(len(boxes.id), timestamp_us)
    return _of_sensor(step, camera, rows)


def scan_rows(step: int, name: str, scan: RadarScan) -> Table:
    """One row of ``radar`` per target; what the scan does not have is masked."""
    count = len(scan.x)
    rows: Table = {"timestamp_us": np.full(count, scan.timestamp_us)}
    rows |= {key: getattr(scan, key) for key in ("x", "y", "z", "radial_speed", "rcs")}
    for key in OPTIONAL:
        given = getattr(scan, key)
        empty = np.full(count, given is None)
        rows[key] = np.ma.MaskedArray(np.zeros(count) if given is None else given, empty)
    return _of_sensor(step, name, rows)


def sample_rows(observation: Observation) -> Iterator[tuple[str, Table]]:
    """Table and rows of each IMU, GNSS receiver and odometry."""
    for name, samples in observation.imus.items():
        rows = {"timestamp_us": samples.timestamp_us}
        rows |= dict(zip(("ax", "ay", "az"), np.asarray(samples.acceleration).T))
        rows |= dict(zip(("wx", "wy", "wz"), np.asarray(samples.angular_velocity).T))
        yield "imu", _of_sensor(observation.step, name, rows)
    for table, readings in (("gnss", observation.gnss), ("odometry", observation.odometry)):
        for name, reading in readings.items():
            rows = {key: np.array([value]) for key, value in vars(reading).items()}
            yield table, _of_sensor(observation.step, name, rows)


def _of_sensor(step: int, name: str, rows: Table) -> Table:
    """The rows of a measurement with the columns that all of them share."""
    count = len(rows["timestamp_us"])
    return {"step": np.full(count, step), "sensor": np.full(count, name), **rows}
