"""Means, spreads, intervals and differences of methods."""

import numpy as np
import pytest

from emu_core.evaluation.candidate import Scored
from emu_core.evaluation.values import (
    Difference,
    SeedError,
    difference,
    interval,
    seed_error,
    values,
)
from emu_core.metrics import DriveResults, drive_weights


def made(pooled, resampled, drives=("a", "b")):
    """Scores with these metrics and no others."""
    results = DriveResults(drives, 2, 80.0, {}, {}, pooled)
    return Scored(results, {name: np.array(v, float) for name, v in resampled.items()})


def test_a_value_is_the_mean_over_seeds_with_their_sd_and_the_drives_interval():
    # Resamples 0…100 and 10…110: their means run from 5 to 105, 2.5 % of the way is 7.5.
    seeds = [
        made({"rmse": 40.0}, {"rmse": range(101)}),
        made({"rmse": 46.0}, {"rmse": range(10, 111)}),
    ]
    value = values(seeds)["rmse"]
    assert value.mean == 43.0
    assert value.sd == pytest.approx(np.sqrt(18.0))
    assert value[2:] == pytest.approx((7.5, 102.5))


def test_a_single_seed_has_no_spread_and_what_cannot_be_resampled_no_interval():
    found = values([made({"ap": 0.5, "rmse": 4.0}, {"rmse": [4.0, 4.0]})])
    assert np.isnan(found["ap"].low)
    assert np.isnan(found["rmse"].sd)
    assert found["rmse"][2:] == (4.0, 4.0)


def test_a_metric_is_nan_unless_it_is_finite_for_every_seed():
    seeds = [made({"rmse": value}, {"rmse": [1.0]}) for value in (2.0, float("nan"))]
    for some in (seeds, seeds[1:]):
        assert np.isnan(values(some)["rmse"]).all()
    found = values([made({"rmse": 1.0}, {"rmse": [float("nan")] * 2})])
    assert np.isnan(found["rmse"].low)


def test_drives_are_drawn_in_pairs():
    hard = [0.0, 50.0, 100.0]  # how hard the drives of each resample are
    first = [made({"rmse": 9.0}, {"rmse": np.add(hard, 1)})]
    second = [made({"rmse": 8.0}, {"rmse": hard})]
    found = difference(first, second, "rmse")
    assert found.mean == 1.0
    assert found[1:3] == pytest.approx((1.0, 1.0))


def test_few_seeds_widen_an_interval_by_students_t():
    # Three seeds of SD 10 against two alike: ± 4.303 · 10/√3, t of two degrees of freedom.
    first = [made({"rmse": x}, {"rmse": [x] * 1000}) for x in (1.0, 11.0, 21.0)]
    second = [made({"rmse": 0.0}, {"rmse": [0.0] * 1000})] * 2
    found = difference(first, second, "rmse")
    half = 4.3027 * 10 / np.sqrt(3)
    assert found.mean == 11.0
    assert found[1:3] == pytest.approx((11 - half, 11 + half), abs=0.02 * half)
    assert found.source == "own"
    assert found == difference(first, second, "rmse")  # reproducibly
    pairs = difference(first, second, "rmse", [SeedError(0.5, 10**6, "own")])
    assert pairs[1:3] == pytest.approx((11 - 0.98, 11 + 0.98), abs=0.02)


def test_one_seed_borrows_another_methods_deviation_or_has_none():
    assert seed_error([1.0], [2.0, 4.0]) == pytest.approx((2**0.5, 1, "borrowed"))
    assert seed_error([1.0], [2.0, 4.0], networks=2) == pytest.approx((1.0, 1, "borrowed"))
    assert seed_error([1.0, 3.0], [2.0, 9.0]) == pytest.approx((1.0, 1, "own"))
    one, two = [made({"rmse": 1.0}, {"rmse": [1.0]})], [made({"rmse": 2.0}, {"rmse": [2.0]})] * 2
    unknown = difference(one, two, "rmse")
    assert unknown[1:3] == (-1.0, -1.0)
    assert unknown.source == "unknown"
    assert unknown.verdict("lower") == "open"
    errors = [seed_error([1.0], [5.0, 6.0]), seed_error([2.0, 2.0])]
    assert difference(one, two, "rmse", errors).source == "borrowed"


def test_seeds_are_drawn_independently_of_drives_and_of_other_methods_seeds():
    error = SeedError(1.0, 4, "own")
    drives = drive_weights(20, 1000, seed=0)[:, 0]
    draws = [error.draw(1000, stream) for stream in range(3)]
    np.testing.assert_array_equal(draws[1], error.draw(1000, 1))
    correlations = np.corrcoef([drives, *draws])[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlations, 0, atol=0.1)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_few_seeds_hold_the_truth_as_often_as_they_should(seeds):
    """The methods do not differ in truth: drives differ, seeds differ, and seeds differ by drive.

    With resampled seeds, intervals of three seeds held it in 81 %, of five in 89 %.
    """
    rng, drives, times = np.random.default_rng(0), 40, 400
    weights = drive_weights(drives, 300, seed=0) / drives
    held = 0
    for _ in range(times):
        hard = rng.normal(0, 3, drives)
        rows = []
        for _ in range(2):
            own = rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 0.5, (seeds, drives))
            rows.append([made({"x": f.mean()}, {"x": weights @ f}) for f in hard + own])
        _, low, high, _ = difference(*rows, "x")
        held += low <= 0 <= high
    assert 0.93 <= held / times <= 0.995  # two errors of few degrees of freedom: a little wide


def test_methods_that_were_scored_on_other_drives_are_not_compared():
    with pytest.raises(ValueError, match="on the same drives"):
        difference([made({}, {})], [made({}, {}, drives=("a", "c"))], "rmse")
    one, other = made({}, {}), made({}, {}, drives=("a", "c"))
    with pytest.raises(ValueError, match="on the same drives"):  # in a later seed
        difference([one, other], [one, one], "rmse")


def test_a_verdict_needs_an_interval_without_zero_and_a_direction():
    assert Difference(-1, -2.0, -0.5).verdict("lower") == "better"
    assert Difference(-1, -2.0, -0.5).verdict("higher") == "worse"
    assert Difference(1, 0.5, 2.0).verdict("higher") == "better"
    assert Difference(1, -0.5, 2.0).verdict("higher") == "open"
    assert Difference(0, 0.0, 0.0).verdict("lower") == "open"


def test_intervals_ignore_resamples_without_the_metric():
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
