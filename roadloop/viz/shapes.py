"""Road users seen from above: convex polygons about the box centre, x forward, painted in order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from roadloop.types import AgentKind
from roadloop.viz.palette import DARK, rgb

Array = np.ndarray
Colour = tuple[int, int, int]
Parts = tuple[tuple[Array, Colour], ...]

OUTLINE = 0.14
"""m, width of the dark edge that sets a road user off the road"""


def slab(x: float, y: float, length: float, width: float, radius: float) -> Array:
    """(n, 2) rectangle centred on (x, y) with round corners, m."""
    radius = min(radius, length / 2, width / 2)
    angle = np.linspace(0, np.pi / 2, 5)
    corner = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = np.array([length / 2 - radius, width / 2 - radius])
    quarters = []
    for sx, sy, forward in ((1, 1, True), (-1, 1, False), (-1, -1, True), (1, -1, False)):
        quarter = (inner + corner) * [sx, sy]
        quarters.append(quarter if forward else quarter[::-1])
    return np.concatenate(quarters) + np.array([x, y])


def ellipse(x: float, y: float, length: float, width: float) -> Array:
    """(n, 2) ellipse with these full axes, m."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + length / 2 * np.cos(angle), y + width / 2 * np.sin(angle)], axis=1)


def _hull(
    length: float, width: float, radius: float, body: str, outline: str, line: float
) -> list[tuple[Array, Colour]]:
    return [
        (slab(0, 0, length + line, width + line, radius + line / 2), rgb(outline)),
        (slab(0, 0, length - line, width - line, radius - line / 2), rgb(body)),
    ]


def _brake_lights(length: float, width: float) -> list[tuple[Array, Colour]]:
    colour = rgb(DARK["brake"])
    return [
        (slab(-length / 2 + 0.2, side * width * 0.31, 0.4, width * 0.26, 0.05), colour)
        for side in (-1, 1)
    ]


@lru_cache(maxsize=512)
def car_shape(
    length: float,
    width: float,
    body: str,
    *,
    outline: str = DARK["outline"],
    line: float = OUTLINE,
    braking: bool = False,
) -> Parts:
    """A car: hull, windscreen, rear window, brake lights where it brakes."""
    glass = rgb(DARK["glass"])
    parts = _hull(length, width, width * 0.28, body, outline, line)
    parts.append((slab(length * 0.175, 0, length * 0.15, width * 0.78, 0.15), glass))
    parts.append((slab(-length * 0.33, 0, length * 0.1, width * 0.7, 0.12), glass))
    return tuple(parts + (_brake_lights(length, width) if braking else []))


@lru_cache(maxsize=512)
def agent_shape(
    kind: AgentKind, length: float, width: float, body: str, braking: bool = False
) -> Parts:
    """The polygons of a road user of that kind and size (m), body colour ``#rrggbb``."""
    dark, glass = DARK["outline"], rgb(DARK["glass"])
    if kind in (AgentKind.CAR, AgentKind.STATIC):
        return car_shape(length, width, body, braking=braking)
    if kind == AgentKind.PEDESTRIAN:
        size = max(0.84, width)
        return (
            (ellipse(0, 0, size * 0.7 + 0.2, size + 0.2), rgb(dark)),
            (ellipse(0, 0, size * 0.7, size), rgb(body)),
            (ellipse(size * 0.08, 0, size * 0.38, size * 0.38), rgb(dark)),
        )
    if kind in (AgentKind.CYCLIST, AgentKind.MOTORCYCLE):
        rider = max(0.64, width)
        return (
            (slab(0, 0, length, max(0.3, width * 0.4), 0.12), rgb(dark)),
            (ellipse(-length * 0.05, 0, length * 0.52 + 0.15, rider + 0.15), rgb(dark)),
            (ellipse(-length * 0.05, 0, length * 0.52, rider), rgb(body)),
            (ellipse(0, 0, 0.3, 0.3), rgb(dark)),
        )
    radius = {AgentKind.VAN: 0.18, AgentKind.TRUCK: 0.08, AgentKind.BUS: 0.12}[kind]
    parts = _hull(length, width, width * radius, body, dark, OUTLINE)
    if kind == AgentKind.VAN:
        parts.append((slab(length * 0.3, 0, length * 0.13, width * 0.82, 0.15), glass))
    else:
        parts.append((slab(length / 2 - 0.6, 0, 0.6, width * 0.84, 0.12), glass))
    if kind == AgentKind.TRUCK:  # the gap between cab and load
        parts.append((slab(length / 2 - min(2.3, length * 0.25), 0, 0.25, width, 0.0), rgb(dark)))
    return tuple(parts + (_brake_lights(length, width) if braking else []))
