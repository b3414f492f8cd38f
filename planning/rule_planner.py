"""The planner `rule`: the route follower's own plan, held against others and improved on.

Each step the route follower says what it would do (`planning.route_follower`), and how the
same line can be driven otherwise is put beside it: anticipating, slower, stopping, going through a
gap it would leave, giving up a way around; and other lines: overtaking, keeping to one side
(`planning.rule_sideways`). All are rolled out at once (`planning.proposals`) and scored against
forecasts of everybody around (`planning.proposal_scores`). The route follower's plan is driven
unless another one is clearly better.
"""

from __future__ import annotations

import numpy as np

from planning.explanation import Explanation
from planning.forecast_boxes import FutureBoxes, future_boxes, select
from planning.lateral_offset import LateralOffset, OffsetStep, step_length
from planning.longitudinal import Motion
from planning.obstruction import ROOM_TO_PASS, TIGHTEST
from planning.proposal_menu import Menu
from planning.proposal_scores import (
    TTC_FREE,
    Encounters,
    encounters,
    exposed,
    least_ttc,
    loss_shares,
    score_proposals,
)
from planning.proposals import FollowedAgents, Proposals, lay_out, roll_out_all
from planning.route_follower import HORIZON, ROLL_STEP, RouteFollower
from planning.route_line import SPACING
from planning.rule_leaders import FIRM_BRAKING, believed_leaders, headway_term
from planning.rule_reasons import explain
from planning.rule_road import RoadBeside
from planning.rule_sideways import Sideways
from planning.rule_style import RuleStyle
from planning.situation import Situation, reason_for
from planning.track_memory import TrackMemory
from roadloop.errors import RoadloopError
from roadloop.idm import IdmParameters
from roadloop.types import Forecasts, Observation, Scenario, Tracks, Trajectory

Array = np.ndarray

JUDGED = 4.0
"""s of each proposal that are scored"""
SLOWER = (0.75, 0.5, 0.25)
"""shares of the allowed speed that are proposed beside all of it"""
STOPS = (("comfortable stop", 2.0), ("firm stop", 3.4), ("emergency brake", 8.0))
"""stops that are always proposed, and their m/s^2"""
GIVE_UP_BRAKING = 3.0
"""m/s^2 where a way around is given up"""
LEAST_GAP = 1.5
"""m to stop before what is not passed"""
GIVE_UP, HURRY = "give up passing", "hurry past"
MET = 0.3
"""of the score that giving up, or hurrying, has ahead when somebody comes on the opposite lane"""
HALF_WAY = 0.55
"""share of the way to the other lane from which it is no longer given up"""
GAP = "take the gap"
LATE_BRAKING = 2.8
"""m/s^2 of braking for others at a junction from which going on is thought of"""
OVER_LINE = 0.7
"""m beyond a place to stop at which the front has not stopped there"""
PATIENCE = 4.0
"""s the ego holds where the route follower would go, for other reasons than a collision ..."""
IMPATIENT = 0.5
"""... and the score its plan has ahead of others then, until the ego moves again"""
EMERGENCY = 0.3
"""risk of collision of the route follower's plan from which full braking is thought of"""


class RulePlanner:
    """A `Planner` that weighs proposals; `explanation` says how, after each plan.

    ``reason`` says in a few words what decides the speed now, for reports.
    """

    def __init__(self, style: RuleStyle | None = None) -> None:
        self.style = style or RuleStyle()
        driving = self.style.driving
        self._follower = RouteFollower(driving, self.style.passing)
        self._memory = TrackMemory()
        self._idm = IdmParameters(
            desired_speed=30.0,  # not used: the speed profile takes its place
            time_headway=driving.time_headway,
            minimum_gap=driving.minimum_gap,
            acceleration=driving.acceleration,
            deceleration=driving.deceleration,
        )
        self._shares = loss_shares(self.style.weights)
        self._sideways: Sideways | None = None
        self.reason = "not started"
        self.explanation: Explanation | None = None

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        follower = self._follower
        follower.reset(scenario)
        self._memory.reset()
        self._road = RoadBeside(follower.line, follower.road_map, follower.rules)
        self._sideways = Sideways(follower, self._road)
        self._last = ""
        self._waiting, self._held, self._departed = 0.0, 0.0, False
        self.reason, self.explanation = "free", None

    def pull_over(self) -> None:
        """From now on look for a free kerb ahead, and stop there.

        Raises RoadloopError before `reset`.
        """
        self._ready().pulls_over = True

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """5 s along the route, ``(51,)`` points; the first is the ego's foot on the path.

        Without ``forecasts`` everybody is taken to go on at constant velocity. Raises RoadloopError
        before `reset`, or when the map has lights the observation lacks.
        """
        follower, sideways = self._follower, self._ready()
        known = self._memory.update(tracks, observation.dt)
        now = follower.assess(observation, known.tracks)
        follower.note_waiting(now.stop, now.front, now.speed, observation.dt)
        self._count_waiting(now, observation.dt)
        sideways.update(now, observation.dt)

        # beside the own lane nobody is doubted
        planned = follower.planned_offset()
        aside = (np.abs(planned.at(now.s + np.arange(0.0, 50.0, 5.0))[0]) > 0.1).any()
        believed = believed_leaders(now, known.tracks, None if aside else forecasts)
        given_up = self._given_up(now)
        menu = self._menu(now, planned, believed, given_up)
        options, who, agents = menu.options(), menu.followed, now.agents
        pull = known.acceleration[agents.row[who]]
        followed = FollowedAgents(agents.s_low[who], agents.speed_along[who], pull)
        rolled = roll_out_all(
            options, now.s, now.speed, now.acceleration, float(now.window.s[0]), SPACING,
            np.stack([line.profile for line in menu.lines]),
            followed, now.front - now.s, self.style.driving, self._idm,
            round(JUDGED / ROLL_STEP), ROLL_STEP,
        )  # fmt: skip
        t, s, v, a = rolled
        s[0], v[0], a[0] = (q[: len(t)] for q in (now.motion.s, now.motion.v, now.motion.a))
        offsets = [line.offset for line in menu.lines]
        judged = lay_out(now.window, offsets, options.line, t, s, v, a)
        boxes = self._boxes(now, judged, observation, known.tracks, forecasts)
        around = self._road.around(judged)
        met = encounters(judged, boxes, now.vehicle, exposed(judged, around, now.vehicle))
        steady = np.array([float(name == self._last) for name in options.names])
        steady[:2] = steady[:2].max()  # these two differ by little
        ttc = least_ttc(judged, boxes, now.vehicle, around)
        terms, score = score_proposals(
            judged,
            met,
            ttc,
            around,
            self._right_of_way(now, options.names, judged, met, ttc),
            headway_term(judged, followed, options.led, now.front - now.s),
            steady,
            self.style.weights,
            now.vehicle,
        )
        ahead = menu.bonus + self.style.keep * steady
        ahead[:2] += self.style.margin if self._held < PATIENCE else IMPATIENT
        if (known.acceleration[now.agents.row[believed]] < FIRM_BRAKING).any():
            # the first proposal, and so its terms, take the leader's speed for constant
            ahead[0] = -np.inf if met.risk[1].max(initial=0) <= met.risk[0].max(initial=0) else 0.0
        if met.risk[0].max(initial=0.0) < EMERGENCY:
            ahead[[name == STOPS[-1][0] for name in options.names]] = -np.inf
        chosen = int(np.argmax(score + ahead))
        self._last, self._departed = options.names[chosen], chosen > 1
        if options.names[chosen] == GIVE_UP:
            follower.detour.give_up(given_up)
        sideways.take(options.names[chosen])
        self.explanation = explain(
            options.names, terms, self._shares, score, chosen, judged, met, boxes,
            known.tracks.states, reason_for(now, self.style.driving, self._idm),
        )  # fmt: skip
        self.reason = self.explanation.limit or "free"
        mine = Motion(t, s[chosen], v[chosen], a[chosen])
        return follower.lay_on_path(now.motion if chosen == 0 else _prolonged(mine, HORIZON))

    def _ready(self) -> Sideways:
        if self._sideways is None:
            raise RoadloopError("RulePlanner has no route yet: call reset(scenario) first")
        return self._sideways

    def _count_waiting(self, now: Situation, dt: float) -> None:
        """How long others are waited for at a junction, and how long the ego holds by itself."""
        slow = now.speed < 0.5
        waits = slow and now.stop is now.yielding
        self._waiting = self._waiting + dt if waits else 0.0
        holds = slow and self._departed
        if now.speed > 2.0:
            self._held = 0.0
        elif holds:
            self._held += dt

    def _given_up(self, now: Situation) -> list[OffsetStep]:
        """Steps that take back the way around that has begun, none where that no longer helps."""
        out = self._follower.detour.begun(now.s)
        if out is None or now.s > out.start + HALF_WAY * (out.end - out.start):
            return []
        length = step_length(out.by, min(now.speed, 4.0), TIGHTEST)
        return [out, OffsetStep(now.s, now.s + length, -out.by)]

    def _menu(
        self,
        now: Situation,
        planned: LateralOffset,
        believed: Array,
        given_up: list[OffsetStep],
    ) -> Menu:
        """Everything that is proposed; the first is the place of the rules' own motion."""
        follower, front = self._follower, now.front - now.s
        stop, manoeuvre = now.stop.s - front, follower.manoeuvre()
        menu = Menu(self._road.end)
        menu.line(planned, now.profile, believed)
        menu.add(manoeuvre, stop)
        menu.add(f"{manoeuvre}, anticipating", stop)
        for share in SLOWER:
            menu.add(f"{manoeuvre}, {share:.0%}", stop, pace=share)
        for name, braking in STOPS:
            menu.add(name, stop, braking=braking)
        if now.stop.reason.startswith("yielding"):
            needed = now.speed**2 / (2.0 * max(now.stop.s - now.front, 0.1))
            takes = self._waiting > self.style.gap_patience or needed > LATE_BRAKING
            if takes or self._last == GAP:
                menu.add(GAP, now.law.s - front)
        # beyond what is judged, but too near to go on slowly, or even fast
        detour = follower.detour
        met = detour.is_met(now, detour.speed)
        late = met and detour.is_met(now, detour.manners.passing_speed)
        hurried = follower.hurried_profile(now.rows) if met else None
        if given_up:
            ahead = now.agents.s_low[now.blocking & (now.agents.s_low > now.front)]
            # with room to try again, as far as firm braking can still do it
            before = float(ahead.min(initial=np.inf)) - front
            soon = now.s + now.speed**2 / (2.0 * GIVE_UP_BRAKING) + 0.5
            before = min(max(before - ROOM_TO_PASS, soon), before - LEAST_GAP)
            back = LateralOffset(given_up + follower.changing_steps())
            line = menu.line(back, now.profile, believed)
            menu.add(GIVE_UP, min(stop, before), line=line, pace=0.6, bonus=MET if late else 0.0)
        if hurried is not None:
            bonus = 0.0 if late and given_up else MET
            menu.add(HURRY, stop, line=menu.line(planned, hurried, believed), bonus=bonus)
        # begun, they are the rules' plan, and as steady
        same = self.style.margin + self.style.keep + self._shares["stability"]
        for offer in self._ready().offers(now, same):
            aside = LateralOffset([*planned.steps, offer.step])
            line = menu.line(aside, now.profile, offer.led)
            menu.add(offer.name, stop, line=line, bonus=offer.bonus)
        return menu

    def _boxes(
        self,
        now: Situation,
        judged: Proposals,
        observation: Observation,
        tracks: Tracks,
        forecasts: Forecasts | None,
    ) -> FutureBoxes:
        """Everybody whom some proposal may come near."""
        states, ego = tracks.states, observation.ego
        reach = 15.0 + (float(judged.v.max()) + states.speed) * JUDGED
        near = np.hypot(states.x - ego.x, states.y - ego.y) < reach
        near &= states.valid & (np.abs(states.z - ego.z) < 3.0)
        boxes = future_boxes(tracks, forecasts, np.flatnonzero(near), judged.t)
        if len(boxes) == 0:
            return boxes
        fastest = int(np.argmax(judged.s[:, -1]))
        points = np.linspace(0, judged.x.shape[1] - 1, 8).astype(np.int64)
        x, y = judged.x[fastest, points], judged.y[fastest, points]
        away = (boxes.x[..., None] - x) ** 2 + (boxes.y[..., None] - y) ** 2
        apart = np.sqrt(away.min(axis=(1, 2, 3)))
        spacing = float(np.hypot(x[-1] - x[0], y[-1] - y[0])) / 14.0
        size = 0.5 * boxes.length.max(axis=(1, 2))
        return select(boxes, apart < spacing + size + now.vehicle.length + 3.0)

    def _right_of_way(
        self,
        now: Situation,
        names: tuple[str, ...],
        judged: Proposals,
        met: Encounters,
        ttc: Array,
    ) -> Array:
        """(P,) little where a place to stop is passed, and a gap is taken that is too small."""
        front = judged.s[:, -1] + (now.front - now.s)
        kept = np.where(front > now.stop.s + OVER_LINE, 0.05, 1.0)
        if GAP in names:
            i = names.index(GAP)
            free = met.room[i] > self.style.gap_room and met.risk[i].max(initial=0.0) == 0.0
            free = free and bool((ttc[i] > TTC_FREE).all())
            # what comes after the last moment judged nobody has looked at
            rear = float(judged.s[i, -1]) - now.vehicle.rear_overhang
            free = free and rear > self._follower.conflicts_end(now.front)
            over = front[i] > now.law.s + OVER_LINE
            kept[i] = 1.0 if free and not over else 0.05
        return kept


def _prolonged(motion: Motion, seconds: float) -> Motion:
    """The motion up to ``seconds``: braking goes on to a standstill, else the speed stays."""
    step = float(motion.t[1] - motion.t[0])
    t = np.arange(len(motion.t), round(seconds / step) + 1) * step
    rest, v, a = t - motion.t[-1], float(motion.v[-1]), min(float(motion.a[-1]), 0.0)
    moving = np.minimum(rest, v / -a) if a < 0.0 else rest
    fields = (t, motion.s[-1] + v * moving + 0.5 * a * moving**2, v + a * moving, a + 0.0 * t)
    kept = (motion.t, motion.s, motion.v, motion.a)
    return Motion(*(np.concatenate(pair) for pair in zip(kept, fields, strict=True)))
