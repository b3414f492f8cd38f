"""What in an ONNX file will go wrong on a target, before anybody carries it there.

::

    findings = lint_file(Path("compact.onnx"), find_target("orin-nano-8gb"))

The rules are in `deploy.lint_rules`; each knows one trap, and how to get out of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from deploy.export_precision import tensor_types
from deploy.lint_rules import RULES, Finding, Graph
from deploy.targets import Target
from roadloop.errors import RoadloopError


def lint_file(path: str | Path, target: Target) -> list[Finding]:
    """The findings of a file and, where one lies beside it, of its manifest.

    Raises RoadloopError for a file that is missing or no ONNX model.
    """
    path = Path(path)
    model = read_model(path)
    return lint_model(model, target) + _manifest_findings(path)


def lint_model(model: Any, target: Target) -> list[Finding]:
    """The findings of a model, in the order of `RULES`.

    Types and shapes are inferred; what does not fit together is a finding itself.
    """
    import onnx

    found: list[Finding] = []
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        lines = str(error).strip().splitlines()
        reason = " ".join((lines[-1] if lines else "unknown").split())
        remedy = "give constants the type of the tensor they meet; export again"
        found.append(Finding("types", "", f"types or shapes do not fit: {reason}", remedy))
    graph = Graph(model, tensor_types(model))
    for rule in RULES:
        found += rule(graph, target)
    return found


def read_model(path: Path) -> Any:
    """An ONNX model, without weights that lie in other files.

    Raises RoadloopError for a file that is missing or no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError as error:
        raise RoadloopError(f"{path}: no such file") from error
    except (OSError, DecodeError) as error:
        raise RoadloopError(f"{path} is no ONNX file: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise RoadloopError(f"{path} is no ONNX file: it holds no graph")
    return model


def _manifest_findings(path: Path) -> list[Finding]:
    """What a manifest beside the file says of another file."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return []
    try:
        stated = json.loads(beside.read_text(encoding="utf-8"))["hashes"]["model"]
    except (ValueError, KeyError, TypeError):
        reason, remedy = "it is no manifest of roadloop", "export again, or move it away"
        return [Finding("manifest", beside.name, reason, remedy)]
    if stated == hashlib.sha256(path.read_bytes()).hexdigest():
        return []
    reason = f"it was written for another {path.name}: the SHA-256 differs"
    return [Finding("manifest", beside.name, reason, "export again; never edit an exported file")]
