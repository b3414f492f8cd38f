"""What the regulatory elements of a Lanelet2 map demand: lights, signs, right of way, limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.draft import SignalDraft, YieldDraft
from roadloop.maps.draft_shapes import middle_line, rounded
from roadloop.maps.opendrive_xml import SPEED_UNITS
from roadloop.maps.osm import OsmFile, Relation
from roadloop.maps.road_map import SignalKind
from roadloop.maps.signal_codes import GOVERNING, SIGNS

Array = np.ndarray

UNITS = {**SPEED_UNITS, "": SPEED_UNITS["km/h"], "mps": 1.0, "kph": SPEED_UNITS["km/h"]}
"""m/s per unit; without one Lanelet2 means km/h"""
NEAR = 3.0
"""m between a stop line and the end of the lanes that stop at it"""
_JOINED = 0.5
"""m between the end of one lane and the start of the next"""
_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z/]*)\s*$")
_LIMIT_SIGN = re.compile(r"^[a-z]{2}(?:274|r2-1)[-_.:]([0-9]{2,3})$")
_KNOWN = ("traffic_light", "traffic_sign", "right_of_way", "all_way_stop", "speed_limit")


@dataclass(frozen=True)
class Rules:
    """What a draft gets from regulatory elements."""

    signals: tuple[SignalDraft, ...]
    yields: tuple[YieldDraft, ...]
    speeds: dict[str, float]
    """m/s by lanelet"""
    stop_lines: set[str]
    """ways that are the stop lines of signals"""


@dataclass
class _Signal:
    way: str
    kind: SignalKind
    value: float
    group: str
    stops: dict[str, float | None] = field(default_factory=dict)


class _Middles(dict[str, Array]):
    """Middle lines of lanelets, each found when first asked for."""

    def __init__(self, edges: Mapping[str, tuple[Array, Array]]) -> None:
        super().__init__()
        self.edges = edges

    def __missing__(self, lanelet: str) -> Array:
        left, right = self.edges[lanelet]
        self[lanelet] = middle_line(rounded(left), rounded(right))
        return self[lanelet]


def speed(words: str) -> float | None:
    """m/s of ``50``, ``50 km/h``, ``30 mph``; None where it is none."""
    found = _NUMBER.match(words.lower())
    if found is None or found[2] not in UNITS or float(found[1]) <= 0.0:
        return None
    return float(found[1]) * UNITS[found[2]]


def sign_kind(subtype: str) -> tuple[SignalKind, float]:
    """What a sign such as ``de206``, ``usR1-1`` or ``stop_sign`` demands, and its limit in m/s."""
    word = subtype.lower()
    if word in ("stop_sign", "stop"):
        return SignalKind.STOP, 0.0
    if word in ("yield_sign", "yield", "give_way"):
        return SignalKind.YIELD, 0.0
    limit = _LIMIT_SIGN.match(word)
    if limit is not None:
        unit = "mph" if word.startswith("us") else "km/h"
        return SignalKind.SPEED_LIMIT, float(limit[1]) * UNITS[unit]
    kind = SIGNS.get(word[2:].upper(), SignalKind.OTHER)
    return (kind, 0.0) if kind in GOVERNING else (SignalKind.OTHER, 0.0)


def read_rules(osm: OsmFile, lines: Mapping[str, tuple[Array, Array]], notes: list[str]) -> Rules:
    """The rules of a map, ``lines`` being the left and right edge of each lanelet with traffic."""
    users: dict[str, list[str]] = {}
    for relation in osm.relations.values():
        for ref in relation.refs("regulatory_element", "relation"):
            users.setdefault(ref, []).append(relation.id)
    missing = set(users) - osm.relations.keys()
    if missing:
        ref = min(missing)
        raise RoadloopError(
            f"{osm.source}: lanelet {users[ref][0]} refers to regulatory element {ref}, which is "
            "not in the file; export it with all its parts"
        )
    middle = _Middles(lines)
    signals: dict[str, _Signal] = {}
    yields: dict[YieldDraft, None] = {}
    speeds: dict[str, float] = {}
    stop_lines: set[str] = set()
    for element in osm.relations.values():
        if element.tags.get("type") != "regulatory_element":
            continue
        subtype = element.tags.get("subtype", "")
        lanelets = [i for i in users.get(element.id, ()) if i in lines]
        if subtype not in _KNOWN:
            notes.append(f"regulatory element {element.id} of subtype {subtype!r}")
            continue
        if subtype == "speed_limit":
            limit = _limit(osm, element)
            if limit is None or not lanelets:
                notes.append(f"regulatory element {element.id}: no limit, or no lanelet has it")
            else:
                speeds.update(dict.fromkeys(lanelets, limit))
            continue
        if subtype in ("right_of_way", "all_way_stop"):
            giving = [i for i in element.refs("yield", "relation") if i in lines]
            going = [i for i in element.refs("right_of_way", "relation") if i in lines]
            yields.update(dict.fromkeys(YieldDraft(a, b) for a in giving for b in going))
            lanelets = giving
        ref_lines = element.refs("ref_line")
        stops = _stops(osm, element, lanelets, middle, notes)
        governs = False
        for ref in element.refs("refers"):
            tags = osm.way(ref, f"regulatory element {element.id}").tags
            kind, value = SignalKind.TRAFFIC_LIGHT, 0.0
            if subtype != "traffic_light":
                kind, value = sign_kind(tags.get("subtype", ""))
            if subtype == "all_way_stop":
                kind = SignalKind.STOP
            signal = signals.setdefault(ref, _Signal(ref, kind, value, element.id))
            if kind in GOVERNING:
                governs = True
                signal.stops.update(stops)
        if governs and stops:
            stop_lines.update(ref_lines)
    drafts = [_draft(osm, signal, middle) for signal in signals.values()]
    return Rules(tuple(drafts), tuple(yields), speeds, stop_lines)


def _limit(osm: OsmFile, element: Relation) -> float | None:
    words = [element.tags.get("sign_type", "")]
    for ref in element.refs("refers"):
        words.append(osm.way(ref, f"regulatory element {element.id}").tags.get("subtype", ""))
    for word in words:
        limit = speed(word) or sign_kind(word)[1]
        if limit:
            return limit
    return None


def _stops(
    osm: OsmFile, element: Relation, lanelets: list[str], middle: _Middles,
    notes: list[str],
) -> dict[str, float | None]:  # fmt: skip
    """m along each lanelet's middle where its traffic stops, None for its end."""
    import shapely

    user = f"regulatory element {element.id}"
    lines = [osm.line(osm.way(r, user).nodes)[:, :2] for r in element.refs("ref_line")]
    if not lines:
        return dict.fromkeys(lanelets)
    painted = shapely.MultiLineString([line.tolist() for line in lines])
    stops: dict[str, float | None] = {}
    chosen = lanelets or [
        lanelet for lanelet, edges in middle.edges.items() if _ends_at(*edges, lines)
    ]
    for lanelet in chosen:
        line = shapely.linestrings(middle[lanelet][:, :2])
        crossed = shapely.intersection(line, painted)
        at = None
        if not shapely.is_empty(crossed):
            at = float(shapely.line_locate_point(line, shapely.centroid(crossed)))
        stops[lanelet] = at
    if not lanelets:  # whoever has stopped need not stop again
        ends = np.array([middle[q][-1] for q in stops]).reshape(-1, 3)
        for lanelet in list(stops):
            if (np.linalg.norm(ends - middle[lanelet][0], axis=1) < _JOINED).any():
                del stops[lanelet]
    if not lanelets and stops:
        notes.append(f"{user}: no lanelet has it, taken as of those that end at its stop line")
    return stops


def _ends_at(left: Array, right: Array, painted: list[Array]) -> bool:
    """Whether a lane of these edges ends at one of the stop lines and heads across it."""
    import shapely

    before, end = ((left[k] + right[k])[:2] / 2.0 for k in (-2, -1))
    for stop in painted:
        way, along = end - before, stop[-1] - stop[0]
        width = np.hypot(*along)
        across = abs(way[0] * along[1] - way[1] * along[0]) > 0.7 * np.hypot(*way) * width
        place = (end - stop[0]) @ along / width
        near = shapely.distance(shapely.linestrings(stop), shapely.points(end)) < NEAR
        if across and near and 0.0 < place < width:
            return True
    return False


def _draft(osm: OsmFile, signal: _Signal, middle: _Middles) -> SignalDraft:
    line = osm.line(osm.ways[signal.way].nodes)
    # it faces the traffic it addresses; without any, across its own width
    way = line[-1] - line[0]
    heading = float(np.arctan2(way[0], -way[1]))
    for lanelet in signal.stops:
        end = middle[lanelet][-1] - middle[lanelet][max(len(middle[lanelet]) - 5, 0)]
        heading = float(np.arctan2(end[1], end[0]))
        break
    x, y, z = line.mean(axis=0).tolist()
    height = osm.ways[signal.way].tags.get("height", "")
    lift = _NUMBER.match(height)
    return SignalDraft(
        id=signal.way,
        kind=signal.kind,
        xyz=(x, y, z + (float(lift[1]) / 2.0 if lift else 0.0)),
        heading=heading,
        stops=tuple(signal.stops.items()),
        value=signal.value,
        group=signal.group if signal.kind == SignalKind.TRAFFIC_LIGHT else "",
    )
