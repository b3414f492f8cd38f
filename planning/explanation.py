"""Why a plan was chosen: the proposals of one moment, what each scored, what limited the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray

POINT_STEP = 0.5
"""s between the points of `Explanation.xy`"""


@dataclass(frozen=True)
class Explanation:
    """One step of a planner that weighs proposals against each other; P proposals.

    A planner that has one offers it as its attribute ``explanation`` after each ``plan``.
    """

    names: tuple[str, ...]
    """(P,) what each does, in words: ``keep lane, 60 %``, ``change left``, ``stop at line``"""
    terms: Mapping[str, Array]
    """name -> (P,) in [0, 1], 1 is best, in the order they are to be shown"""
    score: Array
    """(P,) what was compared; larger is better"""
    chosen: int
    """row of the one that is driven"""
    xy: Array
    """(P, K, 2) m, world frame, rear axle every `POINT_STEP` s from now on"""
    limit: str = ""
    """what kept the plan from being faster or another one, in words; empty: nothing"""
    limit_id: int = -1
    """id of the road user that is, -1: none"""
    weights: Mapping[str, float] = field(default_factory=dict)
    """name of a term -> share of the score that is lost where it alone falls from 1 to 0, by which
    the terms that cost a proposal are compared; all of it where none is given"""
