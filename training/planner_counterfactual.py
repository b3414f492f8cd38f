"""Does a planner mind whom it should? Who is in the way is taken away, who is not is added.

A planner that imitates may have learnt the wrong reasons: to brake because it brakes. So moments of
drives are shown to it twice. Without the one ahead that holds it up, it must drive on faster; with
somebody more behind it, or parked beyond the other side of the road, it must drive as without:

    python -m training.planner_counterfactual runs/planner
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planning.learned import LearnedPlanner
from planning.learned_engine import planner_engine
from planning.learned_route import RouteGuide
from planning.route_follower import RouteFollower
from planning.rule_planner import RulePlanner
from roadloop.interfaces import Planner
from roadloop.types import AgentKind, AgentStates, Forecasts, Observation, Scenario, Tracks, at
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld
from training.planner_score import GuardedDriver
from training.script import run_script

Array = np.ndarray

LEADER, BEHIND, BESIDE = "leader taken away", "car behind added", "car beyond the road added"
"""what is changed"""
FAMILIES = ("lead_vehicle_brake", "cyclist_ahead", "cut_in", "random_route", "dense_town")
SEED = 970_000
"""of the first drive: no training sees it"""
EVERY = 1.0
"""s between moments"""
FREE_AHEAD = 45.0
"""m without anything that may ask for a stop, and without a second one ahead"""
HELD_UP = 3.0
"""m/s by which a leader is slower than what is allowed there"""
FASTER, FURTHER = 1.0, 2.0
"""m/s or m at `LOOKED` by which a plan has changed for the better"""
SAME, SAME_SPEED = 0.5, 0.5
"""m and m/s up to which it has not changed"""
LOOKED = 4.0
"""s of a plan that are compared"""
GAP_BEHIND = 9.0
"""m between the ego and a car that is added behind it"""


@dataclass(frozen=True)
class Probe:
    """One moment, and the same with one road user less or more."""

    what: str
    scenario: Scenario
    observation: Observation
    tracks: Tracks
    forecasts: Forecasts
    other_tracks: Tracks
    other_forecasts: Forecasts


@dataclass(frozen=True)
class Verdict:
    """How a planner did with one kind of change."""

    probes: int
    passed: int

    @property
    def share(self) -> float:
        """In [0, 1]; NaN where there was nothing to judge."""
        return self.passed / self.probes if self.probes else float("nan")


def find_probes(scenario: Scenario) -> list[Probe]:
    """Moments of a drive of the rule planner in which something can be changed."""
    driver = GuardedDriver("rule", RulePlanner())
    probes: list[Probe] = []
    guide = RouteGuide(scenario)

    def look(observation: Observation) -> None:
        ego = observation.ego
        speed, dt = float(ego.speed), observation.dt
        s, _, window = guide.place(float(ego.x), float(ego.y), speed, dt)
        if observation.step % round(EVERY / dt) or observation.step == 0:
            return
        tracks, forecasts = driver.tracks, driver.forecasts
        assert tracks is not None and forecasts is not None
        front = s + ego.vehicle.length - ego.vehicle.rear_overhang
        states = tracks.states
        _, along, aside = window.project(states.x, states.y)
        back = along - states.length / 2.0 - front
        near = states.valid & (np.abs(aside) < 1.2) & (back > 0.0) & (back < FREE_AHEAD)
        stops = guide.places_to_stop(front, 1)
        free = not len(stops) or stops[0] - front > FREE_AHEAD
        rows = np.flatnonzero(near)
        both = (observation, tracks, forecasts)
        if len(rows) == 1 and free and speed > 1.0:
            row = int(rows[0])
            allowed = float(np.interp(s, guide.line.s, guide.profile))
            held_up = max(speed, float(states.speed[row])) < allowed - HELD_UP
            if held_up and back[row] < 2.0 * speed + 4.0 and states.kind[row] != AgentKind.STATIC:
                valid = states.valid.copy()
                valid[row] = False
                gone = dataclasses.replace(tracks, states=dataclasses.replace(states, valid=valid))
                probes.append(Probe(LEADER, scenario, *both, gone, forecasts))
        if speed > 2.0 and guide.change_due(s) is None:
            behind = s - ego.vehicle.rear_overhang - GAP_BEHIND
            beyond = guide.side * 3.5 * float(guide.line.width.max())
            for what, place, offset, pace in (
                (BEHIND, behind, 0.0, speed), (BESIDE, s + 15.0, beyond, 0.0)
            ):  # fmt: skip
                more = with_car(tracks, forecasts, guide, place, offset, pace)
                probes.append(Probe(what, scenario, *both, *more))

    drive_scenario(scenario, driver, SimWorld(), on_step=look)
    return probes


def with_car(
    tracks: Tracks, forecasts: Forecasts, guide: RouteGuide, s: float, d: float, speed: float
) -> tuple[Tracks, Forecasts]:
    """One car more, ``s`` m along the route and ``d`` m left of it, that keeps its speed."""
    line = guide.line
    fields = line.x, line.y, line.z, line.heading
    x, y, z, heading = (float(np.interp(s, line.s, field)) for field in fields)
    x, y = x - d * np.sin(heading), y + d * np.cos(heading)
    states = tracks.states
    new = {
        "id": int(states.id.max(initial=0)) + 1, "kind": int(AgentKind.CAR), "x": x, "y": y, "z": z,
        "heading": heading, "vx": speed * np.cos(heading), "vy": speed * np.sin(heading),
        "length": 4.5, "width": 1.8, "height": 1.5, "valid": True,
    }  # fmt: skip

    def more(values: Array, value: object) -> Array:
        return np.concatenate([values, np.full((1, *values.shape[1:]), value, values.dtype)])

    all_states = AgentStates(**{name: more(getattr(states, name), new[name]) for name in new})
    t = forecasts.dt * np.arange(forecasts.x.shape[-1])
    futures = {
        "x": x + new["vx"] * t, "y": y + new["vy"] * t, "heading": np.full(len(t), heading),
        "probability": np.eye(forecasts.probability.shape[-1])[0], "along_std": 0.3 + 0.0 * t,
        "across_std": 0.1 + 0.0 * t,
    }  # fmt: skip
    changed = {}
    for name, value in futures.items():
        known = getattr(forecasts, name)
        if known is not None:
            row = np.broadcast_to(value, known.shape[1:])[None]
            changed[name] = np.concatenate([known, row])
    return (
        Tracks(all_states, more(tracks.position_std, 0.0), more(tracks.age, 100)),
        dataclasses.replace(forecasts, **changed),
    )


def passes(probe: Probe, planner: Planner) -> bool:
    """Whether a planner that has forgotten everything does with the change as it should."""
    plans = []
    for tracks, forecasts in (
        (probe.tracks, probe.forecasts), (probe.other_tracks, probe.other_forecasts)
    ):  # fmt: skip
        planner.reset(probe.scenario)
        observation = dataclasses.replace(probe.observation, tracks=tracks)
        plans.append(planner.plan(observation, tracks, forecasts))
    k = round(LOOKED / plans[0].dt)
    before, after = (at(plan, slice(0, k + 1)) for plan in plans)
    ways = [float(np.hypot(np.diff(p.x), np.diff(p.y)).sum()) for p in (before, after)]
    gained = float(after.speed[-1] - before.speed[-1])
    if probe.what == LEADER:
        return gained > FASTER or ways[1] - ways[0] > FURTHER
    moved = np.hypot(after.x - before.x, after.y - before.y).max()
    return bool(moved < SAME and np.abs(after.speed - before.speed).max() < SAME_SPEED)


def counterfactuals(
    planners: Mapping[str, Callable[[], Planner]],
    families: Sequence[str] = FAMILIES,
    seeds: int = 2,
    *,
    seconds: float = 30.0,
) -> dict[str, dict[str, Verdict]]:
    """By planner and by what is changed, how often it did right."""
    probes: list[Probe] = []
    for family in families:
        for seed in range(SEED, SEED + seeds):
            probes += find_probes(build_scenario(family, seed=seed, duration=seconds))
    found: dict[str, dict[str, Verdict]] = {}
    for name, make in planners.items():
        planner = make()
        found[name] = {}
        for what in (LEADER, BEHIND, BESIDE):
            mine = [probe for probe in probes if probe.what == what]
            passed = sum(passes(probe, planner) for probe in mine)
            found[name][what] = Verdict(len(mine), passed)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    parser = argparse.ArgumentParser(
        prog="python -m training.planner_counterfactual",
        description="How often planners mind whom they should, and nobody else.",
    )
    parser.add_argument("planner", nargs="?", default="", help="a run or an .onnx; default: ours")
    parser.add_argument("--seeds", type=int, default=2, help="drives of each family (default 2)")

    def act() -> int:
        from roadloop.terminal import start_warp

        given = parser.parse_args(words)
        engine, config, _ = planner_engine(given.planner)
        start_warp()
        table = counterfactuals(
            {
                "learned": lambda: LearnedPlanner(engine, config),
                "rule": RulePlanner,
                "route-follower": RouteFollower,
            },
            seeds=given.seeds,
        )
        for name, verdicts in table.items():
            parts = [f"{what}: {v.passed}/{v.probes}" for what, v in verdicts.items()]
            print(f"{name}: {', '.join(parts)}")
        return 0

    return run_script("planner_counterfactual", act)


if __name__ == "__main__":
    sys.exit(main())
