"""A detector's network run by ONNX Runtime, from a file that ``roadloop export`` wrote.

The file says itself what it is: its metadata holds the configuration and the names of the weights
it was made of. Where it gives peaks in place of maps (``deploy.export_graph``), they are put back
into maps that are empty elsewhere: what is decoded from these is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perception.detector import Engine
from perception.detector_config import STRIDE, DetectorConfig, LampState, ObjectClass
from perception.objects import BOX_CHANNELS, VARIANCE_CHANNELS
from roadloop.config import load_config
from roadloop.errors import RoadloopError
from roadloop.onnx_session import open_session

Array = np.ndarray

METADATA = "roadloop"
"""key of the file's metadata under which a JSON object stands: ``format``, ``config``, ``label``"""
FORMAT = 1
NEXT_STATE = "next_state"
"""the output ``state``: no two tensors of a file have one name"""
OBJECTS_KEPT, LIGHTS_KEPT = 256, 16
"""peaks that leave the network: as many as `decode_objects` and `decode_lights` look at"""
NO_PEAK = -30.0
"""logit of what is no peak: nothing is decoded below"""


def onnx_engine(path: str | Path, *, threads: int = 1) -> tuple[Engine, DetectorConfig, str]:
    """The network of an ONNX file as an engine, its configuration, and the label of its weights.

    Args:
        threads: of the CPU; the numbers do not depend on it.

    Raises:
        RoadloopError: a file that cannot be read or that is no detector of roadloop.
    """
    if threads < 1:
        raise RoadloopError(f"threads is {threads}; it must be 1 or more")
    session = open_session(path, threads)
    about = _described(Path(path), session.get_modelmeta().custom_metadata_map)
    config = _config(Path(path), about)
    wanted = [each.name for each in session.get_inputs()]
    given = [each.name for each in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        batch = {name: np.ascontiguousarray(np.asarray(inputs[name])[None]) for name in wanted}
        values = [np.asarray(value)[0] for value in session.run(given, batch)]
        found = dict(zip(given, values))
        return with_maps(found, config)

    return run, config, str(about["label"])


def with_maps(found: Mapping[str, Array], config: DetectorConfig) -> dict[str, Array]:
    """The outputs of an exported detector, without a batch, as those of its network.

    Maps of heads have values at peaks only, their logits are `NO_PEAK` elsewhere.
    """
    found = dict(found)
    if NEXT_STATE in found:
        found["state"] = found.pop(NEXT_STATE)
    if "objects" in found:
        shape = (len(ObjectClass), *config.grid.shape)
        rows, cells = found.pop("objects"), found.pop("object_cells")
        k, i, j = np.unravel_index(cells, shape)
        found["heat"] = np.full(shape, NO_PEAK, np.float32)
        found["heat"][k, i, j] = rows[:, 0]
        # several classes may have a peak in one cell: its box is the same, and no filler's
        maps = np.zeros((len(BOX_CHANNELS) + len(VARIANCE_CHANNELS), *shape[1:]), np.float32)
        maps[:, i, j] = rows[:, 1:].T
        found["box"], found["box_log_var"] = np.split(maps, [len(BOX_CHANNELS)])
    if "lights" in found:
        width, height = config.size
        shape = (len(config.light_cameras), height // STRIDE, width // STRIDE)
        rows, cells = found.pop("lights"), found.pop("light_cells")
        camera, i, j = np.unravel_index(cells, shape)
        found["light_heat"] = np.full((shape[0], 1, *shape[1:]), NO_PEAK, np.float32)
        found["light_heat"][camera, 0, i, j] = rows[:, 0]
        maps = np.zeros((shape[0], 4 + len(LampState), *shape[1:]), np.float32)
        maps[camera, :, i, j] = rows[:, 1:]
        found["light_box"], found["light_state"] = maps[:, :4], maps[:, 4:]
    return found


def _described(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata[METADATA])
        if about["format"] == FORMAT and {"config", "label"} <= set(about):
            return about
    except (KeyError, ValueError, TypeError):
        pass
    raise RoadloopError(
        f"{path} is no detector of roadloop (its metadata does not say so): export one with "
        "roadloop export CHECKPOINT --target cpu"
    )


def _config(path: Path, about: Mapping[str, Any]) -> DetectorConfig:
    try:
        settings = [f"{key}={json.dumps(value)}" for key, value in about["config"].items()]
        return load_config(DetectorConfig, None, settings)
    except (RoadloopError, AttributeError) as error:
        raise RoadloopError(
            f"{path} was made by another version of roadloop: {error}; export it anew"
        ) from error
