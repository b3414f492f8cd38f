"""Recorded drives of several data sets replayed by drivers, beside the ego that was recorded.

    python benchmarks/replay_logs.py DATA [--drivers LIST] [--manner both|reactive|recorded]
        [--out DIR] [--workers N] [--only SET] [--drives LIST] [--timeout S]

DATA is a folder with ``argoverse2/``, ``scenarionet/``, ``waymo_motion/`` and ``commonroad/`` as
their tools lay them out; what is missing is left out. Runs ``roadloop replay --resume`` for each
and prints, as Markdown: nuPlan's score of every drive by every driver, and of the recorded ego
whether it was at fault in a collision and in which share of steps all its corners were on drivable
ground (nuPlan allows 0.3 m); the means per set; and for every driver that plans its difference to
the recorded ego, paired by drive, with every drive in which it loses more than 0.02 and the terms
it loses there. Exit status 1 where the recorded ego has a collision at fault or less than 0.95 of
that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roadloop.cli import main as roadloop
from roadloop.cli.names import read_drive
from roadloop.cli.replay import DRIVERS, cell
from roadloop.errors import RoadloopError
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan import OUTSIDE
from roadloop.stats import paired_difference
from roadloop.suites.driver_table import markdown
from roadloop.suites.results import CaseResult, log_folder, read_results

SETS = {
    "argoverse2-sensor": ("argoverse2/sensor/val", "argoverse2"),
    "argoverse2-mining": ("argoverse2/scenario_mining", "argoverse2"),
    "argoverse2-motion": ("argoverse2/motion-forecasting/val", "argoverse2-motion"),
    "scenarionet": ("scenarionet", "scenarionet"),
    "waymo-tfrecord": ("waymo_motion/tfrecord", "waymo-motion"),
    "waymo-json": ("waymo_motion/json", "waymo-motion"),
    "waymo-nocturne": ("waymo_motion/json_nocturne", "waymo-motion"),
    "commonroad": ("commonroad", "commonroad"),
}
"""name -> folder and format"""
LEAST = 0.95
"""share of steps on drivable ground that is sane for a recorded drive"""
LOSS = 0.02
"""of nuPlan's score below the recorded ego's that is explained"""
EXPERT = "recorded"
BASELINES = ("stationary", "constant-velocity")
"""of which nobody asks why they lose"""


@dataclass(frozen=True)
class Drive:
    """One recorded drive as every driver drove it."""

    set: str
    name: str
    cases: dict[str, CaseResult | None]
    """by driver"""

    def score(self, driver: str) -> float:
        """nuPlan's; NaN where it was not driven."""
        case = self.cases.get(driver)
        return float("nan") if case is None or case.failed else _nuplan(case)["value"]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--drivers", default=DRIVERS, help=f"by default {DRIVERS}")
    parser.add_argument("--manner", default="both", choices=("both", "reactive", "recorded"))
    parser.add_argument("--out", type=Path, default=Path("runs/replay-logs"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="one of the sets: " + ", ".join(SETS))
    parser.add_argument("--drives", default="", help="names with commas, * as in a shell")
    parser.add_argument("--timeout", type=float, default=900.0, help="s a drive may take")
    args = parser.parse_args()
    drivers = [EXPERT, *(d for d in args.drivers.split(",") if d != EXPERT)]
    odd: list[str] = []
    manners = {"both": (False, True), "reactive": (True,), "recorded": (False,)}[args.manner]
    for reactive in manners:
        print(f"\n### Others {'react' if reactive else 'move as recorded'}\n")
        drives = []
        for name in SETS:
            if args.only in ("", name):
                drives += replayed(args, name, drivers, reactive)
        if not drives:
            folders = ", ".join(folder for folder, _ in SETS.values())
            raise RoadloopError(f"{args.data} holds none of {folders}")
        print(_every_drive(args.out, drives, drivers, reactive, odd))
        print(f"\n{_means(drives, drivers)}")
        for driver in drivers[1:]:
            if driver not in BASELINES:
                print(f"\n{against_expert(drives, driver)}", flush=True)
    print("\n" + "\n".join(odd or ["every recorded ego is sane"]))
    return 1 if odd else 0


def replayed(
    args: argparse.Namespace, name: str, drivers: list[str], reactive: bool
) -> list[Drive]:
    """The drives of a set by all drivers; those that are on disk are not driven again."""
    folder, format = SETS[name]
    if not (args.data / folder).exists():
        return []
    out = _run_folder(args.out, name, reactive)
    words = ["replay", str(args.data / folder), "--format", format, "--resume", "--json"]
    words += ["--out", str(out), "--workers", str(args.workers), "--replays", "none"]
    words += ["--driver", ",".join(drivers), "--timeout", str(args.timeout)]
    words += ["--drives", args.drives] if args.drives else []
    print(f"{name}{', reactive' if reactive else ''}: {out}", file=sys.stderr, flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        roadloop(words + (["--reactive"] if reactive else []))
    results = {d: {c.case: c for c in read_results(out / d).cases} for d in drivers}
    return [
        Drive(name, case, {d: results[d].get(case) for d in drivers}) for case in results[EXPERT]
    ]


def _run_folder(out: Path, name: str, reactive: bool) -> Path:
    return out / (name + ("-reactive" if reactive else ""))


def _every_drive(
    out: Path, drives: list[Drive], drivers: list[str], reactive: bool, odd: list[str]
) -> str:
    rows = [["drive", *drivers, "at fault", "drivable"]]
    for drive in drives:
        cells = [cell(drive.cases[driver]) for driver in drivers]
        expert = drive.cases[EXPERT]
        if expert is None or expert.failed:
            odd.append(f"{drive.set} {drive.name}: not replayed: {expert and expert.failed}")
            rows.append([f"{drive.set} {drive.name}", *cells, "-", "-"])
            continue
        fault = collision_at_fault(expert)
        share = on_ground(_run_folder(out, drive.set, reactive) / EXPERT, drive.name)
        if not reactive and (fault or share < LEAST):
            odd.append(f"{drive.set} {drive.name}: at fault {fault}, drivable {share:.2f}")
        more = ["yes" if fault else "no", f"{100 * share:.0f} %"]
        rows.append([f"{drive.set} {drive.name}", *cells, *more])
    return markdown(rows)


def _means(drives: list[Drive], drivers: list[str]) -> str:
    """Mean score in percent per set and driver, over the drives that all of them drove."""
    rows = [["drives", *(f"`{driver}`" for driver in drivers)]]
    kept = [d for d in drives if all(np.isfinite(d.score(driver)) for driver in drivers)]
    if not kept:
        return "no drive was driven by all of them"
    for name in [*dict.fromkeys(drive.set for drive in kept), ""]:
        mine = [drive for drive in kept if name in ("", drive.set)]
        means = [f"{100 * np.mean([d.score(driver) for d in mine]):.1f}" for driver in drivers]
        rows.append([f"{len(mine)} of {name or 'all'}", *means])
    return markdown(rows)


def against_expert(drives: list[Drive], driver: str) -> str:
    """How much less a driver gets than the recorded ego, and why, drive by drive."""
    expert, mine = (np.array([drive.score(d) for drive in drives]) for d in (EXPERT, driver))
    found = paired_difference(expert, mine, strata=np.array([drive.set for drive in drives]))
    if not found.pairs:
        return f"`{driver}` drove nothing to compare"
    lines = [
        f"`{driver}` less `{EXPERT}`: {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}] over "
        f"{found.pairs} drives"
    ]
    for drive, a, b in zip(drives, expert, mine):
        recorded, other = drive.cases[EXPERT], drive.cases[driver]
        if other is not None and other.failed:
            lines.append(f"* {drive.set} {drive.name}: not driven: {other.failed}")
        if b < a - LOSS and recorded is not None and other is not None:
            lines.append(f"* {drive.set} {drive.name}: {b:.3f} beside {a:.3f}")
            lines += [f"    * {reason}" for reason in lost_terms(recorded, other)]
    return "\n".join(lines)


def lost_terms(recorded: CaseResult, other: CaseResult) -> list[str]:
    """nuPlan's terms in which a drive is worse than the recorded one, each with its sentence."""
    before = {term["name"]: term["value"] for term in _nuplan(recorded)["terms"]}
    lines = []
    for term in _nuplan(other)["terms"]:
        was, now = before.get(term["name"]), term["value"]
        if was is not None and now is not None and now < was - 1e-6:
            when = "" if term["lost_at"] is None else f" at {term['lost_at']:.1f} s"
            lines.append(f"{term['title']} {now:.2f} beside {was:.2f}{when}: {term['detail']}")
    return lines


def collision_at_fault(case: CaseResult) -> bool:
    """Whether nuPlan's score finds the ego at fault."""
    terms = {term["name"]: term["value"] for term in _nuplan(case)["terms"]}
    return terms["no_ego_at_fault_collisions"] < 1.0


def on_ground(folder: Path, case: str) -> float:
    """Share of steps at which no corner of the ego is ``OUTSIDE`` m or more off drivable ground."""
    rollout, road_map = read_drive(log_folder(folder, case), None)
    outside = Driven(rollout, road_map).on_lanes.corners_outside
    return float(np.mean((outside < OUTSIDE).all(axis=1)))


def _nuplan(case: CaseResult) -> dict:
    return next(score for score in case.scores if score["name"] == "nuplan")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RoadloopError as error:
        print(f"replay_logs: {error}", file=sys.stderr)
        sys.exit(2)
