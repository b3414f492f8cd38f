"""Maps of 123D logs as a ``MapDraft``: lanes, junctions, lights, signs, crossings, lines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.geometry import frenet_from_xy, polyline_headings
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft, SignalDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, RoadMap, SignalKind

Array = np.ndarray

LANES = {
    "UNDEFINED": LaneKind.DRIVING,
    "FREEWAY": LaneKind.DRIVING,
    "SURFACE_STREET": LaneKind.DRIVING,
    "BIKE_LANE": LaneKind.BIKING,
    "BUS_LANE": LaneKind.RESTRICTED,
}
"""LaneType -> what a lane is for"""

MARKS = {
    "DASH_SOLID": MarkKind.BROKEN_SOLID,
    "DASHED": MarkKind.BROKEN,
    "DOUBLE_SOLID": MarkKind.SOLID_SOLID,
    "DOUBLE_DASH": MarkKind.BROKEN_BROKEN,
    "SOLID": MarkKind.SOLID,
    "SOLID_DASH": MarkKind.SOLID_BROKEN,
}
"""RoadLineType without its colour -> how it is painted"""

COLOURS = {"WHITE": MarkColour.WHITE, "YELLOW": MarkColour.YELLOW, "BLUE": MarkColour.BLUE}

SIGNS = {"STOP_SIGN": SignalKind.STOP, "YIELD_SIGN": SignalKind.YIELD}
"""StopZoneType -> sign; lights are known by their lanes"""

JUNCTIONS = ("DEFAULT", "TRAFFIC_LIGHT", "STOP_SIGN", "UNKNOWN")
"""IntersectionType of places where lanes cross; at the others they only branch, merge or go on"""


def load_map(folder: Path, lights: tuple[int, ...]) -> RoadMap:
    """The compiled map of a log.

    Args:
        lights: lanes with a light, in the order of the recording.

    Raises:
        RoadloopError: py123d is not installed, or the map cannot be used.
    """
    from roadloop.datasets.from_123d import open_scene
    from roadloop.maps.compile_draft import compile_map

    return compile_map(map_draft(open_scene(folder).get_map_api(), lights))


def signs(api: Any) -> list[Any]:
    """The stop zones that are signs and say which lanes they govern."""
    if "STOP_ZONE" not in {layer.name for layer in api.get_available_map_layers()}:
        return []
    zones = api.get_all_map_objects_in_layer("stop_zone")
    return [z for z in zones if z.stop_zone_type.name in SIGNS and z.lane_ids]


def map_draft(api: Any, lights: tuple[int, ...] = ()) -> MapDraft:
    """The draft of a py123d ``MapAPI``; its signals are the lights, then the signs."""
    layers = {layer.name: layer for layer in api.get_available_map_layers()}

    def objects(name: str) -> list[Any]:
        return list(api.get_all_map_objects_in_layer(layers[name])) if name in layers else []

    junction_of = {
        group: str(place.object_id)
        for place in objects("INTERSECTION")
        if place.intersection_type.name in JUNCTIONS
        for group in place.lane_group_ids
    }
    lanes = {lane.object_id: lane for lane in objects("LANE")}
    drafts = [_lane(lane, junction_of) for lane in lanes.values()]
    meta = api.get_map_metadata()
    place = meta.log_name if meta.map_is_per_log else meta.location
    signals = [_light(number, lanes.get(number)) for number in lights]
    signals += [_sign(zone, lanes) for zone in signs(api)]
    grounds = [*objects("GENERIC_DRIVABLE"), *objects("CARPARK")]
    return MapDraft(
        name=f"{meta.dataset}_{place}",
        source_hash=_hash(drafts, meta),
        lanes=tuple(drafts),
        signals=tuple(signals),
        crosswalks=tuple(_outline(zone) for zone in objects("CROSSWALK")),
        marks=tuple(m for line in objects("ROAD_LINE") if (m := _mark(line)) is not None),
        drivable=tuple(_outline(ground)[:, :2] for ground in grounds),
    )


def _lane(lane: Any, junction_of: dict[Any, str]) -> LaneDraft:
    junction = junction_of.get(lane.lane_group_id, "")
    return LaneDraft(
        id=str(lane.object_id),
        left=_points(lane.left_boundary),
        right=_points(lane.right_boundary),
        centreline=_points(lane.centerline),
        kind=LANES.get(lane.lane_type.name, LaneKind.OTHER),
        speed_limit=lane.speed_limit_mps,
        successors=tuple(map(str, lane.successor_ids)),
        predecessors=tuple(map(str, lane.predecessor_ids)),
        left_neighbour="" if lane.left_lane_id is None else str(lane.left_lane_id),
        right_neighbour="" if lane.right_lane_id is None else str(lane.right_lane_id),
        in_junction=bool(junction),
        junction=junction,
    )


def _light(number: int, lane: Any | None) -> SignalDraft:
    """Where its lane begins: 123D hangs lights on the lanes of a junction."""
    if lane is None:
        return SignalDraft(str(number), SignalKind.TRAFFIC_LIGHT, (0.0, 0.0, 0.0), 0.0)
    line = _points(lane.centerline)
    x, y, z = line[0].tolist()
    heading = float(polyline_headings(line)[0])
    stops = ((str(number), 0.0),)
    return SignalDraft(str(number), SignalKind.TRAFFIC_LIGHT, (x, y, z), heading, stops=stops)


def _sign(zone: Any, lanes: dict[Any, Any]) -> SignalDraft:
    """Where its zone's middle lies along the lanes it governs."""
    middle = _outline(zone).mean(axis=0)
    stops, heading = [], 0.0
    for number in zone.lane_ids:
        if number in lanes:
            line = _points(lanes[number].centerline)
            s, _ = frenet_from_xy(line[:, :2], middle[:2])
            stops.append((str(number), max(float(s), 0.0)))
            heading = float(polyline_headings(line)[0])
    x, y, z = middle.tolist()
    kind = SIGNS[zone.stop_zone_type.name]
    return SignalDraft(f"zone_{zone.object_id}", kind, (x, y, z), heading, stops=tuple(stops))


def _mark(line: Any) -> MarkDraft | None:
    pattern, _, colour = line.road_line_type.name.rpartition("_")
    if pattern not in MARKS:
        return None
    return MarkDraft(_points(line.polyline), MARKS[pattern], COLOURS.get(colour, MarkColour.OTHER))


def _points(polyline: Any) -> Array:
    """(n, 3), z = 0 where the map has no heights."""
    points = np.asarray(polyline.array, float)
    if points.shape[1] == 3:
        return points
    return np.concatenate([points, np.zeros((len(points), 1))], axis=1)


def _outline(surface: Any) -> Array:
    """(n, 3) corners, not closed."""
    points = _points(surface.outline)
    return points[:-1] if len(points) > 1 and np.array_equal(points[0], points[-1]) else points


def _hash(lanes: list[LaneDraft], meta: Any) -> str:
    """SHA-256 of what was read: py123d does not say which bytes it read."""
    digest = hashlib.sha256(repr(meta.to_dict()).encode())
    for lane in lanes:
        digest.update(repr((lane.id, lane.successors, lane.speed_limit)).encode())
        for line in (lane.left, lane.right):
            digest.update(np.ascontiguousarray(line).tobytes())
    return digest.hexdigest()
