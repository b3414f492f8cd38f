"""Street lamps, bus stops, benches, bins, posts and fences along the outer edges of the streets."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap
from sim.scenery import street_things as things
from sim.scenery.mesh import Mesh, joined
from sim.scenery.site import Site, spaced
from sim.scenery.stamp import stamped
from sim.scenery.terrain import Terrain

Array = np.ndarray

LAMP_SPACING, COUNTRY_LAMP_SPACING = 28.0, 60.0
"""m between street lamps, both sides of a street together; outside towns only near junctions"""
POST_SPACING = 50.0
"""m between the guard posts of a country road, as in Germany"""
NARROW = 1.8
"""m; pavements narrower than this stay empty"""
CROSSING = 2.5
"""m that things keep from crosswalks"""


class _Kerbside:
    """Stations of the streets' edges, and what is still free there."""

    def __init__(self, site: Site, beside: Mesh | None) -> None:
        self.site, self.edges = site, site.edges
        self.occupied = site.occupied(beside)
        self._built_over = site.occupied(beside, forecourts=True)
        self.built, self.centre = site.urban(site.edges.xyz[:, :2])
        self.heading = np.arctan2(-site.edges.outward[:, 1], -site.edges.outward[:, 0])
        self._taken = np.zeros((0, 3))

    def at(self, outward: float) -> Array:
        """(n, 3) places ``outward`` m beyond the edge of every station, on the ground there."""
        xy = self.edges.xyz[:, :2] + outward * self.edges.outward
        if outward <= 0.0:
            return np.column_stack([xy, self.edges.xyz[:, 2]])
        return np.column_stack([xy, self.site.terrain.height(xy)])

    def free(self, at: Array, reach: float, half: float = 0.0, *, forecourts: bool = True) -> Array:
        """(n,) bool: nothing stands within ``reach`` m of a place and ``half`` m to its sides.

        ``forecourts`` says whether those of buildings may be used.
        """
        ground = self.occupied if forecourts else self._built_over
        fine = self.site.crossing_gap(at[:, :2]) > CROSSING + half
        tangent = np.stack([self.edges.outward[:, 1], -self.edges.outward[:, 0]], axis=1)
        for shift in (-half, 0.0, half) if half else (0.0,):
            xy = at[:, :2] + shift * tangent
            fine &= ground.clearance(xy) > reach
            fine &= self.site.vehicle_gap(xy) > 0.75 + reach
        if len(self._taken):
            from scipy.spatial import KDTree

            distance, row = KDTree(self._taken[:, :2]).query(at[:, :2])
            fine &= distance > self._taken[row, 2] + max(reach, half) + 0.5
        return fine

    def put(
        self, thing: Mesh, at: Array, rows: Array, radius: float, tint: Array | None = None
    ) -> Mesh:
        """``thing`` at stations ``rows``, which from now on are taken within ``radius`` m."""
        here = np.column_stack([at[rows, :2], np.full(len(rows), radius)])
        self._taken = np.concatenate([self._taken, here])
        return stamped(thing, at[rows], self.heading[rows], tint=tint)


def furniture_meshes(
    road_map: RoadMap, terrain: Terrain, rng: np.random.Generator, beside: Mesh | None = None
) -> Mesh:
    """Street furniture: outside the streets, or on the outer third of pavements.

    Keeps 0.75 m from lanes vehicles use, CROSSING from crosswalks, and clear of ``beside``.
    """
    site = Site.of(road_map, terrain)
    side = _Kerbside(site, beside)
    if len(site.edges.xyz) == 0:
        return joined([])
    lamps, stops, small, posts, fences = rng.spawn(5)
    return joined(
        [
            _lamps(side, lamps),
            _stops(side, stops),
            *_small(side, small),
            _posts(side, posts),
            *_fences(side, fences),
        ]
    )


def _picks(rows: Array, at: Array, spacing: float) -> Array:
    return rows[spaced(at[rows, :2], spacing)]


def _lamps(side: _Kerbside, rng: np.random.Generator) -> Mesh:
    at = side.at(0.4)
    # a head is at 8 m, so that it may reach over parking and travel lanes
    fine = side.free(at, 0.25) & ~side.edges.junction & (side.site.clearance(at[:, :2]) > 0.1)
    town = _picks(np.flatnonzero(fine & (side.built > 0.15)), at, LAMP_SPACING)
    country = _picks(np.flatnonzero(fine & (side.built <= 0.15)), at, COUNTRY_LAMP_SPACING)
    country = country[rng.uniform(size=len(country)) < 0.3]
    return side.put(things.street_lamp(), at, np.concatenate([town, country]), 0.3)


def _stops(side: _Kerbside, rng: np.random.Generator) -> Mesh:
    """Bus shelters on the ground behind the pavement, or on wide pavements."""
    order = rng.permutation(len(side.edges.xyz))
    at = side.at(0.95)
    at[:, 2] = side.edges.xyz[:, 2]
    fine = side.free(at, 0.95, 2.4) & (side.edges.pavement >= NARROW) & ~side.edges.junction
    fine &= np.abs(side.site.terrain.height(at[:, :2]) - at[:, 2]) < 0.6
    fine &= (side.site.clearance(at[:, :2]) > 0.8) & (side.built > 0.4)
    rows = _picks(order[fine[order]], at, 220.0)
    return side.put(things.bus_stop(), at, rows, 3.3)


def _small(side: _Kerbside, rng: np.random.Generator) -> list[Mesh]:
    """Bins, benches, cabinets, letter boxes, columns and rows of bollards on pavements."""
    walk = (side.edges.pavement >= NARROW) & ~side.edges.junction
    kinds = (
        (things.advertising_column(), 0.9, 0.75, 0.0, 130.0, side.built > 0.6),
        (things.bench(), -0.32, 0.3, 0.8, 60.0, walk),
        (things.litter_bin(), -0.3, 0.25, 0.0, 42.0, walk),
        (things.cabinet(), -0.24, 0.25, 0.5, 85.0, walk),
        (things.post_box(), -0.3, 0.25, 0.0, 150.0, walk),
    )
    parts = []
    for thing, outward, reach, half, spacing, where in kinds:
        order = rng.permutation(len(side.edges.xyz))
        at = side.at(outward)
        rows = _picks(order[(where & side.free(at, reach, half))[order]], at, spacing)
        tint = rng.uniform(0.7, 1.15, (len(rows), 1)) * np.ones(3)
        parts.append(side.put(thing, at, rows, max(reach, half), tint))
    at = side.at(-0.15)
    chosen = rng.uniform(size=int(side.edges.chain.max()) + 1) < 0.3
    fine = chosen[side.edges.chain] & side.free(at, 0.15) & (side.centre > 0.2)
    fine &= (side.edges.pavement >= NARROW) & (np.arange(len(at)) % 60 < 9)
    parts.append(side.put(things.bollard(), at, _picks(np.flatnonzero(fine), at, 1.8), 0.1))
    return parts


def _posts(side: _Kerbside, rng: np.random.Generator) -> Mesh:
    """Guard posts where there is no pavement."""
    at = side.at(0.6)
    fine = (side.edges.pavement == 0.0) & (side.built < 0.3) & ~side.edges.junction
    rows = _picks(np.flatnonzero(fine & side.free(at, 0.1)), at, POST_SPACING * 0.6)
    return side.put(things.guard_post(), at, rows, 0.1)


def _fences(side: _Kerbside, rng: np.random.Generator) -> list[Mesh]:
    """Fences and low walls between the pavement and some of the plots."""
    chains = int(side.edges.chain.max()) + 1
    has, kind = rng.uniform(size=chains) < 0.2, rng.integers(3, size=chains)
    at = side.at(0.8)
    fine = has[side.edges.chain] & (side.built > 0.2) & (side.centre < 0.6)
    fine &= ~side.edges.junction & side.free(at, 0.25, things.PANEL / 2, forecourts=False)
    parts = []
    for k, name in enumerate(("wood", "steel", "wall")):
        rows = np.flatnonzero(fine & (kind[side.edges.chain] == k))
        rows = _picks(rows, at, things.PANEL - 0.05)
        parts.append(side.put(things.fence(name), at, rows, things.PANEL / 2))
    return parts
