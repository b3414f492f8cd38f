"""``roadloop compare``: two runs of one suite, case by case."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from roadloop.command_line import File, default_text
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from roadloop.suites.comparison import Comparison


@dataclass(frozen=True)
class Compare:
    """Compare two runs of one suite: what differs, and whether more than by chance.

    Runs are paired by case: mean difference with a bootstrap interval for every score and term,
    and the cases that changed most, with both replays. With --gate NAME the exit status is 1
    where B is significantly worse than A on that score (nuplan) or term
    (safety.collision_at_fault), so that continuous integration can use it.
    Units stand beside the values; the interval covers 95 percent.

    Example: roadloop compare runs/standard runs/noisy --gate nuplan
    """

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR_A")]
    """folder of a suite run: what is compared with"""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR_B")]
    """folder of another run of the same suite"""
    gate: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME")] = ()
    """score or SCORE.TERM on which B must not be significantly worse"""
    replays: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """cases that changed most which get replay pages on both sides, where they have none yet"""
    level: float = 0.95
    """confidence of the intervals"""
    out: Annotated[File, default_text("compare.html in DIR_B")] = None
    """page to write"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.suites.compare import compare_runs, comparison_json, comparison_text, gate
        from roadloop.suites.results import read_results
        from roadloop.viz.compare_page import write_compare_page

        a, b = read_results(self.a), read_results(self.b)
        comparison = compare_runs(a, b, level=self.level)
        worse = [name for name in self.gate if gate(comparison, name)]
        self._make_replays(comparison)
        page = write_compare_page(self.out or self.b / "compare.html", comparison)
        if self.json:
            result = {**comparison_json(comparison), "worse": worse, "page": str(page)}
            print(json.dumps(result, indent=2, allow_nan=False))
        else:
            print(comparison_text(comparison))
            print(page)
        for name in worse:
            print(f"roadloop: {self.b} is significantly worse on {name}", file=sys.stderr)
        return 1 if worse else 0

    def _make_replays(self, comparison: Comparison) -> None:
        """Replay pages of the cases that changed most, from their logs."""
        from roadloop.cli.names import read_drive
        from roadloop.scoring.terms import score
        from roadloop.suites.comparison import replay_page
        from roadloop.suites.results import log_folder, replay_file
        from roadloop.viz.report import write_report

        sides = [
            (run, case)
            for change in comparison.changes[: self.replays]
            for run, case in ((comparison.a, change.a), (comparison.b, change.b))
            if replay_page(run, case) is None and log_folder(run.folder, case.case).is_dir()
        ]
        with progress_bar("replays", "page", len(sides), quiet=self.json) as bar:
            for run, case in sides:
                rollout, road_map = read_drive(log_folder(run.folder, case.case), None)
                page = replay_file(run.folder, case.case)
                write_report(page, rollout, road_map, score(rollout, road_map))
                bar.update(1)
