"""All-MLP decoder of SegFormer (Xie et al., NeurIPS 2021), computed in an exact folded form.

The original decoder projects each stage to D channels, upsamples the four maps to H/4,
concatenates them and fuses the 4D channels by a 1×1 convolution. Projection and fusing convolution
are linear and commute with bilinear interpolation. So stage i needs only one product, with
`W_fuse[:, i] @ W_proj_i`, at its own resolution; then its map is upsampled and added. This is the
same function of the same parameters without a tensor of 4D channels at H/4. BatchNorm and dropout
come after the sum, so it is also exact in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.networks.dropout import Dropout
from emu_core.networks.encoder import pointwise_convolution


class AllMLPDecoder(nn.Module):
    """Fuse four feature maps into one map of `outputs` channels at H/4.

    Args:
        in_widths: Channels of the four feature maps, finest first.
        width: Decoder width D.
        outputs: Output channels.
        dropout: Dropout probability before the last layer.
        folded: Compute the folded form; False computes the original one with the same parameters.
        float32_head: Run the last layer in float32 even under autocast.
    """

    def __init__(
        self,
        in_widths: Sequence[int],
        width: int,
        outputs: int,
        *,
        dropout: float = 0.1,
        folded: bool = True,
        float32_head: bool = False,
    ) -> None:
        super().__init__()
        self.folded, self.float32_head = folded, float32_head
        self.projections = nn.ModuleList(nn.Linear(c, width) for c in in_widths)
        # Input channels: the concatenated projections, coarsest first.
        self.fuse = nn.Conv2d(len(in_widths) * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = Dropout(dropout)
        self.head = nn.Conv2d(width, outputs, 1)
        nn.init.kaiming_normal_(self.fuse.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode (N, C_i, H/4…H/32, W/4…W/32), finest first, to (N, outputs, H/4, W/4)."""
        return self.read_out(self.fuse_features(features))

    def fuse_features(self, features: Sequence[Tensor]) -> Tensor:
        """Compute the input of the dropout: (N, D, H/4, W/4)."""
        return F.relu(self.norm(self.fuse_linearly(features)), inplace=True)

    def fuse_linearly(self, features: Sequence[Tensor]) -> Tensor:
        """Compute the input of the norm: (N, D, H/4, W/4)."""
        if self.folded:
            return _fuse(features, *self.folded_weights())
        size = features[0].shape[2:]
        maps = [
            _upsample(_linear(x, layer.weight, layer.bias), size)
            for x, layer in zip(features, self._linears(), strict=True)
        ]
        return self.fuse(torch.cat(maps[::-1], dim=1))  # (N, 4D, H/4, W/4) → (N, D, H/4, W/4)

    def read_out(self, fused: Tensor) -> Tensor:
        """Run dropout and the last layer on the output of `fuse_features`."""
        return _run_head(self.head, self.dropout(fused), self.float32_head)

    def _linears(self) -> list[nn.Linear]:
        return [cast(nn.Linear, layer) for layer in self.projections]

    def folded_weights(self) -> tuple[list[Tensor], Tensor]:
        """Multiply the fusing convolution into the projections, with gradients.

        Returns:
            One weight (D, C_i) per feature, finest first, and their common bias (D,).
        """
        with torch.autocast(self.fuse.weight.device.type, enabled=False):
            blocks = self.fuse.weight.flatten(1).chunk(len(self.projections), dim=1)[::-1]
            layers = list(zip(blocks, self._linears(), strict=True))
            weights = [block @ layer.weight for block, layer in layers]
            bias = torch.stack([block @ layer.bias for block, layer in layers]).sum(dim=0)
        return weights, bias

    @torch.no_grad()
    def fold_for_inference(self) -> FoldedDecoder:
        """Make a frozen decoder of 1×1 convolutions that equals this one in eval mode."""
        weights, bias = self.folded_weights()
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight / torch.sqrt(variance + self.norm.eps)
        bias = (bias - mean) * scale + self.norm.bias
        weights = [weight * scale[:, None] for weight in weights]
        return FoldedDecoder(weights, bias, self.head, self.float32_head)


class FoldedDecoder(nn.Module):
    """Frozen decoder: a 1×1 convolution per stage, upsample, add, ReLU, 1×1 convolution."""

    def __init__(
        self, weights: Sequence[Tensor], bias: Tensor, head: nn.Conv2d, float32_head: bool
    ) -> None:
        super().__init__()
        self.float32_head = float32_head
        # Interpolation keeps constants: the bias is added to the smallest map.
        biases = [None] * (len(weights) - 1) + [bias]
        self.stages = nn.ModuleList(
            pointwise_convolution(weight, bias)
            for weight, bias in zip(weights, biases, strict=True)
        )
        self.head = pointwise_convolution(head.weight.flatten(1), head.bias)
        self.eval().requires_grad_(False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode (N, C_i, H/4…H/32, W/4…W/32), finest first, to (N, outputs, H/4, W/4)."""
        return _run_head(self.head, self.fuse(features), self.float32_head)

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """Compute the input of the last layer: (N, D, H/4, W/4)."""
        size = features[0].shape[2:]
        maps = [_upsample(conv(x), size) for x, conv in zip(features, self.stages, strict=True)]
        total = maps[-1]
        for x in maps[-2::-1]:
            total = total + x
        return F.relu(total)


def _fuse(features: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor) -> Tensor:
    size = features[0].shape[2:]
    # Interpolation keeps constants: the bias is added to the smallest map.
    total = _upsample(_linear(features[-1], weights[-1], bias), size)
    for x, weight in zip(features[-2::-1], weights[-2::-1], strict=True):
        total += _upsample(_linear(x, weight, None), size)  # (N, D, H/4, W/4)
    return total


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Run a linear layer on the channels of (N, C, H, W), which should be channels_last."""
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def _upsample(x: Tensor, size: torch.Size) -> Tensor:
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _run_head(head: nn.Conv2d, x: Tensor, float32: bool) -> Tensor:
    if not float32 or not torch.is_autocast_enabled(x.device.type):
        return head(x)
    with torch.autocast(x.device.type, enabled=False):
        return head(x.to(head.weight.dtype))
