"""Lane changes the route asks for: on time when there is a gap, later when there is none.

A planner may `leave` the route's lane for the one beside it; coming back is then such a change.

The path itself moves over to the neighbour lane by a quintic step. The offset kept here cancels
that step, so that the ego stays on its lane, and adds a new one as soon as there is a gap, from
where the path's own begins. Without a gap the ego stops before the room for the change runs out.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from planning.corridor import AgentsOnPath
from planning.lateral_offset import LateralOffset, OffsetStep, band_is_free, step_length
from planning.right_of_way import Stop
from planning.route_rules import RouteRules
from roadloop.maps.locate import to_frenet
from roadloop.maps.path import Path
from roadloop.maps.road_map import RoadMap

Array = np.ndarray

LEAST_ROOM = 14.0
"""m a change takes at walking pace: the ego waits at least this far before the lane's end"""
TIGHTEST = 0.15
"""1/m of curvature in a late change"""


class LaneChanges:
    """The route's lane changes in order and what has become of them."""

    def __init__(self, road_map: RoadMap, path: Path, rules: RouteRules) -> None:
        count = len(rules.change_s)
        self.start = np.zeros(count)
        """m along the path where it begins to move over"""
        self.end = np.zeros(count)
        self.by = np.zeros(count)
        """m to the left"""
        self.last = np.zeros(count)
        """m along the path by which the change must be over"""
        self.decided = np.zeros(count, dtype=bool)
        """whether the gap was taken, so that the ego changes lane or has done so"""
        self.held = np.zeros(count, dtype=bool)
        """whether it is not wanted yet"""
        self._left: list[OffsetStep] = []
        """steps away from the route's lane"""
        self.offset = LateralOffset()
        """m left of the path, so that undecided changes do not happen"""
        if count == 0:
            return
        aside = to_frenet(road_map, path.lane, path.xyz[:, 0], path.xyz[:, 1])[1]
        away = np.abs(aside) > 0.02
        for i, change in enumerate(rules.change_s.tolist()):
            row = int(np.searchsorted(path.s, change))
            low = row - 1 - int(np.argmin(away[row - 1 :: -1]))
            high = row + int(np.argmin(away[row:]))
            self.start[i], self.end[i] = path.s[max(low, 0)], path.s[min(high, len(path.s) - 1)]
            self.by[i] = aside[row - 1] - aside[row]
            span = int(np.searchsorted(rules.span_from, change + 0.1, side="right")) - 1
            self.last[i] = rules.span_to[span]
            cancelled = OffsetStep(float(self.start[i]), float(self.end[i]), -float(self.by[i]))
            self.offset.steps.append(cancelled)

    def update(
        self,
        agents: AgentsOnPath,
        rear_axle: float,
        front: float,
        rear: float,
        speed: float,
        half_width: float,
    ) -> Stop | None:
        """Decide on the change that is due, extending ``offset``; where to wait if it cannot begin.

        Positions are m along the path.
        """
        self.offset.forget_before(rear_axle - 5.0)
        due = self.start < front + 15.0 + speed * speed / 4.0
        waiting = np.flatnonzero(~self.decided & ~self.held & due)
        if len(waiting) == 0:
            return None
        i = int(waiting[np.argmin(self.last[waiting])])
        length = min(
            step_length(self.by[i], speed, TIGHTEST), max(self.last[i] - rear_axle, LEAST_ROOM)
        )
        if rear_axle >= self.start[i] and self._gap(
            i, agents, rear_axle, front, rear, length, speed, half_width
        ):
            self.decided[i] = True
            self.offset.steps.append(OffsetStep(rear_axle, rear_axle + length, float(self.by[i])))
            return None
        place = self.last[i] - LEAST_ROOM + (front - rear_axle)
        side = "left" if self.by[i] > 0.0 else "right"
        return Stop(max(float(place), front), f"waiting for a gap to the {side}")

    def under_way(self, rear_axle: float) -> float:
        """m to the left by which the ego is changing lane now, 0 where it is not."""
        now = [s for s in self.offset.steps if s.start <= rear_axle < s.end]
        own = [s for s in now if s.by in self.by or s in self._left]
        return own[-1].by if own else 0.0

    @property
    def away(self) -> bool:
        """Whether the ego has left the route's lane and not begun to come back."""
        return bool((~self.decided & np.isneginf(self.start)).any())

    def leave(self, out: OffsetStep, last: float) -> None:
        """Drive ``out`` to the lane beside, from where the ego must be back by ``last`` m."""
        self._left.append(out)
        self.offset.steps.append(out)
        for name, value in (("start", -np.inf), ("end", -np.inf), ("by", -out.by), ("last", last)):
            setattr(self, name, np.append(getattr(self, name), value))
        self.decided, self.held = np.append(self.decided, False), np.append(self.held, True)

    def come_back(self) -> None:
        """The ego comes back to the route's lane as soon as there is a gap."""
        self.held[:] = False

    def undo(self, step: OffsetStep) -> None:
        """Come back by ``step`` at once, whoever is there: `leave` was a mistake."""
        self._left.append(step)
        self.offset.steps.append(step)
        self.decided[np.isneginf(self.start)] = True

    def _gap(
        self,
        i: int,
        agents: AgentsOnPath,
        rear_axle: float,
        front: float,
        rear: float,
        length: float,
        speed: float,
        half_width: float,
    ) -> bool:
        """Whether the neighbour lane is free for a change of ``length`` m that begins now."""
        middle = (agents.s_low + agents.s_high) / 2.0
        u = np.ones(len(agents))  # who comes back finds the path where it has always been
        if np.isfinite(self.start[i]):
            u = np.clip((middle - self.start[i]) / max(self.end[i] - self.start[i], 0.1), 0.0, 1.0)
        lane_d = self.by[i] * (1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u * u))
        beside = dataclasses.replace(
            agents, d_low=agents.d_low - lane_d, d_high=agents.d_high - lane_d
        )
        nobody = np.zeros(len(agents), dtype=bool)
        band = (-half_width - 0.4, half_width + 0.4)
        return band_is_free(beside, nobody, band, rear, front, rear_axle + length, speed, 0.0)
