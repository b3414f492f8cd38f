"""Every definition that judges a drive, by name; ``judge`` applies them all."""

from __future__ import annotations

import functools
from collections.abc import Callable

from roadloop.maps.road_map import RoadMap
from roadloop.scoring.bench2drive import bench2drive_score
from roadloop.scoring.carla_score import carla_score
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan_score import nuplan_score
from roadloop.scoring.result import Score
from roadloop.scoring.rss_margins import rss_score
from roadloop.scoring.surrogate import surrogate_score
from roadloop.scoring.terms import safety_score
from roadloop.types import Rollout

SCORES: dict[str, Callable[[Driven], Score]] = {
    "safety": safety_score,
    "nuplan": nuplan_score,
    "carla-2.0": functools.partial(carla_score, version="2.0"),
    "carla-2.1": functools.partial(carla_score, version="2.1"),
    "bench2drive": bench2drive_score,
    "rss": rss_score,
    "surrogate": surrogate_score,
}
"""name -> function; each returns a `Score` of that name"""


def judge(rollout: Rollout, road_map: RoadMap) -> tuple[Score, ...]:
    """All of `SCORES` for one rollout, in their order.

    Raises RoadloopError naming the input that one of them lacks.
    """
    driven = Driven(rollout, road_map)
    return tuple(score(driven) for score in SCORES.values())
