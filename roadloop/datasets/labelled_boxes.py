"""Labelled boxes, one row per box and step, made into the road users of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.datasets.motion import velocities
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray


@dataclass(frozen=True)
class LabelledBox:
    """One box of one step."""

    step: int
    track: str
    """the data set's own id of the road user"""
    category: str
    """the data set's own word"""
    kind: AgentKind
    size: tuple[float, float, float]
    """m, length, width, height"""
    world_from_agent: Array
    """(4, 4), origin on the ground under the centre (middle of the box's lower face)"""
    where: str
    """file and row or record, for error messages"""
    lidar_points: int = -1
    """in the box as the data set counts them"""


def road_users(boxes: Sequence[LabelledBox], timestamp_us: Array) -> dict[str, Any]:
    """The fields of a Recording that hold road users: agents, their frames, categories, ids.

    Ids are 1, 2, ... in the order in which tracks first appear, by step; velocities are central
    differences (``roadloop.datasets.motion.velocities``). A road user whose category changes has
    the one it is labelled with first.

    Raises:
        RoadloopError: a road user twice in one step, numbers that are not finite, sizes below 0.
    """
    tracks: dict[str, int] = {}
    categories: list[str] = []
    kinds: list[AgentKind] = []
    rows: dict[tuple[int, int], LabelledBox] = {}
    for box in sorted(boxes, key=lambda b: b.step):
        if box.track not in tracks:
            tracks[box.track] = len(tracks)
            categories.append(box.category)
            kinds.append(box.kind)
        if not (np.isfinite(box.world_from_agent).all() and np.isfinite(box.size).all()):
            raise RoadloopError(f"{box.where}: the box has numbers that are not finite")
        if min(box.size) < 0.0:
            raise RoadloopError(f"{box.where}: the box has a size below 0: {box.size}")
        key = (box.step, tracks[box.track])
        if key in rows:
            raise RoadloopError(
                f"{box.where}: {box.track} has two boxes at this step, also in {rows[key].where}"
            )
        rows[key] = box
    shape = (len(timestamp_us), len(tracks))
    pose = np.broadcast_to(np.eye(4), (*shape, 4, 4)).copy()
    size = np.zeros((*shape, 3))
    valid = np.zeros(shape, bool)
    points = np.full(shape, -1, np.int32)
    for at, box in rows.items():
        pose[at], size[at], valid[at] = box.world_from_agent, box.size, True
        points[at] = box.lidar_points
    x, y, z = (pose[..., k, 3].copy() for k in range(3))
    vx, vy = velocities(x, y, valid, timestamp_us)
    agents = AgentStates(
        id=np.broadcast_to(np.arange(1, shape[1] + 1, dtype=np.int64), shape).copy(),
        kind=np.broadcast_to(np.array(kinds, np.uint8), shape).copy(),
        x=x,
        y=y,
        z=z,
        heading=np.asarray(wrap_angle(np.arctan2(pose[..., 1, 0], pose[..., 0, 0]))),
        vx=vx,
        vy=vy,
        length=size[..., 0],
        width=size[..., 1],
        height=size[..., 2],
        valid=valid,
    )
    return {
        "agents": agents,
        "world_from_agent": pose,
        "category": np.array(categories, str),
        "source_id": np.array(list(tracks), str),
        "lidar_points": points if (points >= 0).any() else None,
    }
