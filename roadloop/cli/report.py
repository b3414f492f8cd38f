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

    Where the driver saw with a network and percepts/ lies beside the log, also what it saw; where
    plans/ does, why it drove as it did.

    Example: roadloop report runs/dense_town-seed0 --out drive.html
    """

    rollout: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROLLOUT")]
    """folder of a drive"""
    map: Annotated[File, default_text("the one the log names")] = None
    """map (.xodr or .osm) that was driven on"""
    out: Annotated[File, default_text("report.html beside the log")] = None
    """file to write"""

    def run(self) -> int:
        from roadloop.cli.watching import seen_in
        from roadloop.drive_folder import rollout_folder
        from roadloop.logs.plans import read_plans
        from roadloop.scoring.diagnostics import with_diagnostics
        from roadloop.scoring.terms import score
        from roadloop.viz.report import write_report

        folder = rollout_folder(self.rollout)
        out = self.out or folder.parent / "report.html"
        rollout, road_map = read_drive(self.rollout, self.map)
        seen = seen_in(folder.parent / "percepts", rollout)
        plans = read_plans(folder.parent / "plans")
        (scored,) = with_diagnostics([score(rollout, road_map)], plans)
        print(write_report(out, rollout, road_map, scored, seen=seen, plans=plans))
        return 0
