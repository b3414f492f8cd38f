"""Road users for scenarios: sizes and manners drawn from distributions, placed on the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.types import Action, AgentKind, Agents, AgentStates, Behaviour, Trigger

# length, width, height in m: mean and spread of common models of each kind.
SIZES = {
    AgentKind.CAR: ((4.5, 1.82, 1.5), 0.05),
    AgentKind.VAN: ((5.4, 2.0, 2.2), 0.06),
    AgentKind.TRUCK: ((8.0, 2.45, 3.2), 0.05),
    AgentKind.BUS: ((9.5, 2.5, 3.0), 0.04),
    AgentKind.MOTORCYCLE: ((2.2, 0.8, 1.6), 0.03),
    AgentKind.CYCLIST: ((1.8, 0.65, 1.7), 0.02),
    AgentKind.PEDESTRIAN: ((0.5, 0.5, 1.7), 0.06),
    AgentKind.STATIC: ((4.5, 1.82, 1.5), 0.05),
}
MIX = {
    AgentKind.CAR: 0.81,
    AgentKind.VAN: 0.10,
    AgentKind.TRUCK: 0.04,
    AgentKind.BUS: 0.01,
    AgentKind.MOTORCYCLE: 0.03,
    AgentKind.CYCLIST: 0.01,
}
"""shares of moving traffic"""
MIN_SPACE = 9.0
"""m of lane a standing car takes with its gap"""


@dataclass
class RoadUser:
    """One agent of a scenario; defaults make an ordinary car that wanders. SI units, radians."""

    kind: AgentKind
    x: float
    y: float
    heading: float
    length: float
    width: float
    height: float
    z: float = 0.0
    speed: float = 0.0
    behaviour: Behaviour = Behaviour.TRAFFIC
    lane: int = -1
    s: float = 0.0
    route: tuple[int, ...] = ()
    speed_factor: float = 1.0
    max_speed: float = 60.0
    headway: float = 1.4
    min_gap: float = 2.0
    acceleration: float = 1.6
    deceleration: float = 2.0
    politeness: float = 0.2
    lateral_offset: float = 0.0
    walk_to: tuple[float, float] = (0.0, 0.0)
    trigger: Trigger = Trigger.NEVER
    trigger_value: float = 0.0
    action: Action = Action.NONE
    action_rate: float = 0.0
    action_hold: float = np.inf
    replay: np.ndarray | None = None
    """(steps, 4) x, y, heading, speed per step, for REPLAY; NaN rows where it is not there"""


def agents_from(users: Sequence[RoadUser]) -> Agents:
    """The road users as arrays; ids are 1, 2, ... in order."""

    def column(name: str, dtype: type = np.float64) -> np.ndarray:
        return np.array([getattr(u, name) for u in users], dtype)

    heading, speed = column("heading"), column("speed")
    states = AgentStates(
        id=np.arange(1, len(users) + 1),
        kind=column("kind", np.uint8),
        x=column("x"),
        y=column("y"),
        z=column("z"),
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=column("length"),
        width=column("width"),
        height=column("height"),
        valid=np.array([u.replay is None or np.isfinite(u.replay[0]).all() for u in users], bool),
    )
    route = np.full((len(users), max([len(u.route) for u in users], default=0) or 1), -1, np.int32)
    for row, user in zip(route, users, strict=True):
        row[: len(user.route)] = user.route
    scalars = (
        "s", "speed_factor", "max_speed", "headway", "min_gap", "acceleration", "deceleration",
        "politeness", "lateral_offset", "trigger_value", "action_rate", "action_hold",
    )  # fmt: skip
    return Agents(
        states=states,
        behaviour=column("behaviour", np.uint8),
        lane=column("lane", np.int32),
        route=route,
        walk_to=column("walk_to").reshape(-1, 2),
        trigger=column("trigger", np.uint8),
        action=column("action", np.uint8),
        replay=_motions([u.replay for u in users]),
        **{name: column(name) for name in scalars},
    )


def _motions(motions: Sequence[np.ndarray | None]) -> np.ndarray:
    """``Agents.replay`` of road users: (agents, steps, 4), shorter motions stand at their end."""
    steps = max((len(m) for m in motions if m is not None), default=0)
    out = np.full((len(motions), steps, 4), np.nan)
    for row, motion in zip(out, motions, strict=True):
        if motion is not None:
            row[: len(motion)] = motion
            row[len(motion) :] = motion[-1] * [1.0, 1.0, 1.0, 0.0]
    return out


def replayed(
    kind: AgentKind,
    motion: np.ndarray,
    length: float,
    width: float,
    height: float,
    z: float = 0.0,
) -> RoadUser:
    """A road user that is moved along ``motion``.

    Args:
        motion: (steps, 4) x, y, heading, speed of the box centre at t = k * dt; rows of NaN where
            the road user is not there.

    Raises:
        RoadloopError: a motion of another shape, half a pose, or no pose at all.
    """
    motion = np.asarray(motion, np.float64)
    check_motion(motion, f"the motion of a {kind.name.lower()}")
    x, y, heading, speed = motion[np.flatnonzero(np.isfinite(motion[:, 0]))[0]].tolist()
    return RoadUser(
        kind, x, y, heading, length, width, height, z=z, speed=speed,
        behaviour=Behaviour.REPLAY, replay=motion,
    )  # fmt: skip


def check_motion(motion: np.ndarray, what: str) -> None:
    """Raises RoadloopError unless ``motion`` is (steps, 4), its rows finite or NaN, not all NaN."""
    if motion.ndim != 2 or motion.shape[1] != 4 or len(motion) == 0:
        raise RoadloopError(
            f"{what} has shape {motion.shape}, must be (steps, 4): x, y, heading, speed"
        )
    there = np.isfinite(motion).all(axis=1)
    wrong = ~there & ~np.isnan(motion).all(axis=1)
    if wrong.any():
        step = int(np.flatnonzero(wrong)[0])
        raise RoadloopError(
            f"{what} is {motion[step].tolist()} at step {step}: give four finite numbers, or four "
            "NaN where it is not there"
        )
    if not there.any():
        raise RoadloopError(f"{what} holds no pose: leave out a road user that is never there")


def pose_on(road_map: RoadMap, lane: int, s: float, lateral: float = 0.0) -> tuple[float, ...]:
    """x, y, z, heading of a point ``lateral`` m left of a lane's centreline at ``s``."""
    rows = road_map.points_of(lane)
    at = road_map.point_s[rows]
    x, y, z = (float(np.interp(s, at, road_map.point_xyz[rows, k])) for k in range(3))
    unwrapped = np.unwrap(road_map.point_heading[rows])
    heading = float(wrap_angle(np.interp(s, at, unwrapped)))
    return x - lateral * np.sin(heading), y + lateral * np.cos(heading), z, heading


def user_on(
    road_map: RoadMap,
    lane: int,
    s: float,
    kind: AgentKind = AgentKind.CAR,
    *,
    rng: np.random.Generator | None = None,
    **changes: Any,
) -> RoadUser:
    """A road user on a lane; with ``rng`` its size and manners are drawn, else they are typical."""
    (length, width, height), spread = SIZES[kind]
    lateral = float(changes.get("lateral_offset", 0.0))
    values: dict[str, Any] = {}
    if rng is not None:
        length, width, height = np.array([length, width, height]) * (
            1.0 + spread * np.clip(rng.standard_normal(3), -2.0, 2.0)
        )
        heavy = kind in (AgentKind.TRUCK, AgentKind.BUS)
        values = {
            "speed_factor": float(np.clip(rng.normal(1.0, 0.1), 0.8, 1.2))
            * (0.9 if heavy else 1.0),
            "headway": rng.uniform(1.0, 1.8),
            "min_gap": rng.uniform(1.5, 2.5),
            "acceleration": rng.uniform(1.2, 2.0) * (0.6 if heavy else 1.0),
            "deceleration": rng.uniform(1.8, 2.5),
            "politeness": rng.uniform(0.0, 0.5),
        }
    if kind == AgentKind.CYCLIST:
        side = 1.0 if road_map.left_hand else -1.0
        lateral = float(changes.get("lateral_offset", side * 1.0))
        values |= {"max_speed": 5.5, "politeness": -1.0, "lateral_offset": lateral}
    x, y, z, heading = pose_on(road_map, lane, s, lateral)
    fields: dict = {
        "kind": kind, "x": x, "y": y, "z": z, "heading": heading, "length": float(length),
        "width": float(width), "height": float(height), "lane": lane, "s": s,
    }  # fmt: skip
    return RoadUser(**(fields | values | changes))


def traffic(
    road_map: RoadMap,
    rng: np.random.Generator,
    count: int,
    *,
    keep_clear: Sequence[tuple[float, float, float]] = (),
) -> list[RoadUser]:
    """``count`` vehicles spread over the driving lanes outside junctions, wandering by seed.

    Args:
        keep_clear: (x, y, radius) circles to leave empty, for the ego and scripted agents.

    Raises:
        RoadloopError: the map has no room for that many.
    """
    driving = (road_map.lane_kind == LaneKind.DRIVING) & (road_map.lane_junction < 0)
    lanes = np.flatnonzero(driving & (road_map.lane_length > 12.0))
    if len(lanes) == 0 and count > 0:
        raise RoadloopError(f"map {road_map.name} has no lane of 12 m to place traffic on")
    total = float(road_map.lane_length[lanes].sum())
    if count * MIN_SPACE > total:
        raise RoadloopError(
            f"map {road_map.name} has {total:.0f} m of lanes, {count} agents take at least "
            f"{MIN_SPACE:.0f} m each: ask for fewer"
        )
    share = road_map.lane_length[lanes] / total
    kinds = list(MIX)
    users: list[RoadUser] = []
    for _try in range(60 * count + 200):
        if len(users) == count:
            return users
        lane = int(rng.choice(lanes, p=share))
        s = float(rng.uniform(6.0, road_map.lane_length[lane] - 6.0))
        kind = AgentKind(kinds[rng.choice(len(kinds), p=list(MIX.values()))])
        # Slow enough to stop at the lane's end: nobody starts in front of a red light at speed.
        speed = np.sqrt(4.0 * max(road_map.lane_length[lane] - s - 5.0, 0.0))
        speed = min(
            speed, 4.0 if kind == AgentKind.CYCLIST else 0.5 * road_map.lane_speed_limit[lane]
        )
        user = user_on(road_map, lane, s, kind, rng=rng, speed=float(min(speed, 14.0)))
        if any(np.hypot(user.x - x, user.y - y) < r for x, y, r in keep_clear):
            continue
        if any(_too_close(user, other) for other in users):
            continue
        users.append(user)
    raise RoadloopError(
        f"map {road_map.name} has room for {len(users)} of {count} agents: ask for fewer"
    )


def _too_close(a: RoadUser, b: RoadUser) -> bool:
    reach = 0.5 * (a.length + b.length)
    if a.lane == b.lane:
        return abs(a.s - b.s) < reach + 4.0
    return bool(np.hypot(a.x - b.x, a.y - b.y) < max(reach + 1.0, 3.0)) and not _abreast(a, b)


def _abreast(a: RoadUser, b: RoadUser) -> bool:
    """On lanes side by side, clear of each other."""
    across = (b.y - a.y) * np.cos(a.heading) - (b.x - a.x) * np.sin(a.heading)
    parallel = abs(np.sin(a.heading - b.heading)) < 0.1
    return bool(parallel and abs(across) > 0.5 * (a.width + b.width) + 0.6)


def pedestrians(road_map: RoadMap, rng: np.random.Generator, count: int) -> list[RoadUser]:
    """Up to ``count`` pedestrians who cross at the map's crosswalks, to and fro."""
    crosswalks = np.unique(road_map.crossing_crosswalk)
    users = []
    for crosswalk in rng.permutation(crosswalks)[:count]:
        row = int(np.flatnonzero(road_map.crossing_crosswalk == crosswalk)[0])
        users.append(walker_at(road_map, row, rng, far_side=bool(rng.integers(2))))
    return users


def walker_at(
    road_map: RoadMap,
    crossing: int,
    rng: np.random.Generator,
    *,
    far_side: bool = False,
    aside: float = 0.0,
    **changes: Any,
) -> RoadUser:
    """A pedestrian at the kerb of a crosswalk, about to walk across lane ``crossing_lane``.

    Args:
        crossing: row of the map's crossing arrays.
        far_side: start at the left of the lane (beyond oncoming traffic) instead of the right.
        aside: m along the lane from the middle of the crosswalk, for walkers side by side.
    """
    walk = road_map.crossing_crosswalk[crossing]
    rows = slice(road_map.crosswalk_start[walk], road_map.crosswalk_start[walk + 1])
    corners = road_map.crosswalk_xyz[rows]
    lane = int(road_map.crossing_lane[crossing])
    middle = 0.5 * (road_map.crossing_from[crossing] + road_map.crossing_to[crossing])
    heading = pose_on(road_map, lane, float(middle))[3]
    left = np.array([-np.sin(heading), np.cos(heading)])
    centre = corners[:, :2].mean(0) + aside * np.array([np.cos(heading), np.sin(heading)])
    across = (corners[:, :2] - centre) @ left
    right_end, left_end = (centre + left * t for t in (across.min() - 0.8, across.max() + 0.8))
    start, goal = (left_end, right_end) if far_side else (right_end, left_end)
    (length, width, height), spread = SIZES[AgentKind.PEDESTRIAN]
    fields: dict = {
        "kind": AgentKind.PEDESTRIAN, "x": start[0], "y": start[1], "z": float(corners[0, 2]),
        "heading": float(np.arctan2(*(goal - start)[::-1])), "length": length, "width": width,
        "height": height * (1.0 + spread * float(np.clip(rng.standard_normal(), -2, 2))),
        "behaviour": Behaviour.WALK, "walk_to": (float(goal[0]), float(goal[1])),
        "max_speed": float(np.clip(rng.normal(1.35, 0.2), 0.9, 1.8)),
    }  # fmt: skip
    return RoadUser(**(fields | changes))
