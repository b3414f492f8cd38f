"""Every definition that judges a drive, by name; ``judge`` applies them all."""

from __future__ import annotations

import functools
from collections.abc import Callable

from roadloop.maps.road_map import RoadMap
from roadloop.scoring.bench2drive import bench2drive_score
from roadloop.scoring.carla_score import carla_score
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan_score import nuplan_score
from roadloop.scoring.protocols import euro_ncap_score, r157_score
from roadloop.scoring.result import Score
from roadloop.scoring.rss_margins import rss_score
from roadloop.scoring.surrogate import surrogate_score
from roadloop.scoring.terms import safety_score
from roadloop.types import Rollout

SCORES: dict[str, Callable[[Driven], Score | None]] = {
    "safety": safety_score,
    "nuplan": nuplan_score,
    "carla-2.0": functools.partial(carla_score, version="2.0"),
    "carla-2.1": functools.partial(carla_score, version="2.1"),
    "bench2drive": bench2drive_score,
    "rss": rss_score,
    "surrogate": surrogate_score,
    "euro-ncap": euro_ncap_score,
    "r157": r157_score,
}
"""name -> function; each returns a `Score` of that name, or None where it is of other scenarios"""


def judge(rollout: Rollout, road_map: RoadMap) -> tuple[Score, ...]:
    """All of `SCORES` that apply to one rollout, in their order.

    Raises RoadloopError naming the input that one of them lacks.
    """
    driven = Driven(rollout, road_map)
    found = (score(driven) for score in SCORES.values())
    return tuple(score for score in found if score is not None)
