"""The guard against plans and scenes that no planner should make: thousands of them, seeded.

    python benchmarks/guard_fuzz.py [--cases 10000] [--seed 0]

Each case is an ego on a real route with road users around it, a few steps with an innocent plan,
then one of `PLANS` or `SENSES` gone wrong. What the guard lets through is judged by means of its
own, none of the guard's: time is stepped through in 0.05 s, and every constant deceleration from 0
to full braking is tried, along the guard's path and along the innocent one. Counted per kind:

- ``changed``: the guard did not hand the plan on as it was;
- ``rss``: what it handed on violates RSS: driven for the response time and then braked with
  6 m/s^2, it would touch somebody ahead who brakes as hard as RSS expects, and it does not brake
  that hard itself from the response time on; ``of``: how many of the plans that were given do;
- ``hits``: driven for the response time and then braked fully, it still meets somebody who goes
  straight on; ``of``: likewise;
- ``form``: not finite, not at the ego, or no way a car can go;
- ``state``: the guard did not stop the car though nothing was seen for too long, or moved it for
  somebody who runs into it from behind.

``rss`` and ``hits`` only count where one of the braking profiles does better. Exit status 1 where
anything but ``changed`` and ``of`` is not 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.guard import Guard
from roadloop.geometry import box_corners, boxes_overlap
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
RESPONSE, BRAKE_MIN, LEADER_BRAKES, FULL = 0.5, 6.0, 8.0, 8.0
"""s and m/s^2 that the guard promises (docs/guard.md)"""
TICK = 0.05
LOOK = 3.5
"""s, step and length of the judge's own simulation"""
STRAIGHT_ON = 2.0
"""s for which moving road users are believed to go straight on"""
CLEAR = 0.3
"""m by which a braking profile must do better to count as compliant"""
LAG = 0.15
"""s until the brakes answer, for the braking profiles that are tried"""
VEHICLE = VehicleParameters()
MANNERS = ["ahead", "beside", "oncoming", "behind", "crossing", "walker", "parked"]
Rng = np.random.Generator


@dataclass
class Scene:
    """An ego at ``s`` on a route with ``speed``, and road users by rows x, y, heading, speed."""

    scenario: Scenario
    path: Path
    s: float
    speed: float
    users: np.ndarray
    """(n, 4) at time 0"""
    kind: np.ndarray
    size: np.ndarray
    """(n, 2) m, length and width"""

    def ego(self, time: float) -> EgoState:
        """At constant speed along the route."""
        at = self.path.at(self.s + self.speed * time)
        zero = np.float64(0.0)
        speed = np.float64(self.speed)
        return EgoState(at.x, at.y, zero, at.heading, speed, zero, zero, speed * at.curvature)

    def users_at(self, time: float) -> np.ndarray:
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


def tracks_of(users: np.ndarray, kind: np.ndarray, size: np.ndarray) -> Tracks:
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


# --- what goes wrong ----------------------------------------------------------------------------


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


def _t(plan: Trajectory) -> np.ndarray:
    return np.arange(len(plan.x)) * plan.dt


def _at_speed(scene: Scene, time: float, pace: np.ndarray) -> Trajectory:
    way = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * DT)])
    at = scene.path.at(scene.s + scene.speed * time + way)
    return Trajectory(at.x, at.y, at.heading, pace, DT)


def _spoilt(values: np.ndarray, rng: Rng, with_what: float) -> np.ndarray:
    values = values.copy()
    values[rng.integers(len(values))] = with_what
    return values


def _circle(ego: EgoState, speed: float, curvature: float) -> Trajectory:
    way = np.arange(51) * DT * speed
    turn, heading = curvature * way, float(ego.heading)
    x = float(ego.x) + (np.sin(heading + turn) - np.sin(heading)) / curvature
    y = float(ego.y) - (np.cos(heading + turn) - np.cos(heading)) / curvature
    return Trajectory(x, y, np.angle(np.exp(1j * (heading + turn))), np.full(51, speed), DT)


# --- the judge: nothing of the guard's ----------------------------------------------------------


@dataclass
class Judgement:
    """Of one motion."""

    rss: bool
    hit: bool
    """in front"""
    touch: bool
    """anywhere but behind"""
    clearance: float
    """m between the bumpers at the worst moment of the RSS case, inf without somebody ahead"""


class Judge:
    """One scene at one moment, and any motion through it."""

    def __init__(self, scene: Scene, time: float, users: np.ndarray) -> None:
        self.scene, self.time, self.users = scene, time, users
        self.size, self.kind = scene.size, scene.kind
        if len(users) > len(self.size):  # those that are believed to be at two places
            again = np.arange(len(users)) % len(self.size)
            self.size, self.kind = self.size[again], self.kind[again]
        self.ego = scene.ego(time)

    def judge(self, plan: Trajectory, deceleration: float | None = None) -> Judgement:
        """The plan's path at its own speed, or at a constant deceleration from now."""
        s, x, y, heading = _path_of(plan)
        t = np.arange(round(LOOK / TICK) + 1) * TICK
        speed = float(self.ego.speed)
        if deceleration is None:
            said = np.interp(t, np.arange(len(plan.speed)) * plan.dt, plan.speed)
        else:
            said = np.maximum(speed - deceleration * np.maximum(t - LAG, 0.0), 0.0)
        # what a car can do of it: no jump of speed
        pace = np.empty(len(t))
        pace[0] = speed
        for k in range(1, len(t)):
            low, high = pace[k - 1] - FULL * TICK, pace[k - 1] + VEHICLE.max_acceleration * TICK
            pace[k] = min(max(said[k], low, 0.0), high)
        rss, clearance = self._rss(t, pace)
        braked = self._then(t, pace, FULL)
        return Judgement(rss, *self._contacts(t, braked, s, x, y, heading), clearance)

    def _then(self, t: np.ndarray, pace: np.ndarray, brake: float) -> np.ndarray:
        k = round(RESPONSE / TICK)
        later = np.maximum(pace[k] - brake * (t[k:] - t[k]), 0.0)
        return np.concatenate([pace[:k], np.minimum(later, pace[k:])])

    def _rss(self, t: np.ndarray, pace: np.ndarray) -> tuple[bool, float]:
        """Whether somebody ahead in the ego's way who brakes would be touched."""
        path, k = self.scene.path, round(RESPONSE / TICK)
        answer = pace[k] - pace[min(k + 10, len(pace) - 1)]
        proper = answer >= 0.85 * BRAKE_MIN * 10 * TICK or pace[k + 10] < 0.05
        t_long = np.arange(400) * TICK
        ego = np.concatenate([pace[:k], np.maximum(pace[k] - BRAKE_MIN * (t_long - 0.0), 0.0)])
        gone = np.concatenate([[0.0], np.cumsum(0.5 * (ego[1:] + ego[:-1]) * TICK)])
        centre = self.ego.box_centre()
        s0, d0 = path.project(*centre)
        least = np.inf
        s, d = path.project(self.users[:, 0], self.users[:, 1])
        along = self.users[:, 2] - path.at(s).heading
        for i in range(len(self.users)):
            same = np.cos(along[i]) > np.cos(np.deg2rad(20.0))
            in_way = abs(d[i] - d0) < 0.5 * (VEHICLE.width + self.size[i, 1])
            ahead = s[i] - s0 > 0.5 * (VEHICLE.length + self.size[i, 0])
            moves = self.users[i, 3] > 0.5 and self.kind[i] != AgentKind.PEDESTRIAN
            if not (same and in_way and ahead and moves):
                continue
            lead = np.maximum(self.users[i, 3] - LEADER_BRAKES * np.arange(len(ego)) * TICK, 0.0)
            theirs = np.concatenate([[0.0], np.cumsum(0.5 * (lead[1:] + lead[:-1]) * TICK)])
            gap = s[i] - s0 - 0.5 * (VEHICLE.length + self.size[i, 0])
            least = min(least, float((gap + theirs - gone).min()))
        return least < 0.0 and not proper and pace[0] > 0.05, least

    def _contacts(self, t, pace, s, x, y, heading) -> tuple[bool, bool]:
        """Whether the moving ego meets somebody who goes straight on: in front, beside or so."""
        way = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * TICK)])
        h = np.interp(way, s, heading)
        off = VEHICLE.centre_offset
        cx, cy = np.interp(way, s, x) + off * np.cos(h), np.interp(way, s, y) + off * np.sin(h)
        mine = box_corners(cx, cy, h, VEHICLE.length, VEHICLE.width)
        ux, uy, uh, uv = self.users.T
        fx = ux[:, None] + uv[:, None] * t * np.cos(uh)[:, None]
        fy = uy[:, None] + uv[:, None] * t * np.sin(uh)[:, None]
        size = self.size[:, :, None]
        theirs = box_corners(fx, fy, uh[:, None], size[:, 0], size[:, 1])
        touch = boxes_overlap(mine[None], theirs) & (pace > 0.1)
        touch &= (uv < 0.3)[:, None] | (t <= STRAIGHT_ON)
        bearing = np.arctan2(
            np.cos(h) * (fy - cy) - np.sin(h) * (fx - cx),
            np.cos(h) * (fx - cx) + np.sin(h) * (fy - cy),
        )
        # what comes from behind or from the side is not always for braking to avoid
        bearing, first = np.abs(bearing), np.argmax(touch, axis=1)
        rows = np.flatnonzero(touch.any(1))
        angle = bearing[rows, first[rows]]
        return bool((angle < np.deg2rad(45.0)).any()), bool((angle < np.deg2rad(135.0)).any())


def _path_of(plan: Trajectory) -> tuple[np.ndarray, ...]:
    step = np.hypot(np.diff(plan.x), np.diff(plan.y))
    keep = np.concatenate([[True], step > 1e-4])
    x, y, heading = plan.x[keep], plan.y[keep], np.unwrap(plan.heading[keep])
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    end = heading[-1]
    far = 100.0 * np.cos(end), 100.0 * np.sin(end)
    return (
        np.append(s, s[-1] + 100.0),
        np.append(x, x[-1] + far[0]),
        np.append(y, y[-1] + far[1]),
        np.append(heading, end),
    )


def form_fault(plan: object, ego: EgoState) -> str:
    """Why this could not be driven, by a look that is simpler than the guard's."""
    if not isinstance(plan, Trajectory):
        return "no trajectory"
    fields = plan.x, plan.y, plan.heading, plan.speed
    if any(np.ndim(f) != 1 or len(f) != len(plan.x) or len(f) < 2 for f in fields):
        return "shapes"
    if not np.isfinite(np.stack(fields)).all() or not plan.dt > 0.0:
        return "not finite"
    if np.hypot(plan.x[0] - ego.x, plan.y[0] - ego.y) > 2.0 + 0.4 * float(ego.speed):
        return "not at the ego"
    step = np.hypot(np.diff(plan.x), np.diff(plan.y)) / plan.dt
    if step.max(initial=0.0) > max(float(plan.speed.max()), float(ego.speed)) + 5.0:
        return "jumps"
    return ""


# --- the run ------------------------------------------------------------------------------------


@dataclass
class Row:
    """Counts of one kind."""

    cases: int = 0
    changed: int = 0
    rss: int = 0
    rss_given: int = 0
    hits: int = 0
    hits_given: int = 0
    form: int = 0
    state: int = 0

    @property
    def failures(self) -> int:
        """What should not be."""
        return self.rss + self.hits + self.form + self.state


def run_case(kind: str, scene: Scene, rng: Rng, row: Row) -> None:
    """One case, counted in ``row``."""
    guard = Guard()
    guard.reset(scene.scenario)
    steps = 2 + (10 if kind in ("no tracks", "frozen tracks", "stale stamps") else 0)
    wrong_for = int(rng.integers(1, 11)) if steps > 2 else 1
    given: object = None
    driven: object = None
    time = 0.0
    users = scene.users
    for step in range(steps + 1):
        time = step * DT
        ego, tracks = scene.ego(time), scene.tracks(time)
        users, stamp = scene.users_at(time), time
        given = scene.plan(time)
        wrong = step > steps - wrong_for
        if wrong and kind in PLANS:
            given = PLANS[kind](scene.plan(time), scene, time, rng)
        elif wrong and kind == "teleporting tracks":
            jumped = users.copy()
            jumped[0, 0] += float(rng.choice([-1.0, 1.0])) * rng.uniform(8.0, 40.0)
            tracks = tracks_of(jumped, scene.kind, scene.size)
            users = np.concatenate([users, jumped[:1]])
        elif wrong and kind == "no tracks":
            tracks = None
        elif wrong and kind == "frozen tracks":
            users = scene.users_at((steps - wrong_for) * DT)
            tracks = tracks_of(users, scene.kind, scene.size)
        elif wrong and kind == "stale stamps":
            stamp = (steps - wrong_for) * DT
        elif wrong and kind == "NaN tracks":
            broken = users.copy()
            broken[0, :2] = np.nan
            tracks = tracks_of(broken, scene.kind, scene.size)
        seen = Observation(step=step, time=stamp, dt=DT, ego=ego, tracks=tracks)
        if isinstance(given, Exception):
            driven = guard.without_plan(seen, tracks, given)
        else:
            driven = guard.check(seen, tracks, None, given)  # type: ignore[arg-type]
    row.cases += 1
    row.changed += driven is not given
    fault = form_fault(driven, scene.ego(time))
    row.form += bool(fault)
    if fault or not isinstance(driven, Trajectory):
        return
    unseen = wrong_for * DT
    if kind in ("no tracks", "stale stamps") and unseen > 0.65 and scene.speed > 0.5:
        row.state += guard.state not in ("minimal-risk", "emergency")
    count(row, Judge(scene, time, users), given, driven, scene.plan(time))


def count(row: Row, judge: Judge, given: object, driven: Trajectory, innocent: Trajectory) -> None:
    """Judge what was given and what is driven."""
    if isinstance(given, Trajectory) and not form_fault(given, judge.ego):
        before = judge.judge(given)
        row.rss_given += before.rss
        row.hits_given += before.hit
    after = judge.judge(driven)
    if not (after.rss or after.hit):
        return
    tries = [judge.judge(p, a) for p in (driven, innocent) for a in np.arange(0.0, FULL + 0.1, 0.5)]
    row.rss += after.rss and any(not o.rss and o.clearance > CLEAR for o in tries)
    row.hits += after.hit and any(not o.touch and not o.rss for o in tries)


def routes() -> list[tuple[Scenario, Path]]:
    """Routes long enough, of scenarios of the simulator."""
    from sim.scenarios import build_scenario

    found = []
    for family, seed in (("lane_following", 0), ("lane_following", 1), ("cut_in", 0)):
        scenario = build_scenario(family, seed=seed)
        found.append((scenario, route_path(scenario.road_map, scenario.route)))
    return [(scenario, path) for scenario, path in found if path.length > 300.0]


def fuzz(cases: int, seed: int) -> dict[str, Row]:
    """Counts by kind; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    where = routes()
    table = {kind: Row() for kind in (*PLANS, *SENSES)}
    for number in range(cases):
        kind = list(table)[number % len(table)]
        case_rng = np.random.default_rng(rng.integers(2**63))
        run_case(kind, make_scene(case_rng, where), case_rng, table[kind])
    return table


def print_table(table: dict[str, Row]) -> None:
    """By kind and in all."""
    print(f"{'kind':20} cases changed  rss (of)    hits (of)    form state")
    total = Row(*(sum(v) for v in zip(*map(dataclasses.astuple, table.values()), strict=True)))
    for kind, r in [*table.items(), ("all", total)]:
        print(
            f"{kind:20} {r.cases:5} {r.changed:7} {r.rss:4} ({r.rss_given:4}) "
            f"{r.hits:5} ({r.hits_given:4}) {r.form:5} {r.state:5}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = fuzz(options.cases, options.seed)
    print_table(table)
    return int(any(row.failures for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
