"""A road network of highway-env as edges of parallel lanes, and which lane leads into which.

Their network is a graph: nodes by name, on each edge a list of lanes from left to right. Lanes need
not meet where edges meet (a vehicle past the end of its lane steers for the nearest next one), so
here ends are trimmed or drawn out where lanes meet to the metre, and a *bridge*, a smooth
connection, is laid where they do not. All poses are in our frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from sim.highway.curves import Cubic, Pose, cubic_between

LaneIndex = tuple[str, str, int]
"""theirs: node the lane starts at, node it ends at, number from the left"""

MEET_GAP = 3.0
"""m by which two ends may miss each other and still be one road"""
MEET_ASIDE = 1.5
"""m of that to the side"""
MEET_ANGLE = 0.2
"""rad the direction may change where lanes meet; more is a corner that needs a curve"""
BRIDGE_GAP = 12.0
"""m a bridge spans at most; the roundabout's entries miss its ring by 5.6 m"""
BRIDGE_ANGLE = 1.4
"""rad it turns at most"""
BRIDGE_RADIUS = 7.5
"""m, tightest point of a bridge where that can be had"""
LEAST_RADIUS = 5.0
"""m, what their car, of 5 m wheelbase, can turn on with its wheels at 45 degrees"""
ON_LANE = 5.0
"""m before and beyond a lane that count as on it (their ``AbstractLane.on_lane``): open ends are
drawn out by so much"""


@dataclass
class Edge:
    """Lanes side by side, driven the same way, from station ``begin`` to ``end`` of theirs."""

    name: str
    start: str
    """node"""
    stop: str
    lanes: list[Any]
    """their lanes, from left to right"""
    index: list[LaneIndex]
    """how they call each"""
    begin: float
    """m, their longitudinal coordinate on the first lane"""
    end: float
    opposite: list[tuple[LaneIndex, Any]] = field(default_factory=list)
    """at most one lane of the opposite direction, left of the first"""
    bridge: Cubic | None = None
    """the curve of a bridge; None: as the first lane runs"""

    def begins(self, lane: int) -> Pose:
        """Where a lane begins."""
        return pose(self.lanes[lane], self.begin)

    def ends(self, lane: int) -> Pose:
        """Where it ends: every lane at the end of its own, drawn out or trimmed as the first."""
        return pose(self.lanes[lane], self.end - self.lanes[0].length + self.lanes[lane].length)


@dataclass(frozen=True)
class Link:
    """Lane ``lane`` of edge ``source`` leads into lane ``into`` of edge ``target``."""

    source: str
    lane: int
    target: str
    into: int


@dataclass
class Network:
    """Edges by name and the links between their lanes."""

    edges: dict[str, Edge]
    links: list[Link]

    def after(self, edge: str) -> list[Link]:
        """Links that leave an edge."""
        return [link for link in self.links if link.source == edge]

    def before(self, edge: str) -> list[Link]:
        """Links that lead into it."""
        return [link for link in self.links if link.target == edge]


def pose(lane: Any, station: float) -> Pose:
    """Our pose of the centre of their lane at their longitudinal coordinate."""
    x, y = lane.position(station, 0.0)
    heading = math.remainder(-float(lane.heading_at(station)), 2.0 * math.pi)
    return float(x), -float(y), heading


def edges_of(graph: Mapping[str, Mapping[str, Sequence[Any]]]) -> Network:
    """The edges of ``RoadNetwork.graph`` and their links, ends drawn together."""
    edges = {}
    for start, targets in graph.items():
        for stop, lanes in targets.items():
            index = [(start, stop, number) for number in range(len(lanes))]
            name = f"{start}-{stop}"
            edges[name] = Edge(name, start, stop, list(lanes), index, 0.0, float(lanes[0].length))
    _pair_directions(edges)
    _split_where_joined(edges)
    _draw_together(edges)
    links = _links(edges)
    _draw_out(edges, links)
    return Network(edges, links)


# --- corrections --------------------------------------------------------------------------------


def _pair_directions(edges: dict[str, Edge]) -> None:
    """Makes a two-way road of edges whose first lane is another edge's only lane in reverse.

    That is how they let vehicles pass in the oncoming lane. Ours then is the opposite lane.
    """
    for edge in list(edges.values()):
        back = edges.get(f"{edge.stop}-{edge.start}")
        if edge.name not in edges or back is None or len(back.lanes) > 1 or len(edge.lanes) < 2:
            continue
        first, other = edge.lanes[0], back.lanes[0]
        apart = [
            math.dist(first.position(s, 0.0), other.position(other.length - s, 0.0))
            for s in (0.0, first.length)
        ]
        if max(apart) < 0.1:
            edge.opposite = [(back.index[0], other)]
            edge.lanes, edge.index = edge.lanes[1:], edge.index[1:]
            edge.end = float(edge.lanes[0].length)
            del edges[back.name]


def _split_where_joined(edges: dict[str, Edge]) -> None:
    """Cuts an edge in two where another one ends in its midst, as lane-keeping's track does."""
    for edge in list(edges.values()):
        onward = [e for e in edges.values() if e.start == edge.stop]
        x, y, _ = edge.ends(0)
        if not onward or any(math.dist((x, y), e.begins(0)[:2]) < BRIDGE_GAP for e in onward):
            continue
        for other in onward:
            s, aside = other.lanes[0].local_coordinates(np.array([x, -y]))
            if abs(aside) < MEET_ASIDE and BRIDGE_GAP < s < other.end - BRIDGE_GAP:
                node = f"{edge.stop}~{other.stop}"
                rest = Edge(
                    f"{node}-{other.stop}", node, other.stop, other.lanes, other.index,
                    float(s), other.end,
                )  # fmt: skip
                other.stop, other.end, edge.stop = node, float(s), node
                edges[rest.name] = rest
                break


def _draw_together(edges: dict[str, Edge]) -> None:
    """Moves the ends of edges along their lanes to where the next ones begin."""
    for edge in edges.values():
        x, y, heading = edge.ends(0)
        ahead = [
            math.cos(heading) * (sx - x) + math.sin(heading) * (sy - y)
            for other in edges.values()
            if other.start == edge.stop
            for sx, sy, turn in [other.begins(0)]
            if math.dist((x, y), (sx, sy)) < MEET_GAP
            and abs(math.remainder(turn - heading, 2.0 * math.pi)) < MEET_ANGLE
        ]
        if ahead and max(ahead) - min(ahead) < 0.1:
            edge.end += ahead[0]


def _draw_out(edges: dict[str, Edge], links: list[Link]) -> None:
    """Draws open ends out by the length that their rules count as on the lane."""
    left, entered = {link.source for link in links}, {link.target for link in links}
    for edge in edges.values():
        if edge.bridge is not None:
            continue
        edge.begin -= 0.0 if edge.name in entered else ON_LANE
        edge.end += 0.0 if edge.name in left else ON_LANE


# --- links --------------------------------------------------------------------------------------


def _links(edges: dict[str, Edge]) -> list[Link]:
    links, missing = [], []
    for edge in edges.values():
        for other in [e for e in edges.values() if e.start == edge.stop]:
            found = _meeting(edge, other)
            links += found
            if not found:
                missing.append((edge, other))
    for edge, other in missing:
        nearest = min(
            (math.dist(edge.ends(i)[:2], other.begins(j)[:2]), i, j)
            for i in range(len(edge.lanes))
            for j in range(len(other.lanes))
        )
        gap, i, j = nearest
        turn = math.remainder(other.begins(j)[2] - edge.ends(i)[2], 2.0 * math.pi)
        if gap > BRIDGE_GAP or abs(turn) > BRIDGE_ANGLE:
            continue
        bridge = _bridge(edge, i, other, j, links)
        edges[bridge.name] = bridge
        links += [Link(edge.name, i, bridge.name, 0), Link(bridge.name, 0, other.name, j)]
    return links


def _meeting(edge: Edge, other: Edge) -> list[Link]:
    """Links of the lanes that meet, each lane of ``other`` with the nearest that does."""
    found = []
    for j in range(len(other.lanes)):
        x, y, heading = other.begins(j)
        near = []
        for i in range(len(edge.lanes)):
            ex, ey, turn = edge.ends(i)
            aside = math.cos(turn) * (y - ey) - math.sin(turn) * (x - ex)
            gap, corner = math.dist((x, y), (ex, ey)), math.remainder(heading - turn, 2.0 * math.pi)
            if gap < MEET_GAP and abs(aside) < MEET_ASIDE and abs(corner) < MEET_ANGLE:
                near.append((gap, i))
        if near:
            found.append(Link(edge.name, min(near)[1], other.name, j))
    return found


def _bridge(edge: Edge, i: int, other: Edge, j: int, links: list[Link]) -> Edge:
    """A connection from lane ``i`` of ``edge`` to lane ``j`` of ``other``.

    The one of them that goes nowhere else gives up as much of its length as the curve needs.
    """
    free_end = not any(link.source == edge.name for link in links)
    free_begin = not any(link.target == other.name for link in links)
    end, begin = edge.end, other.begin
    spare, lead = free_end * (end - edge.begin), free_begin * (other.end - begin)

    def curve(share: float) -> Cubic:
        edge.end, other.begin = end - share * spare, begin + share * lead
        return cubic_between(edge.ends(i), other.begins(j))

    shares = np.linspace(0.0, 0.7, 15).tolist()
    wide = [share for share in shares if curve(share).curvature < 1.0 / BRIDGE_RADIUS]
    cubic = curve(wide[0] if wide else min(shares, key=lambda share: curve(share).curvature))
    if cubic.curvature > 1.0 / LEAST_RADIUS:
        raise RoadloopError(
            f"highway-env lanes {edge.index[i]} and {other.index[j]} cannot be joined: no curve "
            f"of {LEAST_RADIUS:g} m radius fits between them; correct the road network"
        )
    slower = min(edge.lanes[i], other.lanes[j], key=lambda lane: lane.speed_limit)
    name = f"{edge.name}>{other.name}"
    return Edge(name, edge.stop, other.start, [slower], [], 0.0, 0.0, bridge=cubic)
