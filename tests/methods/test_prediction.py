"""Raw outputs become a Prediction in the papers' order: upsample, then activate."""

import math

import pytest
import torch

from emu_core.methods.prediction import activate, to_prediction, upsample
from emu_core.networks import RawOutputs


def softplus(x):
    return math.log1p(math.exp(x))


def test_depth_and_variance_follow_a_hand_computation():
    # One row of two pixels, doubled: bilinear without aligned corners weighs 1, ¾, ¼, 0.
    raw = RawOutputs(None, torch.tensor([[[[-2.0, 6.0]], [[-3.0, 5.0]]]]))
    prediction = to_prediction(raw, (1, 4))
    assert prediction.probabilities is None
    assert prediction.depth_mean.shape == prediction.depth_variance.shape == (1, 1, 1, 4)
    assert prediction.depth_mean.flatten().tolist() == [0.0, 0.0, 4.0, 6.0]
    # Means count in metres, variances in hundreds of square metres.
    expected = [100 * softplus(x) for x in (-3.0, -1.0, 3.0, 5.0)]
    assert prediction.depth_variance.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    # The other order would give another variance.
    assert abs((3 * softplus(-3.0) + softplus(5.0)) / 4 - softplus(-1.0)) > 0.9
    assert prediction.depth_aleatoric is None
    assert prediction.depth_epistemic is None


def test_the_gradient_of_the_mean_passes_the_relu():
    raw = torch.tensor([[[[-2.0, 0.0, 6.0]], [[1.0, 1.0, 1.0]]]], requires_grad=True)
    mean = activate(RawOutputs(None, raw)).depth_mean
    assert mean.flatten().tolist() == [0.0, 0.0, 6.0]
    (mean * torch.tensor([3.0, 5.0, 7.0])).sum().backward()
    assert raw.grad[0, 0, 0].tolist() == [3.0, 5.0, 7.0] and not raw.grad[0, 1].any()


def test_probabilities_follow_a_hand_computation():
    raw = RawOutputs(torch.tensor([[[[0.0, 4.0]], [[0.0, -4.0]]]]), None)
    prediction = to_prediction(raw, (1, 4))
    assert prediction.depth_mean is None
    first = [1 / (1 + math.exp(-d)) for d in (0.0, 2.0, 6.0, 8.0)]
    assert prediction.probabilities[0, 0, 0].tolist() == pytest.approx(first, rel=1e-6)
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(1, 1, 4))


def test_everything_runs_in_float32_even_under_autocast():
    raw = RawOutputs(torch.randn(1, 3, 2, 2).bfloat16(), torch.full((1, 2, 2, 2), 60.0).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        prediction = to_prediction(raw, (8, 8))
    assert prediction.probabilities.dtype == torch.float32
    assert prediction.depth_mean.dtype == torch.float32
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(1, 8, 8))


def test_float64_is_kept():
    raw = RawOutputs(None, torch.zeros(1, 2, 2, 2, dtype=torch.float64))
    assert activate(upsample(raw, (4, 4))).depth_variance.dtype == torch.float64
