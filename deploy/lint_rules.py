"""The traps of a target's TensorRT, one function each: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.lint_operators import (
    ARITHMETIC,
    CONTROL_FLOW,
    NOT_IN_RTX,
    ONE_TYPE,
    PARSED,
    SHAPE_OF_DATA,
)
from deploy.targets import Target

MOST_K = 3840
"""of TopK: "K exceeds the maximum value allowed (3840)" """
FIRST_5D = (11, 2, 1)
"""the first TensorRT whose GridSample takes five axes (release notes)"""
FIRST_INT64 = (10, 0)
"""the first with real 64-bit tensors (release notes)"""


@dataclass(frozen=True)
class Finding:
    """One thing that will go wrong."""

    rule: str
    node: str
    """its name, or that of an input, an output or a file; empty: all of the file"""
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node else ""
        return f"[{self.rule}] {where}{self.reason}; {self.remedy}"


class Graph:
    """A model with what rules ask of it.

    Attributes:
        opset: of the standard operators.
        types: element type of every tensor by name.
        constants: of every initialiser and Constant by name, the tensor.
        makers: the node that makes a tensor, by the tensor's name.
    """

    def __init__(self, model: Any, types: dict[str, int]) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.types = types
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.opset: int = opsets.get("", opsets.get("ai.onnx", 0))
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                for entry in node.attribute:
                    if entry.name == "value":
                        self.constants[node.output[0]] = entry.t
        self.makers = {name: node for node in self.nodes for name in node.output}

    def of(self, *operators: str) -> list[Any]:
        """The nodes of some operators."""
        return [node for node in self.nodes if node.op_type in operators]

    def values(self, name: str) -> np.ndarray | None:
        """Of a constant; None: it is none, or its numbers lie elsewhere."""
        from onnx import TensorProto, numpy_helper

        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def rank(self, name: str) -> int | None:
        """Axes of a tensor; None: not known."""
        graph = self.model.graph
        for value in [*graph.value_info, *graph.input, *graph.output]:
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        return len(self.constants[name].dims) if name in self.constants else None


def attribute(node: Any, name: str, default: Any) -> Any:
    """Of a node, as Python has it."""
    import onnx

    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def name_of(node: Any) -> str:
    """A node's name, or its operator and first output."""
    return node.name or f"{node.op_type} -> {node.output[0]}"


# --- rules --------------------------------------------------------------------------------------


def one_file(graph: Graph, target: Target) -> Iterator[Finding]:
    """Weights in other files get lost on the way."""
    from onnx import TensorProto

    for name, tensor in graph.constants.items():
        if tensor.data_location == TensorProto.EXTERNAL:
            reason = "its numbers lie in another file"
            yield Finding("one-file", name, reason, "save the model as one file")
            return


def opset(graph: Graph, target: Target) -> Iterator[Finding]:
    """TensorRT 10 parses 9 to 20 (onnx-tensorrt, docs/operators.md)."""
    if target.is_tensorrt and not 9 <= graph.opset <= 20:
        reason = f"opset {graph.opset}; the parser knows 9 to 20"
        yield Finding("opset", "", reason, f"export with opset {target.opset}")


def dynamic_shapes(graph: Graph, target: Target) -> Iterator[Finding]:
    """An engine of dynamic shapes needs profiles, and is slower for it."""
    for value in [*graph.model.graph.input, *graph.model.graph.output]:
        if value.name in graph.constants:
            continue
        kind = value.type.tensor_type
        fixed = kind.HasField("shape") and all(
            dim.HasField("dim_value") and dim.dim_value > 0 for dim in kind.shape.dim
        )
        if not fixed:
            reason = "its shape is not fixed"
            yield Finding("dynamic-shape", value.name, reason, "export with fixed shapes, batch 1")
    for node in graph.of(*SHAPE_OF_DATA):
        reason = f"the shape of what {node.op_type} makes depends on numbers"
        yield Finding("dynamic-shape", name_of(node), reason, "pick a fixed number with TopK")


def operators(graph: Graph, target: Target) -> Iterator[Finding]:
    """Operators without a parser, a plugin or a kernel."""
    for node in graph.nodes:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            reason = f"{node.domain}.{kind} is no standard operator"
            yield Finding("operator", name_of(node), reason, "export without fusions or plugins")
        elif kind in CONTROL_FLOW:
            reason = f"{kind} holds a graph of its own, which TensorRT may not parse"
            yield Finding("operator", name_of(node), reason, "unroll it, or choose with Where")
        elif target.is_tensorrt and kind not in PARSED:
            reason = f"{target.runtime} {target.version} does not know {kind}"
            yield Finding("operator", name_of(node), reason, "rewrite it with simpler operators")
        elif target.runtime == "tensorrt-rtx" and kind in NOT_IN_RTX:
            reason = f"TensorRT for RTX has no {kind}"
            yield Finding("operator", name_of(node), reason, "decode with MaxPool and TopK")


def scatter(graph: Graph, target: Target) -> Iterator[Finding]:
    """No release adds up what is scattered to one place."""
    for node in graph.of("ScatterND", "ScatterElements", "Scatter"):
        if target.is_tensorrt and attribute(node, "reduction", "none") != "none":
            reason = f"{node.op_type} that accumulates is not supported"
            yield Finding("scatter", name_of(node), reason, "gather a fixed number and sum them")


def grid_sample(graph: Graph, target: Target) -> Iterator[Finding]:
    """Wrong numbers at opset 20 (NVIDIA/TensorRT issue 4646), and four axes only."""
    for node in graph.of("GridSample"):
        if not target.is_tensorrt:
            return
        if graph.opset >= 20:
            reason = f"GridSample of opset {graph.opset} gives wrong numbers on TensorRT 10.13"
            yield Finding("grid-sample", name_of(node), reason, "export with opset 19 or less")
        old = target.runtime == "tensorrt" and target.release < FIRST_5D
        rank = graph.rank(node.input[0])
        if old and rank is not None and rank != 4:
            reason = f"GridSample over {rank} axes; TensorRT {target.version} takes 4"
            yield Finding("grid-sample", name_of(node), reason, "fold the depth into channels")


def top_k(graph: Graph, target: Target) -> Iterator[Finding]:
    """K has a limit and must be known."""
    for node in graph.of("TopK"):
        k = graph.values(node.input[1])
        if target.is_tensorrt and (k is None or int(k.reshape(-1)[0]) > MOST_K):
            given = "not a constant" if k is None else f"{int(k.reshape(-1)[0])}"
            reason = f"K is {given}; at most {MOST_K} are allowed"
            yield Finding("top-k", name_of(node), reason, "keep fewer peaks")


def resize(graph: Graph, target: Target) -> Iterator[Finding]:
    """No antialiasing, no cubic."""
    for node in graph.of("Resize"):
        if target.is_tensorrt and attribute(node, "antialias", 0):
            reason = "Resize with antialiasing is not supported"
            yield Finding("resize", name_of(node), reason, "shrink pictures before the network")


def whole_numbers(graph: Graph, target: Target) -> Iterator[Finding]:
    """64 bits cost twice, differ between releases, and no board needs them."""
    from onnx import TensorProto

    if not target.is_tensorrt:
        return
    remedy = "cast to INT32 first"
    for value in [*graph.model.graph.input, *graph.model.graph.output]:
        kind = value.type.tensor_type.elem_type
        if kind == TensorProto.INT64 and value.name not in graph.constants:
            reason = "INT64 goes in or out: 8.x makes it INT32, 10.x does not"
            yield Finding("int64", value.name, reason, "export it as INT32")
        if kind in (TensorProto.DOUBLE, TensorProto.STRING):
            reason = "its type is not supported"
            yield Finding("type", value.name, reason, "export it as FLOAT")
    for node in graph.nodes:
        varying = [name for name in node.input if name not in graph.constants]
        wide = any(graph.types.get(name) == TensorProto.INT64 for name in varying)
        if wide and node.op_type in ARITHMETIC:
            reason = f"{node.op_type} computes with INT64"
            yield Finding("int64", name_of(node), reason, remedy)
        if any(graph.types.get(name) == TensorProto.DOUBLE for name in node.output):
            reason = "computes in double precision, which is cut to float"
            yield Finding("type", name_of(node), reason, "export it as FLOAT")


def pictures(graph: Graph, target: Target) -> Iterator[Finding]:
    """UINT8 may go in and be cast, nothing else."""
    from onnx import TensorProto

    if not target.is_tensorrt:
        return
    inputs = {value.name for value in graph.model.graph.input}
    for node in graph.nodes:
        bytes_in = [n for n in node.input if graph.types.get(n) == TensorProto.UINT8]
        quantised = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if not bytes_in or (node.op_type == "Cast" and bytes_in[0] in inputs):
            continue
        if quantised:
            reason = "quantised to UINT8; TensorRT knows INT8"
            yield Finding("quantised", name_of(node), reason, "quantise symmetrically to INT8")
        else:
            reason = f"{node.op_type} of UINT8: only a Cast may follow such an input"
            yield Finding("uint8", name_of(node), reason, "cast pictures to FLOAT at once")


def quantised(graph: Graph, target: Target) -> Iterator[Finding]:
    """Zero points other than 0 are refused."""
    for node in graph.of("QuantizeLinear", "DequantizeLinear"):
        zero = graph.values(node.input[2]) if len(node.input) > 2 else None
        if target.is_tensorrt and zero is not None and np.any(zero):
            reason = "its zero point is not 0"
            yield Finding("quantised", name_of(node), reason, "quantise symmetrically to INT8")


def one_type(graph: Graph, target: Target) -> Iterator[Finding]:
    """Builders that are strongly typed cast nothing by themselves."""
    from onnx import TensorProto

    reals = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    for node in graph.of(*ONE_TYPE):
        kinds = {graph.types[name] for name in node.input if name in graph.types} & reals
        if len(kinds) > 1:
            mixed = " and ".join(sorted(TensorProto.DataType.Name(kind) for kind in kinds))
            reason = f"{node.op_type} of {mixed}"
            yield Finding("types", name_of(node), reason, "give constants the tensor's own type")


def low_precision(graph: Graph, target: Target) -> Iterator[Finding]:
    """FP8 and FP4 are for Ada, Blackwell and Thor; Orin is Ampere."""
    from onnx import TensorProto

    narrow = {
        getattr(TensorProto, name)
        for name in ("FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1")
        if hasattr(TensorProto, name)
    }
    old = [c for c in target.compute_capability if float(c) < 8.9]
    for name, kind in graph.types.items():
        if kind in narrow and old:
            reason = f"FP8 or FP4, which compute capability {old[0]} has not"
            yield Finding("type", name, reason, "quantise to INT8")
            return


def islands(graph: Graph, target: Target) -> Iterator[Finding]:
    """What must stay FP32 in a file with FP16."""
    from onnx import TensorProto

    half = TensorProto.FLOAT16
    remedy = "keep it FP32 (roadloop export does)"
    made = graph.makers
    for node in graph.nodes:
        types = [graph.types.get(name) for name in node.input]
        kind, name = node.op_type, name_of(node)
        if kind == "GridSample" and types[1] == half:
            reason = "places in FP16 are off by cells"
            yield Finding("fp16", name, reason, remedy)
        elif kind in ("LayerNormalization", "InstanceNormalization", "GroupNormalization"):
            if types[0] == half:
                reason = f"statistics of {kind} overflow in FP16"
                yield Finding("fp16", name, reason, remedy)
        elif kind == "Softmax" and types[0] == half:
            yield Finding("fp16", name, "attention weighs in FP16", remedy)
        elif kind == "MatMul" and types[:2] == [half, half]:
            if not any(n in graph.constants for n in node.input):
                yield Finding("fp16", name, "attention's product in FP16 may overflow", remedy)
        elif kind == "Cast" and types[0] == half:
            if graph.types.get(node.output[0]) in (TensorProto.INT32, TensorProto.INT64):
                reason = "an index computed in FP16 is exact to 2048 only"
                yield Finding("fp16", name, reason, remedy)
        elif kind == "Cast" and types[0] == TensorProto.UINT8:
            if graph.types.get(node.output[0]) == half:
                yield Finding("fp16", name, "pictures are normalised in FP16", remedy)
        elif kind in ("Sin", "Cos", "Atan") and types[0] == half:
            yield Finding("fp16", name, "an angle in FP16 is off by cells far away", remedy)
    for name in graph.constants:
        if graph.types.get(name) == half or (name in made and graph.types.get(name) == half):
            values = graph.values(name)
            if values is not None and not np.isfinite(values).all():
                reason = "infinite or beyond FP16"
                yield Finding("fp16", name, reason, "mask with -1e4, not with -inf or -1e9")


RULES: tuple[Callable[[Graph, Target], Iterator[Finding]], ...] = (
    one_file,
    opset,
    dynamic_shapes,
    operators,
    scatter,
    grid_sample,
    top_k,
    resize,
    whole_numbers,
    pictures,
    quantised,
    one_type,
    low_precision,
    islands,
)
