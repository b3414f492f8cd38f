"""The IDM of nuPlan's planners as they publish it, for many proposals at once.

The model is that of `roadloop.idm` with three habits of the published planners: the gap counts as
no less than the standstill gap, the result is cut to the policy's own acceleration and deceleration
and s* may become negative behind a leader that pulls away. Steps are forward Euler. Definitions:
nuplan-devkit 1.2.2 ``simulation/observation/idm/idm_policy.py`` and, batched, tuplan_garage
``pdm_planner/proposal/batch_idm_policy.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class IdmPolicy:
    """How one follows; defaults are PDM-Closed's."""

    gap: float = 1.0
    """m, bumper to bumper at a standstill"""
    headway: float = 1.5
    """s behind the leader"""
    acceleration: float = 1.5
    """m/s^2, most and on a free road from a standstill"""
    deceleration: float = 3.0
    """m/s^2, comfortable and hardest"""
    exponent: float = 10.0
    """how late the acceleration fades as the target speed nears"""

    def accelerate(self, speed: Array, target: Array, gap: Array, leader_speed: Array) -> Array:
        """m/s^2, ``(...)``, ``gap`` m behind a leader that drives at ``leader_speed`` m/s."""
        braking = 2.0 * math.sqrt(self.acceleration * self.deceleration)
        wanted = self.gap + speed * (self.headway + (speed - leader_speed) / braking)
        share = (speed / target) ** self.exponent + (wanted / np.maximum(gap, self.gap)) ** 2
        wanted = np.maximum(self.acceleration * (1.0 - share), -self.deceleration)
        return np.minimum(wanted, self.acceleration)
