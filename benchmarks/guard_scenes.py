"""What the guard is tried on: scenes drawn at random, and what goes wrong in them.

A `Scene` is an ego at constant speed on a real route with road users around it who go straight on.
`PLANS` are the ways in which its innocent plan is spoilt, `SENSES` those in which perception is;
`Shown` is one step of a case as the guard gets to see it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roadloop.maps.path import Path, route_path
from roadloop.types import (
    AgentKind,
    AgentStates,
    EgoState,
    Observation,
    Scenario,
    Tracks,
    Trajectory,
    VehicleParameters,
)

DT = 0.1
VEHICLE = VehicleParameters()
MANNERS = ["ahead", "beside", "oncoming", "behind", "crossing", "walker", "parked"]
LASTING = ("no tracks", "frozen tracks", "stale stamps")
"""kinds that go wrong for a while, not for one step"""
Array = np.ndarray
Rng = np.random.Generator


@dataclass
class Scene:
    """An ego at ``s`` on a route with ``speed``, and road users by rows x, y, heading, speed."""

    scenario: Scenario
    path: Path
    s: float
    speed: float
    users: Array
    """(n, 4) at time 0"""
    kind: Array
    size: Array
    """(n, 2) m, length and width"""

    def ego(self, time: float) -> EgoState:
        """At constant speed along the route."""
        at = self.path.at(self.s + self.speed * time)
        zero = np.float64(0.0)
        speed = np.float64(self.speed)
        return EgoState(at.x, at.y, zero, at.heading, speed, zero, zero, speed * at.curvature)

    def users_at(self, time: float) -> Array:
        """(n, 4), straight on."""
        x, y, heading, speed = self.users.T
        far = speed * time
        x, y = x + far * np.cos(heading), y + far * np.sin(heading)
        return np.column_stack([x, y, heading, speed])

    def tracks(self, time: float) -> Tracks:
        """What is true."""
        return tracks_of(self.users_at(time), self.kind, self.size)

    def plan(self, time: float, deceleration: float = 0.0, horizon: float = 5.0) -> Trajectory:
        """Along the route at the present speed, or braking."""
        t = np.arange(round(horizon / DT) + 1) * DT
        pace = np.maximum(self.speed - deceleration * t, 0.0)
        way = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * DT)])
        at = self.path.at(self.s + self.speed * time + way)
        return Trajectory(at.x, at.y, at.heading, pace, DT)


def tracks_of(users: Array, kind: Array, size: Array) -> Tracks:
    """Rows as tracks, exact ones."""
    n, (x, y, heading, speed) = len(users), users.T
    states = AgentStates(
        id=np.arange(n) + 1,
        kind=kind,
        x=x,
        y=y,
        z=np.zeros(n),
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=size[:, 0],
        width=size[:, 1],
        height=np.full(n, 1.6),
        valid=np.ones(n, bool),
    )
    return Tracks(states, np.zeros(n), np.arange(n) + 10)


def make_scene(rng: Rng, routes: list[tuple[Scenario, Path]]) -> Scene:
    """An ego between 0 and 25 m/s and up to five road users that do not touch it yet."""
    scenario, path = routes[int(rng.integers(len(routes)))]
    s = float(rng.uniform(20.0, path.length - 160.0))
    paces = [0.0, rng.uniform(1.0, 8.0), rng.uniform(5.0, 25.0)]
    speed = float(rng.choice(paces, p=[0.1, 0.3, 0.6]))
    rows, kinds, sizes = [], [], []
    for _ in range(int(rng.integers(1, 6))):
        manner = rng.choice(MANNERS)
        gap, left, pace, turn = rng.uniform(6.0, 60.0), 0.0, rng.uniform(0.0, 1.3) * speed, 0.0
        length, width, kind = 4.5, 1.8, AgentKind.CAR
        if manner == "beside":
            gap, left = rng.uniform(-12.0, 20.0), float(rng.choice([-3.5, 3.5]))
        elif manner == "oncoming":
            gap, turn = rng.uniform(20.0, 120.0), np.pi
            left = float(rng.choice([0.0, 3.5], p=[0.3, 0.7]))
            pace = rng.uniform(2.0, 15.0)
        elif manner == "behind":
            gap, pace = -rng.uniform(6.0, 30.0), rng.uniform(0.0, 20.0)
        elif manner == "crossing":
            side = float(rng.choice([-1.0, 1.0]))
            left, turn = side * rng.uniform(3.0, 25.0), -side * np.pi / 2.0
            pace = rng.uniform(0.0, 12.0)
        elif manner == "walker":
            side = float(rng.choice([-1.0, 1.0]))
            left, turn = side * rng.uniform(1.5, 8.0), -side * np.pi / 2.0 + rng.normal(0.0, 0.5)
            pace, kind, length, width = rng.uniform(0.0, 2.5), AgentKind.PEDESTRIAN, 0.6, 0.6
        elif manner == "parked":
            left, pace = float(rng.uniform(-3.0, 3.0)), 0.0
        at = path.at(s + VEHICLE.centre_offset + gap)
        x, y = at.x - left * np.sin(at.heading), at.y + left * np.cos(at.heading)
        rows.append([float(x), float(y), float(at.heading) + turn, float(pace)])
        kinds.append(kind)
        sizes.append([length, width])
    return Scene(
        scenario, path, s, speed, np.array(rows), np.array(kinds, np.uint8), np.array(sizes)
    )


def routes() -> list[tuple[Scenario, Path]]:
    """Routes long enough, of scenarios of the simulator."""
    from sim.scenarios import build_scenario

    found = []
    for family, seed in (("lane_following", 0), ("lane_following", 1), ("cut_in", 0)):
        scenario = build_scenario(family, seed=seed)
        found.append((scenario, route_path(scenario.road_map, scenario.route)))
    return [(scenario, path) for scenario, path in found if path.length > 300.0]


def _same(plan: Trajectory, scene: Scene, time: float, rng: Rng) -> object:
    return plan


def _aside(plan: Trajectory, scene: Scene, time: float, rng: Rng) -> object:
    """A lane change, without looking."""
    t = np.arange(len(plan.x)) * plan.dt
    w = np.clip(t / rng.uniform(2.0, 4.0), 0.0, 1.0)
    left = float(rng.choice([-3.5, 3.5])) * w**3 * (10.0 - 15.0 * w + 6.0 * w**2)
    x, y = plan.x - left * np.sin(plan.heading), plan.y + left * np.cos(plan.heading)
    turn = np.arctan2(np.gradient(left, plan.dt), np.maximum(plan.speed, 1.0))
    return dataclasses.replace(plan, x=x, y=y, heading=plan.heading + turn)


PLANS: dict[str, Callable[[Trajectory, Scene, float, Rng], object]] = {
    "straight through": _same,
    "faster and faster": lambda p, s, t, r: _at_speed(s, t, s.speed + 3.0 * _t(p)),
    "brakes a little": lambda p, s, t, r: s.plan(t, r.uniform(0.5, 4.0)),
    "brakes hard": lambda p, s, t, r: s.plan(t, r.uniform(6.0, 8.0)),
    "changes lane": _aside,
    "NaN": lambda p, s, t, r: dataclasses.replace(p, x=_spoilt(p.x, r, np.nan)),
    "infinity": lambda p, s, t, r: dataclasses.replace(p, speed=_spoilt(p.speed, r, np.inf)),
    "none": lambda p, s, t, r: None,
    "no trajectory": lambda p, s, t, r: [1.0, 2.0],
    "lengths": lambda p, s, t, r: dataclasses.replace(p, x=p.x[:-1]),
    "empty": lambda p, s, t, r: dataclasses.replace(
        p, **{n: np.zeros(0) for n in ("x", "y", "heading", "speed")}
    ),
    "batch": lambda p, s, t, r: dataclasses.replace(p, x=p.x[None], y=p.y[None]),
    "wrong dt": lambda p, s, t, r: dataclasses.replace(p, dt=float(r.choice([0.02, 0.3, 0.5]))),
    "bad dt": lambda p, s, t, r: dataclasses.replace(p, dt=float(r.choice([0, -1, np.nan, 9]))),
    "reversed": lambda p, s, t, r: dataclasses.replace(
        p, x=p.x[::-1], y=p.y[::-1], heading=p.heading[::-1]
    ),
    "turned round": lambda p, s, t, r: dataclasses.replace(p, heading=p.heading + np.pi),
    "elsewhere": lambda p, s, t, r: dataclasses.replace(p, y=p.y + r.uniform(3.0, 50.0)),
    "old": lambda p, s, t, r: s.plan(t - r.uniform(2.0, 5.0)),
    "random poses": lambda p, s, t, r: dataclasses.replace(p, x=p.x + r.normal(0.0, 5.0, len(p.x))),
    "spins": lambda p, s, t, r: _circle(s.ego(t), s.speed, r.uniform(0.3, 3.0)),
    "skids": lambda p, s, t, r: _circle(s.ego(t), s.speed, r.uniform(0.02, 0.24)),
    "backwards": lambda p, s, t, r: dataclasses.replace(p, speed=-np.abs(p.speed) - 1.0),
    "raises": lambda p, s, t, r: KeyError("no such lane\nnowhere"),
}
"""kind -> what becomes of an innocent plan"""

SENSES = ("teleporting tracks", "no tracks", "frozen tracks", "stale stamps", "NaN tracks")
"""kinds of perception gone wrong, under an innocent plan"""


def _t(plan: Trajectory) -> Array:
    return np.arange(len(plan.x)) * plan.dt


def _at_speed(scene: Scene, time: float, pace: Array) -> Trajectory:
    way = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * DT)])
    at = scene.path.at(scene.s + scene.speed * time + way)
    return Trajectory(at.x, at.y, at.heading, pace, DT)


def _spoilt(values: Array, rng: Rng, with_what: float) -> Array:
    values = values.copy()
    values[rng.integers(len(values))] = with_what
    return values


def _circle(ego: EgoState, speed: float, curvature: float) -> Trajectory:
    way = np.arange(51) * DT * speed
    turn, heading = curvature * way, float(ego.heading)
    x = float(ego.x) + (np.sin(heading + turn) - np.sin(heading)) / curvature
    y = float(ego.y) - (np.cos(heading + turn) - np.cos(heading)) / curvature
    return Trajectory(x, y, np.angle(np.exp(1j * (heading + turn))), np.full(51, speed), DT)


@dataclass(frozen=True)
class Shown:
    """One step of a case: what the guard is given, and what the judge takes for true."""

    observation: Observation
    tracks: Tracks | None
    plan: object
    users: Array
    """as `Scene.users`; who jumped is at both places, who froze where he froze"""


def show(scene: Scene, kind: str, step: int, since: int, rng: Rng) -> Shown:
    """Step number ``step`` of a case in which ``kind`` goes wrong after step ``since``."""
    time, wrong = step * DT, step > since
    tracks: Tracks | None = scene.tracks(time)
    users, stamp = scene.users_at(time), time
    plan: object = scene.plan(time)
    if wrong and kind in PLANS:
        plan = PLANS[kind](scene.plan(time), scene, time, rng)
    elif wrong and kind == "teleporting tracks":
        jumped = users.copy()
        jumped[0, 0] += float(rng.choice([-1.0, 1.0])) * rng.uniform(8.0, 40.0)
        tracks = tracks_of(jumped, scene.kind, scene.size)
        users = np.concatenate([users, jumped[:1]])
    elif wrong and kind == "no tracks":
        tracks = None
    elif wrong and kind == "frozen tracks":
        users = scene.users_at(since * DT)
        tracks = tracks_of(users, scene.kind, scene.size)
    elif wrong and kind == "stale stamps":
        stamp = since * DT
    elif wrong and kind == "NaN tracks":
        broken = users.copy()
        broken[0, :2] = np.nan
        tracks = tracks_of(broken, scene.kind, scene.size)
    seen = Observation(step=step, time=stamp, dt=DT, ego=scene.ego(time), tracks=tracks)
    return Shown(seen, tracks, plan, users)
