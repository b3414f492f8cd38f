"""Roads, lane sections and lanes of an OpenDRIVE file as plain records, read from the XML."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.maps.opendrive_xml import (
    Element,
    Unsupported,
    complaint,
    integer,
    number,
    numbers,
    speed_factor,
    text,
)
from roadloop.maps.plan_view import PlanView, read_plan_view
from roadloop.maps.road_map import LaneKind

Array = np.ndarray

LANE_KINDS = {
    "driving": LaneKind.DRIVING,
    "entry": LaneKind.DRIVING,
    "exit": LaneKind.DRIVING,
    "onRamp": LaneKind.DRIVING,
    "offRamp": LaneKind.DRIVING,
    "connectingRamp": LaneKind.DRIVING,
    "slipLane": LaneKind.DRIVING,
    "mwyEntry": LaneKind.DRIVING,
    "mwyExit": LaneKind.DRIVING,
    "bidirectional": LaneKind.BIDIRECTIONAL,
    "shoulder": LaneKind.SHOULDER,
    "stop": LaneKind.SHOULDER,  # hard shoulder of a motorway
    "parking": LaneKind.PARKING,
    "biking": LaneKind.BIKING,
    "sidewalk": LaneKind.SIDEWALK,
    "walking": LaneKind.SIDEWALK,
    "border": LaneKind.BORDER,
    "curb": LaneKind.BORDER,
    "median": LaneKind.MEDIAN,
    "restricted": LaneKind.RESTRICTED,
    "roadWorks": LaneKind.RESTRICTED,
    "bus": LaneKind.RESTRICTED,
    "taxi": LaneKind.RESTRICTED,
    "HOV": LaneKind.RESTRICTED,
    "none": LaneKind.OTHER,
    "special1": LaneKind.OTHER,
    "special2": LaneKind.OTHER,
    "special3": LaneKind.OTHER,
}
"""Lane types of OpenDRIVE 1.4-1.7 (and 1.8's new names for old ones)"""

DEFAULT_SPEED = {
    "motorway": 130 / 3.6,
    "rural": 100 / 3.6,
    "townExpressway": 80 / 3.6,
    "lowSpeed": 30 / 3.6,
    "townPrivate": 30 / 3.6,
    "bicycle": 30 / 3.6,
    "townPlayStreet": 7 / 3.6,
    "pedestrian": 7 / 3.6,
}
"""m/s for a road type whose file gives no limit: the German rules (StVO section 3 and 18, the
recommended 130 km/h on motorways); every other type counts as town"""

TOWN_SPEED = 50 / 3.6
"""m/s, StVO section 3: inside built-up areas"""

NO_LIMIT = 130 / 3.6
"""m/s where the file says "no limit": the recommended speed on German motorways"""


@dataclass(frozen=True)
class Cubics:
    """Piecewise cubic ``a + b ds + c ds^2 + d ds^3`` with ``ds = s - start``."""

    start: Array
    """(n,) sorted"""
    coefficients: Array
    """(n, 4)"""

    def at(self, s: Array) -> tuple[Array, Array]:
        """Value and slope at ``s``; before the first piece its first value, with slope 0."""
        if len(self.start) == 1:
            ds = np.maximum(s - self.start[0], 0.0)
            a, b, c, d = self.coefficients[0]
        else:
            index = np.maximum(np.searchsorted(self.start, s, side="right") - 1, 0)
            ds = np.maximum(s - self.start[index], 0.0)
            a, b, c, d = self.coefficients[index].T
        return a + ds * (b + ds * (c + ds * d)), b + ds * (2 * c + 3 * ds * d)

    @property
    def is_zero(self) -> bool:
        """True where the function vanishes everywhere."""
        return not self.coefficients.any()


ZERO = Cubics(np.zeros(1), np.zeros((1, 4)))


def read_cubics(parent: Element | None, tag: str, key: str = "s", origin: float = 0.0) -> Cubics:
    """The piecewise cubic of the children ``tag`` of ``parent``; zero where there are none."""
    elements = [] if parent is None else parent.findall(tag)
    if not elements:
        return ZERO
    rows = np.array([numbers(e, (key, "a", "b", "c", "d")) for e in elements])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return Cubics(rows[:, 0] + origin, rows[:, 1:])


@dataclass
class Lane:
    """One ``<lane>`` of a lane section (never the centre lane)."""

    number: int
    kind: LaneKind
    width: Cubics | None
    """over road s; None where the lane is given by its border"""
    border: Cubics | None
    level: bool
    height: Array
    """(n, 2) road s and metres above the road surface, from there on"""
    predecessors: list[int]
    successors: list[int]
    speed: float
    """m/s, NaN where the lane states none"""
    element: Element


@dataclass
class Section:
    """One ``<laneSection>``, from ``start`` to ``end`` along its road, per side."""

    index: int
    start: float
    end_left: float
    end_right: float
    left: list[Lane]
    """from the centre outwards"""
    right: list[Lane]
    centre: Element | None

    def side(self, sign: int) -> tuple[list[Lane], float]:
        """Lanes of the left (+1) or right (-1) side and where they end."""
        return (self.left, self.end_left) if sign > 0 else (self.right, self.end_right)


@dataclass
class Road:
    """One ``<road>``."""

    id: str
    junction: str
    """junction id, "-1" outside junctions"""
    length: float
    left_hand: bool
    plan: PlanView
    elevation: Cubics
    superelevation: Cubics
    offset: Cubics
    sections: list[Section]
    speeds: list[tuple[float, float, bool]]
    """(from s, m/s, stated by the file); empty where the road has no type"""
    element: Element

    def travels_forward(self, number: int) -> bool:
        """True where lane ``number`` is driven towards growing s."""
        return (number < 0) != self.left_hand

    def speed_at(self, s: float) -> tuple[float, bool]:
        """Limit (m/s) of the road at ``s`` and whether the file states it."""
        found = (TOWN_SPEED, False)
        for start, speed, stated in self.speeds:
            if start <= s or start == self.speeds[0][0]:
                found = (speed, stated)
        return found

    def side_sections(self, sign: int) -> list[Section]:
        """The sections that have their own lanes on that side, in order of s."""
        return [section for section in self.sections if section.side(sign)[1] > section.start]


def _speed(element: Element) -> float:
    """m/s of a ``<speed>``; NaN for "undefined"."""
    raw = element.get("max")
    factor = speed_factor(element)
    if raw == "no limit":
        return NO_LIMIT
    if raw is None or raw == "undefined":
        return np.nan
    value = number(element, "max") * factor
    return value if value > 0 else np.nan


def _link(lane: Element, tag: str) -> list[int]:
    return [integer(e, "id") for link in lane.findall("link") for e in link.findall(tag)]


def _read_lane(element: Element, start: float, road: str, unsupported: Unsupported) -> Lane:
    lane_id = integer(element, "id")
    kind_name = element.get("type", "none")
    kind = LANE_KINDS.get(kind_name)
    if kind is None:
        kind = LaneKind.OTHER
        unsupported.add(f"lane type {kind_name!r} (kept as other)", road, element)
    width = border = None
    if element.find("width") is not None:
        width = read_cubics(element, "width", "sOffset", start)
    elif element.find("border") is not None:
        border = read_cubics(element, "border", "sOffset", start)
    elif lane_id != 0:
        raise complaint(
            element, f"lane {lane_id} of road {road} has neither width nor border", "add one"
        )
    for tag in ("access", "rule"):
        found = element.find(tag)
        if found is not None:
            unsupported.add(f"lane <{tag}>", road, found)
    if element.get("direction", "standard") != "standard":
        unsupported.add(f"lane direction {element.get('direction')!r}", road, element)
    height = [
        (start + number(h, "sOffset"), (number(h, "inner") + number(h, "outer")) / 2)
        for h in element.findall("height")
    ]
    speeds = element.findall("speed")
    if len(speeds) > 1:
        unsupported.add("more than one speed along a lane (the first is used)", road, speeds[1])
    return Lane(
        number=lane_id,
        kind=kind,
        width=width,
        border=border,
        level=element.get("level") in ("true", "1"),
        height=np.array(height).reshape(-1, 2),
        predecessors=_link(element, "predecessor"),
        successors=_link(element, "successor"),
        speed=_speed(speeds[0]) if speeds else np.nan,
        element=element,
    )


def _read_sections(
    lanes: Element, road: str, length: float, unsupported: Unsupported
) -> list[Section]:
    elements = sorted(lanes.findall("laneSection"), key=lambda e: number(e, "s"))
    sections: list[Section] = []
    own_sides: list[tuple[bool, bool]] = []
    for index, element in enumerate(elements):
        start = number(element, "s")
        sides: dict[str, list[Lane]] = {}
        for name, sign in (("left", 1), ("right", -1)):
            side = element.find(name)
            found = [] if side is None else side.findall("lane")
            read = [_read_lane(lane, start, road, unsupported) for lane in found]
            if any(lane.number * sign <= 0 for lane in read):
                raise complaint(
                    side, f"<{name}> of road {road} holds a lane id of the wrong sign", "correct it"
                )
            sides[name] = sorted(read, key=lambda lane: abs(lane.number))
        centre = element.find("center")
        single = element.get("singleSide") in ("true", "1")
        own_sides.append((not single or bool(sides["left"]), not single or bool(sides["right"])))
        sections.append(
            Section(
                index=index,
                start=start,
                end_left=start,
                end_right=start,
                left=sides["left"],
                right=sides["right"],
                centre=None if centre is None else centre.find("lane"),
            )
        )
    # A single-sided section leaves the other side's section running.
    next_left = next_right = length
    for section, (left, right) in zip(reversed(sections), reversed(own_sides), strict=True):
        if left:
            section.end_left, next_left = next_left, min(section.start, length)
        if right:
            section.end_right, next_right = next_right, min(section.start, length)
        ends_before = (left and section.end_left <= section.start) or (
            right and section.end_right <= section.start
        )
        if ends_before:
            unsupported.add("lane section of zero length", road, elements[section.index])
    return sections


def _road_speeds(element: Element) -> list[tuple[float, float, bool]]:
    speeds = []
    for kind in element.findall("type"):
        speed = kind.find("speed")
        value = np.nan if speed is None else _speed(speed)
        stated = bool(np.isfinite(value))
        default = DEFAULT_SPEED.get(kind.get("type", ""), TOWN_SPEED)
        speeds.append((number(kind, "s", 0.0), value if stated else default, stated))
    return sorted(speeds)


def read_road(element: Element, unsupported: Unsupported) -> Road:
    """One ``<road>``; RoadloopError names file and line of what is wrong."""
    road_id = text(element, "id")
    plan = read_plan_view(element, road_id, unsupported)
    stated = number(element, "length", plan.end)
    length = plan.end
    if abs(stated - length) > 0.1:
        unsupported.add(
            f"road length {stated:.2f} m differs from its plan view's {length:.2f} m (used)",
            road_id,
            element,
        )
    lateral = element.find("lateralProfile")
    for tag in ("shape", "crossfall"):
        found = None if lateral is None else lateral.find(tag)
        if found is not None:
            unsupported.add(f"lateral profile <{tag}>", road_id, found)
    railroad = element.find("railroad")
    if railroad is not None and len(railroad):
        unsupported.add("<railroad>", road_id, railroad)
    lanes = element.find("lanes")
    if lanes is None or lanes.find("laneSection") is None:
        raise complaint(element, f"road {road_id} has no laneSection", "add one or drop the road")
    return Road(
        id=road_id,
        junction=element.get("junction", "-1") or "-1",
        length=length,
        left_hand=element.get("rule", "RHT") == "LHT",
        plan=plan,
        elevation=read_cubics(element.find("elevationProfile"), "elevation"),
        superelevation=read_cubics(lateral, "superelevation"),
        offset=read_cubics(lanes, "laneOffset"),
        sections=_read_sections(lanes, road_id, length, unsupported),
        speeds=_road_speeds(element),
        element=element,
    )
