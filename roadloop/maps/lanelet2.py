"""Lanelet2 maps (.osm, also in Autoware's dialect) to a MapDraft.

Tags mean what Lanelet2's documentation says they mean (lanelet2_core/doc: LaneletAndAreaTagging,
LinestringTagging, RegulatoryElementTagging); what its regulatory elements demand is read in
``lanelet2_rules``, where nodes lie in ``osm``. Lanes keep their lanelet's id. A lanelet for both
directions is two lanes, the one against the lanelet named ``ID reverse``: half of it each where it
is wide enough for two cars, else the whole of it and of kind BIDIRECTIONAL.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.draft import LaneDraft, MapDraft
from roadloop.maps.draft_shapes import at_share, middle_line, rounded, runs_against
from roadloop.maps.lanelet2_ground import LINES, areas, marks, outline
from roadloop.maps.lanelet2_rules import read_rules, speed
from roadloop.maps.opendrive_xml import map_bytes
from roadloop.maps.osm import OsmFile, Relation, Way, read_osm
from roadloop.maps.road_map import LaneKind

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray
Edges = tuple[tuple[str, ...], tuple[str, ...]]
"""nodes of the left and right edge"""

READER_VERSION = "1"
"""Part of every content hash: raise it whenever the same file gives another draft."""

KINDS = {
    **dict.fromkeys(("", "road", "lane", "main_road", "highway", "play_street", "exit"), "vehicle"),
    **dict.fromkeys(("walkway", "shared_walkway", "stairs", "pedestrian_lane"), "pedestrian"),
    "bicycle_lane": "bicycle",
    "bus_lane": "bus",
    "emergency_lane": "emergency",
    "road_shoulder": "emergency",
    "rail": "rail",
    "crosswalk": "crosswalk",
}
"""Whom a lanelet's subtype is for; ``main_road`` is SinD's, ``road_shoulder`` Autoware's word"""
FOR = {
    "vehicle": LaneKind.DRIVING,
    "pedestrian": LaneKind.SIDEWALK,
    "bicycle": LaneKind.BIKING,
    "bus": LaneKind.RESTRICTED,
    "emergency": LaneKind.SHOULDER,
}
SPEEDS = {
    ("highway", "urban"): 130 / 3.6,
    ("highway", "nonurban"): 130 / 3.6,
    ("road", "nonurban"): 100 / 3.6,
    ("play_street", "urban"): 7 / 3.6,
    ("play_street", "nonurban"): 7 / 3.6,
}
"""m/s by subtype and location where no limit is stated, as in Germany (StVO 3 (3), Autobahn's
recommended speed, walking pace); town roads are left to ``compile_map``"""
TWO_CARS = 4.5
"""m, two-way streets from this width on are two lanes"""
TAPER = 15.0
"""m over which half of a street becomes all of a lanelet"""
KEEP_LEFT = {"au", "gb", "hk", "id", "ie", "in", "jp", "my", "nz", "sg", "th", "uk", "za"}
"""Regions (ISO 3166) that keep left, of those automated cars are mapped in"""


@dataclass(frozen=True)
class Strip:
    """One direction of a lanelet."""

    id: str
    relation: Relation
    left: tuple[str, ...]
    """nodes in the direction of travel"""
    right: tuple[str, ...]
    left_way: Way
    right_way: Way
    half: bool
    """it is the half to the right (to the left where traffic keeps left) of the lanelet"""

    @property
    def start(self) -> tuple[str, str]:
        """Nodes where traffic enters."""
        return self.left[0], self.right[0]

    @property
    def end(self) -> tuple[str, str]:
        """Nodes where traffic leaves."""
        return self.left[-1], self.right[-1]


def read_lanelet2(source: str | Path | bytes, *, name: str | None = None) -> MapDraft:
    """The draft of a Lanelet2 file (path, or its bytes; gzip is recognised).

    Raises RoadloopError, one line with the file and the element, for a file that is missing or no
    OSM XML, dangling references, lines of one node, lanelets without edges, and numbers that are
    none. What cannot be used is named in ``unsupported``.
    """
    content, label, default_name = read_bytes(source)
    osm = read_osm(content, label)
    notes: list[str] = []
    lanelets = [r for r in osm.relations.values() if r.tags.get("type") == "lanelet"]
    if not lanelets:
        raise RoadloopError(f"{label}: the map has no lanelets; export it as Lanelet2")
    drivers = [r for r in lanelets if r.tags.get("subtype") != "crosswalk"]
    edges = {r.id: _edges(osm, r) for r in lanelets}
    _turn_back(drivers, edges, notes)
    left_hand = _keeps_left(lanelets, edges)
    strips = _strips(osm, drivers, edges, notes)
    lines = _lines(osm, strips, left_hand)
    rules = read_rules(osm, {r.id: lines[r.id] for r in drivers}, notes)
    return MapDraft(
        name=name or default_name,
        source_hash=source_hash(content),
        lanes=_lanes(osm, strips, lines, left_hand, rules.speeds),
        signals=rules.signals,
        crosswalks=tuple(
            outline(osm, *edges[r.id]) for r in lanelets if r.tags.get("subtype") == "crosswalk"
        ),
        marks=tuple(marks(osm, rules.stop_lines)),
        drivable=tuple(areas(osm, notes)),
        yields=rules.yields,
        left_hand=left_hand,
        georeference=osm.georeference,
        unsupported=tuple(notes),
    )


def load_lanelet2(source: str | Path | bytes, *, name: str | None = None) -> RoadMap:
    """The compiled map of a Lanelet2 file; RoadloopError as ``read_lanelet2``."""
    return compile_map(read_lanelet2(source, name=name))


def source_hash(content: bytes) -> str:
    """Hex SHA-256 of the uncompressed XML and the reader's version."""
    return hashlib.sha256(content + b"\0lanelet2 " + READER_VERSION.encode()).hexdigest()


def read_bytes(source: str | Path | bytes) -> tuple[bytes, str, str]:
    """Uncompressed XML, how messages call the source, and the map's name."""
    return map_bytes(source, "Lanelet2", ".osm")


# --- lanelets -----------------------------------------------------------------------------------


def _edges(osm: OsmFile, lanelet: Relation) -> Edges:
    """Nodes of the left and right edge, both along the lanelet.

    Ways run either way. Parallel to each other they bound a strip that lies to the right of the
    one and to the left of the other: that tells its direction.
    """
    nodes = []
    for role in ("left", "right"):
        refs = lanelet.refs(role)
        if len(refs) != 1:
            raise RoadloopError(
                f"{osm.source}: lanelet {lanelet.id} has {len(refs)} {role} edges, not 1; "
                "correct it"
            )
        nodes.append(osm.way(refs[0], f"lanelet {lanelet.id}").nodes)
    left, right = nodes
    if runs_against(osm.line(left), osm.line(right)):
        right = right[::-1]
    ring = np.concatenate([osm.line(right), osm.line(left)[::-1]])[:, :2]
    x, y = (ring - ring[0]).T
    if x @ np.roll(y, -1) < y @ np.roll(x, -1):
        left, right = left[::-1], right[::-1]
    return left, right


def _turn_back(drivers: list[Relation], edges: dict[str, Edges], notes: list[str]) -> None:
    """Turns lanelets whose edges have each other's role: joined to others only the other way round.

    That is a slip of the pen; such a lane would be left out of every route, or driven against.
    """
    starts = [(edges[r.id][0][0], edges[r.id][1][0]) for r in drivers]
    ends = [(edges[r.id][0][-1], edges[r.id][1][-1]) for r in drivers]
    for k, lanelet in enumerate(drivers):
        if _is_two_way(lanelet):
            continue
        lost = ends[k] not in starts and starts[k] not in ends
        if lost and (ends[k][::-1] in ends or starts[k][::-1] in starts):
            left, right = edges[lanelet.id]
            edges[lanelet.id] = right[::-1], left[::-1]
            starts[k], ends[k] = (right[-1], left[-1]), (right[0], left[0])
            notes.append(f"lanelet {lanelet.id}: its edges have each other's role, turned round")


def _keeps_left(lanelets: list[Relation], edges: dict[str, Edges]) -> bool:
    """Whether traffic keeps left: by the region's code, else by what oncoming lanelets share."""
    regions = {r.tags["region"].split("-")[0].lower() for r in lanelets if r.tags.get("region")}
    if regions:
        return regions <= KEEP_LEFT
    left, right = ({edges[r.id][k] for r in lanelets} for k in (0, 1))
    shared_right = sum(edge[::-1] in right for edge in right)
    shared_left = sum(edge[::-1] in left for edge in left)
    return shared_right > shared_left


def _audience(lanelet: Relation) -> str | None:
    """Whom the lanelet is for, see KINDS; None for words that are not known."""
    stated = {k: v for k, v in lanelet.tags.items() if k.startswith("participant:")}
    if not stated:
        return KINDS.get(lanelet.tags.get("subtype", ""))
    allowed = {k.removeprefix("participant:") for k, v in stated.items() if v == "yes"}
    for audience, words in (
        ("vehicle", ("vehicle", "vehicle:car", "vehicle:car:electric", "vehicle:car:combustion")),
        ("pedestrian", ("pedestrian",)),
        ("bicycle", ("bicycle",)),
    ):
        if allowed.intersection(words):
            return audience
    return "bus"


def _strips(
    osm: OsmFile, drivers: list[Relation], edges: dict[str, Edges], notes: list[str]
) -> list[Strip]:
    both_ways = [r for r in drivers if _audience(r) == "vehicle" and _is_two_way(r)]
    shared = _wide_streets(osm, both_ways, edges)
    two_way = {r.id for r in both_ways}
    strips = []
    for lanelet in drivers:
        if _audience(lanelet) is None:
            notes.append(f"lanelet {lanelet.id} of unknown subtype {lanelet.tags['subtype']!r}")
        (left, right), half = edges[lanelet.id], lanelet.id in shared
        a, b = (osm.ways[lanelet.refs(role)[0]] for role in ("left", "right"))
        strips.append(Strip(lanelet.id, lanelet, left, right, a, b, half))
        if lanelet.id in two_way:
            reverse = f"{lanelet.id} reverse"
            strips.append(Strip(reverse, lanelet, right[::-1], left[::-1], b, a, half))
    return strips


def _is_two_way(lanelet: Relation) -> bool:
    return lanelet.tags.get("one_way", "yes") in ("no", "false")


def _wide_streets(osm: OsmFile, both_ways: list[Relation], edges: dict[str, Edges]) -> set[str]:
    """Two-way lanelets of streets that are, on average, wide enough for two cars.

    A street is what is joined end to end, so that its lanes do not change from half to whole.
    """
    street = {r.id: r.id for r in both_ways}

    def head(lanelet: str) -> str:
        while street[lanelet] != lanelet:
            lanelet = street[lanelet]
        return lanelet

    at: dict[frozenset[str], str] = {}
    for lanelet in both_ways:
        left, right = edges[lanelet.id]
        for end in (frozenset((left[0], right[0])), frozenset((left[-1], right[-1]))):
            street[head(lanelet.id)] = head(at.setdefault(end, lanelet.id))
    ground: dict[str, float] = {}
    length: dict[str, float] = {}
    for lanelet in both_ways:
        left, right = (osm.line(edge)[:, :2] for edge in edges[lanelet.id])
        x, y = (np.concatenate([right, left[::-1]]) - left[0]).T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2.0
        along = sum(np.hypot(*np.diff(edge, axis=0).T).sum() for edge in (left, right)) / 2.0
        name = head(lanelet.id)
        ground[name] = ground.get(name, 0.0) + area
        length[name] = length.get(name, 0.0) + along
    wide = {name for name in ground if ground[name] >= TWO_CARS * length[name]}
    return {lanelet for lanelet in street if head(lanelet) in wide}


def _lines(osm: OsmFile, strips: list[Strip], left_hand: bool) -> dict[str, tuple[Array, Array]]:
    """Left and right edge (., 3) of each strip.

    Where a half meets a whole lanelet it widens to it over TAPER m, so that traffic need not jump.
    """
    starts = {s.start for s in strips if not s.half}
    ends = {s.end for s in strips if not s.half}
    lines = {}
    for strip in strips:
        left, right = osm.line(strip.left), osm.line(strip.right)
        if strip.half:
            left, right = rounded(left), rounded(right)
            middle = middle_line(left, right)
            share = np.linspace(0.0, 1.0, len(middle))
            room = TAPER / max(np.hypot(*np.diff(middle[:, :2], axis=0).T).sum(), TAPER)
            widened = (strip.start in ends) * (1.0 - share / room)
            widened = np.maximum(widened, (strip.end in starts) * (1.0 - (1.0 - share) / room))
            outer = at_share(right if left_hand else left, share)
            middle = middle + np.maximum(widened, 0.0)[:, None] * (outer - middle)
            left, right = (left, middle) if left_hand else (middle, right)
        lines[strip.id] = left, right
    return lines


def _lanes(
    osm: OsmFile, strips: list[Strip], lines: dict[str, tuple[Array, Array]], left_hand: bool,
    limits: dict[str, float],
) -> tuple[LaneDraft, ...]:  # fmt: skip
    by_start: dict[tuple[str, str], list[str]] = {}
    by_left: dict[tuple[str, ...], str] = {}
    by_right: dict[tuple[str, ...], str] = {}
    for strip in strips:
        by_start.setdefault(strip.start, []).append(strip.id)
        if not strip.half or left_hand:
            by_left[strip.left] = strip.id
        if not strip.half or not left_hand:
            by_right[strip.right] = strip.id
    lanes = []
    for strip in strips:
        tags = strip.relation.tags
        audience = _audience(strip.relation)
        kind = FOR.get(audience or "", LaneKind.OTHER)
        opposite = by_left.get(strip.left[::-1], "") or by_right.get(strip.right[::-1], "")
        if audience == "vehicle" and _is_two_way(strip.relation):
            if strip.half:
                reverse = strip.id.removesuffix(" reverse")
                opposite = reverse if reverse != strip.id else f"{strip.id} reverse"
            else:
                kind = LaneKind.BIDIRECTIONAL
        limit = limits.get(strip.relation.id)
        if limit is None and tags.get("speed_limit"):
            limit = speed(tags["speed_limit"])
            if limit is None:
                raise RoadloopError(
                    f"{osm.source}: lanelet {strip.relation.id} has the speed_limit "
                    f"{tags['speed_limit']!r}; write it as 50 km/h"
                )
        if limit is None:
            limit = SPEEDS.get((tags.get("subtype", "road"), tags.get("location", "urban")))
        left, right = lines[strip.id]
        lanes.append(
            LaneDraft(
                id=strip.id,
                left=left,
                right=right,
                kind=kind,
                speed_limit=limit,
                successors=tuple(by_start.get(strip.end, ())),
                left_neighbour=by_right.get(strip.left, ""),
                right_neighbour=by_left.get(strip.right, ""),
                opposite=opposite,
                change_left=_crossable(strip.left_way, strip.left, to_left=True),
                change_right=_crossable(strip.right_way, strip.right, to_left=False),
                in_junction="turn_direction" in tags,
            )
        )
    return tuple(lanes)


def _crossable(way: Way, nodes: tuple[str, ...], to_left: bool) -> bool:
    """Whether a lane change over the way is allowed, seen along ``nodes``."""
    leftwards = to_left == (way.nodes == nodes)  # seen along the way itself
    side = way.tags.get("lane_change:left" if leftwards else "lane_change:right")
    stated = side or way.tags.get("lane_change")
    if stated is not None:
        return stated == "yes"
    if way.tags.get("type") not in LINES:
        return False
    subtype = way.tags.get("subtype")
    # named from left to right: whoever sees the dashes first may cross
    return subtype in ("dashed", "solid_dashed" if leftwards else "dashed_solid")
