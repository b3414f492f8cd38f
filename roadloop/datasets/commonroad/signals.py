"""Traffic lights and signs of CommonRoad files: whom they stop, what they show, who goes first."""

from __future__ import annotations

import numpy as np

from roadloop.datasets.commonroad.file import Array, CommonRoadFile, Element
from roadloop.datasets.commonroad.lanelets import Lanelet, end_heading, stop_s
from roadloop.datasets.commonroad.signs import SIGNS, Sign, sign_speed
from roadloop.maps.draft import SignalDraft, YieldDraft
from roadloop.maps.road_map import SignalKind
from roadloop.types import LightState

DIRECTIONS: dict[str, frozenset[str]] = {
    "right": frozenset({"Right"}),
    "straight": frozenset({"Straight"}),
    "left": frozenset({"Left"}),
    "leftStraight": frozenset({"Left", "Straight"}),
    "straightRight": frozenset({"Straight", "Right"}),
    "leftRight": frozenset({"Left", "Right"}),
}
"""turns of an intersection a light stands for; ``all`` stands for all"""

COLOURS: dict[str, LightState] = {
    "red": LightState.RED,
    "redYellow": LightState.RED_YELLOW,
    "yellow": LightState.YELLOW,
    "green": LightState.GREEN,
    "inactive": LightState.OFF,
}
"""by the colour of a cycle element"""


def light_draft(
    file: CommonRoadFile,
    element: Element,
    lanelets: dict[str, Lanelet],
    turns: dict[str, dict[str, set[str]]],
) -> SignalDraft:
    """A ``trafficLight`` and where its traffic stops.

    Args:
        turns: per lanelet that leads into an intersection its successors by turn.
    """
    key = element.get("id")
    direction = file.text(element, "direction") or "all"
    if direction != "all" and direction not in DIRECTIONS:
        raise file.fault(element, f"stands for the direction {direction!r}, which is none")
    stops: list[tuple[str, float | None]] = []
    governed = [i for i, lanelet in lanelets.items() if key in lanelet.lights]
    for identity in governed:
        lanelet = lanelets[identity]
        after = {e.get("ref") for e in lanelet.element.iterfind("successor")}
        by_turn = turns.get(identity, {})
        known = after & set().union(*by_turn.values())
        wanted = known & {
            target for turn in DIRECTIONS.get(direction, ()) for target in by_turn.get(turn, ())
        }
        if direction == "all" or not known or wanted == after:
            stops.append((identity, stop_s(file, lanelet)))
        else:  # for some of the turns, or for none that this lanelet has
            stops += [(target, 0.0) for target in sorted(wanted)]
    if governed and not stops:
        stops = [(i, stop_s(file, lanelets[i])) for i in governed]
    at = lanelets[governed[0]] if governed else None
    return SignalDraft(
        id=key,
        kind=SignalKind.TRAFFIC_LIGHT,
        xyz=_spot(file, element, at),
        heading=end_heading(at) if at is not None else 0.0,
        stops=tuple(dict(stops).items()),
    )


def _spot(
    file: CommonRoadFile, element: Element, lanelet: Lanelet | None
) -> tuple[float, float, float]:
    """Where a light or sign stands: as stated, else at the right end of the lanelet's bound."""
    position = element.find("position")
    points = file.points(position) if position is not None else np.zeros((0, 3))
    if not len(points):
        points = lanelet.right[-1:] if lanelet is not None else np.zeros((1, 3))
    x, y, z = points[0].tolist()
    return x, y, z


def signs_of(file: CommonRoadFile, element: Element) -> list[Sign]:
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


def sign_drafts(
    file: CommonRoadFile, lanelets: dict[str, Lanelet], signs: dict[str, list[Sign]]
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
                    heading=end_heading(at) if at is not None else 0.0,
                    stops=tuple((i, stop_s(file, lanelets[i])) for i in governed) if obeyed else (),
                    value=sign.speed,
                )
            )
    return drafts


def yields_of(
    file: CommonRoadFile, lanelets: dict[str, Lanelet], signs: dict[str, list[Sign]]
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


def light_cycle(file: CommonRoadFile, element: Element, steps: Array) -> Array:
    """(n,) LightState of a ``trafficLight`` at steps (n,)."""
    phases = list(element.iterfind("cycle/cycleElement"))
    active = file.text(element, "active").lower() not in ("false", "0")
    if not phases or not active:
        return np.full(len(steps), LightState.OFF, np.uint8)
    ends, shown = [], []
    for phase in phases:
        colour = file.text(phase, "color")
        if colour not in COLOURS:
            raise file.fault(
                phase, f"of light {element.get('id')} has the colour {colour!r}; known: "
                + ", ".join(COLOURS),
            )  # fmt: skip
        shown.append(COLOURS[colour])
        ends.append(file.number(phase, "duration"))
    ends = np.cumsum(ends)
    if not (np.diff(ends, prepend=0.0) >= 0.0).all() or not ends[-1] > 0.0:
        raise file.fault(element, "has a cycle of no length")
    has_offset = element.find("cycle/timeOffset") is not None
    offset = file.number(element, "cycle/timeOffset") if has_offset else 0.0
    at = np.mod(np.asarray(steps) - offset, ends[-1])
    return np.array(shown, np.uint8)[np.searchsorted(ends, at, side="right")]
