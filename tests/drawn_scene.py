"""A crossroads and a 20 s drive over it, made by hand: what the tests of pictures look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from roadloop.maps.road_map import (
    LaneKind,
    MarkColour,
    MarkKind,
    RoadMap,
    SignalKind,
)
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    LightState,
    Rollout,
    Route,
)

Array = np.ndarray
DT = 0.1
STEPS = 200
LANE = 3.5
STOP_AT = 12.0  # m from the centre of the crossing, where its lanes begin


@dataclass
class _Lanes:
    """Lanes and marks as they are collected."""

    lines: list[Array] = field(default_factory=list)
    kinds: list[LaneKind] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    junctions: list[int] = field(default_factory=list)
    marks: list[tuple[Array, MarkKind, MarkColour, float]] = field(default_factory=list)

    def add(self, line: Array, kind: LaneKind, width: float, junction: int = -1) -> int:
        self.lines.append(line)
        self.kinds.append(kind)
        self.widths.append(width)
        self.junctions.append(junction)
        return len(self.lines) - 1


def turned(points: Array, angle: float) -> Array:
    """Points ``(..., 2)`` turned counter-clockwise about the origin."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def straight(a: tuple[float, float], b: tuple[float, float]) -> Array:
    """Points every half metre from ``a`` to ``b``."""
    n = max(2, int(np.ceil(np.hypot(b[0] - a[0], b[1] - a[1]) / 0.5)) + 1)
    return np.linspace(a, b, n)


def curve(a: Array, b: Array, corner: Array) -> Array:
    """A quadratic Bezier curve from ``a`` to ``b``."""
    t = np.linspace(0, 1, 60)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * corner + t**2 * b


def crossroads(arm: float = 150.0) -> RoadMap:
    """Four arms of two lanes each way, pavements, zebra crossings, a light per arm."""
    made = _Lanes()
    entries = []
    stops: list[tuple[int, float, int]] = []
    walks = []
    for i in range(4):
        angle = i * np.pi / 2
        for k in range(2):
            y = LANE * (k + 0.5)
            made.add(turned(straight((STOP_AT, -y), (arm, -y)), angle), LaneKind.DRIVING, LANE)
            entry = turned(straight((arm, y), (STOP_AT, y)), angle)
            made.add(entry, LaneKind.DRIVING, LANE)
            entries.append(entry)
            across = turned(np.array([[STOP_AT, y], [-STOP_AT, y]]), angle)
            lane = made.add(straight(tuple(across[0]), tuple(across[1])), LaneKind.DRIVING, LANE, 0)
            stops.append((lane, 0.0, i))
        right = turned(
            curve(*(np.array(p) for p in ((STOP_AT, 5.25), (5.25, STOP_AT), (5.25, 5.25)))), angle
        )
        made.add(right, LaneKind.DRIVING, LANE, 0)
        for side in (-1, 1):
            made.add(
                turned(straight((STOP_AT, side * 8.5), (arm, side * 8.5)), angle),
                LaneKind.SIDEWALK,
                3.0,
            )
            edge = turned(straight((STOP_AT, side * 7.0), (arm, side * 7.0)), angle)
            made.marks.append((edge, MarkKind.SOLID, MarkColour.WHITE, 0.15))
            divide = turned(straight((STOP_AT, side * LANE), (arm, side * LANE)), angle)
            made.marks.append((divide, MarkKind.BROKEN, MarkColour.WHITE, 0.15))
        middle = turned(straight((STOP_AT, 0.0), (arm, 0.0)), angle)
        made.marks.append((middle, MarkKind.SOLID_SOLID, MarkColour.YELLOW, 0.12))
        walks.append(turned(np.array([[13.5, -7], [16.5, -7], [16.5, 7], [13.5, 7.0]]), angle))
    return _road_map(made, stops, walks)


def _road_map(made: _Lanes, stops: list[tuple[int, float, int]], walks: list[Array]) -> RoadMap:
    """The arrays of a RoadMap; what pictures do not look at stays empty."""
    n = len(made.lines)
    counts = [len(line) for line in made.lines]
    xy = np.concatenate(made.lines)
    steps = [np.concatenate([[0], np.cumsum(np.hypot(*np.diff(a, axis=0).T))]) for a in made.lines]
    headings = [np.arctan2(*np.gradient(a, axis=0).T[::-1]) for a in made.lines]
    mark_xy = np.concatenate([m[0] for m in made.marks])
    walk_xy = np.concatenate(walks)
    signal = np.array([[STOP_AT * np.cos(a) - 9 * np.sin(a), STOP_AT * np.sin(a) + 9 * np.cos(a)]
                       for a in np.arange(4) * np.pi / 2])  # fmt: skip
    ints = np.zeros(0, np.int32)
    floats = np.zeros(0)

    def flat(points: Array) -> Array:
        return np.concatenate([points, np.zeros((len(points), 1))], axis=1)

    return RoadMap(
        name="crossroads",
        content_hash="0123456789abcdef" * 4,
        georeference="",
        left_hand=False,
        unsupported=(),
        lane_road=np.array([str(i) for i in range(n)]),
        lane_section=np.zeros(n, np.int32),
        lane_number=np.full(n, -1, np.int32),
        lane_kind=np.array(made.kinds, np.uint8),
        lane_junction=np.array(made.junctions, np.int32),
        lane_length=np.array([s[-1] for s in steps]),
        lane_speed_limit=np.full(n, 13.9),
        lane_left=np.full(n, -1, np.int32),
        lane_right=np.full(n, -1, np.int32),
        lane_opposite=np.full(n, -1, np.int32),
        lane_change_left=np.zeros(n, bool),
        lane_change_right=np.zeros(n, bool),
        successor_start=np.zeros(n + 1, np.int32),
        successor=ints,
        predecessor_start=np.zeros(n + 1, np.int32),
        predecessor=ints,
        point_start=np.cumsum([0, *counts]).astype(np.int32),
        point_s=np.concatenate(steps),
        point_xyz=flat(xy),
        point_heading=np.concatenate(headings),
        point_curvature=np.zeros(len(xy)),
        point_width=np.repeat(made.widths, counts),
        point_bank=np.zeros(len(xy)),
        signal_id=np.array([str(i) for i in range(4)]),
        signal_kind=np.full(4, SignalKind.TRAFFIC_LIGHT, np.uint8),
        signal_xyz=flat(signal),
        signal_heading=np.arange(4) * np.pi / 2 + np.pi,
        signal_value=np.zeros(4),
        signal_controller=np.array([0, 1, 0, 1], np.int32),
        signal_junction=np.zeros(4, np.int32),
        stop_lane=np.array([s[0] for s in stops], np.int32),
        stop_s=np.array([s[1] for s in stops]),
        stop_signal=np.array([s[2] for s in stops], np.int32),
        junction_id=np.array(["0"]),
        junction_is_roundabout=np.zeros(1, bool),
        priority_high=np.array([], "U1"),
        priority_low=np.array([], "U1"),
        priority_junction=ints,
        conflict_start=np.zeros(n + 1, np.int32),
        conflict_lane=ints,
        conflict_kind=np.zeros(0, np.uint8),
        conflict_from=floats,
        conflict_to=floats,
        conflict_other_from=floats,
        conflict_other_to=floats,
        conflict_yield=np.zeros(0, np.int8),
        crosswalk_start=np.arange(len(walks) + 1, dtype=np.int32) * 4,
        crosswalk_xyz=flat(walk_xy),
        crossing_lane=ints,
        crossing_from=floats,
        crossing_to=floats,
        crossing_crosswalk=ints,
        mark_start=np.cumsum([0, *(len(m[0]) for m in made.marks)]).astype(np.int32),
        mark_xyz=flat(mark_xy),
        mark_kind=np.array([m[1] for m in made.marks], np.uint8),
        mark_colour=np.array([m[2] for m in made.marks], np.uint8),
        mark_width=np.array([m[3] for m in made.marks]),
    )


# kind, length, width, height, x, y and heading at the start, speed
_CAST = (
    (AgentKind.CAR, 4.6, 1.9, 1.5, 110.0, 1.75, np.pi, 11.0),
    (AgentKind.TRUCK, 9.5, 2.5, 3.4, 80.0, 5.25, np.pi, 8.0),
    (AgentKind.BUS, 12.0, 2.55, 3.2, -20.0, -5.25, 0.0, 5.0),
    (AgentKind.VAN, 5.6, 2.1, 2.2, 5.25, -60.0, np.pi / 2, 0.5),
    (AgentKind.MOTORCYCLE, 2.1, 0.8, 1.4, -1.75, 80.0, -np.pi / 2, 2.5),
    (AgentKind.CYCLIST, 1.8, 0.6, 1.7, -6.3, 100.0, -np.pi / 2, 3.5),
    (AgentKind.PEDESTRIAN, 0.5, 0.5, 1.7, 15.0, -9.0, np.pi / 2, 1.2),
    (AgentKind.STATIC, 4.6, 1.9, 1.5, 40.0, -6.3, 0.0, 0.0),
)


def drive(road_map: RoadMap, steps: int = STEPS) -> Rollout:
    """The ego comes from the west at 12 m/s, brakes for the pedestrian and drives on."""
    time = np.arange(steps) * DT
    speed = np.interp(time, [0, 6, 8.5, 11, 16, 1e9], [12.0, 12, 2, 2, 13, 13])
    acceleration = np.gradient(speed, DT)
    x = -75 + np.concatenate([[0], np.cumsum(speed[:-1])]) * DT
    y = -1.75 + 0.15 * np.sin(time)
    heading = np.arctan2(np.gradient(y), np.gradient(x))
    zero = np.zeros(steps)
    ego = EgoState(
        x, y, zero, heading, speed, acceleration, 0.05 * np.sin(1.3 * time), np.gradient(heading)
    )
    kind, length, width, height, x0, y0, h, v = (
        np.array(c, np.float64) for c in zip(*_CAST, strict=True)
    )
    n = len(_CAST)

    def steady(row: Array) -> Array:
        return np.broadcast_to(row, (steps, n)).copy()

    valid = np.ones((steps, n), bool)
    valid[: steps // 4, 5] = False  # the cyclist appears late
    agents = AgentStates(
        id=steady(np.arange(100, 100 + n)),
        kind=steady(kind).astype(np.uint8),
        x=x0 + time[:, None] * v * np.cos(h),
        y=y0 + time[:, None] * v * np.sin(h),
        z=steady(np.zeros(n)),
        heading=steady(h),
        vx=steady(v * np.cos(h)),
        vy=steady(v * np.sin(h)),
        length=steady(length),
        width=steady(width),
        height=steady(height),
        valid=valid,
    )
    lights = np.where(
        np.arange(4)[None, :] % 2 == 0,
        np.where(time < 14, LightState.GREEN, LightState.YELLOW)[:, None],
        LightState.RED,
    ).astype(np.uint8)
    ahead = np.arange(30) * 0.1
    plan = np.stack(
        [
            x[:, None] + speed[:, None] * ahead,
            np.broadcast_to(y[:, None] * 0 - 1.75, (steps, 30)),
            np.maximum(speed[:, None] + acceleration[:, None] * ahead, 0),
        ],
        axis=-1,
    )
    plan[:3] = np.nan
    return Rollout(
        scenario="crossing_pedestrian",
        family="junction",
        seed=7,
        driver="rule_based",
        map_name=road_map.name,
        map_hash=road_map.content_hash,
        dt=DT,
        time=time,
        ego=ego,
        control=Control(acceleration, np.zeros(steps)),
        agents=agents,
        lights=lights,
        plan=plan,
        route=Route(np.array([0], np.int32), 0.0, 10.0),
        finished=True,
    )


def score(rollout: Rollout) -> SimpleNamespace:
    """A score in the shape of roadloop.scoring, with two lost terms."""
    steps = len(rollout.time)
    ttc = np.full(steps, np.inf)
    ttc[50:85] = np.linspace(4.5, 0.7, 35)[: max(0, min(35, steps - 50))] if steps >= 85 else 1.0
    term = SimpleNamespace
    terms = (
        term(name="no_collision", title="No collision at fault", value=1.0, unit="", passed=True,
             lost_at=None, detail="no contact"),
        term(name="ttc", title="Time to collision", value=0.7, unit="s", passed=False, lost_at=8.1,
             detail="below 0.95 s with pedestrian 106 <ahead>"),
        term(name="comfort", title="Comfort", value=0.0, unit="", passed=False, lost_at=13.4,
             detail="acceleration 4.9 m/s² above 2.4"),
        term(name="progress", title="Progress on the route", value=0.93, unit="", passed=None,
             lost_at=None, detail="152 m of 163 m"),
        term(name="limit", title="Speed limit kept", value=None, unit="m/s", passed=None,
             lost_at=None, detail="the map states no limit here"),
    )  # fmt: skip
    series = {
        "ttc": ttc,
        "acceleration_lon": rollout.ego.acceleration,
        "acceleration_lat": rollout.ego.speed * rollout.ego.yaw_rate,
        "jerk": np.gradient(rollout.ego.acceleration, DT),
        "route_progress": rollout.ego.x - rollout.ego.x[0],
        "speed_limit": np.full(steps, 13.9),
    }
    return SimpleNamespace(version="terms-1", terms=terms, series=series)
