"""Annotations of a nuScenes scene as road users at every step.

Boxes are known at keyframes (2 Hz; Lyft 5 Hz). Between two keyframes that both have an object its
centre moves on a straight line and its rotation along the shorter arc, as ``NuScenes.get_boxes`` of
the devkit has it. Where only the later keyframe has the object, the devkit shows it standing where
it will be; here it is not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from roadloop.datasets.nuscenes.tables import Record, Tables, rotation_of, slerp
from roadloop.geometry import se3
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

KINDS: Mapping[str, AgentKind] = {
    "vehicle.car": AgentKind.CAR,
    "vehicle.emergency.police": AgentKind.CAR,
    "vehicle.emergency.ambulance": AgentKind.VAN,
    "vehicle.truck": AgentKind.TRUCK,
    "vehicle.trailer": AgentKind.TRUCK,
    "vehicle.construction": AgentKind.TRUCK,
    "vehicle.bus.rigid": AgentKind.BUS,
    "vehicle.bus.bendy": AgentKind.BUS,
    "vehicle.motorcycle": AgentKind.MOTORCYCLE,
    "vehicle.bicycle": AgentKind.CYCLIST,
    "human.pedestrian.adult": AgentKind.PEDESTRIAN,
    "human.pedestrian.child": AgentKind.PEDESTRIAN,
    "human.pedestrian.construction_worker": AgentKind.PEDESTRIAN,
    "human.pedestrian.police_officer": AgentKind.PEDESTRIAN,
    "human.pedestrian.personal_mobility": AgentKind.PEDESTRIAN,
    "human.pedestrian.stroller": AgentKind.PEDESTRIAN,
    "human.pedestrian.wheelchair": AgentKind.PEDESTRIAN,
    "animal": AgentKind.PEDESTRIAN,
    "movable_object.barrier": AgentKind.STATIC,
    "movable_object.debris": AgentKind.STATIC,
    "movable_object.pushable_pullable": AgentKind.STATIC,
    "movable_object.trafficcone": AgentKind.STATIC,
    "static_object.bicycle_rack": AgentKind.STATIC,
    # Lyft Level 5
    "car": AgentKind.CAR,
    "emergency_vehicle": AgentKind.VAN,
    "truck": AgentKind.TRUCK,
    "other_vehicle": AgentKind.TRUCK,
    "bus": AgentKind.BUS,
    "motorcycle": AgentKind.MOTORCYCLE,
    "bicycle": AgentKind.CYCLIST,
    "pedestrian": AgentKind.PEDESTRIAN,
}
"""by category; an animal walks about like a pedestrian, bins and trolleys stand where they are"""

LONGEST = 1.5
"""s between two keyframes over which the devkit's ``box_velocity`` takes a velocity"""


@dataclass(frozen=True)
class Labels:
    """The road users of a scene. T steps, A road users."""

    agents: AgentStates
    """(T, A)"""
    world_from_agent: Array | None
    """(T, A, 4, 4); None where all boxes are upright"""
    category: Array
    """(A,) str"""
    source_id: Array
    """(A,) str, instance tokens"""
    lidar_points: Array
    """(T, A) int32, -1 between keyframes"""
    velocity_unknown: int
    """annotations whose velocity the devkit calls unknown; they stand still here"""


@dataclass(frozen=True)
class _Boxes:
    """At the keyframes; fields (K, A, ...)."""

    there: Array
    centre: Array
    size: Array
    """width, length, height, m"""
    turn: Array
    """unit quaternion"""
    points: Array
    velocity: Array
    """m/s, world frame; NaN where it is unknown"""


def labels(
    tables: Tables,
    samples: Sequence[Record],
    time_us: Array,
    keyframe: Array,
    offset: Array,
) -> Labels:
    """The road users of a scene at steps of times (T,) us, Unix time.

    Args:
        offset: (2,) m to take off x and y.
        keyframe: (T,) int, index of the sample whose keyframe the step is, else -1.

    Raises:
        RoadloopError: a dangling token, an unknown category, a box without a size.
    """
    first: dict[str, Record] = {}
    for sample in samples:
        for row in tables.boxes_of(sample):
            first.setdefault(tables.value("sample_annotation", row, "instance_token"), row)
    category = [_category(tables, row) for row in first.values()]
    instances = {token: column for column, token in enumerate(first)}
    boxes = _at_keyframes(tables, samples, instances)
    times = np.array([tables.time_us("sample", sample) for sample in samples], np.int64)

    # the keyframes before and after each step; a step that is one has no other
    last = len(times) - 1
    before = np.clip(np.searchsorted(times, time_us, side="right") - 1, 0, last)
    after = np.minimum(before + 1, last)
    outside = (time_us < times[0]) | (time_us > times[-1])
    is_key = keyframe >= 0
    before, after = np.where(is_key, keyframe, before), np.where(is_key, keyframe, after)
    span = np.where(after > before, times[after] - times[before], 1)
    share = np.where(after > before, (time_us - times[before]) / span, 0.0)[:, None]
    there = boxes.there[before] & boxes.there[after] & ~(outside & ~is_key)[:, None]

    def between(values: Array, weight: Array) -> Array:
        return values[before] * (1.0 - weight) + values[after] * weight

    centre = between(boxes.centre, share[..., None])
    centre[..., :2] -= offset
    known = np.nan_to_num(boxes.velocity)
    velocity = between(known, share[..., None])
    rotation = rotation_of(slerp(boxes.turn[before], boxes.turn[after], share))
    width, length, height = np.moveaxis(boxes.size[after], -1, 0)
    kinds = np.array([KINDS[name] for name in category], np.uint8)

    def shown(values: Array) -> Array:
        return np.where(there, values, 0.0)

    agents = AgentStates(
        id=np.broadcast_to(np.arange(1, len(instances) + 1, dtype=np.int32), there.shape),
        kind=np.broadcast_to(kinds, there.shape),
        x=shown(centre[..., 0]),
        y=shown(centre[..., 1]),
        z=shown(centre[..., 2] - height / 2.0),
        heading=shown(np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])),
        vx=shown(velocity[..., 0]),
        vy=shown(velocity[..., 1]),
        length=shown(length),
        width=shown(width),
        height=shown(height),
        valid=there,
    )
    upright = not boxes.there.any() or (np.abs(boxes.turn[boxes.there][:, 1:3]) < 1e-9).all()
    bottom = centre - rotation[..., :, 2] * (height / 2.0)[..., None]
    tilted = None if upright else np.where(there[..., None, None], se3(rotation, bottom), np.eye(4))
    return Labels(
        agents=agents,
        world_from_agent=tilted,
        category=np.array(category, np.str_),
        source_id=np.array(list(instances), np.str_),
        lidar_points=np.where(is_key[:, None] & there, boxes.points[before], -1).astype(np.int32),
        velocity_unknown=int(np.isnan(boxes.velocity[..., 0])[boxes.there].sum()),
    )


def _category(tables: Tables, box: Record) -> str:
    """The category of an annotation's instance, checked to be one we know."""
    instance = tables.get("instance", box["instance_token"], "sample_annotation", box)
    wanted = tables.value("instance", instance, "category_token")
    category = tables.get("category", wanted, "instance", instance)
    name = tables.value("category", category, "name")
    if name not in KINDS:
        raise tables.fault(
            "category", category, f"unknown category {name!r}: it is in no table of road users"
        )
    return name


def _at_keyframes(
    tables: Tables, samples: Sequence[Record], instances: Mapping[str, int]
) -> _Boxes:
    rows = [(k, row) for k, sample in enumerate(samples) for row in tables.boxes_of(sample)]
    records = [row for _, row in rows]
    shape = (len(samples), len(instances))
    at = (
        np.array([k for k, _ in rows], int),
        np.array([instances[row["instance_token"]] for row in records], int),
    )
    there = np.zeros(shape, bool)
    twice = np.ones(len(rows), bool)
    twice[np.unique(np.ravel_multi_index(at, shape), return_index=True)[1]] = False
    if twice.any():
        row = records[int(np.argmax(twice))]
        raise tables.fault("sample_annotation", row, "its instance is in this sample already")
    there[at] = True

    def filled(values: Array, empty: Array) -> Array:
        out = np.broadcast_to(empty, (*shape, *np.shape(empty))).copy()
        out[at] = values
        return out

    name = "sample_annotation"
    size = tables.numbers(name, records, "size", 3)
    if (size <= 0.0).any():
        row = records[int(np.argmax((size <= 0.0).any(-1)))]
        raise tables.fault(name, row, f"size {row['size']}: expected lengths above 0 m")
    poses = tables.poses(name, records)
    turn = tables.numbers(name, records, "rotation", 4)
    turn = turn / np.linalg.norm(turn, axis=-1, keepdims=True)
    points = np.array([tables.number(name, row, "num_lidar_pts") for row in records], np.int32)
    centre = filled(poses[:, :3, 3], np.zeros(3))
    times = np.array([tables.time_us("sample", sample) for sample in samples], np.int64)
    return _Boxes(
        there=there,
        centre=centre,
        size=filled(size, np.ones(3)),
        turn=filled(turn, np.array([1.0, 0.0, 0.0, 0.0])),
        points=filled(points, np.array(-1, np.int32)),
        velocity=_velocity(there, centre, times),
    )


def _velocity(there: Array, centre: Array, time_us: Array) -> Array:
    """(K, A, 3) m/s as the devkit's ``box_velocity``: central differences over annotations.

    NaN where there is a single annotation, or more than ``LONGEST`` s between two.
    """
    velocity = np.full(centre.shape, np.nan)
    for agent in range(there.shape[1]):
        rows = np.flatnonzero(there[:, agent])
        if len(rows) < 2:
            continue
        first, last = np.r_[rows[0], rows[:-1]], np.r_[rows[1:], rows[-1]]
        span = (time_us[last] - time_us[first]) * 1e-6
        both = (first != rows) & (last != rows)
        near = span <= np.where(both, 2.0, 1.0) * LONGEST
        moved = centre[last, agent] - centre[first, agent]
        velocity[rows, agent] = np.where(near[:, None], moved / span[:, None], np.nan)
    return velocity
