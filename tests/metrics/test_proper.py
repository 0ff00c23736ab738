"""Proper scores, entropies and intervals against torch, scikit-learn and closed forms."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss

from emu_core.methods.uncertainty import predictive_entropy
from emu_core.metrics import RoadObjects, StudyMetrics
from emu_core.metrics.certainty import Certainty
from emu_core.metrics.proper import (
    COVERAGES,
    MIN_VARIANCE,
    ClassScores,
    GaussianScores,
    class_pixels,
)
from emu_core.training import losses


def softmax(rng, classes, shape, scale=3.0):
    logits = torch.from_numpy(rng.normal(0, scale, (classes, *shape)).astype(np.float32))
    return logits.softmax(0).numpy()


def test_values_of_class_probabilities_agree_with_torch_and_scikit_learn():
    rng = np.random.default_rng(0)
    p = softmax(rng, 19, (220, 200))  # more pixels than one chunk
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
    assert 87 < pixels.nll[0, 2] < 88  # certain and wrong: large, but finite
    np.testing.assert_allclose(pixels.brier, [[0.25 + 0.5625 + 0.0625, 0, 2]], rtol=1e-6)


def test_probabilities_may_have_half_precision_and_any_strides():
    p = softmax(np.random.default_rng(1), 5, (8, 6))
    truth = np.zeros((8, 6), np.uint8)
    expected = class_pixels(p, truth)
    last = np.ascontiguousarray(p.transpose(1, 2, 0)).transpose(2, 0, 1)
    for a, b in zip(class_pixels(last, truth), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    half = class_pixels(p.astype(np.float16), truth)
    np.testing.assert_allclose(half.brier, expected.brier, atol=5e-3)


def test_invalid_probabilities_and_a_truth_of_another_size_are_refused():
    p = softmax(np.random.default_rng(2), 4, (3, 5))
    nan, negative = p.copy(), p.copy()
    nan[0, 0, 0] = np.nan
    negative[:2, 1, 1] = (-0.1, p[0, 1, 1] + p[1, 1, 1] + 0.1)
    for bad in (np.log(p), nan, negative):
        with pytest.raises(ValueError, match="Expected `probabilities` ≥ 0 with a sum of 1"):
            class_pixels(bad, np.zeros((3, 5), np.uint8))
    with pytest.raises(ValueError, match=r"\(4, 3, 5\) and \(3, 4\)"):
        class_pixels(p, np.zeros((3, 4), np.uint8))


def gaussian(mean, variance, truth, max_depth=80.0):
    scores = GaussianScores()
    scores.update(*(np.asarray(x, np.float32) for x in (mean, variance, truth)), max_depth)
    return scores.compute()


def test_the_nll_of_depth_agrees_with_torch_and_with_the_loss():
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


def test_intervals_of_a_gaussian_have_their_nominal_coverage():
    rng = np.random.default_rng(5)
    mean, std = rng.uniform(10, 60, 40000), rng.uniform(0.5, 3, 40000)
    coverage = gaussian(mean, std**2, mean + std * rng.normal(size=40000))["coverage"]
    np.testing.assert_allclose(coverage, COVERAGES, atol=4 * 0.5 / 200)


def test_an_interval_ends_at_the_quantile_of_the_normal_distribution():
    z = NormalDist().inv_cdf(0.95)
    index = COVERAGES.index(0.9)
    for distance, inside in ((0.999 * z, 1.0), (1.001 * z, 0.0)):
        for sign in (-1, 1):
            found = gaussian([20.0], [4.0], [20.0 + sign * 2 * distance])["coverage"]
            assert found[index] == inside


def test_with_zero_variance_only_the_mean_itself_is_covered():
    coverage = gaussian([5.0, 5.0], [0.0, 0.0], [5.0, 5.1])["coverage"]
    np.testing.assert_array_equal(coverage, 0.5)
    assert np.isfinite(gaussian([5.0], [0.0], [5.1])["nll"])


def test_no_pixel_gives_nan():
    assert np.isnan(gaussian([], [], [])["nll"])
    assert np.isnan(gaussian([], [], [])["coverage"]).all()
    assert np.isnan(ClassScores().compute()["nll"])


def test_a_mean_that_is_no_depth_is_a_missing_estimate():
    expected = gaussian([5.0], [np.nan], [5.0])
    for nothing in ([0.0], [-3.0], [np.nan], [np.inf]):
        found = gaussian(nothing, [1.0], [5.0])
        assert found["nll"] == pytest.approx(expected["nll"])
        assert not found["coverage"].any()
    # A mean beyond the range counts as its end in the NLL, but not in the intervals.
    far, end = gaussian([300.0], [9.0], [70.0]), gaussian([80.0], [9.0], [70.0])
    assert far["nll"] == end["nll"] == pytest.approx(0.5 * (100 / 9 + np.log(9)), rel=1e-4)
    assert gaussian([83.0], [9.0], [79.0])["coverage"][COVERAGES.index(0.5)] == 0


METRES = st.floats(0.5, 80, width=32)
ESTIMATES = METRES | st.sampled_from([1e-3, 79.9, 500.0, 1e20, 0.0, -2.0, np.nan, np.inf])
BETTER_LOW = (
    *("rmse", "abs_rel", "depth.nll", "depth.aurc", "depth.ause", "depth.ause_abs_rel"),
    "depth.unknown_fpr95",
)
BETTER_HIGH = (
    *("delta1", "delta2", "delta3", "depth_coverage"),
    *("depth.ratio_error_auroc", "depth.ratio_error_auroc_by_std", "depth.metre_error_auroc"),
    *("depth.coverage50", "depth.coverage90", "depth.coverage95"),
    *("depth.unknown_auroc", "depth.unknown_ap", "depth.unknown_twin_auroc"),
)
SHAPE = (2, 3, 5)
"""Images, height, width."""


@settings(max_examples=300, deadline=None)
@given(
    truth=arrays(np.float32, SHAPE, elements=METRES | st.just(np.nan)),
    mean=arrays(np.float32, SHAPE, elements=ESTIMATES),
    variance=arrays(
        np.float32, SHAPE, elements=st.sampled_from([0.0, 0.25, 1.0, 9.0, 1e6, np.inf])
    ),
    missing=arrays(np.bool_, SHAPE),
    nothing=st.sampled_from([np.nan, np.inf, 0.0]),
    road=arrays(np.bool_, SHAPE),
)
def test_a_missing_depth_never_improves_a_metric(truth, mean, variance, missing, nothing, road):
    """All metrics of depth except those of `Certainty`, whose thresholds may change."""
    full, partial = StudyMetrics(19, 80.0), StudyMetrics(19, 80.0)
    for i in range(SHAPE[0]):
        there = np.zeros(SHAPE[1:], bool)
        there[1:, 1:3] = True
        objects = RoadObjects(road[i] | there, there & (i == 0), there & (i == 1))
        less = np.where(missing[i], np.float32(nothing), mean[i])
        full.update_depth(mean[i], variance[i], truth[i], objects)
        partial.update_depth(less, variance[i], truth[i], objects)
    before, after = full.compute(), partial.compute()
    if not before:
        return
    for name in BETTER_LOW:  # a metric may be NaN without an error
        assert not after[name] < before[name] - 1e-9 * abs(before[name]) - 1e-9, name
    for name in BETTER_HIGH:
        assert not after[name] > before[name] + 1e-9, name
    compared = {*BETTER_LOW, *BETTER_HIGH}
    shares = ("p_acc_cer", "p_unc_inacc", "p_inacc_unc", "pavpu", "accuracy")
    # `_given` leaves missing estimates out, to tell what they cost.
    judged = {n for n in before if not n.endswith(("_random", "_bound", "_given"))}
    left = {n for n in judged if n.startswith(tuple(f"depth.{share}" for share in shares))}
    assert judged - left == compared


@settings(max_examples=200, deadline=None)
@given(
    score=arrays(np.float32, 12, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])),
    accurate=arrays(np.bool_, 12),
    missing=arrays(np.bool_, 12),
)
def test_a_missing_prediction_never_improves_certainty_at_a_given_threshold(
    score, accurate, missing
):
    full, partial = Certainty(), Certainty()
    full.update(score, accurate, 0.75)
    partial.update(score[~missing], accurate[~missing], 0.75, int(missing.sum()))
    before, after = full.compute(), partial.compute()
    for name in ("p_acc_cer", "p_unc_inacc", "p_inacc_unc", "pavpu"):
        assert not after[f"{name}_median"] > before[f"{name}_median"] + 1e-12
    assert not after["accuracy"] > before["accuracy"]
