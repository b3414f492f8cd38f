"""Drivers compared on a suite: every driver drives it, then the tables are printed as Markdown.

    python benchmarks/driver_table.py SUITE [--drivers LIST] [--against NAME] [--out DIR]
        [--workers N] [--timeout S] [--maps DIR] [--pdm S] [--no-driving]

LIST has commas between drivers; ``NAME+SENSES`` drives by that perception, e.g. ``rule+noisy``.
Each one's run lies in DIR/SUITE/DRIVER as `roadloop score` writes it. Whatever is there already
is not driven again, so that the command may be stopped and given once more; with --no-driving it
only prints, also of runs that are not finished.

Tables: every driver's means with their 95 % intervals; each driver less the one --against, paired
by case; nuPlan's score by family; of test protocols what was avoided at which speed. --pdm adds
NAVSIM's PDM score of moments that many seconds apart (`benchmarks/pdm_of_drives.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path

from pdm_of_drives import pdm_of_run

from roadloop.cli import main as roadloop
from roadloop.command_line import INTERRUPTED
from roadloop.errors import RoadloopError
from roadloop.suites.driver_table import DriverRun, driver_tables
from roadloop.suites.results import RUN, read_results
from sim.suite import load_suite

DRIVERS = "idm,route-follower,rule,pdm-closed"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", help="name or .yaml")
    parser.add_argument("--drivers", default=DRIVERS, help=f"by default {DRIVERS}")
    parser.add_argument("--against", default="", help="by default rule, or the first one")
    parser.add_argument("--out", type=Path, default=Path("runs/drivers"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--timeout", type=float, default=900.0, help="s a scenario may take")
    parser.add_argument("--maps", type=Path, help="folder of OpenDRIVE maps, where asked for")
    parser.add_argument("--pdm", type=float, default=0.0, help="s between moments of the PDM score")
    parser.add_argument("--no-driving", action="store_true")
    args = parser.parse_args()

    suite = load_suite(args.suite, args.maps)
    names = list(dict.fromkeys(name.strip() for name in args.drivers.split(",") if name.strip()))
    runs = []
    for name in names:
        folder = args.out / suite.name / re.sub(r"[^\w.=+-]+", "-", name).strip("-")
        if not args.no_driving:
            driver, _, senses = name.partition("+")
            words = ["score", args.suite, "--driver", driver, "--perception", senses or "truth"]
            words += ["--out", str(folder), "--resume", "--timeout", str(args.timeout)]
            words += ["--workers", str(args.workers)] if args.workers else []
            words += ["--maps", str(args.maps)] if args.maps else []
            print(f"{name} on {suite.name}: {folder}", file=sys.stderr, flush=True)
            with contextlib.redirect_stdout(io.StringIO()):
                status = roadloop(words)
            if status in (2, INTERRUPTED):
                return status
        elif not (folder / RUN).exists():
            continue
        results, extra = read_results(folder), {}
        if args.pdm > 0.0:
            extra["PDM"] = pdm_of_run(folder, suite, every=args.pdm, workers=args.workers or 1)
        runs.append(DriverRun(name, results, extra))
    if not runs:
        raise RoadloopError(f"{args.out / suite.name} holds no run of {args.drivers}")
    against = args.against or ("rule" if "rule" in names else names[0])
    print(f"### {suite.name}\n\n{suite.description}\n")
    print(driver_tables(runs, against))
    failed = [f"{r.name} {c.case}: {c.failed}" for r in runs for c in r.results.cases if c.failed]
    print("".join(f"\nnot driven: {line}" for line in failed), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RoadloopError as error:
        print(f"driver_table: {error}", file=sys.stderr)
        sys.exit(2)
