"""Shapes of people: a body of tubes around joints, standing and in the phases of a stride."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.semantics import SemanticClass
from sim.actors.shapes import (
    COAT,
    GLASS,
    HAIR,
    HELMET,
    SHOES,
    SKIN,
    TROUSERS,
    Material,
    Part,
    Point,
    assembled,
    faces,
    fan,
    fitted,
    limb,
    loft,
    quad,
    unit_circle,
)
from sim.scenery.mesh import Mesh, Surface

Array = np.ndarray

PHASES = 6
"""pose frames of one stride (two steps), or one turn of a cyclist's pedals"""
BAG = Material((0.05, 0.06, 0.08), Surface.CLOTH)
TRUNK = 0.14
"""m of body before and behind the spine that keep their shape when a pose is fitted to its box"""


@dataclass(frozen=True)
class Person:
    """Build and clothes. Lengths in m; the rest of the body follows from the height."""

    name: str
    length: float
    width: float
    height: float
    coat: float = 0.0
    """length of a coat or skirt as a share of the thigh; 0: jacket and trousers"""
    long_hair: bool = False
    backpack: bool = False
    head: float = 1.0
    """size of the head relative to an adult's of this height"""


PEOPLE = (
    Person("man", 0.55, 0.51, 1.76),
    Person("woman", 0.54, 0.48, 1.68, long_hair=True),
    Person("coat", 0.55, 0.50, 1.70, coat=1.0, long_hair=True),
    Person("backpack", 0.55, 0.51, 1.75, backpack=True),
    Person("child", 0.50, 0.37, 1.20, head=1.30),
)


def turned(triangles: Array, lean: float, at: Point) -> Array:
    """Leant forward by ``lean`` rad about the origin, then moved to ``at``."""
    c, s = np.cos(lean), np.sin(lean)
    rotation = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return triangles @ rotation.T + np.asarray(at, float)


def ring(x: float, depth: float, half_width: float, z: float, sides: int = 6) -> Array:
    """(sides, 3) a level ellipse, ccw from above, with a flat side to the front."""
    circle = unit_circle(sides)
    return np.column_stack([x + depth * circle[:, 0], half_width * circle[:, 1], np.full(sides, z)])


def torso_ring(size: float, half_width: float) -> Array:
    """(6, 3) the hem of ``torso``."""
    return ring(0.0, 0.068 * size, 0.70 * half_width, -0.03 * size)


def torso(size: float, half_width: float, coat: Material = COAT) -> list[Part]:
    """From the hips (origin) to the neck, upright; ``size`` is the person's height."""
    rings = [
        torso_ring(size, half_width),
        ring(0.01 * size, 0.075 * size, half_width, 0.275 * size),
        ring(0.0, 0.034 * size, 0.036 * size, 0.345 * size),
    ]
    return [(loft(rings), coat)]


def head(size: float, hair: Material = HAIR, long_hair: bool = False) -> list[Part]:
    """A head whose chin is at the origin, ``size`` (m) high; a HELMET has a visor."""
    sides = 5
    levels = [
        ring(0.06 * size, 0.30 * size, 0.26 * size, -0.12 * size if long_hair else 0.0, sides),
        ring(0.01 * size, 0.46 * size, 0.37 * size, 0.50 * size, sides),
        ring(-0.02 * size, 0.33 * size, 0.27 * size, size, sides),
    ]
    below, above = loft(levels[:2]), loft(levels[1:])
    # Of five sides the last looks ahead, its neighbours to the front left and right.
    face = np.array([False, False, False, False, True]).repeat(2)
    cheeks = np.array([True, False, False, True, True]).repeat(2)
    if hair is HELMET:
        return [(below[~face], hair), (below[face], GLASS), (above, hair), (fan(levels[2]), hair)]
    behind = hair if long_hair else SKIN
    return [
        (below[cheeks], SKIN), (below[~cheeks], behind), (above[face], SKIN),
        (above[~face], hair), (fan(levels[2]), hair),
    ]  # fmt: skip


def shoe(ankle: Point, pitch: float, size: float) -> Array:
    """A wedge below an ankle; ``pitch`` is that of the sole, toes up positive."""
    heel, toe, half, up = -0.035 * size, 0.105 * size, 0.025 * size, 0.045 * size
    a, b = (heel, half, -0.02 * size), (toe, half, -0.02 * size)
    c, d = (heel, -half, -0.02 * size), (toe, -half, -0.02 * size)
    e, f = (heel, half, up), (heel, -half, up)
    triangles = np.concatenate(
        [
            np.array([[b, a, e], [c, d, f]], float),
            faces(quad(d, b, e, f), quad(a, c, f, e)),
        ]
    )
    return turned(triangles, -pitch, ankle)


def bent(a: Array, c: Array, first: float, second: float, towards: Point) -> Array:
    """(3,) the knee or elbow of two bones from ``a`` to ``c``, bent towards a direction.

    Bones too short for the distance are stretched.
    """
    span = c - a
    distance = np.linalg.norm(span)
    along = span / distance
    share = (first**2 - second**2 + distance**2) / (2.0 * distance)
    out = np.asarray(towards, float) - along * float(np.dot(towards, along))
    out /= np.linalg.norm(out)
    return a + along * share + out * np.sqrt(max(first**2 - share**2, 0.0))


def leg(hip: Array, knee: Array, ankle: Array, size: float, trousers: Material) -> list[Part]:
    """Thigh and shin."""
    return [
        (limb(hip, knee, 0.050 * size, 0.036 * size), trousers),
        (limb(knee, ankle, 0.037 * size, 0.026 * size, 3), trousers),
    ]


def arm(
    shoulder: Array, elbow: Array, wrist: Array, size: float, coat: Material, hand: bool = True
) -> list[Part]:
    """Upper arm, forearm and hand."""
    parts: list[Part] = [
        (limb(shoulder, elbow, 0.032 * size, 0.026 * size, 3), coat),
        (limb(elbow, wrist, 0.027 * size, 0.019 * size, 3), coat),
    ]
    if hand:
        tip = wrist + (wrist - elbow) / np.linalg.norm(wrist - elbow) * 0.055 * size
        parts.append((limb(wrist, tip, 0.024 * size, 0.0, 3), SKIN))
    return parts


def _swing(at: Array, length: float, angle: float) -> Array:
    """Where a bone ends that hangs from ``at``, ``angle`` rad forward of down."""
    return at + length * np.array([np.sin(angle), 0.0, -np.cos(angle)])


def pedestrian(p: Person, phase: float | None = None) -> Mesh:
    """A person standing, or at ``phase`` (share of a stride in [0, 1)) of walking.

    The swing of hip and knee is a sketch of D. A. Winter, Biomechanics and Motor Control of Human
    Movement: the hip swings like a sine, the knee bends while the leg comes forward.
    """
    size, half = p.height, p.width / 2.0
    arm_y = half - 0.045
    hip_z = 0.52 * size
    chin = 0.135 * size * p.head
    parts = [(turned(t, 0.02, (0.0, 0.0, hip_z)), m) for t, m in torso(size, arm_y - 0.02)]
    neck = size - chin
    parts += [(turned(t, 0.0, (0.01, 0.0, neck)), m) for t, m in head(chin, HAIR, p.long_hair)]
    coated = p.coat > 0.0
    if coated:
        hem = hip_z - 0.02 * size - p.coat * 0.24 * size
        skirt = [ring(0.0, 0.105 * size, 0.105 * size, hem),
                 ring(0.0, 0.066 * size, 0.70 * (arm_y - 0.02), hip_z - 0.03 * size)]  # fmt: skip
        parts.append((loft(skirt), COAT))
    for k, side in enumerate((1.0, -1.0)):
        turn = None if phase is None else 2.0 * np.pi * phase + np.pi * k
        if turn is None:
            hip, flex, swing, elbow_flex = 0.17 * side, 0.03, -0.10 * side, 0.75
        else:
            hip, swing = 0.03 + 0.36 * np.sin(turn), -0.34 * np.sin(turn)
            flex = 0.10 + 0.75 * max(np.cos(turn), 0.0)
            elbow_flex = 0.55 + 0.25 * np.sin(turn + np.pi)
        joint = np.array([0.0, 0.052 * size * side, hip_z])
        knee = _swing(joint, 0.245 * size, hip)
        ankle = _swing(knee, 0.232 * size, hip - flex)
        if coated:
            parts.append((limb(knee, ankle, 0.034 * size, 0.024 * size, 3), TROUSERS))
        else:
            parts += leg(joint, knee, ankle, size, TROUSERS)
        parts.append((shoe(ankle, 0.8 * (hip - flex), size), SHOES))
        shoulder = np.array([0.0, arm_y * side, hip_z + 0.285 * size])
        if p.backpack:
            swing, elbow_flex = -0.10, 2.2  # hands at the straps
        elbow = _swing(shoulder, 0.17 * size, swing)
        wrist = _swing(elbow, 0.135 * size, swing + elbow_flex)
        parts += arm(shoulder, elbow, wrist, size, COAT, not p.backpack)
    if p.backpack:
        parts.append((_backpack(size, hip_z), BAG))
    mesh = assembled(parts, SemanticClass.PEDESTRIAN)
    return fitted(mesh, p.length, p.width, p.height, core=TRUNK * size / 1.75)


def _backpack(size: float, hip_z: float) -> Array:
    front, rear, half = -0.06 * size, -0.16 * size, 0.085 * size
    low, high = hip_z + 0.05 * size, hip_z + 0.29 * size
    a, b, c, d = (front, half, low), (rear, half, low), (rear, half, high), (front, half, high)
    e, f, g, h = ((x, -y, z) for x, y, z in (a, b, c, d))
    return faces(quad(a, b, c, d), quad(f, e, h, g), quad(b, f, g, c), quad(h, d, c, g))


def strides(p: Person) -> list[Mesh]:
    """Standing, then PHASES frames of a stride."""
    return [pedestrian(p), *(pedestrian(p, k / PHASES) for k in range(PHASES))]
