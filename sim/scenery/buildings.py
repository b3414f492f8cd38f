"""Buildings along the streets: rows in towns, houses in the country, none on or under a road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.maps.road_map import RoadMap
from sim.scenery.facades import House, Pile, add_house
from sim.scenery.mesh import Mesh
from sim.scenery.site import EDGE_SPACING, Site, spaced
from sim.scenery.terrain import Terrain

Array = np.ndarray

CLEARANCE = 2.2
"""m that every wall keeps from lanes of any kind"""
SLOPE = 2.5
"""m the land may fall under one building"""
RURAL_SPACING = 70.0
"""m between places where a house may stand outside towns"""
BACK_SPACING = 17.0
"""m between the middles of places behind the first row"""
BACK_REACH = 60.0
"""m from the street the rows behind reach"""
_GRID = np.stack(np.meshgrid(np.linspace(0, 1, 10), np.linspace(0, 1, 8)), -1).reshape(-1, 2)
"""where on a plot its ground is looked at, 2.4 m apart at most: no lane passes between"""


@dataclass(frozen=True)
class Plot:
    """A building's rectangle: front left, front right, back right, back left seen from the street.

    Counter-clockwise from above.
    """

    corners: Array
    """(4, 2) m"""
    frontage: Array | None
    """(2, 2) the street's edge before the front's two ends, or None for what stands behind"""
    level: float
    """m, of the street; -inf where there is none before it"""
    behind: bool = False
    """whether it stands behind the first row"""


class _Ground:
    """Which ground is still free: lanes, what stands already, and the plots given out so far."""

    def __init__(self, site: Site, beside: Mesh | None) -> None:
        self.terrain = site.terrain
        self._open = site.terrain.distance > CLEARANCE + 0.7 * site.terrain.fine_cell
        if beside is not None:
            self._open &= site.occupied(beside).distance > 1.8
        self._given = np.zeros(self._open.shape, np.uint8)
        self._circles = np.zeros((64, 3))
        self._rings: list[Array] = []

    def take(self, corners: Array) -> bool:
        """Whether a rectangle (4, 2) is free; if so it is taken."""
        import cv2

        origin, sides = corners[0], np.stack([corners[1] - corners[0], corners[3] - corners[0]])
        points = origin + _GRID @ sides
        if not self._open[self._cells(points)].all():
            return False
        middle, radius = corners.mean(axis=0), float(np.hypot(*(corners[2] - corners[0])) / 2)
        n = len(self._rings)
        given = self._circles[:n]
        apart = np.hypot(given[:, 0] - middle[0], given[:, 1] - middle[1]) - given[:, 2]
        for other in np.flatnonzero(apart < radius):
            if _overlap(corners, self._rings[other]):
                return False
        if np.ptp(self.terrain.height(corners)) > SLOPE:
            return False
        if n == len(self._circles):
            self._circles = np.concatenate([self._circles, np.zeros_like(self._circles)])
        self._circles[n] = *middle, radius
        self._rings.append(corners)
        x, y = self._cells(corners)[::-1]
        cv2.fillConvexPoly(self._given, np.column_stack([x, y]).astype(np.int32), 1)
        return True

    def taken(self, points: Array) -> Array:
        """(..., 2) -> (...) bool: on a plot that was given out."""
        return self._given[self._cells(points)] > 0

    def _cells(self, points: Array) -> tuple[Array, Array]:
        cell = (points - self.terrain.fine_origin) / self.terrain.fine_cell + 0.5
        rows, columns = self._open.shape
        x, y = cell[..., 0].astype(int), cell[..., 1].astype(int)
        return np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)


def building_meshes(
    road_map: RoadMap, terrain: Terrain, rng: np.random.Generator, beside: Mesh | None = None
) -> Mesh:
    """Buildings on flat enough ground at least CLEARANCE m from every lane and ``beside``.

    Streets with pavements get rows of 2 to 4 floors, city centres (see ``Site.urban``) up to 8 and
    towers behind them, country roads scattered houses.
    """
    site = Site.of(road_map, terrain)
    of_plots, looks = rng.spawn(2)
    ground = _Ground(site, beside)
    plots = _given_out(site, ground, of_plots)
    pile = Pile()
    if not plots:
        return pile.mesh()
    middle = np.array([plot.corners.mean(axis=0) for plot in plots])
    built, centre = site.urban(middle)
    seen = _seen_sides(ground, plots)
    rings = np.concatenate([plot.corners for plot in plots])
    land = terrain.height(rings).reshape(-1, 4)
    for k, plot in enumerate(plots):
        house = House.drawn(looks, float(built[k]), float(centre[k]), plot.behind)
        level = max(plot.level, float(land[k].max()) + 0.05)
        bottom = float(land[k].min()) - 0.3
        add_house(pile, house, plot.corners, bottom, level, seen[k], plot.frontage, looks)
    return pile.mesh()


def building_plots(
    road_map: RoadMap, terrain: Terrain, rng: np.random.Generator, beside: Mesh | None = None
) -> list[Plot]:
    """Where ``building_meshes`` builds, with the same arguments."""
    site = Site.of(road_map, terrain)
    return _given_out(site, _Ground(site, beside), rng.spawn(2)[0])


def _given_out(site: Site, ground: _Ground, rng: np.random.Generator) -> list[Plot]:
    rows, country, behind = rng.spawn(3)
    plots = _street_rows(site, ground, rows)
    plots += _country_houses(site, ground, country)
    return plots + _behind(site, ground, behind)


def _overlap(a: Array, b: Array) -> bool:
    """Whether two rectangles (4, 2) share more than 1 cm (separating axes)."""
    for ring in (a, b):
        for side in (ring[1] - ring[0], ring[3] - ring[0]):
            axis = side / np.hypot(*side)
            p, q = a @ axis, b @ axis
            if p.max() < q.min() + 0.01 or q.max() < p.min() + 0.01:
                return False
    return True


def _rectangle(front: Array, along: Array, width: float, depth: float) -> Array:
    """Corners of a rectangle with ``front`` the middle of its front, which runs ``along``."""
    (x, y), (a, b) = front, along * (width / 2)
    c, d = -along[1] * depth, along[0] * depth
    return np.array(
        [(x - a, y - b), (x + a, y + b), (x + a + c, y + b + d), (x - a + c, y - b + d)]
    )


def _street_rows(site: Site, ground: _Ground, rng: np.random.Generator) -> list[Plot]:
    """Wall to wall or with gaps along streets that are built up."""
    edges, plots = site.edges, []
    if len(edges.xyz) == 0:
        return plots
    built, centre = site.urban(edges.xyz[:, :2])
    cut = np.flatnonzero(np.diff(edges.chain)) + 1
    # a look at the middle of the least plot first, as most stations are at corners or back to back
    hopeful = site.clearance(edges.xyz[:, :2] + 7.0 * edges.outward) > 5.5
    for low, high in zip(np.r_[0, cut], np.r_[cut, len(edges.chain)], strict=True):
        length = int(high - low)
        if built[low:high].max() < 0.3:
            continue
        row = rng.uniform() < 0.35 + 0.6 * centre[low]  # wall to wall
        setback = rng.uniform(2.7, 3.3) if row else rng.uniform(3.0, 6.5)
        if edges.pavement[low] == 0.0:
            setback += 3.0
        at = rng.uniform(0.0, 3.0)
        while at < length:
            width = rng.uniform(11.0, 22.0) if row else rng.uniform(9.0, 15.0)
            depth, gap = rng.uniform(9.0, 14.0), rng.uniform(3.0, 9.0)
            skip = rng.uniform() > (0.97 if row else 0.35 + 0.5 * built[low])
            if skip:
                at += width
                continue
            if not hopeful[min(low + int(at + 4.0), high - 1)]:
                at += 2.0
                continue
            for w in (width, 8.0):
                found = _front_plot(site, ground, low, high, at, w, depth, setback)
                if found is not None:
                    plots.append(found)
                    at += w + (0.05 if row and rng.uniform() < 0.8 else gap)
                    break
            else:
                at += 4.0
    return plots


def _front_plot(
    site: Site,
    ground: _Ground,
    low: int,
    high: int,
    at: float,
    width: float,
    depth: float,
    setback: float,
) -> Plot | None:
    """A plot whose front runs along stations ``low`` to ``high`` from ``at`` m, if that is free."""
    edges = site.edges
    first = low + int(at / EDGE_SPACING)
    last = min(first + int(width / EDGE_SPACING), high - 1)
    middle = (first + last) // 2
    outward = edges.outward[middle]
    along = np.array([outward[1], -outward[0]])
    edge = edges.xyz[middle, :2]
    corners = _rectangle(edge + outward * setback, along, width, depth)
    if not ground.take(corners):
        return None
    level = float(edges.xyz[middle, 2])
    frontage = corners[:2] - outward * (setback - 0.3)
    paved = bool(edges.pavement[middle] > 0.0 and setback < 4.5)
    paved = paved and np.abs(site.terrain.height(frontage) - level).max() < 0.6
    if paved and site.clearance(np.linspace(frontage[0], frontage[1], 9)).min() < 0.05:
        paved = False
    return Plot(corners, frontage if paved else None, level)


def _country_houses(site: Site, ground: _Ground, rng: np.random.Generator) -> list[Plot]:
    """Houses some way off the roads where there are no pavements."""
    edges = site.edges
    order = rng.permutation(len(edges.xyz))
    draws = rng.uniform(size=(len(order), 4))
    lonely = (site.urban(edges.xyz[order, :2])[0] < 0.3) & (draws[:, 3] < 0.5)
    order, draws = order[lonely], draws[lonely]
    apart = spaced(edges.xyz[order, :2], RURAL_SPACING)
    plots = []
    for k, (near, wide, deep, _) in zip(order[apart], draws[apart], strict=True):
        outward = edges.outward[k]
        front = edges.xyz[k, :2] + outward * (9.0 + 30.0 * near)
        along = np.array([outward[1], -outward[0]])
        corners = _rectangle(front, along, 9.0 + 8.0 * wide, 8.0 + 5.0 * deep)
        if ground.take(corners):
            plots.append(Plot(corners, None, -np.inf))
    return plots


def _behind(site: Site, ground: _Ground, rng: np.random.Generator) -> list[Plot]:
    """What shows over and between the first row: blocks inside, towers in city centres."""
    edges = site.edges
    order = rng.permutation(len(edges.xyz))
    draws = rng.uniform(size=(len(order), 4))
    outward = edges.outward[order]
    front = edges.xyz[order, :2] + outward * (22.0 + (BACK_REACH - 22.0) * draws[:, :1])
    good = (site.urban(front)[0] > 0.5) & (site.clearance(front) > 15.0)
    good[good] = spaced(front[good], BACK_SPACING + 10.0 * draws[good, 1])
    plots = []
    for at, out, (_, wide, deep, _) in zip(front[good], outward[good], draws[good], strict=True):
        along = np.array([out[1], -out[0]])
        corners = _rectangle(at, along, 11.0 + 8.0 * wide, 10.0 + 6.0 * deep)
        if ground.take(corners):
            plots.append(Plot(corners, None, -np.inf, behind=True))
    return plots


def _seen_sides(ground: _Ground, plots: list[Plot]) -> Array:
    """(plots, 4) bool: walls no other building stands at; in the order of the corners."""
    rings = np.array([plot.corners for plot in plots])
    after = np.roll(rings, -1, axis=1)
    along = after - rings
    out = np.stack([along[..., 1], -along[..., 0]], -1)
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    return ~ground.taken((rings + after) / 2.0 + 1.5 * out)
