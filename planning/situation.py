"""One moment as the route follower sees it: who is around, where to stop, how it would drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planning.corridor import AgentsOnPath, PathWindow
from planning.longitudinal import (
    DrivingStyle,
    Leaders,
    Motion,
    following_acceleration,
    stopping_acceleration,
)
from planning.right_of_way import Stop
from roadloop.idm import IdmParameters
from roadloop.types import AgentKind, VehicleParameters

Array = np.ndarray


@dataclass(frozen=True)
class Situation:
    """What the route follower makes of one moment; positions are m along the path."""

    s: float
    """of the rear axle"""
    front: float
    """of the front bumper"""
    speed: float
    acceleration: float
    vehicle: VehicleParameters
    rows: slice
    """samples of the route line in ``window``"""
    window: PathWindow
    agents: AgentsOnPath
    standing: Array
    """(agents,) s each has stood still"""
    blocking: Array
    """(agents,) bool, stands in the lane for good"""
    leading: Array
    """(agents,) bool, to be followed on the planned line"""
    leaders: Leaders
    profile: Array
    """(samples of ``window``,) m/s allowed"""
    law: Stop
    """the nearest line to stop at, or the end"""
    yielding: Stop
    """the nearest place to wait for others: at junctions and crosswalks, for gaps"""
    stop: Stop
    """the nearest of all"""
    motion: Motion


def reason_for(now: Situation, style: DrivingStyle, idm: IdmParameters) -> str:
    """In words, what brakes the ego most in this situation."""
    reason, stop, front, speed = "free", now.stop, now.front, now.speed
    halt = stopping_acceleration(speed, stop.s - front, style)
    if halt < 1.0 or stop.s - front < 3.0:
        reason = stop.reason
    if len(now.leaders):
        gap = now.leaders.s - front
        pull = following_acceleration(speed, 0.0, gap, now.leaders.speed, idm)
        strongest = int(np.argmin(pull))
        if pull[strongest] < min(-0.3, halt):
            who = np.flatnonzero(now.leading)[strongest]
            kind = AgentKind(int(now.agents.kind[who])).name.lower()
            reason = f"following {kind} {now.agents.id[who]}"
    return reason
