"""The vector observation for a batch of worlds: ``roadloop.features`` as one Warp kernel.

Columns, frames and units are defined there; the numbers agree to 1e-4. The kernel also keeps, per
learner, what must be remembered from step to step and what the reward looks at.
"""

from __future__ import annotations

import warp as wp

from roadloop import features as definition
from roadloop.maps.road_map import SignalKind
from roadloop.types import AgentKind, LightState
from sim.envs.routes import Course, RouteLine, RoutePoint
from sim.lane_graph import wrap
from sim.state import Agent, Traits

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

EGO_COLUMNS = len(definition.EGO_COLUMNS)
ROUTE_ROWS, ROUTE_COLUMNS = len(definition.ROUTE_AHEAD), len(definition.ROUTE_COLUMNS)
AGENT_ROWS, AGENT_COLUMNS = definition.AGENTS, len(definition.AGENT_COLUMNS)

ahead_vector = wp.types.vector(length=ROUTE_ROWS, dtype=wp.float64)
near_index = wp.types.vector(length=AGENT_ROWS, dtype=wp.int32)
near_gap = wp.types.vector(length=AGENT_ROWS, dtype=wp.float64)

ROUTE_AHEAD = ahead_vector(*definition.ROUTE_AHEAD)
ROWS = wp.constant(AGENT_ROWS)
AGENT_REACH = wp.constant(wp.float64(definition.AGENT_REACH))
LEVEL = wp.constant(definition.LEVEL)
GOAL_REACH = wp.constant(wp.float64(definition.GOAL_REACH))
LINE_REACH = wp.constant(wp.float64(definition.LINE_REACH))
STOP_ZONE = wp.constant(wp.float64(definition.STOP_ZONE))
STOP_SPEED = wp.constant(definition.STOP_SPEED)
LOOK_BACK = wp.constant(wp.float64(definition.LOOK_BACK))
LOOK_AHEAD = wp.constant(wp.float64(definition.LOOK_AHEAD))


@wp.struct
class OnRoute:
    """A learner on its route: what it remembers, and where it is now."""

    s: wp.float64  # m along it of the rear axle's foot
    stopped_line: wp.int32  # last stop-sign line that was stopped for, -1
    line: wp.int32  # next stop line, counted from the route's first; -1: not looked yet
    rolled: wp.int32  # stop-sign lines gone over without a stop in this step
    lateral: wp.float32  # m left of the route
    heading: wp.float32  # rad, of the ego minus the route's
    limit: wp.float32  # m/s here
    best: wp.float64  # m along the route, the furthest so far


@wp.func
def foot_segment(
    points: wp.array(dtype=RoutePoint), c: Course, x: wp.float64, y: wp.float64, before: wp.float64
):
    """Segment of the nearest point on the route around ``before`` m, and the share along it."""
    last = c.points - 2
    low = wp.clamp(wp.int32(wp.floor((before - LOOK_BACK) / c.spacing)), 0, last)
    high = wp.clamp(wp.int32(wp.floor((before + LOOK_AHEAD) / c.spacing)), 0, last)
    best = wp.float64(1.0e30)
    row = low
    share = wp.float64(0.0)
    for k in range(low, high + 1):
        a = points[c.point + k]
        b = points[c.point + k + 1]
        ux = b.x - a.x
        uy = b.y - a.y
        dx = x - a.x
        dy = y - a.y
        f = wp.clamp((dx * ux + dy * uy) / (ux * ux + uy * uy), wp.float64(0.0), wp.float64(1.0))
        gx = dx - f * ux
        gy = dy - f * uy
        gap = gx * gx + gy * gy
        if gap < best:
            best = gap
            row = k
            share = f
    return row, share


@wp.func
def route_at(points: wp.array(dtype=RoutePoint), c: Course, s: wp.float64):
    """The route at ``s`` m, linear between points; straight on beyond its end."""
    beyond = wp.max(s - c.length, wp.float64(0.0))
    place = wp.clamp(s, wp.float64(0.0), c.length) / c.spacing
    k = wp.min(wp.int32(place), c.points - 2)
    f = place - wp.float64(k)
    a = points[c.point + k]
    b = points[c.point + k + 1]
    p = RoutePoint()
    p.heading = a.heading + f * (b.heading - a.heading)
    p.x = a.x + f * (b.x - a.x) + beyond * wp.cos(p.heading)
    p.y = a.y + f * (b.y - a.y) + beyond * wp.sin(p.heading)
    p.curvature = a.curvature + wp.float32(f) * (b.curvature - a.curvature)
    if beyond > wp.float64(0.0):
        p.curvature = 0.0
    p.limit = points[c.point + wp.min(wp.int32(s / c.spacing), c.points - 2)].limit
    return p


@wp.func
def demand(kind: wp.int32, light: wp.int32, stopped: bool):
    """Column, from that of red on, that says what a stop line demands."""
    if kind == SignalKind.TRAFFIC_LIGHT:
        if light == LightState.RED or light == LightState.RED_YELLOW:
            return 0
        if light == LightState.YELLOW:
            return 1
        return 2
    if kind == SignalKind.STOP and not stopped:
        return 3
    return 4


@wp.func
def kind_column(kind: wp.int32):
    """Which of the kind columns of an agent's row is 1."""
    if kind <= AgentKind.BUS:
        return 8
    if kind <= AgentKind.CYCLIST:
        return 9
    if kind == AgentKind.PEDESTRIAN:
        return 10
    return 11


@wp.kernel
def observe(
    worlds: wp.array(dtype=wp.int32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    lights: wp.array2d(dtype=wp.int32),
    courses: wp.array2d(dtype=Course),
    points: wp.array(dtype=RoutePoint),
    lines: wp.array(dtype=RouteLine),
    on_route: wp.array2d(dtype=OnRoute),
    ego_rows: wp.array3d(dtype=wp.float32),
    route_rows: wp.array4d(dtype=wp.float32),
    agent_rows: wp.array4d(dtype=wp.float32),
    valid: wp.array3d(dtype=wp.float32),
):
    """What each learner of ``worlds`` sees now; learner i is agent i of its world."""
    row, i = wp.tid()
    w = worlds[row]
    a = agents[w, i]
    t = traits[w, i]
    c = courses[w, i]
    on = on_route[w, i]
    back = wp.float64(t.centre_offset)
    cos = wp.cos(wp.float64(a.heading))
    sin = wp.sin(wp.float64(a.heading))
    x = a.x - back * cos
    y = a.y - back * sin

    k, share = foot_segment(points, c, x, y, on.s)
    on.s = (wp.float64(k) + share) * c.spacing
    here = route_at(points, c, on.s)
    # Along the normal of the heading at the foot: continuous where segments meet.
    on.lateral = wp.float32(
        wp.cos(here.heading) * (y - here.y) - wp.sin(here.heading) * (x - here.x)
    )
    error = wp.float64(a.heading) - here.heading
    on.heading = wrap(wp.float32(error))
    on.limit = here.limit

    front = on.s + wp.float64(0.5 * t.length + t.centre_offset)
    line = int(0)
    while line < c.lines and lines[c.line + line].s < front:
        line = line + 1
    on.rolled = 0
    if on.line < 0:  # the first look
        on.line = line
        on.best = on.s
    for q in range(on.line, line):
        if lines[c.line + q].kind == SignalKind.STOP and q != on.stopped_line:
            on.rolled = on.rolled + 1
    on.line = line
    distance = LINE_REACH
    for column in range(11, 16):
        ego_rows[w, i, column] = 0.0
    if line < c.lines and lines[c.line + line].s - front < LINE_REACH:
        at = lines[c.line + line]
        distance = at.s - front
        if at.kind == SignalKind.STOP and distance <= STOP_ZONE and a.speed < STOP_SPEED:
            on.stopped_line = line
        which = demand(at.kind, lights[w, at.signal], on.stopped_line == line)
        ego_rows[w, i, 11 + which] = 1.0
    on_route[w, i] = on

    ego_rows[w, i, 0] = a.speed
    ego_rows[w, i, 1] = a.acceleration
    ego_rows[w, i, 2] = a.steering
    ego_rows[w, i, 3] = a.yaw_rate
    ego_rows[w, i, 4] = on.lateral
    ego_rows[w, i, 5] = wp.float32(wp.sin(error))
    ego_rows[w, i, 6] = wp.float32(wp.cos(error))
    ego_rows[w, i, 7] = here.curvature
    ego_rows[w, i, 8] = here.limit
    ego_rows[w, i, 9] = wp.float32(wp.min(c.length - on.s, GOAL_REACH))
    ego_rows[w, i, 10] = wp.float32(distance)

    for q in range(wp.static(ROUTE_ROWS)):
        p = route_at(points, c, on.s + ROUTE_AHEAD[q])
        route_rows[w, i, q, 0] = wp.float32(cos * (p.x - x) + sin * (p.y - y))
        route_rows[w, i, q, 1] = wp.float32(cos * (p.y - y) - sin * (p.x - x))
        route_rows[w, i, q, 2] = p.curvature

    found = int(0)
    who = near_index()
    gaps = near_gap()
    for j in range(agents.shape[1]):
        dx = agents[w, j].x - x
        dy = agents[w, j].y - y
        gap = dx * dx + dy * dy
        if gap <= AGENT_REACH * AGENT_REACH and j != i and agents[w, j].valid == 1:
            if wp.abs(agents[w, j].z - a.z) < LEVEL:
                if found < ROWS or gap < gaps[ROWS - 1]:
                    at_row = wp.min(found, ROWS - 1)  # insertion sort, the furthest drops out
                    while at_row > 0 and gaps[wp.max(at_row - 1, 0)] > gap:
                        gaps[at_row] = gaps[at_row - 1]
                        who[at_row] = who[at_row - 1]
                        at_row = at_row - 1
                    gaps[at_row] = gap
                    who[at_row] = j
                    found = wp.min(found + 1, ROWS)
    fx = wp.float32(cos)
    fy = wp.float32(sin)
    for n in range(ROWS):
        for column in range(wp.static(AGENT_COLUMNS)):
            agent_rows[w, i, n, column] = 0.0
        valid[w, i, n] = 0.0
        if n < found:
            other = agents[w, who[n]]
            body = traits[w, who[n]]
            dx = other.x - x
            dy = other.y - y
            vx = other.speed * other.cos - a.speed * fx
            vy = other.speed * other.sin - a.speed * fy
            agent_rows[w, i, n, 0] = wp.float32(cos * dx + sin * dy)
            agent_rows[w, i, n, 1] = wp.float32(cos * dy - sin * dx)
            agent_rows[w, i, n, 2] = fx * other.cos + fy * other.sin
            agent_rows[w, i, n, 3] = fx * other.sin - fy * other.cos
            agent_rows[w, i, n, 4] = fx * vx + fy * vy
            agent_rows[w, i, n, 5] = fx * vy - fy * vx
            agent_rows[w, i, n, 6] = body.length
            agent_rows[w, i, n, 7] = body.width
            agent_rows[w, i, n, kind_column(body.kind)] = 1.0
            valid[w, i, n] = 1.0
