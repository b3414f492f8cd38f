"""What the models of road users are put together from: materials, patches, discs, limbs.

All functions give triangles ``(T, 3, 3)`` in m, counter-clockwise seen from outside, in a model's
frame: x forward, y left, z up, origin on the ground.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, joined, quads

Array = np.ndarray
Point = Sequence[float] | Array
Part = tuple[Array, "Material"]


class Material(NamedTuple):
    """What a part is made of."""

    colour: tuple[float, float, float]
    """linear RGB; a factor on the palette's colour where there is a slot"""
    surface: Surface
    slot: int = -1
    detail: bool = False


PAINT = Material((1.0, 1.0, 1.0), Surface.PAINT, 0)
SHADED_PAINT = Material((0.72, 0.72, 0.72), Surface.PAINT, 0)  # sills and bumpers, always dirtier
SECOND_PAINT = Material((1.0, 1.0, 1.0), Surface.PAINT, 1)
GLASS = Material((0.03, 0.035, 0.04), Surface.GLASS)
BLACK = Material((0.02, 0.02, 0.02), Surface.PLASTIC)
GRILLE = Material((0.012, 0.012, 0.013), Surface.PLASTIC, -1, True)
UNDERSIDE = Material((0.01, 0.01, 0.01), Surface.PLASTIC)
TYRE = Material((0.014, 0.014, 0.015), Surface.TYRE)
RIM = Material((0.38, 0.39, 0.40), Surface.METAL, -1, True)
STEEL = Material((0.30, 0.30, 0.31), Surface.METAL)
HEADLIGHT = Material((0.62, 0.60, 0.56), Surface.HEADLIGHT)
TAIL_LIGHT = Material((0.30, 0.005, 0.004), Surface.TAIL_LIGHT)
INDICATOR = Material((0.46, 0.14, 0.004), Surface.INDICATOR_LEFT)  # mirrored: right
PLATE = Material((0.72, 0.72, 0.68), Surface.SIGN_FACE, -1, True)
COAT = Material((1.0, 1.0, 1.0), Surface.CLOTH, 0)
TROUSERS = Material((1.0, 1.0, 1.0), Surface.CLOTH, 1)
SHOES = Material((0.025, 0.022, 0.020), Surface.CLOTH)
SKIN = Material((1.0, 1.0, 1.0), Surface.SKIN, 2)
HAIR = Material((1.0, 1.0, 1.0), Surface.CLOTH, 3)
HELMET = Material((1.0, 1.0, 1.0), Surface.PAINT, 3)


def assembled(parts: Sequence[Part], semantic: SemanticClass) -> Mesh:
    """One mesh of parts of one class."""
    count = [len(t) for t, _material in parts]
    colour, surface, slot, detail = zip(*(material for _t, material in parts), strict=True)
    total = sum(count)
    return Mesh(
        corners=np.concatenate([t for t, _material in parts]),
        colour=np.repeat(np.array(colour, np.float32), count, axis=0),
        surface=np.repeat(np.array(surface, np.uint8), count),
        semantic=np.full(total, semantic, np.uint8),
        instance=np.zeros(total, np.int32),
        detail=np.repeat(np.array(detail, bool), count),
        slot=np.repeat(np.array(slot, np.int8), count),
    )


def mirrored(mesh: Mesh) -> Mesh:
    """The mesh on the other side of y = 0, indicators renamed."""
    corners = mesh.corners[:, ::-1] * np.array([1.0, -1.0, 1.0])
    other = np.arange(256, dtype=np.uint8)
    left, right = Surface.INDICATOR_LEFT, Surface.INDICATOR_RIGHT
    other[[left, right]] = right, left
    return dataclasses.replace(mesh, corners=corners, surface=other[mesh.surface])


def both_sides(mesh: Mesh) -> Mesh:
    """The mesh with its mirror image."""
    return joined([mesh, mirrored(mesh)])


def quad(a: Point, b: Point, c: Point, d: Point) -> Array:
    """(4, 3) the corners in order, to be cut into ``quads`` or patched."""
    return np.array([a, b, c, d], float)


def faces(*corners: Array) -> Array:
    """Triangles of several quads."""
    return quads(np.stack(corners))


def patch(on: Array, s: tuple[float, float], t: tuple[float, float], lift: float = 0.012) -> Array:
    """(4, 3) part of the quad ``on`` between shares ``s`` of its first edge and ``t`` upwards.

    ``lift`` is m outward, so that a patch lies in front of what it is on.
    """
    normal = _perpendicular(on[2] - on[0], on[3] - on[1])

    shares = [((1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v)
              for u, v in ((s[0], t[0]), (s[1], t[0]), (s[1], t[1]), (s[0], t[1]))]  # fmt: skip
    return np.array(shares) @ on + lift * normal


def fan(ring: Array) -> Array:
    """(n - 2, 3, 3) triangles of a convex polygon."""
    rows = np.arange(1, len(ring) - 1)
    return np.asarray(ring, float)[np.stack([np.zeros_like(rows), rows, rows + 1], axis=1)]


def loft(rings: Sequence[Array] | Array) -> Array:
    """Walls between rings (n, 3) of equal length, ccw seen from where the rings lead to."""
    rings = np.asarray(rings, float)
    return rings.reshape(-1, 3)[_walls(rings.shape[0], rings.shape[1])]


@cache
def _walls(rings: int, sides: int) -> Array:
    """(T, 3) rows of the corners of the walls between rings."""
    corner = np.arange(rings * sides).reshape(rings, sides)
    low, high = corner[:-1], corner[1:]
    after = np.arange(1, sides + 1) % sides
    walls = np.stack([low, low[:, after], high[:, after], high], axis=2).reshape(-1, 4)
    return walls[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


@cache
def unit_circle(sides: int) -> Array:
    """(sides, 2) a regular polygon with a flat side to the front (+x), ccw."""
    angle = 2.0 * np.pi * (np.arange(sides) + 0.5) / sides
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _perpendicular(a: Array, b: Array) -> Array:
    """(3,) unit vector along the cross product; np.cross takes ten times as long for one vector."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return np.array([x, y, z]) / (x * x + y * y + z * z) ** 0.5


def octagon(x: float, y: float, radius: float, sides: int = 8, z: float | None = None) -> Array:
    """(sides, 3) a wheel's outline on the left side, standing on an edge; ``z`` of its middle.

    The middle is as high as the edge below needs to lie on the ground, unless given.
    """
    angle = -np.pi / 2.0 + np.pi / sides - 2.0 * np.pi * np.arange(sides) / sides
    middle = radius * np.cos(np.pi / sides) if z is None else z
    return np.stack(
        [x + radius * np.cos(angle), np.full(sides, y), middle + radius * np.sin(angle)], axis=1
    )


def wheel(
    x: float, y: float, radius: float, width: float, ends: Sequence[int] = (1, -1), rim: int = 6
) -> list[Part]:
    """A left wheel: tyre, rim and the tread that is seen below the body.

    Args:
        y: m, of the outer face.
        ends: 1 tread towards the front, -1 towards the rear.
        rim: corners of the rim.
    """
    ring = octagon(x, y - 0.01, radius)
    height = radius * np.cos(np.pi / 8)
    parts: list[Part] = [
        (fan(ring), TYRE),
        (fan(octagon(x, y, 0.62 * radius, rim, z=height)), RIM),
    ]
    inner = ring - np.array([0.0, width, 0.0])
    # ring[0] and ring[1] are the front and rear end of the edge on the ground, 7 and 2 next above.
    if 1 in ends:
        parts.append((faces(quad(inner[0], ring[0], ring[7], inner[7])), TYRE))
    if -1 in ends:
        parts.append((faces(quad(ring[1], inner[1], inner[2], ring[2])), TYRE))
    return parts


def limb(
    a: Point,
    b: Point,
    radius_a: float,
    radius_b: float,
    sides: int = 4,
    cap: bool = False,
) -> Array:
    """A tapered tube from ``a`` to ``b``, open but for a ``cap`` at b; a cone where b has none."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    axis = b - a
    upright = abs(axis[1]) < 0.9 * np.linalg.norm(axis)
    u = _perpendicular(axis, np.array([0.0, 1.0, 0.0] if upright else [1.0, 0.0, 0.0]))
    v = _perpendicular(axis, u)
    ring = unit_circle(sides) @ np.stack([u, v])
    far = b + radius_b * ring
    tube = loft(np.stack([a + radius_a * ring, far]))
    if radius_b <= 0.0:
        return tube[::2]
    return np.concatenate([tube, fan(far)]) if cap else tube


def fitted(mesh: Mesh, length: float, width: float, height: float, core: float = 0.0) -> Mesh:
    """The mesh stretched to fill its box exactly, each half of x and y for itself.

    Parts within ``core`` m of the middle plane keep their x: what reaches further (hands and feet)
    is what gets moved, so that the trunk stays as it is while the limbs swing.
    """
    corners = mesh.corners.copy()
    for axis, size, keep in ((0, length, core), (1, width, 0.0)):
        values = corners[..., axis]
        for sign in (1.0, -1.0):
            beyond = sign * values - keep
            reach = beyond.max()
            stretched = keep + beyond * ((size / 2.0 - keep) / reach)
            stretched[beyond == reach] = size / 2.0
            values[...] = np.where(beyond > 0.0, sign * stretched, values)
    z = corners[..., 2]
    z -= z.min()
    z *= height / z.max()
    return dataclasses.replace(mesh, corners=corners)
