"""The learned planner's network as one ONNX file, which drives: `planning.learned_engine`."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from planning.learned_engine import FORMAT, KIND, METADATA
from roadloop.files import replaced
from training.planner_network import PlannerNetwork

OPSET = 18


def export_planner(network: PlannerNetwork, out: Path, label: str) -> Path:
    """Write the network, a batch of one, with its configuration and ``label``; ``out``."""
    import onnx

    config = network.config
    names, results = list(config.inputs()), list(config.outputs())

    class Ordered(nn.Module):
        """Inputs and outputs one by one, as ONNX names them."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
            outputs = self.network(dict(zip(names, arrays, strict=True)))
            return tuple(outputs[name] for name in results)

    device = next(network.parameters()).device
    examples = tuple(torch.zeros(1, *shape, device=device) for shape in config.inputs().values())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # about the exporter's own future
        torch.onnx.export(
            Ordered().eval(), examples, written,  # type: ignore[arg-type]
            input_names=names, output_names=results, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load_model_from_string(written.getvalue())
    about = {
        "format": FORMAT, "kind": KIND, "config": dataclasses.asdict(config), "label": label,
    }  # fmt: skip
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(about)
    with replaced(out) as path:
        path.write_bytes(model.SerializeToString())
    return out
