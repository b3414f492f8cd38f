"""Trees in rows and in groups, bushes, hedges: a few low-poly plants, each put down many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.maps.road_map import RoadMap
from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, box, cylinder, joined, mesh_of
from sim.scenery.site import Site, spaced
from sim.scenery.stamp import stamped
from sim.scenery.terrain import Terrain

Array = np.ndarray

GROVE_AREA = 190.0
"""m^2 of land per place where a tree of the open land may stand ..."""
GROVE_TREES = 1400
"""... of which there are so many at most"""
LAND = 100.0
"""m beyond the roads where trees still stand one by one"""
WOODS = (105.0, 142.0)
"""m from the roads, where woods close the view"""
FAR = 40.0
"""m from the roads; trees beyond are simpler"""
ROW_SPACING = (9.0, 15.0)
"""m between the trees of a street"""
VARIANTS = 3
HEDGE_LENGTH = 4.0

_VEGETATION = SemanticClass.VEGETATION
_BARK = (0.085, 0.062, 0.045)
_LEAVES = {
    "broad": (0.060, 0.125, 0.030),
    "street": (0.075, 0.145, 0.035),
    "poplar": (0.050, 0.110, 0.030),
    "conifer": (0.025, 0.065, 0.028),
    "bush": (0.055, 0.100, 0.028),
    "far": (0.042, 0.092, 0.030),
    "wood": (0.032, 0.072, 0.028),
}
"""linear reflectance; green leaves have 0.05-0.15 in the visible, peak at 550 nm (USGS spectral
library)"""


@dataclass(frozen=True)
class Plant:
    """A plant with its stem at the origin."""

    mesh: Mesh
    radius: float
    """m, how far the crown reaches"""


def plant_meshes(
    road_map: RoadMap, terrain: Terrain, rng: np.random.Generator, beside: Mesh | None = None
) -> Mesh:
    """Trees, bushes and hedges on the land and at the outer edges of streets.

    Crowns stay off lanes vehicles use and off ``beside``. Draws do not depend on ``beside``: what
    is in its way is left out.
    """
    site = Site.of(road_map, terrain)
    occupied = site.occupied(beside)
    grown, rows, groves, bushes, hedges, woods = rng.spawn(6)
    species = {name: [_grown(name, grown) for _ in range(VARIANTS)] for name in _LEAVES}
    parts = [_hedges(site, site.occupied(beside, forecourts=True), hedges)]
    street, taken = _street_trees(site, occupied, rows, species)
    parts += street
    parts += _groves(site, occupied, groves, species, taken)
    parts += _bushes(site, occupied, bushes, species)
    parts += _woods(site, woods, species)
    return joined(parts)


def _blob(rng: np.random.Generator, colour: tuple[float, float, float]) -> tuple[Array, Array]:
    """A rough ball of radius 1 (an icosahedron), darker below: corners and colours."""
    g = (1.0 + 5.0**0.5) / 2.0
    p = np.array(
        [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g),
         (0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    )  # fmt: skip
    p = p / np.hypot(1.0, g) * rng.uniform(0.82, 1.12, (12, 1))
    face = np.array(
        [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
         (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
         (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]
    )  # fmt: skip
    corners = p[face]
    height = corners[..., 2].mean(axis=1)
    shade = 0.85 + 0.3 * height + rng.uniform(-0.08, 0.08, 20)
    return corners, np.asarray(colour) * shade[:, None]


def _crown(
    rng: np.random.Generator,
    colour: tuple[float, float, float],
    centre: tuple[float, float, float],
    size: tuple[float, float, float],
) -> Mesh:
    corners, shade = _blob(rng, colour)
    return mesh_of(corners * np.array(size) + np.array(centre), shade, Surface.FOLIAGE, _VEGETATION)


def _trunk(radius: float, height: float, sides: int) -> Mesh:
    stem = cylinder((0.0, 0.0, -0.4), radius, height + 0.4, sides, top=0.7)[: 2 * sides]
    return mesh_of(stem, _BARK, Surface.WOOD, _VEGETATION)


def _grown(name: str, rng: np.random.Generator) -> Plant:
    """One variant of a species, m as it stands full-grown."""
    leaves = _LEAVES[name]
    turn = rng.uniform(0.0, 2.0 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    if name == "broad":
        parts = [
            _trunk(0.2, 3.0, 5),
            _crown(rng, leaves, (0.35 * c, 0.35 * s, 4.9), (2.5, 2.5, 2.1)),
            _crown(rng, leaves, (-0.9 * c, -0.9 * s, 6.4), (1.7, 1.7, 1.5)),
        ]
    elif name == "street":
        parts = [
            _trunk(0.11, 2.6, 5),
            _crown(rng, leaves, (0.2 * c, 0.2 * s, 3.9), (1.4, 1.4, 1.5)),
            _crown(rng, leaves, (-0.25 * c, -0.25 * s, 5.2), (1.1, 1.1, 1.3)),
        ]
    elif name == "poplar":
        parts = [_trunk(0.16, 1.8, 4), _crown(rng, leaves, (0.0, 0.0, 6.6), (1.25, 1.25, 5.2))]
    elif name == "conifer":
        cones = [
            cylinder((0, 0, z), r, h, 7, top=0.0)
            for z, r, h in ((1.0, 2.0, 3.8), (3.1, 1.5, 3.4), (5.2, 1.0, 3.2))
        ]
        corners = np.concatenate(cones)
        shade = rng.uniform(0.8, 1.15, (len(corners), 1)) * np.asarray(leaves)
        crown = mesh_of(corners, shade, Surface.FOLIAGE, _VEGETATION)
        parts = [_trunk(0.16, 1.4, 4), crown]
    elif name == "bush":
        parts = [_crown(rng, leaves, (0.0, 0.0, 0.35), (0.85, 0.85, 0.75))]
    elif name == "wood":  # the canopy of a few trees
        parts = [_crown(rng, leaves, (0.0, 0.0, 3.0), (7.0, 7.0, 6.0))]
    else:
        parts = [_trunk(0.22, 2.2, 3), _crown(rng, leaves, (0.0, 0.0, 5.0), (2.7, 2.7, 3.2))]
    mesh = joined(parts)
    return Plant(mesh, float(np.hypot(*mesh.corners[..., :2].reshape(-1, 2).T).max()))


def _planted(
    plants: list[Plant], which: Array, at: Array, size: Array, rng: np.random.Generator
) -> list[Mesh]:
    """Plants ``which`` at (n, 3), each turned and tinted by chance."""
    n = len(at)
    heading = rng.uniform(0.0, 2.0 * np.pi, n)
    light = rng.uniform(0.75, 1.25, (n, 1))
    tint = light * (1.0 + np.outer(rng.uniform(-1.0, 1.0, n), (0.25, 0.0, 0.0)))
    parts = []
    for k, plant in enumerate(plants):
        here = which == k
        if here.any():
            parts.append(stamped(plant.mesh, at[here], heading[here], size[here], tint[here]))
    return parts


def _street_trees(
    site: Site, occupied: Terrain, rng: np.random.Generator, species: dict[str, list[Plant]]
) -> tuple[list[Mesh], Array]:
    """Rows along some of the streets, one species a row; and where they stand (n, 2)."""
    edges = site.edges
    n = len(edges.xyz)
    plants = species["street"] + species["broad"] + species["poplar"]
    chains = int(edges.chain.max()) + 1 if n else 0
    has, kind = rng.uniform(size=chains) < 0.65, rng.choice(3, chains, p=[0.65, 0.25, 0.1])
    spacing = rng.uniform(*ROW_SPACING, chains)
    size = rng.uniform(0.8, 1.1, n)
    variant = rng.integers(VARIANTS, size=n)
    which = kind[edges.chain] * VARIANTS + variant
    radius = np.array([p.radius for p in plants])[which] * size
    built = site.urban(edges.xyz[:, :2])[0]
    at = edges.xyz[:, :2] + edges.outward * 1.1
    good = has[edges.chain] & (built > 0.25) & ~edges.junction
    good &= (site.vehicle_gap(at) > radius + 0.6) & (site.clearance(at) > 0.7)
    good &= (site.crossing_gap(at) > 3.0) & (occupied.clearance(at) > 0.85 * radius)
    rows = np.flatnonzero(good)
    rows = rows[spaced(at[rows], spacing[edges.chain[rows]])]
    foot = np.column_stack([at[rows], site.terrain.height(at[rows])])
    return _planted(plants, which[rows], foot, size[rows], rng), at[rows]


def _groves(
    site: Site,
    occupied: Terrain,
    rng: np.random.Generator,
    species: dict[str, list[Plant]],
    taken: Array,
) -> list[Mesh]:
    """Groups of trees on the open land; the simple ones far from the roads."""
    reach = np.array([LAND, LAND])
    xy = site.edges.xyz[:, :2] if len(site.edges.xyz) else site.terrain.origin[None]
    low, high = xy.min(axis=0) - reach, xy.max(axis=0) + reach
    count = int(min(np.prod(high - low) / GROVE_AREA, 3.5 * GROVE_TREES))
    at = rng.uniform(low, high, (count, 2))
    size = rng.uniform(0.7, 1.25, count)
    kinds = ["broad", "conifer", "poplar"]
    # groups and their kinds follow two smooth random fields
    dense, kind = (_field(at, rng, wave) for wave in (70.0, 160.0))
    mixed = kind + rng.normal(0.0, 0.35, count)
    which = np.where(mixed < 0.35, 0, np.where(mixed < 1.2, 1, 2)) * VARIANTS
    which += rng.integers(VARIANTS, size=count)
    chance = rng.uniform(size=count)
    clear = site.clearance(at)
    far = clear > FAR
    which[far] = 3 * VARIANTS + which[far] % VARIANTS
    size[far] *= 1.15
    plants = [p for name in (*kinds, "far") for p in species[name]]
    radius = np.array([p.radius for p in plants])[which] * size
    good = (clear > radius + 1.0) & (clear < LAND)
    good &= chance < np.clip(0.30 + 0.35 * dense, 0.06, 1.0)
    good &= (occupied.clearance(at) > radius + 0.3) & (site.crossing_gap(at) > radius + 1.0)
    rows = np.flatnonzero(good)
    if len(taken):
        from scipy.spatial import KDTree

        rows = rows[KDTree(taken).query(at[rows])[0] > 4.0]
    rows = rows[spaced(at[rows], np.where(far[rows], 6.5, 4.5))][:GROVE_TREES]
    foot = np.column_stack([at[rows], site.terrain.height(at[rows])])
    return _planted(plants, which[rows], foot, size[rows], rng)


def _woods(site: Site, rng: np.random.Generator, species: dict[str, list[Plant]]) -> list[Mesh]:
    """Edges of woods around the land, with gaps."""
    terrain = site.terrain
    cells = np.argwhere(
        (terrain.distance[::16, ::16] > WOODS[0]) & (terrain.distance[::16, ::16] < WOODS[1])
    )
    at = terrain.fine_origin + 16.0 * terrain.fine_cell * cells[:, ::-1]
    at += rng.uniform(-4.0, 4.0, at.shape)
    at = at[_field(at, rng, 110.0) > -0.5]
    at = at[rng.permutation(len(at))]
    at = at[spaced(at, 11.0)]
    size = rng.uniform(0.65, 1.15, len(at))
    which = rng.integers(VARIANTS, size=len(at))
    foot = np.column_stack([at, terrain.height(at)])
    return _planted(species["wood"], which, foot, size, rng)


def _field(at: Array, rng: np.random.Generator, wave: float) -> Array:
    """(n,) a smooth random field of about unit variance that changes within ``wave`` m."""
    terms = 6
    angle = rng.uniform(0.0, 2.0 * np.pi, terms)
    number = 2.0 * np.pi / (wave * rng.uniform(0.7, 1.8, terms))
    phase = rng.uniform(0.0, 2.0 * np.pi, terms)
    waves = np.stack([np.cos(angle), np.sin(angle)]) * number
    return np.cos(at @ waves + phase).sum(axis=1) * np.sqrt(2.0 / terms)


def _bushes(
    site: Site, occupied: Terrain, rng: np.random.Generator, species: dict[str, list[Plant]]
) -> list[Mesh]:
    """Single bushes within a few metres of the streets, as one finds them before houses."""
    edges = site.edges
    n = len(edges.xyz)
    order = rng.permutation(n)
    at = edges.xyz[order, :2] + edges.outward[order] * rng.uniform(1.3, 9.0, (n, 1))
    size = rng.uniform(0.5, 1.3, n)
    which = rng.integers(VARIANTS, size=n)
    good = (rng.uniform(size=n) < 0.5) & ~edges.junction[order]
    good &= (site.clearance(at) > size + 0.7) & (site.crossing_gap(at) > size + 1.0)
    good &= occupied.clearance(at) > 0.8 * size
    rows = np.flatnonzero(good)
    rows = rows[spaced(at[rows], 14.0)]
    foot = np.column_stack([at[rows], site.terrain.height(at[rows])])
    return _planted(species["bush"], which[rows], foot, size[rows], rng)


def _hedges(site: Site, occupied: Terrain, rng: np.random.Generator) -> Mesh:
    """Hedges along the outer edge of pavements, before plots without a forecourt."""
    edges = site.edges
    chains = int(edges.chain.max()) + 1 if len(edges.xyz) else 0
    has, high = rng.uniform(size=chains) < 0.3, rng.uniform(0.8, 1.6, chains)
    uneven = rng.uniform(0.9, 1.1, (len(edges.xyz), 3))
    at = edges.xyz[:, :2] + edges.outward * 0.95
    tangent = np.stack([edges.outward[:, 1], -edges.outward[:, 0]], axis=1)
    built, centre = site.urban(edges.xyz[:, :2])
    good = has[edges.chain] & (edges.pavement > 0.0) & (built > 0.25) & (centre < 0.6)
    good &= site.crossing_gap(at) > 4.0
    for shift in (-0.5, -0.25, 0.0, 0.25, 0.5):
        along = at + tangent * (shift * HEDGE_LENGTH)
        good &= (site.clearance(along) > 0.5) & (occupied.clearance(along) > 0.5)
    rows = np.flatnonzero(good & ~edges.junction)
    rows = rows[spaced(at[rows], HEDGE_LENGTH - 0.15)]
    block = box((-0.5, -0.5, -0.3), (0.5, 0.5, 1.0), bottom=False)
    shade = np.repeat([1.15, 0.85, 0.8, 0.9, 0.75], 2)[:, None]
    mesh = mesh_of(block, shade * np.array(_LEAVES["bush"]), Surface.FOLIAGE, _VEGETATION)
    heading = np.arctan2(edges.outward[rows, 1], edges.outward[rows, 0])
    size = np.column_stack([np.full(len(rows), 0.7), np.full(len(rows), HEDGE_LENGTH + 0.1),
                            high[edges.chain[rows]]]) * uneven[rows]  # fmt: skip
    foot = np.column_stack([at[rows], site.terrain.height(at[rows])])
    return stamped(mesh, foot, heading, size, uneven[rows, :1] ** 2 * np.ones(3))
