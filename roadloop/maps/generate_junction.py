"""Junctions of a road network under construction: crossroads and roundabouts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from roadloop.errors import RoadloopError
from roadloop.maps.generate_draft import Arm, Draft, Profile
from roadloop.maps.generate_paths import Path, Pose, smooth_path, turn_path, turn_tangent

STRAIGHT_ON = math.radians(45.0)
"""turns below this count as straight on"""
CROSSWALK_GAP = 1.0
"""m from the stop line (where the junction begins) to the crosswalk"""
CROSSWALK_DEPTH = 3.0
"""m a crosswalk measures along the road"""
RING_SETBACK = 6.5
"""m from a roundabout's entry back to the crosswalk: room for one car to wait"""
RING_SPAN = math.radians(34.0)
"""angle about a roundabout's centre from an arm's axis to where its traffic joins and leaves"""
LEAST_RING = math.radians(5.0)
"""angle of the shortest piece of ring between two arms"""
RING_ARM = 13.0
"""m from the middle of a roundabout's lane out to where the arms' roads begin"""


def lead_length(crossings: bool) -> float:
    """m of connecting road that stay straight at both ends: room for the crosswalk."""
    return 2.0 * CROSSWALK_GAP + CROSSWALK_DEPTH if crossings else 1.0


def setbacks(
    directions: Sequence[float],
    lanes: Sequence[int],
    profile: Profile,
    corner_radius: float,
    crossings: bool,
) -> list[float]:
    """m from a crossroads' centre to where each arm's road must begin.

    ``directions`` (rad, outward) ascend, ``lanes`` count per direction. The tightest point of the
    outermost lane's centre in a right turn has at least ``corner_radius``.
    """
    lead = lead_length(crossings)
    width = profile.lane_width
    needed = [lead + max(lanes) * width] * len(directions)
    for i in range(len(directions)):
        j = (i + 1) % len(directions)
        between = (directions[j] - directions[i]) % (2.0 * math.pi)
        if between == 0.0 and len(directions) > 1:
            raise RoadloopError(f"two arms leave a junction at {directions[i]:.2f} rad")
        turn = math.pi - between
        if turn < math.radians(20.0):
            continue
        # the reference lines of the two outermost lanes cross at the corner; they are the left
        # edges of the turning lane, whose centre bends half a lane tighter
        offset_i, offset_j = (lanes[i] - 1) * width, (lanes[j] - 1) * width
        room = lead + turn_tangent(turn, corner_radius + width / 2.0)
        for k, own, other in ((i, offset_i, offset_j), (j, offset_j, offset_i)):
            corner = (other + own * math.cos(between)) / math.sin(between)
            needed[k] = max(needed[k], corner + room)
    return needed


def _movements(arms: Sequence[Arm], source: int) -> list[tuple[int, int, int]]:
    """(lane in, target arm, lane out) of every way from arm ``source``; lanes from 1 at the left.

    Left turns from the leftmost lane, right turns from the rightmost, straight on from all; where
    the road does not go on straight, the lanes share the two turns.
    """
    arm, ways = arms[source], []
    turns = {
        k: math.remainder(other.pose[2] - arm.pose[2] - math.pi, 2.0 * math.pi)
        for k, other in enumerate(arms)
        if k != source
    }
    has_straight = any(abs(turn) < STRAIGHT_ON for turn in turns.values())
    for lane in range(1, arm.lanes + 1):
        for k, turn in turns.items():
            out, last = arms[k].lanes, lane == arm.lanes
            if abs(turn) < STRAIGHT_ON:
                ways.append((lane, k, min(lane, out)))
                if last:  # a road that widens: the new lanes begin here
                    ways += [(lane, k, extra) for extra in range(lane + 1, out + 1)]
            elif turn > 0.0 and (lane == 1 or (not has_straight and 2 * lane <= arm.lanes)):
                ways.append((lane, k, min(lane, out)))
            elif turn < 0.0 and (last or (not has_straight and 2 * lane > arm.lanes)):
                ways.append((lane, k, max(out - (arm.lanes - lane), 1)))
    return ways


def add_crossroads(draft: Draft, arms: Sequence[Arm], *, crossings: bool) -> int:
    """A junction of three or more two-way roads with signs, lights and crosswalks. Returns its id.

    ``arms`` go counter-clockwise. Lights of arms that face each other share a controller.
    """
    junction = draft.add_junction(arms)
    lead = lead_length(crossings)
    groups: list[tuple[float, list[int]]] = []
    for i, arm in enumerate(arms):
        roads = []
        for lane_in, k, lane_out in _movements(arms, i):
            target = arms[k]
            # the pavement goes round the corner with the outermost lanes of neighbouring arms
            edge = k == (i + 1) % len(arms) and lane_in == arm.lanes and lane_out == target.lanes
            path = turn_path(arm.left_edge_in(lane_in), target.left_edge_out(lane_out), lead)
            roads.append(draft.connect(junction, arm, lane_in, target, lane_out, path, edge=edge))
        if arm.control != "none":
            signal = draft.add_signal(arm, arm.control, roads)
            if arm.control == "lights":
                _join_group(groups, arm.pose[2], signal)
        if crossings:
            _add_crosswalk(draft, arm, CROSSWALK_GAP, CROSSWALK_GAP + CROSSWALK_DEPTH)
    for _, signals in groups:
        draft.add_controller(junction, signals)
    return junction


def _add_crosswalk(draft: Draft, arm: Arm, beyond_from: float, beyond_to: float) -> None:
    """A crosswalk over an arm's carriageway; m beyond the road's end, into the junction."""
    half_width = arm.lanes * arm.profile.lane_width
    if arm.contact == "end":
        end = draft.length(arm.road)
        draft.add_crosswalk(arm.road, end + beyond_from, end + beyond_to, half_width)
    else:
        draft.add_crosswalk(arm.road, -beyond_from, -beyond_to, half_width)


def _join_group(groups: list[tuple[float, list[int]]], heading: float, signal: int) -> None:
    """Adds a light to the group whose first arm faces this one, else to a new group."""
    for first, signals in groups:
        if abs(math.remainder(first - heading - math.pi, 2.0 * math.pi)) < STRAIGHT_ON:
            signals.append(signal)
            return
    groups.append((heading, [signal]))


def ring_setback(radius: float) -> float:
    """m from a roundabout's centre to where its arms' roads must begin."""
    return radius + RING_ARM


def ring_fits(angles: Sequence[float]) -> bool:
    """Whether arms at these directions (rad, counter-clockwise) leave room for the ring."""
    gaps = [
        (b - a) % (2.0 * math.pi) for a, b in zip(angles, [*angles[1:], angles[0]], strict=True)
    ]
    return min(gaps) > 2.0 * RING_SPAN + LEAST_RING


def add_roundabout(
    draft: Draft, centre: tuple[float, float], radius: float, arms: Sequence[Arm], crossings: bool
) -> None:
    """A roundabout with one circulating lane whose centre line has ``radius`` m.

    ``arms`` are one-lane two-way roads that point at ``centre``, counter-clockwise. Each arm has
    its own small junction (around the ring, in, out); short one-way roads on the ring join them.
    Traffic in the ring goes first.
    """
    angles = [math.atan2(a.pose[1] - centre[1], a.pose[0] - centre[0]) for a in arms]
    if not ring_fits(angles):
        raise RoadloopError(
            f"roundabout arms at {', '.join(f'{a:.2f}' for a in angles)} rad: neighbours must be "
            f"{2.0 * RING_SPAN + LEAST_RING:.2f} rad apart"
        )
    profile = arms[0].profile
    inner = radius - profile.lane_width / 2.0  # the ring's reference line is its inner edge

    def ring_pose(angle: float) -> Pose:
        x, y = centre[0] + inner * math.cos(angle), centre[1] + inner * math.sin(angle)
        return x, y, angle + math.pi / 2.0

    def ring_path(angle: float) -> Path:
        return [(angle * inner, 1.0 / inner, 1.0 / inner)]

    ring = []
    for i, angle in enumerate(angles):
        gap = (angles[(i + 1) % len(arms)] - angle) % (2.0 * math.pi) - 2.0 * RING_SPAN
        start = ring_pose(angle + RING_SPAN)
        ring.append(
            draft.add_road(
                start, ring_path(gap), profile, right=profile.side(1), centre_mark="curb"
            )
        )
    junctions = []
    for i, (arm, angle) in enumerate(zip(arms, angles, strict=True)):
        before = draft.arm(ring[i - 1], "end", 1, profile)
        after = draft.arm(ring[i], "start", 1, profile)
        junction = draft.add_junction([before, after, arm])
        around = draft.connect(junction, before, 1, after, 1, ring_path(2.0 * RING_SPAN))
        way_in = smooth_path(arm.left_edge_in(1), ring_pose(angle + RING_SPAN))
        enter = draft.connect(junction, arm, 1, after, 1, way_in, edge=True)
        way_out = smooth_path(ring_pose(angle - RING_SPAN), arm.pose)
        draft.connect(junction, before, 1, arm, 1, way_out, edge=True)
        draft.add_priority(junction, around, enter)
        if arm.control != "none":
            draft.add_signal(arm, arm.control, [enter])
        if crossings:
            _add_crosswalk(draft, arm, -RING_SETBACK - CROSSWALK_DEPTH, -RING_SETBACK)
        junctions.append(junction)
    draft.add_roundabout(junctions)
