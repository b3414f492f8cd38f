"""Getting past what stands in the lane: which obstacles to pass, on which side, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planning.corridor import AgentsOnPath
from planning.lateral_offset import (
    PASSING_SPEED,
    SIDE_GAP,
    STEP_CURVATURE,
    OffsetStep,
    band_is_free,
    shift_past,
    step_length,
)
from planning.route_line import RouteLine
from planning.route_rules import RouteRules
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind

Array = np.ndarray

ROOM_TO_PASS = 11.0
"""m to stay behind an obstacle so that the ego can still steer around it (3.2 m sideways at the
tightest curvature takes 10 m)"""
TIGHTEST = 0.17
"""1/m: curvature of passing, two thirds of what full steering gives a mid-size car"""
STANDING_LONG = 3.0
"""s after which a standing vehicle may be an obstruction"""
QUEUE_REACH = 30.0
"""m before a stop line or junction within which standing vehicles are taken for a queue"""
QUEUE_PATIENCE = 40.0
"""s after which even those are passed"""
NEIGHBOUR_REACH = 15.0
"""m between obstacles that are passed in one go"""
KERB_ASIDE = 0.75
"""m between the path and the middle of a standing vehicle from which it is parked at the kerb:
who queues stands in the middle of the lane"""
MOST_DOUBT = 0.3
"""m that are kept more beside who is not seen well"""


@dataclass(frozen=True)
class Manners:
    """How obstructions are passed."""

    side_gap: float = SIDE_GAP
    """m kept beside one"""
    least_gap: float = SIDE_GAP
    """m kept where more would bring the ego further out of its own lane"""
    passing_speed: float = PASSING_SPEED
    """m/s with ``side_gap``; in proportion less where less is kept"""
    hidden_speed: float = math.inf
    """m/s at crosswalks that standing vehicles hide"""
    kerb_patience: float = QUEUE_PATIENCE
    """s after which a vehicle standing aside of the lane's middle is passed, wherever that is"""


@dataclass(frozen=True)
class Passing:
    """A way around: two steps, out and back."""

    out: OffsetStep
    back: OffsetStep
    speed: float = PASSING_SPEED
    """m/s"""
    opposite: bool = False
    """whether the ego's centre is on the opposite lane meanwhile"""


def obstructions(
    agents: AgentsOnPath,
    standing: Array,
    rules: RouteRules,
    half_width: float,
    kerb_patience: float = QUEUE_PATIENCE,
) -> Array:
    """``(agents,)`` bool: road users that block the lane for good.

    ``standing`` is ``(agents,)`` s. Statics do at once; vehicles after `STANDING_LONG` unless they
    may be queueing for a line or junction ahead of them, or behind somebody else.
    """
    blocks = (agents.d_low < half_width + 0.3) & (agents.d_high > -half_width - 0.3)
    static = agents.kind == AgentKind.STATIC
    ahead = np.concatenate([rules.line_s, rules.visit_from])
    to_line = ahead[None, :] - agents.s_high[:, None]
    before_line = ((to_line > -2.0) & (to_line < QUEUE_REACH)).any(axis=1)
    in_junction = (
        (agents.s_high[:, None] > rules.visit_from) & (agents.s_low[:, None] < rules.visit_to)
    ).any(axis=1)
    room = agents.s_low[blocks & ~static] - agents.s_high[:, None]
    behind_other = ((room > 0.0) & (room < 12.0)).any(axis=1)
    vehicle = (agents.kind <= AgentKind.CYCLIST) & (agents.speed < 0.2)
    queueing = before_line | in_junction | behind_other
    patience = np.where(queueing, QUEUE_PATIENCE, STANDING_LONG)
    aside = np.abs(agents.d_low + agents.d_high) / 2.0 > KERB_ASIDE
    patience = np.where(aside, np.minimum(patience, kerb_patience), patience)
    return blocks & (static | (vehicle & (standing > patience)))


def way_around(
    agents: AgentsOnPath,
    blocking: Array,
    unsure: Array,
    line: RouteLine,
    rules: RouteRules,
    road_map: RoadMap,
    rear_s: float,
    front_length: float,
    rear_length: float,
    half_width: float,
    speed: float,
    manners: Manners,
) -> Passing | None:
    """Out, past and back for the first of the ``blocking`` ``(agents,)``, or None when not free.

    ``unsure`` ``(agents,)`` m is what is not known about where they are: that much more is kept.
    Own lane first, then the neighbour of the same direction, then the opposite lane. Not through
    junctions. Positions are of the rear axle, m along the path.
    """
    front_s = rear_s + front_length
    todo = np.flatnonzero(blocking & (agents.s_low > front_s))
    if len(todo) == 0:
        return None
    todo = todo[np.argsort(agents.s_low[todo])]
    group = [int(todo[0])]
    for i in todo[1:].tolist():
        if agents.s_low[i] < agents.s_high[group].max() + NEIGHBOUR_REACH:
            group.append(i)
    first, last = float(agents.s_low[group].min()), float(agents.s_high[group].max())
    low, high = float(agents.d_low[group].min()), float(agents.d_high[group].max())
    doubt = min(float(unsure[group].max()), MOST_DOUBT)
    bend = line.curvature[line.window(first - front_length, last)[0]]
    out_end = first - front_length + 0.3
    back_start = last + rear_length + 0.5

    options = []
    for side in (1, -1):
        # in a bend the front sweeps outside
        sweep = max(float((side * bend).max()), 0.0) * front_length**2 / 2.0
        beside = manners.side_gap + sweep + doubt
        wide = side * shift_past(low, high, half_width, side, beside)
        if wide <= 0.0:
            continue
        # no further out of the own lane than needed: the less room is kept, the slower
        least = wide - max(manners.side_gap - manners.least_gap, 0.0)
        shift = side * min(wide, max(_own_half(line, first) - half_width, least))
        kept = manners.side_gap - wide + abs(shift)
        pass_at = manners.passing_speed * kept / manners.side_gap
        reach = abs(shift) + half_width
        length = step_length(shift, min(speed, pass_at), TIGHTEST)
        shortest = np.sqrt(STEP_CURVATURE * abs(shift) / TIGHTEST)
        start = max(out_end - length, rear_s)
        if out_end - rear_s < shortest:
            continue
        back_end = back_start + length
        room, opposite = _room(road_map, line, start, back_end, side)
        if reach > room + 0.1:
            continue
        if start > rear_s + 1.5 * speed + 6.0:
            continue  # decide when it begins: until then traffic changes
        over = opposite and reach > _own_half(line, start) + 0.3
        options.append((over, abs(shift), shift, start, back_end, pass_at))
    for opposite, _, shift, start, back_end, pass_at in sorted(options):
        crosses_junction = (
            (rules.visit_from < back_end + front_length) & (rules.visit_to > start)
        ).any()
        if crosses_junction and opposite:
            continue
        band = (shift - half_width - 0.3, shift + half_width + 0.3)
        centre_over = opposite and abs(shift) > _own_half(line, start)
        duration = (back_end - rear_s) / pass_at + 3.0
        skip = np.zeros(len(agents), dtype=bool)
        skip[group] = True
        leaves_lane = abs(shift) + half_width > _own_half(line, start) + 0.3
        if not leaves_lane or band_is_free(
            agents, skip, band, rear_s - rear_length, front_s, back_end, speed, duration
        ):
            out = OffsetStep(start, out_end, shift)
            return Passing(out, OffsetStep(back_start, back_end, -shift), pass_at, centre_over)
    return None


def _own_half(line: RouteLine, s: float) -> float:
    i = min(int((s - line.s[0]) / (line.s[1] - line.s[0])), len(line.s) - 1)
    return float(line.width[i]) / 2.0


def _room(
    road_map: RoadMap, line: RouteLine, start: float, end: float, side: int
) -> tuple[float, bool]:
    """m from the path to the far edge of what may be driven on, and whether it is oncoming."""
    rows, _ = line.window(start, end)
    lanes, width = line.lane[rows], float(line.width[rows].min())
    neighbour = (road_map.lane_left if side > 0 else road_map.lane_right)[lanes]
    if (neighbour >= 0).all():
        return 1.5 * width, False
    towards_middle = (side > 0) != road_map.left_hand
    if towards_middle and ((neighbour >= 0) | (road_map.lane_opposite[lanes] >= 0)).all():
        return 1.5 * width, True
    return 0.5 * width, False
