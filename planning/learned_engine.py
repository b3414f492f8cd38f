"""The learned planner's network run by ONNX Runtime, from the file that training writes.

The file says itself what it is: its metadata holds the configuration and a label of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from planning.learned import Engine
from planning.learned_config import PlannerConfig
from roadloop.config import load_config
from roadloop.errors import RoadloopError
from roadloop.onnx_session import open_session

Array = np.ndarray

METADATA, FORMAT = "roadloop", 1
"""key of the file's metadata under which a JSON object stands: ``format``, ``kind``, ``config``,
``label``; and the format it has now"""
KIND = "planner"
NETWORK = "planner.onnx"
"""the file looked for in a folder"""
SHIPPED = Path(__file__).parent / "weights" / "learned.onnx"
"""the network that comes with roadloop"""


def planner_engine(path: str | Path = "") -> tuple[Engine, PlannerConfig, str]:
    """The network of a file as an engine, its configuration, and the label of its weights.

    One thread: a planner's network is too small for more.

    Args:
        path: an .onnx file, or the folder of a training run; empty: the one that comes along.

    Raises:
        RoadloopError: no such file, one that cannot be read, or no planner of this version.
    """
    file = Path(path) if str(path) else SHIPPED
    file = file / NETWORK if file.is_dir() else file
    if not file.is_file():
        raise RoadloopError(
            f"no learned planner at {file}: give the {NETWORK} or the folder of a run of "
            "roadloop train planner"
        )
    try:
        session = open_session(file)
    except ModuleNotFoundError as error:
        raise RoadloopError(
            f"the learned planner needs {error.name}: pip install 'roadloop[onnx]'"
        ) from error
    config, label = _described(file, session.get_modelmeta().custom_metadata_map)
    wanted = {each.name: tuple(each.shape[1:]) for each in session.get_inputs()}
    given = [each.name for each in session.get_outputs()]
    if wanted != config.inputs() or given != list(config.outputs()):
        raise RoadloopError(f"{file} was made by another version of roadloop: train it again")

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        values = session.run(given, {name: inputs[name][None] for name in wanted})
        return {name: np.asarray(value)[0] for name, value in zip(given, values, strict=True)}

    return run, config, label


def _described(file: Path, metadata: Mapping[str, str]) -> tuple[PlannerConfig, str]:
    try:
        about = json.loads(metadata[METADATA])
        if about["format"] != FORMAT or about["kind"] != KIND:
            raise KeyError(KIND)
        settings = [f"{key}={json.dumps(value)}" for key, value in about["config"].items()]
        label = str(about["label"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RoadloopError(
            f"{file} is no planner of roadloop (its metadata does not say so): take the {NETWORK} "
            "that roadloop train planner writes"
        ) from error
    try:
        return load_config(PlannerConfig, None, settings), label
    except RoadloopError as error:
        raise RoadloopError(
            f"{file} was made by another version of roadloop: {error}; train it again"
        ) from error
