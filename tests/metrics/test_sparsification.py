"""Sparsification, AUSE, AURC and certainty against slow formulas and hand computations."""

import numpy as np
import pytest

from emu_core.metrics.certainty import Certainty
from emu_core.metrics.ranking import sort_scores
from emu_core.metrics.sparsification import FRACTIONS, RiskCoverage, Sparsification


def sparsified(scores, errors, root=False):
    metric = Sparsification(root)
    for score, error in zip(scores, errors, strict=True):
        order = sort_scores(score)
        metric.update(order, order.cumulative(error), np.sort(error))
    return metric.compute()


def slowly(score, error, root):
    """AUSE of 100·m pixels: drop m at a time; ties have the mean of their errors."""
    _, tie = np.unique(score, return_inverse=True)
    expected = (np.bincount(tie, error) / np.bincount(tie))[tie]
    curves = []
    for values in (expected[np.argsort(-score, kind="stable")], -np.sort(-error)):
        step = len(values) // 100
        left = np.array([values[i * step :].mean() for i in range(100)])
        curves.append(np.sqrt(left) if root else left)
    curve, oracle = (curve / curves[0][0] for curve in curves)
    area = np.sum((curve - oracle)[1:] + (curve - oracle)[:-1]) / 200
    return area, curve, oracle


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("levels", [None, 7])
def test_ause_agrees_with_dropping_batches_of_pixels(root, levels):
    rng = np.random.default_rng(0)
    scores = rng.gamma(2.0, size=(3, 1300)).astype(np.float32)
    scores = np.floor(scores * levels).astype(np.float32) if levels else scores
    errors = scores * rng.random(scores.shape) ** 2 + 0.1
    result = sparsified(scores, errors, root)
    each = [slowly(score, error, root) for score, error in zip(scores, errors, strict=True)]
    ause, curves, oracles = (np.mean(values, axis=0) for values in zip(*each, strict=True))
    assert result["ause"] == pytest.approx(ause, abs=1e-12)
    np.testing.assert_allclose(result["curve"], curves, rtol=1e-12)
    np.testing.assert_allclose(result["oracle"], oracles, rtol=1e-12)


def test_ause_follows_a_hand_computation():
    # Four of ten are wrong and are dropped last: the error rate is .4/(1 − f), then 1.
    result = sparsified([np.arange(10.0)], [np.arange(10) < 4])
    curve = np.minimum(0.4 / (1 - FRACTIONS), 1) / 0.4
    oracle = np.maximum(0.4 - FRACTIONS, 0) / (1 - FRACTIONS) / 0.4
    np.testing.assert_allclose(result["curve"], curve)
    np.testing.assert_allclose(result["oracle"], oracle, atol=1e-12)
    assert result["curve"][0] == result["oracle"][0] == 1


def test_a_perfect_ranking_has_an_ause_of_0_and_a_constant_one_that_of_random_scores():
    error = np.random.default_rng(1).gamma(1.0, size=999)
    assert sparsified([error], [error])["ause"] == pytest.approx(0, abs=1e-6)
    constant = sparsified([np.full(999, 0.3)], [error])
    np.testing.assert_allclose(constant["curve"], 1)
    assert constant["ause"] == pytest.approx(constant["random"])
    assert constant["random"] > 0.3


def test_missing_pixels_are_kept_in_the_curve_and_correct_in_the_oracle():
    # 100 pixels of error 1; the 20 least certain have no prediction, with a possible error of 4.
    error = np.ones(80)
    order, metric = sort_scores(np.zeros(80)), Sparsification()
    metric.update(order, order.cumulative(error), error, np.full(20, 4.0))
    result, kept = metric.compute(), 100 * (1 - FRACTIONS)
    curve = (80 + np.minimum(kept, 80)) / 160 / (kept / 100)
    oracle = np.maximum(kept - 20, 0) / 160 / (kept / 100)
    np.testing.assert_allclose(result["curve"], curve)
    np.testing.assert_allclose(result["oracle"], oracle, atol=1e-12)
    assert result["ause"] == pytest.approx(result["random"])  # all scores are equal


def test_without_any_prediction_the_ause_is_the_worst_possible():
    nothing, metric = sort_scores(np.zeros(0)), Sparsification()
    metric.update(nothing, np.zeros(1), np.zeros(0), np.ones(50))
    np.testing.assert_allclose(metric.compute()["curve"], 1 / (1 - FRACTIONS))
    worst = sparsified([np.arange(1000.0)], [np.arange(1000) == 0])["ause"]
    assert 1 < worst <= metric.compute()["ause"]


def test_an_image_without_errors_is_left_out_of_the_mean():
    rng = np.random.default_rng(2)
    score, error = rng.random(50), rng.random(50)
    both = sparsified([score, score], [error, np.zeros(50)])
    assert both["ause"] == sparsified([score], [error])["ause"]
    assert np.isnan(sparsified([score], [np.zeros(50)])["ause"])


def risk(*images, missing=0):
    metric = RiskCoverage()
    for score, wrong in images:
        order = sort_scores(np.asarray(score))
        metric.update(order, order.cumulative(np.asarray(wrong)), missing)
    return metric.compute()


@pytest.mark.parametrize(
    ("score", "wrong", "aurc"),
    [
        # Risk 0 up to coverage ½, then (c − ½)/c: area ½ − ½ ln 2.
        ([1.0, 2.0], [False, True], 0.5 - 0.5 * np.log(2)),
        ([2.0, 2.0, 2.0, 2.0], [True, False, False, False], 0.25),
        ([1.0, 2.0], [True, True], 1.0),
        ([], [], np.nan),
    ],
)
def test_aurc_follows_a_hand_computation(score, wrong, aurc):
    assert risk((score, wrong))["aurc"] == pytest.approx(aurc, nan_ok=True)


def test_aurc_is_the_mean_risk_of_the_most_certain_pixels():
    rng = np.random.default_rng(3)
    score = rng.random(20000)
    wrong = rng.random(20000) < score / 2
    risks = np.cumsum(wrong[np.argsort(score)]) / np.arange(1, 20001)
    assert risk((score, wrong))["aurc"] == pytest.approx(risks.mean(), abs=2e-4)


def test_the_aurc_of_random_scores_is_the_error_rate():
    rng = np.random.default_rng(4)
    images = [rng.random(300) < rate for rate in (0.1, 0.4)]
    shuffled = [risk(*((rng.random(300), wrong) for wrong in images)) for _ in range(200)]
    expected = np.mean([metrics["aurc"] for metrics in shuffled])
    found = shuffled[0]["aurc_random"]
    assert found == pytest.approx(np.mean(images)) == pytest.approx(expected, rel=0.03)


def test_missing_pixels_are_the_most_certain_errors():
    rng = np.random.default_rng(5)
    score, wrong = rng.integers(1, 9, 60), rng.random(60) < 0.3
    with_errors = np.append(score, np.zeros(15)), np.append(wrong, np.ones(15, bool))
    assert risk((score, wrong), missing=15) == pytest.approx(risk(with_errors))
    assert risk((np.zeros(0), np.zeros(0)), missing=3)["aurc"] == 1.0


def certainty(*images):
    metric = Certainty()
    for values, accurate in images:
        score = np.array(values, np.float32)
        metric.update(score, np.array(accurate, bool), sort_scores(score).median)
    return metric.compute()


SHARES = ("p_acc_cer", "p_unc_inacc", "p_inacc_unc", "pavpu")


@pytest.mark.parametrize(
    ("images", "suffix", "expected"),
    [
        # Mean 3.2, median 2. Certain by the mean: 1, 1, 2, 3; by the median: 1, 1, 2.
        ([([1, 1, 2, 3, 9], [1, 0, 1, 1, 0])], "", (3 / 4, 1 / 2, 1, 4 / 5)),
        ([([1, 1, 2, 3, 9], [1, 0, 1, 1, 0])], "_median", (2 / 3, 1 / 2, 1 / 2, 3 / 5)),
        # Each image has its threshold, 2 and 20, and counts are pooled: certain are 1 | 10, 10;
        # wrong are 3 | one of the tens.
        ([([1, 3], [1, 0]), ([10, 10, 40], [1, 0, 1])], "", (2 / 3, 1 / 2, 1 / 2, 3 / 5)),
        # Pixels at a median of 0 are certain.
        ([([0, 0, 0, 1, 2], [1, 1, 0, 0, 1])], "_median", (2 / 3, 1 / 2, 1 / 2, 3 / 5)),
        # The mean is that of the finite scores, 2.
        ([([1, 2, 3, np.inf], [1, 1, 0, 0])], "", (1, 1, 1, 1)),
        ([([1, 1], [1, 1])], "", (1, np.nan, np.nan, 1)),
        ([], "", 4 * (np.nan,)),
    ],
)
def test_certainty_follows_a_hand_computation(images, suffix, expected):
    metrics = certainty(*images)
    shares = tuple(metrics[name + suffix] for name in SHARES)
    assert shares == pytest.approx(expected, nan_ok=True)
    accurate = [value for _, accurate in images for value in accurate]
    accuracy = np.mean(accurate) if accurate else np.nan
    assert metrics["accuracy"] == pytest.approx(accuracy, nan_ok=True)


def test_a_missing_pixel_is_certain_and_wrong_or_uncertain_and_correct():
    metric, score = Certainty(), np.array([1, 1, 2, 3, 9], np.float32)
    accurate = np.array([1, 0, 1, 1, 0], bool)
    metric.update(score, accurate, 2.0, missing=2)
    metrics = metric.compute()
    expected = (3 / 6, 1 / 4, 1 / 3, 4 / 7)
    assert tuple(metrics[name] for name in SHARES) == pytest.approx(expected)
    assert metrics["accuracy"] == pytest.approx(3 / 7)
    metric.update(score[:0], accurate[:0], float("nan"), missing=1)  # no prediction at all
    assert metric.compute()["accuracy"] == pytest.approx(3 / 8)


def test_the_random_values_are_those_of_shuffled_scores():
    rng = np.random.default_rng(4)
    images = [
        (rng.gamma(shape, size=400), rng.random(400) < accuracy)
        for shape, accuracy in ((0.5, 0.9), (5.0, 0.4))
    ]
    metrics = certainty(*images)
    shuffled = [
        certainty(*((rng.permutation(score), accurate) for score, accurate in images))
        for _ in range(300)
    ]
    for name in (*SHARES, *(f"{name}_median" for name in SHARES)):
        mean = np.mean([s[name] for s in shuffled])
        assert metrics[f"{name}_random"] == pytest.approx(mean, abs=0.005)
