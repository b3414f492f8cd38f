"""A checkpoint for a target: ONNX file, manifest and reference arrays, held against PyTorch.

::

    made = export_checkpoint("compact", find_target("orin-nano-8gb"), Path("runs/compact.onnx"))

Nothing is left behind where the file does not compute what the network does, or would not run on
its target.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.detectors import SHIPPED, checkpoint_of
from deploy.detectors import WEIGHTS as OUR_WEIGHTS
from deploy.export_parity import (
    Difference,
    calibration,
    check_arrays,
    check_detector,
    failures,
    random_cases,
)
from deploy.export_precision import with_fp16
from deploy.lint import lint_file
from deploy.lint_rules import Finding
from deploy.manifest import make_manifest, sha256, write_manifest, write_references
from deploy.targets import Target
from perception.detector import checkpoint_label
from perception.detector_config import DetectorConfig, ObjectClass, RasterLayer
from perception.forecast_checkpoint import WEIGHTS as FORECASTER
from perception.forecast_checkpoint import fingerprint, forecaster_file, load_forecaster
from perception.onnx_engine import FORMAT, METADATA, onnx_engine
from roadloop.errors import RoadloopError
from roadloop.rig import load_rig

Array = np.ndarray
Arrays = Mapping[str, Array]

IR_VERSION = 8
"""of the ONNX format, the one of opset 17: older parsers refuse newer ones"""
FEATURE_MAPS = ("state", "lidar", "radar")
"""inputs that are maps of features"""


@dataclass(frozen=True)
class Exported:
    """What an export came to; the files are there where ``problems`` is empty."""

    model: Path
    precision: str
    nodes: int
    bytes: int
    parity: list[Difference]
    findings: list[Finding]

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Model, manifest, reference arrays."""
        return self.model, self.model.with_suffix(".json"), self.model.with_suffix(".npz")

    @property
    def problems(self) -> list[str]:
        """One line for each reason not to use the file."""
        return failures(self.parity, self.precision) + [str(each) for each in self.findings]


def export_checkpoint(
    checkpoint: str,
    target: Target,
    out: Path,
    moments: Callable[[DetectorConfig, Path], Mapping[str, Arrays]] | None = None,
) -> Exported:
    """Export a detector, or a forecaster (always fp32), for a target.

    Args:
        checkpoint: a name that comes with roadloop, a .safetensors, or the folder of a run.
        out: the .onnx to write; .json and .npz are written beside it.
        moments: further inputs of a detector to be checked with, by name, see
            `perception.detector.Engine`; made of its configuration and file.

    Raises:
        RoadloopError: a checkpoint that cannot be used or exported, files that cannot be written.
    """
    if out.suffix != ".onnx":
        raise RoadloopError(f"{out} must end in .onnx")
    file, kind = find_checkpoint(checkpoint)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
            hidden = Path(folder) / out.name
            if kind == "forecaster":
                target = dataclasses.replace(target, precision="fp32")
                made = _export_forecaster(file, target, hidden)
            else:
                name = checkpoint if checkpoint in SHIPPED else ""
                cases = moments(_config_of(file), file) if moments else {}
                made = _export_detector(file, name, target, hidden, cases)
            if not made.problems:
                for path in made.files:
                    os.replace(path, out.parent / path.name)
    except OSError as error:
        raise RoadloopError(f"{out}: {error.strerror or error}") from error
    return dataclasses.replace(made, model=out)


def find_checkpoint(name: str) -> tuple[Path, str]:
    """The file of a checkpoint and its kind, "detector" or "forecaster"; RoadloopError if none."""
    path = Path(name)
    if path.is_dir() and (path / FORECASTER).is_file():
        return forecaster_file(path), "forecaster"
    file = checkpoint_of(name)
    return file, "forecaster" if _kind(file) == "forecaster" else "detector"


def _export_detector(
    file: Path, name: str, target: Target, out: Path, moments: Mapping[str, Arrays]
) -> Exported:
    from deploy.export_graph import DetectorGraph, detector_shapes, write_graph
    from perception.backbone import MEAN, STD
    from perception.checkpoint import load_detector

    network, _ = load_detector(file)
    config = network.config
    graph = DetectorGraph(network, target.lift).eval()
    cases: dict[str, Arrays] = {**random_cases(config, detector_shapes(config)), **moments}
    cases = {case: {key: inputs[key] for key in graph.inputs} for case, inputs in cases.items()}
    model = write_graph(graph, _batched(next(iter(cases.values()))), target.opset, out)
    if target.precision == "fp16":
        model = with_fp16(model, FEATURE_MAPS)
    label = checkpoint_label(file, name)
    described = {"format": FORMAT, "config": dataclasses.asdict(config), "label": label}
    _save(model, out, {METADATA: json.dumps(described | {"target": target.name})})
    engine, _, _ = onnx_engine(out)
    parity = check_detector(file, engine, cases, target.precision)
    cameras = load_rig(config.rig).cameras
    about = {
        "normalisation": {
            "in_graph": True,
            "mean": [255.0 * value for value in MEAN],
            "std": [255.0 * value for value in STD],
            "order": "RGB",
        },
        "calibration": {
            "in_graph": False,
            "rig": config.rig,
            "cameras": [camera.name for camera in cameras],
            "light_cameras": list(config.light_cameras),
            "pixel_from_ego": calibration(config).tolist(),
        },
        "classes": [each.name.lower() for each in ObjectClass],
        "layers": [each.name.lower() for each in RasterLayer],
    }
    return _finish(out, "detector", label, target, model, config, file, parity, about, graph, cases)


def _export_forecaster(file: Path, target: Target, out: Path) -> Exported:
    import onnxruntime

    from deploy.export_graph import ForecasterGraph, write_graph

    network, _ = load_forecaster(file)
    config = network.config
    names, results = tuple(config.inputs()), list(config.outputs())
    graph = ForecasterGraph(network, names, results).eval()
    rng = np.random.default_rng(0)
    cases: dict[str, Arrays] = {}
    for case, share in (("random", 1.0), ("random, some missing", 0.5)):
        cases[case] = {
            key: (rng.random(shape) < share).astype(np.float32)
            if key.endswith("_valid")
            else rng.normal(size=shape).astype(np.float32)
            for key, shape in config.inputs().items()
        }
    model = write_graph(graph, _batched(cases["random"]), target.opset, out)
    label = checkpoint_label(file)
    made_of = json.dumps(dataclasses.asdict(config))
    # beside its weights it is what perception.learned_forecaster runs
    _save(model, out, {"weights": fingerprint(file), "config": made_of})
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    again, _ = load_forecaster(file)
    batches = {case: _batched(inputs) for case, inputs in cases.items()}
    parity = check_arrays(ForecasterGraph(again, names, results).eval(), session, batches)
    return _finish(out, "forecaster", label, target, model, config, file, parity, {}, graph, cases)


def _finish(
    out: Path,
    kind: str,
    label: str,
    target: Target,
    model: Any,
    config: Any,
    checkpoint: Path,
    parity: list[Difference],
    about: Mapping[str, Any],
    graph: Any,
    cases: Mapping[str, Arrays],
) -> Exported:
    """Write what lies beside the model, and lint it."""
    import torch

    references = {}
    for case, inputs in cases.items():
        batch = _batched(inputs)
        with torch.inference_mode():
            outputs = graph(*(torch.from_numpy(batch[name]) for name in graph.inputs))
        references[case] = batch, dict(zip(graph.outputs, (value.numpy() for value in outputs)))
    write_references(out.with_suffix(".npz"), references)
    hashes = {"model": sha256(out), "reference": sha256(out.with_suffix(".npz"))}
    manifest = make_manifest(
        kind=kind, label=label, target=target, model=model, config=config, checkpoint=checkpoint,
        parity=parity, about=about, hashes=hashes,
        shipped=checkpoint.resolve().parent == OUR_WEIGHTS,
    )  # fmt: skip
    write_manifest(out.with_suffix(".json"), manifest)
    return Exported(
        model=out,
        precision=target.precision,
        nodes=len(model.graph.node),
        bytes=out.stat().st_size,
        parity=parity,
        findings=lint_file(out, target),
    )


def _save(model: Any, out: Path, metadata: Mapping[str, str]) -> None:
    """One file; what says where it was written is left out."""
    model.ir_version = IR_VERSION
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.metadata_props[:]
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    out.write_bytes(model.SerializeToString(deterministic=True))


def _batched(inputs: Arrays) -> dict[str, Array]:
    return {name: np.ascontiguousarray(np.asarray(value)[None]) for name, value in inputs.items()}


def _config_of(file: Path) -> DetectorConfig:
    from perception.checkpoint import load_detector_weights

    return load_detector_weights(file)[0]


def _kind(file: Path) -> str:
    """That a header names; empty where the file's own reader will say what is wrong."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            header = json.loads((opened.metadata() or {}).get("roadloop", "{}"))
    except (OSError, SafetensorError, ValueError):
        return ""
    return str(header.get("kind", "")) if isinstance(header, dict) else ""
