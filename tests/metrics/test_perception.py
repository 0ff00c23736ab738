"""Metrics against torchmetrics, scikit-learn, plain formulas and cases made by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassCalibrationError,
    MulticlassJaccardIndex,
)

from emu_core.labels import IGNORE
from emu_core.metrics import Calibration, Confusion, DepthErrors, PerceptionMetrics


def labels(rng, shape, classes, ignored=0.2):
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    truth[rng.random(shape) < ignored] = IGNORE
    guess = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape))
    return np.where(guess == IGNORE, 0, guess).astype(np.uint8), truth


# Classes


def test_iou_follows_a_hand_computation():
    confusion = Confusion(4)
    truth = np.array([[0, 0, 0, 1, 1, IGNORE]], np.uint8)
    guess = np.array([[0, 0, 1, 1, 2, 3]], np.uint8)
    confusion.update(guess, truth)
    scores = confusion.compute()
    # Class 2 is only guessed: IoU 0, which the official mean counts. Class 3 is in none.
    np.testing.assert_allclose(scores["iou"], [2 / 3, 1 / 3, 0, np.nan])
    assert scores["present"].tolist() == [True, True, False, False]
    assert scores["support"].tolist() == [3, 2, 0, 0]
    assert scores["miou"] == pytest.approx(0.5)
    theirs = MulticlassJaccardIndex(4, ignore_index=IGNORE)
    assert scores["miou_official"] == pytest.approx(
        float(theirs(torch.tensor(guess).long(), torch.tensor(truth).long()))
    )
    assert scores["accuracy"] == pytest.approx(3 / 5)


@pytest.mark.parametrize("classes", [2, 5, 19])
def test_iou_agrees_with_torchmetrics_over_several_images(classes):
    rng = np.random.default_rng(classes)
    ours = Confusion(classes)
    theirs = MulticlassJaccardIndex(classes, average=None, ignore_index=IGNORE)
    for _ in range(4):
        guess, truth = labels(rng, (24, 32), classes)
        ours.update(guess, truth)
        theirs.update(torch.tensor(guess, dtype=torch.long), torch.tensor(truth, dtype=torch.long))
    expected = theirs.compute().numpy()
    scores = ours.compute()
    np.testing.assert_allclose(scores["iou"], expected, rtol=1e-6)
    assert scores["miou"] == pytest.approx(expected.mean(), rel=1e-6)


def test_a_guess_that_is_no_class_is_wrong_for_its_true_class():
    confusion = Confusion(3)
    confusion.update(np.array([[0, IGNORE, 7, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    scores = confusion.compute()
    np.testing.assert_allclose(scores["iou"][:2], [1 / 2, 1 / 2])
    assert scores["support"].tolist() == [2, 2, 0]
    assert scores["accuracy"] == 0.5


def test_nothing_to_score_is_nan_and_not_zero():
    confusion = Confusion(3)
    confusion.update(np.zeros((2, 2), np.uint8), np.full((2, 2), IGNORE, np.uint8))
    scores = confusion.compute()
    assert np.isnan(scores["miou"]) and np.isnan(scores["accuracy"])
    assert np.isnan(scores["iou"]).all()


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="`num_classes` to be ≥ 2, but got 1"):
        Confusion(1)


# Calibration


def test_calibration_follows_a_hand_computation():
    calibration = Calibration(bins=2)
    confidence = np.array([0.2, 0.4, 0.7, 0.9, 1.0])
    correct = np.array([True, False, True, False, False])
    calibration.update(confidence, correct)
    scores = calibration.compute()
    # Lower bin: confidence 0.3, accuracy 1/2. Upper bin: confidence 2.6/3, accuracy 1/3.
    low, high = 0.3 - 0.5, 2.6 / 3 - 1 / 3
    np.testing.assert_allclose(scores["bin_confidence"], [0.3, 2.6 / 3])
    np.testing.assert_allclose(scores["bin_accuracy"], [1 / 2, 1 / 3])
    assert scores["bin_count"].tolist() == [2, 3]
    assert scores["ece"] == pytest.approx((2 * abs(low) + 3 * high) / 5)
    assert scores["gap"] == pytest.approx((2 * low + 3 * high) / 5)


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_agrees_with_torchmetrics_over_several_images(bins):
    rng = np.random.default_rng(0)
    ours, theirs = Calibration(bins), BinaryCalibrationError(n_bins=bins, norm="l1")
    for _ in range(3):
        confidence = rng.beta(4, 1.5, (20, 30)).astype(np.float32)
        correct = rng.random((20, 30)) < confidence**2
        ours.update(confidence, correct)
        theirs.update(torch.from_numpy(confidence), torch.from_numpy(correct).int())
    assert ours.compute()["ece"] == pytest.approx(float(theirs.compute()), abs=1e-6)
    assert ours.compute()["ece"] > 0.05


def test_top_label_ece_agrees_with_torchmetrics():
    rng = np.random.default_rng(1)
    probabilities = torch.from_numpy(rng.dirichlet(np.full(5, 0.3), 4000)).float()
    truth = torch.from_numpy(rng.integers(0, 5, 4000))
    ours = Calibration()
    top = probabilities.max(1)
    ours.update(top.values.numpy(), (top.indices == truth).numpy())
    theirs = MulticlassCalibrationError(5, n_bins=15, norm="l1")(probabilities, truth)
    assert ours.compute()["ece"] == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(("confidence", "accuracy"), [(0.9, 0.6), (0.6, 0.9)])
def test_the_gap_is_positive_for_the_over_confident_and_negative_for_the_others(
    confidence, accuracy
):
    calibration = Calibration()
    calibration.update(np.full(100, confidence), np.arange(100) < 100 * accuracy)
    scores = calibration.compute()
    assert scores["gap"] == pytest.approx(confidence - accuracy)
    assert scores["ece"] == pytest.approx(abs(confidence - accuracy))


def test_opposite_gaps_cancel_in_the_gap_but_not_in_the_error():
    calibration = Calibration()
    calibration.update(np.full(100, 0.9), np.arange(100) < 70)
    calibration.update(np.full(100, 0.5), np.arange(100) < 70)
    assert calibration.compute()["gap"] == pytest.approx(0.0, abs=1e-12)
    assert calibration.compute()["ece"] == pytest.approx(0.2)


def test_confidences_0_and_1_fall_into_the_outer_bins_and_empty_bins_are_nan():
    calibration = Calibration()
    calibration.update(np.array([0.0, 1.0]), np.array([False, True]))
    scores = calibration.compute()
    assert scores["bin_count"].tolist() == [1] + 13 * [0] + [1]
    assert np.isnan(scores["bin_accuracy"][1:-1]).all()
    assert scores["ece"] == 0.0


def test_calibration_of_nothing_has_no_error():
    calibration = Calibration()
    calibration.update(np.zeros(0), np.zeros(0, bool))
    assert calibration.compute()["ece"] == 0.0


# Everything


def frame(rng, shape=(24, 32)):
    guess, truth = labels(rng, shape, 19)
    metres = rng.uniform(2, 80, shape).astype(np.float32)
    metres[rng.random(shape) < 0.2] = np.nan
    std = rng.gamma(2.0, size=shape).astype(np.float32)
    depth = np.abs(np.nan_to_num(metres, nan=9) + std * rng.normal(size=shape)).astype(np.float32)
    return (guess, rng.random(shape).astype(np.float32), truth), (depth, std, metres)


def test_the_figures_are_those_of_the_single_metrics():
    rng = np.random.default_rng(0)
    metrics, confusion, depth_errors = PerceptionMetrics(19, 80.0), Confusion(19), DepthErrors(80)
    uncertain, mistaken, deviation, off = [], [], [], []
    for _ in range(3):
        (guess, uncertainty, truth), (depth, std, metres) = frame(rng)
        metrics.update_labels(guess, uncertainty, truth)
        metrics.update_depth(depth, std, metres)
        confusion.update(guess, truth)
        off.append(depth_errors.update(depth, metres))
        known = truth != IGNORE
        uncertain.append(uncertainty[known])
        mistaken.append((guess != truth)[known])
        deviation.append(std[np.isfinite(metres)])
    scores = metrics.compute()
    assert list(scores) == [
        "miou",
        "depth_rmse_m",
        "depth_abs_rel",
        "depth_delta1",
        "depth_coverage",
        "label_ece",
        "label_error_auroc",
        "depth_error_auroc",
    ]
    assert all(type(value) is float for value in scores.values())
    u, wrong, s, bad = (np.concatenate(x) for x in (uncertain, mistaken, deviation, off))
    ece = BinaryCalibrationError(n_bins=15)(
        torch.from_numpy(1 - u), torch.from_numpy(~wrong).int()
    )
    depth = depth_errors.compute()
    assert scores["miou"] == confusion.compute()["miou"]
    assert scores["depth_rmse_m"] == depth["rmse"]
    assert scores["depth_abs_rel"] == depth["abs_rel"]
    assert scores["depth_delta1"] == depth["delta1"] == pytest.approx(1 - bad.mean())
    assert scores["depth_coverage"] == depth["coverage"]
    assert scores["label_ece"] == pytest.approx(float(ece), abs=1e-6)
    assert scores["label_error_auroc"] == pytest.approx(roc_auc_score(wrong, u), abs=1e-9)
    assert scores["depth_error_auroc"] == pytest.approx(roc_auc_score(bad, s), abs=1e-9)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, 0.0])
def test_a_missing_depth_is_an_error_that_its_deviation_did_not_find(nothing):
    metrics = PerceptionMetrics(19, 80.0)
    depth = np.array([[10.0, 10.0, 20.0, nothing]])
    std = np.array([[0.1, 0.2, 0.3, np.inf]])
    metrics.update_depth(depth, std, np.full((1, 4), 10.0))
    # Errors: one beats two of the right pixels and not the false alarm, the missing one none.
    assert metrics.compute()["depth_error_auroc"] == pytest.approx(2 / 6)


@settings(max_examples=100, deadline=None)
@given(
    truth=arrays(np.float32, (3, 5), elements=st.floats(0.5, 80, width=32)),
    depth=arrays(np.float32, (3, 5), elements=st.floats(-1, 200, width=32)),
    std=arrays(np.float32, (3, 5), elements=st.sampled_from([0.0, 0.5, 2.0, np.inf])),
    missing=arrays(np.bool_, (3, 5)),
    nothing=st.sampled_from([np.nan, np.inf, 0.0]),
)
def test_abstaining_from_depth_never_improves_a_score(truth, depth, std, missing, nothing):
    full, partial = PerceptionMetrics(19, 80.0), PerceptionMetrics(19, 80.0)
    full.update_depth(depth, std, truth)
    partial.update_depth(np.where(missing, np.float32(nothing), depth), std, truth)
    before, after = full.compute(), partial.compute()
    for name in ("depth_rmse_m", "depth_abs_rel"):
        assert after[name] >= before[name] * (1 - 1e-9)
    for name in ("depth_delta1", "depth_coverage", "depth_error_auroc"):
        assert not after[name] > before[name] + 1e-12  # NaN without an error


def test_pooled_rankings_come_with_their_bounds():
    rng, metrics = np.random.default_rng(4), PerceptionMetrics(19, 80.0, bins=50)
    exact = PerceptionMetrics(19, 80.0)
    for _ in range(3):
        classes, depth = frame(rng)
        for each in (metrics, exact):
            each.update_labels(*classes)
            each.update_depth(*depth)
    truth = exact.compute()
    assert exact.bounds() == {"label_error_auroc": 0.0, "depth_error_auroc": 0.0}
    for name, bound in metrics.bounds().items():
        assert 1e-4 < bound < 0.5
        assert abs(metrics.compute()[name] - truth[name]) <= bound


def test_ignored_pixels_and_invalid_depth_change_nothing():
    (guess, uncertainty, truth), (depth, std, metres) = frame(np.random.default_rng(1))
    plain, changed = PerceptionMetrics(19, 80.0), PerceptionMetrics(19, 80.0)
    plain.update_labels(guess, uncertainty, truth)
    plain.update_depth(depth, std, metres)
    ignored, invalid = truth == IGNORE, np.isnan(metres)
    guess[ignored], uncertainty[ignored] = 7, 0.123
    depth[invalid], std[invalid] = np.nan, np.inf
    changed.update_labels(guess, uncertainty, truth)
    changed.update_depth(depth, std, metres)
    assert plain.compute() == changed.compute()


def test_a_truth_that_is_no_class_is_ignored_by_every_score():
    (guess, uncertainty, truth), depth = frame(np.random.default_rng(2))
    expected, other = PerceptionMetrics(19, 80.0), PerceptionMetrics(19, 80.0)
    expected.update_labels(guess, uncertainty, truth)
    other.update_labels(guess, uncertainty, np.where(truth == IGNORE, 40, truth).astype(np.uint8))
    for metrics in (expected, other):
        metrics.update_depth(*depth)
    assert expected.compute() == other.compute()


@pytest.mark.parametrize(
    "update",
    [
        lambda m, a, b: m.update_labels(a.astype(np.uint8), a, b.astype(np.uint8)),
        lambda m, a, b: m.update_depth(a, a, b),
        lambda m, a, b: m.calibration.update(a, b > 0),
    ],
)
def test_arrays_of_different_shapes_are_refused(update):
    with pytest.raises(ValueError, match=r"one shape, but got .*\(4, 6\).*\(4, 5\)"):
        update(PerceptionMetrics(19, 80.0), np.ones((4, 6)), np.ones((4, 5)))


def test_memory_does_not_grow_with_the_number_of_images():
    rng, metrics, most = np.random.default_rng(0), PerceptionMetrics(19, 80.0, bins=1000), []
    for _ in range(12):
        seg, depth = frame(rng)
        metrics.update_labels(*seg)
        metrics.update_depth(*depth)
        rankings = (metrics.label_ranking, metrics.depth_ranking)
        most.append(sum(a.nbytes for r in rankings for a in r.state().values()))
    assert max(most) <= 2 * 1000 * 21
