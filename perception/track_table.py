"""The tracker's memory: a structured array with a row per track, and the parts of it by name.

Rows are changed in place: what is called ``tracks`` is such an array, ``(n,)`` of `TRACK`.
"""

from __future__ import annotations

import numpy as np

from perception import kalman
from perception.association import labels
from perception.heading import Headings
from perception.kalman import MotionFilters
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

TRACK = np.dtype(
    [
        ("id", np.int64),  # 0: not handed on yet
        # kalman.MotionFilters
        ("mean", np.float64, (2, 4)),
        ("cov", np.float64, (2, 4, 4)),
        ("chance", np.float64, 2),
        # their combination, kept up to date
        ("state", np.float64, 4),
        ("state_cov", np.float64, (4, 4)),
        # heading.Headings
        ("heading", np.float64),
        ("turn", np.float64),
        ("heading_cov", np.float64, (2, 2)),
        ("votes", np.float64),
        ("kinds", np.float64, len(AgentKind)),  # scores of the detections that said so
        ("kind", np.uint8),
        ("label", np.uint8),  # ObjectClass
        ("size", np.float64, 3),  # m, length, width, height
        ("z", np.float64),
        ("detected_std", np.float64),  # m, position_std of the latest detection
        ("evidence", np.float64),  # log-odds of existence
        ("score", np.float64),  # sum over the detections
        ("hits", np.int64),
        ("misses", np.int64),  # moments since the latest detection
        ("seen", np.float64),  # s, its time
        ("born", np.int64),  # number of the moment of the first one
        ("standing", bool),
        ("occluded", bool),  # not detected now, hidden by others
        ("sure", bool),  # handed on without waiting
    ]
)
"""what is known of a track; m, m/s, rad in the world frame"""
MOMENTARY = ("mean", "cov", "chance", "state", "state_cov", "heading", "turn", "heading_cov")
MOMENTARY += ("votes", "detected_std", "evidence", "misses", "seen", "standing", "occluded")
"""what a detection brings up to date where it finds a track that others describe better"""


def filters_of(tracks: Array) -> MotionFilters:
    """How they move."""
    return MotionFilters(tracks["mean"], tracks["cov"], tracks["chance"])


def keep_filters(tracks: Array, filters: MotionFilters) -> None:
    """Write how they move, and the combination of the filters."""
    tracks["mean"], tracks["cov"], tracks["chance"] = filters.mean, filters.cov, filters.chance
    tracks["state"], tracks["state_cov"] = kalman.combined(filters)


def facing_of(tracks: Array) -> Headings:
    """Where they face."""
    return Headings(tracks["heading"], tracks["turn"], tracks["heading_cov"], tracks["votes"])


def keep_facing(tracks: Array, facing: Headings) -> None:
    """Write where they face."""
    tracks["heading"], tracks["turn"] = facing.heading, facing.turn
    tracks["heading_cov"], tracks["votes"] = facing.cov, facing.votes


def keep_kind(tracks: Array) -> None:
    """Write the kind that most detections, by their scores, said; and the class."""
    tracks["kind"] = tracks["kinds"].argmax(axis=1)
    tracks["label"] = labels(tracks["kind"], tracks["size"][:, 0])


def boxes_of(tracks: Array) -> AgentStates:
    """They as road users ``(n,)``; those said to stand do so exactly."""
    moving = ~tracks["standing"]
    return AgentStates(
        id=tracks["id"].copy(),
        kind=tracks["kind"].copy(),
        x=tracks["state"][:, 0].copy(),
        y=tracks["state"][:, 1].copy(),
        z=tracks["z"].copy(),
        heading=tracks["heading"].copy(),
        vx=tracks["state"][:, 2] * moving,
        vy=tracks["state"][:, 3] * moving,
        length=tracks["size"][:, 0].copy(),
        width=tracks["size"][:, 1].copy(),
        height=tracks["size"][:, 2].copy(),
        valid=np.ones(len(tracks), bool),
    )
