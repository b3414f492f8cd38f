"""Bodies that overlap."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LEVEL
from sim.state import Agent, Traits


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
def overlap_partner(
    agents: wp.array2d(dtype=Agent), traits: wp.array2d(dtype=Traits), w: wp.int32, i: wp.int32
):
    """The agent of lowest index whose box overlaps agent i's, -1: none."""
    x = agents[w, i].x
    y = agents[w, i].y
    reach = 0.5 * (traits[w, i].length + traits[w, i].width)
    for j in range(agents.shape[1]):
        dx = wp.float32(agents[w, j].x - x)
        dy = wp.float32(agents[w, j].y - y)
        # m^2: no two bodies are longer together than 60 m
        if dx * dx + dy * dy < 900.0 and j != i and agents[w, j].valid == 1:
            both = reach + 0.5 * (traits[w, j].length + traits[w, j].width)
            level = wp.abs(agents[w, j].z - agents[w, i].z) < LEVEL
            if dx * dx + dy * dy < both * both and level:
                if boxes_overlap(agents[w, i], traits[w, i], agents[w, j], traits[w, j]):
                    return j
    return -1
