"""``roadloop evaluate``: a detector judged on recorded drives."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from roadloop.command_line import INTERRUPTED, Count, File, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar

if TYPE_CHECKING:
    from perception.detector_report import DetectorReport
    from training.evaluation_run import Judge

DRIVES = ".drives.jsonl"
"""after the name of the result: what every drive came to, for --resume"""


@dataclass(frozen=True)
class Evaluate:
    """Judge a detector on recorded drives, or compare two results.

    Drives are seen as in the car: in order, the memory carried on. Prints average precision on
    visible objects (by distance between centres, by range, by sector), errors of boxes and
    velocities, how well the believed spreads hold, IoU of the map's layers, traffic lights, the
    nuScenes score, all of it by weather, light, family and seed, and latencies. With --out
    RESULT.json the same is written there and, to look at, into RESULT.html; every drive is kept the
    moment it is judged, and --resume goes on after Ctrl-C or a kill.

    Example: roadloop evaluate runs/detector/compact --log runs/held-out --out runs/compact.json

    What a lost camera costs: roadloop evaluate runs/detector/compact --log runs/held-out
    --table fusion

    Two results: roadloop evaluate --compare runs/before.json runs/after.json
    """

    checkpoint: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="CHECKPOINT")
    ] = None
    """a detector by name (compact), its .safetensors, or the folder of its run"""
    log: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="DIR")] = ()
    """folder of recorded drives, of any format docs/data.md lists; may be given several times"""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """of the folders; auto finds it"""
    drives: Annotated[str, tyro.conf.arg(metavar="LIST"), default_text("all")] = ""
    """names with commas between them, * and ? as in a shell"""
    every: Annotated[Count, default_text("as old as the detector's memory")] = None
    """use every Nth recorded step"""
    moments: Annotated[Count, default_text("whole drives")] = None
    """end each drive after so many"""
    sensors: Annotated[str, tyro.conf.arg(metavar="WHICH")] = "all"
    """what the detector gets: all, camera, camera+radar, camera+lidar, ..."""
    drop: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME")] = ()
    """a camera it does not get, e.g. front-left; may be given several times"""
    table: Literal["one", "fusion"] = "one"
    """fusion: also all mixtures of sensors, and every camera dropped"""
    latency: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """moments that are timed, with 1 and 2 threads; 0: none"""
    workers: Annotated[Count, default_text("one per core")] = None
    """processes, each with a drive at a time"""
    device: str = "cpu"
    """of PyTorch: cpu, cuda, ..."""
    bf16: bool = False
    """compute in bfloat16"""
    out: Annotated[File, default_text("not kept")] = None
    """.json to write; a page .html and the single drives are written beside it"""
    resume: bool = False
    """go on with the drives that were judged before"""
    overwrite: bool = False
    """replace what is there"""
    compare: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="A B")] = ()
    """two results: is B better than A, drive by drive"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        for name in ("every", "moments", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RoadloopError(f"{name} is {value}; it must be 1 or more")
        if self.latency < 0:
            raise RoadloopError(f"latency is {self.latency}; it must be 0 or more")
        if self.resume and self.overwrite:
            raise RoadloopError("--resume keeps what --overwrite replaces; give one of them")
        if self.resume and self.out is None:
            raise RoadloopError("--resume goes on with what --out names: give both")
        if self.out is not None and self.out.suffix != ".json":
            raise RoadloopError(f"--out {self.out}: expected a name that ends in .json")
        if self.table == "fusion" and (self.sensors != "all" or self.drop):
            raise RoadloopError("--table fusion tries all sensors: leave out --sensors and --drop")
        if self.compare:
            if len(self.compare) != 2:
                raise RoadloopError(f"--compare takes two results, not {len(self.compare)}")
            if self.checkpoint or self.log:
                raise RoadloopError("--compare reads two results: give no checkpoint and no --log")
        elif self.checkpoint is None or not self.log:
            raise RoadloopError(
                "give a detector and recorded drives: roadloop evaluate CHECKPOINT --log DIR"
            )

    def run(self) -> int:
        if self.compare:
            return self._compare()
        assert self.checkpoint is not None
        from deploy.detectors import checkpoint_of
        from perception.checkpoint import load_detector_weights
        from perception.detector_report import plain, write_report
        from perception.detector_tables import make_table, write_report_page
        from training.evaluate_detector import find_drives, fusion_subsets, subset_of
        from training.evaluation_run import Judge

        checkpoint = checkpoint_of(str(self.checkpoint))
        config, _, header = load_detector_weights(checkpoint)
        drives = find_drives(self.log, self.format, self.drives)
        subsets = [subset_of(config, self.sensors, self.drop)]
        if self.table == "fusion":
            subsets = fusion_subsets(config)
        judge = Judge(
            checkpoint,
            every=self.every or 0,
            most=self.moments or 0,
            device=self.device,
            bf16=self.bf16,
        )
        report = self._judged(judge, drives, subsets, self._facts(judge, header))
        if report is None:
            return INTERRUPTED
        page = None
        if self.out is not None:
            write_report(self.out, report)
            page = write_report_page(self.out.with_suffix(".html"), report)
        if self.json:
            print(json.dumps(plain(asdict(report)), indent=2, allow_nan=False))
            return 0
        print(make_table(report))
        if page is not None:
            print(f"{self.out}\n{page}")
        return 0

    def _judged(
        self, judge: Judge, drives: list[Any], subsets: list[Any], facts: dict[str, Any]
    ) -> DetectorReport | None:
        """The report; None where somebody pressed Ctrl-C."""
        import dataclasses

        from sim.workers import choose_workers
        from training.detector_latency import measure_latency
        from training.evaluation_run import DriveLines, evaluate_logs

        lines = None
        if self.out is not None:
            file = self.out.with_suffix(DRIVES)
            held = next((p for p in (self.out, file) if p.exists()), None)
            if held and not (self.resume or self.overwrite):
                raise RoadloopError(
                    f"{held} is there already; go on with it by --resume, replace it by "
                    "--overwrite, or give another --out"
                )
            lines = DriveLines(file, judge.identity(), resume=self.resume)
        total = len(drives) * len(subsets)
        try:
            with progress_bar("evaluate", "drives", total, quiet=self.json) as bar:
                report = evaluate_logs(
                    judge,
                    drives,
                    subsets,
                    lines,
                    workers=choose_workers(self.workers),
                    facts=facts,
                    on_drive=lambda scores: bar.update(1),
                )
            timed = []
            if self.latency:
                try:
                    timed = measure_latency(judge, drives[0], self.latency)
                except RoadloopError as error:  # of a rig that only a recording can have
                    print(f"roadloop: no latencies: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            left = "go on with --resume" if lines is not None else "nothing was kept (no --out)"
            print(f"roadloop: interrupted; {left}", file=sys.stderr)
            return None
        return dataclasses.replace(report, latency=timed)

    def _facts(self, judge: Judge, header: dict[str, Any]) -> dict[str, Any]:
        from perception.checkpoint import weights_file
        from perception.detector import checkpoint_label
        from roadloop import __version__

        file = weights_file(judge.checkpoint)
        return {
            "detector": checkpoint_label(file),
            "checkpoint": str(file),
            "step": header.get("step", ""),
            "samples": header.get("samples", ""),
            "logs": [str(log) for log in self.log],
            "every": self.every or "state age",
            "roadloop_version": __version__,
        }

    def _compare(self) -> int:
        from perception.detector_report import plain, read_report
        from perception.detector_tables import compare_reports, comparison_table
        from roadloop.viz.table_page import table_text

        a, b = (read_report(path) for path in self.compare)
        differences = compare_reports(a, b)
        if self.json:
            found = {name: asdict(found) for name, found in differences.items()}
            result = {"a": str(self.compare[0]), "b": str(self.compare[1]), "measures": found}
            print(json.dumps(plain(result), indent=2, allow_nan=False))
            return 0
        for letter, path, report in zip("AB", self.compare, (a, b)):
            print(f"{letter}  {path}: {report.facts.get('detector', '')}")
        table = comparison_table(differences)
        print(f"\n{table_text(table)}\n{table.note}")
        return 0
