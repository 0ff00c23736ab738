"""Losses against torch's own and against closed forms of their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from emu_core.labels import IGNORE
from emu_core.losses import MIN_VARIANCE, cross_entropy, gaussian_nll


def scores_and_labels(seed=0, classes=19, ignored=0.3):
    g = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, classes, 6, 10, generator=g)
    labels = torch.randint(0, classes, (2, 6, 10), generator=g, dtype=torch.uint8)
    labels[torch.rand(labels.shape, generator=g) < ignored] = IGNORE
    return logits, labels


def depths(seed=0, invalid=0.3):
    """Mean, variance and target (2, 1, 6, 10); some targets NaN."""
    g = torch.Generator().manual_seed(seed)
    mean = 80 * torch.rand(2, 1, 6, 10, generator=g)
    variance = torch.exp(6 * torch.rand(mean.shape, generator=g) - 2)
    target = mean + variance.sqrt() * torch.randn(mean.shape, generator=g)
    target[torch.rand(mean.shape, generator=g) < invalid] = math.nan
    return mean, variance, target


def gradients(loss, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


# Cross-entropy


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_cross_entropy_and_its_gradient_are_torchs_on_nchw(ignored):
    logits, labels = scores_and_labels(ignored=ignored)
    value, gradient = gradients(lambda x: cross_entropy(x, labels), logits)
    expected, reference = gradients(
        lambda x: F.cross_entropy(x, labels.long(), ignore_index=IGNORE), logits
    )
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, reference)


def test_cross_entropy_follows_a_hand_computation():
    logits = torch.tensor([[[[0.0, 1.0, 9.0]], [[math.log(3), 1.0, 2.0]]]])  # (1, 2, 1, 3)
    labels = torch.tensor([[[0, 1, IGNORE]]], dtype=torch.uint8)
    expected = (math.log(4) + math.log(2)) / 2
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_class_weights_say_what_a_pixel_of_each_class_counts():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]]).T.reshape(1, 2, 1, 2)
    labels = torch.tensor([[[0, 1]]], dtype=torch.uint8)  # p = 1/4 both
    value = cross_entropy(logits, labels, torch.tensor([3.0, 0.5]))
    assert value.item() == pytest.approx((3.0 + 0.5) * math.log(4) / 2, rel=1e-6)


def test_ignored_pixels_give_cross_entropy_no_gradient():
    logits, labels = scores_and_labels()
    _, gradient = gradients(lambda x: cross_entropy(x, labels), logits)
    ignored = (labels == IGNORE)[:, None].expand_as(gradient)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).all()


def test_cross_entropy_of_ignored_pixels_alone_is_zero_with_zero_gradient():
    logits, labels = scores_and_labels(ignored=1.1)
    value, gradient = gradients(lambda x: cross_entropy(x, labels), logits)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("autocast", [False, True])
def test_cross_entropy_is_in_float32_whatever_the_logits_type(autocast):
    logits, labels = scores_and_labels()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = cross_entropy(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, cross_entropy(logits.bfloat16().float(), labels))


# Gaussian negative log-likelihood


def test_the_gaussian_loss_is_the_normal_distributions_without_its_constant():
    mean, variance, target = depths()
    valid = torch.isfinite(target)
    m, v, y = (x[valid].double() for x in (mean, variance, target))
    normal = torch.distributions.Normal(m, (v + MIN_VARIANCE).sqrt())
    expected = (-normal.log_prob(y)).mean() - 0.5 * math.log(2 * math.pi)
    value = gaussian_nll(mean, variance, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gaussian_loss_and_its_gradients_are_torchs():
    mean, variance, target = depths(invalid=0.0)
    ours = gradients(lambda m, v: gaussian_nll(m, v, target), mean, variance)
    # torch's clamps variances from below instead of adding a floor.
    theirs = gradients(
        lambda m, v: F.gaussian_nll_loss(m, target, v + MIN_VARIANCE, eps=0), mean, variance
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_gradients_follow_their_closed_form(beta):
    mean, variance, target = depths()
    _, by_mean, by_variance = gradients(
        lambda m, v: gaussian_nll(m, v, target, beta), mean, variance
    )
    valid = torch.isfinite(target)
    off = torch.where(valid, mean - target, 0).double()
    s2 = variance.double() + MIN_VARIANCE
    weight = torch.where(valid, s2**beta, 0) / valid.sum()  # of a constant: no gradient of its own
    expected = (weight * off / s2, weight * 0.5 * (1 / s2 - off**2 / s2**2))
    torch.testing.assert_close(by_mean.double(), expected[0], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(by_variance.double(), expected[1], rtol=1e-3, atol=1e-7)


def test_beta_1_gives_the_mean_the_gradient_of_squared_error():
    mean, variance, target = depths(invalid=0.0)
    _, by_mean, _ = gradients(lambda m, v: gaussian_nll(m, v, target, 1.0), mean, variance)
    _, expected = gradients(lambda m: 0.5 * F.mse_loss(m, target), mean)
    torch.testing.assert_close(by_mean, expected, rtol=1e-4, atol=1e-6)


def test_beta_weighs_each_pixel_by_its_variance():
    mean, variance, target = depths(invalid=0.0)
    s2 = variance.double() + MIN_VARIANCE
    each = 0.5 * ((target - mean).double() ** 2 / s2 + s2.log())
    for beta in (0.25, 0.5, 1.0):
        assert gaussian_nll(mean, variance, target, beta).item() == pytest.approx(
            (s2**beta * each).mean().item(), rel=1e-4
        )


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_invalid_pixels_count_neither_in_the_loss_nor_in_its_gradients(beta, nothing):
    mean, variance, target = depths()
    valid = torch.isfinite(target)
    target = torch.where(valid, target, nothing)
    value, by_mean, by_variance = gradients(
        lambda m, v: gaussian_nll(m, v, target, beta), mean, variance
    )
    alone = gaussian_nll(mean[valid], variance[valid], target[valid], beta)
    torch.testing.assert_close(value, alone)
    assert not by_mean[~valid].any()
    assert not by_variance[~valid].any()
    assert by_mean[valid].all()


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_no_valid_pixel_gives_zero_with_zero_gradients(beta):
    mean, variance, target = depths(invalid=1.1)
    value, by_mean, by_variance = gradients(
        lambda m, v: gaussian_nll(m, v, target, beta), mean, variance
    )
    assert value == 0
    assert not by_mean.any()
    assert not by_variance.any()


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("variance", [0.0, 1e-8, 1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("off", [0.0, 1e-3, 1.0, 80.0])
def test_it_is_finite_for_every_variance_and_at_equality(variance, off, beta):
    mean, target = torch.tensor([40.0 + off]), torch.tensor([40.0])
    value, by_mean, by_variance = gradients(
        lambda m, v: gaussian_nll(m, v, target, beta), mean, torch.tensor([variance])
    )
    assert torch.isfinite(value)
    assert torch.isfinite(by_mean).all()
    assert torch.isfinite(by_variance).all()
    s2 = variance + MIN_VARIANCE
    d = float(mean - target)
    expected = s2**beta * 0.5 * (d**2 / s2 + math.log(s2))
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_it_is_in_float32_under_autocast():
    mean, variance, target = depths()
    half = mean.bfloat16(), variance.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value, by_mean, by_variance = gradients(lambda m, v: gaussian_nll(m, v, target), *half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, gaussian_nll(half[0].float(), half[1].float(), target))
    assert torch.isfinite(by_mean).all()
    assert torch.isfinite(by_variance).all()
