"""nuPlan's IDM planner, the plain baseline: along the centreline behind whatever is nearest on it.

Definitions and parameters: nuplan-devkit 1.2.2 ``planning/simulation/planner/idm_planner.py``,
``abstract_idm_planner.py`` and their ``idm_planner.yaml``. The box centre follows the route's
centreline. Of all boxes within half the ego's width of the line ahead, and the stretches behind red
lights, the nearest is followed by IDM; boxes are taken to stay where they are. It gives way to
nobody, knows no other line, does not slow down before bends.

What our world forces to be different: the target speed is the limit where the ego is (published:
of the first lane, for drives of 15 s, which a limit seldom changes in), a light closes the road
from its stop line to the end of the junction, and the plan is sampled every 0.1 s within the steps
of 0.5 s.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from planning.pdm_idm import IdmPolicy
from planning.pdm_proposals import (
    LIGHT,
    NOBODY,
    InCorridor,
    constant_velocity,
    in_corridor,
    nearest_ahead,
    objects_near,
)
from planning.pdm_route import Lines, PdmRoute, compile_route_lines
from roadloop.errors import RoadloopError
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

NUPLAN_IDM = IdmPolicy(gap=1.0, headway=1.5, acceleration=1.0, deceleration=3.0, exponent=4.0)
STEP = 0.5
"""s"""
STEPS = 16
"""8 s"""
RADIUS = 40.0
"""m around the ego in which others are seen"""
PLAN_STEP = 0.1
"""s between the plan's points"""


class IdmPlanner:
    """A `Planner` that needs tracks and, where the route has lights, their states.

    ``reason`` says in a few words whom it follows; forecasts are ignored.
    """

    def __init__(self, policy: IdmPolicy = NUPLAN_IDM) -> None:
        self.policy = policy
        self.reason = "not started"
        self._route: PdmRoute | None = None

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        self._route = compile_route_lines(scenario.road_map, scenario.route, (0.0,))
        self._s: float | None = None
        self.reason = "free"

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """8 s along the centreline, ``(81,)`` points; the first has the box centre on the line.

        Raises RoadloopError before `reset`, or where the route has lights the observation lacks.
        """
        if self._route is None:
            raise RoadloopError("IdmPlanner has no route yet: call reset(scenario) first")
        lines, lights, ego = self._route.lines, self._route.lights, observation.ego
        vehicle, speed = ego.vehicle, max(float(ego.speed), 0.0)
        x, y = (float(v) for v in ego.box_centre())
        self._s = float(lines.follow(x, y, self._s, speed * observation.dt)[0])
        target = max(float(np.interp(self._s, lines.s[0], lines.speed_limit)), 0.1)

        around = lines.rows(self._s - RADIUS, self._s + RADIUS)
        objects = objects_near(tracks.states, x, y, RADIUS, lines, around)
        along = lines.rows(self._s, self._s + target * STEP * STEPS)
        boxes = constant_velocity(objects, 1)
        corridor = in_corridor(lines, along, vehicle.width / 2.0, boxes, 1)
        # an object is ahead as long as its far end is
        far_end = corridor.progress + corridor.half[0]
        corridor = dataclasses.replace(corridor, progress=far_end)
        red = lights.red(observation)
        closed = lights.begin[0, red], lights.end[0, red]
        s, v, leader = self._roll_out(lines, speed, target, corridor, closed, vehicle)
        self.reason = "free"
        if leader == LIGHT:
            self.reason = "red light"
        elif leader != NOBODY:
            kind = AgentKind(int(objects.kind[leader])).name.lower()
            self.reason = f"following {kind} {objects.id[leader]}"

        time = np.arange(round(STEPS * STEP / PLAN_STEP) + 1) * PLAN_STEP
        knots = np.arange(STEPS + 1) * STEP
        rear_x, rear_y, heading = _rear_axle(lines, np.interp(time, knots, s), vehicle)
        heading = np.pi - np.mod(np.pi - heading, 2.0 * np.pi)
        return Trajectory(rear_x, rear_y, heading, np.interp(time, knots, v), PLAN_STEP)

    def _roll_out(
        self,
        lines: Lines,
        speed: float,
        target: float,
        corridor: InCorridor,
        closed: tuple[Array, Array],
        vehicle: VehicleParameters,
    ) -> tuple[Array, Array, int]:
        """m of the centre along the line and m/s at every step, and who is followed at first."""
        s, v = np.array([self._s]), np.array([speed])
        all_s, all_v, first = [s], [v], NOBODY
        for k in range(STEPS):
            pose = _rear_axle(lines, s, vehicle)
            apart, column = nearest_ahead(corridor, corridor.progress[:, 0], s, pose, 0, vehicle)
            leader, end_speed = NOBODY, np.zeros(1)
            room = lines.length - s - vehicle.length / 2.0
            if np.isfinite(apart[0]):
                leader, room = int(corridor.row[column[0]]), apart
                end_speed = corridor.speed[column] * np.cos(pose[2] - corridor.heading[column])
            light = closed[0][closed[1] > s] - s - vehicle.length / 2.0
            if len(light) and (leader == NOBODY or light.min() < room[0]):
                leader, room, end_speed = LIGHT, light[light.argmin()][None], np.zeros(1)
            if k == 0:
                first = leader
            a = self.policy.accelerate(v, np.asarray(target), room, end_speed)
            s, v = s + v * STEP, np.maximum(v + a * STEP, 0.0)
            all_s.append(s)
            all_v.append(v)
        return np.concatenate(all_s), np.concatenate(all_v), first


def _rear_axle(lines: Lines, s: Array, vehicle: VehicleParameters) -> Array:
    """(3, n) rear-axle poses with the box centre ``s`` (n,) m along the line."""
    x, y, heading = lines.pose(np.zeros(len(s), np.int64), s)
    back = vehicle.centre_offset
    return np.stack([x - back * np.cos(heading), y - back * np.sin(heading), heading])
