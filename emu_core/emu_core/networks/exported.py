"""Load a network from a model file (`training.export`), to continue its training.

The file holds decoders in their folded form, BatchNorm included. They come back as decoders that
compute the same: the fusing convolution adds up the folded projections, BatchNorm changes nothing.
Before such a network is trained, `settle_norms` gives its norms the data's statistics.
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
from emu_core.networks.encoder import VARIANTS
from emu_core.networks.models import Network, SegDepthFormer, normalize
from emu_core.networks.weights import WeightsError

SUFFIX = ".onnx"

_PREFIX = "network."  # of the exported graph's own network


def load_exported(path: str | Path) -> SegDepthFormer:
    """Rebuild the network that `emu_core.training.export` wrote, on the CPU and in eval mode.

    Raises:
        WeightsError: the file is missing or damaged, or was not written by `training.export`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"Found no model at {path}.")
    try:
        graph = onnx.load(str(path)).graph
        tensors = _tensors(graph)
        network = SegDepthFormer(
            _variant(tensors),
            len(tensors["segmentation_decoder.head.bias"]),
            layer_norm_eps=_layer_norm_eps(graph),
        )
        # Some of the encoder's linear layers were written as convolutions.
        state = {
            name: tensors[name].reshape(x.shape)
            for name, x in network.state_dict().items()
            if name.startswith("encoder.")
        }
        for name in ("segmentation_decoder", "depth_decoder"):
            decoder = getattr(network, name)
            state |= {f"{name}.{k}": x for k, x in _unfolded(decoder, tensors, name).items()}
        network.load_state_dict(state)
    except Exception as error:  # protobuf, onnx and torch each have their own
        raise WeightsError(f"{path} is no model file of this project: {error!r}") from error
    return network.eval()


@torch.no_grad()
def settle_norms(network: Network, images: Iterable[Tensor]) -> None:
    """Give the decoders' norms the statistics of some images; what the network computes stays.

    In eval mode the norms of `load_exported` change nothing. In training they would, as they
    normalise by the batch: scale and shift are set to undo that.

    Args:
        network: in place.
        images: RGB, uint8 (N, 3, H, W), as it will be trained on.
    """
    network.eval()
    decoders = [d for d in network.children() if isinstance(d, AllMLPDecoder)]
    moments = [_Moments() for _ in decoders]
    for batch in images:
        features = network.encoder(normalize(batch))
        for decoder, of_decoder in zip(decoders, moments, strict=True):
            of_decoder.add(decoder.fuse_linearly(features))
    for decoder, of_decoder in zip(decoders, moments, strict=True):
        norm = decoder.norm
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = of_decoder.compute()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)


class _Moments:
    """Mean and variance of each channel of many maps (N, D, H, W)."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: tuple[Tensor | float, Tensor | float] = 0.0, 0.0

    def add(self, maps: Tensor) -> None:
        values = maps.double().transpose(0, 1).flatten(1)  # (D, pixels)
        self.count += values.shape[1]
        self.sums = self.sums[0] + values.sum(1), self.sums[1] + values.square().sum(1)

    def compute(self) -> tuple[Tensor, Tensor]:
        mean, square = (torch.as_tensor(x) / self.count for x in self.sums)
        return mean, square - mean.square()


def _tensors(graph: Any) -> dict[str, Tensor]:
    """The network's tensors by their names in torch."""
    stored = {
        i.name.removesuffix(".half"): onnx.numpy_helper.to_array(i).astype(np.float32)
        for i in graph.initializer
    }
    named = {n.removeprefix(_PREFIX): x for n, x in stored.items() if n.startswith(_PREFIX)}
    # Linear layers' weights are transposed and nameless: the bias that is added tells whose.
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        bias = next((n for n in node.input if n.startswith(_PREFIX)), "")
        product = next((products[n] for n in node.input if n in products), None)
        if node.op_type == "Add" and bias.endswith(".bias") and product in stored:
            name = bias.removeprefix(_PREFIX).removesuffix("bias") + "weight"
            named[name] = stored[product].T
    return {name: torch.from_numpy(np.array(x)) for name, x in named.items()}


def _variant(tensors: dict[str, Tensor]) -> str:
    def blocks(stage: int) -> int:
        head = f"encoder.stages.{stage}.blocks."
        return len({n.removeprefix(head).split(".")[0] for n in tensors if n.startswith(head)})

    widths = tuple(len(tensors[f"encoder.stages.{i}.embed.bias"]) for i in range(4))
    depths = tuple(blocks(i) for i in range(4))
    return next(n for n, v in VARIANTS.items() if (v.widths, v.depths) == (widths, depths))


def _layer_norm_eps(graph: Any) -> float:
    node = next(node for node in graph.node if node.op_type == "LayerNormalization")
    return next(float(a.f) for a in node.attribute if a.name == "epsilon")


def _unfolded(decoder: AllMLPDecoder, tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """A decoder's state: identities fuse the folded projections, and the norm is one too."""
    state = decoder.state_dict()
    stages = len(decoder.projections)
    width = len(decoder.norm.weight)
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
