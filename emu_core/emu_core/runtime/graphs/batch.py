"""Change a model file's graph, which takes one image, into one that takes several at once.

    content = batched(path, 4)               # bytes of the changed model

Most of the graph computes a batch with the same nodes: their first axis, of length 1 in the file,
becomes the batch. From the first node on for which this is not certain (such as one that drops the
axis), the nodes are copied, one copy for each image. So every graph can be changed, and the
network itself has one large product where there were several small ones. Needs the package `onnx`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emu_core.runtime.model_file import INPUT, LOGITS

if TYPE_CHECKING:
    import onnx

_UNARY = {
    *("Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
    *("HardSwish", "Identity", "LeakyRelu", "Log", "Neg", "Reciprocal", "Relu", "Round"),
    *("Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh"),
}
_BROADCAST = {
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"),
    *("Min", "Mul", "Not", "Or", "Pow", "Sub", "Where"),
}
_OF_PLANES = {
    *("AveragePool", "BatchNormalization", "Conv", "GlobalAveragePool", "MaxPool"),
}
_ALONG_AXIS = {"Concat": 0, "LayerNormalization": -1, "LogSoftmax": -1, "Softmax": -1, "Split": 0}
"""Nodes that keep the other axes apart, and the default of their attribute `axis`."""


def batched(path: Path, count: int) -> bytes:
    """Return the model of a file for `count` images: input (count, H, W, 3), maps (count, H, W).

    Args:
        path: A model file (`emu_core.runtime.model_file`).
        count: Number of images, at least 2.
    """
    import onnx

    model = _without_shape_arithmetic(path)
    batch(model, count)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def batch(model: onnx.ModelProto, count: int) -> None:
    """Change a model in place; all its shapes must be constant."""
    graph = model.graph
    changed = _Batch(model, count)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        changed.add(node)
    for value in (*graph.input, *graph.output):
        changed.declare(value)
    del graph.value_info[:]


def _without_shape_arithmetic(path: Path) -> onnx.ModelProto:
    """Read a model, with constants in place of everything that does not depend on the image."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "basic.onnx"))
        # The fusion would merge the first axis with others.
        onnxruntime.InferenceSession(
            str(path),
            options,
            ["CPUExecutionProvider"],
            disabled_optimizers=["MatMulAddFusion"],
        )
        return onnx.load(options.optimized_model_filepath)


class _Batch:
    """A graph that is built anew for `count` images, node by node."""

    def __init__(self, model: onnx.ModelProto, count: int) -> None:
        from onnx import numpy_helper, shape_inference

        self._graph, self._count = model.graph, count
        self._values = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
        inferred = shape_inference.infer_shapes(model).graph
        known = (*inferred.value_info, *inferred.input, *inferred.output)
        self._ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in known}
        self._ranks |= {name: value.ndim for name, value in self._values.items()}
        self._batches = {INPUT}
        """Tensors whose first axis is the batch."""
        self._copies: dict[str, list[str]] = {}
        """Names of the tensors that each image has its own copy of."""

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node for all images, or one copy for each."""
        if self._copies.keys().isdisjoint(node.input):
            if self._batches.isdisjoint(node.input):
                self._graph.node.append(node)
                return
            if (shaped := self._for_all(node)) is not None:
                self._graph.node.append(shaped)
                self._batches.update(node.output)
                return
        outputs = {name: [f"{name}@{i}" for i in range(self._count)] for name in node.output}
        inputs = [self._of_each(name) for name in node.input]
        for i in range(self._count):
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = f"{node.name or node.output[0]}@{i}"
            copy.input[:] = [names[i] for names in inputs]
            copy.output[:] = [names[i] for names in outputs.values()]
            self._graph.node.append(copy)
        self._copies |= outputs

    def declare(self, value: onnx.ValueInfoProto) -> None:
        """Give an input or output of the graph its new shape; join the maps of all images."""
        from onnx import helper

        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name == INPUT or value.name in self._batches:
            dims[0] = self._count
        if value.name != INPUT and value.name not in self._batches:
            self._join(value.name)
            dims = [self._count, *dims[value.name == LOGITS :]]
        element = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, element, dims))

    def _join(self, name: str) -> None:
        """Stack the maps of all images; logits have an axis for the batch already."""
        from onnx import helper

        names = self._of_each(name)
        if name != LOGITS:
            axis = self._constant("batch.axis", np.array([0], np.int64))
            rows = [f"{each}.row{i}" for i, each in enumerate(names)]
            for each, row in zip(names, rows, strict=True):
                self._graph.node.append(helper.make_node("Unsqueeze", [each, axis], [row]))
            names = rows
        self._graph.node.append(helper.make_node("Concat", names, [name], axis=0))

    def _of_each(self, name: str) -> list[str]:
        """Names of a tensor for each image; a batch is split where it is needed first."""
        from onnx import helper

        if name in self._copies:
            return self._copies[name]
        if name not in self._batches:
            return [name] * self._count
        names = [f"{name}@{i}" for i in range(self._count)]
        ones = self._constant("batch.ones", np.ones(self._count, np.int64))
        self._graph.node.append(helper.make_node("Split", [name, ones], names, axis=0))
        self._copies[name] = names
        return names

    def _constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        if name not in self._values:
            self._values[name] = value
            self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _for_all(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the node that computes a batch; None if it is not certain that one does."""
        kind, data = node.op_type, node.input[0]
        if kind in ("Reshape", "Resize"):
            return self._with_batch_size(node)
        if kind in _BROADCAST:
            fits = self._broadcasts(node)
        elif kind == "MatMul":
            fits = all(self._ranks[name] > 2 for name in node.input if name in self._batches)
            fits = fits and self._broadcasts(node)
        elif kind in _ALONG_AXIS:
            fits = self._axis(node, _ALONG_AXIS[kind]) > 0 and self._is_batch_of_all(node)
        elif kind == "Transpose":
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1])
            fits = order[0] == 0
        elif kind == "ReduceMean":
            fits = data in self._batches and self._keeps_first_axis(node)
        else:
            only_data = self._batches.isdisjoint(node.input[1:])
            fits = kind in (_UNARY | _OF_PLANES) and data in self._batches and only_data
        return node if fits else None

    def _axis(self, node: onnx.NodeProto, default: int) -> int:
        axis = next((a.i for a in node.attribute if a.name == "axis"), default)
        return axis % self._ranks[node.input[0]]

    def _keeps_first_axis(self, node: onnx.NodeProto) -> bool:
        """Whether a reduction leaves the first axis and the number of axes alone."""
        axes = self._values.get(node.input[1]) if len(node.input) > 1 else None
        keeps = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        return bool(keeps) and axes is not None and 0 not in axes % self._ranks[node.input[0]]

    def _is_batch_of_all(self, node: onnx.NodeProto) -> bool:
        """Whether the data is a batch: all inputs of Concat, the first one of others."""
        data = node.input if node.op_type == "Concat" else node.input[:1]
        return all(name in self._batches for name in data)

    def _broadcasts(self, node: onnx.NodeProto) -> bool:
        """Whether the first axis of the result is that of the batches among the inputs."""
        rank = max(self._ranks[name] for name in node.input)
        return all(
            self._ranks[name] == rank
            if name in self._batches
            else self._ranks[name] < rank or self._is_for_each(name)
            for name in node.input
        )

    def _is_for_each(self, name: str) -> bool:
        """Whether a constant of full rank has one row, which is for every image."""
        return name in self._values and self._values[name].shape[0] == 1

    def _with_batch_size(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return Reshape or Resize with a shape that begins with the batch's size, not with 1."""
        shape = self._values.get(node.input[-1])
        is_scale = node.op_type == "Resize" and len(node.input) < 4
        if node.input[0] not in self._batches or shape is None or not shape.size or shape[0] != 1:
            return None
        if any(a.name in ("axes", "allowzero") and (a.ints or a.i) for a in node.attribute):
            return None
        if is_scale:
            return node
        larger = np.concatenate([[self._count], shape[1:]]).astype(np.int64)
        text = ",".join(str(n) for n in larger)
        node.input[-1] = self._constant(f"batch.shape.{text}", larger)
        return node
