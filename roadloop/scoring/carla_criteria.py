"""Which of CARLA's infractions a drive holds: the leaderboard's criteria on our rollouts.

Rules and numbers are those of scenario_runner's ``atomic_criteria.py`` (0.9.16); each function says
which class it follows and where our maps or rollouts make it differ. Two kinds cannot occur:
failing to yield to an emergency vehicle (we have none) and the time limit of a single scenario (our
drives are one scenario each, without such a limit). Nor do we have buildings or poles to drive
into: "static" is whatever stands among the road users.
"""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import boxes_overlap, wrap_angle
from roadloop.maps.locate import nearest_lane, pose_at, to_frenet
from roadloop.maps.road_map import LaneKind, SignalKind
from roadloop.scoring.area_map import LEVEL
from roadloop.scoring.carla import VERSIONS, Infraction, InfractionKind, RouteRecord
from roadloop.scoring.carla_route import LEAVE_AHEAD, CarlaRun
from roadloop.scoring.collision import agent_corners
from roadloop.scoring.driven import Driven
from roadloop.scoring.rules import LINE_REACH, RED, STOP_SPEED, check_lights, crossings
from roadloop.types import AgentKind

Array = np.ndarray

FAULT_SPEED = 0.1
"""m/s, a slower ego is not to blame for a collision"""
SAME_ACTOR_TIME = 5.0
"""s within which hitting the same road user again is the same collision"""
SAME_PLACE = 5.0
"""m within which another collision belongs to the last one"""
TAIL_FROM = 0.8
"""Of half the length behind the centre: here begins what must not be on the line of a red light"""
TAIL_BEYOND = 1.0
"""m behind the rear bumper: and here it ends"""
ALLOWED_OUT = 0.5
"""m the centre may be beyond the edge of a lane"""
AGAINST_LANE = np.deg2rad(120.0)
"""Heading error against the lane on leaving a junction from which it is the wrong one"""
OTHER_DIRECTION = np.deg2rad(150.0)
"""Turn of the lane's direction from one lane to the next that means the other carriageway"""
PARTS = {"2.0": 4, "2.1": 4, "bench2drive": 20}
"""Equal parts of the route in each of which the speed is compared with the traffic's"""
LAST_PART = 0.95
"""Share of the route from which the part it ended in counts"""
TRAFFIC_REACH = 100.0
"""m around the ego within which vehicles are its traffic. CARLA's background vehicles exist only
about there (opposite lanes from 80 m, a junction's entries 40 m beyond it)."""
TRAFFIC = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.MOTORCYCLE)
"""Kinds whose speed is the traffic's"""
TWO_WAY = frozenset(("parked_obstruction", "cyclist_ahead"))
"""Scenario families whose way leads over the oncoming lane; in CARLA's like (ParkedObstacleTwoWays,
HazardAtSideLaneTwoWays) the wrong lane is no infraction either"""


def route_record(driven: Driven, version: str) -> RouteRecord:
    """What ``carla.route_score`` needs to know of a drive, by the criteria of ``version``.

    Raises RoadloopError for an unknown version or where light states are missing.
    """
    run = carla_run(driven, version)
    slow = [
        part
        for part in speed_by_part(run)
        if version == "bench2drive" or (part.percentage or 0.0) < 100.0
    ]
    found = [*outside_route_lanes(run), *collisions(run), *red_lights(run), *stop_signs(run), *slow]
    found += [] if run.ended_by is None else [run.ended_by]
    return RouteRecord(run.path.length, run.completion, tuple(found))


def carla_run(driven: Driven, version: str) -> CarlaRun:
    """The drive as CARLA's criteria see it; raises as ``route_record`` does."""
    if version not in VERSIONS:
        raise RoadloopError(f"no CARLA score {version!r}; there are {', '.join(VERSIONS)}")
    check_lights(driven)
    return CarlaRun(driven, version)


def collisions(run: CarlaRun) -> list[Infraction]:
    """Contacts of the ego's box with road users: pedestrians, vehicles, things that stand.

    ``CollisionTest``: not counted are contacts while the ego is slower than FAULT_SPEED, with the
    road user that was counted last for SAME_ACTOR_TIME, and within SAME_PLACE of where the last one
    was counted. Whose fault a contact is plays no part.
    """
    rollout, centre = run.driven.rollout, run.driven.centre
    found: list[Infraction] = []
    last_id: int | None = None
    last_time, last_place = 0.0, None
    for step, column in zip(*(pairs.tolist() for pairs in _contacts(run.driven))):
        if step > run.end_step:
            break
        time, place = float(rollout.time[step]), centre[step]
        if last_id is not None and time - last_time > SAME_ACTOR_TIME + 1e-9:
            last_id = None
        if last_place is not None and np.hypot(*(centre[step] - last_place)) > SAME_PLACE:
            last_place = None
        agent, speed = int(rollout.agents.id[step, column]), abs(float(rollout.ego.speed[step]))
        if agent == last_id or last_place is not None or speed < FAULT_SPEED:
            continue
        last_id, last_time, last_place = agent, time, place
        who = AgentKind(int(rollout.agents.kind[step, column]))
        kind = {
            AgentKind.PEDESTRIAN: InfractionKind.COLLISION_PEDESTRIAN,
            AgentKind.STATIC: InfractionKind.COLLISION_STATIC,
        }.get(who, InfractionKind.COLLISION_VEHICLE)
        found.append(
            Infraction(kind, time=time, detail=f"{who.name.lower()} {agent} at {speed:.1f} m/s")
        )
    return found


def _contacts(driven: Driven) -> tuple[Array, Array]:
    """Step and agent column of every contact of boxes, by step, then id."""
    ego, agents = driven.rollout.ego, driven.rollout.agents
    reach = 0.5 * np.hypot(ego.vehicle.length, ego.vehicle.width)
    away = np.hypot(agents.x - driven.centre[:, :1], agents.y - driven.centre[:, 1:])
    near = away <= reach + 0.5 * np.hypot(agents.length, agents.width)
    near &= agents.valid & (np.abs(agents.z - ego.z[:, None]) < LEVEL)
    step, column = np.nonzero(near)
    touching = boxes_overlap(driven.corners[step], agent_corners(agents, step, column))
    step, column = step[touching], column[touching]
    order = np.lexsort((agents.id[step, column], step))
    return step[order], column[order]


def red_lights(run: CarlaRun) -> list[Infraction]:
    """Stop lines the tail of the ego went over while their light was red (or red and yellow).

    ``RunningRedLightTest``: the segment from TAIL_FROM of half the length behind the centre to
    TAIL_BEYOND behind the rear bumper meets the line, which reaches 0.6 lane widths to each side,
    in its lane and direction; the same light does not count twice in a row. So does who crosses on
    green and is still on the line when it turns red. CARLA's further condition, the light's trigger
    within 15 m, is met by every car whose tail is on the line. Which lane was taken where several
    start behind one line is told by ``rules.crossings``; a line the front bumper is beyond from the
    start therefore does not count.
    """
    driven, rollout = run.driven, run.driven.rollout
    road_map, half = driven.road_map, rollout.ego.vehicle.length / 2.0
    forward = np.stack([np.cos(rollout.ego.heading), np.sin(rollout.ego.heading)], axis=-1)
    ends = (
        driven.centre - TAIL_FROM * half * forward,
        driven.centre - (half + TAIL_BEYOND) * forward,
    )
    ran: list[tuple[int, int]] = []
    for crossing in crossings(driven, SignalKind.TRAFFIC_LIGHT):
        lane = int(road_map.stop_lane[crossing.line])
        s = float(road_map.stop_s[crossing.line])
        x, y, _, heading = (float(v) for v in pose_at(road_map, lane, s))
        width = float(road_map.point_width[driven.lane_row(np.array(lane), np.array(s))])
        (near, near_side), (far, far_side) = (_on_line(end, x, y, heading) for end in ends)
        leapt = (np.append(near[:1], near[:-1]) < 0.0) & (far > 0.0)  # over within one step
        met = leapt | ((near >= 0.0) & (far <= 0.0))
        share = np.clip(near / np.maximum(near - far, 1e-9), 0.0, 1.0)
        side = near_side + share * (far_side - near_side)
        red = np.isin(rollout.lights[:, crossing.signal], RED)
        met &= red & (np.abs(side) <= LINE_REACH * width)
        steps = np.flatnonzero(met[crossing.step : run.end_step + 1])
        if len(steps):
            ran.append((crossing.step + int(steps[0]), crossing.signal))
    found: list[Infraction] = []
    last = -1
    for step, signal in sorted(ran):
        if signal != last:
            light = str(road_map.signal_id[signal])
            at = float(rollout.time[step])
            kind = InfractionKind.TRAFFIC_LIGHT_INFRACTION
            found.append(Infraction(kind, time=at, detail=f"light {light}"))
        last = signal
    return found


def _on_line(points: Array, x: float, y: float, heading: float) -> tuple[Array, Array]:
    """(n,) m beyond a line across ``heading`` through x, y, and m left of that place."""
    dx, dy = points[:, 0] - x, points[:, 1] - y
    c, s = np.cos(heading), np.sin(heading)
    return dx * c + dy * s, dy * c - dx * s


def stop_signs(run: CarlaRun) -> list[Infraction]:
    """Stop lines of stop signs crossed without having been below 0.1 m/s.

    ``RunningStopTest``, where a stop counts in the sign's trigger box and up to 4 m before its
    centre; our maps have a stop line instead, and a stop counts with the front bumper in the 4 m
    before it. The same sign does not count twice in a row.
    """
    driven = run.driven
    found: list[Infraction] = []
    last = -1
    for crossing in crossings(driven, SignalKind.STOP):
        if crossing.step > run.end_step or crossing.slowest < STOP_SPEED:
            continue
        if crossing.signal != last:
            at, sign = float(driven.rollout.time[crossing.step]), crossing.signal
            said = f"sign {driven.road_map.signal_id[sign]} at {crossing.slowest:.1f} m/s"
            found.append(Infraction(InfractionKind.STOP_INFRACTION, time=at, detail=said))
        last = crossing.signal
    return found


def outside_route_lanes(run: CarlaRun) -> list[Infraction]:
    """The share of the route driven outside its lanes, one infraction where there was any.

    ``OutsideRouteLanesTest``: metres of route passed while the centre was outside or on a wrong
    lane, over the metres passed in all. Outside: further from the nearest driving or parking lane's
    centreline than half its width plus ALLOWED_OUT. Wrong lane, taking the driving lane nearest to
    the centre: set where a junction is left against the lane by AGAINST_LANE or more; toggled where
    the next lane's direction differs by more than OTHER_DIRECTION; never inside junctions, and not
    in the families ``TWO_WAY``.
    """
    driven = run.driven
    steps = np.arange(len(driven.rollout.time))
    z = np.interp(run.step, steps, driven.rollout.ego.z)
    heading = np.interp(run.step, steps, np.unwrap(driven.rollout.ego.heading))
    x, y = run.position.T
    place = nearest_lane(driven.road_map, x, y, z=z)
    width = _width(driven, place.lane, place.s)
    parking, parking_width = _parking(driven, x, y, z)
    beside = place.distance >= parking
    wide = np.where(beside, parking_width, width)
    outside = np.minimum(place.distance, parking) > wide / 2.0 + ALLOWED_OUT
    if driven.rollout.family not in TWO_WAY:
        outside |= _on_wrong_lane(driven, place.lane, place.s, heading)
    driven_to = run.path.s[run.passed(LEAVE_AHEAD)]
    gone = np.diff(driven_to, prepend=0.0)[: run.end + 1]
    wrong = outside[: run.end + 1] & (gone > 0.0)
    metres = float(gone[wrong].sum())
    if not metres:
        return []
    percentage = min(100.0 * metres / float(gone.sum()), 100.0)
    at = float(driven.rollout.time[0] + run.time[int(np.argmax(wrong))])
    kind = InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION
    return [Infraction(kind, percentage, metres, at, f"{metres:.1f} m outside its lanes")]


def _width(driven: Driven, lane: Array, s: Array) -> Array:
    """(n,) m width of the lanes there, 0 for lane -1."""
    known = np.maximum(lane, 0)
    width = driven.road_map.point_width[driven.lane_row(known, s)]
    return np.where(lane >= 0, width, 0.0)


def _parking(driven: Driven, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """(n,) m to the nearest parking lane's centreline, inf where none is near, and its width."""
    road_map = driven.road_map
    lane_of_point = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))
    rows = np.flatnonzero(road_map.lane_kind[lane_of_point] == LaneKind.PARKING)
    away, width = np.full(len(x), np.inf), np.zeros(len(x))
    box = road_map.point_xyz[rows]
    inside = (np.abs(box[:, 0] - x.mean()) < np.ptp(x) + 20.0) & (
        np.abs(box[:, 1] - y.mean()) < np.ptp(y) + 20.0
    )
    rows = rows[inside]
    if not len(rows):
        return away, width
    from scipy.spatial import KDTree

    _, row = KDTree(road_map.point_xyz[rows]).query(np.column_stack([x, y, z]))
    lane = lane_of_point[rows[row]]
    s, _ = to_frenet(road_map, lane, x, y)
    foot_x, foot_y, foot_z, _ = pose_at(road_map, lane, s)
    level = np.abs(foot_z - z) < LEVEL
    away = np.where(level, np.hypot(x - foot_x, y - foot_y), np.inf)
    return away, _width(driven, lane, s)


def _on_wrong_lane(driven: Driven, lane: Array, s: Array, heading: Array) -> Array:
    """(ticks,) bool: the ego is on a lane of the other direction; see ``outside_route_lanes``."""
    road_map = driven.road_map
    one_way = (lane >= 0) & (road_map.lane_kind[lane] == LaneKind.DRIVING)
    if not one_way.any():
        return np.zeros(len(lane), dtype=bool)
    ticks = np.arange(len(lane))  # where there is no such lane the one before counts
    before = np.maximum.accumulate(np.where(one_way, ticks, np.argmax(one_way)))
    lane, s = lane[before], s[before]
    direction = road_map.point_heading[driven.lane_row(lane, s)]
    in_junction = road_map.lane_junction[lane] >= 0
    # sections of a road are one lane to CARLA
    changed = (road_map.lane_road[lane[1:]] != road_map.lane_road[lane[:-1]]) | (
        road_map.lane_number[lane[1:]] != road_map.lane_number[lane[:-1]]
    )
    wrong = np.zeros(len(lane), dtype=bool)
    state, since = False, 0
    for tick in (np.flatnonzero(changed | np.diff(in_junction)) + 1).tolist():
        wrong[since:tick] = state
        since = tick
        if in_junction[tick]:
            state = False
        elif in_junction[tick - 1]:
            state = bool(abs(wrap_angle(direction[tick] - heading[tick])) >= AGAINST_LANE)
        elif abs(wrap_angle(direction[tick] - direction[tick - 1])) > OTHER_DIRECTION:
            state = not state
    wrong[since:] = state
    return wrong


def speed_by_part(run: CarlaRun) -> list[Infraction]:
    """The ego's mean speed in each part of the route, in % of the traffic's mean speed there.

    ``MinimumSpeedRouteTest``: the traffic is the ``TRAFFIC`` within TRAFFIC_REACH at each step;
    steps without any do not count, and 100 % is noted where there was none at all or all of it
    stood. A part ends once more than its share of the route lies behind its begin; the one the run
    ends in counts from LAST_PART of the route on. The leaderboard records parts below 100 %,
    Bench2Drive all. Vehicles a scenario sends against the ego are traffic here, in CARLA not: a
    rollout does not tell them apart.
    """
    rollout, path = run.driven.rollout, run.path
    index = run.reached[:: run.ticks_per_step]
    driven_to = path.s[index[: run.end_step + 1]]
    ego, traffic = np.abs(rollout.ego.speed), traffic_speed(run.driven)
    length = path.length / PARTS[run.version]
    ends, begin = [], 0.0
    for step, metres in enumerate(driven_to.tolist()):
        if metres - begin > length:
            ends.append(step)
            begin = metres
    if driven_to[-1] / path.length > LAST_PART:
        ends.append(len(driven_to))
    found: list[Infraction] = []
    for start, end in zip([0, *ends], ends):
        steps = np.flatnonzero(np.isfinite(traffic[start:end])) + start
        mean = float(traffic[steps].mean()) if len(steps) else 0.0
        share = round(float(ego[steps].mean()) / mean * 100.0, 2) if mean > 0.0 else 100.0
        at = float(rollout.time[min(end, len(rollout.time) - 1)])
        said = f"{share:.0f} % of the traffic's speed"
        found.append(Infraction(InfractionKind.MIN_SPEED_INFRACTION, share, time=at, detail=said))
    return found


def traffic_speed(driven: Driven) -> Array:
    """(time,) m/s, mean speed of the vehicles around the ego, NaN where there is none."""
    agents = driven.rollout.agents
    away = np.hypot(agents.x - driven.centre[:, :1], agents.y - driven.centre[:, 1:])
    around = agents.valid & np.isin(agents.kind, TRAFFIC) & (away <= TRAFFIC_REACH)
    count = around.sum(axis=1)
    total = np.where(around, agents.speed, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
