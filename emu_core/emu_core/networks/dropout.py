"""Dropout whose mask costs little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with a mask from 16 random bits per element on a CPU.

    Torch draws a CPU's mask one Bernoulli number at a time: more than a tenth of a training step
    of SegDepthFormer-B0. There, p is rounded to a multiple of 2⁻¹⁶, and the kept elements are
    scaled by what that leaves. Elsewhere it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or self.p == 1.0 or x.device.type != "cpu":
            return super().forward(x)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: x.numel()].as_strided(x.shape, _dense_strides(x))
        noise = (drawn >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
        return x * noise


def _dense_strides(x: Tensor) -> tuple[int, ...]:
    """Strides of a new tensor in x's own memory format."""
    return torch.empty_like(x, device="meta").stride()
