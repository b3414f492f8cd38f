"""Who goes first: lights, stop signs, junction conflicts and crosswalks along the ego's route.

Every rule answers with a place where the front bumper must stop for now, and why. Other drivers'
routes are unknown: whoever can reach a conflicting lane is taken to do so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planning.corridor import AgentsOnPath
from planning.longitudinal import Motion
from planning.route_rules import RouteRules
from roadloop.maps.locate import nearest_lane
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import AgentKind, AgentStates, LightState

Array = np.ndarray

LINE_GAP = 1.0
"""m before a line at which the front bumper stops"""
YELLOW_BRAKING = 3.5
"""m/s^2: a yellow light is obeyed where this is enough"""
GAP_BEFORE = 1.5
"""s the ego wants to be gone before one with priority comes"""
GAP_AFTER = 0.8
"""s it waits after the other has gone"""
PATIENCE = 4.0
"""s after which a road user that stands is taken to stay"""
STARVED = 20.0
"""s of waiting after which smaller gaps are accepted"""
DIVERGING = 8.0
"""m into a junction up to which an agent's lane is taken to be open (lanes overlap there)"""
ON_LANE = 4.0
"""m from its centreline up to which a vehicle can be on a lane"""
FACING = 1.0
"""rad between a vehicle and its lane at most"""
THINNED = 4.0
"""m between points of lanes by which vehicles are sorted out that cannot be on them"""


@dataclass(frozen=True)
class Stop:
    """A demand to stop: ``s`` m along the path of the front bumper."""

    s: float
    reason: str


@dataclass(frozen=True)
class AgentsOnLanes:
    """Vehicles placed on the lane graph; fields ``(agents,)``."""

    id: Array
    lane: Array
    s: Array
    """m along the lane, of the box centre; beyond the lane's length where its exit is open"""
    speed: Array
    half_length: Array
    standing: Array
    """s it has stood still"""
    in_junction: Array
    """junction index, -1 outside"""


def locate_vehicles(
    road_map: RoadMap, states: AgentStates, rows: Array, standing: Array
) -> AgentsOnLanes:
    """Vehicles among ``rows`` (indices into ``states``) that are on a lane and face along it.

    ``standing`` is ``(tracks,)`` s. One that has just entered a junction is put on the lane it came
    from, beyond its end: lanes overlap there, so which way it goes is still open.
    """
    rows = rows[states.kind[rows] <= AgentKind.CYCLIST]
    if len(rows) == 0:
        empty = np.zeros(0)
        whole = np.zeros(0, dtype=np.int64)
        return AgentsOnLanes(whole, whole, empty, empty, empty, empty, whole)
    place = nearest_lane(
        road_map,
        states.x[rows],
        states.y[rows],
        states.heading[rows],
        z=states.z[rows],
        max_distance=ON_LANE,
    )
    good = (place.lane >= 0) & (np.abs(place.heading_error) < FACING)
    rows, lane, s = rows[good], place.lane[good].astype(np.int64), place.s[good].copy()
    junction = road_map.lane_junction[lane]
    start = road_map.predecessor_start
    open_exit = (junction >= 0) & (s < DIVERGING) & (start[lane + 1] > start[lane])
    before = road_map.predecessor[start[lane[open_exit]]]
    s[open_exit] += road_map.lane_length[before]
    lane[open_exit] = before
    return AgentsOnLanes(
        id=states.id[rows],
        lane=lane,
        s=s,
        speed=np.hypot(states.vx[rows], states.vy[rows]),
        half_length=states.length[rows] / 2.0,
        standing=standing[rows],
        in_junction=junction,
    )


class RightOfWay:
    """Remembers what waiting has been done: stop signs served, seconds waited."""

    def __init__(self, road_map: RoadMap, rules: RouteRules) -> None:
        self.road_map = road_map
        self.rules = rules
        self.served = np.zeros(len(rules.line_s), dtype=bool)
        """(lines,) stop signs the ego has stopped at"""
        self.waited = 0.0
        """s the ego has stood before a junction"""
        light = road_map.signal_kind[road_map.stop_signal] == SignalKind.TRAFFIC_LIGHT
        self._light_lane = road_map.stop_lane[light]
        self._light_s = road_map.stop_s[light]
        self._light_signal = road_map.stop_signal[light]
        self._approaches: dict[int, tuple[Array, Array]] = {}

    def lines(self, lights: Array, front: float, speed: float, reach: float) -> Stop | None:
        """The first line within ``reach`` m at which a light or stop sign stops the ego.

        ``front`` is the front bumper's m along the path.
        """
        rules = self.rules
        near = np.flatnonzero((rules.line_s > front - 1.5) & (rules.line_s < front + reach))
        for i in near.tolist():
            ahead = float(rules.line_s[i]) - front
            kind = rules.line_kind[i]
            if kind == SignalKind.STOP and not self.served[i]:
                if speed < 0.1 and ahead < 2.0:
                    self.served[i] = True
                elif ahead > -0.5:
                    reason = f"stop sign {max(ahead, 0.0):.0f} m ahead"
                    return Stop(front + ahead - LINE_GAP, reason)
            if kind != SignalKind.TRAFFIC_LIGHT:
                continue
            state = lights[rules.line_signal[i]]
            if state in (LightState.OFF, LightState.GREEN):
                continue
            needed = speed * speed / (2.0 * max(ahead - 0.2, 0.01))
            if state == LightState.YELLOW and (needed > YELLOW_BRAKING or ahead < 0.0):
                continue  # too late to stop comfortably
            if ahead < 0.0 and speed > 0.5:
                continue  # the line is behind: clear the junction
            if needed > 8.0 and speed > 2.0:
                continue  # turned red under the wheels: braking would end on the junction
            # a late red may use up the gap to the line
            gap = min(LINE_GAP, max(ahead - speed * speed / 6.0, 0.2))
            name = "yellow" if state == LightState.YELLOW else "red"
            return Stop(front + ahead - gap, f"{name} light {max(ahead, 0.0):.0f} m ahead")
        return None

    def conflicts_ahead(
        self, front: float, front_length: float, rear_length: float, speed: float, limit: float
    ) -> Array:
        """Rows of the rules' conflicts the ego must decide about now, up to ``limit`` m.

        ``front`` is m along the path, ``front_length`` and ``rear_length`` are m from the rear axle
        to the bumpers.
        """
        rules = self.rules
        decide = min(front + 15.0 + speed * speed / 4.0, limit)
        visit, rear = rules.conflict_visit, front - front_length - rear_length
        return np.flatnonzero((rules.visit_hold[visit] < decide) & (rules.conflict_to > rear))

    def concerned(self, rows: Array, states: AgentStates, reach: Array) -> Array:
        """Those of ``reach`` (indices into ``states``) who may come to the conflicts ``rows``.

        Cheaper than `locate_vehicles`, which then has fewer to place; leaves out nobody it would
        place on a lane that leads there.
        """
        visits = np.unique(self.rules.conflict_visit[rows]).tolist()
        near = [self._approach(visit) for visit in visits]
        xy = np.concatenate([points for points, _ in near])
        facing = np.concatenate([directions for _, directions in near])
        dx = states.x[reach, None] - xy[:, 0]
        dy = states.y[reach, None] - xy[:, 1]
        heading = states.heading[reach]
        along = np.cos(heading)[:, None] * facing[:, 0] + np.sin(heading)[:, None] * facing[:, 1]
        # lanes bend a little between the points
        there = dx * dx + dy * dy < (ON_LANE + 0.6 * THINNED) ** 2
        return reach[(there & (along > np.cos(FACING + 0.6))).any(axis=1)]

    def _approach(self, visit: int) -> tuple[Array, Array]:
        """Points (n, 2) and directions (n, 2) of the lanes that lead to a visit's conflicts."""
        if visit not in self._approaches:
            road_map, rules = self.road_map, self.rules
            leads = np.isfinite(rules.conflict_reach[rules.conflict_visit == visit]).any(axis=0)
            # who has just entered a junction on another of its lanes counts to the lane before
            beyond = [road_map.successors_of(int(lane)) for lane in np.flatnonzero(leads)]
            lanes = leads.copy()
            lanes[np.concatenate([np.zeros(0, dtype=np.int64), *beyond]).astype(np.int64)] = True
            counts = np.diff(road_map.point_start)
            owner = np.repeat(np.arange(road_map.lanes), counts)
            place = np.arange(len(owner)) - road_map.point_start[owner]
            step = road_map.lane_length / np.maximum(counts - 1, 1)
            stride = np.maximum((THINNED / np.maximum(step, 1e-3)).astype(np.int64), 1)
            last = place == counts[owner] - 1
            kept = lanes[owner] & ((place % stride[owner] == 0) | last)
            heading = road_map.point_heading[kept]
            directions = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
            self._approaches[visit] = road_map.point_xyz[kept, :2], directions
        return self._approaches[visit]

    def junctions(
        self,
        rows: Array,
        vehicles: AgentsOnLanes,
        lights: Array,
        motion: Motion,
        front: float,
        front_length: float,
        rear_length: float,
    ) -> Stop | None:
        """Where to wait for others at the conflicts ``rows`` (see `conflicts_ahead`).

        ``motion`` is what the ego would do if nobody had to be given way to.
        """
        rules, speed = self.rules, float(motion.v[0])
        if len(rows) == 0 or len(vehicles.id) == 0:
            return None
        visits = np.unique(rules.conflict_visit[rows])
        wait = self._must_wait(rows, vehicles, lights, motion, front, front_length, rear_length)
        for visit in visits.tolist():
            mine = np.flatnonzero(wait.any(axis=1) & (rules.conflict_visit[rows] == visit))
            if len(mine) == 0:
                continue
            hold = float(rules.visit_hold[visit])
            room = hold - front
            if room > -0.7 and speed * speed < 2.0 * 4.0 * max(room, 0.0) + 0.3:
                who = vehicles.id[np.argmax(wait[mine[0]])]
                return Stop(hold - 0.3 if room > 0.3 else front, f"yielding to vehicle {who}")
            for k in mine[np.argsort(rules.conflict_from[rows[mine]])].tolist():
                before = float(rules.conflict_from[rows[k]]) - 1.0
                if before > front - 0.3 and speed * speed < 2.0 * 6.0 * max(before - front, 0.05):
                    who = vehicles.id[np.argmax(wait[k])]
                    return Stop(max(before, front), f"yielding to vehicle {who}")
        return None

    def _must_wait(
        self,
        rows: Array,
        vehicles: AgentsOnLanes,
        lights: Array,
        motion: Motion,
        front: float,
        front_length: float,
        rear_length: float,
    ) -> Array:
        """(conflicts of ``rows``, vehicles) bool."""
        rules = self.rules
        visit = rules.conflict_visit[rows]
        entered = (rules.visit_hold[visit] < front - 0.7)[:, None]
        my_in = motion.time_at(rules.conflict_from[rows] - front_length)[:, None]
        my_out = motion.time_at(rules.conflict_to[rows] + rear_length)[:, None]

        reach = rules.conflict_reach[rows][:, vehicles.lane] - vehicles.s
        to_zone = reach + rules.conflict_other_from[rows][:, None] - vehicles.half_length
        past_zone = reach + rules.conflict_other_to[rows][:, None] + vehicles.half_length
        coming = np.isfinite(reach) & (past_zone > 0.0)
        v = np.broadcast_to(vehicles.speed, reach.shape)
        distance = np.where(coming, np.maximum(to_zone, 0.0), 0.0)
        clear = np.where(coming, np.maximum(past_zone, 0.0), 0.0)
        # earliest arrival: speeding up at 1 m/s^2; latest departure: slowing to turning speed
        their_in = np.sqrt(v * v + 2.0 * distance) - v
        their_out = clear / np.clip(v, 1.5, 6.0)
        occupied = coming & (to_zone <= 0.0)
        inside = (vehicles.in_junction >= 0) & (vehicles.speed > 0.5)
        committed = coming & (occupied | (v * v / 6.0 > distance) | (inside & (their_in < my_in)))

        starved = self.waited > STARVED
        before = np.where(entered, 0.7, 0.8 if starved else GAP_BEFORE)
        overlap = (their_in - before < my_out) & (their_out + GAP_AFTER > my_in)
        # merging: one that comes later must not catch up before the ego is as fast, one that comes
        # earlier is followed
        my_pace = np.interp(my_in, motion.t, motion.v)
        catch_up = 0.5 * np.maximum(v - my_pace, 0.0)
        gone_by = (distance + 2.0 * vehicles.half_length) / np.clip(v, 1.5, 8.0)
        joins = (their_in - before - catch_up < my_in) & (gone_by + GAP_AFTER > my_in)
        overlap = np.where(rules.conflict_merge[rows][:, None], joins, overlap)

        patient = np.where(starved, 1.0, PATIENCE)
        stays = (vehicles.standing > patient) & ~occupied
        stays = stays | ((vehicles.standing > 2.0 * PATIENCE) & occupied)
        rule = rules.conflict_yield[rows][:, None]
        earlier = (their_in < my_in - 0.3) | (vehicles.standing > self.waited + 0.05)
        priority = (rule > 0) | ((rule == 0) & earlier & ~entered) | committed
        return coming & overlap & priority & ~stays & ~self._held_by_light(rows, vehicles, lights)

    def _held_by_light(self, rows: Array, vehicles: AgentsOnLanes, lights: Array) -> Array:
        """(conflicts, vehicles) bool: a red light stands between the vehicle and the conflict."""
        red_at = np.full(self.road_map.lanes, np.inf)
        state = lights[self._light_signal]
        red = (state == LightState.RED) | (state == LightState.RED_YELLOW)
        red_at[self._light_lane[red]] = self._light_s[red]
        nose = vehicles.s + vehicles.half_length
        other = self.rules.conflict_lane[rows]
        own_line = red_at[vehicles.lane] - nose
        reach = self.rules.conflict_reach[rows][:, vehicles.lane]
        their_line = reach + red_at[other][:, None] - nose
        line = np.minimum(own_line, their_line)
        # one that is too fast to stop will run it
        return np.isfinite(line) & (line > -1.5) & (vehicles.speed**2 / 10.0 < line + 1.5)

    def crossings(
        self, agents: AgentsOnPath, motion: Motion, front: float, speed: float
    ) -> Stop | None:
        """Stop before a crosswalk a pedestrian is on or about to step on."""
        rules = self.rules
        near = np.flatnonzero(
            (rules.crossing_from > front + 0.5)
            & (rules.crossing_from < front + 15.0 + speed * speed / 4.0)
        )
        walkers = np.flatnonzero(agents.kind == AgentKind.PEDESTRIAN)
        if len(near) == 0 or len(walkers) == 0:
            return None
        low, high = agents.d_low[walkers], agents.d_high[walkers]
        across = agents.speed_across[walkers]
        on_road = np.minimum(np.abs(low), np.abs(high)) < 2.5
        towards = ((low > 0.0) & (across < -0.3)) | ((high < 0.0) & (across > 0.3))
        away = np.maximum(np.minimum(np.abs(low), np.abs(high)) - 1.5, 0.0)
        soon = towards & (away / np.maximum(np.abs(across), 0.1) < 4.0)
        moving = np.abs(across) > 0.3
        leaving = moving & ~towards & (np.minimum(np.abs(low), np.abs(high)) > 1.5)
        claims = (soon | (on_road & moving)) & ~leaving
        for i in near.tolist():
            start, end = rules.crossing_from[i], rules.crossing_to[i]
            room = start - 0.8 - front
            if speed * speed > 2.0 * 5.0 * max(room, 0.05):
                continue
            on = (agents.s_high[walkers] > start - 1.0) & (agents.s_low[walkers] < end + 1.0)
            who = walkers[claims & on]
            if len(who):
                return Stop(float(start) - 0.8, f"letting pedestrian {agents.id[who[0]]} cross")
        return None

    def keep_clear(
        self, leader_s: float, leader_speed: float, front: float, length: float, speed: float
    ) -> Stop | None:
        """Wait before a junction when the leader stands so that there is no room behind it."""
        if leader_speed > 1.5:
            return None
        rules = self.rules
        for visit in np.flatnonzero(rules.visit_hold > front - 0.3).tolist():
            hold, end = float(rules.visit_hold[visit]), float(rules.visit_to[visit])
            if hold > leader_s:
                break
            room = max(hold - front, 0.0)
            if leader_s < end + length + 3.0 and speed * speed < 2.0 * 3.0 * room + 0.3:
                return Stop(hold - 0.3 if room > 0.3 else front, "no room behind the junction")
        return None
