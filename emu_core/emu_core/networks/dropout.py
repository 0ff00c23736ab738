"""Dropout with a fast mask on CPUs, and with Monte Carlo sampling in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with a mask from 16 random bits per element on a CPU.

    On a CPU torch draws one Bernoulli number at a time, which takes more than a tenth of a
    training step of SegDepthFormer-B0. Here p is rounded to a multiple of 2⁻¹⁶, and the scale of
    the kept elements follows the rounded p. Other devices use torch's own mask.

    Inside `sampling` it is active in evaluation mode, with one mask for all images of a batch.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.generator is not None and self.p > 0.0:
            return x * _mask(x[:1], self.p, self.generator)
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return super().forward(x)
        return x * _mask(x, self.p, None)


@contextmanager
def sampling(network: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Activate dropout in evaluation mode, for MC Dropout (Gal and Ghahramani, ICML 2016).

    Every `Dropout` draws its mask from `generator`, in the order of the forward pass. BatchNorm
    uses its running statistics, and stochastic depth is off. All images of a batch have the same
    mask, so an output does not depend on the other images of the batch.
    """
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None


def _mask(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Draw the factors of x: 0 with probability p, else 1/(1 − p)."""
    if p == 1.0:
        return torch.zeros_like(x)
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1.0 - p, generator=generator).div_(1.0 - p)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    drawn = bits.view(torch.int16)[: x.numel()].as_strided(x.shape, _dense_strides(x))
    return (drawn >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


def _dense_strides(x: Tensor) -> tuple[int, ...]:
    """Return the strides of a new tensor in the memory format of x."""
    return torch.empty_like(x, device="meta").stride()
