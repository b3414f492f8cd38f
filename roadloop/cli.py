"""The command line: one console script, ``roadloop VERB``.

This file composes the parts: it alone in ``roadloop/`` may import the packages above it, inside
the functions that need them, so that ``roadloop --help`` loads none of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop import __version__
from roadloop.command_line import (
    INTERRUPTED,
    Count,
    File,
    Folder,
    Seconds,
    Seed,
    default_text,
    run,
)
from roadloop.config import dump_config, unknown
from roadloop.errors import RoadloopError
from roadloop.terminal import (
    Laps,
    drive_json,
    drive_text,
    progress_bar,
    score_json,
    score_text,
    start_warp,
)

if TYPE_CHECKING:
    from roadloop.drive_folder import DriveFolder
    from roadloop.interfaces import Driver
    from roadloop.maps.road_map import RoadMap
    from roadloop.types import Rollout, Scenario

MESSAGES = 10
"""messages about a map's unusable elements that are printed"""


@dataclass(frozen=True)
class Drive:
    """Drive one scenario in closed loop and show what happened.

    Builds the scenario, lets the driver drive it, and writes into DIR: rollout/ (the log,
    Parquet), score.json, report.html, video.mp4 and config.yaml (this run, for --config).
    Lengths are metres, times seconds, speeds metres per second.
    The last line printed is the path of the report. Ctrl-C ends the drive early; what was
    driven until then is scored and written, and the exit status is 130.

    Example: roadloop drive dense_town --seconds 60 --agents 30 --seed 7
    """

    scenario: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCENARIO")] = "dense_town"
    """what to drive; `roadloop list` names them"""
    map: Annotated[File, default_text("the scenario's own")] = None
    """OpenDRIVE map (.xodr) to drive on"""
    driver: Annotated[str, tyro.conf.arg(metavar="NAME")] = "idm"
    """who drives; `roadloop list` names them"""
    seconds: Annotated[Seconds, default_text("the scenario's own")] = None
    """s, length of the drive; it ends sooner where the route is finished"""
    agents: Annotated[Count, default_text("the scenario's own")] = None
    """vehicles of background traffic, beside those the scenario itself needs"""
    seed: Seed = 0
    """same seed, same drive"""
    out: Annotated[Folder, default_text("runs/SCENARIO-seedN")] = None
    """folder to write into"""
    overwrite: bool = False
    """replace the run that DIR already holds"""
    video: bool = True
    """video.mp4 is written, unless --no-video"""
    json: bool = False
    """print one JSON object and nothing else"""
    config: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """run file: a .yaml path, or the name of one that comes with roadloop; options given here
    win over it"""

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise RoadloopError(f"seconds is {self.seconds:g}; it must be above 0")
        if self.agents is not None and self.agents < 0:
            raise RoadloopError(f"agents is {self.agents}; it must be 0 or more")
        if self.seed < 0:
            raise RoadloopError(f"seed is {self.seed}; it must be 0 or more")

    def run(self) -> int:
        from deploy.stack import DRIVERS, make_driver
        from roadloop.drive_folder import DriveFolder
        from roadloop.maps.cache import load_map
        from sim.scenarios import FAMILIES, build_scenario

        _known("scenario", self.scenario, FAMILIES)
        _known("driver", self.driver, DRIVERS)
        folder = DriveFolder(self.out or Path("runs") / f"{self.scenario}-seed{self.seed}")
        folder.prepare(overwrite=self.overwrite)

        laps = Laps()
        start_warp()
        road_map = None if self.map is None else load_map(self.map)
        scenario = build_scenario(
            self.scenario,
            seed=self.seed,
            road_map=road_map,
            agents=self.agents,
            duration=self.seconds,
        )
        driver = make_driver(self.driver)
        if not self.json:
            note = "the first drive on a machine also compiles the simulator"
            print(f"roadloop: driving {self.scenario} ({note})", file=sys.stderr)
        folder.clear()
        folder.config.write_text(self._run_file(), encoding="utf-8")
        laps.lap("build")
        finished = self._simulate(scenario, driver, folder)
        laps.lap("drive")
        if not finished:
            print("roadloop: interrupted; scoring what was driven", file=sys.stderr)
        result = self._write_results(scenario.road_map, folder, laps)
        if self.json:
            print(json.dumps(result, indent=2, allow_nan=False))
        return 0 if finished else INTERRUPTED

    def _run_file(self) -> str:
        """This run as YAML, without where and how its results are shown."""
        source = None if self.map is None else self.map.resolve()
        run = dataclasses.replace(self, map=source)
        return dump_config(run, leave_out=("out", "overwrite", "json", "config"))

    def _simulate(self, scenario: Scenario, driver: Driver, folder: DriveFolder) -> bool:
        """Write the log of the drive; False where Ctrl-C ended it."""
        from roadloop.logs.store import RolloutWriter
        from sim.run import drive_scenario
        from sim.simulator import SimWorld

        source = "" if self.map is None else str(self.map.resolve())
        try:
            with (
                progress_bar("drive", "s", scenario.duration, quiet=self.json) as bar,
                RolloutWriter(
                    folder.rollout, scenario, driver.name, overwrite=True, map_source=source
                ) as writer,
            ):
                drive_scenario(
                    scenario,
                    driver,
                    SimWorld(),
                    writer=writer,
                    on_step=lambda observation: bar.update(observation.time - bar.n),
                )
        except KeyboardInterrupt:
            return False
        return True

    def _write_results(self, road_map: RoadMap, folder: DriveFolder, laps: Laps) -> dict[str, Any]:
        """Score, report and video of the log in ``folder``; what --json prints."""
        from roadloop.logs.store import read_rollout
        from roadloop.scoring.terms import score, write_score
        from roadloop.viz.report import write_report
        from roadloop.viz.video import write_video

        rollout = read_rollout(folder.rollout)
        if len(rollout.time) == 0:
            raise RoadloopError(f"{folder.rollout}: interrupted before the first step")
        scored = score(rollout, road_map)
        write_score(folder.score, scored)
        laps.lap("score")
        if not self.json:
            print(drive_text(rollout))
            print(score_text(scored))
        write_report(folder.report, rollout, road_map, scored)
        laps.lap("report")
        if self.video:
            with progress_bar("video", "frame", 0, quiet=self.json) as bar:

                def show(done: int, frames: int) -> None:
                    bar.total = frames
                    bar.update(done - bar.n)

                write_video(folder.video, rollout, road_map, score=scored, progress=show)
            laps.lap("video")
        paths = ["rollout", "score", "report", *(["video"] if self.video else [])]
        if not self.json:
            for name in [*paths[:2], *paths[3:], "report"]:
                print(f"{name:9}{getattr(folder, name)}")
        return {
            **drive_json(rollout),
            "score": score_json(scored),
            "paths": {name: str(getattr(folder, name)) for name in paths},
            "timings_s": laps.seconds,
        }


@dataclass(frozen=True)
class List:
    """List the scenarios, the drivers and the families of generated maps.

    Example: roadloop list
    """

    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from deploy.stack import DRIVERS
        from roadloop.maps.generate import GENERATORS
        from sim.scenarios import FAMILIES

        listing = {
            "scenarios": {name: family.description for name, family in FAMILIES.items()},
            "drivers": dict(DRIVERS),
            "maps": dict(GENERATORS),
        }
        if self.json:
            print(json.dumps(listing, indent=2))
            return 0
        width = 2 + max(len(name) for part in listing.values() for name in part)
        titles = ("scenarios (roadloop drive NAME)", "drivers (--driver NAME)")
        for title, part in zip((*titles, "maps (roadloop map generate:NAME)"), listing.values()):
            print(title)
            for name, description in part.items():
                print(f"  {name:{width}}{description}")
        return 0


@dataclass(frozen=True)
class Map:
    """Read an OpenDRIVE map, say what is in it and what could not be used, and draw it.

    Lengths are metres, speeds metres per second. FILE may be generate:FAMILY
    (`roadloop list` names the families).

    Example: roadloop map generate:town --out town.png
    """

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """.xodr file, or generate:FAMILY"""
    seed: Seed = 0
    """for generated maps: same seed, same map"""
    out: Annotated[File, default_text("no picture")] = None
    """picture to write (.png)"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.viz.map_image import draw_map, map_statistics

        road_map = _read_map(self.file, self.seed)
        statistics = map_statistics(road_map)
        if self.out is not None:
            draw_map(road_map, self.out)
        if self.json:
            picture = None if self.out is None else str(self.out)
            messages = list(road_map.unsupported)
            print(json.dumps({**statistics, "not_used": messages, "picture": picture}, indent=2))
            return 0
        width = 2 + max(map(len, statistics))
        for name, value in statistics.items():
            print(f"{name:{width}}{f'{value:.6g}' if isinstance(value, float) else value}")
        for message in road_map.unsupported[:MESSAGES]:
            print(f"not used: {message}")
        if (more := len(road_map.unsupported) - MESSAGES) > 0:
            print(f"not used: {more} more, all of them with --json")
        if self.out is not None:
            print(self.out)
        return 0


@dataclass(frozen=True)
class Score:
    """Score a rollout again and print the terms.

    Units stand beside the values. ROLLOUT is the folder a drive was written into, or its
    rollout/ folder. The map is found again from what the log says; --map names it where it moved.

    Example: roadloop score runs/dense_town-seed0
    """

    rollout: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROLLOUT")]
    """folder of a drive"""
    map: Annotated[File, default_text("the one the log names")] = None
    """OpenDRIVE map that was driven on"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.scoring.terms import score

        rollout, road_map = _read_drive(self.rollout, self.map)
        scored = score(rollout, road_map)
        if self.json:
            result = {**drive_json(rollout), "score": score_json(scored)}
            print(json.dumps(result, indent=2, allow_nan=False))
        else:
            print(drive_text(rollout))
            print(score_text(scored))
        return 0


@dataclass(frozen=True)
class Report:
    """Write the HTML report of a rollout: replay, plots (SI units) and score in one file.

    Example: roadloop report runs/dense_town-seed0 --out drive.html
    """

    rollout: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROLLOUT")]
    """folder of a drive"""
    map: Annotated[File, default_text("the one the log names")] = None
    """OpenDRIVE map that was driven on"""
    out: Annotated[File, default_text("report.html beside the log")] = None
    """file to write"""

    def run(self) -> int:
        from roadloop.drive_folder import rollout_folder
        from roadloop.scoring.terms import score
        from roadloop.viz.report import write_report

        out = self.out or rollout_folder(self.rollout).parent / "report.html"
        rollout, road_map = _read_drive(self.rollout, self.map)
        print(write_report(out, rollout, road_map, score(rollout, road_map)))
        return 0


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing, and the one line that mends it.

    The exit status is 1 where something required is missing.

    Example: roadloop doctor --cuda
    """

    cuda: bool = False
    """also look for CUDA devices (starts Warp, takes a second or two)"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.doctor import as_json, as_text, examine, healthy

        checks = examine(cuda=self.cuda)
        print(as_json(checks) if self.json else as_text(checks))
        return 0 if healthy(checks) else 1


@dataclass(frozen=True)
class Version:
    """Print the version of roadloop.

    Example: roadloop version
    """

    def run(self) -> int:
        print(f"roadloop {__version__}")
        return 0


VERBS: dict[str, type] = {
    "drive": Drive,
    "list": List,
    "map": Map,
    "score": Score,
    "report": Report,
    "doctor": Doctor,
    "version": Version,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; 2 is a mistake in the input."""
    return run(VERBS, sys.argv[1:] if words is None else words)


def _known(noun: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise RoadloopError(f"{unknown(noun, name, known)}; `roadloop list` shows them all")


def _read_map(name: str, seed: int) -> RoadMap:
    """The map of a file, or a generated one where ``name`` is ``generate:FAMILY``."""
    from roadloop.maps.cache import load_map

    prefix, _, family = name.partition(":")
    if prefix != "generate":
        return load_map(name)
    from roadloop.maps.generate import GENERATORS, generate_map

    _known("map family", family, GENERATORS)
    return generate_map(family, seed=seed)


def _read_drive(path: Path, map_file: Path | None) -> tuple[Rollout, RoadMap]:
    """A rollout and the map it was driven on: ``map_file``, the log's own, or built once more."""
    from roadloop.drive_folder import rollout_folder
    from roadloop.logs.parts import read_meta
    from roadloop.logs.store import read_rollout
    from roadloop.maps.cache import load_map
    from sim.scenarios import build_scenario

    folder = rollout_folder(path)
    rollout = read_rollout(folder)
    source = str(map_file or read_meta(folder)["map"]["source"])
    if source:
        road_map = load_map(source)
    else:
        road_map = build_scenario(rollout.family, seed=rollout.seed).road_map
    if road_map.content_hash != rollout.map_hash:
        raise RoadloopError(
            f"{folder} was driven on another map than {source or rollout.family}: "
            f"name the file it was driven on with --map"
        )
    return rollout, road_map
