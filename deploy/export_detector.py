"""A detector's checkpoint as one ONNX file: python -m deploy.export_detector --help.

The file holds the network for one moment with fixed shapes: the inputs of `perception.frame` with a
batch of one, the old state in, the new one out. Its metadata holds the configuration, so that
``--perception FILE.onnx`` needs nothing beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.detectors import checkpoint_of
from perception.detector import checkpoint_label
from perception.onnx_engine import FORMAT, METADATA, NEXT_STATE
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from torch import Tensor

    from perception.detector_config import DetectorConfig

OPSET = 18


def export_onnx(checkpoint: str, out: Path) -> Path:
    """Write the ONNX file of a detector; ``out``.

    Args:
        checkpoint: as ``--perception`` takes it: a name, a .safetensors, or a run's folder.

    Raises:
        RoadloopError: a checkpoint that cannot be used, a file that cannot be written.
    """
    import torch
    from torch import nn

    from perception.checkpoint import load_detector
    from perception.fold_norms import fold_norms

    file = checkpoint_of(checkpoint)
    network, _ = load_detector(file)
    config = network.config
    fold_norms(network)
    frame = example(config)
    names = list(frame)
    outputs: list[str] = []

    class Moment(nn.Module):
        """The network with its inputs one by one, as ONNX names them."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
            given = dict(zip(names, values))
            state = given.pop("state", None)
            found = self.network(given, state, given.pop("state_valid", None))
            outputs[:] = [NEXT_STATE if name == "state" else name for name in found]
            return tuple(found.values())

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Moment().eval()
        module(*frame.values())
        program = torch.onnx.export(
            module, tuple(frame.values()), input_names=names, output_names=outputs,
            opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None  # with dynamo there is one
    name = checkpoint if checkpoint != str(file) and "/" not in checkpoint else ""
    about = {
        "format": FORMAT,
        "config": dataclasses.asdict(config),
        "label": checkpoint_label(file, name),
    }
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(about)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(model.SerializeToString())
    except OSError as error:
        raise RoadloopError(f"{out}: {error.strerror or error}") from error
    return out


def example(config: DetectorConfig) -> dict[str, Any]:
    """Inputs of the right shapes and types, a batch of one."""
    import torch

    from perception.point_grid import LIDAR_PLANES, RADAR_PLANES
    from roadloop.rig import load_rig

    cameras, (width, height), cells = len(load_rig(config.rig).cameras), config.size, config.grid
    frame = {
        "images": torch.zeros(1, cameras, 3, height, width, dtype=torch.uint8),
        "camera_valid": torch.ones(1, cameras, dtype=torch.bool),
        "pixel_from_ego": torch.zeros(1, cameras, 3, 4),
    }
    for name, planes in (("lidar", LIDAR_PLANES), ("radar", RADAR_PLANES)):
        if getattr(config, name):
            frame[name] = torch.zeros(1, len(planes), *cells.shape)
            frame[f"{name}_valid"] = torch.ones(1, dtype=torch.bool)
    if config.temporal:
        frame["motion"] = torch.zeros(1, 3)
        frame["state"] = torch.zeros(1, config.bev_channels, *cells.shape)
        frame["state_valid"] = torch.ones(1, dtype=torch.bool)
    return frame


def main(words: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.export_detector",
        description="Write a detector as one ONNX file, which --perception takes.",
        epilog="example: python -m deploy.export_detector runs/compact --out runs/compact.onnx",
    )
    parser.add_argument("checkpoint", help="compact, a .safetensors, or the folder of a run")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    given = parser.parse_args(words)
    try:
        if given.out.suffix != ".onnx":
            raise RoadloopError(f"{given.out} must end in .onnx")
        print(export_onnx(given.checkpoint, given.out))
    except RoadloopError as error:
        print(f"export_detector: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"export_detector: {error}: pip install 'roadloop[onnx]'", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
