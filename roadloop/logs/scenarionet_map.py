"""The map of a ScenarioNet scenario: its features as a ``MapDraft``.

ScenarioNet keeps what the data set it was converted from has, under common names: a lane is a
centreline (``polyline``), with

* nuScenes: a ``polygon`` for lanes and none for the connectors inside intersections; the third
  column of the polyline is the *heading*, not a height (the devkit's ``discretize_lane``);
* Waymo: the ids of the lines and lanes beside it, by ranges of its points;
* others: neither.

So a lane is, in this order, as wide as its polygon leaves on both sides of the centreline, as the
lines beside it are apart, or as the lanes before and after it are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft, SignalDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, SignalKind

Array = np.ndarray

LANES: dict[str, LaneKind] = {
    "LANE_SURFACE_STREET": LaneKind.DRIVING,
    "LANE_SURFACE_UNSTRUCTURE": LaneKind.DRIVING,
    "LANE_FREEWAY": LaneKind.DRIVING,
    "LANE_BUS_LANE": LaneKind.DRIVING,
    "LANE_UNKNOWN": LaneKind.DRIVING,
    "LANE_BIKE_LANE": LaneKind.BIKING,
}
"""feature types that are lanes"""

_WHITE, _YELLOW = MarkColour.WHITE, MarkColour.YELLOW
MARKS: dict[str, tuple[MarkKind, MarkColour]] = {
    "ROAD_LINE_BROKEN_SINGLE_WHITE": (MarkKind.BROKEN, _WHITE),
    "ROAD_LINE_SOLID_SINGLE_WHITE": (MarkKind.SOLID, _WHITE),
    "ROAD_LINE_SOLID_DOUBLE_WHITE": (MarkKind.SOLID_SOLID, _WHITE),
    "ROAD_LINE_BROKEN_SINGLE_YELLOW": (MarkKind.BROKEN, _YELLOW),
    "ROAD_LINE_BROKEN_DOUBLE_YELLOW": (MarkKind.BROKEN_BROKEN, _YELLOW),
    "ROAD_LINE_SOLID_SINGLE_YELLOW": (MarkKind.SOLID, _YELLOW),
    "ROAD_LINE_SOLID_DOUBLE_YELLOW": (MarkKind.SOLID_SOLID, _YELLOW),
    "ROAD_LINE_PASSING_DOUBLE_YELLOW": (MarkKind.BROKEN_SOLID, _YELLOW),
    "ROAD_EDGE_BOUNDARY": (MarkKind.CURB, MarkColour.OTHER),
    "ROAD_EDGE_MEDIAN": (MarkKind.CURB, MarkColour.OTHER),
    "ROAD_EDGE_SIDEWALK": (MarkKind.CURB, MarkColour.OTHER),
}
"""feature types that are painted lines or kerbs"""

UNUSED = frozenset({"SPEED_BUMP", "BOUNDARY_SIDEWALK", "STOP_LINE", "UNKNOWN"})
"""feature types the road map has no place for"""

STATED_LIMITS = frozenset({"waymo"})
"""data sets whose ``speed_limit_kmh`` is one: the converters of the others write a placeholder,
100 km/h on every nuScenes connector and 85 mph on every Argoverse lane"""

DEFAULT_WIDTH = 3.5
"""m, where neither a lane nor those before and after it tell"""
NARROWEST, WIDEST = 2.2, 6.0
"""m, limits of a lane's width: beyond them a polygon covers something else as well (a parking lane,
the whole of an intersection)"""
JOINT = 0.5
"""m between the end of a lane and the start of the next, where links are found by place"""
JOINT_TURN = 0.6
"""rad between their headings"""
_REACH = 12.0
"""m to either side that are searched for a lane's polygon"""


def map_draft(
    features: dict[str, Any],
    lights: dict[str, Any],
    dataset: str,
    name: str,
    source_hash: str,
    where: str,
) -> MapDraft:
    """The draft of a scenario's ``map_features``; its signals are the lights, then the stop signs.

    Args:
        lights: its ``dynamic_map_states``.
        dataset: its source, as the metadata has it: nuscenes, waymo, ...
        where: the file, for messages.

    Raises:
        RoadloopError: a feature of an unknown type or without its shape.
    """
    has_height = dataset == "waymo"
    lanes: dict[str, Any] = {}
    marks: list[MarkDraft] = []
    crosswalks: list[Array] = []
    drivable: list[Array] = []
    rings: list[Array] = []
    stop_signs: dict[str, Any] = {}
    unused: dict[str, int] = {}
    for key, feature in features.items():
        what = f'{where}: map feature "{key}"'
        kind = feature.get("type") if isinstance(feature, dict) else None
        if kind in LANES:
            line = _polyline(feature, what, has_height)
            if len(line) < 2:
                unused["lanes of a single point"] = unused.get("lanes of a single point", 0) + 1
                continue
            lanes[str(key)] = {**feature, "line": line}
        elif kind in MARKS:
            line = _polyline(feature, what, has_height)
            if len(line) < 2:
                continue
            if str(key).startswith("boundary_"):
                # not paint: ScenarioNet's outline of the data set's drivable area
                rings.append(line[:, :2])
                marks.append(MarkDraft(line, MarkKind.EDGE, MarkColour.OTHER))
            else:
                marks.append(MarkDraft(line, *MARKS[kind]))
        elif kind == "CROSSWALK":
            crosswalks.append(_open(_polygon(feature, what, has_height)))
        elif kind == "DRIVEWAY":
            drivable.append(_open(_polygon(feature, what, has_height))[:, :2])
        elif kind == "STOP_SIGN":
            stop_signs[str(key)] = feature
        elif kind in UNUSED:
            unused[kind] = unused.get(kind, 0) + 1
        else:
            raise RoadloopError(
                f"{what} has the type {kind!r}, which roadloop does not know; known: "
                + ", ".join(sorted({*LANES, *MARKS, "CROSSWALK", "DRIVEWAY", "STOP_SIGN"}))
            )
    drivable += ground_within(rings)
    links = _links(lanes)
    widths = _widths(lanes, features, links)
    drafts = tuple(
        _lane(key, lane, lanes, widths[key], links, dataset) for key, lane in lanes.items()
    )
    signals = [_light(str(key), light, lanes, where) for key, light in lights.items()]
    signals += [_stop_sign(key, sign, lanes, where) for key, sign in stop_signs.items()]
    return MapDraft(
        name=name,
        source_hash=source_hash,
        lanes=drafts,
        signals=tuple(signals),
        crosswalks=tuple(crosswalks),
        marks=tuple(marks),
        drivable=tuple(drivable),
        unsupported=tuple(f"{kind}: {count} left out" for kind, count in sorted(unused.items())),
    )


def ground_within(rings: list[Array]) -> list[Array]:
    """Outlines without holes of the ground that closed ``rings`` (n, 2) enclose.

    A ring inside another is a hole (an island), one inside a hole is ground again. Ground with
    holes is cut across each of them.
    """
    import shapely

    closed = [r for r in rings if len(r) > 3 and np.allclose(r[0], r[-1], atol=1e-3)]
    if not closed:
        return []
    faces = sorted((shapely.make_valid(shapely.Polygon(r)) for r in closed), key=lambda f: -f.area)
    ground = shapely.Polygon()
    for face in faces:  # the largest first: each one turns what it covers into the opposite
        ground = ground.symmetric_difference(face)
    pieces, waiting = [], [p for p in shapely.get_parts(ground) if p.geom_type == "Polygon"]
    while waiting:
        piece = waiting.pop()
        if not piece.interiors:
            pieces.append(np.asarray(piece.exterior.coords)[:-1])
            continue
        x = shapely.Polygon(piece.interiors[0]).representative_point().x
        low, bottom, high, top = piece.bounds
        for side in (shapely.box(low, bottom, x, top), shapely.box(x, bottom, high, top)):
            parts = shapely.get_parts(piece.intersection(side))
            waiting += [p for p in parts if p.geom_type == "Polygon" and p.area > 1e-6]
    return pieces


def light_ids(lights: dict[str, Any]) -> list[str]:
    """The ids of the lights in the order of the draft's signals."""
    return [str(key) for key in lights]


def _points(feature: Any, field: str, what: str, has_height: bool) -> Array:
    """(n, 3) of a field (n, 2 or 3), without repeated points."""
    try:
        points = np.asarray(feature[field], float)
    except (KeyError, TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not np.isfinite(points[:, :2]).all():
        raise RoadloopError(f"{what}: its {field} is missing or no list of points")
    z = points[:, 2] if has_height and points.shape[1] == 3 else np.zeros(len(points))
    points = np.column_stack([points[:, :2], z])
    moved = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1) > 1e-3
    return points[np.concatenate([[True], moved])]


def _polyline(feature: Any, what: str, has_height: bool) -> Array:
    return _points(feature, "polyline", what, has_height)


def _polygon(feature: Any, what: str, has_height: bool) -> Array:
    return _points(feature, "polygon", what, has_height)


def _open(polygon: Array) -> Array:
    return polygon[:-1] if np.allclose(polygon[0], polygon[-1]) else polygon


def _ids(value: Any) -> list[str]:
    return [str(v) for v in value] if value is not None else []


def _links(lanes: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    """Per lane those before and after it: as the data set links them, else by place."""
    if any(lane.get("entry_lanes") or lane.get("exit_lanes") for lane in lanes.values()):
        return {
            key: (_ids(lane.get("entry_lanes")), _ids(lane.get("exit_lanes")))
            for key, lane in lanes.items()
        }
    from scipy.spatial import cKDTree

    names = list(lanes)
    links: dict[str, tuple[list[str], list[str]]] = {key: ([], []) for key in names}
    if not names:
        return links
    lines = [lanes[key]["line"] for key in names]
    starts = cKDTree([line[0, :2] for line in lines])
    into = [np.arctan2(*(line[1] - line[0])[1::-1]) for line in lines]
    for key, line in zip(names, lines, strict=True):
        out = np.arctan2(*(line[-1] - line[-2])[1::-1])
        for other in sorted(starts.query_ball_point(line[-1, :2], JOINT)):
            turn = np.angle(np.exp(1j * (into[other] - out)))
            if abs(turn) < JOINT_TURN and names[other] != key:
                links[key][1].append(names[other])
                links[names[other]][0].append(key)
    return links


def _widths(
    lanes: dict[str, Any], features: dict[str, Any], links: dict[str, tuple[list[str], list[str]]]
) -> dict[str, Array]:
    """Per lane the width at each point, m."""
    known: dict[str, Array] = {}
    for key, lane in lanes.items():
        width = _of_polygon(lane)
        if width is None:
            width = _of_boundaries(lane, features, lanes)
        if width is not None:
            known[key] = np.clip(width, NARROWEST, WIDEST)

    def beside(keys: list[str], end: int) -> float | None:
        found = [float(known[k][end]) for k in keys if k in known]
        return float(np.median(found)) if found else None

    widths = dict(known)
    for key, lane in lanes.items():
        if key in known:
            continue
        before, after = links[key]
        start, end = beside(before, -1), beside(after, 0)
        first = start if start is not None else end if end is not None else DEFAULT_WIDTH
        last = end if end is not None else first
        along = np.linspace(0.0, 1.0, len(lane["line"]))
        widths[key] = first + (last - first) * along
    return widths


def _of_polygon(lane: Any) -> Array | None:
    """(n,) the width of the widest strip about the centreline that stays inside the polygon."""
    if lane.get("polygon") is None:
        return None
    import shapely

    outline = np.asarray(lane["polygon"], float)[:, :2]
    if len(outline) < 3:
        return None
    area = shapely.make_valid(shapely.Polygon(outline))
    xy = lane["line"][:, :2]
    across = _REACH * _normals(xy)
    half = np.full((len(xy), 2), np.nan)
    for side, sign in enumerate((1.0, -1.0)):
        rays = shapely.linestrings(np.stack([xy, xy + sign * across], axis=1))
        inside = shapely.intersection(rays, area)
        for k in np.flatnonzero(shapely.contains_xy(area, *xy.T)).tolist():
            parts = shapely.get_parts(inside[k])
            first = parts[np.argmin(shapely.distance(parts, shapely.Point(xy[k])))]
            half[k, side] = first.length
    return _filled(2.0 * half.min(axis=1))


def _of_boundaries(lane: Any, features: dict[str, Any], lanes: dict[str, Any]) -> Array | None:
    """(n,) width from the lines beside a lane, else from the lanes beside it; None without any."""
    import shapely

    xy = lane["line"][:, :2]
    half = np.full((len(xy), 2), np.nan)
    for side, name in enumerate(("left", "right")):
        for entry in lane.get(f"{name}_neighbor") or ():
            other = lanes.get(str(entry.get("feature_id"))) if isinstance(entry, dict) else None
            rows = _rows(entry, "self_start_index", "self_end_index", len(xy))
            if other is not None:
                line = shapely.LineString(other["line"][:, :2])
                half[rows, side] = shapely.distance(shapely.points(xy[rows]), line) / 2.0
        for entry in lane.get(f"{name}_boundaries") or ():
            other = features.get(str(entry.get("boundary_feature_id")))
            rows = _rows(entry, "lane_start_index", "lane_end_index", len(xy))
            if other is not None and len(other.get("polyline", ())) > 1:
                line = shapely.LineString(np.asarray(other["polyline"], float)[:, :2])
                half[rows, side] = shapely.distance(shapely.points(xy[rows]), line)
    half[(half < NARROWEST / 2.0) | (half > WIDEST / 2.0)] = np.nan
    if np.isnan(half).all():
        return None
    # one side known: the other is as far
    half = np.where(np.isnan(half), half[:, ::-1], half)
    return _filled(2.0 * half.min(axis=1))


def _rows(entry: Any, start: str, end: str, count: int) -> slice:
    if not isinstance(entry, dict):
        return slice(0, count)
    return slice(int(entry.get(start, 0)), int(entry.get(end, count)) + 1)


def _filled(width: Array) -> Array | None:
    """The same (n,) with gaps interpolated; None where nothing is known."""
    known = np.flatnonzero(~np.isnan(width))
    return np.interp(np.arange(len(width)), known, width[known]) if len(known) else None


def _normals(xy: Array) -> Array:
    """(n, 2) unit vectors to the left of a polyline."""
    along = np.gradient(xy, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    return np.column_stack([-along[:, 1], along[:, 0]])


def _lane(
    key: str,
    lane: Any,
    lanes: dict[str, Any],
    width: Array,
    links: dict[str, tuple[list[str], list[str]]],
    dataset: str,
) -> LaneDraft:
    limit = lane.get("speed_limit_kmh") if dataset in STATED_LIMITS else None
    left, change_left = _neighbour(lane, "left", lanes)
    right, change_right = _neighbour(lane, "right", lanes)
    connector = dataset == "nuscenes" and lane.get("polygon") is None
    return LaneDraft(
        id=key,
        centreline=lane["line"],
        width=width,
        kind=LANES[lane["type"]],
        speed_limit=float(limit) / 3.6 if limit else None,
        predecessors=tuple(links[key][0]),
        successors=tuple(links[key][1]),
        left_neighbour=left,
        right_neighbour=right,
        change_left=change_left,
        change_right=change_right,
        in_junction=connector or bool(lane.get("interpolating") and dataset == "waymo"),
    )


def _neighbour(lane: Any, side: str, lanes: dict[str, Any]) -> tuple[str, bool | None]:
    """The lane beside for the longest stretch, and whether the line between may be crossed."""
    longest, chosen = 0, ("", None)
    for entry in lane.get(f"{side}_neighbor") or ():
        if not isinstance(entry, dict):  # a bare id, as nuScenes and nuPlan have them
            entry = {"feature_id": entry}
        other = lanes.get(str(entry.get("feature_id")))
        if other is None or LANES[other["type"]] != LANES[lane["type"]]:
            continue
        rows = _rows(entry, "self_start_index", "self_end_index", len(lane["line"]))
        if rows.stop - rows.start > longest:
            kinds = [str(b.get("boundary_type")) for b in entry.get("boundaries") or ()]
            solid = any("SOLID" in kind for kind in kinds)
            longest = rows.stop - rows.start
            chosen = (str(entry["feature_id"]), not solid if kinds else None)
    return chosen


def _along(line: Array, xy: Array) -> float:
    """m along a polyline (n, 3) of the point nearest to ``xy``."""
    from roadloop.geometry import polyline_project

    return float(polyline_project(line[:, :2], np.asarray(xy, float)[:2])[0])


def _heading_at(line: Array, s: float) -> float:
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    k = min(int(np.searchsorted(arc, s, side="right")), len(line) - 1)
    return float(np.arctan2(*(line[k] - line[k - 1])[1::-1]))


def _light(key: str, light: Any, lanes: dict[str, Any], where: str) -> SignalDraft:
    what = f'{where}: traffic light "{key}"'
    lane = str(light.get("lane", key))
    spot = np.asarray(light.get("stop_point", light.get("position", ())), float).ravel()
    if len(spot) not in (0, 2, 3) or not np.isfinite(spot).all():
        raise RoadloopError(f"{what}: its stop point is no place")
    if lane not in lanes:
        # a light of a lane that is not on the map governs nobody
        xyz = (*(np.concatenate([spot, np.zeros(3)])[:3]).tolist(),)
        return SignalDraft(key, SignalKind.TRAFFIC_LIGHT, xyz, 0.0)
    line = lanes[lane]["line"]
    s = _along(line, spot) if len(spot) else 0.0
    xyz = tuple(np.concatenate([spot, line[0, len(spot) :]]).tolist())
    return SignalDraft(key, SignalKind.TRAFFIC_LIGHT, xyz, _heading_at(line, s), stops=((lane, s),))


def _stop_sign(key: str, sign: Any, lanes: dict[str, Any], where: str) -> SignalDraft:
    place = np.asarray(sign.get("position", ()), float).ravel()
    if place.shape != (3,) or not np.isfinite(place).all():
        raise RoadloopError(f'{where}: stop sign "{key}" has no position')
    governed = [lane for lane in _ids(sign.get("lane")) if lane in lanes]
    stops = tuple((lane, _along(lanes[lane]["line"], place)) for lane in governed)
    heading = _heading_at(lanes[governed[0]]["line"], stops[0][1] or 0.0) if governed else 0.0
    return SignalDraft(key, SignalKind.STOP, (place[0], place[1], place[2]), heading, stops=stops)
