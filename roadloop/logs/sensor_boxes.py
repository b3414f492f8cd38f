"""3D boxes of a sensor log: agents in the ego frame, and what sensors saw of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points, wrap_angle
from roadloop.logs.schema import Table, enum_names
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

POINT_MARGIN = 0.1
"""m by which a box is wider to all sides and above when points in it are counted: surfaces are
where it ends, and ranges are noisy"""
FLOOR = 0.05
"""m above the bottom of a box from which points count: below lies the road"""


def boxes_in_ego(
    states: AgentStates,
    world_from_ego: Array,
    world_from_agent: Array | None = None,
    lidar_points: Array | None = None,
) -> Table:
    """Rows of ``boxes_3d`` without their step, sorted by id; what sensors saw is unknown (-1).

    Args:
        states: fields ``(agents,)``; those that are not valid are left out.
        world_from_agent: (agents, 4, 4) of the box frames (ground under the box centre), by
            default upright at x, y, z and heading.
        lidar_points: (agents,) points in each box where they are known, -1 where not.

    Raises:
        RoadloopError: an id twice, an unknown kind, a number that is not finite.
    """
    if world_from_agent is None:
        world_from_agent = _upright(states)
    rows = np.flatnonzero(states.valid)
    rows = rows[np.argsort(np.asarray(states.id)[rows], kind="stable")]
    ids = np.asarray(states.id)[rows].astype(np.int64)
    if (twice := np.flatnonzero(np.diff(ids) == 0)).size:
        raise RoadloopError(f"agent id {ids[twice[0]]} occurs twice; ids must be unique per step")
    kind = np.asarray(states.kind)[rows].astype(np.uint8)
    if (kind >= len(AgentKind)).any():
        raise RoadloopError(f"agent kind {kind.max()} is unknown; see roadloop.types.AgentKind")
    size = {key: np.asarray(getattr(states, key), float)[rows] for key in _SIZE}
    ego_from_world = inverse(world_from_ego)
    pose = ego_from_world @ np.asarray(world_from_agent, float)[rows]
    centre = pose[:, :3, 3] + pose[:, :3, 2] * size["height"][:, None] / 2.0
    level = np.zeros(len(rows))
    speed = np.stack([np.asarray(states.vx)[rows], np.asarray(states.vy)[rows], level], axis=-1)
    velocity = speed @ ego_from_world[:3, :3].T
    r = pose[:, :3, :3]
    table = {
        "id": ids,
        "kind": enum_names(AgentKind)[kind],
        **{key: centre[:, k] for k, key in enumerate("xyz")},
        **size,
        "yaw": np.arctan2(r[:, 1, 0], r[:, 0, 0]),
        "pitch": np.arcsin(np.clip(-r[:, 2, 0], -1.0, 1.0)),
        "roll": np.arctan2(r[:, 2, 1], r[:, 2, 2]),
        **{f"v{key}": velocity[:, k] for k, key in enumerate("xyz")},
    }
    for key, values in table.items():
        if key != "kind" and not np.isfinite(values).all():
            bad = ids[np.argmin(np.isfinite(values))]
            raise RoadloopError(f"agent {bad}: its box has a {key} that is not a finite number")
    unknown = np.full(len(rows), -1, np.int32)
    points = unknown.copy() if lidar_points is None else np.asarray(lidar_points, np.int32)[rows]
    return {**table, "pixels": unknown, "lidar_points": points}


def agents_in_world(boxes: Table, world_from_ego: Array) -> AgentStates:
    """The agents of ``boxes_3d`` rows of one step in the world frame, fields ``(agents,)``."""
    pose = world_from_ego @ box_poses(boxes)
    ground = pose[:, :3, 3] - pose[:, :3, 2] * boxes["height"][:, None] / 2.0
    velocity = np.stack([boxes["vx"], boxes["vy"], boxes["vz"]], axis=-1) @ world_from_ego[:3, :3].T
    return AgentStates(
        id=boxes["id"],
        kind=agent_kinds(boxes["kind"]),
        x=ground[:, 0],
        y=ground[:, 1],
        z=ground[:, 2],
        heading=np.asarray(wrap_angle(np.arctan2(pose[:, 1, 0], pose[:, 0, 0]))),
        vx=velocity[:, 0],
        vy=velocity[:, 1],
        **{key: boxes[key] for key in _SIZE},
        valid=np.ones(len(ground), bool),
    )


def agent_kinds(names: Array) -> Array:
    """uint8 AgentKind of the words in a table; RoadloopError for one that is none."""
    number = {name: value for value, name in enumerate(enum_names(AgentKind).tolist())}
    if strange := set(names.tolist()) - set(number):
        raise RoadloopError(f"boxes hold agents of kind {min(strange)!r}; see docs/logs.md")
    return np.array([number[name] for name in names.tolist()], np.uint8)


def box_poses(boxes: Table) -> Array:
    """(boxes, 4, 4) ego_from_box: origin at the box centre, x along its length."""
    turned = rotation_from_euler(boxes["roll"], boxes["pitch"], boxes["yaw"])
    return se3(turned, np.stack([boxes["x"], boxes["y"], boxes["z"]], axis=-1))


def points_inside(boxes: Table, points: Array) -> Array:
    """(boxes,) int32, how many of ``points`` (n, 3 or more; ego frame) lie in each box.

    Boxes are ``POINT_MARGIN`` wider, and begin ``FLOOR`` above their bottom.
    """
    count = np.zeros(len(boxes["id"]), np.int32)
    half = np.stack([boxes[key] for key in _SIZE], axis=-1) / 2.0
    reach = np.linalg.norm(half, axis=-1) + 2.0 * POINT_MARGIN
    for k, box_from_ego in enumerate(inverse(box_poses(boxes))):
        near = np.abs(points[:, 0] - boxes["x"][k]) < reach[k]
        near &= np.abs(points[:, 1] - boxes["y"][k]) < reach[k]
        if near.any():
            local = transform_points(box_from_ego, points[near, :3].astype(np.float64))
            inside = (local < half[k] + POINT_MARGIN).all(-1)
            inside &= (local[:, :2] > -half[k, :2] - POINT_MARGIN).all(-1)
            count[k] = np.count_nonzero(inside & (local[:, 2] > FLOOR - half[k, 2]))
    return count


def add_seen(boxes: Table, column: str, ids: Array, counts: Array) -> None:
    """Adds to ``pixels`` or ``lidar_points`` what one sensor saw of the agents ``ids``."""
    known = np.maximum(boxes[column], 0)
    if len(known) and len(ids):
        at = np.minimum(np.searchsorted(boxes["id"], ids), len(known) - 1)
        match = boxes["id"][at] == ids
        np.add.at(known, at[match], np.asarray(counts)[match].astype(np.int32))
    boxes[column] = known


def instance_counts(instance: Array) -> tuple[Array, Array]:
    """Ids of the agents in an instance image, and how many pixels show each."""
    return np.unique(instance[instance > 0], return_counts=True)


_SIZE = ("length", "width", "height")


def _upright(states: Any) -> Array:
    level = np.zeros(len(states.id))
    turned = rotation_from_euler(level, level, np.asarray(states.heading, float))
    place = np.stack([np.asarray(getattr(states, key), float) for key in "xyz"], axis=-1)
    return se3(turned, place)
