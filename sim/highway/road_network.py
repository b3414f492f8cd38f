"""A road network of highway-env written as OpenDRIVE, so that it enters by the door of all maps.

Each edge of their graph becomes one road whose reference line is the centre of its first lane,
moved by a lane offset to that lane's left edge. Where a lane splits or two lanes join, the edges in
between are the connecting roads of a junction, with their ``priority`` as priority records; where
several edges meet lane by lane (a ramp beside a carriageway) it is a direct junction.
Lines do not forbid lane changes in highway-env, ``forbidden`` lanes do, and so they do here.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.highway.curves import Cubic, Pose, cubic_between
from sim.highway.edges import Edge, LaneIndex, Link, Network, edges_of, pose

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

PIECE = 5.0
"""m, length of the cubics that lanes other than straights and arcs are drawn with"""

MARKS = ("none", "broken", "solid", "solid")
"""OpenDRIVE road marks of their line types NONE, STRIPED, CONTINUOUS and CONTINUOUS_LINE"""


@dataclass(frozen=True, eq=False)
class HighwayMap:
    """The compiled map of a road network."""

    road_map: RoadMap
    xodr: str
    """OpenDRIVE text"""
    lanes: Mapping[LaneIndex, tuple[int, ...]]
    """their lane -> its rows in ``road_map`` in driving order; several where it is cut, none where
    it is the oncoming lane of a two-way road seen from the other side"""


def highway_map(network: Any, name: str) -> HighwayMap:
    """The map of a ``highway_env.road.road.RoadNetwork``.

    Raises RoadloopError for lanes that end where no road of ours can follow.
    """
    net = edges_of(network.graph)
    text = opendrive(net)
    road_map = _read(text, name)
    row = {
        (str(road), int(number)): k
        for k, (road, number) in enumerate(zip(road_map.lane_road, road_map.lane_number))
    }
    lanes: dict[LaneIndex, tuple[int, ...]] = {}
    for edge in net.edges.values():
        for number, index in enumerate(edge.index):
            lanes[index] = (*lanes.get(index, ()), row[edge.name, -1 - number])
        for index, _ in edge.opposite:
            lanes[index] = (row[edge.name, 1],)
    return HighwayMap(road_map, text, lanes)


@lru_cache(maxsize=16)
def _read(text: str, name: str) -> RoadMap:
    from roadloop.maps.opendrive import read_opendrive

    return read_opendrive(text.encode(), name=name)


def opendrive(net: Network) -> str:
    """OpenDRIVE 1.7 text of the edges and links; the same network gives the same text."""
    junction_of = _junctions(net)
    root = ET.Element("OpenDRIVE")
    ET.SubElement(root, "header", revMajor="1", revMinor="7", name="highway-env", version="1.00")
    direct = _direct_nodes(net, junction_of)
    for edge in net.edges.values():
        root.append(_road(net, edge, junction_of, direct))
    for junction in sorted(set(junction_of.values())):
        root.append(_junction(net, junction, junction_of))
    for node, links in direct.items():
        element = ET.SubElement(root, "junction", id=node, name=node, type="direct")
        _connections(element, links, "linkedRoad")
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


# --- junctions ----------------------------------------------------------------------------------


def _junctions(net: Network) -> dict[str, str]:
    """Connecting edges and the junction each belongs to, named by the nodes it spans."""
    group: dict[str, str] = {}

    def root(node: str) -> str:
        while group.setdefault(node, node) != node:
            node = group[node]
        return node

    members: dict[str, list[str]] = {}
    for after in (True, False):
        ends: dict[tuple[str, int], set[tuple[str, int]]] = {}
        for link in net.links:
            source, target = (link.source, link.lane), (link.target, link.into)
            key, value = (source, target) if after else (target, source)
            ends.setdefault(key, set()).add(value)
        shared = {key[0] for key, values in ends.items() if len(values) > 1}
        for link in net.links:
            key, value = (link.source, link.target) if after else (link.target, link.source)
            if key in shared:
                edge = net.edges[key]
                members.setdefault(value, []).append(edge.stop if after else edge.start)
    for nodes in members.values():
        for node in nodes[1:]:
            group[root(node)] = root(nodes[0])
        root(nodes[0])
    names: dict[str, list[str]] = {}
    for node in group:
        names.setdefault(root(node), []).append(node)
    return {edge: "+".join(sorted(names[root(nodes[0])])) for edge, nodes in members.items()}


def _direct_nodes(net: Network, junction_of: Mapping[str, str]) -> dict[str, list[Link]]:
    """Nodes where several ordinary edges meet lane by lane, and the links there."""
    found: dict[str, list[Link]] = {}
    for link in net.links:
        if link.source not in junction_of and link.target not in junction_of:
            found.setdefault(net.edges[link.source].stop, []).append(link)
    return {
        node: links
        for node, links in found.items()
        if len({k.source for k in links}) > 1 or len({k.target for k in links}) > 1
    }


def _junction(net: Network, junction: str, junction_of: Mapping[str, str]) -> ET.Element:
    element = ET.Element("junction", id=junction, name=junction, type="default")
    inside = [name for name, where in junction_of.items() if where == junction]
    links = [k for k in net.links if k.target in inside and k.source not in junction_of]
    _connections(element, links, "connectingRoad")
    priority = {name: net.edges[name].lanes[0].priority for name in inside}
    for high in inside:
        for low in inside:
            if priority[high] > priority[low]:
                ET.SubElement(element, "priority", high=high, low=low)
    return element


def _connections(junction: ET.Element, links: Sequence[Link], road: str) -> None:
    pairs = dict.fromkeys((k.source, k.target) for k in links)
    for number, (source, target) in enumerate(pairs):
        connection = ET.SubElement(
            junction,
            "connection",
            {"id": str(number), "incomingRoad": source, road: target, "contactPoint": "start"},
        )
        for k in links:
            if (k.source, k.target) == (source, target):
                lanes = {"from": str(-1 - k.lane), "to": str(-1 - k.into)}
                ET.SubElement(connection, "laneLink", lanes)


# --- roads --------------------------------------------------------------------------------------


def _road(
    net: Network, edge: Edge, junction_of: Mapping[str, str], direct: Mapping[str, list[Link]]
) -> ET.Element:
    geometry = _pieces(edge)
    length = sum(float(g.attrib["length"]) for g in geometry)
    road = ET.Element(
        "road",
        name=edge.name,
        id=edge.name,
        length=repr(length),
        junction=junction_of.get(edge.name, "-1"),
    )
    link = ET.SubElement(road, "link")
    before, after = net.before(edge.name), net.after(edge.name)
    linked = {}
    for tag, links, others, contact in (
        ("predecessor", before, {k.source for k in before}, "end"),
        ("successor", after, {k.target for k in after}, "start"),
    ):
        node = edge.start if tag == "predecessor" else edge.stop
        through = {junction_of[other] for other in others if other in junction_of}
        if not others:
            continue
        if edge.name not in junction_of and (through or node in direct):
            where = sorted(through)[0] if through else node
            ET.SubElement(link, tag, elementType="junction", elementId=where)
        else:
            where = sorted(others)[0]
            ET.SubElement(link, tag, elementType="road", elementId=where, contactPoint=contact)
            linked[tag] = [k for k in links if where in (k.source, k.target)]
    ET.SubElement(road, "planView").extend(geometry)
    _lanes(road, edge, linked)
    return road


def _lanes(road: ET.Element, edge: Edge, linked: Mapping[str, list[Link]]) -> None:
    lanes = ET.SubElement(road, "lanes")
    edges = _borders(edge)
    ET.SubElement(lanes, "laneOffset", _cubic(s=0.0, a=edges[0]))
    section = ET.SubElement(lanes, "laneSection", s="0.0")
    for _, lane in edge.opposite:
        side = ET.SubElement(section, "left")
        element = _lane(side, 1, lane, float(lane.width_at(0.0)))
        _mark(element, "solid", "none")
    centre = ET.SubElement(ET.SubElement(section, "center"), "lane", id="0", type="none")
    _mark(centre, "broken" if edge.opposite else MARKS[_lines(edge, 0)[0]], "none")
    side = ET.SubElement(section, "right")
    for number, lane in enumerate(edge.lanes):
        element = _lane(side, -1 - number, lane, edges[number] - edges[number + 1])
        link = element.find("link")
        assert link is not None
        for tag, links in linked.items():
            for k in links:
                own, other = (k.into, k.lane) if tag == "predecessor" else (k.lane, k.into)
                if own == number:
                    ET.SubElement(link, tag, id=str(-1 - other))
        line = _lines(edge, number)[1]
        change = "none"
        if number + 1 < len(edge.lanes):
            line = line or _lines(edge, number + 1)[0]
            into = not edge.lanes[number + 1].forbidden, not lane.forbidden
            change = {
                (True, True): "both",
                (True, False): "decrease",
                (False, True): "increase",
                (False, False): "none",
            }[into]
        _mark(element, MARKS[line], change)


def _lines(edge: Edge, lane: int) -> tuple[int, int]:
    """Their line types left and right of a lane; bridges have none."""
    return (0, 0) if edge.bridge is not None else tuple(edge.lanes[lane].line_types)


def _borders(edge: Edge) -> list[float]:
    """m left of the first lane's centre: its left edge, then the right edge of every lane.

    Between two lanes it is halfway between their centres.
    """
    width = [float(lane.width_at(0.0)) for lane in edge.lanes]
    first, middle = edge.lanes[0], 0.5 * (edge.begin + edge.end)
    centre = [0.0] + [
        -float(first.local_coordinates(lane.position(middle / first.length * lane.length, 0.0))[1])
        for lane in edge.lanes[1:]
    ]
    inner = [0.5 * (a + b) for a, b in pairwise(centre)]
    return [0.5 * width[0], *inner, centre[-1] - 0.5 * width[-1]]


def _lane(side: ET.Element, number: int, lane: Any, width: float) -> ET.Element:
    element = ET.SubElement(side, "lane", id=str(number), type="driving", level="false")
    ET.SubElement(element, "link")
    ET.SubElement(element, "width", _cubic(sOffset=0.0, a=width))
    limit = "no limit" if lane.speed_limit is None else repr(float(lane.speed_limit))
    ET.SubElement(element, "speed", sOffset="0.0", max=limit, unit="m/s")
    return element


def _mark(lane: ET.Element, kind: str, change: str) -> None:
    mark = {"sOffset": "0.0", "type": kind, "color": "white", "width": "0.15", "laneChange": change}
    place = 2 if lane.find("width") is not None else 0  # behind the widths, before the speeds
    lane.insert(place, ET.Element("roadMark", mark))


def _cubic(**values: float) -> dict[str, str]:
    return {name: repr(v) for name, v in values.items()} | {"b": "0.0", "c": "0.0", "d": "0.0"}


# --- reference lines ----------------------------------------------------------------------------


def _pieces(edge: Edge) -> list[ET.Element]:
    """Plan view of the first lane: a line, an arc, or cubics through its poses."""
    from highway_env.road.lane import CircularLane, StraightLane

    if edge.bridge is not None:
        return [_curve(0.0, edge.bridge)]
    lane, begin, end = edge.lanes[0], edge.begin, edge.end
    if type(lane) is StraightLane:
        return [_geometry(0.0, pose(lane, begin), end - begin, ET.Element("line"))]
    if type(lane) is CircularLane:
        # clockwise on their screen is clockwise in our world: a right bend
        curvature = -lane.direction / lane.radius
        arc = ET.Element("arc", curvature=repr(float(curvature)))
        return [_geometry(0.0, pose(lane, begin), end - begin, arc)]
    count = max(math.ceil((end - begin) / PIECE), 1)
    poses = [pose(lane, station) for station in np.linspace(begin, end, count + 1)]
    found, s = [], 0.0
    for cubic in (cubic_between(one, two) for one, two in pairwise(poses)):
        found.append(_curve(s, cubic))
        s += cubic.length
    return found


def _curve(s: float, cubic: Cubic) -> ET.Element:
    names = ("aU", "aV"), ("bU", "bV"), ("cU", "cV"), ("dU", "dV")
    values = {
        name: repr(float(value))
        for pair, row in zip(names, cubic.coefficients)
        for name, value in zip(pair, row)
    }
    shape = ET.Element("paramPoly3", {**values, "pRange": "normalized"})
    return _geometry(s, cubic.start, cubic.length, shape)


def _geometry(s: float, at: Pose, length: float, shape: ET.Element) -> ET.Element:
    x, y, heading = at
    values = {"s": s, "x": x, "y": y, "hdg": heading, "length": length}
    element = ET.Element("geometry", {name: repr(float(v)) for name, v in values.items()})
    element.append(shape)
    return element
