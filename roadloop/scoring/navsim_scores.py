"""What NAVSIM's PDM scores of proposals are: sub-scores, how they combine, what a human excuses.

Definitions: NAVSIM 1.1 and 2.2 (``pdm_scorer.py``, ``pdm_score.py``). How they are found is in
``navsim``, how those of many frames become one figure in ``navsim_aggregate``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.navsim_scene import DT
from roadloop.scoring.result import Score, Term

Array = np.ndarray

VERSION_V1 = "navsim 1.1"
VERSION_V2 = "navsim 2.2"


@dataclass(frozen=True, eq=False)
class PdmScoresV1:
    """PDM score of P proposals; every field ``(P,)`` unless said otherwise, scores in [0, 1]."""

    no_at_fault_collisions: Array
    """0, 0.5 (things only) or 1"""
    drivable_area_compliance: Array
    """0 or 1"""
    driving_direction_compliance: Array
    """0, 0.5 or 1; reported, weight 0"""
    ego_progress: Array
    time_to_collision: Array
    """0 or 1"""
    comfort: Array
    """0 or 1"""
    comfort_components: Array
    """(P, 6) bool in the order of ``navsim_comfort.SIGNALS``"""
    progress_raw: Array
    """m along the centreline"""
    first_at_fault: Array
    """step of the first contact at fault, inf without"""
    first_ttc: Array
    """step from which the first contact within 0.9 s counts, inf without"""
    score: Array
    version: str = VERSION_V1

    @property
    def multiplier(self) -> Array:
        """(P,) product of the terms that gate the score."""
        return self.no_at_fault_collisions * self.drivable_area_compliance


@dataclass(frozen=True, eq=False)
class PdmScoresV2:
    """Extended PDM score of P proposals; every field ``(P,)`` unless said otherwise, in [0, 1]."""

    no_at_fault_collisions: Array
    """0, 0.5 (things only) or 1"""
    drivable_area_compliance: Array
    """0 or 1"""
    driving_direction_compliance: Array
    """0, 0.5 or 1"""
    traffic_light_compliance: Array
    """0 or 1"""
    ego_progress: Array
    time_to_collision: Array
    """0 or 1"""
    lane_keeping: Array
    """0 or 1"""
    history_comfort: Array
    """0 or 1; 1 without a past"""
    history_comfort_components: Array
    """(P, 6) bool in the order of ``navsim_comfort.SIGNALS``"""
    progress_raw: Array
    """m along the centreline"""
    first_at_fault: Array
    """step of the first contact at fault, inf without"""
    first_ttc: Array
    """step from which the first contact within 0.9 s counts, inf without"""
    score: Array
    """without extended comfort, which takes two frames: see ``total``"""
    version: str = VERSION_V2

    @property
    def multiplier(self) -> Array:
        """(P,) product of the terms that gate the score."""
        gate = self.no_at_fault_collisions * self.drivable_area_compliance
        return gate * self.driving_direction_compliance * self.traffic_light_compliance

    def total(self, extended_comfort: Array | None = None) -> Array:
        """(P,) the score of these terms and extended comfort ``(P,)``, NaN where there is none."""
        return pdm_score_v2(
            self.multiplier,
            self.ego_progress,
            self.time_to_collision,
            self.lane_keeping,
            self.history_comfort,
            extended_comfort,
        )


def pdm_score_v1(multiplier: Array, progress: Array, ttc: Array, comfort: Array) -> Array:
    """PDMS = NC DAC (5 EP + 5 TTC + 2 C) / 12, each ``(...)``; ``multiplier`` is NC DAC."""
    return multiplier * (5.0 * progress + 5.0 * ttc + 2.0 * comfort) / 12.0


def pdm_score_v2(
    multiplier: Array,
    progress: Array,
    ttc: Array,
    lane_keeping: Array,
    history_comfort: Array,
    extended_comfort: Array | None = None,
) -> Array:
    """EPDMS = NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16, each ``(...)``.

    ``multiplier`` is NC DAC DDC TLC. Without extended comfort, or where it is NaN (no frame before
    to compare with), its weight is left out (/ 14).
    """
    weighted = 5.0 * progress + 5.0 * ttc + 2.0 * lane_keeping + 2.0 * history_comfort
    if extended_comfort is None:
        return multiplier * weighted / 14.0
    known = np.isfinite(extended_comfort)
    weighted = weighted + np.where(known, 2.0 * extended_comfort, 0.0)
    return multiplier * weighted / np.where(known, 16.0, 14.0)


FORGIVEN = (
    "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance",
    "traffic_light_compliance", "ego_progress", "time_to_collision", "lane_keeping",
    "history_comfort",
)  # fmt: skip
"""What the human-penalty filter looks at"""


def forgive_human(scores: PdmScoresV2, human: PdmScoresV2) -> PdmScoresV2:
    """Human-penalty filter: a term that is exactly 0 for the human too becomes 1; score rebuilt.

    ``human`` holds one proposal, the recorded drive, simulated and scored alone. NAVSIM applies
    this to first-stage frames, and scores the human without a past, so that comfort is never
    forgiven. Progress stays as it was measured with the multipliers before.
    """
    if len(human.score) != 1:
        raise RoadloopError(
            f"human scores of {len(human.score)} proposals: score the human drive alone"
        )
    forgiven = {
        name: np.where(getattr(human, name)[0] == 0.0, 1.0, getattr(scores, name))
        for name in FORGIVEN
    }
    scores = replace(scores, **forgiven, version=f"{scores.version}, human-penalty filter")
    return replace(scores, score=scores.total())


_TITLES = {
    "no_at_fault_collisions": "No at-fault collision",
    "drivable_area_compliance": "Drivable area",
    "driving_direction_compliance": "Driving direction",
    "traffic_light_compliance": "Traffic lights",
    "ego_progress": "Progress",
    "time_to_collision": "Time to collision",
    "lane_keeping": "Lane keeping",
    "history_comfort": "Comfort with the past",
    "comfort": "Comfort",
}


def proposal_score(scores: PdmScoresV1 | PdmScoresV2, proposal: int) -> Score:
    """One proposal's scores as a `Score`: a term per sub-score, times since its start."""
    when = {
        "no_at_fault_collisions": scores.first_at_fault,
        "time_to_collision": scores.first_ttc,
    }
    found = []
    for name, title in _TITLES.items():
        if not hasattr(scores, name):
            continue
        value = float(getattr(scores, name)[proposal])
        lost = float(when[name][proposal]) * DT if name in when else np.inf
        detail = f"{title}: {value:.3g} of 1"
        if name == "ego_progress":
            metres = float(scores.progress_raw[proposal])
            detail = f"{metres:.1f} m along the route, {value:.0%} of the best"
        passed = None if name == "ego_progress" else value == 1.0
        lost_at = lost if np.isfinite(lost) else None
        found.append(Term(name, title, value, "", passed, lost_at, detail, True))
    v1 = isinstance(scores, PdmScoresV1)
    return Score(
        name="navsim-v1" if v1 else "navsim-v2",
        title="PDM score" if v1 else "Extended PDM score",
        version=scores.version,
        value=float(scores.score[proposal]),
        unit="",
        terms=tuple(found),
    )
