"""Multiply-adds of an exported graph, part by part, counted from its nodes and their shapes."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import onnx

_PARTS = (
    (r"/encoder/.*/attention/", "attention"),
    (r"/encoder/.*/ffn/|^Gelu", "Mix-FFN"),
    (r"/encoder/.*embed", "patch embeddings"),
    (r"/encoder/", "norms and residuals"),
    (r"/segmentation_decoder/", "segmentation decoder"),
    (r"/depth_decoder/", "depth decoder"),
    (r"^Reorder", "layout changes"),
)
FULL_RESOLUTION = "full resolution"


def part_of(node: str) -> str:
    """The part of the student that a node's name tells; else upsampling, labels and entropy."""
    return next((part for pattern, part in _PARTS if re.search(pattern, node)), FULL_RESOLUTION)


def multiply_adds(path: str | Path) -> Counter[str]:
    """Multiply-adds of convolutions and matrix products, by part; all else is not counted."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    for value in values:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            counts[part_of(node.name)] += _of_node(node, shapes)
    return counts


def _of_node(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    result = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return result * math.prod(shapes[node.input[1]][1:])  # C_in / groups, kernel
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return result * shapes[node.input[0]][0 if turned else 1]
    return result * shapes[node.input[0]][-1]
