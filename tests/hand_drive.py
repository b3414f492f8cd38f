"""A crossroads and drives on it, written down by hand for tests of scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadloop.maps.road_map import RoadMap
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    Rollout,
    Route,
    VehicleParameters,
)
from tests.hand_map import HandLane, HandMap, bezier, straight

CAR = VehicleParameters()
DT = 0.1
Move = Callable[[np.ndarray], np.ndarray]


def keep(points: np.ndarray) -> np.ndarray:
    return points


def crossroads(move: Move = keep, mirrored: bool = False) -> RoadMap:
    """Lanes 0, 1 (and 2 back) east to x = 100, through or right at a junction, then 5 or 6."""

    def lane(points: np.ndarray, left: int = -1, right: int = -1, **more: object) -> HandLane:
        sides = {"left": right, "right": left} if mirrored else {"left": left, "right": right}
        return HandLane(move(points), **sides, **more)  # type: ignore[arg-type]

    turn = bezier((100, -3.5), 0.0, (115, -18.5), -np.pi / 2)
    return HandMap(
        [
            lane(straight((0, 0), (100, 0)), right=1, number=-1, successors=(3,), opposite=2),
            lane(straight((0, -3.5), (100, -3.5)), left=0, number=-2, successors=(4,)),
            lane(straight((100, 3.5), (0, 3.5)), number=1, opposite=0),
            lane(straight((100, 0), (130, 0)), road="1", junction=0, successors=(5,)),
            lane(turn, road="2", junction=0, successors=(6,), speed_limit=8.0),
            lane(straight((130, 0), (230, 0)), road="3"),
            lane(straight((115, -18.5), (115, -120)), road="4", speed_limit=11.0),
        ],
        junctions=1,
        left_hand=mirrored,
    ).build()


def rollout_of(
    road_map: RoadMap,
    path: np.ndarray,
    agents: list[tuple[AgentKind, float, float, np.ndarray]] = (),  # type: ignore[assignment]
    *,
    lanes: tuple[int, ...] = (0, 3, 5),
    goal: float = 60.0,
) -> Rollout:
    """Rear-axle path (time, 3) of x, y, heading among (kind, length, width, path of centre)."""
    x, y, heading = np.asarray(path, dtype=float).T
    steps = len(x)
    zero = np.zeros(steps)
    v = np.stack([np.gradient(x, DT), np.gradient(y, DT)]) if steps > 1 else np.zeros((2, steps))
    speed = v[0] * np.cos(heading) + v[1] * np.sin(heading)
    turned = np.unwrap(heading)
    ego = EgoState(
        x,
        y,
        zero,
        heading,
        speed,
        np.gradient(speed, DT) if steps > 1 else zero,
        zero,
        np.gradient(turned, DT) if steps > 1 else zero,
        CAR,
    )
    shape = (steps, len(agents))
    poses = np.zeros((*shape, 3))
    for column, (*_, states) in enumerate(agents):
        poses[:, column] = states
    moved = np.zeros_like(poses)
    if steps > 1 and len(agents):
        moved = np.asarray(np.gradient(poses, DT, axis=0))

    def each(values: list, dtype: type = float) -> np.ndarray:
        return np.broadcast_to(np.array(values, dtype=dtype), shape)

    return Rollout(
        scenario="by_hand",
        family="by_hand",
        seed=0,
        driver="hand",
        map_name=road_map.name,
        map_hash=road_map.content_hash,
        dt=DT,
        time=np.arange(steps) * DT,
        ego=ego,
        control=Control(zero, zero),
        agents=AgentStates(
            id=each(list(range(11, 11 + len(agents))), int),
            kind=each([agent[0] for agent in agents], np.uint8),
            x=poses[..., 0],
            y=poses[..., 1],
            z=np.zeros(shape),
            heading=poses[..., 2],
            vx=moved[..., 0],
            vy=moved[..., 1],
            length=each([agent[1] for agent in agents]),
            width=each([agent[2] for agent in agents]),
            height=np.ones(shape),
            valid=np.ones(shape, dtype=bool),
        ),
        lights=np.zeros((steps, 0), np.uint8),
        plan=np.zeros((steps, 0, 3)),
        route=Route(np.array(lanes, np.int32), 10.0, goal),
        finished=True,
    )


def ahead(speed: float, seconds: float = 8.0, x: float = 10.0, y: float = 0.0) -> np.ndarray:
    t = np.arange(round(seconds / DT) + 1) * DT
    return np.column_stack([x + speed * t, np.full(len(t), y), np.zeros(len(t))])
