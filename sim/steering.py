"""Keeping traffic on its line."""

from __future__ import annotations

import warp as wp

from sim.lane_graph import LaneGraph, point_at, wrap
from sim.state import Agent, Traits


@wp.func
def steer(g: LaneGraph, a: Agent, t: Traits, aim: wp.float32, slope: wp.float32, dt: wp.float32):
    """Steering angle that brings the box centre ``aim`` m left of the driving line,
    which moves ``slope`` m to the left per m driven.

    The centre, not the rear axle, is kept on the line, so that a long vehicle spreads its swept
    path to both sides. In a bend its heading then lags the line's by asin(offset * curvature). In
    arc length the lateral error e obeys e'' = kappa - kappa_line; the law below makes it critically
    damped with the length constant ``reach``.
    """
    line = point_at(g, a.lane, a.s)
    s = a.s + a.speed * (t.steering_lag + 0.5 * dt)
    length = g.lane[a.lane].length
    bend = point_at(g, a.lane, s).line_curvature
    if s > length and a.ahead[1] >= 0:
        bend = point_at(g, a.ahead[1], s - length).line_curvature
    reach = 2.0 + 0.5 * wp.abs(a.speed)
    error = wp.clamp(a.lateral - line.line - aim, -reach, reach)
    # Small angles, for which asin x = x and atan x = x do.
    lag = wp.clamp(t.centre_offset * line.line_curvature, -0.7, 0.7)
    turn = wp.clamp(wrap(a.heading - line.line_heading) + lag - slope, -1.0, 1.0)
    bend = bend / wp.max(1.0 - bend * aim, 0.3)
    kappa = bend - error / (reach * reach) - 2.0 * turn / reach
    return wp.clamp(wp.atan(kappa * t.wheelbase), -t.max_steering, t.max_steering)
