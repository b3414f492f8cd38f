"""``roadloop drive``: one scenario in closed loop, with its log, score, report and video."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop.cli.drivers import DEFAULT, Latency, Perception, Settings, build_driver, numbers
from roadloop.cli.names import known
from roadloop.cli.senses import Senses
from roadloop.command_line import INTERRUPTED, Count, File, Folder, Seconds, Seed, default_text
from roadloop.config import dump_config
from roadloop.errors import RoadloopError
from roadloop.terminal import (
    Laps,
    drive_json,
    drive_text,
    progress_bar,
    score_json,
    scores_text,
    start_warp,
)

if TYPE_CHECKING:
    from roadloop.cli.viewers import ViewerWriter
    from roadloop.cli.watching import Watching
    from roadloop.drive_folder import DriveFolder
    from roadloop.interfaces import Driver
    from roadloop.maps.road_map import RoadMap
    from roadloop.types import Observation, Scenario
    from roadloop.viz.film import Film
    from sim.simulator import SimWorld

_NOT_IN_A_RUN = ("out", "overwrite", "rerun", "mcap", "json", "config")
"""options that say where and how results are shown"""


@dataclass(frozen=True)
class Drive:
    """Drive one scenario in closed loop and show what happened.

    Builds the scenario, lets the driver drive it, and writes into DIR: rollout/ (the log,
    Parquet), score.json, report.html, video.mp4 and config.yaml (this run, for --config).
    Where the driver sees with a network also percepts/: what it saw, shown beside the truth in
    report and video.
    Lengths are metres, times seconds, speeds metres per second.
    The last line printed is the path of the report. Ctrl-C ends the drive early; what was
    driven until then is scored and written, and the exit status is 130.

    Example: roadloop drive dense_town --seconds 60 --agents 30 --seed 7
    """

    scenario: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCENARIO")] = "dense_town"
    """what to drive; `roadloop list` names them"""
    map: Annotated[File, default_text("the scenario's own")] = None
    """map to drive on: OpenDRIVE (.xodr) or Lanelet2 (.osm)"""
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
    seconds: Annotated[Seconds, default_text("the scenario's own")] = None
    """s, length of the drive; it ends sooner where the route is finished"""
    agents: Annotated[Count, default_text("the scenario's own")] = None
    """vehicles of background traffic, beside those the scenario itself needs"""
    traffic: Annotated[str, tyro.conf.arg(metavar="NAME")] = "rules"
    """who drives the background traffic: rules (built in), learned, learned:PATH or
    lane-following"""
    seed: Seed = 0
    """same seed, same drive"""
    parameter: Settings = ()
    """a parameter of the scenario, e.g. ego_speed=8.3"""
    weather: Annotated[str, tyro.conf.arg(metavar="NAME")] = "clear"
    """what cameras and LiDARs of the driver see through: clear, rain-night, fog, ... or random"""
    cameras: Annotated[str, tyro.conf.arg(metavar="RIG")] = ""
    """show what the cameras of this rig see in video and report, and all its sensors in --rerun and
    --mcap: a name of `roadloop list`, or a .yaml file"""
    out: Annotated[Folder, default_text("runs/SCENARIO-seedN")] = None
    """folder to write into"""
    overwrite: bool = False
    """replace the run that DIR already holds"""
    video: bool = True
    """video.mp4 is written, unless --no-video"""
    rerun: Annotated[File, default_text("none")] = None
    """also record the drive for the rerun viewer (.rrd)"""
    mcap: Annotated[File, default_text("none")] = None
    """also record the drive for Foxglove or Lichtblick (.mcap)"""
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
        from deploy.traffic import make_traffic
        from roadloop.cli.viewers import open_writers
        from roadloop.cli.watching import watching
        from roadloop.drive_folder import DriveFolder
        from roadloop.maps.cache import load_map
        from roadloop.rig import load_rig
        from roadloop.viz.film import Film
        from roadloop.viz.subject import subject_of_scenario
        from roadloop.weather import weather_of
        from sim.scenarios import FAMILIES, build_scenario
        from sim.simulator import SimWorld

        known("scenario", self.scenario, FAMILIES)
        weather = weather_of(self.weather, self.seed)
        driver = build_driver(self.driver, self.perception, self.set, self.latency)
        traffic = make_traffic(self.traffic)
        rig = load_rig(self.cameras) if self.cameras else None
        film = None if rig is None else Film(rig)
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
            parameters=numbers("--parameter", self.parameter),
            weather=weather,
        )
        if not self.json:
            note = "the first drive on a machine also compiles the simulator"
            print(f"roadloop: driving {self.scenario} ({note})", file=sys.stderr)
        with ExitStack() as files:
            subject = subject_of_scenario(scenario, driver.name, rig)
            views = open_writers(files, subject, self.rerun, self.mcap)
            folder.clear()
            folder.config.write_text(self._run_file(), encoding="utf-8")
            laps.lap("build")
            senses = Senses(driver, lambda line: _tell(line, quiet=self.json))
            world = SimWorld(traffic=traffic)
            watch = watching(driver, scenario, world)
            finished = self._simulate(scenario, driver, world, senses, watch, folder, film, views)
            laps.lap("drive")
            if not finished:
                print("roadloop: interrupted; scoring what was driven", file=sys.stderr)
            result = self._write_results(
                scenario.road_map, folder, laps, senses, watch, film, views
            )
        if self.json:
            print(json.dumps(result, indent=2, allow_nan=False))
        return 0 if finished else INTERRUPTED

    def _run_file(self) -> str:
        """This run as YAML, without where and how its results are shown."""
        source = None if self.map is None else self.map.resolve()
        run = dataclasses.replace(self, map=source)
        return dump_config(run, leave_out=_NOT_IN_A_RUN)

    def _simulate(
        self,
        scenario: Scenario,
        driver: Driver,
        world: SimWorld,
        senses: Senses,
        watch: Watching,
        folder: DriveFolder,
        film: Film | None,
        views: list[ViewerWriter],
    ) -> bool:
        """Write the log of the drive; False where Ctrl-C ended it."""
        from roadloop.cli.filming import shooting
        from roadloop.cli.viewers import LiveViews
        from roadloop.logs.store import RolloutWriter
        from sim.run import drive_scenario

        source = "" if self.map is None else str(self.map.resolve())
        shoot = None if film is None else shooting(film, scenario, world)
        try:
            with (
                progress_bar("drive", "s", scenario.duration, quiet=self.json) as bar,
                RolloutWriter(
                    folder.rollout, scenario, driver.name, overwrite=True, map_source=source
                ) as writer,
            ):

                def on_step(observation: Observation) -> None:
                    senses.listen(observation)
                    watch.listen(observation)
                    if shoot is not None:
                        shoot(observation)
                    bar.update(observation.time - bar.n)

                live = LiveViews(writer, views, world, scenario, film and film.rig)
                drive_scenario(scenario, driver, world, writer=live, on_step=on_step)
        except KeyboardInterrupt:
            return False
        return True

    def _write_results(
        self,
        road_map: RoadMap,
        folder: DriveFolder,
        laps: Laps,
        senses: Senses,
        watch: Watching,
        film: Film | None,
        views: list[ViewerWriter],
    ) -> dict[str, Any]:
        """Score, report and video of the log in ``folder``; what --json prints."""
        from roadloop.logs.store import read_rollout
        from roadloop.scoring.diagnostics import with_diagnostics
        from roadloop.scoring.result import write_score
        from roadloop.scoring.scores import judge
        from roadloop.viz.report import write_report
        from roadloop.viz.seen import as_json, summary_line
        from roadloop.viz.video import write_video

        rollout = read_rollout(folder.rollout)
        if len(rollout.time) == 0:
            raise RoadloopError(f"{folder.rollout}: interrupted before the first step")
        plans = watch.plans(folder.plans)
        scores = with_diagnostics(judge(rollout, road_map), plans)
        scored = scores[0]
        write_score(folder.score, scored)
        for view in views:
            view.add_score(scored)
        laps.lap("score")
        if not self.json:
            print(drive_text(rollout))
            print(scores_text(scores))
            if text := senses.text():
                print(f"  a step takes {text}")
        seen = watch.seen(rollout, folder.percepts)
        if seen is not None and not self.json:
            print(f"  seen: {summary_line(seen)}")
        facts = senses.facts()
        write_report(
            folder.report,
            rollout,
            road_map,
            scored,
            extra=facts,
            film=film,
            seen=seen,
            plans=plans,
        )
        laps.lap("report")
        if self.video:
            with progress_bar("video", "frame", 0, quiet=self.json) as bar:

                def show(done: int, frames: int) -> None:
                    bar.total = frames
                    bar.update(done - bar.n)

                write_video(
                    folder.video,
                    rollout,
                    road_map,
                    score=scored,
                    progress=show,
                    film=film,
                    seen=seen,
                    plans=plans,
                )
            laps.lap("video")
        paths = {name: getattr(folder, name) for name in ("rollout", "score")}
        paths |= {} if seen is None else {"percepts": folder.percepts}
        paths |= {} if plans is None else {"plans": folder.plans}
        paths |= {"video": folder.video} if self.video else {}
        paths |= {"rerun": self.rerun} if self.rerun else {}
        paths |= {"mcap": self.mcap} if self.mcap else {}
        paths["report"] = folder.report  # the last line, for scripts
        if not self.json:
            for name, path in paths.items():
                print(f"{name:9}{path}")
        return {
            **drive_json(rollout),
            **senses.as_json(),
            **({} if seen is None else {"seen": as_json(seen)}),
            "score": score_json(scored),
            "scores": {score.name: score_json(score) for score in scores},
            "paths": {name: str(path) for name, path in paths.items()},
            "timings_s": laps.seconds,
        }


def _tell(line: str, *, quiet: bool) -> None:
    """A line on standard error, beside the progress bar."""
    from tqdm import tqdm

    if not quiet:
        tqdm.write(f"roadloop: {line}", file=sys.stderr)
