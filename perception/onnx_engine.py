"""A detector's network run by ONNX Runtime, from a file that ``deploy.export_detector`` wrote.

The file says itself what it is: its metadata holds the configuration and the names of the weights
it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perception.detector import Engine
from perception.detector_config import DetectorConfig
from roadloop.config import load_config
from roadloop.errors import RoadloopError

Array = np.ndarray

METADATA = "roadloop"
"""key of the file's metadata under which a JSON object stands: ``format``, ``config``, ``label``"""
FORMAT = 1
NEXT_STATE = "next_state"
"""the output ``state``: no two tensors of a file have one name"""


def onnx_engine(path: str | Path, *, threads: int = 1) -> tuple[Engine, DetectorConfig, str]:
    """The network of an ONNX file as an engine, its configuration, and the label of its weights.

    Args:
        threads: of the CPU; the numbers do not depend on it.

    Raises:
        RoadloopError: a file that cannot be read or that is no detector of roadloop.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults  # type: ignore[attr-defined]

    if threads < 1:
        raise RoadloopError(f"threads is {threads}; it must be 1 or more")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except (faults.Fail, faults.InvalidGraph, faults.InvalidProtobuf, faults.NotImplemented,
            faults.RuntimeException, OSError) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise RoadloopError(f"{path} cannot be run by ONNX Runtime: {reason}") from error
    about = _described(Path(path), session.get_modelmeta().custom_metadata_map)
    config = _config(Path(path), about)
    wanted = [each.name for each in session.get_inputs()]
    given = [each.name for each in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        batch = {name: np.ascontiguousarray(np.asarray(inputs[name])[None]) for name in wanted}
        values = [np.asarray(value)[0] for value in session.run(given, batch)]
        found = dict(zip(given, values))
        if NEXT_STATE in found:
            found["state"] = found.pop(NEXT_STATE)
        return found

    return run, config, str(about["label"])


def _described(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata[METADATA])
        if about["format"] == FORMAT and {"config", "label"} <= set(about):
            return about
    except (KeyError, ValueError, TypeError):
        pass
    raise RoadloopError(
        f"{path} is no detector of roadloop (its metadata does not say so): export one with "
        "python -m deploy.export_detector"
    )


def _config(path: Path, about: Mapping[str, Any]) -> DetectorConfig:
    try:
        settings = [f"{key}={json.dumps(value)}" for key, value in about["config"].items()]
        return load_config(DetectorConfig, None, settings)
    except (RoadloopError, AttributeError) as error:
        raise RoadloopError(
            f"{path} was made by another version of roadloop: {error}; export it anew"
        ) from error
