"""A road network under construction, written out as OpenDRIVE 1.6 text.

Roads, lanes and junctions are objects of the ``scenariogeneration`` library; signals, objects and
controllers are added to its XML tree, because the library numbers those from a process-wide
counter and the same arguments must give the same bytes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scenariogeneration import xodr

from roadloop.maps.generate_paths import Path, Pose, moved, plan_view, turned, view_end

if TYPE_CHECKING:
    from roadloop.maps.generate import Control

Contact = Literal["start", "end"]

GEOREFERENCE = (
    "+proj=tmerc +lat_0=0 +lon_0=0 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +vunits=m +no_defs"
)
LIGHT_TYPE, YIELD_TYPE, STOP_TYPE = "1000001", "205", "206"
"""signal types as CARLA's maps use them (205 and 206 are the German sign numbers)"""


# --- cross-sections -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Strip:
    """One lane of a cross-section with the road mark on its outer edge."""

    type: str
    """OpenDRIVE lane type"""
    width: float
    """m"""
    mark: str = "none"
    """OpenDRIVE road mark type"""
    change: str = "none"
    """OpenDRIVE laneChange across the mark: none or both"""


@dataclass(frozen=True)
class Profile:
    """The cross-section that all roads of one kind share."""

    lane_width: float = 3.5
    """m"""
    edge: Literal["sidewalk", "shoulder"] = "sidewalk"
    """what lies beside the outermost driving lane"""
    edge_width: float = 2.0
    """m"""
    road_type: str = "town"
    """OpenDRIVE road type"""
    speed_limit: float = 50.0 / 3.6
    """m/s"""

    def side(self, lanes: int, outermost: str = "driving") -> list[Strip]:
        """Strips from the reference line outwards; ``outermost`` is the last lane's type."""
        strips = [Strip("driving", self.lane_width, "broken", "both") for _ in range(lanes)]
        outer = "curb" if self.edge == "sidewalk" else "solid"
        strips[-1] = Strip(outermost, self.lane_width, outer)
        return [*strips, Strip(self.edge, self.edge_width)]


@dataclass(frozen=True)
class Arm:
    """One end of a road at a junction."""

    road: int
    contact: Contact
    """which end of the road lies at the junction"""
    pose: Pose
    """the reference line's end, looking away from the junction"""
    lanes: int
    """per direction"""
    profile: Profile
    control: Control = "none"
    """what traffic that enters from here must obey"""

    def lane_in(self, number: int) -> int:
        """OpenDRIVE id of the ``number``-th lane (1: leftmost) towards the junction."""
        return -number if self.contact == "end" else number

    def lane_out(self, number: int) -> int:
        """OpenDRIVE id of the ``number``-th lane (1: leftmost) away from the junction."""
        return number if self.contact == "end" else -number

    def left_edge_in(self, number: int) -> Pose:
        """Left edge of an incoming lane at the junction, looking in."""
        return moved(turned(self.pose), 0.0, -(number - 1) * self.profile.lane_width)

    def left_edge_out(self, number: int) -> Pose:
        """Left edge of an outgoing lane at the junction, looking out."""
        return moved(self.pose, 0.0, -(number - 1) * self.profile.lane_width)


# --- the draft ----------------------------------------------------------------------------------


@dataclass
class _Junction:
    body: xodr.Junction
    priorities: list[tuple[int, int]] = field(default_factory=list)
    controllers: list[int] = field(default_factory=list)


class Draft:
    """Roads and junctions as they are being drawn; ``text()`` is the OpenDRIVE file."""

    def __init__(self, name: str) -> None:
        self._network = xodr.OpenDrive(name, "1", "6", GEOREFERENCE)
        self._roads: dict[int, xodr.Road] = {}
        self._ends: dict[int, tuple[Pose, Pose]] = {}
        self._junctions: dict[int, _Junction] = {}
        self._groups: list[xodr.JunctionGroup] = []
        self._signals: dict[int, list[ET.Element]] = {}
        self._objects: dict[int, list[ET.Element]] = {}
        self._controllers: list[ET.Element] = []
        self._last_id = 0

    def new_id(self) -> int:
        """An id nothing else in the file has."""
        self._last_id += 1
        return self._last_id

    def length(self, road: int) -> float:
        """m along the reference line."""
        return self._roads[road].planview.get_total_length()

    def add_road(
        self,
        start: Pose,
        path: Path,
        profile: Profile,
        *,
        right: Sequence[Strip],
        left: Sequence[Strip] = (),
        centre_mark: str = "none",
        elevation: Iterable[tuple[float, float, float, float, float]] = (),
    ) -> int:
        """A road outside junctions; strips run from the reference line outwards. Returns its id.

        ``elevation`` rows are OpenDRIVE's (s, a, b, c, d).
        """
        road = self._new_road(start, path, profile, right, left, centre_mark, -1)
        for row in elevation:
            self._roads[road].add_elevation(*row)
        return road

    def add_two_way(
        self,
        start: Pose,
        path: Path,
        profile: Profile,
        lanes: int,
        elevation: Iterable[tuple[float, float, float, float, float]] = (),
    ) -> int:
        """A road with ``lanes`` per direction and its edges, outside junctions. Returns its id."""
        side = profile.side(lanes)
        mark = "broken" if lanes == 1 else "solid_solid"
        return self.add_road(
            start, path, profile, right=side, left=side, centre_mark=mark, elevation=elevation
        )

    def _new_road(
        self,
        start: Pose,
        path: Path,
        profile: Profile,
        right: Sequence[Strip],
        left: Sequence[Strip],
        centre_mark: str,
        junction: int,
    ) -> int:
        centre = xodr.Lane(xodr.LaneType.none)
        centre.add_roadmark(_road_mark(Strip("none", 0.0, centre_mark), "yellow"))
        section = xodr.LaneSection(0, centre)
        for strips, add in ((left, section.add_left_lane), (right, section.add_right_lane)):
            for strip in strips:
                lane = xodr.Lane(xodr.LaneType[strip.type], a=strip.width)
                lane.add_roadmark(_road_mark(strip, "white"))
                add(lane)
        lanes = xodr.Lanes()
        lanes.add_lanesection(section)
        number = self.new_id()
        view = plan_view(start, path)
        road = xodr.Road(number, view, lanes, junction, f"road {number}")
        road.add_type(xodr.RoadType[profile.road_type], speed=round(profile.speed_limit, 6))
        self._network.add_road(road)
        self._roads[number] = road
        self._ends[number] = (start, view_end(view))
        return number

    def arm(
        self, road: int, contact: Contact, lanes: int, profile: Profile, control: Control = "none"
    ) -> Arm:
        """One end of a road added before, as a junction sees it."""
        start, end = self._ends[road]
        pose = start if contact == "start" else turned(end)
        return Arm(road, contact, pose, lanes, profile, control)

    def add_junction(self, arms: Iterable[Arm]) -> int:
        """A junction at these road ends, still without connections. Returns its id."""
        number = self.new_id()
        self._junctions[number] = _Junction(xodr.Junction(f"junction {number}", number))
        for arm in arms:
            road = self._roads[arm.road]
            link = road.add_predecessor if arm.contact == "start" else road.add_successor
            link(xodr.ElementType.junction, number)
        return number

    def connect(
        self,
        junction: int,
        source: Arm,
        lane_in: int,
        target: Arm,
        lane_out: int,
        path: Path,
        *,
        edge: bool = False,
    ) -> int:
        """A connecting road of one lane, its reference line the lane's left edge. Returns its id.

        Lanes are counted from 1 at the left; ``edge`` takes the pavement or shoulder along.
        """
        profile = source.profile
        strips = profile.side(1) if edge else [Strip("driving", profile.lane_width)]
        start = source.left_edge_in(lane_in)
        number = self._new_road(start, path, profile, strips, (), "none", junction)
        road = self._roads[number]
        road.add_predecessor(xodr.ElementType.road, source.road, xodr.ContactPoint[source.contact])
        road.add_successor(xodr.ElementType.road, target.road, xodr.ContactPoint[target.contact])
        body = self._junctions[junction].body
        connection = xodr.Connection(source.road, number, xodr.ContactPoint.start)
        pairs = [(source.lane_in(lane_in), target.lane_out(lane_out))]
        if edge:
            pairs.append((source.lane_in(source.lanes + 1), target.lane_out(target.lanes + 1)))
        for own, (before, after) in enumerate(pairs, start=1):
            lane = road.lanes.lanesections[0].rightlanes[own - 1]
            lane.add_link("predecessor", before)
            lane.add_link("successor", after)
            connection.add_lanelink(before, -own)
        body.add_connection(connection)
        return number

    def add_priority(self, junction: int, high: int, low: int) -> None:
        """Traffic on connecting road ``high`` goes before that on ``low``."""
        self._junctions[junction].priorities.append((high, low))

    def add_roundabout(self, junctions: Iterable[int]) -> None:
        """Marks junctions as the parts of one roundabout."""
        number = self.new_id()
        group = xodr.JunctionGroup(f"roundabout {number}", number)
        for junction in junctions:
            group.add_junction(junction)
        self._groups.append(group)

    def add_signal(self, arm: Arm, kind: Control, governed: Iterable[int]) -> int:
        """A light or sign for what enters at ``arm`` onto the connecting roads ``governed``.

        It stands on the right of the approach, half a metre before its end, and is referenced at
        the entry of each connecting road, as in CARLA's maps. Returns its id.
        """
        type_code, name, dynamic, height = {
            "lights": (LIGHT_TYPE, "Signal_3Light_Post01", "yes", 3.0),
            "stop": (STOP_TYPE, "Sign_Stop", "no", 2.2),
            "yield": (YIELD_TYPE, "Sign_Yield", "no", 2.2),
        }[kind]
        at_end = arm.contact == "end"
        t = arm.lanes * arm.profile.lane_width + 0.8  # m, clear of the kerb
        number = self.new_id()
        signal = _element(
            "signal",
            name=name,
            id=number,
            s=self.length(arm.road) - 0.5 if at_end else 0.5,
            t=-t if at_end else t,
            zOffset=height,
            hOffset=0.0,
            orientation="+" if at_end else "-",
            dynamic=dynamic,
            country="OpenDRIVE",
            type=type_code,
            subtype="-1",
            value=-1.0,
            height=1.0,
            width=0.5,
        )
        # governs nothing by itself: only the references below do
        signal.append(_element("validity", fromLane=0, toLane=0))
        self._signals.setdefault(arm.road, []).append(signal)
        for road in governed:
            reference = _element("signalReference", id=number, s=0.0, t=0.0, orientation="+")
            reference.append(_element("validity", fromLane=-1, toLane=-1))
            self._signals.setdefault(road, []).append(reference)
        return number

    def add_controller(self, junction: int, signals: Iterable[int]) -> None:
        """Lights that switch together; the n-th controller of a junction is n-th in sequence."""
        number = self.new_id()
        sequence = len(self._junctions[junction].controllers)
        controller = _element("controller", name=f"ctrl{number}", id=number, sequence=sequence)
        controller.extend(_element("control", signalId=signal, type="") for signal in signals)
        self._controllers.append(controller)
        self._junctions[junction].controllers.append(number)

    def add_crosswalk(self, road: int, s_from: float, s_to: float, half_width: float) -> None:
        """A crosswalk over both sides of a road, from ``s_from`` to ``s_to`` m along it.

        It may lie beyond the road's ends, on the ground of a junction.
        """
        length = self.length(road)
        anchor = min(max(s_from, 0.0), length)
        crosswalk = _element(
            "object",
            type="crosswalk",
            name="crosswalk",
            id=self.new_id(),
            s=anchor,
            t=0.0,
            zOffset=0.0,
            hdg=0.0,
            roll=0.0,
            pitch=0.0,
            orientation="none",
            length=abs(s_to - s_from),
            width=2.0 * half_width,
        )
        outline = _element("outline", id=0, closed="true")
        low, high = min(s_from, s_to) - anchor, max(s_from, s_to) - anchor
        corners = [(low, -1), (high, -1), (high, 1), (low, 1)]
        outline.extend(
            _element("cornerLocal", u=u, v=side * half_width, z=0.0, height=0.0, id=i)
            for i, (u, side) in enumerate(corners)
        )
        outlines = ET.SubElement(crosswalk, "outlines")
        outlines.append(outline)
        self._objects.setdefault(road, []).append(crosswalk)

    def text(self) -> str:
        """The OpenDRIVE file, without the library's time stamp."""
        for junction in self._junctions.values():
            self._network.add_junction(junction.body)
        root = self._network.get_element()
        header = root.find("header")
        for stamp in ("date", "north", "south", "east", "west"):
            header.attrib.pop(stamp)  # type: ignore[union-attr]
        for element in root.findall("road"):
            number = int(element.attrib["id"])
            for name, content in (("objects", self._objects), ("signals", self._signals)):
                if number in content:
                    ET.SubElement(element, name).extend(content[number])
        for element in root.findall("junction"):
            junction = self._junctions[int(element.attrib["id"])]
            for high, low in junction.priorities:
                element.append(_element("priority", high=high, low=low))
            for sequence, number in enumerate(junction.controllers):
                element.append(_element("controller", id=number, type="0", sequence=sequence))
        place = 1 + len(root.findall("road"))
        for offset, controller in enumerate(self._controllers):
            root.insert(place + offset, controller)
        root.extend(group.get_element() for group in self._groups)
        ET.indent(root, " ")
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _road_mark(strip: Strip, colour: str) -> xodr.RoadMark:
    painted = strip.mark not in ("none", "curb")
    return xodr.RoadMark(
        xodr.RoadMarkType[strip.mark],
        width=0.15 if painted else None,
        color=xodr.RoadMarkColor[colour if painted else "standard"],
        laneChange=xodr.LaneChange[strip.change],
    )


def _element(tag: str, **attributes: str | float) -> ET.Element:
    return ET.Element(tag, {name: str(value) for name, value in attributes.items()})
