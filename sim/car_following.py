"""Longitudinal behaviour of traffic: the intelligent driver model and times to reach a point.

Source of the model: Treiber, Hennecke, Helbing, Congested traffic states in empirical observations
and microscopic simulations, Phys. Rev. E 62 (2000); ``roadloop.idm`` is the same in NumPy.
"""

from __future__ import annotations

import warp as wp

from sim.state import Traits

HARDEST = wp.constant(8.0)
"""m/s^2, no braking of traffic is harder"""


@wp.func
def free_road(v: wp.float32, wanted: wp.float32, t: Traits):
    """IDM acceleration on an empty road; above the wanted speed it brakes no harder than b."""
    ratio = v / wp.max(wanted, 0.1)
    squared = ratio * ratio
    return wp.max(t.a * (1.0 - squared * squared), -t.b)


@wp.func
def following(
    v: wp.float32, free: wp.float32, gap: wp.float32, leader_speed: wp.float32, t: Traits
):
    """IDM acceleration behind a leader ``gap`` m ahead, given the free-road acceleration."""
    closing = v * (v - leader_speed) / t.root_ab
    wished = t.min_gap + wp.max(0.0, v * t.headway + closing)
    ratio = wished / wp.max(gap, 0.1)
    return wp.max(wp.min(free, t.a) - t.a * ratio * ratio, -HARDEST)


@wp.func
def stopping(v: wp.float32, free: wp.float32, distance: wp.float32, t: Traits):
    """Acceleration that brings the front to rest about half a metre before a line."""
    return following(v, free, distance + t.min_gap - 0.5, 0.0, t)


@wp.func
def time_to(distance: wp.float32, v: wp.float32, a: wp.float32):
    """s to cover ``distance`` from speed ``v`` with acceleration ``a``, up to 12 m/s at most."""
    if distance <= 0.0:
        return 0.0
    if v >= 12.0:
        return distance / v
    top = 12.0
    ramp = (top * top - v * v) / (2.0 * a)
    if distance <= ramp:
        return (wp.sqrt(v * v + 2.0 * a * distance) - v) / a
    return (top - v) / a + (distance - ramp) / top
