"""The way around what stands in the lane that is being driven, from its plan until it is over."""

from __future__ import annotations

import numpy as np

from planning.corridor import AgentsOnPath
from planning.lateral_offset import LateralOffset, OffsetStep, band_is_free
from planning.obstruction import Manners, way_around
from planning.route_line import RouteLine
from planning.route_rules import RouteRules
from planning.situation import Situation
from roadloop.maps.road_map import RoadMap
from roadloop.types import VehicleParameters

Array = np.ndarray


class Detour:
    """At most one way around at a time; positions are m along the path of the rear axle."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.offset = LateralOffset()
        """m left of the path"""
        self.speed = manners.passing_speed
        """m/s on it"""
        self._opposite = False

    @property
    def planned(self) -> bool:
        """Whether there is one."""
        return bool(self.offset.steps)

    @property
    def crosses(self) -> bool:
        """Whether it leads over the opposite lane and was not given up."""
        steps = self.offset.steps
        return self._opposite and len(steps) == 2 and steps[1].start >= steps[0].end

    def begun(self, s: float) -> OffsetStep | None:
        """The step to the opposite lane that has begun, None where it was given up or is none."""
        steps = self.offset.steps
        return steps[0] if self.crosses and steps[0].start < s else None

    def consider(
        self,
        agents: AgentsOnPath,
        blocking: Array,
        unsure: Array,
        line: RouteLine,
        rules: RouteRules,
        road_map: RoadMap,
        s: float,
        vehicle: VehicleParameters,
        speed: float,
    ) -> None:
        """Plan a way around who is ``blocking`` ``(agents,)`` unless one is under way.

        ``unsure`` ``(agents,)`` m: standard deviations of where they are.
        """
        if not blocking.any() or s < self.offset.active_until():
            return
        front_length = vehicle.length - vehicle.rear_overhang
        found = way_around(
            agents, blocking, unsure, line, rules, road_map, s, front_length,
            vehicle.rear_overhang, vehicle.width / 2.0, speed, self.manners,
        )  # fmt: skip
        if found is not None:
            self.offset.steps += [found.out, found.back]
            self.speed, self._opposite = found.speed, found.opposite

    def give_up(self, steps: list[OffsetStep]) -> None:
        """Go back to the own lane: ``steps`` take the place of those planned."""
        self.offset.steps = steps

    def limited(self, s: Array, limit: Array, hurries: bool) -> Array:
        """``limit`` (m/s at ``s``) with that of the way around, with its highest in a hurry."""
        if not self.planned:
            return limit
        first = min(step.start for step in self.offset.steps)
        passing = (s > first) & (s < self.offset.active_until())
        pace = self.manners.passing_speed if hurries else self.speed
        return np.where(passing, np.minimum(limit, pace), limit)

    def is_met(self, now: Situation, pace: float) -> bool:
        """Whether somebody comes on the opposite lane before it is left again at ``pace`` m/s."""
        if not self.crosses:
            return False
        out, back = self.offset.steps
        agents, half = now.agents, now.vehicle.width / 2.0
        rear = now.s - now.vehicle.rear_overhang
        duration = max(back.end - now.s, 0.0) / pace + 1.0
        band = (out.by - half - 0.3, out.by + half + 0.3)
        others = now.blocking | (agents.speed_along > -0.5)
        return not band_is_free(
            agents, others, band, rear, now.front, back.end, now.speed, duration
        )
