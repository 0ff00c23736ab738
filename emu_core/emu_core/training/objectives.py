"""What training minimises: a member's loss and the student's, term by term (paper.md §2).

    terms = student_loss(raw, teacher(images), labels, depth, StudentLoss(), sky=CITYSCAPES.sky)
    total(terms).backward()
    gradient_shares(terms, raw)      # before `backward`, every now and then: which term pulls

Both take a network's raw outputs at H/4 × W/4 and upsample them before any activation. Which terms
there are depends on the options and the network alone, never on the batch: under DDP every process
computes, and waits for, the same ones (`losses`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from emu_core.labels import IGNORE
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.networks.models import RawOutputs
from emu_core.training.losses import (
    MIN_VARIANCE,
    ReduceCount,
    cross_entropy,
    gaussian_nll,
    identity,
    kl_divergence,
    l1,
    log_variance,
    rmsle,
)

Terms = dict[str, Tensor]
"""Weighted scalars by name: `ce` and `depth`; `kl`, `variance` and `mean` from a teacher."""


@dataclass(frozen=True)
class MemberLoss:
    """L = L_CE + w1·L_depth, of a single network or a teacher's member.

    Args:
        depth: gnll, rmsle or l1; the latter two leave the variance untrained.
        beta: β of β-NLL, 0 for the plain Gaussian NLL; of gnll alone.
        depth_weight: w1.
        class_balance: p ≥ 0: a pixel of a class with share f of the data counts as f^-p does in
            the cross-entropy, 1 in the mean. Rare classes are learned sooner, and named too often
            where in doubt. Not in the paper.
    """

    depth: Literal["gnll", "rmsle", "l1"] = "gnll"
    beta: float = 0.0
    depth_weight: float = 1.0
    class_balance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no loss is named after, and negative weights."""
        _expect_one_of("depth", self.depth, ("gnll", "rmsle", "l1"))
        for name, value in vars(self).items():
            if name.endswith(("_weight", "_balance")) and value < 0:
                raise ValueError(f"Expected `{name}` of at least 0, but got {value}.")


@dataclass(frozen=True)
class StudentLoss(MemberLoss):
    """L = L_CE + w1·L_depth + w2·L_KL + w3·L_RMSLE (arXiv 2402.10580), + w4·L_mean.

    Args:
        kl_weight: w2, of KL(teacher ‖ student) on the softmax.
        variance_weight: w3, of RMSLE on the depth variance, the teacher's being predictive.
        mean_weight: w4, of |μ − μ_teacher|/σ_teacher on frames without ground truth of depth. Not
            in the paper: without it nothing ties the mean depth of such frames. In units of the
            teacher's deviation the term is on the scale of the Gaussian NLL.
        temperature: of the KL divergence.
        reverse_kl: KL(student ‖ teacher) instead.
        log_variance: RMSLE of log s² instead of log(1 + s²).
        kl_pixels: all of the image, or labelled: those with a class, and all of a frame without
            labels. What a small image was padded with teaches nothing, here and below.
        variance_pixels: measured: those with valid depth; not_sky: those whose class, or the
            teacher's where there is none, is not the sky, which has no depth. In frames without
            ground truth always the latter.
    """

    kl_weight: float = 10.0
    variance_weight: float = 1.0
    mean_weight: float = 0.0
    temperature: float = 1.0
    reverse_kl: bool = False
    log_variance: bool = False
    kl_pixels: Literal["all", "labelled"] = "all"
    variance_pixels: Literal["measured", "not_sky"] = "measured"

    def __post_init__(self) -> None:
        """Refuse what no choice is named after, and negative weights."""
        super().__post_init__()
        _expect_one_of("kl_pixels", self.kl_pixels, ("all", "labelled"))
        _expect_one_of("variance_pixels", self.variance_pixels, ("measured", "not_sky"))

    @property
    def supervised(self) -> MemberLoss:
        """The part of ground truth alone, as members and the student's control learn it."""
        return MemberLoss(
            **{field.name: getattr(self, field.name) for field in fields(MemberLoss)}
        )


def member_loss(
    raw: RawOutputs,
    labels: Tensor,
    depth: Tensor,
    options: MemberLoss,
    *,
    class_weights: Tensor | None = None,
    reduce_count: ReduceCount = identity,
) -> Terms:
    """Compute the terms of L = L_CE + w1·L_depth, those that the network has outputs for.

    Args:
        raw: a network's outputs at H/4 × W/4.
        labels: train ids (N,H,W), `IGNORE` where there is none.
        depth: canonical metres (N,1,H,W), NaN where invalid.
        options: kinds and weights.
        class_weights: what a pixel of each class counts in the cross-entropy (C,); None for 1.
        reduce_count: see `losses`.
    """
    full = upsample(raw, (depth.shape[-2], depth.shape[-1]))
    estimate = activate(RawOutputs(None, full.depth))
    return _supervised(full.logits, estimate, labels, depth, options, class_weights, reduce_count)


def student_loss(
    raw: RawOutputs,
    teacher: Prediction,
    labels: Tensor | None,
    depth: Tensor | None,
    options: StudentLoss,
    *,
    sky: int | None = None,
    labelled: Tensor | None = None,
    inside: Tensor | None = None,
    class_weights: Tensor | None = None,
    reduce_count: ReduceCount = identity,
) -> Terms:
    """Compute the terms of L = L_CE + w1·L_depth + w2·L_KL + w3·L_RMSLE + w4·L_mean.

    Args:
        raw: the student's outputs at H/4 × W/4.
        teacher: its prediction of the same images, (N,·,H,W); a constant.
        labels: train ids (N,H,W), `IGNORE` where there is none; None without labels.
        depth: canonical metres (N,1,H,W), NaN where invalid; None without depth.
        options: kinds, weights and masks.
        sky: train id of the sky, None if there is no such class.
        labelled: whether each frame's ground truth may be used, bool (N,); None for all.
        inside: pixels that are not padding, bool (N,H,W); None for all.
        class_weights: what a pixel of each class counts in the cross-entropy (C,); None for 1.
        reduce_count: see `losses`.

    Raises:
        ValueError: frames without ground truth of depth, and no weight on the teacher's mean; or a
            teacher that lacks what the student predicts.
    """
    _check_teacher(raw, teacher)
    truth = _ground_truth(teacher, labels, depth, labelled)
    if raw.depth is not None and not options.mean_weight and not bool(truth.has_depth.all()):
        raise ValueError(
            "Frames without ground truth of depth can be distilled only with a term for the "
            "teacher's mean depth: the paper's loss has none, and nothing else ties the student's "
            "mean there. Set `mean_weight` above 0, or leave these frames out."
        )
    full = upsample(raw, (truth.depth.shape[-2], truth.depth.shape[-1]))
    estimate = activate(RawOutputs(None, full.depth))
    terms = _supervised(
        full.logits, estimate, truth.labels, truth.depth, options, class_weights, reduce_count
    )
    if full.logits is not None and options.kl_weight:
        assert teacher.probabilities is not None
        classified = (truth.labels != IGNORE) | ~truth.has_labels
        classified = classified if inside is None else classified & inside
        terms["kl"] = options.kl_weight * kl_divergence(
            full.logits,
            teacher.probabilities,
            inside if options.kl_pixels == "all" else classified,
            temperature=options.temperature,
            reverse=options.reverse_kl,
            reduce_count=reduce_count,
        )
    if raw.depth is not None:
        not_sky = _not_sky(truth.labels, teacher, sky)  # (N,H,W)
        not_sky = (not_sky if inside is None else not_sky & inside)[:, None]
        terms |= _distilled_depth(estimate, teacher, truth, options, not_sky, reduce_count)
    return terms


def total(terms: Terms) -> Tensor:
    """Add the terms up."""
    return torch.stack(list(terms.values())).sum()


def gradient_shares(terms: Terms, raw: RawOutputs) -> dict[str, float]:
    """Say which term pulls how much at each of a network's raw outputs.

    The share of a term at an output is the norm of its gradient there over the sum of all terms'
    norms: 0…1, and 1 in sum unless no term pulls at all. It costs a backward pass through losses
    and upsampling, but not through the network; the graph is kept for the step's own.

    Args:
        terms: what `member_loss` or `student_loss` returned.
        raw: the raw outputs that they were computed from.

    Returns:
        By "output/term", the outputs being logits, depth_mean and depth_variance.
    """
    outputs = {name: x for name, x in raw._asdict().items() if x is not None}
    norms: dict[str, dict[str, float]] = {}
    for name, term in terms.items():
        found = torch.autograd.grad(
            term, list(outputs.values()), retain_graph=True, allow_unused=True
        )
        parts = dict(zip(outputs, found, strict=True))
        if "depth" in parts:
            depth = parts.pop("depth")
            parts["depth_mean"] = None if depth is None else depth[:, 0]
            parts["depth_variance"] = None if depth is None else depth[:, 1]
        for output, part in parts.items():
            norm = 0.0 if part is None else float(part.float().norm())
            norms.setdefault(output, {})[name] = norm
    return {
        f"{output}/{name}": norm / max(sum(of_terms.values()), 1e-30)
        for output, of_terms in norms.items()
        for name, norm in of_terms.items()
    }


class _Truth(NamedTuple):
    labels: Tensor  # (N,H,W), IGNORE in frames without labels
    depth: Tensor  # (N,1,H,W), NaN in frames without depth
    has_labels: Tensor  # bool (N,1,1)
    has_depth: Tensor  # bool (N,1,1,1)


def _ground_truth(
    teacher: Prediction, labels: Tensor | None, depth: Tensor | None, labelled: Tensor | None
) -> _Truth:
    maps = teacher.depth_mean if teacher.probabilities is None else teacher.probabilities
    assert maps is not None
    n, size, device = len(maps), maps.shape[-2:], maps.device
    if labelled is None:
        labelled = torch.ones(n, dtype=torch.bool, device=device)
    has_labels = (labelled & (labels is not None)).view(n, 1, 1)
    has_depth = (labelled & (depth is not None)).view(n, 1, 1, 1)
    if labels is None:
        labels = torch.full((n, *size), IGNORE, dtype=torch.uint8, device=device)
    if depth is None:
        depth = torch.full((n, 1, *size), torch.nan, device=device)
    return _Truth(
        labels.where(has_labels, IGNORE), depth.where(has_depth, torch.nan), has_labels, has_depth
    )


def _supervised(
    logits: Tensor | None,
    estimate: Prediction,
    labels: Tensor,
    depth: Tensor,
    options: MemberLoss,
    class_weights: Tensor | None,
    reduce_count: ReduceCount,
) -> Terms:
    terms = {}
    if logits is not None:
        terms["ce"] = cross_entropy(logits, labels, class_weights, reduce_count=reduce_count)
    if estimate.depth_mean is not None and options.depth_weight:
        terms["depth"] = options.depth_weight * _depth_loss(estimate, depth, options, reduce_count)
    return terms


def _depth_loss(
    estimate: Prediction, depth: Tensor, options: MemberLoss, reduce_count: ReduceCount
) -> Tensor:
    mean, variance = estimate.depth_mean, estimate.depth_variance
    assert mean is not None and variance is not None
    if options.depth == "l1":
        return l1(mean, depth, reduce_count=reduce_count)
    if options.depth == "rmsle":
        return rmsle(mean, depth, reduce_count=reduce_count)
    return gaussian_nll(mean, variance, depth, options.beta, reduce_count=reduce_count)


def _distilled_depth(
    estimate: Prediction,
    teacher: Prediction,
    truth: _Truth,
    options: StudentLoss,
    not_sky: Tensor,
    reduce_count: ReduceCount,
) -> Terms:
    assert estimate.depth_mean is not None and estimate.depth_variance is not None
    assert teacher.depth_mean is not None and teacher.depth_variance is not None
    target_mean, target_variance = teacher.depth_mean.detach(), teacher.depth_variance.detach()
    terms = {}
    if options.variance_weight:
        measured = torch.isfinite(truth.depth)
        terms["variance"] = options.variance_weight * rmsle(
            estimate.depth_variance,
            target_variance,
            not_sky
            if options.variance_pixels == "not_sky"
            else torch.where(truth.has_depth, measured, not_sky),
            logarithm=log_variance if options.log_variance else torch.log1p,
            reduce_count=reduce_count,
        )
    if options.mean_weight:
        terms["mean"] = options.mean_weight * l1(
            estimate.depth_mean,
            target_mean.where(not_sky & ~truth.has_depth, torch.nan),
            (target_variance + MIN_VARIANCE).sqrt(),
            reduce_count=reduce_count,
        )
    return terms


def _not_sky(labels: Tensor, teacher: Prediction, sky: int | None) -> Tensor:
    """Pixels (N,H,W) whose class is not the sky; the teacher's class where there is no label."""
    if sky is None:
        return torch.ones_like(labels, dtype=torch.bool)
    if teacher.probabilities is None:
        return labels != sky
    # As argmax(dim=1) != sky, which takes ten times as long on a CPU.
    elsewhere = teacher.probabilities[:, sky] < teacher.probabilities.amax(dim=1)
    return torch.where(labels == IGNORE, elsewhere, labels != sky)


def _check_teacher(raw: RawOutputs, teacher: Prediction) -> None:
    for name, ours, theirs in (
        ("class probabilities", raw.logits, teacher.probabilities),
        ("depth", raw.depth, teacher.depth_variance),
    ):
        if ours is not None and theirs is None:
            raise ValueError(f"The student predicts {name}, but its teacher has none to learn.")


def _expect_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"Expected `{name}` to be one of {', '.join(known)}, but got {value!r}.")
