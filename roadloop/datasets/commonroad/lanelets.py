"""Lanelets of a CommonRoad file: their bounds, what they are for, where their traffic stops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.datasets.commonroad.file import Array, CommonRoadFile, Element
from roadloop.geometry import polyline_project
from roadloop.maps.road_map import LaneKind

KINDS: dict[str, LaneKind] = {
    "urban": LaneKind.DRIVING,
    "country": LaneKind.DRIVING,
    "highway": LaneKind.DRIVING,
    "interstate": LaneKind.DRIVING,
    "driveWay": LaneKind.DRIVING,
    "mainCarriageWay": LaneKind.DRIVING,
    "accessRamp": LaneKind.DRIVING,
    "exitRamp": LaneKind.DRIVING,
    "intersection": LaneKind.DRIVING,
    "busStop": LaneKind.DRIVING,
    "unknown": LaneKind.DRIVING,
    "shoulder": LaneKind.SHOULDER,
    "busLane": LaneKind.RESTRICTED,
    "restricted": LaneKind.RESTRICTED,
    "restricted_area": LaneKind.RESTRICTED,
    "parking": LaneKind.PARKING,
    "bicycleLane": LaneKind.BIKING,
    "sidewalk": LaneKind.SIDEWALK,
    "border": LaneKind.BORDER,
}
"""by lanelet type; of several types the one that is no road for cars counts. A ``crosswalk`` is
none of them: its outline becomes a crosswalk"""

_CARS = frozenset({"vehicle", "car", "taxi", "truck", "priorityVehicle", "motorcycle"})


@dataclass(frozen=True)
class Lanelet:
    """One lanelet."""

    element: Element
    left: Array
    right: Array
    types: tuple[str, ...]
    """as the file has them; none in 2018b"""
    signs: tuple[str, ...]
    """ids of the traffic signs that hold on it"""
    lights: tuple[str, ...]
    """ids of the traffic lights it names"""

    @property
    def middle(self) -> Array:
        """(2 n, 2) rough centreline: as many points as its bounds have, halfway between."""
        share = np.linspace(0.0, 1.0, max(len(self.left), len(self.right)) + 1)
        sides = []
        for bound in (self.left, self.right):
            arc = np.concatenate([[0.0], np.hypot(*np.diff(bound[:, :2], axis=0).T).cumsum()])
            at = share * arc[-1]
            sides.append(np.stack([np.interp(at, arc, bound[:, k]) for k in (0, 1)], axis=-1))
        return (sides[0] + sides[1]) / 2.0


def lanelet_of(file: CommonRoadFile, element: Element) -> Lanelet:
    """A ``lanelet`` element; RoadloopError for bounds of fewer than two points, unknown types."""
    bounds = []
    for name in ("leftBound", "rightBound"):
        bound = element.find(name)
        points = file.points(bound) if bound is not None else np.zeros((0, 3))
        if len(points) < 2:
            raise file.fault(element, f"has {len(points)} points in its {name}; expected 2 or more")
        bounds.append(points)
    types = tuple((e.text or "").strip() for e in element.iterfind("laneletType"))
    for type_ in types:
        if type_ not in KINDS and type_ != "crosswalk":
            raise file.fault(
                element, f"has the type {type_!r}, which roadloop does not know; known: "
                + ", ".join([*KINDS, "crosswalk"]),
            )  # fmt: skip
    return Lanelet(
        element,
        *bounds,
        types=types,
        signs=tuple(
            dict.fromkeys(
                e.get("ref")
                for path in ("trafficSignRef", "stopLine/trafficSignRef")
                for e in element.iterfind(path)
            )
        ),
        lights=tuple(
            dict.fromkeys(
                e.get("ref")
                for path in ("trafficLightRef", "stopLine/trafficLightRef")
                for e in element.iterfind(path)
            )
        ),
    )


def kind_of(file: CommonRoadFile, lanelet: Lanelet) -> LaneKind:
    """By its types, else by the users it admits."""
    users = {
        way: {(e.text or "").strip() for e in lanelet.element.iterfind(f"user{way}")}
        for way in ("OneWay", "Bidirectional")
    }
    kind = max((KINDS[t] for t in lanelet.types), default=LaneKind.DRIVING)
    if kind != LaneKind.DRIVING:
        return kind
    # emergency vehicles may go anywhere in both directions: that says nothing
    both_ways = users["Bidirectional"] - {"priorityVehicle"}
    if both_ways & _CARS:
        return LaneKind.BIDIRECTIONAL
    anyone = users["OneWay"] | both_ways
    if not anyone or anyone & _CARS:
        return LaneKind.DRIVING
    if anyone <= {"pedestrian"}:
        return LaneKind.SIDEWALK
    return LaneKind.BIKING if anyone <= {"bicycle", "pedestrian"} else LaneKind.RESTRICTED


def stop_s(file: CommonRoadFile, lanelet: Lanelet) -> float | None:
    """m along a lanelet of its stop line; None: at its end, as a line without points."""
    line = lanelet.element.find("stopLine")
    points = file.points(line) if line is not None else np.zeros((0, 3))
    if len(points) < 2:
        return None
    return float(polyline_project(_distinct(lanelet.middle), points[:, :2].mean(axis=0))[0])


def _distinct(line: Array) -> Array:
    moved = np.hypot(*np.diff(line, axis=0).T) > 1e-6
    return line[np.concatenate([[True], moved])]


def end_heading(lanelet: Lanelet) -> float:
    """rad, direction of travel where it ends."""
    line = _distinct(lanelet.middle)
    return float(np.arctan2(*(line[-1] - line[-2])[::-1]))
