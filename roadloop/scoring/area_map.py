"""A map as the planning benchmarks see it: lanes and areas as polygons, in layers.

nuPlan and NAVSIM ask their questions of polygons (which lanes hold this corner? is it on drivable
ground?), so their scores are defined on this form of a map. Ours is turned into it by
``area_map_of``.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.area import CRACK, area_polygons, lane_polygon, united
from roadloop.maps.road_map import LaneKind, RoadMap

if TYPE_CHECKING:
    from shapely import STRtree

Array = np.ndarray

SURFACE = (
    LaneKind.DRIVING,
    LaneKind.BIDIRECTIONAL,
    LaneKind.SHOULDER,
    LaneKind.PARKING,
    LaneKind.BIKING,
)
"""Lanes a wheel may stand on."""
PAVED_GAP = 4.0
"""m, gaps between the lanes of a junction up to this wide are paved"""
ISLAND = 20.0
"""m^2, larger holes in a junction are islands"""
LEVEL = 2.5
"""m, things further apart in height are on different levels; bridges clear at least 4.5 m"""
REACH = 30.0
"""m around a path within which lanes matter to it"""
THINNING = 0.001
"""m, how far the outline of the drivable surface may move to get rid of points on straights"""
_STRIDE = 4
"""Every how many points of a lane are enough to find the lanes near a path."""


@dataclass(frozen=True, eq=False)
class AreaMap:
    """L lanes and the areas around them, two-dimensional, m; polygons are shapely's.

    "Lane" includes the lane connectors, which are the lanes inside junctions.
    """

    lane_id: Array
    """(L,) str"""
    lane_polygon: Array
    """(L,) object"""
    lane_is_connector: Array
    """(L,) bool"""
    lane_roadblock: Array
    """(L,) int32, lanes with the same number run side by side in the same direction"""
    lane_speed_limit: Array
    """(L,) m/s, NaN where none is stated"""
    baseline_start: Array
    """(L + 1,) int32, CSR over the points of the centrelines"""
    baseline_xy: Array
    """(., 2) in the direction of travel"""
    outgoing_start: Array
    """(L + 1,) int32, CSR over lanes"""
    outgoing: Array
    """int32, lanes traffic may go on to, in the source's order"""
    incoming_start: Array
    incoming: Array
    """int32, lanes traffic comes from"""
    drivable: Array
    """(areas,) object, ground a car may be on; the lanes need not be repeated"""
    intersections: Array
    """(areas,) object"""
    roadblock: Array | None = None
    """(roadblocks,) object, for maps that draw them; None: a roadblock is what its lanes cover"""

    @property
    def lanes(self) -> int:
        """Number of lanes, connectors included."""
        return len(self.lane_id)

    def baseline_of(self, lane: int) -> Array:
        """(n, 2) centreline of one lane."""
        return self.baseline_xy[self.baseline_start[lane] : self.baseline_start[lane + 1]]

    def outgoing_of(self, lane: int) -> Array:
        """(n,) lanes traffic may go on to."""
        return self.outgoing[self.outgoing_start[lane] : self.outgoing_start[lane + 1]]

    def incoming_of(self, lane: int) -> Array:
        """(n,) lanes traffic comes from."""
        return self.incoming[self.incoming_start[lane] : self.incoming_start[lane + 1]]

    def roadblock_polygon(self, roadblock: int) -> Any:
        """The roadblock's own polygon, or what its lanes cover together."""
        if self.roadblock is not None:
            return self.roadblock[roadblock]
        return united(self.lane_polygon[self.lane_roadblock == roadblock].tolist())

    @cached_property
    def lane_areas(self) -> Areas:
        """The lane polygons, to ask points of."""
        return Areas(self.lane_polygon)

    @cached_property
    def drivable_areas(self) -> Areas:
        """The drivable polygons (without lanes that are not among them), likewise."""
        return Areas(self.drivable)

    @cached_property
    def intersection_areas(self) -> Areas:
        """The intersections, likewise."""
        return Areas(self.intersections)


@dataclass(frozen=True, eq=False)
class Areas:
    """Polygons with an index over them; ``polygon`` is ``(areas,)`` object."""

    polygon: Array

    @cached_property
    def tree(self) -> STRtree:
        """Over the polygons' bounding boxes."""
        import shapely

        shapely.prepare(self.polygon)
        return shapely.STRtree(self.polygon)

    def containing(self, points: Array) -> tuple[Array, Array]:
        """Pairs (point, area) of ``points`` (n, 2) strictly inside an area, sorted by both."""
        import shapely

        if not len(self.polygon) or not len(points):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        point, area = self.tree.query(shapely.points(points))
        order = np.lexsort((area, point))
        point, area = point[order], area[order]
        inside = shapely.contains_xy(self.polygon[area], points[point, 0], points[point, 1])
        return point[inside], area[inside]

    def contain(self, points: Array) -> Array:
        """(n,) bool: the point is strictly inside some area."""
        found = np.zeros(len(points), dtype=bool)
        found[self.containing(points)[0]] = True
        return found

    def distance(self, points: Array, limit: float = np.inf) -> Array:
        """(n,) m to the nearest area, 0 inside, inf where none is within ``limit``."""
        import shapely

        away = np.full(len(points), np.inf)
        if not len(self.polygon) or not len(points):
            return away
        bound = limit if np.isfinite(limit) else None
        (point, _), distance = self.tree.query_nearest(
            shapely.points(points), max_distance=bound, return_distance=True, all_matches=False
        )
        away[point] = distance
        return away


@dataclass
class _Ground:
    """Polygons of one map, made when first asked for; holds no reference to the map."""

    lane: dict[int, Any] = field(default_factory=dict)
    thinned: dict[int, Any] = field(default_factory=dict)
    junction: dict[int, Any] = field(default_factory=dict)
    beyond: Array | None = None
    """(areas,) object, the map's drivable ground beyond lanes"""


_grounds: weakref.WeakKeyDictionary[RoadMap, _Ground] = weakref.WeakKeyDictionary()


def area_map_of(road_map: RoadMap, lanes: Array | None = None) -> AreaMap:
    """Our map as areas: all of it, or ``lanes`` ``(n,)`` of it and the junctions they belong to.

    Lanes are the travel lanes, in ascending order, ``lane_id`` being the index on ``road_map`` as
    text; connectors are those in junctions. Lanes of one road, section and direction of travel are
    a roadblock; edges that leave ``lanes`` are left out. Drivable is, as one surface with cracks
    closed, what the ``SURFACE`` lanes cover, the paved ground of the junctions, which also are
    the intersections, and the map's drivable ground beyond lanes that touches these lanes' extent.
    Seen from above: choose the lanes of one level (``lanes_near``) where there are bridges. Raises
    RoadloopError where no travel lane is among them.
    """
    import shapely

    chosen = np.arange(road_map.lanes) if lanes is None else np.unique(lanes).astype(np.int64)
    travel = chosen[road_map.is_travel[chosen]]
    if not len(travel):
        where = f"map {road_map.name}" if lanes is None else f"that part of map {road_map.name}"
        raise RoadloopError(f"{where} has no travel lanes to score a drive on; use a map with some")
    ground = _grounds.setdefault(road_map, _Ground())
    surface = chosen[np.isin(road_map.lane_kind[chosen], SURFACE)]
    junctions = np.unique(road_map.lane_junction[travel])
    paved = [_junction_ground(road_map, ground, int(j)) for j in junctions if j >= 0]
    for lane in surface.tolist():
        if lane not in ground.thinned:
            strip = shapely.simplify(_lane_ground(road_map, ground, lane), THINNING)
            ground.thinned[lane] = strip
    strips = [ground.thinned[lane] for lane in surface.tolist()]
    if ground.beyond is None:
        ground.beyond = area_polygons(road_map)
    extent = shapely.box(*shapely.total_bounds([*strips, *paved]))
    beyond = ground.beyond[shapely.intersects(ground.beyond, extent)]
    covered = united([*strips, *paved, *beyond], CRACK)

    baselines = [road_map.point_xyz[road_map.points_of(int(lane)), :2] for lane in travel]
    place = np.full(road_map.lanes, -1, dtype=np.int32)
    place[travel] = np.arange(len(travel))
    block = np.stack([road_map.lane_section, np.sign(road_map.lane_number)])[:, travel]
    road = np.unique(road_map.lane_road[travel], return_inverse=True)[1]
    _, roadblock = np.unique(np.stack([road, *block]), axis=1, return_inverse=True)
    outgoing_start, outgoing = _edges(place, [road_map.successors_of(int(i)) for i in travel])
    incoming_start, incoming = _edges(place, [road_map.predecessors_of(int(i)) for i in travel])
    return AreaMap(
        lane_id=travel.astype(str),
        lane_polygon=_objects([_lane_ground(road_map, ground, int(lane)) for lane in travel]),
        lane_is_connector=road_map.lane_junction[travel] >= 0,
        lane_roadblock=np.ravel(roadblock).astype(np.int32),
        lane_speed_limit=road_map.lane_speed_limit[travel].astype(np.float64),
        baseline_start=_starts([len(line) for line in baselines]),
        baseline_xy=np.concatenate(baselines),
        outgoing_start=outgoing_start,
        outgoing=outgoing,
        incoming_start=incoming_start,
        incoming=incoming,
        drivable=_objects([part for part in shapely.get_parts(covered) if part.area > 0.0]),
        intersections=_objects(paved),
    )


def lanes_near(road_map: RoadMap, xyz: Array, reach: float = REACH) -> Array:
    """(n,) ascending lanes of every kind near a path ``xyz`` ``(points, 3)`` and on its level.

    Near is a centreline point within ``reach`` m along x and y of a path point that is less than
    ``LEVEL`` m higher or lower. The lanes before and after those are added, so that edges, and the
    speed limits that follow from them, are complete around the path.
    """
    from scipy.spatial import KDTree

    if not np.isfinite(xyz).all():
        raise RoadloopError("lanes_near: the path is not finite; score complete rollouts only")
    rows = np.arange(0, len(road_map.point_s), _STRIDE)
    rows = np.union1d(rows, road_map.point_start[1:] - 1)
    vertex = road_map.point_xyz[rows]
    around = np.array([reach, reach, LEVEL])
    low, high = xyz.min(axis=0) - around, xyz.max(axis=0) + around
    close = ((vertex >= low) & (vertex <= high)).all(axis=1)
    rows, vertex = rows[close], vertex[close]
    scale = np.array([1.0, 1.0, reach / LEVEL])
    gone = np.cumsum(np.hypot(*np.diff(xyz[:, :2], axis=0, prepend=xyz[:1, :2]).T))
    _, kept = np.unique(gone // (reach / 10.0), return_index=True)
    path = xyz[np.union1d(kept, [len(xyz) - 1])] * scale
    distance, _ = KDTree(path).query(vertex * scale, p=np.inf, distance_upper_bound=reach)
    lane = np.searchsorted(road_map.point_start, rows[np.isfinite(distance)], side="right") - 1
    near = np.unique(lane)
    found = [near]
    for start, other in (
        (road_map.successor_start, road_map.successor),
        (road_map.predecessor_start, road_map.predecessor),
    ):
        found += [other[start[lane] : start[lane + 1]] for lane in near]
    return np.unique(np.concatenate(found)).astype(np.int64)


def _lane_ground(road_map: RoadMap, ground: _Ground, lane: int) -> Any:
    if lane not in ground.lane:
        ground.lane[lane] = lane_polygon(road_map, lane)
    return ground.lane[lane]


def _junction_ground(road_map: RoadMap, ground: _Ground, junction: int) -> Any:
    """What the lanes of a junction cover, with narrow gaps and small holes closed."""
    import shapely

    if junction not in ground.junction:
        members = np.flatnonzero(road_map.lane_junction == junction)
        members = members[np.isin(road_map.lane_kind[members], SURFACE)]
        strips = [_lane_ground(road_map, ground, int(lane)) for lane in members]
        paved = []
        for part in shapely.get_parts(united(strips, PAVED_GAP, mitre_limit=5.0)):
            islands = [hole for hole in part.interiors if shapely.Polygon(hole).area > ISLAND]
            paved.append(shapely.Polygon(part.exterior, islands))
        # the parts are apart: nothing to unite
        ground.junction[junction] = shapely.simplify(shapely.MultiPolygon(paved), THINNING)
    return ground.junction[junction]


def _edges(place: Array, neighbours: list[Array]) -> tuple[Array, Array]:
    """CSR of the neighbours that have a place."""
    kept = [place[row][place[row] >= 0] for row in neighbours]
    joined = np.concatenate(kept) if kept else np.zeros(0, np.int32)
    return _starts([len(row) for row in kept]), joined.astype(np.int32)


def _starts(counts: list[int]) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _objects(items: list) -> Array:
    column = np.empty(len(items), dtype=object)
    column[:] = items
    return column
