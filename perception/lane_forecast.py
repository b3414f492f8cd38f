"""Forecasts along the lane graph: who is on a lane follows it and its branches.

Every vehicle gets a mode for each way it may take within the horizon, one for a lane change that
has begun, and, on its likeliest way, one that keeps its speed and one that brakes. Along a way the
speed is the intelligent driver model's: behind the road user ahead, up to red lights and stop
signs, no faster than the limit and the bends allow. All are rolled out together, so that whoever
follows sees its leader brake. Everybody else goes on at constant velocity.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perception.forecast_spread import Spread
from perception.kinematic_forecast import count_steps, straight_on
from perception.lane_paths import lane_ways
from perception.lane_places import LanePlaces, OnWays, Users
from perception.lane_positions import ASIDE, STANDS, positions
from perception.lane_rollout import BRAKE, GO, KEEP, Drives, first_push, roll_out
from perception.track_memory import STANDING, MotionHistory
from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import AgentKind, Forecasts, LightState, Observation, Scenario, Tracks

Array = np.ndarray

MODES = 6
"""of each track; those that a track has not have probability 0 and repeat its first"""
LANE_FOLLOWING_SPREAD = Spread(
    along=((0.17, 1.55), (0.4, 1.6), (0.4, 1.59)), across=((0.06, 1.64), (0.15, 1.6), (0.18, 1.42))
)
KEEPS, BRAKES = 0.4, 0.1
"""share of a moving vehicle's likeliest way that keeps its speed, and that brakes to a stop"""
LEAD = 1.0
"""s for which a present acceleration goes on in the mode that keeps its speed"""
ACCELERATION_MATCH = 0.8
"""m/s^2, standard deviation of a present acceleration from that of the mode that is right ..."""
MOST_UNLIKE = 6.0
"""... and the square of how many of them are believed at most"""
STAYS = 0.5
"""share of a standing vehicle's that stays where it is"""
PARKED = 1.5
"""m beside the centreline from which a standing vehicle is taken to be parked ..."""
PARKED_STAYS = 0.97
"""... and its share that stays"""
IN_THE_WAY = 0.8
"""m beside the centreline up to which a body must reach for those behind it to mind"""
LINE_GAP = 1.0
"""m before a line at which bumpers stop, beyond which the gap of standing traffic is not kept"""
YELLOW_BRAKING = 3.5
"""m/s^2: a yellow light is obeyed where this is enough"""
RED_BRAKING = 6.0
"""m/s^2: so is a red one"""
LOOK_ASIDE = 1.5
"""s ahead at the present drift over which a lane change shows"""
CHANGE_FROM = 0.35
"""of the lane's width aside by then, from which it may be one ..."""
CHANGE_HALF = 0.5
"""... and where it is as likely as not"""
CHANGE_SCALE = 0.25
"""m, how quickly that grows"""


class LaneFollowing:
    """A `Forecaster` with up to ``MODES`` modes for each vehicle on a lane, likeliest first.

    ``reset`` raises RoadloopError for a scenario without a map. Lights are obeyed where the
    observation has them; the ego counts as a road user that others follow.
    """

    def __init__(self, spread: Spread = LANE_FOLLOWING_SPREAD) -> None:
        self.spread = spread
        self._history = MotionHistory()
        self._map: RoadMap | None = None

    def reset(self, scenario: Scenario) -> None:
        """Forget all tracks and take up the scenario's map."""
        road_map = scenario.road_map
        if road_map is None:
            raise RoadloopError(
                f"scenario {scenario.name} has no map: lane-following needs one; take "
                "constant-turn-rate"
            )
        self._map = road_map
        self._ways = lane_ways(road_map)
        self._places = LanePlaces(road_map, self._ways)
        self._history = MotionHistory()
        light = road_map.signal_kind == SignalKind.TRAFFIC_LIGHT
        self._is_light = np.append(light, False)
        self._is_stop = np.append(road_map.signal_kind == SignalKind.STOP, False)

    def observe(self, observation: Observation, tracks: Tracks) -> None:
        """Remember a step without a forecast of it."""
        self._users(observation, tracks, np.flatnonzero(tracks.states.valid))

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts:
        """Futures of all tracks; RoadloopError before `reset` and for too short a horizon."""
        if self._map is None:
            raise RoadloopError("lane-following forecasts before reset(scenario): reset it first")
        steps = count_steps(horizon, dt)
        states = tracks.states
        valid = np.flatnonzero(states.valid)
        users, rows_of_user = self._users(observation, tracks, valid)
        places, best = self._places.update(users, observation.time, horizon)
        plan = self._modes(users, places, best, observation.lights)
        futures = straight_on(states, steps, dt)
        which = np.repeat(np.arange(len(states.x))[:, None], MODES, axis=1)
        probability = np.zeros((len(states.x), MODES))
        probability[:, 0] = 1.0
        if plan is not None:
            drives, on, shown, share = plan
            driven = roll_out(drives, self._ways, steps, dt)
            who = rows_of_user[on.user[shown[:, 0]]]
            which[who] = len(which) + shown
            on_lanes = positions(users, on, self._ways, driven)
            futures = tuple(np.concatenate(both) for both in zip(futures, on_lanes))
            probability[who] = share
        along, across = self.spread.at(tracks, steps, dt)
        x, y, heading = (value.take(which, axis=0) for value in futures)
        shape = x.shape
        return Forecasts(
            x=x,
            y=y,
            heading=heading,
            probability=probability,
            dt=dt,
            along_std=np.broadcast_to(along[:, None], shape),
            across_std=np.broadcast_to(across[:, None], shape),
        )

    def _users(self, observation: Observation, tracks: Tracks, valid: Array) -> tuple[Users, Array]:
        """Everybody who may be on a lane, the ego last, and their rows among the tracks."""
        states, ego = tracks.states, observation.ego
        motion = self._history.update(states, valid, observation.time)
        drives = states.kind[valid] != AgentKind.PEDESTRIAN
        rows = valid[drives]
        x, y = ego.box_centre()
        speed, way = float(ego.speed), float(ego.heading)
        own = {
            "id": np.iinfo(np.int64).min,
            "kind": AgentKind.CAR,
            "x": x,
            "y": y,
            "z": ego.z,
            "heading": way,
            "vx": speed * np.cos(way),
            "vy": speed * np.sin(way),
            "length": ego.vehicle.length,
            "width": ego.vehicle.width,
        }
        fields = {name: np.append(getattr(states, name)[rows], v) for name, v in own.items()}
        moved = {
            "turn_rate": np.append(motion.turn_rate[drives], ego.yaw_rate),
            "acceleration": np.append(motion.acceleration[drives], ego.acceleration),
            "standing": np.append(motion.standing[drives], 0.0),
        }
        return Users(**fields, **moved), rows

    def _modes(
        self, users: Users, places: OnWays, best: Array, lights: Array | None
    ) -> tuple[Drives, OnWays, Array, Array] | None:
        """What is rolled out, on which ways, and of it the modes shown and their probabilities.

        The latter two are ``(vehicles, MODES)``; None where no track is on a lane.
        """
        speed = np.hypot(users.vx, users.vy)
        vehicle = users.kind <= AgentKind.MOTORCYCLE
        share = _shares(places)
        changes, likely = self._lane_changes(users, places, best, speed)
        left = np.ones(len(users.id))
        np.subtract.at(left, changes.user, likely)
        share = np.concatenate([share * left[places.user], likely])
        base = _joined(places, changes)
        # on the likeliest way: goes on, keeps its speed, brakes
        main = best[(best >= 0) & vehicle]
        if not len(main):
            return None
        beside = np.abs(base.lateral[main]) > PARKED
        stands = speed[base.user[main]] < STANDS
        keeps = np.where(stands, np.where(beside, PARKED_STAYS, STAYS), KEEPS)
        brakes = np.where(stands, 0.0, BRAKES)
        on = _joined(base, base.pick(main), base.pick(main))
        manner = np.repeat([GO, KEEP, BRAKE], [len(base.user), len(main), len(main)])
        goes = np.ones(len(users.id))
        goes[base.user[main]] -= keeps + brakes
        share = np.concatenate([share * goes[base.user], keeps, brakes])
        drives = self._drives(users, on, manner, best, speed, lights)
        # whoever does now what the driver model would do is likely to be driven by it
        unlike = (first_push(drives, self._ways) - drives.acceleration) / ACCELERATION_MATCH
        share *= np.exp(-0.5 * np.minimum(unlike * unlike, MOST_UNLIKE))
        shown, shares = _likeliest(on.user, share, vehicle)
        leads = np.arange(len(on.user) + len(drives.others))
        leads[best[on.user[shown[:, 0]]]] = shown[:, 0]
        drives = replace(drives, ahead=leads[drives.ahead])
        mine = on.user[shown[:, 0]] < len(users.id) - 1  # the ego is no track
        return drives, on, shown[mine], shares[mine]

    def _lane_changes(
        self, users: Users, places: OnWays, best: Array, speed: Array
    ) -> tuple[OnWays, Array]:
        """Vehicles that drift out of their lane, on their neighbour's way, and how likely it is."""
        ways = self._ways
        assert self._map is not None
        rows = best[best >= 0]
        user, way, s = places.user[rows], places.way[rows], places.s[rows]
        lane = ways.lane[way]
        drift = speed[user] * np.sin(np.clip(places.slant[rows], -ASIDE, ASIDE))
        aside = places.lateral[rows] + LOOK_ASIDE * drift
        to = np.where(aside > 0.0, self._map.lane_left[lane], self._map.lane_right[lane])
        width = self._width(lane)
        may = (to >= 0) & (np.abs(aside) > CHANGE_FROM * width) & (s <= ways.length[way])
        may &= (speed[user] > 2.0) & (users.kind[user] <= AgentKind.MOTORCYCLE)
        found = np.flatnonzero(may)
        if not len(found):
            return places.pick(found), np.zeros(0)
        to, user = to[found], user[found]
        ways.make(to)
        guess = s[found] * self._map.lane_length[to] / ways.length[way[found]]
        reach = np.zeros(len(users.id))
        changes = self._places.project(users, user, ways.first[to], guess, speed, reach)
        over = np.abs(aside[found]) - CHANGE_HALF * width[found]
        changes = replace(changes, weight=np.full(len(user), -np.inf))
        return changes, 0.9 / (1.0 + np.exp(-over / CHANGE_SCALE))

    def _width(self, lane: Array) -> Array:
        assert self._map is not None
        return self._map.point_width[self._map.point_start[lane]]

    def _drives(
        self,
        users: Users,
        on: OnWays,
        manner: Array,
        best: Array,
        speed: Array,
        lights: Array | None,
    ) -> Drives:
        """What everybody on ``on`` has ahead: somebody on the way, a red light, a stop sign."""
        count = len(on.user)
        leader, room = self._leaders(users, on, best)
        half = 0.5 * users.length
        gap = np.where(leader >= 0, room - half[on.user] - half[leader], np.inf)
        # who is on a lane is rolled out on its likeliest way; the others keep their speed
        follows = (best >= 0) & (users.kind <= AgentKind.MOTORCYCLE)
        state_of = np.where(follows, best, count + np.arange(len(users.id)))
        wall = count + len(users.id)
        ahead = np.where(leader >= 0, state_of[leader], wall)
        line, is_sign = self._lines(users, on, speed, lights)
        nearer = line < gap
        gap = np.where(nearer, line, gap)
        return Drives(
            way=on.way,
            s=on.s,
            speed=speed[on.user],
            acceleration=users.acceleration[on.user],
            wanted=self._wanted(on, users, speed, manner),
            manner=manner,
            gap=gap,
            ahead=np.where(nearer, wall, ahead),
            stops=is_sign & nearer,
            others=np.append(speed, 0.0),
        )

    def _wanted(self, on: OnWays, users: Users, speed: Array, manner: Array) -> Array:
        """m/s on a free straight road."""
        limit = self._ways.limit[on.way]
        now = speed[on.user]
        kept = np.maximum(now + LEAD * users.acceleration[on.user], 0.0)
        kept = np.where(now < STANDING, 0.0, kept)
        return np.where(manner == GO, np.maximum(limit, now), kept)

    def _leaders(self, users: Users, on: OnWays, best: Array) -> tuple[Array, Array]:
        """The nearest user ahead on each row's way, -1, and m between the centres."""
        ways, rows = self._ways, len(on.user)
        user = np.flatnonzero(best >= 0)
        mine = best[user]
        body = np.abs(on.lateral[mine]) - 0.5 * users.width[user] < IN_THE_WAY
        user, mine = user[body], mine[body]
        nobody = np.full(rows, -1, np.int64)
        if not len(user):
            return nobody, np.full(rows, np.inf)
        lane, s = ways.lane[on.way[mine]], on.s[mine]
        order = np.lexsort((s, lane))
        user, lane, s = user[order], lane[order], s[order]
        key = lane * FAR + s
        # on the same lane: the next in line
        own = ways.lane[on.way]
        place = np.searchsorted(key, own * FAR + on.s + 0.01)
        last = len(key) - 1
        itself = (place <= last) & (user[np.minimum(place, last)] == on.user)
        place = place + itself
        at = np.minimum(place, last)
        here = (place <= last) & (lane[at] == own)
        # on the lanes after it: the first of each
        first = np.full(len(ways.first) + 1, -1, np.int64)
        first[lane[::-1]] = np.arange(len(lane))[::-1]
        entry = first[ways.lanes[on.way][:, 1:]]  # lane -1 reads the last row, which is -1
        some = (entry >= 0) & (user[entry] != on.user[:, None])
        which = some.argmax(1)
        each = np.arange(rows)
        later = some[each, which]
        then = entry[each, which]
        leader = np.where(here, user[at], np.where(later, user[then], -1))
        room = np.where(here, s[at], ways.lane_s[on.way, which + 1] + s[then]) - on.s
        return leader, np.where(leader >= 0, room, np.inf)

    def _lines(
        self, users: Users, on: OnWays, speed: Array, lights: Array | None
    ) -> tuple[Array, Array]:
        """m to the nearest line at which one stops, inf, and whether it is a stop sign's."""
        ways = self._ways
        signal = ways.line_signal[on.way]
        front = on.s + 0.5 * users.length[on.user]
        away = ways.line_s[on.way] - front[:, None]
        v = speed[on.user][:, None]
        needed = v * v / (2.0 * np.maximum(away - 0.2, 0.1))
        stop = self._is_stop[signal] & (needed < RED_BRAKING)
        waited = (users.standing[on.user] > 1.0)[:, None] & (away < 3.0)
        stop &= ~waited
        red = np.zeros(stop.shape, bool)
        if lights is not None and len(lights):
            state = np.append(lights, LightState.OFF)[signal]
            red = (state == LightState.RED) | (state == LightState.RED_YELLOW)
            red &= (needed < RED_BRAKING) | (v < 2.0)
            red |= (state == LightState.YELLOW) & (needed < YELLOW_BRAKING)
            red &= self._is_light[signal]
        counts = (stop | red) & (away > -0.5)
        away = np.where(counts, away, np.inf)
        nearest = away.argmin(1)
        each = np.arange(len(away))
        # the driver model keeps its standstill gap to what is ahead, also to a line
        line = np.maximum(away[each, nearest], 0.0) + 2.0 - LINE_GAP
        return line, stop[each, nearest] & np.isfinite(line)


FAR = 1e6
"""m between lanes on one axis, more than any is long"""


def _joined(*parts: OnWays) -> OnWays:
    names = ("user", "way", "s", "lateral", "slant", "weight")
    return OnWays(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _shares(places: OnWays) -> Array:
    """Probabilities of the ways of each user, which sum to 1."""
    if not len(places.user):
        return np.zeros(0)
    first = np.flatnonzero(np.diff(places.user, prepend=-1))
    size = np.diff(np.append(first, len(places.user)))
    top = np.repeat(np.maximum.reduceat(places.weight, first), size)
    weight = np.exp(places.weight - top)
    return weight / np.repeat(np.add.reduceat(weight, first), size)


def _likeliest(user: Array, share: Array, vehicle: Array) -> tuple[Array, Array]:
    """The ``MODES`` likeliest rows of each vehicle, ``(vehicles, MODES)``, and their shares."""
    order = np.lexsort((-share, user))
    order = order[vehicle[user[order]]]
    first = np.flatnonzero(np.diff(user[order], prepend=-1))
    size = np.diff(np.append(first, len(order)))
    rank = np.arange(MODES)
    there = rank < size[:, None]
    shown = order[np.where(there, first[:, None] + rank, first[:, None])]
    probability = np.where(there, share[shown], 0.0)
    return shown, probability / probability.sum(1, keepdims=True)
