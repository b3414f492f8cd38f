"""``roadloop score``: a drive again, or a driver over a whole suite."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roadloop.cli.drivers import DEFAULT, Latency, Perception, Settings
from roadloop.cli.names import read_drive
from roadloop.cli.suite_run import SuiteRun
from roadloop.command_line import INTERRUPTED, Count, File, Folder, default_text
from roadloop.terminal import drive_json, drive_text, score_json, scores_text


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
    driver: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT
    """who drives; `roadloop list` names them, policy:DIR is a trained one, MODULE:FUNCTION
    your own"""
    perception: Perception = "truth"
    """what the driver sees: truth, noisy, noisy:PRESET, a .yaml of noise, or with a network:
    compact, a checkpoint (.safetensors) or the folder of its training"""
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
    """for a drive: the map (.xodr or .osm) it was driven on"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        self._suite_run()

    def run(self) -> int:
        from sim.suite import load_suite, suite_names

        if self.what not in suite_names() and Path(self.what).is_dir():
            return self._score_drive(Path(self.what))
        run = self._suite_run()
        suite = load_suite(self.what, self.maps)
        folder = self.out or run.usual_folder(suite)
        results = run.drive(suite, folder)
        return INTERRUPTED if results is None else run.conclude(suite, results)

    def _suite_run(self) -> SuiteRun:
        return SuiteRun(
            driver=self.driver,
            perception=self.perception,
            settings=self.set,
            latency=self.latency,
            workers=self.workers,
            timeout=self.timeout,
            memory=self.memory,
            ray=self.ray,
            resume=self.resume,
            overwrite=self.overwrite,
            replays=self.replays,
            json=self.json,
        )

    def _score_drive(self, folder: Path) -> int:
        from roadloop.drive_folder import rollout_folder
        from roadloop.logs.plans import read_plans
        from roadloop.scoring.diagnostics import with_diagnostics
        from roadloop.scoring.scores import judge

        rollout, road_map = read_drive(folder, self.map)
        plans = read_plans(rollout_folder(folder).parent / "plans")
        scores = with_diagnostics(judge(rollout, road_map), plans)
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
