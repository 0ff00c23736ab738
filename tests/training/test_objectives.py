"""The loss on ground truth and of the student: terms, masks and gradient shares."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from emu_core.labels import IGNORE
from emu_core.methods.prediction import Prediction
from emu_core.networks.models import RawOutputs
from emu_core.training import losses
from emu_core.training.losses import (
    cross_entropy,
    gaussian_nll,
    kl_divergence,
    l1,
    log_variance,
    rmsle,
)
from emu_core.training.objectives import (
    MemberLoss,
    StudentLoss,
    gradient_shares,
    member_loss,
    student_loss,
    total,
)

CLASSES, SKY, SIZE = 5, 2, (32, 48)


def make_raw():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, SIZE[0] // 4, SIZE[1] // 4, generator=g)
    depth = torch.randn(2, 2, SIZE[0] // 4, SIZE[1] // 4, generator=g)
    depth = depth + torch.tensor([20.0, 1.0]).view(2, 1, 1)
    return RawOutputs(logits.requires_grad_(), depth.requires_grad_())


def make_batch(labelled=(True, True), measured=None, part=(0, 0)):
    """Ground truth of two frames without padding; only some may be labelled or measured."""
    g = torch.Generator().manual_seed(1)
    labels = torch.randint(0, CLASSES, (2, *SIZE), dtype=torch.uint8, generator=g)
    depth = 10 + 20 * torch.rand(2, 1, *SIZE, generator=g)
    labels[torch.rand(labels.shape, generator=g) < 0.2] = IGNORE
    depth[torch.rand(depth.shape, generator=g) < 0.3] = math.nan
    depth[(labels == SKY)[:, None]] = math.nan
    inside = torch.ones(2, *SIZE, dtype=torch.bool)
    known = {"labelled": labelled, "measured": labelled if measured is None else measured}
    flags = {name: torch.tensor(value) for name, value in known.items()}
    return {
        **{"labels": labels, "depth": depth, "part": torch.tensor(part), "inside": inside},
        **flags,
    }


def make_truth():
    return make_batch()["labels"], make_batch()["depth"]


def make_teacher():
    g = torch.Generator().manual_seed(2)
    return Prediction(
        (2 * torch.randn(2, CLASSES, *SIZE, generator=g)).softmax(1),
        15 + 10 * torch.rand(2, 1, *SIZE, generator=g),
        4 * torch.rand(2, 1, *SIZE, generator=g),
    )


def upsampled(raw):
    """Logits, mean and variance at full size, in the papers' order."""
    logits, depth = (F.interpolate(x, SIZE, mode="bilinear") for x in raw)
    return logits, F.relu(depth[:, :1]), 100 * F.softplus(depth[:, 1:])


def same(terms, expected):
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)


# The member's loss


@pytest.mark.parametrize("kind", ["gnll", "beta", "rmsle", "l1"])
def test_a_members_loss_is_cross_entropy_and_a_weighted_depth_loss_at_full_size(kind):
    raw, (labels, depth) = make_raw(), make_truth()
    logits, mean, variance = upsampled(raw)
    options, by_depth = {
        "gnll": (MemberLoss(depth_weight=0.5), gaussian_nll(mean, variance, depth)),
        "beta": (MemberLoss(beta=0.5, depth_weight=0.5), gaussian_nll(mean, variance, depth, 0.5)),
        "rmsle": (MemberLoss("rmsle", depth_weight=0.5), rmsle(mean, depth)),
        "l1": (MemberLoss("l1", depth_weight=0.5), l1(mean, depth)),
    }[kind]
    terms = member_loss(raw, labels, depth, options)
    same(terms, {"ce": cross_entropy(logits, labels), "depth": 0.5 * by_depth})
    torch.testing.assert_close(total(terms), terms["ce"] + terms["depth"])


def test_relative_errors_count_by_the_true_depth_and_only_where_there_is_one():
    raw, (labels, depth) = make_raw(), make_truth()
    raw.depth.data[0, 0] -= 40  # below 0, where the ReLU would have no gradient
    terms = member_loss(raw, labels, depth, MemberLoss(relative_weight=2.0))
    mean = F.interpolate(raw.depth, SIZE, mode="bilinear")[:, :1]
    valid = torch.isfinite(depth)
    assert 0 < valid.sum() < valid.numel() and (mean[valid] < 0).any()
    expected = 2 * ((mean - depth).abs() / depth)[valid].mean()
    torch.testing.assert_close(terms["relative"], expected)
    (gradient,) = torch.autograd.grad(terms["relative"], raw.depth, retain_graph=True)
    assert (gradient[0, 0] < 0).any()  # a step makes these means larger
    torch.testing.assert_close(total(terms), terms["ce"] + terms["depth"] + terms["relative"])


def test_class_weights_reach_the_cross_entropy_of_members_and_students():
    raw, truth, weights = make_raw(), make_truth(), torch.arange(1.0, CLASSES + 1)
    weighted = cross_entropy(upsampled(raw)[0], truth[0], weights)
    assert weighted > 1.5 * cross_entropy(upsampled(raw)[0], truth[0])
    for terms in (
        member_loss(raw, *truth, MemberLoss(), weights),
        student_loss(raw, make_teacher(), make_batch(), StudentLoss(), class_weights=weights),
    ):
        torch.testing.assert_close(terms["ce"], weighted)


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, CLASSES + 1)])
def test_terms_can_be_averages_over_the_frames(weights, monkeypatch):
    monkeypatch.setattr(losses, "MIN_FRAME_PIXELS", 1)
    raw, batch = make_raw(), make_batch()
    batch["labels"][1, :30], batch["depth"][1, :, :30] = IGNORE, math.nan
    truth = batch["labels"], batch["depth"]
    options = StudentLoss(relative_weight=2.0, depth_weight=0.5, average="frames")
    each = [
        member_loss(
            RawOutputs(*(x[i : i + 1] for x in raw)),
            *(x[i : i + 1] for x in truth),
            replace(options.supervised, average="pixels"),
            weights,
        )
        for i in range(2)
    ]
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in ("ce", "depth", "relative")}
    same(member_loss(raw, *truth, options.supervised, weights), expected)
    terms = student_loss(raw, make_teacher(), batch, options, class_weights=weights)
    same({name: terms[name] for name in expected}, expected)


def test_a_network_with_one_decoder_has_one_term():
    raw, truth = make_raw(), make_truth()
    assert list(member_loss(RawOutputs(raw.logits, None), *truth, MemberLoss())) == ["ce"]
    assert list(member_loss(RawOutputs(None, raw.depth), *truth, MemberLoss())) == ["depth"]


# The student's loss


def test_the_students_loss_has_the_papers_four_terms_and_weights():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch()
    (logits, mean, variance), depth = upsampled(raw), batch["depth"]
    terms = student_loss(raw, teacher, batch, StudentLoss(), SKY)
    same(
        terms,
        {
            "ce": cross_entropy(logits, batch["labels"]),
            "depth": gaussian_nll(mean, variance, depth),
            "kl": 10 * kl_divergence(logits, teacher.probabilities),
            "variance": rmsle(variance, teacher.depth_variance, torch.isfinite(depth)),
        },
    )
    assert total(terms).item() == pytest.approx(sum(x.item() for x in terms.values()), rel=1e-6)


def test_every_option_reaches_its_term():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch()
    (logits, mean, variance), labels = upsampled(raw), batch["labels"]
    weights = {"depth_weight": 2, "kl_weight": 3, "variance_weight": 4, "temperature": 2}
    pixels = {"kl_pixels": "labelled", "variance_pixels": "not_sky"}
    options = StudentLoss("l1", reverse_kl=True, log_variance=True, **weights, **pixels)
    terms = student_loss(raw, teacher, batch, options, SKY)
    labelled = labels != IGNORE
    not_sky = torch.where(labelled, labels.long(), teacher.probabilities.argmax(1)) != SKY
    kl = kl_divergence(logits, teacher.probabilities, labelled, temperature=2, reverse=True)
    spread = rmsle(variance, teacher.depth_variance, not_sky[:, None], log_variance)
    expected = {"ce": cross_entropy(logits, labels), "depth": 2 * l1(mean, batch["depth"])}
    same(terms, expected | {"kl": 3 * kl, "variance": 4 * spread})


def test_terms_without_weight_are_not_computed():
    options = StudentLoss(depth_weight=0, kl_weight=0, variance_weight=0)
    assert list(student_loss(make_raw(), make_teacher(), make_batch(), options)) == ["ce"]


def test_a_student_of_one_task_has_the_terms_of_that_task():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch()
    seg, depth = RawOutputs(raw.logits, None), RawOutputs(None, raw.depth)
    assert list(student_loss(seg, teacher, batch, StudentLoss(), SKY)) == ["ce", "kl"]
    alone = Prediction(None, teacher.depth_mean, teacher.depth_variance)
    assert list(student_loss(depth, alone, batch, StudentLoss(), SKY)) == ["depth", "variance"]
    with pytest.raises(ValueError, match="predicts class probabilities, but its teacher"):
        student_loss(raw, alone, batch, StudentLoss())
    with pytest.raises(ValueError, match="predicts depth, but its teacher"):
        student_loss(raw, Prediction(teacher.probabilities), batch, StudentLoss())


# Frames without ground truth


def test_frames_without_ground_truth_are_refused_unless_the_teachers_mean_has_weight():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch((True, False))
    with pytest.raises(ValueError, match="Set `mean_weight` above 0"):
        student_loss(raw, teacher, batch, StudentLoss())
    assert student_loss(raw, teacher, batch, StudentLoss(mean_weight=1))["mean"] > 0
    seg = RawOutputs(raw.logits, None)
    assert student_loss(seg, teacher, batch, StudentLoss())["kl"] > 0
    batch = make_batch()
    batch["depth"][1] = math.nan  # a frame with ground truth, but without a valid depth
    assert "mean" not in student_loss(raw, teacher, batch, StudentLoss())


def test_unlabelled_frames_use_the_teachers_mean_where_its_class_is_not_sky():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch((False, False))
    terms = student_loss(raw, teacher, batch, StudentLoss(mean_weight=0.5), SKY)
    _, mean, variance = upsampled(raw)
    seen = (teacher.probabilities.argmax(1) != SKY)[:, None]
    assert 0 < seen.double().mean() < 1
    off = (mean - teacher.depth_mean).abs() / (teacher.depth_variance + 1e-4).sqrt()
    torch.testing.assert_close(terms["mean"], 0.5 * off[seen].mean())
    torch.testing.assert_close(terms["variance"], rmsle(variance, teacher.depth_variance, seen))
    assert terms["ce"] == 0
    assert terms["depth"] == 0


def test_in_mixed_batches_each_frame_has_the_terms_of_its_ground_truth():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch((True, False))
    options = StudentLoss(mean_weight=1, kl_pixels="labelled")
    terms = student_loss(raw, teacher, batch, options, SKY)
    # The ground truth of the other frame has no effect.
    batch["labels"][1], batch["depth"][1] = 0, 1.0
    same(student_loss(raw, teacher, batch, options, SKY), terms)

    def has_gradient(name):
        found = torch.autograd.grad(terms[name], raw, retain_graph=True, allow_unused=True)
        return [any(bool(x[i].any()) for x in found if x is not None) for i in range(2)]

    assert has_gradient("ce") == has_gradient("depth") == [True, False]
    assert has_gradient("mean") == [False, True]
    assert has_gradient("kl") == has_gradient("variance") == [True, True]


@pytest.mark.parametrize("kl_pixels", ["all", "labelled"])
@pytest.mark.parametrize("variance_pixels", ["measured", "not_sky"])
def test_padding_has_no_effect(kl_pixels, variance_pixels):
    """Also in frames without ground truth, where otherwise every pixel counts."""
    raw, teacher, batch = make_raw(), make_teacher(), make_batch((True, False))
    inside, labels = batch["inside"], batch["labels"]
    inside[0, 12:], inside[1, :, :7] = False, False
    labels[~inside], batch["depth"][~inside[:, None]] = IGNORE, math.nan
    options = StudentLoss(mean_weight=1, kl_pixels=kl_pixels, variance_pixels=variance_pixels)
    terms = student_loss(raw, teacher, batch, options, SKY)

    outside = ~inside[:, None]
    other = Prediction(
        teacher.probabilities.roll(1, dims=1).where(outside, teacher.probabilities),
        (teacher.depth_mean + 9).where(outside, teacher.depth_mean),
        (teacher.depth_variance + 9).where(outside, teacher.depth_variance),
    )
    same(student_loss(raw, other, batch, options, SKY), terms)
    everywhere = batch | {"inside": torch.ones_like(inside)}
    without = student_loss(raw, teacher, everywhere, options, SKY)
    assert all(terms[name] != without[name] for name in ("kl", "variance", "mean"))

    logits, _, _ = upsampled(raw)
    each = F.kl_div(logits.log_softmax(1), teacher.probabilities, reduction="none").sum(1)
    counted = inside.clone()
    if kl_pixels == "labelled":
        counted[0] &= labels[0] != IGNORE
    torch.testing.assert_close(terms["kl"], 10 * each[counted].mean())


# Shares of the gradient


def test_a_certain_teacher_that_is_right_has_ten_elevenths_of_the_logits_gradient():
    raw, teacher, batch = make_raw(), make_teacher(), make_batch()
    batch["labels"][batch["labels"] == IGNORE] = 0
    certain = F.one_hot(batch["labels"].long(), CLASSES).movedim(-1, 1).float()
    right = replace(teacher, probabilities=certain)
    terms = student_loss(raw, right, batch, StudentLoss(), SKY)
    shares = gradient_shares(terms, raw)
    assert shares["logits/ce"] == pytest.approx(1 / 11, rel=1e-4)
    assert shares["logits/kl"] == pytest.approx(10 / 11, rel=1e-4)
    assert shares["logits/depth"] == shares["logits/variance"] == 0
    assert shares["depth_mean/depth"] == 1
    assert shares["depth_mean/variance"] == shares["depth_variance/kl"] == 0
    total(terms).backward()  # the graph is still there


def test_shares_are_norms_of_gradients_at_the_raw_outputs_and_sum_to_one():
    raw, batch = make_raw(), make_batch((True, False))
    terms = student_loss(raw, make_teacher(), batch, StudentLoss(mean_weight=1), SKY)
    shares = gradient_shares(terms, raw)
    names = {f"{o}/{t}" for o in ("logits", "depth_mean", "depth_variance") for t in terms}
    assert shares.keys() == names
    for output in ("logits", "depth_mean", "depth_variance"):
        assert sum(shares[f"{output}/{t}"] for t in terms) == pytest.approx(1)
    norm = {
        t: torch.autograd.grad(terms[t], raw.depth, retain_graph=True)[0][:, 1].norm().item()
        for t in ("depth", "variance")
    }
    ratio = shares["depth_variance/variance"] / shares["depth_variance/depth"]
    assert ratio == pytest.approx(norm["variance"] / norm["depth"], rel=1e-4)
    alone = RawOutputs(None, raw.depth)
    terms = member_loss(alone, batch["labels"], batch["depth"], MemberLoss())
    assert "logits/depth" not in gradient_shares(terms, alone)


def test_without_any_gradient_all_shares_are_zero():
    raw, (labels, depth) = make_raw(), make_truth()
    labels[:], depth[:] = IGNORE, math.nan
    assert set(gradient_shares(member_loss(raw, labels, depth, MemberLoss()), raw).values()) == {0}


@pytest.mark.parametrize("variance", [0.0, 1e-8, 1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("log", [False, True])
def test_everything_is_finite_whatever_the_teachers_variance(variance, log):
    raw, batch = make_raw(), make_batch((True, False))
    certain = F.one_hot(torch.zeros(2, *SIZE, dtype=torch.long), CLASSES).movedim(-1, 1).float()
    teacher = Prediction(certain, *torch.full((2, 2, 1, *SIZE), variance))
    options = StudentLoss(mean_weight=1, log_variance=log)
    terms = student_loss(raw, teacher, batch, options, SKY)
    assert total(terms).isfinite()
    assert all(x.isfinite().all() for x in torch.autograd.grad(total(terms), raw))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "huber"}, "a depth loss of gnll, rmsle, l1, but got 'huber'"),
        ({"segmentation": "dice"}, "a segmentation loss of cross_entropy, but got 'dice'"),
    ],
)
def test_unknown_losses_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StudentLoss(**options)
