"""Models of street furniture; x points to the road, the origin is on the ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, box, cylinder, joined, mesh_of, quads

Array = np.ndarray

LAMP_HEIGHT = 8.0
"""m, of a street lamp's head; usual in streets of one or two lanes a direction"""
LAMP_REACH = 1.6
"""m from the pole to the head"""
PANEL = 3.0
"""m, length of one panel of a fence"""

_STEEL = (0.25, 0.26, 0.265)
_DARK = (0.05, 0.055, 0.06)
_WOOD = (0.22, 0.13, 0.07)
_GREEN = (0.03, 0.09, 0.05)
_GLASS = (0.20, 0.25, 0.26)
_WHITE = (0.75, 0.75, 0.73)
_SUNK = -0.35  # m, where things begin, as the land is not level


def _part(
    corners: Array,
    colour: Sequence[float] | Array,
    surface: Surface,
    semantic: SemanticClass = SemanticClass.STATIC,
    *,
    detail: bool = True,
) -> Mesh:
    return mesh_of(corners, colour, surface, semantic, detail=detail)


def _box(low: Sequence[float], high: Sequence[float]) -> Array:
    return box(low, high, bottom=False)


def street_lamp() -> Mesh:
    """A pole with an arm over the pavement's edge and a head that shines down."""
    pole = SemanticClass.POLE
    h, r = LAMP_HEIGHT, LAMP_REACH
    arm = _box((0.0, -0.035, h - 0.09), (r, 0.035, h - 0.02))
    head = _box((r - 0.15, -0.15, h - 0.1), (r + 0.6, 0.15, h + 0.04))
    z = h - 0.11
    lens = [(r - 0.1, -0.12, z), (r - 0.1, 0.12, z), (r + 0.55, 0.12, z), (r + 0.55, -0.12, z)]
    shaft = cylinder((0.0, 0.0, _SUNK), 0.1, h - _SUNK, 5, top=0.55)[:10]
    return joined(
        [
            _part(shaft, _STEEL, Surface.METAL, pole, detail=False),
            _part(np.concatenate([arm, head]), _STEEL, Surface.METAL, pole, detail=False),
            _part(quads(np.array([lens])), (1.0, 0.82, 0.55), Surface.STREET_LAMP, pole,
                  detail=False),
        ]
    )  # fmt: skip


def litter_bin() -> Mesh:
    """A round bin."""
    body = cylinder((0.0, 0.0, _SUNK), 0.21, 0.85 - _SUNK, 6)
    lid = cylinder((0.0, 0.0, 0.85), 0.23, 0.1, 6, top=0.6)
    parts = [_part(body, _GREEN, Surface.PLASTIC), _part(lid, _DARK, Surface.METAL)]
    return joined(parts)


def bench() -> Mesh:
    """A wooden bench, 0.42 m deep, its back away from the road."""
    seat = _box((-0.21, -0.8, 0.40), (0.21, 0.8, 0.46))
    back = _box((-0.23, -0.8, 0.55), (-0.19, 0.8, 0.88))
    legs = [_box((-0.2, y - 0.04, _SUNK), (0.18, y + 0.04, 0.40)) for y in (-0.6, 0.6)]
    return joined(
        [
            _part(np.concatenate([seat, back]), _WOOD, Surface.WOOD),
            _part(np.concatenate(legs), _DARK, Surface.METAL),
        ]
    )


def bollard() -> Mesh:
    """A steel post with a white band."""
    post = cylinder((0.0, 0.0, _SUNK), 0.06, 0.95 - _SUNK, 5)
    band = cylinder((0.0, 0.0, 0.72), 0.065, 0.12, 5)[:10]
    pole = SemanticClass.POLE
    parts = [(post, _DARK, Surface.METAL), (band, _WHITE, Surface.MARK)]
    return joined([_part(*part, pole) for part in parts])


def cabinet() -> Mesh:
    """A distribution cabinet of a telephone or power company."""
    body = _box((-0.18, -0.5, _SUNK), (0.18, 0.5, 1.15))
    return _part(body, (0.38, 0.39, 0.36), Surface.METAL)


def post_box() -> Mesh:
    """A box for letters on a post."""
    post = cylinder((0.0, 0.0, _SUNK), 0.05, 0.8 - _SUNK, 4)[:8]
    body = _box((-0.16, -0.24, 0.75), (0.16, 0.24, 1.4))
    yellow = (0.62, 0.42, 0.02)
    return joined([_part(post, _DARK, Surface.METAL), _part(body, yellow, Surface.METAL)])


def advertising_column() -> Mesh:
    """A round column with posters and a flat cap."""
    shaft = cylinder((0.0, 0.0, _SUNK), 0.6, 2.9 - _SUNK, 10)[:20]
    colours = np.array([(0.55, 0.12, 0.10), (0.70, 0.62, 0.20), (0.10, 0.25, 0.45),
                        (0.65, 0.65, 0.62), (0.15, 0.35, 0.18)], np.float32)  # fmt: skip
    cap = cylinder((0.0, 0.0, 2.9), 0.72, 0.35, 10, top=0.35)
    return joined(
        [
            _part(shaft, np.repeat(colours, 4, axis=0), Surface.PLASTIC, detail=False),
            _part(cap, _GREEN, Surface.METAL, detail=False),
        ]
    )


def bus_stop() -> Mesh:
    """A shelter 4.2 m by 1.4 m with a bench, and the post of the stop."""
    roof = _box((-0.8, -2.1, 2.35), (0.75, 2.1, 2.47))
    posts = [
        _box((x - 0.04, y - 0.04, _SUNK), (x + 0.04, y + 0.04, 2.35))[2:]
        for x in (-0.66, 0.56)
        for y in (-2.0, 2.0)
    ]
    pane = [(-0.66, -1.9, 0.25), (-0.66, 1.9, 0.25), (-0.66, 1.9, 2.2), (-0.66, -1.9, 2.2)]
    side = [(-0.6, -2.0, 0.25), (0.35, -2.0, 0.25), (0.35, -2.0, 2.2), (-0.6, -2.0, 2.2)]
    poster = [(-0.6, 2.0, 0.35), (0.4, 2.0, 0.35), (0.4, 2.0, 2.1), (-0.6, 2.0, 2.1)]
    seat = _box((-0.55, -1.4, 0.42), (-0.2, 1.4, 0.48))
    flag = cylinder((0.55, 2.9, _SUNK), 0.04, 2.7 - _SUNK, 4)[:8]
    plate = _box((0.53, 2.65, 2.2), (0.57, 3.15, 2.7))
    return joined(
        [
            _part(roof, _DARK, Surface.METAL, detail=False),
            _part(np.concatenate([*posts, flag]), _STEEL, Surface.METAL),
            _part(quads(np.array([pane, side])), _GLASS, Surface.GLASS),
            _part(quads(np.array([poster])), (0.5, 0.15, 0.12), Surface.PLASTIC),
            _part(seat, _WOOD, Surface.WOOD),
            _part(plate, (0.65, 0.5, 0.02), Surface.PLASTIC),
        ]
    )


def guard_post() -> Mesh:
    """A white delineator with a black band and a reflector, at the edge of country roads."""
    pole = SemanticClass.POLE
    body = _box((-0.05, -0.06, _SUNK), (0.05, 0.06, 1.0))
    band = _box((-0.055, -0.065, 0.7), (0.055, 0.065, 0.88))[2:]
    # reflectors look along the road, both ways
    glass = [
        [(-0.025, y, 0.72), (0.025, y, 0.72), (0.025, y, 0.86), (-0.025, y, 0.86)]
        for y in (-0.07, 0.07)
    ]
    return joined(
        [
            _part(body, _WHITE, Surface.PLASTIC, pole),
            _part(band, (0.02, 0.02, 0.02), Surface.PLASTIC, pole),
            _part(quads(np.array(glass)), (0.8, 0.75, 0.6), Surface.SIGN_FACE, pole),
        ]
    )


def _rail(left: float, right: float, low: float, high: float) -> Array:
    """A thin upright sheet in the plane of a fence."""
    ring = [(0.0, left, low), (0.0, right, low), (0.0, right, high), (0.0, left, high)]
    return quads(np.array([ring]))


def fence(kind: str) -> Mesh:
    """One panel PANEL m long along y: "wood", "steel" or "wall"; 1 m high."""
    half = PANEL / 2.0
    if kind == "wall":
        stone = _box((-0.1, -half, _SUNK), (0.1, half, 1.0))
        return _part(stone, (0.40, 0.37, 0.32), Surface.CONCRETE, SemanticClass.WALL, detail=False)
    if kind == "wood":
        rails = [_rail(-half, half, z, z + 0.16) for z in (0.18, 0.48, 0.78)]
        posts = _box((-0.06, -half, _SUNK), (0.06, -half + 0.12, 1.05))
        colour, surface = _WOOD, Surface.WOOD
    else:
        rails = [_rail(-half, half, z, z + 0.05) for z in (0.12, 0.9)]
        rails += [_rail(y, y + 0.03, 0.12, 0.9) for y in np.arange(-1.2, half, 0.3).tolist()]
        posts = _box((-0.04, -half, _SUNK), (0.04, -half + 0.08, 1.0))
        colour, surface = _DARK, Surface.METAL
    return _part(np.concatenate([*rails, posts]), colour, surface, SemanticClass.FENCE)
