"""What every picture asks of a drive first: does it fit its map and score, how fast was it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.types import Rollout

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray


def check_drive(rollout: Rollout, road_map: RoadMap, score: Score | None) -> None:
    """Raise RoadloopError unless rollout, map and score belong together."""
    steps = len(rollout.time)
    if steps == 0:
        raise RoadloopError(f"rollout of {rollout.scenario!r} has no steps: nothing to show")
    if rollout.map_hash != road_map.content_hash:
        raise RoadloopError(
            f"rollout of {rollout.scenario!r} was driven on map {rollout.map_hash[:12]}, "
            f"not on {road_map.name} {road_map.content_hash[:12]}: load the map it names"
        )
    signals = len(road_map.signal_kind)
    if rollout.lights.shape != (steps, signals):
        raise RoadloopError(
            f"rollout of {rollout.scenario!r} has lights of shape {rollout.lights.shape}, "
            f"expected {(steps, signals)}: one column per signal of {road_map.name}"
        )
    for name, values in ({} if score is None else score.series).items():
        if np.shape(values) != (steps,):
            raise RoadloopError(
                f"score series {name!r} has shape {np.shape(values)}, expected {(steps,)}: "
                f"score the same rollout of {rollout.scenario!r}"
            )


def top_speed(rollout: Rollout) -> float:
    """m/s, the fast end of the plan's colours: the fastest driven or planned, at least 30 km/h."""
    planned = rollout.plan[..., 2]
    planned = planned[np.isfinite(planned)]
    return max(30 / 3.6, float(rollout.ego.speed.max()), float(planned.max(initial=0.0)))


def braking(rollout: Rollout) -> Array:
    """(time, agents) bool: agents that slow down by more than 1 m/s^2, as brake lights show it."""
    agents = rollout.agents
    slower = np.zeros(agents.valid.shape, bool)
    if len(slower) > 1:
        same = agents.valid[1:] & agents.valid[:-1] & (agents.id[1:] == agents.id[:-1])
        slower[1:] = same & (np.diff(agents.speed, axis=0) < -1.0 * rollout.dt)
    return slower
