"""Paint, crosswalks and drivable areas of a Lanelet2 map."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.draft import MarkDraft
from roadloop.maps.osm import OsmFile, Way
from roadloop.maps.road_map import MarkColour, MarkKind

Array = np.ndarray

DRIVABLE = frozenset({"parking", "freespace", "exit", "parking_lot", "intersection_area"})
"""areas a car may stand on"""
LINES = {"line_thin": 0.12, "line_thick": 0.25, "zig-zag": 0.12}
"""m of painted lines where the file states no width: narrow and wide ones of the German RMS-1"""
DASHED = {"pedestrian_marking": 0.12, "bike_marking": 0.12}
EDGES = {"curbstone": MarkKind.CURB, "road_border": MarkKind.EDGE}
PAINTS = {
    "solid": MarkKind.SOLID,
    "dashed": MarkKind.BROKEN,
    "solid_solid": MarkKind.SOLID_SOLID,
    "solid_dashed": MarkKind.SOLID_BROKEN,
    "dashed_solid": MarkKind.BROKEN_SOLID,
    "dashed_dashed": MarkKind.BROKEN_BROKEN,
}
STOP_LINE_WIDTH = 0.5
"""m, RMS-1"""


def marks(osm: OsmFile, stop_lines: set[str]) -> Iterable[MarkDraft]:
    """Painted lines and kerbs; stop lines only where no sign or light makes them one."""
    colours = {colour.name.lower(): colour for colour in MarkColour}
    for way in osm.ways.values():
        kind, subtype = way.tags.get("type", ""), way.tags.get("subtype", "")
        if kind in LINES:
            paint, width = PAINTS.get(subtype, MarkKind.SOLID), LINES[kind]
        elif kind in DASHED:
            paint, width = MarkKind.BROKEN, DASHED[kind]
        elif kind in EDGES:
            paint, width = EDGES[kind], 0.12
        elif kind == "stop_line" and way.id not in stop_lines:
            paint, width = MarkKind.SOLID, STOP_LINE_WIDTH
        else:
            continue
        colour = colours.get(way.tags.get("color", "white"), MarkColour.OTHER)
        yield MarkDraft(osm.line(way.nodes), paint, colour, _width(osm, way, width))


def _width(osm: OsmFile, way: Way, default: float) -> float:
    try:
        width = float(way.tags.get("width", default))
    except ValueError:
        width = np.nan
    if not (0.0 <= width < np.inf):
        raise RoadloopError(
            f"{osm.source}: way {way.id} has the width {way.tags['width']!r}; state metres"
        )
    return width or default


def outline(osm: OsmFile, left: tuple[str, ...], right: tuple[str, ...]) -> Array:
    return np.concatenate([osm.line(right), osm.line(left)[::-1]])


def areas(osm: OsmFile, notes: list[str]) -> Iterable[Array]:
    """Outlines (n, 2) of drivable areas."""
    for relation in osm.relations.values():
        tags = relation.tags
        if tags.get("type") != "multipolygon" or tags.get("subtype") not in DRIVABLE:
            continue
        ways = [osm.way(ref, f"area {relation.id}").nodes for ref in relation.refs("outer")]
        ring = _ring(ways)
        if ring is None:
            notes.append(f"area {relation.id}: its edges do not close")
            continue
        if relation.refs("inner"):
            notes.append(f"area {relation.id}: holes")
        yield osm.line(ring)[:, :2]
    for way in osm.ways.values():
        if way.tags.get("area") == "yes" and way.tags.get("type") in DRIVABLE:
            nodes = way.nodes[:-1] if way.nodes[0] == way.nodes[-1] else way.nodes
            if len(nodes) > 2:
                yield osm.line(nodes)[:, :2]


def _ring(ways: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The closed ring of ways that touch at their ends; None where they do not close."""
    if not ways:
        return None
    ring, rest = list(ways[0]), list(ways[1:])
    while rest:
        found = next((w for w in rest if ring[-1] in (w[0], w[-1])), None)
        if found is None:
            return None
        rest.remove(found)
        ring += found[1:] if found[0] == ring[-1] else found[-2::-1]
    closed = ring[0] == ring[-1] and len(ring) > 3
    return tuple(ring[:-1]) if closed else None
