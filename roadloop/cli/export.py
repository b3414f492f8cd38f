"""``roadloop export``: a drive in its logs as files for viewers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from roadloop.cli.names import read_drive
from roadloop.command_line import File, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from roadloop.logs.sensor_reader import SensorLogReader
    from roadloop.types import Rollout
    from roadloop.viz.subject import Subject


@dataclass(frozen=True)
class Export:
    """Write a drive as a file for the rerun viewer, for Foxglove, or for both.

    Reads the logs in DRIVE: rollout/ as `roadloop drive` writes it, sensors/ as `roadloop record`
    does, or either of them.

    Example: roadloop export runs/dense_town-seed0 --rerun drive.rrd --mcap drive.mcap
    """

    drive: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DRIVE")]
    """folder of a drive or of a sensor log"""
    rerun: Annotated[File, default_text("none")] = None
    """recording to write for the rerun viewer (.rrd)"""
    mcap: Annotated[File, default_text("none")] = None
    """file to write for Foxglove or Lichtblick (.mcap)"""
    map: Annotated[File, default_text("the one the log names")] = None
    """map (.xodr or .osm) that was driven on"""
    points: Literal["height", "intensity", "semantic"] = "height"
    """by what the rerun recording colours LiDAR points"""

    def run(self) -> int:
        from roadloop.cli.viewers import open_writers
        from roadloop.scoring.result import read_score
        from roadloop.viz.logged_drive import logged_steps

        if self.rerun is None and self.mcap is None:
            raise RoadloopError("nothing to write: give --rerun FILE.rrd, --mcap FILE.mcap or both")
        rollout, sensors, subject = self._read()
        steps = len(sensors or ()) if rollout is None else len(rollout.time)
        with ExitStack() as files:
            writers = open_writers(files, subject, self.rerun, self.mcap, self.points)
            bar = files.enter_context(progress_bar("export", "step", steps, quiet=False))
            for step in logged_steps(rollout, sensors):
                for writer in writers:
                    writer.append(**vars(step))
                bar.update()
            if (self.drive / "score.json").is_file():
                score = read_score(self.drive / "score.json")
                for writer in writers:
                    writer.add_score(score)
        for path in (self.rerun, self.mcap):
            if path is not None:
                print(path)
        return 0

    def _read(self) -> tuple[Rollout | None, SensorLogReader | None, Subject]:
        """The logs that are there, and what they are about."""
        from roadloop.logs.sensor_folder import RIG
        from roadloop.logs.sensor_reader import SensorLogReader
        from roadloop.maps.cache import load_map
        from roadloop.viz.subject import Subject, subject_of_rollout

        folders = (self.drive, self.drive / "sensors")
        sensors = None
        if any((folder / RIG).is_file() for folder in folders):
            sensors = SensorLogReader(self.drive)
        rig = None if sensors is None else sensors.rig
        if sensors is None or (self.drive / "rollout").is_dir():
            rollout, road_map = read_drive(self.drive, self.map)
            return rollout, sensors, subject_of_rollout(rollout, road_map, rig)
        known = ("scenario", "seed", "driver", "map", "map_hash")
        about = sensors.meta["about"]
        facts = {key: str(about[key]) for key in known if key in about}
        road_map = None if self.map is None else load_map(self.map)
        return None, sensors, Subject(facts, road_map, None, rig)
