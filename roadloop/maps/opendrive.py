"""OpenDRIVE 1.4 to 1.7 (.xodr, .xodr.gz) to the lane graph ``RoadMap``.

The steps, one module each: ``opendrive_xml`` (checked attributes), ``plan_view`` (reference
lines), ``opendrive_roads`` (lanes as records), ``lane_geometry`` (centrelines), ``lane_links``
(the graph), ``road_marks``, ``opendrive_signals`` (signals, stop lines) and ``opendrive_objects``
(crosswalks, painted stop lines). What cannot be used is named in ``RoadMap.unsupported``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.lane_geometry import (
    LanePoints,
    curvature_along,
    section_grid,
    section_lanes,
)
from roadloop.maps.lane_links import (
    Connector,
    LaneKey,
    link_lanes,
    neighbours,
    rows_by_first,
    without_sideways_links,
)
from roadloop.maps.opendrive_objects import read_objects
from roadloop.maps.opendrive_roads import Road, Section, read_road
from roadloop.maps.opendrive_signals import read_signals
from roadloop.maps.opendrive_xml import Element, Unsupported, complaint, map_bytes, parse, text
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.maps.road_marks import MarkLine, crossable, mark_lines, section_marks

Array = np.ndarray

READER_VERSION = "1"
"""Part of every content hash: raise it whenever the same file compiles to another RoadMap."""


def content_hash(xml: bytes) -> str:
    """Hex SHA-256 of the uncompressed XML and the reader's version."""
    return hashlib.sha256(xml + b"\0roadloop " + READER_VERSION.encode()).hexdigest()


def read_bytes(source: str | Path | bytes) -> tuple[bytes, str, str]:
    """Uncompressed XML, how messages call the source, and the map's name."""
    return map_bytes(source, "OpenDRIVE", ".xodr")


@dataclass
class _LaneTable:
    """Lanes as they are collected, one row each."""

    key: list[LaneKey] = field(default_factory=list)
    road: list[Road] = field(default_factory=list)
    kind: list[LaneKind] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)
    speed_stated: list[bool] = field(default_factory=list)
    points: list[LanePoints] = field(default_factory=list)
    marks: list[MarkLine] = field(default_factory=list)
    left: list[tuple[LaneKey | None, bool]] = field(default_factory=list)
    """neighbour and whether the mark in between may be crossed"""
    right: list[tuple[LaneKey | None, bool]] = field(default_factory=list)


def _add_section(table: _LaneTable, road: Road, section: Section, unsupported: Unsupported) -> None:
    points: dict[int, LanePoints] = {}
    marks = section_marks(road, section, unsupported)
    centre_drawn = False
    for sign in (1, -1):
        lanes, end = section.side(sign)
        if end <= section.start:
            continue
        grid = section_grid(road, section, sign)
        side = section_lanes(road, section, sign, grid)
        points.update({lane.number: p for lane, p in zip(lanes, side, strict=True)})
        edges = [(i + 1, lane.number) for i, lane in enumerate(lanes)]
        if not centre_drawn:
            edges, centre_drawn = [(0, 0), *edges], True
        for edge, number in edges:
            table.marks.extend(mark_lines(grid, edge, marks[number]))
    for lane, left, right in neighbours(road, section):
        if lane.number not in points:
            continue
        length = section.side(1 if lane.number > 0 else -1)[1] - section.start
        speed, stated = road.speed_at(section.start + length / 2)
        if np.isfinite(lane.speed):
            speed, stated = lane.speed, True
        table.key.append((road.id, section.index, lane.number))
        table.road.append(road)
        table.kind.append(lane.kind)
        table.speed.append(speed)
        table.speed_stated.append(stated)
        table.points.append(points[lane.number])
        for neighbour, driver_left, out in ((left, True, table.left), (right, False, table.right)):
            if neighbour is None or neighbour.number not in points:
                out.append((None, False))
                continue
            # the mark between two lanes is on the outer edge of the inner one
            between = (
                0
                if neighbour.number * lane.number < 0
                else min(neighbour.number, lane.number, key=abs)
            )
            to_left = driver_left == road.travels_forward(lane.number)
            allowed = crossable(marks[between], to_left, length)
            out.append(((road.id, section.index, neighbour.number), allowed))


def _neighbour_arrays(table: _LaneTable, rows: dict[LaneKey, int]) -> dict[str, Array]:
    count = len(table.key)
    left, right, opposite = np.full((3, count), -1, np.int32)
    change_left, change_right = np.zeros((2, count), bool)
    for row in range(count):
        if table.kind[row] > LaneKind.BIDIRECTIONAL:
            continue
        forward = table.road[row].travels_forward(table.key[row][2])
        for (key, allowed), same, change in (
            (table.left[row], left, change_left),
            (table.right[row], right, change_right),
        ):
            other = -1 if key is None else rows[key]
            if other < 0 or table.kind[other] > LaneKind.BIDIRECTIONAL:
                continue
            assert key is not None
            if table.road[row].travels_forward(key[2]) == forward:
                same[row], change[row] = other, allowed
            else:
                opposite[row] = other
    return {
        "lane_left": left,
        "lane_right": right,
        "lane_opposite": opposite,
        "lane_change_left": change_left,
        "lane_change_right": change_right,
    }


def _speed_limits(table: _LaneTable, first: Array, second: Array) -> Array:
    """Limits (L,) m/s: junction lanes without one take the lower of their neighbours' on the way.

    Exporters commonly leave connecting roads without a type; the road type's default would make
    every motorway ramp a town street.
    """
    speed = np.array(table.speed)
    unknown = ~np.array(table.speed_stated) & np.array([r.junction != "-1" for r in table.road])
    unknown &= np.array([not r.speeds for r in table.road])
    for _ in range(len(speed)):
        lower = np.full(len(speed), np.inf)
        for a, b in ((first, second), (second, first)):
            known = unknown[a] & ~unknown[b]
            np.minimum.at(lower, a[known], speed[b[known]])
        found = np.isfinite(lower)
        if not found.any():
            break
        speed[found] = lower[found]
        unknown &= ~found
    return speed


def _priorities(junctions: list[Element]) -> tuple[Array, Array, Array]:
    rows = [
        (text(p, "high"), text(p, "low"), j)
        for j, junction in enumerate(junctions)
        for p in junction.findall("priority")
        if p.get("high") and p.get("low")
    ]
    high = np.array([r[0] for r in rows], dtype=str)
    low = np.array([r[1] for r in rows], dtype=str)
    return high, low, np.array([r[2] for r in rows], np.int32)


def _starts(lengths: list[int]) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _read_roads(root: Element, source: str, unsupported: Unsupported) -> dict[str, Road]:
    roads: dict[str, Road] = {}
    for element in root.findall("road"):
        road = read_road(element, unsupported)
        if road.id in roads:
            raise complaint(element, f"road id {road.id} is used twice", "rename one")
        roads[road.id] = road
    if not roads:
        raise RoadloopError(f"{source}: the map has no roads; export it with its roads")
    return roads


def read_opendrive(source: str | Path | bytes, *, name: str | None = None) -> RoadMap:
    """The lane graph of an OpenDRIVE file (path, or its bytes; gzip is recognised).

    Raises RoadloopError, one line with file and line number, for a file that is missing, truncated,
    no OpenDRIVE, without drivable lanes, or inconsistent.
    """
    from roadloop.maps.conflicts import with_conflicts

    xml, label, default_name = read_bytes(source)
    root = parse(xml, label)
    unsupported = Unsupported()
    roads = _read_roads(root, label, unsupported)
    junctions = root.findall("junction")
    junction_index = {text(junction, "id"): i for i, junction in enumerate(junctions)}

    table = _LaneTable()
    for road in roads.values():
        if road.junction != "-1" and road.junction not in junction_index:
            raise complaint(
                road.element,
                f"road {road.id} belongs to the unknown junction {road.junction}",
                "correct it",
            )
        for section in road.sections:
            _add_section(table, road, section, unsupported)
    rows = {key: row for row, key in enumerate(table.key)}
    kind = np.array(table.kind, np.uint8)
    travel = kind <= LaneKind.BIDIRECTIONAL
    if not travel.any():
        raise RoadloopError(f"{label}: the map has no drivable lane; check the lane types")

    forward = np.array(
        [r.travels_forward(key[2]) for r, key in zip(table.road, table.key, strict=True)]
    )
    connector = Connector(roads, rows, forward, travel)
    edges = link_lanes(connector, junctions, unsupported)
    first, second = without_sideways_links(connector, edges, table.points, unsupported)
    successor_start, successor = rows_by_first(first, second, len(rows))
    predecessor_start, predecessor = rows_by_first(second, first, len(rows))

    point_start = _starts([len(p.s) for p in table.points])
    point_s = np.concatenate([p.s for p in table.points])
    point_heading = np.concatenate([p.heading for p in table.points])
    priority_high, priority_low, priority_junction = _priorities(junctions)
    objects = read_objects(roads, unsupported)
    signals = read_signals(
        root, connector, table.key, table.points, junction_index, (first, second), objects,
        unsupported,
    )  # fmt: skip
    nothing = np.zeros(0)
    header = root.find("header")
    georeference = None if header is None else header.findtext("geoReference")
    road_map = RoadMap(
        name=name or default_name,
        content_hash=content_hash(xml),
        georeference=(georeference or "").strip(),
        left_hand=sum(r.left_hand for r in roads.values()) * 2 > len(roads),
        unsupported=unsupported.messages(),
        lane_road=np.array([key[0] for key in table.key], dtype=str),
        lane_section=np.array([key[1] for key in table.key], np.int32),
        lane_number=np.array([key[2] for key in table.key], np.int32),
        lane_kind=kind,
        lane_junction=np.array([junction_index.get(r.junction, -1) for r in table.road], np.int32),
        lane_length=point_s[point_start[1:] - 1],
        lane_speed_limit=_speed_limits(table, first, second),
        **_neighbour_arrays(table, rows),
        successor_start=successor_start,
        successor=successor,
        predecessor_start=predecessor_start,
        predecessor=predecessor,
        point_start=point_start,
        point_s=point_s,
        point_xyz=np.concatenate([p.xyz for p in table.points]),
        point_heading=point_heading,
        point_curvature=curvature_along(point_start, point_s, point_heading),
        point_width=np.concatenate([p.width for p in table.points]),
        point_bank=np.concatenate([p.bank for p in table.points]),
        **signals,
        junction_id=np.array(list(junction_index), dtype=str),
        junction_is_roundabout=np.zeros(len(junctions), bool),
        priority_high=priority_high,
        priority_low=priority_low,
        priority_junction=priority_junction,
        conflict_start=np.zeros(len(rows) + 1, np.int32),
        conflict_lane=nothing.astype(np.int32),
        conflict_kind=nothing.astype(np.uint8),
        conflict_from=nothing,
        conflict_to=nothing,
        conflict_other_from=nothing,
        conflict_other_to=nothing,
        conflict_yield=nothing.astype(np.int8),
        crosswalk_start=_starts([len(c) for c in objects.crosswalks]),
        crosswalk_xyz=np.concatenate([np.zeros((0, 3)), *objects.crosswalks]),
        crossing_lane=nothing.astype(np.int32),
        crossing_from=nothing,
        crossing_to=nothing,
        crossing_crosswalk=nothing.astype(np.int32),
        mark_start=_starts([len(line.xyz) for line in table.marks]),
        mark_xyz=np.concatenate([np.zeros((0, 3)), *(line.xyz for line in table.marks)]),
        mark_kind=np.array([line.mark.kind for line in table.marks], np.uint8),
        mark_colour=np.array([line.mark.colour for line in table.marks], np.uint8),
        mark_width=np.array([line.mark.width for line in table.marks], float),
    )
    for field_name, array in road_map.arrays().items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RoadloopError(
                f"{label}: {field_name} holds values too large to compute with; correct the file"
            )
    return with_conflicts(road_map)
