"""The planner `rule`: the route follower's own plan, held against others and improved on.

Each step the route follower says what it would do (`planning.route_follower`), and how the
same line can be driven otherwise is put beside it: anticipating, slower, stopping, going through a
gap it would leave, giving up a way around. All are rolled out at once (`planning.proposals`) and
scored against forecasts of everybody around (`planning.proposal_scores`). The route follower's
plan is driven unless another one is clearly better.
"""

from __future__ import annotations

import re

import numpy as np

from planning.explanation import POINT_STEP, Explanation
from planning.forecast_boxes import FutureBoxes, future_boxes, select
from planning.lateral_offset import LateralOffset, OffsetStep, step_length
from planning.longitudinal import Leaders, Motion
from planning.obstruction import ROOM_TO_PASS, TIGHTEST
from planning.proposal_scores import (
    TTC_FREE,
    Encounters,
    Surroundings,
    encounters,
    exposed,
    least_ttc,
    score_proposals,
)
from planning.proposals import FollowedAgents, Options, Proposals, lay_out, roll_out_all
from planning.route_follower import HORIZON, ROLL_STEP, RouteFollower
from planning.route_line import SPACING
from planning.rule_style import RuleStyle
from planning.situation import Situation, reason_for
from planning.track_memory import TrackMemory
from roadloop.idm import IdmParameters
from roadloop.types import AgentKind, Forecasts, Observation, Scenario, Tracks, Trajectory

Array = np.ndarray

JUDGED = 4.0
"""s of each proposal that are scored"""
SLOWER = (0.75, 0.5, 0.25)
"""shares of the allowed speed that are proposed beside all of it"""
STOPS = (("comfortable stop", 2.0), ("firm stop", 3.4), ("emergency brake", 8.0))
"""stops that are always proposed, and their m/s^2"""
CORRIDOR = 0.3
"""m beside the ego's box that count as its way"""
BELIEVED = 0.1
"""probability of coming into the ego's way from which a forecast one is braked for"""
FORESEEN = 3.0
"""s within which it must come"""
GIVE_UP_BRAKING = 3.0
"""m/s^2 where a way around is given up"""
LEAST_GAP = 1.5
"""m to stop before what is not passed"""
GIVE_UP, HURRY = "give up passing", "hurry past"
MET = 0.3
"""of the score that giving up and hurrying have ahead when somebody comes on the opposite lane"""
HALF_WAY = 0.55
"""share of the way to the other lane from which it is no longer given up"""
GAP = "take the gap"
LATE_BRAKING = 2.8
"""m/s^2 of braking for others at a junction from which going on is thought of"""
OVER_LINE = 0.7
"""m beyond a place to stop at which the front has not stopped there"""
SAFE_HEADWAY = 0.8
"""s of headway that cost nothing"""
FIRM_BRAKING = -1.0
"""m/s^2 of a leader from which it is expected to go on braking"""
PATIENCE = 4.0
"""s the ego holds where the route follower would go, for other reasons than a collision ..."""
IMPATIENT = 0.5
"""... and the score its plan has ahead of others then, until the ego moves again"""
EMERGENCY = 0.3
"""risk of collision of the route follower's plan from which full braking is thought of"""
_NAMED = re.compile(r"(?:agent|vehicle|pedestrian|following \w+) (\d+)")


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
        self.reason = "not started"
        self.explanation: Explanation | None = None

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        self._follower.reset(scenario)
        self._memory.reset()
        self._road = _Road(self._follower)
        self._last = ""
        self._waiting, self._held, self._departed = 0.0, 0.0, False
        self.reason, self.explanation = "free", None

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """5 s along the route, ``(51,)`` points; the first is the ego's foot on the path.

        Without ``forecasts`` everybody is taken to go on at constant velocity. Raises RoadloopError
        before `reset`, or when the map has lights the observation lacks.
        """
        follower = self._follower
        known = self._memory.update(tracks, observation.dt)
        now = follower.assess(observation, known.tracks)
        follower.note_waiting(now.stop, now.front, now.speed, observation.dt)
        self._count_waiting(now, observation.dt)

        # beside the own lane nobody is doubted
        offset = follower.planned_offset()
        aside = (np.abs(offset.at(now.s + np.arange(0.0, 50.0, 5.0))[0]) > 0.1).any()
        believed = _believed(now, known.tracks, None if aside else forecasts)
        followed = FollowedAgents(
            now.agents.s_low[now.leading],
            now.agents.speed_along[now.leading],
            known.acceleration[now.agents.row[now.leading]],
        )
        given_up = self._given_up(now)
        offsets = [offset]
        if given_up:
            offsets.append(LateralOffset(given_up + follower.changing_steps()))
        profiles = [now.profile] * len(offsets)
        hurried = follower.hurried_profile(now.rows)
        if hurried is not None:
            offsets.append(offset)
            profiles.append(hurried)
        options = self._options(
            now,
            believed[now.leading],
            bool(given_up),
            len(offsets) - 1 if hurried is not None else 0,
        )
        rolled = roll_out_all(
            options, now.s, now.speed, now.acceleration, float(now.window.s[0]), SPACING,
            np.stack(profiles),
            followed, now.front - now.s, self.style.driving, self._idm,
            round(JUDGED / ROLL_STEP), ROLL_STEP,
        )  # fmt: skip
        t, s, v, a = rolled
        s[0], v[0], a[0] = (q[: len(t)] for q in (now.motion.s, now.motion.v, now.motion.a))
        judged = lay_out(now.window, offsets, options.line, t, s, v, a)
        boxes = self._boxes(now, judged, observation, known.tracks, forecasts)
        around = self._road.around(judged)
        in_the_open = exposed(judged, around, now.vehicle)
        met = encounters(judged, boxes, now.vehicle, in_the_open)
        steady = np.array([float(name == self._last) for name in options.names])
        steady[:2] = steady[:2].max()  # these two differ by little
        ttc = least_ttc(judged, boxes, now.vehicle, around)
        terms, score = score_proposals(
            judged,
            met,
            ttc,
            around,
            self._right_of_way(now, options, judged, met, ttc),
            _headway(judged, followed, options.led, now.front - now.s),
            steady,
            self.style.weights,
            now.vehicle,
        )
        ahead = np.zeros(len(score))
        ahead[:2] = self.style.margin if self._held < PATIENCE else IMPATIENT
        ahead += self.style.keep * steady
        if (followed.acceleration[believed[now.leading]] < FIRM_BRAKING).any():
            # the first proposal, and so its terms, take the leader's speed for constant
            ahead[0] = -np.inf if met.risk[1].max(initial=0) <= met.risk[0].max(initial=0) else 0.0
        if met.risk[0].max(initial=0.0) < EMERGENCY:
            ahead[[name == STOPS[-1][0] for name in options.names]] = -np.inf
        if follower.is_met(now):  # beyond what is judged, but too near to go on crawling
            ahead[[name in (GIVE_UP, HURRY) for name in options.names]] += MET
        chosen = int(np.argmax(score + ahead))
        self._last, self._departed = options.names[chosen], chosen > 1
        if options.names[chosen] == GIVE_UP:
            follower.give_up_passing(given_up)
        limit = self._explain(now, options, terms, score, chosen, judged, met, boxes, known.tracks)
        self.reason = limit or "free"
        mine = Motion(t, s[chosen], v[chosen], a[chosen])
        return follower.lay_on_path(now.motion if chosen == 0 else _prolonged(mine, HORIZON))

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
        out = self._follower.passing_under_way()
        if out is None or now.s > out.start + HALF_WAY * (out.end - out.start):
            return []
        length = step_length(out.by, min(now.speed, 4.0), TIGHTEST)
        return [out, OffsetStep(now.s, now.s + length, -out.by)]

    def _options(self, now: Situation, believed: Array, may_give_up: bool, hurried: int) -> Options:
        """``hurried`` is the line on which the ego may hurry past, 0 where there is none."""
        front = now.front - now.s
        stop, manoeuvre = now.stop.s - front, self._follower.manoeuvre()
        rows: list[tuple[str, int, float, float, float, bool]] = [
            (manoeuvre, 0, 1.0, stop, 0.0, False),
            (f"{manoeuvre}, anticipating", 0, 1.0, stop, 0.0, True),
        ]
        rows += [(f"{manoeuvre}, {share:.0%}", 0, share, stop, 0.0, True) for share in SLOWER]
        rows += [(name, 0, 1.0, stop, braking, True) for name, braking in STOPS]
        if now.stop.reason.startswith("yielding"):
            needed = now.speed**2 / (2.0 * max(now.stop.s - now.front, 0.1))
            takes = self._waiting > self.style.gap_patience or needed > LATE_BRAKING
            if takes or self._last == GAP:
                rows.append((GAP, 0, 1.0, now.law.s - front, 0.0, True))
        if may_give_up:
            ahead = now.agents.s_low[now.blocking & (now.agents.s_low > now.front)]
            # with room to try again, as far as firm braking can still do it
            before = float(ahead.min(initial=np.inf)) - front
            soon = now.s + now.speed**2 / (2.0 * GIVE_UP_BRAKING) + 0.5
            before = min(max(before - ROOM_TO_PASS, soon), before - LEAST_GAP)
            rows.append((GIVE_UP, 1, 0.6, min(stop, before), 0.0, True))
        if hurried:
            rows.append((HURRY, hurried, 1.0, stop, 0.0, True))
        names, line, pace, stop_at, braking, anticipates = zip(*rows, strict=True)
        led = np.repeat(believed[None], len(rows), axis=0)
        led[0] = True
        return Options(
            names=names,
            line=np.array(line),
            pace=np.array(pace),
            stop_at=np.minimum(np.array(stop_at), self._road.end),
            braking=np.array(braking),
            anticipates=np.array(anticipates),
            led=led,
        )

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
        self, now: Situation, options: Options, judged: Proposals, met: Encounters, ttc: Array
    ) -> Array:
        """(P,) little where a place to stop is passed, and a gap is taken that is too small."""
        front = judged.s[:, -1] + (now.front - now.s)
        kept = np.where(front > now.stop.s + OVER_LINE, 0.05, 1.0)
        for i, name in enumerate(options.names):
            if name == GAP:
                free = met.room[i] > self.style.gap_room and met.risk[i].max(initial=0.0) == 0.0
                free = free and bool((ttc[i] > TTC_FREE).all())
                # what comes after the last moment judged nobody has looked at
                rear = float(judged.s[i, -1]) - now.vehicle.rear_overhang
                free = free and rear > self._follower.conflicts_end(now.front)
                over = front[i] > now.law.s + OVER_LINE
                kept[i] = 1.0 if free and not over else 0.05
        return kept

    def _explain(
        self,
        now: Situation,
        options: Options,
        terms: dict[str, Array],
        score: Array,
        chosen: int,
        judged: Proposals,
        met: Encounters,
        boxes: FutureBoxes,
        tracks: Tracks,
    ) -> str:
        """Set `explanation`; what limits the plan, in words."""
        limit = reason_for(now, self.style.driving, self._idm)
        limit = "" if limit == "free" else limit
        named = _NAMED.search(limit)
        who = int(named.group(1)) if named else -1
        if chosen > 1:
            risk = met.risk[0]
            if risk.max(initial=0.0) > 0.0:
                worst = int(np.argmax(risk))
                row = boxes.row[worst]
                who = int(tracks.states.id[row])
                kind = AgentKind(int(tracks.states.kind[row])).name.lower()
                limit = f"{options.names[chosen]}: {kind} {who} in {met.first[0, worst]:.1f} s"
            else:
                gain = {
                    name: values[chosen] - values[0]
                    for name, values in terms.items()
                    if name != "stability"
                }
                limit = f"{options.names[chosen]} for {max(gain, key=lambda name: gain[name])}"
        k = np.arange(round(JUDGED / POINT_STEP) + 1) * POINT_STEP / ROLL_STEP
        low = np.minimum((k + 1e-9).astype(np.int64), judged.s.shape[1] - 2)
        share = k - low
        xy = np.stack([judged.x, judged.y], axis=-1)
        points = xy[:, low] * (1.0 - share[:, None]) + xy[:, low + 1] * share[:, None]
        self.explanation = Explanation(
            names=options.names,
            terms=terms,
            score=score,
            chosen=chosen,
            xy=points,
            limit=limit,
            limit_id=who,
        )
        return limit


class _Road:
    """What lies beside the route's line, looked up by m along it."""

    def __init__(self, follower: RouteFollower) -> None:
        line, road_map = follower.line, follower.road_map
        lane = line.lane
        left, right = road_map.lane_left[lane] >= 0, road_map.lane_right[lane] >= 0
        oncoming = road_map.lane_opposite[lane] >= 0
        self.start, self.end = float(line.s[0]), float(line.s[-1])
        self.half = line.width / 2.0
        self.speed_limit = line.speed_limit
        self.opposite_left = oncoming & ~left & (not road_map.left_hand)
        self.opposite_right = oncoming & ~right & bool(road_map.left_hand)
        self.room_left = self.half + np.where(left | self.opposite_left, line.width, 0.0)
        self.room_right = self.half + np.where(right | self.opposite_right, line.width, 0.0)
        self.in_junction = road_map.lane_junction[lane] >= 0
        # lanes of a junction overlap: there is always room
        self.room_left = np.where(self.in_junction, 10.0, self.room_left)
        self.room_right = np.where(self.in_junction, 10.0, self.room_right)

    def around(self, proposals: Proposals) -> Surroundings:
        i = np.clip((proposals.s - self.start) / SPACING, 0, len(self.half) - 1).astype(np.int64)
        return Surroundings(
            speed_limit=self.speed_limit[i],
            own_half=self.half[i],
            opposite_left=self.opposite_left[i],
            opposite_right=self.opposite_right[i],
            room_left=self.room_left[i],
            room_right=self.room_right[i],
            in_junction=self.in_junction[i],
        )


def _prolonged(motion: Motion, seconds: float) -> Motion:
    """The motion up to ``seconds``: braking goes on to a standstill, else the speed stays."""
    step = float(motion.t[1] - motion.t[0])
    t = np.arange(len(motion.t), round(seconds / step) + 1) * step
    rest, v, a = t - motion.t[-1], float(motion.v[-1]), min(float(motion.a[-1]), 0.0)
    moving = np.minimum(rest, v / -a) if a < 0.0 else rest
    fields = (t, motion.s[-1] + v * moving + 0.5 * a * moving**2, v + a * moving, a + 0.0 * t)
    kept = (motion.t, motion.s, motion.v, motion.a)
    return Motion(*(np.concatenate(pair) for pair in zip(kept, fields, strict=True)))


def _believed(now: Situation, tracks: Tracks, forecasts: Forecasts | None) -> Array:
    """``(agents,)`` bool: leaders who really come into the ego's way.

    The route follower takes sideways motion for what will go on. Somebody who comes the other way
    and turns moves sideways, too: those are asked of the forecasts.
    """
    agents, believed = now.agents, now.leading.copy()
    if forecasts is None or not believed.any():
        return believed
    half = now.vehicle.width / 2.0 + CORRIDOR
    doubtful = believed & (agents.kind <= AgentKind.MOTORCYCLE) & (agents.speed > 1.0)
    doubtful &= (agents.speed_along < 0.5) & (agents.row < len(forecasts.probability))
    steps = np.arange(0, min(FORESEEN / forecasts.dt + 1, forecasts.x.shape[-1]), 2).astype(int)
    t = steps * forecasts.dt
    reached = now.front + (now.speed + 0.5 * t) * t + 3.0  # by an ego that speeds up
    for i in np.flatnonzero(doubtful).tolist():
        row = agents.row[i]
        x, y = forecasts.x[row][:, steps], forecasts.y[row][:, steps]
        _, s, d = now.window.project(x, y)
        size = tracks.states.width[row] / 2.0, tracks.states.length[row] / 2.0
        comes = (np.abs(d) < half + size[0]) & (s > now.front - 2.0) & (s - size[1] < reached)
        believed[i] = forecasts.probability[row][comes.any(axis=-1)].sum() >= BELIEVED
    return believed


def _headway(judged: Proposals, followed: FollowedAgents, led: Array, front: float) -> Array:
    """(P,) in [0, 1], 1 where everybody led is `SAFE_HEADWAY` s away all the time."""
    if len(followed.s) == 0:
        return np.ones(len(judged.s))
    leaders = Leaders(followed.s, followed.speed)
    place = leaders.s + leaders.speed * judged.t[:, None]  # (T, leaders)
    gap = place - (judged.s + front)[..., None]
    headway = np.maximum(gap, 0.0) / np.maximum(judged.v, 1.0)[..., None]
    least = np.where(led[:, None], headway, np.inf).min(axis=(1, 2), initial=np.inf)
    return np.clip(least / SAFE_HEADWAY, 0.0, 1.0)
