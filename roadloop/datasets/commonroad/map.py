"""The road network of a CommonRoad file as a ``MapDraft``.

Lanelets have two bounds, in their direction of travel; speed limits hang on them as traffic signs
(2020a) or as a number (2018b). An ``intersection`` lists the lanelets that lead into it and those
that cross it, by turn; a light that stands for some turns only governs the lanelets of these turns.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from roadloop.datasets.commonroad.file import CommonRoadFile, read_commonroad
from roadloop.datasets.commonroad.lanelets import Lanelet, kind_of, lanelet_of
from roadloop.datasets.commonroad.signals import light_draft, sign_drafts, signs_of, yields_of
from roadloop.datasets.commonroad.signs import Sign
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft
from roadloop.maps.road_map import MarkColour, MarkKind

DEFAULT_LIMITS: dict[str, float] = {
    "interstate": 130.0 / 3.6,
    "mainCarriageWay": 130.0 / 3.6,
    "highway": 100.0 / 3.6,
    "country": 100.0 / 3.6,
    "accessRamp": 60.0 / 3.6,
    "exitRamp": 60.0 / 3.6,
    "urban": 50.0 / 3.6,
}
"""m/s by lanelet type or scenario tag where nothing is signed: German law and custom (StVO section
3: 50 km/h in towns, 100 outside, 130 advised on motorways), which most scenarios come from. The
first of them that is said counts: converters write ``urban`` on every lanelet, the motorways of
NGSIM too, and ``driveWay`` on whatever OpenDRIVE calls driving"""

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

LEFT_HAND = frozenset(
    {"AUS", "BGD", "CYP", "GBR", "HKG", "IDN", "IND", "IRL", "JPN", "KEN", "LKA", "MLT", "MYS"}
    | {"NZL", "PAK", "SGP", "THA", "ZAF"}
)
"""countries of benchmark ids where traffic keeps left"""


def read_commonroad_map(path: Path) -> MapDraft:
    """The road network of a file with or without traffic; RoadloopError as ``map_draft``."""
    return map_draft(read_commonroad(Path(path)))


def map_draft(file: CommonRoadFile) -> MapDraft:
    """The road network; its signals are the traffic lights, then the signs that stand there.

    Raises RoadloopError, with the line, for bounds of fewer than two points and unknown types.
    """
    lanelets = {e.get("id"): lanelet_of(file, e) for e in file.root.iterfind("lanelet")}
    turns, junction_of, notes = _turns(file)
    signs = {e.get("id"): signs_of(file, e) for e in file.root.iterfind("trafficSign")}
    tags = _tags(file)
    # the type "intersection" is also written on what leads there: it counts where nothing else does
    by_type = not junction_of
    unknown_signs = sorted({s.code for each in signs.values() for s in each if not s.known})
    if unknown_signs:
        notes.append(f"traffic signs of no known meaning, kept as other: {unknown_signs}")
    signals = [
        light_draft(file, element, lanelets, turns)
        for element in file.root.iterfind("trafficLight")
    ]
    signals += sign_drafts(file, lanelets, signs)
    lanes = tuple(
        dataclasses.replace(
            _lane(file, key, lanelet, signs, tags),
            junction=junction_of.get(key, ""),
            in_junction=key in junction_of or (by_type and "intersection" in lanelet.types),
        )
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
        yields=tuple(yields_of(file, lanelets, signs)),
        left_hand=file.benchmark_id.removeprefix("C-")[:3] in LEFT_HAND,
        georeference=reference,
        unsupported=tuple(notes),
    )


def _lane(
    file: CommonRoadFile,
    key: str,
    lanelet: Lanelet,
    signs: dict[str, list[Sign]],
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
        kind=kind_of(file, lanelet),
        speed_limit=_limit(file, lanelet, signs, tags),
        successors=tuple(e.get("ref") for e in element.iterfind("successor")),
        predecessors=tuple(e.get("ref") for e in element.iterfind("predecessor")),
        left_neighbour=neighbours["left"],
        right_neighbour=neighbours["right"],
        opposite=neighbours["opposite"],
        change_left=crossing["left"] not in CLOSED | {"solid_dashed"},
        change_right=crossing["right"] not in CLOSED | {"dashed_solid"},
    )


def _limit(
    file: CommonRoadFile, lanelet: Lanelet, signs: dict[str, list[Sign]], tags: list[str]
) -> float | None:
    """m/s: the lowest signed, else that of 2018b, else the default of its types and the tags."""
    signed = [s.speed for key in lanelet.signs for s in signs[key] if s.speed]
    if signed:
        return min(signed)
    if lanelet.element.find("speedLimit") is not None:
        return file.number(lanelet.element, "speedLimit")
    said = {*lanelet.types, *tags}
    return next((limit for word, limit in DEFAULT_LIMITS.items() if word in said), None)


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


def _marks(file: CommonRoadFile, lanelets: dict[str, Lanelet]) -> list[MarkDraft]:
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
