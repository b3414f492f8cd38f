"""Engines for GeForce RTX, built without a GPU; skipped where TensorRT for RTX is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.engines import build_engines
from deploy.manifest import sha256
from deploy.targets import find_target
from roadloop.cli import main
from roadloop.errors import RoadloopError


def convolution(path: Path, kind: int = TensorProto.FLOAT) -> Path:
    """A file with one layer."""
    shape = [1, 3, 8, 8]
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name in "xy")
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def test_an_engine_says_what_it_was_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    file = convolution(tmp_path / "one.onnx")
    own = tmp_path / "ampere.yaml"
    own.write_text('runtime: tensorrt-rtx\nversion: "1.7"\ncompute_capability: ["8.6"]\n')
    assert main(["build", str(file), "--target", str(own), "--out", str(tmp_path / "made")]) == 0
    engine = tmp_path / "made" / "one-sm86.engine"
    assert str(engine) in capsys.readouterr().out
    about = json.loads(engine.with_suffix(".json").read_text())
    assert about["model"] == sha256(file) and about["bytes"] == engine.stat().st_size > 1000
    assert about["compute_capability"] == "8.6" and trt.__version__ in about["runtime"]
    future = replace(find_target(str(own)), compute_capability=("99.0",))
    with pytest.raises(RoadloopError, match=r"nothing for compute capability 99\.0"):
        build_engines(file, future, tmp_path)
    wrong = convolution(tmp_path / "wrong.onnx", TensorProto.FLOAT16)
    with pytest.raises(RoadloopError, match=r"wrong\.onnx: TensorRT for RTX"):
        build_engines(wrong, find_target("rtx"), tmp_path)
    assert main(["build", str(wrong)]) == 1
    assert "[types]" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.engine"))


def test_engines_of_boards_are_built_there(tmp_path: Path) -> None:
    file = convolution(tmp_path / "one.onnx")
    with pytest.raises(RoadloopError, match="built on the board"):
        build_engines(file, find_target("orin-nano-8gb"), tmp_path)
    with pytest.raises(RoadloopError, match="ONNX Runtime"):
        build_engines(file, find_target("cpu"), tmp_path)
    with pytest.raises(RoadloopError, match="no such file"):
        build_engines(tmp_path / "none.onnx", find_target("rtx"), tmp_path)
