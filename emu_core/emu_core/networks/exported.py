"""Load a network from a model file (`training.export`) to continue its training.

The file holds folded decoders, which include BatchNorm. They are loaded as equal decoders: the
fusing convolution adds up the folded projections, and BatchNorm is the identity. Before training,
`settle_norms` sets the statistics of the norms.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from emu_core.networks.decoder import AllMLPDecoder
from emu_core.networks.encoder import recognize_variant
from emu_core.networks.formats import first_line
from emu_core.networks.models import DepthFormer, Network, SegDepthFormer, SegFormer, normalize
from emu_core.networks.weights import WeightsError

SUFFIX = ".onnx"

_DECODERS = ("segmentation_decoder", "depth_decoder")
_PREFIX = "network."  # of names in the exported graph


def load_exported(path: str | Path) -> Network:
    """Load a network that `emu_core.training.export` wrote, on the CPU and in eval mode.

    Raises:
        WeightsError: The file is missing or damaged, or was not written by `training.export`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"Found no model at {path}.")
    try:
        graph = onnx.load(str(path)).graph
        tensors = _tensors(graph)
        width = len(tensors["encoder.stages.0.embed.bias"])
        pattern = r"encoder\.stages\.(\d)\.blocks\.(\d+)\."
        variant = recognize_variant(tensors, pattern, width) or "unknown"
        decoders = [name for name in _DECODERS if f"{name}.head.bias" in tensors]
        norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
        eps = next(float(a.f) for a in norm.attribute if a.name == "epsilon")
        network: Network
        if "segmentation_decoder" not in decoders:
            network = DepthFormer(variant, layer_norm_eps=eps)
        else:
            kind = SegFormer if len(decoders) == 1 else SegDepthFormer
            classes = len(tensors["segmentation_decoder.head.bias"])
            network = kind(variant, classes, layer_norm_eps=eps)
        # Some linear layers of the encoder were exported as convolutions.
        encoder = network.encoder.state_dict(prefix="encoder.")
        state = {name: tensors[name].reshape(x.shape) for name, x in encoder.items()}
        for name in decoders:
            decoder = getattr(network, name)
            state |= {f"{name}.{k}": x for k, x in _unfolded(decoder, tensors, name).items()}
        network.load_state_dict(state)
    except Exception as error:  # protobuf, onnx and torch raise different types
        raise WeightsError(
            f"{path} is not a model file of this project: it is damaged, or an ONNX model of "
            f"another project ({type(error).__name__}: {first_line(error)})."
        ) from error
    return network.eval()


@torch.no_grad()
def settle_norms(network: Network, images: Iterable[Tensor]) -> None:
    """Set the statistics of the decoders' norms from images, without a change of the outputs.

    The norms of `load_exported` are the identity in eval mode, but in training they normalise by
    the batch. Here scale and shift are set to undo that.

    Args:
        network: Network that is changed in place.
        images: Training images, RGB uint8 (N, 3, H, W).
    """
    network.eval()
    decoders = [d for d in network.children() if isinstance(d, AllMLPDecoder)]
    moments = [torch.zeros(3, len(d.norm.weight), dtype=torch.float64) for d in decoders]
    for batch in images:
        features = network.encoder(normalize(batch))
        for decoder, sums in zip(decoders, moments, strict=True):
            maps = decoder.fuse_linearly(features).double()
            values = maps.transpose(0, 1).flatten(1)  # (D, pixels)
            sums.add_(torch.stack([(values**k).sum(1) for k in range(3)]))
    for decoder, (count, total, squares) in zip(decoders, moments, strict=True):
        norm, mean = decoder.norm, total / count
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(squares / count - mean.square())
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)


def _tensors(graph: Any) -> dict[str, Tensor]:
    stored = {
        i.name.removesuffix(".half"): onnx.numpy_helper.to_array(i).astype(np.float32)
        for i in graph.initializer
    }
    named = {n.removeprefix(_PREFIX): x for n, x in stored.items() if n.startswith(_PREFIX)}
    # Weights of linear layers are transposed and have no names: the added bias identifies them.
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        bias = next((n for n in node.input if n.startswith(_PREFIX)), "")
        product = next((products[n] for n in node.input if n in products), None)
        if node.op_type == "Add" and bias.endswith(".bias") and product in stored:
            name = bias.removeprefix(_PREFIX).removesuffix("bias") + "weight"
            named[name] = stored[product].T
    return {name: torch.from_numpy(np.array(x)) for name, x in named.items()}


def _unfolded(decoder: AllMLPDecoder, tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Make the state of a decoder: fusing convolution of identities, norm as the identity."""
    state, stages, width = decoder.state_dict(), len(decoder.projections), len(decoder.norm.weight)
    state["fuse.weight"] = torch.eye(width).repeat(1, stages)[:, :, None, None]
    for i in range(stages):
        state[f"projections.{i}.weight"] = tensors[f"{name}.stages.{i}.weight"][:, :, 0, 0]
        state[f"projections.{i}.bias"] = torch.zeros(width)
    state[f"projections.{stages - 1}.bias"] = tensors[f"{name}.stages.{stages - 1}.bias"]
    state["norm.running_mean"] = torch.zeros(width)
    state["norm.running_var"] = torch.full((width,), 1 - decoder.norm.eps)
    state["norm.weight"], state["norm.bias"] = torch.ones(width), torch.zeros(width)
    state |= {f"head.{k}": tensors[f"{name}.head.{k}"] for k in ("weight", "bias")}
    return state
