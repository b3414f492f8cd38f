"""The ground lanes cover: borders, lane polygons, drivable area."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

DRIVABLE = (LaneKind.DRIVING, LaneKind.BIDIRECTIONAL, LaneKind.PARKING)
"""lanes a car may stand on; a shoulder is for emergencies and must be asked for"""
CRACK = 0.1
"""m, gaps between strips up to this wide are drawing noise"""
THINNING = 0.01
"""m, how far outlines may move to get rid of points on straights"""


def lane_borders(road_map: RoadMap, lane: int) -> tuple[Array, Array]:
    """Left and right edge of a lane, each (n, 3), in the direction of travel.

    The lane's width lies across its banked surface, so a bank of ``b`` puts the left edge
    ``width / 2 * sin(b)`` above the centreline and shortens the plan view by ``cos(b)``.
    """
    if not 0 <= lane < road_map.lanes:
        raise RoadloopError(
            f"lane {lane} is not on map {road_map.name}, which has lanes 0 to {road_map.lanes - 1}"
        )
    rows = road_map.points_of(lane)
    side = _left_edge(road_map, rows)
    return road_map.point_xyz[rows] + side, road_map.point_xyz[rows] - side


def lane_polygon(road_map: RoadMap, lane: int) -> Polygon | MultiPolygon:
    """The lane's strip from above, valid, counter-clockwise; empty where the lane has no width.

    A strip wider than its bend is tight folds over itself; what it covers is then what is returned,
    which may be several polygons.
    """
    import shapely

    left, right = lane_borders(road_map, lane)
    ring = np.concatenate([right[:, :2], left[::-1, :2]])
    return shapely.orient_polygons(_covered(np.array([shapely.Polygon(ring)]))[0])


def drivable_polygons(
    road_map: RoadMap, kinds: Iterable[LaneKind] = DRIVABLE, *, gap: float = CRACK
) -> MultiPolygon:
    """All ground covered by lanes of ``kinds``, from above, with cracks up to ``gap`` m closed.

    With it comes what the map calls drivable beyond its lanes (``area_polygons``).

    A ``gap`` of about 4 m also paves what the lanes of a junction leave open between them. Ground
    on several levels is one area: ask for lanes where bridges matter.
    """
    import shapely

    if not 0.0 <= gap < np.inf:
        raise RoadloopError(f"drivable_polygons: gap {gap} m must be 0 or more")
    wanted = np.flatnonzero(np.isin(road_map.lane_kind, [int(kind) for kind in kinds]))
    beyond = area_polygons(road_map)
    if not len(wanted) and not len(beyond):
        return shapely.MultiPolygon()
    side = _left_edge(road_map, slice(0, len(road_map.point_s)))[:, :2]
    xy = road_map.point_xyz[:, :2]
    rings = []
    for lane in wanted.tolist():
        rows = road_map.points_of(lane)
        rings.append(np.concatenate([xy[rows] - side[rows], (xy[rows] + side[rows])[::-1]]))
    strips = shapely.simplify(_polygons(rings), THINNING)
    strips = _covered(np.atleast_1d(np.asarray(strips)))
    area = united([*strips.tolist(), *beyond.tolist()], gap)
    parts = [part for part in shapely.get_parts(area) if part.area > 0.0]
    return shapely.orient_polygons(shapely.MultiPolygon(parts))


def area_polygons(road_map: RoadMap) -> Array:
    """(areas,) object, valid shapely polygons of the ground beyond lanes (``area_xy``)."""
    bounds = road_map.area_start
    return _covered(_polygons([road_map.area_xy[a:b] for a, b in pairwise(bounds.tolist())]))


def united(areas: Sequence[Any], gap: float = 0.0, mitre_limit: float = 2.0) -> Any:
    """All the ground of valid shapely ``areas``, with gaps up to ``gap`` m closed.

    Corners are mitred, so that they stay corners. Made by buffering all areas at once, as GEOS's
    unions (3.14, ``union_all``) drop whole strips of real towns without a word.
    """
    import shapely

    style = {"join_style": "mitre", "mitre_limit": mitre_limit}
    grown = shapely.buffer(shapely.geometrycollections(list(areas)), gap / 2.0, **style)
    return shapely.buffer(grown, -gap / 2.0, **style) if gap > 0.0 else grown


def _polygons(rings: Sequence[Array]) -> Array:
    """(rings,) object polygons of outlines (n, 2)."""
    import shapely

    if not rings:
        return np.zeros(0, dtype=object)
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    made = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=owner))
    return np.atleast_1d(np.asarray(made))


def _left_edge(road_map: RoadMap, rows: slice) -> Array:
    """(n, 3) from the centreline to the left edge."""
    half, bank = road_map.point_width[rows] / 2.0, road_map.point_bank[rows]
    heading, flat = road_map.point_heading[rows], half * np.cos(bank)
    return np.column_stack([-np.sin(heading) * flat, np.cos(heading) * flat, half * np.sin(bank)])


def _covered(polygons: Array) -> Array:
    """The same ground as valid polygons: a strip folded over itself covers both its lobes."""
    import shapely

    bad = ~shapely.is_valid(polygons)
    if bad.any():
        polygons = polygons.copy()
        polygons[bad] = shapely.make_valid(polygons[bad], method="structure")
    return polygons
