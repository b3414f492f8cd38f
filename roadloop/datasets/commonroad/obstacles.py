"""Obstacles of a CommonRoad file: who they are, how large, and where at which step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.datasets.commonroad.file import Array, CommonRoadFile, Element
from roadloop.types import AgentKind

_KIND = AgentKind
KINDS: dict[str, AgentKind] = {
    "car": _KIND.CAR,
    "taxi": _KIND.CAR,
    "priorityVehicle": _KIND.CAR,
    "parkedVehicle": _KIND.CAR,
    "unknown": _KIND.CAR,  # what moves like one is treated like one
    "truck": _KIND.TRUCK,
    "bus": _KIND.BUS,
    "train": _KIND.BUS,
    "motorcycle": _KIND.MOTORCYCLE,
    "bicycle": _KIND.CYCLIST,
    "pedestrian": _KIND.PEDESTRIAN,
    "constructionZone": _KIND.STATIC,
    "roadBoundary": _KIND.STATIC,
    "building": _KIND.STATIC,
    "pillar": _KIND.STATIC,
    "median_strip": _KIND.STATIC,
}
"""by obstacle type; an obstacle whose role is static never moves and is STATIC"""

HEIGHTS: dict[AgentKind, float] = {
    _KIND.CAR: 1.5,
    _KIND.TRUCK: 3.5,
    _KIND.BUS: 3.2,
    _KIND.MOTORCYCLE: 1.5,
    _KIND.CYCLIST: 1.7,
    _KIND.PEDESTRIAN: 1.75,
    _KIND.STATIC: 1.0,
}
"""m; CommonRoad is flat and states none"""


@dataclass(frozen=True)
class Obstacle:
    """One obstacle over the n steps it is known at."""

    id: str
    type: str
    moves: bool
    """False: it has one state, which holds for ever"""
    kind: AgentKind
    steps: Array
    """(n,) int, increasing"""
    x: Array
    """(n,) of the box centre"""
    y: Array
    heading: Array
    speed: Array
    """(n,) m/s along the heading, NaN where not given"""
    length: float
    width: float
    by_sets: bool = False
    """known by the sets it may occupy: x and y are their centres"""

    @property
    def path(self) -> float:
        """m it is recorded to drive."""
        return float(np.hypot(np.diff(self.x), np.diff(self.y)).sum())


@dataclass(frozen=True)
class _Box:
    """The rectangle around a shape, in the shape's frame."""

    x: float
    y: float
    heading: float
    length: float
    width: float


def obstacles(file: CommonRoadFile) -> tuple[list[Obstacle], list[str]]:
    """All obstacles in the file's order, and a note per kind that is left out.

    Raises RoadloopError, with the line, for an unknown type or shape and states out of order.
    """
    found: list[Obstacle] = []
    left_out: dict[str, int] = {}
    for element in file.root:
        if element.tag == "obstacle":  # 2018b
            role = file.text(element, "role")
        elif element.tag in ("staticObstacle", "dynamicObstacle"):
            role = element.tag.removesuffix("Obstacle")
        elif element.tag in ("environmentObstacle", "phantomObstacle"):
            left_out[element.tag] = left_out.get(element.tag, 0) + 1
            continue
        else:
            continue
        if role not in ("static", "dynamic"):
            raise file.fault(element, f"has the role {role!r}; expected static or dynamic")
        found.append(_obstacle(file, element, role == "dynamic"))
    seen: set[str] = set()
    for obstacle in found:
        if obstacle.id in seen:
            raise file.fault(file.root, f"has two obstacles with the id {obstacle.id}")
        seen.add(obstacle.id)
    notes = [f"{count} {tag} left out: no road user" for tag, count in sorted(left_out.items())]
    return found, notes


def state_facts(file: CommonRoadFile, state: Element) -> dict[str, object]:
    """A state of a planning problem as plain values: exact numbers, intervals, places."""
    facts: dict[str, object] = {}
    for child in state:
        if child.find("exact") is not None:
            facts[child.tag] = file.number(child, "exact")
        elif child.find("intervalStart") is not None:
            facts[child.tag] = [
                file.number(child, "intervalStart"),
                file.number(child, "intervalEnd"),
            ]
        elif child.tag == "position":
            lanelets = [lanelet.get("ref") for lanelet in child.iterfind("lanelet")]
            if lanelets:
                facts["lanelets"] = lanelets
            else:
                x, y, _ = _place(file, state)
                facts["position"] = [x, y]
    return facts


def _obstacle(file: CommonRoadFile, element: Element, moves: bool) -> Obstacle:
    type_ = file.text(element, "type")
    if type_ not in KINDS:
        raise file.fault(
            element, f"is of the type {type_!r}, which roadloop does not know; known: "
            + ", ".join(KINDS),
        )  # fmt: skip
    kind = KINDS[type_] if moves else _KIND.STATIC
    shape, initial = element.find("shape"), element.find("initialState")
    if shape is None or initial is None:
        raise file.fault(element, "has no shape or no initialState")
    states = [initial, *element.iterfind("trajectory/state")] if moves else [initial]
    occupied = list(element.iterfind("occupancySet/occupancy")) if moves else []
    by_sets = bool(occupied) and len(states) == 1
    box = _box(file, shape)
    rows = [_state(file, state, box) for state in states]
    if by_sets:
        rows += [_occupancy(file, occupancy, rows[0]) for occupancy in occupied]
    table = np.array(rows, float)
    steps = table[:, 0].astype(int)
    if (np.diff(steps) <= 0).any():
        k = int(np.argmax(np.diff(steps) <= 0))
        where = [*states, *occupied][k + 1]
        raise file.fault(where, f"of obstacle {element.get('id')} is not later than the one before")
    return Obstacle(
        id=element.get("id") or "",
        type=type_,
        moves=moves and len(steps) > 1,
        kind=kind,
        steps=steps,
        x=table[:, 1],
        y=table[:, 2],
        heading=table[:, 3],
        speed=table[:, 4],
        length=box.length,
        width=box.width,
        by_sets=by_sets,
    )


def _time(file: CommonRoadFile, element: Element) -> int:
    time = file.measured(element, "time")
    if time is None:
        raise file.fault(element, "has no time")
    return round(time)


def _state(file: CommonRoadFile, state: Element, box: _Box) -> list[float]:
    """Step, x, y of the box centre, heading, speed (NaN where not given)."""
    x, y, _ = _place(file, state)
    heading = file.measured(state, "orientation")
    if heading is None:
        raise file.fault(state, "has no orientation")
    speed = file.measured(state, "velocity")
    x += box.x * np.cos(heading) - box.y * np.sin(heading)
    y += box.x * np.sin(heading) + box.y * np.cos(heading)
    speed = np.nan if speed is None else speed
    return [_time(file, state), x, y, heading + box.heading, speed]


def _occupancy(file: CommonRoadFile, occupancy: Element, initial: list[float]) -> list[float]:
    shape = occupancy.find("shape")
    if shape is None:
        raise file.fault(occupancy, "has no shape")
    box = _box(file, shape)
    heading = box.heading if shape.find("rectangle/orientation") is not None else initial[3]
    return [_time(file, occupancy), box.x, box.y, heading, np.nan]


def _place(file: CommonRoadFile, state: Element) -> tuple[float, float, float]:
    """x, y, z of a state; the middle of a region."""
    position = state.find("position")
    if position is None:
        raise file.fault(state, "has no position")
    points = file.points(position)
    if len(points):
        x, y, z = points[0].tolist()
        return x, y, z
    box = _box(file, position)
    return box.x, box.y, 0.0


def _box(file: CommonRoadFile, shape: Element) -> _Box:
    """The rectangle around one shape, or upright around several."""
    parts = [part for part in shape if part.tag in ("rectangle", "circle", "polygon")]
    if not parts:
        raise file.fault(shape, "has no rectangle, circle or polygon")
    boxes = [_part(file, part) for part in parts]
    if len(boxes) == 1:
        return boxes[0]
    from roadloop.geometry import box_corners

    corners = np.concatenate([box_corners(b.x, b.y, b.heading, b.length, b.width) for b in boxes])
    return _around(corners)


def _part(file: CommonRoadFile, part: Element) -> _Box:
    if part.tag == "polygon":
        corners = file.points(part)[:, :2]
        if len(corners) < 3:
            raise file.fault(part, f"has {len(corners)} points; expected 3 or more")
        return _around(corners)
    x = file.number(part, "center/x") if part.find("center") is not None else 0.0
    y = file.number(part, "center/y") if part.find("center") is not None else 0.0
    if part.tag == "circle":
        size = 2.0 * file.number(part, "radius")
        box = _Box(x, y, 0.0, size, size)
    else:
        turned = part.find("orientation") is not None
        heading = file.number(part, "orientation") if turned else 0.0
        box = _Box(x, y, heading, file.number(part, "length"), file.number(part, "width"))
    if not min(box.length, box.width) > 0.0:
        raise file.fault(part, f"is {box.length} x {box.width} m; expected sizes above 0")
    return box


def _around(corners: Array) -> _Box:
    low, high = corners.min(axis=0), corners.max(axis=0)
    (x, y), (length, width) = ((low + high) / 2.0).tolist(), (high - low).tolist()
    return _Box(x, y, 0.0, length, width)
