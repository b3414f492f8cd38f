"""Shapes of trucks and buses: cabs, boxes and their wheels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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
    SECOND_PAINT,
    SHADED_PAINT,
    STEEL,
    TAIL_LIGHT,
    UNDERSIDE,
    Material,
    Part,
    assembled,
    both_sides,
    faces,
    fan,
    fitted,
    mirrored,
    octagon,
    patch,
    quad,
    wheel,
)
from sim.scenery.mesh import Mesh, Surface, joined

Array = np.ndarray

CARGO = Material((0.42, 0.28, 0.15), Surface.WOOD)
MARKING = Material((0.75, 0.06, 0.03), Surface.SIGN_FACE, -1, True)  # retroreflecting, UN R48
DISPLAY = Material((0.9, 0.45, 0.04), Surface.PLASTIC, -1, True)
RADIUS = 0.49
"""m, of the wheels"""


@dataclass(frozen=True)
class Block:
    """The faces of an upright box as quads, ccw seen from outside."""

    left: Array
    """bottom edge from the front back"""
    front: Array
    """bottom edge from right to left"""
    rear: Array
    """bottom edge from left to right"""
    top: Array
    """from the front's upper edge back"""
    under: Array


def block(front: float, rear: float, half: float, low: float, high: float) -> Block:
    """A box between x ``rear`` and ``front``, y ``-half`` and ``half``."""
    a, b = (front, half, low), (rear, half, low)
    c, d = (rear, half, high), (front, half, high)
    e, f = (front, -half, low), (rear, -half, low)
    g, h = (rear, -half, high), (front, -half, high)
    return Block(
        quad(a, b, c, d), quad(e, a, d, h), quad(b, f, g, c), quad(h, d, c, g), quad(e, f, b, a)
    )


def _arch(x: float, y: float, radius: float) -> Array:
    """The dark part of a wheel arch above a left wheel."""
    return fan(octagon(x, y, 1.22 * radius, z=radius * np.cos(np.pi / 8))[3:7])


def _cab(
    front: float, length: float, half: float, high: float, axle: float
) -> tuple[list[Part], list[Part]]:
    """A cab over the engine: parts of the left side, and those across the middle."""
    rear, y, sill, waist = front - length, half, 0.62, 1.50
    brow = (front - 0.20, min(high - 0.12, 2.70))
    # the profile from the front's lower edge up and over the roof
    line = [(front, sill), (front, waist), brow, (brow[0] - 0.45, high), (rear, high), (rear, sill)]
    outline = np.array([(x, y, z) for x, z in line[::-1]])
    over = [quad((a, -y, b), (a, y, b), (c, y, d), (c, -y, d)) for (a, b), (c, d) in pairwise(line)]
    face, screen = over[0], over[1]
    bumper = block(front, front - 0.45, y, 0.30, sill)
    top = waist + 0.85 * (brow[1] - waist)
    window = quad(
        (front - 0.22, y + 0.012, waist), (front - 1.15, y + 0.012, waist),
        (front - 1.15, y + 0.012, top), (front - 0.42, y + 0.012, top),
    )  # fmt: skip
    mirror = quad(
        (front - 0.05, y - 0.01, 1.75), (front - 0.05, y + 0.11, 1.75),
        (front - 0.05, y + 0.11, 2.30), (front - 0.05, y - 0.01, 2.30),
    )  # fmt: skip
    left: list[Part] = [
        (fan(outline), PAINT),
        (faces(window), GLASS),
        (faces(bumper.left), BLACK),
        (faces(mirror), BLACK),
        (faces(patch(bumper.front, (0.76, 0.95), (0.30, 0.90))), HEADLIGHT),
        (faces(patch(face, (0.86, 0.99), (0.03, 0.22))), INDICATOR),
        (faces(patch(bumper.left, (0.05, 0.55), (0.30, 0.85))), INDICATOR),
        (_arch(axle, y + 0.006, RADIUS), BLACK),
    ]
    middle: list[Part] = [
        (faces(*over), PAINT),
        (faces(bumper.front), BLACK),
        (faces(patch(screen, (0.05, 0.95), (0.06, 0.90))), GLASS),
        (faces(patch(face, (0.20, 0.80), (0.25, 0.90))), GRILLE),
        (faces(patch(bumper.front, (0.39, 0.61), (0.25, 0.80))), PLATE),
    ]
    return left, middle


@dataclass(frozen=True)
class Truck:
    """A truck and what it carries, m; x from the front bumper back."""

    name: str
    length: float
    width: float
    height: float
    cab: tuple[float, float]
    """length, height"""
    load: float
    """x where the load begins"""
    floor: float
    """z below the load"""
    axles: tuple[float, ...]
    """x of those behind the front one"""
    guard: tuple[float, float]
    """x of the guard between the wheels"""
    flat: bool = False
    """a platform instead of a box"""


TRUCKS = (
    Truck("box truck", 8.0, 2.45, 3.2, (1.95, 2.75), 2.10, 1.02, (5.8,), (2.35, 5.0)),
    Truck("flatbed truck", 8.2, 2.45, 2.9, (1.95, 2.90), 2.10, 1.02, (6.0,), (2.35, 5.2), True),
    Truck(  # the tractor's driven axle and three under the trailer
        "trailer truck", 16.0, 2.55, 3.9, (2.25, 3.75), 2.75, 1.20, (5.0, 13.7, 12.39, 11.08),
        (6.6, 10.3),
    ),
)  # fmt: skip
FRONT_AXLE = 1.35
"""m behind the front bumper"""


def truck(t: Truck) -> Mesh:
    """The mesh of a truck."""
    front, half = t.length / 2.0, t.width / 2.0
    cab_half, axle = half - 0.12, front - FRONT_AXLE
    left, middle = _cab(front, t.cab[0], cab_half, t.cab[1], axle)
    body = _flatbed if t.flat else _box_body
    left_load, middle_load = body(front - t.load, -front, half, t.floor, t.height)
    chassis = block(front - 0.5, 0.25 - front, 0.45, 0.62, t.floor)
    bar = block(0.30 - front, 0.10 - front, half - 0.02, 0.52, 0.72)
    guard = block(front - t.guard[0], front - t.guard[1], half - 0.06, 0.45, 0.85)
    left += [
        *left_load,
        (faces(chassis.left), BLACK),
        (faces(guard.left), STEEL),
        (faces(patch(bar.rear, (0.03, 0.20), (0.10, 0.90))), TAIL_LIGHT),
        (faces(patch(bar.rear, (0.21, 0.31), (0.10, 0.90))), INDICATOR),
        *wheel(axle, cab_half + 0.02, RADIUS, 0.30, (1,)),
    ]
    for k, x in enumerate(t.axles):  # treads are seen of the first and the last
        left += wheel(front - x, half - 0.02, RADIUS, 0.55, (-1,) if k < 2 else (), 4)
    middle += [
        *middle_load,
        (faces(chassis.under, chassis.rear), UNDERSIDE),
        (faces(chassis.top, bar.rear), BLACK),
        (faces(patch(bar.rear, (0.40, 0.60), (0.10, 0.90))), PLATE),
    ]
    truck_class = SemanticClass.TRUCK
    mesh = joined([both_sides(assembled(left, truck_class)), assembled(middle, truck_class)])
    return fitted(mesh, t.length, t.width, t.height)


def _box_body(
    front: float, rear: float, half: float, low: float, high: float
) -> tuple[list[Part], list[Part]]:
    body = block(front, rear, half, low, high)
    left: list[Part] = [
        (faces(body.left), SECOND_PAINT),
        (faces(patch(body.left, (0.01, 0.99), (0.01, 0.04), 0.005)), MARKING),
        (faces(patch(body.rear, (0.01, 0.48), (0.01, 0.05))), MARKING),
        (faces(patch(body.rear, (0.455, 0.475), (0.05, 0.97))), STEEL),
    ]
    return left, [(faces(body.front, body.rear, body.top, body.under), SECOND_PAINT)]


def _flatbed(
    front: float, rear: float, half: float, low: float, high: float
) -> tuple[list[Part], list[Part]]:
    """A platform with boards around it and crates on it."""
    deck = block(front, rear, half, low, low + 0.55)
    board = block(front, front - 0.1, half, low + 0.55, 2.55)
    load = block(front - 0.35, front - 2.6, half - 0.2, low + 0.55, high - 0.45)
    more = block(front - 2.75, front - 4.3, half - 0.35, low + 0.55, low + 1.25)
    left: list[Part] = [
        (faces(deck.left), SECOND_PAINT),
        (faces(patch(deck.left, (0.01, 0.99), (0.03, 0.15), 0.005)), MARKING),
        (faces(board.left), SECOND_PAINT),
        (faces(load.left, more.left), CARGO),
    ]
    middle: list[Part] = [
        (faces(deck.front, deck.rear, deck.under), SECOND_PAINT),
        (faces(board.front, board.rear, board.top), SECOND_PAINT),
        (faces(deck.top), STEEL),
        (faces(load.rear, load.top, more.rear, more.front, more.top), CARGO),
    ]
    return left, middle


@dataclass(frozen=True)
class Bus:
    """A bus, m."""

    name: str
    length: float
    width: float
    height: float
    roof: float
    """z, without what stands on it"""
    lean: float
    """m the windscreen's upper edge lies behind its lower one"""
    waist: float
    """z of the windows' lower edge"""
    skirt: float
    """share of the side in the second colour"""
    panes: int
    """windows on the left"""
    city: bool
    """with doors on the right, a destination and an air conditioner"""


BUSES = (
    Bus("city bus", 10.5, 2.5, 3.0, 2.78, 0.10, 1.05, 0.14, 6, True),
    Bus("coach", 12.0, 2.5, 3.45, 3.45, 0.32, 1.30, 0.20, 5, False),
)
FLOOR = 0.32
"""m, clearance of a bus"""


def bus(b: Bus) -> Mesh:
    """The mesh of a bus."""
    front, half, high = b.length / 2.0, b.width / 2.0, b.roof
    y = half - 0.015
    # the profile from the front's lower edge up and over the roof and down the rear
    line = [
        (front, FLOOR), (front, b.waist), (front - b.lean, high - 0.12),
        (front - b.lean - 0.35, high), (0.25 - front, high), (0.06 - front, high - 0.25),
        (-front, b.waist), (-front, FLOOR),
    ]  # fmt: skip
    over = [quad((p, -y, q), (p, y, q), (r, y, s), (r, -y, s)) for (p, q), (r, s) in pairwise(line)]
    face, screen, back, tail = over[0], over[1], over[5][[2, 3, 0, 1]], over[6][[2, 3, 0, 1]]
    side = quad((front, y, FLOOR), (-front, y, FLOOR), (-front, y, high), (front, y, high))
    left: list[Part] = [
        (fan(np.array([(p, y, q) for p, q in line[::-1]])), PAINT),
        (faces(patch(side, (0.004, 0.996), (0.01, b.skirt), 0.004)), SECOND_PAINT),
        (faces(patch(face, (0.80, 0.96), (0.18, 0.42))), HEADLIGHT),
        (faces(patch(face, (0.86, 0.99), (0.50, 0.68))), INDICATOR),
        (faces(patch(side, (0.004, 0.022), (0.21, 0.27))), INDICATOR),
        (faces(patch(tail, (0.02, 0.20), (0.35, 0.75))), TAIL_LIGHT),
        (faces(patch(tail, (0.02, 0.12), (0.78, 1.0))), INDICATOR),
    ]
    for x, ends in ((front - 2.65, (1,)), (3.2 - front, (-1,))):
        left.append((_arch(x, half - 0.012, RADIUS), BLACK))
        left += wheel(x, half, RADIUS, 0.32, ends, 6)
    under = quad((front, -y, FLOOR), (-front, -y, FLOOR), (-front, y, FLOOR), (front, y, FLOOR))
    middle: list[Part] = [
        (faces(*over), PAINT),
        (faces(under), UNDERSIDE),
        (faces(patch(screen, (0.04, 0.96), (0.03, 0.80 if b.city else 0.92))), GLASS),
        (faces(patch(face, (0.36, 0.64), (0.08, 0.26))), PLATE),
        (faces(patch(back, (0.12, 0.88), (0.25, 0.92))), GLASS),
        (faces(patch(tail, (0.26, 0.74), (0.30, 0.85))), GRILLE),
        (faces(patch(tail, (0.36, 0.64), (0.05, 0.20))), PLATE),
    ]
    if b.city:
        plant = block(0.3, -1.9, 0.8, high, b.height)
        left.append((faces(plant.left), SHADED_PAINT))
        middle += [
            (faces(plant.front, plant.rear, plant.top), SHADED_PAINT),
            (faces(patch(screen, (0.10, 0.90), (0.83, 0.98))), BLACK),
            (faces(patch(screen, (0.25, 0.75), (0.86, 0.95), 0.02)), DISPLAY),
        ]
    windows, right = _windows(b, side)
    of = SemanticClass.BUS
    meshes = [both_sides(assembled(left, of)), assembled(windows, of), assembled(middle, of)]
    mesh = joined([*meshes, mirrored(assembled(right, of))])
    return fitted(mesh, b.length, b.width, b.height)


def _windows(b: Bus, side: Array) -> tuple[list[Part], list[Part]]:
    """The windows of the left side and, still to be mirrored, windows and doors of the right."""
    band = ((b.waist - FLOOR + 0.12) / (b.roof - FLOOR), 0.86)
    edges = np.linspace(0.035, 0.965, b.panes + 1).tolist()
    panes = [(p + 0.006, q - 0.006) for p, q in pairwise(edges)]
    left: list[Part] = [(faces(patch(side, pane, band)), GLASS) for pane in panes]
    if not b.city:
        return left, left
    leaves = ((0.037, 0.088), (0.092, 0.143), (0.433, 0.498), (0.502, 0.567))
    panes = [(0.165, 0.290), (0.300, 0.415), (0.585, 0.705), (0.715, 0.835), (0.845, 0.960)]
    right: list[Part] = [(faces(patch(side, leaf, (0.05, 0.86), 0.016)), GLASS) for leaf in leaves]
    return left, right + [(faces(patch(side, pane, band)), GLASS) for pane in panes]
