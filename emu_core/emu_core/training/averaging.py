"""Averaged weights: what a run is validated with and leaves behind."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights after every step.

    The decay grows with the steps, min(decay, (1 + n) / (10 + n)): at a constant 0.999 the
    untrained weights would still make up a third after 1,000 steps.
    """

    def __init__(self, decay: float):
        super().__init__(avg_fn=lambda old, new, count: average(old, new, count, decay))


def average(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    """The next average after `count` earlier ones, of one parameter or buffer."""
    kept = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged + (1 - kept) * (current - averaged)  # exact where both are the same
