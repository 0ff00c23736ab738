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
    """Compute the predictive entropy divided by ln C, (N, 1, H, W) in 0…1."""
    classes = probabilities.shape[1]
    if classes < 2:
        raise ValueError(f"Expected `probabilities` of at least 2 classes, but got {classes}.")
    return (predictive_entropy(probabilities) / math.log(classes)).clamp_max(1.0)


def mixture_moments(means: Tensor, variances: Tensor) -> DepthMoments:
    """Combine M samples of mean and variance, both (M, N, 1, H, W), metres and m².

    The mixture has mean mean(μ_m) and variance mean(s²_m) + var(μ_m) (Lakshminarayanan et al.,
    NeurIPS 2017; arXiv 2402.10580). The variance of the means divides by M: it is the
    mixture's own, not an estimate of a population's.
    """
    if means.shape != variances.shape or means.ndim < 1 or len(means) == 0:
        raise ValueError(
            "Expected `means` and `variances` of one shape (M, …) with M at least 1, but got "
            f"{tuple(means.shape)} and {tuple(variances.shape)}."
        )
    dtype = torch.promote_types(means.dtype, torch.float32)
    means, variances = means.to(dtype), variances.to(dtype)
    # Deviations from the mean, never E[μ²] − E[μ]²: in float32 that loses centimetres at 60 m.
    return DepthMoments(means.mean(dim=0), variances.mean(dim=0), means.var(dim=0, correction=0))


class RunningMoments:
    """`mixture_moments` of samples that come one by one; memory does not grow with their number.

    By Welford's recurrence (Technometrics 1962): like `mixture_moments`, and unlike E[μ²] − E[μ]²,
    it keeps millimetres at 60 m in float32.
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
        off = mean - self._mean
        self._mean = self._mean + off / self.count
        self._squares = self._squares + off * (mean - self._mean)
        self._variance = self._variance + (variance - self._variance) / self.count

    def compute(self) -> DepthMoments:
        """Moments of the samples so far; ValueError if there are none."""
        if self.count == 0:
            raise ValueError("Expected at least one sample before `compute`, but got none.")
        return DepthMoments(self._mean, self._variance, self._squares / self.count)
