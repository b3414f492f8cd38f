"""Procedural roads without crossing traffic: straight, curve, motorway merge and exit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from roadloop.maps.generate_draft import Arm, Draft, Profile, Strip
from roadloop.maps.generate_paths import Path, Pose, path_start, smooth_path

if TYPE_CHECKING:
    from roadloop.maps.generate import Curve, Exit, Merge, Straight, Vary

GORE_LENGTH = 60.0
"""m of junction in which a ramp comes to lie beside the carriageway, or leaves it"""
TAPER_LENGTH = 80.0
"""m over which a motorway lane ends or begins"""
NOSE_ANGLE = math.radians(3.5)
"""between ramp and carriageway where the ramp's own road ends"""
NOSE_GAP = 1.0
"""m between the carriageway's shoulder and the ramp's lane there"""
RAMP_BEND = math.radians(30.0)
"""how far a ramp turns"""


def draw_straight(draft: Draft, p: Straight, vary: Vary) -> None:
    """Along +x from the origin."""
    profile = p.profile("sidewalk" if p.pavement else "shoulder")
    length = vary(p.length)
    road = draft.add_two_way((0.0, 0.0, 0.0), [(length, 0.0, 0.0)], profile, p.lanes)
    for k in range(p.crossings):
        middle = length * (k + 1) / (p.crossings + 1)
        draft.add_crosswalk(road, middle - 1.5, middle + 1.5, p.lanes * p.lane_width)


def draw_curve(draft: Draft, p: Curve, vary: Vary) -> None:
    """From the origin along +x, to the left, then to the right."""
    path: Path = [(p.approach, 0.0, 0.0)]
    for side in (1.0, -1.0):
        k, turn = side / vary(p.radius), vary(p.turn)
        arc = 0.5 * turn / abs(k)
        spiral = 0.5 * turn / abs(k)  # mean curvature k / 2: both spirals take the other half
        path += [(spiral, 0.0, k), (arc, k, k), (spiral, k, 0.0)]
    path.append((p.approach, 0.0, 0.0))
    half = sum(length for length, _, _ in path) / 2.0
    # level at the ends and on top: h (3 u^2 - 2 u^3) with u from 0 to 1 over half the road
    square, cube = 3.0 * p.hill / half**2, 2.0 * p.hill / half**3
    rows = [(0.0, 0.0, 0.0, square, -cube), (half, p.hill, 0.0, -square, cube)]
    profile = p.profile("shoulder", "rural")
    draft.add_two_way((0.0, 0.0, 0.0), path, profile, p.lanes, elevation=rows if p.hill else ())


def draw_merge(draft: Draft, p: Merge, vary: Vary) -> None:
    """Carriageway along +x from the origin, the ramp from the right."""
    first, second, third = _carriageways(draft, p, vary, GORE_LENGTH, TAPER_LENGTH, "entry")
    path = _ramp_path(p, vary)
    start = path_start(_nose(p, p.approach, NOSE_ANGLE), path)
    ramp = draft.arm(_one_way(draft, start, path, _ramp_profile(p), 1), "end", 1, _ramp_profile(p))

    gore = draft.add_junction([first[1], ramp, second[0]])
    _go_on(draft, gore, first[1], second[0], p.lanes)
    way = smooth_path(ramp.left_edge_in(1), second[0].left_edge_out(p.lanes + 1))
    draft.connect(gore, ramp, 1, second[0], p.lanes + 1, way, edge=True)

    taper = draft.add_junction([second[1], third[0]])
    through = _go_on(draft, taper, second[1], third[0], p.lanes)
    way = smooth_path(second[1].left_edge_in(p.lanes + 1), third[0].left_edge_out(p.lanes))
    ending = draft.connect(taper, second[1], p.lanes + 1, third[0], p.lanes, way, edge=True)
    draft.add_priority(taper, through[-1], ending)


def draw_exit(draft: Draft, p: Exit, vary: Vary) -> None:
    """Carriageway along +x from the origin, the ramp to the right."""
    first, second, third = _carriageways(draft, p, vary, TAPER_LENGTH, GORE_LENGTH, "exit")
    profile, nose = _ramp_profile(p), _nose(p, third[0].pose[0], -NOSE_ANGLE)
    ramp = draft.arm(_one_way(draft, nose, _ramp_path(p, vary), profile, 1), "start", 1, profile)

    taper = draft.add_junction([first[1], second[0]])
    _go_on(draft, taper, first[1], second[0], p.lanes)
    way = smooth_path(first[1].left_edge_in(p.lanes), second[0].left_edge_out(p.lanes + 1))
    draft.connect(taper, first[1], p.lanes, second[0], p.lanes + 1, way, edge=True)

    gore = draft.add_junction([second[1], third[0], ramp])
    _go_on(draft, gore, second[1], third[0], p.lanes)
    way = smooth_path(second[1].left_edge_in(p.lanes + 1), ramp.left_edge_out(1))
    draft.connect(gore, second[1], p.lanes + 1, ramp, 1, way, edge=True)


def _carriageway_profile(p: Merge) -> Profile:
    return replace(p.profile("shoulder", "motorway"), edge_width=2.5)


def _ramp_profile(p: Merge) -> Profile:
    return replace(p.profile("shoulder", "motorway"), speed_limit=p.ramp_speed_limit)


def _one_way(
    draft: Draft, start: Pose, path: Path, profile: Profile, lanes: int, outermost: str = "driving"
) -> int:
    """A one-way road with a narrow shoulder on its left; ``outermost`` is the last lane's type."""
    side = profile.side(lanes, outermost)
    left = [Strip("shoulder", 1.0)]
    return draft.add_road(start, path, profile, right=side, left=left, centre_mark="solid")


def _carriageways(
    draft: Draft, p: Merge, vary: Vary, gap: float, next_gap: float, extra: str
) -> list[tuple[Arm, Arm]]:
    """The (start, end) of the carriageway before, beside and after the lane of type ``extra``."""
    profile, ends, x = _carriageway_profile(p), [], 0.0
    pieces = [(p.approach, gap, 0), (vary(p.parallel), next_gap, 1), (p.beyond, 0.0, 0)]
    for length, space, more in pieces:
        kind = extra if more else "driving"
        start, path = (x, 0.0, 0.0), [(length, 0.0, 0.0)]
        road = _one_way(draft, start, path, profile, p.lanes + more, kind)
        start_arm = draft.arm(road, "start", p.lanes + more, profile)
        ends.append((start_arm, draft.arm(road, "end", p.lanes + more, profile)))
        x += length + space
    return ends


def _go_on(draft: Draft, junction: int, source: Arm, target: Arm, lanes: int) -> list[int]:
    """Connecting roads that take each lane straight on."""
    return [
        draft.connect(
            junction,
            source,
            lane,
            target,
            lane,
            smooth_path(source.left_edge_in(lane), target.left_edge_out(lane)),
        )
        for lane in range(1, lanes + 1)
    ]


def _ramp_path(p: Merge, vary: Vary) -> Path:
    """Both ramps bend to the right: towards the carriageway or away from it."""
    third = vary(p.ramp_length) / 3.0
    k = -vary(RAMP_BEND) / (2.0 * third)
    return [(third, 0.0, k), (third, k, k), (third, k, 0.0)]


def _nose(p: Merge, x: float, heading: float) -> Pose:
    """Where the ramp's road ends or begins, beside the carriageway's shoulder."""
    profile = _carriageway_profile(p)
    aside = p.lanes * profile.lane_width + profile.edge_width + NOSE_GAP
    return x, -aside, heading
