"""The rule-based planner: along the route's path, at a speed that every rule and road user allows.

Each step: place everybody in the path's Frenet frame and on the lane graph, collect what demands a
stop (lights, signs, right of way, crosswalks, lane changes without a gap) and whom to follow, roll
the longitudinal motion out with IDM under the speed profile, and lay it on the path, shifted
sideways where an obstruction is passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from planning.corridor import AgentsOnPath, PathWindow, agents_on_path, in_the_way, swing_out
from planning.detour import Detour
from planning.lane_change import LaneChanges
from planning.lateral_offset import LateralOffset, OffsetStep
from planning.longitudinal import (
    DrivingStyle,
    Leaders,
    Motion,
    roll_out,
    speed_profile,
)
from planning.obstruction import ROOM_TO_PASS, Manners, obstructions
from planning.occlusion import hidden_crossings
from planning.right_of_way import RightOfWay, Stop, locate_vehicles
from planning.route_line import SPACING, RouteLine, build_route_line
from planning.route_rules import RouteRules, compile_route
from planning.situation import Situation, reason_for
from roadloop.errors import RoadloopError
from roadloop.idm import IdmParameters
from roadloop.maps.road_map import RoadMap
from roadloop.types import (
    AgentKind,
    Forecasts,
    Observation,
    Scenario,
    Tracks,
    Trajectory,
    VehicleParameters,
)

Array = np.ndarray

HORIZON = 5.0
"""s planned"""
PLAN_STEP = 0.1
"""s between the plan's points"""
ROLL_STEP = 0.2
"""s per step of the longitudinal roll-out"""
BEHIND = 40.0
"""m of path behind the ego on which road users are still placed"""
FAR_VIEW = 220.0
"""m of path looked at before passing on the opposite lane: 14 s of somebody coming at 50 km/h"""
NO_STOP = Stop(math.inf, "free")


class RouteFollower:
    """A `Planner` that needs tracks and, where the map has lights, their states.

    ``reason`` says in a few words what decides the speed now, for reports. `assess` and
    `lay_on_path` are its two halves, for planners that compare its plan with others; such a planner
    may set ``halt``, a place to stop of its own.
    """

    def __init__(self, style: DrivingStyle | None = None, manners: Manners | None = None) -> None:
        self.style = style or DrivingStyle()
        self.manners = manners or Manners()
        self.reason = "not started"
        self._idm = IdmParameters(
            desired_speed=30.0,  # not used: the speed profile takes its place
            time_headway=self.style.time_headway,
            minimum_gap=self.style.minimum_gap,
            acceleration=self.style.acceleration,
            deceleration=self.style.deceleration,
        )
        self._line: RouteLine
        self._ready = False

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        self._map = scenario.road_map
        self._ready = True
        path, self._line = build_route_line(self._map, scenario.route)
        self._rules: RouteRules = compile_route(self._map, path)
        self._right_of_way = RightOfWay(self._map, self._rules)
        self.detour = Detour(self.manners)
        self._s: float | None = None
        self._obstructed = False
        self._standing: dict[int, float] = {}
        self._changes = LaneChanges(self._map, path, self._rules)
        self.halt: Stop | None = None
        self.reason = "free"

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """`HORIZON` s along the route, ``(51,)`` points; the first is the ego's foot on the path.

        Raises RoadloopError before `reset`, or when the map has lights the observation lacks.
        """
        now = self.assess(observation, tracks)
        self.note_waiting(now.stop, now.front, now.speed, observation.dt)
        self.reason = reason_for(now, self.style, self._idm)
        return self.lay_on_path(now.motion)

    def assess(self, observation: Observation, tracks: Tracks) -> Situation:
        """Who and what is around on the route, and how the follower would drive now.

        Once per step: it remembers who stands, which stops were served and which ways around and
        lane changes have begun. Raises RoadloopError like `plan`.
        """
        if not self._ready:
            raise RoadloopError("RouteFollower has no route yet: call reset(scenario) first")
        lights = observation.lights
        if lights is None:
            if len(self._rules.line_s):
                raise RoadloopError(
                    'observation holds no lights: declare the sensor "lights" in the driver\'s '
                    "sensors"
                )
            lights = np.zeros(len(self._map.signal_id), dtype=np.uint8)
        ego, vehicle = observation.ego, observation.ego.vehicle
        speed, acceleration = max(float(ego.speed), 0.0), float(ego.acceleration)
        front_length = vehicle.length - vehicle.rear_overhang
        half_width = vehicle.width / 2.0
        s = self._place(float(ego.x), float(ego.y), speed, observation.dt)
        front = s + front_length

        ahead = max(60.0, 6.0 * speed + 40.0, FAR_VIEW if self._obstructed else 0.0)
        rows, window = self._line.window(s - BEHIND, s + ahead)
        near = np.hypot(tracks.states.x - ego.x, tracks.states.y - ego.y) < ahead + 20.0
        reach = np.flatnonzero(near & tracks.states.valid)
        standing = self._standing_times(tracks, observation.dt)
        agents = agents_on_path(window, tracks.states, reach)
        self.detour.offset.forget_before(s - 5.0)

        blocking = obstructions(
            agents, standing[agents.row], self._rules, half_width, self.manners.kerb_patience
        )
        self._obstructed = bool(blocking.any())
        if not self._changes.away:
            unsure = np.nan_to_num(tracks.position_std[agents.row])
            self.detour.consider(
                agents, blocking, unsure, self._line, self._rules, self._map, s, vehicle, speed
            )
        leading = self._leading(window, agents, s, front_length, speed, vehicle, blocking)

        law = self._right_of_way.lines(lights, front, speed, ahead) or NO_STOP
        stop = self._blocked_stop(law, agents, leading, blocking, front, speed)
        # what the ego would do if nobody at junctions had to be given way to
        hidden = np.zeros(0)
        if self.manners.hidden_speed < math.inf:
            length = tracks.states.length[agents.row]
            hidden = hidden_crossings(agents, length, self._rules, half_width, front)
            # what has only now been hidden is no reason to brake hard
            excess = speed**2 - self.manners.hidden_speed**2
            hidden = hidden[excess < 2.0 * 1.25 * self.style.deceleration * (hidden - front)]
        profile = self._profile(rows, hidden - front_length)
        leaders = Leaders(agents.s_low[leading], agents.speed_along[leading])
        state = (s, speed, acceleration)
        motion = self._drive(state, profile, float(window.s[0]), stop, leaders, front_length)
        lengths = front_length, vehicle.rear_overhang
        conflicts = self._right_of_way.conflicts_ahead(front, *lengths, speed, stop.s)
        demands = [
            self._give_way(conflicts, tracks, reach, standing, lights, motion, front, *lengths),
            self._right_of_way.crossings(agents, motion, front, speed),
            self._room_behind_junction(agents, leading, front, vehicle.length, speed),
            self._changes.update(agents, s, front, s - vehicle.rear_overhang, speed, half_width),
            self.halt,
        ]
        yielding = min([NO_STOP, *(d for d in demands if d is not None)], key=lambda d: d.s)
        if yielding.s < stop.s:
            stop = yielding
            motion = self._drive(state, profile, float(window.s[0]), stop, leaders, front_length)
        return Situation(
            s=s,
            front=front,
            speed=speed,
            acceleration=acceleration,
            vehicle=vehicle,
            rows=rows,
            window=window,
            agents=agents,
            standing=standing[agents.row],
            blocking=blocking,
            leading=leading,
            leaders=leaders,
            profile=profile,
            law=law,
            yielding=yielding,
            stop=stop,
            motion=motion,
        )

    def _leading(
        self,
        window: PathWindow,
        agents: AgentsOnPath,
        s: float,
        front_length: float,
        speed: float,
        vehicle: VehicleParameters,
        blocking: Array,
        more: Sequence[OffsetStep] = (),
    ) -> Array:
        """(agents,) bool, to be followed on the planned line, or with ``more`` steps."""
        # an obstruction is passed where the ego's front reaches it, a lane is left where one is
        passing = self.detour.offset.at(np.maximum(agents.s_low - 2.0, s))
        changes = LateralOffset([*self._changes.offset.steps, *more])
        changing = changes.at((agents.s_low + agents.s_high) / 2.0)
        beside, slope = passing[0] + changing[0], passing[1] + changing[1]
        out_right, out_left = swing_out(window, agents.s_low, front_length)
        half = vehicle.width / 2.0
        return in_the_way(
            agents,
            beside - half - out_right,
            beside + half + out_left,
            slope,
            s + front_length,
            s - vehicle.rear_overhang,
            speed,
            # the way around what blocks the lane leaves it as much as it shall
            np.where(blocking, min(0.3, self.manners.least_gap - 0.1), 0.3),
        )

    def leading_on(self, now: Situation, step: OffsetStep) -> Array:
        """(agents,) bool: who would have to be followed if ``step`` were driven as well."""
        front_length = now.front - now.s
        return self._leading(
            now.window, now.agents, now.s, front_length, now.speed, now.vehicle,
            now.blocking, [step],
        )  # fmt: skip

    @property
    def line(self) -> RouteLine:
        """The route's line."""
        return self._line

    @property
    def road_map(self) -> RoadMap:
        """The map of the route."""
        return self._map

    @property
    def rules(self) -> RouteRules:
        """What the law says along the route."""
        return self._rules

    @property
    def changes(self) -> LaneChanges:
        """The lane changes, the route's and those a planner has added."""
        return self._changes

    def conflicts_end(self, front: float) -> float:
        """m along the path where the last conflict of the junction at or after ``front`` ends."""
        rules = self._rules
        ahead = np.flatnonzero(rules.visit_to > front)
        ends = rules.conflict_to[rules.conflict_visit == (ahead[0] if len(ahead) else -1)]
        return float(ends.max(initial=-math.inf))

    def planned_offset(self) -> LateralOffset:
        """m left of the path that are planned: ways around and lane changes."""
        return LateralOffset([*self.detour.offset.steps, *self._changes.offset.steps])

    def changing_steps(self) -> list[OffsetStep]:
        """Those of the lane changes alone."""
        return list(self._changes.offset.steps)

    def manoeuvre(self) -> str:
        """What is being done sideways, in words."""
        if self.halt is not None:
            return "pull over"
        if self.detour.planned:
            return "go around"
        changing = self._changes.under_way(self._s or 0.0)
        if changing:
            return "change left" if changing > 0.0 else "change right"
        return "keep lane"

    def _place(self, x: float, y: float, speed: float, dt: float) -> float:
        """The ego's m along the path, kept from jumping to another pass of a winding path."""
        line = self._line
        if self._s is None:
            low, high = float(line.s[0]), float(line.s[0]) + 30.0
        else:
            low, high = self._s - 5.0, self._s + speed * dt + 10.0
        _, window = line.window(low, high)
        _, s, _ = window.project(np.array([x]), np.array([y]))
        self._s = float(s[0])
        return self._s

    def _offset_at(self, s: Array) -> tuple[Array, Array, Array]:
        """Planned m left of the path at ``s``, its slope and second derivative."""
        passing, changing = self.detour.offset.at(s), self._changes.offset.at(s)
        return passing[0] + changing[0], passing[1] + changing[1], passing[2] + changing[2]

    def _standing_times(self, tracks: Tracks, dt: float) -> Array:
        """``(tracks,)`` s each road user has stood still."""
        slow = tracks.states.speed < 0.2
        before = self._standing
        times = [
            before.get(i, 0.0) + dt if still else 0.0
            for i, still in zip(tracks.states.id.tolist(), slow.tolist(), strict=True)
        ]
        self._standing = dict(zip(tracks.states.id.tolist(), times, strict=True))
        return np.array(times, dtype=np.float64)

    def _blocked_stop(
        self,
        law: Stop,
        agents: AgentsOnPath,
        leading: Array,
        blocking: Array,
        front: float,
        speed: float,
    ) -> Stop:
        """The nearer of ``law`` and an obstruction that cannot be passed yet."""
        blocked = np.flatnonzero(blocking & leading)
        if len(blocked) == 0:
            return law
        first = blocked[np.argmin(agents.s_low[blocked])]
        room = float(agents.s_low[first]) - front
        spare = room - ROOM_TO_PASS + 1.0
        if spare > 0.0 and speed * speed < 2.0 * 3.0 * spare:
            reason = f"blocked by agent {agents.id[first]}"
            return min(law, Stop(front + room - ROOM_TO_PASS, reason), key=lambda d: d.s)
        return law

    def hurried_profile(self, rows: slice) -> Array | None:
        """m/s allowed where somebody comes while the ego passes slowly on the opposite lane.

        None where it does not.
        """
        if self.detour.begun(self._s or 0.0) is None:
            return None
        return self._profile(rows, np.zeros(0), hurries=True)

    def _profile(self, rows: slice, hidden: Array, hurries: bool = False) -> Array:
        """``hidden`` are m along the path where the ego is to be slow: somebody may step out."""
        line = self._line
        _, _, bend = self._offset_at(line.s[rows])
        limit = line.speed_limit[rows]
        limit = self.detour.limited(line.s[rows], limit, hurries)
        for place in hidden.tolist():
            beside = np.abs(line.s[rows] - place) < 1.0
            limit = np.where(beside, np.minimum(limit, self.manners.hidden_speed), limit)
        return speed_profile(line.s[rows], limit, line.curvature[rows] + bend, self.style)

    def _drive(
        self,
        state: tuple[float, float, float],
        profile: Array,
        start: float,
        stop: Stop,
        leaders: Leaders,
        front_length: float,
    ) -> Motion:
        s, speed, acceleration = state
        return roll_out(
            s,
            speed,
            acceleration,
            start,
            SPACING,
            profile,
            min(stop.s - front_length, float(self._line.s[-1])),
            leaders,
            front_length,
            self.style,
            self._idm,
            round(HORIZON / ROLL_STEP),
            ROLL_STEP,
        )

    def _give_way(
        self,
        conflicts: Array,
        tracks: Tracks,
        reach: Array,
        standing: Array,
        lights: Array,
        motion: Motion,
        front: float,
        front_length: float,
        rear_length: float,
    ) -> Stop | None:
        if len(conflicts) == 0:  # placing everybody on lanes is the costliest part of a step
            return None
        reach = self._right_of_way.concerned(conflicts, tracks.states, reach)
        vehicles = locate_vehicles(self._map, tracks.states, reach, standing)
        return self._right_of_way.junctions(
            conflicts, vehicles, lights, motion, front, front_length, rear_length
        )

    def _room_behind_junction(
        self, agents: AgentsOnPath, leading: Array, front: float, length: float, speed: float
    ) -> Stop | None:
        cars = np.flatnonzero(leading & (agents.kind <= AgentKind.CYCLIST))
        if len(cars) == 0:
            return None
        first = cars[np.argmin(agents.s_low[cars])]
        return self._right_of_way.keep_clear(
            float(agents.s_low[first]), float(agents.speed_along[first]), front, length, speed
        )

    def note_waiting(self, stop: Stop, front: float, speed: float, dt: float) -> None:
        """Count the seconds the ego stands before ``stop``: after some, smaller gaps are taken."""
        row = self._right_of_way
        if speed > 1.0:
            row.waited = 0.0
        elif speed < 0.3 and stop.s - front < 4.0:
            row.waited += dt

    def lay_on_path(self, motion: Motion) -> Trajectory:
        """The motion as a trajectory along the path and its planned offsets."""
        line = self._line
        t = np.arange(round(HORIZON / PLAN_STEP) + 1) * PLAN_STEP
        # constant acceleration within each roll-out step
        k = np.minimum((t / ROLL_STEP + 1e-9).astype(np.int64), len(motion.t) - 2)
        rest = t - motion.t[k]
        v0, v1 = motion.v[k], motion.v[k + 1]
        s = motion.s[k] + v0 * rest + 0.5 * (v1 - v0) / ROLL_STEP * rest**2
        s = np.clip(s, motion.s[k], motion.s[k + 1])
        speed = v0 + (v1 - v0) / ROLL_STEP * rest
        d, slope, _ = self._offset_at(s)
        heading = np.interp(s, line.s, line.heading)
        curvature = np.interp(s, line.s, line.curvature)
        x = np.interp(s, line.s, line.x) - d * np.sin(heading)
        y = np.interp(s, line.s, line.y) + d * np.cos(heading)
        heading = heading + np.arctan2(slope, np.maximum(1.0 - d * curvature, 0.1))
        return Trajectory(x, y, np.pi - np.mod(np.pi - heading, 2.0 * np.pi), speed, PLAN_STEP)
