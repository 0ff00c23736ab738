"""Depth errors against plain formulas and cases made by hand; a missing depth never helps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emu_core.metrics import DepthErrors


def test_depth_errors_follow_a_hand_computation():
    errors = DepthErrors(80.0)
    truth = np.array([[10.0, 20.0, 40.0, np.nan, 5.0]])
    wrong = errors.update(np.array([[11.0, 30.0, 20.0, 1.0, 5.0]]), truth)
    assert wrong.tolist() == [False, True, True, False]
    scores = errors.compute()
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
        estimate = (rng.lognormal(0, 0.3, truth.shape) * np.nan_to_num(truth, nan=7)).astype(
            np.float32
        )
        errors.update(estimate, truth)
        estimates.append(estimate[np.isfinite(truth)].astype(np.float64))
        truths.append(truth[np.isfinite(truth)].astype(np.float64))
    d, y = np.concatenate(estimates), np.concatenate(truths)
    ratio = np.maximum(d / y, y / d)
    near = np.minimum(d, 80.0)  # the range's end
    assert (near < d).any()
    expected = {
        "rmse": np.sqrt(np.mean((near - y) ** 2)),
        "abs_rel": np.mean(np.abs(near - y) / y),
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
        "coverage": 1.0,
    }
    assert errors.compute() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("estimate", [np.nan, np.inf, -np.inf, 0.0, -3.0])
def test_a_missing_estimate_is_a_failure_at_the_ranges_end(estimate):
    errors = DepthErrors(80.0)
    wrong = errors.update(np.array([10.0, estimate]), np.array([10.0, 20.0]))
    assert wrong.tolist() == [False, True]
    assert errors.compute() == pytest.approx(
        {
            "rmse": np.sqrt(60.0**2 / 2),
            "abs_rel": 3.0 / 2,
            "delta1": 0.5,
            "delta2": 0.5,
            "delta3": 0.5,
            "coverage": 0.5,
        }
    )


def test_a_missing_estimate_of_a_far_pixel_counts_as_the_near_end():
    errors = DepthErrors(80.0)
    errors.update(np.array([np.nan]), np.array([79.0]))
    assert errors.compute()["rmse"] == pytest.approx(79.0)
    assert errors.compute()["abs_rel"] == pytest.approx(1.0)


def test_a_ratio_of_exactly_1_25_is_an_error():
    errors = DepthErrors(80.0)
    truth = np.full(4, 10.0)
    wrong = errors.update(np.array([12.5, 12.49, 8.0, 8.01]), truth)
    assert wrong.tolist() == [True, False, True, False]
    assert errors.compute()["delta1"] == 0.5


def test_a_missing_estimate_fails_even_where_the_truth_is_at_the_ranges_end():
    errors = DepthErrors(80.0)
    assert errors.update(np.array([np.inf]), np.array([80.0])).tolist() == [True]
    assert errors.compute()["delta3"] == 0.0


def test_no_valid_pixel_gives_nan():
    errors = DepthErrors(80.0)
    assert errors.update(np.ones((2, 2)), np.full((2, 2), np.nan)).size == 0
    assert all(np.isnan(value) for value in errors.compute().values())


METRES = st.floats(0.5, 80, width=32)


@settings(max_examples=200, deadline=None)
@given(
    truth=arrays(np.float32, 12, elements=METRES),
    estimate=arrays(np.float32, 12, elements=METRES),
    missing=arrays(np.bool_, 12),
    nothing=st.sampled_from([np.nan, np.inf, 0.0, -1.0]),
)
def test_abstaining_never_improves_a_score(truth, estimate, missing, nothing):
    full, partial = DepthErrors(80.0), DepthErrors(80.0)
    wrong = full.update(estimate, truth)
    abstained = partial.update(np.where(missing, np.float32(nothing), estimate), truth)
    before, after = full.compute(), partial.compute()
    assert (abstained >= wrong).all()
    for name in ("delta1", "delta2", "delta3", "coverage"):
        assert after[name] <= before[name]
    for name in ("rmse", "abs_rel"):
        assert after[name] >= before[name] * (1 - 1e-9)
    assert after["coverage"] == pytest.approx(1 - missing.mean())


@settings(max_examples=100, deadline=None)
@given(
    truth=arrays(np.float32, 12, elements=METRES),
    estimate=arrays(np.float32, 12, elements=st.floats(-10, 1e6, width=32)),
    missing=arrays(np.bool_, 12),
)
def test_abstaining_never_improves_a_score_whatever_the_estimate(truth, estimate, missing):
    full, partial = DepthErrors(80.0), DepthErrors(80.0)
    full.update(estimate, truth)
    partial.update(np.where(missing, np.float32(np.nan), estimate), truth)
    for name in ("delta1", "delta2", "delta3", "coverage"):
        assert partial.compute()[name] <= full.compute()[name]
    for name in ("rmse", "abs_rel"):
        assert partial.compute()[name] >= full.compute()[name] * (1 - 1e-9)


def test_an_estimate_beyond_the_range_is_no_farther_off_than_its_end():
    errors = DepthErrors(80.0)
    errors.update(np.array([1e6]), np.array([70.0]))
    figures = errors.compute()
    assert figures["rmse"] == pytest.approx(10.0)
    assert figures["abs_rel"] == pytest.approx(1 / 7)
    assert figures["delta3"] == 0.0  # by its own ratio, not by the end's
    assert figures["coverage"] == 1.0
