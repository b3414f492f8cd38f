"""Categories, attributes and visibilities of nuScenes, and which of them our road users are.

The names: nuscenes-devkit, ``docs/instructions_nuscenes.md`` (23 categories, 8 attributes).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roadloop.types import AgentKind

Array = np.ndarray

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)

ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)

VISIBILITIES: Mapping[str, str] = {
    "1": "v0-40",
    "2": "v40-60",
    "3": "v60-80",
    "4": "v80-100",
    "0": "unknown",
}
"""token -> level; nuScenes has the first four"""

VISIBILITY_UNKNOWN = "0"

_CATEGORY: Mapping[AgentKind, str] = {
    AgentKind.CAR: "vehicle.car",
    AgentKind.VAN: "vehicle.car",  # nuScenes counts vans among the cars
    AgentKind.TRUCK: "vehicle.truck",
    AgentKind.BUS: "vehicle.bus.rigid",
    AgentKind.MOTORCYCLE: "vehicle.motorcycle",
    AgentKind.CYCLIST: "vehicle.bicycle",
    AgentKind.PEDESTRIAN: "human.pedestrian.adult",
}

_MOVING = 0.2
"""m/s, from which a road user counts as moving"""


def category_of(kind: int, own: str, length: float, width: float, height: float) -> str:
    """The category of a road user: its own where nuScenes has that, else by its kind.

    What never moves is a parked car where it has the size of one, a cone where its base is narrow,
    else a barrier. Lengths in m.
    """
    if own in CATEGORIES:
        return own
    if kind != AgentKind.STATIC:
        return _CATEGORY[AgentKind(kind)]
    if length > 3.0 and width > 1.4 and height > 1.1:
        return "vehicle.car"
    return "movable_object.trafficcone" if max(length, width) < 0.7 else "movable_object.barrier"


def attribute_of(category: str, speed: float, ever_moves: bool) -> str:
    """What the motion (m/s) tells of the attribute of a road user; "" where it tells nothing.

    A vehicle that never moves in the whole drive is parked. A cycle that moves has a rider; of one
    that stands nothing is known.
    """
    moving = speed > _MOVING
    if category.startswith("vehicle.") and category not in (
        "vehicle.bicycle",
        "vehicle.motorcycle",
    ):
        return "vehicle.moving" if moving else "vehicle.stopped" if ever_moves else "vehicle.parked"
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider" if moving else ""
    if category.startswith("human."):
        return "pedestrian.moving" if moving else "pedestrian.standing"
    return ""


def moves(speed: Array, valid: Array) -> Array:
    """(A,) bool, whether each road user moves at any of the steps (T, A) at which it is there."""
    return np.asarray(((speed > _MOVING) & valid).any(axis=0))
