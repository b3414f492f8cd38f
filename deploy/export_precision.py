"""An ONNX file that carries its precision: what weights compute in fp16, all that must not in fp32.

Builders of engines that are strongly typed (the only kind from TensorRT 11 on) take the types of
the file as they are, so the choice is made here:

* What weights were learned for, and what it becomes, is fp16.
* What no weight has touched yet is fp32: the calibration and all places computed from it, the
  motion, the grid, the normalisation of pictures. A place in fp16 is off by cells.
* So are `FP32_ONLY` operators, and products of two activations, which is what attention is.
* Inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError

FP32_ONLY = frozenset({
    # TensorRT asks for one type of features and places, and places are fp32
    "GridSample",
    # statistics of fp16 numbers overflow: NVIDIA/TensorRT issues 2564, 1262, 4493
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",
    "Softmax", "LogSoftmax", "ReduceSumSquare", "ReduceL2", "CumSum",
    "Exp", "Log", "Pow", "Sqrt", "Reciprocal",
})  # fmt: skip
FOLLOWING = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Expand",
    "Identity", "Gather", "ReduceSum",
})  # fmt: skip
"""operators that stay in the type they are given: a cast of what they make is smaller"""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})
LARGEST = 65504.0
"""of fp16"""
_ONE_TYPED = {"Resize": 1, "Clip": 3, "Where": 3}
"""operators, and how many of their inputs have the type of the output"""


def with_fp16(model: Any, learned: Collection[str] = ()) -> Any:
    """A copy of an fp32 model in mixed precision.

    Args:
        model: simplified, its shapes and types inferred.
        learned: inputs that are maps of features, as the memory's state.

    Raises:
        RoadloopError: a weight that fp16 cannot hold.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    types = tensor_types(model)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    half = half_nodes(model, learned)
    made_half: set[str] = set()
    nodes: list[Any] = []
    casts: dict[tuple[str, int], str] = {}
    copies: dict[str, str] = {}

    def cast(name: str, to: int) -> str:
        if (name, to) not in casts:
            new = f"{name}_{'fp16' if to == TensorProto.FLOAT16 else 'fp32'}"
            nodes.append(helper.make_node("Cast", [name], [new], name=f"{new}_cast", to=to))
            casts[name, to] = new
        return casts[name, to]

    def weight(name: str) -> str:
        if name not in copies:
            values = numpy_helper.to_array(weights[name])
            if values.size and not np.abs(values).max() <= LARGEST:
                raise RoadloopError(
                    f"{name} holds {np.abs(values).max():.3g}, beyond fp16: export with "
                    "--precision fp32"
                )
            copies[name] = f"{name}_fp16"
            graph.initializer.append(
                numpy_helper.from_array(values.astype(np.float16), copies[name])
            )
        return copies[name]

    renamed: dict[str, str] = {}
    for index, node in enumerate(list(graph.node)):
        is_half = index in half
        for place, given in enumerate(list(node.input)):
            if types.get(given) != TensorProto.FLOAT:
                continue
            name = str(renamed.get(given, given))
            if not is_half:
                node.input[place] = cast(name, TensorProto.FLOAT) if name in made_half else name
            elif place < _ONE_TYPED.get(node.op_type, len(node.input)):
                if given in weights:
                    node.input[place] = weight(name)
                else:
                    known = name in made_half
                    node.input[place] = name if known else cast(name, TensorProto.FLOAT16)
        nodes.append(node)
        if not is_half:
            continue
        for place, name in enumerate(list(node.output)):
            if types.get(name) != TensorProto.FLOAT:
                continue
            if name in results:  # it leaves as fp32
                renamed[name] = node.output[place] = f"{name}_fp16"
                nodes.append(
                    helper.make_node("Cast", [renamed[name]], [name], name=f"{name}_cast",
                                     to=TensorProto.FLOAT)
                )  # fmt: skip
            made_half.add(node.output[place])
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def half_nodes(model: Any, learned: Collection[str] = ()) -> set[int]:
    """Indices of the nodes that may compute in fp16, see the module."""
    from onnx import TensorProto

    types = tensor_types(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    features = set(learned)
    half: set[int] = set()
    made_half: set[str] = set()
    for index, node in enumerate(model.graph.node):
        floats = [name for name in node.input if types.get(name) == TensorProto.FLOAT]
        activations = [name for name in floats if name not in weights]
        product = node.op_type == "MatMul"
        weighted = node.op_type in WEIGHTED or (product and len(activations) == 1)
        if not weighted and not features & set(floats):
            continue
        out = [name for name in node.output if types.get(name) == TensorProto.FLOAT]
        features.update(out)
        attention = product and len(activations) == 2
        follows = node.op_type in FOLLOWING and not made_half & set(activations)
        if node.op_type not in FP32_ONLY and not attention and not follows and out:
            half.add(index)
            made_half.update(out)
    return half


def tensor_types(model: Any) -> dict[str, int]:
    """Element type of every tensor by name; those that inference did not find are missing."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
