"""Traps that lint finds in small files made for it, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.export_precision import with_fp16
from deploy.lint import lint_file, lint_model
from deploy.lint_operators import PARSED
from deploy.targets import find_target
from roadloop.cli import main
from roadloop.errors import RoadloopError

ORIN, RTX, CPU = (find_target(name) for name in ("orin-nano-8gb", "rtx", "cpu"))
F, H, I32, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
U8 = TensorProto.UINT8


def model(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list]],
    outputs: dict[str, tuple[int, list]],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 17,
) -> Any:
    """Inputs and outputs by name: element type and shape."""
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"the {kind}", **attributes)


def rules(made: Any, target: Any = ORIN) -> set[str]:
    return {each.rule for each in lint_model(made, target)}


def relu(shape: list, kind: int = F, opset: int = 17) -> Any:
    return model([node("Relu", "x", "y")], {"x": (kind, shape)}, {"y": (kind, shape)}, opset=opset)


def sampled(opset: int = 17, grid: int = F, depth: bool = False) -> Any:
    """GridSample of 4 or 5 axes."""
    extra, axes = ([2], 3) if depth else ([], 2)
    mode = "bilinear" if opset < 20 else "linear"
    shapes = {"x": (F, [1, 3, *extra, 8, 8]), "at": (grid, [1, *extra, 4, 4, axes])}
    out = {"y": (F, [1, 3, *extra, 4, 4])}
    return model([node("GridSample", "x at", "y", mode=mode)], shapes, out, opset=opset)


def test_a_plain_file_is_clean() -> None:
    assert not lint_model(relu([1, 3]), ORIN) and not lint_model(relu([1, 3]), CPU)
    assert not lint_model(sampled(), ORIN)


def test_grid_sample_of_opset_20_is_found() -> None:
    (found,) = lint_model(sampled(opset=20), ORIN)
    assert found.rule == "grid-sample" and found.node == "the GridSample"
    assert "wrong numbers" in found.reason and "19" in found.remedy
    assert rules(sampled(opset=20), RTX) == {"grid-sample"}
    assert not rules(sampled(opset=20), CPU)


def test_grid_sample_takes_four_axes_before_11_2_1() -> None:
    deep = sampled(opset=20, depth=True)
    assert len(lint_model(deep, ORIN)) == 2
    new = replace(ORIN, version="11.4.1")
    assert len(lint_model(deep, new)) == 1


@pytest.mark.parametrize("kind", ["ScatterND", "ScatterElements"])
@pytest.mark.parametrize(("how", "count"), [("add", 1), ("none", 0)])
def test_scatter_that_accumulates_is_found(kind: str, how: str, count: int) -> None:
    pick = [[0], [0]] if kind == "ScatterND" else [0, 0]
    constants = {"index": np.array(pick, np.int64)}
    scatter = node(kind, "x index v", "y", reduction=how)
    made = model([scatter], {"x": (F, [4]), "v": (F, [2])}, {"y": (F, [4])}, constants)
    found = lint_model(made, ORIN)
    assert [each.rule for each in found] == ["scatter"] * count
    assert not lint_model(made, CPU)


def test_shapes_must_be_fixed() -> None:
    assert rules(relu([1, "n"]), CPU) == {"dynamic-shape"}
    made = model([node("NonZero", "x", "y")], {"x": (F, [4])}, {"y": (I64, [1, "n"])})
    found = lint_model(made, RTX)
    assert {"dynamic-shape", "operator", "int64"} == {each.rule for each in found}


def test_operators_nobody_parses() -> None:
    unique = model([node("Unique", "x", "y")], {"x": (F, [4])}, {"y": (F, [4])})
    assert "operator" in rules(unique) and "Unique" not in PARSED
    own = helper.make_node("Fused", ["x"], ["y"], domain="com.microsoft")
    made = model([own], {"x": (F, [4])}, {"y": (F, [4])})
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert rules(made) == {"operator"} == rules(made, CPU)
    assert rules(relu([1], opset=21)) == {"opset"}


def test_top_k_and_resize() -> None:
    for k, found in ((3840, set()), (3841, {"top-k"})):
        top = node("TopK", "x k", "y i")
        cast = node("Cast", "i", "j", to=I32)
        shapes = {"y": (F, [k]), "j": (I32, [k])}
        made = model([top, cast], {"x": (F, [5000])}, shapes, {"k": np.array([k], np.int64)})
        assert rules(made) == found
    size = {"size": np.array([1, 1, 4, 4], np.int64)}
    how = {"mode": "linear", "antialias": 1}
    shrunk = node("Resize", "x   size", "y", **how)
    shrunk.input[:] = ["x", "", "", "size"]
    shapes = {"x": (F, [1, 1, 8, 8])}, {"y": (F, [1, 1, 4, 4])}
    assert rules(model([shrunk], *shapes, size, opset=18)) == {"resize"}


def test_whole_numbers_of_64_bits_and_pictures() -> None:
    added = model([node("Add", "x x", "y")], {"x": (I64, [2])}, {"y": (I64, [2])})
    found = lint_model(added, ORIN)
    assert [each.node for each in found] == ["x", "y", "the Add"]
    assert not lint_model(added, CPU)
    shape = {"shape": np.array([4], np.int64)}
    late = model(
        [node("Reshape", "x shape", "f"), node("Cast", "f", "y", to=F)],
        {"x": (U8, [2, 2])}, {"y": (F, [4])}, shape,
    )  # fmt: skip
    assert rules(late) == {"uint8"}
    early = model([node("Cast", "x", "y", to=F)], {"x": (U8, [2, 2])}, {"y": (F, [2, 2])})
    assert not rules(early)
    assert "type" in rules(relu([2], TensorProto.DOUBLE))


def test_islands_of_fp32_that_are_missing() -> None:
    assert rules(sampled(grid=H)) == {"fp16"}
    shapes = {"x": (H, [2, 4])}, {"y": (H, [2, 4])}
    scale = {"s": np.ones(4, np.float16), "b": np.zeros(4, np.float16)}
    assert rules(model([node("LayerNormalization", "x s b", "y")], *shapes, scale)) == {"fp16"}
    assert rules(model([node("Softmax", "x", "y")], *shapes)) == {"fp16"}
    two = {"x": (H, [2, 4]), "z": (H, [4, 4])}
    assert rules(model([node("MatMul", "x z", "y")], two, shapes[1])) == {"fp16"}
    weight = {"z": np.ones((4, 4), np.float16)}
    assert not rules(model([node("MatMul", "x z", "y")], *shapes, weight))
    mask = {"m": np.full(4, -np.inf, np.float16)}
    assert rules(model([node("Add", "x m", "y")], *shapes, mask)) == {"fp16"}
    index = model([node("Cast", "x", "y", to=I32)], {"x": (H, [2])}, {"y": (I32, [2])})
    assert rules(index) == {"fp16"}


def test_types_that_do_not_fit_are_found() -> None:
    mixed = model(
        [node("Add", "x z", "y")], {"x": (F, [2])}, {"y": (F, [2])}, {"z": np.ones(2, np.float16)}
    )
    (found,) = lint_model(mixed, ORIN)
    assert found.rule == "types" and "FLOAT and FLOAT16" in found.reason
    wrong = model([node("Relu", "x", "y")], {"x": (F, [2])}, {"y": (F, [3])})
    assert rules(wrong) == {"types"}


def test_a_typed_file_is_clean_and_its_islands_are_fp32() -> None:
    """Places from an input, features from a convolution, attention of features with themselves."""
    nodes = [
        node("Conv", "x w", "f"),
        node("Mul", "at two", "places"),
        node("GridSample", "f places", "g", mode="bilinear"),
        node("Reshape", "g flat", "t"),
        node("Transpose", "t", "u", perm=[0, 2, 1]),
        node("MatMul", "t u", "a"),
        node("Softmax", "a", "p"),
        node("MatMul", "p t", "q"),
        node("Relu", "q", "y"),
    ]
    constants = {
        "w": np.ones((4, 3, 1, 1), np.float32), "two": np.float32(2.0),
        "flat": np.array([1, 4, 16], np.int64),
    }  # fmt: skip
    shapes = {"x": (F, [1, 3, 8, 8]), "at": (F, [1, 4, 4, 2])}
    plain = model(nodes, shapes, {"y": (F, [1, 4, 16])}, constants)
    plain = onnx.shape_inference.infer_shapes(plain)
    half = with_fp16(plain)
    assert not lint_model(half, ORIN)
    kinds = [each.op_type for each in half.graph.node]
    assert kinds.count("Cast") >= 3
    types = {value.name: value.type.tensor_type.elem_type for value in half.graph.value_info}
    made = {each.op_type: types.get(each.output[0]) for each in half.graph.node}
    assert made["Conv"] == H and made["Mul"] == F and made["Softmax"] == F
    assert half.graph.output[0].type.tensor_type.elem_type == F
    large = model(nodes, shapes, {"y": (F, [1, 4, 16])}, constants | {"w": constants["w"] * 1e6})
    with pytest.raises(RoadloopError, match="beyond fp16"):
        with_fp16(onnx.shape_inference.infer_shapes(large))


def test_status_findings_and_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, bad = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(relu([1, 3]), str(file))
    onnx.save(sampled(opset=20), str(bad))
    assert main(["lint", str(file), "--target", "thor"]) == 0
    assert main(["lint", str(bad), "--target", "thor"]) == 1
    assert "[grid-sample] the GridSample" in capsys.readouterr().out
    assert main(["lint", str(bad), "--target", "thor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["rule"] == "grid-sample"
    noise = tmp_path / "c.onnx"
    noise.write_bytes(b"no network at all")
    for words in ([str(tmp_path / "d.onnx"), "--target", "cpu"], [str(noise), "--target", "cpu"],
                  [str(file), "--target", "xavier"]):  # fmt: skip
        assert main(["lint", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_manifest_of_another_file_and_weights_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    onnx.save(relu([1, 3]), str(file))
    file.with_suffix(".json").write_text('{"hashes": {"model": "0"}}')
    assert [each.rule for each in lint_file(file, CPU)] == ["manifest"]
    constants = {"z": np.ones(400, np.float32)}
    made = model([node("Add", "x z", "y")], {"x": (F, [400])}, {"y": (F, [400])}, constants)
    apart = tmp_path / "b.onnx"
    onnx.save(made, str(apart), save_as_external_data=True, location="b.data", size_threshold=0)
    assert [each.rule for each in lint_file(apart, CPU)] == ["one-file"]
