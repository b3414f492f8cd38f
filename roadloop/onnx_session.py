"""A network's ONNX file opened by ONNX Runtime, for detectors and planners alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roadloop.errors import RoadloopError


def open_session(path: str | Path, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        threads: of the CPU; the numbers do not depend on it.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed (extra ``onnx``).
        RoadloopError: a file that it cannot run.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults  # type: ignore

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (faults.Fail, faults.InvalidGraph, faults.InvalidProtobuf, faults.NotImplemented,
            faults.RuntimeException, OSError) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise RoadloopError(f"{path} cannot be run by ONNX Runtime: {reason}") from error
