"""``roadloop lint``: what in an ONNX file will go wrong on a board."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roadloop.errors import RoadloopError


@dataclass(frozen=True)
class Lint:
    """Say what in an ONNX file will go wrong on a board, where, and what to do.

    Knows the operators, types and traps of the target's TensorRT (docs/export.md); needs neither
    the board nor TensorRT. The exit status is 0 for a clean file, 1 for findings.

    Example: roadloop lint runs/compact.onnx --target orin-nano-8gb
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.onnx")]
    """any ONNX file"""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """orin-nano-8gb, orin-nano-super, orin-nx-16gb, agx-orin, thor, rtx, cpu, or the path of a
    .yaml"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from deploy.lint import lint_file
        from deploy.targets import find_target

        target = find_target(self.target)
        try:
            findings = lint_file(self.file, target)
        except ModuleNotFoundError as error:
            if error.name == "onnx":
                raise RoadloopError(f"{error}: pip install 'roadloop[onnx]'") from error
            raise
        if self.json:
            found = [asdict(each) for each in findings]
            result = {"file": str(self.file), "target": target.name, "findings": found}
            print(json.dumps(result, indent=2))
        elif findings:
            print("\n".join(str(each) for each in findings))
        else:
            print(f"{self.file}: nothing to complain about for {target.name}")
        return 1 if findings else 0
