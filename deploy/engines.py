"""Engines for GeForce RTX, built here: TensorRT for RTX compiles without a GPU or a driver.

An engine is for one compute capability and one release of TensorRT. Those of a Jetson are built on
the board, from the same ONNX file. Beside every engine lies what it was made of, so that one that
no longer fits is known before it is loaded.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.manifest import sha256
from deploy.targets import Target
from roadloop.errors import RoadloopError
from roadloop.files import replaced

MIB = 1 << 20


@dataclass(frozen=True)
class Engine:
    """An engine, as the .json beside it says."""

    file: str
    model: str
    """SHA-256 of the ONNX file"""
    runtime: str
    """and its version"""
    compute_capability: str
    workspace: int
    """MiB"""
    layers: int
    bytes: int


def build_engines(model: Path, target: Target, folder: Path) -> list[Engine]:
    """One engine per compute capability of a target, NAME-sm86.engine and the like, with a .json.

    Types are the file's own (strongly typed).

    Raises:
        RoadloopError: a target whose engines are built on the board, TensorRT for RTX is not
            installed, a file that it does not parse or cannot build, a folder that cannot be
            written.
    """
    if target.runtime != "tensorrt-rtx":
        where = "on the board" if target.is_tensorrt else "never, ONNX Runtime takes the file"
        raise RoadloopError(f"engines for {target.name} are built {where}: give --target rtx")
    if not model.is_file():
        raise RoadloopError(f"{model}: no such file")
    try:
        trt: Any = importlib.import_module("tensorrt_rtx_bindings")
    except ImportError as error:
        raise RoadloopError(f"{error}: pip install 'roadloop[rtx]'") from error

    made: list[Engine] = []
    for capability in target.compute_capability:
        short = f"sm{capability.replace('.', '')}"
        kind = getattr(trt.ComputeCapability, short.upper(), None)
        if kind is None:
            raise RoadloopError(
                f"TensorRT for RTX {trt.__version__} builds nothing for compute capability "
                f"{capability}: take it out of {target.name}"
            )
        plan, layers = _plan(trt, model, kind, target.workspace)
        file = folder / f"{model.stem}-{short}.engine"
        engine = Engine(
            file=file.name,
            model=sha256(model),
            runtime=f"TensorRT for RTX {trt.__version__}",
            compute_capability=capability,
            workspace=target.workspace,
            layers=layers,
            bytes=len(plan),
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replaced(file) as hidden:
                hidden.write_bytes(plan)
            with replaced(file.with_suffix(".json")) as hidden:
                hidden.write_text(json.dumps(asdict(engine), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RoadloopError(f"{file}: {error.strerror or error}") from error
        made.append(engine)
    return made


def _plan(trt: Any, model: Path, capability: Any, workspace: int) -> tuple[bytes, int]:
    """The engine's bytes, and of how many layers its network is."""
    log = _quiet(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        # where no driver is, what follows the first error is about that
        reason = " ".join(parser.get_error(0).desc().split("[checkMacros")[0].split())
        raise RoadloopError(
            f"{model}: TensorRT for RTX does not parse it ({reason}); roadloop lint may say more"
        )
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
    if workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace * MIB)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RoadloopError(
            f"{model}: TensorRT for RTX cannot build it for {capability.name} "
            f"({log.first or 'no reason given'})"
        )
    return bytes(plan), network.num_layers


def _quiet(trt: Any) -> Any:
    """A logger that keeps the first error and prints nothing."""

    class Quiet(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.first = self.first or " ".join(message.split())

    return Quiet()
