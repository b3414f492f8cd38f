"""Where things may stand beside the roads: distances to lanes, street edges, occupied ground."""

from __future__ import annotations

import dataclasses
import weakref
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from roadloop.maps.area import lane_borders
from roadloop.maps.road_map import LaneKind, RoadMap
from sim.scenery.mesh import Mesh, Surface
from sim.scenery.paving import STEP
from sim.scenery.terrain import Terrain

Array = np.ndarray

LAY_BY = 1.0
"""m; shoulders from this width on are driven or parked on, narrower ones are gutters"""
EDGE_SPACING = 1.0
"""m between the stations of a street's edge"""
LEVEL = 1.5
"""m; where the land lies further below the edge of a road, that is a bridge or a wall"""


@dataclass(frozen=True, eq=False)
class Edges:
    """Stations along the outer edges of the roads, in chains of one lane's side each."""

    xyz: Array
    """(n, 3) m, on the surface: a kerb's height over the road on pavements"""
    outward: Array
    """(n, 2) unit vector away from the street"""
    chain: Array
    """(n,) int32, ascending; the stations of a chain follow one another by EDGE_SPACING"""
    pavement: Array
    """(n,) m, width of the SIDEWALK lane that ends here, 0 where it is another kind"""
    junction: Array
    """(n,) bool, on a lane of a junction"""


@dataclass(frozen=True, eq=False)
class Site:
    """A map's ground, as those who put things on it see it."""

    terrain: Terrain
    edges: Edges
    vehicle_edge: Array
    """(n, 2) m, points on the edges of lanes vehicles use, 0.5 m apart"""
    _vehicles: Terrain
    _crossings: Terrain
    _density: Array
    """(rows, columns, 2) m of pavement and of travel lanes per hectare, on DENSITY_CELL"""

    @classmethod
    def of(cls, road_map: RoadMap, terrain: Terrain) -> Site:
        """The site of a map, built once per map and terrain."""
        kept = _sites.get(road_map)
        if kept is None or kept.terrain is not terrain:
            kept = _sites[road_map] = _survey(road_map, terrain)
        return kept

    def clearance(self, xy: Array) -> Array:
        """(n, 2) -> (n,) m to the nearest lane of any kind, negative on lanes."""
        return self.terrain.clearance(xy)

    def vehicle_gap(self, xy: Array) -> Array:
        """(n, 2) -> (n,) m to the nearest lane vehicles use, at most 0 on it."""
        return self._vehicles.clearance(xy)

    def crossing_gap(self, xy: Array) -> Array:
        """(n, 2) -> (n,) m to the nearest crosswalk."""
        return self._crossings.clearance(xy)

    def urban(self, xy: Array) -> tuple[Array, Array]:
        """(n, 2) -> two (n,) in [0, 1]: how built-up a place is, and how much of a city centre.

        By pavements (a street with two in 100 m squares: 200 m per hectare) and travel lanes
        (a town of narrow streets has 450 m of them per hectare, a centre of wide ones 1100 m).
        """
        cell = ((np.asarray(xy, float) - self.terrain.fine_origin) / _DENSITY_CELL).astype(int)
        x, y = np.clip(cell, 0, np.array(self._density.shape[1::-1]) - 1).T
        pavement, travel = self._density[y, x].T
        built = np.clip(pavement / 200.0, 0.0, 1.0)
        return built, built * np.clip((travel - 400.0) / 600.0, 0.0, 1.0)

    def ground(self, xy: Array, level: Array) -> Array:
        """(n,) m, where a thing at ``xy`` stands: the land, or ``level`` on lanes."""
        return np.where(self.clearance(xy) < 0.25, level, self.terrain.height(xy))

    def occupied(self, mesh: Mesh | None, *, forecourts: bool = False) -> Terrain:
        """Ground whose ``clearance`` is the distance to what ``mesh`` covers, seen from above.

        Paving counts only with ``forecourts``.
        """
        covered = np.zeros(self.terrain.distance.shape, np.uint8)
        if mesh is not None:
            import cv2

            # windows lie before walls; roofs and paving alone are wider than their outline
            paving = mesh.surface == Surface.PAVEMENT
            cells = _cells(mesh.corners[..., :2], self.terrain)
            outlined = (mesh.surface != Surface.WINDOW) & ~paving
            cv2.polylines(covered, list(cells[outlined]), True, 1, shift=_SHIFT)
            for triangle in cells[(mesh.surface == Surface.ROOF) | (paving & forecourts)]:
                cv2.fillConvexPoly(covered, triangle, 1, shift=_SHIFT)
        return _distance_to(covered, self.terrain, exact=False)


_sites: weakref.WeakKeyDictionary[RoadMap, Site] = weakref.WeakKeyDictionary()
_DENSITY_CELL = 16.0
_DENSITY_WINDOW = 7  # cells, 112 m
_SHIFT = 4  # cv2 takes corners in 1/16 of a cell


def spaced(xy: Array, spacing: float | Array) -> Array:
    """(n,) bool: the points to keep, in order, so that none is within ``spacing`` m of an earlier.

    ``spacing`` may be one per point; the later one's counts.
    """
    from scipy.spatial import KDTree

    alive = np.ones(len(xy), bool)
    if len(xy) == 0:
        return alive
    spacing = np.broadcast_to(np.asarray(spacing, float), len(xy))
    tree, widest = KDTree(xy), float(spacing.max())
    for i in range(len(xy)):
        if alive[i]:
            near = np.array(tree.query_ball_point(xy[i], widest))
            near = near[near > i]
            alive[near[np.hypot(*(xy[near] - xy[i]).T) < spacing[near]]] = False
    return alive


def used_by_vehicles(road_map: RoadMap) -> Array:
    """(L,) bool: lanes that vehicles drive, ride, stop or park on."""
    kind = road_map.lane_kind
    wide = _widths(road_map) >= LAY_BY
    return (
        (kind <= LaneKind.BIDIRECTIONAL)
        | ((kind == LaneKind.SHOULDER) & wide)
        | (kind == LaneKind.PARKING)
        | (kind == LaneKind.BIKING)
    )


def _widths(road_map: RoadMap) -> Array:
    """(L,) m, widest place of each lane."""
    return np.maximum.reduceat(road_map.point_width, road_map.point_start[:-1])


def _survey(road_map: RoadMap, terrain: Terrain) -> Site:
    borders = [lane_borders(road_map, lane) for lane in range(road_map.lanes)]
    used = used_by_vehicles(road_map)
    sides = [side[:, :2] for lane in np.flatnonzero(used).tolist() for side in borders[lane]]
    vehicles = _covered(borders, used, terrain)
    return Site(
        terrain=terrain,
        edges=_edges(road_map, borders, terrain),
        vehicle_edge=np.concatenate([np.zeros((0, 2)), *sides]),
        _vehicles=_distance_to(vehicles, terrain),
        _crossings=_distance_to(_crosswalks(road_map, terrain), terrain),
        _density=_densities(road_map, terrain),
    )


def _cells(xy: Array, terrain: Terrain) -> Array:
    """Corners (..., 2) m -> int32 1/16 cells of the terrain's distance map."""
    at = (xy - terrain.fine_origin) / terrain.fine_cell
    return np.round(at * 2**_SHIFT).astype(np.int32)


def _covered(borders: list[tuple[Array, Array]], lanes: Array, terrain: Terrain) -> Array:
    """uint8 map of the ground under ``lanes``; cells that an edge cuts count."""
    import cv2

    covered = np.zeros(terrain.distance.shape, np.uint8)
    for lane in np.flatnonzero(lanes):
        left, right = borders[lane]
        ring = _cells(np.concatenate([left[:, :2], right[::-1, :2]]), terrain)
        cv2.fillPoly(covered, [ring], 1, shift=_SHIFT)
    return covered


def _crosswalks(road_map: RoadMap, terrain: Terrain) -> Array:
    import cv2

    covered = np.zeros(terrain.distance.shape, np.uint8)
    at = _cells(road_map.crosswalk_xyz[:, :2], terrain)
    start = road_map.crosswalk_start
    for low, high in pairwise(start):
        cv2.fillPoly(covered, [at[low:high]], 1, shift=_SHIFT)
    return covered


def _distance_to(covered: Array, terrain: Terrain, *, exact: bool = True) -> Terrain:
    """The terrain with another distance map: that to the covered cells, 0 or less on them.

    Without ``exact`` distances are good to 5 percent, in half the time.
    """
    import cv2

    if not covered.any():
        far = np.full(covered.shape, 1e6, np.float32)
        return dataclasses.replace(terrain, distance=far)
    mask = cv2.DIST_MASK_5 if exact else cv2.DIST_MASK_3
    away = cv2.distanceTransform(1 - covered, cv2.DIST_L2, mask)
    # cells that an edge cuts are covered, so that it lies a quarter of a cell within on average
    metres = np.where(covered > 0, -0.25, away + 0.25) * terrain.fine_cell
    return dataclasses.replace(terrain, distance=metres.astype(np.float32))


def _densities(road_map: RoadMap, terrain: Terrain) -> Array:
    import cv2

    span = np.array(terrain.distance.shape) * terrain.fine_cell
    rows, columns = (np.ceil(span / _DENSITY_CELL).astype(int) + 1).tolist()
    cell = ((road_map.point_xyz[:, :2] - terrain.fine_origin) / _DENSITY_CELL).astype(int)
    flat = np.clip(cell[:, 1], 0, rows - 1) * columns + np.clip(cell[:, 0], 0, columns - 1)
    points = np.diff(road_map.point_start)
    step = np.repeat(road_map.lane_length / np.maximum(points - 1, 1), points)
    kind = np.repeat(road_map.lane_kind, points)
    window = (_DENSITY_WINDOW * _DENSITY_CELL / 100.0) ** 2  # hectares
    metres = [
        np.bincount(flat, step * which, minlength=rows * columns).reshape(rows, columns)
        for which in (kind == LaneKind.SIDEWALK, kind <= LaneKind.BIDIRECTIONAL)
    ]
    box = (_DENSITY_WINDOW, _DENSITY_WINDOW)
    return np.dstack([cv2.boxFilter(m, -1, box, normalize=False) for m in metres]) / window


def _edges(road_map: RoadMap, borders: list[tuple[Array, Array]], terrain: Terrain) -> Edges:
    """Stations on those sides of lanes beyond which there are no lanes."""
    xyz, outward, chain, width = [], [], [], []
    for lane in range(road_map.lanes):
        rows = road_map.points_of(lane)
        s = road_map.point_s[rows]
        picks = np.searchsorted(s, np.arange(0.0, s[-1] + 1e-6, EDGE_SPACING))
        picks = np.unique(np.minimum(picks, len(s) - 1))
        heading = road_map.point_heading[rows][picks]
        left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
        for side, (border, sign) in enumerate(zip(borders[lane], (1.0, -1.0), strict=True)):
            xyz.append(border[picks])
            outward.append(sign * left)
            chain.append(np.full(len(picks), 2 * lane + side))
            width.append(road_map.point_width[rows][picks])
    at, away, of = np.concatenate(xyz), np.concatenate(outward), np.concatenate(chain)
    wide = np.concatenate(width)
    # outer edges: no lane for 2 m beyond them, and land about as high as they are
    keep = (terrain.clearance(at[:, :2] + 0.75 * away) > 0.35) & (wide > 0.05)
    keep &= terrain.clearance(at[:, :2] + 2.0 * away) > 1.5
    keep &= np.abs(terrain.height(at[:, :2] + 3.0 * away) - at[:, 2]) < LEVEL
    at, away, of, wide = at[keep], away[keep], of[keep], wide[keep]
    lane = of // 2
    walk = road_map.lane_kind[lane] == LaneKind.SIDEWALK
    return Edges(
        xyz=at + np.array([0.0, 0.0, STEP]) * walk[:, None],
        outward=away,
        chain=of.astype(np.int32),
        pavement=np.where(walk, wide, 0.0),
        junction=road_map.lane_junction[lane] >= 0,
    )
