"""Ways to the side that the rules would not go: past who is slow, away from who is near, the kerb.

The rules keep to the route's lane but for what stands in it. Here is what a driver does beside:
overtakes on a lane of the own direction and comes back, keeps to one side of the lane where
somebody is close to the other, and stops at the kerb when asked to. Overtaking and keeping aside
are only offered; the scores of `planning.proposal_scores` decide. Nobody who moves is overtaken on
the opposite lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planning.lateral_offset import OffsetStep, band_is_free, step_length
from planning.right_of_way import Stop
from planning.route_follower import RouteFollower
from planning.rule_road import RoadBeside
from planning.situation import Situation
from roadloop.types import AgentKind

Array = np.ndarray

SLOW_SHARE, SLOW_BY = 0.7, 3.0
"""a leader is slow below this share of the limit, and by so many m/s"""
SLOW_FOR = 2.0
"""s after which it is overtaken: who only slows down to turn is gone by then"""
NOTHING_AHEAD = 60.0
"""m to the next place to stop at, below which nobody is overtaken"""
CLEAR_AHEAD = 12.0
"""m between the ego and who was overtaken when it comes back"""
FASTER = 2.0
"""m/s by which who drives on the other lane must be faster than the leader"""
BAND_MARGIN = 0.4
"""m beside the ego's box on the other lane"""
TIGHTEST = 0.15
"""1/m of curvature"""
HALF_WAY = 0.5
"""share of a change up to which it is aborted"""
HURRIED = 0.3
"""of the score that aborting is ahead when the other lane is no longer free"""
BESIDE_AHEAD = (15.0, 3.0)
"""m at least, or s, ahead within which somebody beside the lane is kept away from"""
SIDE_WISH, SIDE_WISH_SOFT = 0.25, 0.6
"""m of room to the side that are wished for, and to who is on foot or on a cycle ..."""
WISH_PER_SPEED = 0.05
"""... and s, more of it the faster the ego is"""
EDGE_ROOM = 0.15
"""m kept to the edge of the lane"""
LEAST_ASIDE = 0.2
"""m sideways below which it is not worth moving"""
STRAIGHT = 0.02
"""1/m of curvature up to which the ego keeps to a side"""
KERB_ROOM = 0.2
"""m to the kerb where the ego pulls over"""
KERB_BRAKING = 1.2
"""m/s^2 with which it does"""
KERB_LENGTH = 20.0
"""m of free kerb that pulling over takes"""
KERB_SEARCH = 400.0
"""m ahead in which a place is looked for"""


@dataclass(frozen=True)
class Offer:
    """A way to the side that may be driven."""

    name: str
    step: OffsetStep
    """beside those that are planned"""
    led: Array
    """(agents,) bool, who is followed there"""
    bonus: float
    """of the score that it is ahead"""


class Sideways:
    """Call `update` and `offers` once a step, and `take` with the name of what was chosen."""

    def __init__(self, follower: RouteFollower, road: RoadBeside) -> None:
        self._follower, self._road = follower, road
        self._slow_id, self._slow_for = -1, 0.0
        self._out: OffsetStep | None = None
        """to another lane, while the ego is not about to come back"""
        self._until = 0.0
        """m along the path up to which that lane goes"""
        self._until_of: dict[str, float] = {}
        """the same of what is offered, by name"""
        self._aside = 0.0
        """m to the left that are kept in the lane"""
        self._offered: dict[str, Offer] = {}
        self.pulls_over = False
        """whether the ego shall stop at the kerb"""

    def update(self, now: Situation, dt: float) -> None:
        """What goes on by itself: coming back, back to the middle of the lane, a place to stop."""
        self._watch_leader(now, dt)
        if self._out is not None and self._is_past(now):
            self._follower.changes.come_back()
            self._out = None
        if self._aside and len(self._close(now)[0]) == 0:
            length = step_length(self._aside, now.speed, TIGHTEST)
            self._follower.changes.offset.steps.append(
                OffsetStep(now.s, now.s + length, -self._aside)
            )
            self._aside = 0.0
        if self.pulls_over and self._follower.halt is None:
            self._find_kerb(now)

    def offers(self, now: Situation, level: float) -> list[Offer]:
        """What may be done sideways now.

        ``level`` of the score is what other lines are ahead, so that they have to be better than
        the rules' plan and no more: they are no other opinion of the same way.
        """
        follower = self._follower
        self._offered = {}
        busy = follower.detour.planned or self.pulls_over or bool(now.blocking.any())
        if self._out is not None:
            found = self._abort(now, self._out)
        elif busy or follower.changes.away or follower.changes.under_way(now.s):
            found = []
        else:
            found = self._overtake(now, level) or self._keep_aside(now, level)
        self._offered = {offer.name: offer for offer in found}
        return found

    def take(self, name: str) -> None:
        """Drive the offer of that name from now on, if it is one."""
        offer = self._offered.get(name)
        if offer is None:
            return
        changes = self._follower.changes
        if name.startswith("overtake"):
            changes.leave(offer.step, self._until_of[name])
            self._out, self._until = offer.step, self._until_of[name]
            self._slow_for = 0.0
        elif name.startswith("abort"):
            changes.undo(offer.step)
            self._out, self._slow_for = None, 0.0
        else:
            changes.offset.steps.append(offer.step)
            self._aside = offer.step.by

    def _watch_leader(self, now: Situation, dt: float) -> None:
        agents, who = now.agents, self._leader(now)
        limit = float(self._road.speed_limit[self._road.index(now.s)])
        slow = who >= 0 and now.stop.s - now.front > NOTHING_AHEAD
        below = min(SLOW_SHARE * limit, limit - SLOW_BY)
        slow = slow and bool(0.5 < agents.speed_along[who] < below)
        if slow and int(agents.id[who]) == self._slow_id:
            self._slow_for += dt
        else:
            self._slow_id, self._slow_for = int(agents.id[who]) if slow else -1, 0.0

    def _leader(self, now: Situation) -> int:
        """Row of the nearest vehicle that is followed, -1 without one."""
        agents = now.agents
        ahead = now.leading & (agents.kind <= AgentKind.CYCLIST) & (agents.s_low > now.front)
        rows = np.flatnonzero(ahead)
        return int(rows[np.argmin(agents.s_low[rows])]) if len(rows) else -1

    def _overtake(self, now: Situation, bonus: float) -> list[Offer]:
        if self._slow_for < SLOW_FOR:
            return []
        road, agents, who = self._road, now.agents, self._leader(now)
        i = int(road.index(now.s))
        limit, width = float(road.speed_limit[i]), float(road.width[i])
        pace = float(agents.speed_along[who])
        distance = float(agents.s_high[who]) - now.front + CLEAR_AHEAD + now.vehicle.length
        length = step_length(width, now.speed, TIGHTEST)
        needed = distance * limit / (limit - pace) + length + _room_to_come_back(limit)
        found = []
        for side in (-road.kerb_side, road.kerb_side):
            until = road.lane_beside_until(now.s, round(side))
            if until - now.s < needed:
                continue
            step = OffsetStep(now.s, now.s + length, side * width)
            low, high = self._band(now, step.by)
            there = (agents.d_high > low) & (agents.d_low < high) & (agents.s_high > now.front)
            slower = there & (agents.speed_along < pace + FASTER)
            if (slower & (agents.s_low < now.s + needed)).any() or not self._free(now, step):
                continue
            name = "overtake left" if side > 0.0 else "overtake right"
            found.append(Offer(name, step, self._follower.leading_on(now, step), bonus))
            self._until_of[name] = until
        return found

    def _abort(self, now: Situation, out: OffsetStep) -> list[Offer]:
        if now.s > out.start + HALF_WAY * (out.end - out.start):
            return []
        length = step_length(out.by, now.speed, TIGHTEST)
        step = OffsetStep(now.s, now.s + length, -out.by)
        bonus = 0.0 if self._free(now, out) else HURRIED
        return [Offer("abort overtaking", step, self._follower.leading_on(now, step), bonus)]

    def _is_past(self, now: Situation) -> bool:
        """Whether the own lane is free to come back to, or the other one ends."""
        agents, speed = now.agents, now.speed
        low, high = self._band(now, 0.0)
        rear = now.s - now.vehicle.rear_overhang
        there = (agents.d_high > low) & (agents.d_low < high) & (agents.s_high > rear - 8.0)
        near = there & (agents.s_low < now.front + CLEAR_AHEAD + 2.5 * speed)
        slow = agents.speed_along < speed - 1.0
        ends = now.s + _room_to_come_back(speed) > self._until
        return ends or not bool((near & (slow | (agents.s_low < now.front))).any())

    def _keep_aside(self, now: Situation, bonus: float) -> list[Offer]:
        bend = abs(float(np.interp(now.s, now.window.s, now.window.curvature)))
        if self._aside or bend > STRAIGHT:
            return []
        lacks, side = self._close(now)
        i = int(self._road.index(now.s))
        # between two there is nothing to choose
        if len(lacks) == 0 or self._road.in_junction[i] or (side != side[0]).any():
            return []
        nearest = int(np.argmax(lacks))
        spare = float(self._road.half[i]) - now.vehicle.width / 2.0 - EDGE_ROOM
        by = min(float(lacks[nearest]), spare)
        if by < LEAST_ASIDE:
            return []
        length = step_length(by, now.speed, TIGHTEST)
        step = OffsetStep(now.s, now.s + length, -float(side[nearest]) * by)
        name = "keep to the left" if step.by > 0.0 else "keep to the right"
        return [Offer(name, step, self._follower.leading_on(now, step), bonus)]

    def _close(self, now: Situation) -> tuple[Array, Array]:
        """m of room that lack beside everybody too close to the lane's middle; side, 1 is left."""
        agents, half = now.agents, now.vehicle.width / 2.0
        reach = now.front + max(BESIDE_AHEAD[0], BESIDE_AHEAD[1] * now.speed)
        near = (agents.s_high > now.s) & (agents.s_low < reach)
        near &= np.abs(agents.speed_across) < 0.5
        left, right = agents.d_low - half, -half - agents.d_high
        soft = (agents.kind == AgentKind.CYCLIST) | (agents.kind == AgentKind.PEDESTRIAN)
        wish = np.where(soft, SIDE_WISH_SOFT, SIDE_WISH) + WISH_PER_SPEED * now.speed
        room = np.maximum(left, right)
        near &= (room > 0.0) & (room < wish)
        return (wish - room)[near], np.where(left > right, 1.0, -1.0)[near]

    def _band(self, now: Situation, at: float) -> tuple[float, float]:
        half = now.vehicle.width / 2.0 + BAND_MARGIN
        return at - half, at + half

    def _free(self, now: Situation, step: OffsetStep) -> bool:
        rear = now.s - now.vehicle.rear_overhang
        nobody, end = np.zeros(len(now.agents), dtype=bool), step.end
        band = self._band(now, step.by)
        return band_is_free(now.agents, nobody, band, rear, now.front, end, now.speed, 0.0)

    def _find_kerb(self, now: Situation) -> None:
        """The first free kerb where the ego can stop comfortably."""
        road, front = self._road, now.front - now.s
        first = now.s + 2.0 * now.speed + now.speed**2 / (2.0 * KERB_BRAKING) + 5.0
        rows = np.arange(int(road.index(first)), int(road.index(now.s + KERB_SEARCH)) + 1)
        if len(rows) == 0 or self._follower.changes.away:
            return
        count = int(road.index(road.start + KERB_LENGTH))
        free = np.convolve(road.at_kerb[rows], np.ones(count), mode="valid") > count - 0.5
        if not free.any():
            return
        i = int(rows[int(np.argmax(free))])
        low = road.start + 0.5 * i
        by = road.kerb_side * (float(road.half[i]) - now.vehicle.width / 2.0 - KERB_ROOM)
        length = min(step_length(by, 0.5 * now.speed, TIGHTEST), KERB_LENGTH - front - 2.0)
        steps = self._follower.changes.offset.steps
        steps.append(OffsetStep(low, low + length, by))
        self._follower.halt = Stop(low + length + front + 1.0, "pulling over")


def _room_to_come_back(speed: float) -> float:
    """m from where a gap is looked for to where the other lane ends: 3 s, and a stop at 2 m/s^2."""
    return 3.0 * speed + speed * speed / 4.0 + 20.0
