"""How `planning.rule_planner.RulePlanner` drives: its settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from planning.longitudinal import DrivingStyle
from planning.obstruction import Manners
from planning.proposal_scores import Weights
from roadloop.config import load_config


@dataclass(frozen=True)
class RuleStyle:
    """Settings; all numbers are above 0."""

    # 2 m/s^3 planned from where the ego is at each step become 3 driven
    driving: DrivingStyle = field(default_factory=lambda: DrivingStyle(jerk=1.2))
    """comfort and distances, as of the route follower"""
    passing: Manners = field(
        default_factory=lambda: Manners(least_gap=0.35, hidden_speed=5.0, kerb_patience=1.0)
    )
    """how what stands in the way is passed"""
    weights: Weights = field(default_factory=Weights)
    """of the terms of the score"""
    margin: float = 0.04
    """of the score by which another proposal must beat the route follower's own"""
    keep: float = 0.02
    """of the score the proposal of the step before has ahead of others"""
    gap_patience: float = 3.0
    """s before a junction after which a gap seen in the forecasts is taken"""
    gap_room: float = 2.0
    """m to everybody that such a gap must leave at every forecast moment"""

    def __post_init__(self) -> None:
        for name, value in _numbers(self):
            if not value > 0.0 or math.isnan(value):
                raise ValueError(f"setting {name}={value:g}: expected a number above 0")


def _numbers(style: object, prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for f in dataclasses.fields(style):  # type: ignore[arg-type]
        value = getattr(style, f.name)
        if dataclasses.is_dataclass(value):
            found += _numbers(value, f"{prefix}{f.name}.")
        else:
            found.append((prefix + f.name, value))
    return found


def rule_style(settings: Sequence[str] = ()) -> RuleStyle:
    """The style with overrides ``"margin=0.1"``, ``"passing.side_gap=0.8"``, ``"time_headway=1"``.

    A field of `DrivingStyle` may be named alone. Raises RoadloopError for unknown fields and for
    values that are not numbers above 0.
    """
    plain = {f.name for f in dataclasses.fields(DrivingStyle)}
    named = [
        f"driving.{text}" if text.partition("=")[0].strip() in plain else text for text in settings
    ]
    return load_config(RuleStyle, overrides=named)
