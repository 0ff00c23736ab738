"""Fold a calibration into the graph of a model file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from emu_core.files import write_atomically
from emu_core.runtime.calibration import UNCALIBRATED, Calibration
from emu_core.runtime.model_file import LOGITS, ModelError, ModelInfo, read_info, to_metadata
from emu_core.runtime.parity import Reference
from emu_core.runtime.perceiver import Perceiver
from emu_core.runtime.verification import decode_reference

_TEMPERATURE = "calibration.inverse_temperature"
_SCALE, _DOUBT = "calibration.std_scale", "calibration.std_doubt"
_RAW = ".uncalibrated"


def write_calibrated(model: Path, output: Path, calibration: Calibration) -> ModelInfo:
    """Write a copy of a model file with a calibration, in the place of an earlier one.

    The temperature is multiplied into the last convolution where the graph has one before the
    logits, so it costs nothing. The factor of the deviation costs one or three element-wise
    operations. The reference outputs of the file are computed again.

    Args:
        model: Model file.
        output: File to write; it may be the same.
        calibration: The values.

    Raises:
        ModelError: The file is not usable, or has no output for one of the values.
    """
    info = read_info(model)
    proto, before = onnx.load(str(model)), info.calibration or UNCALIBRATED
    if calibration.temperature != before.temperature:
        if info.logits_size is None:
            raise ModelError(
                f"{model} has no output '{LOGITS}', so its classes cannot be calibrated. Export "
                "the model again with training/export.py."
            )
        _divide_logits(proto.graph, before.temperature, calibration.temperature)
    if (calibration.std_scale, calibration.std_doubt) != (before.std_scale, before.std_doubt):
        if "depth_std" not in info.outputs:
            raise ModelError(f"{model} has no output 'depth_std' that could be calibrated.")
        _multiply_deviation(proto.graph, calibration, "label_uncertainty" in info.outputs)

    def write(part: Path) -> None:
        changed = replace(info, calibration=calibration)
        _save(proto, changed, part)
        maps = Perceiver(part).perceive(decode_reference(info)).maps()
        reference = Reference.sample(info.reference.png, maps)
        _save(proto, replace(changed, reference=reference), part)
        Perceiver(part).verify()

    write_atomically(output, write)
    return read_info(output)


def _save(proto: onnx.ModelProto, info: ModelInfo, path: Path) -> None:
    helper.set_model_props(proto, to_metadata(info))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


def _divide_logits(graph: onnx.GraphProto, before: float, temperature: float) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if _TEMPERATURE in constants:
        _set(constants[_TEMPERATURE], 1 / temperature)
        return
    node = _producer(graph, LOGITS)
    own = [constants.get(name) for name in node.input[1:]]
    if node.op_type == "Conv" and all(own) and not _shared(graph, node):
        for tensor in own:
            assert tensor is not None
            values = numpy_helper.to_array(tensor).astype(np.float64) * (before / temperature)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
        return
    graph.initializer.append(_constant(_TEMPERATURE, 1 / temperature))
    place = _rename_output(graph, node, LOGITS)
    scaled = helper.make_node("Mul", [LOGITS + _RAW, _TEMPERATURE], [LOGITS], _TEMPERATURE)
    graph.node.insert(place + 1, scaled)


def _multiply_deviation(
    graph: onnx.GraphProto, calibration: Calibration, has_uncertainty: bool
) -> None:
    _remove_factor(graph)
    _rename_output(graph, _producer(graph, "depth_std"), "depth_std")
    graph.initializer.append(_constant(_SCALE, calibration.std_scale))
    factor = _SCALE
    if calibration.std_doubt and has_uncertainty:
        graph.initializer.append(_constant(_DOUBT, calibration.std_doubt))
        product, factor = f"{_DOUBT}.product", f"{_DOUBT}.factor"
        graph.node.append(helper.make_node("Mul", ["label_uncertainty", _DOUBT], [product]))
        graph.node.append(helper.make_node("Add", [product, _SCALE], [factor]))
    graph.node.append(helper.make_node("Mul", [f"depth_std{_RAW}", factor], ["depth_std"]))


def _remove_factor(graph: onnx.GraphProto) -> None:
    """Undo `_multiply_deviation`."""
    for node in list(graph.node):
        if f"depth_std{_RAW}" in node.input or any(i in (_SCALE, _DOUBT) for i in node.input):
            graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == f"depth_std{_RAW}":
                node.output[place] = "depth_std"
    for tensor in list(graph.initializer):
        if tensor.name in (_SCALE, _DOUBT):
            graph.initializer.remove(tensor)


def _producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if name in node.output)


def _rename_output(graph: onnx.GraphProto, node: onnx.NodeProto, name: str) -> int:
    """Give an output of a node another name; returns the place of the node."""
    node.output[list(node.output).index(name)] = name + _RAW
    return list(graph.node).index(node)


def _shared(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether another node has a weight of this one."""
    uses = [name for other in graph.node for name in other.input]
    return any(uses.count(name) > 1 for name in node.input[1:])


def _constant(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, np.float32), name)


def _set(tensor: TensorProto, value: float) -> None:
    tensor.CopyFrom(_constant(tensor.name, value))
