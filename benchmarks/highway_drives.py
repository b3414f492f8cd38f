"""Our default driver in the driving tasks of highway-env, beside their own IDM vehicle.

    python benchmarks/highway_drives.py                        # all tasks, seeds 0 to 4
    python benchmarks/highway_drives.py merge-v0 --seeds 2 --drivers ours

Ours drives through ``HighwayWorld`` and is judged by our scores. Theirs is their ``IDMVehicle`` put
where the ego is, with their route planner to the same goal and, as is their default, its speed at
the start as the speed it wants; it is judged by the same scores. Tasks whose car slips on its tyres
have no IDM vehicle. Columns, over seeds:

    finished   drives that reached the goal (of tasks without one: as far as the limit allows)
    at fault   drives with a collision that is the ego's fault, by our safety score
    other      drives with a collision that is not
    crashed    drives with their `crashed` flag
    progress   mean share of the route driven
    reward     mean of their reward per step
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.interfaces import Driver
from roadloop.logs.store import RolloutWriter, read_rollout
from roadloop.scoring.driven import Driven
from roadloop.types import Control, Observation, Scenario

SEEDS = 5
DRIVERS = ("ours", "theirs")


@dataclass(frozen=True)
class Outcome:
    """What one drive came to."""

    finished: bool
    at_fault: bool
    other: bool
    crashed: bool
    progress: float
    reward: float


def drive(task: str, seed: int, make: Callable[[], Driver], theirs: bool) -> Outcome:
    """One drive, its log judged."""
    from sim.highway.scenario import highway_scenario
    from sim.highway.world import HighwayWorld
    from sim.run import drive_scenario

    scenario = highway_scenario(task, seed=seed)
    world = their_idm() if theirs else HighwayWorld()
    driver = make()
    with tempfile.TemporaryDirectory() as folder:
        with RolloutWriter(folder, scenario, driver.name, overwrite=True) as writer:
            last = drive_scenario(scenario, driver, world, writer=writer)
        driven = Driven(read_rollout(folder), scenario.road_map)
    progress = float(driven.route_share[-1])
    return Outcome(
        finished=last.time < scenario.duration - scenario.dt / 2.0 or progress > 0.99,
        at_fault=any(hit.at_fault for hit in driven.hits),
        other=any(not hit.at_fault for hit in driven.hits),
        crashed=world.crashed,
        progress=progress,
        reward=float(np.mean(world.rewards)),
    )


def their_idm() -> Any:
    """A ``HighwayWorld`` whose ego is their IDM vehicle: controls given to it are not used."""
    from highway_env.vehicle.behavior import IDMVehicle

    from sim.highway.tasks import TASKS
    from sim.highway.world import HighwayWorld

    class World(HighwayWorld):
        def reset(self, scenario: Scenario, sensors: tuple[str, ...]) -> Observation:
            super().reset(scenario, sensors)
            env, car = self.env, self.env.vehicle
            idm = IDMVehicle(env.road, car.position, car.heading, car.speed)
            goal = TASKS[scenario.name.rpartition("_")[0]].goal
            if goal is not None:
                idm.plan_route_to(goal[0] if goal[1] == "exit" else goal[1])
                if goal[1] == "exit":
                    idm.route[-1] = (*idm.route[-1][:2], len(env.road.network.graph["1"]["2"]) - 1)
                    idm.route.append(goal)
            env.road.vehicles[env.road.vehicles.index(car)] = idm
            env.controlled_vehicles = [idm]
            env.action_type.act = lambda action: None
            return self._observe({})

    return World()


class Nobody:
    """A driver that leaves everything to the world."""

    name = "their-idm"
    sensors = ("tracks",)
    plan = None

    def reset(self, scenario: Scenario) -> None:
        pass

    def act(self, observation: Observation) -> Control:
        return Control(np.float64(0.0), np.float64(0.0))


def row(name: str, outcomes: list[Outcome]) -> str:
    """One line of the table."""
    n = len(outcomes)

    def count(field: str) -> str:
        return f"{sum(getattr(o, field) for o in outcomes)}/{n}"

    progress = np.mean([o.progress for o in outcomes])
    reward = np.mean([o.reward for o in outcomes])
    cells = [count(field) for field in ("finished", "at_fault", "other", "crashed")]
    return f"| {name} | {' | '.join(cells)} | {progress:.2f} | {reward:.2f} |"


def main() -> int:
    from deploy.drivers import make_driver
    from sim.highway.tasks import TASKS, find_task

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tasks", nargs="*", help="all where none is named")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=list(DRIVERS))
    given = parser.parse_args()
    for task in given.tasks:
        find_task(task)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # their planner warns of every route that is over
    print("| task, driver | finished | at fault | other | crashed | progress | reward |")
    print("|---|---|---|---|---|---|---|")
    for task in given.tasks or TASKS:
        for name in given.drivers:
            if name == "theirs" and TASKS[task].dynamical:
                continue
            make = make_driver if name == "ours" else Nobody
            seeds = range(given.seeds)
            outcomes = [drive(task, seed, make, name == "theirs") for seed in seeds]
            print(row(f"{task}, {name}", outcomes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
