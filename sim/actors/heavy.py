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


def _lamp_bar(rear: Array) -> tuple[list[Part], list[Part]]:
    """On the bar under a truck's tail: lamps of the left side; the plate in the middle."""
    left: list[Part] = [
        (faces(patch(rear, (0.03, 0.20), (0.10, 0.90))), TAIL_LIGHT),
        (faces(patch(rear, (0.21, 0.31), (0.10, 0.90))), INDICATOR),
    ]
    return left, [(faces(patch(rear, (0.40, 0.60), (0.10, 0.90))), PLATE)]


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


def truck(load: str) -> Mesh:
    """A truck with a "box", a "flatbed" or, articulated, a "trailer"."""
    length, width, height = TRUCKS[load]
    front, half = length / 2.0, width / 2.0
    cab_half, high = half - 0.12, {"box": 2.75, "flatbed": 2.90, "trailer": 3.75}[load]
    axle = front - 1.35
    left, middle = _cab(front, 2.25 if load == "trailer" else 1.95, cab_half, high, axle)
    start = front - (2.75 if load == "trailer" else 2.10)
    floor = 1.20 if load == "trailer" else 1.02
    chassis = block(front - 0.5, 0.25 - front, 0.45, 0.62, floor)
    middle += [(faces(chassis.under, chassis.rear), UNDERSIDE), (faces(chassis.top), BLACK)]
    left.append((faces(chassis.left), BLACK))
    bar = block(0.30 - front, 0.10 - front, half - 0.02, 0.52, 0.72)
    lamps, plate = _lamp_bar(bar.rear)
    left += lamps
    middle += [(faces(bar.rear), BLACK), *plate]
    rears = [2.2 - front]
    guard = (axle - 1.0, 3.0 - front)
    if load == "trailer":  # the tractor's driven axle and three under the trailer
        rears = [front - 5.0, *(2.3 - front + 1.31 * np.arange(3))]
        guard = (front - 6.6, 5.7 - front)
    left += wheel(axle, cab_half + 0.02, RADIUS, 0.30, (1,))
    for x in rears:
        left += wheel(float(x), half - 0.02, RADIUS, 0.55, (-1,) if x in rears[:2] else (), 4)
    left.append((faces(block(*guard, half - 0.06, 0.45, 0.85).left), STEEL))
    if load == "flatbed":
        left_load, middle_load = _flatbed(start, -front, half, floor, height)
    else:
        left_load, middle_load = _box_body(start, -front, half, floor, height)
    mesh = joined(
        [
            both_sides(assembled(left + left_load, SemanticClass.TRUCK)),
            assembled(middle + middle_load, SemanticClass.TRUCK),
        ]
    )
    return fitted(mesh, length, width, height)


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


TRUCKS = {"box": (8.0, 2.45, 3.2), "flatbed": (8.2, 2.45, 2.9), "trailer": (16.0, 2.55, 3.9)}
"""length, width, height in m"""
BUSES = {"city bus": (10.5, 2.5, 3.0), "coach": (12.0, 2.5, 3.45)}


def bus(name: str) -> Mesh:
    """A "city bus" with doors on its right or a "coach"."""
    length, width, height = BUSES[name]
    city = name == "city bus"
    front, half = length / 2.0, width / 2.0
    y, floor = half - 0.015, 0.32
    high = height - 0.22 if city else height
    lean = 0.10 if city else 0.32
    waist = 1.05 if city else 1.30
    # the profile from the front's lower edge up and over the roof and down the rear
    line = [
        (front, floor), (front, waist), (front - lean, high - 0.12), (front - lean - 0.35, high),
        (0.25 - front, high), (0.06 - front, high - 0.25), (-front, waist), (-front, floor),
    ]  # fmt: skip
    outline = np.array([(a, y, b) for a, b in line[::-1]])
    over = [quad((a, -y, b), (a, y, b), (c, y, d), (c, -y, d)) for (a, b), (c, d) in pairwise(line)]
    face, screen, back, tail = over[0], over[1], over[5][[2, 3, 0, 1]], over[6][[2, 3, 0, 1]]
    under = quad((front, -y, floor), (-front, -y, floor), (-front, y, floor), (front, y, floor))
    side = quad((front, y, floor), (-front, y, floor), (-front, y, high), (front, y, high))
    sill = (waist - floor + 0.12) / (high - floor)
    left: list[Part] = [
        (fan(outline), PAINT),
        (faces(patch(side, (0.004, 0.996), (0.01, 0.14 if city else 0.20), 0.004)), SECOND_PAINT),
        (faces(patch(face, (0.80, 0.96), (0.18, 0.42))), HEADLIGHT),
        (faces(patch(face, (0.86, 0.99), (0.50, 0.68))), INDICATOR),
        (faces(patch(side, (0.004, 0.022), (0.21, 0.27))), INDICATOR),
        (faces(patch(tail, (0.02, 0.12), (0.35, 0.75))), TAIL_LIGHT),
        (faces(patch(tail, (0.02, 0.12), (0.78, 1.0))), INDICATOR),
        (faces(patch(tail, (0.13, 0.20), (0.35, 0.75))), TAIL_LIGHT),
    ]
    for x, ends in ((front - 2.65, (1,)), (3.2 - front, (-1,))):
        left.append((_arch(x, half - 0.012, RADIUS), BLACK))
        left += wheel(x, half, RADIUS, 0.32, ends, 6)
    band = (sill, 0.86)
    panes = 6 if city else 5
    edges = np.linspace(0.035, 0.965, panes + 1)
    windows: list[Part] = [
        (faces(patch(side, (float(a) + 0.006, float(b) - 0.006), band)), GLASS)
        for a, b in pairwise(edges)
    ]
    right = windows
    if city:
        leaves = ((0.037, 0.088), (0.092, 0.143), (0.433, 0.498), (0.502, 0.567))
        panes_right = (
            (0.165, 0.290), (0.300, 0.415), (0.585, 0.705), (0.715, 0.835), (0.845, 0.960),
        )  # fmt: skip
        right = [(faces(patch(side, leaf, (0.05, 0.86), 0.016)), GLASS) for leaf in leaves]
        right += [(faces(patch(side, pane, band)), GLASS) for pane in panes_right]
    middle: list[Part] = [
        (faces(*over), PAINT),
        (faces(under), UNDERSIDE),
        (faces(patch(screen, (0.04, 0.96), (0.03, 0.80 if city else 0.92))), GLASS),
        (faces(patch(face, (0.36, 0.64), (0.08, 0.26))), PLATE),
        (faces(patch(back, (0.12, 0.88), (0.25, 0.92))), GLASS),
        (faces(patch(tail, (0.26, 0.74), (0.30, 0.85))), GRILLE),
        (faces(patch(tail, (0.36, 0.64), (0.05, 0.20))), PLATE),
    ]
    if city:
        middle.append((faces(patch(screen, (0.10, 0.90), (0.83, 0.98))), BLACK))
        middle.append((faces(patch(screen, (0.25, 0.75), (0.86, 0.95), 0.02)), DISPLAY))
        plant = block(0.3, -1.9, 0.8, high, height)
        left.append((faces(plant.left), SHADED_PAINT))
        middle.append((faces(plant.front, plant.rear, plant.top), SHADED_PAINT))
    bus_class = SemanticClass.BUS
    mesh = joined(
        [
            both_sides(assembled(left, bus_class)), assembled(windows, bus_class),
            mirrored(assembled(right, bus_class)), assembled(middle, bus_class),
        ]
    )  # fmt: skip
    return fitted(mesh, length, width, height)
