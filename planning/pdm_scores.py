"""How PDM-Closed scores simulated proposals: nuPlan's closed-loop metrics over the next 4 s.

    (no collision at fault * drivable area * driving direction)
        * (5 progress + 5 time to collision + 2 comfort) / 12

The terms are those of `roadloop.scoring.navsim_terms`, held equal to NAVSIM, which took them from
this planner. Two places differ, where tuplan_garage's ``scoring/pdm_scorer.py`` is followed:
progress counts from 0.1 m on (NAVSIM: 5 m), and metres against the traffic are added up over each
stretch of it (NAVSIM: over 1 s).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from planning.pdm_route import Lines, RouteAreas
from roadloop.scoring import navsim_terms as terms
from roadloop.scoring.navsim_comfort import comfort_signals_v1, within_bounds
from roadloop.scoring.navsim_motion import Motion
from roadloop.scoring.navsim_scene import PdmScene
from roadloop.scoring.navsim_scores import pdm_score_v1
from roadloop.types import AgentStates, VehicleParameters

Array = np.ndarray

PROGRESS_FLOOR = 0.1
"""m, up to here nobody is expected to get anywhere"""
WEIGHTS = {
    "no collision": 1.0,
    "drivable area": 1.0,
    "driving direction": 1.0,
    "progress": 5.0 / 12.0,
    "time to collision": 5.0 / 12.0,
    "comfort": 2.0 / 12.0,
}
"""share of the score that is lost where a term alone falls from 1 to 0"""
OBSERVED = 50
"""steps of others the time to collision looks at: 4 s and 0.9 s beyond"""


@dataclass(frozen=True, eq=False)
class PdmClosedScores:
    """Scores of P proposals; every field ``(P,)``, in [0, 1] where not said otherwise."""

    no_collision: Array
    """0, 0.5 (with a thing) or 1"""
    drivable_area: Array
    driving_direction: Array
    """0, 0.5 or 1"""
    progress: Array
    time_to_collision: Array
    comfort: Array
    first_at_fault: Array
    """step of the first collision at fault, inf without"""
    score: Array

    def named(self) -> dict[str, Array]:
        """The terms in the order they are to be shown."""
        return {
            "no collision": self.no_collision,
            "drivable area": self.drivable_area,
            "driving direction": self.driving_direction,
            "progress": self.progress,
            "time to collision": self.time_to_collision,
            "comfort": self.comfort,
        }


def scene_around(
    areas: RouteAreas,
    lines: Lines,
    rows: slice,
    start: Array,
    agents: AgentStates,
    vehicle: VehicleParameters,
    states: Array,
) -> PdmScene:
    """The scene of simulated ``states`` (P, K, 11) with only those areas that they may touch.

    ``rows`` of the first line are the centreline, ``start`` the ego's state row now.
    """
    reach = vehicle.length
    low = states[..., :2].min((0, 1)) - reach
    high = states[..., :2].max((0, 1)) + reach
    lane = areas.lanes.near(low, high)
    polygon = areas.lanes.polygon[lane]
    return PdmScene(
        lane_polygon=polygon,
        lane_on_route=areas.on_route[lane],
        drivable=areas.drivable.polygon[areas.drivable.near(low, high)],
        intersections=areas.intersections.polygon[areas.intersections.near(low, high)],
        centreline=np.column_stack([lines.x[0, rows], lines.y[0, rows]]),
        start=start,
        agents=agents,
        red=np.zeros((len(agents.x), len(polygon)), dtype=bool),
        vehicle=vehicle,
    )


def score_proposals(scene: PdmScene, states: Array) -> PdmClosedScores:
    """Scores of simulated proposals ``(P, 41, 11)`` among the road users of the scene.

    What is exactly in line counts as ahead or behind (``true_bearing`` of `navsim_terms`): in the
    published code rounding decides.
    """
    motion = _Motion(scene, states)
    collision, first = terms.no_at_fault_collisions(motion, true_bearing=True)
    area = terms.drivable_area_compliance(motion)
    direction = driving_direction(motion.centre, motion.oncoming)
    ttc, _ = terms.time_to_collision(motion, true_bearing=True)
    comfort = np.where(within_bounds(comfort_signals_v1(states)).all(-1), 1.0, 0.0)
    multiplier = collision * area * direction
    progress = _share(terms.progress_raw(motion), multiplier)
    return PdmClosedScores(
        no_collision=collision,
        drivable_area=area,
        driving_direction=direction,
        progress=progress,
        time_to_collision=ttc,
        comfort=comfort,
        first_at_fault=first,
        score=pdm_score_v1(multiplier, progress, ttc, comfort),
    )


def driving_direction(centre: Array, oncoming: Array) -> Array:
    """(P,) 1, 0.5, 0 by the longest stretch that box centres (P, K, 2) move against the traffic.

    ``oncoming`` (P, K) bool; a step counts where it ends. Bounds as in `navsim_terms`.
    """
    stretch = worst = np.zeros(len(centre))
    if oncoming.any():
        moved = np.linalg.norm(np.diff(centre, axis=1), axis=-1)
        for k in range(moved.shape[1]):
            stretch = np.where(oncoming[:, k + 1], stretch + moved[:, k], 0.0)
            worst = np.maximum(worst, stretch)
    return np.where(worst < terms.DDC_HALF, 1.0, np.where(worst < terms.DDC_NONE, 0.5, 0.0))


def _share(raw: Array, multiplier: Array) -> Array:
    """(P,) progress m as a share of the best one that may be driven."""
    gated = raw * multiplier
    best = float(gated.max())
    return gated / best if best > PROGRESS_FLOOR else np.where(multiplier > 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class _Motion(Motion):
    """`Motion` that looks for lanes under corners only where a box touches somebody.

    Nobody asks elsewhere, and it is the costliest question.
    """

    @cached_property
    def multi_lane(self) -> Array:  # type: ignore[override]
        """(P, K) bool; False where nothing is touched."""
        found = np.zeros(self.speed.shape, dtype=bool)
        found[self.contacts.proposal, self.contacts.step] = True
        p, k = np.nonzero(found)
        corners = self.corners[p, k].reshape(-1, 2)
        touched = np.zeros(len(p), dtype=np.int64)
        within = np.zeros(len(p), dtype=bool)
        for polygon in self.scene.lane_polygon if len(p) else ():
            inside = _inside(polygon, corners).reshape(-1, 4)
            touched += inside.any(1)
            within |= inside.all(1)
        found[p, k] = (touched > 1) & ~within
        return found

    @cached_property
    def oncoming(self) -> Array:  # type: ignore[override]
        """(P, K) bool: the box centre is in no lane of the route."""
        centre = self.centre.reshape(-1, 2)
        left = np.arange(len(centre))
        for polygon in self.scene.lane_polygon[self.scene.lane_on_route]:
            if not len(left):
                break
            left = left[~_inside(polygon, centre[left])]
        found = np.zeros(len(centre), dtype=bool)
        found[left] = True
        return found.reshape(self.speed.shape)


def _inside(polygon: Any, points: Array) -> Array:
    """(n,) bool of points (n, 2)."""
    import shapely

    return np.asarray(shapely.contains_xy(polygon, points[:, 0], points[:, 1]))
