"""Depth errors against plain formulas and cases computed by hand."""

import numpy as np
import pytest

from emu_core.metrics import DepthErrors


def scored(estimate, truth):
    """Errors of one image in a range of 80 m, and the metrics."""
    errors = DepthErrors(80.0)
    off = errors.update(np.array(estimate, float), np.array(truth, float))
    return off.wrong_ratio.tolist(), errors.compute()


def test_depth_errors_follow_a_hand_computation():
    truth = [[10.0, 20.0, 40.0, np.nan, 5.0]]
    wrong, scores = scored([[11.0, 30.0, 20.0, 1.0, 5.0]], truth)
    assert wrong == [False, True, True, False]
    assert scores["rmse"] == pytest.approx(np.sqrt((1 + 100 + 400 + 0) / 4))
    assert scores["abs_rel"] == pytest.approx((0.1 + 0.5 + 0.5 + 0) / 4)
    # Ratios 1.1, 1.5, 2.0 and 1.0 against 1.25, 1.5625 and 1.953.
    assert (scores["delta1"], scores["delta2"], scores["delta3"]) == (0.5, 0.75, 0.75)
    assert scores["coverage"] == 1.0


def test_depth_errors_agree_with_plain_formulas_over_several_images():
    rng = np.random.default_rng(0)
    errors, estimates, truths = DepthErrors(80.0), [], []
    for _ in range(3):
        truth = rng.uniform(1, 80, (20, 30)).astype(np.float32)
        truth[rng.random(truth.shape) < 0.3] = np.nan
        factor = rng.lognormal(0, 0.3, truth.shape)
        estimate = (factor * np.nan_to_num(truth, nan=7)).astype(np.float32)
        errors.update(estimate, truth)
        estimates.append(estimate[np.isfinite(truth)].astype(np.float64))
        truths.append(truth[np.isfinite(truth)].astype(np.float64))
    d, y = np.concatenate(estimates), np.concatenate(truths)
    ratio = np.maximum(d / y, y / d)
    near = np.minimum(d, 80.0)  # the end of the range
    assert (near < d).any()
    expected = {
        "rmse": np.sqrt(np.mean((near - y) ** 2)),
        "abs_rel": np.mean(np.abs(near - y) / y),
        **{f"delta{power}": np.mean(ratio < 1.25**power) for power in (1, 2, 3)},
        "coverage": 1.0,
    }
    assert errors.compute() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("estimate", [np.nan, np.inf, -np.inf, 0.0, -3.0])
def test_a_missing_estimate_is_a_failure_at_the_farther_end_of_the_range(estimate):
    wrong, scores = scored([10.0, estimate], [10.0, 20.0])
    assert wrong == [False, True]
    expected = {"rmse": np.sqrt(60.0**2 / 2), "abs_rel": 3.0 / 2, "coverage": 0.5}
    assert scores == pytest.approx({**expected, "delta1": 0.5, "delta2": 0.5, "delta3": 0.5})
    wrong, scores = scored([estimate], [79.0])
    assert (scores["rmse"], scores["abs_rel"]) == pytest.approx((79.0, 1.0))
    assert wrong == [True] and scores["delta3"] == 0.0


def test_a_ratio_of_exactly_1_25_is_an_error():
    wrong, scores = scored([12.5, 12.49, 8.0, 8.01], [10.0] * 4)
    assert wrong == [True, False, True, False]
    assert scores["delta1"] == 0.5


def test_no_valid_pixel_gives_nan():
    wrong, scores = scored(np.ones((2, 2)), np.full((2, 2), np.nan))
    assert not wrong and all(np.isnan(value) for value in scores.values())
