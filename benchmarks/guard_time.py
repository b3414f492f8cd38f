"""How long the guard takes for a plan, in processor time on one core.

    OMP_NUM_THREADS=1 python benchmarks/guard_time.py [--agents 64] [--steps 100] [--profile]

The drive of planner_time.py, with forecasts of everybody along the lanes and a plan that goes on
along the route, twice: ``obeyed`` with all road users moved off the ego's way, so that every plan
complies, the common case; ``braking`` with everybody where he is, so that hardly any does and every
way of braking is tried. Printed are median and 99th percentile of one check in ms.
``--profile`` shows where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import pstats
import time

import numpy as np
from planner_time import DT, HOLD, steps_of

from perception.forecaster import make_forecaster
from planning.constant_speed import ConstantSpeed
from planning.guard import Guard
from roadloop.maps.path import Path, route_path
from roadloop.types import Forecasts, Observation, Scenario, Tracks, Trajectory
from sim.scenarios import build_scenario

ROOM = 9.0
"""m beside the route within which nobody is left for the plans that are obeyed"""
Step = tuple[Observation, Tracks, Forecasts, Trajectory]


def moved_aside(tracks: Tracks, path: Path) -> Tracks:
    """Everybody at least `ROOM` off the route, going along it."""
    states = tracks.states
    s, left = path.project(states.x, states.y)
    at = path.at(s)
    far = np.where(np.abs(left) < ROOM, np.where(left < 0.0, -ROOM, ROOM), left)
    speed = np.hypot(states.vx, states.vy)
    moved = dataclasses.replace(
        states,
        x=at.x - far * np.sin(at.heading),
        y=at.y + far * np.cos(at.heading),
        heading=at.heading,
        vx=speed * np.cos(at.heading),
        vy=speed * np.sin(at.heading),
    )
    return dataclasses.replace(tracks, states=moved)


def gone_on(tracks: Tracks, seconds: float) -> Tracks:
    """Everybody straight on."""
    states = tracks.states
    x, y = states.x + states.vx * seconds, states.y + states.vy * seconds
    return dataclasses.replace(tracks, states=dataclasses.replace(states, x=x, y=y))


def shown(scenario: Scenario, path: Path, agents: int, steps: int, aside: bool) -> list[Step]:
    """What the guard is given."""
    forecaster, planner = make_forecaster("lane-following"), ConstantSpeed()
    forecaster.reset(scenario)
    planner.reset(scenario)
    found: list[Step] = []
    for seen in steps_of(scenario, path, agents, steps):
        assert seen.tracks is not None
        tracks = seen.tracks
        if aside and seen.step % HOLD:
            tracks = gone_on(found[-1][1], DT)
        elif aside:
            tracks = moved_aside(tracks, path)
        seen = dataclasses.replace(seen, tracks=tracks)
        forecasts = forecaster.forecast(seen, tracks, 6.0, 0.2)
        found.append((seen, tracks, forecasts, planner.plan(seen, tracks, None)))
    return found


def check_all(scenario: Scenario, steps: list[Step]) -> tuple[np.ndarray, float]:
    """(steps,) s of processor time of each check, and the share of plans that was obeyed."""
    guard = Guard()
    guard.reset(scenario)
    took, obeyed = np.empty(len(steps)), 0
    for k, step in enumerate(steps):
        start = time.process_time()
        driven = guard.check(*step)
        took[k] = time.process_time() - start
        obeyed += driven is step[-1]
    return took, obeyed / len(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    scenario = build_scenario("dense_town", seed=0, duration=10.0)
    path = route_path(scenario.road_map, scenario.route)
    print(f"{args.agents} road users, {args.steps} plans, processor time of one check")
    print("           obeyed   median ms    p99 ms")
    for name in ("obeyed", "braking"):
        steps = shown(scenario, path, args.agents, args.steps, name == "obeyed")
        check_all(scenario, steps[:10])
        profile = cProfile.Profile(time.process_time)
        if args.profile:
            profile.enable()
        took, share = check_all(scenario, steps)
        profile.disable()
        median, late = np.percentile(took * 1e3, [50.0, 99.0])
        print(f"{name:10s} {100.0 * share:5.0f} % {median:11.2f} {late:9.2f}")
        if args.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
