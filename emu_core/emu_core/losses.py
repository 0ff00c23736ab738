"""Losses of the teacher's members (paper.md §2); each in float32, whatever the autocast.

Every loss looks at valid pixels only and is zero, with zero gradient, where there are none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.labels import IGNORE

MIN_VARIANCE = 1e-4
"""Added to every variance in a loss, m² (1 cm): keeps 1/s² and log s² finite as s² → 0."""


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that have a class.

    Args:
        logits: class scores (N,C,H,W).
        labels: train ids (N,H,W), `IGNORE` where there is none.
        class_weights: what a pixel of each class counts (C,); None for 1.
    Returns:
        Scalar.
    """
    rows = logits.float().permute(0, 2, 3, 1).reshape(-1, logits.shape[1])  # twice as fast so
    total = F.cross_entropy(
        rows, labels.long().ravel(), class_weights, ignore_index=IGNORE, reduction="sum"
    )
    return total / (labels != IGNORE).sum().clamp(min=1)


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor, beta: float = 0.0) -> Tensor:
    """½((y − μ)²/s² + log s²), averaged over valid pixels; arXiv 2402.10580.

    Args:
        mean: μ, metres, any shape.
        variance: s² ≥ 0, m².
        target: y, metres, NaN where invalid.
        beta: β-NLL (arXiv 2203.09168): weigh each pixel by stop-grad(s²)^β; 0 is the plain loss.
    Returns:
        Scalar.
    """
    valid = torch.isfinite(target)
    s2 = variance.float() + MIN_VARIANCE
    y = torch.where(valid, target.float(), mean.detach().float())
    loss = 0.5 * ((y - mean.float()).square() / s2 + s2.log())
    if beta:
        loss = loss * s2.detach() ** beta
    return torch.where(valid, loss, 0).sum() / valid.sum().clamp(min=1)
