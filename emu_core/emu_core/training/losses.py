"""The terms of the losses and their registries (docs/method.md, Losses).

Every term is computed in float32, also under autocast. It averages over valid pixels, and is zero
with zero gradients where there are none. Each process has its own number of valid pixels, and DDP
averages gradients over processes: terms divide by `global_mean_count`, so that this average is the
gradient for the joint batch. A term must call it exactly once, whatever the batch holds;
otherwise one process waits for another forever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from emu_core.labels import IGNORE
from emu_core.networks.evidence import depth_evidence
from emu_core.registry import Registry

if TYPE_CHECKING:
    from emu_core.training.objectives import MemberLoss

Groups = tuple[tuple[int, ...], ...]
"""A partition of the classes, see `LabelSpace.groups`."""

MIN_VARIANCE = 1e-4
"""Added to every variance in a loss, m² (1 cm): keeps 1/s² and log s² finite as s² → 0."""

MIN_PROBABILITY = 1e-12
"""Lower limit of a teacher's probabilities: keeps their logarithm finite."""

MIN_FRAME_PIXELS = 1000
"""A frame with fewer valid pixels than this counts less in `mean_of_frames`, in proportion."""

ROOT_EPS = 1e-12
"""Added inside every root: keeps its gradient finite at exact equality, where the loss is 1e-6."""


@dataclass(frozen=True)
class DepthLoss:
    """A loss that compares depth with ground truth.

    Args:
        compute: Function of mean (N,1,H,W) in metres, variance (N,1,H,W) in m², ground truth
            (N,1,H,W) in metres with NaN where invalid, and the options; returns a scalar.
        trains_variance: Whether the variance is trained; otherwise it is not an uncertainty.
    """

    compute: Callable[[Tensor, Tensor, Tensor, MemberLoss], Tensor]
    trains_variance: bool


SegmentationLoss = Callable[[Tensor, Tensor, "Tensor | None", Sequence[Sequence[int]]], Tensor]
"""Function of logits (N,C,H,W), codes (N,H,W), class weights (C,) or None for 1, and sets of
classes; gives a scalar. A code is a train id, C + k for the set k, or `IGNORE`."""

DEPTH_LOSSES: Registry[DepthLoss] = Registry("depth loss")
SEGMENTATION_LOSSES: Registry[SegmentationLoss] = Registry("segmentation loss")

_own_counts = ContextVar("own_counts", default=False)  # whether `global_mean_count` does nothing


def global_mean_count(count: Tensor) -> Tensor:
    """Average a count over all processes that train together."""
    return count if _own_counts.get() else _mean_over_processes(count)


def _mean_over_processes(count: Tensor) -> Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    total = count.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def mean_of_frames(compute: Callable[..., Tensor], valid: Tensor, *maps: Tensor) -> Tensor:
    """Average a term over the frames instead of the pixels of a batch.

    Lidar measures 6 % of the pixels of a frame. In an average over pixels, a rendered frame, which
    is measured everywhere, has 15 times the weight of such a frame.

    Args:
        compute: The term, a function of slices of the maps that averages over valid pixels.
        valid: Valid pixels, bool (N, …).
        maps: Tensors (N, …).
    """
    with _counts_of_this_process():
        each = [compute(*(x[i : i + 1] for x in maps)) for i in range(len(valid))]
    weights = (valid.flatten(1).sum(dim=1) / MIN_FRAME_PIXELS).clamp(max=1)
    return _mean((weights * torch.stack(each)).sum(), weights.sum())


@contextmanager
def _counts_of_this_process() -> Iterator[None]:
    token = _own_counts.set(True)
    try:
        yield
    finally:
        _own_counts.reset(token)


@SEGMENTATION_LOSSES.register("cross_entropy")
def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    sets: Sequence[Sequence[int]] = (),
) -> Tensor:
    """Mean of −log p over labelled pixels; of a set of classes, p is the sum of its members.

    Arguments as `SegmentationLoss`.
    """
    rows, codes = _rows(logits), labels.long().ravel()
    classes = rows.shape[1]
    single = torch.where(codes < classes, codes, IGNORE)
    total = F.cross_entropy(rows, single, class_weights, ignore_index=IGNORE, reduction="sum")
    # One selection for all sets: the gradient of each selection is as large as all rows.
    in_set = (codes >= classes) & (codes != IGNORE)
    rows, codes = rows[in_set], codes[in_set]
    for code, members in enumerate(sets, classes):
        chosen = rows[codes == code]  # (P, C)
        inside = chosen[:, list(members)].logsumexp(dim=1)
        weight = 1.0 if class_weights is None else class_weights[list(members)].mean()
        total = total + weight * (chosen.logsumexp(dim=1) - inside).sum()
    return _mean(total, (labels != IGNORE).sum())


def evidential_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    sets: Sequence[Sequence[int]] = (),
    weight: float = 0.0,
) -> Tensor:
    """Expected cross-entropy of a Dirichlet, E[−log p] = ψ(Σα) − ψ(α_y) (Sensoy et al., eq. 4).

    For a set of classes, α_y is the sum of its members' α: Dirichlet distributions aggregate.

    Args:
        logits: log α (N,C,H,W), α ≥ 1.
        labels, class_weights, sets: As for `cross_entropy`.
        weight: λ of KL(Dir(α̃) ‖ Dir(1)), where α̃ is α without the evidence for the true classes
            (eq. 5).
    """
    alpha, codes = _rows(logits).exp(), labels.long().ravel()
    classes = alpha.shape[1]
    members = alpha.new_zeros(IGNORE + 1, classes)  # of each code; empty for IGNORE
    members[:classes] = torch.eye(classes, device=alpha.device)
    for code, own in enumerate(sets, classes):
        members[code, list(own)] = 1
    known = codes != IGNORE
    alpha, true = alpha[known], members[codes[known]]  # (P, C)
    of_label = (alpha * true).sum(dim=1)
    loss = alpha.sum(dim=1).digamma() - of_label.digamma()
    if class_weights is not None:
        loss = loss * (true @ class_weights) / true.sum(dim=1)
    if weight:
        wrong = torch.where(true > 0, 1.0, alpha)
        total = wrong.sum(dim=1, keepdim=True)
        divergence = total[:, 0].lgamma() - math.lgamma(classes) - wrong.lgamma().sum(dim=1)
        loss = loss + weight * (
            divergence + ((wrong - 1) * (wrong.digamma() - total.digamma())).sum(dim=1)
        )
    return _mean(loss.sum(), known.sum())


def evidential_nll(mean: Tensor, raw: Tensor, target: Tensor, weight: float = 0.0) -> Tensor:
    """−log of the Student-t that a normal-inverse-gamma predicts (Amini et al., eq. 8).

    Args:
        mean: γ, metres (N,1,H,W).
        raw: Raw ν, α and β (N,3,H,W), see `depth_evidence`.
        target: y, metres, NaN where invalid.
        weight: λ of |y − γ|·(2ν + α), which takes evidence away where the mean is wrong (eq. 9).
    """
    nu, alpha, beta = depth_evidence(raw)
    beta = beta + MIN_VARIANCE
    valid = torch.isfinite(target)
    y = torch.where(valid, target.float(), mean.detach().float())
    error, omega = y - mean.float(), 2 * beta * (1 + nu)
    loss = (
        0.5 * (math.pi / nu).log()
        - alpha * omega.log()
        + (alpha + 0.5) * (error.square() * nu + omega).log()
        + alpha.lgamma()
        - (alpha + 0.5).lgamma()
    )
    if weight:
        loss = loss + weight * error.abs() * (2 * nu + alpha)
    return _mean(torch.where(valid, loss, 0).sum(), valid.sum())


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor, beta: float = 0.0) -> Tensor:
    """½((y − μ)²/s² + log s²), averaged over valid pixels; arXiv 2402.10580.

    Args:
        mean: μ, metres, any shape.
        variance: s² ≥ 0, m².
        target: y, metres, NaN where invalid.
        beta: β-NLL (arXiv 2203.09168): each pixel is weighted by stop-grad(s²)^β; 0 for the plain
            loss.
    """
    valid = torch.isfinite(target)
    s2 = variance.float() + MIN_VARIANCE
    y = torch.where(valid, target.float(), mean.detach().float())
    loss = 0.5 * ((y - mean.float()).square() / s2 + s2.log())
    if beta:
        loss = loss * s2.detach() ** beta
    return _mean(torch.where(valid, loss, 0).sum(), valid.sum())


def l1(mean: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
    """|y − μ|, averaged over valid pixels.

    Args:
        mean, target: As for `gaussian_nll`.
        scale: Unit of each pixel's error, metres, above 0; None for 1 m.
    """
    valid = torch.isfinite(target)
    y = torch.where(valid, target.float(), mean.detach().float())
    loss = (y - mean.float()).abs()
    if scale is not None:
        loss = loss / torch.where(valid, scale.float(), 1.0)
    return _mean(loss.sum(), valid.sum())


def rmsle(
    estimate: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    logarithm: Callable[[Tensor], Tensor] = torch.log1p,
) -> Tensor:
    """√(mean (log(1+a) − log(1+b))²) of each image's valid pixels, averaged over the images.

    For depth, in metres, and for its variance, in m². Images without a valid pixel do not count.

    Args:
        estimate: a ≥ 0, (N, …).
        target: b ≥ 0, of the same shape; invalid where it is not finite.
        mask: Further limits the valid pixels, bool (N, …); None for all.
        logarithm: `log_variance` is sensitive to small variances, log(1+a) is not: the step from
            0.01 to 0.09 m² costs 2.2 with the former and 0.08 with the latter.
    """
    valid = torch.isfinite(target)
    if mask is not None:
        valid = valid & mask
    a = estimate.float()
    b = torch.where(valid, target.float(), a.detach())
    squares = (logarithm(a) - logarithm(b)).square().flatten(1).sum(dim=1)  # (N,)
    pixels = valid.flatten(1).sum(dim=1)
    roots = (squares / pixels.clamp(min=1) + ROOT_EPS).sqrt()
    return _mean(torch.where(pixels > 0, roots, 0).sum(), (pixels > 0).sum())


def log_variance(variance: Tensor) -> Tensor:
    """Logarithm of a variance, m², finite at 0: another `logarithm` of `rmsle`."""
    return (variance + MIN_VARIANCE).log()


def kl_divergence(
    logits: Tensor,
    probabilities: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
    reverse: bool = False,
    groups: Sequence[Groups | None] | None = None,
) -> Tensor:
    """KL(teacher ‖ student): summed over classes, averaged over pixels.

    Args:
        logits: The student's class scores (N,C,H,W).
        probabilities: The teacher's (mean) softmax (N,C,H,W); a constant.
        mask: Pixels that count, bool (N,H,W); None for all.
        temperature: T > 0. Logits are divided by T, and the teacher's p becomes p^(1/T),
            normalised. The loss is multiplied by T², which keeps the scale of its gradient
            (arXiv 1503.02531).
        reverse: Compute KL(student ‖ teacher) instead.
        groups: For each frame a partition of the classes, whose probabilities are summed first;
            None for single classes.

    Raises:
        ValueError: The shapes differ, or T is not above 0.
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
    teacher = teacher / teacher.sum(dim=1, keepdim=True)  # stored in fp16, it is not quite so
    if groups is None:
        each = _divergence(student, teacher, None, reverse)
    else:
        shape = (len(groups), -1, student.shape[1])
        frames = zip(student.view(shape), teacher.view(shape), groups, strict=True)
        each = torch.cat([_divergence(s, t, g, reverse) for s, t, g in frames])
    if mask is None:
        total, pixels = each.sum(), torch.tensor(len(each), device=each.device)
    else:
        total, pixels = torch.where(mask.ravel(), each, 0).sum(), mask.sum()
    return temperature**2 * _mean(total, pixels)


def _divergence(student: Tensor, teacher: Tensor, groups: Groups | None, reverse: bool) -> Tensor:
    """KL of each row (P,) from log p of the student and p of the teacher, (P, C)."""
    if groups is not None:
        student = torch.stack([student[:, list(g)].logsumexp(dim=1) for g in groups], dim=1)
        teacher = torch.stack([teacher[:, list(g)].sum(dim=1) for g in groups], dim=1)
    if reverse:
        log_ratio = student - teacher.clamp_min(MIN_PROBABILITY).log()
        return (student.exp() * log_ratio).sum(dim=1)
    return -(torch.special.entr(teacher) + teacher * student).sum(dim=1)


def _rows(x: Tensor) -> Tensor:
    """View (N,C,H,W) as float32 (N·H·W, C): softmax over rows is twice as fast on a CPU."""
    return x.float().permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _mean(total: Tensor, count: Tensor) -> Tensor:
    # The mean count of several processes may be below 1: only 0 is replaced.
    count = global_mean_count(count.to(total.dtype))
    return total / torch.where(count > 0, count, 1)


DEPTH_LOSSES.add("gnll", DepthLoss(lambda m, v, y, o: gaussian_nll(m, v, y, o.beta), True))
DEPTH_LOSSES.add("rmsle", DepthLoss(lambda m, v, y, o: rmsle(m, y), False))
DEPTH_LOSSES.add("l1", DepthLoss(lambda m, v, y, o: l1(m, y), False))
