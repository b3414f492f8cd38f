"""The line traffic drives on a lane, and how fast bends may be taken."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from roadloop.geometry import wrap_angle
from roadloop.maps.road_map import RoadMap

LATERAL_ACCELERATION = 2.0
"""m/s^2 in bends; drivers choose about 1.5 to 2.5 in town"""
BEND_BRAKING = 1.5
"""m/s^2, how hard traffic slows down for a bend"""
TIGHT = 0.19
"""1/m, curvature up to which traffic follows the centreline: a radius of 5.3 m, about a car's"""


def unwrapped(m: RoadMap, heading: np.ndarray) -> np.ndarray:
    """(P,) headings without jumps within a lane, so that neighbours may be interpolated."""
    jump = np.diff(heading, prepend=heading[0])
    turns = np.cumsum(-2.0 * np.pi * np.round(jump / (2.0 * np.pi)))
    return heading + turns - np.repeat(turns[m.point_start[:-1]], np.diff(m.point_start))


def fill_driving_lines(m: RoadMap, points: np.ndarray) -> np.ndarray:
    """Fills the driving line and the speed caps of ``points``; returns (L,) tightest curvatures.

    Maps join straights by corners tighter than cars can drive. There the line is a smoothed
    centreline, cut on the inside, with the ends of the lane held fast.
    """
    points["line_heading"], points["line_curvature"] = m.point_heading, m.point_curvature
    points["speed_cap"] = np.inf
    tightest = np.zeros(m.lanes)
    for lane in np.flatnonzero(m.is_travel):
        rows = m.points_of(int(lane))
        s = m.point_s[rows]
        p = points[rows]
        if np.abs(p["curvature"]).max() > TIGHT and len(s) > 4:
            _cut_corners(s, p)
        bend = np.abs(p["line_curvature"]).astype(float)
        # Curvature is noisy at the joints of road geometry; drivers see about two metres of it.
        window = max(1, round(2.0 / max(s[1] - s[0], 1e-6)))
        kernel = np.ones(2 * window + 1) / (2 * window + 1)
        bend = np.convolve(np.pad(bend, window, mode="edge"), kernel, mode="valid")
        tightest[lane] = bend.max()
        squared = LATERAL_ACCELERATION / np.maximum(bend, 1e-4)
        # v^2 may fall by 2 a ds per point: a running minimum of v^2 + 2 a s from the far end.
        lifted = squared + 2.0 * BEND_BRAKING * s
        caps = np.minimum.accumulate(lifted[::-1])[::-1] - 2.0 * BEND_BRAKING * s
        p["speed_cap"] = np.clip(np.sqrt(caps), 2.0, 100.0)
    return tightest


def _cut_corners(s: np.ndarray, p: np.ndarray) -> None:
    """Smooths one lane's line just enough to bring its curvature down to TIGHT."""
    x, y = p["x"].astype(float), p["y"].astype(float)
    step = s[1] - s[0]
    # A straight on both ends stands in for the neighbouring lanes.
    pad = int(np.ceil(16.0 / step))
    out = np.arange(1, pad + 1) * step
    h0, h1 = float(p["heading"][0]), float(p["heading"][-1])
    xs = np.concatenate([x[0] - out[::-1] * np.cos(h0), x, x[-1] + out * np.cos(h1)])
    ys = np.concatenate([y[0] - out[::-1] * np.sin(h0), y, y[-1] + out * np.sin(h1)])
    hold = np.clip(np.minimum(s, s[-1] - s) / 2.5, 0.0, 1.0)
    hold = hold * hold * (3.0 - 2.0 * hold)
    heading = np.unwrap(p["heading"].astype(float))
    for sigma in (0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0):
        dx = hold * (gaussian_filter1d(xs, sigma / step)[pad:-pad] - x)
        dy = hold * (gaussian_filter1d(ys, sigma / step)[pad:-pad] - y)
        line_heading = np.unwrap(np.arctan2(np.gradient(y + dy), np.gradient(x + dx)))
        line_heading[[0, -1]] += wrap_angle(heading[[0, -1]] - line_heading[[0, -1]])
        curvature = np.gradient(line_heading) / np.maximum(
            np.hypot(np.gradient(x + dx), np.gradient(y + dy)), 0.2 * step
        )
        if np.abs(curvature).max() <= TIGHT:
            break
    p["line"] = dy * np.cos(heading) - dx * np.sin(heading)
    p["line_heading"], p["line_curvature"] = wrap_angle(line_heading), curvature
