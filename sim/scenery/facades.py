"""What one building looks like: walls, windows, doors, roof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, box, joined, prism, quads

Array = np.ndarray

FLOOR = 3.0
"""m from floor to floor"""
MOST_WINDOWS = 35
"""of a facade; more floors or width gives bands, one for each floor"""
PROUD = 0.04
"""m that windows and doors stand before the wall"""

PLASTER = (
    (0.62, 0.56, 0.44), (0.66, 0.63, 0.57), (0.55, 0.42, 0.27), (0.60, 0.47, 0.40),
    (0.45, 0.50, 0.50), (0.58, 0.50, 0.30), (0.70, 0.69, 0.66), (0.42, 0.47, 0.38),
)  # fmt: skip
BRICK = ((0.30, 0.12, 0.08), (0.36, 0.19, 0.12), (0.24, 0.13, 0.10), (0.40, 0.27, 0.18))
CONCRETE = ((0.36, 0.35, 0.33), (0.47, 0.46, 0.44), (0.28, 0.29, 0.30), (0.52, 0.49, 0.44))
TILES = ((0.30, 0.10, 0.06), (0.22, 0.09, 0.06), (0.12, 0.11, 0.11), (0.17, 0.12, 0.09))
GRAVEL = (0.24, 0.23, 0.22)
DOORS = ((0.13, 0.07, 0.03), (0.04, 0.10, 0.06), (0.03, 0.06, 0.13), (0.25, 0.03, 0.03))
AWNINGS = ((0.45, 0.05, 0.04), (0.05, 0.18, 0.09), (0.05, 0.09, 0.28), (0.55, 0.35, 0.05))
PAVING_RGB = (0.27, 0.26, 0.24)
"""linear reflectances, by eye from what such materials have (brick 0.1-0.3, paint 0.6)"""

_BUILDING = SemanticClass.BUILDING


@dataclass(frozen=True)
class House:
    """A building's manner, drawn before its size is known."""

    floors: int
    wall: tuple[float, float, float]
    base: tuple[float, float, float]
    """of the ground floor"""
    roof: str
    """"flat", "gable" or "hip" """
    roof_colour: tuple[float, float, float]
    pitch: float
    """rise over run of the roof"""
    window: tuple[float, float]
    """m, width and height"""
    spacing: float
    """m from window to window"""
    bands: bool
    """windows run round without piers"""
    shop: bool
    door: tuple[float, float, float]
    awning: tuple[float, float, float] | None
    trim: tuple[float, float, float] | None
    """of a cornice"""
    chimney: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, built: float, centre: float, behind: bool) -> House:
        """A house for a place so far ``built`` up and in a ``centre`` (0 to 1 each)."""
        pick = rng.uniform(size=8)
        office = pick[0] < 0.75 * centre
        most = 2.0 + 1.5 * built + 4.5 * centre
        floors = int(np.clip(np.round(rng.uniform(0.55, 1.0) * most), 1 if built < 0.3 else 2, 8))
        if behind:
            floors = min(8, floors + int(rng.integers(0, 3)))
        palette = CONCRETE if office else (BRICK if pick[1] < 0.35 else PLASTER)
        wall = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.85, 1.1)
        pitched = not office and floors <= 4 and pick[2] < 0.85 - 0.5 * centre
        shop = not behind and built > 0.6 and pick[3] < 0.25 + 0.55 * centre
        base = np.array(CONCRETE[int(rng.integers(4))]) * 0.8 if shop else wall
        tiles = TILES[int(rng.integers(len(TILES)))]
        return cls(
            floors=floors,
            wall=tuple(wall.tolist()),
            base=tuple(base.tolist()),
            roof=("gable" if pick[4] < 0.7 else "hip") if pitched else "flat",
            roof_colour=tiles if pitched else GRAVEL,
            pitch=float(rng.uniform(0.45, 0.85)),
            window=(float(rng.uniform(1.0, 1.6)), float(rng.uniform(1.25, 1.7))),
            spacing=float(rng.uniform(2.4, 3.4)),
            bands=bool(office and pick[5] < 0.6) or (behind and not pitched),
            shop=bool(shop),
            door=DOORS[int(rng.integers(len(DOORS)))],
            awning=AWNINGS[int(rng.integers(len(AWNINGS)))] if shop and pick[6] < 0.6 else None,
            trim=tuple((0.75 * wall + 0.2).tolist()) if not office and pick[7] < 0.5 else None,
            chimney=bool(pitched and pick[7] > 0.3),
        )


@dataclass(frozen=True)
class _Wall:
    """One side of a building: (u, z) on it are m from its left end seen from outside, and up."""

    start: Array
    along: Array
    out: Array
    width: float
    level: float


_Look = tuple[int, Array, int, int, bool]
"""triangles, their colours (one, or one for each so many), surface, semantic class, detail"""


class Pile:
    """Surfaces of many buildings, put together at the end in one go."""

    def __init__(self) -> None:
        self._frames: list[Array] = []
        self._sheets: list[Array] = []
        self._looks: list[_Look] = []
        self._corners: list[Array] = []
        self._plain: list[_Look] = []

    def sheets(
        self,
        wall: _Wall,
        where: Array,
        colour: Sequence[float] | Array,
        surface: Surface,
        *,
        proud: float = 0.0,
        detail: bool = True,
    ) -> None:
        """Upright rectangles before a wall, ``where`` (n, 4): left, low, width and height in m.

        ``colour`` is one RGB or one per rectangle.
        """
        start = wall.start + wall.out * proud
        self._frames.append(np.array([*start, *wall.along, wall.level]))
        self._sheets.append(where)
        colours = np.asarray(colour, np.float32).reshape(-1, 3)
        self._looks.append((2 * len(where), colours, surface, _BUILDING, detail))

    def triangles(
        self,
        corners: Array,
        colour: Sequence[float],
        surface: Surface,
        *,
        semantic: int = _BUILDING,
        detail: bool = False,
    ) -> None:
        """Any triangles (n, 3, 3)."""
        self._corners.append(corners)
        colours = np.asarray(colour, np.float32).reshape(1, 3)
        self._plain.append((len(corners), colours, surface, semantic, detail))

    def mesh(self) -> Mesh:
        """All of it."""
        looks = self._looks + self._plain
        if not looks:
            return joined([])
        corners = [*self._corners]
        if self._sheets:
            frame = np.repeat(np.array(self._frames), [len(s) for s in self._sheets], axis=0)
            left, low, wide, high = np.concatenate(self._sheets).T
            u = np.stack([left, left + wide, left + wide, left], axis=1)
            z = frame[:, 4:] + np.stack([low, low, low + high, low + high], axis=1)
            xy = frame[:, None, :2] + u[..., None] * frame[:, None, 2:4]
            corners.insert(0, quads(np.concatenate([xy, z[..., None]], axis=-1)))
        count, colour, surface, semantic, detail = zip(*looks, strict=True)
        n, shades = sum(count), [len(rows) for rows in colour]
        return Mesh(
            corners=np.concatenate(corners),
            colour=np.repeat(
                np.concatenate(colour),
                np.repeat(np.array(count) // np.array(shades), shades),
                axis=0,
            ),
            surface=np.repeat(np.array(surface, np.uint8), count),
            semantic=np.repeat(np.array(semantic, np.uint8), count),
            instance=np.zeros(n, np.int32),
            detail=np.repeat(np.array(detail, bool), count),
            slot=np.full(n, -1, np.int8),
        )


def add_house(
    pile: Pile,
    house: House,
    corners: Array,
    bottom: float,
    level: float,
    seen: Array,
    frontage: Array | None,
    rng: np.random.Generator,
) -> None:
    """A building on ``corners`` (4, 2), the first two at the street, counter-clockwise.

    Args:
        bottom: m, where the walls begin; below all ground.
        level: m, of its ground floor.
        seen: (4,) bool, walls without a neighbour; the others get no windows.
        frontage: (2, 2) where the forecourt before the front ends, or None for none.
    """
    storeys = FLOOR * house.floors + (0.8 if house.shop else 0.3)
    top = storeys + (0.5 if house.roof == "flat" else 0.0)
    foot = 3.6 if house.shop else 0.5
    spans = np.roll(corners, -1, axis=0) - corners
    widths = np.hypot(*spans.T)
    alongs = spans / widths[:, None]
    for side in range(4):
        along, width = alongs[side], float(widths[side])
        out = np.array([along[1], -along[0]])
        wall = _Wall(corners[side], along, out, width, level)
        low = np.array([[0.0, bottom - level, width, foot - bottom + level]])
        pile.sheets(wall, low, house.base, Surface.WALL, detail=False)
        high = np.array([[0.0, foot, width, top - foot]])
        pile.sheets(wall, high, house.wall, Surface.WALL, detail=False)
        if seen[side]:
            _add_windows(pile, house, wall, side == 0, rng)
            if house.trim is not None:
                strip = np.array([[0.0, top - 0.35, width, 0.35]])
                pile.sheets(wall, strip, house.trim, Surface.WALL, proud=2 * PROUD)
    _add_roof(pile, house, corners, level + storeys)
    if frontage is not None:
        _add_forecourt(pile, corners, frontage, bottom, level)


def _add_roof(pile: Pile, house: House, corners: Array, top: float) -> None:
    if house.roof == "flat":
        sheet = quads(np.column_stack([corners, np.full(4, top)])[None])
        pile.triangles(sheet, house.roof_colour, Surface.ROOF)
        return
    eaves = 0.4
    along, deep = corners[1] - corners[0], corners[3] - corners[0]
    wide, depth = np.hypot(*along), np.hypot(*deep)
    along, deep = along / wide, deep / depth
    rise = house.pitch * depth / 2.0
    low = top - house.pitch * eaves
    inset = min(0.45 * wide, depth / 2.0) if house.roof == "hip" else -eaves
    ring = corners + eaves * np.stack([-along - deep, along - deep, along + deep, deep - along])
    eave = np.column_stack([ring, np.full(4, low)])
    middle = (corners[0] + corners[3]) / 2.0
    ridge = np.array(
        [[*(middle + inset * along), top + rise], [*(middle + (wide - inset) * along), top + rise]]
    )
    slopes = quads(
        np.stack([[eave[0], eave[1], ridge[1], ridge[0]], [eave[2], eave[3], ridge[0], ridge[1]]])
    )
    pile.triangles(slopes, house.roof_colour, Surface.ROOF)
    if house.roof == "hip":
        ends = np.stack([[eave[1], eave[2], ridge[1]], [eave[3], eave[0], ridge[0]]])
        pile.triangles(ends, house.roof_colour, Surface.ROOF)
        return
    wall = np.column_stack([corners, np.full(4, top)])
    peaks = np.array([[*middle, top + rise], [*(middle + wide * along), top + rise]])
    gables = np.stack([[wall[1], wall[2], peaks[1]], [wall[3], wall[0], peaks[0]]])
    pile.triangles(gables, house.wall, Surface.WALL)
    if house.chimney:
        at = middle + along * (0.25 * wide) + deep * (0.12 * depth)
        low, high = np.array([*(at - 0.35), top + 0.5 * rise]), np.array([*(at + 0.35), 0.0])
        high[2] = top + rise + 0.7
        pile.triangles(box(low, high, bottom=False), BRICK[0], Surface.WALL, detail=True)


def _add_windows(
    pile: Pile, house: House, wall: _Wall, front: bool, rng: np.random.Generator
) -> None:
    """Windows of one side; the front has a door as well, and perhaps a shop."""
    wide, high = house.window
    count = int((wall.width - 1.2 + house.spacing - wide) / house.spacing)
    shop = front and house.shop
    if shop:
        _add_shop(pile, house, wall, rng)
    low = 0.95 + (0.5 if house.shop else 0.0) + FLOOR * np.arange(int(shop), house.floors)
    if count < 1 or len(low) == 0:
        return
    if house.bands or count * len(low) > MOST_WINDOWS:
        n = len(low)
        where = np.column_stack(
            [np.full(n, 0.6), low, np.full(n, wall.width - 1.2), np.full(n, high)]
        )
    else:
        margin = (wall.width - (count - 1) * house.spacing - wide) / 2.0
        left = margin + house.spacing * np.arange(count)
        where = np.array([(u, z, wide, high) for z in low.tolist() for u in left.tolist()])
        if front and not shop:  # the door takes the place of the middle window
            place = where[count // 2, 0] + wide / 2.0
            where = np.delete(where, count // 2, axis=0)
            door = np.array([[place - 0.55, 0.0, 1.1, 2.2]])
            pile.sheets(wall, door, house.door, Surface.WOOD, proud=PROUD)
    glass = rng.uniform(0.035, 0.10, len(where))[:, None] * np.array([0.85, 0.95, 1.05])
    pile.sheets(wall, where, glass, Surface.WINDOW, proud=PROUD)


def _add_shop(pile: Pile, house: House, wall: _Wall, rng: np.random.Generator) -> None:
    """Shop windows, a door, a sign board, perhaps an awning."""
    bays = max(2, int(wall.width / 4.0))
    pitch = wall.width / bays
    low = np.where(np.arange(bays) == int(rng.integers(bays)), 0.05, 0.55)
    where = np.column_stack(
        [pitch * np.arange(bays) + 0.25, low, np.full(bays, pitch - 0.5), 2.75 - low]
    )
    glass = rng.uniform(0.04, 0.12, bays)[:, None] * np.array([0.9, 1.0, 1.0])
    pile.sheets(wall, where, glass, Surface.WINDOW, proud=PROUD)
    board = np.array([[0.3, 2.85, wall.width - 0.6, 0.55]])
    pile.sheets(wall, board, house.awning or house.door, Surface.PLASTIC, proud=2 * PROUD)
    if house.awning:
        a, b = (wall.start + u * wall.along for u in (0.4, wall.width - 0.4))
        z, out = wall.level + 2.85, 1.2 * wall.out
        ring = np.array([[*(a + out), z - 0.45], [*(b + out), z - 0.45], [*b, z], [*a, z]])
        pile.triangles(quads(ring[None]), house.awning, Surface.CLOTH, detail=True)


def _add_forecourt(
    pile: Pile, corners: Array, frontage: Array, bottom: float, level: float
) -> None:
    """Paving from the front to the street's edge."""
    ring = np.stack([frontage[0], frontage[1], corners[1], corners[0]])
    high = level + 0.06
    sheet = quads(np.column_stack([ring, np.full(4, high)])[None])
    sides = prism(ring, bottom, high)[[0, 1, 2, 3, 6, 7]]
    paving = np.concatenate([sides, sheet])
    pile.triangles(paving, PAVING_RGB, Surface.PAVEMENT, semantic=SemanticClass.GROUND)
