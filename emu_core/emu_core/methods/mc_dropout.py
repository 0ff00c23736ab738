"""Monte Carlo dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emu_core.methods.base import SampledMethod
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.decoder import AllMLPDecoder
from emu_core.networks.dropout import sampling
from emu_core.networks.models import AnyOutputs, Network
from emu_core.networks.weights import load_model


class MCDropout(SampledMethod):
    """Monte Carlo dropout (Gal & Ghahramani, ICML 2016) in a network trained with that dropout.

    Dropout is active where the network has it: `dropout` before the last layer of each decoder,
    `encoder_dropout` in the blocks of the encoder. BatchNorm and stochastic depth stay in eval
    mode. Without encoder dropout, everything before the decoders' dropout runs once for all
    samples.

    The masks of sample m depend only on `seed`, m and the image size: an image gets the same
    prediction in every batch and order, and all images share the masks.

    Raises:
        ValueError: Fewer than one sample, a negative seed, or a network without dropout.
    """

    def __init__(self, network: Network, samples: int = 10, seed: int = 0) -> None:
        if samples < 1 or seed < 0:
            raise ValueError(
                "Expected `samples` of at least 1 and `seed` of at least 0, but got "
                f"{samples} and {seed}."
            )
        if network.is_folded or not (network.dropout or network.encoder_dropout):
            raise ValueError(
                "MC Dropout needs a network that was trained with dropout and is not folded for "
                f"inference, but this one has dropout={network.dropout}, encoder_dropout="
                f"{network.encoder_dropout}, folded {network.is_folded}."
            )
        super().__init__([network])
        self.number, self.seed = samples, seed

    def raw_outputs(self, x: Tensor) -> Iterator[AnyOutputs]:
        (network,) = self.networks
        draw = partial(network, x) if network.encoder_dropout else _share(network, x)
        for m in range(self.number):
            generator = torch.Generator(x.device)
            generator.manual_seed(int(np.random.SeedSequence((self.seed, m)).generate_state(1)[0]))
            with sampling(network, generator):
                raw = draw()
            yield raw
            del raw


def _share(network: Network, x: Tensor) -> Callable[[], AnyOutputs]:
    """Run the layers before the decoders' dropout; return a function that runs the rest."""
    features = network.encoder(x)
    decoders = (network.segmentation_decoder, network.depth_decoder)
    fused = [(d, d.fuse_features(features)) for d in decoders if isinstance(d, AllMLPDecoder)]

    def draw() -> AnyOutputs:
        outputs: dict[nn.Module, Tensor] = {d: d.read_out(maps) for d, maps in fused}
        return network.interpret(*(None if d is None else outputs[d] for d in decoders))

    return draw


def _load(paths: Sequence[Path], options: LoadOptions) -> MCDropout:
    network = load_model(paths[0])[0].to(options.device)
    return MCDropout(network, options.samples, options.seed)


METHODS.add("mcd", MethodKind("MC Dropout", _load, draws_samples=True))
