"""nuPlan's closed-loop score: eight metrics of one drive, their product-and-average, their mean.

After nuplan-devkit 1.2.2 (``metrics/evaluation_metrics/common``, ``metrics/aggregator`` and the
thresholds of ``config/common/simulation_metric``). The score is the same for replayed traffic
(CLS-NR) and reactive traffic (CLS-R); what differs is the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.area_map import AreaMap
from roadloop.scoring.collision import Contact, contacts, time_to_collision
from roadloop.scoring.comfort import broken_bounds
from roadloop.scoring.nuplan_lanes import LaneSet, OnLanes
from roadloop.scoring.nuplan_progress import (
    driving_direction_score,
    metres_against_lane,
    progress_ratio,
)
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

MULTIPLIERS = (
    "no_ego_at_fault_collisions",
    "drivable_area_compliance",
    "driving_direction_compliance",
    "ego_is_making_progress",
)
"""Metrics that scale the score."""
WEIGHTS = {
    "ego_progress_along_expert_route": 5.0,
    "time_to_collision_within_bound": 5.0,
    "speed_limit_compliance": 4.0,
    "ego_is_comfortable": 2.0,
}
"""Metrics that are averaged."""
METRICS = (*MULTIPLIERS, *WEIGHTS)

VULNERABLE = (AgentKind.PEDESTRIAN, AgentKind.CYCLIST, AgentKind.MOTORCYCLE)
"""nuPlan counts motorcycles among the bicycles"""
OBJECTS = (AgentKind.STATIC,)
COLLISION_LIMITS = {"vulnerable road users": 0, "vehicles": 0, "objects": 1}
"""At-fault collisions with a group until its factor 1 - n / (limit + 1) is 0"""
OUTSIDE = 0.3
"""m, from here on a corner outside the drivable area is a violation"""
MIN_TTC = 0.95
"""s, time to collision must stay above this"""
OVERSPEED = 2.23
"""m/s, 5 mph: the mean excess at which the speed-limit metric is 0"""
MAKING_PROGRESS = 0.2
"""Least progress ratio of a drive that makes progress"""


def collision_group(kind: AgentKind) -> str:
    """Which of ``COLLISION_LIMITS`` a road user counts to."""
    if kind in VULNERABLE:
        return "vulnerable road users"
    return "objects" if kind in OBJECTS else "vehicles"


def no_at_fault_collisions(hits: Iterable[Contact]) -> float:
    """1 without at-fault contacts, 0.5 with one object, 0 with anybody else or two objects."""
    factor = 1.0
    faults = [collision_group(hit.agent_kind) for hit in hits if hit.at_fault]
    for group, limit in COLLISION_LIMITS.items():
        factor *= max(0.0, 1.0 - faults.count(group) / (limit + 1))
    return factor


def drivable_area_compliance(corners_outside: Array) -> float:
    """0 where a corner (time, 4) is ever 0.3 m or more outside, else 1."""
    return float(not (corners_outside >= OUTSIDE).any())


def speed_limits(area_map: AreaMap, route: list[LaneSet], own_on_connectors: bool = False) -> Array:
    """(time,) m/s, the limit along a driven route, NaN where there is none.

    Connectors have the largest limit of the lanes before and after those of the set, as in nuPlan,
    or with ``own_on_connectors`` their own, which is for maps that state one. One that is missing
    makes them all missing.
    """
    known: dict[LaneSet, float] = {(): np.nan}
    for lanes in set(route) - {()}:
        asked = list(lanes[:1])
        if area_map.lane_is_connector[lanes[0]] and not own_on_connectors:
            edges = [[*area_map.outgoing_of(lane), *area_map.incoming_of(lane)] for lane in lanes]
            asked = [edge for row in edges for edge in row]
        limits = area_map.lane_speed_limit[asked]
        known[lanes] = float(limits.max()) if len(limits) and (limits > 0.0).all() else np.nan
    return np.array([known[lanes] for lanes in route])


def overspeed(speed: Array, limit: Array) -> Array:
    """(time,) m/s above the limit, 0 where there is none; ``speed`` is a magnitude."""
    return np.maximum(np.nan_to_num(speed - limit, nan=0.0), 0.0)


def speed_limit_compliance(over: Array, dt: float) -> float:
    """1 less the mean of ``overspeed`` (time,) as a share of ``OVERSPEED``, at least 0."""
    duration = (len(over) - 1) * dt
    if duration <= 0.0 or not over.any():
        return 1.0
    return max(0.0, 1.0 - float(over.sum()) * dt / (OVERSPEED * duration))


def closed_loop_score(metrics: Mapping[str, float | None]) -> float:
    """The score of one drive in [0, 1]; a metric that is missing or None is left out.

    Product of ``MULTIPLIERS`` times the mean of the others by ``WEIGHTS``; 0 without any of those.
    Raises RoadloopError for a metric that is no part of the score or is not finite.
    """
    for name, value in metrics.items():
        if name not in METRICS:
            raise RoadloopError(
                f"nuplan: no metric {name!r} in the score; use {', '.join(METRICS)}"
            )
        if value is not None and not np.isfinite(value):
            raise RoadloopError(f"nuplan: metric {name} is {value}; leave it out or give a number")
    given = {name: value for name, value in metrics.items() if value is not None}
    factor = np.prod([given[name] for name in MULTIPLIERS if name in given])
    weight = sum(WEIGHTS[name] for name in WEIGHTS if name in given)
    total = sum(WEIGHTS[name] * given[name] for name in WEIGHTS if name in given)
    return float(factor * total / weight) if weight else 0.0


def scenario_scores(scores: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean score by scenario type of ``(type, score)``, and over all of them as ``final_score``.

    The final score is the mean of the types by their number of scenarios. Raises RoadloopError
    without scores.
    """
    by_type: dict[str, list[float]] = {}
    for kind, value in scores:
        by_type.setdefault(kind, []).append(value)
    if not by_type:
        raise RoadloopError("nuplan: no scenario scores to average; score at least one scenario")
    means = {kind: float(np.mean(values)) for kind, values in by_type.items()}
    count = sum(len(values) for values in by_type.values())
    total = sum(means[kind] * len(values) for kind, values in by_type.items())
    return {**means, "final_score": total / count}


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """nuPlan's metrics of one drive, and what they are made of."""

    metrics: dict[str, float | None]
    """by the names of ``METRICS``"""
    hits: tuple[Contact, ...]
    ttc: Array
    """(time,) s"""
    against: Array
    """(time,) m against the lane within the last second"""
    limit: Array
    """(time,) m/s"""
    over: Array
    """(time,) m/s above the limit"""

    @property
    def value(self) -> float:
        """The score in [0, 1]."""
        return closed_loop_score(self.metrics)


def closed_loop(
    on_lanes: OnLanes,
    agents: AgentStates,
    signals: Mapping[str, Array] | None,
    along_lane: Array,
    gained: float,
    expert: float | None,
    dt: float,
    *,
    hops: int = 1,
    in_line: bool = False,
) -> ClosedLoop:
    """Every metric of a drive among ``agents`` (time, agents).

    ``signals`` are ``comfort_signals``, None where the drive is too short for them; ``along_lane``
    is ``progress_along_lane``; ``gained`` and ``expert`` are m along the expert's route, of the
    drive and of the expert, who has None where it never was on a lane. ``hops`` as in
    ``fully_in_one_lane``, ``in_line`` as in ``time_to_collision``.
    """
    ego, in_lane = on_lanes.ego, on_lanes.in_lane(hops)
    hits = contacts(ego, agents, in_lane, in_line=in_line)
    ttc = time_to_collision(ego, agents, hits, in_lane, on_lanes.in_intersection, in_line=in_line)
    against = metres_against_lane(along_lane, dt)
    limit = speed_limits(on_lanes.area_map, on_lanes.route)
    over = overspeed(np.abs(ego.speed), limit)
    ratio = 1.0 if expert is None else progress_ratio(gained, expert)
    comfortable = None
    if signals is not None:
        comfortable = float(not any(mask.any() for mask in broken_bounds(dict(signals)).values()))
    metrics = {
        "no_ego_at_fault_collisions": no_at_fault_collisions(hits),
        "drivable_area_compliance": drivable_area_compliance(on_lanes.corners_outside),
        "driving_direction_compliance": driving_direction_score(against),
        "ego_is_making_progress": float(ratio >= MAKING_PROGRESS),
        "ego_progress_along_expert_route": ratio,
        "time_to_collision_within_bound": float((ttc > MIN_TTC).all()),
        "speed_limit_compliance": speed_limit_compliance(over, dt),
        "ego_is_comfortable": comfortable,
    }
    return ClosedLoop(metrics, hits, ttc, against, limit, over)
