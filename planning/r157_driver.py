"""The reference drivers of UN Regulation 157 as planners: along the route, in their lane.

What is the models' (``planning.r157``): when a risk is seen, how long the reaction takes, how
braking builds up, that speed is held when a risk once seen is gone, and that speed changes by at
most 1 m/s^2 while there is none. CC and Reg157, whose rules are for the cut-in, see two more risks,
in the cars ahead in their lane: one that brakes, and one that was hidden by a vehicle that has now
moved more than 0.375 m aside. So does the JRC comparison's CC in car following and cut-out, and the
regulation's guidance. These risks last until the ego is no longer the faster one. (The guidance
lets the careful driver see a braking leader from 5 m/s^2 on only, the comparison from 0.5 m/s^2;
here it is `LEADER_BRAKES`: a driver that waits for 5 m/s^2 hits leaders that brake with 4.)

What is ours, since the models end where a comparison ends:

- the set speed, that at the start or the speed limit;
- distance keeping behind who is in the lane, at the regulation's following distance, with at most
  1 m/s^2; not behind who has just come into it or been revealed, where the model alone decides;
- an encounter is over when `CALM` s have passed without a risk: from then on the driver is as
  attentive as at first and goes back to its set speed;
- a vehicle that keeps its place in the lane hides those in front of it;
- CC and Reg157 see a risk only while the ego is the faster one (``closing_only``).

Lights, signs, right of way and whoever comes towards the ego are not looked at: these drivers are
for motorways. Steering follows the route's path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planning.corridor import AgentsOnPath, agents_on_path
from planning.longitudinal import DrivingStyle, speed_profile
from planning.r157 import (
    SPEED_CHANGE,
    Encounter,
    Reaction,
    attentive,
    driver_model,
    following_distance,
    react,
    unsafe,
)
from planning.route_line import RouteLine, build_route_line
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, Forecasts, Observation, Scenario, Tracks, Trajectory, at

Array = np.ndarray

HORIZON, PLAN_STEP = 5.0, 0.1
"""s planned, and between the plan's points"""
VIEW = 250.0
"""m of path looked at"""
WANDERING = 0.375
"""m a driver sways within its lane (R157 Annex 4, Appendix 3): more is a lane change"""
LEADER_BRAKES = 2.0
"""m/s^2 of deceleration from which CC and Reg157 see a risk in who is ahead in the lane"""
CALM = 3.0
"""s without a risk after which an encounter is over"""
KEEPING = 5.0
"""s in which distance keeping makes up a difference of distance"""
STANDING = 1.0
"""m/s below which a scenario's start speed is no set speed"""
ONCOMING = -0.5
"""m/s along the route below which somebody comes towards the ego"""
STILL = 0.1
"""m/s of difference below which nobody closes up"""


@dataclass(frozen=True)
class _View:
    """Who the driver sees in front; fields ``(agents,)``."""

    agents: AgentsOnPath
    lateral_gap: Array
    """m between the sides, 0 or less in the lane"""
    towards: Array
    """m/s sideways towards the ego"""
    familiar: Array
    """bool: in the lane for long enough to keep a distance to"""
    revealed: Array
    """bool: hidden until now"""


class R157Driver:
    """A `Planner` that answers whoever is in the lane or comes into it like ``model``.

    ``model`` is one of `planning.r157.MODELS`; ``set_speed`` in m/s, None for the scenario's start
    speed, or the speed limit where it starts (nearly) standing; ``style`` is how bends are taken.
    ``reason`` says what decides the speed now. Needs tracks only.
    """

    def __init__(
        self,
        model: str = "CC",
        *,
        set_speed: float | None = None,
        style: DrivingStyle | None = None,
    ) -> None:
        driver_model(model)
        if set_speed is not None and not 0.0 < set_speed < math.inf:
            raise RoadloopError(f"R157Driver set_speed is {set_speed}: expected m/s above 0")
        self.model = model
        self.set_speed = set_speed
        self.style = style or DrivingStyle()
        self.reason = "not started"
        self._line: RouteLine | None = None

    def reset(self, scenario: Scenario) -> None:
        """Take the scenario's route and start speed; forget everything about the last one."""
        _, line = build_route_line(scenario.road_map, scenario.route)
        speed = float(scenario.ego.speed) if self.set_speed is None else self.set_speed
        wanted = line.speed_limit if speed < STANDING else np.full(len(line.s), speed)
        self._caps = speed_profile(line.s, wanted, line.curvature, self.style)
        self._line = line
        self._s = float(line.s[0])
        self._reaction = attentive(self.model)
        self._encounter = False
        self._calm = 0.0
        self._in_lane: dict[int, float] = {}  # id in view -> s in the lane, inf from the start on
        self._hidden: set[int] = set()
        self._perceived: set[int] = set()  # ids whose risk lasts until the ego is not faster
        self._speeds: dict[int, float] = {}
        self.reason = "free"

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """`HORIZON` s along the route, ``(51,)`` points; the first is the ego's foot on the path.

        Raises RoadloopError before `reset`.
        """
        line = self._line
        if line is None:
            raise RoadloopError("R157Driver has no route yet: call reset(scenario) first")
        ego, dt = observation.ego, observation.dt
        speed = max(float(ego.speed), 0.0)
        _, around = line.window(self._s - 5.0, self._s + speed * dt + 20.0)
        _, s, d = around.project(np.array([float(ego.x)]), np.array([float(ego.y)]))
        self._s = float(s[0])
        front = self._s + ego.vehicle.length - ego.vehicle.rear_overhang
        view = self._look(line, observation, tracks, float(d[0]), front)
        risk, demand = self._risks(view, front, observation)
        before = self._reaction
        if risk.any():
            wanted = float(demand[risk].max())
            self._reaction, _ = react(self.model, before, wanted, dt)
            self._encounter, self._calm = True, 0.0
            first = int(np.flatnonzero(risk)[np.argmin(view.agents.s_low[risk])])
            kind = AgentKind(int(view.agents.kind[first])).name.lower()
            self.reason = f"{self.model} sees a risk in {kind} {view.agents.id[first]}"
            return self._lay_on_path(line, self._braking(before, wanted, speed))
        self._calm += dt
        if self._encounter and self._calm > CALM - 1e-9:
            self._reaction, self._encounter = attentive(self.model), False
        if self._encounter:
            self.reason = f"{self.model} holds its speed"
            return self._lay_on_path(line, np.full(round(HORIZON / PLAN_STEP) + 1, speed))
        return self._lay_on_path(line, self._cruising(view, front, speed))

    def _look(
        self, line: RouteLine, observation: Observation, tracks: Tracks, aside: float, front: float
    ) -> _View:
        """Who is in front of the ego's centre, not coming towards it, and not hidden.

        Hidden is who is in the lane beyond the nearest that keeps its place in it.
        """
        states, ego = tracks.states, observation.ego
        _, window = line.window(self._s - 10.0, self._s + VIEW)
        near = np.hypot(states.x - ego.x, states.y - ego.y) < VIEW
        agents = agents_on_path(window, states, np.flatnonzero(near & states.valid))
        ahead = (agents.s_low + agents.s_high) / 2.0 > front - ego.vehicle.length / 2.0
        agents = at(agents, ahead & (agents.speed_along > ONCOMING))
        half = ego.vehicle.width / 2.0
        lateral_gap = np.maximum(agents.d_low - aside, aside - agents.d_high) - half
        middle = (agents.d_low + agents.d_high) / 2.0
        in_lane = lateral_gap <= 0.0
        screens = in_lane & (np.abs(middle - aside) <= WANDERING)
        hidden = in_lane & (agents.s_low > agents.s_high[screens].min(initial=np.inf))

        revealed, familiar = np.zeros(len(agents), bool), np.zeros(len(agents), bool)
        times: dict[int, float] = {}
        for k in np.flatnonzero(~hidden).tolist():
            agent = int(agents.id[k])
            revealed[k] = in_lane[k] and agent in self._hidden
            at_first = 0.0 if revealed[k] else math.inf
            been = self._in_lane.get(agent, at_first) + observation.dt
            times[agent] = been if in_lane[k] else 0.0
            familiar[k] = times[agent] > CALM
        self._in_lane = times
        self._hidden = set(agents.id[hidden].tolist())
        seen = np.flatnonzero(~hidden)
        return _View(
            agents=at(agents, seen),
            lateral_gap=lateral_gap[seen],
            towards=(agents.speed_across * np.sign(aside - middle))[seen],
            familiar=familiar[seen],
            revealed=revealed[seen],
        )

    def _risks(self, view: _View, front: float, observation: Observation) -> tuple[Array, Array]:
        """``(agents,)`` bool and the deceleration wanted, m/s^2, inf for all there is."""
        ego, agents = observation.ego, view.agents
        speed = max(float(ego.speed), 0.0)
        lengths = ego.vehicle.length + agents.s_high - agents.s_low
        encounter = Encounter(
            ahead=agents.s_low - front + lengths / 2.0,
            lengths=lengths,
            lateral_gap=view.lateral_gap,
            ego_speed=speed,
            ego_acceleration=float(ego.acceleration),
            other_speed=np.maximum(agents.speed_along, 0.0),
            towards=view.towards,
        )
        risk, demand = unsafe(self.model, encounter, closing_only=True)
        if self.model in ("CC", "Reg157"):
            before = [self._speeds.get(int(i), -math.inf) for i in agents.id]
            braked = (np.array(before) - agents.speed_along) / observation.dt > LEADER_BRAKES
            perceived = np.isin(agents.id, list(self._perceived)) | braked | view.revealed
            perceived &= (view.lateral_gap <= 0.0) & (speed > agents.speed_along + STILL)
            self._perceived = set(agents.id[perceived].tolist())
            risk = risk | perceived
        self._speeds = dict(zip(agents.id.tolist(), agents.speed_along.tolist(), strict=True))
        return risk, demand

    def _braking(self, reaction: Reaction, demand: float, speed: float) -> Array:
        """(points,) m/s if the risk lasts."""
        speeds = [speed]
        for _ in range(round(HORIZON / PLAN_STEP)):
            reaction, deceleration = react(self.model, reaction, demand, PLAN_STEP)
            speeds.append(max(speeds[-1] - float(deceleration) * PLAN_STEP, 0.0))
        return np.array(speeds)

    def _cruising(self, view: _View, front: float, speed: float) -> Array:
        """(points,) m/s towards the set speed, or the leader's at the following distance."""
        change, self.reason = SPEED_CHANGE, "free"
        leads = np.flatnonzero(view.familiar & (view.lateral_gap <= 0.0))
        if len(leads):
            first = leads[np.argmin(view.agents.s_low[leads])]
            room = float(view.agents.s_low[first]) - front - float(following_distance(speed))
            # far away as much more speed as 0.8 of the braking takes off again, near by in KEEPING
            more = min(room / KEEPING, math.sqrt(1.6 * SPEED_CHANGE * max(room, 0.0)))
            wanted = max(float(view.agents.speed_along[first]), 0.0) + more
            if wanted < speed + SPEED_CHANGE:
                change = max(wanted - speed, -SPEED_CHANGE)
                self.reason = f"keeps its distance to agent {view.agents.id[first]}"
        t = np.arange(round(HORIZON / PLAN_STEP) + 1) * PLAN_STEP
        return np.maximum(speed + change * t, 0.0)

    def _lay_on_path(self, line: RouteLine, speeds: Array) -> Trajectory:
        """The plan at those speeds, no faster than the set speed and bends allow."""
        s, v = np.empty(len(speeds)), np.empty(len(speeds))
        s[0], v[0] = self._s, speeds[0]
        for k in range(1, len(speeds)):
            cap = float(np.interp(s[k - 1] + v[k - 1] * PLAN_STEP, line.s, self._caps))
            # over it already (a bend, a lower limit): back with the style's braking
            cap = max(cap, v[k - 1] - self.style.deceleration * PLAN_STEP)
            v[k] = min(speeds[k], cap)
            s[k] = s[k - 1] + 0.5 * (v[k - 1] + v[k]) * PLAN_STEP
        s = np.minimum(s, line.s[-1])
        heading = np.interp(s, line.s, line.heading)
        return Trajectory(
            np.interp(s, line.s, line.x),
            np.interp(s, line.s, line.y),
            np.pi - np.mod(np.pi - heading, 2.0 * np.pi),
            v,
            PLAN_STEP,
        )
