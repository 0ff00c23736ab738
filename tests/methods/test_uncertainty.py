"""Entropy and mixture moments against closed forms."""

import math

import pytest
import torch

from emu_core.methods.uncertainty import (
    RunningMoments,
    mixture_moments,
    normalized_entropy,
    predictive_entropy,
)


def as_map(*probabilities):
    return torch.tensor(probabilities).view(1, -1, 1, 1)


def test_entropy_of_known_distributions():
    assert predictive_entropy(as_map(0.5, 0.5)).item() == pytest.approx(math.log(2))
    assert predictive_entropy(torch.full((1, 19, 1, 1), 1 / 19)).item() == pytest.approx(
        math.log(19), rel=1e-6
    )
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert predictive_entropy(as_map(0.9, 0.1)).item() == pytest.approx(expected, rel=1e-6)


def test_certainty_has_entropy_zero_not_nan():
    assert predictive_entropy(as_map(0.0, 1.0, 0.0)).item() == 0.0
    assert normalized_entropy(as_map(0.0, 1.0, 0.0)).item() == 0.0


def test_normalised_entropy_lies_between_zero_and_one():
    assert normalized_entropy(torch.full((1, 7, 1, 1), 1 / 7)).item() == pytest.approx(1.0)
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.rand(2, 19, 32, 32, generator=generator)
    for x in (logits, logits * 0 + 5.0):
        entropy = normalized_entropy(x.softmax(1))
        assert entropy.shape == (2, 1, 32, 32)
        assert entropy.min() >= 0
        assert entropy.max() <= 1
    with pytest.raises(ValueError, match="at least 2 classes, but got 1"):
        normalized_entropy(torch.ones(1, 1, 2, 2))


def test_mixture_moments_follow_a_hand_computation():
    means = torch.tensor([1.0, 3.0, 5.0]).view(3, 1, 1, 1, 1)
    variances = torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1, 1, 1)
    moments = mixture_moments(means, variances)
    assert moments.mean.item() == 3.0
    assert moments.aleatoric.item() == 3.0
    assert moments.epistemic.item() == pytest.approx(8 / 3)  # (4 + 0 + 4) / 3, not / 2
    assert moments.variance.item() == pytest.approx(3 + 8 / 3)


def test_mixture_moments_equal_the_mixtures_raw_moments():
    # E[y] and E[y²] − E[y]² of an equally weighted Gaussian mixture, in float64.
    generator = torch.Generator().manual_seed(0)
    means = 60 * torch.rand(10, 2, 1, 4, 5, generator=generator, dtype=torch.float64)
    variances = 9 * torch.rand(10, 2, 1, 4, 5, generator=generator, dtype=torch.float64)
    moments = mixture_moments(means, variances)
    second = (variances + means**2).mean(0)
    torch.testing.assert_close(moments.mean, means.mean(0))
    torch.testing.assert_close(moments.variance, second - means.mean(0) ** 2)


def test_small_disagreement_at_far_range_survives_float32():
    generator = torch.Generator().manual_seed(0)
    exact = 75 + 0.01 * torch.randn(10, 1, 1, 8, 8, generator=generator, dtype=torch.float64)
    means = exact.float()
    epistemic = mixture_moments(means, torch.zeros_like(means)).epistemic
    expected = ((exact - exact.mean(0)) ** 2).mean(0)
    torch.testing.assert_close(epistemic.double(), expected, rtol=5e-3, atol=0)
    naive = (means**2).mean(0) - means.mean(0) ** 2
    assert ((naive - expected).abs() / expected).max() > 0.5, "the test must be hard"


def test_one_sample_has_no_epistemic_part():
    moments = mixture_moments(torch.full((1, 1, 1, 2, 2), 7.0), torch.full((1, 1, 1, 2, 2), 2.0))
    assert torch.all(moments.epistemic == 0)
    assert torch.all(moments.variance == 2)


def test_half_precision_samples_are_combined_in_float32():
    means = torch.tensor([60.0, 60.5]).bfloat16().view(2, 1, 1, 1, 1)
    moments = mixture_moments(means, torch.ones_like(means))
    assert moments.mean.dtype == torch.float32
    assert moments.mean.item() == 60.25


def test_samples_of_different_shapes_or_none_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        mixture_moments(torch.zeros(2, 1, 1, 4, 4), torch.zeros(1, 1, 1, 4, 4))
    with pytest.raises(ValueError, match="M at least 1"):
        mixture_moments(torch.zeros(0, 1, 1, 4, 4), torch.zeros(0, 1, 1, 4, 4))


def running(means, variances):
    moments = RunningMoments()
    for mean, variance in zip(means, variances, strict=True):
        moments.add(mean, variance)
    return moments.compute()


@pytest.mark.parametrize("samples", [1, 2, 10, 50])
def test_running_moments_equal_the_mixtures_raw_moments(samples):
    generator = torch.Generator().manual_seed(0)
    means, variances = torch.rand(
        2, samples, 2, 1, 4, 5, generator=generator, dtype=torch.float64
    ).mul(60)
    moments = running(means, variances)
    torch.testing.assert_close(moments.mean, means.mean(0))
    torch.testing.assert_close(moments.aleatoric, variances.mean(0))
    second = (means**2).mean(0) - means.mean(0) ** 2
    torch.testing.assert_close(moments.epistemic, second, rtol=1e-9, atol=1e-9)


def test_running_moments_keep_small_disagreement_at_far_range_in_float32():
    generator = torch.Generator().manual_seed(0)
    exact = 75 + 0.01 * torch.randn(10, 1, 1, 8, 8, generator=generator, dtype=torch.float64)
    means = exact.float()
    expected = ((exact - exact.mean(0)) ** 2).mean(0)
    epistemic = running(means, torch.zeros_like(means)).epistemic
    torch.testing.assert_close(epistemic.double(), expected, rtol=5e-3, atol=0)


def test_running_moments_take_half_precision_in_float32_and_stay_as_they_were_computed():
    moments = RunningMoments()
    with pytest.raises(ValueError, match="at least one sample"):
        moments.compute()
    for mean in (60.0, 60.5):
        moments.add(torch.tensor([mean]).bfloat16(), torch.ones(1).bfloat16())
    first = moments.compute()
    moments.add(torch.tensor([90.0]), torch.tensor([4.0]))
    assert first.mean.dtype == torch.float32
    assert (first.mean.item(), first.aleatoric.item(), first.epistemic.item()) == (
        60.25,
        1,
        0.0625,
    )
    assert moments.compute().aleatoric.item() == 2
