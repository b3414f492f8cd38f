"""What a network is exported for: a board, what runs networks on it, and how it is set up there.

Targets come with roadloop as ``configs/targets/NAME.yaml``; a file of one's own is named by its
path.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roadloop.config import config_folder, load_config, unknown
from roadloop.errors import RoadloopError

Precision = Literal["fp32", "fp16"]
Lift = Literal["own", "sample", "gather4"]


@dataclass(frozen=True)
class Target:
    """A board with its software. Figures that are 0 are not known or do not apply."""

    name: str = ""
    """the file's, without its ending"""
    board: str = ""
    runtime: Literal["tensorrt", "tensorrt-rtx", "onnxruntime"] = "onnxruntime"
    """what runs the network"""
    version: str = "1.20"
    """of it, e.g. 10.3: the oldest that the file is to work with"""
    jetpack: str = ""
    compute_capability: tuple[str, ...] = ()
    """of the GPUs, e.g. 8.7"""
    precision: Precision = "fp32"
    """of what is computed from learned weights; coordinates, normalisation and attention are always
    fp32"""
    lift: Lift = "own"
    """how features get into the bird's-eye view, see `perception.lift`; own: as it was trained"""
    opset: int = 17
    workspace: int = 0
    """MiB that the builder of an engine may use"""
    power_mode: str = ""
    """that the figures of a measurement belong to"""
    dla_cores: int = 0
    """deep-learning accelerators on the board"""
    memory: float = 0.0
    """GB"""
    bandwidth: float = 0.0
    """GB/s"""

    def __post_init__(self) -> None:
        if not 17 <= self.opset <= 19:
            # 17 is the first with LayerNormalization; see deploy.lint_rules for 20
            raise RoadloopError(f"opset is {self.opset}: expected 17, 18 or 19")
        if not all(part.isdigit() for part in self.version.split(".")):
            raise RoadloopError(f'version is "{self.version}": expected numbers, e.g. 10.3')
        if self.workspace < 0 or self.dla_cores < 0:
            raise RoadloopError("workspace and dla_cores must be 0 or more")

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers that compare."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def is_tensorrt(self) -> bool:
        """TensorRT or TensorRT for RTX."""
        return self.runtime != "onnxruntime"


def target_names() -> list[str]:
    """Those that come with roadloop."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def find_target(name: str) -> Target:
    """A target by name, or by the path of a .yaml.

    Raises RoadloopError where there is none, or its file is wrong.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = _folder() / f"{name}.yaml"
        if name not in target_names():
            raise RoadloopError(f"{unknown('target', name, target_names())} (or give a .yaml)")
    elif not path.is_file():
        raise RoadloopError(f"{name}: no such file")
    return dataclasses.replace(load_config(Target, path), name=path.stem)


def _folder() -> Path:
    return config_folder() / "targets"
