"""Uncertainties from predictions: entropy of class probabilities, moments of depth samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class DepthMoments(NamedTuple):
    """First two moments of an equally weighted mixture of depth distributions."""

    mean: Tensor
    """Mean of the samples' means (N, 1, H, W), metres."""
    aleatoric: Tensor
    """Mean of the samples' variances (N, 1, H, W), m²."""
    epistemic: Tensor
    """Variance of the samples' means (N, 1, H, W), m²."""

    @property
    def variance(self) -> Tensor:
        """Predictive variance (N, 1, H, W), m²: aleatoric + epistemic."""
        return self.aleatoric + self.epistemic


def predictive_entropy(probabilities: Tensor) -> Tensor:
    """Compute H = −Σ p log p over the classes of (N, C, H, W), in nats, (N, 1, H, W), 0…ln C.

    With samples, pass their mean softmax (arXiv 2402.10580). 0 log 0 counts as 0.
    """
    return torch.special.entr(probabilities).sum(dim=1, keepdim=True).clamp_min(0.0)


def normalized_entropy(probabilities: Tensor) -> Tensor:
    """Compute the entropy divided by ln C, (N, 1, H, W) in 0…1; ValueError if C is below 2."""
    classes = probabilities.shape[1]
    if classes < 2:
        raise ValueError(f"Expected `probabilities` of at least 2 classes, but got {classes}.")
    return (predictive_entropy(probabilities) / math.log(classes)).clamp_max(1.0)


class RunningMoments:
    """Moments of a mixture whose samples are added one by one, in float32 or float64.

    Sample m has mean μ_m and variance s²_m. The mixture has mean mean(μ_m) and variance
    mean(s²_m) + var(μ_m) (Lakshminarayanan et al., NeurIPS 2017; arXiv 2402.10580), where var
    divides by the number of samples. Welford's recurrence (Technometrics 1962) keeps millimetres
    at 60 m in float32; E[μ²] − E[μ]² would lose centimetres.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, mean: Tensor, variance: Tensor) -> None:
        """Add one sample's mean and variance, both (N, 1, H, W), metres and m²."""
        dtype = torch.promote_types(mean.dtype, torch.float32)
        mean, variance = mean.to(dtype), variance.to(dtype)
        if self.count == 0:
            self._mean, self._squares, self._variance = (torch.zeros_like(mean) for _ in range(3))
        self.count += 1
        delta = mean - self._mean
        self._mean = self._mean + delta / self.count
        self._squares = self._squares + delta * (mean - self._mean)
        self._variance = self._variance + (variance - self._variance) / self.count

    def compute(self) -> DepthMoments:
        """Return the moments of the samples so far; ValueError if there are none."""
        if self.count == 0:
            raise ValueError("Expected at least one sample before `compute`, but got none.")
        return DepthMoments(self._mean, self._variance, self._squares / self.count)
