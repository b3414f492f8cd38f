"""``roadloop export``: a network for a board, or a drive in its logs as files for viewers."""

from __future__ import annotations

import sys
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
    """Write a network as an ONNX file for a board, or a drive as a file for viewers.

    A network: WHAT is a detector by name (compact), a .safetensors or the folder of a run, and
    --target says where it is to run (docs/export.md). The file is held against PyTorch, on noise
    and on a simulated moment, and linted for the target; it is only written where both pass, else
    the exit status is 1. A manifest (.json) and reference arrays (.npz) are written beside it.

    A drive: WHAT is its folder; --rerun, --mcap or both say what to write. Reads rollout/ as
    `roadloop drive` writes it, sensors/ as `roadloop record` does, or either of them.

    Example: roadloop export compact --target orin-nano-8gb --out runs/compact.onnx

    A drive: roadloop export runs/dense_town-seed0 --rerun drive.rrd --mcap drive.mcap
    """

    what: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WHAT")]
    """a detector, a forecaster, or the folder of a drive or of a sensor log"""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """of a network: orin-nano-8gb, orin-nano-super, orin-nx-16gb, agx-orin, thor, rtx, cpu, or the
    path of a .yaml"""
    out: Annotated[File, default_text("runs/export/WHAT-NAME.onnx")] = None
    """of a network: the .onnx to write"""
    precision: Literal["target", "fp32", "fp16"] = "target"
    """of a network: other than the target's"""
    lift: Literal["target", "own", "sample", "gather4"] = "target"
    """of a detector: how features get into the bird's-eye view, other than the target's"""
    rerun: Annotated[File, default_text("none")] = None
    """of a drive: recording to write for the rerun viewer (.rrd)"""
    mcap: Annotated[File, default_text("none")] = None
    """of a drive: file to write for Foxglove or Lichtblick (.mcap)"""
    map: Annotated[File, default_text("the one the log names")] = None
    """of a drive: map (.xodr or .osm) that was driven on"""
    points: Literal["height", "intensity", "semantic"] = "height"
    """of a drive: by what the rerun recording colours LiDAR points"""

    def __post_init__(self) -> None:
        if self.target and (self.rerun or self.mcap):
            raise RoadloopError("--target exports a network, --rerun and --mcap a drive: give one")
        if not self.target and (self.out, self.precision, self.lift) != (None, "target", "target"):
            raise RoadloopError("--out, --precision and --lift are for a network: give --target")

    def run(self) -> int:
        return self._network() if self.target else self._drive()

    def _network(self) -> int:
        import dataclasses

        from deploy.export import export_checkpoint
        from deploy.targets import find_target
        from roadloop.cli.simulated_moment import simulated_moments

        target = find_target(self.target)
        chosen = {"precision": self.precision, "lift": self.lift}
        changes = {key: value for key, value in chosen.items() if value != "target"}
        target = dataclasses.replace(target, **changes)
        name = self.what.stem if self.what.suffix else self.what.name
        out = self.out or Path("runs") / "export" / f"{name}-{target.name}.onnx"
        try:
            made = export_checkpoint(str(self.what), target, out, simulated_moments)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("onnx"):
                raise RoadloopError(f"{error}: pip install 'roadloop[onnx]'") from error
            raise
        worst = {name: max((d for d in made.parity if d.output == name), key=lambda d: d.relative)
                 for name in sorted({d.output for d in made.parity})}  # fmt: skip
        print(f"{'output':14}{'relative':>10}{'dB':>6}  worst of the cases, beside PyTorch")
        for name, each in worst.items():
            print(f"{name:14}{each.relative:10.1e}{each.decibel:6.0f}  {each.case}")
        print(f"{made.precision}, {made.nodes} nodes, {made.bytes / 1e6:.2f} MB")
        if made.problems:
            for problem in made.problems:
                print(f"roadloop: {problem}", file=sys.stderr)
            print(f"roadloop: {out} was not written", file=sys.stderr)
            return 1
        for path in made.files:
            print(path)
        return 0

    def _drive(self) -> int:
        from roadloop.cli.viewers import open_writers
        from roadloop.scoring.result import read_score
        from roadloop.viz.logged_drive import logged_steps

        if self.rerun is None and self.mcap is None:
            raise RoadloopError(
                "nothing to write: give --rerun FILE.rrd, --mcap FILE.mcap or both of a drive, "
                "--target NAME of a network"
            )
        rollout, sensors, subject = self._read()
        steps = len(sensors or ()) if rollout is None else len(rollout.time)
        with ExitStack() as files:
            writers = open_writers(files, subject, self.rerun, self.mcap, self.points)
            bar = files.enter_context(progress_bar("export", "step", steps, quiet=False))
            for step in logged_steps(rollout, sensors):
                for writer in writers:
                    writer.append(**vars(step))
                bar.update()
            if (self.what / "score.json").is_file():
                score = read_score(self.what / "score.json")
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

        folders = (self.what, self.what / "sensors")
        sensors = None
        if any((folder / RIG).is_file() for folder in folders):
            sensors = SensorLogReader(self.what)
        rig = None if sensors is None else sensors.rig
        if sensors is None or (self.what / "rollout").is_dir():
            rollout, road_map = read_drive(self.what, self.map)
            return rollout, sensors, subject_of_rollout(rollout, road_map, rig)
        known = ("scenario", "seed", "driver", "map", "map_hash")
        about = sensors.meta["about"]
        facts = {key: str(about[key]) for key in known if key in about}
        road_map = None if self.map is None else load_map(self.map)
        return None, sensors, Subject(facts, road_map, None, rig)
