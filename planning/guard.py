"""The guard: the last check of every plan, whoever made it, and the least that makes it safe.

It believes nothing of the planner. Each step it asks, in this order:

1. Is perception alive? (`planning.track_watch`: missing, frozen, late, jumping tracks)
2. Is this a plan at all? (`planning.plan_sanity`)
3. Does it meet somebody, in any of their futures? (`planning.reachable`)
4. Does it violate RSS, and not answer that? (`planning.rss_check`)

A plan that meets somebody is still obeyed as long as hard braking begun `RESPONSE` s from now
would prevent it: the next step asks again, and planners change their minds. Once that is no longer
so, the plan's path is kept and its speed lowered: held, then braked comfortably, firmly, hard,
fully, whatever is enough; else the same along the route's lane. Where there is no plan, or nothing
is seen, the ego stops comfortably in its lane: the minimal risk manoeuvre.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from planning.guard_options import Options
from planning.minimal_risk import COMFORTABLE, FIRM, HARD, HOLD, lane_plan, slowed
from planning.plan_line import PlanLine
from planning.plan_sanity import fault_and_line, from_now
from planning.reachable import MOMENTS, RESPONSE
from planning.rss_check import EGO, RoadFrame, dangers
from planning.track_watch import TrackWatch
from roadloop.errors import RoadloopError
from roadloop.scoring.area_map import LEVEL
from roadloop.types import EgoState, Forecasts, Observation, Scenario, Tracks, Trajectory

Array = np.ndarray

FREE, BRAKING, MINIMAL_RISK, EMERGENCY = "free", "braking", "minimal-risk", "emergency"
"""what `Guard.state` may be"""
MEMORY = 1.0
"""s for which the last good plan is driven on in place of nonsense"""
RELEASE = 3
"""steps in a row a plan must comply, more strictly, until it is obeyed again"""
KEEP = 0.3
"""s before braking once begun is made gentler"""
LESS_HARM = 0.5
"""m/s of impact for which the plan's path is given up when nothing avoids it"""
ANSWER = 0.5
"""s over which a plan must brake to count as the proper response to an RSS danger"""


@dataclass(frozen=True)
class Intervention:
    """One stretch of time in which the plan was not obeyed."""

    step: int
    time: float
    """s, of the observation it began with"""
    kind: str
    """``plan``, ``planner``, ``perception``, ``collision``, ``rss`` or ``bend``"""
    what: str
    """in words, at its beginning"""
    agent_id: int
    """road user it was about, -1: none"""
    until: float
    """s, of its last observation so far"""


class Guard:
    """Checks plans; see the module. ``interventions`` and ``state`` are for the log and the score.

    ``state`` is free, braking, minimal-risk or emergency.
    """

    def __init__(self) -> None:
        self.interventions: list[Intervention] = []
        self.state = FREE
        self._frame: RoadFrame | None = None

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario: the route is taken, everything else forgotten."""
        self._frame = RoadFrame(scenario)
        self._watch = TrackWatch()
        self.interventions = []
        self.state = FREE
        self._good: tuple[Trajectory, float] | None = None
        self._streak = 0
        self._level = -1.0
        self._level_time = -np.inf
        self._going_on = False
        self._dangerous: dict[int, float] = {}

    def check(
        self,
        observation: Observation,
        tracks: Tracks | None,
        forecasts: Forecasts | None,
        plan: Trajectory | None,
    ) -> Trajectory:
        """``plan`` itself where it complies, else what is to be driven in its place.

        Anything may be given for ``plan``, and None for ``tracks``; the ego of the observation must
        be finite. Raises RoadloopError before `reset`.
        """
        return self._check(observation, tracks, forecasts, plan, "plan", "")

    def without_plan(
        self, observation: Observation, tracks: Tracks | None, error: Exception
    ) -> Trajectory:
        """What to drive where the planner raised ``error`` instead of planning."""
        text = " ".join(str(error).split())[:120]
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return self._check(observation, tracks, None, None, "planner", what)

    def _check(
        self,
        observation: Observation,
        tracks: Tracks | None,
        forecasts: Forecasts | None,
        plan: Trajectory | None,
        kind: str,
        what: str,
    ) -> Trajectory:
        if self._frame is None:
            raise RoadloopError("Guard has no route yet: call reset(scenario) first")
        ego, watch = observation.ego, self._watch
        watch.update(observation, tracks)
        fault, line = (what, None) if what else fault_and_line(plan, ego)
        note = (kind, fault, -1) if fault else None
        stop = bool(watch.fault)
        if line is None:
            line = self._last_good(ego)
            stop = stop or line is None
        if line is None:
            line = PlanLine(lane_plan(self._frame, ego))
        if watch.fault:
            note = ("perception", watch.fault, -1)
        users = watch.users
        level = np.abs(users.z - float(ego.z)) < LEVEL
        if not level.all():
            users = users.pick(np.flatnonzero(level))
        found = dangers(self._frame, ego, users)
        known = forecasts if tracks is not None and not watch.fault else None
        options = Options(line, ego, users, known, found)
        if not stop:
            verdict = self._judge_plan(options)
            self._streak = self._streak + 1 if verdict is None else 0
            if verdict is None and (self.state == FREE or self._streak >= RELEASE):
                return self._obey(observation, line.plan, note)
            if verdict is not None:
                note = note if fault else verdict
        else:
            self._streak = 0
        return self._respond(observation, options, stop, note)

    def _obey(
        self, observation: Observation, base: Trajectory, note: tuple[str, str, int] | None
    ) -> Trajectory:
        """``base``: the plan, or the last good one where this one is nonsense."""
        self.state, self._level = FREE, -1.0
        if note is None:
            self._good = (base, self._watch.clock)
        self._note(observation, note)
        return base

    def _last_good(self, ego: EgoState) -> PlanLine | None:
        """The last good plan from now on, None where it is too old or no longer holds."""
        if self._good is None or self._watch.clock - self._good[1] > MEMORY + 1e-6:
            return None
        rest = from_now(self._good[0], self._watch.clock - self._good[1])
        return None if rest is None else fault_and_line(rest, ego)[1]

    def _judge_plan(self, options: Options) -> tuple[str, str, int] | None:
        """None where the plan complies; while the guard is at work it must do so more clearly."""
        level = HARD if self.state == FREE else FIRM
        return options.judge_plan(min(level, options.full), self._answered(options))

    def _answered(self, options: Options) -> Array:
        """(dangers,) bool: RSS dangers to which the plan's braking is the proper response.

        It has the rest of the response time, from when the danger began, until it must brake.
        """
        found = options.found
        if not len(found.user):
            self._dangerous = {}
            return np.zeros(0, bool)
        ids = options.users.id[found.user]
        clock, short = self._watch.clock, ids[options.short].tolist()
        self._dangerous = {i: self._dangerous.get(i, clock) for i in short}
        passed = clock - np.array([self._dangerous.get(i, clock) for i in ids.tolist()])
        begin = np.maximum(RESPONSE - passed, 0.0)
        pace = np.interp(np.stack([begin, begin + ANSWER]), MOMENTS, options.pace)
        least = min(float(np.asarray(EGO.brake_min)), options.full)
        brakes = pace[0] - pace[1] >= 0.9 * least * ANSWER
        return (brakes | (pace[1] < 0.05)) & (found.side == 0.0)

    def _respond(
        self,
        observation: Observation,
        options: Options,
        stop: bool,
        note: tuple[str, str, int] | None,
    ) -> Trajectory:
        """The gentlest motion that complies; where none does, the one that does the least harm."""
        levels = np.array([HOLD, COMFORTABLE, FIRM, HARD, options.full])
        levels = levels[levels <= options.full]
        least = COMFORTABLE if stop else HOLD
        if self._watch.clock - self._level_time < KEEP:
            least = max(least, self._level)
        levels = levels[levels >= min(least, options.full)]
        chosen, (wrong, harm) = options, options.judge(levels)
        if wrong.all() and self._frame is not None:
            lane = PlanLine(lane_plan(self._frame, options.ego))
            aside = Options(lane, options.ego, options.users, options.forecasts, options.found)
            wrong_aside, harm_aside = aside.judge(levels)
            if not wrong_aside.all() or harm_aside[-1] < harm[-1] - LESS_HARM:
                chosen, wrong = aside, wrong_aside
        complies = not wrong.all()
        level = float(levels[int(np.argmin(wrong))] if complies else levels[-1])
        self.state = BRAKING
        if stop:
            self.state = MINIMAL_RISK
        if not complies or level >= options.full:
            self.state = EMERGENCY
        if level != self._level:
            self._level, self._level_time = level, self._watch.clock
        self._note(observation, note or self._last_note)
        return slowed(chosen.line, chosen.course, chosen.ego, level)

    def _note(self, observation: Observation, note: tuple[str, str, int] | None) -> None:
        """Begin, prolong or end an intervention."""
        if note is None:
            self._going_on = False
            return
        kind, what, agent_id = note
        time = float(observation.time)
        if self._going_on and self.interventions[-1].kind == kind:
            self.interventions[-1] = dataclasses.replace(self.interventions[-1], until=time)
        else:
            step = int(observation.step)
            self.interventions.append(Intervention(step, time, kind, what, agent_id, time))
        self._going_on, self._last_note = True, note
