"""``roadloop report``: the HTML report of a drive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roadloop.cli.names import read_drive
from roadloop.command_line import File, default_text


@dataclass(frozen=True)
class Report:
    """Write the HTML report of a rollout: replay, plots (SI units) and score in one file.

    Example: roadloop report runs/dense_town-seed0 --out drive.html
    """

    rollout: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROLLOUT")]
    """folder of a drive"""
    map: Annotated[File, default_text("the one the log names")] = None
    """map (.xodr or .osm) that was driven on"""
    out: Annotated[File, default_text("report.html beside the log")] = None
    """file to write"""

    def run(self) -> int:
        from roadloop.drive_folder import rollout_folder
        from roadloop.scoring.terms import score
        from roadloop.viz.report import write_report

        out = self.out or rollout_folder(self.rollout).parent / "report.html"
        rollout, road_map = read_drive(self.rollout, self.map)
        print(write_report(out, rollout, road_map, score(rollout, road_map)))
        return 0
