"""Shapes of cars, vans, trucks and buses, built from side profiles.

Every vehicle is designed on its left side in real metres and mirrored. Lamps, windows and plates
are patches a centimetre in front of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.semantics import SemanticClass
from sim.actors.shapes import (
    BLACK,
    GLASS,
    GRILLE,
    HEADLIGHT,
    INDICATOR,
    PAINT,
    PLATE,
    SHADED_PAINT,
    TAIL_LIGHT,
    UNDERSIDE,
    Part,
    assembled,
    both_sides,
    faces,
    fan,
    fitted,
    octagon,
    patch,
    quad,
    wheel,
)
from sim.scenery.mesh import Mesh, joined

Array = np.ndarray
Pair = tuple[float, float]


@dataclass(frozen=True)
class Profile:
    """A car or van seen from its left side, m; x from the front bumper back, z from the ground."""

    name: str
    length: float
    width: float
    height: float
    nose: float
    """z of the bonnet's front edge"""
    cowl: Pair
    """x, z where bonnet and windscreen meet"""
    roof: tuple[float, float, float]
    """x where the roof begins, is highest and ends"""
    deck: Pair
    """x, z of the rear window's lower edge"""
    tail: float
    """z of the upper rear edge"""
    axles: Pair
    """x of the wheels"""
    wheel: float = 0.33
    """radius"""
    clearance: float = 0.21
    roof_width: float = 0.72
    """share of the width"""
    roof_drop: float = 0.05
    """m the roof's ends lie below its top"""
    windows: tuple[Pair, ...] = ((0.10, 0.47), (0.51, 0.88))
    """from .. to as shares of the cabin's side"""
    rear_window: bool = True


CARS = (
    Profile(
        "sedan", 4.75, 1.82, 1.45, 0.72, (1.38, 0.96), (2.12, 2.70, 3.40), (4.08, 1.03), 0.99,
        (0.90, 3.72), windows=((0.14, 0.50), (0.53, 0.84)),
    ),
    Profile(
        "hatchback", 4.20, 1.79, 1.49, 0.75, (1.16, 0.98), (1.82, 2.45, 3.62), (4.06, 1.04), 1.00,
        (0.82, 3.42), windows=((0.12, 0.50), (0.53, 0.86)),
    ),
    Profile(
        "estate", 4.75, 1.83, 1.48, 0.73, (1.35, 0.97), (2.05, 2.75, 4.30), (4.62, 1.02), 0.98,
        (0.90, 3.74), windows=((0.13, 0.42), (0.44, 0.68), (0.70, 0.91)),
    ),
    Profile(
        "suv", 4.58, 1.86, 1.65, 0.93, (1.22, 1.12), (1.85, 2.50, 4.05), (4.45, 1.17), 1.12,
        (0.88, 3.66), wheel=0.38, clearance=0.28, windows=((0.12, 0.48), (0.51, 0.86)),
    ),
    Profile(
        "sports", 4.45, 1.87, 1.28, 0.62, (1.55, 0.85), (2.35, 2.72, 3.05), (4.05, 0.93), 0.90,
        (0.90, 3.50), wheel=0.34, clearance=0.16, windows=((0.16, 0.62),),
    ),
)  # fmt: skip
VANS = (
    Profile(
        "panel van", 5.60, 2.02, 2.30, 1.02, (0.95, 1.28), (1.62, 2.60, 5.42), (5.50, 1.32), 1.30,
        (0.98, 4.32), wheel=0.35, clearance=0.26, roof_width=0.84, windows=((0.08, 0.27),),
        rear_window=False,
    ),
    Profile(
        "minibus", 5.10, 1.94, 1.97, 0.95, (0.85, 1.16), (1.55, 2.50, 4.82), (5.00, 1.18), 1.16,
        (0.92, 3.98), wheel=0.35, clearance=0.24, roof_width=0.80,
        windows=((0.08, 0.32), (0.34, 0.63), (0.65, 0.93)),
    ),
)  # fmt: skip


def car(p: Profile) -> Mesh:
    """The mesh of a car or van."""
    front = p.length / 2.0
    half = p.width / 2.0
    body = half - 0.012  # the wheels' faces are the widest part
    middle = 0.68 * p.nose
    waist = 0.93 * half
    nose = 0.80 * half
    corner = (0.30, 0.22)  # x of the corners behind the front and rear face
    # stations of the shoulder line: x, y, z from the front back
    rise = (p.cowl[1] - p.nose) * 0.45
    line = [
        (front, nose * 0.97, p.nose),
        (front - corner[0], waist * 0.99, p.nose + rise),
        (front - p.cowl[0], waist, p.cowl[1]),
        (front - p.deck[0], waist, p.deck[1]),
        (corner[1] - front, waist, p.tail),
        (-front, nose, p.tail - 0.02),
    ]
    if p.deck[0] > p.length - corner[1] - 0.02:  # no boot: the tail gate ends the cabin
        line[4:5] = []
        corner = (corner[0], p.length - p.deck[0])
    rear_corner = corner[1] - front
    # the widest line and the sill below it: front face, its corner, the rear corner, rear face
    wide = [
        (front, nose, middle), (front - corner[0], body, middle),
        (rear_corner, body, middle), (-front, nose, middle),
    ]  # fmt: skip
    sill = [(x, y * 0.96, p.clearance) for x, y, _z in wide]
    wide_at = [wide[0], wide[1], *[(x, body, middle) for x, _y, _z in line[2:-2]], *wide[2:]]

    left: list[Part] = []
    for k in range(3):
        shade = PAINT if k == 1 else SHADED_PAINT
        left.append((faces(quad(sill[k], sill[k + 1], wide[k + 1], wide[k])), shade))
    upper = [quad(wide_at[k], wide_at[k + 1], line[k + 1], line[k]) for k in range(len(line) - 1)]
    left += [(faces(q), PAINT) for q in upper]
    left += _lamps(upper[0], upper[-1])
    for x, ends in ((p.axles[0], (1,)), (p.axles[1], (-1,))):
        left.append((_arch(front - x, half - 0.011, p.wheel), BLACK))
        left += wheel(front - x, half, p.wheel, 0.22, ends)
    left += _cabin_side(p, line)
    left.append((_mirror(front - p.cowl[0] - 0.22, waist, half, p.cowl[1]), PAINT))
    mesh = joined([both_sides(assembled(left, SemanticClass.CAR)), _middle(p, line, wide, sill)])
    return fitted(mesh, p.length, p.width, p.height)


def _lamps(front_corner: Array, rear_corner: Array) -> list[Part]:
    """Lamps around the left corners: over the corner's own face and the end face beside it."""
    ahead, behind = _end_of(front_corner, 1.0), _end_of(rear_corner, -1.0)
    return [
        (faces(patch(front_corner, (0.0, 0.75), (0.42, 0.95))), HEADLIGHT),
        (faces(patch(ahead, (0.55, 1.0), (0.42, 0.95))), HEADLIGHT),
        (faces(patch(front_corner, (0.0, 0.75), (0.02, 0.36))), INDICATOR),
        (faces(patch(ahead, (0.68, 1.0), (0.02, 0.36))), INDICATOR),
        (faces(patch(rear_corner, (0.3, 1.0), (0.45, 0.95))), TAIL_LIGHT),
        (faces(patch(behind, (0.0, 0.5), (0.45, 0.95))), TAIL_LIGHT),
        (faces(patch(rear_corner, (0.3, 1.0), (0.08, 0.42))), INDICATOR),
        (faces(patch(behind, (0.0, 0.38), (0.08, 0.42))), INDICATOR),
    ]


def _end_of(corner: Array, direction: float) -> Array:
    """The left half of the face that ends a body, from the upper corner quad beside it."""
    centre = np.array([1.0, 0.0, 1.0])
    if direction > 0.0:
        return np.stack([corner[0] * centre, corner[0], corner[3], corner[3] * centre])
    return np.stack([corner[1], corner[1] * centre, corner[2] * centre, corner[2]])


def _arch(x: float, y: float, radius: float) -> Array:
    """The dark half disc of a wheel arch."""
    ring = octagon(x, y, 1.2 * radius, z=radius * np.cos(np.pi / 8))
    return fan(ring[3:7])


def _mirror(x: float, inner: float, outer: float, z: float) -> Array:
    """A wing mirror: a wedge at the foot of the front window."""
    foot, high = z + 0.02, z + 0.16
    a, b = (x, inner, foot), (x - 0.12, inner, foot)
    c, d = (x - 0.10, outer + 0.06, foot), (x - 0.10, outer + 0.06, high)
    e = (x - 0.12, inner, high)
    front = [(a, c, d), (a, d, e)]
    back = [(b, e, d), (b, d, c)]
    return np.array(front + back, float)


def _roof_line(p: Profile) -> list[tuple[float, float, float]]:
    """x, y, z of the roof's left edge, from the front back."""
    front, y = p.length / 2.0, p.roof_width * p.width / 2.0
    low = p.height - p.roof_drop
    return [
        (front - p.roof[0], y, low),
        (front - p.roof[1], y, p.height),
        (front - p.roof[2], y, low),
    ]


def _cabin_side(p: Profile, line: list[tuple[float, float, float]]) -> list[Part]:
    roof = _roof_line(p)
    side = quad(line[2], line[3], roof[2], roof[0])
    parts: list[Part] = [(fan(np.array([line[2], line[3], roof[2], roof[1], roof[0]])), PAINT)]
    for window in p.windows:
        parts.append((faces(patch(side, window, (0.08, 0.86))), GLASS))
    return parts


def _middle(
    p: Profile,
    line: list[tuple[float, float, float]],
    wide: list[tuple[float, float, float]],
    sill: list[tuple[float, float, float]],
) -> Mesh:
    """What lies across the middle: ends, bonnet, windscreens, roof, underside."""

    def across(a: tuple[float, float, float], b: tuple[float, float, float]) -> Array:
        """From the line through ``a`` and its mirror image up or back to that through ``b``."""
        (ax, ay, az), (bx, by, bz) = a, b
        return quad((ax, -ay, az), (ax, ay, az), (bx, by, bz), (bx, -by, bz))

    def rear(a: tuple[float, float, float], b: tuple[float, float, float]) -> Array:
        return across(a, b)[[1, 0, 3, 2]]

    roof = _roof_line(p)
    screen = across(line[2], roof[0])
    tail = rear(line[3], roof[2])
    bumper, back = across(sill[0], wide[0]), rear(sill[-1], wide[-1])
    gate = rear(wide[-1], line[-1])
    parts: list[Part] = [
        (faces(bumper, back), SHADED_PAINT),
        (faces(across(wide[0], line[0]), gate), PAINT),
        (faces(patch(across(wide[0], line[0]), (0.24, 0.76), (0.1, 0.8))), GRILLE),
        (faces(patch(bumper, (0.37, 0.63), (0.40, 0.75))), PLATE),
        (faces(patch(gate, (0.36, 0.64), (0.15, 0.55))), PLATE),
        (faces(*[across(line[k], line[k + 1]) for k in (0, 1)]), PAINT),
        (faces(*[across(line[k], line[k + 1]) for k in range(3, len(line) - 1)]), PAINT),
        (faces(screen, tail, across(roof[0], roof[1]), across(roof[1], roof[2])), PAINT),
        (faces(patch(screen, (0.05, 0.95), (0.06, 0.93), 0.015)), GLASS),
        (faces(rear(sill[1], sill[2])), UNDERSIDE),
    ]
    if p.rear_window:
        parts.append((faces(patch(tail, (0.07, 0.93), (0.14, 0.88), 0.015)), GLASS))
    return assembled(parts, SemanticClass.CAR)
