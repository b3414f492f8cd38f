"""Shapes of things that stand on the road: cones, barriers, boxes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from roadloop.semantics import SemanticClass
from sim.actors.shapes import BLACK, Material, Part, assembled, faces, fitted, patch, quad
from sim.scenery.mesh import Mesh, Surface, box, cylinder, quads

ORANGE = Material((0.75, 0.13, 0.015), Surface.PLASTIC)
WHITE = Material((0.78, 0.78, 0.76), Surface.SIGN_FACE)  # reflecting foil
RED = Material((0.55, 0.02, 0.015), Surface.SIGN_FACE)
CONCRETE = Material((0.36, 0.35, 0.33), Surface.CONCRETE)
CARDBOARD = Material((0.36, 0.23, 0.12), Surface.WOOD)
BOARDS = Material((0.30, 0.20, 0.11), Surface.WOOD)
TAPE = Material((0.55, 0.45, 0.30), Surface.PLASTIC)

PROPS = {
    "cone": (0.38, 0.38, 0.75),
    "plank": (0.42, 1.60, 1.00),
    "concrete barrier": (2.00, 0.60, 0.85),
    "carton": (0.60, 0.50, 0.45),
    "crate": (1.00, 1.00, 0.90),
}
"""length, width, height in m; a plank bars the way, a concrete barrier runs along it"""


def prop(name: str) -> Mesh:
    """The mesh of one of PROPS. It may be moved away: of the class DYNAMIC."""
    length, width, height = PROPS[name]
    parts = {
        "cone": _cone, "plank": _plank, "concrete barrier": _barrier, "carton": _carton,
        "crate": _crate,
    }[name](length, width, height)  # fmt: skip
    return fitted(assembled(parts, SemanticClass.DYNAMIC), length, width, height)


def _cone(length: float, width: float, height: float) -> list[Part]:
    foot = 0.04
    levels = np.array([0.0, 0.32, 0.52, 0.68, 0.86, 1.0]) * (height - foot) + foot
    wide, narrow = 0.36 * length, 0.045
    parts: list[Part] = [
        (box((-length / 2, -width / 2, 0.0), (length / 2, width / 2, foot)), BLACK)
    ]
    for k, (low, high) in enumerate(pairwise(levels)):
        at = wide + (narrow - wide) * (np.array([low, high]) - foot) / (height - foot)
        piece = cylinder((0.0, 0.0, low), at[0], high - low, 6, at[1] / at[0])
        top = piece if k == 4 else piece[:12]
        parts.append((top, WHITE if k % 2 else ORANGE))
    return parts


def _plank(length: float, width: float, height: float) -> list[Part]:
    """A red and white board on two feet, across the way."""
    thick, low, half = 0.03, 0.66 * height, width / 2.0
    parts: list[Part] = []
    stripes = 7
    edges = np.linspace(-half, half, stripes + 1)
    slant = 0.10
    for k in range(stripes):
        a, b = float(edges[k]), float(edges[k + 1])
        lean_a = 0.0 if k == 0 else slant / 2.0
        lean_b = 0.0 if k == stripes - 1 else slant / 2.0
        front = quad((thick, a - lean_a, low), (thick, b - lean_b, low),
                     (thick, b + lean_b, height), (thick, a + lean_a, height))  # fmt: skip
        back = front[[1, 0, 3, 2]] * np.array([-1.0, 1.0, 1.0])
        parts.append((faces(front, back), WHITE if k % 2 else RED))
    rim = box((-thick, -half, low), (thick, half, height)).reshape(6, 2, 3, 3)
    parts.append((rim[[0, 1, 3, 5]].reshape(-1, 3, 3), BLACK))
    for y in (0.72 * half, -0.72 * half):
        parts.append((box((-length / 2, y - 0.1, 0.0), (length / 2, y + 0.1, 0.08)), BLACK))
        parts.append((box((-0.02, y - 0.03, 0.08), (0.02, y + 0.03, low), False)[2:], BLACK))
    return parts


def _barrier(length: float, width: float, height: float) -> list[Part]:
    """A New Jersey profile: a wide foot, a flat slope, a steep one."""
    profile = np.array(
        [(0.5, 0.0), (0.5, 0.09), (0.25, 0.40), (0.18, 1.0)]
    ) * [width, height]  # fmt: skip
    half = length / 2.0
    left = [(y, z) for y, z in profile]
    line = left + [(-y, z) for y, z in reversed(left)]
    walls = [
        quad((half, a, b), (-half, a, b), (-half, c, d), (half, c, d))
        for (a, b), (c, d) in pairwise(line)
    ]
    ends = []
    for x in (half, -half):
        for (a, b), (c, d) in pairwise(left):
            piece = quad((x, -a, b), (x, a, b), (x, c, d), (x, -c, d))
            ends.append(piece if x > 0 else piece[::-1])
    stripe = [patch(w, (0.08, 0.3), (0.62, 0.9)) for w in (walls[2], walls[4][[2, 3, 0, 1]])]
    stripe += [patch(w, (0.7, 0.92), (0.62, 0.9)) for w in (walls[2], walls[4][[2, 3, 0, 1]])]
    return [(faces(*walls, *ends), CONCRETE), (faces(*stripe), RED)]


def _carton(length: float, width: float, height: float) -> list[Part]:
    x, y = length / 2.0, width / 2.0
    body = box((-x, -y, 0.0), (x, y, height - 0.005))
    tape = np.array([[(-x, -0.04, height), (x, -0.04, height), (x, 0.04, height),
                      (-x, 0.04, height)]])  # fmt: skip
    return [(body, CARDBOARD), (quads(tape), TAPE)]


def _crate(length: float, width: float, height: float) -> list[Part]:
    """Of wood, on skids."""
    x, y = length / 2.0, width / 2.0
    skid = 0.1
    parts: list[Part] = [(box((-x, -y, skid), (x, y, height)), BOARDS)]
    for side in (1.0, -1.0):
        low, high = sorted((side * y, side * (y - 0.12)))
        parts.append((box((-x, low, 0.0), (x, high, skid), False)[2:], TAPE))
    return parts
