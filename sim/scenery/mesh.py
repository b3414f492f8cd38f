"""Triangles with what is needed to draw and label them: the shape of static and moving things.

A mesh is a soup: every triangle has its own three corners, so that parts are joined by
concatenation and a kernel reads a triangle in one piece. Front faces are counter-clockwise seen
from outside; nothing is culled by facing, so a thin sheet needs one side only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray


class Surface(IntEnum):
    """What a triangle is made of: decides how light, water, snow, LiDAR and radar meet it."""

    ASPHALT = 0
    MARK = 1  # paint on the road
    PAVEMENT = 2
    KERB = 3
    GRASS = 4
    SOIL = 5
    CONCRETE = 6
    WALL = 7
    WINDOW = 8  # of a building; some are lit at night
    ROOF = 9
    METAL = 10
    WOOD = 11
    FOLIAGE = 12
    SIGN_FACE = 13  # retroreflecting
    LAMP_RED = 14  # of a traffic light, lit as Frame.lights says; `instance` names the signal
    LAMP_YELLOW = 15
    LAMP_GREEN = 16
    STREET_LAMP = 17  # lit in the dark
    PAINT = 18  # of a vehicle
    GLASS = 19
    TYRE = 20
    PLASTIC = 21
    HEADLIGHT = 22  # vehicles' lamps: lit as the actor's Lamp bits say
    TAIL_LIGHT = 23  # dim with HEADLIGHT, bright with BRAKE
    INDICATOR_LEFT = 24
    INDICATOR_RIGHT = 25
    CLOTH = 26
    SKIN = 27


@dataclass(frozen=True)
class Mesh:
    """T triangles. Static ones in the map's world frame, models in the frame of their box.

    A model's frame: origin on the ground under the box centre, x forward, y left, z up.
    """

    corners: Array
    """(T, 3, 3) float64, m: triangle, corner, xyz"""
    colour: Array
    """(T, 3) float32, linear RGB reflectance in [0, 1]; of lamps: the colour of their light"""
    surface: Array
    """(T,) uint8 Surface"""
    semantic: Array
    """(T,) uint8 SemanticClass"""
    instance: Array
    """(T,) int32, -(1 + signal) for lights and signs, else 0 (a model's is filled in per actor)"""
    detail: Array
    """(T,) bool: small things (road marks, kerbs, furniture) that are left out far away"""
    slot: Array
    """(T,) int8: colour of the actor's palette that multiplies ``colour``, -1: none; of a static
    WINDOW: 0 where somebody is in at night"""

    @property
    def triangles(self) -> int:
        """Number of triangles."""
        return len(self.surface)

    @property
    def normals(self) -> Array:
        """(T, 3) float64 unit normals; zero for triangles without area."""
        a, b, c = np.moveaxis(self.corners, 1, 0)
        n = np.cross(b - a, c - a)
        size = np.linalg.norm(n, axis=-1, keepdims=True)
        return n / np.where(size > 0.0, size, 1.0)


def mesh_of(
    corners: Array,
    colour: Sequence[float] | Array,
    surface: Surface,
    semantic: int,
    *,
    instance: int | Array = 0,
    detail: bool = False,
    slot: int = -1,
) -> Mesh:
    """A mesh of one material; ``colour`` is one RGB or one per triangle."""
    corners = np.asarray(corners, np.float64)
    if corners.ndim != 3 or corners.shape[1:] != (3, 3):
        raise RoadloopError(f"corners of a mesh have shape {corners.shape}, must be (T, 3, 3)")
    n = len(corners)
    return Mesh(
        corners=corners,
        colour=np.broadcast_to(np.asarray(colour, np.float32), (n, 3)).copy(),
        surface=np.full(n, surface, np.uint8),
        semantic=np.full(n, semantic, np.uint8),
        instance=np.broadcast_to(np.asarray(instance, np.int32), (n,)).copy(),
        detail=np.full(n, detail),
        slot=np.full(n, slot, np.int8),
    )


def joined(parts: Sequence[Mesh]) -> Mesh:
    """All triangles of ``parts``, in order."""
    if not parts:
        return mesh_of(np.zeros((0, 3, 3)), (0, 0, 0), Surface.ASPHALT, 0)
    return Mesh(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in dataclasses.fields(Mesh)
        }
    )


def picked(mesh: Mesh, rows: Array) -> Mesh:
    """The triangles ``rows`` (indices or mask) of a mesh."""
    return Mesh(**{f.name: getattr(mesh, f.name)[rows] for f in dataclasses.fields(Mesh)})


def quads(corners: Array) -> Array:
    """(Q, 4, 3) corners in order around -> (2 Q, 3, 3) triangles."""
    return corners[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)


def box(low: Sequence[float] | Array, high: Sequence[float] | Array, bottom: bool = True) -> Array:
    """(12 or 10, 3, 3) triangles of an upright box; ``bottom`` False leaves out the underside."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    p = np.array(
        [(x, y, z) for z in (z0, z1) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], float
    )
    sides = [(4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    if bottom:
        sides.append((3, 2, 1, 0))
    return quads(p[np.array(sides)])


def prism(ring: Array, low: float | Array, high: float | Array) -> Array:
    """Upright walls over a closed ``ring`` (n, 2), counter-clockwise: (2 n, 3, 3) triangles.

    ``low`` and ``high`` are m, one number or one per ring point.
    """
    ring = np.asarray(ring, float)
    n = len(ring)
    below = np.column_stack([ring, np.broadcast_to(low, n)])
    above = np.column_stack([ring, np.broadcast_to(high, n)])
    after = np.roll(np.arange(n), -1)
    return quads(np.stack([below, below[after], above[after], above], axis=1))


def cylinder(
    base: Sequence[float] | Array, radius: float, height: float, sides: int = 6, top: float = 1.0
) -> Array:
    """An upright cylinder or, with ``top`` (share of the radius) below 1, a cone; no underside."""
    x, y, z = base
    angle = 2.0 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius
    low = np.column_stack([ring + np.array([x, y]), np.full(sides, z)])
    high = np.column_stack([ring * top + np.array([x, y]), np.full(sides, z + height)])
    after = np.roll(np.arange(sides), -1)
    walls = quads(np.stack([low, low[after], high[after], high], axis=1))
    if top <= 0.0:
        return walls[::2]
    middle = np.broadcast_to([x, y, z + height], (sides, 3))
    return np.concatenate([walls, np.stack([middle, high, high[after]], axis=1)])
