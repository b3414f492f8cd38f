"""What the wheels stand on: off the road, or driving against traffic."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LEVEL, LaneGraph, cell_of, on_surface, project, wrap
from sim.state import OFF_ROAD, WRONG_WAY, Agent, Traits

SURFACE_TOLERANCE = wp.constant(0.3)
"""m a corner may overhang the road edge (nuPlan's drivable-area compliance uses 0.3)"""
WRONG_ANGLE = wp.constant(1.9)
"""rad off the lane's direction from which driving counts as against it"""


@wp.func
def off_road(g: LaneGraph, a: Agent, t: Traits, x: wp.float32, y: wp.float32):
    """Whether any corner of the box is off the road surface."""
    for k in range(4):
        u = 0.5 * t.length
        v = 0.5 * t.width
        if k > 1:
            u = -u
        if k == 1 or k == 2:
            v = -v
        cx = x + u * a.cos - v * a.sin
        cy = y + u * a.sin + v * a.cos
        if not on_surface(g, cx, cy, a.z, SURFACE_TOLERANCE):
            return True
    return False


@wp.func
def ground_height(g: LaneGraph, x: wp.float32, y: wp.float32, z: wp.float32):
    """Height of the road surface under a point, the nearest to ``z``; ``z`` off the road."""
    cell = cell_of(g, x, y)
    found = z
    if cell < 0:
        return found
    best = float(LEVEL)
    for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
        lane = g.cell_lane[k]
        row = g.lane[lane]
        at = project(g, lane, x, y, wp.float32(g.cell_point[k]) * row.spacing)
        within = at.s >= -0.05 and at.s <= row.length + 0.05
        if within and wp.abs(at.lateral) <= 0.5 * at.width and wp.abs(at.z - z) < best:
            best = wp.abs(at.z - z)
            found = at.z
    return found


@wp.func
def wrong_way(g: LaneGraph, a: Agent, x: wp.float32, y: wp.float32):
    """Whether the box centre is on travel lanes and drives against all of them."""
    cell = cell_of(g, x, y)
    if cell < 0:
        return False
    against = bool(False)
    for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
        lane = g.cell_lane[k]
        row = g.lane[lane]
        if row.travel == 1:
            at = project(g, lane, x, y, wp.float32(g.cell_point[k]) * row.spacing)
            within = at.s >= 0.0 and at.s <= row.length
            within = within and wp.abs(at.z - a.z) < LEVEL
            if within and wp.abs(at.lateral) <= 0.5 * at.width:
                if wp.abs(wrap(a.heading - at.heading)) < WRONG_ANGLE:
                    return False
                against = True
    return against


@wp.func
def ground_events(
    g: LaneGraph,
    a: Agent,
    t: Traits,
    x: wp.float32,
    y: wp.float32,
    heading: wp.float32,
    width: wp.float32,
):
    """OFF_ROAD and WRONG_WAY bits; ``heading`` and ``width`` are its lane's, if it has one."""
    bits = int(0)
    settled = bool(False)
    right_way = a.speed < 0.1
    if a.lane >= 0:
        # Well inside its lane, as nearly all traffic is: no corner can be out (|sin x| <= |x|).
        turn = wrap(a.heading - heading)
        reach = wp.abs(a.lateral) + 0.5 * t.width + 0.5 * t.length * wp.abs(turn)
        # The front may be on the next lane already; the rear is where the car has just been.
        row = g.lane[a.lane]
        if a.ahead[1] >= 0 and a.s + 0.5 * t.length > row.length:
            width = wp.min(width, g.point[g.lane[a.ahead[1]].point].width)
        # 0.15 m for the lane's bend under half a car length (radius 20 m and 5 m of car)
        settled = reach + 0.15 < 0.5 * width + SURFACE_TOLERANCE
        if wp.abs(turn) < WRONG_ANGLE and wp.abs(a.lateral) <= 0.5 * width:
            right_way = True
    if not settled and off_road(g, a, t, x, y):
        bits = bits | OFF_ROAD
    if not right_way and wrong_way(g, a, x, y):
        bits = bits | WRONG_WAY
    return bits
