"""The CARLA leaderboard's driving score of one of our rollouts, with a term per infraction."""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import SignalKind
from roadloop.scoring.carla import COLUMNS, InfractionKind, RouteScore, route_score
from roadloop.scoring.carla_criteria import route_record, traffic_speed
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score, Term
from roadloop.scoring.rules import stop_kinds

LEADERBOARDS = ("2.0", "2.1")
NEVER: dict[InfractionKind, str] = {
    InfractionKind.YIELD_TO_EMERGENCY_VEHICLE: "there are no emergency vehicles",
    InfractionKind.SCENARIO_TIMEOUT: "the scenario has no time limit of its own",
}
"""Kinds that cannot occur in our scenarios, and why"""


def carla_score(driven: Driven, version: str = "2.1") -> Score:
    """The driving score in % as leaderboard ``version``, one of LEADERBOARDS, defines it.

    Terms: route completion, infraction penalty, and one per kind of infraction, named by the value
    of its ``InfractionKind``, with its count (outside the lanes: its percentage). Raises
    RoadloopError for another version and for rollouts that cannot be judged, see ``route_record``.
    """
    if version not in LEADERBOARDS:
        raise RoadloopError(
            f"no leaderboard version {version!r}; there are {', '.join(LEADERBOARDS)}"
        )
    scored = route_score(route_record(driven, version), version)
    return Score(
        name=f"carla-{version}",
        title=f"CARLA leaderboard {version}",
        version=f"leaderboard {version}",
        value=scored.driving_score,
        unit="%",
        terms=(*route_terms(driven, scored), *infraction_terms(driven, scored)),
    )


def route_terms(driven: Driven, scored: RouteScore) -> tuple[Term, Term]:
    """How much of the route was driven, and what the infractions left of the score."""
    status = scored.status
    if not driven.rollout.finished:
        status += ", the run was interrupted"
    done = Term(
        name="route_completion",
        title="Route completion",
        value=scored.completion,
        unit="%",
        passed=scored.completed,
        lost_at=None,
        detail=status,
        higher_is_better=True,
    )
    count = len(scored.infractions)
    times = [i.time for i in scored.infractions if i.time is not None]
    penalty = Term(
        name="infraction_penalty",
        title="Infraction penalty",
        value=scored.penalty,
        unit="",
        passed=scored.penalty >= 1.0,
        lost_at=min(times) if times and scored.penalty < 1.0 else None,
        detail=f"{count} infraction{'' if count == 1 else 's'}" if count else "no infraction",
        higher_is_better=True,
    )
    return done, penalty


def infraction_terms(driven: Driven, scored: RouteScore) -> tuple[Term, ...]:
    """One term per kind of infraction, in the order of the leaderboard's table."""
    return tuple(_term(driven, scored, title, kind) for title, kind in COLUMNS)


def _term(driven: Driven, scored: RouteScore, title: str, kind: InfractionKind) -> Term:
    mine = [i for i in scored.infractions if i.kind is kind]
    outside = kind is InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION
    unit = "%" if outside else ""
    nothing = NEVER.get(kind) or ("" if mine else _nothing_to_judge(driven, kind))
    if nothing:
        return Term(kind.value, title, None, unit, None, None, nothing, False)
    times = [i.time for i in mine if i.time is not None]
    detail = "; ".join(i.detail for i in mine[:3]) or "none"
    if len(mine) > 3:
        detail += f"; and {len(mine) - 3} more"
    value = float(sum(i.percentage or 0.0 for i in mine) if outside else len(mine))
    first = min(times) if times else None
    return Term(kind.value, title, value, unit, not mine, first, detail, False)


def _nothing_to_judge(driven: Driven, kind: InfractionKind) -> str:
    """Why a kind does not apply to this drive, empty where it does."""
    obeyed = stop_kinds(driven.road_map)
    if kind is InfractionKind.TRAFFIC_LIGHT_INFRACTION and SignalKind.TRAFFIC_LIGHT not in obeyed:
        return "the map has no traffic lights"
    if kind is InfractionKind.STOP_INFRACTION and SignalKind.STOP not in obeyed:
        return "the map has no stop signs"
    if kind is InfractionKind.MIN_SPEED_INFRACTION and np.isnan(traffic_speed(driven)).all():
        return "there was no traffic to compare with"
    return ""
