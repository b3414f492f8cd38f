"""Objects of OpenDRIVE roads that bear on driving: crosswalks, painted stop lines, speed signs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from roadloop.maps.lane_geometry import road_point
from roadloop.maps.opendrive_roads import Road
from roadloop.maps.opendrive_xml import Element, Unsupported, number

Array = np.ndarray

_SPEED_NAME = re.compile(r"(?i)speed_?(?:limit)?_?(\d+)|spp?e+d_?limit(\d+)")
"""Names like Speed_30 and SpeedLimit60Assembly, the speed limit props (km/h) of CARLA's towns"""

CROSSWALK_CODE = "1000003"
"""Country-independent OpenDRIVE signal code of a painted crosswalk"""

_STOP_LINE_NAME = re.compile(r"(?i)stop_?line")


@dataclass(frozen=True)
class StopLine:
    """A painted stop line across lanes between ``t_low`` and ``t_high`` of its road."""

    road: str
    s: float
    t_low: float
    t_high: float


@dataclass(frozen=True)
class SpeedSign:
    """A speed limit sign given as an object."""

    id: str
    road: str
    s: float
    t: float
    lift: float
    value: float
    """m/s"""


@dataclass
class RoadObjects:
    """What ``read_objects`` found."""

    crosswalks: list[Array] = field(default_factory=list)
    """each (n, 3), counter-clockwise, not closed"""
    stop_lines: list[StopLine] = field(default_factory=list)
    speed_signs: list[SpeedSign] = field(default_factory=list)


def speed_in_name(name: str) -> float | None:
    """Speed limit (m/s) in a sign's name such as ``Speed_30`` (km/h), None where there is none."""
    found = _SPEED_NAME.search(name)
    return float(found.group(1) or found.group(2)) / 3.6 if found else None


def _corners(road: Road, element: Element) -> Array:
    """Outline (n, 3) of an object in world coordinates; a rectangle where it has no outline."""
    s, t, lift = number(element, "s"), number(element, "t"), number(element, "zOffset", 0.0)
    outline = element.find("outline")
    outline = element.find("outlines/outline") if outline is None else outline
    on_road = [] if outline is None else outline.findall("cornerRoad")
    if on_road:
        corner = np.array([[number(c, "s"), number(c, "t"), number(c, "dz", 0.0)] for c in on_road])
        return road_point(road, corner[:, 0], corner[:, 1], corner[:, 2])[0]
    local = [] if outline is None else outline.findall("cornerLocal")
    if local:
        u, v, z = np.array([[number(c, "u"), number(c, "v"), number(c, "z", 0.0)] for c in local]).T
    else:
        half_length = number(element, "length", 0.0) / 2
        half_width = number(element, "width", 0.0) / 2
        u = half_length * np.array([1.0, -1.0, -1.0, 1.0])
        v = half_width * np.array([1.0, 1.0, -1.0, -1.0])
        z = np.zeros(4)
    origin, heading = road_point(road, np.array([s]), np.array([t]), np.array([lift]))
    turn = heading[0] + number(element, "hdg", 0.0)
    cos, sin = np.cos(turn), np.sin(turn)
    return origin + np.stack([u * cos - v * sin, u * sin + v * cos, z], axis=1)


def _polygon(corners: Array) -> Array | None:
    """The corners counter-clockwise and without repeats; None where they enclose nothing."""
    step = np.hypot(*(corners - np.roll(corners, 1, axis=0))[:, :2].T)
    corners = corners[step > 1e-3]
    if len(corners) < 3:
        return None
    x, y = corners[:, 0] - corners[0, 0], corners[:, 1] - corners[0, 1]
    area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2
    if abs(area) < 0.1:
        return None
    return corners if area > 0 else corners[::-1]


def _stop_line(road: Road, element: Element) -> StopLine:
    """The stop line's place; its lateral reach from its corners, else its length and heading."""
    s, t = number(element, "s"), number(element, "t")
    heading = number(element, "hdg", 0.0)
    length, width = number(element, "length", 0.0), number(element, "width", 0.0)
    across = max(abs(length * np.sin(heading)), abs(width * np.cos(heading))) / 2
    return StopLine(road.id, s, t - across, t + across)


def _signal_crosswalk(road: Road, element: Element) -> Array | None:
    """A crosswalk written as a signal: ``value`` m along the road, ``width`` m across."""
    s, t = number(element, "s"), number(element, "t")
    along, across = number(element, "value", 0.0) / 2, number(element, "width", 0.0) / 2
    corner_s = s + along * np.array([1.0, -1.0, -1.0, 1.0])
    corner_t = t + across * np.array([1.0, 1.0, -1.0, -1.0])
    return _polygon(road_point(road, corner_s, corner_t, np.zeros(4))[0])


def read_objects(roads: dict[str, Road], unsupported: Unsupported) -> RoadObjects:
    """Crosswalks, stop lines and speed signs among the objects of all roads.

    Buildings, barriers, trees, parking spaces and other scenery say nothing about lanes and are
    left alone.
    """
    found = RoadObjects()
    for road in roads.values():
        for element in road.element.iterfind("objects/object"):
            kind, name = element.get("type", ""), element.get("name", "") or ""
            kind = name if kind in ("", "-1", "none") else kind
            if "crosswalk" in kind.lower():
                if element.find("repeat") is not None:
                    unsupported.add("repeated crosswalk (the first is used)", road.id, element)
                polygon = _polygon(_corners(road, element))
                if polygon is None:
                    unsupported.add("crosswalk without area", road.id, element)
                else:
                    found.crosswalks.append(polygon)
            elif _STOP_LINE_NAME.search(kind):
                found.stop_lines.append(_stop_line(road, element))
            elif kind == name and (value := speed_in_name(name)):
                s, t = number(element, "s"), number(element, "t")
                lift = number(element, "zOffset", 0.0)
                object_id = element.get("id", "") or ""
                found.speed_signs.append(SpeedSign(object_id, road.id, s, t, lift, value))
        for element in road.element.iterfind("signals/signal"):
            if element.get("type") == CROSSWALK_CODE and element.get("dynamic") != "yes":
                polygon = _signal_crosswalk(road, element)
                if polygon is None:
                    unsupported.add("crosswalk without area", road.id, element)
                else:
                    found.crosswalks.append(polygon)
    return found
