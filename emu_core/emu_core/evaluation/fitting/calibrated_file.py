"""Fold a calibration into the graph of a model file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from emu_core.evaluation.fitting.distance_graph import PREFIX, add_distance, add_linear
from emu_core.files import write_atomically
from emu_core.runtime.calibration import UNCALIBRATED, Calibration
from emu_core.runtime.model_file import LOGITS, ModelError, ModelInfo, read_info, to_metadata
from emu_core.runtime.parity import Reference
from emu_core.runtime.perceiver import Perceiver
from emu_core.runtime.verification import decode_reference

_INVERSE = f"{PREFIX}inverse_temperature"
_SCALE, _DOUBT = f"{PREFIX}std_scale", f"{PREFIX}std_doubt"
_RAW = ".uncalibrated"


def write_calibrated(model: Path, output: Path, calibration: Calibration) -> ModelInfo:
    """Write a copy of a model file with a calibration, in the place of an earlier one.

    The temperature is multiplied into the last convolution where the graph has one before the
    logits, so it costs nothing. The factor of the deviation costs one or three element-wise
    operations; a distance costs means of the encoder's features. The reference outputs of the
    file are computed again.

    Args:
        model: Model file.
        output: File to write; it may be the same.
        calibration: The values.

    Raises:
        ModelError: The file is not usable, or has no output for one of the values.
    """
    info = read_info(model)
    proto = onnx.load(str(model))
    _check_outputs(info, calibration)
    _calibrate(proto.graph, info, calibration)

    def write(part: Path) -> None:
        changed = replace(info, calibration=None if calibration == UNCALIBRATED else calibration)
        _save(proto, changed, part)
        maps = Perceiver(part).perceive(decode_reference(info)).maps()
        reference = Reference.sample(info.reference.png, maps)
        _save(proto, replace(changed, reference=reference), part)
        Perceiver(part).verify()

    write_atomically(output, write)
    return read_info(output)


@contextmanager
def uncalibrated(model: Path) -> Iterator[Path]:
    """Give the path of the model file without its calibration, for as long as it is used.

    Raises:
        ModelError: The file is not usable.
    """
    if read_info(model).calibration is None:
        yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, model.name)
        write_calibrated(model, path, UNCALIBRATED)
        yield path


def _check_outputs(info: ModelInfo, calibration: Calibration) -> None:
    before = info.calibration or UNCALIBRATED
    now = {calibration.temperature, calibration.distant_temperature}
    if now != {before.temperature} and info.logits_size is None:
        raise ModelError(
            f"{info.path} has no output '{LOGITS}', so its classes cannot be calibrated. Export "
            "the model again with training/export.py."
        )
    if _changes_deviation(calibration) and "depth_std" not in info.outputs:
        raise ModelError(f"{info.path} has no output 'depth_std' that could be calibrated.")


def _changes_deviation(calibration: Calibration) -> bool:
    factors = (calibration.std_scale, calibration.std_doubt, calibration.distant_factor)
    return factors != (1.0, 0.0, 1.0)


def _calibrate(graph: onnx.GraphProto, info: ModelInfo, calibration: Calibration) -> None:
    """Put the calibration into the graph, in the place of an earlier one."""
    _remove(graph)
    weight = None
    if calibration.distance is not None:
        weight = add_distance(graph, calibration.distance, info.precision == "fp16", info.path)
    if info.logits_size is not None:
        _divide_logits(graph, info, calibration, weight)
    if _changes_deviation(calibration):
        _multiply_deviation(graph, calibration, info, weight)


def _remove(graph: onnx.GraphProto) -> None:
    """Remove all nodes of an earlier calibration from the graph."""
    for node in list(graph.node):
        names = (*node.input, *node.output)
        if any(n.startswith(PREFIX) for n in names) or any(n.endswith(_RAW) for n in node.input):
            graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = name.removesuffix(_RAW)
    for tensor in list(graph.initializer):
        if tensor.name.startswith(PREFIX):
            graph.initializer.remove(tensor)


def _save(proto: onnx.ModelProto, info: ModelInfo, path: Path) -> None:
    helper.set_model_props(proto, to_metadata(info))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


def _divide_logits(
    graph: onnx.GraphProto, info: ModelInfo, calibration: Calibration, weight: str | None
) -> None:
    temperature, distant = calibration.temperature, calibration.distant_temperature
    before = (info.calibration or UNCALIBRATED).temperature
    node = _producer(graph, LOGITS)
    if _fold(graph, node, before / temperature):  # as at every earlier calibration
        temperature, distant = 1.0, distant / temperature
    if temperature == distant == 1:
        return
    place = list(graph.node).index(node) + 1
    if weight is not None and distant != temperature:
        add = add_linear(graph, place, weight, (temperature, distant), "temperature")
        factor, place = add("Reciprocal", add.last), add.place
    else:
        graph.initializer.append(_constant(_INVERSE, 1 / temperature))
        factor = _INVERSE
    raw = _rename_output(node, LOGITS)
    graph.node.insert(place, helper.make_node("Mul", [raw, factor], [LOGITS], f"{PREFIX}{LOGITS}"))


def _fold(graph: onnx.GraphProto, node: onnx.NodeProto, factor: float) -> bool:
    """Multiply the weights of a convolution; False if the node is none with weights of its own."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    own = [constants.get(name) for name in node.input[1:]]
    if node.op_type != "Conv" or not all(own) or _shared(graph, node):
        return False
    for tensor in own:
        assert tensor is not None
        values = numpy_helper.to_array(tensor).astype(np.float64) * factor
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return True


def _multiply_deviation(
    graph: onnx.GraphProto, calibration: Calibration, info: ModelInfo, weight: str | None
) -> None:
    graph.initializer.append(_constant(_SCALE, calibration.std_scale))
    factor = _SCALE
    if calibration.std_doubt and "label_uncertainty" in info.outputs:
        graph.initializer.append(_constant(_DOUBT, calibration.std_doubt))
        product, factor = f"{_DOUBT}.product", f"{_DOUBT}.factor"
        graph.node.append(helper.make_node("Mul", ["label_uncertainty", _DOUBT], [product]))
        graph.node.append(helper.make_node("Add", [product, _SCALE], [factor]))
    if weight is not None and calibration.distant_factor != 1:
        ends = (1.0, calibration.distant_factor)
        add = add_linear(graph, len(graph.node), weight, ends, "std_factor")
        factor = add("Mul", factor, add("Squeeze", add.last, np.array([0, 1])))
    raw = _rename_output(_producer(graph, "depth_std"), "depth_std")
    graph.node.append(helper.make_node("Mul", [raw, factor], ["depth_std"]))


def _producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if name in node.output)


def _rename_output(node: onnx.NodeProto, name: str) -> str:
    """Give an output of a node another name; returns that."""
    node.output[list(node.output).index(name)] = name + _RAW
    return name + _RAW


def _shared(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether another node has a weight of this one."""
    uses = [name for other in graph.node for name in other.input]
    return any(uses.count(name) > 1 for name in node.input[1:])


def _constant(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, np.float32), name)
