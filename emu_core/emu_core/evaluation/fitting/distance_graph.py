"""The distance of an image from known ones, in the graph of a model file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from emu_core.runtime.calibration import Distance
from emu_core.runtime.fitting import fit_image, fit_pixels
from emu_core.runtime.model_file import INPUT, ModelError, read_info

STAGES = 3
"""Number of encoder stages whose features count: those after them describe what is seen, not how
it looks."""

PREFIX = "calibration."
"""Names of all nodes and constants that a calibration adds begin with it."""

_STAGE = re.compile(r"/network/encoder/stages\.(\d+)/norm/LayerNormalization")


def feature_tensors(graph: onnx.GraphProto) -> list[str]:
    """Names of the feature maps (1, h, w, c) of the first stages; none in a graph without them."""
    found = {}
    for node in graph.node:
        match = _STAGE.fullmatch(node.name)
        if match and int(match[1]) < STAGES:
            found[int(match[1])] = node.output[0]
    return [found[stage] for stage in sorted(found)] if len(found) == STAGES else []


def open_features(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Open the part of a model file that computes features.

    Returns:
        A function from RGB, uint8 (h, w, 3), to features (n,).

    Raises:
        ModelError: The file is not usable, or has no encoder of this project.
    """
    info, proto = read_info(model), onnx.load(str(model))
    features = _add_features(proto.graph, info.precision == "fp16", info.path)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(features, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def read(rgb: np.ndarray) -> np.ndarray:
        fitting = fit_image(rgb.shape[:2], info.input_size, info.output_size, "stretch")
        image = fit_pixels(rgb, fitting, info.input_size)
        return session.run(None, {INPUT: image.reshape(1, *info.input_size, 3)})[0].ravel()

    return read


def add_distance(graph: onnx.GraphProto, distance: Distance, half: bool, path: Path) -> str:
    """Add the weight of the distance to a graph; returns the name of a tensor (1, 1, 1, 1).

    Args:
        graph: Changed in place.
        distance: The values.
        half: Whether the features have half precision.
        path: The file, for the error.

    Raises:
        ModelError: The graph has no encoder of this project.
    """
    tensor = _add_features(graph, half, path)
    place = 1 + next(i for i, node in enumerate(graph.node) if tensor in node.output)
    add = Chain(graph, place, f"{PREFIX}distance")
    offset = -np.array(distance.mean)
    away = add("Add", add("Mul", tensor, 1 / np.array(distance.scale)), offset / distance.scale)
    mean = add("ReduceMean", add("Mul", away, away), np.array([3]))
    steps = add("Div", add("Sub", add("Sqrt", mean), distance.near), distance.far - distance.near)
    return add("Min", add("Max", steps, 0.0), 1.0)


def add_linear(
    graph: onnx.GraphProto, place: int, weight: str, ends: tuple[float, float], name: str
) -> Chain:
    """Add a value that is linear in a weight, from the first of `ends` at 0 to the second at 1."""
    add = Chain(graph, place, f"{PREFIX}{name}")
    add("Add", add("Mul", weight, ends[1] - ends[0]), ends[0])
    return add


def _add_features(graph: onnx.GraphProto, half: bool, path: Path) -> str:
    tensors = feature_tensors(graph)
    if not tensors:
        raise ModelError(
            f"{path} has no encoder of this project, from whose features a distance could be "
            "computed. Calibrate it without a distance."
        )
    last = max(i for i, node in enumerate(graph.node) if not {*tensors}.isdisjoint(node.output))
    add = Chain(graph, last + 1, f"{PREFIX}features")
    if half:
        tensors = [add("Cast", name, to=TensorProto.FLOAT) for name in tensors]
    means = [add("ReduceMean", name, np.array([1, 2])) for name in tensors]
    return add("Concat", *means, axis=3)


class Chain:
    """Nodes that are inserted into a graph one after the other."""

    def __init__(self, graph: onnx.GraphProto, place: int, name: str) -> None:
        self.graph, self.place, self.name = graph, place, name
        self.count, self.last = 0, ""

    def __call__(self, kind: str, *inputs: str | float | np.ndarray, **attributes: int) -> str:
        """Insert a node; constants may be numbers or arrays. Returns the name of its output."""
        self.last = f"{self.name}.{self.count}"
        names = [self._name(i, value) for i, value in enumerate(inputs)]
        node = helper.make_node(kind, names, [self.last], name=self.last)
        node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
        self.graph.node.insert(self.place, node)
        self.place, self.count = self.place + 1, self.count + 1
        return self.last

    def _name(self, index: int, value: str | float | np.ndarray) -> str:
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        name = f"{self.last}.input{index}"
        self.graph.initializer.append(numpy_helper.from_array(array.astype(kind), name))
        return name
