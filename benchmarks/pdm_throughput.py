"""How fast the PDM scores are: proposal-steps per second of the tracker, of v1 and of v2.

    python benchmarks/pdm_throughput.py [--proposals 512] [--agents 32] [--seconds 3]

One step is one of the 41 states of one proposal. The scene is drawn here: a two-lane road each way
through a junction, polygons of a point per metre, cars on every lane, people and cones beside
them, a red light. Proposals keep, change and leave the lane, speed up, stop. One process on one
core; the figure is the best of many short windows in CPU seconds, which is what the code takes
when other programs leave it alone, with wall seconds beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from roadloop.scoring.navsim import pdm_scores_v1, pdm_scores_v2
from roadloop.scoring.navsim_scene import OBSERVED, PAST_TIMES, STEPS, PdmScene
from roadloop.scoring.pdm_tracker import State, simulate_proposals
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

LANE = 3.5
"""m"""
SPEED = 9.0
"""m/s of the ego"""
REPEATS = 5
"""windows at least, however short the time"""


def strip(x0: float, x1: float, y0: float, y1: float) -> object:
    """A rectangle along the road with a point per metre."""
    import shapely

    x = np.linspace(x0, x1, int(x1 - x0) + 1)
    right, left = (np.column_stack([x, np.full_like(x, y)]) for y in (y0, y1))
    return shapely.Polygon(np.concatenate([right, left[::-1]]))


def traffic(count: int, rng: np.random.Generator) -> AgentStates:
    """(51, count) road users: two thirds cars on the lanes, the others people and cones beside."""
    time = np.arange(OBSERVED)[:, None] * 0.1
    kind = np.where(np.arange(count) % 3 < 2, AgentKind.CAR, AgentKind.PEDESTRIAN)
    kind[np.arange(count) % 6 == 5] = AgentKind.STATIC
    car, walker = kind == AgentKind.CAR, kind == AgentKind.PEDESTRIAN
    lane = rng.integers(-2, 2, count)
    y = np.where(car, (lane + 0.5) * LANE, rng.choice([-1.0, 1.0], count) * (2 * LANE + 1.5))
    speed = np.where(car, rng.uniform(0.0, 12.0, count), np.where(walker, 1.3, 0.0))
    way = np.where(car & (lane >= 0), -1.0, 1.0)
    x = rng.uniform(-60.0, 90.0, count)
    x = np.where(car & (lane == -1) & (np.abs(x) < 12.0), x + 24.0, x)  # not on top of the ego
    shape = (OBSERVED, count)
    zero = np.zeros(shape)
    return AgentStates(
        id=np.broadcast_to(np.arange(count), shape),
        kind=np.broadcast_to(kind.astype(np.uint8), shape),
        x=x + way * speed * time, y=np.broadcast_to(y, shape), z=zero,
        heading=np.broadcast_to(np.where(way > 0.0, 0.0, np.pi), shape),
        vx=np.broadcast_to(way * speed, shape), vy=zero,
        length=np.broadcast_to(np.where(car, 4.6, np.where(walker, 0.6, 0.4)), shape),
        width=np.broadcast_to(np.where(car, 1.9, np.where(walker, 0.7, 0.4)), shape),
        height=zero, valid=np.ones(shape, dtype=bool),
    )  # fmt: skip


def drawn_scene(agents: int, rng: np.random.Generator) -> PdmScene:
    """The ego at (0, -LANE / 2) heading east, the junction 30 m ahead."""
    import shapely

    parts = [(-100.0, 30.0), (30.0, 55.0), (55.0, 150.0)]
    lanes = [strip(*x, k * LANE, (k + 1) * LANE) for x in parts for k in range(-2, 2)]
    across = [shapely.box(30.0 + 5.0 * k, -40.0, 35.0 + 5.0 * k, 40.0) for k in range(5)]
    junction = shapely.box(30.0, -12.0, 55.0, 12.0)
    roads = [strip(*x, side * 2 * LANE, (side + 1) * 2 * LANE) for x in parts for side in (-1, 0)]

    def objects(items: list) -> Array:
        column = np.empty(len(items), dtype=object)
        column[:] = items
        return column

    on_route = np.array([k < 0 for _ in parts for k in range(-2, 2)] + [False] * len(across))
    red = np.zeros((OBSERVED, len(on_route)), dtype=bool)
    red[:, 4:6] = True
    start = np.zeros(len(State))
    start[[State.Y, State.SPEED]] = -LANE / 2.0, SPEED
    past = np.tile(start, (len(PAST_TIMES), 1))
    past[:, State.X] = SPEED * PAST_TIMES
    x = np.arange(-100.0, 151.0)
    return PdmScene(
        lane_polygon=objects([*lanes, *across]), lane_on_route=on_route,
        drivable=objects([*roads, junction]), intersections=objects([junction]),
        centreline=np.column_stack([x, np.full_like(x, -LANE / 2.0)]),
        start=start, agents=traffic(agents, rng), red=red, past=past,
    )  # fmt: skip


def drawn_proposals(count: int, rng: np.random.Generator) -> Array:
    """(count, 41, 3) poses: an end speed and a lateral offset each, reached smoothly."""
    time = np.arange(STEPS) * 0.1
    end_speed = rng.uniform(0.0, 1.6 * SPEED, (count, 1))
    speed = SPEED + (end_speed - SPEED) * time / time[-1]
    share = time / time[-1]
    blend = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
    y = -LANE / 2.0 + rng.normal(0.0, 2.0, (count, 1)) * blend
    x = np.cumsum(speed, axis=1) * 0.1 - speed[:, :1] * 0.1
    dx, dy = np.gradient(x, axis=1), np.gradient(y, axis=1)
    return np.stack([x, y, np.arctan2(dy, np.maximum(dx, 1e-3))], axis=-1)


def fastest(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Least CPU and least wall seconds one call takes."""
    cpu = wall = np.inf
    until, calls = time.perf_counter() + seconds, 0
    while calls < REPEATS or time.perf_counter() < until:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        work()
        wall = min(wall, time.perf_counter() - wall_start)
        cpu = min(cpu, time.process_time() - cpu_start)
        calls += 1
    return cpu, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--proposals", type=int, default=512)
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, per row")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    scene = drawn_scene(args.agents, rng)
    proposals = drawn_proposals(args.proposals, rng)
    states = simulate_proposals(scene.start, proposals)
    steps = states.shape[0] * states.shape[1]
    lanes = len(scene.lane_polygon)
    print(f"{args.proposals} proposals of {STEPS} steps, {args.agents} road users, {lanes} lanes")
    print("                 proposal-steps per second   CPU       wall")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("tracker and bicycle", lambda: simulate_proposals(scene.start, proposals)),
        ("PDM score v1", lambda: pdm_scores_v1(scene, states)),
        ("extended PDM score v2", lambda: pdm_scores_v2(scene, states)),
    ]
    for name, work in rows:
        cpu, wall = fastest(work, args.seconds)
        print(f"{name:40s} {steps / cpu:10,.0f} {steps / wall:10,.0f}")


if __name__ == "__main__":
    main()
