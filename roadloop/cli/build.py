"""``roadloop build``: an ONNX file compiled into engines for GeForce RTX."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roadloop.command_line import Folder, default_text


@dataclass(frozen=True)
class Build:
    """Compile an ONNX file into engines for GeForce RTX; no GPU is needed.

    One engine per compute capability of the target, with a .json beside it that says what it was
    made of. The file is linted before; findings end it with exit status 1. Engines of a Jetson are
    built on the board.

    Example: roadloop build runs/compact.onnx --target rtx --out runs/engines
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.onnx")]
    """as roadloop export writes it"""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")] = "rtx"
    """rtx, or the path of a .yaml with runtime tensorrt-rtx"""
    out: Annotated[Folder, default_text("beside the file")] = None
    """where to write"""

    def run(self) -> int:
        from deploy.engines import build_engines
        from deploy.lint import lint_file
        from deploy.targets import find_target

        target = find_target(self.target)
        findings = lint_file(self.file, target)
        for each in findings:
            print(f"roadloop: {each}", file=sys.stderr)
        if findings:
            return 1
        folder = self.out or self.file.parent
        for engine in build_engines(self.file, target, folder):
            size = f"{engine.bytes / 1e6:.1f} MB, {engine.layers} layers"
            print(f"{folder / engine.file}  compute {engine.compute_capability}, {size}")
        return 0
