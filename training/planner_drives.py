"""Drives from which the learned planner learns: somebody drives, the teacher says what it would do.

Five times a second the pupil looks and the teacher plans; one of them is obeyed, in stretches of a
few seconds: whoever drives, the teacher's plan from there is the label (DAgger, Ross et al.,
AISTATS 2011). A drive is one .npz file, written whole or not at all; its moments depend on the
scenario, the seed and the pupil's weights alone.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.forecaster import make_forecaster
from perception.ground_truth import GroundTruth
from planning.controllers import TrackingController
from planning.learned import Engine, LearnedPlanner
from planning.learned_config import PROPOSALS, TERMS, PlannerConfig
from planning.learned_engine import planner_engine
from planning.learned_inputs import Look
from planning.plan_sanity import from_now
from planning.rule_planner import RulePlanner
from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.scoring.navsim_motion import box_gap
from roadloop.terminal import start_warp
from roadloop.types import AgentStates, Observation, Scenario, Trajectory
from sim.scenarios import build_scenario
from sim.simulator import SimWorld
from training.planner_labels import Happened, apart_from, terms_of
from training.planner_training import PlannerData, Round

Array = np.ndarray

EVERY = 2
"""steps of the simulator between two decisions"""
FORESIGHT, FORECAST_STEP = 6.0, 0.2
"""s, of forecasts, as when driving"""
STRETCH, SHORT = (1.0, 4.0), (0.5, 1.4)
"""s for which one of them drives, and for which chance does"""
PAST_GOAL = 0.5
"""m before the goal at which a drive is over"""


def drive_and_label(
    scenario: Scenario,
    config: PlannerConfig,
    engine: Engine | None,
    plan: Round,
    keep: float,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """The moments of one drive: ``PlannerConfig.inputs``, ``apart`` (n, P), ``terms`` (n, P, 5).

    Args:
        engine: the pupil; None: there is none yet, chance drives in its place.
        keep: share of the moments that are kept.
    """
    world, pupil, teacher = SimWorld(), LearnedPlanner(_nobody, config), RulePlanner()
    forecaster, tracker, controller = make_forecaster(), GroundTruth(), TrackingController()
    observation = world.reset(scenario, ("tracks", "lights"))
    for part in (pupil, teacher, forecaster, tracker):
        part.reset(scenario)
    controller.reset()
    guide = pupil.guide
    goal = guide.line.goal_s
    kept: list[tuple[int, Look, Array]] = []
    states: list[AgentStates] = []
    lights: list[Array] = []
    chance = _Chance(rng)
    driver, until, current = "", -1.0, None
    steps = round(scenario.duration / scenario.dt)
    while True:
        tracks = tracker.update(observation)
        assert observation.lights is not None
        states.append(tracks.states)
        lights.append(np.asarray(observation.lights))
        step = observation.step
        if step % EVERY == 0:
            if observation.time > until:
                driver, length = _who_drives(plan, engine is not None, rng)
                until = observation.time + length
                chance.choose()
            slow = dataclasses.replace(observation, dt=EVERY * scenario.dt)
            forecasts = forecaster.forecast(slow, tracks, FORESIGHT, FORECAST_STEP)
            look = pupil.look(slow, tracks, forecasts)
            taught = teacher.plan(slow, tracks, forecasts)
            if rng.random() < keep:
                kept.append((step, look, apart_from(look, taught)))
            if driver == "teacher":
                current = taught
                pupil.forget_plan()
            else:
                asked = chance if driver == "chance" or engine is None else engine
                current = pupil.decide(look, asked(look.arrays), tracks)
            over = look.start.s > goal - PAST_GOAL
        else:
            assert current is not None
            current, over = _later(current, scenario.dt), False
        if step >= steps or over or _touches(observation):
            break
        observation = world.step(controller.control(observation, current))
    happened = Happened(_stacked(states), np.stack(lights), scenario.dt)
    return _arrays(config, kept, happened, guide.lit_lines())


def _nobody(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    raise RoadloopError("this planner only looks: it has no network")


class _Chance:
    """An `Engine` that likes one proposal, and goes on liking it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.choose()

    def choose(self) -> None:
        """Like another one."""
        self._liking = 30.0 * self._rng.random(PROPOSALS)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"logit": self._liking, "terms": np.full((PROPOSALS, len(TERMS)), 9.0)}


def _who_drives(plan: Round, has_pupil: bool, rng: np.random.Generator) -> tuple[str, float]:
    """Who drives next, and for how many seconds."""
    short = float(rng.uniform(*SHORT))
    long = float(rng.uniform(*STRETCH))
    if rng.random() < plan.chance:
        return "chance", short
    if rng.random() < plan.teacher or not has_pupil:
        return "teacher", long
    return "pupil", long


def _later(plan: Trajectory, dt: float) -> Trajectory:
    rest = from_now(plan, dt)
    assert rest is not None  # plans are much longer than the step between two
    return rest


def _touches(observation: Observation) -> bool:
    """Whether the ego's box meets somebody's."""
    assert observation.tracks is not None
    ego, states = observation.ego, observation.tracks.states
    x, y = ego.box_centre()
    gap = box_gap(
        states.x - x, states.y - y, np.broadcast_to(ego.heading, states.x.shape),
        ego.vehicle.length, ego.vehicle.width, states.heading, states.length, states.width,
    )  # fmt: skip
    level = np.abs(states.z - ego.z) < 3.0
    return bool(((gap < 0.0) & level & states.valid).any())


def _stacked(states: list[AgentStates]) -> AgentStates:
    """(steps, A): each road user in one column, not valid where it was not there."""
    ids = np.unique(np.concatenate([s.id for s in states]))
    fields = [f.name for f in dataclasses.fields(AgentStates)]
    found = {n: np.zeros((len(states), len(ids)), getattr(states[0], n).dtype) for n in fields}
    for step, state in enumerate(states):
        column = np.searchsorted(ids, state.id)
        for name in fields:
            found[name][step, column] = getattr(state, name)
    return AgentStates(**found)


def _arrays(
    config: PlannerConfig,
    kept: list[tuple[int, Look, Array]],
    happened: Happened,
    lines: tuple[Array, Array],
) -> dict[str, Array]:
    """float16: 0.03 m at 60 m, which no decision turns on."""
    found = {
        name: np.zeros((len(kept), *shape), np.float16) for name, shape in config.inputs().items()
    }
    found["apart"] = np.zeros((len(kept), PROPOSALS), np.float16)
    found["terms"] = np.zeros((len(kept), PROPOSALS, len(TERMS)), np.float16)
    for k, (step, look, apart) in enumerate(kept):
        for name, values in look.arrays.items():
            found[name][k] = values
        found["apart"][k] = apart
        found["terms"][k] = terms_of(look, step, happened, lines)
    return found


# --- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DriveJob:
    """One drive to be made, and where its file is."""

    file: Path
    family: str
    seed: int
    plan: Round
    number: int
    """of the round"""


TEACHER = Round(drives=0, teacher=1.0, passes=0.0, chance=0.0)
"""who judges drives alone"""


def jobs_of(
    folder: Path, data: PlannerData, rounds: tuple[Round, ...], number: int
) -> list[DriveJob]:
    """The drives of a round; of ``number`` -1 those that judge."""
    if number < 0:
        first, count, plan, name = data.judge_seed, data.judges, TEACHER, "judge"
    else:
        first = data.seed + sum(r.drives for r in rounds[:number])
        count, plan, name = rounds[number].drives, rounds[number], f"round{number}"
    return [
        DriveJob(folder / name / f"{family}-{seed}.npz", family, seed, plan, number)
        for seed in range(first, first + count)
        for family in data.families
    ]


def make_drives(
    jobs: Sequence[DriveJob],
    config: PlannerConfig,
    data: PlannerData,
    pupil: Path | None,
    workers: int,
    ended: Callable[[], bool],
) -> bool:
    """Make the drives that are not there yet; False where it was asked to stop before the last.

    Args:
        pupil: the network that drives, an .onnx file; None: there is none yet.
        workers: processes that drive at once; 0: this one alone. The files do not depend on it.
        ended: called after every drive; True asks to stop.
    """
    if workers == 0:
        engine = planner_engine(pupil)[0] if pupil else None
        for job in jobs:
            make_drive(job, config, engine, data)
            if ended():
                return job is jobs[-1]
        return True
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (config, data, pupil)
    ) as pool:
        todo = [pool.submit(_work, job) for job in jobs]
        left = len(todo)
        for future in as_completed(todo):
            future.result()
            left -= 1
            if ended():
                pool.shutdown(cancel_futures=True)
                return left == 0
    return True


_worker: dict[str, Any] = {}
"""what a process that drives knows: ``config``, ``data``, ``engine``"""


def _begin(config: PlannerConfig, data: PlannerData, pupil: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
    start_warp()
    engine = planner_engine(pupil)[0] if pupil else None
    _worker.update(config=config, data=data, engine=engine)


def _work(job: DriveJob) -> None:
    make_drive(job, _worker["config"], _worker["engine"], _worker["data"])


def make_drive(
    job: DriveJob, config: PlannerConfig, engine: Engine | None, data: PlannerData
) -> None:
    """Drive and write one file, unless it is there."""
    if job.file.is_file():
        return
    scenario = build_scenario(job.family, seed=job.seed, duration=data.seconds)
    rng = np.random.default_rng([job.seed, job.number + 1, *job.family.encode()])
    arrays = drive_and_label(scenario, config, engine, job.plan, data.keep, rng)
    job.file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(job.file) as path, path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_drives(files: list[Path], config: PlannerConfig) -> dict[str, Array]:
    """The moments of all files, in their order.

    Raises RoadloopError for a file that cannot be read or was made for another configuration.
    """
    parts: list[dict[str, Array]] = []
    for path in files:
        try:
            with np.load(path) as loaded:
                parts.append({name: loaded[name] for name in loaded.files})
        except (OSError, ValueError) as error:
            raise RoadloopError(f"{path} is no readable drive: {error}; delete it") from error
        for name, shape in config.inputs().items():
            if name not in parts[-1] or parts[-1][name].shape[1:] != shape:
                raise RoadloopError(
                    f"{path}: its {name} is not {shape} as the model wants it: it was made with "
                    "another configuration; delete the folder of drives"
                )
    if not parts:
        raise RoadloopError("no drives to learn from: give rounds with drives")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
