"""Losses and class weights for labels that stand for several classes, and for partial truth."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.data.sample import Sample, partial_sample
from emu_core.labels import IGNORE, class_table
from emu_core.methods.prediction import Prediction
from emu_core.networks.models import RawOutputs
from emu_core.training.build import class_weights
from emu_core.training.losses import cross_entropy, kl_divergence
from emu_core.training.objectives import MemberLoss, StudentLoss, member_loss, student_loss

C = 6
SETS = ((0, 1, 3), (4, 5))  # codes 6 and 7
GROUPS = ((0, 1, 3), (2,), (4, 5))
MODEL = class_table({"name": "six", "classes": list("abcdef")}, "six.yaml")


def logits_and_codes(seed=0, shape=(2, 5, 7), scale=3.0, codes=(*range(8), IGNORE)):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, scale, (shape[0], C, *shape[1:]))).float()
    return logits, torch.from_numpy(rng.choice(np.array(codes, np.uint8), shape))


def by_definition(logits, codes, weights=None):
    """Mean of −w log Σp, label by label, in float64 from the softmax itself."""
    p = logits.double().softmax(1).movedim(1, -1).reshape(-1, C)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row, code in zip(p, codes.ravel().tolist(), strict=True):
        if code == IGNORE:
            continue
        members = list(SETS[code - C]) if code >= C else [code]
        weight = 1.0 if weights is None else weights.double()[members].mean()
        total, count = total - weight * row[members].sum().log(), count + 1
    return total / count


def with_gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0]


# Cross-entropy


@pytest.mark.parametrize("weights", [None, torch.linspace(0.2, 3, C)])
def test_the_loss_of_a_set_is_minus_the_log_of_its_summed_probability(weights):
    logits, codes = logits_and_codes()
    ours = with_gradient(lambda x: cross_entropy(x, codes, weights, SETS), logits)
    naive = with_gradient(lambda x: by_definition(x, codes, weights), logits)
    torch.testing.assert_close(ours[0].double(), naive[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours[1], naive[1], rtol=1e-4, atol=1e-8)


def test_the_gradient_of_a_set_is_that_of_finite_differences_and_its_closed_form():
    """d/dz (−log Σ_S p) = p − p·[S] / Σ_S p."""
    logits, codes = logits_and_codes(1, (1, 2, 3), codes=(6, 7))
    _, gradient = with_gradient(lambda x: cross_entropy(x, codes, None, SETS), logits)
    p = logits.double().softmax(1)
    inside = torch.zeros(p.shape, dtype=torch.float64)
    for frame, row, column in np.ndindex(codes.shape):
        inside[frame, list(SETS[codes[frame, row, column] - C]), row, column] = 1
    closed = (p - p * inside / (p * inside).sum(1, keepdim=True)) / codes.numel()
    torch.testing.assert_close(gradient.double(), closed, rtol=1e-4, atol=1e-7)
    for index in np.ndindex(logits.shape):
        step = torch.zeros(logits.shape, dtype=torch.float64)
        step[index] = 1e-5
        ahead, behind = (by_definition(logits.double() + s, codes) for s in (step, -step))
        slope = ((ahead - behind) / 2e-5).item()
        assert gradient[index].item() == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_a_hand_made_set():
    logits = torch.tensor([1.0, 2.0, 5.0, 3.0, 7.0, 0.0]).log().clamp_min(-99).view(1, C, 1, 1)
    codes = torch.tensor([[[C]]], dtype=torch.uint8)
    assert cross_entropy(logits, codes, None, SETS).item() == pytest.approx(math.log(3), rel=1e-6)
    weights = torch.tensor([1.0, 2.0, 9.0, 3.0, 9.0, 9.0])
    weighted = cross_entropy(logits, codes, weights, SETS).item()
    assert weighted == pytest.approx(2 * math.log(3), rel=1e-6)


def test_half_precision_gives_the_value_of_the_same_numbers_in_float32():
    logits, codes = logits_and_codes(2)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = cross_entropy(half, codes, None, SETS)
    assert value.dtype == torch.float32
    assert torch.equal(value, cross_entropy(half.float(), codes, None, SETS))


@pytest.mark.parametrize("weights", [None, torch.linspace(0.2, 3, C)])
@pytest.mark.parametrize("sets", [(), SETS], ids=["no sets", "sets without a pixel"])
def test_one_to_one_maps_give_torchs_cross_entropy_bit_for_bit(weights, sets):
    logits, codes = logits_and_codes(3, codes=(*range(C), IGNORE))
    ours = with_gradient(lambda x: cross_entropy(x, codes, weights, sets), logits)

    def plain(x):
        rows, labels = x.permute(0, 2, 3, 1).reshape(-1, C), codes.long().ravel()
        total = F.cross_entropy(rows, labels, weights, ignore_index=IGNORE, reduction="sum")
        return total / (codes != IGNORE).sum()

    assert all(torch.equal(a, b) for a, b in zip(ours, with_gradient(plain, logits), strict=True))


def test_without_labels_value_and_gradient_are_zero():
    logits, codes = logits_and_codes(codes=(IGNORE,))
    value, gradient = with_gradient(lambda x: cross_entropy(x, codes, None, SETS), logits)
    assert value == 0 and not gradient.any()


def test_extreme_logits_have_finite_losses_and_gradients():
    logits = torch.tensor([-400.0, -300.0, 400.0, -350.0, 0.0, 100.0]).view(1, C, 1, 1)
    for code in range(8):
        codes = torch.tensor([[[code]]], dtype=torch.uint8)
        value, gradient = with_gradient(lambda x, c=codes: cross_entropy(x, c, None, SETS), logits)
        assert value.isfinite() and gradient.isfinite().all()


# KL divergence


def coarse(p, groups=GROUPS):
    return torch.stack([p[:, list(group)].sum(1) for group in groups], 1)


@pytest.fixture
def pair():
    """The student's logits and the teacher's probabilities, (2, C, 5, 7)."""
    return logits_and_codes(4)[0], logits_and_codes(5)[0].softmax(1)


@pytest.mark.parametrize("reverse", [False, True])
def test_kl_compares_the_sums_within_groups(pair, reverse):
    logits, teacher = pair
    ours = with_gradient(
        lambda x: kl_divergence(x, teacher, reverse=reverse, groups=[GROUPS, GROUPS]), logits
    )

    def naive(x):
        student, reference = (
            torch.distributions.Categorical(coarse(p).movedim(1, -1))
            for p in (x.double().softmax(1), teacher.double())
        )
        order = (student, reference) if reverse else (reference, student)
        return torch.distributions.kl_divergence(*order).mean()

    expected = with_gradient(naive, logits)
    torch.testing.assert_close(ours[0].double(), expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-3, atol=1e-7)


def test_single_groups_and_no_groups_are_the_plain_divergence(pair):
    logits, teacher = pair
    plain = kl_divergence(logits, teacher)
    single = tuple((k,) for k in range(C))
    torch.testing.assert_close(kl_divergence(logits, teacher, groups=[single] * 2), plain)
    assert torch.equal(kl_divergence(logits, teacher, groups=[None, None]), plain)
    everything = kl_divergence(logits, teacher, groups=[(tuple(range(C)),)] * 2)
    assert everything.item() == pytest.approx(0, abs=1e-6)


def test_each_frame_has_its_own_groups_also_with_a_mask_and_a_temperature(pair):
    logits, teacher = pair
    mask = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    value = kl_divergence(logits, teacher, mask, temperature=2, groups=[None, GROUPS])
    student, reference = (logits / 2).softmax(1), (teacher.log() / 2).softmax(1)
    each = [
        F.kl_div(s.log(), t, reduction="none").sum(1)[0]
        for s, t in (
            (student[:1], reference[:1]),
            (coarse(student[1:]), coarse(reference[1:])),
        )
    ]
    expected = 4 * torch.stack(each)[mask].mean()
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


# The student's loss on partial truth

SIZE = (8, 12)


@pytest.fixture
def student():
    """Raw outputs of a student, its teacher's prediction, and a batch of four frames.

    Its frames have labels without depth, depth without labels, neither, and both. The third one
    has garbage where it has no truth.
    """
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, C, 2, 3, generator=g).requires_grad_()
    depth = (torch.randn(4, 2, 2, 3, generator=g) + 5).requires_grad_()
    teacher = Prediction(
        torch.randn(4, C, *SIZE, generator=g).softmax(1),
        *(5 + torch.rand(2, 4, 1, *SIZE, generator=g)),
    )
    batch = {
        "labels": torch.randint(0, 8, (4, *SIZE), dtype=torch.uint8, generator=g),
        "depth": 5 + torch.rand(4, 1, *SIZE, generator=g),
        "labelled": torch.tensor([True, False, False, True]),
        "measured": torch.tensor([False, True, False, True]),
        "part": torch.tensor([1, 0, 0, 0]),
        "inside": torch.ones(4, *SIZE, dtype=torch.bool),
    }
    return RawOutputs(logits, depth), teacher, batch


def frames_with_gradient(term, output):
    (found,) = torch.autograd.grad(term, output, retain_graph=True, allow_unused=True)
    return [bool(frame.any()) for frame in found]


def test_each_frame_is_taught_what_it_has_and_the_rest_by_the_teacher(student):
    raw, teacher, batch = student
    options = StudentLoss(mean_weight=1.0)
    terms = student_loss(raw, teacher, batch, options, None, None, SETS)
    assert frames_with_gradient(terms["ce"], raw.logits) == [True, False, False, True]
    assert frames_with_gradient(terms["kl"], raw.logits) == [True] * 4
    assert frames_with_gradient(terms["depth"], raw.depth) == [False, True, False, True]
    assert frames_with_gradient(terms["mean"], raw.depth) == [True, False, True, False]
    assert frames_with_gradient(terms["variance"], raw.depth) == [True] * 4

    full = F.interpolate(raw.logits, SIZE, mode="bilinear")
    labels = batch["labels"].where(batch["labelled"].view(-1, 1, 1), IGNORE)
    torch.testing.assert_close(terms["ce"], cross_entropy(full, labels, None, SETS))
    mean = F.interpolate(raw.depth[:, :1], SIZE, mode="bilinear").relu()
    off = (mean - teacher.depth_mean).abs() / (teacher.depth_variance + 1e-4).sqrt()
    torch.testing.assert_close(terms["mean"], off[[0, 2]].mean())


def test_frames_without_any_truth_need_the_teachers_mean_but_partial_truth_does_not(student):
    raw, teacher, batch = student
    with pytest.raises(ValueError, match="Set `mean_weight` above 0"):
        student_loss(raw, teacher, batch, StudentLoss(), sets=SETS)
    batch["labelled"] = torch.tensor([True, False, True, True])
    terms = student_loss(raw, teacher, batch, StudentLoss(), sets=SETS)
    assert frames_with_gradient(terms["variance"], raw.depth) == [False, True, False, True]


def test_labelled_frames_of_a_coarse_data_set_are_distilled_in_its_groups(student):
    raw, teacher, batch = student
    options, groups = StudentLoss(mean_weight=1.0), [None, GROUPS]
    batch["part"] = torch.tensor([1, 1, 1, 0])  # only the first frame is labelled and coarse
    kl = student_loss(raw, teacher, batch, options, None, None, SETS, groups)["kl"]
    full = F.interpolate(raw.logits, SIZE, mode="bilinear")
    of_frames = [GROUPS, None, None, None]
    torch.testing.assert_close(
        kl, 10 * kl_divergence(full, teacher.probabilities, groups=of_frames)
    )
    plain = student_loss(raw, teacher, batch, options, None, None, SETS, [None, None])["kl"]
    torch.testing.assert_close(plain, 10 * kl_divergence(full, teacher.probabilities))
    assert plain > 1.01 * kl  # coarser distributions are closer


def test_a_set_with_the_sky_in_it_is_sky_where_the_teacher_says_so(student):
    raw, teacher, batch = student
    options = StudentLoss(mean_weight=1.0, variance_pixels="not_sky")
    batch["labels"][:], sky = C + 1, 4  # the set of the classes 4 and 5
    terms = student_loss(raw, teacher, batch, options, sky, None, SETS)
    mean = F.interpolate(raw.depth[:, :1], SIZE, mode="bilinear").relu()
    seen = (teacher.probabilities.argmax(1) != sky)[:, None]
    off = (mean - teacher.depth_mean).abs() / (teacher.depth_variance + 1e-4).sqrt()
    torch.testing.assert_close(terms["mean"], off[[0, 2]][seen[[0, 2]]].mean())


def test_a_member_learns_nothing_from_what_a_frame_lacks(student):
    raw, _, batch = student
    labels = batch["labels"].where(batch["labelled"].view(-1, 1, 1), IGNORE)
    depth = batch["depth"].where(batch["measured"].view(-1, 1, 1, 1), math.nan)
    terms = member_loss(raw, labels, depth, MemberLoss(), None, SETS)
    assert frames_with_gradient(terms["ce"], raw.logits) == [True, False, False, True]
    assert frames_with_gradient(terms["depth"], raw.depth) == [False, True, False, True]


def test_depth_of_an_unknown_camera_is_no_truth():
    image, depth = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.float32)
    sample = partial_sample("x", image, None, depth=depth)
    assert not sample.measured and np.isnan(sample.depth).all()
    assert partial_sample("x", image, (9.0, 9.0), depth=depth).measured


# Class weights


def mixture(*labels, sets=((0,), (1,), (2,), (0, 1, 3))):
    """A data set in memory, whose fourth class stands for several of the model's."""

    class Frames(list):
        space, title = LabelSpace(tuple("wxyz"), MODEL, sets), "frames"
        names = property(lambda self: [sample.name for sample in self])

        def has_labels(self, name):
            return name != "unlabelled"

    image, depth = np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.float32)
    frames = [Sample(str(i), image, x.reshape(10, 10), depth, None) for i, x in enumerate(labels)]
    return Mixture([Frames([*frames, partial_sample("unlabelled", image, None)])])


def counted(**pixels):
    names = {"w": 0, "x": 1, "y": 2, "z": 3, "ignored": IGNORE}
    return np.repeat(np.array([names[n] for n in pixels], np.uint8), list(pixels.values()))


def test_class_weights_follow_the_shares_of_the_labels_and_are_1_in_the_mean():
    frames = mixture(*[counted(w=64, x=4, ignored=32)] * 3)
    weights = class_weights(frames, 0.5)
    assert weights.shape == (C,)
    assert float(weights[1] / weights[0]) == pytest.approx(4.0)
    assert float(64 * weights[0] + 4 * weights[1]) == pytest.approx(68.0)
    assert class_weights(frames, 0.0) is None
    with pytest.raises(ValueError, match="has a labelled pixel"):
        class_weights(mixture(counted(ignored=100)), 0.5)


def test_a_class_that_was_not_seen_has_the_weight_of_the_rarest_one():
    weights = class_weights(mixture(counted(w=90, x=9, y=1)), 0.25)
    assert weights[3:].tolist() == [weights[2].item()] * 3
    assert weights.max() == weights[2]


def test_the_pixels_of_a_set_count_for_its_members_in_equal_parts():
    """40 + 10, 10 + 10, 20 and 10 pixels; one of the set has the mean weight of its members."""
    weights = class_weights(mixture(counted(w=40, x=10, y=20, z=30)), 1.0)
    torch.testing.assert_close(weights[:4] / weights[0], torch.tensor([1, 2.5, 2.5, 5]))
    of_set = weights[[0, 1, 3]].mean()
    mean = (40 * weights[0] + 10 * weights[1] + 20 * weights[2] + 30 * of_set) / 100
    assert mean.item() == pytest.approx(1.0)
