"""Road users on the lane graph from step to step, and the ways each of them may be taking.

Who has been placed once is followed along its way by projection, which is cheap; the map is
searched for those who are new or have left their lane only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from perception.lane_paths import SPACING, LaneWays
from perception.track_memory import TrackMemory
from roadloop.geometry import wrap_angle
from roadloop.maps.locate import nearest_lane
from roadloop.maps.road_map import RoadMap

Array = np.ndarray

FARTHEST = 4.0
"""m beside a centreline within which a road user is on its lane (or parked beside it)"""
STRAY = 2.0
"""m to the side from which a place is looked up anew ..."""
STRAY_MORE = 0.5
"""m, ... or so much further out than when it was looked up"""
ASKEW = 1.0
"""rad between a road user and its lane, above which it does not follow it"""
PATIENCE = 0.5
"""s until somebody who is on no lane is looked up again"""
FORWARD_AT = 5.0
"""m/s from which the velocity says where a road user is heading; below it the box does more"""
LATERAL_MATCH = 1.0
"""m, standard deviation of how far from its way a road user drives"""
HEADING_MATCH = 0.12
"""rad"""
TURN_MATCH = 0.15
"""rad/s between its turn rate and the bend of its way"""
BEND_AHEAD = 3
"""samples ahead over which that bend is taken"""
TOO_FAST = 2.0
"""m/s, standard deviation of how much faster one drives than the bends ahead allow"""


@dataclass(frozen=True)
class Users:
    """Road users that may be on lanes; fields ``(users,)``, world frame."""

    id: Array
    kind: Array
    x: Array
    y: Array
    z: Array
    heading: Array
    vx: Array
    vy: Array
    length: Array
    width: Array
    turn_rate: Array
    acceleration: Array
    standing: Array


@dataclass(frozen=True)
class OnWays:
    """Road users on ways they may take: a row for each pair, those of one user side by side."""

    user: Array
    """(rows,) index into the users"""
    way: Array
    """row of LaneWays"""
    s: Array
    """m along it"""
    lateral: Array
    """m to its left"""
    slant: Array
    """rad between the direction of motion and the way"""
    weight: Array
    """log of how likely it is, up to a constant of the user"""

    def pick(self, rows: Array) -> OnWays:
        """Some of the rows."""
        return OnWays(*(getattr(self, f.name)[rows] for f in fields(self)))


class LanePlaces:
    """Where road users are on one map."""

    def __init__(self, road_map: RoadMap, ways: LaneWays) -> None:
        self._map = road_map
        self._ways = ways
        self._memory = TrackMemory(lane=-1, s=0.0, stray=STRAY, tried=-np.inf)

    def update(self, users: Users, time: float, horizon: float) -> tuple[OnWays, Array]:
        """The ways that users on lanes may take within ``horizon`` s; users off them have none.

        With the likeliest row of each user, ``(users,)``, -1 where it has none.
        """
        since, last = self._memory.recall(users.id, time)
        lane, stray, tried = last["lane"].astype(np.int64), last["stray"], last["tried"]
        speed = np.hypot(users.vx, users.vy)
        s = last["s"] + np.where(np.isfinite(since), since, 0.0) * speed
        for _ in range(2):
            lost = np.flatnonzero((lane < 0) & (time - tried >= PATIENCE))
            if len(lost):
                lane[lost], s[lost], stray[lost] = self._search(users, lost)
                tried[lost] = time
            rows = self._on_ways(users, lane, s, speed, horizon)
            best = first_of_each(rows, len(users.id))
            on = np.flatnonzero(best >= 0)
            row = best[on]
            aside, slant = np.abs(rows.lateral[row]), np.abs(rows.slant[row])
            off = on[(aside > stray[on]) | (slant > ASKEW)]
            if not len(off):
                break
            lane[off] = -1
            tried[off[tried[off] < time]] = -np.inf
        if len(off):
            rows = rows.pick(np.flatnonzero(lane[rows.user] >= 0))
            best = first_of_each(rows, len(users.id))
        self._remember(users, rows, best, time, lane, stray, tried)
        return rows, best

    def _search(self, users: Users, rows: Array) -> tuple[Array, Array, Array]:
        """Lane (-1: none), s and bound of the offset by a search of the map."""
        place = nearest_lane(
            self._map,
            users.x[rows],
            users.y[rows],
            users.heading[rows],
            z=users.z[rows],
            max_distance=FARTHEST,
        )
        along = (place.lane >= 0) & (np.abs(place.heading_error) < ASKEW)
        along &= place.distance < np.abs(place.lateral) + 2.0  # not far beyond the end of a lane
        lane, s = np.where(along, place.lane, -1).astype(np.int64), place.s.copy()
        self._ways.make(lane[along])
        start = self._map.predecessor_start
        for k in np.flatnonzero(along & (s < 10.0)).tolist():
            for before in self._map.predecessor[start[lane[k]] : start[lane[k] + 1]].tolist():
                self._ways.make(np.array([before]))
                first = self._ways.first[before] + np.arange(int(self._ways.count[before]))
                leads = first[self._ways.next_lane[first] == lane[k]]
                if len(leads) and s[k] < self._ways.hold[leads[0]]:
                    lane[k], s[k] = before, s[k] + self._map.lane_length[before]
                    break
        return lane, s, np.maximum(STRAY, np.abs(place.lateral) + STRAY_MORE)

    def _on_ways(self, users: Users, lane: Array, s: Array, speed: Array, horizon: float) -> OnWays:
        ways = self._ways
        on = np.flatnonzero(lane >= 0)
        count = ways.count[lane[on]]
        user = np.repeat(on, count)
        offset = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
        way = ways.first[lane[user]] + offset
        reach = speed * horizon + 0.75 * horizon * horizon
        near = ways.split[way] < (s + reach)[user]
        user, way = user[near], way[near]
        return self.project(users, user, way, s[user], speed, reach)

    def project(
        self, users: Users, user: Array, way: Array, s: Array, speed: Array, reach: Array
    ) -> OnWays:
        """Users on ways, near ``s`` m along these; ``speed`` and ``reach`` m are ``(users,)``."""
        ways = self._ways
        begin, last = ways.begin[way], ways.last[way]
        place = (users.x + 1j * users.y)[user]
        for _ in range(3):
            row = np.maximum(begin + np.rint(s / SPACING).astype(np.int64), begin)
            np.minimum(row, last, out=row)
            gap = (place - ways.place[row]) * ways.way[row].conj()  # along + i left
            # the normal turns along the way: (p - c(s)) . t(s) = 0 to first order in s
            after = np.minimum(row + 1, last)
            turn = (ways.heading[after] - ways.heading[row]) / SPACING
            step = gap.real / np.maximum(1.0 - turn * gap.imag, 0.3)
            s = (row - begin) * SPACING + step
        lateral = gap.imag
        heading = ways.heading[row] + turn * np.minimum(np.maximum(step, -1.0), 1.0)
        motion = (users.vx + 1j * users.vy)[user] * np.exp(-1j * heading)
        v = speed[user]
        trust = np.minimum(v / FORWARD_AT, 1.0)
        slant = wrap_angle(users.heading[user] - heading)
        slant = slant + trust * wrap_angle(np.angle(motion) - slant)
        slant = np.where(motion.real < -0.5, np.pi, slant)  # reverses
        bend = ways.heading[np.minimum(row + BEND_AHEAD, last)] - ways.heading[row]
        turning = users.turn_rate[user] - v * bend / (BEND_AHEAD * SPACING)
        fast = np.maximum(v - 1.05 * ways.cap[row], 0.0)
        counts = ways.choice_s[way] < (s + reach[user])[:, None]
        weight = np.where(counts, ways.choice_weight[way], 0.0).sum(1) - 0.5 * (
            (lateral / LATERAL_MATCH) ** 2
            + (slant / HEADING_MATCH) ** 2
            + (turning / TURN_MATCH) ** 2
            + (fast / TOO_FAST) ** 2
        )
        return OnWays(user, way, s, lateral, slant, weight)

    def _remember(
        self,
        users: Users,
        rows: OnWays,
        best: Array,
        time: float,
        lane: Array,
        stray: Array,
        tried: Array,
    ) -> None:
        """Keep the places, on the next lane where that has been entered for good."""
        s = np.zeros(len(lane))
        on = np.flatnonzero(best >= 0)
        way = rows.way[best[on]]
        length, onto = self._ways.length[way], self._ways.next_lane[way]
        s[on] = rows.s[best[on]]
        done = s[on] > length + np.where(onto >= 0, self._ways.hold[way], 5.0)
        s[on] -= np.where(done, length, 0.0)
        lane = lane.copy()
        lane[on] = np.where(done, onto, lane[on])
        self._ways.make(lane[lane >= 0])
        tried = np.where(lane < 0, tried, -np.inf)
        self._memory.keep(users.id, time, lane=lane, s=s, stray=stray, tried=tried)


def first_of_each(rows: OnWays, users: int) -> Array:
    """(users,) the likeliest row of each user, -1 where it has none."""
    best = np.full(users, -1, np.int64)
    order = np.lexsort((-rows.weight, rows.user))[::-1]
    best[rows.user[order]] = order  # of those of one user the last written, the likeliest, stays
    return best
