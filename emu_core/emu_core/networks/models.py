"""The three networks of the EMUFormer papers: SegFormer, DepthFormer, SegDepthFormer.

All return `RawOutputs` at a quarter of the image size, before upsampling and activations.
`methods.prediction` converts them into a Prediction, as losses, metrics and export do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emu_core.networks.decoder import AllMLPDecoder, FoldedDecoder
from emu_core.networks.encoder import MixFFN, MixTransformer
from emu_core.networks.evidence import (
    VARIANCE_UNIT,
    depth_evidence,
    first_biases,
    log_concentrations,
    raw_variance,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB in 0…1; they scale the input of all networks."""


class RawOutputs(NamedTuple):
    """Outputs of a network at H/4 × W/4, before upsampling and activations."""

    logits: Tensor | None
    """Class scores before softmax (N, C, H/4, W/4); None without a segmentation decoder."""
    depth: Tensor | None
    """Mean before ReLU in metres, variance before softplus in `VARIANCE_UNIT` (N, 2, H/4, W/4);
    None without a depth decoder."""


class EvidentialOutputs(NamedTuple):
    """Outputs of an evidential network: those of any network, and what its loss needs.

    The softmax of the logits is the mean of the Dirichlet; depth has the predictive variance.
    """

    logits: Tensor | None
    depth: Tensor | None
    evidence: Tensor | None
    """Raw ν, α and β of depth (N, 3, H/4, W/4), see `evidence.depth_evidence`."""


AnyOutputs = RawOutputs | EvidentialOutputs


class Network(nn.Module):
    """One Mix Transformer with a segmentation decoder, a depth decoder or both.

    Use one of the three subclasses. Their decoders have the same names, so weights can be copied
    from one network to another.

    Args:
        variant: "b0"…"b5".
        num_classes: Channels of the logits; None for no segmentation decoder.
        depth: Whether there is a depth decoder.
        dropout: Dropout probability before each decoder's last layer.
        folded: Compute the decoders in their folded form, with the same result (`decoder.py`).
        encoder_dropout, drop_path, layer_norm_eps: See `MixTransformer`.
        evidential: Predict distributions over probabilities and depth, see `evidence`.

    Raises:
        ValueError: `num_classes` is below 2, or there is no such variant.
    """

    def __init__(
        self,
        variant: str,
        num_classes: int | None,
        depth: bool,
        *,
        dropout: float = 0.1,
        encoder_dropout: float = 0.0,
        drop_path: float = 0.1,
        folded: bool = True,
        layer_norm_eps: float = 1e-6,
        evidential: bool = False,
    ) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"Expected `num_classes` to be at least 2, but got {num_classes}.")
        self.variant, self.num_classes, self.encoder_frozen = variant, num_classes, False
        self.dropout, self.encoder_dropout, self.drop_path = dropout, encoder_dropout, drop_path
        self.evidential = evidential
        self.encoder = MixTransformer(variant, drop_path, layer_norm_eps, encoder_dropout)
        widths, width = self.encoder.sizes.widths, self.encoder.sizes.decoder_width
        decoder = partial(AllMLPDecoder, widths, width, dropout=dropout, folded=folded)
        self.segmentation_decoder: nn.Module | None = decoder(num_classes) if num_classes else None
        # Its last layer runs in float32: the resolution of bfloat16 at 60 m is 0.25 m.
        channels = 4 if evidential else 2
        self.depth_decoder: nn.Module | None = (
            decoder(channels, float32_head=True) if depth else None
        )

    def forward(self, image: Tensor) -> AnyOutputs:
        """Run on ImageNet-normalised RGB, float (N, 3, H, W); see `normalize`."""
        return self.decode(self.encoder(image))

    def decode(self, features: Sequence[Tensor]) -> AnyOutputs:
        """Run only the decoders, on the features of the encoder."""
        return self.interpret(
            None if self.segmentation_decoder is None else self.segmentation_decoder(features),
            None if self.depth_decoder is None else self.depth_decoder(features),
        )

    def interpret(self, scores: Tensor | None, depth: Tensor | None) -> AnyOutputs:
        """Turn what the decoders return into raw outputs."""
        if not self.evidential:
            return RawOutputs(scores, depth)
        logits = None if scores is None else log_concentrations(scores)
        if depth is None:
            return EvidentialOutputs(logits, None, None)
        evidence = depth[:, 1:]
        variance = raw_variance(depth_evidence(evidence))
        return EvidentialOutputs(logits, torch.cat([depth[:, :1], variance], dim=1), evidence)

    def freeze_encoder(self) -> None:
        """Train only the decoders: the encoder has no gradients and stays in eval mode."""
        self.encoder_frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Network:
        """Set the mode, except of a frozen encoder."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self

    @property
    def task(self) -> str:
        """What it predicts: joint, segmentation or depth."""
        if self.depth_decoder is None:
            return "segmentation"
        return "depth" if self.segmentation_decoder is None else "joint"

    @property
    def is_folded(self) -> bool:
        """Whether `fold_for_inference` made this network."""
        decoders = (self.segmentation_decoder, self.depth_decoder)
        return any(isinstance(decoder, FoldedDecoder) for decoder in decoders)

    @torch.no_grad()
    def init_depth(self, mean: float, std: float = 5.0) -> None:
        """Set the depth decoder's last bias so that it predicts mean and std, metres, at first.

        Without it many depth ReLUs of a network trained from scratch are dead.

        Raises:
            ValueError: There is no depth decoder, or a value is not positive.
        """
        if not isinstance(self.depth_decoder, AllMLPDecoder):
            raise ValueError(f"{type(self).__name__} has no depth decoder to initialise.")
        if mean <= 0 or std <= 0:
            raise ValueError(f"Expected `mean` and `std` above 0 m, but got {mean} and {std}.")
        assert self.depth_decoder.head.bias is not None
        if self.evidential:
            self.depth_decoder.head.bias.copy_(torch.tensor(first_biases(mean, std)))
            return
        variance = std**2 / VARIANCE_UNIT
        # softplus(b) = s²  ⇔  b = s² + log(1 − exp(−s²))
        bias = (mean, variance + math.log(-math.expm1(-variance)))
        self.depth_decoder.head.bias.copy_(torch.tensor(bias))

    def fold_for_inference(self) -> Network:
        """Make a frozen copy in eval mode for export: folded decoders, and a faster encoder."""
        frozen = copy.deepcopy(self).eval()
        for module in frozen.encoder.modules():
            if isinstance(module, MixFFN):
                module.convolve_first()
        frozen.requires_grad_(False)
        for name in ("segmentation_decoder", "depth_decoder"):
            decoder = getattr(frozen, name)
            if isinstance(decoder, AllMLPDecoder):
                setattr(frozen, name, decoder.fold_for_inference())
        return frozen


class SegFormer(Network):
    """Only segmentation: logits (N, num_classes, H/4, W/4)."""

    def __init__(self, variant: str = "b0", num_classes: int = 19, **options) -> None:
        super().__init__(variant, num_classes, depth=False, **options)


class DepthFormer(Network):
    """Only depth: raw mean and variance (N, 2, H/4, W/4)."""

    def __init__(self, variant: str = "b0", **options) -> None:
        super().__init__(variant, None, depth=True, **options)


class SegDepthFormer(Network):
    """Segmentation and depth from one encoder; also the EMUFormer student."""

    num_classes: int

    def __init__(self, variant: str = "b0", num_classes: int = 19, **options) -> None:
        super().__init__(variant, num_classes, depth=True, **options)


def normalize(rgb: Tensor) -> Tensor:
    """Scale RGB images, uint8 (N, 3, H, W), to the input of the networks, float32."""
    mean, std = (
        torch.tensor(v, device=rgb.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (rgb.float() / 255 - mean) / std
