"""The result of every method, and how it follows from a network's raw outputs.

Losses, metrics and export share one order: raw outputs are upsampled to full size first, then come
softmax, ReLU and softplus, then means and moments over samples. Another order gives other
variances and labels (docs/method.md, Uncertainties).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.data.label_space import LabelSpace
from emu_core.networks.models import VARIANCE_UNIT, AnyOutputs

Raw = TypeVar("Raw", bound=AnyOutputs)


@dataclass(frozen=True)
class Prediction:
    """Class probabilities, depth and depth variance at full size.

    What a network does not predict is None.
    """

    probabilities: Tensor | None = None
    """Class probabilities (N, C, H, W); with samples, their mean."""
    depth_mean: Tensor | None = None
    """Mean depth (N, 1, H, W), metres, at least 0."""
    depth_variance: Tensor | None = None
    """Predictive variance of depth (N, 1, H, W), m²: the sum of the two parts below."""
    depth_aleatoric: Tensor | None = None
    """Mean of the samples' variances (N, 1, H, W), m²; None without samples."""
    depth_epistemic: Tensor | None = None
    """Variance of the samples' means (N, 1, H, W), m²; None without samples."""
    class_score: Tensor | None = None
    """What ranks the pixels by doubt about their class (N, 1, H, W), at least 0; None: the entropy
    of the probabilities."""


def grouped(prediction: Prediction, space: LabelSpace) -> Prediction:
    """Sum the class probabilities (N, C, H, W) within the groups of a data set: (N, G, H, W)."""
    probabilities = prediction.probabilities
    if probabilities is None or space.is_single:
        return prediction
    sums = [probabilities[:, list(group)].sum(dim=1) for group in space.groups]
    return replace(prediction, probabilities=torch.stack(sums, dim=1))


def to_prediction(raw: AnyOutputs, size: tuple[int, int]) -> Prediction:
    """Turn one network's raw outputs into a Prediction of size (height, width)."""
    return activate(upsample(raw, size))


def upsample(raw: Raw, size: tuple[int, int]) -> Raw:
    """Interpolate raw outputs bilinearly to (height, width), in float32 even under autocast."""
    return type(raw)(*(None if x is None else _upsample(x, size) for x in raw))


def activate(raw: AnyOutputs) -> Prediction:
    """Apply softmax, ReLU and softplus to raw outputs at full size, in float32.

    Channel 0 of depth becomes the mean, channel 1 the variance (arXiv 2402.10580). The gradient of
    the mean passes the ReLU also below 0 (our choice): a pixel that is measured always has a depth
    above 0, and without a gradient its mean would stay below.
    """
    probabilities = mean = variance = None
    if raw.logits is not None:
        probabilities = _at_least_float32(raw.logits).softmax(dim=1)
    if raw.depth is not None:
        mean_channel, variance_channel = _at_least_float32(raw.depth).split(1, dim=1)
        below = mean_channel.clamp(max=0)
        mean = F.relu(mean_channel) + (below - below.detach())  # the second term is 0
        variance = F.softplus(variance_channel) * VARIANCE_UNIT
    return Prediction(probabilities, mean, variance)


def _upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        x = _at_least_float32(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
