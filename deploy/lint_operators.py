"""Which ONNX operators TensorRT's parser knows, by release.

Facts of onnx-tensorrt, ``docs/operators.md`` of release 10.1 (branch release/10.1-GA, opset 9 to
20); later 10.x know no fewer. Those of TensorRT for RTX that it has no kernels for were tried with
1.7.1.
"""

from __future__ import annotations

PARSED = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat",
    "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum",
    "DeformConv", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Einsum", "Elu",
    "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather",
    "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample", "GroupNormalization",
    "HardSigmoid", "HardSwish", "Hardmax", "Identity", "If", "InstanceNormalization", "IsInf",
    "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "Loop", "LpNormalization", "LpPool", "MatMul", "Max", "MaxPool", "Mean",
    "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonMaxSuppression",
    "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "RNN",
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Resize", "ReverseSequence", "RoiAlign", "Round", "Scan", "Scatter", "ScatterElements",
    "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze",
    "Upsample", "Where", "Xor",
})  # fmt: skip
NOT_IN_RTX = frozenset({"NonZero", "NonMaxSuppression", "RoiAlign", "DeformConv"})
"""plugins of TensorRT, or without a kernel, in TensorRT for RTX"""
SHAPE_OF_DATA = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress"})
"""operators whose output's shape depends on numbers"""
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "Sum", "CumSum",
                        "ReduceSum", "ReduceProd", "Abs", "Neg"})  # fmt: skip
"""operators that compute with whole numbers"""
ONE_TYPE = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Concat", "Where", "Conv",
                      "ConvTranspose", "MatMul", "Gemm", "LayerNormalization"})  # fmt: skip
"""operators whose inputs of real numbers have one type"""
