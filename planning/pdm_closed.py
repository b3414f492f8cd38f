"""PDM-Closed, the rule-based planner others are compared with: 15 proposals, simulated and scored.

D. Dauner, M. Hallgarten, A. Geiger, K. Chitta, "Parting with Misconceptions about Learning-based
Vehicle Motion Planning", CoRL 2023, arXiv 2306.07962; parameters and habits are those of its code
(tuplan_garage, ``pdm_planner``). Each step:

1. others go on at constant speed and heading; red lights close the road behind their stop line;
2. the route's centreline and lines 1 m to its right and left are driven at 20, 40, 60, 80, 100 % of
   the speed limit by IDM for 4 s: 15 proposals (`planning.pdm_proposals`);
3. LQR and a kinematic bicycle follow each proposal (`roadloop.scoring.pdm_tracker`);
4. what comes of it is scored as nuPlan would (`planning.pdm_scores`);
5. the best proposal is the plan, unless it collides by the ego's fault within 2 s and the ego is no
   faster than 5 m/s: then it brakes.

It is a reference and deliberately no better than published: it gives way to nobody by rule, does
not know stop signs, does not slow down before bends, leaves its line by 1 m at most and forgets
each step what it did in the one before.

What our world forces to be different:

* A route may change lane, and then the centreline does. Corners no car can drive are widened.
* A light closes the road from its stop line to the end of the junction; in nuPlan the polygon of
  the lane connector it governs.
* Ground is drivable where `roadloop.scoring.area_map` says so, with cracks between lanes closed.
* The plan ends after 4 s, where the scored part does; the published one goes on to 8 s for the sake
  of the simulator's interface.
* The emergency brake is a plan that slows down at 4.05 m/s^2; in the published code one of negative
  speed that makes nuPlan's tracker brake.
* Speeds below zero, which the published roll-out has for a step when it stops, are cut off.
* A leader is chosen at every second step, and at the first one too. The published code has none
  there and takes that for one right ahead: every proposal begins by braking at 3 m/s^2 for 0.1 s,
  which our controllers, looking less far ahead than nuPlan's, would take for a slower plan.
  ``published_first_step`` is that.
"""

from __future__ import annotations

import numpy as np

from planning.explanation import POINT_STEP, Explanation
from planning.pdm_idm import IdmPolicy
from planning.pdm_proposals import (
    CORRIDOR_TIME,
    DT,
    HELD,
    LIGHT,
    NOBODY,
    STEPS,
    Proposals,
    constant_velocity,
    in_corridor,
    objects_near,
    roll_out,
)
from planning.pdm_route import PdmRoute, RouteAreas, compile_route_lines, route_areas
from planning.pdm_scores import OBSERVED, WEIGHTS, PdmClosedScores, scene_around, score_proposals
from roadloop.errors import RoadloopError
from roadloop.scoring.navsim_comfort import comfort_signals_v1
from roadloop.scoring.navsim_motion import box_gap
from roadloop.scoring.pdm_tracker import State, simulate_proposals
from roadloop.types import (
    AgentKind,
    AgentStates,
    EgoState,
    Forecasts,
    Observation,
    Scenario,
    Tracks,
    Trajectory,
    at,
)

Array = np.ndarray

OFFSETS = (0.0, -1.0, 1.0)
"""m to the left of the centreline"""
SPEED_SHARES = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
"""of the speed limit where the ego is"""
RADIUS = 50.0
"""m around the ego in which others are seen"""
EMERGENCY_TIME = 2.0
"""s, the latest collision at fault that is braked for"""
EMERGENCY_SPEED = 5.0
"""m/s, the highest speed at which it is"""
EMERGENCY_DECELERATION = 4.05
"""m/s^2, nuPlan's bound of comfort"""

CENTRELINE_MARGIN = 20.0
"""m of centreline before and behind what a proposal drives, for the measure of its progress"""
LEADER_MATTERS = 0.95
"""share of the target speed below which a proposal is said to be held up by whom it follows"""

_LINES = ("centre", "1 m right", "1 m left")
NAMES = tuple(f"{line}, {share:.0%}" for line in _LINES for share in SPEED_SHARES)


class PdmClosed:
    """A `Planner` that needs tracks and, where the route has lights, their states.

    ``explanation`` holds the proposals of the latest step, ``reason`` in a few words what limits
    it; forecasts are ignored.
    """

    def __init__(self, *, published_first_step: bool = False) -> None:
        self.reason = "not started"
        self.explanation: Explanation | None = None
        self._published_first_step = published_first_step
        self._policy = IdmPolicy()
        self._route: PdmRoute | None = None
        self._areas: RouteAreas

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        self._route = compile_route_lines(scenario.road_map, scenario.route, OFFSETS)
        self._areas = route_areas(scenario.road_map, self._route)
        self._s: float | None = None
        self._run_into: set[int] = set()
        self._passed_red = np.zeros(len(self._route.lights.signal), dtype=bool)
        self.reason, self.explanation = "free", None
        # what is computed once and kept, so that the first plan takes no longer than the others
        standing = np.zeros((1, STEPS + 1, len(State)))
        simulate_proposals(standing[0, 0], standing[..., :3], true_differences=True)
        comfort_signals_v1(standing)

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """4 s along the best proposal, ``(41,)`` points; the first is the ego's foot on its line.

        Raises RoadloopError before `reset`, or where the route has lights the observation lacks.
        """
        if self._route is None:
            raise RoadloopError("PdmClosed has no route yet: call reset(scenario) first")
        route, lines, ego = self._route, self._route.lines, observation.ego
        vehicle, speed = ego.vehicle, max(float(ego.speed), 0.0)
        s = lines.follow(float(ego.x), float(ego.y), self._s, speed * observation.dt)
        self._s = float(s[0])
        around = lines.rows(s[0] - RADIUS, s[0] + RADIUS)
        objects = objects_near(tracks.states, *_centre(ego), RADIUS, lines, around)
        objects = self._without_those_run_into(ego, objects)
        closed = self._closed(route, observation, s)

        limit = float(np.interp(s[0], lines.s[0], lines.speed_limit))
        targets = SPEED_SHARES * max(limit, 0.1)
        agents = constant_velocity(objects, OBSERVED)
        along = lines.rows(s[0], s[0] + targets[-1] * CORRIDOR_TIME)
        corridor = in_corridor(
            lines, along, vehicle.width / 2.0, at(agents, slice(STEPS + 1)), HELD
        )
        proposals = roll_out(
            lines, s, speed, targets, corridor, closed, vehicle, self._policy,
            published_first_step=self._published_first_step,
        )  # fmt: skip

        start = _state_row(ego)
        states = simulate_proposals(start, proposals.poses, vehicle, dt=DT, true_differences=True)
        reach = STEPS * DT * max(speed, limit) + CENTRELINE_MARGIN
        centreline = lines.rows(s[0] - CENTRELINE_MARGIN, s[0] + reach)
        scene = scene_around(self._areas, lines, centreline, start, agents, vehicle, states)
        scores = score_proposals(scene, states)
        best = int(scores.score.argmax())
        limit_is, limit_id = _limit(proposals, scores, best, objects)
        collision = float(scores.first_at_fault[best]) * DT
        brake = collision <= EMERGENCY_TIME and float(ego.speed) <= EMERGENCY_SPEED
        if brake:
            limit_is = f"collision in {collision:.1f} s: emergency brake"
        self.reason = limit_is or "free"
        every = round(POINT_STEP / DT)
        self.explanation = Explanation(
            names=NAMES,
            terms=scores.named(),
            score=scores.score,
            chosen=best,
            xy=states[:, ::every, : State.Y + 1].copy(),
            limit=limit_is,
            limit_id=limit_id,
            weights=WEIGHTS,
        )
        if brake:
            return _brake(ego, speed)
        x, y, heading = proposals.poses[best].T
        return Trajectory(x, y, heading, proposals.speed[best], DT)

    def _without_those_run_into(self, ego: EgoState, objects: AgentStates) -> AgentStates:
        """Objects but those whose box the ego's ever touched: they are ignored from then on."""
        x, y = _centre(ego)
        heading, vehicle = np.asarray(ego.heading), ego.vehicle
        gap = box_gap(
            objects.x - x, objects.y - y, heading, vehicle.length, vehicle.width,
            objects.heading, objects.length, objects.width,
        )  # fmt: skip
        self._run_into.update(objects.id[gap <= 0.0].tolist())
        if not self._run_into:
            return objects
        return at(objects, ~np.isin(objects.id, list(self._run_into)))

    def _closed(self, route: PdmRoute, observation: Observation, s: Array) -> tuple[Array, Array]:
        """(L, R) each, where stretches behind red lights begin and end.

        Not that of a light the ego was ever wholly behind while it was red.
        """
        lights, vehicle = route.lights, observation.ego.vehicle
        red = lights.red(observation)
        rear, front = s[0] - vehicle.rear_overhang, s[0] + vehicle.length - vehicle.rear_overhang
        self._passed_red |= red & (lights.begin[0] < rear) & (lights.end[0] > front)
        closed = red & ~self._passed_red
        return lights.begin[:, closed], lights.end[:, closed]


def _centre(ego: EgoState) -> tuple[float, float]:
    x, y = ego.box_centre()
    return float(x), float(y)


def _state_row(ego: EgoState) -> Array:
    """(11,) the ego as the tracker has it; a kinematic bicycle has no lateral speed."""
    row = np.zeros(len(State))
    row[[State.X, State.Y, State.HEADING]] = ego.x, ego.y, ego.heading
    row[[State.SPEED, State.ACCELERATION]] = ego.speed, ego.acceleration
    row[[State.STEERING, State.YAW_RATE]] = ego.steering, ego.yaw_rate
    return row


def _brake(ego: EgoState, speed: float) -> Trajectory:
    """Straight on to a standstill."""
    time = np.arange(STEPS + 1) * DT
    braked = np.minimum(time, speed / EMERGENCY_DECELERATION)
    travelled = (speed - EMERGENCY_DECELERATION * braked / 2.0) * braked
    heading = np.full(len(time), float(ego.heading))
    return Trajectory(
        float(ego.x) + travelled * np.cos(heading),
        float(ego.y) + travelled * np.sin(heading),
        heading,
        np.maximum(speed - EMERGENCY_DECELERATION * time, 0.0),
        DT,
    )


def _limit(
    proposals: Proposals, scores: PdmClosedScores, best: int, objects: AgentStates
) -> tuple[str, int]:
    """In words what keeps the best proposal from being faster, and its id (-1: no road user)."""
    leader = proposals.leader[best, 1:]
    slower = proposals.speed[best, 1:] < LEADER_MATTERS * proposals.target[best]
    # of a proposal that is slower than it wants to be: whom it follows then
    who = leader[slower & (leader != NOBODY)]
    fell = proposals.speed[best, -1] < LEADER_MATTERS * proposals.target[best]
    if fell and len(who):
        last = int(who[-1])
        if last == LIGHT:
            return "red light", -1
        kind = AgentKind(int(objects.kind[last])).name.lower()
        return f"following {kind} {objects.id[last]}", int(objects.id[last])
    faster = best + 1
    if faster % len(SPEED_SHARES) == 0:
        return "", -1
    lost = [name for name, value in scores.named().items() if value[faster] < value[best]]
    return (f"faster would lose {lost[0]}" if lost else ""), -1
