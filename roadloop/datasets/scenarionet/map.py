"""The map of a ScenarioNet scenario: its features as a ``MapDraft``.

ScenarioNet keeps what the data set it was converted from has, under common names. Of Waymo it keeps
everything, so the map is the one ``waymo_map`` makes. Lanes of the others are a centreline
(``polyline``), with a ``polygon`` where the data set has one (not inside intersections). Two traps
of nuScenes: the third column of a polyline is the *heading*, not a height (the devkit's
``discretize_lane``), and lines called ``boundary_0`` and on, of the type of white paint, are the
outline of the drivable area.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from roadloop.datasets.nuscenes.lanes import Lane, edges, lane_drafts
from roadloop.datasets.waymo import map as waymo_map
from roadloop.errors import RoadloopError
from roadloop.maps.draft import MapDraft, MarkDraft, SignalDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, SignalKind

Array = np.ndarray

LANES: dict[str, LaneKind] = {
    "LANE_UNKNOWN": LaneKind.DRIVING,
    "LANE_FREEWAY": LaneKind.DRIVING,
    "LANE_SURFACE_STREET": LaneKind.DRIVING,
    "LANE_BIKE_LANE": LaneKind.BIKING,
    "LANE_SURFACE_UNSTRUCTURE": LaneKind.DRIVING,
    "LANE_BUS_LANE": LaneKind.DRIVING,
}
"""feature types that are lanes; the first four are Waymo's, in the order of their numbers"""

_WHITE, _YELLOW = MarkColour.WHITE, MarkColour.YELLOW
LINES: dict[str, tuple[MarkKind, MarkColour]] = {
    "UNKNOWN": (MarkKind.OTHER, MarkColour.OTHER),
    "ROAD_LINE_BROKEN_SINGLE_WHITE": (MarkKind.BROKEN, _WHITE),
    "ROAD_LINE_SOLID_SINGLE_WHITE": (MarkKind.SOLID, _WHITE),
    "ROAD_LINE_SOLID_DOUBLE_WHITE": (MarkKind.SOLID_SOLID, _WHITE),
    "ROAD_LINE_BROKEN_SINGLE_YELLOW": (MarkKind.BROKEN, _YELLOW),
    "ROAD_LINE_BROKEN_DOUBLE_YELLOW": (MarkKind.BROKEN_BROKEN, _YELLOW),
    "ROAD_LINE_SOLID_SINGLE_YELLOW": (MarkKind.SOLID, _YELLOW),
    "ROAD_LINE_SOLID_DOUBLE_YELLOW": (MarkKind.SOLID_SOLID, _YELLOW),
    "ROAD_LINE_PASSING_DOUBLE_YELLOW": (MarkKind.SOLID_BROKEN, _YELLOW),
}
"""feature types that are painted lines, in the order of Waymo's numbers"""

EDGES = frozenset({"ROAD_EDGE_BOUNDARY", "ROAD_EDGE_MEDIAN", "ROAD_EDGE_SIDEWALK"})
UNUSED = frozenset({"SPEED_BUMP", "BOUNDARY_SIDEWALK", "STOP_LINE"})
"""feature types a road map has no place for"""
KNOWN = (*LANES, *LINES, *sorted(EDGES), "CROSSWALK", "DRIVEWAY", "STOP_SIGN", *sorted(UNUSED))

LEFT_HAND = ("singapore", "sg-", "sg_")
"""how the names of places begin where traffic keeps left: those of nuScenes and nuPlan"""
JOINT = 0.5
"""m between the end of a lane and the start of the next, where links are found by place"""
JOINT_TURN = 0.6
"""rad between their headings"""


def map_draft(
    features: dict[str, Any],
    lights: dict[str, Any],
    dataset: str,
    place: str,
    name: str,
    source_hash: str,
    where: str,
) -> MapDraft:
    """The draft of a scenario's ``map_features``; its signals are the lights, then the stop signs.

    The lights are in the order of ``light_ids``.

    Args:
        lights: its ``dynamic_map_states``.
        dataset: its source, as the metadata has it: nuscenes, waymo, ...
        place: the name of the city, as the metadata has it; tells which side traffic keeps to.
        where: the file, for messages.

    Raises:
        RoadloopError: a feature of an unknown type or without its shape, no lanes.
    """
    for key, feature in features.items():
        if not isinstance(feature, dict) or feature.get("type") not in KNOWN:
            kind = feature.get("type") if isinstance(feature, dict) else None
            raise RoadloopError(
                f'{where}: map feature "{key}" has the type {kind!r}, which roadloop does not '
                f"know; known: {', '.join(KNOWN)}"
            )
    if dataset == "waymo":
        return waymo_map.map_draft(
            [_as_waymo(key, feature, where) for key, feature in features.items()],
            [_waymo_lights(lights, where)],
            name,
            source_hash,
            where,
        )
    return _draft(features, lights, place, name, source_hash, where)


def light_ids(lights: dict[str, Any], dataset: str) -> list[str]:
    """The keys of ``dynamic_map_states`` in the order of the draft's signals."""
    return sorted(lights, key=int) if dataset == "waymo" else list(lights)


def ground_within(rings: list[Array]) -> list[Array]:
    """Outlines without holes of the ground that closed ``rings`` (n, 2) enclose.

    A ring inside another is a hole (an island), one inside a hole is ground again. Ground with
    holes is cut across each of them.
    """
    import shapely

    closed = [r for r in rings if len(r) > 3 and np.allclose(r[0], r[-1], atol=1e-3)]
    ground: Any = shapely.Polygon()
    for ring in sorted(closed, key=lambda r: -shapely.Polygon(r).area):
        # the largest first: each one turns what it covers into the opposite
        ground = ground.symmetric_difference(shapely.make_valid(shapely.Polygon(ring)))
    pieces: list[Array] = []
    waiting = _polygons(ground)
    while waiting:
        piece = waiting.pop()
        if not piece.interiors:
            pieces.append(np.asarray(piece.exterior.coords)[:-1])
            continue
        x = shapely.Polygon(piece.interiors[0]).representative_point().x
        low, bottom, high, top = piece.bounds
        for side in (shapely.box(low, bottom, x, top), shapely.box(x, bottom, high, top)):
            waiting += _polygons(piece.intersection(side))
    return pieces


def _polygons(area: Any) -> list[Any]:
    import shapely

    parts = shapely.get_parts(area).tolist()
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 1e-6]


# --- Waymo --------------------------------------------------------------------------------------


def _as_waymo(key: str, feature: dict[str, Any], where: str) -> dict[str, Any]:
    """A feature as ``waymo_fields.FEATURE`` decodes it from Waymo's own files."""
    what, kind = f'{where}: map feature "{key}"', feature["type"]
    result: dict[str, Any] = {"id": _number(key, what)}
    if kind in LANES:
        result["lane"] = {
            "speed_limit_mph": float(feature.get("speed_limit_mph", 0.0)),
            "type": min(list(LANES).index(kind), 3),
            "interpolating": bool(feature.get("interpolating", False)),
            "polyline": _columns(feature, "polyline", what),
            "entry_lanes": [_number(v, what) for v in feature.get("entry_lanes", ())],
            "exit_lanes": [_number(v, what) for v in feature.get("exit_lanes", ())],
            "left_neighbors": [_beside(e, what) for e in feature.get("left_neighbor", ())],
            "right_neighbors": [_beside(e, what) for e in feature.get("right_neighbor", ())],
            "left_boundaries": [_beside(e, what) for e in feature.get("left_boundaries", ())],
            "right_boundaries": [_beside(e, what) for e in feature.get("right_boundaries", ())],
        }
    elif kind in LINES:
        type_ = list(LINES).index(kind)
        result["road_line"] = {"type": type_, "polyline": _columns(feature, "polyline", what)}
    elif kind in EDGES:
        result["road_edge"] = {"polyline": _columns(feature, "polyline", what)}
    elif kind == "STOP_SIGN":
        x, y, z = _place(feature.get("position"), what)
        lanes = [_number(lane, what) for lane in feature.get("lane", ())]
        result["stop_sign"] = {"lane": lanes, "position": {"x": x, "y": y, "z": z}}
    elif kind in ("CROSSWALK", "DRIVEWAY", "SPEED_BUMP"):
        result[kind.lower()] = {"polygon": _columns(feature, "polygon", what)}
    return result


def _beside(entry: dict[str, Any], what: str) -> dict[str, Any]:
    """A neighbour or boundary, whose numbers ScenarioNet writes as text."""
    result: dict[str, Any] = {}
    for field, value in entry.items():
        if field == "boundaries":
            result[field] = [_beside(part, what) for part in value]
        elif field == "boundary_type":
            result[field] = list(LINES).index(value) if value in LINES else 0
        else:
            result[field] = _number(value, what)
    return result


def _waymo_lights(lights: dict[str, Any], where: str) -> list[dict[str, Any]]:
    states = []
    for key, light in lights.items():
        what = f'{where}: traffic light "{key}"'
        x, y, z = _place(light.get("stop_point"), what)
        states.append({"lane": _number(key, what), "stop_point": {"x": x, "y": y, "z": z}})
    return states


def _number(value: Any, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise RoadloopError(f"{what}: {value!r} is no number, as ids of Waymo are") from None


def _columns(feature: dict[str, Any], field: str, what: str) -> dict[str, Array]:
    points = _points(feature, field, what, has_height=True)
    return {axis: points[:, k] for k, axis in enumerate("xyz")}


def _place(value: Any, what: str) -> tuple[float, float, float]:
    """x, y, z of a point (2 or 3)."""
    try:
        point = np.asarray(value, float).ravel()
    except (TypeError, ValueError):
        point = np.zeros(0)
    if len(point) not in (2, 3) or not np.isfinite(point).all():
        raise RoadloopError(f"{what} has no place")
    return float(point[0]), float(point[1]), float(point[2]) if len(point) > 2 else 0.0


# --- nuScenes and others ------------------------------------------------------------------------


def _draft(
    features: dict[str, Any],
    lights: dict[str, Any],
    place: str,
    name: str,
    source_hash: str,
    where: str,
) -> MapDraft:
    lines: dict[str, Array] = {}
    marks: list[MarkDraft] = []
    rings: list[Array] = []
    crosswalks: list[Array] = []
    drivable: list[Array] = []
    left_out: dict[str, int] = {}
    for key, feature in features.items():
        what, kind = f'{where}: map feature "{key}"', feature["type"]
        if kind in UNUSED:
            left_out[kind] = left_out.get(kind, 0) + 1
        elif kind in LANES or kind in LINES or kind in EDGES:
            line = _distinct(_points(feature, "polyline", what))
            if len(line) < 2:
                left_out["lines of one point"] = left_out.get("lines of one point", 0) + 1
            elif kind in LANES:
                lines[str(key)] = line
            elif str(key).startswith("boundary_"):
                rings.append(line[:, :2])
                marks.append(MarkDraft(line, MarkKind.EDGE, MarkColour.OTHER))
            elif kind in EDGES:
                marks.append(MarkDraft(line, MarkKind.CURB, MarkColour.OTHER))
            else:
                marks.append(MarkDraft(line, *LINES[kind]))
        elif kind == "CROSSWALK":
            crosswalks.append(_open(_points(feature, "polygon", what)))
        elif kind == "DRIVEWAY":
            drivable.append(_open(_points(feature, "polygon", what))[:, :2])
    if not lines:
        raise RoadloopError(f"{where} has no lanes, so no map; use it without one")
    lanes = _lanes(features, lines, where)
    left_hand = place.startswith(LEFT_HAND)
    has_polygons = any(lane.polygon is not None for lane in lanes.values())
    drafts = [
        dataclasses.replace(
            draft,
            kind=LANES[features[draft.id]["type"]],
            in_junction=draft.in_junction and has_polygons,
        )
        for draft in lane_drafts(lanes, left_hand)
    ]
    signals = [_light(key, lights[key], lanes, where) for key in light_ids(lights, "")]
    signals += [
        _stop_sign(key, feature, lanes, where)
        for key, feature in features.items()
        if feature["type"] == "STOP_SIGN"
    ]
    return MapDraft(
        name=name,
        source_hash=source_hash,
        lanes=tuple(drafts),
        signals=tuple(signals),
        crosswalks=tuple(crosswalks),
        marks=tuple(marks),
        drivable=(*drivable, *ground_within(rings)),
        left_hand=left_hand,
        unsupported=tuple(f"{what}: {count} left out" for what, count in sorted(left_out.items())),
    )


def _lanes(features: dict[str, Any], lines: dict[str, Array], where: str) -> dict[str, Lane]:
    """The lanes with their edges and links.

    No speed limits: what these converters write as one is a placeholder, 100 km/h on every
    connector of nuScenes and 85 mph on every lane of Argoverse 2.
    """
    import shapely

    links = _links(features, lines)
    lanes: dict[str, Lane] = {}
    for key, line in lines.items():
        polygon: Any = None
        if features[key].get("polygon") is not None:
            outline = _points(features[key], "polygon", f'{where}: map feature "{key}"')
            if len(outline) > 2:
                parts = _polygons(shapely.make_valid(shapely.Polygon(outline[:, :2])))
                polygon = max(parts, key=lambda part: part.area, default=None)
        lanes[key] = Lane(
            key,
            line,
            *edges(line, polygon),
            polygon=polygon,
            before=tuple(links[key][0]),
            after=tuple(links[key][1]),
            kind="",
            solid_left=False,
            solid_right=False,
        )
    return lanes


def _links(
    features: dict[str, Any], lines: dict[str, Array]
) -> dict[str, tuple[list[str], list[str]]]:
    """Per lane those before and after it: as the data set links them, else by place."""
    stated: dict[str, tuple[list[str], list[str]]] = {
        key: (
            [str(lane) for lane in features[key].get("entry_lanes") or ()],
            [str(lane) for lane in features[key].get("exit_lanes") or ()],
        )
        for key in lines
    }
    if any(before or after for before, after in stated.values()):
        return stated
    from scipy.spatial import KDTree

    names = list(lines)
    links: dict[str, tuple[list[str], list[str]]] = {key: ([], []) for key in names}
    starts = KDTree(np.array([lines[key][0, :2] for key in names]))
    into = [_heading(lines[key][1] - lines[key][0]) for key in names]
    for key, line in lines.items():
        out = _heading(line[-1] - line[-2])
        for other in sorted(starts.query_ball_point(line[-1, :2], JOINT)):
            turn = np.angle(np.exp(1j * (into[other] - out)))
            if abs(turn) < JOINT_TURN and names[other] != key:
                links[key][1].append(names[other])
                links[names[other]][0].append(key)
    return links


def _heading(along: Array) -> float:
    return float(np.arctan2(along[1], along[0]))


def _points(feature: dict[str, Any], field: str, what: str, has_height: bool = False) -> Array:
    """(n, 3) of a field (n, 2 or 3), z 0 where its third column is no height."""
    try:
        points: Array = np.asarray(feature[field], float)
    except (KeyError, TypeError, ValueError):
        points = np.zeros((0, 0))
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not np.isfinite(points[:, :2]).all():
        raise RoadloopError(f"{what}: its {field} is missing or no list of points")
    z = points[:, 2] if has_height and points.shape[1] == 3 else np.zeros(len(points))
    return np.column_stack([points[:, :2], z])


def _distinct(line: Array) -> Array:
    """Without points that repeat the one before."""
    moved = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1) > 1e-3
    return line[np.concatenate([np.ones(min(len(line), 1), bool), moved])]


def _open(polygon: Array) -> Array:
    return polygon[:-1] if np.allclose(polygon[0], polygon[-1]) else polygon


def _along(lane: Lane, point: tuple[float, float, float]) -> float:
    """m along a lane of the place nearest to ``point``."""
    from roadloop.geometry import polyline_project

    return float(polyline_project(lane.centreline[:, :2], np.array(point[:2]))[0])


def _light(key: str, light: Any, lanes: dict[str, Lane], where: str) -> SignalDraft:
    """The light of one lane, at its stop line; without one where the lane begins."""
    lane = lanes.get(str(light.get("lane", key)))
    stop = light.get("stop_point", light.get("position"))
    if stop is not None:
        point = _place(stop, f'{where}: traffic light "{key}"')
    else:
        x, y, z = lane.centreline[0].tolist() if lane is not None else (0.0, 0.0, 0.0)
        point = (x, y, z)
    if lane is None:
        return SignalDraft(str(key), SignalKind.TRAFFIC_LIGHT, point, 0.0)
    s = _along(lane, point)
    return SignalDraft(
        str(key), SignalKind.TRAFFIC_LIGHT, point, lane.heading_at(s), stops=((lane.token, s),)
    )


def _stop_sign(key: str, sign: Any, lanes: dict[str, Lane], where: str) -> SignalDraft:
    point = _place(sign.get("position"), f'{where}: stop sign "{key}"')
    governed = [lanes[str(lane)] for lane in sign.get("lane") or () if str(lane) in lanes]
    stops = tuple((lane.token, _along(lane, point)) for lane in governed)
    heading = governed[0].heading_at(stops[0][1]) if governed else 0.0
    return SignalDraft(str(key), SignalKind.STOP, point, heading, stops=stops)
