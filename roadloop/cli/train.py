"""``roadloop train``: a network learns from recorded drives, or from the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from roadloop.command_line import Folder, default_text
from roadloop.errors import RoadloopError


@dataclass(frozen=True)
class Train:
    """Train a detector, a forecaster or a planner, on a laptop's CPU or a GPU.

    The run file says what the network is, what it learns from, and how (docs/training-detector.md,
    docs/training-forecaster.md, docs/learned-planner.md); --set changes a value of it. DIR then
    holds detector.safetensors or forecaster.safetensors (the weights that validation liked best),
    or planner.onnx, with progress.csv, validation.csv, curve.png, TensorBoard's scalars and
    pictures, and checkpoints. Ctrl-C ends after the running step and saves; --resume goes on, and
    ends as if there had been no break. On several GPUs: torchrun -m training.train_detector or
    training.train_forecaster, same options.

    Example: roadloop train detector --config detector_compact

    What road users will do: roadloop train forecaster --config forecaster_compact

    A planner taught by the rules: roadloop train planner --config planner_compact

    Own drives: roadloop train detector --config detector_compact --set data.folders=[runs/data]

    Fine-tuning: roadloop train detector --config detector_compact --out runs/tuned
    --set init=runs/detector_compact --set freeze=[pictures] --set epochs=2

    After Ctrl-C: roadloop train detector --out runs/detector_compact --resume
    """

    what: Annotated[
        tyro.conf.Positional[Literal["detector", "forecaster", "planner"]],
        tyro.conf.arg(metavar="WHAT"),
    ]
    """detector, forecaster or planner; a policy: python -m training.train_policy --help"""
    run_file: Annotated[str, tyro.conf.arg(name="config", metavar="NAME")] = ""
    """a run file by name (detector_compact, detector_full, forecaster_compact, forecaster_full,
    planner_compact) or path"""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """a value of it, e.g. batch=8 or model.channels=64; may be repeated"""
    out: Annotated[Folder, default_text("runs/NAME")] = None
    """folder of the run"""
    resume: bool = False
    """go on with the run DIR holds, from its last checkpoint"""
    overwrite: bool = False
    """replace the run DIR holds"""

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise RoadloopError("--resume keeps what --overwrite replaces; give one of them")
        if self.out is None and not self.run_file:
            raise RoadloopError(f"give a run file, e.g. --config {self.what}_compact")

    def run(self) -> int:
        out = self.out or Path("runs") / Path(self.run_file).stem
        asked = (out, self.run_file, self.set, self.resume, self.overwrite)
        try:
            if self.what == "forecaster":
                from training.train_forecaster import TrainForecaster

                return TrainForecaster(*asked).run()
            if self.what == "planner":
                from training.train_planner import TrainPlanner

                return TrainPlanner(*asked).run()
            from training.train_detector import TrainDetector

            return TrainDetector(*asked).run()
        except ModuleNotFoundError as error:
            if error.name in ("torch", "timm", "safetensors"):
                raise RoadloopError(f"{error}: pip install 'roadloop[train]'") from error
            raise
