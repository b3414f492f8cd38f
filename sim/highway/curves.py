"""Cubic curves between two poses: what lanes that are no straights or arcs are drawn with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Pose = tuple[float, float, float]
"""x, y, heading"""

SAMPLES = 65
"""points at which length and curvature of a curve are taken"""


@dataclass(frozen=True)
class Cubic:
    """``a p + b p^2 + c p^3`` for p from 0 to 1 in the frame of its start pose."""

    start: Pose
    coefficients: Array
    """(4, 2) of 1, p, p^2, p^3 along and left of the start's heading"""
    length: float
    """m of arc"""
    curvature: float
    """1/m, the greatest magnitude"""


def cubic_between(start: Pose, end: Pose) -> Cubic:
    """The Hermite cubic whose speed at both ends is the length of an arc that turns as much."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    c, s = math.cos(start[2]), math.sin(start[2])
    goal = np.array([c * dx + s * dy, c * dy - s * dx])
    turn = math.remainder(end[2] - start[2], 2.0 * math.pi)
    speed = float(np.hypot(*goal)) / float(np.sinc(0.5 * turn / math.pi))
    first = np.array([speed, 0.0])
    last = speed * np.array([math.cos(turn), math.sin(turn)])
    second = 3.0 * goal - 2.0 * first - last
    third = first + last - 2.0 * goal
    p = np.linspace(0.0, 1.0, SAMPLES)[:, None]
    rate = first + 2.0 * second * p + 3.0 * third * p * p
    bend = 2.0 * second + 6.0 * third * p
    pace = np.linalg.norm(rate, axis=1)
    across = rate[:, 0] * bend[:, 1] - rate[:, 1] * bend[:, 0]
    length = float(np.trapezoid(pace, p[:, 0]))
    bends = np.abs(across) / np.maximum(pace, 1e-9) ** 3
    mean = abs(turn) / max(length, 1e-9)  # two poses in one place: a corner of no radius
    coefficients = np.stack([np.zeros(2), first, second, third])
    return Cubic(start, coefficients, length, max(float(bends.max()), mean))
