"""``roadloop replay``: drivers in the seat of a recorded ego, scored beside what it did."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop.cli.drivers import DEFAULT, Latency, Perception, Settings
from roadloop.cli.suite_run import SuiteRun
from roadloop.command_line import INTERRUPTED, Count, Folder, Seconds, default_text
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.suites.results import CaseResult, SuiteResults

DRIVERS = f"recorded,stationary,constant-velocity,{DEFAULT}"

MARKS = {"collision_at_fault": "C", "collision_not_at_fault": "c", "off_road": "d"}
"""in the table, for safety terms that were lost"""


@dataclass(frozen=True)
class Replay:
    """Replay recorded drives closed loop: other drivers in the ego's seat, scored as it was.

    LOG is the folder or file of a data set of any format (docs/data.md), with road users and a
    map. Every drive is driven by every driver; `recorded` is the ego that was recorded, moved
    exactly as it was, what the others are measured against. By default the other road users move
    as recorded; with --reactive vehicles brake for an ego that is elsewhere than the recorded one.
    DIR gets a folder per driver as `roadloop score` writes it, for `roadloop compare` too. A drive
    that cannot be replayed is listed with its reason and makes the exit status 2.

    Example: roadloop replay data/scenarionet --workers 2 --out runs/replay

    One drive, others react: roadloop replay data/av2 --drives '7fab*' --driver rule --reactive
    """

    logs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="LOG ...")]
    """folders or files of recorded drives"""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """of the logs; auto finds it, docs/data.md names them"""
    drives: Annotated[str, tyro.conf.arg(metavar="LIST"), default_text("all")] = ""
    """names with commas between them, * and ? as in a shell"""
    driver: Annotated[str, tyro.conf.arg(metavar="LIST"), default_text(DRIVERS)] = DRIVERS
    """who drives, with commas between them; `roadloop list` names them"""
    reactive: bool = False
    """vehicles and cyclists brake for the ego (IDM along their recorded path)"""
    perception: Perception = "truth"
    """what the drivers see: truth, noisy, noisy:PRESET, a .yaml of noise, or with a network:
    compact, a checkpoint (.safetensors) or the folder of its training"""
    set: Settings = ()
    """a setting of the drivers that have it, e.g. time_headway=0.7"""
    latency: Latency = ""
    """how late the drivers' answers come: seconds, or a file of measured ones"""
    seconds: Annotated[Seconds, default_text("as recorded")] = None
    """s, length of each drive at most"""
    start: Annotated[float, tyro.conf.arg(metavar="S")] = 0.0
    """s into the recordings at which the drives begin"""
    workers: Annotated[Count, default_text("one per core that has memory for one")] = None
    """processes at once"""
    timeout: Annotated[float, tyro.conf.arg(metavar="S")] = 300.0
    """s of wall clock a drive may take"""
    out: Annotated[Folder, default_text("runs/replay-LOG")] = None
    """folder to write into"""
    resume: bool = False
    """go on with the runs DIR holds"""
    overwrite: bool = False
    """replace the runs DIR holds"""
    replays: Annotated[str, tyro.conf.arg(metavar="WHICH")] = "lost"
    """drives that get a page to look at: those that lost a term (lost), all, none"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        if not self.logs:
            raise RoadloopError("replay of nothing: give the folder or file of recorded drives")
        self._run(DEFAULT)

    def run(self) -> int:
        from roadloop.datasets.convert import chosen
        from roadloop.datasets.formats import list_drives
        from roadloop.suites.summary import write_summary
        from roadloop.viz.suite_page import write_suite_page
        from sim.suite import recorded_suite

        drivers = list(
            dict.fromkeys(word.strip() for word in self.driver.split(",") if word.strip())
        )
        if not drivers:
            raise RoadloopError(f'--driver "{self.driver}" names nobody')
        for driver in drivers:
            self._run(driver).check()  # before the first of them drives for an hour
        recordings = []
        for log in self.logs:
            format, names = list_drives(log, self.format)
            recordings += [(log, name, format) for name in chosen(names, self.drives)]
        name = f"replay-{self.logs[0].resolve().name}" + ("-reactive" if self.reactive else "")
        suite = recorded_suite(
            name, recordings, reactive=self.reactive, seconds=self.seconds, start=self.start
        )
        folder = self.out or Path("runs") / name
        found: dict[str, SuiteResults] = {}
        for driver in drivers:
            results = self._run(driver).drive(suite, folder / _folder_name(driver))
            if results is None:
                return INTERRUPTED
            write_summary(results)
            write_suite_page(results.folder / "index.html", results)
            found[driver] = results
        if self.json:
            print(json.dumps(as_json(found), indent=2, allow_nan=False))
        else:
            print(as_text(found))
            for results in found.values():
                print(results.folder / "index.html")
        return 2 if any(case.failed for results in found.values() for case in results.cases) else 0

    def _run(self, driver: str) -> SuiteRun:
        plain = driver in ("recorded", "stationary", "constant-velocity")  # they look at nothing
        return SuiteRun(
            driver=driver,
            perception="truth" if plain else self.perception,
            settings=() if plain else self.set,
            latency="" if plain else self.latency,
            workers=self.workers,
            timeout=self.timeout,
            memory=0.0,
            ray="",
            resume=self.resume,
            overwrite=self.overwrite,
            replays=self.replays,
            json=self.json,
        )


def as_json(found: dict[str, SuiteResults]) -> dict[str, Any]:
    """Per driver and drive the scores, or why there is none."""
    return {
        driver: {
            case.case: {"failed": case.failed} if case.failed else {"scores": list(case.scores)}
            for case in results.cases
        }
        for driver, results in found.items()
    }


def as_text(found: dict[str, SuiteResults]) -> str:
    """A table: per drive and driver nuPlan's score in percent, and what was lost of safety.

    ``MARKS`` stand before the scores of drives that lost such a term.
    """
    drives = list(dict.fromkeys(case.case for r in found.values() for case in r.cases))
    width = max([len("nuPlan's score, %"), *map(len, drives)])
    columns = {driver: max(len(driver), 8) for driver in found}
    lines = ["  ".join(["nuPlan's score, %".ljust(width), *(d.rjust(columns[d]) for d in found)])]
    by_case = {driver: {c.case: c for c in r.cases} for driver, r in found.items()}
    for drive in drives:
        cells = [cell(by_case[d].get(drive)).rjust(columns[d]) for d in found]
        lines.append("  ".join([drive.ljust(width), *cells]))
    means = []
    for driver, results in found.items():
        values = [_nuplan(case) for case in results.finished]
        means.append(
            (f"{100 * sum(values) / len(values):.1f}" if values else "-").rjust(columns[driver])
        )
    lines.append("  ".join(["mean".ljust(width), *means]))
    lines.append("C collision at fault · c collision, not at fault · d off the drivable area")
    failed = {case.case: case.failed for r in found.values() for case in r.cases if case.failed}
    lines += [f"not replayed: {drive}: {why}" for drive, why in failed.items()]
    return "\n".join(lines)


def _nuplan(case: CaseResult) -> float:
    return next(s["value"] for s in case.scores if s["name"] == "nuplan")


def cell(case: CaseResult | None) -> str:
    """The marks and nuPlan's score of one drive, a dash where it was not driven."""
    if case is None or case.failed:
        return "-"
    lost = {
        term["name"]
        for score in case.scores
        if score["name"] == "safety"
        for term in score["terms"]
        if term["passed"] is False
    }
    marks = "".join(mark for term, mark in MARKS.items() if term in lost)
    return f"{marks + ' ' if marks else ''}{100 * _nuplan(case):.1f}"


def _folder_name(driver: str) -> str:
    import re

    return re.sub(r"[^\w.=-]+", "-", driver).strip("-")
