"""A path and what comes of driving it: as planned, or braked in one of several ways."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from planning.minimal_risk import braking, course_of, delayed, full_braking, planned
from planning.plan_line import PlanLine
from planning.reachable import (
    MOMENTS,
    RESPONSE,
    Futures,
    Meetings,
    Motions,
    Reach,
    futures_of,
    meetings,
)
from planning.rss_check import EGO, Dangers, short_of
from planning.track_watch import RoadUsers
from roadloop.scoring.collision import STOPPED
from roadloop.types import EgoState, Forecasts

Array = np.ndarray

BENDS = 3.0
"""s of the motion whose lateral acceleration must stay within the tyres' grip"""
GRIP_SLACK = 1.05
"""of the grip: curvature is known to some per cent"""
ROOM = 0.5
"""m around where the ego may be in which road users are looked at: paths bend between moments"""
CLEAR = 0.5
"""m a plan that braking would not save must itself stay away from everybody"""
AT_RESPONSE = int(np.searchsorted(MOMENTS, RESPONSE - 1e-9))
LATER = int(np.searchsorted(MOMENTS, RESPONSE + 0.5 - 1e-9))


class Options:
    """One path with everybody's futures; every motion on it is judged alike.

    ``way`` and ``pace`` are the plan's own motion at `MOMENTS`, ``full`` the m/s^2 of full braking.
    """

    def __init__(
        self,
        line: PlanLine,
        ego: EgoState,
        users: RoadUsers,
        forecasts: Forecasts | None,
        found: Dangers,
    ) -> None:
        self.line, self.ego, self.users, self.forecasts = line, ego, users, forecasts
        self.found = found
        self.full = full_braking(ego.vehicle)
        self.course = course_of(line, ego)
        self.way, self.pace = planned(line, self.course, ego)

    def judge_plan(self, level: float, answered: Array) -> tuple[str, str, int] | None:
        """What is wrong with the plan: kind, in words, id of whom it is about. None: it complies.

        It does where braking with ``level`` from the response time on keeps it free of contacts, or
        it stays `CLEAR` of everybody by itself, and where RSS is kept or properly ``answered``
        (dangers,).
        """
        short = self.short & ~answered
        if short.any():
            worst = int(np.argmax(short))
            beside = self.found.side[worst] != 0.0
            what = "cuts in on it from the side" if beside else "RSS distance violated"
            return "rss", what, int(self.users.id[self.found.user[worst]])
        bends = self._bends(self.way[None], self.pace[None])[0]
        met = meetings(self._own, self.ego.vehicle, self.futures, CLEAR)
        if not bends and not len(met.user):
            return None
        way, pace = (values[None] for values in delayed(self.way, self.pace, level))
        if not self._bends(way, pace)[0]:
            # once it stands, nothing that happens is the ego's doing
            stands = slice(0, int(np.count_nonzero(pace[0] > STOPPED)) + 1)
            motions = self.course.motions(way[:, stands], pace[:, stands])
            if not len(meetings(motions, self.ego.vehicle, self.futures).user):
                return None
        if len(met.user):
            first = int(np.argmin(met.time))
            what = f"meets it in {met.time[first]:.1f} s"
            return "collision", what, int(self.users.id[met.user[first]])
        return "bend", "faster than the tyres hold in the bend", -1

    def judge(self, levels: Array) -> tuple[Array, Array]:
        """Which of the braking ``levels`` do not comply, bool, and the impact (m/s) of each.

        They are to stay `CLEAR` of everybody; where none can, free of contacts.
        """
        acceleration, speed = float(self.ego.acceleration), max(float(self.ego.speed), 0.0)
        braked, slower = braking(MOMENTS, speed, acceleration, levels)
        way, pace = np.minimum(self.way, braked), np.minimum(self.pace, slower)
        motions = self.course.motions(way, pace)
        short = self._short(motions, way, pace, np.maximum(levels, self._brake_min))
        # braking that hard is the proper response, however near the other is
        short &= (levels < self._brake_min - 1e-6)[:, None] | (self.found.side != 0.0)
        other = short.any(1) | self._bends(way, pace)
        met = meetings(motions, self.ego.vehicle, self.futures)
        wrong = other | self._meets(met, len(levels))
        if not wrong.all():
            near = meetings(motions, self.ego.vehicle, self.futures, CLEAR)
            nearer = other | self._meets(near, len(levels))
            wrong = wrong if nearer.all() else nearer
        harm = np.zeros(len(levels))
        np.maximum.at(harm, met.candidate, met.speed)
        return wrong, harm

    @cached_property
    def short(self) -> Array:
        """(dangers,) bool, the plan violates RSS with that road user, however it answers it."""
        if not len(self.found.user):
            return np.zeros(0, bool)
        least = np.array([self._brake_min])
        return self._short(self._own, self.way[None], self.pace[None], least)[0]

    @cached_property
    def futures(self) -> Futures:
        """Of everybody who may come near the path."""
        vehicle, off = self.ego.vehicle, math.hypot(*self.course.off)
        corner = 0.5 * math.hypot(vehicle.length, vehicle.width) + vehicle.centre_offset
        reach = Reach.of(self._own, corner + off + CLEAR + ROOM)
        return futures_of(self.users, self.forecasts, reach)

    @cached_property
    def _own(self) -> Motions:
        """The plan's own motion."""
        return self.course.motions(self.way[None], self.pace[None])

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
        s, curvature = self.line.curvature
        sharpest = float(np.abs(curvature).max(initial=0.0))
        grip = GRIP_SLACK * self.ego.vehicle.friction * 9.81
        if sharpest * float(pace.max()) ** 2 <= grip:
            return np.zeros(len(pace), bool)
        soon = MOMENTS <= BENDS
        bend = np.interp(self.course.start + way[:, soon], s, np.abs(curvature), right=0.0)
        return np.any(bend * pace[:, soon] ** 2 > grip, axis=1)
