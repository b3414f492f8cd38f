"""Every definition that judges a drive, by name; ``judge`` applies them all."""

from __future__ import annotations

from collections.abc import Callable

from roadloop.maps.road_map import RoadMap
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score
from roadloop.types import Rollout


def _safety(driven: Driven) -> Score:
    from roadloop.scoring.terms import score

    return score(driven.rollout, driven.road_map)


SCORES: dict[str, Callable[[Driven], Score]] = {
    "safety": _safety,
}
"""name -> function; each returns a `Score` of that name"""


def judge(rollout: Rollout, road_map: RoadMap) -> tuple[Score, ...]:
    """All of `SCORES` for one rollout, in their order.

    Raises RoadloopError naming the input that one of them lacks.
    """
    driven = Driven(rollout, road_map)
    return tuple(score(driven) for score in SCORES.values())
