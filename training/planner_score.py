"""How the learned planner drives: drives of its own, with the guard, scored as nuPlan does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from perception.forecaster import make_forecaster
from perception.ground_truth import GroundTruth
from planning.controllers import TrackingController
from planning.guard import Guard
from planning.learned import Engine, LearnedPlanner
from planning.learned_config import PlannerConfig
from roadloop.errors import RoadloopError
from roadloop.interfaces import Planner
from roadloop.types import Control, Forecasts, Observation, Scenario, Tracks, Trajectory
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld
from training.planner_drives import FORECAST_STEP, FORESIGHT
from training.planner_network import PlannerNetwork
from training.planner_training import PlannerData

Array = np.ndarray

APART = 50_000
"""between the first seed that judges and the first one that is scored"""
LONGER = 1.5
"""times the seconds of a drive to learn from that one to be scored lasts"""


class GuardedDriver:
    """A `Driver` on ground truth: forecasts along lanes, a planner, the guard, the controller.

    Attributes:
        tracks: and ``forecasts``, those of the latest step.
    """

    sensors: tuple[str, ...] = ("tracks", "lights")

    def __init__(self, name: str, planner: Planner) -> None:
        self.name, self.planner = name, planner
        self.plan: Trajectory | None = None
        self.tracks: Tracks | None = None
        self.forecasts: Forecasts | None = None
        self._tracker, self._forecaster = GroundTruth(), make_forecaster()
        self._guard, self._controller = Guard(), TrackingController()

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario."""
        self.plan = None
        for part in (self._tracker, self._forecaster, self.planner, self._guard):
            part.reset(scenario)
        self._controller.reset()

    def act(self, observation: Observation) -> Control:
        """One step."""
        tracks = self._tracker.update(observation)
        forecasts = self._forecaster.forecast(observation, tracks, FORESIGHT, FORECAST_STEP)
        self.tracks, self.forecasts = tracks, forecasts
        plan = self.planner.plan(observation, tracks, forecasts)
        self.plan = self._guard.check(observation, tracks, forecasts, plan)
        return self._controller.control(observation, self.plan)


def network_engine(network: PlannerNetwork) -> Engine:
    """The network as a planner's engine, on the CPU."""
    device = next(network.parameters()).device

    def run(inputs):
        given = {name: torch.from_numpy(v)[None].to(device) for name, v in inputs.items()}
        with torch.inference_mode():
            outputs = network(given)
        return {name: value[0].cpu().numpy() for name, value in outputs.items()}

    return run


def drive_and_score(scenario: Scenario, planner: Planner) -> float:
    """nuPlan's closed-loop score of one drive."""
    from roadloop.logs.store import RolloutWriter, read_rollout
    from roadloop.scoring.driven import Driven
    from roadloop.scoring.nuplan_score import nuplan_score

    driver = GuardedDriver("learned", planner)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "drive"
        with RolloutWriter(log, scenario, driver.name) as writer:
            drive_scenario(scenario, driver, SimWorld(), writer=writer)
        value = nuplan_score(Driven(read_rollout(log), scenario.road_map)).value
        if value is None:
            raise RoadloopError(f"{scenario.name} cannot be scored by nuPlan's definition")
        return float(value)


def score_pupil(
    engine: Engine, config: PlannerConfig, data: PlannerData, say: Callable[[str], None]
) -> dict[str, float]:
    """Scores by family, mean over ``data.scored`` drives of each, and of all: ``score``."""
    first = data.judge_seed + APART
    found: dict[str, float] = {}
    for family in data.families:
        scores = []
        for seed in range(first, first + data.scored):
            scenario = build_scenario(family, seed=seed, duration=LONGER * data.seconds)
            scores.append(drive_and_score(scenario, LearnedPlanner(engine, config)))
        found[family] = float(np.mean(scores))
    if found:
        say(", ".join(f"{family} {value:.2f}" for family, value in found.items()))
    mean = float(np.mean(list(found.values()))) if found else float("nan")
    return {"score": mean, **found}
