"""Why a plan of `planning.rule_planner` was chosen: the table of proposals, and it in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from planning.explanation import POINT_STEP, Explanation
from planning.forecast_boxes import FutureBoxes
from planning.proposal_scores import Encounters
from planning.proposals import Proposals
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

_NAMED = re.compile(r"(?:agent|vehicle|pedestrian|following \w+) (\d+)")


def explain(
    names: tuple[str, ...],
    terms: Mapping[str, Array],
    weights: Mapping[str, float],
    score: Array,
    chosen: int,
    judged: Proposals,
    met: Encounters,
    boxes: FutureBoxes,
    states: AgentStates,
    rules_reason: str,
) -> Explanation:
    """One step's `Explanation`; ``rules_reason`` is what limits the rules' own plan.

    Proposals 0 and 1 are the rules' plan. Where another is driven, it says whom the first would
    have met and when, or the term by which the chosen one is most ahead.
    """
    limit = "" if rules_reason == "free" else rules_reason
    named = _NAMED.search(limit)
    who = int(named.group(1)) if named else -1
    risk = met.risk[0]
    if chosen > 1 and risk.max(initial=0.0) > 0.0:
        worst = int(np.argmax(risk))
        row = boxes.row[worst]
        who = int(states.id[row])
        kind = AgentKind(int(states.kind[row])).name.lower()
        limit = f"{names[chosen]}: {kind} {who} in {met.first[0, worst]:.1f} s"
    elif chosen > 1:
        gain = {k: v[chosen] - v[0] for k, v in terms.items() if k != "stability"}
        limit = f"{names[chosen]} for {max(gain, key=lambda name: gain[name])}"
    step = float(judged.t[1])
    k = np.arange(round(float(judged.t[-1]) / POINT_STEP) + 1) * POINT_STEP / step
    low = np.minimum((k + 1e-9).astype(np.int64), judged.s.shape[1] - 2)
    share = (k - low)[:, None]
    xy = np.stack([judged.x, judged.y], axis=-1)
    points = xy[:, low] * (1.0 - share) + xy[:, low + 1] * share
    return Explanation(
        names=names,
        terms=terms,
        score=score,
        chosen=chosen,
        xy=points,
        limit=limit,
        limit_id=who,
        weights=weights,
    )
