"""What the ego cannot see: crosswalks hidden behind vehicles that stand before them.

The rule of defensive driving made simple: where a standing vehicle before a crosswalk hides its
kerb, a walker may step out from behind it, so the ego comes slowly enough to stop within the
distance it sees. (The reachable-set view of it: Orzechowski, Meyer and Lauer, "Tackling Occlusions
and Limited Sensor Range with Set-based Safety Verification", ITSC 2018.)
"""

from __future__ import annotations

import numpy as np

from planning.corridor import AgentsOnPath
from planning.route_rules import RouteRules
from roadloop.types import AgentKind

Array = np.ndarray

HIDES_WITHIN = 9.0
"""m before a crosswalk in which a standing vehicle hides its kerb from who comes along the lane"""
BESIDE = 2.5
"""m from the path to its near side up to which one does: who is parked along the lane"""
TALL = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.STATIC)


def hidden_crossings(
    agents: AgentsOnPath, length: Array, rules: RouteRules, half_width: float, front: float
) -> Array:
    """m along the path of crosswalks ahead that somebody hides, ``(crosswalks,)``.

    ``length`` ``(agents,)`` m: what is short (cones) hides nobody. ``front`` is the front bumper.
    """
    start = rules.crossing_from
    near = start[(start > front) & (start < front + 60.0)]
    if len(near) == 0 or len(agents) == 0:
        return np.zeros(0)
    stands = (agents.speed < 0.5) & np.isin(agents.kind, TALL) & (length > 3.0)
    out = np.minimum(np.abs(agents.d_low), np.abs(agents.d_high))
    clear = (agents.d_low > half_width) | (agents.d_high < -half_width)
    hides = stands & clear & (out < BESIDE)
    to_walk = near[:, None] - agents.s_high
    behind = (to_walk > -2.0) & (to_walk < HIDES_WITHIN) & (agents.s_high > front)
    return near[(hides & behind).any(axis=1)]
