"""Procedural town roads: a crossroads, a T-junction, a roundabout, and a whole town of blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roadloop.errors import RoadloopError
from roadloop.maps.generate_draft import Arm, Draft
from roadloop.maps.generate_junction import (
    add_crossroads,
    add_roundabout,
    ring_fits,
    ring_setback,
    setbacks,
)
from roadloop.maps.generate_paths import Path, moved, smooth_path, turn_tangent

if TYPE_CHECKING:
    import numpy as np

    from roadloop.maps.generate import (
        Control,
        Crossroads,
        FourWay,
        Roundabout,
        TJunction,
        Town,
        Vary,
    )

RING_RADIUS = 17.0
"""m, circulating lanes in towns"""
SHORTEST_STREET = 10.0
"""m of straight road between junctions or bends"""
BEND_RADIUS = 20.0
"""m, tightest point of the reference line where a street turns a corner without a junction"""

Node = tuple[int, int]


def draw_four_way(draft: Draft, p: FourWay, vary: Vary) -> None:
    """The major road runs west to east through the origin."""
    quarter = math.pi / 2.0
    directions = [k * quarter + vary.angle() for k in range(4)]
    _draw_crossroads(draft, p, vary, directions, (p.lanes, p.minor_lanes) * 2)


def draw_t_junction(draft: Draft, p: TJunction, vary: Vary) -> None:
    """The major road runs west to east, the minor one comes from the south."""
    directions = [0.0, math.pi, 1.5 * math.pi + vary.angle()]
    _draw_crossroads(draft, p, vary, directions, (p.lanes, p.lanes, p.minor_lanes))


def _draw_crossroads(
    draft: Draft, p: Crossroads, vary: Vary, directions: Sequence[float], lanes: Sequence[int]
) -> None:
    profile = p.profile()
    away = setbacks(directions, lanes, profile, p.corner_radius, p.crossings)
    arms = []
    for k, direction in enumerate(directions):
        minor = k % 2 == 1 if len(directions) == 4 else k == 2
        control: Control = p.control if minor or p.control == "lights" else "none"
        mouth = moved((0.0, 0.0, direction), away[k])
        road = draft.add_two_way(mouth, [(vary(p.arm_length), 0.0, 0.0)], profile, lanes[k])
        arms.append(draft.arm(road, "start", lanes[k], profile, control))
    add_crossroads(draft, arms, crossings=p.crossings)


def draw_roundabout(draft: Draft, p: Roundabout, vary: Vary) -> None:
    """Around the origin, the first arm to the east."""
    profile, arms = p.profile(), []
    for k in range(p.arms):
        direction = 2.0 * math.pi * k / p.arms + 0.4 * vary.angle()
        mouth = moved((0.0, 0.0, direction), ring_setback(p.radius))
        road = draft.add_two_way(mouth, [(vary(p.arm_length), 0.0, 0.0)], profile, 1)
        arms.append(draft.arm(road, "start", 1, profile, "yield"))
    add_roundabout(draft, (0.0, 0.0), p.radius, arms, p.crossings)


# --- the town -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Streets:
    """The town's plan: where the corners are and which neighbours are joined by how many lanes."""

    place: dict[Node, tuple[float, float]]
    lanes: dict[frozenset[Node], int]

    def neighbours(self, node: Node) -> list[Node]:
        """Joined corners, counter-clockwise from the east."""
        near = [(node[0] + di, node[1] + dj) for di, dj in ((1, 0), (0, 1), (-1, 0), (0, -1))]
        return [other for other in near if frozenset((node, other)) in self.lanes]

    def direction(self, node: Node, other: Node) -> float:
        """rad, from one corner to the next."""
        (x, y), (u, v) = self.place[node], self.place[other]
        return math.atan2(v - y, u - x)

    def lanes_at(self, node: Node, other: Node) -> int:
        """Lanes per direction of the street between two corners."""
        return self.lanes[frozenset((node, other))]


def draw_town(draft: Draft, p: Town, vary: Vary) -> None:
    """Columns go east, rows north, the first corner lies at the origin."""
    streets = _plan_streets(p, vary.random)
    rings = _choose_roundabouts(streets, p.roundabouts, vary.random)
    _leave_out(streets, round(p.missing * len(streets.lanes)), rings, vary.random)
    junctions = [node for node in streets.place if len(streets.neighbours(node)) >= 3]
    profile = p.profile()
    away: dict[tuple[Node, Node], float] = {}
    for node in junctions:
        near = streets.neighbours(node)
        if node in rings:
            away |= {(node, other): ring_setback(RING_RADIUS) for other in near}
            continue
        directions = [streets.direction(node, other) for other in near]
        lanes = [streets.lanes_at(node, other) for other in near]
        needed = setbacks(directions, lanes, profile, p.corner_radius, p.crossings)
        away |= {(node, other): s for other, s in zip(near, needed, strict=True)}

    arms: dict[tuple[Node, Node], Arm] = {}
    for node in junctions:
        for other in streets.neighbours(node):
            if (node, other) in arms:
                continue
            corners = _follow(streets, node, other)
            back = (corners[-1], corners[-2])
            lanes = streets.lanes_at(node, other)
            start = moved((*streets.place[node], streets.direction(node, other)), away[node, other])
            end = moved((*streets.place[back[0]], streets.direction(*back)), away[back])
            points = [start[:2], *(streets.place[c] for c in corners[1:-1]), end[:2]]
            road = draft.add_two_way(start, _street_path(points), profile, lanes)
            arms[node, other] = draft.arm(road, "start", lanes, profile)
            arms[back] = draft.arm(road, "end", lanes, profile)

    for node in junctions:
        near = streets.neighbours(node)
        own = [arms[node, other] for other in near]
        if node in rings:
            signed = [replace(arm, control="yield") for arm in own]
            add_roundabout(draft, streets.place[node], RING_RADIUS, signed, p.crossings)
        else:
            controls = _controls(streets, node, vary.random)
            signed = [replace(arm, control=c) for arm, c in zip(own, controls, strict=True)]
            add_crossroads(draft, signed, crossings=p.crossings)


def _plan_streets(p: Town, random: np.random.Generator) -> _Streets:
    place = {}
    reach = p.variation * p.block / 2.0
    for i in range(p.columns):
        for j in range(p.rows):
            dx, dy = random.uniform(-reach, reach, 2)
            place[i, j] = (i * p.block + float(dx), j * p.block + float(dy))
    west, south = (p.columns - p.avenues) // 2, (p.rows - p.avenues) // 2
    lanes = {}
    for i, j in place:
        if (i + 1, j) in place:
            lanes[frozenset(((i, j), (i + 1, j)))] = p.lanes + (south <= j < south + p.avenues)
        if (i, j + 1) in place:
            lanes[frozenset(((i, j), (i, j + 1)))] = p.lanes + (west <= i < west + p.avenues)
    return _Streets(place, lanes)


def _leave_out(
    streets: _Streets, count: int, rings: set[Node], random: np.random.Generator
) -> None:
    """Takes up to ``count`` narrow streets away, none at roundabouts.

    A street may go where both its corners keep three others: no dead end, no new bend.
    """
    least = min(streets.lanes.values())
    narrow = [e for e, lanes in streets.lanes.items() if lanes == least and not rings & e]
    for k in random.permutation(len(narrow)):
        if count > 0 and all(len(streets.neighbours(node)) > 3 for node in narrow[k]):
            del streets.lanes[narrow[k]]
            count -= 1


def _choose_roundabouts(streets: _Streets, count: int, random: np.random.Generator) -> set[Node]:
    """Up to ``count`` crossroads of one-lane streets whose arms leave room between them."""
    chosen: set[Node] = set()
    nodes = list(streets.place)
    for k in random.permutation(len(nodes)):
        near = streets.neighbours(nodes[k])
        narrow = all(streets.lanes_at(nodes[k], other) == 1 for other in near)
        angles = [streets.direction(nodes[k], other) for other in near]
        if len(chosen) < count and len(near) == 4 and narrow and ring_fits(angles):
            chosen.add(nodes[k])
    return chosen


def _controls(streets: _Streets, node: Node, random: np.random.Generator) -> list[Control]:
    """What each arm must obey: lights on avenues, elsewhere signs, at crossroads also lights."""
    near = streets.neighbours(node)
    lanes = [streets.lanes_at(node, other) for other in near]
    sign: Control = "stop" if random.random() < 0.5 else "yield"
    lit = random.random() < (0.5 if len(near) == 4 else 0.0)
    first_is_minor = random.random() < 0.5
    if lit or max(lanes) > min(streets.lanes.values()):
        return ["lights"] * len(near)
    if len(near) == 4:
        return [sign if (k % 2 == 0) == first_is_minor else "none" for k in range(4)]
    # the leg of the T: the one without a street opposite
    opposite = [(2 * node[0] - i, 2 * node[1] - j) in near for i, j in near]
    return ["none" if through else sign for through in opposite]


def _follow(streets: _Streets, node: Node, other: Node) -> list[Node]:
    """Corners from a junction through plain bends to the next junction, both included."""
    corners = [node, other]
    while len(near := streets.neighbours(corners[-1])) == 2:
        corners.append(near[0] if near[1] == corners[-2] else near[1])
    return corners


def _street_path(points: Sequence[tuple[float, float]]) -> Path:
    """Straights between ``points`` with smooth bends at the inner ones."""
    path: Path = []
    before, used = points[0], 0.0
    for k in range(1, len(points)):
        x, y = points[k]
        length = math.dist(before, (x, y)) - used
        heading = math.atan2(y - before[1], x - before[0])
        turn, used = 0.0, 0.0
        if k + 1 < len(points):
            after = math.atan2(points[k + 1][1] - y, points[k + 1][0] - x)
            turn = math.remainder(after - heading, 2.0 * math.pi)
            used = turn_tangent(turn, BEND_RADIUS)
        if length - used < SHORTEST_STREET:
            raise RoadloopError(
                f"a street of the town is only {length - used:.0f} m long: make block longer, or "
                "corner_radius or variation smaller"
            )
        path.append((length - used, 0.0, 0.0))
        if used > 0.0:
            end = (used * (1.0 + math.cos(turn)), used * math.sin(turn), turn)
            path += smooth_path((0.0, 0.0, 0.0), end)
        before = (x, y)
    return path
