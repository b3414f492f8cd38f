"""NAVSIM's scores: PDM score (v1) and extended PDM score (v2) of proposals in a scene.

Proposals are poses for the next 4 s. They are driven by the tracker of ``pdm_tracker`` and judged
by the terms of ``navsim_terms``::

    states = simulate_proposals(scene.start, proposals, scene.vehicle)
    scores = pdm_scores_v2(scene, states)
    scores.score                        # (P,)

Definitions: NAVSIM 1.1 and 2.2 (``pdm_score.py``, ``pdm_scorer.py``), Dauner et al. 2024 (NAVSIM)
and Cao et al. 2025 (pseudo-simulation). What the scores hold is in ``navsim_scores``, how those of
many frames become one figure in ``navsim_aggregate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.scoring import navsim_terms as terms
from roadloop.scoring.navsim_comfort import comfort_signals_v1, history_comfort, within_bounds
from roadloop.scoring.navsim_motion import Motion
from roadloop.scoring.navsim_scene import (
    DT,
    OBSERVED_V1,
    STEPS,
    PdmScene,
    pdm_scene,
    reference_poses,
    without_overlapping_agents,
)
from roadloop.scoring.navsim_scores import (
    VERSION_V1,
    VERSION_V2,
    PdmScoresV1,
    PdmScoresV2,
    pdm_score_v1,
)
from roadloop.scoring.pdm_tracker import State, simulate_proposals
from roadloop.types import Rollout

Array = np.ndarray
Scores = TypeVar("Scores", "PdmScoresV1", "PdmScoresV2")

LAST_TTC_STEP_V2 = 31
"""v2 observes 4 s; from later steps its 0.9 s ahead would pass the end"""
_BATCH = 256
"""proposals at a time: what is worked on stays in the processor's caches"""


def pdm_scores_v1(
    scene: PdmScene,
    states: Array,
    *,
    pairwise: bool = False,
    present_speed: bool = False,
    true_bearing: bool = False,
) -> PdmScoresV1:
    """PDM scores of simulated proposals ``(P, 41, 11)`` (columns of ``State``).

    Scored together: progress is measured against the best of all; ``pairwise``: each against
    itself and proposal 0 only, which is how the benchmark holds an agent against its rule-based
    planner. ``present_speed``: whether something stands is told by its speed at the contact; in
    the reference (False) by its speed when first seen. ``true_bearing``: what is exactly in line is
    ahead or behind; in the reference it is neither at one time in sixteen, as numbers are rounded.
    Raises RoadloopError for states of another shape or not finite, and where the scene ends before
    4.9 s.
    """
    states = _checked(states)
    if len(scene.agents.x) < OBSERVED_V1:
        raise RoadloopError(
            f"v1 looks {(OBSERVED_V1 - 1) * DT:.1f} s ahead and the scene has "
            f"{(len(scene.agents.x) - 1) * DT:.1f} s of road users; give longer ones or score v2"
        )
    parts = []
    for motion in _motions(scene, states):
        nc, first_at_fault = terms.no_at_fault_collisions(
            motion, present_speed=present_speed, true_bearing=true_bearing
        )
        ttc, first_ttc = terms.time_to_collision(motion, true_bearing=true_bearing)
        comfortable = within_bounds(comfort_signals_v1(motion.states))
        parts.append(
            PdmScoresV1(
                no_at_fault_collisions=nc,
                drivable_area_compliance=terms.drivable_area_compliance(motion),
                driving_direction_compliance=terms.driving_direction_compliance(
                    motion, excuse_intersections=False
                ),
                ego_progress=np.zeros(len(nc)),
                time_to_collision=ttc,
                comfort=np.where(comfortable.all(-1), 1.0, 0.0),
                comfort_components=comfortable,
                progress_raw=terms.progress_raw(motion),
                first_at_fault=first_at_fault,
                first_ttc=first_ttc,
                score=np.zeros(len(nc)),
                version=_version(VERSION_V1, present_speed, true_bearing),
            )
        )
    scores = _joined(parts)
    gated = scores.progress_raw * scores.multiplier
    progress = terms.ego_progress_v1(
        scores.progress_raw, scores.multiplier, _normaliser(gated, pairwise)
    )
    score = pdm_score_v1(scores.multiplier, progress, scores.time_to_collision, scores.comfort)
    return replace(scores, ego_progress=progress, score=score)


def pdm_scores_v2(
    scene: PdmScene,
    states: Array,
    *,
    pairwise: bool = False,
    present_speed: bool = False,
    true_bearing: bool = False,
    rigid_body_centre: bool = False,
) -> PdmScoresV2:
    """Extended PDM scores of simulated proposals ``(P, 41, 11)``, without extended comfort.

    Keywords as for ``pdm_scores_v1``; ``rigid_body_centre``: accelerations at the box centre by
    rigid-body kinematics rather than by the reference's formula. Raises RoadloopError for states
    of another shape or not finite.
    """
    states = _checked(states)
    version = _version(VERSION_V2, present_speed, true_bearing, rigid_body_centre)
    parts = []
    for motion in _motions(scene, states):
        nc, first_at_fault = terms.no_at_fault_collisions(
            motion, present_speed=present_speed, true_bearing=true_bearing
        )
        ttc, first_ttc = terms.time_to_collision(
            motion, last_step=LAST_TTC_STEP_V2, true_bearing=true_bearing
        )
        comfortable = history_comfort(
            motion.states,
            scene.past,
            scene.vehicle.centre_offset,
            rigid_body_centre=rigid_body_centre,
        )
        parts.append(
            PdmScoresV2(
                no_at_fault_collisions=nc,
                drivable_area_compliance=terms.drivable_area_compliance(motion),
                driving_direction_compliance=terms.driving_direction_compliance(motion),
                traffic_light_compliance=terms.traffic_light_compliance(motion),
                ego_progress=np.zeros(len(nc)),
                time_to_collision=ttc,
                lane_keeping=terms.lane_keeping(motion),
                history_comfort=np.where(comfortable.all(-1), 1.0, 0.0),
                history_comfort_components=comfortable,
                progress_raw=terms.progress_raw(motion),
                first_at_fault=first_at_fault,
                first_ttc=first_ttc,
                score=np.zeros(len(nc)),
                version=version,
            )
        )
    scores = _joined(parts)
    gated = scores.progress_raw * scores.multiplier
    progress = terms.ego_progress(scores.progress_raw, _normaliser(gated, pairwise))
    scores = replace(scores, ego_progress=progress)
    return replace(scores, score=scores.total())


def pdm_score(
    rollout: Rollout,
    road_map: RoadMap,
    step: int,
    proposals: Array,
    version: str = "v2",
    *,
    history: bool = True,
    pairwise: bool = False,
    corrected: bool = False,
) -> PdmScoresV1 | PdmScoresV2:
    """Scores of proposals made at ``step`` of a rollout, road users replaying what they did.

    ``proposals`` are poses of the rear axle: ``(P, 41, 3)`` every 0.1 s in the world frame, the
    present one first, or ``(P, 8, 3)`` every 0.5 s in the ego frame, from 0.5 s on. In v2 road
    users whose box overlaps the ego's at ``step`` are left out, as NAVSIM does. ``corrected``: all
    departures of the reference from its intentions the other way (``true_differences`` of the
    tracker, ``present_speed``, ``true_bearing``, ``rigid_body_centre``), which the scores' version
    says. Raises RoadloopError as ``pdm_scene`` does, and for another version or shape.
    """
    if version not in ("v1", "v2"):
        raise RoadloopError(f"no version {version!r} of the PDM score; there are v1, v2")
    proposals = np.asarray(proposals, np.float64)
    if proposals.ndim != 3 or proposals.shape[1:] not in ((STEPS, 3), (8, 3)):
        raise RoadloopError(
            f"proposals have shape {proposals.shape}: give (P, {STEPS}, 3) poses every {DT} s in "
            "the world frame or (P, 8, 3) every 0.5 s in the ego frame"
        )
    scene = pdm_scene(rollout, road_map, step, history=history)
    if proposals.shape[1] == 8:
        proposals = reference_poses(scene.start, proposals)
    states = simulate_proposals(scene.start, proposals, scene.vehicle, true_differences=corrected)
    if version == "v1":
        scores = pdm_scores_v1(
            scene, states, pairwise=pairwise, present_speed=corrected, true_bearing=corrected
        )
    else:
        scores = pdm_scores_v2(
            without_overlapping_agents(scene),
            states,
            pairwise=pairwise,
            present_speed=corrected,
            true_bearing=corrected,
            rigid_body_centre=corrected,
        )
    return replace(scores, version=f"{scores.version}, true differences") if corrected else scores


def _checked(states: Array) -> Array:
    states = np.asarray(states, np.float64)
    if states.ndim != 3 or not len(states) or states.shape[1:] != (STEPS, len(State)):
        raise RoadloopError(
            f"states have shape {states.shape}: give (P, {STEPS}, {len(State)}), at least one"
        )
    bad = ~np.isfinite(states).all((1, 2))
    if bad.any():
        raise RoadloopError(f"states of proposal {int(bad.argmax())} are not finite: leave it out")
    return states


def _version(
    version: str, present_speed: bool, true_bearing: bool, rigid_body_centre: bool = False
) -> str:
    version += ", present speed" if present_speed else ""
    version += ", true bearing" if true_bearing else ""
    return version + (", rigid-body centre" if rigid_body_centre else "")


def _motions(scene: PdmScene, states: Array) -> Iterator[Motion]:
    for first in range(0, len(states), _BATCH):
        yield Motion(scene, states[first : first + _BATCH])


def _normaliser(gated: Array, pairwise: bool) -> Array | float:
    """m, the best gated progress of those scored together."""
    return np.maximum(gated, gated[0]) if pairwise else float(gated.max())


def _joined(parts: list[Scores]) -> Scores:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(parts[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(parts[0], **arrays)
