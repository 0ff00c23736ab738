"""Proper scores, entropies and intervals against torch, scikit-learn and closed forms."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss

from emu_core import losses
from emu_core.metrics import ClassScores, GaussianScores, StudyMetrics
from emu_core.metrics.proper import COVERAGES, MIN_VARIANCE, class_pixels
from emu_core.uncertainty import predictive_entropy


def softmax(rng, classes, shape, scale=3.0):
    logits = torch.from_numpy(rng.normal(0, scale, (classes, *shape)).astype(np.float32))
    return logits.softmax(0).numpy()


def test_what_is_read_off_class_probabilities_is_torchs_and_scikit_learns():
    rng = np.random.default_rng(0)
    p = softmax(rng, 19, (220, 200))  # more pixels than are looked at in one go
    truth = rng.integers(0, 19, (220, 200)).astype(np.uint8)
    pixels = class_pixels(p, truth)
    np.testing.assert_array_equal(pixels.labels, p.argmax(0))
    np.testing.assert_array_equal(pixels.confidence, p.max(0))
    entropy = predictive_entropy(torch.from_numpy(p)[None].double())[0, 0].numpy()
    np.testing.assert_allclose(pixels.entropy, entropy, rtol=1e-5, atol=1e-6)
    one_hot = np.eye(19)[truth].transpose(2, 0, 1)
    np.testing.assert_allclose(pixels.brier, ((p - one_hot) ** 2).sum(0), rtol=1e-5, atol=1e-6)
    scores = ClassScores()
    scores.update(pixels.nll, pixels.brier)
    rows = p.reshape(19, -1).T.astype(np.float64)
    expected = log_loss(truth.ravel(), rows / rows.sum(1, keepdims=True), labels=np.arange(19))
    assert scores.compute()["nll"] == pytest.approx(expected, rel=1e-5)


def test_scores_of_classes_follow_a_hand_computation():
    p = np.array([[[0.5, 1.0, 0.0]], [[0.25, 0.0, 1.0]], [[0.25, 0.0, 0.0]]], np.float32)
    pixels = class_pixels(p, np.array([[1, 0, 0]], np.uint8))
    np.testing.assert_allclose(pixels.entropy, [[1.5 * np.log(2), 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(pixels.nll[0, :2], [np.log(4), 0], rtol=1e-6)
    assert 87 < pixels.nll[0, 2] < 88  # certain and wrong: bad, and finite
    np.testing.assert_allclose(pixels.brier, [[0.25 + 0.5625 + 0.0625, 0, 2]], rtol=1e-6)


def test_half_precision_probabilities_are_accepted_and_strides_do_not_matter():
    p = softmax(np.random.default_rng(1), 5, (8, 6))
    truth = np.zeros((8, 6), np.uint8)
    expected = class_pixels(p, truth)
    last = np.ascontiguousarray(p.transpose(1, 2, 0)).transpose(2, 0, 1)
    for a, b in zip(class_pixels(last, truth), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    half = class_pixels(p.astype(np.float16), truth)
    np.testing.assert_allclose(half.brier, expected.brier, atol=5e-3)


@pytest.mark.parametrize("bad", ["logits", "nan", "negative"])
def test_what_is_no_probability_is_refused(bad):
    p = softmax(np.random.default_rng(2), 4, (3, 5))
    if bad == "logits":
        p = np.log(p)
    elif bad == "nan":
        p[0, 0, 0] = np.nan
    else:
        p[0, 1, 1] -= 0.5
        p[1, 1, 1] += 0.5
        p[0, 1, 1] = min(p[0, 1, 1], -0.1)
    with pytest.raises(ValueError, match="Expected `probabilities` from 0 that sum to 1"):
        class_pixels(p, np.zeros((3, 5), np.uint8))


def test_a_truth_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 3, 5\) and \(3, 4\)"):
        class_pixels(softmax(np.random.default_rng(3), 4, (3, 5)), np.zeros((3, 4), np.uint8))


# Depth


def gaussian(mean, variance, truth, max_depth=80.0):
    scores = GaussianScores()
    scores.update(*(np.asarray(x, np.float32) for x in (mean, variance, truth)), max_depth)
    return scores.compute()


def test_the_nll_of_depth_is_torchs_and_that_of_the_loss():
    rng = np.random.default_rng(4)
    mean, variance = rng.uniform(1, 80, 500), rng.gamma(1.0, size=500)
    truth = mean + np.sqrt(variance) * rng.normal(size=500)
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (mean, truth, variance)]
    nll = gaussian(mean, variance, truth)["nll"]
    reference = torch.nn.GaussianNLLLoss()(tensors[0], tensors[1], tensors[2] + 1e-4)
    assert nll == pytest.approx(float(reference), rel=1e-4)
    loss = losses.gaussian_nll(tensors[0], tensors[2], tensors[1])
    assert nll == pytest.approx(float(loss), rel=1e-4)
    assert MIN_VARIANCE == losses.MIN_VARIANCE


def test_intervals_of_a_gaussian_hold_what_they_promise():
    rng = np.random.default_rng(5)
    mean, std = rng.uniform(10, 60, 40000), rng.uniform(0.5, 3, 40000)
    coverage = gaussian(mean, std**2, mean + std * rng.normal(size=40000))["coverage"]
    np.testing.assert_allclose(coverage, COVERAGES, atol=4 * 0.5 / 200)


def test_an_interval_ends_where_the_normal_distribution_says():
    z = NormalDist().inv_cdf(0.95)
    index = COVERAGES.index(0.9)
    for distance, inside in ((0.999 * z, 1.0), (1.001 * z, 0.0)):
        for sign in (-1, 1):
            found = gaussian([20.0], [4.0], [20.0 + sign * 2 * distance])["coverage"]
            assert found[index] == inside


def test_without_a_spread_only_the_mean_itself_is_covered():
    coverage = gaussian([5.0, 5.0], [0.0, 0.0], [5.0, 5.1])["coverage"]
    np.testing.assert_array_equal(coverage, 0.5)
    assert np.isfinite(gaussian([5.0], [0.0], [5.1])["nll"])


def test_no_pixel_gives_nan():
    assert np.isnan(gaussian([], [], [])["nll"])
    assert np.isnan(gaussian([], [], [])["coverage"]).all()
    assert np.isnan(ClassScores().compute()["nll"])


METRES = st.floats(0.5, 80, width=32)
BETTER_LOW, BETTER_HIGH = ("rmse", "abs_rel", "depth.nll", "depth.aurc"), (
    *("delta1", "delta2", "delta3", "depth_coverage"),
    *("depth.coverage50", "depth.coverage90", "depth.error_auroc"),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    truth=arrays(np.float32, (3, 5), elements=METRES),
    mean=arrays(np.float32, (3, 5), elements=METRES),
    variance=arrays(np.float32, (3, 5), elements=st.sampled_from([0.0, 0.25, 1.0, 9.0])),
    missing=arrays(np.bool_, (3, 5)),
    nothing=st.sampled_from([np.nan, np.inf]),
)
def test_abstaining_never_improves_a_score(truth, mean, variance, missing, nothing):
    full, partial = StudyMetrics(19, 80.0), StudyMetrics(19, 80.0)
    full.update_depth(mean, variance, truth)
    partial.update_depth(np.where(missing, np.float32(nothing), mean), variance, truth)
    before, after = full.compute(), partial.compute()
    for name in BETTER_LOW:
        assert after[name] >= before[name] - 1e-9 * abs(before[name])
    for name in BETTER_HIGH:  # an AUROC is NaN before there is an error
        assert not after[name] > before[name] + 1e-12
    assert after["depth_coverage"] == pytest.approx(1 - missing.mean())
