"""Entropy and mixture moments against closed forms."""

import math

import pytest
import torch

from emu_core.methods.uncertainty import RunningMoments, normalized_entropy, predictive_entropy


def as_map(*probabilities):
    return torch.tensor(probabilities).view(1, -1, 1, 1)


def test_entropy_of_known_distributions():
    expected = {
        math.log(2): as_map(0.5, 0.5),
        math.log(19): torch.full((1, 19, 1, 1), 1 / 19),
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)): as_map(0.9, 0.1),
        0.0: as_map(0.0, 1.0, 0.0),  # not NaN
    }
    for entropy, probabilities in expected.items():
        assert predictive_entropy(probabilities).item() == pytest.approx(entropy, rel=1e-6)


def test_normalised_entropy_lies_between_zero_and_one():
    assert normalized_entropy(as_map(0.0, 1.0, 0.0)).item() == 0.0
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


def moments_of(means, variances):
    moments = RunningMoments()
    for mean, variance in zip(means, variances, strict=True):
        moments.add(mean, variance)
    return moments.compute()


def test_moments_follow_a_hand_computation():
    means, variances = (torch.tensor(v).view(3, 1) for v in ([1.0, 3.0, 5.0], [1.0, 2.0, 6.0]))
    moments = moments_of(means, variances)
    assert moments.mean.item() == 3.0
    assert moments.aleatoric.item() == 3.0
    assert moments.epistemic.item() == pytest.approx(8 / 3)  # (4 + 0 + 4) / 3, not / 2
    assert moments.variance.item() == pytest.approx(3 + 8 / 3)


@pytest.mark.parametrize("samples", [1, 2, 10, 50])
def test_moments_are_those_of_an_equally_weighted_mixture(samples):
    """E[y] and E[y²] − E[y]², in float64."""
    generator = torch.Generator().manual_seed(0)
    means, variances = torch.rand(
        2, samples, 2, 1, 4, 5, generator=generator, dtype=torch.float64
    ).mul(60)
    moments = moments_of(means, variances)
    torch.testing.assert_close(moments.mean, means.mean(0))
    torch.testing.assert_close(moments.aleatoric, variances.mean(0))
    second = (variances + means**2).mean(0)
    torch.testing.assert_close(moments.variance, second - means.mean(0) ** 2)
    if samples == 1:
        assert torch.all(moments.epistemic == 0)


def test_small_disagreement_at_far_range_survives_float32():
    generator = torch.Generator().manual_seed(0)
    exact = 75 + 0.01 * torch.randn(10, 1, 1, 8, 8, generator=generator, dtype=torch.float64)
    means = exact.float()
    expected = ((exact - exact.mean(0)) ** 2).mean(0)
    epistemic = moments_of(means, torch.zeros_like(means)).epistemic
    torch.testing.assert_close(epistemic.double(), expected, rtol=5e-3, atol=0)
    naive = (means**2).mean(0) - means.mean(0) ** 2
    assert ((naive - expected).abs() / expected).max() > 0.5, "the test must be hard"


def test_half_precision_is_added_in_float32_and_computed_moments_do_not_change():
    moments = RunningMoments()
    with pytest.raises(ValueError, match="at least one sample"):
        moments.compute()
    for mean in (60.0, 60.5):
        moments.add(torch.tensor([mean]).bfloat16(), torch.ones(1).bfloat16())
    first = moments.compute()
    moments.add(torch.tensor([90.0]), torch.tensor([4.0]))
    assert first.mean.dtype == torch.float32
    assert [x.item() for x in first] == [60.25, 1, 0.0625]
    assert moments.compute().aleatoric.item() == 2
