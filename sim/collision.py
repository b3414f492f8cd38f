"""Bodies that overlap."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LEVEL
from sim.state import HIT, Agent, Traits

wp.set_module_options({"enable_backward": False})


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


@wp.kernel
def check(
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    first_world: wp.int32,
    events: wp.array2d(dtype=wp.int32),
    hit: wp.array2d(dtype=wp.int32),
):
    """Adds the collision bit to ``events`` and names the partner of lowest index in ``hit``."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    partner = int(-1)
    if agents[w, i].valid == 1:
        x = agents[w, i].x
        y = agents[w, i].y
        reach = 0.5 * (traits[w, i].length + traits[w, i].width)
        for j in range(agents.shape[1]):
            dx = wp.float32(agents[w, j].x - x)
            dy = wp.float32(agents[w, j].y - y)
            near = dx * dx + dy * dy < 900.0  # m^2: no two bodies are longer together than 60 m
            if near and j != i and partner < 0 and agents[w, j].valid == 1:
                both = reach + 0.5 * (traits[w, j].length + traits[w, j].width)
                level = wp.abs(agents[w, j].z - agents[w, i].z) < LEVEL
                if dx * dx + dy * dy < both * both and level:
                    if boxes_overlap(agents[w, i], traits[w, i], agents[w, j], traits[w, j]):
                        partner = j
        if partner >= 0:
            events[w, i] = events[w, i] | HIT
    hit[w, i] = partner
