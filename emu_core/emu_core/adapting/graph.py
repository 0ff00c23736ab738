"""Join other networks with what comes before and after them into one ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import compose, version_converter
from torch import Tensor, nn

from emu_core.adapting.foreign import AdaptError
from emu_core.adapting.outputs import After, Before, Networks
from emu_core.runtime.model_file import INPUT, IR_VERSION, OPSET, one_line
from emu_core.training.export import trace

_NAMES = ("first", "second")  # prefixes of the networks in the graph


def joined(networks: Networks, folder: Path) -> onnx.ModelProto:
    """Return the graph of a model file, without metadata.

    Args:
        networks: The checked networks.
        folder: For temporary files.

    Raises:
        AdaptError: A network cannot be converted to the opset of the other one.
    """
    foreign = [network for network, _ in networks.all]
    opset = max(network.opset for network in foreign)
    parts = []
    for name, network in zip(_NAMES, foreign, strict=False):
        model = network.model
        if network.opset != opset:
            model = _converted(model, opset, network.path)
        parts.append(compose.add_prefix(model, f"{name}/"))
    inputs = [f"{n}/{network.input}" for n, network in zip(_NAMES, foreign, strict=False)]
    raw = [f"{n}/{network.output}" for n, network in zip(_NAMES, foreign, strict=False)]
    image = torch.zeros((1, *networks.size, 3), dtype=torch.uint8)
    before = _part(Before(networks), (image,), [INPUT], inputs, opset, folder, "before/")
    zeros = tuple(torch.from_numpy(network.black) for network in foreign)
    after = _part(After(networks), zeros, raw, networks.outputs, opset, folder, "after/")
    parts = [before, *parts, after]
    graph = onnx.helper.make_graph(
        [node for part in parts for node in part.graph.node],
        "adapted",
        before.graph.input,
        after.graph.output,
        [tensor for part in parts for tensor in part.graph.initializer],
        sparse_initializer=[t for part in parts for t in part.graph.sparse_initializer],
    )
    domains: dict[str, int] = {}
    for part in parts:
        for each in part.opset_import:
            domain = "" if each.domain == "ai.onnx" else each.domain
            domains[domain] = max(each.version, domains.get(domain, 0))
    return onnx.helper.make_model(
        graph,
        ir_version=max(IR_VERSION, *(network.model.ir_version for network in foreign)),
        opset_imports=[onnx.helper.make_opsetid(name, number) for name, number in domains.items()],
        functions=[function for part in parts for function in part.functions],
        producer_name="emu_core.adapting",
    )


def quietly_traced(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    path: Path,
) -> onnx.ModelProto:
    """Export a module as `training.export.trace` does, without warnings."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # other people's modules have warnings of their own
        return trace(module, arguments, inputs, outputs, opset, path)


def _part(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    folder: Path,
    prefix: str,
) -> onnx.ModelProto:
    """Export one of our parts; its inputs and outputs keep their names."""
    path = folder / "part.onnx"
    model = quietly_traced(module, arguments, inputs, outputs, min(opset, OPSET), path)
    if opset > OPSET:
        model = version_converter.convert_version(model, opset)
    kept = {name: name for name in (*inputs, *outputs)}
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.name = prefix + node.name
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = kept.get(name, prefix + name) if name else name
    for tensor in model.graph.initializer:
        tensor.name = prefix + tensor.name
    return model


def _converted(model: onnx.ModelProto, opset: int, path: Path) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:
        raise AdaptError(
            f"{path} cannot be converted to opset {opset}, which the other network has: export "
            f"both with the same opset. ({one_line(error)})"
        ) from error
