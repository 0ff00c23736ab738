"""The terms of the losses (paper.md §2); each in float32, whatever the autocast.

Every term looks at valid pixels only and is zero, with zero gradient, where there are none.
`objectives` adds them up to the member's and the student's loss.

Masked means do not average over processes that see unequal numbers of valid pixels. Hence every
term takes `reduce_count`, which maps this process's count to the one that its sum is divided by:
the identity alone, `mean_over_ranks` under DDP. With W processes that is count/W of the joint
batch, so the mean over processes, which DDP takes of the gradients, is exact. Each term calls it
exactly once, valid pixels or not, so that no process waits for another.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from emu_core.labels import IGNORE

MIN_VARIANCE = 1e-4
"""Added to every variance in a loss, m² (1 cm): keeps 1/s² and log s² finite as s² → 0."""

MIN_PROBABILITY = 1e-12
"""Smaller probabilities of a teacher count as this one: keeps their logarithm finite."""

ROOT_EPS = 1e-12
"""Added inside every root: its gradient stays finite at exact equality, where the loss is 1e-6."""

ReduceCount = Callable[[Tensor], Tensor]
"""From this process's count, a float32 scalar, to the one that its sum is divided by."""


def identity(count: Tensor) -> Tensor:
    """Divide by this process's own count."""
    return count


def mean_over_ranks(count: Tensor) -> Tensor:
    """Divide by the mean count over all processes of the default group."""
    total = count.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    *,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """Mean cross-entropy over the pixels that have a class.

    Args:
        logits: class scores (N,C,H,W).
        labels: train ids (N,H,W), `IGNORE` where there is none.
        class_weights: what a pixel of each class counts (C,); None for 1.
        reduce_count: see the module.
    Returns:
        Scalar.
    """
    total = F.cross_entropy(
        _rows(logits), labels.long().ravel(), class_weights, ignore_index=IGNORE, reduction="sum"
    )
    return _divide(total, (labels != IGNORE).sum(), reduce_count)


def gaussian_nll(
    mean: Tensor,
    variance: Tensor,
    target: Tensor,
    beta: float = 0.0,
    *,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """½((y − μ)²/s² + log s²), averaged over valid pixels; arXiv 2402.10580.

    Args:
        mean: μ, metres, any shape.
        variance: s² ≥ 0, m².
        target: y, metres, NaN where invalid.
        beta: β-NLL (arXiv 2203.09168): weigh each pixel by stop-grad(s²)^β; 0 is the plain loss.
        reduce_count: see the module.
    Returns:
        Scalar.
    """
    valid = torch.isfinite(target)
    s2 = variance.float() + MIN_VARIANCE
    y = torch.where(valid, target.float(), mean.detach().float())
    loss = 0.5 * ((y - mean.float()).square() / s2 + s2.log())
    if beta:
        loss = loss * s2.detach() ** beta
    return _divide(torch.where(valid, loss, 0).sum(), valid.sum(), reduce_count)


def l1(
    mean: Tensor,
    target: Tensor,
    scale: Tensor | None = None,
    *,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """|y − μ|, averaged over valid pixels.

    Args:
        mean: μ, metres, any shape.
        target: y, metres, NaN where invalid.
        scale: unit of each pixel's error, metres, above 0; None for 1 m.
        reduce_count: see the module.
    Returns:
        Scalar.
    """
    valid = torch.isfinite(target)
    y = torch.where(valid, target.float(), mean.detach().float())
    loss = (y - mean.float()).abs()
    if scale is not None:
        loss = loss / torch.where(valid, scale.float(), 1.0)
    return _divide(loss.sum(), valid.sum(), reduce_count)


def rmsle(
    estimate: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    logarithm: Callable[[Tensor], Tensor] = torch.log1p,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """√(mean (log(1+a) − log(1+b))²) of each image's valid pixels, averaged over the images.

    For depth, in metres, and for its variance, in m². An image without a valid pixel does not
    count, so that unequal images and processes weigh alike.

    Args:
        estimate: a ≥ 0, (N, …).
        target: b ≥ 0, of the same shape; invalid where it is not finite.
        mask: further limits the valid pixels, bool (N, …); None for all of them.
        logarithm: `log_variance` sees small variances, to which log(1+a) is blind: 0.01 → 0.09 m²
            costs 0.08 there, 2.2 here.
        reduce_count: see the module; it gets the number of images with valid pixels.
    Returns:
        Scalar.
    """
    valid = torch.isfinite(target)
    if mask is not None:
        valid = valid & mask
    a = estimate.float()
    b = torch.where(valid, target.float(), a.detach())
    squares = (logarithm(a) - logarithm(b)).square().flatten(1).sum(dim=1)  # (N,)
    pixels = valid.flatten(1).sum(dim=1)
    roots = (squares / pixels.clamp(min=1) + ROOT_EPS).sqrt()
    return _divide(torch.where(pixels > 0, roots, 0).sum(), (pixels > 0).sum(), reduce_count)


def log_variance(variance: Tensor) -> Tensor:
    """Logarithm of a variance, m², finite at 0: the `logarithm` of RMSLE's ablation."""
    return (variance + MIN_VARIANCE).log()


def kl_divergence(
    logits: Tensor,
    probabilities: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
    reverse: bool = False,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """KL(teacher ‖ student): summed over classes, averaged over pixels.

    With that reduction the gradient by a pixel's logits is (student − teacher)/pixels, on the
    scale of cross-entropy's.

    Args:
        logits: the student's class scores (N,C,H,W).
        probabilities: the teacher's (mean) softmax (N,C,H,W); a constant.
        mask: pixels that count, bool (N,H,W); None for all.
        temperature: T > 0. Logits are divided by T and p^(1/T), normalised, is the teacher's; the
            loss is multiplied by T², so that its gradient keeps its size (arXiv 1503.02531).
        reverse: KL(student ‖ teacher) instead.
        reduce_count: see the module.
    Returns:
        Scalar.
    Raises:
        ValueError: shapes differ or T is not above 0.
    """
    if logits.shape != probabilities.shape:
        raise ValueError(
            "Expected `logits` and `probabilities` of one shape, but got "
            f"{tuple(logits.shape)} and {tuple(probabilities.shape)}."
        )
    if temperature <= 0:
        raise ValueError(f"Expected `temperature` above 0, but got {temperature}.")
    student = (_rows(logits) / temperature).log_softmax(dim=1)  # (N·H·W, C)
    teacher = _rows(probabilities.detach())
    if temperature != 1:
        teacher = teacher ** (1 / temperature)
    teacher = teacher / teacher.sum(dim=1, keepdim=True)  # one stored in fp16 is not quite so
    if reverse:
        log_ratio = student - teacher.clamp_min(MIN_PROBABILITY).log()
        each = (student.exp() * log_ratio).sum(dim=1)
    else:
        each = -(torch.special.entr(teacher) + teacher * student).sum(dim=1)
    if mask is None:
        total, pixels = each.sum(), torch.tensor(len(each), device=each.device)
    else:
        total, pixels = torch.where(mask.ravel(), each, 0).sum(), mask.sum()
    return temperature**2 * _divide(total, pixels, reduce_count)


def _rows(x: Tensor) -> Tensor:
    """See (N,C,H,W) as float32 (N·H·W, C): over rows, softmax is twice as fast on a CPU."""
    return x.float().permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _divide(total: Tensor, count: Tensor, reduce_count: ReduceCount) -> Tensor:
    # The mean count of several processes may lie below 1: only 0 is replaced.
    count = reduce_count(count.to(total.dtype))
    return total / torch.where(count > 0, count, 1)
