"""Nodes, ways and relations of an OpenStreetMap XML file (.osm), nodes placed in metres.

Coordinates, in this order of preference: ``local_x`` and ``local_y`` of the nodes, where all of
them have both (Autoware); a UTM grid that starts at latitude and longitude 0, for maps that lie
there because they were drawn in metres about an arbitrary origin (INTERACTION, SinD, whose tracks
are in that grid); else a transverse Mercator projection about the map's middle. Heights are the
nodes' ``ele``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.georeference import TransverseMercator, parse_georeference
from roadloop.maps.opendrive_xml import Element, complaint, number, text, well_formed

Array = np.ndarray

NO_PLACE = 0.5
"""degrees: real maps do not lie in the Gulf of Guinea this close to 0, 0"""
_WGS84 = "+ellps=WGS84 +units=m +no_defs"


@dataclass(frozen=True)
class Way:
    """A line through nodes."""

    id: str
    nodes: tuple[str, ...]
    """without repetitions in a row"""
    tags: dict[str, str]


@dataclass(frozen=True)
class Member:
    """Part of a relation."""

    type: str
    """node, way or relation"""
    ref: str
    role: str


@dataclass(frozen=True)
class Relation:
    """Things that belong together."""

    id: str
    members: tuple[Member, ...]
    tags: dict[str, str]

    def refs(self, role: str, kind: str = "way") -> list[str]:
        """Ids of the members of one role and type."""
        return [m.ref for m in self.members if m.role == role and m.type == kind]


@dataclass(frozen=True)
class OsmFile:
    """What one file holds, by id; deleted elements are left out."""

    source: str
    """how messages call the file"""
    xyz: dict[str, Array]
    """(3,) m of each node"""
    ways: dict[str, Way]
    relations: dict[str, Relation]
    georeference: str
    """PROJ string of the nodes' coordinates, empty where they are local"""

    def way(self, ref: str, user: str) -> Way:
        """The way ``ref`` that ``user`` refers to; RoadloopError where it is not in the file."""
        if ref not in self.ways:
            raise RoadloopError(
                f"{self.source}: {user} refers to way {ref}, which is not in the file; "
                "export it with all its parts"
            )
        return self.ways[ref]

    def line(self, nodes: tuple[str, ...]) -> Array:
        """(n, 3) m along nodes."""
        return np.array([self.xyz[node] for node in nodes]).reshape(-1, 3)


def read_osm(content: bytes, source: str) -> OsmFile:
    """The elements of the file ``content``.

    Raises RoadloopError, one line with ``source`` and the place, for text that is no XML or no
    OSM, elements without an id or twice in the file, ways through nodes that are not there, and
    ways of a single node.
    """
    root = well_formed(content, source)
    if root.tag != "osm":
        raise RoadloopError(
            f"{source}: the root element is <{root.tag}>, not <osm>; give an .osm file"
        )
    elements: dict[str, dict[str, Element]] = {"node": {}, "way": {}, "relation": {}}
    for element in root:
        if element.tag in elements and element.get("action") != "delete":
            of_kind, name = elements[element.tag], text(element, "id")
            if name in of_kind:
                raise complaint(element, f"{element.tag} {name} is there twice", "remove one")
            of_kind[name] = element
    if not elements["node"]:
        raise RoadloopError(f"{source}: the map has no nodes; export it with its nodes")
    xyz, georeference = _placed(elements["node"])
    ways = {}
    for name, element in elements["way"].items():
        nodes: list[str] = []
        for nd in element.iterfind("nd"):
            ref = text(nd, "ref")
            if ref not in xyz:
                raise complaint(
                    nd, f"way {name} runs through node {ref}, which is not in the file",
                    "export it with all its nodes",
                )  # fmt: skip
            if not nodes or nodes[-1] != ref:
                nodes.append(ref)
        if len(nodes) < 2:
            raise complaint(element, f"way {name} has {len(nodes)} node(s), not 2", "remove it")
        ways[name] = Way(name, tuple(nodes), _tags(element))
    relations = {}
    for name, element in elements["relation"].items():
        members = tuple(
            Member(text(m, "type"), text(m, "ref"), m.get("role", ""))
            for m in element.iterfind("member")
        )
        relations[name] = Relation(name, members, _tags(element))
    return OsmFile(source, xyz, ways, relations, georeference)


def _tags(element: Element) -> dict[str, str]:
    return {text(tag, "k"): tag.get("v", "") for tag in element.iterfind("tag")}


def _placed(nodes: dict[str, Element]) -> tuple[dict[str, Array], str]:
    """Metres of each node and the PROJ string."""
    tags = {name: _tags(node) for name, node in nodes.items()}
    z = [_metres(nodes[name], tags[name], "ele", 0.0) for name in nodes]
    if all("local_x" in t and "local_y" in t for t in tags.values()):
        x, y = (
            np.array([_metres(nodes[n], tags[n], axis, 0.0) for n in nodes])
            for axis in ("local_x", "local_y")
        )
        georeference = ""
    else:
        degrees = np.array([[number(n, "lat"), number(n, "lon")] for n in nodes.values()])
        outside = np.flatnonzero((np.abs(degrees) > (90.0, 180.0)).any(axis=1))
        if len(outside):
            node = nodes[list(nodes)[outside[0]]]
            raise complaint(node, "latitude or longitude is out of range", "correct it")
        georeference = _georeference(degrees)
        projection = parse_georeference(georeference)
        assert projection is not None
        x, y = projection.forward(degrees[:, 0], degrees[:, 1])
    return dict(zip(nodes, np.column_stack([x, y, z]), strict=True)), georeference


def _georeference(degrees: Array) -> str:
    if (np.abs(degrees) < NO_PLACE).all():
        # UTM zone 31, moved so that latitude and longitude 0 are at x = y = 0
        shift = -TransverseMercator(longitude=3.0, scale=0.9996).forward(0.0, 0.0)[0]
        return f"+proj=tmerc +lat_0=0 +lon_0=3 +k=0.9996 +x_0={shift:.6f} +y_0=0 {_WGS84}"
    middle = (degrees.min(axis=0) + degrees.max(axis=0)) / 2.0
    # rounded, about 10 m, so that the frame survives small edits of the map
    return f"+proj=tmerc +lat_0={middle[0]:.4f} +lon_0={middle[1]:.4f} +k=1 {_WGS84}"


def _metres(node: Element, tags: dict[str, str], key: str, default: float) -> float:
    try:
        value = float(tags.get(key, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise complaint(node, f"{key}={tags[key]!r} of a node is no finite number", "correct it")
    return value
