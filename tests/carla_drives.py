"""Drives drawn by hand for the CARLA and Bench2Drive scores: a street, an ego path, road users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hand_map import HandLane, HandMap, HandSign, straight

from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.scoring.driven import Driven
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    LightState,
    Rollout,
    Route,
    VehicleParameters,
)

DT = 0.1
CAR = VehicleParameters()
START, LENGTH = 20.0, 203.0
"""m: where the route begins on the street, and its length; the last 3 m need not be driven"""
LINE = 100.0
"""m along the street, where its stop line is"""
LIMIT = 15.0
Path = Callable[[np.ndarray], tuple]


def street(
    sign: SignalKind | None = None, *, parking: bool = False, turn: float = 0.0, away: float = 0.0
) -> RoadMap:
    """300 m east, 3.5 m wide, along y = 0; the other way along y = 3.5; parking south of it.

    ``turn`` (rad) and ``away`` (m, both axes) move the whole scene.
    """

    def lane(start: tuple, end: tuple, **more) -> HandLane:
        return HandLane(moved(straight(start, end), turn, away), speed_limit=LIMIT, **more)

    lanes = [
        lane((0.0, 0.0), (300.0, 0.0), opposite=1),
        lane((300.0, 3.5), (0.0, 3.5), opposite=0, number=1),
    ]
    if parking:
        kind = LaneKind.PARKING
        lanes.append(lane((0.0, -2.75), (300.0, -2.75), width=2.0, kind=kind, number=-2))
    signs = [] if sign is None else [HandSign(sign, 0, LINE)]
    return HandMap(lanes, signs=signs).build()


def moved(points: np.ndarray, turn: float, away: float) -> np.ndarray:
    """(n, 2) points turned about the origin, then moved along both axes."""
    c, s = np.cos(turn), np.sin(turn)
    return points @ np.array([[c, s], [-s, c]]) + away


def seconds(n: float, dt: float = DT) -> np.ndarray:
    return np.arange(round(n / dt) + 1) * dt


def drive(
    x: np.ndarray,
    y: np.ndarray | float = 0.0,
    *,
    heading: np.ndarray | float = 0.0,
    agents: tuple[tuple[AgentKind, Path], ...] = (),
    light: Path | LightState | None = None,
    road: RoadMap | None = None,
    family: str = "by_hand",
    dt: float = DT,
    turn: float = 0.0,
    away: float = 0.0,
) -> Driven:
    """The box centre along ``x``, ``y`` on the street; an agent is time -> (x, y, heading, speed).

    ``light`` is the state of signal 0 or a function of time.
    """
    road = street(turn=turn, away=away) if road is None else road
    x = np.asarray(x, dtype=float)
    t = np.arange(len(x)) * dt
    y, heading = np.broadcast_to(y, x.shape), np.broadcast_to(heading, x.shape) + turn
    gone = np.gradient(np.column_stack([x, y]), dt, axis=0) if len(x) > 1 else np.zeros((1, 2))
    speed = np.hypot(*gone.T)
    centre = moved(np.column_stack([x, y]), turn, away)
    zero, back = np.zeros(len(x)), CAR.centre_offset
    turning = np.gradient(np.unwrap(heading), dt) if len(x) > 1 else zero
    ego = EgoState(
        x=centre[:, 0] - back * np.cos(heading),
        y=centre[:, 1] - back * np.sin(heading),
        z=zero,
        heading=heading,
        speed=speed,
        acceleration=np.gradient(speed, dt) if len(x) > 1 else zero,
        steering=zero,
        yaw_rate=turning,
        vehicle=CAR,
    )
    lights = np.zeros((len(x), len(road.signal_kind)), np.uint8)
    if light is not None:
        lights[:, 0] = light(t) if callable(light) else light
    return Driven(
        Rollout(
            scenario="by_hand",
            family=family,
            seed=0,
            driver="hand",
            map_name=road.name,
            map_hash=road.content_hash,
            dt=dt,
            time=t,
            ego=ego,
            control=Control(zero, zero),
            agents=_states(agents, t, turn, away),
            lights=lights,
            plan=np.zeros((len(x), 0, 3)),
            route=Route(np.array([0], np.int32), START, START + LENGTH),
            finished=True,
        ),
        road,
    )


def _states(
    agents: tuple[tuple[AgentKind, Path], ...], t: np.ndarray, turn: float, away: float
) -> AgentStates:
    shape = (len(t), len(agents))
    poses = np.zeros((*shape, 4))
    for column, (_, path) in enumerate(agents):
        for k, values in enumerate(path(t)):
            poses[:, column, k] = values
    place = moved(poses[..., :2].reshape(-1, 2), turn, away).reshape(*shape, 2)
    heading, speed = poses[..., 2] + turn, poses[..., 3]
    kinds = np.broadcast_to(np.array([kind for kind, _ in agents], np.uint8), shape)
    small = kinds == AgentKind.PEDESTRIAN
    return AgentStates(
        id=np.broadcast_to(np.arange(shape[1]) + 17, shape),
        kind=kinds,
        x=place[..., 0],
        y=place[..., 1],
        z=np.zeros(shape),
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=np.where(small, 0.6, 4.5),
        width=np.where(small, 0.6, 1.8),
        height=np.full(shape, 1.6),
        valid=np.ones(shape, dtype=bool),
    )


def agent(
    kind: AgentKind, x: float, y: float = 0.0, heading: float = 0.0, speed: float = 0.0
) -> tuple[AgentKind, Path]:
    """One that moves straight on."""

    def path(t: np.ndarray) -> tuple:
        gone = speed * t
        return x + gone * np.cos(heading), y + gone * np.sin(heading), heading, speed

    return kind, path


def whole_route(speed: float = 10.0, dt: float = DT) -> np.ndarray:
    """x over time of a drive from the route's begin to a little beyond its end."""
    return START + speed * seconds((LENGTH + 1.0) / speed, dt)
