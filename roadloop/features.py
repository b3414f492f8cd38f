"""What a learned policy sees and does: the vector observation and the meaning of an action.

This is the definition and the NumPy reference. Environments compute the same numbers for a batch of
worlds, a policy as a `Driver` computes them here from an `Observation`; both must agree to 1e-4.

The observation is a dict of float32 arrays, SI units, not normalised:

==============  ========  ====================================================================
key             shape     what it is
==============  ========  ====================================================================
``ego``         (16,)     `EGO_COLUMNS`: the ego, its place on the route, the next stop line
``route``       (10, 3)   `ROUTE_COLUMNS` of the route `ROUTE_AHEAD` m ahead of the ego
``agents``      (12, 12)  `AGENT_COLUMNS` of the nearest road users, nearest first, zeros after them
``valid``       (12,)     1.0 where a row of ``agents`` is one, else 0.0
==============  ========  ====================================================================

Positions are in the ego frame: x forward, y left, origin under the rear axle. Two things must be
remembered from step to step (`RouteMemory`): how far along the route the ego was, because a route
may meet itself, and which stop sign it has stopped for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roadloop.maps.path import route_path
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import (
    AgentStates,
    Control,
    LightState,
    Observation,
    Route,
    VehicleParameters,
)

Array = np.ndarray

EGO_COLUMNS = (
    "speed",  # m/s
    "acceleration",  # m/s^2, along the heading
    "steering",  # rad at the front wheels
    "yaw_rate",  # rad/s
    "lateral",  # m, rear axle left of the route
    "heading_sin",  # of the ego's heading minus the route's
    "heading_cos",
    "curvature",  # 1/m, of the route here
    "speed_limit",  # m/s, here
    "goal_distance",  # m along the route to its end, at most GOAL_REACH
    "stop_distance",  # m from the front bumper to the next stop line, LINE_REACH where none is near
    "red",  # that line: its light is red or red and yellow
    "yellow",
    "green",  # its light is green or off
    "stop_sign",  # it has a stop sign that was not stopped for yet
    "give_way",  # it has a yield sign, or a stop sign that was stopped for
)
ROUTE_COLUMNS = ("x", "y", "curvature")
ROUTE_AHEAD = (2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 65.0, 80.0)
"""m along the route; beyond its end it goes straight on with curvature 0"""
AGENT_COLUMNS = (
    "x",  # m, box centre in the ego frame
    "y",
    "cos",  # of the heading relative to the ego's
    "sin",
    "vx",  # m/s, velocity minus the ego's (speed along its heading), along the ego's axes
    "vy",
    "length",  # m
    "width",
    "vehicle",  # one of these four is 1: car, van, truck, bus
    "two_wheeler",  # motorcycle, cyclist
    "pedestrian",
    "static",
)
AGENTS = 12
"""rows of ``agents``"""
AGENT_REACH = 60.0
"""m from the rear axle to the box centre; who is further away is not seen"""
LEVEL = 3.0
"""m of height difference from which a road user is on another level of a bridge, and not seen"""
GOAL_REACH = 200.0
LINE_REACH = 100.0
STOP_ZONE = 4.0
"""m before the line of a stop sign in which a stop counts, as in the CARLA leaderboard"""
STOP_SPEED = 0.1
"""m/s below which the ego stands, likewise"""
LOOK_BACK = 5.0
"""m behind and ..."""
LOOK_AHEAD = 15.0
"""m ahead of the last foot between which the next one is searched"""

GROUP = np.array([0, 0, 0, 0, 1, 1, 2, 3])
"""one per AgentKind: which of the four kind columns is set"""

BRAKING = 6.0
"""m/s^2 asked for by action[0] = -1"""
ACCELERATION = 3.0
"""m/s^2 asked for by action[0] = 1"""
LATERAL = 5.0
"""m/s^2 of lateral acceleration asked for by action[1] = +-1, where ..."""
STEERING = 0.5
"""rad at the front wheels, the most that is asked for, does not bound it before"""


@dataclass(frozen=True)
class RoutePoints:
    """A route as evenly spaced points, with the stop lines on it; P points, K lines."""

    spacing: float
    """m of arc between points"""
    x: Array
    """(P,) float64, world frame"""
    y: Array
    heading: Array
    """(P,) rad, unwrapped: continuous along the route"""
    curvature: Array
    """(P,) 1/m, left positive"""
    speed_limit: Array
    """(P,) m/s, holds from this point to the next"""
    line_s: Array
    """(K,) m along the route, ascending"""
    line_signal: Array
    """(K,) int64, index of the map's signal"""
    line_kind: Array
    """(K,) uint8 SignalKind: TRAFFIC_LIGHT, STOP or YIELD"""

    @property
    def length(self) -> float:
        """m"""
        return self.spacing * (len(self.x) - 1)


@dataclass(frozen=True)
class RouteMemory:
    """What is remembered from step to step."""

    s: float = 0.0
    """m along the route of the rear axle's foot"""
    stopped_line: int = -1
    """row of the last stop-sign line that was stopped for"""


def route_points(road_map: RoadMap, route: Route) -> RoutePoints:
    """The points of a route; raises RoadloopError as `roadloop.maps.path.route_path`."""
    path = route_path(road_map, route)
    first = np.flatnonzero(np.diff(path.lane, prepend=-1))
    last = np.append(first[1:], len(path.s)) - 1
    lines = [
        (float(path.s[a] - path.lane_s[a] + road_map.stop_s[row]), int(road_map.stop_signal[row]))
        for a, b in zip(first, last)
        for row in np.flatnonzero(road_map.stop_lane == path.lane[a])
        if path.lane_s[a] - 0.5 <= road_map.stop_s[row] <= path.lane_s[b] + 0.5
    ]
    lines.sort()
    signal = np.array([line[1] for line in lines], np.int64)
    return RoutePoints(
        spacing=path.length / (len(path.s) - 1),
        x=path.xyz[:, 0].copy(),
        y=path.xyz[:, 1].copy(),
        heading=np.unwrap(path.heading),
        curvature=path.curvature,
        speed_limit=path.speed_limit,
        line_s=np.array([line[0] for line in lines], float),
        line_signal=signal,
        line_kind=road_map.signal_kind[signal],
    )


def foot_on_route(points: RoutePoints, x: float, y: float, before: float) -> tuple[float, float]:
    """``(s, lateral)`` of a position: m along the route and left of it.

    The nearest place on the segments from ``before - LOOK_BACK`` to ``before + LOOK_AHEAD`` m, the
    first one on a tie; s stays on the route. The lateral distance is measured along the normal of
    the heading interpolated at the foot, so that it is continuous where segments meet.
    """
    last = len(points.x) - 2
    low = min(max(math.floor((before - LOOK_BACK) / points.spacing), 0), last)
    high = min(max(math.floor((before + LOOK_AHEAD) / points.spacing), 0), last)
    k = np.arange(low, high + 1)
    ux, uy = points.x[k + 1] - points.x[k], points.y[k + 1] - points.y[k]
    dx, dy = x - points.x[k], y - points.y[k]
    share = np.clip((dx * ux + dy * uy) / (ux * ux + uy * uy), 0.0, 1.0)
    gap_x, gap_y = dx - share * ux, dy - share * uy
    i = int(np.argmin(gap_x * gap_x + gap_y * gap_y))
    row, f = int(k[i]), float(share[i])
    heading = points.heading[row] + f * (points.heading[row + 1] - points.heading[row])
    lateral = math.cos(heading) * gap_y[i] - math.sin(heading) * gap_x[i]
    return (row + f) * points.spacing, float(lateral)


def sample_route(points: RoutePoints, s: Array) -> tuple[Array, Array, Array, Array]:
    """x, y, heading, curvature at ``s`` m, linear between points; straight on beyond the end."""
    beyond = np.maximum(s - points.length, 0.0)
    place = np.clip(s, 0.0, points.length) / points.spacing
    k = np.minimum(place.astype(np.int64), len(points.x) - 2)
    f = place - k

    def between(values: Array) -> Array:
        return values[k] + f * (values[k + 1] - values[k])

    heading = between(points.heading)
    return (
        between(points.x) + beyond * np.cos(heading),
        between(points.y) + beyond * np.sin(heading),
        heading,
        np.where(beyond > 0.0, 0.0, between(points.curvature)),
    )


def vector_observation(
    observation: Observation, points: RoutePoints, memory: RouteMemory
) -> tuple[dict[str, Array], RouteMemory]:
    """The vector observation (module docstring) and what to remember for the next step.

    Tracks that are None count as nobody there, lights that are None as off.
    """
    ego = observation.ego
    x, y, heading = float(ego.x), float(ego.y), float(ego.heading)
    speed, vehicle = float(ego.speed), ego.vehicle
    s, lateral = foot_on_route(points, x, y, memory.s)
    _, _, route_heading, curvature = (float(v[0]) for v in sample_route(points, np.array([s])))
    limit = points.speed_limit[min(int(s / points.spacing), len(points.x) - 2)]
    error = heading - route_heading

    front = s + vehicle.length - vehicle.rear_overhang
    line = int(np.searchsorted(points.line_s, front))
    distance, flags, stopped = LINE_REACH, np.zeros(5), memory.stopped_line
    if line < len(points.line_s) and points.line_s[line] - front < LINE_REACH:
        distance = points.line_s[line] - front
        kind = points.line_kind[line]
        if kind == SignalKind.STOP and distance <= STOP_ZONE and speed < STOP_SPEED:
            stopped = line
        flags[_demand(observation.lights, points, line, stopped)] = 1.0

    ahead_x, ahead_y, _, ahead_curvature = sample_route(points, s + np.array(ROUTE_AHEAD))
    c, sn = math.cos(heading), math.sin(heading)
    dx, dy = ahead_x - x, ahead_y - y
    agents, valid = _agent_rows(observation, x, y, float(ego.z), c, sn, speed)
    row = [
        speed, float(ego.acceleration), float(ego.steering), float(ego.yaw_rate),
        lateral, math.sin(error), math.cos(error), curvature, limit,
        min(points.length - s, GOAL_REACH), distance, *flags,
    ]  # fmt: skip
    return {
        "ego": np.array(row, np.float32),
        "route": np.column_stack([c * dx + sn * dy, c * dy - sn * dx, ahead_curvature]).astype(
            np.float32
        ),
        "agents": agents,
        "valid": valid,
    }, RouteMemory(s, stopped)


def _demand(lights: Array | None, points: RoutePoints, line: int, stopped: int) -> int:
    """Which of red, yellow, green, stop_sign, give_way a line is."""
    kind = points.line_kind[line]
    if kind == SignalKind.TRAFFIC_LIGHT:
        state = LightState.OFF if lights is None else lights[points.line_signal[line]]
        if state in (LightState.RED, LightState.RED_YELLOW):
            return 0
        return 1 if state == LightState.YELLOW else 2
    return 3 if kind == SignalKind.STOP and stopped != line else 4


def _agent_rows(
    observation: Observation, x: float, y: float, z: float, c: float, s: float, speed: float
) -> tuple[Array, Array]:
    rows, valid = np.zeros((AGENTS, len(AGENT_COLUMNS)), np.float32), np.zeros(AGENTS, np.float32)
    if observation.tracks is None:
        return rows, valid
    a: AgentStates = observation.tracks.states
    dx, dy = a.x - x, a.y - y
    gap = np.hypot(dx, dy)
    seen = np.flatnonzero(a.valid & (gap <= AGENT_REACH) & (np.abs(a.z - z) < LEVEL))
    near = seen[np.argsort(gap[seen], kind="stable")][:AGENTS]
    n = len(near)
    dx, dy, vx, vy = dx[near], dy[near], a.vx[near] - speed * c, a.vy[near] - speed * s
    ac, as_ = np.cos(a.heading[near]), np.sin(a.heading[near])
    rows[:n, :8] = np.column_stack([
        c * dx + s * dy, c * dy - s * dx, c * ac + s * as_, c * as_ - s * ac,
        c * vx + s * vy, c * vy - s * vx, a.length[near], a.width[near],
    ])  # fmt: skip
    rows[np.arange(n), 8 + GROUP[a.kind[near]]] = 1.0
    valid[:n] = 1.0
    return rows, valid


def control_from_action(action: Array, speed: Array, vehicle: VehicleParameters) -> Control:
    """What a continuous action ``(..., 2)`` at ``speed`` ``(...)`` asks of the vehicle.

    ``action[0]`` in [-1, 1] is `BRAKING` to `ACCELERATION`, linear on either side of 0;
    ``action[1]`` is the share, left positive, of the steering angle that gives `LATERAL` m/s^2 at
    this speed, at most `STEERING`. Values outside are clipped. Steering so scaled moves the car
    aside equally fast at any speed; with plain angles a policy that explores leaves a motorway
    lane within a second.
    """
    action = np.clip(action, -1.0, 1.0)
    pedal, wheel = action[..., 0], action[..., 1]
    v = np.maximum(speed, 1.0)
    most = np.minimum(STEERING, np.arctan(vehicle.wheelbase * LATERAL / (v * v)))
    return Control(
        acceleration=np.where(pedal < 0.0, BRAKING * pedal, ACCELERATION * pedal),
        steering=most * wheel,
    )
