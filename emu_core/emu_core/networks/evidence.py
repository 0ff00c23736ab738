"""What an evidential network predicts: distributions over class probabilities and over depth.

Classes: a Dirichlet distribution with concentrations α = 1 + softplus(score) (Sensoy et al.,
NeurIPS 2018). Depth: a normal-inverse-gamma distribution of mean and variance, whose parameters
γ, ν, α and β come from four channels (Amini et al., NeurIPS 2020). EvidMTL (arXiv 2503.04441) uses
both for segmentation and depth together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

VARIANCE_UNIT = 100.0
"""Unit of the raw depth variance, m²; means are in metres.

Most variances are below this unit, where softplus is nearly exponential: a step of the optimiser
multiplies them. In m² softplus would be like a ReLU: variances would change slowly at first, later
some would collapse to 0, and their error/s² would dominate the gradient of every fifth batch.
"""

MIN_EVIDENCE = 1e-3
"""Smallest ν and α − 1: keeps the variances finite."""


class DepthEvidence(NamedTuple):
    """Parameters of the normal-inverse-gamma distribution except its mean γ; all (N, 1, …)."""

    nu: Tensor
    """ν > 0: evidence for the mean."""
    alpha: Tensor
    """α > 1: half of the evidence for the variance."""
    beta: Tensor
    """β > 0, m²."""

    @property
    def aleatoric(self) -> Tensor:
        """E[σ²] = β/(α − 1), m²."""
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Tensor:
        """Var[μ] = β/(ν(α − 1)), m²."""
        return self.aleatoric / self.nu


def log_concentrations(scores: Tensor) -> Tensor:
    """Compute log α of the scores (N, C, …). Its softmax is the mean of the Dirichlet, α/Σα."""
    return F.softplus(scores).log1p()


def depth_evidence(raw: Tensor) -> DepthEvidence:
    """Activate three raw channels (N, 3, …), in float32."""
    nu, alpha, beta = raw.float().split(1, dim=1)
    return DepthEvidence(
        F.softplus(nu) + MIN_EVIDENCE,
        F.softplus(alpha) + 1 + MIN_EVIDENCE,
        F.softplus(beta) * VARIANCE_UNIT,
    )


def raw_variance(evidence: DepthEvidence) -> Tensor:
    """Compute the raw channel whose softplus is the predictive variance in `VARIANCE_UNIT`."""
    variance = (evidence.aleatoric + evidence.epistemic) / VARIANCE_UNIT
    # softplus(b) = v  ⇔  b = v + log(1 − exp(−v))
    return variance + torch.log(-torch.expm1(-variance.clamp_min(1e-12)))


def first_biases(mean: float, std: float) -> tuple[float, float, float, float]:
    """Biases of the four channels that predict a mean and a deviation in metres at first.

    ν is 1 and α is 2: half of the variance is epistemic.
    """
    one = math.log(math.expm1(1 - MIN_EVIDENCE))  # softplus is 1 − MIN_EVIDENCE
    beta = std**2 / 2 / VARIANCE_UNIT
    return mean, one, one, beta + math.log(-math.expm1(-beta))
