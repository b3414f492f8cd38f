"""State of highway-env's road in our types and frame: its y axis points down, ours up."""

from __future__ import annotations

from typing import Any

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates, EgoState
from sim.highway.tasks import VEHICLE

Array = np.ndarray
Pushes = dict[int, Array]
"""(2,) m in their frame, by the id() of the vehicle"""

HEIGHT = 1.5
"""m of every vehicle and obstacle: theirs are flat"""


def ego_state(
    car: Any,
    push: Pushes | None = None,
    *,
    steering: float = 0.0,
    yaw_rate: float = 0.0,
    acceleration: float = 0.0,
) -> EgoState:
    """Their car as an EgoState: rear axle, y up.

    The speed of their kinematic bicycle is that of its centre, which slips sideways by
    ``atan(tan(steering) / 2)``; their dynamic one's is along its heading.
    """
    x, y, heading = pose_of(car, push)
    slip = 0.0 if hasattr(car, "lateral_speed") else np.arctan(0.5 * np.tan(steering))
    back = VEHICLE.centre_offset
    return EgoState(
        x=np.asarray(x - back * np.cos(heading)),
        y=np.asarray(y - back * np.sin(heading)),
        z=np.asarray(0.0),
        heading=np.asarray(heading),
        speed=np.asarray(car.speed * np.cos(slip)),
        acceleration=np.asarray(acceleration),
        steering=np.asarray(steering),
        yaw_rate=np.asarray(yaw_rate),
        vehicle=VEHICLE,
    )


def road_users(env: Any) -> list[Any]:
    """Their vehicles but the ego, then what else stands on the road and can be hit."""
    solid = [thing for thing in env.road.objects if thing.solid]  # landmarks are drive-through
    return [v for v in env.road.vehicles if v is not env.vehicle] + solid


def pose_of(thing: Any, push: Pushes | None = None) -> tuple[float, float, float]:
    """x, y, heading of the centre of one of their vehicles or objects, less its push."""
    heading = float(wrap_angle(-float(thing.heading)))
    x, y = thing.position - (push or {}).get(id(thing), 0.0)
    return float(x), -float(y), heading


def pushes(env: Any) -> Pushes:
    """How far their next step is going to push vehicles apart.

    Cars that would touch in the next step are moved aside in that step and count as crashed from
    then on, so that their boxes never meet. Without the push they do, as in any other world.
    """
    return {
        id(v): np.array(v.impact)
        for v in env.road.vehicles
        if v.impact is not None and not hasattr(v, "lateral_speed")  # the dynamic car ignores it
    }


def kind_of(thing: Any) -> AgentKind:
    """Theirs have no kind: what can act is a car, the rest never moves."""
    return AgentKind.CAR if hasattr(thing, "action") else AgentKind.STATIC


def agent_states(things: list[Any], ids: Array, push: Pushes) -> AgentStates:
    """Their vehicles and objects as ours, fields ``(things,)``."""
    poses = np.array([pose_of(thing, push) for thing in things]).reshape(-1, 3)
    velocity = np.array([thing.velocity for thing in things], np.float64).reshape(-1, 2)
    n = len(things)
    return AgentStates(
        id=ids,
        kind=np.array([kind_of(thing) for thing in things], np.uint8),
        x=poses[:, 0],
        y=poses[:, 1],
        z=np.zeros(n),
        heading=poses[:, 2],
        vx=velocity[:, 0],
        vy=-velocity[:, 1],
        length=np.array([thing.LENGTH for thing in things], np.float64),
        width=np.array([thing.WIDTH for thing in things], np.float64),
        height=np.full(n, HEIGHT),
        valid=np.ones(n, bool),
    )
