"""Recorded drives of several data sets replayed by four drivers, others replayed and reactive.

    python benchmarks/replay_logs.py DATA [--out DIR] [--workers N] [--only NAME]

DATA is a folder with ``argoverse2/``, ``scenarionet/``, ``waymo_motion/`` and ``commonroad/`` as
their tools lay them out; what is missing is left out. Runs ``roadloop replay --resume`` for each
and prints, as Markdown, nuPlan's score of every drive by every driver, and of the recorded ego
whether it was at fault in a collision and in which share of steps all its corners were on drivable
ground (nuPlan allows 0.3 m). Exit status 1 where the recorded ego has a collision at fault or less
than 0.95 of that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path

import numpy as np

from roadloop.cli import main as roadloop
from roadloop.cli.names import read_drive
from roadloop.cli.replay import DRIVERS, cell
from roadloop.errors import RoadloopError
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan import OUTSIDE
from roadloop.suites.results import CaseResult, log_folder, read_results

SETS = {
    "argoverse2-sensor": ("argoverse2/sensor/val", "argoverse2"),
    "argoverse2-mining": ("argoverse2/scenario_mining", "argoverse2"),
    "scenarionet": ("scenarionet", "scenarionet"),
    "waymo-tfrecord": ("waymo_motion/tfrecord", "waymo-motion"),
    "waymo-json": ("waymo_motion/json", "waymo-motion"),
    "commonroad": ("commonroad", "commonroad"),
}
"""name -> folder and format"""
LEAST = 0.95
"""share of steps on drivable ground that is sane for a recorded drive"""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/replay-logs"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="one of the sets: " + ", ".join(SETS))
    args = parser.parse_args()
    found, odd = 0, []
    drivers = DRIVERS.split(",")
    for reactive in (False, True):
        print(f"\n### Others {'react' if reactive else 'move as recorded'}\n")
        head = ["drive", *drivers, "at fault", "drivable"]
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for name, (folder, format) in SETS.items():
            if not (args.data / folder).exists() or args.only not in ("", name):
                continue
            out = args.out / (name + ("-reactive" if reactive else ""))
            words = ["replay", str(args.data / folder), "--format", format, "--resume", "--json"]
            words += ["--out", str(out), "--workers", str(args.workers), "--replays", "none"]
            with contextlib.redirect_stdout(io.StringIO()):
                roadloop(words + (["--reactive"] if reactive else []))
            results = {d: {c.case: c for c in read_results(out / d).cases} for d in drivers}
            for case in results["recorded"]:
                found += 1
                cells = [cell(results[d].get(case)) for d in drivers]
                expert = results["recorded"][case]
                if expert.failed:
                    odd.append(f"{name} {case}: not replayed: {expert.failed}")
                    print(f"| {name} {case} | " + " | ".join([*cells, "-", "-"]) + " |")
                    continue
                fault, share = collision_at_fault(expert), on_ground(out / "recorded", case)
                if not reactive and (fault or share < LEAST):
                    odd.append(f"{name} {case}: at fault {fault}, drivable {share:.2f}")
                row = [*cells, "yes" if fault else "no", f"{100 * share:.0f} %"]
                print(f"| {name} {case} | " + " | ".join(row) + " |", flush=True)
    if not found:
        raise RoadloopError(f"{args.data} holds none of {', '.join(f for f, _ in SETS.values())}")
    print("\n" + "\n".join(odd or ["every recorded ego is sane"]))
    return 1 if odd else 0


def collision_at_fault(case: CaseResult) -> bool:
    """Whether nuPlan's score finds the ego at fault."""
    nuplan = next(score for score in case.scores if score["name"] == "nuplan")
    term = next(t for t in nuplan["terms"] if t["name"] == "no_ego_at_fault_collisions")
    return term["value"] < 1.0


def on_ground(folder: Path, case: str) -> float:
    """Share of steps at which no corner of the ego is ``OUTSIDE`` m or more off drivable ground."""
    rollout, road_map = read_drive(log_folder(folder, case), None)
    outside = Driven(rollout, road_map).on_lanes.corners_outside
    return float(np.mean((outside < OUTSIDE).all(axis=1)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RoadloopError as error:
        print(f"replay_logs: {error}", file=sys.stderr)
        sys.exit(2)
