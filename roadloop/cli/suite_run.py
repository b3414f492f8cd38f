"""Running a suite from the command line: what ``score`` and ``replay`` share."""

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadloop import __version__
from roadloop.cli.drivers import build_driver, words
from roadloop.cli.watching import watching
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from roadloop.suites.results import CaseResult, SuiteResults
    from sim.suite import Suite

LIBRARIES = ("numpy", "pyarrow", "scipy", "shapely", "warp-lang")
"""whose versions a run states: another one may give other last digits"""
NETWORKS = ("timm", "torch")
"""likewise, where the driver sees with a network"""
PICTURES = 2.0
"""Hz, how often pictures are kept for the replay pages of drivers that see with a network"""


@dataclass(frozen=True)
class SuiteRun:
    """Who drives a suite, with how much of the machine; see the options of those names."""

    driver: str
    perception: str
    settings: Sequence[str]
    latency: str
    workers: int | None
    timeout: float
    memory: float
    ray: str
    resume: bool
    overwrite: bool
    replays: str
    json: bool

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout < math.inf:
            raise RoadloopError(f"timeout is {self.timeout:g}; it must be above 0 s")
        if not 0.0 <= self.memory < math.inf:
            raise RoadloopError(f"memory is {self.memory:g}; it must be above 0 GiB")
        if self.workers is not None and self.workers < 1:
            raise RoadloopError(f"workers is {self.workers}; it must be 1 or more")

    def check(self) -> None:
        """Raises RoadloopError where there is no such driver, perception, setting or latency."""
        build_driver(self.driver, self.perception, self.settings, self.latency)

    def usual_folder(self, suite: Suite) -> Path:
        """Where the run goes if nobody says: ``runs/SUITE-DRIVER``."""
        driver = build_driver(self.driver, self.perception, self.settings, self.latency)
        return Path("runs") / re.sub(r"[^\w.=-]+", "-", f"{suite.name}-{driver.name}").strip("-")

    def drive(self, suite: Suite, folder: Path) -> SuiteResults | None:
        """Drive what the folder does not hold yet; None where somebody pressed Ctrl-C."""
        from deploy.detectors import SHIPPED, checkpoint_of, is_detector
        from roadloop.suites.results import FORMAT, read_results
        from sim.evaluate import Job, evaluate
        from sim.workers import GIB, choose_workers, connect_ray, memory_limit

        senses, latency = _absolute(self.perception), _absolute(self.latency)
        weights = ""
        if is_detector(senses):
            weights = str(checkpoint_of(senses).resolve())
            senses = senses if senses in SHIPPED else weights
        options = (self.driver, senses, self.settings, latency)
        driver = build_driver(*options)  # a mistake in them is said now, not once per case
        percepts = bool(weights) and self.replays != "none"
        watch = functools.partial(watching, percepts=percepts, pictures=PICTURES, times=False)
        job = Job(
            functools.partial(build_driver, *options),
            folder,
            words(*options),
            self.replays,
            watch,
        )
        run = {
            "format": FORMAT,
            "suite": suite.name,
            "description": suite.description,
            "suite_hash": suite.hash,
            "driver": driver.name,
            "perception": senses,
            "settings": list(self.settings),
            "latency": latency,
            "files": _hashes(weights or senses, latency),
            "versions": _versions(NETWORKS if weights else ()),
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
        if finished:
            return results
        left = len(suite.cases) - len(results.cases)
        print(
            f"roadloop: interrupted; {left} scenarios are left, go on with --resume",
            file=sys.stderr,
        )
        return None

    def conclude(self, suite: Suite, results: SuiteResults) -> int:
        """Write and print the summary and the page; 1 where a case failed."""
        from roadloop.suites.summary import summary_text, write_summary
        from roadloop.viz.suite_page import write_suite_page

        summary = write_summary(results)
        page = write_suite_page(results.folder / "index.html", results)
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


def _versions(more: Sequence[str]) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in (*LIBRARIES, *more)}
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
