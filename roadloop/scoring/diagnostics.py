"""What the driver's log tells beside the scores: counts without a verdict; they change no score."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from roadloop.logs.plans import PlanLog
from roadloop.scoring.result import Score, Term

TOLD = 3
"""interventions that are told one by one"""


def with_diagnostics(scores: Sequence[Score], plans: PlanLog | None) -> tuple[Score, ...]:
    """The scores, the first one with a last term ``guard_interventions`` where a guard watched."""
    if plans is None or not plans.guarded:
        return tuple(scores)
    first, *others = scores
    terms = (*first.terms, guard_interventions(plans))
    return (dataclasses.replace(first, terms=terms), *others)


def guard_interventions(plans: PlanLog) -> Term:
    """How often the guard changed a plan; a measurement without a bound."""
    rows, count = plans.tables["interventions"], plans.interventions
    told = [
        f"{time:.1f} s {' '.join(part for part in (kind.replace('_', ' '), what) if part)}"
        for time, kind, what in zip(rows["time"][:TOLD], rows["kind"], rows["what"])
    ]
    if count > TOLD:
        told.append(f"and {count - TOLD} more")
    return Term(
        name="guard_interventions",
        title="Guard interventions",
        value=float(count),
        unit="",
        passed=None,
        lost_at=None,
        detail="; ".join(told) or "the guard left every plan as it was",
        higher_is_better=False,
    )
