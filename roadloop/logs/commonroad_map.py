"""The road network of a CommonRoad file as a ``MapDraft``.

Lanelets have two bounds, in their direction of travel; speed limits hang on them as traffic signs
(2020a) or as a number (2018b). An ``intersection`` lists the lanelets that lead into it and those
that cross it, by turn; a light that stands for some turns only governs the lanelets of these turns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roadloop.geometry import polyline_project
from roadloop.logs.commonroad_signs import SIGNS, Sign, sign_speed
from roadloop.logs.commonroad_xml import Array, CommonRoadFile, Element, read_commonroad
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft, SignalDraft, YieldDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, SignalKind

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

DEFAULT_LIMITS: dict[str, float] = {
    "interstate": 130.0 / 3.6,
    "mainCarriageWay": 130.0 / 3.6,
    "highway": 100.0 / 3.6,
    "country": 100.0 / 3.6,
    "urban": 50.0 / 3.6,
    "accessRamp": 60.0 / 3.6,
    "exitRamp": 60.0 / 3.6,
    "driveWay": 20.0 / 3.6,
}
"""m/s by lanelet type or scenario tag where nothing is signed: German law and custom (StVO section
3: 50 km/h in towns, 100 outside, 130 advised on motorways), which most scenarios come from"""

MARKS: dict[str, tuple[MarkKind, float]] = {
    "solid": (MarkKind.SOLID, 0.12),
    "dashed": (MarkKind.BROKEN, 0.12),
    "solid_solid": (MarkKind.SOLID_SOLID, 0.12),
    "dashed_dashed": (MarkKind.BROKEN_BROKEN, 0.12),
    "solid_dashed": (MarkKind.SOLID_BROKEN, 0.12),
    "dashed_solid": (MarkKind.BROKEN_SOLID, 0.12),
    "broad_solid": (MarkKind.SOLID, 0.25),
    "broad_dashed": (MarkKind.BROKEN, 0.25),
    "curb": (MarkKind.CURB, 0.12),
    "lowered_curb": (MarkKind.CURB, 0.12),
}
"""kind and width in m by line marking; ``no_marking`` and ``unknown`` are none"""

CLOSED = frozenset({"solid", "solid_solid", "broad_solid", "curb", "lowered_curb"})
"""markings that must not be crossed to change lane"""

DIRECTIONS: dict[str, frozenset[str]] = {
    "right": frozenset({"Right"}),
    "straight": frozenset({"Straight"}),
    "left": frozenset({"Left"}),
    "leftStraight": frozenset({"Left", "Straight"}),
    "straightRight": frozenset({"Straight", "Right"}),
    "leftRight": frozenset({"Left", "Right"}),
}
"""turns of an intersection a light stands for; ``all`` stands for all"""

LEFT_HAND = frozenset(
    {"AUS", "BGD", "CYP", "GBR", "HKG", "IDN", "IND", "IRL", "JPN", "KEN", "LKA", "MLT", "MYS"}
    | {"NZL", "PAK", "SGP", "THA", "ZAF"}
)
"""countries of benchmark ids where traffic keeps left"""

_CARS = frozenset({"vehicle", "car", "taxi", "truck", "priorityVehicle", "motorcycle"})


@dataclass(frozen=True)
class _Lanelet:
    element: Element
    left: Array
    right: Array
    types: tuple[str, ...]
    signs: tuple[str, ...]
    lights: tuple[str, ...]

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


def read_commonroad_map(path: Path) -> MapDraft:
    """The road network of a file with or without traffic; RoadloopError as ``map_draft``."""
    return map_draft(read_commonroad(Path(path)))


def map_draft(file: CommonRoadFile) -> MapDraft:
    """The road network; its signals are the traffic lights, then the signs that stand there.

    Raises RoadloopError, with the line, for bounds of fewer than two points and unknown types.
    """
    lanelets = {e.get("id"): _lanelet(file, e) for e in file.root.iterfind("lanelet")}
    turns, junction_of, notes = _turns(file)
    signs = {e.get("id"): _signs_of(file, e) for e in file.root.iterfind("trafficSign")}
    tags = _tags(file)
    unknown_signs = sorted({s.code for each in signs.values() for s in each if not s.known})
    if unknown_signs:
        notes.append(f"traffic signs of no known meaning, kept as other: {unknown_signs}")
    signals = [
        _light(file, element, lanelets, turns) for element in file.root.iterfind("trafficLight")
    ]
    signals += _sign_drafts(file, lanelets, signs)
    lanes = tuple(
        _lane(file, key, lanelet, signs, junction_of.get(key, ""), tags)
        for key, lanelet in lanelets.items()
        if "crosswalk" not in lanelet.types
    )
    reference = file.text(file.root, "location/geoTransformation/geoReference")
    return MapDraft(
        name=file.path.stem,
        source_hash=file.content_hash,
        lanes=lanes,
        signals=tuple(signals),
        crosswalks=tuple(
            np.concatenate([lanelet.right, lanelet.left[::-1]])
            for lanelet in lanelets.values()
            if "crosswalk" in lanelet.types
        ),
        marks=tuple(_marks(file, lanelets)),
        yields=tuple(_yields(file, lanelets, signs)),
        left_hand=file.benchmark_id.removeprefix("C-")[:3] in LEFT_HAND,
        georeference=reference,
        unsupported=tuple(notes),
    )


def lanelet_of_light(file: CommonRoadFile) -> dict[str, list[str]]:
    """Ids of the lanelets that name each traffic light."""
    named: dict[str, list[str]] = {}
    for element in file.root.iterfind("lanelet"):
        for reference in element.iterfind("trafficLightRef"):
            named.setdefault(reference.get("ref"), []).append(element.get("id"))
    return named


def _lanelet(file: CommonRoadFile, element: Element) -> _Lanelet:
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
    return _Lanelet(
        element,
        *bounds,
        types=types,
        signs=tuple(e.get("ref") for e in element.iterfind("trafficSignRef")),
        lights=tuple(e.get("ref") for e in element.iterfind("trafficLightRef")),
    )


def _lane(
    file: CommonRoadFile,
    key: str,
    lanelet: _Lanelet,
    signs: dict[str, list[Sign]],
    junction: str,
    tags: list[str],
) -> LaneDraft:
    element = lanelet.element
    neighbours = {"left": "", "right": "", "opposite": ""}
    for side in ("left", "right"):
        beside = element.find(f"adjacent{side.capitalize()}")
        if beside is not None:
            same = beside.get("drivingDir") == "same"
            neighbours[side if same else "opposite"] = beside.get("ref")
    crossing = {side: file.text(element, f"{side}Bound/lineMarking") for side in ("left", "right")}
    return LaneDraft(
        id=key,
        left=lanelet.left,
        right=lanelet.right,
        kind=_kind(file, lanelet),
        speed_limit=_limit(file, lanelet, signs, tags),
        successors=tuple(e.get("ref") for e in element.iterfind("successor")),
        predecessors=tuple(e.get("ref") for e in element.iterfind("predecessor")),
        left_neighbour=neighbours["left"],
        right_neighbour=neighbours["right"],
        opposite=neighbours["opposite"],
        change_left=crossing["left"] not in CLOSED | {"solid_dashed"},
        change_right=crossing["right"] not in CLOSED | {"dashed_solid"},
        in_junction=bool(junction) or "intersection" in lanelet.types,
        junction=junction,
    )


def _kind(file: CommonRoadFile, lanelet: _Lanelet) -> LaneKind:
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


def _limit(
    file: CommonRoadFile, lanelet: _Lanelet, signs: dict[str, list[Sign]], tags: list[str]
) -> float | None:
    """m/s: the lowest signed, else that of 2018b, else the default of the type or the tags."""
    signed = [s.speed for key in lanelet.signs for s in signs[key] if s.speed]
    if signed:
        return min(signed)
    if lanelet.element.find("speedLimit") is not None:
        return file.number(lanelet.element, "speedLimit")
    defaults = [DEFAULT_LIMITS[t] for t in (*lanelet.types, *tags) if t in DEFAULT_LIMITS]
    return defaults[0] if defaults else None


def _tags(file: CommonRoadFile) -> list[str]:
    """Scenario tags: elements in 2020a, an attribute in 2018b."""
    elements = [tag.tag for tag in file.root.iterfind("scenarioTags/*")]
    return elements or re.findall(r"\w+", file.root.get("tags") or "")


def _turns(
    file: CommonRoadFile,
) -> tuple[dict[str, dict[str, set[str]]], dict[str, str], list[str]]:
    """Per incoming lanelet its successors by turn; the junction of lanelets; notes."""
    turns: dict[str, dict[str, set[str]]] = {}
    junction_of: dict[str, str] = {}
    incoming: set[str] = set()
    for intersection in file.root.iterfind("intersection"):
        name = f"intersection {intersection.get('id')}"
        for entry in intersection.iterfind("incoming"):
            by_turn = {
                turn: {e.get("ref") for e in entry.iterfind(f"successors{turn}")}
                for turn in ("Left", "Straight", "Right")
            }
            for element in entry.iterfind("incomingLanelet"):
                turns[element.get("ref")] = by_turn
                incoming.add(element.get("ref"))
            for lanelet in set().union(*by_turn.values()):
                junction_of.setdefault(lanelet, name)
    # intersections drawn one into the next: what leads into another one is no part of this one
    overlapping = sorted(incoming & junction_of.keys())
    notes = [f"lanelets inside one intersection and before the next: {len(overlapping)}"]
    return turns, junction_of, notes if overlapping else []


def _stop_s(file: CommonRoadFile, lanelet: _Lanelet) -> float | None:
    """m along a lanelet of its stop line; None: at its end, as a line without points."""
    line = lanelet.element.find("stopLine")
    points = file.points(line) if line is not None else np.zeros((0, 3))
    if len(points) < 2:
        return None
    return float(polyline_project(_distinct(lanelet.middle), points[:, :2].mean(axis=0))[0])


def _distinct(line: Array) -> Array:
    moved = np.hypot(*np.diff(line, axis=0).T) > 1e-6
    return line[np.concatenate([[True], moved])]


def _end_heading(lanelet: _Lanelet) -> float:
    line = _distinct(lanelet.middle)
    return float(np.arctan2(*(line[-1] - line[-2])[::-1]))


def _light(
    file: CommonRoadFile,
    element: Element,
    lanelets: dict[str, _Lanelet],
    turns: dict[str, dict[str, set[str]]],
) -> SignalDraft:
    key = element.get("id")
    direction = file.text(element, "direction") or "all"
    if direction != "all" and direction not in DIRECTIONS:
        raise file.fault(element, f"stands for the direction {direction!r}, which is none")
    stops: list[tuple[str, float | None]] = []
    governed = [i for i, lanelet in lanelets.items() if key in lanelet.lights]
    for identity in governed:
        lanelet = lanelets[identity]
        after = {e.get("ref") for e in lanelet.element.iterfind("successor")}
        wanted = {
            target
            for turn in DIRECTIONS.get(direction, ())
            for target in turns.get(identity, {}).get(turn, ())
        } & after  # fmt: skip
        if wanted and wanted != after:
            stops += [(target, 0.0) for target in sorted(wanted)]
        else:
            stops.append((identity, _stop_s(file, lanelet)))
    at = lanelets[governed[0]] if governed else None
    return SignalDraft(
        id=key,
        kind=SignalKind.TRAFFIC_LIGHT,
        xyz=_spot(file, element, at),
        heading=_end_heading(at) if at is not None else 0.0,
        stops=tuple(dict(stops).items()),
    )


def _spot(
    file: CommonRoadFile, element: Element, lanelet: _Lanelet | None
) -> tuple[float, float, float]:
    """Where a light or sign stands: as stated, else at the right end of the lanelet's bound."""
    position = element.find("position")
    points = file.points(position) if position is not None else np.zeros((0, 3))
    if not len(points):
        points = lanelet.right[-1:] if lanelet is not None else np.zeros((1, 3))
    x, y, z = points[0].tolist()
    return x, y, z


def _signs_of(file: CommonRoadFile, element: Element) -> list[Sign]:
    """What the plates of one traffic sign say."""
    found = []
    for plate in element.iterfind("trafficSignElement"):
        code = file.text(plate, "trafficSignID")
        kind, meaning = SIGNS.get(code, (SignalKind.OTHER, ""))
        speed = 0.0
        if kind == SignalKind.SPEED_LIMIT:
            text = file.text(plate, "additionalValue")
            stated = sign_speed(text)
            if stated is None:
                raise file.fault(element, f"is a speed limit of {text!r}; expected m/s")
            speed = stated
        found.append(Sign(code, kind, meaning, speed, code in SIGNS))
    return found


def _sign_drafts(
    file: CommonRoadFile, lanelets: dict[str, _Lanelet], signs: dict[str, list[Sign]]
) -> list[SignalDraft]:
    """Signs that stand there; virtual ones only say what holds on their lanelets."""
    drafts = []
    for element in file.root.iterfind("trafficSign"):
        if file.text(element, "virtual").lower() in ("true", "1"):
            continue
        key = element.get("id")
        governed = [i for i, lanelet in lanelets.items() if key in lanelet.signs]
        at = lanelets[governed[0]] if governed else None
        for number, sign in enumerate(signs[key]):
            obeyed = sign.kind in (SignalKind.STOP, SignalKind.YIELD)
            drafts.append(
                SignalDraft(
                    id=key if number == 0 else f"{key}.{number}",
                    kind=sign.kind,
                    xyz=_spot(file, element, at),
                    heading=_end_heading(at) if at is not None else 0.0,
                    stops=tuple((i, _stop_s(file, lanelets[i])) for i in governed)
                    if obeyed
                    else (),
                    value=sign.speed,
                )
            )
    return drafts


def _yields(
    file: CommonRoadFile, lanelets: dict[str, _Lanelet], signs: dict[str, list[Sign]]
) -> list[YieldDraft]:
    """Right of way at intersections by their signs.

    Who has a give-way or stop sign lets those with a priority sign go. Where "right before left"
    is posted, who is to the left of another (``isLeftOf``) lets that one go.
    """

    def says(incoming: Element, meaning: str) -> bool:
        return any(
            sign.meaning == meaning
            for element in incoming.iterfind("incomingLanelet")
            for key in lanelets[element.get("ref")].signs
            for sign in signs[key]
        )

    rules: list[YieldDraft] = []
    for intersection in file.root.iterfind("intersection"):
        incomings = {e.get("id"): e for e in intersection.iterfind("incoming")}
        for one in incomings.values():
            for other in incomings.values():
                gives_way = says(one, "give way") and says(other, "priority")
                left_of = [e.get("ref") for e in one.iterfind("isLeftOf")]
                if says(one, "right before left") and other.get("id") in left_of:
                    gives_way = True
                if one is not other and gives_way:
                    rules += [
                        YieldDraft(a.get("ref"), b.get("ref"))
                        for a in one.iterfind("incomingLanelet")
                        for b in other.iterfind("incomingLanelet")
                    ]
    return rules


def _marks(file: CommonRoadFile, lanelets: dict[str, _Lanelet]) -> list[MarkDraft]:
    """Painted bounds and stop lines; a bound that two lanelets share is painted once."""
    marks: list[MarkDraft] = []
    painted: set[tuple] = set()
    for lanelet in lanelets.values():
        for side, line in (("left", lanelet.left), ("right", lanelet.right)):
            kind = MARKS.get(file.text(lanelet.element, f"{side}Bound/lineMarking"))
            ends = np.round(line[[0, -1], :2], 1).tolist()
            place = tuple(sorted(map(tuple, ends)))
            if kind is not None and place not in painted:
                painted.add(place)
                marks.append(MarkDraft(line, kind[0], MarkColour.WHITE, kind[1]))
        stop = lanelet.element.find("stopLine")
        if stop is not None and len(points := file.points(stop)) > 1:
            marks.append(MarkDraft(points, MarkKind.SOLID, MarkColour.WHITE, 0.5))
    return marks
