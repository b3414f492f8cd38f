"""A forecaster's weights on disk, as `perception.checkpoint` says, and its network as ONNX.

The header's ``kind`` is "forecaster", its ``config`` a `ForecastConfig`. An ONNX file says by a
fingerprint which weights it was made of, and holds their ``config``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception.checkpoint import load_weights, weights_file, with_weights
from perception.forecast_config import ForecastConfig
from roadloop.files import replaced

if TYPE_CHECKING:
    from torch import Tensor

    from perception.forecast_network import ForecastNetwork

WEIGHTS = "forecaster.safetensors"
"""the file looked for in a folder"""
ONNX = ".onnx"
"""in place of ``.safetensors``: the same network for ONNX Runtime"""
KIND = "forecaster"
OPSET = 18


def load_forecaster_weights(
    path: str | Path,
) -> tuple[ForecastConfig, dict[str, Tensor], dict[str, Any]]:
    """What a forecaster is made of, its weights by name, and all of the header.

    Args:
        path: the file, or a folder (of a run, or one of its checkpoints) that holds
            ``forecaster.safetensors``.

    Raises:
        RoadloopError: there is no such file, it holds pickled objects, is damaged, or is not of a
            forecaster that this version knows.
    """
    return load_weights(path, WEIGHTS, KIND, ForecastConfig)


def load_forecaster(path: str | Path) -> tuple[ForecastNetwork, dict[str, Any]]:
    """The network of a file with its weights, ready to be asked (``eval``), and the header.

    Raises RoadloopError as `load_forecaster_weights`, and where the weights are not this network's.
    """
    from perception.forecast_network import ForecastNetwork

    return with_weights(path, ForecastNetwork, *load_forecaster_weights(path))


def forecaster_file(path: str | Path) -> Path:
    """The safetensors file meant; RoadloopError where there is none."""
    return weights_file(path, WEIGHTS, KIND)


def fingerprint(weights: Path) -> str:
    """Of a file of weights: SHA-256, in hex."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def export_forecaster(path: str | Path) -> Path:
    """Write the network of a checkpoint for ONNX Runtime beside it; the new file.

    Inputs and outputs are those of `ForecastConfig` with a batch axis of 1, by name.

    Raises RoadloopError as `load_forecaster`.
    """
    import onnx
    import torch

    file = forecaster_file(path)
    network, _ = load_forecaster(file)
    config = network.config
    names, results = list(config.inputs()), list(config.outputs())

    class Ordered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
            outputs: Mapping[str, Tensor] = self.network(dict(zip(names, arrays)))
            return tuple(outputs[name] for name in results)

    examples = tuple(torch.zeros(1, *shape) for shape in config.inputs().values())
    out = file.with_suffix(ONNX)
    with replaced(out) as hidden:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # about the exporter's own future
            torch.onnx.export(
                Ordered().eval(), examples, str(hidden), input_names=names, output_names=results,
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        model = onnx.load(hidden)
        made_of = json.dumps(dataclasses.asdict(config))
        for key, value in (("weights", fingerprint(file)), ("config", made_of)):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(model, hidden)
    return out
