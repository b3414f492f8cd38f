"""Waymo's map features as a MapDraft: lanes with widths, lights, stop signs, lines, driveways.

Features are as ``waymo_fields.FEATURE`` decodes them, a list of dicts. The JSON dialects tell only
shapes and types; what lanes lead on to and lie beside is then found from the shapes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from roadloop.datasets.waymo.beside import (
    Beside,
    ground_to_edges,
    lane_widths,
    look_beside,
    neighbour,
)
from roadloop.errors import RoadloopError
from roadloop.geometry import polyline_project
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft, SignalDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, SignalKind
from roadloop.types import LightState

Array = np.ndarray

MPH = 0.44704
"""m/s"""
BIKE_LANE = 3
"""LaneCenter.LaneType"""
LINES: dict[int, tuple[MarkKind, MarkColour]] = {
    0: (MarkKind.OTHER, MarkColour.OTHER),
    1: (MarkKind.BROKEN, MarkColour.WHITE),
    2: (MarkKind.SOLID, MarkColour.WHITE),
    3: (MarkKind.SOLID_SOLID, MarkColour.WHITE),
    4: (MarkKind.BROKEN, MarkColour.YELLOW),
    5: (MarkKind.BROKEN_BROKEN, MarkColour.YELLOW),
    6: (MarkKind.SOLID, MarkColour.YELLOW),
    7: (MarkKind.SOLID_SOLID, MarkColour.YELLOW),
    8: (MarkKind.SOLID_BROKEN, MarkColour.YELLOW),
}
"""RoadLine.RoadLineType; which side of a passing line (8) is broken is not said"""
MAY_CROSS = frozenset({0, 1, 4, 5, 8})
"""RoadLineType: lines that allow a change of lanes"""
LIGHTS: dict[int, LightState] = {
    0: LightState.OFF,
    1: LightState.RED,
    2: LightState.YELLOW,
    3: LightState.GREEN,
    4: LightState.RED,
    5: LightState.YELLOW,
    6: LightState.GREEN,
    7: LightState.OFF,
    8: LightState.OFF,
}
"""TrafficSignalLaneState.State: unknown; arrow stop, caution, go; stop, caution, go; flashing stop,
caution. An arrow is the light of the lanes it governs. A flashing light, as one that is not seen,
is off: it commands no more than the signs do."""
JOINT = 0.5
"""m between the end of a lane and the start of the next, where links are found by place"""
JOINT_TURN = 0.6
"""rad between their headings"""
SIGN_REACH = 10.0
"""m from a stop sign to the lane it governs, where the data set does not name it"""


def map_draft(
    features: list[dict[str, Any]],
    lane_states: Iterable[list[dict[str, Any]]],
    name: str,
    source_hash: str,
    where: object,
    linked: bool = True,
) -> MapDraft:
    """The draft; its signals are the lights, as in ``lights_of``, then the stop signs.

    Args:
        lane_states: per step the states of lights; only which lanes have one, and where, is used.
        linked: whether lanes say what they lead on to and lie beside.

    Raises:
        RoadloopError: a feature without its shape, an id used twice, an unknown type of line.
    """
    shapes: dict[str, dict[int, Array]] = {kind: {} for kind in _SHAPES}
    lanes: dict[int, dict[str, Any]] = {}
    line_type: dict[int, int] = {}
    signs: dict[int, dict[str, Any]] = {}
    notes: list[str] = []
    short = bumps = 0
    for feature in features:
        key = feature.get("id", 0)
        if "stop_sign" in feature:
            signs[key] = feature["stop_sign"]
        bumps += "speed_bump" in feature
        for kind, (part, least) in _SHAPES.items():
            if kind not in feature:
                continue
            line = _line(feature[kind][part], f"{where}: map feature {key}")
            if key in shapes[kind]:
                raise RoadloopError(f"{where}: map feature {key} is there twice")
            if len(line) < least:
                short += 1
                continue
            shapes[kind][key] = line
            if kind == "lane":
                lanes[key] = feature["lane"]
            elif kind == "road_line":
                line_type[key] = feature[kind].get("type", 0)
                if line_type[key] not in LINES:
                    raise RoadloopError(
                        f"{where}: map feature {key} is a road line of type {line_type[key]}; "
                        f"roadloop knows 0 to {max(LINES)}"
                    )
    if not lanes:
        raise RoadloopError(f"{where} has no lanes, so no map; use it without one")
    if short:
        notes.append(f"{short} map features of too few points, left out")
    if bumps:
        notes.append(f"{bumps} speed bumps, which a road map has no place for")
    keys = list(lanes)
    lines = [shapes["lane"][key] for key in keys]
    painted = list(shapes["road_line"].values())
    edges = list(shapes["road_edge"].values())
    for_cars = [lanes[key].get("type", 0) != BIKE_LANE for key in keys]
    around = look_beside(lines, for_cars, painted, edges)
    follow = _links(keys, lanes) if linked else _links_by_place(lines)
    widths = lane_widths(lines, around, follow)
    types = list(line_type.values())
    beside = _neighbours(keys, lanes, around, types, linked)
    drafts = []
    for k, key in enumerate(keys):
        limit = lanes[key].get("speed_limit_mph", 0.0) * MPH
        drafts.append(
            LaneDraft(
                id=str(key),
                centreline=lines[k],
                width=widths[k],
                kind=LaneKind.DRIVING if for_cars[k] else LaneKind.BIKING,
                speed_limit=limit if limit > 0.0 and math.isfinite(limit) else None,
                successors=tuple(str(keys[b]) for a, b in follow if a == k),
                in_junction=bool(lanes[key].get("interpolating", False)),
                **beside[k],
            )
        )
    marks = [
        MarkDraft(line, *LINES[line_type[key]]) for key, line in shapes["road_line"].items()
    ] + [MarkDraft(line, MarkKind.CURB, MarkColour.OTHER) for line in edges]
    by_key = dict(zip(keys, lines, strict=True))
    signals = [_light(key, point, by_key) for key, point in light_places(lane_states).items()]
    signals += [_stop_sign(key, sign, by_key) for key, sign in signs.items()]
    return MapDraft(
        name=name,
        source_hash=source_hash,
        lanes=tuple(drafts),
        signals=tuple(signals),
        crosswalks=tuple(shapes["crosswalk"].values()),
        marks=tuple(marks),
        drivable=(
            *(line[:, :2] for line in shapes["driveway"].values()),
            *ground_to_edges([found for k, found in enumerate(around) if for_cars[k]]),
        ),
        unsupported=tuple(notes),
    )


def light_places(lane_states: Iterable[list[dict[str, Any]]]) -> dict[int, tuple[float, ...]]:
    """The lanes that have a light at some step, sorted, and where its stop line is."""
    places: dict[int, tuple[float, ...]] = {}
    for states in lane_states:
        for state in states:
            point = state.get("stop_point", {})
            places.setdefault(
                state.get("lane", 0), tuple(point.get(axis, 0.0) for axis in ("x", "y", "z"))
            )
    return dict(sorted(places.items()))


def lights_of(
    lane_states: list[list[dict[str, Any]]], stop_signs: int, where: object
) -> Array | None:
    """(T, S) LightState as uint8: of each light, then OFF for the stop signs; None without lights.

    A light that is not reported at a step is OFF there, as one whose state is unknown: the
    recording car did not see it.
    """
    places = light_places(lane_states)
    if not places:
        return None
    column = {lane: k for k, lane in enumerate(places)}
    lights = np.full((len(lane_states), len(column) + stop_signs), LightState.OFF, np.uint8)
    for step, states in enumerate(lane_states):
        for state in states:
            value = state.get("state", 0)
            if value not in LIGHTS:
                raise RoadloopError(
                    f"{where}: lane {state.get('lane')} has a light of state {value} at step "
                    f"{step}; roadloop knows 0 to {max(LIGHTS)}"
                )
            lights[step, column[state.get("lane", 0)]] = LIGHTS[value]
    return lights


_SHAPES = {
    "lane": ("polyline", 2),
    "road_line": ("polyline", 2),
    "road_edge": ("polyline", 2),
    "crosswalk": ("polygon", 3),
    "driveway": ("polygon", 3),
}
"""kind of feature: the name of its points, and how many it needs"""


def _line(points: dict[str, Array], what: str) -> Array:
    """(n, 3) of the points of a feature, without those that repeat the one before."""
    line = np.stack([points["x"], points["y"], points["z"]], axis=-1)
    if not np.isfinite(line).all():
        raise RoadloopError(f"{what} has a point that is not finite; leave the drive out")
    keep = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1) > 1e-3
    return line[np.concatenate([np.ones(min(len(line), 1), bool), keep])]


def _links(keys: list[int], lanes: dict[int, dict[str, Any]]) -> list[tuple[int, int]]:
    """(lane, next lane) by rows, as the data set has them."""
    row = {key: k for k, key in enumerate(keys)}
    pairs = {
        (row[key], row[other])
        for key, lane in lanes.items()
        for other in np.asarray(lane["exit_lanes"]).tolist()
        if other in row
    } | {
        (row[other], row[key])
        for key, lane in lanes.items()
        for other in np.asarray(lane["entry_lanes"]).tolist()
        if other in row
    }
    return sorted(pairs)


def _links_by_place(lines: list[Array]) -> list[tuple[int, int]]:
    """(lane, next lane) by rows: where one ends another begins, in the same direction."""
    from scipy.spatial import KDTree

    starts = KDTree(np.array([line[0, :2] for line in lines]))
    into = np.array([np.arctan2(*(line[1] - line[0])[1::-1]) for line in lines])
    pairs = []
    for k, line in enumerate(lines):
        out = np.arctan2(*(line[-1] - line[-2])[1::-1])
        for other in sorted(starts.query_ball_point(line[-1, :2], JOINT)):
            turn = np.angle(np.exp(1j * (into[other] - out)))
            if other != k and abs(turn) < JOINT_TURN:
                pairs.append((k, int(other)))
    return pairs


def _neighbours(
    keys: list[int],
    lanes: dict[int, dict[str, Any]],
    around: list[Beside],
    line_types: list[int],
    linked: bool,
) -> list[dict[str, Any]]:
    """Per lane the fields of a LaneDraft that tell what is beside it."""
    result = []
    for key, found in zip(keys, around, strict=True):
        fields: dict[str, Any] = {}
        for side, word in ((0, "left"), (1, "right")):
            if linked:
                other, may = _named_neighbour(lanes[key][f"{word}_neighbors"])
                other = other if other in lanes else -1
            else:
                row, rays = neighbour(found, side, same_way=True)
                other = keys[row] if row >= 0 else -1
                between = found.line_index[side][rays]
                between = between[found.line[side][rays] < found.alongside[side][rays]]
                may = _may_cross(Counter(line_types[k] for k in between.tolist()))
            if other >= 0:
                fields |= {f"{word}_neighbour": str(other), f"change_{word}": may}
        row, _ = neighbour(found, 0, same_way=False)
        if row >= 0:
            fields["opposite"] = str(keys[row])
        result.append(fields)
    return result


def _named_neighbour(entries: list[dict[str, Any]]) -> tuple[int, bool]:
    """The lane that is the neighbour the longest, -1 for none, and whether one may change."""
    best, length, may = -1, -1, True
    for entry in entries:
        span = entry.get("self_end_index", 0) - entry.get("self_start_index", 0)
        if span > length:
            types: Counter[int] = Counter()
            for part in entry["boundaries"]:
                points = part.get("lane_end_index", 0) - part.get("lane_start_index", 0)
                types[part.get("boundary_type", 0)] += max(points, 1)
            best, length, may = entry.get("feature_id", -1), span, _may_cross(types)
    return best, may


def _may_cross(types: Counter[int]) -> bool:
    """Whether most of what lies between allows to cross; so does nothing."""
    return sum(n for t, n in types.items() if t in MAY_CROSS) * 2 >= sum(types.values())


def _light(key: int, point: tuple[float, ...], lines: dict[int, Array]) -> SignalDraft:
    """The light of one lane: at its stop line, as where the lamp hangs is not said."""
    if key not in lines:
        return SignalDraft(str(key), SignalKind.TRAFFIC_LIGHT, _xyz(point), 0.0)
    s, heading = _at(lines[key], point)
    return SignalDraft(
        str(key), SignalKind.TRAFFIC_LIGHT, _xyz(point), heading, stops=((str(key), s),)
    )


def _stop_sign(key: int, sign: dict[str, Any], lines: dict[int, Array]) -> SignalDraft:
    """A sign and the lanes it governs: those named, else the nearest lane to its left."""
    place = sign.get("position", {})
    point = tuple(place.get(axis, 0.0) for axis in ("x", "y", "z"))
    named = [lane for lane in np.asarray(sign["lane"]).tolist() if lane in lines]
    if not len(sign["lane"]):
        named = _lane_of_sign(point, lines)
    stops = [(str(lane), *_at(lines[lane], point)) for lane in named]
    return SignalDraft(
        str(key),
        SignalKind.STOP,
        _xyz(point),
        stops[0][2] if stops else 0.0,
        stops=tuple((lane, s) for lane, s, _ in stops),
    )


def _lane_of_sign(point: tuple[float, ...], lines: dict[int, Array]) -> list[int]:
    """The lane a sign at ``point`` stands to the right of; none where it is far from all."""
    best, least = [], SIGN_REACH
    for key, line in lines.items():
        s, aside, _ = polyline_project(line[:, :2], np.array(point[:2]))
        length = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1).sum()
        # beyond an end the distance to it is not across the lane
        if -least < aside < 0.0 and 0.0 < s < length:
            best, least = [key], -float(aside)
    return best


def _at(line: Array, point: tuple[float, ...]) -> tuple[float, float]:
    """Arc length along a line of the place nearest to ``point``, and the heading there."""
    s, _, segment = polyline_project(line[:, :2], np.array(point[:2]))
    along = line[int(segment) + 1] - line[int(segment)]
    return float(s), float(np.arctan2(along[1], along[0]))


def _xyz(point: tuple[float, ...]) -> tuple[float, float, float]:
    return point[0], point[1], point[2]
