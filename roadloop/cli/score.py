"""``roadloop score``: a drive again, or a driver over a whole suite."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop import __version__
from roadloop.cli.drivers import Latency, Perception, Settings, build_driver, words
from roadloop.cli.names import read_drive
from roadloop.command_line import INTERRUPTED, Count, File, Folder, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import drive_json, drive_text, progress_bar, score_json, scores_text

if TYPE_CHECKING:
    from roadloop.suites.results import CaseResult
    from sim.suite import Suite

LIBRARIES = ("numpy", "pyarrow", "scipy", "shapely", "warp-lang")
"""whose versions a run states: another one may give other last digits"""


@dataclass(frozen=True)
class Score:
    """Score a driver over a suite of scenarios, or one drive again.

    WHAT is a suite (`roadloop list` names them; or a .yaml of your own): every scenario of it is
    driven in a process of its own, with a time-out, and scored by all definitions; DIR then holds
    the tables, the logs, and index.html with everything to look at. A run that was stopped, even
    by kill -9, is taken up with --resume and ends with the same bytes. Failures are listed with
    the command that drives them again, count in no mean, and make the exit status 1.

    Or WHAT is the folder of a drive: it is scored anew and printed.
    Units stand beside the values.

    Example: roadloop score standard --perception noisy --workers 2 --out runs/noisy

    A first look, in a minute: roadloop score smoke

    A drive again: roadloop score runs/dense_town-seed0
    """

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """suite, .yaml of a suite, or folder of a drive"""
    driver: Annotated[str, tyro.conf.arg(metavar="NAME")] = "idm"
    """who drives; `roadloop list` names them, policy:DIR is a trained one, MODULE:FUNCTION
    your own"""
    perception: Perception = "truth"
    """what the driver sees: truth, noisy, noisy:PRESET or a .yaml of noise"""
    set: Settings = ()
    """a setting of the driver, e.g. time_headway=0.7"""
    latency: Latency = ""
    """how late the driver's answers come: seconds, or a file of measured ones"""
    workers: Annotated[Count, default_text("one per core that has memory for one")] = None
    """processes at once"""
    timeout: Annotated[float, tyro.conf.arg(metavar="S")] = 300.0
    """s of wall clock a scenario may take"""
    memory: Annotated[float, tyro.conf.arg(metavar="GIB"), default_text("its share")] = 0.0
    """GiB a worker may take"""
    ray: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """drive on a Ray cluster: its address, or "local" for one of its own"""
    maps: Annotated[Folder, default_text("none")] = None
    """folder of OpenDRIVE maps, for suites that are driven on yours"""
    out: Annotated[Folder, default_text("runs/SUITE-DRIVER")] = None
    """folder to write into"""
    resume: bool = False
    """go on with the run DIR holds"""
    overwrite: bool = False
    """replace the run DIR holds"""
    replays: Annotated[str, tyro.conf.arg(metavar="WHICH")] = "lost"
    """drives that get a replay page: those that lost a term (lost), all, none"""
    map: Annotated[File, default_text("the one the log names")] = None
    """for a drive: the OpenDRIVE map it was driven on"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout < math.inf:
            raise RoadloopError(f"timeout is {self.timeout:g}; it must be above 0 s")
        if not 0.0 <= self.memory < math.inf:
            raise RoadloopError(f"memory is {self.memory:g}; it must be above 0 GiB")
        if self.workers is not None and self.workers < 1:
            raise RoadloopError(f"workers is {self.workers}; it must be 1 or more")

    def run(self) -> int:
        from sim.suite import load_suite, suite_names

        if self.what not in suite_names() and Path(self.what).is_dir():
            return self._score_drive(Path(self.what))
        return self._score_suite(load_suite(self.what, self.maps))

    def _score_drive(self, folder: Path) -> int:
        from roadloop.scoring.scores import judge

        rollout, road_map = read_drive(folder, self.map)
        scores = judge(rollout, road_map)
        if self.json:
            result = {
                **drive_json(rollout),
                "score": score_json(scores[0]),
                "scores": {score.name: score_json(score) for score in scores},
            }
            print(json.dumps(result, indent=2, allow_nan=False))
        else:
            print(drive_text(rollout))
            print(scores_text(scores))
        return 0

    def _score_suite(self, suite: Suite) -> int:
        from roadloop.suites.results import FORMAT, read_results
        from roadloop.suites.summary import summary_text, write_summary
        from roadloop.viz.suite_page import write_suite_page
        from sim.evaluate import Job, evaluate
        from sim.workers import GIB, choose_workers, connect_ray, memory_limit

        senses, latency = _absolute(self.perception), _absolute(self.latency)
        options = (self.driver, senses, self.set, latency)
        driver = build_driver(*options)  # a mistake in them is said now, not once per case
        name = re.sub(r"[^\w.=-]+", "-", f"{suite.name}-{driver.name}").strip("-")
        folder = self.out or Path("runs") / name
        job = Job(functools.partial(build_driver, *options), folder, words(*options), self.replays)
        run = {
            "format": FORMAT,
            "suite": suite.name,
            "description": suite.description,
            "suite_hash": suite.hash,
            "driver": driver.name,
            "perception": senses,
            "settings": list(self.set),
            "latency": latency,
            "files": _hashes(senses, latency),
            "versions": _versions(),
            "cases": [case.name for case in suite.cases],
        }
        self._prepare(folder, run)
        workers = connect_ray(self.ray, self.workers) if self.ray else choose_workers(self.workers)
        memory = self.memory * GIB if self.memory > 0 else memory_limit(workers)
        if not self.json:
            print(
                f"roadloop: {len(suite.cases)} scenarios of {suite.name}, {workers} at once "
                "(the first on a machine also compiles the simulator)",
                file=sys.stderr,
            )
        finished = True
        with progress_bar(suite.name, "scenario", len(suite.cases), quiet=self.json) as bar:

            def held(done: int) -> None:
                bar.n = bar.initial = done  # the time left is reckoned from what is driven now

            def show(result: CaseResult) -> None:
                if result.failed and not self.json:
                    bar.write(f"failed: {result.case}: {result.failed}", file=sys.stderr)
                bar.update(1)

            try:
                evaluate(
                    suite,
                    job,
                    workers=workers,
                    memory=memory,
                    timeout=self.timeout,
                    ray=self.ray,
                    on_start=held,
                    on_case=show,
                )
            except KeyboardInterrupt:
                finished = False
        results = read_results(folder)
        if not finished:
            left = len(suite.cases) - len(results.cases)
            print(
                f"roadloop: interrupted; {left} scenarios are left, go on with --resume",
                file=sys.stderr,
            )
            return INTERRUPTED
        summary = write_summary(results)
        page = write_suite_page(folder / "index.html", results)
        if self.json:
            print(json.dumps({**summary, "page": str(page)}, indent=2, allow_nan=False))
        else:
            print(summary_text(results))
            print(page)
        return 0 if len(results.finished) == len(suite.cases) else 1

    def _prepare(self, folder: Path, run: dict[str, Any]) -> None:
        """Make the folder ready for this run, or check that it holds the beginning of it."""
        from roadloop.suites.results import RUN, mend, read_run, start_run

        if not (folder / RUN).exists():
            start_run(folder, run)
            return
        if self.overwrite:
            _clear(folder)
            start_run(folder, run)
            return
        if not self.resume:
            raise RoadloopError(
                f"{folder} already holds a run; go on with it by --resume, replace it by "
                "--overwrite, or give another folder with --out"
            )
        held = read_run(folder)
        for key, value in run.items():
            if key not in ("cases", "description") and held.get(key) != value:
                raise RoadloopError(
                    f"{folder} holds a run of another {key.replace('_', ' ')} "
                    f"({_short(held.get(key))}, not {_short(value)}); give another folder with "
                    "--out, or --overwrite"
                )
        mend(folder)


def _clear(folder: Path) -> None:
    """Take away what an earlier run wrote; other files are left alone."""
    from roadloop.suites.results import PARTS

    for name in PARTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"roadloop": __version__, "python": platform.python_version(), **versions}


def _absolute(option: str) -> str:
    """A file by its whole path: workers may run in other folders, replays be driven from others."""
    return str(Path(option).resolve()) if option and Path(option).is_file() else option


def _hashes(*names: str) -> dict[str, str]:
    """SHA-256 of those that are files: a run must not go on with another noise or latency."""
    files = [Path(name) for name in names if name and Path(name).is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
