"""Shapes of bicycles and motorcycles with their riders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.semantics import SemanticClass
from sim.actors.people import PHASES, arm, bent, head, leg, shoe, torso, torso_ring, turned
from sim.actors.shapes import (
    BLACK,
    COAT,
    GLASS,
    HEADLIGHT,
    HELMET,
    INDICATOR,
    PAINT,
    PLATE,
    RIM,
    SHOES,
    STEEL,
    TAIL_LIGHT,
    TROUSERS,
    TYRE,
    Material,
    Part,
    assembled,
    both_sides,
    faces,
    fan,
    fitted,
    limb,
    loft,
    octagon,
    patch,
    quad,
)
from sim.scenery.mesh import Mesh, Surface, joined, quads

Array = np.ndarray

LEATHER = Material((1.0, 1.0, 1.0), Surface.CLOTH, 1)
DENIM = Material((0.03, 0.035, 0.06), Surface.CLOTH)
CYCLE_HELMET = Material((1.0, 1.0, 1.0), Surface.PLASTIC, 3)  # leaves the face free
FRAME = Material((0.10, 0.11, 0.12), Surface.METAL)
REFLECTOR = Material((0.8, 0.02, 0.015), Surface.SIGN_FACE, -1, True)


@dataclass(frozen=True)
class Bicycle:
    """A bicycle and how its rider sits on it, m; x from the middle of the wheels."""

    name: str
    length: float
    width: float
    height: float
    wheel: float
    axles: tuple[float, float]
    """x of the front and the rear one"""
    saddle: tuple[float, float]
    """x, z"""
    grips: tuple[float, float, float]
    """x, half the distance between them, z"""
    lean: float
    """rad of the rider's back"""


BICYCLES = (
    Bicycle(
        "city bicycle", 1.80, 0.62, 1.74, 0.34, (0.56, -0.56), (-0.30, 0.94), (0.30, 0.27, 1.08),
        0.22,
    ),
    Bicycle(
        "road bicycle", 1.76, 0.59, 1.63, 0.34, (0.52, -0.52), (-0.28, 0.96), (0.46, 0.22, 0.92),
        0.78,
    ),
)  # fmt: skip
RIDER = 1.72
"""m, height of the riders"""
CRANK = 0.17
"""m"""


def bicycle(b: Bicycle, turn: float = 0.25) -> Mesh:
    """A bicycle with its rider; ``turn`` is the share of a pedal turn the left pedal has made."""
    bracket = np.array([-0.06, 0.0, 0.28])
    saddle = np.array([b.saddle[0], 0.0, b.saddle[1]])
    head_tube = np.array([b.axles[0] - 0.16, 0.0, 0.88])
    hubs = [np.array([x, 0.0, b.wheel]) for x in b.axles]
    tubes = [
        (saddle, bracket), (head_tube, bracket), (head_tube, saddle * 0.85 + bracket * 0.15),
        (hubs[1], bracket), (hubs[1], saddle * 0.8 + bracket * 0.2), (head_tube, hubs[0]),
    ]  # fmt: skip
    back = b.axles[1] - b.wheel
    x, y, z = b.grips
    stem = head_tube + np.array([-0.02, 0.0, 0.14])
    machine: list[Part] = [(_bar(p, q, 0.022), FRAME) for p, q in tubes]
    for hub, direction in zip(hubs, (1.0, -1.0), strict=True):
        machine += _thin_wheel(float(hub[0]), b.wheel, direction)
    machine += [
        (limb(head_tube, stem, 0.02, 0.02, 3), FRAME),
        (_plank(_beside(saddle, 0.13, z=-0.03), _beside(saddle, -0.13), 0.03, 0.08), BLACK),
        (_rear_sheet(back, 0.03, 0.60, 0.68), REFLECTOR),
    ]
    hip = saddle + np.array([0.02, 0.0, 0.07])
    body = _trunk(hip, b.lean, CYCLE_HELMET, COAT)
    shoulders = _shoulders(hip, b.lean)
    for k, side in enumerate((1.0, -1.0)):
        angle = 2.0 * np.pi * turn + np.pi * k  # 0: the pedal is on top
        pedal = bracket + np.array([CRANK * np.sin(angle), 0.11 * side, CRANK * np.cos(angle)])
        grip = np.array([x, side * y, z])
        bar = _bar_across(stem, grip)
        machine.append((bar if side > 0.0 else bar[:, ::-1], FRAME))
        machine.append((_crank(bracket, pedal, side), STEEL))
        body += _rider_limbs(
            side, hip, _beside(pedal, -0.04, z=0.05), shoulders, _beside(grip, -0.03), COAT,
            TROUSERS,
        )  # fmt: skip
    mesh = joined([assembled(machine, SemanticClass.BICYCLE), assembled(body, SemanticClass.RIDER)])
    return fitted(mesh, b.length, b.width, b.height, core=0.6)


def pedalling(b: Bicycle) -> list[Mesh]:
    """At rest with level pedals, then PHASES frames of a pedal turn."""
    return [bicycle(b), *(bicycle(b, k / PHASES) for k in range(PHASES))]


def _trunk(hip: Array, lean: float, hair: Material, coat: Material) -> list[Part]:
    """Torso and head of a rider."""
    upright = torso(RIDER, 0.19, coat)
    upright.append((fan(torso_ring(RIDER, 0.19)[::-1]), TROUSERS if coat is COAT else DENIM))
    parts = [(turned(t, lean, hip), m) for t, m in upright]
    neck = turned(np.array([[0.01, 0.0, 0.325 * RIDER]]), lean, hip)[0]
    size = (0.155 if hair is HELMET else 0.14) * RIDER
    parts += [(turned(t, 0.35 * lean, neck), m) for t, m in head(size, hair)]
    return parts


def _shoulders(hip: Array, lean: float) -> Array:
    return turned(np.array([[0.0, 0.0, 0.275 * RIDER]]), lean, hip)[0]


def _rider_limbs(
    side: float, hip: Array, ankle: Array, shoulders: Array, grip: Array, coat: Material,
    trousers: Material,
) -> list[Part]:  # fmt: skip
    """Leg and arm of one side, knee forward and up, elbow down and out."""
    joint = hip + np.array([0.02, 0.085 * side, -0.02])
    foot = ankle + np.array([0.0, 0.0, 0.02])
    knee = bent(joint, foot, 0.245 * RIDER, 0.235 * RIDER, (1.0, 0.12 * side, 0.5))
    shoulder = shoulders + np.array([0.0, 0.19 * side, 0.0])
    elbow = bent(shoulder, grip, 0.17 * RIDER, 0.155 * RIDER, (-0.2, 0.5 * side, -1.0))
    parts = leg(joint, knee, foot, RIDER, trousers)
    parts.append((shoe(ankle, 0.0, RIDER), SHOES))
    return parts + arm(shoulder, elbow, grip, RIDER, coat, hand=True)


def _beside(point: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """(3,) a point so many m further."""
    return point + np.array([x, y, z])


def _crank(bracket: Array, pedal: Array, side: float) -> Array:
    return _bar(_beside(bracket, y=0.05 * side), _beside(pedal, y=-0.06 * side), 0.02)


def _bar(a: Array, b: Array, half: float) -> Array:
    """A flat bar between two points of a plane y = const, as wide as a tube."""
    along = (b - a) / np.linalg.norm(b - a)
    up = np.array([-along[2], 0.0, along[0]]) * half
    if along[0] > 0.0:  # seen from the left, x grows to the left
        a, b = b, a
        up = -up
    return faces(quad(a - up, b - up, b + up, a + up))


def _thin_wheel(x: float, radius: float, direction: float) -> list[Part]:
    """Tyre and rim as a flat ring, with the tread seen from the end where the wheel is."""
    outer = octagon(x, 0.0, radius)
    inner = (outer - outer.mean(0)) * 0.84 + outer.mean(0)
    flat = np.stack([outer, np.roll(outer, -1, 0), np.roll(inner, -1, 0), inner], axis=1)
    half = np.array([0.0, 0.025, 0.0])
    rows = (0, 7, 6, 5) if direction > 0.0 else (1, 2, 3, 4)
    edge = outer[list(rows)]
    sides = direction * half
    tread = np.stack([edge[:-1] - sides, edge[:-1] + sides, edge[1:] + sides, edge[1:] - sides], 1)
    return [(quads(flat), TYRE), (quads(tread), TYRE)]


def _front_sheet(x: float, half: float, low: float, high: float) -> Array:
    """A small upright sheet, seen from the front."""
    return faces(quad((x, -half, low), (x, half, low), (x, half, high), (x, -half, high)))


def _rear_sheet(x: float, half: float, low: float, high: float) -> Array:
    """A small upright sheet, seen from behind."""
    return faces(quad((x, half, low), (x, -half, low), (x, -half, high), (x, half, high)))


def _plank(front: Array, rear: Array, half_front: float, half_rear: float) -> Array:
    """A tapered sheet, seen from above."""
    a, b = _beside(front, y=half_front), _beside(rear, y=half_rear)
    return faces(quad(a, b, b * [1, -1, 1], a * [1, -1, 1]))


Section = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Motorcycle:
    """A motorcycle and how its rider sits on it, m; x from the middle of the box."""

    name: str
    length: float
    width: float
    height: float
    wheel: float
    body: tuple[Section, ...]
    """from the front back: x, z below, half the width there, z above, half the width there"""
    seat: int
    """how many sections at the rear the seat covers"""
    hip: tuple[float, float]
    """x, z"""
    lean: float
    grip: tuple[float, float, float]
    ankle: tuple[float, float, float]
    engine: bool
    """whether it shows on the flanks, behind the first section"""


MOTORCYCLES = (
    Motorcycle(
        "motorcycle", 2.15, 0.80, 1.55, 0.31,
        (
            (0.50, 0.76, 0.05, 0.98, 0.08), (0.24, 0.30, 0.13, 1.00, 0.15),
            (-0.18, 0.28, 0.14, 0.82, 0.11), (-0.60, 0.66, 0.08, 0.84, 0.13),
            (-0.96, 0.80, 0.05, 0.92, 0.07),
        ),
        2, (-0.34, 0.87), 0.30, (0.26, 0.34, 1.06), (-0.16, 0.17, 0.40), True,
    ),
    Motorcycle(
        "scooter", 1.95, 0.76, 1.62, 0.24,
        (
            (0.52, 0.42, 0.10, 1.00, 0.12), (0.38, 0.34, 0.19, 0.98, 0.17),
            (0.34, 0.28, 0.18, 0.40, 0.18), (-0.16, 0.26, 0.18, 0.40, 0.18),
            (-0.22, 0.28, 0.18, 0.80, 0.15), (-0.88, 0.58, 0.10, 0.84, 0.14),
        ),
        1, (-0.42, 0.88), 0.10, (0.26, 0.30, 1.04), (0.10, 0.14, 0.46), False,
    ),
)  # fmt: skip


def motorcycle(m: Motorcycle) -> Mesh:
    """A motorcycle with its rider."""
    front = m.length / 2.0 - m.wheel
    nose, _low, _half, high, _top = m.body[0]
    tail = m.body[-1][0] - 0.01
    grip, hip = np.array(m.grip), np.array([m.hip[0], 0.0, m.hip[1]])
    left = [
        *_half_wheel(front, m.wheel, 1),
        *_half_wheel(-front, m.wheel, -1),
        (limb((front, 0.09, m.wheel), (nose - 0.16, 0.07, 0.92), 0.03, 0.03, 3), STEEL),
        (_bar_across(np.array([nose - 0.14, 0.0, 1.0]), grip), BLACK),
        (_blinker(nose - 0.02, 0.13, high - 0.16, 1.0), INDICATOR),
        (_blinker(tail + 0.02, 0.12, 0.82, -1.0), INDICATOR),
    ]
    if m.engine:
        (x, low, half, top, wide), (x1, low1, half1, top1, wide1) = m.body[1:3]
        flank = quad((x, half, low), (x1, half1, low1), (x1, wide1, top1), (x, wide, top))
        left.append((faces(patch(flank, (0.04, 0.96), (0.03, 0.62))), STEEL))
    middle = [
        *_shell(m.body, m.seat),
        (_front_sheet(nose + 0.02, 0.09, high - 0.20, high - 0.02), HEADLIGHT),
        (_front_sheet(nose - 0.05, 0.11, high, high + 0.16), GLASS),
        (_rear_sheet(tail, 0.08, 0.80, 0.92), TAIL_LIGHT),
        (_rear_sheet(tail, 0.10, 0.58, 0.74), PLATE),
    ]
    rider = _trunk(hip, m.lean, HELMET, LEATHER)
    for side in (1.0, -1.0):
        over = np.array([1.0, side, 1.0])
        rider += _rider_limbs(
            side, hip, np.array(m.ankle) * over, _shoulders(hip, m.lean), grip * over, LEATHER,
            DENIM,
        )  # fmt: skip
    machine = SemanticClass.MOTORCYCLE
    meshes = [both_sides(assembled(left, machine)), assembled(middle, machine)]
    mesh = joined([*meshes, assembled(rider, SemanticClass.RIDER)])
    return fitted(mesh, m.length, m.width, m.height)


def _half_wheel(x: float, radius: float, direction: int) -> list[Part]:
    """The left half of a wheel in the middle, with the tread seen from the front or the rear."""
    outer = octagon(x, 0.065, radius)
    rim = octagon(x, 0.072, 0.6 * radius, 5, z=radius * np.cos(np.pi / 8))
    edge = outer[[0, 7, 6, 5]] if direction > 0 else outer[[1, 2, 3]]
    inner = edge * [1.0, 0.0, 1.0]
    right, left = (inner, edge) if direction > 0 else (edge, inner)
    tread = np.stack([right[:-1], left[:-1], left[1:], right[1:]], axis=1)
    return [(fan(outer), TYRE), (fan(rim), RIM), (quads(tread), TYRE)]


def _shell(body: tuple[Section, ...], seat: int) -> list[Part]:
    """Flanks, top with its seat, underside and ends of a motorcycle's body."""
    rings = [
        np.array([(x, half, low), (x, top, high), (x, -top, high), (x, -half, low)])
        for x, low, half, high, top in reversed(body)
    ]
    walls = loft(rings).reshape(len(rings) - 1, 4, 2, 3, 3)  # sections, sides
    upper = [walls[:, 0], walls[:, 2], walls[seat:, 1]]
    return [
        (np.concatenate([w.reshape(-1, 3, 3) for w in upper]), PAINT),
        (walls[:seat, 1].reshape(-1, 3, 3), BLACK),
        (walls[:, 3].reshape(-1, 3, 3), STEEL),
        (fan(rings[-1]), PAINT),
        (fan(rings[0][::-1]), BLACK),
    ]


def _bar_across(middle: Array, grip: Array) -> Array:
    """The left half of a handlebar, seen from the front."""
    up = np.array([0.0, 0.0, 0.025])
    return faces(quad(middle - up, grip - up, grip + up, middle + up))


def _blinker(x: float, y: float, z: float, direction: float) -> Array:
    """A lamp beside the body, towards the front or the rear."""
    a, b = (x, y, z), (x, y + 0.09, z)
    c, d = (x, y + 0.09, z + 0.08), (x, y, z + 0.08)
    return faces(quad(a, b, c, d) if direction > 0.0 else quad(b, a, d, c))
