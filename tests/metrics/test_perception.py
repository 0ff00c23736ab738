"""Metrics of classes and of the output on a robot, against references and hand computations."""

import numpy as np
import pytest
import torch
from random_pixels import CLASSES, classes, depths
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryCalibrationError, MulticlassJaccardIndex

from emu_core.labels import IGNORE
from emu_core.metrics import Confusion, DepthErrors, PerceptionMetrics
from emu_core.metrics.classes import CalibrationError


def confused(classes, guess, truth):
    confusion = Confusion(classes)
    confusion.update(np.array([guess], np.uint8), np.array([truth], np.uint8))
    return confusion.compute()


def test_iou_follows_a_hand_computation():
    guess, truth = [0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, IGNORE]
    scores = confused(4, guess, truth)
    # Class 2 is only predicted: IoU 0, which the official mean counts. Class 3 is in neither.
    np.testing.assert_allclose(scores["iou"], [2 / 3, 1 / 3, 0, np.nan])
    assert scores["present"].tolist() == [True, True, False, False]
    assert scores["support"].tolist() == [3, 2, 0, 0]
    assert scores["miou"] == pytest.approx(0.5)
    theirs = MulticlassJaccardIndex(4, ignore_index=IGNORE)
    expected = float(theirs(torch.tensor([guess]), torch.tensor([truth])))
    assert scores["miou_official"] == pytest.approx(expected)
    assert scores["accuracy"] == pytest.approx(3 / 5)


def test_a_prediction_that_is_no_class_is_an_error_of_its_true_class():
    scores = confused(3, [0, IGNORE, 7, 1], [0, 0, 1, 1])
    np.testing.assert_allclose(scores["iou"][:2], [1 / 2, 1 / 2])
    assert scores["support"].tolist() == [2, 2, 0]
    assert scores["accuracy"] == 0.5


def test_without_a_true_class_the_metrics_are_nan():
    scores = confused(3, [0] * 4, [IGNORE] * 4)
    assert np.isnan([scores["miou"], scores["accuracy"], *scores["iou"]]).all()


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="`num_classes` to be ≥ 2, but got 1"):
        Confusion(1)


def calibrated(*pixels, bins=15):
    """The calibration error of pairs of confidences and correctness."""
    calibration = CalibrationError(bins)
    for confidence, correct in pixels:
        calibration.update(np.array(confidence), np.array(correct, bool))
    return calibration.compute()


def test_calibration_follows_a_hand_computation():
    scores = calibrated(([0.2, 0.4, 0.7, 0.9, 1.0], [1, 0, 1, 0, 0]), bins=2)
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
    images, theirs = [], BinaryCalibrationError(n_bins=bins, norm="l1")
    for _ in range(3):
        confidence = rng.beta(4, 1.5, (20, 30)).astype(np.float32)
        images.append((confidence, rng.random((20, 30)) < confidence**2))
        theirs.update(torch.from_numpy(confidence), torch.from_numpy(images[-1][1]).int())
    ece = calibrated(*images, bins=bins)["ece"]
    assert ece == pytest.approx(float(theirs.compute()), abs=1e-6)
    assert ece > 0.05


def test_confidences_0_and_1_are_in_the_outer_bins_and_empty_bins_are_nan():
    scores = calibrated(([0.0, 1.0], [0, 1]))
    assert scores["bin_count"].tolist() == [1] + 13 * [0] + [1]
    assert np.isnan(scores["bin_accuracy"][1:-1]).all()
    assert scores["ece"] == 0.0
    nothing = calibrated(([], []))
    assert np.isnan([nothing["ece"], nothing["gap"]]).all()


def frame(rng):
    (p, truth), (depth, variance, metres) = classes(rng), depths(rng)
    return (p.argmax(0).astype(np.uint8), 1 - p.max(0), truth), (depth, variance**0.5, metres)


def counted(frames, **options):
    metrics = PerceptionMetrics(CLASSES, 80.0, **options)
    for labels, depth in frames:
        metrics.update_labels(*labels)
        metrics.update_depth(*depth)
    return metrics


def test_all_metrics_agree_with_single_metrics_and_references():
    rng = np.random.default_rng(0)
    frames = [frame(rng) for _ in range(3)]
    (guess, uncertainty, truth), (depth, std, metres) = (
        map(np.stack, zip(*maps, strict=True)) for maps in zip(*frames, strict=True)
    )
    confusion, depth_errors = Confusion(CLASSES), DepthErrors(80)
    confusion.update(guess, truth)
    depth_errors.update(depth, metres)
    valid = np.isfinite(metres)
    y, mean, s = metres[valid], depth[valid], std[valid]
    bad = np.maximum(mean / y, y / mean) >= 1.25
    relative = roc_auc_score(bad, s / mean)
    far = roc_auc_score(np.abs(mean - y.astype(float)) >= 1, s)
    there = np.isfinite(depth) & (depth > 0) & np.isfinite(std)
    inside = (there & (np.abs(depth - metres) <= 1.6448536 * std))[valid]
    u, wrong = uncertainty[truth != IGNORE], (guess != truth)[truth != IGNORE]
    right = torch.from_numpy(~wrong).int()
    ece = BinaryCalibrationError(n_bins=15)(torch.from_numpy(1 - u), right)
    depth, scores = depth_errors.compute(), counted(frames).compute()
    assert all(type(value) is float for value in scores.values())
    assert depth["delta1"] == pytest.approx(1 - bad.mean())
    expected = {
        "miou": confusion.compute()["miou"],
        "depth_rmse_m": depth["rmse"],
        "depth_abs_rel": depth["abs_rel"],
        "depth_delta1": depth["delta1"],
        "depth_coverage": depth["coverage"],
        "depth_interval_90": pytest.approx(np.mean(inside), abs=1e-9),
        "label_ece": pytest.approx(float(ece), abs=1e-6),
        "label_error_auroc": pytest.approx(roc_auc_score(wrong, u), abs=1e-9),
        "depth_ratio_error_auroc": pytest.approx(relative, abs=1e-9),
        "depth_metre_error_auroc": pytest.approx(far, abs=1e-9),
        "depth_ratio_error_auroc_given": pytest.approx(relative, abs=1e-9),
    }
    assert list(scores) == list(expected)
    assert scores == expected


@pytest.mark.parametrize("nothing", [np.nan, np.inf, 0.0])
def test_a_missing_depth_is_an_undetected_error_and_a_false_alarm(nothing):
    metrics = PerceptionMetrics(19, 80.0)
    depth = np.array([[10.0, 10.0, 20.0, nothing]])
    std = np.array([[0.1, 0.2, 0.3, np.inf]])
    metrics.update_depth(depth, std, np.full((1, 4), 10.0))
    # By std/depth, one error ranks above one of the three correct pixels, the missing one above
    # none; by std, it ranks above two of them.
    scores = metrics.compute()
    assert scores["depth_ratio_error_auroc"] == pytest.approx(1 / 6)
    assert scores["depth_ratio_error_auroc_given"] == pytest.approx(1 / 2)
    assert scores["depth_metre_error_auroc"] == pytest.approx(2 / 6)


def test_an_infinite_depth_is_false_where_there_is_something_and_the_class_is_not_doubtful():
    metrics = PerceptionMetrics(19, 80.0)
    assert "depth_false_infinity" not in metrics.compute()
    nothing = np.full((1, 5), np.nan)
    metrics.update_infinite(nothing, None, nothing)
    assert np.isnan(metrics.compute()["depth_false_infinity"])
    truth = np.array([[10.0, 20.0, 30.0, 40.0, np.nan]])
    depth = np.array([[np.inf, np.inf, np.nan, 40.0, np.inf]])
    metrics.update_infinite(depth, np.array([[0.05, 0.06, 0.0, 0.0, 0.0]]), truth)
    assert metrics.compute()["depth_false_infinity"] == 1 / 4
    metrics.update_infinite(depth, None, truth)
    assert metrics.compute()["depth_false_infinity"] == 3 / 8


def test_pooled_rankings_have_error_bounds():
    rng = np.random.default_rng(4)
    frames = [frame(rng) for _ in range(3)]
    metrics, exact = counted(frames, bins=50), counted(frames)
    names = ("label_error_auroc", "depth_ratio_error_auroc", "depth_metre_error_auroc")
    assert exact.bounds() == dict.fromkeys(names, 0.0)
    for name, bound in metrics.bounds().items():
        assert 1e-4 < bound < 0.5
        assert abs(metrics.compute()[name] - exact.compute()[name]) <= bound


def test_ignored_pixels_and_invalid_depth_change_nothing():
    (guess, uncertainty, truth), (depth, std, metres) = frame(np.random.default_rng(1))
    plain = counted([((guess, uncertainty, truth), (depth, std, metres))]).compute()
    ignored, invalid = truth == IGNORE, np.isnan(metres)
    other = np.where(ignored, 40, truth).astype(np.uint8)  # an id that is no class, too
    guess[ignored], uncertainty[ignored] = 7, 0.123
    depth[invalid], std[invalid] = np.nan, np.inf
    for ids in (truth, other):
        assert counted([((guess, uncertainty, ids), (depth, std, metres))]).compute() == plain


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
