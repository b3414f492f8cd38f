"""Which detection is which track: distances in units of their uncertainty, gates, assignment."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from perception.detector_config import PARKED, ObjectClass, object_classes
from roadloop.geometry import box_corners
from roadloop.types import AgentKind, AgentStates, at

Array = np.ndarray

_VELOCITY_CAP = 6.0
"""a detection with the wrong velocity is less likely, never impossible"""
_FAR = 1e6
_NEVER = np.inf
_SHORT = object_classes(np.arange(len(AgentKind)), np.zeros(len(AgentKind)))
_LONG = object_classes(np.arange(len(AgentKind)), np.full(len(AgentKind), PARKED))


def labels(kind: Array, length: Array) -> Array:
    """`object_classes` from tables, for small arrays ten times as fast."""
    return np.where(length >= PARKED, _LONG[kind], _SHORT[kind])


def _class_costs() -> Array:
    """(K, K) added to the squared distance where a detector changes its mind about the class."""
    costs = np.full((len(ObjectClass), len(ObjectClass)), 6.0)
    np.fill_diagonal(costs, 0.0)
    # a rider is a pedestrian on wheels; a car is never a pedestrian
    costs[ObjectClass.CYCLIST, ObjectClass.PEDESTRIAN] = 3.0
    costs[ObjectClass.PEDESTRIAN, ObjectClass.CYCLIST] = 3.0
    costs[ObjectClass.VEHICLE, ObjectClass.PEDESTRIAN] = _NEVER
    costs[ObjectClass.PEDESTRIAN, ObjectClass.VEHICLE] = _NEVER
    return costs


CLASS_COSTS = _class_costs()


def distances(
    mean: Array, cov: Array, track_class: Array, measured: Array, noise: Array, found_class: Array
) -> tuple[Array, Array, Array]:
    """How far each of n tracks is from each of m detections.

    Args:
        mean, cov: ``(n, 4)``, ``(n, 4, 4)`` of x, y, vx, vy.
        measured, noise: ``(m, 4)``, ``(m, 4, 4)``, likewise.
        track_class, found_class: ``(n,)``, ``(m,)`` `ObjectClass`.

    Returns:
        ``(n, m)`` squared Mahalanobis distance on the ground with the class's cost; the cost of
        assigning, which knows the velocity too and is a negative log-likelihood but for constants;
        and the distance in m.
    """
    off = measured[None] - mean[:, None]
    total = cov[:, None, :2, :2] + noise[None, :, :2, :2]
    a, b, d = total[..., 0, 0], total[..., 0, 1], total[..., 1, 1]
    det = a * d - b * b
    dx, dy = off[..., 0], off[..., 1]
    ground = (d * dx * dx - 2.0 * b * dx * dy + a * dy * dy) / det
    ground = ground + CLASS_COSTS[track_class[:, None], found_class[None]]
    slack = (cov[:, 2, 2] + cov[:, 3, 3])[:, None] + (noise[:, 2, 2] + noise[:, 3, 3])[None]
    velocity = (off[..., 2] ** 2 + off[..., 3] ** 2) / (slack / 2.0)
    cost = ground + np.minimum(velocity, _VELOCITY_CAP) + np.log(det)
    return ground, cost, np.hypot(dx, dy)


def assign(cost: Array, allowed: Array) -> tuple[Array, Array]:
    """Rows and columns paired at the least total cost, as many as are ``allowed`` (n, m) bool."""
    if not allowed.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, columns = linear_sum_assignment(np.where(allowed, cost, _FAR))
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]


def overlapping(boxes: AgentStates, share: float) -> tuple[Array, Array]:
    """Pairs i < j of boxes that share more than ``share`` of the smaller one's area."""
    import shapely

    half = np.hypot(boxes.length, boxes.width) / 2.0
    apart = np.hypot(boxes.x[:, None] - boxes.x, boxes.y[:, None] - boxes.y)
    i, j = np.nonzero(np.triu(apart < half[:, None] + half, 1))
    if not len(i):
        return i, j
    area = boxes.length * boxes.width
    least = share * np.minimum(area[i], area[j])
    may = _shared_at_most(at(boxes, i), at(boxes, j)) > least
    i, j, least = i[may], j[may], least[may]
    if not len(i):
        return i, j
    corners = box_corners(boxes.x, boxes.y, boxes.heading, boxes.length, boxes.width)
    shared = shapely.intersection(shapely.polygons(corners[i]), shapely.polygons(corners[j]))
    same = shapely.area(shared) > least
    return i[same], j[same]


def _shared_at_most(a: AgentStates, b: AgentStates) -> Array:
    """Upper bound of the area (m^2) that boxes share, pair by pair: along and across box a."""
    c, s = np.cos(a.heading), np.sin(a.heading)
    dx, dy = b.x - a.x, b.y - a.y
    turn_c, turn_s = np.abs(np.cos(b.heading - a.heading)), np.abs(np.sin(b.heading - a.heading))
    along = (a.length + turn_c * b.length + turn_s * b.width) / 2.0 - np.abs(c * dx + s * dy)
    across = (a.width + turn_s * b.length + turn_c * b.width) / 2.0 - np.abs(c * dy - s * dx)
    along, across = np.minimum(along, a.length), np.minimum(across, a.width)
    return np.maximum(along, 0.0) * np.maximum(across, 0.0)
