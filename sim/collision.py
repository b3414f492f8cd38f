"""What went wrong in a step: overlapping boxes, wheels off the road, driving against traffic."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LEVEL, LaneGraph, cell_of, on_surface, project, wrap
from sim.state import HIT, OFF_ROAD, WRONG_WAY, Agent, Traits

wp.set_module_options({"enable_backward": False})

SURFACE_TOLERANCE = wp.constant(0.3)
"""m a corner may overhang the road edge (nuPlan's drivable-area compliance uses 0.3)"""
WRONG_ANGLE = wp.constant(1.9)
"""rad off the lane's direction from which driving counts as against it"""


@wp.func
def boxes_overlap(a: Agent, ta: Traits, b: Agent, tb: Traits):
    """Separating-axis test of two oriented boxes; touching counts as overlap."""
    dx = wp.float32(b.x - a.x)
    dy = wp.float32(b.y - a.y)
    c = wp.abs(a.cos * b.cos + a.sin * b.sin)
    s = wp.abs(a.cos * b.sin - a.sin * b.cos)
    la = 0.5 * ta.length
    wa = 0.5 * ta.width
    lb = 0.5 * tb.length
    wb = 0.5 * tb.width
    apart = wp.abs(dx * a.cos + dy * a.sin) > la + lb * c + wb * s
    apart = apart or wp.abs(dy * a.cos - dx * a.sin) > wa + lb * s + wb * c
    apart = apart or wp.abs(dx * b.cos + dy * b.sin) > lb + la * c + wa * s
    apart = apart or wp.abs(dy * b.cos - dx * b.sin) > wb + la * s + wa * c
    return not apart


@wp.func
def off_road(g: LaneGraph, a: Agent, t: Traits, x: wp.float32, y: wp.float32):
    """Whether any corner of the box is off the road surface."""
    if a.lane >= 0:
        # Well inside its lane: no corner can be out. This settles nearly all traffic at once.
        at = project(g, a.lane, x, y, a.s)
        slant = wp.abs(wp.sin(a.heading - at.heading))
        reach = wp.abs(at.lateral) + 0.5 * t.width + 0.5 * t.length * slant
        # 0.15 m for the lane's bend under half a car length (radius 20 m and 5 m of car)
        inside = reach + 0.15 < 0.5 * at.width + SURFACE_TOLERANCE
        if inside and at.s > 0.5 * t.length and at.s < g.lane[a.lane].length - 0.5 * t.length:
            return False
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
def wrong_way(g: LaneGraph, a: Agent, x: wp.float32, y: wp.float32):
    """Whether the box centre is on travel lanes and drives against all of them."""
    if a.speed < 0.1:
        return False
    if a.lane >= 0:
        at = project(g, a.lane, x, y, a.s)
        ahead = wp.abs(wrap(a.heading - at.heading)) < WRONG_ANGLE
        if ahead and wp.abs(at.lateral) <= 0.5 * at.width:
            return False
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


@wp.kernel
def check(
    g: LaneGraph,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    first_world: wp.int32,
    events: wp.array2d(dtype=wp.int32),
    hit: wp.array2d(dtype=wp.int32),
):
    """Adds collision, off-road and wrong-way bits to ``events`` and names the partner in ``hit``."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    a = agents[w, i]
    partner = int(-1)
    bits = events[w, i]
    if a.valid == 1:
        t = traits[w, i]
        for j in range(agents.shape[1]):
            if j != i and partner < 0 and agents[w, j].valid == 1:
                dx = wp.float32(agents[w, j].x - a.x)
                dy = wp.float32(agents[w, j].y - a.y)
                reach = 0.5 * (t.length + t.width + traits[w, j].length + traits[w, j].width)
                level = wp.abs(agents[w, j].z - a.z) < LEVEL
                if dx * dx + dy * dy < reach * reach and level:
                    if boxes_overlap(a, t, agents[w, j], traits[w, j]):
                        partner = j
        if partner >= 0:
            bits = bits | HIT
        if t.behaviour == 0 or t.controlled == 1:
            x = wp.float32(a.x - g.origin_x)
            y = wp.float32(a.y - g.origin_y)
            if off_road(g, a, t, x, y):
                bits = bits | OFF_ROAD
            if wrong_way(g, a, x, y):
                bits = bits | WRONG_WAY
    events[w, i] = bits
    hit[w, i] = partner
