"""Suites driven and scored: every case in a process of its own, on disk the moment it ends.

A run can be killed at any time and taken up again; the tables it ends with are the same bytes
whatever happened on the way, how many workers there were and where they ran,
as long as the processors are of one kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.scoring.result import Score
from roadloop.suites.results import (
    CaseResult,
    SuiteResults,
    append_case,
    log_folder,
    read_results,
    replay_file,
    write_tables,
)
from sim.suite import Case, Suite
from sim.workers import LocalWorker, RayWorker, run_all

if TYPE_CHECKING:
    from roadloop.logs.plans import PlanLog
    from roadloop.types import Observation, Rollout, Scenario
    from roadloop.viz.seen import Seen
    from sim.simulator import SimWorld

KEEP_REPLAYS = ("lost", "all", "none")


class Watch(Protocol):
    """Keeps what a driver sees and why it plans as it does, for its replay page."""

    def listen(self, observation: Observation) -> None:
        """After each step of the driver."""
        ...

    def seen(self, rollout: Rollout, *, pictures: bool) -> Seen | None:
        """What was seen, judged by the drive; without ``pictures`` the page stays small."""
        ...

    def plans(self) -> PlanLog | None:
        """Why plans were chosen, and what the guard did."""
        ...


@dataclass(frozen=True)
class Job:
    """What a worker does with each case."""

    make_driver: Callable[[], Driver]
    """picklable; called in the worker, once per case"""
    folder: Path
    """of the run; rollouts/ and replays/ are written below it"""
    options: str = ""
    """words for the command line that drives a case again"""
    replays: str = "lost"
    """which drives get a replay page at once: "lost" (a safety term was broken), "all", "none" """
    watch: Callable[[Driver, Scenario, SimWorld], Watch | None] | None = None
    """picklable; makes what listens to a driver. Pictures of one that sees with a network are on
    the pages of drives that broke a safety term, on others only what was found and missed"""

    def __post_init__(self) -> None:
        if self.replays not in KEEP_REPLAYS:
            raise RoadloopError(f'replays is "{self.replays}"; it may be {", ".join(KEEP_REPLAYS)}')


def evaluate(
    suite: Suite,
    job: Job,
    *,
    workers: int,
    memory: float,
    timeout: float = 300.0,
    ray: str = "",
    on_start: Callable[[int], None] | None = None,
    on_case: Callable[[CaseResult], None] | None = None,
) -> SuiteResults:
    """Drive and score the cases that ``job.folder`` does not hold yet; the results of all.

    ``run.json`` must lie in the folder (`roadloop.suites.results.start_run`).

    Args:
        workers: processes at once.
        memory: bytes each may take.
        timeout: s a case may take.
        ray: address of a Ray cluster, "local" for one of its own, empty for none.
        on_start: called with the number of cases the folder already holds.
        on_case: called with every case that ends.
    """
    done = {case.case for case in read_results(job.folder).cases}
    if on_start is not None:
        on_start(len(done))

    def ended(case: Case, answer: _Answer | str, seconds: float) -> None:
        if isinstance(answer, str):
            result = failure(case, answer, job.options)
        else:
            result = answer.result
            if answer.files:
                with zipfile.ZipFile(io.BytesIO(answer.files)) as packed:
                    packed.extractall(job.folder)
        append_case(job.folder, result)
        with (job.folder / "timings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": case.name, "seconds": round(seconds, 3)}) + "\n")
        if on_case is not None:
            on_case(result)

    kind, work = LocalWorker, functools.partial(_work, job)
    if ray:
        kind, work = RayWorker, functools.partial(_work_elsewhere, job)
    crew = [kind(work, memory) for _ in range(workers)]
    run_all([case for case in suite.cases if case.name not in done], crew, timeout, ended)
    results = read_results(job.folder)
    write_tables(results)
    return results


@dataclass(frozen=True)
class _Answer:
    """What comes back from a worker."""

    result: CaseResult
    files: bytes = b""
    """ZIP of what was written, from workers that do not share our disk"""


def _work(job: Job, case: Case) -> _Answer:
    return _Answer(run_case(job, case))


def _work_elsewhere(job: Job, case: Case) -> _Answer:
    with tempfile.TemporaryDirectory() as here:
        result = run_case(dataclasses.replace(job, folder=Path(here)), case)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(Path(here).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(here))
    return _Answer(result, packed.getvalue())


def run_case(job: Job, case: Case) -> CaseResult:
    """Drive and score one case; whatever is raised on the way becomes the reason of its failure.

    The traceback of an error that is not of the input lies in ``failures/CASE.txt``.
    """
    try:
        return _drive_and_score(job, case)
    except Exception as error:
        what = " ".join(str(error).split())
        if not isinstance(error, RoadloopError):
            what = f"{type(error).__name__}: {what}" if what else type(error).__name__
            note = job.folder / "failures" / f"{case.name}.txt"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(traceback.format_exc(), encoding="utf-8")
        return failure(case, what, job.options)


def failure(case: Case, why: str, options: str) -> CaseResult:
    """The result of a case that could not be driven or scored."""
    return CaseResult(
        case=case.name,
        scenario=case.scenario,
        family=case.scenario,
        seed=case.seed,
        parameters=dict(case.parameters),
        failed=why,
        replay=case.command(options),
        steps=0,
        dt=0.0,
        rollout_hash="",
        scores=(),
    )


def _drive_and_score(job: Job, case: Case) -> CaseResult:
    from roadloop.logs.store import RolloutWriter, read_rollout, rollout_hash
    from roadloop.scoring.diagnostics import with_diagnostics
    from roadloop.scoring.scores import judge
    from roadloop.terminal import start_warp
    from roadloop.viz.report import write_report
    from sim.run import drive_scenario
    from sim.simulator import SimWorld

    start_warp()
    scenario = case.build()
    driver = job.make_driver()
    folder = log_folder(job.folder, case.name)
    world = SimWorld()
    watch = None if job.watch is None else job.watch(driver, scenario, world)
    listen = None if watch is None else watch.listen
    with RolloutWriter(
        folder, scenario, driver.name, overwrite=True, map_source=case.map_file
    ) as writer:
        drive_scenario(scenario, driver, world, writer=writer, on_step=listen)
    rollout = read_rollout(folder)
    plans = None if watch is None else watch.plans()
    scores = with_diagnostics(judge(rollout, scenario.road_map), plans)
    page = replay_file(job.folder, case.name)
    with contextlib.suppress(FileNotFoundError):
        page.unlink()
    if job.replays == "all" or (job.replays == "lost" and lost(scores)):
        seen = None if watch is None else watch.seen(rollout, pictures=lost(scores))
        write_report(page, rollout, scenario.road_map, scores[0], seen=seen, plans=plans)
    return CaseResult(
        case=case.name,
        scenario=case.scenario,
        family=scenario.family,
        seed=case.seed,
        parameters=dict(case.parameters),
        failed="",
        replay=case.command(job.options),
        steps=len(rollout.time) - 1,
        dt=rollout.dt,
        rollout_hash=rollout_hash(rollout),
        scores=tuple(_without_series(score) for score in scores),
    )


def lost(scores: tuple[Score, ...]) -> bool:
    """Whether a safety term was broken."""
    safety = next(score for score in scores if score.name == "safety")
    return any(term.passed is False for term in safety.terms)


def _without_series(score: Score) -> dict[str, Any]:
    entry = score.to_json()
    del entry["series"]
    return entry
