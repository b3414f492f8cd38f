"""Heads of traffic lights and faces of traffic signs, looking along +x, centred on the origin."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import SignalKind
from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, box, joined, mesh_of, quads

Array = np.ndarray

LAMP_DIAMETER = 0.3
"""m, the larger of the two sizes of EN 12368"""
LAMP_PITCH = 0.37
"""m between the centres of a head's lamps"""
HEAD_DEPTH = 0.26
"""m from a head's back to its lamps"""

_WHITE = (0.82, 0.82, 0.80)
_RED = (0.52, 0.02, 0.03)
_BLACK = (0.015, 0.015, 0.015)
_GREY = (0.32, 0.33, 0.34)
_DARK = (0.022, 0.026, 0.024)
_LAMPS = (
    (1.0, (1.0, 0.03, 0.02), Surface.LAMP_RED),
    (0.0, (1.0, 0.45, 0.01), Surface.LAMP_YELLOW),
    (-1.0, (0.02, 0.9, 0.32), Surface.LAMP_GREEN),
)

# seven segments of a digit in a box 1 high and 0.55 wide, as (y0, z0, y1, z1) from the left bottom
_SEGMENTS = {
    "a": (0.0, 0.86, 0.55, 1.0),
    "b": (0.41, 0.5, 0.55, 1.0),
    "c": (0.41, 0.0, 0.55, 0.5),
    "d": (0.0, 0.0, 0.55, 0.14),
    "e": (0.0, 0.0, 0.14, 0.5),
    "f": (0.0, 0.5, 0.14, 1.0),
    "g": (0.0, 0.43, 0.55, 0.57),
    "t": (0.205, 0.0, 0.345, 1.0),
}
_GLYPHS = {
    "0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc", "5": "afgcd",
    "6": "afgedc", "7": "abc", "8": "abcdefg", "9": "abcdfg",
    "S": "afgcd", "T": "at", "O": "abcdef", "P": "abefg",
}  # fmt: skip


def light_head() -> Mesh:
    """A three-lamp head with backboard and visors; the middle lamp is at the origin."""
    light = SemanticClass.TRAFFIC_LIGHT
    half, high = 0.19, 1.5 * LAMP_PITCH + 0.02
    front = 0.0
    back = front - HEAD_DEPTH
    edge, tall = 0.31, high + 0.12
    board = _sheet(back + 0.05, [(-edge, -tall), (edge, -tall), (edge, tall), (-edge, tall)])
    parts = [
        mesh_of(box((back, -half, -high), (front, half, high)), _DARK, Surface.PLASTIC, light),
        mesh_of(board, _BLACK, Surface.METAL, light),
    ]
    for row, colour, surface in _LAMPS:
        z = row * LAMP_PITCH
        parts.append(mesh_of(_disc(0.012, LAMP_DIAMETER / 2, 8, z), colour, surface, light))
        angle = np.radians([0.0, 60.0, 120.0, 180.0])
        arc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.172
        near = np.column_stack([np.full(4, front), arc[:, 0], arc[:, 1] + z])
        far = near + np.array([0.2, 0.0, 0.0])
        hood = quads(np.stack([near[:-1], near[1:], far[1:], far[:-1]], axis=1))
        parts.append(mesh_of(hood, _DARK, Surface.PLASTIC, light, detail=True))
    return joined(parts)


def sign_face(kind: int, value: float = 0.0) -> Mesh:
    """The face of a sign (SignalKind) with its grey back; ``value`` is the limit in m/s."""
    if kind == SignalKind.STOP:
        outline = _circle(0.405, 8, np.pi / 8)
        rim, inner = _ring(outline, 0.93), _fan(outline * 0.93)
        parts = [_face(rim, _WHITE), _face(inner, _RED), _text("STOP", 0.25, 0.60, _WHITE)]
    elif kind == SignalKind.YIELD:
        outline = np.array([(0.0, -0.54), (0.45, 0.24), (-0.45, 0.24)])
        parts = [_face(_ring(outline, 0.66), _RED), _face(_fan(outline * 0.66), _WHITE)]
    elif kind == SignalKind.SPEED_LIMIT:
        outline = _circle(0.35, 14, 0.0)
        parts = [_face(_ring(outline, 0.78), _RED), _face(_fan(outline * 0.78), _WHITE)]
        text = limit_text(value)
        parts.append(_text(text, 0.27, 0.36 if len(text) < 3 else 0.44, _BLACK))
    else:
        outline = np.array([(-0.3, -0.3), (0.3, -0.3), (0.3, 0.3), (-0.3, 0.3)])
        parts = [_face(_ring(outline, 0.92), _WHITE), _face(_fan(outline * 0.92), (0.02, 0.1, 0.4))]
    plate = _sheet(-0.02, outline)
    parts.append(mesh_of(plate, _GREY, Surface.METAL, SemanticClass.TRAFFIC_SIGN))
    return joined(parts)


def limit_text(value: float) -> str:
    """What a speed limit sign of ``value`` m/s shows: km/h, or mph where only those are round."""
    kmh, mph = value * 3.6, value / 0.44704
    in_miles = abs(mph - 5 * round(mph / 5)) < 0.1 < abs(kmh - 5 * round(kmh / 5))
    return str(round(mph if in_miles else kmh))


def _circle(radius: float, sides: int, start: float) -> Array:
    angle = start + 2.0 * np.pi * np.arange(sides) / sides
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius


def _sheet(x: float, outline: Array | list[tuple[float, float]]) -> Array:
    """A convex flat sheet at ``x``, corners (n, 2) of y and z: (n - 2, 3, 3) triangles."""
    ring = np.column_stack([np.full(len(outline), x), np.asarray(outline, float)])
    return np.stack([np.broadcast_to(ring[0], (len(ring) - 2, 3)), ring[1:-1], ring[2:]], axis=1)


def _disc(x: float, radius: float, sides: int, z: float) -> Array:
    return _sheet(x, _circle(radius, sides, np.pi / sides) + np.array([0.0, z]))


def _fan(outline: Array) -> Array:
    return _sheet(0.0, outline)


def _ring(outline: Array, share: float) -> Array:
    """The band between an outline and the same shrunk to ``share``."""
    out = np.column_stack([np.zeros(len(outline)), outline])
    inner = out * share
    after = np.roll(np.arange(len(out)), -1)
    return quads(np.stack([out, out[after], inner[after], inner], axis=1))


def _face(corners: Array, colour: tuple[float, float, float]) -> Mesh:
    return mesh_of(corners, colour, Surface.SIGN_FACE, SemanticClass.TRAFFIC_SIGN)


def _text(text: str, height: float, width: float, colour: tuple[float, float, float]) -> Mesh:
    """Letters of bars, centred; ``width`` m in all."""
    wide = 0.55 * len(text) + 0.2 * (len(text) - 1)
    sheets = []
    for k, letter in enumerate(text):
        for segment in _GLYPHS[letter]:
            y0, z0, y1, z1 = _SEGMENTS[segment]
            # the face's left is the right of who looks at it, so reading runs towards +y
            left, right = ((0.75 * k + y) / wide - 0.5 for y in (y0, y1))
            ring = np.array([(left, z0), (right, z0), (right, z1), (left, z1)])
            ring = (ring - np.array([0.0, 0.5])) * np.array([width, height])
            sheets.append(_sheet(0.006, ring))
    face = SemanticClass.TRAFFIC_SIGN
    return mesh_of(np.concatenate(sheets), colour, Surface.SIGN_FACE, face, detail=True)
