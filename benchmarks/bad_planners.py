"""What the guard is worth: planners that are bad on purpose, with and without it, over a suite.

    OMP_NUM_THREADS=1 python benchmarks/bad_planners.py [--suite smoke] [--seconds 20] [--workers 2]

``blind`` follows the route at constant speed and sees nobody. ``nonsense`` is the route follower
half of the time, drawn at every step, and something of `NONSENSE` else; ``nonsense in stretches``
draws once a second. What cannot be driven at all (no plan, not finite) leaves the car without a
guard on its latest plan; everything else it drives.

Printed are the cases with a collision at fault, with any collision, with all safety terms kept, the
mean share of the route driven, and how often the guard intervened. ``--list`` adds a line per case
that lost a safety term. Exit status 1 where a guarded driver collided at fault.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from deploy.stack import Stack
from perception.forecaster import make_forecaster
from perception.ground_truth import GroundTruth
from planning.constant_speed import ConstantSpeed
from planning.controllers import TrackingController
from planning.following import check_plan
from planning.guard import Guard
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.interfaces import Planner
from roadloop.scoring.result import Score
from roadloop.types import Forecasts, Observation, Scenario, Tracks, Trajectory
from sim.suite import Case, load_suite

Array = np.ndarray
Rng = np.random.Generator
STRETCH = 10
"""steps between two draws of ``nonsense in stretches``"""


def _rushed(plan: Trajectory, rng: Rng) -> Trajectory:
    """Straight on at its first heading, faster and faster."""
    t, heading = np.arange(len(plan.x)) * plan.dt, float(plan.heading[0])
    way = (float(plan.speed[0]) + 3.0) * t + t**2
    x, y = plan.x[0] + way * np.cos(heading), plan.y[0] + way * np.sin(heading)
    return Trajectory(x, y, np.full(len(t), heading), float(plan.speed[0]) + 3.0 + 2.0 * t, plan.dt)


def _swerving(plan: Trajectory, rng: Rng) -> Trajectory:
    """A lane to the left or right within 2 s, nobody looks, at 5 m/s or more."""
    t = np.arange(len(plan.x)) * plan.dt
    pace = np.maximum(plan.speed, 5.0)
    way = np.concatenate([[0.0], np.cumsum(pace[1:] * plan.dt)])
    w = np.clip(t / 2.0, 0.0, 1.0)
    left = float(rng.choice([-3.5, 3.5])) * w**2 * (3.0 - 2.0 * w)
    heading = float(plan.heading[0])
    turned = heading + np.arctan2(np.gradient(left, plan.dt), pace)
    x = plan.x[0] + way * np.cos(heading) - left * np.sin(heading)
    y = plan.y[0] + way * np.sin(heading) + left * np.cos(heading)
    return Trajectory(x, y, turned, pace, plan.dt)


NONSENSE: dict[str, Callable[[Trajectory, Rng], object]] = {
    "none": lambda p, r: None,
    "NaN": lambda p, r: dataclasses.replace(p, x=p.x + np.nan),
    "infinity": lambda p, r: dataclasses.replace(p, speed=p.speed + np.inf),
    "lengths": lambda p, r: dataclasses.replace(p, y=p.y[:-1]),
    "elsewhere": lambda p, r: dataclasses.replace(p, x=p.x + r.normal(0.0, 20.0)),
    "random poses": lambda p, r: dataclasses.replace(p, x=p.x + r.normal(0.0, 5.0, len(p.x))),
    "reversed": lambda p, r: dataclasses.replace(p, x=p.x[::-1], y=p.y[::-1]),
    "turned round": lambda p, r: dataclasses.replace(p, heading=p.heading + np.pi),
    "rushed": _rushed,
    "swerving": _swerving,
}
"""kind -> what becomes of a sensible plan"""


class Nonsense:
    """A `Planner`: the route follower half of the time, something of `NONSENSE` else."""

    def __init__(self, stretch: int = 1) -> None:
        self._planner, self._stretch = RouteFollower(), stretch

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario; the same one gets the same nonsense."""
        self._planner.reset(scenario)
        self._rng = np.random.default_rng(scenario.seed)
        self._kind = ""

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """Anything at all."""
        plan = self._planner.plan(observation, tracks, forecasts)
        if observation.step % self._stretch == 0:
            wrong = self._rng.random() < 0.5
            self._kind = str(self._rng.choice(list(NONSENSE))) if wrong else ""
        if not self._kind:
            return plan
        return NONSENSE[self._kind](plan, self._rng)  # type: ignore[return-value]


class NoGuard:
    """What a driver without a guard has to do: drive on where there is nothing to be driven."""

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario."""
        self._latest: Trajectory | None = None

    def check(
        self,
        observation: Observation,
        tracks: Tracks,
        forecasts: Forecasts | None,
        plan: Trajectory,
    ) -> Trajectory:
        """``plan``, or the latest that can be driven."""
        try:
            if not isinstance(plan, Trajectory):
                raise RoadloopError("no plan")
            check_plan(plan)
            self._latest = plan
        except RoadloopError:
            if self._latest is None:
                at = observation.ego
                still = np.full(2, 0.0)
                return Trajectory(at.x + still, at.y + still, at.heading + still, still, 0.1)
        assert self._latest is not None
        return self._latest


PLANNERS: dict[str, Callable[[], Planner]] = {
    "blind": ConstantSpeed,
    "nonsense": Nonsense,
    "nonsense in stretches": lambda: Nonsense(STRETCH),
}


def bad_driver(planner: str, guarded: bool) -> Stack:
    """One of `PLANNERS` behind what else the rule driver is made of."""
    guard = Guard() if guarded else NoGuard()
    name = f"{planner}{', guarded' if guarded else ''}"
    forecaster = make_forecaster("lane-following")
    tracker, controller = GroundTruth(), TrackingController()
    return Stack(name, tracker, PLANNERS[planner](), controller, forecaster, guard)


@dataclasses.dataclass(frozen=True)
class Drive:
    """What came of one."""

    case: str
    planner: str
    guarded: bool
    at_fault: bool
    hit: bool
    safe: bool
    progress: float
    interventions: int
    lost: tuple[str, ...]
    """safety terms, with time and detail"""


def drive(case: Case, planner: str, guarded: bool) -> Drive:
    """One case of a suite."""
    from roadloop.logs.store import RolloutWriter, read_rollout
    from roadloop.scoring.terms import score
    from roadloop.terminal import start_warp
    from sim.run import drive_scenario
    from sim.simulator import SimWorld

    start_warp()
    scenario, driver = case.build(), bad_driver(planner, guarded)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "rollout"
        with RolloutWriter(log, scenario, driver.name) as writer:
            drive_scenario(scenario, driver, SimWorld(), writer=writer)
        result = score(read_rollout(log), scenario.road_map)
    return _drive(case.name, planner, driver, result)


def _drive(case: str, planner: str, driver: Stack, result: Score) -> Drive:
    lost = tuple(
        f"{term.name} at {term.lost_at} s: {term.detail}"
        for term in result.terms
        if term.passed is False and term.name not in ("comfort", "route_progress")
    )
    names = {text.partition(" ")[0] for text in lost}
    guard = driver.guard
    return Drive(
        case=case,
        planner=planner,
        guarded=isinstance(guard, Guard),
        at_fault="collision_at_fault" in names,
        hit=bool(names & {"collision_at_fault", "collision_not_at_fault"}),
        safe=not lost,
        progress=result.term("route_progress").value,
        interventions=len(guard.interventions) if isinstance(guard, Guard) else 0,
        lost=lost,
    )


def drives(jobs: list[tuple[Case, str, bool]], workers: int) -> Iterator[Drive]:
    """In the order of the jobs."""
    if workers == 1:
        yield from (drive(*job) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(drive, *zip(*jobs, strict=True))


def print_row(rows: list[Drive]) -> None:
    """One line of the table."""
    first, n = rows[0], len(rows)
    at_fault, hit, safe = (sum(getattr(r, k) for r in rows) for k in ("at_fault", "hit", "safe"))
    progress = np.mean([r.progress for r in rows])
    times = sum(r.interventions for r in rows) / n
    guard = "with" if first.guarded else "without"
    print(
        f"| {first.planner} | {guard} | {n} | {at_fault} ({100.0 * at_fault / n:.0f} %) | {hit} | "
        f"{safe} | {progress:.2f} | {times:.1f} |",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", default="smoke", help="name, or the path of a .yaml")
    parser.add_argument("--seconds", type=float, help="of each case at most (default: all)")
    parser.add_argument("--planner", action="append", choices=PLANNERS, help="only these")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--list", action="store_true", help="cases that lost a safety term")
    args = parser.parse_args()
    cases = load_suite(args.suite).cases
    if args.seconds is not None:
        short = (min(case.seconds or args.seconds, args.seconds) for case in cases)
        cases = [dataclasses.replace(c, seconds=s) for c, s in zip(cases, short, strict=True)]
    print("| planner | guard | cases | collided at fault | collided | safe | progress | "
          "interventions |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    wrong = False
    for planner in args.planner or PLANNERS:
        for guarded in (True, False):
            rows = list(drives([(case, planner, guarded) for case in cases], args.workers))
            print_row(rows)
            wrong |= guarded and any(row.at_fault for row in rows)
            for row in rows if args.list else ():
                for text in row.lost:
                    print(f"    {row.case}: {text}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
