"""How long every planner takes for a plan, in processor time on one core.

    OMP_NUM_THREADS=1 python benchmarks/planner_time.py [--agents 64] [--steps 200] [--profile NAME]

A car drives along the route of a generated town at 10 m/s; every 2 s road users are placed anew on
the lanes, beside them and in the way, all within 45 m, and go on at constant speed until then. All
planners see the same. Printed are the median and the 99th percentile of the processor time of one
plan in ms, and how many times the median of pdm-closed that is; the ratio is what compares from
machine to machine. ``--profile`` runs one planner under cProfile and prints where its time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import pstats
import time
from collections.abc import Callable, Iterator

import numpy as np

from planning.constant_speed import ConstantSpeed
from planning.idm_planner import IdmPlanner
from planning.pdm_closed import PdmClosed
from planning.route_follower import RouteFollower
from planning.rule_planner import RulePlanner
from roadloop.interfaces import Planner
from roadloop.maps.path import Path, route_path
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, AgentStates, EgoState, Observation, Scenario, Tracks
from sim.scenarios import build_scenario

PLANNERS: dict[str, Callable[[], Planner]] = {
    "pdm-closed": PdmClosed,
    "rule": RulePlanner,
    "idm": IdmPlanner,
    "route-follower": RouteFollower,
    "constant-speed": ConstantSpeed,
}
"""name -> how to make it"""

SPEED = 10.0
"""m/s of the ego"""
DT = 0.1
HOLD = 20
"""steps for which road users go on before they are placed anew"""
RADIUS = 45.0
"""m around the ego in which they are placed"""
CLEAR = 7.0
"""m around the ego in which nobody is placed"""
SHARES = ((AgentKind.CAR, 0.75, 4.6, 1.9), (AgentKind.PEDESTRIAN, 0.2, 0.6, 0.6),
          (AgentKind.STATIC, 0.05, 0.5, 0.5))  # fmt: skip
"""kind, share of all, length and width in m"""


def road_users(road_map: RoadMap, x: float, y: float, count: int, rng: np.random.Generator):
    """(count,) road users around ``x``, ``y``: cars on lanes, people beside them, a few things."""
    point = road_map.point_xyz
    travel = np.repeat(road_map.is_travel, np.diff(road_map.point_start))
    away = np.hypot(point[:, 0] - x, point[:, 1] - y)
    row = rng.choice(np.flatnonzero(travel & (away < RADIUS) & (away > CLEAR)), count)
    numbers = [round(share * count) for _, share, _, _ in SHARES]
    numbers[0] += count - sum(numbers)
    kind, length, width = (
        np.repeat([entry[column] for entry in SHARES], numbers) for column in (0, 2, 3)
    )
    heading = road_map.point_heading[row]
    walker = kind == AgentKind.PEDESTRIAN
    aside = np.where(walker, rng.choice([-3.0, 3.0], count), rng.normal(0.0, 0.2, count))
    speed = np.where(walker, 1.3, rng.choice([0.0, 1.0], count) * rng.uniform(2.0, 12.0, count))
    speed = np.where(kind == AgentKind.STATIC, 0.0, speed)
    return AgentStates(
        id=np.arange(count),
        kind=kind.astype(np.uint8),
        x=point[row, 0] - aside * np.sin(heading),
        y=point[row, 1] + aside * np.cos(heading),
        z=point[row, 2],
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=length.astype(float),
        width=width.astype(float),
        height=np.full(count, 1.5),
        valid=np.ones(count, dtype=bool),
    )


def steps_of(scenario: Scenario, path: Path, agents: int, steps: int) -> Iterator[Observation]:
    """What a planner sees while the car drives along the path."""
    rng, road_map = np.random.default_rng(0), scenario.road_map
    states = road_users(road_map, 0.0, 0.0, 0, rng) if agents == 0 else None
    lights = np.zeros(len(road_map.signal_id), dtype=np.uint8)
    for step in range(steps):
        here = path.at((step * SPEED * DT) % (path.length - 60.0))
        zero = np.zeros(())
        ego = EgoState(
            here.x, here.y, here.z, here.heading, zero + SPEED, zero, zero, zero,
            vehicle=scenario.ego.vehicle,
        )  # fmt: skip
        if agents and step % HOLD == 0:
            ids = step * agents
            states = road_users(road_map, float(here.x), float(here.y), agents, rng)
            states = dataclasses.replace(states, id=states.id + ids)
        elif states is not None:
            moved = {"x": states.x + states.vx * DT, "y": states.y + states.vy * DT}
            states = dataclasses.replace(states, **moved)
        assert states is not None
        tracks = Tracks(states, np.zeros(agents), np.full(agents, step))
        yield Observation(step, step * DT, DT, ego, tracks=tracks, lights=lights)


def seconds(
    planner: Planner, scenario: Scenario, path: Path, agents: int, steps: int
) -> np.ndarray:
    """(steps,) s of processor time of each plan."""
    planner.reset(scenario)
    took = np.empty(steps)
    for k, observation in enumerate(steps_of(scenario, path, agents, steps)):
        assert observation.tracks is not None
        start = time.process_time()
        planner.plan(observation, observation.tracks, None)
        took[k] = time.process_time() - start
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--profile", choices=PLANNERS, default="")
    args = parser.parse_args()
    scenario = build_scenario("dense_town", seed=0, duration=10.0)
    path = route_path(scenario.road_map, scenario.route)
    if args.profile:
        profile = cProfile.Profile(time.process_time)
        profile.enable()
        seconds(PLANNERS[args.profile](), scenario, path, args.agents, args.steps)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        return
    print(f"{args.agents} road users, {args.steps} plans, processor time of one plan")
    print("planner             median ms    p99 ms   x pdm-closed")
    reference = 0.0
    for name, make in PLANNERS.items():
        took = seconds(make(), scenario, path, args.agents, args.steps) * 1e3
        median, late = np.percentile(took, [50.0, 99.0])
        reference = reference or median
        print(f"{name:18s} {median:10.2f} {late:9.2f} {median / reference:14.2f}")


if __name__ == "__main__":
    main()
