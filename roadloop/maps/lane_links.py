"""Which OpenDRIVE lane leads into which: links inside roads, between roads, through junctions."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from roadloop.maps.lane_geometry import LanePoints
from roadloop.maps.opendrive_roads import Lane, Road, Section
from roadloop.maps.opendrive_xml import Element, Unsupported, complaint, integer, text

Array = np.ndarray

START, END = 0, 1
"""ends of a lane or road by growing s, whatever the direction of travel"""

_OPEN_WIDTH = 1.0
"""m; a lane narrower than this is opening or tapering"""

_SIDEWAYS = 0.75
"""share of the lane width by which a link may jump; imprecise maps jump, too"""

LaneKey = tuple[str, int, int]
"""road id, section index, lane number"""


@dataclass
class Connector:
    """Collects pairs of joined lane ends, then orders them by direction of travel."""

    roads: dict[str, Road]
    rows: dict[LaneKey, int]
    forward: Array
    """(L,) bool, the lane is driven towards growing s"""
    travel: Array
    """(L,) bool, vehicles travel on the lane"""
    pairs: set[tuple[int, int, int, int]] = field(default_factory=set)

    def row(self, road: Road, section: Section, number: int) -> int | None:
        """Row of a lane; None for the centre lane and lanes that do not exist."""
        return self.rows.get((road.id, section.index, number))

    def row_at(self, road: Road, end: int, number: int) -> int | None:
        """Row of lane ``number`` where the road starts or ends."""
        sections = road.side_sections(1 if number > 0 else -1)
        return self.row(road, sections[-1 if end == END else 0], number) if sections else None

    def join(self, lane: int | None, end: int, other: int | None, other_end: int) -> bool:
        """Note that two lane ends touch; False where one of the lanes does not exist."""
        if lane is None or other is None:
            return False
        self.pairs.add((lane, end, other, other_end))
        return True

    def successors(self) -> tuple[Array, Array]:
        """(n,) lanes and (n,) lanes they lead into, sorted, travel lanes only to travel lanes."""
        edges = set()
        for lane, end, other, other_end in self.pairs:
            # traffic leaves a lane where its direction of travel ends
            leaves, other_leaves = self.forward[lane] == end, self.forward[other] == other_end
            if self.travel[lane] != self.travel[other] or leaves == other_leaves:
                continue
            edges.add((lane, other) if leaves else (other, lane))
        ordered = np.array(sorted(edges), np.int32).reshape(-1, 2)
        return ordered[:, 0], ordered[:, 1]


def _road_end(element: Element) -> int:
    """The end named by ``contactPoint``; start where the attribute is missing."""
    return END if element.get("contactPoint") == "end" else START


def _link_sections(connector: Connector, road: Road, unsupported: Unsupported) -> None:
    for sign in (1, -1):
        sections = road.side_sections(sign)
        for section, following in pairwise(sections):
            for lane in section.side(sign)[0]:
                row = connector.row(road, section, lane.number)
                for number in lane.successors:
                    other = connector.row(road, following, number)
                    if number and not connector.join(row, END, other, START):
                        unsupported.add("link to a lane that does not exist", road.id, lane.element)
            for lane in following.side(sign)[0]:
                row = connector.row(road, following, lane.number)
                for number in lane.predecessors:
                    other = connector.row(road, section, number)
                    if number and not connector.join(row, START, other, END):
                        unsupported.add("link to a lane that does not exist", road.id, lane.element)


def _link_road(
    connector: Connector, road: Road, junctions: set[str], unsupported: Unsupported
) -> None:
    link = road.element.find("link")
    for tag, end in (("predecessor", START), ("successor", END)):
        element = None if link is None else link.find(tag)
        if element is None:
            continue
        target = text(element, "elementId")
        if element.get("elementType") == "junction":
            if target not in junctions:
                raise complaint(
                    element, f"road {road.id} links to the unknown junction {target}", "correct it"
                )
            continue
        if target not in connector.roads:
            raise complaint(
                element, f"road {road.id} links to the unknown road {target}", "correct it"
            )
        other_road, other_end = connector.roads[target], _road_end(element)
        for sign in (1, -1):
            sections = road.side_sections(sign)
            section = sections[-1 if end == END else 0] if sections else None
            for lane in section.side(sign)[0] if section else ():
                assert section is not None
                row = connector.row(road, section, lane.number)
                for number in lane.successors if end == END else lane.predecessors:
                    other = connector.row_at(other_road, other_end, number)
                    if number and not connector.join(row, end, other, other_end):
                        unsupported.add("link to a lane that does not exist", road.id, lane.element)


def _incoming_end(incoming: Road, junction: str, other: Road, contact: int) -> int:
    """Where ``incoming`` meets the junction, as the other road's link or its own says."""
    link = other.element.find("link")
    element = (
        None if link is None else link.find("predecessor" if contact == START else "successor")
    )
    if (
        element is not None
        and element.get("elementType") == "road"
        and element.get("elementId") == incoming.id
    ):
        return _road_end(element)
    link = incoming.element.find("link")
    after = None if link is None else link.find("successor")
    leads_in = (
        after is not None
        and after.get("elementType") == "junction"
        and after.get("elementId") == junction
    )
    return END if leads_in else START


def _link_junction(connector: Connector, junction: Element, unsupported: Unsupported) -> None:
    junction_id = text(junction, "id")
    if junction.get("type") == "virtual":
        unsupported.add(f"virtual junction {junction_id}", "", junction)
        return
    for connection in junction.findall("connection"):
        incoming_id = connection.get("incomingRoad")
        other_id = connection.get("connectingRoad") or connection.get("linkedRoad")
        if not incoming_id or not other_id:
            unsupported.add(f"connection without roads in junction {junction_id}", "", connection)
            continue
        for road_id in (incoming_id, other_id):
            if road_id not in connector.roads:
                raise complaint(
                    connection,
                    f"junction {junction_id} links to the unknown road {road_id}",
                    "correct it",
                )
        incoming, other = connector.roads[incoming_id], connector.roads[other_id]
        contact = _road_end(connection)
        end = _incoming_end(incoming, junction_id, other, contact)
        for lane_link in connection.findall("laneLink"):
            lane = connector.row_at(incoming, end, integer(lane_link, "from"))
            target = connector.row_at(other, contact, integer(lane_link, "to"))
            if not connector.join(lane, end, target, contact):
                unsupported.add("link to a lane that does not exist", incoming_id, lane_link)


def link_lanes(
    connector: Connector, junctions: list[Element], unsupported: Unsupported
) -> tuple[Array, Array]:
    """Edges of the lane graph: (n,) lanes and (n,) their successors.

    Raises RoadloopError for a link to a road or junction that is not in the file.
    """
    known = {text(junction, "id") for junction in junctions}
    for road in connector.roads.values():
        _link_sections(connector, road, unsupported)
        _link_road(connector, road, known, unsupported)
    for junction in junctions:
        _link_junction(connector, junction, unsupported)
    return connector.successors()


def without_sideways_links(
    connector: Connector, edges: tuple[Array, Array], points: list[LanePoints],
    unsupported: Unsupported,
) -> tuple[Array, Array]:  # fmt: skip
    """The edges but those that lead into a lane beside the one that ends.

    Some files link a lane that is dropped at full width to its neighbour's continuation. Nobody can
    follow such a link without changing lanes, so it is reported and left out. Lanes that taper to
    nothing, or open from nothing, are joined at their edge and stay.
    """
    keys = list(connector.rows)
    kept = []
    for index, (lane, following) in enumerate(zip(*(e.tolist() for e in edges), strict=True)):
        end, start = points[lane], points[following]
        jump = np.hypot(*(end.xyz[-1] - start.xyz[0])[:2])
        widths = (end.width[-1], start.width[0])
        if min(widths) > _OPEN_WIDTH and jump > _SIDEWAYS * (widths[0] + widths[1]) / 2:
            road = connector.roads[keys[lane][0]]
            what = f"link from lane {keys[lane][2]} to one {jump:.1f} m beside it"
            unsupported.add(what, road.id, road.element)
        else:
            kept.append(index)
    return edges[0][kept], edges[1][kept]


def rows_by_first(first: Array, second: Array, count: int) -> tuple[Array, Array]:
    """CSR of pairs: ``start`` (count + 1,) and the seconds ordered by their first."""
    order = np.lexsort((second, first))
    start = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(first, minlength=count), out=start[1:])
    return start, second[order].astype(np.int32)


def neighbours(road: Road, section: Section) -> list[tuple[Lane, Lane | None, Lane | None]]:
    """Every lane of a section with the lanes on the left and right of its direction of travel."""
    across = [*reversed(section.left), *section.right]  # from left to right, looking along s
    found = []
    for i, lane in enumerate(across):
        left = across[i - 1] if i > 0 else None
        right = across[i + 1] if i + 1 < len(across) else None
        # the two sides of a road with single-sided sections do not share this section
        if left is not None and left.number * lane.number < 0 and section.end_left <= section.start:
            left = None
        if not road.travels_forward(lane.number):
            left, right = right, left
        found.append((lane, left, right))
    return found
