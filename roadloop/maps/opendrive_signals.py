"""Signals of OpenDRIVE roads: what they demand, which lanes obey them, and where those stop.

A signal governs the lanes of its own ``<validity>`` and of its ``<signalReference>``s. References
on connecting roads are the most precise statement (they name the turn), so where they exist they
alone count, and traffic stops where it would enter the connecting lane. Otherwise the signal holds
where it stands (or is referenced) on the approach road.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.lane_geometry import LanePoints, road_point
from roadloop.maps.lane_links import Connector, LaneKey
from roadloop.maps.opendrive_objects import RoadObjects, StopLine
from roadloop.maps.opendrive_roads import Road
from roadloop.maps.opendrive_xml import (
    Element,
    Unsupported,
    integer,
    number,
    text,
)
from roadloop.maps.road_map import SignalKind
from roadloop.maps.signal_codes import (
    GOVERNING,
    OTHER_LIGHTS,
    STOP_LINE_CODE,
    VEHICLE_LIGHTS,
    signal_kind,
    speed_limit,
)

Array = np.ndarray

_STOP_LINE_REACH = 15.0
"""m between a signal and the stop line painted for it; beyond that the line is another's"""


@dataclass
class _Place:
    """Where a signal stands or is referenced."""

    road: Road
    s: float
    orientation: str
    lanes: set[int] | None
    """lane numbers of its validities, None where it has none"""

    @property
    def on_connecting_road(self) -> bool:
        return self.road.junction != "-1"


@dataclass
class _Signal:
    id: str
    kind: SignalKind
    value: float
    xyz: Array
    own: _Place
    element: Element
    references: list[_Place] = field(default_factory=list)
    stops: list[tuple[int, float]] = field(default_factory=list)
    """(lane row, arc length)"""


def _lanes(element: Element) -> set[int] | None:
    validities = element.findall("validity")
    if not validities:
        return None
    numbers: set[int] = set()
    for validity in validities:
        ends = integer(validity, "fromLane"), integer(validity, "toLane")
        numbers.update(range(min(ends), max(ends) + 1))
    return numbers - {0}


def _place(road: Road, element: Element) -> _Place:
    orientation = element.get("orientation", "none")
    return _Place(road, number(element, "s"), orientation, _lanes(element))


def _position(road: Road, roads: dict[str, Road], element: Element) -> Array:
    inertial = element.find("positionInertial")
    if inertial is not None:
        return np.array([number(inertial, axis) for axis in "xyz"])
    place = element.find("positionRoad")
    if place is not None and place.get("roadId") in roads:
        road, element = roads[place.get("roadId")], place
    s, t = number(element, "s"), number(element, "t")
    lift = number(element, "zOffset", 0.0)
    return road_point(road, np.array([s]), np.array([t]), np.array([lift]))[0][0]


def _collect(
    roads: dict[str, Road], unsupported: Unsupported
) -> tuple[list[_Signal], list[StopLine]]:
    signals: list[_Signal] = []
    painted: list[StopLine] = []
    for road in roads.values():
        for element in road.element.iterfind("signals/signal"):
            code, kind, value = element.get("type", ""), signal_kind(element), 0.0
            if code == STOP_LINE_CODE:
                t, width = number(element, "t", 0.0), number(element, "width", 0.0)
                painted.append(StopLine(road.id, number(element, "s"), t - width, t + width))
            unknown = code.startswith("10000") and code not in VEHICLE_LIGHTS | OTHER_LIGHTS
            if unknown and element.get("dynamic") == "yes":
                unsupported.add(f"light of type {code} (kept as other)", road.id, element)
            if kind == SignalKind.SPEED_LIMIT:
                limit = speed_limit(element)
                if limit is None:
                    unsupported.add("speed limit sign without a value", road.id, element)
                    kind, limit = SignalKind.OTHER, 0.0
                value = limit
            signals.append(
                _Signal(
                    id=text(element, "id"),
                    kind=kind,
                    value=value,
                    xyz=_position(road, roads, element),
                    own=_place(road, element),
                    element=element,
                )
            )
    by_id = {signal.id: signal for signal in signals}
    for road in roads.values():
        for element in road.element.iterfind("signals/signalReference"):
            signal = by_id.get(text(element, "id"))
            if signal is None:
                unsupported.add("reference to a signal that does not exist", road.id, element)
            else:
                signal.references.append(_place(road, element))
    return signals, painted


def _orientation_is_reversed(signals: list[_Signal]) -> bool:
    """Whether the file means "the side it faces" where the standard means "valid for".

    By the standard "+" is valid for traffic along s. RoadRunner's and LGSVL's exports write the
    opposite. Explicit lane validities tell, and so do signals near a road's end: the traffic they
    address is about to leave the road there.
    """
    balance = 0
    for signal in signals:
        if signal.kind not in GOVERNING:
            continue
        for place in (signal.own, *signal.references):
            if place.orientation not in ("+", "-"):
                continue
            along = place.orientation == "+"
            if place.lanes:
                directions = {place.road.travels_forward(n) for n in place.lanes}
                if len(directions) == 1:
                    balance += 1 if directions == {along} else -1
            elif not place.on_connecting_road:
                balance += 1 if along == (place.s > place.road.length / 2) else -1
    return balance < 0


class _Lanes:
    """Finds travel lanes by road coordinates."""

    def __init__(
        self, connector: Connector, keys: list[LaneKey], points: list[LanePoints],
        edges: tuple[Array, Array],
    ) -> None:  # fmt: skip
        self.connector = connector
        self.points = points
        self.roads = [key[0] for key in keys]
        self.same_road_before: dict[int, int] = {}
        for lane, following in zip(*(e.tolist() for e in edges), strict=True):
            if self.roads[lane] == self.roads[following]:
                self.same_road_before[following] = lane

    def at(self, place: _Place, reversed_orientation: bool) -> list[int]:
        """Rows of the travel lanes a place addresses, from left to right along s."""
        rows = []
        for sign in (1, -1):
            sections = place.road.side_sections(sign)
            section = None
            for candidate in sections:
                if section is None or candidate.start <= place.s + 1e-3:
                    section = candidate
            if section is None:
                continue
            for lane in section.side(sign)[0]:
                row = self.connector.row(place.road, section, lane.number)
                if row is None or not self.connector.travel[row]:
                    continue
                if place.lanes:
                    valid = lane.number in place.lanes
                elif place.on_connecting_road or place.orientation not in ("+", "-"):
                    valid = True
                else:
                    along = (place.orientation == "+") != reversed_orientation
                    valid = bool(self.connector.forward[row]) == along
                if valid:
                    rows.append(row)
        return rows

    def entry(self, row: int) -> int:
        """The lane on the same road through which traffic first comes on its way to ``row``."""
        seen = {row}
        while row in self.same_road_before and self.same_road_before[row] not in seen:
            row = self.same_road_before[row]
            seen.add(row)
        return row

    def arc(self, row: int, road_s: float) -> float:
        """Arc length along lane ``row`` at road coordinate ``road_s``."""
        p = self.points[row]
        order = slice(None) if p.road_s[-1] >= p.road_s[0] else slice(None, None, -1)
        return float(np.interp(road_s, p.road_s[order], p.s[order]))


def _lateral_overlap(lanes: _Lanes, row: int, road: Road, line: StopLine) -> bool:
    """Whether a painted line covers the centre of lane ``row``."""
    p = lanes.points[row]
    i = int(np.argmin(np.abs(p.road_s - line.s)))
    x, y, heading, _ = road.plan.evaluate(p.road_s[i : i + 1])
    lateral = (p.xyz[i, 1] - y[0]) * np.cos(heading[0]) - (p.xyz[i, 0] - x[0]) * np.sin(heading[0])
    return bool(line.t_low - 0.2 <= lateral <= line.t_high + 0.2)


def _assign_stops(
    signal: _Signal, lanes: _Lanes, lines: dict[str, list[StopLine]], reversed_orientation: bool
) -> None:
    turning = [p for p in signal.references if p.on_connecting_road]
    places = turning
    if not turning:
        # lanes 0 to 0 on the signal itself means "see the references"
        own = [] if signal.references and signal.own.lanes == set() else [signal.own]
        places = own + signal.references
    stops: dict[int, float] = {}
    for place in places:
        for row in lanes.at(place, reversed_orientation):
            if place.on_connecting_road:
                stops[lanes.entry(row)] = 0.0
                continue
            s = lanes.arc(row, place.s)
            near = [
                arc
                for line in lines.get(place.road.id, ())
                if abs((arc := lanes.arc(row, line.s)) - s) <= _STOP_LINE_REACH
                and _lateral_overlap(lanes, row, place.road, line)
            ]
            s = min(near, key=lambda arc: abs(arc - s)) if near else s
            stops[row] = min(s, stops.get(row, np.inf))
    signal.stops = sorted(stops.items())


def _heading(signal: _Signal, lanes: _Lanes, reversed_orientation: bool) -> float:
    """Direction of travel of the addressed traffic: its lane's at the stop, else the road's."""
    if signal.stops:
        row, s = signal.stops[0]
        p = lanes.points[row]
        return float(p.heading[int(np.argmin(np.abs(p.s - s)))])
    place = signal.own
    _, _, heading, _ = place.road.plan.evaluate(np.array([place.s]))
    against = place.orientation == ("+" if reversed_orientation else "-")
    if place.lanes:
        against = not place.road.travels_forward(next(iter(place.lanes)))
    return float(wrap_angle(heading[0] + (np.pi if against else 0.0)))


def _groups(root: Element, junctions: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Controller and junction by signal id, as the file's controllers say; the first one counts."""
    controller_of: dict[str, int] = {}
    signals_of: dict[str, list[str]] = {}
    for index, controller in enumerate(root.findall("controller")):
        controlled = [c.get("signalId", "") for c in controller.findall("control")]
        signals_of[text(controller, "id")] = controlled
        for signal in controlled:
            controller_of.setdefault(signal, index)
    junction_of: dict[str, int] = {}
    for junction in root.findall("junction"):
        for controller in junction.findall("controller"):
            for signal in signals_of.get(controller.get("id", ""), ()):
                junction_of.setdefault(signal, junctions[text(junction, "id")])
    return controller_of, junction_of


def _governed_junction(
    signal: _Signal, lanes: _Lanes, junctions: dict[str, int], following: dict[int, list[int]]
) -> int:
    for row, _ in signal.stops:
        seen: set[int] = set()
        queue = [row]
        while queue:
            lane = queue.pop(0)
            if lane in seen:
                continue
            seen.add(lane)
            junction = lanes.connector.roads[lanes.roads[lane]].junction
            if junction in junctions:
                return junctions[junction]
            if lanes.roads[lane] == lanes.roads[row]:
                queue.extend(following.get(lane, ()))
    return -1


def read_signals(
    root: Element,
    connector: Connector,
    keys: list[LaneKey],
    points: list[LanePoints],
    junctions: dict[str, int],
    edges: tuple[Array, Array],
    objects: RoadObjects,
    unsupported: Unsupported,
) -> dict[str, Array]:
    """The ``signal_*`` and ``stop_*`` arrays of the map (see RoadMap).

    ``edges`` are lanes and their successors, ``junctions`` the index of each junction id.
    """
    signals, painted = _collect(connector.roads, unsupported)
    lanes = _Lanes(connector, keys, points, edges)
    reversed_orientation = _orientation_is_reversed(signals)
    lines: dict[str, list[StopLine]] = {}
    for line in (*objects.stop_lines, *painted):
        lines.setdefault(line.road, []).append(line)
    controller_of, junction_of = _groups(root, junctions)
    following: dict[int, list[int]] = {}
    for lane, successor in zip(*(e.tolist() for e in edges), strict=True):
        following.setdefault(lane, []).append(successor)
    rows = []
    stops: list[tuple[int, float, int]] = []
    for index, signal in enumerate(signals):
        junction = junction_of.get(signal.id, -1)
        if signal.kind in GOVERNING:
            _assign_stops(signal, lanes, lines, reversed_orientation)
            if not signal.stops:
                unsupported.add(
                    f"signal {signal.id} governs no lane", signal.own.road.id, signal.element
                )
            if junction < 0:
                junction = _governed_junction(signal, lanes, junctions, following)
        stops.extend((row, s, index) for row, s in signal.stops)
        heading = _heading(signal, lanes, reversed_orientation)
        controller = controller_of.get(signal.id, -1)
        rows.append(
            (signal.id, signal.kind, signal.xyz, heading, signal.value, controller, junction)
        )
    for sign in objects.speed_signs:
        road = connector.roads[sign.road]
        xyz, heading = road_point(
            road, np.array([sign.s]), np.array([sign.t]), np.array([sign.lift])
        )
        # it stands beside the traffic it addresses
        against = not road.travels_forward(1 if sign.t > 0 else -1)
        heading = float(wrap_angle(heading[0] + (np.pi if against else 0.0)))
        rows.append((sign.id, SignalKind.SPEED_LIMIT, xyz[0], heading, sign.value, -1, -1))
    stops.sort()
    return {
        "signal_id": np.array([r[0] for r in rows], dtype=str),
        "signal_kind": np.array([r[1] for r in rows], np.uint8),
        "signal_xyz": np.array([r[2] for r in rows], float).reshape(-1, 3),
        "signal_heading": np.array([r[3] for r in rows], float),
        "signal_value": np.array([r[4] for r in rows], float),
        "signal_controller": np.array([r[5] for r in rows], np.int32),
        "signal_junction": np.array([r[6] for r in rows], np.int32),
        "stop_lane": np.array([r[0] for r in stops], np.int32),
        "stop_s": np.array([r[1] for r in stops], float),
        "stop_signal": np.array([r[2] for r in stops], np.int32),
    }
