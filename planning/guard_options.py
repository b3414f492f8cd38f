"""A path and what comes of driving it: as planned, or braked in one of several ways."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from planning.minimal_risk import braking, course_of, delayed, full_braking, planned
from planning.plan_sanity import curvature_along
from planning.reachable import MOMENTS, RESPONSE, Futures, Meetings, Motions, meetings
from planning.rss_check import EGO, Dangers, short_of
from roadloop.types import EgoState, Trajectory

Array = np.ndarray

BENDS = 3.0
"""s of the motion whose lateral acceleration must stay within the tyres' grip"""
GRIP_SLACK = 1.05
"""of the grip: curvature is known to some per cent"""
AT_RESPONSE = int(np.searchsorted(MOMENTS, RESPONSE - 1e-9))
LATER = int(np.searchsorted(MOMENTS, RESPONSE + 0.5 - 1e-9))


class Options:
    """One path with everybody's futures; every motion on it is judged alike.

    ``way`` and ``pace`` are the plan's own motion at `MOMENTS`, ``full`` the m/s^2 of full braking.
    """

    def __init__(
        self, plan: Trajectory, ego: EgoState, futures: Futures, found: Dangers, ids: Array
    ) -> None:
        self.plan, self.ego = plan, ego
        self.futures, self.found, self.ids = futures, found, ids
        self.full = full_braking(ego.vehicle)
        self.course = course_of(plan, ego)
        self.way, self.pace = planned(plan, self.course, ego)

    def judge_plan(self, level: float, answered: Array) -> tuple[str, str, int] | None:
        """What is wrong with the plan: kind, in words, id of whom it is about. None: it complies.

        It does where it is free of contacts, or becomes so by braking with ``level`` from the
        response time on, and RSS is kept or properly ``answered`` (dangers,).
        """
        later = delayed(self.way, self.pace, level)
        way, pace = np.stack([self.way, later[0]]), np.stack([self.pace, later[1]])
        motions = self.course.motions(way, pace)
        short = self.short & ~answered
        if short.any():
            worst = int(np.argmax(short))
            beside = self.found.side[worst] != 0.0
            what = "cuts in on it from the side" if beside else "RSS distance violated"
            return "rss", what, int(self.ids[self.found.user[worst]])
        bends = self._bends(way, pace)
        if bends.all():
            return "bend", "faster than the tyres hold in the bend", -1
        met = meetings(motions, self.ego.vehicle, self.futures)
        if not ((np.bincount(met.candidate, minlength=2) > 0) | bends).all():
            return None
        if not (met.candidate == 0).any():
            return "bend", "faster than the tyres hold in the bend", -1
        first = int(np.argmin(np.where(met.candidate == 0, met.time, np.inf)))
        what = f"meets it in {met.time[first]:.1f} s"
        return "collision", what, int(self.ids[met.user[first]])

    def judge(self, levels: Array) -> tuple[Array, Array]:
        """Which of the braking ``levels`` do not comply, bool, and the impact (m/s) of each."""
        acceleration, speed = float(self.ego.acceleration), max(float(self.ego.speed), 0.0)
        braked, slower = braking(MOMENTS, speed, acceleration, levels)
        way, pace = np.minimum(self.way, braked), np.minimum(self.pace, slower)
        motions = self.course.motions(way, pace)
        met = meetings(motions, self.ego.vehicle, self.futures)
        short = self._short(motions, way, pace, np.maximum(levels, self._brake_min))
        # braking that hard is the proper response, however near the other is
        short &= (levels < self._brake_min - 1e-6)[:, None] | (self.found.side != 0.0)
        wrong = self._meets(met, len(levels)) | short.any(1) | self._bends(way, pace)
        harm = np.zeros(len(levels))
        np.maximum.at(harm, met.candidate, met.speed)
        return wrong, harm

    @cached_property
    def short(self) -> Array:
        """(dangers,) bool, the plan violates RSS with that road user, however it answers it."""
        if not len(self.found.user):
            return np.zeros(0, bool)
        way, pace = self.way[None], self.pace[None]
        motions = self.course.motions(way, pace)
        return self._short(motions, way, pace, np.array([self._brake_min]))[0]

    @property
    def _brake_min(self) -> float:
        return min(float(np.asarray(EGO.brake_min)), self.full)

    def _short(self, motions: Motions, way: Array, pace: Array, brake: Array) -> Array:
        """(candidates, dangers) bool, RSS is violated."""
        found = self.found
        seconds = MOMENTS[LATER] - MOMENTS[AT_RESPONSE]
        dx = motions.x[:, LATER] - motions.x[:, AT_RESPONSE]
        dy = motions.y[:, LATER] - motions.y[:, AT_RESPONSE]
        pushing = (dx * np.cos(found.left) + dy * np.sin(found.left)) / seconds
        return short_of(found, way[:, AT_RESPONSE], pace[:, AT_RESPONSE], brake, pushing)

    def _meets(self, met: Meetings, candidates: int) -> Array:
        """(candidates,) bool; contacts at the side only count where one candidate avoids them."""
        front = np.bincount(met.candidate[~met.aside], minlength=candidates) > 0
        aside = np.bincount(met.candidate[met.aside], minlength=candidates) > 0
        return front | (aside & ~aside.all())

    def _bends(self, way: Array, pace: Array) -> Array:
        """(candidates,) bool: slides out of a bend within `BENDS` s."""
        s, curvature = self._curvature
        grip = GRIP_SLACK * self.ego.vehicle.friction * 9.81
        soon = MOMENTS <= BENDS
        bend = np.interp(self.course.start + way[:, soon], s, np.abs(curvature), right=0.0)
        return (bend * pace[:, soon] ** 2 > grip).any(1)

    @cached_property
    def _curvature(self) -> tuple[Array, Array]:
        return curvature_along(self.plan)
