"""Detectors by name or file, as ``--perception`` takes them."""

from __future__ import annotations

from pathlib import Path

from perception.checkpoint import weights_file
from roadloop.errors import RoadloopError

SHIPPED = ("compact",)
"""detectors by name; their weights come with roadloop"""
WEIGHTS = Path(__file__).resolve().parents[1] / "perception" / "weights"
"""folder of them"""
TRAINING = "python -m training.train_detector --config detector_{name} --out runs/{name}"
"""what makes one"""


def is_detector(name: str) -> bool:
    """Whether a perception means a detector: its name, a checkpoint, or a folder."""
    if name.partition(":")[0] in ("truth", "noisy"):
        return False
    path = Path(name)
    is_path = path.is_dir() or len(path.parts) > 1 or path.suffix not in ("", ".yaml", ".yml")
    return name in SHIPPED or is_path


def checkpoint_of(name: str) -> Path:
    """The file behind a detector's name or path.

    Raises RoadloopError where there is none, or it is no safetensors file.
    """
    if name not in SHIPPED:
        return weights_file(name)
    file = WEIGHTS / f"{name}.safetensors"
    if not file.is_file():
        raise RoadloopError(
            f'the detector "{name}" did not come with this copy of roadloop ({file} is missing): '
            f"train it ({TRAINING.format(name=name)}) and give the folder of its run"
        )
    return file
