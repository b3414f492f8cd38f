"""``roadloop highway``: one task of highway-env driven by one of our drivers, with our scores."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop.cli.drivers import DEFAULT, Latency, Perception, Settings, build_driver
from roadloop.command_line import INTERRUPTED, Folder, Seconds, Seed, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import drive_json, drive_text, progress_bar, score_json, scores_text

if TYPE_CHECKING:
    from roadloop.drive_folder import DriveFolder
    from roadloop.interfaces import Driver
    from roadloop.types import Scenario
    from sim.highway.world import HighwayWorld


@dataclass(frozen=True)
class Highway:
    """Drive one task of highway-env and judge it with our scores.

    Their roads, traffic and vehicle model, our driver. Writes into DIR: map.xodr (their roads),
    rollout/ (the log), score.json, report.html and, if asked, video.mp4. The last line printed is
    the path of the report. Needs the extra `highway`.

    Example: roadloop highway merge-v0 --seed 3
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """highway-v0, merge-v0, roundabout-v0, intersection-v0, ...; a wrong name lists them"""
    driver: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT
    """who drives; `roadloop list` names them, policy:DIR is a trained one, MODULE:FUNCTION
    your own"""
    perception: Perception = "truth"
    """what the driver sees: truth, noisy, noisy:PRESET or a .yaml of noise"""
    set: Settings = ()
    """a setting of the driver, e.g. time_headway=0.7"""
    latency: Latency = ""
    """how late the driver's answers come: seconds, or a file of measured ones"""
    seconds: Annotated[Seconds, default_text("the task's")] = None
    """s, length of the drive; it ends sooner where the route is finished"""
    seed: Seed = 0
    """same seed, same drive"""
    out: Annotated[Folder, default_text("runs/TASK-seedN")] = None
    """folder to write into"""
    overwrite: bool = False
    """replace the run that DIR already holds"""
    video: bool = False
    """also write video.mp4"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.drive_folder import DriveFolder
        from sim.highway.scenario import highway_scenario, task_map
        from sim.highway.tasks import find_task
        from sim.highway.world import HighwayWorld

        find_task(self.task)
        driver = build_driver(self.driver, self.perception, self.set, self.latency)
        folder = DriveFolder(self.out or Path("runs") / f"{self.task}-seed{self.seed}")
        folder.prepare(overwrite=self.overwrite)
        scenario = highway_scenario(self.task, seed=self.seed, duration=self.seconds)
        folder.clear()
        roads = folder.path / "map.xodr"
        roads.write_text(task_map(self.task).xodr, encoding="utf-8")
        world = HighwayWorld()
        finished = self._drive(scenario, driver, world, folder, roads)
        if not finished:
            print("roadloop: interrupted; scoring what was driven", file=sys.stderr)
        result = self._write_results(scenario, world, folder)
        if self.json:
            print(json.dumps(result, indent=2, allow_nan=False))
        return 0 if finished else INTERRUPTED

    def _drive(
        self,
        scenario: Scenario,
        driver: Driver,
        world: HighwayWorld,
        folder: DriveFolder,
        roads: Path,
    ) -> bool:
        """Write the log of the drive; False where Ctrl-C ended it."""
        from roadloop.logs.store import RolloutWriter
        from sim.run import drive_scenario

        source = str(roads.resolve())
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
                    world,
                    writer=writer,
                    on_step=lambda observation: bar.update(observation.time - bar.n),
                )
        except KeyboardInterrupt:
            return False
        return True

    def _write_results(
        self, scenario: Scenario, world: HighwayWorld, folder: DriveFolder
    ) -> dict[str, Any]:
        """Score, report and video of the log in ``folder``; what --json prints."""
        from roadloop.logs.store import read_rollout
        from roadloop.scoring.result import write_score
        from roadloop.scoring.scores import judge
        from roadloop.viz.report import write_report
        from roadloop.viz.video import write_video

        rollout = read_rollout(folder.rollout)
        if len(rollout.time) == 0:
            raise RoadloopError(f"{folder.rollout}: interrupted before the first step")
        scores = judge(rollout, scenario.road_map)
        write_score(folder.score, scores[0])
        theirs = {
            "crashed": world.crashed,
            "mean_reward": sum(world.rewards) / max(len(world.rewards), 1),
        }
        if not self.json:
            print(drive_text(rollout))
            print(scores_text(scores))
            crash = "crashed" if theirs["crashed"] else "no crash"
            print(f"highway-env: {crash}, mean reward {theirs['mean_reward']:.3f} per step")
        write_report(folder.report, rollout, scenario.road_map, scores[0])
        if self.video:
            with progress_bar("video", "frame", 0, quiet=self.json) as bar:

                def show(done: int, frames: int) -> None:
                    bar.total = frames
                    bar.update(done - bar.n)

                write_video(
                    folder.video, rollout, scenario.road_map, score=scores[0], progress=show
                )
        paths = ["rollout", "score", *(["video"] if self.video else []), "report"]
        if not self.json:
            for name in paths:
                print(f"{name:9}{getattr(folder, name)}")
        return {
            **drive_json(rollout),
            "highway_env": theirs,
            "score": score_json(scores[0]),
            "scores": {score.name: score_json(score) for score in scores},
            "paths": {name: str(getattr(folder, name)) for name in paths},
        }
