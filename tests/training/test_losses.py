"""Losses against torch's own and against closed forms of their gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.labels import IGNORE
from emu_core.training import losses
from emu_core.training.losses import (
    MIN_VARIANCE,
    cross_entropy,
    gaussian_nll,
    kl_divergence,
    l1,
    log_variance,
    mean_of_frames,
    rmsle,
)

TERMS = {
    "cross-entropy": lambda x, d: cross_entropy(x, d["labels"]),
    "kl": lambda x, d: kl_divergence(x, d["teacher"], d["mask"]),
    "kl of all pixels": lambda x, d: kl_divergence(x, d["teacher"], temperature=2),
    "gnll": lambda x, d: gaussian_nll(x[:, :1], x[:, 1:2].exp(), d["depth"]),
    "beta-nll": lambda x, d: gaussian_nll(x[:, :1], x[:, 1:2].exp(), d["depth"], 0.5),
    "l1": lambda x, d: l1(x[:, :1], d["depth"]),
    "rmsle": lambda x, d: rmsle(x[:, :1].exp(), d["depth"]),
    "frames": lambda x, d: mean_of_frames(cross_entropy, d["mask"], x, d["labels"]),
    "depth of frames": lambda x, d: mean_of_frames(l1, d["mask"], x[:, :1], d["depth"]),
}


def gradients(loss, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def unequal_parts(share):
    """Student maps and targets of three images; `share` of the last two is valid."""
    g = torch.Generator().manual_seed(9)
    x = torch.randn(3, 19, 6, 10, generator=g)
    left = torch.rand(3, 6, 10, generator=g) < torch.tensor([0.9, share, share]).view(3, 1, 1)
    labels = torch.randint(0, 19, (3, 6, 10), generator=g).where(left, IGNORE)
    depth = (20 * torch.rand(3, 6, 10, generator=g)).where(left, math.nan)[:, None]
    teacher = torch.randn(x.shape, generator=g).softmax(1)
    return x, {"labels": labels, "mask": left, "depth": depth, "teacher": teacher}


def split(x, data):
    """The first image for one process, the other two for another."""
    parts = (slice(1), slice(1, 3))
    return [(x[i], {name: value[i] for name, value in data.items()}) for i in parts]


def depths():
    """Mean, variance and target (3, 1, 6, 10); some targets NaN."""
    x, data = unequal_parts(0.5)
    return 40 + 15 * x[:, :1], (2 * x[:, 1:2] + 1).exp(), data["depth"]


# All terms


@pytest.mark.parametrize("name", sorted(set(TERMS) - {"kl of all pixels"}))
def test_invalid_pixels_have_no_gradient_and_without_valid_ones_a_term_is_zero(name):
    x, data = unequal_parts(0.5)
    _, gradient = gradients(lambda z: TERMS[name](z, data), x)
    used = gradient.abs().sum(1) > 0
    assert torch.equal(used, data["mask"])
    x, data = split(*unequal_parts(0.0))[1]
    value, gradient = gradients(lambda z: TERMS[name](z, data), x)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", sorted(TERMS))
def test_terms_are_in_float32_under_autocast(name):
    x, data = unequal_parts(0.5)
    half = x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = gradients(lambda z: TERMS[name](z, data), half)
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()
    if "nll" not in name and name != "rmsle":  # there, the test takes an exponential in bfloat16
        torch.testing.assert_close(value, TERMS[name](half.float(), data))


# Cross-entropy


@pytest.mark.parametrize("labelled", [0.5, 1.0])
def test_cross_entropy_and_its_gradient_are_torchs_on_nchw(labelled):
    x, data = unequal_parts(labelled)
    ours = gradients(lambda z: cross_entropy(z, data["labels"]), x)
    theirs = gradients(lambda z: F.cross_entropy(z, data["labels"], ignore_index=IGNORE), x)
    torch.testing.assert_close(ours, theirs)


def test_cross_entropy_follows_a_hand_computation():
    logits = torch.tensor([[[[0.0, 1.0, 9.0]], [[math.log(3), 1.0, 2.0]]]])  # (1, 2, 1, 3)
    labels = torch.tensor([[[0, 1, IGNORE]]], dtype=torch.uint8)
    expected = (math.log(4) + math.log(2)) / 2
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_class_weights_multiply_the_pixels_of_their_class():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]]).T.reshape(1, 2, 1, 2)
    labels = torch.tensor([[[0, 1]]], dtype=torch.uint8)  # p = 1/4 both
    value = cross_entropy(logits, labels, torch.tensor([3.0, 0.5]))
    assert value.item() == pytest.approx((3.0 + 0.5) * math.log(4) / 2, rel=1e-6)


# Gaussian negative log-likelihood


def test_the_gaussian_loss_and_its_gradients_are_torchs():
    mean, variance, target = depths()
    target = target.nan_to_num(30.0)
    ours = gradients(lambda m, v: gaussian_nll(m, v, target), mean, variance)
    # torch's clamps variances from below instead of adding a minimum.
    theirs = gradients(
        lambda m, v: F.gaussian_nll_loss(m, target, v + MIN_VARIANCE, eps=0), mean, variance
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0])
def test_beta_weights_each_pixel_by_its_variance(beta, nothing):
    """Value and gradients in closed form; pixels without depth do not count."""
    mean, variance, target = depths()
    valid = torch.isfinite(target)
    value, by_mean, by_variance = gradients(
        lambda m, v: gaussian_nll(m, v, torch.where(valid, target, nothing), beta), mean, variance
    )
    off = torch.where(valid, mean - target, 0).double()
    s2 = variance.double() + MIN_VARIANCE
    weight = torch.where(valid, s2**beta, 0) / valid.sum()  # a constant without gradient
    expected = (weight * 0.5 * (off**2 / s2 + s2.log())).sum()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(by_mean.double(), weight * off / s2, rtol=1e-4, atol=1e-9)
    slope = weight * 0.5 * (1 / s2 - off**2 / s2**2)
    torch.testing.assert_close(by_variance.double(), slope, rtol=1e-3, atol=1e-7)
    if beta == 1:  # the mean then has the gradient of the squared error
        _, squared = gradients(lambda m: 0.5 * F.mse_loss(m[valid], target[valid]), mean)
        torch.testing.assert_close(by_mean, squared, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("variance", [0.0, 1e-8, 1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("off", [0.0, 1e-3, 1.0, 80.0])
def test_the_gaussian_loss_is_finite_for_every_variance_and_at_equality(variance, off, beta):
    mean, target = torch.tensor([40.0 + off]), torch.tensor([40.0])
    found = gradients(
        lambda m, v: gaussian_nll(m, v, target, beta), mean, torch.tensor([variance])
    )
    assert all(torch.isfinite(x).all() for x in found)
    s2 = variance + MIN_VARIANCE
    d = float(mean - target)
    expected = s2**beta * 0.5 * (d**2 / s2 + math.log(s2))
    assert found[0].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


# L1


@pytest.mark.parametrize("scale", [None, torch.tensor([0.5, 3.0, 0.0])])
def test_l1_is_the_mean_absolute_error_of_valid_pixels_in_units_of_a_scale(scale):
    mean, target = torch.tensor([10.0, 20.0, 5.0]), torch.tensor([12.0, 17.0, math.nan])
    value, gradient = gradients(lambda m: l1(m, target, scale), mean)
    first, second = (1.0, 1.0) if scale is None else (0.5, 3.0)
    assert value.item() == pytest.approx((2 / first + 3 / second) / 2)
    torch.testing.assert_close(gradient, torch.tensor([-0.5 / first, 0.5 / second, 0.0]))


# RMSLE

LOGARITHMS = [(torch.log1p, np.log1p), (log_variance, lambda x: np.log(x + MIN_VARIANCE))]


def rmsle_by_hand(a, b, valid, log=np.log1p):
    """Value and gradient with respect to `a`, image by image, in float64."""
    valid = (valid & b.isfinite()).numpy()
    a, b = (x.double().numpy() for x in (a, b))
    values, gradient = [], np.zeros_like(a)
    images = [i for i in range(len(a)) if valid[i].any()]
    for i in images:
        off = (log(a[i]) - log(b[i]))[valid[i]]
        values.append(np.sqrt(np.mean(off**2)))
        slope = 1 / (1 + a[i]) if log is np.log1p else 1 / (a[i] + MIN_VARIANCE)
        gradient[i][valid[i]] = off * slope[valid[i]] / (off.size * values[-1] * len(images))
    return np.mean(values), gradient.astype(np.float32)


@pytest.mark.parametrize(("logarithm", "log"), LOGARITHMS)
def test_rmsle_is_a_root_per_image_and_a_mean_over_images_with_a_valid_pixel(logarithm, log):
    mean, variance, target = depths()
    teacher = (mean / 20).exp()
    mask = torch.isfinite(target)
    mask[1, :, 2:] = False  # far fewer pixels than the other image: it still counts a half
    for _ in range(2):
        value, gradient = gradients(lambda v: rmsle(v, teacher, mask, logarithm), variance)
        expected, slope = rmsle_by_hand(variance, teacher, mask, log)
        assert value.item() == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(gradient, torch.from_numpy(slope), rtol=1e-3, atol=1e-7)
        teacher[0], mask[0] = math.nan, True  # now the first image has no valid pixel


def test_log1p_is_insensitive_to_small_variances_and_the_logarithm_is_not():
    near, far = (torch.tensor([[a**2]]) for a in (0.1, 0.3))
    assert rmsle(near, far).item() == pytest.approx(0.0762, abs=1e-3)
    assert rmsle(900 * near, 900 * far).item() == pytest.approx(2.1, abs=0.03)
    assert rmsle(near, far, logarithm=log_variance).item() == pytest.approx(math.log(9), abs=0.01)


@pytest.mark.parametrize(("logarithm", "log"), LOGARITHMS)
@pytest.mark.parametrize("half", [False, True])
def test_rmsle_is_finite_for_every_pair_of_variances_and_zero_at_equality(logarithm, log, half):
    grid = torch.tensor([0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6, 1e8])
    grid = grid.bfloat16() if half else grid
    a, b = (x.reshape(-1, 1) for x in torch.meshgrid(grid, grid, indexing="ij"))  # an image each
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        for estimate, target in ((a, b), *((a[i : i + 1], b[i : i + 1]) for i in range(len(a)))):
            value, gradient = gradients(
                lambda v, target=target: rmsle(v, target, logarithm=logarithm), estimate
            )
            assert value.isfinite()
            assert gradient.isfinite().all()
    expected = np.abs(log(a.double().numpy()) - log(b.double().numpy())).mean()
    assert rmsle(a, b, logarithm=logarithm).item() == pytest.approx(expected, rel=1e-5)
    value, gradient = gradients(lambda v: rmsle(v, a, logarithm=logarithm), a)
    assert value.item() == pytest.approx(0, abs=2e-6)
    assert not gradient.any()


# KL divergence


@pytest.fixture
def kl_data():
    """Teacher's probabilities and student's logits (3, 19, 6, 10), and a mask of some pixels."""
    x, data = unequal_parts(0.5)
    return data["teacher"], 3 * x, data["mask"]


@pytest.mark.parametrize("masked", [False, True])
def test_kl_sums_over_classes_and_averages_over_pixels(masked, kl_data):
    teacher, logits, mask = kl_data
    pixels = mask.sum() if masked else mask.numel()
    shown = mask[:, None] if masked else torch.ones(1, dtype=torch.bool)
    value, gradient = gradients(
        lambda z: kl_divergence(z, teacher, mask if masked else None), logits
    )
    each = F.kl_div(logits.double().log_softmax(1), teacher.double(), reduction="none")
    assert value.item() == pytest.approx(((each * shown).sum() / pixels).item(), rel=1e-5)
    expected = (logits.softmax(1) - teacher) * shown / pixels
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_temperature_softens_both_and_keeps_the_size_of_the_gradient(temperature, kl_data):
    teacher, logits, _ = kl_data
    value, gradient = gradients(
        lambda z: kl_divergence(z, teacher, temperature=temperature), logits
    )
    soft, hard = (logits / temperature).softmax(1), (teacher.log() / temperature).softmax(1)
    expected = temperature**2 * F.kl_div(soft.log(), hard, reduction="sum") / 180
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(gradient, temperature * (soft - hard) / 180, rtol=1e-3, atol=1e-7)


def test_the_reverse_direction_is_kl_of_student_from_teacher(kl_data):
    teacher, logits, _ = kl_data
    value = kl_divergence(logits, teacher, reverse=True)
    student, reference = (
        torch.distributions.Categorical(probs=p.double().movedim(1, -1))
        for p in (logits.softmax(1), teacher)
    )
    expected = torch.distributions.kl_divergence(student, reference).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert value.item() != pytest.approx(kl_divergence(logits, teacher).item(), rel=1e-3)


@pytest.mark.parametrize("reverse", [False, True])
def test_kl_at_equality_is_zero_with_zero_gradient_and_finite_at_the_extremes(reverse):
    logits = torch.tensor([[0.0, 80.0, -400.0], [0.0, 0.0, 400.0]]).t().reshape(3, 2, 1, 1)
    value, gradient = gradients(
        lambda z: kl_divergence(z, z.detach().softmax(1), reverse=reverse), logits[:1]
    )
    assert value.item() == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    for teacher in (logits, -logits, logits.flip(0)):
        with torch.autocast("cpu", torch.bfloat16):
            value, gradient = gradients(
                lambda z, t=teacher: kl_divergence(z, t.softmax(1), reverse=reverse),
                logits.bfloat16(),
            )
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_a_teacher_stored_in_half_precision_is_normalised_again(kl_data):
    teacher, logits, _ = kl_data
    value, gradient = gradients(lambda z: kl_divergence(z, 1.001 * teacher), logits)
    assert value.item() == pytest.approx(kl_divergence(logits, teacher).item(), rel=1e-5)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(3, 6, 10), atol=1e-8, rtol=0)


def test_other_classes_and_temperatures_are_refused(kl_data):
    teacher, logits, _ = kl_data
    with pytest.raises(ValueError, match="of one shape"):
        kl_divergence(logits[:, :5], teacher)
    with pytest.raises(ValueError, match="`temperature` above 0, but got 0"):
        kl_divergence(logits, teacher, temperature=0)


# Frames of equal weight


def test_sparse_frames_have_the_weight_of_dense_ones_unless_they_have_very_few_pixels(monkeypatch):
    monkeypatch.setattr(losses, "MIN_FRAME_PIXELS", 4)
    truth = torch.full((4, 1, 5, 5), math.nan)
    truth[0] = 10.0  # 25 pixels, all wrong by 1 m
    truth[1, 0, 0, :4] = 10.0  # 4 pixels, wrong by 3 m
    truth[2, 0, 2, 2] = 10.0  # 1 pixel: a quarter of the weight, wrong by 9 m; the last has none
    mean = 10 + torch.tensor([1.0, 3.0, 9.0, 5.0]).view(4, 1, 1, 1).expand(truth.shape)
    value, gradient = gradients(lambda m: mean_of_frames(l1, truth.isfinite(), m, truth), mean)
    assert value.item() == pytest.approx((1 + 3 + 9 / 4) / 2.25)
    expected = torch.tensor([1 / 25, 1 / 4, 1 / 4, 0]).view(4, 1, 1, 1) / 2.25
    torch.testing.assert_close(gradient, expected * truth.isfinite())


# Several processes: `test_distributed` runs two


@pytest.mark.parametrize("second", [0.1, 0.0], ids=["few pixels", "no pixel"])
@pytest.mark.parametrize("name", TERMS)
def test_unequal_parts_of_a_batch_give_the_loss_and_gradients_of_the_joint_batch(
    name, second, monkeypatch
):
    loss, (x, data) = TERMS[name], unequal_parts(second)
    joint, gradient = gradients(lambda z: loss(z, data), x)
    alone = [gradients(lambda z, d=d: loss(z, d), z)[1] for z, d in split(x, data)]
    assert not torch.allclose(torch.cat(alone) / 2, gradient), "the test must be hard"

    counts = []
    mean_count = "_mean_over_processes"
    monkeypatch.setattr(losses, mean_count, lambda count: counts.append(count) or count)
    for part in split(x, data):
        loss(*part)
    assert len(counts) == 2  # once in each process, whatever the batch holds
    assert counts[0] != counts[1]
    monkeypatch.setattr(losses, mean_count, lambda _: (counts[0] + counts[1]) / 2)
    parts = [gradients(lambda z, d=d: loss(z, d), z) for z, d in split(x, data)]
    torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, joint)
    averaged = torch.cat([parts[0][1], parts[1][1]]) / 2  # as DDP averages gradients
    torch.testing.assert_close(averaged, gradient, rtol=1e-5, atol=1e-9)
