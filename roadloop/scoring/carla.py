"""CARLA leaderboard scores from lists of infractions: one route, and a campaign of many routes.

Driving score = route completion (%) x infraction penalty. Definitions of the leaderboard's branches
2.0 and 2.1 (carla-simulator/leaderboard, ``leaderboard/utils/statistics_manager.py``) and of
Bench2Drive (Thinklab-SJTU/Bench2Drive 0.0.4, the file of the same name), proven equal to their
outputs. Which infractions a drive of ours holds is told by ``carla_criteria``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from roadloop.errors import RoadloopError

VERSIONS = ("2.0", "2.1", "bench2drive")
"""Of the penalties: leaderboard 2.0, leaderboard 2.1 (from March 2025), Bench2Drive"""


class InfractionKind(Enum):
    """What can go wrong: scenario_runner's event as the name, the leaderboard's column as value."""

    COLLISION_STATIC = "collisions_layout"
    COLLISION_PEDESTRIAN = "collisions_pedestrian"
    COLLISION_VEHICLE = "collisions_vehicle"
    TRAFFIC_LIGHT_INFRACTION = "red_light"
    STOP_INFRACTION = "stop_infraction"
    OUTSIDE_ROUTE_LANES_INFRACTION = "outside_route_lanes"
    MIN_SPEED_INFRACTION = "min_speed_infractions"
    YIELD_TO_EMERGENCY_VEHICLE = "yield_emergency_vehicle_infractions"
    SCENARIO_TIMEOUT = "scenario_timeouts"
    ROUTE_DEVIATION = "route_dev"
    VEHICLE_BLOCKED = "vehicle_blocked"
    ROUTE_TIMEOUT = "route_timeout"


FACTORS: dict[InfractionKind, float] = {
    InfractionKind.COLLISION_PEDESTRIAN: 0.50,
    InfractionKind.COLLISION_VEHICLE: 0.60,
    InfractionKind.COLLISION_STATIC: 0.65,
    InfractionKind.TRAFFIC_LIGHT_INFRACTION: 0.70,
    InfractionKind.STOP_INFRACTION: 0.80,
    InfractionKind.SCENARIO_TIMEOUT: 0.70,
    InfractionKind.YIELD_TO_EMERGENCY_VEHICLE: 0.70,
}
"""Leaderboard 2.0 and Bench2Drive: each infraction multiplies the penalty by this"""
MIN_SPEED_FACTOR = 0.70
"""... and a part of the route at 0 % of the traffic's speed by this (not in Bench2Drive)"""
COSTS: dict[InfractionKind, float] = {
    InfractionKind.COLLISION_PEDESTRIAN: 1.00,
    InfractionKind.COLLISION_VEHICLE: 0.70,
    InfractionKind.COLLISION_STATIC: 0.60,
    InfractionKind.TRAFFIC_LIGHT_INFRACTION: 0.40,
    InfractionKind.STOP_INFRACTION: 0.25,
    InfractionKind.SCENARIO_TIMEOUT: 0.40,
    InfractionKind.YIELD_TO_EMERGENCY_VEHICLE: 0.40,
}
"""Leaderboard 2.1: each infraction adds this to c, and the penalty is 1 / (1 + c)"""
MIN_SPEED_COST = 0.40
"""... and a part of the route at 0 % of the traffic's speed adds this"""

PERCENTAGE = (InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION, InfractionKind.MIN_SPEED_INFRACTION)
"""Kinds that come with a percentage"""
REASONS: dict[InfractionKind, str] = {
    InfractionKind.ROUTE_DEVIATION: "Agent deviated from the route",
    InfractionKind.VEHICLE_BLOCKED: "Agent got blocked",
    InfractionKind.ROUTE_TIMEOUT: "Agent timed out",
}
"""Kinds that end a route, as the leaderboard's status words them; they cost route completion"""
LEAST_DRIVEN = 0.001
"""km, a campaign counts as at least this long when infractions are divided by its length"""

COLUMNS: tuple[tuple[str, InfractionKind], ...] = (
    ("Collisions with pedestrians", InfractionKind.COLLISION_PEDESTRIAN),
    ("Collisions with vehicles", InfractionKind.COLLISION_VEHICLE),
    ("Collisions with layout", InfractionKind.COLLISION_STATIC),
    ("Red lights infractions", InfractionKind.TRAFFIC_LIGHT_INFRACTION),
    ("Stop sign infractions", InfractionKind.STOP_INFRACTION),
    ("Off-road infractions", InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION),
    ("Route deviations", InfractionKind.ROUTE_DEVIATION),
    ("Route timeouts", InfractionKind.ROUTE_TIMEOUT),
    ("Agent blocked", InfractionKind.VEHICLE_BLOCKED),
    ("Yield emergency vehicles infractions", InfractionKind.YIELD_TO_EMERGENCY_VEHICLE),
    ("Scenario timeouts", InfractionKind.SCENARIO_TIMEOUT),
    ("Min speed infractions", InfractionKind.MIN_SPEED_INFRACTION),
)
"""Infractions in the order and words of the leaderboard's table"""


@dataclass(frozen=True)
class Infraction:
    """One thing that went wrong on a route."""

    kind: InfractionKind
    percentage: float | None = None
    """OUTSIDE_ROUTE_LANES: % of the route driven; MIN_SPEED: % of the traffic's speed; else None"""
    distance: float | None = None
    """OUTSIDE_ROUTE_LANES: m outside; None: that share of the route driven"""
    time: float | None = None
    """s since the start, where known"""
    detail: str = ""
    """one phrase for people"""

    def __post_init__(self) -> None:
        name = self.kind.value
        if self.kind not in PERCENTAGE:
            if self.percentage is not None:
                raise RoadloopError(f"infraction {name} takes no percentage; leave it out")
        elif self.percentage is None:
            raise RoadloopError(f"infraction {name} needs its percentage")
        else:
            outside = self.kind is InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION
            most, said = (100.0, "from 0 to 100") if outside else (math.inf, "0 or more, finite")
            if not (0.0 <= self.percentage <= most and math.isfinite(self.percentage)):
                raise RoadloopError(
                    f"infraction {name} has percentage {self.percentage}; it must be {said}"
                )


@dataclass(frozen=True)
class RouteRecord:
    """How one route was driven: all a score needs to know."""

    length: float
    """m of the whole route"""
    completion: float
    """% of it that was driven"""
    infractions: tuple[Infraction, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.length) and self.length >= 0.0):
            raise RoadloopError(f"route length is {self.length} m; it must be finite, 0 or more")
        if not 0.0 <= self.completion <= 100.0:
            raise RoadloopError(
                f"route completion is {self.completion} %; it must be from 0 to 100"
            )


@dataclass(frozen=True)
class RouteScore:
    """A route's scores, rounded as the leaderboard stores them: six decimals, length three."""

    completion: float
    """%"""
    penalty: float
    """in [0, 1], 1 without infractions"""
    driving_score: float
    """%, completion times penalty"""
    status: str
    """Perfect, Completed, or Failed with the reason"""
    length: float
    """m"""
    infractions: tuple[Infraction, ...]

    @property
    def completed(self) -> bool:
        """Whether the whole route was driven."""
        return self.status in ("Perfect", "Completed")


@dataclass(frozen=True)
class CampaignScore:
    """Scores over all routes of a campaign."""

    driving_score: float
    """%, mean over all routes of the campaign, six decimals; likewise the next two"""
    completion: float
    penalty: float
    driving_score_std: float
    """%, sample standard deviation, three decimals; likewise the next two"""
    completion_std: float
    penalty_std: float
    infractions_per_km: dict[InfractionKind, float]
    """three decimals; OUTSIDE_ROUTE_LANES is the total km outside, divided by nothing"""
    status: str
    """of the worst route: Perfect, Completed or Failed"""

    def table(self) -> list[tuple[str, float]]:
        """The leaderboard's table: label and figure, in its order."""
        head = [
            ("Avg. driving score", self.driving_score),
            ("Avg. route completion", self.completion),
            ("Avg. infraction penalty", self.penalty),
        ]
        return head + [(label, self.infractions_per_km[kind]) for label, kind in COLUMNS]


def infraction_penalty(infractions: Sequence[Infraction], version: str) -> float:
    """What the infractions leave of the score, 1 without any; not rounded.

    2.0: the product of ``FACTORS``, of ``1 - p / 100`` for p % outside the route's lanes and of
    ``1 - (1 - 0.7) (1 - p / 100)`` for a part at p % of the traffic's speed. Bench2Drive: the same
    without the speed. 2.1: ``prod(1 - p / 100) / (1 + c)`` with c the sum of ``COSTS`` and of
    ``0.4 (1 - p / 100)`` per part. Raises RoadloopError for an unknown version.
    """
    if version not in VERSIONS:
        raise RoadloopError(f"no CARLA score {version!r}; there are {', '.join(VERSIONS)}")
    penalty, cost = 1.0, 0.0
    for infraction in infractions:
        kind, share = infraction.kind, (infraction.percentage or 0.0) / 100.0
        if kind is InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION:
            penalty *= 1.0 - share
        elif version == "2.1":
            slow = kind is InfractionKind.MIN_SPEED_INFRACTION
            cost += MIN_SPEED_COST * (1.0 - share) if slow else COSTS.get(kind, 0.0)
        elif kind is not InfractionKind.MIN_SPEED_INFRACTION:
            penalty *= FACTORS.get(kind, 1.0)
        elif version == "2.0":
            penalty *= 1.0 - (1.0 - MIN_SPEED_FACTOR) * (1.0 - share)
    return penalty * (1.0 / (1.0 + cost))


def route_score(record: RouteRecord, version: str) -> RouteScore:
    """Scores of one route under ``version``, one of ``VERSIONS``."""
    penalty = infraction_penalty(record.infractions, version)
    if record.completion >= 100.0:
        status = "Completed" if record.infractions else "Perfect"
    else:
        # of several reasons the last one, and running out of time only where there is no other
        ends = [i.kind for i in record.infractions if i.kind in REASONS]
        ends.sort(key=lambda kind: kind is not InfractionKind.ROUTE_TIMEOUT)
        status = f"Failed - {REASONS[ends[-1]]}" if ends else "Failed"
    return RouteScore(
        completion=round(record.completion, 6),
        penalty=round(penalty, 6),
        driving_score=round(max(record.completion * penalty, 0.0), 6),
        status=status,
        length=round(record.length, 3),
        infractions=record.infractions,
    )


def campaign_score(scores: Sequence[RouteScore], routes: int | None = None) -> CampaignScore:
    """Scores of a campaign of ``routes`` routes, of which those in ``scores`` were driven.

    Routes that are missing count 0 in the means. As in the leaderboard they are no terms of the
    standard deviations, whose divisor is ``routes - 1``, and deviations are from the rounded means.
    Of a route's entries for lanes left, the first alone holds the distance (the leaderboard keeps
    one entry per route). Raises RoadloopError for a campaign without routes, or with fewer than
    were driven.
    """
    total = len(scores) if routes is None else routes
    if total < 1 or total < len(scores):
        raise RoadloopError(
            f"a campaign of {total} routes with {len(scores)} driven: give at least one route, and "
            "as many as were driven"
        )
    columns = {
        "driving_score": [score.driving_score for score in scores],
        "completion": [score.completion for score in scores],
        "penalty": [score.penalty for score in scores],
    }
    mean = {name: round(sum(v / total for v in values), 6) for name, values in columns.items()}
    spread = {
        name: sum(math.pow(v - mean[name], 2) for v in values) for name, values in columns.items()
    }
    std = {
        f"{name}_std": round(math.sqrt(square / (total - 1)), 3) if total > 1 else 0.0
        for name, square in spread.items()
    }
    driven = sum(score.length / 1000 * score.completion / 100 for score in scores)
    driven = max(driven, LEAST_DRIVEN)
    per_km = {
        kind: round(sum(sum(i.kind is kind for i in s.infractions) for s in scores) / driven, 3)
        for kind in InfractionKind
    }
    outside = sum(_metres_outside(score) / 1000 for score in scores)
    per_km[InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION] = round(outside, 3)
    statuses = {score.status for score in scores}
    status = "Perfect" if statuses <= {"Perfect"} else "Completed"
    if not all(score.completed for score in scores):
        status = "Failed"
    return CampaignScore(**mean, **std, infractions_per_km=per_km, status=status)


def _metres_outside(score: RouteScore) -> float:
    """m the route was driven outside its lanes, three decimals as in the leaderboard's message."""
    for infraction in score.infractions:
        if infraction.kind is InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION:
            if infraction.distance is not None:
                return round(infraction.distance, 3)
            share = (infraction.percentage or 0.0) / 100
            return round(score.length * score.completion / 100 * share, 3)
    return 0.0
