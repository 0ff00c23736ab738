"""The objectives: the loss of a network on ground truth and of a student, term by term.

    terms = student_loss(raw, teacher(batch["image"]), batch, StudentLoss(), CITYSCAPES.sky)
    total(terms).backward()

Both take a network's raw outputs at H/4 × W/4 and upsample them before any activation. Which terms
there are depends only on the options and the network, never on the batch: under DDP, all processes
compute the same terms (`losses`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from emu_core.labels import IGNORE
from emu_core.methods.prediction import Prediction, Raw, activate, upsample
from emu_core.networks.models import AnyOutputs, EvidentialOutputs, RawOutputs
from emu_core.options import above, at_least
from emu_core.training.loader import Batch
from emu_core.training.losses import (
    DEPTH_LOSSES,
    MIN_VARIANCE,
    SEGMENTATION_LOSSES,
    Groups,
    SegmentationLoss,
    evidential_cross_entropy,
    evidential_nll,
    kl_divergence,
    l1,
    log_variance,
    mean_of_frames,
    rmsle,
)

Terms = dict[str, Tensor]
"""Weighted scalars by name: `ce` (segmentation), `depth`, `relative`; `kl`, `variance` and
`mean` from a teacher."""


@dataclass(frozen=True)
class MemberLoss:
    """Loss on ground truth: L = L_segmentation + w1·L_depth + w5·L_relative.

    Args:
        depth: Depth loss: gnll (Gaussian negative log-likelihood), rmsle, l1, or one of a plugin.
            rmsle and l1 do not train the variance.
        beta: β of β-NLL, 0 for the plain Gaussian NLL; only gnll uses it.
        depth_weight: w1.
        class_balance: p ≥ 0. A pixel of a class with share f of the data has weight f^-p in the
            segmentation loss, scaled to a mean of 1. Rare classes are learned sooner, and
            predicted too often where the network is in doubt. Not in the paper.
        segmentation: Segmentation loss: cross_entropy, or one of a plugin.
        relative_weight: w5, of |μ − y|/y. Where near and far are both possible, the Gaussian NLL
            alone puts the mean between them, far beyond the near one. Not in the paper.
        average: What has equal weight in these terms: pixels, as in the paper; or frames, so that
            sparse ground truth counts as much as dense one (`losses.mean_of_frames`).
        evidence_weight: λ of the terms that take evidence away where an evidential network is
            wrong; see `architecture.evidential`, whose losses replace those of `depth` and
            `segmentation`.
    """

    depth: str = "gnll"
    beta: float = field(default=0.0, metadata=at_least(0))
    depth_weight: float = field(default=1.0, metadata=at_least(0))
    class_balance: float = field(default=0.0, metadata=at_least(0))
    segmentation: str = "cross_entropy"
    relative_weight: float = field(default=0.0, metadata=at_least(0))
    average: Literal["pixels", "frames"] = "pixels"
    evidence_weight: float = field(default=0.01, metadata=at_least(0))

    def __post_init__(self) -> None:
        DEPTH_LOSSES.check(self.depth)
        SEGMENTATION_LOSSES.check(self.segmentation)


@dataclass(frozen=True)
class StudentLoss(MemberLoss):
    """Loss of a student (arXiv 2402.10580): on ground truth, + w2·L_KL + w3·L_RMSLE + w4·L_mean.

    Args:
        kl_weight: w2, of KL(teacher ‖ student) of the softmax.
        variance_weight: w3, of RMSLE between the depth variance and the teacher's predictive
            variance.
        mean_weight: w4, of |μ − μ_teacher|/σ_teacher on frames without ground truth of depth. Not
            in the paper, whose loss does not train the mean depth of such frames.
        temperature: Temperature of the KL divergence.
        reverse_kl: Use KL(student ‖ teacher) instead.
        log_variance: RMSLE of log s² instead of log(1 + s²).
        kl_pixels: all pixels of the image; or labelled ones, and all of a frame without labels.
            Padding of small images counts nowhere.
        variance_pixels: measured, the pixels with valid depth; or not_sky, those whose class is
            not the sky, which has no depth; the teacher's class counts where there is no label.
            In frames without ground truth, not_sky always applies.
    """

    kl_weight: float = field(default=10.0, metadata=at_least(0))
    variance_weight: float = field(default=1.0, metadata=at_least(0))
    mean_weight: float = field(default=0.0, metadata=at_least(0))
    temperature: float = field(default=1.0, metadata=above(0))
    reverse_kl: bool = False
    log_variance: bool = False
    kl_pixels: Literal["all", "labelled"] = "all"
    variance_pixels: Literal["measured", "not_sky"] = "measured"

    @property
    def supervised(self) -> MemberLoss:
        """The loss on ground truth, as the teacher's members and the student's control use it."""
        return MemberLoss(
            **{field.name: getattr(self, field.name) for field in fields(MemberLoss)}
        )


def member_loss(
    raw: AnyOutputs,
    labels: Tensor,
    depth: Tensor,
    options: MemberLoss,
    class_weights: Tensor | None = None,
    sets: Sequence[Sequence[int]] = (),
) -> Terms:
    """Compute the loss terms on ground truth for the outputs that the network has.

    Args:
        raw: A network's outputs at H/4 × W/4.
        labels: Codes (N,H,W): train id, C + k for the set k, `IGNORE` where there is none.
        depth: Canonical metres (N,1,H,W), NaN where invalid.
        options: Kinds and weights of the terms.
        class_weights: Weight of a pixel of each class (C,); None for 1.
        sets: Sets of train ids that codes stand for.
    """
    full = _full_size(raw, depth)
    estimate = activate(RawOutputs(None, full.depth))
    return _supervised(full, estimate, labels, depth, options, class_weights, sets)


def student_loss(
    raw: AnyOutputs,
    teacher: Prediction,
    batch: Batch,
    options: StudentLoss,
    sky: int | None = None,
    class_weights: Tensor | None = None,
    sets: Sequence[Sequence[int]] = (),
    groups: Sequence[Groups | None] = (),
) -> Terms:
    """Compute the loss terms of a student for the outputs that it has.

    Args:
        raw, class_weights, sets: The arguments of `member_loss`.
        teacher: Its prediction for the same images, (N,·,H,W); a constant.
        batch: Ground truth. Frames that are not `labelled` have none of the classes, those that
            are not `measured` none of the depth; there, only the teacher is used. Pixels that are
            not `inside` do not count.
        options: Kinds, weights and masks of the terms.
        sky: Train id of the sky, None if there is no such class.
        groups: For each data set of a mixture the partition of the classes that its labels can
            judge, None for single classes. The KL divergence of its labelled frames compares sums
            within the groups.

    Raises:
        ValueError: There are frames without any ground truth, but the teacher's mean depth has no
            weight; or the teacher does not predict what the student predicts.
    """
    for name, ours, theirs in (
        ("class probabilities", raw.logits, teacher.probabilities),
        ("depth", raw.depth, teacher.depth_variance),
    ):
        if ours is not None and theirs is None:
            raise ValueError(f"The student predicts {name}, but its teacher does not.")
    labelled, inside = batch["labelled"].view(-1, 1, 1), batch["inside"]
    measured = batch["measured"].view(-1, 1, 1)
    if raw.depth is not None and not options.mean_weight and not (labelled | measured).all():
        raise ValueError(
            "Frames without ground truth need a term for the mean depth; the paper's loss has "
            "none. Set `mean_weight` above 0, or leave these frames out."
        )
    labels = batch["labels"].where(labelled, IGNORE)  # (N,H,W)
    depth = batch["depth"].where(measured[:, None], torch.nan)  # (N,1,H,W)
    full = _full_size(raw, depth)
    logits, estimate = full.logits, activate(RawOutputs(None, full.depth))
    terms = _supervised(full, estimate, labels, depth, options, class_weights, sets)
    if logits is not None and options.kl_weight:
        assert teacher.probabilities is not None
        classified = (labels != IGNORE) | ~labelled
        terms["kl"] = options.kl_weight * kl_divergence(
            logits,
            teacher.probabilities,
            inside & classified if options.kl_pixels == "labelled" else inside,
            temperature=options.temperature,
            reverse=options.reverse_kl,
            groups=_groups_of_frames(batch, groups),
        )
    if raw.depth is not None:
        not_sky = (_not_sky(labels, teacher, sky) & inside)[:, None]  # (N,1,H,W)
        without_truth = not_sky & ~measured[:, None]
        if not options.mean_weight:  # a variance without its mean would be none of an estimate
            without_truth = torch.zeros_like(without_truth)
        pixels = torch.isfinite(depth) | without_truth
        if options.variance_pixels == "not_sky":
            pixels = not_sky & (measured[:, None] | without_truth)
        terms |= _distilled_depth(estimate, teacher, options, pixels, without_truth)
    return terms


def total(terms: Terms) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradient_shares(terms: Terms, raw: RawOutputs) -> dict[str, float]:
    """Compare the gradients of the terms at each of a network's raw outputs.

    The share of a term at an output is the norm of its gradient there over the sum of all terms'
    norms: 0…1, with sum 1 unless all gradients are zero. The cost is a backward pass through the
    losses and upsampling, but not through the network. The graph is kept for the training step.

    Returns:
        Shares by "output/term"; the outputs are logits, depth_mean and depth_variance.
    """
    outputs = {name: x for name, x in zip(("logits", "depth"), raw, strict=False) if x is not None}
    norms: dict[str, dict[str, float]] = {}
    for name, term in terms.items():
        found = torch.autograd.grad(
            term, list(outputs.values()), retain_graph=True, materialize_grads=True
        )
        parts = dict(zip(outputs, found, strict=True))
        if "depth" in parts:
            parts["depth_mean"], parts["depth_variance"] = parts.pop("depth").unbind(1)
        for output, part in parts.items():
            norms.setdefault(output, {})[name] = float(part.float().norm())
    return {
        f"{output}/{name}": norm / max(sum(of_terms.values()), 1e-30)
        for output, of_terms in norms.items()
        for name, norm in of_terms.items()
    }


def _full_size(raw: Raw, depth: Tensor) -> Raw:
    """Raw outputs at the size of the ground truth."""
    return upsample(raw, (depth.shape[-2], depth.shape[-1]))


def _supervised(
    full: AnyOutputs,
    estimate: Prediction,
    labels: Tensor,
    depth: Tensor,
    options: MemberLoss,
    class_weights: Tensor | None,
    sets: Sequence[Sequence[int]],
) -> Terms:
    def average(compute: Callable[..., Tensor], valid: Tensor, *maps: Tensor) -> Tensor:
        if options.average == "frames":
            return mean_of_frames(compute, valid, *maps)
        return compute(*maps)

    terms = {}
    if full.logits is not None:
        classify = _class_loss(full, options)
        terms["ce"] = average(
            lambda logits, codes: classify(logits, codes, class_weights, sets),
            labels != IGNORE,
            full.logits,
            labels,
        )
    measured = torch.isfinite(depth)
    if estimate.depth_mean is not None and options.depth_weight:
        compute, spread = _depth_loss(full, estimate, options)
        terms["depth"] = options.depth_weight * average(
            compute, measured, estimate.depth_mean, spread, depth
        )
    if full.depth is not None and options.relative_weight:
        # Before the ReLU, which has no gradient where the mean is below 0: such pixels, which have
        # no estimate, would stay so, and this loss is the one that brings near means there.
        terms["relative"] = options.relative_weight * average(
            lambda mean, truth: l1(mean, truth, scale=truth), measured, full.depth[:, :1], depth
        )
    return terms


def _class_loss(full: AnyOutputs, options: MemberLoss) -> SegmentationLoss:
    if isinstance(full, EvidentialOutputs):
        return partial(evidential_cross_entropy, weight=options.evidence_weight)
    return SEGMENTATION_LOSSES[options.segmentation]


def _depth_loss(
    full: AnyOutputs, estimate: Prediction, options: MemberLoss
) -> tuple[Callable[..., Tensor], Tensor]:
    """Return the loss of (mean, spread, truth), and the maps of the spread that it needs."""
    if isinstance(full, EvidentialOutputs):
        assert full.evidence is not None
        return partial(evidential_nll, weight=options.evidence_weight), full.evidence
    assert estimate.depth_variance is not None
    compute = DEPTH_LOSSES[options.depth].compute

    def loss(mean: Tensor, variance: Tensor, truth: Tensor) -> Tensor:
        return compute(mean, variance, truth, options)

    return loss, estimate.depth_variance


def _groups_of_frames(batch: Batch, groups: Sequence[Groups | None]) -> list[Groups | None] | None:
    """The groups of each frame's data set; None for unlabelled frames, and if all are single."""
    if not any(groups):
        return None
    frames = zip(batch["part"].tolist(), batch["labelled"].tolist(), strict=True)
    return [groups[part] if labelled else None for part, labelled in frames]


def _distilled_depth(
    estimate: Prediction,
    teacher: Prediction,
    options: StudentLoss,
    variance_pixels: Tensor,
    mean_pixels: Tensor,
) -> Terms:
    assert estimate.depth_mean is not None and estimate.depth_variance is not None
    assert teacher.depth_mean is not None and teacher.depth_variance is not None
    target_mean, target_variance = teacher.depth_mean.detach(), teacher.depth_variance.detach()
    terms = {}
    if options.variance_weight:
        logarithm = log_variance if options.log_variance else torch.log1p
        terms["variance"] = options.variance_weight * rmsle(
            estimate.depth_variance, target_variance, variance_pixels, logarithm
        )
    if options.mean_weight:
        target = target_mean.where(mean_pixels, torch.nan)
        scale = (target_variance + MIN_VARIANCE).sqrt()
        terms["mean"] = options.mean_weight * l1(estimate.depth_mean, target, scale)
    return terms


def _not_sky(labels: Tensor, teacher: Prediction, sky: int | None) -> Tensor:
    """Pixels (N,H,W) whose class is not the sky; the teacher's class where there is no label."""
    if sky is None:
        return torch.ones_like(labels, dtype=torch.bool)
    if teacher.probabilities is None:
        return labels != sky
    # As argmax(dim=1) != sky, but ten times as fast on a CPU.
    elsewhere = teacher.probabilities[:, sky] < teacher.probabilities.amax(dim=1)
    known = labels < teacher.probabilities.shape[1]  # a set of classes may contain the sky
    return torch.where(known, labels != sky, elsewhere)
