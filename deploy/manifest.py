"""What lies beside an exported file: a manifest that says what it is, and reference arrays.

``NAME.onnx``, ``NAME.json`` and ``NAME.npz`` belong together. The manifest is all that who runs the
file needs to know; nothing in it depends on when or where it was written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from deploy.export_parity import Difference
from deploy.targets import Target
from roadloop import __version__

Array = np.ndarray

FORMAT = 1
LICENCE = "Apache-2.0"
"""of roadloop and of the weights that come with it"""
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")

MEANING = {
    "images": ("1", "RGB of the virtual cameras in the order of the rig, 0 to 255"),
    "camera_valid": ("1", "False: no picture, or one not to be trusted"),
    "pixel_from_ego": ("px", "u, v, 1 times depth from x, y, z, 1 in metres; rows of a camera "
                             "matrix, pixel 0, 0 is the centre of the first"),
    "lidar": ("1", "planes of perception.point_grid"),
    "lidar_valid": ("1", "False: the sensor gave nothing"),
    "radar": ("1", "planes of perception.point_grid"),
    "radar_valid": ("1", "False: the sensor gave nothing"),
    "motion": ("m, m, rad", "x, y, yaw of the ego now in its frame of the state"),
    "state": ("1", "next_state of an earlier moment; zeros where there is none"),
    "state_valid": ("1", "False: there is no state"),
    "objects": ("1", "logit, dx, dy (cells), z (m), log length, log width, log height (log m), "
                     "cos2, sin2, front (logit), vx, vy (m/s), log variances of x, y (cells^2), "
                     "size, vx, vy; best first, logit -30: none"),
    "object_cells": ("1", "cell in (classes, x, y), counted through"),
    "raster": ("1", "logits of the map's layers"),
    "lane": ("1, 1, m", "cos and sin of the lane's direction, metres left of its centreline"),
    "lights": ("1", "logit, offset u, v (cells), log width, log height (log px), logits of off, "
                    "red, yellow, green; best first, logit -30: none"),
    "light_cells": ("1", "cell in (light cameras, h, w), counted through"),
    "next_state": ("1", "state for a later moment"),
}  # fmt: skip
"""unit and meaning of a detector's tensors"""


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_manifest(
    *,
    kind: str,
    label: str,
    target: Target,
    model: Any,
    config: Any,
    checkpoint: Path,
    parity: Sequence[Difference],
    about: Mapping[str, Any],
    hashes: Mapping[str, str],
    shipped: bool,
) -> dict[str, Any]:
    """The manifest of an exported model.

    Args:
        kind: "detector" or "forecaster".
        label: name and beginning of the SHA-256 of the weights.
        about: what only this kind of network has, e.g. its calibration.
        hashes: SHA-256 of ``model`` and ``reference``, the files.
        shipped: whether the weights come with roadloop.
    """
    graph = model.graph
    return {
        "format": FORMAT,
        "kind": kind,
        "label": label,
        "licence": {
            "roadloop": LICENCE,
            "weights": LICENCE if shipped else "as whoever trained them says",
        },
        "target": dataclasses.asdict(target),
        "precision": target.precision,
        "opset": int(model.opset_import[0].version),
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) for value in graph.output],
        **about,
        "config": dataclasses.asdict(config),
        "hashes": {**hashes, "checkpoint": sha256(checkpoint)},
        "versions": {"roadloop": __version__, **_versions()},
        "nodes": len(graph.node),
        "parity": [
            {"case": each.case, "output": each.output, "relative": _number(each.relative),
             "decibel": _number(each.decibel), "missed": each.missed}
            for each in parity
        ],
    }  # fmt: skip


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """As JSON; raises OSError."""
    text = json.dumps(manifest, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_references(
    path: Path, cases: Mapping[str, tuple[Mapping[str, Array], Mapping[str, Array]]]
) -> None:
    """Inputs and outputs of every case as ``CASE/in/NAME`` and ``CASE/out/NAME``, with a batch."""
    arrays = {}
    for case, (inputs, outputs) in cases.items():
        arrays |= {f"{case}/in/{name}": value for name, value in inputs.items()}
        arrays |= {f"{case}/out/{name}": value for name, value in outputs.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _tensor(value: Any) -> dict[str, Any]:
    from onnx import helper

    kind = value.type.tensor_type
    unit, meaning = MEANING.get(value.name, ("", ""))
    return {
        "name": value.name,
        "shape": [int(dim.dim_value) for dim in kind.shape.dim],
        "dtype": str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))),
        "unit": unit,
        "meaning": meaning,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
