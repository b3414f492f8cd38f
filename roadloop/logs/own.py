"""Logs of roadloop itself as recordings: those of ``roadloop record`` and ``roadloop convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.logs.recording import Recording
from roadloop.logs.schema import EGO_FIELDS, enum_names
from roadloop.logs.sensor_boxes import agent_kinds, box_poses
from roadloop.logs.sensor_folder import META, RIG
from roadloop.logs.sensor_reader import SensorLogReader
from roadloop.types import AgentStates, EgoState, LightState, VehicleParameters

Array = np.ndarray


def drives(root: Path) -> list[str]:
    """Names of the logs in a folder, or of the one log that it is."""
    if _is_log(root):
        return [root.resolve().name]
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.name[0] != "." and _is_log(path))


def open_drive(root: Path, name: str) -> Recording:
    """One log. RoadloopError for a missing or damaged file."""
    folder = root if _is_log(root) else root / name
    reader = SensorLogReader(folder)
    about: dict[str, Any] = dict(reader.meta["about"])
    ego = reader.rows("ego")
    vehicle = VehicleParameters(**reader.meta["vehicle"])
    fields = _agents(reader) if reader.meta["tracks"] else {}
    return Recording(
        name=name,
        dataset="roadloop",
        dt=float(reader.meta["dt"]) * int(about.pop("every", 1)),
        timestamp_us=_stamps(reader, ego["time"]),
        ego=EgoState(**{key: ego[key] for key in EGO_FIELDS}, vehicle=vehicle),
        world_from_ego=reader.world_from_ego,
        rig=reader.rig,
        labelled=ego["labelled"],
        lights=_lights(reader) if reader.meta["lights"] else None,
        load_map=reader.road_map if reader.has_map else None,
        frames=tuple(reader.frames()),
        samples=reader.samples,
        continuous=bool(about.pop("continuous", True)),
        lossless=bool(reader.meta.get("lossless", False)),
        notes=tuple(about.pop("notes", ())),
        about=about,
        **fields,
    )


def _is_log(folder: Path) -> bool:
    return any((f / RIG).is_file() and (f / META).is_file() for f in (folder, folder / "sensors"))


def _stamps(reader: SensorLogReader, time: Array) -> Array:
    """(T,) us since the first step, which need not be the start of the drive."""
    stamps = np.round(time * 1e6).astype(np.int64)
    if stamps[0] != 0:
        raise RoadloopError(
            f"{reader.folder}: the first step is at {time[0]:.3f} s; a recording begins at 0"
        )
    return stamps


def _agents(reader: SensorLogReader) -> dict[str, Any]:
    """Fields of a Recording that describe the road users, one column each."""
    boxes, row = reader.rows_by_step("boxes_3d")
    ids, column = np.unique(boxes["id"], return_inverse=True)
    shape = (len(reader.steps), len(ids))
    cells, count = np.unique(row * len(ids) + column, return_counts=True)
    if (count > 1).any() or (len(ids) and ids[0] < 1):
        cell = int(cells[np.argmax(count)]) if (count > 1).any() else 0
        step, number = reader.steps[cell // len(ids)], ids[cell % len(ids)]
        raise RoadloopError(
            f"{reader.folder}: boxes_3d has id {number} at step {step} {count.max()} times; ids "
            "begin at 1 and are unique within a step"
        )
    pose = reader.world_from_ego[row] @ box_poses(boxes)
    velocity = np.stack([boxes["vx"], boxes["vy"], boxes["vz"]], axis=-1)
    velocity = np.einsum("nij,nj->ni", reader.world_from_ego[row, :3, :3], velocity)
    pose[:, :3, 3] -= pose[:, :3, 2] * boxes["height"][:, None] / 2.0

    def dense(values: Array, empty: Any = 0) -> Array:
        full = np.full((*shape, *values.shape[1:]), empty, values.dtype)
        full[row, column] = values
        return full

    poses = np.broadcast_to(np.eye(4), (*shape, 4, 4)).copy()
    poses[row, column] = pose
    agents = AgentStates(
        id=np.broadcast_to(ids, shape).copy(),
        kind=dense(agent_kinds(boxes["kind"])),
        **{key: dense(pose[:, k, 3]) for k, key in enumerate("xyz")},
        heading=dense(np.asarray(wrap_angle(np.arctan2(pose[:, 1, 0], pose[:, 0, 0])))),
        vx=dense(velocity[:, 0]),
        vy=dense(velocity[:, 1]),
        **{key: dense(boxes[key]) for key in ("length", "width", "height")},
        valid=dense(np.ones(len(row), bool)),
    )
    objects = reader.rows("objects")
    names = {
        key: dict(zip(objects["id"].tolist(), objects[key].tolist()))
        for key in ("category", "source_id")
    }
    kinds = dict(zip(boxes["id"].tolist(), boxes["kind"].tolist()))
    return {
        "agents": agents,
        "world_from_agent": poses,
        "category": np.array([names["category"].get(k, kinds[k]) for k in ids.tolist()], str),
        "source_id": np.array([names["source_id"].get(k, str(k)) for k in ids.tolist()], str),
        "lidar_points": dense(boxes["lidar_points"], -1),
    }


def _lights(reader: SensorLogReader) -> Array:
    """(T, S) LightState."""
    rows, row = reader.rows_by_step("lights")
    number = {name: value for value, name in enumerate(enum_names(LightState).tolist())}
    if strange := set(rows["state"].tolist()) - set(number):
        raise RoadloopError(f"{reader.folder}: lights has the state {min(strange)!r}")
    signals = len(row) // len(reader.steps)
    cell = row * signals + rows["signal"]
    if not np.array_equal(np.sort(cell), np.arange(len(reader.steps) * signals)):
        raise RoadloopError(f"{reader.folder}: lights lacks a signal at some step, or has it twice")
    lights = np.zeros((len(reader.steps), signals), np.uint8)
    lights[row, rows["signal"]] = [number[state] for state in rows["state"].tolist()]
    return lights
