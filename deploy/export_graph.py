"""What is exported: a network with one moment's arrays in and out, shapes fixed, peaks picked.

On a board the maps of the heads are not wanted, only their peaks: these are picked in the graph,
so that a few hundred numbers leave it instead of a hundred thousand.

Detector: inputs as in `perception.frame` with a batch of one, and ``state``, ``state_valid``.
Outputs (see `perception.onnx_engine` for the way back to maps):

============= ======================= =============================================================
objects       (1, n, 17)              logit, ``BOX_CHANNELS``, ``VARIANCE_CHANNELS`` of the n best
                                      peaks, best first; rows of no peak have `NO_PEAK`
object_cells  (1, n) int32            their cell in (classes, X, Y), counted through
raster, lane  (1, 6 or 3, X, Y)
lights        (1, m, 9)               logit, ``light_box``, ``light_state``, likewise
light_cells   (1, m) int32            their cell in (light cameras, h, w)
next_state    (1, D, X, Y)
============= ======================= =============================================================
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from perception.detector_config import DetectorConfig
from perception.fold_norms import fold_norms
from perception.network import DetectorNetwork
from perception.onnx_engine import LIGHTS_KEPT, NEXT_STATE, NO_PEAK, OBJECTS_KEPT
from perception.point_grid import LIDAR_PLANES, RADAR_PLANES
from roadloop.errors import RoadloopError
from roadloop.rig import load_rig

Array = np.ndarray

LARGEST_FOLDED = 1 << 20
"""numbers of a constant that others are computed from"""


class DetectorGraph(nn.Module):
    """A detector for export; its normalisations are folded. ``network`` is changed.

    Args:
        lift: form of the lift; "own": as configured.

    Attributes:
        inputs, outputs: names in the order of `forward`.
    """

    def __init__(self, network: DetectorNetwork, lift: str = "own") -> None:
        super().__init__()
        config = network.config
        if lift not in ("own", config.lift):
            # the nearest feature is another function than the bilinear one
            if "gather1" in (lift, config.lift):
                raise RoadloopError(
                    f"the detector was trained with the lift {config.lift}, which {lift} is not "
                    "the same as: export it with --lift own"
                )
            network.lift.form = lift  # type: ignore[assignment]
        fold_norms(network)
        self.network = network
        self.inputs = tuple(detector_shapes(config))
        self.outputs = ["objects", "object_cells", "raster", "lane"]
        self.outputs += ["lights", "light_cells"] if config.light_cameras else []
        self.outputs += [NEXT_STATE] if config.temporal else []

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        frame = dict(zip(self.inputs, values))
        # TensorRT takes 8-bit inputs, but nothing can be done with them before they are cast
        frame["images"] = frame["images"].float()
        state, valid = frame.pop("state", None), frame.pop("state_valid", None)
        found = self.network(frame, state, valid)
        boxes = torch.cat([found["box"], found["box_log_var"]], 1)
        made = peaks(found["heat"], boxes.flatten(2)[0], OBJECTS_KEPT)
        made += (found["raster"], found["lane"])
        if self.network.lights is not None:
            looking = frame["camera_valid"][:, self.network.light_rows, None, None]
            heat = found["light_heat"][:, :, 0]
            logit = torch.where(looking, heat, torch.full_like(heat, NO_PEAK))
            maps = torch.cat([found["light_box"], found["light_state"]], 2)[0]
            made += peaks(logit, maps.transpose(0, 1).flatten(1), LIGHTS_KEPT)
        return made if state is None else (*made, found["state"])


def peaks(logit: Tensor, values: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The best cells that none of their eight neighbours exceeds, best first.

    Args:
        logit: (1, M, h, w).
        values: (V, cells) at each cell; cells are h * w, common to the M maps, or M * h * w.

    Returns:
        (1, n, 1 + V) the logit, `NO_PEAK` in rows that are none, and the values; (1, n) int32 cells
        in (M, h, w). n is ``most``, or all there are.
    """
    best = logit >= max_pool2d(logit, 3, 1, 1)
    marked = torch.where(best, logit, torch.full_like(logit, NO_PEAK)).flatten(1)
    top, cell = torch.topk(marked, min(most, marked.shape[1]), dim=1)
    # boards compute with 32 bits; TopK's own indices have 64
    cell = cell.int()
    place, each = cell[0], values.shape[1]
    if each < marked.shape[1]:
        place = place - torch.div(place, each, rounding_mode="trunc") * each
    picked = values.index_select(1, place).transpose(0, 1)
    return torch.cat([top[..., None], picked[None]], 2), cell


def detector_shapes(config: DetectorConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape, with a batch of one, and dtype of every input by name."""
    cameras, (width, height), cells = len(load_rig(config.rig).cameras), config.size, config.grid
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "images": ((1, cameras, 3, height, width), "uint8"),
        "camera_valid": ((1, cameras), "bool"),
        "pixel_from_ego": ((1, cameras, 3, 4), "float32"),
    }
    for name, planes in (("lidar", LIDAR_PLANES), ("radar", RADAR_PLANES)):
        if getattr(config, name):
            shapes[name] = (1, len(planes), *cells.shape), "float32"
            shapes[f"{name}_valid"] = (1,), "bool"
    if config.temporal:
        shapes["motion"] = (1, 3), "float32"
        shapes["state"] = (1, config.bev_channels, *cells.shape), "float32"
        shapes["state_valid"] = (1,), "bool"
    return shapes


class ForecasterGraph(nn.Module):
    """A forecaster with its arrays one by one, as ONNX names them."""

    def __init__(self, network: nn.Module, inputs: tuple[str, ...], outputs: list[str]) -> None:
        super().__init__()
        self.network, self.inputs, self.outputs = network, inputs, outputs

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        found: Mapping[str, Tensor] = self.network(dict(zip(self.inputs, values)))
        return tuple(found[name] for name in self.outputs)


def write_graph(
    module: DetectorGraph | ForecasterGraph, example: Mapping[str, Array], opset: int, path: Path
) -> Any:
    """The ONNX model of a graph, simplified, with constants folded; ``path`` is written on the way.

    Args:
        example: its inputs.

    Raises:
        RoadloopError: a network with an operator that has no counterpart.
    """
    import logging
    import warnings

    import onnx
    from onnxscript import optimizer

    values = tuple(torch.from_numpy(example[name]) for name in module.inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's future, and shapes that are fixed
        # The exporter by tracing: its files build in every TensorRT from 8.6 on. It may drop what
        # it does not know, so nothing it made is kept unless deploy.export_parity has passed it.
        try:
            with _printing_nothing():  # where it fails it prints all of the graph
                torch.onnx.export(
                    module.eval(), values, str(path), input_names=list(module.inputs),
                    output_names=list(module.outputs), opset_version=opset, dynamo=False,
                )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).split("Please feel free")[0].strip().splitlines()
            raise RoadloopError(
                f"the network cannot be exported: {reason[0] if reason else 'no reason given'}"
            ) from error
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    model = folded(optimizer.optimize(onnx.load(str(path))), opset)
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


@contextlib.contextmanager
def _printing_nothing() -> Iterator[None]:
    """Nothing goes to standard output meanwhile, from C++ neither."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def folded(model: Any, opset: int) -> Any:
    """A model without nodes that only have constants to compute with; the model is changed.

    The optimiser leaves those that could make a large array of a small one, which here are a few
    shapes.
    """
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    known = {t.name: t for t in graph.initializer if np.prod(t.dims, dtype=int) <= LARGEST_FOLDED}
    kept = []
    for node in graph.node:
        if not node.input or not all(name in known for name in node.input if name):
            kept.append(node)
            continue
        feeds = {name: numpy_helper.to_array(known[name]) for name in node.input if name}
        found = ReferenceEvaluator(node, opsets={"": opset}).run(None, feeds)
        for name, value in zip(node.output, found):
            known[name] = numpy_helper.from_array(np.asarray(value), name)
            graph.initializer.append(known[name])
    used = {name for node in kept for name in node.input} | {out.name for out in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
    return model
