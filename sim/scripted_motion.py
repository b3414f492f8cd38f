"""Motions prescribed by time: distances under given accelerations, poses along a straight lane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roadloop.maps.road_map import RoadMap
from sim.population import pose_on

Array = np.ndarray


def times(duration: float, dt: float) -> Array:
    """(steps,) s: every step of a drive, the first and the last one included."""
    return np.arange(round(duration / dt) + 1) * dt


def travelled(t: Array, speed: float, phases: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """Distance and speed of something that accelerates in phases.

    Args:
        t: (steps,) s.
        speed: m/s before the first phase.
        phases: (start in s, acceleration in m/s^2) in order of time; each lasts until the next.

    Returns:
        m since the start of the first phase (negative before it) and m/s, each ``(steps,)``.
    """
    start = np.array([at for at, _ in phases])
    acceleration = np.array([0.0, *(a for _, a in phases)])
    length = np.diff(start)
    speeds = speed + np.concatenate([[0.0], np.cumsum(acceleration[1:-1] * length)])
    steps = speeds[:-1] * length + 0.5 * acceleration[1:-1] * length**2
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    phase = np.searchsorted(start, t, side="right")
    base = np.maximum(phase - 1, 0)
    since, a = t - start[base], acceleration[phase]
    distance = reached[base] + speeds[base] * since + 0.5 * a * since**2
    then = speeds[base] + a * since
    return distance, np.where(np.abs(then) < 1e-9, 0.0, then)  # it stands, whatever the last digit


def motion_on(
    road_map: RoadMap,
    lane: int,
    s: Array,
    lateral: Array | float,
    speed: Array | float,
    course: Array | float,
) -> Array:
    """(steps, 4) x, y, heading, speed of a box centre along a straight lane.

    Args:
        s: (steps,) m along the lane; beyond its ends too.
        lateral: m left of its centreline, (steps,) or one for all; likewise the next two.
        speed: m/s along the course.
        course: rad left of the lane's direction.
    """
    x, y, _, heading = pose_on(road_map, lane, 0.0)
    s, lateral, speed, course = np.broadcast_arrays(s, lateral, speed, course)
    ahead, left = np.cos(heading), np.sin(heading)
    return np.stack(
        [x + s * ahead - lateral * left, y + s * left + lateral * ahead, heading + course, speed],
        axis=-1,
    )
